package rbac

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac/wildcard"
)

// ScopeKind says what a scope names. Kinds grow from wide to narrow.
type ScopeKind uint8

const (
	RootScope             ScopeKind = iota // "/"
	ManagementGroupScope                   // /providers/Microsoft.Management/managementGroups/{id}
	SubscriptionScope                      // /subscriptions/{id}
	ResourceGroupScope                     // .../resourceGroups/{name}
	ResourceScope                          // .../providers/{namespace}/{type}/{name}
	ChildScope                             // a resource within a resource
	NamespaceScope                         // {cluster}/namespaces/{name}, which is no ARM resource
	ManagedNamespaceScope                  // {cluster}/managedNamespaces/{name}
)

var scopeKindNames = [...]string{"root", "management group", "subscription", "resource group", "resource", "child resource", "namespace", "managed namespace"}

// String returns the name of the kind, for people.
func (k ScopeKind) String() string { return scopeKindNames[k] }

// Scope is a place in the tree of Azure resources, parsed and checked. The zero
// Scope is not valid; comparing two scopes with == compares their spelling too,
// so use Equal.
type Scope struct {
	text, key string
	kind      ScopeKind
	sub       string // subscription id in lower case, or ""
	mg        string // management group id in lower case, or ""
}

const (
	maxScopeLength   = 2048
	maxSegmentLength = 260
	managementPrefix = "/providers/microsoft.management/managementgroups/"
)

// Root returns the scope "/".
func Root() Scope { return Scope{text: "/", key: "/", kind: RootScope} }

// ManagementGroup returns the scope of a management group.
func ManagementGroup(id string) (Scope, error) {
	return ParseScope("/providers/Microsoft.Management/managementGroups/" + id)
}

// Subscription returns the scope of a subscription.
func Subscription(id string) (Scope, error) { return ParseScope("/subscriptions/" + id) }

// ParseScope parses a scope in the form of an ARM id. It refuses whatever could
// be read in two ways: empty and dot segments, percent-encoding, backslashes,
// control characters, a query or fragment, and ids that stop halfway.
func ParseScope(s string) (Scope, error) {
	if s == "/" {
		return Root(), nil
	}
	if s == "" || s[0] != '/' {
		return Scope{}, errs.New(errs.Invalid, "A scope begins with a slash.")
	}
	if len(s) > maxScopeLength {
		return Scope{}, errs.New(errs.Invalid, "The scope is longer than %d bytes.", maxScopeLength)
	}
	segs := strings.Split(s[1:], "/")
	for _, seg := range segs {
		if why := badSegment(seg); why != "" {
			return Scope{}, errs.New(errs.Invalid, "The scope %s.", why)
		}
	}
	sc := Scope{text: s, key: wildcard.Fold(s)}
	low := strings.Split(sc.key[1:], "/")
	if !sc.classify(low) {
		return Scope{}, errs.New(errs.Invalid, "The scope %q is not the id of a management group, a subscription, a resource group or a resource.", s)
	}
	return sc, nil
}

// badSegment says what is wrong with a segment, or "".
func badSegment(seg string) string {
	switch {
	case seg == "":
		return "has an empty segment"
	case seg == "." || seg == "..":
		return "has a dot segment"
	case len(seg) > maxSegmentLength:
		return "has a segment that is too long"
	case !utf8.ValidString(seg):
		return "is not valid UTF-8"
	}
	for _, r := range seg {
		switch {
		case r < utf8.RuneSelf && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._()~$@!',=+:", r)):
		case r >= utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)):
		default:
			return "has a character that is not allowed"
		}
	}
	if strings.HasSuffix(seg, ".") {
		return "has a segment that ends with a full stop"
	}
	return ""
}

// classify reads the segments (in lower case) and fills in kind, sub and mg.
func (sc *Scope) classify(segs []string) bool {
	switch {
	case segs[0] == "subscriptions" && len(segs) >= 2:
		if _, ok := directory.ParseGUID(segs[1]); !ok {
			return false
		}
		sc.sub, sc.kind = segs[1], SubscriptionScope
		segs = segs[2:]
		if len(segs) >= 2 && segs[0] == "resourcegroups" {
			sc.kind = ResourceGroupScope
			segs = segs[2:]
		}
	case len(segs) >= 4 && segs[0] == "providers" && segs[1] == "microsoft.management" && segs[2] == "managementgroups":
		sc.mg, sc.kind = segs[3], ManagementGroupScope
		segs = segs[4:]
	case segs[0] != "providers":
		return false
	}
	for nested := false; len(segs) > 0; nested = true {
		// One turn for each "providers/{namespace}" with its type/name pairs:
		// the second one is an extension resource of the first.
		if segs[0] != "providers" || len(segs) < 4 || !strings.Contains(segs[1], ".") {
			return false
		}
		ns := segs[1]
		segs = segs[2:]
		sc.kind = ResourceScope
		if nested {
			sc.kind = ChildScope
		}
		typ := ns
		for depth := 0; len(segs) > 0 && segs[0] != "providers"; depth++ {
			if len(segs) < 2 {
				return false
			}
			parent := typ
			typ += "/" + segs[0]
			if depth > 0 {
				sc.kind = ChildScope
				if isClusterType(parent) {
					switch segs[0] {
					case "namespaces":
						sc.kind = NamespaceScope
					case "managednamespaces":
						sc.kind = ManagedNamespaceScope
					}
				}
			} else if nested && typ == "microsoft.kubernetesconfiguration/namespaces" {
				sc.kind = NamespaceScope
			}
			segs = segs[2:]
		}
	}
	return true
}

