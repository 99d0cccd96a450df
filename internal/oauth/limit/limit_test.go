package limit_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/oauth/limit"
)

func TestLimiter(t *testing.T) {
	clk := clock.NewManual(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	l := limit.New(limit.Limits{PerAddress: 2, Failures: 3, Guesses: 2}, clk)
	a, b := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	for i := range 20 { // ten seconds' worth at once
		if wait := l.Address(a); wait != 0 {
			t.Fatalf("request %d has to wait %v", i, wait)
		}
	}
	if wait := l.Address(a); wait <= 0 {
		t.Error("the burst does not end")
	}
	if l.Address(b) != 0 {
		t.Error("another address has to wait")
	}
	clk.Advance(time.Second)
	for i := range 3 {
		if wait := l.Address(a); (wait == 0) != (i < 2) {
			t.Errorf("a second is not worth two requests: number %d waits %v", i, wait)
		}
	}
	// One network of IPv6 is one address, and this machine is none.
	for i := range 20 {
		l.Address(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i)))
	}
	if l.Address(netip.MustParseAddr("2001:db8::ffff")) == 0 || l.Address(netip.MustParseAddr("2001:db8:0:1::1")) != 0 {
		t.Error("an IPv6 /64 is not counted as one")
	}
	for range 100 {
		if l.Address(netip.MustParseAddr("127.0.0.1")) != 0 {
			t.Fatal("loopback has to wait")
		}
	}
	// Failures are those of a client at an address: nobody locks it out for others.
	for range 3 {
		if l.ClientBlocked("app", a) != 0 {
			t.Fatal("blocked too early")
		}
		l.ClientFailed("app", a)
	}
	if l.ClientBlocked("app", a) == 0 || l.ClientBlocked("app", b) != 0 || l.ClientBlocked("other", a) != 0 {
		t.Error("failures count for somebody else, or not at all")
	}
	l.Guessed(a)
	l.Guessed(a)
	if l.Guesses(a) == 0 || l.Guesses(b) != 0 {
		t.Error("wrong user codes are not counted")
	}
	clk.Advance(-time.Hour) // a clock that is set back opens nothing
	if l.ClientBlocked("app", a) == 0 || l.Guesses(a) == 0 {
		t.Error("setting the clock back opened a limit")
	}
}
