package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/imds"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// reach knows how the API servers of clusters are reached: those that run here
// with a certificate that may do everything, connected ones as their own identity.
// No secret of a connected cluster is kept: its API server asks us who the bearer
// of our token is, and what it may do, which is next to nothing.
type reach struct {
	store *store.Store
	clock clock.Clock
	local localClusters
	// tokens issues the tokens of the clusters' identities.
	tokens imds.Tokens

	mu    sync.Mutex
	known map[string]*connectedCluster
}

// Times for connected clusters.
const (
	// tokenAge is how long a token is used: an identity that was disabled has to
	// be noticed.
	tokenAge = 10 * time.Minute
	// reachTimeout bounds a request. Pods wait for some of them.
	reachTimeout = 3 * time.Second
	// keysAge is how long the keys of a cluster are kept before they are read
	// again, and keysGrace for how long they serve when they cannot be read.
	keysAge   = 5 * time.Second
	keysGrace = time.Hour
	// maxConnected bounds how many connected clusters are remembered. More are
	// made anew when they are needed.
	maxConnected = 1024
)

// connectedCluster is what is known of a connected cluster.
type connectedCluster struct {
	server, ca string
	config     *rest.Config
	client     *http.Client

	tokenMu sync.Mutex
	token   string
	fetched time.Time

	keysMu sync.Mutex
	gate   token.Gate
	keys   []byte
	read   time.Time
	err    error
}

// config returns how a cluster's API server is reached. NotFound or Unavailable.
func (a *reach) config(c *state.Cluster) (*rest.Config, error) {
	if !c.Connected {
		return a.local.RESTConfig(c.Key)
	}
	k, err := a.connected(c)
	if err != nil {
		return nil, err
	}
	return k.config, nil
}

func (a *reach) connected(c *state.Cluster) (*connectedCluster, error) {
	if c.Identity == "" {
		return nil, errs.New(errs.Unavailable, "The cluster %s believes tokens of a tenant that is hosted elsewhere, so that it cannot be asked.", c.ID)
	}
	if c.ProofOfPossession {
		return nil, errs.New(errs.Unavailable, "The cluster %s demands proof of possession, so that it cannot be asked.", c.ID)
	}
	r, err := state.Resources.Get(a.store.View(), state.Fold(c.ID))
	if err != nil {
		return nil, err
	}
	var doc struct {
		Properties struct {
			Entrance struct {
				Server string `json:"server"`
				CA     []byte `json:"certificateAuthorityData"`
			} `json:"entrance"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(r.Body, &doc); err != nil {
		return nil, err
	}
	at := doc.Properties.Entrance
	if at.Server == "" {
		return nil, errs.New(errs.Unavailable, "The connected cluster %s does not say where it is reached: set properties.entrance.server.", c.ID)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if k := a.known[c.Key]; k != nil && k.server == at.Server && k.ca == string(at.CA) {
		return k, nil
	}
	k := &connectedCluster{server: at.Server, ca: string(at.CA), gate: token.Gate{Window: keysAge, Max: time.Minute}}
	u, err := url.Parse(at.Server)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errs.New(errs.Invalid, "The address %q of the connected cluster is not an https URL.", at.Server)
	}
	key, tenant, identity, app := c.Key, c.Tenant, c.Identity, c.ServerApp
	k.config = &rest.Config{
		Host: at.Server, Timeout: reachTimeout,
		TLSClientConfig: rest.TLSClientConfig{CAData: at.CA},
		Proxy:           func(*http.Request) (*url.URL, error) { return nil, nil }, // a proxy would see the token
		Dial:            (&net.Dialer{Control: notMetadata}).DialContext,
		WrapTransport: func(next http.RoundTripper) http.RoundTripper {
			return &bearerTransport{next: next, host: u.Host, token: func(ctx context.Context) (string, error) {
				return a.tokenOf(ctx, key, tenant, identity, app)
			}}
		},
	}
	if k.client, err = rest.HTTPClientFor(k.config); err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The connected cluster %s cannot be reached", c.ID)
	}
	if a.known == nil || len(a.known) >= maxConnected {
		a.known = map[string]*connectedCluster{}
	}
	a.known[c.Key] = k
	return k, nil
}

// notMetadata refuses the addresses that answer for this machine in a cloud: the
// API server's address is chosen by whoever may write the cluster's resource.
func notMetadata(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || issuer.Metadata(at.Addr()) {
		return fmt.Errorf("the address %s is not allowed", address)
	}
	return nil
}

// tokenOf returns a token of a cluster's own identity for the cluster.
func (a *reach) tokenOf(ctx context.Context, key string, tenant directory.TenantID, identity directory.ObjectID, app directory.AppID) (string, error) {
	a.mu.Lock()
	k := a.known[key]
	a.mu.Unlock()
	if k == nil {
		return "", errs.New(errs.NotFound, "The cluster is not connected any more.")
	}
	k.tokenMu.Lock()
	defer k.tokenMu.Unlock()
	now := a.clock.Now()
	if since := now.Sub(k.fetched); k.token != "" && since >= 0 && since < tokenAge {
		return k.token, nil
	}
	t, err := a.tokens.Issue(ctx, tenant, identity, string(app))
	if err != nil {
		return "", err
	}
	k.token, k.fetched = t.Text, now
	return k.token, nil
}

// bearerTransport shows a token to one host and to no other.
type bearerTransport struct {
	next  http.RoundTripper
	host  string
	token func(context.Context) (string, error)
}

// RoundTrip implements http.RoundTripper.
func (b *bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" || r.URL.Host != b.host {
		return nil, errs.New(errs.Unavailable, "The API server redirects to %s, which is not followed.", r.URL.Host)
	}
	t, err := b.token(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t)
	return b.next.RoundTrip(r)
}

// connectedKeys returns the keys of a connected cluster's service account tokens,
// as its API server has them. Unavailable.
func (a *reach) connectedKeys(ctx context.Context, c *state.Cluster) ([]byte, error) {
	k, err := a.connected(c)
	if err != nil {
		return nil, err
	}
	k.keysMu.Lock()
	defer k.keysMu.Unlock()
	now := a.clock.Now()
	if k.gate.Try(now) {
		var keys []byte
		keys, k.err = k.readKeys(ctx)
		k.gate.Done(k.err == nil)
		if k.err == nil {
			k.keys, k.read = keys, now
		}
	}
	if since := now.Sub(k.read); k.keys != nil && (k.err == nil || since >= 0 && since < keysGrace) {
		return k.keys, nil
	}
	return nil, errs.Wrap(errs.Unavailable, k.err, "The keys of the connected cluster cannot be read from its API server")
}

func (k *connectedCluster) readKeys(ctx context.Context) ([]byte, error) {
	// Others wait for the answer too: it is not this request's alone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reachTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(k.server, "/")+"/openid/v1/jwks", nil)
	if err != nil {
		return nil, err
	}
	res, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its status is %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, token.MaxJWKSLength+1))
	if err != nil {
		return nil, err
	}
	if len(body) > token.MaxJWKSLength {
		return nil, fmt.Errorf("they are longer than %d bytes", token.MaxJWKSLength)
	}
	_, err = token.ParseJWKS(body)
	return body, err
}
