package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/cluster/proc"
	"github.com/entrance-id/entrance/internal/errs"
)

// readyTimeout bounds the wait for a control plane that is starting, on a
// machine that is busy with other things too.
const readyTimeout = 90 * time.Second

// State is how a cluster is doing.
type State string

const (
	Stopped  State = "Stopped"  // no process runs
	Starting State = "Starting" // Apply is under way
	Running  State = "Running"  // all processes run
	Degraded State = "Degraded" // a process has ended and is being started again
	Failed   State = "Failed"   // the last Apply failed
)

// Status is a cluster's state with its details.
type Status struct {
	State      State
	Err        error // why the last Apply failed
	Components []proc.Status
}

// Cluster is a cluster of a Manager.
type Cluster struct {
	m      *Manager
	key    string
	layout layout

	op      chan struct{}    // holds one token: who has it may change the cluster
	deleted bool             // guarded by op
	stop    func(error)      // guarded by mu; ends the Apply that is under way
	webhook *tls.Certificate // guarded by op; what the API server shows to the webhooks

	mu       sync.Mutex
	view     *view // nil until Load or Apply
	children map[string]running
	applying bool
	err      error
}

// view is a cluster as it was last prepared. It is never changed.
type view struct {
	spec  Spec
	state state
	certs certs
}

type running struct {
	child       *proc.Child
	fingerprint string
}

func newCluster(m *Manager, key string) *Cluster {
	return &Cluster{
		m: m, key: key,
		layout:   layout{filepath.Join(m.cfg.Dir, "clusters", key)},
		op:       make(chan struct{}, 1),
		children: map[string]running{},
	}
}

func (c *Cluster) lock(ctx context.Context) error {
	select {
	case c.op <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errs.Wrap(errs.Conflict, ctx.Err(), "Another operation on cluster %s is under way.", c.key)
	}
}

func (c *Cluster) unlock() { <-c.op }

// Key returns the key of the cluster's spec.
func (c *Cluster) Key() string { return c.key }

func (c *Cluster) current() (*view, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.view == nil {
		return nil, errs.New(errs.Unavailable, "Cluster %s is not prepared yet.", c.key)
	}
	return c.view, nil
}

// load prepares all files of a cluster that does not run. A running one has
// been prepared for the spec that it runs with.
func (c *Cluster) load(_ context.Context, spec Spec) error {
	c.mu.Lock()
	up := len(c.children) > 0
	c.mu.Unlock()
	if up {
		return nil
	}
	_, err := c.prepare(spec)
	return err
}

// prepare brings the cluster's directory to what spec asks for.
func (c *Cluster) prepare(spec Spec) (*view, error) {
	l := c.layout
	for _, d := range []string{l.conf(), l.pki(), l.keys(), l.logs(), l.work()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	now := c.m.cfg.Clock.Now()
	st, err := readState(l.stateFile())
	if err != nil {
		return nil, err
	}
	if err := c.m.remember(l, st, &spec, now); err != nil {
		return nil, err
	}
	crt, err := ensureCerts(l.pki(), spec.CertificateGeneration, spec.ServerNames, now)
	if err != nil {
		return nil, err
	}
	if spec.webhooks() {
		if err := c.renewWebhookCert(now); err != nil {
			return nil, err
		}
	}
	v := &view{spec: spec, state: *st, certs: crt}
	c.mu.Lock()
	c.view = v
	c.mu.Unlock()
	return v, nil
}

// renewWebhookCert gets the API server's client certificate at the first start
// in this process, since the authority may have changed, and when two thirds
// of its life are over.
func (c *Cluster) renewWebhookCert(now time.Time) error {
	if c.webhook != nil && now.Before(renewAt(c.webhook.Leaf)) {
		return nil
	}
	if c.m.cfg.WebhookClient == nil {
		return errs.New(errs.Internal, "cluster %s has webhooks, but nobody issues certificates for its webhooks", c.key)
	}
	cert, err := c.m.cfg.WebhookClient(WebhookOrganization, c.key)
	if err != nil {
		return errs.Wrap(errs.Internal, err, "issuing the webhook certificate of cluster %s", c.key)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return err
		}
	}
	if err := writeKeyPair(filepath.Join(c.layout.conf(), webhookCert), cert); err != nil {
		return err
	}
	c.webhook = cert
	return nil
}

func renewAt(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 3 * 2)
}

