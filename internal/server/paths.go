package server

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/entrance-id/entrance/internal/errs"
)

// Paths are the places inside a data directory.
type Paths struct{ Dir string }

// Store is the directory of the embedded etcd.
func (p Paths) Store() string { return filepath.Join(p.Dir, "store") }

// Clusters is the directory of the local clusters and their etcd.
func (p Paths) Clusters() string { return filepath.Join(p.Dir, "clusters") }

// Audit is the directory of the sign-in and audit logs.
func (p Paths) Audit() string { return filepath.Join(p.Dir, "audit") }

// CA is the file with the certificate of Entrance's own authority.
func (p Paths) CA() string { return filepath.Join(p.Dir, "ca.crt") }

// Bundle is the file with that certificate and those that the system trusts.
func (p Paths) Bundle() string { return filepath.Join(p.Dir, "ca-bundle.crt") }

// SealKey is the file with the key that seals secrets in the store.
func (p Paths) SealKey() string { return filepath.Join(p.Dir, "seal.key") }

// Credentials is the file with the credentials that the sample was made with.
func (p Paths) Credentials() string { return filepath.Join(p.Dir, "credentials.json") }

// Control is the socket on which the owner of the data directory asks the
// running instance for its status and tells it to stop.
func (p Paths) Control() string { return filepath.Join(p.Dir, "control.sock") }

// Log is the file that a detached instance writes its log to.
func (p Paths) Log() string { return filepath.Join(p.Dir, "entrance.log") }

// prepare makes the data directory, for its owner alone.
func (p Paths) prepare() error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return errs.Wrap(errs.Invalid, err, "The data directory %s cannot be made", p.Dir)
	}
	info, err := os.Stat(p.Dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return errs.New(errs.Invalid, "The data directory %s may be read by others; run: chmod 700 %s", p.Dir, p.Dir)
	}
	return nil
}

// sealKey reads the key that seals secrets, or makes it in a data directory
// that has none yet. A key is never made beside a store that was sealed with
// another one: the store would refuse it. A file that is given must be there:
// several servers share it.
func (p Paths) sealKey(given string) (key [32]byte, err error) {
	name := p.SealKey()
	if given != "" {
		name = given
	}
	b, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && given != "":
		return key, errs.New(errs.Invalid, "The key file %s is missing. Make it once, for all servers of this store: (umask 077; head -c %d /dev/urandom > %s)", name, len(key), name)
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(p.Store()); err == nil {
			return key, errs.New(errs.Invalid, "The key file %s is missing. Put it back: what the store holds was sealed with it.", name)
		}
		rand.Read(key[:])
		return key, WriteFile(name, key[:], 0o600)
	case err != nil:
		return key, errs.Wrap(errs.Invalid, err, "The key file cannot be read")
	case len(b) != len(key):
		return key, errs.New(errs.Invalid, "The key file %s does not hold %d bytes.", name, len(key))
	}
	info, err := os.Stat(name)
	if err != nil {
		return key, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return key, errs.New(errs.Invalid, "The key file %s may be read by others; run: chmod 600 %s", name, name)
	}
	copy(key[:], b)
	return key, nil
}

// WriteFile replaces a file as a whole: a reader finds the old content or the
// new one, and a crash leaves one of them.
func WriteFile(name string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(f.Chmod(mode), write(f, data), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}

func write(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}

// writeJSON is WriteFile for a JSON document.
func writeJSON(name string, v any, mode fs.FileMode) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(name, append(b, '\n'), mode)
}
