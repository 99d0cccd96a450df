package graph

import (
	"net/http"
	"regexp"
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

func (s *Service) getObject(c *wire.Call) (*wire.Response, error) {
	o, err := resource.Subject(c, c.View)
	if err != nil {
		return nil, err
	}
	var visible []string
	if o.Kind == model.User {
		visible = resource.VisibleUser(c, o.ID == string(c.ID))
	}
	resp, err := c.One(o, o.Kind.Schema(), "directoryObjects", visible)
	if err != nil {
		return nil, err
	}
	if m, ok := resp.Body.(wire.Object); ok {
		typed := append(wire.Object{m[0]}, wire.Obj("@odata.type", o.Kind.Type())...)
		resp.Body = append(typed, m[1:]...)
	}
	return resp, nil
}

// rule returns the route of a kind's own path.
func (s *Service) rule(method string, kind *model.Kind) (*wire.Route, bool) {
	i := slices.IndexFunc(s.server.Routes, func(r wire.Route) bool { return r.Method == method && r.Pattern == kind.Set+"/{id}" })
	if i < 0 {
		return nil, false
	}
	return &s.server.Routes[i], true
}

// deleteObject deletes an object of any kind, as its kind's own path would.
func (s *Service) deleteObject(c *wire.Call) (*wire.Response, error) {
	o, err := resource.Subject(c, c.View)
	if err != nil {
		if rerr := c.Require(objectsRead, ""); rerr != nil {
			return nil, rerr // whether it exists is not for everybody
		}
		return nil, err
	}
	r, ok := s.rule(http.MethodDelete, o.Kind)
	if !ok {
		return nil, wire.Bad("Objects of this type cannot be deleted.")
	}
	if err := c.Require(r.Access, directory.ObjectID(o.ID)); err != nil {
		return nil, err
	}
	c.Route = r
	return r.Handle(c)
}

var nickname = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+/=?^_{|}~.-]{1,64}$`)

// validateProperties checks a group's names before it is made, as Microsoft
// Graph does for groups.
func (s *Service) validateProperties(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var kind, display, mail, user string
	if err := body.Fields(map[string]any{"entityType": &kind, "displayName": &display, "mailNickname": &mail, "onBehalfOfUserId": &user}, "entityType"); err != nil {
		return nil, err
	}
	if !strings.EqualFold(kind, "Group") {
		return nil, wire.Bad("Invalid value specified for property 'entityType': only Group is supported.")
	}
	if _, ok := body.Get("displayName"); ok && (display == "" || len([]rune(display)) > 256) {
		return nil, wire.Fail(http.StatusUnprocessableEntity, "UnprocessableEntity", "The display name is not valid.")
	}
	if _, ok := body.Get("mailNickname"); ok && !nickname.MatchString(mail) {
		return nil, wire.Fail(http.StatusUnprocessableEntity, "UnprocessableEntity", "The mail nickname is not valid.")
	}
	return wire.NoContent(), nil
}

func (s *Service) listDeleted(kind *model.Kind) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		var list []*model.Object
		for d := range state.Deleted.Where(c.View, "tenant", string(c.Tenant)) {
			if !c.Now.Before(d.Deleted.Add(state.DeletedRetention)) {
				continue
			}
			o, err := model.Deleted(resource.At(c), d)
			if err != nil {
				return nil, err
			}
			if o.Kind == kind {
				list = append(list, o)
			}
		}
		src := resource.Objects(kind.Schema(), "directory/deletedItems/"+kind.Name, list, false)
		if kind == model.User {
			src.Visible = resource.VisibleUser(c, false)
		}
		return c.List(src)
	}
}

// deleted returns the deleted object that the first key names, if it can still
// be restored and the caller may see to it.
func (s *Service) deleted(c *wire.Call, r store.Reader, read bool) (*state.DeletedObject, *model.Object, error) {
	id, err := c.ObjectID(0)
	if err != nil {
		return nil, nil, err
	}
	d, err := state.Deleted.Get(r, c.StateKey(id))
	if err == nil && !c.Now.Before(d.Deleted.Add(state.DeletedRetention)) {
		err = wire.Missing(string(id))
	}
	if err != nil {
		return nil, nil, resource.Missing(err, string(id))
	}
	o, err := model.Deleted(&model.At{Reader: r, Tenant: c.Tenant, Now: c.Now}, d)
	if err != nil {
		return nil, nil, err
	}
	// Reading takes what reading the kind takes, everything else what deleting
	// it does; what an owner may, nobody may any more.
	method := http.MethodDelete
	if read {
		method = http.MethodGet
	}
	rule, ok := s.rule(method, o.Kind)
	if !ok {
		return nil, nil, wire.Denied()
	}
	return d, o, c.Require(rule.Access, "")
}

func (s *Service) getDeleted(c *wire.Call) (*wire.Response, error) {
	_, o, err := s.deleted(c, c.View, true)
	if err != nil {
		return nil, err
	}
	var visible []string
	if o.Kind == model.User {
		visible = resource.VisibleUser(c, false)
	}
	return c.One(o, o.Kind.Schema(), "directory/deletedItems", visible)
}

func (s *Service) restore(c *wire.Call) (*wire.Response, error) {
	var o *model.Object
	err := c.Update(func(tx *store.Tx) error {
		d, was, err := s.deleted(c, tx, false)
		if err != nil {
			return err
		}
		o = was
		// Its links come back with it, and those of an application's service
		// principal; among them may be membership in a group that has
		// directory roles.
		list, err := state.Restorable(tx, c.Tenant, d.ID)
		if err != nil {
			return err
		}
		for _, d := range list {
			for _, l := range d.Links {
				other := l.From
				if other == d.ID {
					other = l.To
				}
				if g, err := state.Groups.Get(tx, c.StateKey(other)); err == nil && g.IsAssignableToRole && !c.HasRole() {
					return wire.Denied()
				}
			}
		}
		if g, ok := was.Rec.(*directory.Group); ok && g.IsAssignableToRole && !roleGroupsMake.Decide(&c.Standing, wire.Relation{}) {
			return wire.Denied()
		}
		if err := state.Restore(tx, c.Tenant, d.ID); err != nil {
			return err
		}
		if was.Kind != model.User {
			return nil
		}
		// What was issued before the deletion stays dead.
		return state.Users.Modify(tx, c.StateKey(d.ID), func(u *directory.User) error {
			u.SessionsValidFrom, u.AccessRevoked = c.Now, c.Now
			return nil
		})
	})
	if errs.Is(err, errs.Exists) {
		return nil, wire.Bad("Another object with the same value for a unique property already exists: the object cannot be restored while it does.")
	}
	if err != nil {
		return nil, err
	}
	c.Audited(resource.ObjectTarget(o))
	now, ok := model.Find(resource.At(c), directory.ObjectID(o.ID))
	if !ok {
		return nil, wire.Missing(o.ID)
	}
	m, err := now.Render(nil, nil, true)
	if err != nil {
		return nil, err
	}
	return wire.OK(append(wire.Obj("@odata.context", c.Root+"/$metadata#directoryObjects/$entity"), m...)), nil
}

func (s *Service) purge(c *wire.Call) (*wire.Response, error) {
	var o *model.Object
	err := c.Update(func(tx *store.Tx) error {
		d, was, err := s.deleted(c, tx, false)
		if err != nil {
			return err
		}
		o = was
		return state.Purge(tx, c.Tenant, d.ID)
	})
	if err != nil {
		return nil, err
	}
	c.Audited(resource.ObjectTarget(o))
	return wire.NoContent(), nil
}

func (s *Service) tenant(c *wire.Call) (*directory.Tenant, error) {
	t, err := state.Tenants.Get(c.View, string(c.Tenant))
	if err != nil {
		return nil, err
	}
	if len(c.Keys) > 0 {
		if id, err := c.Key(0); err != nil || !strings.EqualFold(id, string(t.ID)) {
			return nil, wire.Missing(c.Keys[0].Value)
		}
	}
	return t, nil
}

func (s *Service) listOrganization(c *wire.Call) (*wire.Response, error) {
	t, err := s.tenant(c)
	if err != nil {
		return nil, err
	}
	src := resource.Objects(model.Organization.Schema(), "organization", []*model.Object{model.Organizations(resource.At(c), t)}, false)
	src.Plain = true
	return c.List(src)
}

func (s *Service) getOrganization(c *wire.Call) (*wire.Response, error) {
	t, err := s.tenant(c)
	if err != nil {
		return nil, err
	}
	return c.One(model.Organizations(resource.At(c), t), model.Organization.Schema(), "organization", nil)
}

func (s *Service) updateOrganization(c *wire.Call) (*wire.Response, error) {
	t, err := s.tenant(c)
	if err != nil {
		return nil, err
	}
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var changes []wire.Change
	err = c.Update(func(tx *store.Tx) error {
		return state.Tenants.Modify(tx, string(t.ID), func(n *directory.Tenant) error {
			var err error
			if changes, err = model.Organization.Apply(n, &n.Properties, body); err != nil {
				return err
			}
			if n.DisplayName == "" || n.Country != t.Country {
				return wire.Bad("Property 'displayName' must not be empty, and 'countryLetterCode' is read-only.")
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	c.Audited(wire.Target{Type: "Directory", ID: string(t.ID), DisplayName: t.DisplayName, Changes: changes})
	return wire.NoContent(), nil
}

func (s *Service) listDomains(c *wire.Call) (*wire.Response, error) {
	t, err := state.Tenants.Get(c.View, string(c.Tenant))
	if err != nil {
		return nil, err
	}
	var list []*model.Object
	for i := range t.Domains {
		list = append(list, model.Domains(resource.At(c), &t.Domains[i]))
	}
	src := resource.Objects(model.Domain.Schema(), "domains", list, false)
	src.Plain = true
	return c.List(src)
}

func (s *Service) getDomain(c *wire.Call) (*wire.Response, error) {
	t, err := state.Tenants.Get(c.View, string(c.Tenant))
	if err != nil {
		return nil, err
	}
	name, err := c.Key(0)
	if err != nil {
		return nil, err
	}
	for i := range t.Domains {
		if strings.EqualFold(t.Domains[i].Name, name) {
			return c.One(model.Domains(resource.At(c), &t.Domains[i]), model.Domain.Schema(), "domains", nil)
		}
	}
	return nil, wire.Missing(name)
}
