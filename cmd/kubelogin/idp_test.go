package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fakeIDP is an identity provider that records what it is asked. It checks
// what a real one checks as far as the plugin's behaviour depends on it.
type fakeIDP struct {
	*httptest.Server // TLS: the authority
	plain            *httptest.Server

	mu      sync.Mutex
	log     []string          // one entry per request
	tokens  int               // tokens issued
	prompts int               // device codes issued
	polls   map[string]int    // polls of each device code
	codes   map[string]string // authorization code -> PKCE challenge
	set     map[string]string // knobs
	refresh map[string]string // refresh token -> user
}

func newFakeIDP() *fakeIDP {
	f := &fakeIDP{polls: map[string]int{}, codes: map[string]string{}, set: map[string]string{}, refresh: map[string]string{}}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	f.Server.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.Server.StartTLS()
	f.plain = httptest.NewServer(http.HandlerFunc(f.serve))
	return f
}

func (f *fakeIDP) Close() {
	f.Server.Close()
	f.plain.Close()
}

// writeCA stores the authority's certificate for SSL_CERT_FILE.
func (f *fakeIDP) writeCA(path string) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600)
}

func (f *fakeIDP) knob(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.set[name]
}

func (f *fakeIDP) number(name string, def int) int {
	if n, err := strconv.Atoi(f.knob(name)); err == nil {
		return n
	}
	return def
}

// describe is the golden form of a request: volatile values are replaced by
// what can be said about them.
func describe(r *http.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.Method, r.URL.Path)
	if r.URL.RawQuery != "" {
		fmt.Fprintf(&b, "?%s", describeForm(r.URL.Query(), "&", ""))
	}
	b.WriteString("\n")
	for _, h := range []string{"Metadata", "X-Identity-Header", "Secret", "Authorization"} {
		if v := r.Header.Get(h); v != "" {
			fmt.Fprintf(&b, "  %s: %s\n", h, v)
		}
	}
	b.WriteString(describeForm(r.PostForm, "\n", "  "))
	if len(r.PostForm) > 0 {
		b.WriteString("\n")
	}
	return b.String()
}

func describeForm(form url.Values, sep, indent string) string {
	var out []string
	for k, vs := range form {
		for _, v := range vs {
			switch k {
			case "client_assertion":
				v = describeJWT(v)
			case "req_cnf":
				raw, _ := base64.RawURLEncoding.DecodeString(v)
				var c struct {
					Kid string `json:"kid"`
					Ksl string `json:"xms_ksl"`
				}
				json.Unmarshal(raw, &c)
				v = fmt.Sprintf("{kid:%d xms_ksl:%s}", len(c.Kid), c.Ksl)
			case "device_code", "refresh_token", "code", "code_verifier", "code_challenge", "state":
				v = fmt.Sprintf("<%s>", k)
			case "redirect_uri":
				if u, err := url.Parse(v); err == nil {
					v = u.Scheme + "://" + u.Hostname() + ":PORT" + u.Path
				}
			}
			out = append(out, indent+k+"="+v)
		}
	}
	sort.Strings(out)
	return strings.Join(out, sep)
}

// describeJWT shows the shape of an assertion.
func describeJWT(s string) string {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return s
	}
	var h, p map[string]any
	hb, _ := base64.RawURLEncoding.DecodeString(parts[0])
	pb, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if json.Unmarshal(hb, &h) != nil || json.Unmarshal(pb, &p) != nil {
		return s
	}
	keys := func(m map[string]any) string {
		var ks []string
		for k := range m {
			ks = append(ks, k)
		}
		slices.Sort(ks)
		return strings.Join(ks, " ")
	}
	aud, _ := url.Parse(fmt.Sprint(p["aud"]))
	return fmt.Sprintf("%v{%s}{%s} aud=%s sub=%v", h["alg"], keys(h), keys(p), aud.Path, p["sub"])
}

