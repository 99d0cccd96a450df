// Package webhook answers a Kubernetes API server's questions: who is behind a
// token (TokenReview), and what they may do (SubjectAccessReview).
//
// # Who may ask
//
// Only API servers: the listener demands a client certificate of Entrance's
// webhook authority, and this package demands that the certificate names the
// very cluster that the address names. Nothing of a body is read before that.
//
// # What is believed
//
// A token is believed about one thing: which object of the cluster's tenant it
// was issued to (tid and oid). Names, groups and whether the account is enabled
// come from the directory as it is now. Names that Kubernetes keeps for itself
// (system:) can therefore never come out of a review.
//
// # Freshness
//
// An API server keeps a successful TokenReview for ten seconds, and nothing can
// change that. The deny endpoint carries what must not wait for it: it is asked
// before every other authorizer and refuses a user who has since been disabled
// or revoked, or whose reviewed groups are no longer all theirs.
package webhook

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pop"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// Organization is what the client certificate of an API server must name as
// its organization, as AKS's own webhook demands it.
const Organization = "azure"

// Bounds of proof of possession: how old a signed request may be, how far ahead
// of our clock it may be dated, and how many are remembered.
const (
	popValidity = 15 * time.Minute
	popFuture   = 5 * time.Minute
	maxShells   = 100_000
)

// maxRequest bounds a certificate request.
const maxRequest = 16 << 10

// maxBody bounds a review. Kubernetes' own limit for tokens is far below it.
const maxBody = 256 << 10

// maxPod bounds the review of a pod, which holds the pod twice at most; an API
// server takes requests of 3 MiB.
const maxPod = 8 << 20

// Authorizer decides about a request to a cluster, beyond its admin groups.
// It is asked only about users of the cluster's tenant, in clusters with Azure
// RBAC.
type Authorizer interface {
	Authorize(view *store.View, c *state.Cluster, u User, a Attributes) Decision
}

// User is the subject of an access review, as the directory knows it now.
type User struct {
	ID     directory.ObjectID
	Name   string // the user name in the review
	Groups []directory.ObjectID
}

// Verdict is what an authorizer says.
type Verdict int

const (
	NoOpinion Verdict = iota
	Allow
	Deny
)

// Decision is a verdict and its reason, which kubectl shows.
type Decision struct {
	Verdict Verdict
	Reason  string
}

// Config is what a Service needs.
type Config struct {
	Store    *store.Store
	Clock    clock.Clock
	Keys     token.Keys // the issuers that are believed
	Azure    Authorizer // nil: no cluster may have Azure RBAC
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
	Observer Observer // may be nil
	Pods     Pods     // nil: pods are not changed
	// Connected knows tenants that are not hosted here, and further issuers of
	// clusters. Nil: there are none.
	Connected Connected
	// Renew certifies the key of a certificate request for the API server of a
	// cluster, and returns the chain in PEM form. Nil: certificates are not
	// renewed here.
	Renew func(key string, csr []byte) ([]byte, error)
	// LegacySecret returns the secret with which a cluster of the legacy
	// integration looks up groups, and whether it has one. Nil: none has.
	LegacySecret func(view store.Reader, key string) (string, bool)
	// MaxAge bounds how old the view of the store may be before every answer
	// is an error.
	MaxAge time.Duration
}

// Pods answers admission reviews of pods, in clusters with workload identity.
type Pods interface {
	Serve(w http.ResponseWriter, r *http.Request, c *state.Cluster, body []byte)
}

// Observer is told of every answer, for the audit log.
type Observer interface {
	Reviewed(c *state.Cluster, kind string, user User, a Attributes, d Decision, rev int64)
}

// Service answers reviews. It is an http.Handler.
type Service struct {
	Config
	mux     *http.ServeMux
	seconds *prometheus.HistogramVec
	repeats prometheus.Counter

	expiry *prometheus.GaugeVec
	probes probes

	shellsMu sync.Mutex
	shells   *pop.Replay
}

