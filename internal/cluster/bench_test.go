package cluster_test

import (
	"testing"
	"time"
)

// BenchmarkStart measures what a person waits for: from Apply to a cluster
// that can be used. The budgets are 6 s for the first cluster, which starts
// etcd too, and 4 s for a second.
func BenchmarkStart(b *testing.B) {
	binary(b)
	var first, second, again, stop time.Duration
	n := 0
	for b.Loop() {
		n++
		dir := b.TempDir()
		m := open(b, dir, nil)
		first += took(func() { apply(b, m, spec("one", nil)) })
		second += took(func() { apply(b, m, spec("two", nil)) })
		stop += took(m.Stop)
		m = open(b, dir, nil)
		again += took(func() { apply(b, m, spec("one", nil)) })
		m.Stop()
	}
	b.ReportMetric(0, "ns/op")
	for _, f := range []struct {
		unit string
		d    time.Duration
	}{{"s/first", first}, {"s/second", second}, {"s/restart", again}, {"s/stop-of-2", stop}} {
		b.ReportMetric(f.d.Seconds()/float64(n), f.unit)
	}
}

func took(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}
