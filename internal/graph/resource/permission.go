package resource

import (
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/wire"
)

// Readers are the directory roles that read the whole directory.
var Readers = []string{
	directory.DirectoryReaders, directory.UserAdministrator, directory.GroupsAdministrator, directory.ApplicationAdministrator,
	directory.CloudApplicationAdministrator, directory.PrivilegedRoleAdministrator, directory.ConditionalAccessAdministrator,
	directory.SecurityAdministrator, directory.SecurityReader, directory.AuthenticationAdministrator, directory.CloudDeviceAdministrator,
}

// Permissions of Microsoft Graph.
const (
	UserReadBasic   = "User.ReadBasic.All"
	UserRead        = "User.Read.All"
	UserWrite       = "User.ReadWrite.All"
	GroupRead       = "Group.Read.All"
	GroupWrite      = "Group.ReadWrite.All"
	MemberRead      = "GroupMember.Read.All"
	MemberWrite     = "GroupMember.ReadWrite.All"
	DirectoryRead   = "Directory.Read.All"
	DirectoryWrite  = "Directory.ReadWrite.All"
	AppRead         = "Application.Read.All"
	AppWrite        = "Application.ReadWrite.All"
	AppOwned        = "Application.ReadWrite.OwnedBy"
	RoleRead        = "RoleManagement.Read.Directory"
	RoleWrite       = "RoleManagement.ReadWrite.Directory"
	DeviceRead      = "Device.Read.All"
	DeviceWrite     = "Device.ReadWrite.All"
	GrantWrite      = "DelegatedPermissionGrant.ReadWrite.All"
	AssignmentWrite = "AppRoleAssignment.ReadWrite.All"
)

// UsersRead says who may read users.
var UsersRead = &wire.Access{
	Permissions: []string{UserReadBasic, UserRead, UserWrite, DirectoryRead, DirectoryWrite}, Roles: Readers, Read: true, Members: true,
	Self: true, SelfPermissions: []string{"User.Read", "User.ReadWrite"},
}

// RoleGroupsWrite is asked for besides a route's own rule when a group can have
// directory roles: who changes it hands them out.
var RoleGroupsWrite = &wire.Access{Permissions: []string{RoleWrite}, Roles: []string{directory.PrivilegedRoleAdministrator}, Owner: true}
