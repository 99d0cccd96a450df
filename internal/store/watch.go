package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-memdb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/entrance-id/entrance/internal/errs"
)

// Change is the net change of one record between two views. Old is nil if the
// record is new, New if it is gone; otherwise they are the *T of its table.
type Change struct {
	Table, Key string
	Deleted    bool
	Old, New   any
}

type subscriber struct{ fn func(*View, []Change) }

// Subscribe has fn called for each new view that differs from the one before,
// with the changes between the two, in revision order and one call at a time.
// The view is published, and those who wait for its revision are released, only
// when fn has returned: what fn derives is never older than View, nor than an
// Update that has returned. So fn must be quick, and must not call Update,
// Fresh or Follow. After cancel no new call begins.
func (s *Store) Subscribe(fn func(v *View, changes []Change)) (cancel func()) {
	sub := &subscriber{fn}
	s.mu.Lock()
	s.subs = append(s.subs, sub)
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.subs = slices.DeleteFunc(slices.Clone(s.subs), func(x *subscriber) bool { return x == sub })
	}
}

// Follow is Subscribe with a first call, before it returns, that has the current
// view and nil changes: nothing is missed between the two.
func (s *Store) Follow(fn func(v *View, changes []Change)) (cancel func()) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	fn(s.View(), nil)
	return s.Subscribe(fn)
}

// publish makes next the current view. The caller holds applyMu.
func (s *Store) publish(next *View, changes []Change) {
	if len(changes) > 0 {
		s.mu.Lock()
		subs := s.subs
		s.mu.Unlock()
		for _, sub := range subs {
			sub.fn(next, changes)
		}
	}
	s.view.Store(next)
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.waiters {
		if w.rev <= next.rev {
			close(w.done)
			delete(s.waiters, w)
		}
	}
}

// wait returns when the view has reached rev.
func (s *Store) wait(ctx context.Context, rev int64) error {
	if s.View().rev >= rev {
		return nil
	}
	w := &waiter{rev: rev, done: make(chan struct{})}
	s.mu.Lock()
	s.waiters[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiters, w)
		s.mu.Unlock()
	}()
	if s.View().rev >= rev { // it may have come before the waiter was there
		return nil
	}
	// The revision may have touched nothing that is watched. Then only a
	// progress notification tells; etcd sends none while the watch is behind,
	// so it is asked again.
	pause := 500 * time.Microsecond
	t := time.NewTimer(pause)
	defer t.Stop()
	for {
		select {
		case <-w.done:
			return nil
		case <-t.C:
			s.requestProgress()
			pause = min(2*pause, 50*time.Millisecond)
			t.Reset(pause)
		case <-s.ctx.Done():
			return errs.New(errs.Unavailable, "The store is closed.")
		case <-ctx.Done():
			if f := s.fault.Load(); f != nil {
				return errs.Wrap(errs.Unavailable, f.err, "The view stands still at revision %d.", s.View().rev)
			}
			return errs.Wrap(errs.Unavailable, ctx.Err(), "The view has not reached revision %d.", rev)
		}
	}
}

func (s *Store) requestProgress() {
	ctx, cancel := context.WithTimeout(s.wctx, time.Second)
	defer cancel()
	// An error shows soon enough: as the lack of progress.
	_ = s.client.RequestProgress(ctx)
}

// heartbeat proves every second that the view is current, or lets it age.
func (s *Store) heartbeat() {
	defer s.wg.Done()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
			ctx, cancel := context.WithTimeout(s.ctx, 3*time.Second)
			if err := s.Fresh(ctx); err != nil && s.ctx.Err() == nil {
				s.log.Warn("the view may be out of date", "revision", s.View().rev, "error", err)
			}
			cancel()
		}
	}
}

