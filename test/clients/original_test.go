package clients

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/test/clients/harness"
	"github.com/entrance-id/entrance/test/tools"
)

// originalPath is where scripts/setup.sh puts the original plugin.
const originalPath = "../../build/tools/kubelogin"

// original returns the path of Azure/kubelogin, unmodified.
func original(t *testing.T) string {
	t.Helper()
	abs, err := filepath.Abs(originalPath)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		tools.Missing(t, "Azure/kubelogin is not installed")
	}
	return abs
}

// ours builds this project's plugin.
func ours(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "kubelogin")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/kubelogin").CombinedOutput(); err != nil {
		t.Fatalf("building the plugin: %v\n%s", err, out)
	}
	return bin
}

// credential is what a plugin prints for kubectl.
type credential struct {
	Kind, APIVersion string
	Spec             struct{ Interactive bool }
	Status           struct {
		ExpirationTimestamp time.Time
		Token               string
	}
}

// plugin runs a plugin in a home of its own, and signs in where it prints a
// device code.
func plugin(t *testing.T, c *harness.Cloud, bin, home string, args ...string) credential {
	t.Helper()
	ca := filepath.Join(home, "ca.pem")
	if err := os.WriteFile(ca, harness.CertificatePEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, append([]string{"get-token", "--server-id", string(directory.AKSServer), "--authority-host", c.URL + "/", "--disable-instance-discovery"}, args...)...)
	cmd.Env = []string{"HOME=" + home, "XDG_CACHE_HOME=" + home, "SSL_CERT_FILE=" + ca, "PATH=/usr/bin:/bin", "KUBELOGIN_CACHE_KEY=file"}
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := ""
	code := regexp.MustCompile(`enter the code (\S+) to authenticate`)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		said += lines.Text() + "\n"
		if m := code.FindStringSubmatch(lines.Text()); m != nil {
			signInWithCode(c, m[1])
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	var got credential
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, stdout.Bytes())
	}
	return got
}

