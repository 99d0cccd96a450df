package cluster_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/errs"
)

// TestCluster walks through the life of a cluster: one start serves many
// checks, since a start takes seconds.
func TestCluster(t *testing.T) {
	whole := t
	w := newWebhooks(t)
	w.groups = []string{adminGroup}
	dir := t.TempDir()
	m := open(t, dir, w)
	s := spec("one", w.entra(adminGroup))
	c := apply(t, m, s)
	admin := adminClient(t, c)
	if _, err := admin.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	t.Run("nodes", func(t *testing.T) {
		nodes, err := admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(nodes.Items) != 3 {
			t.Fatalf("%d nodes, want 3", len(nodes.Items))
		}
		for i, n := range nodes.Items {
			if !strings.HasPrefix(n.Name, "aks-nodepool1-") || !strings.HasSuffix(n.Name, fmt.Sprintf("-vmss%06d", i)) {
				t.Errorf("node name %q", n.Name)
			}
			if n.Status.NodeInfo.KubeletVersion != "v1.36.3" {
				t.Errorf("kubelet version %q", n.Status.NodeInfo.KubeletVersion)
			}
		}
	})

	t.Run("token webhook", func(t *testing.T) {
		user, err := whoami(t, tokenClient(t, c, "ann"))
		if err != nil {
			t.Fatal(err)
		}
		if user.Username != "ann@contoso.example" || !slices.Contains(user.Groups, adminGroup) || !slices.Equal(user.Extra["oid"], []string{annOID}) {
			t.Errorf("whoami = %+v", user)
		}
		if _, err := whoami(t, tokenClient(t, c, "eve")); !apierrors.IsUnauthorized(err) {
			t.Errorf("a refused token: %v, want 401", err)
		}
		if _, err := whoami(t, tokenClient(t, c, "")); !apierrors.IsUnauthorized(err) {
			t.Errorf("no token: %v, want 401", err)
		}
		w.set(func() {
			if got := w.clients["/authenticate"]; len(got) == 0 || slices.ContainsFunc(got, func(s string) bool { return s != "azure/one" }) {
				t.Errorf("the API server presented itself as %q, want azure/one", got)
			}
		})
	})

	t.Run("admin groups", func(t *testing.T) {
		ann := tokenClient(t, c, "ann")
		if _, err := ann.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatalf("a member of the admin group: %v", err)
		}
		before := c.Status()
		s.Entra = w.entra(otherGroup)
		apply(t, m, s)
		binding, err := admin.RbacV1().ClusterRoleBindings().Get(t.Context(), cluster.AdminBinding, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := []rbacv1.Subject{{Kind: "Group", APIGroup: "rbac.authorization.k8s.io", Name: otherGroup}}
		if !slices.Equal(binding.Subjects, want) || binding.RoleRef.Name != "cluster-admin" {
			t.Errorf("binding = %+v %+v", binding.RoleRef, binding.Subjects)
		}
		for i, now := range c.Status().Components {
			if now.PID != before.Components[i].PID {
				t.Errorf("%s was restarted for a change of the admin groups", now.Name)
			}
		}
		w.set(func() { w.reviews = nil })
		_, err = ann.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "the webhook has no opinion") {
			t.Errorf("after the group was taken out: %v, want Forbidden with the webhook's reason", err)
		}
		if _, err := ann.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("what the webhook allows: %v", err)
		}
		w.set(func() {
			if !slices.Contains(w.clients["/authorize"], "azure/one") {
				t.Errorf("the authorize webhook saw %q", w.clients["/authorize"])
			}
			for _, r := range w.reviews {
				if len(r.Extra["oid"]) == 0 {
					t.Errorf("the webhook was asked about %s, who has no oid", r.User)
				}
			}
		})
	})

	t.Run("denying webhook", func(t *testing.T) {
		w.set(func() { w.groups = []string{otherGroup} })
		s.Entra = w.entra(otherGroup)
		s.Pods = &cluster.PodWebhook{URL: w.server.URL + "/mutate", CA: w.ca.PEM()}
		s.Entra.DenyURL = w.server.URL + "/deny"
		before := c.Status()
		apply(t, m, s)
		for i, now := range c.Status().Components {
			if restarted := now.PID != before.Components[i].PID; restarted != (now.Name == "kube-apiserver") {
				t.Errorf("%s restarted: %v", now.Name, restarted)
			}
		}
		ann := tokenClient(t, c, "ann#2")
		if _, err := ann.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatalf("while the webhook denies nothing: %v", err)
		}
		w.set(func() { w.deny = "ann was disabled" })
		time.Sleep(1100 * time.Millisecond) // the authorizer's cache
		if _, err := ann.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "ann was disabled") {
			t.Errorf("a denied cluster admin: %v, want Forbidden with the reason", err)
		}
		if _, err := admin.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("somebody without an oid: %v", err)
		}
		// Down, after the API server has tried for some seconds: without the
		// denying one there is no answer but an error, the other one leaves it to RBAC. Each
		// asks about another kind of object, as answers are cached.
		w.set(func() { w.deny, w.down = "", "/deny" })
		if _, err := ann.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsInternalError(err) {
			t.Errorf("while the denying webhook is down: %v, want 500", err)
		}
		if _, err := admin.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("somebody without an oid while it is down: %v", err)
		}
		w.set(func() { w.down = "/authorize" })
		if _, err := ann.CoreV1().ReplicationControllers("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("what RBAC allows while the authorizing webhook is down: %v", err)
		}
		if _, err := tokenClient(t, c, "ann#3").CoreV1().ReplicationControllers("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("a new token while the authorizing webhook is down: %v", err)
		}
		w.set(func() { w.down = "" })
	})

	t.Run("mutating webhook", func(t *testing.T) {
		for _, use := range []string{"true", "false"} {
			p, err := admin.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "wi-" + use, Labels: map[string]string{"azure.workload.identity/use": use}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Labels["mutated"] == "yes"; got != (use == "true") {
				t.Errorf("use=%s: mutated %v", use, got)
			}
		}
		w.set(func() {
			if !slices.Equal(w.clients["/mutate"], []string{"azure/one"}) {
				t.Errorf("the mutating webhook saw %q", w.clients["/mutate"])
			}
		})
	})

	t.Run("mutating webhook down or slow", func(t *testing.T) { mutatorTrouble(t, admin, w) })

	t.Run("kubectl", func(t *testing.T) {
		link := filepath.Join(t.TempDir(), "kubectl")
		if err := os.Symlink(binary(t), link); err != nil {
			t.Fatal(err)
		}
		kubeconfig, err := c.AdminKubeconfig()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
			t.Fatal(err)
		}
		kubectl := func(args ...string) string {
			t.Helper()
			cmd := exec.Command(link, append([]string{"--kubeconfig=" + file}, args...)...)
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("kubectl %q: %v", args, err)
			}
			return string(out)
		}
		if out := kubectl("version"); strings.Count(out, "v1.36.3") != 2 || strings.Contains(out, "WARNING") {
			t.Errorf("versions:\n%s", out)
		}
		if out := kubectl("get", "nodes"); strings.Count(out, " Ready ") != 3 || strings.Count(out, " agent ") != 3 {
			t.Errorf("nodes:\n%s", out)
		} else {
			t.Log("\n" + out)
		}
	})

	t.Run("pods", func(t *testing.T) { podLife(t, admin) })

	t.Run("mutating webhook removed", func(t *testing.T) {
		// After the pods: a scheduler that has just lost its API server for the
		// second time asks again only after some time.
		s.Pods = nil
		apply(t, m, s)
		noMutator(t, admin)
	})

	t.Run("service account issuer", func(t *testing.T) { signingKeys(t, m, c, &s) })

	t.Run("restart", func(t *testing.T) {
		server, _ := c.Server()
		kubeconfig, _ := c.AdminKubeconfig()
		// A watch of somebody must not hold the stop up.
		watch, err := admin.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer watch.Stop()
		begin := time.Now()
		m.Stop()
		if took := time.Since(begin); took > 8*time.Second {
			t.Errorf("Stop took %v", took)
		} else {
			t.Logf("stopped after %v", took.Round(time.Millisecond))
		}
		if left := processes(t, dir); len(left) > 0 {
			t.Fatalf("left running: %q", left)
		}
		m = open(whole, dir, w)
		c = apply(t, m, s)
		admin = adminClient(t, c)
		if _, err := admin.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		if again, _ := c.Server(); again != server {
			t.Errorf("the server moved from %s to %s", server, again)
		}
		if again, _ := c.AdminKubeconfig(); !bytes.Equal(again, kubeconfig) {
			t.Error("the admin kubeconfig changed")
		}
	})

	t.Run("certificate rotation", func(t *testing.T) {
		old := kubeconfigClient(t, c)
		if user, err := whoami(t, old); err != nil || user.Username != "masterclient" || !slices.Contains(user.Groups, "system:masters") {
			t.Fatalf("the admin kubeconfig is %+v, %v", user, err)
		}
		oldConfig := kubeconfigRest(t, c)
		s.CertificateGeneration++
		apply(t, m, s)
		fresh := kubeconfigRest(t, c)
		if _, err := whoami(t, kubernetes.NewForConfigOrDie(fresh)); err != nil {
			t.Fatalf("the new admin certificate: %v", err)
		}
		if bytes.Equal(fresh.CAData, oldConfig.CAData) {
			t.Error("the authority is the old one")
		}
		oldConfig.CAData = fresh.CAData // else the client would refuse the server
		if _, err := whoami(t, kubernetes.NewForConfigOrDie(oldConfig)); !apierrors.IsUnauthorized(err) {
			t.Errorf("the old admin credentials: %v, want 401", err)
		}
		if _, err := whoami(t, tokenClient(t, c, oldConfig.BearerToken)); !apierrors.IsUnauthorized(err) {
			t.Errorf("the old admin token: %v, want 401", err)
		}
		if _, err := adminClient(t, c).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})

	t.Run("second cluster", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := spec("two", nil)
		s.Port = l.Addr().(*net.TCPAddr).Port
		_, err = m.Apply(t.Context(), s)
		l.Close()
		if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "taken by another program") {
			t.Errorf("a port that is taken: %v", err)
		}
		two := apply(t, m, s)
		if _, err := adminClient(t, two).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the other cluster's object: %v, want not found", err)
		}
		for _, st := range append(two.Status().Components, m.Etcd()) {
			rss, pss := memory(t, st.PID)
			t.Logf("%s: %d MB resident, %d MB its share", st.Name, rss, pss)
		}
		if _, err := whoami(t, kubeconfigClient(t, c)); err != nil {
			t.Error(err)
		}
		if _, err := whoami(t, tokenClient(t, two, "ann")); !apierrors.IsUnauthorized(err) {
			t.Errorf("a token at a cluster without Entra: %v, want 401", err)
		}
		if one, two := etcdKeys(t, dir, "/clusters/one/"), etcdKeys(t, dir, "/clusters/two/"); one == 0 || two == 0 || one+two != etcdKeys(t, dir, "/") {
			t.Errorf("%d and %d keys under the clusters' prefixes, %d in all", one, two, etcdKeys(t, dir, "/"))
		}
		begin := time.Now()
		if err := m.Delete(t.Context(), "two"); err != nil {
			t.Fatal(err)
		}
		t.Logf("deleted after %v", time.Since(begin).Round(time.Millisecond))
		if left := processes(t, filepath.Join(dir, "clusters", "two")); len(left) > 0 {
			t.Errorf("left running: %q", left)
		}
		if _, err := os.Stat(filepath.Join(dir, "clusters", "two")); !os.IsNotExist(err) {
			t.Errorf("its directory: %v", err)
		}
		if n := etcdKeys(t, dir, "/clusters/two/"); n > 0 {
			t.Errorf("%d keys are left in etcd", n)
		}
		if two.Status().State != cluster.Stopped {
			t.Errorf("state %s", two.Status().State)
		}
	})

	t.Run("crash", func(t *testing.T) {
		pid := c.Status().Components[0].PID
		p, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, func() error {
			st := c.Status()
			if st.Components[0].PID == pid || st.State != cluster.Running {
				return fmt.Errorf("state %s", st.State)
			}
			_, err := whoami(t, kubeconfigClient(t, c))
			return err
		})
		if n := c.Status().Components[0].Failures; n != 1 {
			t.Errorf("%d failures are reported, want 1", n)
		}
	})
}

