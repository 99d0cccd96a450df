package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/test/clients/harness"
)

const (
	az       = string(directory.AzureCLI)
	aksApp   = string(directory.AKSServer)
	aksCli   = string(directory.AKSClient)
	verifier = "a-verifier-that-is-long-enough-for-rfc-7636-yes"
	armScope = "https://management.core.windows.net//.default"
)

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorizeURL returns an authorization request of the Azure CLI with changes.
func authorizeURL(c *harness.Cloud, change ...string) string {
	v := url.Values{
		"client_id": {az}, "response_type": {"code"}, "redirect_uri": {"http://localhost:8400"},
		"scope": {armScope + " openid profile offline_access"}, "state": {"st"}, "nonce": {"no"},
		"code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(change); i += 2 {
		if v.Set(change[i], change[i+1]); change[i+1] == "" {
			v.Del(change[i])
		}
	}
	return "/" + string(c.Tenant.ID) + "/oauth2/v2.0/authorize?" + v.Encode()
}

func TestAuthorizationCode(t *testing.T) {
	c := harness.Start(t)
	b := c.Browser().Get(authorizeURL(c))
	a := b.SignIn("ann@contoso.example").Answer()
	if b.Left.Host != "localhost:8400" || a.Get("state") != "st" || a.Get("code") == "" || a.Get("session_state") == "" {
		t.Fatalf("left for %v", b.Left)
	}
	r := c.Post(c.TokenPath(), "grant_type", "authorization_code", "client_id", az, "code", a.Get("code"),
		"redirect_uri", "http://localhost:8400", "code_verifier", verifier, "client_info", "1").Want(c)
	claims := c.Verify(r.Text("access_token"), "https://management.core.windows.net/")
	if claims.Scope != "user_impersonation" || claims.Object != c.User.ID || claims.Tenant != c.Tenant.ID || claims.AppID != directory.AzureCLI || claims.AppIDACR != "0" || claims.UPN != "ann@contoso.example" {
		t.Errorf("claims: %+v", claims)
	}
	if strings.Join(claims.AMR, " ") != "pwd" {
		t.Errorf("amr is %v after a password", claims.AMR)
	}
	if want := "https://management.core.windows.net//user_impersonation https://management.core.windows.net//.default"; r.Text("scope") != want {
		t.Errorf("scope is %q, want %q", r.Text("scope"), want)
	}
	if r.Text("foci") != "1" || r.Text("refresh_token") == "" || r.Text("client_info") == "" || r.Text("token_type") != "Bearer" {
		t.Errorf("response: %s", r.Body)
	}
	if _, number := r.JSON["expires_in"].(float64); !number {
		t.Errorf("expires_in is not a number on v2: %v", r.JSON["expires_in"])
	}
	id, err := (&token.Verifier{Keys: c.Trust}).VerifyIDTokenHint(r.Text("id_token"), directory.AzureCLI, c.Clock.Now())
	if err != nil || id.Nonce != "no" || id.Preferred != "ann@contoso.example" || id.Version != token.V2 {
		t.Errorf("id token: %+v, %v", id, err)
	}
	// The refresh token serves another resource.
	r = c.Post(c.TokenPath(), "grant_type", "refresh_token", "client_id", az, "refresh_token", r.Text("refresh_token"), "scope", aksApp+"/.default").Want(c)
	aks := c.Verify(r.Text("access_token"), aksApp)
	if aks.Scope != "user.read" || aks.Version != token.V1 || aks.Issuer != "https://sts.windows.net/"+string(c.Tenant.ID)+"/" {
		t.Errorf("AKS claims: %+v", aks)
	}
	if want := aksApp + "/user.read " + aksApp + "/.default"; r.Text("scope") != want {
		t.Errorf("scope is %q, want %q", r.Text("scope"), want)
	}
	// The browser stays signed in: no page the second time.
	if again := b.Get(authorizeURL(c)); again.Left == nil {
		t.Errorf("asked again: %s", again.Text())
	}
	events := c.Events()
	if len(events) != 4 || events[0].Grant != "authorize" || events[1].Grant != "authorization_code" || events[1].Code != 0 || events[1].TokenID == "" {
		t.Errorf("sign-in log: %+v", events)
	}
}

