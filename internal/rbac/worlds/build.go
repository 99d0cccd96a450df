package worlds

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
)

// RoleID returns the GUID of a built-in role or of one of the world's.
func (w *World) RoleID(name string) (string, error) {
	if _, ok := w.Roles[name]; ok {
		return w.ID("role", name), nil
	}
	if r, ok := rbac.BuiltInRole(name); ok {
		return r.ID, nil
	}
	return "", fmt.Errorf("there is no role %q", name)
}

// RoleDefinitions returns the world's custom roles, sorted by name.
func (w *World) RoleDefinitions() ([]rbac.RoleDefinition, error) {
	var out []rbac.RoleDefinition
	for _, name := range slices.Sorted(maps.Keys(w.Roles)) {
		r := w.Roles[name]
		def := rbac.RoleDefinition{ID: w.ID("role", name), Name: name, Permissions: []rbac.Permission{r.permission()}}
		for _, text := range r.AssignableScopes {
			sc, err := w.Scope(text)
			if err != nil {
				return nil, fmt.Errorf("role %q: %w", name, err)
			}
			def.AssignableScopes = append(def.AssignableScopes, sc.String())
		}
		out = append(out, def)
	}
	return out, nil
}

func (r *Role) permission() rbac.Permission {
	return rbac.Permission{Actions: r.Actions, NotActions: r.NotActions, DataActions: r.DataActions, NotDataActions: r.NotDataActions}
}

// RoleAssignment returns one of the world's assignments in the engine's terms.
func (w *World) RoleAssignment(a Assignment) (rbac.RoleAssignment, error) {
	role, err := w.RoleID(a.Role)
	if err != nil {
		return rbac.RoleAssignment{}, err
	}
	id, typ, _, err := w.find(a.Principal)
	if err != nil {
		return rbac.RoleAssignment{}, err
	}
	sc, err := w.Scope(a.Scope)
	out := rbac.RoleAssignment{Tenant: w.Tenant(), Name: w.ID("assignment", a.Name), Scope: sc, RoleID: role, PrincipalID: id, PrincipalType: typ, Condition: a.Condition}
	if a.Condition != "" {
		out.ConditionVersion = condition.Version
	}
	return out, err
}

