package apps

import (
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
)

// Read says who may read applications and service principals.
var Read = appsRead

var (
	appAdministrators = []string{directory.ApplicationAdministrator, directory.CloudApplicationAdministrator}
	appsRead          = &wire.Access{
		Permissions: []string{resource.AppRead, resource.AppWrite, resource.DirectoryRead, resource.DirectoryWrite}, Roles: resource.Readers, Read: true, Members: true, Owner: true,
		OwnerPermissions: []string{resource.AppOwned},
	}
	appsList = &wire.Access{
		Permissions: []string{resource.AppRead, resource.AppWrite, resource.AppOwned, resource.DirectoryRead, resource.DirectoryWrite}, Roles: resource.Readers, Read: true, Members: true,
	}
	appsCreate = &wire.Access{Permissions: []string{resource.AppWrite, resource.AppOwned}, Delegated: []string{resource.DirectoryWrite}, Roles: appAdministrators, Members: true}
	appsWrite  = &wire.Access{Permissions: []string{resource.AppWrite}, Delegated: []string{resource.DirectoryWrite}, Roles: appAdministrators, Owner: true, OwnerPermissions: []string{resource.AppOwned}}
	// keysRoll lets an application change its own keys too: the proof that its
	// handlers demand stands in for the permission.
	keysRoll = &wire.Access{Permissions: []string{resource.AppWrite}, Delegated: []string{resource.DirectoryWrite}, Roles: appAdministrators, Owner: true, OwnerPermissions: []string{resource.AppOwned}, SelfClient: true}
	// clientsCreate is asked for when a service principal is made of another's
	// application.
	clientsCreate = &wire.Access{Permissions: []string{resource.AppWrite}, Delegated: []string{resource.DirectoryWrite}, Roles: appAdministrators, Owner: true, OwnerPermissions: []string{resource.AppOwned}}

	grantsRead  = &wire.Access{Permissions: []string{resource.DirectoryRead, resource.DirectoryWrite, resource.GrantWrite}, Roles: resource.Readers, Read: true, Members: true}
	grantsWrite = &wire.Access{
		Permissions: []string{resource.GrantWrite, resource.DirectoryWrite},
		Roles:       append([]string{directory.PrivilegedRoleAdministrator}, appAdministrators...),
	}
	assignmentsRead = &wire.Access{
		Permissions: []string{resource.AppRead, resource.AppWrite, resource.AssignmentWrite, resource.DirectoryRead, resource.DirectoryWrite}, Roles: resource.Readers, Read: true, Members: true,
		Owner: true, OwnerPermissions: []string{resource.AppOwned}, Self: true, SelfPermissions: []string{"User.Read"},
	}
	assignmentsWrite = &wire.Access{
		Permissions: []string{resource.AssignmentWrite},
		Roles:       append([]string{directory.PrivilegedRoleAdministrator, directory.UserAdministrator}, appAdministrators...),
	}
	// assignedWrite lets the owners of a resource assign people to it too.
	assignedWrite = &wire.Access{
		Permissions: []string{resource.AssignmentWrite}, Owner: true,
		Roles: append([]string{directory.PrivilegedRoleAdministrator, directory.UserAdministrator}, appAdministrators...),
	}
	// clientAssignmentsWrite is asked for besides when an application gets a
	// permission, and consentWrite when it is one on Microsoft Graph: that can
	// be worth as much as any role.
	clientAssignmentsWrite = &wire.Access{
		Permissions: []string{resource.AssignmentWrite}, Owner: true,
		Roles: append([]string{directory.PrivilegedRoleAdministrator}, appAdministrators...),
	}
	consentWrite = &wire.Access{Permissions: []string{resource.AssignmentWrite}, Roles: []string{directory.PrivilegedRoleAdministrator}}
)
