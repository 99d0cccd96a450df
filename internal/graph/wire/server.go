package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Config is what a Server needs.
type Config struct {
	Store  *store.Store
	Clock  clock.Clock
	Logger *slog.Logger
	// BaseURL is the address of Graph as clients know it, without a version.
	BaseURL string
	// Hosts are further host names under which clients may know it, such as
	// graph.microsoft.com behind an intercepting proxy.
	Hosts []string
	// Authenticate returns who makes the request, or errs.Unauthenticated.
	Authenticate func(*http.Request) (Caller, error)
	Audit        Audit
}

// maxBody bounds the body of a request.
const maxBody = 4 << 20

// Server serves a table of routes.
type Server struct {
	Config
	Routes []Route
	tree   tree
	host   string
}

// NewServer checks the table and returns a server for it.
func NewServer(c Config, routes []Route) (*Server, error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("graph: the base URL %q is not absolute", c.BaseURL)
	}
	s := &Server{Config: c, Routes: routes, host: base.Host}
	s.BaseURL = strings.TrimSuffix(c.BaseURL, "/")
	for i := range s.Routes {
		r := &s.Routes[i]
		if r.Access == nil || r.Handle == nil {
			return nil, fmt.Errorf("graph: %s %s has no access rule or no handler", r.Method, r.Pattern)
		}
		if (r.Activity == "") != (r.Category == "") {
			return nil, fmt.Errorf("graph: %s %s is half a write", r.Method, r.Pattern)
		}
		if err := s.tree.add(r); err != nil {
			return nil, fmt.Errorf("graph: %w", err)
		}
	}
	return s, nil
}

// ServeHTTP answers a request for /v1.0/... or /beta/....
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &Call{
		Context: r.Context(), Method: r.Method, Query: r.URL.RawQuery, Header: r.Header,
		RequestID: directory.NewGUID(), RemoteAddr: remote(r.RemoteAddr),
	}
	c.CorrelationID = c.RequestID
	if id, ok := directory.ParseGUID(r.Header.Get("client-request-id")); ok {
		c.CorrelationID = id
	}
	resp, err := s.serve(c, r, w)
	if err != nil {
		resp = s.failure(c, err)
	}
	s.write(w, c, resp)
}

