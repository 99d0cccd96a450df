// Command kubelogin is a kubectl credential plugin that signs in to Microsoft
// Entra ID, or to a provider that speaks its protocol. It takes the place of
// Azure/kubelogin.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/spf13/cobra"
)

func main() {
	harden()
	args := takeArguments()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// program is what the subcommands share.
type program struct {
	stdout, stderr io.Writer
	clock          clock.Clock
	verbosity      int
}

// run executes one command line and returns its exit code: 0, or 1 for every
// failure.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := &program{stdout: stdout, stderr: stderr, clock: clock.Func(time.Now)}
	root := p.root()
	root.SetArgs(args)
	// SetOut is not called: cobra would print deprecations there, into the
	// token.
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(stderr, "Error: %s\n", err)
		if strings.HasPrefix(err.Error(), "unknown command") {
			fmt.Fprintf(stderr, "Run '%s --help' for usage.\n", root.CommandPath())
		}
		return 1
	}
	return 0
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "kubelogin",
		Short:         "Sign in to Kubernetes with Microsoft Entra ID",
		Long:          "kubelogin is a kubectl credential plugin that signs in to Microsoft Entra ID,\nand to any provider that speaks its protocol.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionText(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return cmd.Help()
		},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return nil
		},
	}
	root.SetVersionTemplate("{{.Name}} version {{.Version}}\n")
	root.PersistentFlags().IntVarP(&p.verbosity, "v", "v", 0, "number for the log level verbosity")
	root.PersistentFlags().Bool("logtostderr", true, "log to standard error instead of files")
	root.AddCommand(p.getToken(), p.convert(), p.removeTokens(), p.removeCacheDir(),
		p.doctor(), p.whoami(), p.setup())
	return root
}

// logf writes a line for the curious. Nothing secret may ever reach it.
func (p *program) logf(level int, format string, args ...any) {
	if p.verbosity < level {
		return
	}
	now := p.clock.Now()
	fmt.Fprintf(p.stderr, "I%s %7d kubelogin] %s\n", now.Format("0102 15:04:05.000000"), os.Getpid(), fmt.Sprintf(format, args...))
}

// warn shows one line that the person should see.
func (p *program) warn(msg string) {
	fmt.Fprintf(p.stderr, "kubelogin: warning: %s\n", msg)
}
