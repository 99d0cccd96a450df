package azure

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/output"
)

// App is what the commands are made with.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	// DataDir returns the data directory that is used unless a flag says
	// otherwise.
	DataDir func() string
}

// ArgumentError marks an error of the command line: exit code 2, as in az.
type ArgumentError struct{ Err error }

// Error returns the text of the error.
func (e ArgumentError) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e ArgumentError) Unwrap() error { return e.Err }

// Usagef makes an ArgumentError.
func Usagef(format string, args ...any) error { return ArgumentError{fmt.Errorf(format, args...)} }

// ExitCode ends the program with a code; what there is to say has been said.
type ExitCode int

// Error returns the code in words.
func (c ExitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// common are the flags of every command.
type common struct {
	where  Where
	output string
	query  string
	quiet  bool
}

// requiredFlags is the annotation of a command that holds their names.
const requiredFlags = "entrance/required"

// Require marks flags that must be given.
func Require(c *cobra.Command, names ...string) {
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[requiredFlags] = strings.TrimSpace(c.Annotations[requiredFlags] + " " + strings.Join(names, " "))
}

// missing names the required flags that are not given, as az writes them.
func missing(c *cobra.Command) error {
	var names []string
	for name := range strings.FieldsSeq(c.Annotations[requiredFlags]) {
		f := c.Flags().Lookup(name)
		// A value may have come by another name of the flag.
		if f.Value.String() != "" && (f.Changed || f.Value.Type() == "string") {
			continue
		}
		text := "--" + name
		if f.Shorthand != "" {
			text += "/-" + f.Shorthand
		}
		names = append(names, text)
	}
	if len(names) > 0 {
		return Usagef("the following arguments are required: %s (see '%s --help')", strings.Join(names, ", "), c.CommandPath())
	}
	return nil
}

// outputFlags adds the flags that say how a result is printed.
func (a *App) outputFlags(c *cobra.Command, v *common) {
	c.Flags().StringVarP(&v.output, "output", "o", "json", strings.Join(output.Formats, ", "))
	c.Flags().StringVar(&v.query, "query", "", "JMESPath expression that picks from the result, see https://jmespath.org")
	c.Flags().BoolVar(&v.quiet, "only-show-errors", false, "no progress and no warnings")
	c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(output.Formats, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("query", cobra.NoFileCompletions)
}

// DataDirFlag adds the flag that names a data directory and returns its value.
func (a *App) DataDirFlag(c *cobra.Command) *string {
	return c.Flags().String("data-dir", a.DataDir(), "where everything is kept")
}

// whereFlags adds the flags that say which cloud and subscription a command
// works on.
func (a *App) whereFlags(c *cobra.Command, v *common) {
	c.Flags().StringVar(&v.where.DataDir, "data-dir", a.DataDir(), "work on the cloud that runs in this data directory")
	c.Flags().StringVar(&v.where.Subscription, "subscription", "", "name or id of the subscription (default: see 'entrance account set')")
	a.Complete(c, "subscription", func(ctx context.Context, s *Session) ([]string, error) {
		list, err := s.Subscriptions(ctx)
		var names []string
		for _, l := range list {
			names = append(names, l.ID+"\t"+l.Name)
		}
		return names, err
	})
}

// Open opens the session of a command.
func (v *common) open(ctx context.Context, c *cobra.Command, errOut io.Writer) (*Session, error) {
	v.where.Given = c.Flags().Changed("data-dir") || os.Getenv("ENTRANCE_DATA_DIR") != ""
	s, err := Open(ctx, v.where, errOut)
	if err != nil {
		return nil, err
	}
	s.Quiet = v.quiet
	return s, nil
}

// Run makes c a command that works in a session and prints what do returns.
// Nothing is printed for nil. table says what a table shows.
func (a *App) Run(c *cobra.Command, table output.Table, do func(context.Context, *Session) (any, error)) {
	v := &common{}
	a.outputFlags(c, v)
	a.whereFlags(c, v)
	c.RunE = func(c *cobra.Command, _ []string) error {
		format, err := v.format(c)
		if err != nil {
			return err
		}
		s, err := v.open(c.Context(), c, a.Err)
		if err != nil {
			return Explain(err)
		}
		result, err := do(c.Context(), s)
		if err != nil {
			return Explain(err)
		}
		return print(format, a.Out, result, table)
	}
}

// RunAlone is Run for commands that need no session.
func (a *App) RunAlone(c *cobra.Command, table output.Table, do func(context.Context) (any, error)) {
	v := &common{}
	a.outputFlags(c, v)
	c.RunE = func(c *cobra.Command, _ []string) error {
		format, err := v.format(c)
		if err != nil {
			return err
		}
		result, err := do(c.Context())
		if err != nil {
			return Explain(err)
		}
		return print(format, a.Out, result, table)
	}
}

// format checks what the command line says before anything is sent.
func (v *common) format(c *cobra.Command) (*output.Format, error) {
	if err := missing(c); err != nil {
		return nil, err
	}
	format, err := output.New(v.output, v.query)
	if err != nil {
		return nil, ArgumentError{err}
	}
	return format, nil
}

func print(format *output.Format, w io.Writer, result any, table output.Table) error {
	if result == nil {
		return nil
	}
	return format.Print(w, result, table)
}

// Complete lets the shell complete a flag with what list returns, in the
// session that the command line names. A cloud that does not answer in time, or
// a sign-in that would need a person, completes nothing.
func (a *App) Complete(c *cobra.Command, flag string, list func(context.Context, *Session) ([]string, error)) {
	c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		ctx := c.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completionTime)
		defer cancel()
		v := &common{where: Where{DataDir: a.DataDir()}}
		if f := c.Flags().Lookup("data-dir"); f != nil {
			v.where.DataDir = f.Value.String()
		}
		if f := c.Flags().Lookup("subscription"); f != nil && flag != "subscription" {
			v.where.Subscription = f.Value.String()
		}
		s, err := v.open(ctx, c, io.Discard)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, err := list(ctx, s)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var fit []string
		for _, n := range names {
			if len(n) >= len(typed) && strings.EqualFold(n[:len(typed)], typed) {
				fit = append(fit, n)
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	})
}
