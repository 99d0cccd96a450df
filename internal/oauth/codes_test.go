package oauth_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"crypto/rsa"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/test/clients/harness"
)

func publicKeys(kid string, k *rsa.PrivateKey) map[token.KeyID]token.PublicKey {
	return map[token.KeyID]token.PublicKey{token.KeyID(kid): {Key: &k.PublicKey}}
}

// refusal is how a request was refused, wherever the code appeared.
type refusal struct {
	code   int
	oauth  string
	status int
	where  string // token, page, redirect
	text   string
}

func fromReply(r *harness.Reply) refusal {
	return refusal{r.Code(), r.Text("error"), r.Status, "token", r.Body}
}

var codePattern = regexp.MustCompile(`AADSTS(\d+)`)

func fromBrowser(b *harness.Browser) refusal {
	text, where, oauthError := b.Text(), "page", ""
	if b.Left != nil {
		text, where, oauthError = b.Answer().Get("error_description"), "redirect", b.Answer().Get("error")
	}
	f := refusal{oauth: oauthError, status: b.Status, where: where, text: text}
	if m := codePattern.FindStringSubmatch(text); m != nil {
		f.code, _ = strconv.Atoi(m[1])
	}
	return f
}

// rig is a cloud with one of each kind of client.
type rig struct {
	*harness.Cloud
	t       *testing.T
	secret  *directory.Application // confidential, secret "hunter2hunter2"
	web     *directory.Application // with redirect URIs of each kind
	api     *directory.Application // a resource of the tenant
	apiSP   *directory.ServicePrincipal
	refresh string // of Ann for the Azure CLI
}

func newRig(t *testing.T, opts ...harness.Option) *rig {
	c := harness.Start(t, opts...)
	r := &rig{Cloud: c, t: t}
	two := 2
	r.api, r.apiSP = c.AddApp("Orders API", func(a *directory.Application) {
		a.IdentifierURIs = []string{"api://orders"}
		a.API.TokenVersion = &two
		a.API.Scopes = []directory.Scope{
			{ID: directory.NewGUID(), Value: "Orders.Read", Type: "User", Enabled: true, UserConsentName: "Read your orders"},
			{ID: directory.NewGUID(), Value: "Orders.Admin", Type: "Admin", Enabled: true, AdminConsentName: "Manage all orders"},
		}
		a.AppRoles = []directory.AppRole{{ID: directory.NewGUID(), Value: "Orders.Write.All", DisplayName: "Write all orders", MemberTypes: []string{"Application", "User"}, Enabled: true}}
		a.Credentials.Passwords = []directory.Password{c.Secret("api-secret-secret")}
	})
	r.secret, _ = c.AddApp("Daemon", func(a *directory.Application) {
		a.Credentials.Passwords = []directory.Password{c.Secret("hunter2hunter2")}
	})
	r.web, _ = c.AddApp("Shop", func(a *directory.Application) {
		a.Web.RedirectURIs = []string{"https://shop.example/cb", "https://shop.example/cb?x=1"}
		a.SPA.RedirectURIs = []string{"https://spa.example/"}
		a.PublicClient.RedirectURIs = []string{"http://localhost/cb"}
		a.Web.ImplicitID = true
		a.Credentials.Passwords = []directory.Password{c.Secret("shop-secret-secret")}
		a.Required = []directory.Requirement{{ResourceAppID: r.api.AppID, Access: []directory.ResourceAccess{
			{ID: r.api.API.Scopes[0].ID, Type: "Scope"}, {ID: r.api.AppRoles[0].ID, Type: "Role"},
		}}}
	})
	return r
}

// token posts a token request of the Azure CLI with changes.
func (r *rig) token(pairs ...string) refusal {
	r.t.Helper()
	return fromReply(r.Post(r.TokenPath(), pairs...))
}

// annRefresh returns a refresh token of Ann for the Azure CLI.
func (r *rig) annRefresh() string {
	r.t.Helper()
	if r.refresh == "" {
		r.refresh = r.Post(r.TokenPath(), "grant_type", "password", "client_id", az, "username", "ann@contoso.example", "password", harness.Password, "scope", armScope+" offline_access").Want(r.Cloud).Text("refresh_token")
	}
	return r.refresh
}

func (r *rig) refreshWith(pairs ...string) refusal {
	r.t.Helper()
	return r.with(map[string]string{"grant_type": "refresh_token", "client_id": az, "refresh_token": r.annRefresh(), "scope": armScope}, pairs)
}

func (r *rig) ropc(pairs ...string) refusal {
	r.t.Helper()
	v := map[string]string{"grant_type": "password", "client_id": az, "username": "ann@contoso.example", "password": harness.Password, "scope": armScope}
	return r.with(v, pairs)
}