// apply is Apply for one cluster, under its lock.
func (c *Cluster) apply(ctx context.Context, spec Spec) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.applying, c.err, c.stop = true, nil, cancel
	fresh := len(c.children) == 0
	c.mu.Unlock()
	c.m.mu.Lock()
	if c.m.stopped {
		cancel(errStopped)
	}
	c.m.mu.Unlock()

	err := c.converge(ctx, spec)
	if err != nil && fresh {
		c.stopChildren(nil)
	}
	c.mu.Lock()
	c.applying, c.err, c.stop = false, err, nil
	c.mu.Unlock()
	return err
}

func (c *Cluster) converge(ctx context.Context, spec Spec) error {
	begin := time.Now()
	var etcd *sharedEtcd
	var etcdErr error
	var wg sync.WaitGroup
	wg.Go(func() { etcd, etcdErr = c.m.sharedEtcd(ctx) })
	v, err := c.prepare(spec) // which may make an RSA key meanwhile
	wg.Wait()
	if err := cmp.Or(etcdErr, err); err != nil {
		return err
	}
	p, err := makePlan(&v.spec, &v.state, v.certs, c.layout, etcd.access)
	if err != nil {
		return err
	}
	for name, data := range p.files {
		if err := writeFile(filepath.Join(c.layout.conf(), name), data); err != nil {
			return err
		}
	}
	stale := map[string]bool{}
	for _, comp := range p.components {
		if c.running(comp.name).fingerprint != p.fingerprint(comp) {
			stale[comp.name] = true
		}
	}
	c.stopChildren(stale)
	if stale[apiserver] {
		if err := c.m.turn(ctx); err != nil {
			return err
		}
		defer c.m.yield()
	}

	// The API server first, the others once it is ready: that is faster than
	// letting them try in vain on the same cores.
	if err := c.startChild(p, p.components[0], stale); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	rest := restConfig(v)
	if err := c.waitReady(ctx, v, rest); err != nil {
		return err
	}
	for _, comp := range p.components[1:] {
		if err := c.startChild(p, comp, stale); err != nil {
			return err
		}
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	if err := ensureObjects(ctx, client, &v.spec); err != nil {
		return errs.Wrap(errs.Unavailable, err, "The objects of cluster %s could not be made.", c.key)
	}
	if err := waitUsable(ctx, client, &v.spec, c.broken); err != nil {
		return errs.Wrap(errs.Unavailable, err, "Cluster %s did not become usable.", c.key)
	}
	c.m.cfg.Log.Debug("cluster is ready", "cluster", c.key, "after", time.Since(begin).Round(time.Millisecond), "started", len(stale))
	return c.clean(v)
}

// clean removes the files of former generations.
func (c *Cluster) clean(v *view) error {
	entries, err := os.ReadDir(c.layout.pki())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != strconv.Itoa(v.spec.CertificateGeneration) {
			if err := os.RemoveAll(filepath.Join(c.layout.pki(), e.Name())); err != nil {
				return err
			}
		}
	}
	return v.state.removeUnused(c.layout.keys())
}

// broken returns an error when a component does not stay up.
func (c *Cluster) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.children {
		if err := c.m.givenUp(r.child, 4); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) running(name string) running {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.children[name]
}

