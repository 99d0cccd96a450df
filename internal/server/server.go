// Package server is the only place where Entrance's parts are joined: the
// store, the identity provider, Microsoft Graph, Azure Resource Manager, the
// webhooks, the clusters, and the listeners on which they answer.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/keyring"
	"github.com/entrance-id/entrance/internal/pki"
	"github.com/entrance-id/entrance/internal/proxy"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/internal/version"
)

// Config says how a server is to run. The zero value of each field is safe.
type Config struct {
	// DataDir is where everything is kept. It belongs to one server at a time.
	DataDir string
	// Listen is the address of the listeners for sign-in, Graph and ARM and for
	// the webhooks: loopback unless told otherwise. HealthListen is that of health
	// and metrics. The others are always on loopback.
	Listen, HealthListen string
	Ports                Ports
	// BaseURL is the public address of sign-in, Graph and ARM, without a final
	// slash. Empty: https://localhost with the login listener's port.
	BaseURL string
	// Certificate and Key are files with a certificate for the names under which
	// others reach the two TLS listeners, and Authority holds what issued it.
	// They are read again when they change. Empty: there is only the certificate
	// that Entrance's own authority issues for this machine.
	Certificate, Key, Authority string
	// WebhookURL is the address at which API servers elsewhere reach the
	// webhooks. Empty: https://localhost with the listener's port.
	WebhookURL string
	// SealKeyFile holds the key that seals secrets in the store, 32 bytes. Empty:
	// it is in the data directory, and made if the directory is new.
	SealKeyFile string
	// EtcdEndpoints is an existing etcd cluster. Empty: the embedded one.
	EtcdEndpoints []string
	// EtcdTLS is for EtcdEndpoints.
	EtcdTLS *tls.Config
	// Sample makes a tenant with people, groups, a service principal and a
	// subscription if the store has no tenant.
	Sample bool
	// Cluster makes a first cluster together with the sample.
	Cluster bool
	// First is made if the store has no tenant. nil: nothing is.
	First *FirstTenant
	// NoClusters leaves the running of clusters to others: the store's clusters
	// are not started here, and none can be made.
	NoClusters bool
	// NoIMDS leaves out the managed identity endpoint, whose tokens every process
	// of the machine can get.
	NoIMDS bool
	// Proxy opens the interception proxy.
	Proxy bool
	// LegacyIntegration lets clusters be made with a server and a client
	// application of their own, which AKS has retired.
	LegacyIntegration bool
	// IssuerNetworks are networks in which OpenID Connect issuers may be although
	// no public one can: federated credentials, connected tenants and clusters'
	// further issuers are otherwise fetched from public addresses only.
	IssuerNetworks []netip.Prefix
	// KubeBinary is the path of entrance-kube.
	KubeBinary string

	Clock    clock.Clock       // nil: the system's
	Logger   *slog.Logger      // nil: no log
	Progress func(step string) // told what is being done, for a person who waits
	// UnsafeNoFsync makes the embedded etcd quick and forgetful. For tests.
	UnsafeNoFsync bool
}

