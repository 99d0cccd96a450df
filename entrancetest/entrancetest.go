// Package entrancetest runs a whole cloud inside a Go test: an Entra-compatible
// identity provider, Microsoft Graph, Azure Resource Manager and, when asked
// for, a real Kubernetes control plane. Nothing leaves the machine.
//
//	cloud := entrancetest.Start(t)
//	ann := cloud.AddUser(t, "ann")
//	token := cloud.UserToken(t, ann, cloud.ARMScope())
//
// A cloud without a cluster is there in well under a second; StartCluster needs
// the binary entrance-kube, which `make build` makes.
package entrancetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/server"
)

// Cloud is a running cloud. It ends with the test that started it.
type Cloud struct {
	// URL is the address of sign-in, Graph and Resource Manager.
	URL string
	// TenantID and SubscriptionID are those of the sample.
	TenantID, SubscriptionID string
	// Domain is the tenant's domain: AddUser puts people into it.
	Domain string
	// CAFile holds the certificate of the cloud's authority.
	CAFile string
	// Client trusts the cloud's certificate and goes to it directly.
	Client *http.Client
	// Administrator is Global Administrator of the tenant and Owner of the
	// subscription.
	Administrator User

	server  *server.Server
	dir     string
	account server.ServicePrincipal
}

// User is a person of the tenant.
type User struct{ ID, UserPrincipalName, Password string }

// Group is a group of the tenant.
type Group struct{ ID, DisplayName string }

// App is an application with a service principal and a secret.
type App struct{ ClientID, ClientSecret, ObjectID, ServicePrincipalID string }

// Option changes how a cloud is started.
type Option func(*server.Config)

// WithClock gives the cloud a clock of the test's own, which may be moved: what
// ends after an hour can be seen to end.
func WithClock(now func() time.Time) Option {
	return func(c *server.Config) { c.Clock = clock.Func(now) }
}

