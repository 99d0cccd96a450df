// Package containerservice answers for Microsoft.ContainerService, managed
// clusters above all, and for the connected clusters of Microsoft.Kubernetes.
//
// # From document to cluster
//
// A PUT is turned into a plan: the document as it will be kept, the record that
// the webhooks decide from, and what stays internal. All of it is written in one
// transaction with the operation; the record acts from then on, so that a change
// of admin groups or a disabled local account does not wait for processes. The
// operation then makes the cluster so: Spec says what it is to be, and Clusters
// does it. What fails is undone: a cluster that could not be created is removed,
// one that could not be changed gets its former description back.
//
// # Switches that Azure does not have
//
// Tags with the value "true" switch on what the webhooks can do beyond AKS's
// defaults: entrance:strict-subresources, entrance:custom-resource-conditions,
// entrance:configuration-namespaces,
// entrance:proof-of-possession and entrance:proof-of-possession-once, which takes
// each signed request only once. entrance:proof-of-possession-validity is how
// long one is good, 15m without it. They are tags because every client can set
// tags.
package containerservice

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/arm/operation"
	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Type is the resource type of managed clusters.
const Type = "Microsoft.ContainerService/managedClusters"

// Spec says what a cluster is to be.
type Spec struct {
	Key      string // names it in webhook addresses, directories and etcd prefixes
	ID       string // resource id
	Location string
	// ServerNames are further names for the API server's certificate.
	ServerNames []string
	NodePools   []NodePool
	// Issuer is the issuer of service account tokens, and JWKSURI where its
	// keys are; empty: the API server's own.
	Issuer, JWKSURI string
	// Generations count rotations: of the key that signs service account
	// tokens, and of the certificates.
	SigningKeyGeneration, CertificateGeneration int
	// WorkloadIdentity is whether pods are changed on admission.
	WorkloadIdentity bool
	// Entra is nil for a cluster that knows local accounts only.
	Entra *Entra
}

// NodePool is a group of nodes.
type NodePool struct {
	Name  string
	Count int
}

// Entra is the part of a Spec about the cluster's tenant.
type Entra struct {
	Tenant      directory.TenantID
	AdminGroups []directory.ObjectID
	// ServerApp and ClientApp go into kubeconfigs: AKS's own unless the cluster
	// has the legacy integration.
	ServerApp, ClientApp directory.AppID
}

// Credentials hands out what people and clients need to reach a local cluster.
type Credentials interface {
	// UserKubeconfig returns the kubeconfig for people, in the format "exec" or
	// "azure"; empty is exec. Invalid for another format, NotFound for a
	// cluster that does not run here.
	UserKubeconfig(key, format string) ([]byte, error)
	// AdminKubeconfig returns the kubeconfig with static credentials. NotFound.
	AdminKubeconfig(key string) ([]byte, error)
}

// Clusters runs local clusters. Its errors are of package errs.
type Clusters interface {
	Credentials
	// Apply makes a cluster what spec says: from nothing, from a stopped one or
	// from a running one. It returns when the cluster is ready, and may be
	// called again after a crash at any point.
	Apply(ctx context.Context, spec Spec) error
	// Stop stops a cluster and keeps its data. A cluster that is not there is
	// stopped.
	Stop(ctx context.Context, key string) error
	// Delete removes a cluster and its data. A cluster that is not there is
	// deleted.
	Delete(ctx context.Context, key string) error
}

// Config is what a Provider needs.
type Config struct {
	Store    *store.Store
	Clock    clock.Clock
	Runner   *operation.Runner
	BaseURL  string
	Clusters Clusters // nil: this server makes no clusters
	// Credentials are given out by it; Clusters' own where it is nil.
	Credentials Credentials
	// KubernetesVersion is the version that Clusters runs.
	KubernetesVersion string
	// LegacyIntegration lets clusters be made with a server and a client
	// application of their own, which AKS has retired.
	LegacyIntegration bool
}

// Provider answers for managed and connected clusters.
type Provider struct{ Config }

