package store

import clientv3 "go.etcd.io/etcd/client/v3"

// Client lets tests write past the store.
func (s *Store) Client() *clientv3.Client { return s.client }
