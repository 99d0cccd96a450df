// Package cli is the entrance command: parse, run, exit code. What it does is
// in the packages that it calls.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/account"
	"github.com/entrance-id/entrance/internal/cli/ad"
	"github.com/entrance-id/entrance/internal/cli/aks"
	"github.com/entrance-id/entrance/internal/cli/apply"
	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/group"
	"github.com/entrance-id/entrance/internal/cli/identity"
	"github.com/entrance-id/entrance/internal/cli/pim"
	"github.com/entrance-id/entrance/internal/cli/policy"
	"github.com/entrance-id/entrance/internal/cli/role"
	"github.com/entrance-id/entrance/internal/cli/serve"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/version"
)

// Exit codes, as az has them: 2 for a wrong command line, 3 for something that
// does not exist.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitNotFound = 3
)

// Main runs the command line and returns the exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, &azure.App{In: in, Out: out, Err: errOut, DataDir: defaultDataDir})
}

func run(ctx context.Context, args []string, e *azure.App) int {
	root := newRoot(e)
	root.SetArgs(azure.Spread(root, args))
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var exit azure.ExitCode
	if errors.As(err, &exit) {
		return int(exit)
	}
	fmt.Fprintln(e.Err, "entrance: "+err.Error())
	switch {
	case errors.As(err, &azure.ArgumentError{}):
		return exitUsage
	case errs.Is(err, errs.NotFound):
		return exitNotFound
	}
	return exitError
}

func newRoot(e *azure.App) *cobra.Command {
	root := &cobra.Command{
		Use:   "entrance",
		Short: "Microsoft Entra sign-in and Azure RBAC for any Kubernetes cluster, without a cloud",
		Long: `Entrance brings what AKS does with Microsoft Entra ID to any Kubernetes cluster.

Start a cloud on this machine:      entrance up
Point this shell's tools at it:     eval "$(entrance env)"
Ask how it is:                      entrance status
Work with it without az:            entrance group list, entrance aks create ... (see docs/cli.md)`,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return azure.Usagef("%w (see '%s --help')", err, c.CommandPath())
	})
	root.AddCommand(
		newUp(e), newDown(e), newStatus(e), newEnv(e), newTrust(e), newAccess(e), newCluster(e), newTenant(e), newLogs(e),
		newDoctor(e), apply.New(e), apply.NewExport(e), serve.New(e),
	)
	root.AddCommand(
		account.NewLogin(e), account.NewLogout(e), account.New(e),
		group.New(e),
		ad.New(e),
		role.New(e),
		aks.New(e),
		identity.New(e, newIdentityTry(e)),
		pim.New(e),
		policy.New(e),
	)
	refuseArguments(root)
	return root
}

// refuseArguments makes stray arguments and unknown sub-commands errors of the
// command line, for every command that says nothing else.
func refuseArguments(c *cobra.Command) {
	if c.Args == nil {
		group := !c.Runnable()
		c.Args = func(c *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return nil
			case !group:
				return azure.Usagef("unexpected argument %q (see '%s --help')", args[0], c.CommandPath())
			}
			hint := ""
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				hint = fmt.Sprintf("; is '%s %s' meant?", c.CommandPath(), near[0])
			}
			return azure.Usagef("'%s' has no command %q (see '%s --help')%s", c.CommandPath(), args[0], c.CommandPath(), hint)
		}
		if group {
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
			c.SuggestionsMinimumDistance = 2
		}
	}
	for _, sub := range c.Commands() {
		refuseArguments(sub)
	}
}

// defaultDataDir follows the XDG base directory specification.
func defaultDataDir() string {
	if d := os.Getenv("ENTRANCE_DATA_DIR"); d != "" {
		return d
	}
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "entrance")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "entrance-data"
	}
	return filepath.Join(home, ".local", "share", "entrance")
}
