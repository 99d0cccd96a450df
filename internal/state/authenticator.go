package state

import (
	"encoding/json"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/store"
)

// AuthenticatorKind is how a person proves who they are beside a password.
type AuthenticatorKind string

// The kinds of authenticators.
const (
	TOTP    AuthenticatorKind = "totp"    // an authenticator application that shows numbers
	Passkey AuthenticatorKind = "passkey" // FIDO2
)

// Authenticator is something that a user has registered to sign in with.
type Authenticator struct {
	Tenant  directory.TenantID `json:"tenantId"`
	User    directory.ObjectID `json:"userId"`
	ID      string             `json:"id"` // GUID
	Kind    AuthenticatorKind  `json:"kind"`
	Name    string             `json:"displayName"`
	Created time.Time          `json:"createdDateTime"`

	// Secret of a TOTP, base32.
	Secret string `json:"secret,omitempty"`
	// Step is the last time step whose number was used: each works once.
	Step int64 `json:"step,omitempty"`

	// Credential of a passkey: the record of the WebAuthn library.
	Credential   json.RawMessage `json:"credential,omitempty"`
	CredentialID string          `json:"credentialId,omitempty"` // base64url
	Model        string          `json:"model,omitempty"`
}

// String keeps the secret out of logs.
func (Authenticator) String() string { return "state.Authenticator(sealed)" }

// Authenticators, sealed: "user" (tenant/user); "credential" (id of a passkey).
var Authenticators = store.NewTable("authenticators", store.Options[Authenticator]{
	Key: func(a *Authenticator) string { return join(string(a.Tenant), string(a.User), a.ID) },
	Indexes: []store.Index[Authenticator]{
		{Name: "user", Values: func(a *Authenticator) []string { return one(Key(a.Tenant, a.User)) }},
		{Name: "credential", Values: func(a *Authenticator) []string {
			if a.CredentialID == "" {
				return nil
			}
			return one(a.CredentialID)
		}},
	},
	Claims: func(a *Authenticator) []string {
		if a.CredentialID == "" {
			return nil
		}
		return one("credential/" + a.CredentialID)
	},
	Sealed: true,
})

// HasFactor reports whether a user has registered a second factor.
func HasFactor(r store.Reader, tenant directory.TenantID, user directory.ObjectID) bool {
	_, ok := Authenticators.First(r, "user", Key(tenant, user))
	return ok
}