// follow keeps the view up to date until the store is closed.
func (s *Store) follow() {
	defer s.wg.Done()
	const least, most = 50 * time.Millisecond, 5 * time.Second
	pause := least
	reload := false
	for s.ctx.Err() == nil {
		var err error
		started := s.View().rev
		if reload {
			ctx, cancel := context.WithTimeout(s.ctx, openTimeout)
			err = s.load(ctx)
			cancel()
			reload = err != nil
		}
		if err == nil {
			err = s.watch()
		}
		if s.ctx.Err() != nil {
			return
		}
		var rec *recordError
		switch {
		case errors.Is(err, rpctypes.ErrCompacted):
			s.log.Info("etcd has compacted past the view, loading it again", "revision", s.View().rev)
			reload = true
		case errors.As(err, &rec):
			reload = true
			s.setFault(err)
			s.log.Error("the view stands still: a record cannot be used", "key", rec.key, "error", rec.err, "revision", s.View().rev)
		default:
			s.log.Warn("the watch on etcd was lost", "revision", s.View().rev, "error", err)
		}
		if s.View().rev > started {
			pause = least
		}
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
		pause = min(2*pause, most)
	}
}

// setFault notes why the view stands still; a fatal fault stays.
func (s *Store) setFault(err error) {
	if f := s.fault.Load(); f != nil && f.fatal {
		return
	}
	if err == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&fault{err: err})
}

// recordError says which record could not be used.
type recordError struct {
	key string
	err error
}

func (e *recordError) Error() string { return fmt.Sprintf("etcd key %s: %v", e.key, e.err) }
func (e *recordError) Unwrap() error { return e.err }

// watch applies changes from the view's revision on until it is lost.
func (s *Store) watch() error {
	ctx, cancel := context.WithCancel(s.wctx)
	defer cancel()
	ch := s.client.Watch(ctx, s.watched(), clientv3.WithPrefix(), clientv3.WithRev(s.View().rev+1))
	for resp := range ch {
		if err := resp.Err(); err != nil {
			return err
		}
		if resp.IsProgressNotify() {
			// Everything up to this revision has been delivered before it.
			s.applyMu.Lock()
			if v := s.View(); resp.Header.Revision > v.rev {
				s.publish(&View{rev: resp.Header.Revision, db: v.db}, nil)
			}
			s.applyMu.Unlock()
			continue
		}
		if len(resp.Events) == 0 {
			continue
		}
		if err := s.apply(resp.Events); err != nil {
			return err
		}
	}
	return errors.New("the watch ended")
}

// apply makes the next view out of events, which hold whole revisions in order.
func (s *Store) apply(events []*clientv3.Event) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	cur := s.View()
	rev := events[len(events)-1].Kv.ModRevision
	if rev <= cur.rev {
		return nil
	}
	// Of several events of one key only the last counts.
	last := make(map[string]*clientv3.Event, len(events))
	order := make([]string, 0, len(events))
	for _, ev := range events {
		k := string(ev.Kv.Key)
		if last[k] == nil {
			order = append(order, k)
		}
		last[k] = ev
	}
	// A snapshot that is written to stands for itself: the current view does
	// not see it, and nothing needs to be tracked for memdb's own watches.
	db := cur.db.Snapshot()
	txn := db.Txn(true)
	defer txn.Abort()
	var changes []Change
	for _, k := range order {
		ev := last[k]
		t, key := s.parse(k)
		if t == nil {
			continue
		}
		var e *entry
		if ev.Type != mvccpb.DELETE {
			var err error
			if e, err = s.entry(t, key, ev.Kv.Value, ev.Kv.ModRevision, ev.Kv.Lease); err != nil {
				return &recordError{k, err}
			}
		}
		old, err := cur.get(t, key)
		if err != nil {
			return err
		}
		ch, err := replace(txn, t, key, old, e)
		if err != nil {
			return &recordError{k, err}
		}
		if t != guards && (old != nil || e != nil) {
			changes = append(changes, ch)
		}
	}
	txn.Commit()
	s.publish(&View{rev: rev, db: db}, changes)
	return nil
}

