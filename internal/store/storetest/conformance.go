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

// Harness is one etcd under test.
type Harness struct {
	// Open opens one more store on it, as another replica would.
	Open func(t testing.TB, tables ...store.AnyTable) *store.Store
	// Raw is a client for what a store does not offer.
	Raw *clientv3.Client
	// Prefix is the prefix of the stores' keys.
	Prefix string
}

// person is the record of the suite's viewed table.
type person struct {
	ID     string
	Name   string
	Groups []string
	N      int
}

// Each test has tables of its own names, so that all may share one etcd.

func people(name string) *store.Table[person] {
	return store.NewTable(name, store.Options[person]{
		Key: func(p *person) string { return p.ID },
		Indexes: []store.Index[person]{
			{Name: "group", Values: func(p *person) []string { return p.Groups }},
			{Name: "name", Values: func(p *person) []string { return []string{p.Name} }},
			{Name: "part"},
		},
		Claims: func(p *person) []string {
			if p.Name == "" {
				return nil
			}
			return []string{"name/" + p.Name}
		},
	})
}

type code struct {
	ID, Secret string
	Seconds    int
}

func codes(name string) *store.Table[code] {
	return store.NewTable(name, store.Options[code]{
		Key:    func(c *code) string { return c.ID },
		Sealed: true,
		Direct: true,
		TTL:    func(c *code) time.Duration { return time.Duration(c.Seconds) * time.Second },
	})
}

func update(t testing.TB, s *store.Store, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func fresh(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Fresh(context.Background()); err != nil {
		t.Fatalf("Fresh: %v", err)
	}
}

// eventually waits for what only time brings: expiry, elections, reconnection.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("after %v: not %s", limit, what)
}

// each runs n copies of fn at once and returns their errors.
func each(n int, fn func(i int) error) []error {
	out := make([]error, n)
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-gate
			out[i] = fn(i)
		})
	}
	close(gate)
	wg.Wait()
	return out
}

// Conformance is what every kind of etcd must pass.
func Conformance(t *testing.T, h Harness) {
	for _, tc := range []struct {
		name string
		fn   func(*testing.T, Harness)
	}{
		{"OneOfFiftyCreators", oneOfFiftyCreators},
		{"ClaimsMoveWithTheirRecords", claimsMove},
		{"ClaimsOfOtherVersions", claimsOfOtherVersions},
		{"OneOfFiftyTakers", oneOfFiftyTakers},
		{"NoLostUpdates", noLostUpdates},
		{"ReadYourWrites", readYourWrites},
		{"ErrorsAreCurrent", errorsAreCurrent},
		{"Guard", guard},
		{"TxSeesItsOwnWrites", ownWrites},
		{"AbortLeavesNothing", abort},
		{"ViewMovesForwardWhole", viewMovesForward},
		{"SubscribersComeFirst", subscribers},
		{"LeasesExpire", leases},
		{"SealedValues", sealed},
		{"BadRecordStopsTheView", badRecord},
		{"OneLeader", oneLeader},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.fn(t, h) })
	}
}

func oneOfFiftyCreators(t *testing.T, h Harness) {
	tab := people("creators")
	stores := []*store.Store{h.Open(t, tab), h.Open(t, tab)}
	for _, tc := range []struct {
		name  string
		id    func(i int) string
		claim bool
	}{
		{"same claim", func(i int) string { return fmt.Sprint("c", i) }, true},
		{"same key", func(int) string { return "k" }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			won := 0
			for i, err := range each(50, func(i int) error {
				return stores[i%2].Update(context.Background(), func(tx *store.Tx) error {
					return tab.Create(tx, &person{ID: tc.id(i), Name: "ann " + tc.name, N: i})
				})
			}) {
				if err == nil {
					won++
					continue
				}
				if !errs.Is(err, errs.Exists) {
					t.Errorf("creator %d: %v", i, err)
				}
				held, ok := errors.AsType[*store.TakenError](err)
				if tc.claim && (!ok || held.Claim != "name/ann "+tc.name || held.Table != "creators") {
					t.Errorf("creator %d: %v does not name the claim", i, err)
				}
			}
			if won != 1 {
				t.Errorf("%d creators succeeded, want 1", won)
			}
		})
	}
}

