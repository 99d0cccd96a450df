// Package serve has the command that runs Entrance in production.
package serve

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/daemon"
	"github.com/entrance-id/entrance/internal/server"
)

// New returns the command serve.
func New(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run Entrance in production: a configuration file, an etcd cluster, given certificates",
		Long: `Run Entrance for real users, from a configuration file (docs/serve.md): state in an etcd
cluster, given certificates, no sample, no proxy. Any number of servers may run on one
etcd cluster with one seal key. It logs to standard error and ends on SIGTERM, after the
requests that run have been answered.`,
		Example: `  entrance serve --config /etc/entrance/config.yaml --check
  entrance serve --config /etc/entrance/config.yaml`,
	}
	name := c.Flags().String("config", "", "the configuration file")
	check := c.Flags().Bool("check", false, "say whether the configuration is valid, and end")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *name == "" {
			return azure.Usagef("--config is required")
		}
		f, err := readConfig(*name)
		if err != nil {
			return err
		}
		if err := f.check(); err != nil {
			return err
		}
		cfg, err := f.server()
		if err != nil {
			return err
		}
		if *check {
			fmt.Fprintf(e.Out, "%s is valid.\n", *name)
			return nil
		}
		level, err := f.level()
		if err != nil {
			return err
		}
		options := &slog.HandlerOptions{Level: level}
		var handler slog.Handler = slog.NewTextHandler(e.Err, options)
		if f.Log.Format == "json" {
			handler = slog.NewJSONHandler(e.Err, options)
		}
		cfg.Logger = slog.New(handler)
		return run(c.Context(), cfg)
	}
	return c
}

// run serves until ctx ends or somebody stops it through the control socket.
func run(ctx context.Context, cfg server.Config) error {
	cfg.Progress = func(step string) { cfg.Logger.Info(step) }
	s, err := server.Start(ctx, cfg)
	if err != nil {
		return err
	}
	st := s.Status()
	cfg.Logger.Info("ready", "version", st.Version, "login", st.Endpoints.Login, "webhooks", st.Endpoints.Webhooks, "health", st.Endpoints.Health)
	return daemon.Wait(ctx, s, func() { cfg.Logger.Info("stopping") })
}
