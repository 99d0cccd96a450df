package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/entrance-id/entrance/internal/errs"
)

// Tx is a transaction of Update. It is used by one goroutine, inside the function
// given to Update and no longer.
type Tx struct {
	ctx     context.Context
	s       *Store
	view    *View
	done    bool
	scanned bool              // a set was read
	reads   map[string]*read  // by etcd key
	writes  map[string]*write // by etcd key
	order   []*write          // of writes, as first written
	guards  []string          // guard keys
	found   map[string]string // holders of claims, where the records read do not tell
}

// read is what a transaction has seen under a key, and is compared.
type read struct {
	rev   int64 // 0: nothing was there
	entry *entry
	table *table
}

// write is what a transaction leaves under a key.
type write struct {
	t         *table
	key, ekey string
	raw       []byte // nil: deleted
	entry     *entry // of raw, as later reads of the transaction see it
	keepLease bool
}

// guards is the table behind Tx.Guard. It is in the view so that a transaction
// compares the guard as it was at the revision of the sets that it has read.
var guards = newGuards()

type guard struct{ Name string }

func newGuards() *table {
	t := newCore("guards", Options[guard]{
		Key: func(g *guard) string { return g.Name },
		// Long after any transaction that saw the guard has ended.
		TTL: func(*guard) time.Duration { return time.Hour },
	})
	t.name = ".guards" // no caller's table can have that name
	return t
}

// attempts bounds how often Update runs its function; from the slowFrom-th on,
// transactions of this process take turns.
const (
	attempts = 24
	slowFrom = 3
)

// Update runs fn and commits what it wrote, all or nothing. If something that fn
// has read by key was changed by someone else, fn runs again on what is there
// now, a bounded number of times; then the error is errs.Conflict. When Update
// returns nil, the writes are durable and this process's view shows them, and
// its subscribers have seen them.
//
// An error of fn aborts with nothing written, and is returned as it is once
// etcd has confirmed that what fn had read was current; otherwise fn runs
// again. So "not found" and "exists" can be believed on every replica.
//
// A violated claim is errs.Exists with a *TakenError. errs.Unavailable means
// that etcd did not answer; whether the writes have happened is then unknown.
// fn must have no effects of its own and must not call Update.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	found := map[string]string{}
	rescanned := false
	for n := range attempts {
		if err := s.alive(); err != nil {
			return err
		}
		if n == slowFrom {
			select {
			case s.slow <- struct{}{}:
				defer func() { <-s.slow }()
			case <-ctx.Done():
				return fromEtcd(ctx.Err(), "waiting for other changes")
			}
		}
		if n > 0 {
			// Others write too; who waits a different time meets them less.
			pause := time.Duration(1+rand.Int64N(int64(min(1<<n, 64)))) * 500 * time.Microsecond
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return fromEtcd(ctx.Err(), "repeating the change")
			}
		}
		tx := &Tx{ctx: ctx, s: s, view: s.View(), reads: map[string]*read{}, writes: map[string]*write{}, found: found}
		err := fn(tx)
		tx.done = true
		if err != nil {
			again, cerr := tx.confirm(&rescanned)
			if cerr != nil {
				// The error of fn may be right; the store cannot tell.
				return errs.Wrap(errs.KindOf(cerr), errors.Join(cerr, err), "%s", errs.Message(cerr))
			}
			if !again {
				return err
			}
			continue
		}
		again, err := tx.commit()
		if err != nil || !again {
			return err
		}
	}
	return errs.New(errs.Conflict, "The change was overtaken by other changes %d times. Try it again.", attempts)
}

// Guard makes transactions over the same set notice each other: of those that
// name the same guard and write anything, no two commit on the strength of the
// same view of it; the later one runs again, on a view that shows the earlier
// one's writes. Use it where an invariant is over a set ("an application keeps
// at least one owner"): every transaction that can break the invariant calls
// Guard with one name for the set, and then lists it with Where or All.
func (tx *Tx) Guard(key string) {
	tx.check()
	if err := checkKey("name", "guard", key); err != nil {
		panic(err)
	}
	if slices.Contains(tx.guards, key) {
		return
	}
	tx.guards = append(tx.guards, key)
	if _, err := tx.base(guards, key); err != nil {
		panic(err) // it is in the view
	}
}

// View returns the view on which the transaction is based. What is read through
// it is not compared at commit.
func (tx *Tx) View() *View { return tx.view }

// Context returns the context of the Update, which has a deadline.
func (tx *Tx) Context() context.Context { return tx.ctx }

func (tx *Tx) check() {
	if tx.done {
		panic("store: a Tx was used after its Update function had returned")
	}
}

