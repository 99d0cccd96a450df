package azure

import (
	"bytes"
	"slices"
	"testing"

	"github.com/spf13/cobra"
)

// line is a command with flags of all kinds.
func line() (*cobra.Command, *Words, *Truth) {
	root := &cobra.Command{Use: "x"}
	c := &cobra.Command{Use: "do", RunE: func(*cobra.Command, []string) error { return nil }}
	tags, on := WordsFlag(c, "tags", ""), TruthFlag(c, "on", "")
	c.Flags().StringP("name", "n", "", "")
	c.Flags().Bool("yes", false, "")
	root.AddCommand(c)
	return root, tags, on
}

// TestSpread holds how az reads what follows a flag.
func TestSpread(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{"do", "--tags", "a=b", "c=d", "--yes"}, []string{"do", "--tags=a=b", "--tags=c=d", "--yes"}},
		{[]string{"do", "--tags=a=b", "c=d", "-n", "x"}, []string{"do", "--tags=a=b", "--tags=c=d", "-n", "x"}},
		{[]string{"do", "--tags", ""}, []string{"do", "--tags="}},
		{[]string{"do", "--tags"}, []string{"do", "--tags"}},
		{[]string{"do", "--tags", "-", "--yes"}, []string{"do", "--tags=-", "--yes"}},
		{[]string{"do", "--on", "false", "--yes"}, []string{"do", "--on=false", "--yes"}},
		{[]string{"do", "--on", "True"}, []string{"do", "--on=True"}},
		{[]string{"do", "--on", "--yes"}, []string{"do", "--on", "--yes"}},
		{[]string{"do", "--on=false", "true"}, []string{"do", "--on=false", "true"}},
		{[]string{"do", "--name", "--tags", "a"}, []string{"do", "--name", "--tags", "a"}}, // the value of --name, whatever it looks like
		{[]string{"do", "--", "--tags", "a", "b"}, []string{"do", "--", "--tags", "a", "b"}},
		{[]string{"nope", "--tags", "a", "b"}, []string{"nope", "--tags", "a", "b"}},
		{[]string{"do", "--nope", "a", "--tags", "b", "c"}, []string{"do", "--nope", "a", "--tags=b", "--tags=c"}},
		{nil, nil},
	} {
		root, _, _ := line()
		if got := Spread(root, c.in); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestFlagValues(t *testing.T) {
	root, tags, on := line()
	root.SetArgs(Spread(root, []string{"do", "--tags", "a=b=c", "d", "--on"}))
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	m := tags.Map()
	if len(m) != 2 || *m["a"] != "b=c" || *m["d"] != "" {
		t.Errorf("tags %v", m)
	}
	if on.Value == nil || !*on.Value {
		t.Error("--on alone is not true")
	}
	root, tags, on = line()
	root.SetArgs(Spread(root, []string{"do", "--tags", ""}))
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	if !tags.Set || len(tags.List) != 0 || on.Value != nil {
		t.Errorf("%+v %+v", tags, on)
	}
	root, _, _ = line()
	root.SetOut(&bytes.Buffer{})
	root.SetErr(&bytes.Buffer{})
	root.SetArgs([]string{"do", "--on=maybe"})
	if root.Execute() == nil {
		t.Error("--on=maybe was taken")
	}
}

// FuzzSpread holds that no command line makes it fail or lose a word.
func FuzzSpread(f *testing.F) {
	f.Add("do", "--tags", "a", "--on")
	f.Add("do", "--on=x", "true", "--")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		root, _, _ := line()
		in := []string{a, b, c, d}
		out := Spread(root, in)
		if len(out) > len(in) {
			t.Errorf("%q became %q", in, out)
		}
	})
}
