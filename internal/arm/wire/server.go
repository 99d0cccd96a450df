package wire

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Config is what a Server needs.
type Config struct {
	Store  *store.Store
	Access Keeper
	Clock  clock.Clock
	Logger *slog.Logger
	// BaseURL is the address of this server as clients know it.
	BaseURL string
	// Hosts are further host names under which clients may know it, such as
	// management.azure.com behind an intercepting proxy.
	Hosts []string
	// Authenticate returns who makes the request, or errs.Unauthenticated.
	Authenticate func(*http.Request) (Caller, error)
	// Audit takes what was written and what was refused; nil takes nothing.
	Audit Audit
}

// Audit takes the events of writes and refusals. Record returns when the event
// is kept.
type Audit interface {
	Record(ctx context.Context, e *Event) error
}

// Event is an entry of the activity log.
type Event struct {
	Time          time.Time
	Tenant        directory.TenantID
	Caller        directory.ObjectID
	CallerName    string
	AppID         directory.AppID
	Action        string
	Scope         string
	Status        int
	Code          string // of the error, if any
	IP            string
	RequestID     string
	CorrelationID string
}

// maxBody bounds the body of a request.
const maxBody = 1 << 20

// Server serves a table of routes.
type Server struct {
	cfg    Config
	routes []Route
	base   *url.URL
}

// NewServer checks the table and returns a server for it. A row that stands
// before another wins where both fit.
func NewServer(cfg Config, routes []Route) (*Server, error) {
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("arm: the base URL %q is not absolute", cfg.BaseURL)
	}
	s := &Server{cfg: cfg, routes: slices.Clone(routes), base: base}
	seen := map[string]bool{}
	for i := range s.routes {
		r := &s.routes[i]
		if err := r.compile(); err != nil {
			return nil, err
		}
		key := r.Method + " " + strings.ToLower(r.Pattern)
		if seen[key] {
			return nil, fmt.Errorf("arm: two routes for %s", key)
		}
		seen[key] = true
	}
	return s, nil
}

// Routes returns the table.
func (s *Server) Routes() []Route { return s.routes }

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &Call{
		Context: r.Context(), Method: r.Method, Header: r.Header, Store: s.cfg.Store, keeper: s.cfg.Access,
		Root: s.root(r.Host), RequestID: directory.NewGUID(), RemoteAddr: remote(r.RemoteAddr),
		Now: s.cfg.Clock.Now().UTC(),
	}
	c.CorrelationID = c.RequestID
	if id, ok := directory.ParseGUID(r.Header.Get("x-ms-correlation-request-id")); ok {
		c.CorrelationID = id
	}
	resp, err := s.serve(c, w, r)
	var failure *Error
	if err != nil {
		failure = render(err)
		resp = s.failure(c, failure)
	}
	s.audit(c, resp.Status, failure)
	s.write(w, c, resp)
}

// root is this server's address as the client knows it.
func (s *Server) root(host string) string {
	if name := strings.ToLower(host); slices.Contains(s.cfg.Hosts, name) {
		return "https://" + name
	}
	return strings.TrimSuffix(s.cfg.BaseURL, "/")
}

func remote(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

func (s *Server) serve(c *Call, w http.ResponseWriter, r *http.Request) (*Response, error) {
	path := r.URL.EscapedPath()
	if strings.HasPrefix(path, "//") {
		// Clients join an endpoint that ends with a slash, or a pattern that
		// begins with one, to a path that does: az for /metadata/endpoints,
		// @azure/arm-authorization for every scope and id. Resource Manager
		// reads one slash. Within the path there is no such reading.
		path = path[1:]
	}
	var err error
	if c.Segments, err = splitPath(path); err != nil {
		return nil, err
	}
	c.low = make([]string, len(c.Segments))
	for i, seg := range c.Segments {
		c.low[i] = strings.ToLower(seg)
	}
	if c.Query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, Bad("InvalidRequestUri", "The query of the request URI is not valid.")
	}
	missing := s.find(c)
	if missing == nil && c.Route.Who == Anonymous {
		if c.APIVersion, err = apiVersion(c.Query); err != nil {
			return nil, err
		}
		return c.Route.Handle(c)
	}
	if err := s.authenticate(c, r); err != nil {
		return nil, err
	}
	if c.APIVersion, err = apiVersion(c.Query); err != nil {
		return nil, err
	}
	if missing != nil {
		return nil, missing
	}
	if c.Body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
			return nil, Fail(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request content is larger than %d bytes.", maxBody)
		}
		return nil, BadRequest("The request content could not be read.")
	}
	resp, err := s.dispatch(c)
	if err != nil && c.Route.Reads() {
		if st := render(err).Status; st == http.StatusNotFound || st == http.StatusForbidden {
			// What another replica has just written may be missing in this view.
			return s.again(c, err)
		}
	}
	return resp, err
}

