package tokencache

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
)

// magic starts each sealed file and names its format.
const magic = "entrance-cache/1\n"

const keySize = 32

// errSealed means that a file is not one that this key sealed for this name.
var errSealed = errors.New("not sealed by this key")

// sealer encrypts with one key. The name of the thing is authenticated with
// it, so that files cannot be exchanged for one another.
type sealer struct {
	aead cipher.AEAD
	key  []byte
}

func newSealer(key []byte) (*sealer, error) {
	if len(key) != keySize {
		return nil, errors.New("sealing key has the wrong length")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, key: key}, nil
}

func (s *sealer) seal(name, plain []byte) []byte {
	return s.aead.Seal([]byte(magic), nil, plain, append([]byte(magic), name...))
}

func (s *sealer) open(name, sealed []byte) ([]byte, error) {
	if !bytes.HasPrefix(sealed, []byte(magic)) {
		return nil, errSealed
	}
	plain, err := s.aead.Open(nil, nil, sealed[len(magic):], append([]byte(magic), name...))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

// digest is a keyed digest of parts: equal inputs give equal digests within
// one store, and nobody without the sealing key can test a guess.
func (s *sealer) digest(parts ...[]byte) string {
	mac := hmac.New(sha256.New, s.key)
	for _, p := range parts {
		sum := sha256.Sum256(p)
		mac.Write(sum[:])
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:18])
}

func newKey() []byte {
	key := make([]byte, keySize)
	rand.Read(key) // never fails
	return key
}
