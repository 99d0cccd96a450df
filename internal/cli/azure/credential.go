package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/login"
	"github.com/entrance-id/entrance/internal/tokencache"
	"github.com/entrance-id/entrance/internal/version"
)

// expirySkew is how long before its end a kept token is no longer used.
const expirySkew = 5 * time.Minute

// keyMode sets the entries of the command line apart from the plugin's.
const keyMode = "cli"

// openStore opens the token cache beside the profile.
func openStore(dir string, warn io.Writer) *tokencache.Store {
	if dir != "" {
		dir = filepath.Join(dir, "tokens")
	}
	return tokencache.Open(dir, tokencache.Options{
		Clock: clock.Func(time.Now),
		Warn:  func(m string) { fmt.Fprintln(warn, "entrance: "+m) },
	})
}

// Credential gets tokens for an account, for any resource. It keeps them in the
// store, where the next command finds them.
type Credential struct {
	account Account
	store   *tokencache.Store
	client  *http.Client
	errOut  io.Writer
	// secret is the client secret or federated token, when it is not in the
	// store.
	secret string
}

// GetToken implements azcore.TokenCredential.
func (c *Credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 {
		return azcore.AccessToken{}, errors.New("azure: one scope at a time")
	}
	tenant := o.TenantID
	if tenant == "" {
		tenant = c.account.TenantID
	}
	e, err := c.entry(ctx, strings.TrimSuffix(o.Scopes[0], "/.default"), tenant, o.Claims != "")
	return azcore.AccessToken{Token: e.AccessToken, ExpiresOn: e.ExpiresOn}, err
}

// entry returns a token from the store or gets a new one. force passes over the
// kept one, as a claims challenge asks.
func (c *Credential) entry(ctx context.Context, resource, tenant string, force bool) (tokencache.Entry, error) {
	key, bind := c.key(resource, tenant), c.binding()
	usable := func() (tokencache.Entry, bool) {
		e, ok := c.store.Get(key)
		return e, ok && !force && e.Binding == bind && time.Now().Add(expirySkew).Before(e.ExpiresOn)
	}
	if e, ok := usable(); ok {
		return e, nil
	}
	lock, err := c.store.Lock(ctx, key, nil)
	if err != nil {
		return tokencache.Entry{}, err
	}
	defer lock.Unlock()
	if e, ok := usable(); ok { // another process was faster
		return e, nil
	}
	o := c.options(resource, tenant)
	var e tokencache.Entry
	if c.account.Method == ByRefreshToken {
		e, err = c.redeem(ctx, o)
	} else {
		e, err = login.SignIn(ctx, o, c.surroundings())
	}
	if err != nil {
		return tokencache.Entry{}, err
	}
	e.RefreshToken, e.Binding = "", bind
	if c.account.Method != ByManagedIdentity { // the platform keeps those
		if err := c.store.Put(key, e); err != nil {
			fmt.Fprintf(c.errOut, "entrance: warning: the token could not be remembered: %v\n", err)
		}
	}
	return e, nil
}

// redeem uses the account's refresh token, and keeps the one that it gets back.
func (c *Credential) redeem(ctx context.Context, o *login.Options) (tokencache.Entry, error) {
	kept, ok := c.store.Get(c.refreshKey())
	if !ok {
		return tokencache.Entry{}, errs.New(errs.Unauthenticated, "The sign-in of %s is not in the token cache any more. Sign in again: entrance login", c.account.Name)
	}
	e, err := login.Redeem(ctx, o, c.surroundings(), kept.RefreshToken)
	if err != nil {
		return e, err
	}
	if e.Account.HomeID != "" && e.Account.HomeID != c.account.ID {
		return e, errs.New(errs.Unauthenticated, "The sign-in that was renewed is not the one of %s. Sign in again: entrance login", c.account.Name)
	}
	if e.RefreshToken != kept.RefreshToken {
		c.keep(e.RefreshToken)
	}
	return e, nil
}

// keep remembers what later tokens are got with: the refresh token, the secret
// or the federated token.
func (c *Credential) keep(secret string) error {
	return c.store.Put(c.refreshKey(), tokencache.Entry{RefreshToken: secret})
}

// forget removes all that is kept of the account.
func (c *Credential) forget() error {
	items, _ := c.store.List()
	var failed []error
	for _, i := range items {
		if i.Key.Account == c.account.ID && i.Key.Authority == c.account.Cloud.Login && i.Key.Mode == keyMode {
			failed = append(failed, c.store.Delete(i.Key))
		}
	}
	return errors.Join(failed...)
}

func (c *Credential) key(resource, tenant string) tokencache.Key {
	return tokencache.Key{Authority: c.account.Cloud.Login, Tenant: strings.ToLower(tenant), Client: strings.ToLower(c.account.ClientID),
		Account: c.account.ID, Resource: resource, Mode: keyMode}
}

func (c *Credential) refreshKey() tokencache.Key { return c.key("", "") }

// binding makes a kept token good only for who has the same secret.
func (c *Credential) binding() string {
	if c.secret == "" {
		return ""
	}
	return c.store.Digest([]byte(c.secret))
}

// options say how the account signs in.
func (c *Credential) options(resource, tenant string) *login.Options {
	o := login.NewOptions()
	o.ServerID, o.TenantID, o.ClientID = resource, tenant, c.account.ClientID
	o.AuthorityHost = c.account.Cloud.Login + "/"
	// What a data directory or a person's --cloud names is declared good.
	o.DisableInstanceDiscovery = true
	secret := c.secret
	if secret == "" && c.account.Method != ByRefreshToken {
		if kept, ok := c.store.Get(c.refreshKey()); ok {
			secret = kept.RefreshToken
		}
	}
	switch c.account.Method {
	case ByRefreshToken:
		o.Login = login.DeviceCode // a public client, whose refresh token is redeemed
	case BySecret:
		o.Login, o.ClientSecret = login.ServicePrincipal, secret
	case ByCertificate:
		o.Login, o.ClientCertificate = login.ServicePrincipal, c.account.Certificate
	case ByFederatedToken:
		o.Login, o.FederatedToken = login.WorkloadIdentity, secret
	case ByManagedIdentity:
		o.Login, o.IdentityResourceID = login.ManagedIdentity, c.account.IdentityResource
	}
	return o
}

// surroundings are the machine as sign-ins see it.
func (c *Credential) surroundings() login.Surroundings {
	return surroundings(c.account.Cloud, c.client, c.errOut)
}

func surroundings(in Cloud, client *http.Client, errOut io.Writer) login.Surroundings {
	return login.Surroundings{
		Clock: clock.Func(time.Now), Stderr: errOut, Version: version.String(), Interactive: true,
		HTTP: func() *http.Client { return client },
		Env: func(name string) (string, bool) {
			if name == "AZURE_POD_IDENTITY_AUTHORITY_HOST" && in.IMDS != "" {
				return strings.TrimSuffix(in.IMDS, "/metadata/identity/oauth2/token"), true
			}
			return os.LookupEnv(name)
		},
	}
}

// cliClient is the public client that people sign in with.
const cliClient = string(directory.AzureCLI)
