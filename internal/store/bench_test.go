package store_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

// fill writes n users, ten to a group.
func fill(b *testing.B, s *store.Store, n int) {
	b.Helper()
	const at = 1000
	for i := 0; i < n; i += at {
		if err := s.Update(context.Background(), func(tx *store.Tx) error {
			for j := i; j < min(i+at, n); j++ {
				if err := users.Put(tx, benchUser(j)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

func benchUser(i int) *user {
	return &user{
		ID:     fmt.Sprintf("00000000-0000-0000-0000-%012d", i),
		Name:   fmt.Sprintf("user%d@contoso.onmicrosoft.com", i),
		Groups: []string{fmt.Sprintf("group-%d", i/10)},
	}
}

func BenchmarkViewGet(b *testing.B) {
	s := storetest.Open(b, users)
	fill(b, s, 10_000)
	id := benchUser(4242).ID
	b.ReportAllocs()
	for b.Loop() {
		if _, err := users.Get(s.View(), id); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkViewWhere(b *testing.B) {
	s := storetest.Open(b, users)
	fill(b, s, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if n := users.Count(s.View(), "group", "group-42"); n != 10 {
			b.Fatal(n)
		}
	}
}

// BenchmarkUpdate is the time until a write is durable and in the view.
func BenchmarkUpdate(b *testing.B) {
	for _, tc := range []struct {
		name  string
		fsync bool
		par   int
	}{{"fsync", true, 1}, {"fsync-32-writers", true, 32}, {"no-fsync", false, 1}} {
		b.Run(tc.name, func(b *testing.B) {
			s, err := store.Open(context.Background(), store.Config{Dir: b.TempDir(), UnsafeNoFsync: !tc.fsync, SealKey: storetest.SealKey}, users)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var n atomic.Int64
			b.SetParallelism(tc.par)
			b.ResetTimer()
			one := func() {
				u := benchUser(int(n.Add(1)))
				if err := s.Update(context.Background(), func(tx *store.Tx) error { return users.Create(tx, u) }); err != nil {
					b.Error(err)
				}
			}
			if tc.par == 1 {
				for range b.N {
					one()
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					one()
				}
			})
		})
	}
}

func BenchmarkFresh(b *testing.B) {
	s := storetest.Open(b, users)
	for b.Loop() {
		if err := s.Fresh(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	s := storetest.Open(b, codesTable)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Update(context.Background(), func(tx *store.Tx) error {
			return codesTable.Create(tx, &secret{ID: "x"})
		}); err != nil {
			b.Fatal(err)
		}
		if _, err := codesTable.Take(context.Background(), s, "x"); err != nil {
			b.Fatal(err)
		}
	}
}

var codesTable = store.NewTable("codes", store.Options[secret]{
	Key: func(s *secret) string { return s.ID }, Sealed: true, Direct: true,
	TTL: func(*secret) time.Duration { return 10 * time.Minute },
})

func BenchmarkOpenEmpty(b *testing.B) {
	for b.Loop() {
		s, err := store.Open(context.Background(), store.Config{Dir: b.TempDir(), SealKey: storetest.SealKey}, users)
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

// BenchmarkLoad is the time to load a view of 100,000 records, and what it takes
// in memory, etcd apart.
func BenchmarkLoad(b *testing.B) {
	const n = 100_000
	s := storetest.Open(b, users)
	fill(b, s, n)
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	var took time.Duration
	var bytes float64
	for b.Loop() {
		before := heap()
		start := time.Now()
		r, err := s.Sibling(context.Background(), users)
		if err != nil {
			b.Fatal(err)
		}
		took += time.Since(start)
		bytes += heap() - before
		if got := users.Count(r.View(), "group", "group-42"); got != 10 {
			b.Fatal(got)
		}
		r.Close()
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/load")
	b.ReportMetric(bytes/float64(b.N)/n, "B/record")
	b.ReportMetric(0, "ns/op")
}
