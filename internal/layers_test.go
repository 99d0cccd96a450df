package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/entrance-id/entrance/"

// layer says where each package stands and what it must never import. A
// package that is not listed fails the test, so that nobody forgets.
var layers = map[string]int{
	"internal/errs": 0, "internal/clock": 0, "internal/odata": 0, "internal/pop": 0, "internal/version": 0,

	"internal/directory": 1, "internal/conditionalaccess": 1, "internal/pim": 1,
	"internal/rbac": 1, "internal/token": 1, "internal/password": 1, "internal/pki": 1, "internal/workloadidentity": 3,

	"internal/store": 2, "internal/state": 2, "internal/keyring": 2, "internal/access": 2, "internal/audit": 2, "internal/policy": 2, "internal/privileged": 2, "internal/issuer": 2, "internal/connected": 2, "internal/diagnose": 2,

	"internal/oauth": 3, "internal/signin": 3, "internal/imds": 3, "internal/graph": 3,
	"internal/arm": 3, "internal/webhook": 3, "internal/cluster": 3, "internal/proxy": 3,

	"internal/server": 4,
}

// clientSide packages run on the user's machine, outside the layers.
var clientSide = map[string]bool{
	"internal/login": true, "internal/tokencache": true, "internal/kubeconfig": true, "internal/cli": true,
	"internal/tenantfile": true,
}

// impure are the packages that the lowest two layers must not import: they
// decide from facts and a time that come in as arguments.
var impure = []string{"net/http", "os", "go.etcd.io/", "database/sql"}

type pkg struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T, pattern string) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", pattern)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	return pkgs
}

// top returns the listed package that path is or lies under.
func top(path string) string {
	parts := strings.SplitN(strings.TrimPrefix(path, module), "/", 3)
	if len(parts) < 2 {
		return parts[0]
	}
	return parts[0] + "/" + parts[1]
}

func TestLayers(t *testing.T) {
	for _, p := range list(t, module+"internal/...") {
		self := top(p.ImportPath)
		if clientSide[self] || self == "internal" { // this package: nothing but tests
			continue
		}
		level, ok := layers[self]
		if !ok {
			t.Errorf("%s is in no layer: add it to the table", p.ImportPath)
			continue
		}
		testOnly := strings.HasSuffix(p.ImportPath, "test") || strings.HasSuffix(p.ImportPath, "/worlds")
		for _, imp := range p.Imports {
			if level <= 1 && !testOnly {
				for _, bad := range impure {
					if imp == bad || strings.HasSuffix(bad, "/") && strings.HasPrefix(imp, bad) {
						t.Errorf("%s (layer %d) imports %s", p.ImportPath, level, imp)
					}
				}
			}
			if !strings.HasPrefix(imp, module) || top(imp) == self {
				continue
			}
			other, ok := layers[top(imp)]
			switch {
			case !ok:
				t.Errorf("%s imports %s, which is outside the layers", p.ImportPath, imp)
			case other > level:
				t.Errorf("%s (layer %d) imports %s (layer %d)", p.ImportPath, level, imp, other)
			case other == level && level == 3:
				t.Errorf("%s imports %s: packages of layer 3 do not know one another", p.ImportPath, imp)
			}
		}
	}
}

// TestPluginStaysLight holds what the plugin may never reach: it starts with
// every kubectl command.
func TestPluginStaysLight(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", module+"cmd/kubelogin")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		for _, bad := range []string{"k8s.io/", "go.etcd.io/", module + "internal/store", module + "internal/state", module + "internal/server"} {
			if strings.HasPrefix(dep, bad) {
				t.Errorf("cmd/kubelogin reaches %s", dep)
			}
		}
	}
}
