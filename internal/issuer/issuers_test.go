package issuer_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/token"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// rsaKey returns one of a few keys, each made once.
var rsaKey = func() func(i int) *rsa.PublicKey {
	var mu sync.Mutex
	keys := map[int]*rsa.PublicKey{}
	return func(i int) *rsa.PublicKey {
		mu.Lock()
		defer mu.Unlock()
		if keys[i] == nil {
			k, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				panic(err)
			}
			keys[i] = &k.PublicKey
		}
		return keys[i]
	}
}()

func jwk(kid string, k *rsa.PublicKey, more ...string) map[string]string {
	m := map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
		"n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
	}
	for i := 0; i+1 < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

func jwks(keys ...map[string]string) string {
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// foreign is an issuer on a TLS server of its own.
type foreign struct {
	*httptest.Server
	url         string // the issuer
	discoveries atomic.Int32
	conns       atomic.Int32

	mu        sync.Mutex
	discovery func(w http.ResponseWriter, r *http.Request)
	keys      func(w http.ResponseWriter, r *http.Request)
}

func (f *foreign) set(discovery, keys func(w http.ResponseWriter, r *http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if discovery != nil {
		f.discovery = discovery
	}
	if keys != nil {
		f.keys = keys
	}
}

func text(s string, headers ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		fmt.Fprint(w, s)
	}
}

func document(issuer, jwksURI string) string {
	return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["RS256"]}`, issuer, jwksURI)
}

// newForeign starts an issuer with one key, "one". Its name is the server's
// address with path.
func newForeign(t testing.TB, path string) *foreign {
	t.Helper()
	f := &foreign{}
	mux := http.NewServeMux()
	serve := func(pick func() func(http.ResponseWriter, *http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			h := pick()
			f.mu.Unlock()
			h(w, r)
		}
	}
	mux.HandleFunc(strings.TrimSuffix(path, "/")+"/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		f.discoveries.Add(1)
		serve(func() func(http.ResponseWriter, *http.Request) { return f.discovery })(w, r)
	})
	mux.HandleFunc("/keys", serve(func() func(http.ResponseWriter, *http.Request) { return f.keys }))
	f.Server = httptest.NewUnstartedServer(mux)
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	f.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			f.conns.Add(1)
		}
	}
	f.StartTLS()
	t.Cleanup(f.Close)
	f.url = f.URL + path
	f.set(text(document(f.url, f.URL+"/keys")), text(jwks(jwk("one", rsaKey(1)))))
	return f
}

func newIssuers(t testing.TB, f *foreign, change func(*issuer.Config)) (*issuer.Issuers, *clock.Manual) {
	t.Helper()
	clk := clock.NewManual(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	cfg := issuer.Config{Clock: clk, AllowAddresses: loopback}
	if f != nil {
		cfg.Roots = x509.NewCertPool()
		cfg.Roots.AddCert(f.Certificate())
	}
	if change != nil {
		change(&cfg)
	}
	s, err := issuer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, clk
}

func kids(keys map[token.KeyID]token.PublicKey) string {
	var list []string
	for id := range keys {
		list = append(list, string(id))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func get(s *issuer.Issuers, name string, refresh bool) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	keys, err := s.Keys(ctx, name, refresh)
	return kids(keys), err
}

func want(t *testing.T, s *issuer.Issuers, name string, refresh bool, kids string) {
	t.Helper()
	if got, err := get(s, name, refresh); err != nil || got != kids {
		t.Errorf("Keys(refresh %v) = %q, %v; want %q", refresh, got, err, kids)
	}
}

func wantError(t *testing.T, s *issuer.Issuers, name string, kind errs.Kind, part string) {
	t.Helper()
	got, err := get(s, name, false)
	if !errs.Is(err, kind) || got != "" || !strings.Contains(errs.Message(err), part) {
		t.Errorf("Keys = %q, %v (%v); want %v with %q", got, err, errs.KindOf(err), kind, part)
	}
}

func TestKeys(t *testing.T) {
	for _, path := range []string{"", "/", "/tenant/v2.0", "/a/b/"} {
		f := newForeign(t, path)
		s, _ := newIssuers(t, f, nil)
		keys, err := s.Keys(context.Background(), f.url, false)
		if err != nil || len(keys) != 1 || !keys["one"].Key.Equal(rsaKey(1)) {
			t.Errorf("path %q: %v, %v", path, keys, err)
		}
	}
}

// TestOneFetch: however many ask, an issuer is asked once.
func TestOneFetch(t *testing.T) {
	f := newForeign(t, "/")
	slow := make(chan struct{})
	f.set(func(w http.ResponseWriter, r *http.Request) {
		<-slow
		text(document(f.url, f.URL+"/keys"))(w, r)
	}, nil)
	s, _ := newIssuers(t, f, nil)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { want(t, s, f.url, i%2 == 0, "one") })
	}
	time.Sleep(50 * time.Millisecond)
	// One who gives up ends nothing for the others.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Keys(ctx, f.url, false); !errs.Is(err, errs.Unavailable) {
		t.Errorf("given up: %v", err)
	}
	close(slow)
	wg.Wait()
	want(t, s, f.url, false, "one")
	if n := f.discoveries.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// TestHostileAnswers are abuse case 23: addresses that lead elsewhere, slow and
// endless answers.
func TestHostileAnswers(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		chunk := []byte(strings.Repeat(" ", 32<<10))
		for range 1 << 15 { // 1 GiB
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		for range 200 {
			fmt.Fprint(w, " ")
			http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	silent := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
	}
	redirect := func(to string, code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, code) }
	}
	other := newForeign(t, "/")
	for _, tc := range []struct {
		name            string
		discovery, keys func(http.ResponseWriter, *http.Request)
		kind            errs.Kind
		text            string
	}{
		{"redirect to link-local", redirect("http://169.254.169.254/latest", 302), nil, errs.Invalid, "redirects"},
		{"redirect to a good issuer", redirect(other.URL+"/.well-known/openid-configuration", 301), nil, errs.Invalid, "redirects"},
		{"redirect of the keys", nil, redirect(other.URL+"/keys", 307), errs.Invalid, "redirects"},
		{"redirect to itself", redirect("/.well-known/openid-configuration", 308), nil, errs.Invalid, "redirects"},
		{"one byte at a time", drip, nil, errs.Unavailable, "took too long"},
		{"keys, one byte at a time", nil, drip, errs.Unavailable, "took too long"},
		{"no answer", silent, nil, errs.Unavailable, "cannot be fetched"},
		{"endless", endless, nil, errs.Invalid, "is longer than 65536 bytes"},
		{"endless keys", nil, endless, errs.Invalid, "is longer than 524288 bytes"},
		{"endless header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
		}, nil, errs.Unavailable, "cannot be fetched"},
		{"compressed", text("\x1f\x8b\x08", "Content-Encoding", "gzip"), nil, errs.Invalid, "compressed"},
		{"nothing there", http.NotFound, nil, errs.Invalid, "does not exist"},
		{"broken", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, nil, errs.Unavailable, "status 500"},
		{"empty", text(""), nil, errs.Invalid, "not acceptable JSON"},
		{"a page", text("<html>"), nil, errs.Invalid, "not acceptable JSON"},
		{"deep", text(strings.Repeat(`{"a":`, 1000)), nil, errs.Invalid, "not acceptable JSON"},
		{"no keys", nil, text(`{"keys":[]}`), errs.Invalid, "keys"},
		{"no RSA key", nil, text(`{"keys":[{"kty":"EC","kid":"e","crv":"P-256","x":"AA","y":"AA"}]}`), errs.Invalid, "keys"},
		{"symmetric key", nil, text(`{"keys":[{"kty":"oct","kid":"one","k":"AAAA"}]}`), errs.Invalid, "keys"},
		{"one kid, two keys", nil, text(jwks(jwk("a", rsaKey(1)), jwk("a", rsaKey(2)))), errs.Invalid, "keys"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newForeign(t, "/")
			f.set(tc.discovery, tc.keys)
			s, _ := newIssuers(t, f, func(c *issuer.Config) { c.Timeout = 500 * time.Millisecond })
			start := time.Now()
			wantError(t, s, f.url, tc.kind, tc.text)
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
	t.Cleanup(func() {
		if n := other.conns.Load(); n != 0 {
			t.Errorf("%d connections to where a redirect pointed", n)
		}
	})
}

// TestTakeover is abuse case 28: somebody else's documents or keys.
func TestTakeover(t *testing.T) {
	for _, tc := range []struct {
		name      string
		discovery func(f *foreign) string
		text      string
	}{
		{"issuer without its final slash", func(f *foreign) string { return document(strings.TrimSuffix(f.url, "/"), f.URL+"/keys") }, "names another issuer"},
		{"issuer in other case", func(f *foreign) string { return document(strings.ToUpper(f.url), f.URL+"/keys") }, "names another issuer"},
		{"another issuer", func(f *foreign) string { return document("https://token.actions.githubusercontent.com", f.URL+"/keys") }, "names another issuer"},
		{"no issuer", func(f *foreign) string { return `{"jwks_uri":"` + f.URL + `/keys"}` }, "names another issuer"},
		{"issuer twice", func(f *foreign) string {
			return `{"issuer":"x",` + document(f.url, f.URL+"/keys")[1:]
		}, "not acceptable JSON"},
		{"foreign keys", func(f *foreign) string { return document(f.url, "https://evil.example/keys") }, "foreign host"},
		{"keys on another port", func(f *foreign) string { return document(f.url, "https://127.0.0.1:1/keys") }, "foreign host"},
		{"keys on a name that begins alike", func(f *foreign) string {
			return document(f.url, f.URL+".evil.example/keys")
		}, "not an https URL"},
		{"keys behind a user name", func(f *foreign) string {
			return document(f.url, "https://"+f.Listener.Addr().String()+"@evil.example/")
		}, "not an https URL"},
		{"keys without TLS", func(f *foreign) string {
			return document(f.url, "http://"+f.Listener.Addr().String()+"/keys")
		}, "not an https URL"},
		{"keys in a file", func(f *foreign) string { return document(f.url, "file:///etc/passwd") }, "not an https URL"},
		{"no keys", func(f *foreign) string { return `{"issuer":"` + f.url + `"}` }, "not an https URL"},
		{"other algorithm", func(f *foreign) string {
			return strings.Replace(document(f.url, f.URL+"/keys"), "RS256", "ES256", 1)
		}, "RS256"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newForeign(t, "/x/")
			f.set(text(tc.discovery(f)), nil)
			s, _ := newIssuers(t, f, nil)
			wantError(t, s, f.url, errs.Invalid, tc.text)
		})
	}

	t.Run("another certificate", func(t *testing.T) {
		f := newForeign(t, "/")
		s, _ := newIssuers(t, nil, func(c *issuer.Config) { c.Roots = x509.NewCertPool() })
		wantError(t, s, f.url, errs.Unavailable, "is not trusted")
	})
	t.Run("keys on a host that the configuration names", func(t *testing.T) {
		f, other := newForeign(t, "/"), newForeign(t, "/")
		other.set(nil, text(jwks(jwk("elsewhere", rsaKey(2)))))
		f.set(text(document(f.url, other.URL+"/keys")), nil)
		s, _ := newIssuers(t, f, func(c *issuer.Config) {
			c.KeyHosts = map[string][]string{f.Listener.Addr().String(): {other.Listener.Addr().String()}}
		})
		want(t, s, f.url, false, "elsewhere")
		// The permission is one issuer's, not everybody's.
		third := newForeign(t, "/")
		third.set(text(document(third.url, other.URL+"/keys")), nil)
		wantError(t, s, third.url, errs.Invalid, "foreign host")
	})
	t.Run("later, with a new name", func(t *testing.T) {
		f := newForeign(t, "/")
		s, clk := newIssuers(t, f, nil)
		want(t, s, f.url, false, "one")
		f.set(text(document("https://evil.example/", f.URL+"/keys")), text(jwks(jwk("evil", rsaKey(3)))))
		want(t, s, f.url, false, "one") // still fresh
		clk.Advance(time.Hour + time.Second)
		wantError(t, s, f.url, errs.Invalid, "names another issuer")
		// The old keys are gone although they would still be in their grace.
		wantError(t, s, f.url, errs.Invalid, "names another issuer")
	})
}

// TestAges: how long keys are kept.
func TestAges(t *testing.T) {
	for _, tc := range []struct {
		cacheControl string
		life         time.Duration
	}{
		{"", time.Hour}, {"public, max-age=7200", 2 * time.Hour}, {"MAX-AGE=600", 10 * time.Minute},
		{"max-age=0", 5 * time.Minute}, {"max-age=1", 5 * time.Minute}, {"no-store", 5 * time.Minute}, {"max-age=9000, no-cache", 5 * time.Minute},
		{"max-age=99999999", 24 * time.Hour}, {"max-age=-5", time.Hour}, {"max-age=9999999999999", time.Hour}, {"max-age=x", time.Hour},
	} {
		f := newForeign(t, "/")
		f.set(nil, text(jwks(jwk("one", rsaKey(1))), "Cache-Control", tc.cacheControl))
		s, clk := newIssuers(t, f, nil)
		want(t, s, f.url, false, "one")
		f.set(nil, text(jwks(jwk("two", rsaKey(2)))))
		clk.Advance(tc.life - time.Second)
		want(t, s, f.url, false, "one")
		clk.Advance(time.Second)
		want(t, s, f.url, false, "two")
		if t.Failed() {
			t.Fatalf("Cache-Control %q", tc.cacheControl)
		}
	}
}

// TestOutage: an issuer that cannot be reached keeps its keys for an hour more.
func TestOutage(t *testing.T) {
	f := newForeign(t, "/")
	s, clk := newIssuers(t, f, nil)
	want(t, s, f.url, false, "one")
	f.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, nil)
	clk.Advance(time.Hour)
	want(t, s, f.url, false, "one")
	want(t, s, f.url, true, "one")
	clk.Advance(time.Hour - time.Second)
	want(t, s, f.url, false, "one")
	clk.Advance(time.Second)
	wantError(t, s, f.url, errs.Unavailable, "503")
	// A clock that was set back revives nothing, and an issuer that is back is
	// asked.
	clk.Advance(-3 * time.Hour)
	f.set(text(document(f.url, f.URL+"/keys")), text(jwks(jwk("two", rsaKey(2)))))
	want(t, s, f.url, false, "two")
}

// TestInventedKids: whoever sends tokens with kids that do not exist causes one
// fetch in each window.
func TestInventedKids(t *testing.T) {
	f := newForeign(t, "/")
	s, clk := newIssuers(t, f, nil)
	want(t, s, f.url, false, "one")
	for range 500 {
		want(t, s, f.url, true, "one")
	}
	if n := f.discoveries.Load(); n != 1 {
		t.Errorf("%d fetches in the first window", n)
	}
	f.set(nil, text(jwks(jwk("one", rsaKey(1)), jwk("two", rsaKey(2)))))
	clk.Advance(10 * time.Second)
	for range 500 {
		want(t, s, f.url, true, "one two")
	}
	if n := f.discoveries.Load(); n != 2 {
		t.Errorf("%d fetches in two windows", n)
	}
}

// TestBackOff: an issuer that fails is asked ever less.
func TestBackOff(t *testing.T) {
	f := newForeign(t, "/")
	f.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, nil)
	s, clk := newIssuers(t, f, nil)
	for range 3600 {
		wantError(t, s, f.url, errs.Unavailable, "500")
		clk.Advance(time.Second)
	}
	// At 0, 20, 60, 140, 300, 620, 1260 and 2160, 3060 s: doubling, then a
	// quarter of an hour.
	if n := f.discoveries.Load(); n != 9 {
		t.Errorf("%d fetches in an hour", n)
	}
}

func TestManyIssuers(t *testing.T) {
	f := newForeign(t, "/")
	s, clk := newIssuers(t, f, func(c *issuer.Config) { c.MaxIssuers = 3 })
	name := func(i int) string { return fmt.Sprintf("%s/%d", f.URL, i) }
	for i := range 3 {
		wantError(t, s, name(i), errs.Invalid, "does not exist")
	}
	// Forgetting one would let it be asked again at once.
	wantError(t, s, name(3), errs.Unavailable, "Too many issuers")
	clk.Advance(time.Minute)
	wantError(t, s, name(0), errs.Invalid, "does not exist")
	wantError(t, s, name(3), errs.Invalid, "does not exist")
	before := f.conns.Load()
	wantError(t, s, name(0), errs.Invalid, "does not exist") // is remembered
	if f.conns.Load() != before {
		t.Error("the issuer that was asked last was forgotten first")
	}
}

func TestHundredKeys(t *testing.T) {
	f := newForeign(t, "/")
	var list []map[string]string
	for i := range 101 {
		list = append(list, jwk(fmt.Sprintf("k%03d", i), rsaKey(1)))
	}
	f.set(nil, text(jwks(list...)))
	s, _ := newIssuers(t, f, nil)
	keys, err := s.Keys(context.Background(), f.url, false)
	_, last := keys["k100"]
	if err != nil || len(keys) != 100 || last {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

func BenchmarkKeysCached(b *testing.B) {
	f := newForeign(b, "/")
	s, _ := newIssuers(b, f, nil)
	if _, err := s.Keys(context.Background(), f.url, false); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Keys(context.Background(), f.url, false); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
