package graph

import (
	"slices"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
)

func (s *Service) memberGroups(c *wire.Call) (*wire.Response, error)  { return s.memberships(c, false) }
func (s *Service) memberObjects(c *wire.Call) (*wire.Response, error) { return s.memberships(c, true) }

// maxMemberships is where the real service gives up (Directory_ResultSizeLimitExceeded).
const maxMemberships = 11000

// memberships answers getMemberGroups, and with roles getMemberObjects.
func (s *Service) memberships(c *wire.Call, roles bool) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var securityOnly bool
	if err := body.Fields(map[string]any{"securityEnabledOnly": &securityOnly}, "securityEnabledOnly"); err != nil {
		return nil, err
	}
	o, err := resource.Subject(c, c.View)
	if err != nil {
		return nil, err
	}
	if securityOnly && o.Kind == model.Group {
		return nil, wire.Bad("securityEnabledOnly can only be specified for users and service principals.")
	}
	ids := s.memberIDs(c, o, securityOnly, roles)
	if len(ids) > maxMemberships {
		return nil, wire.Fail(400, wire.CodeResultSize, "The result size limit of %d has been exceeded.", maxMemberships)
	}
	return c.Value("Collection(Edm.String)", ids), nil
}

func (s *Service) memberIDs(c *wire.Call, o *model.Object, securityOnly, roles bool) []string {
	ids := []string{}
	for _, id := range state.Memberships(c.View, c.Tenant, directory.ObjectID(o.ID), c.Now) {
		g, err := state.Groups.Get(c.View, c.StateKey(id))
		if err == nil && (g.SecurityEnabled || !securityOnly) {
			ids = append(ids, string(id))
		}
	}
	if roles {
		for _, template := range state.Roles(c.View, c.Tenant, directory.ObjectID(o.ID), c.Now) {
			ids = append(ids, model.RoleID(c.Tenant, template))
		}
	}
	return ids
}

func (s *Service) checkGroups(c *wire.Call) (*wire.Response, error) {
	return s.check(c, "groupIds", false)
}

func (s *Service) checkObjects(c *wire.Call) (*wire.Response, error) { return s.check(c, "ids", true) }

// check answers checkMemberGroups, and with roles checkMemberObjects.
func (s *Service) check(c *wire.Call, name string, roles bool) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var asked []string
	if err := body.Fields(map[string]any{name: &asked}, name); err != nil {
		return nil, err
	}
	if len(asked) == 0 || len(asked) > 20 {
		return nil, wire.Bad("'%s' must have between 1 and 20 values.", name)
	}
	o, err := resource.Subject(c, c.View)
	if err != nil {
		return nil, err
	}
	have := s.memberIDs(c, o, false, roles)
	value := []string{}
	for _, a := range asked {
		id, ok := directory.ParseGUID(a)
		if !ok {
			return nil, wire.Bad("Invalid object identifier '%.100s'.", a)
		}
		if slices.Contains(have, id) && !slices.Contains(value, id) {
			value = append(value, id)
		}
	}
	return c.Value("Collection(Edm.String)", value), nil
}

// kinds maps the names in getByIds to kinds.
var kinds = map[string]*model.Kind{
	"user": model.User, "group": model.Group, "serviceprincipal": model.ServicePrincipal, "application": model.Application, "device": model.Device, "directoryrole": model.DirectoryRole,
}

// getByIds returns the objects that exist among the given ids.
func (s *Service) getByIds(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var ids, types []string
	if err := body.Fields(map[string]any{"ids": &ids, "types": &types}, "ids"); err != nil {
		return nil, err
	}
	if len(ids) == 0 || len(ids) > 1000 {
		return nil, wire.Bad("'ids' must have between 1 and 1000 values.")
	}
	wanted := map[*model.Kind]bool{}
	for _, t := range types {
		if t == "" || len(t) > 100 {
			return nil, wire.Bad("Invalid value specified for property 'types'.")
		}
		// Types that no object here has, such as directoryObjectPartnerReference,
		// select nothing.
		wanted[kinds[resource.Lower(t)]] = true
	}
	value := []wire.Object{}
	seen := map[string]bool{}
	a := resource.At(c)
	for _, raw := range ids {
		id, ok := directory.ParseGUID(raw)
		if !ok {
			return nil, wire.Bad("Invalid object identifier '%.100s'.", raw)
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		o, ok := model.Find(a, directory.ObjectID(id))
		if !ok {
			r, isRole := model.FindRole(c.Tenant, id)
			if !isRole || r.ID != id {
				continue
			}
			o = model.RolesAs(model.DirectoryRole, a, r)[0]
		}
		if len(types) > 0 && !wanted[o.Kind] && !slices.ContainsFunc(types, func(t string) bool { return resource.Lower(t) == "directoryobject" }) {
			continue
		}
		var visible []string
		if o.Kind == model.User {
			visible = resource.VisibleUser(c, o.ID == string(c.ID))
		}
		m, err := o.Render(visible, nil, true)
		if err != nil {
			return nil, err
		}
		value = append(value, m)
	}
	return c.Value("directoryObjects", value), nil
}