// base returns what is stored under key, and has it compared at commit.
func (tx *Tx) base(t *table, key string) (*entry, error) {
	tx.check()
	ekey := tx.s.recordKey(t, key)
	if r := tx.reads[ekey]; r != nil {
		return r.entry, nil
	}
	var e *entry
	var err error
	if t.direct {
		e, err = tx.s.fetch(tx.ctx, t, key)
	} else {
		e, err = tx.view.get(t, key)
	}
	if err != nil {
		return nil, err
	}
	r := &read{entry: e, table: t}
	if e != nil {
		r.rev = e.rev
	}
	tx.reads[ekey] = r
	return e, nil
}

// get implements Reader: own writes first.
func (tx *Tx) get(t *table, key string) (*entry, error) {
	tx.check()
	if w := tx.writes[tx.s.recordKey(t, key)]; w != nil {
		return w.entry, nil
	}
	return tx.base(t, key)
}

// scan implements Reader.
func (tx *Tx) scan(t *table, index, value string, prefix bool) iter.Seq[*entry] {
	tx.check()
	tx.scanned = true
	var own []*write
	for _, w := range tx.order {
		if w.t == t {
			own = append(own, w)
		}
	}
	if t.direct || len(own) == 0 {
		return tx.view.scan(t, index, value, prefix) // which panics on a Direct table
	}
	// place returns where an entry stands in the answer, or false.
	place := func(e *entry) (string, bool) {
		if index == "" {
			return e.key, strings.HasPrefix(e.key, value)
		}
		at, ok := "", false
		for _, v := range t.index(index).values(e.val) {
			if v == value || prefix && strings.HasPrefix(v, value) {
				p := string(indexKey(v, 0)) + e.key
				if !ok || p < at {
					at, ok = p, true
				}
			}
		}
		return at, ok
	}
	type placed struct {
		at string
		e  *entry
	}
	var all []placed
	for e := range tx.view.scan(t, index, value, prefix) {
		if tx.writes[tx.s.recordKey(t, e.key)] == nil {
			at, _ := place(e)
			all = append(all, placed{at, e})
		}
	}
	for _, w := range own {
		if w.entry != nil {
			if at, ok := place(w.entry); ok {
				all = append(all, placed{at, w.entry})
			}
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return strings.Compare(a.at, b.at) })
	return func(yield func(*entry) bool) {
		for _, p := range all {
			if !yield(p.e) {
				return
			}
		}
	}
}

// set buffers a write; a nil raw deletes.
func (tx *Tx) set(t *table, key string, raw []byte, keepLease bool) error {
	ekey := tx.s.recordKey(t, key)
	w := tx.writes[ekey]
	if w == nil {
		w = &write{t: t, key: key, ekey: ekey}
		tx.writes[ekey] = w
		tx.order = append(tx.order, w)
		w.keepLease = keepLease
	} else {
		w.keepLease = w.keepLease && keepLease
	}
	w.raw, w.entry = raw, nil
	if raw != nil {
		// Decoded at once: later reads see what will be stored and not the
		// caller's own struct, and what could not be read back is not written.
		v, err := t.decode(key, raw)
		if err != nil {
			return err
		}
		w.entry = &entry{key: key, val: v}
	}
	return nil
}

func (tx *Tx) create(t *table, v any) error {
	key, raw, err := t.encode(v)
	if err != nil {
		return err
	}
	e, err := tx.get(t, key)
	if err != nil {
		return err
	}
	if e != nil {
		return errs.New(errs.Exists, "%s: %q exists already", t.name, key)
	}
	if _, err := tx.base(t, key); err != nil {
		return err
	}
	return tx.set(t, key, raw, false)
}

func (tx *Tx) put(t *table, v any) error {
	tx.check()
	key, raw, err := t.encode(v)
	if err != nil {
		return err
	}
	if t.claims != nil {
		// The claims of what is replaced must be known.
		if _, err := tx.base(t, key); err != nil {
			return err
		}
	}
	return tx.set(t, key, raw, false)
}

func (tx *Tx) modify(t *table, key string, fn func(any) error) error {
	e, err := tx.get(t, key)
	if err != nil {
		return err
	}
	if e == nil {
		return notFound(t, key)
	}
	before, err := json.Marshal(e.val)
	if err != nil {
		return errs.Wrap(errs.Internal, err, "encoding %s/%s", t.name, key)
	}
	v, err := t.decode(key, before)
	if err != nil {
		return err
	}
	if err := fn(v); err != nil {
		return err
	}
	k, raw, err := t.encode(v)
	if err != nil {
		return err
	}
	if k != key {
		return errs.New(errs.Invalid, "%s: the key %q cannot be changed to %q", t.name, key, k)
	}
	if bytes.Equal(raw, before) {
		return nil
	}
	return tx.set(t, key, raw, t.ttl == nil || t.ttl(v) == t.ttl(e.val))
}

func (tx *Tx) delete(t *table, key string) error {
	e, err := tx.get(t, key)
	if err != nil {
		return err
	}
	if e == nil {
		return notFound(t, key)
	}
	return tx.set(t, key, nil, false)
}

