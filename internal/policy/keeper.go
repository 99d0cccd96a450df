package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Keeper holds a compiled set of every tenant's documents, in step with the
// store. It is safe for concurrent use.
type Keeper struct {
	store  *store.Store
	clock  clock.Clock
	logger *slog.Logger
	now    atomic.Pointer[snapshot]
	cancel func()
}

// snapshot is everything that decisions are made from, as of one revision.
type snapshot struct {
	view *store.View
	sets map[directory.TenantID]*compiled
}

// compiled is one tenant's set, or why there is none.
type compiled struct {
	set *conditionalaccess.Set
	err error
	// parsed remembers the typed form of the documents, which the store shares
	// between its views for as long as they do not change.
	parsed map[*Document]any
}

var empty = func() *compiled {
	set, err := conditionalaccess.Compile(nil, nil, nil)
	return &compiled{set: set, err: err}
}()

// New reads the store and follows it from there. Close it before the store.
func New(s *store.Store, c clock.Clock, logger *slog.Logger) *Keeper {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{store: s, clock: c, logger: logger}
	k.cancel = s.Follow(k.follow)
	return k
}

// Close stops following.
func (k *Keeper) Close() { k.cancel() }

// follow makes the snapshot of a new view. It is called for one view at a time.
func (k *Keeper) follow(v *store.View, changes []store.Change) {
	old := k.now.Load()
	next := &snapshot{view: v}
	touched := map[directory.TenantID]bool{}
	if old == nil {
		for _, table := range []*store.Table[Document]{Policies, Locations, Strengths} {
			for d := range table.All(v) {
				touched[d.Tenant] = true
			}
		}
	} else {
		next.sets = old.sets
		for _, c := range changes {
			for _, x := range []any{c.Old, c.New} {
				if d, ok := x.(*Document); ok && d != nil {
					touched[d.Tenant] = true
				}
			}
		}
	}
	if len(touched) > 0 {
		next.sets = maps.Clone(next.sets)
		if next.sets == nil {
			next.sets = map[directory.TenantID]*compiled{}
		}
		for tenant := range touched {
			c := compile(v, tenant, next.sets[tenant])
			if c.err != nil {
				k.logger.Error("Conditional Access documents cannot be read; every sign-in of the tenant is refused", "tenant", tenant, "error", c.err)
			}
			next.sets[tenant] = c
		}
	}
	k.now.Store(next)
}

// compile reads a tenant's documents, taking from old what has not changed.
func compile(v *store.View, tenant directory.TenantID, old *compiled) *compiled {
	c := &compiled{parsed: map[*Document]any{}}
	if old == nil {
		old = empty
	}
	list, err1 := read(c, old, v, Policies, tenant, conditionalaccess.ParsePolicy, func(p *conditionalaccess.Policy, id string) { p.ID = id })
	places, err2 := read(c, old, v, Locations, tenant, conditionalaccess.ParseNamedLocation, func(l *conditionalaccess.NamedLocation, id string) { l.ID = id })
	strong, err3 := read(c, old, v, Strengths, tenant, conditionalaccess.ParseAuthenticationStrength, func(s *conditionalaccess.AuthenticationStrength, id string) { s.ID = id })
	if c.err = errors.Join(err1, err2, err3); c.err == nil {
		c.set, c.err = conditionalaccess.Compile(list, places, strong)
	}
	return c
}

func read[T any](c, old *compiled, v *store.View, table *store.Table[Document], tenant directory.TenantID, parse func([]byte) (*T, error), name func(*T, string)) ([]*T, error) {
	var list []*T
	var failed error
	for d := range table.Where(v, "tenant", string(tenant)) {
		x, ok := old.parsed[d].(*T)
		if !ok {
			var err error
			if x, err = parse(d.Body); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s %s: %w", table.Name(), d.ID, err))
				continue
			}
			name(x, d.ID)
		}
		c.parsed[d] = x
		list = append(list, x)
	}
	return list, failed
}

