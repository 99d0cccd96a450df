package token_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/token"
)

// shown returns the claims as they stand in the token.
func shown(t testing.TB, c *token.Claims) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(c.JSON(), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func fullFacts() token.Facts {
	f := userFacts()
	f.Lifetime = 75 * time.Minute
	f.Tenant.Created = time.Unix(1500000000, 0)
	f.User.PUID, f.User.OnPremSID = "100320001234ABCD", "S-1-5-21-1"
	f.User.Mail = "ann@mail.test"
	f.User.PasswordExpires, f.User.PasswordURL = now.Add(time.Hour), "https://pw.example.test"
	f.Auth.DeviceID, f.Auth.IP, f.Auth.InCorp, f.Auth.Contexts = otherID, netip.MustParseAddr("192.0.2.7"), true, []string{"c1"}
	f.Roles, f.WIDs = []string{"Admin"}, []string{directory.GlobalReader}
	f.Client.Capabilities = []string{"CP1"}
	return f
}

func TestAccessTokenV1User(t *testing.T) {
	got := shown(t, accessClaims(t, fullFacts()))
	sub := token.PairwiseSubject([]byte("secret of tenant A"), userID, directory.AKSServer)
	want := map[string]any{
		"aud": string(directory.AKSServer), "iss": "https://sts.windows.net/" + string(tenantA) + "/",
		"iat": float64(now.Unix() - 300), "nbf": float64(now.Unix() - 300), "exp": float64(now.Unix() + 4500),
		"acr": "1", "acrs": []any{"c1"}, "amr": []any{"pwd", "mfa"}, "appid": string(directory.AKSClient), "appidacr": "0",
		"deviceid": string(otherID), "family_name": "Ådmin", "given_name": "Ann", "name": "Ann <Admin> & Co",
		"groups": []any{string(otherID)}, "in_corp": "true", "ipaddr": "192.0.2.7", "oid": string(userID),
		"onprem_sid": "S-1-5-21-1", "puid": "100320001234ABCD", "pwd_exp": "3600", "pwd_url": "https://pw.example.test",
		"roles": []any{"Admin"}, "scp": "user.read", "sub": sub, "tid": string(tenantA),
		"unique_name": "ann@contoso.test", "upn": "ann@contoso.test", "uti": "dXRpLW9uZQ", "ver": "1.0",
		"wids": []any{directory.GlobalReader, directory.OrdinaryUser}, "xms_cc": []any{"CP1"}, "xms_tcdt": float64(1500000000),
	}
	for _, opaque := range []string{"aio", "rh"} {
		if got[opaque] == nil {
			t.Errorf("no %s", opaque)
		}
		delete(got, opaque)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
}

func TestAccessTokenV2User(t *testing.T) {
	f := fullFacts()
	f.Resource = token.Resource{AppID: directory.AppID(otherID), Audience: "api://mine", Version: token.V2}
	got := shown(t, accessClaims(t, f))
	for claim, want := range map[string]any{
		"aud": string(otherID), "iss": "https://login.example.test/" + string(tenantA) + "/v2.0", "ver": "2.0",
		"azp": string(directory.AKSClient), "azpacr": "0", "scp": "user.read",
	} {
		if got[claim] != want {
			t.Errorf("%s = %v, want %v", claim, got[claim], want)
		}
	}
	for _, no := range []string{"appid", "appidacr", "acr", "amr", "upn", "unique_name", "name", "preferred_username", "family_name", "ipaddr", "email", "groups", "wids", "idtyp"} {
		if got[no] != nil {
			t.Errorf("%s = %v is there", no, got[no])
		}
	}
	f.Profile = true
	got = shown(t, accessClaims(t, f))
	if got["name"] != "Ann <Admin> & Co" || got["preferred_username"] != "ann@contoso.test" {
		t.Errorf("profile shows %v, %v", got["name"], got["preferred_username"])
	}
}

func TestAccessTokenApp(t *testing.T) {
	f := appFacts()
	f.Roles = []string{"Reader.All"}
	f.App.ManagedIdentity = "/subscriptions/s/mi"
	for _, v := range []token.Version{token.V1, token.V2} {
		f.Resource.Version = v
		c := accessClaims(t, f)
		got := shown(t, c)
		if c.Subject != string(spID) || c.Object != spID || got["idtyp"] != "app" || got["xms_mirid"] != "/subscriptions/s/mi" || c.ClientAuth() != "1" {
			t.Errorf("%s: %v", v, got)
		}
		for _, no := range []string{"scp", "upn", "name", "amr", "acr", "unique_name", "preferred_username", "wids"} {
			if got[no] != nil {
				t.Errorf("%s: %s = %v is there", v, no, got[no])
			}
		}
	}
	f.Resource.FirstParty = false
	if c := accessClaims(t, f); c.IDTyp != "" {
		t.Error("idtyp without asking")
	}
}

func TestFactsThatContradict(t *testing.T) {
	for name, change := range map[string]func(*token.Facts){
		"no subject":       func(f *token.Facts) { f.User = nil },
		"two subjects":     func(f *token.Facts) { f.App = &token.App{ID: spID} },
		"no scopes":        func(f *token.Facts) { f.Scopes = nil },
		"no tenant":        func(f *token.Facts) { f.Tenant.ID = "" },
		"no client":        func(f *token.Facts) { f.Client.AppID = "" },
		"no token id":      func(f *token.Facts) { f.UTI = "" },
		"no object id":     func(f *token.Facts) { f.User.ID = "" },
		"client auth":      func(f *token.Facts) { f.Client.Auth = "" },
		"version":          func(f *token.Facts) { f.Resource.Version = "3.0" },
		"no v2 issuer":     func(f *token.Facts) { f.Resource.Version, f.Tenant.Issuers.V2 = token.V2, "" },
		"life too long":    func(f *token.Facts) { f.Lifetime = token.MaxLifetime },
		"negative life":    func(f *token.Facts) { f.Lifetime = -1 },
		"scopes of an app": func(f *token.Facts) { f.User, f.App = nil, &token.App{ID: spID} },
	} {
		f := userFacts()
		change(&f)
		if c, err := token.AccessToken(f); err == nil {
			t.Errorf("%s: %s", name, c.JSON())
		}
	}
}

func TestGroupsClaim(t *testing.T) {
	groups := func(n int) []token.Group {
		list := make([]token.Group, n)
		for i := range list {
			list[i] = token.Group{ID: directory.ObjectID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)), Security: i%2 == 0, Assigned: i == 0}
		}
		return list
	}
	type want struct {
		groups            int
		overage, has, wid bool
	}
	for _, tc := range []struct {
		setting  string
		count    int
		implicit bool
		want     want
	}{
		{"", 10, false, want{}},
		{"None", 10, false, want{}},
		{"SecurityGroup", 10, false, want{groups: 5}},
		{"securitygroup", 10, false, want{groups: 5}},
		{"All", 10, false, want{groups: 10, wid: true}},
		{"ApplicationGroup", 10, false, want{groups: 1}},
		{"DirectoryRole", 10, false, want{wid: true}},
		{"ApplicationGroup, DirectoryRole", 10, false, want{groups: 1, wid: true}},
		{"All", 200, false, want{groups: 200, wid: true}},
		{"All", 201, false, want{overage: true, wid: true}},
		{"SecurityGroup", 400, false, want{groups: 200}},
		{"SecurityGroup", 401, false, want{overage: true}},
		{"All", 6, true, want{groups: 6, wid: true}},
		{"All", 7, true, want{has: true, wid: true}},
		{"All", 0, false, want{wid: true}},
	} {
		t.Run(fmt.Sprintf("%s %d %v", tc.setting, tc.count, tc.implicit), func(t *testing.T) {
			f := userFacts()
			f.Resource.GroupClaims, f.Groups, f.Implicit = tc.setting, groups(tc.count), tc.implicit
			c := accessClaims(t, f)
			got := want{len(c.Groups), c.ClaimNames != nil, c.HasGroups, len(c.WIDs) > 0}
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if c.GroupsOverage() != (tc.want.overage || tc.want.has) {
				t.Errorf("GroupsOverage = %v", c.GroupsOverage())
			}
		})
	}
	f := userFacts()
	f.Groups = groups(201)
	c := accessClaims(t, f)
	if got, want := c.ClaimSources[c.ClaimNames["groups"]].Endpoint, "https://graph.windows.net/"+string(tenantA)+"/users/"+string(userID)+"/getMemberObjects"; got != want {
		t.Errorf("endpoint = %s", got)
	}
}

