package graph

import (
	"net/http"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/model"
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

type handler = func(*wire.Call) (*wire.Response, error)

func get(pattern string, a *wire.Access, h handler) wire.Route {
	return wire.Route{Method: http.MethodGet, Pattern: pattern, Access: a, Handle: h}
}

// ask is a POST that changes nothing.
func ask(pattern string, a *wire.Access, h handler) wire.Route {
	return wire.Route{Method: http.MethodPost, Pattern: pattern, Access: a, Handle: h}
}

func write(method, pattern string, a *wire.Access, category, activity string, h handler) wire.Route {
	return wire.Route{Method: method, Pattern: pattern, Access: a, Category: category, Activity: activity, Handle: h}
}

const (
	post  = http.MethodPost
	patch = http.MethodPatch
	del   = http.MethodDelete
)

// routes is the table.
func (s *Service) routes() []wire.Route {
	r := []wire.Route{
		get("users", usersRead, s.listUsers),
		get("users/$count", usersRead, s.countUsers),
		write(post, "users", usersCreate, catUser, "Add user", s.createUser),
		get("users/{id}", usersRead, s.getUser),
		write(patch, "users/{id}", usersWrite, catUser, "Update user", s.updateUser),
		write(del, "users/{id}", usersDelete, catUser, "Delete user", s.deleteUser),
		write(post, "users/{id}/revokeSignInSessions", sessionsRevoke, catUser, "Update StsRefreshTokenValidFrom Timestamp", s.revokeSessions),
		write(post, "users/{id}/invalidateAllRefreshTokens", sessionsRevoke, catUser, "Update StsRefreshTokenValidFrom Timestamp", s.revokeSessions),
		write(post, "users/{id}/changePassword", self, catUser, "Change user password", s.changePassword),

		get("groups", groupsRead, s.listGroups),
		get("groups/$count", groupsRead, s.countGroups),
		write(post, "groups", groupsCreate, catGroup, "Add group", s.createGroup),
		get("groups/{id}", groupsRead, s.getGroup),
		write(patch, "groups/{id}", groupsWrite, catGroup, "Update group", s.updateGroup),
		write(del, "groups/{id}", groupsWrite, catGroup, "Delete group", s.deleteGroup),
		write(post, "groups/{id}/members/$ref", membersWrite, catGroup, "Add member to group", s.addMember),
		write(del, "groups/{id}/members/{id}/$ref", membersWrite, catGroup, "Remove member from group", s.removeMember),
		write(post, "groups/{id}/owners/$ref", groupsWrite, catGroup, "Add owner to group", s.addOwner),
		write(del, "groups/{id}/owners/{id}/$ref", groupsWrite, catGroup, "Remove owner from group", s.removeOwner),

		get("applications", appsList, s.listApplications),
		get("applications/$count", appsList, s.countApplications),
		write(post, "applications", appsCreate, catApplication, "Add application", s.createApplication),
		get("applications/{id}", appsRead, s.getApplication),
		write(patch, "applications/{id}", appsWrite, catApplication, "Update application", s.updateApplication),
		write(del, "applications/{id}", appsWrite, catApplication, "Delete application", s.deleteApplication),
		get("applications/{id}/federatedIdentityCredentials", appsRead, s.listFederated),
		get("applications/{id}/federatedIdentityCredentials/{id}", appsRead, s.getFederated),
		write(post, "applications/{id}/federatedIdentityCredentials", appsWrite, catApplication, "Update application – Certificates and secrets management", s.createFederated),
		write(patch, "applications/{id}/federatedIdentityCredentials/{id}", appsWrite, catApplication, "Update application – Certificates and secrets management", s.updateFederated),
		write(del, "applications/{id}/federatedIdentityCredentials/{id}", appsWrite, catApplication, "Update application – Certificates and secrets management", s.deleteFederated),

		get("servicePrincipals", appsList, s.listServicePrincipals),
		get("servicePrincipals/$count", appsList, s.countServicePrincipals),
		write(post, "servicePrincipals", appsCreate, catApplication, "Add service principal", s.createServicePrincipal),
		get("servicePrincipals/{id}", appsRead, s.getServicePrincipal),
		write(patch, "servicePrincipals/{id}", appsWrite, catApplication, "Update service principal", s.updateServicePrincipal),
		write(del, "servicePrincipals/{id}", appsWrite, catApplication, "Remove service principal", s.deleteServicePrincipal),

		get("devices", devicesRead, s.listDevices),
		get("devices/$count", devicesRead, s.countDevices),
		write(post, "devices", devicesWrite, catDevice, "Add device", s.createDevice),
		get("devices/{id}", devicesRead, s.getDevice),
		write(patch, "devices/{id}", devicesWrite, catDevice, "Update device", s.updateDevice),
		write(del, "devices/{id}", devicesWrite, catDevice, "Delete device", s.deleteDevice),

		ask("directoryObjects/getByIds", objectsRead, s.getByIds),
		ask("directoryObjects/validateProperties", objectsRead, s.validateProperties),
		get("directoryObjects/{id}", objectsRead, s.getObject),
		write(del, "directoryObjects/{id}", anyone, catDirectory, "Delete object", s.deleteObject),
		get("directory/deletedItems/microsoft.graph.user", itemsRead, s.listDeleted(model.User)),
		get("directory/deletedItems/microsoft.graph.group", itemsRead, s.listDeleted(model.Group)),
		get("directory/deletedItems/microsoft.graph.application", itemsRead, s.listDeleted(model.Application)),
		get("directory/deletedItems/{id}", itemsRead, s.getDeleted),
		write(post, "directory/deletedItems/{id}/restore", itemsWrite, catDirectory, "Restore object", s.restore),
		write(del, "directory/deletedItems/{id}", itemsWrite, catDirectory, "Hard Delete object", s.purge),

		get("oauth2PermissionGrants", grantsRead, s.listGrants),
		write(post, "oauth2PermissionGrants", grantsWrite, catApplication, "Add delegated permission grant", s.createGrant),
		get("oauth2PermissionGrants/{id}", grantsRead, s.getGrant),
		write(patch, "oauth2PermissionGrants/{id}", grantsWrite, catApplication, "Update delegated permission grant", s.updateGrant),
		write(del, "oauth2PermissionGrants/{id}", grantsWrite, catApplication, "Remove delegated permission grant", s.deleteGrant),
		get("servicePrincipals/{id}/oauth2PermissionGrants", grantsRead, s.grantsOf("client")),
		get("users/{id}/oauth2PermissionGrants", grantsRead, s.grantsOf("user")),

		get("directoryRoles", rolesRead, s.roleList(model.DirectoryRole)),
		write(post, "directoryRoles", rolesWrite, catRole, "Add role from template", s.activateRole),
		get("directoryRoles/{id}", rolesRead, s.roleGet(model.DirectoryRole)),
		get("directoryRoles/{id}/members", rolesRead, s.roleMembers),
		write(post, "directoryRoles/{id}/members/$ref", rolesWrite, catRole, "Add member to role", s.addRoleMember),
		write(del, "directoryRoles/{id}/members/{id}/$ref", rolesWrite, catRole, "Remove member from role", s.removeRoleMember),
		get("directoryRoleTemplates", rolesRead, s.roleList(model.DirectoryRoleTemplate)),
		get("directoryRoleTemplates/{id}", rolesRead, s.roleGet(model.DirectoryRoleTemplate)),
		get("roleManagement/directory/roleDefinitions", rolesRead, s.roleList(model.RoleDefinition)),
		get("roleManagement/directory/roleDefinitions/{id}", rolesRead, s.roleGet(model.RoleDefinition)),
		get("roleManagement/directory/roleAssignments", rolesRead, s.listRoleAssignments),
		write(post, "roleManagement/directory/roleAssignments", rolesWrite, catRole, "Add member to role", s.createRoleAssignment),
		get("roleManagement/directory/roleAssignments/{id}", rolesRead, s.getRoleAssignment),
		write(del, "roleManagement/directory/roleAssignments/{id}", rolesWrite, catRole, "Remove member from role", s.deleteRoleAssignment),

		get("organization", organizationRead, s.listOrganization),
		get("organization/{id}", organizationRead, s.getOrganization),
		write(patch, "organization/{id}", organizationWrite, catDirectory, "Set Company Information", s.updateOrganization),
		get("domains", domainsRead, s.listDomains),
		get("domains/{id}", domainsRead, s.getDomain),
	}
	for _, set := range []string{"applications", "servicePrincipals"} {
		name := map[string]string{"applications": "application", "servicePrincipals": "service principal"}[set]
		manage := "Update " + name + " – Certificates and secrets management"
		r = append(r,
			write(post, set+"/{id}/addPassword", appsWrite, catApplication, manage, s.addPassword),
			write(post, set+"/{id}/removePassword", appsWrite, catApplication, manage, s.removePassword),
			write(post, set+"/{id}/addKey", keysRoll, catApplication, manage, s.addKey),
			write(post, set+"/{id}/removeKey", keysRoll, catApplication, manage, s.removeKey),
			write(post, set+"/{id}/owners/$ref", appsWrite, catApplication, "Add owner to "+name, s.addOwner),
			write(del, set+"/{id}/owners/{id}/$ref", appsWrite, catApplication, "Remove owner from "+name, s.removeOwner),
		)
	}
	for _, a := range []struct {
		pattern, index string
		write          *wire.Access
	}{
		{"users/{id}/appRoleAssignments", "principal", assignmentsWrite},
		{"groups/{id}/appRoleAssignments", "principal", assignmentsWrite},
		{"servicePrincipals/{id}/appRoleAssignments", "principal", assignmentsWrite},
		{"servicePrincipals/{id}/appRoleAssignedTo", "resource", assignedWrite},
	} {
		r = append(r,
			get(a.pattern, assignmentsRead, s.assignments(a.index)),
			get(a.pattern+"/{id}", assignmentsRead, s.getAssignment(a.index)),
			write(post, a.pattern, a.write, catApplication, "Add app role assignment", s.createAssignment(a.index)),
			write(del, a.pattern+"/{id}", a.write, catApplication, "Remove app role assignment", s.deleteAssignment(a.index)),
		)
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
		{"applications/{id}/owners", appsRead, owners, []*model.Kind{model.User, model.ServicePrincipal}},
		{"servicePrincipals/{id}/owners", appsRead, owners, []*model.Kind{model.User, model.ServicePrincipal}},
		{"devices/{id}/registeredOwners", devicesRead, owners, []*model.Kind{model.User}},
		{"users/{id}/memberOf", membershipsRead, model.MemberOf, above},
		{"users/{id}/transitiveMemberOf", membershipsRead, model.TransitiveMemberOf, above},
		{"groups/{id}/memberOf", groupsRead, model.MemberOf, above},
		{"groups/{id}/transitiveMemberOf", groupsRead, model.TransitiveMemberOf, above},
		{"servicePrincipals/{id}/memberOf", appsRead, model.MemberOf, above},
		{"servicePrincipals/{id}/transitiveMemberOf", appsRead, model.TransitiveMemberOf, above},
		{"devices/{id}/memberOf", devicesRead, model.MemberOf, above},
		{"devices/{id}/transitiveMemberOf", devicesRead, model.TransitiveMemberOf, above},
		{"users/{id}/ownedObjects", membershipsRead, model.OwnedObjects, []*model.Kind{model.Application, model.ServicePrincipal, model.Group}},
		{"servicePrincipals/{id}/ownedObjects", appsRead, model.OwnedObjects, []*model.Kind{model.Application, model.ServicePrincipal, model.Group}},
	}
	for _, n := range navigation {
		r = append(r,
			get(n.pattern, n.access, s.related(n.of, nil, false)),
			get(n.pattern+"/$count", n.access, s.related(n.of, nil, true)),
			get(n.pattern+"/$ref", n.access, s.references(n.of)),
		)
		for _, k := range n.casts {
			r = append(r,
				get(n.pattern+"/microsoft.graph."+k.Name, n.access, s.related(n.of, k, false)),
				get(n.pattern+"/microsoft.graph."+k.Name+"/$count", n.access, s.related(n.of, k, true)),
			)
		}
	}
	for _, set := range []struct {
		name   string
		access *wire.Access
	}{{"users", membershipsRead}, {"groups", groupsRead}, {"servicePrincipals", appsRead}, {"devices", devicesRead}, {"directoryObjects", objectsRead}} {
		r = append(r,
			ask(set.name+"/{id}/getMemberGroups", set.access, s.memberGroups),
			ask(set.name+"/{id}/getMemberObjects", set.access, s.memberObjects),
			ask(set.name+"/{id}/checkMemberGroups", set.access, s.checkGroups),
			ask(set.name+"/{id}/checkMemberObjects", set.access, s.checkObjects),
		)
	}
	return r
}
