package oauth_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	foreignissuer "github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/test/clients/harness"
)

// exchange presents an assertion as an application's proof.
func exchange(c *harness.Cloud, app directory.AppID, assertion string) *harness.Reply {
	return c.Post(c.TokenPath(), "grant_type", "client_credentials", "client_id", string(app), "scope", aksApp+"/.default",
		"client_assertion_type", assertionType, "client_assertion", assertion)
}

// TestFederatedTriple is abuse case 27: only a token whose issuer, subject and
// audience are exactly those of one credential, and which that very issuer has
// signed, is worth anything. The refusal says which of the three differs.
func TestFederatedTriple(t *testing.T) {
	c := harness.Start(t)
	const other = "https://other.example/"
	credential := func(issuer, subject, audience string) directory.FederatedCredential {
		return directory.FederatedCredential{ID: directory.NewGUID(), Name: "f", Issuer: issuer, Subject: subject, Audiences: []string{audience}}
	}
	const subject, audience = "system:serviceaccount:ns:sa", "api://AzureADTokenExchange"
	app, _ := c.AddApp("triple", func(a *directory.Application) {
		a.Credentials.Federated = []directory.FederatedCredential{
			credential(issuer, subject, audience),
			credential(issuer, "system:serviceaccount:ns:second", "api://second"),
			credential(other, "somebody", audience),
		}
	})
	// The two issuers share a key id, and the slashless name is a third issuer
	// with a key of its own.
	c.Issuers.Keyed[issuer] = publicKeys("k1", rsaKeys()[1])
	c.Issuers.Keyed[other] = publicKeys("k1", rsaKeys()[2])
	c.Issuers.Keyed[strings.TrimSuffix(issuer, "/")] = publicKeys("k1", rsaKeys()[2])

	header := object{"alg": "RS256", "kid": "k1"}
	claims := func(edit func(cl object)) object {
		now := c.Clock.Now().Unix()
		cl := object{"iss": issuer, "sub": subject, "aud": []string{audience}, "iat": now, "nbf": now, "exp": now + 3600}
		edit(cl)
		return cl
	}
	for _, tt := range []struct {
		name string
		edit func(cl object)
		key  *rsa.PrivateKey
		code int
		text string
	}{
		{"as registered", func(cl object) {}, rsaKeys()[1], 0, ""},
		{"one of several audiences", func(cl object) { cl["aud"] = []string{"https://kubernetes.default.svc", audience} }, rsaKeys()[1], 0, ""},
		{"audience as text", func(cl object) { cl["aud"] = audience }, rsaKeys()[1], 0, ""},

		{"right subject of the other issuer", func(cl object) { cl["iss"] = other }, rsaKeys()[2], 700213, "subject '" + subject + "'"},
		{"the other issuer signs for the first", func(cl object) {}, rsaKeys()[2], 700027, "signature"},
		{"the first issuer signs for the other", func(cl object) { cl["iss"], cl["sub"] = other, "somebody" }, rsaKeys()[1], 700027, "signature"},
		{"no final slash", func(cl object) { cl["iss"] = strings.TrimSuffix(issuer, "/") }, rsaKeys()[2], 700211, "issuer '" + strings.TrimSuffix(issuer, "/") + "'"},
		{"two final slashes", func(cl object) { cl["iss"] = issuer + "/" }, rsaKeys()[1], 700211, "issuer '" + issuer + "/'"},
		{"issuer in capitals", func(cl object) { cl["iss"] = strings.ToUpper(issuer) }, rsaKeys()[1], 7002138, "The issuer matches with case-insensitive comparison"},
		{"issuer with a default port", func(cl object) { cl["iss"] = "https://issuer.example:443/cluster/" }, rsaKeys()[1], 700211, "issuer"},

		{"subject in other case", func(cl object) { cl["sub"] = "system:serviceaccount:ns:SA" }, rsaKeys()[1], 7002138, "The subject matches with case-insensitive comparison"},
		{"subject with a space", func(cl object) { cl["sub"] = subject + " " }, rsaKeys()[1], 700213, "subject"},
		{"subject with a space before", func(cl object) { cl["sub"] = " " + subject }, rsaKeys()[1], 700213, "subject"},
		{"longer subject", func(cl object) { cl["sub"] = subject + "2" }, rsaKeys()[1], 700213, "subject"},
		{"wildcard subject", func(cl object) { cl["sub"] = "*" }, rsaKeys()[1], 700213, "subject"},
		{"no subject", func(cl object) { delete(cl, "sub") }, rsaKeys()[1], 700213, "subject"},
		{"subject of another kind", func(cl object) { cl["sub"] = []string{subject} }, rsaKeys()[1], 700213, "subject"},

		{"another audience", func(cl object) { cl["aud"] = "https://kubernetes.default.svc" }, rsaKeys()[1], 700212, "audience 'https://kubernetes.default.svc'"},
		{"audience in other case", func(cl object) { cl["aud"] = "api://azureadtokenexchange" }, rsaKeys()[1], 7002138, "The audience matches with case-insensitive comparison"},
		{"audience of another credential", func(cl object) { cl["aud"] = "api://second" }, rsaKeys()[1], 700212, "audience 'api://second'"},
		{"no audience", func(cl object) { delete(cl, "aud") }, rsaKeys()[1], 700212, "audience"},
		{"empty audience", func(cl object) { cl["aud"] = []string{} }, rsaKeys()[1], 700212, "audience"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := exchange(c, app.AppID, jwt(t, tt.key, header, claims(tt.edit)))
			if r.Code() != tt.code || tt.code != 0 && (!strings.Contains(r.Text("error_description"), tt.text) || r.Text("access_token") != "") {
				t.Errorf("AADSTS%d, want AADSTS%d with %q: %s", r.Code(), tt.code, tt.text, r.Body)
			}
		})
	}

	// A claim twice means one thing to one reader and another to the next.
	t.Run("subject twice", func(t *testing.T) {
		now := c.Clock.Now().Unix()
		part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
		b, err := json.Marshal(claims(func(cl object) { cl["exp"] = now + 60 }))
		if err != nil {
			t.Fatal(err)
		}
		for _, twice := range []string{`{"sub":"somebody",`, `{"aud":"api://x",`, `{"iss":"` + other + `",`} {
			r := exchange(c, app.AppID, signParts(t, rsaKeys()[1], header, part(`{"alg":"RS256","kid":"k1"}`), part(twice+string(b[1:]))))
			if r.Code() == 0 || r.Text("access_token") != "" {
				t.Errorf("%s is accepted: %s", twice, r.Body)
			}
		}
	})
}

