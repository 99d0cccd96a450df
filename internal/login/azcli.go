package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// commandLine gets a token from a command-line tool in which the person is
// signed in already.
type commandLine struct {
	o       *Options
	sys     *Surroundings
	label   string
	tool    string
	args    []string
	install string
	profile string // the file whose content says who is signed in; empty: not cached
	life    time.Duration
}

// azLife is how long a token of az is kept: long enough for a burst of kubectl
// commands, and bound to the signed-in account besides.
const azLife = 5 * time.Minute

func newAzureCLI(o *Options, sys *Surroundings) (method, error) {
	if err := safeArgument("tenant ID", o.TenantID); err != nil {
		return nil, err
	}
	if err := safeArgument("server ID", o.ServerID); err != nil {
		return nil, err
	}
	c := &commandLine{o: o, sys: sys, label: "AzureCLICredential", tool: "az", life: azLife,
		args:    []string{"account", "get-access-token", "-o", "json", "--resource", o.resource()},
		install: "Azure CLI not found on path"}
	if o.TenantID != "" {
		c.args = append(c.args, "--tenant", o.TenantID)
	}
	if o.Subscription != "" {
		c.args = append(c.args, "--subscription", o.Subscription)
	}
	dir := getenv(sys.Env, "AZURE_CONFIG_DIR")
	if dir == "" {
		home := getenv(sys.Env, "HOME")
		if runtime.GOOS == "windows" {
			home = getenv(sys.Env, "USERPROFILE")
		}
		if home != "" {
			dir = filepath.Join(home, ".azure")
		}
	}
	if dir != "" {
		c.profile = filepath.Join(dir, "azureProfile.json")
	}
	return c, nil
}

func newAzd(o *Options, sys *Surroundings) (method, error) {
	if err := safeArgument("tenant ID", o.TenantID); err != nil {
		return nil, err
	}
	if err := safeArgument("server ID", o.ServerID); err != nil {
		return nil, err
	}
	c := &commandLine{o: o, sys: sys, label: "AzureDeveloperCLICredential", tool: "azd",
		args:    []string{"auth", "token", "-o", "json", "--no-prompt", "--scope", o.Scope()},
		install: "Azure Developer CLI not found on path"}
	if o.TenantID != "" {
		c.args = append(c.args, "--tenant-id", o.TenantID)
	}
	return c, nil
}

// safeArgument refuses values that a tool or a shell below it (az is a batch
// file on Windows) could take for something else.
func safeArgument(what, v string) error {
	if strings.HasPrefix(v, "-") || strings.HasPrefix(v, "@") || strings.ContainsFunc(v, func(r rune) bool {
		return badInSubscription(r) && !strings.ContainsRune(":/", r) || r == ' '
	}) {
		return fmt.Errorf("invalid %s %q: only letters, digits, '-', '_', '.', ':' and '/' are allowed", what, v)
	}
	return nil
}

func (c *commandLine) name() string { return c.label }
func (c *commandLine) account() string {
	return strings.Join([]string{c.profile, c.o.Subscription}, "\n")
}
func (c *commandLine) keep() time.Duration { return c.life }
func (c *commandLine) human() bool         { return false }

// secrets binds a cached token to az's own record of who is signed in: after
// az login, logout or account set, it no longer fits.
func (c *commandLine) secrets() ([][]byte, error) {
	if c.profile == "" {
		return nil, errors.New("the folder of az is not known")
	}
	info, err := os.Stat(c.profile)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(c.profile)
	if err != nil {
		return nil, err
	}
	parts := [][]byte{b, []byte(info.ModTime().String())}
	// The account's own tokens: a new sign-in of the same user rewrites them,
	// and so does a sign-out.
	for _, name := range []string{"service_principal_entries.json", "service_principal_entries.bin"} {
		if sp, err := os.ReadFile(filepath.Join(filepath.Dir(c.profile), name)); err == nil {
			parts = append(parts, sp)
		}
	}
	return parts, nil
}

func (c *commandLine) acquire(ctx context.Context) (*tokenResponse, error) {
	path, err := exec.LookPath(c.tool)
	if err != nil {
		return nil, errors.New(c.install)
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, c.args...)
	cmd.WaitDelay = 2 * time.Second
	cmd.Dir = safeFolder(c.sys.Env)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&stdout}, &limited{&stderr}
	if c.tool == "az" {
		cmd.Env = append(os.Environ(), "AZURE_CORE_NO_COLOR=true")
	}
	if err := cmd.Run(); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("%s did not answer within %s; raise --timeout or set AZURE_CLI_TIMEOUT", c.tool, c.o.Timeout)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		text := clean(stderr.String())
		if text == "" {
			text = err.Error()
		}
		return nil, errors.New(text)
	}
	return c.parse(stdout.Bytes())
}

// parse reads the answers of az, old and new, and of azd.
func (c *commandLine) parse(b []byte) (*tokenResponse, error) {
	var out struct {
		AccessToken string `json:"accessToken"`
		ExpiresOn   string `json:"expiresOn"`
		ExpiresUnix number `json:"expires_on"`
		Token       string `json:"token"`
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("%s answered with something that is not the JSON expected", c.tool)
	}
	r := &tokenResponse{AccessToken: firstOf(out.AccessToken, out.Token), TokenType: "Bearer", ExpiresOn: out.ExpiresUnix}
	if r.AccessToken == "" {
		return nil, fmt.Errorf("%s answered without a token", c.tool)
	}
	if r.ExpiresOn == 0 {
		// az before 2.54 gives local time only; azd gives RFC 3339.
		t, err := time.ParseInLocation("2006-01-02 15:04:05.999999", out.ExpiresOn, time.Local)
		if err != nil {
			if t, err = time.Parse(time.RFC3339, out.ExpiresOn); err != nil {
				return nil, fmt.Errorf("%s answered with an expiry that cannot be read: %q", c.tool, clean(out.ExpiresOn))
			}
		}
		r.ExpiresOn = number(t.Unix())
	}
	return r, nil
}

// safeFolder is a folder in which nobody can have left a program or a module
// that the tool would pick up.
func safeFolder(env Environment) string {
	if runtime.GOOS == "windows" {
		if root := getenv(env, "SYSTEMROOT"); root != "" {
			return root
		}
		return ""
	}
	return "/bin"
}

// limited keeps the first part of what a tool prints.
type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxBody - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