func (r *rig) daemon(pairs ...string) refusal {
	r.t.Helper()
	v := map[string]string{"grant_type": "client_credentials", "client_id": string(r.secret.AppID), "client_secret": "hunter2hunter2", "scope": aksApp + "/.default"}
	return r.with(v, pairs)
}

func (r *rig) with(v map[string]string, pairs []string) refusal {
	r.t.Helper()
	path := r.TokenPath()
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == "PATH" {
			path = pairs[i+1]
			continue
		}
		v[pairs[i]] = pairs[i+1]
	}
	var list []string
	for k, x := range v {
		list = append(list, k, x)
	}
	return fromReply(r.Post(path, list...))
}

// shop returns an authorization request of the web application.
func (r *rig) shop(change ...string) string {
	return authorizeURL(r.Cloud, append([]string{"client_id", string(r.web.AppID), "redirect_uri", "https://shop.example/cb", "scope", "openid api://orders/Orders.Read", "code_challenge", "", "code_challenge_method", ""}, change...)...)
}

// code returns an authorization code for the Azure CLI.
func (r *rig) code(change ...string) string {
	r.t.Helper()
	return r.Browser().Get(authorizeURL(r.Cloud, change...)).SignIn("ann@contoso.example").Answer().Get("code")
}

func (r *rig) redeem(code string, pairs ...string) refusal {
	r.t.Helper()
	v := map[string]string{"grant_type": "authorization_code", "client_id": az, "code": code, "redirect_uri": "http://localhost:8400", "code_verifier": verifier}
	return r.with(v, pairs)
}

func (r *rig) device(pairs ...string) *harness.Reply {
	r.t.Helper()
	return r.Post(r.devicePath(), append([]string{"client_id", aksCli, "scope", aksApp + "/.default"}, pairs...)...)
}

func (r *rig) devicePath() string { return "/" + string(r.Tenant.ID) + "/oauth2/v2.0/devicecode" }

func (r *rig) poll(d *harness.Reply, pairs ...string) refusal {
	r.t.Helper()
	return r.with(map[string]string{"grant_type": "device_code", "client_id": aksCli, "device_code": d.Text("device_code")}, pairs)
}

func (r *rig) editUser(fn func(*directory.User)) {
	r.Update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(r.User.Tenant, r.User.ID), func(u *directory.User) error { fn(u); return nil })
	})
}

func (r *rig) editSP(id directory.AppID, fn func(*directory.ServicePrincipal)) {
	r.Update(func(tx *store.Tx) error {
		sp, err := state.FindServicePrincipal(tx, r.Tenant.ID, id)
		if err != nil {
			return err
		}
		return state.ServicePrincipals.Modify(tx, state.Key(sp.Tenant, sp.ID), func(p *directory.ServicePrincipal) error { fn(p); return nil })
	})
}

func (r *rig) editApp(a *directory.Application, fn func(*directory.Application)) {
	r.Update(func(tx *store.Tx) error {
		return state.Applications.Modify(tx, state.Key(a.Tenant, a.ID), func(a *directory.Application) error { fn(a); return nil })
	})
}

func (r *rig) grant(client directory.AppID, scopes ...string) {
	r.Update(func(tx *store.Tx) error {
		sp, err := state.FindServicePrincipal(tx, r.Tenant.ID, client)
		if err != nil {
			return err
		}
		return state.Consent(tx, r.Tenant.ID, sp.ID, r.apiSP.ID, "", scopes)
	})
}

// orderToken returns an access token of Ann for the Orders API by way of the
// web application.
func (r *rig) orderToken() string {
	r.t.Helper()
	r.grant(r.web.AppID, "Orders.Read")
	code := r.Browser().Get(r.shop()).SignIn("ann@contoso.example").Answer().Get("code")
	return r.Post(r.TokenPath(), "grant_type", "authorization_code", "client_id", string(r.web.AppID), "client_secret", "shop-secret-secret", "code", code, "redirect_uri", "https://shop.example/cb").Want(r.Cloud).Text("access_token")
}