// TestFlexibleFederated: an expression takes the subject's place, and is
// evaluated on what the issuer has signed.
func TestFlexibleFederated(t *testing.T) {
	c := harness.Start(t)
	const gitHub, audience = "https://token.actions.githubusercontent.com", "api://AzureADTokenExchange"
	expression := func(value string) json.RawMessage {
		b, err := json.Marshal(object{"value": value, "languageVersion": 1})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	app, _ := c.AddApp("ci", func(a *directory.Application) {
		a.Credentials.Federated = []directory.FederatedCredential{
			{ID: "1", Name: "branches", Issuer: gitHub, Audiences: []string{audience}, Matching: expression("claims['sub'] matches 'repo:contoso/web:ref:refs/heads/*' and claims['repository_id'] eq '456789'")},
			{ID: "2", Name: "reusable", Issuer: gitHub, Audiences: []string{"api://reusable"}, Matching: expression("claims['sub'] matches 'repo:contoso/*' and claims['repository_owner_id'] eq '123' and claims['job_workflow_ref'] eq 'contoso/flows/.github/workflows/x.yml@refs/heads/main'")},
			{ID: "3", Name: "exact", Issuer: gitHub, Audiences: []string{audience}, Subject: "repo:contoso/web:environment:prod"},
			{ID: "4", Name: "broken", Issuer: gitHub, Audiences: []string{"api://broken"}, Matching: expression("claims['sub'] matches '*'")},
		}
	})
	c.Issuers.Keyed[gitHub] = publicKeys("k1", rsaKeys()[1])
	for _, tt := range []struct {
		name string
		edit func(cl object)
		key  *rsa.PrivateKey
		code int
		text string
	}{
		{"a branch", func(cl object) {}, rsaKeys()[1], 0, ""},
		{"another branch", func(cl object) { cl["sub"] = "repo:contoso/web:ref:refs/heads/a/b" }, rsaKeys()[1], 0, ""},
		{"the exact one beside it", func(cl object) { cl["sub"] = "repo:contoso/web:environment:prod"; delete(cl, "repository_id") }, rsaKeys()[1], 0, ""},
		{"a reusable workflow", func(cl object) {
			cl["aud"], cl["sub"], cl["repository_owner_id"], cl["job_workflow_ref"] = "api://reusable", "repo:contoso/any:pull_request", "123", "contoso/flows/.github/workflows/x.yml@refs/heads/main"
		}, rsaKeys()[1], 0, ""},

		{"a tag", func(cl object) { cl["sub"] = "repo:contoso/web:ref:refs/tags/v1" }, rsaKeys()[1], 7002137, "claim sub 'repo:contoso/web:ref:refs/tags/v1'"},
		{"other case", func(cl object) { cl["sub"] = "repo:Contoso/web:ref:refs/heads/main" }, rsaKeys()[1], 7002137, "claim sub"},
		{"the name in other hands", func(cl object) { cl["repository_id"] = "9" }, rsaKeys()[1], 7002137, "claim repository_id '9'"},
		{"a number", func(cl object) { cl["repository_id"] = 456789 }, rsaKeys()[1], 7002137, "claim repository_id ''"},
		{"no id", func(cl object) { delete(cl, "repository_id") }, rsaKeys()[1], 7002137, "claim repository_id ''"},
		{"an expression's audience for another", func(cl object) { cl["aud"] = "api://reusable" }, rsaKeys()[1], 7002137, "claim repository_owner_id"},
		{"another audience", func(cl object) { cl["aud"] = "api://x" }, rsaKeys()[1], 700212, "audience 'api://x'"},
		{"an expression that cannot be evaluated", func(cl object) { cl["aud"] = "api://broken" }, rsaKeys()[1], 7002137, "cannot be evaluated"},
		{"forged", func(cl object) {}, rsaKeys()[2], 700027, "signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := c.Clock.Now().Unix()
			cl := object{"iss": gitHub, "sub": "repo:contoso/web:ref:refs/heads/main", "repository_id": "456789", "aud": audience, "iat": now, "nbf": now - 300, "exp": now + 300}
			tt.edit(cl)
			r := exchange(c, app.AppID, jwt(t, tt.key, object{"alg": "RS256", "kid": "k1"}, cl))
			if r.Code() != tt.code || tt.code != 0 && (!strings.Contains(r.Text("error_description"), tt.text) || r.Text("access_token") != "") {
				t.Errorf("AADSTS%d, want AADSTS%d with %q: %s", r.Code(), tt.code, tt.text, r.Body)
			}
		})
	}
}

