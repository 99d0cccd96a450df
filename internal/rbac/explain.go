package rbac

import (
	"cmp"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac/condition"
)

// Outcome is what one role assignment had to say to a request.
type Outcome string

const (
	Grants        Outcome = "grants"
	NotGranted    Outcome = "role does not grant the action"
	NotActions    Outcome = "excluded by the role's notActions"
	ConditionFail Outcome = "condition not met"
	RoleMissing   Outcome = "role definition does not exist"
)

func outcomeOf(m match, c condition.Result) Outcome {
	switch {
	case m == noMatch:
		return NotGranted
	case m == excluded:
		return NotActions
	case c != condition.True:
		return ConditionFail
	}
	return Grants
}

// Step is a role assignment that applies at the scope, and its outcome.
type Step struct {
	Assignment *RoleAssignment
	Role       *Role // nil when it does not exist
	Outcome    Outcome
	Condition  condition.Result
}

// DenyStep is a deny assignment that forbids the request.
type DenyStep struct {
	Deny *DenyAssignment
	Via  directory.ObjectID // the principal that it names: who asks, a group, or Everyone
}

type trace struct{ Explanation }

func (t *trace) step(s Step) { t.Steps = append(t.Steps, s) }

func (t *trace) deny(d *DenyAssignment, via directory.ObjectID) {
	t.Denies = append(t.Denies, DenyStep{d, via})
}

// Explanation is a decision with all that led to it.
type Explanation struct {
	Decision Decision
	Steps    []Step     // every role assignment of the principal that applies at the scope
	Denies   []DenyStep // every deny assignment that forbids it
}

// Explain answers a request as Decide does, through the same code, and says
// what it saw on the way.
func (s *Snapshot) Explain(r *Request) Explanation {
	var tr trace
	tr.Decision = s.decide(r, &tr)
	return tr.Explanation
}

// Suggestion is a role assignment that would allow what was refused.
type Suggestion struct {
	Role  *Role
	Scope Scope
	// Breadth orders suggestions: how many of the published operations the role
	// grants. Less is better.
	Breadth int
}

// Suggest returns the smallest role assignments, each of which would by itself
// allow all the requests: the narrowest scope that covers them, and of the
// roles that grant all of them the ones that grant least besides. It returns
// none when a deny assignment forbids one of them, as no role would help.
func (s *Snapshot) Suggest(limit int, requests ...*Request) []Suggestion {
	if len(requests) == 0 {
		return nil
	}
	tenantID := requests[0].Principal.Tenant
	t := s.tenant(tenantID)
	for _, r := range requests {
		if d := s.Decide(r); r.Principal.Tenant != tenantID || d.Reason == DeniedExplicitly || d.Reason == Malformed {
			return nil
		}
	}
	scope, ok := s.commonScope(tenantID, requests)
	if !ok {
		return nil
	}
	var out []Suggestion
	for _, role := range slices.Concat(BuiltInRoles(), s.Roles(tenantID)) {
		if !t.assignable(role, scope) {
			continue
		}
		grants := func(r *Request) bool { return role.grantsWith(r) }
		if !slices.ContainsFunc(requests, func(r *Request) bool { return !grants(r) }) {
			out = append(out, Suggestion{role, scope, role.breadth()})
		}
	}
	slices.SortStableFunc(out, func(a, b Suggestion) int {
		return cmp.Or(cmp.Compare(a.Breadth, b.Breadth), strings.Compare(a.Role.Name, b.Role.Name))
	})
	if len(out) > limit {
		out = out[:limit]
	}
	return out
}

// grantsWith reports whether the role grants the request, conditions of the
// role itself included.
func (r *Role) grantsWith(q *Request) bool {
	d := decision{r: q}
	for i := range r.blocks {
		b := &r.blocks[i]
		if b.match(q.Action.key, q.DataAction) == granted && (b.cond == nil || b.cond.Eval(d.context()) == condition.True) {
			return true
		}
	}
	return false
}

