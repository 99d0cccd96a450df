package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLifeOfACloud starts a cloud with a cluster, kills it, starts it again and
// stops it: people, tokens and the cluster survive, and no process is left.
func TestLifeOfACloud(t *testing.T) {
	c := newCloud(t, 24450)
	c.up()
	user := c.kubeconfig()
	admin := c.kubeconfig("--admin")
	ada := c.bearer(user, c.person("ada", aksScope))
	dev := c.bearer(user, c.person("dev", aksScope))

	want := func(file string, env []string, contains string, ok bool, args ...string) {
		t.Helper()
		out, err := c.kubectl(file, env, args...)
		if (err == nil) != ok || !strings.Contains(out, contains) {
			t.Errorf("kubectl %v: %v, want ok=%v with %q:\n%s", args, err, ok, contains, out)
		}
	}
	want(ada, nil, "Ready", true, "get", "nodes")
	want(dev, nil, `User "dev@contoso.test" cannot list resource "nodes"`, false, "get", "nodes")
	want(admin, nil, "Ready", true, "get", "nodes")
	want(admin, nil, "created", true, "create", "configmap", "kept", "--from-literal=a=b")

	// The plugin itself, without a person.
	sp := c.people.ServicePrincipal
	env := []string{"AAD_LOGIN_METHOD=spn", "AZURE_CLIENT_ID=" + string(sp.ClientID), "AZURE_CLIENT_SECRET=" + sp.ClientSecret}
	want(user, env, string(sp.ObjectID), true, "auth", "whoami")

	// A second instance in the same directory is refused, in words.
	if out, err := c.entrance("up", "--data-dir", c.data, "--port-base", "24460"); err == nil || !strings.Contains(out, "running") {
		t.Errorf("a second instance: %v\n%s", err, out)
	}

	server := c.status.Clusters[0].Server
	c.kill()
	c.nothingLeft()

	c.up()
	if got := c.status.Clusters; len(got) != 1 || got[0].Server != server {
		t.Errorf("clusters after the restart: %+v, want the one at %s", got, server)
	}
	want(ada, nil, "Ready", true, "get", "nodes") // the token of before
	want(admin, nil, "kept", true, "get", "configmaps")

	if out, err := c.entrance("down", "--data-dir", c.data); err != nil {
		t.Fatalf("down: %v\n%s", err, out)
	}
	c.nothingLeft()
	if _, err := os.Lstat(filepath.Join(c.data, "control.sock")); err == nil {
		t.Error("the control socket is left behind")
	}
	if out, err := c.entrance("status", "--data-dir", c.data); err == nil || !strings.Contains(out, "Nothing is running") {
		t.Errorf("status of a stopped cloud: %v\n%s", err, out)
	}
}

// TestRevocation measures nothing: it only holds that each kind of change ends
// a running access within the bound that the documentation states.
func TestRevocation(t *testing.T) {
	c := newCloud(t, 24470)
	c.up()
	user := c.kubeconfig()
	admin := c.application(graphScope)
	ada := c.account("ada")
	file := c.bearer(user, c.person("ada", aksScope))
	// A RoleBinding of Kubernetes names ada: Kubernetes RBAC alone would let
	// her in whatever the directory says.
	local := c.kubeconfig("--admin")
	if out, err := c.kubectl(local, nil, "create", "clusterrolebinding", "ada", "--clusterrole=view", "--user="+ada.UserPrincipalName); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := c.kubectl(file, nil, "get", "pods"); err != nil {
		t.Fatalf("before: %v\n%s", err, out)
	}
	refusedSoon := func(what string) {
		t.Helper()
		var out string
		var err error
		for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if out, err = c.kubectl(file, nil, "get", "pods"); err != nil {
				return
			}
		}
		t.Errorf("%s: still let in after 4 s:\n%s", what, out)
	}
	patch := func(path string, body any) {
		t.Helper()
		code, raw, err := c.graph(admin, http.MethodPatch, path, body)
		if err != nil || code != http.StatusNoContent {
			t.Fatalf("%s: %d %v %s", path, code, err, raw)
		}
	}
	patch("/users/"+string(ada.ObjectID), map[string]any{"accountEnabled": false})
	refusedSoon("disabled")
	patch("/users/"+string(ada.ObjectID), map[string]any{"accountEnabled": true})
	file = c.bearer(user, c.person("ada", aksScope))
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		out, err := c.kubectl(file, nil, "get", "pods")
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("enabled again, with a new token: %v\n%s", err, out)
		}
	}
	code, raw, err := c.graph(admin, http.MethodPost, "/users/"+string(ada.ObjectID)+"/revokeSignInSessions", nil)
	if err != nil || code != http.StatusOK {
		t.Fatalf("revokeSignInSessions: %d %v %s", code, err, raw)
	}
	refusedSoon("sessions revoked")
}
