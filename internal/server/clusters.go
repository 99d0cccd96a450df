package server

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/arm"
	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Names in a sample subscription.
const (
	sampleGroup   = "sample"
	sampleCluster = "sample"
	sampleRegion  = "centralus"
	sampleNodes   = 3
)

// kubernetesVersion is the version of the control plane in entrance-kube.
const kubernetesVersion = "1.36.3"

// owner is the built-in role Owner.
const owner = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"

// localClusters runs clusters on this machine for Resource Manager.
type localClusters struct {
	manager   *cluster.Manager
	webhooks  string // address of the webhooks
	webhookCA []byte // PEM, of the authority that certifies them
}

var _ arm.ClusterManager = localClusters{}

// UserKubeconfig implements arm.Clusters.
func (k localClusters) UserKubeconfig(key, format string) ([]byte, error) {
	f, err := cluster.ParseFormat(format)
	if err != nil {
		return nil, err
	}
	c, err := k.manager.Get(key)
	if err != nil {
		return nil, err
	}
	return c.UserKubeconfig(f)
}

// AdminKubeconfig implements arm.Clusters.
func (k localClusters) AdminKubeconfig(key string) ([]byte, error) {
	c, err := k.manager.Get(key)
	if err != nil {
		return nil, err
	}
	return c.AdminKubeconfig()
}

// Apply implements arm.ClusterManager.
func (k localClusters) Apply(ctx context.Context, spec arm.ClusterSpec) error {
	_, err := k.manager.Apply(ctx, k.spec(spec))
	return err
}

// Stop implements arm.ClusterManager.
func (k localClusters) Stop(_ context.Context, key string) error {
	c, err := k.manager.Get(key)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err == nil {
		c.Stop()
	}
	return err
}

// Delete implements arm.ClusterManager.
func (k localClusters) Delete(ctx context.Context, key string) error {
	return k.manager.Delete(ctx, key)
}

// JWKS implements arm.ClusterManager.
func (k localClusters) JWKS(key string) ([]byte, error) {
	c, err := k.manager.Get(key)
	if err != nil {
		return nil, err
	}
	return c.JWKS()
}

// spec adds to what Resource Manager knows of a cluster how its API server
// reaches the webhooks.
func (k localClusters) spec(a arm.ClusterSpec) cluster.Spec {
	spec := cluster.Spec{
		Key: a.Key, ARMID: a.ID, Location: a.Location, ServerNames: a.ServerNames,
		ServiceAccountIssuer: a.Issuer, ServiceAccountJWKSURI: a.JWKSURI,
		SigningKeyGeneration: a.SigningKeyGeneration, CertificateGeneration: a.CertificateGeneration,
	}
	for _, p := range a.NodePools {
		spec.NodePools = append(spec.NodePools, cluster.NodePool(p))
	}
	base := k.webhooks + "/clusters/" + a.Key
	if a.WorkloadIdentity {
		spec.Pods = &cluster.PodWebhook{URL: base + "/mutate-pods", CA: k.webhookCA}
	}
	if a.Entra == nil {
		return spec
	}
	spec.Entra = &cluster.Entra{
		TenantID: a.Entra.Tenant, ServerApp: a.Entra.ServerApp, ClientApp: a.Entra.ClientApp, AdminGroups: a.Entra.AdminGroups,
		AuthenticateURL: base + "/authenticate", AuthorizeURL: base + "/authorize", DenyURL: base + "/deny",
		WebhookCA: k.webhookCA,
	}
	return spec
}

// RESTConfig returns a client configuration with every right on a cluster.
func (k localClusters) RESTConfig(key string) (*rest.Config, error) {
	c, err := k.manager.Get(key)
	if err != nil {
		return nil, err
	}
	return c.RESTConfig()
}

// bootstrap makes the sample in a store that has no tenant yet.
func (s *Server) bootstrap(ctx context.Context) (*Sample, error) {
	if s.cfg.First != nil {
		if err := s.makeFirst(ctx, s.cfg.First); err != nil {
			return nil, err
		}
	}
	if !s.cfg.Sample {
		return nil, nil
	}
	for range state.Tenants.All(s.store.View()) {
		return nil, nil
	}
	s.cfg.Progress("making the tenant, its people and a subscription")
	hasher, err := newHasher()
	if err != nil {
		return nil, err
	}
	now := s.clock.Now()
	sample, err := newSample(ctx, hasher, now)
	if err != nil {
		return nil, err
	}
	// The file first: a store whose passwords nobody knows would be useless,
	// a file without its store is overwritten by the next start.
	if err := writeJSON(s.paths.Credentials(), sample.Credentials, 0o600); err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := sample.write(tx); err != nil {
			return err
		}
		for _, principal := range []struct {
			id   directory.ObjectID
			kind rbac.PrincipalType
		}{{sample.Credentials.Administrator.ObjectID, rbac.User}, {sample.Credentials.ServicePrincipal.ObjectID, rbac.ServicePrincipal}} {
			if err := state.AccessAssignments.Create(tx, &state.AccessAssignment{
				Tenant: sample.Tenant, Name: directory.NewGUID(), Scope: "/subscriptions/" + sample.Subscription,
				Role: owner, Principal: principal.id, PrincipalType: principal.kind, Created: now, Updated: now,
			}); err != nil {
				return err
			}
		}
		for _, u := range sample.Credentials.Users {
			// Everybody may fetch the user kubeconfig; it holds no secret.
			if err := state.AccessAssignments.Create(tx, &state.AccessAssignment{
				Tenant: sample.Tenant, Name: directory.NewGUID(), Scope: "/subscriptions/" + sample.Subscription + "/resourceGroups/" + sampleGroup,
				Role: clusterUser, Principal: u.ObjectID, PrincipalType: rbac.User, Created: now, Updated: now,
			}); err != nil {
				return err
			}
		}
		return s.createGroup(tx, sample)
	})
	return sample, err
}

