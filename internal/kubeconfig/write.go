package kubeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// kubectl locks a kubeconfig with a file beside it while it writes, which
// takes milliseconds. One that is older was left by a process that died.
const (
	lockSuffix = ".lock"
	staleAfter = 5 * time.Second
	lockPoll   = 50 * time.Millisecond
)

// Lock takes the lock that kubectl and client-go take for a file. A stale one
// is removed, and warn says so.
func Lock(path string, warn func(string)) (unlock func(), err error) {
	lock := path + lockSuffix
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	for {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			f.Close()
			return func() { os.Remove(lock) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		info, err := os.Lstat(lock)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || info.Size() != 0 {
			return nil, fmt.Errorf("%s is in the way and is not a lock; remove it by hand", lock)
		}
		if age := time.Since(info.ModTime()); age > staleAfter || age < -staleAfter {
			warn(fmt.Sprintf("removing the stale lock %s, which a process that died left behind", lock))
			if err := os.Remove(lock); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("cannot remove the stale lock: %w", err)
			}
			continue
		}
		time.Sleep(lockPoll)
	}
}

// Write replaces the content of a file in one step. A symbolic link is
// followed; mode and owner are kept.
func Write(path string, data []byte) error {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		real = path
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	mode := fs.FileMode(0o600)
	info, statErr := os.Stat(real)
	if statErr == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(real), ".kubelogin-*")
	if err != nil {
		return err
	}
	tmp := f.Name()
	defer os.Remove(tmp) // gone after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil && statErr == nil {
		keepOwner(f, info)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, real)
}
