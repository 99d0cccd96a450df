// Package federation fetches the signing keys of foreign OpenID Connect
// issuers, carefully: whoever may register a federated credential chooses an
// address that this server then connects to.
//
// Only https is spoken, to addresses of the public Internet and to networks that
// the operator has named; the address is checked when the connection is made, so
// a name that resolves differently the second time gains nothing. Redirects are
// not followed, documents are bounded in size and each fetch in time. An
// issuer's discovery document must name exactly that issuer. Unknown keys cause
// one fetch in a window and failures make the window longer, so nobody can use
// this server to flood another.
package federation

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/token"
)

// Config says how issuers are asked. Clock is required.
type Config struct {
	Clock  clock.Clock
	Logger *slog.Logger
	// Networks are private networks whose addresses may be connected to.
	// Link-local, multicast and unspecified addresses never may.
	Networks []netip.Prefix
	// TLS is for issuers whose certificates the system does not trust.
	TLS *tls.Config
	// Local answers for issuers whose keys are known without asking, such as
	// clusters that Entrance runs itself.
	Local func(issuer string) (map[token.KeyID]token.PublicKey, bool)
	// Timeout bounds a whole fetch. 0: 5 seconds.
	Timeout time.Duration
	// MaxAge is how long keys are believed without asking again. 0: an hour.
	MaxAge time.Duration
}

// maxIssuers bounds the cache.
const maxIssuers = 1000

// maxDiscovery bounds a discovery document.
const maxDiscovery = 64 << 10

// Fetcher fetches and keeps keys. It is safe for concurrent use.
type Fetcher struct {
	cfg    Config
	client *http.Client

	mu      sync.Mutex
	issuers map[string]*issuer
}

// issuer is what is known of one issuer. Its lock is held while it is asked, so
// that many who need its keys wait for one fetch.
type issuer struct {
	mu      sync.Mutex
	gate    token.Gate
	keys    map[token.KeyID]token.PublicKey
	fetched time.Time
	err     error
	used    time.Time // guarded by Fetcher.mu
}

// New returns a Fetcher.
func New(cfg Config) *Fetcher {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.MaxAge <= 0 {
		cfg.MaxAge = time.Hour
	}
	f := &Fetcher{cfg: cfg, issuers: map[string]*issuer{}}
	dialer := &net.Dialer{Timeout: cfg.Timeout, Control: f.control}
	f.client = &http.Client{
		Timeout: cfg.Timeout,
		Transport: &http.Transport{
			Proxy:       nil, // a proxy would resolve names where nothing is checked
			DialContext: dialer.DialContext, TLSClientConfig: cfg.TLS, TLSHandshakeTimeout: cfg.Timeout,
			ResponseHeaderTimeout: cfg.Timeout, MaxResponseHeaderBytes: 32 << 10, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}
	return f
}

var (
	errRedirect = errors.New("the issuer redirects, which is not followed")
	errAddress  = errors.New("the address is not one that may be connected to")
)

// control runs when the address is known and before the connection is made.
func (f *Fetcher) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errAddress
	}
	if !f.Allowed(ap.Addr()) {
		return errAddress
	}
	return nil
}

// nonPublic are address ranges that are neither private in the sense of
// netip.Addr nor part of the public Internet.
var nonPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"),
}

// Allowed reports whether an address may be connected to.
func (f *Fetcher) Allowed(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return false
	}
	for _, n := range f.cfg.Networks {
		if n.Contains(a) {
			return true
		}
	}
	if a.IsPrivate() || a.IsLoopback() {
		return false
	}
	for _, n := range nonPublic {
		if n.Contains(a) {
			return false
		}
	}
	return true
}

