// Package authorization answers for Microsoft.Authorization: role definitions,
// role assignments, deny assignments, permissions and checkAccess.
//
// # What keeps privilege from growing
//
// Whoever writes a role assignment must have that right at its scope, under the
// condition of the assignment that gives the right. Whoever writes a custom role
// must have the right to at every scope where it may be assigned, before and
// after the change. Names are looked up within the scope of the path, so that an
// assignment cannot be reached by way of a scope where the caller has more
// rights. What depends on several records is checked in the transaction that
// changes one of them.
package authorization

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

const (
	definitionsPath  = "/providers/Microsoft.Authorization/roleDefinitions/"
	assignmentsPath  = "/providers/Microsoft.Authorization/roleAssignments/"
	definitionsWrite = "Microsoft.Authorization/roleDefinitions/write"
	assignmentsRead  = "Microsoft.Authorization/roleAssignments/read"
	assignmentsWrite = "Microsoft.Authorization/roleAssignments/write"

	ownerRole           = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	accessAdministrator = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9" // User Access Administrator
)

// Provider answers for Microsoft.Authorization.
type Provider struct{ privileged *privileged.Service }

// New returns a Provider. Without a service of Privileged Identity Management
// there are no schedules.
func New(p *privileged.Service) *Provider { return &Provider{p} }

// Routes returns the provider's routes.
func (p *Provider) Routes() []wire.Route {
	const at = "{scope}/providers/Microsoft.Authorization/"
	routes := []wire.Route{
		{Method: "GET", Pattern: at + "roleDefinitions", Who: wire.Visible, Action: "Microsoft.Authorization/roleDefinitions/read", On: within, Handle: p.listRoles},
		{Method: "GET", Pattern: at + "roleDefinitions/{name}", Who: wire.Visible, Action: "Microsoft.Authorization/roleDefinitions/read", On: within, Handle: p.getRole},
		{Method: "PUT", Pattern: at + "roleDefinitions/{name}", Action: definitionsWrite, Handle: p.putRole},
		{Method: "DELETE", Pattern: at + "roleDefinitions/{name}", Action: "Microsoft.Authorization/roleDefinitions/delete", Handle: p.deleteRole},

		{Method: "GET", Pattern: at + "roleAssignments", Action: assignmentsRead, On: within, Handle: p.listAssignments},
		{Method: "GET", Pattern: at + "roleAssignments/{name}", Action: assignmentsRead, Handle: p.getAssignment},
		{Method: "PUT", Pattern: at + "roleAssignments/{name}", Action: assignmentsWrite, Attributes: p.writeAttributes, Handle: p.putAssignment},
		{Method: "DELETE", Pattern: at + "roleAssignments/{name}", Action: "Microsoft.Authorization/roleAssignments/delete", Attributes: p.deleteAttributes, Handle: p.deleteAssignment},

		{Method: "GET", Pattern: at + "denyAssignments", Action: "Microsoft.Authorization/denyAssignments/read", On: within, Handle: p.listDenies},
		{Method: "GET", Pattern: at + "denyAssignments/{name}", Action: "Microsoft.Authorization/denyAssignments/read", Handle: p.getDeny},

		// A caller sees the own permissions.
		{Method: "GET", Pattern: at + "permissions", Who: wire.Authenticated, Handle: p.permissions},
		{Method: "POST", Pattern: at + "checkAccess", Action: assignmentsRead, On: within, Handle: p.checkAccess},
		// The directory role Global Administrator is asked for in the handler.
		{Method: "POST", Pattern: "/providers/Microsoft.Authorization/elevateAccess", Who: wire.Authenticated, Handle: p.elevateAccess},
		// The published operations are the same for everybody.
		{Method: "GET", Pattern: "/providers/Microsoft.Authorization/providerOperations/{namespace}", Who: wire.Authenticated, Handle: p.operations},
	}
	if p.privileged != nil {
		routes = append(routes, scheduleRoutes(p.privileged)...)
		routes = append(routes, settingsRoutes(p.privileged)...)
	}
	return routes
}

// within is the scope that the path asks about.
func within(c *wire.Call) (rbac.Scope, error) { return scope(c) }

// scope returns the scope of the path: what stands before the provider.
func scope(c *wire.Call) (rbac.Scope, error) { return rbac.ParseScope(c.Param("scope")) }

