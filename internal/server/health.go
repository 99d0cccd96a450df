package server

import (
	"encoding/json"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/store"
)

// health answers on the listener for probes and metrics. Liveness says that the
// process works; readiness says that its answers can be trusted.
type health struct {
	store   *store.Store
	access  atomic.Pointer[access.Keeper]
	lookups *prometheus.CounterVec
	started atomic.Bool
	mux     *http.ServeMux
}

func newHealth(s *store.Store, registry *prometheus.Registry) *health {
	h := &health{store: s, mux: http.NewServeMux()}
	h.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	h.mux.HandleFunc("GET /readyz", h.ready)
	h.mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "entrance_store_revision", Help: "The store revision that this process's view shows.",
	}, func() float64 { return float64(s.Health().Revision) }))
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "entrance_store_ready", Help: "1 while the view of the store is fresh enough to decide from.",
	}, func() float64 {
		if s.Health().Ready {
			return 1
		}
		return 0
	}))
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "entrance_access_snapshot_revision", Help: "The store revision that access is decided from; 0 while there is none to decide from.",
	}, func() float64 {
		revision, _ := h.snapshot()
		return float64(revision)
	}))
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "entrance_access_snapshot_age_seconds", Help: "Time since it was last proved that what access is decided from was everything; +Inf while there is nothing to decide from.",
	}, func() float64 {
		if _, ok := h.snapshot(); !ok {
			return math.Inf(1)
		}
		return time.Since(s.Health().LastContact).Seconds()
	}))
	h.lookups = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "entrance_cache_lookups_total", Help: "Lookups in what is remembered of others: what an API server serves (discovery), and groups of people of connected tenants (groups).",
	}, []string{"cache", "result"})
	registry.MustRegister(h.lookups)
	return h
}

// lookup returns what counts the lookups of a cache.
func (h *health) lookup(cache string) func(hit bool) {
	hits, misses := h.lookups.WithLabelValues(cache, "hit"), h.lookups.WithLabelValues(cache, "miss")
	return func(hit bool) {
		if hit {
			hits.Inc()
		} else {
			misses.Inc()
		}
	}
}

// snapshot returns the revision of what access is decided from, and whether there
// is such a thing.
func (h *health) snapshot() (revision int64, ok bool) {
	k := h.access.Load()
	if k == nil {
		return 0, false
	}
	facts, err := k.Facts()
	if err != nil {
		return 0, false
	}
	return facts.View.Revision(), true
}

// isReady reports whether the process has started, its view is fresh, and there
// is something to decide access from.
func (h *health) isReady() bool {
	_, decides := h.snapshot()
	return h.started.Load() && decides && h.store.Health().Ready
}

func (h *health) ready(w http.ResponseWriter, _ *http.Request) {
	state := h.store.Health()
	snapshot, decides := h.snapshot()
	w.Header().Set("Content-Type", "application/json")
	if !h.isReady() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(map[string]any{
		"ready": h.isReady(), "started": h.started.Load(), "storeReady": state.Ready, "accessReady": decides, "snapshotRevision": snapshot,
		"revision": state.Revision, "lastContact": state.LastContact.UTC(),
	})
}

// ServeHTTP implements http.Handler.
func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }
