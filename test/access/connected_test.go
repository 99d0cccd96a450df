package access_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
)

// TestConnectedCluster connects a control plane that somebody else runs, in each
// style that `entrance cluster connect` prints, and then takes Entrance away.
func TestConnectedCluster(t *testing.T) {
	o := newOffice(t)
	e := newEdge(t, o.bin)
	id := o.connected("edge")
	o.arm("PUT", id[:strings.Index(id, "/providers/")]+"?api-version=2021-04-01", map[string]any{"location": "centralus"}, nil)
	files := filepath.Join(t.TempDir(), "entrance")
	connect := func(more ...string) []string {
		t.Helper()
		out, err := o.entrance(append([]string{"cluster", "connect", "edge", "-g", "sample", "--server", e.server, "--certificate-authority", e.path("ca.crt"),
			"--enable-azure-rbac", "--output-dir", files, "--remote-dir", files}, more...)...)
		if err != nil {
			t.Fatalf("connect: %v\n%s", err, out)
		}
		// The flags are taken from what is printed, as a person would.
		var flags []string
		for line := range strings.Lines(out) {
			if f := strings.TrimSpace(line); strings.HasPrefix(f, "--") && strings.HasPrefix(line, "  ") {
				flags = append(flags, f)
			}
		}
		return flags
	}
	check := func() (string, error) { return o.entrance("cluster", "check", "edge") }
	flags := connect()
	o.arm("PUT", id+"/namespaces/default/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-00000000ed9e?api-version=2022-04-01", map[string]any{"properties": map[string]any{
		"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + builtIn("Azure Arc Kubernetes Viewer"), "principalId": o.account("dev").ObjectID,
	}}, nil)

	o.arm("PUT", id+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-00000000ada0?api-version=2022-04-01", map[string]any{"properties": map[string]any{
		"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + builtIn("Azure Arc Kubernetes Cluster Admin"), "principalId": o.account("ada").ObjectID,
	}}, nil)

	// An API server that does not ask us.
	e.start([]string{"--authorization-mode=Node,RBAC"})
	if out, err := check(); err == nil || !strings.Contains(out, "does not ask Entrance") {
		t.Fatalf("check of an API server that does not ask: %v\n%s", err, out)
	}
	// One that asks who somebody is, and nothing else.
	e.start([]string{"--authorization-mode=Node,RBAC", flags[slices.IndexFunc(flags, func(f string) bool { return strings.Contains(f, "token-webhook-config-file") })], "--authentication-token-webhook-version=v1"})
	if out, err := check(); err == nil || !strings.Contains(out, "authentication  ok") || !strings.Contains(out, "does not ask Entrance what may be done") {
		t.Fatalf("check of an API server that asks half: %v\n%s", err, out)
	}

	t.Run("webhooks", func(t *testing.T) {
		e := e.in(t)
		e.start(flags)
		signedIn(t, o, e, check, true)
		t.Run("kubectl and kubelogin", func(t *testing.T) { withPlugin(t, o, id) })
		t.Run("the certificate renews itself", func(t *testing.T) { renewal(t, o, e, files) })
		t.Run("Entrance is down", func(t *testing.T) { entranceDown(t, o, e) })
	})
	t.Run("flags", func(t *testing.T) {
		e := e.in(t)
		e.start(connect("--style", cluster.StyleFlags))
		signedIn(t, o, e, check, false)
	})
	t.Run("structured", func(t *testing.T) {
		e := e.in(t)
		e.start(connect("--style", cluster.StyleStructured))
		signedIn(t, o, e, check, true)
		structured(t, o, e)
	})
}

// signedIn tries what a user with a role in one namespace may do, and lets the
// check prove that the API server asks.
func signedIn(t *testing.T, o *office, e *edge, check func() (string, error), first bool) {
	t.Helper()
	dev := e.bearer("dev", o.userToken("dev"))
	name := o.account("dev").UserPrincipalName
	e.eventually(30*time.Second, "the user is known", func() (string, bool) {
		out, err := o.kubectl(dev, nil, "auth", "whoami", "-o", "yaml")
		return out, err == nil && strings.Contains(out, "username: "+name) && strings.Contains(out, string(o.account("dev").ObjectID))
	})
	if out, err := o.kubectl(dev, nil, "get", "pods", "-n", "default"); err != nil {
		t.Errorf("get pods where the role is assigned: %v\n%s", err, out)
	}
	out, err := o.kubectl(dev, nil, "get", "secrets", "-n", "default")
	if want := fmt.Sprintf(`secrets is forbidden: User "%s" cannot list resource "secrets" in API group "" in the namespace "default": %s`, name, k8s.ReasonDenied); err == nil || !strings.Contains(out, want) {
		t.Errorf("get secrets: %v\n%s\nwant %s", err, out, want)
	}
	if out, err := o.kubectl(dev, nil, "get", "pods", "-n", "kube-system"); err == nil || !strings.Contains(out, k8s.ReasonDenied) {
		t.Errorf("get pods elsewhere: %v\n%s", err, out)
	}
	// Wildcards are understood from what the cluster serves, which is asked of it.
	e.eventually(45*time.Second, "an administrator may do everything", func() (string, bool) {
		out, err := o.kubectl(e.bearer("admin-of-all", o.userToken("ada")), nil, "auth", "can-i", "*", "*", "--all-namespaces")
		return out, err == nil && strings.HasPrefix(out, "yes")
	})
	if out, err := o.kubectl(dev, nil, "auth", "can-i", "*", "*", "--all-namespaces"); err == nil || !strings.HasPrefix(out, "no") {
		t.Errorf("may a viewer of one namespace do everything: %v %s", err, out)
	}
	out, err = check()
	if err != nil || !strings.Contains(out, "authentication  ok") || !strings.Contains(out, "forged token    ok") || !strings.Contains(out, "authorization   ok") {
		t.Errorf("check: %v\n%s", err, out)
	}
	if strings.Contains(out, "deny first      ok") != first {
		t.Errorf("check says of the denying webhook:\n%s", out)
	}
}

// withPlugin signs in as a person does, with the kubeconfig that Resource
// Manager hands out.
func withPlugin(t *testing.T, o *office, id string) {
	var answer struct{ Kubeconfigs []struct{ Value []byte } }
	o.arm("POST", id+"/listClusterUserCredential?api-version=2024-01-01", map[string]any{"authenticationMethod": "AAD"}, &answer)
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, answer.Kubeconfigs[0].Value, 0o600); err != nil {
		t.Fatal(err)
	}
	o.convert(t, file, "-l", "ropc")
	a := o.account("dev")
	out, err := o.kubectl(file, []string{"AAD_USER_PRINCIPAL_NAME=" + a.UserPrincipalName, "AAD_USER_PRINCIPAL_PASSWORD=" + a.Password}, "auth", "whoami")
	if err != nil || !strings.Contains(out, a.UserPrincipalName) {
		t.Errorf("%v\n%s", err, out)
	}
}

// renewal renews the client certificate as the timer does, and shows that the
// API server uses the new one without having been started again.
func renewal(t *testing.T, o *office, e *edge, files string) {
	leaf := func() time.Time {
		t.Helper()
		pair, err := tls.LoadX509KeyPair(filepath.Join(files, "webhook-client.crt"), filepath.Join(files, "webhook-client.key"))
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.NotAfter
	}
	was := leaf()
	renew := func(more ...string) string {
		t.Helper()
		out, err := o.run(append([]string{"cluster", "renew", "--dir", files}, more...)...)
		if err != nil {
			t.Fatalf("renew: %v\n%s", err, out)
		}
		return out
	}
	if out := renew(); !strings.Contains(out, "Nothing to do") || !leaf().Equal(was) {
		t.Errorf("a certificate of 90 days: %s", out)
	}
	time.Sleep(1100 * time.Millisecond) // ends are whole seconds
	if out := renew("--before", "2400h"); !strings.Contains(out, "Renewed") || !leaf().After(was) {
		t.Fatalf("before its end: %s (until %v, was %v)", out, leaf(), was)
	}
	if out, err := os.ReadFile(filepath.Join(files, "entrance-renew.service")); err != nil || !strings.Contains(string(out), "cluster renew --dir "+files) {
		t.Errorf("the unit: %v\n%s", err, out)
	}
	// The connections that stand were made with the old one. New ones are made
	// with the new one.
	o.stop()
	o.start()
	want := fmt.Sprintf("entrance_webhook_client_certificate_expiry_seconds{cluster=%q} %v", e.key(files), float64(leaf().Unix()))
	dev := e.bearer("dev", o.userToken("dev"))
	e.eventually(30*time.Second, "the API server shows the new certificate: "+want, func() (string, bool) {
		out, _ := o.kubectl(dev, nil, "get", "pods", "-n", "default")
		metrics := o.metrics(t)
		return out, strings.Contains(metrics, want)
	})
}

