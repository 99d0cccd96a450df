package store

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store/etcd"
)

// Format is the version of the layout in etcd and in the data directory. A
// program opens only data of its own format.
const Format = 1

// Config says where the state is.
type Config struct {
	Dir       string       // data directory of the embedded etcd; used when Endpoints is empty
	Endpoints []string     // an existing etcd cluster, 3.5.13 or later
	TLS       *tls.Config  // for Endpoints
	Prefix    string       // of every key in etcd; default "/entrance/"
	SealKey   [32]byte     // AES-256-GCM key for sealed tables
	Logger    *slog.Logger // default: no logs

	// UnsafeNoFsync makes the embedded etcd quick and forgetful. For tests only.
	UnsafeNoFsync bool
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	log     *slog.Logger
	prefix  string
	tables  map[string]*table
	seal    *sealer // nil if no seal key was given
	client  *clientv3.Client
	server  *etcd.Server // nil with external etcd, and in a sibling
	sibling bool
	leases  *leasePool
	slow    chan struct{} // one at a time for transactions that keep conflicting

	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wctx   context.Context // that of the watch and of its progress requests
	wg     sync.WaitGroup

	view    atomic.Pointer[View]
	contact atomic.Int64 // time of the last proof that the view is current, in ns since opened
	opened  time.Time
	fault   atomic.Pointer[fault]

	applyMu sync.Mutex // held while a view is made and published
	mu      sync.Mutex // guards what follows
	waiters map[*waiter]struct{}
	subs    []*subscriber
	closed  bool
}

type fault struct {
	err   error
	fatal bool // only a restart helps
}

type waiter struct {
	rev  int64
	done chan struct{}
}

// timeouts of an Update, a Fresh or a read whose context has no deadline, and of
// an Open.
const (
	callTimeout = 10 * time.Second
	openTimeout = 60 * time.Second
)

