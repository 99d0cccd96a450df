package oauth

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/scope"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/state"
)

// interaction is what an interactive request needs of the person in front of
// the browser.
type interaction struct {
	back, cancel string // paths on this server
	want         *scope.Wanted
	flow         conditionalaccess.AuthFlow

	hint      string
	silent    bool      // prompt=none: nobody may be asked
	fresh     time.Time // a sign-in from before does not count (prompt=login)
	choose    time.Time // the account must have been picked since (prompt=select_account)
	consent   bool      // show the consent page even if nothing is missing
	noConsent bool      // the caller asks itself
	consented string    // path to come back to once it was shown
	target    string    // redirect URI of the client

	session string // out: which browser session answered
}

// interact takes a person through whatever is missing: signing in, choosing an
// account, a second factor, consent. It either fills in the grant and returns
// false, or has sent the browser away and returns true.
func (p *Provider) interact(c *call, g *grant.Grant, at *interaction) (done bool, err error) {
	session, err := p.cfg.SignIn.Session(c.R)
	if err != nil {
		return false, err
	}
	account := p.chooseAccount(c, session, at)
	if account == nil {
		if at.silent {
			return false, fault(50058)
		}
		return true, p.askSignIn(c, g, at, len(accountsFor(c, session)) > 0)
	}
	at.session = session.ID
	who := ticket.SignIn{
		Tenant: account.Tenant, User: account.User, Time: account.Since, Methods: account.Methods,
		Session: session.Public, Flow: at.flow,
	}
	if err := p.setUser(c, g, who); err != nil {
		if code := aadsts.From(err).Code; (code == 50173 || code == 50034) && !at.silent {
			return true, p.askSignIn(c, g, at, false)
		}
		return false, err
	}
	g.Want = at.want
	if g.Target, err = p.cfg.Aliases.Resource(c.Call, g.Tenant, at.want); err != nil {
		return false, err
	}
	if !g.NoAccess {
		if err := p.notItself(g); err != nil {
			return false, err
		}
	}
	if err := p.permit(c, g); err != nil {
		return p.askMore(c, g, at, err)
	}
	return p.askConsent(c, g, at)
}

// accountsFor are the browser's accounts that the request could be for.
func accountsFor(c *call, s *state.Session) []*state.SignedIn {
	if s == nil {
		return nil
	}
	var list []*state.SignedIn
	for i := range s.Accounts {
		if c.Tenant == nil || s.Accounts[i].Tenant == c.Tenant.ID {
			list = append(list, &s.Accounts[i])
		}
	}
	return list
}

// chooseAccount returns the account that the request is for, if that is clear.
func (p *Provider) chooseAccount(c *call, s *state.Session, at *interaction) *state.SignedIn {
	list := accountsFor(c, s)
	if at.hint != "" {
		list = slices.DeleteFunc(list, func(a *state.SignedIn) bool {
			u, err := state.Users.Get(c.View, state.Key(a.Tenant, a.User))
			return err != nil || !strings.EqualFold(u.UserPrincipalName, at.hint) && string(u.ID) != at.hint
		})
	}
	list = slices.DeleteFunc(list, func(a *state.SignedIn) bool {
		return a.Since.Before(at.fresh) || a.Chosen.Before(at.choose)
	})
	if len(list) == 0 {
		return nil
	}
	// The one that the person picked last.
	return slices.MaxFunc(list, func(a, b *state.SignedIn) int { return a.Chosen.Compare(b.Chosen) })
}

