package rbac

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac/wildcard"
)

// Snapshot is everything that access decisions need, compiled. It is immutable
// and safe for concurrent use; Apply makes a new one that shares what did not
// change.
type Snapshot struct {
	tenants trie[*tenant]
}

// tenant is what a snapshot holds for one tenant. It is copied when one of its
// maps changes.
type tenant struct {
	roles       trie[*Role]           // custom roles by GUID
	assignments trie[*RoleAssignment] // by name
	principals  trie[*holding]        // role assignments by principal
	known       filter                // every principal of principals and denied
	denies      trie[*DenyAssignment] // by name
	denied      trie[[]*DenyAssignment]
	groups      trie[string] // management group -> parent, or "" at the top
	subs        trie[string] // subscription -> management group
}

// holding is the role assignments of one principal, narrowest scope first.
// Beyond holdingList entries they are found by scope, so that a group with ten
// thousand namespace assignments costs no more than one with ten.
type holding struct {
	list    []*RoleAssignment
	byScope trie[[]*RoleAssignment]
}

const holdingList = 16

// NewSnapshot returns a snapshot with the built-in roles and nothing else.
func NewSnapshot() *Snapshot {
	builtIn()
	return &Snapshot{}
}

// Change is a change to the facts: one of the Put and Delete types.
type Change interface {
	apply(e *edit, s *Snapshot) error
}

type (
	// PutRole creates or replaces a custom role of a tenant.
	PutRole struct {
		Tenant directory.TenantID
		Role   RoleDefinition
	}
	// DeleteRole deletes a custom role. Assignments of it stay, and grant nothing.
	DeleteRole struct {
		Tenant directory.TenantID
		ID     string
	}
	// PutAssignment creates or replaces the role assignment with that name.
	PutAssignment struct{ RoleAssignment }
	// DeleteAssignment deletes a role assignment by its name.
	DeleteAssignment struct {
		Tenant directory.TenantID
		Name   string
	}
	// PutDeny creates or replaces the deny assignment with that name.
	PutDeny struct{ DenyAssignment }
	// DeleteDeny deletes a deny assignment by its name.
	DeleteDeny struct {
		Tenant directory.TenantID
		Name   string
	}
	// PutManagementGroup places a management group under a parent, or at the top
	// of the tenant when Parent is empty.
	PutManagementGroup struct {
		Tenant     directory.TenantID
		ID, Parent string
	}
	// DeleteManagementGroup deletes a management group.
	DeleteManagementGroup struct {
		Tenant directory.TenantID
		ID     string
	}
	// PutSubscription places a subscription under a management group.
	PutSubscription struct {
		Tenant                directory.TenantID
		SubscriptionID, Group string
	}
	// DeleteSubscription removes a subscription from the hierarchy. Assignments at
	// its scope stay.
	DeleteSubscription struct {
		Tenant         directory.TenantID
		SubscriptionID string
	}
	// DeleteTenant forgets all that the snapshot has of a tenant.
	DeleteTenant struct{ Tenant directory.TenantID }
)

// Apply returns a snapshot with the changes made, in order. It is all or
// nothing: with an error, which names the change at fault, there is no new
// snapshot and s stands.
//
// Changes come from a store that has checked them (see the Check methods), and
// in any order: deleting what is not there, or hanging a group under a parent
// that comes later, is no error. What cannot be compiled is one, since
// leaving out a deny assignment would open what it closes.
func (s *Snapshot) Apply(changes ...Change) (*Snapshot, error) {
	next, e := *s, new(edit)
	for i, c := range changes {
		if err := c.apply(e, &next); err != nil {
			return nil, errs.Wrap(errs.KindOf(err), err, "Change %d (%T) was refused", i, c)
		}
	}
	return &next, nil
}

func (s *Snapshot) tenant(id directory.TenantID) *tenant {
	t, ok := s.tenants.get(string(id))
	if !ok {
		return &noTenant
	}
	return t
}

var noTenant tenant

// change gives f a tenant that it may change.
func (s *Snapshot) change(e *edit, id directory.TenantID, f func(*tenant) error) error {
	low, ok := directory.ParseGUID(string(id))
	if !ok {
		return errs.New(errs.Invalid, "The tenant must be a GUID.")
	}
	t := *s.tenant(directory.TenantID(low))
	if err := f(&t); err != nil {
		return err
	}
	s.tenants = s.tenants.set(e, low, &t)
	return nil
}

func (c PutRole) apply(e *edit, s *Snapshot) error {
	r, err := compileRole(c.Role)
	if err != nil {
		return err
	}
	if _, ok := builtIn().roles[r.ID]; ok {
		return errs.New(errs.Invalid, "A built-in role cannot be replaced.")
	}
	r.BuiltIn = false
	return s.change(e, c.Tenant, func(t *tenant) error { t.roles = t.roles.set(e, r.ID, r); return nil })
}

func (c DeleteRole) apply(e *edit, s *Snapshot) error {
	return s.change(e, c.Tenant, func(t *tenant) error { t.roles = t.roles.del(e, strings.ToLower(c.ID)); return nil })
}

