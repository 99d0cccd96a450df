package model

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/store"
)

// Kind is a type of resource.
type Kind struct {
	Name  string // user: @odata.type is #microsoft.graph.user
	Label string // User, in messages and in the audit log
	Set   string // users
	// Defaults are the properties shown without $select; nil shows all that
	// are not hidden.
	Defaults []string
	// Expands are the navigation properties that $expand knows.
	Expands map[string]func(*Object) []*Object
	// ExpandsOne are those that lead to one object, or to none.
	ExpandsOne map[string]func(*Object) (*Object, bool)

	props  []property
	byName map[string]*property
	schema *odata.Schema
}

// property is a row of a kind's table.
type property struct {
	odata.Property
	// get reads the value from the record; nil for one that is kept in
	// Properties.
	get func(*Object) any
	// set writes it to the record; nil for one that cannot be set, or is kept
	// in Properties.
	set func(rec any, raw json.RawMessage) error
	// kept says that the property lives in Properties.
	kept bool
	// hidden says that it is shown only when selected.
	hidden bool
	// empty is shown for a kept property that is not set, instead of null.
	empty any
}

// At is where and when objects are looked at.
type At struct {
	Reader store.Reader
	Tenant directory.TenantID
	Now    time.Time
}

// Object is a record seen as a resource.
type Object struct {
	Kind  *Kind
	ID    string
	Rec   any
	Extra directory.Properties
	At    *At
	// Deleted is when the object was deleted, if it is among deleted items.
	Deleted time.Time
}

func newKind(k Kind, props []property) *Kind {
	k.props = props
	k.byName = map[string]*property{}
	var schema []odata.Property
	for i := range k.props {
		p := &k.props[i]
		k.byName[strings.ToLower(p.Name)] = p
		k.byName[p.Name] = p // filters use the schema's spelling
		schema = append(schema, p.Property)
	}
	k.schema = odata.NewSchema("microsoft.graph."+k.Name, schema)
	for _, d := range k.Defaults {
		if k.byName[strings.ToLower(d)] == nil {
			panic("model: " + k.Name + " has no property " + d)
		}
	}
	return &k
}

// Schema returns what queries over the kind are checked against.
func (k *Kind) Schema() *odata.Schema { return k.schema }

// Type returns the value of @odata.type.
func (k *Kind) Type() string { return "#microsoft.graph." + k.Name }

// Key returns the object's id.
func (o *Object) Key() string { return o.ID }

// Property returns a property for a filter.
func (o *Object) Property(name string) any {
	p := o.Kind.byName[name]
	if p == nil {
		p = o.Kind.byName[strings.ToLower(name)]
	}
	if p == nil {
		return nil
	}
	v := o.value(p)
	switch v := v.(type) {
	case nil, string, bool, int64, time.Time, []string:
		return v
	case json.RawMessage:
		return fromJSON(v, p.Type)
	case directory.ObjectID:
		return string(v)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return fromJSON(raw, p.Type)
}

func fromJSON(raw json.RawMessage, t odata.Type) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	switch x := v.(type) {
	case map[string]any:
		return odata.Map(x)
	case string:
		if t == odata.DateTime {
			if at, err := time.Parse(time.RFC3339Nano, x); err == nil {
				return at
			}
		}
	}
	return v
}

// value returns a property as it is shown.
func (o *Object) value(p *property) any {
	if !p.kept {
		return p.get(o)
	}
	if raw, ok := o.Extra[p.Name]; ok {
		return raw
	}
	return p.empty
}

// Render returns the members of the object.
func (o *Object) Render(selected []string, expand []odata.Expand, typed bool) (wire.Object, error) {
	out := make(wire.Object, 0, len(o.Kind.props)+1)
	if typed {
		out = out.With("@odata.type", o.Kind.Type())
	}
	switch {
	case selected != nil:
		for _, name := range selected {
			if p := o.Kind.byName[strings.ToLower(name)]; p != nil {
				out = out.With(p.Name, o.shown(p))
			}
		}
	case o.Kind.Defaults != nil:
		for _, name := range o.Kind.Defaults {
			p := o.Kind.byName[strings.ToLower(name)]
			out = out.With(p.Name, o.shown(p))
		}
	default:
		for i := range o.Kind.props {
			if p := &o.Kind.props[i]; !p.hidden {
				out = out.With(p.Name, o.shown(p))
			}
		}
	}
	if selected == nil {
		for _, name := range slices.Sorted(maps.Keys(o.Extra)) {
			if extension.MatchString(name) {
				out = out.With(name, o.Extra[name])
			}
		}
	}
	for _, e := range expand {
		v, err := o.expanded(e)
		if err != nil {
			return nil, err
		}
		out = out.With(e.Name, v)
	}
	return out, nil
}

