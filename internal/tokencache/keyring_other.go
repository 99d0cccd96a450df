//go:build darwin || windows

package tokencache

import (
	"encoding/base64"
	"errors"

	gokeyring "github.com/zalando/go-keyring"
)

// desktopKeyring keeps the key in the macOS Keychain or the Windows Credential
// Manager.
type desktopKeyring struct{}

func newKeyring() keyring { return desktopKeyring{} }

const (
	keyringService = "entrance-kubelogin"
	keyringUser    = "cache"
)

func (desktopKeyring) get() ([]byte, error) {
	text, err := gokeyring.Get(keyringService, keyringUser)
	if errors.Is(err, gokeyring.ErrNotFound) {
		return nil, errNoKey
	}
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errNoKey
	}
	return key, nil
}

func (desktopKeyring) set(key []byte) error {
	return gokeyring.Set(keyringService, keyringUser, base64.StdEncoding.EncodeToString(key))
}
