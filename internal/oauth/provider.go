package oauth

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/limit"
	"github.com/entrance-id/entrance/internal/oauth/metadata"
	"github.com/entrance-id/entrance/internal/oauth/mint"
	"github.com/entrance-id/entrance/internal/oauth/scope"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// Keys are the signing keys of the hosted tenants.
type Keys interface {
	// Set returns the keys of a tenant, for its key document.
	Set(tenant directory.TenantID) (*token.Set, error)
	// Active returns the one key that signs for a tenant now. Unavailable when
	// there is none.
	Active(tenant directory.TenantID) (*token.Key, error)
}

// SignIn are the pages that a person signs in on.
type SignIn interface {
	// Session returns what the browser is signed in to, or nil. Accounts of
	// users who are disabled, deleted or revoked since are left out.
	Session(r *http.Request) (*state.Session, error)
	// Entered notes that an application was signed in to with the browser's
	// session, and is to be told when that ends.
	Entered(r *http.Request, tenant directory.TenantID, client directory.AppID) error
	// Ask sends the browser to the pages with a question. The pages come back
	// to the question's Return or Cancel.
	Ask(w http.ResponseWriter, r *http.Request, ask *state.Ask)
	// Post shows a page that sends fields to another site by itself: the
	// response mode form_post.
	Post(w http.ResponseWriter, r *http.Request, action string, fields [][2]string)
	// Fail shows an error that must not be sent to the client: an AADSTS code,
	// what went wrong, and the ids that find it in the log. back, if not empty,
	// is a path on this server by which the person goes back to the client.
	Fail(w http.ResponseWriter, r *http.Request, status, code int, message, trace, correlation string, at time.Time, back string)
	// Done shows that a sign-in for another device is complete, or refused.
	Done(w http.ResponseWriter, r *http.Request, clientName string, approved bool)
	// SignOut ends the browser's session, or shows that there is none. When
	// next is not empty the browser goes on to it.
	SignOut(w http.ResponseWriter, r *http.Request, next string)
}

// Accounts checks people's passwords, with whatever keeps guessing out.
type Accounts interface {
	// CheckPassword returns nil if the password is right. The user may be nil,
	// for a name that does not exist: the answer then takes as long as any
	// other. Unauthenticated when it is wrong, Throttled with a locked account,
	// Unavailable when too many are checked at once.
	CheckPassword(ctx context.Context, tenant directory.TenantID, name string, user *directory.User, password string, from netip.Addr) error
}

// Policy decides about every token that is issued. The facts name the tenant.
type Policy interface {
	Evaluate(ctx context.Context, f *conditionalaccess.Facts) conditionalaccess.Outcome
}

// Devices knows which device a request comes from. Only what a device's key has
// proven counts.
type Devices interface {
	// DeviceOf returns the device whose key took part in the request, or nil.
	DeviceOf(ctx context.Context, r *http.Request, tenant directory.TenantID) (*conditionalaccess.Device, error)
	// Bound returns the present state of a device that was proven earlier.
	Bound(tenant directory.TenantID, deviceID string) (*conditionalaccess.Device, error)
}

// Issuers knows the keys of foreign issuers that federated credentials trust.
type Issuers = clientauth.Issuers

// Limits bound what one address or client may ask for.
type Limits = limit.Limits

// Config is what a Provider is made of. Store, Clock, Keys, Trust, Sealer,
// SignIn, Accounts and BaseURL are required.
type Config struct {
	Store  *store.Store
	Clock  clock.Clock
	Logger *slog.Logger

	// BaseURL is the public address, without a final slash. Everything that a
	// client or a browser is sent to starts with it.
	BaseURL string
	// Names are the issuer names of tokens. V2 defaults to BaseURL.
	Names token.Issuers
	// Aliases are further names of resources, such as the base URL itself
	// where a client's own cloud configuration makes that the name of Graph.
	// A final slash does not matter.
	Aliases scope.Aliases

	Keys     Keys
	Trust    token.Keys // verifies our own tokens: assertions, hints, userinfo
	Sealer   *state.Sealer
	SignIn   SignIn
	Accounts Accounts
	Policy   Policy // nil grants everything
	Audit    Audit  // nil keeps no log
	Issuers  Issuers
	Devices  Devices // nil: nobody has a device

	Limits Limits
}

// Provider is the identity provider. It is an http.Handler for the paths that
// Handles accepts, and safe for concurrent use.
type Provider struct {
	cfg    Config
	store  *store.Store
	clock  clock.Clock
	log    *slog.Logger
	base   string
	limits *limit.Limiter

	tickets *ticket.Tickets
	clients *clientauth.Authenticator
	publish *metadata.Publisher
	mint    *mint.Minter
}

