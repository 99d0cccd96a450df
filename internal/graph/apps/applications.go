package apps

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func (s service) listApplications(c *wire.Call) (*wire.Response, error) {
	return c.List(resource.Applications.Source(c, model.Application))
}

func (s service) countApplications(c *wire.Call) (*wire.Response, error) {
	return c.Count(resource.Applications.Source(c, model.Application))
}

func (s service) getApplication(c *wire.Call) (*wire.Response, error) {
	a, err := resource.Application(c, c.View)
	if err != nil {
		return nil, err
	}
	resp, err := resource.Tagged(c, state.Applications, a.ID)(c.One(model.Applications(resource.At(c), a), model.Application.Schema(), "applications", nil))
	return withKeys(c, resp, &a.Credentials), err
}

// withKeys shows the certificates in keyCredentials when a client has selected
// them on a single object, as Microsoft Graph does.
func withKeys(c *wire.Call, resp *wire.Response, creds *directory.Credentials) *wire.Response {
	if resp == nil || !strings.Contains(resource.Lower(c.Query), "select=") {
		return resp
	}
	if o, ok := resp.Body.(wire.Object); ok {
		for i := range o {
			if o[i].Name == "keyCredentials" {
				o[i].Value = model.KeysWith(creds)
			}
		}
	}
	return resp
}

func appTarget(a *directory.Application, changes []wire.Change) wire.Target {
	return wire.Target{Type: "Application", ID: string(a.ID), DisplayName: a.DisplayName, Changes: changes}
}

func clientTarget(p *directory.ServicePrincipal, changes []wire.Change) wire.Target {
	return wire.Target{Type: "ServicePrincipal", ID: string(p.ID), DisplayName: p.DisplayName, Changes: changes}
}

// checkApplication holds the rules that need more than one property.
func checkApplication(t *directory.Tenant, a *directory.Application) error {
	if a.DisplayName == "" {
		return wire.Bad("Invalid value specified for property 'displayName' of resource 'Application'.")
	}
	seen := map[string]bool{}
	for _, uri := range a.IdentifierURIs {
		folded := strings.TrimSuffix(resource.Lower(uri), "/")
		if seen[folded] {
			return wire.Bad("Property identifierUris must not hold the same value twice: '%.100s'.", uri)
		}
		seen[folded] = true
		if err := checkIdentifierURI(t, a, uri); err != nil {
			return err
		}
	}
	return nil
}

// checkIdentifierURI holds that an application cannot take a name that belongs
// to somebody else: a host of a domain that the tenant does not have, another
// application's api:// name, or a first-party resource.
func checkIdentifierURI(t *directory.Tenant, a *directory.Application, uri string) error {
	for _, first := range directory.FirstPartyApplications() {
		for _, name := range first.Names() {
			if strings.EqualFold(strings.TrimSuffix(name, "/"), strings.TrimSuffix(uri, "/")) {
				return wire.Fail(http.StatusBadRequest, CodeHostName, "The identifier URI '%.200s' belongs to another application.", uri)
			}
		}
	}
	u, err := url.Parse(uri)
	if err != nil {
		return wire.Bad("Invalid value specified for property 'identifierUris' of resource 'Application'.")
	}
	switch u.Scheme {
	case "http", "https":
		host := resource.Lower(u.Hostname())
		for _, d := range t.Domains {
			if d := resource.Lower(d.Name); host == d || strings.HasSuffix(host, "."+d) {
				return nil
			}
		}
		return wire.Fail(http.StatusBadRequest, CodeHostName, "Values of identifierUris property must use a verified domain of the organization or its subdomain: '%.200s'", uri)
	case "api":
		if a.SignInAudience == "AzureADMyOrg" || strings.Contains(resource.Lower(uri), string(a.AppID)) || strings.Contains(resource.Lower(uri), string(t.ID)) {
			if id, ok := directory.ParseGUID(u.Host); ok && id != string(a.AppID) && id != string(t.ID) {
				return wire.Bad("Invalid value specified for property 'identifierUris' of resource 'Application': api://%s is the name of another application.", id)
			}
			return nil
		}
		return wire.Bad("The identifier URI '%.200s' of a multi-tenant application must hold its app id, the tenant id or a verified domain.", uri)
	case "urn", "ms-appx":
		return nil
	}
	return wire.Bad("Invalid value specified for property 'identifierUris' of resource 'Application'.")
}

