package graph

import (
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/wire"
)

// The rules of the routes, by what they protect. Permissions are those that
// Microsoft's reference lists for the operations; the directory roles and what
// members may do are those of a tenant with default settings.

var readers = []string{
	directory.DirectoryReaders, directory.UserAdministrator, directory.GroupsAdministrator, directory.ApplicationAdministrator,
	directory.CloudApplicationAdministrator, directory.PrivilegedRoleAdministrator, directory.ConditionalAccessAdministrator,
	directory.SecurityAdministrator, directory.SecurityReader, directory.AuthenticationAdministrator, directory.CloudDeviceAdministrator,
}

const (
	userReadBasic   = "User.ReadBasic.All"
	userRead        = "User.Read.All"
	userWrite       = "User.ReadWrite.All"
	groupRead       = "Group.Read.All"
	groupWrite      = "Group.ReadWrite.All"
	memberRead      = "GroupMember.Read.All"
	memberWrite     = "GroupMember.ReadWrite.All"
	directoryRead   = "Directory.Read.All"
	directoryWrite  = "Directory.ReadWrite.All"
	appRead         = "Application.Read.All"
	appWrite        = "Application.ReadWrite.All"
	appOwned        = "Application.ReadWrite.OwnedBy"
	roleRead        = "RoleManagement.Read.Directory"
	roleWrite       = "RoleManagement.ReadWrite.Directory"
	deviceRead      = "Device.Read.All"
	deviceWrite     = "Device.ReadWrite.All"
	grantWrite      = "DelegatedPermissionGrant.ReadWrite.All"
	assignmentWrite = "AppRoleAssignment.ReadWrite.All"
)

