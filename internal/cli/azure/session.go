package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/internal/tokencache"
)

// Session is what one command works with: an account, its cloud and a
// subscription.
type Session struct {
	Cloud        Cloud
	Account      Account
	Subscription Subscription
	Credential   *Credential

	// Err is for progress and warnings. Quiet leaves out what is no error.
	Err   io.Writer
	Quiet bool

	client *http.Client
	local  bool // nobody has signed in
}

// Where says which account and subscription a command asks for.
type Where struct {
	DataDir string
	// Given is whether the person chose the data directory: only sign-ins to it
	// count then.
	Given        bool
	Subscription string
}

// Open finds the account and the subscription of a command. Nothing is sent to
// the cloud yet, but for a subscription's name that no sign-in knows.
func Open(ctx context.Context, w Where, errOut io.Writer) (*Session, error) {
	dir, err := filepath.Abs(w.DataDir)
	if err != nil {
		return nil, err
	}
	p, err := LoadProfile()
	if err != nil {
		return nil, err
	}
	if w.Given {
		there := *p
		there.Drop(func(a Account) bool { return a.Cloud.DataDir != dir })
		p = &there
	}
	if len(p.Accounts) == 0 {
		s, err := server.ReadStatus(ctx, dir)
		if err != nil {
			return nil, errs.Wrap(errs.KindOf(err), err, "Nobody has signed in, and no cloud is running in %s. Sign in with 'entrance login', or start a cloud with 'entrance up'", dir)
		}
		return openLocal(ctx, p.dir, dir, s, w.Subscription, errOut)
	}
	sub, ok := p.Find(w.Subscription)
	if !ok && w.Subscription != "" {
		// One that the sign-in did not see may be there by now.
		if _, guid := directory.ParseGUID(w.Subscription); !guid {
			return nil, errs.New(errs.NotFound, "The subscription of '%s' doesn't exist in the signed-in accounts. See them with 'entrance account list', or look again with 'entrance account list --refresh'.", w.Subscription)
		}
		if sub, ok = p.Find(""); ok {
			other := *sub
			other.ID, other.Name = strings.ToLower(w.Subscription), ""
			sub = &other
		}
	}
	if !ok {
		return nil, errs.New(errs.Invalid, "No subscription is chosen. Choose one with 'entrance account set --subscription NAME'.")
	}
	account, ok := p.AccountOf(*sub)
	if !ok {
		return nil, errs.New(errs.Invalid, "The account of the subscription %s is gone. Sign in again: entrance login", sub.Name)
	}
	return newSession(account, *sub, openStore(p.dir, errOut), "", errOut)
}

func newSession(a Account, sub Subscription, store *tokencache.Store, secret string, errOut io.Writer) (*Session, error) {
	client, err := a.Cloud.HTTP()
	if err != nil {
		return nil, err
	}
	// The tenant of the subscription decides about tokens, not the account's.
	if sub.TenantID != "" {
		a.TenantID = sub.TenantID
	}
	return &Session{
		Cloud: a.Cloud, Account: a, Subscription: sub, Err: errOut, client: client,
		Credential: &Credential{account: a, store: store, client: client, errOut: errOut, secret: secret},
	}, nil
}

// OpenInstance opens the session of the service principal of the instance that
// runs in a data directory, whoever has signed in.
func OpenInstance(ctx context.Context, dataDir string, errOut io.Writer) (*Session, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, err
	}
	s, err := server.ReadStatus(ctx, dir)
	if err != nil {
		return nil, err
	}
	p, err := LoadProfile()
	if err != nil {
		return nil, err
	}
	return openLocal(ctx, p.dir, dir, s, "", errOut)
}

