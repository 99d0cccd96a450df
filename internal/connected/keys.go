package connected

import (
	"context"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/token"
)

const (
	// fresh is how long keys are used without asking Documents again, which
	// keeps them for much longer and knows when they are too old.
	fresh = time.Minute
	// fetchTimeout bounds how long a review waits for keys.
	fetchTimeout = 8 * time.Second
)

// keys are those of one issuer.
type keys struct {
	at   time.Time
	byID map[token.KeyID]token.PublicKey
}

// Beside returns the connected tenants beside the hosted ones, as issuers whose
// tokens a webhook believes. A hosted issuer is never asked of this package.
func (s *Service) Beside(hosted token.Keys) token.Keys { return &union{hosted, s} }

type union struct {
	hosted token.Keys
	s      *Service
}

// Issuer implements token.Keys.
func (u *union) Issuer(name string) (token.Trust, bool) {
	if t, ok := u.hosted.Issuer(name); ok {
		return t, true
	}
	t, _, ok := u.s.trust(name)
	return t, ok
}

// Key implements token.Keys.
func (u *union) Key(issuer string, kid token.KeyID) (token.PublicKey, bool) {
	if _, ok := u.hosted.Issuer(issuer); ok {
		return u.hosted.Key(issuer, kid)
	}
	_, documents, ok := u.s.trust(issuer)
	if !ok {
		return token.PublicKey{}, false
	}
	return u.s.key(documents, kid)
}

// trust finds the connected tenant whose issuer has exactly this name, and the
// issuer whose documents hold its keys: both versions share those of v2.0, since
// those are on the tenant's own host.
func (s *Service) trust(name string) (trust token.Trust, documents string, ok bool) {
	for _, part := range strings.Split(name, "/") {
		id, isID := directory.ParseGUID(part)
		if !isID {
			continue
		}
		t, known := s.tenant(directory.TenantID(id))
		if !known {
			continue
		}
		for _, v := range []token.Version{token.V1, token.V2} {
			if names(t).Name(v, t.ID) == name {
				return token.Trust{Tenant: t.ID, Version: v}, names(t).Name(token.V2, t.ID), true
			}
		}
	}
	return token.Trust{}, "", false
}

// key returns a key from memory. A kid that is not there causes a fetch, of
// which Documents allows one in a window, whatever kids are invented.
func (s *Service) key(documents string, kid token.KeyID) (token.PublicKey, bool) {
	s.mu.Lock()
	k := s.keys[documents]
	s.mu.Unlock()
	now := s.clock.Now()
	if k != nil && now.Sub(k.at) >= 0 && now.Sub(k.at) < fresh {
		if found, ok := k.byID[kid]; ok {
			return found, true
		}
	} else if found, ok := s.load(context.Background(), documents, false)[kid]; ok {
		return found, true
	}
	found, ok := s.load(context.Background(), documents, true)[kid]
	return found, ok
}

// load asks Documents. When they have no keys that may be used there are none:
// an issuer that no longer answers, or no longer as itself, is believed no more.
func (s *Service) load(ctx context.Context, documents string, refresh bool) map[token.KeyID]token.PublicKey {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	found, err := s.cfg.Documents.Keys(ctx, documents, refresh)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.keys, documents)
		s.log.Warn("the keys of an issuer are not at hand", "issuer", documents, "error", err)
		return nil
	}
	s.keys[documents] = &keys{at: s.clock.Now(), byID: found}
	return found
}
