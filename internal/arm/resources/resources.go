// Package resources answers for what stands above single resources: tenants,
// subscriptions, management groups, resource groups and the list of providers;
// and, as stored documents, for resources of providers that Entrance does not
// implement, so that a role can be assigned on a key vault.
package resources

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/arm/operation"
	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Config is what a Provider needs.
type Config struct {
	Store   *store.Store
	Clock   clock.Clock
	Runner  *operation.Runner
	BaseURL string
	// PublicHosts are host names of the public cloud under which clients may
	// come: they are told the public cloud's other names.
	PublicHosts []string
	// Types are the providers that must know when a resource of theirs goes
	// away with its group, by folded resource type.
	Types map[string]tracked.Type
}

// Provider answers for resource groups and what stands above them.
type Provider struct{ Config }

// New returns a Provider, and registers its work.
func New(cfg Config) *Provider {
	p := &Provider{cfg}
	cfg.Runner.Register(deleteGroup, operation.Work{Do: p.emptyGroup, Finish: p.removeGroup})
	return p
}

const (
	groups      = "/subscriptions/{sub}/resourceGroups"
	groupRead   = "Microsoft.Resources/subscriptions/resourceGroups/read"
	groupWrite  = "Microsoft.Resources/subscriptions/resourceGroups/write"
	groupDelete = "Microsoft.Resources/subscriptions/resourceGroups/delete"
	deleteGroup = "resourceGroups/delete"
)

