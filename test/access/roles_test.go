package access_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
)

// holder is somebody with one of the four roles of AKS, at the cluster or at
// the namespace web.
type holder struct {
	letter string // of the role: r, w, a, c at the cluster; R, W, A, C at the namespace
	role   string
	user   entrancetest.User
	token  string
}

// attempt is something that kubectl is asked to do.
type attempt struct {
	args  string
	allow string // letters of those who may
	// refusal is the end of the message to the others, with %s for the user name
	// of who asks. Empty: any refusal by Azure RBAC will do.
	refusal string
}

// attempts are the words of kubectl: get, list, watch, create, delete, exec,
// logs, port-forward, impersonate, custom resources, and what has no namespace.
var attempts = []attempt{
	{"get pod app -n web", "rwacRWAC", ""},
	{"get pods -n web", "rwacRWAC", ""},
	{"get pods -A", "rwac", `pods is forbidden: User "%s" cannot list resource "pods" in API group "" at the cluster scope: ` + k8s.ReasonDenied},
	{"get pods -n web --watch-only --request-timeout=1s", "rwacRWAC", ""},
	{"get deployments -n web", "rwacRWAC", ""},
	{"get secret token -n web", "wacWAC", `secrets "token" is forbidden: User "%s" cannot get resource "secrets" in API group "" in the namespace "web": ` + k8s.ReasonDenied},
	{"get secrets -n web --watch-only --request-timeout=1s", "wacWAC", `"secrets" in API group "" in the namespace "web": ` + k8s.ReasonDenied},
	// Selectors change nothing.
	{"get secrets -n web --field-selector=metadata.name=token", "wacWAC", `"secrets" in API group "" in the namespace "web": ` + k8s.ReasonDenied},
	{"get secrets -n web -l app=web", "wacWAC", `"secrets" in API group "" in the namespace "web": ` + k8s.ReasonDenied},
	{"get pods -A --field-selector=metadata.namespace=web", "rwac", `"pods" in API group "" at the cluster scope: ` + k8s.ReasonDenied},
	{"create configmap x --from-literal=a=b -n web --dry-run=server", "wacWAC", `configmaps is forbidden: User "%s" cannot create resource "configmaps" in API group "" in the namespace "web": ` + k8s.ReasonDenied},
	{"create deployment x --image=x -n web --dry-run=server", "wacWAC", `deployments.apps is forbidden: User "%s" cannot create resource "deployments" in API group "apps" in the namespace "web": ` + k8s.ReasonDenied},
	{"delete pod none -n web --ignore-not-found", "wacWAC", `pods "none" is forbidden: User "%s" cannot delete resource "pods" in API group "" in the namespace "web": ` + k8s.ReasonDenied},
	{"label pod app -n web a=b --dry-run=server", "wacWAC", `cannot patch resource "pods" in API group "" in the namespace "web": ` + k8s.ReasonDenied},
	{"exec app -n web -- true", "wacWAC", k8s.ReasonDenied},
	{"logs app -n web", "rwacRWAC", ""},
	{"port-forward pod/app :80 -n web", "wacWAC", k8s.ReasonDenied},
	{"attach app -n web", "wacWAC", k8s.ReasonDenied},
	{"get roles -n web", "acAC", ""},
	{"create quota x --hard=pods=1 -n web --dry-run=server", "cC", `cannot create resource "resourcequotas" in API group "" in the namespace "web": ` + k8s.ReasonDenied},
	{"get widgets -n web", "acAC", `widgets.example.com is forbidden: User "%s" cannot list resource "widgets" in API group "example.com" in the namespace "web": ` + k8s.ReasonDenied},
	{"delete widget none -n web --ignore-not-found", "acAC", ""},
	{"get nodes", "ac", `nodes is forbidden: User "%s" cannot list resource "nodes" in API group "" at the cluster scope: ` + k8s.ReasonDenied},
	{"get namespace web", "rwacRWAC", ""},
	{"create namespace x --dry-run=server", "c", ""},
	{"delete namespace none --ignore-not-found", "c", `namespaces "none" is forbidden: User "%s" cannot delete resource "namespaces" in API group "" in the namespace "none": ` + k8s.ReasonDenied},
	{"get --raw /metrics", "ac", `cannot get path "/metrics": ` + k8s.ReasonDenied},
	{"get --raw /api", "rwacRWAC", ""},
	// Whom a role lets act for whom. What they then may do is theirs. The API server
	// asks about constrained impersonation (KEP-5284) too: which of its questions
	// the refusal names is its own affair.
	{"get --raw /version --as=system:serviceaccount:web:default", "wacWAC", k8s.ReasonDenied},
	{"get --raw /version --as=somebody", "ac", k8s.ReasonDenied},
	{"get --raw /version --as=somebody --as-group=system:masters", "ac", ""},
	// No webhook can list rules; kubectl says so.
	{"auth can-i --list -n web", "rwacRWAC", ""},
	{"auth can-i create pods/exec -n web", "wacWAC", "no - " + k8s.ReasonDenied},
	{"auth can-i get pods --subresource=log -n web", "rwacRWAC", ""},
	{"auth can-i * * -A", "c", "no - " + k8s.ReasonDenied},
}

