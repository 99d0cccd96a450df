package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/daemon"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
)

func contextWithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithTimeout(ctx, d)
}

// reportFD is the descriptor on which a detached child tells its parent how far
// it is.
const reportFD = 3

// Lines of that report.
const (
	reportReady = "ready"
	reportStep  = "step "
	reportError = "error "
)

func newUp(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a cloud on this machine: a tenant, a subscription and a Kubernetes cluster",
		Long: `Start a cloud on this machine: an Entra-compatible tenant with generated credentials,
Microsoft Graph, Azure Resource Manager, the cluster webhooks and a first Kubernetes
cluster. Everything is kept in the data directory and found again by the next start.
Ctrl-C stops it. With --detach it goes on in the background until 'entrance down'.`,
	}
	dir := e.DataDirFlag(c)
	base := c.Flags().Int("port-base", server.DefaultPortBase, "the listeners use the ports from this one + 3 to + 7")
	detach := c.Flags().Bool("detach", false, "return when everything is ready, and leave it running")
	noCluster := c.Flags().Bool("no-cluster", false, "start without making the first cluster")
	verbose := c.Flags().Bool("verbose", false, "log every refusal too")
	endpoints := c.Flags().StringSlice("etcd-endpoints", nil, "keep the state in this etcd cluster instead of the embedded one")
	legacy := c.Flags().Bool("legacy-integration", false, "allow clusters with a server and a client application of their own, which AKS has retired")
	networks := c.Flags().StringSlice("issuer-networks", nil, "networks (CIDR) in which OpenID Connect issuers may be although they are not public")
	child := c.Flags().Bool("child", false, "")
	if err := c.Flags().MarkHidden("child"); err != nil {
		panic(err)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if *base < 1 || *base > 65535-7 {
			return azure.Usagef("--port-base is a number from 1 to %d, not %d", 65535-7, *base)
		}
		issuers, err := prefixes(*networks)
		if err != nil {
			return err
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		if *detach {
			return detached(c.Context(), e, abs, childArgs(c))
		}
		level := slog.LevelInfo
		if *verbose {
			level = slog.LevelDebug
		}
		var report io.Writer
		logTo := io.Writer(nil)
		if *child {
			report = os.NewFile(reportFD, "report")
			logTo = os.Stderr
		}
		cfg := server.Config{
			DataDir: abs, Ports: server.PortsFrom(*base), EtcdEndpoints: *endpoints,
			Sample: true, Cluster: !*noCluster, Proxy: true, LegacyIntegration: *legacy,
			IssuerNetworks: issuers, KubeBinary: daemon.KubeBinary(),
		}
		return up(c.Context(), e, cfg, level, logTo, report)
	}
	return c
}

// prefixes parses networks.
func prefixes(list []string) (out []netip.Prefix, err error) {
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, azure.Usagef("--issuer-networks: %q is not a network such as 10.0.0.0/8", s)
		}
		out = append(out, p)
	}
	return out, nil
}

// childArgs returns the flags that were given, for the child of --detach.
func childArgs(c *cobra.Command) []string {
	args := []string{"up", "--child"}
	for _, name := range []string{"port-base", "no-cluster", "verbose", "etcd-endpoints", "legacy-integration", "issuer-networks"} {
		if f := c.Flags().Lookup(name); f.Changed {
			args = append(args, "--"+name+"="+strings.Trim(f.Value.String(), "[]"))
		}
	}
	return args
}

// up runs a cloud until ctx ends or somebody stops it through the control
// socket.
func up(ctx context.Context, e *azure.App, cfg server.Config, level slog.Level, logTo, report io.Writer) error {
	start := time.Now()
	var logFile *os.File
	if logTo == nil {
		// The terminal is for the person; the log is for when something is
		// wrong.
		if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
			return errs.Wrap(errs.Invalid, err, "The data directory cannot be made")
		}
		f, err := os.OpenFile(server.Paths{Dir: cfg.DataDir}.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		logFile, logTo = f, f
		defer logFile.Close()
	}
	cfg.Logger = slog.New(slog.NewTextHandler(logTo, &slog.HandlerOptions{Level: level}))
	cfg.Progress = func(step string) {
		if report != nil {
			fmt.Fprintf(report, "%s%s\n", reportStep, step)
			return
		}
		fmt.Fprintf(e.Err, "%6.1fs  %s\n", time.Since(start).Seconds(), step)
	}
	s, err := server.Start(ctx, cfg)
	if err != nil {
		if report != nil {
			fmt.Fprintf(report, "%s%s\n", reportError, strings.ReplaceAll(err.Error(), "\n", " "))
		}
		return err
	}
	if report != nil {
		fmt.Fprintln(report, reportReady)
		if c, ok := report.(io.Closer); ok {
			c.Close()
		}
	} else {
		nextSteps(e, s.Status(), cfg.DataDir)
	}
	return daemon.Wait(ctx, s, func() {
		if report == nil {
			fmt.Fprintln(e.Err, "stopping (press Ctrl-C again to stop at once)")
		}
	})
}

// detached starts the cloud in a process of its own and returns when it is
// ready.
func detached(ctx context.Context, e *azure.App, dir string, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if _, err := server.ReadStatus(ctx, dir); err == nil {
		return errs.New(errs.Exists, "A cloud is running in %s already. Stop it with: entrance down --data-dir %s", dir, dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errs.Wrap(errs.Invalid, err, "The data directory cannot be made")
	}
	log, err := os.OpenFile(server.Paths{Dir: dir}.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(self, append(args, "--data-dir="+dir)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{w} // becomes reportFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		w.Close()
		return err
	}
	w.Close()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == reportReady:
			fmt.Fprintf(e.Err, "%6.1fs  ready\n", time.Since(start).Seconds())
			return cmd.Process.Release()
		case strings.HasPrefix(line, reportStep):
			fmt.Fprintf(e.Err, "%6.1fs  %s\n", time.Since(start).Seconds(), strings.TrimPrefix(line, reportStep))
		case strings.HasPrefix(line, reportError):
			cmd.Wait()
			return errors.New(strings.TrimPrefix(line, reportError))
		}
	}
	cmd.Wait()
	return errs.New(errs.Internal, "The cloud ended while it was starting; see %s", server.Paths{Dir: dir}.Log())
}

// nextSteps says what a person can do now.
func nextSteps(e *azure.App, s server.Status, dir string) {
	flag := ""
	if dir != defaultDataDir() {
		flag = " --data-dir " + dir
	}
	fmt.Fprintf(e.Out, `
Entrance is ready.

  sign-in, Graph, ARM   %s
  tenant                %s
  subscription          %s
  credentials           %s

In another shell:

  eval "$(entrance env%s)"                        # point az, kubectl and kubelogin here
  az login --use-device-code                      # as one of the users in the credentials file
`, s.Endpoints.Login, s.TenantID, s.SubscriptionID, s.CredentialsFile, flag)
	for _, k := range s.Clusters {
		fmt.Fprintf(e.Out, `  az aks get-credentials -g %s -n %s
  kubectl get nodes
`, k.ResourceGroup, k.Name)
	}
	fmt.Fprintln(e.Out, "\nCtrl-C stops it; the next 'entrance up' finds everything again.")
}
