package issuer_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

const tenant = directory.TenantID("11111111-1111-1111-1111-11111111aaaa")

// clusterKeys are the clusters' key documents, by key.
type clusterKeys map[string]string

func (k clusterKeys) ClusterKeys(_ context.Context, c *state.Cluster) ([]byte, error) {
	if k[c.Key] == "" {
		return nil, errs.New(errs.Unavailable, "The cluster has not been started.")
	}
	return []byte(k[c.Key]), nil
}

const base = "https://entrance.example:8443"

func newDocuments(t testing.TB, keys clusterKeys, clusters ...*state.Cluster) *issuer.Documents {
	t.Helper()
	s := storetest.Open(t, state.Tables()...)
	if err := s.Update(context.Background(), func(tx *store.Tx) error {
		var all []error
		for _, c := range clusters {
			c.ID = "/id/" + c.Key
			all = append(all, state.Clusters.Create(tx, c))
		}
		return errors.Join(all...)
	}); err != nil {
		t.Fatal(err)
	}
	d, err := issuer.NewDocuments(base+"/", s, keys)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func cluster(key string) *state.Cluster {
	return &state.Cluster{Key: key, Tenant: tenant, Issuer: issuer.URL(base, tenant, key)}
}

func fetch(t testing.TB, h http.Handler, method, path string) (int, http.Header, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, w.Result().Header, string(b)
}

func TestURL(t *testing.T) {
	const want = base + "/oidc/" + string(tenant) + "/abc/"
	if got := issuer.URL(base, tenant, "abc"); got != want {
		t.Errorf("URL = %s", got)
	}
	if got := issuer.KeysURL(want); got != want+"openid/v1/jwks" {
		t.Errorf("KeysURL = %s", got)
	}
}

func TestDocuments(t *testing.T) {
	private := jwk("b", rsaKey(1), "d", "c2VjcmV0", "p", "c2VjcmV0", "x5c", "hunter2")
	d := newDocuments(t, clusterKeys{"one": jwks(private, jwk("a", rsaKey(2)))},
		cluster("one"), cluster("off"),
		&state.Cluster{Key: "without", Tenant: tenant},
		&state.Cluster{Key: "elsewhere", Tenant: tenant, Connected: true, Issuer: "https://token.actions.githubusercontent.com"},
		&state.Cluster{Key: "liar", Tenant: tenant, Connected: true, Issuer: issuer.URL(base, tenant, "one")})
	at := "/oidc/" + string(tenant) + "/one/"

	code, header, body := fetch(t, d, "GET", at+".well-known/openid-configuration")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	if diff := cmp.Diff(map[string]any{
		"issuer": base + at, "jwks_uri": base + at + "openid/v1/jwks",
		"response_types_supported": []any{"id_token"}, "subject_types_supported": []any{"public"},
		"id_token_signing_alg_values_supported": []any{"RS256"},
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "public, max-age=3600" {
		t.Errorf("header %v", header)
	}

	code, header, body = fetch(t, d, "GET", at+"openid/v1/jwks")
	if want := jwks(jwk("a", rsaKey(2)), jwk("b", rsaKey(1))); code != 200 || !sameJSON(t, body, want) {
		t.Errorf("%d %s\nwant %s", code, body, want)
	}
	if header.Get("Content-Type") != "application/jwk-set+json" || header.Get("Cache-Control") != "public, max-age=3600" {
		t.Errorf("header %v", header)
	}

	for _, tc := range []struct {
		method, path string
		code         int
	}{
		{"HEAD", at + "openid/v1/jwks", 200},
		{"POST", at + "openid/v1/jwks", 405},
		{"GET", "/oidc/" + string(tenant) + "/off/.well-known/openid-configuration", 200},
		{"GET", "/oidc/" + string(tenant) + "/off/openid/v1/jwks", 503},
		{"GET", "/oidc/" + string(tenant) + "/none/openid/v1/jwks", 404},
		{"GET", "/oidc/" + string(tenant) + "/without/openid/v1/jwks", 404},
		{"GET", "/oidc/" + string(tenant) + "/elsewhere/.well-known/openid-configuration", 404},
		{"GET", "/oidc/" + string(tenant) + "/liar/.well-known/openid-configuration", 404},
		{"GET", "/oidc/22222222-2222-2222-2222-222222222222/one/openid/v1/jwks", 404},
		{"GET", "/oidc/" + strings.ToUpper(string(tenant)) + "/one/openid/v1/jwks", 404},
		{"GET", "/oidc/" + string(tenant) + "/one/openid/v1/jwks/", 404},
		{"GET", "/oidc/" + string(tenant) + "/one/", 404},
	} {
		code, _, body := fetch(t, d, tc.method, tc.path)
		if code != tc.code || tc.method == "HEAD" && body != "" {
			t.Errorf("%s %s: %d %q, want %d", tc.method, tc.path, code, body, tc.code)
		}
	}
}

func sameJSON(t testing.TB, a, b string) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal([]byte(a), &x), json.Unmarshal([]byte(b), &y)); err != nil {
		t.Fatal(err)
	}
	return cmp.Equal(x, y)
}

func TestHandles(t *testing.T) {
	for path, want := range map[string]bool{
		"/oidc/" + string(tenant) + "/one/.well-known/openid-configuration": true,
		"/oidc/" + string(tenant) + "/one/openid/v1/jwks":                   true,
		"/oidc/" + string(tenant) + "/openid/v1/jwks":                       false,
		"/oidc/" + string(tenant) + "/one/two/openid/v1/jwks":               false,
		"/oidc/" + string(tenant) + "//openid/v1/jwks":                      false,
		"/oidc/" + string(tenant) + "/k//openid/v1/jwks":                    true,
		"/oidc/" + string(tenant) + "/k///openid/v1/jwks":                   false,
		"/oidc/" + strings.ToUpper(string(tenant)) + "/one/openid/v1/jwks":  false,
		"/oidc/userinfo":                  false,
		"/oidc/common/one/openid/v1/jwks": false,
		"/" + string(tenant) + "/v2.0/.well-known/openid-configuration":    false,
		"/x/oidc/" + string(tenant) + "/one/openid/v1/jwks":                false,
		"/oidc/" + string(tenant) + "/one.well-known/openid-configuration": false,
	} {
		if got := issuer.Handles(path); got != want {
			t.Errorf("Handles(%s) = %v", path, got)
		}
	}
}

// TestLocal: for our own issuers nobody is asked over the network, and nobody
// becomes a foreign issuer by claiming its name.
func TestLocal(t *testing.T) {
	keys := clusterKeys{"one": jwks(jwk("k1", rsaKey(1))), "thief": jwks(jwk("stolen", rsaKey(3)))}
	foreign := newForeign(t, "/")
	d := newDocuments(t, keys, cluster("one"), cluster("off"), &state.Cluster{Key: "thief", Tenant: tenant, Connected: true, Issuer: foreign.url})
	s, clk := newIssuers(t, foreign, func(c *issuer.Config) { c.Local = d })
	own := issuer.URL(base, tenant, "one")
	want(t, s, own, false, "k1")
	// A rotation is seen at once by whoever meets the new key, and by all others
	// within a second.
	keys["one"] = jwks(jwk("k1", rsaKey(1)), jwk("k2", rsaKey(2)))
	want(t, s, own, false, "k1")
	want(t, s, own, true, "k1 k2")
	keys["one"] = jwks(jwk("k2", rsaKey(2)))
	clk.Advance(1e9)
	want(t, s, own, false, "k2")

	wantError(t, s, issuer.URL(base, tenant, "off"), errs.Unavailable, "not been started")
	wantError(t, s, issuer.URL(base, tenant, "none"), errs.NotFound, "There is no issuer")
	wantError(t, s, strings.TrimSuffix(own, "/"), errs.NotFound, "There is no issuer")
	wantError(t, s, base+"/oidc/../oidc/x/", errs.NotFound, "There is no issuer")
	want(t, s, foreign.url, false, "one") // its own key, not the thief's
}

// TestServedAndFetched: what we serve is acceptable to what we fetch with.
func TestServedAndFetched(t *testing.T) {
	var h http.Handler
	srv := newForeign(t, "/")
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) })
	st := storetest.Open(t, state.Tables()...)
	c := &state.Cluster{Key: "one", ID: "/id", Tenant: tenant, Issuer: issuer.URL(srv.URL, tenant, "one")}
	if err := st.Update(context.Background(), func(tx *store.Tx) error { return state.Clusters.Create(tx, c) }); err != nil {
		t.Fatal(err)
	}
	d, err := issuer.NewDocuments(srv.URL, st, clusterKeys{"one": jwks(jwk("a", rsaKey(1)), jwk("b", rsaKey(2)))})
	if err != nil {
		t.Fatal(err)
	}
	h = d
	s, _ := newIssuers(t, srv, nil)
	want(t, s, c.Issuer, false, "a b")
}
