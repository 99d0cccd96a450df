package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// TenantQuery describes a tenant to connect, or names one to disconnect by ID
// alone. Empty addresses are those of the public cloud.
type TenantQuery struct {
	ID           string `json:"id"`
	Name         string `json:"name,omitempty"`
	Authority    string `json:"authority,omitempty"`
	V1Issuer     string `json:"v1Issuer,omitempty"`
	Graph        string `json:"graph,omitempty"`
	ClientID     string `json:"clientId,omitempty"`
	ClientSecret string `json:"clientSecret,omitempty"`
	// OnBehalfOf: Graph is asked on behalf of the person whose groups they are.
	OnBehalfOf bool `json:"onBehalfOf,omitempty"`
}

// TenantInfo is a tenant that clusters may belong to, without its secret.
type TenantInfo struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Hosted     bool      `json:"hosted"`
	Authority  string    `json:"authority"`
	Graph      string    `json:"graph"`
	ClientID   string    `json:"clientId,omitempty"`
	OnBehalfOf bool      `json:"onBehalfOf,omitempty"`
	Connected  time.Time `json:"connected,omitzero"`
	Clusters   []string  `json:"clusters"` // resource ids
}

// IssuerQuery names an OpenID Connect issuer and the cluster that is to trust
// it, or to trust it no longer.
type IssuerQuery struct {
	Cluster string `json:"cluster"`
	state.ClusterIssuer
}

// ConnectTenant asks the instance that runs in a data directory to let clusters
// belong to a tenant that it does not host.
func ConnectTenant(ctx context.Context, dir string, q TenantQuery) (*TenantInfo, error) {
	var t TenantInfo
	return &t, ask(ctx, dir, "/tenants/connect", q, &t)
}

// DisconnectTenant ends the trust in a connected tenant.
func DisconnectTenant(ctx context.Context, dir, id string) error {
	var done struct{}
	return ask(ctx, dir, "/tenants/disconnect", TenantQuery{ID: id}, &done)
}

// Tenants lists the tenants that clusters may belong to.
func Tenants(ctx context.Context, dir string) ([]TenantInfo, error) {
	var list []TenantInfo
	return list, ask(ctx, dir, "/tenants/list", struct{}{}, &list)
}

// KeysQuery asks for the signing keys of a hosted tenant.
type KeysQuery struct {
	ID     string `json:"id"`
	Rotate bool   `json:"rotate,omitempty"` // make the next key first
	Revoke bool   `json:"revoke,omitempty"` // and end the present one at once
}

// KeyInfo is a signing key as it is published.
type KeyInfo struct {
	ID token.KeyID `json:"kid"`
	// Use is waits (published, signs later), signs, or verifies (what it has
	// signed before is still valid).
	Use       string    `json:"use"`
	Published time.Time `json:"published"`
	Activates time.Time `json:"activates"`
}

// TenantKeys returns the signing keys of a hosted tenant, after renewing them if
// that is asked for.
func TenantKeys(ctx context.Context, dir string, q KeysQuery) ([]KeyInfo, error) {
	var list []KeyInfo
	return list, ask(ctx, dir, "/tenants/keys", q, &list)
}

// TrustIssuer lets a cluster accept the tokens of a further issuer.
func TrustIssuer(ctx context.Context, dir string, q IssuerQuery) error {
	var done struct{}
	return ask(ctx, dir, "/clusters/trust-issuer", q, &done)
}

// DistrustIssuer takes that back.
func DistrustIssuer(ctx context.Context, dir, cluster, issuer string) error {
	var done struct{}
	return ask(ctx, dir, "/clusters/distrust-issuer", IssuerQuery{Cluster: cluster, ClusterIssuer: state.ClusterIssuer{Issuer: issuer}}, &done)
}

// ClusterIssuers lists the further issuers of a cluster.
func ClusterIssuers(ctx context.Context, dir, cluster string) ([]state.ClusterIssuer, error) {
	var list []state.ClusterIssuer
	return list, ask(ctx, dir, "/clusters/issuers", IssuerQuery{Cluster: cluster}, &list)
}

