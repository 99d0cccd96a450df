package oauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// managedLife is how long the access token of a managed identity lives: 24
// hours, as the real endpoint's do.
const managedLife = 24 * time.Hour

// ManagedToken is an access token that was issued to a managed identity.
type ManagedToken struct {
	Text      string
	NotBefore time.Time
	Expires   time.Time
	Audience  string
}

// IssueManagedIdentity issues an access token of a managed identity for the
// resource with the given identifier URI or client id. Whoever calls it has
// proven that the caller is where the identity is assigned. NotFound when the
// tenant has no such resource, Forbidden when the identity is gone, disabled or
// refused by policy.
func (p *Provider) IssueManagedIdentity(ctx context.Context, tenant directory.TenantID, id directory.ObjectID, resource string) (ManagedToken, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base, nil)
	if err != nil {
		return ManagedToken{}, err
	}
	c := &call{r: r, now: p.clock.Now(), view: p.store.View(), v1: true, authority: string(tenant), trace: directory.NewGUID(), correlation: directory.NewGUID()}
	if c.tenant, err = state.Tenants.Get(c.view, string(tenant)); err != nil {
		return ManagedToken{}, err
	}
	g := c.attempt("managed_identity", conditionalaccess.StepManagedIdentity)
	g.appType = conditionalaccess.OtherClients
	sp, err := state.ServicePrincipals.Get(c.view, state.Key(tenant, id))
	if err != nil || sp.Type != "ManagedIdentity" || !sp.Enabled {
		return ManagedToken{}, errs.New(errs.Forbidden, "The managed identity does not exist or is disabled.")
	}
	g.app, g.cl = sp, &client{id: sp.AppID, name: sp.DisplayName, sp: sp, auth: token.ClientAssertion}
	if g.target, err = p.resource(c, c.tenant, &wanted{name: resource, dotAll: true}); err != nil {
		return ManagedToken{}, managedError(err)
	}
	g.target.prefixed = false // the managed identity endpoint names a resource as it was asked for
	if g.target.AssignmentRequired {
		if _, ok := state.AppRoles(c.view, tenant, sp.ID, g.target.ServicePrincipal, c.now); !ok {
			return ManagedToken{}, errs.New(errs.Forbidden, "The managed identity is not assigned to a role for the application '%s'.", g.target.DisplayName)
		}
	}
	m, err := p.issue(c, g)
	if err != nil {
		return ManagedToken{}, managedError(err)
	}
	return ManagedToken{Text: m.text, NotBefore: time.Unix(m.from, 0), Expires: c.now.Add(m.life), Audience: g.target.audience}, nil
}

// managedError turns a refusal of the protocol into an error of a kind.
func managedError(err error) error {
	var e *aadsts.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case 50001, 500011, 650052: // there is no such resource
		return errs.Wrap(errs.NotFound, err, "%s", e.Error())
	}
	return errs.Wrap(errs.Forbidden, err, "%s", e.Error())
}