// commonScope returns the narrowest scope that covers all requests.
func (s *Snapshot) commonScope(id directory.TenantID, requests []*Request) (Scope, bool) {
	t := s.tenant(id)
	for _, sc := range s.Ancestors(id, requests[0].Scope) {
		if !slices.ContainsFunc(requests, func(r *Request) bool { return !t.covers(&sc, &r.Scope) }) {
			return sc, true
		}
	}
	return Scope{}, false
}

// assignable reports whether the role may be assigned at the scope.
func (t *tenant) assignable(role *Role, at Scope) bool {
	if at.kind == RootScope || at.kind == ManagementGroupScope && role.data && !role.BuiltIn {
		return false
	}
	if role.BuiltIn {
		return true
	}
	for _, text := range role.AssignableScopes {
		if sc, err := ParseScope(text); err == nil && t.covers(&sc, &at) {
			return true
		}
	}
	return false
}

// breadth counts the published operations that the role grants. Every pattern
// with a wildcard counts more, the shorter the more, since it grants
// operations that no list has.
func (r *Role) breadth() int {
	n := 0
	for _, list := range []struct {
		ops  []string
		data bool
	}{{ClusterDataActions(), true}, {ClusterActions(), false}} {
		for _, op := range list.ops {
			if a, err := ParseAction(op); err == nil && r.Grants(a, list.data) {
				n++
			}
		}
	}
	for _, p := range r.Permissions {
		for _, a := range slices.Concat(p.Actions, p.DataActions) {
			if i := strings.IndexByte(a, '*'); i >= 0 {
				// Everything; a provider; a resource type; less than that.
				n += [...]int{100_000, 20_000, 5_000, 2}[min(3, strings.Count(a[:i], "/"))]
			} else {
				n++
			}
		}
	}
	return n
}

// Holder is a principal that may do something.
type Holder struct {
	Principal directory.ObjectID
	Decision  Decision // with the assignment and the group through which it holds
}

// Directory answers the questions about principals that a search asks.
type Directory interface {
	// Members returns the users and service principals that belong to the group,
	// nested groups included; none for what is no group.
	Members(group directory.ObjectID) []directory.ObjectID
	// Principal returns what a decision needs to know of a principal, and whether
	// it exists and may sign in.
	Principal(tenant directory.TenantID, id directory.ObjectID) (Principal, bool)
}

// WhoCan returns every principal that may do what the request says, whoever the
// request names. Each is asked through Decide, so conditions, deny assignments
// and nested groups count. It looks at all role assignments of the tenant: it
// is for people, not for the path of a request.
func (s *Snapshot) WhoCan(id directory.TenantID, r Request, dir Directory) []Holder {
	t := s.tenant(id)
	seen := map[directory.ObjectID]bool{}
	var out []Holder
	ask := func(id2 directory.ObjectID) {
		if seen[id2] {
			return
		}
		seen[id2] = true
		p, ok := dir.Principal(id, id2)
		if !ok {
			return
		}
		q := r
		q.Principal = p
		if d := s.Decide(&q); d.Allowed() {
			out = append(out, Holder{id2, d})
		}
	}
	expanded := map[directory.ObjectID]bool{}
	for a := range s.Assignments(id) {
		role := t.role(a.RoleID)
		if role == nil || !role.Grants(r.Action, r.DataAction) || !t.covers(&a.Scope, &r.Scope) {
			continue
		}
		if a.PrincipalType != Group {
			ask(a.PrincipalID)
		}
		if !expanded[a.PrincipalID] {
			expanded[a.PrincipalID] = true
			for _, m := range dir.Members(a.PrincipalID) {
				ask(m)
			}
		}
	}
	slices.SortFunc(out, func(a, b Holder) int { return strings.Compare(string(a.Principal), string(b.Principal)) })
	return out
}

// Grant is something that a principal holds.
type Grant struct {
	Assignment *RoleAssignment
	Role       *Role // nil when it does not exist
	Via        directory.ObjectID
}

