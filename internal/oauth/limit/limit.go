// Package limit bounds what one address, client or device may ask for in a time.
package limit

import (
	"net/netip"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
)

// Limits bound what one address or client may ask for. The zero value has
// defaults that no honest client meets.
type Limits struct {
	// PerAddress is requests a second from one address (an IPv6 /64), with a
	// burst of ten seconds' worth. 0: 200. Loopback is exempt: it is this
	// machine, and a proxy in front of many people.
	PerAddress float64
	// Failures is how many failed client authentications a client may have a
	// minute from one address before it has to wait. 0: 30.
	Failures float64
	// Codes is how many device codes an address may start a minute. 0: 60.
	Codes float64
	// Guesses is how many wrong user codes an address may type a minute. 0: 10.
	Guesses float64
	// Loop is how many identical token requests with a person's grant a client
	// may make in a minute before it is told that it loops (AADSTS50196). 0: 60.
	Loop float64
}

func (l *Limits) defaults() {
	set := func(v *float64, d float64) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.PerAddress, 200)
	set(&l.Failures, 30)
	set(&l.Codes, 60)
	set(&l.Guesses, 10)
	set(&l.Loop, 60)
}

// Limiter holds token buckets. They are of this process alone: with several
// replicas the bounds are that much wider, and nothing depends on them but how
// fast somebody may be wrong. What must hold everywhere (single use, lockout)
// is in the store.
type Limiter struct {
	limits Limits
	clock  clock.Clock

	mu      sync.Mutex
	buckets map[bucketKey]*bucket
	swept   time.Time
}

type bucketKey struct{ kind, key string }

type bucket struct {
	left float64
	at   time.Time
	full float64
	rate float64 // a second
}

// maxBuckets bounds the memory that strangers can make us use.
const maxBuckets = 100_000

// New returns a Limiter.
func New(l Limits, c clock.Clock) *Limiter {
	l.defaults()
	return &Limiter{limits: l, clock: c, buckets: map[bucketKey]*bucket{}}
}

// take takes one from a bucket and returns how long to wait if it is empty.
func (l *Limiter) take(kind, key string, rate, full float64) time.Duration {
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	k := bucketKey{kind, key}
	b := l.buckets[k]
	if b == nil {
		b = &bucket{left: full, at: now, full: full, rate: rate}
		l.buckets[k] = b
	}
	b.fill(now)
	if b.left >= 1 {
		b.left--
		return 0
	}
	return max(time.Second, time.Duration((1-b.left)/b.rate*float64(time.Second)))
}

// empty reports how long to wait without taking anything.
func (l *Limiter) empty(kind, key string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[bucketKey{kind, key}]
	if b == nil {
		return 0
	}
	b.fill(l.clock.Now())
	if b.left >= 1 {
		return 0
	}
	return max(time.Second, time.Duration((1-b.left)/b.rate*float64(time.Second)))
}

func (b *bucket) fill(now time.Time) {
	if since := now.Sub(b.at); since > 0 {
		b.left = min(b.full, b.left+since.Seconds()*b.rate)
	}
	b.at = now // also when the clock was set back
}

// sweep drops buckets that are full again, now and then.
func (l *Limiter) sweep(now time.Time) {
	if since := now.Sub(l.swept); since >= 0 && since < time.Minute && len(l.buckets) < maxBuckets {
		return
	}
	l.swept = now
	for k, b := range l.buckets {
		if b.fill(now); b.left >= b.full {
			delete(l.buckets, k)
		}
	}
	for k := range l.buckets {
		if len(l.buckets) < maxBuckets {
			break
		}
		delete(l.buckets, k)
	}
}

// prefix is what counts as one address.
func prefix(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// Address returns how long an address has to wait. 0: not at all.
func (l *Limiter) Address(a netip.Addr) time.Duration {
	if a.IsLoopback() {
		return 0
	}
	return l.take("address", prefix(a), l.limits.PerAddress, 10*l.limits.PerAddress)
}

// ClientBlocked and ClientFailed bound guessing of client secrets. The bucket is
// of client and address together: nobody can lock a client out for others.
func (l *Limiter) ClientBlocked(client string, a netip.Addr) time.Duration {
	return l.empty("client", client+" "+prefix(a))
}

// ClientFailed counts a failed authentication.
func (l *Limiter) ClientFailed(client string, a netip.Addr) {
	l.take("client", client+" "+prefix(a), l.limits.Failures/60, l.limits.Failures)
}

// Codes returns how long an address has to wait for another device code.
func (l *Limiter) Codes(a netip.Addr) time.Duration {
	return l.take("codes", prefix(a), l.limits.Codes/60, l.limits.Codes)
}

// Guesses returns how long an address has to wait before it may type a user code.
func (l *Limiter) Guesses(a netip.Addr) time.Duration { return l.empty("guess", prefix(a)) }

// Guessed counts a wrong user code.
func (l *Limiter) Guessed(a netip.Addr) {
	l.take("guess", prefix(a), l.limits.Guesses/60, l.limits.Guesses)
}

// Loop returns how long to wait with a request that was made too often.
func (l *Limiter) Loop(request string) time.Duration {
	return l.take("loop", request, l.limits.Loop/60, l.limits.Loop)
}

// Polled tells whether a device polls sooner than it was told to: it may be a
// little early now and then, but not always.
func (l *Limiter) Polled(deviceHash string, every time.Duration) bool {
	return l.take("poll", deviceHash, 1/(every.Seconds()-1), 3) > 0
}