// confirm tells whether fn must run again because what it has read was not
// current.
func (tx *Tx) confirm(rescanned *bool) (again bool, err error) {
	if len(tx.reads) == 0 && !tx.scanned {
		return false, nil
	}
	b := &batch{tx: tx}
	b.compareReads()
	resp, err := tx.s.client.Txn(tx.ctx).If(b.cmps...).Commit()
	if err != nil {
		return false, fromEtcd(err, "checking what was read")
	}
	behind := resp.Header.Revision > tx.view.rev
	if resp.Succeeded && (!tx.scanned || !behind || *rescanned) {
		return false, nil
	}
	*rescanned = *rescanned || tx.scanned
	return true, tx.s.wait(tx.ctx, resp.Header.Revision)
}

// batch is an etcd transaction in the making.
type batch struct {
	tx     *Tx
	cmps   []clientv3.Cmp
	then   []clientv3.Op
	lookup []clientv3.Op // if a comparison fails, these tell which
	check  []func(rev int64, val string) error
}

// errStale says that a read is out of date.
var errStale = errors.New("stale")

func (b *batch) compareReads() {
	for k, r := range b.tx.reads {
		b.cmps = append(b.cmps, clientv3.Compare(clientv3.ModRevision(k), "=", r.rev))
		b.lookup = append(b.lookup, clientv3.OpGet(k, clientv3.WithKeysOnly()))
		b.check = append(b.check, func(rev int64, _ string) error {
			if rev != r.rev {
				return errStale
			}
			return nil
		})
	}
}

// commit sends the transaction. again is true if fn must run again.
func (tx *Tx) commit() (again bool, err error) {
	b := &batch{tx: tx}
	b.compareReads()
	viewed := false
	if len(tx.order) > 0 {
		for _, g := range tx.guards {
			raw, err := json.Marshal(guard{g})
			if err != nil {
				return false, errs.Wrap(errs.Internal, err, "guard")
			}
			lease, err := tx.s.leases.get(tx.ctx, time.Hour)
			if err != nil {
				return false, fromEtcd(err, "committing")
			}
			b.then = append(b.then, clientv3.OpPut(tx.s.recordKey(guards, g), string(raw), clientv3.WithLease(lease)))
		}
		leases, err := tx.puts(b)
		if err != nil {
			return false, err
		}
		if err := tx.claims(b, leases); err != nil {
			return false, err
		}
		for _, w := range tx.order {
			viewed = viewed || !w.t.direct && (w.raw != nil || tx.reads[w.ekey] == nil || tx.reads[w.ekey].rev != 0)
		}
		viewed = viewed || len(tx.guards) > 0
	}
	if len(b.cmps) == 0 && len(b.then) == 0 {
		return false, nil
	}
	resp, err := tx.s.client.Txn(tx.ctx).If(b.cmps...).Then(b.then...).Else(b.lookup...).Commit()
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		// The record, or the shared lease, has run out just now.
		tx.s.leases.reset()
		return true, nil
	}
	if err != nil {
		return false, fromEtcd(err, "committing")
	}
	if resp.Succeeded {
		if !viewed {
			return false, nil
		}
		return false, tx.s.wait(tx.ctx, resp.Header.Revision)
	}
	for i, r := range resp.Responses {
		rev, val := int64(0), ""
		if kvs := r.GetResponseRange().GetKvs(); len(kvs) == 1 {
			rev, val = kvs[0].ModRevision, string(kvs[0].Value)
		}
		// Reads come first: a claim is judged only if they were all current.
		if err := b.check[i](rev, val); errors.Is(err, errStale) {
			return true, tx.s.wait(tx.ctx, resp.Header.Revision)
		} else if err != nil {
			return false, err
		}
	}
	return true, tx.s.wait(tx.ctx, resp.Header.Revision)
}

// puts adds the records to b, and returns the lease of each that has one.
func (tx *Tx) puts(b *batch) (map[*write]clientv3.LeaseID, error) {
	leases := map[*write]clientv3.LeaseID{}
	for _, w := range tx.order {
		if w.raw == nil {
			b.then = append(b.then, clientv3.OpDelete(w.ekey))
			continue
		}
		var opts []clientv3.OpOption
		if w.t.ttl != nil {
			r := tx.reads[w.ekey]
			switch ttl := w.t.ttl(w.entry.val); {
			case w.keepLease && r != nil && r.entry != nil:
				leases[w] = clientv3.LeaseID(r.entry.lease)
			case ttl > 0:
				id, err := tx.s.leases.get(tx.ctx, ttl)
				if err != nil {
					return nil, fromEtcd(err, "committing")
				}
				leases[w] = id
			}
			if leases[w] != 0 {
				opts = append(opts, clientv3.WithLease(leases[w]))
			}
		}
		b.then = append(b.then, clientv3.OpPut(w.ekey, tx.s.raw(w.t, w.key, w.raw), opts...))
	}
	return leases, nil
}
