package access_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pki"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/test/tools"
)

// office is a cloud that may go away and come back on the same ports.
type office struct {
	t      *testing.T
	bin    string
	dir    string
	ports  server.Ports
	server *server.Server
	people server.Credentials
	http   *http.Client
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, bin: tools.Bin(t), dir: t.TempDir()}
	o.must(os.Chmod(o.dir, 0o700))
	o.start()
	t.Cleanup(func() {
		if o.server != nil {
			o.stop()
		}
	})
	raw, err := os.ReadFile(o.server.Status().CredentialsFile)
	o.must(err)
	o.must(json.Unmarshal(raw, &o.people))
	ca, err := os.ReadFile(o.server.Status().CAFile)
	o.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	o.http = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	return o
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) start() {
	o.t.Helper()
	s, err := server.Start(context.Background(), server.Config{DataDir: o.dir, Ports: o.ports, Sample: true, UnsafeNoFsync: true, Logger: slog.New(slog.DiscardHandler)})
	o.must(err)
	o.server = s
	e := s.Status().Endpoints
	o.ports = server.Ports{Login: port(o.t, e.Login), Webhooks: port(o.t, e.Webhooks), Health: port(o.t, e.Health), IMDS: port(o.t, e.IMDS)}
}

func (o *office) stop() {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := o.server.Close(ctx)
	o.server = nil
	o.must(err)
}

