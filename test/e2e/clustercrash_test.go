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

const armScope = "https://management.azure.com/.default"

// begin starts a long-running operation and returns the address at which it is
// followed.
func (c *cloud) begin(method, path string, body any) string {
	c.t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		c.must(err)
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, c.status.Endpoints.ARM+path+"?api-version=2025-03-01", r)
	c.must(err)
	req.Header.Set("Authorization", "Bearer "+c.application(armScope))
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	c.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	c.must(err)
	at := res.Header.Get("Azure-Asyncoperation")
	if res.StatusCode >= 300 || at == "" {
		c.t.Fatalf("%s %s: %s, followed at %q\n%s", method, path, res.Status, at, raw)
	}
	return at
}

// read reads from Resource Manager and returns the status too.
func (c *cloud) read(address string, out any) int {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodGet, address, nil)
	c.must(err)
	req.Header.Set("Authorization", "Bearer "+c.application(armScope))
	res, err := c.http.Do(req)
	c.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	c.must(err)
	if err := json.Unmarshal(raw, out); err != nil {
		c.t.Fatalf("%s: %v\n%s", address, err, raw)
	}
	return res.StatusCode
}

// operation is what Resource Manager says of an operation.
type operation struct {
	Status     string
	Error      struct{ Code, Message string }
	Properties struct{ Outcome string }
}

// end follows an operation to its end.
func (c *cloud) end(at string) (op operation) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		op = operation{}
		if code := c.read(at, &op); code != http.StatusOK {
			c.t.Fatalf("the operation: HTTP %d %+v", code, op)
		}
		if op.Status != "InProgress" {
			return op
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the operation does not end: %+v", op)
		}
	}
}

// finished holds that an operation that was interrupted has been finished and
// says so. One that had not been begun, or had ended, when the process died
// has nothing to say; early tells whether that may be.
func (c *cloud) finished(at string, early bool) {
	c.t.Helper()
	op := c.end(at)
	if op.Status != "Succeeded" || op.Properties.Outcome != "Finished after an interruption." && !(early && op.Properties.Outcome == "") {
		c.t.Errorf("after the restart the operation is %+v", op)
	}
	c.t.Logf("%s, %q", op.Status, op.Properties.Outcome)
}

// credentials writes a kubeconfig of a cluster to a file.
func (c *cloud) credentials(id, call string) string {
	c.t.Helper()
	var answer struct{ Kubeconfigs []struct{ Value []byte } }
	c.must(json.Unmarshal(c.arm(http.MethodPost, id+"/"+call, nil), &answer))
	file := filepath.Join(c.t.TempDir(), call)
	c.must(os.WriteFile(file, answer.Kubeconfigs[0].Value, 0o600))
	return file
}

