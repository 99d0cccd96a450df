// Package governance serves the part of Microsoft Graph that governs access:
// Conditional Access, Privileged Identity Management, the sign-in and audit
// logs, and people's authentication methods.
//
// The decisions and the records are those of packages policy, privileged and
// audit. Here they get their paths, shapes and error codes, and here it is held
// who may see and change them.
package governance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/privileged"
)

// Logs are the records of what has happened. *audit.Recorder has them.
type Logs interface {
	ListSignIns(ctx context.Context, q audit.Query[audit.SignIn]) (audit.Page[audit.SignIn], error)
	ListDirectory(ctx context.Context, q audit.Query[audit.DirectoryAudit]) (audit.Page[audit.DirectoryAudit], error)
	FindSignIn(ctx context.Context, tenant directory.TenantID, id string) (*audit.SignIn, error)
	FindDirectory(ctx context.Context, tenant directory.TenantID, id string) (*audit.DirectoryAudit, error)
}

// Config is what the routes need.
type Config struct {
	Privileged *privileged.Service
	// WhatIf evaluates an invented sign-in (policy.Keeper.WhatIf).
	WhatIf func(context.Context, *conditionalaccess.Facts) conditionalaccess.Outcome
	Logs   Logs
	// Devices registers devices by proof of their keys. *policy.Devices does.
	Devices Devices
}

// service has the handlers.
type service struct{ Config }

// Routes returns the routes of this package, for graph.Config.Routes.
func Routes(c Config) []wire.Route {
	s := &service{c}
	return slices.Concat(s.policyRoutes(), s.privilegedRoutes(), s.ruleRoutes(), s.logRoutes(), s.methodRoutes(), s.deviceRoutes())
}

// Recorder keeps directory events. *audit.Recorder is one.
type Recorder interface {
	Directory(ctx context.Context, e *audit.DirectoryEvent) error
}

// Audit returns a wire.Audit that keeps Graph's writes in a recorder.
func Audit(r Recorder) wire.Audit { return recorder{r} }

type recorder struct{ Recorder }

// Record keeps an event.
func (r recorder) Record(ctx context.Context, e *wire.Event) error {
	address, _ := netip.ParseAddr(e.IP) // the zero address is none
	d := &audit.DirectoryEvent{
		ID: e.ID, CorrelationID: e.CorrelationID, Time: e.Time, Tenant: e.Tenant, Activity: e.Activity, Category: e.Category, Operation: e.Operation,
		Success: e.Success, Reason: e.Reason, User: e.User, UserName: e.UPN, Client: e.AppID, ServicePrincipal: e.Principal, Address: address,
	}
	for _, t := range e.Targets {
		target := audit.Target{Type: t.Type, ID: t.ID, DisplayName: t.DisplayName, UserName: t.UPN}
		for _, c := range t.Changes {
			target.Changes = append(target.Changes, audit.Change{Name: c.Name, Old: c.Old, New: c.New})
		}
		d.Targets = append(d.Targets, target)
	}
	return r.Directory(ctx, d)
}

// item is an element of a collection whose members are at hand.
type item struct {
	key     string
	kind    string // the type's name, for @odata.type
	members wire.Object
	expand  map[string]func(odata.Expand) (any, error)
}

// Key returns the key.
func (i *item) Key() string { return i.key }

// Property returns a member for a filter.
func (i *item) Property(name string) any {
	for _, m := range i.members {
		if !strings.EqualFold(m.Name, name) {
			continue
		}
		raw, err := json.Marshal(m.Value)
		if err != nil {
			return nil
		}
		var v any
		if json.Unmarshal(raw, &v) != nil {
			return nil
		}
		return odata.Map{"v": timed(name, v)}.Property("v")
	}
	return nil
}

// Render returns the members that are selected.
func (i *item) Render(selected []string, expand []odata.Expand, typed bool) (wire.Object, error) {
	out := wire.Object{}
	if typed {
		out = out.With("@odata.type", "#microsoft.graph."+i.kind)
	}
	for _, m := range i.members {
		if selected == nil || slices.ContainsFunc(selected, func(s string) bool { return strings.EqualFold(s, m.Name) }) {
			out = append(out, m)
		}
	}
	for _, e := range expand {
		fn := i.expand[strings.ToLower(e.Name)]
		if fn == nil {
			return nil, wire.Bad("Could not find a property named '%.100s' on type 'microsoft.graph.%s'.", e.Name, i.kind)
		}
		v, err := fn(e)
		if err != nil {
			return nil, err
		}
		out = out.With(e.Name, v)
	}
	return out, nil
}

// list answers with items, which come in the order of their keys.
func list(c *wire.Call, schema *odata.Schema, context string, items []*item) (*wire.Response, error) {
	slices.SortFunc(items, func(a, b *item) int { return strings.Compare(a.key, b.key) })
	return c.List(wire.Source{Schema: schema, Context: context, Plain: true, Items: func(after string) iter.Seq[wire.Item] {
		return func(yield func(wire.Item) bool) {
			for _, i := range items {
				if i.key > after && !yield(i) {
					return
				}
			}
		}
	}})
}

// one answers with an item.
func one(c *wire.Call, schema *odata.Schema, context string, i *item) (*wire.Response, error) {
	return c.One(i, schema, context, nil)
}

// created answers with a new item.
func created(c *wire.Call, context string, i *item) (*wire.Response, error) {
	m, err := i.Render(nil, nil, false)
	if err != nil {
		return nil, err
	}
	return wire.Created(append(wire.Obj("@odata.context", c.Root+"/$metadata#"+context+"/$entity"), m...)), nil
}

// ordered decodes a JSON object and keeps the order of its members.
func ordered(raw []byte) (wire.Object, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errs.New(errs.Internal, "a document is not a JSON object")
	}
	var o wire.Object
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		o = o.With(name, v)
	}
	return o, nil
}

// schema makes a schema from names with a type's letter: b boolean, t time, i
// integer, c complex, C collection of complex, S collection of text; text
// without.
func schema(name string, properties ...string) *odata.Schema {
	var ps []odata.Property
	for _, p := range properties {
		n, kind, _ := strings.Cut(p, ":")
		q := odata.Property{Name: n}
		switch kind {
		case "b":
			q.Type = odata.Boolean
		case "t":
			q.Type = odata.DateTime
		case "i":
			q.Type = odata.Int
		case "c":
			q.Type = odata.Complex
		case "C":
			q.Type, q.Collection = odata.Complex, true
		case "S":
			q.Collection = true
		}
		ps = append(ps, q)
	}
	return odata.NewSchema("microsoft.graph."+name, ps)
}

// policyError puts Graph's code of the policy resources on an error.
func policyError(err error) error {
	if _, ok := errors.AsType[*wire.Error](err); ok || err == nil {
		return err
	}
	switch errs.KindOf(err) {
	case errs.Invalid, errs.Conflict, errs.Exists:
		return &wire.Error{Status: http.StatusBadRequest, Code: "BadRequest", Message: errs.Message(err), Err: err}
	case errs.NotFound:
		return &wire.Error{Status: http.StatusNotFound, Code: "NotFound", Message: errs.Message(err), Err: err}
	case errs.Forbidden:
		return &wire.Error{Status: http.StatusForbidden, Code: "Forbidden", Message: errs.Message(err), Err: err}
	}
	return err
}