func port(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.LookupPort("tcp", u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// entrance runs the command line against the cloud.
func (o *office) entrance(args ...string) (string, error) {
	return o.run(append(args, "--data-dir", o.dir)...)
}

// run runs the command line, wherever the cloud may be.
func (o *office) run(args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(o.bin, "entrance"), args...).CombinedOutput()
	return string(out), err
}

// convert makes a kubeconfig sign in in another way.
func (o *office) convert(t *testing.T, kubeconfig string, args ...string) {
	t.Helper()
	if out, err := exec.Command(filepath.Join(o.bin, "kubelogin"), append([]string{"convert-kubeconfig", "--kubeconfig", kubeconfig}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("convert-kubeconfig: %v\n%s", err, out)
	}
}

// connected returns the id of a connected cluster.
func (o *office) connected(name string) string {
	return "/subscriptions/" + o.server.Status().SubscriptionID + "/resourceGroups/sample/providers/Microsoft.Kubernetes/connectedClusters/" + name
}

// metrics returns what Prometheus would read.
func (o *office) metrics(t *testing.T) string {
	t.Helper()
	res, err := http.Get(o.server.Status().Endpoints.Health + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (o *office) account(name string) server.Account {
	o.t.Helper()
	for _, a := range o.people.Users {
		if strings.HasPrefix(a.UserPrincipalName, name+"@") {
			return a
		}
	}
	o.t.Fatalf("nobody is called %s", name)
	return server.Account{}
}

// token signs in and returns an access token.
func (o *office) token(form url.Values) string {
	o.t.Helper()
	res, err := o.http.PostForm(o.server.Status().Endpoints.Login+"/"+string(o.server.Tenant())+"/oauth2/v2.0/token", form)
	o.must(err)
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	o.must(json.NewDecoder(res.Body).Decode(&answer))
	if answer.Token == "" {
		o.t.Fatalf("sign-in: %s", answer.Error)
	}
	return answer.Token
}

// userToken signs one of the sample's people in to clusters.
func (o *office) userToken(name string) string {
	o.t.Helper()
	a := o.account(name)
	return o.token(url.Values{
		"grant_type": {"password"}, "client_id": {string(directory.AzureCLI)}, "username": {a.UserPrincipalName}, "password": {a.Password},
		"scope": {string(directory.AKSServer) + "/.default"},
	})
}

// appToken signs the sample's service principal in.
func (o *office) appToken(scope string) string {
	o.t.Helper()
	sp := o.people.ServicePrincipal
	return o.token(url.Values{"grant_type": {"client_credentials"}, "client_id": {string(sp.ClientID)}, "client_secret": {sp.ClientSecret}, "scope": {scope}})
}

// graphToken returns a token for Microsoft Graph, which is nothing to a cluster.
func (o *office) graphToken() string { return o.appToken("https://graph.microsoft.com/.default") }

// arm calls Resource Manager as the sample's service principal.
func (o *office) arm(method, path string, body, out any) {
	o.t.Helper()
	o.call(method, o.server.Status().Endpoints.ARM+path, o.appToken("https://management.azure.com/.default"), body, out)
}

// graph calls Microsoft Graph likewise.
func (o *office) graph(method, path string, body, out any) {
	o.t.Helper()
	o.call(method, o.server.Status().Endpoints.Graph+"/v1.0"+path, o.graphToken(), body, out)
}

func (o *office) call(method, address, token string, body, out any) {
	o.t.Helper()
	b, err := json.Marshal(body)
	o.must(err)
	req, err := http.NewRequest(method, address, bytes.NewReader(b))
	o.must(err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := o.http.Do(req)
	o.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	o.must(err)
	if res.StatusCode >= 300 {
		o.t.Fatalf("%s %s: HTTP %d %s", method, address, res.StatusCode, raw)
	}
	if out != nil {
		o.must(json.Unmarshal(raw, out))
	}
}

// kubectl runs the real kubectl, with the real plugin on its path.
func (o *office) kubectl(kubeconfig string, env []string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(o.bin, "kubectl"), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+o.bin+":"+os.Getenv("PATH"), "HOME="+o.dir, "SSL_CERT_FILE="+filepath.Join(o.dir, "ca.crt"),
		"KUBELOGIN_CACHE_KEY=file", "XDG_CACHE_HOME="+filepath.Join(o.dir, "cache"))
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// edge is a control plane that somebody else runs: nothing of it is started,
// configured or stopped by Entrance.
type edge struct {
	t      *testing.T
	bin    string
	dir    string
	ca     *pki.Authority
	server string
	etcd   string

	api, controllers func() // stop them
}

// in is the control plane for a part of a test, which ends what it started.
func (e *edge) in(t *testing.T) *edge {
	part := *e
	part.t = t
	return &part
}

// key returns the cluster's key, which is in the address of its webhooks.
func (e *edge) key(files string) string {
	e.t.Helper()
	b, err := os.ReadFile(filepath.Join(files, "authorize.kubeconfig"))
	if err != nil {
		e.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "/clusters/")
	key, _, ok := strings.Cut(rest, "/")
	if !ok {
		e.t.Fatalf("there is no address in %s", b)
	}
	return key
}

func (e *edge) stop() {
	for _, f := range []func(){e.controllers, e.api} {
		if f != nil {
			f()
		}
	}
	e.api, e.controllers = nil, nil
}

// newEdge makes the certificates and starts etcd.
func newEdge(t *testing.T, bin string) *edge {
	t.Helper()
	e := &edge{t: t, bin: bin, dir: t.TempDir()}
	var err error
	if e.ca, err = pki.NewAuthority("edge-ca", pki.Constraints{}, time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	e.write("ca.crt", e.ca.PEM())
	leaf, err := e.ca.Server([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1).To4()}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	e.pair("apiserver", leaf)
	e.server = fmt.Sprintf("https://127.0.0.1:%d", freePort(t))
	e.etcd = fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	e.identity("admin", "system:masters", "edge-admin")
	e.identity("kcm", "", "system:kube-controller-manager")
	e.identity("node", "system:nodes", "system:node:edge-1")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	e.write("sa.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	e.run("etcd", "--data-dir="+filepath.Join(e.dir, "etcd"), "--listen-client-urls="+e.etcd, "--advertise-client-urls="+e.etcd,
		"--listen-peer-urls=http://127.0.0.1:0", "--initial-advertise-peer-urls=http://127.0.0.1:0", "--initial-cluster=default=http://127.0.0.1:0",
		"--unsafe-no-fsync", "--log-level=warn")
	return e
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func (e *edge) path(name string) string { return filepath.Join(e.dir, name) }

func (e *edge) write(name string, content []byte) {
	e.t.Helper()
	if err := os.WriteFile(e.path(name), content, 0o600); err != nil {
		e.t.Fatal(err)
	}
}

func (e *edge) pair(name string, c *tls.Certificate) {
	e.t.Helper()
	chain, key, err := pki.Encode(c)
	if err != nil {
		e.t.Fatal(err)
	}
	e.write(name+".crt", chain)
	e.write(name+".key", key)
}

// identity makes the kubeconfig of a client certificate, called NAME.kubeconfig.
func (e *edge) identity(name, organization, commonName string) {
	e.t.Helper()
	c, err := e.ca.Client(organization, commonName, time.Now(), time.Hour)
	if err != nil {
		e.t.Fatal(err)
	}
	e.pair(name, c)
	e.kubeconfig(name, fmt.Sprintf("{client-certificate: %s, client-key: %s}", e.path(name+".crt"), e.path(name+".key")))
}

// bearer makes the kubeconfig of a token.
func (e *edge) bearer(name, token string) string {
	e.t.Helper()
	return e.kubeconfig(name, "{token: "+token+"}")
}

func (e *edge) kubeconfig(name, user string) string {
	e.t.Helper()
	e.write(name+".kubeconfig", fmt.Appendf(nil, "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q, certificate-authority: %s}}]\nusers: [{name: u, user: %s}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n",
		e.server, e.path("ca.crt"), user))
	return e.path(name + ".kubeconfig")
}

// run starts a component, which ends with this process, whatever happens to it,
// and returns what stops it.
func (e *edge) run(name string, args ...string) (stop func()) {
	e.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		e.t.Fatal(err)
	}
	log, err := os.Create(e.path(name + ".log"))
	if err != nil {
		e.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(e.bin, "entrance-kube"), append([]string{name}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = e.dir, log, log
	cmd.ExtraFiles = []*os.File{r}
	cmd.Env = append(os.Environ(), "ENTRANCE_LIFELINE=3")
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	r.Close()
	log.Close()
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	stop = sync.OnceFunc(func() {
		if e.t.Failed() {
			if b, err := os.ReadFile(e.path(name + ".log")); err == nil {
				e.t.Logf("the end of the log of %s:\n%s", name, b[max(0, len(b)-2000):])
			}
		}
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		w.Close()
	})
	e.t.Cleanup(stop)
	return stop
}

// start starts the API server with the flags that were given for it, waits until
// it is ready, and starts the controllers. What ran before is stopped first, the
// controllers before the API server, which waits for its clients.
func (e *edge) start(flags []string) {
	e.t.Helper()
	e.stop()
	u, err := url.Parse(e.server)
	if err != nil {
		e.t.Fatal(err)
	}
	e.api = e.run("kube-apiserver", append([]string{
		"--etcd-servers=" + e.etcd, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=" + u.Port(),
		"--tls-cert-file=" + e.path("apiserver.crt"), "--tls-private-key-file=" + e.path("apiserver.key"), "--cert-dir=" + e.path("work"),
		"--client-ca-file=" + e.path("ca.crt"), "--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none",
		"--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://edge.test", "--service-account-signing-key-file=" + e.path("sa.key"), "--service-account-key-file=" + e.path("sa.key"),
	}, flags...)...)
	pool, err := e.ca.Pool()
	if err != nil {
		e.t.Fatal(err)
	}
	admin, err := tls.LoadX509KeyPair(e.path("admin.crt"), e.path("admin.key"))
	if err != nil {
		e.t.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{admin}}}}
	e.eventually(60*time.Second, "the API server is ready", func() (string, bool) {
		res, err := client.Get(e.server + "/readyz")
		if err != nil {
			return err.Error(), false
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return string(body), res.StatusCode == http.StatusOK
	})
	e.controllers = e.run("kube-controller-manager", "--kubeconfig="+e.path("kcm.kubeconfig"), "--service-account-private-key-file="+e.path("sa.key"), "--root-ca-file="+e.path("ca.crt"),
		"--use-service-account-credentials=true", "--kube-api-qps=200", "--kube-api-burst=400", "--leader-elect=false", "--secure-port=0")
}

// eventually waits for something, and says what it last saw where it never comes.
func (e *edge) eventually(within time.Duration, what string, f func() (string, bool)) {
	e.t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		seen, ok := f()
		if ok {
			return
		}
		if time.Now().After(end) {
			e.t.Fatalf("not within %v: %s\n%s", within, what, seen)
		}
	}
}
