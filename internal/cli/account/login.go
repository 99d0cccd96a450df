// Package account has the commands login, logout and account.
package account

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/errs"
)

// NewLogin is `entrance login`.
func NewLogin(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "login",
		Short: "Sign in, and remember it for the commands that work like az",
		Long: `Sign in, and remember it for the commands that work like az: account, group, ad, aks, role
and identity. Without any flag a code is shown, to be entered in any browser.

The cloud is the one that runs in the data directory. --cloud, or ENTRANCE_CLOUD in the
environment, names another: AzureCloud, AzureUSGovernment, AzureChinaCloud, or the address
of a Resource Manager, which tells where the rest is.`,
		Example: `  entrance login
  entrance login --username ann@contoso.test
  entrance login --service-principal --username APP-ID --password SECRET --tenant TENANT-ID
  entrance login --service-principal --username APP-ID --certificate app.pem --tenant TENANT-ID
  entrance login --service-principal --username APP-ID --federated-token "$(cat token)" --tenant TENANT-ID`,
	}
	l := azure.Login{}
	f := c.Flags()
	f.StringVarP(&l.Username, "username", "u", "", "user name, or application id with --service-principal or --identity")
	f.StringVarP(&l.Password, "password", "p", "", "password, client secret or certificate file; without it a person is asked")
	f.StringVarP(&l.Tenant, "tenant", "t", "", "tenant, by id or domain; a service principal needs it")
	f.BoolVar(&l.ServicePrincipal, "service-principal", false, "sign in as a service principal")
	f.StringVar(&l.Certificate, "certificate", "", "PEM or PFX file with the certificate and the key of a service principal")
	f.StringVar(&l.FederatedToken, "federated-token", "", "token of another issuer that a service principal trusts")
	f.BoolVarP(&l.ManagedIdentity, "identity", "i", false, "sign in as a managed identity")
	clientID := f.String("client-id", "", "client id of the managed identity")
	f.StringVar(&l.IdentityResource, "resource-id", "", "resource id of the managed identity")
	f.BoolVar(&l.AllowNoSubscriptions, "allow-no-subscriptions", false, "sign in although there is no subscription")
	device := f.Bool("use-device-code", false, "show a code to enter in any browser; what happens without any flag too")
	f.StringVar(&l.Cloud, "cloud", os.Getenv(azure.EnvCloud), "cloud to sign in to; "+azure.EnvCloud+" says it too")
	f.StringVar(&l.DataDir, "data-dir", a.DataDir(), "sign in to the cloud that runs in this data directory")
	a.RunAlone(c, accountTable, func(ctx context.Context) (any, error) {
		if l.Cloud != "" && f.Changed("data-dir") && !f.Changed("cloud") {
			l.Cloud = "" // the flag is nearer than the environment
		}
		if *clientID != "" {
			l.Username = *clientID
		}
		if err := ways(l, *device); err != nil {
			return nil, err
		}
		if l.ServicePrincipal && l.Certificate == "" && isFile(l.Password) {
			// As az up to 2.67 has it.
			l.Certificate, l.Password = l.Password, ""
		}
		if l.Username != "" && !l.ServicePrincipal && !l.ManagedIdentity && l.Password == "" {
			var err error
			if l.Password, err = askPassword(a); err != nil {
				return nil, err
			}
		}
		subs, p, err := azure.SignIn(ctx, l, a.Err)
		if err != nil {
			return nil, err
		}
		var list []entry
		for _, s := range p.Subscriptions {
			if len(subs) > 0 && s.Account == p.Accounts[len(p.Accounts)-1].ID {
				list = append(list, listed(p, s))
			}
		}
		return list, nil
	})
	return c
}

// ways refuses flags that contradict one another.
func ways(l azure.Login, device bool) error {
	switch {
	case l.ServicePrincipal && l.ManagedIdentity:
		return azure.Usagef("--service-principal and --identity exclude each other")
	case device && (l.Username != "" || l.ServicePrincipal || l.ManagedIdentity):
		return azure.Usagef("--use-device-code goes without a user name: it is entered in the browser")
	case l.Password != "" && l.Username == "":
		return azure.Usagef("--password needs --username")
	case (l.Certificate != "" || l.FederatedToken != "") && !l.ServicePrincipal:
		return azure.Usagef("--certificate and --federated-token need --service-principal")
	case l.IdentityResource != "" && !l.ManagedIdentity:
		return azure.Usagef("--resource-id needs --identity")
	}
	return nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return name != "" && err == nil && info.Mode().IsRegular()
}

// askPassword reads a password from the terminal, which does not show it, or a
// line of standard input.
func askPassword(a *azure.App) (string, error) {
	if f, ok := a.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(a.Err, "Password: ")
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.Err)
		if err != nil {
			return "", errs.Wrap(errs.Invalid, err, "The password cannot be read")
		}
		return string(b), nil
	}
	line, err := bufio.NewReader(a.In).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errs.Wrap(errs.Invalid, err, "The password cannot be read from standard input")
	}
	return line, nil
}

// NewLogout is `entrance logout`.
func NewLogout(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "logout",
		Short: "Forget a sign-in and everything that is kept of it",
		Long:  "Forget a sign-in and everything that is kept of it: that of the default subscription,\nor the one that --username names.",
	}
	name := c.Flags().String("username", "", "user name or application id of the account")
	a.RunAlone(c, "", func(context.Context) (any, error) {
		p, err := azure.LoadProfile()
		if err != nil {
			return nil, err
		}
		if *name == "" {
			s, ok := p.Find("")
			if !ok {
				return nil, errs.New(errs.Invalid, "Nobody is signed in.")
			}
			account, _ := p.AccountOf(*s)
			*name = account.Name
		}
		n, err := p.Forget(func(account azure.Account) bool { return strings.EqualFold(account.Name, *name) }, a.Err)
		if err == nil && n == 0 {
			err = errs.New(errs.Invalid, "'%s' is not signed in.", *name)
		}
		return nil, err
	})
	return c
}
