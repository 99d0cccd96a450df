package clients

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/test/clients/harness"
	"github.com/entrance-id/entrance/test/tools"
)

// nodeFlows are the flows of node/suite.mjs.
var nodeFlows = []struct {
	name   string
	person bool
}{
	{"msal-node secret", false}, {"msal-node certificate", false}, {"msal-node assertion", false},
	{"msal-node device code", true}, {"msal-node authorization code", true},
	{"@azure/identity secret", false}, {"@azure/identity certificate", false}, {"@azure/identity assertion", false},
	{"@azure/identity device code", true}, {"@azure/identity password", true},
}

// nodeSuite installs the libraries once.
func nodeSuite(t *testing.T) string {
	t.Helper()
	tools.Need(t, "node")
	tools.Need(t, "npm")
	dir, err := filepath.Abs("node")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@azure", "identity")); err == nil {
		return dir
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-package-lock", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		tools.Missing(t, "the libraries cannot be installed here: %v\n%s", err, out)
	}
	return dir
}

func TestNode(t *testing.T) {
	dir := nodeSuite(t)
	c := harness.Start(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, harness.CertificatePEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := selfSigned(t)
	const issuer = "https://issuer.example"
	app, sp := c.AddApp("CI", func(a *directory.Application) {
		a.Credentials.Passwords = []directory.Password{c.Secret("ci-secret")}
		a.Credentials.Keys = []directory.KeyCredential{{KeyID: "k", Type: "AsymmetricX509Cert", Usage: "Verify", Key: cert.Raw, Start: cert.NotBefore, End: cert.NotAfter}}
		a.Credentials.Federated = []directory.FederatedCredential{{ID: "f", Name: "f", Issuer: issuer, Subject: "s", Audiences: []string{"api://AzureADTokenExchange"}}}
	})
	c.Issuers.Keyed[issuer] = map[token.KeyID]token.PublicKey{"k1": {Key: &key.PublicKey}}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	sum := sha256.Sum256(cert.Raw)
	now := time.Now()
	settings := mustJSON(t, map[string]any{
		"authority": c.URL + "/" + string(c.Tenant.ID), "host": c.URL, "tenant": c.Tenant.ID, "scope": aksScope, "other": "https://management.azure.com/.default",
		"public": directory.AKSClient, "username": "ann@contoso.example", "password": harness.Password,
		"daemon": map[string]any{
			"clientId": app.AppID, "secret": "ci-secret", "thumbprint": hex.EncodeToString(sum[:]), "key": keyPEM,
			"pem": keyPEM + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
			"federated": sign(t, key, map[string]any{"alg": "RS256", "kid": "k1"}, map[string]any{
				"iss": issuer, "sub": "s", "aud": "api://AzureADTokenExchange", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			}),
		},
	})
	for _, f := range nodeFlows {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			client, flow, _ := strings.Cut(f.name, " ")
			completes(t, map[string]string{"msal-node": msalNode, "@azure/identity": identityNode}[client], flow)
			claims := c.Verify(nodeRun(t, c, dir, ca, settings, f.name, person{code: func(code string) { signInWithCode(c, code) }}), aks)
			if want := map[bool]directory.ObjectID{true: c.User.ID, false: sp.ID}[f.person]; claims.Object != want {
				t.Errorf("token for %s, want %s", claims.Object, want)
			}
		})
	}
}

// person is who is asked while a flow runs.
type person struct {
	code     func(code string) // to enter a device code
	signedIn func()            // told that the first sign-in is over; the flow waits
}

// nodeRun runs one flow and plays the person.
func nodeRun(t *testing.T, c *harness.Cloud, dir, ca string, settings []byte, flow string, p person) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "suite.mjs", flow)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+ca, "ENTRANCE_SUITE="+string(settings))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var m struct {
			Code, Message, URL, Token, Error string
			SignedIn                         bool
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue // a library's own chatter
		}
		switch {
		case m.Error != "":
			t.Fatalf("%s\n%s", m.Error, stderr.String())
		case m.Code != "":
			if !strings.Contains(m.Message, c.URL+"/devicelogin") {
				t.Errorf("message: %s", m.Message)
			}
			p.code(m.Code)
		case m.SignedIn:
			p.signedIn()
			if _, err := in.Write([]byte("{}\n")); err != nil {
				t.Fatal(err)
			}
		case m.URL != "":
			b := c.Browser().Get(m.URL)
			v := b.SignIn("ann@contoso.example").Answer()
			if _, err := in.Write(append(mustJSON(t, map[string]string{"code": v.Get("code"), "client_info": v.Get("client_info")}), '\n')); err != nil {
				t.Fatal(err)
			}
		case m.Token != "":
			return m.Token
		}
	}
	t.Fatalf("no token: %s", stderr.String())
	return ""
}
