package login

import (
	"context"
	"errors"
	"time"

	"github.com/entrance-id/entrance/internal/pop"
	"github.com/entrance-id/entrance/internal/tokencache"
)

// popLife is how long a signed request may be used: verifiers accept 15
// minutes, and a minute is kept for clocks that differ.
const popLife = 14 * time.Minute

const popKeyName = "pop-key"

// popSigningKey returns the key that this machine's proof-of-possession tokens
// are bound to. It is made once and kept sealed in the cache.
func (s *Session) popSigningKey() (*pop.Key, error) {
	if s.pop != nil {
		return s.pop, nil
	}
	if s.pop = s.storedPoPKey(); s.pop != nil {
		return s.pop, nil
	}
	// One process makes the key; the others wait here and find it.
	lock, err := s.store.Lock(context.Background(), tokencache.Key{Mode: popKeyName}, nil)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	if s.pop = s.storedPoPKey(); s.pop != nil {
		return s.pop, nil
	}
	k, err := pop.GenerateKey()
	if err != nil {
		return nil, err
	}
	der, err := k.MarshalPKCS8()
	if err != nil {
		return nil, err
	}
	if err := s.store.PutBlob(popKeyName, der); err != nil {
		s.sys.Logf(3, "the PoP key could not be kept: %v", err)
	}
	s.pop = k
	return k, nil
}

func (s *Session) storedPoPKey() *pop.Key {
	der, ok := s.store.GetBlob(popKeyName)
	if !ok {
		return nil
	}
	k, err := pop.ParseKey(der)
	if err != nil {
		s.sys.Logf(5, "the stored PoP key is damaged; a new one is made")
		return nil
	}
	return k
}

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
	if claimsOf(t.Value, &bound) && bound.Cnf.Kid != "" && bound.Cnf.Kid != k.Thumbprint() {
		return t, errors.New("failed to get token: the provider bound the token to another key")
	}
	now := s.sys.Clock.Now()
	if t.Value, err = k.Sign(t.Value, claims["u"], pop.NewNonce(), now); err != nil {
		return t, err
	}
	if end := now.Add(popLife).UTC().Truncate(time.Second); end.Before(t.ExpiresOn) {
		t.ExpiresOn = end
	}
	return t, nil
}
