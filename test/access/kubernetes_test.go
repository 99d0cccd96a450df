package access_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
)

// TestRealCluster tries, on one real cluster with Azure RBAC, what the API server
// itself makes of our answers.
func TestRealCluster(t *testing.T) {
	cloud := entrancetest.Start(t)
	k := cloud.StartCluster(t, entrancetest.ClusterOptions{AzureRBAC: true})
	t.Run("Kubernetes RBAC", func(t *testing.T) { kubernetesRBAC(t, k) })
	t.Run("the four roles", func(t *testing.T) { fourRoles(t, cloud, k) })

	t.Run("custom resources", func(t *testing.T) { customResources(t, cloud, k) })
	t.Run("proof of possession", func(t *testing.T) { proof(t, cloud, k) })
	t.Run("a condition that cannot be read is refused", func(t *testing.T) { badCondition(t, cloud, k) })
}

// badCondition writes an assignment with a broken condition: it is refused when
// it is written, with the place of the mistake.
func badCondition(t *testing.T, cloud *entrancetest.Cloud, k *entrancetest.Cluster) {
	body := fmt.Sprintf(`{"properties":{"roleDefinitionId":"/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":"%s","principalType":"User","conditionVersion":"2.0","condition":"(!(ActionMatches{'a/b'}) OR ) "}}`,
		cloud.SubscriptionID, builtIn("Azure Kubernetes Service RBAC Reader"), cloud.Administrator.ID)
	req, err := http.NewRequest(http.MethodPut, cloud.URL+k.ID+"/providers/Microsoft.Authorization/roleAssignments/"+guid("z")+"?api-version=2022-04-01", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+cloud.AdminToken(t, cloud.ARMScope()))
	req.Header.Set("Content-Type", "application/json")
	res, err := cloud.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusBadRequest || !strings.Contains(string(raw), "column") {
		t.Errorf("HTTP %d %s (%v), want 400 with the column", res.StatusCode, raw, err)
	}
}

