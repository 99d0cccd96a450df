package access

import (
	"cmp"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/entrance-id/entrance/internal/rbac/k8s"
)

// KubernetesRBAC is a cluster's own roles and bindings, as its API server has
// them.
type KubernetesRBAC struct {
	Roles               []rbacv1.Role
	ClusterRoles        []rbacv1.ClusterRole
	RoleBindings        []rbacv1.RoleBinding
	ClusterRoleBindings []rbacv1.ClusterRoleBinding
}

// BindingGrant is a binding of Kubernetes RBAC that allows a request.
type BindingGrant struct {
	Binding   string `json:"binding"`             // ClusterRoleBinding/name or RoleBinding/name
	Namespace string `json:"namespace,omitempty"` // of a RoleBinding
	Role      string `json:"role"`                // ClusterRole/name or Role/name
	Subject   string `json:"subject"`             // the user or group through which it applies
}

// Allows returns the bindings through which a user with the given groups may do
// what a review asks. The rules are those of Kubernetes: bindings only add, a
// RoleBinding counts in its namespace alone, and paths are matched for cluster
// roles only.
func (r *KubernetesRBAC) Allows(user string, groups []string, review *k8s.Review) (grants []BindingGrant) {
	r.each(func(b BindingGrant, subjects []rbacv1.Subject, rules []rbacv1.PolicyRule) {
		if s, ok := bound(subjects, b.Namespace, user, groups); ok && applies(b, review) && matches(rules, review) {
			b.Subject = s
			grants = append(grants, b)
		}
	})
	return grants
}

// granting returns the bindings that allow what a review asks, once for each of
// their subjects.
func (r *KubernetesRBAC) granting(review *k8s.Review) (grants []BindingGrant) {
	r.each(func(b BindingGrant, subjects []rbacv1.Subject, rules []rbacv1.PolicyRule) {
		if !applies(b, review) || !matches(rules, review) {
			return
		}
		for _, s := range subjects {
			b.Subject = s.Kind + "/" + s.Name
			if s.Kind == rbacv1.ServiceAccountKind {
				b.Subject = s.Kind + "/" + cmp.Or(s.Namespace, b.Namespace) + "/" + s.Name
			}
			grants = append(grants, b)
		}
	})
	return grants
}

// bindings returns those that name a user or one of the groups.
func (r *KubernetesRBAC) bindings(user string, groups []string) (grants []BindingGrant) {
	r.each(func(b BindingGrant, subjects []rbacv1.Subject, _ []rbacv1.PolicyRule) {
		if s, ok := bound(subjects, b.Namespace, user, groups); ok {
			b.Subject = s
			grants = append(grants, b)
		}
	})
	return grants
}

// applies reports whether a binding counts where a review asks.
func applies(b BindingGrant, review *k8s.Review) bool {
	return b.Namespace == "" || review.Resource != nil && review.Resource.Namespace == b.Namespace
}

// each calls fn for every binding, with its subjects and what its role allows.
func (r *KubernetesRBAC) each(fn func(b BindingGrant, subjects []rbacv1.Subject, rules []rbacv1.PolicyRule)) {
	clusterRoles := map[string][]rbacv1.PolicyRule{}
	for _, role := range r.ClusterRoles {
		clusterRoles[role.Name] = role.Rules
	}
	roles := map[string][]rbacv1.PolicyRule{}
	for _, role := range r.Roles {
		roles[role.Namespace+"/"+role.Name] = role.Rules
	}
	for _, b := range r.ClusterRoleBindings {
		fn(BindingGrant{Binding: "ClusterRoleBinding/" + b.Name, Role: "ClusterRole/" + b.RoleRef.Name}, b.Subjects, clusterRoles[b.RoleRef.Name])
	}
	for _, b := range r.RoleBindings {
		rules := roles[b.Namespace+"/"+b.RoleRef.Name]
		if b.RoleRef.Kind == "ClusterRole" {
			rules = clusterRoles[b.RoleRef.Name]
		}
		fn(BindingGrant{Binding: "RoleBinding/" + b.Name, Namespace: b.Namespace, Role: b.RoleRef.Kind + "/" + b.RoleRef.Name}, b.Subjects, rules)
	}
}

// bound returns the subject of a binding that the user is or belongs to.
func bound(subjects []rbacv1.Subject, namespace, user string, groups []string) (string, bool) {
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			if s.Name == user {
				return "User/" + s.Name, true
			}
		case rbacv1.GroupKind:
			if slices.Contains(groups, s.Name) {
				return "Group/" + s.Name, true
			}
		case rbacv1.ServiceAccountKind:
			ns := s.Namespace
			if ns == "" {
				ns = namespace
			}
			if user == "system:serviceaccount:"+ns+":"+s.Name {
				return "ServiceAccount/" + ns + "/" + s.Name, true
			}
		}
	}
	return "", false
}

func matches(rules []rbacv1.PolicyRule, review *k8s.Review) bool {
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		if r := review.Resource; r != nil {
			resource := r.Resource
			if r.Subresource != "" {
				resource += "/" + r.Subresource
			}
			return has(rule.Verbs, r.Verb) && has(rule.APIGroups, r.Group) &&
				(has(rule.Resources, resource) || r.Subresource != "" && slices.Contains(rule.Resources, "*/"+r.Subresource)) &&
				(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.Name))
		}
		n := review.NonResource
		return has(rule.Verbs, n.Verb) && slices.ContainsFunc(rule.NonResourceURLs, func(url string) bool {
			prefix, wild := strings.CutSuffix(url, "*")
			return url == n.Path || wild && strings.HasPrefix(n.Path, prefix)
		})
	})
}

func has(list []string, want string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, want)
}
