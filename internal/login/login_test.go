package login

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/tokencache"
)

// world answers requests by host, without a network.
type world struct {
	t        *testing.T
	clock    *clock.Manual
	handlers map[string]http.HandlerFunc
	log      []string
	dir      string
	stderr   strings.Builder
}

func newWorld(t *testing.T) *world {
	return &world{t: t, clock: clock.NewManual(time.Unix(1_800_000_000, 0)), handlers: map[string]http.HandlerFunc{}, dir: t.TempDir()}
}

// RoundTrip makes a world a transport.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.log = append(w.log, r.Method+" "+r.URL.Host+r.URL.Path)
	h := w.handlers[r.URL.Host]
	if h == nil {
		return nil, fmt.Errorf("no such host: %s", r.URL.Host)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	h(rec, r)
	return rec.Result(), nil
}

func (w *world) surroundings(env map[string]string) Surroundings {
	return Surroundings{Clock: w.clock, Stderr: &w.stderr, Version: "test", Interactive: true,
		Env:  func(n string) (string, bool) { v, ok := env[n]; return v, ok },
		HTTP: func() *http.Client { return &http.Client{Transport: w} }}
}

func (w *world) session(o *Options, env map[string]string) *Session {
	w.t.Helper()
	store := tokencache.Open(w.dir, tokencache.Options{Clock: w.clock, KeyStore: "file"})
	w.t.Cleanup(func() { store.Close() })
	s, err := NewSession(o, store, w.surroundings(env))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func answer(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// provider is a well-behaved tenant whose token endpoint is token.
func provider(token http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		base := "https://" + r.URL.Host + "/t"
		switch {
		case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
			answer(w, 200, map[string]string{"authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "issuer": base + "/v2.0"})
		default:
			r.ParseForm()
			token(w, r)
		}
	}
}

func spnOptions(host string) *Options {
	o := NewOptions()
	o.Login, o.ServerID, o.ClientID, o.TenantID, o.ClientSecret, o.AuthorityHost = ServicePrincipal, "server", "client", "t", "s", host
	o.Timeout = 5 * time.Second
	return o
}

func okToken(w http.ResponseWriter, r *http.Request) {
	answer(w, 200, map[string]any{"access_token": "token", "token_type": "Bearer", "expires_in": 3600})
}

func TestInstanceDiscovery(t *testing.T) {
	const asked = "GET login.microsoftonline.com/common/discovery/instance"
	for _, tc := range []struct {
		name, host string
		disable    bool
		discovery  http.HandlerFunc
		asks       bool
		wantErr    string
	}{
		{name: "known host", host: "https://login.microsoftonline.us/"},
		{name: "known host in capitals", host: "https://LOGIN.microsoftonline.COM:443/"},
		{name: "unknown host, switched off", host: "https://idp.example/", disable: true},
		{name: "unknown host, known to Microsoft", host: "https://idp.example/", asks: true, discovery: func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("authorization_endpoint"); got != "https://idp.example/t/oauth2/v2.0/authorize" || r.URL.Query().Get("api-version") != "1.1" {
				t.Errorf("query %v", r.URL.Query())
			}
			answer(w, 200, map[string]string{"tenant_discovery_endpoint": "https://idp.example/t/v2.0/.well-known/openid-configuration"})
		}},
		{name: "unknown to all", host: "https://idp.example/", asks: true, wantErr: "idp.example is not a host of a Microsoft cloud; if you trust it, add --disable-instance-discovery",
			discovery: func(w http.ResponseWriter, r *http.Request) {
				answer(w, 400, map[string]string{"error": "invalid_instance", "error_description": "AADSTS50049"})
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			for _, h := range []string{"idp.example", "login.microsoftonline.us", "login.microsoftonline.com"} {
				w.handlers[h] = provider(okToken)
			}
			if tc.discovery != nil {
				w.handlers["login.microsoftonline.com"] = tc.discovery
			}
			o := spnOptions(tc.host)
			o.DisableInstanceDiscovery = tc.disable
			_, err := w.session(o, nil).Token(context.Background())
			if (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
			if got := slices.Contains(w.log, asked); got != tc.asks {
				t.Errorf("asked Microsoft: %v, want %v: %v", got, tc.asks, w.log)
			}
		})
	}
}

// TestEnvironmentHosts: the cloud names, and that all hosts of one cloud share
// their tokens while clouds do not.
func TestEnvironmentHosts(t *testing.T) {
	for name, want := range map[string]string{
		"AzureCloud": publicHost, "AzurePublic": publicHost, "AzurePublicCloud": publicHost, "azurepubliccloud": publicHost,
		"AzureUSGovernment": "login.microsoftonline.us", "AzureUSGovernmentCloud": "login.microsoftonline.us",
		"AZURECHINACLOUD": "login.chinacloudapi.cn", "AzureStackCloud": publicHost, "": publicHost,
	} {
		if got := environmentHost(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	key := func(host string) string {
		a, err := newAuthority(&Options{AuthorityHost: host, TenantID: "t"})
		if err != nil {
			t.Fatal(err)
		}
		return a.cacheName()
	}
	if key("https://login.microsoftonline.com/") != key("https://LOGIN.WINDOWS.NET:443/") {
		t.Error("two names of the public cloud do not share tokens")
	}
	if a, b := key("https://login.microsoftonline.com/"), key("https://login.microsoftonline.us/"); a == b {
		t.Error("two clouds share tokens")
	}
	if a, b := key("https://idp.example/one/"), key("https://idp.example/two/"); a == b {
		t.Error("two authorities on one host share tokens")
	}
	if a, b := key("https://localhost:8443/"), key("https://localhost:9443/"); a == b {
		t.Error("two ports share tokens")
	}
}

func TestTenantIsNoPath(t *testing.T) {
	for _, bad := range []string{"../common", "a/b", "a?b", "a b", "a#b", "a%2fb", "a\nb"} {
		if _, err := newAuthority(&Options{TenantID: bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// TestNoRedirects: a secret must not follow a redirect.
func TestNoRedirects(t *testing.T) {
	stolen := false
	thief := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { stolen = true; okToken(w, r) }))
	defer thief.Close()
	idp := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Host = r.Host // what provider names its endpoints by
		provider(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		})(w, r)
	}))
	defer idp.Close()
	client := newHTTPClient()
	client.Transport = idp.Client().Transport
	w := newWorld(t)
	o := spnOptions(idp.URL + "/")
	o.DisableInstanceDiscovery = true
	sys := w.surroundings(nil)
	sys.HTTP = func() *http.Client { return client }
	store := tokencache.Open(w.dir, tokencache.Options{Clock: w.clock, KeyStore: "file"})
	defer store.Close()
	s, err := NewSession(o, store, sys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Token(context.Background()); err == nil || stolen {
		t.Errorf("the redirect was followed: %v, %v", stolen, err)
	}
}

// signIns is a provider that counts, gives refresh tokens and can refuse.
type signIns struct {
	n        int
	refuse   func(http.ResponseWriter) bool
	user     string
	lastForm url.Values
}

func (p *signIns) token(w http.ResponseWriter, r *http.Request) {
	p.lastForm = r.PostForm
	if r.URL.Path == "/common/UserRealm/ann" {
		answer(w, 200, map[string]string{"account_type": "Managed"})
		return
	}
	if p.refuse != nil && p.refuse(w) {
		return
	}
	p.n++
	answer(w, 200, map[string]any{"access_token": fmt.Sprintf("token-%d", p.n), "token_type": "Bearer", "expires_in": 3600, "refresh_in": 1800,
		"refresh_token": fmt.Sprintf("refresh-%d", p.n), "client_info": base64.RawURLEncoding.EncodeToString([]byte(`{"uid":"` + p.user + `","utid":"t"}`))})
}

func ropcOptions() *Options {
	o := spnOptions("https://login.microsoftonline.com/")
	o.Login, o.Username, o.Password = ROPC, "ann", "pw"
	return o
}

// TestLifeOfASignIn walks through a token's life: cached, refreshed early as
// the provider suggests, kept when that fails, refreshed when it must be.
func TestLifeOfASignIn(t *testing.T) {
	w := newWorld(t)
	p := &signIns{user: "ann"}
	w.handlers[publicHost] = provider(p.token)
	get := func() (string, error) {
		tok, err := w.session(ropcOptions(), nil).Token(context.Background())
		return tok.Value, err
	}
	want := func(token string) {
		t.Helper()
		if got, err := get(); err != nil || got != token {
			t.Fatalf("got %q, %v; want %q", got, err, token)
		}
	}
	want("token-1")
	w.clock.Advance(29 * time.Minute)
	want("token-1")
	w.clock.Advance(2 * time.Minute) // past refresh_in
	p.refuse = func(rw http.ResponseWriter) bool {
		answer(rw, 400, map[string]string{"error": "invalid_request"})
		return true
	}
	want("token-1") // a failed early refresh costs nothing
	before := len(w.log)
	want("token-1") // and is not tried again at once
	if len(w.log) != before {
		t.Errorf("asked again: %v", w.log[before:])
	}
	p.refuse = nil
	w.clock.Advance(6 * time.Minute)
	want("token-2")
	if p.lastForm.Get("grant_type") != "refresh_token" {
		t.Errorf("form %v", p.lastForm)
	}
	w.clock.Advance(56 * time.Minute) // less than five minutes left
	want("token-3")
	// A network error is no reason to sign in anew: the refresh token is good.
	w.clock.Advance(61 * time.Minute)
	w.handlers[publicHost] = nil
	o := ropcOptions()
	o.Timeout = 50 * time.Millisecond
	if _, err := w.session(o, nil).Token(context.Background()); err == nil {
		t.Error("a token without a network")
	}
	w.handlers[publicHost] = provider(p.token)
	want("token-4")
	// A refresh that comes back as somebody else is refused.
	w.clock.Advance(61 * time.Minute)
	p.user = "mallory"
	if _, err := get(); err == nil || !strings.Contains(err.Error(), "the refreshed sign-in is for") {
		t.Errorf("error %v", err)
	}
}

// TestRegional: services may use their region's endpoint, in real clouds only.
func TestRegional(t *testing.T) {
	for in, want := range map[string]string{
		"https://login.microsoftonline.com/t/oauth2/v2.0/token": "https://westeurope.login.microsoft.com/t/oauth2/v2.0/token",
		"https://login.microsoftonline.us/t/oauth2/v2.0/token":  "https://westeurope.login.microsoftonline.us/t/oauth2/v2.0/token",
		"https://localhost:8443/t/oauth2/v2.0/token":            "https://localhost:8443/t/oauth2/v2.0/token",
	} {
		if got := regional(in, "westeurope"); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for value, want := range map[string]string{"westeurope": "westeurope", "TryAutoDetect": "", "": "", "evil.example/": ""} {
		if got := regionOf(func(string) (string, bool) { return value, true }); got != want {
			t.Errorf("region %q: %q, want %q", value, got, want)
		}
	}
}

// TestFederated: realm, metadata, password for an assertion, assertion for a
// token.
func TestFederated(t *testing.T) {
	const mexDoc = `<Definitions xmlns:wsp="p" xmlns:sp="s" xmlns:wsu="u" xmlns:soap12="o" xmlns:wsa10="w">
<wsp:Policy wsu:Id="cert"><wsp:ExactlyOne><wsp:All/></wsp:ExactlyOne></wsp:Policy>
<wsp:Policy wsu:Id="up"><wsp:ExactlyOne><wsp:All><sp:SignedEncryptedSupportingTokens><wsp:Policy><sp:UsernameToken/></wsp:Policy></sp:SignedEncryptedSupportingTokens></wsp:All></wsp:ExactlyOne></wsp:Policy>
<wsp:Policy wsu:Id="up05"><wsp:ExactlyOne><wsp:All><sp:SignedSupportingTokens><wsp:Policy><sp:UsernameToken/></wsp:Policy></sp:SignedSupportingTokens></wsp:All></wsp:ExactlyOne></wsp:Policy>
<binding name="b05"><wsp:PolicyReference URI="#up05"/><operation name="x"><soap12:operation soapAction="http://schemas.xmlsoap.org/ws/2005/02/trust/RST/Issue"/></operation></binding>
<binding name="b13"><wsp:PolicyReference URI="#up"/><operation name="x"><soap12:operation soapAction="http://docs.oasis-open.org/ws-sx/ws-trust/200512/RST/Issue"/></operation></binding>
<binding name="bc"><wsp:PolicyReference URI="#cert"/><operation name="x"><soap12:operation soapAction="http://docs.oasis-open.org/ws-sx/ws-trust/200512/RST/Issue"/></operation></binding>
<service><port binding="tns:bc"><wsa10:EndpointReference><wsa10:Address>https://adfs.example/cert</wsa10:Address></wsa10:EndpointReference></port>
<port binding="tns:b05"><wsa10:EndpointReference><wsa10:Address>https://adfs.example/2005/usernamemixed</wsa10:Address></wsa10:EndpointReference></port>
<port binding="tns:b13"><wsa10:EndpointReference><wsa10:Address>https://adfs.example/13/usernamemixed</wsa10:Address></wsa10:EndpointReference></port></service></Definitions>`
	w := newWorld(t)
	w.handlers[publicHost] = provider(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/common/UserRealm/") {
			answer(rw, 200, map[string]string{"account_type": "Federated", "federation_protocol": "WSTrust",
				"federation_metadata_url": "https://adfs.example/mex", "cloud_audience_urn": "urn:federation:MicrosoftOnline"})
			return
		}
		if got := r.PostForm.Get("password"); got != "" {
			t.Error("the password was sent to the cloud")
		}
		raw, _ := base64.StdEncoding.DecodeString(r.PostForm.Get("assertion"))
		if r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:saml1_1-bearer" || string(raw) != `<saml:Assertion>yes</saml:Assertion>` {
			t.Errorf("form %v, assertion %q", r.PostForm, raw)
		}
		okToken(rw, r)
	})
	fault := false
	w.handlers["adfs.example"] = func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/mex":
			io.WriteString(rw, mexDoc)
		case "/13/usernamemixed":
			if !strings.Contains(string(body), "<o:Username>ann</o:Username><o:Password>p&lt;&amp;w</o:Password>") || r.Header.Get("SOAPAction") != trust13+"/RST/Issue" {
				t.Errorf("request %s %v", body, r.Header)
			}
			if fault {
				rw.WriteHeader(500)
				io.WriteString(rw, `<s:Envelope xmlns:s="s"><s:Body><s:Fault><s:Reason><s:Text>ID3242: not valid</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>`)
				return
			}
			io.WriteString(rw, `<s:Envelope xmlns:s="s" xmlns:t="t"><s:Body><t:RequestSecurityTokenResponseCollection><t:RequestSecurityTokenResponse><t:TokenType>urn:oasis:names:tc:SAML:1.0:assertion</t:TokenType><t:RequestedSecurityToken><saml:Assertion>yes</saml:Assertion></t:RequestedSecurityToken></t:RequestSecurityTokenResponse></t:RequestSecurityTokenResponseCollection></s:Body></s:Envelope>`)
		default:
			t.Errorf("unexpected %s", r.URL)
		}
	}
	o := ropcOptions()
	o.Password = "p<&w"
	if tok, err := w.session(o, nil).Token(context.Background()); err != nil || tok.Value != "token" {
		t.Fatalf("%+v, %v", tok, err)
	}
	fault = true
	o.Username = "ANN@x" // another cache entry
	w.handlers["adfs.example"] = func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mex" {
			io.WriteString(rw, mexDoc)
			return
		}
		rw.WriteHeader(500)
		io.WriteString(rw, `<s:Envelope xmlns:s="s"><s:Body><s:Fault><s:Reason><s:Text>ID3242: not valid</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>`)
	}
	if _, err := w.session(o, nil).Token(context.Background()); err == nil || !strings.Contains(err.Error(), "adfs.example refused the user name and password: ID3242: not valid") {
		t.Errorf("error %v", err)
	}
	// Metadata over plain HTTP, or that sends the password there, is refused.
	if _, err := readMex([]byte(strings.ReplaceAll(mexDoc, "https://adfs", "http://adfs"))); err == nil {
		t.Error("a password would be sent in the clear")
	}
}

