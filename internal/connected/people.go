package connected

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// Name returns the user name of the bearer of a verified token of a connected
// tenant: the user principal name of a member, the object id of everybody else,
// as AKS names them. Unauthenticated for a name that Kubernetes or Entrance keep
// for others.
func (s *Service) Name(c *token.Claims) (string, error) {
	if c.AppOnly() || c.UPN == "" {
		return string(c.Object), nil
	}
	// A user principal name has one @ and no colon, so it can be neither
	// system:… nor aks:jwt:…, and an id of somebody else has no @.
	bad := func(r rune) bool { return r == ':' || unicode.IsControl(r) || unicode.IsSpace(r) }
	if len(c.UPN) > 256 || !utf8.ValidString(c.UPN) || strings.Count(c.UPN, "@") != 1 || strings.ContainsFunc(c.UPN, bad) {
		return "", errs.New(errs.Unauthenticated, "the token's upn is not a user principal name")
	}
	return c.UPN, nil
}

// Remember notes under which name somebody of a connected tenant is known, so
// that an access review can be held to it. It writes only what is new.
func (s *Service) Remember(ctx context.Context, c *token.Claims, name string) error {
	if name == string(c.Object) {
		return nil
	}
	key := state.Key(c.Tenant, c.Object)
	if u, err := state.ConnectedUsers.Get(s.store.View(), key); err == nil && (u.Name == name || !c.Issued().After(u.Issued)) {
		return nil
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		u, err := state.ConnectedUsers.Get(tx, key)
		switch {
		case err == nil && (u.Name == name || !c.Issued().After(u.Issued)):
			return nil
		case err != nil && !errs.Is(err, errs.NotFound):
			return err
		}
		return state.ConnectedUsers.Put(tx, &state.ConnectedUser{Tenant: c.Tenant, ID: c.Object, Name: name, Issued: c.Issued()})
	})
}

// Known reports whether somebody of a connected tenant is known to the clusters
// by this name. Another replica may just have learnt it, so a name that the view
// does not have is asked of the store.
func (s *Service) Known(ctx context.Context, tenant directory.TenantID, id directory.ObjectID, name string) bool {
	if _, ok := s.tenant(tenant); !ok {
		return false
	}
	if name == string(id) {
		return true
	}
	key := state.Key(tenant, id)
	if u, err := state.ConnectedUsers.Get(s.store.View(), key); err == nil && u.Name == name {
		return true
	}
	u, err := state.ConnectedUsers.GetFresh(ctx, s.store, key)
	return err == nil && u.Name == name
}
