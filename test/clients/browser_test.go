package clients

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/test/clients/harness"
)

// chromium starts a headless browser that trusts the cloud, and fails the test
// when a page writes an error to its console.
func chromium(t *testing.T, c *harness.Cloud) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		missing(t, "Chromium is not installed")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Flag("no-sandbox", true),
		chromedp.Flag("ignore-certificate-errors-spki-list", harness.CertificatePin()),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(cancel)
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

func run(t *testing.T, ctx context.Context, steps ...step) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// value runs an action that returns something.
func value[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

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
	got chan url.Values
}

func newApp(t *testing.T) *app {
	a := &app{got: make(chan url.Values, 4)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/cb" {
			http.NotFound(w, r)
			return
		}
		r.ParseForm()
		a.got <- r.Form
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(`<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>app</title><h1 id="app">Welcome back</h1>`))
	}))
	t.Cleanup(a.Close)
	return a
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
		r.Credentials.Passwords = []directory.Password{c.Secret("shop-secret")}
	})
	return client
}

// TestChromium signs in with a real browser: the forms, the policy about where
// forms may lead, consent, and the self-sending answer.
func TestChromium(t *testing.T) {
	completes(t, chrome, "password, consent, answers by query and form_post")
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
			run(t, ctx, onPage("consent"), chromedp.Click(chromedp.CSS(`button[value="accept"]`)))
		}
		run(t, ctx, chromedp.WaitVisible(chromedp.CSS("#app")))
		select {
		case v := <-a.got:
			if v.Get("code") == "" || v.Get("state") != "st" {
				t.Errorf("%s: the application got %v", mode, v)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the application got nothing", mode)
		}
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
		select {
		case v := <-a.got:
			r := c.Post(c.TokenPath(), "grant_type", "authorization_code", "client_id", string(client.AppID), "client_secret", "shop-secret", "code", v.Get("code"), "redirect_uri", a.url(), "code_verifier", verifier).Want(c)
			return r.Text("id_token")
		case <-time.After(10 * time.Second):
			t.Fatal("the application got nothing")
			return ""
		}
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
		chromedp.Click(chromedp.CSS("button.main")), onPage("consent"), chromedp.Click(chromedp.CSS(`button[value="accept"]`)),
		chromedp.WaitVisible(chromedp.CSS("#app")))
	got()
	// In another session: the passkey instead of name and password.
	run(t, ctx, chromedp.Navigate(c.URL+"/common/oauth2/v2.0/logout"), onPage("signout"), chromedp.Click(chromedp.CSS("button.main")), onPage("signedout"),
		chromedp.Navigate(a.request(c, client)), onPage("name"), chromedp.Click(chromedp.CSS(`a[href^="/login/passkey"]`)), onPage("passkey"),
		chromedp.Click(chromedp.CSS("button.main")), chromedp.WaitVisible(chromedp.CSS("#app")))
	got()
	// As a second factor after the password.
	run(t, ctx, chromedp.Navigate(c.URL+"/common/oauth2/v2.0/logout"), onPage("signout"), chromedp.Click(chromedp.CSS("button.main")), onPage("signedout"),
		chromedp.Navigate(a.request(c, client)), onPage("name"),
		chromedp.SendKeys(chromedp.CSS("#username"), "ann@contoso.example\r"), onPage("password"),
		chromedp.SendKeys(chromedp.CSS("#password"), harness.Password+"\r"), onPage("passkey"),
		chromedp.Click(chromedp.CSS("button.main")), chromedp.WaitVisible(chromedp.CSS("#app")))
	got()
	facts := c.Policy.Facts()
	last := facts[len(facts)-1]
	if !conditionalaccess.MFADone(last.Methods) {
		t.Errorf("what was proven: %+v", last.Methods)
	}
}

