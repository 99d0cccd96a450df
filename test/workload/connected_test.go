package workload_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/pki"
	"github.com/entrance-id/entrance/test/tools"
)

// foreignCluster is an API server that somebody else runs: etcd and kube-apiserver
// with flags of their own. Nothing of it is Entrance's.
type foreignCluster struct {
	t      *testing.T
	dir    string
	server string // address
	port   string
	etcd   string
	ca     *pki.Authority
	cmd    *exec.Cmd
	more   []string // flags that came with the connection
	keys   []string // of service accounts; the first one signs
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// newForeignCluster makes the certificates and keys, and starts etcd.
func newForeignCluster(t *testing.T) *foreignCluster {
	t.Helper()
	f := &foreignCluster{t: t, dir: t.TempDir(), port: freePort(t)}
	f.server, f.etcd = "https://127.0.0.1:"+f.port, "http://127.0.0.1:"+freePort(t)
	now := time.Now()
	var err error
	if f.ca, err = pki.NewAuthority("foreign", pki.Constraints{}, now, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	f.write("ca.crt", f.ca.PEM())
	pair := func(name string, c *tls.Certificate, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		chain, key, err := pki.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		f.write(name+".crt", chain)
		f.write(name+".key", key)
	}
	c, err := f.ca.Server([]string{"localhost", "kubernetes.default"}, []net.IP{net.IPv4(127, 0, 0, 1)}, now, 24*time.Hour)
	pair("apiserver", c, err)
	c, err = f.ca.Client("system:masters", "admin", now, 24*time.Hour)
	pair("admin", c, err)
	f.newKey("sa1")
	config, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": []any{map[string]any{"name": "c", "cluster": map[string]any{"server": f.server, "certificate-authority": f.path("ca.crt")}}},
		"users":    []any{map[string]any{"name": "u", "user": map[string]any{"client-certificate": f.path("admin.crt"), "client-key": f.path("admin.key")}}},
		"contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "c", "user": "u"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.write("kubeconfig", config)
	f.start("etcd", "--data-dir="+f.path("etcd"), "--listen-client-urls="+f.etcd, "--advertise-client-urls="+f.etcd, "--listen-peer-urls=http://127.0.0.1:0", "--log-level=error", "--unsafe-no-fsync")
	return f
}

func (f *foreignCluster) path(name string) string { return filepath.Join(f.dir, name) }

func (f *foreignCluster) write(name string, content []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), content, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// newKey makes a service account key, which signs from the next start on.
func (f *foreignCluster) newKey(name string) {
	f.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	f.keys = append([]string{f.path(name + ".key")}, f.keys...)
}

// start starts a part of the control plane, which ends with the test.
func (f *foreignCluster) start(part string, args ...string) *exec.Cmd {
	f.t.Helper()
	log, err := os.CreateTemp(f.dir, part+"-*.log")
	if err != nil {
		f.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(tools.Bin(f.t), "entrance-kube"), append([]string{part}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = f.dir, log, log
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	log.Close()
	f.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if f.t.Failed() {
			if b, err := os.ReadFile(log.Name()); err == nil {
				f.t.Logf("the end of %s's log:\n%s", part, b[max(0, len(b)-2000):])
			}
		}
	})
	return cmd
}

// up starts the API server, or starts it again, and waits until it is ready.
func (f *foreignCluster) up() {
	f.t.Helper()
	if f.cmd != nil {
		_ = f.cmd.Process.Kill()
		_ = f.cmd.Wait()
	}
	args := []string{
		"--etcd-servers=" + f.etcd, "--bind-address=127.0.0.1", "--secure-port=" + f.port, "--advertise-address=127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24",
		"--tls-cert-file=" + f.path("apiserver.crt"), "--tls-private-key-file=" + f.path("apiserver.key"), "--client-ca-file=" + f.path("ca.crt"),
		"--service-account-signing-key-file=" + f.keys[0], "--endpoint-reconciler-type=none", "--profiling=false",
	}
	for _, k := range f.keys {
		args = append(args, "--service-account-key-file="+k)
	}
	if !slices.ContainsFunc(f.more, func(s string) bool { return strings.HasPrefix(s, "--service-account-issuer=") }) {
		args = append(args, "--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--authorization-mode=Node,RBAC")
	}
	f.cmd = f.start("kube-apiserver", append(args, f.more...)...)
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if out, err := f.kubectl("get", "--raw", "/readyz"); err == nil && out == "ok" {
			if _, err := f.kubectl("get", "namespace", "default"); err == nil {
				return
			}
		} else if time.Now().After(end) {
			f.t.Fatalf("the API server is not ready: %v\n%s", err, out)
		}
	}
}

func (f *foreignCluster) kubectl(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(tools.Bin(f.t), "kubectl"), append([]string{"--kubeconfig", f.path("kubeconfig")}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+f.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (f *foreignCluster) must(args ...string) string {
	f.t.Helper()
	out, err := f.kubectl(args...)
	if err != nil {
		f.t.Fatalf("kubectl %q: %v\n%s", args, err, out)
	}
	return out
}

// TestConnectedWorkloadIdentity connects an API server that somebody else runs,
// with the flags and files that `entrance cluster connect` hands out and nothing
// more, and has a pod of it sign in without a secret: its issuer is served here
// with the keys that it has, through a rotation of them.
func TestConnectedWorkloadIdentity(t *testing.T) {
	cloud := entrancetest.Start(t)
	data := filepath.Dir(cloud.CAFile)
	f := newForeignCluster(t)
	f.up()
	f.must("create", "serviceaccount", "default") // no controller makes it here

	files := t.TempDir()
	connect := func(more ...string) string {
		t.Helper()
		args := append([]string{"cluster", "connect", "edge", "--data-dir", data, "-g", "sample", "--server", f.server, "--certificate-authority", f.path("ca.crt"),
			"--output-dir", files, "--remote-dir", files}, more...)
		out, err := exec.Command(filepath.Join(tools.Bin(t), "entrance"), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("cluster connect: %v\n%s", err, out)
		}
		return string(out)
	}
	text := connect("--enable-oidc-issuer", "--enable-workload-identity")
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  --") {
			f.more = append(f.more, strings.TrimSpace(line))
		}
	}
	f.up()
	f.must("apply", "-f", filepath.Join(files, "mutating-webhook.yaml"))

	id := "/subscriptions/" + cloud.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.Kubernetes/connectedClusters/edge"
	var doc struct {
		Properties struct {
			OIDCIssuerProfile struct{ IssuerURL string }
		}
	}
	cloud.ARM(t, http.MethodGet, id+"?api-version=2024-01-01", nil, &doc)
	issuer := doc.Properties.OIDCIssuerProfile.IssuerURL
	if !strings.HasPrefix(issuer, cloud.URL) || !strings.HasSuffix(issuer, "/") {
		t.Fatalf("issuer %q", issuer)
	}
	if out, err := exec.Command(filepath.Join(tools.Bin(t), "entrance"), "cluster", "check", "edge", "--data-dir", data).CombinedOutput(); err != nil {
		t.Errorf("cluster check: %v\n%s", err, out)
	}

	app := newIdentity(t, cloud, "edge-app")
	app.trust(t, cloud, "edge", issuer, "system:serviceaccount:default:app")
	f.write("app.json", []byte(strings.Replace(serviceAccount, "CLIENT", app.client, 1)))
	f.write("pod.json", []byte(workloadPod))
	f.must("create", "-f", f.path("app.json"))
	f.must("create", "-f", f.path("pod.json"))
	if got := f.must("get", "pod", "app", "-o", "jsonpath={.spec.containers[1].env[?(@.name=='AZURE_CLIENT_ID')].value} {.spec.volumes[?(@.name=='azure-identity-token')].projected.sources[0].serviceAccountToken.audience}"); got != app.client+" api://AzureADTokenExchange" {
		t.Errorf("the stored pod has %q", got)
	}

	create := func() string {
		return strings.TrimSpace(f.must("create", "token", "app", "--audience", audience))
	}
	old := create()
	access, code := exchange(t, cloud, app.client, old)
	if code != 0 {
		t.Fatalf("AADSTS%d", code)
	}
	// The token signs in to the very cluster, as any Entra token does.
	bearer := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":%q,"certificate-authority":%q}}],"users":[{"name":"u","user":{"token":%q}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}]}`, f.server, f.path("ca.crt"), access)
	f.write("bearer", []byte(bearer))
	who := exec.Command(filepath.Join(tools.Bin(t), "kubectl"), "--kubeconfig", f.path("bearer"), "auth", "whoami")
	if out, err := who.CombinedOutput(); err != nil || !strings.Contains(string(out), app.principal) {
		t.Errorf("whoami: %v\n%s", err, out)
	}

	try := func(stdin string, more ...string) (string, error) {
		cmd := exec.Command(filepath.Join(tools.Bin(t), "entrance"), append([]string{"identity", "try", "--data-dir", data, "--cluster", "edge", "--service-account", "app"}, more...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := try(old, "--token", "-"); err != nil || strings.Count(out, "ok ") != 6 {
		t.Errorf("identity try: %v\n%s", err, out)
	}
	if out, err := try(""); err == nil || !strings.Contains(out, "kubectl create token app -n default --audience "+audience) {
		t.Errorf("identity try without a token: %v\n%s", err, out)
	}

	// Its keys rotate: tokens of the former key stay good for as long as the API
	// server knows it, and both are served.
	f.newKey("sa2")
	f.up()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		_, code := exchange(t, cloud, app.client, create())
		if code == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a token of the new key: AADSTS%d", code)
		}
	}
	if _, code := exchange(t, cloud, app.client, old); code != 0 {
		t.Errorf("a token of the former key: AADSTS%d", code)
	}
	if n := len(servedKeys(t, cloud, issuer)); n != 2 {
		t.Errorf("%d keys are served, want 2", n)
	}

	// Switched off, the connection has nothing of it any more.
	if text := connect("--enable-workload-identity=false", "--enable-oidc-issuer=false"); strings.Contains(text, "--service-account-issuer") || !strings.Contains(text, "kubectl delete mutatingwebhookconfiguration") {
		t.Errorf("switched off:\n%s", text)
	}
	if res, err := cloud.Client.Get(issuer + "openid/v1/jwks"); err != nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("the keys of a former issuer: %v %v", res, err)
	}
	time.Sleep(1100 * time.Millisecond) // for as long a server goes by what it has read
	if _, code := exchange(t, cloud, app.client, create()); code == 0 {
		t.Error("a token of a former issuer is exchanged")
	}
	out, err := f.kubectl("run", "late", "--image=x", "--labels=azure.workload.identity/use=true")
	if err == nil || !strings.Contains(out, "mutation.azure-workload-identity.io") {
		t.Errorf("a labelled pod while the webhook is registered and nobody answers for it: %v\n%s", err, out)
	}
	f.must("delete", "mutatingwebhookconfiguration", "azure-wi-webhook-mutating-webhook-configuration")
	f.must("run", "late", "--image=x", "--labels=azure.workload.identity/use=true")
}
