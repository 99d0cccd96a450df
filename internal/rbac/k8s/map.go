package k8s

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
	"github.com/entrance-id/entrance/internal/rbac/wildcard"
)

// malformed is a review that asks for something that no API server serves. It
// is denied, with the reason.
type malformed struct{ why string }

func (m *malformed) Error() string { return m.why }

func (m *malformed) Unwrap() error { return errs.New(errs.Invalid, "%s", m.why) }

func asMalformed(err error, m **malformed) bool { return errors.As(err, m) }

// Suffix returns what a verb adds to an action, or "": a verb without a suffix
// gives an action that ends at the resource, which only a role with a wildcard
// in the last place grants.
func Suffix(verb string) string {
	switch verb {
	case "get", "list", "watch":
		return "read"
	case "create", "update", "patch":
		return "write"
	case "delete", "deletecollection":
		return "delete"
	case "bind", "escalate", "use", "impersonate":
		return verb + "/action"
	}
	return ""
}

// strict gives the suffixes of the subresources that StrictSubresources
// checks; "" stands for the suffix of the verb.
var strict = map[string]string{
	"log":                 "read",
	"exec":                "action",
	"attach":              "action",
	"portforward":         "action",
	"proxy":               "action",
	"token":               "action",
	"ephemeralcontainers": "",
	"scale":               "",
}

// Checks maps a review to the checks that must all be allowed.
func (c *Cluster) Checks(r *Review) ([]Check, error) {
	if r.NonResource != nil {
		return c.nonResource(r.NonResource)
	}
	a := r.Resource
	switch {
	case !verb(a.Verb) && a.Verb != "*":
		return nil, &malformed{"the verb is not valid"}
	case a.Group != "" && a.Group != "*" && !name(a.Group):
		return nil, &malformed{"the API group is not valid"}
	case !name(a.Resource) && a.Resource != "*":
		return nil, &malformed{"the resource is not valid"}
	case a.Subresource != "" && a.Subresource != "*" && !plainPath("/"+a.Subresource):
		return nil, &malformed{"the subresource is not valid"}
	}
	// A proxy path may go on after the subresource. Actions have no case, so
	// that no spelling may make another subresource of this one.
	sub, _, _ := strings.Cut(wildcard.Lower(a.Subresource), "/")
	if sub != "" && sub != "*" && !name(sub) {
		return nil, &malformed{"the subresource is not valid"}
	}
	scope, err := c.namespace(a.Namespace)
	if err != nil {
		return nil, err
	}
	if a.Verb == "*" || a.Group == "*" || a.Resource == "*" {
		return c.expand(a, sub, scope)
	}
	path, suffix := join(a.Group, a.Resource), Suffix(a.Verb)
	var attrs condition.Attributes
	switch {
	case c.CustomResourceConditions && a.Group != "" && published()[strings.ToLower(path)] == nil:
		if suffix != "read" && suffix != "write" && suffix != "delete" {
			return nil, &malformed{"custom resources have no verb " + a.Verb}
		}
		path, attrs = "customresources", customAttributes(a.Group, a.Resource)
	case c.StrictSubresources && sub == "*":
		return nil, &malformed{"a wildcard subresource cannot be checked"}
	case c.StrictSubresources && sub != "":
		if own, ok := strict[sub]; ok {
			path += "/" + sub
			if own != "" {
				suffix = own
			}
		}
	case sub == "exec" && isPods(a.Group, a.Resource):
		path, suffix = "pods/exec", "action"
	}
	if c.StrictSubresources && a.Subresource != "" {
		attrs = append(attrs, condition.Attribute{Name: AttrSubresource, Values: []string{a.Resource + "/" + a.Subresource}})
	}
	k, err := c.newCheck(scope, path, suffix, attrs)
	if err != nil {
		return nil, err
	}
	return []Check{k}, nil
}

func customAttributes(group, plural string) condition.Attributes {
	return condition.Attributes{
		{Name: AttrGroup, Values: []string{strings.ToLower(group)}},
		{Name: AttrKind, Values: []string{strings.ToLower(plural)}},
	}
}

func isPods(group, resource string) bool { return group == "" && wildcard.Lower(resource) == "pods" }

func join(group, resource string) string {
	if group == "" {
		return resource
	}
	return group + "/" + resource
}

func (c *Cluster) newCheck(scope rbac.Scope, path, suffix string, attrs condition.Attributes) (Check, error) {
	text := cmp.Or(c.Prefix, ManagedClusters)
	if suffix == "" {
		// The action ends where the path does, and the path is the caller's:
		// POST /pods/read must not pass for reading pods.
		switch wildcard.Lower(path[strings.LastIndexByte(path, '/')+1:]) {
		case "read", "write", "delete", "action":
			return Check{}, &malformed{"a verb without an action of its own cannot be asked about a name like this"}
		}
		text += "/" + path
	} else {
		text += "/" + path + "/" + suffix
	}
	a, err := rbac.ParseAction(text)
	if err != nil {
		return Check{}, &malformed{errs.Message(err)}
	}
	return Check{Scope: scope, Action: a, Attributes: attrs}, nil
}

// namespace returns the scope of a request in a namespace, or the cluster's.
func (c *Cluster) namespace(ns string) (rbac.Scope, error) {
	if ns == "" {
		return c.Scope, nil
	}
	if !label(ns) {
		return rbac.Scope{}, &malformed{"the namespace is not valid"}
	}
	if !c.ConfigurationNamespaces {
		return c.Scope.Child("namespaces", ns)
	}
	return rbac.ParseScope(c.Scope.String() + "/providers/Microsoft.KubernetesConfiguration/namespaces/" + ns)
}

