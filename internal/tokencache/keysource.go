package tokencache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// keyFile holds the sealing key where there is no usable keyring.
const keyFile = "key"

// errNoKey means that the keyring works and holds no key yet.
var errNoKey = errors.New("no key in the keyring")

// keyring is the operating system's store for small secrets.
type keyring interface {
	// get returns errNoKey when the keyring works and has no such key.
	get() ([]byte, error)
	set(key []byte) error
}

// loadKey returns the sealing key, made if need be, and where it lives.
//
// A key file that exists wins over the keyring: it was made because some
// process that shares this directory has no keyring (a container, a service),
// and two keys for one directory would make them destroy each other's entries.
func (s *Store) loadKey() (key []byte, at string, err error) {
	ring := s.opts.ring
	if ring == nil {
		ring = newKeyring()
	}
	if key, at, err = s.findKey(ring); err == nil {
		return key, at, nil
	}
	// One process makes the key; the others wait here and find it.
	unlock, err := s.lockKey()
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	if key, at, err = s.findKey(ring); err == nil {
		return key, at, nil
	}
	key, err = newKey(), nil
	if s.opts.KeyStore != "file" {
		err = ring.set(key)
		if err == nil {
			// Some keyrings accept and forget; trust only what comes back.
			if again, gerr := ring.get(); gerr != nil || string(again) != string(key) {
				err = errors.New("the keyring does not keep what it is given")
			}
		}
		if err == nil {
			return key, "keyring", nil
		}
		if s.opts.KeyStore == "keyring" {
			return nil, "", fmt.Errorf("the system keyring does not work here: %w", err)
		}
	}
	if werr := s.replace(keyFile, key); werr != nil {
		return nil, "", fmt.Errorf("no keyring and no key file: %w", werr)
	}
	if err != nil {
		s.opts.Logf("cache: keyring: %v", err)
		s.opts.Warn(fmt.Sprintf("no system keyring here; sign-ins are sealed with the key file %s (mode 0600)", filepath.Join(s.dir, subdir, keyFile)))
	}
	return key, "key file", nil
}

func (s *Store) findKey(ring keyring) ([]byte, string, error) {
	if s.opts.KeyStore != "keyring" {
		key, err := s.readRaw(keyFile)
		switch {
		case err == nil && len(key) == keySize:
			return key, "key file", nil
		case err == nil:
			s.opts.Logf("cache: the key file is damaged; a new one is made")
		case !errors.Is(err, fs.ErrNotExist):
			s.opts.Logf("cache: key file ignored: %v", err)
		}
		if s.opts.KeyStore == "file" {
			return nil, "", errNoKey
		}
	}
	key, err := ring.get()
	if err == nil && len(key) != keySize {
		err = errNoKey
	}
	return key, "keyring", err
}

// looseMode reports whether others than the owner may read or write.
func looseMode(info os.FileInfo) bool { return modesMatter && info.Mode().Perm()&0o077 != 0 }