// New returns a Provider.
func New(cfg Config) (*Provider, error) {
	cfg.BaseURL = strings.TrimSuffix(cfg.BaseURL, "/")
	switch {
	case cfg.Store == nil, cfg.Clock == nil, cfg.Keys == nil, cfg.Trust == nil, cfg.Sealer == nil, cfg.SignIn == nil, cfg.Accounts == nil:
		return nil, errs.New(errs.Internal, "oauth: a required part of the configuration is missing")
	case !strings.HasPrefix(cfg.BaseURL, "https://"):
		return nil, errs.New(errs.Invalid, "The public base URL %q must begin with https://", cfg.BaseURL)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Names.V2 == "" {
		cfg.Names.V2 = cfg.BaseURL
	}
	aliases := scope.Aliases{}
	for name, app := range cfg.Aliases {
		aliases[state.Fold(strings.TrimSuffix(name, "/"))] = app
	}
	cfg.Aliases = aliases
	if cfg.Policy == nil {
		cfg.Policy = allowAll{}
	}
	if cfg.Audit == nil {
		cfg.Audit = noAudit{}
	}
	p := &Provider{
		cfg: cfg, store: cfg.Store, clock: cfg.Clock, log: cfg.Logger, base: cfg.BaseURL,
		limits:  limit.New(cfg.Limits, cfg.Clock),
		tickets: &ticket.Tickets{Store: cfg.Store, Clock: cfg.Clock, Sealer: cfg.Sealer},
		publish: &metadata.Publisher{Base: cfg.BaseURL, Names: cfg.Names, Keys: cfg.Keys},
	}
	p.mint = &mint.Minter{Names: cfg.Names, Keys: cfg.Keys, Sealer: cfg.Sealer, Tickets: p.tickets}
	p.clients = &clientauth.Authenticator{
		Hosts: append([]string{cfg.BaseURL}, metadata.PublicHosts()...), Names: cfg.Names, Keys: cfg.Keys, Trust: cfg.Trust,
		Issuers: cfg.Issuers, Tickets: p.tickets, Limits: p.limits,
	}
	return p, nil
}

type allowAll struct{}

func (allowAll) Evaluate(context.Context, *conditionalaccess.Facts) conditionalaccess.Outcome {
	return conditionalaccess.Outcome{Decision: conditionalaccess.Granted}
}

// Tables returns the tables that this package keeps, its tickets included.
func Tables() []store.AnyTable {
	return append(ticket.Tables(), state.TicketKeys)
}

// endpoint is a route below /{tenant}.
type endpoint struct {
	methods string // "GET", "POST" or "GET, POST"
	v1      bool
	serve   func(*Provider, *call) error
	page    bool // errors are shown to a person
	cors    bool
}

var endpoints = map[string]endpoint{
	"/oauth2/authorize":                      {methods: "GET, POST", v1: true, serve: (*Provider).authorize, page: true},
	"/oauth2/v2.0/authorize":                 {methods: "GET, POST", serve: (*Provider).authorize, page: true},
	"/oauth2/token":                          {methods: "POST", v1: true, serve: (*Provider).token, cors: true},
	"/oauth2/v2.0/token":                     {methods: "POST", serve: (*Provider).token, cors: true},
	"/oauth2/devicecode":                     {methods: "GET, POST", v1: true, serve: (*Provider).deviceCode},
	"/oauth2/v2.0/devicecode":                {methods: "POST", serve: (*Provider).deviceCode},
	"/oauth2/logout":                         {methods: "GET, POST", v1: true, serve: (*Provider).logout, page: true},
	"/oauth2/v2.0/logout":                    {methods: "GET, POST", serve: (*Provider).logout, page: true},
	"/discovery/keys":                        {methods: "GET", v1: true, serve: (*Provider).keys, cors: true},
	"/discovery/v2.0/keys":                   {methods: "GET", serve: (*Provider).keys, cors: true},
	"/.well-known/openid-configuration":      {methods: "GET", v1: true, serve: (*Provider).configuration, cors: true},
	"/v2.0/.well-known/openid-configuration": {methods: "GET", serve: (*Provider).configuration, cors: true},
	"/openid/userinfo":                       {methods: "GET, POST", v1: true, serve: (*Provider).userInfo, cors: true},
	"/adminconsent":                          {methods: "GET", v1: true, serve: (*Provider).adminConsent, page: true},
	"/v2.0/adminconsent":                     {methods: "GET", serve: (*Provider).adminConsent, page: true},
	"/oauth2/deviceauth":                     {methods: "GET", serve: (*Provider).deviceAuth, page: true},
}

// find splits a path into its first segment and the endpoint after it.
// discovery/instance and userrealm have their own shape.
func find(path string) (segment string, e endpoint, rest string, ok bool) {
	if path == "/oidc/userinfo" {
		return "common", endpoints["/openid/userinfo"], "", true
	}
	segment, rest, ok = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || segment == "" {
		return "", endpoint{}, "", false
	}
	rest = "/" + rest
	lower := strings.ToLower(rest)
	switch {
	case lower == "/discovery/instance":
		return segment, endpoint{methods: "GET", serve: (*Provider).instance, cors: true}, "", true
	case strings.HasPrefix(lower, "/userrealm/"):
		return segment, endpoint{methods: "GET", serve: (*Provider).userRealm, cors: true}, rest[len("/userrealm/"):], true
	}
	e, ok = endpoints[strings.TrimSuffix(lower, "/")]
	if ok && segment == "adfs" {
		// The clients of the AD FS authority form use the old paths with the
		// new parameters.
		e.v1 = false
	}
	return segment, e, "", ok
}

// Handles reports whether a path belongs to the protocol.
func Handles(path string) bool {
	_, _, _, ok := find(path)
	return ok
}

// Handles reports whether a path belongs to the protocol.
func (p *Provider) Handles(path string) bool { return Handles(path) }

// ServeHTTP answers a request of the protocol.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	segment, e, rest, ok := find(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	c := &call{Call: wire.New(w, r, p.store.View(), p.clock.Now(), segment, e.v1), e: e, rest: rest}
	if e.cors && c.CORS(e.methods) {
		return
	}
	if !strings.Contains(e.methods, r.Method) && !(r.Method == http.MethodHead && strings.HasPrefix(e.methods, "GET")) {
		w.Header().Set("Allow", e.methods)
		p.fail(c, fault(900561, strings.ReplaceAll(e.methods, ", ", "/"), r.Method))
		return
	}
	if wait := p.limits.Address(c.Addr); wait > 0 {
		p.fail(c, aadsts.Throttled(wait))
		return
	}
	err := c.ReadForm(e.page)
	if err == nil {
		err = c.FindTenant()
	}
	if err == nil {
		err = e.serve(p, c)
	}
	if err != nil {
		p.fail(c, err)
	}
}