func TestPairwiseSubject(t *testing.T) {
	s := token.PairwiseSubject([]byte("k"), userID, directory.AKSServer)
	for name, other := range map[string]string{
		"user": token.PairwiseSubject([]byte("k"), otherID, directory.AKSServer), "app": token.PairwiseSubject([]byte("k"), userID, directory.Graph),
		"tenant": token.PairwiseSubject([]byte("l"), userID, directory.AKSServer),
	} {
		if s == other {
			t.Errorf("the same for another %s", name)
		}
	}
	if s == string(userID) || s != token.PairwiseSubject([]byte("k"), userID, directory.AKSServer) {
		t.Error("not stable, or the object id")
	}
}

func TestIDToken(t *testing.T) {
	f := fullFacts()
	f.Client = token.Client{AppID: directory.AppID(otherID), Auth: token.ClientPublic, Optional: []directory.OptionalClaim{{Name: "auth_time"}, {Name: "login_hint"}, {Name: "idtyp", Additional: []string{"include_user_token"}}}}
	f.Lifetime, f.Nonce, f.AtHash, f.Profile, f.Email = 0, "n", token.HalfHash("t"), true, true
	f.Auth.Session = "sid-1"
	c, err := token.IDToken(f)
	if err != nil {
		t.Fatal(err)
	}
	got := shown(t, c)
	for claim, want := range map[string]any{
		"aud": string(otherID), "iss": issuers.Name(token.V2, tenantA), "exp": float64(now.Unix() + 3600), "nonce": "n",
		"at_hash": token.HalfHash("t"), "name": "Ann <Admin> & Co", "preferred_username": "ann@contoso.test", "email": "ann@mail.test",
		"sid": "sid-1", "auth_time": float64(now.Unix() - 60), "sub": token.PairwiseSubject([]byte("secret of tenant A"), userID, directory.AppID(otherID)),
	} {
		if got[claim] != want {
			t.Errorf("%s = %v, want %v", claim, got[claim], want)
		}
	}
	for _, no := range []string{"azp", "appid", "azpacr", "appidacr", "scp", "idtyp", "cnf", "xms_cc", "upn", "amr", "groups"} {
		if got[no] != nil {
			t.Errorf("%s = %v is there", no, got[no])
		}
	}
	f.IDVersion = token.V1
	if c, err = token.IDToken(f); err != nil {
		t.Fatal(err)
	}
	if c.UPN != "ann@contoso.test" || c.Issuer != issuers.Name(token.V1, tenantA) || len(c.AMR) != 2 || c.PasswordExpires != "3600" {
		t.Errorf("v1: %s", c.JSON())
	}
	v := newVerifier(t)
	hint := sign(t, testKey(t, tenantA), c)
	if _, err := v.VerifyIDTokenHint(hint, directory.AppID(otherID), now.Add(10*time.Hour)); err != nil {
		t.Errorf("an old hint: %v", err)
	}
	if _, err := v.VerifyIDTokenHint(hint, directory.AKSClient, now); token.ClassOf(err) != token.ClassAudience {
		t.Errorf("hint of another client: %v", err)
	}
	access := sign(t, testKey(t, tenantA), accessClaims(t, userFacts()))
	if _, err := v.VerifyIDTokenHint(access, "", now); token.ClassOf(err) != token.ClassKind {
		t.Errorf("an access token as a hint: %v", err)
	}
	if _, err := v.VerifyIDTokenHint(hint[:len(hint)-4]+"AAAA", "", now); err == nil {
		t.Error("a hint with a broken signature")
	}
}

