package oauth

import (
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
)

const (
	refreshPurpose = "refresh token"
	refreshPrefix  = "1."
)

// refreshTicket is what a refresh token holds. It is bound to the client and
// the person, and to no resource: it may be redeemed for others.
type refreshTicket struct {
	Client directory.AppID `json:"c"`
	Who    signedIn        `json:"w"`
	Issued time.Time       `json:"i"`
	// SPA is when a single-page application's token ends, whatever is done.
	SPA time.Time `json:"spa,omitzero"`
	// Resource and Scope are what was asked for at first: a client that asks
	// for nothing gets that again.
	Resource string `json:"r,omitempty"`
	Scope    string `json:"s,omitempty"`
}

func (p *Provider) sealRefresh(t *refreshTicket) (string, error) {
	s, err := p.cfg.Sealer.Seal(refreshPurpose, t)
	return refreshPrefix + s, err
}

// refresh redeems a refresh token. The old one stays good: several processes
// share one, and the one that a client never received would lock it out.
func (p *Provider) refresh(c *call) error {
	g := c.attempt(grantRefresh, conditionalaccess.StepRefreshToken)
	a, err := c.presented()
	if err != nil {
		return err
	}
	raw, err := c.need("refresh_token")
	if err != nil {
		return err
	}
	var t refreshTicket
	text, ok := strings.CutPrefix(raw, refreshPrefix)
	if !ok || p.cfg.Sealer.Open(refreshPurpose, text, &t) != nil {
		return fault(70000, "the refresh token is not valid")
	}
	if g.cl, err = p.redeemer(c, a, !t.SPA.IsZero()); err != nil {
		return err
	}
	if t.Client != g.cl.id && !(family(t.Client) && family(g.cl.id)) {
		return fault(70000, "the refresh token was issued to another client")
	}
	if err := p.checkOrigin(c, !t.SPA.IsZero()); err != nil {
		return err
	}
	switch {
	case !t.SPA.IsZero() && !c.now.Before(t.SPA):
		return fault(700084, t.Issued.UTC().Format(time.RFC3339))
	case c.now.Sub(t.Issued) >= refreshLife:
		return fault(700082, t.Issued.UTC().Format(time.RFC3339), "90.00:00:00")
	}
	if gone, err := p.revoked(c.r.Context(), t.Who.Grant); err != nil {
		return err
	} else if gone {
		return fault(50173, t.Issued.UTC().Format(time.RFC3339), "the end of the grant")
	}
	if err := p.setUser(c, g, t.Who); err != nil {
		return err
	}
	resource, scope := c.form.Get("resource"), c.form.Get("scope")
	if c.v1 && resource == "" {
		resource = t.Resource
	}
	if !c.v1 && scope == "" {
		scope = t.Scope
	}
	w, err := c.askFor(resource, scope, 28000)
	if err != nil {
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
	if wait := p.limits.loop(hash(raw + " " + g.target.audience)); wait > 0 {
		return fault(50196)
	}
	if err := p.spend(c.r.Context(), g.cl, hash(raw)+" "+g.target.audience); err != nil {
		return err
	}
	w.offline = true // a new one comes with every use
	next := t
	next.Client, next.Issued = g.cl.id, c.now
	return p.respond(c, g, "", &next)
}

// redeemer authenticates the client that redeems a code or a refresh token.
// What was given to a single-page application needs no secret.
func (p *Provider) redeemer(c *call, a *presented, spa bool) (*client, error) {
	if !spa || a.secret != "" || a.assertion != "" {
		return p.authenticate(c, c.tenant, a, true)
	}
	return p.findClient(c, c.tenant, a.id)
}

// checkOrigin keeps what was given to a page in the browser and what was not
// apart.
func (p *Provider) checkOrigin(c *call, spa bool) error {
	origin := c.r.Header.Get("Origin")
	switch {
	case spa && origin == "":
		return fault(9002327)
	case !spa && origin != "":
		return fault(9002326, origin)
	}
	return nil
}
