package webhook_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/keyring"
	"github.com/entrance-id/entrance/internal/pki"
	"github.com/entrance-id/entrance/internal/pop"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/internal/webhook"
)

// world is two tenants, a cluster of the first, and a webhook server that its
// API server can ask.
type world struct {
	t         testing.TB
	store     *store.Store
	clock     *clock.Manual
	ring      *keyring.Ring
	issuers   token.Issuers
	authority *pki.Authority
	server    *httptest.Server
	client    *http.Client

	tenant, other       directory.TenantID
	admin, dev, outside *directory.User // outside is of the other tenant
	app                 *directory.ServicePrincipal
	admins, nested      directory.ObjectID
	log                 bytes.Buffer
	secret              string // of a legacy cluster's server application
}

const key = "c1"

func newWorld(t testing.TB) *world {
	w := &world{
		t: t, store: storetest.Open(t, state.Tables()...),
		clock:   clock.NewManual(time.Now().Truncate(time.Second)),
		issuers: token.Issuers{V2: "https://login.example"},
		tenant:  directory.TenantID(directory.NewGUID()), other: directory.TenantID(directory.NewGUID()),
	}
	logger := slog.New(slog.NewTextHandler(&w.log, nil))
	w.ring = keyring.New(w.store, w.clock, token.DefaultPolicy, logger)
	t.Cleanup(w.ring.Close)
	now := w.clock.Now()
	newUser := func(tenant directory.TenantID, name, domain string) *directory.User {
		return &directory.User{Tenant: tenant, ID: directory.ObjectID(directory.NewGUID()), UserPrincipalName: name + "@" + domain, DisplayName: name, Enabled: true, Created: now}
	}
	w.admin, w.dev = newUser(w.tenant, "ada", "contoso.test"), newUser(w.tenant, "dev", "contoso.test")
	w.outside = newUser(w.other, "eve", "evil.test")
	w.admins, w.nested = directory.ObjectID(directory.NewGUID()), directory.ObjectID(directory.NewGUID())
	w.app = &directory.ServicePrincipal{Tenant: w.tenant, ID: directory.ObjectID(directory.NewGUID()), AppID: directory.AppID(directory.NewGUID()), DisplayName: "ci", Type: "Application", Enabled: true, Created: now}
	w.update(func(tx *store.Tx) error {
		for _, tenant := range []struct {
			id     directory.TenantID
			domain string
		}{{w.tenant, "contoso.test"}, {w.other, "evil.test"}} {
			if err := state.CreateTenant(tx, &directory.Tenant{ID: tenant.id, Created: now, Domains: []directory.Domain{{Name: tenant.domain, Default: true}}}); err != nil {
				return err
			}
		}
		for _, u := range []*directory.User{w.admin, w.dev, w.outside} {
			if err := state.CreateUser(tx, u); err != nil {
				return err
			}
		}
		if err := state.ServicePrincipals.Create(tx, w.app); err != nil {
			return err
		}
		for id, name := range map[directory.ObjectID]string{w.admins: "admins", w.nested: "on-call"} {
			if err := state.Groups.Create(tx, &directory.Group{Tenant: w.tenant, ID: id, DisplayName: name, SecurityEnabled: true}); err != nil {
				return err
			}
		}
		// ada is an administrator through a group inside the admin group.
		if err := state.Link(tx, directory.Member, w.tenant, w.admins, w.nested); err != nil {
			return err
		}
		if err := state.Link(tx, directory.Member, w.tenant, w.nested, w.admin.ID); err != nil {
			return err
		}
		return state.Clusters.Create(tx, &state.Cluster{
			Key: key, ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c",
			Tenant: w.tenant, Entra: true, ServerApp: directory.AKSServer, AdminGroups: []directory.ObjectID{w.admins},
		})
	})
	for _, tenant := range []directory.TenantID{w.tenant, w.other} {
		if err := w.ring.Ensure(context.Background(), tenant); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if w.authority, err = pki.NewAuthority("webhooks", pki.Constraints{}, now, time.Hour); err != nil {
		t.Fatal(err)
	}
	pool, err := w.authority.Pool()
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(webhook.New(webhook.Config{
		Store: w.store, Clock: w.clock, Keys: &keyring.Trust{Ring: w.ring, Issuers: w.issuers}, Logger: logger,
		Pods:         pods{},
		LegacySecret: func(store.Reader, string) (string, bool) { return w.secret, w.secret != "" },
	}))
	w.server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	w.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	w.client = w.clientOf(w.authority, webhook.Organization, key)
	return w
}

func (w *world) update(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// clientOf returns a client that presents a certificate of the given authority.
func (w *world) clientOf(a *pki.Authority, organization, name string) *http.Client {
	w.t.Helper()
	cert, err := a.Client(organization, name, w.clock.Now(), time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	tr := w.server.Client().Transport.(*http.Transport).Clone()
	tr.TLSClientConfig.Certificates = []tls.Certificate{*cert}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// mint returns a token of the user's tenant for the AKS server application,
// after change was made to its facts or claims.
func (w *world) mint(u *directory.User, facts func(*token.Facts), claims func(*token.Claims)) string {
	w.t.Helper()
	f := token.Facts{
		Now: w.clock.Now(), UTI: token.NewUTI(),
		Tenant:   token.Tenant{ID: u.Tenant, Issuers: w.issuers, Pairwise: []byte("secret")},
		Resource: token.Resource{AppID: directory.AKSServer, Audience: string(directory.AKSServer), Version: token.V1},
		Client:   token.Client{AppID: directory.AKSClient, Auth: token.ClientPublic},
		User:     &token.User{ID: u.ID, UPN: u.UserPrincipalName, DisplayName: u.DisplayName},
		Scopes:   []string{"user.read"},
	}
	if facts != nil {
		facts(&f)
	}
	c, err := token.AccessToken(f)
	if err != nil {
		w.t.Fatal(err)
	}
	if claims != nil {
		claims(c)
	}
	k, err := w.ring.Active(f.Tenant.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := k.Sign(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

func (w *world) post(path string, body any) (int, []byte) {
	w.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.postRaw(w.client, path, b)
}

func (w *world) postRaw(c *http.Client, path string, body []byte) (int, []byte) {
	w.t.Helper()
	res, err := c.Post(w.server.URL+path, "application/json", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, out
}

func (w *world) review(raw string) authenticationv1.TokenReviewStatus {
	w.t.Helper()
	review := authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: raw}}
	review.APIVersion, review.Kind = "authentication.k8s.io/v1", "TokenReview"
	code, body := w.post("/clusters/"+key+"/authenticate", review)
	if code != http.StatusOK {
		w.t.Fatalf("TokenReview: HTTP %d: %s", code, body)
	}
	var out authenticationv1.TokenReview
	if err := json.Unmarshal(body, &out); err != nil {
		w.t.Fatal(err)
	}
	if out.Spec.Token != "" {
		w.t.Error("the answer repeats the token")
	}
	return out.Status
}

func (w *world) access(endpoint string, spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	w.t.Helper()
	if spec.ResourceAttributes == nil && spec.NonResourceAttributes == nil {
		spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes"}
	}
	review := authorizationv1.SubjectAccessReview{Spec: spec}
	review.APIVersion, review.Kind = "authorization.k8s.io/v1", "SubjectAccessReview"
	code, body := w.post("/clusters/"+key+"/"+endpoint, review)
	if code != http.StatusOK {
		w.t.Fatalf("SubjectAccessReview: HTTP %d: %s", code, body)
	}
	var out authorizationv1.SubjectAccessReview
	if err := json.Unmarshal(body, &out); err != nil {
		w.t.Fatal(err)
	}
	return out.Status
}

// as returns the spec of a review about a user, as an API server makes it from
// a TokenReview.
func as(u *directory.User, groups ...directory.ObjectID) authorizationv1.SubjectAccessReviewSpec {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: u.UserPrincipalName, Groups: []string{"system:authenticated"},
		Extra: map[string]authorizationv1.ExtraValue{"oid": {string(u.ID)}},
	}
	for _, g := range groups {
		spec.Groups = append(spec.Groups, string(g))
	}
	return spec
}

func TestTokenReview(t *testing.T) {
	w := newWorld(t)
	got := w.review(w.mint(w.admin, nil, nil))
	if !got.Authenticated || got.User.Username != "ada@contoso.test" || got.User.UID != "" {
		t.Fatalf("status = %+v", got)
	}
	if fmt.Sprint(got.User.Extra) != fmt.Sprintf("map[oid:[%s]]", w.admin.ID) {
		t.Errorf("extra = %v", got.User.Extra)
	}
	if len(got.User.Groups) != 2 || !strings.Contains(strings.Join(got.User.Groups, " "), string(w.admins)) {
		t.Errorf("groups = %v, want the direct and the nested one", got.User.Groups)
	}

	// An application is known by its object id.
	raw := w.mint(w.admin, func(f *token.Facts) {
		f.User, f.Scopes = nil, nil
		f.App = &token.App{ID: w.app.ID}
		f.Client = token.Client{AppID: w.app.AppID, Auth: token.ClientSecret}
	}, nil)
	if got := w.review(raw); !got.Authenticated || got.User.Username != string(w.app.ID) {
		t.Errorf("service principal: %+v", got)
	}
}

func TestGroupsAreThoseOfTheDirectory(t *testing.T) {
	w := newWorld(t)
	// Abuse case 32: the token says what it likes about groups and names.
	raw := w.mint(w.dev, nil, func(c *token.Claims) {
		c.Groups = []string{"system:masters", "system:nodes", string(w.admins), ""}
		c.UPN, c.UniqueName, c.Email = "system:kube-scheduler", "ada@contoso.test", "ada@contoso.test"
	})
	got := w.review(raw)
	if !got.Authenticated || got.User.Username != "dev@contoso.test" || len(got.User.Groups) != 0 {
		t.Fatalf("status = %+v", got)
	}
	// Abuse case 33: a forged source of groups is not followed, and changes
	// nothing.
	called := false
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer trap.Close()
	raw = w.mint(w.dev, nil, func(c *token.Claims) {
		c.ClaimNames = map[string]string{"groups": "src1"}
		c.ClaimSources = map[string]token.Endpoint{"src1": {Endpoint: trap.URL}}
	})
	if got := w.review(raw); !got.Authenticated || len(got.User.Groups) != 0 || called {
		t.Errorf("status = %+v, trap called: %v", got, called)
	}
	// Membership counts from the next review on.
	w.update(func(tx *store.Tx) error { return state.Link(tx, directory.Member, w.tenant, w.admins, w.dev.ID) })
	if got := w.review(raw); len(got.User.Groups) != 1 {
		t.Errorf("groups after joining = %v", got.User.Groups)
	}
}

func TestTokenReviewRefuses(t *testing.T) {
	w := newWorld(t)
	now := w.clock.Now()
	for name, raw := range map[string]string{
		"nothing":     "",
		"garbage":     "not a token",
		"v2 audience": w.mint(w.admin, func(f *token.Facts) { f.Resource.Audience = "https://graph.microsoft.com/" }, nil),
		"other app":   w.mint(w.admin, func(f *token.Facts) { f.Resource.Audience = string(directory.ARM) }, nil),
		"expired":     w.mint(w.admin, func(f *token.Facts) { f.Now = now.Add(-3 * time.Hour); f.Lifetime = time.Hour }, nil),
		"id token":    w.mint(w.admin, nil, func(c *token.Claims) { c.Scope = ""; c.Nonce = "n" }),
		// Abuse case 12: the other tenant signs with its own key.
		"tenant B as tenant B": w.mint(w.outside, nil, nil),
		"tenant B, tid of A":   w.mint(w.outside, nil, func(c *token.Claims) { c.Tenant = w.tenant }),
		"tenant B, iss of A":   w.mint(w.outside, nil, func(c *token.Claims) { c.Issuer = "https://sts.windows.net/" + string(w.tenant) + "/" }),
		"tenant B, both of A, oid of ada": w.mint(w.outside, nil, func(c *token.Claims) {
			c.Tenant, c.Object = w.tenant, w.admin.ID
			c.Issuer = "https://sts.windows.net/" + string(w.tenant) + "/"
		}),
		"template issuer": w.mint(w.admin, nil, func(c *token.Claims) { c.Issuer = "https://sts.windows.net/{tenantid}/" }),
		"unknown object":  w.mint(w.admin, nil, func(c *token.Claims) { c.Object = directory.ObjectID(directory.NewGUID()) }),
		"no object":       w.mint(w.admin, nil, func(c *token.Claims) { c.Object = "" }),
		// A token that claims to speak for an application must not carry a
		// person's id.
		"user as application": w.mint(w.admin, nil, func(c *token.Claims) { c.Scope = ""; c.Subject = string(c.Object) }),
		"bound to a key":      w.mint(w.admin, func(f *token.Facts) { f.Cnf = &token.Confirmation{KeyID: "k"} }, nil),
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.review(raw); got.Authenticated || got.User.Username != "" || len(got.User.Groups) != 0 {
				t.Errorf("status = %+v, want not authenticated", got)
			} else if got.Error == "" {
				t.Error("the refusal gives no reason")
			}
		})
	}
	// Abuse case 13: a name that now belongs to somebody else does not follow
	// the token.
	raw := w.mint(w.dev, nil, nil)
	w.update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(w.tenant, w.dev.ID), func(u *directory.User) error { u.UserPrincipalName = "dev2@contoso.test"; return nil })
	})
	if got := w.review(raw); got.User.Username != "dev2@contoso.test" {
		t.Errorf("after renaming: %+v", got)
	}
	if strings.Contains(w.log.String(), raw) || strings.Contains(w.log.String(), raw[len(raw)-40:]) {
		t.Error("the log holds a token")
	}
}

