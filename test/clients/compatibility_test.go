package clients

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// compatibilityFile is what the tests of this package write down.
const compatibilityFile = "../../docs/compatibility.md"

// row is one flow that a client has completed.
type row struct{ client, version, flow, test string }

var rows struct {
	sync.Mutex
	list    []row
	skipped bool
}

// completes notes, when the test ends well, that a client completes a flow. The
// table in docs/compatibility.md is made of these notes and of nothing else.
func completes(t *testing.T, client, flow string) {
	t.Helper()
	t.Cleanup(func() {
		rows.Lock()
		defer rows.Unlock()
		if t.Skipped() {
			rows.skipped = true
		}
		if !t.Failed() && !t.Skipped() {
			rows.list = append(rows.list, row{client, versionOf(client), flow, t.Name()})
		}
	})
}

// The clients, as the table names them.
const (
	azidentityGo = "azidentity (Go)"
	msalGo       = "MSAL for Go"
	msalNode     = "@azure/msal-node"
	identityNode = "@azure/identity"
	azureCLI     = "Azure CLI (az)"
	chrome       = "Chromium"

	originalKubelogin = "Azure/kubelogin"
	goOIDC            = "go-oidc, golang.org/x/oauth2"
)

var modules = map[string]string{
	azidentityGo: "github.com/Azure/azure-sdk-for-go/sdk/azidentity",
	msalGo:       "github.com/AzureAD/microsoft-authentication-library-for-go",
	goOIDC:       "github.com/coreos/go-oidc/v3",
}

var versions sync.Map

// versionOf returns the version of a client that is used here.
func versionOf(client string) string {
	if v, ok := versions.Load(client); ok {
		return v.(string)
	}
	v := "unknown"
	run := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	switch client {
	case azidentityGo, msalGo, goOIDC:
		v = strings.TrimPrefix(run("go", "list", "-m", "-f", "{{.Version}}", modules[client]), "v")
	case msalNode, identityNode:
		var p struct{ Version string }
		if raw, err := os.ReadFile(filepath.Join("node", "node_modules", filepath.FromSlash(client), "package.json")); err == nil && json.Unmarshal(raw, &p) == nil {
			v = p.Version
		}
	case azureCLI:
		var p map[string]any
		if json.Unmarshal([]byte(run("az", "version", "--output", "json")), &p) == nil {
			v = fmt.Sprint(p["azure-cli"])
		}
	case originalKubelogin:
		if m := regexp.MustCompile(`git hash: v(\S+)`).FindStringSubmatch(run(originalPath, "--version")); m != nil {
			v = m[1]
		}
	case chrome:
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if f := strings.Fields(run(name, "--version")); len(f) > 1 {
				v = f[1]
				break
			}
		}
	}
	versions.Store(client, v)
	return v
}

const compatibilityHead = `# Compatibility

Unmodified clients that sign in to Entrance. This table is written by the tests in test/clients: a row is there because
the test in it passed, with the version that was installed. ` + "`ENTRANCE_UPDATE=1 go test ./test/clients`" + ` writes it anew,
and the tests fail when it is stale.

| client | version | flow | test |
|---|---|---|---|
`

func (r row) String() string {
	return fmt.Sprintf("| %s | %s | %s | %s |\n", r.client, r.version, r.flow, r.test)
}

// key is a row without the version: another machine has another browser.
func (r row) key() string { return r.client + "|" + r.flow + "|" + r.test }

// readTable returns the rows of a table by key.
func readTable(text string) map[string]row {
	found := map[string]row{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[1]) == "client" {
			continue
		}
		r := row{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3]), strings.TrimSpace(cells[4])}
		found[r.key()] = r
	}
	return found
}

// stale compares the table with what the tests have noted. Rows of tests that
// did not run are left alone unless all is true.
func stale(text string, noted []row, all bool) (problems []string) {
	table := readTable(text)
	seen := map[string]bool{}
	for _, r := range noted {
		seen[r.key()] = true
		have, ok := table[r.key()]
		switch {
		case !ok:
			problems = append(problems, "missing: "+strings.TrimSpace(r.String()))
		case modules[r.client] != "" && have.version != r.version:
			problems = append(problems, "another version: "+strings.TrimSpace(r.String()))
		}
	}
	if all {
		for key, r := range table {
			if !seen[key] {
				problems = append(problems, "no test says so: "+strings.TrimSpace(r.String()))
			}
		}
	}
	slices.Sort(problems)
	return problems
}

func TestStale(t *testing.T) {
	a := row{azidentityGo, "1.0.0", "secret", "TestA"}
	b := row{chrome, "100", "pages", "TestB"}
	text := compatibilityHead + a.String() + b.String()
	newer := a
	newer.version = "1.1.0"
	otherBrowser := b
	otherBrowser.version = "101"
	for name, tt := range map[string]struct {
		noted []row
		all   bool
		want  int
	}{
		"as it is":           {[]row{a, b}, true, 0},
		"a part":             {[]row{a}, false, 0},
		"a test is gone":     {[]row{a}, true, 1},
		"a new test":         {[]row{a, b, {chrome, "100", "more", "TestC"}}, true, 1},
		"a library is newer": {[]row{newer, b}, true, 1},
		"another browser":    {[]row{a, otherBrowser}, true, 0},
	} {
		if got := stale(text, tt.noted, tt.all); len(got) != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestMain runs the tests and then holds the table to what they have shown.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 {
		code = checkTable()
	}
	os.Exit(code)
}

func checkTable() int {
	rows.Lock()
	defer rows.Unlock()
	given := func(name string) bool {
		f := flag.Lookup("test." + name)
		return f != nil && f.Value.String() != f.DefValue
	}
	all := !rows.skipped && len(rows.list) > 0 && !given("run") && !given("skip") && !given("list") && !given("short")
	if os.Getenv("ENTRANCE_UPDATE") != "" && all {
		slices.SortFunc(rows.list, func(a, b row) int {
			return cmp.Or(cmp.Compare(a.client, b.client), cmp.Compare(a.test, b.test), cmp.Compare(a.flow, b.flow))
		})
		text := compatibilityHead
		for _, r := range rows.list {
			text += r.String()
		}
		if err := os.WriteFile(compatibilityFile, []byte(text), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	raw, err := os.ReadFile(compatibilityFile)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if problems := stale(string(raw), rows.list, all); len(problems) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: docs/compatibility.md is stale; write it anew with ENTRANCE_UPDATE=1 go test ./test/clients\n\t%s\n", strings.Join(problems, "\n\t"))
		return 1
	}
	return 0
}