// codes are ARM's codes for what package rbac refuses.
var codes = []struct {
	err    error
	status int
	code   string
}{
	{rbac.ErrAssignmentExists, http.StatusConflict, "RoleAssignmentExists"},
	{rbac.ErrAssignmentImmutable, http.StatusBadRequest, "RoleAssignmentUpdateNotPermitted"},
	{rbac.ErrAssignmentLimit, http.StatusBadRequest, "RoleAssignmentLimitExceeded"},
	{rbac.ErrLastOwner, http.StatusBadRequest, "CannotDeleteLastRbacAdminAssignment"},
	{rbac.ErrRoleNotFound, http.StatusBadRequest, "RoleDefinitionDoesNotExist"},
	{rbac.ErrRoleInUse, http.StatusBadRequest, "RoleDefinitionHasAssignments"},
	{rbac.ErrRoleNameTaken, http.StatusConflict, "RoleDefinitionWithSameNameExists"},
	{rbac.ErrRoleLimit, http.StatusBadRequest, "RoleDefinitionLimitExceeded"},
	{rbac.ErrRoleBuiltIn, http.StatusForbidden, "CannotModifyBuiltInRole"},
	{rbac.ErrNotAssignable, http.StatusBadRequest, "RoleNotAssignableAtScope"},
}

// coded gives an error of package rbac its code.
func coded(err error, invalid string) error {
	if err == nil {
		return nil
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &wire.Error{Status: c.status, Code: c.code, Message: errs.Message(err), Err: err}
		}
	}
	if errs.Is(err, errs.Invalid) {
		return &wire.Error{Status: http.StatusBadRequest, Code: invalid, Message: errs.Message(err), Err: err}
	}
	return err
}

// guid reads the name of an assignment or a definition.
func guid(c *wire.Call, code string) (string, error) {
	g, ok := directory.ParseGUID(c.Param("name"))
	if !ok {
		return "", wire.Bad(code, "The name '%.100s' is not a GUID.", c.Param("name"))
	}
	return g, nil
}

// inTenant refuses a scope that is not the tenant's: a subscription or a
// management group of another, or one that is not there.
func inTenant(c *wire.Call, r store.Reader, s rbac.Scope) error {
	if id := s.SubscriptionID(); id != "" {
		_, err := c.Subscription(id)
		return err
	}
	if id := s.ManagementGroupID(); id != "" {
		if _, err := state.ManagementGroups.Get(r, string(c.Tenant)+"/"+id); err != nil {
			if errs.Is(err, errs.NotFound) {
				return wire.Fail(http.StatusNotFound, "ManagementGroupNotFound", "The management group '%s' cannot be found.", s.Name())
			}
			return err
		}
	}
	return nil
}

// exists refuses a scope at which there is nothing: a role assigned there would
// wait for whatever is made later under that name. Namespaces and other children
// need only the resource that holds them.
func exists(c *wire.Call, r store.Reader, s rbac.Scope) error {
	if err := inTenant(c, r, s); err != nil || s.SubscriptionID() == "" || s.Kind() < rbac.ResourceGroupScope {
		return err
	}
	segs := strings.Split(s.Key()[1:], "/")
	if segs[2] != "resourcegroups" {
		return nil
	}
	if _, err := state.Resources.Get(r, "/"+strings.Join(segs[:4], "/")); err != nil {
		if errs.Is(err, errs.NotFound) {
			return wire.ResourceGroupNotFound(strings.Split(s.String(), "/")[4])
		}
		return err
	}
	if len(segs) < 8 {
		return nil
	}
	if _, err := state.Resources.Get(r, "/"+strings.Join(segs[:8], "/")); err != nil {
		if errs.Is(err, errs.NotFound) {
			as := strings.Split(s.String(), "/")
			return wire.ResourceNotFound(as[6]+"/"+as[7], as[8], as[4])
		}
		return err
	}
	return nil
}

// definitionID returns the id of a role definition as it is shown at a scope:
// az compares these ids as text.
func definitionID(at rbac.Scope, role string) string {
	if sub := at.SubscriptionID(); sub != "" {
		return "/subscriptions/" + sub + definitionsPath + role
	}
	return definitionsPath + role
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
}

func orNil[T ~string](s T) any {
	if s == "" {
		return nil
	}
	return string(s)
}

// covers reports whether scope a is at or above scope b in the caller's tenant.
func covers(c *wire.Call, a, b rbac.Scope) bool {
	return slices.ContainsFunc(c.Facts.RBAC.Ancestors(c.Tenant, b), a.Equal)
}
