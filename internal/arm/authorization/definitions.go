package authorization

import (
	"net/http"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

var definitionSchema = odata.NewSchema("roleDefinition",
	[]odata.Property{{Name: "roleName"}, {Name: "type"}, {Name: "name"}, {Name: "id"}},
	odata.Function{Name: "atScope"}, odata.Function{Name: "atScopeAndBelow"})

// definition is a role as filters see it.
type definition struct{ *rbac.RoleDefinition }

// Property implements odata.Object.
func (d definition) Property(name string) any {
	switch strings.ToLower(name) {
	case "rolename":
		return d.Name
	case "type":
		return typeOf(d.RoleDefinition)
	case "name", "id":
		return d.ID
	}
	return nil
}

// Call implements odata.Caller: what the list shows is chosen by scope already.
func (d definition) Call(string, []string) bool { return true }

func typeOf(d *rbac.RoleDefinition) string {
	if d.BuiltIn {
		return "BuiltInRole"
	}
	return "CustomRole"
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func permissionDocument(p *rbac.Permission) wire.Document {
	d := wire.Document{
		"actions": list(p.Actions), "notActions": list(p.NotActions),
		"dataActions": list(p.DataActions), "notDataActions": list(p.NotDataActions),
	}
	if p.Condition != "" {
		d["condition"], d["conditionVersion"] = p.Condition, p.ConditionVersion
	}
	return d
}

// showRole returns a role definition as it is shown at a scope.
func showRole(r store.Reader, c *wire.Call, at rbac.Scope, d *rbac.RoleDefinition) wire.Document {
	permissions := make([]wire.Document, len(d.Permissions))
	for i := range d.Permissions {
		permissions[i] = permissionDocument(&d.Permissions[i])
	}
	properties := wire.Document{
		"roleName": d.Name, "type": typeOf(d), "description": d.Description,
		"assignableScopes": list(d.AssignableScopes), "permissions": permissions,
	}
	if !d.BuiltIn {
		if kept, err := state.AccessRoles.Get(r, string(c.Tenant)+"/"+d.ID); err == nil {
			properties["createdOn"], properties["updatedOn"] = stamp(kept.Created), stamp(kept.Updated)
			properties["createdBy"], properties["updatedBy"] = orNil(kept.CreatedBy), orNil(kept.UpdatedBy)
		}
	}
	return wire.Document{
		"id": definitionID(at, d.ID), "name": d.ID, "type": "Microsoft.Authorization/roleDefinitions", "properties": properties,
	}
}

// near reports whether a custom role can be assigned at a scope, or below it.
func near(c *wire.Call, d *rbac.RoleDefinition, at rbac.Scope) bool {
	return d.BuiltIn || slices.ContainsFunc(d.AssignableScopes, func(text string) bool {
		s, err := rbac.ParseScope(text)
		return err == nil && (covers(c, s, at) || covers(c, at, s))
	})
}

func (p *Provider) listRoles(c *wire.Call) (*wire.Response, error) {
	at, err := scope(c)
	if err != nil {
		return nil, err
	}
	match := func(*rbac.RoleDefinition) bool { return true }
	if text := c.Query.Get("$filter"); text != "" {
		f, err := odata.ParseFilter(text, definitionSchema)
		if err != nil {
			return nil, wire.Bad("UnsupportedFilter", "The filter '%.200s' is not supported: %s", text, errs.Message(err))
		}
		budget := &odata.Budget{Left: 1_000_000}
		match = func(d *rbac.RoleDefinition) bool {
			ok, err := f.Match(definition{d}, budget)
			return err == nil && ok
		}
	}
	var docs []wire.Document
	for _, roles := range [][]*rbac.Role{rbac.BuiltInRoles(), c.Facts.RBAC.Roles(c.Tenant)} {
		for _, r := range roles {
			if match(&r.RoleDefinition) && near(c, &r.RoleDefinition, at) {
				docs = append(docs, showRole(c.View(), c, at, &r.RoleDefinition))
			}
		}
	}
	slices.SortFunc(docs, func(a, b wire.Document) int { return strings.Compare(a.Text("name"), b.Text("name")) })
	return wire.Page(c, docs, func(d wire.Document) string { return d.Text("name") })
}

func roleMissing(c *wire.Call) error {
	return wire.Fail(http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", c.Param("name"))
}

func (p *Provider) getRole(c *wire.Call) (*wire.Response, error) {
	at, err := scope(c)
	if err != nil {
		return nil, err
	}
	r, ok := c.Facts.RBAC.Role(c.Tenant, c.Param("name"))
	if !ok || !near(c, &r.RoleDefinition, at) {
		return nil, roleMissing(c)
	}
	return wire.OK(showRole(c.View(), c, at, &r.RoleDefinition)), nil
}

func texts(d wire.Document, path string) ([]string, error) {
	v, ok := d.Get(path)
	if !ok {
		return []string{}, nil
	}
	l, ok := v.([]any)
	if !ok {
		return nil, wire.Bad("InvalidRequestContent", "'%s' is not a list.", path)
	}
	out := make([]string, len(l))
	for i, e := range l {
		if out[i], ok = e.(string); !ok {
			return nil, wire.Bad("InvalidRequestContent", "'%s' is not a list of texts.", path)
		}
	}
	return out, nil
}

// readRole reads a custom role from the body.
func readRole(c *wire.Call, id string) (rbac.RoleDefinition, error) {
	d := rbac.RoleDefinition{ID: id}
	doc, err := c.Document()
	if err != nil {
		return d, err
	}
	properties := doc.Object("properties")
	if properties == nil {
		return d, wire.Bad("InvalidRoleDefinition", "The role definition has no properties.")
	}
	if t := properties.Text("type"); t != "" && !strings.EqualFold(t, "CustomRole") {
		return d, wire.Bad("InvalidRoleDefinition", "Only role definitions of the type CustomRole can be written.")
	}
	d.Name, d.Description = properties.Text("roleName"), properties.Text("description")
	if d.AssignableScopes, err = texts(properties, "assignableScopes"); err != nil {
		return d, err
	}
	for _, v := range properties.List("permissions") {
		m, ok := v.(map[string]any)
		if !ok {
			return d, wire.Bad("InvalidRoleDefinition", "A permission is not an object.")
		}
		block, perm := wire.Document(m), rbac.Permission{}
		for _, f := range []struct {
			name string
			into *[]string
		}{{"actions", &perm.Actions}, {"notActions", &perm.NotActions}, {"dataActions", &perm.DataActions}, {"notDataActions", &perm.NotDataActions}} {
			if *f.into, err = texts(block, f.name); err != nil {
				return d, err
			}
		}
		perm.Condition, perm.ConditionVersion = block.Text("condition"), block.Text("conditionVersion")
		d.Permissions = append(d.Permissions, perm)
	}
	return d, nil
}

// requireEverywhere refuses the call unless the caller may do the action at each
// of a role's scopes. Of the scopes that the role has so far some may be gone;
// those of others count only when they are the tenant's.
func requireEverywhere(c *wire.Call, r store.Reader, action string, scopes []string, fresh bool) error {
	for _, text := range scopes {
		s, err := rbac.ParseScope(text)
		if err != nil {
			return wire.Bad("InvalidRoleDefinition", "%s", errs.Message(err))
		}
		if err := inTenant(c, r, s); err != nil {
			if !fresh {
				continue
			}
			return wire.Bad("RoleDefinitionAssignableScopeNotFound", "The assignable scope '%s' cannot be found in the directory.", text)
		}
		if err := c.RequireLinked(action, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *Provider) putRole(c *wire.Call) (*wire.Response, error) {
	id, err := guid(c, "InvalidRoleDefinitionId")
	if err != nil {
		return nil, err
	}
	at, err := scope(c)
	if err != nil {
		return nil, err
	}
	d, err := readRole(c, id)
	if err != nil {
		return nil, err
	}
	err = c.Update(func(tx *store.Tx) error {
		tx.Guard("accessrole/" + string(c.Tenant) + "/" + id)
		if err := coded(c.Facts.RBAC.CheckRole(c.Tenant, d), "InvalidRoleDefinition"); err != nil {
			return err
		}
		if err := requireEverywhere(c, tx, definitionsWrite, d.AssignableScopes, true); err != nil {
			return err
		}
		next := &state.AccessRole{Tenant: c.Tenant, Role: d, Created: c.Now, Updated: c.Now, CreatedBy: c.ID, UpdatedBy: c.ID}
		old, err := state.AccessRoles.Get(tx, string(c.Tenant)+"/"+id)
		switch {
		case err == nil:
			next.Created, next.CreatedBy = old.Created, old.CreatedBy
			// A role that somebody else's scopes use too is theirs as well.
			if err := requireEverywhere(c, tx, definitionsWrite, old.Role.AssignableScopes, false); err != nil {
				return err
			}
		case !errs.Is(err, errs.NotFound):
			return err
		}
		return state.AccessRoles.Put(tx, next)
	})
	if errs.Is(err, errs.Exists) {
		return nil, wire.Fail(http.StatusConflict, "RoleDefinitionWithSameNameExists", "A custom role with the same name already exists in this directory. Use a different name.")
	}
	if err != nil {
		return nil, err
	}
	// 201 for a role that was there too: Microsoft's clients take nothing else.
	return wire.Created(showRole(c.View(), c, at, &d)), nil
}

func (p *Provider) deleteRole(c *wire.Call) (*wire.Response, error) {
	id, err := guid(c, "InvalidRoleDefinitionId")
	if err != nil {
		return nil, err
	}
	at, err := scope(c)
	if err != nil {
		return nil, err
	}
	var gone *rbac.RoleDefinition
	err = c.Update(func(tx *store.Tx) error {
		gone = nil
		tx.Guard("accessrole/" + string(c.Tenant) + "/" + id)
		if err := coded(c.Facts.RBAC.CheckRoleDelete(c.Tenant, id), "InvalidRoleDefinition"); err != nil {
			return err
		}
		old, err := state.AccessRoles.Get(tx, string(c.Tenant)+"/"+id)
		if err != nil {
			return err
		}
		if err := requireEverywhere(c, tx, "Microsoft.Authorization/roleDefinitions/delete", old.Role.AssignableScopes, false); err != nil {
			return err
		}
		if n := state.AccessAssignments.Count(tx, "role", string(c.Tenant)+"/"+id); n > 0 {
			return coded(errs.Wrap(errs.Conflict, rbac.ErrRoleInUse, "There are existing role assignments referencing role (code: RoleDefinitionHasAssignments): %d.", n), "")
		}
		gone = &old.Role
		return state.AccessRoles.Delete(tx, string(c.Tenant)+"/"+id)
	})
	if errs.Is(err, errs.NotFound) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	return wire.OK(showRole(c.View(), c, at, gone)), nil
}
