package clients

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/proxy"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/test/clients/harness"
	"github.com/entrance-id/entrance/test/tools"
)

// azWorld is a cloud that the real az is pointed at through the interception
// proxy, with its built-in settings of the public cloud.
type azWorld struct {
	*harness.Cloud
	proxy string
	ca    string

	mu      sync.Mutex
	callers map[directory.ObjectID]int // who has called Resource Manager, with a token that is valid
}

func newAzWorld(t *testing.T) *azWorld {
	tools.Need(t, "az")
	w := &azWorld{callers: map[directory.ObjectID]int{}}
	w.Cloud = harness.Start(t, harness.WithHandler(w.resourceManager))
	front := httptest.NewServer(&proxy.Proxy{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", w.Server.Listener.Addr().String())
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(front.Close)
	w.proxy = front.URL
	w.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(w.ca, harness.CertificatePEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// resourceManager answers the two lists that az asks for when it signs in. Only
// with a token that Resource Manager would take.
func (w *azWorld) resourceManager(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Host != "management.azure.com" {
			next.ServeHTTP(rw, r)
			return
		}
		v := &token.Verifier{Keys: w.Trust, Audiences: []string{"https://management.core.windows.net/", "https://management.azure.com/", "https://management.azure.com"}}
		claims, err := v.Verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), w.Clock.Now())
		if err != nil {
			http.Error(rw, `{"error":{"code":"InvalidAuthenticationToken","message":"refused"}}`, http.StatusUnauthorized)
			return
		}
		w.mu.Lock()
		w.callers[claims.Object]++
		w.mu.Unlock()
		rw.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/tenants":
			fmt.Fprintf(rw, `{"value":[{"id":"/tenants/%[1]s","tenantId":"%[1]s","displayName":"Contoso"}]}`, w.Tenant.ID)
		case "/subscriptions":
			io.WriteString(rw, `{"value":[]}`)
		default:
			http.NotFound(rw, r)
		}
	})
}

// shell is one user's az, with a configuration of its own.
type shell struct {
	w   *azWorld
	t   *testing.T
	env []string
}

func (w *azWorld) shell(t *testing.T) *shell {
	home := t.TempDir()
	env := slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(s), "=")
		return strings.HasPrefix(name, "AZURE_") || strings.HasSuffix(name, "_PROXY") || name == "HOME"
	})
	return &shell{w, t, append(env, "HOME="+home, "AZURE_CONFIG_DIR="+filepath.Join(home, "azure"), "AZURE_CORE_COLLECT_TELEMETRY=no", "AZURE_CORE_LOGIN_EXPERIENCE_V2=off",
		"HTTPS_PROXY="+w.proxy, "HTTP_PROXY="+w.proxy, "NO_PROXY=localhost,127.0.0.1", "REQUESTS_CA_BUNDLE="+w.ca)}
}

// run runs az. Each line that it writes to stderr is shown to watch.
func (s *shell) run(watch func(line string), args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "az", args...)
	cmd.Env = s.env
	var out, log strings.Builder
	cmd.Stdout = &out
	pipe, err := cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		log.WriteString(lines.Text() + "\n")
		if watch != nil {
			watch(lines.Text())
		}
	}
	if err := cmd.Wait(); err != nil {
		s.t.Fatalf("az %s: %v\n%s", args[0], err, log.String())
	}
	return out.String()
}

// is checks that az is signed in as somebody: it has called Resource Manager as
// them, and gets a token for the clusters.
func (s *shell) is(id directory.ObjectID) {
	s.t.Helper()
	s.w.mu.Lock()
	calls := s.w.callers[id]
	s.w.mu.Unlock()
	if calls == 0 {
		s.t.Errorf("Resource Manager was never called by %s", id)
	}
	var got struct {
		AccessToken string `json:"accessToken"`
	}
	if err := json.Unmarshal([]byte(s.run(nil, "account", "get-access-token", "--resource", aks, "--output", "json")), &got); err != nil {
		s.t.Fatal(err)
	}
	if claims := s.w.Verify(got.AccessToken, aks); claims.Object != id {
		s.t.Errorf("token for %s, want %s", claims.Object, id)
	}
}

var userCode = regexp.MustCompile(`enter the code ([A-Z0-9]{9})`)

func TestAz(t *testing.T) {
	w := newAzWorld(t)
	cert, key := selfSigned(t)
	const issuer = "https://issuer.example"
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ci.pem")
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	app, sp := w.AddApp("CI", func(a *directory.Application) {
		a.Credentials.Passwords = []directory.Password{w.Secret("ci-secret~with/odd+chars=")}
		a.Credentials.Keys = []directory.KeyCredential{{KeyID: "k", Type: "AsymmetricX509Cert", Usage: "Verify", Key: cert.Raw, Start: cert.NotBefore, End: cert.NotAfter}}
		a.Credentials.Federated = []directory.FederatedCredential{{ID: "f", Name: "f", Issuer: issuer, Subject: "s", Audiences: []string{"api://AzureADTokenExchange"}}}
	})
	w.Issuers.Keyed[issuer] = map[token.KeyID]token.PublicKey{"k1": {Key: &key.PublicKey}}
	now := time.Now()
	federated := sign(t, key, map[string]any{"alg": "RS256", "kid": "k1"}, map[string]any{
		"iss": issuer, "sub": "s", "aud": "api://AzureADTokenExchange", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	principal := []string{"login", "--service-principal", "--allow-no-subscriptions", "--tenant", string(w.Tenant.ID), "--username", string(app.AppID), "--output", "none"}
	for _, tt := range []struct {
		flow string
		args []string
		who  directory.ObjectID
	}{
		{"client secret", append(slices.Clone(principal), "--password", "ci-secret~with/odd+chars="), sp.ID},
		{"certificate", append(slices.Clone(principal), "--password", file), sp.ID},
		{"federated token", append(slices.Clone(principal), "--federated-token", federated), sp.ID},
		{"user name and password", []string{"login", "--allow-no-subscriptions", "--username", "ann@contoso.example", "--password", harness.Password, "--output", "none"}, w.User.ID},
		{"device code", []string{"login", "--use-device-code", "--allow-no-subscriptions", "--output", "none"}, w.User.ID},
	} {
		t.Run(tt.flow, func(t *testing.T) {
			completes(t, azureCLI, tt.flow)
			s := w.shell(t)
			s.run(func(line string) {
				if m := userCode.FindStringSubmatch(line); m != nil {
					if !strings.Contains(line, w.URL+"/devicelogin") {
						t.Errorf("message: %s", line)
					}
					signInWithCode(w.Cloud, m[1])
				}
			}, tt.args...)
			s.is(tt.who)
		})
	}
}
