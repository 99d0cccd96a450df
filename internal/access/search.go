package access

import (
	"cmp"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Holder is somebody who may do something.
type Holder struct {
	ID       directory.ObjectID `json:"objectId,omitempty"`
	UserName string             `json:"userName"`
	Reason   string             `json:"reason"`
}

// WhoCan returns everybody whom the cluster's own RBAC, an admin group or Azure
// RBAC allows what a query asks, whoever the query names. Kubernetes is nil where
// the cluster's own RBAC cannot be read. Those whom it names and who are nobody of
// the tenant, such as service accounts, have no object id.
func (k *Keeper) WhoCan(c *state.Cluster, resources *k8s.Resources, kubernetes *KubernetesRBAC, q Query) ([]Holder, error) {
	facts, err := k.Facts()
	if err != nil {
		return nil, err
	}
	now := k.clock.Now()
	dir := Directory{facts.View, now}
	holders := []Holder{}
	seen := map[directory.ObjectID]bool{}
	add := func(id directory.ObjectID, reason string) {
		who, ok := dir.Identity(c.Tenant, id)
		if !ok || who.Blocked != "" || seen[id] {
			return
		}
		seen[id] = true
		name := who.UserName
		if name == "" {
			name = string(id)
		}
		holders = append(holders, Holder{id, name, reason})
	}
	if (q.Resource == nil) == (q.NonResource == nil) {
		return nil, errs.New(errs.Invalid, "Ask about a resource or about a path, one of them.")
	}
	review := &k8s.Review{Resource: q.Resource, NonResource: q.NonResource}
	if kubernetes != nil {
		for _, b := range kubernetes.granting(review) {
			reason := b.Binding + " binds " + b.Subject + " to " + b.Role + "."
			kind, name, _ := strings.Cut(b.Subject, "/")
			id, isID := directory.ParseGUID(name)
			switch u, err := state.FindUser(facts.View, c.Tenant, name); {
			case kind == rbacv1.GroupKind && isID:
				for _, m := range (Members{facts.View, c.Tenant, now}).Members(directory.ObjectID(id)) {
					add(m, reason)
				}
			case kind == rbacv1.UserKind && err == nil && known(u) == name: // Kubernetes compares names as they are
				add(u.ID, reason)
			case kind == rbacv1.UserKind && isID:
				add(directory.ObjectID(id), reason)
			default:
				holders = append(holders, Holder{UserName: b.Subject, Reason: reason})
			}
		}
	}
	for _, g := range c.AdminGroups {
		for _, m := range (Members{facts.View, c.Tenant, now}).Members(g) {
			add(m, "Member of the administrator group "+string(g)+".")
		}
	}
	if c.AzureRBAC {
		cluster, err := Cluster(c, resources)
		if err != nil {
			return nil, err
		}
		list, err := cluster.WhoCan(facts.RBAC, review, searcher{dir, Members{facts.View, c.Tenant, now}}, now)
		if err != nil {
			return nil, err
		}
		for _, res := range list {
			if res.Who != nil {
				add(res.Who.Principal.ID, res.Reason)
			}
		}
	}
	slices.SortFunc(holders, func(a, b Holder) int { return strings.Compare(a.UserName, b.UserName) })
	return holders, nil
}

// known is the name that a user has on clusters.
func known(u *directory.User) string {
	if u.Guest {
		return string(u.ID)
	}
	return u.UserPrincipalName
}

// Held is a role assignment that somebody holds, or a binding of a cluster's own
// RBAC.
type Held struct {
	Role  string             `json:"role"`
	Scope string             `json:"scope"`
	Via   directory.ObjectID `json:"via"` // the subject, or the group through which it is held
	ID    string             `json:"id"`  // of the assignment, or Kind/name of the binding
}

// WhatCan returns the role assignments of a subject that touch a scope: at it,
// above it or below it. A zero scope stands for all.
func (k *Keeper) WhatCan(tenant directory.TenantID, who string, under rbac.Scope) ([]Held, error) {
	facts, err := k.Facts()
	if err != nil {
		return nil, err
	}
	id, err := Subject(facts.View, tenant, who)
	if err != nil {
		return nil, err
	}
	identity, ok := Directory{facts.View, k.clock.Now()}.Identity(tenant, id)
	if !ok {
		return nil, errs.New(errs.NotFound, "The subject %q does not exist in tenant %s.", who, tenant)
	}
	grants, _ := facts.RBAC.WhatCan(identity.Principal, under)
	held := []Held{}
	for _, g := range grants {
		h := Held{Role: g.Assignment.RoleID, Scope: g.Assignment.Scope.String(), Via: g.Via, ID: g.Assignment.ID()}
		if g.Role != nil {
			h.Role = g.Role.Name
		}
		held = append(held, h)
	}
	return held, nil
}

// Bound returns the bindings of a cluster's own RBAC that name a subject or one
// of their groups. The scope is that of the cluster, or of the namespace.
func (k *Keeper) Bound(c *state.Cluster, kubernetes *KubernetesRBAC, who string) ([]Held, error) {
	facts, err := k.Facts()
	if err != nil {
		return nil, err
	}
	id, err := Subject(facts.View, c.Tenant, who)
	if err != nil {
		return nil, err
	}
	identity, ok := Directory{facts.View, k.clock.Now()}.Identity(c.Tenant, id)
	if !ok {
		return nil, errs.New(errs.NotFound, "The subject %q does not exist in tenant %s.", who, c.Tenant)
	}
	name := cmp.Or(identity.UserName, string(id))
	groups := []string{}
	for _, g := range identity.Principal.Groups {
		groups = append(groups, string(g))
	}
	held := []Held{}
	for _, b := range kubernetes.bindings(name, groups) {
		scope := c.ID
		if b.Namespace != "" {
			scope += "/namespaces/" + b.Namespace
		}
		via := id
		if g, ok := strings.CutPrefix(b.Subject, "Group/"); ok {
			via = directory.ObjectID(g)
		}
		held = append(held, Held{Role: b.Role, Scope: scope, Via: via, ID: b.Binding})
	}
	return held, nil
}

// Members finds who belongs to groups.
type Members struct {
	View   store.Reader
	Tenant directory.TenantID
	Now    time.Time
}

// Members returns the users and service principals of a group, nested groups
// included, in ascending order.
func (m Members) Members(group directory.ObjectID) (list []directory.ObjectID) {
	seen := map[directory.ObjectID]bool{group: true}
	queue := []directory.ObjectID{group}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, l := range state.Linked(m.View, directory.Member, m.Tenant, next, m.Now) {
			if seen[l.To] {
				continue
			}
			seen[l.To] = true
			switch l.ToType {
			case directory.TypeGroup:
				queue = append(queue, l.To)
			case directory.TypeUser, directory.TypeServicePrincipal:
				list = append(list, l.To)
			}
		}
	}
	slices.Sort(list)
	return list
}

// searcher is what package k8s searches with.
type searcher struct {
	Directory
	members Members
}

// Members implements k8s.Searcher.
func (s searcher) Members(group directory.ObjectID) []directory.ObjectID {
	return s.members.Members(group)
}