// Start starts a cloud without a cluster.
func Start(t testing.TB, options ...Option) *Cloud {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := server.Config{
		DataDir: dir, Sample: true, Proxy: true, KubeBinary: kubeBinary(), UnsafeNoFsync: true,
		Logger: slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, o := range options {
		o(&config)
	}
	s, err := server.Start(t.Context(), config)
	if err != nil {
		t.Fatalf("entrancetest: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("entrancetest: %v", err)
		}
	})
	st := s.Status()
	c := &Cloud{
		URL: st.Endpoints.Login, TenantID: string(st.TenantID), SubscriptionID: st.SubscriptionID, CAFile: st.CAFile,
		server: s, dir: dir,
	}
	var people server.Credentials
	raw, err := os.ReadFile(st.CredentialsFile)
	if err == nil {
		err = json.Unmarshal(raw, &people)
	}
	if err != nil {
		t.Fatalf("entrancetest: %v", err)
	}
	a := people.Administrator
	c.Administrator = User{string(a.ObjectID), a.UserPrincipalName, a.Password}
	_, c.Domain, _ = strings.Cut(a.UserPrincipalName, "@")
	c.account = people.ServicePrincipal
	pem, err := os.ReadFile(st.CAFile)
	if err != nil {
		t.Fatalf("entrancetest: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	c.Client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	return c
}

// logWriter hands the cloud's warnings to the test's log while the test runs.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(b []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

// GraphScope is the scope of tokens for Microsoft Graph.
func (c *Cloud) GraphScope() string { return "https://graph.microsoft.com/.default" }

// ARMScope is the scope of tokens for Azure Resource Manager.
func (c *Cloud) ARMScope() string { return "https://management.azure.com/.default" }

// AKSScope is the scope of tokens for clusters.
func (c *Cloud) AKSScope() string { return string(directory.AKSServer) + "/.default" }

// Status is what `entrance status` would print.
func (c *Cloud) Status() server.Status { return c.server.Status() }

// Server is the cloud's server, for tests of Entrance itself.
func (c *Cloud) Server() *server.Server { return c.server }

// Environ returns the variables that point child processes (az, kubelogin, the
// Azure SDKs) at the cloud, as `entrance env` prints them.
func (c *Cloud) Environ() []string {
	st := c.server.Status()
	bundle := filepath.Join(filepath.Dir(st.CAFile), "ca-bundle.crt")
	return []string{
		"HTTPS_PROXY=" + st.Endpoints.Proxy, "HTTP_PROXY=" + st.Endpoints.Proxy, "https_proxy=" + st.Endpoints.Proxy, "http_proxy=" + st.Endpoints.Proxy,
		"NO_PROXY=localhost,127.0.0.1,::1", "no_proxy=localhost,127.0.0.1,::1",
		"SSL_CERT_FILE=" + bundle, "REQUESTS_CA_BUNDLE=" + bundle, "CURL_CA_BUNDLE=" + bundle, "NODE_EXTRA_CA_CERTS=" + bundle,
		"AZURE_CORE_COLLECT_TELEMETRY=no", "AZURE_CORE_LOGIN_EXPERIENCE_V2=off",
	}
}

// AddUser adds a user with a password to the tenant.
func (c *Cloud) AddUser(t testing.TB, name string) User {
	t.Helper()
	u := User{UserPrincipalName: name + "@" + c.Domain, Password: "Test-" + directory.NewGUID()}
	var made struct{ ID string }
	c.Graph(t, http.MethodPost, "/users", map[string]any{
		"userPrincipalName": u.UserPrincipalName, "displayName": name, "mailNickname": name, "accountEnabled": true,
		"passwordProfile": map[string]any{"password": u.Password, "forceChangePasswordNextSignIn": false},
	}, &made)
	u.ID = made.ID
	return u
}

// AddGroup adds a security group with members: ids of users, service
// principals or other groups.
func (c *Cloud) AddGroup(t testing.TB, name string, members ...string) Group {
	t.Helper()
	var made struct{ ID string }
	c.Graph(t, http.MethodPost, "/groups", map[string]any{
		"displayName": name, "mailNickname": nickname(name), "mailEnabled": false, "securityEnabled": true,
	}, &made)
	g := Group{made.ID, name}
	for _, m := range members {
		c.AddMember(t, g, m)
	}
	return g
}

// nickname makes a mail nickname of a display name: it may hold less.
func nickname(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, name)
}

// AddMember adds a user, service principal or group to a group.
func (c *Cloud) AddMember(t testing.TB, g Group, member string) {
	t.Helper()
	c.Graph(t, http.MethodPost, "/groups/"+g.ID+"/members/$ref", map[string]string{"@odata.id": c.URL + "/v1.0/directoryObjects/" + member}, nil)
}

// RemoveMember takes a direct member out of a group.
func (c *Cloud) RemoveMember(t testing.TB, g Group, member string) {
	t.Helper()
	c.Graph(t, http.MethodDelete, "/groups/"+g.ID+"/members/"+member+"/$ref", nil, nil)
}

// AddApp adds an application with its service principal and a secret.
func (c *Cloud) AddApp(t testing.TB, name string) App {
	t.Helper()
	var app, sp struct{ ID, AppID string }
	c.Graph(t, http.MethodPost, "/applications", map[string]any{"displayName": name}, &app)
	c.Graph(t, http.MethodPost, "/servicePrincipals", map[string]any{"appId": app.AppID}, &sp)
	var secret struct{ SecretText string }
	c.Graph(t, http.MethodPost, "/applications/"+app.ID+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "test"}}, &secret)
	return App{ClientID: app.AppID, ClientSecret: secret.SecretText, ObjectID: app.ID, ServicePrincipalID: sp.ID}
}

// UserToken signs a user in with the password grant, as Azure CLI, and returns
// an access token.
func (c *Cloud) UserToken(t testing.TB, u User, scope string) string {
	t.Helper()
	return c.token(t, url.Values{
		"grant_type": {"password"}, "client_id": {string(directory.AzureCLI)}, "username": {u.UserPrincipalName}, "password": {u.Password}, "scope": {scope},
	})
}

// AppToken signs an application in with its secret and returns an access token.
func (c *Cloud) AppToken(t testing.TB, a App, scope string) string {
	t.Helper()
	return c.token(t, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {a.ClientID}, "client_secret": {a.ClientSecret}, "scope": {scope},
	})
}

// AdminToken returns an access token of a service principal that may do
// everything.
func (c *Cloud) AdminToken(t testing.TB, scope string) string {
	t.Helper()
	return c.AppToken(t, App{ClientID: string(c.account.ClientID), ClientSecret: c.account.ClientSecret}, scope)
}