// again repeats a read on a view that is sure to show what was acknowledged
// before the request came, if that is a newer one.
func (s *Server) again(c *Call, before error) (*Response, error) {
	old := c.Facts.View.Revision()
	if err := s.cfg.Store.Fresh(c.Context); err != nil {
		return nil, err
	}
	facts, err := s.cfg.Access.Facts()
	if err != nil {
		return nil, err
	}
	if facts.View.Revision() <= old {
		return nil, before
	}
	if c.Facts = facts; s.stand(c) != nil {
		return nil, before
	}
	return s.dispatch(c)
}

// dispatch decides about the call and runs its handler.
func (s *Server) dispatch(c *Call) (*Response, error) {
	if err := s.authorize(c); err != nil {
		return nil, err
	}
	return c.Route.Handle(c)
}

// find sets the route of the call.
func (s *Server) find(c *Call) error {
	other := false
	for i := range s.routes {
		r := &s.routes[i]
		params, ok := r.match(c.Segments, c.low)
		switch {
		case !ok:
		case r.Method == c.Method:
			c.Route, c.params = r, params
			return nil
		case r.Method == http.MethodGet && c.Method == http.MethodHead && c.Route == nil:
			// A GET answers a HEAD, unless a row says otherwise.
			c.Route, c.params = r, params
		default:
			other = true
		}
	}
	if c.Route != nil {
		return nil
	}
	if other {
		return Fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support http method '%s'.", c.Method)
	}
	if len(c.low) > 0 && c.low[0] != "subscriptions" && c.low[0] != "providers" {
		return Fail(http.StatusNotFound, "MissingSubscription", "The request did not have a subscription or a valid tenant level resource provider.")
	}
	return Fail(http.StatusNotFound, "InvalidResourceType", "The resource type could not be found: nothing answers %s %s.", c.Method, c.Path())
}

// authorize is the one place where a request is allowed or refused.
func (s *Server) authorize(c *Call) error {
	// A subscription in the path must be one of the caller's tenant, whatever
	// the rest says: assignments at the root scope must not reach beyond it.
	c.Scope = scopeOf(c.Segments)
	if len(c.low) >= 2 && c.low[0] == "subscriptions" {
		if _, err := c.Subscription(c.Segments[1]); err != nil {
			return err
		}
	}
	r := c.Route
	if r.On != nil {
		var err error
		if c.Scope, err = r.On(c); err != nil {
			return err
		}
	}
	if r.Who == Authenticated {
		return nil
	}
	action, err := c.action()
	if err != nil {
		return err
	}
	q := &rbac.Request{Principal: c.Principal, Scope: c.Scope, Action: action, Now: c.Now}
	if r.Attributes != nil {
		if q.Request, q.Resource, err = r.Attributes(c); err != nil {
			return err
		}
	}
	err = c.decide(q)
	if err != nil && r.Who == Visible && c.Sees(c.Scope) {
		return nil
	}
	return err
}

// Sees reports whether the caller has a role assignment at a scope, above it or
// below it.
func (c *Call) Sees(at rbac.Scope) bool {
	grants, _ := c.Facts.RBAC.WhatCan(c.Principal, at)
	return len(grants) > 0
}

