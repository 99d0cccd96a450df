package resource

import (
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// AddOwner answers POST .../owners/$ref of groups, applications and service
// principals.
func AddOwner(c *wire.Call) (*wire.Response, error) {
	id, err := RefBody(c)
	if err != nil {
		return nil, err
	}
	var what, owner *model.Object
	err = c.Update(func(tx *store.Tx) error {
		var err error
		if what, err = owned(c, tx); err != nil {
			return err
		}
		owner, _ = model.Find(In(tx, c), id)
		return Missing(state.Link(tx, directory.Owner, c.Tenant, directory.ObjectID(what.ID), id), string(id))
	})
	if err != nil {
		return nil, err
	}
	c.Audited(ObjectTarget(owner))
	c.Audited(ObjectTarget(what))
	return wire.NoContent(), nil
}

// owned returns the object whose owners are changed, and refuses who may not
// change those of a group that can have roles.
func owned(c *wire.Call, r store.Reader) (*model.Object, error) {
	o, err := Subject(c, r)
	if err != nil {
		return nil, err
	}
	if g, ok := o.Rec.(*directory.Group); ok && g.IsAssignableToRole {
		if !RoleGroupsWrite.Decide(&c.Standing, c.RelationTo(r, g.ID)) {
			return nil, wire.Denied()
		}
	}
	return o, nil
}

// RemoveOwner answers DELETE .../owners/{id}/$ref.
func RemoveOwner(c *wire.Call) (*wire.Response, error) {
	id, err := c.ObjectID(1)
	if err != nil {
		return nil, err
	}
	var what *model.Object
	err = c.Update(func(tx *store.Tx) error {
		var err error
		if what, err = owned(c, tx); err != nil {
			return err
		}
		// Two requests that each remove one of the last two owners meet here.
		tx.Guard("owners/" + c.StateKey(directory.ObjectID(what.ID)))
		if err := state.Unlink(tx, directory.Owner, c.Tenant, directory.ObjectID(what.ID), id); err != nil {
			return Missing(err, string(id))
		}
		if what.Kind == model.Group && len(state.Linked(tx, directory.Owner, c.Tenant, directory.ObjectID(what.ID), c.Now)) == 0 {
			return wire.Bad("The group must have at least one owner, hence this owner cannot be removed.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	owner, _ := model.Find(At(c), id)
	c.Audited(ObjectTarget(owner))
	c.Audited(ObjectTarget(what))
	return wire.NoContent(), nil
}