func remote(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

func (s *Server) serve(c *Call, r *http.Request, w http.ResponseWriter) (*Response, error) {
	version, path, ok := strings.Cut(strings.TrimLeft(r.URL.EscapedPath(), "/"), "/")
	if c.Version = strings.ToLower(version); c.Version != "v1.0" && c.Version != "beta" {
		return nil, Fail(http.StatusBadRequest, CodeNoSegment, "Invalid version: %.50s", version)
	}
	c.Path = path
	host := s.host
	if slices.Contains(s.Hosts, strings.ToLower(r.Host)) {
		host = strings.ToLower(r.Host)
	}
	c.Root = strings.Replace(s.BaseURL, s.host, host, 1) + "/" + c.Version
	caller, err := s.Authenticate(r)
	if err != nil {
		if errs.KindOf(err) == errs.Internal {
			return nil, err
		}
		return nil, unauthenticated(err)
	}
	c.Caller = caller
	if !ok || path == "" {
		return nil, Fail(http.StatusBadRequest, CodeNoSegment, "The request URI names no resource.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
			return nil, Fail(http.StatusRequestEntityTooLarge, CodeBadRequest, "The request body is larger than %d bytes.", maxBody)
		}
		return nil, Bad("The request body could not be read.")
	}
	c.Body = body
	if strings.EqualFold(strings.Trim(path, "/"), "$batch") {
		if c.Method != http.MethodPost {
			return nil, notAllowed()
		}
		return s.batch(c)
	}
	return s.dispatch(c)
}

func unauthenticated(err error) *Error {
	return &Error{http.StatusUnauthorized, CodeInvalidToken, errs.Message(err), err}
}

func notAllowed() *Error {
	return Fail(http.StatusMethodNotAllowed, CodeBadRequest, "Specified HTTP method is not allowed for the request target.")
}

// stand reads what the directory knows of the caller now, and refuses a caller
// who is gone, disabled or revoked since the token was issued.
func (s *Server) stand(c *Call) error {
	gone := Fail(http.StatusUnauthorized, CodeIdentityNotFound, "The identity of the calling application could not be established.")
	key := state.Key(c.Tenant, c.ID)
	if c.AppOnly {
		p, err := state.ServicePrincipals.Get(c.View, key)
		if err != nil || !p.Enabled {
			return gone
		}
		if !p.AccessRevoked.IsZero() && c.Issued.Before(p.AccessRevoked) {
			return Fail(http.StatusUnauthorized, CodeInvalidToken, "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp")
		}
	} else {
		u, err := state.Users.Get(c.View, key)
		if err != nil {
			return Fail(http.StatusUnauthorized, CodeInvalidToken, "The user of the access token does not exist in the directory.")
		}
		if !u.Enabled {
			return Fail(http.StatusUnauthorized, CodeInvalidToken, "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: AccountDisabled")
		}
		if !u.AccessRevoked.IsZero() && c.Issued.Before(u.AccessRevoked) {
			return Fail(http.StatusUnauthorized, CodeInvalidToken, "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp")
		}
		c.Guest = u.Guest
	}
	c.Directory = state.Roles(c.View, c.Tenant, c.ID, c.Now)
	return nil
}

// dispatch runs one call, of a request or of a batch: the caller's standing,
// the route, the decision, the handler, the audit event.
func (s *Server) dispatch(c *Call) (*Response, error) {
	c.Now, c.Store, c.View = s.Clock.Now().UTC(), s.Store, s.Store.View()
	if err := s.stand(c); err != nil {
		// The caller may have been created, or restored, elsewhere just now.
		if ferr := s.Store.Fresh(c.Context); ferr != nil {
			return nil, ferr
		}
		c.View = s.Store.View()
		if err := s.stand(c); err != nil {
			return nil, err
		}
	}
	if err := s.find(c); err != nil {
		return nil, err
	}
	run := func() (*Response, error) {
		if err := s.authorize(c); err != nil {
			return nil, err
		}
		return c.Route.Handle(c)
	}
	resp, err := run()
	if notFound(err) && c.Route.Reads() {
		// What another replica has just written may be missing in this view.
		if ferr := s.Store.Fresh(c.Context); ferr != nil {
			return nil, ferr
		}
		if v := s.Store.View(); v.Revision() > c.View.Revision() {
			c.View = v
			resp, err = run()
		}
	}
	if !c.Route.Reads() {
		s.record(c, err)
	}
	return resp, err
}

// find sets the route and keys of c.
func (s *Server) find(c *Call) error {
	path, err := splitPath(c.Path)
	if err != nil {
		return err
	}
	if strings.EqualFold(path[0].text, "me") {
		if c.AppOnly {
			return Fail(http.StatusBadRequest, CodeNoSegment, "/me request is only valid with delegated authentication flow.")
		}
		c.Me = true
		path = append([]segment{{text: "users"}, {key: Key{Value: string(c.ID)}, isOnly: true}}, path[1:]...)
	}
	n, keys, lost := s.tree.find(path)
	if n == nil || n.routes == nil {
		if lost == "" {
			lost = path[len(path)-1].text
		}
		return Fail(http.StatusBadRequest, CodeNoSegment, "Resource not found for the segment '%.100s'.", lost)
	}
	if c.Route = n.routes[c.Method]; c.Route == nil {
		return notAllowed()
	}
	c.Keys = keys
	return nil
}

// authorize asks the route's Access about the caller and the object that the
// first key names.
func (s *Server) authorize(c *Call) error {
	var id directory.ObjectID
	if len(c.Keys) > 0 {
		id = s.resolve(c)
	}
	return c.Require(c.Route.Access, id)
}

// resolve returns the object id of the first key, or "" when it names nothing:
// then only rules that do not depend on the object can allow the call.
func (s *Server) resolve(c *Call) directory.ObjectID {
	k := c.Keys[0]
	set, _, _ := strings.Cut(strings.ToLower(c.Route.Pattern), "/")
	switch {
	case set == "users" && k.Name == "" || k.Name == "userprincipalname":
		if u, err := state.FindUser(c.View, c.Tenant, k.Value); err == nil {
			return u.ID
		}
		return ""
	case k.Name == "appid":
		id, _ := directory.ParseGUID(k.Value)
		if set == "serviceprincipals" {
			if p, err := state.FindServicePrincipal(c.View, c.Tenant, directory.AppID(id)); err == nil {
				return p.ID
			}
			return ""
		}
		if a, ok := state.Applications.First(c.View, "appid", id); ok && a.Tenant == c.Tenant {
			return a.ID
		}
		return ""
	}
	id, _ := directory.ParseGUID(k.Value)
	return directory.ObjectID(id)
}

// record hands the audit event of a write to the sink. A write that was
// refused is recorded too.
func (s *Server) record(c *Call, err error) {
	e := &Event{
		ID: directory.NewGUID(), Time: c.Now, Tenant: c.Tenant, Activity: c.Route.Activity, Category: c.Route.Category,
		Operation: operation(c.Route), Success: err == nil, AppID: c.AppID, IP: c.RemoteAddr,
		CorrelationID: c.CorrelationID, Targets: c.targets,
	}
	if err != nil {
		e.Reason = render(err).Message
	}
	if c.AppOnly {
		e.Principal = c.ID
	} else {
		e.User = c.ID
		if u, uerr := state.Users.Get(c.View, c.StateKey(c.ID)); uerr == nil {
			e.UPN = u.UserPrincipalName
		}
	}
	if s.Audit == nil {
		return
	}
	// The write has happened: a client that went away must not undo its record.
	if aerr := s.Audit.Record(context.WithoutCancel(c.Context), e); aerr != nil {
		s.Logger.Error("audit event was not kept", "activity", e.Activity, "correlation", e.CorrelationID, "error", aerr)
	}
}

func operation(r *Route) string {
	word, _, _ := strings.Cut(r.Activity, " ")
	switch word {
	case "Remove", "Delete", "Hard":
		return "Delete"
	case "Add", "Create":
		return "Add"
	case "Restore":
		return "Add"
	}
	return "Update"
}

func (s *Server) failure(c *Call, err error) *Response {
	e := render(err)
	if e.Status >= 500 {
		s.Logger.Error("graph request failed", "method", c.Method, "path", c.Path, "request", c.RequestID, "error", err)
	}
	resp := &Response{Status: e.Status, Header: http.Header{}, Body: Object{{"error", Object{
		{"code", e.Code}, {"message", e.Message},
		{"innerError", Object{
			{"date", s.Clock.Now().UTC().Format("2006-01-02T15:04:05")},
			{"request-id", c.RequestID}, {"client-request-id", c.CorrelationID},
		}},
	}}}}
	switch e.Status {
	case http.StatusUnauthorized:
		resp.Header.Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		resp.Header.Set("Retry-After", "1")
	}
	return resp
}

const contentType = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"

func (s *Server) write(w http.ResponseWriter, c *Call, resp *Response) {
	h := w.Header()
	for k, v := range resp.Header {
		h[k] = v
	}
	h.Set("request-id", c.RequestID)
	h.Set("client-request-id", c.CorrelationID)
	h.Set("Cache-Control", "no-cache")
	h.Set("OData-Version", "4.0")
	h.Set("X-Content-Type-Options", "nosniff")
	var body []byte
	switch {
	case resp.Text != "":
		h.Set("Content-Type", "text/plain")
		body = []byte(resp.Text)
	case resp.Body != nil:
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(resp.Body); err != nil {
			s.Logger.Error("encoding an answer", "path", c.Path, "error", err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		h.Set("Content-Type", contentType)
		body = b.Bytes()
	}
	w.WriteHeader(resp.Status)
	if _, err := w.Write(body); err != nil {
		s.Logger.Debug("the client went away", "error", err)
	}
}
