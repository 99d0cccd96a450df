package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Credentials are what a sample tenant was made with. The file that holds them
// is the only place where its passwords and secrets are written down.
type Credentials struct {
	Administrator    Account          `json:"administrator"`
	Users            []Account        `json:"users"`
	ServicePrincipal ServicePrincipal `json:"servicePrincipal"`
}

// Account is a person's way in.
type Account struct {
	UserPrincipalName string             `json:"userPrincipalName"`
	Password          string             `json:"password"`
	ObjectID          directory.ObjectID `json:"objectId,omitempty"`
	About             string             `json:"about,omitempty"`
}

// ServicePrincipal is a program's way in.
type ServicePrincipal struct {
	ClientID     directory.AppID    `json:"clientId"`
	ClientSecret string             `json:"clientSecret"`
	ObjectID     directory.ObjectID `json:"objectId"`
	TenantID     directory.TenantID `json:"tenantId"`
}

// Sample is what a sample cloud holds.
type Sample struct {
	Tenant       directory.TenantID
	Domain       string
	Subscription string
	AdminGroup   directory.ObjectID
	Credentials  Credentials

	now   time.Time
	users []*directory.User
	app   *directory.Application
	sp    *directory.ServicePrincipal
}

// sampleDomain is the domain of a sample tenant. RFC 6761 keeps .test out of
// the public DNS.
const sampleDomain = "contoso.test"

// adminGroup is the group that administers the sample cluster.
const adminGroup = "aks-admins"

// person is a user of the sample and what they are there to show.
type person struct {
	name, display, about string
	groups               []string
}

var samplePeople = []person{
	{"ada", "Ada Lovelace", "member of aks-admins: may do everything on the cluster", []string{adminGroup}},
	{"dev", "Devi Sharma", "developer: member of developers, no access to cluster-wide resources", []string{"developers"}},
	{"ops", "Omar Haddad", "operator: member of operators, which is nested in platform", []string{"operators"}},
	{"noa", "Noa Levi", "member of no group: signs in, but has no access", nil},
}

// sampleGroups, each with the groups that it is a member of.
var sampleGroups = []struct {
	name, about string
	in          []string
}{
	{adminGroup, "Administrators of the sample cluster", nil},
	{"developers", "People who deploy applications", nil},
	{"platform", "Everybody who works on the platform", nil},
	{"operators", "People on call", []string{"platform"}},
}

// hasher turns a password into what is stored.
type hasher interface {
	Hash(ctx context.Context, password string) (string, error)
}

// newSample thinks of a tenant with people, groups, a service principal and a
// subscription, and of their passwords and secrets. It writes nothing.
func newSample(ctx context.Context, h hasher, now time.Time) (*Sample, error) {
	sample := &Sample{
		Tenant:       directory.TenantID(directory.NewGUID()),
		Domain:       sampleDomain,
		Subscription: directory.NewGUID(),
		AdminGroup:   directory.ObjectID(directory.NewGUID()),
		now:          now,
	}
	admin := Account{
		UserPrincipalName: "admin@" + sampleDomain, Password: newPassword(),
		ObjectID: directory.ObjectID(directory.NewGUID()),
		About:    "Global Administrator of the tenant and Owner of the subscription",
	}
	sample.Credentials.Administrator = admin
	for _, p := range samplePeople {
		sample.Credentials.Users = append(sample.Credentials.Users, Account{
			UserPrincipalName: p.name + "@" + sampleDomain, Password: newPassword(),
			ObjectID: directory.ObjectID(directory.NewGUID()), About: p.about,
		})
	}
	users := make([]*directory.User, 0, len(samplePeople)+1)
	for i, a := range append([]Account{admin}, sample.Credentials.Users...) {
		hash, err := h.Hash(ctx, a.Password)
		if err != nil {
			return nil, err
		}
		display := "Administrator"
		if i > 0 {
			display = samplePeople[i-1].display
		}
		given, family, _ := strings.Cut(display, " ")
		name, _, _ := strings.Cut(a.UserPrincipalName, "@")
		users = append(users, &directory.User{
			Tenant: sample.Tenant, ID: a.ObjectID, UserPrincipalName: a.UserPrincipalName,
			DisplayName: display, GivenName: given, Surname: family, MailNickname: name,
			Enabled: true, Created: now, PasswordHash: hash, PasswordChanged: now,
		})
	}
	secret := NewSecret()
	app := &directory.Application{
		Tenant: sample.Tenant, ID: directory.ObjectID(directory.NewGUID()), AppID: directory.AppID(directory.NewGUID()),
		DisplayName: "sample-automation", SignInAudience: "AzureADMyOrg", Created: now,
		Credentials: directory.Credentials{Passwords: []directory.Password{NewPasswordCredential(secret, "sample", now, 365*24*time.Hour)}},
	}
	sp := state.NewServicePrincipal(sample.Tenant, app, now)
	sample.Credentials.ServicePrincipal = ServicePrincipal{ClientID: app.AppID, ClientSecret: secret, ObjectID: sp.ID, TenantID: sample.Tenant}

	sample.users, sample.app, sample.sp = users, app, sp
	return sample, nil
}