func claimsMove(t *testing.T, h Harness) {
	ctx := context.Background()
	tab := people("movers")
	s := h.Open(t, tab)
	create := func(id, name string) error {
		return s.Update(ctx, func(tx *store.Tx) error { return tab.Create(tx, &person{ID: id, Name: name}) })
	}
	rename := func(tx *store.Tx, id, name string) error {
		return tab.Modify(tx, id, func(p *person) error { p.Name = name; return nil })
	}
	for id, name := range map[string]string{"1": "ann", "2": "bob"} {
		if err := create(id, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Update(ctx, func(tx *store.Tx) error { return rename(tx, "1", "bob") }); !errs.Is(err, errs.Exists) {
		t.Fatalf("renaming to a taken name: %v", err)
	}
	// A swap in one transaction is no violation.
	update(t, s, func(tx *store.Tx) error {
		return errors.Join(rename(tx, "1", "bob"), rename(tx, "2", "ann"))
	})
	if err := create("3", "ann"); !errs.Is(err, errs.Exists) {
		t.Errorf("after the swap ann is free: %v", err)
	}
	update(t, s, func(tx *store.Tx) error { return rename(tx, "2", "cid") })
	if err := create("3", "ann"); err != nil {
		t.Errorf("after the rename ann is not free: %v", err)
	}
	update(t, s, func(tx *store.Tx) error { return tab.Delete(tx, "3") })
	if err := create("4", "ann"); err != nil {
		t.Errorf("after the deletion ann is not free: %v", err)
	}
	update(t, s, func(tx *store.Tx) error { return tab.Put(tx, &person{ID: "4", Name: "dan"}) })
	if err := create("5", "ann"); err != nil {
		t.Errorf("after the replacement ann is not free: %v", err)
	}
	// Deleted and created again in one transaction, under another key.
	update(t, s, func(tx *store.Tx) error {
		return errors.Join(tab.Delete(tx, "5"), tab.Create(tx, &person{ID: "6", Name: "ann"}))
	})
	if err := create("7", "ann"); !errs.Is(err, errs.Exists) {
		t.Errorf("the claim was lost when it passed to another record: %v", err)
	}
	err := s.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(tab.Create(tx, &person{ID: "8", Name: "eve"}), tab.Create(tx, &person{ID: "9", Name: "eve"}))
	})
	if !errs.Is(err, errs.Exists) {
		t.Errorf("one transaction claimed a name twice: %v", err)
	}
	if v, err := tab.Take(ctx, s, "6"); err != nil || v.Name != "ann" {
		t.Errorf("Take = %v, %v", v, err)
	}
	if err := create("7", "ann"); err != nil {
		t.Errorf("after Take ann is not free: %v", err)
	}
}

// claimsOfOtherVersions: records may have been written by a version that claimed
// less or more. Nobody loses a claim by that, and nothing gets stuck.
func claimsOfOtherVersions(t *testing.T, h Harness) {
	ctx := context.Background()
	tab := people("versions")
	s := h.Open(t, tab)
	claim := func(name string) string { return h.Prefix + "c/versions/name/" + name }
	holder := func(name string) string {
		resp, err := h.Raw.Get(ctx, claim(name))
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Kvs) == 0 {
			return ""
		}
		return string(resp.Kvs[0].Value)
	}
	hold := func(name, id string) {
		var err error
		if id == "" {
			_, err = h.Raw.Delete(ctx, claim(name))
		} else {
			_, err = h.Raw.Put(ctx, claim(name), id)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	pass := func(from, to, name string) error {
		return s.Update(ctx, func(tx *store.Tx) error {
			return errors.Join(tab.Delete(tx, from), tab.Create(tx, &person{ID: to, Name: name}))
		})
	}
	update(t, s, func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "1", Name: "ann"}) })

	hold("zed", "1") // held already, but not by what the record says
	update(t, s, func(tx *store.Tx) error {
		return tab.Modify(tx, "1", func(p *person) error { p.Name = "zed"; return nil })
	})
	if got := holder("zed") + holder("ann"); got != "1" {
		t.Errorf("holders of zed and ann: %q", got)
	}
	hold("zed", "") // the record says so, but it is not held
	if err := pass("1", "2", "zed"); err != nil || holder("zed") != "2" {
		t.Errorf("passing on an unheld claim: %v, holder %q", err, holder("zed"))
	}
	hold("zed", "9") // the record says so, but another holds it
	if err := pass("2", "3", "zed"); !errs.Is(err, errs.Exists) || holder("zed") != "9" {
		t.Errorf("passing on another's claim: %v, holder %q", err, holder("zed"))
	}
	update(t, s, func(tx *store.Tx) error { return tab.Delete(tx, "2") })
	if holder("zed") != "9" {
		t.Errorf("a deletion took another's claim along: holder %q", holder("zed"))
	}
}

