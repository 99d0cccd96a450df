package server

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/entrance-id/entrance/internal/store"
)

// health answers on the listener for probes and metrics. Liveness says that the
// process works; readiness says that its answers can be trusted.
type health struct {
	store   *store.Store
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
	return h
}

// isReady reports whether the process has started and its view is fresh.
func (h *health) isReady() bool { return h.started.Load() && h.store.Health().Ready }

func (h *health) ready(w http.ResponseWriter, _ *http.Request) {
	state := h.store.Health()
	w.Header().Set("Content-Type", "application/json")
	if !h.isReady() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(map[string]any{
		"ready": h.isReady(), "started": h.started.Load(), "storeReady": state.Ready,
		"revision": state.Revision, "lastContact": state.LastContact.UTC(),
	})
}

// ServeHTTP implements http.Handler.
func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }
