package graph

import (
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
)

// The rules of the routes, by what they protect. Permissions are those that
// Microsoft's reference lists for the operations; the directory roles and what
// members may do are those of a tenant with default settings.

var (
	usersCreate = &wire.Access{Permissions: []string{resource.UserWrite, resource.DirectoryWrite}, Roles: []string{directory.UserAdministrator}}
	usersWrite  = &wire.Access{
		Permissions: []string{resource.UserWrite, resource.DirectoryWrite}, Roles: []string{directory.UserAdministrator, directory.AuthenticationAdministrator},
		Self: true, SelfPermissions: []string{"User.ReadWrite"},
	}
	usersDelete = &wire.Access{Permissions: []string{resource.UserWrite, resource.DirectoryWrite}, Roles: []string{directory.UserAdministrator}}
	// passwordsReset is asked for besides usersWrite when a password is set.
	// Application permissions alone do not suffice, as in Microsoft Graph.
	passwordsReset = &wire.Access{Delegated: []string{resource.UserWrite, resource.DirectoryWrite}, Roles: []string{directory.UserAdministrator, directory.AuthenticationAdministrator}}
	methodsReset   = &wire.Access{Delegated: []string{"UserAuthenticationMethod.ReadWrite.All"}, Roles: []string{directory.UserAdministrator, directory.AuthenticationAdministrator}}
	// usersAdminister is asked for when more than one's own contact data change.
	usersAdminister = &wire.Access{Permissions: []string{resource.UserWrite, resource.DirectoryWrite}, Roles: []string{directory.UserAdministrator}}
	sessionsRevoke  = &wire.Access{
		Permissions: []string{resource.UserWrite, resource.DirectoryWrite}, Roles: []string{directory.UserAdministrator, directory.AuthenticationAdministrator},
		Self: true, SelfPermissions: []string{"User.ReadWrite"},
	}
	self = &wire.Access{Permissions: []string{resource.UserWrite, resource.DirectoryWrite}, Self: true, SelfPermissions: []string{"User.ReadWrite"}}

	membershipsRead = &wire.Access{
		Permissions: []string{resource.UserRead, resource.UserWrite, resource.GroupRead, resource.GroupWrite, resource.MemberRead, resource.MemberWrite, resource.DirectoryRead, resource.DirectoryWrite, resource.AppRead, resource.AppWrite},
		Roles:       resource.Readers, Read: true, Members: true, Self: true, SelfPermissions: []string{"User.Read", "User.ReadWrite"},
	}

	groupsRead = &wire.Access{
		Permissions: []string{resource.MemberRead, resource.MemberWrite, resource.GroupRead, resource.GroupWrite, resource.DirectoryRead, resource.DirectoryWrite},
		Roles:       resource.Readers, Read: true, Members: true, Owner: true,
	}
	groupsCreate = &wire.Access{Permissions: []string{resource.GroupWrite, resource.DirectoryWrite}, Roles: []string{directory.GroupsAdministrator, directory.UserAdministrator}, Members: true}
	groupsWrite  = &wire.Access{Permissions: []string{resource.GroupWrite, resource.DirectoryWrite}, Roles: []string{directory.GroupsAdministrator, directory.UserAdministrator}, Owner: true}
	membersWrite = &wire.Access{Permissions: []string{resource.MemberWrite, resource.GroupWrite, resource.DirectoryWrite}, Roles: []string{directory.GroupsAdministrator, directory.UserAdministrator}, Owner: true}
	// roleGroupsMake is asked for when a group that can have directory roles is
	// made.
	roleGroupsMake = &wire.Access{Permissions: []string{resource.RoleWrite}, Roles: []string{directory.PrivilegedRoleAdministrator}}

	devicesRead  = &wire.Access{Permissions: []string{resource.DeviceRead, resource.DeviceWrite, resource.DirectoryRead, resource.DirectoryWrite}, Roles: resource.Readers, Read: true, Members: true}
	devicesWrite = &wire.Access{Permissions: []string{resource.DeviceWrite}, Delegated: []string{resource.DirectoryWrite}, Roles: []string{directory.CloudDeviceAdministrator}}

	// objectsRead lets a caller name objects of any kind.
	objectsRead = &wire.Access{Permissions: []string{resource.DirectoryRead, resource.DirectoryWrite, resource.UserRead, resource.UserWrite, resource.GroupRead, resource.GroupWrite, resource.AppRead, resource.AppWrite, resource.DeviceRead}, Roles: resource.Readers, Read: true, Members: true}

	rolesRead = &wire.Access{
		Permissions: []string{resource.RoleRead, resource.RoleWrite, resource.DirectoryRead, resource.DirectoryWrite}, Roles: resource.Readers, Read: true, Members: true,
	}
	rolesWrite = &wire.Access{Permissions: []string{resource.RoleWrite}, Roles: []string{directory.PrivilegedRoleAdministrator}}

	// itemsRead and itemsWrite open the deleted items; the rule of the item's
	// own kind is asked for besides.
	itemsRead  = &wire.Access{Permissions: []string{resource.UserRead, resource.UserWrite, resource.GroupRead, resource.GroupWrite, resource.AppRead, resource.AppWrite, resource.DirectoryRead, resource.DirectoryWrite}, Roles: resource.Readers, Read: true}
	itemsWrite = &wire.Access{Permissions: []string{resource.UserWrite, resource.GroupWrite, resource.AppWrite, resource.DirectoryWrite}, Roles: []string{directory.UserAdministrator, directory.GroupsAdministrator, directory.ApplicationAdministrator, directory.CloudApplicationAdministrator}}

	organizationRead = &wire.Access{
		Permissions: []string{"Organization.Read.All", resource.DirectoryRead, resource.DirectoryWrite, resource.UserRead, resource.UserWrite}, Delegated: []string{"User.Read"},
		Roles: resource.Readers, Read: true, Members: true, Guests: true,
	}
	organizationWrite = &wire.Access{Permissions: []string{"Organization.ReadWrite.All"}}
	domainsRead       = &wire.Access{Permissions: []string{"Domain.Read.All", resource.DirectoryRead, resource.DirectoryWrite}, Roles: resource.Readers, Read: true, Members: true}

	// anyone is for a route that leads to objects of every kind: its handler
	// asks the rule of the kind that it finds.
	anyone = &wire.Access{Public: true}
)