func (c PutAssignment) apply(e *edit, s *Snapshot) error {
	a, err := c.compile()
	if err != nil {
		return err
	}
	return s.change(e, a.Tenant, func(t *tenant) error {
		t.drop(e, a.Name)
		t.assignments = t.assignments.set(e, a.Name, a)
		h, _ := t.principals.get(string(a.PrincipalID))
		t.principals = t.principals.set(e, string(a.PrincipalID), h.with(e, a))
		t.known = t.known.with(e, string(a.PrincipalID), t.holders)
		return nil
	})
}

func (c DeleteAssignment) apply(e *edit, s *Snapshot) error {
	return s.change(e, c.Tenant, func(t *tenant) error { t.drop(e, strings.ToLower(c.Name)); return nil })
}

// holders yields every principal that a role or deny assignment names; some
// twice.
func (t *tenant) holders(yield func(string) bool) {
	for id := range t.principals.all() {
		if !yield(id) {
			return
		}
	}
	for id := range t.denied.all() {
		if !yield(id) {
			return
		}
	}
}

// drop takes a role assignment out of both indexes.
func (t *tenant) drop(e *edit, name string) {
	a, ok := t.assignments.get(name)
	if !ok {
		return
	}
	t.assignments = t.assignments.del(e, name)
	h, _ := t.principals.get(string(a.PrincipalID))
	if h = h.without(e, a); h == nil {
		t.principals = t.principals.del(e, string(a.PrincipalID))
	} else {
		t.principals = t.principals.set(e, string(a.PrincipalID), h)
	}
}

// narrowFirst orders role assignments for decisions, so that the one which a
// decision names is always the same one: the narrowest that grants.
func narrowFirst(a, b *RoleAssignment) int {
	return cmp.Or(cmp.Compare(b.Scope.kind, a.Scope.kind), cmp.Compare(len(b.Scope.key), len(a.Scope.key)),
		strings.Compare(a.Scope.key, b.Scope.key), strings.Compare(a.Name, b.Name))
}

func insert(list []*RoleAssignment, a *RoleAssignment) []*RoleAssignment {
	i, _ := slices.BinarySearchFunc(list, a, narrowFirst)
	return slices.Insert(slices.Clip(list), i, a) // clipped, so it copies
}

func (h *holding) with(e *edit, a *RoleAssignment) *holding {
	switch {
	case h == nil:
		return &holding{list: []*RoleAssignment{a}}
	case h.list != nil && len(h.list) < holdingList:
		return &holding{list: insert(h.list, a)}
	}
	scopes := h.byScope
	for _, old := range h.list {
		at, _ := scopes.get(old.Scope.key)
		scopes = scopes.set(e, old.Scope.key, insert(at, old))
	}
	at, _ := scopes.get(a.Scope.key)
	return &holding{byScope: scopes.set(e, a.Scope.key, insert(at, a))}
}

func (h *holding) without(e *edit, a *RoleAssignment) *holding {
	is := func(o *RoleAssignment) bool { return o == a }
	if h.list != nil {
		list := slices.DeleteFunc(slices.Clone(h.list), is)
		if len(list) == 0 {
			return nil
		}
		return &holding{list: list}
	}
	at, _ := h.byScope.get(a.Scope.key)
	at = slices.DeleteFunc(slices.Clone(at), is)
	scopes := h.byScope
	if len(at) == 0 {
		scopes = scopes.del(e, a.Scope.key)
	} else {
		scopes = scopes.set(e, a.Scope.key, at)
	}
	if scopes.len() == 0 {
		return nil
	}
	return &holding{byScope: scopes}
}

func (c PutDeny) apply(e *edit, s *Snapshot) error {
	d, err := c.compile()
	if err != nil {
		return err
	}
	return s.change(e, d.Tenant, func(t *tenant) error {
		t.dropDeny(e, d.Name)
		t.denies = t.denies.set(e, d.Name, d)
		for _, p := range d.Principals {
			list, _ := t.denied.get(string(p))
			if !slices.Contains(list, d) { // a principal named twice
				t.denied = t.denied.set(e, string(p), append(slices.Clip(list), d))
				t.known = t.known.with(e, string(p), t.holders)
			}
		}
		return nil
	})
}

func (c DeleteDeny) apply(e *edit, s *Snapshot) error {
	return s.change(e, c.Tenant, func(t *tenant) error { t.dropDeny(e, strings.ToLower(c.Name)); return nil })
}

func (t *tenant) dropDeny(e *edit, name string) {
	d, ok := t.denies.get(name)
	if !ok {
		return
	}
	t.denies = t.denies.del(e, name)
	for _, p := range d.Principals {
		list, _ := t.denied.get(string(p))
		list = slices.DeleteFunc(slices.Clone(list), func(o *DenyAssignment) bool { return o == d })
		if len(list) == 0 {
			t.denied = t.denied.del(e, string(p))
		} else {
			t.denied = t.denied.set(e, string(p), list)
		}
	}
}

func (c PutManagementGroup) apply(e *edit, s *Snapshot) error {
	sc, err := ManagementGroup(c.ID)
	if err != nil {
		return err
	}
	return s.change(e, c.Tenant, func(t *tenant) error { t.groups = t.groups.set(e, sc.mg, wildcard.Lower(c.Parent)); return nil })
}

