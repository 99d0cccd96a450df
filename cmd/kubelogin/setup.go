package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/entrance-id/entrance/internal/kubeconfig"
	"github.com/entrance-id/entrance/internal/login"
	"github.com/spf13/cobra"
)

// The applications of AKS, which are what most clusters use.
const (
	aksServer = "6dae42f8-4368-4678-94ff-3960e28e3630"
	aksClient = "80faf920-1908-4b52-b5ef-a8e7bedfc67a"
)

func (p *program) setup() *cobra.Command {
	o := login.NewOptions()
	var path, azureDir, caFile string
	var dryRun bool
	var s kubeconfig.Setup
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Write a kubeconfig user that signs in with kubelogin",
		Long: "Add a user to a kubeconfig, or change it, so that it signs in with the given mode; with\n" +
			"--context let a context use it, with --cluster and --server make these as well.\n" +
			"Without --server-id and --client-id the applications of AKS are used.",
		Example: "  kubelogin setup -t TENANT --context my-aks\n" +
			"  kubelogin setup -t TENANT -l interactive --context dev --cluster dev --server https://10.0.0.5:6443 --certificate-authority ca.crt --use",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.ApplyEnvironment(os.LookupEnv)
			if err := o.Validate(); err != nil {
				return err
			}
			set := map[string]bool{}
			if o.ServerID == "" {
				o.ServerID, set["server-id"] = aksServer, true
			}
			switch o.Login {
			case login.DeviceCode, login.Interactive, login.ROPC:
				if o.ClientID == "" {
					o.ClientID, set["client-id"] = aksClient, true
				}
			}
			if s.User == "" {
				s.User = "kubelogin-" + o.Login
				if s.Context != "" {
					s.User = s.Context + "-" + o.Login
				}
			}
			conv := kubeconfig.Conversion{Options: o, AzureConfigDir: azureDir,
				// A variable counts as typed here: the user must work without it.
				Typed: func(flag string) bool { return set[flag] || cmd.Flags().Changed(flag) || fromEnvironment(o, flag) }}
			var err error
			if s.Exec, err = conv.Exec(kubeconfig.User{}); err != nil {
				return err
			}
			if s.Server != "" {
				if u, err := url.Parse(s.Server); err != nil || u.Scheme != "https" || u.Host == "" {
					return fmt.Errorf("--server %q is not an https URL", s.Server)
				}
			}
			if caFile != "" {
				if s.CA, err = os.ReadFile(caFile); err != nil {
					return err
				}
				if !x509.NewCertPool().AppendCertsFromPEM(s.CA) {
					return fmt.Errorf("%s holds no certificate", caFile)
				}
			}
			return p.writeSetup(s, path, dryRun)
		},
	}
	o.AddFlags(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&path, "kubeconfig", "", "Path to the kubeconfig file")
	f.StringVar(&s.User, "user", "", "Name of the user in the kubeconfig (default CONTEXT-MODE)")
	f.StringVar(&s.Context, "context", "", "Context that shall use the user; made if --cluster is given")
	f.StringVar(&s.Cluster, "cluster", "", "Cluster of a new context")
	f.StringVar(&s.Server, "server", "", "Address of a new cluster")
	f.StringVar(&caFile, "certificate-authority", "", "PEM file with the new cluster's certificate authority")
	f.StringVar(&s.Namespace, "namespace", "", "Namespace of a new context")
	f.BoolVar(&s.Use, "use", false, "Make the context the current one")
	f.StringVar(&azureDir, "azure-config-dir", "", "AZURE_CONFIG_DIR for az in azurecli mode")
	f.BoolVar(&dryRun, "dry-run", false, "Show what would change as a diff, and write nothing")
	completeLogin(cmd)
	completeContexts(cmd, &path)
	return cmd
}

// fromEnvironment reports whether an identifier, never a secret, has a value
// that no flag gave.
func fromEnvironment(o *login.Options, flag string) bool {
	switch flag {
	case "client-id":
		return o.ClientID != ""
	case "tenant-id":
		return o.TenantID != "" && o.Login != login.AzureCLI
	case "federated-token-file":
		return o.FederatedTokenFile != ""
	}
	return false
}

// writeSetup changes the first of the files, where kubectl would.
func (p *program) writeSetup(s kubeconfig.Setup, path string, dryRun bool) error {
	home, _ := os.UserHomeDir()
	paths := kubeconfig.Paths(path, os.Getenv("KUBECONFIG"), home)
	if len(paths) == 0 {
		return errors.New("which file? Give --kubeconfig")
	}
	plan := func([]*kubeconfig.File) ([]kubeconfig.Change, error) {
		f, err := kubeconfig.LoadOrEmpty(paths[0])
		if err != nil {
			return nil, err
		}
		c, err := s.Plan(f)
		return []kubeconfig.Change{c}, err
	}
	if dryRun {
		changes, err := plan(nil)
		if err == nil {
			fmt.Fprint(p.stdout, changes[0].Diff())
		}
		return err
	}
	if _, err := kubeconfig.Apply(nil, plan, p.warn); err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "kubelogin: user %q is in %s\n", s.User, paths[0])
	return nil
}