// write stores the sample's directory and subscription.
func (sample *Sample) write(tx *store.Tx) error {
	if err := state.CreateTenant(tx, &directory.Tenant{
		ID: sample.Tenant, DisplayName: "Contoso", Created: sample.now, Country: "US",
		Domains:       []directory.Domain{{Name: sampleDomain, Default: true, Initial: true}},
		PasswordGrant: true, UserConsent: true,
	}); err != nil {
		return err
	}
	for _, u := range sample.users {
		if err := state.CreateUser(tx, u); err != nil {
			return err
		}
	}
	if err := state.Applications.Create(tx, sample.app); err != nil {
		return err
	}
	if err := state.ServicePrincipals.Create(tx, sample.sp); err != nil {
		return err
	}
	if err := state.ServicePrincipals.Create(tx, newMachineIdentity(sample)); err != nil {
		return err
	}
	groups := map[string]directory.ObjectID{adminGroup: sample.AdminGroup}
	for _, g := range sampleGroups {
		if groups[g.name] == "" {
			groups[g.name] = directory.ObjectID(directory.NewGUID())
		}
		if err := state.Groups.Create(tx, &directory.Group{
			Tenant: sample.Tenant, ID: groups[g.name], DisplayName: g.name, MailNickname: g.name,
			Description: g.about, SecurityEnabled: true, Created: sample.now,
		}); err != nil {
			return err
		}
		for _, parent := range g.in {
			if err := state.Link(tx, directory.Member, sample.Tenant, groups[parent], groups[g.name]); err != nil {
				return err
			}
		}
	}
	for i, p := range samplePeople {
		for _, g := range p.groups {
			if err := state.Link(tx, directory.Member, sample.Tenant, groups[g], sample.Credentials.Users[i].ObjectID); err != nil {
				return err
			}
		}
	}
	for _, principal := range []directory.ObjectID{sample.Credentials.Administrator.ObjectID, sample.sp.ID} {
		if err := state.RoleAssignments.Create(tx, &directory.RoleAssignment{
			Tenant: sample.Tenant, ID: directory.NewGUID(), Role: directory.GlobalAdministrator, Principal: principal, Scope: "/",
		}); err != nil {
			return err
		}
	}
	return state.Subscriptions.Create(tx, &state.Subscription{
		ID: sample.Subscription, Tenant: sample.Tenant, DisplayName: "Sample subscription", State: "Enabled",
	})
}

// NewSecret returns a client secret of 40 characters that survives forms,
// shells and URLs, as Entra's generated secrets do.
func NewSecret() string {
	var b [30]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// NewPasswordCredential returns the credential for a client secret.
func NewPasswordCredential(secret, name string, now time.Time, life time.Duration) directory.Password {
	sum := sha256.Sum256([]byte(secret))
	return directory.Password{
		KeyID: directory.NewGUID(), DisplayName: name, Hint: secret[:3], SHA256: sum[:], Start: now, End: now.Add(life),
	}
}

// newPassword returns a password of four groups of five characters that a
// person can type: about 96 bits, without letters that look alike.
func newPassword() string {
	const alphabet = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789"
	var sb strings.Builder
	for i := range 20 {
		if i > 0 && i%5 == 0 {
			sb.WriteByte('-')
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic(err) // crypto/rand never fails
		}
		sb.WriteByte(alphabet[n.Int64()])
	}
	return sb.String()
}
