package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/kubeconfig"
	"github.com/google/go-cmp/cmp"
)

// convertCase is one row of testdata/convert.txt.
type convertCase struct {
	name                string
	provider            map[string]string
	oldArgs             []string
	oldEnv, env, newEnv []string
	flags, args         []string
	err                 string
}

func readConvertCases(t *testing.T) []convertCase {
	t.Helper()
	data, err := os.ReadFile("testdata/convert.txt")
	if err != nil {
		t.Fatal(err)
	}
	var cases []convertCase
	for i, line := range strings.Split(string(data), "\n") {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if verb == "" || verb[0] == '#' {
			continue
		}
		if verb == "case" {
			cases = append(cases, convertCase{name: rest})
			continue
		}
		c := &cases[len(cases)-1]
		words := strings.Fields(rest)
		switch verb {
		case "old":
			switch words[0] {
			case "provider":
				c.provider = map[string]string{}
				for _, w := range words[1:] {
					k, v, _ := strings.Cut(w, "=")
					c.provider[k] = v
				}
			case "exec":
				c.oldArgs = words[1:]
			}
		case "oldenv":
			c.oldEnv = append(c.oldEnv, rest)
		case "env":
			c.env = append(c.env, rest)
		case "newenv":
			c.newEnv = append(c.newEnv, rest)
		case "flags":
			c.flags = words
		case "args":
			c.args = append([]string{"get-token"}, words...)
		case "error":
			c.err = rest
		default:
			t.Fatalf("line %d: unknown verb %q", i+1, verb)
		}
	}
	return cases
}

// config writes the old user twice, under two names, beside one of another
// kind that must stay as it is.
func (c convertCase) config() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Config\nusers:\n")
	for _, name := range []string{"one", "two"} {
		fmt.Fprintf(&b, "- name: %s\n  user:\n", name)
		if c.provider != nil {
			b.WriteString("    auth-provider:\n      config:\n")
			keys := []string{}
			for k := range c.provider {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			for _, k := range keys {
				fmt.Fprintf(&b, "        %s: %q\n", k, c.provider[k])
			}
			b.WriteString("      name: azure\n")
			continue
		}
		b.WriteString("    exec:\n      apiVersion: client.authentication.k8s.io/v1beta1\n      args:\n")
		for _, a := range c.oldArgs {
			fmt.Fprintf(&b, "      - %q\n", a)
		}
		b.WriteString("      command: /opt/bin/Kubelogin.exe\n")
		if len(c.oldEnv) > 0 {
			b.WriteString("      env:\n")
			for _, e := range c.oldEnv {
				k, v, _ := strings.Cut(e, "=")
				fmt.Fprintf(&b, "      - name: %s\n        value: %s\n", k, v)
			}
		}
	}
	b.WriteString("- name: plain\n  user:\n    token: keep\n    # a comment\n")
	return b.String()
}

func TestConvertTable(t *testing.T) {
	plugin := testPlugin(t)
	cases := readConvertCases(t)
	if len(cases) < 50 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "config")
			before := c.config()
			if err := os.WriteFile(path, []byte(before), 0o640); err != nil {
				t.Fatal(err)
			}
			convert := func() (string, error) {
				cmd := exec.Command(plugin, append([]string{"convert-kubeconfig", "--kubeconfig", path}, c.flags...)...)
				cmd.Env = append([]string{"HOME=" + t.TempDir()}, c.env...)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				err := cmd.Run()
				return stderr.String(), err
			}
			stderr, err := convert()
			after, rerr := os.ReadFile(path)
			if rerr != nil {
				t.Fatal(rerr)
			}
			if c.err != "" {
				if err == nil || !strings.HasPrefix(stderr, "Error: "+c.err) {
					t.Fatalf("stderr %q, err %v; want error %q", stderr, err, c.err)
				}
				if string(after) != before {
					t.Error("the file was changed by a run that failed")
				}
				return
			}
			if err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			files, err := kubeconfig.LoadAll([]string{path})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"one", "two"} {
				u, ok := kubeconfig.FindUser(files, name)
				if !ok {
					t.Fatalf("user %s is gone:\n%s", name, after)
				}
				if d := cmp.Diff(c.args, u.Args); d != "" {
					t.Errorf("user %s: args (-want +got):\n%s", name, d)
				}
				var env []string
				for k, v := range u.Env {
					env = append(env, k+"="+v)
				}
				if d := cmp.Diff(c.newEnv, env); d != "" {
					t.Errorf("user %s: env (-want +got):\n%s", name, d)
				}
				if u.Command != "kubelogin" || u.APIVersion != "client.authentication.k8s.io/v1beta1" || u.AuthProvider != "" {
					t.Errorf("user %s: %+v", name, u)
				}
			}
			if !strings.HasSuffix(string(after), "- name: plain\n  user:\n    token: keep\n    # a comment\n") {
				t.Errorf("another user was changed:\n%s", after)
			}
			if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
				t.Errorf("mode is now %v", info.Mode())
			}
			// A second run changes nothing, except where a mode does not carry
			// the values over.
			if _, err := convert(); err == nil {
				again, _ := os.ReadFile(path)
				if !bytes.Equal(again, after) {
					t.Errorf("a second run changed the file:\n%s\n%s", after, again)
				}
			}
		})
	}
}
