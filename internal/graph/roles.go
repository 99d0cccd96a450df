package graph

import (
	"iter"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// roleList lists the directory roles as one of the kinds that show them.
func (s *Service) roleList(kind *model.Kind) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		src := resource.Objects(kind.Schema(), kind.Set, model.RolesAs(kind, resource.At(c), model.Roles(c.Tenant)...), false)
		src.Plain = true
		return c.List(src)
	}
}

// role returns the directory role that the first key names.
func (s *Service) role(c *wire.Call) (*model.TenantRole, error) {
	k := c.Keys[0]
	if k.Name != "" && k.Name != "id" && k.Name != "roletemplateid" {
		return nil, wire.Bad("The key '%.100s' is not defined for this resource.", k.Name)
	}
	r, ok := model.FindRole(c.Tenant, resource.Lower(k.Value))
	if !ok {
		return nil, wire.Missing(k.Value)
	}
	return r, nil
}

func (s *Service) roleGet(kind *model.Kind) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		r, err := s.role(c)
		if err != nil {
			return nil, err
		}
		return c.One(model.RolesAs(kind, resource.At(c), r)[0], kind.Schema(), kind.Set, nil)
	}
}

// activateRole answers POST /directoryRoles: every role is active already.
func (s *Service) activateRole(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var template string
	if err := body.Fields(map[string]any{"roleTemplateId": &template}, "roleTemplateId"); err != nil {
		return nil, err
	}
	if r, ok := model.FindRole(c.Tenant, resource.Lower(template)); !ok || r.Template != resource.Lower(template) {
		return nil, wire.Missing(template)
	}
	return nil, conflicting()
}

func conflicting() error {
	return wire.Bad("A conflicting object with one or more of the specified property values is present in the directory.")
}

// holds reports whether an assignment counts now for the whole tenant.
func holds(c *wire.Call, a *directory.RoleAssignment) bool {
	return a.Scope == "/" && (a.Until.IsZero() || c.Now.Before(a.Until))
}

func (s *Service) roleMembers(c *wire.Call) (*wire.Response, error) {
	r, err := s.role(c)
	if err != nil {
		return nil, err
	}
	var list []*model.Object
	for a := range state.RoleAssignments.Where(c.View, "role", string(c.Tenant)+"/"+r.Template) {
		if o, ok := model.Find(resource.At(c), a.Principal); ok && holds(c, a) {
			list = append(list, o)
		}
	}
	return c.List(resource.Objects(model.Mixed, "directoryObjects", list, true))
}

func (s *Service) addRoleMember(c *wire.Call) (*wire.Response, error) {
	r, err := s.role(c)
	if err != nil {
		return nil, err
	}
	id, err := resource.RefBody(c)
	if err != nil {
		return nil, err
	}
	_, err = s.assignRole(c, r, id, "/")
	if errs.Is(err, errs.Exists) {
		return nil, wire.Bad("One or more added object references already exist for the following modified properties: 'members'.")
	}
	if err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}

// assignRole gives a role to a principal, and records it.
func (s *Service) assignRole(c *wire.Call, r *model.TenantRole, id directory.ObjectID, scope string) (*directory.RoleAssignment, error) {
	a := &directory.RoleAssignment{Tenant: c.Tenant, ID: directory.NewGUID(), Role: r.Template, Principal: id, Scope: scope}
	var who *model.Object
	err := c.Update(func(tx *store.Tx) error {
		var ok bool
		if who, ok = model.Find(resource.In(tx, c), id); !ok {
			return wire.Missing(string(id))
		}
		switch p := who.Rec.(type) {
		case *directory.User, *directory.ServicePrincipal:
		case *directory.Group:
			if !p.IsAssignableToRole {
				return wire.Bad("The group '%s' cannot be assigned to a role: isAssignableToRole is not true.", p.ID)
			}
		default:
			return wire.Bad("Directory roles can be assigned to users, service principals and role-assignable groups.")
		}
		return state.RoleAssignments.Create(tx, a)
	})
	if err != nil {
		return nil, err
	}
	c.Audited(resource.ObjectTarget(who))
	c.Audited(wire.Target{Type: "Role", ID: r.ID, DisplayName: r.DisplayName})
	return a, nil
}

func (s *Service) removeRoleMember(c *wire.Call) (*wire.Response, error) {
	r, err := s.role(c)
	if err != nil {
		return nil, err
	}
	id, err := c.ObjectID(1)
	if err != nil {
		return nil, err
	}
	if err := s.unassignRole(c, func(tx *store.Tx) (*directory.RoleAssignment, error) {
		for a := range state.RoleAssignments.Where(tx, "principal", c.StateKey(id)) {
			if a.Role == r.Template && holds(c, a) {
				return a, nil
			}
		}
		return nil, wire.Missing(string(id))
	}); err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}

