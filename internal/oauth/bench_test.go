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
// that a request takes under that load and under half of it. It asks for as many
// requests as needed(b) says.
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
	rate := float64(b.N) / elapsed.Seconds()
	b.ReportMetric(rate, "requests/s")
	b.ReportMetric(100*rate/raw, "%of-raw-RS256")
	b.ReportMetric(quantile(took, 50), "p50-µs")
	b.ReportMetric(quantile(took, 99), "p99-µs")
	half := halfLoad(b, rate/2, needed(b)-b.N, func(i int) (int, string, error) { return ask(client, b.N+i) }, want)
	b.ReportMetric(quantile(half, 50), "p50-half-load-µs")
	b.ReportMetric(quantile(half, 99), "p99-half-load-µs")
}

// needed is how many requests measure makes: b.N at full load, and half as many
// in the same time after that.
func needed(b *testing.B) int { return b.N + (b.N+1)/2 }

// halfLoad makes n requests at a steady rate, whether or not the answers keep
// up, and returns how long each took from the moment at which it was due: a
// server that falls behind cannot hide it.
func halfLoad(b *testing.B, perSecond float64, n int, ask func(i int) (int, string, error), want int) []time.Duration {
	b.Helper()
	took := make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range 64 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				due := start.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
				time.Sleep(time.Until(due))
				if status, body, err := ask(i); err != nil || status != want {
					b.Errorf("status %d, error %v: %s", status, err, body)
					return
				}
				took[i] = time.Since(due)
			}
		})
	}
	wg.Wait()
	return took
}

func quantile(took []time.Duration, percent int) float64 {
	slices.Sort(took)
	return float64(took[len(took)*percent/100].Microseconds())
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
	codes := make([]string, needed(b))
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

// heap returns what is alive on the heap.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// reportLive reports what 10,000 sign-ins keep on the server's heap, the embedded
// etcd's included, from what people of them made it grow by.
func reportLive(b *testing.B, c *harness.Cloud, people int, signIn func()) {
	for b.Loop() {
		b.StopTimer()
		before := heap()
		b.StartTimer()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range people / 4 {
					signIn()
					c.Events() // the harness keeps its logs in memory; the product does not
					c.Policy.Facts()
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		b.ReportMetric(max(0, heap()-before)/float64(people)*10_000/(1<<20), "heap-MiB/10k-sign-ins")
		b.StartTimer()
	}
}

// BenchmarkLiveSignIns: each of the people has a refresh token, and nothing may
// be kept for it.
func BenchmarkLiveSignIns(b *testing.B) {
	c := harness.Start(b)
	client := c.Client()
	form := url.Values{"grant_type": {"password"}, "client_id": {az}, "username": {"ann@contoso.example"}, "password": {harness.Password}, "scope": {armScope + " openid offline_access"}}
	reportLive(b, c, 2000, func() {
		if status, body, err := post(client, c.URL+c.TokenPath(), form); err != nil || status != 200 {
			b.Errorf("status %d, error %v: %s", status, err, body)
		}
	})
}

// BenchmarkLiveBrowsers: each of the people is signed in in a browser, which has
// a session and has been given a code.
func BenchmarkLiveBrowsers(b *testing.B) {
	c := harness.Start(b)
	c.Client()
	reportLive(b, c, 2000, func() {
		browser := c.Browser()
		if browser.Get(authorizeURL(c)).SignIn("ann@contoso.example"); browser.Left == nil {
			b.Errorf("the browser is on %q", browser.Page)
		}
	})
}
