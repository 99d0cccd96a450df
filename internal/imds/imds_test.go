package imds_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/imds"
)

const (
	tenant   = directory.TenantID("11111111-1111-1111-1111-111111111111")
	graph    = "https://graph.microsoft.com"
	uamiID   = "/subscriptions/s/resourcegroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
	endpoint = imds.Path + "?api-version=2018-02-01&resource="
)

var (
	system = imds.Identity{Tenant: tenant, ServicePrincipal: "22222222-2222-2222-2222-222222222222", ClientID: "22222222-2222-2222-2222-22222222cccc"}
	app    = imds.Identity{Tenant: tenant, ServicePrincipal: "33333333-3333-3333-3333-333333333333", ClientID: "33333333-3333-3333-3333-33333333cccc", ResourceID: uamiID}
	job    = imds.Identity{Tenant: tenant, ServicePrincipal: "44444444-4444-4444-4444-444444444444", ClientID: "44444444-4444-4444-4444-44444444cccc", ResourceID: uamiID + "2"}
	now    = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
)

// fixed is a Sources of one resource, on the loopback interface.
type fixed imds.Resource

func (f *fixed) Source(_ context.Context, remote, _ netip.AddrPort) (*imds.Resource, error) {
	if !remote.Addr().IsLoopback() {
		return nil, errs.New(errs.NotFound, "who?")
	}
	return (*imds.Resource)(f), nil
}

// issuer issues texts that say what was asked for, or err.
type issuer struct{ err error }

func (i *issuer) Issue(_ context.Context, t directory.TenantID, p directory.ObjectID, resource string) (imds.Token, error) {
	if i.err != nil {
		return imds.Token{}, i.err
	}
	return imds.Token{
		Text: string(t) + "|" + string(p) + "|" + resource, NotBefore: now.Add(-5 * time.Minute),
		Expires: now.Add(24 * time.Hour), Resource: resource,
	}, nil
}

func newHandler(t testing.TB, src *fixed, tokens *issuer) *imds.Handler {
	t.Helper()
	h, err := imds.New(imds.Config{Sources: src, Tokens: tokens, Clock: clock.NewManual(now)})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

type reply struct {
	status int
	header http.Header
	body   map[string]any
}

func (r *reply) text(name string) string { s, _ := r.body[name].(string); return s }

func ask(t testing.TB, req *http.Request) *reply {
	t.Helper()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := &reply{status: res.StatusCode, header: res.Header}
	if err := json.Unmarshal(b, &r.body); err != nil {
		t.Fatalf("%s is not JSON: %v", b, err)
	}
	return r
}

func request(t testing.TB, base, target string, change ...func(*http.Request)) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, base+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Metadata", "true")
	for _, f := range change {
		f(req)
	}
	return req
}

func TestToken(t *testing.T) {
	srv := httptest.NewServer(newHandler(t, &fixed{System: &system, Assigned: []imds.Identity{app, job}}, &issuer{}))
	defer srv.Close()
	r := ask(t, request(t, srv.URL, endpoint+url.QueryEscape(graph)))
	// The contract: these members, each a text.
	want := map[string]any{
		"access_token": string(tenant) + "|" + string(system.ServicePrincipal) + "|" + graph,
		"client_id":    string(system.ClientID), "resource": graph, "token_type": "Bearer",
		"expires_in": "86400", "ext_expires_in": "86400", "expires_on": "1795694400", "not_before": "1795607700",
	}
	if diff := cmp.Diff(want, r.body); diff != "" || r.status != 200 {
		t.Errorf("status %d, body (-want +got):\n%s", r.status, diff)
	}
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
	if got := r.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("Content-Type is %q", got)
	}
}

