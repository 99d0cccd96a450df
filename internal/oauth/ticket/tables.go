// Package ticket keeps what the protocol hands out and takes back: authorization
// codes, device codes, refresh tokens, and the memory of what was used or
// revoked. Codes are records in etcd under the hash of the code, redeemed in a
// transaction; refresh tokens are sealed and self-contained.
package ticket

import (
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/store"
)

// Lives of what the protocol hands out.
const (
	codeLife   = 10 * time.Minute
	DeviceLife = 15 * time.Minute
	PollEvery  = 5 * time.Second

	RefreshLife = 90 * 24 * time.Hour
	SPALife     = 24 * time.Hour
)

// SignIn is what is known of a sign-in and goes on into every token that
// descends from it.
type SignIn struct {
	Tenant  directory.TenantID                 `json:"t"`
	User    directory.ObjectID                 `json:"u"`
	Time    time.Time                          `json:"at"` // first factor
	Methods []conditionalaccess.Authentication `json:"m"`
	Session string                             `json:"sid,omitempty"`
	Flow    conditionalaccess.AuthFlow         `json:"f,omitempty"`
	Device  string                             `json:"d,omitempty"`
	// Grant names everything that comes from one consent of the person: its
	// revocation ends all of it.
	Grant string `json:"g"`
}

// Code is an authorization code. It stays after it was redeemed, so that a
// second use is noticed.
type Code struct {
	Hash     string          `json:"hash"`
	Client   directory.AppID `json:"client"`
	Redirect string          `json:"redirect"`
	// RedirectGiven is whether the request named it, so that redemption must.
	RedirectGiven bool      `json:"redirectGiven"`
	SPA           bool      `json:"spa,omitempty"`
	Native        bool      `json:"native,omitempty"`
	Scope         string    `json:"scope"` // v2, as asked
	Resource      string    `json:"resource,omitempty"`
	Nonce         string    `json:"nonce,omitempty"`
	Challenge     string    `json:"challenge,omitempty"`
	Method        string    `json:"method,omitempty"`
	Claims        string    `json:"claims,omitempty"`
	SignedIn      SignIn    `json:"signedIn"`
	Expires       time.Time `json:"expires"`
	Redeemed      bool      `json:"redeemed,omitempty"`
}

var codes = store.NewTable("oauthcodes", store.Options[Code]{
	Key: func(c *Code) string { return c.Hash }, Direct: true, Sealed: true,
	TTL: func(*Code) time.Duration { return 2 * codeLife },
})

// Device is a sign-in that waits for a person on another device.
type Device struct {
	Hash      string             `json:"hash"` // of the device code
	UserCode  string             `json:"userCode"`
	Client    directory.AppID    `json:"client"`
	Authority string             `json:"authority"`
	Tenant    directory.TenantID `json:"tenant,omitempty"`
	Scope     string             `json:"scope,omitempty"`
	Resource  string             `json:"resource,omitempty"`
	Claims    string             `json:"claims,omitempty"`
	From      string             `json:"from"`
	Started   time.Time          `json:"started"`
	Expires   time.Time          `json:"expires"`
	Denied    bool               `json:"denied,omitempty"`
	SignedIn  *SignIn            `json:"signedIn,omitempty"`
}

var devices = store.NewTable("oauthdevices", store.Options[Device]{
	Key: func(d *Device) string { return d.Hash }, Direct: true, Sealed: true,
	// A while longer than it is good for, so that the client can be told.
	TTL: func(*Device) time.Duration { return DeviceLife + 10*time.Minute },
})

// userCode finds the device by what the person types.
type userCode struct {
	Code   string `json:"code"`
	Device string `json:"device"`
}

var userCodes = store.NewTable("oauthusercodes", store.Options[userCode]{
	Key: func(u *userCode) string { return u.Code }, Direct: true,
	TTL: func(*userCode) time.Duration { return DeviceLife },
})

// Tables returns the tables that this package keeps.
func Tables() []store.AnyTable {
	return []store.AnyTable{codes, devices, userCodes, revokedGrants, usedAssertions, tenantSecrets}
}

// revokedGrant ends every refresh token of a grant.
type revokedGrant struct {
	Grant string    `json:"grant"`
	At    time.Time `json:"at"`
}

var revokedGrants = store.NewTable("oauthrevoked", store.Options[revokedGrant]{
	Key: func(g *revokedGrant) string { return g.Grant }, Direct: true,
	TTL: func(*revokedGrant) time.Duration { return RefreshLife },
})

// usedAssertion remembers a client assertion that may not be used again.
type usedAssertion struct {
	Key  string        `json:"key"`
	Life time.Duration `json:"life"`
}

var usedAssertions = store.NewTable("oauthassertions", store.Options[usedAssertion]{
	Key: func(u *usedAssertion) string { return u.Key }, Direct: true,
	TTL: func(u *usedAssertion) time.Duration { return u.Life },
})

// tenantSecret is the secret from which a tenant's pairwise subjects are made.
type tenantSecret struct {
	Tenant   directory.TenantID `json:"tenant"`
	Pairwise []byte             `json:"pairwise"`
}

var tenantSecrets = store.NewTable("oauthsecrets", store.Options[tenantSecret]{
	Key: func(t *tenantSecret) string { return string(t.Tenant) }, Sealed: true,
})
