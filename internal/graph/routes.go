package graph

import (
	"net/http"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/apps"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
)

// Categories of the audit log.
const (
	catUser        = "UserManagement"
	catGroup       = "GroupManagement"
	catApplication = "ApplicationManagement"
	catRole        = "RoleManagement"
	catDevice      = "Device"
	catDirectory   = "DirectoryManagement"
)

const (
	post  = http.MethodPost
	patch = http.MethodPatch
	del   = http.MethodDelete
)

// routes is the table.
func (s *Service) routes() []wire.Route {
	r := []wire.Route{
		wire.Get("users", resource.UsersRead, s.listUsers),
		wire.Get("users/$count", resource.UsersRead, s.countUsers),
		wire.Write(post, "users", usersCreate, catUser, "Add user", s.createUser),
		wire.Get("users/{id}", resource.UsersRead, s.getUser),
		wire.Write(patch, "users/{id}", usersWrite, catUser, "Update user", s.updateUser),
		wire.Write(del, "users/{id}", usersDelete, catUser, "Delete user", s.deleteUser),
		wire.Write(post, "users/{id}/revokeSignInSessions", sessionsRevoke, catUser, "Update StsRefreshTokenValidFrom Timestamp", s.revokeSessions),
		wire.Write(post, "users/{id}/invalidateAllRefreshTokens", sessionsRevoke, catUser, "Update StsRefreshTokenValidFrom Timestamp", s.revokeSessions),
		wire.Write(post, "users/{id}/authentication/methods/{id}/resetPassword", methodsReset, catUser, "Reset user password", s.resetPassword),
		wire.Write(post, "users/{id}/changePassword", self, catUser, "Change user password", s.changePassword),

		wire.Get("groups", groupsRead, s.listGroups),
		wire.Get("groups/$count", groupsRead, s.countGroups),
		wire.Write(post, "groups", groupsCreate, catGroup, "Add group", s.createGroup),
		wire.Get("groups/{id}", groupsRead, s.getGroup),
		wire.Write(patch, "groups/{id}", groupsWrite, catGroup, "Update group", s.updateGroup),
		wire.Write(del, "groups/{id}", groupsWrite, catGroup, "Delete group", s.deleteGroup),
		wire.Write(post, "groups/{id}/members/$ref", membersWrite, catGroup, "Add member to group", s.addMember),
		wire.Write(del, "groups/{id}/members/{id}/$ref", membersWrite, catGroup, "Remove member from group", s.removeMember),
		wire.Write(post, "groups/{id}/owners/$ref", groupsWrite, catGroup, "Add owner to group", resource.AddOwner),
		wire.Write(del, "groups/{id}/owners/{id}/$ref", groupsWrite, catGroup, "Remove owner from group", resource.RemoveOwner),

		wire.Get("devices", devicesRead, s.listDevices),
		wire.Get("devices/$count", devicesRead, s.countDevices),
		wire.Write(post, "devices", devicesWrite, catDevice, "Add device", s.createDevice),
		wire.Get("devices/{id}", devicesRead, s.getDevice),
		wire.Write(patch, "devices/{id}", devicesWrite, catDevice, "Update device", s.updateDevice),
		wire.Write(del, "devices/{id}", devicesWrite, catDevice, "Delete device", s.deleteDevice),

		wire.Ask("directoryObjects/getByIds", objectsRead, s.getByIds),
		wire.Ask("directoryObjects/validateProperties", objectsRead, s.validateProperties),
		wire.Get("directoryObjects/{id}", objectsRead, s.getObject),
		wire.Write(del, "directoryObjects/{id}", anyone, catDirectory, "Delete object", s.deleteObject),
		wire.Get("directory/deletedItems/microsoft.graph.user", itemsRead, s.listDeleted(model.User)),
		wire.Get("directory/deletedItems/microsoft.graph.group", itemsRead, s.listDeleted(model.Group)),
		wire.Get("directory/deletedItems/microsoft.graph.application", itemsRead, s.listDeleted(model.Application)),
		wire.Get("directory/deletedItems/microsoft.graph.servicePrincipal", itemsRead, s.listDeleted(model.ServicePrincipal)),
		wire.Get("directory/deletedItems/{id}", itemsRead, s.getDeleted),
		wire.Write(post, "directory/deletedItems/{id}/restore", itemsWrite, catDirectory, "Restore object", s.restore),
		wire.Write(del, "directory/deletedItems/{id}", itemsWrite, catDirectory, "Hard Delete object", s.purge),

		wire.Get("directoryRoles", rolesRead, s.roleList(model.DirectoryRole)),
		wire.Write(post, "directoryRoles", rolesWrite, catRole, "Add role from template", s.activateRole),
		wire.Get("directoryRoles/{id}", rolesRead, s.roleGet(model.DirectoryRole)),
		wire.Get("directoryRoles/{id}/members", rolesRead, s.roleMembers),
		wire.Write(post, "directoryRoles/{id}/members/$ref", rolesWrite, catRole, "Add member to role", s.addRoleMember),
		wire.Write(del, "directoryRoles/{id}/members/{id}/$ref", rolesWrite, catRole, "Remove member from role", s.removeRoleMember),
		wire.Get("directoryRoleTemplates", rolesRead, s.roleList(model.DirectoryRoleTemplate)),
		wire.Get("directoryRoleTemplates/{id}", rolesRead, s.roleGet(model.DirectoryRoleTemplate)),
		wire.Get("roleManagement/directory/roleDefinitions", rolesRead, s.roleList(model.RoleDefinition)),
		wire.Get("roleManagement/directory/roleDefinitions/{id}", rolesRead, s.roleGet(model.RoleDefinition)),
		wire.Get("roleManagement/directory/roleAssignments", rolesRead, s.listRoleAssignments),
		wire.Write(post, "roleManagement/directory/roleAssignments", rolesWrite, catRole, "Add member to role", s.createRoleAssignment),
		wire.Get("roleManagement/directory/roleAssignments/{id}", rolesRead, s.getRoleAssignment),
		wire.Write(del, "roleManagement/directory/roleAssignments/{id}", rolesWrite, catRole, "Remove member from role", s.deleteRoleAssignment),

		wire.Get("organization", organizationRead, s.listOrganization),
		wire.Get("organization/{id}", organizationRead, s.getOrganization),
		wire.Write(patch, "organization/{id}", organizationWrite, catDirectory, "Set Company Information", s.updateOrganization),
		wire.Get("domains", domainsRead, s.listDomains),
		wire.Get("domains/{id}", domainsRead, s.getDomain),
	}
	members := func(o *model.Object) []*model.Object { return model.Linked(directory.Member, o) }
	owners := func(o *model.Object) []*model.Object { return model.Linked(directory.Owner, o) }
	everyone := []*model.Kind{model.User, model.Group, model.ServicePrincipal, model.Device}
	above := []*model.Kind{model.Group, model.DirectoryRole}
	navigation := []struct {
		pattern string
		access  *wire.Access
		of      func(*model.Object) []*model.Object
		casts   []*model.Kind
	}{
		{"groups/{id}/members", groupsRead, members, everyone},
		{"groups/{id}/transitiveMembers", groupsRead, model.TransitiveMembers, everyone},
		{"groups/{id}/owners", groupsRead, owners, []*model.Kind{model.User, model.ServicePrincipal}},
		{"devices/{id}/registeredOwners", devicesRead, owners, []*model.Kind{model.User}},
		{"users/{id}/memberOf", membershipsRead, model.MemberOf, above},
		{"users/{id}/transitiveMemberOf", membershipsRead, model.TransitiveMemberOf, above},
		{"groups/{id}/memberOf", groupsRead, model.MemberOf, above},
		{"groups/{id}/transitiveMemberOf", groupsRead, model.TransitiveMemberOf, above},
		{"devices/{id}/memberOf", devicesRead, model.MemberOf, above},
		{"devices/{id}/transitiveMemberOf", devicesRead, model.TransitiveMemberOf, above},
		{"users/{id}/ownedDevices", devicesRead, model.OwnedDevices, []*model.Kind{model.Device}},
		// Who registers a device owns it here: the two lists are one.
		{"users/{id}/registeredDevices", devicesRead, model.OwnedDevices, []*model.Kind{model.Device}},
		{"users/{id}/ownedObjects", membershipsRead, model.OwnedObjects, []*model.Kind{model.Application, model.ServicePrincipal, model.Group}},
	}
	for _, n := range navigation {
		r = append(r, resource.Navigation(n.pattern, n.access, n.of, n.casts...)...)
	}
	for _, set := range []struct {
		name   string
		access *wire.Access
	}{{"users", membershipsRead}, {"groups", groupsRead}, {"servicePrincipals", apps.Read}, {"devices", devicesRead}, {"directoryObjects", objectsRead}} {
		r = append(r,
			wire.Ask(set.name+"/{id}/getMemberGroups", set.access, s.memberGroups),
			wire.Ask(set.name+"/{id}/getMemberObjects", set.access, s.memberObjects),
			wire.Ask(set.name+"/{id}/checkMemberGroups", set.access, s.checkGroups),
			wire.Ask(set.name+"/{id}/checkMemberObjects", set.access, s.checkObjects),
		)
	}
	return append(r, apps.Routes()...)
}
