package control_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// arm is the version of the managed clusters that this suite's own calls ask
// for.
const arm = "?api-version=2025-03-01"

// cluster is a managed cluster, changed over plain HTTP.
type cluster struct {
	t  *testing.T
	id string
}

// clusterBody is the document of a cluster with properties beside the usual
// ones.
func clusterBody(properties map[string]any) map[string]any {
	all := map[string]any{
		"dnsPrefix": "control", "agentPoolProfiles": []any{map[string]any{"name": "nodepool1", "mode": "System", "count": 1, "vmSize": "Standard_D2s_v3"}},
	}
	for name, v := range properties {
		all[name] = v
	}
	return map[string]any{"location": "centralus", "identity": map[string]any{"type": "SystemAssigned"}, "properties": all}
}

// newCluster makes a cluster in the sample's resource group and deletes it when
// the test ends.
func newCluster(t *testing.T, name string, properties map[string]any) *cluster {
	t.Helper()
	c := &cluster{t, "/subscriptions/" + cloud.status.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.ContainerService/managedClusters/" + name}
	c.put(properties)
	t.Cleanup(func() {
		if c.id != "" {
			c.delete()
		}
	})
	return c
}

// call calls Resource Manager about the cluster: path begins with a slash or is
// empty.
func (c *cluster) call(method, path string, body any) *answer {
	c.t.Helper()
	return call(c.t, armScope, method, "https://management.azure.com"+c.id+path+arm, body)
}

// follow waits for the operation that an answer has begun and returns how it
// ended.
func (c *cluster) follow(a *answer) (op operation) {
	c.t.Helper()
	at := a.header.Get("Azure-Asyncoperation")
	if a.code >= 300 || at == "" {
		c.t.Fatalf("HTTP %d, followed at %q\n%s", a.code, at, a.raw)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		op = operation{}
		decode(c.t, at, call(c.t, armScope, http.MethodGet, at, nil), &op)
		if op.Status != "InProgress" {
			return op
		}
		if time.Now().After(end) {
			c.t.Fatalf("the operation does not end: %+v", op)
		}
	}
}

// operation is what Resource Manager says of an operation.
type operation struct {
	Status     string
	Error      struct{ Code, Message string }
	Properties struct{ Outcome string }
}

// put creates or changes the cluster.
func (c *cluster) put(properties map[string]any) {
	c.t.Helper()
	if op := c.follow(c.call(http.MethodPut, "", clusterBody(properties))); op.Status != "Succeeded" {
		c.t.Fatalf("%v: %+v", properties, op)
	}
}

// post carries an action out.
func (c *cluster) post(action string) {
	c.t.Helper()
	if op := c.follow(c.call(http.MethodPost, "/"+action, nil)); op.Status != "Succeeded" {
		c.t.Fatalf("%s: %+v", action, op)
	}
}

// delete deletes the cluster.
func (c *cluster) delete() {
	c.t.Helper()
	if op := c.follow(c.call(http.MethodDelete, "", nil)); op.Status != "Succeeded" {
		c.t.Errorf("delete: %+v", op)
	}
	c.id = ""
}

// user returns the people's kubeconfig.
func (c *cluster) user() string { return c.credential("listClusterUserCredential") }

// admin returns the kubeconfig of the local administrator.
func (c *cluster) admin() string { return c.credential("listClusterAdminCredential") }

func (c *cluster) credential(action string) string {
	c.t.Helper()
	var answer struct{ Kubeconfigs []struct{ Value []byte } }
	decode(c.t, action, c.call(http.MethodPost, "/"+action, nil), &answer)
	return write(c.t, string(answer.Kubeconfigs[0].Value))
}

// process is a component of a cluster's control plane.
type process struct {
	pid  int
	args []string
}

// flag returns the value of a flag, or "" where it is not given.
func (p process) flag(name string) string {
	for _, a := range p.args {
		if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			return v
		}
	}
	return ""
}

// components returns the running processes of a kind, "kube-apiserver" and the
// like, of every cluster.
func components(kind string) (list []process, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !bytes.Contains(line, []byte(cloud.data)) {
			continue
		}
		args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		if slices.Contains(args, kind) {
			list = append(list, process{pid, args})
		}
	}
	return list, nil
}

// apiserver returns the API server's process: one cluster at a time runs in
// this suite.
func (c *cluster) apiserver() process {
	c.t.Helper()
	list, err := components("kube-apiserver")
	if err != nil || len(list) != 1 {
		c.t.Fatalf("%d API servers run: %+v %v", len(list), list, err)
	}
	return list[0]
}

// identity is who the API server says one is.
type identity struct {
	Username string
	Groups   []string
	Extra    map[string][]string
}

// whoami asks the API server.
func (c *cluster) whoami(kubeconfig string) identity {
	c.t.Helper()
	out, err := kubectl(kubeconfig, "auth", "whoami", "--output", "json")
	var review struct {
		Status struct{ UserInfo identity }
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &review)
	}
	if err != nil {
		c.t.Fatalf("whoami: %v\n%s", err, out)
	}
	return review.Status.UserInfo
}

// unauthorized holds that the API server knows nobody by these credentials:
// that it answers 401, and not that the request fails for some other reason.
func (c *cluster) unauthorized(what, kubeconfig string) {
	c.t.Helper()
	out, err := kubectl(kubeconfig, "--insecure-skip-tls-verify=true", "get", "--raw", "/api/v1/nodes")
	if err == nil || !strings.Contains(out, "Unauthorized") && !strings.Contains(out, "the server has asked for the client to provide credentials") {
		c.t.Errorf("%s: %v, want 401\n%s", what, err, out)
	}
}

// may asks the API server what the bearer of a kubeconfig may do, and reports
// whether the answer is what is wanted.
func may(kubeconfig string, want bool, question ...string) func() (string, bool) {
	return func() (string, bool) {
		out, err := kubectl(kubeconfig, append([]string{"auth", "can-i"}, question...)...)
		return out, (err == nil) == want && (strings.HasPrefix(out, "yes") == want)
	}
}
