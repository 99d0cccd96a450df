package oauth

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/redirect"
	"github.com/entrance-id/entrance/internal/oauth/scope"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

func itoa(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// logout ends the browser's session. The browser goes back only to an address
// that the client has registered, which the client must be known for.
func (p *Provider) logout(c *call) error {
	next := c.Form.Get("post_logout_redirect_uri")
	if next != "" {
		app := p.logoutClient(c)
		if app == nil || !registered(app, next) {
			next = ""
		}
	}
	if s := c.Form.Get("state"); next != "" && s != "" && len(s) <= 4096 {
		sep := "?"
		if strings.Contains(next, "?") {
			sep = "&"
		}
		next += sep + url.Values{"state": {s}}.Encode()
	}
	p.cfg.SignIn.SignOut(c.W, c.R, next)
	return nil
}

func (p *Provider) logoutClient(c *call) *directory.Application {
	id, ok := directory.ParseGUID(c.Form.Get("client_id"))
	if hint := c.Form.Get("id_token_hint"); hint != "" {
		v := &token.Verifier{Keys: p.cfg.Trust}
		claims, err := v.VerifyIDTokenHint(hint, directory.AppID(id), c.Now)
		if err != nil {
			return nil
		}
		id, ok = claims.Audience, true
	}
	if !ok {
		return nil
	}
	app, err := state.FindApplication(c.View, directory.AppID(id))
	if err != nil {
		return nil
	}
	return app
}

func registered(app *directory.Application, uri string) bool {
	_, err := redirect.Match(app, uri)
	return err == nil && uri != ""
}

// userInfo serves the claims of a person to the bearer of an access token for
// Microsoft Graph.
func (p *Provider) userInfo(c *call) error {
	text, ok := strings.CutPrefix(c.R.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return p.refuseInfo(c, "the access token is missing")
	}
	var claims *token.Claims
	for t := range state.Tenants.All(c.View) {
		sp, err := state.FindServicePrincipal(c.View, t.ID, directory.Graph)
		if err != nil {
			continue
		}
		v := &token.Verifier{Keys: p.cfg.Trust, Graph: true}
		for _, n := range sp.Names {
			v.Audiences = append(v.Audiences, n, strings.TrimSuffix(n, "/"))
		}
		v.Audiences = append(v.Audiences, p.base, p.base+"/")
		claims, err = v.Verify(text, c.Now)
		if err != nil {
			return p.refuseInfo(c, "the access token is not valid")
		}
		break // the names of Graph are the same in every tenant
	}
	if claims == nil || claims.Scope == "" {
		return p.refuseInfo(c, "the access token is not a person's")
	}
	u, err := p.freshUser(c, claims.Tenant, claims.Object)
	if err != nil || !u.Enabled || time.Unix(claims.IssuedAt, 0).Add(token.Slack).Before(u.AccessRevoked) {
		return p.refuseInfo(c, "the person's access has ended")
	}
	secret, err := p.tickets.Pairwise(c.R.Context(), claims.Tenant)
	if err != nil {
		return err
	}
	client := claims.AppID
	if client == "" {
		client = claims.AZP
	}
	doc := map[string]any{"sub": token.PairwiseSubject(secret, u.ID, client), "name": u.DisplayName}
	for k, v := range map[string]string{"family_name": u.Surname, "given_name": u.GivenName, "email": u.Mail} {
		if v != "" {
			doc[k] = v
		}
	}
	doc["picture"] = "https://graph.microsoft.com/v1.0/me/photo/$value"
	c.Write(p.log, http.StatusOK, doc)
	return nil
}

func (p *Provider) refuseInfo(c *call, why string) error {
	c.W.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+why+`"`)
	c.Write(p.log, http.StatusUnauthorized, map[string]any{"error": map[string]string{"code": "InvalidAuthenticationToken", "message": "Access token validation failure: " + why + "."}})
	return nil
}

// adminConsent lets an administrator consent for the whole tenant to what an
// application's registration lists.
func (p *Provider) adminConsent(c *call) error {
	id, err := c.Need("client_id")
	if err != nil {
		return err
	}
	g := c.attempt("adminconsent", conditionalaccess.StepAuthorize)
	g.AppType = conditionalaccess.Browser
	if g.Client, err = p.clients.Find(c.Call, c.Tenant, id); err != nil {
		return err
	}
	if g.Client.App == nil {
		return fault(700016, id, c.Authority)
	}
	to, err := redirect.Match(g.Client.App, c.Form.Get("redirect_uri"))
	if err != nil {
		return err
	}
	a := &authorization{cl: g.Client, redirect: to, state: c.Form.Get("state"), mode: "query"}
	if len(a.state) > 4096 {
		return p.answerError(c, a, fault(9002313, "the state is too long"))
	}
	if err := p.readBack(c, a); err != nil {
		return err
	}
	done, err := p.consentForAll(c, g, a)
	if err != nil {
		return p.answerError(c, a, err)
	}
	if done {
		return nil
	}
	out := [][2]string{{"admin_consent", "True"}, {"tenant", string(g.Tenant.ID)}}
	if a.state != "" {
		out = append(out, [2]string{"state", a.state})
	}
	p.audit(c, g, nil)
	p.send(c, a, out)
	return nil
}

func (p *Provider) consentForAll(c *call, g *grant.Grant, a *authorization) (bool, error) {
	if a.back.Denied {
		return false, fault(65004)
	}
	if r := a.back.Refused; r != nil {
		return false, r.err()
	}
	back, err := p.backTo(c, a.back)
	if err != nil {
		return false, err
	}
	consented, denied := a.back, a.back
	consented.Consented, denied.Denied = true, true
	at := &interaction{back: back, target: a.redirect.URI, want: &scope.Wanted{OpenID: true}, noConsent: true}
	if at.cancel, err = p.backTo(c, denied); err != nil {
		return false, err
	}
	g.NoAccess = true
	if done, err := p.interact(c, g, at); done || err != nil {
		return done, err
	}
	if !p.mayConsentForAll(c, g.Tenant, g.User) {
		return false, fault(90094, g.Client.Name)
	}
	if a.back.Consented {
		return false, nil
	}
	ask := p.question(g, at, state.AskConsent)
	if ask.Return, err = p.backTo(c, consented); err != nil {
		return false, err
	}
	ask.ForTenant = true
	if ask.Permissions, err = p.cfg.Aliases.Registered(c.Call, g.Tenant, g.Client); err != nil {
		return false, err
	}
	p.cfg.SignIn.Ask(c.W, c.R, ask)
	return true, nil
}
