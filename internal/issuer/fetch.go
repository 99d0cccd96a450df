package issuer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/token"
)

// fetcher gets the documents of foreign issuers.
type fetcher struct {
	client   *http.Client
	timeout  time.Duration // for both documents together
	keyHosts map[string][]string
}

// errAddress is why a connection is not made.
var errAddress = errors.New("the address is not allowed")

func newFetcher(roots *x509.CertPool, allow []netip.Prefix, keyHosts map[string][]string, timeout time.Duration) *fetcher {
	dialer := &net.Dialer{
		// Asked for each connection with the address that it goes to: what a
		// name resolves to now, and not what it resolved to when it was checked.
		Control: func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || !allowed(at.Addr(), allow) {
				return fmt.Errorf("%s: %w", address, errAddress)
			}
			return nil
		},
	}
	return &fetcher{
		timeout: timeout, keyHosts: keyHosts,
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:                  nil, // a proxy would choose the address
				DialContext:            dialer.DialContext,
				TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				DisableKeepAlives:      true, // fetches are rare, and each is judged anew
				DisableCompression:     true, // sizes are those on the wire
				MaxResponseHeaderBytes: 32 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// fetch returns the keys of an issuer and how long they may be kept.
func (f *fetcher) fetch(ctx context.Context, issuer string) (map[token.KeyID]token.PublicKey, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	u, err := parseURL(issuer)
	if err != nil {
		return nil, 0, errs.New(errs.Invalid, "The issuer %q cannot be used: %v.", cut(issuer), err)
	}
	document, _, err := f.get(ctx, discoveryURL(issuer), maxDiscovery)
	if err != nil {
		return nil, 0, err
	}
	var more []string
	for host, list := range f.keyHosts {
		if sameHost(host, hostOf(u)) {
			more = append(more, list...)
		}
	}
	uri, err := readDiscovery(document, issuer, more)
	if err != nil {
		return nil, 0, err
	}
	document, cacheControl, err := f.get(ctx, uri, token.MaxJWKSLength)
	if err != nil {
		return nil, 0, err
	}
	keys, err := parseKeys(document)
	if err != nil {
		return nil, 0, errs.Wrap(errs.Invalid, err, "The keys of the issuer %q cannot be used: %s", issuer, errs.Message(err))
	}
	return keys, age(cacheControl), nil
}

// parseKeys reads a key document. A published key is valid as long as it is
// published.
func parseKeys(document []byte) (map[token.KeyID]token.PublicKey, error) {
	list, err := token.ParseJWKS(document)
	if err != nil {
		return nil, err
	}
	keys := make(map[token.KeyID]token.PublicKey, len(list))
	for id, k := range list {
		keys[id] = token.PublicKey{Key: k}
	}
	return keys, nil
}

// get returns a document and its Cache-Control header. Why a connection fails is
// for the log alone: who writes credentials must not explore our network by it.
func (f *fetcher) get(ctx context.Context, address string, limit int64) ([]byte, string, error) {
	unreachable := func(err error) ([]byte, string, error) {
		return nil, "", errs.Wrap(errs.Unavailable, err, "%s cannot be fetched: its host cannot be reached, is not trusted, or is at an address that is not allowed", address)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return unreachable(err)
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	req.Header.Set("User-Agent", "entrance")
	res, err := f.client.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer res.Body.Close()
	switch code := res.StatusCode; {
	case code == http.StatusOK:
	case code >= 300 && code < 400:
		return nil, "", errs.New(errs.Invalid, "%s redirects, and redirects are not followed.", address)
	case code == http.StatusNotFound || code == http.StatusGone:
		return nil, "", errs.New(errs.Invalid, "%s does not exist (status %d).", address, code)
	default:
		return nil, "", errs.New(errs.Unavailable, "%s cannot be fetched: status %d.", address, code)
	}
	if enc := res.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, "", errs.New(errs.Invalid, "%s is compressed although that was not asked for.", address)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err == nil {
		// A server that notices the end of our patience first can still end its
		// answer in good order.
		err = ctx.Err()
	}
	if err != nil {
		return nil, "", errs.Wrap(errs.Unavailable, err, "%s cannot be fetched: it was cut short or took too long", address)
	}
	if int64(len(body)) > limit {
		return nil, "", errs.New(errs.Invalid, "%s is longer than %d bytes.", address, limit)
	}
	return body, res.Header.Get("Cache-Control"), nil
}
