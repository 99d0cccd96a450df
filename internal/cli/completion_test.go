package cli_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// completions are what the shell would offer.
func (s *shell) completions(args ...string) (names []string) {
	s.Helper()
	out, errOut, code := s.run("", append([]string{"__complete"}, args...)...)
	if code != 0 {
		s.Fatalf("%d %s", code, errOut)
	}
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if name != "" && !strings.HasPrefix(name, ":") {
			names = append(names, name)
		}
	}
	return names
}

// TestCompletion holds that the shell is offered the names in the cloud, and
// nothing, without a word, when there is none to ask.
func TestCompletion(t *testing.T) {
	s := newShell(t)
	s.ok("group", "create", "-n", "web", "-l", "eastus")
	s.ok("identity", "create", "-g", "web", "-n", "app")
	s.cloud.AddGroup(t, "crew")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"web", []string{"group", "show", "--name", ""}},
		{"web", []string{"aks", "list", "-g", "w"}},
		{"app", []string{"identity", "show", "-g", "web", "--name", ""}},
		{"crew", []string{"ad", "group", "show", "--group", "cr"}},
		{"eastus", []string{"group", "create", "--location", "eastus"}},
		{"Reader", []string{"role", "assignment", "create", "--role", "Rea"}},
		{s.cloud.SubscriptionID, []string{"group", "list", "--subscription", ""}},
		{"tsv", []string{"group", "list", "-o", "t"}},
		{"false", []string{"ad", "user", "update", "--account-enabled=f"}},
		{"federated-credential", []string{"identity", "fed"}},
	} {
		if got := s.completions(c.args...); !slices.Contains(got, c.want) {
			t.Errorf("%q: %q, want %q among them", c.args, got, c.want)
		}
	}
	if got := s.completions("aks", "list", "-g", "x"); len(got) != 0 {
		t.Errorf("a name that nothing begins with: %q", got)
	}
	t.Setenv("ENTRANCE_DATA_DIR", filepath.Join(t.TempDir(), "none"))
	if got := s.completions("group", "show", "--name", ""); len(got) != 0 {
		t.Errorf("without a cloud: %q", got)
	}
}

// TestCloudByAddress signs in to a cloud that is known by the address of its
// Resource Manager alone.
func TestCloudByAddress(t *testing.T) {
	s := newShell(t)
	t.Setenv("HTTPS_PROXY", "")
	t.Setenv("ENTRANCE_DATA_DIR", "")
	t.Setenv("XDG_DATA_HOME", t.TempDir()) // nothing runs there
	s.fails(1, "certificate", "login", "--cloud", s.cloud.URL, "-u", "x", "-p", "y")
	s.fails(3, "'entrance up'", "login", "-u", "x", "-p", "y")
}
