// Package e2e_test drives the real binaries as a user runs them: entrance,
// kubelogin, kubectl, a browser. It needs what `make build` and
// scripts/setup.sh make; nothing is skipped.
package e2e_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/test/tools"
)

// cloud is a cloud that runs in a process of its own.
type cloud struct {
	t      *testing.T
	bin    string
	data   string
	base   int
	status server.Status
	people server.Credentials
	http   *http.Client
}

// newCloud makes a data directory that is removed, with whatever still runs in
// it, when the test ends. Nothing is started.
func newCloud(t *testing.T, base int) *cloud {
	t.Helper()
	c := &cloud{t: t, bin: tools.Bin(t), data: filepath.Join(t.TempDir(), "data"), base: base}
	t.Cleanup(func() {
		c.entrance("down", "--data-dir", c.data)
		if t.Failed() {
			if log, err := os.ReadFile(filepath.Join(c.data, "entrance.log")); err == nil {
				t.Logf("the end of the log:\n%s", log[max(0, len(log)-3000):])
			}
		}
	})
	return c
}

// entrance runs the command and returns what it printed.
func (c *cloud) entrance(args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(c.bin, "entrance"), args...).CombinedOutput()
	return string(out), err
}

// up starts the cloud, or starts it again.
func (c *cloud) up(flags ...string) {
	c.t.Helper()
	args := append([]string{"up", "--detach", "--data-dir", c.data, "--port-base", strconv.Itoa(c.base)}, flags...)
	if out, err := c.entrance(args...); err != nil {
		c.t.Fatalf("up: %v\n%s", err, out)
	}
	out, err := exec.Command(filepath.Join(c.bin, "entrance"), "status", "--data-dir", c.data, "--output", "json").Output()
	if err != nil {
		c.t.Fatalf("status: %v", err)
	}
	c.status = server.Status{}
	c.must(json.Unmarshal(out, &c.status))
	if !c.status.Ready {
		c.t.Fatalf("up returned and it is not ready: %+v", c.status)
	}
	raw, err := os.ReadFile(c.status.CredentialsFile)
	c.must(err)
	c.must(json.Unmarshal(raw, &c.people))
	pem, err := os.ReadFile(c.status.CAFile)
	c.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}, Timeout: 20 * time.Second}
}

func (c *cloud) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// kill ends the process as a power cut would.
func (c *cloud) kill() {
	c.t.Helper()
	c.must(syscall.Kill(c.status.PID, syscall.SIGKILL))
	c.gone(c.status.PID)
}

// gone waits for a process to end.
func (c *cloud) gone(pid int) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("process %d does not end", pid)
		}
	}
}

// alive reports whether a process runs; one that has ended and that nobody has
// asked about does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// processes returns the command lines of what runs in the data directory.
func (c *cloud) processes() (list []string) {
	entries, err := os.ReadDir("/proc")
	c.must(err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte(c.data)) && alive(pid) {
			list = append(list, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return list
}

// nothingLeft waits until no process of the cloud runs.
func (c *cloud) nothingLeft() {
	c.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := c.processes()
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("still running:\n%s", strings.Join(left, "\n"))
		}
	}
}

// token signs in with a form at the tenant's token endpoint.
func (c *cloud) token(form url.Values) (string, error) {
	res, err := c.http.PostForm(c.status.Endpoints.Login+"/"+string(c.status.TenantID)+"/oauth2/v2.0/token", form)
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
		return "", fmt.Errorf("%s", answer.Error)
	}
	return answer.Token, nil
}

// application signs the sample's service principal in.
func (c *cloud) application(scope string) string {
	c.t.Helper()
	sp := c.people.ServicePrincipal
	token, err := c.token(url.Values{"grant_type": {"client_credentials"}, "client_id": {string(sp.ClientID)}, "client_secret": {sp.ClientSecret}, "scope": {scope}})
	c.must(err)
	return token
}

// person signs one of the sample's people in with the password grant.
func (c *cloud) person(name, scope string) string {
	c.t.Helper()
	a := c.account(name)
	token, err := c.token(url.Values{
		"grant_type": {"password"}, "client_id": {"04b07795-8ddb-461a-bbee-02f9e1bf7b46"},
		"username": {a.UserPrincipalName}, "password": {a.Password}, "scope": {scope},
	})
	c.must(err)
	return token
}

func (c *cloud) account(name string) server.Account {
	c.t.Helper()
	for _, a := range c.people.Users {
		if strings.HasPrefix(a.UserPrincipalName, name+"@") {
			return a
		}
	}
	c.t.Fatalf("nobody is called %s", name)
	return server.Account{}
}

const (
	graphScope = "https://graph.microsoft.com/.default"
	aksScope   = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
)

// graph calls Microsoft Graph with a token and returns the status and the body.
func (c *cloud) graph(token, method, path string, body any) (int, []byte, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, c.status.Endpoints.Graph+"/v1.0"+path, r)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return res.StatusCode, raw, err
}

// kubectl runs the real kubectl with a kubeconfig.
func (c *cloud) kubectl(kubeconfig string, env []string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(c.bin, "kubectl"), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+c.bin+":"+os.Getenv("PATH"), "HOME="+c.data, "SSL_CERT_FILE="+c.status.CAFile, "KUBELOGIN_CACHE_KEY=file",
		"KUBECACHEDIR="+filepath.Join(c.data, "kubelogin"), "XDG_CACHE_HOME="+filepath.Join(c.data, "cache"))
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// kubeconfig fetches the credentials of the sample's cluster into a file.
func (c *cloud) kubeconfig(flags ...string) string {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "kubeconfig")
	args := append([]string{"aks", "get-credentials", "--data-dir", c.data, "-g", "sample", "-n", "sample", "--file", file}, flags...)
	if out, err := c.entrance(args...); err != nil {
		c.t.Fatalf("get-credentials: %v\n%s", err, out)
	}
	return file
}

// bearer writes a kubeconfig that shows a token.
func (c *cloud) bearer(kubeconfig, token string) string {
	c.t.Helper()
	raw, err := os.ReadFile(kubeconfig)
	c.must(err)
	head, _, ok := strings.Cut(string(raw), "\nusers:\n")
	if !ok {
		c.t.Fatal("the kubeconfig has no users")
	}
	file := filepath.Join(c.t.TempDir(), "bearer")
	c.must(os.WriteFile(file, []byte(head+"\nusers:\n- name: clusterUser_sample_sample\n  user:\n    token: "+token+"\n"), 0o600))
	return file
}
