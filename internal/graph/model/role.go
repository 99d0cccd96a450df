package model

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/odata"
)

// DirectoryRole is a directory role in one tenant.
var DirectoryRole = newKind(Kind{Name: "directoryRole", Label: "Role", Set: "directoryRoles"}, join(
	read("id", odata.String, func(r *TenantRole) any { return r.ID }),
	deletedAt(),
	read("description", odata.String, func(r *TenantRole) any { return r.Description }),
	read("displayName", odata.String, func(r *TenantRole) any { return r.DisplayName }),
	read("roleTemplateId", odata.String, func(r *TenantRole) any { return r.Template }),
))

// DirectoryRoleTemplate is a directory role as every tenant has it.
var DirectoryRoleTemplate = newKind(Kind{Name: "directoryRoleTemplate", Label: "RoleTemplate", Set: "directoryRoleTemplates"}, join(
	read("id", odata.String, func(r *TenantRole) any { return r.Template }),
	deletedAt(),
	read("description", odata.String, func(r *TenantRole) any { return r.Description }),
	read("displayName", odata.String, func(r *TenantRole) any { return r.DisplayName }),
))

// RoleDefinition is a directory role as the unified role management shows it.
var RoleDefinition = newKind(Kind{Name: "unifiedRoleDefinition", Label: "RoleDefinition", Set: "roleManagement/directory/roleDefinitions"}, join(
	read("id", odata.String, func(r *TenantRole) any { return r.Template }),
	read("description", odata.String, func(r *TenantRole) any { return r.Description }),
	read("displayName", odata.String, func(r *TenantRole) any { return r.DisplayName }),
	constant("isBuiltIn", odata.Boolean, true), constant("isEnabled", odata.Boolean, true),
	constant("resourceScopes", odata.String, []string{"/"}).list(),
	read("templateId", odata.String, func(r *TenantRole) any { return r.Template }),
	constant("version", odata.String, "1"),
	constant("rolePermissions", odata.Complex, []any{}).list(),
	constant("inheritsPermissionsFrom", odata.Complex, []any{}).list(),
))

// TenantRole is a directory role with the object id that it has in a tenant.
type TenantRole struct {
	directory.Role
	ID string
}

// RoleID returns the object id of a role in a tenant. It is derived, so that
// every replica and every restart gives the same.
func RoleID(tenant directory.TenantID, template string) string {
	b := sha256.Sum256([]byte("directory role " + string(tenant) + " " + template))
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Roles returns the directory roles of a tenant.
func Roles(tenant directory.TenantID) []*TenantRole {
	out := make([]*TenantRole, 0, len(directory.Roles))
	for _, r := range directory.Roles {
		out = append(out, &TenantRole{r, RoleID(tenant, r.Template)})
	}
	return out
}

// FindRole returns the role with the given template id or object id.
func FindRole(tenant directory.TenantID, id string) (*TenantRole, bool) {
	roles := Roles(tenant)
	i := slices.IndexFunc(roles, func(r *TenantRole) bool { return r.Template == id || r.ID == id })
	if i < 0 {
		return nil, false
	}
	return roles[i], true
}

// RolesAs returns roles as resources of one of the three kinds above.
func RolesAs(kind *Kind, at *At, roles ...*TenantRole) (out []*Object) {
	for _, r := range roles {
		id := r.Template
		if kind == DirectoryRole {
			id = r.ID
		}
		out = append(out, &Object{Kind: kind, ID: id, Rec: r, At: at})
	}
	return out
}

// RoleAssignment gives a directory role to a principal.
var RoleAssignment = newKind(Kind{Name: "unifiedRoleAssignment", Label: "RoleAssignment", Set: "roleManagement/directory/roleAssignments"}, join(
	read("id", odata.String, func(a *directory.RoleAssignment) any { return a.ID }),
	read("principalId", odata.String, func(a *directory.RoleAssignment) any { return string(a.Principal) }),
	read("directoryScopeId", odata.String, func(a *directory.RoleAssignment) any { return a.Scope }),
	constant("appScopeId", odata.String, nil).hide(),
	read("roleDefinitionId", odata.String, func(a *directory.RoleAssignment) any { return a.Role }),
	read("principalOrganizationId", odata.String, func(a *directory.RoleAssignment) any { return string(a.Tenant) }),
	read("resourceScope", odata.String, func(a *directory.RoleAssignment) any { return a.Scope }),
))

// RoleAssignments returns a as a resource.
func RoleAssignments(at *At, a *directory.RoleAssignment) *Object {
	return &Object{Kind: RoleAssignment, ID: a.ID, Rec: a, At: at}
}