func (c *Cluster) startChild(p *plan, comp component, stale map[string]bool) error {
	if !stale[comp.name] {
		return nil
	}
	if comp.name == apiserver {
		c.mu.Lock()
		port := c.view.state.Port
		c.mu.Unlock()
		if err := portFree(port); err != nil {
			return errs.Wrap(errs.Conflict, err, "Port %d on 127.0.0.1, which cluster %s has, is taken by another program. End that program, or delete the cluster.", port, c.key)
		}
	}
	child, err := c.m.start(proc.Command{
		Name: comp.name,
		Args: comp.args,
		Dir:  c.layout.work(),
		Log:  filepath.Join(c.layout.logs(), comp.name+".log"),
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.children[comp.name] = running{child, p.fingerprint(comp)}
	c.mu.Unlock()
	return nil
}

// stopChildren stops the named components, or all if names is nil: first the
// API server's clients, side by side, then the API server.
func (c *Cluster) stopChildren(names map[string]bool) {
	take := func(server bool) []*proc.Child {
		c.mu.Lock()
		defer c.mu.Unlock()
		var out []*proc.Child
		for name, r := range c.children {
			if (name == apiserver) == server && (names == nil || names[name]) {
				out = append(out, r.child)
				delete(c.children, name)
			}
		}
		return out
	}
	var wg sync.WaitGroup
	for _, child := range take(false) {
		wg.Go(func() { child.Stop(clientGrace) })
	}
	wg.Wait()
	grace := apiserverGrace
	c.mu.Lock()
	if len(c.children) > 1 {
		grace = restartGrace
	}
	c.mu.Unlock()
	for _, child := range take(true) {
		child.Stop(grace)
	}
}

// waitReady waits until the API server is up: its process has not changed
// while /readyz answered under the certificates of this generation.
func (c *Cluster) waitReady(ctx context.Context, v *view, config *rest.Config) error {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	child := c.running(apiserver).child
	for {
		before := child.Status()
		err := probe(ctx, client, config.Host+"/readyz")
		if after := child.Status(); err == nil && after.Running && after.PID == before.PID {
			return nil
		}
		if failed := c.m.givenUp(child, 3); failed != nil {
			return failed
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); errs.Is(cause, errs.Unavailable) {
				return cause
			}
			return errs.Wrap(errs.Unavailable, err, "The API server of cluster %s did not get ready. The end of its log:\n%s", c.key, child.Tail(5))
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func probe(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return nil
}

// Stop stops the cluster's processes and keeps its data; Apply starts it
// again. An Apply that is under way fails.
func (c *Cluster) Stop() {
	c.mu.Lock()
	if c.stop != nil {
		c.stop(errs.New(errs.Unavailable, "Cluster %s was stopped while it started.", c.key))
	}
	c.mu.Unlock()
	_ = c.lock(context.Background())
	defer c.unlock()
	c.stopChildren(nil)
	c.mu.Lock()
	c.err = nil
	c.mu.Unlock()
}

// keepUp does what time has made due.
func (c *Cluster) keepUp(ctx context.Context) error {
	select {
	case c.op <- struct{}{}:
	default:
		return nil // it is being changed; the next round will do
	}
	defer c.unlock()
	c.mu.Lock()
	v, up := c.view, len(c.children) > 0
	c.mu.Unlock()
	if v == nil || !up || c.deleted {
		return nil
	}
	now := c.m.cfg.Clock.Now()
	if v.spec.webhooks() {
		if err := c.renewWebhookCert(now); err != nil {
			return err
		}
	}
	st := v.state
	st.SigningKeys, st.PastIssuers = slices.Clone(st.SigningKeys), slices.Clone(st.PastIssuers)
	if !st.prune(now) {
		return nil
	}
	return c.apply(ctx, v.spec)
}

// Status returns how the cluster is doing.
func (c *Cluster) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Status{Err: c.err}
	all := true
	for _, name := range []string{apiserver, kcm, scheduler, nodesChild} {
		if r, ok := c.children[name]; ok {
			s := r.child.Status()
			st.Components = append(st.Components, s)
			all = all && s.Running
		}
	}
	switch {
	case c.applying:
		st.State = Starting
	case c.err != nil:
		st.State = Failed
	case len(st.Components) == 0:
		st.State = Stopped
	case !all:
		st.State = Degraded
	default:
		st.State = Running
	}
	return st
}

// Server returns the address of the API server.
func (c *Cluster) Server() (string, error) {
	v, err := c.current()
	if err != nil {
		return "", err
	}
	return serverURL(v.state.Port), nil
}

// CA returns the certificate of the cluster's authority in PEM form.
func (c *Cluster) CA() ([]byte, error) {
	v, err := c.current()
	if err != nil {
		return nil, err
	}
	return slices.Clone(v.certs.ca), nil
}

// JWKS returns the public keys of service account tokens as a JSON Web Key
// Set: the one that signs, and former ones in their grace.
func (c *Cluster) JWKS() ([]byte, error) {
	v, err := c.current()
	if err != nil {
		return nil, err
	}
	return v.state.jwks(c.layout.keys())
}

// RESTConfig returns a client-go configuration with every right on the cluster.
func (c *Cluster) RESTConfig() (*rest.Config, error) {
	v, err := c.current()
	if err != nil {
		return nil, err
	}
	return restConfig(v), nil
}

func restConfig(v *view) *rest.Config {
	return &rest.Config{
		Host: serverURL(v.state.Port),
		TLSClientConfig: rest.TLSClientConfig{
			CAData:   v.certs.ca,
			CertFile: v.certs.path("entrance.crt"),
			KeyFile:  v.certs.path("entrance.key"),
		},
		// The environment's proxy is for the outside.
		Proxy:     http.ProxyURL(nil),
		UserAgent: "entrance",
		QPS:       -1,
	}
}
