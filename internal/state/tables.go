package state

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac/wildcard"
	"github.com/entrance-id/entrance/internal/store"
)

// Key returns the key of an object in the tables of directory objects.
func Key(tenant directory.TenantID, id directory.ObjectID) string {
	return string(tenant) + "/" + string(id)
}

// Fold returns s as it is compared where case does not matter: as scopes of
// Azure RBAC are, or a second spelling would lead around a deny assignment.
func Fold(s string) string { return wildcard.Fold(s) }

func join(parts ...string) string { return strings.Join(parts, "/") }

func one(s string) []string { return []string{s} }

// Tables of a tenant's directory. Index values are given in the comments;
// text is folded where it says so.
var (
	// Tenants: "domain" (folded name).
	Tenants = store.NewTable("tenants", store.Options[directory.Tenant]{
		Key: func(t *directory.Tenant) string { return string(t.ID) },
		Indexes: []store.Index[directory.Tenant]{
			{Name: "domain", Values: tenantDomains},
		},
		Claims: func(t *directory.Tenant) (claims []string) {
			for _, d := range tenantDomains(t) {
				claims = append(claims, "domain/"+d)
			}
			return claims
		},
	})

	// Users: "tenant"; "upn" (tenant/folded name).
	Users = store.NewTable("users", store.Options[directory.User]{
		Key: func(u *directory.User) string { return Key(u.Tenant, u.ID) },
		Indexes: []store.Index[directory.User]{
			{Name: "tenant"},
			{Name: "upn", Values: func(u *directory.User) []string {
				return one(join(string(u.Tenant), Fold(u.UserPrincipalName)))
			}},
		},
		Claims: func(u *directory.User) []string {
			return one(join("upn", string(u.Tenant), Fold(u.UserPrincipalName)))
		},
	})

	// Groups: "tenant"; "name" (tenant/folded display name).
	Groups = store.NewTable("groups", store.Options[directory.Group]{
		Key: func(g *directory.Group) string { return Key(g.Tenant, g.ID) },
		Indexes: []store.Index[directory.Group]{
			{Name: "tenant"},
			{Name: "name", Values: func(g *directory.Group) []string {
				return one(join(string(g.Tenant), Fold(g.DisplayName)))
			}},
		},
	})

	// Links: "from" (tenant/kind/from) and "to" (tenant/kind/to).
	Links = store.NewTable("links", store.Options[directory.Link]{
		Key: func(l *directory.Link) string { return linkKey(l.Tenant, l.Kind, l.From, l.To) },
		Indexes: []store.Index[directory.Link]{
			{Name: "from"},
			{Name: "to", Values: func(l *directory.Link) []string {
				return one(join(string(l.Tenant), string(l.Kind), string(l.To)))
			}},
		},
	})

	// Applications: "tenant"; "appid"; "name" (tenant/folded display
	// name); "uri" (tenant/folded identifier URI without a final slash).
	Applications = store.NewTable("applications", store.Options[directory.Application]{
		Key: func(a *directory.Application) string { return Key(a.Tenant, a.ID) },
		Indexes: []store.Index[directory.Application]{
			{Name: "tenant"},
			{Name: "appid", Values: func(a *directory.Application) []string { return one(string(a.AppID)) }},
			{Name: "name", Values: func(a *directory.Application) []string {
				return one(join(string(a.Tenant), Fold(a.DisplayName)))
			}},
			{Name: "uri", Values: applicationURIs},
		},
		Claims: func(a *directory.Application) []string {
			claims := one("appid/" + string(a.AppID))
			for _, uri := range applicationURIs(a) {
				claims = append(claims, "uri/"+uri)
			}
			return claims
		},
	})

	// ServicePrincipals: "tenant"; "appid" (tenant/app id); "name"
	// (tenant/folded service principal name without a final slash); "display"
	// (tenant/folded display name).
	ServicePrincipals = store.NewTable("serviceprincipals", store.Options[directory.ServicePrincipal]{
		Key: func(p *directory.ServicePrincipal) string { return Key(p.Tenant, p.ID) },
		Indexes: []store.Index[directory.ServicePrincipal]{
			{Name: "tenant"},
			{Name: "appid", Values: func(p *directory.ServicePrincipal) []string {
				return one(join(string(p.Tenant), string(p.AppID)))
			}},
			{Name: "name", Values: func(p *directory.ServicePrincipal) (names []string) {
				for _, n := range p.Names {
					names = append(names, resourceName(p.Tenant, n))
				}
				return names
			}},
			{Name: "display", Values: func(p *directory.ServicePrincipal) []string {
				return one(join(string(p.Tenant), Fold(p.DisplayName)))
			}},
		},
		Claims: func(p *directory.ServicePrincipal) []string {
			return one(join("sp", string(p.Tenant), string(p.AppID)))
		},
	})

	// Devices: "tenant"; "deviceid" (tenant/device id); "key"
	// (tenant/thumbprint).
	Devices = store.NewTable("devices", store.Options[directory.Device]{
		Key: func(d *directory.Device) string { return Key(d.Tenant, d.ID) },
		Indexes: []store.Index[directory.Device]{
			{Name: "tenant"},
			{Name: "deviceid", Values: func(d *directory.Device) []string {
				return one(join(string(d.Tenant), d.DeviceID))
			}},
			{Name: "key", Values: func(d *directory.Device) []string {
				if d.KeyThumbprint == "" {
					return nil
				}
				return one(join(string(d.Tenant), d.KeyThumbprint))
			}},
		},
		Claims: func(d *directory.Device) []string {
			return one(join("device", string(d.Tenant), d.DeviceID))
		},
	})

	// Grants: "tenant"; "client" (tenant/client); "resource"
	// (tenant/resource); "user" (tenant/user).
	Grants = store.NewTable("grants", store.Options[directory.PermissionGrant]{
		Key: func(g *directory.PermissionGrant) string { return join(string(g.Tenant), g.ID) },
		Indexes: []store.Index[directory.PermissionGrant]{
			{Name: "tenant"},
			{Name: "client", Values: func(g *directory.PermissionGrant) []string {
				return one(join(string(g.Tenant), string(g.Client)))
			}},
			{Name: "resource", Values: func(g *directory.PermissionGrant) []string {
				return one(join(string(g.Tenant), string(g.Resource)))
			}},
			{Name: "user", Values: func(g *directory.PermissionGrant) []string {
				return one(join(string(g.Tenant), string(g.User)))
			}},
		},
		Claims: func(g *directory.PermissionGrant) []string {
			return one(join("grant", string(g.Tenant), string(g.Client), string(g.Resource), string(g.User)))
		},
	})

	// AppRoleAssignments: "tenant"; "principal" (tenant/principal); "resource"
	// (tenant/resource).
	AppRoleAssignments = store.NewTable("approleassignments", store.Options[directory.AppRoleAssignment]{
		Key: func(a *directory.AppRoleAssignment) string { return join(string(a.Tenant), a.ID) },
		Indexes: []store.Index[directory.AppRoleAssignment]{
			{Name: "tenant"},
			{Name: "principal", Values: func(a *directory.AppRoleAssignment) []string {
				return one(join(string(a.Tenant), string(a.Principal)))
			}},
			{Name: "resource", Values: func(a *directory.AppRoleAssignment) []string {
				return one(join(string(a.Tenant), string(a.Resource)))
			}},
		},
		Claims: func(a *directory.AppRoleAssignment) []string {
			return one(join("approle", string(a.Tenant), string(a.Principal), string(a.Resource), a.AppRole))
		},
	})

	// RoleAssignments are assignments of directory roles: "tenant";
	// "principal" (tenant/principal); "role" (tenant/role template).
	RoleAssignments = store.NewTable("directoryroles", store.Options[directory.RoleAssignment]{
		Key: func(a *directory.RoleAssignment) string { return join(string(a.Tenant), a.ID) },
		Indexes: []store.Index[directory.RoleAssignment]{
			{Name: "tenant"},
			{Name: "principal", Values: func(a *directory.RoleAssignment) []string {
				return one(join(string(a.Tenant), string(a.Principal)))
			}},
			{Name: "role", Values: func(a *directory.RoleAssignment) []string {
				return one(join(string(a.Tenant), a.Role))
			}},
		},
		Claims: func(a *directory.RoleAssignment) []string {
			return one(join("directoryrole", string(a.Tenant), string(a.Principal), a.Role, a.Scope))
		},
	})

	// Deleted holds deleted users, groups, applications and service principals: "tenant".
	Deleted = store.NewTable("deleted", store.Options[DeletedObject]{
		Key: func(d *DeletedObject) string { return Key(d.Tenant, d.ID) },
		Indexes: []store.Index[DeletedObject]{
			{Name: "tenant"},
		},
		TTL: func(*DeletedObject) time.Duration { return DeletedRetention },
	})
)

