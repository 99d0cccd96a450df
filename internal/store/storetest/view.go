package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
)

// viewMovesForward: a transaction writes two records with one number; no view of
// the other store ever shows two numbers, or a smaller one than before.
func viewMovesForward(t *testing.T, h Harness) {
	tab := people("pairs")
	a, b := h.Open(t, tab), h.Open(t, tab)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		last, rev := 0, int64(0)
		for {
			select {
			case <-stop:
				return
			default:
			}
			v := b.View()
			x, _ := tab.Get(v, "x")
			y, _ := tab.Get(v, "y")
			switch {
			case (x == nil) != (y == nil) || x != nil && x.N != y.N:
				t.Errorf("a torn view: %+v %+v", x, y)
				return
			case x != nil && x.N < last || v.Revision() < rev:
				t.Errorf("the view went back from %d to %d", last, x.N)
				return
			case x != nil:
				last = x.N
			}
			rev = v.Revision()
		}
	})
	for i := range 200 {
		update(t, a, func(tx *store.Tx) error {
			return errors.Join(tab.Put(tx, &person{ID: "x", N: i}), tab.Put(tx, &person{ID: "y", N: i}))
		})
	}
	fresh(t, b)
	close(stop)
	wg.Wait()
	if x, err := tab.Get(b.View(), "x"); err != nil || x.N != 199 {
		t.Errorf("x = %+v, %v", x, err)
	}
}

func subscribers(t *testing.T, h Harness) {
	tab := people("subscribed")
	s := h.Open(t, tab)
	var mu sync.Mutex
	var got []string
	var rev int64
	note := func(v *store.View, changes []store.Change) {
		mu.Lock()
		defer mu.Unlock()
		if v.Revision() < rev {
			t.Errorf("revision %d after %d", v.Revision(), rev)
		}
		rev = v.Revision()
		if changes == nil {
			got = append(got, "all")
		}
		for _, c := range changes {
			if c.Table != "subscribed" {
				continue
			}
			n := func(x any) string {
				if x == nil {
					return "-"
				}
				return x.(*person).Name
			}
			got = append(got, fmt.Sprintf("%s %s>%s %v", c.Key, n(c.Old), n(c.New), c.Deleted))
		}
	}
	cancel := s.Follow(note)
	expect := func(want ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		got = nil
	}
	// Update returns after the subscribers: nothing is waited for here.
	expect("all")
	update(t, s, func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "1", Name: "ann"}) })
	expect("1 ->ann false")
	update(t, s, func(tx *store.Tx) error { return tab.Put(tx, &person{ID: "1", Name: "bob"}) })
	expect("1 ann>bob false")
	update(t, s, func(tx *store.Tx) error { return tab.Delete(tx, "1") })
	expect("1 bob>- true")
	cancel()
	update(t, s, func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "1", Name: "ann"}) })
	expect()
}

func leases(t *testing.T, h Harness) {
	ctx := context.Background()
	viewed := store.NewTable("leased", store.Options[code]{
		Key:    func(c *code) string { return c.ID },
		Claims: func(c *code) []string { return []string{c.Secret} },
		TTL:    func(c *code) time.Duration { return time.Duration(c.Seconds)*time.Second - time.Millisecond },
	})
	direct := codes("leased-codes")
	s := h.Open(t, viewed, direct)
	create := func(id, claim string, seconds int) error {
		return s.Update(ctx, func(tx *store.Tx) error {
			return viewed.Create(tx, &code{ID: id, Secret: claim, Seconds: seconds})
		})
	}
	if err := errors.Join(create("short", "s", 2), create("long", "l", 600), create("long2", "l2", 600), create("ever", "e", 0)); err != nil {
		t.Fatal(err)
	}
	update(t, s, func(tx *store.Tx) error { return direct.Create(tx, &code{ID: "short", Seconds: 2}) })
	start := time.Now()
	if err := create("other", "s", 2); !errs.Is(err, errs.Exists) {
		t.Errorf("the claim is not held while the record lives: %v", err)
	}
	lease := func(key string) int64 {
		resp, err := h.Raw.Get(ctx, h.Prefix+key)
		if err != nil || len(resp.Kvs) != 1 {
			t.Fatal(resp, err)
		}
		return resp.Kvs[0].Lease
	}
	// A change does not give a record more time.
	before := lease("d/leased-codes/short")
	update(t, s, func(tx *store.Tx) error {
		return direct.Modify(tx, "short", func(c *code) error { c.Secret = "polled"; return nil })
	})
	if c, err := direct.GetFresh(ctx, s, "short"); err != nil || c.Secret != "polled" {
		t.Errorf("the record went early: %v", err)
	}
	if after := lease("d/leased-codes/short"); after != before {
		t.Errorf("the lease changed from %x to %x", before, after)
	}
	eventually(t, 8*time.Second, "gone from the view", func() bool {
		_, err := viewed.Get(s.View(), "short")
		return errs.Is(err, errs.NotFound)
	})
	if d := time.Since(start); d < 1900*time.Millisecond {
		t.Errorf("the record went after %v", d)
	}
	eventually(t, 8*time.Second, "gone from etcd", func() bool {
		_, err := direct.GetFresh(ctx, s, "short")
		return errs.Is(err, errs.NotFound)
	})
	if err := create("other", "s", 2); err != nil {
		t.Errorf("the claim outlived its record: %v", err)
	}
	for _, id := range []string{"long", "ever"} {
		if _, err := viewed.Get(s.View(), id); err != nil {
			t.Error(err)
		}
	}
	if lease("t/leased/ever") != 0 || lease("t/leased/long") == 0 || lease("t/leased/long") != lease("t/leased/long2") {
		t.Errorf("leases: ever %d, long %d and %d", lease("t/leased/ever"), lease("t/leased/long"), lease("t/leased/long2"))
	}
	ttl, err := h.Raw.TimeToLive(ctx, clientv3.LeaseID(lease("t/leased/long")))
	if err != nil || ttl.GrantedTTL < 600 || ttl.GrantedTTL > 630 {
		t.Errorf("TimeToLive = %+v, %v", ttl, err)
	}
}

