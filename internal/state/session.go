package state

import (
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/store"
)

// Session is what one browser is signed in to: any number of accounts.
type Session struct {
	// ID is the hash of the browser's cookie: the cookie itself is not kept.
	ID string `json:"id"`
	// Public names the session in tokens (sid). Whoever knows it has nothing.
	Public     string     `json:"sid"`
	Accounts   []SignedIn `json:"accounts"`
	Persistent bool       `json:"persistent,omitempty"`
	Expires    time.Time  `json:"expires"`
	// Entered are the applications that want to know when the session ends.
	Entered []Entered `json:"entered,omitempty"`
}

// Entered is an application that was signed in to with a session, in a tenant.
type Entered struct {
	Client directory.AppID    `json:"client"`
	Tenant directory.TenantID `json:"tenantId"`
}

// SignedIn is one account of a session and what was really proven for it.
type SignedIn struct {
	Tenant directory.TenantID `json:"tenantId"`
	User   directory.ObjectID `json:"id"`
	// Since is when the first factor was last checked.
	Since time.Time `json:"since"`
	// Chosen is when the person last picked this account, by signing in too.
	Chosen time.Time `json:"chosen"`
	// Methods are the checked methods with their times.
	Methods []conditionalaccess.Authentication `json:"methods"`
}

// Find returns the session's account of a user, or nil.
func (s *Session) Find(tenant directory.TenantID, user directory.ObjectID) *SignedIn {
	if s == nil {
		return nil
	}
	for i := range s.Accounts {
		if s.Accounts[i].Tenant == tenant && s.Accounts[i].User == user {
			return &s.Accounts[i]
		}
	}
	return nil
}

// Valid reports whether the account may still be used for the user's record as
// it is now: a disabled user's may not, nor one from before the user's sessions
// were revoked.
func (a *SignedIn) Valid(u *directory.User) bool {
	return u != nil && u.Enabled && u.Tenant == a.Tenant && u.ID == a.User && !a.Since.Before(u.SessionsValidFrom)
}

// Sessions are kept in etcd alone: each request reads its own, so a sign-out
// is known to every replica at once.
var Sessions = store.NewTable("sessions", store.Options[Session]{
	Key:    func(s *Session) string { return s.ID },
	Sealed: true,
	Direct: true,
	TTL: func(s *Session) time.Duration {
		if s.Persistent {
			return PersistentSession
		}
		return BrowserSession
	},
})

// How long a browser stays signed in, with and without "stay signed in".
const (
	BrowserSession    = 24 * time.Hour
	PersistentSession = 90 * 24 * time.Hour
)

// AskKind is what the protocol asks the sign-in pages for.
type AskKind string

// The kinds.
const (
	AskSignIn  AskKind = "signIn"        // who are you; a first factor, and a second if Factor is set
	AskFactor  AskKind = "factor"        // a second factor for User, or its registration
	AskConsent AskKind = "consent"       // may the application do this
	AskDevice  AskKind = "confirmDevice" // do you mean the sign-in that shows this code
)

// Ask is a question of the protocol to the person in front of a browser. The
// pages come back to Return when it is answered, and to Cancel when the person
// refuses; both are paths on this server.
type Ask struct {
	Kind   AskKind `json:"kind"`
	Return string  `json:"return"`
	Cancel string  `json:"cancel,omitempty"`
	// Target is the origin to which the browser goes in the end, where that is
	// another site: the pages' policy about forms has to let it.
	Target string `json:"target,omitempty"`

	// Tenant is empty where anybody's tenant will do.
	Tenant     directory.TenantID `json:"tenant,omitempty"`
	Client     directory.AppID    `json:"client,omitempty"`
	ClientName string             `json:"clientName,omitempty"`
	// Verified is whether the application belongs to the tenant itself or is
	// one of the well-known first-party ones.
	Verified bool `json:"verified,omitempty"`

	// For AskSignIn: the name to begin with, and whether to show the account
	// picker even if only one account is signed in. A first factor before
	// Fresh does not count.
	Hint   string    `json:"hint,omitempty"`
	Select bool      `json:"select,omitempty"`
	Fresh  time.Time `json:"fresh,omitzero"`

	// For all but AskSignIn: whom it is about.
	User directory.ObjectID `json:"user,omitempty"`

	// For AskFactor: only methods with which one of these combinations is
	// met; empty means any second factor. Register says that none is there.
	Strengths []string `json:"strengths,omitempty"`
	Register  bool     `json:"register,omitempty"`

	// For AskConsent.
	Permissions []Permission `json:"permissions,omitempty"`
	ForTenant   bool         `json:"forTenant,omitempty"` // an administrator consents for everybody
	MayForAll   bool         `json:"mayForAll,omitempty"` // the person is an administrator who may tick that

	// For AskDevice.
	UserCode string    `json:"userCode,omitempty"`
	From     string    `json:"from,omitempty"` // address that asked for the code
	Started  time.Time `json:"started,omitzero"`
}

// Permission is one thing that an application wants consent for.
type Permission struct {
	Resource     directory.ObjectID `json:"resource"` // service principal
	ResourceName string             `json:"resourceName"`
	Value        string             `json:"value"` // scope, or app role
	Title        string             `json:"title"`
	About        string             `json:"about,omitempty"`
	Role         string             `json:"role,omitempty"` // id of the app role, for application permissions
}
