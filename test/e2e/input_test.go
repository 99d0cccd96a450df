package e2e_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadInput runs the command with what people really get wrong: each is one
// line that says what to do, and an exit code for scripts.
func TestBadInput(t *testing.T) {
	c := newCloud(t, 24400)
	c.up("--no-cluster")
	free := []string{"--no-cluster", "--port-base", "24430"}

	taken, err := net.Listen("tcp", "127.0.0.1:24433")
	c.must(err)
	defer taken.Close()

	file := filepath.Join(t.TempDir(), "file")
	c.must(os.WriteFile(file, nil, 0o600))

	fresh := func() string { return filepath.Join(t.TempDir(), "data") }
	future := fresh()
	c.must(os.MkdirAll(filepath.Join(future, "store"), 0o700))
	c.must(os.WriteFile(filepath.Join(future, "store", "store.format"), []byte("999\n"), 0o600))
	c.must(os.WriteFile(filepath.Join(future, "seal.key"), make([]byte, 32), 0o600))

	// The binary alone, where nothing is beside it.
	alone := filepath.Join(t.TempDir(), "entrance")
	raw, err := os.ReadFile(filepath.Join(c.bin, "entrance"))
	c.must(err)
	c.must(os.WriteFile(alone, raw, 0o700))

	for _, test := range []struct {
		name string
		bin  string
		args []string
		code int
		says string
	}{
		{"unknown flag", "", []string{"up", "--bogus"}, 2, "unknown flag: --bogus (see 'entrance up --help')"},
		{"unknown command", "", []string{"upp"}, 2, `has no command "upp" (see 'entrance --help'); is 'entrance up' meant?`},
		{"unknown sub-command", "", []string{"access", "explian"}, 2, "is 'entrance access explain' meant?"},
		{"stray argument", "", []string{"status", "now"}, 2, `unexpected argument "now"`},
		{"a port that is none", "", []string{"up", "--port-base", "70000"}, 2, "a number from 1 to"},
		{"a network that is none", "", []string{"up", "--issuer-networks", "localhost"}, 2, "is not a network"},
		{"a taken port", "", append([]string{"up", "--data-dir", fresh()}, free...), 1, "Port 24433 (sign-in, Graph and ARM) is taken by another program. Stop it, or choose other ports with --port-base"},
		{"a running instance's directory", "", append([]string{"up", "--data-dir", c.data}, free...), 1, "is owned by a running instance"},
		{"a file for a directory", "", append([]string{"up", "--data-dir", file}, free...), 1, "The data directory cannot be made"},
		{"a directory of another version", "", append([]string{"up", "--data-dir", future}, free...), 1, "start the version that wrote it"},
		{"no etcd there", "", append([]string{"up", "--data-dir", fresh(), "--etcd-endpoints", "http://127.0.0.1:1"}, free...), 1, "no etcd answers at http://127.0.0.1:1"},
		{"entrance-kube is missing", alone, []string{"up", "--data-dir", fresh(), "--port-base", "24420"}, 1, "run `make build`"},
		{"nothing runs there", "", []string{"down", "--data-dir", future}, 3, "Nothing is running in"},
		{"an unknown cluster", "", []string{"access", "who-can", "get", "pods", "--data-dir", c.data, "--cluster", "nowhere"}, 3, `There is no cluster "nowhere"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			bin := test.bin
			if bin == "" {
				bin = filepath.Join(c.bin, "entrance")
			}
			cmd := exec.Command(bin, test.args...)
			cmd.Env = append(os.Environ(), "PATH=/usr/bin:/bin")
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, "entrance: ") || !strings.Contains(last, test.says) {
				t.Errorf("it ends with\n%s\nwant one line with\n%s", last, test.says)
			}
		})
	}
}