func (r *rig) obo(assertion string, pairs ...string) refusal {
	r.t.Helper()
	return r.with(map[string]string{"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "requested_token_use": "on_behalf_of", "client_id": string(r.api.AppID), "client_secret": "api-secret-secret", "assertion": assertion, "scope": "https://graph.microsoft.com/User.Read"}, pairs)
}

type want struct {
	code   aadsts.Code
	oauth  string
	status int
	run    func(r *rig) refusal
}

const (
	invalidRequest = "invalid_request"
	invalidClient  = "invalid_client"
	invalidGrant   = "invalid_grant"
)

// wants triggers every code of the table.
var wants = []want{
	{28000, "invalid_scope", 400, func(r *rig) refusal {
		return r.refreshWith("scope", "https://graph.microsoft.com/User.Read api://orders/Orders.Read")
	}},
	{28002, invalidRequest, 400, func(r *rig) refusal {
		return r.redeem(r.code(), "scope", armScope+" https://management.core.windows.net//x")
	}},
	{28003, invalidRequest, 400, func(r *rig) refusal {
		return fromReply(r.Send("POST", r.TokenPath(), url.Values{"grant_type": {"authorization_code"}, "client_id": {az}, "code": {r.code()}, "redirect_uri": {"http://localhost:8400"}, "code_verifier": {verifier}, "scope": {""}}.Encode(), nil))
	}},
	{50000, "server_error", 500, func(r *rig) refusal {
		// The tenant's keys cannot be read: one is damaged in the store.
		r.Update(func(tx *store.Tx) error {
			for k := range state.SigningKeys.Where(tx, "tenant", string(r.Tenant.ID)) {
				bad := *k
				bad.PKCS8 = []byte("damaged")
				return state.SigningKeys.Put(tx, &bad)
			}
			return nil
		})
		return r.daemon()
	}},
	{50001, "invalid_resource", 400, func(r *rig) refusal {
		return r.daemon("PATH", r.V1TokenPath(), "resource", "https://nobody.example", "scope", "")
	}},
	{50011, invalidClient, 400, func(r *rig) refusal {
		return fromBrowser(r.Browser().Get(authorizeURL(r.Cloud, "redirect_uri", "https://evil.example/")))
	}},
	{50012, invalidClient, 401, func(r *rig) refusal {
		k := newCertified(r.t, r.Cloud)
		a := jwt(r.t, rsaKeys()[0], k.header(), k.claims())
		k.send(a).Want(r.Cloud)
		return fromReply(k.send(a)) // replayed
	}},
	{50013, invalidGrant, 400, func(r *rig) refusal { return r.obo(r.annAccess()) }},
	{50020, invalidGrant, 400, func(r *rig) refusal {
		other := r.AddTenant("Fabrikam", "fabrikam.example")
		return r.refreshWith("PATH", "/"+string(other.ID)+"/oauth2/v2.0/token")
	}},
	{50027, invalidClient, 401, func(r *rig) refusal { return fromReply(newCertified(r.t, r.Cloud).send("a.b.c")) }},
	{50034, invalidGrant, 400, func(r *rig) refusal { return r.ropc("username", "nobody@contoso.example") }},
	{50049, "invalid_instance", 400, func(r *rig) refusal {
		return fromReply(r.Get("/common/discovery/instance?api-version=1.1&authorization_endpoint=https%3A%2F%2Fevil.example%2Fcommon"))
	}},
	{50053, invalidGrant, 400, func(r *rig) refusal {
		for range 10 {
			r.ropc("password", "wrong")
		}
		return r.ropc()
	}},
	{50055, invalidGrant, 400, func(r *rig) refusal {
		r.editUser(func(u *directory.User) { u.MustChangePassword = true })
		return r.ropc()
	}},
	{50056, invalidGrant, 400, func(r *rig) refusal {
		r.editUser(func(u *directory.User) { u.PasswordHash = "" })
		return r.ropc()
	}},
	{50057, invalidGrant, 400, func(r *rig) refusal {
		r.annRefresh()
		r.editUser(func(u *directory.User) { u.Enabled = false })
		return r.refreshWith()
	}},
	{50058, "login_required", 302, func(r *rig) refusal { return fromBrowser(r.Browser().Get(authorizeURL(r.Cloud, "prompt", "none"))) }},
	{50059, invalidRequest, 400, func(r *rig) refusal { return r.daemon("PATH", "/organizations/oauth2/v2.0/token") }},
	{50097, invalidGrant, 401, nil}, // with the devices below
	{50105, invalidGrant, 400, func(r *rig) refusal {
		r.annRefresh()
		r.editSP(directory.ARM, func(p *directory.ServicePrincipal) { p.AssignmentRequired = true })
		return r.refreshWith()
	}},
	{50126, invalidGrant, 400, func(r *rig) refusal { return r.ropc("password", "wrong") }},
	{50173, invalidGrant, 400, func(r *rig) refusal {
		r.annRefresh()
		r.editUser(func(u *directory.User) { u.SessionsValidFrom = r.Clock.Now() })
		return r.refreshWith()
	}},
	{50194, invalidRequest, 400, func(r *rig) refusal { return fromBrowser(r.Browser().Get("/common" + r.shop()[37:])) }},
	{50196, invalidGrant, 400, func(r *rig) refusal {
		var f refusal
		for range 8 {
			f = r.refreshWith()
		}
		return f
	}},
	{500011, "invalid_resource", 400, func(r *rig) refusal { return r.daemon("scope", "https://nobody.example/.default") }},
	{500014, "invalid_resource", 400, func(r *rig) refusal {
		r.editSP(directory.AKSServer, func(p *directory.ServicePrincipal) { p.Enabled = false })
		return r.daemon()
	}},
	{500112, invalidGrant, 400, func(r *rig) refusal { return r.redeem(r.code(), "redirect_uri", "http://localhost:8401") }},
	{500133, invalidGrant, 400, func(r *rig) refusal {
		a := r.orderToken()
		r.Clock.Advance(3 * time.Hour)
		return r.obo(a)
	}},
	{501481, invalidGrant, 400, func(r *rig) refusal { return r.redeem(r.code(), "code_verifier", strings.Repeat("x", 43)) }},
	{501491, invalidRequest, 302, func(r *rig) refusal {
		return fromBrowser(r.Browser().Get(authorizeURL(r.Cloud, "code_challenge", "short")))
	}},
	{501661, invalidRequest, 400, func(r *rig) refusal {
		f := newFederated(r.Cloud)
		r.Issuers.Err = errs.New(errs.Unavailable, "down")
		return fromReply(f.send(r.t, object{"alg": "RS256", "kid": "k1"}, f.claims()))
	}},
	{53003, invalidGrant, 400, func(r *rig) refusal {
		r.annRefresh()
		r.Policy.Set(r.t, `{"id":"11111111-1111-1111-1111-111111111111","displayName":"block","state":"enabled","conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]}},"grantControls":{"operator":"OR","builtInControls":["block"]}}`)
		return r.refreshWith()
	}},
	{54005, invalidGrant, 400, func(r *rig) refusal {
		code := r.code()
		r.redeem(code)
		return r.redeem(code)
	}},
	{65001, invalidGrant, 400, func(r *rig) refusal {
		r.annRefresh()
		return r.refreshWith("scope", "api://orders/Orders.Read")
	}},
	{65004, "access_denied", 303, func(r *rig) refusal {
		b := r.Browser().Get(r.shop()).SignIn("ann@contoso.example").On("consent")
		return fromBrowser(b.Submit(map[string]string{"answer": "cancel"})).as(303)
	}},
	{650052, "invalid_resource", 400, func(r *rig) refusal {
		other := r.AddTenant("Fabrikam", "fabrikam.example")
		app := &directory.Application{Tenant: other.ID, ID: directory.ObjectID(directory.NewGUID()), AppID: directory.AppID(directory.NewGUID()), DisplayName: "SaaS", SignInAudience: "AzureADMultipleOrgs"}
		r.Update(func(tx *store.Tx) error { return state.Applications.Create(tx, app) })
		return r.daemon("scope", string(app.AppID)+"/.default")
	}},
	{650053, invalidClient, 400, func(r *rig) refusal { return r.refreshWith("scope", "https://graph.microsoft.com/No.Such") }},
	{650056, invalidClient, 302, func(r *rig) refusal {
		r.makeAdmin()
		r.editApp(r.web, func(a *directory.Application) { a.Required = nil })
		return fromBrowser(r.Browser().Get(r.adminConsent()).SignIn("ann@contoso.example"))
	}},
	{650057, "invalid_resource", 302, func(r *rig) refusal {
		return fromBrowser(r.Browser().Get(r.shop("scope", "openid "+string(r.secret.AppID)+"/.default")).SignIn("ann@contoso.example"))
	}},
	{70000, invalidGrant, 400, func(r *rig) refusal { return r.refreshWith("refresh_token", "1.nonsense") }},
	{70003, "unsupported_grant_type", 400, func(r *rig) refusal {
		return r.token("grant_type", "urn:ietf:params:oauth:grant-type:saml2-bearer", "client_id", az)
	}},
	{70005, "unsupported_response_type", 302, func(r *rig) refusal {
		return fromBrowser(r.Browser().Get(authorizeURL(r.Cloud, "response_type", "code banana")))
	}},
	{70007, invalidRequest, 302, func(r *rig) refusal {
		return fromBrowser(r.Browser().Get(authorizeURL(r.Cloud, "response_mode", "pigeon")))
	}},
	{70008, invalidGrant, 400, func(r *rig) refusal {
		code := r.code()
		r.Clock.Advance(11 * time.Minute)
		return r.redeem(code)
	}},
	{70011, "invalid_scope", 400, func(r *rig) refusal { return r.refreshWith("scope", `https://graph.microsoft.com/`) }},
	{70016, "authorization_pending", 400, func(r *rig) refusal { return r.poll(r.device().Want(r.Cloud)) }},
	{70018, "bad_verification_code", 400, func(r *rig) refusal { return r.poll(r.device().Want(r.Cloud), "device_code", "1.nonsense") }},
	{70019, "expired_token", 400, func(r *rig) refusal {
		d := r.device().Want(r.Cloud)
		b := r.Browser().Get("/devicelogin").Submit(map[string]string{"otc": d.Text("user_code")}).SignIn("ann@contoso.example").On("device")
		r.Clock.Advance(15 * time.Minute) // the person took too long
		return fromBrowser(b.Submit(map[string]string{"answer": "continue"})).as(400)
	}},
	{70020, "expired_token", 400, func(r *rig) refusal {
		d := r.device().Want(r.Cloud)
		r.Clock.Advance(16 * time.Minute)
		return r.poll(d)
	}},
	{70025, invalidClient, 401, func(r *rig) refusal {
		f := &federated{c: r.Cloud, app: r.secret}
		return fromReply(f.send(r.t, object{"alg": "RS256", "kid": "k1"}, f.claims()))
	}},
	{700016, "unauthorized_client", 400, func(r *rig) refusal { return r.daemon("client_id", directory.NewGUID()) }},
	{700021, invalidClient, 401, func(r *rig) refusal {
		k := newCertified(r.t, r.Cloud)
		cl := k.claims()
		cl["sub"] = r.secret.AppID
		return fromReply(k.send(jwt(r.t, rsaKeys()[0], k.header(), cl)))
	}},
	{700022, invalidRequest, 400, func(r *rig) refusal {
		return r.daemon("scope", aksApp+"/.default https://graph.microsoft.com/.default")
	}},
	{700023, invalidClient, 401, func(r *rig) refusal {
		k := newCertified(r.t, r.Cloud)
		cl := k.claims()
		cl["aud"] = "https://evil.example/token"
		return fromReply(k.send(jwt(r.t, rsaKeys()[0], k.header(), cl)))
	}},
	{700024, invalidClient, 401, func(r *rig) refusal {
		k := newCertified(r.t, r.Cloud)
		cl := k.claims()
		cl["exp"] = r.Clock.Now().Add(-2 * time.Minute).Unix()
		return fromReply(k.send(jwt(r.t, rsaKeys()[0], k.header(), cl)))
	}},
	{700025, invalidClient, 401, func(r *rig) refusal { return r.daemon("client_id", az) }},
	{700027, invalidClient, 401, func(r *rig) refusal {
		k := newCertified(r.t, r.Cloud)
		return fromReply(k.send(jwt(r.t, rsaKeys()[1], k.header(), k.claims())))
	}},
	{700030, invalidClient, 401, func(r *rig) refusal {
		k := newCertified(r.t, r.Cloud)
		other := cert(r.t, "other", rsaKeys()[1], r.Clock.Now().Add(-time.Hour), r.Clock.Now().Add(time.Hour), nil, nil)
		return fromReply(k.send(jwt(r.t, rsaKeys()[1], object{"alg": "RS256", "x5t": x5t(other), "x5c": []string{base64.StdEncoding.EncodeToString(other.Raw)}}, k.claims())))
	}},
	{700051, "unsupported_response_type", 302, func(r *rig) refusal { return fromBrowser(r.Browser().Get(r.shop("response_type", "token"))) }},
	{700054, "unsupported_response_type", 302, func(r *rig) refusal {
		r.editApp(r.web, func(a *directory.Application) { a.Web.ImplicitID = false })
		return fromBrowser(r.Browser().Get(r.shop("response_type", "id_token")))
	}},
	{700082, invalidGrant, 400, func(r *rig) refusal {
		r.annRefresh()
		r.Clock.Advance(90 * 24 * time.Hour)
		return r.refreshWith()
	}},
	{700084, invalidGrant, 400, func(r *rig) refusal {
		t := r.spaRefresh()
		r.Clock.Advance(24 * time.Hour)
		return r.spaRefreshWith(t)
	}},
	{700211, invalidRequest, 400, func(r *rig) refusal { return r.federatedWith("iss", "https://other.example") }},
	{700212, invalidRequest, 400, func(r *rig) refusal { return r.federatedWith("aud", "api://somebody-else") }},
	{700213, invalidRequest, 400, func(r *rig) refusal { return r.federatedWith("sub", "system:serviceaccount:ns:other") }},
	{7002137, invalidRequest, 400, func(r *rig) refusal {
		f := newFederated(r.Cloud)
		r.editApp(f.app, func(a *directory.Application) {
			a.Credentials.Federated[0].Subject, a.Credentials.Federated[0].Matching = "", []byte(`{"value":"claims['sub'] matches '*'","languageVersion":1}`)
		})
		return fromReply(f.send(r.t, object{"alg": "RS256", "kid": "k1"}, f.claims()))
	}},
	{7002138, invalidRequest, 400, func(r *rig) refusal { return r.federatedWith("sub", "system:serviceaccount:NS:sa") }},
	{700222, invalidRequest, 400, func(r *rig) refusal {
		return r.federatedWith("iss", "https://sts.windows.net/"+string(r.Tenant.ID)+"/")
	}},
	{700229, invalidClient, 401, func(r *rig) refusal {
		// A credential that trusts this tenant, and a person's token for it.
		user := r.orderToken()
		claims := r.Verify(user, string(r.api.AppID))
		app, _ := r.AddApp("Trusting", func(a *directory.Application) {
			a.Credentials.Federated = []directory.FederatedCredential{{ID: "f", Name: "f", Issuer: claims.Issuer, Subject: claims.Subject, Audiences: []string{claims.Audience}}}
		})
		return fromReply(r.Post(r.TokenPath(), "grant_type", "client_credentials", "client_id", string(app.AppID), "scope", aksApp+"/.default", "client_assertion_type", assertionType, "client_assertion", user))
	}},
	{7000112, "unauthorized_client", 400, func(r *rig) refusal {
		r.editSP(r.secret.AppID, func(p *directory.ServicePrincipal) { p.Enabled = false })
		return r.daemon()
	}},
	{7000113, invalidGrant, 400, func(r *rig) refusal {
		a := r.Post(r.TokenPath(), "grant_type", "client_credentials", "client_id", string(r.secret.AppID), "client_secret", "hunter2hunter2", "scope", "api://orders/.default").Want(r.Cloud)
		return r.obo(a.Text("access_token"))
	}},
	{7000114, "unauthorized_client", 400, func(r *rig) refusal {
		r.editSP(directory.AKSServer, func(p *directory.ServicePrincipal) {
			p.Credentials.Passwords = []directory.Password{r.Secret("aks-secret-secret")}
		})
		return r.obo(r.annAccess(), "client_id", aksApp, "client_secret", "aks-secret-secret")
	}},
	{7000215, invalidClient, 401, func(r *rig) refusal { return r.daemon("client_secret", "wrong") }},
	{7000218, invalidClient, 401, func(r *rig) refusal { return r.daemon("client_secret", "") }},
	{7000222, invalidClient, 401, func(r *rig) refusal {
		r.Clock.Advance(400 * 24 * time.Hour)
		return r.daemon()
	}},
	{1000502, invalidClient, 401, func(r *rig) refusal {
		k := newCertified(r.t, r.Cloud)
		r.Clock.Advance(25 * time.Hour) // the certificate ended, its registration has not
		return fromReply(k.send(jwt(r.t, rsaKeys()[0], k.header(), k.claims())))
	}},
	{1002012, "invalid_scope", 400, func(r *rig) refusal { return r.daemon("scope", "https://graph.microsoft.com/User.Read") }},
	{90002, invalidRequest, 400, func(r *rig) refusal { return r.daemon("PATH", "/nobody.example/oauth2/v2.0/token") }},
	{90009, invalidRequest, 400, func(r *rig) refusal {
		return r.daemon("client_id", string(r.api.AppID), "client_secret", "api-secret-secret", "scope", "api://orders/.default")
	}},
	{90014, invalidRequest, 400, func(r *rig) refusal { return r.redeem(r.code(), "redirect_uri", "") }},
	{90033, "temporarily_unavailable", 503, nil}, // with the busy accounts below
	{90055, "temporarily_unavailable", 429, nil}, // with the limits below
	{90061, invalidRequest, 400, func(r *rig) refusal {
		f := newFederated(r.Cloud)
		r.Issuers.Err = errs.New(errs.Invalid, "The issuer redirects, which is not followed.")
		return fromReply(f.send(r.t, object{"alg": "RS256", "kid": "k1"}, f.claims()))
	}},
	{90094, "access_denied", 400, func(r *rig) refusal {
		return fromBrowser(r.Browser().Get(r.shop("scope", "openid api://orders/Orders.Admin")).SignIn("ann@contoso.example"))
	}},
	{900023, invalidRequest, 400, func(r *rig) refusal { return r.daemon("PATH", "/nonsense/oauth2/v2.0/token") }},
	{900144, invalidRequest, 400, func(r *rig) refusal { return r.token("client_id", az) }},
	{900561, invalidRequest, 405, func(r *rig) refusal { return fromReply(r.Get(r.TokenPath())) }},
	{900971, invalidRequest, 400, func(r *rig) refusal {
		return fromBrowser(r.Browser().Get(authorizeURL(r.Cloud, "client_id", string(r.secret.AppID), "redirect_uri", "")))
	}},
	{901002, invalidRequest, 400, func(r *rig) refusal { return r.refreshWith("resource", "https://graph.microsoft.com") }},
	{9001023, invalidRequest, 400, func(r *rig) refusal { return r.ropc("PATH", "/common/oauth2/v2.0/token") }},
	{9002313, invalidRequest, 400, func(r *rig) refusal {
		return fromReply(r.Send("POST", r.TokenPath(), "grant_type=password&grant_type=refresh_token&client_id="+az, nil))
	}},
	{9002325, invalidRequest, 302, func(r *rig) refusal {
		return fromBrowser(r.Browser().Get(r.shop("redirect_uri", "https://spa.example/")))
	}},
	{9002326, invalidRequest, 400, func(r *rig) refusal {
		return fromReply(r.PostWith(http.Header{"Origin": {"https://evil.example"}}, r.TokenPath(), "grant_type", "refresh_token", "client_id", az, "refresh_token", r.annRefresh(), "scope", armScope))
	}},
	{9002327, invalidRequest, 400, func(r *rig) refusal {
		return fromReply(r.Post(r.TokenPath(), "grant_type", "refresh_token", "client_id", string(r.web.AppID), "refresh_token", r.spaRefresh(), "scope", "api://orders/Orders.Read"))
	}},
}

// as sets the status where the way there does not show it: a form was posted.
func (f refusal) as(status int) refusal {
	f.status = status
	return f
}

func (r *rig) annAccess() string {
	return r.Post(r.TokenPath(), "grant_type", "refresh_token", "client_id", az, "refresh_token", r.annRefresh(), "scope", armScope).Want(r.Cloud).Text("access_token")
}

func (r *rig) federatedWith(claim, value string) refusal {
	f := newFederated(r.Cloud)
	cl := f.claims()
	cl[claim] = value
	return fromReply(f.send(r.t, object{"alg": "RS256", "kid": "k1"}, cl))
}

func (r *rig) makeAdmin() {
	r.Update(func(tx *store.Tx) error {
		return state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: r.Tenant.ID, ID: directory.NewGUID(), Role: directory.GlobalAdministrator, Principal: r.User.ID, Scope: "/"})
	})
}

