// Package keyring keeps each tenant's signing keys: it makes the first one,
// rotates them on schedule and on demand, and hands out the sets that sign and
// verify.
//
// What a set may do at which time is decided by package token alone; this
// package only stores keys and makes sure that replicas do not rotate at the
// same time.
package keyring

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// Ring is the signing keys of all tenants.
type Ring struct {
	store  *store.Store
	clock  clock.Clock
	policy token.Policy
	logger *slog.Logger

	mu   sync.RWMutex
	sets map[directory.TenantID]*token.Set

	cancel func()
}

// New returns the ring of the keys in s. Close it before the store.
func New(s *store.Store, c clock.Clock, p token.Policy, logger *slog.Logger) *Ring {
	r := &Ring{store: s, clock: c, policy: p, logger: logger, sets: map[directory.TenantID]*token.Set{}}
	r.cancel = s.Subscribe(func(_ *store.View, changes []store.Change) {
		for _, c := range changes {
			if c.Table == state.SigningKeys.Name() {
				r.mu.Lock()
				clear(r.sets)
				r.mu.Unlock()
				return
			}
		}
	})
	return r
}

// Close stops following the store.
func (r *Ring) Close() { r.cancel() }

// Set returns the keys of a tenant. It is empty for a tenant that has none.
func (r *Ring) Set(tenant directory.TenantID) (*token.Set, error) {
	r.mu.RLock()
	set := r.sets[tenant]
	r.mu.RUnlock()
	if set != nil {
		return set, nil
	}
	// The lock is held while the view is read: a change that comes in between
	// waits for it and then clears what was read.
	r.mu.Lock()
	defer r.mu.Unlock()
	if set := r.sets[tenant]; set != nil {
		return set, nil
	}
	set, err := r.read(r.store.View(), tenant)
	if err != nil {
		return nil, err
	}
	r.sets[tenant] = set
	return set, nil
}

// Active returns the key that signs a tenant's tokens now. Unavailable when
// there is none.
func (r *Ring) Active(tenant directory.TenantID) (*token.Key, error) {
	set, err := r.Set(tenant)
	if err != nil {
		return nil, err
	}
	key, ok := set.Active(r.clock.Now())
	if !ok {
		return nil, errs.New(errs.Unavailable, "The tenant %s has no active signing key.", tenant)
	}
	return key, nil
}

func (r *Ring) read(view store.Reader, tenant directory.TenantID) (*token.Set, error) {
	var keys []*token.Key
	for rec := range state.SigningKeys.Where(view, "tenant", string(tenant)) {
		k, err := rec.Key()
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return token.NewSet(r.policy, keys...)
}

// Ensure makes the key that is due for a tenant, if one is: the first one, or
// the next one ahead of its time. Keys that have outlived their use go.
func (r *Ring) Ensure(ctx context.Context, tenant directory.TenantID) error {
	return r.change(ctx, tenant, func(set *token.Set, now time.Time) (token.KeyTimes, bool) {
		return r.policy.Plan(set, now)
	}, nil)
}

// Rotate makes a new key now. With revoke the present key ends at once, and
// every token that it signed with it; otherwise it keeps verifying for the
// grace period.
func (r *Ring) Rotate(ctx context.Context, tenant directory.TenantID, revoke bool) error {
	var revoked token.KeyID
	if revoke {
		key, err := r.Active(tenant)
		if err != nil {
			return err
		}
		revoked = key.ID
	}
	return r.change(ctx, tenant, func(set *token.Set, now time.Time) (token.KeyTimes, bool) {
		return r.policy.Rotate(set, now), true
	}, func(k *token.Key) bool { return k.ID == revoked })
}

// change revokes the keys that revoke picks and makes the key that plan asks
// for, in one transaction that two replicas cannot both win.
func (r *Ring) change(ctx context.Context, tenant directory.TenantID, plan func(*token.Set, time.Time) (token.KeyTimes, bool), revoke func(*token.Key) bool) error {
	var made *token.Key
	err := r.store.Update(ctx, func(tx *store.Tx) error {
		made = nil
		tx.Guard("signingkeys/" + string(tenant))
		now := r.clock.Now()
		records := slices.Collect(state.SigningKeys.Where(tx, "tenant", string(tenant)))
		var keys []*token.Key
		for _, rec := range records {
			k, err := rec.Key()
			if err != nil {
				return err
			}
			if revoke != nil && revoke(k) {
				k = k.Revoke(now)
				changed := k.Record()
				if err := state.SigningKeys.Put(tx, &changed); err != nil {
					return err
				}
			}
			keys = append(keys, k)
		}
		set, err := token.NewSet(r.policy, keys...)
		if err != nil {
			return err
		}
		for _, id := range set.Outlived(now) {
			for i, k := range keys {
				if k.ID == id {
					if err := state.SigningKeys.Delete(tx, state.SigningKeyKey(records[i])); err != nil {
						return err
					}
				}
			}
		}
		times, due := plan(set, now)
		if !due {
			return nil
		}
		key, err := token.GenerateKey(tenant, times)
		if err != nil {
			return err
		}
		rec := key.Record()
		made = key
		return state.SigningKeys.Create(tx, &rec)
	})
	if err == nil && made != nil {
		r.logger.Info("new signing key", "tenant", tenant, "kid", made.ID, "signs from", made.Times.Activates)
	}
	return err
}

// Run keeps every tenant's keys as they should be until ctx ends. One replica
// does it for all.
func (r *Ring) Run(ctx context.Context) {
	r.store.Lead(ctx, "keyring", func(ctx context.Context) {
		tick := time.NewTicker(time.Minute)
		defer tick.Stop()
		for {
			for t := range state.Tenants.All(r.store.View()) {
				if err := r.Ensure(ctx, t.ID); err != nil && ctx.Err() == nil {
					r.logger.Error("signing keys could not be kept", "tenant", t.ID, "error", err)
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}
