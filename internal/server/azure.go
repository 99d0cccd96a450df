package server

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/webhook"
)

// azure answers the webhooks' access reviews with Azure RBAC.
type azure struct {
	access    *access.Keeper
	resources *resources
	log       *slog.Logger
}

// Authorize implements webhook.Authorizer. The view that the webhook has read is
// not used: the keeper's facts are of one revision, and newer or as new.
func (a *azure) Authorize(_ *store.View, c *state.Cluster, u webhook.User, attrs webhook.Attributes) webhook.Decision {
	r := &k8s.Review{User: u.Name, Extra: map[string][]string{"oid": {string(u.ID)}}}
	if attrs.Resource != nil {
		r.Resource = &k8s.ResourceAttributes{
			Namespace: attrs.Resource.Namespace, Verb: attrs.Resource.Verb, Group: attrs.Resource.Group,
			Version: attrs.Resource.Version, Resource: attrs.Resource.Resource,
			Subresource: attrs.Resource.Subresource, Name: attrs.Resource.Name,
		}
	} else {
		r.NonResource = &k8s.NonResourceAttributes{Path: attrs.NonResource.Path, Verb: attrs.NonResource.Verb}
	}
	res, _ := a.access.Authorize(c, a.resources.of(c), r)
	if res.Err != nil {
		a.log.Warn("access review cannot be decided", "cluster", c.Key, "error", res.Err)
		return webhook.Decision{Verdict: webhook.Deny, Reason: errs.Message(res.Err)}
	}
	switch res.Verdict {
	case k8s.Allow:
		return webhook.Decision{Verdict: webhook.Allow, Reason: res.Reason}
	case k8s.NoOpinion:
		return webhook.Decision{Reason: res.Reason}
	}
	return webhook.Decision{Verdict: webhook.Deny, Reason: res.Reason}
}

// resources knows what the API servers of the clusters serve: wildcards in a
// review, and custom resources, are understood from that.
type resources struct {
	config func(*state.Cluster) (*rest.Config, error)
	log    *slog.Logger
	lookup func(hit bool) // nil: nobody counts

	mu    sync.Mutex
	known map[string]*discovered
}

type discovered struct {
	list  *k8s.Resources
	asked time.Time
	busy  bool
}

// refreshAfter is how old the list of a cluster may be before it is asked for
// again, in the background.
const refreshAfter = 30 * time.Second

// of returns what the cluster serves, as last seen, and nil while that is not
// known. It never waits for the cluster.
func (r *resources) of(c *state.Cluster) *k8s.Resources {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.known[c.Key]
	if r.lookup != nil {
		r.lookup(d != nil && d.list != nil)
	}
	if d == nil {
		d = &discovered{}
		r.known[c.Key] = d
	}
	if !d.busy && time.Since(d.asked) > refreshAfter {
		d.busy = true
		go r.refresh(c, d)
	}
	return d.list
}

func (r *resources) refresh(c *state.Cluster, d *discovered) {
	list, err := r.ask(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	d.busy, d.asked = false, time.Now()
	if err != nil {
		r.log.Debug("the cluster's resources cannot be listed", "cluster", c.Key, "error", err)
		return
	}
	d.list = list
}

func (r *resources) ask(c *state.Cluster) (*k8s.Resources, error) {
	config, err := r.config(c)
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.Timeout = 10 * time.Second
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	// An aggregated API that is down must not hide the others. Nor must it be
	// hidden itself: a wildcard that is asked about covers it too, and only who
	// may do everything in its group may do what it serves.
	lists, err := client.ServerPreferredResources()
	if len(lists) == 0 && err != nil {
		return nil, err
	}
	var all []k8s.Resource
	if down := (*discovery.ErrGroupDiscoveryFailed)(nil); errors.As(err, &down) {
		for gv := range down.Groups {
			all = append(all, k8s.Resource{Group: gv.Group, Resource: "unlisted", Namespaced: true})
		}
	}
	for _, l := range lists {
		group := ""
		for i := range l.GroupVersion {
			if l.GroupVersion[i] == '/' {
				group = l.GroupVersion[:i]
			}
		}
		for _, res := range l.APIResources {
			all = append(all, k8s.Resource{Group: group, Resource: res.Name, Namespaced: res.Namespaced})
		}
	}
	return k8s.NewResources(all), nil
}
