package store

import (
	"context"
	"time"

	"go.etcd.io/etcd/client/v3/concurrency"
)

// leadTTL is how long, in seconds, a leader that has died keeps others waiting.
const leadTTL = 5

// Lead takes part in the election of a leader for name among all replicas, until
// ctx ends or the store is closed; it blocks that long. While this process
// leads, fn runs with a context that ends when the leadership does; when fn
// returns, the leadership is given up and sought again after a second. A
// process that was suspended may believe for a moment that it still leads: what
// fn writes must be safe beside a second leader, as transactions are.
func (s *Store) Lead(ctx context.Context, name string, fn func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	for ctx.Err() == nil {
		if err := s.leadOnce(ctx, name, fn); err != nil && ctx.Err() == nil {
			s.log.Warn("leader election is interrupted", "name", name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (s *Store) leadOnce(ctx context.Context, name string, fn func(ctx context.Context)) error {
	session, err := concurrency.NewSession(s.client, concurrency.WithTTL(leadTTL), concurrency.WithContext(ctx))
	if err != nil {
		return err
	}
	defer func() {
		session.Orphan()
		// The lease goes at once, so that the next leader need not wait, also
		// when ctx has ended.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_, _ = s.client.Revoke(ctx, session.Lease())
	}()
	// A lost session must end the campaign too.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-session.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := concurrency.NewElection(session, s.prefix+"lead/"+name).Campaign(ctx, ""); err != nil {
		return err
	}
	s.log.Debug("leading", "name", name)
	fn(ctx)
	return nil
}