// Routes returns the provider's routes. The generic ones stand last in the
// table, behind those of every other provider.
func (p *Provider) Routes() []wire.Route {
	const mg = "/providers/Microsoft.Management/managementGroups"
	const mgs = "Microsoft.Management/managementGroups/"
	return []wire.Route{
		{Method: "GET", Pattern: "/metadata/endpoints", Who: wire.Anonymous, Handle: p.metadata},
		// A caller sees the own tenant.
		{Method: "GET", Pattern: "/tenants", Who: wire.Authenticated, Handle: p.tenants},
		// Only subscriptions are listed in which the caller has some access.
		{Method: "GET", Pattern: "/subscriptions", Who: wire.Authenticated, Handle: p.subscriptions},
		{Method: "GET", Pattern: "/subscriptions/{sub}", Who: wire.Visible, Action: "Microsoft.Resources/subscriptions/read", Handle: p.subscription},
		{Method: "GET", Pattern: "/subscriptions/{sub}/locations", Who: wire.Visible, Action: "Microsoft.Resources/subscriptions/locations/read", Handle: p.locations},
		{Method: "PUT", Pattern: "/providers/Microsoft.Subscription/aliases/{alias}", Action: "Microsoft.Subscription/aliases/write", On: p.tenantRoot, Handle: p.putAlias},
		{Method: "GET", Pattern: "/providers/Microsoft.Subscription/aliases/{alias}", Action: "Microsoft.Subscription/aliases/read", On: p.tenantRoot, Handle: p.getAlias},
		{Method: "POST", Pattern: "/subscriptions/{sub}/providers/Microsoft.Subscription/rename", Action: "Microsoft.Subscription/rename/action", Handle: p.renameSubscription},

		// Management groups are listed when the caller has some access in them.
		{Method: "GET", Pattern: mg, Who: wire.Authenticated, Handle: p.managementGroups},
		{Method: "POST", Pattern: "/providers/Microsoft.Management/getEntities", Who: wire.Authenticated, Handle: p.entities},
		{Method: "GET", Pattern: mg + "/{name}", Who: wire.Visible, Action: mgs + "read", Handle: p.managementGroup},
		{Method: "PUT", Pattern: mg + "/{name}", Action: mgs + "write", On: p.groupOrParent, Handle: p.putManagementGroup},
		{Method: "PATCH", Pattern: mg + "/{name}", Action: mgs + "write", Handle: p.patchManagementGroup},
		{Method: "DELETE", Pattern: mg + "/{name}", Action: mgs + "delete", Handle: p.deleteManagementGroup},
		{Method: "GET", Pattern: mg + "/{name}/descendants", Action: mgs + "descendants/read", Handle: p.descendants},
		{Method: "GET", Pattern: mg + "/{name}/subscriptions", Action: mgs + "subscriptions/read", Handle: p.groupSubscriptions},
		{Method: "GET", Pattern: mg + "/{name}/subscriptions/{sub}", Action: mgs + "subscriptions/read", Handle: p.groupSubscription},
		{Method: "PUT", Pattern: mg + "/{name}/subscriptions/{sub}", Action: mgs + "subscriptions/write", Handle: p.moveSubscription},
		{Method: "DELETE", Pattern: mg + "/{name}/subscriptions/{sub}", Action: mgs + "subscriptions/delete", Handle: p.releaseSubscription},

		{Method: "GET", Pattern: groups, Who: wire.Visible, Action: groupRead, Handle: p.listGroups},
		{Method: "GET", Pattern: groups + "/{group}", Action: groupRead, Handle: p.getGroup},
		{Method: "HEAD", Pattern: groups + "/{group}", Action: groupRead, Handle: p.groupExists},
		{Method: "PUT", Pattern: groups + "/{group}", Action: groupWrite, Handle: p.putGroup},
		{Method: "PATCH", Pattern: groups + "/{group}", Action: groupWrite, Handle: p.patchGroup},
		{Method: "DELETE", Pattern: groups + "/{group}", Action: groupDelete, Handle: p.deleteGroup},
		{Method: "GET", Pattern: groups + "/{group}/resources", Who: wire.Visible, Action: "Microsoft.Resources/subscriptions/resourceGroups/resources/read", Handle: p.listResources},
		{Method: "GET", Pattern: "/subscriptions/{sub}/resources", Who: wire.Visible, Action: "Microsoft.Resources/subscriptions/resources/read", Handle: p.listResources},

		// The list of providers is the same for everybody.
		{Method: "GET", Pattern: "/providers", Who: wire.Authenticated, Handle: p.providers},
		{Method: "GET", Pattern: "/providers/{namespace}", Who: wire.Authenticated, Handle: p.provider},
		{Method: "GET", Pattern: "/subscriptions/{sub}/providers", Who: wire.Visible, Action: "Microsoft.Resources/subscriptions/providers/read", Handle: p.providers},
		{Method: "GET", Pattern: "/subscriptions/{sub}/providers/{namespace}", Who: wire.Visible, Action: "Microsoft.Resources/subscriptions/providers/read", Handle: p.provider},
		{Method: "POST", Pattern: "/subscriptions/{sub}/providers/{namespace}/register", Action: "Microsoft.Resources/subscriptions/providers/register/action", Handle: p.provider},
	}
}

// Generic returns the routes for documents of other providers.
func (p *Provider) Generic() []wire.Route {
	one := groups + "/{group}/providers/{namespace}/{rest}"
	return []wire.Route{
		{Method: "GET", Pattern: one, Action: "{type}/read", Handle: p.getDocument},
		{Method: "PUT", Pattern: one, Action: "{type}/write", Handle: p.putDocument},
		{Method: "PATCH", Pattern: one, Action: "{type}/write", Handle: p.patchDocument},
		{Method: "DELETE", Pattern: one, Action: "{type}/delete", Handle: p.deleteDocument},
		{Method: "GET", Pattern: "/subscriptions/{sub}/providers/{namespace}/{rest}", Action: "{type}/read", Handle: p.getDocument},
	}
}

func (p *Provider) listGroups(c *wire.Call) (*wire.Response, error) {
	match, err := filter(c)
	if err != nil {
		return nil, err
	}
	var list []*state.Resource
	sub := state.Fold(c.Param("sub"))
	for g := range state.Resources.Where(c.View(), "subscription", sub+"/"+state.Fold(tracked.GroupType)) {
		if match(g) && c.Allowed(groupRead, tracked.Scope(g)) {
			list = append(list, g)
		}
	}
	return show(c, list)
}

