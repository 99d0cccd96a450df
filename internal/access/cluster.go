package access

import (
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Directory finds the identities of a view as they are at Now.
type Directory struct {
	View store.Reader
	Now  time.Time
}

// Identity implements k8s.Directory.
func (d Directory) Identity(tenant directory.TenantID, id directory.ObjectID) (k8s.Identity, bool) {
	key := state.Key(tenant, id)
	who := k8s.Identity{Principal: rbac.Principal{Tenant: tenant, ID: id}}
	if u, err := state.Users.Get(d.View, key); err == nil {
		if !u.Guest {
			who.UserName = u.UserPrincipalName
		}
		if !u.Enabled {
			who.Blocked = "The account is disabled."
		}
	} else if p, err := state.ServicePrincipals.Get(d.View, key); err == nil {
		if !p.Enabled {
			who.Blocked = "The service principal is disabled."
		}
	} else {
		return k8s.Identity{}, false
	}
	who.Principal.Groups = state.Memberships(d.View, tenant, id, d.Now)
	return who, true
}

// Cluster returns what package k8s needs to know of a cluster. Resources are
// what its API server serves, or nil where that is not known.
func Cluster(c *state.Cluster, resources *k8s.Resources) (*k8s.Cluster, error) {
	scope, err := rbac.ParseScope(c.ID)
	if err != nil {
		return nil, err
	}
	prefix := k8s.ManagedClusters
	if strings.EqualFold(scope.ResourceType(), k8s.ConnectedClusters) {
		prefix = k8s.ConnectedClusters
	}
	return &k8s.Cluster{
		Tenant: c.Tenant, Scope: scope, Prefix: prefix,
		StrictSubresources:       c.StrictSubresources,
		CustomResourceConditions: c.CustomResourceConditions,
		ManagedNamespaces:        true,
		ConfigurationNamespaces:  c.ConfigurationNamespaces,
		Resources:                resources,
	}, nil
}

// Authorize answers an access review for a cluster from the newest facts.
func (k *Keeper) Authorize(c *state.Cluster, resources *k8s.Resources, r *k8s.Review) (k8s.Result, int64) {
	facts, err := k.Facts()
	if err != nil {
		return k8s.Result{Verdict: k8s.Deny, Err: err}, 0
	}
	cluster, err := Cluster(c, resources)
	if err != nil {
		return k8s.Result{Verdict: k8s.Deny, Err: err}, facts.View.Revision()
	}
	now := k.clock.Now()
	return cluster.Authorize(facts.RBAC, r, Directory{facts.View, now}, now), facts.View.Revision()
}