func (c DeleteManagementGroup) apply(e *edit, s *Snapshot) error {
	return s.change(e, c.Tenant, func(t *tenant) error { t.groups = t.groups.del(e, wildcard.Lower(c.ID)); return nil })
}

func (c PutSubscription) apply(e *edit, s *Snapshot) error {
	id, err := guid("A subscription", c.SubscriptionID)
	if err != nil {
		return err
	}
	return s.change(e, c.Tenant, func(t *tenant) error { t.subs = t.subs.set(e, id, wildcard.Lower(c.Group)); return nil })
}

func (c DeleteSubscription) apply(e *edit, s *Snapshot) error {
	return s.change(e, c.Tenant, func(t *tenant) error { t.subs = t.subs.del(e, strings.ToLower(c.SubscriptionID)); return nil })
}

func (c DeleteTenant) apply(e *edit, s *Snapshot) error {
	s.tenants = s.tenants.del(e, strings.ToLower(string(c.Tenant)))
	return nil
}

// under reports whether the management group is group or lies below it.
func (t *tenant) under(mg, group string) bool {
	for i := 0; mg != "" && i <= maxManagementDepth; i++ {
		if mg == group {
			return true
		}
		mg, _ = t.groups.get(mg)
	}
	return false
}

// covers reports whether an assignment at the scope at applies to a request at
// the scope of: equal, above it in the id, or above it in the hierarchy.
func (t *tenant) covers(at, of *Scope) bool {
	if at.contains(*of) {
		return true
	}
	if at.kind != ManagementGroupScope {
		return false
	}
	mg := of.mg
	if of.sub != "" {
		mg, _ = t.subs.get(of.sub)
	}
	return t.under(mg, at.mg)
}

// role finds a role by its GUID.
func (t *tenant) role(id string) *Role {
	if r, ok := builtIn().roles[id]; ok {
		return r
	}
	r, _ := t.roles.get(id)
	return r
}

// Ancestors returns the scope and all scopes above it in the tenant, the
// narrowest first; the last one is the root.
func (s *Snapshot) Ancestors(id directory.TenantID, sc Scope) []Scope {
	t := s.tenant(id)
	out := []Scope{sc}
	for p, ok := sc.Parent(); ok; p, ok = p.Parent() {
		out = append(out, p)
	}
	mg := sc.mg
	if sc.sub != "" {
		mg, _ = t.subs.get(sc.sub)
	}
	for i := 0; mg != "" && i <= maxManagementDepth; i++ {
		if p, err := ManagementGroup(mg); err == nil && !slices.ContainsFunc(out, p.Equal) {
			out = append(out, p)
		}
		mg, _ = t.groups.get(mg)
	}
	if out[len(out)-1].kind != RootScope {
		out = append(out, Root())
	}
	return out
}

// Role returns a built-in role or a custom role of the tenant, by its GUID.
func (s *Snapshot) Role(id directory.TenantID, roleID string) (*Role, bool) {
	r := s.tenant(id).role(strings.ToLower(roleID))
	return r, r != nil
}

// Roles returns the tenant's custom roles, sorted by name.
func (s *Snapshot) Roles(id directory.TenantID) []*Role {
	var out []*Role
	for _, r := range s.tenant(id).roles.all() {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *Role) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return out
}

// Assignment returns a role assignment of the tenant by its name.
func (s *Snapshot) Assignment(id directory.TenantID, name string) (*RoleAssignment, bool) {
	return s.tenant(id).assignments.get(strings.ToLower(name))
}

// Assignments yields the role assignments of the tenant, in no order.
func (s *Snapshot) Assignments(id directory.TenantID) iter.Seq[*RoleAssignment] {
	return func(yield func(*RoleAssignment) bool) {
		for _, a := range s.tenant(id).assignments.all() {
			if !yield(a) {
				return
			}
		}
	}
}

// AssignmentsOf returns the role assignments of a principal itself, narrowest
// scope first.
func (s *Snapshot) AssignmentsOf(id directory.TenantID, principal directory.ObjectID) []*RoleAssignment {
	h, ok := s.tenant(id).principals.get(string(principal))
	if !ok {
		return nil
	}
	out := slices.Clone(h.list)
	for _, at := range h.byScope.all() {
		out = append(out, at...)
	}
	slices.SortFunc(out, narrowFirst)
	return out
}

// AssignmentCount returns how many role assignments the tenant has.
func (s *Snapshot) AssignmentCount(id directory.TenantID) int { return s.tenant(id).assignments.len() }

// Denies returns the deny assignments of the tenant, sorted by name.
func (s *Snapshot) Denies(id directory.TenantID) []*DenyAssignment {
	var out []*DenyAssignment
	for _, d := range s.tenant(id).denies.all() {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b *DenyAssignment) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// String tells the size of the snapshot, for logs.
func (s *Snapshot) String() string {
	n := 0
	for _, t := range s.tenants.all() {
		n += t.assignments.len()
	}
	return fmt.Sprintf("%d tenants, %d role assignments", s.tenants.len(), n)
}
