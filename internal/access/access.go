// Package access keeps the compiled snapshot of Azure RBAC that every decision
// is made from, in step with the store.
//
// # One revision
//
// A decision joins two kinds of facts: which groups a principal is in (the
// store's view) and what is assigned to them (the compiled snapshot). Facts
// hands out both for one revision, so that no decision ever joins an old
// membership to a new assignment.
//
// # Failing closed
//
// When a change cannot be compiled the last good snapshot would grow stale
// while looking fresh. So it is dropped, and every decision is refused as
// Unavailable until the store has been read again as a whole.
package access

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Facts are what decisions are made from, as of one revision of the store.
type Facts struct {
	View *store.View
	RBAC *rbac.Snapshot
	// end is when the first time-bound assignment of the snapshot ends; zero:
	// none does.
	end time.Time
}

// Keeper follows the store.
type Keeper struct {
	clock  clock.Clock
	logger *slog.Logger
	facts  atomic.Pointer[Facts]
	cancel func()

	mu     sync.Mutex
	timer  *time.Timer // wakes at the next end of a time-bound assignment
	closed bool
	store  *store.Store
}

// New reads the store and follows it from there. Close it before the store.
func New(s *store.Store, c clock.Clock, logger *slog.Logger) (*Keeper, error) {
	k := &Keeper{clock: c, logger: logger, store: s}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cancel = s.Subscribe(k.follow)
	if err := k.load(s.View()); err != nil {
		k.cancel()
		return nil, err
	}
	return k, nil
}

// Close stops following.
func (k *Keeper) Close() {
	k.cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.timer != nil {
		k.timer.Stop()
	}
}

// Facts returns the newest facts. Unavailable when there are none to decide
// from.
func (k *Keeper) Facts() (Facts, error) {
	f := k.facts.Load()
	if f != nil && !f.end.IsZero() && !k.clock.Now().Before(f.end) {
		// The timer may be late, or know nothing of it: it goes by how long the
		// machine runs, and machines sleep and have their clocks set.
		k.mu.Lock()
		k.reload()
		k.mu.Unlock()
		f = k.facts.Load()
	}
	if f == nil {
		return Facts{}, errs.New(errs.Unavailable, "Access cannot be decided: role assignments could not be read.")
	}
	return *f, nil
}

// follow applies the changes of one revision.
func (k *Keeper) follow(v *store.View, changes []store.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.facts.Load()
	if old == nil || v.Revision() <= old.View.Revision() {
		if old == nil {
			if err := k.load(v); err != nil {
				k.logger.Error("role assignments cannot be read; access is refused", "error", err)
			}
		}
		return
	}
	var list []rbac.Change
	ends := false
	for _, c := range changes {
		if change := k.translate(c); change != nil {
			list = append(list, change)
		}
		if a, ok := c.New.(*state.AccessAssignment); ok && !a.Until.IsZero() {
			ends = true
		}
	}
	next := old.RBAC
	if len(list) > 0 {
		var err error
		if next, err = old.RBAC.Apply(list...); err != nil {
			k.logger.Error("a change of role assignments cannot be compiled; access is refused until all are read again", "error", err)
			k.facts.Store(nil)
			return
		}
	}
	end := old.end
	if ends {
		end = k.schedule(v)
	}
	k.facts.Store(&Facts{View: v, RBAC: next, end: end})
}

// translate returns what a change of the store means to the snapshot, nil for
// nothing.
func (k *Keeper) translate(c store.Change) rbac.Change {
	v := c.New
	if c.Deleted {
		v = c.Old
	}
	switch r := v.(type) {
	case *state.AccessAssignment:
		if c.Deleted || k.ended(r) {
			return rbac.DeleteAssignment{Tenant: r.Tenant, Name: r.Name}
		}
		return putAssignment(r)
	case *state.AccessRole:
		if c.Deleted {
			return rbac.DeleteRole{Tenant: r.Tenant, ID: r.Role.ID}
		}
		return rbac.PutRole{Tenant: r.Tenant, Role: r.Role}
	case *state.AccessDeny:
		if c.Deleted {
			return rbac.DeleteDeny{Tenant: r.Tenant, Name: r.Name}
		}
		return putDeny(r)
	case *state.ManagementGroup:
		if c.Deleted {
			return rbac.DeleteManagementGroup{Tenant: r.Tenant, ID: r.Name}
		}
		return rbac.PutManagementGroup{Tenant: r.Tenant, ID: r.Name, Parent: r.Parent}
	case *state.Subscription:
		if c.Deleted {
			return rbac.DeleteSubscription{Tenant: r.Tenant, SubscriptionID: r.ID}
		}
		return putSubscription(r)
	}
	return nil
}