// TestArcKeyFile: the key file's name comes from the network and must be one
// of the agent's.
func TestArcKeyFile(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret.key")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{secret, "/var/opt/azcmagent/tokens/../../../../etc/passwd.key", "/var/opt/azcmagent/tokens/a.txt", "relative.key", ""} {
		w := newWorld(t)
		authorised := false
		w.handlers["127.0.0.1:40342"] = func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				authorised = true
			}
			rw.Header().Set("WWW-Authenticate", "Basic realm="+file)
			rw.WriteHeader(401)
		}
		o := NewOptions()
		o.Login, o.ServerID = ManagedIdentity, "server"
		env := map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:40342/token", "IMDS_ENDPOINT": "http://127.0.0.1:40342"}
		_, err := w.session(o, env).Token(context.Background())
		if err == nil || authorised || !strings.Contains(err.Error(), "outside /var/opt/azcmagent/tokens") {
			t.Errorf("%q: %v, sent: %v", file, err, authorised)
		}
	}
	// Nor is another machine asked.
	w := newWorld(t)
	o := NewOptions()
	o.Login, o.ServerID = ManagedIdentity, "server"
	_, err := w.session(o, map[string]string{"IDENTITY_ENDPOINT": "http://evil.example/token", "IMDS_ENDPOINT": "x"}).Token(context.Background())
	if err == nil || len(w.log) > 0 {
		t.Errorf("%v, %v", err, w.log)
	}
}

