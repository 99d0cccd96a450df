package control_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// nodeModules installs the libraries of node/package-lock.json once.
func nodeModules(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("node")
	if err != nil {
		t.Fatal(err)
	}
	// npm writes this file last.
	installed, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	lock, lerr := os.Stat(filepath.Join(dir, "package-lock.json"))
	if err == nil && lerr == nil && !installed.ModTime().Before(lock.ModTime()) {
		return dir
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts")
	cmd.Dir = dir
	cmd.Env = outside // the cloud's proxy refuses the registry
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the libraries cannot be installed: %v\n%s", err, out)
	}
	return dir
}

// TestNode does the work of the documents with Microsoft's clients for Node. The
// script asks the clients and looks at their answers; this test looks at the
// cluster after each step.
func TestNode(t *testing.T) {
	dir := nodeModules(t)
	ada := account(t, "ada")
	settings, err := json.Marshal(map[string]any{
		"subscription": cloud.status.SubscriptionID, "tenant": cloud.status.TenantID, "graph": cloud.status.Endpoints.Graph + "/",
		"ada": ada.ObjectID, "domain": strings.SplitN(ada.UserPrincipalName, "@", 2)[1],
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "suite.mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ENTRANCE_SUITE="+string(settings))
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
	t.Cleanup(func() { cmd.Process.Kill() })

	c := &cluster{t: t}
	var user, admin, asAda, asApp string
	pods := []string{"list", "pods", "--namespace", "default"}
	everything := []string{"*", "*", "--all-namespaces"}
	type message struct{ Step, Kubeconfig, Admin, Secret, ClientID string }
	steps := map[string]func(m *message){
		"created": func(m *message) {
			user, admin = write(t, m.Kubeconfig), write(t, m.Admin)
			asAda = bearer(t, user, person(t, "ada", aksScope))
			asApp = bearer(t, user, secretToken(t, m.ClientID, m.Secret, aksScope))
			if out, err := kubectl(asAda, "get", "nodes"); err != nil {
				t.Errorf("a member of the admin group: %v\n%s", err, out)
			}
			if who := c.whoami(admin); who.Username != "masterclient" {
				t.Errorf("the administrator is %+v", who)
			}
			if out, ok := may(asApp, false, pods...)(); !ok {
				t.Errorf("the application before it has a role: %s", out)
			}
		},
		"assigned":   func(*message) { eventually(t, "the role works", may(asApp, true, pods...)) },
		"unassigned": func(*message) { eventually(t, "the role works no more", may(asApp, false, pods...)) },
		"changed": func(m *message) {
			c.unauthorized("the old administrator's kubeconfig", admin)
			asAda = bearer(t, write(t, m.Kubeconfig), person(t, "ada", aksScope))
			if out, ok := may(asAda, true, everything...)(); !ok {
				t.Errorf("a member of a member of the new admin group: %s", out)
			}
		},
		"deleted": func(*message) { nothingLeft(t) },
	}
	var seen []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil || m.Step == "" {
			continue // a library's own chatter
		}
		check, ok := steps[m.Step]
		if !ok {
			t.Fatalf("an unknown step %q", m.Step)
		}
		check(&m)
		seen = append(seen, m.Step)
		if _, err := in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil || !slices.Equal(seen, []string{"created", "assigned", "unassigned", "changed", "deleted"}) {
		t.Fatalf("after %v: %v\n%s", seen, err, stderr.String())
	}
}
