// Package mint makes access and ID tokens of grants that have been permitted.
package mint

import (
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/metadata"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// Keys are the signing keys of the hosted tenants.
type Keys interface {
	// Active returns the one key that signs for a tenant now. Unavailable when
	// there is none.
	Active(tenant directory.TenantID) (*token.Key, error)
}

// Minter signs tokens. All of its fields are required.
type Minter struct {
	Names   token.Issuers
	Keys    Keys
	Sealer  *state.Sealer
	Tickets *ticket.Tickets
}

// CarryPurpose seals the sign-in into an access token, for whoever acts on
// behalf of its person.
const CarryPurpose = "access token"

// Access is an access token and what goes with it.
type Access struct {
	Text   string
	Kind   string // Bearer or pop
	From   int64  // nbf
	Life   time.Duration
	Scopes string // the scopes, as they are told to the client
}

func (p *Minter) tokenTenant(c *wire.Call, t *directory.Tenant) (token.Tenant, error) {
	secret, err := p.Tickets.Pairwise(c.R.Context(), t.ID)
	return token.Tenant{ID: t.ID, Issuers: p.Names, Pairwise: secret, Created: t.Created, Country: t.Country, Region: metadata.Region(t)}, err
}

// Access signs an access token for a grant that has been permitted.
func (p *Minter) Access(c *wire.Call, g *grant.Grant) (*Access, error) {
	f, err := p.tokenFacts(c, g)
	if err != nil {
		return nil, err
	}
	f.UTI = g.TokenID
	f.Lifetime = g.Lifetime(c.Now)
	f.Cnf = g.Cnf
	f.Resource = token.Resource{
		AppID: g.Target.AppID, Audience: g.Target.Aud(), Version: versionOf(g.Target.TokenVersion),
		GroupClaims: g.Target.GroupClaims, Optional: g.Target.Optional.AccessToken, FirstParty: g.Target.FirstParty(),
	}
	if f.Resource.FirstParty && (g.Target.AppID == directory.Graph || g.Target.AppID == directory.ARM) {
		f.Resource.GroupClaims = "DirectoryRole"
	}
	f.Groups, f.WIDs = p.groups(c, g, f.Resource.GroupClaims, g.Target.ServicePrincipal)
	principal := g.Principal()
	f.Roles, _ = state.AppRoles(c.View, g.Tenant.ID, principal, g.Target.ServicePrincipal, c.Now)
	claims, err := token.AccessToken(f)
	if err != nil {
		return nil, err
	}
	if g.User != nil && !f.Resource.FirstParty {
		// What an application in the middle hands on when it acts for the
		// person: how and when they signed in, which it cannot change.
		if claims.AIO, err = p.Sealer.Seal(CarryPurpose, g.Who); err != nil {
			return nil, err
		}
	}
	key, err := p.Keys.Active(g.Tenant.ID)
	if err != nil {
		return nil, err
	}
	var text string
	if g.Target.AppID == directory.Graph {
		text, err = key.SignGraph(claims, ticket.Random(24))
	} else {
		text, err = key.Sign(claims)
	}
	if err != nil {
		return nil, err
	}
	m := &Access{Text: text, Kind: "Bearer", From: claims.NotBefore, Life: time.Unix(claims.Expires, 0).Sub(c.Now).Truncate(time.Second)}
	if g.Cnf != nil {
		m.Kind = "pop"
	}
	if g.User != nil && g.Want != nil {
		m.Scopes = g.Want.Response(g.Target, g.Scopes)
	}
	return m, nil
}

func versionOf(v *int) token.Version {
	if v != nil && *v == 2 {
		return token.V2
	}
	return token.V1
}

// tokenFacts gathers what access and ID tokens have in common.
func (p *Minter) tokenFacts(c *wire.Call, g *grant.Grant) (token.Facts, error) {
	tenant, err := p.tokenTenant(c, g.Tenant)
	f := token.Facts{
		Now: c.Now, UTI: token.NewUTI(), Tenant: tenant,
		Client: token.Client{AppID: g.Client.ID, DisplayName: g.Client.Name, Auth: g.Client.Auth, Credential: g.Client.Credential, Capabilities: g.Claims.Capabilities},
	}
	if err != nil {
		return f, err
	}
	if g.Client.App != nil {
		f.Client.GroupClaims, f.Client.Optional = g.Client.App.GroupClaims, g.Client.App.Optional.IDToken
	}
	if g.App != nil {
		f.App = &token.App{ID: g.App.ID}
		if g.App.Type == "ManagedIdentity" && len(g.App.AlternativeNames) > 0 {
			f.App.ManagedIdentity = g.App.AlternativeNames[len(g.App.AlternativeNames)-1]
		}
		return f, nil
	}
	u := g.User
	f.User = &token.User{
		ID: u.ID, UPN: u.UserPrincipalName, DisplayName: u.DisplayName, GivenName: u.GivenName, Surname: u.Surname,
		Mail: u.Mail, MailNickname: u.MailNickname, Guest: u.Guest,
	}
	f.Auth = token.Auth{
		Time: g.Who.Time, AMR: grant.AMR(g.Who.Methods), ACR: "1", Contexts: g.Outcome.AuthContexts,
		DeviceID: directory.ObjectID(g.Who.Device), IP: c.Addr, Session: g.Who.Session,
	}
	f.Scopes = g.Scopes
	if g.Want != nil {
		f.Profile, f.Email = g.Want.Profile, g.Want.Email
	}
	return f, nil
}

// groups returns the subject's groups and directory roles, if an application's
// setting asks for any.
func (p *Minter) groups(c *wire.Call, g *grant.Grant, setting string, app *directory.ServicePrincipal) (list []token.Group, wids []string) {
	setting = strings.ToLower(setting)
	if setting == "" || setting == "none" {
		return nil, nil
	}
	id := g.Principal()
	if strings.Contains(setting, "directoryrole") || strings.Contains(setting, "all") {
		wids = state.Roles(c.View, g.Tenant.ID, id, c.Now)
	}
	if setting == "directoryrole" {
		return nil, wids
	}
	direct := map[directory.ObjectID]bool{}
	for _, l := range state.LinkedTo(c.View, directory.Member, g.Tenant.ID, id, c.Now) {
		direct[l.From] = true
	}
	for _, m := range state.Memberships(c.View, g.Tenant.ID, id, c.Now) {
		group, err := state.Groups.Get(c.View, state.Key(g.Tenant.ID, m))
		if err != nil {
			continue
		}
		entry := token.Group{ID: m, Security: group.SecurityEnabled}
		if app != nil && direct[m] {
			for a := range state.AppRoleAssignments.Where(c.View, "principal", state.Key(g.Tenant.ID, m)) {
				entry.Assigned = entry.Assigned || a.Resource == app.ID
			}
		}
		list = append(list, entry)
	}
	return list, wids
}

// IDToken signs an ID token for the grant's user.
func (p *Minter) IDToken(c *wire.Call, g *grant.Grant, nonce, code, access string, fragment bool) (string, error) {
	f, err := p.tokenFacts(c, g)
	if err != nil {
		return "", err
	}
	f.Nonce, f.Implicit, f.IDVersion = nonce, fragment, token.V2
	if c.V1 {
		f.IDVersion, f.Profile, f.Email = token.V1, true, true
	}
	if code != "" {
		f.CHash = token.HalfHash(code)
	}
	if access != "" {
		f.AtHash = token.HalfHash(access)
	}
	if g.Client.SP != nil {
		f.Roles, _ = state.AppRoles(c.View, g.Tenant.ID, g.User.ID, g.Client.SP, c.Now)
	}
	f.Groups, f.WIDs = p.groups(c, g, f.Client.GroupClaims, g.Client.SP)
	claims, err := token.IDToken(f)
	if err != nil {
		return "", err
	}
	key, err := p.Keys.Active(g.Tenant.ID)
	if err != nil {
		return "", err
	}
	return key.Sign(claims)
}
