package wire

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Route is one row of the table of routes.
type Route struct {
	Method string
	// Pattern is a path below the version, such as groups/{id}/members/$ref.
	// Segments in braces are keys of objects.
	Pattern string
	Access  *Access
	// Activity and Category name what a write does in the audit log. Every
	// write has them.
	Activity, Category string
	Handle             func(*Call) (*Response, error)
}

// Reads reports whether the route changes nothing.
func (r *Route) Reads() bool { return r.Activity == "" }

// Handler answers a call.
type Handler = func(*Call) (*Response, error)

// Get returns a route that reads.
func Get(pattern string, a *Access, h Handler) Route {
	return Route{Method: http.MethodGet, Pattern: pattern, Access: a, Handle: h}
}

// Ask returns a POST that changes nothing.
func Ask(pattern string, a *Access, h Handler) Route {
	return Route{Method: http.MethodPost, Pattern: pattern, Access: a, Handle: h}
}

// Write returns a route that changes something, with its names in the audit
// log.
func Write(method, pattern string, a *Access, category, activity string, h Handler) Route {
	return Route{Method: method, Pattern: pattern, Access: a, Category: category, Activity: activity, Handle: h}
}

// Key is a key of an object in a path: a value, or name='value' for an
// alternate key.
type Key struct{ Name, Value string }

// tree finds routes by path. Segments are compared without case.
type tree struct {
	children map[string]*tree
	key      *tree
	routes   map[string]*Route
}

func (t *tree) add(r *Route) error {
	n := t
	for seg := range strings.SplitSeq(r.Pattern, "/") {
		if strings.HasPrefix(seg, "{") {
			if n.key == nil {
				n.key = &tree{}
			}
			n = n.key
			continue
		}
		if n.children == nil {
			n.children = map[string]*tree{}
		}
		low := strings.ToLower(seg)
		if n.children[low] == nil {
			n.children[low] = &tree{}
		}
		n = n.children[low]
	}
	if n.routes == nil {
		n.routes = map[string]*Route{}
	}
	if n.routes[r.Method] != nil {
		return fmt.Errorf("two routes for %s %s", r.Method, r.Pattern)
	}
	n.routes[r.Method] = r
	return nil
}

// segment is a part of a request path: a name, or a key that was written in
// parentheses and so cannot be a name.
type segment struct {
	text   string
	key    Key
	isOnly bool // only a key
}

// splitPath reads users/id, users('id'), applications(appId='id') and
// function calls without arguments.
func splitPath(path string) ([]segment, error) {
	var out []segment
	for raw := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		s, err := url.PathUnescape(raw)
		if err != nil || s == "" || len(out) > 16 || strings.ContainsAny(s, "\x00\r\n") {
			return nil, Fail(http.StatusBadRequest, CodeNoSegment, "The request URI is not valid.")
		}
		name, arg, ok := strings.Cut(s, "(")
		if !ok || name == "" || !strings.HasSuffix(arg, ")") {
			out = append(out, segment{text: s})
			continue
		}
		out = append(out, segment{text: name})
		arg = strings.TrimSuffix(arg, ")")
		if arg == "" {
			continue
		}
		k := Key{Value: arg}
		if n, v, named := strings.Cut(arg, "="); named && !strings.HasPrefix(arg, "'") {
			k = Key{strings.ToLower(strings.TrimSpace(n)), v}
		}
		v := strings.TrimSpace(k.Value)
		if len(v) >= 2 && v[0] == '\'' && v[len(v)-1] == '\'' {
			v = strings.ReplaceAll(v[1:len(v)-1], "''", "'")
		}
		if k.Value = v; v == "" {
			return nil, Fail(http.StatusBadRequest, CodeNoSegment, "The key in '%.100s' is empty.", s)
		}
		out = append(out, segment{key: k, isOnly: true})
	}
	return out, nil
}

// find returns the node of the path and the keys in it, or the first segment
// that leads nowhere.
func (t *tree) find(path []segment) (n *tree, keys []Key, lost string) {
	n = t
	for _, s := range path {
		if !s.isOnly {
			if next := n.child(s.text); next != nil {
				n = next
				continue
			}
		}
		if n.key == nil {
			return nil, nil, s.text + s.key.Value
		}
		k := s.key
		if !s.isOnly {
			k = Key{Value: s.text}
		}
		keys = append(keys, k)
		n = n.key
	}
	return n, keys, ""
}

// child finds a name, with the namespace that OData allows before actions and
// types.
func (n *tree) child(name string) *tree {
	low := strings.ToLower(name)
	if c := n.children[low]; c != nil {
		return c
	}
	if rest, ok := strings.CutPrefix(low, "graph."); ok {
		low = "microsoft.graph." + rest
		if c := n.children[low]; c != nil {
			return c
		}
	}
	if rest, ok := strings.CutPrefix(low, "microsoft.graph."); ok {
		return n.children[rest]
	}
	return nil
}