func TestDeviceCode(t *testing.T) {
	for _, kind := range []string{"urn:ietf:params:oauth:grant-type:device_code", "device_code"} {
		t.Run(kind, func(t *testing.T) {
			c := harness.Start(t)
			d := c.Post("/organizations/oauth2/v2.0/devicecode", "client_id", aksCli, "scope", aksApp+"/.default openid offline_access profile").Want(c)
			code := d.Text("user_code")
			if d.Text("verification_uri") != c.URL+"/devicelogin" || len(code) != 9 || d.JSON["expires_in"] != 900.0 || d.JSON["interval"] != 5.0 || d.JSON["verification_uri_complete"] != nil ||
				d.Text("message") != "To sign in, use a web browser to open the page "+c.URL+"/devicelogin and enter the code "+code+" to authenticate." {
				t.Fatalf("device code response: %s", d.Body)
			}
			poll := func() *harness.Reply {
				return c.Post("/organizations/oauth2/v2.0/token", "grant_type", kind, "client_id", aksCli, "device_code", d.Text("device_code"), "client_info", "1")
			}
			if r := poll(); r.Status != 400 || r.Text("error") != "authorization_pending" || r.Code() != 70016 {
				t.Fatalf("poll: %s", r.Body)
			}
			b := c.Browser().Get("/devicelogin").On("usercode")
			b.Submit(map[string]string{"otc": strings.ToLower(code[:4] + "-" + code[4:])})
			b.SignIn("ann@contoso.example").On("device")
			for _, want := range []string{"Azure Kubernetes Service AAD Client", code, "127.0.0.1"} {
				if !strings.Contains(b.Text(), want) {
					t.Errorf("the page does not show %q: %s", want, b.Text())
				}
			}
			b.Submit(map[string]string{"answer": "continue"}).On("done")
			r := poll().Want(c)
			claims := c.Verify(r.Text("access_token"), aksApp)
			if claims.Object != c.User.ID || claims.Scope != "user.read" || r.Text("refresh_token") == "" || r.Text("id_token") == "" {
				t.Errorf("response: %s", r.Body)
			}
			if r := poll(); r.Code() != 70018 {
				t.Errorf("the device code worked twice: %s", r.Body)
			}
		})
	}
}

func TestDeviceCodeV1(t *testing.T) {
	c := harness.Start(t)
	base := "/" + string(c.Tenant.ID)
	d := c.Post(base+"/oauth2/devicecode?api-version=1.0", "client_id", aksCli, "resource", aksApp).Want(c)
	if d.Text("verification_url") != c.URL+"/devicelogin" || d.Text("expires_in") != "900" || d.Text("interval") != "5" {
		t.Fatalf("v1 device code response: %s", d.Body)
	}
	b := c.Browser().Get("/devicelogin")
	b.Submit(map[string]string{"otc": d.Text("user_code")}).SignIn("ann@contoso.example").On("device").Submit(map[string]string{"answer": "continue"})
	r := c.Post(base+"/oauth2/token?api-version=1.0", "grant_type", "device_code", "client_id", aksCli, "resource", aksApp, "code", d.Text("device_code")).Want(c)
	if r.Text("resource") != aksApp || r.Text("expires_in") == "" || r.Text("expires_on") == "" || r.Text("not_before") == "" || r.Text("refresh_token") == "" || r.Text("id_token") == "" {
		t.Errorf("v1 response: %s", r.Body)
	}
	// kubelogin --legacy asks for the id and must get what old clusters take.
	c.Verify(r.Text("access_token"), "spn:"+aksApp)
	// spn: survives in the audience, as old clients expect.
	r = c.Post(base+"/oauth2/token", "grant_type", "refresh_token", "client_id", aksCli, "resource", "spn:"+aksApp, "refresh_token", r.Text("refresh_token")).Want(c)
	c.Verify(r.Text("access_token"), "spn:"+aksApp)
}

