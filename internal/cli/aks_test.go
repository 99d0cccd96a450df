package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClusterArguments holds what is refused before a cluster is touched; what
// the commands do to real clusters is tested in test/control.
func TestClusterArguments(t *testing.T) {
	s := newShell(t)
	create := []string{"aks", "create", "-g", "sample", "-n", "web"}
	for _, c := range []struct {
		say  string
		args []string
	}{
		{"--enable-azure-rbac needs --enable-aad", []string{"--enable-azure-rbac"}},
		{"needs --enable-aad", []string{"--aad-admin-group-object-ids", "x"}},
		{"needs --enable-aad", []string{"--aad-tenant-id", "x"}},
		{"cannot be used together", []string{"--enable-aad", "--aad-server-app-id", "x"}},
		{"go together", []string{"--service-principal", "x"}},
		{"neither a public key nor a file", []string{"--ssh-key-value", "nonsense"}},
	} {
		s.fails(2, c.say, append(create, c.args...)...)
	}
	s.fails(2, "required: --resource-group/-g, --name/-n", "aks", "create")
	s.fails(1, "aadProfile", append(create, "--enable-aad", "--aad-admin-group-object-ids", "no-guid")...)
	s.fails(2, "give at least one of --enable-aad", "aks", "update", "-g", "sample", "-n", "web")
	s.fails(2, "exclude each other", "aks", "update", "-g", "sample", "-n", "web", "--disable-local-accounts", "--enable-local")
	s.fails(3, "(ResourceNotFound)", "aks", "update", "-g", "sample", "-n", "web", "--enable-aad")
	s.fails(3, "(ResourceNotFound)", "aks", "get-credentials", "-g", "sample", "-n", "web")
	s.fails(3, "(ResourceNotFound)", "aks", "show", "-g", "sample", "-n", "web")
	s.fails(2, "--yes", "aks", "delete", "-g", "sample", "-n", "web")
	s.fails(2, "--yes", "aks", "rotate-certs", "-g", "sample", "-n", "web")
	s.fails(2, "give one of", "aks", "wait", "-g", "sample", "-n", "web")
	s.fails(2, "give one of", "aks", "update-credentials", "-g", "sample", "-n", "web")
	s.fails(2, "needs --service-principal", "aks", "update-credentials", "-g", "sample", "-n", "web", "--reset-service-principal")
	s.ok("aks", "wait", "-g", "sample", "-n", "web", "--deleted")
	s.want("0", "length(@)", "aks", "list")
	s.want("True", "values[0].isDefault", "aks", "get-versions", "-l", "eastus")
}

// TestSSHKey holds that a key is made once, for its owner alone, and that a
// private key is never overwritten.
func TestSSHKey(t *testing.T) {
	s := newShell(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	private := filepath.Join(home, ".ssh", "id_rsa")
	// The group does not exist, so that nothing is made but the key.
	args := []string{"aks", "create", "-g", "nope", "-n", "web", "-l", "eastus", "--generate-ssh-keys"}
	_, errOut, code := s.run("", args...)
	if code != 3 || !strings.Contains(errOut, "have been generated") {
		t.Errorf("%d %s", code, errOut)
	}
	info, err := os.Stat(private)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	first, err := os.ReadFile(private + ".pub")
	if err != nil || !strings.HasPrefix(string(first), "ssh-rsa ") {
		t.Fatalf("%s %v", first, err)
	}
	if _, errOut, _ = s.run("", args...); strings.Contains(errOut, "generated") {
		t.Error("the key was made again")
	}
	if err := os.Remove(private + ".pub"); err != nil {
		t.Fatal(err)
	}
	s.fails(1, "--ssh-key-value", args...)
}
