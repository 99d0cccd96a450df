package cluster_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pki"
)

const (
	tenant     = "11111111-1111-1111-1111-111111111111"
	adminGroup = "22222222-2222-2222-2222-222222222222"
	otherGroup = "33333333-3333-3333-3333-333333333333"
	annOID     = "44444444-4444-4444-4444-444444444444"
)

// binary returns the path of entrance-kube. Where the tests must count (CI) a
// missing one is a failure.
func binary(t testing.TB) string {
	t.Helper()
	path := os.Getenv("ENTRANCE_KUBE")
	if path == "" {
		path = filepath.Join("..", "..", "bin", "entrance-kube")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("entrance-kube is missing: run `make build`: %v", err)
		}
		t.Skip("entrance-kube is missing: run `make build`")
	}
	return path
}

// webhooks is a server that knows one user, ann, by the token "ann".
type webhooks struct {
	server *httptest.Server
	ca     *pki.Authority

	mu      sync.Mutex
	groups  []string            // ann's
	deny    string              // what the denying webhook says, if anything
	down    string              // the path of a webhook that answers 500
	clients map[string][]string // path to "organization/common name" of callers
	reviews []authorizationv1.SubjectAccessReviewSpec
}

func newWebhooks(t *testing.T) *webhooks {
	t.Helper()
	ca, err := pki.NewAuthority("webhook-ca", pki.Constraints{}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w := &webhooks{ca: ca, clients: map[string][]string{}}
	cert, err := ca.Server([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := ca.Pool()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /authenticate", w.authenticate)
	mux.HandleFunc("POST /authorize", w.authorize)
	mux.HandleFunc("POST /deny", w.authorize)
	mux.HandleFunc("POST /mutate", w.mutate)
	w.server = httptest.NewUnstartedServer(mux)
	w.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	w.server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	return w
}

func (w *webhooks) issue(organization, name string) (*tls.Certificate, error) {
	return w.ca.Client(organization, name, time.Now(), time.Hour)
}

func (w *webhooks) entra(admins ...directory.ObjectID) *cluster.Entra {
	return &cluster.Entra{
		TenantID:        tenant,
		AuthenticateURL: w.server.URL + "/authenticate",
		AuthorizeURL:    w.server.URL + "/authorize",
		WebhookCA:       w.ca.PEM(),
		AdminGroups:     admins,
	}
}

func (w *webhooks) note(r *http.Request) {
	s := r.TLS.PeerCertificates[0].Subject
	w.clients[r.URL.Path] = append(w.clients[r.URL.Path], strings.Join(s.Organization, "+")+"/"+s.CommonName)
}

func (w *webhooks) authenticate(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(r)
	var review authenticationv1.TokenReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	review.Status = authenticationv1.TokenReviewStatus{}
	if name, _, _ := strings.Cut(review.Spec.Token, "#"); name == "ann" {
		review.Status.Authenticated = true
		review.Status.User = authenticationv1.UserInfo{
			Username: "ann@contoso.example", UID: annOID, Groups: w.groups,
			Extra: map[string]authenticationv1.ExtraValue{"oid": {annOID}},
		}
	}
	_ = json.NewEncoder(rw).Encode(review)
}

func (w *webhooks) authorize(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(r)
	if r.URL.Path == w.down {
		http.Error(rw, "down", http.StatusInternalServerError)
		return
	}
	var review authorizationv1.SubjectAccessReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.reviews = append(w.reviews, review.Spec)
	a := review.Spec.ResourceAttributes
	review.Status = authorizationv1.SubjectAccessReviewStatus{Reason: "the webhook has no opinion"}
	switch {
	case r.URL.Path == "/deny" && w.deny != "":
		review.Status = authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: w.deny}
	case r.URL.Path == "/authorize" && a != nil && a.Resource == "configmaps" && a.Verb == "list":
		review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "ann may list config maps"}
	}
	_ = json.NewEncoder(rw).Encode(review)
}

func (w *webhooks) mutate(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(r)
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	patch := admissionv1.PatchTypeJSONPatch
	review.Response = &admissionv1.AdmissionResponse{
		UID: review.Request.UID, Allowed: true, PatchType: &patch,
		Patch: []byte(`[{"op":"add","path":"/metadata/labels/mutated","value":"yes"}]`),
	}
	_ = json.NewEncoder(rw).Encode(review)
}

func (w *webhooks) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func armID(name string) string {
	return "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/" + name
}

func spec(key string, e *cluster.Entra) cluster.Spec {
	return cluster.Spec{
		Key: key, ARMID: armID(key), Location: "westeurope",
		NodePools: []cluster.NodePool{{Name: "nodepool1", Count: 3}},
		Entra:     e,
	}
}

// skew is what the Managers' clocks are ahead by, in nanoseconds.
var skew atomic.Int64

func open(t testing.TB, dir string, w *webhooks) *cluster.Manager {
	t.Helper()
	cfg := cluster.Config{
		Dir: dir, Binary: binary(t), AuthorityHost: "https://localhost:8443/",
		Clock: clock.Func(func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }), Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if w != nil {
		cfg.WebhookClient = w.issue
	}
	m, err := cluster.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimRight(b, "\n"))
	return len(b), nil
}

