// Package harness runs the identity provider in a test: the protocol and the
// sign-in pages over a store of their own, behind a TLS listener, with a tenant
// to sign in to and a browser to do it with.
package harness

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/keyring"
	"github.com/entrance-id/entrance/internal/oauth"
	"github.com/entrance-id/entrance/internal/password"
	"github.com/entrance-id/entrance/internal/signin"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
	"github.com/entrance-id/entrance/internal/token"
)

// Password is the password of every user that the harness makes.
const Password = "Correct-Horse-7"

// Cloud is a running identity provider.
type Cloud struct {
	T      testing.TB
	Store  *store.Store
	Clock  *Clock
	Server *httptest.Server
	URL    string
	Host   string

	Provider *oauth.Provider
	SignIn   *signin.Server
	Ring     *keyring.Ring
	Sealer   *state.Sealer
	Trust    *keyring.Trust
	Policy   *Policy
	Issuers  *Issuers

	Tenant *directory.Tenant
	User   *directory.User // ann@contoso.example

	transport *http.Transport

	mu     sync.Mutex
	events []oauth.SignInEvent
	failed []signin.Attempt
}

// Clock is the system's clock, moved by hand.
type Clock struct {
	mu     sync.Mutex
	offset time.Duration
}

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// Policy is a policy that a test sets.
type Policy struct {
	mu    sync.Mutex
	set   *conditionalaccess.Set
	clock clock.Clock
	facts []conditionalaccess.Facts

	pretended *conditionalaccess.Facts
	now       time.Time // of the pretended facts
}

// Pretend has the policies answer as if every request had the given facts, but
// for the step and the version of the endpoint, at the given time. A nil set ends
// it, and every policy.
func (p *Policy) Pretend(set *conditionalaccess.Set, f conditionalaccess.Facts, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set, p.pretended, p.now = set, &f, now
	if set == nil {
		p.pretended = nil
	}
}

// Evaluate implements oauth.Policy.
func (p *Policy) Evaluate(_ context.Context, f *conditionalaccess.Facts) conditionalaccess.Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.facts = append(p.facts, *f)
	if p.set == nil {
		return conditionalaccess.Outcome{Decision: conditionalaccess.Granted}
	}
	if p.pretended != nil {
		g := *p.pretended
		g.Step, g.V1 = f.Step, f.V1
		return conditionalaccess.Evaluate(p.set, &g, p.now)
	}
	return conditionalaccess.Evaluate(p.set, f, p.clock.Now())
}

// Set replaces the policies by documents of Microsoft Graph's form.
func (p *Policy) Set(t testing.TB, documents ...string) {
	t.Helper()
	var list []*conditionalaccess.Policy
	for _, d := range documents {
		one, err := conditionalaccess.ParsePolicy([]byte(d))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, one)
	}
	set, err := conditionalaccess.Compile(list, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set = set
}

// Facts returns what the policy was asked since the last call.
func (p *Policy) Facts() []conditionalaccess.Facts {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.facts
	p.facts = nil
	return f
}

// Issuers are the keys of foreign issuers, set by a test.
type Issuers struct {
	mu    sync.Mutex
	Keyed map[string]map[token.KeyID]token.PublicKey
	Err   error
	Asked int
}

// Keys implements oauth.Issuers.
func (i *Issuers) Keys(_ context.Context, issuer string, _ bool) (map[token.KeyID]token.PublicKey, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.Asked++
	return i.Keyed[issuer], i.Err
}

// SignIn implements oauth.Audit.
func (c *Cloud) signIn(e *oauth.SignInEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, *e)
}

type auditor struct{ c *Cloud }

func (a auditor) SignIn(_ context.Context, e *oauth.SignInEvent) { a.c.signIn(e) }

// Events returns the sign-in log since the last call.
func (c *Cloud) Events() []oauth.SignInEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.events
	c.events = nil
	return e
}

// Failed returns the failed attempts on the pages since the last call.
func (c *Cloud) Failed() []signin.Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.failed
	c.failed = nil
	return e
}

// Option changes how a Cloud is made.
type Option func(*options)

type options struct {
	limits  oauth.Limits
	guesses signin.Limits
	issuers oauth.Issuers
	devices oauth.Devices
	wrap    func(http.Handler) http.Handler
}

