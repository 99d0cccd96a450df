package oauth

import (
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/scope"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
)

// refresh redeems a refresh token. The old one stays good: several processes
// share one, and the one that a client never received would lock it out.
func (p *Provider) refresh(c *call) error {
	g := c.attempt(grantRefresh, conditionalaccess.StepRefreshToken)
	a, err := clientauth.Read(c.Call)
	if err != nil {
		return err
	}
	raw, err := c.Need("refresh_token")
	if err != nil {
		return err
	}
	t, err := p.tickets.OpenRefresh(raw)
	if err != nil {
		return err
	}
	if g.Client, err = p.redeemer(c, a, !t.SPA.IsZero()); err != nil {
		return err
	}
	if t.Client != g.Client.ID && !(family(t.Client) && family(g.Client.ID)) {
		return fault(70000, "the refresh token was issued to another client")
	}
	if err := p.checkOrigin(c, !t.SPA.IsZero()); err != nil {
		return err
	}
	switch {
	case !t.SPA.IsZero() && !c.Now.Before(t.SPA):
		return fault(700084, t.Issued.UTC().Format(time.RFC3339))
	case c.Now.Sub(t.Issued) >= ticket.RefreshLife:
		return fault(700082, t.Issued.UTC().Format(time.RFC3339), "90.00:00:00")
	}
	if gone, err := p.tickets.Revoked(c.R.Context(), t.Who.Grant); err != nil {
		return err
	} else if gone {
		return fault(50173, t.Issued.UTC().Format(time.RFC3339), "the end of the grant")
	}
	if err := p.setUser(c, g, t.Who); err != nil {
		return err
	}
	resource, asked := c.Form.Get("resource"), c.Form.Get("scope")
	if c.V1 && resource == "" {
		resource = t.Resource
	}
	if !c.V1 && asked == "" {
		asked = t.Scope
	}
	w, err := scope.AskFor(c.Call, resource, asked, 28000)
	if err != nil {
		return err
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
	if wait := p.limits.Loop(ticket.Hash(raw + " " + g.Target.Audience)); wait > 0 {
		return fault(50196)
	}
	if err := p.clients.Spend(c.R.Context(), g.Client, ticket.Hash(raw)+" "+g.Target.Audience); err != nil {
		return err
	}
	w.Offline = true // a new one comes with every use
	next := *t
	next.Client, next.Issued = g.Client.ID, c.Now
	return p.respond(c, g, "", &next)
}

// redeemer authenticates the client that redeems a code or a refresh token.
// What was given to a single-page application needs no secret.
func (p *Provider) redeemer(c *call, a *clientauth.Presented, spa bool) (*clientauth.Client, error) {
	if !spa || a.Secret != "" || a.Assertion != "" {
		return p.clients.Authenticate(c.Call, c.Tenant, a, true)
	}
	return p.clients.Find(c.Call, c.Tenant, a.ID)
}

// checkOrigin keeps what was given to a page in the browser and what was not
// apart.
func (p *Provider) checkOrigin(c *call, spa bool) error {
	origin := c.R.Header.Get("Origin")
	switch {
	case spa && origin == "":
		return fault(9002327)
	case !spa && origin != "":
		return fault(9002326, origin)
	}
	return nil
}
