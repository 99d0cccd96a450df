package clients

import (
	"os"
	"testing"
)

// missing ends a test that needs something that is not installed: in CI, where
// scripts/setup.sh has installed everything, it fails.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format+" (scripts/setup.sh installs what the tests use)", args...)
	}
	t.Skipf(format, args...)
}
