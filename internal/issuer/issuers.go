package issuer

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/token"
)

// Local answers for issuers that Entrance serves itself.
type Local interface {
	// LocalKeys returns the key document of an issuer of ours. The boolean is
	// false for foreign issuers, about which nothing more is said. NotFound when
	// there is no such issuer of ours, Unavailable when its keys are not at hand.
	LocalKeys(ctx context.Context, issuer string) ([]byte, bool, error)
}

// DefaultKeyHosts are the hosts of keys that well-known issuers keep elsewhere.
var DefaultKeyHosts = map[string][]string{"accounts.google.com": {"www.googleapis.com"}}

// Config says how issuers are asked. The zero value of all but Clock is safe.
type Config struct {
	Clock  clock.Clock
	Logger *slog.Logger
	// Local, if not nil, is asked first.
	Local Local
	// AllowAddresses are networks inside which issuers may be although they are
	// not public. The metadata addresses of clouds stay refused.
	AllowAddresses []netip.Prefix
	// KeyHosts maps an issuer's host to further hosts on which its jwks_uri may
	// be. nil: DefaultKeyHosts.
	KeyHosts map[string][]string
	// Roots verifies the issuers' servers. nil: the system's.
	Roots *x509.CertPool
	// Timeout bounds a whole fetch, however it is dragged out. Zero: 10 s.
	Timeout time.Duration
	// Window is the shortest time between two fetches from one issuer; it doubles
	// with each failure up to a quarter of an hour. Zero: 10 s.
	Window time.Duration
	// MaxIssuers bounds how many foreign issuers are remembered. Zero: 512.
	MaxIssuers int
}

const (
	// grace is how much longer keys serve whose issuer cannot be reached.
	grace = time.Hour
	// localAge is how long the keys of an issuer of ours are kept: they are
	// read from disk.
	localAge = time.Second
	// maxFetches bounds the fetches that go on at a time.
	maxFetches = 32
)

// Issuers knows the keys of issuers. It is safe for concurrent use.
type Issuers struct {
	cfg     Config
	fetcher *fetcher
	slots   chan struct{}

	mu      sync.Mutex
	foreign map[string]*entry
	local   map[string]*localEntry
}

// entry is what is known of a foreign issuer, under the lock of Issuers.
type entry struct {
	gate    token.Gate
	used    time.Time
	fetched time.Time
	fresh   time.Time // keys need not be fetched again before
	keys    map[token.KeyID]token.PublicKey
	err     error         // of the latest fetch
	done    chan struct{} // closed when the fetch under way ends; nil when there is none
}

type localEntry struct {
	at   time.Time
	keys map[token.KeyID]token.PublicKey
}

