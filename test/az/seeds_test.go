package az

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/test/tools"
)

var update = flag.Bool("update", false, "write docs/seeds.md anew")

const document = "../../docs/seeds.md"

// TestDocument holds docs/seeds.md to the rows.
func TestDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The five documents, command by command\n\nMade from test/az/rows.go by `go test ./test/az -run Document -update`; the suite `TestSeeds` runs the rows in\norder with the real az, kubectl and kubelogin against a cloud with real clusters.\n")
	for n, title := range Titles {
		fmt.Fprintf(&b, "\n## %d. %s\n\n| command | outcome | test | corrected form, and why |\n|---|---|---|---|\n", n+1, title)
		for i, r := range Rows {
			if r.Doc != n+1 {
				continue
			}
			why := r.Note
			if r.Outcome == Corrected {
				why = join("`"+r.Run+"`", why)
			}
			test := r.Test
			switch {
			case r.Run != "":
				test = "`TestSeeds/" + strings.ReplaceAll(r.name(i), " ", "_") + "`"
			case test == "":
				test = "none"
			}
			cell := func(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", cell(r.Seed), r.Outcome, test, cell(why))
		}
	}
	want := b.String()
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil || string(got) != want {
		t.Errorf("docs/seeds.md is stale (%v): run go test ./test/az -run Document -update", err)
	}
	names := map[string]bool{}
	for i, r := range Rows {
		if r.Run != "" {
			names[strings.ReplaceAll(r.name(i), " ", "_")] = true
		}
	}
	for _, r := range Rows {
		if name, ok := strings.CutPrefix(strings.Trim(r.Test, "`"), "TestSeeds/"); ok && !names[name] {
			t.Errorf("%q: no row is tested by %s", r.Seed, name)
		}
		if r.Outcome != Outside && (r.Run == "") == (r.Test == "") {
			t.Errorf("%q: exactly one of Run and Test", r.Seed)
		}
		if r.Run != "" && !r.Fails && len(r.Want) == 0 && r.Save == "" && !strings.Contains(r.Seed, "admin-consent") && !strings.Contains(r.Seed, "remove-tokens") {
			t.Errorf("%q: nothing is asked of the output", r.Seed)
		}
	}
}

// name is the name of the row's test.
func (r Row) name(i int) string { return fmt.Sprintf("%03d doc %d", i, r.Doc) }

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}

// shell runs the rows' lines.
type shell struct {
	t    *testing.T
	vars map[string]string
	env  []string
}

func (s *shell) run(line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", line)
	cmd.Env = s.env
	for k, v := range s.vars {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// up starts a cloud without a cluster, and stops it when the test ends.
func up(t *testing.T, entrance, data string, flags ...string) (*server.Status, server.Credentials) {
	t.Helper()
	if out, err := exec.Command(entrance, append([]string{"up", "--detach", "--no-cluster", "--data-dir", data}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("up: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(entrance, "down", "--data-dir", data).CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	status, err := server.ReadStatus(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(status.CredentialsFile)
	if err != nil {
		t.Fatal(err)
	}
	var people server.Credentials
	if err := json.Unmarshal(raw, &people); err != nil {
		t.Fatal(err)
	}
	return status, people
}

// TestSeeds runs every command of the documents in order.
func TestSeeds(t *testing.T) {
	tools.Need(t, "az")
	bin := tools.Bin(t)
	work := t.TempDir()
	data, entrance := filepath.Join(work, "data"), filepath.Join(bin, "entrance")
	status, people := up(t, entrance, data, "--legacy-integration", "--port-base", "24500")
	mend := filepath.Join(work, "mend")
	for _, dir := range []string{mend, filepath.Join(work, "azure"), filepath.Join(work, "home")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(mend, "sitecustomize.py"), []byte(MendRole), 0o600); err != nil {
		t.Fatal(err)
	}
	env, err := exec.Command(entrance, "env", "--data-dir", data).Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, vars: map[string]string{
		"TENANT": string(status.TenantID), "SUB": status.SubscriptionID, "WORK": work, "aksname": "myakscluster",
		"ME": string(people.Administrator.ObjectID), "PASSWORD": people.Administrator.Password,
		"SP": string(people.ServicePrincipal.ClientID), "SP_SECRET": people.ServicePrincipal.ClientSecret, "SP_OBJECT": string(people.ServicePrincipal.ObjectID),
	}}
	for _, a := range people.Users {
		name, _, _ := strings.Cut(a.UserPrincipalName, "@")
		name = strings.ToUpper(name)
		s.vars[name], s.vars[name+"_UPN"], s.vars[name+"_PASSWORD"] = string(a.ObjectID), a.UserPrincipalName, a.Password
	}
	s.env = []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + filepath.Join(work, "home"), "AZURE_CONFIG_DIR=" + filepath.Join(work, "azure"),
		"PYTHONPATH=" + mend, "KUBECONFIG=" + filepath.Join(work, "kubeconfig"), "KUBELOGIN_CACHE_KEY=file", "KUBECACHEDIR=" + filepath.Join(work, "kubelogin"), "LANG=C.UTF-8",
	}
	for line := range strings.Lines(string(env)) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if ok {
			s.env = append(s.env, name+"="+strings.Trim(value, "'"))
		}
	}
	must := func(line string) string {
		t.Helper()
		out, err := s.run(line)
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return strings.TrimSpace(out)
	}
	must("az login -u " + people.Administrator.UserPrincipalName + " -p $PASSWORD -o none")
	s.vars["ADMINS"] = must(`az ad group show -g aks-admins --query id -o tsv`)
	s.vars["DEVELOPERS"] = must(`az ad group show -g developers --query id -o tsv`)

	for i, r := range Rows {
		if r.Run == "" {
			continue
		}
		t.Run(r.name(i), func(t *testing.T) {
			out, err := s.run(r.Run)
			if (err != nil) != r.Fails {
				t.Fatalf("%s\nran: %s\nended with %v, want an error: %v\n%s", r.Seed, r.Run, err, r.Fails, out)
			}
			for _, want := range r.Want {
				want = os.Expand(want, func(name string) string {
					if v, ok := s.vars[name]; ok {
						return v
					}
					return "$" + name
				})
				if !strings.Contains(out, want) {
					t.Errorf("%s\nran: %s\nthe output has no %q:\n%s", r.Seed, r.Run, want, out)
				}
			}
			if r.Save != "" {
				lines := strings.Fields(out)
				if len(lines) == 0 {
					t.Fatalf("%s: nothing was printed to keep as %s", r.Seed, r.Save)
				}
				s.vars[r.Save] = lines[len(lines)-1]
			}
		})
	}
}
