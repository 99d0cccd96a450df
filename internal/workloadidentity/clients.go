package workloadidentity

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
)

// Clients are ServiceAccounts that ask the clusters' API servers, each time:
// whoever annotates an account and then creates a pod must not meet a memory of
// what the account was. It is safe for concurrent use.
type Clients struct {
	config func(c *state.Cluster) (*rest.Config, error)

	mu    sync.Mutex
	known map[string]client
}

type client struct {
	fingerprint string
	core        corev1.CoreV1Interface
}

// maxClients bounds how many clients are kept.
const maxClients = 256

// NewClients returns Clients. Config returns how a cluster is reached, by
// somebody who may read service accounts; NotFound or Unavailable.
func NewClients(config func(c *state.Cluster) (*rest.Config, error)) *Clients {
	return &Clients{config: config, known: map[string]client{}}
}

// ServiceAccount implements ServiceAccounts.
func (s *Clients) ServiceAccount(ctx context.Context, c *state.Cluster, namespace, name string) (*ServiceAccount, error) {
	core, err := s.client(c)
	if err != nil {
		return nil, err
	}
	sa, err := core.ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		return &ServiceAccount{Annotations: sa.Annotations}, nil
	case apierrors.IsNotFound(err):
		return nil, errs.New(errs.NotFound, "serviceaccounts %q not found", name)
	}
	return nil, errs.Wrap(errs.Unavailable, err, "the service account %s/%s could not be read", namespace, name)
}

func (s *Clients) client(c *state.Cluster) (corev1.CoreV1Interface, error) {
	config, err := s.config(c)
	if err != nil {
		return nil, err
	}
	// Whatever a new address or certificate changes. Certificates in files are
	// read again by the client itself.
	t := config.TLSClientConfig
	fingerprint := fmt.Sprintf("%q", []string{
		config.Host, config.APIPath, string(t.CAData), t.CAFile, string(t.CertData), t.CertFile, t.KeyFile, t.ServerName, config.BearerToken, config.BearerTokenFile,
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.known[c.Key]; ok && k.fingerprint == fingerprint {
		return k.core, nil
	}
	config = rest.CopyConfig(config)
	config.QPS = -1 // the API server that waits for the answer bounds it itself
	config.UserAgent = "entrance-workload-identity"
	core, err := corev1.NewForConfig(config)
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "the cluster cannot be reached")
	}
	if len(s.known) >= maxClients {
		clear(s.known)
	}
	s.known[c.Key] = client{fingerprint, core}
	return core, nil
}
