package cluster_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pki"
)

// idle returns a Manager that is not meant to start anything, its clock and
// its directory.
func idle(t *testing.T, binary string) (*cluster.Manager, *clock.Manual, string) {
	t.Helper()
	ca, err := pki.NewAuthority("webhook-ca", pki.Constraints{}, start, 10*365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	clk := clock.NewManual(start)
	dir := t.TempDir()
	m, err := cluster.Open(t.Context(), cluster.Config{
		Dir: dir, Binary: binary, AuthorityHost: "https://localhost:8443/", Clock: clk, Log: slog.New(slog.DiscardHandler),
		WebhookClient: func(o, cn string) (*tls.Certificate, error) { return ca.Client(o, cn, clk.Now(), 90*24*time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	return m, clk, dir
}

var start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func fakeEntra() *cluster.Entra {
	return &cluster.Entra{
		TenantID:        tenant,
		AuthenticateURL: "https://localhost:8444/clusters/k/authenticate",
		AuthorizeURL:    "https://localhost:8444/clusters/k/authorize",
		WebhookCA:       []byte("-----BEGIN CERTIFICATE-----\n"),
		AdminGroups:     []directory.ObjectID{adminGroup},
	}
}

func load(t *testing.T, m *cluster.Manager, s cluster.Spec) *cluster.Cluster {
	t.Helper()
	c, err := m.Load(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var secrets = regexp.MustCompile(`(certificate-authority-data|client-certificate-data|client-key-data|token|server): (\S+)`)

// redact replaces what differs from run to run by the length of its kind.
func redact(data []byte) string {
	return secrets.ReplaceAllString(string(data), "$1: X")
}

func TestKubeconfigs(t *testing.T) {
	m, _, _ := idle(t, "")
	s := spec("contoso", fakeEntra())
	s.ARMID = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/MyGroup/providers/Microsoft.ContainerService/managedClusters/Prod_1"
	c := load(t, m, s)

	const exec = `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: X
    server: X
  name: Prod_1
contexts:
- context:
    cluster: Prod_1
    user: clusterUser_MyGroup_Prod_1
  name: Prod_1
current-context: Prod_1
kind: Config
preferences: {}
users:
- name: clusterUser_MyGroup_Prod_1
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      args:
      - get-token
      - --environment
      - AzurePublicCloud
      - --server-id
      - 6dae42f8-4368-4678-94ff-3960e28e3630
      - --client-id
      - 80faf920-1908-4b52-b5ef-a8e7bedfc67a
      - --tenant-id
      - 11111111-1111-1111-1111-111111111111
      - --login
      - devicecode
      - --authority-host
      - https://localhost:8443/
      - --disable-instance-discovery
      command: kubelogin
      env: null
      installHint: |2

        kubelogin is not installed which is required to connect to AAD enabled cluster.

        To learn more, please go to https://aka.ms/aks/kubelogin
      provideClusterInfo: false
`
	const azure = `    auth-provider:
      config:
        apiserver-id: 6dae42f8-4368-4678-94ff-3960e28e3630
        client-id: 80faf920-1908-4b52-b5ef-a8e7bedfc67a
        config-mode: "1"
        environment: AzurePublicCloud
        tenant-id: 11111111-1111-1111-1111-111111111111
      name: azure
`
	const static = `    client-certificate-data: X
    client-key-data: X
    token: X
`
	head, _, _ := strings.Cut(exec, "    exec:\n")
	admin := strings.ReplaceAll(head, "clusterUser", "clusterAdmin")

	noEntra := s
	noEntra.Key, noEntra.Entra = "local", nil
	local := load(t, m, noEntra)
	for _, tc := range []struct {
		name string
		get  func() ([]byte, error)
		want string
	}{
		{"exec", func() ([]byte, error) { return c.UserKubeconfig(cluster.FormatExec) }, exec},
		{"azure", func() ([]byte, error) { return c.UserKubeconfig(cluster.FormatAzure) }, head + azure},
		{"admin", c.AdminKubeconfig, admin + static},
		{"user without Entra", func() ([]byte, error) { return local.UserKubeconfig(cluster.FormatExec) }, head + static},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.get()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, redact(got)); diff != "" {
				t.Error(diff)
			}
			cfg, err := clientcmd.Load(got)
			if err != nil {
				t.Fatal(err)
			}
			ca, _ := c.CA()
			if tc.name == "user without Entra" {
				ca, _ = local.CA()
			}
			if got := cfg.Clusters["Prod_1"]; !bytes.Equal(got.CertificateAuthorityData, ca) || !strings.HasPrefix(got.Server, "https://127.0.0.1:") {
				t.Errorf("cluster = %s, %s", got.Server, got.CertificateAuthorityData)
			}
		})
	}
	if _, err := c.UserKubeconfig("yaml"); !errs.Is(err, errs.Invalid) {
		t.Errorf("an unknown format: %v", err)
	}
	one, _ := c.AdminKubeconfig()
	cfg, err := clientcmd.Load(one)
	if err != nil {
		t.Fatal(err)
	}
	user := cfg.AuthInfos["clusterAdmin_MyGroup_Prod_1"]
	pair, err := tls.X509KeyPair(user.ClientCertificateData, user.ClientKeyData)
	if err != nil {
		t.Fatal(err)
	}
	if got := pair.Leaf.Subject; got.CommonName != "masterclient" || !slices.Equal(got.Organization, []string{"system:masters"}) {
		t.Errorf("subject %v", got)
	}
	if life := pair.Leaf.NotAfter.Sub(start); life != 2*365*24*time.Hour {
		t.Errorf("the admin certificate lives %v, want two years", life)
	}
	if !regexp.MustCompile(`^[0-9a-f]{128}$`).MatchString(user.Token) {
		t.Errorf("token %q", user.Token)
	}
}

func TestParseFormat(t *testing.T) {
	for in, want := range map[string]cluster.Format{"": cluster.FormatExec, "exec": cluster.FormatExec, "azure": cluster.FormatAzure} {
		if got, err := cluster.ParseFormat(in); err != nil || got != want {
			t.Errorf("ParseFormat(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"Exec", "yaml"} {
		if _, err := cluster.ParseFormat(in); !errs.Is(err, errs.Invalid) {
			t.Errorf("ParseFormat(%q): %v", in, err)
		}
	}
}

func TestSpecRefusals(t *testing.T) {
	m, _, dir := idle(t, "")
	for name, change := range map[string]func(*cluster.Spec){
		"key empty":         func(s *cluster.Spec) { s.Key = "" },
		"key climbs":        func(s *cluster.Spec) { s.Key = ".." },
		"key with slash":    func(s *cluster.Spec) { s.Key = "a/b" },
		"key upper case":    func(s *cluster.Spec) { s.Key = "Prod" },
		"key too long":      func(s *cluster.Spec) { s.Key = strings.Repeat("a", 64) },
		"id of a group":     func(s *cluster.Spec) { s.ARMID = "/subscriptions/s/resourceGroups/g" },
		"id with newline":   func(s *cluster.Spec) { s.ARMID = armID("a\nb") },
		"id of another":     func(s *cluster.Spec) { s.ARMID = strings.Replace(s.ARMID, "managedClusters", "fleets", 1) },
		"no location":       func(s *cluster.Spec) { s.Location = "" },
		"port":              func(s *cluster.Spec) { s.Port = 65536 },
		"server name":       func(s *cluster.Spec) { s.ServerNames = []string{"https://x"} },
		"pool name":         func(s *cluster.Spec) { s.NodePools[0].Name = "a=1" },
		"pool twice":        func(s *cluster.Spec) { s.NodePools = append(s.NodePools, s.NodePools[0]) },
		"negative count":    func(s *cluster.Spec) { s.NodePools[0].Count = -1 },
		"too many nodes":    func(s *cluster.Spec) { s.NodePools[0].Count = 251 },
		"http issuer":       func(s *cluster.Spec) { s.ServiceAccountIssuer = "http://x/" },
		"negative":          func(s *cluster.Spec) { s.CertificateGeneration = -1 },
		"tenant":            func(s *cluster.Spec) { s.Entra.TenantID = "contoso" },
		"tenant upper case": func(s *cluster.Spec) { s.Entra.TenantID = "AAAAAAAA-1111-1111-1111-111111111111" },
		"no authenticate":   func(s *cluster.Spec) { s.Entra.AuthenticateURL = "" },
		"http authorize":    func(s *cluster.Spec) { s.Entra.AuthorizeURL = "http://localhost/" },
		"deny":              func(s *cluster.Spec) { s.Entra.DenyURL = "localhost" },
		"no authority":      func(s *cluster.Spec) { s.Entra.WebhookCA = nil },
		"pods":              func(s *cluster.Spec) { s.Pods = &cluster.PodWebhook{URL: "http://localhost/", CA: []byte("ca")} },
		"pods, unproven":    func(s *cluster.Spec) { s.Pods = &cluster.PodWebhook{URL: "https://localhost/"} },
		"admin group":       func(s *cluster.Spec) { s.Entra.AdminGroups = []directory.ObjectID{"system:masters"} },
	} {
		t.Run(name, func(t *testing.T) {
			s := spec("ok", fakeEntra())
			change(&s)
			if _, err := m.Load(t.Context(), s); !errs.Is(err, errs.Invalid) {
				t.Errorf("err = %v, want Invalid", err)
			}
		})
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "clusters")); len(left) > 0 {
		t.Errorf("a refused spec left %v", left)
	}
	for _, key := range []string{"..", "", "a/b"} {
		if err := m.Delete(t.Context(), key); !errs.Is(err, errs.Invalid) {
			t.Errorf("Delete(%q): %v", key, err)
		}
	}
}

// TestCertificates holds what a generation is: kept until the next, refused by
// nothing but the next, with leaves renewed in time.
func TestCertificates(t *testing.T) {
	m, clk, dir := idle(t, "")
	s := spec("c", fakeEntra())
	s.ServerNames = []string{"c-1234.hcp.westeurope.azmk8s.io", "10.1.2.3"}
	c := load(t, m, s)
	ca, _ := c.CA()
	read := func(generation, name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, "clusters", "c", "pki", generation, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	parse := func(data []byte) *x509.Certificate {
		t.Helper()
		b, _ := pem.Decode(data)
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	server := parse(read("0", "apiserver.crt"))
	for _, name := range []string{"localhost", "127.0.0.1", "kubernetes.default.svc", "10.0.0.1", "c-1234.hcp.westeurope.azmk8s.io", "10.1.2.3"} {
		if _, err := server.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: start.Add(time.Hour)}); err != nil {
			t.Errorf("the API server as %s: %v", name, err)
		}
	}
	for file, want := range map[string]string{
		"kcm":       "system:kube-controller-manager",
		"scheduler": "system:kube-scheduler",
		"nodes":     "entrance:simulator",
	} {
		leaf := parse(read("0", file+".crt"))
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: start.Add(time.Hour), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if leaf.Subject.CommonName != want || slices.Contains(leaf.Subject.Organization, "system:masters") {
			t.Errorf("%s is %v", file, leaf.Subject)
		}
	}
	// The front proxy may name any user: its authority signs for nobody else.
	if _, err := parse(read("0", "front-proxy.crt")).Verify(x509.VerifyOptions{Roots: pool, CurrentTime: start.Add(time.Hour), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
		t.Error("the cluster's authority vouches for the front proxy")
	}

	admin := read("0", "admin.crt")
	load(t, m, s)
	if !bytes.Equal(admin, read("0", "admin.crt")) {
		t.Error("a certificate was renewed without need")
	}
	s.ServerNames = nil
	load(t, m, s)
	if got := parse(read("0", "apiserver.crt")); slices.Contains(got.DNSNames, "c-1234.hcp.westeurope.azmk8s.io") {
		t.Error("the server's certificate kept a name that it should not have")
	}
	clk.Advance(700 * 24 * time.Hour)
	load(t, m, s)
	if got := parse(read("0", "admin.crt")); got.NotAfter.Before(clk.Now().Add(700 * 24 * time.Hour)) {
		t.Errorf("a leaf that ends soon was not renewed: %v", got.NotAfter)
	}
	if again, _ := c.CA(); !bytes.Equal(ca, again) {
		t.Error("the authority changed without a new generation")
	}
	s.CertificateGeneration = 1
	load(t, m, s)
	if again, _ := c.CA(); bytes.Equal(ca, again) {
		t.Error("a new generation has the old authority")
	}
	if bytes.Equal(read("0", "tokens.csv"), read("1", "tokens.csv")) {
		t.Error("a new generation has the old admin token")
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir { // which is the test's
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWebhookCertificate(t *testing.T) {
	m, clk, dir := idle(t, "")
	s := spec("k", fakeEntra())
	load(t, m, s)
	read := func() *x509.Certificate {
		t.Helper()
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "clusters/k/conf/webhook-client.crt"), filepath.Join(dir, "clusters/k/conf/webhook-client.key"))
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf
	}
	first := read()
	if first.Subject.CommonName != "k" || !slices.Equal(first.Subject.Organization, []string{"azure"}) {
		t.Errorf("subject %v", first.Subject)
	}
	clk.Advance(59 * 24 * time.Hour)
	load(t, m, s)
	if !read().Equal(first) {
		t.Error("renewed before two thirds of its life")
	}
	clk.Advance(2 * 24 * time.Hour)
	load(t, m, s)
	if read().Equal(first) {
		t.Error("not renewed after two thirds of its life")
	}
}

// TestSigningKeys holds the day of grace of former keys.
func TestSigningKeys(t *testing.T) {
	m, clk, _ := idle(t, "")
	s := spec("k", nil)
	keys := func() []string {
		t.Helper()
		c := load(t, m, s)
		data, err := c.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		var set struct{ Keys []map[string]string }
		if err := json.Unmarshal(data, &set); err != nil {
			t.Fatal(err)
		}
		var kids []string
		for _, k := range set.Keys {
			n, err := base64.RawURLEncoding.DecodeString(k["n"])
			if err != nil || len(n) != 256 || k["kty"] != "RSA" || k["alg"] != "RS256" || k["use"] != "sig" || k["e"] != "AQAB" {
				t.Errorf("key %v", k)
			}
			if k["d"] != "" || k["p"] != "" {
				t.Error("a private part is shown")
			}
			kids = append(kids, k["kid"])
		}
		return kids
	}
	a := keys()
	if len(a) != 1 {
		t.Fatalf("keys %v", a)
	}
	if again := keys(); !slices.Equal(a, again) {
		t.Errorf("the key changed without a rotation: %v, %v", a, again)
	}
	s.SigningKeyGeneration = 1
	b := keys()
	if len(b) != 2 || b[1] != a[0] || b[0] == a[0] {
		t.Errorf("after a rotation: %v, was %v", b, a)
	}
	clk.Advance(24*time.Hour - time.Second)
	if got := keys(); len(got) != 2 {
		t.Errorf("within the grace: %v", got)
	}
	clk.Advance(2 * time.Second)
	if got := keys(); !slices.Equal(got, b[:1]) {
		t.Errorf("after the grace: %v, want %v", got, b[:1])
	}
}

func TestPortIsKept(t *testing.T) {
	m, _, dir := idle(t, "")
	server := func() string {
		t.Helper()
		url, err := load(t, m, spec("k", nil)).Server()
		if err != nil {
			t.Fatal(err)
		}
		return url
	}
	first := server()
	for range 3 {
		if again := server(); again != first {
			t.Fatalf("the port moved from %s to %s", first, again)
		}
	}
	fixed := spec("k", nil)
	fixed.Port = 12345
	if url, _ := load(t, m, fixed).Server(); url != "https://127.0.0.1:12345" {
		t.Errorf("a port of the spec: %s", url)
	}
	if err := os.WriteFile(filepath.Join(dir, "clusters", "k", "state.json"), []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Load(t.Context(), spec("k", nil)); !errs.Is(err, errs.Conflict) {
		t.Errorf("a state of another version: %v", err)
	}
}

func TestOneManager(t *testing.T) {
	_, clk, dir := idle(t, "")
	_, err := cluster.Open(t.Context(), cluster.Config{Dir: dir, Clock: clk, Log: slog.New(slog.DiscardHandler)})
	if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second Manager: %v", err)
	}
}

// TestBinary holds that each way in which entrance-kube can be wrong ends in
// one sentence that says what to do.
func TestBinary(t *testing.T) {
	script := func(text string) string {
		path := filepath.Join(t.TempDir(), "entrance-kube")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	notExecutable := filepath.Join(t.TempDir(), "entrance-kube")
	if err := os.WriteFile(notExecutable, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, want string }{
		{"not set", "", "run `make build`"},
		{"missing", filepath.Join(t.TempDir(), "entrance-kube"), "run `make build`"},
		{"directory", t.TempDir(), "run `make build`"},
		{"not executable", notExecutable, "run `make build`"},
		{"other version", script("exit 86"), "another version than this program: run `make build`"},
		{"broken", script("echo something is wrong >&2; exit 3"), "exit status 3). The end of its log:\nsomething is wrong"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, _, dir := idle(t, tc.path)
			begin := time.Now()
			c, err := m.Apply(t.Context(), spec("k", nil))
			if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("err = %v, want %q", err, tc.want)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("the error took %v", took)
			}
			if st := c.Status(); st.State != cluster.Failed || st.Err == nil || len(st.Components) != 0 {
				t.Errorf("status %+v", st)
			}
			if left := processes(t, dir); len(left) > 0 {
				t.Errorf("left running: %q", left)
			}
		})
	}
}

func TestStoppedManager(t *testing.T) {
	m, _, _ := idle(t, "")
	c := load(t, m, spec("k", nil))
	if got, err := m.Get("k"); err != nil || got != c {
		t.Errorf("Get = %v, %v", got, err)
	}
	if _, err := m.Get("other"); !errs.Is(err, errs.NotFound) {
		t.Errorf("Get of nothing: %v", err)
	}
	if err := m.Delete(t.Context(), "other"); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	if got := m.List(); len(got) != 1 || got[0].Key() != "k" {
		t.Errorf("List = %v", got)
	}
	m.Stop()
	m.Stop()
	if _, err := m.Apply(context.Background(), spec("k", nil)); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Apply after Stop: %v", err)
	}
}
