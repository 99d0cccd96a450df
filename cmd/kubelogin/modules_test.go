package main

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestModules holds the plugin's dependencies: it starts with every kubectl
// command, so each one must be wanted. To accept a change, run the test with
// UPDATE=1 and have the difference reviewed.
func TestModules(t *testing.T) {
	const file = "testdata/modules.txt"
	seen := map[string]bool{}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
		cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v\n%s", err, stderr.String())
		}
		for _, m := range strings.Fields(string(out)) {
			seen[m] = true
		}
	}
	var got []string
	for m := range seen {
		got = append(got, m)
	}
	slices.Sort(got)
	text := strings.Join(got, "\n") + "\n"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), text); d != "" {
		t.Errorf("the plugin's modules changed (-listed +linked):\n%s", d)
	}
	for _, heavy := range []string{"k8s.io/", "sigs.k8s.io/", "github.com/Azure/", "github.com/AzureAD/", "go.etcd.io/", "google.golang.org/", "github.com/hashicorp/"} {
		for _, m := range got {
			if strings.HasPrefix(m+"/", heavy) {
				t.Errorf("%s is too heavy for a program that starts with every kubectl command", m)
			}
		}
	}
}