func (r *rig) adminConsent() string {
	return "/" + string(r.Tenant.ID) + "/adminconsent?" + url.Values{"client_id": {string(r.web.AppID)}, "redirect_uri": {"https://shop.example/cb"}, "state": {"st"}}.Encode()
}

func (r *rig) spaRefresh() string {
	r.t.Helper()
	r.grant(r.web.AppID, "Orders.Read")
	code := r.Browser().Get(r.shop("redirect_uri", "https://spa.example/", "scope", "openid offline_access api://orders/Orders.Read", "code_challenge", challenge(verifier), "code_challenge_method", "S256")).SignIn("ann@contoso.example").Answer().Get("code")
	return r.PostWith(http.Header{"Origin": {"https://spa.example"}}, r.TokenPath(), "grant_type", "authorization_code", "client_id", string(r.web.AppID), "code", code, "redirect_uri", "https://spa.example/", "code_verifier", verifier).Want(r.Cloud).Text("refresh_token")
}

func (r *rig) spaRefreshWith(t string) refusal {
	return fromReply(r.PostWith(http.Header{"Origin": {"https://spa.example"}}, r.TokenPath(), "grant_type", "refresh_token", "client_id", string(r.web.AppID), "refresh_token", t, "scope", "api://orders/Orders.Read"))
}

