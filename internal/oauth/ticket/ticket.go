// Package ticket keeps what the protocol hands out and takes back: authorization
// codes, device codes, refresh tokens, and the memory of what was used or
// revoked. Codes are records in etcd under the hash of the code, redeemed in a
// transaction: of many callers one wins. Refresh tokens are sealed and
// self-contained.
package ticket

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Tickets keeps tickets in a store. All of its fields are required.
type Tickets struct {
	Store  *store.Store
	Clock  clock.Clock
	Sealer *state.Sealer
}

func fault(code aadsts.Code, args ...any) *aadsts.Error { return aadsts.New(code, args...) }

// Pairwise returns the tenant's secret, which is made when it is first needed
// and never changes: subjects would.
func (k *Tickets) Pairwise(ctx context.Context, tenant directory.TenantID) ([]byte, error) {
	if t, err := tenantSecrets.Get(k.Store.View(), string(tenant)); err == nil {
		return t.Pairwise, nil
	}
	var secret []byte
	err := k.Store.Update(ctx, func(tx *store.Tx) error {
		t, err := tenantSecrets.Get(tx, string(tenant))
		if err == nil {
			secret = t.Pairwise
			return nil
		}
		if !errs.Is(err, errs.NotFound) {
			return err
		}
		secret = make([]byte, 32)
		rand.Read(secret)
		return tenantSecrets.Create(tx, &tenantSecret{tenant, secret})
	})
	return secret, err
}

// Revoke ends everything that came from one grant.
func (k *Tickets) Revoke(ctx context.Context, grant string) error {
	return k.Store.Update(ctx, func(tx *store.Tx) error {
		return revokedGrants.Put(tx, &revokedGrant{grant, k.Clock.Now()})
	})
}

// Revoked tells whether a grant has ended.
func (k *Tickets) Revoked(ctx context.Context, grant string) (bool, error) {
	_, err := revokedGrants.GetFresh(ctx, k.Store, grant)
	if errs.Is(err, errs.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// Spend remembers for life that key was used: AADSTS50012 if it was before.
func (k *Tickets) Spend(ctx context.Context, key string, life time.Duration) error {
	err := k.Store.Update(ctx, func(tx *store.Tx) error {
		return usedAssertions.Create(tx, &usedAssertion{Key: key, Life: life})
	})
	if errs.Is(err, errs.Exists) {
		return fault(50012, "the client assertion was used before (jti)")
	}
	return err
}

// Random returns n random bytes as URL-safe text.
func Random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Hash is how codes are kept: whoever reads the store cannot use them.
func Hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
