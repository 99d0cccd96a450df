package server

import (
	"context"
	"os"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/password"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// FirstTenant is what an empty store begins with: a tenant, its administrator
// and a subscription.
type FirstTenant struct {
	DisplayName, Domain string
	// Administrator is the user principal name of the Global Administrator, who is
	// Owner of the subscription too. PasswordFile holds the first password, which
	// they must change when they sign in; it is read only when the tenant is made.
	Administrator, PasswordFile string
	// Subscription is its display name.
	Subscription string
}

// makeFirst makes the first tenant if the store has none. Of several servers
// that start together one makes it.
func (s *Server) makeFirst(ctx context.Context, f *FirstTenant) error {
	for range state.Tenants.All(s.store.View()) {
		return nil
	}
	s.cfg.Progress("making the tenant, its administrator and a subscription")
	local, domain, _ := strings.Cut(f.Administrator, "@")
	if local == "" || !strings.EqualFold(domain, f.Domain) {
		return errs.New(errs.Invalid, "The administrator %q is not a user of the domain %s.", f.Administrator, f.Domain)
	}
	raw, err := os.ReadFile(f.PasswordFile)
	if err != nil {
		return errs.Wrap(errs.Invalid, err, "The first password of the administrator cannot be read")
	}
	first := strings.TrimRight(string(raw), "\r\n")
	if err := password.Check(first, local); err != nil {
		return errs.Wrap(errs.Invalid, err, "The first password of the administrator cannot be used")
	}
	hasher, err := newHasher()
	if err != nil {
		return err
	}
	hash, err := hasher.Hash(ctx, first)
	if err != nil {
		return err
	}
	now := s.clock.Now()
	tenant := directory.TenantID(directory.NewGUID())
	admin := &directory.User{
		Tenant: tenant, ID: directory.ObjectID(directory.NewGUID()), UserPrincipalName: f.Administrator,
		DisplayName: "Administrator", MailNickname: local, Enabled: true, Created: now,
		PasswordHash: hash, PasswordChanged: now, MustChangePassword: true,
	}
	sub := &state.Subscription{ID: directory.NewGUID(), Tenant: tenant, DisplayName: f.Subscription, State: "Enabled"}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := state.CreateTenant(tx, &directory.Tenant{
			ID: tenant, DisplayName: f.DisplayName, Created: now,
			Domains: []directory.Domain{{Name: strings.ToLower(f.Domain), Default: true, Initial: true}},
		}); err != nil {
			return err
		}
		if err := state.CreateUser(tx, admin); err != nil {
			return err
		}
		if err := state.RoleAssignments.Create(tx, &directory.RoleAssignment{
			Tenant: tenant, ID: directory.NewGUID(), Role: directory.GlobalAdministrator, Principal: admin.ID, Scope: "/",
		}); err != nil {
			return err
		}
		if err := state.Subscriptions.Create(tx, sub); err != nil {
			return err
		}
		return state.AccessAssignments.Create(tx, &state.AccessAssignment{
			Tenant: tenant, Name: directory.NewGUID(), Scope: "/subscriptions/" + sub.ID, Role: owner,
			Principal: admin.ID, PrincipalType: rbac.User, Created: now, Updated: now,
		})
	})
	if errs.Is(err, errs.Exists) {
		return nil // another server has made it: the domain is taken
	}
	return err
}