func show(c *wire.Call, list []*state.Resource) (*wire.Response, error) {
	docs := make([]shown, len(list))
	for i, r := range list {
		docs[i] = shown{tracked.Key(r), r.Body}
	}
	return wire.Page(c, docs, func(d shown) string { return d.key })
}

// shown is a stored document in a list.
type shown struct {
	key  string
	body []byte
}

// MarshalJSON returns the document.
func (d shown) MarshalJSON() ([]byte, error) { return d.body, nil }

func (p *Provider) getGroup(c *wire.Call) (*wire.Response, error) {
	g, err := tracked.Group(c.View(), c.Param("sub"), c.Param("group"))
	if err != nil {
		return nil, err
	}
	return wire.OK(tracked.Read(g)), nil
}

func (p *Provider) groupExists(c *wire.Call) (*wire.Response, error) {
	if _, err := tracked.Group(c.View(), c.Param("sub"), c.Param("group")); err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}

func (p *Provider) putGroup(c *wire.Call) (*wire.Response, error) {
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	if err := tracked.CheckGroupName(c.Param("group")); err != nil {
		return nil, err
	}
	if _, err := doc.Tags(); err != nil {
		return nil, err
	}
	created := false
	err = c.Update(func(tx *store.Tx) error {
		id := tracked.GroupID(state.Fold(c.Param("sub")), c.Param("group"))
		g := &state.Resource{
			ID: id, Type: tracked.GroupType, Subscription: state.Fold(c.Param("sub")), Name: c.Param("group"), Created: c.Now,
		}
		was, doc := "", doc.Clone()
		old, err := state.Resources.Get(tx, state.Fold(id))
		switch {
		case errs.Is(err, errs.NotFound):
			created = true
		case err != nil:
			return err
		default:
			if _, err := tracked.WritableGroup(tx, c.Param("sub"), c.Param("group")); err != nil {
				return err
			}
			created, *g = false, *old
			was = tracked.Read(old).Text("location")
			if loc := doc.Text("location"); loc != "" && tracked.Region(loc) != was {
				return wire.Fail(http.StatusConflict, "InvalidResourceGroupLocation", "Invalid resource group location '%.100s'. The Resource group already exists in location '%s'.", loc, was)
			}
		}
		if err := tracked.Location(doc, was, g.Name, g.Name); err != nil {
			return err
		}
		g.Changed = c.Now
		writeGroup(g, doc, "Succeeded")
		return state.Resources.Put(tx, g)
	})
	if err != nil {
		return nil, err
	}
	resp, err := p.getGroup(c)
	if err == nil && created {
		resp.Status = http.StatusCreated
	}
	return resp, err
}

func writeGroup(g *state.Resource, doc wire.Document, provisioning string) {
	doc["id"], doc["name"], doc["type"] = g.ID, g.Name, g.Type
	doc.Set("properties.provisioningState", provisioning)
	g.Body = doc.JSON()
}

func (p *Provider) patchGroup(c *wire.Call) (*wire.Response, error) {
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	if _, err := doc.Tags(); err != nil {
		return nil, err
	}
	err = c.Update(func(tx *store.Tx) error {
		g, err := tracked.WritableGroup(tx, c.Param("sub"), c.Param("group"))
		if err != nil {
			return err
		}
		next, body := *g, tracked.Read(g)
		for _, name := range []string{"tags", "managedBy"} {
			if v, ok := doc[name]; ok {
				body[name] = v
			}
		}
		next.Changed = c.Now
		writeGroup(&next, body, "Succeeded")
		return state.Resources.Put(tx, &next)
	})
	if err != nil {
		return nil, err
	}
	return p.getGroup(c)
}

