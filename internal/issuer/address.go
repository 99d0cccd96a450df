package issuer

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/errs"
)

// maxURL is the longest issuer that a federated credential can name.
const maxURL = 600

// CheckURL returns Invalid unless s can be an issuer that is fetched: an https
// URL with a host and nothing that its documents' addresses could be confused
// by. What the host resolves to is judged at each fetch.
func CheckURL(s string) error {
	if _, err := parseURL(s); err != nil {
		return errs.New(errs.Invalid, "The issuer %q cannot be used: %v.", cut(s), err)
	}
	return nil
}

func cut(s string) string {
	if len(s) > maxURL {
		return s[:maxURL]
	}
	return s
}

func parseURL(s string) (*url.URL, error) {
	if len(s) > maxURL {
		return nil, fmt.Errorf("it is longer than %d characters", maxURL)
	}
	for _, c := range s {
		if c <= ' ' || c > '~' || c == '\\' {
			return nil, fmt.Errorf("it contains white space or a character that is not allowed")
		}
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("it is not a URL")
	case u.Scheme != "https" || u.Opaque != "":
		return nil, fmt.Errorf("it does not begin with https://")
	case u.Hostname() == "":
		return nil, fmt.Errorf("it has no host")
	case u.User != nil:
		return nil, fmt.Errorf("it contains a user name")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#"):
		return nil, fmt.Errorf("it has a query or a fragment")
	case slices.ContainsFunc(strings.Split(u.Path, "/"), func(p string) bool { return p == "." || p == ".." }):
		return nil, fmt.Errorf("its path leads upwards")
	}
	return u, nil
}

// hostOf returns host and port of a URL in one spelling.
func hostOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

var (
	// never are addresses that answer for the machine that asks, in a cloud:
	// no configuration allows them.
	never = prefixes(
		"169.254.169.254/32", "169.254.170.2/32", "168.63.129.16/32", "100.100.100.200/32", "fd00:ec2::254/128",
	)
	// inside are the networks where no public issuer can be: this host, private
	// and shared networks, links, documentation and benchmark networks, multicast
	// and what is reserved (IANA special-purpose address registries), and the
	// forms of IPv6 that carry an IPv4 address past a check of either.
	inside = prefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
		"3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	)
)

// Metadata reports whether an address answers for the machine that asks, in one of
// the clouds. Nothing that somebody else has named is ever fetched from there.
func Metadata(addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(never, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// allowed reports whether a connection to an address may be made.
func allowed(addr netip.Addr, allow []netip.Prefix) bool {
	if !addr.IsValid() || addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	in := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	return !in(never) && (in(allow) || !in(inside))
}
