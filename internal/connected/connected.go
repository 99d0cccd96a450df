// Package connected lets clusters belong to a Microsoft Entra tenant that
// Entrance does not host, and trust further OpenID Connect issuers.
//
// # What a connected tenant may say
//
// Tokens of its v1.0 and v2.0 issuers, with its own keys and its own tid, say
// who somebody is (oid), what they are called (upn) and in which groups they
// are. They do so for clusters of that tenant and for nothing else: the
// identity provider, Graph and Resource Manager never ask this package. When a
// token has no room for all groups, they are asked of the tenant's Microsoft
// Graph; the address that the token gives for it is never used. When Graph does
// not answer nobody gets in with fewer groups than they have.
//
// # What any other issuer may say
//
// A name and groups, each behind a prefix that begins with aks:jwt:, and never
// an object id. So there is nothing in such a token by which its bearer could
// be taken for somebody of the tenant, whatever oid, tid or upn it claims.
package connected

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// Documents fetches the keys of issuers, with bounds and back-off. It is what
// issuer.Issuers does.
type Documents interface {
	// Keys returns the signing keys of an issuer. With refresh the caller has
	// met a key that was not there, and newer documents are fetched unless they
	// just were.
	Keys(ctx context.Context, issuer string, refresh bool) (map[token.KeyID]token.PublicKey, error)
}

// Config is what a Service is made of. Store, Clock and Documents are required.
type Config struct {
	Store     *store.Store
	Clock     clock.Clock
	Logger    *slog.Logger
	Documents Documents
	// Own reports whether an issuer is one of the tenants hosted here, which no
	// configuration may replace.
	Own func(issuer string) bool
	// Lookup, if not nil, is told whether the groups of somebody who is in more
	// than a token has room for were at hand.
	Lookup func(hit bool)
	// Transport reaches the tenants' token endpoints and Microsoft Graph. nil:
	// http.DefaultTransport.
	Transport http.RoundTripper
}

// Service knows the connected tenants and the clusters' further issuers. It is
// safe for concurrent use.
type Service struct {
	cfg    Config
	store  *store.Store
	clock  clock.Clock
	log    *slog.Logger
	client *http.Client

	mu     sync.Mutex
	keys   map[string]*keys // by name of the issuer whose documents are read
	tokens map[directory.TenantID]*graphToken
	groups map[string]*membership
}

// New returns a Service.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Clock == nil || cfg.Documents == nil {
		return nil, errs.New(errs.Internal, "connected: a required part of the configuration is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Lookup == nil {
		cfg.Lookup = func(bool) {}
	}
	if cfg.Own == nil {
		cfg.Own = func(string) bool { return false }
	}
	return &Service{
		cfg: cfg, store: cfg.Store, clock: cfg.Clock, log: cfg.Logger,
		client: &http.Client{
			Transport: cfg.Transport, Timeout: graphTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		keys: map[string]*keys{}, tokens: map[directory.TenantID]*graphToken{}, groups: map[string]*membership{},
	}, nil
}

// Defaults of a connected tenant: the public cloud.
const (
	DefaultAuthority = "https://login.microsoftonline.com"
	DefaultGraph     = "https://graph.microsoft.com"
)

// Connect checks the configuration of a tenant against the tenant itself, and
// keeps it: its documents must name it, and its application, if there is one,
// must get a token for Graph. Invalid, or Unavailable when the tenant cannot be
// asked; Exists when Entrance hosts a tenant with that id.
func (s *Service) Connect(ctx context.Context, t state.ConnectedTenant) error {
	id, ok := directory.ParseGUID(string(t.ID))
	if !ok {
		return errs.New(errs.Invalid, "The tenant id %q is not a GUID.", t.ID)
	}
	t.ID = directory.TenantID(id)
	for _, f := range []struct {
		to   *string
		dflt string
	}{{&t.Authority, DefaultAuthority}, {&t.Graph, DefaultGraph}, {&t.V1, token.DefaultV1Issuer}} {
		if *f.to == "" {
			*f.to = f.dflt
		}
		if err := issuer.CheckURL(*f.to); err != nil {
			return err
		}
		*f.to = strings.TrimRight(*f.to, "/")
	}
	t.V1 += "/"
	if (t.ClientID == "") != (t.ClientSecret == "") {
		return errs.New(errs.Invalid, "An application needs both its id and its secret.")
	}
	if t.OnBehalfOf && t.ClientID == "" {
		return errs.New(errs.Invalid, "Only an application can act on behalf of people: give its id and its secret.")
	}
	if _, err := state.Tenants.Get(s.store.View(), string(t.ID)); err == nil || s.cfg.Own(names(&t).Name(token.V2, t.ID)) {
		return errs.New(errs.Exists, "Tenant %s is hosted here and cannot be connected.", t.ID)
	}
	if _, err := s.cfg.Documents.Keys(ctx, names(&t).Name(token.V2, t.ID), true); err != nil {
		return err
	}
	if t.ClientID != "" {
		if _, err := s.requestToken(ctx, &t, ""); err != nil {
			return err
		}
	}
	t.Connected = s.clock.Now()
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := state.Tenants.Get(tx, string(t.ID)); err == nil {
			return errs.New(errs.Exists, "Tenant %s is hosted here and cannot be connected.", t.ID)
		}
		return state.ConnectedTenants.Put(tx, &t)
	})
	if err == nil {
		s.forget(t.ID)
	}
	return err
}

// Disconnect ends the trust in a tenant at once. NotFound.
func (s *Service) Disconnect(ctx context.Context, id directory.TenantID) error {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		for u := range state.ConnectedUsers.AllPrefix(tx, string(id)+"/") {
			if err := state.ConnectedUsers.Delete(tx, state.Key(id, u.ID)); err != nil {
				return err
			}
		}
		return state.ConnectedTenants.Delete(tx, string(id))
	})
	s.forget(id)
	return err
}

// forget drops what is remembered of a tenant whose configuration has changed.
func (s *Service) forget(id directory.TenantID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, id)
	for k := range s.groups {
		if strings.HasPrefix(k, string(id)+"/") {
			delete(s.groups, k)
		}
	}
}

// tenant returns a connected tenant. A hosted one of the same id goes before.
func (s *Service) tenant(id directory.TenantID) (*state.ConnectedTenant, bool) {
	view := s.store.View()
	t, err := state.ConnectedTenants.Get(view, string(id))
	if err != nil {
		return nil, false
	}
	if _, err := state.Tenants.Get(view, string(id)); err == nil {
		return nil, false
	}
	return t, true
}

func names(t *state.ConnectedTenant) token.Issuers { return token.Issuers{V1: t.V1, V2: t.Authority} }

// Run keeps the keys of the connected tenants at hand until ctx ends, so that no
// review waits for them.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(fresh / 2)
	defer tick.Stop()
	for {
		for t := range state.ConnectedTenants.All(s.store.View()) {
			s.load(ctx, names(t).Name(token.V2, t.ID), false)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
