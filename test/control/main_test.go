// Package control_test manages a cloud and its real clusters with Microsoft's
// own clients, unmodified, and looks at the running API server after each
// change: what Resource Manager stores is no evidence of what a cluster does.
//
// The clients are pointed at the cloud by what `entrance env` prints and keep
// their built-in public cloud. The suite needs what `make build` and
// scripts/setup.sh make; nothing is skipped.
package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/test/tools"
)

// portBase is where the suite's cloud listens.
const portBase = 24800

// The scopes of the three kinds of token.
const (
	armScope   = "https://management.azure.com/.default"
	graphScope = "https://graph.microsoft.com/.default"
	aksScope   = string(directory.AKSServer) + "/.default"
)

// outside is what this process's environment was before it was pointed at the
// cloud, for what has to come from a registry.
var outside = os.Environ()

// cloud is the running cloud, made by TestMain.
var cloud struct {
	bin, dir, data string
	status         server.Status
	people         server.Credentials
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	stop, err := start()
	if stop != nil {
		defer stop()
	}
	if err != nil {
		log.Print(err)
		return 1
	}
	return m.Run()
}

// start starts the cloud as a person would, and points this process at it.
func start() (stop func(), err error) {
	if cloud.bin, err = tools.Dir(); err != nil {
		return nil, err
	}
	if cloud.dir, err = os.MkdirTemp("", "control"); err != nil {
		return nil, err
	}
	cloud.data = filepath.Join(cloud.dir, "data")
	stop = func() {
		if out, err := entrance("down", "--data-dir", cloud.data); err != nil {
			log.Printf("down: %v\n%s", err, out)
		}
		os.RemoveAll(cloud.dir)
	}
	if out, err := entrance("up", "--detach", "--no-cluster", "--legacy-integration", "--data-dir", cloud.data, "--port-base", strconv.Itoa(portBase)); err != nil {
		return stop, fmt.Errorf("up: %w\n%s", err, out)
	}
	status, err := server.ReadStatus(context.Background(), cloud.data)
	if err != nil {
		return stop, err
	}
	cloud.status = *status
	raw, err := os.ReadFile(status.CredentialsFile)
	if err != nil {
		return stop, err
	}
	if err := json.Unmarshal(raw, &cloud.people); err != nil {
		return stop, err
	}
	// Go reads the proxy and the certificates from the environment at the
	// first request, which is made after this.
	env, err := entrance("env", "--data-dir", cloud.data)
	if err != nil {
		return stop, fmt.Errorf("env: %w\n%s", err, env)
	}
	sp := cloud.people.ServicePrincipal
	set := map[string]string{
		"AZURE_TENANT_ID": string(sp.TenantID), "AZURE_CLIENT_ID": string(sp.ClientID), "AZURE_CLIENT_SECRET": sp.ClientSecret,
		"HOME": cloud.dir, "PATH": cloud.bin + ":" + os.Getenv("PATH"), "KUBECACHEDIR": filepath.Join(cloud.dir, "kubelogin"), "KUBELOGIN_CACHE_KEY": "file",
	}
	for line := range strings.Lines(env) {
		if name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "="); ok {
			set[name] = strings.Trim(value, "'")
		}
	}
	for name, value := range set {
		if err := os.Setenv(name, value); err != nil {
			return stop, err
		}
	}
	return stop, nil
}

// entrance runs the command and returns what it printed.
func entrance(args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(cloud.bin, "entrance"), args...).CombinedOutput()
	return string(out), err
}

// account returns one of the sample's people.
func account(t *testing.T, name string) server.Account {
	t.Helper()
	for _, a := range cloud.people.Users {
		if strings.HasPrefix(a.UserPrincipalName, name+"@") {
			return a
		}
	}
	t.Fatalf("nobody is called %s", name)
	return server.Account{}
}

// tokenFrom signs in with a form at a token endpoint: "oauth2/v2.0/token" or
// "oauth2/token".
func tokenFrom(endpoint string, form url.Values) (string, error) {
	res, err := http.PostForm("https://login.microsoftonline.com/"+string(cloud.status.TenantID)+"/"+endpoint, form)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return "", err
	}
	if answer.Token == "" {
		return "", errors.New(answer.Error)
	}
	return answer.Token, nil
}

