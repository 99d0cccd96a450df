package cli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/server"
)

func newStatus(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Say whether the cloud is running, where, and with which clusters",
	}
	dir := e.DataDirFlag(c)
	output := c.Flags().StringP("output", "o", "text", "text or json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *output != "text" && *output != "json" {
			return azure.Usagef("--output is text or json, not %q", *output)
		}
		s, err := server.ReadStatus(c.Context(), *dir)
		if err != nil {
			return err
		}
		if *output == "json" {
			enc := json.NewEncoder(e.Out)
			enc.SetIndent("", "  ")
			return enc.Encode(s)
		}
		w := tabwriter.NewWriter(e.Out, 0, 0, 2, ' ', 0)
		state := "starting"
		if s.Ready {
			state = "ready"
		}
		fmt.Fprintf(w, "entrance %s\t%s (process %d)\n", s.Version, state, s.PID)
		fmt.Fprintf(w, "sign-in, Graph, ARM\t%s\n", s.Endpoints.Login)
		fmt.Fprintf(w, "webhooks\t%s\n", s.Endpoints.Webhooks)
		fmt.Fprintf(w, "health, metrics\t%s\n", s.Endpoints.Health)
		if s.Endpoints.Proxy != "" {
			fmt.Fprintf(w, "proxy\t%s\n", s.Endpoints.Proxy)
		}
		fmt.Fprintf(w, "tenant\t%s\n", s.TenantID)
		fmt.Fprintf(w, "subscription\t%s\n", s.SubscriptionID)
		fmt.Fprintf(w, "credentials\t%s\n", s.CredentialsFile)
		for _, k := range s.Clusters {
			fmt.Fprintf(w, "cluster %s\t%s, resource group %s, %s\n", k.Name, k.ProvisioningState, k.ResourceGroup, k.Server)
		}
		return w.Flush()
	}
	return c
}

func newDown(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "down",
		Short: "Stop the cloud that runs in a data directory, with its clusters",
		Long:  "Stop the cloud that runs in a data directory, with its clusters. Nothing is lost:\n'entrance up' finds everything again.",
	}
	dir := e.DataDirFlag(c)
	timeout := c.Flags().Duration("timeout", 60*time.Second, "how long to wait for everything to stop")
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, cancel := contextWithTimeout(c.Context(), *timeout)
		defer cancel()
		if err := server.Stop(ctx, *dir); err != nil {
			return err
		}
		fmt.Fprintln(e.Out, "stopped")
		return nil
	}
	return c
}
