package state

import (
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
)

// CreateTenant makes a tenant with its first-party service principals and its
// root management group.
func CreateTenant(tx *store.Tx, t *directory.Tenant) error {
	if _, ok := directory.ParseGUID(string(t.ID)); !ok {
		return errs.New(errs.Invalid, "The tenant id %q is not a GUID.", t.ID)
	}
	if len(t.Domains) == 0 {
		return errs.New(errs.Invalid, "A tenant needs at least one domain.")
	}
	if err := Tenants.Create(tx, t); err != nil {
		return err
	}
	for _, app := range directory.FirstPartyApplications() {
		if err := ServicePrincipals.Create(tx, NewServicePrincipal(t.ID, app, t.Created)); err != nil {
			return err
		}
	}
	return ManagementGroups.Create(tx, &ManagementGroup{Name: string(t.ID), Tenant: t.ID, DisplayName: "Tenant Root Group"})
}

// FindTenant returns the tenant named by a path segment: its id or one of its
// domains. common, organizations and consumers are not tenants. NotFound.
func FindTenant(r store.Reader, name string) (*directory.Tenant, error) {
	if id, ok := directory.ParseGUID(name); ok {
		return Tenants.Get(r, id)
	}
	if t, ok := Tenants.First(r, "domain", Fold(name)); ok {
		return t, nil
	}
	return nil, errs.New(errs.NotFound, "Tenant '%s' not found.", name)
}

// TenantOfUser returns the tenant to whose domains a user principal name
// belongs. NotFound.
func TenantOfUser(r store.Reader, upn string) (*directory.Tenant, error) {
	_, domain, ok := strings.Cut(upn, "@")
	if !ok || domain == "" {
		return nil, errs.New(errs.NotFound, "The user name %q has no domain.", upn)
	}
	return FindTenant(r, domain)
}

// NewServicePrincipal returns the service principal that stands for app in
// tenant. It is not stored.
func NewServicePrincipal(tenant directory.TenantID, app *directory.Application, now time.Time) *directory.ServicePrincipal {
	p := &directory.ServicePrincipal{
		Tenant: tenant, ID: directory.ObjectID(directory.NewGUID()),
		AppID: app.AppID, AppOwnerTenant: app.Tenant, Type: "Application",
		Enabled: true, Created: now,
	}
	CopyApplication(p, app)
	return p
}

// CopyApplication copies to p what a tenant's permissions need to know of the
// application that p stands for.
func CopyApplication(p *directory.ServicePrincipal, app *directory.Application) {
	p.DisplayName = app.DisplayName
	p.Names = app.Names()
	p.AppRoles = app.AppRoles
	p.Scopes = app.API.Scopes
	p.TokenVersion = app.API.TokenVersion
	p.GroupClaims = app.GroupClaims
	p.Optional = app.Optional
}