func TestGuests(t *testing.T) {
	f := fullFacts()
	f.User.Guest, f.User.IdentityIssuer, f.User.Mail = true, "https://sts.windows.net/"+string(tenantB)+"/", "gus@fabrikam.test"
	f.User.UPN = "gus_fabrikam.test#EXT#@contoso.test"
	c := accessClaims(t, f)
	if c.UPN != "" || c.UniqueName != "gus@fabrikam.test" || c.IDP != f.User.IdentityIssuer || c.Email != "gus@fabrikam.test" {
		t.Errorf("guest: %s", c.JSON())
	}
	for additional, want := range map[string]string{
		"": "", "include_externally_authenticated_upn": f.User.UPN,
		"include_externally_authenticated_upn_without_hash": "gus_fabrikam.test_EXT_@contoso.test",
	} {
		f.Resource.Optional = []directory.OptionalClaim{{Name: "upn", Additional: []string{additional}}}
		if c := accessClaims(t, f); c.UPN != want {
			t.Errorf("%q: upn = %q, want %q", additional, c.UPN, want)
		}
	}
	f.User.IdentityIssuer = "live.com"
	if c := accessClaims(t, f); c.UniqueName != "live.com#gus@fabrikam.test" {
		t.Errorf("unique_name = %s", c.UniqueName)
	}
}

