package wire

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Call is one request on its way through a handler.
type Call struct {
	Standing
	Context context.Context
	Method  string
	Path    string // below the version, as sent
	Query   string // raw
	Header  http.Header
	Body    []byte
	Version string // v1.0 or beta
	Root    string // https://host/v1.0 as the client knows it
	Keys    []Key
	// Me is true when the path began with /me.
	Me                                   bool
	Route                                *Route
	Store                                *store.Store
	View                                 *store.View
	Now                                  time.Time
	RemoteAddr, RequestID, CorrelationID string

	targets []Target
}

// StateKey returns the key of an object of the caller's tenant in the tables.
func (c *Call) StateKey(id directory.ObjectID) string { return state.Key(c.Tenant, id) }

// Key returns the i-th key of the path, which must be a primary key.
func (c *Call) Key(i int) (string, error) {
	k := c.Keys[i]
	if k.Name != "" && k.Name != "id" {
		return "", Bad("The key '%.100s' is not defined for this resource.", k.Name)
	}
	return k.Value, nil
}

// ObjectID returns the i-th key of the path as an object id. What is no id
// does not exist.
func (c *Call) ObjectID(i int) (directory.ObjectID, error) {
	k, err := c.Key(i)
	if err != nil {
		return "", err
	}
	id, ok := directory.ParseGUID(k)
	if !ok {
		return "", Fail(http.StatusBadRequest, CodeBadRequest, "Invalid object identifier '%.100s'.", k)
	}
	return directory.ObjectID(id), nil
}

// Keyed returns the context of a navigation property of the object that the
// first key names: applications('id')/owners.
func (c *Call) Keyed(navigation string) string {
	set, _, _ := strings.Cut(c.Route.Pattern, "/")
	return set + "('" + strings.ReplaceAll(c.Keys[0].Value, "'", "''") + "')/" + navigation
}

// Eventual reports whether the client accepts answers of the eventually
// consistent index, which advanced queries need.
func (c *Call) Eventual() bool {
	return strings.EqualFold(c.Header.Get("ConsistencyLevel"), "eventual")
}

// RelationTo returns how the caller stands to an object.
func (c *Call) RelationTo(r store.Reader, id directory.ObjectID) Relation {
	rel := Relation{Self: id == c.ID}
	if a, err := state.Applications.Get(r, c.StateKey(id)); err == nil && c.AppOnly && a.AppID == c.AppID {
		rel.Self = true
	}
	for _, l := range state.Linked(r, directory.Owner, c.Tenant, id, c.Now) {
		if l.To == c.ID {
			rel.Owner = true
		}
	}
	return rel
}

// Require refuses the call unless access allows the caller on the object id,
// which may be empty. Handlers use it where the route's own access depends on
// what the body names.
func (c *Call) Require(access *Access, id directory.ObjectID) error {
	var rel Relation
	if id != "" {
		rel = c.RelationTo(c.View, id)
	}
	if !access.Decide(&c.Standing, rel) {
		return Denied()
	}
	return nil
}

// Update runs a transaction and moves the call's view past it.
func (c *Call) Update(fn func(tx *store.Tx) error) error {
	err := c.Store.Update(c.Context, fn)
	c.View = c.Store.View()
	return err
}

// CheckMatch refuses a write when the client's If-Match does not name the
// revision rev of the record.
func (c *Call) CheckMatch(rev int64) error {
	m := c.Header.Get("If-Match")
	if m == "" || m == "*" || m == ETag(rev) {
		return nil
	}
	return Fail(http.StatusPreconditionFailed, CodePreconditionFailed, "The resource has changed since it was read: its ETag does not match the one in the If-Match header.")
}

// ETag returns the entity tag of a record's revision.
func ETag(rev int64) string { return `W/"` + strconv.FormatInt(rev, 10) + `"` }

// Target is an object that a write was about, for the audit log. Changes never
// hold secrets.
type Target struct {
	Type        string // User, Group, Application, ...
	ID          string
	DisplayName string
	UPN         string
	Changes     []Change
}

// Change is a property that a write changed. Values are JSON.
type Change struct{ Name, Old, New string }

// Audited records what the call is about.
func (c *Call) Audited(t Target) { c.targets = append(c.targets, t) }

// Event is one entry of the directory's audit log.
type Event struct {
	ID            string
	Time          time.Time
	Tenant        directory.TenantID
	Activity      string // "Add user"
	Category      string // "UserManagement"
	Operation     string // Add, Update, Delete, Assign, ...
	Success       bool
	Reason        string
	User          directory.ObjectID // who did it; empty for a client without a user
	UPN           string
	AppID         directory.AppID
	Principal     directory.ObjectID // the client's service principal, when it acted by itself
	IP            string
	CorrelationID string
	Targets       []Target
}

// Audit takes the events of writes. Record returns when the event is kept.
type Audit interface {
	Record(ctx context.Context, e *Event) error
}

// Response is what a handler answers.
type Response struct {
	Status int
	Header http.Header
	Body   any    // encoded as JSON; nil sends none
	Text   string // sent as text/plain instead of Body, if not empty
}

// NoContent is the answer of a write that has nothing to say.
func NoContent() *Response { return &Response{Status: http.StatusNoContent} }

// Created is the answer that shows a new object.
func Created(body any) *Response { return &Response{Status: http.StatusCreated, Body: body} }

// OK is the answer that shows something.
func OK(body any) *Response { return &Response{Status: http.StatusOK, Body: body} }

// Value is the answer of a function: a context and a value.
func (c *Call) Value(context string, value any) *Response {
	return OK(Object{{"@odata.context", c.Root + "/$metadata#" + context}, {"value", value}})
}

// notFound reports whether err says that something does not exist.
func notFound(err error) bool {
	return err != nil && render(err).Status == http.StatusNotFound
}
