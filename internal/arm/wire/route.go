package wire

import (
	"fmt"
	"strings"

	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
)

// Who says how a route is guarded.
type Who uint8

const (
	// Permitted routes are for callers who may do the route's action at the
	// request's scope. It is the zero value.
	Permitted Who = iota
	// Visible routes list things, and show a caller those that the caller may
	// read. Who may read nothing below the scope is refused.
	Visible
	// Authenticated routes are for every caller of the tenant: they tell about
	// the caller, or about what all tenants have in common, or they decide in
	// the handler, which says so beside it.
	Authenticated
	// Anonymous routes need no token.
	Anonymous
)

// Route is a row of the table of routes.
type Route struct {
	Method string
	// Pattern is a path, such as /subscriptions/{sub}/resourceGroups/{group}.
	// A segment in braces is a parameter; {scope} at the start stands for any
	// scope, the root included, and {rest} at the end for one or more segments.
	Pattern string
	// Action is what the caller does. {type} in it stands for the resource
	// type that the path names.
	Action string
	Who    Who
	// On gives the scope to decide at, where it is not what the path names.
	On func(*Call) (rbac.Scope, error)
	// Attributes gives what conditions of role assignments test.
	Attributes func(*Call) (request, resource condition.Attributes, err error)
	Handle     func(*Call) (*Response, error)

	segs     []segment
	anyScope bool
	anyRest  bool
}

type segment struct {
	text  string // literal, in lower case; or the parameter's name
	param bool
}

// Reads reports whether the route changes nothing.
func (r *Route) Reads() bool {
	return r.Method == "GET" || r.Method == "HEAD" || strings.HasSuffix(r.Action, "/read")
}

// compile checks the row.
func (r *Route) compile() error {
	fail := func(why string) error { return fmt.Errorf("arm: %s %s: %s", r.Method, r.Pattern, why) }
	if r.Handle == nil {
		return fail("no handler")
	}
	if (r.Action == "") != (r.Who == Anonymous || r.Who == Authenticated) {
		return fail("a route has an action unless everybody may use it")
	}
	pattern := r.Pattern
	if rest, ok := strings.CutPrefix(pattern, "{scope}"); ok {
		r.anyScope, pattern = true, rest
	}
	if rest, ok := strings.CutSuffix(pattern, "/{rest}"); ok {
		r.anyRest, pattern = true, rest
	}
	if !strings.HasPrefix(pattern, "/") {
		return fail("the pattern has no slash in front")
	}
	r.segs = nil
	if pattern == "/" {
		return nil
	}
	for s := range strings.SplitSeq(pattern[1:], "/") {
		if name, ok := strings.CutPrefix(s, "{"); ok {
			r.segs = append(r.segs, segment{strings.TrimSuffix(name, "}"), true})
		} else {
			r.segs = append(r.segs, segment{strings.ToLower(s), false})
		}
	}
	return nil
}

// match returns the parameters when the path is the route's. low is the path
// in lower case.
func (r *Route) match(path, low []string) (map[string]string, bool) {
	start := 0
	switch {
	case r.anyScope:
		// The last place where the tail fits: what stands before is the scope.
		if start = len(low) - len(r.segs); start < 0 {
			return nil, false
		}
	case r.anyRest:
		if len(low) <= len(r.segs) {
			return nil, false
		}
	case len(low) != len(r.segs):
		return nil, false
	}
	for i, s := range r.segs {
		if !s.param && s.text != low[start+i] {
			return nil, false
		}
	}
	params := make(map[string]string, 4)
	for i, s := range r.segs {
		if s.param {
			params[s.text] = path[start+i]
		}
	}
	if r.anyScope {
		scope := "/" + strings.Join(path[:start], "/")
		if _, err := rbac.ParseScope(scope); err != nil {
			return nil, false
		}
		params["scope"] = scope
	}
	if r.anyRest {
		params["rest"] = strings.Join(path[len(r.segs):], "/")
	}
	return params, true
}