// TestOriginalKubelogin runs Azure/kubelogin, unmodified, in every mode in which
// it needs nothing but the provider, and this project's plugin beside it: both
// get a token for the same principal with the same claims.
func TestOriginalKubelogin(t *testing.T) {
	theirs, own := original(t), ours(t)
	c := harness.Start(t)
	cert, key := selfSigned(t)
	const issuer = "https://issuer.example"
	app, sp := c.AddApp("deploy", func(a *directory.Application) {
		a.Credentials.Passwords = []directory.Password{c.Secret("deploy-secret")}
		a.Credentials.Keys = []directory.KeyCredential{{KeyID: "k", Type: "AsymmetricX509Cert", Usage: "Verify", Key: cert.Raw, Start: cert.NotBefore, End: cert.NotAfter}}
		a.Credentials.Federated = []directory.FederatedCredential{{ID: "f", Name: "f", Issuer: issuer, Subject: "sub", Audiences: []string{"api://AzureADTokenExchange"}}}
	})
	c.Issuers.Keyed[issuer] = map[token.KeyID]token.PublicKey{"k1": {Key: &key.PublicKey}}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := write("deploy.pem", append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...))
	now := time.Now()
	assertion := write("token", []byte(sign(t, key, map[string]any{"alg": "RS256", "kid": "k1"}, map[string]any{
		"iss": issuer, "sub": "sub", "aud": "api://AzureADTokenExchange", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})))
	person := []string{"--client-id", string(directory.AKSClient), "-t", string(c.Tenant.ID)}
	service := []string{"--client-id", string(app.AppID), "-t", string(c.Tenant.ID)}
	pop := []string{"--pop-enabled", "--pop-claims", "u=/subscriptions/x"}
	for _, tc := range []struct {
		flow string
		args []string
		id   directory.ObjectID
		pop  bool
	}{
		{"user name and password", append([]string{"-l", "ropc", "--username", c.User.UserPrincipalName, "--password", harness.Password}, person...), c.User.ID, false},
		{"user name and password, proof of possession", slices.Concat([]string{"-l", "ropc", "--username", c.User.UserPrincipalName, "--password", harness.Password}, person, pop), c.User.ID, true},
		{"device code", append([]string{"-l", "devicecode"}, person...), c.User.ID, false},
		{"device code, legacy", append([]string{"-l", "devicecode", "--legacy"}, person...), c.User.ID, false},
		{"secret", append([]string{"-l", "spn", "--client-secret", "deploy-secret"}, service...), sp.ID, false},
		{"secret, legacy", append([]string{"-l", "spn", "--legacy", "--client-secret", "deploy-secret"}, service...), sp.ID, false},
		{"secret, proof of possession", slices.Concat([]string{"-l", "spn", "--client-secret", "deploy-secret"}, service, pop), sp.ID, true},
		{"certificate", append([]string{"-l", "spn", "--client-certificate", certificate}, service...), sp.ID, false},
		{"certificate, legacy", append([]string{"-l", "spn", "--legacy", "--client-certificate", certificate}, service...), sp.ID, false},
		{"certificate, proof of possession", slices.Concat([]string{"-l", "spn", "--client-certificate", certificate}, service, pop), sp.ID, true},
		{"federated token", append([]string{"-l", "workloadidentity", "--federated-token-file", assertion}, service...), sp.ID, false},
	} {
		t.Run(tc.flow, func(t *testing.T) {
			completes(t, originalKubelogin, tc.flow)
			claims := map[string]map[string]any{}
			for name, bin := range map[string]string{"original": theirs, "ours": own} {
				home := t.TempDir()
				got := plugin(t, c, bin, home, tc.args...)
				if got.Kind != "ExecCredential" || got.APIVersion != "client.authentication.k8s.io/v1beta1" || got.Spec.Interactive || time.Until(got.Status.ExpirationTimestamp) <= 0 {
					t.Errorf("%s: %+v", name, got)
				}
				access := got.Status.Token
				if tc.pop {
					shell := payload(t, access)
					access, _ = shell["at"].(string)
					if shell["u"] != "/subscriptions/x" || shell["ts"] == nil || shell["cnf"] == nil {
						t.Errorf("%s: the signed request holds %v", name, shell)
					}
				}
				claims[name] = payload(t, access)
				if !tc.pop { // one that is bound to a key is verified with its proof
					c.Verify(access, aks, "spn:"+aks)
				}
				if claims[name]["oid"] != string(tc.id) {
					t.Errorf("%s: a token for %v, want %s", name, claims[name]["oid"], tc.id)
				}
				for _, volatile := range []string{"iat", "nbf", "exp", "uti", "aio", "rh", "xms_tcdt", "cnf"} {
					delete(claims[name], volatile)
				}
			}
			if diff := cmp.Diff(claims["original"], claims["ours"]); diff != "" {
				t.Errorf("claims of the original's token (-) and ours (+):\n%s", diff)
			}
		})
	}
}

