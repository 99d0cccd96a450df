package keyring

import (
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// Trust is the hosted tenants as issuers whose tokens are believed. It
// implements token.Keys: an issuer's name, its tenant and its keys are bound to
// one another.
type Trust struct {
	Ring    *Ring
	Issuers token.Issuers
}

// Issuer implements token.Keys.
func (t *Trust) Issuer(name string) (token.Trust, bool) {
	tenant, version, ok := t.parse(name)
	if !ok {
		return token.Trust{}, false
	}
	if _, err := state.Tenants.Get(t.Ring.store.View(), string(tenant)); err != nil {
		return token.Trust{}, false
	}
	return token.Trust{Tenant: tenant, Version: version}, true
}

// Key implements token.Keys.
func (t *Trust) Key(issuer string, kid token.KeyID) (token.PublicKey, bool) {
	tenant, _, ok := t.parse(issuer)
	if !ok {
		return token.PublicKey{}, false
	}
	set, err := t.Ring.Set(tenant)
	if err != nil {
		return token.PublicKey{}, false
	}
	return set.Lookup(kid)
}

// parse finds the tenant in an issuer's name and accepts only the exact name
// that the tenant's own tokens carry.
func (t *Trust) parse(name string) (directory.TenantID, token.Version, bool) {
	for _, part := range strings.Split(name, "/") {
		id, ok := directory.ParseGUID(part)
		if !ok {
			continue
		}
		tenant := directory.TenantID(id)
		for _, v := range []token.Version{token.V1, token.V2} {
			if t.Issuers.Name(v, tenant) == name {
				return tenant, v, true
			}
		}
		return "", "", false
	}
	return "", "", false
}
