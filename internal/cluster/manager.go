package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/cluster/proc"
	"github.com/entrance-id/entrance/internal/errs"
)

// Config is what a Manager needs.
type Config struct {
	// Dir holds everything about the clusters: certificates, keys, logs and
	// the etcd data. One Manager at a time uses it.
	Dir string
	// Binary is the path of entrance-kube. It is needed once a cluster is
	// started, not before.
	Binary string
	// AuthorityHost is the address of the identity provider in user
	// kubeconfigs, such as https://localhost:8443/.
	AuthorityHost string
	// WebhookClient issues the certificate by which a cluster's API server
	// proves itself to Entrance's webhooks. It is called with the
	// organization "azure" and the cluster's key, when a cluster is started
	// and before the certificate ends. It may be nil if no cluster has Entra.
	WebhookClient func(organization, commonName string) (*tls.Certificate, error)

	Clock clock.Clock
	Log   *slog.Logger
}

// WebhookOrganization is the organization in the certificate of an API server
// that calls the webhooks: the name of the provider that it wants, as guard
// has it.
const WebhookOrganization = "azure"

// Bounds on how long a child may take to stop before it is killed.
const (
	clientGrace    = 2 * time.Second // scheduler, controller manager, nodes
	apiserverGrace = 2500 * time.Millisecond
	// restartGrace is for an API server that is replaced while its clients
	// stay: their watches would hold it for a minute, whatever it is given.
	restartGrace = time.Second
	etcdGrace    = 3 * time.Second
)

// Manager runs the clusters of one directory.
type Manager struct {
	cfg      Config
	locks    *dirLocks
	lifeline *os.File // write end
	inherit  []*os.File

	cancel context.CancelFunc // ends the housekeeping
	wg     sync.WaitGroup

	portMu sync.Mutex    // held from the choice of a port until it is written down
	turns  chan struct{} // bounds how many control planes start at a time

	etcdMu sync.Mutex // held while etcd starts
	etcd   *sharedEtcd

	mu       sync.Mutex
	clusters map[string]*Cluster
	stopped  bool
}

// Open returns a Manager of the clusters in cfg.Dir. It starts no process. If
// another Manager uses the directory the error is a Conflict; children that a
// killed one has left are waited for.
func Open(ctx context.Context, cfg Config) (*Manager, error) {
	if cfg.Dir == "" || cfg.Clock == nil || cfg.Log == nil {
		return nil, errs.New(errs.Internal, "cluster.Open needs a directory, a clock and a log")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	if err := os.MkdirAll(filepath.Join(dir, "clusters"), 0o700); err != nil {
		return nil, err
	}
	locks, err := lockDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		locks.release()
		return nil, err
	}
	m := &Manager{
		cfg:      cfg,
		locks:    locks,
		lifeline: w,
		inherit:  []*os.File{r, locks.children}, // descriptors 3 and 4 of each child
		turns:    make(chan struct{}, max(2, runtime.NumCPU())),
		clusters: map[string]*Cluster{},
	}
	ctx, m.cancel = context.WithCancel(context.Background())
	m.wg.Go(func() { m.housekeeping(ctx) })
	return m, nil
}

// protocol is the agreement with entrance-kube; its main.go has the other half.
const (
	protocol     = "1"
	exitProtocol = 86
)

// start starts a sub-command of entrance-kube, the one that cmd is named after.
func (m *Manager) start(cmd proc.Command) (*proc.Child, error) {
	cmd.Path = m.cfg.Binary
	cmd.Args = append([]string{cmd.Name}, cmd.Args...)
	cmd.Files = m.inherit
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + cmd.Dir,
		"TMPDIR=" + os.TempDir(),
		"ENTRANCE_LIFELINE=3",
		"ENTRANCE_KUBE_PROTOCOL=" + protocol,
	}
	child, err := proc.Start(cmd, m.cfg.Clock, m.cfg.Log.With("dir", cmd.Dir))
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "%s could not be started.", cmd.Name)
	}
	return child, nil
}

func (m *Manager) checkBinary() error {
	st, err := os.Stat(m.cfg.Binary)
	switch {
	case m.cfg.Binary == "" || errors.Is(err, os.ErrNotExist):
		return errs.New(errs.Unavailable, "entrance-kube, which clusters are made of, is not at %q: run `make build`.", m.cfg.Binary)
	case err != nil:
		return errs.Wrap(errs.Unavailable, err, "entrance-kube at %q cannot be used: run `make build`.", m.cfg.Binary)
	case !st.Mode().IsRegular() || st.Mode()&0o111 == 0:
		return errs.New(errs.Unavailable, "%q is not a program: run `make build` to make entrance-kube.", m.cfg.Binary)
	}
	return nil
}

// givenUp returns an error when there is no use in waiting for a child: its
// binary is of another version, or it has ended by itself too often.
func (m *Manager) givenUp(child *proc.Child, failures int) error {
	st := child.Status()
	switch {
	case st.Failures > 0 && st.ExitCode == exitProtocol:
		return errs.New(errs.Unavailable, "entrance-kube at %q is of another version than this program: run `make build`.", m.cfg.Binary)
	case st.Failures >= failures:
		return errs.New(errs.Unavailable, "%s does not stay up (%s). The end of its log:\n%s", st.Name, st.LastExit, child.Tail(5))
	}
	return nil
}