// entranceDown is abuse case 35: nobody but our own users notices that Entrance
// is away. They are refused, even what Kubernetes RBAC would give them.
func entranceDown(t *testing.T, o *office, e *edge) {
	admin := e.path("admin.kubeconfig")
	run := func(kubeconfig string, args ...string) string {
		t.Helper()
		out, err := o.kubectl(kubeconfig, nil, args...)
		if err != nil {
			t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	noa := o.account("noa").UserPrincipalName
	run(admin, "create", "rolebinding", "noa", "--clusterrole=view", "--user="+noa, "-n", "default")
	run(admin, "create", "serviceaccount", "robot", "-n", "default")
	run(admin, "create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=default:robot", "-n", "default")
	robot := e.bearer("robot", strings.TrimSpace(run(admin, "create", "token", "robot", "-n", "default")))
	person := e.bearer("noa", o.userToken("noa"))
	run(person, "get", "pods", "-n", "default") // by the RoleBinding

	o.stop()
	started := time.Now()
	run(admin, "get", "nodes")
	run(admin, "create", "deployment", "web", "--image=web", "-n", "default")
	run(robot, "get", "pods", "-n", "default")
	run(e.path("node.kubeconfig"), "get", "services", "-n", "default")
	// The controllers work: the deployment gets its replica set and its pod.
	e.eventually(30*time.Second, "the controllers make the pod", func() (string, bool) {
		out, err := o.kubectl(admin, nil, "get", "pods", "-l", "app=web", "-n", "default", "-o", "name")
		return out, err == nil && strings.HasPrefix(out, "pod/")
	})
	if d := time.Since(started); d > 20*time.Second {
		t.Errorf("the cluster's own work took %v while Entrance was down: something waited for it", d)
	}
	if out, err := o.kubectl(person, nil, "get", "pods", "-n", "default", "--request-timeout=25s"); err == nil {
		t.Errorf("with Entrance down its user reads pods:\n%s", out)
	}
	o.start()
	e.eventually(30*time.Second, "the user is let in again", func() (string, bool) {
		out, err := o.kubectl(person, nil, "get", "pods", "-n", "default")
		return out, err == nil
	})
}

// structured is what an API server that verifies tokens by itself must still
// refuse: what is revoked, and what is somebody else's.
func structured(t *testing.T, o *office, e *edge) {
	// A token that was good: the account's sessions are revoked, and the time in
	// which an API server may go by an old TokenReview passes.
	ops := o.account("ops")
	old := e.bearer("ops", o.userToken("ops"))
	admin := e.path("admin.kubeconfig")
	if out, err := o.kubectl(admin, nil, "create", "rolebinding", "ops", "--clusterrole=view", "--user="+ops.UserPrincipalName, "-n", "default"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	e.eventually(10*time.Second, "the user reads pods", func() (string, bool) {
		out, err := o.kubectl(old, nil, "get", "pods", "-n", "default")
		return out, err == nil
	})
	time.Sleep(1100 * time.Millisecond) // tokens have times in whole seconds
	o.graph(http.MethodPost, "/users/"+string(ops.ObjectID)+"/revokeSignInSessions", nil, nil)
	time.Sleep(12 * time.Second)
	if out, err := o.kubectl(old, nil, "get", "pods", "-n", "default"); err == nil || !strings.Contains(out, "revoked") {
		t.Errorf("with a token from before the revocation: %v\n%s", err, out)
	}
	if out, err := o.kubectl(e.bearer("ops", o.userToken("ops")), nil, "get", "pods", "-n", "default"); err != nil {
		t.Errorf("with a new token: %v\n%s", err, out)
	}
	// A token for something else, of the same tenant.
	if out, err := o.kubectl(e.bearer("graph", o.graphToken()), nil, "auth", "whoami"); err == nil || !strings.Contains(out, "Unauthorized") {
		t.Errorf("with a token for Microsoft Graph: %v\n%s", err, out)
	}
	// A cluster that demands proof of possession cannot be connected so: nothing
	// would verify the proof.
	id := o.connected("edge")
	o.arm("PATCH", id+"?api-version=2024-01-01", map[string]any{"tags": map[string]string{"entrance:proof-of-possession": "true"}}, nil)
	if out, err := o.entrance("cluster", "connect", "edge", "-g", "sample", "--output-dir", t.TempDir(), "--style", cluster.StyleStructured); err == nil || !strings.Contains(out, "proof of possession") {
		t.Errorf("structured, with proof of possession: %v\n%s", err, out)
	}
}