func TestChoice(t *testing.T) {
	all := &fixed{System: &system, Assigned: []imds.Identity{app, job}}
	for _, tc := range []struct {
		name  string
		src   *fixed
		query string
		want  *imds.Identity // nil: refused
		text  string
	}{
		{"system", all, "", &system, ""},
		{"client id", all, "client_id=" + string(job.ClientID), &job, ""},
		{"client id in capitals", all, "client_id=" + strings.ToUpper(string(job.ClientID)), &job, ""},
		{"client id of the system identity", all, "client_id=" + string(system.ClientID), &system, ""},
		{"object id", all, "object_id=" + string(app.ServicePrincipal), &app, ""},
		{"principal id", all, "principal_id=" + string(app.ServicePrincipal), &app, ""},
		{"resource id", all, "msi_res_id=" + url.QueryEscape(uamiID), &app, ""},
		{"resource id, new name and other case", all, "mi_res_id=" + url.QueryEscape(strings.ToUpper(uamiID)), &app, ""},
		{"the only user-assigned one", &fixed{Assigned: []imds.Identity{app}}, "", &app, ""},
		{"unknown parameters do not matter", all, "bypass_cache=true", &system, ""},

		{"none of several", &fixed{Assigned: []imds.Identity{app, job}}, "", nil, "Multiple user assigned identities exist"},
		{"no identity", &fixed{}, "", nil, "Identity not found"},
		{"another machine's identity", &fixed{System: &system, Assigned: []imds.Identity{app}}, "client_id=" + string(job.ClientID), nil, "Identity not found"},
		{"another machine's identity by object id", &fixed{System: &system, Assigned: []imds.Identity{app}}, "object_id=" + string(job.ServicePrincipal), nil, "Identity not found"},
		{"another machine's identity by resource id", &fixed{System: &system, Assigned: []imds.Identity{app}}, "msi_res_id=" + url.QueryEscape(job.ResourceID), nil, "Identity not found"},
		{"object id as client id", all, "client_id=" + string(app.ServicePrincipal), nil, "Identity not found"},
		{"client id as object id", all, "object_id=" + string(app.ClientID), nil, "Identity not found"},
		{"not a GUID", all, "client_id=app", nil, "Identity not found"},
		{"empty client id is no way to the system identity", all, "client_id=", nil, "Identity not found"},
		{"empty resource id", all, "msi_res_id=", nil, "Identity not found"},
		{"two of them", all, "client_id=" + string(app.ClientID) + "&object_id=" + string(app.ServicePrincipal), nil, "Only one of"},
		{"both names of the resource id", all, "msi_res_id=x&mi_res_id=x", nil, "Only one of"},
		{"twice", all, "client_id=" + string(app.ClientID) + "&client_id=" + string(job.ClientID), nil, "more than once"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(newHandler(t, tc.src, &issuer{}))
			defer srv.Close()
			r := ask(t, request(t, srv.URL, endpoint+graph+"&"+tc.query))
			if tc.want == nil {
				if r.status != 400 || r.text("error") != "invalid_request" || !strings.Contains(r.text("error_description"), tc.text) {
					t.Errorf("got %d %v, want invalid_request with %q", r.status, r.body, tc.text)
				}
				return
			}
			if got := r.text("client_id"); r.status != 200 || got != string(tc.want.ClientID) || !strings.Contains(r.text("access_token"), string(tc.want.ServicePrincipal)) {
				t.Errorf("got %d %v, want the identity %s", r.status, r.body, tc.want.ClientID)
			}
		})
	}
}

// TestRefusals are abuse case 29: everything here would give a token if the
// defence that it names were not there.
func TestRefusals(t *testing.T) {
	srv := httptest.NewServer(newHandler(t, &fixed{System: &system}, &issuer{}))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	good := endpoint + graph
	for _, tc := range []struct {
		name   string
		target string
		change func(*http.Request)
		status int
		code   string
	}{
		{"probe of the SDKs: no header", good, func(r *http.Request) { r.Header.Del("Metadata") }, 400, "bad_request_102"},
		{"probe without anything", imds.Path, func(r *http.Request) { r.Header.Del("Metadata") }, 400, "bad_request_102"},
		{"header false", good, header("Metadata", "false"), 400, "bad_request_102"},
		{"header twice", good, func(r *http.Request) { r.Header["Metadata"] = []string{"true", "true"} }, 400, "bad_request_102"},

		{"forwarded", good, header("X-Forwarded-For", "10.0.0.1"), 400, "invalid_request"},
		{"forwarded, empty", good, header("X-Forwarded-For", ""), 400, "invalid_request"},
		{"forwarded, RFC 7239", good, header("Forwarded", "for=10.0.0.1"), 400, "invalid_request"},
		{"forwarded by a proxy", good, header("Via", "1.1 squid"), 400, "invalid_request"},

		{"browser", good, header("Origin", "https://evil.example"), 403, "invalid_request"},
		{"browser, null origin", good, header("Origin", "null"), 403, "invalid_request"},
		{"browser, from a page", good, header("Referer", "https://evil.example/"), 403, "invalid_request"},
		{"browser, same origin after rebinding", good, header("Sec-Fetch-Site", "same-origin"), 403, "invalid_request"},
		{"browser, navigation", good, header("Sec-Fetch-Mode", "navigate"), 403, "invalid_request"},
		{"browser, preflight", good, func(r *http.Request) {
			r.Method = http.MethodOptions
			r.Header.Set("Access-Control-Request-Headers", "metadata")
		}, 403, "invalid_request"},

		{"rebinding", good, host("evil.example"), 403, "invalid_request"},
		{"rebinding with the port", good, host("evil.example" + port), 403, "invalid_request"},
		{"rebinding, name that looks like the address", good, host("169.254.169.254.evil.example"), 403, "invalid_request"},
		{"rebinding, address and other port", good, host("169.254.169.254" + port), 403, "invalid_request"},
		{"name of this machine", good, host("localhost" + port), 403, "invalid_request"},
		{"loopback with another port", good, host("127.0.0.1:1"), 403, "invalid_request"},
		{"loopback without port", good, host("127.0.0.1"), 403, "invalid_request"},
		{"another loopback address", good, host("127.0.0.2" + port), 403, "invalid_request"},
		{"address of another machine", good, host("10.0.0.1" + port), 403, "invalid_request"},

		{"no version", imds.Path + "?resource=" + graph, nil, 400, "invalid_request"},
		{"old version", imds.Path + "?api-version=2017-12-01&resource=" + graph, nil, 400, "invalid_request"},
		{"version of another endpoint", imds.Path + "?api-version=x&resource=" + graph, nil, 400, "invalid_request"},
		{"no resource", imds.Path + "?api-version=2018-02-01", nil, 400, "invalid_request"},
		{"two resources", good + "&resource=x", nil, 400, "invalid_request"},
		{"long resource", endpoint + strings.Repeat("x", 2049), nil, 400, "invalid_request"},
		{"broken query", good + "&%zz", nil, 400, "invalid_request"},
		{"semicolon", good + ";client_id=x", nil, 400, "invalid_request"},

		{"other path", "/metadata/instance?api-version=2021-02-01", nil, 404, "not_found"},
		{"longer path", imds.Path + "/?api-version=2018-02-01&resource=" + graph, nil, 404, "not_found"},
		{"method", good, func(r *http.Request) { r.Method = http.MethodPost }, 405, "invalid_request"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var change []func(*http.Request)
			if tc.change != nil {
				change = append(change, tc.change)
			}
			r := ask(t, request(t, srv.URL, tc.target, change...))
			if r.status != tc.status || r.text("error") != tc.code || r.text("error_description") == "" {
				t.Errorf("got %d %v, want %d %s", r.status, r.body, tc.status, tc.code)
			}
			if r.text("access_token") != "" {
				t.Error("a token was given")
			}
			for name := range r.header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("the answer opens the endpoint to web pages: %s", name)
				}
			}
		})
	}
	for _, h := range []string{"169.254.169.254", "169.254.169.254:80", "127.0.0.1" + port} {
		if r := ask(t, request(t, srv.URL, good, host(h))); r.status != 200 {
			t.Errorf("Host %s: %d %v", h, r.status, r.body)
		}
	}
	if r := ask(t, request(t, srv.URL, strings.Replace(good, "metadata", "MetaData", 1))); r.status != 200 {
		t.Errorf("first segment in other case: %d %v", r.status, r.body)
	}
}