func TestEveryCode(t *testing.T) {
	have := map[aadsts.Code]bool{}
	for _, w := range wants {
		have[w.code] = true
		if w.run == nil {
			continue
		}
		t.Run(strconv.Itoa(int(w.code)), func(t *testing.T) {
			var opts []harness.Option
			if w.code == 50196 {
				opts = append(opts, harness.WithLimits(loopLimits))
			}
			got := w.run(newRig(t, opts...))
			if got.code != int(w.code) || got.status != w.status {
				t.Fatalf("AADSTS%d with status %d, want AADSTS%d with %d: %s", got.code, got.status, w.code, w.status, got.text)
			}
			// A page shows the code and no OAuth error.
			if got.where != "page" && got.oauth != w.oauth {
				t.Errorf("error is %q, want %q", got.oauth, w.oauth)
			}
			if strings.Contains(got.text, "%!") {
				t.Errorf("the text is not filled in: %s", got.text)
			}
		})
	}
	for _, c := range aadsts.Codes() {
		if !have[c] {
			t.Errorf("AADSTS%d is in the table and is triggered by no test", c)
		}
	}
}

// documented are the codes that Entra's documentation and recordings of it give
// for these flows.
var documented = []aadsts.Code{
	28000, 28002, 28003, 50001, 50005, 50011, 50012, 50013, 50020, 50034, 50049, 50053, 50055, 50056, 50057, 50058, 50059, 50072, 50074, 50076, 50079,
	50097, 50105, 50126, 50131, 50132, 50133, 50146, 50158, 50173, 50194, 50196, 500011, 500133, 501481, 501661, 53000, 53001, 53003, 53011, 530002, 530003,
	530032, 530034, 530035, 54005, 65001, 65004, 650052, 650056, 650057, 70000, 70001, 70002, 70003, 70005, 70008, 70011, 70016, 70018, 70019, 70020,
	70021, 700211, 700212, 700213, 7002137, 7002138, 70025, 70043, 70044, 700016, 700011, 700022, 700024, 700025, 700027, 700082, 700084, 700222, 700229,
	7000112, 7000113, 7000114, 7000215, 7000218, 7000222, 90002, 90009, 90014, 90019, 90061, 90094, 900023, 900144, 9001023, 9002313, 9002325, 9002326,
	9002327, 901002,
}

