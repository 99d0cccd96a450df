package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/diagnose"
	"github.com/entrance-id/entrance/internal/login/doctor"
	"github.com/entrance-id/entrance/internal/server"
)

func newDoctor(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why somebody does not get into a cluster",
		Long: `Find out why somebody does not get into a cluster: the causes of "Unauthorized", of
"Forbidden" and of a sign-in that Conditional Access stops, each looked at, with what to
do about it. The exit code is 1 when there is a problem.

What is wrong with one machine's kubeconfig or remembered sign-in, 'kubelogin doctor' says.`,
		Example: `  entrance doctor --user dev@contoso.test --cluster sample
  entrance doctor --user dev@contoso.test --cluster sample --verb list --resource pods -n prod`,
	}
	dir, output := e.DataDirFlag(c), outputFlag(c)
	var r request
	r.flags(c)
	user := c.Flags().String("user", "", "user principal name, object id, or application id of a service principal")
	verb := c.Flags().String("verb", "list", "verb of the request: get, list, create, ...")
	resource := c.Flags().String("resource", "", "resource[.group][/subresource] (default nodes)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *user == "" || r.cluster == "" {
			return azure.Usagef("--user and --cluster are required (see '%s --help')", c.CommandPath())
		}
		if *resource == "" && r.path == "" {
			*resource = "nodes"
		}
		q, err := r.query(*verb, *resource)
		if err != nil {
			return err
		}
		d, err := server.Diagnose(c.Context(), *dir, server.DoctorQuery{Cluster: r.cluster, Who: *user, Resource: q.Resource, NonResource: q.NonResource})
		if err != nil {
			return err
		}
		s, err := server.ReadStatus(c.Context(), *dir)
		if err != nil {
			return err
		}
		d.Findings = append(thisMachine().examine(c.Context(), s, d.Kubernetes), d.Findings...)
		if err := printAs(e, *output, d, func(w *tabwriter.Writer) { diagnosed(w, d.Findings) }); err != nil {
			return err
		}
		for _, f := range d.Findings {
			if f.Level == diagnose.Problem {
				return azure.ExitCode(1)
			}
		}
		return nil
	}
	return c
}

// diagnosed writes the findings for a person, by symptom.
func diagnosed(w *tabwriter.Writer, list []diagnose.Finding) {
	for _, s := range []diagnose.Symptom{diagnose.SignIn, diagnose.Unauthorized, diagnose.Forbidden} {
		fmt.Fprintf(w, "%s\n", s)
		for _, f := range list {
			if f.Symptom != s {
				continue
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\n", f.Level, f.Check, printable(f.Text))
			if f.Advice != "" {
				fmt.Fprintf(w, "\t\t  -> %s\n", printable(f.Advice))
			}
		}
	}
}

// machine is what is looked at of the person's own machine.
type machine struct {
	find func(name string) []string // the different programs of a name on PATH
	// version returns the version of a kubectl.
	version func(ctx context.Context, kubectl string) (string, error)
	now     func() time.Time
	// date returns the time at an address.
	date func(ctx context.Context, address string, caFile string) (time.Time, error)
}

func thisMachine() *machine {
	return &machine{
		find: func(name string) []string { return doctor.OnPath(name, os.LookupEnv) },
		version: func(ctx context.Context, kubectl string) (string, error) {
			out, err := exec.CommandContext(ctx, kubectl, "version", "--client", "--output=json").Output()
			if err != nil {
				return "", err
			}
			var v struct {
				Client struct {
					Version string `json:"gitVersion"`
				} `json:"clientVersion"`
			}
			return v.Client.Version, json.Unmarshal(out, &v)
		},
		now:  time.Now,
		date: dateOf,
	}
}

// maxSkew is how far two clocks may differ: what Entra's tokens allow.
const maxSkew = 5 * time.Minute

// examine looks for what the guides list beside the server's causes: several
// kubectl, one that does not fit the cluster, no plugin, a wrong clock.
func (m *machine) examine(ctx context.Context, s *server.Status, cluster string) (list []diagnose.Finding) {
	add := func(l diagnose.Level, check, advice, format string, args ...any) {
		list = append(list, diagnose.Finding{Level: l, Symptom: diagnose.Unauthorized, Check: check, Text: fmt.Sprintf(format, args...), Advice: advice})
	}
	switch found := m.find("kubectl"); {
	case len(found) == 0:
		add(diagnose.Problem, "kubectl", "install it: az aks install-cli", "there is no kubectl on PATH")
	case len(found) > 1:
		add(diagnose.Warning, "kubectl", "keep one; the first is used", "%d different kubectl are on PATH: %s", len(found), strings.Join(found, ", "))
	default:
		v, err := m.version(ctx, found[0])
		switch {
		case err != nil:
			add(diagnose.Warning, "kubectl", "install it anew: az aks install-cli", "%s does not tell its version: %v", found[0], err)
		case cluster != "" && apart(v, cluster) > 1:
			add(diagnose.Warning, "kubectl", "use one of the cluster's version, or one minor version beside it", "kubectl is %s and the cluster %s: more than one minor version apart", v, cluster)
		default:
			add(diagnose.OK, "kubectl", "", "kubectl is %s", v)
		}
	}
	if found := m.find("kubelogin"); len(found) == 0 {
		add(diagnose.Problem, "kubelogin", "put bin/kubelogin into a directory of PATH", "there is no kubelogin on PATH: kubectl cannot sign in")
	} else {
		add(diagnose.OK, "kubelogin", "", "the plugin is %s", found[0])
	}
	there, err := m.date(ctx, s.Endpoints.Login, s.CAFile)
	if err != nil {
		add(diagnose.Problem, "clock", "entrance status", "the sign-in address does not answer: %v", err)
		return list
	}
	skew := m.now().Sub(there)
	if skew.Abs() > maxSkew {
		add(diagnose.Problem, "clock", "set the clock: timedatectl set-ntp true", "this machine's clock and that of the sign-in address are %s apart: tokens look ended, or not yet valid", skew.Abs().Round(time.Second))
	} else {
		add(diagnose.OK, "clock", "", "the clocks agree")
	}
	return list
}

// apart is how many minor versions two versions are apart; many if that cannot
// be told.
func apart(a, b string) int {
	minor := func(v string) (int, bool) {
		parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
		if len(parts) < 2 || parts[0] != "1" {
			return 0, false
		}
		n, err := strconv.Atoi(parts[1])
		return n, err == nil
	}
	x, ok1 := minor(a)
	y, ok2 := minor(b)
	if !ok1 || !ok2 {
		return 99
	}
	return max(x-y, y-x)
}

// dateOf reads the Date of an answer (RFC 9110, 6.6.1).
func dateOf(ctx context.Context, address, caFile string) (time.Time, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return time.Time{}, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return time.Time{}, err
	}
	res, err := client.Do(req)
	if err != nil {
		return time.Time{}, err
	}
	res.Body.Close()
	return http.ParseTime(res.Header.Get("Date"))
}
