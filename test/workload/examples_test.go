package workload_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/test/tools"
	"github.com/entrance-id/entrance/test/workload"
)

var update = flag.Bool("update", false, "write the table in docs/workload-identity.md anew")

// testName is the name of an example's test.
func testName(i int, e workload.Example) string { return fmt.Sprintf("%02d %s", i, e.Text) }

// TestDocument holds the table in docs/workload-identity.md to the examples.
func TestDocument(t *testing.T) {
	const (
		document = "../../docs/workload-identity.md"
		begin    = "<!-- examples: made by go test ./test/workload -run Document -update -->\n"
		end      = "<!-- end of examples -->\n"
	)
	var b strings.Builder
	b.WriteString("\n| page | example | outcome | test | why |\n|---|---|---|---|---|\n")
	for i, e := range workload.Examples {
		test := e.Test
		switch {
		case e.Run != "":
			test = "`TestExamples/" + strings.ReplaceAll(testName(i, e), " ", "_") + "`"
		case test == "":
			test = "none"
		}
		if (e.Outcome == workload.Outside) != (e.Run == "" && e.Test == "") {
			t.Errorf("%q: every example but those outside has a test", e.Text)
		}
		if e.Run != "" && len(e.Want) == 0 && e.Save == "" {
			t.Errorf("%q: nothing is asked of the output", e.Text)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", e.Page, e.Text, e.Outcome, test, e.Note)
	}
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the examples", document)
	}
	want := head + begin + b.String() + "\n" + end + tail
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(raw) != want {
		t.Errorf("%s is stale: run go test ./test/workload -run Document -update", document)
	}
}

// TestExamples runs the examples of the documentation in order, with the real az
// and kubectl.
func TestExamples(t *testing.T) {
	tools.Need(t, "az")
	cloud := entrancetest.Start(t)
	first := cloud.StartCluster(t, entrancetest.ClusterOptions{Name: "first", Workload: true})
	cloud.StartCluster(t, entrancetest.ClusterOptions{Name: "plain"})
	work := t.TempDir()
	vars := map[string]string{
		"SUBSCRIPTION": cloud.SubscriptionID, "AZURE_TENANT_ID": cloud.TenantID, "AUTHORITY": cloud.URL, "HEALTH": cloud.Status().Endpoints.Health, "DATA": filepath.Dir(cloud.CAFile),
		"RESOURCE_GROUP": "azwi-quickstart", "LOCATION": "westus2", "APPLICATION_NAME": "azwi-app", "USER_ASSIGNED_IDENTITY_NAME": "azwi-identity",
		"SERVICE_ACCOUNT_NAMESPACE": "default", "SERVICE_ACCOUNT_NAME": "workload-identity-sa",
	}
	run := func(line string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-c", line)
		cmd.Dir = work
		cmd.Env = append(cloud.Environ(), "PATH="+tools.Bin(t)+":"+os.Getenv("PATH"), "HOME="+work, "AZURE_CONFIG_DIR="+filepath.Join(work, "azure"), "KUBECONFIG="+first.AdminKubeconfig, "LANG=C.UTF-8")
		for k, v := range vars {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		return out.String(), err
	}
	if out, err := run("az login -o none -u " + cloud.Administrator.UserPrincipalName + " -p '" + cloud.Administrator.Password + "'"); err != nil {
		t.Fatalf("az login: %v\n%s", err, out)
	}
	for i, e := range workload.Examples {
		if e.Run == "" {
			continue
		}
		t.Run(testName(i, e), func(t *testing.T) {
			out, err := run(e.Run)
			if (err != nil) != e.Fails {
				t.Fatalf("%s\nended with %v\n%s", e.Run, err, out)
			}
			for _, want := range e.Want {
				want = os.Expand(want, func(name string) string { return vars[name] })
				if !strings.Contains("\n"+out, want) {
					t.Errorf("%s\nthe output has no %q:\n%s", e.Run, want, out)
				}
			}
			if e.Save != "" {
				fields := strings.Fields(out)
				if len(fields) == 0 {
					t.Fatalf("%s: nothing was printed to keep as %s", e.Run, e.Save)
				}
				vars[e.Save] = fields[len(fields)-1]
			}
		})
	}
}