// unmet are those of them that nothing here can lead to.
var unmet = map[aadsts.Code]string{
	50132:  "a revoked session is 50173 at the token endpoint, and a new sign-in on the pages",
	50133:  "the same, for a changed password",
	50146:  "there are no signing keys of single applications",
	50158:  "there are no external challenges",
	53011:  "there is no detection of risk",
	530032: "there are no security defaults",
	530034: "there are no delegated administrators",
	530035: "there are no security defaults",
	70001:  "the former name of 700016 and 7000112",
	70002:  "the former name of 7000215 and 7000218",
	70021:  "the former name of 700211, 700212 and 700213",
	700011: "the former name of 700016",
	90019:  "50059 says the same",
}

// TestDocumentedCodes: each documented code is triggered above, is the policy's,
// or has a reason why it cannot be met.
func TestDocumentedCodes(t *testing.T) {
	for _, c := range documented {
		_, policy := conditionalaccess.Code(c).Info()
		ours := slices.Contains(aadsts.Codes(), c)
		if reason := unmet[c]; (ours || policy) == (reason != "") {
			t.Errorf("AADSTS%d: in the table %t, the policy's %t, unmet %q", c, ours, policy, reason)
		}
	}
	for c := range unmet {
		if !slices.Contains(documented, c) {
			t.Errorf("AADSTS%d is unmet and not documented", c)
		}
	}
}