// question returns what every question to a person holds.
func (p *Provider) question(g *grant.Grant, at *interaction, kind state.AskKind) *state.Ask {
	a := &state.Ask{Kind: kind, Return: at.back, Cancel: at.cancel, Client: g.Client.ID, ClientName: g.Client.Name, Verified: g.Client.FirstParty, Hint: at.hint, Fresh: at.fresh}
	if u, err := url.Parse(at.target); err == nil && u.Scheme != "" {
		a.Target = u.Scheme + ":"
		if u.Host != "" {
			a.Target += "//" + u.Host
		}
	}
	if g.Tenant != nil {
		a.Tenant = g.Tenant.ID
		a.Verified = a.Verified || g.Client.App != nil && g.Client.App.Tenant == g.Tenant.ID
	}
	if g.User != nil {
		a.User = g.User.ID
	}
	return a
}

func (p *Provider) askSignIn(c *call, g *grant.Grant, at *interaction, choose bool) error {
	a := p.question(g, at, state.AskSignIn)
	a.User = ""
	a.Select = choose && at.hint == "" && at.fresh.IsZero() || !at.choose.IsZero()
	if c.Tenant == nil {
		a.Tenant = ""
	}
	p.cfg.SignIn.Ask(c.W, c.R, a)
	return nil
}

// askMore asks for what policy wants, where a person can give it.
func (p *Provider) askMore(c *call, g *grant.Grant, at *interaction, refusal error) (bool, error) {
	more := g.Outcome.Interaction
	if g.Outcome.Decision != conditionalaccess.Required || at.silent || aadsts.From(refusal).Code == 50105 || more.Device {
		return false, refusal
	}
	switch {
	case more.SignIn:
		// The last sign-in is too old for a policy: whatever is older than this
		// request is.
		at.fresh, at.hint = c.Now, g.User.UserPrincipalName
		return true, p.askSignIn(c, g, at, false)
	case more.MFA || len(more.Strengths) > 0:
		a := p.question(g, at, state.AskFactor)
		a.Strengths, a.Register = more.Strengths, more.Register
		p.cfg.SignIn.Ask(c.W, c.R, a)
		return true, nil
	}
	return false, refusal
}

// askConsent decides the scopes, and asks for consent to those that nobody has
// consented to.
func (p *Provider) askConsent(c *call, g *grant.Grant, at *interaction) (bool, error) {
	if at.noConsent {
		return false, nil
	}
	granted, missing, err := scope.Decide(c.Call, g.Client, g.Target, at.want, g.User.ID)
	if err != nil {
		return false, err
	}
	if len(missing) == 0 && !at.consent {
		if len(granted) == 0 {
			return false, fault(65001, string(g.Client.ID), g.Client.Name)
		}
		g.Scopes = granted
		return false, nil
	}
	if at.silent {
		return false, fault(65001, string(g.Client.ID), g.Client.Name)
	}
	if len(missing) == 0 {
		for _, s := range granted {
			if f := scope.Find(g.Target, s); f != nil {
				missing = append(missing, f)
			}
		}
	}
	admin := p.mayConsentForAll(c, g.Tenant, g.User)
	for _, s := range missing {
		if !admin && (s.Type != "User" || !g.Tenant.UserConsent) {
			return false, fault(90094, g.Client.Name)
		}
	}
	a := p.question(g, at, state.AskConsent)
	if at.consented != "" {
		a.Return = at.consented
	}
	a.MayForAll = admin
	for _, s := range missing {
		a.Permissions = append(a.Permissions, scope.Permission(g.Target.ServicePrincipal, s))
	}
	basic, err := p.cfg.Aliases.Basic(c.Call, g.Client, g.Tenant, g.Target, at.want, g.User.ID)
	if err != nil {
		return false, err
	}
	a.Permissions = append(a.Permissions, basic...)
	p.cfg.SignIn.Ask(c.W, c.R, a)
	return true, nil
}

// mayConsentForAll tells whether a user may consent for the whole tenant.
func (p *Provider) mayConsentForAll(c *call, t *directory.Tenant, u *directory.User) bool {
	return state.HasRole(c.View, t.ID, u.ID, c.Now, directory.GlobalAdministrator, directory.PrivilegedRoleAdministrator,
		directory.ApplicationAdministrator, directory.CloudApplicationAdministrator)
}
