package e2e_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// pipeline is a build service outside of the cloud: an OpenID Connect issuer on
// a TLS server of its own, with the two ways in which GitHub Actions and Azure
// Pipelines hand a job its token.
type pipeline struct {
	*httptest.Server
	key *rsa.PrivateKey
}

const jobCredential = "the job's own"

func newPipeline(t *testing.T) *pipeline {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &pipeline{key: key}
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	job := func(r *http.Request) bool {
		scheme, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		return strings.EqualFold(scheme, "bearer") && credential == jobCredential
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "build", Algorithm: "RS256", Use: "sig"}}})
	})
	// What ACTIONS_ID_TOKEN_REQUEST_URL names.
	mux.HandleFunc("GET /github", func(w http.ResponseWriter, r *http.Request) {
		if !job(r) {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		answer(w, map[string]string{"value": p.token(t, "repo:contoso/shop:ref:refs/heads/main", r.FormValue("audience"))})
	})
	// What SYSTEM_OIDCREQUESTURI names.
	mux.HandleFunc("POST /pipelines", func(w http.ResponseWriter, r *http.Request) {
		if !job(r) || r.FormValue("api-version") == "" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		answer(w, map[string]string{"oidcToken": p.token(t, "sc://contoso/shop/"+r.FormValue("serviceConnectionId"), "api://AzureADTokenExchange")})
	})
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *pipeline) token(t *testing.T, subject, audience string) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: p.key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "build"))
	if err != nil {
		t.Error(err)
		return ""
	}
	now := time.Now()
	raw, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: p.URL, Subject: subject, Audience: jwt.Audience{audience},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(5 * time.Minute)),
	}).Serialize()
	if err != nil {
		t.Error(err)
	}
	return raw
}

