package proxy_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/proxy"
)

// newClient starts a proxy in front of a TLS server that tells the name it was
// asked under, and returns a client that uses the proxy.
func newClient(t *testing.T) *http.Client {
	t.Helper()
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "entrance answers for "+r.TLS.ServerName)
	}))
	t.Cleanup(backend.Close)
	front := httptest.NewServer(&proxy.Proxy{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", backend.Listener.Addr().String())
		},
		IMDS: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "imds "+r.URL.Path)
		}),
		Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(front.Close)
	u, err := url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the name is what is tested
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func get(c *http.Client, url string) (int, string, error) {
	res, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func TestProxy(t *testing.T) {
	c := newClient(t)
	for _, name := range proxy.Names {
		code, body, err := get(c, "https://"+name+"/x")
		if err != nil || code != 200 || body != "entrance answers for "+name {
			t.Errorf("%s: %d %q %v", name, code, body, err)
		}
	}
	if code, body, err := get(c, "http://169.254.169.254/metadata/identity/oauth2/token"); err != nil || code != 200 || body != "imds /metadata/identity/oauth2/token" {
		t.Errorf("imds: %d %q %v", code, body, err)
	}
}

func TestProxyRefusesEverythingElse(t *testing.T) {
	c := newClient(t)
	for _, target := range []string{
		"https://example.com/", "https://login.microsoftonline.com:8443/", "https://login.microsoftonline.com.evil.example/",
		"https://127.0.0.1/", "https://169.254.169.254/",
	} {
		if _, _, err := get(c, target); err == nil || !strings.Contains(err.Error(), "Forbidden") {
			t.Errorf("%s: err = %v, want Forbidden", target, err)
		}
	}
	for _, target := range []string{"http://example.com/", "http://login.microsoftonline.com/", "http://169.254.169.254:8080/"} {
		if code, _, err := get(c, target); err != nil || code != http.StatusForbidden {
			t.Errorf("%s: %d %v, want 403", target, code, err)
		}
	}
}
