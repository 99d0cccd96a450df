package wire

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Caller is who makes a request, as the access token says.
type Caller struct {
	Tenant directory.TenantID
	ID     directory.ObjectID // of the user, or of the client's service principal
	AppID  directory.AppID    // the client, for the activity log
	// Client is how messages name the caller. Empty: the user principal name or
	// the client id that the directory knows.
	Client string
	// Issued is when the token was issued: access revoked since is refused.
	// Zero when whoever authenticates has seen to that.
	Issued time.Time
	// MFA is whether the token says that multifactor authentication was done.
	MFA bool
}

// Call is one request on its way through a handler.
type Call struct {
	Caller
	// Name is the caller's in messages: the user principal name or the
	// client id.
	Name string
	// Principal is the caller with the groups that it is in now.
	Principal rbac.Principal

	Context       context.Context
	Method        string
	Segments      []string // of the path
	Query         url.Values
	Header        http.Header
	Body          []byte
	APIVersion    string
	Root          string // https://host, as the client knows this server
	Route         *Route
	Scope         rbac.Scope // at which the call was decided
	Store         *store.Store
	Facts         access.Facts
	Now           time.Time
	RemoteAddr    string
	RequestID     string
	CorrelationID string

	params   map[string]string
	low      []string
	keeper   Keeper
	document Document
}

// Keeper hands out the facts that decisions are made from; *access.Keeper is
// the one.
type Keeper interface {
	Facts() (access.Facts, error)
}

// Param returns a parameter of the route's pattern, as the client wrote it.
func (c *Call) Param(name string) string { return c.params[name] }

// View returns the store's view of the call's facts.
func (c *Call) View() *store.View { return c.Facts.View }

// Path returns the path of the request.
func (c *Call) Path() string { return "/" + strings.Join(c.Segments, "/") }

// Document returns the request's body as a document.
func (c *Call) Document() (Document, error) {
	if c.document == nil {
		d, err := ParseDocument(c.Body)
		if err != nil {
			return nil, err
		}
		c.document = d
	}
	return c.document.Clone(), nil
}

// OptionalDocument is Document for a body that may be empty.
func (c *Call) OptionalDocument() (Document, error) {
	if len(c.Body) == 0 {
		return Document{}, nil
	}
	return c.Document()
}

// Update runs a transaction, and moves the call's facts past it.
func (c *Call) Update(fn func(*store.Tx) error) error {
	if err := c.Store.Update(c.Context, fn); err != nil {
		return err
	}
	return c.Refresh()
}

// Refresh moves the call's facts past what a service of the server has written
// for it.
func (c *Call) Refresh() error {
	facts, err := c.keeper.Facts()
	if err != nil {
		return err
	}
	c.Facts = facts
	return nil
}

// Allowed reports whether the caller may do an action at a scope.
func (c *Call) Allowed(action string, at rbac.Scope) bool {
	a, err := rbac.ParseAction(action)
	if err != nil {
		return false
	}
	return c.Facts.RBAC.Decide(&rbac.Request{Principal: c.Principal, Scope: at, Action: a, Now: c.Now}).Allowed()
}

// AllowedWith is Allowed with what conditions of role assignments test.
func (c *Call) AllowedWith(action string, at rbac.Scope, request, resource condition.Attributes) bool {
	a, err := rbac.ParseAction(action)
	if err != nil {
		return false
	}
	return c.Facts.RBAC.Decide(&rbac.Request{Principal: c.Principal, Scope: at, Action: a, Now: c.Now, Request: request, Resource: resource}).Allowed()
}

// Require refuses the call unless the caller may do an action at a scope.
func (c *Call) Require(action string, at rbac.Scope) error {
	a, err := rbac.ParseAction(action)
	if err != nil {
		return err
	}
	return c.decide(&rbac.Request{Principal: c.Principal, Scope: at, Action: a, Now: c.Now})
}

func (c *Call) decide(r *rbac.Request) error {
	if d, message := c.Facts.RBAC.AuthorizeARM(c.Name, *r); !d.Allowed() {
		return Fail(http.StatusForbidden, rbac.AuthorizationFailed, "%s", message)
	}
	return nil
}

// RequireLinked refuses the call unless the caller may do an action at a scope
// that the body names.
func (c *Call) RequireLinked(action string, at rbac.Scope) error {
	if c.Allowed(action, at) {
		return nil
	}
	return Fail(http.StatusForbidden, "LinkedAuthorizationFailed",
		"The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; however, it does not have permission to perform action(s) '%s' on the linked scope(s) '%s' (respectively) or the linked scope(s) are invalid.",
		c.Name, c.ID, c.Route.Action, c.Scope, action, at)
}

