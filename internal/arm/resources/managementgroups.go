package resources

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

const (
	mgType   = "Microsoft.Management/managementGroups"
	mgPrefix = "/providers/Microsoft.Management/managementGroups/"
	mgWrite  = "Microsoft.Management/managementGroups/write"
)

var mgName = regexp.MustCompile(`^[A-Za-z0-9]([-\w().]{0,88}[-\w()])?$`)

func mgMissing(name string) *wire.Error {
	return wire.Fail(http.StatusNotFound, "NotFound", "'%s' not found", mgPrefix+name)
}

func (p *Provider) mg(c *wire.Call, r store.Reader, name string) (*state.ManagementGroup, error) {
	g, err := state.ManagementGroups.Get(r, string(c.Tenant)+"/"+state.Fold(name))
	return g, absent(err, mgMissing(name))
}

// groupOrParent is the scope of a write: the group, and for a new one the group
// that it is to hang under.
func (p *Provider) groupOrParent(c *wire.Call) (rbac.Scope, error) {
	if g, err := p.mg(c, c.View(), c.Param("name")); err == nil {
		return rbac.ManagementGroup(g.Name)
	}
	doc, err := c.OptionalDocument()
	if err != nil {
		return rbac.Scope{}, err
	}
	parent, err := parentIn(c, doc, "properties.details.parent.id")
	if err != nil {
		return rbac.Scope{}, err
	}
	return rbac.ManagementGroup(cmp.Or(parent, string(c.Tenant)))
}

// parentIn reads the id of a parent group, and returns its name.
func parentIn(c *wire.Call, doc wire.Document, path string) (string, error) {
	id := doc.Text(path)
	if id == "" {
		return "", nil
	}
	s, err := rbac.ParseScope(id)
	if err != nil || s.Kind() != rbac.ManagementGroupScope {
		return "", wire.BadRequest("The parent '%.200s' is not the id of a management group.", id)
	}
	return s.Name(), nil
}

func mgDocument(c *wire.Call, g *state.ManagementGroup) wire.Document {
	details := wire.Document{"version": 1, "updatedTime": c.Now.Format("2006-01-02T15:04:05Z"), "updatedBy": string(c.ID)}
	if g.Parent != "" {
		parent := wire.Document{"id": mgPrefix + g.Parent, "name": g.Parent}
		if pg, err := state.ManagementGroups.Get(c.View(), string(g.Tenant)+"/"+state.Fold(g.Parent)); err == nil {
			parent["displayName"] = pg.DisplayName
		}
		details["parent"] = parent
	}
	return wire.Document{
		"id": mgPrefix + g.Name, "name": g.Name, "type": "/providers/" + mgType,
		"properties": wire.Document{"tenantId": string(g.Tenant), "displayName": g.DisplayName, "details": details},
	}
}

func (p *Provider) managementGroups(c *wire.Call) (*wire.Response, error) {
	list := []wire.Document{}
	for g := range state.ManagementGroups.Where(c.View(), "tenant", string(c.Tenant)) {
		if at, err := rbac.ManagementGroup(g.Name); err == nil && c.Allowed("Microsoft.Management/managementGroups/read", at) {
			doc := mgDocument(c, g)
			doc.Object("properties").Delete("details")
			list = append(list, doc)
		}
	}
	return wire.Page(c, list, func(d wire.Document) string { return state.Fold(d.Text("name")) })
}

func (p *Provider) managementGroup(c *wire.Call) (*wire.Response, error) {
	g, err := p.mg(c, c.View(), c.Param("name"))
	if err != nil {
		return nil, err
	}
	doc := mgDocument(c, g)
	if e := c.Query.Get("$expand"); strings.EqualFold(e, "children") || strings.EqualFold(e, "path") {
		doc.Set("properties.children", p.children(c, g, strings.EqualFold(c.Query.Get("$recurse"), "true"), 0))
	}
	return wire.OK(doc), nil
}

func (p *Provider) children(c *wire.Call, g *state.ManagementGroup, recurse bool, depth int) []wire.Document {
	list := []wire.Document{}
	for child := range state.ManagementGroups.Where(c.View(), "parent", string(c.Tenant)+"/"+state.Fold(g.Name)) {
		d := wire.Document{"type": mgType, "id": mgPrefix + child.Name, "name": child.Name, "displayName": child.DisplayName}
		if recurse && depth < 8 {
			d["children"] = p.children(c, child, true, depth+1)
		}
		list = append(list, d)
	}
	for _, s := range p.under(c, g) {
		list = append(list, wire.Document{"type": "/subscriptions", "id": "/subscriptions/" + s.ID, "name": s.ID, "displayName": s.DisplayName})
	}
	return list
}

