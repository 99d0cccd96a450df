package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
)

// trustName is the name under which the authority stands in trust stores.
const trustName = "entrance-local-ca"

// trustStore is a place where a system or a browser keeps the authorities that
// it trusts.
type trustStore struct {
	name    string
	present func() bool
	install func(ctx context.Context, ca string) error
	remove  func(ctx context.Context) error
}

func newTrust(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "trust",
		Short: "Add this cloud's authority to the system's and the browsers' trust stores, or remove it",
		Long: `Add this cloud's certificate authority to the trust stores, so that browsers open the
sign-in pages without a warning, or remove it again. The authority is confined by name
constraints: it can speak for this machine and the names that Entrance stands in for,
for nothing else. Tools that are started after 'eval "$(entrance env)"' do not need it.`,
	}
	install := &cobra.Command{Use: "install", Short: "Add the authority"}
	dir := e.DataDirFlag(install)
	install.RunE = func(c *cobra.Command, _ []string) error {
		ca := server.Paths{Dir: *dir}.CA()
		if _, err := os.Stat(ca); err != nil {
			return errs.New(errs.NotFound, "There is no authority in %s yet. Make it with: entrance up --data-dir %s", *dir, *dir)
		}
		return eachStore(c.Context(), e, "added to", func(ctx context.Context, s trustStore) error { return s.install(ctx, ca) })
	}
	remove := &cobra.Command{Use: "remove", Short: "Remove the authority"}
	remove.RunE = func(c *cobra.Command, _ []string) error {
		return eachStore(c.Context(), e, "removed from", func(ctx context.Context, s trustStore) error { return s.remove(ctx) })
	}
	c.AddCommand(install, remove)
	return c
}

func eachStore(ctx context.Context, e *azure.App, done string, do func(context.Context, trustStore) error) error {
	var failed []error
	found := 0
	for _, s := range trustStores() {
		if !s.present() {
			continue
		}
		found++
		if err := do(ctx, s); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
			continue
		}
		fmt.Fprintf(e.Out, "%s %s\n", done, s.name)
	}
	if found == 0 {
		return errs.New(errs.NotFound, "No trust store was found that this command knows. Browsers that use NSS need certutil (Debian: libnss3-tools).")
	}
	return errors.Join(failed...)
}

func trustStores() []trustStore {
	if runtime.GOOS == "darwin" {
		return []trustStore{keychain()}
	}
	return []trustStore{
		linuxStore("the system's trust store (Debian, Ubuntu)", "/usr/local/share/ca-certificates", "update-ca-certificates", "--fresh"),
		linuxStore("the system's trust store (Fedora, RHEL)", "/etc/pki/ca-trust/source/anchors", "update-ca-trust", "extract"),
		nssStore(),
	}
}

// linuxStore is a directory of certificates and the command that gathers them.
func linuxStore(name, dir, update string, args ...string) trustStore {
	file := filepath.Join(dir, trustName+".crt")
	refresh := func(ctx context.Context) error { return runTool(ctx, update, args...) }
	return trustStore{
		name: name,
		present: func() bool {
			info, err := os.Stat(dir)
			_, lookErr := exec.LookPath(update)
			return err == nil && info.IsDir() && lookErr == nil
		},
		install: func(ctx context.Context, ca string) error {
			pem, err := os.ReadFile(ca)
			if err != nil {
				return err
			}
			if err := server.WriteFile(file, pem, 0o644); err != nil {
				if errors.Is(err, os.ErrPermission) {
					return fmt.Errorf("this needs administrator rights; run it with sudo --preserve-env=HOME")
				}
				return err
			}
			return refresh(ctx)
		},
		remove: func(ctx context.Context) error {
			if err := os.Remove(file); errors.Is(err, os.ErrNotExist) {
				return nil
			} else if err != nil {
				return err
			}
			return refresh(ctx)
		},
	}
}

// nssStore is the database that Chromium and its relatives read on Linux.
func nssStore() trustStore {
	db := func() string {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		return filepath.Join(home, ".pki", "nssdb")
	}
	certutil := func(ctx context.Context, args ...string) error {
		return runTool(ctx, "certutil", append([]string{"-d", "sql:" + db()}, args...)...)
	}
	return trustStore{
		name:    "the browsers' trust store (NSS)",
		present: func() bool { _, err := exec.LookPath("certutil"); return err == nil && db() != "" },
		install: func(ctx context.Context, ca string) error {
			if _, err := os.Stat(filepath.Join(db(), "cert9.db")); err != nil {
				if err := os.MkdirAll(db(), 0o700); err != nil {
					return err
				}
				if err := certutil(ctx, "-N", "--empty-password"); err != nil {
					return err
				}
			}
			return certutil(ctx, "-A", "-t", "C,,", "-n", trustName, "-i", ca)
		},
		remove: func(ctx context.Context) error {
			if certutil(ctx, "-L", "-n", trustName) != nil {
				return nil // it is not there
			}
			return certutil(ctx, "-D", "-n", trustName)
		},
	}
}

func keychain() trustStore {
	return trustStore{
		name:    "the login keychain",
		present: func() bool { _, err := exec.LookPath("security"); return err == nil },
		install: func(ctx context.Context, ca string) error {
			return runTool(ctx, "security", "add-trusted-cert", "-r", "trustRoot", ca)
		},
		remove: func(ctx context.Context) error {
			return runTool(ctx, "security", "delete-certificate", "-c", "Entrance on this machine")
		},
	}
}

func runTool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
