package oauth_test

import (
	"context"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth"
	"github.com/entrance-id/entrance/internal/signin"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/test/clients/harness"
)

// TestCrossUse is abuse case 11: what is signed or sealed for one purpose is
// refused for every other.
func TestCrossUse(t *testing.T) {
	r := newRig(t)
	tokens := r.Post(r.TokenPath(), "grant_type", "password", "client_id", az, "username", "ann@contoso.example", "password", harness.Password, "scope", armScope+" openid offline_access").Want(r.Cloud)
	graph := r.Post(r.TokenPath(), "grant_type", "refresh_token", "client_id", az, "refresh_token", tokens.Text("refresh_token"), "scope", "https://graph.microsoft.com/.default").Want(r.Cloud)
	d := r.device().Want(r.Cloud)
	v := &token.Verifier{Keys: r.Trust, Audiences: []string{aksApp, az, "https://graph.microsoft.com", "https://management.core.windows.net/"}}
	for name, text := range map[string]string{
		"ID token": tokens.Text("id_token"), "Graph token": graph.Text("access_token"),
		"refresh token": tokens.Text("refresh_token"), "device code": d.Text("device_code"),
	} {
		if c, err := v.Verify(text, r.Clock.Now()); err == nil {
			t.Errorf("%s accepted as an access token: %+v", name, c)
		}
		if f := r.refreshWith("refresh_token", text); name != "refresh token" && f.code != 70000 {
			t.Errorf("%s as a refresh token: %+v", name, f)
		}
		if f := r.redeem(text); f.code != 70000 {
			t.Errorf("%s as a code: %+v", name, f)
		}
		if f := r.obo(text); f.code != 50013 {
			t.Errorf("%s as an assertion: %+v", name, f)
		}
	}
	// Tickets of one kind are not tickets of another.
	sealed := strings.TrimPrefix(tokens.Text("refresh_token"), "1.")
	if b := r.Browser().Get("/organizations/oauth2/deviceauth?dctx=" + sealed); b.Page != "error" {
		t.Errorf("a refresh token opened the device page: %q", b.Page)
	}
	if b := r.Browser().Get("/login?ctx=" + sealed); b.Page != "error" {
		t.Errorf("a refresh token opened the sign-in page: %q", b.Page)
	}
}

// TestCrossTenant is the protocol's part of abuse case 12.
func TestCrossTenant(t *testing.T) {
	r := newRig(t)
	other := r.AddTenant("Fabrikam", "fabrikam.example")
	there := "/" + string(other.ID) + "/oauth2/v2.0/token"
	if f := r.ropc("PATH", there); f.code != 50034 {
		t.Errorf("a user of another tenant: %+v", f)
	}
	if f := r.daemon("PATH", there); f.code != 700016 {
		t.Errorf("an application of another tenant: %+v", f)
	}
	if f := r.obo(r.orderToken(), "PATH", there); f.code != 700016 {
		t.Errorf("an assertion in another tenant: %+v", f)
	}
	code := r.code()
	if f := r.redeem(code, "PATH", there); f.code != 50020 {
		t.Errorf("a code in another tenant: %+v", f)
	}
	if f := r.redeem(code); f.code != 54005 {
		t.Errorf("the code that was shown elsewhere still works: %+v", f)
	}
	// The pages of one tenant do not take another's account.
	b := r.Browser().Get("/" + string(other.ID) + authorizeURL(r.Cloud)[37:]).On("name")
	b.Submit(map[string]string{"username": "ann@contoso.example"}).On("name")
	if !strings.Contains(b.Text(), "does not belong to Fabrikam") {
		t.Errorf("page: %s", b.Text())
	}
}

