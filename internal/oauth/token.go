package oauth

import (
	"strings"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/state"
)

// Grant types, with both spellings of the device code.
const (
	grantCode        = "authorization_code"
	grantRefresh     = "refresh_token"
	grantPassword    = "password"
	grantCredentials = "client_credentials"
	grantDevice      = "urn:ietf:params:oauth:grant-type:device_code"
	grantDeviceShort = "device_code"
	grantBehalf      = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// token serves the token endpoint: one function for each grant.
func (p *Provider) token(c *call) error {
	kind, err := c.need("grant_type")
	if err != nil {
		return err
	}
	// A page of another site may only redeem what was given to such a page.
	if origin := c.r.Header.Get("Origin"); origin != "" && kind != grantCode && kind != grantRefresh {
		return fault(9002326, origin)
	}
	switch kind {
	case grantCode:
		return p.redeemCode(c)
	case grantRefresh:
		return p.refresh(c)
	case grantPassword:
		return p.password(c)
	case grantCredentials:
		return p.clientCredentials(c)
	case grantDevice, grantDeviceShort:
		return p.redeemDevice(c)
	case grantBehalf:
		return p.onBehalfOf(c)
	}
	return fault(70003, kind)
}

// setUser puts the person of a sign-in into the grant: read from etcd, not from
// the view, and refused if revoked since.
func (p *Provider) setUser(c *call, g *grant, who signedIn) error {
	tenant, err := state.Tenants.Get(c.view, string(who.Tenant))
	if errs.Is(err, errs.NotFound) {
		return fault(90002, string(who.Tenant))
	}
	if err != nil {
		return err
	}
	// A person's grant is good in the tenant of the account alone.
	if c.tenant != nil && c.tenant.ID != tenant.ID {
		u, _ := p.freshUser(c, who.Tenant, who.User)
		name := string(who.User)
		if u != nil {
			name = u.UserPrincipalName
		}
		return fault(50020, name, p.cfg.Names.Name("1.0", tenant.ID), c.tenant.DisplayName, string(g.cl.id))
	}
	g.tenant, g.who = tenant, who
	if g.user, err = p.freshUser(c, who.Tenant, who.User); err != nil {
		return err
	}
	if g.cl != nil && g.cl.sp == nil {
		if err := p.placeClient(c, tenant, g.cl); err != nil {
			return err
		}
	}
	return checkSession(g.user, who.Time)
}

// setTarget finds the resource and decides which scopes the token gets. What
// has not been consented to is refused here: at the token endpoint there is
// nobody to ask.
func (p *Provider) setTarget(c *call, g *grant, w *wanted) error {
	g.want = w
	t, err := p.resource(c, g.tenant, w)
	if err != nil {
		return err
	}
	g.target = t
	if g.user == nil {
		return p.notItself(g)
	}
	if err := p.notItself(g); err != nil {
		return err
	}
	granted, missing, err := p.decideScopes(c, g.cl, t, w, g.user.ID)
	if err != nil {
		return err
	}
	if len(missing) > 0 || len(granted) == 0 {
		return fault(65001, string(g.cl.id), g.cl.name)
	}
	g.scopes = granted
	return nil
}

// notItself refuses a client that asks for a token for itself by URI: such a
// token would read as one for somebody else's resource.
func (p *Provider) notItself(g *grant) error {
	if g.target.AppID != g.cl.id {
		return nil
	}
	if id, ok := directory.ParseGUID(strings.TrimPrefix(g.target.audience, "spn:")); ok && directory.AppID(id) == g.cl.id {
		return nil
	}
	return fault(90009, g.cl.name, string(g.cl.id))
}

// clientCredentials serves an application that acts for itself.
func (p *Provider) clientCredentials(c *call) error {
	g := c.attempt(grantCredentials, conditionalaccess.StepClientCredentials)
	g.appType = conditionalaccess.OtherClients
	a, err := c.presented()
	if err != nil {
		return err
	}
	tenant, err := p.clientTenant(c, a.id)
	if err != nil {
		return err
	}
	g.tenant = tenant
	if g.cl, err = p.authenticate(c, tenant, a, false); err != nil {
		return err
	}
	if g.cl.federated {
		g.step = conditionalaccess.StepFederated
	}
	if g.app = g.cl.sp; g.app == nil {
		return fault(700016, string(g.cl.id), tenant.DisplayName)
	}
	var w *wanted
	if c.v1 {
		if w, err = c.ask(700022); err != nil {
			return err
		}
		if w.name == "" {
			return fault(900144, "resource")
		}
	} else {
		scope, err := c.need("scope")
		if err != nil {
			return err
		}
		if w, err = c.ask(700022); err != nil {
			return err
		}
		if !w.dotAll || w.name == "" {
			return fault(1002012, scope)
		}
	}
	if g.claims, err = c.readClaims(c.form.Get("claims")); err != nil {
		return err
	}
	if g.cnf, err = c.confirmation(); err != nil {
		return err
	}
	if err := p.setTarget(c, g, w); err != nil {
		return err
	}
	if g.target.AssignmentRequired {
		if _, ok := state.AppRoles(c.view, tenant.ID, g.app.ID, g.target.ServicePrincipal, c.now); !ok {
			return fault(50105, string(g.target.AppID), g.target.DisplayName, string(g.app.ID))
		}
	}
	if err := p.spend(c.r.Context(), g.cl, string(tenant.ID)+" "+string(g.target.AppID)+" "+g.target.audience); err != nil {
		return err
	}
	return p.respond(c, g, "", nil)
}

// clientTenant is the tenant in which an application acts. The authority form
// of AD FS has no tenant in its paths: there it is the application's own.
func (p *Provider) clientTenant(c *call, id string) (*directory.Tenant, error) {
	if c.tenant != nil {
		return c.tenant, nil
	}
	if c.authority == adfs {
		if guid, ok := directory.ParseGUID(id); ok {
			if app, err := state.FindApplication(c.view, directory.AppID(guid)); err == nil {
				return state.Tenants.Get(c.view, string(app.Tenant))
			}
			// A managed identity, or a service principal with keys of its own.
			for t := range state.Tenants.All(c.view) {
				if _, err := state.FindServicePrincipal(c.view, t.ID, directory.AppID(guid)); err == nil {
					return t, nil
				}
			}
		}
		return nil, fault(700016, id, c.authority)
	}
	return nil, fault(50059)
}

// password serves the resource owner password grant, where a tenant has
// switched it on.
func (p *Provider) password(c *call) error {
	g := c.attempt(grantPassword, conditionalaccess.StepPassword)
	if c.authority == common || c.authority == consumers {
		return fault(9001023)
	}
	a, err := c.presented()
	if err != nil {
		return err
	}
	name, err := c.need("username")
	if err != nil {
		return err
	}
	if g.userName = name; len(name) > 256 {
		return fault(50126)
	}
	pass, err := c.need("password")
	if err != nil {
		return err
	}
	tenant := c.tenant
	if tenant == nil {
		if tenant, err = state.TenantOfUser(c.view, name); errs.Is(err, errs.NotFound) {
			return fault(50059)
		} else if err != nil {
			return err
		}
	}
	g.tenant = tenant
	if g.cl, err = p.authenticate(c, tenant, a, true); err != nil {
		return err
	}
	if !tenant.PasswordGrant {
		return fault(70003, grantPassword)
	}
	p.log.Warn("password grant used: it shows the client the password and knows no second factor", "tenant", tenant.ID, "client", g.cl.id)
	w, err := p.needScope(c, 28000)
	if err != nil {
		return err
	}
	if g.claims, err = c.readClaims(c.form.Get("claims")); err != nil {
		return err
	}
	if g.cnf, err = c.confirmation(); err != nil {
		return err
	}
	user, err := p.checkPassword(c, tenant, name, pass)
	if err != nil {
		return err
	}
	who := signedIn{
		Tenant: tenant.ID, User: user.ID, Time: c.now, Grant: random(16), Session: directory.NewGUID(),
		Methods: []conditionalaccess.Authentication{{Method: conditionalaccess.Password, At: c.now}},
	}
	if err := p.setUser(c, g, who); err != nil {
		return err
	}
	if err := p.setTarget(c, g, w); err != nil {
		return err
	}
	if err := p.spend(c.r.Context(), g.cl, name+" "+g.target.audience); err != nil {
		return err
	}
	return p.respond(c, g, "", &refreshTicket{Client: g.cl.id, Who: g.who, Issued: c.now})
}

// checkPassword finds the user and checks the password, in this order of
// refusals: locked, wrong, disabled, to be changed. Only who knows the password
// learns that the account is disabled.
func (p *Provider) checkPassword(c *call, tenant *directory.Tenant, name, pass string) (*directory.User, error) {
	user, err := state.FindUser(c.view, tenant.ID, name)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return nil, err
	}
	if user != nil && !strings.EqualFold(user.UserPrincipalName, name) {
		user = nil // an object id is not a user name
	}
	err = p.cfg.Accounts.CheckPassword(c.r.Context(), tenant.ID, name, user, pass, c.addr)
	switch {
	case errs.Is(err, errs.Throttled):
		return nil, fault(50053).WithCause(err)
	case errs.Is(err, errs.Unauthenticated) && user == nil:
		return nil, fault(50034, name, tenant.DisplayName)
	case errs.Is(err, errs.Unauthenticated) && user.PasswordHash == "":
		return nil, fault(50056)
	case errs.Is(err, errs.Unauthenticated):
		return nil, fault(50126)
	case err != nil:
		return nil, err
	case !user.Enabled:
		return nil, fault(50057)
	case user.MustChangePassword:
		return nil, fault(50055)
	}
	return user, nil
}

// needScope reads what a grant of a person asks for; v2 must say something.
func (p *Provider) needScope(c *call, mixed aadsts.Code) (*wanted, error) {
	if !c.v1 {
		if _, err := c.need("scope"); err != nil {
			return nil, err
		}
	}
	return c.ask(mixed)
}