// load reads everything.
func (k *Keeper) load(v *store.View) error {
	var list []rbac.Change
	for g := range state.ManagementGroups.All(v) {
		list = append(list, rbac.PutManagementGroup{Tenant: g.Tenant, ID: g.Name, Parent: g.Parent})
	}
	for s := range state.Subscriptions.All(v) {
		list = append(list, putSubscription(s))
	}
	for r := range state.AccessRoles.All(v) {
		list = append(list, rbac.PutRole{Tenant: r.Tenant, Role: r.Role})
	}
	for a := range state.AccessAssignments.All(v) {
		if !k.ended(a) {
			list = append(list, putAssignment(a))
		}
	}
	for d := range state.AccessDenies.All(v) {
		list = append(list, putDeny(d))
	}
	snapshot, err := rbac.NewSnapshot().Apply(list...)
	if err != nil {
		return err
	}
	k.facts.Store(&Facts{View: v, RBAC: snapshot, end: k.schedule(v)})
	return nil
}

// reload reads everything again, if the snapshot holds what has ended. The caller
// holds the lock.
func (k *Keeper) reload() {
	f := k.facts.Load()
	if f == nil || k.closed || f.end.IsZero() || k.clock.Now().Before(f.end) {
		return // somebody else was faster
	}
	if err := k.load(f.View); err != nil {
		k.logger.Error("role assignments cannot be read; access is refused", "error", err)
		k.facts.Store(nil)
	}
}

func (k *Keeper) ended(a *state.AccessAssignment) bool {
	return !a.Until.IsZero() && !k.clock.Now().Before(a.Until)
}

// schedule arranges for the snapshot to lose the next time-bound assignment at
// its end, whether or not anything is written or asked then, and returns that end.
func (k *Keeper) schedule(v *store.View) time.Time {
	var next time.Time
	for a := range state.AccessAssignments.All(v) {
		if !a.Until.IsZero() && !k.ended(a) && (next.IsZero() || a.Until.Before(next)) {
			next = a.Until
		}
	}
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
	if next.IsZero() || k.closed {
		return next
	}
	k.timer = time.AfterFunc(max(next.Sub(k.clock.Now()), 10*time.Millisecond), func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.reload()
	})
	return next
}

func putAssignment(a *state.AccessAssignment) rbac.Change {
	scope, err := rbac.ParseScope(a.Scope)
	if err != nil {
		scope = rbac.Scope{} // Apply refuses it and names the assignment
	}
	return rbac.PutAssignment{RoleAssignment: rbac.RoleAssignment{
		Tenant: a.Tenant, Name: a.Name, Scope: scope, RoleID: a.Role,
		PrincipalID: a.Principal, PrincipalType: a.PrincipalType,
		Condition: a.Condition, ConditionVersion: a.ConditionVersion,
	}}
}

func putDeny(d *state.AccessDeny) rbac.Change {
	scope, err := rbac.ParseScope(d.Scope)
	if err != nil {
		scope = rbac.Scope{}
	}
	return rbac.PutDeny{DenyAssignment: rbac.DenyAssignment{
		Tenant: d.Tenant, Name: d.Name, DisplayName: d.DisplayName, Scope: scope,
		Permissions: d.Permissions, Principals: d.Principals, ExcludePrincipals: d.ExcludePrincipals,
		DoNotApplyToChildScopes: d.DoNotApplyToChildScopes, SystemProtected: d.SystemProtected,
		Condition: d.Condition, ConditionVersion: d.ConditionVersion,
	}}
}

func putSubscription(s *state.Subscription) rbac.Change {
	group := s.ManagementGroup
	if group == "" {
		group = string(s.Tenant)
	}
	return rbac.PutSubscription{Tenant: s.Tenant, SubscriptionID: s.ID, Group: group}
}