func oneOfFiftyTakers(t *testing.T, h Harness) {
	ctx := context.Background()
	direct, viewed := codes("taken-codes"), people("taken-people")
	stores := []*store.Store{h.Open(t, direct, viewed), h.Open(t, direct, viewed)}
	update(t, stores[0], func(tx *store.Tx) error {
		return errors.Join(
			direct.Create(tx, &code{ID: "x", Secret: "s", Seconds: 60}),
			viewed.Create(tx, &person{ID: "x", Name: "claimed"}))
	})
	for name, take := range map[string]func(s *store.Store) error{
		"direct": func(s *store.Store) error {
			v, err := direct.Take(ctx, s, "x")
			if err == nil && v.Secret != "s" {
				return fmt.Errorf("took %+v", v)
			}
			return err
		},
		"viewed, with a claim": func(s *store.Store) error {
			_, err := viewed.Take(ctx, s, "x")
			return err
		},
	} {
		won := 0
		for i, err := range each(50, func(i int) error { return take(stores[i%2]) }) {
			if err == nil {
				won++
			} else if !errs.Is(err, errs.NotFound) {
				t.Errorf("%s: taker %d: %v", name, i, err)
			}
		}
		if won != 1 {
			t.Errorf("%s: %d takers succeeded, want 1", name, won)
		}
	}
}