func apply(t testing.TB, m *cluster.Manager, s cluster.Spec) *cluster.Cluster {
	t.Helper()
	begin := time.Now()
	c, err := m.Apply(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s applied after %v", s.Key, time.Since(begin).Round(time.Millisecond))
	return c
}

func adminClient(t *testing.T, c *cluster.Cluster) kubernetes.Interface {
	t.Helper()
	cfg, err := c.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.NewForConfigOrDie(cfg)
}

// tokenClient signs in with a token alone.
func tokenClient(t *testing.T, c *cluster.Cluster, token string) kubernetes.Interface {
	t.Helper()
	cfg, err := c.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	cfg = rest.AnonymousClientConfig(cfg)
	cfg.BearerToken = token
	return kubernetes.NewForConfigOrDie(cfg)
}

// processes returns the command lines of the processes that mention dir.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && bytes.Contains(data, []byte(dir)) && bytes.Contains(data, []byte("entrance-kube")) {
			args := bytes.Split(data, []byte{0})
			out = append(out, fmt.Sprintf("%s %s", strings.Split(f, "/")[2], args[1]))
		}
	}
	return out
}

// etcdKeys counts the keys under a prefix in the etcd of the clusters in dir.
func etcdKeys(t *testing.T, dir, prefix string) int64 {
	t.Helper()
	url := ""
	for _, p := range processes(t, dir) {
		if pid, name, _ := strings.Cut(p, " "); name == "etcd" {
			data, err := os.ReadFile("/proc/" + pid + "/cmdline")
			if err != nil {
				t.Fatal(err)
			}
			for arg := range strings.SplitSeq(string(data), "\x00") {
				if v, ok := strings.CutPrefix(arg, "--listen-client-urls="); ok {
					url = v
				}
			}
		}
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "etcd/tls/client.crt"), filepath.Join(dir, "etcd/tls/client.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "etcd/tls/ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	cfg := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}
	// Nobody gets in without a certificate of this start's authority.
	if conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: pool}); err == nil {
		_, err := conn.Read(make([]byte, 1)) // TLS 1.3 tells only now
		if conn.Close(); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("etcd let in a client without a certificate: %v", err)
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r, err := client.Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return r.Count
}

// memory returns a process's resident memory in MB, and its share of it when
// pages in common with others are divided among them.
func memory(t *testing.T, pid int) (rss, pss int) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Log(err)
		return 0, 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 {
			kb, _ := strconv.Atoi(f[1])
			switch f[0] {
			case "Rss:":
				rss = kb >> 10
			case "Pss:":
				pss = kb >> 10
			}
		}
	}
	return rss, pss
}

func whoami(t *testing.T, k kubernetes.Interface) (authenticationv1.UserInfo, error) {
	t.Helper()
	r, err := k.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return r.Status.UserInfo, nil
}

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
		s.Entra.MutatePodsURL = w.server.URL + "/mutate"
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

func kubeconfigRest(t *testing.T, c *cluster.Cluster) *rest.Config {
	t.Helper()
	data, err := c.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func kubeconfigClient(t *testing.T, c *cluster.Cluster) kubernetes.Interface {
	t.Helper()
	return kubernetes.NewForConfigOrDie(kubeconfigRest(t, c))
}

func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
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

// fakeChild stands in for a process of entrance-kube: it notes that it was
// started, told to stop, and has ended, for which it takes its time.
func fakeChild(name string) {
	note := func(what string) {
		f, err := os.OpenFile(filepath.Join(os.TempDir(), "events"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = fmt.Fprintf(f, "%s:%s\n", what, name)
		}
		if err != nil {
			panic(err)
		}
		f.Close()
	}
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGTERM)
	note("started")
	<-sigs
	note("told")
	time.Sleep(150 * time.Millisecond)
	note("gone")
}

// TestMain is also the parent of TestParentKilled and the children of
// TestStopOrder.
func TestMain(tm *testing.M) {
	if os.Getenv("ENTRANCE_KUBE_PROTOCOL") != "" {
		fakeChild(os.Args[1])
		return
	}
	dir := os.Getenv("CLUSTER_TEST_PARENT")
	if dir == "" {
		os.Exit(tm.Run())
	}
	m, err := cluster.Open(context.Background(), cluster.Config{
		Dir: dir, Binary: os.Getenv("CLUSTER_TEST_BINARY"), Clock: clock.Func(time.Now), Log: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		_, err = m.Apply(context.Background(), spec("orphan", nil))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	select {}
}
