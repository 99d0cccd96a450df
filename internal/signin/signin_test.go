package signin_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/password"
	"github.com/entrance-id/entrance/internal/signin"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/test/clients/harness"
)

const (
	ann      = "ann@contoso.example"
	verifier = "a-verifier-that-is-long-enough-for-rfc-7636-yes"
	mfa      = `{"id":"11111111-1111-1111-1111-111111111111","displayName":"mfa","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}},"grantControls":{"operator":"OR","builtInControls":["mfa"]}}`
)

// request returns an authorization request of the Azure CLI with changes.
func request(c *harness.Cloud, change ...string) string {
	sum := sha256.Sum256([]byte(verifier))
	v := url.Values{
		"client_id": {string(directory.AzureCLI)}, "response_type": {"code"}, "redirect_uri": {"http://localhost:8400"},
		"scope": {"https://management.azure.com/.default openid profile offline_access"}, "state": {"st"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(change); i += 2 {
		if v.Set(change[i], change[i+1]); change[i+1] == "" {
			v.Del(change[i])
		}
	}
	return "/" + string(c.Tenant.ID) + "/oauth2/v2.0/authorize?" + v.Encode()
}

func edit(c *harness.Cloud, u *directory.User, fn func(*directory.User)) {
	c.Update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(u.Tenant, u.ID), func(u *directory.User) error { fn(u); return nil })
	})
}

var secretPattern = regexp.MustCompile(`<code id="secret">([A-Z2-7 ]+)</code>`)

