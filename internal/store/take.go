package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// take is Table.Take.
func (s *Store) take(ctx context.Context, t *table, key string) (any, error) {
	if err := checkKey("key", t.name, key); err != nil {
		return nil, err
	}
	if t.claims != nil {
		return s.takeClaimed(ctx, t, key)
	}
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	if s.tables[t.name] != t {
		panic(fmt.Sprintf("store: table %s was not given to Open", t.name))
	}
	if err := s.alive(); err != nil {
		return nil, err
	}
	resp, err := s.client.Delete(ctx, s.recordKey(t, key), clientv3.WithPrevKV())
	if err != nil {
		return nil, fromEtcd(err, "taking from "+t.name)
	}
	if len(resp.PrevKvs) == 0 {
		return nil, notFound(t, key)
	}
	kv := resp.PrevKvs[0]
	e, err := s.entry(t, key, kv.Value, kv.ModRevision, kv.Lease)
	if err != nil {
		return nil, err
	}
	if !t.direct {
		if err := s.wait(ctx, resp.Header.Revision); err != nil {
			return nil, err
		}
	}
	return e.val, nil
}

// takeClaimed takes a record together with its claims.
func (s *Store) takeClaimed(ctx context.Context, t *table, key string) (any, error) {
	var v any
	err := s.Update(ctx, func(tx *Tx) error {
		e, err := tx.get(t, key)
		if err != nil {
			return err
		}
		if e == nil {
			return notFound(t, key)
		}
		v = e.val
		return tx.delete(t, key)
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}
