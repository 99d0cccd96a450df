package workloadidentity_test

import (
	"context"
	"slices"
	"testing"
	"time"
)

// BenchmarkReview tells how long an admission takes besides the look-up of the
// service account; TestCluster tells it with a real API server.
func BenchmarkReview(b *testing.B) {
	w := newWebhook(b, nil)
	body := reviewJSON("v1", "team", "CREATE", podJSON(b, "app", `{"spec":{"initContainers":[{"name":"i","image":"i"}],"volumes":[{"name":"v","emptyDir":{}}],
		"containers":[{"name":"main","image":"i","env":[{"name":"A","value":"b"}]},{"name":"side","image":"s"}]}}`))
	times := make([]time.Duration, 0, 1<<16)
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if _, err := w.Review(context.Background(), cluster, body); err != nil {
			b.Fatal(err)
		}
		if len(times) < cap(times) {
			times = append(times, time.Since(start))
		}
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)*99/100]), "p99-ns")
}
