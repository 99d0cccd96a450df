package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/entrance-id/entrance/internal/login"
	"github.com/entrance-id/entrance/internal/tokencache"
	"github.com/spf13/cobra"
)

func (p *program) getToken() *cobra.Command {
	o := login.NewOptions()
	cmd := &cobra.Command{
		Use:   "get-token",
		Short: "get AAD token",
		Long:  "Get a token for the API server and print it as an ExecCredential, for kubectl.",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			exec, err := readExecInfo(os.LookupEnv)
			if err != nil {
				return err
			}
			s, done, err := p.session(o, exec.interactive)
			if err != nil {
				return err
			}
			defer done()
			token, err := s.Token(cmd.Context())
			if err != nil {
				return err
			}
			return exec.write(p.stdout, token)
		},
	}
	o.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&o.SkipOpenBrowser, "skip-open-browser", false, "Only print the address in interactive, do not open a browser")
	completeLogin(cmd)
	return cmd
}

// session applies the environment, checks the options and opens the cache.
func (p *program) session(o *login.Options, interactive bool) (*login.Session, func(), error) {
	for _, over := range o.ApplyEnvironment(os.LookupEnv) {
		p.logf(5, "--%s is overridden by %s", over.Flag, over.Variable)
	}
	if err := o.Validate(); err != nil {
		return nil, nil, err
	}
	if o.ServerID == "" {
		return nil, nil, errors.New("server-id is required")
	}
	return p.newSession(o, interactive)
}

// newSession opens the cache for options that are final.
func (p *program) newSession(o *login.Options, interactive bool) (*login.Session, func(), error) {
	store := p.store(o.CacheDir)
	sys := login.Surroundings{
		Clock: p.clock, Env: os.LookupEnv, Stderr: p.stderr, Logf: p.logf,
		Version: shortVersion(), Interactive: interactive,
	}
	if o.Login == login.Interactive && interactive {
		sys.OpenBrowser = login.Browser(os.LookupEnv)
		if isTerminal(os.Stdin) {
			sys.Stdin = os.Stdin
		}
	}
	s, err := login.NewSession(o, store, sys)
	if err != nil {
		store.Close()
		return nil, nil, err
	}
	return s, func() { store.Close() }, nil
}

// keyStoreVariable chooses where the cache's key lives: auto, keyring, file or
// none.
const keyStoreVariable = "KUBELOGIN_CACHE_KEY"

func (p *program) store(dir string) *tokencache.Store {
	where := os.Getenv(keyStoreVariable)
	switch where {
	case "", "auto", "keyring", "file", "none":
	default:
		p.warn(fmt.Sprintf("%s=%q is not auto, keyring, file or none; auto is used", keyStoreVariable, where))
		where = ""
	}
	return tokencache.Open(dir, tokencache.Options{Clock: p.clock, Warn: p.warn, KeyStore: where,
		Logf: func(format string, args ...any) { p.logf(5, format, args...) }})
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// The versions of ExecCredential that kubectl may ask for.
const (
	execGroup   = "client.authentication.k8s.io/"
	execV1beta1 = execGroup + "v1beta1"
	execV1      = execGroup + "v1"
)

// execInfo is what kubectl says about the call.
type execInfo struct {
	apiVersion  string
	interactive bool
}

// readExecInfo reads KUBERNETES_EXEC_INFO before anything else happens: a
// token that cannot be handed over is not worth a sign-in.
func readExecInfo(env login.Environment) (execInfo, error) {
	out := execInfo{apiVersion: execV1beta1, interactive: true}
	text, _ := env("KUBERNETES_EXEC_INFO")
	if text == "" {
		return out, nil
	}
	var in struct {
		APIVersion string `json:"apiVersion"`
		Spec       struct {
			Interactive *bool `json:"interactive"`
		} `json:"spec"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return out, fmt.Errorf("cannot unmarshal %q to ExecCredential: %w", text, err)
	}
	switch in.APIVersion {
	case "", execV1beta1:
	case execV1:
		out.apiVersion = execV1
	default:
		return out, fmt.Errorf("api version: %s is not supported", in.APIVersion)
	}
	if in.Spec.Interactive != nil {
		out.interactive = *in.Spec.Interactive
	}
	return out, nil
}

// write prints the ExecCredential: one line, members in a fixed order.
func (e execInfo) write(w io.Writer, t login.Token) error {
	type spec struct {
		Interactive bool `json:"interactive"`
	}
	type status struct {
		ExpirationTimestamp string `json:"expirationTimestamp"`
		Token               string `json:"token"`
	}
	b, err := json.Marshal(struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
		Spec       spec   `json:"spec"`
		Status     status `json:"status"`
	}{"ExecCredential", e.apiVersion, spec{}, status{t.ExpiresOn.UTC().Format(time.RFC3339), t.Value}})
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// completeLogin offers the login modes and file names to a shell.
func completeLogin(cmd *cobra.Command) {
	cmd.RegisterFlagCompletionFunc("login", cobra.FixedCompletions(login.Modes(), cobra.ShellCompDirectiveNoFileComp))
	cmd.MarkFlagFilename("client-certificate", "pfx", "pem", "p12", "cert")
	cmd.MarkFlagFilename("federated-token-file")
	cmd.MarkFlagDirname("cache-dir")
	cmd.MarkFlagDirname("token-cache-dir")
}
