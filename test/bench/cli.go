package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/entrance-id/entrance/test/az"
)

// cliReads are commands that az and ours have in common and that change nothing,
// by the names of their figures. None needs a cluster.
var cliReads = []struct{ name, args string }{
	{"account-show", "account show"},
	{"account-list", "account list"},
	{"group-list", "group list"},
	{"group-show", "group show -n sample"},
	{"user-list", "ad user list"},
	{"user-show", "ad user show --id UPN"},
	{"group-filter", "ad group list --filter startswith(displayName,'a')"},
	{"aks-list", "aks list"},
	{"identity-list", "identity list"},
	{"role-definition", "role definition list --name Reader"},
}

// cliRounds is how often each read is done with each tool; the median counts.
const cliRounds = 5

// measureCLI measures whole processes: our command line and az doing the same
// reads in turn, as the same person, both signed in before and with their
// tokens kept.
func measureCLI(ctx context.Context, r *run) error {
	c, err := newCloud(ctx, r, "--no-cluster")
	if err != nil {
		return err
	}
	return errors.Join(c.measureCLI(ctx), c.close())
}

func (c *cloud) measureCLI(ctx context.Context) error {
	env, err := c.cliEnviron(ctx)
	if err != nil {
		return err
	}
	admin := c.people.Administrator
	tools := []string{filepath.Join(c.run.bin, "entrance"), "az"}
	for _, tool := range tools {
		if _, err := timed(ctx, env, tool, "login", "-u", admin.UserPrincipalName, "-p", admin.Password, "-o", "none"); err != nil {
			return err
		}
	}
	var total [2]float64
	for _, read := range cliReads {
		args := strings.Fields(strings.ReplaceAll(read.args, "UPN", admin.UserPrincipalName))
		var took [2][]float64
		for round := range cliRounds + 1 { // the first fills what both keep
			for i, tool := range tools {
				d, err := timed(ctx, env, tool, args...)
				if err != nil {
					return err
				}
				if round > 0 {
					took[i] = append(took[i], float64(d)/float64(time.Millisecond))
				}
			}
		}
		ours, theirs := median(took[0]), median(took[1])
		total[0], total[1] = total[0]+ours, total[1]+theirs
		c.run.against("cli/"+read.name, ours, "ms", theirs)
	}
	c.run.against("cli/ten-reads", total[0], "ms", total[1])
	return nil
}

// cliEnviron is the environment of both tools: what `entrance env` prints, and
// homes of their own.
func (c *cloud) cliEnviron(ctx context.Context) ([]string, error) {
	mend := filepath.Join(c.home, "mend")
	if err := os.MkdirAll(mend, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(mend, "sitecustomize.py"), []byte(az.MendRole), 0o600); err != nil {
		return nil, err
	}
	out, err := c.entrance(ctx, "env", "--data-dir", c.data())
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(), "HOME="+c.home, "AZURE_CONFIG_DIR="+filepath.Join(c.home, "azure"), "PYTHONPATH="+mend, "LANG=C.UTF-8",
		"ENTRANCE_CONFIG_DIR="+filepath.Join(c.home, "entrance"), "ENTRANCE_DATA_DIR="+c.data())
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "="); ok {
			env = append(env, name+"="+strings.Trim(value, "'"))
		}
	}
	return env, nil
}

// timed runs a process and returns how long it took, start and end included.
func timed(ctx context.Context, env []string, tool string, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s %s: %w: %s", filepath.Base(tool), strings.Join(args[:min(2, len(args))], " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return time.Since(start), nil
}