// tenantRoutes adds tenants and issuers from elsewhere to the control socket.
func (s *Server) tenantRoutes(mux *http.ServeMux) {
	handleControl(mux, "/tenants/connect", func(ctx context.Context, q TenantQuery) (any, error) {
		err := s.services.connected.Connect(ctx, state.ConnectedTenant{
			ID: directory.TenantID(q.ID), Name: q.Name, Authority: q.Authority, V1: q.V1Issuer, Graph: q.Graph,
			ClientID: directory.AppID(q.ClientID), ClientSecret: q.ClientSecret, OnBehalfOf: q.OnBehalfOf,
		})
		if err != nil {
			return nil, err
		}
		for _, t := range s.tenants() {
			if strings.EqualFold(t.ID, q.ID) {
				return t, nil
			}
		}
		return nil, errs.New(errs.NotFound, "Tenant %s has been disconnected again.", q.ID)
	})
	handleControl(mux, "/tenants/disconnect", func(ctx context.Context, q TenantQuery) (any, error) {
		return struct{}{}, s.services.connected.Disconnect(ctx, directory.TenantID(strings.ToLower(q.ID)))
	})
	handleControl(mux, "/tenants/list", func(context.Context, struct{}) (any, error) { return s.tenants(), nil })
	handleControl(mux, "/tenants/keys", func(ctx context.Context, q KeysQuery) (any, error) { return s.tenantKeys(ctx, q) })
	handleControl(mux, "/clusters/trust-issuer", func(ctx context.Context, q IssuerQuery) (any, error) {
		c, err := s.findCluster(q.Cluster)
		if err != nil {
			return nil, err
		}
		q.ClusterIssuer.Cluster = c.Key
		return struct{}{}, s.services.connected.Trust(ctx, q.ClusterIssuer)
	})
	handleControl(mux, "/clusters/distrust-issuer", func(ctx context.Context, q IssuerQuery) (any, error) {
		c, err := s.findCluster(q.Cluster)
		if err != nil {
			return nil, err
		}
		return struct{}{}, s.services.connected.Distrust(ctx, c.Key, q.Issuer)
	})
	handleControl(mux, "/clusters/issuers", func(_ context.Context, q IssuerQuery) (any, error) {
		c, err := s.findCluster(q.Cluster)
		if err != nil {
			return nil, err
		}
		list := []state.ClusterIssuer{}
		for i := range state.ClusterIssuers.Where(s.store.View(), "cluster", c.Key) {
			list = append(list, *i)
		}
		return list, nil
	})
}

func (s *Server) tenantKeys(ctx context.Context, q KeysQuery) ([]KeyInfo, error) {
	id := directory.TenantID(strings.ToLower(q.ID))
	if _, err := state.Tenants.Get(s.store.View(), string(id)); err != nil {
		return nil, errs.New(errs.NotFound, "No tenant %s is hosted here; 'entrance tenant list' lists them.", q.ID)
	}
	if q.Rotate {
		if err := s.ring.Rotate(ctx, id, q.Revoke); err != nil {
			return nil, err
		}
	}
	set, err := s.ring.Set(id)
	if err != nil {
		return nil, err
	}
	now := s.clock.Now()
	active, _ := set.Active(now)
	list := []KeyInfo{}
	for _, k := range set.Published(now) {
		use := "verifies"
		switch {
		case active != nil && k.ID == active.ID:
			use = "signs"
		case now.Before(k.Times.Activates):
			use = "waits"
		}
		list = append(list, KeyInfo{k.ID, use, k.Times.Published, k.Times.Activates})
	}
	return list, nil
}

func (s *Server) tenants() []TenantInfo {
	view := s.store.View()
	clusters := map[directory.TenantID][]string{}
	for c := range state.Clusters.All(view) {
		clusters[c.Tenant] = append(clusters[c.Tenant], c.ID)
	}
	list := []TenantInfo{}
	for t := range state.Tenants.All(view) {
		list = append(list, TenantInfo{ID: string(t.ID), Name: t.DisplayName, Hosted: true, Authority: s.baseURL(), Graph: s.baseURL()})
	}
	for t := range state.ConnectedTenants.All(view) {
		list = append(list, TenantInfo{
			ID: string(t.ID), Name: t.Name, Authority: t.Authority, Graph: t.Graph, ClientID: string(t.ClientID), OnBehalfOf: t.OnBehalfOf, Connected: t.Connected,
		})
	}
	for i := range list {
		list[i].Clusters = slices.Sorted(slices.Values(clusters[directory.TenantID(list[i].ID)]))
	}
	return list
}
