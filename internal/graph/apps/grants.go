package apps

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// grantsAt collects the grants under a value of an index.
func grantsAt(c *wire.Call, index, value string) (list []*model.Object) {
	for g := range state.Grants.Where(c.View, index, value) {
		list = append(list, model.PermissionGrants(resource.At(c), g))
	}
	return list
}

func (s service) listGrants(c *wire.Call) (*wire.Response, error) {
	src := resource.Objects(model.PermissionGrant.Schema(), "oauth2PermissionGrants", grantsAt(c, "tenant", string(c.Tenant)), false)
	src.Plain = true
	return c.List(src)
}

// grantsOf lists the grants of a client, or with user those of a person.
func (s service) grantsOf(index string) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		o, err := resource.Subject(c, c.View)
		if err != nil {
			return nil, err
		}
		src := resource.Objects(model.PermissionGrant.Schema(), "oauth2PermissionGrants", grantsAt(c, index, c.StateKey(directory.ObjectID(o.ID))), false)
		src.Plain = true
		return c.List(src)
	}
}

func (s service) grant(c *wire.Call, r store.Reader) (*directory.PermissionGrant, error) {
	id, err := c.Key(0)
	if err != nil {
		return nil, err
	}
	g, err := state.Grants.Get(r, string(c.Tenant)+"/"+id)
	if err != nil {
		return nil, resource.Missing(err, id)
	}
	return g, nil
}

func (s service) getGrant(c *wire.Call) (*wire.Response, error) {
	g, err := s.grant(c, c.View)
	if err != nil {
		return nil, err
	}
	return c.One(model.PermissionGrants(resource.At(c), g), model.PermissionGrant.Schema(), "oauth2PermissionGrants", nil)
}

// checkScope keeps a grant's scope a list of plain words.
func checkScope(scope string) (string, error) {
	words := strings.Fields(scope)
	if len(scope) > 8<<10 || strings.ContainsFunc(scope, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return "", wire.Bad("Invalid value specified for property 'scope' of resource 'OAuth2PermissionGrant'.")
	}
	return strings.Join(words, " "), nil
}

func (s service) createGrant(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var client, api, consent, scope string
	var user *string
	var ignored json.RawMessage // times that old clients still send
	if err := body.Fields(map[string]any{
		"clientId": &client, "resourceId": &api, "consentType": &consent, "principalId": &user, "scope": &scope, "startTime": &ignored, "expiryTime": &ignored,
	}, "clientId", "resourceId", "consentType"); err != nil {
		return nil, err
	}
	g := &directory.PermissionGrant{Tenant: c.Tenant, ID: directory.NewGUID()}
	if g.Scope, err = checkScope(scope); err != nil {
		return nil, err
	}
	for name, v := range map[string]struct {
		raw  string
		into *directory.ObjectID
	}{"clientId": {client, &g.Client}, "resourceId": {api, &g.Resource}} {
		id, ok := directory.ParseGUID(v.raw)
		if !ok {
			return nil, wire.Bad("Invalid value specified for property '%s' of resource 'OAuth2PermissionGrant'.", name)
		}
		*v.into = directory.ObjectID(id)
	}
	switch consent {
	case "AllPrincipals":
		if user != nil && *user != "" {
			return nil, wire.Bad("principalId must be null when consentType is AllPrincipals.")
		}
	case "Principal":
		id, ok := "", false
		if user != nil {
			id, ok = directory.ParseGUID(*user)
		}
		if !ok {
			return nil, wire.Bad("principalId is required when consentType is Principal.")
		}
		g.User = directory.ObjectID(id)
	default:
		return nil, wire.Bad("Invalid value specified for property 'consentType' of resource 'OAuth2PermissionGrant'.")
	}
	var target *directory.ServicePrincipal
	err = c.Update(func(tx *store.Tx) error {
		var err error
		if target, err = state.ServicePrincipals.Get(tx, c.StateKey(g.Client)); err != nil {
			return resource.Missing(err, string(g.Client))
		}
		if _, err := state.ServicePrincipals.Get(tx, c.StateKey(g.Resource)); err != nil {
			return resource.Missing(err, string(g.Resource))
		}
		if g.User != "" {
			if _, err := state.Users.Get(tx, c.StateKey(g.User)); err != nil {
				return resource.Missing(err, string(g.User))
			}
		}
		return state.Grants.Create(tx, g)
	})
	if errs.Is(err, errs.Exists) {
		return nil, wire.Fail(409, CodeInUse, "Permission entry already exists.")
	}
	if err != nil {
		return nil, err
	}
	c.Audited(clientTarget(target, []wire.Change{{Name: "DelegatedPermissionGrant.Scope", New: jsonText(g.Scope)}}))
	return resource.Created(c, model.PermissionGrants(resource.At(c), g), "oauth2PermissionGrants")
}