func payload(t *testing.T, jws string) map[string]any {
	t.Helper()
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWS", jws)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestConvertAsOriginal converts random kubeconfigs with the original and with
// this project's plugin, and compares what kubectl would run.
func TestConvertAsOriginal(t *testing.T) {
	completes(t, originalKubelogin, "convert-kubeconfig, 300 random conversions, same result")
	theirs, own := original(t), ours(t)
	r := rand.New(rand.NewPCG(7, 11))
	dir := t.TempDir()
	modes := []string{"devicecode", "interactive", "spn", "ropc", "msi", "azurecli", "azd", "workloadidentity", "azurepipelines"}
	for i := range 300 {
		source := randomKubeconfig(r)
		args := []string{"convert-kubeconfig", "-l", modes[r.IntN(len(modes))]}
		for _, flag := range [][]string{
			{"--client-id", "flag-client"}, {"--tenant-id", "flag-tenant"}, {"--environment", "AzureChinaCloud"}, {"--server-id", "flag-server"},
			{"--client-secret", "flag-secret"}, {"--username", "ann"}, {"--password", "pw"}, {"--identity-resource-id", "/id"}, {"--legacy"},
			{"--federated-token-file", "/token"}, {"--authority-host", "https://login.example/"}, {"--login-hint", "hint"}, {"--redirect-url", "http://localhost:1/"},
			{"--cache-dir", "/cache"}, {"--azure-pipelines-service-connection-id", "sc"}, {"--context", "c1"},
		} {
			if r.IntN(4) == 0 {
				args = append(args, flag...)
			}
		}
		if r.IntN(6) == 0 {
			args = append(args, "--pop-enabled", "--pop-claims", "u=/x")
		}
		results := map[string]string{}
		for name, bin := range map[string]string{"original": theirs, "ours": own} {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, source, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(bin, append(args, "--kubeconfig", file)...)
			cmd.Env = []string{"HOME=" + dir, "PATH=/usr/bin:/bin"}
			out, err := cmd.CombinedOutput()
			if err != nil {
				results[name] = "fails"
				if bytes.Count(source, []byte("- name: u")) == 1 { // of several, which one fails first is random in the original
					results[name] = string(out)
				}
				continue
			}
			results[name] = users(t, file)
		}
		if results["original"] != results["ours"] {
			t.Fatalf("conversion %d: %q of\n%s\n%s", i, args, source, cmp.Diff(results["original"], results["ours"]))
		}
	}
}

// randomKubeconfig has one to three users of the kinds that there are.
func randomKubeconfig(r *rand.Rand) []byte {
	var b strings.Builder
	n := 1 + r.IntN(3)
	b.WriteString("apiVersion: v1\nkind: Config\ncurrent-context: c0\nclusters:\n- name: k\n  cluster: {server: https://localhost}\ncontexts:\n")
	for i := range n {
		fmt.Fprintf(&b, "- name: c%d\n  context: {cluster: k, user: u%d}\n", i, i)
	}
	b.WriteString("users:\n")
	some := func(format string, args ...any) {
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, format, args...)
		}
	}
	for i := range n {
		fmt.Fprintf(&b, "- name: u%d\n  user:\n", i)
		switch r.IntN(4) {
		case 0:
			b.WriteString("    client-certificate: /crt\n    client-key: /key\n")
		case 1:
			b.WriteString("    auth-provider:\n      name: azure\n      config:\n        apiserver-id: provider-server\n        client-id: provider-client\n        tenant-id: provider-tenant\n")
			some("        environment: AzureUSGovernmentCloud\n")
			some("        config-mode: \"%d\"\n", r.IntN(2))
		default:
			b.WriteString("    exec:\n      apiVersion: client.authentication.k8s.io/v1beta1\n      command: kubelogin\n      args:\n      - get-token\n      - --server-id\n      - old-server\n      - --login\n      - devicecode\n")
			for _, flag := range [][]string{
				{"--client-id", "old-client"}, {"--tenant-id", "old-tenant"}, {"--environment", "AzurePublicCloud"}, {"--legacy"}, {"--pop-enabled", "--pop-claims", "u=/old"},
				{"--redirect-url", "http://localhost:2/"}, {"--cache-dir", "/old"}, {"--token-cache-dir", "/older"}, {"--client-secret", "old-secret"}, {"--login-hint", "old-hint"},
			} {
				if r.IntN(3) == 0 {
					fmt.Fprintf(&b, "      - %s\n", strings.Join(flag, "\n      - "))
				}
			}
		}
	}
	return []byte(b.String())
}

// users returns what a kubeconfig says of its users, in a form to compare: what
// this project's plugin keeps on purpose is left out.
func users(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Users []struct {
			Name string
			User map[string]any
		}
	}
	if err := yaml.Load(raw, &config); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	var b strings.Builder
	for _, u := range config.Users {
		if e, ok := u.User["exec"].(map[string]any); ok {
			for _, name := range []string{"env", "provideClusterInfo", "interactiveMode"} {
				delete(e, name)
			}
			args, _ := e["args"].([]any)
			if i := slices.Index(args, any("--authority-host")); i >= 0 && !slices.Contains(args, any("workloadidentity")) {
				e["args"] = slices.Delete(args, i, i+2)
			}
		}
		text, err := json.MarshalIndent(u.User, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s: %s\n", u.Name, text)
	}
	return b.String()
}