func TestDisabledAndRevoked(t *testing.T) {
	w := newWorld(t)
	raw := w.mint(w.admin, nil, nil)
	userKey := state.Key(w.tenant, w.admin.ID)
	w.clock.Advance(time.Minute)
	if got := w.access("deny", as(w.admin, w.admins, w.nested)); got.Denied || got.Allowed {
		t.Fatalf("deny for a member = %+v, want no opinion", got)
	}

	w.update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, userKey, func(u *directory.User) error { u.Enabled = false; return nil })
	})
	if got := w.review(raw); got.Authenticated || !strings.Contains(got.Error, "disabled") {
		t.Errorf("disabled: %+v", got)
	}
	for _, endpoint := range []string{"deny", "authorize"} {
		if got := w.access(endpoint, as(w.admin, w.admins)); !got.Denied || got.Allowed || !strings.Contains(got.Reason, "disabled") {
			t.Errorf("%s for a disabled user = %+v", endpoint, got)
		}
	}

	w.update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, userKey, func(u *directory.User) error { u.Enabled, u.AccessRevoked = true, w.clock.Now(); return nil })
	})
	if got := w.review(raw); got.Authenticated {
		t.Errorf("revoked: %+v", got)
	}
	if got := w.access("deny", as(w.admin)); !got.Denied || !strings.Contains(got.Reason, "revoked") {
		t.Errorf("deny after revocation = %+v", got)
	}
	// A new token works, once the API server cannot hold the old review.
	w.clock.Advance(time.Minute)
	if got := w.review(w.mint(w.admin, nil, nil)); !got.Authenticated {
		t.Errorf("new token after revocation: %+v", got)
	}
	if got := w.access("deny", as(w.admin)); got.Denied {
		t.Errorf("deny a minute after revocation = %+v", got)
	}
	w.update(func(tx *store.Tx) error { return state.Delete(tx, w.tenant, w.admin.ID, w.clock.Now()) })
	if got := w.access("deny", as(w.admin)); !got.Denied {
		t.Errorf("deny for a deleted user = %+v", got)
	}
}

