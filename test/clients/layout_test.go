package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/test/clients/harness"
)

// forEverybody returns a Conditional Access policy for everybody and everything.
func forEverybody(control string) string {
	return `{"id":"11111111-1111-1111-1111-111111111111","displayName":"` + control + `","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}},"grantControls":{"operator":"OR","builtInControls":["` + control + `"]}}`
}

// looks is what a page is found to be at one width in one colour scheme.
type looks struct {
	Page       string
	Wide       int64    // how many pixels it is wider than the screen
	Unlabelled []string // fields without a label
	Nameless   []string // buttons, links and images that a screen reader cannot name
	Headings   int
	Contrast   float64 // the lowest of any text
}

// TestChromiumLayout looks at every page at three widths, light and dark:
// nothing may be wider than the screen, every field has a label and every
// control a name, and text stands out enough (WCAG 2.2, 1.4.3, 1.4.10, 4.1.2).
// With ENTRANCE_SCREENSHOTS=DIR it keeps pictures of what it saw.
func TestChromiumLayout(t *testing.T) {
	completes(t, chrome, "every page at 360, 768 and 1280 px, light and dark, device code page")
	c := harness.Start(t)
	ctx := chromium(t, c)
	a := newApp(t)
	client := a.register(c)
	shots := os.Getenv("ENTRANCE_SCREENSHOTS")
	seen := map[string]bool{}
	look := func(name string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			run(t, ctx, send(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}))
			for _, width := range []int64{360, 768, 1280} {
				run(t, ctx, send(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width < 500}))
				found := value(t, ctx, chromedp.Evaluate[looks](fmt.Sprintf(looksScript, width, scheme), chromedp.EvalAwaitPromise))
				seen[found.Page] = true
				where := fmt.Sprintf("%s at %d px, %s", name, width, scheme)
				if found.Wide > 0 {
					t.Errorf("%s: %d px wider than the screen", where, found.Wide)
				}
				if len(found.Unlabelled) > 0 {
					t.Errorf("%s: fields without a label: %v", where, found.Unlabelled)
				}
				if len(found.Nameless) > 0 {
					t.Errorf("%s: controls without a name: %v", where, found.Nameless)
				}
				if found.Headings != 1 {
					t.Errorf("%s: %d main headings, want 1", where, found.Headings)
				}
				if found.Contrast < 4.5 {
					t.Errorf("%s: text has a contrast of %.1f, less than 4.5", where, found.Contrast)
				}
				if shots != "" {
					png := value(t, ctx, chromedp.FullScreenshot(100))
					if err := os.WriteFile(filepath.Join(shots, fmt.Sprintf("%s-%s-%d.png", name, scheme, width)), png, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	open := func(page, to string) {
		t.Helper()
		run(t, ctx, chromedp.Navigate(to), onPage(page))
	}
	fill := func(page, selector, text string) {
		t.Helper()
		// Typing replaces what is selected.
		value(t, ctx, chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.querySelector(%q).select()", selector)))
		run(t, ctx, chromedp.SendKeys(chromedp.CSS(selector), text+"\r"), onPage(page))
	}
	problem := func() {
		t.Helper()
		run(t, ctx, chromedp.WaitVisible(chromedp.CSS("#problem")))
	}

	// Name and password.
	open("name", a.request(c, client))
	look("name")
	fill("name", "#username", "nobody@elsewhere.example")
	problem()
	look("name-error")
	run(t, ctx, press(`a[href^="/login/passkey"]`), onPage("passkey"))
	look("passkey")
	open("name", a.request(c, client))
	fill("password", "#username", "ann@contoso.example")
	look("password")
	fill("password", "#password", "wrong")
	problem()
	look("password-error")

	// A second factor: registered, asked for, and wrong.
	c.Policy.Set(t, forEverybody("mfa"))
	fill("enroll", "#password", harness.Password)
	look("enroll")
	run(t, ctx, press(`a[href^="/login/passkey/new"]`), onPage("newpasskey"))
	look("newpasskey")
	run(t, ctx, press(`a[href^="/login/enroll"]`), onPage("enroll"))
	secret := value(t, ctx, chromedp.Evaluate[string](`document.querySelector("#secret").textContent`))
	number, err := totp.GenerateCode(strings.ReplaceAll(secret, " ", ""), c.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	fill("consent", "#code", number)
	look("consent")
	open("signout", c.URL+"/login/signout")
	look("signout")
	run(t, ctx, press("button.main"), onPage("signedout"))
	look("signedout")
	open("name", a.request(c, client))
	fill("password", "#username", "ann@contoso.example")
	fill("code", "#password", harness.Password)
	look("code")
	fill("code", "#code", "000000")
	problem()
	look("code-error")

	// Refused by policy, and by the application's registration.
	c.Policy.Set(t, forEverybody("block"))
	open("error", a.request(c, client))
	look("error-policy")
	run(t, ctx, press(`a.button`), chromedp.WaitVisible(chromedp.CSS("#app")))
	if v := a.answer(t); v.Get("error") != "access_denied" || v.Get("state") != "st" {
		t.Errorf("the application got %v", v)
	}
	c.Policy.Set(t)
	open("error", a.request(c, client, "redirect_uri", "https://evil.example/"))
	look("error")
	open("pick", a.request(c, client, "prompt", "select_account"))
	look("pick")

	// Another device's sign-in: approved, refused, unknown.
	code := func() string {
		t.Helper()
		return c.Post("/organizations/oauth2/v2.0/devicecode", "client_id", string(directory.AKSClient), "scope", string(directory.AKSServer)+"/.default").Want(c).Text("user_code")
	}
	open("usercode", c.URL+"/devicelogin")
	look("usercode")
	fill("usercode", "#otc", "BBBBBBBBB")
	problem()
	look("usercode-error")
	fill("device", "#otc", code())
	look("device")
	run(t, ctx, press(`button[value="continue"]`), onPage("done"))
	look("done")
	open("usercode", c.URL+"/devicelogin")
	fill("device", "#otc", code())
	run(t, ctx, press(`button[value="cancel"]`), onPage("done"))
	look("done-refused")
	c.Policy.Set(t, forEverybody("block"))
	open("usercode", c.URL+"/devicelogin")
	fill("error", "#otc", code())
	look("error-device")
	c.Policy.Set(t)

	// A password that has to be changed.
	mustChange := func(must bool) {
		c.Update(func(tx *store.Tx) error {
			return state.Users.Modify(tx, state.Key(c.Tenant.ID, c.User.ID), func(u *directory.User) error {
				u.MustChangePassword = must
				return nil
			})
		})
	}
	mustChange(true)
	open("name", a.request(c, client, "prompt", "login"))
	fill("password", "#username", "ann@contoso.example")
	fill("change", "#password", harness.Password)
	look("change")

	// The answer that sends itself, where nothing runs that could send it.
	mustChange(false)
	open("consent", a.request(c, client))
	run(t, ctx, press(`button[value="accept"]`), chromedp.WaitVisible(chromedp.CSS("#app")),
		send(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	open("post", a.request(c, client, "response_mode", "form_post"))
	look("post")

	files, err := filepath.Glob("../../internal/signin/pages/*.html")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pages found: %v", err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".html"); name != "frame" && !seen[name] {
			t.Errorf("nobody looked at the page %s", name)
		}
	}
}

// looksScript waits until the page is laid out at a width (%d) in a colour
// scheme (%s), which a browser does when it likes, and returns looks.
const looksScript = `(() => {
  const rgb = (s) => (s.match(/[\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; })
    .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const all = (selector) => [...document.querySelectorAll(selector)];
  const contrast = () => Math.min(...all("main *, footer")
    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && !(e.closest("noscript") && !e.checkVisibility()))
    .map((e) => { const a = lum(rgb(getComputedStyle(e).color)), b = lum(behind(e)); return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }));
  const width = %d, wanted = "(width: " + width + "px) and (prefers-color-scheme: %s)";
  const looks = () => ({
    Page: document.body.dataset.page,
    Wide: document.documentElement.scrollWidth - width,
    Unlabelled: all("input:not([type=hidden])").filter((i) => !i.labels.length).map((i) => i.name),
    Nameless: all("button, a").filter((e) => !e.textContent.trim()).concat(all("img").filter((e) => !e.alt)).map((e) => e.outerHTML),
    Headings: all("h1").length,
    Contrast: contrast(),
  });
  return new Promise((done) => {
    const look = () => matchMedia(wanted).matches ? done(looks()) : setTimeout(look, 5);
    look();
  });
})()`
