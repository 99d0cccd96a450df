package oauth_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/test/clients/harness"
)

// The checks of the OpenID Foundation's basic profile that no other test makes;
// docs/conformance.md lists them all.

// shopTokens takes a person through the web application's sign-in.
func (r *rig) shopTokens(b *harness.Browser, change ...string) *harness.Reply {
	r.t.Helper()
	code := b.Get(r.shop(append([]string{"scope", "openid profile email offline_access https://graph.microsoft.com/User.Read"}, change...)...)).SignIn("ann@contoso.example").Answer().Get("code")
	return r.Post(r.TokenPath(), "grant_type", "authorization_code", "client_id", string(r.web.AppID), "client_secret", "shop-secret-secret", "code", code, "redirect_uri", "https://shop.example/cb").Want(r.Cloud)
}

func (r *rig) grantGraph() {
	r.t.Helper()
	r.Update(func(tx *store.Tx) error {
		graph, err := state.FindServicePrincipal(tx, r.Tenant.ID, directory.Graph)
		if err != nil {
			return err
		}
		sp, err := state.FindServicePrincipal(tx, r.Tenant.ID, r.web.AppID)
		if err != nil {
			return err
		}
		return state.Consent(tx, r.Tenant.ID, sp.ID, graph.ID, "", []string{"User.Read", "openid", "profile", "email", "offline_access"})
	})
}

// TestHarmlessParameters: what a client may send without our knowing it changes
// nothing.
func TestHarmlessParameters(t *testing.T) {
	r := newRig(t)
	for name, pair := range map[string][2]string{
		"display": {"display", "popup"}, "ui_locales": {"ui_locales", "se de"}, "claims_locales": {"claims_locales", "se"},
		"acr_values": {"acr_values", "1 2"}, "unknown": {"extra", "foobar"},
		"claims": {"claims", `{"id_token":{"name":{"essential":true}},"userinfo":{"name":null}}`},
	} {
		if b := r.Browser().Get(r.shop(pair[0], pair[1])); b.Page != "name" {
			t.Errorf("%s: page %q: %s", name, b.Page, b.Text())
		}
	}
}

// TestRequestObjects is the protocol's part of abuse case 23: nothing that a
// request names is fetched, and nobody is led to believe that it was read.
func TestRequestObjects(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"request", "request_uri", "registration"} {
		f := fromBrowser(r.Browser().Get(r.shop(name, "https://127.0.0.1:1/")))
		if f.code != 9002313 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := fromBrowser(r.Browser().Get(r.shop("response_type", ""))); f.code != 900144 {
		t.Errorf("no response_type: %+v", f)
	}
}

// TestMaxAge: a sign-in that is too old does not count, and one that is young
// enough needs nobody.
func TestMaxAge(t *testing.T) {
	r := newRig(t)
	r.grant(r.web.AppID, "Orders.Read")
	b := r.Browser().Get(r.shop()).SignIn("ann@contoso.example")
	b.Answer()
	r.Clock.Advance(time.Minute)
	if code := b.Get(r.shop("max_age", "10000")).Answer().Get("code"); code == "" {
		t.Error("a young sign-in was not enough")
	}
	if got := b.Get(r.shop("max_age", "1", "prompt", "none")).Answer().Get("error"); got != "login_required" {
		t.Errorf("an old sign-in, silently: %q", got)
	}
	b.Get(r.shop("max_age", "1", "login_hint", "ann@contoso.example")).On("password").Submit(map[string]string{"password": harness.Password})
	if b.Answer().Get("code") == "" {
		t.Error("signing in again was not enough")
	}
	for _, bad := range []string{"-1", "x", "1.5", "99999999999"} {
		if f := fromBrowser(b.Get(r.shop("max_age", bad))); f.code != 9002313 {
			t.Errorf("max_age=%s: %+v", bad, f)
		}
	}
}