// Server is a running server.
type Server struct {
	cfg     Config
	paths   Paths
	log     *slog.Logger
	clock   clock.Clock
	metrics *prometheus.Registry

	store    *store.Store
	ring     *keyring.Ring
	access   *access.Keeper
	clusters *cluster.Manager
	health   *health

	authority *pki.Authority // issues this machine's server certificates
	webhookCA *pki.Authority // issues the API servers' client certificates
	leaf      *certificate
	given     *givenCertificate // nil: there is none

	services  *services
	listeners []*listener
	login     *listener
	webhooks  *listener
	healthz   *listener
	imds      *listener
	proxy     *listener
	control   *http.Server

	stopOnce sync.Once
	stopped  chan struct{}
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

// Start opens the store, makes what is missing and returns when everything
// answers. An error leaves nothing running.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Listen == "" {
		cfg.Listen = loopback
	}
	if cfg.HealthListen == "" {
		cfg.HealthListen = loopback
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.Func(time.Now)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	s := &Server{
		cfg: cfg, paths: Paths{cfg.DataDir}, log: cfg.Logger, clock: cfg.Clock,
		metrics: prometheus.NewRegistry(), stopped: make(chan struct{}),
	}
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := s.start(ctx); err != nil {
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		s.Close(closeCtx)
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	if err := s.paths.prepare(); err != nil {
		return err
	}
	key, err := s.paths.sealKey(s.cfg.SealKeyFile)
	if err != nil {
		return err
	}
	s.cfg.Progress("opening the store")
	s.store, err = store.Open(ctx, store.Config{
		Dir: s.paths.Store(), Endpoints: s.cfg.EtcdEndpoints, TLS: s.cfg.EtcdTLS,
		SealKey: key, Logger: s.log, UnsafeNoFsync: s.cfg.UnsafeNoFsync,
	}, tables()...)
	if err != nil {
		return err
	}
	if err := checkClock(s.store, s.clock.Now()); err != nil {
		return err
	}
	now := s.clock.Now()
	if s.authority, err = authority(ctx, s.store, serverAuthority, confined(), now); err != nil {
		return err
	}
	if s.webhookCA, err = authority(ctx, s.store, webhookAuthority, pki.Constraints{}, now); err != nil {
		return err
	}
	if s.cfg.Certificate != "" {
		if s.given, err = newGivenCertificate(s.cfg, s.log); err != nil {
			return err
		}
	}
	if err := writeBundle(s.paths, s.trust()); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	s.ring = keyring.New(s.store, s.clock, token.DefaultPolicy, s.log)
	if s.access, err = access.New(s.store, s.clock, s.log); err != nil {
		return err
	}
	s.health.access.Store(s.access)
	s.clusters, err = cluster.Open(ctx, cluster.Config{
		Dir: s.paths.Clusters(), Binary: s.cfg.KubeBinary, AuthorityHost: s.baseURL() + "/",
		WebhookClient: func(organization, name string) (*tls.Certificate, error) {
			return s.webhookCA.Client(organization, name, s.clock.Now(), leafLife)
		},
		Clock: s.clock, Log: s.log,
	})
	if err != nil {
		return err
	}
	sample, err := s.bootstrap(ctx)
	if err != nil {
		return err
	}
	background, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wg.Go(func() { s.ring.Run(background) })
	s.wg.Go(func() { s.renewCertificates(background) })
	if err := s.ensureKeys(ctx); err != nil {
		return err
	}
	if s.services, err = s.compose(background); err != nil {
		return err
	}
	s.serve()
	if s.control, err = serveControl(s.paths, s.Status, s.requestStop, s.accessRoutes, s.connectRoutes, s.identityRoutes, s.tenantRoutes, s.recordRoutes, s.doctorRoutes); err != nil {
		return err
	}
	if err := s.startClusters(ctx, sample); err != nil {
		return err
	}
	s.wg.Go(func() { s.services.arm.Run(background) })
	s.wg.Go(func() { s.services.privileged.Run(background) })
	s.wg.Go(func() { s.services.connected.Run(background) })
	s.health.started.Store(true)
	return nil
}

// listen opens every listener, before anything is written that names a port.
func (s *Server) listen() error {
	s.leaf = &certificate{clock: s.clock, issue: func(now time.Time) (*tls.Certificate, error) {
		return s.authority.Server(append([]string{"localhost"}, proxy.Names...),
			[]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, now, leafLife)
	}}
	if err := s.leaf.renew(); err != nil {
		return err
	}
	loginTLS := tlsConfig(s.chooseCertificate)
	askDevices(loginTLS, s.store)
	pool, err := s.webhookCA.Pool()
	if err != nil {
		return err
	}
	webhookTLS := tlsConfig(s.chooseCertificate)
	webhookTLS.ClientAuth = tls.RequireAndVerifyClientCert
	webhookTLS.ClientCAs = pool

	s.health = newHealth(s.store, s.metrics)
	open := func(name, host string, port int, config *tls.Config, h http.Handler) (*listener, error) {
		l, err := listen(name, host, port, config, h, s.log)
		if err == nil {
			s.listeners = append(s.listeners, l)
		}
		return l, err
	}
	later := func(pick func(*services) http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pick(s.services).ServeHTTP(w, r) })
	}
	if s.login, err = open("sign-in, Graph and ARM", s.cfg.Listen, s.cfg.Ports.Login, loginTLS, later(func(v *services) http.Handler { return v.front })); err != nil {
		return err
	}
	if s.webhooks, err = open("webhooks", s.cfg.Listen, s.cfg.Ports.Webhooks, webhookTLS, later(func(v *services) http.Handler { return v.webhook })); err != nil {
		return err
	}
	if s.healthz, err = open("health and metrics", s.cfg.HealthListen, s.cfg.Ports.Health, nil, s.health); err != nil {
		return err
	}
	if !s.cfg.NoIMDS {
		if s.imds, err = open("managed identity", loopback, s.cfg.Ports.IMDS, nil, later(func(v *services) http.Handler { return v.imds })); err != nil {
			return err
		}
	}
	if s.cfg.Proxy {
		p := &proxy.Proxy{
			Dial: func(ctx context.Context) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", s.login.ln.Addr().String())
			},
			Logger: s.log,
		}
		if !s.cfg.NoIMDS {
			p.IMDS = later(func(v *services) http.Handler { return v.imds })
		}
		if s.proxy, err = open("proxy", loopback, s.cfg.Ports.Proxy, nil, p); err != nil {
			return err
		}
		// A tunnel lives as long as its two ends; the proxy bounds its silence.
		s.proxy.http.ReadTimeout, s.proxy.http.WriteTimeout = 0, 0
	}
	return nil
}

