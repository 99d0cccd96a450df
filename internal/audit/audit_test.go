package audit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/clock"
)

func open(t testing.TB, dir string, o audit.Options) *audit.Log {
	t.Helper()
	if o.Clock == nil {
		o.Clock = clock.Func(time.Now)
	}
	l, err := audit.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func appendN(t testing.TB, l *audit.Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := l.Append(t.Context(), map[string]int{"n": i}); err != nil {
			t.Fatal(err)
		}
	}
}

func newest(t testing.TB, l *audit.Log, before audit.Position, n int) (docs []string, last audit.Position) {
	t.Helper()
	err := l.Newest(before, func(p audit.Position, r audit.Record) bool {
		docs, last = append(docs, string(r.Doc)), p
		return len(docs) < n
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs, last
}

func TestNewestFirstAcrossSegmentsAndPages(t *testing.T) {
	l := open(t, t.TempDir(), audit.Options{SegmentBytes: 200})
	appendN(t, l, 0, 50)
	var at audit.Position
	for want := 49; want > 0; want -= 7 {
		var docs []string
		docs, at = newest(t, l, at, 7)
		for i, d := range docs {
			if d != fmt.Sprintf(`{"n":%d}`, want-i) {
				t.Fatalf("page that begins at %d: %v", want, docs)
			}
		}
	}
}

func TestReopenCutsAnUnfinishedRecord(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, audit.Options{})
	appendN(t, l, 0, 3)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), 1); err == nil {
		t.Error("a closed log takes records")
	}
	name := filepath.Join(dir, "00000001.jsonl")
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"time":"2026-01-01T00:00:00Z","doc":{"n":9`)
	f.Close()
	l = open(t, dir, audit.Options{})
	appendN(t, l, 3, 4)
	if docs, _ := newest(t, l, audit.Position{}, 10); fmt.Sprint(docs) != `[{"n":3} {"n":2} {"n":1} {"n":0}]` {
		t.Errorf("after a crash: %v", docs)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v", info.Mode(), err)
	}
}

func TestManyAtOnceLoseNothing(t *testing.T) {
	l := open(t, t.TempDir(), audit.Options{SegmentBytes: 4 << 10})
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := range 50 {
				if err := l.Append(context.Background(), fmt.Sprintf("%d/%d", g, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	docs, _ := newest(t, l, audit.Position{}, 2000)
	seen := map[string]bool{}
	for _, d := range docs {
		seen[d] = true
	}
	if len(docs) != 1000 || len(seen) != 1000 {
		t.Errorf("%d records, %d different; want 1000", len(docs), len(seen))
	}
}

func TestPrune(t *testing.T) {
	now := clock.NewManual(time.Now())
	dir := t.TempDir()
	l := open(t, dir, audit.Options{SegmentBytes: 100, MaxSegments: 3, MaxAge: time.Hour, Clock: now})
	appendN(t, l, 0, 40)
	if err := l.Prune(); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 3 {
		t.Errorf("%d segments after pruning by number, want 3", len(files))
	}
	now.Advance(2 * time.Hour)
	if err := l.Prune(); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 1 {
		t.Errorf("%d segments after pruning by age, want the current one", len(files))
	}
	if docs, _ := newest(t, l, audit.Position{}, 1); fmt.Sprint(docs) != `[{"n":39}]` {
		t.Errorf("newest = %v", docs)
	}
}

func TestFollow(t *testing.T) {
	l := open(t, t.TempDir(), audit.Options{SegmentBytes: 100})
	appendN(t, l, 0, 3)
	got := make(chan string)
	done := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	go func() {
		close(started)
		done <- l.Follow(ctx, func(r audit.Record) bool { got <- string(r.Doc); return true })
	}()
	<-started
	// A record that was there when following began may or may not be seen, so
	// write until one arrives, and then expect the rest in order.
	first := -1
	for i := 3; first < 0; i++ {
		appendN(t, l, i, i+1)
		select {
		case s := <-got:
			fmt.Sscanf(s, `{"n":%d}`, &first)
		case <-time.After(time.Millisecond):
		}
	}
	next := first + 1
	go func() {
		for i := 1000; i < 1010; i++ {
			if err := l.Append(context.Background(), map[string]int{"n": i}); err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		s := <-got
		n := 0
		fmt.Sscanf(s, `{"n":%d}`, &n)
		if n < 1000 && n != next {
			t.Fatalf("got %d, want %d", n, next)
		}
		next++
		if n == 1009 {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkAppend(b *testing.B) {
	l := open(b, b.TempDir(), audit.Options{})
	doc := map[string]string{"user": "ada@contoso.test", "resource": "aks", "status": "success"}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Append(context.Background(), doc); err != nil {
				b.Error(err)
			}
		}
	})
}