// TestOwnTokenAsAssertion: a token of a tenant here stands for the application that
// it was issued to, as long as that is in good standing, and never for a person.
func TestOwnTokenAsAssertion(t *testing.T) {
	r := newRig(t)
	get := func(pairs ...string) *harness.Reply {
		return r.Post(r.TokenPath(), append([]string{"grant_type", "client_credentials"}, pairs...)...)
	}
	daemon := get("client_id", string(r.secret.AppID), "client_secret", "hunter2hunter2", "scope", string(r.api.AppID)+"/.default").Want(r.Cloud).Text("access_token")
	id := r.Post(r.TokenPath(), "grant_type", "refresh_token", "client_id", az, "refresh_token", r.annRefresh(), "scope", "openid profile").Want(r.Cloud).Text("id_token")
	if id == "" {
		t.Fatal("no id token")
	}
	trusting := func(raw string) directory.AppID {
		t.Helper()
		part, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims struct{ Iss, Sub, Aud string }
		if err := json.Unmarshal(part, &claims); err != nil {
			t.Fatal(err)
		}
		app, _ := r.AddApp("Trusting "+directory.NewGUID(), func(a *directory.Application) {
			a.Credentials.Federated = []directory.FederatedCredential{{ID: "f", Name: "f", Issuer: claims.Iss, Subject: claims.Sub, Audiences: []string{claims.Aud}}}
		})
		return app.AppID
	}
	app := trusting(daemon)
	if reply := exchange(r.Cloud, app, daemon); reply.Code() != 0 {
		t.Fatalf("an application's token: %s", reply.Body)
	}
	if reply := exchange(r.Cloud, trusting(id), id); reply.Code() != 700229 {
		t.Errorf("a person's ID token: %s", reply.Body)
	}
	r.editSP(r.secret.AppID, func(p *directory.ServicePrincipal) { p.AccessRevoked = r.Clock.Now().Add(time.Second) })
	r.Clock.Advance(2 * time.Second)
	if reply := exchange(r.Cloud, app, daemon); reply.Code() != 50173 {
		t.Errorf("after its access was revoked: %s", reply.Body)
	}
	r.editSP(r.secret.AppID, func(p *directory.ServicePrincipal) { p.AccessRevoked, p.Enabled = time.Time{}, false })
	if reply := exchange(r.Cloud, app, daemon); reply.Code() != 7000112 {
		t.Errorf("of a disabled application: %s", reply.Body)
	}
	r.Update(func(tx *store.Tx) error {
		sp, err := state.FindServicePrincipal(tx, r.Tenant.ID, r.secret.AppID)
		if err != nil {
			return err
		}
		return state.Delete(tx, r.Tenant.ID, sp.ID, r.Clock.Now())
	})
	if reply := exchange(r.Cloud, app, daemon); reply.Code() != 700229 {
		t.Errorf("of a deleted application: %s", reply.Body)
	}
}