// DeletedRetention is how long a deleted object can be restored (Microsoft
// Graph, directory deleted items).
const DeletedRetention = 30 * 24 * time.Hour

// DeletedObject is a directory object that can still be restored.
type DeletedObject struct {
	Tenant  directory.TenantID `json:"tenantId"`
	ID      directory.ObjectID `json:"id"`
	Type    directory.Type     `json:"type"`
	Deleted time.Time          `json:"deletedDateTime"`
	Object  json.RawMessage    `json:"object"`
	Links   []directory.Link   `json:"links,omitempty"`
}

// Tables returns every table of this package.
func Tables() []store.AnyTable {
	return []store.AnyTable{
		Tenants, Users, Groups, Links, Applications, ServicePrincipals, Devices,
		Grants, AppRoleAssignments, RoleAssignments, Deleted,
		Subscriptions, ManagementGroups, Resources, Clusters, SignedRequests,
		AccessAssignments, AccessRoles, AccessDenies, SigningKeys, Authorities,
		ConnectedTenants, ConnectedUsers, ClusterIssuers,
	}
}

func tenantDomains(t *directory.Tenant) (names []string) {
	for _, d := range t.Domains {
		names = append(names, Fold(d.Name))
	}
	return names
}

func applicationURIs(a *directory.Application) (uris []string) {
	for _, uri := range a.IdentifierURIs {
		uris = append(uris, resourceName(a.Tenant, uri))
	}
	return uris
}

func resourceName(tenant directory.TenantID, name string) string {
	return join(string(tenant), Fold(strings.TrimSuffix(name, "/")))
}

func linkKey(tenant directory.TenantID, kind directory.LinkKind, from, to directory.ObjectID) string {
	return join(string(tenant), string(kind), string(from), string(to))
}