// writePEM writes blocks into a file that only its owner can read.
func writePEM(t *testing.T, name string, blocks ...*pem.Block) string {
	t.Helper()
	var all []byte
	for _, b := range blocks {
		all = append(all, pem.EncodeToMemory(b)...)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestEveryMode signs in to a real cluster with the real kubectl, in every mode
// of the plugin that needs no person and no program of somebody else's, through
// users that convert-kubeconfig wrote. (A device code and the browser: see
// TestBrowser; az: the commands of the seeds; proof of possession: test/access.)
func TestEveryMode(t *testing.T) {
	build := newPipeline(t)
	c := newCloud(t, 24440)
	t.Setenv("SSL_CERT_FILE", writePEM(t, "build.pem", &pem.Block{Type: "CERTIFICATE", Bytes: build.Certificate().Raw}))
	c.up("--issuer-networks", "127.0.0.0/8")
	authority := c.status.Endpoints.Login + "/"
	trust := filepath.Join(t.TempDir(), "trust.pem")
	ca, err := os.ReadFile(c.status.CAFile)
	c.must(err)
	c.must(os.WriteFile(trust, append(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: build.Certificate().Raw})...), 0o600))

	// An application with a secret, a certificate and three trusted subjects.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	c.must(err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "deploy"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "deploy"}}, &key.PublicKey, key)
	c.must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	c.must(err)
	certificate := writePEM(t, "deploy.pem", &pem.Block{Type: "PRIVATE KEY", Bytes: private}, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	pfx := filepath.Join(t.TempDir(), "deploy.pfx")
	if out, err := exec.Command("openssl", "pkcs12", "-export", "-in", certificate, "-out", pfx, "-passout", "pass:open").CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}

	admin := c.application(graphScope)
	create := func(path string, body, out any) {
		t.Helper()
		status, raw, err := c.graph(admin, http.MethodPost, path, body)
		if err != nil || status >= 300 {
			t.Fatalf("%s: %d %v\n%s", path, status, err, raw)
		}
		if out != nil {
			c.must(json.Unmarshal(raw, out))
		}
	}
	var app struct{ ID, AppID string }
	create("/applications", map[string]any{"displayName": "deploy", "keyCredentials": []any{
		map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.StdEncoding.EncodeToString(der)},
	}}, &app)
	var principal struct{ ID string }
	create("/servicePrincipals", map[string]string{"appId": app.AppID}, &principal)
	var secret struct{ SecretText string }
	create("/applications/"+app.ID+"/addPassword", map[string]any{"passwordCredential": map[string]string{"displayName": "ci"}}, &secret)
	for i, subject := range []string{"repo:contoso/shop:ref:refs/heads/main", "sc://contoso/shop/connection", "machine"} {
		create("/applications/"+app.ID+"/federatedIdentityCredentials", map[string]any{
			"name": fmt.Sprint("trust", i), "issuer": build.URL, "subject": subject, "audiences": []string{"api://AzureADTokenExchange"},
		}, nil)
	}
	tokenFile := filepath.Join(t.TempDir(), "token")
	c.must(os.WriteFile(tokenFile, []byte(build.token(t, "machine", "api://AzureADTokenExchange")), 0o600))

	ada := c.account("ada")
	proxy, err := url.Parse(c.status.Endpoints.Proxy)
	c.must(err)
	kubeconfig := c.kubeconfig()
	who := []string{"--client-id", app.AppID, "--tenant-id", string(c.status.TenantID)}
	for _, tc := range []struct {
		name string
		args []string // of convert-kubeconfig
		env  []string // of kubectl
		user string   // who the API server says that it is; "" for anybody known
	}{
		{"ropc", []string{"-l", "ropc", "--username", ada.UserPrincipalName, "--password", ada.Password}, nil, ada.UserPrincipalName},
		{"ropc by environment", []string{"-l", "ropc"}, []string{"AZURE_USERNAME=" + ada.UserPrincipalName, "AZURE_PASSWORD=" + ada.Password}, ada.UserPrincipalName},
		{"spn with a secret", append([]string{"-l", "spn", "--client-secret", secret.SecretText}, who...), nil, principal.ID},
		{"spn, legacy", append([]string{"-l", "spn", "--legacy", "--client-secret", secret.SecretText}, who...), nil, principal.ID},
		{"spn with a PEM certificate", append([]string{"-l", "spn", "--client-certificate", certificate}, who...), nil, principal.ID},
		{"spn with a PFX certificate", append([]string{"-l", "spn", "--client-certificate", pfx, "--client-certificate-password", "open"}, who...), nil, principal.ID},
		{"spn by environment", []string{"-l", "spn", "--client-id", "another", "--tenant-id", string(c.status.TenantID)},
			[]string{"AZURE_CLIENT_ID=" + app.AppID, "AZURE_CLIENT_SECRET=" + secret.SecretText}, principal.ID},
		{"msi", []string{"-l", "msi"}, []string{"HTTP_PROXY=" + proxy.String()}, ""},
		{"workload identity with a file", append([]string{"-l", "workloadidentity", "--federated-token-file", tokenFile, "--authority-host", authority}, who...), nil, principal.ID},
		{"workload identity in GitHub Actions", append([]string{"-l", "workloadidentity", "--authority-host", authority}, who...),
			[]string{"ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + jobCredential, "ACTIONS_ID_TOKEN_REQUEST_URL=" + build.URL + "/github?x=1"}, principal.ID},
		{"azurepipelines", append([]string{"-l", "azurepipelines", "--azure-pipelines-service-connection-id", "connection"}, who...),
			[]string{"AZURESUBSCRIPTION_CLIENT_ID=" + app.AppID, "SYSTEM_ACCESSTOKEN=" + jobCredential, "SYSTEM_OIDCREQUESTURI=" + build.URL + "/pipelines"}, principal.ID},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw, err := os.ReadFile(kubeconfig)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "kubeconfig")
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			convert := exec.Command(filepath.Join(c.bin, "kubelogin"), append([]string{"convert-kubeconfig", "--kubeconfig", file}, tc.args...)...)
			convert.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.data}
			if out, err := convert.CombinedOutput(); err != nil {
				t.Fatalf("convert-kubeconfig: %v\n%s", err, out)
			}
			env := append([]string{"SSL_CERT_FILE=" + trust, "KUBECACHEDIR=" + filepath.Join(t.TempDir(), "cache")}, tc.env...)
			out, err := c.kubectl(file, env, "auth", "whoami", "-o", "json")
			if err != nil {
				t.Fatalf("kubectl: %v\n%s", err, out)
			}
			var review struct {
				Status struct{ UserInfo struct{ Username string } }
			}
			if err := json.Unmarshal([]byte(out), &review); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := review.Status.UserInfo.Username; got == "" || tc.user != "" && got != tc.user {
				t.Errorf("the API server says %q, want %q", got, tc.user)
			}
		})
	}
}
