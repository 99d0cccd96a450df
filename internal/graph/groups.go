package graph

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// group returns the group that the first key names.
func (s *Service) group(c *wire.Call, r store.Reader) (*directory.Group, error) {
	id, err := c.ObjectID(0)
	if err != nil {
		return nil, err
	}
	g, err := state.Groups.Get(r, c.StateKey(id))
	if err != nil {
		return nil, missing(err, string(id))
	}
	return g, nil
}

func (s *Service) listGroups(c *wire.Call) (*wire.Response, error) {
	return c.List(groupIndex.source(c, model.Group))
}

func (s *Service) countGroups(c *wire.Call) (*wire.Response, error) {
	return c.Count(groupIndex.source(c, model.Group))
}

func (s *Service) getGroup(c *wire.Call) (*wire.Response, error) {
	g, err := s.group(c, c.View)
	if err != nil {
		return nil, err
	}
	return tagged(c, state.Groups, g.ID)(c.One(model.Groups(at(c), g), model.Group.Schema(), "groups", nil))
}

// maxBound is how many references one request may bind (Microsoft Graph).
const maxBound = 20

// bound returns the ids in a member such as owners@odata.bind.
func bound(c *wire.Call, body wire.Members, name string) ([]directory.ObjectID, error) {
	raw, ok := body.Get(name + "@odata.bind")
	if !ok {
		return nil, nil
	}
	var refs []string
	if json.Unmarshal(raw, &refs) != nil {
		return nil, wire.Bad("A value of an invalid type was specified for property '%s@odata.bind'.", name)
	}
	if len(refs) > maxBound {
		return nil, wire.Bad("At most %d references can be bound in one request.", maxBound)
	}
	var ids []directory.ObjectID
	for _, ref := range refs {
		id, err := reference(c, ref)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// reference returns the object that an @odata.id names, such as
// https://graph.microsoft.com/v1.0/directoryObjects/{id}. The host does not
// matter: an id is looked up in the caller's tenant and nothing is fetched.
func reference(c *wire.Call, ref string) (directory.ObjectID, error) {
	bad := wire.Bad("Invalid URL format specified in @odata.id: '%.200s'.", ref)
	u, err := url.Parse(ref)
	if err != nil || len(ref) > 1024 {
		return "", bad
	}
	path := strings.Split(strings.Trim(strings.NewReplacer("('", "/", "')", "").Replace(u.Path), "/"), "/")
	if len(path) < 2 {
		return "", bad
	}
	set, key := path[len(path)-2], path[len(path)-1]
	if !slices.ContainsFunc([]string{"directoryObjects", "users", "groups", "servicePrincipals", "devices", "applications"}, func(n string) bool { return strings.EqualFold(n, set) }) {
		return "", bad
	}
	if id, ok := directory.ParseGUID(key); ok {
		return directory.ObjectID(id), nil
	}
	if strings.EqualFold(set, "users") {
		if u, err := state.FindUser(c.View, c.Tenant, key); err == nil {
			return u.ID, nil
		}
		return "", wire.Missing(key)
	}
	return "", bad
}

// refBody reads the body of POST .../$ref.
func refBody(c *wire.Call) (directory.ObjectID, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return "", err
	}
	raw, ok := body.Get("@odata.id")
	var ref string
	if !ok || json.Unmarshal(raw, &ref) != nil || len(body) != 1 {
		return "", wire.Bad("The body must hold '@odata.id' with the address of the object, and nothing else.")
	}
	return reference(c, ref)
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
	owners, err := bound(c, body, "owners")
	if err != nil {
		return nil, err
	}
	members, err := bound(c, body, "members")
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
	return s.created(c, model.Groups(at(c), g), "groups")
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
		if g, err = s.group(c, tx); err != nil {
			return err
		}
		if g.IsAssignableToRole {
			if !roleGroupsWrite.Decide(&c.Standing, c.RelationTo(tx, g.ID)) {
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
	members, err := bound(c, body, "members")
	if err != nil {
		return nil, err
	}
	owners, err := bound(c, body, "owners")
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
				return missing(err, string(id))
			}
		}
		for _, id := range owners {
			if err := state.Link(tx, directory.Owner, c.Tenant, g.ID, id); err != nil {
				return missing(err, string(id))
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
	id, err := refBody(c)
	if err != nil {
		return nil, err
	}
	var o *model.Object
	g, err := s.groupChange(c, func(tx *store.Tx, g *directory.Group) error {
		o, _ = model.Find(in(tx, c), id)
		return missing(state.Link(tx, directory.Member, c.Tenant, g.ID, id), string(id))
	})
	if err != nil {
		return nil, err
	}
	c.Audited(objectTarget(o))
	c.Audited(groupTarget(g, nil))
	return wire.NoContent(), nil
}

func objectTarget(o *model.Object) wire.Target {
	if o == nil {
		return wire.Target{}
	}
	t := wire.Target{Type: o.Kind.Label, ID: o.ID}
	t.DisplayName, _ = o.Property("displayName").(string)
	t.UPN, _ = o.Property("userPrincipalName").(string)
	return t
}

func (s *Service) removeMember(c *wire.Call) (*wire.Response, error) {
	id, err := c.ObjectID(1)
	if err != nil {
		return nil, err
	}
	g, err := s.groupChange(c, func(tx *store.Tx, g *directory.Group) error {
		return missing(state.Unlink(tx, directory.Member, c.Tenant, g.ID, id), string(id))
	})
	if err != nil {
		return nil, err
	}
	o, _ := model.Find(at(c), id)
	c.Audited(objectTarget(o))
	c.Audited(groupTarget(g, nil))
	return wire.NoContent(), nil
}

// addOwner and removeOwner serve groups, applications and service principals.
func (s *Service) addOwner(c *wire.Call) (*wire.Response, error) {
	id, err := refBody(c)
	if err != nil {
		return nil, err
	}
	var what, owner *model.Object
	err = c.Update(func(tx *store.Tx) error {
		var err error
		if what, err = s.owned(c, tx); err != nil {
			return err
		}
		owner, _ = model.Find(in(tx, c), id)
		return missing(state.Link(tx, directory.Owner, c.Tenant, directory.ObjectID(what.ID), id), string(id))
	})
	if err != nil {
		return nil, err
	}
	c.Audited(objectTarget(owner))
	c.Audited(objectTarget(what))
	return wire.NoContent(), nil
}

// owned returns the object whose owners are changed, and refuses who may not
// change those of a group that can have roles.
func (s *Service) owned(c *wire.Call, r store.Reader) (*model.Object, error) {
	o, err := s.subject(c, r)
	if err != nil {
		return nil, err
	}
	if g, ok := o.Rec.(*directory.Group); ok && g.IsAssignableToRole {
		if !roleGroupsWrite.Decide(&c.Standing, c.RelationTo(r, g.ID)) {
			return nil, wire.Denied()
		}
	}
	return o, nil
}

func (s *Service) removeOwner(c *wire.Call) (*wire.Response, error) {
	id, err := c.ObjectID(1)
	if err != nil {
		return nil, err
	}
	var what *model.Object
	err = c.Update(func(tx *store.Tx) error {
		var err error
		if what, err = s.owned(c, tx); err != nil {
			return err
		}
		// Two requests that each remove one of the last two owners meet here.
		tx.Guard("owners/" + c.StateKey(directory.ObjectID(what.ID)))
		if err := state.Unlink(tx, directory.Owner, c.Tenant, directory.ObjectID(what.ID), id); err != nil {
			return missing(err, string(id))
		}
		if what.Kind == model.Group && len(state.Linked(tx, directory.Owner, c.Tenant, directory.ObjectID(what.ID), c.Now)) == 0 {
			return wire.Bad("The group must have at least one owner, hence this owner cannot be removed.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	owner, _ := model.Find(at(c), id)
	c.Audited(objectTarget(owner))
	c.Audited(objectTarget(what))
	return wire.NoContent(), nil
}

// subject returns the object that the first key names, of the set that the
// path starts with.
func (s *Service) subject(c *wire.Call, r store.Reader) (*model.Object, error) {
	a := &model.At{Reader: r, Tenant: c.Tenant, Now: c.Now}
	set, _, _ := strings.Cut(c.Route.Pattern, "/")
	switch set {
	case "users":
		u, err := s.user(c, r)
		if err != nil {
			return nil, err
		}
		return model.Users(a, u), nil
	case "groups":
		g, err := s.group(c, r)
		if err != nil {
			return nil, err
		}
		return model.Groups(a, g), nil
	case "applications":
		app, err := s.application(c, r)
		if err != nil {
			return nil, err
		}
		return model.Applications(a, app), nil
	case "servicePrincipals":
		p, err := s.servicePrincipal(c, r)
		if err != nil {
			return nil, err
		}
		return model.ServicePrincipals(a, p), nil
	case "devices":
		d, err := s.device(c, r)
		if err != nil {
			return nil, err
		}
		return model.Devices(a, d), nil
	}
	id, err := c.ObjectID(0)
	if err != nil {
		return nil, err
	}
	if o, ok := model.Find(a, id); ok {
		return o, nil
	}
	return nil, wire.Missing(string(id))
}