func number(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	n, err := totp.GenerateCode(strings.ReplaceAll(secret, " ", ""), at)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// enrolled signs Ann in with a new authenticator application and returns its
// secret.
func enrolled(t *testing.T, c *harness.Cloud, b *harness.Browser) string {
	t.Helper()
	b.Get(request(c)).SignIn(ann).On("enroll")
	m := secretPattern.FindStringSubmatch(b.Body)
	if m == nil || !strings.Contains(b.Body, `src="data:image/png;base64,`) {
		t.Fatalf("no key on the page: %s", b.Text())
	}
	b.Submit(map[string]string{"code": "000000"}).On("enroll")
	if again := secretPattern.FindStringSubmatch(b.Body); again == nil || again[1] != m[1] {
		t.Fatal("a wrong number changed the key that was scanned")
	}
	b.Submit(map[string]string{"code": number(t, m[1], c.Clock.Now())}).Answer()
	return m[1]
}

func TestSecondFactor(t *testing.T) {
	c := harness.Start(t)
	c.Policy.Set(t, mfa)
	secret := enrolled(t, c, c.Browser())
	c.Clock.Advance(time.Minute)

	b := c.Browser().Get(request(c)).SignIn(ann).On("code")
	b.Submit(map[string]string{"code": "123456"}).On("code")
	if !strings.Contains(b.Text(), "not right") {
		t.Errorf("page: %s", b.Text())
	}
	if f := c.Failed(); len(f) != 1 || f[0].Code != 500121 || f[0].User != c.User.ID {
		t.Errorf("log: %+v", f)
	}
	n := number(t, secret, c.Clock.Now())
	code := b.Submit(map[string]string{"code": n[:3] + " " + n[3:]}).Answer().Get("code")
	r := c.Post(c.TokenPath(), "grant_type", "authorization_code", "client_id", string(directory.AzureCLI), "code", code, "redirect_uri", "http://localhost:8400", "code_verifier", verifier).Want(c)
	if claims := c.Verify(r.Text("access_token"), "https://management.azure.com"); strings.Join(claims.AMR, " ") != "pwd mfa" {
		t.Errorf("amr is %v", claims.AMR)
	}
	// A number works once, in whatever browser.
	other := c.Browser().Get(request(c)).SignIn(ann).On("code")
	other.Submit(map[string]string{"code": n}).On("code")

	// Two at once: one wins.
	c.Clock.Advance(time.Minute)
	n = number(t, secret, c.Clock.Now())
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 8 {
		b := c.Browser().Get(request(c)).SignIn(ann).On("code")
		wg.Go(func() {
			if b.Submit(map[string]string{"code": n}); b.Left != nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("a number worked %d times", won)
	}
}

func TestSecondFactorGuessing(t *testing.T) {
	c := harness.Start(t)
	c.Policy.Set(t, mfa)
	secret := enrolled(t, c, c.Browser())
	c.Clock.Advance(time.Minute)
	b := c.Browser().Get(request(c)).SignIn(ann).On("code")
	for range 10 {
		b.Submit(map[string]string{"code": "000000"}).On("code")
	}
	b.Submit(map[string]string{"code": number(t, secret, c.Clock.Now())}).On("code")
	if !strings.Contains(b.Text(), "Too many") {
		t.Errorf("after ten wrong numbers the right one gave: %s", b.Text())
	}
}

// TestEnrolmentNeedsProof shows that a session alone registers nothing: not
// after a while, and not beside a factor that was not used.
func TestEnrolmentNeedsProof(t *testing.T) {
	c := harness.Start(t)
	b := c.Browser().Get(request(c)).SignIn(ann)
	b.Answer()
	c.Policy.Set(t, mfa)
	c.Clock.Advance(20 * time.Minute)
	b.Get(request(c)).On("password") // the password again before anything is registered
	b.SignIn(ann).On("enroll")
	form := b.Form()
	m := secretPattern.FindStringSubmatch(b.Body)
	// Somebody else registers meanwhile; this page must not add a second one.
	enrolled(t, c, c.Browser())
	form.Fields.Set("code", number(t, m[1], c.Clock.Now()))
	if b.Post(form.Action, form.Fields); b.Left != nil || b.Page != "error" {
		t.Errorf("a second factor was added without the first: page %q, left %v", b.Page, b.Left)
	}
	// The enrolment of one person is not another's.
	c.AddUser("eve@contoso.example", "Eve")
	eve := c.Browser().Get(request(c)).SignIn("eve@contoso.example").On("enroll")
	form2 := eve.Form()
	form2.Fields.Set("enrolment", form.Fields.Get("enrolment"))
	form2.Fields.Set("code", number(t, m[1], c.Clock.Now()))
	if eve.Post(form2.Action, form2.Fields); eve.Left != nil {
		t.Error("another person's enrolment was accepted")
	}
}

func TestChangePassword(t *testing.T) {
	c := harness.Start(t)
	before := c.Browser().Get(request(c)).SignIn(ann)
	before.Answer()
	edit(c, c.User, func(u *directory.User) { u.MustChangePassword = true })
	c.Clock.Advance(time.Second)
	b := c.Browser().Get(request(c)).SignIn(ann).On("change")
	for _, tt := range []struct{ old, next, confirm, text string }{
		{harness.Password, "New-Horse-88", "New-Horse-89", "not the same"},
		{harness.Password, harness.Password, harness.Password, "old one"},
		{harness.Password, "short", "short", "8 to"},
		{"wrong", "New-Horse-88", "New-Horse-88", "incorrect"},
	} {
		b.Submit(map[string]string{"password": tt.old, "new-password": tt.next, "confirm-password": tt.confirm}).On("change")
		if !strings.Contains(b.Text(), tt.text) {
			t.Errorf("%+v: %s", tt, b.Text())
		}
	}
	b.Submit(map[string]string{"password": harness.Password, "new-password": "New-Horse-88", "confirm-password": "New-Horse-88"}).Answer()
	// Other browsers are signed out, and the old password is gone.
	before.Get(request(c)).On("name")
	before.SignIn(ann).On("password")
	before.Submit(map[string]string{"password": "New-Horse-88"}).Answer()
}

func TestAccountPicker(t *testing.T) {
	c := harness.Start(t)
	c.AddUser("bob@contoso.example", "Bob")
	b := c.Browser().Get(request(c)).SignIn(ann)
	b.Get(request(c, "prompt", "select_account")).On("pick")
	if !strings.Contains(b.Text(), ann) {
		t.Errorf("page: %s", b.Text())
	}
	b.Get("/login?" + b.URL.RawQuery + "&other=1").On("name")
	b.SignIn("bob@contoso.example").Answer()
	b.Get(request(c, "prompt", "select_account")).On("pick")
	accounts := b.Form().Buttons["account"]
	if len(accounts) != 2 {
		t.Fatalf("accounts: %v", accounts)
	}
	code := b.Submit(map[string]string{"account": string(c.Tenant.ID) + "/" + string(c.User.ID)}).Answer().Get("code")
	r := c.Post(c.TokenPath(), "grant_type", "authorization_code", "client_id", string(directory.AzureCLI), "code", code, "redirect_uri", "http://localhost:8400", "code_verifier", verifier).Want(c)
	if claims := c.Verify(r.Text("access_token"), "https://management.azure.com"); claims.Object != c.User.ID {
		t.Errorf("signed in as %s", claims.UPN)
	}
	// An account that is not in the session cannot be picked.
	eve := c.AddUser("eve@contoso.example", "Eve")
	b.Get(request(c, "prompt", "select_account")).On("pick")
	if b.Submit(map[string]string{"account": string(c.Tenant.ID) + "/" + string(eve.ID)}); b.Left != nil {
		t.Error("an account was picked that is not signed in")
	}
}

func TestPrompts(t *testing.T) {
	c := harness.Start(t)
	b := c.Browser().Get(request(c)).SignIn(ann)
	c.Clock.Advance(time.Second)
	b.Get(request(c, "prompt", "login")).On("name")
	b.SignIn(ann).Answer()
	if b.Get(request(c, "prompt", "none")); b.Answer().Get("code") == "" {
		t.Errorf("prompt=none with a session: %v", b.Left)
	}
	// A hint goes straight to the password; another account than the hint's is
	// not used.
	c.AddUser("bob@contoso.example", "Bob")
	b.Get(request(c, "login_hint", "bob@contoso.example")).On("password")
	if !strings.Contains(b.Text(), "bob@contoso.example") {
		t.Errorf("page: %s", b.Text())
	}
	if b.Get(request(c, "login_hint", "bob@contoso.example", "prompt", "none")); b.Answer().Get("error") != "login_required" {
		t.Errorf("left for %v", b.Left)
	}
}

func TestFormPost(t *testing.T) {
	c := harness.Start(t)
	b := c.Browser().Get(request(c, "response_mode", "form_post")).SignIn(ann).On("post")
	f := b.Form()
	if f.Action != "http://localhost:8400" || f.Fields.Get("code") == "" || f.Fields.Get("state") != "st" {
		t.Errorf("form: %+v", f)
	}
	if csp := b.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' http://localhost:8400;") {
		t.Errorf("policy: %s", csp)
	}
}

func TestSessions(t *testing.T) {
	c := harness.Start(t)
	b := c.Browser().Get(request(c))
	cookie := func(name string) *http.Cookie {
		base, _ := url.Parse(c.URL)
		for _, k := range b.Jar.Cookies(base) {
			if k.Name == name {
				return k
			}
		}
		return nil
	}
	if cookie("__Host-EntranceSession") != nil {
		t.Error("a session before anybody signed in")
	}
	b.On("name").Submit(map[string]string{"username": ann})
	resp := raw(t, c, b, map[string]string{"password": harness.Password})
	var set *http.Cookie
	for _, k := range resp.Cookies() {
		if k.Name == "__Host-EntranceSession" {
			set = k
		}
	}
	if resp.StatusCode != http.StatusSeeOther {
		t.Errorf("a form is answered with %d, want 303", resp.StatusCode)
	}
	if set == nil || !set.HttpOnly || !set.Secure || set.SameSite != http.SameSiteLaxMode || set.Path != "/" || set.Domain != "" || set.MaxAge != 0 {
		t.Fatalf("session cookie: %+v", set)
	}
	// Staying signed in outlives the browser.
	b = c.Browser().Get(request(c)).On("name").Submit(map[string]string{"username": ann})
	resp = raw(t, c, b, map[string]string{"password": harness.Password, "keep": "1"})
	for _, k := range resp.Cookies() {
		if k.Name == "__Host-EntranceSession" && k.MaxAge < 80*24*3600 {
			t.Errorf("staying signed in lasts %d s", k.MaxAge)
		}
	}
	// A session that was planted before the sign-in is worth nothing after it.
	b = c.Browser().Get(request(c)).SignIn(ann)
	planted := cookie("__Host-EntranceSession").Value
	c.Clock.Advance(time.Second)
	b.Get(request(c, "prompt", "login")).SignIn(ann).Answer()
	if cookie("__Host-EntranceSession").Value == planted {
		t.Error("signing in keeps the name of the session")
	}
	thief := c.Browser()
	base, _ := url.Parse(c.URL)
	thief.Jar.SetCookies(base, []*http.Cookie{{Name: "__Host-EntranceSession", Value: planted, Secure: true, Path: "/"}})
	thief.Get(request(c)).On("name")
	// It ends in time, and with the person's sessions.
	c.Clock.Advance(25 * time.Hour)
	b.Get(request(c)).On("name")
	b.SignIn(ann).Answer()
	edit(c, c.User, func(u *directory.User) { u.SessionsValidFrom = c.Clock.Now() })
	b.Get(request(c)).On("name")
	c.Clock.Advance(time.Second)
	b.SignIn(ann).Answer()
	edit(c, c.User, func(u *directory.User) { u.Enabled = false })
	b.Get(request(c)).On("name")
	b.Submit(map[string]string{"username": ann}).On("password").Submit(map[string]string{"password": harness.Password}).On("password")
	if !strings.Contains(b.Text(), "disabled") {
		t.Errorf("page: %s", b.Text())
	}
}

// raw sends the page's form and returns the answer itself.
func raw(t *testing.T, c *harness.Cloud, b *harness.Browser, fields map[string]string) *http.Response {
	t.Helper()
	f := b.Form()
	for k, v := range fields {
		f.Fields.Set(k, v)
	}
	client := c.Client()
	client.Jar = b.Jar
	resp, err := client.PostForm(c.URL+f.Action, f.Fields)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func TestSignOut(t *testing.T) {
	c := harness.Start(t)
	app, _ := c.AddApp("Shop", func(a *directory.Application) { a.Web.RedirectURIs = []string{"https://shop.example/out"} })
	b := c.Browser().Get(request(c)).SignIn(ann)
	// Without a client that is known, a link asks first.
	b.Get("/common/oauth2/v2.0/logout").On("signout")
	b.Get(request(c)).Answer()
	b.Get("/common/oauth2/v2.0/logout").On("signout").Submit(nil).On("signedout")
	b.Get(request(c)).On("name")
	b.SignIn(ann).Answer()
	b.Get("/common/oauth2/v2.0/logout?client_id=" + string(app.AppID) + "&post_logout_redirect_uri=https%3A%2F%2Fshop.example%2Fout&state=x")
	if b.Left == nil || b.Left.String() != "https://shop.example/out?state=x" {
		t.Errorf("left for %v", b.Left)
	}
	b.Get(request(c)).On("name")
}

// TestFrontChannelLogout: the applications that were signed in to are told of the
// sign-out, with whose session it was, and nobody else is.
func TestFrontChannelLogout(t *testing.T) {
	c := harness.Start(t)
	web := func(name, out string) *directory.Application {
		app, _ := c.AddApp(name, func(a *directory.Application) {
			a.Web.RedirectURIs, a.Web.LogoutURL = []string{"https://" + name + ".example/cb"}, out
			a.Optional.IDToken = []directory.OptionalClaim{{Name: "sid"}}
			a.Credentials.Passwords = []directory.Password{c.Secret(name + "-secret")}
		})
		c.Update(func(tx *store.Tx) error {
			sp, err := state.FindServicePrincipal(tx, c.Tenant.ID, app.AppID)
			if err != nil {
				return err
			}
			graph, err := state.FindServicePrincipal(tx, c.Tenant.ID, directory.Graph)
			if err != nil {
				return err
			}
			return state.Consent(tx, c.Tenant.ID, sp.ID, graph.ID, "", []string{"openid"})
		})
		return app
	}
	shop, quiet := web("shop", "https://shop.example/out?x=1"), web("quiet", "")
	web("stranger", "https://stranger.example/out")
	open := func(b *harness.Browser, app *directory.Application, name string) *harness.Browser {
		return b.Get("/" + string(c.Tenant.ID) + "/oauth2/v2.0/authorize?" + url.Values{"client_id": {string(app.AppID)}, "response_type": {"code"},
			"scope": {"openid"}, "redirect_uri": {"https://" + name + ".example/cb"}}.Encode())
	}
	other := open(c.Browser(), shop, "shop").SignIn(ann)
	other.Answer()
	b := open(c.Browser(), quiet, "quiet").SignIn(ann)
	b.Answer()
	code := open(b, shop, "shop").Answer().Get("code")
	id := c.Post(c.TokenPath(), "grant_type", "authorization_code", "client_id", string(shop.AppID), "client_secret", "shop-secret", "code", code, "redirect_uri", "https://shop.example/cb").Want(c).Text("id_token")
	var claims struct{ Sid, Iss string }
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(id, ".")[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil || claims.Sid == "" {
		t.Fatalf("ID token %s", raw)
	}
	frame := "https://shop.example/out?" + url.Values{"x": {"1"}, "iss": {claims.Iss}, "sid": {claims.Sid}}.Encode()

	b.Get("/common/oauth2/v2.0/logout").On("signout").Submit(nil).On("signedout")
	if n := strings.Count(b.Body, "<iframe"); n != 1 || !strings.Contains(html.UnescapeString(b.Body), `src="`+frame+`"`) {
		t.Errorf("%d frames, want one of %s: %s", n, frame, b.Body)
	}
	if csp := b.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-src https://shop.example;") {
		t.Errorf("policy: %s", csp)
	}
	b.Get("/login/signout").On("signedout")
	if strings.Contains(b.Body, "<iframe") || strings.Contains(b.Header.Get("Content-Security-Policy"), "frame-src") {
		t.Errorf("told twice: %s", b.Body)
	}
	// The browser beside it is still signed in. Its sign-out by the application
	// itself tells first, and goes on to the application's own page.
	open(other, shop, "shop").Answer()
	other.Get("/common/oauth2/v2.0/logout?client_id=" + string(shop.AppID) + "&post_logout_redirect_uri=https%3A%2F%2Fshop.example%2Fcb&state=x").On("signedout")
	body := html.UnescapeString(other.Body)
	if !strings.Contains(body, `<iframe`) || strings.Contains(body, claims.Sid) || !strings.Contains(body, `url=https://shop.example/cb?state=x`) || !strings.Contains(body, `href="https://shop.example/cb?state=x"`) {
		t.Errorf("page: %s", body)
	}
	open(other, shop, "shop").On("name")
}

// TestForgery is the pages' part of abuse case 24: framing, forms from
// elsewhere, and what others have written.
func TestForgery(t *testing.T) {
	c := harness.Start(t)
	b := c.Browser().Get(request(c)).On("name")
	h := b.Header
	for name, want := range map[string]string{
		"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store, no-cache",
	} {
		if h.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, h.Get(name), want)
		}
	}
	csp := h.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "script-src 'self'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy lacks %q: %s", want, csp)
		}
	}
	if strings.Contains(csp, "unsafe") {
		t.Errorf("policy: %s", csp)
	}
	post := func(b *harness.Browser, f *harness.Form, header http.Header) int {
		client := c.Client()
		client.Jar = b.Jar
		req, _ := http.NewRequest("POST", c.URL+f.Action, strings.NewReader(f.Fields.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for k, v := range header {
			req.Header[k] = v
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	form := func() *harness.Form {
		f := b.Get(request(c)).On("name").Form()
		f.Fields.Set("username", ann)
		return f
	}
	if got := post(b, form(), nil); got != http.StatusSeeOther {
		t.Fatalf("the form itself: %d", got)
	}
	f := form()
	f.Fields.Del("csrf")
	if got := post(b, f, nil); got != http.StatusForbidden {
		t.Errorf("without a token: %d", got)
	}
	if got := post(b, form(), http.Header{"Origin": {"https://evil.example"}}); got != http.StatusForbidden {
		t.Errorf("from another origin: %d", got)
	}
	if got := post(b, form(), http.Header{"Sec-Fetch-Site": {"cross-site"}}); got != http.StatusForbidden {
		t.Errorf("from another site: %d", got)
	}
	other := c.Browser().Get(request(c)).On("name").Form()
	other.Fields.Set("username", ann)
	if got := post(b, other, nil); got != http.StatusForbidden {
		t.Errorf("with another browser's token: %d", got)
	}
	f = form()
	f.Fields.Add("username", "eve@contoso.example")
	if got := post(b, f, nil); got != http.StatusBadRequest {
		t.Errorf("a field twice: %d", got)
	}
	// Every form refuses: the routes are walked.
	for _, path := range []string{"name", "pick", "password", "change", "code", "enroll", "passkey", "passkey/new", "consent", "device", "signout"} {
		f := &harness.Form{Action: "/login/" + path, Fields: url.Values{"answer": {"accept"}}}
		if got := post(b, f, nil); got != http.StatusForbidden {
			t.Errorf("/login/%s without a token: %d", path, got)
		}
	}
	if got := post(b, &harness.Form{Action: "/devicelogin", Fields: url.Values{"otc": {"BCDFGHJKL"}}}, nil); got != http.StatusForbidden {
		t.Errorf("/devicelogin without a token: %d", got)
	}
}

func TestStoredScript(t *testing.T) {
	c := harness.Start(t)
	const evil = `<script>alert(1)</script>"><img src=x onerror=alert(1)>`
	api, sp := c.AddApp(evil, func(a *directory.Application) {
		a.IdentifierURIs = []string{"api://evil"}
		a.API.Scopes = []directory.Scope{{ID: directory.NewGUID(), Value: "X", Type: "User", Enabled: true, UserConsentName: evil, UserConsentAbout: evil + "!"}}
	})
	app, _ := c.AddApp(evil, func(a *directory.Application) { a.Web.RedirectURIs = []string{"https://shop.example/cb"} })
	edit(c, c.User, func(u *directory.User) { u.DisplayName = evil })
	_, _ = api, sp
	check := func(b *harness.Browser) {
		t.Helper()
		if strings.Contains(b.Body, "<script>") || strings.Contains(b.Body, "<img src=x") {
			t.Errorf("page %q shows what others wrote as markup", b.Page)
		}
	}
	b := c.Browser().Get(request(c, "client_id", string(app.AppID), "redirect_uri", "https://shop.example/cb", "scope", "openid api://evil/X", "login_hint", evil+"@contoso.example"))
	check(b)
	b.Get(request(c, "client_id", string(app.AppID), "redirect_uri", "https://shop.example/cb", "scope", "openid api://evil/X")).SignIn(ann).On("consent")
	check(b)
	b.Get(request(c, "prompt", "select_account")).On("pick")
	check(b)
	b.Get("/common/oauth2/v2.0/logout").On("signout")
	check(b)
	b.Get("/common/oauth2/v2.0/authorize?client_id=" + url.QueryEscape(evil))
	check(b.On("error"))
	b.Get("/common/oauth2/v2.0/authorize?client_id=" + string(app.AppID) + "&redirect_uri=" + url.QueryEscape("javascript:"+evil))
	check(b.On("error"))
	f := b.Get("/devicelogin").Form()
	f.Fields.Set("otc", evil)
	check(b.Post(f.Action, f.Fields))
}

func TestConsent(t *testing.T) {
	c := harness.Start(t)
	api, apiSP := c.AddApp("Orders", func(a *directory.Application) {
		a.IdentifierURIs = []string{"api://orders"}
		a.API.Scopes = []directory.Scope{
			{ID: directory.NewGUID(), Value: "Read", Type: "User", Enabled: true, UserConsentName: "Read your orders"},
			{ID: directory.NewGUID(), Value: "Admin", Type: "Admin", Enabled: true, AdminConsentName: "Manage all orders"},
		}
		a.AppRoles = []directory.AppRole{{ID: directory.NewGUID(), Value: "Write.All", DisplayName: "Write all orders", MemberTypes: []string{"Application"}, Enabled: true}}
	})
	app, sp := c.AddApp("Shop", func(a *directory.Application) {
		a.Web.RedirectURIs = []string{"https://shop.example/cb"}
		a.Credentials.Passwords = []directory.Password{c.Secret("shop-secret")}
		a.Required = []directory.Requirement{{ResourceAppID: api.AppID, Access: []directory.ResourceAccess{
			{ID: api.API.Scopes[0].ID, Type: "Scope"}, {ID: api.API.Scopes[1].ID, Type: "Scope"}, {ID: api.AppRoles[0].ID, Type: "Role"}}}}
	})
	shop := func(scope string) string {
		return request(c, "client_id", string(app.AppID), "redirect_uri", "https://shop.example/cb", "scope", "openid "+scope)
	}
	consented := func(user directory.ObjectID) string {
		return strings.Join(state.Consented(c.Store.View(), c.Tenant.ID, sp.ID, apiSP.ID, user), " ")
	}
	b := c.Browser().Get(shop("api://orders/Read")).SignIn(ann).On("consent")
	if !strings.Contains(b.Text(), "Read your orders") || !strings.Contains(b.Text(), "Shop") || strings.Contains(b.Text(), "Consent on behalf") {
		t.Errorf("page: %s", b.Text())
	}
	b.Submit(map[string]string{"answer": "accept", "everybody": "1"}).Answer()
	if consented(c.User.ID) != "Read" || consented("other") != "" {
		t.Errorf("Ann consented for herself, and it is %q for her and %q for others", consented(c.User.ID), consented("other"))
	}
	b.Get(shop("api://orders/Read")).Answer() // asked once
	b.Get(shop("")).Answer()                  // openid was asked for beside it
	b.Get(shop("profile")).On("consent")
	b.Get(shop("api://orders/Admin")).On("error")

	// An administrator may, for everybody if they say so.
	admin := c.AddUser("root@contoso.example", "Root")
	c.Update(func(tx *store.Tx) error {
		return state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: c.Tenant.ID, ID: directory.NewGUID(), Role: directory.GlobalAdministrator, Principal: admin.ID, Scope: "/"})
	})
	a := c.Browser().Get(shop("api://orders/Admin")).SignIn("root@contoso.example").On("consent")
	a.Submit(map[string]string{"answer": "accept", "everybody": "1"}).Answer()
	if consented("other") != "Admin" {
		t.Errorf("consent for everybody: %q", consented("other"))
	}
	b.Get(shop("api://orders/Admin")).Answer()

	// Admin consent grants everything that the registration lists, roles too.
	path := "/" + string(c.Tenant.ID) + "/adminconsent?client_id=" + string(app.AppID) + "&redirect_uri=https%3A%2F%2Fshop.example%2Fcb&state=st"
	b.Get(path)
	if f := b.Text(); b.Page != "error" || !strings.Contains(f, "AADSTS90094") {
		t.Errorf("admin consent by somebody else: page %q: %s", b.Page, f)
	}
	a.Get(path).On("consent")
	if !strings.Contains(a.Text(), "Write all orders") {
		t.Errorf("page: %s", a.Text())
	}
	if v := a.Submit(map[string]string{"answer": "accept"}).Answer(); v.Get("admin_consent") != "True" || v.Get("tenant") != string(c.Tenant.ID) || v.Get("state") != "st" {
		t.Errorf("answer: %v", v)
	}
	r := c.Post(c.TokenPath(), "grant_type", "client_credentials", "client_id", string(app.AppID), "client_secret", "shop-secret", "scope", "api://orders/.default").Want(c)
	if claims := c.Verify(r.Text("access_token"), "api://orders"); strings.Join(claims.Roles, " ") != "Write.All" {
		t.Errorf("roles: %v", claims.Roles)
	}
}

// TestConsentRace shows that what counts is who somebody is when they accept,
// not when they were asked.
func TestConsentRace(t *testing.T) {
	c := harness.Start(t)
	c.AddApp("Orders", func(a *directory.Application) {
		a.IdentifierURIs = []string{"api://orders"}
		a.API.Scopes = []directory.Scope{{ID: directory.NewGUID(), Value: "Admin", Type: "Admin", Enabled: true, AdminConsentName: "Manage"}}
	})
	app, _ := c.AddApp("Shop", func(a *directory.Application) { a.Web.RedirectURIs = []string{"https://shop.example/cb"} })
	role := &directory.RoleAssignment{Tenant: c.Tenant.ID, ID: directory.NewGUID(), Role: directory.GlobalAdministrator, Principal: c.User.ID, Scope: "/"}
	c.Update(func(tx *store.Tx) error { return state.RoleAssignments.Create(tx, role) })
	b := c.Browser().Get(request(c, "client_id", string(app.AppID), "redirect_uri", "https://shop.example/cb", "scope", "api://orders/Admin")).SignIn(ann).On("consent")
	c.Update(func(tx *store.Tx) error { return state.RoleAssignments.Delete(tx, string(c.Tenant.ID)+"/"+role.ID) })
	if b.Submit(map[string]string{"answer": "accept"}); b.Status != http.StatusForbidden || b.Left != nil {
		t.Errorf("status %d, left for %v", b.Status, b.Left)
	}
}

// TestLockout is the pages' part of abuse case 21: strangers who guess lock
// themselves out, and the person at an address that is known signs in.
func TestLockout(t *testing.T) {
	c := harness.Start(t)
	ctx := context.Background()
	home, away := harness.Loopback, harness.Loopback.Next()
	check := func(password string, known bool) error {
		from := away
		if known {
			from = home
		}
		return c.SignIn.CheckPassword(ctx, c.Tenant.ID, ann, c.User, password, from)
	}
	if err := check(harness.Password, true); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		if err := check("wrong", false); !errs.Is(err, errs.Unauthenticated) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	if err := check(harness.Password, false); err != nil {
		t.Errorf("right at the tenth: %v", err)
	}
	away = away.Next() // another stranger
	for range 10 {
		check("wrong", false)
	}
	if err := check(harness.Password, false); !errs.Is(err, errs.Throttled) {
		t.Errorf("the right password from there: %v", err)
	}
	if err := check(harness.Password, true); err != nil {
		t.Errorf("the person at home is locked out by strangers: %v", err)
	}
	c.Clock.Advance(61 * time.Second)
	if err := check("wrong", false); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("after a minute: %v", err)
	}
	if err := check(harness.Password, false); !errs.Is(err, errs.Throttled) {
		t.Errorf("the next failure locks again at once: %v", err)
	}
	c.Clock.Advance(61 * time.Second)
	if err := check(harness.Password, false); !errs.Is(err, errs.Throttled) {
		t.Errorf("the second lock is longer: %v", err)
	}
	c.Clock.Advance(61 * time.Second)
	if err := check(harness.Password, false); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// TestRightAtOnce: many right passwords at the same time lock nobody out, though
// each counts as wrong until it has been checked.
func TestRightAtOnce(t *testing.T) {
	c := harness.Start(t)
	slow, err := password.New(password.Params{Memory: 8 << 10, Time: 8, Parallelism: 1}, 1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	user := *c.User
	if user.PasswordHash, err = slow.Hash(t.Context(), harness.Password); err != nil {
		t.Fatal(err)
	}
	pages, err := signin.New(signin.Config{Store: c.Store, Clock: c.Clock, BaseURL: c.URL, Sealer: c.Sealer, Hasher: slow})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if err := pages.CheckPassword(context.Background(), c.Tenant.ID, ann, &user, harness.Password, harness.Loopback); err != nil {
				t.Errorf("the right password: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestStrengthNeedsPasskey(t *testing.T) {
	c := harness.Start(t)
	c.Policy.Set(t, strings.Replace(mfa, `"builtInControls":["mfa"]`, `"builtInControls":[],"authenticationStrength":{"id":"`+conditionalaccess.StrengthPhishingResistant+`"}`, 1))
	b := c.Browser().Get(request(c)).SignIn(ann).On("newpasskey")
	if strings.Contains(b.Text(), "Use an application instead") {
		t.Error("an application is offered where only a passkey will do")
	}
	// What no passkey has signed is refused.
	f := b.Form()
	f.Fields.Set("response", `{"id":"AAAA","rawId":"AAAA","type":"public-key","response":{"attestationObject":"AAAA","clientDataJSON":"AAAA"}}`)
	b.Post(f.Action, f.Fields).On("newpasskey")
	// And the challenge is gone, whatever was sent.
	b.Post(f.Action, f.Fields).On("newpasskey")
}
