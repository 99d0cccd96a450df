package rbac

import (
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac/condition"
)

// Principal is who asks.
type Principal struct {
	Tenant     directory.TenantID
	ID         directory.ObjectID
	Groups     []directory.ObjectID // all of them, nested ones included
	Attributes condition.Attributes // custom security attributes
}

// Request is a question: may the principal do the action at the scope? Ids are
// in lower case, as directory has them.
type Request struct {
	Principal    Principal
	Scope        Scope
	Action       Action
	DataAction   bool
	SubOperation string

	// What conditions test. Now is the time of the decision; conditions on
	// @Environment[UtcNow] see no time when it is zero.
	Request, Resource, Environment condition.Attributes
	Now                            time.Time
}

// Verdict is the outcome of a decision. The zero value is Refused.
type Verdict uint8

const (
	Refused Verdict = iota
	Allowed
)

// String returns "allowed" or "refused".
func (v Verdict) String() string {
	if v == Allowed {
		return "allowed"
	}
	return "refused"
}

// Reason is why a decision is what it is.
type Reason uint8

const (
	NoAssignment     Reason = iota // no role assignment grants the action at this scope
	Granted                        // Decision.Assignment grants it
	DeniedExplicitly               // Decision.Deny forbids it
	ConditionNotMet                // Decision.Assignment would grant it, but for its condition
	Malformed                      // the request names no valid principal, scope or action
)

var reasonNames = [...]string{"no role assignment grants it", "granted by a role assignment", "forbidden by a deny assignment", "the condition of the role assignment is not met", "the request is malformed"}

// String returns the reason in words.
func (r Reason) String() string { return reasonNames[r] }

// Decision is the answer to a request.
type Decision struct {
	Verdict    Verdict
	Reason     Reason
	Assignment *RoleAssignment    // what grants, or would but for its condition
	Role       *Role              // the role of Assignment
	Via        directory.ObjectID // the principal of Assignment: who asks, or a group
	Deny       *DenyAssignment    // what forbids
	Condition  condition.Result   // of Assignment's condition; True when it has none
}

// Allowed reports whether the verdict is Allowed.
func (d Decision) Allowed() bool { return d.Verdict == Allowed }

// Decide answers a request. A deny assignment beats all; then any role
// assignment that grants the action and whose condition holds allows it; then
// it is refused. The cost depends on the principal's own assignments (its
// groups' included), not on how many there are in all.
func (s *Snapshot) Decide(r *Request) Decision { return s.decide(r, nil) }

// decide is Decide. With a trace it looks at everything instead of stopping at
// the first answer, and writes down what it saw.
func (s *Snapshot) decide(r *Request, tr *trace) Decision {
	if r.Principal.ID == "" || r.Principal.ID == Everyone || r.Scope.IsZero() || r.Action.key == "" {
		return Decision{Reason: Malformed}
	}
	t, ok := s.tenants.get(string(r.Principal.Tenant))
	if !ok {
		return Decision{}
	}
	d := decision{t: t, r: r, tr: tr}
	deny := d.denied()
	if deny != nil && tr == nil {
		return Decision{Reason: DeniedExplicitly, Deny: deny}
	}
	out := d.grants()
	if deny != nil {
		return Decision{Reason: DeniedExplicitly, Deny: deny}
	}
	return out
}

type decision struct {
	t   *tenant
	r   *Request
	tr  *trace
	ctx *condition.Context // made when the first condition is met

	// Ancestor scopes, made when a principal has so many assignments that they
	// are looked up by scope.
	keys []string
}

func (d *decision) context() *condition.Context {
	if d.ctx == nil {
		r := d.r
		d.ctx = &condition.Context{
			Action: r.Action.key, SubOperation: r.SubOperation, Request: r.Request, Resource: r.Resource,
			Principal: r.Principal.Attributes, Environment: r.Environment, Now: r.Now,
		}
	}
	return d.ctx
}

// denied returns the deny assignment that forbids the request, or nil.
func (d *decision) denied() *DenyAssignment {
	if d.t.denied.len() == 0 {
		return nil
	}
	found := d.denyOf(Everyone)
	if found != nil && d.tr == nil {
		return found
	}
	for i := -1; i < len(d.r.Principal.Groups); i++ {
		id := d.r.Principal.ID
		if i >= 0 {
			id = d.r.Principal.Groups[i]
		}
		if !d.t.known.has(string(id)) {
			continue
		}
		if deny := d.denyOf(id); deny != nil && found == nil {
			if found = deny; d.tr == nil {
				return found
			}
		}
	}
	return found
}

