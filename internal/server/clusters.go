package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// kubeconfigs hands the clusters' credentials to Resource Manager.
type kubeconfigs struct{ manager *cluster.Manager }

// UserKubeconfig implements arm.Clusters.
func (k kubeconfigs) UserKubeconfig(key, format string) ([]byte, error) {
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
func (k kubeconfigs) AdminKubeconfig(key string) ([]byte, error) {
	c, err := k.manager.Get(key)
	if err != nil {
		return nil, err
	}
	return c.AdminKubeconfig()
}

// RESTConfig returns a client configuration with every right on a cluster.
func (k kubeconfigs) RESTConfig(key string) (*rest.Config, error) {
	c, err := k.manager.Get(key)
	if err != nil {
		return nil, err
	}
	return c.RESTConfig()
}

// bootstrap makes the sample in a store that has no tenant yet.
func (s *Server) bootstrap(ctx context.Context) (*Sample, error) {
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

// createCluster writes the sample's cluster: the resource as its clients see it
// and the record that the webhooks decide from.
func (s *Server) createCluster(ctx context.Context, sample *Sample) error {
	id := "/subscriptions/" + sample.Subscription + "/resourceGroups/" + sampleGroup + "/providers/" + arm.TypeManagedCluster + "/" + sampleCluster
	key := strings.ReplaceAll(directory.NewGUID(), "-", "")[:16]
	identity := state.NewServicePrincipal(sample.Tenant, &directory.Application{
		AppID: directory.AppID(directory.NewGUID()), DisplayName: sampleCluster,
	}, s.clock.Now())
	identity.Type, identity.AlternativeNames = "ManagedIdentity", []string{"isExplicit=False", id}
	sum := sha256.Sum256([]byte(key))
	dns := sampleCluster + "-" + sampleGroup + "-" + sample.Subscription[:6]
	body, err := json.Marshal(map[string]any{
		"id": id, "name": sampleCluster, "type": arm.TypeManagedCluster, "location": sampleRegion,
		"identity": map[string]any{"type": "SystemAssigned", "principalId": identity.ID, "tenantId": sample.Tenant},
		"sku":      map[string]string{"name": "Base", "tier": "Free"},
		"properties": map[string]any{
			"provisioningState": "Succeeded", "powerState": map[string]string{"code": "Running"},
			"kubernetesVersion": kubernetesVersion, "currentKubernetesVersion": kubernetesVersion,
			"dnsPrefix": dns, "fqdn": dns + "-" + hex.EncodeToString(sum[:4]) + ".hcp." + sampleRegion + ".azmk8s.io",
			"nodeResourceGroup": "MC_" + sampleGroup + "_" + sampleCluster + "_" + sampleRegion,
			"agentPoolProfiles": []map[string]any{{
				"name": "nodepool1", "count": sampleNodes, "vmSize": "Standard_DS2_v2", "mode": "System", "osType": "Linux",
				"type": "VirtualMachineScaleSets", "orchestratorVersion": kubernetesVersion, "provisioningState": "Succeeded",
			}},
			"aadProfile": map[string]any{
				"managed": true, "enableAzureRBAC": false, "adminGroupObjectIDs": []directory.ObjectID{sample.AdminGroup}, "tenantID": sample.Tenant,
			},
			"enableRBAC": true, "disableLocalAccounts": false,
			"servicePrincipalProfile": map[string]string{"clientId": "msi"},
		},
	})
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		now := s.clock.Now()
		if err := state.ServicePrincipals.Create(tx, identity); err != nil {
			return err
		}
		if err := state.Resources.Create(tx, &state.Resource{
			ID: id, Type: arm.TypeManagedCluster, Subscription: sample.Subscription, Group: sampleGroup, Name: sampleCluster,
			Body: body, Created: now, Changed: now,
		}); err != nil {
			return err
		}
		return state.Clusters.Create(tx, &state.Cluster{
			Key: key, ID: id, Tenant: sample.Tenant, Entra: true, ServerApp: directory.AKSServer,
			AdminGroups: []directory.ObjectID{sample.AdminGroup},
		})
	})
}

// startClusters makes the sample's cluster, if one is wanted, and starts every
// local cluster that the store holds.
func (s *Server) startClusters(ctx context.Context, sample *Sample) error {
	if sample != nil && s.cfg.Cluster {
		if err := s.createCluster(ctx, sample); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	for c := range state.Clusters.All(s.store.View()) {
		if c.Connected {
			continue
		}
		spec, err := s.spec(c)
		if err != nil {
			return err
		}
		s.cfg.Progress("starting the cluster " + c.ID[strings.LastIndexByte(c.ID, '/')+1:])
		wg.Go(func() {
			if _, err := s.clusters.Apply(ctx, spec); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

// spec returns what a cluster is to be, from its records.
func (s *Server) spec(c *state.Cluster) (cluster.Spec, error) {
	r, err := state.Resources.Get(s.store.View(), state.Fold(c.ID))
	if err != nil {
		return cluster.Spec{}, err
	}
	var doc struct {
		Location   string `json:"location"`
		Properties struct {
			FQDN  string `json:"fqdn"`
			Pools []struct {
				Name  string `json:"name"`
				Count int    `json:"count"`
			} `json:"agentPoolProfiles"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(r.Body, &doc); err != nil {
		return cluster.Spec{}, errs.Wrap(errs.Internal, err, "reading the cluster %s", c.ID)
	}
	spec := cluster.Spec{Key: c.Key, ARMID: c.ID, Location: doc.Location, ServerNames: []string{doc.Properties.FQDN}}
	for _, p := range doc.Properties.Pools {
		spec.NodePools = append(spec.NodePools, cluster.NodePool{Name: p.Name, Count: p.Count})
	}
	if c.Entra {
		base := s.webhookURL() + "/clusters/" + c.Key
		spec.Entra = &cluster.Entra{
			TenantID: c.Tenant, WebhookCA: s.authority.PEM(), AdminGroups: c.AdminGroups,
			AuthenticateURL: base + "/authenticate", AuthorizeURL: base + "/authorize", DenyURL: base + "/deny",
		}
	}
	return spec, nil
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
