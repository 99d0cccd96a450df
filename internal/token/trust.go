package token

import (
	"crypto/rsa"
	"maps"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// TrustStore is a Keys that is filled once and then only read. A server makes a
// new one whenever a tenant or a key changes and swaps it in; that is rare.
type TrustStore struct {
	issuers map[string]issuer
}

type issuer struct {
	trust Trust
	keys  map[KeyID]PublicKey
}

// NewTrustStore returns a store that trusts nobody.
func NewTrustStore() *TrustStore { return &TrustStore{issuers: make(map[string]issuer)} }

// AddTenant trusts a hosted tenant's own keys, under its v1.0 and v2.0 issuers.
func (s *TrustStore) AddTenant(tenant directory.TenantID, names Issuers, set *Set) error {
	keys := make(map[KeyID]PublicKey, len(set.keys))
	for _, k := range set.keys {
		if k.Tenant != tenant {
			return errs.New(errs.Internal, "a signing key of tenant %s for tenant %s", k.Tenant, tenant)
		}
		keys[k.ID], _ = set.Lookup(k.ID)
	}
	for _, v := range []Version{V1, V2} {
		if err := s.add(names.Name(v, tenant), Trust{tenant, v}, keys); err != nil {
			return err
		}
	}
	return nil
}

// AddRemote trusts an issuer elsewhere for one tenant and version, with the
// keys of its document. The keys are valid until a newer document replaces
// them, or until notAfter if that is not zero.
func (s *TrustStore) AddRemote(name string, trust Trust, keys map[KeyID]*rsa.PublicKey, notAfter time.Time) error {
	m := make(map[KeyID]PublicKey, len(keys))
	for id, k := range keys {
		if usableKey(k) {
			m[id] = PublicKey{Key: k, NotAfter: notAfter}
		}
	}
	return s.add(name, trust, m)
}

func (s *TrustStore) add(name string, trust Trust, keys map[KeyID]PublicKey) error {
	if name == "" || trust.Tenant == "" || trust.Version != V1 && trust.Version != V2 {
		return errs.New(errs.Internal, "trust without issuer, tenant or version")
	}
	if _, twice := s.issuers[name]; twice {
		return errs.New(errs.Invalid, "Issuer %s is trusted twice.", name)
	}
	s.issuers[name] = issuer{trust, maps.Clone(keys)}
	return nil
}

// Issuer implements Keys.
func (s *TrustStore) Issuer(name string) (Trust, bool) {
	i, ok := s.issuers[name]
	return i.trust, ok
}

// Key implements Keys.
func (s *TrustStore) Key(issuer string, kid KeyID) (PublicKey, bool) {
	k, ok := s.issuers[issuer].keys[kid]
	return k, ok
}
