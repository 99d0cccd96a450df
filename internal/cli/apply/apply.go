// Package apply has the commands for a tenant as a file: apply and export.
package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/password"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/internal/tenantfile"
	"github.com/entrance-id/entrance/internal/tenantfile/cloud"
)

// New returns the command apply.
func New(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make the cloud agree with a tenant file: users, groups, apps, clusters, roles",
		Long: `Make the cloud agree with a tenant file, which names users, groups, apps, managed
identities, resource groups, clusters, custom roles and role assignments. What would
change is shown first; then it is asked whether to go on. Applying the same file again
changes nothing. Nothing that the file does not name is deleted.

A new user gets the password that passwordFrom in the file names, or a generated one,
which is written to the credentials file before the user is made.`,
		Example: `  entrance apply -f tenant.yaml --dry-run
  entrance export > tenant.yaml`,
	}
	a := &applier{e: e}
	a.dir = e.DataDirFlag(c)
	c.Flags().StringVarP(&a.file, "file", "f", "", "the tenant file; - reads standard input")
	c.Flags().BoolVar(&a.dryRun, "dry-run", false, "show what would change, and change nothing")
	c.Flags().BoolVarP(&a.yes, "yes", "y", false, "do not ask")
	c.Flags().StringVarP(&a.output, "output", "o", "text", "text or json")
	c.Flags().StringVar(&a.subscription, "subscription", "", "name or id of the subscription (default: see 'entrance account set')")
	c.Flags().StringVar(&a.credentials, "credentials-file", "", "where generated passwords are written (default: generated-passwords.json in the data directory)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case a.file == "":
			return azure.Usagef("--file is required")
		case a.output != "text" && a.output != "json":
			return azure.Usagef("--output is text or json, not %q", a.output)
		case a.dryRun && a.yes:
			return azure.Usagef("--dry-run and --yes exclude one another")
		case a.file == "-" && !a.yes && !a.dryRun:
			return azure.Usagef("with the file on standard input nobody can be asked: give --yes or --dry-run")
		}
		return a.run(c)
	}
	return c
}

// NewExport returns the command export.
func NewExport(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "export",
		Short: "Write the cloud as a tenant file, which 'entrance apply' takes",
		Long: `Write what the cloud holds as a tenant file to standard output. Applying it to the same
cloud changes nothing; applying it to another cloud makes the same there. Passwords and
secrets are never in it. What a file cannot say is listed at its head and on standard
error.`,
		Example: `  entrance export > tenant.yaml`,
	}
	dir := e.DataDirFlag(c)
	subscription := c.Flags().String("subscription", "", "name or id of the subscription (default: see 'entrance account set')")
	c.RunE = func(c *cobra.Command, _ []string) error {
		client, _, err := cloudClient(c, e, *dir, *subscription)
		if err != nil {
			return err
		}
		world, err := cloud.Read(c.Context(), client, nil)
		if err != nil {
			return err
		}
		out, err := tenantfile.Marshal(world)
		if err != nil {
			return err
		}
		for _, n := range world.Notes {
			fmt.Fprintln(e.Err, "left out: "+n)
		}
		_, err = e.Out.Write(out)
		return err
	}
	return c
}

// cloudClient returns a client of the cloud that the person has signed in to,
// and else of the one that runs in the data directory.
func cloudClient(c *cobra.Command, e *azure.App, dir, subscription string) (*cloud.Client, *azure.Session, error) {
	s, err := azure.Open(c.Context(), azure.Where{
		DataDir: dir, Given: c.Flags().Changed("data-dir") || os.Getenv("ENTRANCE_DATA_DIR") != "", Subscription: subscription,
	}, e.Err)
	if err != nil {
		return nil, nil, err
	}
	if strings.HasPrefix(s.Cloud.Name, "Azure") {
		return nil, nil, errs.New(errs.Invalid, "The sign-in is to %s. Tenant files are for clouds of Entrance; sign in to one with: entrance login --cloud Entrance", s.Cloud.Name)
	}
	client, err := s.Cloud.HTTP()
	if err != nil {
		return nil, nil, err
	}
	audiences := map[cloud.Service]string{cloud.Graph: s.Cloud.GraphAudience, cloud.ARM: s.Cloud.Audience}
	return &cloud.Client{
		GraphURL: s.Cloud.Graph, ARMURL: s.Cloud.ARM, Subscription: s.Subscription.ID, HTTP: client, Poll: 200 * time.Millisecond,
		Token: func(ctx context.Context, service cloud.Service) (string, error) {
			t, err := s.Token(ctx, audiences[service])
			return t.AccessToken, err
		},
	}, s, nil
}