// podLife makes a pod, sees it run, and sees it go.
func podLife(t *testing.T, k kubernetes.Interface) {
	pods := k.CoreV1().Pods("default")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
	}
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		p, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" || len(p.Status.ContainerStatuses) != 1 || !p.Status.ContainerStatuses[0].Ready {
			return fmt.Errorf("status %+v", p.Status)
		}
		return nil
	})
	if err := pods.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		if _, err := pods.Get(t.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("still there: %v", err)
		}
		return nil
	})
}

// signingKeys rotates the service account key and changes the issuer: old
// tokens go on working, new ones carry the new key and issuer.
func signingKeys(t *testing.T, m *cluster.Manager, c *cluster.Cluster, s *cluster.Spec) {
	token := func() string {
		r, err := adminClient(t, c).CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Token
	}
	served := func() []byte {
		cfg, err := c.RESTConfig()
		if err != nil {
			t.Fatal(err)
		}
		data, err := kubernetes.NewForConfigOrDie(rest.AnonymousClientConfig(cfg)).RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(t.Context())
		if err != nil {
			t.Fatalf("keys without signing in: %v", err)
		}
		return data
	}
	kids := func(data []byte) []string {
		var set struct {
			Keys []struct{ Kid, N, E, Kty, Alg, Use string }
		}
		if err := json.Unmarshal(data, &set); err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, k := range set.Keys {
			out = append(out, strings.Join([]string{k.Kid, k.N, k.E, k.Kty, k.Alg, k.Use}, " "))
		}
		slices.Sort(out)
		return out
	}
	old := token()
	s.SigningKeyGeneration++
	s.ServiceAccountIssuer = "https://westeurope.oic.example/" + tenant + "/one/"
	s.ServiceAccountJWKSURI = "https://westeurope.oic.example/" + tenant + "/one/openid/v1/jwks"
	apply(t, m, *s)
	if _, err := whoami(t, tokenClient(t, c, old)); err != nil {
		t.Errorf("a token of the former key and issuer: %v", err)
	}
	fresh := token()
	if user, err := whoami(t, tokenClient(t, c, fresh)); err != nil || user.Username != "system:serviceaccount:default:default" {
		t.Errorf("a new token: %+v, %v", user, err)
	}
	jwks, err := c.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := kids(jwks), kids(served())
	if len(ours) != 2 || !slices.Equal(ours, theirs) {
		t.Errorf("JWKS = %q, the API server's %q", ours, theirs)
	}
	skew.Store(int64(24*time.Hour + time.Minute))
	defer skew.Store(0)
	if err := cluster.KeepUp(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := whoami(t, tokenClient(t, c, old)); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token of the former key after its grace: %v, want 401", err)
	}
	if got := kids(served()); len(got) != 1 || !slices.Contains(ours, got[0]) {
		t.Errorf("after the grace the API server shows %q", got)
	}
	if _, err := whoami(t, tokenClient(t, c, fresh)); err != nil {
		t.Errorf("a token of the present key after the former one's grace: %v", err)
	}
	claims, err := parseClaims(fresh)
	if err != nil {
		t.Fatal(err)
	}
	if claims["iss"] != s.ServiceAccountIssuer {
		t.Errorf("issuer %q, want %q", claims["iss"], s.ServiceAccountIssuer)
	}
}