// TestRedirectTricks is abuse case 15: nothing but a registered address gets an
// answer, not even an error.
func TestRedirectTricks(t *testing.T) {
	r := newRig(t)
	for _, uri := range []string{
		"https://shop.example/cb/", "https://shop.example/cb/../evil", "https://shop.example/cbx", "https://shop.example/cb?x=2", "https://shop.example/cb#f",
		"https://shop.example@evil.example/cb", "https://shop.example:443/cb", "https://shop.example:8443/cb", "https://SHOP.example/cb",
		"https://shop.example%2Fcb", "https://shop.example/%63b", "https://shop.example/cb%0d%0aX:1", "https://shop.example\\@evil.example/cb",
		"https://sһop.example/cb", "https://xn--sop-mcd.example/cb", "http://shop.example/cb", "//shop.example/cb", "https:shop.example/cb",
		"http://localhost/cb/x", "http://localhost/CB", "http://localhost/cb?x", "https://localhost/cb", "http://127.0.0.1/cb", "http://[::1]/cb", "http://localhost.evil.example/cb",
		"http://localhost:80@evil.example/cb", "http://LOCALHOST/cb", "http://localhost:1/cb#x", "http://localhost:x/cb", "http://user@localhost/cb",
		"javascript:alert(1)", "data:text/html,x", "https://shop.example/cb ", " https://shop.example/cb", "https://shop.example/c\tb",
	} {
		b := r.Browser().Get(r.shop("redirect_uri", uri))
		if b.Left != nil || b.Page != "error" || fromBrowser(b).code != 50011 {
			t.Errorf("%q: page %q, left for %v", uri, b.Page, b.Left)
		}
	}
	for _, uri := range []string{"http://localhost/cb", "http://localhost:1/cb", "http://localhost:65535/cb"} {
		if b := r.Browser().Get(r.shop("redirect_uri", uri, "code_challenge", challenge(verifier), "code_challenge_method", "S256")); b.Page != "name" {
			t.Errorf("%q: page %q: %s", uri, b.Page, b.Text())
		}
	}
	// Signing out is no open redirector either.
	for _, to := range []string{"https://evil.example/", "https://shop.example/cbx"} {
		b := r.Browser().Get("/common/oauth2/v2.0/logout?client_id=" + string(r.web.AppID) + "&post_logout_redirect_uri=" + url.QueryEscape(to))
		if b.Left != nil {
			t.Errorf("logout led to %v", b.Left)
		}
	}
}

// TestPKCE is abuse case 16. A code that was shown with a wrong proof is burned.
func TestPKCE(t *testing.T) {
	r := newRig(t)
	r.grant(r.web.AppID, "Orders.Read")
	web := []string{"client_id", string(r.web.AppID), "client_secret", "shop-secret-secret", "redirect_uri", "https://shop.example/cb"}
	codeOf := func(change ...string) string {
		return r.Browser().Get(r.shop(change...)).SignIn("ann@contoso.example").Answer().Get("code")
	}
	other := strings.Repeat("y", 43)
	for _, tt := range []struct {
		name   string
		change []string
		send   []string
		want   int
	}{
		{"no verifier", []string{"code_challenge", challenge(verifier), "code_challenge_method", "S256"}, []string{"code_verifier", ""}, 900144},
		{"another session's verifier", []string{"code_challenge", challenge(verifier), "code_challenge_method", "S256"}, []string{"code_verifier", other}, 501481},
		{"the challenge as plain verifier", []string{"code_challenge", challenge(verifier), "code_challenge_method", "S256"}, []string{"code_verifier", challenge(verifier)}, 501481},
		{"too short", []string{"code_challenge", challenge("short"), "code_challenge_method", "S256"}, []string{"code_verifier", "short"}, 501481},
		{"verifier without challenge", nil, []string{"code_verifier", verifier}, 501481},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code := codeOf(tt.change...)
			if f := r.redeem(code, append(web, tt.send...)...); f.code != tt.want {
				t.Fatalf("%+v, want AADSTS%d", f, tt.want)
			}
			if f := r.redeem(code, append(web, "code_verifier", verifier)...); f.code != 54005 {
				t.Errorf("the code was not burned: %+v", f)
			}
		})
	}
	if f := r.redeem(codeOf("code_challenge", verifier, "code_challenge_method", "plain"), append(web, "code_verifier", verifier)...); f.status != 200 {
		t.Errorf("plain, asked for as plain: %+v", f)
	}
	// Public clients must have one.
	if f := fromBrowser(r.Browser().Get(authorizeURL(r.Cloud, "code_challenge", "", "code_challenge_method", ""))); f.code != 9002325 {
		t.Errorf("a public client without PKCE: %+v", f)
	}
}

