package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
)

// armClient calls Resource Manager as the service principal of the credentials
// file.
type armClient struct {
	base  string
	token string
	http  *http.Client
	sp    server.ServicePrincipal
}

func newARM(ctx context.Context, s *server.Status) (*armClient, error) {
	raw, err := os.ReadFile(s.CredentialsFile)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The credentials file cannot be read")
	}
	var credentials server.Credentials
	if err := json.Unmarshal(raw, &credentials); err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The credentials file %s is broken", s.CredentialsFile)
	}
	ca, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The authority's certificate cannot be read")
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c := &armClient{base: s.Endpoints.ARM, http: &http.Client{
		Timeout: 30 * time.Second,
		// The proxy in the environment is for other tools: this one knows where
		// to go.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}}
	c.sp = credentials.ServicePrincipal
	c.token, err = c.tokenFor(ctx, s, "https://management.azure.com/.default")
	return c, err
}

// tokenFor signs in for a scope.
func (c *armClient) tokenFor(ctx context.Context, s *server.Status, scope string) (string, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {string(c.sp.ClientID)}, "client_secret": {c.sp.ClientSecret},
		"scope": {scope},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Endpoints.Login+"/"+string(c.sp.TenantID)+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	err = c.do(req, &answer)
	return answer.AccessToken, err
}

func (c *armClient) post(ctx context.Context, path string, answer any) error {
	return c.call(ctx, http.MethodPost, path, nil, answer)
}

// call makes a request with an optional JSON body.
func (c *armClient) call(ctx context.Context, method, path string, body, answer any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	return c.do(req, answer)
}

func (c *armClient) do(req *http.Request, answer any) error {
	res, err := c.http.Do(req)
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "Entrance does not answer")
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		var failure struct {
			Error   json.RawMessage `json:"error"`
			Details string          `json:"error_description"`
		}
		var arm struct{ Code, Message string }
		text := res.Status
		if json.Unmarshal(body, &failure) == nil {
			if failure.Details != "" {
				text = failure.Details
			} else if json.Unmarshal(failure.Error, &arm) == nil && arm.Code != "" {
				text = "(" + arm.Code + ") " + arm.Message
			}
		}
		kind := errs.Invalid
		if res.StatusCode == http.StatusNotFound {
			kind = errs.NotFound
		}
		return errs.New(kind, "%s", text)
	}
	return json.Unmarshal(body, answer)
}
