package tokencache

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// kernelKeyring keeps the key in the kernel's keyring of the user: it costs
// microseconds, never asks for a password and is in no backup. It is lost at
// reboot, as the keys of the plugin that we replace are.
type kernelKeyring struct{ name string }

func newKeyring() keyring { return kernelKeyring{keyDescription} }

const keyDescription = "entrance:kubelogin:cache"

// possess links the user's keyring to this thread's, so that its keys may be
// read from sessions that were not set up by a login (cron, containers, su).
func possess() func() {
	runtime.LockOSThread()
	if ring, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true); err == nil {
		unix.KeyctlInt(unix.KEYCTL_LINK, ring, unix.KEY_SPEC_THREAD_KEYRING, 0, 0)
	}
	return runtime.UnlockOSThread
}

func (k kernelKeyring) get() ([]byte, error) {
	defer possess()()
	id, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", k.name, 0)
	switch {
	case errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EKEYEXPIRED), errors.Is(err, unix.EKEYREVOKED):
		return nil, errNoKey
	case err != nil:
		return nil, fmt.Errorf("searching the kernel keyring: %w", err)
	}
	buf := make([]byte, 2*keySize)
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, buf, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel keyring: %w", err)
	}
	if n > len(buf) {
		return nil, errNoKey
	}
	return buf[:n], nil
}

func (k kernelKeyring) set(key []byte) error {
	defer possess()()
	if _, err := unix.AddKey("user", k.name, key, unix.KEY_SPEC_USER_KEYRING); err != nil {
		return fmt.Errorf("writing the kernel keyring: %w", err)
	}
	return nil
}
