package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Of a load: how many requests are under way at once, how long one round
// takes, and how many rounds there are. Everything that is compared takes turns
// inside a round, so that whatever else the machine does meets all alike.
const (
	workers   = 16
	roundTime = 600 * time.Millisecond
	rounds    = 5
)

// shot is a request that is sent again and again.
type shot struct {
	client  *http.Client
	url     string
	header  http.Header
	bodies  [][]byte // in turn
	status  int      // the answer that is right
	contain string   // what its body must hold
}

func (s *shot) fire(ctx context.Context, i int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(s.bodies[i%len(s.bodies)]))
	if err != nil {
		return err
	}
	req.Header = s.header
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return err
	}
	if res.StatusCode != s.status || !bytes.Contains(raw, []byte(s.contain)) {
		return fmt.Errorf("%s: HTTP %d: %.300s", s.url, res.StatusCode, raw)
	}
	return nil
}

// rate sends requests for the time of a round, as many as the server answers,
// and returns how many it answered in a second.
func (s *shot) rate(ctx context.Context) (float64, error) {
	return parallel(workers, roundTime, func(i int) error { return s.fire(ctx, i) })
}

// parallel calls f from n goroutines for a while and returns the calls in a
// second.
func parallel(n int, d time.Duration, f func(i int) error) (float64, error) {
	var wg sync.WaitGroup
	var count atomic.Int64
	var once sync.Once
	var failed error
	start := time.Now()
	end := start.Add(d)
	for w := range n {
		wg.Go(func() {
			for i := w; time.Now().Before(end); i += n {
				if err := f(i); err != nil {
					once.Do(func() { failed = err })
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(count.Load()) / time.Since(start).Seconds(), failed
}

// latencies sends requests at a steady rate, whether or not the answers keep
// up, and returns how long each took from the moment at which it was due: a
// server that falls behind cannot hide it.
func (s *shot) latencies(ctx context.Context, perSecond float64, d time.Duration) ([]float64, error) {
	n := int(perSecond * d.Seconds())
	took := make([]float64, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	start := time.Now()
	for range 4 * workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				due := start.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
				time.Sleep(time.Until(due))
				if err := s.fire(ctx, i); err != nil {
					once.Do(func() { failed = err })
					return
				}
				took[i] = float64(time.Since(due).Microseconds()) / 1000
			}
		})
	}
	wg.Wait()
	return took, failed
}

// rawRSA returns how many RS256 signatures, and verifications, this machine
// makes in a second on all its cores with nothing around them.
func rawRSA() (sign, verify func() (float64, error), err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256([]byte("a token"))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		return nil, nil, err
	}
	n := runtime.GOMAXPROCS(0)
	sign = func() (float64, error) {
		return parallel(n, roundTime, func(int) error {
			_, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
			return err
		})
	}
	verify = func() (float64, error) {
		return parallel(n, roundTime, func(int) error {
			return rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature)
		})
	}
	return sign, verify, nil
}

// turns calls every function once in each round and returns the medians.
func turns(ctx context.Context, fs ...func() (float64, error)) ([]float64, error) {
	samples := make([][]float64, len(fs))
	for range rounds {
		for i, f := range fs {
			v, err := f()
			if err != nil {
				return nil, err
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			samples[i] = append(samples[i], v)
		}
	}
	out := make([]float64, len(fs))
	for i := range samples {
		out[i] = median(samples[i])
	}
	return out, nil
}
