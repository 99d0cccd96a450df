package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestConnectedTenant runs two clouds: one hosts a tenant and nothing else, the
// other has a cluster that belongs to that tenant. The tenant's people sign in
// to the cluster with the plugin; those of the cloud that runs it do not.
func TestConnectedTenant(t *testing.T) {
	home := newCloud(t, 24410)
	home.up("--no-cluster")
	// What a machine must trust to reach the tenant, as a public one is trusted.
	t.Setenv("SSL_CERT_FILE", home.status.CAFile)
	c := newCloud(t, 24420)
	c.up("--no-cluster", "--issuer-networks", "127.0.0.0/8,::1/128")

	tenant := string(home.status.TenantID)
	sp := home.people.ServicePrincipal
	secret := filepath.Join(t.TempDir(), "secret")
	c.must(os.WriteFile(secret, []byte(sp.ClientSecret+"\n"), 0o600))
	connect := []string{
		"tenant", "connect", tenant, "--data-dir", c.data, "--authority", home.status.Endpoints.Login,
		"--graph", home.status.Endpoints.Graph, "--client-id", string(sp.ClientID), "--client-secret-file", secret,
	}
	if out, err := c.entrance("tenant", "connect", string(c.status.TenantID), "--data-dir", c.data); err == nil || !strings.Contains(out, "hosted here") {
		t.Errorf("a hosted tenant can be connected: %v\n%s", err, out)
	}
	c.must(os.WriteFile(secret+"-wrong", []byte("wrong"), 0o600))
	if out, err := c.entrance(append(connect, "--client-secret-file", secret+"-wrong")...); err == nil || !strings.Contains(out, "7000215") {
		t.Errorf("a wrong secret is kept: %v\n%s", err, out)
	}
	if out, err := c.entrance(connect...); err != nil {
		t.Fatalf("connect: %v\n%s", err, out)
	}
	if out, err := c.entrance("tenant", "list", "--data-dir", c.data); err != nil || !strings.Contains(out, tenant) {
		t.Fatalf("list: %v\n%s", err, out)
	}

	_, raw, err := home.graph(home.application(graphScope), http.MethodGet, "/groups?$filter=displayName%20eq%20'aks-admins'", nil)
	c.must(err)
	var groups struct{ Value []struct{ ID string } }
	c.must(json.Unmarshal(raw, &groups))
	if len(groups.Value) != 1 {
		t.Fatalf("the tenant's groups: %s", raw)
	}
	id := "/subscriptions/" + c.status.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.ContainerService/managedClusters/sample"
	c.arm(http.MethodPut, id, map[string]any{
		"location": "centralus", "identity": map[string]any{"type": "SystemAssigned"},
		"properties": map[string]any{
			"dnsPrefix": "sample", "oidcIssuerProfile": map[string]any{"enabled": true},
			"agentPoolProfiles": []any{map[string]any{"name": "nodepool1", "mode": "System", "count": 1, "vmSize": "Standard_D2s_v3"}},
			"aadProfile":        map[string]any{"managed": true, "tenantID": tenant, "adminGroupObjectIDs": []string{groups.Value[0].ID}},
		},
	})
	var cluster struct {
		Properties struct {
			ProvisioningState string
			OIDCIssuerProfile struct{ IssuerURL string }
		}
	}
	for deadline := time.Now().Add(2 * time.Minute); cluster.Properties.ProvisioningState != "Succeeded"; time.Sleep(time.Second) {
		if time.Now().After(deadline) || cluster.Properties.ProvisioningState == "Failed" {
			t.Fatalf("the cluster: %+v", cluster)
		}
		c.must(json.Unmarshal(c.arm(http.MethodGet, id, nil), &cluster))
	}

	user, admin := c.kubeconfig(), c.kubeconfig("--admin")
	want := func(file, contains string, ok bool, args ...string) {
		t.Helper()
		out, err := c.kubectl(file, nil, args...)
		if (err == nil) != ok || !strings.Contains(out, contains) {
			t.Errorf("kubectl %v: %v, want ok=%v with %q:\n%s", args, err, ok, contains, out)
		}
	}
	ada, dev := c.bearer(user, home.person("ada", aksScope)), c.bearer(user, home.person("dev", aksScope))
	want(ada, "Ready", true, "get", "nodes") // through the tenant's group
	want(ada, "ada@contoso.test", true, "auth", "whoami")
	want(dev, `User "dev@contoso.test" cannot list`, false, "get", "nodes")
	want(c.bearer(user, c.person("ada", aksScope)), "Unauthorized", false, "get", "nodes")

	// A further issuer: the cluster's own, for tokens that are not for its API
	// server. Names come prefixed and hold no rights of their own.
	want(admin, "created", true, "create", "serviceaccount", "robot")
	out, err := c.kubectl(admin, nil, "create", "token", "robot", "--audience", "elsewhere")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	robot := c.bearer(user, strings.TrimSpace(out))
	want(robot, "Unauthorized", false, "auth", "whoami")
	trust := []string{"cluster", "trust-issuer", "sample", "--data-dir", c.data, "--issuer", cluster.Properties.OIDCIssuerProfile.IssuerURL, "--audience", "elsewhere", "--username-prefix"}
	if out, err := c.entrance(append(trust, "robots:")...); err == nil || !strings.Contains(out, "aks:jwt:") {
		t.Errorf("a prefix that is none: %v\n%s", err, out)
	}
	if out, err := c.entrance(append(trust, "aks:jwt:robots:")...); err != nil {
		t.Fatalf("trust-issuer: %v\n%s", err, out)
	}
	out, err = c.kubectl(admin, nil, "create", "token", "robot", "--audience", "elsewhere", "--duration", "11m")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	robot = c.bearer(user, strings.TrimSpace(out)) // the API server keeps a refusal for a while
	want(robot, "aks:jwt:robots:system:serviceaccount:default:robot", true, "auth", "whoami")
	want(robot, "cannot list", false, "get", "nodes")

	if out, err := c.entrance("tenant", "disconnect", tenant, "--data-dir", c.data); err != nil {
		t.Fatalf("disconnect: %v\n%s", err, out)
	}
	want(c.bearer(user, home.person("ada", aksScope)), "Unauthorized", false, "get", "nodes")
}

// arm calls Resource Manager as the sample's service principal and returns the
// body of what succeeded.
func (c *cloud) arm(method, path string, body any) []byte {
	c.t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		c.must(err)
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, c.status.Endpoints.ARM+path+"?api-version=2025-03-01", r)
	c.must(err)
	req.Header.Set("Authorization", "Bearer "+c.application("https://management.azure.com/.default"))
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	c.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	c.must(err)
	if res.StatusCode >= 300 {
		c.t.Fatalf("%s %s: %s\n%s", method, path, res.Status, raw)
	}
	return raw
}
