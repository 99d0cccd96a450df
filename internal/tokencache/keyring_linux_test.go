package tokencache

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKernelKeyring uses the real one where there is one, under a name of its
// own.
func TestKernelKeyring(t *testing.T) {
	ring := kernelKeyring{"entrance:test:" + t.Name()}
	if _, err := ring.get(); !errors.Is(err, errNoKey) {
		t.Skipf("no usable keyring: %v", err)
	}
	key := newKey()
	if err := ring.set(key); err != nil {
		t.Skipf("the keyring takes nothing: %v", err)
	}
	defer func() {
		if id, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", ring.name, 0); err == nil {
			unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0)
		}
	}()
	got, err := ring.get()
	if err != nil || !bytes.Equal(got, key) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}