// Keys returns the signing keys of an issuer. refresh says that a key is
// missing. Invalid when the issuer's name or documents are not acceptable,
// Unavailable when it cannot be asked now.
func (f *Fetcher) Keys(ctx context.Context, name string, refresh bool) (map[token.KeyID]token.PublicKey, error) {
	if f.cfg.Local != nil {
		if keys, ok := f.cfg.Local(name); ok {
			return keys, nil
		}
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	i := f.issuer(name)
	i.mu.Lock()
	defer i.mu.Unlock()
	now := f.cfg.Clock.Now()
	age := now.Sub(i.fetched)
	fresh := i.keys != nil && age >= 0 && age < f.cfg.MaxAge
	if fresh && !refresh || !i.gate.Try(now) {
		if i.keys != nil && age < 24*f.cfg.MaxAge {
			return i.keys, nil
		}
		if i.err != nil {
			return nil, i.err
		}
		return nil, errs.New(errs.Unavailable, "The issuer was asked a moment ago.")
	}
	keys, err := f.fetch(ctx, name)
	i.gate.Done(err == nil)
	if err != nil {
		f.cfg.Logger.Warn("fetching an issuer's keys", "issuer", name, "error", err)
		i.err = err
		if i.keys != nil && age < 24*f.cfg.MaxAge && !errs.Is(err, errs.Invalid) {
			return i.keys, nil // it is down; its keys are still its keys
		}
		return nil, err
	}
	i.keys, i.fetched, i.err = keys, now, nil
	return keys, nil
}

func (f *Fetcher) issuer(name string) *issuer {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.cfg.Clock.Now()
	i := f.issuers[name]
	if i == nil {
		if len(f.issuers) >= maxIssuers {
			oldest, at := "", now
			for n, other := range f.issuers {
				if !other.used.After(at) {
					oldest, at = n, other.used
				}
			}
			delete(f.issuers, oldest)
		}
		i = &issuer{}
		f.issuers[name] = i
	}
	i.used = now
	return i
}

// checkName refuses what is not the address of an issuer.
func checkName(name string) error {
	u, err := url.Parse(name)
	if err != nil || len(name) > 600 || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.ContainsAny(name, " \t\r\n#?\\") {
		return errs.New(errs.Invalid, "The issuer is not an https address without query and fragment.")
	}
	return nil
}

// fetch gets the discovery document and the keys.
func (f *Fetcher) fetch(ctx context.Context, name string) (map[token.KeyID]token.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	raw, err := f.get(ctx, strings.TrimSuffix(name, "/")+"/.well-known/openid-configuration", maxDiscovery)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, errs.New(errs.Invalid, "The issuer's discovery document is not JSON.")
	}
	if doc.Issuer != name {
		return nil, errs.New(errs.Invalid, "The issuer's discovery document names another issuer.")
	}
	u, err := url.Parse(doc.JWKS)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errs.New(errs.Invalid, "The issuer's discovery document names no https address of its keys.")
	}
	if raw, err = f.get(ctx, doc.JWKS, token.MaxJWKSLength); err != nil {
		return nil, err
	}
	parsed, err := token.ParseJWKS(raw)
	if err != nil {
		return nil, err
	}
	keys := make(map[token.KeyID]token.PublicKey, len(parsed))
	for id, k := range parsed {
		keys[id] = token.PublicKey{Key: k}
	}
	return keys, nil
}

func (f *Fetcher) get(ctx context.Context, address string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The issuer's address is not valid.")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	switch {
	case errors.Is(err, errRedirect):
		return nil, errs.Wrap(errs.Invalid, err, "The issuer redirects, which is not followed.")
	case errors.Is(err, errAddress):
		return nil, errs.Wrap(errs.Invalid, err, "The issuer's address is not one that may be connected to.")
	case err != nil:
		return nil, errs.Wrap(errs.Unavailable, err, "The issuer does not answer.")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errs.Wrap(errs.Unavailable, fmt.Errorf("status %d", resp.StatusCode), "The issuer does not answer as one.")
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The issuer's answer broke off.")
	}
	if int64(len(raw)) > limit {
		return nil, errs.New(errs.Invalid, "The issuer's document is longer than %d bytes.", limit)
	}
	return raw, nil
}
