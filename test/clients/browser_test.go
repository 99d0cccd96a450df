package clients

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/test/clients/harness"
	"github.com/entrance-id/entrance/test/tools"
)

// chromium starts a headless browser that trusts the cloud, and fails the test
// when a page writes an error to its console.
func chromium(t *testing.T, c *harness.Cloud) context.Context {
	t.Helper()
	ctx := tools.Chromium(t, harness.CertificatePin())
	thrown := chromedp.Events(ctx, runtime.ExceptionThrown)
	go func() {
		for e, err := range thrown {
			if err != nil {
				return
			}
			t.Errorf("a page threw: %s", e.ExceptionDetails.Text)
		}
	}()
	return ctx
}

type step = chromedp.Action[chromedp.Void]

// stepTime is what one step may take on a slow and busy machine. It is far more
// than any needs, and less than the whole test has.
const stepTime = 30 * time.Second

func run(t *testing.T, ctx context.Context, steps ...step) {
	t.Helper()
	for i, s := range steps {
		if err := within(ctx, func(ctx context.Context) error { return chromedp.Do(ctx, s) }); err != nil {
			t.Fatalf("step %d of %d: %v; the browser shows %s", i+1, len(steps), err, shown(ctx))
		}
	}
}

// value runs an action that returns something.
func value[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) (v T) {
	t.Helper()
	err := within(ctx, func(ctx context.Context) (err error) {
		v, err = chromedp.Run(ctx, a)
		return err
	})
	if err != nil {
		t.Fatalf("%v; the browser shows %s", err, shown(ctx))
	}
	return v
}

func within(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	return f(ctx)
}

