// Package arm answers Azure Resource Manager's API for the subscriptions that
// Entrance hosts.
//
// # Shape
//
// Package wire is the envelope that all requests share: paths, tokens, the
// decision, errors, paging. Package operation keeps and carries out what takes
// longer than a request. Each provider of resources is a package that gives
// routes; this package joins them to one table, in which the routes for
// documents of other providers stand last.
//
// # One authorization
//
// Routes are data: method, pattern, action. Every request that matches a route
// goes through one function, which asks the same Azure RBAC engine that decides
// for Kubernetes. A route cannot forget to ask.
//
// # What runs behind it
//
// Run carries out operations: creating a cluster, deleting a group. It must run
// in every process that serves; one of them at a time does the work. Until it
// runs, requests that would start an operation are refused.
package arm

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/arm/authorization"
	"github.com/entrance-id/entrance/internal/arm/containerservice"
	"github.com/entrance-id/entrance/internal/arm/managedidentity"
	"github.com/entrance-id/entrance/internal/arm/operation"
	"github.com/entrance-id/entrance/internal/arm/resources"
	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/store"
)

// Types of resources.
const (
	TypeResourceGroup    = tracked.GroupType
	TypeManagedCluster   = containerservice.Type
	TypeConnectedCluster = containerservice.ConnectedType
)

// Types that whoever joins the parts deals with.
type (
	// Caller is who makes a request, as its verified token says. Tenant and ID
	// are required.
	Caller = wire.Caller
	// Event is an entry of the activity log.
	Event = wire.Event
	// Audit takes the events of writes and refusals.
	Audit = wire.Audit
	// Clusters hands out what clients need to reach a cluster. A value that
	// also implements ClusterManager lets clusters be made, changed and deleted.
	Clusters = containerservice.Credentials
	// ClusterManager runs local clusters.
	ClusterManager = containerservice.Clusters
	// ClusterSpec says what a local cluster is to be.
	ClusterSpec = containerservice.Spec
)

// publicHosts are the public cloud's names for Resource Manager, behind an
// intercepting proxy.
var publicHosts = []string{"management.azure.com", "management.core.windows.net"}

// Config is what a Service needs. All of it is required but what says otherwise.
type Config struct {
	Store  *store.Store
	Access *access.Keeper
	Clock  clock.Clock
	Logger *slog.Logger // optional
	// BaseURL is the public address of sign-in, Graph and ARM.
	BaseURL string
	// Authenticate verifies the access token of a request. Its error is
	// errs.Unauthenticated for a bad token. How the account stands in the
	// directory is looked up here.
	Authenticate func(*http.Request) (Caller, error)
	Clusters     Clusters // optional: see there
	// KubernetesVersion is the version that Clusters runs, such as 1.36.3.
	KubernetesVersion string
	// LegacyIntegration lets clusters be made with a server and a client
	// application of their own, which AKS has retired.
	LegacyIntegration bool
	Audit             Audit // optional
	// Privileged is Privileged Identity Management; optional.
	Privileged *privileged.Service
}

// Service is Azure Resource Manager. It is an http.Handler.
type Service struct {
	server   *wire.Server
	runner   *operation.Runner
	clusters *containerservice.Provider
}

// Tables returns every table of this package and those below it.
func Tables() []store.AnyTable {
	return slices.Concat(operation.Tables(), containerservice.Tables())
}

// New returns a Service. It panics when BaseURL is not absolute, or when the
// table of routes contradicts itself: both are mistakes of the program.
func New(c Config) *Service {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.BaseURL = strings.TrimSuffix(c.BaseURL, "/")
	runner := operation.NewRunner(c.Store, c.Clock, c.Logger)
	manager, _ := c.Clusters.(ClusterManager)
	clusters := containerservice.New(containerservice.Config{
		Store: c.Store, Clock: c.Clock, Runner: runner, BaseURL: c.BaseURL,
		Clusters: manager, Credentials: c.Clusters,
		KubernetesVersion: c.KubernetesVersion, LegacyIntegration: c.LegacyIntegration,
	})
	identities := managedidentity.New()
	types := clusters.Types()
	for name, t := range identities.Types() {
		types[name] = t
	}
	groups := resources.New(resources.Config{
		Store: c.Store, Clock: c.Clock, Runner: runner, BaseURL: c.BaseURL, PublicHosts: publicHosts, Types: types,
	})
	server, err := wire.NewServer(wire.Config{
		Store: c.Store, Access: c.Access, Clock: c.Clock, Logger: c.Logger, BaseURL: c.BaseURL, Hosts: publicHosts,
		Authenticate: c.Authenticate, Audit: c.Audit,
	}, slices.Concat(
		groups.Routes(), authorization.New(c.Privileged).Routes(), identities.Routes(), clusters.Routes(), runner.Routes(), groups.Generic(),
	))
	if err != nil {
		panic(err)
	}
	return &Service{server: server, runner: runner, clusters: clusters}
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.server.ServeHTTP(w, r) }

// Run carries out operations until ctx ends. Operations that a crash has
// interrupted are taken up again.
func (s *Service) Run(ctx context.Context) { s.runner.Run(ctx) }

// Handles reports whether a path belongs to Resource Manager.
func Handles(path string) bool {
	for _, prefix := range []string{"/subscriptions", "/tenants", "/providers", "/metadata/endpoints"} {
		if len(path) >= len(prefix) && strings.EqualFold(path[:len(prefix)], prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/') {
			return true
		}
	}
	return false
}

// Specs returns what every local cluster of the store is to be, for a server
// that starts: each is to be applied.
func (s *Service) Specs(r store.Reader) ([]ClusterSpec, error) { return s.clusters.Specs(r) }

// SeedCluster writes a managed cluster as if its creation had succeeded already,
// from a body as a client would send it, for a server that makes a first cluster
// by itself. The resource group exists. The cluster's spec is among Specs from
// then on.
func (s *Service) SeedCluster(tx *store.Tx, tenant directory.TenantID, id string, body json.RawMessage, now time.Time) error {
	return s.clusters.Seed(tx, tenant, id, body, now)
}

// LegacySecret returns the secret with which a cluster of the legacy integration
// looks up groups, and whether it has one.
func LegacySecret(r store.Reader, key string) (string, bool) {
	return containerservice.ServerAppSecret(r, key)
}

// Routes returns the table of routes, for tests that walk it.
func (s *Service) Routes() []wire.Route { return s.server.Routes() }
