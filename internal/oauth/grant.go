package oauth

import (
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// grant is one attempt to get something: filled in as the request is
// understood, judged by permit, and logged in any case.
type grant struct {
	name   string // for the log
	step   conditionalaccess.Step
	tenant *directory.Tenant
	cl     *client
	target *target
	want   *wanted

	// Exactly one of these is set when it comes to judging.
	user *directory.User
	app  *directory.ServicePrincipal

	who      signedIn // of a user
	userName string   // as typed, until the user is known
	scopes   []string
	appType  conditionalaccess.ClientAppType
	claims   conditionalaccess.ClaimsRequest
	cnf      *token.Confirmation

	noAccess bool                      // an authorization request for an ID token alone
	device   *conditionalaccess.Device // proven, for the log
	outcome  conditionalaccess.Outcome
	tokenID  string
	logged   bool
}

// attempt begins a grant, so that what goes wrong from here on is logged.
func (c *call) attempt(name string, step conditionalaccess.Step) *grant {
	c.g = &grant{name: name, step: step, tenant: c.tenant}
	return c.g
}

// permit decides whether the grant may go on: the account, the assignment to
// the application, then policy. It is called at every place that issues a code
// or a token, and nowhere else is policy asked.
func (p *Provider) permit(c *call, g *grant) error {
	if g.user != nil {
		if !g.user.Enabled {
			return fault(50057)
		}
		if err := p.checkAssigned(c, g); err != nil {
			return err
		}
	}
	f := p.facts(c, g)
	var err error
	if f.Device, err = p.device(c, g); err != nil {
		return fault(50097).WithCause(err)
	}
	g.device, g.appType = f.Device, f.ClientAppType
	g.outcome = p.cfg.Policy.Evaluate(c.r.Context(), f)
	if g.outcome.Decision == conditionalaccess.Granted {
		return nil
	}
	r := g.outcome.Refusal
	if r == nil {
		return fault(53003) // a decision without a reason is a refusal all the same
	}
	e := &aadsts.Error{Code: aadsts.Code(r.Code), OAuth: r.Error, Suberror: r.Suberror, Status: r.Status, Text: r.Description, Claims: r.Claims}
	if e.Status == 0 {
		e.Status = 400
	}
	return e
}

// checkAssigned refuses users whom nobody has assigned to an application that
// wants that: the client, and the resource.
func (p *Provider) checkAssigned(c *call, g *grant) error {
	check := func(sp *directory.ServicePrincipal) error {
		if sp == nil || !sp.AssignmentRequired {
			return nil
		}
		if _, ok := state.AppRoles(c.view, g.tenant.ID, g.user.ID, sp, c.now); !ok {
			return fault(50105, string(sp.AppID), sp.DisplayName, g.user.UserPrincipalName)
		}
		return nil
	}
	if err := check(g.cl.sp); err != nil {
		return err
	}
	if g.target == nil {
		return nil
	}
	return check(g.target.ServicePrincipal)
}

// device returns the device that a person's request has proven, or that was
// proven when the grant began. A sign-in by device code has none, whatever the
// browser on the other side proved.
func (p *Provider) device(c *call, g *grant) (*conditionalaccess.Device, error) {
	if p.cfg.Devices == nil || g.user == nil || g.who.Flow == conditionalaccess.DeviceCodeFlow {
		return nil, nil
	}
	if g.who.Device != "" && !g.step.Interactive() {
		return p.cfg.Devices.Bound(g.tenant.ID, g.who.Device)
	}
	if !c.asked {
		d, err := p.cfg.Devices.DeviceOf(c.r.Context(), c.r, g.tenant.ID)
		if err != nil {
			return nil, err
		}
		c.device, c.asked = d, true
	}
	if c.device != nil {
		g.who.Device = c.device.ID
	}
	return c.device, nil
}

// facts gathers what policy decides from.
func (p *Provider) facts(c *call, g *grant) *conditionalaccess.Facts {
	f := &conditionalaccess.Facts{
		Tenant: g.tenant.ID, ClientApp: g.cl.id, Step: g.step, V1: c.v1,
		ClientAppType: g.appType, Platform: platform(c.r.UserAgent()), Address: c.addr,
		AuthContexts: g.claims.AuthContexts, Policies: g.claims.Policies,
	}
	if f.ClientAppType == "" {
		f.ClientAppType = conditionalaccess.MobileAndDesktop
	}
	if g.target != nil {
		f.Resources, f.ResourceName = []directory.AppID{g.target.AppID}, g.target.DisplayName
	} else {
		f.Resources, f.ResourceName = []directory.AppID{g.cl.id}, g.cl.name
	}
	if g.app != nil {
		f.Workload = &conditionalaccess.Workload{
			ID: g.app.ID, AppID: g.app.AppID, ManagedIdentity: g.app.Type == "ManagedIdentity",
			Foreign: g.app.AppOwnerTenant != "" && g.app.AppOwnerTenant != g.tenant.ID,
		}
		return f
	}
	u := &conditionalaccess.User{
		ID: g.user.ID, Groups: state.Memberships(c.view, g.tenant.ID, g.user.ID, c.now),
		MFARegistered: state.HasFactor(c.view, g.tenant.ID, g.user.ID),
	}
	for _, r := range state.Roles(c.view, g.tenant.ID, g.user.ID, c.now) {
		u.Roles = append(u.Roles, directory.ObjectID(r))
	}
	if g.user.Guest {
		u.Guest = conditionalaccess.B2BCollaborationGuest
	}
	f.User, f.Flow, f.Methods, f.AuthTime = u, g.who.Flow, g.who.Methods, g.who.Time
	return f
}

// platform is what the user agent claims to run on.
func platform(agent string) conditionalaccess.Platform {
	for _, m := range []struct {
		text string
		is   conditionalaccess.Platform
	}{
		{"Windows Phone", conditionalaccess.WindowsPhone}, {"Android", conditionalaccess.Android},
		{"iPhone", conditionalaccess.IOS}, {"iPad", conditionalaccess.IOS},
		{"Windows", conditionalaccess.Windows}, {"Macintosh", conditionalaccess.MacOS}, {"Darwin", conditionalaccess.MacOS},
		{"darwin", conditionalaccess.MacOS}, {"windows", conditionalaccess.Windows},
		{"Linux", conditionalaccess.Linux}, {"linux", conditionalaccess.Linux},
	} {
		if strings.Contains(agent, m.text) {
			return m.is
		}
	}
	return conditionalaccess.PlatformUnknown
}

// audit writes the sign-in log's entry for the grant, once.
func (p *Provider) audit(c *call, g *grant, err error) {
	if g == nil || g.logged {
		return
	}
	e := &SignInEvent{
		ID: c.trace, Correlation: c.correlation, Time: c.now, Address: c.addr, UserAgent: c.r.UserAgent(),
		Grant: g.name, V1: c.v1, Interactive: g.step.Interactive(), UserName: g.userName, TokenID: g.tokenID,
		Flow: g.who.Flow, Methods: g.who.Methods, Policies: g.outcome.Policies, Status: g.outcome.Status(),
		ClientAppType: g.appType, Device: g.device,
	}
	if g.tenant != nil {
		e.Tenant = g.tenant.ID
	}
	if g.cl != nil {
		e.Client, e.ClientName, e.ClientAuth = g.cl.id, g.cl.name, g.cl.authName()
	}
	if g.user != nil {
		e.User, e.UserName = g.user.ID, g.user.UserPrincipalName
	}
	if g.app != nil {
		e.ServicePrincipal = g.app.ID
	}
	if g.target != nil {
		e.Resource, e.ResourceName = g.target.AppID, g.target.DisplayName
	}
	if err != nil {
		x := aadsts.From(err)
		if x.Code == 70016 {
			return // a device that waits is no attempt yet
		}
		e.Code, e.Reason = int(x.Code), x.Text
	}
	g.logged = true
	p.cfg.Audit.SignIn(c.r.Context(), e)
}

// freshUser reads the user from etcd itself: what another replica has just
// disabled or revoked is refused here at once.
func (p *Provider) freshUser(c *call, tenant directory.TenantID, id directory.ObjectID) (*directory.User, error) {
	u, err := state.Users.GetFresh(c.r.Context(), p.store, state.Key(tenant, id))
	if errs.Is(err, errs.NotFound) {
		return nil, fault(50034, string(id), string(tenant))
	}
	return u, err
}

// checkSession refuses a grant from before the user's sessions were revoked.
// Revocation is exact to the second at which the grant began.
func checkSession(u *directory.User, since time.Time) error {
	if !u.Enabled {
		return fault(50057)
	}
	if since.Before(u.SessionsValidFrom) {
		return fault(50173, since.UTC().Format(time.RFC3339), u.SessionsValidFrom.UTC().Format(time.RFC3339))
	}
	return nil
}

// amr says in Entra's words what was really checked.
func amr(methods []conditionalaccess.Authentication) []string {
	var list []string
	add := func(s string) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	for _, m := range methods {
		switch m.Method {
		case conditionalaccess.Password:
			add("pwd")
		case conditionalaccess.FIDO2, conditionalaccess.WindowsHelloForBusiness, conditionalaccess.X509SingleFactor, conditionalaccess.X509MultiFactor:
			add("rsa")
		case conditionalaccess.FederatedSingleFactor, conditionalaccess.FederatedMultiFactor:
			add("fed")
		}
	}
	if conditionalaccess.MFADone(methods) {
		add("mfa")
	}
	return list
}
