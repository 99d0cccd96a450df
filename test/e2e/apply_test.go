package e2e_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
)

// TestApply applies the example file: it makes a real cluster and the access to
// it, changes it as the file changes, and exports as what changes nothing.
func TestApply(t *testing.T) {
	c := newCloud(t, 24710)
	c.up("--no-cluster")
	t.Setenv("ENTRANCE_CONFIG_DIR", t.TempDir())
	const password = "Turnip-Lantern-77"
	t.Setenv("WEI_PASSWORD", password)
	raw, err := os.ReadFile("../../examples/tenant/tenant.yaml")
	c.must(err)
	text := string(raw)
	apply := func(text, want string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "tenant.yaml")
		c.must(os.WriteFile(file, []byte(text), 0o600))
		if out, err := c.entrance("apply", "-f", file, "--yes", "--data-dir", c.data); err != nil || !strings.Contains(out, want) {
			t.Fatalf("apply: %v, want %q\n%s", err, want, out)
		}
	}
	apply(text, "18 to create, 0 to change")
	apply(text, "No changes: all 18 objects")

	user := filepath.Join(t.TempDir(), "kubeconfig")
	if out, err := c.entrance("aks", "get-credentials", "-g", "shop", "-n", "shop", "-f", user, "--data-dir", c.data); err != nil {
		t.Fatalf("get-credentials: %v\n%s", err, out)
	}
	admin := user + "-admin"
	if out, err := c.entrance("aks", "get-credentials", "-g", "shop", "-n", "shop", "-f", admin, "--admin", "--data-dir", c.data); err != nil {
		t.Fatalf("get-credentials: %v\n%s", err, out)
	}
	for _, namespace := range []string{"shop", "other"} {
		if out, err := c.kubectl(admin, nil, "create", "namespace", namespace); err != nil {
			t.Fatalf("namespace: %v\n%s", err, out)
		}
	}
	if out, err := c.kubectl(admin, nil, "get", "nodes", "-o", "name"); err != nil || strings.Count(out, "node/") != 2 {
		t.Errorf("nodes: %v\n%s", err, out)
	}
	token, err := c.token(url.Values{
		"grant_type": {"password"}, "client_id": {string(directory.AzureCLI)}, "username": {"wei@contoso.test"}, "password": {password}, "scope": {aksScope},
	})
	c.must(err)
	wei := c.bearer(user, token)
	raw, err = os.ReadFile(wei)
	c.must(err)
	c.must(os.WriteFile(wei, []byte(strings.ReplaceAll(string(raw), "clusterUser_sample_sample", "clusterUser_shop_shop")), 0o600))
	can := func(namespace string) bool {
		out, _ := c.kubectl(wei, nil, "auth", "can-i", "create", "deployments.apps", "-n", namespace)
		return strings.HasPrefix(out, "yes")
	}
	if !can("shop") || can("other") {
		t.Errorf("wei in shop %v, in other %v: the role is at the namespace shop", can("shop"), can("other"))
	}

	// The file takes wei out of the developers and the admin group out of the
	// cluster: both act on the running cluster.
	fewer := strings.NewReplacer("      - {user: wei}\n", "", "adminGroups: [shop-admins]", "adminGroups: [shop-admins, shop-developers]", "tags: {team: shop}", "tags: {team: web}").Replace(text)
	apply(fewer, "- members: user wei@contoso.test")
	for end := time.Now().Add(20 * time.Second); can("shop"); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("wei still has the role of a group that the file took him out of")
		}
	}
	apply(fewer, "No changes")

	exported, err := c.entrance("export", "--data-dir", c.data)
	c.must(err)
	if !strings.Contains(exported, "- shop-developers\n      azureRBAC: true") {
		t.Errorf("export:\n%s", exported)
	}
	apply(exported, "No changes")
}