// TestStrangers: a request whose connection comes from elsewhere has no
// identity, whatever it says.
func TestStrangers(t *testing.T) {
	h := newHandler(t, &fixed{System: &system}, &issuer{})
	local := &net.TCPAddr{IP: net.IPv4(169, 254, 169, 254), Port: 80}
	for _, tc := range []struct {
		name, remote string
		local        net.Addr
		status       int
	}{
		{"this machine", "127.0.0.1:4000", local, 200},
		{"this machine, mapped", "[::ffff:127.0.0.1]:4000", local, 200},
		{"a pod", "10.244.0.7:4000", local, 401},
		{"another machine", "192.0.2.1:4000", local, 401},
		{"nobody knows", "@", local, 401},
		{"arrived nowhere", "127.0.0.1:4000", nil, 401},
		{"arrived on a socket", "127.0.0.1:4000", &net.UnixAddr{Name: "/x", Net: "unix"}, 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, endpoint+graph, nil)
			r.Host, r.RemoteAddr = "169.254.169.254", tc.remote
			r.Header.Set("Metadata", "true")
			if tc.local != nil {
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, tc.local))
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tc.status || tc.status == 401 && !strings.Contains(w.Body.String(), `"unknown_source"`) {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, tc.status)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status int
		code   string
		text   string
	}{
		{errs.New(errs.NotFound, "AADSTS500011: no such resource"), 400, "invalid_resource", "AADSTS500011: no such resource"},
		{errs.New(errs.Invalid, "bad name"), 400, "invalid_resource", "bad name"},
		{errs.New(errs.Forbidden, "disabled"), 400, "unauthorized_client", "disabled"},
		{errs.New(errs.Unauthenticated, "gone"), 400, "unauthorized_client", "gone"},
		{errs.New(errs.Throttled, "slow down"), 429, "too_many_requests", "slow down"},
		{errs.New(errs.Unavailable, "not ready"), 503, "temporarily_unavailable", "not ready"},
		{errs.Wrap(errs.Internal, io.ErrUnexpectedEOF, "hunter2"), 500, "server_error", "internal error"},
		{io.ErrUnexpectedEOF, 500, "server_error", "internal error"},
	} {
		srv := httptest.NewServer(newHandler(t, &fixed{System: &system}, &issuer{tc.err}))
		r := ask(t, request(t, srv.URL, endpoint+graph))
		if r.status != tc.status || r.text("error") != tc.code || !strings.Contains(r.text("error_description"), tc.text) || strings.Contains(r.text("error_description"), "hunter2") {
			t.Errorf("%v: got %d %v", tc.err, r.status, r.body)
		}
		if again := r.header.Get("Retry-After") != ""; again != (tc.status == 429 || tc.status == 503) {
			t.Errorf("%v: Retry-After is %q", tc.err, r.header.Get("Retry-After"))
		}
		srv.Close()
	}
}