// CodeHostName is Graph's code for an identifier URI outside the tenant's
// domains.
const CodeHostName = "HostNameNotOnVerifiedDomain"

func (s service) createApplication(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	a := &directory.Application{
		Tenant: c.Tenant, ID: directory.ObjectID(directory.NewGUID()), AppID: directory.AppID(directory.NewGUID()), SignInAudience: "AzureADMyOrg", Created: c.Now,
	}
	changes, err := model.Application.Apply(a, &a.Properties, body)
	if err != nil {
		return nil, err
	}
	t, err := state.Tenants.Get(c.View, string(c.Tenant))
	if err != nil {
		return nil, err
	}
	if err := checkApplication(t, a); err != nil {
		return nil, err
	}
	err = c.Update(func(tx *store.Tx) error {
		if err := state.Applications.Create(tx, a); err != nil {
			return err
		}
		return state.Link(tx, directory.Owner, c.Tenant, a.ID, c.ID)
	})
	if err != nil {
		return nil, resource.SameName(err, "identifierUris")
	}
	c.Audited(appTarget(a, changes))
	return resource.Created(c, model.Applications(resource.At(c), a), "applications")
}

// applicationChange changes an application and what its service principal in
// the tenant copies from it.
func (s service) applicationChange(c *wire.Call, change func(a *directory.Application) error) (*directory.Application, error) {
	var a *directory.Application
	err := c.Update(func(tx *store.Tx) error {
		old, err := resource.Application(c, tx)
		if err != nil {
			return err
		}
		key := c.StateKey(old.ID)
		if rev, ok := state.Applications.Rev(tx, key); ok {
			if err := c.CheckMatch(rev); err != nil {
				return err
			}
		}
		if err := state.Applications.Modify(tx, key, func(a *directory.Application) error {
			return a.Credentials.Change(c.Now, func() error { return change(a) })
		}); err != nil {
			return err
		}
		if a, err = state.Applications.Get(tx, key); err != nil {
			return err
		}
		p, err := state.FindServicePrincipal(tx, c.Tenant, a.AppID)
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return state.ServicePrincipals.Modify(tx, c.StateKey(p.ID), func(p *directory.ServicePrincipal) error {
			state.CopyApplication(p, a)
			return nil
		})
	})
	return a, err
}

func (s service) updateApplication(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	t, err := state.Tenants.Get(c.View, string(c.Tenant))
	if err != nil {
		return nil, err
	}
	var changes []wire.Change
	a, err := s.applicationChange(c, func(a *directory.Application) error {
		before := slices.Clone(a.IdentifierURIs)
		var err error
		if changes, err = model.Application.Apply(a, &a.Properties, body); err != nil {
			return err
		}
		if slices.Equal(before, a.IdentifierURIs) {
			// A name that was allowed when it was given stays.
			b := *a
			b.IdentifierURIs = nil
			return checkApplication(t, &b)
		}
		return checkApplication(t, a)
	})
	if err != nil {
		return nil, resource.SameName(err, "identifierUris")
	}
	c.Audited(appTarget(a, redact(changes)))
	return wire.NoContent(), nil
}

// redact leaves the values of credentials out of the audit log.
func redact(changes []wire.Change) []wire.Change {
	for i := range changes {
		if strings.HasSuffix(changes[i].Name, "Credentials") {
			changes[i].New = `"(changed)"`
		}
	}
	return changes
}