// Set returns the compiled set of a tenant and the revision that it is of.
// NotFound for a tenant that does not exist, Unavailable when its documents
// cannot be read.
func (k *Keeper) Set(tenant directory.TenantID) (*conditionalaccess.Set, int64, error) {
	set, view, err := k.set(tenant)
	return set, view.Revision(), err
}

func (k *Keeper) set(tenant directory.TenantID) (*conditionalaccess.Set, *store.View, error) {
	s := k.now.Load()
	if _, err := state.Tenants.Get(s.view, string(tenant)); err != nil {
		return nil, s.view, err
	}
	c := s.sets[tenant]
	if c == nil {
		c = empty
	}
	if c.err != nil {
		return nil, s.view, errs.Wrap(errs.Unavailable, c.err, "Conditional Access policies of the tenant cannot be read.")
	}
	return c.set, s.view, nil
}

// Evaluate decides about one sign-in or token request. What only the directory
// knows of a user and the caller left open (nil groups, nil roles, guest, second
// factor) is read from the view that the policies are of. A tenant that does not exist, or
// whose documents cannot be read, is refused.
func (k *Keeper) Evaluate(_ context.Context, f *conditionalaccess.Facts) conditionalaccess.Outcome {
	return k.decide(f, conditionalaccess.Evaluate)
}

// WhatIf is Evaluate with a trace of every condition of every policy. Nothing
// is issued on its word, so its facts may be invented.
func (k *Keeper) WhatIf(_ context.Context, f *conditionalaccess.Facts) conditionalaccess.Outcome {
	return k.decide(f, conditionalaccess.WhatIf)
}

func (k *Keeper) decide(f *conditionalaccess.Facts, evaluate func(*conditionalaccess.Set, *conditionalaccess.Facts, time.Time) conditionalaccess.Outcome) conditionalaccess.Outcome {
	set, view, err := k.set(f.Tenant)
	if err != nil {
		return refuse(f, err)
	}
	now := k.clock.Now()
	return evaluate(set, k.complete(view, f, now), now)
}

// complete returns the facts with what the caller left to the directory. The
// caller's own are not changed.
func (k *Keeper) complete(v *store.View, f *conditionalaccess.Facts, now time.Time) *conditionalaccess.Facts {
	if f.User == nil || f.User.ID == "" {
		return f
	}
	u := *f.User
	if u.Groups == nil {
		u.Groups = state.Memberships(v, f.Tenant, u.ID, now)
	}
	if u.Roles == nil {
		for _, r := range state.Roles(v, f.Tenant, u.ID, now) {
			u.Roles = append(u.Roles, directory.ObjectID(r))
		}
	}
	if !u.MFARegistered {
		u.MFARegistered = state.HasFactor(v, f.Tenant, u.ID)
	}
	if u.Guest == conditionalaccess.Member {
		if d, err := state.Users.Get(v, state.Key(f.Tenant, u.ID)); err == nil && d.Guest {
			u.Guest = conditionalaccess.B2BCollaborationGuest
		}
	}
	c := *f
	c.User = &u
	return &c
}

// refuse is the decision when none can be made.
func refuse(f *conditionalaccess.Facts, err error) conditionalaccess.Outcome {
	info, _ := conditionalaccess.CodeBlocked.Info()
	return conditionalaccess.Outcome{
		Decision: conditionalaccess.Blocked,
		Refusal: &conditionalaccess.Refusal{
			Code: info.Code, Error: info.ErrorFor(f.Step, f.V1), Status: info.Status,
			Description: "Access has been blocked by Conditional Access policies. " + errs.Message(err),
		},
		Reasons: []string{errs.Message(err)},
	}
}

// Unresolved describes what a tenant's policies refer to and does not exist, in
// order.
func (k *Keeper) Unresolved(tenant directory.TenantID) ([]string, error) {
	set, _, err := k.Set(tenant)
	if err != nil {
		return nil, err
	}
	list := set.Unresolved()
	slices.Sort(list)
	return list, nil
}