// Snapshot compiles the world. Everything is checked as a write would be.
func (w *World) Snapshot() (*rbac.Snapshot, error) {
	s := rbac.NewSnapshot()
	var err error
	apply := func(what string, check error, c rbac.Change) error {
		if check == nil {
			s, check = s.Apply(c)
		}
		if check != nil {
			return fmt.Errorf("%s: %w", what, check)
		}
		return nil
	}
	// Parents before children: whoever's parent is not there yet waits a turn.
	for left := maps.Clone(w.ManagementGroups); len(left) > 0; {
		before := len(left)
		for _, g := range slices.Sorted(maps.Keys(left)) {
			if s.CheckManagementGroup(w.Tenant(), g, left[g]) != nil {
				continue
			}
			if s, err = s.Apply(rbac.PutManagementGroup{Tenant: w.Tenant(), ID: g, Parent: left[g]}); err != nil {
				return nil, err
			}
			delete(left, g)
		}
		if len(left) == before {
			return nil, fmt.Errorf("the management groups make no tree")
		}
	}
	for name, mg := range w.Subscriptions {
		if err := apply("subscription "+name, nil, rbac.PutSubscription{Tenant: w.Tenant(), SubscriptionID: w.ID("subscription", name), Group: mg}); err != nil {
			return nil, err
		}
	}
	roles, err := w.RoleDefinitions()
	if err != nil {
		return nil, err
	}
	for _, r := range roles {
		if err := apply("role "+r.Name, s.CheckRole(w.Tenant(), r), rbac.PutRole{Tenant: w.Tenant(), Role: r}); err != nil {
			return nil, err
		}
	}
	for _, a := range w.Assignments {
		ra, err := w.RoleAssignment(a)
		if err == nil {
			err = s.CheckAssignment(ra)
		}
		if err := apply("assignment "+a.Name, err, rbac.PutAssignment{RoleAssignment: ra}); err != nil {
			return nil, err
		}
	}
	for _, d := range w.Denies {
		deny, err := w.deny(d)
		if err := apply("deny "+d.Name, err, rbac.PutDeny{DenyAssignment: deny}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (w *World) deny(d Deny) (rbac.DenyAssignment, error) {
	sc, err := w.Scope(d.Scope)
	out := rbac.DenyAssignment{Tenant: w.Tenant(), Name: w.ID("deny", d.Name), DisplayName: d.Name, Scope: sc,
		Permissions: []rbac.Permission{d.Permissions.permission()}, DoNotApplyToChildScopes: d.DoNotApplyToChildScopes}
	if err != nil {
		return out, err
	}
	for _, list := range []struct {
		names []string
		ids   *[]directory.ObjectID
	}{{d.Principals, &out.Principals}, {d.Exclude, &out.ExcludePrincipals}} {
		for _, name := range list.names {
			id := rbac.Everyone
			if name != "everyone" {
				if id, err = w.ObjectID(name); err != nil {
					return out, err
				}
			}
			*list.ids = append(*list.ids, id)
		}
	}
	return out, nil
}

// Cluster returns one of the world's clusters in the engine's terms.
func (w *World) Cluster(name string) (*k8s.Cluster, error) {
	c, ok := w.Clusters[name]
	if !ok {
		return nil, fmt.Errorf("there is no cluster %q", name)
	}
	sc, err := w.Scope("cluster:" + name)
	out := &k8s.Cluster{Tenant: w.Tenant(), Scope: sc, Prefix: k8s.ManagedClusters, StrictSubresources: c.StrictSubresources,
		CustomResourceConditions: c.CustomResourceConditions, ManagedNamespaces: c.ManagedNamespaces, ConfigurationNamespaces: c.ConfigurationNamespaces}
	if c.Connected {
		out.Prefix = k8s.ConnectedClusters
	}
	if len(c.Resources) > 0 {
		var list []k8s.Resource
		for _, text := range c.Resources {
			text, clusterScoped := strings.CutSuffix(text, " (cluster)")
			res, group, _ := strings.Cut(text, ".")
			list = append(list, k8s.Resource{Group: group, Resource: res, Namespaced: !clusterScoped})
		}
		out.Resources = k8s.NewResources(list)
	}
	return out, err
}

// Review returns the access review of a question with ask.
func (w *World) Review(q *Question) (*k8s.Review, error) {
	out := &k8s.Review{User: w.UserName(q.Who)}
	if q.As != "" {
		out.User = q.As
	}
	oid := q.OID
	if oid == "" {
		oid = q.Who
	}
	if oid != "none" {
		id, err := w.ObjectID(oid)
		if err != nil {
			return nil, err
		}
		out.Extra = map[string][]string{"oid": {string(id)}}
	}
	words := strings.Fields(q.Ask)
	if len(words) < 2 {
		return nil, fmt.Errorf("ask is too short")
	}
	if strings.HasPrefix(words[1], "/") {
		out.NonResource = &k8s.NonResourceAttributes{Verb: words[0], Path: words[1]}
		return out, nil
	}
	a := &k8s.ResourceAttributes{Verb: words[0], Version: "v1"}
	resource, sub, _ := strings.Cut(words[1], "/")
	a.Resource, a.Group, _ = strings.Cut(resource, ".")
	a.Subresource = sub
	for i := 2; i < len(words); i++ {
		if words[i] == "-n" && i+1 < len(words) {
			i++
			a.Namespace = words[i]
		} else {
			a.Name = words[i]
		}
	}
	out.Resource = a
	return out, nil
}

// Request returns the request of a question with action.
func (w *World) Request(q *Question) (*rbac.Request, error) {
	p, err := w.Principal(q.Who)
	if err != nil {
		return nil, err
	}
	sc, err := w.Scope(q.At)
	if err != nil {
		return nil, err
	}
	a, err := rbac.ParseAction(q.Action)
	if err != nil {
		return nil, err
	}
	out := &rbac.Request{Principal: p, Scope: sc, Action: a, DataAction: q.Data, Now: w.Time()}
	for _, set := range []struct {
		from map[string][]string
		to   *condition.Attributes
	}{{q.Request, &out.Request}, {q.Target, &out.Resource}} {
		for name, values := range set.from {
			resolved := make([]string, len(values))
			for i, v := range values {
				resolved[i] = v
				if role, ok := strings.CutPrefix(v, "role:"); ok {
					if resolved[i], err = w.RoleID(role); err != nil {
						return nil, err
					}
				} else if who, ok := strings.CutPrefix(v, "principal:"); ok {
					id, err := w.ObjectID(who)
					if err != nil {
						return nil, err
					}
					resolved[i] = string(id)
				}
			}
			*set.to = append(*set.to, condition.Attribute{Name: name, Values: resolved})
		}
	}
	return out, nil
}

// WantReason returns the reason that the answer to a question with ask must
// carry, word for word; "" for an error.
func (w *World) WantReason(q *Question) (string, error) {
	switch {
	case q.Reason != "":
		return q.Reason, nil
	case q.Want == "deny":
		return k8s.ReasonDenied, nil
	case q.Want == "none" && strings.HasPrefix(strings.ToLower(q.As), "system:"):
		return k8s.ReasonSystemUser, nil
	case q.Want == "none":
		return k8s.ReasonNotEntra, nil
	case q.Want == "error":
		return "", nil
	}
	for _, a := range w.Assignments {
		if a.Name == q.By {
			role, err := w.RoleID(a.Role)
			user := q.As
			if user == "" {
				user = w.UserName(q.Who)
			}
			return "Access allowed by Azure RBAC Role Assignment " + w.ID("assignment", a.Name) + " of Role " + role + " to user " + user, err
		}
	}
	return "", fmt.Errorf("there is no assignment %q", q.By)
}
