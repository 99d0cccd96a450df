package login

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/entrance-id/entrance/internal/tokencache"
)

// popLife is how long a signed request may be used: verifiers accept 15
// minutes, and a minute is kept for clocks that differ.
const popLife = 14 * time.Minute

const popKeyName = "pop-key"

// popKey is the key that this machine's proof-of-possession tokens are bound
// to. It is made once and kept sealed in the cache.
type popKey struct {
	private *rsa.PrivateKey
	n, e    string
	kid     string
}

// popSigningKey returns the key, made if need be.
func (s *Session) popSigningKey() (*popKey, error) {
	if s.pop != nil {
		return s.pop, nil
	}
	if k := s.storedPoPKey(); k != nil {
		s.pop = k
		return k, nil
	}
	lock, err := s.store.Lock(context.Background(), tokencache.Key{Mode: popKeyName}, nil)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	if k := s.storedPoPKey(); k != nil {
		s.pop = k
		return k, nil
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	if err := s.store.PutBlob(popKeyName, der); err != nil {
		s.sys.Logf(3, "the PoP key could not be kept: %v", err)
	}
	s.pop = newPoPKey(private)
	return s.pop, nil
}

func (s *Session) storedPoPKey() *popKey {
	der, ok := s.store.GetBlob(popKeyName)
	if !ok {
		return nil
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	private, isRSA := k.(*rsa.PrivateKey)
	if err != nil || !isRSA {
		return nil
	}
	return newPoPKey(private)
}

func newPoPKey(private *rsa.PrivateKey) *popKey {
	k := &popKey{
		private: private,
		n:       base64.RawURLEncoding.EncodeToString(private.N.Bytes()),
		e:       base64.RawURLEncoding.EncodeToString(big.NewInt(int64(private.E)).Bytes()),
	}
	// RFC 7638: the required members in lexical order, without white space.
	sum := sha256.Sum256([]byte(`{"e":"` + k.e + `","kty":"RSA","n":"` + k.n + `"}`))
	k.kid = base64.RawURLEncoding.EncodeToString(sum[:])
	return k
}

// reqCnf names the key in a token request.
func (s *Session) reqCnf() (string, error) {
	k, err := s.popSigningKey()
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"kid":"` + k.kid + `","xms_ksl":"sw"}`)), nil
}

// The members of a signed request in the order in which they are sent.
type (
	popHeader struct {
		Typ string `json:"typ"`
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}
	popJWK struct {
		E   string `json:"e"`
		Kty string `json:"kty"`
		N   string `json:"n"`
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}
	popCnf struct {
		JWK popJWK `json:"jwk"`
	}
	popPayload struct {
		At    string `json:"at"`
		Ts    int64  `json:"ts"`
		U     string `json:"u"`
		Cnf   popCnf `json:"cnf"`
		Nonce string `json:"nonce"`
	}
)

// signed wraps an access token into a fresh signed request for the cluster
// that --pop-claims names. It ends no later than the request is good for, so
// that a long-running kubectl asks again in time.
func (s *Session) signed(t Token) (Token, error) {
	claims, err := ParsePoPClaims(s.o.PoPClaims)
	if err != nil {
		return t, err
	}
	k, err := s.popSigningKey()
	if err != nil {
		return t, err
	}
	var bound struct {
		Cnf struct{ Kid string }
	}
	if claimsOf(t.Value, &bound) && bound.Cnf.Kid != "" && bound.Cnf.Kid != k.kid {
		return t, errors.New("the provider bound the token to another key")
	}
	now := s.sys.Clock.Now()
	header, err := json.Marshal(popHeader{"pop", "RS256", k.kid})
	if err != nil {
		return t, err
	}
	payload, err := json.Marshal(popPayload{At: t.Value, Ts: now.Unix(), U: claims["u"],
		Cnf: popCnf{popJWK{k.e, "RSA", k.n, "RS256", k.kid}}, Nonce: guidWithoutDashes()})
	if err != nil {
		return t, err
	}
	input := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, k.private, crypto.SHA256, sum[:])
	if err != nil {
		return t, fmt.Errorf("signing the PoP token: %w", err)
	}
	t.Value = input + "." + base64.RawURLEncoding.EncodeToString(sig)
	if end := now.Add(popLife).UTC().Truncate(time.Second); end.Before(t.ExpiresOn) {
		t.ExpiresOn = end
	}
	return t, nil
}
