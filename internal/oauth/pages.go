package oauth

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

func itoa(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// logout ends the browser's session. The browser goes back only to an address
// that the client has registered, which the client must be known for.
func (p *Provider) logout(c *call) error {
	next := c.form.Get("post_logout_redirect_uri")
	if next != "" {
		app := p.logoutClient(c)
		if app == nil || !registered(app, next) {
			next = ""
		}
	}
	if s := c.form.Get("state"); next != "" && s != "" && len(s) <= 4096 {
		sep := "?"
		if strings.Contains(next, "?") {
			sep = "&"
		}
		next += sep + url.Values{"state": {s}}.Encode()
	}
	p.cfg.SignIn.SignOut(c.w, c.r, next)
	return nil
}

func (p *Provider) logoutClient(c *call) *directory.Application {
	id, ok := directory.ParseGUID(c.form.Get("client_id"))
	if hint := c.form.Get("id_token_hint"); hint != "" {
		v := &token.Verifier{Keys: p.cfg.Trust}
		claims, err := v.VerifyIDTokenHint(hint, directory.AppID(id), c.now)
		if err != nil {
			return nil
		}
		id, ok = claims.Audience, true
	}
	if !ok {
		return nil
	}
	app, err := state.FindApplication(c.view, directory.AppID(id))
	if err != nil {
		return nil
	}
	return app
}

func registered(app *directory.Application, uri string) bool {
	_, err := matchRedirect(app, uri)
	return err == nil && uri != ""
}

// userInfo serves the claims of a person to the bearer of an access token for
// Microsoft Graph.
func (p *Provider) userInfo(c *call) error {
	text, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return p.refuseInfo(c, "the access token is missing")
	}
	var claims *token.Claims
	for t := range state.Tenants.All(c.view) {
		sp, err := state.FindServicePrincipal(c.view, t.ID, directory.Graph)
		if err != nil {
			continue
		}
		v := &token.Verifier{Keys: p.cfg.Trust, Graph: true}
		for _, n := range sp.Names {
			v.Audiences = append(v.Audiences, n, strings.TrimSuffix(n, "/"))
		}
		v.Audiences = append(v.Audiences, p.base, p.base+"/")
		claims, err = v.Verify(text, c.now)
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
	secret, err := p.pairwise(c.r.Context(), claims.Tenant)
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
	p.write(c, http.StatusOK, doc)
	return nil
}

func (p *Provider) refuseInfo(c *call, why string) error {
	c.w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+why+`"`)
	p.write(c, http.StatusUnauthorized, map[string]any{"error": map[string]string{"code": "InvalidAuthenticationToken", "message": "Access token validation failure: " + why + "."}})
	return nil
}

// adminConsent lets an administrator consent for the whole tenant to what an
// application's registration lists.
func (p *Provider) adminConsent(c *call) error {
	id, err := c.need("client_id")
	if err != nil {
		return err
	}
	g := c.attempt("adminconsent", conditionalaccess.StepAuthorize)
	g.appType = conditionalaccess.Browser
	if g.cl, err = p.findClient(c, c.tenant, id); err != nil {
		return err
	}
	if g.cl.app == nil {
		return fault(700016, id, c.authority)
	}
	to, err := matchRedirect(g.cl.app, c.form.Get("redirect_uri"))
	if err != nil {
		return err
	}
	a := &authorization{cl: g.cl, redirect: to, state: c.form.Get("state"), mode: "query"}
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
	out := [][2]string{{"admin_consent", "True"}, {"tenant", string(g.tenant.ID)}}
	if a.state != "" {
		out = append(out, [2]string{"state", a.state})
	}
	p.audit(c, g, nil)
	p.send(c, a, out)
	return nil
}

func (p *Provider) consentForAll(c *call, g *grant, a *authorization) (bool, error) {
	if a.back.Denied {
		return false, fault(65004)
	}
	back, err := p.backTo(c, a.back)
	if err != nil {
		return false, err
	}
	consented, denied := a.back, a.back
	consented.Consented, denied.Denied = true, true
	at := &interaction{back: back, target: a.redirect.uri, want: &wanted{openid: true}, noConsent: true}
	if at.cancel, err = p.backTo(c, denied); err != nil {
		return false, err
	}
	g.noAccess = true
	if done, err := p.interact(c, g, at); done || err != nil {
		return done, err
	}
	if !p.mayConsentForAll(c, g.tenant, g.user) {
		return false, fault(90094, g.cl.name)
	}
	if a.back.Consented {
		return false, nil
	}
	ask := p.question(g, at, state.AskConsent)
	if ask.Return, err = p.backTo(c, consented); err != nil {
		return false, err
	}
	ask.ForTenant = true
	if ask.Permissions, err = p.allRequired(c, g); err != nil {
		return false, err
	}
	p.cfg.SignIn.Ask(c.w, c.r, ask)
	return true, nil
}

// allRequired lists everything that the client's registration declares, scopes
// and application permissions, or what the scope parameter of the v2 form names.
func (p *Provider) allRequired(c *call, g *grant) ([]state.Permission, error) {
	var list []state.Permission
	if scope := c.form.Get("scope"); scope != "" && !c.v1 {
		w, err := parseScope(scope, 28000)
		if err != nil {
			return nil, err
		}
		if !w.dotAll {
			r, err := p.resource(c, g.tenant, w)
			if err != nil {
				return nil, err
			}
			for _, v := range w.values {
				s := findScope(r, v)
				if s == nil {
					return nil, fault(650053, g.cl.name, v, string(r.AppID))
				}
				list = append(list, scopePermission(r.ServicePrincipal, s))
			}
			return list, nil
		}
	}
	for _, q := range g.cl.app.Required {
		sp, err := state.FindServicePrincipal(c.view, g.tenant.ID, q.ResourceAppID)
		if errs.Is(err, errs.NotFound) {
			return nil, fault(650052, string(q.ResourceAppID), g.tenant.DisplayName)
		}
		if err != nil {
			return nil, err
		}
		for _, access := range q.Access {
			for i := range sp.Scopes {
				if access.Type == "Scope" && sp.Scopes[i].ID == access.ID && sp.Scopes[i].Enabled {
					list = append(list, scopePermission(sp, &sp.Scopes[i]))
				}
			}
			for _, r := range sp.AppRoles {
				if access.Type == "Role" && r.ID == access.ID && r.Enabled {
					list = append(list, state.Permission{Resource: sp.ID, ResourceName: sp.DisplayName, Value: r.Value, Title: r.DisplayName, About: r.Description, Role: r.ID})
				}
			}
		}
	}
	if len(list) == 0 {
		return nil, fault(650056, g.cl.name, string(g.cl.id))
	}
	return list, nil
}