// New returns a Provider, and registers its work.
func New(cfg Config) *Provider {
	cfg.BaseURL = strings.TrimSuffix(cfg.BaseURL, "/")
	if cfg.Credentials == nil && cfg.Clusters != nil {
		cfg.Credentials = cfg.Clusters
	}
	p := &Provider{cfg}
	apply := operation.Work{Do: p.apply, Finish: p.applied}
	for _, kind := range []string{kindCreate, kindUpdate, kindStart, kindRotate, kindRotateKeys} {
		cfg.Runner.Register(kind, apply)
	}
	cfg.Runner.Register(kindStop, operation.Work{Do: p.stop, Finish: p.applied})
	cfg.Runner.Register(kindDelete, operation.Work{Do: p.destroy, Finish: p.removed})
	return p
}

// Kinds of operations.
const (
	kindCreate     = "managedClusters/create"
	kindUpdate     = "managedClusters/update"
	kindStart      = "managedClusters/start"
	kindStop       = "managedClusters/stop"
	kindRotate     = "managedClusters/rotateCertificates"
	kindRotateKeys = "managedClusters/rotateServiceAccountSigningKeys"
	kindDelete     = "managedClusters/delete"
)

// Secret holds what a cluster was given and never shows again.
type Secret struct {
	Key string `json:"key"` // the cluster's
	// ServerApp is the secret of the legacy integration's server application.
	ServerApp string `json:"serverAppSecret,omitempty"`
	// Principal is the secret of the cluster's service principal.
	Principal string `json:"servicePrincipalSecret,omitempty"`
}

// Secrets are kept sealed, by the cluster's key.
var Secrets = store.NewTable("clustersecrets", store.Options[Secret]{
	Key:    func(s *Secret) string { return s.Key },
	Sealed: true,
})

// Tables returns every table of this package.
func Tables() []store.AnyTable { return []store.AnyTable{Secrets} }

// ServerAppSecret returns the secret with which a cluster of the legacy
// integration looks up groups, and whether it has one.
func ServerAppSecret(r store.Reader, key string) (string, bool) {
	s, err := Secrets.Get(r, key)
	if err != nil || s.ServerApp == "" {
		return "", false
	}
	return s.ServerApp, true
}

// internal is what a managed cluster has beside its document.
type internal struct {
	Key string `json:"key"`
	// UID is in the issuer's address.
	UID          string `json:"uid"`
	SigningKeys  int    `json:"signingKeys,omitempty"`
	Certificates int    `json:"certificates,omitempty"`
	Stopped      bool   `json:"stopped,omitempty"`
	// Principals are service principals that live and die with the cluster.
	System  directory.ObjectID `json:"systemPrincipal,omitempty"`
	Kubelet directory.ObjectID `json:"kubeletPrincipal,omitempty"`
}

func (i *internal) raw() json.RawMessage {
	raw, err := json.Marshal(i)
	if err != nil {
		panic(err) // a struct of texts
	}
	return raw
}

// readInternal returns what is internal about a cluster. One that was not made
// here has its record alone.
func readInternal(r store.Reader, res *state.Resource) (*internal, error) {
	i := &internal{}
	if len(res.Internal) > 0 {
		if err := json.Unmarshal(res.Internal, i); err != nil {
			return nil, errs.Wrap(errs.Internal, err, "reading what is internal about %s", res.ID)
		}
	}
	if i.Key == "" {
		rec, ok := state.Clusters.First(r, "id", state.Fold(res.ID))
		if !ok {
			return nil, errs.New(errs.Internal, "the cluster %s has no record", res.ID)
		}
		i.Key = rec.Key
	}
	return i, nil
}

// Types returns what happens when clusters go away with their group.
func (p *Provider) Types() map[string]tracked.Type {
	return map[string]tracked.Type{
		state.Fold(Type): {
			Destroy: func(ctx context.Context, r *state.Resource) error { return p.destroyResource(ctx, r) },
			Remove:  p.removeRecords,
		},
		state.Fold(Type + "/agentPools"): {},
		state.Fold(ConnectedType):        {Remove: p.removeRecords},
	}
}