func (c *Cluster) nonResource(a *NonResourceAttributes) ([]Check, error) {
	path := strings.TrimSuffix(a.Path, "/")
	switch {
	case !verb(a.Verb):
		return nil, &malformed{"the verb is not valid"}
	case path == "" || !plainPath(path):
		return nil, &malformed{"the path is not valid"}
	}
	k, err := c.newCheck(c.Scope, path[1:], Suffix(a.Verb), nil)
	if err != nil {
		return nil, err
	}
	return []Check{k}, nil
}

// plainPath reports whether a path begins with a slash and can be read in one
// way only: no empty and dot segments, escapes or wildcards.
func plainPath(path string) bool {
	if path == "" || path[0] != '/' || strings.ContainsAny(path, `%\*?#`) {
		return false
	}
	for seg := range strings.SplitSeq(strings.TrimSuffix(path[1:], "/"), "/") {
		if seg == "" || seg == "." || seg == ".." {
			return path == "/"
		}
	}
	return true
}

// verb reports whether s is made like a verb: those of constrained impersonation
// (KEP-5284) have colons, such as impersonate-on:serviceaccount:get.
func verb(s string) bool {
	for part := range strings.SplitSeq(s, ":") {
		if !name(part) {
			return false
		}
	}
	return len(s) <= 253
}

// name reports whether s is made like an API group, a resource or a verb.
func name(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' && i > 0 || c == '_') {
			return false
		}
	}
	return true
}

// label reports whether s is a DNS label, as names of namespaces are.
func label(s string) bool {
	if len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// Resource is a resource that an API server serves.
type Resource struct {
	Group, Resource string
	Namespaced      bool
}

// Resources are what an API server serves, subresources left out.
type Resources struct{ list []Resource }

// NewResources sorts the list and drops what stands in it twice, such as a
// resource in several versions, and subresources.
func NewResources(list []Resource) *Resources {
	list = slices.DeleteFunc(slices.Clone(list), func(r Resource) bool {
		return !name(r.Resource) || r.Group != "" && !name(r.Group)
	})
	slices.SortFunc(list, func(a, b Resource) int {
		return strings.Compare(a.Group+"/"+a.Resource, b.Group+"/"+b.Resource)
	})
	return &Resources{slices.CompactFunc(list, func(a, b Resource) bool { return a.Group == b.Group && a.Resource == b.Resource })}
}

// All returns the resources, sorted. The caller must not change the slice.
func (r *Resources) All() []Resource { return r.list }

// published returns the suffixes that Azure publishes for a resource, by
// "group/resource".
var published = sync.OnceValue(func() map[string][]string {
	out := map[string][]string{}
	for _, a := range rbac.ClusterDataActions() {
		segs := strings.Split(strings.TrimPrefix(a, ManagedClusters+"/"), "/")
		n := 1
		if segs[len(segs)-1] == "action" {
			n = 2
		}
		path := strings.ToLower(strings.Join(segs[:len(segs)-n], "/"))
		out[path] = append(out[path], strings.Join(segs[len(segs)-n:], "/"))
	}
	return out
})

// expand turns a review with a wildcard into a check for each thing that it
// covers: the resources of the API server that match its concrete parts, in a
// namespace only the namespaced ones. Custom resources are among them, so
// that "everything" means everything.
func (c *Cluster) expand(a *ResourceAttributes, sub string, scope rbac.Scope) ([]Check, error) {
	known := func(group, resource string) []string { return published()[strings.ToLower(join(group, resource))] }
	own, checked := strict[sub]
	checked = checked && c.StrictSubresources
	if c.StrictSubresources && sub == "*" {
		return nil, &malformed{"a wildcard subresource cannot be checked"}
	}
	var out []Check
	add := func(group, resource string) error {
		suffixes, path := known(group, resource), join(group, resource)
		var attrs condition.Attributes
		fixed := "" // the suffix whatever the verb
		switch {
		case sub == "exec" && isPods(group, resource):
			path, fixed = "pods/exec", "action"
		case checked && suffixes != nil:
			path, fixed, suffixes = path+"/"+sub, own, []string{"read", "write", "delete"}
		case suffixes == nil:
			suffixes = []string{"read", "write", "delete"}
			if c.CustomResourceConditions && group != "" {
				path, attrs = "customresources", customAttributes(group, resource)
			}
		}
		if c.StrictSubresources && sub != "" {
			attrs = append(attrs, condition.Attribute{Name: AttrSubresource, Values: []string{resource + "/" + a.Subresource}})
		}
		if fixed != "" {
			k, err := c.newCheck(scope, path, fixed, attrs)
			out = append(out, k)
			return err
		}
		for _, suffix := range suffixes {
			if a.Verb == "*" || suffix == Suffix(a.Verb) {
				k, err := c.newCheck(scope, path, suffix, attrs)
				if err != nil {
					return err
				}
				out = append(out, k)
			}
		}
		return nil
	}
	if a.Group != "*" && a.Resource != "*" {
		// Only the verb is a wildcard: what to check is known without asking.
		if err := add(a.Group, a.Resource); err != nil {
			return nil, err
		}
	} else {
		if c.Resources == nil {
			return nil, errs.New(errs.Unavailable, "The resources of the cluster are not known, so a wildcard for resource, verb or group cannot be checked.")
		}
		for _, r := range c.Resources.list {
			if (a.Group == "*" || a.Group == r.Group) && (a.Resource == "*" || a.Resource == r.Resource) && (a.Namespace == "" || r.Namespaced) {
				if err := add(r.Group, r.Resource); err != nil {
					return nil, err
				}
			}
		}
	}
	if len(out) == 0 {
		return nil, errs.New(errs.Invalid, "The wildcard covers nothing that the cluster serves.")
	}
	return out, nil
}
