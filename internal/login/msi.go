package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// managedIdentity asks the platform that the process runs on. Which platform
// that is, its environment variables say; without any it is a virtual machine.
type managedIdentity struct {
	o      *Options
	sys    *Surroundings
	client *oauthClient
}

func newMSI(o *Options, sys *Surroundings) *managedIdentity {
	return &managedIdentity{o: o, sys: sys, client: &oauthClient{clock: sys.Clock, http: sys.HTTP, logf: sys.Logf,
		version: sys.Version, timeout: o.Timeout, sleep: sleep}}
}

func (m *managedIdentity) name() string               { return "ManagedIdentityCredential" }
func (m *managedIdentity) account() string            { return firstOf(m.o.ClientID, m.o.IdentityResourceID) }
func (m *managedIdentity) secrets() ([][]byte, error) { return nil, nil }

// keep is zero: the platform caches, and the cache directory may be on a home
// directory that several machines with different identities share.
func (m *managedIdentity) keep() time.Duration { return 0 }
func (m *managedIdentity) human() bool         { return false }

// source is a platform's endpoint and how it wants to be asked.
type source struct {
	name    string
	url     string
	header  http.Header
	query   url.Values
	post    bool
	arc     bool
	imds    bool
	idNames idNames
	fixed   bool // the platform's configuration chooses the identity
}

// idNames are the parameters that pick a user-assigned identity.
type idNames struct{ client, resource string }

// Environment variables that name the platform.
const (
	envIdentityEndpoint   = "IDENTITY_ENDPOINT"
	envIdentityHeader     = "IDENTITY_HEADER"
	envIdentityThumbprint = "IDENTITY_SERVER_THUMBPRINT"
	envIMDSEndpoint       = "IMDS_ENDPOINT"
	envMSIEndpoint        = "MSI_ENDPOINT"
	envMSISecret          = "MSI_SECRET"
	envPodIdentity        = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
)

// source chooses the platform in the order of the reference client: Service
// Fabric, App Service, Machine Learning, Cloud Shell, Arc, virtual machine.
func (m *managedIdentity) source() (*source, error) {
	env := func(n string) string { return getenv(m.sys.Env, n) }
	ep, head, msi := env(envIdentityEndpoint), env(envIdentityHeader), env(envMSIEndpoint)
	res := m.o.resource()
	switch {
	case ep != "" && head != "" && env(envIdentityThumbprint) != "":
		return &source{name: "Service Fabric", url: ep, fixed: true, header: http.Header{"Secret": {head}},
			query: url.Values{"api-version": {"2019-07-01-preview"}, "resource": {res}}}, nil
	case ep != "" && head != "":
		return &source{name: "App Service", url: ep, header: http.Header{"X-Identity-Header": {head}},
			query: url.Values{"api-version": {"2019-08-01"}, "resource": {res}}, idNames: idNames{"client_id", "mi_res_id"}}, nil
	case msi != "" && env(envMSISecret) != "":
		s := &source{name: "Machine Learning", url: msi, header: http.Header{"Secret": {env(envMSISecret)}},
			query: url.Values{"api-version": {"2017-09-01"}, "resource": {res}}, idNames: idNames{"clientid", ""}}
		if m.o.ClientID == "" && env("DEFAULT_IDENTITY_CLIENT_ID") != "" {
			s.query.Set("clientid", env("DEFAULT_IDENTITY_CLIENT_ID"))
		}
		return s, nil
	case msi != "":
		return &source{name: "Cloud Shell", url: msi, post: true, fixed: true, header: http.Header{"Metadata": {"true"}},
			query: url.Values{"resource": {res}}}, nil
	case ep != "" && env(envIMDSEndpoint) != "":
		return &source{name: "Azure Arc", url: ep, arc: true, fixed: true, header: http.Header{"Metadata": {"true"}},
			query: url.Values{"api-version": {"2020-06-01"}, "resource": {res}}}, nil
	}
	where := "http://169.254.169.254/metadata/identity/oauth2/token"
	if h := env(envPodIdentity); h != "" {
		where = strings.TrimRight(h, "/") + "/metadata/identity/oauth2/token"
	}
	return &source{name: "IMDS", url: where, imds: true, header: http.Header{"Metadata": {"true"}},
		query: url.Values{"api-version": {"2018-02-01"}, "resource": {res}}, idNames: idNames{"client_id", "msi_res_id"}}, nil
}

