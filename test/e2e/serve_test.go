package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pki"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/test/clients/harness"
	"github.com/entrance-id/entrance/test/tools"
)

// production is two servers of one store, as an operator runs them.
type production struct {
	t    *testing.T
	bin  string
	dir  string
	ca   *pki.Authority // of the given certificates
	etcd string

	servers []*exec.Cmd
	logs    []*bytes.Buffer
}

const productionBase = 24730

func (p *production) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *production) file(name string, content []byte) string {
	p.t.Helper()
	full := filepath.Join(p.dir, name)
	p.must(os.WriteFile(full, content, 0o600))
	return full
}

// pair writes a certificate and its key.
func (p *production) pair(name string, c *tls.Certificate, err error) {
	p.t.Helper()
	p.must(err)
	chain, key, err := pki.Encode(c)
	p.must(err)
	p.file(name+".key", key)
	p.file(name+".crt", chain)
}

// startEtcd starts an etcd server that demands client certificates.
func (p *production) startEtcd() {
	p.t.Helper()
	now := time.Now()
	server, err := p.ca.Server([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}, now, time.Hour)
	p.pair("etcd", server, err)
	client, err := p.ca.Client("", "entrance", now, time.Hour)
	p.pair("etcd-client", client, err)
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(p.dir, "etcd")
	cfg.ListenClientUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	cfg.ListenPeerUrls = nil
	cfg.ClientTLSInfo = transport.TLSInfo{
		CertFile: filepath.Join(p.dir, "etcd.crt"), KeyFile: filepath.Join(p.dir, "etcd.key"), TrustedCAFile: filepath.Join(p.dir, "ca.crt"), ClientCertAuth: true,
	}
	cfg.TickMs, cfg.ElectionMs, cfg.UnsafeNoFsync = 10, 50, true
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(cfg)
	p.must(err)
	p.t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	p.etcd = "https://" + e.Clients[0].Addr().String()
}

// serve starts the server number n and returns when it is ready.
func (p *production) serve(n int) {
	p.t.Helper()
	port := productionBase + 10*n
	config := p.file(fmt.Sprintf("config-%d.yaml", n), fmt.Appendf(nil, `
dataDir: %[1]s/data-%[2]d
baseURL: https://entrance.corp.test
sealKeyFile: %[1]s/seal.key
listen: {login: %[3]d, webhooks: %[4]d, health: %[5]d}
tls: {certificateFile: %[1]s/tls.crt, keyFile: %[1]s/tls.key, authorityFile: %[1]s/ca.crt}
webhooks: {url: "https://entrance.corp.test:8444"}
etcd: {endpoints: ["%[6]s"], authorityFile: %[1]s/ca.crt, certificateFile: %[1]s/etcd-client.crt, keyFile: %[1]s/etcd-client.key}
firstTenant: {displayName: Corp, domain: corp.test, administrator: root@corp.test, passwordFile: %[1]s/first-password, subscription: Production}
log: {format: json}
`, p.dir, n, port, port+1, port+2, p.etcd))
	cmd := exec.Command(filepath.Join(p.bin, "entrance"), "serve", "--config", config)
	log := &bytes.Buffer{}
	cmd.Stderr = log
	p.must(cmd.Start())
	p.servers, p.logs = append(p.servers, cmd), append(p.logs, log)
	p.t.Cleanup(func() { cmd.Process.Kill() })
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", port+2))
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			cmd.Process.Kill()
			cmd.Wait()
			p.t.Fatalf("server %d is not ready: %v\n%s", n, err, log)
		}
	}
}

// client returns a client that reaches the server number n as a balancer would
// send it there, and trusts what the operator's users do.
func (p *production) client(n, offset int) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.ca.PEM())
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", productionBase+10*n+offset))
		},
	}}
}

// call makes a request and returns the status and the JSON of the answer.
func (p *production) call(c *http.Client, method, path, token string, body io.Reader, kind string) (int, map[string]any) {
	p.t.Helper()
	req, err := http.NewRequest(method, "https://entrance.corp.test"+path, body)
	p.must(err)
	req.Header.Set("Content-Type", kind)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(req)
	p.must(err)
	defer res.Body.Close()
	var answer map[string]any
	json.NewDecoder(res.Body).Decode(&answer) // not every answer has a body
	return res.StatusCode, answer
}