func TestClientCredentials(t *testing.T) {
	c := harness.Start(t)
	app, sp := c.AddApp("ci", func(a *directory.Application) {
		a.Credentials.Passwords = []directory.Password{c.Secret("hunter2hunter2")}
	})
	r := c.Post(c.TokenPath(), "grant_type", "client_credentials", "client_id", string(app.AppID), "client_secret", "hunter2hunter2",
		"scope", aksApp+"/.default openid offline_access profile", "client_info", "1").Want(c)
	claims := c.Verify(r.Text("access_token"), aksApp)
	if claims.Object != sp.ID || claims.Subject != string(sp.ID) || claims.Scope != "" || claims.UPN != "" || claims.AppIDACR != "1" || claims.AppID != app.AppID {
		t.Errorf("claims: %+v", claims)
	}
	if len(r.JSON) != 4 || r.JSON["expires_in"] != 3600.0 && r.JSON["expires_in"] != 3599.0 {
		t.Errorf("a client credentials response has exactly four members: %s", r.Body)
	}
	v1 := c.Post(c.V1TokenPath(), "grant_type", "client_credentials", "client_id", string(app.AppID), "client_secret", "hunter2hunter2", "resource", "https://management.azure.com/").Want(c)
	c.Verify(v1.Text("access_token"), "https://management.azure.com/")
	legacy := c.Post(c.V1TokenPath(), "grant_type", "client_credentials", "client_id", string(app.AppID), "client_secret", "hunter2hunter2", "resource", aksApp).Want(c)
	c.Verify(legacy.Text("access_token"), "spn:"+aksApp)
	arm := c.Post(c.V1TokenPath(), "grant_type", "client_credentials", "client_id", string(app.AppID), "client_secret", "hunter2hunter2", "resource", string(directory.ARM)).Want(c)
	c.Verify(arm.Text("access_token"), string(directory.ARM))
	if v1.Text("resource") != "https://management.azure.com/" || v1.Text("expires_in") == "" {
		t.Errorf("v1 response: %s", v1.Body)
	}
	// HTTP Basic, encoded as RFC 6749 says.
	h := map[string][]string{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(string(app.AppID)+":hunter2hunter2"))}}
	c.PostWith(h, c.TokenPath(), "grant_type", "client_credentials", "scope", "https://graph.microsoft.com/.default").Want(c)
}

func TestManagedIdentityAudience(t *testing.T) {
	c := harness.Start(t)
	_, sp := c.AddApp("machine", nil)
	c.Update(func(tx *store.Tx) error {
		return state.ServicePrincipals.Modify(tx, state.Key(c.Tenant.ID, sp.ID), func(p *directory.ServicePrincipal) error {
			p.Type = "ManagedIdentity"
			return nil
		})
	})
	m, err := c.Provider.IssueManagedIdentity(t.Context(), c.Tenant.ID, sp.ID, aksApp)
	if err != nil {
		t.Fatal(err)
	}
	if claims := c.Verify(m.Text, aksApp); claims.Object != sp.ID {
		t.Errorf("token for %s", claims.Object)
	}
}

func TestPasswordGrant(t *testing.T) {
	c := harness.Start(t)
	r := c.Post("/organizations/oauth2/v2.0/token", "grant_type", "password", "client_id", az, "username", "Ann@Contoso.Example", "password", harness.Password,
		"scope", armScope+" openid profile offline_access", "client_info", "1").Want(c)
	claims := c.Verify(r.Text("access_token"), "https://management.core.windows.net/")
	if claims.Object != c.User.ID || r.Text("refresh_token") == "" || r.Text("id_token") == "" {
		t.Errorf("response: %s", r.Body)
	}
}

// TestPasswordGrantIsSwitched: a tenant that has not switched the grant on does
// not even look at the password.
func TestPasswordGrantIsSwitched(t *testing.T) {
	c := harness.Start(t)
	c.Update(func(tx *store.Tx) error {
		return state.Tenants.Modify(tx, string(c.Tenant.ID), func(t *directory.Tenant) error {
			t.PasswordGrant = false
			return nil
		})
	})
	for _, password := range []string{harness.Password, "wrong"} {
		r := c.Post(c.TokenPath(), "grant_type", "password", "client_id", az, "username", "ann@contoso.example", "password", password, "scope", armScope)
		if r.Status == 200 || r.Code() == 50126 || r.Text("access_token") != "" {
			t.Errorf("%q: %d %s", password, r.Status, r.Body)
		}
	}
}

