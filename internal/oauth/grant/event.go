package grant

import (
	"net/netip"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/wire"
)

// Event is one attempt to get a token or a code.
type Event struct {
	ID          string // trace id
	Correlation string
	Time        time.Time
	Tenant      directory.TenantID

	User             directory.ObjectID // empty for an application
	UserName         string             // as it is, or as it was typed if it does not exist
	ServicePrincipal directory.ObjectID // for an application
	Client           directory.AppID
	ClientName       string
	Resource         directory.AppID
	ResourceName     string

	Address     netip.Addr
	UserAgent   string
	Grant       string // grant type, or "authorize"
	V1          bool
	Interactive bool
	ClientAuth  string // none, secret, certificate, federated
	TokenID     string // uti of the access token
	Flow        conditionalaccess.AuthFlow
	Methods     []conditionalaccess.Authentication

	ClientAppType conditionalaccess.ClientAppType
	// Device is the one whose key was proven; nil: none.
	Device *conditionalaccess.Device

	Code   int    // AADSTS; 0 is success
	Reason string // its text
	// Policies is how each Conditional Access policy came out.
	Policies []conditionalaccess.PolicyResult
	Status   string // conditionalAccessStatus
}

// Event returns the sign-in log's entry for the grant. No refusal is success.
func (g *Grant) Event(c *wire.Call, refusal *aadsts.Error) *Event {
	e := &Event{
		ID: c.Trace, Correlation: c.Correlation, Time: c.Now, Address: c.Addr, UserAgent: c.R.UserAgent(),
		Grant: g.Name, V1: c.V1, Interactive: g.Step.Interactive(), UserName: g.UserName, TokenID: g.TokenID,
		Flow: g.Who.Flow, Methods: g.Who.Methods, Policies: g.Outcome.Policies, Status: g.Outcome.Status(),
		ClientAppType: g.AppType, Device: g.Device,
	}
	if g.Tenant != nil {
		e.Tenant = g.Tenant.ID
	}
	if g.Client != nil {
		e.Client, e.ClientName, e.ClientAuth = g.Client.ID, g.Client.Name, g.Client.AuthName()
	}
	if g.User != nil {
		e.User, e.UserName = g.User.ID, g.User.UserPrincipalName
	}
	if g.App != nil {
		e.ServicePrincipal = g.App.ID
	}
	if g.Target != nil {
		e.Resource, e.ResourceName = g.Target.AppID, g.Target.DisplayName
	}
	if refusal != nil {
		e.Code, e.Reason = int(refusal.Code), refusal.Text
	}
	return e
}
