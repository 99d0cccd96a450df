package model

import (
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/state"
)

// PermissionGrant is consent to delegated permissions.
var PermissionGrant = newKind(Kind{Name: "oAuth2PermissionGrant", Label: "OAuth2PermissionGrant", Set: "oauth2PermissionGrants"}, join(
	read("clientId", odata.String, func(g *directory.PermissionGrant) any { return string(g.Client) }),
	read("consentType", odata.String, func(g *directory.PermissionGrant) any {
		if g.User == "" {
			return "AllPrincipals"
		}
		return "Principal"
	}),
	read("id", odata.String, func(g *directory.PermissionGrant) any { return g.ID }),
	read("principalId", odata.String, func(g *directory.PermissionGrant) any { return orNil(string(g.User)) }),
	read("resourceId", odata.String, func(g *directory.PermissionGrant) any { return string(g.Resource) }),
	read("scope", odata.String, func(g *directory.PermissionGrant) any { return g.Scope }),
))

// PermissionGrants returns g as a resource.
func PermissionGrants(at *At, g *directory.PermissionGrant) *Object {
	return &Object{Kind: PermissionGrant, ID: g.ID, Rec: g, At: at}
}

// AppRoleAssignment gives an app role to a principal.
var AppRoleAssignment = newKind(Kind{Name: "appRoleAssignment", Label: "AppRoleAssignment", Set: "appRoleAssignments"}, join(
	read("id", odata.String, func(a *directory.AppRoleAssignment) any { return a.ID }),
	deletedAt(),
	read("appRoleId", odata.String, func(a *directory.AppRoleAssignment) any { return a.AppRole }),
	when("createdDateTime", func(a *directory.AppRoleAssignment) time.Time { return a.Created }),
	assignmentName("principalDisplayName", func(a *directory.AppRoleAssignment) directory.ObjectID { return a.Principal }),
	read("principalId", odata.String, func(a *directory.AppRoleAssignment) any { return string(a.Principal) }),
	read("principalType", odata.String, func(a *directory.AppRoleAssignment) any {
		return map[directory.Type]string{directory.TypeUser: "User", directory.TypeGroup: "Group", directory.TypeServicePrincipal: "ServicePrincipal"}[a.PrincipalType]
	}),
	assignmentName("resourceDisplayName", func(a *directory.AppRoleAssignment) directory.ObjectID { return a.Resource }),
	read("resourceId", odata.String, func(a *directory.AppRoleAssignment) any { return string(a.Resource) }),
))

// assignmentName is the present display name of an object that an assignment
// names.
func assignmentName(name string, of func(*directory.AppRoleAssignment) directory.ObjectID) property {
	return property{Property: odata.Property{Name: name}, get: func(o *Object) any {
		key := state.Key(o.At.Tenant, of(o.Rec.(*directory.AppRoleAssignment)))
		if u, err := state.Users.Get(o.At.Reader, key); err == nil {
			return u.DisplayName
		}
		if g, err := state.Groups.Get(o.At.Reader, key); err == nil {
			return g.DisplayName
		}
		if p, err := state.ServicePrincipals.Get(o.At.Reader, key); err == nil {
			return p.DisplayName
		}
		return nil
	}}
}

// AppRoleAssignments returns a as a resource.
func AppRoleAssignments(at *At, a *directory.AppRoleAssignment) *Object {
	return &Object{Kind: AppRoleAssignment, ID: a.ID, Rec: a, At: at}
}
