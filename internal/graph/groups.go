package graph

import (
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func (s *Service) listGroups(c *wire.Call) (*wire.Response, error) {
	return c.List(resource.Groups.Source(c, model.Group))
}

func (s *Service) countGroups(c *wire.Call) (*wire.Response, error) {
	return c.Count(resource.Groups.Source(c, model.Group))
}

func (s *Service) getGroup(c *wire.Call) (*wire.Response, error) {
	g, err := resource.Group(c, c.View)
	if err != nil {
		return nil, err
	}
	return resource.Tagged(c, state.Groups, g.ID)(c.One(model.Groups(resource.At(c), g), model.Group.Schema(), "groups", nil))
}

func (s *Service) createGroup(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	g := &directory.Group{Tenant: c.Tenant, ID: directory.ObjectID(directory.NewGUID()), Created: c.Now}
	changes, err := model.Group.Apply(g, &g.Properties, body)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"displayName", "mailEnabled", "mailNickname", "securityEnabled"} {
		if raw, ok := body.Get(name); !ok || string(raw) == "null" || string(raw) == `""` {
			return nil, wire.Bad("A value is required for property '%s' of resource 'Group'.", name)
		}
	}
	if err := checkGroup(g); err != nil {
		return nil, err
	}
	if g.IsAssignableToRole {
		if err := c.Require(roleGroupsMake, ""); err != nil {
			return nil, err
		}
	}
	owners, err := resource.Bound(c, body, "owners")
	if err != nil {
		return nil, err
	}
	members, err := resource.Bound(c, body, "members")
	if err != nil {
		return nil, err
	}
	if len(owners) == 0 && !c.AppOnly {
		owners = []directory.ObjectID{c.ID}
	}
	err = c.Update(func(tx *store.Tx) error {
		if err := state.Groups.Create(tx, g); err != nil {
			return err
		}
		for _, id := range owners {
			if err := state.Link(tx, directory.Owner, c.Tenant, g.ID, id); err != nil {
				return err
			}
		}
		for _, id := range members {
			if err := state.Link(tx, directory.Member, c.Tenant, g.ID, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.Audited(groupTarget(g, changes))
	return resource.Created(c, model.Groups(resource.At(c), g), "groups")
}

func groupTarget(g *directory.Group, changes []wire.Change) wire.Target {
	return wire.Target{Type: "Group", ID: string(g.ID), DisplayName: g.DisplayName, Changes: changes}
}

// checkGroup holds the rules over a group's properties.
func checkGroup(g *directory.Group) error {
	switch {
	case g.DisplayName == "":
		return wire.Bad("Invalid value specified for property 'displayName' of resource 'Group'.")
	case g.MailNickname == "" || strings.ContainsAny(g.MailNickname, "@()\\[]\";:<>, ") || strings.ContainsFunc(g.MailNickname, func(r rune) bool { return r > '~' || r < ' ' }):
		return wire.Bad("Invalid value specified for property 'mailNickname' of resource 'Group'.")
	case !g.MailEnabled && !g.SecurityEnabled:
		return wire.Bad("The service does not currently support writes of objects that are neither mail-enabled nor security-enabled groups.")
	case g.MailEnabled && !slices.Contains(g.GroupTypes, "Unified"):
		return wire.Bad("The service does not currently support writes of mail-enabled groups. Please ensure that the mail-enablement property is unset and the security-enablement property is set.")
	case slices.Contains(g.GroupTypes, "DynamicMembership"):
		return wire.Bad("Groups with dynamic membership are not supported.")
	case slices.ContainsFunc(g.GroupTypes, func(t string) bool { return t != "Unified" }):
		return wire.Bad("Invalid value specified for property 'groupTypes' of resource 'Group'.")
	case g.IsAssignableToRole && !g.SecurityEnabled:
		return wire.Bad("A group that can be assigned to a role must be security-enabled.")
	}
	return nil
}

// groupChange runs a change of a group in a transaction, after asking for what
// changing a group that can have roles takes.
func (s *Service) groupChange(c *wire.Call, change func(tx *store.Tx, g *directory.Group) error) (*directory.Group, error) {
	var g *directory.Group
	err := c.Update(func(tx *store.Tx) error {
		var err error
		if g, err = resource.Group(c, tx); err != nil {
			return err
		}
		if g.IsAssignableToRole {
			if !resource.RoleGroupsWrite.Decide(&c.Standing, c.RelationTo(tx, g.ID)) {
				return wire.Denied()
			}
		}
		guard, err := keepAdministrator(c, tx, g.ID)
		if err != nil {
			return err
		}
		if err := change(tx, g); err != nil {
			return err
		}
		return guard()
	})
	return g, err
}

func (s *Service) updateGroup(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	members, err := resource.Bound(c, body, "members")
	if err != nil {
		return nil, err
	}
	owners, err := resource.Bound(c, body, "owners")
	if err != nil {
		return nil, err
	}
	var changes []wire.Change
	g, err := s.groupChange(c, func(tx *store.Tx, g *directory.Group) error {
		if rev, ok := state.Groups.Rev(tx, c.StateKey(g.ID)); ok {
			if err := c.CheckMatch(rev); err != nil {
				return err
			}
		}
		err := state.Groups.Modify(tx, c.StateKey(g.ID), func(n *directory.Group) error {
			var err error
			if changes, err = model.Group.Apply(n, &n.Properties, body); err != nil {
				return err
			}
			if n.IsAssignableToRole != g.IsAssignableToRole {
				return wire.Bad("Property 'isAssignableToRole' is immutable and cannot be changed later.")
			}
			return checkGroup(n)
		})
		if err != nil {
			return err
		}
		for _, id := range members {
			if err := state.Link(tx, directory.Member, c.Tenant, g.ID, id); err != nil {
				return resource.Missing(err, string(id))
			}
		}
		for _, id := range owners {
			if err := state.Link(tx, directory.Owner, c.Tenant, g.ID, id); err != nil {
				return resource.Missing(err, string(id))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.Audited(groupTarget(g, changes))
	return wire.NoContent(), nil
}

func (s *Service) deleteGroup(c *wire.Call) (*wire.Response, error) {
	g, err := s.groupChange(c, func(tx *store.Tx, g *directory.Group) error {
		return state.Delete(tx, c.Tenant, g.ID, c.Now)
	})
	if err != nil {
		return nil, err
	}
	c.Audited(groupTarget(g, nil))
	return wire.NoContent(), nil
}

func (s *Service) addMember(c *wire.Call) (*wire.Response, error) {
	id, err := resource.RefBody(c)
	if err != nil {
		return nil, err
	}
	var o *model.Object
	g, err := s.groupChange(c, func(tx *store.Tx, g *directory.Group) error {
		o, _ = model.Find(resource.In(tx, c), id)
		return resource.Missing(state.Link(tx, directory.Member, c.Tenant, g.ID, id), string(id))
	})
	if err != nil {
		return nil, err
	}
	c.Audited(resource.ObjectTarget(o))
	c.Audited(groupTarget(g, nil))
	return wire.NoContent(), nil
}

func (s *Service) removeMember(c *wire.Call) (*wire.Response, error) {
	id, err := c.ObjectID(1)
	if err != nil {
		return nil, err
	}
	g, err := s.groupChange(c, func(tx *store.Tx, g *directory.Group) error {
		return resource.Missing(state.Unlink(tx, directory.Member, c.Tenant, g.ID, id), string(id))
	})
	if err != nil {
		return nil, err
	}
	o, _ := model.Find(resource.At(c), id)
	c.Audited(resource.ObjectTarget(o))
	c.Audited(groupTarget(g, nil))
	return wire.NoContent(), nil
}
