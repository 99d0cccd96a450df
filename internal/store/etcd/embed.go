// Package etcd runs an etcd server inside this process, or connects to one that
// runs elsewhere, and gives both as the same client.
package etcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/entrance-id/entrance/internal/errs"
)

// Server is an etcd server inside this process. It has no listener at all: the
// client calls it directly, so there is nothing for another user or another
// program of the machine to connect to.
type Server struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	lock   *flock.Flock
	quiet  *atomic.Bool
	failed <-chan struct{} // closed when etcd has stopped by itself
}

// Files of a data directory.
const (
	lockFile   = "store.lock" // held while a process has the directory open; contains its process id
	formatFile = "store.format"
	etcdDir    = "etcd"
)

const (
	maxTxnOps       = 20_000
	maxRequestBytes = 10 << 20
	quotaBytes      = 8 << 30
)

var setSegmentSize = sync.OnceFunc(func() {
	// etcd allocates each segment of its log in full, two at a time. Its 64 MB
	// suit a cluster's members; here it is the size of an empty data directory.
	wal.SegmentSizeBytes = 8 << 20
})

// Config describes an embedded server.
type Config struct {
	Dir     string // data directory, which belongs to one process at a time
	Format  int    // version of the data; a directory of another is refused
	NoFsync bool   // quick and forgetful, for tests
	Logger  *slog.Logger
	Fail    func(error) // called if the server stops by itself, as when the disk is full
}

// Start returns a server that answers. It takes the directory for this process.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	if cfg.Dir == "" {
		return nil, errs.New(errs.Invalid, "the store needs a data directory or the endpoints of an etcd cluster")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "data directory %s", cfg.Dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "the data directory %s cannot be made", dir)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Unlock()
		}
	}()
	if err := checkDirFormat(dir, cfg.Format); err != nil {
		return nil, err
	}
	if err := discardUnborn(filepath.Join(dir, etcdDir)); err != nil {
		return nil, err
	}
	setSegmentSize()
	var once sync.Once
	failed := make(chan struct{})
	zl, quiet := zapLogger(cfg.Logger, func(err error) {
		cfg.Fail(err)
		once.Do(func() { close(failed) })
	})
	// Starting and stopping, etcd warns of what is meant to be as it is.
	quiet.Store(true)

	ec := embed.NewConfig()
	ec.Name = "entrance"
	ec.Dir = filepath.Join(dir, etcdDir)
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zl)
	ec.LogLevel = "warn"
	// No listeners. The addresses below only name the one member.
	ec.ListenPeerUrls, ec.ListenClientUrls = nil, nil
	ec.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:2380"}}
	ec.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: "localhost:2379"}}
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	ec.EnableGRPCGateway = false
	// One member elects itself; short ticks make the start quick and allow
	// leases of a second.
	ec.TickMs, ec.ElectionMs = 25, 250
	if cfg.NoFsync {
		ec.TickMs, ec.ElectionMs = 10, 50
	}
	ec.UnsafeNoFsync = cfg.NoFsync
	ec.MaxTxnOps = maxTxnOps
	ec.MaxRequestBytes = maxRequestBytes
	ec.QuotaBackendBytes = quotaBytes
	ec.AutoCompactionMode = embed.CompactorModePeriodic
	ec.AutoCompactionRetention = "10m"
	ec.BootstrapDefragThresholdMegabytes = 64
	// Entries are kept in memory for followers that lag. There are none.
	ec.SnapshotCount = 5000
	ec.SnapshotCatchUpEntries = 100

	e, err := embed.StartEtcd(ec)
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "the embedded etcd in %s does not start", dir)
	}
	select {
	case <-e.Server.ReadyNotify():
	case <-failed:
		return nil, errs.New(errs.Unavailable, "the embedded etcd in %s has stopped while starting; the log says why", dir)
	case <-ctx.Done():
		e.Close()
		return nil, errs.Wrap(errs.Unavailable, ctx.Err(), "the embedded etcd in %s does not become ready", dir)
	}
	quiet.Store(false)
	client := v3client.New(e.Server)
	client.KV = clientv3.NewKVFromKVClient(&directKV{
		inner:  adapter.KvServerToKvClient(v3rpc.NewQuotaKVServer(e.Server)),
		failed: failed,
	}, client)
	return &Server{etcd: e, client: client, lock: lock, quiet: quiet, failed: failed}, nil
}

// directKV lets a call to the server in this process end when its context does,
// or when the server has failed. Over a network that goes without saying; a
// plain function call may wait for a lock that a failed server never releases.
type directKV struct {
	inner  pb.KVClient
	failed <-chan struct{}
}

func direct[Req, Resp any](kv *directKV, ctx context.Context, req Req, call func(context.Context, Req, ...grpc.CallOption) (Resp, error)) (Resp, error) {
	type result struct {
		resp Resp
		err  error
	}
	ch := make(chan result, 1)
	go func() {
		resp, err := call(ctx, req)
		ch <- result{resp, err}
	}()
	var none Resp
	select {
	case r := <-ch:
		return r.resp, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-kv.failed:
		return none, rpctypes.ErrStopped
	}
}