func (c *Cloud) token(t testing.TB, form url.Values) string {
	t.Helper()
	res, err := c.Client.PostForm(c.URL+"/"+c.TenantID+"/oauth2/v2.0/token", form)
	if err != nil {
		t.Fatalf("entrancetest: %v", err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatalf("entrancetest: %v", err)
	}
	if answer.Token == "" {
		t.Fatalf("entrancetest: sign-in: %s", answer.Error)
	}
	return answer.Token
}

// Graph calls Microsoft Graph as a service principal that may do everything,
// with a path such as /users, and decodes the answer into out unless it is nil.
// An error status ends the test.
func (c *Cloud) Graph(t testing.TB, method, path string, body, out any) {
	t.Helper()
	c.call(t, method, c.URL+"/v1.0"+path, c.AdminToken(t, c.GraphScope()), body, out)
}

// ARM calls Azure Resource Manager as a service principal that may do
// everything, with a path that has its api-version.
func (c *Cloud) ARM(t testing.TB, method, path string, body, out any) {
	t.Helper()
	c.call(t, method, c.URL+path, c.AdminToken(t, c.ARMScope()), body, out)
}

func (c *Cloud) call(t testing.TB, method, address, token string, body, out any) {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatalf("entrancetest: %v", err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, address, r)
	if err != nil {
		t.Fatalf("entrancetest: %v", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Client.Do(req)
	if err != nil {
		t.Fatalf("entrancetest: %v", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("entrancetest: %v", err)
	}
	if res.StatusCode >= 300 {
		t.Fatalf("entrancetest: %s %s: HTTP %d: %s", method, address, res.StatusCode, raw)
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			t.Fatalf("entrancetest: %s %s: %v", method, address, err)
		}
	}
}

// Cluster is a running Kubernetes cluster of a cloud.
type Cluster struct {
	ID, Name, ResourceGroup string
	// Server is the address of the API server.
	Server string
	// UserKubeconfig and AdminKubeconfig are files. The first signs in with
	// kubelogin; the second has every right.
	UserKubeconfig, AdminKubeconfig string

	cloud *Cloud
}

// ClusterOptions say what kind of cluster to make.
type ClusterOptions struct {
	Name        string   // default "test"
	AdminGroups []string // object ids of groups that may do everything
	AzureRBAC   bool
	Nodes       int // default 1
	// Workload enables the OIDC issuer and workload identity.
	Workload bool
	// Identity and KubeletIdentity are resource ids of user-assigned identities:
	// what the cluster and its nodes act as. Empty: the cluster has an identity of
	// its own, and one is made for its nodes. The second needs the first.
	Identity, KubeletIdentity string
	// Tags are set on the resource.
	Tags map[string]string
}

// StartCluster makes a real cluster through Azure Resource Manager and returns
// when it is ready. Without entrance-kube the test is skipped, but in CI it
// fails.
func (c *Cloud) StartCluster(t testing.TB, o ClusterOptions) *Cluster {
	t.Helper()
	if _, err := os.Stat(kubeBinary()); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("entrancetest: entrance-kube is missing: run make build: %v", err)
		}
		t.Skip("entrancetest: entrance-kube is missing: run make build")
	}
	if o.Name == "" {
		o.Name = "test"
	}
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.AdminGroups == nil {
		o.AdminGroups = []string{}
	}
	k := &Cluster{
		ID:   "/subscriptions/" + c.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.ContainerService/managedClusters/" + o.Name,
		Name: o.Name, ResourceGroup: "sample", cloud: c,
	}
	properties := map[string]any{
		"dnsPrefix": o.Name, "enableRBAC": true,
		"agentPoolProfiles": []map[string]any{{"name": "nodepool1", "count": o.Nodes, "vmSize": "Standard_DS2_v2", "mode": "System"}},
		"aadProfile":        map[string]any{"managed": true, "enableAzureRBAC": o.AzureRBAC, "adminGroupObjectIDs": o.AdminGroups},
		"oidcIssuerProfile": map[string]any{"enabled": o.Workload},
	}
	if o.Workload {
		properties["securityProfile"] = map[string]any{"workloadIdentity": map[string]any{"enabled": true}}
	}
	identity := map[string]any{"type": "SystemAssigned"}
	if o.Identity != "" {
		identity = map[string]any{"type": "UserAssigned", "userAssignedIdentities": map[string]any{o.Identity: map[string]any{}}}
	}
	if o.KubeletIdentity != "" {
		properties["identityProfile"] = map[string]any{"kubeletidentity": map[string]string{"resourceId": o.KubeletIdentity}}
	}
	c.ARM(t, http.MethodPut, k.ID+clusterVersion, map[string]any{
		"location": "centralus", "identity": identity, "tags": o.Tags, "properties": properties,
	}, nil)
	k.Wait(t)
	k.UserKubeconfig = k.credential(t, "listClusterUserCredential", "user.kubeconfig")
	k.AdminKubeconfig = k.credential(t, "listClusterAdminCredential", "admin.kubeconfig")
	for _, st := range c.server.Status().Clusters {
		if strings.EqualFold(st.ID, k.ID) {
			k.Server = st.Server
		}
	}
	return k
}

const clusterVersion = "?api-version=2025-03-01"

// Wait returns when no operation on the cluster is under way any more, and ends
// the test if it failed.
func (k *Cluster) Wait(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		var doc struct {
			Properties struct{ ProvisioningState string }
		}
		k.cloud.ARM(t, http.MethodGet, k.ID+clusterVersion, nil, &doc)
		switch doc.Properties.ProvisioningState {
		case "Succeeded":
			return
		case "Failed", "Canceled":
			t.Fatalf("entrancetest: the cluster %s: %s", k.Name, doc.Properties.ProvisioningState)
		}
		if time.Now().After(end) {
			t.Fatalf("entrancetest: the cluster %s is still %s", k.Name, doc.Properties.ProvisioningState)
		}
	}
}

