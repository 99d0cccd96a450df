package resource

import (
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/wire"
)

// Navigation returns the routes of a navigation property: the list, its $count
// and $ref, and the casts to each of the kinds.
func Navigation(pattern string, access *wire.Access, of func(*model.Object) []*model.Object, casts ...*model.Kind) []wire.Route {
	r := []wire.Route{
		wire.Get(pattern, access, related(of, nil, false)),
		wire.Get(pattern+"/$count", access, related(of, nil, true)),
		wire.Get(pattern+"/$ref", access, references(of)),
	}
	for _, k := range casts {
		r = append(r,
			wire.Get(pattern+"/microsoft.graph."+k.Name, access, related(of, k, false)),
			wire.Get(pattern+"/microsoft.graph."+k.Name+"/$count", access, related(of, k, true)),
		)
	}
	return r
}

// related makes handlers for a navigation property: the list, its $count, and
// the casts to one kind.
func related(of func(*model.Object) []*model.Object, cast *model.Kind, count bool) func(*wire.Call) (*wire.Response, error) {
	return func(c *wire.Call) (*wire.Response, error) {
		o, err := Subject(c, c.View)
		if err != nil {
			return nil, err
		}
		schema, context := model.Mixed, "directoryObjects"
		list := of(o)
		if cast != nil {
			list, schema, context = Only(list, cast), cast.Schema(), cast.Set
		}
		src := Objects(schema, context, list, cast == nil)
		if cast == nil || cast == model.User {
			// A list of members is no way to see more of people than /users shows.
			src.Visible = VisibleUser(c, false)
		}
		if count {
			return c.Count(src)
		}
		return c.List(src)
	}
}

// references lists the addresses of related objects: .../$ref.
func references(of func(*model.Object) []*model.Object) func(*wire.Call) (*wire.Response, error) {
	return func(c *wire.Call) (*wire.Response, error) {
		o, err := Subject(c, c.View)
		if err != nil {
			return nil, err
		}
		value := []wire.Object{}
		for _, r := range of(o) {
			value = append(value, wire.Obj("@odata.id", c.Root+"/directoryObjects/"+r.ID))
		}
		return wire.OK(wire.Obj("@odata.context", c.Root+"/$metadata#Collection($ref)", "value", value)), nil
	}
}