// TestCodeReplay is abuse case 17: of 50 at once one wins, and what it got ends
// because of the others.
func TestCodeReplay(t *testing.T) {
	r := newRig(t)
	code := r.code()
	var mu sync.Mutex
	var won []*harness.Reply
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 50 {
		wg.Go(func() {
			<-start
			x := r.Post(r.TokenPath(), "grant_type", "authorization_code", "client_id", az, "code", code, "redirect_uri", "http://localhost:8400", "code_verifier", verifier)
			mu.Lock()
			defer mu.Unlock()
			if x.Status == 200 {
				won = append(won, x)
			} else if x.Code() != 54005 && x.Code() != 90033 {
				t.Errorf("a loser got %s", x.Body)
			}
		})
	}
	close(start)
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d of 50 redeemed the code", len(won))
	}
	if f := r.refreshWith("refresh_token", won[0].Text("refresh_token")); f.code != 50173 {
		t.Errorf("the replayed code's refresh token: %+v", f)
	}
}

// TestRefreshTokens is abuse case 18 as decision 9 of the design reads it:
// using a token does not end it, revocation ends all at once, on every replica.
func TestRefreshTokens(t *testing.T) {
	r := newRig(t)
	old := r.annRefresh()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if x := r.Post(r.TokenPath(), "grant_type", "refresh_token", "client_id", az, "refresh_token", old, "scope", armScope); x.Status != 200 || x.Text("refresh_token") == old {
				t.Errorf("parallel use: %s", x.Body)
			}
		})
	}
	wg.Wait()
	newer := r.Post(r.TokenPath(), "grant_type", "refresh_token", "client_id", az, "refresh_token", old, "scope", armScope).Want(r.Cloud).Text("refresh_token")

	for name, f := range map[string]refusal{
		"another client":      r.refreshWith("client_id", aksCli),
		"changed":             r.refreshWith("refresh_token", old[:len(old)-2]+"xx"),
		"a confidential one":  r.refreshWith("client_id", string(r.secret.AppID), "client_secret", "hunter2hunter2"),
		"without its prefix":  r.refreshWith("refresh_token", strings.TrimPrefix(old, "1.")),
		"padded":              r.refreshWith("refresh_token", old+"="),
		"with another prefix": r.refreshWith("refresh_token", "0."+strings.TrimPrefix(old, "1.")),
	} {
		if f.code != 70000 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	// A client of the family may use it.
	if f := r.refreshWith("client_id", string(directory.AzurePowerShell)); f.status != 200 {
		t.Errorf("a client of the family: %+v", f)
	}
	// Another replica revokes, and this one's view does not show it yet: it waits
	// for a subscriber.
	stalled := make(chan struct{})
	defer r.Store.Subscribe(func(*store.View, []store.Change) { <-stalled })()
	defer close(stalled)
	replica, err := r.Store.Sibling(context.Background(), append(append(state.Tables(), oauth.Tables()...), signin.Tables()...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer replica.Close()
	err = replica.Update(context.Background(), func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(r.User.Tenant, r.User.ID), func(u *directory.User) error {
			u.SessionsValidFrom = r.Clock.Now()
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := state.Users.Get(r.Store.View(), state.Key(r.User.Tenant, r.User.ID)); err != nil || !u.SessionsValidFrom.IsZero() {
		t.Fatalf("the view shows the revocation: %+v, %v", u, err)
	}
	for _, x := range []string{old, newer} {
		if f := r.refreshWith("refresh_token", x); f.code != 50173 {
			t.Errorf("after revocation: %+v", f)
		}
	}
}

// TestDeviceAbuse is abuse case 19.
func TestDeviceAbuse(t *testing.T) {
	t.Run("polling too fast", func(t *testing.T) {
		r := newRig(t)
		d := r.device().Want(r.Cloud)
		slow := false
		for range 10 {
			f := r.poll(d)
			slow = slow || f.oauth == "slow_down"
		}
		if !slow {
			t.Error("nobody said slow_down")
		}
		r.Clock.Advance(20 * time.Second)
		if f := r.poll(d); f.oauth != "authorization_pending" {
			t.Errorf("after a pause: %+v", f)
		}
	})
	t.Run("guessing", func(t *testing.T) {
		r := newRig(t, harness.WithLimits(oauth.Limits{Guesses: 5}))
		d := r.device().Want(r.Cloud)
		b := r.Browser().Get("/devicelogin")
		for range 5 {
			b.On("usercode").Submit(map[string]string{"otc": "BCDFGHJKL"})
		}
		b.Submit(map[string]string{"otc": d.Text("user_code")})
		if b.Status != 429 || !strings.Contains(b.Text(), "Too many wrong codes") {
			t.Errorf("after five wrong codes a right one gave %d: %s", b.Status, b.Text())
		}
		r.Clock.Advance(time.Minute)
		b.Submit(map[string]string{"otc": d.Text("user_code")}).On("name")
	})
	t.Run("denied", func(t *testing.T) {
		r := newRig(t)
		d := r.device().Want(r.Cloud)
		b := r.Browser().Get("/devicelogin").Submit(map[string]string{"otc": d.Text("user_code")}).SignIn("ann@contoso.example").On("device")
		again := *b.Form()
		b.Submit(map[string]string{"answer": "cancel"}).On("done")
		if f := r.poll(d); f.oauth != "authorization_declined" || f.code != 65004 {
			t.Errorf("after a denial: %+v", f)
		}
		again.Fields.Set("answer", "continue")
		if b.Post(again.Action, again.Fields); b.Page == "done" {
			t.Error("a denied sign-in was approved afterwards")
		}
		if f := r.poll(d); f.status == 200 {
			t.Error("a denied sign-in was redeemed")
		}
	})
	t.Run("approved twice", func(t *testing.T) {
		r := newRig(t)
		d := r.device().Want(r.Cloud)
		b := r.Browser().Get("/devicelogin").Submit(map[string]string{"otc": d.Text("user_code")}).SignIn("ann@contoso.example").On("device")
		again := *b.Form()
		b.Submit(map[string]string{"answer": "continue"}).On("done")
		again.Fields.Set("answer", "continue")
		if b.Post(again.Action, again.Fields); b.Page == "done" {
			t.Error("approved twice")
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := 0
		for range 20 {
			wg.Go(func() {
				if f := r.Post(r.TokenPath(), "grant_type", "device_code", "client_id", aksCli, "device_code", d.Text("device_code")); f.Status == 200 {
					mu.Lock()
					got++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if got != 1 {
			t.Errorf("%d polls of 20 got a token", got)
		}
	})
	t.Run("a link that fills in or confirms", func(t *testing.T) {
		r := newRig(t)
		d := r.device().Want(r.Cloud)
		if b := r.Browser().Get("/devicelogin?otc=" + d.Text("user_code")); strings.Contains(b.Body, d.Text("user_code")) {
			t.Error("the code of the address is filled in")
		}
		// The attacker walks to the confirmation in their own browser and sends
		// the last address to somebody who is signed in.
		r.AddUser("eve@contoso.example", "Eve")
		eve := r.Browser().Get("/devicelogin").Submit(map[string]string{"otc": d.Text("user_code")}).SignIn("eve@contoso.example").On("device")
		form := eve.Form()
		form.Fields.Set("answer", "continue")
		eve.Client.CheckRedirect = nil
		noFollow := r.Client()
		noFollow.Jar = eve.Jar
		req, _ := http.NewRequest("POST", r.URL+form.Action, strings.NewReader(form.Fields.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := noFollow.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		link := resp.Header.Get("Location")
		if resp.StatusCode != 303 || !strings.Contains(link, "dctx=") {
			t.Fatalf("status %d, location %q", resp.StatusCode, link)
		}
		ann := r.Browser().Get(authorizeURL(r.Cloud)).SignIn("ann@contoso.example")
		ann.Get(link).On("device") // asked, not approved
		if f := r.poll(d); f.code != 70016 {
			t.Errorf("a link approved the sign-in: %+v", f)
		}
	})
	t.Run("another client polls", func(t *testing.T) {
		r := newRig(t)
		d := r.device().Want(r.Cloud)
		if f := r.poll(d, "client_id", az); f.code != 70000 {
			t.Errorf("%+v", f)
		}
	})
}

// TestClientConfusion is abuse case 20.
func TestClientConfusion(t *testing.T) {
	r := newRig(t)
	basic := func(id, secret string) http.Header {
		return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))}}
	}
	id := string(r.secret.AppID)
	scope := aksApp + "/.default"
	k := newCertified(t, r.Cloud)
	good := func() string { return jwt(t, rsaKeys()[0], k.header(), k.claims()) }
	for _, tt := range []struct {
		name  string
		reply *harness.Reply
		want  int
	}{
		{"the secret of another client", r.Post(r.TokenPath(), "grant_type", "client_credentials", "client_id", id, "client_secret", "shop-secret-secret", "scope", scope), 7000215},
		{"secret in header and body", r.PostWith(basic(id, "hunter2hunter2"), r.TokenPath(), "grant_type", "client_credentials", "client_secret", "hunter2hunter2", "scope", scope), 9002313},
		{"secret and assertion", k.send(good(), "client_secret", "hunter2hunter2"), 9002313},
		{"two client ids", r.PostWith(basic(id, "hunter2hunter2"), r.TokenPath(), "grant_type", "client_credentials", "client_id", string(r.web.AppID), "scope", scope), 9002313},
		{"empty secret in the header", r.PostWith(basic(id, ""), r.TokenPath(), "grant_type", "client_credentials", "scope", scope), 7000218},
		{"empty secret in the body", r.Send("POST", r.TokenPath(), "grant_type=client_credentials&client_id="+id+"&client_secret=&scope="+url.QueryEscape(scope), nil), 7000218},
		{"the id of the secret", r.Post(r.TokenPath(), "grant_type", "client_credentials", "client_id", id, "client_secret", r.secret.Credentials.Passwords[0].KeyID, "scope", scope), 7000215},
		{"secret in the address", r.Send("POST", r.TokenPath()+"?client_secret=hunter2hunter2", "grant_type=client_credentials&client_id="+id+"&scope="+url.QueryEscape(scope), nil), 9002313},
		{"a bearer header", r.PostWith(http.Header{"Authorization": {"Bearer x"}}, r.TokenPath(), "grant_type", "client_credentials", "client_id", id, "scope", scope), 9002313},
		{"another client's assertion", r.Post(r.TokenPath(), "grant_type", "client_credentials", "client_id", id, "client_assertion_type", assertionType, "client_assertion", good(), "scope", scope), 700021},
		{"no assertion type", r.Post(r.TokenPath(), "grant_type", "client_credentials", "client_id", string(k.app.AppID), "client_assertion", good(), "scope", scope), 900144},
		{"alg none", k.send(strings.Replace(jwt(t, rsaKeys()[0], object{"alg": "none", "x5t": x5t(k.cert)}, k.claims()), "", "", 1)), 50012},
		{"alg HS256", k.send(jwt(t, rsaKeys()[0], object{"alg": "HS256", "x5t": x5t(k.cert)}, k.claims())), 50012},
		{"a key in the header", k.send(jwt(t, rsaKeys()[1], object{"alg": "RS256", "x5t": x5t(k.cert), "jwk": object{"kty": "RSA"}}, k.claims())), 50012},
	} {
		if tt.reply.Code() != tt.want {
			t.Errorf("%s: %d, want AADSTS%d: %s", tt.name, tt.reply.Code(), tt.want, tt.reply.Body)
		}
	}
	// One assertion for two resources is how clients use it, for the same one
	// it is a replay. 20 at once: one wins.
	a := good()
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 20 {
		wg.Go(func() {
			if k.send(a).Status == 200 {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("an assertion worked %d times", won)
	}
	r.Post(r.TokenPath(), "grant_type", "client_credentials", "client_id", string(k.app.AppID), "scope", "https://graph.microsoft.com/.default", "client_assertion_type", assertionType, "client_assertion", a).Want(r.Cloud)
}

// TestCredentialStuffing is abuse case 21: guessing locks the guesser out, also
// when the guesses come at once, and not the person at a known address.
func TestCredentialStuffing(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	counts := map[int]int{}
	for range 40 {
		wg.Go(func() {
			f := fromReply(r.Post(r.TokenPath(), "grant_type", "password", "client_id", az, "username", "ann@contoso.example", "password", "wrong", "scope", armScope))
			mu.Lock()
			counts[f.code]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if counts[50126] > 10 || counts[50053] == 0 {
		t.Errorf("of 40 guesses at once: %v; at most 10 may be checked", counts)
	}
	if f := r.ropc(); f.code != 50053 {
		t.Errorf("the right password while locked: %+v", f)
	}
	// Names that do not exist lock in the same way: locking tells nothing.
	for range 10 {
		r.ropc("username", "ghost@contoso.example")
	}
	if f := r.ropc("username", "ghost@contoso.example"); f.code != 50053 {
		t.Errorf("a name that does not exist: %+v", f)
	}
	r.Clock.Advance(3 * time.Hour)
	if f := r.ropc(); f.status != 200 {
		t.Errorf("after the lock: %+v", f)
	}
}

// TestOnBehalfOf is abuse case 22.
func TestOnBehalfOf(t *testing.T) {
	r := newRig(t)
	a := r.orderToken()
	if f := r.obo(a); f.code != 65001 {
		t.Errorf("without consent: %+v", f)
	}
	r.Update(func(tx *store.Tx) error {
		sp, err := state.FindServicePrincipal(tx, r.Tenant.ID, r.api.AppID)
		if err != nil {
			return err
		}
		graph, err := state.FindServicePrincipal(tx, r.Tenant.ID, directory.Graph)
		if err != nil {
			return err
		}
		return state.Consent(tx, r.Tenant.ID, sp.ID, graph.ID, "", []string{"User.Read"})
	})
	r.Policy.Facts()
	r.Clock.Advance(20 * time.Minute)
	f := r.obo(a)
	if f.status != 200 {
		t.Fatalf("%+v", f)
	}
	facts := r.Policy.Facts()
	if len(facts) != 1 || facts[0].Step != conditionalaccess.StepOnBehalfOf || r.Clock.Now().Sub(facts[0].AuthTime) < 20*time.Minute || len(facts[0].Methods) != 1 || facts[0].Methods[0].Method != conditionalaccess.Password {
		t.Errorf("the sign-in is not carried as it was: %+v", facts)
	}
	if f := r.obo(a, "scope", "https://graph.microsoft.com/User.Read.All"); f.code != 65001 {
		t.Errorf("a wider scope: %+v", f)
	}
	if f := r.obo(a, "client_id", string(r.secret.AppID), "client_secret", "hunter2hunter2"); f.code != 50013 {
		t.Errorf("another application's token: %+v", f)
	}
	if f := r.obo(a, "requested_token_use", ""); f.code != 900144 {
		t.Errorf("without requested_token_use: %+v", f)
	}
	r.editUser(func(u *directory.User) { u.SessionsValidFrom = r.Clock.Now() })
	if f := r.obo(a); f.code != 50173 {
		t.Errorf("after revocation: %+v", f)
	}
}

// TestOnBehalfOfChain is abuse case 22 ten deep: however often an application hands
// the person on, the sign-in stays the one that it was, and ends when it does.
func TestOnBehalfOfChain(t *testing.T) {
	r := newRig(t)
	two := 2
	stock, stockSP := r.AddApp("Stock API", func(a *directory.Application) {
		a.IdentifierURIs = []string{"api://stock"}
		a.API.TokenVersion = &two
		a.API.Scopes = []directory.Scope{{ID: directory.NewGUID(), Value: "Stock.Read", Type: "User", Enabled: true, UserConsentName: "Read the stock"}}
		a.Credentials.Passwords = []directory.Password{r.Secret("stock-secret-secret")}
	})
	r.Update(func(tx *store.Tx) error {
		orders, err := state.FindServicePrincipal(tx, r.Tenant.ID, r.api.AppID)
		if err != nil {
			return err
		}
		if err := state.Consent(tx, r.Tenant.ID, orders.ID, stockSP.ID, "", []string{"Stock.Read"}); err != nil {
			return err
		}
		return state.Consent(tx, r.Tenant.ID, stockSP.ID, orders.ID, "", []string{"Orders.Read"})
	})
	first := r.orderToken()
	began := r.Clock.Now()
	held := first
	hops := []struct{ id, secret, scope string }{
		{string(r.api.AppID), "api-secret-secret", "api://stock/Stock.Read"}, {string(stock.AppID), "stock-secret-secret", "api://orders/Orders.Read"},
	}
	hop := func(i int) *harness.Reply {
		h := hops[i%2]
		return r.Post(r.TokenPath(), "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "requested_token_use", "on_behalf_of",
			"client_id", h.id, "client_secret", h.secret, "assertion", held, "scope", h.scope)
	}
	for i := range 10 {
		r.Clock.Advance(30 * time.Minute)
		r.Policy.Facts()
		held = hop(i).Want(r.Cloud).Text("access_token")
		f := r.Policy.Facts()
		if len(f) != 1 || f[0].AuthTime.Sub(began).Abs() > time.Minute || len(f[0].Methods) != 1 || f[0].User.ID != r.User.ID {
			t.Fatalf("hop %d: the sign-in is not what it was: %+v", i, f)
		}
	}
	// Nobody is put behind somebody else's sign-in, not even with our signature.
	claims := *r.Verify(held, string(r.api.AppID))
	claims.Object = r.AddUser("bob@contoso.example", "Bob").ID
	key, err := r.Ring.Active(r.Tenant.ID)
	if err != nil {
		t.Fatal(err)
	}
	good := held
	if held, err = key.Sign(&claims); err != nil {
		t.Fatal(err)
	}
	if x := hop(0); x.Code() != 50013 {
		t.Errorf("another person's sign-in: %s", x.Body)
	}
	held = good
	r.editUser(func(u *directory.User) { u.SessionsValidFrom = began.Add(time.Second) })
	if x := hop(0); x.Code() != 50173 {
		t.Errorf("at the end of the sign-in: %s", x.Body)
	}
}

// TestPolicyEverywhere is abuse case 25: every path that issues something asks
// the policy, with facts that the request cannot forge, and obeys.
func TestPolicyEverywhere(t *testing.T) {
	block := `{"id":"11111111-1111-1111-1111-111111111111","displayName":"block","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}},"grantControls":{"operator":"OR","builtInControls":["block"]}}`
	blockApps := `{"id":"22222222-2222-2222-2222-222222222222","displayName":"block apps","state":"enabled","conditions":{"users":{"includeUsers":["None"]},"clientApplications":{"includeServicePrincipals":["ServicePrincipalsInMyTenant"]},"applications":{"includeApplications":["All"]}},"grantControls":{"operator":"OR","builtInControls":["block"]}}`
	reportOnly := strings.Replace(block, `"enabled"`, `"enabledForReportingButNotEnforced"`, 1)
	for _, tt := range issuingPaths {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			run := tt.prepare(r)
			r.Policy.Facts()
			r.Policy.Set(t, block, blockApps)
			f := run()
			if f.code != 53003 {
				t.Errorf("not blocked: %+v", f)
			}
			asked := r.Policy.Facts()
			if len(asked) == 0 || asked[len(asked)-1].Step != tt.step {
				t.Fatalf("policy was asked %+v, want step %s", asked, tt.step)
			}
			last := asked[len(asked)-1]
			if last.Address != harness.Loopback || last.Tenant != r.Tenant.ID {
				t.Errorf("facts: %+v", last)
			}
			events := r.Events()
			if len(events) == 0 || events[len(events)-1].Code != 53003 {
				t.Errorf("the log does not have the refusal: %+v", events)
			}
			// Report-only blocks nobody.
			r = newRig(t)
			run = tt.prepare(r)
			r.Policy.Set(t, reportOnly)
			if f := run(); f.code != 0 {
				t.Errorf("report-only: %+v", f)
			}
		})
	}
}

// TestRefusedOnPage: a person whom policy refuses reads why, and the client is
// told when they go back, once and in words that nobody else can put there.
func TestRefusedOnPage(t *testing.T) {
	r := newRig(t)
	b := r.Browser().Get(authorizeURL(r.Cloud)).SignIn("ann@contoso.example")
	b.Answer()
	r.Policy.Set(t, `{"id":"11111111-1111-1111-1111-111111111111","displayName":"block","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}},"grantControls":{"operator":"OR","builtInControls":["block"]}}`)
	r.Events()
	b.Get(authorizeURL(r.Cloud)).On("error")
	m := regexp.MustCompile(`class="button" href="([^"]+)">Back to the application`).FindStringSubmatch(b.Body)
	if m == nil || !strings.Contains(b.Text(), "AADSTS53003") || !strings.Contains(b.Text(), "Your organization's policy") {
		t.Fatalf("page: %s", b.Body)
	}
	back := html.UnescapeString(m[1])
	b.Get(back)
	if f := fromBrowser(b); f.where != "redirect" || f.code != 53003 || f.oauth != "access_denied" || b.Answer().Get("state") != "st" || b.Answer().Get("code") != "" {
		t.Errorf("%+v", f)
	}
	if events := r.Events(); len(events) != 1 || events[0].Code != 53003 {
		t.Errorf("the log has %d entries: %+v", len(events), events)
	}
	// The way back is that request's own.
	if b.Get(strings.Replace(back, "state=st", "state=other", 1)); b.Left != nil {
		t.Errorf("with another state it led to %v", b.Left)
	}
	// Where nobody is asked nobody reads a page.
	if f := fromBrowser(b.Get(authorizeURL(r.Cloud, "prompt", "none"))); f.where != "redirect" || f.code != 53003 || f.oauth != "interaction_required" {
		t.Errorf("prompt=none: %+v", f)
	}
}

// TestForgedHeaders shows that an address in a header is nobody's address.
func TestForgedHeaders(t *testing.T) {
	r := newRig(t)
	r.PostWith(http.Header{"X-Forwarded-For": {"203.0.113.7"}, "Forwarded": {"for=203.0.113.7"}, "X-Ms-Forwarded-Client-Ip": {"203.0.113.7"}, "X-Real-Ip": {"203.0.113.7"}, "Host": {"evil.example"}},
		r.TokenPath(), "grant_type", "password", "client_id", az, "username", "ann@contoso.example", "password", harness.Password, "scope", armScope).Want(r.Cloud)
	if f := r.Policy.Facts(); len(f) != 1 || f[0].Address != harness.Loopback {
		t.Errorf("facts: %+v", f)
	}
	// And the host that was asked under appears nowhere.
	req, _ := http.NewRequest("GET", r.URL+"/common/v2.0/.well-known/openid-configuration", nil)
	req.Host = "evil.example"
	resp, err := r.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if _, err := copyAll(&b, resp.Body); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "evil.example") {
		t.Errorf("metadata: %s", b.String())
	}
}

// devices is a fake of proven devices.
type devices struct {
	device *conditionalaccess.Device
	err    error
	bound  error
}

func (d *devices) DeviceOf(context.Context, *http.Request, directory.TenantID) (*conditionalaccess.Device, error) {
	return d.device, d.err
}

func (d *devices) Bound(_ directory.TenantID, id string) (*conditionalaccess.Device, error) {
	if d.bound != nil {
		return nil, d.bound
	}
	return &conditionalaccess.Device{ID: id, Compliant: true}, nil
}

func TestDevices(t *testing.T) {
	d := &devices{device: &conditionalaccess.Device{ID: "d1", Compliant: true}}
	r := newRig(t, harness.WithDevices(d))
	refresh := r.annRefresh()
	if f := r.Policy.Facts(); f[0].Device == nil || f[0].Device.ID != "d1" {
		t.Errorf("facts: %+v", f)
	}
	// The refresh token is bound to the device that was proven for it.
	d.device = nil
	if f := r.refreshWith("refresh_token", refresh); f.status != 200 {
		t.Fatalf("%+v", f)
	}
	if f := r.Policy.Facts(); f[0].Device == nil || f[0].Device.ID != "d1" {
		t.Errorf("facts: %+v", f)
	}
	d.bound = errs.New(errs.Forbidden, "disabled")
	if f := r.refreshWith("refresh_token", refresh); f.code != 50097 || f.status != 401 {
		t.Errorf("a disabled device: %+v", f)
	}
	d.err = errs.New(errs.Unauthenticated, "bad proof")
	if f := r.ropc(); f.code != 50097 || f.status != 401 {
		t.Errorf("a bad proof: %+v", f)
	}
	// A sign-in by device code has no device, whatever the browser proves.
	d.err, d.bound, d.device = nil, nil, &conditionalaccess.Device{ID: "d2"}
	dc := r.device().Want(r.Cloud)
	r.Browser().Get("/devicelogin").Submit(map[string]string{"otc": dc.Text("user_code")}).SignIn("ann@contoso.example").Submit(map[string]string{"answer": "continue"}).On("done")
	r.Policy.Facts()
	r.poll(dc)
	if f := r.Policy.Facts(); len(f) != 1 || f[0].Device != nil || f[0].Flow != conditionalaccess.DeviceCodeFlow {
		t.Errorf("facts: %+v", f)
	}
}