// New returns a Service.
func New(c Config) *Service {
	s := &Service{Config: c, mux: http.NewServeMux()}
	s.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "entrance_webhook_request_duration_seconds",
		Help:    "Time to answer a review, by kind and verdict.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .05, .25, 1},
	}, []string{"kind", "verdict"})
	s.shells = pop.NewReplay(maxShells, 0)
	s.repeats = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "entrance_webhook_pop_repeats_total",
		Help: "Signed requests (proof of possession) that were seen again inside their validity.",
	})
	s.expiry = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "entrance_webhook_client_certificate_expiry_seconds",
		Help: "When the client certificate with which a cluster's API server asked last will end, in seconds since 1970.",
	}, []string{"cluster"})
	if c.Metrics != nil {
		c.Metrics.MustRegister(s.seconds, s.repeats, s.expiry)
	}
	s.mux.HandleFunc("POST /clusters/{key}/authenticate", s.guard(maxBody, asks, s.authenticate))
	s.mux.HandleFunc("POST /clusters/{key}/authorize", s.guard(maxBody, asks, s.authorize))
	s.mux.HandleFunc("POST /clusters/{key}/deny", s.guard(maxBody, asks, s.deny))
	if c.Renew != nil {
		s.mux.HandleFunc("POST /clusters/{key}/certificate", s.guard(maxRequest, exists, s.renew))
	}
	if c.Pods != nil {
		s.mux.HandleFunc("POST /clusters/{key}/mutate-pods", s.guard(maxPod, mutates, s.mutate))
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// question is a review that may be answered: whose cluster, seen in which view,
// and its body.
type question struct {
	cluster *state.Cluster
	view    *store.View
	now     time.Time
	request *http.Request
	body    []byte
	start   time.Time
}

// A cluster asks about people if it has Entra, and has pods changed if it has
// workload identity. Either may be without the other.
func asks(c *state.Cluster) bool    { return c.Entra }
func mutates(c *state.Cluster) bool { return c.WorkloadIdentity }
func exists(*state.Cluster) bool    { return true }

// guard lets only the cluster's own API server through, if the cluster has what
// is asked for, reads the body and refuses to answer from a view that is too old.
func (s *Service) guard(limit int64, has func(*state.Cluster) bool, next func(w http.ResponseWriter, q *question)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		key := r.PathValue("key")
		if err := checkPeer(r, key); err != nil {
			s.Logger.Warn("webhook: caller refused", "cluster", key, "remote", r.RemoteAddr, "error", err)
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		if h := s.Store.Health(); !h.Ready || s.MaxAge > 0 && start.Sub(h.LastContact) > s.MaxAge {
			// An error, not an answer: the API server's failure policy decides,
			// and its own certificate still lets an administrator in.
			http.Error(w, "Entrance's view of the store is too old to decide from.", http.StatusServiceUnavailable)
			return
		}
		view := s.Store.View()
		c, err := state.Clusters.Get(view, key)
		if err == nil {
			s.expiry.WithLabelValues(key).Set(float64(r.TLS.VerifiedChains[0][0].NotAfter.Unix()))
		}
		if err != nil || !has(c) {
			http.Error(w, "Entrance does not know this cluster.", http.StatusNotFound)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
		if err != nil {
			http.Error(w, "The review is too large or was cut short.", http.StatusRequestEntityTooLarge)
			return
		}
		next(w, &question{cluster: c, view: view, now: s.Clock.Now(), request: r, body: body, start: start})
	}
}

// checkPeer returns Forbidden unless the caller's verified certificate is that
// of the API server of the cluster with the given key.
func checkPeer(r *http.Request, key string) error {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return errs.New(errs.Forbidden, "A client certificate of the cluster's API server is required.")
	}
	subject := r.TLS.VerifiedChains[0][0].Subject
	if len(subject.Organization) != 1 || !strings.EqualFold(subject.Organization[0], Organization) {
		return errs.New(errs.Forbidden, "The client certificate's organization is not %q.", Organization)
	}
	if subject.CommonName != key {
		return errs.New(errs.Forbidden, "The client certificate belongs to another cluster.")
	}
	return nil
}

// renew answers a certificate request with a certificate for the same cluster as
// the one that the caller has shown.
func (s *Service) renew(w http.ResponseWriter, q *question) {
	chain, err := s.Renew(q.cluster.Key, q.body)
	switch {
	case errs.Is(err, errs.Invalid):
		http.Error(w, errs.Message(err), http.StatusBadRequest)
	case err != nil:
		s.Logger.Error("webhook: a certificate cannot be issued", "cluster", q.cluster.Key, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
	default:
		s.Logger.Info("client certificate renewed", "cluster", q.cluster.Key)
		w.Header().Set("Content-Type", "application/x-pem-file")
		w.Write(chain)
	}
}

// mutate answers an admission review of a pod.
func (s *Service) mutate(w http.ResponseWriter, q *question) {
	s.Pods.Serve(w, q.request, q.cluster, q.body)
	s.seconds.WithLabelValues("mutate", "answered").Observe(time.Since(q.start).Seconds())
}

func (s *Service) reply(w http.ResponseWriter, q *question, kind, verdict string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.Logger.Error("webhook: answer cannot be written", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b)
	s.seconds.WithLabelValues(kind, verdict).Observe(time.Since(q.start).Seconds())
}
