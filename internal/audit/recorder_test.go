package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/clock"
	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

const (
	tenant directory.TenantID = "11111111-0000-4000-8000-000000000001"
	ann    directory.ObjectID = "33333333-0000-4000-8000-000000000001"
	client directory.AppID    = "80faf920-1908-4b52-b5ef-a8e7bedfc67a"
	aks    directory.AppID    = "6dae42f8-4368-4678-94ff-3960e28e3630"
	trace                     = "55555555-0000-4000-8000-000000000001"
	correl                    = "66666666-0000-4000-8000-000000000001"
)

var at = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func recorder(t testing.TB, o audit.RecorderOptions) (*audit.Recorder, string) {
	t.Helper()
	if o.Clock == nil {
		o.Clock = clock.NewManual(at)
	}
	dir := t.TempDir()
	r, err := audit.OpenRecorder(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, dir
}

func event() *audit.SignInEvent {
	return &audit.SignInEvent{
		ID: trace, CorrelationID: correl, Time: at, Tenant: tenant, User: ann, UserName: "ann@example.com", DisplayName: "Ann Example",
		Client: client, ClientName: "Azure Kubernetes Service AAD Client", Resource: aks, ResourceName: "Azure Kubernetes Service AAD Server",
		Address: netip.MustParseAddr("::ffff:192.0.2.7"), Country: "CH",
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.6099.109 Safari/537.36",
		Grant:     "authorize", ClientAppType: ca.Browser, Interactive: true, ClientAuth: "none", TokenID: "AbCdEfGhIjKlMnOpQrStUw",
		Methods: []ca.Authentication{{Method: ca.Password, At: at}, {Method: ca.SoftwareOath, At: at}},
		Device:  &ca.Device{ID: "77777777-0000-4000-8000-000000000001", Compliant: true, TrustType: ca.TrustAzureAD, Attributes: ca.DeviceAttributes{DisplayName: "laptop"}},
		Code:    53003, Reason: "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
		Policies: []ca.PolicyResult{{ID: "88888888-0000-4000-8000-000000000001", DisplayName: "aks-policy", Result: ca.Failure, GrantControls: []string{"Block"}}},
		Status:   "failure",
	}
}

// The document has the members that Microsoft Graph's signIn resource has, by
// the names that the portal and its clients read.
func TestSignInDocument(t *testing.T) {
	r, _ := recorder(t, audit.RecorderOptions{})
	if err := r.SignIn(t.Context(), event()); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.Export(t.Context(), &out, audit.SignIns, nil); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": trace, "createdDateTime": "2026-03-02T09:00:00Z", "userDisplayName": "Ann Example", "userPrincipalName": "ann@example.com",
		"userId": string(ann), "userType": "member", "appId": string(client), "appDisplayName": "Azure Kubernetes Service AAD Client",
		"ipAddress": "192.0.2.7", "clientAppUsed": "Browser", "userAgent": event().UserAgent, "correlationId": correl,
		"conditionalAccessStatus": "failure", "isInteractive": true, "resourceDisplayName": "Azure Kubernetes Service AAD Server",
		"resourceId": string(aks), "resourceTenantId": string(tenant), "homeTenantId": string(tenant), "servicePrincipalId": "", "servicePrincipalName": "",
		"signInEventTypes": []any{"interactiveUser"}, "tokenIssuerType": "AzureAD", "uniqueTokenIdentifier": "AbCdEfGhIjKlMnOpQrStUw",
		"incomingTokenType": "none", "authenticationProtocol": "oAuth2", "originalTransferMethod": "none", "clientCredentialType": "none",
		"authenticationRequirement": "multiFactorAuthentication", "riskDetail": "none", "riskLevelAggregated": "none",
		"riskLevelDuringSignIn": "none", "riskState": "none", "riskEventTypes_v2": []any{},
		"status": map[string]any{"errorCode": 53003.0, "failureReason": event().Reason, "additionalDetails": nil},
		"deviceDetail": map[string]any{"deviceId": "77777777-0000-4000-8000-000000000001", "displayName": "laptop", "operatingSystem": "Linux",
			"browser": "Chrome 120.0.6099.109", "isCompliant": true, "isManaged": false, "trustType": "Azure AD joined"},
		"location": map[string]any{"city": "", "state": "", "countryOrRegion": "CH", "geoCoordinates": nil},
		"appliedConditionalAccessPolicies": []any{map[string]any{"id": "88888888-0000-4000-8000-000000000001", "displayName": "aks-policy",
			"enforcedGrantControls": []any{"Block"}, "enforcedSessionControls": []any{}, "result": "failure", "conditionsNotSatisfied": ""}},
		"authenticationDetails": []any{
			map[string]any{"authenticationStepDateTime": "2026-03-02T09:00:00Z", "authenticationMethod": "Password", "authenticationMethodDetail": "",
				"succeeded": true, "authenticationStepResultDetail": "Method completed", "authenticationStepRequirement": "Primary authentication"},
			map[string]any{"authenticationStepDateTime": "2026-03-02T09:00:00Z", "authenticationMethod": "OATH verification code", "authenticationMethodDetail": "",
				"succeeded": true, "authenticationStepResultDetail": "Method completed", "authenticationStepRequirement": "Multifactor authentication"},
		},
		"authenticationProcessingDetails": []any{map[string]any{"key": "Grant", "value": "authorize"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSignInKinds(t *testing.T) {
	r, _ := recorder(t, audit.RecorderOptions{})
	for name, x := range map[string]struct {
		change func(*audit.SignInEvent)
		check  func(*audit.SignIn) bool
	}{
		"success":     {func(e *audit.SignInEvent) { e.Code, e.Reason = 0, "" }, func(s *audit.SignIn) bool { return s.Status.FailureReason == "Other." }},
		"silent":      {func(e *audit.SignInEvent) { e.Interactive = false }, func(s *audit.SignIn) bool { return s.EventTypes[0] == "nonInteractiveUser" }},
		"application": {func(e *audit.SignInEvent) { e.ServicePrincipal = ann; e.User = "" }, func(s *audit.SignIn) bool { return s.EventTypes[0] == "servicePrincipal" && s.UserType == "" }},
		"IMDS":        {func(e *audit.SignInEvent) { e.ManagedIdentity = true }, func(s *audit.SignIn) bool { return s.EventTypes[0] == "managedIdentity" }},
		"guest":       {func(e *audit.SignInEvent) { e.Guest = true }, func(s *audit.SignIn) bool { return s.UserType == "guest" }},
		"device code": {func(e *audit.SignInEvent) { e.Flow = ca.DeviceCodeFlow }, func(s *audit.SignIn) bool {
			return s.Protocol == "deviceCode" && s.OriginalTransferMethod == "deviceCodeFlow"
		}},
		"password":     {func(e *audit.SignInEvent) { e.Grant = "password" }, func(s *audit.SignIn) bool { return s.Protocol == "ropc" }},
		"refresh":      {func(e *audit.SignInEvent) { e.Grant = "refresh_token" }, func(s *audit.SignIn) bool { return s.IncomingTokenType == "refreshToken" }},
		"one factor":   {func(e *audit.SignInEvent) { e.Methods = e.Methods[:1] }, func(s *audit.SignIn) bool { return s.Requirement == "singleFactorAuthentication" }},
		"no device":    {func(e *audit.SignInEvent) { e.Device = nil; e.DeviceManaged = true }, func(s *audit.SignIn) bool { return s.Device.DeviceID == "" && !s.Device.IsManaged }},
		"zone dropped": {func(e *audit.SignInEvent) { e.Address = netip.MustParseAddr("fe80::1%eth0") }, func(s *audit.SignIn) bool { return s.IPAddress == "fe80::1" }},
		"no trace id":  {func(e *audit.SignInEvent) { e.ID = "" }, func(s *audit.SignIn) bool { return len(s.ID) == 36 }},
	} {
		t.Run(name, func(t *testing.T) {
			e := event()
			x.change(e)
			if err := r.SignIn(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			p, err := r.ListSignIns(t.Context(), audit.Query[audit.SignIn]{Limit: 1})
			if err != nil || len(p.Records) != 1 || !x.check(p.Records[0]) {
				t.Errorf("%+v %v", p.Records[0], err)
			}
		})
	}
}

// secrets are the forms of what must never be in a log.
var secrets = map[string]string{
	"access token":   "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiI2ZGFlNDJmOCJ9.c2lnbmF0dXJlLW9mLXRva2Vu",
	"dull token":     "eyJaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbb",
	"refresh token":  "0.AXoAf3Kx9dQ7vLmN2pRtY8wZ1b_Ug-HjK4sD6fGhJ5kL0qW.AgABAwEAAADnfolhJpSnRYB1SVj-Hgd8AgDs_wUA9P",
	"code":           "M.R3_BAY.2.U.c8f1e9d0-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z",
	"client secret":  "abC8Q~d3FgH5jK7mN9pQ2rS4tV6wX8yZ1aB3cD5e",
	"base32 seed":    "JBSWY3DPEHPK3PXPGEZDGNBV",
	"hex key":        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	"pem":            "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----",
	"form":           "grant_type=password&username=ann&password=correct+horse+battery&scope=openid",
	"said password":  "the password: correct-horse-battery was refused",
	"query":          "https://app/cb?code=shortcode42x&state=1",
	"header":         "Authorization: Bearer opaque-bearer-value",
	"basic":          "Basic YW5uOnNlY3JldA==",
	"quoted":         `{"client_secret":"hunter2hunter2"}`,
	"escaped":        "client_assertion=%65%79Jabc.def",
	"typed password": "Tr0ub4dor&3",
}

// parts of secrets: what the files are searched for.
var parts = []string{
	"eyJ", "AXoAf3Kx9dQ7", "AgABAwEAAADn", "c8f1e9d0-Ab3dEf6h", "d3FgH5jK7mN9", "JBSWY3DP", "9f86d081884c", "MIGHAgEA",
	"correct", "horse", "shortcode42x", "opaque-bearer", "YW5uOnNlY3JldA", "hunter2", "%65%79J", "Tr0ub4dor",
}

// fill puts a text into every string that can be reached from v, and one
// element into every slice.
func fill(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), s)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), s)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), s)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[netip.Addr]() {
			v.Set(reflect.ValueOf(netip.MustParseAddr("fe80::1").WithZone(s)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), s)
			}
		}
	}
}

