package resource

import (
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// from yields the records of a tenant with ids above after, in order, without
// visiting those before: keys that share a shorter and shorter prefix with
// after are skipped digit by digit.
func from[T any](table *store.Table[T], r store.Reader, tenant directory.TenantID, after string, id func(*T) directory.ObjectID) iter.Seq[*T] {
	base := string(tenant) + "/"
	if after == "" {
		return table.AllPrefix(r, base)
	}
	const digits = "-0123456789abcdef"
	return func(yield func(*T) bool) {
		depth := min(len(after), 6)
		for v := range table.AllPrefix(r, base+after[:depth]) {
			if string(id(v)) > after && !yield(v) {
				return
			}
		}
		for i := depth - 1; i >= 0; i-- {
			for _, d := range digits {
				if byte(d) <= after[i] {
					continue
				}
				for v := range table.AllPrefix(r, base+after[:i]+string(d)) {
					if !yield(v) {
						return
					}
				}
			}
		}
	}
}

// indexed says how a kind's properties can be looked up.
type indexed[T any] struct {
	table   *store.Table[T]
	wrap    func(*model.At, *T) *model.Object
	id      func(*T) directory.ObjectID
	indexes map[string]string // property: index
	trim    bool              // the index leaves out a final slash
}

// Source is the collection of all records of a kind in the caller's tenant.
func (x *indexed[T]) Source(c *wire.Call, kind *model.Kind) wire.Source {
	a := At(c)
	return wire.Source{
		Schema: kind.Schema(), Context: kind.Set,
		Items: func(after string) iter.Seq[wire.Item] {
			return func(yield func(wire.Item) bool) {
				for v := range from(x.table, c.View, c.Tenant, after, x.id) {
					if !yield(x.wrap(a, v)) {
						return
					}
				}
			}
		},
		Narrow: func(cs []odata.Constraint, after string) (iter.Seq[wire.Item], bool) {
			found, ok := x.narrow(c, cs)
			if !ok {
				return nil, false
			}
			return func(yield func(wire.Item) bool) {
				for _, v := range found {
					if string(x.id(v)) > after && !yield(x.wrap(a, v)) {
						return
					}
				}
			}, true
		},
	}
}

// narrow returns the records that an index gives for one of the constraints,
// by ascending id. An exact match is preferred to a prefix.
func (x *indexed[T]) narrow(c *wire.Call, cs []odata.Constraint) ([]*T, bool) {
	var found []*T
	for _, prefix := range []bool{false, true} {
		for _, k := range cs {
			if k.Prefix != prefix {
				continue
			}
			if k.Property == "id" && !prefix {
				for _, v := range k.Values {
					if rec, err := x.table.Get(c.View, c.StateKey(directory.ObjectID(v))); err == nil {
						found = append(found, rec)
					}
				}
				return x.sorted(found), true
			}
			index, ok := x.indexes[k.Property]
			if !ok {
				continue
			}
			for _, v := range k.Values {
				if x.trim && !prefix {
					v = strings.TrimSuffix(v, "/")
				}
				seq := x.table.Where
				if prefix {
					seq = x.table.WherePrefix
				}
				value := string(c.Tenant) + "/" + v
				if index == "appid" && x.global() {
					value = v
				}
				for rec := range seq(c.View, index, value) {
					if string(x.tenant(rec)) == string(c.Tenant) {
						found = append(found, rec)
					}
				}
			}
			return x.sorted(found), true
		}
	}
	return nil, false
}

// global reports whether the app id index spans tenants.
func (x *indexed[T]) global() bool {
	_, ok := any(x.table).(*store.Table[directory.Application])
	return ok
}

func (x *indexed[T]) tenant(rec *T) directory.TenantID {
	switch rec := any(rec).(type) {
	case *directory.Application:
		return rec.Tenant
	case *directory.User:
		return rec.Tenant
	case *directory.Group:
		return rec.Tenant
	case *directory.ServicePrincipal:
		return rec.Tenant
	case *directory.Device:
		return rec.Tenant
	}
	return ""
}

func (x *indexed[T]) sorted(found []*T) []*T {
	slices.SortFunc(found, func(a, b *T) int { return strings.Compare(string(x.id(a)), string(x.id(b))) })
	return slices.CompactFunc(found, func(a, b *T) bool { return x.id(a) == x.id(b) })
}

// The collections of a tenant, with the indexes that answer filters on them.
var (
	Users = &indexed[directory.User]{
		table: state.Users, wrap: model.Users, id: func(u *directory.User) directory.ObjectID { return u.ID },
		indexes: map[string]string{"userPrincipalName": "upn"},
	}
	Groups = &indexed[directory.Group]{
		table: state.Groups, wrap: model.Groups, id: func(g *directory.Group) directory.ObjectID { return g.ID },
		indexes: map[string]string{"displayName": "name"},
	}
	Applications = &indexed[directory.Application]{
		table: state.Applications, wrap: model.Applications, id: func(a *directory.Application) directory.ObjectID { return a.ID },
		indexes: map[string]string{"displayName": "name", "appId": "appid", "identifierUris": "uri"}, trim: true,
	}
	ServicePrincipals = &indexed[directory.ServicePrincipal]{
		table: state.ServicePrincipals, wrap: model.ServicePrincipals, id: func(p *directory.ServicePrincipal) directory.ObjectID { return p.ID },
		indexes: map[string]string{"displayName": "display", "appId": "appid", "servicePrincipalNames": "name"}, trim: true,
	}
	Devices = &indexed[directory.Device]{
		table: state.Devices, wrap: model.Devices, id: func(d *directory.Device) directory.ObjectID { return d.ID },
		indexes: map[string]string{"deviceId": "deviceid"},
	}
)

// Objects is a collection of objects that are at hand, of one kind or of
// several.
func Objects(schema *odata.Schema, context string, list []*model.Object, typed bool) wire.Source {
	slices.SortFunc(list, func(a, b *model.Object) int { return strings.Compare(a.ID, b.ID) })
	return wire.Source{Schema: schema, Context: context, Typed: typed, Items: func(after string) iter.Seq[wire.Item] {
		return func(yield func(wire.Item) bool) {
			for _, o := range list {
				if o.ID > after && !yield(o) {
					return
				}
			}
		}
	}}
}

// Only keeps the objects of a kind: an OData cast.
func Only(list []*model.Object, kind *model.Kind) []*model.Object {
	return slices.DeleteFunc(list, func(o *model.Object) bool { return o.Kind != kind })
}

// Tagged puts the ETag of a record on the answer that shows it; a client may
// send it back in If-Match.
func Tagged[T any](c *wire.Call, table *store.Table[T], id directory.ObjectID) func(*wire.Response, error) (*wire.Response, error) {
	return func(resp *wire.Response, err error) (*wire.Response, error) {
		if rev, ok := table.Rev(c.View, c.StateKey(id)); ok && err == nil {
			resp.Header = http.Header{"Etag": {wire.ETag(rev)}}
		}
		return resp, err
	}
}