// WithLimits sets the protocol's limits.
func WithLimits(l oauth.Limits) Option {
	return func(o *options) {
		for _, f := range []struct {
			to   *float64
			from float64
		}{{&o.limits.PerAddress, l.PerAddress}, {&o.limits.Failures, l.Failures}, {&o.limits.Codes, l.Codes}, {&o.limits.Guesses, l.Guesses}, {&o.limits.Loop, l.Loop}} {
			if f.from != 0 {
				*f.to = f.from
			}
		}
	}
}

// WithIssuers replaces Cloud.Issuers.
func WithIssuers(i oauth.Issuers) Option { return func(o *options) { o.issuers = i } }

// WithDevices says which devices are proven.
func WithDevices(d oauth.Devices) Option { return func(o *options) { o.devices = d } }

// WithHandler wraps the handler.
func WithHandler(wrap func(http.Handler) http.Handler) Option {
	return func(o *options) { o.wrap = wrap }
}

// Start starts a cloud with the tenant contoso.example and the user Ann.
func Start(t testing.TB, opts ...Option) *Cloud {
	t.Helper()
	// Limits that tests from one address do not meet by accident.
	o := options{limits: oauth.Limits{Failures: 1000, Codes: 1e6, Guesses: 1000, Loop: 1e6}}
	for _, f := range opts {
		f(&o)
	}
	ctx := context.Background()
	c := &Cloud{T: t, Clock: &Clock{}, Issuers: &Issuers{Keyed: map[string]map[token.KeyID]token.PublicKey{}}}
	tables := append(state.Tables(), oauth.Tables()...)
	c.Store = storetest.Open(t, append(tables, signin.Tables()...)...)
	c.Policy = &Policy{clock: c.Clock}

	var handler http.Handler
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	c.Server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate()}}
	c.Server.StartTLS()
	t.Cleanup(c.Server.Close)
	// By name: browsers tie passkeys to one.
	_, port, _ := net.SplitHostPort(c.Server.Listener.Addr().String())
	c.URL = "https://localhost:" + port
	c.Host = strings.TrimPrefix(c.URL, "https://")

	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	c.Ring = keyring.New(c.Store, c.Clock, token.DefaultPolicy, logger)
	t.Cleanup(c.Ring.Close)
	c.Trust = &keyring.Trust{Ring: c.Ring, Issuers: token.Issuers{V2: c.URL}}
	var err error
	if c.Sealer, err = state.NewSealer(ctx, c.Store, c.Clock); err != nil {
		t.Fatal(err)
	}
	hasher, err := password.New(password.Params{Memory: 64, Time: 1, Parallelism: 1}, 8, 1000)
	if err != nil {
		t.Fatal(err)
	}
	c.SignIn, err = signin.New(signin.Config{
		Store: c.Store, Clock: c.Clock, Logger: logger, BaseURL: c.URL, Sealer: c.Sealer, Hasher: hasher, Limits: o.guesses,
		Audit: func(_ context.Context, a signin.Attempt) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.failed = append(c.failed, a)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var issuers oauth.Issuers = c.Issuers
	if o.issuers != nil {
		issuers = o.issuers
	}
	c.Provider, err = oauth.New(oauth.Config{
		Store: c.Store, Clock: c.Clock, Logger: logger, BaseURL: c.URL, Keys: c.Ring, Trust: c.Trust, Sealer: c.Sealer,
		SignIn: c.SignIn, Accounts: c.SignIn, Policy: c.Policy, Audit: auditor{c}, Issuers: issuers, Devices: o.devices, Limits: o.limits,
		Aliases: map[string]directory.AppID{c.URL: directory.Graph},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.SignIn.SetDevices(c.Provider)
	handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case c.SignIn.Handles(r.URL.Path):
			c.SignIn.ServeHTTP(w, r)
		case c.Provider.Handles(r.URL.Path):
			c.Provider.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
	if o.wrap != nil {
		handler = o.wrap(handler)
	}
	c.Tenant = c.AddTenant("Contoso", "contoso.example")
	c.User = c.AddUser("ann@contoso.example", "Ann Example")
	return c
}

// certificate returns a certificate for localhost and for the public cloud's
// names, which clients are pointed here under.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "harness"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		DNSNames:    []string{"localhost", "login.microsoftonline.com", "management.azure.com", "graph.microsoft.com"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

// CertificatePEM returns the certificate that clients have to trust.
func CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate().Certificate[0]})
}

