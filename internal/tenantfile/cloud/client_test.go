package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/errs"
)

// serve runs a service of a cloud and a client of it.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	return &Client{
		GraphURL: s.URL, ARMURL: s.URL, Subscription: "s", HTTP: s.Client(),
		Token: func(context.Context, Service) (string, error) { return "secret-token", nil },
	}
}

// TestLinks: pages are followed within the service, and the token goes to no
// other host.
func TestLinks(t *testing.T) {
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was asked with %q", r.URL, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	var c *Client
	next := ""
	c = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret-token" {
			t.Errorf("token: %q", r.Header.Get("Authorization"))
		}
		page := map[string]any{"value": []string{r.URL.Path}}
		if r.URL.Path == "/v1.0/first" {
			page["@odata.nextLink"] = next
		}
		json.NewEncoder(w).Encode(page)
	})
	next = c.GraphURL + "/v1.0/second"
	if all, err := list[string](t.Context(), c, Graph, "/first"); err != nil || strings.Join(all, " ") != "/v1.0/first /v1.0/second" {
		t.Errorf("%v %v", all, err)
	}
	for _, bad := range []string{elsewhere.URL + "/v1.0/second", c.GraphURL + ".example/second", "https://x@" + strings.TrimPrefix(elsewhere.URL, "https://") + "/"} {
		next = bad
		if _, err := list[string](t.Context(), c, Graph, "/first"); err == nil || !strings.Contains(err.Error(), "another host") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestNotNow: a service that is busy is asked again, but not for ever.
func TestNotNow(t *testing.T) {
	asked, busy := 0, 2
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		if asked <= busy {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	if err := c.call(t.Context(), ARM, http.MethodPost, "/x", map[string]string{"a": "b"}, nil); err != nil || asked != 3 {
		t.Errorf("%d: %v", asked, err)
	}
	asked, busy = 0, 100
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.call(ctx, ARM, http.MethodPost, "/x", nil, nil); !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "canceled") {
		t.Errorf("after the end: %v", err)
	}
}

func TestFailure(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":{"code":"Request_BadRequest","message":"No."}}`: "(Request_BadRequest) No.",
		`{"code":"BadRequest","message":"Bare."}`:                 "(BadRequest) Bare.",
		`<html>`: "HTTP 404",
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(body))
		})
		err := c.call(t.Context(), ARM, http.MethodGet, "/x", nil, nil)
		if err == nil || err.Error() != want || !errs.Is(err, errs.NotFound) || !status(err, 404) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestPaths: what a file names is a segment of a path, whatever it holds.
func TestPaths(t *testing.T) {
	if got := resourcePath("a/../b?c", clusterType); got != "/resourceGroups/a/providers/"+clusterType+"/..%2Fb%3Fc" {
		t.Error(got)
	}
	if got := address("/subscriptions/s/resourceGroups/a b?/x"); got != "/subscriptions/s/resourceGroups/a%20b%3F/x" {
		t.Error(got)
	}
}
