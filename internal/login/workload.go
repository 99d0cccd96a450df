package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// federated exchanges a token of another issuer. assertion gets it.
type federatedToken struct {
	*entra
	label     string
	who       string
	life      time.Duration
	bound     [][]byte
	assertion func(ctx context.Context) (string, error)
}

func (f *federatedToken) name() string               { return f.label }
func (f *federatedToken) account() string            { return f.who }
func (f *federatedToken) keep() time.Duration        { return f.life }
func (f *federatedToken) secrets() ([][]byte, error) { return f.bound, nil }

func (f *federatedToken) acquire(ctx context.Context) (*tokenResponse, error) {
	assertion, err := f.assertion(ctx)
	if err != nil {
		return nil, err
	}
	form, err := f.form("client_credentials")
	if err != nil {
		return nil, err
	}
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", assertion)
	return f.client.token(ctx, form, false)
}

func getenv(env Environment, name string) string {
	v, _ := env(name)
	return v
}

func newWorkload(e *entra) (method, error) {
	e.client.region = regionOf(e.sys.Env)
	if e.o.FederatedToken != "" {
		return newFederated(e, e.o.FederatedToken), nil
	}
	if getenv(e.sys.Env, "ACTIONS_ID_TOKEN_REQUEST_TOKEN") != "" && getenv(e.sys.Env, "ACTIONS_ID_TOKEN_REQUEST_URL") != "" {
		// Not cached: a runner serves job after job, and each is somebody else.
		return &federatedToken{entra: e, label: "GithubActionsCredential", assertion: e.githubToken}, nil
	}
	file := e.o.FederatedTokenFile
	if file == "" {
		return nil, errors.New("federated token file cannot be empty: give --federated-token-file or set AZURE_FEDERATED_TOKEN_FILE")
	}
	token, err := readTokenFile(file)
	if err != nil {
		return nil, err
	}
	return newFederated(e, token), nil
}

// newFederated exchanges a token that is at hand.
func newFederated(e *entra, token string) method {
	m := &federatedToken{entra: e, label: "WorkloadIdentityCredential", life: -1,
		assertion: func(context.Context) (string, error) { return token, nil }}
	// The file's token changes each hour; the workload that it names does not.
	var claims struct{ Iss, Sub string }
	if claimsOf(token, &claims) && claims.Sub != "" {
		m.who = claims.Iss + " " + claims.Sub
	} else {
		m.bound = [][]byte{[]byte(token)}
	}
	return m
}

func readTokenFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("failed to read the federated token file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxBody {
		return "", fmt.Errorf("failed to read the federated token file: %s is not a token file", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("failed to read the federated token file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("the federated token file %s is empty", path)
	}
	return token, nil
}

// githubToken asks GitHub Actions for the job's own token.
func (e *entra) githubToken(ctx context.Context) (string, error) {
	u, err := url.Parse(getenv(e.sys.Env, "ACTIONS_ID_TOKEN_REQUEST_URL"))
	if err != nil || u.Host == "" {
		return "", errors.New("unable to parse ACTIONS_ID_TOKEN_REQUEST_URL")
	}
	q := u.Query()
	q.Set("audience", "api://AzureADTokenExchange")
	u.RawQuery = q.Encode()
	var out struct{ Value string }
	header := http.Header{
		"Authorization": {"bearer " + getenv(e.sys.Env, "ACTIONS_ID_TOKEN_REQUEST_TOKEN")},
		"Accept":        {"application/json; api-version=2.0"},
		"Content-Type":  {"application/json"},
	}
	if err := e.client.getJSON(ctx, u.String(), header, &out); err != nil {
		return "", fmt.Errorf("github actions ID token request failed: %w", err)
	}
	if out.Value == "" {
		return "", errors.New("github actions ID token is empty")
	}
	return out.Value, nil
}

func newPipelines(e *entra) (method, error) {
	system := getenv(e.sys.Env, "SYSTEM_ACCESSTOKEN")
	if system == "" {
		return nil, errors.New("SYSTEM_ACCESSTOKEN environment variable not set")
	}
	if e.o.ServiceConnectionID == "" {
		return nil, errEmpty("service connection ID")
	}
	where := getenv(e.sys.Env, "SYSTEM_OIDCREQUESTURI")
	if where == "" {
		return nil, errors.New("no value for environment variable SYSTEM_OIDCREQUESTURI. This should be set by Azure Pipelines")
	}
	return &federatedToken{entra: e, label: "AzurePipelinesCredential", life: -1,
		who: "connection " + e.o.ServiceConnectionID, bound: [][]byte{[]byte(system)},
		assertion: func(ctx context.Context) (string, error) { return e.pipelineToken(ctx, where, system) }}, nil
}

// pipelineToken asks Azure Pipelines for the service connection's token.
func (e *entra) pipelineToken(ctx context.Context, where, system string) (string, error) {
	u, err := url.Parse(where)
	if err != nil || u.Host == "" {
		return "", errors.New("unable to parse SYSTEM_OIDCREQUESTURI")
	}
	q := u.Query()
	q.Set("api-version", "7.1")
	q.Set("serviceConnectionId", e.o.ServiceConnectionID)
	u.RawQuery = q.Encode()
	header := http.Header{
		"Authorization":         {"Bearer " + system},
		"Accept":                {"application/json"},
		"Content-Type":          {"application/json"},
		"X-Tfs-Fedauthredirect": {"Suppress"},
	}
	var out struct {
		Token json.RawMessage `json:"oidcToken"`
	}
	if err := e.client.do(ctx, http.MethodPost, u.String(), header, nil, false, &out); err != nil {
		return "", fmt.Errorf("azure pipelines OIDC request failed: %w", err)
	}
	var token string
	if json.Unmarshal(out.Token, &token) != nil || token == "" {
		return "", errors.New("azure pipelines OIDC answer has no oidcToken")
	}
	return token, nil
}