func sealed(t *testing.T, h Harness) {
	ctx := context.Background()
	tab := store.NewTable("sealed", store.Options[code]{
		Key:    func(c *code) string { return c.ID },
		Claims: func(c *code) []string { return []string{"secret/" + c.Secret} },
		Sealed: true,
	})
	direct := codes("sealed-codes")
	s := h.Open(t, tab, direct)
	const secret = "correct horse battery staple"
	update(t, s, func(tx *store.Tx) error {
		return errors.Join(tab.Create(tx, &code{ID: "1", Secret: secret}),
			direct.Create(tx, &code{ID: "1", Secret: secret}), direct.Create(tx, &code{ID: "2", Secret: "other"}))
	})
	if c, err := tab.Get(s.View(), "1"); err != nil || c.Secret != secret {
		t.Fatalf("Get = %v, %v", c, err)
	}
	all, err := h.Raw.Get(ctx, "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range all.Kvs {
		if strings.Contains(string(kv.Key)+string(kv.Value), "horse") {
			t.Errorf("etcd shows the secret under %s", kv.Key)
		}
	}
	// A sealed value is bound to its key: moved, it does not open, also where
	// the record would fit.
	other, err := h.Raw.Get(ctx, h.Prefix+"t/sealed/1")
	if err != nil || len(other.Kvs) != 1 {
		t.Fatal(other, err)
	}
	one, err := h.Raw.Get(ctx, h.Prefix+"d/sealed-codes/1")
	if err != nil || len(one.Kvs) != 1 {
		t.Fatal(one, err)
	}
	value := string(one.Kvs[0].Value)
	flipped := []byte(value)
	flipped[len(flipped)-1] ^= 1
	if _, err := h.Raw.Put(ctx, h.Prefix+"d/sealed-codes/1", string(other.Kvs[0].Value)); err != nil {
		t.Fatal(err)
	}
	if c, err := direct.GetFresh(ctx, s, "1"); !errs.Is(err, errs.Internal) {
		t.Errorf("moved to another table: GetFresh = %v, %v", c, err)
	}
	for name, put := range map[string]string{"moved": value, "damaged": string(flipped), "plain": `{"ID":"2"}`, "empty": ""} {
		if _, err := h.Raw.Put(ctx, h.Prefix+"d/sealed-codes/2", put); err != nil {
			t.Fatal(err)
		}
		if c, err := direct.GetFresh(ctx, s, "2"); !errs.Is(err, errs.Internal) || !strings.Contains(err.Error(), "sealed-codes/2") {
			t.Errorf("%s: GetFresh = %v, %v", name, c, err)
		}
	}
}

func badRecord(t *testing.T, h Harness) {
	ctx := context.Background()
	tab := people("bad")
	s := h.Open(t, tab)
	update(t, s, func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "good", Name: "good"}) })
	for _, bad := range []string{"{", `{"ID":"another"}`} {
		rev := s.View().Revision()
		if _, err := h.Raw.Put(ctx, h.Prefix+"t/bad/evil", bad); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "not ready", func() bool { return !s.Health().Ready })
		if hl := s.Health(); hl.Err == nil || !strings.Contains(hl.Err.Error(), "bad/evil") || hl.Revision < rev {
			t.Errorf("Health = %+v, want an error that names the key", hl)
		}
		if _, err := tab.Get(s.View(), "good"); err != nil {
			t.Errorf("the view was lost: %v", err)
		}
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		if err := s.Fresh(short); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "bad/evil") {
			t.Errorf("Fresh = %v, want unavailable", err)
		}
		cancel()
		if _, err := h.Raw.Delete(ctx, h.Prefix+"t/bad/evil"); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "ready again", func() bool { return s.Health().Ready && s.Fresh(ctx) == nil })
	}
	update(t, s, func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "more", Name: "more"}) })
}

func oneLeader(t *testing.T, h Harness) {
	tab := people("led")
	stores := []*store.Store{h.Open(t, tab), h.Open(t, tab)}
	var leading, terms atomic.Int32
	var last atomic.Int32
	var ends [2]context.CancelFunc
	var wg sync.WaitGroup
	for i, s := range stores {
		ctx, cancel := context.WithCancel(context.Background())
		ends[i] = cancel
		wg.Go(func() {
			s.Lead(ctx, "job", func(ctx context.Context) {
				if n := leading.Add(1); n != 1 {
					t.Errorf("%d lead at once", n)
				}
				last.Store(int32(i))
				terms.Add(1)
				<-ctx.Done()
				leading.Add(-1)
			})
		})
	}
	eventually(t, 5*time.Second, "led", func() bool { return terms.Load() == 1 })
	first := last.Load()
	ends[first]()
	eventually(t, 5*time.Second, "led by the other", func() bool { return terms.Load() == 2 && last.Load() != first })
	ends[1-first]()
	wg.Wait()
	if leading.Load() != 0 {
		t.Error("someone still leads")
	}
}