func noLostUpdates(t *testing.T, h Harness) {
	tab := people("counters")
	stores := []*store.Store{h.Open(t, tab), h.Open(t, tab)}
	update(t, stores[0], func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "n"}) })
	const writers, rounds = 20, 5
	for i, err := range each(writers, func(i int) error {
		for range rounds {
			if err := stores[i%2].Update(context.Background(), func(tx *store.Tx) error {
				return tab.Modify(tx, "n", func(p *person) error { p.N++; return nil })
			}); err != nil {
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("writer %d: %v", i, err)
		}
	}
	fresh(t, stores[1])
	if p, err := tab.Get(stores[1].View(), "n"); err != nil || p.N != writers*rounds {
		t.Errorf("the counter is %+v, %v; want %d", p, err, writers*rounds)
	}
}

func readYourWrites(t *testing.T, h Harness) {
	ctx := context.Background()
	tab, other := people("written"), codes("written-codes")
	a, b := h.Open(t, tab, other), h.Open(t, tab, other)
	for i := range 50 {
		id := fmt.Sprint(i)
		update(t, a, func(tx *store.Tx) error { return tab.Create(tx, &person{ID: id, Name: id, Groups: []string{"g"}}) })
		if n := tab.Count(a.View(), "group", "g"); n != i+1 {
			t.Fatalf("the writer sees %d of %d", n, i+1)
		}
		// A write outside the view must not keep Fresh waiting.
		update(t, b, func(tx *store.Tx) error { return other.Put(tx, &code{ID: id, Seconds: 60}) })
		fresh(t, b)
		if _, err := tab.Get(b.View(), id); err != nil {
			t.Fatalf("after Fresh the other store: %v", err)
		}
		if p, err := tab.GetFresh(ctx, b, id); err != nil || p.ID != id {
			t.Fatalf("GetFresh = %v, %v", p, err)
		}
	}
	if _, err := tab.GetFresh(ctx, b, "none"); !errs.Is(err, errs.NotFound) {
		t.Errorf("GetFresh of nothing: %v", err)
	}
	want, ok := tab.Rev(a.View(), "7")
	if got, _ := tab.Rev(b.View(), "7"); !ok || got != want || want == 0 {
		t.Errorf("revisions %d and %d", want, got)
	}
	if hl := b.Health(); !hl.Ready || hl.Revision != b.View().Revision() || time.Since(hl.LastContact) > time.Second {
		t.Errorf("Health = %+v", hl)
	}
}

// errorsAreCurrent: what another replica wrote a moment ago is not "not found",
// although this one's view may not show it yet.
func errorsAreCurrent(t *testing.T, h Harness) {
	tab := people("current")
	a, b := h.Open(t, tab), h.Open(t, tab)
	for i := range 100 {
		id := fmt.Sprint(i)
		update(t, a, func(tx *store.Tx) error { return tab.Create(tx, &person{ID: id, Name: id, Groups: []string{id}}) })
		update(t, b, func(tx *store.Tx) error {
			return tab.Modify(tx, id, func(p *person) error { p.N = 1; return nil })
		})
		update(t, a, func(tx *store.Tx) error { return tab.Delete(tx, id) })
		update(t, b, func(tx *store.Tx) error {
			if tab.Count(tx, "group", id) != 0 {
				return errors.New("a set was not current")
			}
			return tab.Create(tx, &person{ID: id, Name: id, Groups: []string{id}})
		})
	}
}

// guard shows the anomaly without a guard first, and that the guard ends it.
func guard(t *testing.T, h Harness) {
	tab := people("owners")
	stores := []*store.Store{h.Open(t, tab), h.Open(t, tab)}
	for _, tc := range []struct {
		guarded bool
		left    int
	}{{false, 0}, {true, 1}} {
		update(t, stores[0], func(tx *store.Tx) error {
			for _, id := range []string{"1", "2"} {
				if err := tab.Put(tx, &person{ID: id, Groups: []string{"owner"}}); err != nil {
					return err
				}
			}
			return nil
		})
		fresh(t, stores[1])
		var met sync.WaitGroup
		met.Add(2)
		last := errs.New(errs.Forbidden, "the last owner stays")
		var failed atomic.Int32
		for _, err := range each(2, func(i int) error {
			first := true
			return stores[i].Update(context.Background(), func(tx *store.Tx) error {
				if tc.guarded {
					tx.Guard("owners")
				}
				n := tab.Count(tx, "group", "owner")
				if first { // both have counted before either removes
					first = false
					met.Done()
					met.Wait()
				}
				if n < 2 {
					return last
				}
				return tab.Delete(tx, fmt.Sprint(i+1))
			})
		}) {
			if errors.Is(err, last) {
				failed.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		}
		fresh(t, stores[0])
		if n := tab.Count(stores[0].View(), "group", "owner"); n != tc.left || int(failed.Load()) != tc.left {
			t.Errorf("guarded %v: %d owners are left and %d removals failed, want %d", tc.guarded, n, failed.Load(), tc.left)
		}
	}
}

func ownWrites(t *testing.T, h Harness) {
	tab := people("own")
	s := h.Open(t, tab)
	update(t, s, func(tx *store.Tx) error {
		return errors.Join(
			tab.Create(tx, &person{ID: "a/1", Name: "n1", Groups: []string{"x", "xy"}}),
			tab.Create(tx, &person{ID: "a/2", Name: "n2", Groups: []string{"x"}}),
			tab.Create(tx, &person{ID: "b/3", Name: "n3", Groups: []string{"y", "a\x00\x01b", ""}}))
	})
	ids := func(seq func(func(*person) bool)) string {
		var out []string
		for p := range seq {
			out = append(out, p.ID)
		}
		return strings.Join(out, " ")
	}
	show := func(r store.Reader) []string {
		return []string{
			ids(tab.Where(r, "group", "x")), ids(tab.WherePrefix(r, "group", "x")), ids(tab.WherePrefix(r, "group", "")),
			ids(tab.AllPrefix(r, "a/")), ids(tab.All(r)), ids(tab.Where(r, "group", "a")), ids(tab.Where(r, "group", "a\x00\x01b")), ids(tab.Where(r, "group", "")),
			ids(tab.Where(r, "part", "a")), ids(tab.WherePrefix(r, "part", "")), ids(tab.Where(r, "part", "")),
		}
	}
	if got, want := show(s.View()), []string{"a/1 a/2", "a/1 a/2", "b/3 a/1 a/2", "a/1 a/2", "a/1 a/2 b/3", "", "b/3", "b/3", "a/1 a/2", "a/1 a/2 b/3", ""}; !slices.Equal(got, want) {
		t.Errorf("view: %q, want %q", got, want)
	}
	var in []string
	update(t, s, func(tx *store.Tx) error {
		mine := &person{ID: "a/0", Name: "n0", Groups: []string{"xz", "w"}}
		if err := errors.Join(
			tab.Create(tx, mine),
			tab.Delete(tx, "a/2"),
			tab.Modify(tx, "b/3", func(p *person) error { p.Groups = []string{"x"}; return nil }),
		); err != nil {
			return err
		}
		mine.Name = "changed after Create, and so not stored"
		if p, err := tab.Get(tx, "a/0"); err != nil || p.Name != "n0" {
			return fmt.Errorf("Get of an own write = %v, %v", p, err)
		}
		if _, err := tab.Get(tx, "a/2"); !errs.Is(err, errs.NotFound) {
			return fmt.Errorf("Get of an own deletion: %v", err)
		}
		if err := tab.Create(tx, &person{ID: "a/1"}); !errs.Is(err, errs.Exists) {
			return fmt.Errorf("Create of what exists: %v", err)
		}
		in = show(tx)
		return nil
	})
	want := []string{"a/1 b/3", "a/1 b/3 a/0", "a/0 a/1 b/3", "a/0 a/1", "a/0 a/1 b/3", "", "", "", "a/0 a/1", "a/0 a/1 b/3", ""}
	if !slices.Equal(in, want) {
		t.Errorf("inside: %q, want %q", in, want)
	}
	if got := show(s.View()); !slices.Equal(got, in) {
		t.Errorf("afterwards: %q, want %q", got, in)
	}
}

func abort(t *testing.T, h Harness) {
	ctx := context.Background()
	tab := people("aborted")
	s := h.Open(t, tab)
	update(t, s, func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "1", Name: "ann"}) })
	before := s.View()
	boom := errs.New(errs.Invalid, "boom")
	err := s.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(tab.Create(tx, &person{ID: "2", Name: "bob"}), tab.Delete(tx, "1"), boom)
	})
	if !errors.Is(err, boom) {
		t.Errorf("Update = %v, want fn's error", err)
	}
	for name, fn := range map[string]func(tx *store.Tx) error{
		"empty key":   func(tx *store.Tx) error { return tab.Create(tx, &person{}) },
		"zero byte":   func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "a\x00b"}) },
		"not UTF-8":   func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "\xff"}) },
		"too long":    func(tx *store.Tx) error { return tab.Create(tx, &person{ID: strings.Repeat("k", 5000)}) },
		"bad claim":   func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "9", Name: "a\x00b"}) },
		"key changed": func(tx *store.Tx) error { return tab.Modify(tx, "1", func(p *person) error { p.ID = "2"; return nil }) },
		"huge record": func(tx *store.Tx) error {
			return tab.Create(tx, &person{ID: "9", Name: "h", Groups: []string{strings.Repeat("x", 2<<20)}})
		},
		"huge change": func(tx *store.Tx) error {
			var err error
			for i := range 16 {
				err = errors.Join(err, tab.Create(tx, &person{ID: fmt.Sprint(i, "h"), Groups: []string{strings.Repeat("x", 1<<20-100)}}))
			}
			return err
		},
	} {
		if err := s.Update(ctx, fn); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want an invalid request", name, err)
		}
	}
	update(t, s, func(tx *store.Tx) error {
		return tab.Modify(tx, "1", func(*person) error { return nil })
	})
	fresh(t, s)
	was, _ := tab.Rev(before, "1")
	if rev, ok := tab.Rev(s.View(), "1"); !ok || rev != was {
		t.Errorf("the record was written at %d, then at %d", was, rev)
	}
	n := 0
	for range tab.All(s.View()) {
		n++
	}
	if n != 1 {
		t.Errorf("%d records, want 1", n)
	}
	update(t, s, func(tx *store.Tx) error { return tab.Create(tx, &person{ID: "2", Name: "bob"}) })
}