func (kv *directKV) Range(ctx context.Context, in *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	return direct(kv, ctx, in, kv.inner.Range)
}

func (kv *directKV) Put(ctx context.Context, in *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	return direct(kv, ctx, in, kv.inner.Put)
}

func (kv *directKV) DeleteRange(ctx context.Context, in *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return direct(kv, ctx, in, kv.inner.DeleteRange)
}

func (kv *directKV) Txn(ctx context.Context, in *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	return direct(kv, ctx, in, kv.inner.Txn)
}

func (kv *directKV) Compact(ctx context.Context, in *pb.CompactionRequest, _ ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return direct(kv, ctx, in, kv.inner.Compact)
}

// Client returns the client of the server, which ends with it.
func (e *Server) Client() *clientv3.Client { return e.client }

// Backup writes what Maintenance.Snapshot of a remote server would: the database
// and its checksum. (Over the direct client that call ends in an error.)
func (e *Server) Backup(w io.Writer) error {
	snap := e.etcd.Server.Backend().Snapshot()
	defer snap.Close()
	sum := sha256.New()
	if _, err := snap.WriteTo(io.MultiWriter(w, sum)); err != nil {
		return errs.Wrap(errs.Unavailable, err, "The backup is not complete.")
	}
	if _, err := w.Write(sum.Sum(nil)); err != nil {
		return errs.Wrap(errs.Unavailable, err, "The backup is not complete.")
	}
	return nil
}

// Close stops the client and the server. A server that has failed may never finish stopping, and
// is left to the end of the process.
func (e *Server) Close() error {
	e.quiet.Store(true)
	e.client.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.etcd.Close()
	}()
	limit := 30 * time.Second
	select {
	case <-e.failed:
		limit = time.Second
	default:
	}
	select {
	case <-done:
		return e.lock.Unlock()
	case <-time.After(limit):
		return errs.New(errs.Unavailable, "the embedded etcd does not stop")
	}
}

// lockDir takes the directory for this process.
func lockDir(dir string) (*flock.Flock, error) {
	path := filepath.Join(dir, lockFile)
	lock := flock.New(path, flock.SetPermissions(0o600), flock.SetFlag(os.O_CREATE|os.O_RDWR))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "the data directory %s cannot be locked", dir)
	}
	if !ok {
		who := ""
		if b, err := os.ReadFile(path); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				who = fmt.Sprintf(" (process %d)", pid)
			}
		}
		return nil, errs.New(errs.Unavailable, "the data directory %s is owned by a running instance%s: stop that one first, or choose another directory", dir, who)
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		lock.Unlock()
		return nil, errs.Wrap(errs.Unavailable, err, "the data directory %s cannot be written to", dir)
	}
	return lock, nil
}

// checkDirFormat refuses a directory of another format, and marks a new one.
func checkDirFormat(dir string, format int) error {
	path := filepath.Join(dir, formatFile)
	want := fmt.Sprintf("entrance store %d\n", format)
	b, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(b, []byte(want)):
		return nil
	case err == nil:
		return errs.New(errs.Invalid, "the data directory %s says %q and this version reads %q: start the version that wrote it, or choose another directory", dir, strings.TrimSpace(firstLine(b)), strings.TrimSpace(want))
	case !errors.Is(err, fs.ErrNotExist):
		return errs.Wrap(errs.Unavailable, err, "the data directory %s cannot be read", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, etcdDir)); err == nil {
		return errs.New(errs.Invalid, "the data directory %s holds an etcd that this program did not make (%s is missing): choose another directory", dir, formatFile)
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.WriteString(want)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "the data directory %s cannot be written to", dir)
	}
	return nil
}

// discardUnborn removes an etcd that was killed at its first start, after it had
// made its log and before it had written who its members are. Such a one has
// never answered anybody, and would wait for a leader for ever.
func discardUnborn(dir string) error {
	logs := filepath.Join(dir, "member", "wal")
	segments, err := filepath.Glob(filepath.Join(logs, "*.wal"))
	if err != nil || len(segments) != 1 {
		return err // none yet, or a long life
	}
	snapshots, err := filepath.Glob(filepath.Join(dir, "member", "snap", "*.snap"))
	if err != nil || len(snapshots) > 0 {
		return err
	}
	w, err := wal.OpenForRead(zap.NewNop(), logs, walpb.Snapshot{})
	if err != nil {
		return nil // etcd has more to say of it
	}
	defer w.Close()
	_, state, entries, err := w.ReadAll()
	if err != nil || len(entries) > 0 || state.Term != 0 || state.Commit != 0 {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return errs.Wrap(errs.Unavailable, err, "the unfinished store in %s cannot be removed", dir)
	}
	return nil
}

func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(b[:min(len(b), 80)], []byte("\n"))
	return string(line)
}