// replace puts e in the place of old; either may be nil.
func replace(txn *memdb.Txn, t *table, key string, old, e *entry) (Change, error) {
	ch := Change{Table: t.name, Key: key}
	if old != nil {
		ch.Old = old.val
	}
	if e != nil {
		ch.New = e.val
		return ch, txn.Insert(t.name, e)
	}
	ch.Deleted = true
	if old == nil {
		return ch, nil
	}
	return ch, txn.Delete(t.name, old)
}

// loadPage is how many records are asked of etcd at a time.
const loadPage = 5000

// load reads all viewed records at one revision and makes that the view. A
// current view is left in one step; what has not changed in between is kept.
func (s *Store) load(ctx context.Context) error {
	for {
		err := s.loadOnce(ctx)
		// A compaction may overtake the pages; then they are read again.
		if !errors.Is(err, rpctypes.ErrCompacted) || ctx.Err() != nil {
			return err
		}
	}
}

func (s *Store) loadOnce(ctx context.Context) error {
	cur := s.View()
	db, err := newDB(s.tables)
	if err != nil {
		return errs.Wrap(errs.Internal, err, "store: tables")
	}
	db = db.Snapshot() // see apply
	txn := db.Txn(true)
	defer txn.Abort()

	from, end := s.watched(), clientv3.GetPrefixRangeEnd(s.watched())
	rev := int64(0)
	var changes []Change
	for {
		resp, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(rev), clientv3.WithLimit(loadPage))
		if err != nil {
			if errors.Is(err, rpctypes.ErrCompacted) {
				return err
			}
			return fromEtcd(err, "loading the view")
		}
		if rev == 0 {
			rev = resp.Header.Revision
			if cur != nil && rev < cur.rev {
				return errs.New(errs.Unavailable, "etcd is at revision %d and the view has seen %d: etcd was restored from an older backup; start this process again", rev, cur.rev)
			}
		}
		entries, err := s.decodeAll(cur, resp.Kvs)
		if err != nil {
			return err
		}
		for i, e := range entries {
			if e == nil {
				continue
			}
			t, key := s.parse(string(resp.Kvs[i].Key))
			if err := txn.Insert(t.name, e); err != nil {
				return &recordError{string(resp.Kvs[i].Key), err}
			}
			if cur == nil || t == guards {
				continue
			}
			if old, _ := cur.get(t, key); old == nil {
				changes = append(changes, Change{Table: t.name, Key: key, New: e.val})
			} else if old.rev != e.rev {
				changes = append(changes, Change{Table: t.name, Key: key, Old: old.val, New: e.val})
			}
		}
		if !resp.More {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	txn.Commit()
	next := &View{rev: rev, db: db}
	if cur != nil {
		for _, t := range s.tables {
			if t.direct || t == guards {
				continue
			}
			for old := range cur.scan(t, "", "", true) {
				if e, _ := next.get(t, old.key); e == nil {
					changes = append(changes, Change{Table: t.name, Key: old.key, Deleted: true, Old: old.val})
				}
			}
		}
	}
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.publish(next, changes)
	s.setFault(nil)
	return nil
}

// decodeAll decodes a page on all processors, and takes from cur what it has.
func (s *Store) decodeAll(cur *View, kvs []*mvccpb.KeyValue) ([]*entry, error) {
	out := make([]*entry, len(kvs))
	errors := make([]error, runtime.GOMAXPROCS(0))
	part := len(kvs)/len(errors) + 1
	var wg sync.WaitGroup
	for w := range errors {
		lo := min(w*part, len(kvs))
		hi := min(lo+part, len(kvs))
		wg.Go(func() {
			for i := lo; i < hi; i++ {
				kv := kvs[i]
				t, key := s.parse(string(kv.Key))
				if t == nil {
					continue
				}
				if cur != nil {
					if old, _ := cur.get(t, key); old != nil && old.rev == kv.ModRevision {
						out[i] = old
						continue
					}
				}
				e, err := s.entry(t, key, kv.Value, kv.ModRevision, kv.Lease)
				if err != nil {
					errors[w] = &recordError{string(kv.Key), err}
					return
				}
				out[i] = e
			}
		})
	}
	wg.Wait()
	for _, err := range errors {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
