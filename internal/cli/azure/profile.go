package azure

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
)

// Kind is what signs in, as az names it in the output of `account show`.
type Kind string

// The kinds of accounts.
const (
	Person           Kind = "user"
	ServicePrincipal Kind = "servicePrincipal"
)

// Method is how tokens for an account are got after the sign-in.
type Method string

// The methods.
const (
	ByRefreshToken    Method = "refreshToken"
	BySecret          Method = "secret"
	ByCertificate     Method = "certificate"
	ByFederatedToken  Method = "federatedToken"
	ByManagedIdentity Method = "managedIdentity"
)

// Account is a sign-in that is remembered. It holds no secret.
type Account struct {
	// ID tells accounts apart: the home account id of a person, the application
	// and its tenant for the others. The token cache knows the account by it.
	ID       string `json:"id"`
	Name     string `json:"name"` // user principal name or application id
	Kind     Kind   `json:"type"`
	Method   Method `json:"method"`
	TenantID string `json:"tenantId"` // where it signed in
	ClientID string `json:"clientId,omitempty"`
	// Certificate is the file with the certificate and its key, and
	// IdentityResource the resource id of a managed identity.
	Certificate      string `json:"certificate,omitempty"`
	IdentityResource string `json:"identityResource,omitempty"`
	Cloud            Cloud  `json:"cloud"`
}

// same reports whether two are the same account of the same cloud.
func (a Account) same(b Account) bool {
	return a.ID == b.ID && a.Cloud.Login == b.Cloud.Login && a.Cloud.DataDir == b.Cloud.DataDir
}

// Subscription is a subscription that an account sees.
type Subscription struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	State        string   `json:"state"`
	TenantID     string   `json:"tenantId"`
	HomeTenantID string   `json:"homeTenantId,omitempty"`
	ManagedBy    []string `json:"managedByTenants,omitempty"`
	// Account is the ID of the account, CloudLogin its cloud's sign-in address.
	Account    string `json:"account"`
	CloudLogin string `json:"cloudLogin"`
	Default    bool   `json:"isDefault"`
}

// Profile is what is remembered between two commands.
type Profile struct {
	Accounts      []Account      `json:"accounts"`
	Subscriptions []Subscription `json:"subscriptions"`

	dir string
}

// configDir is where the profile is: $ENTRANCE_CONFIG_DIR, else where the XDG
// base directory specification has it.
func configDir() string {
	if d := os.Getenv("ENTRANCE_CONFIG_DIR"); d != "" {
		return d
	}
	if d := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "entrance")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".config", "entrance")
}

func (p *Profile) file() string { return filepath.Join(p.dir, "profile.json") }

// LoadProfile reads the profile. One that is not there is empty.
func LoadProfile() (*Profile, error) {
	p := &Profile{dir: configDir()}
	if p.dir == "" {
		return p, nil
	}
	raw, err := os.ReadFile(p.file())
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The sign-ins cannot be read")
	}
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "%s is broken. Remove it with 'entrance account clear' and sign in again", p.file())
	}
	return p, nil
}

// Save writes the profile.
func (p *Profile) Save() error {
	if p.dir == "" {
		return errs.New(errs.Invalid, "Sign-ins cannot be remembered: neither ENTRANCE_CONFIG_DIR nor HOME is set.")
	}
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return errs.Wrap(errs.Invalid, err, "Sign-ins cannot be remembered")
	}
	return server.WriteFile(p.file(), append(raw, '\n'), 0o600)
}

// Put remembers an account with its subscriptions, in place of what was
// remembered of it. The first of them becomes the default one.
func (p *Profile) Put(a Account, subs []Subscription) {
	p.Drop(func(b Account) bool { return b.same(a) })
	p.Accounts = append(p.Accounts, a)
	for i := range p.Subscriptions {
		p.Subscriptions[i].Default = false
	}
	for i, s := range subs {
		s.Account, s.CloudLogin, s.Default = a.ID, a.Cloud.Login, i == 0
		p.Subscriptions = append(p.Subscriptions, s)
	}
}

// Drop forgets the accounts that match, with their subscriptions, and returns
// them.
func (p *Profile) Drop(match func(Account) bool) (dropped []Account) {
	p.Accounts = slices.DeleteFunc(p.Accounts, func(a Account) bool {
		if !match(a) {
			return false
		}
		dropped = append(dropped, a)
		p.Subscriptions = slices.DeleteFunc(p.Subscriptions, func(s Subscription) bool { return s.Account == a.ID && s.CloudLogin == a.Cloud.Login })
		return true
	})
	if len(p.Subscriptions) > 0 && !slices.ContainsFunc(p.Subscriptions, func(s Subscription) bool { return s.Default }) {
		p.Subscriptions[0].Default = true
	}
	return dropped
}

// AccountOf returns the account that sees a subscription.
func (p *Profile) AccountOf(s Subscription) (Account, bool) {
	i := slices.IndexFunc(p.Accounts, func(a Account) bool { return a.ID == s.Account && a.Cloud.Login == s.CloudLogin })
	if i < 0 {
		return Account{}, false
	}
	return p.Accounts[i], true
}

// Find returns the subscription with a name or id, or the default one for "".
func (p *Profile) Find(name string) (*Subscription, bool) {
	for i, s := range p.Subscriptions {
		if name == "" && s.Default || name != "" && (strings.EqualFold(s.ID, name) || strings.EqualFold(s.Name, name)) {
			return &p.Subscriptions[i], true
		}
	}
	return nil, false
}

// Remove removes the profile, whatever is in it, and all that is kept.
func Remove() error {
	p := &Profile{dir: configDir()}
	store := openStore(p.dir, io.Discard)
	defer store.Close()
	if _, err := store.Clear(); err != nil {
		return err
	}
	return os.Remove(p.file())
}
