package tokencache

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// Key says whose token an Entry is. All fields take part; an empty field is
// different from every other value.
type Key struct {
	Authority string `json:"authority"` // canonical host of the identity provider
	Tenant    string `json:"tenant"`
	Client    string `json:"client"`
	Account   string `json:"account"` // who signs in, as far as it is known beforehand
	Resource  string `json:"resource"`
	Mode      string `json:"mode"`
}

// canonical is an unambiguous encoding of the key: each field is preceded by
// its length, so that no two keys share one.
func (k Key) canonical() []byte {
	var b []byte
	for _, f := range []string{k.Authority, k.Tenant, k.Client, k.Account, k.Resource, k.Mode} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}

// ID is the name under which the key's entry is stored. It tells an observer
// nothing about the identity.
func (k Key) ID() string {
	sum := sha256.Sum256(k.canonical())
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// Account is the account that signed in, as the identity provider named it.
type Account struct {
	HomeID   string `json:"homeId,omitempty"` // uid.utid
	Username string `json:"username,omitempty"`
	TenantID string `json:"tenantId,omitempty"`
}

// Entry is what one sign-in earned.
type Entry struct {
	AccessToken  string    `json:"accessToken"`
	TokenType    string    `json:"tokenType,omitempty"`
	ExpiresOn    time.Time `json:"expiresOn"`
	RefreshOn    time.Time `json:"refreshOn,omitzero"` // when the provider suggests a refresh
	RefreshToken string    `json:"refreshToken,omitempty"`
	Account      Account   `json:"account,omitzero"`
	// Binding is a digest of the credential or context that earned the entry
	// (client secret, certificate, signed-in az account). An entry is only
	// good for who presents the same one.
	Binding string    `json:"binding,omitempty"`
	Stored  time.Time `json:"stored"`
}

// record is the sealed content of a file.
type record struct {
	Key   Key   `json:"key"`
	Entry Entry `json:"entry"`
}
