package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
)

// variable is an environment variable that points a tool here.
type variable struct{ name, value string }

// variables returns what makes this shell's tools use the running cloud: they
// keep their built-in public cloud and go through the proxy.
func variables(s *server.Status) []variable {
	bundle := filepath.Join(filepath.Dir(s.CAFile), "ca-bundle.crt")
	local := "localhost,127.0.0.1,::1"
	return []variable{
		{"HTTPS_PROXY", s.Endpoints.Proxy}, {"https_proxy", s.Endpoints.Proxy},
		{"HTTP_PROXY", s.Endpoints.Proxy}, {"http_proxy", s.Endpoints.Proxy},
		{"NO_PROXY", local}, {"no_proxy", local},
		{"SSL_CERT_FILE", bundle},       // Go, Python's ssl and urllib, OpenSSL
		{"REQUESTS_CA_BUNDLE", bundle},  // Python's requests: az
		{"CURL_CA_BUNDLE", bundle},      // curl
		{"NODE_EXTRA_CA_CERTS", bundle}, // Node
		{"AZURE_CORE_COLLECT_TELEMETRY", "no"},
		{"AZURE_CORE_LOGIN_EXPERIENCE_V2", "off"},
	}
}

func newEnv(e *env) *cobra.Command {
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

'entrance env --unset' prints how to undo it.`,
	}
	dir := dataDir(c)
	shell := c.Flags().String("shell", "sh", "sh, fish or powershell")
	unset := c.Flags().Bool("unset", false, "print how to undo it")
	c.RunE = func(c *cobra.Command, _ []string) error {
		set, clear, err := syntax(*shell)
		if err != nil {
			return err
		}
		s, err := server.ReadStatus(c.Context(), *dir)
		if err != nil {
			return err
		}
		if s.Endpoints.Proxy == "" {
			return errs.New(errs.Invalid, "The instance in %s has no proxy.", *dir)
		}
		for _, v := range variables(s) {
			if *unset {
				fmt.Fprintf(e.out, clear+"\n", v.name)
			} else {
				fmt.Fprintf(e.out, set+"\n", v.name, quote(v.value))
			}
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
	return "", "", usageError{fmt.Errorf("--shell is sh, fish or powershell, not %q", shell)}
}

// quote makes a value safe in single quotes, which all three shells have.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
