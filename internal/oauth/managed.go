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
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/scope"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

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
	c := &call{Call: &wire.Call{R: r, Now: p.clock.Now(), View: p.store.View(), V1: true, Authority: string(tenant), Trace: directory.NewGUID(), Correlation: directory.NewGUID()}}
	if c.Tenant, err = state.Tenants.Get(c.View, string(tenant)); err != nil {
		return ManagedToken{}, err
	}
	g := c.attempt("managed_identity", conditionalaccess.StepManagedIdentity)
	g.AppType = conditionalaccess.OtherClients
	sp, err := state.ServicePrincipals.Get(c.View, state.Key(tenant, id))
	if err != nil || sp.Type != "ManagedIdentity" || !sp.Enabled {
		return ManagedToken{}, errs.New(errs.Forbidden, "The managed identity does not exist or is disabled.")
	}
	g.App, g.Client = sp, &clientauth.Client{ID: sp.AppID, Name: sp.DisplayName, SP: sp, Auth: token.ClientAssertion}
	if g.Target, err = p.cfg.Aliases.Resource(c.Call, c.Tenant, &scope.Wanted{Name: resource, All: true}); err != nil {
		return ManagedToken{}, managedError(err)
	}
	g.Target.Prefixed = false // the managed identity endpoint names a resource as it was asked for
	if g.Target.AssignmentRequired {
		if _, ok := state.AppRoles(c.View, tenant, sp.ID, g.Target.ServicePrincipal, c.Now); !ok {
			return ManagedToken{}, errs.New(errs.Forbidden, "The managed identity is not assigned to a role for the application '%s'.", g.Target.DisplayName)
		}
	}
	m, err := p.issue(c, g)
	if err != nil {
		return ManagedToken{}, managedError(err)
	}
	return ManagedToken{Text: m.Text, NotBefore: time.Unix(m.From, 0), Expires: c.Now.Add(m.Life), Audience: g.Target.Audience}, nil
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
