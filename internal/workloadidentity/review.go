package workloadidentity

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
)

// MaxReview bounds the body of an admission review: an API server accepts
// objects of 3 MB, in forms that grow as JSON.
const MaxReview = 8 << 20

// Path is where a cluster's API server asks, with the cluster's key.
const Path = "/clusters/{key}/mutate-pods"

// ServiceAccounts looks service accounts up.
type ServiceAccounts interface {
	// ServiceAccount returns a service account of a cluster as it is now.
	// NotFound; Unavailable when the cluster does not answer in time.
	ServiceAccount(ctx context.Context, c *state.Cluster, namespace, name string) (*ServiceAccount, error)
}

// Config is what a Webhook is made of. Accounts and AuthorityHost are required.
type Config struct {
	Accounts ServiceAccounts
	// AuthorityHost is where pods sign in: the public base URL.
	AuthorityHost string
	// Audience of the projected tokens; empty: DefaultAudience.
	Audience string
	// Namespaces are left alone besides those that always are (see Own).
	Namespaces []string
	// Proxy are the images of the sidecar; zero: DefaultProxyImages.
	Proxy ProxyImages
	// Timeout bounds the look-up of a service account; zero: 1 s. The API server
	// waits 2 s for the whole answer.
	Timeout time.Duration
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Own are the namespaces that the webhook never touches: what it needs to work,
// and what must start without it.
var Own = []string{"kube-system", "entrance-system", "azure-workload-identity-system"}

// Webhook answers admission reviews of pods. It is safe for concurrent use.
type Webhook struct {
	cfg     Config
	seconds *prometheus.HistogramVec

	mu     sync.Mutex
	labels map[string]bool
}

// New returns a Webhook.
func New(cfg Config) (*Webhook, error) {
	if cfg.Accounts == nil || !strings.HasPrefix(cfg.AuthorityHost, "https://") {
		return nil, errs.New(errs.Internal, "workloadidentity: a required part of the configuration is missing")
	}
	cfg.AuthorityHost = strings.TrimRight(cfg.AuthorityHost, "/") + "/"
	if cfg.Audience == "" {
		cfg.Audience = DefaultAudience
	}
	if cfg.Proxy == (ProxyImages{}) {
		cfg.Proxy = DefaultProxyImages
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Webhook{cfg: cfg, labels: map[string]bool{}, seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "azwi_mutation_request", Help: "Time to answer an admission review of a pod, in seconds.",
		Buckets: buckets(),
	}, []string{"namespace"})}
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(w.seconds); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// buckets are those of Azure's webhook, whose dashboards fit.
func buckets() []float64 {
	var b []float64
	b = append(b, prometheus.LinearBuckets(.001, .001, 10)...)
	b = append(b, prometheus.LinearBuckets(.02, .02, 5)...)
	b = append(b, prometheus.LinearBuckets(.2, .2, 5)...)
	return append(b, 1.5, 2, 2.5, 3)
}

// Serve answers a review that the API server of a cluster has sent. Its caller
// has checked that it was that API server.
func (w *Webhook) Serve(rw http.ResponseWriter, r *http.Request, c *state.Cluster, body []byte) {
	answer, err := w.Review(r.Context(), c, body)
	if err != nil {
		w.cfg.Logger.Warn("workload identity: not a review", "cluster", c.Key, "error", err)
		http.Error(rw, errs.Message(err), http.StatusBadRequest)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.Write(answer)
}

// review is an AdmissionReview of admission.k8s.io. Its versions v1 and v1beta1
// differ in nothing that is used here.
type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type request struct {
	UID         string          `json:"uid"`
	Resource    resource        `json:"resource"`
	SubResource string          `json:"subResource"`
	Namespace   string          `json:"namespace"`
	Operation   string          `json:"operation"`
	Object      json.RawMessage `json:"object"`
}

type resource struct{ Group, Version, Resource string }

type response struct {
	UID       string   `json:"uid"`
	Allowed   bool     `json:"allowed"`
	Status    *status  `json:"status,omitempty"`
	PatchType string   `json:"patchType,omitempty"`
	Patch     []byte   `json:"patch,omitempty"` // base64 in JSON
	Warnings  []string `json:"warnings,omitempty"`
}

type status struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Reason  string `json:"reason"`
	Code    int    `json:"code"`
}

// Review answers an AdmissionReview, of version v1 or v1beta1, in kind. Invalid
// when body is not one.
func (w *Webhook) Review(ctx context.Context, c *state.Cluster, body []byte) ([]byte, error) {
	start := time.Now()
	var in review
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The body is not an AdmissionReview.")
	}
	if in.Kind != "AdmissionReview" || in.APIVersion != "admission.k8s.io/v1" && in.APIVersion != "admission.k8s.io/v1beta1" ||
		in.Request == nil || in.Request.UID == "" {
		return nil, errs.New(errs.Invalid, "The body is not an AdmissionReview of admission.k8s.io/v1 or v1beta1 with a request.")
	}
	q := in.Request
	out := review{APIVersion: in.APIVersion, Kind: in.Kind, Response: &response{UID: q.UID, Allowed: true}}
	change, err := w.change(ctx, c, q)
	switch {
	case err != nil:
		// As Azure's webhook answers every refusal.
		out.Response.Allowed = false
		out.Response.Status = &status{"Failure", errs.Message(err), "BadRequest", http.StatusBadRequest}
		w.cfg.Logger.Info("workload identity: pod refused", "cluster", c.Key, "namespace", q.Namespace, "error", err)
	case change != nil:
		out.Response.Warnings = change.Warnings
		if len(change.Patch) > 0 {
			out.Response.PatchType = "JSONPatch"
			if out.Response.Patch, err = json.Marshal(change.Patch); err != nil {
				return nil, err
			}
		}
	}
	answer, err := json.Marshal(&out)
	w.seconds.WithLabelValues(w.label(q.Namespace)).Observe(time.Since(start).Seconds())
	return answer, err
}

// change returns what has to change in the pod of a request, nil for what is
// none of our business, or why the pod is refused.
func (w *Webhook) change(ctx context.Context, c *state.Cluster, q *request) (*Change, error) {
	if !c.WorkloadIdentity || q.Operation != "CREATE" || q.SubResource != "" ||
		q.Resource != (resource{"", "v1", "pods"}) || slices.Contains(Own, q.Namespace) || slices.Contains(w.cfg.Namespaces, q.Namespace) {
		return nil, nil
	}
	pod, err := ParsePod(q.Object)
	if err != nil {
		return nil, err
	}
	if !pod.Wanted() {
		return nil, nil
	}
	if q.Namespace == "" {
		return nil, errs.New(errs.Invalid, "the request names no namespace")
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	sa, err := w.cfg.Accounts.ServiceAccount(ctx, c, q.Namespace, pod.ServiceAccount())
	if err != nil {
		return nil, err
	}
	return Mutate(pod, sa, Settings{Tenant: c.Tenant, AuthorityHost: w.cfg.AuthorityHost, Audience: w.cfg.Audience, Proxy: w.cfg.Proxy})
}

// label bounds how many namespaces have a metric of their own: whoever may make
// namespaces must not fill our memory.
func (w *Webhook) label(namespace string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.labels[namespace] {
		if len(w.labels) >= 500 {
			return "others"
		}
		w.labels[namespace] = true
	}
	return namespace
}
