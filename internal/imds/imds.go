// Package imds is the managed identity endpoint of a machine: a program asks it
// for an access token and needs no secret, because it runs there.
//
// # What is believed
//
// Nothing that a request says about itself. Which identities a caller may have
// follows from where its connection comes from, and the parameters only choose
// among those. So whatever could carry a stranger's request to the endpoint is
// refused: a request that was passed on by another server, a request that a
// browser sends for a web page, and a request under any name but the endpoint's
// own address (a page whose name was made to point here, known as DNS
// rebinding). The header Metadata is asked for as the real endpoint asks for it:
// neither a redirect nor a form can set it.
//
// Every program on the machine may ask, whichever user it runs as. That is what
// a machine's identity means, on Azure too.
package imds

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// Path is where tokens are asked for. Its first segment is compared without
// case, as the real endpoint does.
const Path = "/metadata/identity/oauth2/token"

// Identity is a managed identity.
type Identity struct {
	Tenant           directory.TenantID
	ServicePrincipal directory.ObjectID // object_id, principal_id
	ClientID         directory.AppID
	// ResourceID is the Azure resource id of a user-assigned identity
	// (msi_res_id); a system-assigned one is not asked for by it.
	ResourceID string
}

// Resource is what runs somewhere, with the identities that it has.
type Resource struct {
	System   *Identity // nil: none
	Assigned []Identity
}

// Sources knows which resource a connection comes from.
type Sources interface {
	// Source returns the resource at the remote end of a connection, local being
	// its near end. NotFound when nothing that is known is there.
	Source(ctx context.Context, remote, local netip.AddrPort) (*Resource, error)
}

// Token is an access token that was issued to a managed identity.
type Token struct {
	Text      string
	NotBefore time.Time
	Expires   time.Time
	Resource  string // the audience, as it is told to the client
}

// Tokens issues access tokens to managed identities.
type Tokens interface {
	// Issue returns a token of a service principal for a resource that is named
	// by identifier URI or client id. NotFound when the tenant has no such
	// resource, Invalid when resource is not the name of one, Forbidden when the
	// identity is gone, disabled or may not have a token, Throttled, Unavailable.
	Issue(ctx context.Context, tenant directory.TenantID, servicePrincipal directory.ObjectID, resource string) (Token, error)
}

// Config is what a Handler is made of. All but Logger are required.
type Config struct {
	Sources Sources
	Tokens  Tokens
	Clock   clock.Clock
	Logger  *slog.Logger
}

// Handler is the endpoint. It is an http.Handler and safe for concurrent use.
type Handler struct{ cfg Config }