// outside is an issuer like GitHub's, on a TLS server of its own.
type outside struct {
	*httptest.Server

	mu   sync.Mutex
	name string // what its discovery document says it is
	kid  string
	key  *rsa.PublicKey
	down bool
}

func newOutside(t *testing.T) *outside {
	o := &outside{kid: "k1", key: &rsaKeys()[1].PublicKey}
	o.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		switch {
		case o.down:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(object{
				"issuer": o.name, "jwks_uri": o.URL + "/.well-known/jwks", "id_token_signing_alg_values_supported": []string{"RS256"},
				"subject_types_supported": []string{"public", "pairwise"}, "response_types_supported": []string{"id_token"}, "scopes_supported": []string{"openid"},
			})
		case r.URL.Path == "/.well-known/jwks":
			_ = json.NewEncoder(w).Encode(object{"keys": []object{{
				"kty": "RSA", "alg": "RS256", "use": "sig", "kid": o.kid, "x5t": "ignored",
				"n": base64.RawURLEncoding.EncodeToString(o.key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(o.key.E)).Bytes()),
			}}})
		default:
			http.NotFound(w, r)
		}
	}))
	o.name = o.URL
	t.Cleanup(o.Close)
	return o
}

func (o *outside) set(fn func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fn()
}

// TestOutsideIssuer: a workflow's token of an issuer like GitHub's, whose keys are
// fetched, renewed and given up as they are for any issuer.
func TestOutsideIssuer(t *testing.T) {
	o := newOutside(t)
	roots := x509.NewCertPool()
	roots.AddCert(o.Certificate())
	clk := clock.NewManual(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	foreign, err := foreignissuer.New(foreignissuer.Config{Clock: clk, Roots: roots, AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	c := harness.Start(t, harness.WithIssuers(foreign))
	const subject = "repo:octo-org/octo-repo:environment:Production"
	app, _ := c.AddApp("deploy", func(a *directory.Application) {
		a.Credentials.Federated = []directory.FederatedCredential{{ID: "f", Name: "f", Issuer: o.URL, Subject: subject, Audiences: []string{"api://AzureADTokenExchange"}}}
	})
	send := func(key *rsa.PrivateKey, kid string, edit func(cl object)) *harness.Reply {
		now := c.Clock.Now().Unix()
		// The claims of GitHub's documentation.
		cl := object{
			"jti": directory.NewGUID(), "sub": subject, "environment": "Production", "aud": "api://AzureADTokenExchange", "ref": "refs/heads/main", "sha": "example-sha",
			"repository": "octo-org/octo-repo", "repository_owner": "octo-org", "actor_id": "12", "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "65",
			"run_id": "example-run-id", "run_number": "10", "run_attempt": "2", "runner_environment": "github-hosted", "actor": "octocat", "workflow": "example-workflow", "head_ref": "", "base_ref": "",
			"event_name": "workflow_dispatch", "ref_type": "branch", "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
			"iss": o.URL, "nbf": now - 600, "exp": now + 300, "iat": now,
		}
		edit(cl)
		return exchange(c, app.AppID, jwt(t, key, object{"typ": "JWT", "alg": "RS256", "x5t": "example-thumbprint", "kid": kid}, cl))
	}
	same := func(object) {}
	if r := send(rsaKeys()[1], "k1", same); r.Code() != 0 || r.Text("access_token") == "" {
		t.Fatalf("%s", r.Body)
	}
	for name, tt := range map[string]struct {
		edit func(cl object)
		code int
	}{
		"another branch": {func(cl object) { cl["sub"] = "repo:octo-org/octo-repo:ref:refs/heads/main" }, 700213},
		"other case":     {func(cl object) { cl["sub"] = strings.ToLower(subject) }, 7002138},
		"for GitHub":     {func(cl object) { cl["aud"] = "https://github.com/octo-org" }, 700212},
		"expired":        {func(cl object) { cl["exp"] = c.Clock.Now().Unix() - 400 }, 700024},
		"too early":      {func(cl object) { cl["nbf"] = c.Clock.Now().Unix() + 400 }, 700024},
	} {
		if r := send(rsaKeys()[1], "k1", tt.edit); r.Code() != tt.code {
			t.Errorf("%s: %s", name, r.Body)
		}
	}

	// New keys: the first token that bears one has them fetched.
	o.set(func() { o.kid, o.key = "k2", &rsaKeys()[2].PublicKey })
	clk.Advance(time.Minute)
	if r := send(rsaKeys()[2], "k2", same); r.Code() != 0 {
		t.Errorf("after the keys were changed: %s", r.Body)
	}
	if r := send(rsaKeys()[1], "k1", same); r.Code() != 700027 {
		t.Errorf("the former key: %s", r.Body)
	}

	// Down: the keys serve a little longer, and then nothing does.
	o.set(func() { o.down = true })
	clk.Advance(time.Hour)
	if r := send(rsaKeys()[2], "k2", same); r.Code() != 0 {
		t.Errorf("while the issuer is down: %s", r.Body)
	}
	clk.Advance(2 * time.Hour)
	if r := send(rsaKeys()[2], "k2", same); r.Code() != 501661 || r.Text("access_token") != "" {
		t.Errorf("long after: %s", r.Body)
	}

	// Back, under somebody else's name (abuse case 28).
	o.set(func() { o.down, o.name = false, "https://evil.example" })
	clk.Advance(time.Hour)
	if r := send(rsaKeys()[2], "k2", same); r.Code() != 90061 || r.Text("access_token") != "" {
		t.Errorf("taken over: %s", r.Body)
	}
}