// under returns the subscriptions directly in a group.
func (p *Provider) under(c *wire.Call, g *state.ManagementGroup) []*state.Subscription {
	var list []*state.Subscription
	for s := range state.Subscriptions.Where(c.View(), "tenant", string(c.Tenant)) {
		if strings.EqualFold(cmp.Or(s.ManagementGroup, string(c.Tenant)), g.Name) {
			list = append(list, s)
		}
	}
	return list
}

func (p *Provider) putManagementGroup(c *wire.Call) (*wire.Response, error) {
	doc, err := c.OptionalDocument()
	if err != nil {
		return nil, err
	}
	parent, err := parentIn(c, doc, "properties.details.parent.id")
	if err != nil {
		return nil, err
	}
	return p.writeGroup(c, doc.Text("properties.displayName"), parent, true)
}

func (p *Provider) patchManagementGroup(c *wire.Call) (*wire.Response, error) {
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	parent, err := parentIn(c, wire.Document{"id": doc["parentGroupId"]}, "id")
	if err != nil {
		return nil, err
	}
	return p.writeGroup(c, doc.Text("displayName"), parent, false)
}

func (p *Provider) writeGroup(c *wire.Call, display, parent string, create bool) (*wire.Response, error) {
	name := c.Param("name")
	if !mgName.MatchString(name) {
		return nil, wire.BadRequest("The management group name '%.100s' is not valid: it has 1 to 90 letters, digits, '-', '_', '(', ')' and '.'.", name)
	}
	if parent != "" {
		at, err := rbac.ManagementGroup(parent)
		if err != nil {
			return nil, err
		}
		// Who hangs a group under another gives its owners' access to it.
		if err := c.RequireLinked(mgWrite, at); err != nil {
			return nil, err
		}
	}
	err := c.Update(func(tx *store.Tx) error {
		tx.Guard("managementgroups/" + string(c.Tenant))
		g := state.ManagementGroup{Name: name, Tenant: c.Tenant, DisplayName: cmp.Or(display, name), Parent: cmp.Or(parent, string(c.Tenant))}
		old, err := p.mg(c, tx, name)
		switch {
		case err == nil:
			g = *old
			g.DisplayName = cmp.Or(display, g.DisplayName)
			if parent != "" && g.Parent == "" {
				return wire.BadRequest("The root management group cannot be moved.")
			}
			if parent != "" {
				g.Parent = parent
			}
		case !create || !isMissing(err):
			return err
		}
		if g.Parent != "" {
			if err := checkTree(tx, &g); err != nil {
				return err
			}
			if err := c.Facts.RBAC.CheckManagementGroup(c.Tenant, g.Name, g.Parent); err != nil {
				return err
			}
		}
		return state.ManagementGroups.Put(tx, &g)
	})
	if err != nil {
		return nil, err
	}
	return p.managementGroup(c)
}

// checkTree refuses a circle, and a parent that is not there, as the
// transaction sees the tree.
func checkTree(tx *store.Tx, g *state.ManagementGroup) error {
	for at, n := g.Parent, 0; at != ""; n++ {
		if strings.EqualFold(at, g.Name) || n > 8 {
			return wire.BadRequest("The management group would be below itself.")
		}
		up, err := state.ManagementGroups.Get(tx, string(g.Tenant)+"/"+state.Fold(at))
		if err != nil {
			return absent(err, mgMissing(at))
		}
		at = up.Parent
	}
	return nil
}

func isMissing(err error) bool {
	e, ok := err.(*wire.Error)
	return ok && e.Status == http.StatusNotFound || errs.Is(err, errs.NotFound)
}

func (p *Provider) deleteManagementGroup(c *wire.Call) (*wire.Response, error) {
	err := c.Update(func(tx *store.Tx) error {
		tx.Guard("managementgroups/" + string(c.Tenant))
		g, err := p.mg(c, tx, c.Param("name"))
		if err != nil {
			return err
		}
		if g.Parent == "" {
			return wire.BadRequest("The root management group cannot be deleted.")
		}
		if _, ok := state.ManagementGroups.First(tx, "parent", string(c.Tenant)+"/"+state.Fold(g.Name)); ok || len(p.under(c, g)) > 0 {
			return wire.BadRequest("Cannot delete management group '%s' as it has children.", g.Name)
		}
		if err := state.ManagementGroups.Delete(tx, string(c.Tenant)+"/"+state.Fold(g.Name)); err != nil {
			return err
		}
		return tracked.RemoveAccess(tx, c.Tenant, mgPrefix+g.Name)
	})
	if isMissing(err) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	return &wire.Response{Status: http.StatusOK}, nil
}

func mgSubscription(g string, s *state.Subscription) wire.Document {
	return wire.Document{
		"id": mgPrefix + g + "/subscriptions/" + s.ID, "name": s.ID, "type": mgType + "/subscriptions",
		"properties": wire.Document{"tenant": string(s.Tenant), "displayName": s.DisplayName, "state": s.State, "parent": wire.Document{"id": mgPrefix + g}},
	}
}

