package privileged

import (
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// MayManage reports whether a user may administer a target's eligibilities,
// assignments, requests and settings: owners of a group, and the directory
// roles that may. Azure roles are judged by who knows Azure RBAC: false.
func MayManage(r store.Reader, tenant directory.TenantID, t pim.Target, user directory.ObjectID, now time.Time) bool {
	roles := []string{directory.GlobalAdministrator, directory.PrivilegedRoleAdministrator}
	switch t.Kind {
	case pim.DirectoryRole:
	case pim.Group:
		g, err := state.Groups.Get(r, state.Key(tenant, directory.ObjectID(t.Scope)))
		if err != nil {
			return false
		}
		for _, l := range state.Linked(r, directory.Owner, tenant, g.ID, now) {
			if l.To == user {
				return true
			}
		}
		if !g.IsAssignableToRole {
			roles = append(roles, directory.GroupsAdministrator, directory.UserAdministrator)
		}
	default:
		return false
	}
	return state.HasRole(r, tenant, user, now, roles...)
}

// checkTarget refuses a target that does not exist or that cannot be managed.
func checkTarget(r store.Reader, tenant directory.TenantID, t pim.Target) error {
	switch t.Kind {
	case pim.Group:
		if t.Role != pim.Member && t.Role != pim.Owner {
			return errs.New(errs.Invalid, "The access to a group is member or owner.")
		}
		g, err := state.Groups.Get(r, state.Key(tenant, directory.ObjectID(t.Scope)))
		if err != nil {
			return errs.New(errs.NotFound, "The group %s does not exist.", t.Scope)
		}
		if slices.Contains(g.GroupTypes, "DynamicMembership") {
			return errs.New(errs.Invalid, "Groups with dynamic membership cannot be managed.")
		}
	case pim.DirectoryRole:
		if !slices.ContainsFunc(directory.Roles, func(x directory.Role) bool { return x.Template == t.Role }) {
			return errs.New(errs.NotFound, "The directory role %s does not exist.", t.Role)
		}
		// A role on a smaller scope would be shown as held and mean nothing.
		if t.Scope != "/" {
			return errs.New(errs.Invalid, "Directory roles are assigned for the whole tenant: the scope is /.")
		}
	case pim.AzureRole:
		return checkAzure(r, tenant, t)
	default:
		return errs.New(errs.Invalid, "The kind of the target is not known.")
	}
	return nil
}

func checkAzure(r store.Reader, tenant directory.TenantID, t pim.Target) error {
	scope, err := rbac.ParseScope(t.Scope)
	if err != nil {
		return errs.Wrap(errs.Invalid, err, "The scope %s is not valid.", t.Scope)
	}
	if _, ok := rbac.BuiltInRole(t.Role); !ok {
		if _, err := state.AccessRoles.Get(r, id(tenant, t.Role)); err != nil {
			return errs.New(errs.NotFound, "The role definition %s does not exist.", t.Role)
		}
	}
	if sub := scope.SubscriptionID(); sub != "" {
		s, err := state.Subscriptions.Get(r, state.Fold(sub))
		if err != nil || s.Tenant != tenant {
			return errs.New(errs.NotFound, "The subscription %s does not exist.", sub)
		}
	}
	if group := scope.ManagementGroupID(); group != "" {
		if _, err := state.ManagementGroups.Get(r, id(tenant, state.Fold(group))); err != nil {
			return errs.New(errs.NotFound, "The management group %s does not exist.", group)
		}
	}
	return nil
}

// checkPrincipal refuses to do something for a user who is disabled or gone.
func checkPrincipal(r store.Reader, tenant directory.TenantID, principal directory.ObjectID) error {
	u, err := state.Users.Get(r, state.Key(tenant, principal))
	if err != nil || !u.Enabled {
		return errs.New(errs.Forbidden, "The user %s does not exist or is disabled.", principal)
	}
	return nil
}

// checkRequest holds what the rules of pim do not know: what exists, and which
// kinds of object fit. It returns the principal's kind.
func checkRequest(r store.Reader, tenant directory.TenantID, in *NewRequest) (pim.PrincipalKind, error) {
	// What is ended may be about something that is gone.
	ending := in.Action == pim.AdminRemove || in.Action == pim.SelfDeactivate
	if in.Sort != pim.Eligible && in.Sort != pim.Active {
		return "", errs.New(errs.Invalid, "The request is neither about eligibility nor about assignment.")
	}
	if !ending {
		if err := checkTarget(r, tenant, in.Target); err != nil {
			return "", err
		}
	}
	if in.Scope != "" && !sameScope(in.Scope, in.Target.Scope) {
		return "", errs.New(errs.Invalid, "The scope of the request is not that of its target.")
	}
	if in.Condition != "" || in.ConditionVersion != "" {
		if in.Target.Kind != pim.AzureRole || in.Action != pim.AdminAssign {
			return "", errs.New(errs.Invalid, "Only new assignments of Azure roles have conditions.")
		}
		if err := condition.Check(in.ConditionVersion, in.Condition); err != nil {
			return "", errs.Wrap(errs.Invalid, err, "The condition is not valid: %v", err)
		}
	}
	typ, err := state.TypeOf(r, tenant, in.Principal)
	if err != nil {
		if ending {
			for x := range Schedules.Where(r, "principal", id(tenant, string(in.Principal))) {
				return x.Kind, nil
			}
		}
		return "", errs.New(errs.NotFound, "The principal %s does not exist.", in.Principal)
	}
	if in.Action.Self() {
		if err := checkPrincipal(r, tenant, in.Principal); err != nil {
			return "", err
		}
	}
	switch typ {
	case directory.TypeUser:
		return pim.UserPrincipal, nil
	case directory.TypeServicePrincipal:
		return pim.ServicePrincipal, nil
	case directory.TypeGroup:
		return pim.GroupPrincipal, checkGroupPrincipal(r, tenant, in)
	}
	return "", errs.New(errs.Invalid, "Objects of type %s cannot hold privileges.", typ)
}

func checkGroupPrincipal(r store.Reader, tenant directory.TenantID, in *NewRequest) error {
	g, err := state.Groups.Get(r, state.Key(tenant, in.Principal))
	if err != nil {
		return err
	}
	switch in.Target.Kind {
	case pim.DirectoryRole:
		if !g.IsAssignableToRole {
			return errs.New(errs.Invalid, "Only groups that are assignable to roles can have a directory role.")
		}
	case pim.Group:
		if string(in.Principal) == in.Target.Scope {
			return errs.New(errs.Invalid, "A group cannot be a member of itself.")
		}
		if in.Sort == pim.Eligible {
			return nil // its members activate, each for themselves
		}
		if in.Target.Role == pim.Owner {
			return errs.New(errs.Invalid, "A group cannot own a group.")
		}
		t, err := state.Groups.Get(r, state.Key(tenant, directory.ObjectID(in.Target.Scope)))
		if err == nil && t.IsAssignableToRole && in.Action != pim.AdminRemove {
			return errs.New(errs.Invalid, "Groups cannot be added as members of a role-assignable group.")
		}
	}
	return nil
}

func sameScope(written, folded string) bool {
	if s := strings.TrimSuffix(written, "/"); s != "" {
		written = s
	}
	return state.Fold(written) == folded
}
