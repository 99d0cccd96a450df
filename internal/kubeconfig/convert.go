package kubeconfig

import (
	"fmt"
	"io"
	"strings"

	"github.com/entrance-id/entrance/internal/login"
	"github.com/spf13/pflag"
)

// AzureConfigDir is the variable that tells az where its files are.
const AzureConfigDir = "AZURE_CONFIG_DIR"

// installHint is shown by kubectl to whoever has no kubelogin.
const installHint = `
kubelogin is not installed which is required to connect to AAD enabled cluster.

To learn more, please go to https://azure.github.io/kubelogin/
`

// Conversion says how users shall sign in from now on.
type Conversion struct {
	Options        *login.Options         // flag values, after the environment had its say
	Typed          func(flag string) bool // whether a flag was given
	AzureConfigDir string
}

// Convertible reports whether a user signs in to Azure in a way that this
// package converts: the old auth-provider, or any command called kubelogin.
func (u User) Convertible() bool {
	return u.AuthProvider == "azure" || strings.Contains(strings.ToLower(u.Command), "kubelogin")
}

// Old reads the options out of a user. Flags that it does not know are
// ignored.
func (u User) Old() (*login.Options, func(flag string) bool) {
	o := &login.Options{Timeout: login.DefaultTimeout}
	fs := pflag.NewFlagSet("old", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.ParseErrorsAllowlist.UnknownFlags = true
	o.AddFlags(fs)
	fs.Bool("skip-open-browser", false, "")
	fs.CountP("v", "v", "")
	if u.AuthProvider == "azure" {
		for flag, name := range map[string]string{"environment": "environment", "tenant-id": "tenant-id", "client-id": "client-id", "server-id": "apiserver-id"} {
			if v := u.Provider[name]; v != "" {
				fs.Set(flag, v)
			}
		}
		if m := u.Provider["config-mode"]; m == "" || m == "0" {
			fs.Set("legacy", "true")
		}
	} else {
		args := u.Args
		for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			args = args[1:]
		}
		parseLeniently(fs, args)
	}
	return o, fs.Changed
}

// parseLeniently takes what it understands from arguments that somebody else
// wrote: a bad value of one flag must not hide the others.
func parseLeniently(fs *pflag.FlagSet, args []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if len(arg) < 2 || arg[0] != '-' || arg == "--" {
			continue
		}
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		var f *pflag.Flag
		if strings.HasPrefix(arg, "--") {
			f = fs.Lookup(name)
		} else {
			f = fs.ShorthandLookup(name[:1])
			if f != nil && len(name) > 1 { // -tVALUE
				value, joined = strings.TrimPrefix(arg[2:], "="), true
			}
		}
		switch {
		case f == nil:
		case f.Name == "token-cache-dir" && fs.Changed("cache-dir"): // the old name of it yields
			if !joined {
				i++
			}
		case joined:
			f.Value.Set(value)
			f.Changed = true
		case f.NoOptDefVal != "":
			f.Value.Set(f.NoOptDefVal)
			f.Changed = true
		case i+1 < len(args):
			i++
			f.Value.Set(args[i])
			f.Changed = true
		}
	}
}