func TestAdminGroups(t *testing.T) {
	w := newWorld(t)
	if got := w.access("authorize", as(w.admin)); !got.Allowed || !strings.Contains(got.Reason, string(w.admins)) {
		t.Errorf("administrator = %+v", got)
	}
	// The review's groups do not count: they may be old, or made up.
	if got := w.access("authorize", as(w.dev, w.admins)); got.Allowed || got.Denied {
		t.Errorf("developer with the group in the review = %+v, want no opinion", got)
	}
	if got := w.access("deny", as(w.dev, w.admins)); !got.Denied || !strings.Contains(got.Reason, string(w.admins)) {
		t.Errorf("deny for a group that is not theirs = %+v", got)
	}
	// Joining and leaving act on the next review, also through a group inside.
	w.update(func(tx *store.Tx) error { return state.Link(tx, directory.Member, w.tenant, w.nested, w.dev.ID) })
	if got := w.access("authorize", as(w.dev)); !got.Allowed {
		t.Errorf("after joining = %+v", got)
	}
	w.update(func(tx *store.Tx) error { return state.Unlink(tx, directory.Member, w.tenant, w.admins, w.nested) })
	for _, u := range []*directory.User{w.dev, w.admin} {
		if got := w.access("authorize", as(u)); got.Allowed || got.Denied {
			t.Errorf("%s after the group left = %+v", u.DisplayName, got)
		}
	}
}