// Subscription returns the subscription with the given id when the caller's
// tenant has it.
func (c *Call) Subscription(id string) (*state.Subscription, error) {
	guid, ok := directory.ParseGUID(id)
	if !ok {
		return nil, Bad("InvalidSubscriptionId", "The provided subscription identifier '%.100s' is malformed or invalid.", id)
	}
	s, err := state.Subscriptions.Get(c.View(), guid)
	if errs.Is(err, errs.NotFound) {
		return nil, Fail(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id)
	}
	if err != nil {
		return nil, err
	}
	if s.Tenant != c.Tenant {
		return nil, wrongTenant(c, s.Tenant)
	}
	return s, nil
}

func wrongTenant(c *Call, want directory.TenantID) *Error {
	e := Fail(http.StatusUnauthorized, "InvalidAuthenticationTokenTenant",
		"The access token is from the wrong issuer 'https://sts.windows.net/%s/'. It must match the tenant 'https://sts.windows.net/%s/' associated with this subscription. Please use the authority (URL) 'https://login.windows.net/%s' to get the token. Note, if the subscription is transferred to another tenant there is no impact to the services, but information about new tenant could take time to propagate (up to an hour). If you just transferred your subscription and see this error message, please try back later.",
		c.Tenant, want, want)
	e.Header = http.Header{"Www-Authenticate": {`Bearer authorization_uri="` + c.Root + `/` + string(want) + `", error="invalid_token", error_description="The access token is from the wrong issuer."`}}
	return e
}

// ETag returns the entity tag of a record's revision.
func ETag(rev int64) string { return `W/"` + strconv.FormatInt(rev, 10) + `"` }

// CheckMatch refuses a write when the client's If-Match or If-None-Match does
// not fit the record's revision; exists says whether there is a record.
func (c *Call) CheckMatch(rev int64, exists bool) error {
	fail := func(header string) error {
		return Fail(http.StatusPreconditionFailed, "PreconditionFailed", "The condition '%s' of the request is not satisfied: the resource has changed since it was read.", header)
	}
	if m := c.Header.Get("If-Match"); m != "" && (!exists || m != "*" && !tagIn(m, rev)) {
		return fail("If-Match")
	}
	if m := c.Header.Get("If-None-Match"); m != "" && exists && (m == "*" || tagIn(m, rev)) {
		return fail("If-None-Match")
	}
	return nil
}

func tagIn(list string, rev int64) bool {
	want := strconv.FormatInt(rev, 10)
	return slices.ContainsFunc(strings.Split(list, ","), func(t string) bool {
		return strings.Trim(strings.TrimPrefix(strings.TrimSpace(t), "W/"), `"`) == want
	})
}

// Response is what a handler answers.
type Response struct {
	Status int
	Header http.Header
	Body   any // encoded as JSON; nil sends none
}

// OK is the answer that shows something.
func OK(body any) *Response { return &Response{Status: http.StatusOK, Body: body} }

// Created is the answer that shows a new resource.
func Created(body any) *Response { return &Response{Status: http.StatusCreated, Body: body} }

// NoContent is the answer that has nothing to show.
func NoContent() *Response { return &Response{Status: http.StatusNoContent} }

// With returns the response with one more header.
func (r *Response) With(name, value string) *Response {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set(name, value)
	return r
}

// pageSize is how many things a list shows at once.
const pageSize = 1000

// Page answers with the part of a list that the client asked for. The list is
// in an order that stays, and key names each element: the skip token is the key
// of the last one shown, so that what comes and goes meanwhile moves nothing.
func Page[T any](c *Call, all []T, key func(T) string) (*Response, error) {
	size := pageSize
	if top := c.Query.Get("$top"); top != "" {
		n, err := strconv.Atoi(top)
		if err != nil || n < 1 {
			return nil, BadRequest("The value '%.20s' of $top is not a positive number.", top)
		}
		size = min(n, pageSize)
	}
	if after := c.Query.Get("$skiptoken"); after != "" {
		i := slices.IndexFunc(all, func(v T) bool { return key(v) > after })
		if i < 0 {
			i = len(all)
		}
		all = all[i:]
	}
	body := Document{}
	if len(all) > size {
		last := key(all[size-1])
		all = all[:size]
		q := url.Values{}
		for name, v := range c.Query {
			q[name] = v
		}
		q.Set("$skiptoken", last)
		body["nextLink"] = c.Root + (&url.URL{Path: c.Path()}).EscapedPath() + "?" + q.Encode()
	}
	if all == nil {
		all = []T{}
	}
	body["value"] = all
	return OK(body), nil
}
