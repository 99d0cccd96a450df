package diagnose

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/state"
)

const (
	checkAssignment  = "assignment"
	checkActive      = "active assignment"
	checkAzureRBAC   = "Azure RBAC"
	checkScope       = "scope"
	checkBinding     = "binding"
	maxImaginations  = 100 // of one kind
	activateTemplate = "entrance pim activate --justification REASON "
)

// access asks the functions that decide for the cluster, first about what is, and
// if that is a refusal, about what is nearly there.
func (e *examination) access() error {
	r, err := e.explain(nil, nil)
	if err != nil {
		return err
	}
	if r.Allowed {
		e.add(OK, Forbidden, checkAssignment, "", "may %s: %s", e.request(), r.Reason)
		return nil
	}
	text := ""
	if len(r.Suggestions) > 0 {
		role, scope, _ := strings.Cut(r.Suggestions[0], " at ")
		text = "az role assignment create --role '" + role + "' --assignee " + string(e.id) + " --scope " + scope
	} else if !e.Cluster.AzureRBAC {
		text = "bind the user or one of their groups, by object id, with kubectl create clusterrolebinding, or make them a member of an admin group of the cluster"
	}
	e.add(Problem, Forbidden, checkAssignment, text, "may not %s: %s", e.request(), r.Reason)
	if err := e.eligible(); err != nil {
		return err
	}
	if err := e.azureRBACOff(); err != nil {
		return err
	}
	if err := e.elsewhere(r); err != nil {
		return err
	}
	e.bindings()
	return nil
}

// explain asks about the request with what is imagined beside.
func (e *examination) explain(assignments, groups []string) (*access.Report, error) {
	return e.Access.Explain(e.Cluster, e.Resources, e.Kubernetes, access.Query{
		Who: string(e.id), Resource: e.Resource, NonResource: e.NonResource, WithAssignment: assignments, WithMember: groups,
	})
}

// imagine reports whether the request would be allowed if a privilege were held.
func (e *examination) imagine(t pim.Target) (bool, error) {
	var r *access.Report
	var err error
	switch {
	case t.Kind == pim.Group && t.Role == pim.Member:
		r, err = e.explain(nil, []string{t.Scope})
	case t.Kind == pim.AzureRole && e.Cluster.AzureRBAC:
		r, err = e.explain([]string{t.Role[strings.LastIndexByte(t.Role, '/')+1:] + "@" + t.Scope}, nil)
	default:
		return false, nil
	}
	if err != nil {
		return false, nil // a role or scope that is gone grants nothing
	}
	return r.Allowed, nil
}

// eligible looks for privileges that the subject could have by activating them,
// had until they ended, or waits for.
func (e *examination) eligible() error {
	tenant := e.Cluster.Tenant
	seen := map[pim.Target]bool{}
	windows, err := e.activatable(seen)
	if err != nil {
		return err
	}
	for _, w := range windows {
		e.add(Problem, Forbidden, checkActive, w.Activate, "is eligible for %s, which would allow it, but has not activated it", w.Privilege)
	}
	for _, q := range privileged.ListRequests(e.view, tenant, privileged.Filter{Principal: e.id}) {
		if q.StatusAt(e.now).Pending() {
			e.add(Warning, Forbidden, checkActive, "an approver decides: entrance pim approve --id "+q.ID, "the request of %s for %s waits for approval", stamp(q.Created), e.name(q.Target))
		}
	}
	for _, s := range privileged.ListSchedules(e.view, tenant, privileged.Filter{Sort: pim.Active, Principal: e.id}) {
		over := s.Status == pim.Revoked || !s.End.IsZero() && !e.now.Before(s.End)
		if !over || seen[s.Target] {
			continue
		}
		would, err := e.imagine(s.Target)
		if err != nil {
			return err
		}
		if seen[s.Target] = would; would {
			when := s.End
			if s.Status == pim.Revoked {
				when = s.Updated
			}
			e.add(Problem, Forbidden, checkActive, "activate it again, or have an administrator make an active assignment", "%s, which would allow it, ended at %s", e.name(s.Target), stamp(when))
		}
	}
	return nil
}

// name is a target in words.
func (e *examination) name(t pim.Target) string {
	switch t.Kind {
	case pim.Group:
		name := t.Scope
		if g, err := state.Groups.Get(e.view, state.Key(e.Cluster.Tenant, directory.ObjectID(t.Scope))); err == nil {
			name = g.DisplayName
		}
		return "membership of group " + name
	case pim.AzureRole:
		return "the role " + e.role(t.Role) + " at " + t.Scope
	}
	return "the directory role " + t.Role
}

func (e *examination) role(id string) string {
	id = id[strings.LastIndexByte(id, '/')+1:]
	for _, r := range rbac.BuiltInRoles() {
		if strings.EqualFold(r.ID, id) {
			return r.Name
		}
	}
	return id
}

// flags name a target to `entrance pim activate`.
func (e *examination) flags(t pim.Target) string {
	if t.Kind == pim.Group {
		return "--group " + t.Scope
	}
	return "--role '" + e.role(t.Role) + "' --scope " + t.Scope
}

