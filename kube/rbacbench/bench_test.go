// Package rbacbench_test measures the Kubernetes RBAC authorizer as a library, for
// comparison with internal/rbac: the same numbers of users and of grants, half
// of them for one namespace, asked by users in turn with ten groups each.
package rbacbench_test

import (
	"context"
	"fmt"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	listers "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
)

// build returns an authorizer with n bindings, two for each user: one for the
// cluster and one for a namespace of twenty. It reads the indexed listers that
// an API server's informers fill.
func build(tb testing.TB, n int) *rbac.RBACAuthorizer {
	tb.Helper()
	index := func() cache.Indexer {
		return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	}
	roles, bindings, clusterRoles, clusterBindings := index(), index(), index(), index()
	add := func(i cache.Indexer, o any) {
		if err := i.Add(o); err != nil {
			tb.Fatal(err)
		}
	}
	// Of three roles, each reads pods; as with the Azure roles of the peer.
	for i := range 3 {
		add(clusterRoles, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("role", i)}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"apps"}, Resources: []string{"deployments", "daemonsets", "replicasets"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{""}, Resources: []string{"configmaps", "services", "pods"}, Verbs: []string{"get", "list", "watch"}},
		}})
	}
	for i := range n {
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: fmt.Sprint("role", i%3)}
		subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name(i / 2)}}
		if i%2 == 0 {
			add(clusterBindings, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("b", i)}, RoleRef: ref, Subjects: subjects})
		} else {
			add(bindings, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("b", i), Namespace: fmt.Sprint("ns", i%20)}, RoleRef: ref, Subjects: subjects})
		}
	}
	return rbac.New(
		&rbac.RoleGetter{Lister: listers.NewRoleLister(roles)},
		&rbac.RoleBindingLister{Lister: listers.NewRoleBindingLister(bindings)},
		&rbac.ClusterRoleGetter{Lister: listers.NewClusterRoleLister(clusterRoles)},
		&rbac.ClusterRoleBindingLister{Lister: listers.NewClusterRoleBindingLister(clusterBindings)},
	)
}

func name(i int) string { return fmt.Sprintf("user%06d@contoso.test", i) }

func BenchmarkDecide(b *testing.B) {
	groups := make([]string, 10)
	for i := range groups {
		groups[i] = fmt.Sprintf("00000004-0000-4000-8000-%012x", i)
	}
	for _, n := range []int{10, 1_000, 100_000} {
		a := build(b, n)
		var asked []authorizer.AttributesRecord
		for i := range 1000 {
			asked = append(asked, authorizer.AttributesRecord{
				User: &user.DefaultInfo{Name: name((i * 7919) % max(1, n/2)), Groups: groups},
				Verb: "get", Namespace: "ns1", APIVersion: "v1", Resource: "pods", ResourceRequest: true,
			})
		}
		for _, x := range []struct {
			name, verb string
			want       authorizer.Decision
		}{{"allow", "get", authorizer.DecisionAllow}, {"refuse", "delete", authorizer.DecisionNoOpinion}} {
			for i := range asked {
				asked[i].Verb = x.verb
			}
			b.Run(fmt.Sprintf("%s/assignments=%d", x.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					got, _, err := a.Authorize(context.Background(), asked[i%len(asked)])
					if err != nil || got != x.want {
						b.Fatal(got, err)
					}
				}
			})
		}
	}
}
