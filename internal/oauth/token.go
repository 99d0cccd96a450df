package oauth

import (
	"strings"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/scope"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/oauth/wire"
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
	kind, err := c.Need("grant_type")
	if err != nil {
		return err
	}
	// A page of another site may only redeem what was given to such a page.
	if origin := c.R.Header.Get("Origin"); origin != "" && kind != grantCode && kind != grantRefresh {
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
func (p *Provider) setUser(c *call, g *grant.Grant, who ticket.SignIn) error {
	tenant, err := state.Tenants.Get(c.View, string(who.Tenant))
	if errs.Is(err, errs.NotFound) {
		return fault(90002, string(who.Tenant))
	}
	if err != nil {
		return err
	}
	// A person's grant is good in the tenant of the account alone.
	if c.Tenant != nil && c.Tenant.ID != tenant.ID {
		u, _ := p.freshUser(c, who.Tenant, who.User)
		name := string(who.User)
		if u != nil {
			name = u.UserPrincipalName
		}
		return fault(50020, name, p.cfg.Names.Name("1.0", tenant.ID), c.Tenant.DisplayName, string(g.Client.ID))
	}
	g.Tenant, g.Who = tenant, who
	if g.User, err = p.freshUser(c, who.Tenant, who.User); err != nil {
		return err
	}
	if g.Client != nil && g.Client.SP == nil {
		if err := p.clients.Place(c.Call, tenant, g.Client); err != nil {
			return err
		}
	}
	return checkSession(g.User, who.Time)
}

// setTarget finds the resource and decides which scopes the token gets. What
// has not been consented to is refused here: at the token endpoint there is
// nobody to ask.
func (p *Provider) setTarget(c *call, g *grant.Grant, w *scope.Wanted) error {
	g.Want = w
	t, err := p.cfg.Aliases.Resource(c.Call, g.Tenant, w)
	if err != nil {
		return err
	}
	g.Target = t
	if g.User == nil {
		return p.notItself(g)
	}
	if err := p.notItself(g); err != nil {
		return err
	}
	granted, missing, err := scope.Decide(c.Call, g.Client, t, w, g.User.ID)
	if err != nil {
		return err
	}
	if len(missing) > 0 || len(granted) == 0 {
		return fault(65001, string(g.Client.ID), g.Client.Name)
	}
	g.Scopes = granted
	return nil
}

// notItself refuses a client that asks for a token for itself by URI: such a
// token would read as one for somebody else's resource.
func (p *Provider) notItself(g *grant.Grant) error {
	if g.Target.AppID != g.Client.ID {
		return nil
	}
	if id, ok := directory.ParseGUID(strings.TrimPrefix(g.Target.Audience, "spn:")); ok && directory.AppID(id) == g.Client.ID {
		return nil
	}
	return fault(90009, g.Client.Name, string(g.Client.ID))
}

// clientCredentials serves an application that acts for itself.
func (p *Provider) clientCredentials(c *call) error {
	g := c.attempt(grantCredentials, conditionalaccess.StepClientCredentials)
	g.AppType = conditionalaccess.OtherClients
	a, err := clientauth.Read(c.Call)
	if err != nil {
		return err
	}
	tenant, err := p.clientTenant(c, a.ID)
	if err != nil {
		return err
	}
	g.Tenant = tenant
	if g.Client, err = p.clients.Authenticate(c.Call, tenant, a, false); err != nil {
		return err
	}
	if g.Client.Federated {
		g.Step = conditionalaccess.StepFederated
	}
	if g.App = g.Client.SP; g.App == nil {
		return fault(700016, string(g.Client.ID), tenant.DisplayName)
	}
	var w *scope.Wanted
	if c.V1 {
		if w, err = scope.Ask(c.Call, 700022); err != nil {
			return err
		}
		if w.Name == "" {
			return fault(900144, "resource")
		}
	} else {
		asked, err := c.Need("scope")
		if err != nil {
			return err
		}
		if w, err = scope.Ask(c.Call, 700022); err != nil {
			return err
		}
		if !w.All || w.Name == "" {
			return fault(1002012, asked)
		}
	}
	if g.Claims, err = grant.ReadClaims(c.Form.Get("claims")); err != nil {
		return err
	}
	if g.Cnf, err = grant.ReadConfirmation(c.Call); err != nil {
		return err
	}
	if err := p.setTarget(c, g, w); err != nil {
		return err
	}
	if g.Target.AssignmentRequired {
		if _, ok := state.AppRoles(c.View, tenant.ID, g.App.ID, g.Target.ServicePrincipal, c.Now); !ok {
			return fault(50105, string(g.Target.AppID), g.Target.DisplayName, string(g.App.ID))
		}
	}
	if err := p.clients.Spend(c.R.Context(), g.Client, string(tenant.ID)+" "+string(g.Target.AppID)+" "+g.Target.Audience); err != nil {
		return err
	}
	return p.respond(c, g, "", nil)
}

// clientTenant is the tenant in which an application acts. The authority form
// of AD FS has no tenant in its paths: there it is the application's own.
func (p *Provider) clientTenant(c *call, id string) (*directory.Tenant, error) {
	if c.Tenant != nil {
		return c.Tenant, nil
	}
	if c.Authority == wire.ADFS {
		if guid, ok := directory.ParseGUID(id); ok {
			if app, err := state.FindApplication(c.View, directory.AppID(guid)); err == nil {
				return state.Tenants.Get(c.View, string(app.Tenant))
			}
			// A managed identity, or a service principal with keys of its own.
			for t := range state.Tenants.All(c.View) {
				if _, err := state.FindServicePrincipal(c.View, t.ID, directory.AppID(guid)); err == nil {
					return t, nil
				}
			}
		}
		return nil, fault(700016, id, c.Authority)
	}
	return nil, fault(50059)
}

// password serves the resource owner password grant, where a tenant has
// switched it on.
func (p *Provider) password(c *call) error {
	g := c.attempt(grantPassword, conditionalaccess.StepPassword)
	if c.Authority == wire.Common || c.Authority == wire.Consumers {
		return fault(9001023)
	}
	a, err := clientauth.Read(c.Call)
	if err != nil {
		return err
	}
	name, err := c.Need("username")
	if err != nil {
		return err
	}
	if g.UserName = name; len(name) > 256 {
		return fault(50126)
	}
	pass, err := c.Need("password")
	if err != nil {
		return err
	}
	tenant := c.Tenant
	if tenant == nil {
		if tenant, err = state.TenantOfUser(c.View, name); errs.Is(err, errs.NotFound) {
			return fault(50059)
		} else if err != nil {
			return err
		}
	}
	g.Tenant = tenant
	if g.Client, err = p.clients.Authenticate(c.Call, tenant, a, true); err != nil {
		return err
	}
	if !tenant.PasswordGrant {
		return fault(70003, grantPassword)
	}
	p.log.Warn("password grant used: it shows the client the password and knows no second factor", "tenant", tenant.ID, "client", g.Client.ID)
	w, err := p.needScope(c, 28000)
	if err != nil {
		return err
	}
	if g.Claims, err = grant.ReadClaims(c.Form.Get("claims")); err != nil {
		return err
	}
	if g.Cnf, err = grant.ReadConfirmation(c.Call); err != nil {
		return err
	}
	user, err := p.checkPassword(c, tenant, name, pass)
	if err != nil {
		return err
	}
	who := ticket.SignIn{
		Tenant: tenant.ID, User: user.ID, Time: c.Now, Grant: ticket.Random(16), Session: directory.NewGUID(),
		Methods: []conditionalaccess.Authentication{{Method: conditionalaccess.Password, At: c.Now}},
	}
	if err := p.setUser(c, g, who); err != nil {
		return err
	}
	if err := p.setTarget(c, g, w); err != nil {
		return err
	}
	if err := p.clients.Spend(c.R.Context(), g.Client, name+" "+g.Target.Audience); err != nil {
		return err
	}
	return p.respond(c, g, "", &ticket.Refresh{Client: g.Client.ID, Who: g.Who, Issued: c.Now})
}

// checkPassword finds the user and checks the password, in this order of
// refusals: locked, wrong, disabled, to be changed. Only who knows the password
// learns that the account is disabled.
func (p *Provider) checkPassword(c *call, tenant *directory.Tenant, name, pass string) (*directory.User, error) {
	user, err := state.FindUser(c.View, tenant.ID, name)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return nil, err
	}
	if user != nil && !strings.EqualFold(user.UserPrincipalName, name) {
		user = nil // an object id is not a user name
	}
	err = p.cfg.Accounts.CheckPassword(c.R.Context(), tenant.ID, name, user, pass, c.Addr)
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
func (p *Provider) needScope(c *call, mixed aadsts.Code) (*scope.Wanted, error) {
	if !c.V1 {
		if _, err := c.Need("scope"); err != nil {
			return nil, err
		}
	}
	return scope.Ask(c.Call, mixed)
}