// TestChromiumLayout looks at every page at three widths: nothing may be wider
// than the screen, every field has a label, and text stands out enough. With
// ENTRANCE_SCREENSHOTS=DIR it keeps pictures of what it saw.
func TestChromiumLayout(t *testing.T) {
	completes(t, chrome, "every page at 360, 768 and 1280 px, light and dark, device code page")
	c := harness.Start(t)
	ctx := chromium(t, c)
	a := newApp(t)
	client := a.register(c)
	shots := os.Getenv("ENTRANCE_SCREENSHOTS")
	look := func(name string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 768, 1280} {
				run(t, ctx,
					send(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}),
					send(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width < 500}),
				)
				wide := value(t, ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth`))
				unlabelled := value(t, ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll("input:not([type=hidden])")].filter(i => !i.labels.length).map(i => i.name)`))
				contrast := value(t, ctx, chromedp.Evaluate[float64](contrastScript))
				if wide {
					t.Errorf("%s at %d px is wider than the screen", name, width)
				}
				if len(unlabelled) > 0 {
					t.Errorf("%s: fields without a label: %v", name, unlabelled)
				}
				if contrast < 4.5 {
					t.Errorf("%s in %s: text has a contrast of %.1f, less than 4.5", name, scheme, contrast)
				}
				if shots != "" {
					png := value(t, ctx, chromedp.FullScreenshot(100))
					if err := os.WriteFile(filepath.Join(shots, name+"-"+scheme+"-"+itoa(width)+".png"), png, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		run(t, ctx, send(emulation.ClearDeviceMetricsOverride, cdp.Empty{}))
	}
	run(t, ctx, chromedp.Navigate(a.request(c, client)), onPage("name"))
	look("name")
	run(t, ctx, chromedp.SendKeys(chromedp.CSS("#username"), "nobody@elsewhere.example\r"), chromedp.WaitVisible(chromedp.CSS("#problem")))
	look("name-error")
	run(t, ctx, chromedp.SetValue(chromedp.CSS("#username"), "ann@contoso.example"), chromedp.Submit(chromedp.CSS("#username")), onPage("password"))
	look("password")
	c.Policy.Set(t, `{"id":"11111111-1111-1111-1111-111111111111","displayName":"mfa","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}},"grantControls":{"operator":"OR","builtInControls":["mfa"]}}`)
	run(t, ctx, chromedp.SendKeys(chromedp.CSS("#password"), harness.Password+"\r"), onPage("enroll"))
	look("enroll")
	run(t, ctx, chromedp.Click(chromedp.CSS(`a[href^="/login/passkey/new"]`)), onPage("newpasskey"))
	look("newpasskey")
	c.Policy.Set(t)
	run(t, ctx, chromedp.Navigate(a.request(c, client)), onPage("consent"))
	look("consent")
	run(t, ctx, chromedp.Navigate(a.request(c, client, "prompt", "select_account")), onPage("pick"))
	look("pick")
	run(t, ctx, chromedp.Navigate(a.request(c, client, "redirect_uri", "https://evil.example/")), onPage("error"))
	look("error")
	d := c.Post("/organizations/oauth2/v2.0/devicecode", "client_id", string(directory.AKSClient), "scope", string(directory.AKSServer)+"/.default").Want(c)
	run(t, ctx, chromedp.Navigate(c.URL+"/devicelogin"), onPage("usercode"))
	look("usercode")
	run(t, ctx, chromedp.SendKeys(chromedp.CSS("#otc"), d.Text("user_code")+"\r"), onPage("device"))
	look("device")
	run(t, ctx, chromedp.Click(chromedp.CSS(`button[value="continue"]`)), onPage("done"))
	look("done")
	run(t, ctx, chromedp.Navigate(c.URL+"/login/signout"), onPage("signout"))
	look("signout")
}

// contrastScript returns the lowest contrast of text to what is behind it.
const contrastScript = `(() => {
  const rgb = (s) => (s.match(/[\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; })
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let low = 99;
  for (const e of document.querySelectorAll("main *, footer")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || e.closest("noscript")) continue;
    const a = lum(rgb(getComputedStyle(e).color)), b = lum(behind(e));
    low = Math.min(low, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  }
  return low;
})()`

func itoa(n int64) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}