// TestUnavailable is 90033 and 90055: what is ours, and what is too much.
func TestUnavailable(t *testing.T) {
	c := harness.Start(t, harness.WithLimits(tightLimits))
	r := &rig{Cloud: c, t: t}
	app, _ := c.AddApp("Daemon", func(a *directory.Application) {
		a.Credentials.Passwords = []directory.Password{c.Secret("hunter2hunter2")}
	})
	r.secret = app
	for range 3 {
		if f := r.daemon("client_secret", "wrong"); f.code != 7000215 {
			t.Fatalf("%+v", f)
		}
	}
	reply := c.Post(c.TokenPath(), "grant_type", "client_credentials", "client_id", string(app.AppID), "client_secret", "hunter2hunter2", "scope", aksApp+"/.default")
	if reply.Code() != 90055 || reply.Status != 429 || reply.Header.Get("Retry-After") == "" || reply.Text("error") != "temporarily_unavailable" {
		t.Errorf("after too many wrong secrets: %d %v %s", reply.Status, reply.Header, reply.Body)
	}
	c.Clock.Advance(time.Minute)
	if f := r.daemon(); f.code != 0 || f.status != 200 {
		t.Errorf("a minute later: %+v", f)
	}
	// An error of kind Unavailable anywhere is 90033.
	if e := aadsts.From(errs.Wrap(errs.Unavailable, context.DeadlineExceeded, "etcd")); e.Code != 90033 || e.Status != 503 || strings.Contains(e.Error(), "etcd") {
		t.Errorf("From(unavailable) = %+v", e)
	}
}

// TestTexts shows that no text of the table breaks when it is filled.
func TestTexts(t *testing.T) {
	for _, code := range aadsts.Codes() {
		n := strings.Count(aadsts.New(code, "a", "b", "c", "d", "e").Text, "EXTRA")
		for args := range 5 {
			list := slices.Repeat([]any{"x"}, args)
			if code == 50000 {
				break
			}
			text := aadsts.New(code, list...).Text
			if !strings.Contains(text, "%!") {
				n = -1
				break
			}
			_ = fmt.Sprint(text)
		}
		if n != -1 && code != 50000 {
			t.Errorf("AADSTS%d cannot be filled", code)
		}
	}
	e := aadsts.New(50034, "a\r\nX-Evil: 1\x00"+strings.Repeat("é", 500), "t")
	if strings.ContainsAny(e.Text, "\r\n\x00") || len(e.Text) > 600 {
		t.Errorf("what was sent comes back as it was: %q", e.Text)
	}
}
