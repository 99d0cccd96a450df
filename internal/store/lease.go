package store

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leasePool shares leases between records of one TTL, so that a short-lived
// record costs one write and not two.
type leasePool struct {
	client *clientv3.Client
	mu     sync.Mutex
	byTTL  map[int64]*pooledLease
}

type pooledLease struct {
	ready chan struct{} // closed when id and err are set
	id    clientv3.LeaseID
	err   error
	until time.Time
	left  int
}

// leaseShare bounds the records of one lease: etcd removes them in one step.
const leaseShare = 500

func newLeasePool(c *clientv3.Client) *leasePool {
	return &leasePool{client: c, byTTL: map[int64]*pooledLease{}}
}

// get returns a lease that lasts at least ttl.
func (p *leasePool) get(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	secs := int64((ttl + time.Second - 1) / time.Second)
	// A lease may take new records for a twentieth of its length, and lasts
	// that much longer. Short ones are not shared.
	window := min(secs/20, 60)
	p.mu.Lock()
	l := p.byTTL[secs]
	if l == nil || l.left == 0 || time.Now().After(l.until) {
		l = &pooledLease{ready: make(chan struct{}), until: time.Now().Add(time.Duration(window) * time.Second), left: leaseShare}
		if window > 0 {
			p.byTTL[secs] = l
		}
		l.left--
		p.mu.Unlock()
		resp, err := p.client.Grant(ctx, secs+window)
		if err == nil {
			l.id = resp.ID
		} else {
			l.err = err
			p.drop(secs, l)
		}
		close(l.ready)
		return l.id, l.err
	}
	l.left--
	p.mu.Unlock()
	select {
	case <-l.ready:
		if l.err != nil && ctx.Err() == nil {
			// The one who asked may have been cancelled; this one was not.
			return p.get(ctx, ttl)
		}
		return l.id, l.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (p *leasePool) drop(secs int64, l *pooledLease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byTTL[secs] == l {
		delete(p.byTTL, secs)
	}
}

// reset forgets all leases, after etcd has said that one is gone.
func (p *leasePool) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.byTTL)
}