const (
	action  = Type + "/"
	inGroup = "/subscriptions/{sub}/resourceGroups/{group}/providers/" + Type
	one     = inGroup + "/{name}"
	pools   = one + "/agentPools"
	region  = "/subscriptions/{sub}/providers/Microsoft.ContainerService/locations/{location}/"
)

// Routes returns the provider's routes.
func (p *Provider) Routes() []wire.Route {
	routes := []wire.Route{
		{Method: "GET", Pattern: "/subscriptions/{sub}/providers/" + Type, Who: wire.Visible, Action: action + "read", Handle: p.list},
		{Method: "GET", Pattern: inGroup, Who: wire.Visible, Action: action + "read", Handle: p.list},
		{Method: "GET", Pattern: one, Action: action + "read", Handle: p.get},
		{Method: "PUT", Pattern: one, Action: action + "write", Handle: p.put},
		{Method: "PATCH", Pattern: one, Action: action + "write", Handle: p.patch},
		{Method: "DELETE", Pattern: one, Action: action + "delete", Handle: p.delete},

		{Method: "POST", Pattern: one + "/listClusterUserCredential", Action: action + "listClusterUserCredential/action", Handle: p.userCredential("clusterUser")},
		{Method: "POST", Pattern: one + "/listClusterMonitoringUserCredential", Action: action + "listClusterMonitoringUserCredential/action", Handle: p.userCredential("clusterMonitoringUser")},
		{Method: "POST", Pattern: one + "/listClusterAdminCredential", Action: action + "listClusterAdminCredential/action", Handle: p.adminCredential},
		{Method: "POST", Pattern: one + "/accessProfiles/{profile}/listCredential", Action: action + "accessProfiles/listCredential/action", Handle: p.accessProfile},
		{Method: "POST", Pattern: one + "/managedNamespaces/{namespace}/listCredential", Action: action + "managedNamespaces/listCredential/action", Handle: p.namespaceCredential},

		{Method: "POST", Pattern: one + "/resetAADProfile", Action: action + "resetAADProfile/action", Handle: p.resetAADProfile},
		{Method: "POST", Pattern: one + "/resetServicePrincipalProfile", Action: action + "resetServicePrincipalProfile/action", Handle: p.resetServicePrincipal},
		{Method: "POST", Pattern: one + "/rotateClusterCertificates", Action: action + "rotateClusterCertificates/action", Handle: p.rotateCertificates},
		{Method: "POST", Pattern: one + "/rotateServiceAccountSigningKeys", Action: action + "rotateServiceAccountSigningKeys/action", Handle: p.rotateSigningKeys},
		{Method: "POST", Pattern: one + "/start", Action: action + "start/action", Handle: p.startCluster},
		{Method: "POST", Pattern: one + "/stop", Action: action + "stop/action", Handle: p.stopCluster},
		{Method: "GET", Pattern: one + "/upgradeProfiles/default", Action: action + "upgradeProfiles/read", Handle: p.upgradeProfile},

		{Method: "GET", Pattern: pools, Action: action + "agentPools/read", Handle: p.listPools},
		{Method: "GET", Pattern: pools + "/{pool}", Action: action + "agentPools/read", Handle: p.getPool},
		{Method: "PUT", Pattern: pools + "/{pool}", Action: action + "agentPools/write", Handle: p.putPool},
		{Method: "DELETE", Pattern: pools + "/{pool}", Action: action + "agentPools/delete", Handle: p.deletePool},
		{Method: "GET", Pattern: one + "/availableAgentPoolVersions", Action: action + "availableAgentPoolVersions/read", Handle: p.poolVersions},
		{Method: "GET", Pattern: pools + "/{pool}/upgradeProfiles/default", Action: action + "agentPools/upgradeProfiles/read", Handle: p.poolUpgrade},

		// What versions there are is the same for everybody.
		{Method: "GET", Pattern: region + "kubernetesVersions", Who: wire.Authenticated, Handle: p.versions},
		{Method: "GET", Pattern: region + "orchestrators", Who: wire.Authenticated, Handle: p.orchestrators},
	}
	return append(routes, p.connectedRoutes()...)
}

