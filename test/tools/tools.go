// Package tools finds what the tests drive: the project's binaries, and programs
// of others that scripts/setup.sh installs.
package tools

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Dir returns the directory of the project's binaries: ENTRANCE_BIN, or bin in the
// root of the tree, for tests two folders below it.
func Dir() (string, error) {
	dir := os.Getenv("ENTRANCE_BIN")
	if dir == "" {
		dir = filepath.Join("..", "..", "bin")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"entrance", "kubelogin", "entrance-kube", "kubectl"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%s is missing: run make build: %w", name, err)
		}
	}
	return dir, nil
}

// Bin is Dir in a test, which ends where a binary is missing.
func Bin(t testing.TB) string {
	t.Helper()
	dir, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Missing ends a test that needs something that is not installed: in CI, where
// scripts/setup.sh has installed everything, it fails.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format+" (scripts/setup.sh installs what the tests use)", args...)
	}
	t.Skipf(format, args...)
}

// Need returns the path of the first program that is installed, and ends the test
// where none is.
func Need(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(t, "%s is not installed", names[0])
	return ""
}