func TestOptionalClaims(t *testing.T) {
	f := fullFacts()
	f.Tenant.Country, f.Tenant.Region, f.Tenant.Language = "DE", "EU", "de"
	f.User.Country, f.User.Language, f.User.MailVerified, f.User.OtherMails, f.User.MailNickname = "FR", "fr", true, []string{"a@b.test"}, "ann"
	f.Auth.Session, f.Auth.Forwarded = "s", "192.0.2.8"
	f.Resource = token.Resource{AppID: directory.AppID(otherID), Version: token.V2}
	source := "user"
	for name, want := range map[string]any{
		"acct": float64(0), "auth_time": float64(now.Unix() - 60), "ctry": "FR", "email": "ann@mail.test", "family_name": "Ådmin",
		"fwd": "192.0.2.8", "given_name": "Ann", "in_corp": "true", "ipaddr": "192.0.2.7", "nickname": "ann", "onprem_sid": "S-1-5-21-1",
		"preferred_username": "ann@contoso.test", "pwd_exp": "3600", "sid": "s", "tenant_ctry": "DE", "tenant_region_scope": "EU",
		"upn": "ann@contoso.test", "verified_primary_email": []any{"ann@mail.test"}, "verified_secondary_email": []any{"a@b.test"},
		"xms_edov": true, "xms_pl": "fr", "xms_tpl": "de",
	} {
		f.Resource.Optional = nil
		if got := shown(t, accessClaims(t, f))[name]; got != nil {
			t.Errorf("%s = %v without asking", name, got)
		}
		f.Resource.Optional = []directory.OptionalClaim{{Name: name}}
		if d := cmp.Diff(want, shown(t, accessClaims(t, f))[name]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		f.Resource.Optional[0].Source = &source
		if got := shown(t, accessClaims(t, f))[name]; got != nil {
			t.Errorf("%s = %v for a directory extension of that name", name, got)
		}
	}
	f.Resource.Optional = []directory.OptionalClaim{{Name: "idtyp"}}
	if c := accessClaims(t, f); c.IDTyp != "" {
		t.Errorf("idtyp = %s", c.IDTyp)
	}
	f.Resource.Optional[0].Additional = []string{"include_user_token"}
	if c := accessClaims(t, f); c.IDTyp != "user" {
		t.Errorf("idtyp = %s", c.IDTyp)
	}
	f.Resource = token.Resource{AppID: directory.AppID(otherID), Audience: "api://x", Optional: []directory.OptionalClaim{{Name: "aud", Additional: []string{"use_guid"}}}}
	if c := accessClaims(t, f); c.Audience != string(otherID) {
		t.Errorf("aud = %s", c.Audience)
	}
}

func TestAccessLifetime(t *testing.T) {
	var sum time.Duration
	const n = 2000
	for range n {
		d := token.AccessLifetime(token.NewUTI())
		if d < time.Hour || d > 90*time.Minute {
			t.Fatalf("lives %v", d)
		}
		sum += d
	}
	if mean := sum / n; mean < 73*time.Minute || mean > 77*time.Minute {
		t.Errorf("mean %v", mean)
	}
}

// TestVerdictOverTime: whatever way the clock moves, a token is not yet valid,
// then valid, then expired; never twice.
func TestVerdictOverTime(t *testing.T) {
	v := newVerifier(t)
	f := userFacts()
	f.Lifetime = 10 * time.Minute
	tok := sign(t, testKey(t, tenantA), accessClaims(t, f))
	var order []string
	for at := now.Add(-10 * time.Minute); at.Before(now.Add(15 * time.Minute)); at = at.Add(time.Second) {
		_, err := v.Verify(tok, at)
		if c := token.ClassOf(err).String(); len(order) == 0 || order[len(order)-1] != c {
			order = append(order, c)
		}
	}
	if got := strings.Join(order, " "); got != "not-yet none expired" {
		t.Errorf("verdicts: %s", got)
	}
}

func TestVerifyDoesNotAllocateForOversize(t *testing.T) {
	v := newVerifier(t)
	huge := strings.Repeat(".", 10<<20)
	if n := testing.AllocsPerRun(10, func() { v.Verify(huge, now) }); n > 2 {
		t.Errorf("%v allocations for a token of 10 MiB", n)
	}
}