// shown turns times into Graph's spelling.
func (o *Object) shown(p *property) any {
	v := o.value(p)
	if at, ok := v.(time.Time); ok {
		return Time(at)
	}
	return v
}

// Time spells a time as Graph does; the zero time is null.
func Time(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// maxExpanded is how many objects $expand shows (Microsoft Graph's default).
const maxExpanded = 20

// expanded returns what $expand shows: a list, or one object, or nil.
func (o *Object) expanded(e odata.Expand) (any, error) {
	show := func(other *Object) (wire.Object, error) {
		for _, s := range e.Select {
			if _, ok := other.Kind.schema.Lookup(s); !ok {
				return nil, wire.Bad("Could not find a property named '%.100s' on type 'microsoft.graph.directoryObject'.", s)
			}
		}
		return other.Render(e.Select, nil, true)
	}
	for name, fn := range o.Kind.ExpandsOne {
		if !strings.EqualFold(name, e.Name) {
			continue
		}
		if other, ok := fn(o); ok {
			return show(other)
		}
		return nil, nil
	}
	for name, fn := range o.Kind.Expands {
		if !strings.EqualFold(name, e.Name) {
			continue
		}
		limit := maxExpanded
		if e.Top >= 0 {
			limit = min(limit, e.Top)
		}
		list := []wire.Object{}
		for _, other := range fn(o) {
			if len(list) == limit {
				break
			}
			m, err := show(other)
			if err != nil {
				return nil, err
			}
			list = append(list, m)
		}
		return list, nil
	}
	return nil, wire.Bad("Could not find a property named '%.100s' on type 'microsoft.graph.%s'.", e.Name, o.Kind.Name)
}

// extension matches directory extension properties: extension_<app id>_name.
var extension = regexp.MustCompile(`^extension_[0-9a-f]{32}_[A-Za-z0-9_]{1,120}$`)

// maxKept bounds one kept property, so that the directory is no file store.
const maxKept = 32 << 10

// Apply sets the members of a request's body on a record and its Properties,
// and returns what changed for the audit log. Members in handled are left to
// the caller. Nothing is changed when an error is returned, but rec may be:
// it is a copy.
func (k *Kind) Apply(rec any, extra *directory.Properties, body wire.Members, handled ...string) ([]wire.Change, error) {
	var changes []wire.Change
	kept := maps.Clone(*extra)
	for _, name := range slices.Sorted(maps.Keys(body)) {
		raw := body[name]
		if strings.Contains(name, "@odata.") || strings.HasPrefix(name, "@") || slices.ContainsFunc(handled, func(h string) bool { return strings.EqualFold(h, name) }) {
			continue
		}
		p := k.byName[strings.ToLower(name)]
		if p == nil && extension.MatchString(name) {
			p = &property{Property: odata.Property{Name: name, Type: odata.Complex}, kept: true}
		}
		switch {
		case p == nil:
			return nil, wire.Bad("Invalid property '%.100s'.", name)
		case p.set != nil:
			if err := p.set(rec, raw); err != nil {
				if errs.Is(err, errs.Invalid) {
					return nil, err
				}
				return nil, k.wrongType(p.Name)
			}
		case !p.kept:
			return nil, wire.Bad("Property '%s' is read-only and cannot be set.", p.Name)
		default:
			if len(raw) > maxKept {
				return nil, wire.Bad("The value of property '%s' is too long.", p.Name)
			}
			if !p.fits(raw) {
				return nil, k.wrongType(p.Name)
			}
			if kept == nil {
				kept = directory.Properties{}
			}
			if isNull(raw) {
				delete(kept, p.Name)
			} else {
				kept[p.Name] = compact(raw)
			}
		}
		changes = append(changes, wire.Change{Name: p.Name, New: string(compact(raw))})
	}
	*extra = kept
	return changes, nil
}

func (k *Kind) wrongType(name string) error {
	return wire.Bad("A value of an invalid type was specified for property '%s' of resource '%s'.", name, k.Label)
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}

// fits reports whether raw has the property's type.
func (p *property) fits(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	if isNull(raw) {
		return true
	}
	if p.Collection {
		if p.Type == odata.String {
			var v []string
			return json.Unmarshal(raw, &v) == nil
		}
		return raw[0] == '['
	}
	switch p.Type {
	case odata.Boolean:
		return string(raw) == "true" || string(raw) == "false"
	case odata.Int:
		var n int64
		return json.Unmarshal(raw, &n) == nil
	case odata.String:
		return raw[0] == '"'
	case odata.DateTime:
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return false
		}
		_, err := time.Parse(time.RFC3339Nano, s)
		return err == nil
	}
	return true
}
