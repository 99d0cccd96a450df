package oauth_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/test/clients/harness"
)

// post sends a form over TLS, as a client would, and returns the status and the
// body. It is safe for concurrent use, which the harness is not.
func post(client *http.Client, address string, form url.Values) (int, string, error) {
	resp, err := client.Post(address, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// rawSignatures returns how many RS256 signatures a second this machine makes
// with all its cores: what no issuer of tokens can exceed.
func rawSignatures(b *testing.B) float64 {
	b.Helper()
	key := rsaKeys()[0]
	sum := sha256.Sum256([]byte("raw"))
	var n atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for time.Since(start) < 500*time.Millisecond {
				if _, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]); err != nil {
					b.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(start).Seconds()
}

// measure runs one request per iteration in parallel, and reports the rate, its
// part of the raw signing rate, and the median and 99th percentile of the time
// that a request takes under that load.
func measure(b *testing.B, c *harness.Cloud, ask func(client *http.Client, i int) (int, string, error), want int) {
	b.Helper()
	raw := rawSignatures(b)
	client := c.Client()
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	b.ResetTimer()
	start := time.Now()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(next.Add(1)) - 1
			at := time.Now()
			status, body, err := ask(client, i)
			if err != nil || status != want {
				b.Errorf("status %d, error %v: %s", status, err, body)
				return
			}
			took[i] = time.Since(at)
		}
	})
	elapsed := time.Since(start)
	b.StopTimer()
	slices.Sort(took)
	rate := float64(b.N) / elapsed.Seconds()
	b.ReportMetric(rate, "requests/s")
	b.ReportMetric(100*rate/raw, "%of-raw-RS256")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

func BenchmarkClientCredentials(b *testing.B) {
	c := harness.Start(b)
	app, _ := c.AddApp("Daemon", func(a *directory.Application) {
		a.Credentials.Passwords = []directory.Password{c.Secret("hunter2hunter2")}
	})
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {string(app.AppID)}, "client_secret": {"hunter2hunter2"}, "scope": {aksApp + "/.default"}}
	measure(b, c, func(client *http.Client, _ int) (int, string, error) { return post(client, c.URL+c.TokenPath(), form) }, 200)
}

func BenchmarkRefresh(b *testing.B) {
	c := harness.Start(b)
	first := c.Post(c.TokenPath(), "grant_type", "password", "client_id", az, "username", "ann@contoso.example", "password", harness.Password, "scope", armScope+" offline_access").Want(c)
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {az}, "refresh_token": {first.Text("refresh_token")}, "scope": {armScope}}
	measure(b, c, func(client *http.Client, _ int) (int, string, error) { return post(client, c.URL+c.TokenPath(), form) }, 200)
}

func BenchmarkCodeRedemption(b *testing.B) {
	c := harness.Start(b)
	browser := c.Browser().Get(authorizeURL(c)).SignIn("ann@contoso.example")
	browser.Answer()
	codes := make([]string, b.N)
	for i := range codes {
		browser.Get(authorizeURL(c, "prompt", "none"))
		if codes[i] = browser.Answer().Get("code"); codes[i] == "" {
			b.Fatalf("no code: %v", browser.Left)
		}
	}
	measure(b, c, func(client *http.Client, i int) (int, string, error) {
		return post(client, c.URL+c.TokenPath(), url.Values{"grant_type": {"authorization_code"}, "client_id": {az}, "code": {codes[i]},
			"redirect_uri": {"http://localhost:8400"}, "code_verifier": {verifier}})
	}, 200)
}

// BenchmarkDevicePoll polls sign-ins that nobody has completed, which is what
// nearly all polls are.
func BenchmarkDevicePoll(b *testing.B) {
	c := harness.Start(b)
	codes := make([]string, 64)
	for i := range codes {
		codes[i] = c.Post("/"+string(c.Tenant.ID)+"/oauth2/v2.0/devicecode", "client_id", aksCli, "scope", aksApp+"/.default").Want(c).Text("device_code")
	}
	measure(b, c, func(client *http.Client, i int) (int, string, error) {
		return post(client, c.URL+c.TokenPath(), url.Values{"grant_type": {"device_code"}, "client_id": {aksCli}, "device_code": {codes[i%len(codes)]}})
	}, 400)
}

// BenchmarkLiveSignIns reports what the server's heap keeps of 10,000 people's
// sign-ins: each has a refresh token, and nothing may be kept for it.
func BenchmarkLiveSignIns(b *testing.B) {
	const people = 10_000
	c := harness.Start(b)
	client := c.Client()
	form := url.Values{"grant_type": {"password"}, "client_id": {az}, "username": {"ann@contoso.example"}, "password": {harness.Password}, "scope": {armScope + " openid offline_access"}}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		b.StopTimer()
		before := heap()
		b.StartTimer()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range people / 4 {
					status, body, err := post(client, c.URL+c.TokenPath(), form)
					c.Events() // the harness keeps its log in memory; the product does not
					if err != nil || status != 200 {
						b.Errorf("status %d, error %v: %s", status, err, body)
						return
					}
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		c.Policy.Facts()
		b.ReportMetric(max(0, float64(heap())-float64(before)), "heap-B/10k-sign-ins")
		b.StartTimer()
	}
}