func isClusterType(typ string) bool {
	switch typ {
	case "microsoft.containerservice/managedclusters", "microsoft.kubernetes/connectedclusters",
		"microsoft.containerservice/fleets", "microsoft.containerservice/fleets/members":
		return true
	}
	return false
}

// String returns the scope in the spelling it was parsed from.
func (s Scope) String() string { return s.text }

// Key returns the scope in lower case: the same for all spellings.
func (s Scope) Key() string { return s.key }

// Kind returns what the scope names.
func (s Scope) Kind() ScopeKind { return s.kind }

// IsZero reports whether s is the zero Scope.
func (s Scope) IsZero() bool { return s.key == "" }

// Equal reports whether both name the same place.
func (s Scope) Equal(o Scope) bool { return s.key == o.key }

// SubscriptionID returns the id of the subscription that holds the scope, in
// lower case, or "".
func (s Scope) SubscriptionID() string { return s.sub }

// ManagementGroupID returns the id of the management group that the scope
// names or extends, in lower case, or "".
func (s Scope) ManagementGroupID() string { return s.mg }

// Child returns the scope of a child resource, such as ("namespaces", "prod")
// of a cluster. It refuses what ParseScope refuses, and names with a slash.
func (s Scope) Child(typ, name string) (Scope, error) {
	if strings.Contains(typ, "/") || badSegment(typ) != "" {
		return Scope{}, errs.New(errs.Invalid, "The type of the child resource is not valid.")
	}
	if strings.Contains(name, "/") {
		return Scope{}, errs.New(errs.Invalid, "A name within a scope has no slash.")
	}
	if why := badSegment(name); why != "" {
		return Scope{}, errs.New(errs.Invalid, "The name within the scope %s.", why)
	}
	if s.kind < ResourceScope {
		return ParseScope(s.text + "/" + typ + "/" + name)
	}
	// The fast path: a child of a resource that has been parsed already.
	c := Scope{text: s.text + "/" + typ + "/" + name, kind: ChildScope, sub: s.sub, mg: s.mg}
	if len(c.text) > maxScopeLength {
		return Scope{}, errs.New(errs.Invalid, "The scope is longer than %d bytes.", maxScopeLength)
	}
	if c.key = c.text; s.text != s.key || wildcard.Fold(typ) != typ || wildcard.Fold(name) != name {
		c.key = s.key + "/" + wildcard.Fold(typ) + "/" + wildcard.Fold(name)
	}
	if s.kind == ResourceScope || s.kind == ChildScope {
		switch {
		case strings.EqualFold(typ, "namespaces") && isClusterType(s.resourceType()):
			c.kind = NamespaceScope
		case strings.EqualFold(typ, "managedNamespaces") && isClusterType(s.resourceType()):
			c.kind = ManagedNamespaceScope
		}
	}
	return c, nil
}

// resourceType returns the type of the resource in lower case, namespace
// first, or "".
func (s Scope) resourceType() string {
	i := strings.LastIndex(s.key, "/providers/")
	if i < 0 || s.kind < ResourceScope {
		return ""
	}
	rest := s.key[i+len("/providers/"):]
	// The usual resource has one type and one name: namespace/type/name.
	j := strings.LastIndexByte(rest, '/')
	if strings.Count(rest, "/") == 2 {
		return rest[:j]
	}
	segs := strings.Split(rest, "/")
	typ := segs[0]
	for k := 1; k < len(segs); k += 2 {
		typ += "/" + segs[k]
	}
	return typ
}

// ResourceType returns the resource type that the scope names, in lower case
// and namespace first ("microsoft.containerservice/managedclusters"), or "".
func (s Scope) ResourceType() string { return s.resourceType() }

// Name returns the last segment: the name of what the scope names.
func (s Scope) Name() string { return s.text[strings.LastIndexByte(s.text, '/')+1:] }

// Parent returns the scope that holds s as far as the id tells: a resource
// group for a resource, a subscription for a resource group. The parent of a
// subscription or a management group is data, not text, so there is none here.
func (s Scope) Parent() (Scope, bool) {
	if s.kind == RootScope || s.kind == ManagementGroupScope || s.kind == SubscriptionScope || s.key == "" {
		return Scope{}, false
	}
	for t := s.text; ; {
		i := strings.LastIndexByte(t, '/')
		if i <= 0 {
			return Root(), true
		}
		t = t[:i]
		if p, err := ParseScope(t); err == nil {
			return p, true
		}
	}
}

// contains reports whether o is s or lies under it as far as the ids tell.
func (s Scope) contains(o Scope) bool {
	return s.key == "/" || s.key != "" && len(o.key) >= len(s.key) && o.key[:len(s.key)] == s.key &&
		(len(o.key) == len(s.key) || o.key[len(s.key)] == '/')
}