// azureRBACOff looks for role assignments that nobody looks at.
func (e *examination) azureRBACOff() error {
	if e.Cluster.AzureRBAC {
		return nil
	}
	scope, err := rbac.ParseScope(e.Cluster.ID)
	if err != nil {
		return err
	}
	held, err := e.Access.WhatCan(e.Cluster.Tenant, string(e.id), scope)
	if err != nil {
		return err
	}
	for _, h := range held {
		if !e.forData(h.Role) {
			continue
		}
		e.add(Problem, Forbidden, checkAzureRBAC, "az aks update --enable-azure-rbac --ids "+e.Cluster.ID, "has the role %s at %s, but Azure RBAC is off for the cluster: role assignments say nothing there", h.Role, h.Scope)
		return nil
	}
	e.add(Info, Forbidden, checkAzureRBAC, "", "Azure RBAC is off for the cluster: bindings of Kubernetes and the admin groups decide alone")
	return nil
}

// forData reports whether a role is about what is in clusters.
func (e *examination) forData(name string) bool {
	r, ok := rbac.BuiltInRole(name)
	if !ok {
		return true // a role of the tenant's own may be
	}
	for _, p := range r.Permissions {
		if len(p.DataActions) > 0 {
			return true
		}
	}
	return false
}

// elsewhere looks for role assignments that would allow it at another scope, and
// for roles that are about the cluster's resource and not about what is in it.
func (e *examination) elsewhere(refusal *access.Report) error {
	if !e.Cluster.AzureRBAC {
		return nil
	}
	here := map[string]bool{} // assignments that cover the request and do not allow it
	for _, c := range refusal.Checks {
		for _, s := range c.Steps {
			here[s.Assignment] = true
		}
	}
	held, err := e.Access.WhatCan(e.Cluster.Tenant, string(e.id), rbac.Scope{})
	if err != nil {
		return err
	}
	for _, h := range held[:min(len(held), maxImaginations)] {
		if here[h.ID] && e.forData(h.Role) {
			continue
		}
		if !e.forData(h.Role) {
			if strings.HasPrefix(strings.ToLower(e.Cluster.ID), strings.ToLower(h.Scope)) {
				e.add(Info, Forbidden, checkScope, "the roles whose names begin with Azure Kubernetes Service RBAC do", "the role %s at %s lets them manage the cluster as a resource, and says nothing about what is in it", h.Role, h.Scope)
			}
			continue
		}
		r, err := e.explain([]string{h.Role + "@cluster"}, nil)
		if err != nil || !r.Allowed {
			continue // a role that does not allow it anywhere
		}
		want := e.Cluster.ID
		if e.Resource != nil && e.Resource.Namespace != "" {
			want += "/namespaces/" + e.Resource.Namespace
		}
		e.add(Problem, Forbidden, checkScope, "az role assignment create --role '"+h.Role+"' --assignee "+string(e.id)+" --scope "+want,
			"has the role %s, which would allow it, at %s: that does not cover %s", h.Role, h.Scope, e.request())
	}
	return nil
}

// bindings looks for bindings of Kubernetes that mean the subject and name them
// as Kubernetes does not know them.
func (e *examination) bindings() {
	if e.Kubernetes == nil {
		return
	}
	review := &k8s.Review{Resource: e.Resource, NonResource: e.NonResource}
	right := string(e.id)
	var wrong []string
	if e.user != nil && !e.user.Guest {
		right = e.user.UserPrincipalName
		wrong = append(wrong, string(e.id))
	}
	if e.user != nil {
		wrong = append(wrong, e.user.UserPrincipalName, e.user.Mail)
	} else {
		wrong = append(wrong, string(e.sp.AppID), e.sp.DisplayName)
	}
	for name := range e.subjects(rbacv1.UserKind) {
		for _, w := range wrong {
			if w != "" && name != right && strings.EqualFold(name, w) && len(e.Kubernetes.Allows(name, nil, review)) > 0 {
				e.add(Problem, Forbidden, checkBinding, "name them "+right+" in the binding", "a binding that would allow it names the user %q; the cluster knows them as %q", name, right)
				break
			}
		}
	}
	for _, g := range state.Memberships(e.view, e.Cluster.Tenant, e.id, e.now) {
		group, err := state.Groups.Get(e.view, state.Key(e.Cluster.Tenant, g))
		if err != nil {
			continue
		}
		for name := range e.subjects(rbacv1.GroupKind) {
			if strings.EqualFold(name, group.DisplayName) && len(e.Kubernetes.Allows("", []string{name}, review)) > 0 {
				e.add(Problem, Forbidden, checkBinding, "name the group "+string(g)+" in the binding", "a binding that would allow it names the group %q; the cluster knows groups by object id", name)
			}
		}
	}
}

// subjects are the names of a kind in the cluster's bindings.
func (e *examination) subjects(kind string) map[string]bool {
	names := map[string]bool{}
	note := func(list []rbacv1.Subject) {
		for _, s := range list {
			if s.Kind == kind {
				names[s.Name] = true
			}
		}
	}
	for i := range e.Kubernetes.ClusterRoleBindings {
		note(e.Kubernetes.ClusterRoleBindings[i].Subjects)
	}
	for i := range e.Kubernetes.RoleBindings {
		note(e.Kubernetes.RoleBindings[i].Subjects)
	}
	return names
}