// Open starts the embedded etcd or connects to an existing one, and returns when
// the view of the tables is loaded. A data directory that a running process
// owns, and an etcd that does not answer, are errs.Unavailable; a directory or
// an etcd with data of another format, a wrong seal key and a record that
// cannot be decoded are errs.Invalid or errs.Internal, and say what to do.
func Open(ctx context.Context, cfg Config, tables ...AnyTable) (*Store, error) {
	s, err := newStore(cfg, tables)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if len(cfg.Endpoints) > 0 {
		s.client, err = etcd.Dial(ctx, cfg.Endpoints, cfg.TLS, s.log)
	} else {
		s.server, err = etcd.Start(ctx, etcd.Config{
			Dir: cfg.Dir, Format: Format, NoFsync: cfg.UnsafeNoFsync, Logger: s.log, Fail: s.fail,
		})
		if err == nil {
			s.client = s.server.Client()
		}
	}
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Sibling opens a second store on the same etcd, with a view, subscribers and
// guards of its own, as another replica would have. It ends with s at the
// latest.
func (s *Store) Sibling(ctx context.Context, tables ...AnyTable) (*Store, error) {
	n, err := newStore(Config{Prefix: s.prefix, Logger: s.log}, tables)
	if err != nil {
		return nil, err
	}
	n.seal, n.client, n.sibling = s.seal, s.client, true
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := n.start(ctx); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func newStore(cfg Config, tables []AnyTable) (*Store, error) {
	s := &Store{
		log:     cfg.Logger,
		prefix:  cfg.Prefix,
		tables:  map[string]*table{guards.name: guards},
		slow:    make(chan struct{}, 1),
		waiters: map[*waiter]struct{}{},
		opened:  time.Now(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.prefix == "" {
		s.prefix = "/entrance/"
	}
	if !strings.HasSuffix(s.prefix, "/") {
		s.prefix += "/"
	}
	for _, t := range tables {
		c := t.core()
		if s.tables[c.name] != nil {
			return nil, errs.New(errs.Internal, "store: two tables are named %q", c.name)
		}
		s.tables[c.name] = c
	}
	if cfg.SealKey != [32]byte{} {
		var err error
		if s.seal, err = newSealer(cfg.SealKey); err != nil {
			return nil, err
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wctx = clientv3.WithRequireLeader(s.ctx)
	return s, nil
}

// start checks the format, loads the view and follows etcd from there.
func (s *Store) start(ctx context.Context) error {
	if s.seal == nil {
		for _, t := range s.tables {
			if t.sealed {
				return errs.New(errs.Invalid, "the store needs a seal key: table %s is sealed", t.name)
			}
		}
	}
	s.leases = newLeasePool(s.client)
	if err := s.checkFormat(ctx); err != nil {
		return err
	}
	if s.server != nil {
		// Whoever led before this process has died with the embedded server.
		if _, err := s.client.Delete(ctx, s.prefix+"lead/", clientv3.WithPrefix()); err != nil {
			return fromEtcd(err, "opening the store")
		}
	}
	asked := time.Now()
	if err := s.load(ctx); err != nil {
		return err
	}
	s.touch(asked)
	s.wg.Add(2)
	go s.follow()
	go s.heartbeat()
	return nil
}

// format is the value of the key that describes the data.
type format struct {
	Format  int    `json:"format"`
	SealKey string `json:"sealKey,omitempty"` // id of the key, not the key
}

func (s *Store) checkFormat(ctx context.Context) error {
	key := s.prefix + "format"
	for {
		resp, err := s.client.Get(ctx, key)
		if err != nil {
			return fromEtcd(err, "opening the store")
		}
		have, rev := format{Format: Format}, int64(0)
		if len(resp.Kvs) == 1 {
			rev = resp.Kvs[0].ModRevision
			if err := json.Unmarshal(resp.Kvs[0].Value, &have); err != nil || have.Format != Format {
				return errs.New(errs.Invalid, "the data in etcd under %s has format %d and this version reads format %d: start the version that wrote it, or choose another etcd prefix", s.prefix, have.Format, Format)
			}
		}
		want := have
		if s.seal != nil && have.SealKey == "" {
			want.SealKey = s.seal.id
		}
		if s.seal != nil && want.SealKey != s.seal.id {
			return errs.New(errs.Invalid, "the secrets in the store were sealed with another key (id %s, given %s): give the key file that belongs to this data", want.SealKey, s.seal.id)
		}
		if rev != 0 && want == have {
			return nil
		}
		val, err := json.Marshal(want)
		if err != nil {
			return errs.Wrap(errs.Internal, err, "format")
		}
		put, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", rev)).
			Then(clientv3.OpPut(key, string(val))).Commit()
		if err != nil {
			return fromEtcd(err, "opening the store")
		}
		if put.Succeeded {
			return nil
		}
	}
}

// Close ends the watch, waits for what runs, and stops the embedded etcd. It may
// be called more than once.
func (s *Store) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.cancel()
	if f := s.fault.Load(); f == nil || !f.fatal {
		s.wg.Wait() // what waits for a failed etcd may wait for ever
	}
	switch {
	case s.server != nil:
		return s.server.Close()
	case s.client != nil && !s.sibling:
		s.client.Close()
	}
	return nil
}

// View returns the newest snapshot. It never returns an older one than before.
func (s *Store) View() *View { return s.view.Load() }

// Health says how current the view is.
type Health struct {
	// Revision is the view's etcd revision.
	Revision int64
	// LastContact is the latest time of which it is proved that the view showed
	// everything committed before it. The proof, a linearizable read, is
	// renewed every second.
	LastContact time.Time
	// Ready is false when LastContact is older than StaleAfter, and when the
	// store has failed.
	Ready bool
	// Err says why the view stands still, if it is known.
	Err error
}

// StaleAfter is the age of LastContact at which a store is not Ready.
const StaleAfter = 5 * time.Second

// Health reports on the store. It costs nothing.
func (s *Store) Health() Health {
	h := Health{
		Revision:    s.View().rev,
		LastContact: s.opened.Add(time.Duration(s.contact.Load())),
	}
	if f := s.fault.Load(); f != nil {
		h.Err = f.err
	}
	h.Ready = h.Err == nil && time.Since(h.LastContact) < StaleAfter && s.ctx.Err() == nil
	return h
}

// touch notes that the view was current at t.
func (s *Store) touch(t time.Time) {
	ns := int64(t.Sub(s.opened))
	for {
		old := s.contact.Load()
		if ns <= old || s.contact.CompareAndSwap(old, ns) {
			return
		}
	}
}

// fail notes that the store cannot work again before a restart.
func (s *Store) fail(err error) {
	s.log.Error("the store has failed and must be started again", "error", err)
	s.fault.Store(&fault{err: err, fatal: true})
}

// alive returns an error if a call to etcd could only wait in vain.
func (s *Store) alive() error {
	if f := s.fault.Load(); f != nil && f.fatal {
		return errs.Wrap(errs.Unavailable, f.err, "The store has failed and must be started again.")
	}
	if s.ctx.Err() != nil {
		return errs.New(errs.Unavailable, "The store is closed.")
	}
	return nil
}

// Fresh returns when the view shows everything that was committed, by anyone,
// before the call.
func (s *Store) Fresh(ctx context.Context) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	if err := s.alive(); err != nil {
		return err
	}
	asked := time.Now()
	resp, err := s.client.Get(ctx, s.prefix+"format", clientv3.WithCountOnly())
	if err != nil {
		return fromEtcd(err, "asking for the current revision")
	}
	if err := s.wait(ctx, resp.Header.Revision); err != nil {
		return err
	}
	s.touch(asked)
	return nil
}

// Backup writes a snapshot of the whole etcd to w, which `etcdutl snapshot
// restore` understands. Sealed values stay sealed: the key is kept apart.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	if s.server != nil {
		return s.server.Backup(w)
	}
	r, err := s.client.Snapshot(ctx)
	if err != nil {
		return fromEtcd(err, "backup")
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return errs.Wrap(errs.Unavailable, err, "The backup is not complete.")
	}
	return nil
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// Keys in etcd, below the prefix:
//
//	t/TABLE/KEY    a record of a viewed table
//	d/TABLE/KEY    a record of a Direct table
//	c/TABLE/CLAIM  a claim; its value is the key of the record that holds it
//	lead/NAME/...  leader election
//	format         the format of all this
//
// Table names contain no slash, so the first one ends the name.

func (s *Store) recordKey(t *table, key string) string {
	if t.direct {
		return s.prefix + "d/" + t.name + "/" + key
	}
	return s.prefix + "t/" + t.name + "/" + key
}

func (s *Store) claimKey(t *table, claim string) string {
	if t.sealed {
		claim = s.seal.claimName(t, claim)
	}
	return s.prefix + "c/" + t.name + "/" + claim
}

// watched is the prefix of everything that the view shows.
func (s *Store) watched() string { return s.prefix + "t/" }

// parse splits the etcd key of a viewed record. The table is nil if this
// process does not know it.
func (s *Store) parse(ekey string) (*table, string) {
	name, key, ok := strings.Cut(strings.TrimPrefix(ekey, s.watched()), "/")
	t := s.tables[name]
	if !ok || t == nil || t.direct {
		return nil, ""
	}
	return t, key
}

// raw returns the value to store.
func (s *Store) raw(t *table, key string, plain []byte) string {
	if t.sealed {
		return string(s.seal.seal(t, key, plain))
	}
	return string(plain)
}

// entry decodes a stored value.
func (s *Store) entry(t *table, key string, stored []byte, rev, lease int64) (*entry, error) {
	if t.sealed {
		var err error
		if stored, err = s.seal.open(t, key, stored); err != nil {
			return nil, err
		}
	}
	v, err := t.decode(key, stored)
	if err != nil {
		return nil, err
	}
	return &entry{key: key, rev: rev, lease: lease, val: v}, nil
}

// fetch reads one record from etcd, linearizably; nil if there is none.
func (s *Store) fetch(ctx context.Context, t *table, key string) (*entry, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	if s.tables[t.name] != t {
		panic(fmt.Sprintf("store: table %s was not given to Open", t.name))
	}
	if err := s.alive(); err != nil {
		return nil, err
	}
	resp, err := s.client.Get(ctx, s.recordKey(t, key))
	if err != nil {
		return nil, fromEtcd(err, "reading "+t.name)
	}
	if len(resp.Kvs) == 0 {
		return nil, nil
	}
	kv := resp.Kvs[0]
	return s.entry(t, key, kv.Value, kv.ModRevision, kv.Lease)
}
