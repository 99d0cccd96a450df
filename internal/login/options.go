package login

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// The login modes, as --login takes them.
const (
	DeviceCode       = "devicecode"
	Interactive      = "interactive"
	ServicePrincipal = "spn"
	ROPC             = "ropc"
	ManagedIdentity  = "msi"
	AzureCLI         = "azurecli"
	AzureDeveloper   = "azd"
	WorkloadIdentity = "workloadidentity"
	AzurePipelines   = "azurepipelines"
)

// Modes returns the login modes in the order in which messages list them.
func Modes() []string {
	return []string{DeviceCode, Interactive, ServicePrincipal, ROPC, ManagedIdentity,
		AzureCLI, AzureDeveloper, WorkloadIdentity, AzurePipelines}
}

// DefaultTimeout bounds the network part of a sign-in.
const DefaultTimeout = time.Minute

// Options are the flags that get-token and convert-kubeconfig share.
type Options struct {
	Login                    string
	ServerID                 string
	ClientID                 string
	TenantID                 string
	Subscription             string
	Environment              string
	ClientSecret             string
	ClientCertificate        string
	ClientCertificatePass    string
	Username                 string
	Password                 string
	IdentityResourceID       string
	FederatedTokenFile       string
	AuthorityHost            string
	ServiceConnectionID      string
	CacheDir                 string
	Legacy                   bool
	UseAzureRMEnv            bool
	PoPEnabled               bool
	PoPClaims                string
	DisableEnvironment       bool
	DisableInstanceDiscovery bool
	RedirectURL              string
	LoginHint                string
	Timeout                  time.Duration
	SkipOpenBrowser          bool // ours; get-token only
	// FederatedToken is the token itself, where the caller has it and no file
	// does. No flag sets it: a command line is no place for it.
	FederatedToken string
}

// DefaultCacheDir is $KUBECACHEDIR, or the folder that users of the original
// plugin know. It is empty if there is no home directory.
func DefaultCacheDir() string {
	if dir := os.Getenv("KUBECACHEDIR"); dir != "" {
		return dir
	}
	return HomeCacheDir()
}

// HomeCacheDir is the cache directory in the user's home, whatever the
// environment says.
func HomeCacheDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".kube", "cache", "kubelogin") + string(filepath.Separator)
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	return &Options{Login: DeviceCode, Environment: "AzurePublicCloud", CacheDir: DefaultCacheDir(), Timeout: DefaultTimeout}
}

// AddFlags binds the shared flags.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	str := func(p *string, name, short, usage string) { fs.StringVarP(p, name, short, *p, usage) }
	str(&o.Login, "login", "l", "How to sign in: "+strings.Join(Modes(), ", ")+". AAD_LOGIN_METHOD overrides it")
	str(&o.ServerID, "server-id", "", "Application ID of the cluster's API server")
	str(&o.ClientID, "client-id", "", "Application ID of the client. AAD_SERVICE_PRINCIPAL_CLIENT_ID or AZURE_CLIENT_ID override it")
	str(&o.TenantID, "tenant-id", "t", "Tenant ID. AZURE_TENANT_ID overrides it")
	str(&o.Subscription, "subscription", "s", "Subscription whose account azurecli uses")
	str(&o.Environment, "environment", "e", "Azure environment name")
	str(&o.ClientSecret, "client-secret", "", "Client secret for spn. AAD_SERVICE_PRINCIPAL_CLIENT_SECRET or AZURE_CLIENT_SECRET override it")
	str(&o.ClientCertificate, "client-certificate", "", "Certificate file for spn, PFX (.pfx) or PEM with certificate and key. AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE or AZURE_CLIENT_CERTIFICATE_PATH override it")
	str(&o.ClientCertificatePass, "client-certificate-password", "", "Password of the PFX file. AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE_PASSWORD or AZURE_CLIENT_CERTIFICATE_PASSWORD override it")
	str(&o.Username, "username", "", "User name for ropc. AAD_USER_PRINCIPAL_NAME or AZURE_USERNAME override it")
	str(&o.Password, "password", "", "Password for ropc. AAD_USER_PRINCIPAL_PASSWORD or AZURE_PASSWORD override it")
	str(&o.IdentityResourceID, "identity-resource-id", "", "Resource ID of the managed identity, for msi without --client-id")
	str(&o.FederatedTokenFile, "federated-token-file", "", "File with the federated token, for workloadidentity. AZURE_FEDERATED_TOKEN_FILE overrides it")
	str(&o.AuthorityHost, "authority-host", "", "URL of the authority, https and ending in '/'. AZURE_AUTHORITY_HOST overrides it in workloadidentity")
	str(&o.ServiceConnectionID, "azure-pipelines-service-connection-id", "", "Service connection ID for azurepipelines. AZURESUBSCRIPTION_SERVICE_CONNECTION_ID is used if it is not given")
	str(&o.CacheDir, "cache-dir", "", "Directory in which sign-ins are remembered")
	str(&o.CacheDir, "token-cache-dir", "", "Directory in which sign-ins are remembered")
	fs.MarkDeprecated("token-cache-dir", "use --cache-dir instead")
	fs.BoolVar(&o.Legacy, "legacy", o.Legacy, "Ask the v1 endpoint for a token whose audience starts with 'spn:' (devicecode, spn)")
	fs.BoolVar(&o.UseAzureRMEnv, "use-azurerm-env-vars", o.UseAzureRMEnv, "Read the variables of the Terraform Azure provider (ARM_CLIENT_ID, ARM_CLIENT_SECRET, ARM_CLIENT_CERTIFICATE_PATH, ARM_CLIENT_CERTIFICATE_PASSWORD, ARM_TENANT_ID)")
	fs.BoolVar(&o.PoPEnabled, "pop-enabled", o.PoPEnabled, "Make proof-of-possession tokens (interactive, spn, ropc)")
	str(&o.PoPClaims, "pop-claims", "", "Claims of the proof-of-possession token as `key=val,key2=val2`; u=ARM_ID of the cluster is needed")
	fs.BoolVar(&o.DisableEnvironment, "disable-environment-override", o.DisableEnvironment, "Do not let environment variables override flags")
	fs.BoolVar(&o.DisableInstanceDiscovery, "disable-instance-discovery", o.DisableInstanceDiscovery, "Do not ask Microsoft whether the authority host is one of theirs; needed for private clouds")
	str(&o.RedirectURL, "redirect-url", "", "Redirect URL for interactive, for example http://localhost:8000")
	str(&o.LoginHint, "login-hint", "", "User name to offer in interactive")
	fs.DurationVar(&o.Timeout, "timeout", o.Timeout, "Time limit for requests and for az and azd; a person who signs in has as long as the code lives. AZURE_CLI_TIMEOUT overrides it")
}

