package rbac

import (
	"errors"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac/wildcard"
)

// What a write may break, for errors.Is: the surfaces have a code for each.
var (
	ErrAssignmentExists    = errors.New("role assignment exists")
	ErrAssignmentImmutable = errors.New("role assignment update not permitted")
	ErrAssignmentLimit     = errors.New("role assignment limit exceeded")
	ErrLastOwner           = errors.New("cannot delete the last RBAC admin assignment")
	ErrRoleNotFound        = errors.New("role definition does not exist")
	ErrRoleInUse           = errors.New("role definition has assignments")
	ErrRoleNameTaken       = errors.New("role definition with the same name exists")
	ErrRoleLimit           = errors.New("role definition limit exceeded")
	ErrRoleBuiltIn         = errors.New("built-in role cannot be changed")
	ErrNotAssignable       = errors.New("role is not assignable at the scope")
)

// CheckRole checks a custom role that is about to be written to a tenant.
func (s *Snapshot) CheckRole(id directory.TenantID, def RoleDefinition) error {
	if err := ValidateCustomRole(&def); err != nil {
		return err
	}
	low := strings.ToLower(def.ID)
	if _, ok := builtIn().roles[low]; ok {
		return errs.Wrap(errs.Forbidden, ErrRoleBuiltIn, "A built-in role cannot be changed.")
	}
	t := s.tenant(id)
	if _, ok := t.roles.get(low); !ok && t.roles.len() >= MaxCustomRoles {
		return errs.Wrap(errs.Conflict, ErrRoleLimit, "The tenant has %d custom roles already.", MaxCustomRoles)
	}
	taken := false
	for _, r := range BuiltInRoles() {
		taken = taken || strings.EqualFold(r.Name, def.Name)
	}
	for _, r := range t.roles.all() {
		taken = taken || r.ID != low && strings.EqualFold(r.Name, def.Name)
	}
	if taken {
		return errs.Wrap(errs.Exists, ErrRoleNameTaken, "A custom role with the name %q already exists in this directory. Use a different name.", def.Name)
	}
	return nil
}

// CheckRoleDelete checks that a custom role may be deleted: that nothing is
// assigned to it.
func (s *Snapshot) CheckRoleDelete(id directory.TenantID, roleID string) error {
	low := strings.ToLower(roleID)
	if _, ok := builtIn().roles[low]; ok {
		return errs.Wrap(errs.Forbidden, ErrRoleBuiltIn, "A built-in role cannot be deleted.")
	}
	n := 0
	for a := range s.Assignments(id) {
		if a.RoleID == low {
			n++
		}
	}
	if n > 0 {
		return errs.Wrap(errs.Conflict, ErrRoleInUse, "There are existing role assignments referencing role (code: RoleDefinitionHasAssignments): %d.", n)
	}
	return nil
}

// CheckAssignment checks a role assignment that is about to be written: its
// form, its condition, its role, and what else the tenant has. Whether the
// principal exists is not known here.
func (s *Snapshot) CheckAssignment(a RoleAssignment) error {
	c, err := a.compile()
	if err != nil {
		return err
	}
	t := s.tenant(c.Tenant)
	role := t.role(c.RoleID)
	if role == nil {
		return errs.Wrap(errs.Invalid, ErrRoleNotFound, "The specified role definition with ID '%s' does not exist.", c.RoleID)
	}
	if c.Scope.kind == ManagementGroupScope && role.data && !role.BuiltIn {
		return errs.Wrap(errs.Invalid, ErrNotAssignable, "A custom role with data actions cannot be assigned at a management group.")
	}
	if !role.BuiltIn && !t.assignable(role, c.Scope) {
		return errs.Wrap(errs.Invalid, ErrNotAssignable, "The role %q is not assignable at the scope %q.", role.Name, c.Scope)
	}
	if old, ok := t.assignments.get(c.Name); ok {
		if old.PrincipalID != c.PrincipalID || old.RoleID != c.RoleID || !old.Scope.Equal(c.Scope) {
			return errs.Wrap(errs.Conflict, ErrAssignmentImmutable, "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
		}
		return nil
	}
	for _, o := range s.AssignmentsOf(c.Tenant, c.PrincipalID) {
		if o.RoleID == c.RoleID && o.Scope.Equal(c.Scope) {
			return errs.Wrap(errs.Exists, ErrAssignmentExists, "The role assignment already exists.")
		}
	}
	return t.checkLimit(c)
}

func (t *tenant) checkLimit(a *RoleAssignment) error {
	limit, in := maxSubscriptionRoles, func(o *RoleAssignment) bool { return o.Scope.sub == a.Scope.sub }
	switch {
	case a.Scope.sub != "":
	case a.Scope.mg != "":
		limit, in = maxManagementRoleCount, func(o *RoleAssignment) bool { return o.Scope.mg == a.Scope.mg }
	default:
		return nil
	}
	if t.assignments.len() < limit {
		return nil
	}
	n := 0
	for _, o := range t.assignments.all() {
		if in(o) {
			n++
		}
	}
	if n >= limit {
		return errs.Wrap(errs.Conflict, ErrAssignmentLimit, "No more role assignments can be created; the limit is %d.", limit)
	}
	return nil
}

const ownerRole = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"

// CheckAssignmentDelete refuses to delete the last Owner of a subscription.
func (s *Snapshot) CheckAssignmentDelete(id directory.TenantID, name string) error {
	a, ok := s.Assignment(id, name)
	if !ok || a.RoleID != ownerRole || a.Scope.kind != SubscriptionScope {
		return nil
	}
	for o := range s.Assignments(id) {
		if o != a && o.RoleID == ownerRole && o.Scope.Equal(a.Scope) {
			return nil
		}
	}
	return errs.Wrap(errs.Conflict, ErrLastOwner, "Cannot delete the last RBAC admin assignment.")
}

// CheckManagementGroup checks that a management group may hang under a parent:
// the parent exists, there is no circle, and nothing gets too deep.
func (s *Snapshot) CheckManagementGroup(id directory.TenantID, group, parent string) error {
	sc, err := ManagementGroup(group)
	if err != nil {
		return err
	}
	if sc.kind != ManagementGroupScope || strings.Contains(group, "/") {
		return errs.New(errs.Invalid, "The id of a management group has no slash.")
	}
	next := *s.tenant(id)
	low := wildcard.Lower(parent)
	if _, ok := next.groups.get(low); low != "" && !ok {
		return errs.New(errs.NotFound, "The management group %q does not exist.", parent)
	}
	next.groups = next.groups.set(nil, sc.mg, low)
	for g := range next.groups.all() {
		// The group at the top stands at level 0.
		for level := 0; g != ""; level++ {
			if level > maxManagementDepth {
				return errs.New(errs.Invalid, "Management groups nest deeper than %d levels, or in a circle.", maxManagementDepth)
			}
			g, _ = next.groups.get(g)
		}
	}
	return nil
}