// TestParentKilled starts a cluster in another process, kills that with
// SIGKILL, and sees its children go and a successor start on their data.
func TestParentKilled(t *testing.T) {
	bin := binary(t)
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "CLUSTER_TEST_PARENT="+dir, "CLUSTER_TEST_BINARY="+bin)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("the parent said %q, %v", line, err)
	}
	if n := len(processes(t, dir)); n != 5 {
		t.Fatalf("%d processes run, want 5: %q", n, processes(t, dir))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	m := open(t, dir, nil) // waits for the last of them
	if left := processes(t, dir); len(left) > 0 {
		t.Fatalf("the directory was given out while these still run: %q", left)
	}
	apply(t, m, spec("orphan", nil))
}

// TestStopDuringStart stops the Manager at several moments of a start.
func TestStopDuringStart(t *testing.T) {
	for _, after := range []time.Duration{0, 100 * time.Millisecond, time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, dir, nil)
			done := make(chan error, 1)
			go func() {
				_, err := m.Apply(t.Context(), spec("one", nil))
				done <- err
			}()
			time.Sleep(after)
			begin := time.Now()
			m.Stop()
			if took := time.Since(begin); took > 8*time.Second {
				t.Errorf("Stop took %v", took)
			}
			if err := <-done; !errs.Is(err, errs.Unavailable) {
				t.Errorf("the start ended with %v", err)
			}
			if left := processes(t, dir); len(left) > 0 {
				t.Errorf("left running: %q", left)
			}
		})
	}
}
