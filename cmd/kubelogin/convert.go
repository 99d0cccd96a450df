package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	"github.com/entrance-id/entrance/internal/kubeconfig"
	"github.com/entrance-id/entrance/internal/login"
	"github.com/spf13/cobra"
)

func (p *program) convert() *cobra.Command {
	o := login.NewOptions()
	var path, context, azureDir string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "convert-kubeconfig",
		Short: "convert kubeconfig to use exec auth module",
		Long: "Convert users of a kubeconfig (the old auth-provider azure, or any command called\n" +
			"kubelogin) so that they sign in with the given mode. Values that are not given are\n" +
			"taken from the user. Comments, order and unknown fields are kept.",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The process ends long before collecting garbage would pay.
			debug.SetGCPercent(-1)
			debug.SetMemoryLimit(512 << 20)
			for _, over := range o.ApplyEnvironment(os.LookupEnv) {
				p.logf(5, "--%s is overridden by %s", over.Flag, over.Variable)
			}
			if err := o.ValidateLogin(); err != nil {
				return err
			}
			conv := kubeconfig.Conversion{Options: o, Typed: cmd.Flags().Changed, AzureConfigDir: azureDir}
			plan := func(files []*kubeconfig.File) ([]kubeconfig.Change, error) { return conv.Plan(files, context) }
			paths, err := kubeconfigPaths(path)
			if err != nil {
				return err
			}
			if dryRun {
				files, err := kubeconfig.LoadUsers(paths)
				if err != nil {
					return err
				}
				changes, err := plan(files)
				if err != nil {
					return err
				}
				for _, c := range changes {
					fmt.Fprint(p.stdout, c.Diff())
				}
				return nil
			}
			changes, err := kubeconfig.Apply(paths, plan, p.warn)
			for _, c := range changes {
				p.logf(1, "converted %d users in %s", len(c.Users), c.File.Path)
			}
			return err
		},
	}
	o.AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&path, "kubeconfig", "", "Path to the kubeconfig file")
	cmd.Flags().StringVar(&context, "context", "", "Convert only the user of this context")
	cmd.Flags().StringVar(&azureDir, "azure-config-dir", "", "AZURE_CONFIG_DIR for az in azurecli mode")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "Show what would change as a diff, and write nothing")
	completeLogin(cmd)
	cmd.MarkFlagFilename("kubeconfig")
	cmd.MarkFlagDirname("azure-config-dir")
	completeContexts(cmd, &path)
	return cmd
}

// kubeconfigPaths are the files that kubectl would read. A file that was named
// must exist.
func kubeconfigPaths(explicit string) ([]string, error) {
	home, _ := os.UserHomeDir()
	paths := kubeconfig.Paths(explicit, os.Getenv("KUBECONFIG"), home)
	if explicit != "" {
		if _, err := os.Stat(explicit); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("unable to load kubeconfig: stat %s: no such file or directory", explicit)
		}
	}
	return paths, nil
}

func completeContexts(cmd *cobra.Command, path *string) {
	cmd.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		paths, err := kubeconfigPaths(*path)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		files, err := kubeconfig.LoadAll(paths)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return kubeconfig.ContextNames(files), cobra.ShellCompDirectiveNoFileComp
	})
}