var (
	usersRead = &wire.Access{
		Permissions: []string{userReadBasic, userRead, userWrite, directoryRead, directoryWrite}, Roles: readers, Read: true, Members: true,
		Self: true, SelfPermissions: []string{"User.Read", "User.ReadWrite"},
	}
	usersCreate = &wire.Access{Permissions: []string{userWrite, directoryWrite}, Roles: []string{directory.UserAdministrator}}
	usersWrite  = &wire.Access{
		Permissions: []string{userWrite, directoryWrite}, Roles: []string{directory.UserAdministrator, directory.AuthenticationAdministrator},
		Self: true, SelfPermissions: []string{"User.ReadWrite"},
	}
	usersDelete = &wire.Access{Permissions: []string{userWrite, directoryWrite}, Roles: []string{directory.UserAdministrator}}
	// passwordsReset is asked for besides usersWrite when a password is set.
	// Application permissions alone do not suffice, as in Microsoft Graph.
	passwordsReset = &wire.Access{Delegated: []string{userWrite, directoryWrite}, Roles: []string{directory.UserAdministrator, directory.AuthenticationAdministrator}}
	// usersAdminister is asked for when more than one's own contact data change.
	usersAdminister = &wire.Access{Permissions: []string{userWrite, directoryWrite}, Roles: []string{directory.UserAdministrator}}
	sessionsRevoke  = &wire.Access{
		Permissions: []string{userWrite, directoryWrite}, Roles: []string{directory.UserAdministrator, directory.AuthenticationAdministrator},
		Self: true, SelfPermissions: []string{"User.ReadWrite"},
	}
	self = &wire.Access{Permissions: []string{userWrite, directoryWrite}, Self: true, SelfPermissions: []string{"User.ReadWrite"}}

	membershipsRead = &wire.Access{
		Permissions: []string{userRead, userWrite, groupRead, groupWrite, memberRead, memberWrite, directoryRead, directoryWrite, appRead, appWrite},
		Roles:       readers, Read: true, Members: true, Self: true, SelfPermissions: []string{"User.Read", "User.ReadWrite"},
	}

	groupsRead = &wire.Access{
		Permissions: []string{memberRead, memberWrite, groupRead, groupWrite, directoryRead, directoryWrite},
		Roles:       readers, Read: true, Members: true, Owner: true,
	}
	groupsCreate = &wire.Access{Permissions: []string{groupWrite, directoryWrite}, Roles: []string{directory.GroupsAdministrator, directory.UserAdministrator}, Members: true}
	groupsWrite  = &wire.Access{Permissions: []string{groupWrite, directoryWrite}, Roles: []string{directory.GroupsAdministrator, directory.UserAdministrator}, Owner: true}
	membersWrite = &wire.Access{Permissions: []string{memberWrite, groupWrite, directoryWrite}, Roles: []string{directory.GroupsAdministrator, directory.UserAdministrator}, Owner: true}
	// roleGroupsWrite is asked for besides when the group can have directory
	// roles: who changes it hands them out.
	roleGroupsWrite = &wire.Access{Permissions: []string{roleWrite}, Roles: []string{directory.PrivilegedRoleAdministrator}, Owner: true}
	roleGroupsMake  = &wire.Access{Permissions: []string{roleWrite}, Roles: []string{directory.PrivilegedRoleAdministrator}}

	appAdministrators = []string{directory.ApplicationAdministrator, directory.CloudApplicationAdministrator}
	appsRead          = &wire.Access{
		Permissions: []string{appRead, appWrite, directoryRead, directoryWrite}, Roles: readers, Read: true, Members: true, Owner: true,
		OwnerPermissions: []string{appOwned},
	}
	appsList = &wire.Access{
		Permissions: []string{appRead, appWrite, appOwned, directoryRead, directoryWrite}, Roles: readers, Read: true, Members: true,
	}
	appsCreate = &wire.Access{Permissions: []string{appWrite, appOwned}, Delegated: []string{directoryWrite}, Roles: appAdministrators, Members: true}
	appsWrite  = &wire.Access{Permissions: []string{appWrite}, Delegated: []string{directoryWrite}, Roles: appAdministrators, Owner: true, OwnerPermissions: []string{appOwned}}
	// keysRoll lets an application change its own keys too: the proof that its
	// handlers demand stands in for the permission.
	keysRoll = &wire.Access{Permissions: []string{appWrite}, Delegated: []string{directoryWrite}, Roles: appAdministrators, Owner: true, OwnerPermissions: []string{appOwned}, SelfClient: true}
	// clientsCreate is asked for when a service principal is made of another's
	// application.
	clientsCreate = &wire.Access{Permissions: []string{appWrite}, Delegated: []string{directoryWrite}, Roles: appAdministrators, Owner: true, OwnerPermissions: []string{appOwned}}

	devicesRead  = &wire.Access{Permissions: []string{deviceRead, deviceWrite, directoryRead, directoryWrite}, Roles: readers, Read: true, Members: true}
	devicesWrite = &wire.Access{Permissions: []string{deviceWrite}, Delegated: []string{directoryWrite}, Roles: []string{directory.CloudDeviceAdministrator}}

	// objectsRead lets a caller name objects of any kind.
	objectsRead = &wire.Access{Permissions: []string{directoryRead, directoryWrite, userRead, userWrite, groupRead, groupWrite, appRead, appWrite, deviceRead}, Roles: readers, Read: true, Members: true}

	grantsRead  = &wire.Access{Permissions: []string{directoryRead, directoryWrite, grantWrite}, Roles: readers, Read: true, Members: true}
	grantsWrite = &wire.Access{
		Permissions: []string{grantWrite, directoryWrite},
		Roles:       append([]string{directory.PrivilegedRoleAdministrator}, appAdministrators...),
	}
	assignmentsRead = &wire.Access{
		Permissions: []string{appRead, appWrite, assignmentWrite, directoryRead, directoryWrite}, Roles: readers, Read: true, Members: true,
		Owner: true, OwnerPermissions: []string{appOwned}, Self: true, SelfPermissions: []string{"User.Read"},
	}
	assignmentsWrite = &wire.Access{
		Permissions: []string{assignmentWrite},
		Roles:       append([]string{directory.PrivilegedRoleAdministrator, directory.UserAdministrator}, appAdministrators...),
	}
	// assignedWrite lets the owners of a resource assign people to it too.
	assignedWrite = &wire.Access{
		Permissions: []string{assignmentWrite}, Owner: true,
		Roles: append([]string{directory.PrivilegedRoleAdministrator, directory.UserAdministrator}, appAdministrators...),
	}
	// clientAssignmentsWrite is asked for besides when an application gets a
	// permission, and consentWrite when it is one on Microsoft Graph: that can
	// be worth as much as any role.
	clientAssignmentsWrite = &wire.Access{
		Permissions: []string{assignmentWrite}, Owner: true,
		Roles: append([]string{directory.PrivilegedRoleAdministrator}, appAdministrators...),
	}
	consentWrite = &wire.Access{Permissions: []string{assignmentWrite}, Roles: []string{directory.PrivilegedRoleAdministrator}}

	rolesRead = &wire.Access{
		Permissions: []string{roleRead, roleWrite, directoryRead, directoryWrite}, Roles: readers, Read: true, Members: true,
	}
	rolesWrite = &wire.Access{Permissions: []string{roleWrite}, Roles: []string{directory.PrivilegedRoleAdministrator}}

	groupsDeleted = &wire.Access{Permissions: []string{groupWrite, directoryWrite}, Roles: []string{directory.GroupsAdministrator, directory.UserAdministrator}}
	appsDeleted   = &wire.Access{Permissions: []string{appWrite}, Delegated: []string{directoryWrite}, Roles: appAdministrators}
	// itemsRead and itemsWrite open the deleted items; the rule of the item's
	// own kind is asked for besides.
	itemsRead  = &wire.Access{Permissions: []string{userRead, userWrite, groupRead, groupWrite, appRead, appWrite, directoryRead, directoryWrite}, Roles: readers, Read: true}
	itemsWrite = &wire.Access{Permissions: []string{userWrite, groupWrite, appWrite, directoryWrite}, Roles: append([]string{directory.UserAdministrator, directory.GroupsAdministrator}, appAdministrators...)}

	organizationRead = &wire.Access{
		Permissions: []string{"Organization.Read.All", directoryRead, directoryWrite, userRead, userWrite}, Delegated: []string{"User.Read"},
		Roles: readers, Read: true, Members: true, Guests: true,
	}
	organizationWrite = &wire.Access{Permissions: []string{"Organization.ReadWrite.All"}}
	domainsRead       = &wire.Access{Permissions: []string{"Domain.Read.All", directoryRead, directoryWrite}, Roles: readers, Read: true, Members: true}

	// anyone is for a route that leads to objects of every kind: its handler
	// asks the rule of the kind that it finds.
	anyone = &wire.Access{Public: true}
)