func TestIMDSRetries(t *testing.T) {
	w := newWorld(t)
	n := 0
	w.handlers["169.254.169.254"] = func(rw http.ResponseWriter, r *http.Request) {
		if n++; n < 3 {
			rw.Header().Set("Retry-After", "0")
			rw.WriteHeader(410)
			return
		}
		answer(rw, 200, map[string]any{"access_token": "x", "expires_on": "1900000000"})
	}
	o := NewOptions()
	o.Login, o.ServerID = ManagedIdentity, "server"
	tok, err := w.session(o, nil).Token(context.Background())
	if err != nil || tok.Value != "x" || tok.ExpiresOn.Unix() != 1_900_000_000 || n != 3 {
		t.Errorf("%+v, %v, %d requests", tok, err, n)
	}
}

func TestBrowserCommands(t *testing.T) {
	first := func(env map[string]string, goos string, wsl bool) string {
		c := browserCommands(func(n string) (string, bool) { v, ok := env[n]; return v, ok }, goos, wsl)
		if len(c) == 0 {
			return ""
		}
		return strings.Join(c[0], " ")
	}
	for _, tc := range []struct {
		env  map[string]string
		goos string
		wsl  bool
		want string
	}{
		{map[string]string{}, "linux", false, ""}, // SSH, containers
		{map[string]string{"DISPLAY": ":0"}, "linux", false, "xdg-open"},
		{map[string]string{"WAYLAND_DISPLAY": "w"}, "linux", false, "xdg-open"},
		{map[string]string{"BROWSER": "firefox --new-window:lynx"}, "linux", false, "firefox --new-window"},
		{map[string]string{}, "linux", true, "wslview"},
		{map[string]string{}, "darwin", false, "open"},
		{map[string]string{}, "windows", false, "rundll32 url.dll,FileProtocolHandler"},
	} {
		if got := first(tc.env, tc.goos, tc.wsl); got != tc.want {
			t.Errorf("%v %s wsl=%v: %q, want %q", tc.env, tc.goos, tc.wsl, got, tc.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[string]number{`5`: 5, `"900"`: 900, `5.0`: 5, `""`: 0, `null`: 0} {
		var n number
		if err := json.Unmarshal([]byte(in), &n); err != nil || n != want {
			t.Errorf("%s: %d, %v", in, n, err)
		}
	}
	for _, bad := range []string{`"soon"`, `-1`, `1e300`, `{}`} {
		var n number
		if err := json.Unmarshal([]byte(bad), &n); err == nil {
			t.Errorf("%s was read as %d", bad, n)
		}
	}
}

func TestPoPClaims(t *testing.T) {
	got, err := ParsePoPClaims(" u = /sub/a=b , x=y")
	if err != nil || got["u"] != "/sub/a=b" || got["x"] != "y" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", " ", "u", "u=", "=x", "x=y", "u=a,b", "u=a,=b"} {
		if _, err := ParsePoPClaims(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// TestHostileAnswers: whatever a server says, it is refused with one line that
// is safe to print, and nothing is stored.
func TestHostileAnswers(t *testing.T) {
	big := make([]byte, maxBody+10)
	rand.Read(big)
	for name, body := range map[string]string{
		"empty": "", "html": "<html>login", "no token": `{"token_type":"Bearer","expires_in":1}`,
		"no expiry": `{"access_token":"a","token_type":"Bearer"}`, "line break in token": `{"access_token":"a\nb","expires_in":3600}`,
		"huge": string(big), "escape": "{\"access_token\":\"\u001b[31m\",\"expires_in\":1}", "negative": `{"access_token":"a","expires_in":-5}`,
	} {
		w := newWorld(t)
		w.handlers[publicHost] = provider(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, body) })
		o := spnOptions("https://login.microsoftonline.com/")
		o.Timeout = 300 * time.Millisecond
		s := w.session(o, nil)
		_, err := s.Token(context.Background())
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.ContainsAny(err.Error(), "\x1b\n\r") || len(err.Error()) > 5000 {
			t.Errorf("%s: %q", name, err)
		}
		if _, ok := s.store.Get(s.key); ok {
			t.Errorf("%s: stored", name)
		}
	}
	se := decodeAnswer(400, "h", []byte("{\"error\":\"x\\u001b\",\"error_description\":\"a\\u0007b\\r\\nc\"}"), nil)
	var e *ServerError
	if !errors.As(se, &e) || e.Error() != "ab c (x, HTTP 400 from h)" {
		t.Errorf("%q", se)
	}
}
