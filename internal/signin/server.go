package signin

import (
	"context"
	"embed"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/password"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

//go:embed assets/*.css assets/*.js
var assets embed.FS

// Devices finds sign-ins that wait for a person under a code.
type Devices interface {
	// StartDevice returns the path at which the sign-in is confirmed. NotFound
	// for a code that no sign-in waits under, Throttled for too many of those.
	StartDevice(ctx context.Context, from netip.Addr, typed string) (path string, err error)
}

// Attempt is a failed attempt to sign in on the pages. Those that succeed are
// the protocol's to log, when it issues something.
type Attempt struct {
	Time        time.Time
	Correlation string
	Tenant      directory.TenantID
	User        directory.ObjectID // empty if there is none
	UserName    string
	Client      directory.AppID
	Address     netip.Addr
	UserAgent   string
	Code        int // AADSTS
	Reason      string
}

// Config is what the pages are made of. All but Logger, Audit and Limits are
// required; Devices may be set later with SetDevices, before the first request.
type Config struct {
	Store   *store.Store
	Clock   clock.Clock
	Logger  *slog.Logger
	BaseURL string // public address
	Sealer  *state.Sealer
	Hasher  *password.Hasher
	Devices Devices
	// Names are the issuer names of tokens. V2 defaults to BaseURL.
	Names token.Issuers
	// Audit is called for each failed attempt, before the answer.
	Audit  func(context.Context, Attempt)
	Limits Limits
}

// Server serves the pages, checks passwords and keeps sessions. It is safe for
// concurrent use.
type Server struct {
	cfg     Config
	store   *store.Store
	clock   clock.Clock
	log     *slog.Logger
	base    *url.URL
	passkey *webauthn.WebAuthn
	gate    *gate
	mux     *http.ServeMux
}

// New returns a Server.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Clock == nil || cfg.Sealer == nil || cfg.Hasher == nil {
		return nil, errs.New(errs.Internal, "signin: a required part of the configuration is missing")
	}
	base, err := url.Parse(strings.TrimSuffix(cfg.BaseURL, "/"))
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, errs.New(errs.Invalid, "The public base URL %q must begin with https://", cfg.BaseURL)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Audit == nil {
		cfg.Audit = func(context.Context, Attempt) {}
	}
	cfg.Limits.defaults()
	if cfg.Names.V2 == "" {
		cfg.Names.V2 = strings.TrimSuffix(cfg.BaseURL, "/")
	}
	s := &Server{gate: newGate(min(4, cfg.Limits.Threshold-1)), cfg: cfg, store: cfg.Store, clock: cfg.Clock, log: cfg.Logger, base: base}
	if s.passkey, err = newPasskey(base); err != nil {
		return nil, errs.Wrap(errs.Internal, err, "signin: passkeys")
	}
	s.routes()
	return s, nil
}

// SetDevices sets Config.Devices, for servers that are made before it.
func (s *Server) SetDevices(d Devices) { s.cfg.Devices = d }

// Tables returns the tables that the pages keep.
func Tables() []store.AnyTable {
	return []store.AnyTable{state.Sessions, state.Authenticators, lockouts, ceremonies}
}

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	page := func(pattern string, serve func(*Server, *view) error) {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, serve) })
	}
	page("GET /login", (*Server).start)
	page("POST /login/name", (*Server).postName)
	page("POST /login/pick", (*Server).postPick)
	page("GET /login/password", (*Server).showPassword)
	page("POST /login/password", (*Server).postPassword)
	page("GET /login/change", (*Server).showChange)
	page("POST /login/change", (*Server).postChange)
	page("GET /login/code", (*Server).showCode)
	page("POST /login/code", (*Server).postCode)
	page("GET /login/enroll", (*Server).showEnroll)
	page("POST /login/enroll", (*Server).postEnroll)
	page("GET /login/passkey", (*Server).showPasskey)
	page("POST /login/passkey", (*Server).postPasskey)
	page("GET /login/passkey/new", (*Server).showNewPasskey)
	page("POST /login/passkey/new", (*Server).postNewPasskey)
	page("POST /login/consent", (*Server).postConsent)
	page("POST /login/device", (*Server).postDevice)
	page("GET /devicelogin", (*Server).showUserCode)
	page("POST /devicelogin", (*Server).postUserCode)
	page("GET /login/signout", (*Server).showSignOut)
	page("POST /login/signout", (*Server).postSignOut)
	s.mux.HandleFunc("GET /login/assets/{name}", serveAsset)
}

// Handles reports whether a path belongs to the pages.
func Handles(path string) bool {
	return path == "/login" || strings.HasPrefix(path, "/login/") || path == "/devicelogin"
}

// Handles reports whether a path belongs to the pages.
func (s *Server) Handles(path string) bool { return Handles(path) }

// ServeHTTP serves the pages.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// microsoft.com/devicelogin is typed by hand, and with any ending.
	if strings.TrimSuffix(r.URL.Path, "/") == "/devicelogin" {
		r.URL.Path = "/devicelogin"
	}
	s.mux.ServeHTTP(w, r)
}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	body, err := assets.ReadFile("assets/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	kind := "text/css; charset=utf-8"
	if strings.HasSuffix(name, ".js") {
		kind = "text/javascript; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	w.Write(body)
}