func (s service) deleteApplication(c *wire.Call) (*wire.Response, error) {
	var a *directory.Application
	err := c.Update(func(tx *store.Tx) error {
		var err error
		if a, err = resource.Application(c, tx); err != nil {
			return err
		}
		return state.Delete(tx, c.Tenant, a.ID, c.Now)
	})
	if err != nil {
		return nil, err
	}
	c.Audited(appTarget(a, nil))
	return wire.NoContent(), nil
}

func (s service) listServicePrincipals(c *wire.Call) (*wire.Response, error) {
	return c.List(resource.ServicePrincipals.Source(c, model.ServicePrincipal))
}

func (s service) countServicePrincipals(c *wire.Call) (*wire.Response, error) {
	return c.Count(resource.ServicePrincipals.Source(c, model.ServicePrincipal))
}

func (s service) getServicePrincipal(c *wire.Call) (*wire.Response, error) {
	p, err := resource.ServicePrincipal(c, c.View)
	if err != nil {
		return nil, err
	}
	resp, err := resource.Tagged(c, state.ServicePrincipals, p.ID)(c.One(model.ServicePrincipals(resource.At(c), p), model.ServicePrincipal.Schema(), "servicePrincipals", nil))
	return withKeys(c, resp, &p.Credentials), err
}

func (s service) createServicePrincipal(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var raw string
	if v, ok := body.Get("appId"); ok {
		if err := (wire.Members{"appId": v}).Fields(map[string]any{"appId": &raw}); err != nil {
			return nil, err
		}
	}
	id, ok := directory.ParseGUID(raw)
	if !ok {
		return nil, wire.Bad("A value is required for property 'appId' of resource 'ServicePrincipal'.")
	}
	var p *directory.ServicePrincipal
	var changes []wire.Change
	err = c.Update(func(tx *store.Tx) error {
		app, err := state.FindApplication(tx, directory.AppID(id))
		foreign := err == nil && app.Tenant != c.Tenant && app.Tenant != directory.MicrosoftTenant
		if err != nil || foreign && app.SignInAudience == "AzureADMyOrg" {
			// An application that others may not use is as good as none.
			return wire.Fail(http.StatusBadRequest, "NoBackingApplicationObject", "The appId '%s' of the service principal does not reference a valid application object.", id)
		}
		if foreign {
			if !clientsCreate.Decide(&c.Standing, wire.Relation{}) {
				return wire.Denied()
			}
		} else if app.Tenant == c.Tenant && !clientsCreate.Decide(&c.Standing, c.RelationTo(tx, app.ID)) {
			return wire.Denied()
		}
		p = state.NewServicePrincipal(c.Tenant, app, c.Now)
		if changes, err = model.ServicePrincipal.Apply(p, &p.Properties, body, "appId"); err != nil {
			return err
		}
		if err := checkNames(p, app); err != nil {
			return err
		}
		if err := state.ServicePrincipals.Create(tx, p); err != nil {
			return err
		}
		return state.Link(tx, directory.Owner, c.Tenant, p.ID, c.ID)
	})
	if errs.Is(err, errs.Exists) {
		return nil, wire.Fail(http.StatusConflict, CodeInUse, "The service principal cannot be created, updated, or restored because the service principal name %s is already in use.", id)
	}
	if err != nil {
		return nil, err
	}
	c.Audited(clientTarget(p, redact(changes)))
	return resource.Created(c, model.ServicePrincipals(resource.At(c), p), "servicePrincipals")
}

// CodeInUse is Graph's code for a second service principal of an application.
const CodeInUse = wire.CodeSameKey

// checkNames holds that a service principal has the app id among its names and
// no name that its application does not have: names choose the resource of a
// token.
func checkNames(p *directory.ServicePrincipal, app *directory.Application) error {
	if !slices.Contains(p.Names, string(p.AppID)) {
		return wire.Bad("Invalid value specified for property 'servicePrincipalNames' of resource 'ServicePrincipal': the app id cannot be removed.")
	}
	for _, n := range p.Names {
		if !slices.ContainsFunc(app.Names(), func(a string) bool { return strings.EqualFold(a, n) }) {
			return wire.Bad("Invalid value specified for property 'servicePrincipalNames' of resource 'ServicePrincipal': '%.100s' is not a name of the application.", n)
		}
	}
	return nil
}