// show returns a cluster's document with its entity tag.
func show(r store.Reader, res *state.Resource) wire.Document {
	doc := tracked.Read(res)
	if rev, ok := state.Resources.Rev(r, state.Fold(res.ID)); ok {
		doc["eTag"] = strings.TrimPrefix(wire.ETag(rev), "W/")
	}
	return doc
}

func (p *Provider) list(c *wire.Call) (*wire.Response, error) {
	all, err := tracked.List(c, Type)
	if err != nil {
		return nil, err
	}
	docs := make([]stored, len(all))
	for i, r := range all {
		docs[i] = stored{tracked.Key(r), r.Body}
	}
	return wire.Page(c, docs, func(d stored) string { return d.key })
}

// stored is a document in a list. It is shown as it is kept: decoding a
// thousand documents to encode them again would be most of the cost of a list.
type stored struct {
	key  string
	body json.RawMessage
}

// MarshalJSON returns the document.
func (d stored) MarshalJSON() ([]byte, error) { return d.body, nil }

func (p *Provider) get(c *wire.Call) (*wire.Response, error) {
	r, err := tracked.Get(c.View(), tracked.ID(c, Type))
	if err != nil {
		return nil, err
	}
	rev, _ := state.Resources.Rev(c.View(), state.Fold(r.ID))
	return wire.OK(show(c.View(), r)).With("ETag", wire.ETag(rev)), nil
}

// Specs returns what every local cluster of the store is to be, for a server
// that starts: each is to be applied. Clusters that are stopped are left out,
// and so are those that are being created or deleted: the operation that was
// interrupted sees to them.
func (p *Provider) Specs(r store.Reader) ([]Spec, error) {
	var specs []Spec
	for res := range state.Resources.Where(r, "type", state.Fold(Type)) {
		i, err := readInternal(r, res)
		if err != nil {
			return nil, err
		}
		if op, busy := operation.Busy(r, res.ID); i.Stopped || busy && (op.Kind == kindCreate || op.Kind == kindDelete) {
			continue
		}
		spec, err := p.spec(r, res)
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// spec returns what a cluster is to be.
func (p *Provider) spec(r store.Reader, res *state.Resource) (Spec, error) {
	i, err := readInternal(r, res)
	if err != nil {
		return Spec{}, err
	}
	rec, err := state.Clusters.Get(r, i.Key)
	if err != nil {
		return Spec{}, err
	}
	return p.specOf(res.ID, tracked.Read(res), i, rec), nil
}

func (p *Provider) specOf(id string, doc wire.Document, i *internal, rec *state.Cluster) Spec {
	s := Spec{
		Key: i.Key, ID: id, Location: doc.Text("location"),
		SigningKeyGeneration: i.SigningKeys, CertificateGeneration: i.Certificates,
		WorkloadIdentity: rec.WorkloadIdentity, Issuer: rec.Issuer,
	}
	for _, name := range []string{"fqdn", "privateFQDN"} {
		if fqdn := doc.Text("properties." + name); fqdn != "" {
			s.ServerNames = append(s.ServerNames, fqdn)
		}
	}
	for _, v := range doc.List("properties.agentPoolProfiles") {
		m, _ := v.(map[string]any)
		pool := wire.Document(m)
		s.NodePools = append(s.NodePools, NodePool{pool.Text("name"), pool.Int("count")})
	}
	if s.Issuer != "" {
		s.JWKSURI = issuer.KeysURL(s.Issuer)
	}
	if rec.Entra {
		s.Entra = &Entra{Tenant: rec.Tenant, AdminGroups: rec.AdminGroups, ServerApp: rec.ServerApp, ClientApp: directory.AKSClient}
		if app := doc.Text("properties.aadProfile.clientAppID"); app != "" {
			s.Entra.ClientApp = directory.AppID(state.Fold(app))
		}
	}
	return s
}

// unavailable is the refusal where no clusters are run.
func (p *Provider) unavailable() error {
	if p.Clusters == nil {
		return wire.Fail(http.StatusServiceUnavailable, "ServiceUnavailable", "This server runs no clusters.")
	}
	return nil
}

// applyTimeout bounds the making of one cluster.
const applyTimeout = 10 * time.Minute