func (f *fakeIDP) serve(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	f.mu.Lock()
	f.log = append(f.log, describe(r))
	f.mu.Unlock()
	if ms := f.number("delay", 0); ms > 0 && strings.HasSuffix(r.URL.Path, "/token") {
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
	if s := f.knob("status"); s != "" && strings.HasSuffix(r.URL.Path, "/token") {
		code, times, _ := strings.Cut(s, "*")
		n, _ := strconv.Atoi(times)
		f.mu.Lock()
		if n > 1 {
			f.set["status"] = fmt.Sprintf("%s*%d", code, n-1)
		} else {
			delete(f.set, "status")
		}
		f.mu.Unlock()
		w.Header().Set("Retry-After", "0")
		status, _ := strconv.Atoi(code)
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	last := path[len(path)-1]
	switch {
	case last == "openid-configuration":
		base := "https://" + r.Host + "/" + path[0]
		issuer := base + "/v2.0"
		if i := f.knob("issuer"); i != "" {
			issuer = i
		}
		f.json(w, 200, map[string]any{"authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token",
			"device_authorization_endpoint": base + "/oauth2/v2.0/devicecode", "issuer": issuer})
	case strings.HasPrefix(r.URL.Path, "/common/UserRealm/"):
		f.json(w, 200, map[string]any{"ver": "1.0", "account_type": "Managed", "domain_name": "example.org"})
	case last == "devicecode":
		f.devicecode(w, r)
	case strings.HasPrefix(r.URL.Path, "/metadata/identity/"), strings.HasPrefix(r.URL.Path, "/msi/"):
		f.msi(w, r)
	case last == "github":
		f.json(w, 200, map[string]any{"value": "github.job.token"})
	case last == "pipelines":
		f.json(w, 200, map[string]any{"oidcToken": "pipelines.job.token"})
	case last == "token":
		f.token(w, r)
	default:
		f.json(w, 404, map[string]any{"error": "not_found"})
	}
}

func (f *fakeIDP) json(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func (f *fakeIDP) fail(w http.ResponseWriter, status int, code, text string) {
	f.json(w, status, map[string]any{"error": code, "error_description": text + "\r\nTrace ID: 0\r\nCorrelation ID: 1"})
}

func (f *fakeIDP) devicecode(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.prompts++
	code := fmt.Sprintf("device-%d", f.prompts)
	f.polls[code] = 0
	f.mu.Unlock()
	life := f.number("code-life", 900)
	message := "To sign in, use a web browser to open the page https://idp.example/devicelogin and enter the code CODE" + fmt.Sprint(f.prompts) + " to authenticate."
	if m := f.knob("message"); m != "" {
		message, _ = strconv.Unquote(m)
	}
	if strings.Contains(r.URL.Path, "/v2.0/") {
		f.json(w, 200, map[string]any{"user_code": "CODE", "device_code": code, "verification_uri": "https://idp.example/devicelogin", "expires_in": life, "interval": 1, "message": message})
		return
	}
	f.json(w, 200, map[string]any{"user_code": "CODE", "device_code": code, "verification_url": "https://idp.example/devicelogin", "expires_in": strconv.Itoa(life), "interval": "1", "message": message})
}

func (f *fakeIDP) msi(w http.ResponseWriter, r *http.Request) {
	if f.knob("msi") == "none" {
		f.fail(w, 400, "invalid_request", "Identity not found")
		return
	}
	f.mu.Lock()
	f.tokens++
	n := f.tokens
	f.mu.Unlock()
	f.json(w, 200, map[string]any{"access_token": fmt.Sprintf("msi-token-%d", n), "expires_in": "86400", "expires_on": strconv.FormatInt(time.Now().Add(24*time.Hour).Unix(), 10), "resource": "x", "token_type": "Bearer"})
}

// Users and clients that the provider knows.
const (
	goodSecret   = "s3cr3t-value"
	goodPassword = "p4ssw0rd-value"
)

func (f *fakeIDP) token(w http.ResponseWriter, r *http.Request) {
	form := r.PostForm
	user := ""
	switch form.Get("grant_type") {
	case "client_credentials":
		if form.Has("client_secret") && form.Get("client_secret") != goodSecret {
			f.fail(w, 401, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
			return
		}
	case "password":
		if form.Get("password") != goodPassword {
			f.fail(w, 400, "invalid_grant", "AADSTS50126: Error validating credentials due to invalid username or password.")
			return
		}
		user = form.Get("username")
	case "device_code":
		code := form.Get("device_code") + form.Get("code")
		f.mu.Lock()
		_, known := f.polls[code]
		f.polls[code]++
		n := f.polls[code]
		f.mu.Unlock()
		switch {
		case !known:
			f.fail(w, 400, "bad_verification_code", "AADSTS70018")
			return
		case f.knob("device") == "decline":
			f.fail(w, 400, "authorization_declined", "")
			return
		case f.knob("device") == "wait" || n <= f.number("pending", 0):
			f.fail(w, 400, "authorization_pending", "AADSTS70016: pending")
			return
		}
		user = f.knob("user")
	case "authorization_code":
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		f.mu.Lock()
		want, known := f.codes[form.Get("code")]
		delete(f.codes, form.Get("code"))
		f.mu.Unlock()
		if !known || want != base64.RawURLEncoding.EncodeToString(sum[:]) {
			f.fail(w, 400, "invalid_grant", "AADSTS501481: verifier")
			return
		}
		user = f.knob("user")
	case "refresh_token":
		f.mu.Lock()
		u, known := f.refresh[form.Get("refresh_token")]
		f.mu.Unlock()
		if !known || f.knob("refresh") == "revoked" {
			f.fail(w, 400, "invalid_grant", "AADSTS50173: The provided grant has expired due to it being revoked.")
			return
		}
		user = u
	default:
		f.fail(w, 400, "unsupported_grant_type", "AADSTS70003")
		return
	}
	if user == "" && form.Get("grant_type") != "client_credentials" {
		user = "ann@example.org"
	}
	life := f.number("life", 3600)
	f.mu.Lock()
	f.tokens++
	n := f.tokens
	refresh := fmt.Sprintf("refresh-secret-%d", n)
	if user != "" {
		f.refresh[refresh] = user
	}
	f.mu.Unlock()
	claims := map[string]any{"n": n, "oid": "oid-" + user, "upn": user}
	if cnf := form.Get("req_cnf"); cnf != "" {
		raw, _ := base64.RawURLEncoding.DecodeString(cnf)
		claims["cnf"] = json.RawMessage(raw)
	}
	out := map[string]any{"access_token": fakeJWT(claims), "token_type": "Bearer", "expires_in": life}
	if form.Get("token_type") == "pop" && f.knob("pop") != "ignored" {
		out["token_type"] = "pop"
	}
	if !strings.Contains(r.URL.Path, "/v2.0/") {
		out["expires_in"] = strconv.Itoa(life)
		out["expires_on"] = strconv.FormatInt(time.Now().Unix()+int64(life), 10)
	}
	if r := f.number("refresh-in", 0); r > 0 {
		out["refresh_in"] = r
	}
	if user != "" {
		out["refresh_token"] = refresh
		out["id_token"] = fakeJWT(map[string]any{"preferred_username": user, "oid": "oid-" + user, "tid": "tid"})
		out["client_info"] = base64.RawURLEncoding.EncodeToString([]byte(`{"uid":"oid-` + user + `","utid":"tid"}`))
	}
	f.json(w, 200, out)
}

func fakeJWT(claims map[string]any) string {
	b, _ := json.Marshal(claims)
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(b) + ".sig"
}

// authorize is what the browser of a test does: it follows the address and
// brings the answer back to the listener.
func authorize(f *fakeIDP, raw string) (redirect string, form url.Values, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", nil, err
	}
	q := u.Query()
	code := "code-" + randomHex(8)
	f.mu.Lock()
	f.log = append(f.log, "BROWSER "+u.Path+"\n"+describeForm(q, "\n", "  ")+"\n")
	f.codes[code] = q.Get("code_challenge")
	f.mu.Unlock()
	return q.Get("redirect_uri"), url.Values{"code": {code}, "state": {q.Get("state")}, "session_state": {"x"}}, nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return fmt.Sprintf("%x", b)
}
