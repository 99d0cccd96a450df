package issuer

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
)

func TestAllowed(t *testing.T) {
	all := prefixes("0.0.0.0/0", "::/0")
	for _, tc := range []struct {
		addr  string
		allow []netip.Prefix
		want  bool
	}{
		{"140.82.112.3", nil, true},
		{"2606:50c0:8000::153", nil, true},
		{"::ffff:140.82.112.3", nil, true},

		{"127.0.0.1", nil, false}, {"127.9.9.9", nil, false}, {"::1", nil, false}, {"::ffff:127.0.0.1", nil, false},
		{"0.0.0.0", nil, false}, {"0.1.2.3", nil, false}, {"::", nil, false},
		{"10.1.2.3", nil, false}, {"172.16.0.1", nil, false}, {"172.31.255.255", nil, false}, {"192.168.1.1", nil, false},
		{"::ffff:10.1.2.3", nil, false}, {"::10.1.2.3", nil, false}, {"100.64.0.1", nil, false},
		{"169.254.1.1", nil, false}, {"fe80::1", nil, false}, {"fc00::1", nil, false}, {"fd12::1", nil, false}, {"fec0::1", nil, false},
		{"fe80::1%eth0", all, false},
		{"224.0.0.1", nil, false}, {"ff02::1", nil, false}, {"255.255.255.255", nil, false}, {"240.0.0.1", nil, false},
		{"192.0.2.1", nil, false}, {"198.18.0.1", nil, false}, {"198.51.100.1", nil, false}, {"203.0.113.1", nil, false}, {"2001:db8::1", nil, false},
		// IPv4 addresses inside IPv6 ones.
		{"64:ff9b::a00:1", nil, false}, {"2002:a00:1::", nil, false}, {"2001:0:4136:e378:8000:63bf:3fff:fdd2", nil, false},

		{"10.1.2.3", prefixes("10.1.0.0/16"), true},
		{"::ffff:10.1.2.3", prefixes("10.1.0.0/16"), true},
		{"10.2.2.3", prefixes("10.1.0.0/16"), false},
		{"127.0.0.1", all, true},
		// What answers for the machine itself in a cloud, never.
		{"169.254.169.254", all, false}, {"::ffff:169.254.169.254", all, false}, {"168.63.129.16", nil, false}, {"168.63.129.16", all, false},
		{"169.254.170.2", all, false}, {"100.100.100.200", all, false}, {"fd00:ec2::254", all, false},
	} {
		if got := allowed(netip.MustParseAddr(tc.addr), tc.allow); got != tc.want {
			t.Errorf("allowed(%s, %v) = %v", tc.addr, tc.allow, got)
		}
	}
	if allowed(netip.Addr{}, all) {
		t.Error("no address is allowed")
	}
}

func TestCheckURL(t *testing.T) {
	for _, good := range []string{
		"https://token.actions.githubusercontent.com", "https://token.actions.githubusercontent.com/", "https://gitlab.example:8443/a/b/",
		"https://oidc.example/00000000-0000-0000-0000-000000000000/key/", "https://[2606:50c0::1]/x",
	} {
		if err := CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "x", "http://a.example", "HTTP://a.example", "file:///etc/passwd", "gopher://a.example", "https:a.example", "https://", "https:///x", "https://:443/",
		"https://user@a.example", "https://user:pw@a.example/", "https://a.example/?x", "https://a.example/?", "https://a.example/#x", "https://a.example/#",
		" https://a.example", "https://a.example ", "https://a.example/a b", "https://a.example/\n", "https://a.example\\@b.example", "https://ä.example",
		"https://a.example/../x", "https://a.example/./x", "https://a.example/%2e%2e/x", "https://a.example:x/", "//a.example", "https://" + strings.Repeat("a", 600),
	} {
		if err := CheckURL(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestDialledAddress: names do not matter, the address of each connection does.
func TestDialledAddress(t *testing.T) {
	var conns atomic.Int32
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	srv.StartTLS()
	defer srv.Close()
	port := srv.URL[strings.LastIndexByte(srv.URL, ':'):]
	s, err := New(Config{Clock: clock.Func(time.Now), Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	// A name and a number that lead to this machine, and addresses in other
	// spellings.
	for _, host := range []string{"localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		_, err := s.Keys(context.Background(), "https://"+host+port, false)
		if !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s: %v", host, err)
		}
		if m := errs.Message(err); strings.Contains(m, "refused") || strings.Contains(m, "127.0.0.1:") && host != "127.0.0.1" && host != "[::ffff:127.0.0.1]" {
			t.Errorf("%s: the message tells about the network: %s", host, m)
		}
	}
	if n := conns.Load(); n != 0 {
		t.Errorf("%d connections to this machine", n)
	}
}

// TestNoProxy: a proxy would choose the address in our place.
func TestNoProxy(t *testing.T) {
	f := newFetcher(nil, nil, nil, time.Second)
	if tr := f.client.Transport.(*http.Transport); tr.Proxy != nil {
		t.Error("fetches go through a proxy")
	}
}
