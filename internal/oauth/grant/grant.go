// Package grant holds one attempt to get something of the identity provider: who
// asks, for whom, for what, and how that came out.
package grant

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/scope"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

func fault(code aadsts.Code, args ...any) *aadsts.Error { return aadsts.New(code, args...) }

// ManagedLife is how long the access token of a managed identity lives: 24
// hours, as the real endpoint's do.
const ManagedLife = 24 * time.Hour

// Grant is one attempt to get something: filled in as the request is
// understood, judged by permit, and logged in any case.
type Grant struct {
	Name   string // for the log
	Step   conditionalaccess.Step
	Tenant *directory.Tenant
	Client *clientauth.Client
	Target *scope.Target
	Want   *scope.Wanted

	// Exactly one of these is set when it comes to judging.
	User *directory.User
	App  *directory.ServicePrincipal

	Who      ticket.SignIn // of a user
	UserName string        // as typed, until the user is known
	Scopes   []string
	AppType  conditionalaccess.ClientAppType
	Claims   conditionalaccess.ClaimsRequest
	Cnf      *token.Confirmation

	NoAccess bool                      // an authorization request for an ID token alone
	Device   *conditionalaccess.Device // proven, for the log
	Outcome  conditionalaccess.Outcome
	TokenID  string
	Logged   bool
}

// Principal is whose token it is.
func (g *Grant) Principal() directory.ObjectID {
	if g.App != nil {
		return g.App.ID
	}
	return g.User.ID
}

// Lifetime is how long an access token lives: an hour for applications, a day
// where a federated token was exchanged, else token's own choice, but no longer
// than the sign-in may be old.
func (g *Grant) Lifetime(now time.Time) time.Duration {
	if g.App != nil {
		if g.Step == conditionalaccess.StepManagedIdentity {
			return ManagedLife
		}
		if g.Client.Federated {
			return 24 * time.Hour
		}
		return time.Hour
	}
	life := token.AccessLifetime(g.TokenID)
	if within := g.Outcome.Session.SignInWithin; within > 0 {
		life = min(life, max(time.Minute, within-now.Sub(g.Who.Time)))
	}
	return life
}

// ClientInfo returns the client_info of a token response: who signed in, for the
// client's cache.
func (g *Grant) ClientInfo() string {
	raw, _ := json.Marshal(struct {
		UID  directory.ObjectID `json:"uid"`
		UTID directory.TenantID `json:"utid"`
	}{g.User.ID, g.Tenant.ID})
	return base64.RawURLEncoding.EncodeToString(raw)
}

// Facts gathers what policy decides from.
func (g *Grant) Facts(c *wire.Call) *conditionalaccess.Facts {
	f := &conditionalaccess.Facts{
		Tenant: g.Tenant.ID, ClientApp: g.Client.ID, Step: g.Step, V1: c.V1,
		ClientAppType: g.AppType, Platform: platform(c.R.UserAgent()), Address: c.Addr,
		AuthContexts: g.Claims.AuthContexts, Policies: g.Claims.Policies,
	}
	if f.ClientAppType == "" {
		f.ClientAppType = conditionalaccess.MobileAndDesktop
	}
	if g.Target != nil {
		f.Resources, f.ResourceName = []directory.AppID{g.Target.AppID}, g.Target.DisplayName
	} else {
		f.Resources, f.ResourceName = []directory.AppID{g.Client.ID}, g.Client.Name
	}
	if g.App != nil {
		f.Workload = &conditionalaccess.Workload{
			ID: g.App.ID, AppID: g.App.AppID, ManagedIdentity: g.App.Type == "ManagedIdentity",
			Foreign: g.App.AppOwnerTenant != "" && g.App.AppOwnerTenant != g.Tenant.ID,
		}
		return f
	}
	u := &conditionalaccess.User{
		ID: g.User.ID, Groups: state.Memberships(c.View, g.Tenant.ID, g.User.ID, c.Now),
		MFARegistered: state.HasFactor(c.View, g.Tenant.ID, g.User.ID),
	}
	for _, r := range state.Roles(c.View, g.Tenant.ID, g.User.ID, c.Now) {
		u.Roles = append(u.Roles, directory.ObjectID(r))
	}
	if g.User.Guest {
		u.Guest = conditionalaccess.B2BCollaborationGuest
	}
	f.User, f.Flow, f.Methods, f.AuthTime = u, g.Who.Flow, g.Who.Methods, g.Who.Time
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

// AMR says in Entra's words what was really checked.
func AMR(methods []conditionalaccess.Authentication) []string {
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