func jsonText(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(raw)
}

func (s service) updateGrant(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var scope string
	if err := body.Fields(map[string]any{"scope": &scope}, "scope"); err != nil {
		return nil, err
	}
	if scope, err = checkScope(scope); err != nil {
		return nil, err
	}
	var g *directory.PermissionGrant
	err = c.Update(func(tx *store.Tx) error {
		var err error
		if g, err = s.grant(c, tx); err != nil {
			return err
		}
		return state.Grants.Modify(tx, string(c.Tenant)+"/"+g.ID, func(n *directory.PermissionGrant) error {
			n.Scope = scope
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	c.Audited(wire.Target{Type: "ServicePrincipal", ID: string(g.Client), Changes: []wire.Change{{Name: "DelegatedPermissionGrant.Scope", Old: jsonText(g.Scope), New: jsonText(scope)}}})
	return wire.NoContent(), nil
}

func (s service) deleteGrant(c *wire.Call) (*wire.Response, error) {
	var g *directory.PermissionGrant
	err := c.Update(func(tx *store.Tx) error {
		var err error
		if g, err = s.grant(c, tx); err != nil {
			return err
		}
		return state.Grants.Delete(tx, string(c.Tenant)+"/"+g.ID)
	})
	if err != nil {
		return nil, err
	}
	c.Audited(wire.Target{Type: "ServicePrincipal", ID: string(g.Client), Changes: []wire.Change{{Name: "DelegatedPermissionGrant.Scope", Old: jsonText(g.Scope)}}})
	return wire.NoContent(), nil
}

// assignments lists the app role assignments that a principal has, or with
// index "resource" those on a resource.
func (s service) assignments(index string) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		o, err := resource.Subject(c, c.View)
		if err != nil {
			return nil, err
		}
		var list []*model.Object
		for a := range state.AppRoleAssignments.Where(c.View, index, c.StateKey(directory.ObjectID(o.ID))) {
			list = append(list, model.AppRoleAssignments(resource.At(c), a))
		}
		src := resource.Objects(model.AppRoleAssignment.Schema(), "appRoleAssignments", list, false)
		src.Plain = true
		return c.List(src)
	}
}

// assignment returns the app role assignment that the second key names, if it
// belongs to the object of the first.
func (s service) assignment(c *wire.Call, r store.Reader, index string) (*directory.AppRoleAssignment, error) {
	o, err := resource.Subject(c, r)
	if err != nil {
		return nil, err
	}
	id, err := c.Key(1)
	if err != nil {
		return nil, err
	}
	a, err := state.AppRoleAssignments.Get(r, string(c.Tenant)+"/"+id)
	if err != nil {
		return nil, resource.Missing(err, id)
	}
	if index == "principal" && string(a.Principal) != o.ID || index == "resource" && string(a.Resource) != o.ID {
		return nil, wire.Missing(id)
	}
	return a, nil
}

func (s service) getAssignment(index string) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		a, err := s.assignment(c, c.View, index)
		if err != nil {
			return nil, err
		}
		return c.One(model.AppRoleAssignments(resource.At(c), a), model.AppRoleAssignment.Schema(), "appRoleAssignments", nil)
	}
}

