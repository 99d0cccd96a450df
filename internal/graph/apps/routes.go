package apps

import (
	"net/http"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
)

const (
	post  = http.MethodPost
	patch = http.MethodPatch
	del   = http.MethodDelete

	catApplication = "ApplicationManagement"
)

// Routes returns the routes of this package.
func Routes() []wire.Route {
	var s service
	r := []wire.Route{
		wire.Get("applications", appsList, s.listApplications),
		wire.Get("applications/$count", appsList, s.countApplications),
		wire.Write(post, "applications", appsCreate, catApplication, "Add application", s.createApplication),
		wire.Get("applications/{id}", appsRead, s.getApplication),
		wire.Write(patch, "applications/{id}", appsWrite, catApplication, "Update application", s.updateApplication),
		wire.Write(del, "applications/{id}", appsWrite, catApplication, "Delete application", s.deleteApplication),
		wire.Get("applications/{id}/federatedIdentityCredentials", appsRead, s.listFederated),
		wire.Get("applications/{id}/federatedIdentityCredentials/{id}", appsRead, s.getFederated),
		wire.Write(post, "applications/{id}/federatedIdentityCredentials", appsWrite, catApplication, "Update application – Certificates and secrets management", s.createFederated),
		wire.Write(patch, "applications/{id}/federatedIdentityCredentials/{id}", appsWrite, catApplication, "Update application – Certificates and secrets management", s.updateFederated),
		wire.Write(del, "applications/{id}/federatedIdentityCredentials/{id}", appsWrite, catApplication, "Update application – Certificates and secrets management", s.deleteFederated),
		wire.Get("servicePrincipals", appsList, s.listServicePrincipals),
		wire.Get("servicePrincipals/$count", appsList, s.countServicePrincipals),
		wire.Write(post, "servicePrincipals", appsCreate, catApplication, "Add service principal", s.createServicePrincipal),
		wire.Get("servicePrincipals/{id}", appsRead, s.getServicePrincipal),
		wire.Write(patch, "servicePrincipals/{id}", appsWrite, catApplication, "Update service principal", s.updateServicePrincipal),
		wire.Write(del, "servicePrincipals/{id}", appsWrite, catApplication, "Remove service principal", s.deleteServicePrincipal),
		wire.Get("oauth2PermissionGrants", grantsRead, s.listGrants),
		wire.Write(post, "oauth2PermissionGrants", grantsWrite, catApplication, "Add delegated permission grant", s.createGrant),
		wire.Get("oauth2PermissionGrants/{id}", grantsRead, s.getGrant),
		wire.Write(patch, "oauth2PermissionGrants/{id}", grantsWrite, catApplication, "Update delegated permission grant", s.updateGrant),
		wire.Write(del, "oauth2PermissionGrants/{id}", grantsWrite, catApplication, "Remove delegated permission grant", s.deleteGrant),
		wire.Get("servicePrincipals/{id}/oauth2PermissionGrants", grantsRead, s.grantsOf("client")),
		wire.Get("users/{id}/oauth2PermissionGrants", grantsRead, s.grantsOf("user")),
	}
	for _, set := range []string{"applications", "servicePrincipals"} {
		name := map[string]string{"applications": "application", "servicePrincipals": "service principal"}[set]
		manage := "Update " + name + " – Certificates and secrets management"
		r = append(r,
			wire.Write(post, set+"/{id}/addPassword", appsWrite, catApplication, manage, s.addPassword),
			wire.Write(post, set+"/{id}/removePassword", appsWrite, catApplication, manage, s.removePassword),
			wire.Write(post, set+"/{id}/addKey", keysRoll, catApplication, manage, s.addKey),
			wire.Write(post, set+"/{id}/removeKey", keysRoll, catApplication, manage, s.removeKey),
			wire.Write(post, set+"/{id}/owners/$ref", appsWrite, catApplication, "Add owner to "+name, resource.AddOwner),
			wire.Write(del, set+"/{id}/owners/{id}/$ref", appsWrite, catApplication, "Remove owner from "+name, resource.RemoveOwner),
		)
	}
	for _, a := range []struct {
		pattern, index string
		access         *wire.Access
	}{
		{"users/{id}/appRoleAssignments", "principal", assignmentsWrite},
		{"groups/{id}/appRoleAssignments", "principal", assignmentsWrite},
		{"servicePrincipals/{id}/appRoleAssignments", "principal", assignmentsWrite},
		{"servicePrincipals/{id}/appRoleAssignedTo", "resource", assignedWrite},
	} {
		r = append(r,
			wire.Get(a.pattern, assignmentsRead, s.assignments(a.index)),
			wire.Get(a.pattern+"/{id}", assignmentsRead, s.getAssignment(a.index)),
			wire.Write(post, a.pattern, a.access, catApplication, "Add app role assignment", s.createAssignment(a.index)),
			wire.Write(del, a.pattern+"/{id}", a.access, catApplication, "Remove app role assignment", s.deleteAssignment(a.index)),
		)
	}
	owners := func(o *model.Object) []*model.Object { return model.Linked(directory.Owner, o) }
	above := []*model.Kind{model.Group, model.DirectoryRole}
	for _, n := range []struct {
		pattern string
		access  *wire.Access
		of      func(*model.Object) []*model.Object
		casts   []*model.Kind
	}{
		{"applications/{id}/owners", appsRead, owners, []*model.Kind{model.User, model.ServicePrincipal}},
		{"servicePrincipals/{id}/owners", appsRead, owners, []*model.Kind{model.User, model.ServicePrincipal}},
		{"servicePrincipals/{id}/memberOf", appsRead, model.MemberOf, above},
		{"servicePrincipals/{id}/transitiveMemberOf", appsRead, model.TransitiveMemberOf, above},
		{"servicePrincipals/{id}/ownedObjects", appsRead, model.OwnedObjects, []*model.Kind{model.Application, model.ServicePrincipal, model.Group}},
	} {
		r = append(r, resource.Navigation(n.pattern, n.access, n.of, n.casts...)...)
	}
	return r
}
