package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
)

// variable is an environment variable that points a tool here.
type variable struct{ name, value string }

// variables returns what makes this shell's tools use the running cloud: they
// keep their built-in public cloud and go through the proxy.
func variables(s *server.Status) []variable {
	return append([]variable{
		{"HTTPS_PROXY", s.Endpoints.Proxy}, {"https_proxy", s.Endpoints.Proxy},
		{"HTTP_PROXY", s.Endpoints.Proxy}, {"http_proxy", s.Endpoints.Proxy},
		{"NO_PROXY", unproxied}, {"no_proxy", unproxied},
	}, trusting(s)...)
}

// unproxied are the hosts that no proxy is asked for.
const unproxied = "localhost,127.0.0.1,::1"

// trusting returns what makes tools trust the cloud's authority, and keeps az
// from asking hosts that it cannot reach.
func trusting(s *server.Status) []variable {
	bundle := filepath.Join(filepath.Dir(s.CAFile), "ca-bundle.crt")
	return []variable{
		{"SSL_CERT_FILE", bundle},       // Go, Python's ssl and urllib, OpenSSL
		{"REQUESTS_CA_BUNDLE", bundle},  // Python's requests: az
		{"CURL_CA_BUNDLE", bundle},      // curl
		{"NODE_EXTRA_CA_CERTS", bundle}, // Node
		{"AZURE_CORE_COLLECT_TELEMETRY", "no"},
		{"AZURE_CORE_LOGIN_EXPERIENCE_V2", "off"},
	}
}

func newEnv(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "env",
		Short: "Print the environment variables that point a shell's tools here",
		Long: `Print the environment variables that point a shell's tools here:

    eval "$(entrance env)"

az, kubelogin and the Azure SDKs for Go and Python then keep their built-in public
cloud and reach Entrance through its proxy, which answers for Microsoft's names and
refuses every other host. Node's built-in fetch ignores proxy variables: give such
clients a proxy agent or an endpoint. A browser is not pointed anywhere: sign-in pages
are at the address that 'entrance status' prints.

With --custom-cloud nothing is intercepted: tools are given this cloud's own addresses. The
file for 'az cloud register' is written into the data directory, and what to run is printed as
a comment. Its authority is "adfs", which every az takes without asking Microsoft's servers; with
--authority tenant it is the plain one, for az 2.53 and later.

'entrance env --unset' prints how to undo it. What each kind of tool obeys on which operating
system is in docs/env.md.`,
		Example: `  eval "$(entrance env)"
  eval "$(entrance env --custom-cloud)"
  az cloud register -n Entrance --cloud-config @"$ENTRANCE_CLOUD_CONFIG" && az cloud set -n Entrance`,
	}
	dir := e.DataDirFlag(c)
	shell := c.Flags().String("shell", "sh", "sh, fish or powershell")
	unset := c.Flags().Bool("unset", false, "print how to undo it")
	custom := c.Flags().Bool("custom-cloud", false, "give tools this cloud's addresses instead of intercepting the public ones")
	authority := c.Flags().String("authority", authorityADFS, "adfs or tenant: the form of the authority in the file for 'az cloud register'")
	c.RunE = func(c *cobra.Command, _ []string) error {
		set, clear, err := syntax(*shell)
		if err != nil {
			return err
		}
		switch {
		case *authority != authorityADFS && *authority != authorityTenant:
			return azure.Usagef("--authority is adfs or tenant, not %q", *authority)
		case c.Flags().Changed("authority") && !*custom:
			return azure.Usagef("--authority is for --custom-cloud")
		}
		s, err := server.ReadStatus(c.Context(), *dir)
		if err != nil {
			return err
		}
		list := variables(s)
		switch {
		case *custom:
			list = customVariables(s)
			if !*unset {
				if err := writeCloudConfig(s, *authority); err != nil {
					return err
				}
			}
		case s.Endpoints.Proxy == "":
			return errs.New(errs.Invalid, "The instance in %s has no proxy: use --custom-cloud.", *dir)
		}
		for _, v := range list {
			if *unset {
				fmt.Fprintf(e.Out, clear+"\n", v.name)
			} else {
				fmt.Fprintf(e.Out, set+"\n", v.name, quote(*shell, v.value))
			}
		}
		if *custom && !*unset {
			fmt.Fprintf(e.Out, "# az cloud register -n Entrance --cloud-config @%s\n# az cloud set -n Entrance\n", quote(*shell, cloudConfigFile(s)))
		}
		return nil
	}
	return c
}

// syntax returns how a shell sets and clears a variable.
func syntax(shell string) (set, clear string, err error) {
	switch shell {
	case "sh", "bash", "zsh":
		return "export %s=%s", "unset %s", nil
	case "fish":
		return "set -gx %s %s", "set -e %s", nil
	case "powershell", "pwsh":
		return "$env:%s = %s", "Remove-Item -ErrorAction SilentlyContinue Env:%s", nil
	}
	return "", "", azure.Usagef("--shell is sh, fish or powershell, not %q", shell)
}

// quote writes a value in single quotes, in which all three shells leave
// everything but the quote itself alone.
func quote(shell, s string) string {
	if strings.HasPrefix(shell, "p") {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