func TestMetadata(t *testing.T) {
	c := harness.Start(t)
	tid := string(c.Tenant.ID)
	for _, tt := range []struct{ path, issuer, token string }{
		{"/" + tid + "/v2.0/.well-known/openid-configuration", c.URL + "/" + tid + "/v2.0", c.URL + "/" + tid + "/oauth2/v2.0/token"},
		{"/contoso.example/v2.0/.well-known/openid-configuration?", c.URL + "/" + tid + "/v2.0", c.URL + "/" + tid + "/oauth2/v2.0/token"},
		{"/" + tid + "/.well-known/openid-configuration", "https://sts.windows.net/" + tid + "/", c.URL + "/" + tid + "/oauth2/token"},
		{"/organizations/v2.0/.well-known/openid-configuration", c.URL + "/{tenantid}/v2.0", c.URL + "/organizations/oauth2/v2.0/token"},
		{"/common/.well-known/openid-configuration", "https://sts.windows.net/{tenantid}/", c.URL + "/common/oauth2/token"},
		{"/adfs/.well-known/openid-configuration", c.URL + "/{tenantid}/v2.0", c.URL + "/adfs/oauth2/token"},
	} {
		r := c.Get(tt.path).Want(c)
		if r.Text("issuer") != tt.issuer || r.Text("token_endpoint") != tt.token {
			t.Errorf("%s: issuer %q, token endpoint %q", tt.path, r.Text("issuer"), r.Text("token_endpoint"))
		}
		if r.Header.Get("Cache-Control") != "max-age=86400, private" || r.JSON["code_challenge_methods_supported"] != nil {
			t.Errorf("%s: %v %s", tt.path, r.Header, r.Body)
		}
		keys := c.Get(strings.TrimPrefix(r.Text("jwks_uri"), c.URL)).Want(c)
		if list, _ := keys.JSON["keys"].([]any); len(list) != 1 {
			t.Errorf("%s: keys: %s", tt.path, keys.Body)
		}
	}
}

func TestInstanceDiscovery(t *testing.T) {
	c := harness.Start(t)
	for _, tt := range []struct{ endpoint, want string }{
		{c.URL + "/" + string(c.Tenant.ID) + "/oauth2/v2.0/authorize", c.URL + "/" + string(c.Tenant.ID) + "/v2.0/.well-known/openid-configuration"},
		{"https://localhost/common/oauth2/v2.0/authorize", c.URL + "/common/v2.0/.well-known/openid-configuration"},
		{"https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize", "https://login.microsoftonline.com/organizations/v2.0/.well-known/openid-configuration"},
		{"https://evil.example/common/oauth2/v2.0/authorize", ""},
		{"http://login.microsoftonline.com/common/oauth2/v2.0/authorize", ""},
		{"https://login.microsoftonline.com@evil.example/common", ""},
	} {
		r := c.Get("/common/discovery/instance?api-version=1.1&authorization_endpoint=" + url.QueryEscape(tt.endpoint))
		if r.Text("tenant_discovery_endpoint") != tt.want {
			t.Errorf("%s: %s", tt.endpoint, r.Body)
		}
		if tt.want == "" && (r.Status != 400 || r.Code() != 50049 || r.Text("error") != "invalid_instance") {
			t.Errorf("%s: %d %s", tt.endpoint, r.Status, r.Body)
		}
	}
	for _, tt := range []struct{ name, kind string }{{"ann@contoso.example", "Managed"}, {"bob@elsewhere.example", "Unknown"}} {
		if r := c.Get("/common/UserRealm/" + tt.name + "?api-version=1.0"); r.Text("account_type") != tt.kind {
			t.Errorf("user realm of %s: %s", tt.name, r.Body)
		}
		c.Get("/common/userrealm/" + tt.name + "?api-version=1.0").Want(c)
	}
}

func TestErrorShape(t *testing.T) {
	c := harness.Start(t)
	id := directory.NewGUID()
	r := c.PostWith(map[string][]string{"Client-Request-Id": {id}, "Return-Client-Request-Id": {"true"}}, c.TokenPath(), "grant_type", "refresh_token", "client_id", az, "refresh_token", "nonsense")
	if r.Status != 400 || r.Text("error") != "invalid_grant" || r.Code() != 70000 || r.Text("correlation_id") != id || r.Header.Get("client-request-id") != id {
		t.Fatalf("%v %s", r.Header, r.Body)
	}
	if !strings.HasPrefix(r.Text("error_description"), "AADSTS70000: ") || !strings.Contains(r.Text("error_description"), "Trace ID: "+r.Text("trace_id")+" Correlation ID: "+id+" Timestamp: "+r.Text("timestamp")) ||
		r.Text("error_uri") != c.URL+"/error?code=70000" || r.Header.Get("x-ms-request-id") != r.Text("trace_id") || r.Header.Get("Cache-Control") != "no-store, no-cache" || r.Header.Get("Content-Type") != "application/json; charset=utf-8" || !strings.HasPrefix(r.Header.Get("x-ms-clitelem"), "1,70000,") {
		t.Errorf("%v %s", r.Header, r.Body)
	}
	if r := c.Post(c.TokenPath(), "grant_type", "refresh_token", "client_id", az, "refresh_token", "nonsense"); r.Header.Get("client-request-id") != "" {
		t.Error("client-request-id is echoed unasked")
	}
}
