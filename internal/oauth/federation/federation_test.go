package federation

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
)

var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func jwks(kid string) string {
	n := base64.RawURLEncoding.EncodeToString(key().N.Bytes())
	return fmt.Sprintf(`{"keys":[{"kty":"RSA","use":"sig","kid":%q,"alg":"RS256","n":%q,"e":"AQAB"}]}`, kid, n)
}

// foreign is an issuer whose answers a test sets.
type foreign struct {
	*httptest.Server
	hits      atomic.Int64
	discovery func(w http.ResponseWriter, r *http.Request)
	keys      func(w http.ResponseWriter, r *http.Request)
}

func newForeign(t *testing.T) *foreign {
	f := &foreign{}
	f.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.hits.Add(1)
		if r.URL.Path == "/.well-known/openid-configuration" {
			f.discovery(w, r)
			return
		}
		f.keys(w, r)
	}))
	t.Cleanup(f.Close)
	f.discovery = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, f.URL, f.URL+"/keys")
	}
	f.keys = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, jwks("k1")) }
	return f
}

func (f *foreign) fetcher(c clock.Clock, networks ...string) *Fetcher {
	pool := x509.NewCertPool()
	pool.AddCert(f.Certificate())
	cfg := Config{Clock: c, TLS: &tls.Config{RootCAs: pool}, Timeout: time.Second}
	for _, n := range networks {
		cfg.Networks = append(cfg.Networks, netip.MustParsePrefix(n))
	}
	return New(cfg)
}

const here = "127.0.0.0/8"

func TestKeys(t *testing.T) {
	f := newForeign(t)
	c := clock.NewManual(time.Now())
	x := f.fetcher(c, here)
	for range 3 {
		keys, err := x.Keys(context.Background(), f.URL, false)
		if err != nil || keys["k1"].Key == nil {
			t.Fatalf("Keys = %v, %v", keys, err)
		}
	}
	if f.hits.Load() != 2 {
		t.Errorf("%d requests for one set of keys, want 2", f.hits.Load())
	}
	// A key that is missing has the issuer asked again, once a minute.
	c.Advance(2 * time.Minute)
	f.keys = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, jwks("k2")) }
	for range 50 {
		keys, err := x.Keys(context.Background(), f.URL, true)
		if err != nil || keys["k2"].Key == nil {
			t.Fatalf("Keys = %v, %v", keys, err)
		}
	}
	if f.hits.Load() != 4 {
		t.Errorf("%d requests after 50 unknown keys, want 4", f.hits.Load())
	}
	// While it is down its keys stay, for a while.
	c.Advance(2 * time.Hour)
	f.keys = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }
	if keys, err := x.Keys(context.Background(), f.URL, false); err != nil || keys["k2"].Key == nil {
		t.Errorf("an issuer that is down: %v, %v", keys, err)
	}
	c.Advance(25 * time.Hour)
	if _, err := x.Keys(context.Background(), f.URL, false); !errs.Is(err, errs.Unavailable) {
		t.Errorf("an issuer that is down for a day: %v", err)
	}
}

func TestConcurrentFetch(t *testing.T) {
	f := newForeign(t)
	x := f.fetcher(clock.Func(time.Now), here)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := x.Keys(context.Background(), f.URL, false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if f.hits.Load() != 2 {
		t.Errorf("%d requests for 50 callers, want 2", f.hits.Load())
	}
}

// TestHostileIssuer is abuse cases 23 and 28: what an issuer can try.
func TestHostileIssuer(t *testing.T) {
	inside := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a forbidden address was connected to") }))
	defer inside.Close()
	tests := []struct {
		name   string
		break_ func(f *foreign)
		kind   errs.Kind
	}{
		{"redirect", func(f *foreign) {
			f.discovery = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL, http.StatusFound) }
		}, errs.Invalid},
		{"another issuer", func(f *foreign) {
			f.discovery = func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"issuer":"%s/","jwks_uri":%q}`, f.URL, f.URL+"/keys")
			}
		}, errs.Invalid},
		{"keys over http", func(f *foreign) {
			f.discovery = func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"http://169.254.169.254/keys"}`, f.URL)
			}
		}, errs.Invalid},
		{"keys at a link-local address", func(f *foreign) {
			f.discovery = func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"https://169.254.169.254/keys"}`, f.URL)
			}
		}, errs.Invalid},
		{"one gibibyte", func(f *foreign) {
			f.keys = func(w http.ResponseWriter, _ *http.Request) {
				chunk := []byte(strings.Repeat(" ", 64<<10))
				for range 16 << 10 {
					if _, err := w.Write(chunk); err != nil {
						return
					}
				}
			}
		}, errs.Invalid},
		{"a byte a second", func(f *foreign) {
			f.keys = func(w http.ResponseWriter, r *http.Request) {
				for range 60 {
					fmt.Fprint(w, " ")
					w.(http.Flusher).Flush()
					select {
					case <-r.Context().Done():
						return
					case <-time.After(200 * time.Millisecond):
					}
				}
			}
		}, errs.Unavailable},
		{"no keys", func(f *foreign) {
			f.keys = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) }
		}, errs.Invalid},
		{"not JSON", func(f *foreign) {
			f.discovery = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }
		}, errs.Invalid},
		{"not found", func(f *foreign) {
			f.discovery = func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
		}, errs.Unavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newForeign(t)
			tt.break_(f)
			start := time.Now()
			keys, err := f.fetcher(clock.Func(time.Now), here).Keys(context.Background(), f.URL, false)
			if keys != nil || !errs.Is(err, tt.kind) {
				t.Errorf("Keys = %v, %v; want an error of kind %v", keys, err, tt.kind)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

// TestPrivateNetworks shows that an address inside is not connected to unless
// the operator has named its network.
func TestPrivateNetworks(t *testing.T) {
	f := newForeign(t)
	if keys, err := f.fetcher(clock.Func(time.Now)).Keys(context.Background(), f.URL, false); keys != nil || !errs.Is(err, errs.Invalid) {
		t.Errorf("Keys = %v, %v", keys, err)
	}
	if f.hits.Load() != 0 {
		t.Error("a loopback address was connected to")
	}
	x := New(Config{Clock: clock.Func(time.Now), Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16")}})
	for _, tt := range []struct {
		addr string
		want bool
	}{
		{"1.1.1.1", true}, {"2606:4700::1111", true}, {"10.1.2.3", true}, {"::ffff:10.1.2.3", true},
		{"192.168.1.1", false}, {"127.0.0.1", false}, {"::1", false}, {"169.254.169.254", false}, {"::ffff:169.254.169.254", false},
		{"fe80::1", false}, {"fe80::1%eth0", false}, {"fd00::1", false}, {"0.0.0.0", false}, {"::", false}, {"100.64.0.1", false},
		{"224.0.0.1", false}, {"255.255.255.255", false}, {"64:ff9b::a00:1", false},
	} {
		if got := x.Allowed(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("Allowed(%s) = %v, want %v", tt.addr, got, tt.want)
		}
	}
}

func TestIssuerName(t *testing.T) {
	x := New(Config{Clock: clock.Func(time.Now)})
	for _, name := range []string{"http://issuer.example", "https://", "issuer", "https://user@issuer.example", "https://issuer.example?x=1", "https://issuer.example#f", "https://issuer.example/ x", "file:///etc/passwd", "https://" + strings.Repeat("a", 600)} {
		if _, err := x.Keys(context.Background(), name, false); !errs.Is(err, errs.Invalid) {
			t.Errorf("Keys(%q): %v, want invalid", name, err)
		}
	}
}