// Environment looks a variable up, as os.LookupEnv does.
type Environment func(name string) (value string, ok bool)

// Override is one value that the environment replaced or filled.
type Override struct {
	Flag, Variable string
}

// ApplyEnvironment lets variables override flags, as users of the original
// plugin expect: a variable that is set wins, even if it is empty and even
// over a flag that was typed. It returns what was overridden, for doctor.
func (o *Options) ApplyEnvironment(env Environment) []Override {
	if o.DisableEnvironment {
		return nil
	}
	var done []Override
	set := func(dst *string, flag string, names ...string) {
		for _, name := range names {
			if v, ok := env(name); ok {
				*dst = v
				done = append(done, Override{flag, name})
			}
		}
	}
	if o.UseAzureRMEnv {
		set(&o.ClientID, "client-id", "ARM_CLIENT_ID")
		set(&o.ClientSecret, "client-secret", "ARM_CLIENT_SECRET")
		set(&o.ClientCertificate, "client-certificate", "ARM_CLIENT_CERTIFICATE_PATH")
		set(&o.ClientCertificatePass, "client-certificate-password", "ARM_CLIENT_CERTIFICATE_PASSWORD")
		set(&o.TenantID, "tenant-id", "ARM_TENANT_ID")
	} else {
		set(&o.ClientID, "client-id", "AAD_SERVICE_PRINCIPAL_CLIENT_ID", "AZURE_CLIENT_ID")
		set(&o.ClientSecret, "client-secret", "AAD_SERVICE_PRINCIPAL_CLIENT_SECRET", "AZURE_CLIENT_SECRET")
		set(&o.ClientCertificate, "client-certificate", "AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE", "AZURE_CLIENT_CERTIFICATE_PATH")
		set(&o.ClientCertificatePass, "client-certificate-password", "AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE_PASSWORD", "AZURE_CLIENT_CERTIFICATE_PASSWORD")
		set(&o.TenantID, "tenant-id", "AZURE_TENANT_ID")
	}
	set(&o.Username, "username", "AAD_USER_PRINCIPAL_NAME", "AZURE_USERNAME")
	set(&o.Password, "password", "AAD_USER_PRINCIPAL_PASSWORD", "AZURE_PASSWORD")
	set(&o.Login, "login", "AAD_LOGIN_METHOD")
	switch o.Login {
	case WorkloadIdentity:
		set(&o.ClientID, "client-id", "AZURE_CLIENT_ID")
		set(&o.FederatedTokenFile, "federated-token-file", "AZURE_FEDERATED_TOKEN_FILE")
		set(&o.AuthorityHost, "authority-host", "AZURE_AUTHORITY_HOST")
	case AzurePipelines:
		for _, f := range []struct {
			dst        *string
			flag, name string
		}{
			{&o.ClientID, "client-id", "AZURESUBSCRIPTION_CLIENT_ID"},
			{&o.TenantID, "tenant-id", "AZURESUBSCRIPTION_TENANT_ID"},
			{&o.ServiceConnectionID, "azure-pipelines-service-connection-id", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"},
		} {
			if *f.dst == "" {
				set(f.dst, f.flag, f.name)
			}
		}
	}
	if v, ok := env("AZURE_CLI_TIMEOUT"); ok {
		if d, err := time.ParseDuration(v); err == nil {
			o.Timeout = d
			done = append(done, Override{"timeout", "AZURE_CLI_TIMEOUT"})
		}
	}
	return done
}

// ValidateLogin checks the login mode alone.
func (o *Options) ValidateLogin() error {
	if !slices.Contains(Modes(), o.Login) {
		return fmt.Errorf("'%s' is not a supported login method. Supported method is one of %s", o.Login, strings.Join(Modes(), ", "))
	}
	return nil
}

// Validate checks what can be checked before anything else runs.
func (o *Options) Validate() error {
	if err := o.ValidateLogin(); err != nil {
		return err
	}
	if o.AuthorityHost != "" {
		if err := checkAuthorityHost(o.AuthorityHost); err != nil {
			return err
		}
	}
	if o.PoPEnabled && o.PoPClaims == "" {
		return errors.New("if enabling pop token mode, please provide the pop-claims flag containing the PoP token claims as a comma-separated string: `u=popClaimHost,key1=val1`")
	}
	if o.PoPClaims != "" && !o.PoPEnabled {
		return errors.New("pop-enabled flag is required to use the PoP token feature. Please provide both pop-enabled and pop-claims flags")
	}
	if o.Timeout <= 0 {
		return errors.New("timeout must be greater than 0")
	}
	if i := strings.IndexFunc(o.Subscription, badInSubscription); i >= 0 {
		return fmt.Errorf("subscription %q is not valid: only letters, digits, '-', '_', '.' and spaces are allowed", o.Subscription)
	}
	return nil
}

func badInSubscription(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("-_. ", r)
}

func checkAuthorityHost(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("authority host %q is not valid: %w", s, err)
	}
	if u.Scheme == "" || u.Host == "" {
		return fmt.Errorf("authority host %q is not valid: it must be a full URL such as https://login.microsoftonline.com/", s)
	}
	if !strings.HasSuffix(s, "/") {
		return fmt.Errorf("authority host %q is not valid: it must end with '/'", s)
	}
	if u.Scheme != "https" {
		return errors.New("cannot use an authority host without https")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("authority host %q is not valid: it must hold no user, query or fragment", u.Redacted())
	}
	return nil
}