// New returns Issuers that know no keys yet.
func New(cfg Config) (*Issuers, error) {
	if cfg.Clock == nil {
		return nil, errs.New(errs.Internal, "issuer: a clock is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.KeyHosts == nil {
		cfg.KeyHosts = DefaultKeyHosts
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Window <= 0 {
		cfg.Window = 10 * time.Second
	}
	if cfg.MaxIssuers <= 0 {
		cfg.MaxIssuers = 512
	}
	return &Issuers{
		cfg: cfg, fetcher: newFetcher(cfg.Roots, cfg.AllowAddresses, cfg.KeyHosts, cfg.Timeout),
		slots: make(chan struct{}, maxFetches), foreign: map[string]*entry{}, local: map[string]*localEntry{},
	}, nil
}

// Keys returns the signing keys of an issuer that somebody with the right to say
// so trusts. The map is shared: do not change it. With refresh the caller has
// met a key that was not there, and newer documents are fetched unless they just
// were. Unavailable when the issuer cannot be asked, or was lately and failed;
// Invalid when its name or its documents are not acceptable.
func (s *Issuers) Keys(ctx context.Context, issuer string, refresh bool) (map[token.KeyID]token.PublicKey, error) {
	if keys, ours, err := s.localKeys(ctx, issuer, refresh); ours {
		return keys, err
	}
	if err := CheckURL(issuer); err != nil {
		return nil, err
	}
	for {
		keys, wait, err := s.step(issuer, refresh)
		if wait == nil {
			return keys, err
		}
		select {
		case <-wait:
			refresh = false // whatever came of it was newer
		case <-ctx.Done():
			return nil, errs.Wrap(errs.Unavailable, ctx.Err(), "The keys of the issuer %q were not fetched in time", issuer)
		}
	}
}

func (s *Issuers) localKeys(ctx context.Context, issuer string, refresh bool) (map[token.KeyID]token.PublicKey, bool, error) {
	if s.cfg.Local == nil {
		return nil, false, nil
	}
	now := s.cfg.Clock.Now()
	s.mu.Lock()
	e := s.local[issuer]
	s.mu.Unlock()
	if e != nil && !refresh && now.Sub(e.at) >= 0 && now.Sub(e.at) < localAge {
		return e.keys, true, nil
	}
	document, ours, err := s.cfg.Local.LocalKeys(ctx, issuer)
	if !ours || err != nil {
		s.mu.Lock()
		delete(s.local, issuer)
		s.mu.Unlock()
		return nil, ours, err
	}
	keys, err := parseKeys(document)
	if err != nil {
		return nil, true, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.local) >= s.cfg.MaxIssuers {
		clear(s.local) // a second's worth of work, not worth an order
	}
	s.local[issuer] = &localEntry{now, keys}
	return keys, true, nil
}

// step returns the keys or the error that there is, or a channel to wait on
// before another step.
func (s *Issuers) step(issuer string, refresh bool) (map[token.KeyID]token.PublicKey, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock.Now()
	e, err := s.entry(issuer, now)
	if err != nil {
		return nil, nil, err
	}
	e.used = now
	// A clock that was set back makes nothing younger.
	if e.keys != nil && !refresh && now.Before(e.fresh) && !now.Before(e.fetched) {
		return e.keys, nil, nil
	}
	if e.done != nil {
		return nil, e.done, nil
	}
	if e.gate.Try(now) {
		e.done = make(chan struct{})
		go s.refresh(issuer, e)
		return nil, e.done, nil
	}
	if e.keys != nil && now.Before(e.fresh.Add(grace)) {
		return e.keys, nil, nil
	}
	if e.err == nil {
		return nil, nil, errs.New(errs.Unavailable, "The keys of the issuer %q are too old and cannot be fetched again yet.", issuer)
	}
	return nil, nil, e.err
}

// entry returns what is known of an issuer. When too many are known the one that
// was not asked for longest makes room, if forgetting it opens no gate.
func (s *Issuers) entry(issuer string, now time.Time) (*entry, error) {
	if e := s.foreign[issuer]; e != nil {
		return e, nil
	}
	if len(s.foreign) >= s.cfg.MaxIssuers {
		oldest, found := "", false
		for name, e := range s.foreign {
			if e.done == nil && !e.gate.Next().After(now) && (!found || e.used.Before(s.foreign[oldest].used)) {
				oldest, found = name, true
			}
		}
		if !found {
			return nil, errs.New(errs.Unavailable, "Too many issuers are asked for their keys at a time. Try again in a moment.")
		}
		delete(s.foreign, oldest)
	}
	e := &entry{gate: token.Gate{Window: s.cfg.Window}}
	s.foreign[issuer] = e
	return e, nil
}

// refresh fetches the keys of an issuer. It does not depend on the request that
// was the first to need them: others wait for it too.
func (s *Issuers) refresh(issuer string, e *entry) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout)
	defer cancel()
	var keys map[token.KeyID]token.PublicKey
	var age time.Duration
	var err error
	select {
	case s.slots <- struct{}{}:
		keys, age, err = s.fetcher.fetch(ctx, issuer)
		<-s.slots
	case <-ctx.Done():
		err = errs.New(errs.Unavailable, "Too many issuers are asked for their keys at a time. Try again in a moment.")
	}
	if err != nil {
		s.cfg.Logger.Warn("the keys of an issuer cannot be fetched", "issuer", issuer, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock.Now()
	e.err = err
	switch {
	case err == nil:
		e.keys, e.fetched, e.fresh = keys, now, now.Add(age)
	case errs.Is(err, errs.Invalid):
		e.keys = nil // it no longer speaks as the issuer that was trusted
	}
	e.gate.Done(err == nil)
	close(e.done)
	e.done = nil
}
