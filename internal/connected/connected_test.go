package connected_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/entrance-id/entrance/internal/connected"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/keyring"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/internal/webhook"
	"github.com/entrance-id/entrance/test/clients/harness"
)

const (
	az     = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	secret = "graph-secret-graph-secret"
)

// world is two Entrances: a cloud that plays the part of Microsoft's, and one
// that has the clusters. The cloud also serves a plain OpenID Connect issuer.
type world struct {
	t     *testing.T
	cloud *harness.Cloud // the other one
	reads *directory.Application

	store   *store.Store
	service *connected.Service
	reviews *webhook.Service
	home    directory.TenantID // hosted here
	admin   *directory.User    // of the hosted tenant
	group   directory.ObjectID // admin group of every cluster

	issuer    string // the plain issuer
	key       *rsa.PrivateKey
	documents atomic.Int64 // fetches of the plain issuer's keys
	graphDown atomic.Bool
	asked     atomic.Int64 // calls of Graph
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	var err error
	if w.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	var msgraph http.Handler
	w.cloud = harness.Start(t, harness.WithHandler(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/plain/.well-known/openid-configuration":
				fmt.Fprintf(rw, `{"issuer":%q,"jwks_uri":%q}`, w.issuer, w.issuer+"/keys")
			case r.URL.Path == "/plain/keys":
				w.documents.Add(1)
				n := base64.RawURLEncoding.EncodeToString(w.key.N.Bytes())
				fmt.Fprintf(rw, `{"keys":[{"kty":"RSA","use":"sig","kid":"p1","alg":"RS256","n":%q,"e":"AQAB"}]}`, n)
			case strings.HasPrefix(r.URL.Path, "/v1.0/"):
				w.asked.Add(1)
				if w.graphDown.Load() {
					http.Error(rw, "{}", http.StatusServiceUnavailable)
					return
				}
				msgraph.ServeHTTP(rw, r)
			default:
				next.ServeHTTP(rw, r)
			}
		})
	}))
	c := w.cloud
	w.issuer = c.URL + "/plain"
	verifier := &token.Verifier{Keys: c.Trust, Graph: true, Audiences: []string{c.URL, c.URL + "/"}}
	msgraph, err = graph.New(graph.Config{
		Store: c.Store, Clock: c.Clock, Logger: slog.New(slog.DiscardHandler), BaseURL: c.URL,
		Authenticate: func(r *http.Request) (graph.Caller, error) {
			claims, err := verifier.Verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), c.Clock.Now())
			if err != nil {
				return graph.Caller{}, errs.Wrap(errs.Unauthenticated, err, "token")
			}
			return graph.Caller{Tenant: claims.Tenant, ID: claims.Object, AppID: claims.ClientID(), AppOnly: claims.AppOnly(), Scopes: claims.Scopes(), Roles: claims.Roles, Issued: claims.Issued()}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var sp *directory.ServicePrincipal
	w.reads, sp = c.AddApp("Reads groups", func(a *directory.Application) {
		a.Credentials.Passwords = []directory.Password{c.Secret(secret)}
	})
	resource, err := state.FindServicePrincipal(c.Store.View(), c.Tenant.ID, directory.Graph)
	if err != nil {
		t.Fatal(err)
	}
	c.Update(func(tx *store.Tx) error {
		for _, r := range resource.AppRoles {
			if r.Value == "GroupMember.Read.All" || r.Value == "User.Read.All" {
				if err := state.AssignAppRole(tx, &directory.AppRoleAssignment{Tenant: c.Tenant.ID, ID: directory.NewGUID(), Principal: sp.ID, Resource: resource.ID, AppRole: r.ID}); err != nil {
					return err
				}
			}
		}
		return nil
	})

	// The other side: a hosted tenant with an administrator, one cluster of it
	// and one of the cloud's tenant.
	w.store = storetest.Open(t, state.Tables()...)
	w.home = directory.TenantID(directory.NewGUID())
	w.group = directory.ObjectID(directory.NewGUID())
	w.admin = &directory.User{Tenant: w.home, ID: directory.ObjectID(directory.NewGUID()), UserPrincipalName: "root@home.example", DisplayName: "root", Enabled: true}
	w.update(func(tx *store.Tx) error {
		if err := state.CreateTenant(tx, &directory.Tenant{ID: w.home, Domains: []directory.Domain{{Name: "home.example", Default: true}}}); err != nil {
			return err
		}
		if err := state.CreateUser(tx, w.admin); err != nil {
			return err
		}
		if err := state.Groups.Create(tx, &directory.Group{Tenant: w.home, ID: w.group, DisplayName: "admins", SecurityEnabled: true}); err != nil {
			return err
		}
		if err := state.Link(tx, directory.Member, w.home, w.group, w.admin.ID); err != nil {
			return err
		}
		for key, tenant := range map[string]directory.TenantID{"here": w.home, "there": c.Tenant.ID} {
			if err := state.Clusters.Create(tx, &state.Cluster{
				Key: key, ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/" + key,
				Tenant: tenant, Entra: true, ServerApp: directory.AKSServer, AdminGroups: []directory.ObjectID{w.group},
			}); err != nil {
				return err
			}
		}
		return nil
	})
	ring := keyring.New(w.store, c.Clock, token.DefaultPolicy, slog.New(slog.DiscardHandler))
	t.Cleanup(ring.Close)
	if err := ring.Ensure(context.Background(), w.home); err != nil {
		t.Fatal(err)
	}
	hosted := &keyring.Trust{Ring: ring, Issuers: token.Issuers{V2: "https://login.home.example"}}
	documents, err := issuer.New(issuer.Config{Clock: c.Clock, Roots: c.Certificates(), AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
	if err != nil {
		t.Fatal(err)
	}
	w.service, err = connected.New(connected.Config{
		Store: w.store, Clock: c.Clock, Documents: documents,
		Own:       func(name string) bool { _, ok := hosted.Issuer(name); return ok },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.Certificates()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.reviews = webhook.New(webhook.Config{Store: w.store, Clock: c.Clock, Keys: w.service.Beside(hosted), Connected: w.service, Logger: slog.New(slog.DiscardHandler)})
	return w
}

func (w *world) update(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// tenant is the configuration of the cloud's tenant.
func (w *world) tenant() state.ConnectedTenant {
	return state.ConnectedTenant{ID: w.cloud.Tenant.ID, Authority: w.cloud.URL, Graph: w.cloud.URL, ClientID: w.reads.AppID, ClientSecret: secret}
}

func (w *world) connect() {
	w.t.Helper()
	if err := w.service.Connect(context.Background(), w.tenant()); err != nil {
		w.t.Fatal(err)
	}
}

// ask sends a review to a webhook of a cluster, as its API server would.
func (w *world) ask(cluster, endpoint string, review, answer any) {
	w.t.Helper()
	body, err := json.Marshal(review)
	if err != nil {
		w.t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/clusters/"+cluster+"/"+endpoint, bytes.NewReader(body))
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{Organization: []string{webhook.Organization}, CommonName: cluster}}}}}
	rec := httptest.NewRecorder()
	w.reviews.ServeHTTP(rec, r)
	raw, _ := io.ReadAll(rec.Body)
	if rec.Code != 200 {
		w.t.Fatalf("%s: HTTP %d: %s", endpoint, rec.Code, raw)
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) review(cluster, raw string) authenticationv1.TokenReviewStatus {
	w.t.Helper()
	review := authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: raw}}
	review.APIVersion, review.Kind = "authentication.k8s.io/v1", "TokenReview"
	var out authenticationv1.TokenReview
	w.ask(cluster, "authenticate", review, &out)
	return out.Status
}

// may asks whether a user as reviewed may list nodes.
func (w *world) may(cluster string, u authenticationv1.UserInfo) authorizationv1.SubjectAccessReviewStatus {
	w.t.Helper()
	review := authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: u.Username, Groups: u.Groups, ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes"},
	}}
	review.APIVersion, review.Kind = "authorization.k8s.io/v1", "SubjectAccessReview"
	review.Spec.Extra = map[string]authorizationv1.ExtraValue{}
	for k, v := range u.Extra {
		review.Spec.Extra[k] = authorizationv1.ExtraValue(v)
	}
	var out authorizationv1.SubjectAccessReview
	w.ask(cluster, "authorize", review, &out)
	return out.Status
}

