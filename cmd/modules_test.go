// Package cmd_test holds what every binary is made of.
package cmd_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestModules holds the modules that each binary links, so that a new one shows
// in review. To accept a change, run the test with ENTRANCE_UPDATE=1 and have the
// difference reviewed.
func TestModules(t *testing.T) {
	for name, b := range map[string]struct {
		dir    string
		goos   []string
		unwell []string // modules, or the beginnings of their names, that must not be there
	}{
		// It starts with every kubectl command.
		"kubelogin": {"kubelogin", []string{"linux", "darwin", "windows"}, []string{
			"k8s.io/", "sigs.k8s.io/", "github.com/Azure/", "github.com/AzureAD/", "go.etcd.io/", "google.golang.org/", "github.com/hashicorp/",
		}},
		// Kubernetes itself stays in a binary of its own.
		"entrance":      {"entrance", []string{"linux"}, []string{"k8s.io/kubernetes/", "k8s.io/apiserver/"}},
		"entrance-kube": {"../kube", []string{"linux"}, []string{"github.com/Azure/", "github.com/AzureAD/"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, goos := range b.goos {
				cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
				cmd.Dir = b.dir
				cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("go list: %v\n%s", err, stderr.String())
				}
				got = append(got, strings.Fields(string(out))...)
			}
			slices.Sort(got)
			got = slices.Compact(got)
			text := strings.Join(got, "\n") + "\n"
			file := filepath.Join("testdata", name+".txt")
			if os.Getenv("ENTRANCE_UPDATE") != "" {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), text); d != "" {
				t.Errorf("the modules changed (-listed +linked):\n%s", d)
			}
			for _, m := range got {
				for _, u := range b.unwell {
					if strings.HasPrefix(m+"/", u) {
						t.Errorf("%s must not be linked", m)
					}
				}
			}
		})
	}
}
