package directory

import "time"

// PermissionGrant is consent to delegated permissions: the client may act on
// the resource for one user, or for all users of the tenant.
type PermissionGrant struct {
	Tenant   TenantID `json:"tenantId"`
	ID       string   `json:"id"`
	Client   ObjectID `json:"clientId"`              // service principal
	Resource ObjectID `json:"resourceId"`            // service principal
	User     ObjectID `json:"principalId,omitempty"` // empty: consentType AllPrincipals
	Scope    string   `json:"scope"`                 // space separated values
}

// AppRoleAssignment gives an app role of a resource to a user, a group or a
// service principal.
type AppRoleAssignment struct {
	Tenant        TenantID  `json:"tenantId"`
	ID            string    `json:"id"`
	Principal     ObjectID  `json:"principalId"`
	PrincipalType Type      `json:"principalType"`
	Resource      ObjectID  `json:"resourceId"`
	AppRole       string    `json:"appRoleId"`
	Created       time.Time `json:"createdDateTime"`
}

// DefaultAppRole is the id that assigns a principal to an application without
// any particular role.
const DefaultAppRole = "00000000-0000-0000-0000-000000000000"

// RoleAssignment gives a directory role to a principal.
type RoleAssignment struct {
	Tenant    TenantID `json:"tenantId"`
	ID        string   `json:"id"`
	Role      string   `json:"roleDefinitionId"` // template id
	Principal ObjectID `json:"principalId"`
	Scope     string   `json:"directoryScopeId"` // "/" for the whole tenant
	// Until ends the assignment by itself; zero means that it does not end.
	Until time.Time `json:"until,omitzero"`
}

// Role is a directory role that Entrance acts on.
type Role struct {
	Template    string
	DisplayName string
	Description string
}

// Directory roles, by template id (Microsoft's documented ids).
const (
	GlobalAdministrator            = "62e90394-69f5-4237-9190-012177145e10"
	PrivilegedRoleAdministrator    = "e8611ab8-c189-46e8-94e1-60213ab1f814"
	UserAdministrator              = "fe930be7-5e62-47db-91af-98c3a49a38b1"
	GroupsAdministrator            = "fdd7a751-b60b-444a-984c-02652fe8fa1c"
	ApplicationAdministrator       = "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"
	CloudApplicationAdministrator  = "158c047a-c907-4556-b7ef-446551a6b5f7"
	ConditionalAccessAdministrator = "b1be1c3e-b65d-4f19-8427-f6fa0d97feb9"
	SecurityAdministrator          = "194ae4cb-b126-40b2-bd5b-6091b380977d"
	SecurityReader                 = "5d6b6bb7-de71-4623-b4af-96380a352509"
	GlobalReader                   = "f2ef992c-3afb-46b9-b7cf-a126ee74c451"
	DirectoryReaders               = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"
	AuthenticationAdministrator    = "c4e39bd9-1100-46d3-8c65-fb160da0071f"
	CloudDeviceAdministrator       = "7698a772-787b-4ac8-901f-60d6b08affd2"
	ReportsReader                  = "4a5d8f65-41da-4de4-8968-e035b65339cf"
	// OrdinaryUser marks a user without any directory role in the wids claim.
	OrdinaryUser = "b79fbf4d-3ef9-4689-8143-76b194e85509"
)

// Roles lists the directory roles that can be assigned.
var Roles = []Role{
	{GlobalAdministrator, "Global Administrator", "Can manage all aspects of Microsoft Entra ID and Microsoft services that use Microsoft Entra identities."},
	{PrivilegedRoleAdministrator, "Privileged Role Administrator", "Can manage role assignments and all aspects of Privileged Identity Management."},
	{UserAdministrator, "User Administrator", "Can manage all aspects of users and groups, including resetting passwords for limited admins."},
	{GroupsAdministrator, "Groups Administrator", "Can create and manage groups and group settings."},
	{ApplicationAdministrator, "Application Administrator", "Can create and manage all aspects of app registrations and enterprise apps."},
	{CloudApplicationAdministrator, "Cloud Application Administrator", "Can create and manage all aspects of app registrations and enterprise apps except App Proxy."},
	{ConditionalAccessAdministrator, "Conditional Access Administrator", "Can manage Conditional Access capabilities."},
	{SecurityAdministrator, "Security Administrator", "Can read security information and reports, and manage security configuration."},
	{SecurityReader, "Security Reader", "Can read security information and reports."},
	{GlobalReader, "Global Reader", "Can read everything that a Global Administrator can, but not update anything."},
	{DirectoryReaders, "Directory Readers", "Can read basic directory information."},
	{AuthenticationAdministrator, "Authentication Administrator", "Can access to view, set and reset authentication method information for any non-admin user."},
	{CloudDeviceAdministrator, "Cloud Device Administrator", "Can enable, disable and delete devices."},
	{ReportsReader, "Reports Reader", "Can read sign-in and audit reports."},
}