func (d *decision) denyOf(id directory.ObjectID) *DenyAssignment {
	list, _ := d.t.denied.get(string(id))
	var found *DenyAssignment
	for _, deny := range list {
		if d.forbids(deny) {
			if d.tr != nil {
				d.tr.deny(deny, id)
			}
			if found == nil {
				found = deny
			}
		}
	}
	return found
}

func (d *decision) forbids(deny *DenyAssignment) bool {
	if deny.DoNotApplyToChildScopes {
		if !deny.Scope.Equal(d.r.Scope) {
			return false
		}
	} else if !d.t.covers(&deny.Scope, &d.r.Scope) {
		return false
	}
	for _, id := range deny.ExcludePrincipals {
		if id == d.r.Principal.ID || slices.Contains(d.r.Principal.Groups, id) {
			return false
		}
	}
	// A condition that cannot be evaluated must not open what a deny
	// assignment closes, hence False and not "other than True".
	if deny.cond != nil && deny.cond.Eval(d.context()) == condition.False {
		return false
	}
	for i := range deny.blocks {
		b := &deny.blocks[i]
		if b.match(d.r.Action.key, d.r.DataAction) == granted && (b.cond == nil || b.cond.Eval(d.context()) != condition.False) {
			return true
		}
	}
	return false
}

// grants looks for a role assignment that allows the request.
func (d *decision) grants() Decision {
	var out Decision
	for i := -1; i < len(d.r.Principal.Groups); i++ {
		id := d.r.Principal.ID
		if i >= 0 {
			id = d.r.Principal.Groups[i]
		}
		if !d.t.known.has(string(id)) {
			continue
		}
		h, ok := d.t.principals.get(string(id))
		if !ok {
			continue
		}
		if h.list != nil {
			for _, a := range h.list {
				if d.t.covers(&a.Scope, &d.r.Scope) && d.try(a, &out) {
					return out
				}
			}
			continue
		}
		if d.keys == nil {
			d.keys = d.ancestorKeys()
		}
		for _, key := range d.keys {
			list, _ := h.byScope.get(key)
			for _, a := range list {
				if d.try(a, &out) {
					return out
				}
			}
		}
	}
	return out
}

// ancestorKeys returns the keys of the request's scope and of whatever may lie
// above it. Some are no scopes (".../providers"); nothing is assigned there.
func (d *decision) ancestorKeys() []string {
	sc := &d.r.Scope
	keys := make([]string, 0, 24)
	for k := sc.key; k != ""; k = k[:strings.LastIndexByte(k, '/')] {
		keys = append(keys, k)
		if k == "/" {
			return keys
		}
	}
	mg := sc.mg
	if sc.sub != "" {
		mg, _ = d.t.subs.get(sc.sub)
	} else {
		mg, _ = d.t.groups.get(mg) // the group itself is in the id
	}
	for i := 0; mg != "" && i <= maxManagementDepth; i++ {
		keys = append(keys, managementPrefix+mg)
		mg, _ = d.t.groups.get(mg)
	}
	return append(keys, "/")
}

// try asks one role assignment at a fitting scope, and reports whether the
// search may stop.
func (d *decision) try(a *RoleAssignment, out *Decision) bool {
	role := d.t.role(a.RoleID)
	if role == nil {
		if d.tr != nil {
			d.tr.step(Step{Assignment: a, Outcome: RoleMissing})
		}
		return false
	}
	best, result := noMatch, condition.False
	for i := range role.blocks {
		b := &role.blocks[i]
		m := b.match(d.r.Action.key, d.r.DataAction)
		best = max(best, m)
		if m != granted {
			continue
		}
		one := condition.True
		if b.cond != nil {
			one = b.cond.Eval(d.context())
		}
		if one == condition.True && a.cond != nil {
			one = a.cond.Eval(d.context())
		}
		if one == condition.True {
			result = one
			break
		}
		if one == condition.Unknown {
			result = one
		}
	}
	if d.tr != nil {
		d.tr.step(Step{Assignment: a, Role: role, Outcome: outcomeOf(best, result), Condition: result})
	}
	if best != granted {
		return false
	}
	if result != condition.True {
		if out.Reason == NoAssignment {
			*out = Decision{Reason: ConditionNotMet, Assignment: a, Role: role, Via: a.PrincipalID, Condition: result}
		}
		return false
	}
	if out.Verdict != Allowed {
		*out = Decision{Verdict: Allowed, Reason: Granted, Assignment: a, Role: role, Via: a.PrincipalID, Condition: result}
	}
	return d.tr == nil
}
