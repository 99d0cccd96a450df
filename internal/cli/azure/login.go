package azure

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/login"
	"github.com/entrance-id/entrance/internal/tokencache"
)

// Login says how somebody signs in.
type Login struct {
	Cloud   string // name or address, see FindCloud
	DataDir string
	Tenant  string // id or domain; empty: all tenants of the account

	// Username and Password are a person's, or the application id and the client
	// secret of a service principal.
	Username, Password string
	ServicePrincipal   bool
	Certificate        string // file with certificate and key
	FederatedToken     string
	// ManagedIdentity signs in as the machine, or as the identity that Username
	// (client id) or IdentityResource names.
	ManagedIdentity  bool
	IdentityResource string

	AllowNoSubscriptions bool
}

// account returns the account as far as it is known before the sign-in, and the
// secret that later tokens need.
func (l Login) account(in Cloud) (a Account, secret string, err error) {
	a = Account{Kind: ServicePrincipal, Name: l.Username, ClientID: l.Username, TenantID: l.Tenant, Cloud: in}
	switch {
	case l.ManagedIdentity:
		a.Method, a.IdentityResource = ByManagedIdentity, l.IdentityResource
		return a, "", nil
	case !l.ServicePrincipal:
		a.Kind, a.Method, a.ClientID = Person, ByRefreshToken, cliClient
		if a.TenantID == "" {
			a.TenantID = "organizations"
		}
		return a, "", nil
	}
	if l.Username == "" || l.Tenant == "" {
		return a, "", Usagef("a service principal needs --username, its application id, and --tenant")
	}
	switch {
	case l.FederatedToken != "":
		a.Method, secret = ByFederatedToken, l.FederatedToken
	case l.Certificate != "":
		a.Method = ByCertificate
		a.Certificate, err = filepath.Abs(l.Certificate)
	case l.Password != "":
		a.Method, secret = BySecret, l.Password
	default:
		err = Usagef("a service principal needs --password, --certificate or --federated-token")
	}
	return a, secret, err
}

