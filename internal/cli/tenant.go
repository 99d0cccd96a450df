package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/internal/state"
)

func newTenant(e *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "tenant", Short: "List tenants, connect those that somebody else hosts, renew the keys of those that are hosted here"}
	c.AddCommand(newTenantConnect(e), newTenantDisconnect(e), newTenantList(e), newTenantKeys(e))
	return c
}

func newTenantConnect(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "connect TENANT-ID",
		Short: "Let clusters belong to a Microsoft Entra tenant that Entrance does not host",
		Long: `Let clusters belong to a Microsoft Entra tenant that Entrance does not host: its tokens
then say who somebody is on clusters with that tenant, and nowhere else. Make such a
cluster with --aad-tenant-id. The tenant is asked at once for its signing keys, and its
application for a token, so that what is wrong shows now.

People with more groups than a token holds need the application: it reads their groups
(application permission GroupMember.Read.All). With --on-behalf-of it reads them on behalf
of each person instead (delegated permissions User.Read and GroupMember.Read.All, with an
administrator's consent): their tokens must then be for that application, so it is for
clusters whose server application it is. The secret is read from a file or from standard
input, so that it is in no shell's history.`,
		Example: `  entrance tenant connect 00000000-0000-0000-0000-000000000000 \
      --client-id 11111111-1111-1111-1111-111111111111 --client-secret-file ./secret`,
		Args: oneArgument("the id of one tenant"),
	}
	dir, output := e.DataDirFlag(c), outputFlag(c)
	q := server.TenantQuery{}
	c.Flags().StringVar(&q.Name, "name", "", "name to show")
	c.Flags().StringVar(&q.Authority, "authority", "", "where the tenant signs in (default: the public cloud)")
	c.Flags().StringVar(&q.V1Issuer, "v1-issuer", "", "base of the issuer of its v1.0 tokens (default: the public cloud's)")
	c.Flags().StringVar(&q.Graph, "graph", "", "address of its Microsoft Graph (default: the public cloud's)")
	c.Flags().StringVar(&q.ClientID, "client-id", "", "application of that tenant which may read group memberships")
	c.Flags().BoolVar(&q.OnBehalfOf, "on-behalf-of", false, "ask for groups on behalf of the person, whose token must be for that application")
	secret := c.Flags().String("client-secret-file", "", "file with its secret; - reads standard input")
	c.RunE = func(c *cobra.Command, args []string) error {
		q.ID = args[0]
		if *secret != "" {
			raw, err := e.Secret(*secret)
			if err != nil {
				return err
			}
			q.ClientSecret = raw
		}
		t, err := server.ConnectTenant(c.Context(), *dir, q)
		if err != nil {
			return err
		}
		return printAs(e, *output, t, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "Connected tenant %s at %s.\n", t.ID, t.Authority)
			if t.ClientID == "" {
				fmt.Fprintln(w, "Without --client-id nobody with more groups than a token holds gets in.")
			}
		})
	}
	return c
}

func newTenantDisconnect(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "disconnect TENANT-ID",
		Short: "End the trust in a connected tenant, at once",
		Args:  oneArgument("the id of one tenant"),
	}
	dir := e.DataDirFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := server.DisconnectTenant(c.Context(), *dir, args[0]); err != nil {
			return err
		}
		fmt.Fprintf(e.Out, "Disconnected tenant %s.\n", args[0])
		return nil
	}
	return c
}

func newTenantList(e *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the tenants that clusters may belong to"}
	dir, output := e.DataDirFlag(c), outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		list, err := server.Tenants(c.Context(), *dir)
		if err != nil {
			return err
		}
		return printAs(e, *output, list, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "TENANT ID\tNAME\tHOSTED\tCLUSTERS\tAUTHORITY")
			for _, t := range list {
				fmt.Fprintf(w, "%s\t%s\t%t\t%d\t%s\n", t.ID, t.Name, t.Hosted, len(t.Clusters), t.Authority)
			}
		})
	}
	return c
}