// New returns a Handler.
func New(cfg Config) (*Handler, error) {
	if cfg.Sources == nil || cfg.Tokens == nil || cfg.Clock == nil {
		return nil, errs.New(errs.Internal, "imds: a required part of the configuration is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{cfg}, nil
}

// refusal is an answer that is not a token.
type refusal struct {
	status  int
	code    string
	message string
	retry   bool // with a Retry-After header
}

func refuse(status int, code, message string) *refusal {
	return &refusal{status: status, code: code, message: message}
}

var (
	refusedHeader   = refuse(http.StatusBadRequest, "bad_request_102", "Required metadata header not specified")
	refusedIdentity = refuse(http.StatusBadRequest, "invalid_request", "Identity not found")
)

// ServeHTTP answers a request for a token.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, no := h.token(w, r)
	var body any = a
	status := http.StatusOK
	if no != nil {
		status = no.status
		body = map[string]string{"error": no.code, "error_description": no.message}
		if no.retry {
			w.Header().Set("Retry-After", "2")
		}
		h.cfg.Logger.Info("imds: refused", "remote", r.RemoteAddr, "status", no.status, "error", no.code, "reason", no.message)
	}
	b, err := json.Marshal(body)
	if err != nil {
		h.cfg.Logger.Error("imds: answer cannot be written", "error", err)
		status, b = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	header := w.Header()
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(b)
	}
}

// answer is a token response. Every value is a text.
type answer struct {
	AccessToken  string `json:"access_token"`
	ClientID     string `json:"client_id"`
	ExpiresIn    string `json:"expires_in"`
	ExpiresOn    string `json:"expires_on"`
	ExtExpiresIn string `json:"ext_expires_in"`
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	TokenType    string `json:"token_type"`
}

func (h *Handler) token(w http.ResponseWriter, r *http.Request) (*answer, *refusal) {
	remote, local, no := checkTransport(r)
	if no != nil {
		return nil, no
	}
	if !isPath(r.URL.Path) {
		return nil, refuse(http.StatusNotFound, "not_found", "The requested resource does not exist. This endpoint has "+Path+" alone.")
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		return nil, refuse(http.StatusMethodNotAllowed, "invalid_request", "Only GET is allowed.")
	}
	q, no := parseQuery(r)
	if no != nil {
		return nil, no
	}
	ctx := r.Context()
	src, err := h.cfg.Sources.Source(ctx, remote, local)
	if errs.Is(err, errs.NotFound) {
		return nil, refuse(http.StatusUnauthorized, "unknown_source", "The request comes from no resource that is known here.")
	} else if err != nil {
		return nil, h.failed(err)
	}
	id, no := choose(src, q)
	if no != nil {
		return nil, no
	}
	t, err := h.cfg.Tokens.Issue(ctx, id.Tenant, id.ServicePrincipal, q.resource)
	if err != nil {
		return nil, h.failed(err)
	}
	now := h.cfg.Clock.Now()
	life := strconv.FormatInt(max(0, t.Expires.Unix()-now.Unix()), 10)
	return &answer{
		AccessToken: t.Text, ClientID: string(id.ClientID), ExpiresIn: life, ExtExpiresIn: life,
		ExpiresOn: strconv.FormatInt(t.Expires.Unix(), 10), NotBefore: strconv.FormatInt(t.NotBefore.Unix(), 10),
		Resource: t.Resource, TokenType: "Bearer",
	}, nil
}

// failed chooses the answer for an error of Sources or Tokens.
func (h *Handler) failed(err error) *refusal {
	message := errs.Message(err)
	switch errs.KindOf(err) {
	case errs.NotFound, errs.Invalid:
		return refuse(http.StatusBadRequest, "invalid_resource", message)
	case errs.Forbidden, errs.Unauthenticated:
		return refuse(http.StatusBadRequest, "unauthorized_client", message)
	case errs.Throttled:
		return &refusal{http.StatusTooManyRequests, "too_many_requests", message, true}
	case errs.Unavailable:
		return &refusal{http.StatusServiceUnavailable, "temporarily_unavailable", message, true}
	}
	h.cfg.Logger.Error("imds: no token", "error", err)
	return refuse(http.StatusInternalServerError, "server_error", message)
}

func isPath(path string) bool {
	const first = len("/metadata")
	return len(path) == len(Path) && strings.EqualFold(path[:first], Path[:first]) && path[first:] == Path[first:]
}

// address is the endpoint's own, on every virtual machine.
var address = netip.MustParseAddr("169.254.169.254")

// forwarded are the headers by which a server says that it passes a request on.
var forwarded = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Forwarded", "Via"}

// browser are the headers that a browser sends by itself and that a page cannot
// keep it from sending. Programs send none of them.
var browser = []string{
	"Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User",
	"Access-Control-Request-Method", "Access-Control-Request-Headers", "Access-Control-Request-Private-Network",
}

// checkTransport returns the two ends of the connection, and refuses what does
// not come straight from a program.
func checkTransport(r *http.Request) (remote, local netip.AddrPort, no *refusal) {
	for _, name := range forwarded {
		if _, ok := r.Header[name]; ok {
			return remote, local, refuse(http.StatusBadRequest, "invalid_request", "A request that was passed on by another server ("+name+") is refused.")
		}
	}
	for _, name := range browser {
		if _, ok := r.Header[name]; ok {
			return remote, local, refuse(http.StatusForbidden, "invalid_request", "A request from a browser ("+name+") is refused.")
		}
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	near, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if err != nil || !ok {
		return remote, local, refuse(http.StatusUnauthorized, "unknown_source", "It is not known where the request comes from.")
	}
	if local, err = netip.ParseAddrPort(near.String()); err != nil {
		return remote, local, refuse(http.StatusUnauthorized, "unknown_source", "It is not known where the request arrived.")
	}
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	if !ownHost(r.Host, local) {
		return remote, local, refuse(http.StatusForbidden, "invalid_request", "The request names another host: ask "+address.String()+", or the loopback address and port that this endpoint listens on.")
	}
	if v := r.Header.Values("Metadata"); len(v) != 1 || !strings.EqualFold(v[0], "true") {
		return remote, local, refusedHeader
	}
	return remote, local, nil
}

// ownHost reports whether a Host header is the endpoint's address, or the
// loopback address at which the request arrived. No name is accepted, not even
// localhost: names are what rebinding is made of.
func ownHost(host string, local netip.AddrPort) bool {
	if host == address.String() || host == address.String()+":80" {
		return true
	}
	at, err := netip.ParseAddrPort(host)
	if err != nil {
		ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
		if err != nil {
			return false
		}
		at = netip.AddrPortFrom(ip, 80)
	}
	return at == local && local.Addr().IsLoopback()
}
