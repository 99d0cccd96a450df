package issuer

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pop/jws"
)

// maxDiscovery bounds a discovery document. Those of large providers have 2 to
// 6 kB.
const maxDiscovery = 64 << 10

func discoveryURL(issuer string) string {
	return strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
}

// readDiscovery returns where the keys of an issuer are, according to its
// discovery document. keyHosts are hosts on which they may be besides its own.
func readDiscovery(document []byte, issuer string, keyHosts []string) (string, error) {
	bad := func(format string, args ...any) (string, error) {
		return "", errs.New(errs.Invalid, "The discovery document of the issuer %q cannot be used: "+format, append([]any{issuer}, args...)...)
	}
	doc, err := jws.ParseObject(string(document))
	if err != nil {
		return bad("it is not acceptable JSON.")
	}
	if named, _ := doc.Get("issuer").Str(); named != issuer {
		return bad("it names another issuer, %q. The two must agree to the letter, a final slash included.", cut(named))
	}
	if algs := doc.Get("id_token_signing_alg_values_supported"); algs.Kind() != jws.Missing {
		if list, ok := algs.Strings(); !ok || !slices.Contains(list, "RS256") {
			return bad("its tokens are not signed with RS256.")
		}
	}
	uri, _ := doc.Get("jwks_uri").Str()
	keys, err := parseJWKSURI(uri)
	if err != nil {
		return bad("its jwks_uri %q is not an https URL.", cut(uri))
	}
	own, err := url.Parse(issuer)
	if err != nil {
		return bad("the issuer is not a URL.")
	}
	if at := hostOf(keys); at != hostOf(own) && !slices.ContainsFunc(keyHosts, func(h string) bool { return sameHost(h, at) }) {
		return bad("its jwks_uri %q is on a foreign host.", cut(uri))
	}
	return uri, nil
}

// parseJWKSURI is parseURL for the address of keys, which may have a query.
func parseJWKSURI(s string) (*url.URL, error) {
	bare, _, _ := strings.Cut(s, "?")
	return parseURL(bare)
}

// sameHost compares a configured host, with or without port, with one that
// hostOf returned.
func sameHost(configured, at string) bool {
	configured = strings.ToLower(configured)
	return configured == at || configured+":443" == at
}

// Bounds of how long keys are kept before they are fetched again.
const (
	minAge     = 5 * time.Minute
	defaultAge = time.Hour
	maxAge     = 24 * time.Hour
)

// age returns how long a document may be kept, from its Cache-Control header.
func age(cacheControl string) time.Duration {
	d := defaultAge
	for _, directive := range strings.Split(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return minAge
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				d = time.Duration(n) * time.Second
			}
		}
	}
	return min(max(d, minAge), maxAge)
}
