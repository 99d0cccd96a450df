package server

import (
	"context"
	"net/http"

	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/pki"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/internal/webhook"
)

// ConnectQuery asks for what the API server of a connected cluster needs.
type ConnectQuery struct {
	Cluster string `json:"cluster"` // name or resource id
	// Dir is where the files will be on the machine of the API server.
	Dir string `json:"dir"`
	// Distribution is one of cluster.Distributions.
	Distribution string `json:"distribution"`
	// Style is one of cluster.Styles. Empty: webhooks.
	Style string `json:"style,omitempty"`
	// Webhooks is the address at which the API server reaches the webhooks.
	// Empty: the address that the server is configured with, or that of this
	// machine's own listener.
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
		base = s.publicWebhookURL()
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
		Style: q.Style,
		Key:   c.Key, Dir: q.Dir, Certificate: chain, PrivateKey: key,
		Entra: &cluster.Entra{
			TenantID: c.Tenant, WebhookCA: s.trust(),
			AuthenticateURL: base + "/authenticate", AuthorizeURL: base + "/authorize", DenyURL: base + "/deny",
		},
	}
	if c.WorkloadIdentity {
		connection.Pods = &cluster.PodWebhook{URL: base + "/mutate-pods", CA: s.trust()}
	}
	if c.Issuer == issuer.URL(s.baseURL(), c.Tenant, c.Key) {
		connection.Issuer, connection.JWKSURI = c.Issuer, issuer.KeysURL(c.Issuer)
	}
	if q.Style == cluster.StyleStructured {
		if connection.Tokens, err = s.tokenIssuer(c); err != nil {
			return nil, err
		}
	}
	a := &ConnectAnswer{}
	if a.Files, err = connection.Files(); err != nil {
		return nil, err
	}
	a.Instructions, err = connection.Instructions(q.Distribution)
	return a, err
}

// tokenIssuer returns what an API server needs in order to verify the tokens for
// a cluster by itself.
func (s *Server) tokenIssuer(c *state.Cluster) (*cluster.TokenIssuer, error) {
	switch _, err := state.Tenants.Get(s.store.View(), string(c.Tenant)); {
	case err != nil:
		return nil, errs.New(errs.Invalid, "Tenant %s is not hosted here, so its tokens must be shown to the webhook: use the style %s.", c.Tenant, cluster.StyleWebhooks)
	case c.ProofOfPossession:
		return nil, errs.New(errs.Invalid, "%s demands proof of possession, which only the webhook can verify: use the style %s.", c.ID, cluster.StyleWebhooks)
	}
	base := s.baseURL()
	return &cluster.TokenIssuer{
		URL:       token.Issuers{V2: base}.Name(token.V1, c.Tenant),
		Discovery: base + "/" + string(c.Tenant) + "/.well-known/openid-configuration",
		CA:        s.trust(), Audiences: webhook.Audiences(c),
	}, nil
}

// renew issues a client certificate for the key of a certificate request.
func (s *Server) renew(key string, csr []byte) ([]byte, error) {
	return s.webhookCA.Renew(csr, cluster.WebhookOrganization, key, s.clock.Now(), leafLife)
}

// ProbeQuery asks whether the webhooks were asked about a probe.
type ProbeQuery struct {
	Cluster string `json:"cluster"` // name or resource id
	Name    string `json:"name"`    // begins with webhook.ProbePrefix
}

// ProbeAnswer says which webhooks were.
type ProbeAnswer struct {
	Deny      bool `json:"deny"`      // before Node and RBAC
	Authorize bool `json:"authorize"` // after them
}

// Probed asks the instance that runs in a data directory which of its webhooks
// a cluster's API server has asked about a probe.
func Probed(ctx context.Context, dir string, q ProbeQuery) (*ProbeAnswer, error) {
	var a ProbeAnswer
	return &a, ask(ctx, dir, "/clusters/probed", q, &a)
}

// connectRoutes adds the connection of clusters to the control socket.
func (s *Server) connectRoutes(mux *http.ServeMux) {
	handleControl(mux, "/clusters/connect", func(_ context.Context, q ConnectQuery) (any, error) { return s.connect(q) })
	handleControl(mux, "/clusters/probed", func(_ context.Context, q ProbeQuery) (any, error) {
		c, err := s.findCluster(q.Cluster)
		if err != nil {
			return nil, err
		}
		deny, authorize := s.services.reviews.Probed(c.Key, q.Name)
		return ProbeAnswer{deny, authorize}, nil
	})
}