func (p *Provider) deleteGroup(c *wire.Call) (*wire.Response, error) {
	var op *operation.Operation
	err := c.Update(func(tx *store.Tx) error {
		g, err := tracked.Group(tx, c.Param("sub"), c.Param("group"))
		if err != nil {
			return err
		}
		if busy, ok := operation.Busy(tx, g.ID); ok {
			op = busy // it is being deleted already
			return nil
		}
		next, doc := *g, tracked.Read(g)
		next.Changed = c.Now
		writeGroup(&next, doc, "Deleting")
		if err := state.Resources.Put(tx, &next); err != nil {
			return err
		}
		op = &operation.Operation{Kind: deleteGroup, Subscription: g.Subscription, Resource: g.ID}
		return p.Runner.Start(tx, c, op)
	})
	if err != nil {
		return nil, err
	}
	// az knows Location alone for groups.
	return &wire.Response{Status: http.StatusAccepted, Header: op.LocationOnly(c)}, nil
}

// emptyGroup removes everything in a group. No new resource appears there: the
// group says that it is being deleted, and every write reads that.
func (p *Provider) emptyGroup(ctx context.Context, op *operation.Operation) error {
	id, err := wire.ParseID(op.Resource + "/providers/x.y/z/z")
	if err != nil {
		return err
	}
	at := state.Fold(id.Subscription) + "/" + state.Fold(id.Group)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		left := slices.Collect(state.Resources.Where(p.Store.View(), "group", at))
		if len(left) == 0 {
			return nil
		}
		for _, r := range left {
			if _, busy := operation.Busy(p.Store.View(), r.ID); busy {
				continue // whatever it is, it ends
			}
			if err := p.destroy(ctx, op, r); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (p *Provider) destroy(ctx context.Context, op *operation.Operation, r *state.Resource) error {
	typ, known := p.Types[state.Fold(r.Type)]
	if known && typ.Destroy != nil {
		if err := typ.Destroy(ctx, r); err != nil {
			return err
		}
	}
	return p.Store.Update(ctx, func(tx *store.Tx) error {
		if known && typ.Remove != nil {
			if err := typ.Remove(tx, r, p.Clock.Now().UTC()); err != nil {
				return err
			}
		}
		return tracked.Remove(tx, op.Tenant, r.ID)
	})
}

// removeGroup ends the deletion of a group.
func (p *Provider) removeGroup(tx *store.Tx, op *operation.Operation, failure error) error {
	if failure == nil {
		return tracked.Remove(tx, op.Tenant, op.Resource)
	}
	g, err := state.Resources.Get(tx, state.Fold(op.Resource))
	if err != nil {
		return err
	}
	op.Outcome = "The resource group stays, with what could not be deleted in it."
	next := *g
	writeGroup(&next, tracked.Read(g), "Succeeded")
	return state.Resources.Put(tx, &next)
}

func (p *Provider) listResources(c *wire.Call) (*wire.Response, error) {
	match, err := filter(c)
	if err != nil {
		return nil, err
	}
	sub, group := state.Fold(c.Param("sub")), c.Param("group")
	if group != "" {
		if _, err := tracked.Group(c.View(), sub, group); err != nil {
			return nil, err
		}
	}
	var list []*state.Resource
	for r := range state.Resources.WherePrefix(c.View(), "subscription", sub+"/") {
		if r.Group == "" || group != "" && !strings.EqualFold(r.Group, group) {
			continue
		}
		if c.Allowed(r.Type+"/read", tracked.Scope(r)) && match(r) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *state.Resource) int { return strings.Compare(tracked.Key(a), tracked.Key(b)) })
	docs := make([]brief, len(list))
	for i, r := range list {
		docs[i] = brief{r}
	}
	return wire.Page(c, docs, func(d brief) string { return tracked.Key(d.r) })
}

// brief is a resource in the list of all types. Documents are read when they are
// shown: those of other pages never.
type brief struct{ r *state.Resource }

// MarshalJSON returns what the list shows of the resource.
func (b brief) MarshalJSON() ([]byte, error) {
	doc := wire.Document{"id": b.r.ID, "name": b.r.Name, "type": b.r.Type}
	full := tracked.Read(b.r)
	for _, name := range []string{"location", "tags", "kind", "sku", "identity", "managedBy", "zones", "plan"} {
		if v, ok := full[name]; ok {
			doc[name] = v
		}
	}
	return doc.JSON(), nil
}