func TestNoOpinion(t *testing.T) {
	w := newWorld(t)
	other := as(w.admin)
	other.User = "someone@else.test"
	two := as(w.admin)
	two.Extra["OID"] = authorizationv1.ExtraValue{string(w.dev.ID)}
	for name, spec := range map[string]authorizationv1.SubjectAccessReviewSpec{
		"system user":               {User: "system:serviceaccount:kube-system:default", Groups: []string{"system:masters"}},
		"system user with an oid":   {User: "System:admin", Extra: map[string]authorizationv1.ExtraValue{"oid": {string(w.admin.ID)}}},
		"local certificate":         {User: "masterclient", Groups: []string{string(w.admins)}},
		"impersonated with the oid": other,
		"oid of nobody":             {User: "x@y", Extra: map[string]authorizationv1.ExtraValue{"oid": {directory.NewGUID()}}},
		"oid that is none":          {User: "ada@contoso.test", Extra: map[string]authorizationv1.ExtraValue{"oid": {"../" + string(w.admin.ID)}}},
		"two oids":                  two,
		"other tenant's user":       as(w.outside),
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.access("authorize", spec); got.Allowed || got.Denied {
				t.Errorf("status = %+v, want no opinion", got)
			}
		})
	}
}

// TestCallers is abuse case 31.
func TestCallers(t *testing.T) {
	w := newWorld(t)
	foreign, err := pki.NewAuthority("webhooks", pki.Constraints{}, w.clock.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"x"}}`)
	for name, c := range map[string]*http.Client{
		"another organization": w.clientOf(w.authority, "kubernetes", key),
		"another cluster":      w.clientOf(w.authority, webhook.Organization, "c2"),
	} {
		if code, _ := w.postRaw(c, "/clusters/"+key+"/authenticate", body); code != http.StatusForbidden {
			t.Errorf("%s: HTTP %d, want 403", name, code)
		}
	}
	if code, _ := w.postRaw(w.clientOf(w.authority, webhook.Organization, "c2"), "/clusters/c2/authenticate", body); code != http.StatusNotFound {
		t.Errorf("a cluster that does not exist: HTTP %d, want 404", code)
	}
	for name, c := range map[string]*http.Client{
		"no certificate":    w.server.Client(),
		"another authority": w.clientOf(foreign, webhook.Organization, key),
	} {
		if res, err := c.Post(w.server.URL+"/clusters/"+key+"/authenticate", "application/json", bytes.NewReader(body)); err == nil {
			res.Body.Close()
			t.Errorf("%s: HTTP %d, want no connection", name, res.StatusCode)
		}
	}
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /clusters/%s/authenticate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", key)
	answer, _ := io.ReadAll(conn)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.0 400")) {
		t.Errorf("plain HTTP got %q", answer)
	}
}

// TestOddReviews is the part of abuse case 34 that concerns every cluster.
func TestOddReviews(t *testing.T) {
	w := newWorld(t)
	const head = `{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"u"`
	for name, body := range map[string]string{
		"neither attributes": head + `}}`,
		"both attributes":    head + `,"resourceAttributes":{},"nonResourceAttributes":{}}}`,
		"another kind":       `{"apiVersion":"v1","kind":"Pod"}`,
		"another version":    `{"apiVersion":"authorization.k8s.io/v2","kind":"SubjectAccessReview"}`,
		"not JSON":           `<xml/>`,
		"empty":              ``,
	} {
		for _, endpoint := range []string{"authorize", "deny"} {
			if code, out := w.postRaw(w.client, "/clusters/"+key+"/"+endpoint, []byte(body)); code != http.StatusBadRequest {
				t.Errorf("%s, %s: HTTP %d %s, want 400", name, endpoint, code, out)
			}
		}
	}
	if code, _ := w.postRaw(w.client, "/clusters/"+key+"/authorize", bytes.Repeat([]byte("a"), 1<<20)); code != http.StatusRequestEntityTooLarge {
		t.Errorf("1 MiB: HTTP %d, want 413", code)
	}
	// The old API version names the groups differently.
	old := strings.NewReplacer("/v1\"", "/v1beta1\"", `"user":"u"`, fmt.Sprintf(`"user":%q,"group":[%q],"extra":{"oid":[%q]},"resourceAttributes":{"verb":"list","resource":"nodes"}`, w.dev.UserPrincipalName, w.admins, w.dev.ID)).Replace(head + "}}")
	code, out := w.postRaw(w.client, "/clusters/"+key+"/deny", []byte(old))
	if code != http.StatusOK || !strings.Contains(string(out), `"denied":true`) {
		t.Errorf("v1beta1: HTTP %d %s", code, out)
	}
}

// TestProofOfPossession is abuse case 30 at the webhook.
func TestProofOfPossession(t *testing.T) {
	w := newWorld(t)
	var id string
	w.update(func(tx *store.Tx) error {
		return state.Clusters.Modify(tx, key, func(c *state.Cluster) error { c.ProofOfPossession, id = true, c.ID; return nil })
	})
	mine, err := pop.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	thief, err := pop.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	bound := w.mint(w.admin, func(f *token.Facts) { f.Cnf = &token.Confirmation{KeyID: mine.Thumbprint()} }, nil)
	now := w.clock.Now()
	sign := func(k *pop.Key, inner, u string, at time.Time) string {
		t.Helper()
		s, err := k.Sign(inner, u, pop.NewNonce(), at)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := sign(mine, bound, id, now)
	for range 2 { // kubectl sends one signed request again and again
		if got := w.review(good); !got.Authenticated || got.User.Username != "ada@contoso.test" {
			t.Fatalf("a signed request: %+v", got)
		}
	}
	for name, raw := range map[string]string{
		"the inner token alone":     bound,
		"a bearer token":            w.mint(w.admin, nil, nil),
		"a bearer token in a shell": sign(mine, w.mint(w.admin, nil, nil), id, now),
		"signed by another key":     sign(thief, bound, id, now),
		"another cluster":           sign(mine, bound, id+"2", now),
		"too old":                   sign(mine, bound, id, now.Add(-16*time.Minute)),
		"from the future":           sign(mine, bound, id, now.Add(6*time.Minute)),
	} {
		if got := w.review(raw); got.Authenticated {
			t.Errorf("%s is let in", name)
		}
	}
	// The strict switch takes each signed request once, and a validity of the
	// cluster's own counts from ts.
	w.update(func(tx *store.Tx) error {
		return state.Clusters.Modify(tx, key, func(c *state.Cluster) error { c.ProofOnce, c.ProofValidity = true, time.Minute; return nil })
	})
	once := sign(mine, bound, id, now)
	if got := w.review(once); !got.Authenticated {
		t.Errorf("the first sight: %+v", got)
	}
	if got := w.review(once); got.Authenticated || !strings.Contains(got.Error, "used before") {
		t.Errorf("a second sight, with the strict switch: %+v", got)
	}
	if got := w.review(sign(mine, bound, id, now)); !got.Authenticated {
		t.Errorf("signed anew: %+v", got)
	}
	if got := w.review(sign(mine, bound, id, now.Add(-61*time.Second))); got.Authenticated {
		t.Error("older than the cluster's validity, and let in")
	}
	w.update(func(tx *store.Tx) error {
		return state.Clusters.Modify(tx, key, func(c *state.Cluster) error {
			c.ProofOfPossession, c.ProofOnce, c.ProofValidity = false, false, 0
			return nil
		})
	})
	if got := w.review(good); got.Authenticated {
		t.Error("a shell is let in where bearer tokens are asked for")
	}
}

func TestLegacyIntegration(t *testing.T) {
	w := newWorld(t)
	now := w.clock.Now()
	app := &directory.Application{Tenant: w.tenant, ID: directory.ObjectID(directory.NewGUID()), AppID: directory.AppID(directory.NewGUID()), DisplayName: "server"}
	sum := sha256.Sum256([]byte("right"))
	app.Credentials.Passwords = []directory.Password{{KeyID: "k", SHA256: sum[:], Start: now.Add(-time.Hour), End: now.Add(time.Hour)}}
	w.update(func(tx *store.Tx) error {
		if err := state.Applications.Create(tx, app); err != nil {
			return err
		}
		if err := state.ServicePrincipals.Create(tx, state.NewServicePrincipal(w.tenant, app, now)); err != nil {
			return err
		}
		return state.Clusters.Modify(tx, key, func(c *state.Cluster) error { c.ServerApp = app.AppID; return nil })
	})
	mint := func(audience string) string {
		return w.mint(w.admin, func(f *token.Facts) { f.Resource.AppID, f.Resource.Audience = app.AppID, audience }, nil)
	}
	w.secret = "right"
	for _, audience := range []string{string(app.AppID), "spn:" + string(app.AppID)} {
		if got := w.review(mint(audience)); !got.Authenticated {
			t.Errorf("audience %s: %+v", audience, got)
		}
	}
	if got := w.review(w.mint(w.admin, nil, nil)); got.Authenticated {
		t.Error("a token for AKS's own server application is let in")
	}
	w.secret = "wrong"
	if got := w.review(mint(string(app.AppID))); got.Authenticated || !strings.Contains(got.Error, "secret") {
		t.Errorf("with a wrong secret: %+v", got)
	}
	w.secret = "right"
	w.clock.Advance(61 * time.Minute)
	if got := w.review(mint(string(app.AppID))); got.Authenticated {
		t.Error("with an expired secret somebody is let in")
	}
}