func (s *Service) unassignRole(c *wire.Call, find func(*store.Tx) (*directory.RoleAssignment, error)) error {
	var a *directory.RoleAssignment
	err := c.Update(func(tx *store.Tx) error {
		var err error
		if a, err = find(tx); err != nil {
			return err
		}
		guard, err := keepAdministrator(c, tx, a.Principal)
		if err != nil {
			return err
		}
		if err := state.RoleAssignments.Delete(tx, string(c.Tenant)+"/"+a.ID); err != nil {
			return resource.Missing(err, a.ID)
		}
		return guard()
	})
	if err != nil {
		return err
	}
	o, _ := model.Find(resource.At(c), a.Principal)
	c.Audited(resource.ObjectTarget(o))
	if r, ok := model.FindRole(c.Tenant, a.Role); ok {
		c.Audited(wire.Target{Type: "Role", ID: r.ID, DisplayName: r.DisplayName})
	}
	return nil
}

func (s *Service) listRoleAssignments(c *wire.Call) (*wire.Response, error) {
	src := wire.Source{
		Schema: model.RoleAssignment.Schema(), Context: model.RoleAssignment.Set, Plain: true,
		Items: func(after string) iter.Seq[wire.Item] { return roleItems(c, "tenant", string(c.Tenant), after) },
		Narrow: func(cs []odata.Constraint, after string) (iter.Seq[wire.Item], bool) {
			for _, k := range cs {
				index := map[string]string{"principalId": "principal", "roleDefinitionId": "role"}[k.Property]
				if index != "" && !k.Prefix && len(k.Values) == 1 {
					return roleItems(c, index, string(c.Tenant)+"/"+k.Values[0], after), true
				}
			}
			return nil, false
		},
	}
	return c.List(src)
}

// roleItems yields the assignments that have not ended, by ascending id.
func roleItems(c *wire.Call, index, value, after string) iter.Seq[wire.Item] {
	return func(yield func(wire.Item) bool) {
		for a := range state.RoleAssignments.Where(c.View, index, value) {
			if a.ID > after && (a.Until.IsZero() || c.Now.Before(a.Until)) && !yield(model.RoleAssignments(resource.At(c), a)) {
				return
			}
		}
	}
}

func (s *Service) roleAssignment(c *wire.Call, r store.Reader) (*directory.RoleAssignment, error) {
	id, err := c.Key(0)
	if err != nil {
		return nil, err
	}
	a, err := state.RoleAssignments.Get(r, string(c.Tenant)+"/"+id)
	if err != nil {
		return nil, resource.Missing(err, id)
	}
	return a, nil
}

func (s *Service) getRoleAssignment(c *wire.Call) (*wire.Response, error) {
	a, err := s.roleAssignment(c, c.View)
	if err != nil {
		return nil, err
	}
	return c.One(model.RoleAssignments(resource.At(c), a), model.RoleAssignment.Schema(), model.RoleAssignment.Set, nil)
}

func (s *Service) createRoleAssignment(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var principal, role, scope string
	var app *string
	if err := body.Fields(map[string]any{"principalId": &principal, "roleDefinitionId": &role, "directoryScopeId": &scope, "appScopeId": &app}, "principalId", "roleDefinitionId"); err != nil {
		return nil, err
	}
	r, ok := model.FindRole(c.Tenant, resource.Lower(role))
	if !ok {
		return nil, wire.Missing(role)
	}
	id, ok := directory.ParseGUID(principal)
	if !ok {
		return nil, wire.Bad("Invalid value specified for property 'principalId' of resource 'RoleAssignment'.")
	}
	if app != nil && *app != "" {
		return nil, wire.Bad("appScopeId is not supported for this role.")
	}
	if scope == "" {
		return nil, wire.Bad("directoryScopeId is required.")
	}
	if scope != "/" {
		// An object's scope is kept and shown. No rule here looks at it, so it
		// never gives more than was meant.
		object, ok := directory.ParseGUID(strings.TrimPrefix(scope, "/"))
		if !ok || !strings.HasPrefix(scope, "/") {
			return nil, wire.Bad("Invalid value specified for property 'directoryScopeId' of resource 'RoleAssignment'.")
		}
		if _, ok := model.Find(resource.At(c), directory.ObjectID(object)); !ok {
			return nil, wire.Missing(object)
		}
		scope = "/" + object
	}
	a, err := s.assignRole(c, r, directory.ObjectID(id), scope)
	if errs.Is(err, errs.Exists) {
		return nil, conflicting()
	}
	if err != nil {
		return nil, err
	}
	return resource.Created(c, model.RoleAssignments(resource.At(c), a), model.RoleAssignment.Set)
}

func (s *Service) deleteRoleAssignment(c *wire.Call) (*wire.Response, error) {
	if err := s.unassignRole(c, func(tx *store.Tx) (*directory.RoleAssignment, error) { return s.roleAssignment(c, tx) }); err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}
