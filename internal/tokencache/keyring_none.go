//go:build !linux && !darwin && !windows

package tokencache

import "errors"

// noKeyring stands where no keyring is supported; a key file is used.
type noKeyring struct{}

func newKeyring() keyring { return noKeyring{} }

var errUnsupported = errors.New("no keyring on this system")

func (noKeyring) get() ([]byte, error) { return nil, errUnsupported }
func (noKeyring) set([]byte) error     { return errUnsupported }