func (k *Cluster) credential(t testing.TB, call, file string) string {
	t.Helper()
	var answer struct{ Kubeconfigs []struct{ Value []byte } }
	k.cloud.ARM(t, http.MethodPost, k.ID+"/"+call+clusterVersion, nil, &answer)
	if len(answer.Kubeconfigs) != 1 {
		t.Fatalf("entrancetest: %s: %d kubeconfigs", call, len(answer.Kubeconfigs))
	}
	name := filepath.Join(t.TempDir(), k.Name+"-"+file)
	if err := os.WriteFile(name, answer.Kubeconfigs[0].Value, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Kubectl runs the real kubectl as the bearer of a token, or as the cluster's
// local administrator where token is empty, and returns what it printed.
func (k *Cluster) Kubectl(t testing.TB, token string, args ...string) (string, error) {
	t.Helper()
	return k.KubectlContext(context.Background(), t, token, args...)
}

// KubectlContext is Kubectl, and ends kubectl when ctx ends: watches, exec and
// port-forward do not end by themselves.
func (k *Cluster) KubectlContext(ctx context.Context, t testing.TB, token string, args ...string) (string, error) {
	t.Helper()
	all := []string{"--kubeconfig", k.AdminKubeconfig}
	if token != "" {
		// A kubeconfig of its own: the administrator's certificate would win
		// over a token beside it.
		all = []string{"--kubeconfig", k.bearer(t, token)}
	}
	cmd := exec.CommandContext(ctx, kubectl(), append(all, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+k.cloud.dir)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (k *Cluster) bearer(t testing.TB, token string) string {
	t.Helper()
	raw, err := os.ReadFile(k.UserKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(raw), "\nusers:\n")
	if !ok {
		t.Fatal("entrancetest: the kubeconfig has no users")
	}
	name := filepath.Join(t.TempDir(), "bearer.kubeconfig")
	content := fmt.Sprintf("%s\nusers:\n- name: clusterUser_%s_%s\n  user:\n    token: %s\n", head, k.ResourceGroup, k.Name, token)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// binDir is where the project's binaries are: $ENTRANCE_BIN, or bin in the root
// of the module that the test runs in.
func binDir() string {
	if d := os.Getenv("ENTRANCE_BIN"); d != "" {
		return d
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/entrance-id/entrance").Output()
	if err != nil {
		return "bin"
	}
	return filepath.Join(strings.TrimSpace(string(out)), "bin")
}

func find(name string) string {
	beside := filepath.Join(binDir(), name)
	if _, err := os.Stat(beside); err == nil {
		return beside
	}
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	return beside
}

func kubeBinary() string { return find("entrance-kube") }

func kubectl() string { return find("kubectl") }
