package azure

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The types of flags that az has and pflag has not.
const (
	wordsType = "words" // one or more values: --tags a=b c=d
	truthType = "truth" // true, false, or nothing for true: --enabled false
)

// Words is the value of a flag that takes one or more words.
type Words struct {
	List []string
	Set  bool
}

type wordsValue struct{ *Words }

func (w wordsValue) String() string {
	if w.Words == nil {
		return ""
	}
	return strings.Join(w.List, " ")
}
func (w wordsValue) Type() string { return wordsType }
func (w wordsValue) Set(s string) error {
	w.Words.Set = true
	if s != "" { // --tags "" empties, as in az
		w.List = append(w.List, s)
	}
	return nil
}

// WordsFlag adds a flag that takes one or more words.
func WordsFlag(c *cobra.Command, name, usage string) *Words {
	w := &Words{}
	c.Flags().Var(wordsValue{w}, name, usage)
	return w
}

// Map returns words of the form key=value as a map. A key alone has an empty
// value, as az has it.
func (w *Words) Map() map[string]*string {
	out := map[string]*string{}
	for _, word := range w.List {
		k, v, _ := strings.Cut(word, "=")
		out[k] = &v
	}
	return out
}

// Truth is the value of a flag that is true, false or not given.
type Truth struct{ Value *bool }

type truthValue struct{ *Truth }

func (t truthValue) String() string {
	if t.Truth == nil || t.Value == nil {
		return ""
	}
	return strconv.FormatBool(*t.Value)
}
func (t truthValue) Type() string { return truthType }
func (t truthValue) Set(s string) error {
	b, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		return err
	}
	t.Value = &b
	return nil
}

// TruthFlag adds a flag that takes true or false, and means true alone.
func TruthFlag(c *cobra.Command, name, usage string) *Truth {
	t := &Truth{}
	c.Flags().Var(truthValue{t}, name, usage)
	c.Flags().Lookup(name).NoOptDefVal = "true"
	c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions([]string{"true", "false"}, cobra.ShellCompDirectiveNoFileComp))
	return t
}

// Spread rewrites a command line as az has it into one that pflag understands:
// the words after a flag that takes several belong to it, and so does true or
// false after a flag of that kind.
func Spread(root *cobra.Command, args []string) []string {
	c, _, err := root.Find(args)
	if err != nil || c == nil {
		return args
	}
	var out []string
	for i := 0; i < len(args); i++ {
		out = append(out, args[i])
		if args[i] == "--" {
			return append(out, args[i+1:]...)
		}
		name, long := strings.CutPrefix(args[i], "--")
		if !long {
			continue
		}
		name, value, given := strings.Cut(name, "=")
		f := c.Flags().Lookup(name)
		if f == nil {
			continue
		}
		switch f.Value.Type() {
		case wordsType:
			out = out[:len(out)-1]
			if given {
				out = append(out, "--"+name+"="+value)
			}
			for i+1 < len(args) && !isFlag(args[i+1]) {
				i++
				out = append(out, "--"+name+"="+args[i])
				given = true
			}
			if !given {
				out = append(out, "--"+name) // pflag says that the value is missing
			}
		case truthType:
			if i+1 < len(args) && !given {
				if _, err := strconv.ParseBool(strings.ToLower(args[i+1])); err == nil {
					i++
					out[len(out)-1] += "=" + args[i]
				}
			}
		case "bool":
		default:
			if !given && i+1 < len(args) && f.NoOptDefVal == "" { // its value, whatever it looks like
				i++
				out = append(out, args[i])
			}
		}
	}
	return out
}

func isFlag(s string) bool { return len(s) > 1 && s[0] == '-' }

// GroupFlag adds --resource-group, which is required, and completes it.
func (a *App) GroupFlag(c *cobra.Command) *string {
	g := a.OptionalGroupFlag(c)
	Require(c, "resource-group")
	return g
}

// Hide leaves flags out of the help: old names of others, which documents have.
func Hide(c *cobra.Command, names ...string) {
	for _, n := range names {
		c.Flags().Lookup(n).Hidden = true
	}
}

// Changed reports whether any of the flags was given.
func Changed(fs *pflag.FlagSet, names ...string) bool {
	for _, n := range names {
		if fs.Changed(n) {
			return true
		}
	}
	return false
}
