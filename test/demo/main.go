// Command demo plays the main job end to end, with no cloud: a fresh data
// directory, the real pages, the real kubectl and a real API server. It prints
// each command with its real output, and fails unless every step's output is as
// expected.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"

	"github.com/entrance-id/entrance/internal/server"
)

func main() {
	bin := flag.String("bin", "bin", "directory of the binaries")
	base := flag.Int("port-base", 18440, "port base of the demo's cloud")
	keep := flag.Bool("keep", false, "leave the cloud running")
	flag.Parse()
	if err := run(*bin, *base, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type demo struct {
	bin, dir string
	env      []string
	status   server.Status
	people   server.Credentials
	http     *http.Client
	steps    []step
}

type step struct {
	name string
	took time.Duration
}

func run(bin string, base int, keep bool) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "entrance-demo-")
	if err != nil {
		return err
	}
	d := &demo{bin: bin, dir: dir}
	d.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	data := filepath.Join(dir, "data")
	defer func() {
		if keep && err == nil {
			fmt.Printf("\nIt is still running. Try it by hand:\n\n  export PATH=%s:$PATH\n  export KUBECONFIG=%s SSL_CERT_FILE=%s\n  kubectl get nodes\n\nPasswords are in %s.\nStop it with: entrance down --data-dir %s\n",
				bin, d.kubeconfig("dev"), d.status.CAFile, d.status.CredentialsFile, data)
			return
		}
		if out, derr := d.command("entrance", "down", "--data-dir", data).CombinedOutput(); derr != nil {
			err = errors.Join(err, fmt.Errorf("entrance down: %w: %s", derr, out))
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if err := d.step("start a cloud", func() error {
		_, err := d.show("entrance", "up", "--detach", "--data-dir", data, "--port-base", fmt.Sprint(base))
		return err
	}); err != nil {
		return err
	}
	out, err := d.command("entrance", "status", "--data-dir", data, "--output", "json").Output()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, &d.status); err != nil {
		return err
	}
	if err := d.prepare(); err != nil {
		return err
	}
	if err := d.play(data); err != nil {
		return err
	}
	fmt.Println()
	for _, s := range d.steps {
		fmt.Printf("%7.2fs  %s\n", s.took.Seconds(), s.name)
	}
	fmt.Printf("demo: %d steps passed\n", len(d.steps))
	return nil
}

func (d *demo) kubeconfig(name string) string { return filepath.Join(d.dir, name+".kubeconfig") }

// prepare reads what the cloud was made with.
func (d *demo) prepare() error {
	raw, err := os.ReadFile(d.status.CredentialsFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &d.people); err != nil {
		return err
	}
	pem, err := os.ReadFile(d.status.CAFile)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	d.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 30 * time.Second}
	d.env = append(d.env, "SSL_CERT_FILE="+d.status.CAFile)
	return nil
}

