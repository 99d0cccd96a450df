package state

import (
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
)

// Consented returns the delegated permissions that client has on resource when
// it acts for user: those granted for everybody and those granted for the user.
func Consented(r store.Reader, tenant directory.TenantID, client, resource, user directory.ObjectID) []string {
	var scopes []string
	for g := range Grants.Where(r, "client", Key(tenant, client)) {
		if g.Resource == resource && (g.User == "" || g.User == user) {
			for _, s := range strings.Fields(g.Scope) {
				if !slices.Contains(scopes, s) {
					scopes = append(scopes, s)
				}
			}
		}
	}
	return scopes
}

// Consent adds delegated permissions of client on resource: for user, or for
// everybody if user is empty.
func Consent(tx *store.Tx, tenant directory.TenantID, client, resource, user directory.ObjectID, scopes []string) error {
	for g := range Grants.Where(tx, "client", Key(tenant, client)) {
		if g.Resource != resource || g.User != user {
			continue
		}
		return Grants.Modify(tx, join(string(tenant), g.ID), func(g *directory.PermissionGrant) error {
			have := strings.Fields(g.Scope)
			for _, s := range scopes {
				if !slices.Contains(have, s) {
					have = append(have, s)
				}
			}
			g.Scope = strings.Join(have, " ")
			return nil
		})
	}
	return Grants.Create(tx, &directory.PermissionGrant{
		Tenant: tenant, ID: directory.NewGUID(), Client: client, Resource: resource, User: user, Scope: strings.Join(scopes, " "),
	})
}

// AssignAppRole gives principal an app role of resource, if it does not have it
// already.
func AssignAppRole(tx *store.Tx, a *directory.AppRoleAssignment) error {
	for have := range AppRoleAssignments.Where(tx, "principal", Key(a.Tenant, a.Principal)) {
		if have.Resource == a.Resource && have.AppRole == a.AppRole {
			return nil
		}
	}
	err := AppRoleAssignments.Create(tx, a)
	if errs.Is(err, errs.Exists) {
		return nil
	}
	return err
}

// AppRoles returns the values of the app roles of resource that a principal has
// at now, directly or through a group, and whether it is assigned to resource
// at all (the default role counts). Nested groups do not count, as in Entra.
func AppRoles(r store.Reader, tenant directory.TenantID, principal directory.ObjectID, resource *directory.ServicePrincipal, now time.Time) (values []string, assigned bool) {
	add := func(id directory.ObjectID) {
		for a := range AppRoleAssignments.Where(r, "principal", Key(tenant, id)) {
			if a.Resource != resource.ID {
				continue
			}
			assigned = true
			for _, role := range resource.AppRoles {
				if role.ID == a.AppRole && role.Enabled && !slices.Contains(values, role.Value) {
					values = append(values, role.Value)
				}
			}
		}
	}
	add(principal)
	for _, l := range LinkedTo(r, directory.Member, tenant, principal, now) {
		add(l.From)
	}
	slices.Sort(values)
	return values, assigned
}

// AcceptConsent stores what a person, or an administrator for everybody, has
// consented to on a consent page: the client's service principal if the tenant
// has none yet, its delegated permissions and its app roles. user is empty
// when it is for everybody.
func AcceptConsent(tx *store.Tx, a *Ask, user directory.ObjectID, now time.Time) error {
	sp, err := FindServicePrincipal(tx, a.Tenant, a.Client)
	if errs.Is(err, errs.NotFound) {
		app, aerr := FindApplication(tx, a.Client)
		if aerr != nil {
			return aerr
		}
		sp = NewServicePrincipal(a.Tenant, app, now)
		err = ServicePrincipals.Create(tx, sp)
	}
	if err != nil {
		return err
	}
	scopes := map[directory.ObjectID][]string{}
	for _, p := range a.Permissions {
		if p.Role == "" {
			scopes[p.Resource] = append(scopes[p.Resource], p.Value)
			continue
		}
		if user != "" {
			return errs.New(errs.Forbidden, "Application permissions need an administrator's consent for everybody.")
		}
		err := AssignAppRole(tx, &directory.AppRoleAssignment{
			Tenant: a.Tenant, ID: directory.NewGUID(), Principal: sp.ID, PrincipalType: directory.TypeServicePrincipal,
			Resource: p.Resource, AppRole: p.Role, Created: now,
		})
		if err != nil {
			return err
		}
	}
	for resource, values := range scopes {
		if err := Consent(tx, a.Tenant, sp.ID, resource, user, values); err != nil {
			return err
		}
	}
	return nil
}

// ConsentToRequired stores an administrator's consent, for everybody, to all
// that an application declares (requiredResourceAccess): delegated permissions
// and app roles. Invalid when it declares a permission that its resource does
// not offer, NotFound when a resource has no service principal in the tenant.
func ConsentToRequired(tx *store.Tx, tenant directory.TenantID, id directory.AppID, now time.Time) error {
	app, err := FindApplication(tx, id)
	if err != nil {
		return err
	}
	ask := &Ask{Tenant: tenant, Client: id}
	for _, required := range app.Required {
		resource, err := FindServicePrincipal(tx, tenant, required.ResourceAppID)
		if err != nil {
			return err
		}
		for _, access := range required.Access {
			p := Permission{Resource: resource.ID}
			switch access.Type {
			case "Scope":
				i := slices.IndexFunc(resource.Scopes, func(s directory.Scope) bool { return s.ID == access.ID && s.Enabled })
				if i >= 0 {
					p.Value = resource.Scopes[i].Value
				}
			case "Role":
				i := slices.IndexFunc(resource.AppRoles, func(r directory.AppRole) bool { return r.ID == access.ID && r.Enabled })
				if i >= 0 {
					p.Value, p.Role = resource.AppRoles[i].Value, access.ID
				}
			}
			if p.Value == "" {
				return errs.New(errs.Invalid, "The permission '%s' is not one that '%s' offers.", access.ID, resource.DisplayName)
			}
			ask.Permissions = append(ask.Permissions, p)
		}
	}
	return AcceptConsent(tx, ask, "", now)
}