func (c *Call) action() (rbac.Action, error) {
	a, err := rbac.ParseAction(strings.Replace(c.Route.Action, "{type}", c.ResourceType(), 1))
	if err != nil {
		return a, Bad("InvalidResourceType", "The resource type in the request is not valid.")
	}
	return a, nil
}

// ActionName returns what the call does, for the activity log.
func (c *Call) ActionName() string {
	if c.Route == nil {
		return ""
	}
	return strings.Replace(c.Route.Action, "{type}", c.ResourceType(), 1)
}

// ResourceType returns the resource type that the path names, for generic
// routes: the segments after the last "providers" without the names.
func (c *Call) ResourceType() string {
	i := len(c.low) - 1
	for ; i >= 0 && c.low[i] != "providers"; i-- {
	}
	if i < 0 || i+1 >= len(c.low) {
		return ""
	}
	typ := c.Segments[i+1]
	for j := i + 2; j < len(c.low); j += 2 {
		typ += "/" + c.Segments[j]
	}
	return typ
}

// authenticate finds out who is calling, and how they stand in the directory
// now.
func (s *Server) authenticate(c *Call, r *http.Request) error {
	if r.Header.Get("Authorization") == "" {
		return s.challenge(c, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.", "The authentication failed because of missing 'Authorization' header.", nil)
	}
	var err error
	if c.Caller, err = s.cfg.Authenticate(r); err != nil {
		if !errs.Is(err, errs.Unauthenticated) {
			return err
		}
		return s.challenge(c, "InvalidAuthenticationToken", errs.Message(err), "The access token is invalid.", err)
	}
	if c.Facts, err = s.cfg.Access.Facts(); err != nil {
		return err
	}
	if err := s.stand(c); err != nil {
		// The caller may have been created, or restored, elsewhere just now.
		if ferr := s.cfg.Store.Fresh(c.Context); ferr != nil {
			return ferr
		}
		if c.Facts, err = s.cfg.Access.Facts(); err != nil {
			return err
		}
		return s.stand(c)
	}
	return nil
}

// stand reads what the directory knows of the caller now, and refuses a caller
// who is gone, disabled or revoked since the token was issued.
func (s *Server) stand(c *Call) error {
	v, key := c.View(), state.Key(c.Tenant, c.ID)
	var enabled bool
	var revoked time.Time
	if u, err := state.Users.Get(v, key); err == nil {
		c.Name, enabled, revoked = u.UserPrincipalName, u.Enabled, u.AccessRevoked
	} else if p, err := state.ServicePrincipals.Get(v, key); err == nil {
		c.Name, enabled, revoked = string(p.AppID), p.Enabled, p.AccessRevoked
	} else {
		return s.challenge(c, "InvalidAuthenticationToken", "The access token is invalid: its principal does not exist in the directory.", "The access token is invalid.", err)
	}
	if !enabled {
		return s.challenge(c, "InvalidAuthenticationToken", "The access token is invalid: the account is disabled.", "The access token is invalid.", nil)
	}
	if !revoked.IsZero() && !c.Issued.IsZero() && c.Issued.Before(revoked) {
		return s.revokedSince(c)
	}
	if c.Client != "" {
		c.Name = c.Client
	}
	c.Principal = rbac.Principal{Tenant: c.Tenant, ID: c.ID, Groups: state.Memberships(v, c.Tenant, c.ID, c.Now)}
	return nil
}

func (s *Server) challenge(c *Call, code, message, description string, cause error) *Error {
	e := &Error{Status: http.StatusUnauthorized, Code: code, Message: message, Err: cause}
	tenant := "common"
	if c.Tenant != "" {
		tenant = string(c.Tenant)
	}
	e.Header = http.Header{"Www-Authenticate": {`Bearer authorization_uri="` + c.Root + `/` + tenant + `", error="invalid_token", error_description="` + description + `"`}}
	return e
}

// revokedSince asks the client for a token issued after the revocation, as
// continuous access evaluation does.
func (s *Server) revokedSince(c *Call) *Error {
	e := s.challenge(c, "TokenIssuedBeforeRevocationTimestamp", "The user or administrator has revoked the tokens for this user. The access token was issued before that.", "", nil)
	claims := `{"access_token":{"nbf":{"essential":true,"value":"` + strconv.FormatInt(c.Now.Unix(), 10) + `"}}}`
	e.Header = http.Header{"Www-Authenticate": {`Bearer realm="", authorization_uri="` + c.Root + `/common/oauth2/authorize", error="insufficient_claims", claims="` +
		base64.StdEncoding.EncodeToString([]byte(claims)) + `"`}}
	return e
}

var versionForm = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2})(-[a-z]+[0-9]*)?$`)

// apiVersion reads the version that the client speaks. All versions are
// accepted that are one: documents keep whatever their version has.
func apiVersion(q url.Values) (string, error) {
	v := ""
	for name, values := range q {
		if strings.EqualFold(name, "api-version") && len(values) > 0 {
			v = values[0]
		}
	}
	if v == "" {
		return "", Bad("MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	m := versionForm.FindStringSubmatch(strings.ToLower(v))
	if m != nil {
		if _, err := time.Parse(time.DateOnly, m[1]); err == nil {
			return strings.ToLower(v), nil
		}
	}
	return "", Bad("InvalidApiVersionParameter", "The api-version '%.50s' is invalid. The supported versions are dates of the form 'yyyy-mm-dd', with or without '-preview'.", v)
}

// failure renders an error.
func (s *Server) failure(c *Call, e *Error) *Response {
	if e.Status >= http.StatusInternalServerError {
		s.cfg.Logger.Error("an ARM request failed", "method", c.Method, "path", c.Path(), "request", c.RequestID, "error", e)
	}
	body := map[string]any{"code": e.Code, "message": e.Message}
	if e.Target != "" {
		body["target"] = e.Target
	}
	resp := &Response{Status: e.Status, Body: map[string]any{"error": body}, Header: http.Header{}}
	for name, v := range e.Header {
		resp.Header[name] = v
	}
	resp.Header.Set("x-ms-failure-cause", "gateway")
	if e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable {
		resp.Header.Set("Retry-After", "1")
	}
	return resp
}

func (s *Server) audit(c *Call, status int, e *Error) {
	if s.cfg.Audit == nil || c.Route == nil || c.Route.Reads() && status != http.StatusForbidden {
		return
	}
	event := &Event{
		Time: c.Now, Tenant: c.Tenant, Caller: c.ID, CallerName: c.Name, AppID: c.AppID,
		Action: c.ActionName(), Scope: c.Scope.String(), Status: status,
		IP: c.RemoteAddr, RequestID: c.RequestID, CorrelationID: c.CorrelationID,
	}
	if e != nil {
		event.Code = e.Code
	}
	if err := s.cfg.Audit.Record(context.WithoutCancel(c.Context), event); err != nil {
		s.cfg.Logger.Error("an activity cannot be recorded", "action", event.Action, "scope", event.Scope, "error", err)
	}
}

func (s *Server) write(w http.ResponseWriter, c *Call, resp *Response) {
	h := w.Header()
	for name, v := range resp.Header {
		h[http.CanonicalHeaderKey(name)] = v
	}
	h.Set("x-ms-request-id", c.RequestID)
	h.Set("x-ms-correlation-request-id", c.CorrelationID)
	h.Set("x-ms-routing-request-id", "ENTRANCE:"+c.Now.Format("20060102T150405Z")+":"+c.RequestID)
	if id := c.Header.Get("x-ms-client-request-id"); id != "" && len(id) <= 100 && strings.EqualFold(c.Header.Get("x-ms-return-client-request-id"), "true") {
		h.Set("x-ms-client-request-id", id)
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	var body []byte
	if resp.Body != nil {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(resp.Body); err != nil {
			s.cfg.Logger.Error("encoding an answer", "path", c.Path(), "error", err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		h.Set("Content-Type", "application/json; charset=utf-8")
		body = b.Bytes()
	}
	w.WriteHeader(resp.Status)
	if len(body) > 0 && c.Method != http.MethodHead {
		if _, err := w.Write(body); err != nil {
			s.cfg.Logger.Debug("the client went away", "error", err)
		}
	}
}