// TestServe runs production: two servers on an etcd cluster that demands client
// certificates, given certificates, no sample, no proxy. The first administrator
// signs in on one server with what began on the other.
func TestServe(t *testing.T) {
	p := &production{t: t, bin: tools.Bin(t), dir: t.TempDir()}
	var err error
	p.ca, err = pki.NewAuthority("Corp", pki.Constraints{}, time.Now(), 24*time.Hour)
	p.must(err)
	p.file("ca.crt", p.ca.PEM())
	given := func(life time.Duration) {
		c, err := p.ca.Server([]string{"entrance.corp.test"}, nil, time.Now(), life)
		p.pair("tls", c, err)
	}
	given(time.Hour)
	p.file("seal.key", bytes.Repeat([]byte{7}, 32))
	const first, second = "First-Window-31", "Second-Door-62"
	p.file("first-password", []byte(first+"\n"))
	p.startEtcd()
	p.serve(0)
	// The password is needed once: the store has a tenant now.
	p.must(os.Remove(filepath.Join(p.dir, "first-password")))
	p.serve(1)
	a, b := p.client(0, 0), p.client(1, 0)

	var status server.Status
	out, err := exec.Command(filepath.Join(p.bin, "entrance"), "status", "--data-dir", filepath.Join(p.dir, "data-0"), "-o", "json").Output()
	p.must(err)
	p.must(json.Unmarshal(out, &status))
	if e := status.Endpoints; e.Proxy != "" || e.IMDS != "" || e.Login != "https://entrance.corp.test" || e.Webhooks != "https://entrance.corp.test:8444" || len(status.Clusters) != 0 {
		t.Errorf("status: %s", out)
	}
	for _, port := range []int{productionBase + 6, productionBase + 7} {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			t.Errorf("something listens on port %d", port)
		}
	}
	// A password alone is no way to get a token here.
	code, refusal := p.call(a, http.MethodPost, "/organizations/oauth2/v2.0/token", "", strings.NewReader(url.Values{
		"grant_type": {"password"}, "client_id": {string(directory.AzureCLI)}, "username": {"root@corp.test"}, "password": {first}, "scope": {"https://management.azure.com/.default"},
	}.Encode()), "application/x-www-form-urlencoded")
	if code != http.StatusBadRequest {
		t.Errorf("password grant: %d %v", code, refusal)
	}

	// A code that one server gave out, a sign-in on the other, and the token from
	// the first again.
	form := func(c *http.Client, path string, v url.Values) map[string]any {
		t.Helper()
		code, answer := p.call(c, http.MethodPost, "/organizations/oauth2/v2.0/"+path, "", strings.NewReader(v.Encode()), "application/x-www-form-urlencoded")
		if code != http.StatusOK {
			t.Fatalf("%s: %d %v", path, code, answer)
		}
		return answer
	}
	device := form(a, "devicecode", url.Values{"client_id": {string(directory.AzureCLI)}, "scope": {"https://management.azure.com/.default offline_access"}})
	page := harness.NewBrowser(t, "https://entrance.corp.test", b).Get("/devicelogin").Submit(map[string]string{"otc": device["user_code"].(string)})
	page.Submit(map[string]string{"username": "root@corp.test"}).On("password").Submit(map[string]string{"password": first})
	page.On("change").Submit(map[string]string{"password": first, "new-password": second, "confirm-password": second})
	page.On("device").Submit(map[string]string{"answer": "continue"}).On("done")
	tokens := form(a, "token", url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {string(directory.AzureCLI)}, "device_code": {device["device_code"].(string)},
	})
	arm, _ := tokens["access_token"].(string)
	graph, _ := form(b, "token", url.Values{
		"grant_type": {"refresh_token"}, "client_id": {string(directory.AzureCLI)}, "refresh_token": {tokens["refresh_token"].(string)}, "scope": {"https://graph.microsoft.com/.default"},
	})["access_token"].(string)

	if code, list := p.call(b, http.MethodGet, "/subscriptions?api-version=2022-12-01", arm, nil, ""); code != 200 || !strings.Contains(fmt.Sprint(list), "displayName:Production") {
		t.Errorf("subscriptions: %d %v", code, list)
	}
	if code, list := p.call(a, http.MethodGet, "/v1.0/users", graph, nil, ""); code != 200 || len(list["value"].([]any)) != 1 {
		t.Errorf("users: %d %v", code, list)
	}
	at := "/subscriptions/" + status.SubscriptionID + "/resourceGroups/apps"
	if code, answer := p.call(a, http.MethodPut, at+"?api-version=2021-04-01", arm, strings.NewReader(`{"location":"westeurope"}`), "application/json"); code != http.StatusCreated {
		t.Errorf("resource group: %d %v", code, answer)
	}
	if code, answer := p.call(b, http.MethodGet, at+"?api-version=2021-04-01", arm, nil, ""); code != http.StatusOK {
		t.Errorf("the resource group on the other server: %d %v", code, answer)
	}
	code, refusal = p.call(a, http.MethodPut, at+"/providers/Microsoft.ContainerService/managedClusters/one?api-version=2025-03-01", arm,
		strings.NewReader(`{"location":"westeurope","identity":{"type":"SystemAssigned"},"properties":{"dnsPrefix":"one","agentPoolProfiles":[{"name":"p","mode":"System","count":1}]}}`), "application/json")
	if code != http.StatusServiceUnavailable || !strings.Contains(fmt.Sprint(refusal), "This server runs no clusters") {
		t.Errorf("a cluster: %d %v", code, refusal)
	}

	// Clusters elsewhere are sent to the public address, and trust the authority of
	// the given certificate.
	edge := at + "/providers/Microsoft.Kubernetes/connectedClusters/edge"
	if code, answer := p.call(a, http.MethodPut, edge+"?api-version=2024-01-01", arm, strings.NewReader(`{"location":"westeurope","properties":{"aadProfile":{}}}`), "application/json"); code >= 300 {
		t.Fatalf("connected cluster: %d %v", code, answer)
	}
	connection, err := server.Connect(t.Context(), filepath.Join(p.dir, "data-0"), server.ConnectQuery{Cluster: edge, Dir: "/etc/kubernetes/entrance", Distribution: "flags"})
	p.must(err)
	reaches, trusts := false, false
	for _, content := range connection.Files {
		reaches = reaches || bytes.Contains(content, []byte("server: https://entrance.corp.test:8444/clusters/"))
		trusts = trusts || trusting(content, p.ca.PEM())
	}
	if !reaches || !trusts {
		t.Errorf("the API server reaches the public address: %v, trusts its authority: %v", reaches, trusts)
	}

	// Both TLS listeners show the given certificate for its name, and Entrance's
	// own for this machine.
	for _, offset := range []int{0, 1} {
		for name, issuer := range map[string]string{"entrance.corp.test": "Corp", "": "Corp", "localhost": "Entrance on this machine"} {
			if got := p.shown(offset, name).Issuer.CommonName; got != issuer {
				t.Errorf("listener %d, name %q: the certificate is of %s", offset, name, got)
			}
		}
	}
	// A certificate that was renewed is shown without a restart; one that is
	// broken is not.
	before := p.shown(0, "entrance.corp.test").SerialNumber
	given(2 * time.Hour)
	p.must(os.Chtimes(filepath.Join(p.dir, "tls.crt"), time.Time{}, time.Now().Add(time.Second)))
	after := p.shown(0, "entrance.corp.test").SerialNumber
	if after.Cmp(before) == 0 {
		t.Error("the renewed certificate is not shown")
	}
	p.file("tls.crt", []byte("half"))
	p.must(os.Chtimes(filepath.Join(p.dir, "tls.crt"), time.Time{}, time.Now().Add(2*time.Second)))
	if p.shown(0, "entrance.corp.test").SerialNumber.Cmp(after) != 0 {
		t.Error("a broken file replaced the certificate")
	}

	// SIGTERM ends a server in peace; the other goes on.
	p.must(p.servers[0].Process.Signal(syscall.SIGTERM))
	if err := p.servers[0].Wait(); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.logs[0])
	}
	if !strings.Contains(p.logs[0].String(), `"msg":"ready"`) || strings.Contains(p.logs[0].String(), first) {
		t.Errorf("the log:\n%s", p.logs[0])
	}
	if code, _ := p.call(b, http.MethodGet, at+"?api-version=2021-04-01", arm, nil, ""); code != http.StatusOK {
		t.Errorf("the other server: %d", code)
	}
	p.must(p.servers[1].Process.Signal(syscall.SIGTERM))
	p.must(p.servers[1].Wait())

	// Another seal key is refused, and none is made.
	p.file("seal.key", bytes.Repeat([]byte{8}, 32))
	given(time.Hour)
	p.refused("sealed with another key")
	p.must(os.Remove(filepath.Join(p.dir, "seal.key")))
	p.refused("is missing. Make it once, for all servers of this store")
}

// shown is the certificate that a listener of the first server shows.
func (p *production) shown(offset int, name string) *x509.Certificate {
	p.t.Helper()
	client, err := p.ca.Client("", "nobody", time.Now(), time.Hour)
	p.must(err)
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", productionBase+offset), &tls.Config{ServerName: name, InsecureSkipVerify: true, Certificates: []tls.Certificate{*client}})
	p.must(err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

// refused starts the first server again, which must end at once.
func (p *production) refused(want string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(p.bin, "entrance"), "serve", "--config", filepath.Join(p.dir, "config-0.yaml")).CombinedOutput()
	if err == nil || ctx.Err() != nil || !strings.Contains(string(out), want) {
		p.t.Errorf("want %q: %v\n%s", want, err, out)
	}
}

// trusting reports whether a kubeconfig trusts an authority.
func trusting(kubeconfig, authority []byte) bool {
	_, rest, ok := strings.Cut(string(kubeconfig), "certificate-authority-data: ")
	if !ok {
		return false
	}
	pem, err := base64.StdEncoding.DecodeString(strings.Fields(rest)[0])
	return err == nil && bytes.Contains(pem, bytes.TrimSpace(authority))
}
