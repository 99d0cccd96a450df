package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"github.com/entrance-id/entrance/internal/errs"
)

// sealVersion is the first byte of a sealed value.
const sealVersion = 1

// sealer encrypts the values of sealed tables.
type sealer struct {
	aead cipher.AEAD
	mac  [32]byte // key for the names of claims
	id   string   // says which key it is without giving it away
}

func newSealer(key [32]byte) (*sealer, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "seal key")
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "seal key")
	}
	s := &sealer{aead: aead}
	copy(s.mac[:], derive(key[:], "entrance store: claim names"))
	s.id = hex.EncodeToString(derive(key[:], "entrance store: key id")[:8])
	return s, nil
}

func derive(key []byte, purpose string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(purpose))
	return m.Sum(nil)
}

// aad binds a value to its place: table and key.
func aad(t *table, key string) []byte { return []byte(t.name + "/" + key) }

func (s *sealer) seal(t *table, key string, raw []byte) []byte {
	out := make([]byte, 1, 1+len(raw)+s.aead.Overhead())
	out[0] = sealVersion
	return s.aead.Seal(out, nil, raw, aad(t, key))
}

func (s *sealer) open(t *table, key string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return nil, errs.New(errs.Internal, "record %s/%s is not sealed as this version seals", t.name, key)
	}
	raw, err := s.aead.Open(nil, nil, sealed[1:], aad(t, key))
	if err != nil {
		return nil, errs.New(errs.Internal, "record %s/%s does not open: it was damaged, moved from another key, or sealed with another seal key", t.name, key)
	}
	return raw, nil
}

// claimName keeps the claims of a sealed table from being read in etcd.
func (s *sealer) claimName(t *table, claim string) string {
	m := hmac.New(sha256.New, s.mac[:])
	m.Write([]byte(t.name + "\x00" + claim))
	return hex.EncodeToString(m.Sum(nil))
}