func TestIDTokenHint(t *testing.T) {
	r := newRig(t)
	r.AddUser("bob@contoso.example", "Bob")
	r.grantGraph()
	b := r.Browser()
	ann := r.shopTokens(b).Text("id_token")
	// It chooses among accounts, and a silent request is not answered by another's.
	if code := b.Get(r.shop("scope", "openid", "id_token_hint", ann, "prompt", "none")).Answer().Get("code"); code == "" {
		t.Error("the hinted account is signed in and was not taken")
	}
	other := r.Browser().Get(r.shop("scope", "openid")).SignIn("bob@contoso.example")
	other.Answer()
	if got := other.Get(r.shop("scope", "openid", "id_token_hint", ann, "prompt", "none")).Answer().Get("error"); got != "login_required" {
		t.Errorf("another's session: %q", got)
	}
	for name, bad := range map[string]string{"nonsense": "a.b.c", "an access token": r.annAccess(), "changed": ann[:len(ann)-4] + "AAAA"} {
		if f := fromBrowser(b.Get(r.shop("id_token_hint", bad))); f.code != 9002313 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// TestUserInfo: header and form, the scopes' claims, and the sub of the ID token.
func TestUserInfo(t *testing.T) {
	r := newRig(t)
	r.grantGraph()
	got := r.shopTokens(r.Browser(), "nonce", "n-1")
	info := func(method string) *harness.Reply {
		return r.Send(method, "/oidc/userinfo", "", http.Header{"Authorization": {"Bearer " + got.Text("access_token")}})
	}
	var said struct{ Sub, Nonce, Email string }
	decodePayload(t, got.Text("id_token"), &said)
	if said.Nonce != "n-1" || said.Sub == "" {
		t.Errorf("ID token: %+v", said)
	}
	for _, method := range []string{"GET", "POST"} {
		u := info(method).Want(r.Cloud)
		if u.Text("sub") != said.Sub || u.Text("name") != "Ann Example" || u.Text("email") != "ann@contoso.example" {
			t.Errorf("%s: %s", method, u.Body)
		}
	}
	for name, bad := range map[string]string{"none": "", "ID token": "Bearer " + got.Text("id_token"), "another resource's": "Bearer " + r.annAccess()} {
		u := r.Send("GET", "/oidc/userinfo", "", http.Header{"Authorization": {bad}})
		if u.Status != 401 || !strings.HasPrefix(u.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d %v", name, u.Status, u.Header)
		}
	}
	r.editUser(func(u *directory.User) { u.Enabled = false })
	if u := info("GET"); u.Status != 401 {
		t.Errorf("of a disabled account: %d", u.Status)
	}
}

// TestMutableNames is the protocol's part of abuse case 13: whoever takes over
// a name is somebody else, and somebody with a new name is the same.
func TestMutableNames(t *testing.T) {
	r := newRig(t)
	old := r.annRefresh()
	r.editUser(func(u *directory.User) {
		u.UserPrincipalName, u.Mail = "ann.new@contoso.example", "ann.new@contoso.example"
	})
	eve := r.AddUser("ann@contoso.example", "Ann Example") // the freed name
	if f := r.refreshWith("refresh_token", old); f.status != 200 {
		t.Fatalf("after the rename: %+v", f)
	}
	claims := r.Verify(r.annAccess(), "https://management.core.windows.net/")
	if claims.Object != r.User.ID || claims.UPN != "ann.new@contoso.example" {
		t.Errorf("the renamed person's token: %s, %s", claims.Object, claims.UPN)
	}
	got := r.Post(r.TokenPath(), "grant_type", "password", "client_id", az, "username", "ANN@contoso.example", "password", harness.Password, "scope", armScope).Want(r.Cloud)
	if c := r.Verify(got.Text("access_token"), "https://management.core.windows.net/"); c.Object != eve.ID || c.Subject == claims.Subject {
		t.Errorf("the name's new owner: %s", c.Object)
	}
	for _, name := range []string{"аnn@contoso.example", "ann@contoso.example\u200b", string(r.User.ID), "ann@contoso.example.", "ann@contoso。example"} {
		if f := r.ropc("username", name); f.status == 200 {
			t.Errorf("%q signs in", name)
		}
	}
}

// TestBorders are RFC 9700's rules about redirects, CORS and framing.
func TestBorders(t *testing.T) {
	r := newRig(t)
	origin := http.Header{"Origin": {"https://evil.example"}}
	if x := r.Send("GET", r.shop(), "", origin); x.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("the authorization endpoint answers other sites' scripts")
	}
	if x := r.Send("GET", "/common/v2.0/.well-known/openid-configuration", "", origin); x.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Error("the metadata does not")
	}
	b := r.Browser().Get(r.shop()).On("name")
	form := b.Form()
	form.Fields.Set("username", "ann@contoso.example")
	client := r.Client()
	client.Jar = b.Jar
	resp, err := client.Post(r.URL+form.Action, "application/x-www-form-urlencoded", strings.NewReader(form.Fields.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusTemporaryRedirect || resp.StatusCode == http.StatusPermanentRedirect {
		t.Errorf("a form is sent on with status %d", resp.StatusCode)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); resp.StatusCode == 200 && !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy of the page: %q", csp)
	}
	// Everything that the metadata names is there.
	m := r.Get("/" + string(r.Tenant.ID) + "/v2.0/.well-known/openid-configuration").Want(r.Cloud)
	for name, v := range m.JSON {
		address, ok := v.(string)
		if !ok || !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
			continue
		}
		if u, err := url.Parse(address); err != nil || !strings.HasPrefix(address, r.URL+"/") || !r.Provider.Handles(u.Path) {
			t.Errorf("%s is %s, which nothing serves", name, address)
		}
	}
}

// decodePayload reads the claims of a token without verifying it.
func decodePayload(t testing.TB, text string, v any) {
	t.Helper()
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		t.Fatalf("not a token: %q", text)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}
