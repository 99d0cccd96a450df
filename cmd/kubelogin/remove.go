package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/entrance-id/entrance/internal/login"
	"github.com/entrance-id/entrance/internal/tokencache"
	"github.com/spf13/cobra"
)

// removeCacheDir removes the whole cache directory.
func (p *program) removeCacheDir() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "remove-cache-dir",
		Short: "Remove all remembered sign-ins",
		Long:  "Remove the cache directory: remembered sign-ins, keys, and what the original plugin left there.",
		RunE:  func(cmd *cobra.Command, _ []string) error { return p.removeDirs(cmd, dir) },
	}
	cmd.Flags().StringVar(&dir, "cache-dir", login.DefaultCacheDir(), "directory to remove")
	cmd.MarkFlagDirname("cache-dir")
	return cmd
}

// removeTokens is the old name.
func (p *program) removeTokens() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:        "remove-tokens",
		Short:      "Remove all remembered sign-ins",
		Deprecated: "use remove-cache-dir instead",
		RunE:       func(cmd *cobra.Command, _ []string) error { return p.removeDirs(cmd, dir) },
	}
	cmd.Flags().StringVar(&dir, "token-cache-dir", login.DefaultCacheDir(), "directory to remove")
	cmd.Flags().StringVar(&dir, "cache-dir", login.DefaultCacheDir(), "directory to remove")
	cmd.MarkFlagDirname("token-cache-dir")
	return cmd
}

// removeDirs removes the directory that was named. Without one it removes the
// default and, where KUBECACHEDIR says so, what this plugin keeps there: that
// directory is kubectl's own as well.
func (p *program) removeDirs(cmd *cobra.Command, dir string) error {
	for _, name := range []string{"cache-dir", "token-cache-dir"} {
		if cmd.Flags().Changed(name) {
			return removeDir(dir)
		}
	}
	if shared := os.Getenv("KUBECACHEDIR"); shared != "" {
		for _, name := range tokencache.Names() {
			if err := os.RemoveAll(filepath.Join(shared, name)); err != nil {
				return fmt.Errorf("failed to delete cache: %w", err)
			}
		}
	}
	own := login.HomeCacheDir()
	if own == "" && dir == "" {
		return errors.New("the cache directory is not known: neither HOME nor --cache-dir is set")
	}
	if own == "" {
		return nil
	}
	return removeDir(own)
}

// removeDir deletes a cache directory, and refuses what cannot be one: the
// original deletes whatever path it is given.
func removeDir(dir string) error {
	if dir == "" {
		return errors.New("failed to delete cache: no directory given")
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	home, err := os.UserHomeDir()
	if path == filepath.VolumeName(path)+string(filepath.Separator) || err == nil && path == filepath.Clean(home) {
		return fmt.Errorf("failed to delete cache: %s is not a cache directory", path)
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("failed to delete cache: %w", err)
	}
	return nil
}