// clusterUser is the built-in role Azure Kubernetes Service Cluster User Role.
const clusterUser = "4abbcc35-e782-43d8-92c5-2d3f1bd2253f"

func (s *Server) createGroup(tx *store.Tx, sample *Sample) error {
	now := s.clock.Now()
	id := "/subscriptions/" + sample.Subscription + "/resourceGroups/" + sampleGroup
	body, err := json.Marshal(map[string]any{
		"id": id, "name": sampleGroup, "type": arm.TypeResourceGroup, "location": sampleRegion,
		"properties": map[string]string{"provisioningState": "Succeeded"},
	})
	if err != nil {
		return err
	}
	return state.Resources.Create(tx, &state.Resource{
		ID: id, Type: arm.TypeResourceGroup, Subscription: sample.Subscription, Name: sampleGroup,
		Body: body, Created: now, Changed: now,
	})
}

// sampleClusterBody is the sample's cluster as az would ask for it.
func sampleClusterBody(sample *Sample) (json.RawMessage, error) {
	return json.Marshal(map[string]any{
		"location": sampleRegion,
		"identity": map[string]string{"type": "SystemAssigned"},
		"properties": map[string]any{
			"dnsPrefix":         sampleCluster + "-" + sampleGroup + "-" + sample.Subscription[:6],
			"kubernetesVersion": "", // the default
			"agentPoolProfiles": []map[string]any{{"name": "nodepool1", "count": sampleNodes, "vmSize": "Standard_DS2_v2", "mode": "System", "osType": "Linux"}},
			"aadProfile":        map[string]any{"managed": true, "enableAzureRBAC": false, "adminGroupObjectIDs": []directory.ObjectID{sample.AdminGroup}},
			"enableRBAC":        true,
		},
	})
}

// startClusters makes the sample's cluster, if one is wanted, and starts every
// local cluster that the store holds.
func (s *Server) startClusters(ctx context.Context, sample *Sample) error {
	if sample != nil && s.cfg.Cluster {
		body, err := sampleClusterBody(sample)
		if err != nil {
			return err
		}
		id := "/subscriptions/" + sample.Subscription + "/resourceGroups/" + sampleGroup + "/providers/" + arm.TypeManagedCluster + "/" + sampleCluster
		if err := s.store.Update(ctx, func(tx *store.Tx) error {
			return s.services.arm.SeedCluster(tx, sample.Tenant, id, body, s.clock.Now())
		}); err != nil {
			return err
		}
	}
	if s.cfg.NoClusters {
		return nil
	}
	specs, err := s.services.arm.Specs(s.store.View())
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	for _, spec := range specs {
		s.cfg.Progress("starting the cluster " + spec.ID[strings.LastIndexByte(spec.ID, '/')+1:])
		wg.Go(func() {
			if err := s.localClusters().Apply(ctx, spec); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

func (s *Server) localClusters() localClusters {
	return localClusters{manager: s.clusters, webhooks: s.webhookURL(), webhookCA: s.authority.PEM()}
}

// clusterStatus returns the managed clusters of the store with how they are.
func (s *Server) clusterStatus(v *store.View) []ClusterStatus {
	list := []ClusterStatus{}
	for c := range state.Clusters.All(v) {
		r, err := state.Resources.Get(v, state.Fold(c.ID))
		if err != nil {
			continue
		}
		var doc struct {
			Properties struct {
				State string `json:"provisioningState"`
			} `json:"properties"`
		}
		if err := json.Unmarshal(r.Body, &doc); err != nil {
			continue
		}
		st := ClusterStatus{ID: c.ID, Name: r.Name, ResourceGroup: r.Group, ProvisioningState: doc.Properties.State}
		if k, err := s.clusters.Get(c.Key); err == nil {
			if server, err := k.Server(); err == nil {
				st.Server = server
			}
		}
		list = append(list, st)
	}
	return list
}
