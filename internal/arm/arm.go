// Package arm answers Azure Resource Manager's API for the subscriptions that
// Entrance hosts: tenants, subscriptions, resource groups and the credentials
// of managed clusters.
//
// # One authorization
//
// Routes are data: method, pattern, action. Every request that matches a route
// with an action goes through one function, which asks the same Azure RBAC
// engine that decides for Kubernetes. A route cannot forget to ask.
package arm

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Caller is who makes a request, as its verified token says.
type Caller struct {
	Tenant directory.TenantID
	ID     directory.ObjectID
	// Client is how error messages name the caller: the user principal name, or
	// the application id.
	Client string
}

// Clusters hands out what clients need to reach a cluster. Errors are
// errs.NotFound for a cluster that is not here, errs.Unavailable for one that
// is not ready.
type Clusters interface {
	// UserKubeconfig returns the kubeconfig of listClusterUserCredential in the
	// format "exec" or "azure"; an empty format is the default.
	UserKubeconfig(key, format string) ([]byte, error)
	// AdminKubeconfig returns the kubeconfig of listClusterAdminCredential.
	AdminKubeconfig(key string) ([]byte, error)
}

// Config is what a Service needs. All of it is required but Logger.
type Config struct {
	Store  *store.Store
	Access *access.Keeper
	Clock  clock.Clock
	Logger *slog.Logger
	// BaseURL is the public address of sign-in, Graph and ARM.
	BaseURL string
	// Authenticate verifies the access token of a request. Its error is
	// errs.Unauthenticated for a bad token.
	Authenticate func(*http.Request) (Caller, error)
	Clusters     Clusters
}

// Service is Azure Resource Manager. It is an http.Handler.
type Service struct {
	Config
	routes []*route
}

// New returns a Service.
func New(c Config) *Service {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{Config: c}
	s.routes = s.table()
	return s
}

// Handles reports whether a path belongs to Resource Manager.
func Handles(path string) bool {
	for _, prefix := range []string{"/subscriptions", "/tenants", "/providers", "/metadata/endpoints"} {
		if len(path) >= len(prefix) && strings.EqualFold(path[:len(prefix)], prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/') {
			return true
		}
	}
	return false
}

// route is a row of the table of routes.
type route struct {
	method  string
	pattern string
	// action is what the caller must be allowed to do at the scope that the
	// path names up to scopeLen segments. An empty action is for every caller
	// of the tenant; such a route shows only what the caller may read.
	action   string
	scopeLen int
	handle   func(*call) error

	segments []string
}

// call is a request that was matched, authenticated and authorized.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	caller Caller
	facts  access.Facts
	params map[string]string
}