// applier is one run of apply.
type applier struct {
	e                                       *azure.App
	dir                                     *string
	file, output, subscription, credentials string
	dryRun, yes                             bool

	generated []server.Account
}

func (a *applier) run(c *cobra.Command) error {
	ctx := c.Context()
	name, data, err := a.read()
	if err != nil {
		return err
	}
	f, err := tenantfile.Parse(name, data)
	if err != nil {
		return a.problems(err)
	}
	client, session, err := cloudClient(c, a.e, *a.dir, a.subscription)
	if err != nil {
		return err
	}
	if a.credentials == "" && session.Cloud.DataDir != "" {
		a.credentials = filepath.Join(session.Cloud.DataDir, "generated-passwords.json")
	}
	world, err := cloud.Read(ctx, client, f)
	if err != nil {
		return err
	}
	plan, err := tenantfile.MakePlan(name, f, world)
	if err != nil {
		return a.problems(err)
	}
	w := cloud.NewWriter(client, world)
	if err := a.passwords(name, plan, w.Passwords); err != nil {
		return a.problems(err)
	}
	steps := plan.Steps()
	if a.output == "text" {
		fmt.Fprint(a.e.Out, plan.Text())
	}
	if a.dryRun || len(steps) == 0 {
		return a.report(plan, steps, 0, nil)
	}
	if err := a.e.Confirm(a.yes, "Apply these changes?"); err != nil {
		return err
	}
	if err := a.keepPasswords(); err != nil {
		return err
	}
	for n, s := range steps {
		if err := w.Take(ctx, s); err != nil {
			return a.report(plan, steps, n, err)
		}
		if a.output == "text" {
			fmt.Fprintf(a.e.Err, "done: %s\n", tenantfile.Printable(s.String()))
		}
	}
	return a.report(plan, steps, len(steps), nil)
}

func (a *applier) read() (string, []byte, error) {
	var r io.Reader = a.e.In
	name := "standard input"
	if a.file != "-" {
		f, err := os.Open(a.file)
		if err != nil {
			return "", nil, errs.Wrap(errs.NotFound, err, "The tenant file cannot be read")
		}
		defer f.Close()
		r, name = f, a.file
	}
	// One byte more than is allowed, so that Parse refuses what is cut off.
	data, err := io.ReadAll(io.LimitReader(r, tenantfile.MaxSize+1))
	if err != nil {
		return "", nil, errs.Wrap(errs.Invalid, err, "The tenant file cannot be read")
	}
	return name, data, nil
}

// problems prints what is wrong with a file, a line each.
func (a *applier) problems(err error) error {
	var p *tenantfile.Problems
	if !errors.As(err, &p) {
		return err
	}
	fmt.Fprintln(a.e.Err, tenantfile.Printable(p.Error()))
	fmt.Fprintf(a.e.Err, "entrance: nothing was changed: problems found: %d\n", len(p.List))
	return azure.ExitCode(1)
}

// passwords finds the passwords of the users that are to be made.
func (a *applier) passwords(name string, plan *tenantfile.Plan, into map[string]string) error {
	p := &tenantfile.Problems{File: name}
	for _, i := range plan.Items {
		if i.Want.Kind.Section != tenantfile.Users || !i.Create() {
			continue
		}
		user := i.Want.Name()
		pw, err := a.password(i.Want.Object("passwordFrom"))
		if err == nil && pw == "" {
			pw = password.Generate()
			a.generated = append(a.generated, server.Account{UserPrincipalName: user, Password: pw})
		}
		local, _, _ := strings.Cut(user, "@")
		if err == nil {
			err = password.Check(pw, local)
		}
		if err != nil {
			p.List = append(p.List, tenantfile.Problem{Line: i.Want.Line, Text: fmt.Sprintf("the password of user %q: %s", user, errs.Message(err))})
			continue
		}
		into[strings.ToLower(user)] = pw
	}
	if len(p.List) > 0 {
		return p
	}
	return nil
}

