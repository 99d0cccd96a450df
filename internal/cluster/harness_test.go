package cluster_test

import (
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
	"os/signal"
	"path/filepath"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/directory"
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
	slow    time.Duration       // how long the mutating webhook takes
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
	slow := w.slow
	w.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(r)
	if r.URL.Path == w.down {
		http.Error(rw, "down", http.StatusInternalServerError)
		return
	}
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
