package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/server"
)

// cloud is a cloud in a process of its own, started as a person starts it.
type cloud struct {
	run    *run
	home   string // holds data, and whatever else a measurement writes
	status server.Status
	people server.Credentials
	pool   *x509.CertPool
	http   *http.Client
}

func (c *cloud) data() string { return filepath.Join(c.home, "data") }

// newCloud starts a cloud in a fresh directory.
func newCloud(ctx context.Context, r *run, args ...string) (*cloud, error) {
	home, err := os.MkdirTemp("", "entrance-bench-")
	if err != nil {
		return nil, err
	}
	c := &cloud{run: r, home: home}
	if _, err := c.up(ctx, args...); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// up starts the cloud and returns how long the command took, which returns
// when everything is ready.
func (c *cloud) up(ctx context.Context, args ...string) (time.Duration, error) {
	start := time.Now()
	if _, err := c.entrance(ctx, append([]string{"up", "--detach", "--data-dir", c.data(), "--port-base", strconv.Itoa(c.run.base)}, args...)...); err != nil {
		return 0, err
	}
	took := time.Since(start)
	out, err := c.entrance(ctx, "status", "--data-dir", c.data(), "--output", "json")
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(out, &c.status); err != nil {
		return 0, err
	}
	raw, err := os.ReadFile(c.status.CredentialsFile)
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(raw, &c.people); err != nil {
		return 0, err
	}
	pem, err := os.ReadFile(c.status.CAFile)
	if err != nil {
		return 0, err
	}
	c.pool = x509.NewCertPool()
	c.pool.AppendCertsFromPEM(pem)
	c.http = c.client(nil)
	return took, nil
}

// client returns an HTTP client that trusts the cloud, as clients of today
// are: HTTP/2, connections kept.
func (c *cloud) client(certificate *tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: c.pool}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64,
	}}
}

func (c *cloud) down(ctx context.Context) error {
	_, err := c.entrance(ctx, "down", "--data-dir", c.data())
	return err
}

// close stops the cloud, also when the run was interrupted, and removes it.
func (c *cloud) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(c.down(ctx), os.RemoveAll(c.home))
}

func (c *cloud) entrance(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.run.bin, "entrance"), args...)
	cmd.Env = append(os.Environ(), "PATH="+c.run.bin+":"+os.Getenv("PATH"))
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("entrance %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out.Bytes(), nil
}

// cpu returns the processor time that the server has used.
func (c *cloud) cpu() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.status.PID))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", c.status.PID, len(fields))
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 everywhere
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// memory returns the server's resident memory in MiB: the whole process, with
// the embedded etcd where that is in it.
func (c *cloud) memory() (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.status.PID))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("the process has no VmRSS")
}

// metric returns one of the server's own metrics.
func (c *cloud) metric(name string) (float64, error) {
	res, err := http.Get(c.status.Endpoints.Health + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("the server has no metric %s", name)
}

// appToken signs in as the sample's service principal.
func (c *cloud) appToken(scope string) (string, error) {
	sp := c.people.ServicePrincipal
	return c.grant(url.Values{
		"grant_type": {"client_credentials"}, "client_id": {string(sp.ClientID)}, "client_secret": {sp.ClientSecret}, "scope": {scope},
	}, "access_token")
}

// grant asks the token endpoint and returns one member of the answer.
func (c *cloud) grant(form url.Values, member string) (string, error) {
	res, err := c.http.PostForm(c.tokenURL(), form)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return "", err
	}
	if s, ok := answer[member].(string); ok {
		return s, nil
	}
	return "", fmt.Errorf("no %s: HTTP %d: %v", member, res.StatusCode, answer["error_description"])
}

func (c *cloud) tokenURL() string {
	return c.status.Endpoints.Login + "/" + string(c.people.ServicePrincipal.TenantID) + "/oauth2/v2.0/token"
}

// call makes one request and decodes a good answer.
func (c *cloud) call(ctx context.Context, method, address, token string, body, answer any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("ConsistencyLevel", "eventual")
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: HTTP %d: %s", method, address, res.StatusCode, raw)
	}
	if answer == nil || len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, answer)
}

// person returns an account of the sample by the first part of its name.
func (c *cloud) person(name string) server.Account {
	for _, a := range c.people.Users {
		if strings.HasPrefix(a.UserPrincipalName, name+"@") {
			return a
		}
	}
	return server.Account{}
}