// openLocal works as the service principal of the credentials file of the
// instance that runs in the data directory.
func openLocal(ctx context.Context, profileDir, dir string, s *server.Status, sub string, errOut io.Writer) (*Session, error) {
	raw, err := os.ReadFile(s.CredentialsFile)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The credentials file cannot be read. Sign in with 'entrance login'")
	}
	var people server.Credentials
	if err := json.Unmarshal(raw, &people); err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The credentials file %s is broken", s.CredentialsFile)
	}
	sp := people.ServicePrincipal
	a := Account{ID: string(sp.ClientID) + "." + string(sp.TenantID), Name: string(sp.ClientID), Kind: ServicePrincipal, Method: BySecret,
		TenantID: string(sp.TenantID), ClientID: string(sp.ClientID), Cloud: localCloud(s, dir)}
	session, err := newSession(a, Subscription{ID: s.SubscriptionID, TenantID: string(sp.TenantID), State: "Enabled", Default: true},
		openStore(profileDir, errOut), sp.ClientSecret, errOut)
	if err != nil {
		return nil, err
	}
	session.local = true
	if sub == "" {
		return session, nil
	}
	if id, ok := directory.ParseGUID(sub); ok {
		session.Subscription.ID = string(id)
		return session, nil
	}
	list, err := session.Subscriptions(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		if strings.EqualFold(l.Name, sub) {
			session.Subscription = l
			return session, nil
		}
	}
	return nil, errs.New(errs.NotFound, "The subscription of '%s' doesn't exist. See them with 'entrance account list'.", sub)
}

// Options are what the clients of Microsoft's modules are made with.
func (s *Session) Options() *arm.ClientOptions { return s.Cloud.options(s.client) }

// Scope is the resource id of the subscription.
func (s *Session) Scope() string { return "/subscriptions/" + s.Subscription.ID }

// Local reports whether nobody has signed in, so that the command works as the
// service principal of the data directory.
func (s *Session) Local() bool { return s.local }

// Token gets a token for a resource.
func (s *Session) Token(ctx context.Context, resource string) (tokencache.Entry, error) {
	return s.Credential.entry(ctx, strings.TrimSuffix(resource, "/.default"), s.Account.TenantID, false)
}

// Subscriptions asks Resource Manager for the subscriptions of the session's
// tenant.
func (s *Session) Subscriptions(ctx context.Context) ([]Subscription, error) {
	client, err := armsubscriptions.NewClient(s.Credential, s.Options())
	if err != nil {
		return nil, err
	}
	found, err := Collect(ctx, client.NewListPager(nil), func(p armsubscriptions.ClientListResponse) []*armsubscriptions.Subscription { return p.Value })
	var list []Subscription
	for _, v := range found {
		sub := Subscription{ID: str(v.SubscriptionID), Name: str(v.DisplayName), TenantID: s.Account.TenantID, HomeTenantID: str(v.TenantID), State: "Enabled"}
		if v.State != nil {
			sub.State = string(*v.State)
		}
		for _, m := range v.ManagedByTenants {
			sub.ManagedBy = append(sub.ManagedBy, str(m.TenantID))
		}
		sub.Default = strings.EqualFold(sub.ID, s.Subscription.ID)
		list = append(list, sub)
	}
	return list, err
}

// Tenants asks Resource Manager for the tenants of the account.
func (s *Session) Tenants(ctx context.Context) ([]string, error) {
	client, err := armsubscriptions.NewTenantsClient(s.Credential, s.Options())
	if err != nil {
		return nil, err
	}
	found, err := Collect(ctx, client.NewListPager(nil), func(p armsubscriptions.TenantsClientListResponse) []*armsubscriptions.TenantIDDescription {
		return p.Value
	})
	var list []string
	for _, v := range found {
		list = append(list, str(v.TenantID))
	}
	return list, err
}

// In is the session as it is in another tenant.
func (s *Session) In(tenant string) *Session {
	t, c := *s, *s.Credential
	t.Account.TenantID, c.account.TenantID = tenant, tenant
	t.Credential = &c
	return &t
}

func str(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// Warnf tells the person something that is no error.
func (s *Session) Warnf(format string, args ...any) {
	if !s.Quiet {
		fmt.Fprintf(s.Err, format+"\n", args...)
	}
}
