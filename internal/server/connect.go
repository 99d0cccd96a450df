package server

import (
	"context"
	"net/http"

	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/pki"
)

// ConnectQuery asks for what the API server of a connected cluster needs.
type ConnectQuery struct {
	Cluster string `json:"cluster"` // name or resource id
	// Dir is where the files will be on the machine of the API server.
	Dir string `json:"dir"`
	// Distribution is one of cluster.Distributions.
	Distribution string `json:"distribution"`
	// Webhooks is the address at which the API server reaches the webhooks.
	// Empty: the address of this machine's own listener.
	Webhooks string `json:"webhooks,omitempty"`
}

// ConnectAnswer is what to copy to the API server, and what to change there.
// Files holds a private key.
type ConnectAnswer struct {
	Files        map[string][]byte `json:"files"`
	Instructions string            `json:"instructions"`
}

// Connect asks the instance that runs in a data directory for the files of a
// connected cluster. Each call issues a new client certificate: calling it
// again renews the old one, which stays good until it ends.
func Connect(ctx context.Context, dir string, q ConnectQuery) (*ConnectAnswer, error) {
	var a ConnectAnswer
	return &a, ask(ctx, dir, "/clusters/connect", q, &a)
}

func (s *Server) connect(q ConnectQuery) (*ConnectAnswer, error) {
	c, err := s.findCluster(q.Cluster)
	if err != nil {
		return nil, err
	}
	if !c.Connected {
		return nil, errs.New(errs.Invalid, "%s runs here and is connected already.", c.ID)
	}
	base := q.Webhooks
	if base == "" {
		base = s.webhookURL()
	}
	base += "/clusters/" + c.Key
	leaf, err := s.webhookCA.Client(cluster.WebhookOrganization, c.Key, s.clock.Now(), leafLife)
	if err != nil {
		return nil, err
	}
	chain, key, err := pki.Encode(leaf)
	if err != nil {
		return nil, err
	}
	connection := &cluster.Connection{
		Key: c.Key, Dir: q.Dir, Certificate: chain, PrivateKey: key,
		Entra: &cluster.Entra{
			TenantID: c.Tenant, WebhookCA: s.authority.PEM(),
			AuthenticateURL: base + "/authenticate", AuthorizeURL: base + "/authorize", DenyURL: base + "/deny",
		},
	}
	if c.WorkloadIdentity {
		connection.Pods = &cluster.PodWebhook{URL: base + "/mutate-pods", CA: s.authority.PEM()}
	}
	if c.Issuer == issuer.URL(s.baseURL(), c.Tenant, c.Key) {
		connection.Issuer, connection.JWKSURI = c.Issuer, issuer.KeysURL(c.Issuer)
	}
	a := &ConnectAnswer{}
	if a.Files, err = connection.Files(); err != nil {
		return nil, err
	}
	a.Instructions, err = connection.Instructions(q.Distribution)
	return a, err
}

// connectRoutes adds the connection of clusters to the control socket.
func (s *Server) connectRoutes(mux *http.ServeMux) {
	handleControl(mux, "/clusters/connect", func(_ context.Context, q ConnectQuery) (any, error) { return s.connect(q) })
}