func (d *demo) play(data string) error {
	ada, dev := d.person("ada"), d.person("dev")
	steps := []struct {
		name string
		do   func() error
	}{
		{"get the cluster's credentials", func() error {
			_, err := d.show("entrance", "aks", "get-credentials", "--data-dir", data, "-g", "sample", "-n", "sample", "--file", d.kubeconfig("dev"))
			return err
		}},
		{"the developer signs in with a device code and is Forbidden for nodes", func() error {
			out, err := d.kubectl("dev", &dev, "get", "nodes")
			return forbidden(out, err, dev.UserPrincipalName)
		}},
		{"the API server knows the developer", func() error {
			out, err := d.kubectl("dev", nil, "auth", "whoami")
			return expect(out, err, dev.UserPrincipalName, string(dev.ObjectID), "system:authenticated")
		}},
		{"the developer joins the admin group: the same token works", func() error {
			if err := d.graph(http.MethodPost, "/groups/{admins}/members/$ref", map[string]string{"@odata.id": d.status.Endpoints.Graph + "/v1.0/directoryObjects/" + string(dev.ObjectID)}, http.StatusNoContent); err != nil {
				return err
			}
			return within(2*time.Second, func() error {
				out, err := d.kubectl("dev", nil, "get", "nodes")
				return expect(out, err, "Ready", "aks-nodepool1-", "v1.36.3")
			})
		}},
		{"the developer leaves it: the same token is refused", func() error {
			if err := d.graph(http.MethodDelete, "/groups/{admins}/members/"+string(dev.ObjectID)+"/$ref", nil, http.StatusNoContent); err != nil {
				return err
			}
			return within(12*time.Second, func() error {
				out, err := d.kubectl("dev", nil, "get", "nodes")
				return forbidden(out, err, dev.UserPrincipalName)
			})
		}},
		{"an administrator signs in and lists the nodes", func() error {
			if err := d.copyConfig("ada"); err != nil {
				return err
			}
			out, err := d.kubectl("ada", &ada, "get", "nodes")
			return expect(out, err, "Ready", "aks-nodepool1-")
		}},
		{"a service principal does the same without a prompt", func() error {
			sp := d.people.ServicePrincipal
			if err := d.graph(http.MethodPost, "/groups/{admins}/members/$ref", map[string]string{"@odata.id": d.status.Endpoints.Graph + "/v1.0/directoryObjects/" + string(sp.ObjectID)}, http.StatusNoContent); err != nil {
				return err
			}
			if err := d.copyConfig("spn"); err != nil {
				return err
			}
			d.env = append(d.env, "AZURE_CLIENT_ID="+string(sp.ClientID), "AZURE_CLIENT_SECRET="+sp.ClientSecret, "AAD_LOGIN_METHOD=spn")
			defer func() { d.env = d.env[:len(d.env)-3] }()
			out, err := d.kubectl("spn", nil, "get", "nodes")
			if err := expect(out, err, "Ready", "aks-nodepool1-"); err != nil {
				return err
			}
			out, err = d.kubectl("spn", nil, "auth", "whoami")
			return expect(out, err, string(sp.ObjectID))
		}},
		{"a disabled administrator is refused", func() error {
			if err := d.graph(http.MethodPatch, "/users/"+string(ada.ObjectID), map[string]any{"accountEnabled": false}, http.StatusNoContent); err != nil {
				return err
			}
			return within(2*time.Second, func() error {
				out, err := d.kubectl("ada", nil, "get", "nodes")
				if err == nil {
					return fmt.Errorf("the disabled user is let in:\n%s", out)
				}
				if !strings.Contains(out, "Forbidden") && !strings.Contains(out, "Unauthorized") && !strings.Contains(out, "logged in") {
					return fmt.Errorf("not refused as expected:\n%s", out)
				}
				return nil
			})
		}},
	}
	for _, s := range steps {
		if err := d.step(s.name, s.do); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) person(name string) server.Account {
	for _, a := range d.people.Users {
		if strings.HasPrefix(a.UserPrincipalName, name+"@") {
			return a
		}
	}
	return server.Account{}
}

func (d *demo) copyConfig(name string) error {
	raw, err := os.ReadFile(d.kubeconfig("dev"))
	if err != nil {
		return err
	}
	return os.WriteFile(d.kubeconfig(name), raw, 0o600)
}

func (d *demo) step(name string, do func() error) error {
	fmt.Printf("\n# %s\n", name)
	start := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	d.steps = append(d.steps, step{name, time.Since(start)})
	return nil
}

func (d *demo) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(d.bin, name), args...)
	cmd.Env = d.env
	return cmd
}

// show runs a command and prints it with its output.
func (d *demo) show(name string, args ...string) (string, error) {
	fmt.Printf("$ %s %s\n", name, strings.Join(args, " "))
	out, err := d.command(name, args...).CombinedOutput()
	os.Stdout.Write(out)
	if err != nil {
		return string(out), fmt.Errorf("%s: %w", name, err)
	}
	return string(out), nil
}

var prompt = regexp.MustCompile(`open the page (\S+) and enter the code (\S+) to authenticate`)

