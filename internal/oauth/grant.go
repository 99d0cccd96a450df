package oauth

import (
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/state"
)

// permit decides whether the grant may go on: the account, the assignment to
// the application, then policy. It is called at every place that issues a code
// or a token, and nowhere else is policy asked.
func (p *Provider) permit(c *call, g *grant.Grant) error {
	if g.User != nil {
		if !g.User.Enabled {
			return fault(50057)
		}
		if err := p.checkAssigned(c, g); err != nil {
			return err
		}
	}
	f := g.Facts(c.Call)
	var err error
	if f.Device, err = p.device(c, g); err != nil {
		return fault(50097).WithCause(err)
	}
	g.Device, g.AppType = f.Device, f.ClientAppType
	g.Outcome = p.cfg.Policy.Evaluate(c.R.Context(), f)
	if g.Outcome.Decision == conditionalaccess.Granted {
		return nil
	}
	r := g.Outcome.Refusal
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
func (p *Provider) checkAssigned(c *call, g *grant.Grant) error {
	check := func(sp *directory.ServicePrincipal) error {
		if sp == nil || !sp.AssignmentRequired {
			return nil
		}
		if _, ok := state.AppRoles(c.View, g.Tenant.ID, g.User.ID, sp, c.Now); !ok {
			return fault(50105, string(sp.AppID), sp.DisplayName, g.User.UserPrincipalName)
		}
		return nil
	}
	if err := check(g.Client.SP); err != nil {
		return err
	}
	if g.Target == nil {
		return nil
	}
	return check(g.Target.ServicePrincipal)
}

// device returns the device that a person's request has proven, or that was
// proven when the grant began. A sign-in by device code has none, whatever the
// browser on the other side proved.
func (p *Provider) device(c *call, g *grant.Grant) (*conditionalaccess.Device, error) {
	if p.cfg.Devices == nil || g.User == nil || g.Who.Flow == conditionalaccess.DeviceCodeFlow {
		return nil, nil
	}
	if g.Who.Device != "" && !g.Step.Interactive() {
		return p.cfg.Devices.Bound(g.Tenant.ID, g.Who.Device)
	}
	if !c.asked {
		d, err := p.cfg.Devices.DeviceOf(c.R.Context(), c.R, g.Tenant.ID)
		if err != nil {
			return nil, err
		}
		c.device, c.asked = d, true
	}
	if c.device != nil {
		g.Who.Device = c.device.ID
	}
	return c.device, nil
}

// freshUser reads the user from etcd itself: what another replica has just
// disabled or revoked is refused here at once.
func (p *Provider) freshUser(c *call, tenant directory.TenantID, id directory.ObjectID) (*directory.User, error) {
	u, err := state.Users.GetFresh(c.R.Context(), p.store, state.Key(tenant, id))
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
