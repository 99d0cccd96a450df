package kubeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Apply computes a plan and writes it, with the files locked. If a file
// changed between the plan and the lock, the plan is made again.
func Apply(paths []string, plan func([]*File) ([]Change, error), warn func(string)) ([]Change, error) {
	for range 5 {
		files, err := LoadUsers(paths)
		if err != nil {
			return nil, err
		}
		changes, err := plan(files)
		if err != nil || len(changes) == 0 {
			return nil, err
		}
		done, err := commit(changes, warn)
		if done || err != nil {
			return changes, err
		}
	}
	return nil, errors.New("the kubeconfig keeps changing while it is converted")
}

// commit writes all changes, or none if a file is not what was read.
func commit(changes []Change, warn func(string)) (bool, error) {
	for _, c := range changes {
		unlock, err := Lock(c.File.Path, warn)
		if err != nil {
			return false, err
		}
		defer unlock()
	}
	for _, c := range changes {
		now, err := os.ReadFile(c.File.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if !bytes.Equal(now, c.File.Data) {
			return false, nil
		}
	}
	for _, c := range changes {
		if err := Write(c.File.Path, c.New); err != nil {
			return false, fmt.Errorf("cannot write %s: %w", c.File.Path, err)
		}
	}
	return true, nil
}
