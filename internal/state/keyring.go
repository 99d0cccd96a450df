package state

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// Keyring gives the signing keys of tenants, decoded once, and makes new ones
// when their time has come. Every replica has one over the same records. It is
// safe for concurrent use.
type Keyring struct {
	store  *store.Store
	clock  clock.Clock
	policy token.Policy
	log    *slog.Logger

	mu   sync.RWMutex
	keys map[string]decodedKey           // by record key
	sets map[directory.TenantID]*ringSet // valid for one view revision
}

type decodedKey struct {
	rev int64
	key *token.Key
}

type ringSet struct {
	rev int64
	set *token.Set
}

// NewKeyring returns a Keyring over state.SigningKeys.
func NewKeyring(s *store.Store, c clock.Clock, p token.Policy, log *slog.Logger) *Keyring {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Keyring{store: s, clock: c, policy: p, log: log, keys: map[string]decodedKey{}, sets: map[directory.TenantID]*ringSet{}}
}

// Set returns the keys of a tenant as the view shows them now.
func (k *Keyring) Set(tenant directory.TenantID) (*token.Set, error) {
	view := k.store.View()
	k.mu.RLock()
	s := k.sets[tenant]
	k.mu.RUnlock()
	if s != nil && s.rev == view.Revision() {
		return s.set, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	set, err := k.decode(view, tenant)
	if err != nil {
		return nil, err
	}
	k.sets[tenant] = &ringSet{rev: view.Revision(), set: set}
	return set, nil
}

// decode is called with mu held.
func (k *Keyring) decode(r store.Reader, tenant directory.TenantID) (*token.Set, error) {
	var keys []*token.Key
	for record := range SigningKeys.Where(r, "tenant", string(tenant)) {
		name := SigningKeyKey(record)
		rev, _ := SigningKeys.Rev(r, name)
		d, ok := k.keys[name]
		if !ok || d.rev != rev || rev == 0 {
			key, err := record.Key()
			if err != nil {
				return nil, err
			}
			d = decodedKey{rev, key}
			if rev != 0 {
				k.keys[name] = d
			}
		}
		keys = append(keys, d.key)
	}
	return token.NewSet(k.policy, keys...)
}

// Active returns the key that signs for a tenant now, and makes one if the
// tenant has none.
func (k *Keyring) Active(ctx context.Context, tenant directory.TenantID) (*token.Key, error) {
	for range 2 {
		set, err := k.Set(tenant)
		if err != nil {
			return nil, err
		}
		if key, ok := set.Active(k.clock.Now()); ok {
			return key, nil
		}
		if err := k.Renew(ctx, tenant, false); err != nil {
			return nil, err
		}
	}
	return nil, errs.New(errs.Internal, "tenant %s has no active signing key", tenant)
}

// Renew makes the next key of a tenant if one is due, or in any case if now is
// set. Replicas that do so at once make one key together.
func (k *Keyring) Renew(ctx context.Context, tenant directory.TenantID, now bool) error {
	var made *token.Key // generated outside of the transaction: it takes a while and may run twice
	return k.store.Update(ctx, func(tx *store.Tx) error {
		tx.Guard("signingkeys/" + string(tenant))
		k.mu.Lock()
		set, err := k.decode(tx, tenant)
		k.mu.Unlock()
		if err != nil {
			return err
		}
		at := k.clock.Now()
		times, due := k.policy.Plan(set, at)
		if now && !due {
			times, due = k.policy.Rotate(set, at), true
		}
		if !due {
			return nil
		}
		if made == nil || made.Times != times {
			if made, err = token.GenerateKey(tenant, times); err != nil {
				return err
			}
		}
		record := made.Record()
		return SigningKeys.Create(tx, &record)
	})
}

// Revoke ends every signing key of a tenant at once and makes a new one: for a
// key that has leaked. Every token of the tenant is void from then on.
func (k *Keyring) Revoke(ctx context.Context, tenant directory.TenantID) error {
	at := k.clock.Now()
	made, err := token.GenerateKey(tenant, token.KeyTimes{Published: at, Activates: at})
	if err != nil {
		return err
	}
	return k.store.Update(ctx, func(tx *store.Tx) error {
		tx.Guard("signingkeys/" + string(tenant))
		for r := range SigningKeys.Where(tx, "tenant", string(tenant)) {
			err := SigningKeys.Modify(tx, SigningKeyKey(r), func(r *token.Record) error {
				if r.Revoked.IsZero() || at.Before(r.Revoked) {
					r.Revoked = at
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		record := made.Record()
		return SigningKeys.Create(tx, &record)
	})
}

// Maintain makes the keys that are due in every tenant and removes those that
// have outlived their use. The server calls it now and then.
func (k *Keyring) Maintain(ctx context.Context) {
	for t := range Tenants.All(k.store.View()) {
		if err := k.maintain(ctx, t.ID); err != nil {
			k.log.Error("renewing signing keys", "tenant", t.ID, "error", err)
		}
	}
}

func (k *Keyring) maintain(ctx context.Context, tenant directory.TenantID) error {
	if err := k.Renew(ctx, tenant, false); err != nil {
		return err
	}
	return k.store.Update(ctx, func(tx *store.Tx) error {
		k.mu.Lock()
		set, err := k.decode(tx, tenant)
		k.mu.Unlock()
		if err != nil {
			return err
		}
		outlived := map[token.KeyID]bool{}
		for _, id := range set.Outlived(k.clock.Now().Add(-time.Hour)) {
			outlived[id] = true
		}
		for r := range SigningKeys.Where(tx, "tenant", string(tenant)) {
			key, err := r.Key()
			if err != nil {
				return err
			}
			if outlived[key.ID] {
				if err := SigningKeys.Delete(tx, SigningKeyKey(r)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
