package store

import (
	clientv3 "go.etcd.io/etcd/client/v3"
)

// claims adds to b what changes in the claims of the written records.
func (tx *Tx) claims(b *batch, leases map[*write]clientv3.LeaseID) error {
	type held struct {
		t          *table
		claim, key string
	}
	before := map[string]held{} // by etcd key of the claim
	after := map[string]held{}
	for _, w := range tx.order {
		if w.t.claims == nil {
			continue
		}
		if r := tx.reads[w.ekey]; r != nil && r.entry != nil {
			for _, c := range w.t.claims(r.entry.val) {
				before[tx.s.claimKey(w.t, c)] = held{w.t, c, w.key}
			}
		}
	}
	for _, w := range tx.order {
		if w.t.claims == nil || w.raw == nil {
			continue
		}
		for _, c := range w.t.claims(w.entry.val) {
			if err := checkKey("claim", w.t.name, c); err != nil {
				return err
			}
			ck := tx.s.claimKey(w.t, c)
			if h, dup := after[ck]; dup {
				if h.key == w.key {
					continue
				}
				return taken(w.t, c, h.key)
			}
			after[ck] = held{w.t, c, w.key}
			had, was := before[ck]
			if was && had.key == w.key && (leases[w] == 0 || w.keepLease) {
				continue
			}
			// It is free, or passes from one record of this transaction to
			// another, or stays with this one under a new lease.
			b.expect(w, c, ck, had.key)
			var opts []clientv3.OpOption
			if leases[w] != 0 {
				opts = append(opts, clientv3.WithLease(leases[w]))
			}
			b.then = append(b.then, clientv3.OpPut(ck, w.key, opts...))
		}
	}
	for ck, h := range before {
		if _, kept := after[ck]; !kept {
			// Only if it is the record's: what an older version did not claim
			// may be another's by now.
			b.then = append(b.then, clientv3.OpTxn(
				[]clientv3.Cmp{clientv3.Compare(clientv3.Value(ck), "=", h.key)},
				[]clientv3.Op{clientv3.OpDelete(ck)}, nil))
		}
	}
	return nil
}

// expect compares the holder of a claim that w is about to take; "" means that it
// is free.
func (b *batch) expect(w *write, claim, ck, holder string) {
	found := b.tx.found
	want := holder
	if h, ok := found[ck]; ok {
		want = h
	}
	if want == "" {
		b.cmps = append(b.cmps, clientv3.Compare(clientv3.ModRevision(ck), "=", 0))
	} else {
		b.cmps = append(b.cmps, clientv3.Compare(clientv3.Value(ck), "=", want))
	}
	b.lookup = append(b.lookup, clientv3.OpGet(ck))
	b.check = append(b.check, func(_ int64, val string) error {
		switch val {
		case want:
			return nil
		case "", w.key, holder:
			// The records that were read say something else about the claim
			// than etcd does: a version with other claims has written them.
			// The claim is nobody else's all the same.
			found[ck] = val
			return errStale
		}
		return taken(w.t, claim, val)
	})
}