// person signs one of the sample's people in.
func person(t *testing.T, name, scope string) string {
	t.Helper()
	a := account(t, name)
	token, err := tokenFrom("oauth2/v2.0/token", url.Values{
		"grant_type": {"password"}, "client_id": {string(directory.AzureCLI)}, "username": {a.UserPrincipalName}, "password": {a.Password}, "scope": {scope},
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// application signs the sample's service principal in.
func application(t *testing.T, scope string) string {
	t.Helper()
	sp := cloud.people.ServicePrincipal
	return secretToken(t, string(sp.ClientID), sp.ClientSecret, scope)
}

// secretToken signs an application in with its secret.
func secretToken(t *testing.T, clientID, secret, scope string) string {
	t.Helper()
	token, err := tokenFrom("oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {secret}, "scope": {scope},
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// answer is what an HTTP call gave.
type answer struct {
	code   int
	header http.Header
	raw    []byte
}

// errorMessage is the message of an error of ARM or Graph.
func (a *answer) errorMessage() string {
	var m struct{ Error struct{ Message string } }
	_ = json.Unmarshal(a.raw, &m)
	return m.Error.Message
}

// call sends a request as the sample's service principal.
func call(t *testing.T, scope, method, address string, body any) *answer {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, address, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+application(t, scope))
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	a := &answer{code: res.StatusCode, header: res.Header}
	if a.raw, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return a
}

// graph calls Microsoft Graph and decodes the answer.
func graph(t *testing.T, method, path string, body, out any) {
	t.Helper()
	a := call(t, graphScope, method, "https://graph.microsoft.com/v1.0"+path, body)
	decode(t, method+" "+path, a, out)
}

func decode(t *testing.T, what string, a *answer, out any) {
	t.Helper()
	if a.code >= 300 {
		t.Fatalf("%s: HTTP %d\n%s", what, a.code, a.raw)
	}
	if out != nil {
		if err := json.Unmarshal(a.raw, out); err != nil {
			t.Fatalf("%s: %v\n%s", what, err, a.raw)
		}
	}
}

// newGroup makes a security group with members and returns its object id.
func newGroup(t *testing.T, name string, members ...directory.ObjectID) string {
	t.Helper()
	var made struct{ ID string }
	graph(t, http.MethodPost, "/groups", map[string]any{"displayName": name, "mailNickname": name, "mailEnabled": false, "securityEnabled": true}, &made)
	for _, m := range members {
		graph(t, http.MethodPost, "/groups/"+made.ID+"/members/$ref", map[string]string{"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/" + string(m)}, nil)
	}
	return made.ID
}

// kubectl runs the real kubectl with a kubeconfig.
func kubectl(kubeconfig string, args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(cloud.bin, "kubectl"), append([]string{"--kubeconfig", kubeconfig}, args...)...).CombinedOutput()
	return string(out), err
}

var usersOf = regexp.MustCompile(`(?s)\nusers:\n.*$`)

// bearer writes a kubeconfig like the given one that shows a token.
func bearer(t *testing.T, kubeconfig, token string) string {
	t.Helper()
	raw, err := os.ReadFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`user: (\S+)`).FindSubmatch(raw)
	if name == nil || !usersOf.Match(raw) {
		t.Fatalf("the kubeconfig has no users:\n%s", raw)
	}
	return write(t, usersOf.ReplaceAllString(string(raw), "\nusers:\n- name: "+string(name[1])+"\n  user:\n    token: "+token+"\n"))
}

// write writes a file of the test's own.
func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// eventually tries until ok is true, and fails the test after two seconds, the
// documented bound: docs/freshness.md. The bound is the product's promise, and
// what runs on the cluster when the machine is busy counts in it, so it is
// given as much time again.
func eventually(t *testing.T, what string, ok func() (string, bool)) {
	t.Helper()
	begin := time.Now()
	for {
		out, done := ok()
		if done {
			t.Logf("%s after %v", what, time.Since(begin).Round(10*time.Millisecond))
			return
		}
		if time.Since(begin) > 4*time.Second {
			t.Errorf("%s: not after %v:\n%s", what, time.Since(begin).Round(10*time.Millisecond), out)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