// versionRE is the form of api-versions: a date, perhaps with a suffix.
var versionRE = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-(preview|alpha|beta|privatepreview))?$`)

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Ms-Request-Id", directory.NewGUID())
	if id := r.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= 64 {
		w.Header().Set("X-Ms-Client-Request-Id", id)
	}
	w.Header().Set("Cache-Control", "no-cache")
	if err := s.serve(w, r); err != nil {
		s.fail(w, r, err)
	}
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request) error {
	segments, err := split(r)
	if err != nil {
		return err
	}
	if len(segments) == 2 && strings.EqualFold(segments[0], "metadata") {
		return s.metadata(w, r)
	}
	c := &call{w: w, r: r}
	if c.caller, err = s.Authenticate(r); err != nil {
		return err
	}
	version := r.URL.Query().Get("api-version")
	if version == "" {
		return &Error{http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests."}
	}
	if !versionRE.MatchString(version) {
		return &Error{http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '" + version + "' is invalid. It must be a date, such as 2022-12-01, with '-preview' behind it for a preview version."}
	}
	row, params, allowed := s.match(r.Method, segments)
	if row == nil {
		if len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return &Error{http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support http method '" + r.Method + "'."}
		}
		return &Error{http.StatusNotFound, "InvalidResourceType", "The resource type could not be found at '" + r.URL.Path + "'."}
	}
	c.params = params
	if c.facts, err = s.Access.Facts(); err != nil {
		return err
	}
	if sub := params["sub"]; sub != "" {
		have, err := state.Subscriptions.Get(c.facts.View, state.Fold(sub))
		if err != nil || have.Tenant != c.caller.Tenant {
			return &Error{http.StatusNotFound, "SubscriptionNotFound", "The subscription '" + sub + "' could not be found."}
		}
	}
	if row.action != "" {
		scope, err := rbac.ParseScope("/" + strings.Join(segments[:row.scopeLen], "/"))
		if err != nil {
			return err
		}
		if err := s.authorize(c, row.action, scope); err != nil {
			return err
		}
	}
	return row.handle(c)
}

// split returns the segments of the path. Empty segments, dots and encoded
// slashes are refused: one resource has one spelling, letter case aside.
func split(r *http.Request) ([]string, error) {
	path := r.URL.EscapedPath()
	// az writes a double slash before /metadata when its endpoint ends in one.
	if strings.HasPrefix(path, "//metadata/") {
		path = path[1:]
	}
	bad := &Error{http.StatusBadRequest, "InvalidRequestUri", "The request URI is not valid: segments must not be empty, '.', '..' or hold an encoded slash."}
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if strings.Contains(strings.ToLower(path), "%2f") || strings.Contains(path, "%5c") || strings.Contains(path, `\`) {
		return nil, bad
	}
	segments := strings.Split(strings.TrimPrefix(strings.TrimSuffix(r.URL.Path, "/"), "/"), "/")
	if strings.HasPrefix(r.URL.Path, "//metadata/") {
		segments = segments[1:]
	}
	for _, seg := range segments {
		if seg == "" || seg == "." || seg == ".." {
			return nil, bad
		}
	}
	return segments, nil
}

func (s *Service) match(method string, segments []string) (*route, map[string]string, []string) {
	var allowed []string
	for _, row := range s.routes {
		params, ok := row.params(segments)
		switch {
		case !ok:
		case row.method == method || row.method == http.MethodGet && method == http.MethodHead:
			return row, params, nil
		default:
			allowed = append(allowed, row.method)
		}
	}
	return nil, nil, allowed
}

func (row *route) params(segments []string) (map[string]string, bool) {
	if len(segments) != len(row.segments) {
		return nil, false
	}
	params := map[string]string{}
	for i, want := range row.segments {
		if name, ok := strings.CutPrefix(want, "{"); ok {
			params[strings.TrimSuffix(name, "}")] = segments[i]
		} else if !strings.EqualFold(want, segments[i]) {
			return nil, false
		}
	}
	return params, true
}

// authorize is the one function that decides about every route with an action.
func (s *Service) authorize(c *call, action string, scope rbac.Scope) error {
	req, err := s.question(c, action, scope)
	if err != nil {
		return err
	}
	if d, message := c.facts.RBAC.AuthorizeARM(c.caller.Client, req); !d.Allowed() {
		return &Error{http.StatusForbidden, rbac.AuthorizationFailed, message}
	}
	return nil
}

// may reports whether the caller may do an action at a scope, for lists.
func (s *Service) may(c *call, action, scope string) bool {
	sc, err := rbac.ParseScope(scope)
	if err != nil {
		return false
	}
	req, err := s.question(c, action, sc)
	if err != nil {
		return false
	}
	return c.facts.RBAC.Decide(&req).Allowed()
}

func (s *Service) question(c *call, action string, scope rbac.Scope) (rbac.Request, error) {
	act, err := rbac.ParseAction(action)
	if err != nil {
		return rbac.Request{}, err
	}
	now := s.Clock.Now()
	who, ok := access.Directory{View: c.facts.View, Now: now}.Identity(c.caller.Tenant, c.caller.ID)
	if !ok || who.Blocked != "" {
		return rbac.Request{}, errs.New(errs.Unauthenticated, "The account of the access token is disabled or does not exist.")
	}
	return rbac.Request{Principal: who.Principal, Scope: scope, Action: act, Now: now}, nil
}

// Error is an error in the shape of Resource Manager.
type Error struct {
	Status  int
	Code    string
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{http.StatusInternalServerError, "InternalServerError", errs.Message(err)}
		switch errs.KindOf(err) {
		case errs.Invalid:
			e.Status, e.Code = http.StatusBadRequest, "BadRequest"
		case errs.NotFound:
			e.Status, e.Code = http.StatusNotFound, "NotFound"
		case errs.Exists, errs.Conflict:
			e.Status, e.Code = http.StatusConflict, "Conflict"
		case errs.Forbidden:
			e.Status, e.Code = http.StatusForbidden, rbac.AuthorizationFailed
		case errs.Throttled:
			e.Status, e.Code = http.StatusTooManyRequests, "TooManyRequests"
		case errs.Unavailable:
			e.Status, e.Code = http.StatusServiceUnavailable, "ServiceUnavailable"
		case errs.Unauthenticated:
			e.Status, e.Code = http.StatusUnauthorized, "InvalidAuthenticationToken"
			w.Header().Set("WWW-Authenticate", `Bearer authorization_uri="`+s.BaseURL+`/common", error="invalid_token", error_description="The access token is missing or invalid."`)
		default:
			s.Logger.Error("arm: request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		}
	}
	w.Header().Set("X-Ms-Failure-Cause", "gateway")
	reply(w, e.Status, map[string]any{"error": map[string]string{"code": e.Code, "message": e.Message}})
}

func reply(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b)
}

func list[T any](c *call, items []T) error {
	if items == nil {
		items = []T{}
	}
	reply(c.w, http.StatusOK, map[string]any{"value": items})
	return nil
}