// SignIn signs in, finds the subscriptions and remembers both. It returns the
// subscriptions of the account.
func SignIn(ctx context.Context, l Login, errOut io.Writer) ([]Subscription, *Profile, error) {
	dir, err := filepath.Abs(l.DataDir)
	if err != nil {
		return nil, nil, err
	}
	in, err := FindCloud(ctx, l.Cloud, dir)
	if err != nil {
		return nil, nil, err
	}
	a, secret, err := l.account(in)
	if err != nil {
		return nil, nil, err
	}
	p, err := LoadProfile()
	if err != nil {
		return nil, nil, err
	}
	store := openStore(p.dir, errOut)
	defer store.Close()
	s, err := newSession(a, Subscription{}, store, secret, errOut)
	if err != nil {
		return nil, nil, err
	}
	e, err := s.first(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	subs, err := s.allSubscriptions(ctx, l.Tenant == "" && s.Account.Kind == Person)
	if err != nil {
		return nil, nil, err
	}
	if len(subs) == 0 {
		if !l.AllowNoSubscriptions {
			return nil, nil, errs.New(errs.Invalid, "No subscriptions found for %s. With --allow-no-subscriptions the sign-in is for the tenant alone.", s.Account.Name)
		}
		// What az calls an account without subscriptions.
		subs = []Subscription{{ID: s.Account.TenantID, Name: "N/A(tenant level account)", State: "Enabled", TenantID: s.Account.TenantID}}
	}
	if err := s.remember(e, secret); err != nil {
		return nil, nil, err
	}
	p.Put(s.Account, subs)
	return subs, p, p.Save()
}

// first is the sign-in itself. It completes the session's account.
func (s *Session) first(ctx context.Context, l Login) (tokencache.Entry, error) {
	c := s.Credential
	o := c.options(s.Cloud.Audience, s.Account.TenantID)
	if s.Account.Method == ByRefreshToken && l.Username != "" {
		o.Login, o.Username, o.Password = login.ROPC, l.Username, l.Password
	}
	switch s.Account.Method {
	case BySecret:
		o.ClientSecret = c.secret
	case ByFederatedToken:
		o.FederatedToken = c.secret
	}
	e, err := login.SignIn(ctx, o, c.surroundings())
	if err != nil {
		return e, err
	}
	a := &s.Account
	switch a.Method {
	case ByRefreshToken:
		if e.RefreshToken == "" || e.Account.HomeID == "" {
			return e, errs.New(errs.Unauthenticated, "The sign-in does not say who signed in.")
		}
		a.ID, a.Name = e.Account.HomeID, e.Account.Username
		if l.Tenant == "" {
			a.TenantID = e.Account.TenantID
		}
	case ByManagedIdentity:
		claims, ok := login.ReadClaims(e.AccessToken)
		if !ok || claims.Tenant == "" {
			return e, errs.New(errs.Unauthenticated, "The token of the managed identity does not name its tenant.")
		}
		a.TenantID, a.Name, a.ID = claims.Tenant, "systemAssignedIdentity", "msi."+claims.ObjectID+"."+claims.Tenant
		if a.ClientID != "" || a.IdentityResource != "" {
			a.Name = "userAssignedIdentity"
		}
	default:
		a.ID = strings.ToLower(a.ClientID + "." + a.TenantID)
	}
	c.account = *a
	// The sign-in's own token needs no second request.
	return e, c.store.Put(c.key(s.Cloud.Audience, a.TenantID), tokencache.Entry{AccessToken: e.AccessToken, ExpiresOn: e.ExpiresOn, Account: e.Account, Binding: c.binding()})
}

// remember keeps what later tokens are got with, and nothing of an earlier
// sign-in of the account.
func (s *Session) remember(e tokencache.Entry, secret string) error {
	c := s.Credential
	if err := c.forget(); err != nil {
		return err
	}
	c.secret = ""
	switch s.Account.Method {
	case ByRefreshToken:
		secret = e.RefreshToken
	case ByCertificate, ByManagedIdentity:
		secret = ""
	}
	if secret != "" {
		if err := c.keep(secret); err != nil {
			return err
		}
	}
	if s.Account.Method == ByManagedIdentity {
		return nil
	}
	return c.store.Put(c.key(s.Cloud.Audience, s.Account.TenantID), tokencache.Entry{AccessToken: e.AccessToken, ExpiresOn: e.ExpiresOn, Account: e.Account})
}

// allSubscriptions asks for the subscriptions of the account: of all its tenants,
// or of the session's alone. A tenant that refuses the account is named and left
// out, as in az.
func (s *Session) allSubscriptions(ctx context.Context, everywhere bool) ([]Subscription, error) {
	if !everywhere {
		return s.Subscriptions(ctx)
	}
	tenants, err := s.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	var all []Subscription
	for _, t := range tenants {
		in := s
		if !strings.EqualFold(t, s.Account.TenantID) {
			in = s.In(t)
		}
		list, err := in.Subscriptions(ctx)
		if err != nil {
			if len(tenants) == 1 {
				return nil, err
			}
			fmt.Fprintf(s.Err, "entrance: the tenant %s is left out: %v\n", t, Explain(err))
			continue
		}
		all = append(all, list...)
	}
	return all, nil
}

// Refresh asks again which subscriptions the remembered accounts see.
func Refresh(ctx context.Context, p *Profile, errOut io.Writer) error {
	store := openStore(p.dir, errOut)
	defer store.Close()
	chosen, _ := p.Find("")
	was := ""
	if chosen != nil {
		was = chosen.ID
	}
	for _, a := range append([]Account{}, p.Accounts...) {
		s, err := newSession(a, Subscription{}, store, "", errOut)
		if err != nil {
			return err
		}
		subs, err := s.allSubscriptions(ctx, a.Kind == Person)
		if err != nil {
			return err
		}
		if len(subs) > 0 {
			p.Put(a, subs)
		}
	}
	p.Choose(was)
	return p.Save()
}

// Choose makes the subscription with an id the default one, if it is there.
func (p *Profile) Choose(id string) bool {
	found, ok := p.Find(id)
	if id == "" || !ok {
		return false
	}
	for i := range p.Subscriptions {
		p.Subscriptions[i].Default = &p.Subscriptions[i] == found
	}
	return true
}

// Forget removes the accounts that match, with all that is kept of them, and
// returns how many there were.
func (p *Profile) Forget(match func(Account) bool, errOut io.Writer) (int, error) {
	gone := p.Drop(match)
	store := openStore(p.dir, errOut)
	defer store.Close()
	for _, a := range gone {
		if err := (&Credential{account: a, store: store}).forget(); err != nil {
			return 0, err
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	return len(gone), p.Save()
}