func (p *Provider) groupSubscriptions(c *wire.Call) (*wire.Response, error) {
	g, err := p.mg(c, c.View(), c.Param("name"))
	if err != nil {
		return nil, err
	}
	list := []wire.Document{}
	for _, s := range p.under(c, g) {
		list = append(list, mgSubscription(g.Name, s))
	}
	return wire.Page(c, list, func(d wire.Document) string { return d.Text("name") })
}

func (p *Provider) groupSubscription(c *wire.Call) (*wire.Response, error) {
	g, err := p.mg(c, c.View(), c.Param("name"))
	if err != nil {
		return nil, err
	}
	s, err := c.Subscription(c.Param("sub"))
	if err != nil {
		return nil, err
	}
	if !slices.Contains(p.under(c, g), s) {
		return nil, mgMissing(g.Name + "/subscriptions/" + s.ID)
	}
	return wire.OK(mgSubscription(g.Name, s)), nil
}

// moveSubscription hangs a subscription under a group. Who has access there
// gets it to the subscription, so the caller must own that too.
func (p *Provider) moveSubscription(c *wire.Call) (*wire.Response, error) {
	return p.place(c, c.Param("name"))
}

func (p *Provider) releaseSubscription(c *wire.Call) (*wire.Response, error) {
	if _, err := p.groupSubscription(c); err != nil {
		return nil, err
	}
	if _, err := p.place(c, string(c.Tenant)); err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}

func (p *Provider) place(c *wire.Call, group string) (*wire.Response, error) {
	s, err := c.Subscription(c.Param("sub"))
	if err != nil {
		return nil, err
	}
	at, err := rbac.Subscription(s.ID)
	if err != nil {
		return nil, err
	}
	for _, action := range []string{"Microsoft.Management/managementGroups/subscriptions/write", "Microsoft.Authorization/roleAssignments/write"} {
		if err := c.RequireLinked(action, at); err != nil {
			return nil, err
		}
	}
	var name string
	err = c.Update(func(tx *store.Tx) error {
		tx.Guard("managementgroups/" + string(c.Tenant))
		g, err := p.mg(c, tx, group)
		if err != nil {
			return err
		}
		name = g.Name
		return state.Subscriptions.Modify(tx, s.ID, func(s *state.Subscription) error {
			s.ManagementGroup = g.Name
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return wire.OK(mgSubscription(name, s)), nil
}

func (p *Provider) descendants(c *wire.Call) (*wire.Response, error) {
	g, err := p.mg(c, c.View(), c.Param("name"))
	if err != nil {
		return nil, err
	}
	list := []wire.Document{}
	var walk func(g *state.ManagementGroup, depth int)
	walk = func(g *state.ManagementGroup, depth int) {
		for _, s := range p.under(c, g) {
			list = append(list, wire.Document{"id": "/subscriptions/" + s.ID, "type": "/subscriptions", "name": s.ID,
				"properties": wire.Document{"displayName": s.DisplayName, "parent": wire.Document{"id": mgPrefix + g.Name}}})
		}
		for child := range state.ManagementGroups.Where(c.View(), "parent", string(c.Tenant)+"/"+state.Fold(g.Name)) {
			list = append(list, wire.Document{"id": mgPrefix + child.Name, "type": mgType, "name": child.Name,
				"properties": wire.Document{"displayName": child.DisplayName, "parent": wire.Document{"id": mgPrefix + g.Name}}})
			if depth < 8 {
				walk(child, depth+1)
			}
		}
	}
	walk(g, 0)
	slices.SortFunc(list, func(a, b wire.Document) int { return strings.Compare(a.Text("id"), b.Text("id")) })
	return wire.Page(c, list, func(d wire.Document) string { return d.Text("id") })
}

// entities lists the groups and subscriptions in which the caller has access.
func (p *Provider) entities(c *wire.Call) (*wire.Response, error) {
	list := []wire.Document{}
	add := func(id, typ, name, display, parent string) {
		at, err := rbac.ParseScope(id)
		if err != nil || !c.Sees(at) {
			return
		}
		properties := wire.Document{"tenantId": string(c.Tenant), "displayName": display, "permissions": "view", "inheritedPermissions": "view"}
		if parent != "" {
			properties["parent"] = wire.Document{"id": mgPrefix + parent}
		}
		list = append(list, wire.Document{"id": id, "type": typ, "name": name, "properties": properties})
	}
	for g := range state.ManagementGroups.Where(c.View(), "tenant", string(c.Tenant)) {
		add(mgPrefix+g.Name, mgType, g.Name, g.DisplayName, g.Parent)
	}
	for s := range state.Subscriptions.Where(c.View(), "tenant", string(c.Tenant)) {
		add("/subscriptions/"+s.ID, "/subscriptions", s.ID, s.DisplayName, cmp.Or(s.ManagementGroup, string(c.Tenant)))
	}
	return wire.Page(c, list, func(d wire.Document) string { return d.Text("id") })
}
