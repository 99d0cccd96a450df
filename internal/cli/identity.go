package cli

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/server"
)

func newIdentityTry(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "try",
		Short: "Walk a service account's sign-in without a secret, step by step",
		Long: `Walk the sign-in of a pod's service account without a secret, step by step, and say which
step fails and why: which of issuer, subject and audience differs, for example. The exit
code is 0 when the exchange works and 1 when it does not. A cluster that runs elsewhere gives
no tokens: hand one over.`,
		Example: `  entrance identity try --cluster sample --namespace default --service-account app
  kubectl create token app --audience api://AzureADTokenExchange |
    entrance identity try --cluster edge --service-account app --token -`,
	}
	dir, output := e.DataDirFlag(c), outputFlag(c)
	var q server.IdentityQuery
	c.Flags().StringVar(&q.Cluster, "cluster", "", "name or resource id of the cluster")
	c.Flags().StringVarP(&q.Namespace, "namespace", "n", "default", "namespace of the service account")
	c.Flags().StringVar(&q.ServiceAccount, "service-account", "", "name of the service account")
	c.Flags().StringVar(&q.ClientID, "client-id", "", "identity to sign in as (default: what the service account's annotation names)")
	c.Flags().StringVar(&q.Audience, "audience", "", "audience of the service account's token (default: api://AzureADTokenExchange)")
	token := c.Flags().String("token", "", "file with a token of the service account, - for the standard input (default: one is asked for)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if q.Cluster == "" || q.ServiceAccount == "" {
			return azure.Usagef("--cluster and --service-account are required")
		}
		if *token != "" {
			var err error
			if q.Token, err = e.Secret(*token); err != nil {
				return err
			}
		}
		steps, err := server.TryIdentity(c.Context(), *dir, q)
		if err != nil {
			return err
		}
		if err := printAs(e, *output, steps, func(w *tabwriter.Writer) {
			for _, s := range steps {
				mark := "FAILED"
				if s.OK {
					mark = "ok"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", mark, s.Name, s.Detail)
			}
		}); err != nil {
			return err
		}
		if n := len(steps); n == 0 || !steps[n-1].OK {
			return azure.ExitCode(1)
		}
		return nil
	}
	return c
}