func (s service) updateServicePrincipal(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var changes []wire.Change
	p, err := s.clientChange(c, func(tx *store.Tx, p *directory.ServicePrincipal) error {
		wasEnabled, names := p.Enabled, slices.Clone(p.Names)
		if err := notOurs(p, body); err != nil {
			return err
		}
		var err error
		if changes, err = model.ServicePrincipal.Apply(p, &p.Properties, body); err != nil {
			return err
		}
		if wasEnabled && !p.Enabled {
			p.AccessRevoked = c.Now
		}
		if !slices.Equal(names, p.Names) {
			app, err := state.FindApplication(tx, p.AppID)
			if err != nil {
				return wire.Bad("Property 'servicePrincipalNames' of this service principal cannot be changed.")
			}
			return checkNames(p, app)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.Audited(clientTarget(p, redact(changes)))
	return wire.NoContent(), nil
}

// notOurs refuses to change in a service principal what others say about it. The
// names of a managed identity tell where it is assigned, and tokens repeat them;
// it and first-party applications get their credentials from Azure alone, so that
// nobody who may manage applications can sign in as them.
func notOurs(p *directory.ServicePrincipal, body wire.Members) error {
	what, fixed := "", []string{"keyCredentials", "passwordCredentials"}
	switch {
	case p.Type == "ManagedIdentity":
		what, fixed = "a managed identity", append(fixed, "alternativeNames", "displayName", "servicePrincipalNames")
	case p.AppOwnerTenant == directory.MicrosoftTenant:
		what = "a first-party application"
	default:
		return nil
	}
	for _, name := range fixed {
		if _, given := body.Get(name); given {
			return wire.Fail(http.StatusForbidden, wire.CodeDenied, "The property '%s' of this service principal cannot be changed: it is %s.", name, what)
		}
	}
	return nil
}

// clientChange changes a service principal.
func (s service) clientChange(c *wire.Call, change func(tx *store.Tx, p *directory.ServicePrincipal) error) (*directory.ServicePrincipal, error) {
	var p *directory.ServicePrincipal
	err := c.Update(func(tx *store.Tx) error {
		old, err := resource.ServicePrincipal(c, tx)
		if err != nil {
			return err
		}
		key := c.StateKey(old.ID)
		if rev, ok := state.ServicePrincipals.Rev(tx, key); ok {
			if err := c.CheckMatch(rev); err != nil {
				return err
			}
		}
		if err := state.ServicePrincipals.Modify(tx, key, func(p *directory.ServicePrincipal) error {
			return p.Credentials.Change(c.Now, func() error { return change(tx, p) })
		}); err != nil {
			return err
		}
		p, err = state.ServicePrincipals.Get(tx, key)
		return err
	})
	return p, err
}

func (s service) deleteServicePrincipal(c *wire.Call) (*wire.Response, error) {
	var p *directory.ServicePrincipal
	err := c.Update(func(tx *store.Tx) error {
		var err error
		if p, err = resource.ServicePrincipal(c, tx); err != nil {
			return err
		}
		if p.AppOwnerTenant == directory.MicrosoftTenant {
			return wire.Fail(http.StatusForbidden, wire.CodeDenied, "The service principal '%s' of a first-party application cannot be deleted.", p.DisplayName)
		}
		if p.Type == "ManagedIdentity" {
			return wire.Fail(http.StatusForbidden, wire.CodeDenied, "Managed identities are deleted with their Azure resource.")
		}
		return state.Delete(tx, c.Tenant, p.ID, c.Now)
	})
	if err != nil {
		return nil, err
	}
	c.Audited(clientTarget(p, nil))
	return wire.NoContent(), nil
}
