package store_test

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

func TestConformanceEmbedded(t *testing.T) {
	t.Parallel()
	first := storetest.Open(t)
	storetest.Conformance(t, storetest.Harness{
		Raw:    first.Client(),
		Prefix: "/entrance/",
		Open: func(t testing.TB, tables ...store.AnyTable) *store.Store {
			t.Helper()
			s, err := first.Sibling(context.Background(), tables...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		},
	})
}

// startEtcd runs a separate etcd process and returns its address.
func startEtcd(t testing.TB) string {
	t.Helper()
	_, lines := helper(t, "etcd", t.TempDir())
	return expect(t, lines, "ready")
}

func rawClient(t testing.TB, addr string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func connect(t testing.TB, addr, prefix string, tables ...store.AnyTable) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), store.Config{
		Endpoints: []string{addr}, Prefix: prefix, SealKey: storetest.SealKey, Logger: storetest.Logger(t),
	}, tables...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformanceExternal(t *testing.T) {
	t.Parallel()
	addr := startEtcd(t)
	storetest.Conformance(t, storetest.Harness{
		Raw:    rawClient(t, addr),
		Prefix: "/elsewhere/",
		Open: func(t testing.TB, tables ...store.AnyTable) *store.Store {
			return connect(t, addr, "/elsewhere", tables...)
		},
	})
}

// TestGap cuts a store off from etcd, lets much happen meanwhile, and in one case
// has etcd forget the history that the watch would need.
func TestGap(t *testing.T) {
	t.Parallel()
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprint("compacted ", compact), func(t *testing.T) {
			ctx := context.Background()
			addr := startEtcd(t)
			net := newRelay(t, addr)
			a, b := connect(t, addr, "", users), connect(t, net.l.Addr().String(), "", users)
			put := func(n int, names ...string) {
				t.Helper()
				if err := a.Update(ctx, func(tx *store.Tx) error {
					for _, id := range names {
						if err := users.Put(tx, &user{ID: id, Name: fmt.Sprint(id, n), Groups: []string{fmt.Sprint(n)}}); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			put(0, "gone", "kept", "x", "y")
			if err := b.Fresh(ctx); err != nil {
				t.Fatal(err)
			}
			kept, _ := users.Get(b.View(), "kept")

			var mu sync.Mutex
			var seen []string
			b.Subscribe(func(v *store.View, changes []store.Change) {
				mu.Lock()
				defer mu.Unlock()
				for _, c := range changes {
					seen = append(seen, fmt.Sprintf("%s %v", c.Key, c.Deleted))
				}
			})
			stop := watchPairs(t, b)
			defer stop()

			net.set(false)
			for n := 1; n <= 50; n++ {
				put(n, "x", "y")
			}
			put(51, "new")
			if err := a.Update(ctx, func(tx *store.Tx) error { return users.Delete(tx, "gone") }); err != nil {
				t.Fatal(err)
			}
			if compact {
				if _, err := rawClient(t, addr).Compact(ctx, a.View().Revision(), clientv3.WithCompactPhysical()); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := users.Get(b.View(), "gone"); err != nil {
				t.Fatalf("the store was not cut off: %v", err)
			}
			short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			if err := b.Fresh(short); !errs.Is(err, errs.Unavailable) {
				t.Errorf("Fresh while cut off: %v", err)
			}
			cancel()

			net.set(true)
			deadline, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			for b.Fresh(deadline) != nil {
				if deadline.Err() != nil {
					t.Fatal("the store did not recover")
				}
				time.Sleep(50 * time.Millisecond)
			}
			if _, err := users.Get(b.View(), "gone"); !errs.Is(err, errs.NotFound) {
				t.Errorf("a deletion was missed: %v", err)
			}
			if n := users.Count(b.View(), "group", "50"); n != 2 {
				t.Errorf("%d records in group 50, want 2", n)
			}
			if n := users.Count(b.View(), "group", "0"); n != 1 {
				t.Errorf("%d records in group 0, want 1: an index was not followed", n)
			}
			if now, _ := users.Get(b.View(), "kept"); now != kept {
				t.Error("a record that did not change was decoded again")
			}
			mu.Lock()
			defer mu.Unlock()
			sort.Strings(seen)
			got := strings.Join(dedupe(seen), ", ")
			if want := "gone true, new false, x false, y false"; got != want {
				t.Errorf("subscribers saw %q, want %q", got, want)
			}
		})
	}
}

func dedupe(in []string) []string {
	var out []string
	for i, s := range in {
		if i == 0 || in[i-1] != s {
			out = append(out, s)
		}
	}
	return out
}

// watchPairs reads the store's view all the time: x and y must always be of one
// transaction, and never go back.
func watchPairs(t *testing.T, s *store.Store) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		rev, last := int64(0), int64(0)
		for {
			select {
			case <-done:
				return
			default:
			}
			v := s.View()
			xr, _ := users.Rev(v, "x")
			yr, _ := users.Rev(v, "y")
			if xr != yr || xr < last || v.Revision() < rev || xr > v.Revision() {
				t.Errorf("view %d after %d: x at %d, y at %d, before %d", v.Revision(), rev, xr, yr, last)
				return
			}
			rev, last = v.Revision(), xr
			time.Sleep(100 * time.Microsecond)
		}
	})
	return func() { close(done); wg.Wait() }
}

func TestNoEtcd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := store.Open(ctx, store.Config{Endpoints: []string{"127.0.0.1:1"}}, users)
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "no etcd answers at 127.0.0.1:1") {
		t.Errorf("Open = %v", err)
	}
}

// TestHealthShowsALostEtcd: the view lives on, its age shows, and writes fail in
// the time that their caller allows.
func TestHealthShowsALostEtcd(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cmd, lines := helper(t, "etcd", t.TempDir())
	s := connect(t, expect(t, lines, "ready"), "", users)
	if err := s.Update(ctx, func(tx *store.Tx) error { return users.Create(tx, &user{ID: "1", Name: "a"}) }); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	killed := time.Now()
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := s.Update(short, func(tx *store.Tx) error { return users.Create(tx, &user{ID: "2", Name: "b"}) })
	if !errs.Is(err, errs.Unavailable) {
		t.Errorf("Update without etcd: %v", err)
	}
	for s.Health().Ready {
		if time.Since(killed) > store.StaleAfter+2*time.Second {
			t.Fatal("the store is still ready")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if h := s.Health(); h.LastContact.After(killed.Add(time.Second)) {
		t.Errorf("LastContact %v is after the end of etcd", h.LastContact)
	}
	if _, err := users.Get(s.View(), "1"); err != nil {
		t.Errorf("the view is gone: %v", err)
	}
	if err := s.Update(short, func(tx *store.Tx) error { return errors.New("x") }); err == nil {
		t.Error("an error of fn was swallowed")
	}
}
