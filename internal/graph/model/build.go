package model

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/odata"
)

// The functions below make rows of the tables. The first letter says what a
// client may do: r reads, w also writes; the rest says the type.

func read[T any](name string, t odata.Type, get func(*T) any) property {
	return property{Property: odata.Property{Name: name, Type: t}, get: func(o *Object) any { return get(o.Rec.(*T)) }}
}

func (p property) list() property { p.Collection = true; return p }
func (p property) hide() property { p.hidden = true; return p }

// constant is a property that is always the same here.
func constant(name string, t odata.Type, v any) property {
	return property{Property: odata.Property{Name: name, Type: t}, get: func(*Object) any { return v }}
}

// deletedAt is when an object among the deleted items was deleted.
func deletedAt() property {
	return property{Property: odata.Property{Name: "deletedDateTime", Type: odata.DateTime}, get: func(o *Object) any {
		if o.Deleted.IsZero() {
			return nil
		}
		return o.Deleted
	}}
}

// text is a string property; nullable shows the empty string as null.
func text[T any](name string, limit int, field func(*T) *string) property {
	p := read(name, odata.String, func(rec *T) any {
		if s := *field(rec); s != "" {
			return s
		}
		return nil
	})
	p.set = func(rec any, raw json.RawMessage) error {
		var s *string
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		if s == nil {
			s = new(string)
		}
		if err := checkText(name, *s, limit); err != nil {
			return err
		}
		*field(rec.(*T)) = *s
		return nil
	}
	return p
}

// checkText refuses control characters, which have no place in names that
// other people's screens and logs show, and bounds the length.
func checkText(name, s string, limit int) error {
	if len([]rune(s)) > limit {
		return errs.New(errs.Invalid, "Invalid value specified for property '%s': the maximum length is %d.", name, limit)
	}
	if strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
	}) {
		return errs.New(errs.Invalid, "Invalid value specified for property '%s': control characters are not allowed.", name)
	}
	return nil
}

func flag[T any](name string, field func(*T) *bool) property {
	p := read(name, odata.Boolean, func(rec *T) any { return *field(rec) })
	p.set = func(rec any, raw json.RawMessage) error {
		if isNull(raw) {
			return errs.New(errs.Invalid, "Invalid value specified for property '%s': null is not allowed.", name)
		}
		return json.Unmarshal(raw, field(rec.(*T)))
	}
	return p
}

func when[T any](name string, field func(*T) time.Time) property {
	return read(name, odata.DateTime, func(rec *T) any {
		if t := field(rec); !t.IsZero() {
			return t
		}
		return nil
	})
}

func texts[T any](name string, limit int, field func(*T) *[]string) property {
	p := read(name, odata.String, func(rec *T) any {
		if l := *field(rec); l != nil {
			return l
		}
		return []string{}
	}).list()
	p.set = func(rec any, raw json.RawMessage) error {
		var l []string
		if err := json.Unmarshal(raw, &l); err != nil {
			return err
		}
		if len(l) > limit {
			return errs.New(errs.Invalid, "Invalid value specified for property '%s': at most %d values are allowed.", name, limit)
		}
		for _, s := range l {
			if err := checkText(name, s, 1024); err != nil {
				return err
			}
		}
		*field(rec.(*T)) = l
		return nil
	}
	return p
}

// kept is a property that comes back as it was sent.
func kept(name string, t odata.Type) property {
	return property{Property: odata.Property{Name: name, Type: t}, kept: true}
}

func keptList(name string, t odata.Type) property {
	p := kept(name, t).list()
	p.empty = []string{}
	return p
}

// keptAll makes kept properties of one type.
func keptAll(t odata.Type, names ...string) (ps []property) {
	for _, n := range names {
		ps = append(ps, kept(n, t))
	}
	return ps
}

// nulls are properties that only the real service fills in.
func nulls(t odata.Type, names ...string) (ps []property) {
	for _, n := range names {
		ps = append(ps, constant(n, t, nil))
	}
	return ps
}

func empties(t odata.Type, names ...string) (ps []property) {
	for _, n := range names {
		ps = append(ps, constant(n, t, []string{}).list())
	}
	return ps
}

func join(groups ...any) (ps []property) {
	for _, g := range groups {
		switch g := g.(type) {
		case property:
			ps = append(ps, g)
		case []property:
			ps = append(ps, g...)
		}
	}
	return ps
}
