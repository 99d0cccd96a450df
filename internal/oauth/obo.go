package oauth

import (
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/mint"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/token"
)

// onBehalfOf exchanges a person's access token for this application for one for
// another resource. How the person signed in goes with it: an application in
// the middle cannot make a sign-in look stronger.
func (p *Provider) onBehalfOf(c *call) error {
	g := c.attempt(grantBehalf, conditionalaccess.StepOnBehalfOf)
	if c.Form.Get("requested_token_use") != "on_behalf_of" {
		return fault(900144, "requested_token_use")
	}
	a, err := clientauth.Read(c.Call)
	if err != nil {
		return err
	}
	assertion, err := c.Need("assertion")
	if err != nil {
		return err
	}
	w, err := p.needScope(c, 28000)
	if err != nil {
		return err
	}
	tenant := c.Tenant
	if tenant == nil {
		return fault(50059)
	}
	g.Tenant = tenant
	if g.Client, err = p.clients.Authenticate(c.Call, tenant, a, false); err != nil {
		return err
	}
	if g.Client.SP == nil {
		return fault(700016, string(g.Client.ID), tenant.DisplayName)
	}
	if g.Client.FirstParty {
		return fault(7000114, string(g.Client.ID))
	}
	v := &token.Verifier{Keys: p.cfg.Trust, Audiences: append([]string{string(g.Client.ID), "spn:" + string(g.Client.ID)}, g.Client.SP.Names...)}
	claims, err := v.Verify(assertion, c.Now)
	switch token.ClassOf(err) {
	case 0:
		if err != nil {
			return err
		}
	case token.ClassExpired, token.ClassNotYet:
		return fault(500133).WithCause(err)
	case token.ClassAudience:
		return fault(50013, "the audience is another application").WithCause(err)
	default:
		return fault(50013, "the assertion is not a valid access token of this application").WithCause(err)
	}
	if claims.Tenant != tenant.ID {
		return fault(50013, "the assertion is of another tenant")
	}
	if claims.Scope == "" || claims.IDTyp == "app" {
		return fault(7000113, string(g.Client.ID))
	}
	who, err := p.carried(c, claims)
	if err != nil {
		return err
	}
	if err := p.setUser(c, g, who); err != nil {
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
	if err := p.clients.Spend(c.R.Context(), g.Client, ticket.Hash(assertion)+" "+g.Target.Audience); err != nil {
		return err
	}
	return p.respond(c, g, "", &ticket.Refresh{Client: g.Client.ID, Who: g.Who, Issued: c.Now})
}

// carried returns the sign-in that an access token descends from, as it was
// sealed into the token: its time, methods, device and flow go on as they were,
// and so does its end.
func (p *Provider) carried(c *call, claims *token.Claims) (ticket.SignIn, error) {
	var who ticket.SignIn
	if p.cfg.Sealer.Open(mint.CarryPurpose, claims.AIO, &who) != nil || who.Tenant != claims.Tenant || who.User != claims.Object {
		return who, fault(50013, "the assertion was not issued for use on behalf of its user")
	}
	gone, err := p.tickets.Revoked(c.R.Context(), who.Grant)
	if err == nil && gone {
		err = fault(50173, time.Unix(claims.IssuedAt, 0).UTC().Format(time.RFC3339), "the end of the grant")
	}
	return who, err
}