// Certificates returns the pool that trusts the cloud.
func (c *Cloud) Certificates() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(certificate().Leaf)
	return pool
}

// Client returns an HTTP client that trusts the cloud and follows no redirects.
func (c *Cloud) Client() *http.Client {
	if c.transport == nil {
		c.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.Certificates()}, MaxIdleConnsPerHost: 100}
		c.T.Cleanup(c.transport.CloseIdleConnections)
	}
	return &http.Client{Transport: c.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Update runs a transaction that must succeed.
func (c *Cloud) Update(fn func(*store.Tx) error) {
	c.T.Helper()
	if err := c.Store.Update(context.Background(), fn); err != nil {
		c.T.Fatal(err)
	}
}

// AddTenant makes a tenant with signing keys. Its password grant is on.
func (c *Cloud) AddTenant(name, domain string) *directory.Tenant {
	c.T.Helper()
	t := &directory.Tenant{
		ID: directory.TenantID(directory.NewGUID()), DisplayName: name, Country: "DE", Created: c.Clock.Now(),
		Domains:       []directory.Domain{{Name: domain, Default: true, Initial: true}},
		PasswordGrant: true, UserConsent: true,
	}
	c.Update(func(tx *store.Tx) error { return state.CreateTenant(tx, t) })
	if err := c.Ring.Ensure(context.Background(), t.ID); err != nil {
		c.T.Fatal(err)
	}
	return t
}

// AddUser makes a user with the harness's password.
func (c *Cloud) AddUser(upn, name string) *directory.User {
	c.T.Helper()
	t, err := state.TenantOfUser(c.Store.View(), upn)
	if err != nil {
		c.T.Fatal(err)
	}
	u := &directory.User{
		Tenant: t.ID, ID: directory.ObjectID(directory.NewGUID()), UserPrincipalName: upn, DisplayName: name, Enabled: true,
		Mail: upn, PasswordHash: hashed(), PasswordChanged: c.Clock.Now(), Created: c.Clock.Now(),
	}
	c.Update(func(tx *store.Tx) error { return state.CreateUser(tx, u) })
	return u
}

var hashed = sync.OnceValue(func() string {
	h, err := password.New(password.Params{Memory: 64, Time: 1, Parallelism: 1}, 1, 1)
	if err != nil {
		panic(err)
	}
	phc, err := h.Hash(context.Background(), Password)
	if err != nil {
		panic(err)
	}
	return phc
})

// AddApp registers an application with its service principal in the tenant of
// Cloud.Tenant, changed by edit before it is stored, and returns it.
func (c *Cloud) AddApp(name string, edit func(*directory.Application)) (*directory.Application, *directory.ServicePrincipal) {
	c.T.Helper()
	a := &directory.Application{
		Tenant: c.Tenant.ID, ID: directory.ObjectID(directory.NewGUID()), AppID: directory.AppID(directory.NewGUID()),
		DisplayName: name, SignInAudience: "AzureADMyOrg", Created: c.Clock.Now(),
	}
	if edit != nil {
		edit(a)
	}
	sp := state.NewServicePrincipal(a.Tenant, a, c.Clock.Now())
	c.Update(func(tx *store.Tx) error {
		if err := state.Applications.Create(tx, a); err != nil {
			return err
		}
		return state.ServicePrincipals.Create(tx, sp)
	})
	return a, sp
}

// Secret returns a password credential for secret, good for a year.
func (c *Cloud) Secret(secret string) directory.Password {
	sum := sha256.Sum256([]byte(secret))
	now := c.Clock.Now()
	return directory.Password{KeyID: directory.NewGUID(), Hint: secret[:3], SHA256: sum[:], Start: now.Add(-time.Hour), End: now.AddDate(1, 0, 0)}
}

// Verify verifies an access token as the resource with the given names would,
// and returns its claims.
func (c *Cloud) Verify(text string, audiences ...string) *token.Claims {
	c.T.Helper()
	v := &token.Verifier{Keys: c.Trust, Audiences: audiences}
	claims, err := v.Verify(text, c.Clock.Now())
	if err != nil {
		c.T.Fatalf("verifying an access token: %v", err)
	}
	return claims
}

// Loopback is the address that requests come from.
var Loopback = netip.MustParseAddr("127.0.0.1")

// CertificatePin returns the hash by which Chromium can be told to trust the
// cloud's certificate.
func CertificatePin() string {
	sum := sha256.Sum256(certificate().Leaf.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
