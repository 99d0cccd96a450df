package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// exchange signs a client in with a federated token, over the login listener,
// and returns how long the access token is good for. The token itself is
// dropped.
func (s *Server) exchange(ctx context.Context, tenant directory.TenantID, client, assertion string) (time.Duration, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.trust())
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", s.login.ln.Addr().String())
		},
		DisableKeepAlives: true,
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {"https://management.azure.com/.default"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.baseURL()+"/"+string(tenant)+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := (&http.Client{Transport: transport, Timeout: 15 * time.Second}).Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var answer struct {
		Expires int    `json:"expires_in"`
		Error   string `json:"error_description"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return 0, errs.New(errs.Unauthenticated, "%s", answer.Error)
	}
	return time.Duration(answer.Expires) * time.Second, nil
}