// Exec computes the exec stanza for a user.
func (c Conversion) Exec(u User) (Exec, error) {
	prev, _ := u.Old()
	o := c.Options
	// pick is "flag if typed, else what the user had".
	pick := func(flag, now, before string) string {
		if c.Typed(flag) {
			return now
		}
		return before
	}
	args := []string{"get-token", "--login", o.Login}
	add := func(flag, value string) { args = append(args, "--"+flag, value) }
	keep := func(flag, value string) {
		if value != "" {
			add(flag, value)
		}
	}
	typed := func(flag, value string) {
		if c.Typed(flag) {
			add(flag, value)
		}
	}
	var missing error
	need := func(flag, value string) {
		if value == "" && missing == nil {
			missing = fmt.Errorf("--%s is required", flag)
		}
		add(flag, value)
	}

	need("server-id", pick("server-id", o.ServerID, prev.ServerID))
	if c.Typed("cache-dir") || c.Typed("token-cache-dir") {
		keep("cache-dir", o.CacheDir)
	} else {
		keep("cache-dir", prev.CacheDir)
	}
	clientID := pick("client-id", o.ClientID, prev.ClientID)
	tenantID := pick("tenant-id", o.TenantID, prev.TenantID)
	environment := pick("environment", o.Environment, prev.Environment)
	legacy := prev.Legacy || c.Typed("legacy") && o.Legacy
	ids := func() {
		need("client-id", clientID)
		need("tenant-id", tenantID)
		keep("environment", environment)
	}
	legacyFlag := func() {
		if legacy {
			args = append(args, "--legacy")
		}
	}
	pop := func() error {
		enabled := prev.PoPEnabled
		if c.Typed("pop-enabled") {
			enabled = o.PoPEnabled
		}
		claims := pick("pop-claims", o.PoPClaims, prev.PoPClaims)
		switch {
		case enabled && claims == "":
			return fmt.Errorf("--pop-claims is required when specifying --pop-enabled")
		case !enabled && claims != "":
			return fmt.Errorf("--pop-enabled is required when specifying --pop-claims")
		case enabled:
			args = append(args, "--pop-enabled")
			add("pop-claims", claims)
		}
		return nil
	}
	// host keeps what makes a private authority work.
	host := func(withHost bool) {
		if withHost {
			keep("authority-host", pick("authority-host", o.AuthorityHost, prev.AuthorityHost))
		}
		disable := prev.DisableInstanceDiscovery
		if c.Typed("disable-instance-discovery") {
			disable = o.DisableInstanceDiscovery
		}
		if disable {
			args = append(args, "--disable-instance-discovery")
		}
	}

	ex := Exec{InstallHint: installHint, DropEnv: []string{AzureConfigDir}}
	var err error
	switch o.Login {
	case login.DeviceCode:
		ids()
		legacyFlag()
		host(true)
	case login.Interactive:
		ids()
		err = pop()
		keep("redirect-url", pick("redirect-url", o.RedirectURL, prev.RedirectURL))
		keep("login-hint", pick("login-hint", o.LoginHint, prev.LoginHint))
		host(true)
	case login.ServicePrincipal:
		ids()
		typed("client-secret", o.ClientSecret)
		typed("client-certificate", o.ClientCertificate)
		typed("client-certificate-password", o.ClientCertificatePass)
		legacyFlag()
		err = pop()
		if c.Typed("disable-environment-override") && o.DisableEnvironment {
			args = append(args, "--disable-environment-override")
		}
		host(true)
	case login.ROPC:
		ids()
		typed("username", o.Username)
		typed("password", o.Password)
		legacyFlag()
		err = pop()
		host(true)
	case login.ManagedIdentity:
		if c.Typed("client-id") {
			add("client-id", o.ClientID)
		} else {
			typed("identity-resource-id", o.IdentityResourceID)
		}
	case login.AzureCLI:
		// Not from the old user: az with a managed identity refuses a tenant.
		typed("tenant-id", o.TenantID)
		typed("subscription", o.Subscription)
		if c.AzureConfigDir != "" {
			ex.SetEnv = []EnvVar{{AzureConfigDir, c.AzureConfigDir}}
		}
	case login.AzureDeveloper:
		typed("tenant-id", o.TenantID)
	case login.WorkloadIdentity:
		typed("client-id", o.ClientID)
		typed("tenant-id", o.TenantID)
		keep("authority-host", pick("authority-host", o.AuthorityHost, prev.AuthorityHost))
		typed("federated-token-file", o.FederatedTokenFile)
		host(false)
	case login.AzurePipelines:
		need("tenant-id", tenantID)
		typed("azure-pipelines-service-connection-id", o.ServiceConnectionID)
		host(true)
	}
	if missing != nil {
		return ex, missing
	}
	ex.Args = args
	return ex, err
}
