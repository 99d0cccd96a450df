package state

import (
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/store"
)

// AccessAssignment is a role assignment of Azure RBAC as it is kept.
type AccessAssignment struct {
	Tenant           directory.TenantID `json:"tenantId"`
	Name             string             `json:"name"`  // a GUID, unique in the tenant
	Scope            string             `json:"scope"` // as first written
	Role             string             `json:"roleDefinition"`
	Principal        directory.ObjectID `json:"principalId"`
	PrincipalType    rbac.PrincipalType `json:"principalType"`
	Condition        string             `json:"condition,omitempty"`
	ConditionVersion string             `json:"conditionVersion,omitempty"`
	Description      string             `json:"description,omitempty"`
	Created          time.Time          `json:"createdOn"`
	Updated          time.Time          `json:"updatedOn"`
	CreatedBy        directory.ObjectID `json:"createdBy,omitempty"`
	UpdatedBy        directory.ObjectID `json:"updatedBy,omitempty"`
	// Until ends the assignment by itself (Privileged Identity Management);
	// zero means that it does not end.
	Until time.Time `json:"until,omitzero"`
}

// AccessRole is a custom role of Azure RBAC as it is kept.
type AccessRole struct {
	Tenant    directory.TenantID  `json:"tenantId"`
	Role      rbac.RoleDefinition `json:"role"`
	Created   time.Time           `json:"createdOn"`
	Updated   time.Time           `json:"updatedOn"`
	CreatedBy directory.ObjectID  `json:"createdBy,omitempty"`
	UpdatedBy directory.ObjectID  `json:"updatedBy,omitempty"`
}

// AccessDeny is a deny assignment of Azure RBAC as it is kept.
type AccessDeny struct {
	Tenant                  directory.TenantID   `json:"tenantId"`
	Name                    string               `json:"name"`
	DisplayName             string               `json:"denyAssignmentName"`
	Scope                   string               `json:"scope"`
	Permissions             []rbac.Permission    `json:"permissions"`
	Principals              []directory.ObjectID `json:"principals"`
	ExcludePrincipals       []directory.ObjectID `json:"excludePrincipals,omitempty"`
	DoNotApplyToChildScopes bool                 `json:"doNotApplyToChildScopes,omitempty"`
	SystemProtected         bool                 `json:"isSystemProtected,omitempty"`
	Condition               string               `json:"condition,omitempty"`
	ConditionVersion        string               `json:"conditionVersion,omitempty"`
}

var (
	// AccessAssignments: "tenant"; "principal" (tenant/principal); "scope"
	// (folded scope); "role" (tenant/role).
	AccessAssignments = store.NewTable("accessassignments", store.Options[AccessAssignment]{
		Key: func(a *AccessAssignment) string { return join(string(a.Tenant), a.Name) },
		Indexes: []store.Index[AccessAssignment]{
			{Name: "tenant"},
			{Name: "principal", Values: func(a *AccessAssignment) []string {
				return one(join(string(a.Tenant), string(a.Principal)))
			}},
			{Name: "scope", Values: func(a *AccessAssignment) []string { return one(Fold(a.Scope)) }},
			{Name: "role", Values: func(a *AccessAssignment) []string { return one(join(string(a.Tenant), a.Role)) }},
		},
		// One principal has a role at a scope once.
		Claims: func(a *AccessAssignment) []string {
			return one(join("access", string(a.Tenant), string(a.Principal), a.Role, Fold(a.Scope)))
		},
	})

	// AccessRoles: "tenant"; "name" (tenant/folded role name).
	AccessRoles = store.NewTable("accessroles", store.Options[AccessRole]{
		Key: func(r *AccessRole) string { return join(string(r.Tenant), r.Role.ID) },
		Indexes: []store.Index[AccessRole]{
			{Name: "tenant"},
			{Name: "name", Values: func(r *AccessRole) []string {
				return one(join(string(r.Tenant), Fold(r.Role.Name)))
			}},
		},
		Claims: func(r *AccessRole) []string {
			return one(join("accessrole", string(r.Tenant), Fold(r.Role.Name)))
		},
	})

	// AccessDenies: "tenant".
	AccessDenies = store.NewTable("accessdenies", store.Options[AccessDeny]{
		Key: func(d *AccessDeny) string { return join(string(d.Tenant), d.Name) },
		Indexes: []store.Index[AccessDeny]{
			{Name: "tenant"},
		},
	})
)