// signIn returns a token of Ann for clusters, from the cloud.
func (w *world) signIn() string {
	w.t.Helper()
	return w.cloud.Post(w.cloud.TokenPath(), "grant_type", "password", "client_id", az, "username", "ann@contoso.example",
		"password", harness.Password, "scope", string(directory.AKSServer)+"/.default").Want(w.cloud).Text("access_token")
}

// join makes Ann a member of n new groups in the cloud and returns their ids.
func (w *world) join(n int, ids ...directory.ObjectID) (all []string) {
	w.t.Helper()
	for range n - len(ids) {
		ids = append(ids, directory.ObjectID(directory.NewGUID()))
	}
	c := w.cloud
	for part := range slices.Chunk(ids, 20) { // etcd bounds a transaction
		c.Update(func(tx *store.Tx) error {
			for _, id := range part {
				if err := state.Groups.Create(tx, &directory.Group{Tenant: c.Tenant.ID, ID: id, DisplayName: "g-" + string(id), SecurityEnabled: true}); err != nil {
					return err
				}
				if err := state.Link(tx, directory.Member, c.Tenant.ID, id, c.User.ID); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, id := range ids {
		all = append(all, string(id))
	}
	slices.Sort(all)
	return all
}

func TestConnectedTenant(t *testing.T) {
	w := newWorld(t)
	groups := w.join(3, w.group)
	raw := w.signIn()
	if s := w.review("there", raw); s.Authenticated || !strings.Contains(s.Error, "issuer") {
		t.Fatalf("before the tenant is connected: %+v", s)
	}
	w.connect()
	s := w.review("there", raw)
	if !s.Authenticated || s.User.Username != "ann@contoso.example" || !slices.Equal(s.User.Extra["oid"], []string{string(w.cloud.User.ID)}) {
		t.Fatalf("%+v", s)
	}
	if got := slices.Sorted(slices.Values(s.User.Groups)); !slices.Equal(got, groups) {
		t.Errorf("groups %v, want %v", got, groups)
	}
	if w.asked.Load() != 0 {
		t.Error("Graph was asked although the token has the groups")
	}
	if a := w.may("there", s.User); !a.Allowed {
		t.Errorf("a member of the admin group: %+v", a)
	}
	// Of another tenant's cluster it is nobody.
	if s := w.review("here", raw); s.Authenticated || !strings.Contains(s.Error, "belongs to tenant") {
		t.Errorf("on a cluster of another tenant: %+v", s)
	}
	// Keys that are changed are found without being told.
	if err := w.cloud.Ring.Rotate(context.Background(), w.cloud.Tenant.ID, true); err != nil {
		t.Fatal(err)
	}
	w.cloud.Clock.Advance(20 * time.Minute)
	if s := w.review("there", w.signIn()); !s.Authenticated {
		t.Errorf("after the tenant changed its keys: %+v", s)
	}
	if err := w.service.Disconnect(context.Background(), w.cloud.Tenant.ID); err != nil {
		t.Fatal(err)
	}
	if s := w.review("there", raw); s.Authenticated {
		t.Error("a tenant that is no longer connected is believed")
	}
	if a := w.may("there", s.User); a.Allowed || a.Denied {
		t.Errorf("a cached user of a tenant that is no longer connected: %+v", a)
	}
}

// TestImpersonatedObjectID: an oid that somebody else's name stands beside buys
// nothing, and neither does one of whom nothing is known.
func TestImpersonatedObjectID(t *testing.T) {
	w := newWorld(t)
	w.join(1, w.group)
	w.connect()
	u := w.review("there", w.signIn()).User
	forged := u
	forged.Username = "mallory@contoso.example"
	if a := w.may("there", forged); a.Allowed {
		t.Errorf("another's oid: %+v", a)
	}
	forged.Extra = map[string]authenticationv1.ExtraValue{"oid": {directory.NewGUID()}}
	if a := w.may("there", forged); a.Allowed {
		t.Errorf("an unknown oid: %+v", a)
	}
	if a := w.may("there", u); !a.Allowed {
		t.Errorf("the real one: %+v", a)
	}
}

func TestOverage(t *testing.T) {
	w := newWorld(t)
	groups := w.join(201, w.group)
	w.connect()
	raw := w.signIn()
	s := w.review("there", raw)
	if got := slices.Sorted(slices.Values(s.User.Groups)); !s.Authenticated || !slices.Equal(got, groups) {
		t.Fatalf("%d groups of %d: %s", len(got), len(groups), s.Error)
	}
	asked := w.asked.Load()
	if asked == 0 {
		t.Fatal("Graph was not asked: the token has all groups")
	}
	w.review("there", raw)
	if w.asked.Load() != asked {
		t.Error("Graph was asked again at once")
	}
	// When Graph is down nobody gets in with fewer groups.
	w.cloud.Clock.Advance(time.Minute)
	w.graphDown.Store(true)
	if s := w.review("there", raw); s.Authenticated || !strings.Contains(s.Error, "Microsoft Graph") {
		t.Errorf("while Graph is down: %+v", s)
	}
	w.graphDown.Store(false)
	if s := w.review("there", raw); len(s.User.Groups) != 201 {
		t.Errorf("after Graph is back: %s, %d groups", s.Error, len(s.User.Groups))
	}
	// Without an application nobody can ask.
	poor := w.tenant()
	poor.ClientID, poor.ClientSecret = "", ""
	if err := w.service.Connect(context.Background(), poor); err != nil {
		t.Fatal(err)
	}
	if s := w.review("there", raw); s.Authenticated || !strings.Contains(s.Error, "no application") {
		t.Errorf("without an application: %+v", s)
	}
}

// TestOverageOnBehalfOf: a cluster with a server application of its own, which
// asks Graph on behalf of each person instead of as itself.
func TestOverageOnBehalfOf(t *testing.T) {
	w := newWorld(t)
	groups := w.join(201, w.group)
	c := w.cloud
	app, sp := c.AddApp("Cluster server", func(a *directory.Application) {
		a.IdentifierURIs = []string{"api://cluster"}
		a.API.Scopes = []directory.Scope{{ID: directory.NewGUID(), Value: "user_impersonation", Type: "User", Enabled: true, UserConsentName: "Use clusters"}}
		a.API.PreAuthorized = []directory.PreAuthorized{{AppID: az, Scopes: []string{a.API.Scopes[0].ID}}}
		a.GroupClaims = "All"
		a.Credentials.Passwords = []directory.Password{c.Secret(secret)}
	})
	graph, err := state.FindServicePrincipal(c.Store.View(), c.Tenant.ID, directory.Graph)
	if err != nil {
		t.Fatal(err)
	}
	w.update(func(tx *store.Tx) error {
		return state.Clusters.Modify(tx, "there", func(k *state.Cluster) error { k.ServerApp = app.AppID; return nil })
	})
	conf := w.tenant()
	conf.ClientID, conf.OnBehalfOf = app.AppID, true
	if err := w.service.Connect(context.Background(), conf); err != nil {
		t.Fatal(err)
	}
	raw := c.Post(c.TokenPath(), "grant_type", "password", "client_id", az, "username", "ann@contoso.example",
		"password", harness.Password, "scope", string(app.AppID)+"/.default").Want(c).Text("access_token")

	// The tenant's administrator has not consented: nobody gets in with fewer groups.
	if s := w.review("there", raw); s.Authenticated || !strings.Contains(s.Error, "Microsoft Graph") {
		t.Fatalf("without consent: %+v", s)
	}
	if w.asked.Load() != 0 {
		t.Error("Graph was asked with no token on behalf of the person")
	}
	c.Update(func(tx *store.Tx) error {
		return state.Consent(tx, c.Tenant.ID, sp.ID, graph.ID, "", []string{"User.Read", "GroupMember.Read.All"})
	})
	s := w.review("there", raw)
	if got := slices.Sorted(slices.Values(s.User.Groups)); !s.Authenticated || !slices.Equal(got, groups) {
		t.Fatalf("%d groups of %d: %s", len(got), len(groups), s.Error)
	}
	// It was asked on behalf of Ann, not as the application.
	events := c.Events()
	last := events[len(events)-1]
	if last.Grant != "urn:ietf:params:oauth:grant-type:jwt-bearer" || last.User != c.User.ID || last.Client != app.AppID {
		t.Errorf("how Graph was asked: %+v", last)
	}
	// A token for another application is no assertion of this one's.
	w.update(func(tx *store.Tx) error {
		return state.Clusters.Modify(tx, "there", func(k *state.Cluster) error { k.ServerApp = directory.AKSServer; return nil })
	})
	c.Clock.Advance(time.Minute)
	if s := w.review("there", w.signIn()); s.Authenticated || !strings.Contains(s.Error, "Microsoft Graph") {
		t.Errorf("a token for another application: %+v", s)
	}
	conf.ClientID, conf.ClientSecret = "", ""
	if err := w.service.Connect(context.Background(), conf); !errs.Is(err, errs.Invalid) {
		t.Errorf("on behalf of, without an application: %v", err)
	}
}

// plain signs a token of the plain issuer.
func (w *world) plain(kid string, change map[string]any) string {
	w.t.Helper()
	now := w.cloud.Clock.Now()
	claims := map[string]any{
		"iss": w.issuer, "sub": "builder", "aud": "cluster", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	for k, v := range change {
		claims[k] = v
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			w.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := part(map[string]any{"alg": "RS256", "typ": "JWT", "kid": kid}) + "." + part(claims)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, w.key, crypto.SHA256, sum[:])
	if err != nil {
		w.t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func (w *world) trustPlain(cluster string, edit func(*state.ClusterIssuer)) error {
	i := state.ClusterIssuer{Cluster: cluster, Issuer: w.issuer, Audiences: []string{"cluster"}, UsernameClaim: "upn", UsernamePrefix: "aks:jwt:plain:", GroupsClaim: "groups", GroupsPrefix: "aks:jwt:plain:"}
	if edit != nil {
		edit(&i)
	}
	return w.service.Trust(context.Background(), i)
}

// TestSecondIssuer is the attack of a second trusted issuer that names a hosted
// administrator, in every claim that means somebody.
func TestSecondIssuer(t *testing.T) {
	w := newWorld(t)
	w.connect()
	attack := map[string]any{
		"upn": w.admin.UserPrincipalName, "preferred_username": w.admin.UserPrincipalName, "unique_name": w.admin.UserPrincipalName,
		"oid": w.admin.ID, "sub": w.admin.ID, "tid": w.home, "ver": "1.0", "appid": az, "appidacr": "0", "scp": "user_impersonation",
		"groups": []any{w.group, "system:masters"}, "extra": map[string]any{"oid": w.admin.ID},
	}
	raw := w.plain("p1", attack)
	if s := w.review("here", raw); s.Authenticated {
		t.Fatalf("an issuer that nobody trusts: %+v", s)
	}
	if err := w.trustPlain("here", nil); err != nil {
		t.Fatal(err)
	}
	s := w.review("here", raw)
	if !s.Authenticated || s.User.Username != "aks:jwt:plain:root@home.example" || len(s.User.Extra) != 0 || s.User.UID != "" {
		t.Fatalf("%+v", s)
	}
	if want := []string{"aks:jwt:plain:" + string(w.group), "aks:jwt:plain:system:masters"}; !slices.Equal(s.User.Groups, want) {
		t.Errorf("groups %v", s.User.Groups)
	}
	if a := w.may("here", s.User); a.Allowed {
		t.Errorf("the second issuer's user has the administrator's access: %+v", a)
	}
	// The administrator's oid beside that name, by impersonation, is no more.
	forged := s.User
	forged.Extra = map[string]authenticationv1.ExtraValue{"oid": {string(w.admin.ID)}}
	if a := w.may("here", forged); a.Allowed {
		t.Errorf("with the administrator's oid: %+v", a)
	}
	// The trust is one cluster's.
	if s := w.review("there", raw); s.Authenticated {
		t.Errorf("on a cluster that does not trust it: %+v", s)
	}
	for name, bad := range map[string]string{
		"another audience": w.plain("p1", map[string]any{"upn": "x", "aud": "other"}),
		"expired":          w.plain("p1", map[string]any{"upn": "x", "exp": w.cloud.Clock.Now().Add(-time.Hour).Unix()}),
		"unknown key":      w.plain("p2", map[string]any{"upn": "x"}),
		"no name":          w.plain("p1", nil),
		"name of controls": w.plain("p1", map[string]any{"upn": "a\nb"}),
		"signature":        raw[:len(raw)-6] + "AAAAAA",
		"another's issuer": w.plain("p1", map[string]any{"upn": "x", "iss": "https://login.home.example/" + string(w.home) + "/v2.0"}),
		"connected tenant": w.plain("p1", map[string]any{"upn": "x", "iss": w.cloud.URL + "/" + string(w.cloud.Tenant.ID) + "/v2.0", "tid": w.cloud.Tenant.ID, "ver": "2.0"}),
	} {
		if s := w.review("here", bad); s.Authenticated {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if err := w.service.Distrust(context.Background(), "here", w.issuer); err != nil {
		t.Fatal(err)
	}
	if s := w.review("here", raw); s.Authenticated {
		t.Errorf("after the trust ended: %+v", s)
	}
}

// TestConnectedAttack: the connected tenant itself is no way into a hosted one:
// its own signature, over the hosted tenant's tid and an administrator's oid.
func TestConnectedAttack(t *testing.T) {
	w := newWorld(t)
	w.connect()
	key, err := w.cloud.Ring.Active(w.cloud.Tenant.ID)
	if err != nil {
		t.Fatal(err)
	}
	good, err := (&token.Verifier{Keys: w.cloud.Trust, Audiences: []string{string(directory.AKSServer)}}).Verify(w.signIn(), w.cloud.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*token.Claims){
		"tid and oid":        func(c *token.Claims) { c.Tenant, c.Object, c.UPN = w.home, w.admin.ID, w.admin.UserPrincipalName },
		"issuer of the home": func(c *token.Claims) { c.Tenant, c.Issuer = w.home, "https://sts.windows.net/"+string(w.home)+"/" },
		"oid alone":          func(c *token.Claims) { c.Object, c.UPN = w.admin.ID, w.admin.UserPrincipalName },
	} {
		c := *good
		edit(&c)
		raw, err := key.Sign(&c)
		if err != nil {
			t.Fatal(err)
		}
		if s := w.review("here", raw); s.Authenticated {
			t.Errorf("%s: %+v", name, s)
		}
	}
	// On its own cluster it cannot call anybody by a name that is kept.
	for _, upn := range []string{"system:admin", "system:node:x@y", "aks:jwt:plain:x@y", "nobody", "a@b@c", "a@b\n", string(w.admin.ID)} {
		c := *good
		c.UPN = upn
		raw, err := key.Sign(&c)
		if err != nil {
			t.Fatal(err)
		}
		if s := w.review("there", raw); s.Authenticated {
			t.Errorf("upn %q: %+v", upn, s)
		}
	}
	for _, group := range []string{"system:masters", "admins"} {
		c := *good
		c.Groups = []string{group}
		raw, err := key.Sign(&c)
		if err != nil {
			t.Fatal(err)
		}
		if s := w.review("there", raw); s.Authenticated {
			t.Errorf("group %q: %+v", group, s)
		}
	}
}

func TestConfiguration(t *testing.T) {
	w := newWorld(t)
	for name, edit := range map[string]func(*state.ConnectedTenant){
		"no GUID":            func(c *state.ConnectedTenant) { c.ID = "contoso" },
		"a hosted tenant":    func(c *state.ConnectedTenant) { c.ID = w.home },
		"another tenant":     func(c *state.ConnectedTenant) { c.ID = directory.TenantID(directory.NewGUID()) },
		"no TLS":             func(c *state.ConnectedTenant) { c.Authority = "http://localhost" },
		"a wrong secret":     func(c *state.ConnectedTenant) { c.ClientSecret = "wrong" },
		"an id alone":        func(c *state.ConnectedTenant) { c.ClientSecret = "" },
		"no such authority":  func(c *state.ConnectedTenant) { c.Authority = "https://127.0.0.1:1" },
		"Graph without TLS":  func(c *state.ConnectedTenant) { c.Graph = "http://localhost" },
		"an issuer not ours": func(c *state.ConnectedTenant) { c.V1 = "file:///etc/passwd" },
	} {
		c := w.tenant()
		edit(&c)
		if err := w.service.Connect(context.Background(), c); err == nil {
			t.Errorf("%s was connected", name)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error holds the secret", name)
		}
	}
	for name, edit := range map[string]func(*state.ClusterIssuer){
		"the hosted tenant":     func(i *state.ClusterIssuer) { i.Issuer = "https://login.home.example/" + string(w.home) + "/v2.0" },
		"Entra's v1.0":          func(i *state.ClusterIssuer) { i.Issuer = "https://sts.windows.net/" + directory.NewGUID() + "/" },
		"Entra's v2.0":          func(i *state.ClusterIssuer) { i.Issuer = "https://login.microsoftonline.com/x/v2.0" },
		"no prefix":             func(i *state.ClusterIssuer) { i.UsernamePrefix = "" },
		"the bare prefix":       func(i *state.ClusterIssuer) { i.UsernamePrefix = "aks:jwt:" },
		"another prefix":        func(i *state.ClusterIssuer) { i.UsernamePrefix = "oidc:" },
		"no prefix of groups":   func(i *state.ClusterIssuer) { i.GroupsPrefix = "" },
		"no audience":           func(i *state.ClusterIssuer) { i.Audiences = nil },
		"an unknown cluster":    func(i *state.ClusterIssuer) { i.Cluster = "nowhere" },
		"an issuer without TLS": func(i *state.ClusterIssuer) { i.Issuer = "http://issuer.example" },
	} {
		if err := w.trustPlain("here", edit); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestInventedKids is abuse case 5 for connected tenants and further issuers.
func TestInventedKids(t *testing.T) {
	w := newWorld(t)
	if err := w.trustPlain("here", nil); err != nil {
		t.Fatal(err)
	}
	good := w.plain("p1", map[string]any{"upn": "x"})
	if s := w.review("here", good); !s.Authenticated {
		t.Fatalf("%+v", s)
	}
	before := w.documents.Load()
	for i := range 200 {
		w.review("here", w.plain(fmt.Sprint("invented-", i), map[string]any{"upn": "x"}))
	}
	if n := w.documents.Load() - before; n > 1 {
		t.Errorf("200 invented kids caused %d fetches", n)
	}
	if s := w.review("here", good); !s.Authenticated {
		t.Errorf("a good token after the flood: %+v", s)
	}
}
