package oauth_test

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth"
	"github.com/entrance-id/entrance/test/clients/harness"
)

// FuzzAuthorize: no authorization request leads a browser anywhere but to our
// own pages or to an address that the client has registered.
func FuzzAuthorize(f *testing.F) {
	c := harness.Start(f)
	c.AddApp("Shop", func(a *directory.Application) {
		a.AppID = "11111111-2222-4333-8444-555555555555"
		a.Web.RedirectURIs = []string{"https://shop.example/cb"}
		a.PublicClient.RedirectURIs = []string{"http://localhost/cb"}
		a.Web.ImplicitID = true
	})
	const start = "client_id=11111111-2222-4333-8444-555555555555&response_type=code&scope=openid&nonce=n&state=s&redirect_uri="
	for _, s := range []string{
		start + "https%3A%2F%2Fshop.example%2Fcb",
		start + "https%3A%2F%2Fshop.example%2Fcb&prompt=none",
		start + "https%3A%2F%2Fshop.example%2Fcb&response_mode=fragment&prompt=none",
		start + "https%3A%2F%2Fshop.example%2Fcb&response_mode=form_post&prompt=none",
		start + "http%3A%2F%2Flocalhost%3A1234%2Fcb&prompt=none",
		start + "https%3A%2F%2Fshop.example%40evil.example%2Fcb&prompt=none",
		start + "http%3A%2F%2Flocalhost%3A1%40evil.example%2Fcb&prompt=none",
		start + "https%3A%2F%2Fshop.example%2Fcb&prompt=none&state=%0d%0aX%3a1",
		start + "https%3A%2F%2Fshop.example%2Fcb&claims=%7B%22access_token%22%3A%7B%22acrs%22%3A%7B%22essential%22%3Atrue%2C%22value%22%3A%22c1%22%7D%7D%7D",
		start + "https%3A%2F%2Fshop.example%2Fcb&request=eyJ&request_uri=https%3A%2F%2Fevil.example",
		start + "https%3A%2F%2Fshop.example%2Fcb&id_token_hint=a.b.c&login_hint=%00&domain_hint=x",
		"client_id=x&redirect_uri=//evil.example", "%", "a=1&a=2",
	} {
		f.Add(s)
	}
	own, err := url.Parse(c.URL)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, "/contoso.example/oauth2/v2.0/authorize", nil)
		r.URL.RawQuery = query
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		c.Provider.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		for name, values := range w.Header() {
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n\x00") {
					t.Fatalf("header %s is %q", name, v)
				}
			}
		}
		location := w.Header().Get("Location")
		if location == "" {
			return
		}
		u, err := url.Parse(location)
		if err != nil {
			t.Fatalf("Location %q: %v", location, err)
		}
		switch {
		case u.Host == "" && strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//"):
		case u.Scheme == "https" && u.Host == own.Host:
		case u.User != nil || u.Path != "/cb":
			t.Fatalf("led to %q", location)
		case u.Scheme == "https" && u.Host == "shop.example":
		case u.Scheme == "http" && u.Hostname() == "localhost":
		default:
			t.Fatalf("led to %q", location)
		}
	})
}

// FuzzClientAssertion signs whatever header and claims it is given with the
// client's own key. Only an assertion that names the client and us, in its time,
// may be worth a token. {{x5t}}, {{iat}}, {{exp}} and {{jti}} stand for values
// of the moment.
func FuzzClientAssertion(f *testing.F) {
	c := harness.Start(f, harness.WithLimits(oauth.Limits{Failures: 1e9}))
	const id = "99999999-2222-4333-8444-555555555555"
	key := rsaKeys()[0]
	certificate := cert(f, "fuzz", key, c.Clock.Now().Add(-time.Hour), c.Clock.Now().Add(24*time.Hour), nil, nil)
	c.AddApp("fuzzed", func(a *directory.Application) {
		a.AppID = id
		a.Credentials.Keys = []directory.KeyCredential{keyCredential(certificate)}
	})
	const audience = "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
	good := `{"iss":"` + id + `","sub":"` + id + `","aud":"` + audience + `","jti":"{{jti}}","iat":{{iat}},"exp":{{exp}}}`
	header := `{"alg":"RS256","typ":"JWT","x5t":"{{x5t}}"}`
	f.Add(header, good)
	f.Add(`{"alg":"PS256","typ":"JWT","x5t":"{{x5t}}"}`, good)
	f.Add(`{"alg":"none"}`, good)
	f.Add(`{"alg":"RS256","x5t":"{{x5t}}","crit":["exp"]}`, good)
	f.Add(`{"alg":"RS256","x5c":["AAAA"],"x5t":"{{x5t}}"}`, good)
	f.Add(`{"alg":"RS256","jwk":{"kty":"RSA"},"x5t":"{{x5t}}"}`, good)
	f.Add(header, strings.Replace(good, `"aud":"`, `"aud":["x","`, 1))
	f.Add(header, strings.Replace(good, `{{exp}}`, `{{exp}}.5`, 1))
	f.Add(header, strings.Replace(good, `{{exp}}`, `1e99`, 1))
	f.Add(header, strings.Replace(good, `"sub"`, `"sub":"x","sub"`, 1))
	f.Add(header, `{}`)
	f.Add(header, `[]`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		now := c.Clock.Now()
		fill := strings.NewReplacer("{{x5t}}", x5t(certificate), "{{jti}}", directory.NewGUID(),
			"{{iat}}", strconv.FormatInt(now.Unix(), 10), "{{exp}}", strconv.FormatInt(now.Unix()+600, 10))
		header, claims = fill.Replace(header), fill.Replace(claims)
		assertion := signText(t, key, header, claims)
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "scope": {aksApp + "/.default"},
			"client_assertion_type": {assertionType}, "client_assertion": {assertion}}
		r := httptest.NewRequest(http.MethodPost, "/contoso.example/oauth2/v2.0/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		c.Provider.ServeHTTP(w, r)
		switch w.Code {
		case 400, 401:
			return
		case 200:
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		var said struct {
			Issuer   string          `json:"iss"`
			Subject  string          `json:"sub"`
			Audience json.RawMessage `json:"aud"`
			Expires  float64         `json:"exp"`
		}
		if err := json.Unmarshal([]byte(claims), &said); err != nil {
			t.Fatalf("a token for what encoding/json does not read (%v): %s", err, claims)
		}
		if !strings.EqualFold(said.Issuer, id) || !strings.EqualFold(said.Subject, id) || !strings.Contains(string(said.Audience), "contoso.example") ||
			said.Expires < float64(now.Unix()-61) || said.Expires > float64(now.Unix()+25*3600) {
			t.Fatalf("a token for %s", claims)
		}
	})
}

// signText signs a header and claims as they are, with PS256 if the header says
// so and RS256 otherwise.
func signText(t testing.TB, key *rsa.PrivateKey, header, claims string) string {
	alg := object{"alg": "RS256"}
	if strings.Contains(header, "PS256") {
		alg["alg"] = "PS256"
	}
	return signParts(t, key, alg, base64.RawURLEncoding.EncodeToString([]byte(header)), base64.RawURLEncoding.EncodeToString([]byte(claims)))
}
