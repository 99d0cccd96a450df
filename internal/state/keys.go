package state

import (
	"crypto/sha256"
	"encoding/hex"

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
)

// SigningKeyKey returns the key of a signing key's record: its tenant and the
// SHA-256 of its certificate.
func SigningKeyKey(r *token.Record) string {
	sum := sha256.Sum256(r.Certificate)
	return join(string(r.Tenant), hex.EncodeToString(sum[:]))
}
