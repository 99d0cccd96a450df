package access

import (
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
	namespace := ""
	if review.Resource != nil {
		namespace = review.Resource.Namespace
	}
	clusterRoles := map[string][]rbacv1.PolicyRule{}
	for _, role := range r.ClusterRoles {
		clusterRoles[role.Name] = role.Rules
	}
	roles := map[string][]rbacv1.PolicyRule{}
	for _, role := range r.Roles {
		roles[role.Namespace+"/"+role.Name] = role.Rules
	}
	for _, b := range r.ClusterRoleBindings {
		if s, ok := bound(b.Subjects, "", user, groups); ok && matches(clusterRoles[b.RoleRef.Name], review) {
			grants = append(grants, BindingGrant{"ClusterRoleBinding/" + b.Name, "", "ClusterRole/" + b.RoleRef.Name, s})
		}
	}
	if namespace == "" {
		return grants
	}
	for _, b := range r.RoleBindings {
		if b.Namespace != namespace {
			continue
		}
		rules := roles[b.Namespace+"/"+b.RoleRef.Name]
		if b.RoleRef.Kind == "ClusterRole" {
			rules = clusterRoles[b.RoleRef.Name]
		}
		if s, ok := bound(b.Subjects, b.Namespace, user, groups); ok && matches(rules, review) {
			grants = append(grants, BindingGrant{"RoleBinding/" + b.Name, b.Namespace, b.RoleRef.Kind + "/" + b.RoleRef.Name, s})
		}
	}
	return grants
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