// kubernetesRBAC makes random roles and bindings, and compares what we say of
// them with the API server's own authorizer.
func kubernetesRBAC(t *testing.T, k *entrancetest.Cluster) {
	config, err := clientcmd.BuildConfigFromFlags("", k.AdminKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = -1, 0
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	const seed = 5
	rnd := rand.New(rand.NewPCG(seed, seed))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	some := func(list ...string) (out []string) {
		for range 1 + rnd.IntN(2) {
			out = append(out, pick(list...))
		}
		return out
	}
	resources := []string{"pods", "secrets", "pods/log", "*/scale", "deployments", "*", "pods/*"}
	rules := func(paths bool) (list []rbacv1.PolicyRule) {
		for range 1 + rnd.IntN(2) {
			if paths && rnd.IntN(4) == 0 {
				list = append(list, rbacv1.PolicyRule{Verbs: some("get", "post", "*"), NonResourceURLs: some("/metrics-x", "/a/*", "/a/b", "/x*", "*")})
				continue
			}
			r := rbacv1.PolicyRule{Verbs: some("get", "list", "delete", "*"), APIGroups: some("", "apps", "*"), Resources: some(resources...)}
			if rnd.IntN(3) == 0 {
				r.ResourceNames = some("a", "b")
			}
			list = append(list, r)
		}
		return list
	}
	users, groups, namespaces := []string{"u1", "u2", "system:serviceaccount:default:s"}, []string{"g1", "g2"}, []string{"default", "kube-public"}
	subjects := func() (list []rbacv1.Subject) {
		for range 1 + rnd.IntN(2) {
			switch rnd.IntN(3) {
			case 0:
				list = append(list, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: pick(users...)})
			case 1:
				list = append(list, rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: pick(groups...)})
			default:
				list = append(list, rbacv1.Subject{Kind: "ServiceAccount", Namespace: pick(namespaces...), Name: "s"})
			}
		}
		return list
	}
	ctx, api := t.Context(), client.RbacV1()
	create := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	for i := range 12 {
		name := fmt.Sprintf("random-%d", i)
		ns := pick(namespaces...)
		_, err := api.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules(true)}, metav1.CreateOptions{})
		create(err)
		_, err = api.Roles(ns).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules(false)}, metav1.CreateOptions{})
		create(err)
		// Some bind a role that is not there.
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: pick("Role", "ClusterRole"), Name: fmt.Sprintf("random-%d", rnd.IntN(14))}
		_, err = api.RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: ref, Subjects: subjects()}, metav1.CreateOptions{})
		create(err)
		if i%3 == 0 {
			_, err = api.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}, Subjects: subjects()}, metav1.CreateOptions{})
			create(err)
		}
	}
	var ours access.KubernetesRBAC
	clusterRoles, err := api.ClusterRoles().List(ctx, metav1.ListOptions{})
	create(err)
	roles, err := api.Roles("").List(ctx, metav1.ListOptions{})
	create(err)
	bindings, err := api.RoleBindings("").List(ctx, metav1.ListOptions{})
	create(err)
	clusterBindings, err := api.ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	create(err)
	ours.ClusterRoles, ours.Roles, ours.RoleBindings, ours.ClusterRoleBindings = clusterRoles.Items, roles.Items, bindings.Items, clusterBindings.Items

	allowed, asked := 0, 0
	for range 1500 {
		user, group := pick(users...), pick(groups...)
		review := &k8s.Review{User: user}
		spec := authorizationv1.SubjectAccessReviewSpec{User: user, Groups: []string{group, "system:authenticated"}}
		if rnd.IntN(6) == 0 {
			n := &k8s.NonResourceAttributes{Path: pick("/metrics-x", "/a/", "/a/b", "/a", "/xyz", "/q"), Verb: pick("get", "post", "put")}
			review.NonResource = n
			spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: n.Path, Verb: n.Verb}
		} else {
			r := &k8s.ResourceAttributes{Verb: pick("get", "list", "delete", "watch"), Group: pick("", "apps"), Version: "v1", Resource: pick("pods", "secrets", "deployments"),
				Subresource: pick("", "", "log", "scale"), Namespace: pick("default", "kube-public", "kube-system", ""), Name: pick("", "a", "b", "c")}
			review.Resource = r
			spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Verb: r.Verb, Group: r.Group, Version: r.Version, Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name}
		}
		got, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		create(err)
		grants := ours.Allows(user, append(spec.Groups, "system:serviceaccounts"), review)
		if !strings.HasPrefix(user, "system:") {
			grants = ours.Allows(user, spec.Groups, review)
		}
		asked++
		if got.Status.Allowed {
			allowed++
		}
		if got.Status.Allowed != (len(grants) > 0) {
			q, _ := json.Marshal(spec)
			t.Errorf("the API server says %v (%s), we say %+v, about %s", got.Status.Allowed, got.Status.Reason, grants, q)
		}
	}
	if allowed < asked/20 || allowed > asked*19/20 {
		t.Errorf("%d of %d allowed: the roles ask too little", allowed, asked)
	}
	t.Logf("%d questions, %d allowed", asked, allowed)
}

func guid(letter string) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", letter[0]) }

// BenchmarkAssignmentDelay measures how long after a role assignment is asked for
// kubectl's own question is answered with yes. The budget is two seconds.
func BenchmarkAssignmentDelay(b *testing.B) {
	cloud := entrancetest.Start(b)
	k := cloud.StartCluster(b, entrancetest.ClusterOptions{AzureRBAC: true})
	u := cloud.AddUser(b, "waiting")
	token := cloud.UserToken(b, u, cloud.AKSScope())
	n := 0
	for b.Loop() {
		n++
		namespace := fmt.Sprintf("ns-%d", n) // nothing is remembered about it
		b.StopTimer()
		if _, err := k.Kubectl(b, token, "auth", "can-i", "list", "pods", "-n", namespace); err == nil {
			b.Fatal("allowed before the assignment")
		}
		b.StartTimer()
		cloud.ARM(b, "PUT", fmt.Sprintf("%s/namespaces/%s/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-%012x?api-version=2022-04-01", k.ID, namespace, n), map[string]any{"properties": map[string]any{
			"roleDefinitionId": "/subscriptions/" + cloud.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/" + builtIn("Azure Kubernetes Service RBAC Reader"), "principalId": u.ID, "principalType": "User",
		}}, nil)
		for {
			if _, err := k.Kubectl(b, token, "auth", "can-i", "list", "pods", "-n", namespace); err == nil {
				break
			}
		}
	}
}