func (s *Server) serve() {
	for _, l := range s.listeners {
		l.serve(&s.wg, s.log)
	}
}

// baseURL is the public address of sign-in, Graph and ARM.
func (s *Server) baseURL() string {
	if s.cfg.BaseURL != "" {
		return strings.TrimSuffix(s.cfg.BaseURL, "/")
	}
	return fmt.Sprintf("https://localhost:%d", s.login.port())
}

// loopback is the address of this machine to itself.
const loopback = "127.0.0.1"

// publicWebhookURL is the address at which API servers elsewhere reach the
// webhooks.
func (s *Server) publicWebhookURL() string {
	if s.cfg.WebhookURL != "" {
		return strings.TrimSuffix(s.cfg.WebhookURL, "/")
	}
	return s.webhookURL()
}

// webhookURL is the address at which local clusters reach the webhooks.
func (s *Server) webhookURL() string { return fmt.Sprintf("https://localhost:%d", s.webhooks.port()) }

// ensureKeys makes the signing keys that are due, so that the first token need
// not wait for the housekeeping.
func (s *Server) ensureKeys(ctx context.Context) error {
	for t := range state.Tenants.All(s.store.View()) {
		if err := s.ring.Ensure(ctx, t.ID); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) renewCertificates(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.leaf.renew(); err != nil {
				s.log.Error("the listeners' certificate cannot be renewed", "error", err)
			}
		}
	}
}

// checkClock refuses to run with a clock that stands before what the store has
// already seen: tokens would be valid for longer than they say.
func checkClock(s *store.Store, now time.Time) error {
	const tolerance = 10 * time.Minute
	var newest time.Time
	for k := range state.SigningKeys.All(s.View()) {
		if k.Published.After(newest) {
			newest = k.Published
		}
	}
	if newest.Sub(now) > tolerance {
		return errs.New(errs.Invalid, "The clock of this machine is wrong: it says %s, but the store holds a signing key made at %s. Set the clock and start again.",
			now.UTC().Format(time.RFC3339), newest.UTC().Format(time.RFC3339))
	}
	return nil
}

// Status returns how the server is.
func (s *Server) Status() Status {
	v := s.store.View()
	st := Status{
		Version: version.String(), Ready: s.health.isReady(), PID: os.Getpid(),
		CAFile: absolute(s.paths.CA()), CredentialsFile: absolute(s.paths.Credentials()),
		Endpoints: Endpoints{
			Login: s.baseURL(), Graph: s.baseURL(), ARM: s.baseURL(),
			Webhooks: s.publicWebhookURL(),
			Health:   "http://" + s.healthz.address(),
		},
		Clusters: s.clusterStatus(v),
	}
	if s.imds != nil {
		st.Endpoints.IMDS = fmt.Sprintf("http://127.0.0.1:%d/metadata/identity/oauth2/token", s.imds.port())
	}
	if s.proxy != nil {
		st.Endpoints.Proxy = fmt.Sprintf("http://127.0.0.1:%d", s.proxy.port())
	}
	for t := range state.Tenants.All(v) {
		if st.TenantID == "" || t.HasDomain(sampleDomain) {
			st.TenantID = t.ID
		}
	}
	for sub := range state.Subscriptions.Where(v, "tenant", string(st.TenantID)) {
		if st.SubscriptionID == "" {
			st.SubscriptionID = sub.ID
		}
	}
	return st
}

func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}

// Stopped is closed when somebody asks, through the control socket, that the
// server stop.
func (s *Server) Stopped() <-chan struct{} { return s.stopped }

func (s *Server) requestStop() { s.stopOnce.Do(func() { close(s.stopped) }) }

// Store is the server's store, for tests in this process.
func (s *Server) Store() *store.Store { return s.store }

// Tenant returns the id of the sample tenant.
func (s *Server) Tenant() directory.TenantID { return s.Status().TenantID }

// Close stops everything: no new requests, then the clusters, then the store.
// It may be called after a Start that failed half-way.
func (s *Server) Close(ctx context.Context) error {
	s.requestStop()
	if s.health != nil {
		s.health.started.Store(false)
	}
	if s.clusters != nil {
		// While the webhooks still answer: an API server that stops asks them.
		s.clusters.Stop()
	}
	if s.cancel != nil {
		s.cancel()
	}
	var wg sync.WaitGroup
	for _, l := range s.listeners {
		wg.Go(func() { l.stop(ctx) })
	}
	wg.Wait()
	for _, l := range s.listeners {
		l.ln.Close() // those that never served
	}
	s.wg.Wait()
	var logsErr error
	if s.services != nil {
		logsErr = s.services.close()
	}
	if s.access != nil {
		s.access.Close()
	}
	if s.ring != nil {
		s.ring.Close()
	}
	err := logsErr
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	if s.control != nil {
		s.control.Close()
		os.Remove(s.paths.Control())
	}
	return err
}
