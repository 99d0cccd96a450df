package state

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pki"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

var (
	// SigningKeys are the keys that sign tokens, sealed: "tenant".
	SigningKeys = store.NewTable("signingkeys", store.Options[token.Record]{
		Key: SigningKeyKey,
		Indexes: []store.Index[token.Record]{
			{Name: "tenant", Values: func(r *token.Record) []string { return one(string(r.Tenant)) }},
		},
		Sealed: true,
	})

	// Authorities are the certificate authorities that every replica shares,
	// sealed, by name.
	Authorities = store.NewTable("authorities", store.Options[pki.Authority]{
		Key:    func(a *pki.Authority) string { return a.Name },
		Sealed: true,
	})

	// TenantSecrets, sealed, by tenant.
	TenantSecrets = store.NewTable("tenantsecrets", store.Options[TenantSecret]{
		Key:    func(s *TenantSecret) string { return string(s.Tenant) },
		Sealed: true,
	})
)

// TenantSecret is what a tenant's tokens are made with, beside signing keys.
type TenantSecret struct {
	Tenant directory.TenantID `json:"tenantId"`
	// Pairwise makes the pairwise subjects of tokens (token.PairwiseSubject).
	Pairwise []byte `json:"pairwise"`
	// Refresh seals refresh tokens.
	Refresh []byte `json:"refresh"`
}

func newTenantSecret(tenant directory.TenantID) *TenantSecret {
	s := &TenantSecret{Tenant: tenant, Pairwise: make([]byte, 32), Refresh: make([]byte, 32)}
	rand.Read(s.Pairwise)
	rand.Read(s.Refresh)
	return s
}

// SigningKeyKey returns the key of a signing key's record: its tenant and the
// SHA-256 of its certificate.
func SigningKeyKey(r *token.Record) string {
	sum := sha256.Sum256(r.Certificate)
	return join(string(r.Tenant), hex.EncodeToString(sum[:]))
}