// usesPoP reports whether the mode makes proof-of-possession tokens. Legacy
// wins over it, and modes that do not know it ignore it.
func (o *Options) usesPoP() bool {
	switch o.Login {
	case Interactive, ROPC:
		return o.PoPEnabled
	case ServicePrincipal:
		return o.PoPEnabled && !o.Legacy
	}
	return false
}

// usesV1 reports whether the token comes from the v1 endpoint.
func (o *Options) usesV1() bool {
	return o.Legacy && (o.Login == DeviceCode || o.Login == ServicePrincipal)
}

// Scope is the v2 scope for the API server.
func (o *Options) Scope() string {
	s := strings.TrimRight(o.ServerID, "/")
	if !strings.HasSuffix(s, "/.default") {
		s += "/.default"
	}
	return s
}

// resource is the server application without the scope's suffix, as v1, IMDS
// and az want it.
func (o *Options) resource() string { return strings.TrimSuffix(o.Scope(), "/.default") }

// ParsePoPClaims reads --pop-claims. Values may hold '='.
func ParsePoPClaims(s string) (map[string]string, error) {
	if strings.TrimSpace(s) == "" {
		return nil, errors.New("failed to parse PoP token claims: no claims provided")
	}
	claims := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		k, v, ok := strings.Cut(part, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || k == "" || v == "" {
			return nil, errors.New("failed to parse PoP token claims. Ensure the claims are formatted as `key=value` with no extra whitespace")
		}
		claims[k] = v
	}
	if claims["u"] == "" {
		return nil, errors.New("required u-claim not provided for PoP token flow. Please provide the ARM ID of the cluster in the format `u=<ARM_ID>`")
	}
	return claims, nil
}
