package state

import (
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/store"
)

// Keys of a review's extra. A TokenReview that is answered here gives the first.
// An API server that verifies tokens by itself (structured authentication) may
// give only keys with a domain, and says when the token was issued, as its iat
// has it: what was revoked later is held against it.
const (
	ExtraOID    = "oid"
	ExtraObject = "entrance/oid"
	ExtraIssued = "entrance/issued"
)

// Cluster is what the webhooks need to know of a Kubernetes cluster. It is
// written in the same transaction as the cluster's resource, from which it is
// derived.
type Cluster struct {
	// Key names the cluster in webhook addresses, certificates, directories
	// and etcd prefixes. It is random and never used again for another.
	Key string `json:"key"`
	// ID is the resource id in Azure Resource Manager.
	ID string `json:"id"`
	// Tenant is the one tenant whose users the cluster knows (aadProfile
	// tenantID).
	Tenant directory.TenantID `json:"tenantId"`
	// Entra is whether the cluster asks Entrance at all.
	Entra bool `json:"entra"`
	// ServerApp is the application whose tokens the cluster accepts: the AKS
	// server application, or a cluster's own with the legacy integration.
	ServerApp directory.AppID `json:"serverApp"`
	// AdminGroups may do everything (aadProfile adminGroupObjectIDs).
	AdminGroups []directory.ObjectID `json:"adminGroups,omitempty"`
	// AzureRBAC is whether Azure RBAC decides beside Kubernetes RBAC.
	AzureRBAC bool `json:"azureRBAC,omitempty"`
	// StrictSubresources checks subresources such as pods/portforward as
	// actions of their own.
	StrictSubresources bool `json:"strictSubresources,omitempty"`
	// CustomResourceConditions checks custom resources as the actions
	// customresources/read, write and delete, with the group and kind that
	// conditions of role assignments test.
	CustomResourceConditions bool `json:"customResourceConditions,omitempty"`
	// ConfigurationNamespaces names namespaces as
	// {cluster}/providers/Microsoft.KubernetesConfiguration/namespaces/{name} in
	// scopes, instead of {cluster}/namespaces/{name}.
	ConfigurationNamespaces bool `json:"configurationNamespaces,omitempty"`
	// ProofOfPossession demands signed requests instead of bearer tokens.
	ProofOfPossession bool `json:"proofOfPossession,omitempty"`
	// ProofOnce refuses a signed request that was seen before. kubectl sends one
	// for as long as it runs, and the API server asks about it every ten seconds;
	// with this the plugin has to sign anew each time.
	ProofOnce bool `json:"proofOnce,omitempty"`
	// ProofValidity is how long a signed request is good; zero is fifteen minutes.
	ProofValidity time.Duration `json:"proofValidity,omitempty"`
	// Connected is true for a cluster that somebody else runs.
	Connected bool `json:"connected,omitempty"`
	// Identity is the own identity of a connected cluster, by which Entrance
	// reads its service accounts and its keys. Empty where the cluster's tenant
	// is hosted elsewhere, and no token of ours is believed.
	Identity directory.ObjectID `json:"identity,omitempty"`
	// WorkloadIdentity is whether pods are changed on admission.
	WorkloadIdentity bool `json:"workloadIdentity,omitempty"`
	// Issuer is the issuer of the cluster's service account tokens.
	Issuer string `json:"issuer,omitempty"`
}

// Clusters, by key: "id" (folded resource id); "tenant"; "issuer".
var Clusters = store.NewTable("clusters", store.Options[Cluster]{
	Key: func(c *Cluster) string { return c.Key },
	Indexes: []store.Index[Cluster]{
		{Name: "id", Values: func(c *Cluster) []string { return one(Fold(c.ID)) }},
		{Name: "tenant", Values: func(c *Cluster) []string { return one(string(c.Tenant)) }},
		{Name: "issuer", Values: func(c *Cluster) []string {
			if c.Issuer == "" {
				return nil
			}
			return one(c.Issuer)
		}},
	},
	Claims: func(c *Cluster) []string { return one("cluster/" + Fold(c.ID)) },
})

// SignedRequest is a signed request that may not be seen again.
type SignedRequest struct {
	Cluster string        `json:"cluster"` // key
	Hash    string        `json:"hash"`    // SHA-256, in hexadecimal
	Life    time.Duration `json:"life"`    // until it is refused by its age
}

// SignedRequests, of clusters with ProofOnce. Of several replicas that see one at
// the same time, one can create it.
var SignedRequests = store.NewTable("signedrequests", store.Options[SignedRequest]{
	Key: func(r *SignedRequest) string { return r.Cluster + "/" + r.Hash }, Direct: true,
	TTL: func(r *SignedRequest) time.Duration { return r.Life },
})