// WhatCan returns the role assignments that a principal holds, itself or
// through its groups, narrowest scope first, and the deny assignments that
// name it. When under is not zero, only what touches that scope: assignments
// at it, above it or below it.
func (s *Snapshot) WhatCan(p Principal, under Scope) ([]Grant, []*DenyAssignment) {
	t := s.tenant(p.Tenant)
	touches := func(sc *Scope) bool {
		return under.IsZero() || t.covers(sc, &under) || t.covers(&under, sc)
	}
	var grants []Grant
	var denies []*DenyAssignment
	for _, id := range append([]directory.ObjectID{Everyone, p.ID}, p.Groups...) {
		for _, a := range s.AssignmentsOf(p.Tenant, id) {
			if touches(&a.Scope) {
				grants = append(grants, Grant{a, t.role(a.RoleID), id})
			}
		}
		list, _ := t.denied.get(string(id))
		for _, d := range list {
			excluded := slices.ContainsFunc(d.ExcludePrincipals, func(x directory.ObjectID) bool { return x == p.ID || slices.Contains(p.Groups, x) })
			if touches(&d.Scope) && !excluded && !slices.Contains(denies, d) {
				denies = append(denies, d)
			}
		}
	}
	slices.SortStableFunc(grants, func(a, b Grant) int { return narrowFirst(a.Assignment, b.Assignment) })
	return grants, denies
}

// Permissions returns the permission blocks that the principal holds at the
// scope, in the form that the permissions list of ARM gives. Blocks under a
// condition are left out, since the list has no room to say so.
func (s *Snapshot) Permissions(p Principal, at Scope) []Permission {
	t := s.tenant(p.Tenant)
	var out []Permission
	seen := map[string]bool{}
	grants, _ := s.WhatCan(p, at)
	for _, g := range grants {
		if g.Role == nil || seen[g.Role.ID] || g.Assignment.cond != nil || !t.covers(&g.Assignment.Scope, &at) {
			continue
		}
		seen[g.Role.ID] = true
		for i, perm := range g.Role.Permissions {
			if g.Role.blocks[i].cond == nil {
				out = append(out, perm)
			}
		}
	}
	return out
}

// Closure returns all groups that id belongs to, by way of other groups too.
// parents gives the groups that something belongs to directly. The nearest
// come first.
func Closure(id directory.ObjectID, parents func(directory.ObjectID) []directory.ObjectID) []directory.ObjectID {
	seen := map[directory.ObjectID]bool{id: true}
	var out []directory.ObjectID
	for queue := []directory.ObjectID{id}; len(queue) > 0; queue = queue[1:] {
		for _, g := range parents(queue[0]) {
			if !seen[g] {
				seen[g] = true
				out, queue = append(out, g), append(queue, g)
			}
		}
	}
	return out
}

// MembershipPath returns the shortest chain of memberships from id to group,
// both included, or nil when there is none.
func MembershipPath(id, group directory.ObjectID, parents func(directory.ObjectID) []directory.ObjectID) []directory.ObjectID {
	from := map[directory.ObjectID]directory.ObjectID{id: ""}
	for queue := []directory.ObjectID{id}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == group {
			var path []directory.ObjectID
			for at := group; at != ""; at = from[at] {
				path = append(path, at)
			}
			slices.Reverse(path)
			return path
		}
		for _, g := range parents(queue[0]) {
			if _, ok := from[g]; !ok {
				from[g] = queue[0]
				queue = append(queue, g)
			}
		}
	}
	return nil
}

// WithoutMember wraps parents so that member does not belong to group directly:
// what-if for taking a member out of a group.
func WithoutMember(parents func(directory.ObjectID) []directory.ObjectID, member, group directory.ObjectID) func(directory.ObjectID) []directory.ObjectID {
	return func(id directory.ObjectID) []directory.ObjectID {
		if id != member {
			return parents(id)
		}
		return slices.DeleteFunc(slices.Clone(parents(id)), func(g directory.ObjectID) bool { return g == group })
	}
}

// WithAssignments returns a snapshot with more role assignments: what-if for
// granting something. It checks them as a write would.
func (s *Snapshot) WithAssignments(list ...RoleAssignment) (*Snapshot, error) {
	next := s
	for _, a := range list {
		if err := next.CheckAssignment(a); err != nil {
			return nil, err
		}
		var err error
		if next, err = next.Apply(PutAssignment{a}); err != nil {
			return nil, err
		}
	}
	return next, nil
}