func (m *managedIdentity) acquire(ctx context.Context) (*tokenResponse, error) {
	s, err := m.source()
	if err != nil {
		return nil, err
	}
	m.sys.Logf(5, "managed identity from %s", s.name)
	u, err := url.Parse(s.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the %s endpoint %q is not a URL", s.name, s.url)
	}
	wantsID := m.o.ClientID != "" || m.o.IdentityResourceID != ""
	switch {
	case s.fixed && wantsID:
		return nil, fmt.Errorf("%s does not support user-assigned managed identities here; leave --client-id and --identity-resource-id out (or unset AZURE_CLIENT_ID)", s.name)
	case m.o.ClientID != "":
		s.query.Set(s.idNames.client, m.o.ClientID)
	case m.o.IdentityResourceID != "" && s.idNames.resource == "":
		return nil, fmt.Errorf("%s takes no resource ID of an identity; use --client-id", s.name)
	case m.o.IdentityResourceID != "":
		s.query.Set(s.idNames.resource, m.o.IdentityResourceID)
	}
	if s.imds {
		return m.askIMDS(ctx, u, s)
	}
	var out tokenResponse
	if s.post {
		err = m.client.do(ctx, http.MethodPost, u.String(), s.header, s.query, false, &out)
		return &out, complete(&out, err)
	}
	u.RawQuery = s.query.Encode()
	if s.arc {
		if s.header, err = m.arcChallenge(ctx, u.String(), s.header); err != nil {
			return nil, err
		}
	}
	err = m.client.getJSON(ctx, u.String(), s.header, &out)
	return &out, complete(&out, err)
}

func complete(r *tokenResponse, err error) error {
	if err == nil && r.AccessToken == "" {
		return errors.New("the managed identity endpoint answered without a token")
	}
	return err
}

// imdsDelays follow the reference client: the endpoint starts late and
// throttles.
var imdsDelays = []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 25 * time.Second, 25 * time.Second}

func (m *managedIdentity) askIMDS(ctx context.Context, u *url.URL, s *source) (*tokenResponse, error) {
	u.RawQuery = s.query.Encode()
	ctx, cancel := context.WithTimeout(ctx, m.o.Timeout)
	defer cancel()
	for try := 0; ; try++ {
		status, head, body, err := m.client.send(ctx, http.MethodGet, u.String(), s.header, nil)
		again := err == nil && (retriable(status) || status == http.StatusNotFound || status == http.StatusGone)
		if err != nil && try == 0 {
			return nil, fmt.Errorf("no managed identity endpoint answers at %s: is this a machine in Azure with an identity? (%w)", u.Host, m.client.explain(err, u.Host))
		}
		if err == nil && !again || try == len(imdsDelays) {
			if err != nil {
				return nil, m.client.explain(err, u.Host)
			}
			var out tokenResponse
			err = decodeAnswer(status, u.Host+u.Path, body, &out)
			return &out, complete(&out, err)
		}
		wait := imdsDelays[try]
		if sec, perr := strconv.Atoi(head.Get("Retry-After")); perr == nil && sec >= 0 && sec < 3600 {
			wait = time.Duration(sec) * time.Second
		}
		if m.client.sleep(ctx, wait) != nil {
			if err != nil {
				return nil, m.client.explain(err, u.Host)
			}
			return nil, decodeAnswer(status, u.Host+u.Path, body, nil)
		}
	}
}

// arcChallenge proves to the Arc agent that this process may read its key
// file. Only the agent's own folder is read: the file's name comes from the
// network.
func (m *managedIdentity) arcChallenge(ctx context.Context, where string, header http.Header) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, m.o.Timeout)
	defer cancel()
	u, err := url.Parse(where)
	if err != nil {
		return nil, err
	}
	if !isLoopback(u.Hostname()) {
		return nil, fmt.Errorf("the Arc endpoint %s is not on this machine", u.Host)
	}
	status, head, body, err := m.client.send(ctx, http.MethodGet, where, header, nil)
	if err != nil {
		return nil, m.client.explain(err, u.Host)
	}
	if status != http.StatusUnauthorized {
		if status >= 300 {
			return nil, decodeAnswer(status, u.Host+u.Path, body, nil)
		}
		return nil, errors.New("the Arc agent did not ask for its key file")
	}
	_, file, ok := strings.Cut(head.Get("WWW-Authenticate"), "Basic realm=")
	if !ok {
		return nil, errors.New("the Arc agent's challenge names no key file")
	}
	file = strings.Trim(file, `"`)
	dir := "/var/opt/azcmagent/tokens"
	if runtime.GOOS == "windows" {
		dir = filepath.Join(getenv(m.sys.Env, "ProgramData"), "AzureConnectedMachineAgent", "Tokens")
	}
	if filepath.Dir(filepath.Clean(file)) != dir || filepath.Ext(file) != ".key" {
		return nil, fmt.Errorf("the Arc agent's challenge names a file outside %s", dir)
	}
	info, err := os.Lstat(file)
	if err != nil {
		return nil, fmt.Errorf("reading the Arc key file (are you in the group himds?): %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > 4096 {
		return nil, errors.New("the Arc key file is not a small regular file")
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the Arc key file (are you in the group himds?): %w", err)
	}
	out := header.Clone()
	out.Set("Authorization", "Basic "+string(key))
	return out, nil
}
