package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/kubeconfig"
	"github.com/entrance-id/entrance/internal/login"
	"github.com/entrance-id/entrance/internal/login/doctor"
	"github.com/spf13/cobra"
)

func (p *program) doctor() *cobra.Command {
	var path, context, output string
	var offline, signIn bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why kubectl does not get in",
		Long: "Check the user of the current context: the kubeconfig, the environment, the cache, the\n" +
			"authority, the clock and the token. The exit code is 1 if there is a problem.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			paths, err := kubeconfigPaths(path)
			if err != nil {
				return err
			}
			files, err := kubeconfig.LoadAll(paths)
			if err != nil {
				return err
			}
			var done []func()
			defer func() {
				for _, f := range done {
					f()
				}
			}()
			d := &doctor.Doctor{
				Files: files, Paths: paths, Context: context, Env: os.LookupEnv, Clock: p.clock,
				Offline: offline, SignIn: signIn, Store: p.store,
				Session: func(o *login.Options) (*login.Session, error) {
					s, end, err := p.newSession(o, true)
					if err == nil {
						done = append(done, end)
					}
					return s, err
				},
			}
			findings := d.Run(cmd.Context())
			if err := p.report(findings, output); err != nil {
				return err
			}
			if slices.ContainsFunc(findings, func(f doctor.Finding) bool { return f.Level == doctor.Fail }) {
				return errors.New("there are problems")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "kubeconfig", "", "Path to the kubeconfig file")
	cmd.Flags().StringVar(&context, "context", "", "Check the user of this context instead of the current one")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&offline, "offline", false, "Do not ask the authority")
	cmd.Flags().BoolVar(&signIn, "sign-in", false, "Sign in if no token is remembered")
	cmd.MarkFlagFilename("kubeconfig")
	completeContexts(cmd, &path)
	return cmd
}

func (p *program) report(findings []doctor.Finding, output string) error {
	switch output {
	case "json":
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(findings)
	case "text":
		for _, f := range findings {
			fmt.Fprintf(p.stdout, "%-8s %-12s %s\n", f.Level, f.About, f.Text)
			if f.Advice != "" {
				fmt.Fprintf(p.stdout, "%-21s → %s\n", "", f.Advice)
			}
		}
		return nil
	}
	return fmt.Errorf("unknown output %q: text or json", output)
}

func (p *program) whoami() *cobra.Command {
	var cacheDir, output string
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show the remembered sign-ins",
		Long:  "Show who is signed in, to what, and until when. Nothing is sent and no token is shown.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st := p.store(cacheDir)
			defer st.Close()
			items, _ := st.List()
			type row struct {
				Account   string    `json:"account"`
				ObjectID  string    `json:"objectId,omitempty"`
				Tenant    string    `json:"tenant"`
				Client    string    `json:"client"`
				Server    string    `json:"server"`
				Mode      string    `json:"mode"`
				Authority string    `json:"authority"`
				ExpiresOn time.Time `json:"expiresOn"`
				Renewable bool      `json:"renewable"`
			}
			rows := []row{}
			for _, it := range items {
				c, _ := login.ReadClaims(it.Entry.AccessToken)
				who := it.Entry.Account.Username
				if who == "" {
					who = c.Who()
				}
				rows = append(rows, row{who, c.ObjectID, it.Key.Tenant, it.Key.Client, it.Key.Resource, it.Key.Mode,
					it.Key.Authority, it.Entry.ExpiresOn, it.Entry.RefreshToken != ""})
			}
			slices.SortFunc(rows, func(a, b row) int {
				return strings.Compare(a.Account+"\x00"+a.Tenant+"\x00"+a.Server+"\x00"+a.Mode, b.Account+"\x00"+b.Tenant+"\x00"+b.Server+"\x00"+b.Mode)
			})
			switch output {
			case "json":
				enc := json.NewEncoder(p.stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(rows)
			case "text":
			default:
				return fmt.Errorf("unknown output %q: text or json", output)
			}
			if len(rows) == 0 {
				fmt.Fprintln(p.stdout, "Nobody is signed in.")
				return nil
			}
			for _, r := range rows {
				left := "ended"
				if d := r.ExpiresOn.Sub(p.clock.Now()); d > 0 {
					left = "ends in " + d.Round(time.Minute).String()
				}
				if r.Renewable {
					left += ", renews itself"
				}
				fmt.Fprintf(p.stdout, "%s: tenant %s, server %s, %s (%s)\n", r.Account, dash(r.Tenant), r.Server, r.Mode, left)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&cacheDir, "cache-dir", login.DefaultCacheDir(), "Directory in which sign-ins are remembered")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.MarkFlagDirname("cache-dir")
	return cmd
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
