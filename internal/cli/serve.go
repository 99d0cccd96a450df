package cli

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/server"
)

func newServe(e *env) *cobra.Command {
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
	file := c.Flags().String("config", "", "the configuration file")
	check := c.Flags().Bool("check", false, "say whether the configuration is valid, and end")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *file == "" {
			return usageError{fmt.Errorf("--config is required")}
		}
		config, err := readServeConfig(*file)
		if err != nil {
			return err
		}
		if err := config.check(); err != nil {
			return err
		}
		cfg, err := config.server()
		if err != nil {
			return err
		}
		if *check {
			fmt.Fprintf(e.out, "%s is valid.\n", *file)
			return nil
		}
		level, err := config.level()
		if err != nil {
			return err
		}
		options := &slog.HandlerOptions{Level: level}
		var handler slog.Handler = slog.NewTextHandler(e.err, options)
		if config.Log.Format == "json" {
			handler = slog.NewJSONHandler(e.err, options)
		}
		cfg.Logger = slog.New(handler)
		return serve(c.Context(), cfg)
	}
	return c
}

// serve runs until ctx ends or somebody stops it through the control socket.
func serve(ctx context.Context, cfg server.Config) error {
	cfg.Progress = func(step string) { cfg.Logger.Info(step) }
	s, err := server.Start(ctx, cfg)
	if err != nil {
		return err
	}
	st := s.Status()
	cfg.Logger.Info("ready", "version", st.Version, "login", st.Endpoints.Login, "webhooks", st.Endpoints.Webhooks, "health", st.Endpoints.Health)
	select {
	case <-ctx.Done():
	case <-s.Stopped():
	}
	cfg.Logger.Info("stopping")
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 50*time.Second)
	defer cancel()
	return s.Close(stop)
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