// kubectl runs kubectl with a cache of its own for each name. When it prompts,
// the sign-in is completed on the real pages as the given person.
func (d *demo) kubectl(name string, who *server.Account, args ...string) (string, error) {
	fmt.Printf("$ kubectl %s\n", strings.Join(args, " "))
	cmd := d.command("kubectl", args...)
	cmd.Env = append(cmd.Env, "KUBECONFIG="+d.kubeconfig(name), "KUBECACHEDIR="+filepath.Join(d.dir, "kubelogin-"+name))
	// A terminal, as a person has: without one the plugin does not prompt.
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 400})
	if err != nil {
		return "", err
	}
	defer terminal.Close()
	var out bytes.Buffer
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() {
		lines := bufio.NewScanner(terminal)
		for lines.Scan() { // the end of a terminal is an error to read; both end this
			fmt.Println(lines.Text())
			out.WriteString(strings.TrimRight(lines.Text(), "\r") + "\n")
			m := prompt.FindStringSubmatch(lines.Text())
			if m == nil {
				continue
			}
			if who == nil {
				failed = errors.New("kubectl prompted although nobody was to sign in")
				cmd.Process.Kill()
				continue
			}
			b, err := newBrowser(d.http.Transport)
			if err == nil {
				var last string
				last, err = b.approve(m[1], m[2], who.UserPrincipalName, who.Password)
				fmt.Printf("  (browser, as %s) %s\n", who.UserPrincipalName, last)
			}
			if err != nil {
				failed = fmt.Errorf("the sign-in pages: %w", err)
				cmd.Process.Kill()
			}
		}
	})
	timer := time.AfterFunc(60*time.Second, func() { cmd.Process.Kill() })
	wg.Wait()
	err = cmd.Wait()
	timer.Stop()
	if failed != nil {
		return out.String(), failed
	}
	return out.String(), err
}

// graph calls Microsoft Graph with a real token of the sample's service
// principal. {admins} stands for the id of the admin group.
func (d *demo) graph(method, path string, body any, want int) error {
	token, err := d.token("https://graph.microsoft.com/.default")
	if err != nil {
		return err
	}
	if strings.Contains(path, "{admins}") {
		var groups struct{ Value []struct{ ID string } }
		if err := d.call(http.MethodGet, "/groups?$filter="+url.QueryEscape("displayName eq 'aks-admins'"), token, nil, http.StatusOK, &groups); err != nil {
			return err
		}
		if len(groups.Value) != 1 {
			return fmt.Errorf("%d groups are called aks-admins", len(groups.Value))
		}
		path = strings.ReplaceAll(path, "{admins}", groups.Value[0].ID)
	}
	fmt.Printf("> %s /v1.0%s\n", method, path)
	return d.call(method, path, token, body, want, nil)
}

func (d *demo) call(method, path, token string, body any, want int, answer any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, d.status.Endpoints.Graph+"/v1.0"+path, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != want {
		return fmt.Errorf("%s %s: HTTP %d: %s", method, path, res.StatusCode, raw)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(raw, answer)
}

func (d *demo) token(scope string) (string, error) {
	sp := d.people.ServicePrincipal
	res, err := d.http.PostForm(d.status.Endpoints.Login+"/"+string(sp.TenantID)+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {string(sp.ClientID)}, "client_secret": {sp.ClientSecret}, "scope": {scope},
	})
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

func expect(out string, err error, words ...string) error {
	if err != nil {
		return err
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			return fmt.Errorf("the output has no %q", w)
		}
	}
	return nil
}

// forbidden expects the API server's refusal to list nodes, word for word.
func forbidden(out string, err error, user string) error {
	want := fmt.Sprintf("Error from server (Forbidden): nodes is forbidden: User %q cannot list resource \"nodes\" in API group \"\" at the cluster scope", user)
	if err == nil || !strings.Contains(out, want) {
		return fmt.Errorf("want %q; kubectl ended with %v", want, err)
	}
	return nil
}

// within repeats a check until it passes or the time is over.
func within(d time.Duration, check func() error) error {
	for end := time.Now().Add(d); ; time.Sleep(200 * time.Millisecond) {
		err := check()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
