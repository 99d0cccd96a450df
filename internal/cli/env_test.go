package cli_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/cli"
)

func TestEnv(t *testing.T) {
	s := newShell(t)
	st := s.cloud.Status()
	bundle := filepath.Join(filepath.Dir(st.CAFile), "ca-bundle.crt")

	// A shell that evaluates the lines has the variables, and loses them again.
	for _, tt := range []struct {
		args     []string
		has, not []string
	}{
		{nil, []string{"HTTPS_PROXY=" + st.Endpoints.Proxy, "NO_PROXY=localhost,127.0.0.1,::1", "SSL_CERT_FILE=" + bundle, "REQUESTS_CA_BUNDLE=" + bundle}, []string{"AZURE_AUTHORITY_HOST"}},
		{[]string{"--custom-cloud"}, []string{"AZURE_AUTHORITY_HOST=" + st.Endpoints.Login + "/", "AZURE_CORE_INSTANCE_DISCOVERY=false", "NODE_EXTRA_CA_CERTS=" + bundle, "ENTRANCE_CLOUD_CONFIG=" + filepath.Join(filepath.Dir(bundle), "azure-cloud.json")}, []string{"HTTPS_PROXY", "http_proxy"}},
	} {
		script := s.ok(append([]string{"env"}, tt.args...)...) + "env\necho ==\n" + s.ok(append([]string{"env", "--unset"}, tt.args...)...) + "env\n"
		cmd := exec.Command("sh", "-c", script)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		set, cleared, _ := strings.Cut(string(out), "\n==\n")
		for _, v := range tt.has {
			name, _, _ := strings.Cut(v, "=")
			if !strings.Contains("\n"+set+"\n", "\n"+v+"\n") || strings.Contains("\n"+cleared, "\n"+name+"=") {
				t.Errorf("%v: %s is not set and unset:\n%s", tt.args, v, out)
			}
		}
		for _, name := range tt.not {
			if strings.Contains("\n"+set, "\n"+name+"=") {
				t.Errorf("%v: %s is set", tt.args, name)
			}
		}
	}
	for shell, want := range map[string]string{"fish": "set -gx SSL_CERT_FILE '" + bundle + "'", "powershell": "$env:SSL_CERT_FILE = '" + bundle + "'"} {
		if out := s.ok("env", "--shell", shell); !strings.Contains(out, want+"\n") {
			t.Errorf("%s: %s", shell, out)
		}
	}

	for authority, want := range map[string]string{"adfs": st.Endpoints.Login + "/adfs", "tenant": st.Endpoints.Login} {
		out := s.ok("env", "--custom-cloud", "--authority", authority)
		raw, err := os.ReadFile(filepath.Join(filepath.Dir(bundle), "azure-cloud.json"))
		if err != nil {
			t.Fatal(err)
		}
		var config struct{ Endpoints map[string]string }
		if err := json.Unmarshal(raw, &config); err != nil || config.Endpoints["activeDirectory"] != want || config.Endpoints["resourceManager"] != st.Endpoints.ARM+"/" || len(config.Endpoints) != 6 {
			t.Errorf("%s: %v %s", authority, err, raw)
		}
		if !strings.Contains(out, "\n# az cloud register -n Entrance --cloud-config @'") {
			t.Errorf("%s: %s", authority, out)
		}
	}
	s.fails(2, "--authority is adfs or tenant", "env", "--custom-cloud", "--authority", "common")
	s.fails(2, "--authority is for --custom-cloud", "env", "--authority", "tenant")
	s.fails(2, "--shell is sh, fish or powershell", "env", "--shell", "tcsh")
}

// TestQuote: a value is one word in every shell.
func TestQuote(t *testing.T) {
	const value = `it's $HOME; "x"`
	for shell, want := range map[string]string{"sh": `'it'\''s $HOME; "x"'`, "fish": `'it'\''s $HOME; "x"'`, "powershell": `'it''s $HOME; "x"'`} {
		if got := cli.Quote(shell, value); got != want {
			t.Errorf("%s: %s", shell, got)
		}
	}
	out, err := exec.Command("sh", "-c", "printf %s "+cli.Quote("sh", value)).Output()
	if err != nil || string(out) != value {
		t.Errorf("%v: %s", err, out)
	}
}