// Every secret, through every field of every event: none is in the files.
func TestNoSecretIsRecorded(t *testing.T) {
	r, dir := recorder(t, audit.RecorderOptions{Domain: func(d string) bool { return d == "example.com" }})
	for name, secret := range secrets {
		var in audit.SignInEvent
		var change audit.DirectoryEvent
		var access audit.DecisionEvent
		for _, v := range []any{&in, &change, &access} {
			fill(reflect.ValueOf(v).Elem(), secret)
		}
		if name == "typed password" {
			// Typed where the user name belongs, which nobody can tell from a name
			// elsewhere: alone, with something like a domain, and with our own.
			in, change, access = audit.SignInEvent{UserName: secret}, audit.DirectoryEvent{}, audit.DecisionEvent{}
			if err := r.SignIn(t.Context(), &audit.SignInEvent{UserName: secret + "@pass.word"}); err != nil {
				t.Fatal(err)
			}
		}
		for _, prefix := range []string{"", "words before it, "} {
			if prefix != "" && name != "typed password" {
				for _, v := range []any{&in, &change, &access} {
					fill(reflect.ValueOf(v).Elem(), prefix+secret)
				}
			}
			access.Verdict = audit.Deny
			if err := r.SignIn(t.Context(), &in); err != nil {
				t.Fatal(err)
			}
			if err := r.Directory(t.Context(), &change); err != nil {
				t.Fatal(err)
			}
			if err := r.Decision(t.Context(), &access); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Values of properties that speak of secrets, whatever they look like.
	for _, property := range []string{"passwordProfile", "ClientSecret", "keyCredentials", "refreshToken"} {
		e := &audit.DirectoryEvent{Time: at, Targets: []audit.Target{{Changes: []audit.Change{{Name: property, Old: "correct", New: "horse"}}}}, Details: []audit.Detail{{Key: property, Value: "correct"}}}
		if err := r.Directory(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		if len(b) == 0 {
			t.Errorf("%s is empty: the test proves nothing", path)
		}
		for _, p := range parts {
			if i := bytes.Index(b, []byte(p)); i >= 0 {
				t.Errorf("%s has %q: …%s…", filepath.Base(filepath.Dir(path)), p, b[max(0, i-80):min(len(b), i+80)])
			}
		}
		return nil
	})
	if err != nil || files != 3 {
		t.Errorf("%d files: %v", files, err)
	}
}

// What is no secret stays readable.
func TestOrdinaryTextIsKept(t *testing.T) {
	r, _ := recorder(t, audit.RecorderOptions{})
	for _, s := range []string{
		event().UserAgent,
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0.2210.91",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Mobile/15E148 Safari/604.1",
		"AZURECLI/2.60.0 (DEB) azsdk-python-core/1.28.0 Python/3.11.8 (Linux-6.5.0-1022-azure-x86_64-with-glibc2.36)",
		"azsdk-go-azidentity/v1.5.1 (go1.21.6; linux)", "python-requests/2.31.0", "MSAL.Desktop/4.56.0.0", "kubelogin/v0.1.4 (linux/amd64) 3c4c8a2/git",
		"/subscriptions/22222222-0000-4000-8000-000000000001/resourceGroups/RG-Prod-01/providers/Microsoft.ContainerService/managedClusters/Aks-Cluster-42",
		"AADSTS50076: Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '6dae42f8-4368-4678-94ff-3960e28e3630'.",
		"AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.",
		"Microsoft.Kubernetes/connectedClusters/pods/read", "system:serviceaccount:kube-system:coredns", "aks-nodepool1-12345678-vmss000000",
		"Error validating credentials due to invalid username or password.", "coredns-5d78c9869d-abcde", "Zoë Müller-Straße", "Error code 50034",
	} {
		if err := r.SignIn(t.Context(), &audit.SignInEvent{Reason: s, Code: 1}); err != nil {
			t.Fatal(err)
		}
		p, err := r.ListSignIns(t.Context(), audit.Query[audit.SignIn]{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Records[0].Status.FailureReason; got != s {
			t.Errorf("%q is kept as %q", s, got)
		}
	}
}

func TestTextIsBoundedAndOnOneLine(t *testing.T) {
	r, _ := recorder(t, audit.RecorderOptions{})
	e := &audit.SignInEvent{UserAgent: strings.Repeat("ü ", 1<<20), DisplayName: "a\nb\x00\x1b[31mc\xff", Code: 1, Reason: "x"}
	if err := r.SignIn(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	p, err := r.ListSignIns(t.Context(), audit.Query[audit.SignIn]{})
	if err != nil {
		t.Fatal(err)
	}
	s := p.Records[0]
	if len(s.UserAgent) > 1100 || strings.ContainsAny(s.UserDisplayName, "\n\x00\x1b") || !utf8.ValidString(s.UserDisplayName) {
		t.Errorf("%d bytes, %q", len(s.UserAgent), s.UserDisplayName)
	}
}

func TestDirectoryDocument(t *testing.T) {
	r, _ := recorder(t, audit.RecorderOptions{})
	e := &audit.DirectoryEvent{
		ID: trace, CorrelationID: correl, Time: at, Tenant: tenant, Activity: "Add member to group", Category: "GroupManagement", Operation: "Assign",
		Success: true, User: ann, UserName: "ann@example.com", Address: netip.MustParseAddr("192.0.2.7"),
		Targets: []audit.Target{{Type: "Group", ID: string(ann), DisplayName: "ops", Changes: []audit.Change{{Name: "displayName", Old: `"a"`, New: `"b"`}}}},
		Details: []audit.Detail{{"User-Agent", "az"}},
	}
	if err := r.Directory(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	d, err := r.FindDirectory(t.Context(), tenant, trace)
	if err != nil {
		t.Fatal(err)
	}
	want := &audit.DirectoryAudit{
		ID: trace, Category: "GroupManagement", CorrelationID: correl, Result: "success", Activity: "Add member to group", Time: at,
		LoggedByService: "Core Directory", OperationType: "Assign", TenantID: tenant,
		InitiatedBy:       audit.Initiator{User: &audit.UserIdentity{ID: ann, UserPrincipalName: "ann@example.com", IPAddress: "192.0.2.7"}},
		TargetResources:   []audit.TargetResource{{ID: string(ann), DisplayName: "ops", Type: "Group", ModifiedProperties: []audit.ModifiedProperty{{"displayName", `"a"`, `"b"`}}}},
		AdditionalDetails: []audit.KeyValue{{"User-Agent", "az"}},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	e.User, e.Success, e.Client, e.ServicePrincipal = "", false, client, ann
	e.ID = correl
	if err := r.Directory(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	d, err = r.FindDirectory(t.Context(), tenant, correl)
	if err != nil || d.Result != "failure" || d.InitiatedBy.User != nil || d.InitiatedBy.App.ServicePrincipalID != ann {
		t.Errorf("%+v %v", d, err)
	}
	if _, err := r.FindDirectory(t.Context(), "11111111-0000-4000-8000-000000000002", trace); !errs.Is(err, errs.NotFound) {
		t.Errorf("another tenant finds it: %v", err)
	}
}

func TestEveryRefusalAndSomeAllows(t *testing.T) {
	r, _ := recorder(t, audit.RecorderOptions{AllowsOneIn: 10})
	for i := range 100 {
		for _, v := range []audit.Verdict{audit.Allow, audit.Deny, audit.NoOpinion} {
			e := &audit.DecisionEvent{Time: at, Tenant: tenant, Surface: "subjectAccessReview", Verdict: v, Reason: "because", Revision: int64(i), User: ann, Verb: "get", Resource: "pods", Namespace: "default"}
			if err := r.Decision(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	counts := map[audit.Verdict]int{}
	p, err := r.ListDecisions(t.Context(), audit.Query[audit.Decision]{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range p.Records {
		counts[d.Verdict]++
		if want := map[audit.Verdict]int{audit.Allow: 10}[d.Verdict]; want != 0 && d.OneIn != want || want == 0 && d.OneIn != 1 {
			t.Errorf("%s stands for %d", d.Verdict, d.OneIn)
		}
	}
	if diff := cmp.Diff(map[audit.Verdict]int{audit.Allow: 10, audit.Deny: 100, audit.NoOpinion: 100}, counts); diff != "" {
		t.Error(diff)
	}
	if d := p.Records[0]; d.Revision != 99 || d.UserID != ann || d.Verb != "get" || d.Reason != "because" {
		t.Errorf("%+v", d)
	}
}

func TestPaging(t *testing.T) {
	r, _ := recorder(t, audit.RecorderOptions{Options: audit.Options{SegmentBytes: 4000}})
	for i := range 30 {
		e := event()
		e.ID, e.Code = fmt.Sprintf("55555555-0000-4000-8000-%012d", i), i
		if err := r.SignIn(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	even := func(s *audit.SignIn) bool { return s.Status.ErrorCode%2 == 0 }
	var got []int
	q := audit.Query[audit.SignIn]{Limit: 4, Match: even}
	for pages := 0; ; pages++ {
		p, err := r.ListSignIns(t.Context(), q)
		if err != nil || pages > 10 {
			t.Fatal(pages, err)
		}
		for _, s := range p.Records {
			got = append(got, s.Status.ErrorCode)
		}
		// New records do not move the pages.
		if err := r.SignIn(t.Context(), event()); err != nil {
			t.Fatal(err)
		}
		if p.Next == "" {
			break
		}
		q.After = p.Next
	}
	if want := []int{28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("pages hold %v", got)
	}
	for _, bad := range []string{"x", "MS4tNQ", "LTEuMA", "MC4w", "MS4yIA", "!!!", strings.Repeat("A", 1000)} {
		if _, err := r.ListSignIns(t.Context(), audit.Query[audit.SignIn]{After: bad}); !errs.Is(err, errs.Invalid) {
			t.Errorf("the page %q: %v", bad, err)
		}
	}
	// A position inside of a record or past the end harms nothing.
	for _, odd := range []string{"MS43", "OTk5OTk5OS45OTk5OTk"} {
		if _, err := r.ListSignIns(t.Context(), audit.Query[audit.SignIn]{After: odd}); err != nil {
			t.Errorf("the page %q: %v", odd, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.ListSignIns(ctx, audit.Query[audit.SignIn]{}); err == nil {
		t.Error("a search goes on after its client has gone")
	}
}

func TestFindSignIn(t *testing.T) {
	r, _ := recorder(t, audit.RecorderOptions{})
	if err := r.SignIn(t.Context(), event()); err != nil {
		t.Fatal(err)
	}
	if s, err := r.FindSignIn(t.Context(), tenant, trace); err != nil || s.CorrelationID != correl {
		t.Errorf("%+v %v", s, err)
	}
	for _, other := range []directory.TenantID{"", "11111111-0000-4000-8000-000000000002"} {
		if _, err := r.FindSignIn(t.Context(), other, trace); !errs.Is(err, errs.NotFound) {
			t.Errorf("tenant %q finds it: %v", other, err)
		}
	}
}

func TestSince(t *testing.T) {
	c := clock.NewManual(at)
	r, _ := recorder(t, audit.RecorderOptions{Options: audit.Options{Clock: c}})
	for range 10 {
		if err := r.SignIn(t.Context(), event()); err != nil {
			t.Fatal(err)
		}
		c.Advance(24 * time.Hour)
	}
	looked := 0
	_, err := r.ListSignIns(t.Context(), audit.Query[audit.SignIn]{Since: c.Now().Add(-24 * time.Hour), Match: func(*audit.SignIn) bool { looked++; return true }})
	if err != nil || looked != 2 { // a day of slack for clocks that were set back
		t.Errorf("looked at %d records: %v", looked, err)
	}
}

func TestExport(t *testing.T) {
	r, _ := recorder(t, audit.RecorderOptions{Options: audit.Options{SegmentBytes: 3000}})
	for i := range 10 {
		e := event()
		e.Code = i
		if err := r.SignIn(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	keep := func(rec audit.Record) bool { return !bytes.Contains(rec.Doc, []byte(`"errorCode":3,`)) }
	if err := r.Export(t.Context(), &out, audit.SignIns, keep); err != nil {
		t.Fatal(err)
	}
	var got []int
	for line := range strings.Lines(out.String()) {
		var s audit.SignIn
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		got = append(got, s.Status.ErrorCode)
	}
	if !slices.Equal(got, []int{0, 1, 2, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("exported %v", got)
	}
	if err := r.Export(t.Context(), &out, "../x", nil); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
}

func TestFollowAndForward(t *testing.T) {
	forwarded := make(chan audit.Kind, 10)
	r, _ := recorder(t, audit.RecorderOptions{Forward: func(k audit.Kind, _ audit.Record) { forwarded <- k }})
	seen := make(chan audit.Record)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go r.Follow(ctx, audit.SignIns, func(rec audit.Record) bool { seen <- rec; return false })
	for done := false; !done; {
		if err := r.SignIn(ctx, event()); err != nil {
			t.Fatal(err)
		}
		select {
		case rec := <-seen:
			done = bytes.Contains(rec.Doc, []byte(trace))
		case <-time.After(10 * time.Millisecond): // the follower had not begun
		}
	}
	if k := <-forwarded; k != audit.SignIns {
		t.Errorf("forwarded from %s", k)
	}
}

func BenchmarkSignIn(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", parallel), func(b *testing.B) {
			r, _ := recorder(b, audit.RecorderOptions{Options: audit.Options{Clock: clock.Func(time.Now)}})
			e := event()
			e.Policies = slices.Repeat(e.Policies, 10)
			b.ReportAllocs()
			b.SetParallelism(max(1, parallel/runtime.GOMAXPROCS(0)))
			b.ResetTimer()
			if parallel == 1 {
				for b.Loop() {
					if err := r.SignIn(b.Context(), e); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := r.SignIn(b.Context(), e); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
