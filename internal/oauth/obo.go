package oauth

import (
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/token"
)

// onBehalfOf exchanges a person's access token for this application for one for
// another resource. How the person signed in goes with it: an application in
// the middle cannot make a sign-in look stronger.
func (p *Provider) onBehalfOf(c *call) error {
	g := c.attempt(grantBehalf, conditionalaccess.StepOnBehalfOf)
	if c.form.Get("requested_token_use") != "on_behalf_of" {
		return fault(900144, "requested_token_use")
	}
	a, err := c.presented()
	if err != nil {
		return err
	}
	assertion, err := c.need("assertion")
	if err != nil {
		return err
	}
	w, err := p.needScope(c, 28000)
	if err != nil {
		return err
	}
	tenant := c.tenant
	if tenant == nil {
		return fault(50059)
	}
	g.tenant = tenant
	if g.cl, err = p.authenticate(c, tenant, a, false); err != nil {
		return err
	}
	if g.cl.sp == nil {
		return fault(700016, string(g.cl.id), tenant.DisplayName)
	}
	if g.cl.firstParty {
		return fault(7000114, string(g.cl.id))
	}
	v := &token.Verifier{Keys: p.cfg.Trust, Audiences: append([]string{string(g.cl.id), "spn:" + string(g.cl.id)}, g.cl.sp.Names...)}
	claims, err := v.Verify(assertion, c.now)
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
		return fault(7000113, string(g.cl.id))
	}
	who, err := p.carried(c, claims)
	if err != nil {
		return err
	}
	if err := p.setUser(c, g, who); err != nil {
		return err
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
	if err := p.spend(c.r.Context(), g.cl, hash(assertion)+" "+g.target.audience); err != nil {
		return err
	}
	return p.respond(c, g, "", &refreshTicket{Client: g.cl.id, Who: g.who, Issued: c.now})
}

const carryPurpose = "access token"

// carried returns the sign-in that an access token descends from, as it was
// sealed into the token: its time, methods, device and flow go on as they were,
// and so does its end.
func (p *Provider) carried(c *call, claims *token.Claims) (signedIn, error) {
	var who signedIn
	if p.cfg.Sealer.Open(carryPurpose, claims.AIO, &who) != nil || who.Tenant != claims.Tenant || who.User != claims.Object {
		return who, fault(50013, "the assertion was not issued for use on behalf of its user")
	}
	gone, err := p.revoked(c.r.Context(), who.Grant)
	if err == nil && gone {
		err = fault(50173, time.Unix(claims.IssuedAt, 0).UTC().Format(time.RFC3339), "the end of the grant")
	}
	return who, err
}
