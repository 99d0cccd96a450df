package access_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// TestNewEnemy takes a member out of a group and then grants the group a role,
// a thousand times, while a second replica on the same etcd decides all the
// time, and is opened anew five times. At no revision is the member in the group
// and the role granted: an allow could only come from the old membership joined
// to the new grant.
func TestNewEnemy(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	const rounds, restarts = 1000, 5

	// A decider asks without a pause, until it is stopped.
	type decider struct {
		allowed, asked atomic.Int64
		stop           func()
	}
	review := &k8s.Review{User: "dev@contoso.test", Extra: map[string][]string{"oid": {string(w.dev)}}, Resource: &k8s.ResourceAttributes{Verb: "list", Resource: "pods", Namespace: "prod"}}
	begin := func(ask func() bool) *decider {
		d := &decider{}
		quit, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-quit:
					return
				default:
				}
				if ask() {
					d.allowed.Add(1)
				}
				d.asked.Add(1)
			}
		}()
		d.stop = func() { close(quit); <-done }
		return d
	}
	replica := func() (ask func() bool, end func()) {
		s, err := w.store.Sibling(ctx, state.Tables()...)
		if err != nil {
			t.Fatal(err)
		}
		k, err := access.New(s, w.clock, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ask = func() bool {
			res, _ := k.Authorize(w.c, nil, review)
			return res.Verdict == k8s.Allow
		}
		return ask, func() { k.Close(); s.Close() }
	}

	// play runs the rounds: out of the group, the grant, and back again in the
	// order in which the two never meet.
	var grant atomic.Int64
	play := func(n int, between func(round int)) {
		for round := range n {
			w.update(func(tx *store.Tx) error { return state.Unlink(tx, directory.Member, tenant, w.team, w.dev) })
			a := &state.AccessAssignment{Tenant: tenant, Name: fmt.Sprintf("00000000-0000-4000-8000-%012x", grant.Add(1)), Scope: cluster, Role: reader, Principal: w.team, PrincipalType: rbac.Group}
			w.update(func(tx *store.Tx) error { return state.AccessAssignments.Create(tx, a) })
			w.update(func(tx *store.Tx) error { return state.AccessAssignments.Delete(tx, string(tenant)+"/"+a.Name) })
			w.update(func(tx *store.Tx) error { return state.Link(tx, directory.Member, tenant, w.team, w.dev) })
			between(round)
		}
	}

	t.Run("the test sees the bug", func(t *testing.T) {
		// A build that reads the membership first, and the snapshot a moment
		// later, as two reads that need not agree.
		k := w.keeper
		c, err := access.Cluster(w.c, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := begin(func() bool {
			old, err := k.Facts()
			if err != nil {
				return false
			}
			time.Sleep(time.Millisecond)
			now, err := k.Facts()
			if err != nil {
				return false
			}
			at := w.clock.Now()
			return c.Authorize(now.RBAC, review, access.Directory{View: old.View, Now: at}, at).Verdict == k8s.Allow
		})
		for end := time.Now().Add(20 * time.Second); d.allowed.Load() == 0 && time.Now().Before(end); {
			play(10, func(int) {})
		}
		d.stop()
		if d.allowed.Load() == 0 {
			t.Fatalf("%d decisions of the weakened build, and none was wrong: the test would see nothing", d.asked.Load())
		}
	})

	first := begin(func() bool {
		res, _ := w.keeper.Authorize(w.c, nil, review)
		return res.Verdict == k8s.Allow
	})
	ask, end := replica()
	second := begin(ask)
	var asked, allowed int64
	play(rounds, func(round int) {
		if (round+1)%(rounds/(restarts+1)) == 0 && (round+1)/(rounds/(restarts+1)) <= restarts {
			second.stop()
			asked, allowed = asked+second.asked.Load(), allowed+second.allowed.Load()
			end()
			ask, end = replica()
			second = begin(ask)
		}
	})
	first.stop()
	second.stop()
	end()
	asked, allowed = asked+second.asked.Load(), allowed+second.allowed.Load()
	if first.allowed.Load() != 0 || allowed != 0 {
		t.Errorf("allowed from an old membership and a new grant: %d times by the writer, %d times by the other replica", first.allowed.Load(), allowed)
	}
	if first.asked.Load() < rounds || asked < rounds {
		t.Errorf("%d and %d decisions in %d rounds: too few to see anything", first.asked.Load(), asked, rounds)
	}
	// What is never allowed must not be so because nothing ever is.
	w.assign(w.team, cluster, time.Time{})
	if !w.explain(pods("prod"), nil).Allowed {
		t.Error("a member is refused")
	}
	t.Logf("%d decisions by the writer, %d by the other replica", first.asked.Load(), asked)
}