func newTenantKeys(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "keys TENANT-ID",
		Short: "Show the signing keys of a tenant that is hosted here, and renew them",
		Long: `Show the signing keys of a tenant that is hosted here. They are renewed by themselves every
six weeks. With --rotate the next key is published now and signs after three days, so that
everybody who verifies tokens has it by then; what the present key has signed stays valid
until it ends. With --rotate --revoke the present key ends at once, and with it every token
that it has signed: for a key that somebody else may have.`,
		Example: `  entrance tenant keys 00000000-0000-0000-0000-000000000000 --rotate`,
		Args:    oneArgument("the id of one tenant"),
	}
	dir, output := e.DataDirFlag(c), outputFlag(c)
	q := server.KeysQuery{}
	c.Flags().BoolVar(&q.Rotate, "rotate", false, "make the next key now")
	c.Flags().BoolVar(&q.Revoke, "revoke", false, "with --rotate: end the present key, and all tokens that it has signed, at once")
	c.RunE = func(c *cobra.Command, args []string) error {
		if q.Revoke && !q.Rotate {
			return azure.Usagef("--revoke is for --rotate")
		}
		q.ID = args[0]
		list, err := server.TenantKeys(c.Context(), *dir, q)
		if err != nil {
			return err
		}
		return printAs(e, *output, list, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "KEY ID\tUSE\tPUBLISHED\tSIGNS FROM")
			for _, k := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Use, k.Published.Format(time.RFC3339), k.Activates.Format(time.RFC3339))
			}
		})
	}
	return c
}

func newTrustIssuer(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "trust-issuer NAME",
		Short: "Let a cluster accept tokens of a further OpenID Connect issuer",
		Long: `Let a cluster accept tokens of a further OpenID Connect issuer, beside those of its tenant.
Such a token gives a name and groups, each behind a prefix that begins with aks:jwt:, and
never an identity of the tenant: bind Kubernetes roles to the prefixed names.`,
		Example: `  entrance cluster trust-issuer sample --issuer https://token.actions.githubusercontent.com \
      --audience my-cluster --username-prefix aks:jwt:github:`,
		Args: exactName,
	}
	dir := e.DataDirFlag(c)
	i := state.ClusterIssuer{}
	c.Flags().StringVar(&i.Issuer, "issuer", "", "the issuer's URL, exactly as its tokens write it")
	c.Flags().StringSliceVar(&i.Audiences, "audience", nil, "audience that a token must have, one of several")
	c.Flags().StringVar(&i.UsernameClaim, "username-claim", "sub", "claim that holds the name")
	c.Flags().StringVar(&i.UsernamePrefix, "username-prefix", "", "prefix of names; it begins with aks:jwt:")
	c.Flags().StringVar(&i.GroupsClaim, "groups-claim", "", "claim that holds the groups")
	c.Flags().StringVar(&i.GroupsPrefix, "groups-prefix", "", "prefix of groups; it begins with aks:jwt:")
	c.RunE = func(c *cobra.Command, args []string) error {
		if i.Issuer == "" || len(i.Audiences) == 0 || i.UsernamePrefix == "" {
			return azure.Usagef("--issuer, --audience and --username-prefix are required")
		}
		if err := server.TrustIssuer(c.Context(), *dir, server.IssuerQuery{Cluster: args[0], ClusterIssuer: i}); err != nil {
			return err
		}
		fmt.Fprintf(e.Out, "%s now accepts tokens of %s.\n", args[0], i.Issuer)
		return nil
	}
	return c
}

func newDistrustIssuer(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "distrust-issuer NAME",
		Short: "Take the trust in an issuer back, at once",
		Args:  exactName,
	}
	dir := e.DataDirFlag(c)
	issuer := c.Flags().String("issuer", "", "the issuer's URL")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *issuer == "" {
			return azure.Usagef("--issuer is required")
		}
		if err := server.DistrustIssuer(c.Context(), *dir, args[0], *issuer); err != nil {
			return err
		}
		fmt.Fprintf(e.Out, "%s no longer accepts tokens of %s.\n", args[0], *issuer)
		return nil
	}
	return c
}

func newIssuers(e *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "issuers NAME", Short: "List the further issuers that a cluster trusts", Args: exactName}
	dir, output := e.DataDirFlag(c), outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		list, err := server.ClusterIssuers(c.Context(), *dir, args[0])
		if err != nil {
			return err
		}
		return printAs(e, *output, list, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "ISSUER\tAUDIENCES\tUSERNAME\tGROUPS")
			for _, i := range list {
				groups := ""
				if i.GroupsClaim != "" {
					groups = i.GroupsPrefix + "{" + i.GroupsClaim + "}"
				}
				fmt.Fprintf(w, "%s\t%s\t%s{%s}\t%s\n", i.Issuer, strings.Join(i.Audiences, ","), i.UsernamePrefix, i.UsernameClaim, groups)
			}
		})
	}
	return c
}

// oneArgument demands one argument.
func oneArgument(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return azure.Usagef("'%s' takes %s", c.CommandPath(), what)
		}
		return nil
	}
}