// password reads a password from where the file says, "" if it says nothing.
func (a *applier) password(from *tenantfile.Entity) (string, error) {
	switch {
	case from.Has("env"):
		v := os.Getenv(from.Text("env"))
		if v == "" {
			return "", errs.New(errs.Invalid, "The environment variable %s is not set.", from.Text("env"))
		}
		return v, nil
	case from.Has("file"):
		name := from.Text("file")
		if !filepath.IsAbs(name) && a.file != "-" {
			name = filepath.Join(filepath.Dir(a.file), name)
		}
		return a.e.Secret(name)
	}
	return "", nil
}

// keepPasswords writes generated passwords down before they are used, beside
// those of earlier runs.
func (a *applier) keepPasswords() error {
	if len(a.generated) == 0 {
		return nil
	}
	if a.credentials == "" {
		return azure.Usagef("passwords are to be generated: name the file for them with --credentials-file")
	}
	var all []server.Account
	raw, err := os.ReadFile(a.credentials)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return errs.Wrap(errs.Invalid, err, "The credentials file cannot be read")
	default:
		if err := json.Unmarshal(raw, &all); err != nil {
			return errs.Wrap(errs.Invalid, err, "The credentials file %s is broken", a.credentials)
		}
	}
	for _, g := range a.generated {
		kept := all[:0]
		for _, o := range all {
			if !strings.EqualFold(o.UserPrincipalName, g.UserPrincipalName) {
				kept = append(kept, o)
			}
		}
		all = append(kept, g)
	}
	if raw, err = json.MarshalIndent(all, "", "  "); err != nil {
		return err
	}
	return server.WriteFile(a.credentials, append(raw, '\n'), 0o600)
}

// report says what was done and what was not.
func (a *applier) report(plan *tenantfile.Plan, steps []tenantfile.Step, done int, failure error) error {
	if a.output == "json" {
		r := applyReport{DryRun: a.dryRun, Changes: plan.Changes(), Unchanged: plan.Unchanged, Done: []string{}, NotDone: []string{}}
		for n, s := range steps {
			if n < done {
				r.Done = append(r.Done, s.String())
			} else {
				r.NotDone = append(r.NotDone, s.String())
			}
		}
		if failure != nil {
			r.Error = failure.Error()
		}
		if done > 0 && len(a.generated) > 0 {
			r.CredentialsFile = a.credentials
		}
		enc := json.NewEncoder(a.e.Out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	if failure != nil {
		fmt.Fprintf(a.e.Err, "entrance: could not %s: %s\n", tenantfile.Printable(steps[done].String()), tenantfile.Printable(failure.Error()))
		for _, s := range steps[done+1:] {
			fmt.Fprintf(a.e.Err, "not done: %s\n", tenantfile.Printable(s.String()))
		}
		fmt.Fprintf(a.e.Err, "entrance: %d of %d steps were done; apply the file again to go on\n", done, len(steps))
		return azure.ExitCode(1)
	}
	if a.output == "text" && done > 0 {
		fmt.Fprintf(a.e.Out, "Applied: %d steps.\n", done)
		if len(a.generated) > 0 {
			fmt.Fprintf(a.e.Out, "The generated passwords are in %s.\n", a.credentials)
		}
	}
	return nil
}

// applyReport is what apply prints as JSON. Done and NotDone are the steps of
// this run.
type applyReport struct {
	DryRun          bool                       `json:"dryRun"`
	Changes         []tenantfile.ObjectChanges `json:"changes"`
	Unchanged       int                        `json:"unchanged"`
	Done            []string                   `json:"done"`
	NotDone         []string                   `json:"notDone"`
	Error           string                     `json:"error,omitempty"`
	CredentialsFile string                     `json:"credentialsFile,omitempty"`
}