// fourRoles tries the roles of AKS with the real kubectl, at both scopes.
func fourRoles(t *testing.T, cloud *entrancetest.Cloud, k *entrancetest.Cluster) {
	must := func(args ...string) {
		t.Helper()
		if out, err := k.Kubectl(t, "", args...); err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	must("create", "namespace", "web")
	must("create", "secret", "generic", "token", "-n", "web")
	must("run", "app", "--image=app", "-n", "web")
	must("wait", "--for=condition=Ready", "pod/app", "-n", "web", "--timeout=60s")
	makeWidgets(t, k, "widgets.example.com", "Widget")

	var holders []*holder
	for i, role := range []string{"Reader", "Writer", "Admin", "Cluster Admin"} {
		for _, letters := range []string{"rwac", "RWAC"} {
			h := &holder{letter: letters[i : i+1], role: role}
			scope, place := k.ID, "cluster"
			if letters == "RWAC" {
				scope, place = k.ID+"/namespaces/web", "web"
			}
			h.user = cloud.AddUser(t, strings.ToLower(strings.ReplaceAll(role, " ", "-"))+"-"+place)
			assign(t, cloud, scope, "Azure Kubernetes Service RBAC "+role, h.user.ID)
			h.token = cloud.UserToken(t, h.user, cloud.AKSScope())
			holders = append(holders, h)
		}
	}
	var wg sync.WaitGroup
	for _, h := range holders {
		wg.Go(func() {
			for _, a := range attempts {
				h.try(t, k, a)
			}
		})
	}
	wg.Wait()
	reader, writer := holders[0], holders[2]
	// Acting for a service account is having its rights, not one's own.
	const account = "system:serviceaccount:web:default"
	if out, err := k.Kubectl(t, writer.token, "--as", account, "get", "pods", "-n", "web"); err == nil || !strings.Contains(out, `User "`+account+`" cannot list resource "pods"`) {
		t.Errorf("a writer as a service account: %v\n%s", err, out)
	}
	if out, err := k.Kubectl(t, reader.token, "auth", "can-i", "--list", "-n", "web"); err != nil || !strings.Contains(out, "the list may be incomplete: webhook authorizer does not support user rule resolution") {
		t.Errorf("auth can-i --list: %v\n%s", err, out)
	}
	strictSubresources(t, cloud, k, holders)
}

// try does what an attempt says. What is allowed need not work: no container
// runs behind a pod.
func (h *holder) try(t *testing.T, k *entrancetest.Cluster, a attempt) {
	out, err := kubectlFor(t, k, h.token, 5*time.Second, strings.Fields(a.args)...)
	refused := strings.Contains(out, "orbidden") || strings.HasPrefix(a.args, "auth can-i") && strings.HasPrefix(out, "no")
	if want := !strings.Contains(a.allow, h.letter); refused != want {
		t.Errorf("%s (%s): kubectl %s: refused %v, want %v: %v\n%s", h.role, h.letter, a.args, refused, want, err, out)
		return
	}
	end := a.refusal
	if strings.Contains(end, "%s") {
		end = fmt.Sprintf(end, h.user.UserPrincipalName)
	}
	if refused && !strings.HasSuffix(strings.TrimSpace(out), end) {
		t.Errorf("%s (%s): kubectl %s is refused with\n%s\nwant at its end\n%s", h.role, h.letter, a.args, out, end)
	}
}

// kubectlFor is Kubectl with an end.
func kubectlFor(t *testing.T, k *entrancetest.Cluster, token string, within time.Duration, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return k.KubectlContext(ctx, t, token, args...)
}

// assign gives somebody a built-in role.
func assign(t testing.TB, cloud *entrancetest.Cloud, scope, role, principal string) {
	t.Helper()
	conditional(t, cloud, scope, "/providers/Microsoft.Authorization/roleDefinitions/"+builtIn(role), principal, "")
}

// conditional gives somebody a role on a condition, or on none.
func conditional(t testing.TB, cloud *entrancetest.Cloud, scope, role, principal, condition string) {
	t.Helper()
	properties := map[string]any{"roleDefinitionId": role, "principalId": principal}
	if condition != "" {
		properties["condition"], properties["conditionVersion"] = condition, "2.0"
	}
	cloud.ARM(t, "PUT", scope+"/providers/Microsoft.Authorization/roleAssignments/"+directory.NewGUID()+"?api-version=2022-04-01", map[string]any{"properties": properties}, nil)
}

// customRole defines a role with one data action, and returns its id.
func customRole(t testing.TB, cloud *entrancetest.Cloud, name, action string) string {
	t.Helper()
	sub := "/subscriptions/" + cloud.SubscriptionID
	id := sub + "/providers/Microsoft.Authorization/roleDefinitions/" + directory.NewGUID()
	cloud.ARM(t, "PUT", id+"?api-version=2022-04-01", map[string]any{"properties": map[string]any{
		"roleName": name, "type": "CustomRole", "assignableScopes": []string{sub},
		"permissions": []map[string]any{{"actions": []string{}, "notActions": []string{}, "dataActions": []string{action}, "notDataActions": []string{}}},
	}}, nil)
	return id
}

// strictSubresources asks about subresources on a cluster that gives them
// actions of their own.
func strictSubresources(t *testing.T, cloud *entrancetest.Cloud, k *entrancetest.Cluster, holders []*holder) {
	cloud.StartCluster(t, entrancetest.ClusterOptions{AzureRBAC: true, Tags: map[string]string{"entrance:strict-subresources": "true"}})
	for sub, who := range map[string]string{"log": "ac", "portforward": "wac", "exec": "wac"} {
		for _, h := range holders {
			// The API server remembers what it was told for a second; of this pod it
			// has not been told.
			_, err := k.Kubectl(t, h.token, "auth", "can-i", "get", "pods/strict", "--subresource", sub, "-n", "web")
			if letter := strings.ToLower(h.letter); letter == "r" && err == nil {
				t.Errorf("with strict subresources a reader may get %s", sub)
			} else if letter != "r" && strings.Contains(who, letter) && err != nil {
				t.Errorf("with strict subresources %s may not get %s", h.role, sub)
			}
		}
	}
}

// customResources puts conditions on the group and kind of custom resources, on
// a cluster that serves some.
func customResources(t *testing.T, cloud *entrancetest.Cloud, k *entrancetest.Cluster) {
	makeWidgets(t, k, "crontabs.stable.example.com", "CronTab")
	makeWidgets(t, k, "backups.stable.example.com", "Backup")
	makeWidgets(t, k, "gears.other.example.com", "Gear")
	const attrs = "Microsoft.ContainerService/managedClusters/customResources:"
	role := customRole(t, cloud, "Custom Resource Editor", "Microsoft.ContainerService/managedClusters/customresources/*")
	byGroup, byKind, plain := cloud.AddUser(t, "by-group"), cloud.AddUser(t, "by-kind"), cloud.AddUser(t, "unconditional")
	conditional(t, cloud, k.ID, role, byGroup.ID, "@Resource["+attrs+"group] StringEquals 'stable.example.com'")
	conditional(t, cloud, k.ID, role, byKind.ID, "(@Resource["+attrs+"group] StringEquals 'stable.example.com' AND @Resource["+attrs+"kind] ForAnyOfAnyValues:StringEquals {'crontabs'})")
	conditional(t, cloud, k.ID, role, plain.ID, "")
	cloud.StartCluster(t, entrancetest.ClusterOptions{AzureRBAC: true, Tags: map[string]string{"entrance:custom-resource-conditions": "true"}})
	for _, tc := range []struct {
		args string
		who  string // g(roup), k(ind), p(lain)
	}{
		{"get crontabs.stable.example.com -n default", "gkp"},
		{"get backups.stable.example.com -n default", "gp"},
		{"get gears.other.example.com -n default", "p"},
		{"delete crontab.stable.example.com none -n default --ignore-not-found", "gkp"},
		{"delete backup.stable.example.com none -n default --ignore-not-found", "gp"},
		{"get pods -n default", ""},
		{"get deployments -n default", ""},
		{"get secrets -n default", ""},
	} {
		for letter, u := range map[string]entrancetest.User{"g": byGroup, "k": byKind, "p": plain} {
			out, err := k.Kubectl(t, cloud.UserToken(t, u, cloud.AKSScope()), strings.Fields(tc.args)...)
			if want := strings.Contains(tc.who, letter); (err == nil) != want || err != nil && !strings.Contains(out, k8s.ReasonDenied) {
				t.Errorf("%s: kubectl %s: %v, want allowed %v\n%s", u.UserPrincipalName, tc.args, err, want, out)
			}
		}
	}
	cloud.StartCluster(t, entrancetest.ClusterOptions{AzureRBAC: true})
}

// makeWidgets defines a custom resource, and waits until it is served.
func makeWidgets(t *testing.T, k *entrancetest.Cluster, name, kind string) {
	t.Helper()
	plural, group, _ := strings.Cut(name, ".")
	file := filepath.Join(t.TempDir(), name+".yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s}
spec:
  group: %s
  scope: Namespaced
  names: {plural: %s, singular: %s, kind: %s}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
`, name, group, plural, strings.ToLower(kind), kind), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"apply", "-f", file}, {"wait", "--for=condition=Established", "crd/" + name, "--timeout=30s"}} {
		if out, err := k.Kubectl(t, "", args...); err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