func (s service) createAssignment(index string) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		body, err := wire.ParseBody(c.Body)
		if err != nil {
			return nil, err
		}
		var principal, api, role string
		if err := body.Fields(map[string]any{"principalId": &principal, "resourceId": &api, "appRoleId": &role}, "principalId", "resourceId", "appRoleId"); err != nil {
			return nil, err
		}
		var ids [3]string
		for i, raw := range []string{principal, api, role} {
			id, ok := directory.ParseGUID(raw)
			if !ok {
				return nil, wire.Bad("Invalid object identifier '%.100s'.", raw)
			}
			ids[i] = id
		}
		a := &directory.AppRoleAssignment{
			Tenant: c.Tenant, ID: directory.NewGUID(), Principal: directory.ObjectID(ids[0]), Resource: directory.ObjectID(ids[1]), AppRole: ids[2], Created: c.Now,
		}
		var target *directory.ServicePrincipal
		err = c.Update(func(tx *store.Tx) error {
			o, err := resource.Subject(c, tx)
			if err != nil {
				return err
			}
			if index == "principal" && o.ID != ids[0] || index == "resource" && o.ID != ids[1] {
				return wire.Bad("The object in the path must be the %s of the assignment.", index)
			}
			if a.PrincipalType, err = state.TypeOf(tx, c.Tenant, a.Principal); err != nil {
				return resource.Missing(err, ids[0])
			}
			if target, err = state.ServicePrincipals.Get(tx, c.StateKey(a.Resource)); err != nil {
				return resource.Missing(err, ids[1])
			}
			if err := s.mayAssign(c, a, target); err != nil {
				return err
			}
			if err := checkAppRole(a, target); err != nil {
				return err
			}
			return state.AppRoleAssignments.Create(tx, a)
		})
		if errs.Is(err, errs.Exists) {
			return nil, wire.Bad("Permission being assigned already exists on the object.")
		}
		if err != nil {
			return nil, err
		}
		c.Audited(clientTarget(target, []wire.Change{{Name: "AppRole.Id", New: jsonText(a.AppRole)}}))
		o, _ := model.Find(resource.At(c), a.Principal)
		c.Audited(resource.ObjectTarget(o))
		return resource.Created(c, model.AppRoleAssignments(resource.At(c), a), "appRoleAssignments")
	}
}

// mayAssign refuses an assignment that would make an application more powerful
// than whoever assigns it may make it.
func (s service) mayAssign(c *wire.Call, a *directory.AppRoleAssignment, api *directory.ServicePrincipal) error {
	if a.PrincipalType != directory.TypeServicePrincipal {
		return nil
	}
	if api.AppID == directory.Graph || api.AppID == directory.AADGraph {
		return c.Require(consentWrite, "")
	}
	return c.Require(clientAssignmentsWrite, a.Resource)
}

// checkAppRole holds that the role exists on the resource and may be given to
// principals of the kind.
func checkAppRole(a *directory.AppRoleAssignment, api *directory.ServicePrincipal) error {
	kind := "User"
	switch a.PrincipalType {
	case directory.TypeUser, directory.TypeGroup:
	case directory.TypeServicePrincipal:
		kind = "Application"
	default:
		return wire.Bad("App roles can be assigned to users, groups and service principals.")
	}
	if a.AppRole == directory.DefaultAppRole {
		return nil
	}
	i := slices.IndexFunc(api.AppRoles, func(r directory.AppRole) bool { return r.ID == a.AppRole })
	if i < 0 || !api.AppRoles[i].Enabled || !slices.Contains(api.AppRoles[i].MemberTypes, kind) {
		return wire.Bad("Permission being assigned was not found on application '%s'", api.AppID)
	}
	return nil
}

func (s service) deleteAssignment(index string) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		var a *directory.AppRoleAssignment
		err := c.Update(func(tx *store.Tx) error {
			var err error
			if a, err = s.assignment(c, tx, index); err != nil {
				return err
			}
			return state.AppRoleAssignments.Delete(tx, string(c.Tenant)+"/"+a.ID)
		})
		if err != nil {
			return nil, err
		}
		c.Audited(wire.Target{Type: "ServicePrincipal", ID: string(a.Resource), Changes: []wire.Change{{Name: "AppRole.Id", Old: jsonText(a.AppRole)}}})
		return wire.NoContent(), nil
	}
}