// apiserver returns the command line of the one API server that runs.
func (c *cloud) apiserver() string {
	c.t.Helper()
	var found []string
	for _, line := range c.processes() {
		if strings.Contains(line, "entrance-kube kube-apiserver ") {
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		c.t.Fatalf("%d API servers run: %q", len(found), found)
	}
	return found[0]
}

// TestKillDuringClusterWork kills Entrance at several moments while a cluster
// is made, changed, given new certificates and deleted. After the restart each
// operation is finished and says so, the cluster is what was asked for, and
// nothing of a deleted one is left (abuse case 40).
func TestKillDuringClusterWork(t *testing.T) {
	c := newCloud(t, 24480)
	c.up("--no-cluster")
	id := func(name string) string {
		return "/subscriptions/" + c.status.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.ContainerService/managedClusters/" + name
	}
	body := func(properties map[string]any) map[string]any {
		all := map[string]any{
			"dnsPrefix": "crash", "agentPoolProfiles": []any{map[string]any{"name": "nodepool1", "mode": "System", "count": 1, "vmSize": "Standard_D2s_v3"}},
			"aadProfile": map[string]any{"managed": true, "adminGroupObjectIDs": []string{}},
		}
		for name, v := range properties {
			all[name] = v
		}
		return map[string]any{"location": "centralus", "identity": map[string]any{"type": "SystemAssigned"}, "properties": all}
	}
	type resource struct {
		Properties struct {
			ProvisioningState    string
			DisableLocalAccounts bool
			AADProfile           struct{ EnableAzureRBAC bool }
		}
	}
	// again kills the process after a time and starts it again.
	again := func(after time.Duration) {
		t.Helper()
		time.Sleep(after)
		c.kill()
		c.nothingLeft()
		c.up("--no-cluster")
	}
	succeeded := func(name string) (doc resource) {
		t.Helper()
		if code := c.read(c.status.Endpoints.ARM+id(name)+"?api-version=2025-03-01", &doc); code != http.StatusOK || doc.Properties.ProvisioningState != "Succeeded" {
			t.Errorf("%s: HTTP %d %+v", name, code, doc)
		}
		return doc
	}
	nodes := func(kubeconfig string) {
		t.Helper()
		out, err := c.kubectl(kubeconfig, nil, "get", "nodes")
		for end := time.Now().Add(10 * time.Second); (err != nil || !strings.Contains(out, " Ready ")) && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			out, err = c.kubectl(kubeconfig, nil, "get", "nodes")
		}
		if err != nil || strings.Count(out, " Ready ") != 1 {
			t.Errorf("nodes: %v\n%s", err, out)
		}
	}
	gone := func(name string) {
		t.Helper()
		var refusal struct{ Error struct{ Code string } }
		if code := c.read(c.status.Endpoints.ARM+id(name)+"?api-version=2025-03-01", &refusal); code != http.StatusNotFound || refusal.Error.Code != "ResourceNotFound" {
			t.Errorf("the deleted cluster: HTTP %d %+v", code, refusal)
		}
		if left, err := filepath.Glob(filepath.Join(c.data, "clusters", "clusters", "*")); err != nil || len(left) > 0 {
			t.Errorf("files are left: %v %v", left, err)
		}
		for _, line := range c.processes() {
			if strings.Contains(line, "entrance-kube kube-") {
				t.Errorf("still running: %s", line)
			}
		}
		// Its identities went with it: the sample has one, of this machine.
		_, raw, err := c.graph(c.application(graphScope), http.MethodGet, "/servicePrincipals?$filter=servicePrincipalType%20eq%20'ManagedIdentity'&$select=displayName", nil)
		if n := bytes.Count(raw, []byte(`"displayName"`)); err != nil || n != 1 {
			t.Errorf("%d managed identities are left, want 1: %v\n%s", n, err, raw)
		}
	}

	// A create takes some four seconds: before the work has begun, while the
	// certificates are made, while the API server starts, near the end.
	for _, after := range []time.Duration{0, 300 * time.Millisecond, 1500 * time.Millisecond, 2500 * time.Millisecond} {
		at := c.begin(http.MethodPut, id("crash"), body(nil))
		again(after)
		c.finished(at, after == 0 || after > 2*time.Second)
		succeeded("crash")
		nodes(c.credentials(id("crash"), "listClusterAdminCredential"))
		c.apiserver()
		if after == 2500*time.Millisecond {
			break // the changes are made to this one
		}
		// A delete, at another moment each time.
		at = c.begin(http.MethodDelete, id("crash"), nil)
		again(after / 3)
		c.finished(at, true)
		gone("crash")
	}

	admin := c.credentials(id("crash"), "listClusterAdminCredential")
	if out, err := c.kubectl(admin, nil, "create", "configmap", "kept", "--from-literal=a=b"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// A change that restarts the API server: the OIDC issuer and workload
	// identity come on, and Azure RBAC goes on and off.
	for i, after := range []time.Duration{0, 400 * time.Millisecond, 1200 * time.Millisecond} {
		azure := i%2 == 0
		change := map[string]any{
			"aadProfile":        map[string]any{"managed": true, "enableAzureRBAC": azure, "adminGroupObjectIDs": []string{}},
			"oidcIssuerProfile": map[string]any{"enabled": true},
			"securityProfile":   map[string]any{"workloadIdentity": map[string]any{"enabled": azure}},
		}
		at := c.begin(http.MethodPut, id("crash"), body(change))
		again(after)
		c.finished(at, true)
		if doc := succeeded("crash"); doc.Properties.AADProfile.EnableAzureRBAC != azure {
			t.Errorf("the change is lost: %+v", doc)
		}
		if flags := c.apiserver(); strings.Contains(flags, "--admission-control-config-file=") != azure {
			t.Errorf("workload identity asked for: %v, but the API server runs with %s", azure, flags)
		}
		nodes(admin)
	}

	// New certificates, twice: whatever the moment, the former administrator
	// is nobody and the present one is let in.
	for _, after := range []time.Duration{50 * time.Millisecond, 900 * time.Millisecond} {
		old := c.credentials(id("crash"), "listClusterAdminCredential")
		at := c.begin(http.MethodPost, id("crash")+"/rotateClusterCertificates", nil)
		again(after)
		c.finished(at, true)
		succeeded("crash")
		if out, err := c.kubectl(old, nil, "--insecure-skip-tls-verify=true", "get", "nodes"); err == nil {
			t.Errorf("the former administrator is let in:\n%s", out)
		}
		admin = c.credentials(id("crash"), "listClusterAdminCredential")
		nodes(admin)
	}
	if out, err := c.kubectl(admin, nil, "get", "configmap", "kept"); err != nil {
		t.Errorf("what the cluster held: %v\n%s", err, out)
	}

	at := c.begin(http.MethodDelete, id("crash"), nil)
	again(200 * time.Millisecond)
	c.finished(at, true)
	gone("crash")
}