// shown says where the browser is, for the message of a step that failed.
func shown(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	at, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.pathname + " (" + (document.body && document.body.dataset.page) + "): " + (document.body && document.body.innerText)`))
	if err != nil {
		return "nothing that can be read: " + err.Error()
	}
	return at
}

// press presses a link or button with the keyboard, as a person without a mouse
// does. A click would go to where the element was when it was looked up, which is
// elsewhere if the page has been laid out anew meanwhile.
func press(selector string) step { return chromedp.SendKeys(chromedp.CSS(selector), "\r") }

// send sends a command of the DevTools protocol.
func send[P, R any](c cdp.Command[P, R], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

// onPage waits for one of the sign-in pages.
func onPage(name string) step {
	return chromedp.WaitVisible(chromedp.CSS(`body[data-page="` + name + `"] h1`))
}

// app is a web application that receives answers.
type app struct {
	*httptest.Server
	got chan url.Values // at the redirect URI
	out chan url.Values // at the address for sign-outs
}

func newApp(t *testing.T) *app {
	a := &app{got: make(chan url.Values, 4), out: make(chan url.Values, 4)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.ParseForm(); r.URL.Path {
		case "/cb":
			a.got <- r.Form
		case "/out":
			a.out <- r.Form
		default:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(`<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>app</title><h1 id="app">Welcome back</h1>`))
	}))
	t.Cleanup(a.Close)
	return a
}

// answer returns what the application was sent.
func (a *app) answer(t *testing.T) url.Values {
	t.Helper()
	select {
	case v := <-a.got:
		return v
	case <-time.After(stepTime):
		t.Fatal("the application got nothing")
		return nil
	}
}

func (a *app) url() string { return strings.Replace(a.URL, "127.0.0.1", "localhost", 1) + "/cb" }

const verifier = "a-verifier-that-is-long-enough-for-rfc-7636-yes"

func (a *app) request(c *harness.Cloud, client *directory.Application, change ...string) string {
	sum := sha256.Sum256([]byte(verifier))
	v := url.Values{
		"client_id": {string(client.AppID)}, "response_type": {"code"}, "redirect_uri": {a.url()}, "scope": {"openid profile"}, "state": {"st"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(change); i += 2 {
		v.Set(change[i], change[i+1])
	}
	return c.URL + "/" + string(c.Tenant.ID) + "/oauth2/v2.0/authorize?" + v.Encode()
}

func (a *app) register(c *harness.Cloud) *directory.Application {
	client, _ := c.AddApp("Shop", func(r *directory.Application) {
		r.Web.RedirectURIs = []string{"http://localhost/cb"}
		r.Web.LogoutURL = strings.TrimSuffix(a.url(), "/cb") + "/out"
		r.Credentials.Passwords = []directory.Password{c.Secret("shop-secret")}
	})
	return client
}

// TestChromium signs in with a real browser: the forms, the policy about where
// forms may lead, consent, the self-sending answer, and the sign-out that tells.
func TestChromium(t *testing.T) {
	completes(t, chrome, "password, consent, answers by query and form_post, front-channel logout")
	c := harness.Start(t)
	ctx := chromium(t, c)
	a := newApp(t)
	client := a.register(c)
	for _, mode := range []string{"query", "form_post"} {
		run(t, ctx, chromedp.Navigate(a.request(c, client, "response_mode", mode, "prompt", "login")), onPage("name"),
			chromedp.SendKeys(chromedp.CSS(`input[autocomplete~="username"]`), "ann@contoso.example\r"), onPage("password"),
			chromedp.SendKeys(chromedp.CSS(`input[autocomplete="current-password"]`), harness.Password+"\r"),
		)
		if mode == "query" {
			run(t, ctx, onPage("consent"), press(`button[value="accept"]`))
		}
		run(t, ctx, chromedp.WaitVisible(chromedp.CSS("#app")))
		if v := a.answer(t); v.Get("code") == "" || v.Get("state") != "st" {
			t.Errorf("%s: the application got %v", mode, v)
		}
	}
	// Signing out tells the application, in a frame.
	run(t, ctx, chromedp.Navigate(c.URL+"/common/oauth2/v2.0/logout"), onPage("signout"), press("button.main"), onPage("signedout"))
	select {
	case v := <-a.out:
		if v.Get("sid") == "" || v.Get("iss") != c.URL+"/"+string(c.Tenant.ID)+"/v2.0" {
			t.Errorf("at the sign-out the application was told %v", v)
		}
	case <-time.After(stepTime):
		t.Error("the application was not told of the sign-out")
	}
}

// TestChromiumPasskey registers a passkey with a virtual authenticator, signs in
// with it as a second factor and then instead of a password.
func TestChromiumPasskey(t *testing.T) {
	completes(t, chrome, "passkey: registration, sign-in, second factor")
	c := harness.Start(t)
	ctx := chromium(t, c)
	a := newApp(t)
	client := a.register(c)
	c.Policy.Set(t, `{"id":"11111111-1111-1111-1111-111111111111","displayName":"strong","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}},"grantControls":{"operator":"OR","builtInControls":[],"authenticationStrength":{"id":"`+conditionalaccess.StrengthPhishingResistant+`"}}}`)
	got := func() string {
		t.Helper()
		r := c.Post(c.TokenPath(), "grant_type", "authorization_code", "client_id", string(client.AppID), "client_secret", "shop-secret", "code", a.answer(t).Get("code"), "redirect_uri", a.url(), "code_verifier", verifier).Want(c)
		return r.Text("id_token")
	}
	run(t, ctx, send(webauthn.Enable, webauthn.EnableParams{}), send(webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		},
	}))
	run(t, ctx, chromedp.Navigate(a.request(c, client)), onPage("name"),
		chromedp.SendKeys(chromedp.CSS("#username"), "ann@contoso.example\r"), onPage("password"),
		chromedp.SendKeys(chromedp.CSS("#password"), harness.Password+"\r"), onPage("newpasskey"),
		press("button.main"), onPage("consent"), press(`button[value="accept"]`),
		chromedp.WaitVisible(chromedp.CSS("#app")))
	got()
	// In another session: the passkey instead of name and password.
	run(t, ctx, chromedp.Navigate(c.URL+"/common/oauth2/v2.0/logout"), onPage("signout"), press("button.main"), onPage("signedout"),
		chromedp.Navigate(a.request(c, client)), onPage("name"), press(`a[href^="/login/passkey"]`), onPage("passkey"),
		press("button.main"), chromedp.WaitVisible(chromedp.CSS("#app")))
	got()
	// As a second factor after the password.
	run(t, ctx, chromedp.Navigate(c.URL+"/common/oauth2/v2.0/logout"), onPage("signout"), press("button.main"), onPage("signedout"),
		chromedp.Navigate(a.request(c, client)), onPage("name"),
		chromedp.SendKeys(chromedp.CSS("#username"), "ann@contoso.example\r"), onPage("password"),
		chromedp.SendKeys(chromedp.CSS("#password"), harness.Password+"\r"), onPage("passkey"),
		press("button.main"), chromedp.WaitVisible(chromedp.CSS("#app")))
	got()
	facts := c.Policy.Facts()
	last := facts[len(facts)-1]
	if !conditionalaccess.MFADone(last.Methods) {
		t.Errorf("what was proven: %+v", last.Methods)
	}
}