// sharedEtcd returns the etcd of the clusters, which it starts if need be.
func (m *Manager) sharedEtcd(ctx context.Context) (*sharedEtcd, error) {
	m.etcdMu.Lock()
	defer m.etcdMu.Unlock()
	if m.etcd != nil {
		return m.etcd, nil
	}
	m.mu.Lock()
	stopped := m.stopped
	m.mu.Unlock()
	if stopped {
		return nil, errStopped
	}
	e, err := m.startEtcd(ctx, filepath.Join(m.cfg.Dir, "etcd"))
	if err != nil {
		return nil, err
	}
	m.etcd = e
	return e, nil
}

var errStopped = errs.New(errs.Unavailable, "The clusters are being stopped.")

// cluster returns the cluster of a key, which need not exist yet.
func (m *Manager) cluster(key string) (*Cluster, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil, errStopped
	}
	c := m.clusters[key]
	if c == nil {
		c = newCluster(m, key)
		m.clusters[key] = c
	}
	return c, nil
}

// Get returns a cluster that Load or Apply was called for, else NotFound.
func (m *Manager) Get(key string) (*Cluster, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.clusters[key]; c != nil {
		return c, nil
	}
	return nil, errs.New(errs.NotFound, "There is no cluster %q here.", key)
}

// List returns the clusters that Load or Apply was called for, by key.
func (m *Manager) List() []*Cluster {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*Cluster
	for _, key := range slices.Sorted(maps.Keys(m.clusters)) {
		out = append(out, m.clusters[key])
	}
	return out
}

// Load makes a cluster known, with its certificates, keys and port, and starts
// nothing: its kubeconfigs and keys can be read. It is how a stopped cluster
// is found again after a restart. A cluster that runs is left alone.
func (m *Manager) Load(ctx context.Context, spec Spec) (*Cluster, error) {
	return m.with(ctx, spec, (*Cluster).load)
}

// Apply makes a cluster be as spec says and waits until it is ready to use.
// Processes that the change does not concern go on running. If a cluster that
// was not running fails to get ready its processes are stopped again.
func (m *Manager) Apply(ctx context.Context, spec Spec) (*Cluster, error) {
	return m.with(ctx, spec, (*Cluster).apply)
}

func (m *Manager) with(ctx context.Context, spec Spec, do func(*Cluster, context.Context, Spec) error) (*Cluster, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	spec = spec.clone()
	for {
		c, err := m.cluster(spec.Key)
		if err != nil {
			return nil, err
		}
		if err := c.lock(ctx); err != nil {
			return nil, err
		}
		if c.deleted { // while we waited
			c.unlock()
			continue
		}
		err = do(c, ctx, spec)
		c.unlock()
		return c, err
	}
}

// Delete stops a cluster and removes all that there is of it. A cluster that
// does not exist is no error.
func (m *Manager) Delete(ctx context.Context, key string) error {
	if !keyRE.MatchString(key) {
		return errs.New(errs.Invalid, "The cluster key %q is not a DNS label.", key)
	}
	c, err := m.cluster(key)
	if err != nil {
		return err
	}
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	if c.deleted {
		return nil
	}
	c.stopChildren(nil)
	dir := c.layout.dir
	if _, err := os.Stat(dir); err == nil {
		e, err := m.sharedEtcd(ctx)
		if err != nil {
			return err
		}
		if err := e.forget(ctx, key); err != nil {
			return err
		}
		// Last, so that a Delete that was cut short can be repeated.
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	c.deleted = true
	m.mu.Lock()
	delete(m.clusters, key)
	m.mu.Unlock()
	return nil
}

// Stop stops all clusters, then etcd, and releases the directory. It takes a
// few seconds at most; an Apply that is under way fails.
func (m *Manager) Stop() {
	m.mu.Lock()
	if m.stopped {
		m.mu.Unlock()
		return
	}
	m.stopped = true
	all := slices.Collect(maps.Values(m.clusters))
	m.mu.Unlock()
	m.cancel()
	m.wg.Wait()

	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(c.Stop)
	}
	wg.Wait()
	m.etcdMu.Lock()
	defer m.etcdMu.Unlock()
	if m.etcd != nil {
		m.etcd.stop()
		m.etcd = nil
	}
	// Whatever might be left by a defect above loses its lifeline here.
	m.lifeline.Close()
	m.inherit[0].Close()
	m.locks.release()
}

// remember brings a cluster's state to what spec asks for and writes it.
func (m *Manager) remember(l layout, st *state, spec *Spec, now time.Time) error {
	m.portMu.Lock()
	defer m.portMu.Unlock()
	taken, err := takenPorts(filepath.Join(m.cfg.Dir, "clusters"))
	if err != nil {
		return err
	}
	if err := st.converge(l.keys(), spec, taken, now); err != nil {
		return err
	}
	return st.write(l.stateFile())
}

// turn waits until a control plane may start. A start keeps a core or two busy
// for seconds: many at once would only make all of them late.
func (m *Manager) turn(ctx context.Context) error {
	select {
	case m.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errs.Wrap(errs.Unavailable, context.Cause(ctx), "Other clusters are being started.")
	}
}

func (m *Manager) yield() { <-m.turns }

// Etcd returns how the shared etcd is doing.
func (m *Manager) Etcd() proc.Status {
	m.etcdMu.Lock()
	defer m.etcdMu.Unlock()
	if m.etcd == nil {
		return proc.Status{Name: etcdChild}
	}
	return m.etcd.child.Status()
}

// housekeeping does what is due with time: keys and issuers past their grace
// are dropped, client certificates renewed.
func (m *Manager) housekeeping(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range m.List() {
			if err := c.keepUp(ctx); err != nil && ctx.Err() == nil {
				m.cfg.Log.Warn("cluster could not be kept up to date", "cluster", c.key, "err", err)
			}
		}
	}
}
