package cli_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/cli"
)

// shell runs command lines in this process against a cloud.
type shell struct {
	*testing.T
	cloud *entrancetest.Cloud
}

// newShell starts a cloud in whose data directory nobody has signed in.
func newShell(t *testing.T) *shell {
	t.Helper()
	cloud := entrancetest.Start(t)
	t.Setenv("ENTRANCE_CONFIG_DIR", t.TempDir())
	t.Setenv("ENTRANCE_DATA_DIR", filepath.Dir(cloud.CAFile))
	t.Setenv("ENTRANCE_CLOUD", "")
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "config"))
	// A proxy in the environment is for other tools.
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	return &shell{t, cloud}
}

// run runs a command line and returns what it printed and its exit code.
func (s *shell) run(stdin string, args ...string) (out, errOut string, code int) {
	s.Helper()
	var o, e bytes.Buffer
	code = cli.Main(args, strings.NewReader(stdin), &o, &e)
	return o.String(), e.String(), code
}

// ok runs a command line that must work, and returns what it printed.
func (s *shell) ok(args ...string) string {
	s.Helper()
	out, errOut, code := s.run("", args...)
	if code != 0 {
		s.Fatalf("entrance %s: exit %d: %s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// word runs a command line that prints one word.
func (s *shell) word(query string, args ...string) string {
	s.Helper()
	return strings.TrimSuffix(s.ok(append(args, "--query", query, "-o", "tsv")...), "\n")
}

// want runs a command line and compares the word that it prints.
func (s *shell) want(want, query string, args ...string) {
	s.Helper()
	if got := s.word(query, args...); got != want {
		s.Errorf("entrance %s --query %q: %q, want %q", strings.Join(args, " "), query, got, want)
	}
}

// fails runs a command line that must end with an exit code and say something.
func (s *shell) fails(code int, say string, args ...string) {
	s.Helper()
	out, errOut, got := s.run("", args...)
	if got != code || !strings.Contains(errOut, say) || out != "" {
		s.Errorf("entrance %s: exit %d, want %d and %q\n%s%s", strings.Join(args, " "), got, code, say, out, errOut)
	}
	if strings.Count(strings.TrimSpace(errOut), "\n") > 1 {
		s.Errorf("entrance %s: more than two lines: %s", strings.Join(args, " "), errOut)
	}
}
