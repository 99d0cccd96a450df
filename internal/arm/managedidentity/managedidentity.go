// Package managedidentity answers for Microsoft.ManagedIdentity: user-assigned
// identities and their federated credentials.
//
// An identity is two records that are written together: the resource, and the
// service principal of type ManagedIdentity that signs in. Federated
// credentials are kept with the service principal, where sign-in looks for them.
package managedidentity

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/directory/matching"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Type is the resource type of user-assigned identities.
const Type = "Microsoft.ManagedIdentity/userAssignedIdentities"

// CredentialType is the resource type of their federated credentials.
const CredentialType = Type + "/federatedIdentityCredentials"

// Provider answers for Microsoft.ManagedIdentity.
type Provider struct{}

// New returns a Provider.
func New() *Provider { return &Provider{} }

// Types returns what happens when identities go away with their group.
func (p *Provider) Types() map[string]tracked.Type {
	return map[string]tracked.Type{
		state.Fold(Type):           {Remove: removePrincipal},
		state.Fold(CredentialType): {},
	}
}

// Routes returns the provider's routes.
func (p *Provider) Routes() []wire.Route {
	const (
		all   = "/subscriptions/{sub}/providers/" + Type
		group = "/subscriptions/{sub}/resourceGroups/{group}/providers/" + Type
		one   = group + "/{name}"
		creds = one + "/federatedIdentityCredentials"
	)
	return []wire.Route{
		{Method: "GET", Pattern: all, Who: wire.Visible, Action: Type + "/read", Handle: p.list},
		{Method: "GET", Pattern: group, Who: wire.Visible, Action: Type + "/read", Handle: p.list},
		{Method: "GET", Pattern: one, Action: Type + "/read", Handle: p.get},
		{Method: "PUT", Pattern: one, Action: Type + "/write", Handle: p.put},
		{Method: "PATCH", Pattern: one, Action: Type + "/write", Handle: p.patch},
		{Method: "DELETE", Pattern: one, Action: Type + "/delete", Handle: p.delete},
		{Method: "GET", Pattern: creds, Action: CredentialType + "/read", Handle: p.listCredentials},
		{Method: "GET", Pattern: creds + "/{credential}", Action: CredentialType + "/read", Handle: p.getCredential},
		{Method: "PUT", Pattern: creds + "/{credential}", Action: CredentialType + "/write", Handle: p.putCredential},
		{Method: "DELETE", Pattern: creds + "/{credential}", Action: CredentialType + "/delete", Handle: p.deleteCredential},
	}
}

// NewPrincipal returns the service principal of a managed identity. explicit is
// true for a user-assigned one. Its alternative names end with the resource's
// id, from which tokens get xms_mirid. It is not stored.
func NewPrincipal(tenant directory.TenantID, name, resource string, explicit bool, now time.Time) *directory.ServicePrincipal {
	app := directory.AppID(directory.NewGUID())
	flag := "isExplicit=False"
	if explicit {
		flag = "isExplicit=True"
	}
	return &directory.ServicePrincipal{
		Tenant: tenant, ID: directory.ObjectID(directory.NewGUID()), AppID: app, DisplayName: name,
		Type: "ManagedIdentity", Enabled: true, Created: now,
		Names: []string{string(app)}, AlternativeNames: []string{flag, resource},
	}
}

// Identity is what a user-assigned identity's resource says of its principal.
type Identity struct {
	ID        string // of the resource
	Tenant    directory.TenantID
	Principal directory.ObjectID
	Client    directory.AppID
}

// Find returns a user-assigned identity by its resource id. 404.
func Find(r store.Reader, resource string) (*Identity, error) {
	id, err := wire.ParseID(resource)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(id.Type, Type) {
		return nil, wire.Bad("InvalidResourceType", "'%s' is not a user-assigned identity.", resource)
	}
	res, err := tracked.Get(r, id)
	if err != nil {
		return nil, err
	}
	return identity(res), nil
}

func identity(r *state.Resource) *Identity {
	doc := tracked.Read(r)
	return &Identity{
		ID: r.ID, Tenant: directory.TenantID(doc.Text("properties.tenantId")),
		Principal: directory.ObjectID(doc.Text("properties.principalId")), Client: directory.AppID(doc.Text("properties.clientId")),
	}
}

func (p *Provider) list(c *wire.Call) (*wire.Response, error) {
	all, err := tracked.List(c, Type)
	if err != nil {
		return nil, err
	}
	docs := make([]wire.Document, len(all))
	for i, r := range all {
		docs[i] = tracked.Read(r)
	}
	return wire.Page(c, docs, func(d wire.Document) string { return state.Fold(d.Text("id")) })
}

func (p *Provider) get(c *wire.Call) (*wire.Response, error) {
	r, err := tracked.Get(c.View(), tracked.ID(c, Type))
	if err != nil {
		return nil, err
	}
	return wire.OK(tracked.Read(r)), nil
}

var identityName = regexp.MustCompile(`^[A-Za-z0-9][-\w]{2,127}$`)

func (p *Provider) put(c *wire.Call) (*wire.Response, error) {
	id := tracked.ID(c, Type)
	body, err := c.Document()
	if err != nil {
		return nil, err
	}
	if _, err := body.Tags(); err != nil {
		return nil, err
	}
	if !identityName.MatchString(id.Name()) {
		return nil, wire.Bad("InvalidResourceName", "The identity name '%.130s' is not valid: it has 3 to 128 letters, digits, '-' and '_', the first a letter or digit.", id.Name())
	}
	created := false
	err = c.Update(func(tx *store.Tx) error {
		doc := body.Clone()
		old, err := tracked.Get(tx, id)
		if created = isNotFound(err); err != nil && !created {
			return err
		}
		if !created {
			was := tracked.Read(old)
			if err := tracked.Location(doc, was.Text("location"), id.Name(), id.Group); err != nil {
				return err
			}
			if _, ok := doc["tags"]; !ok && was["tags"] != nil {
				doc["tags"] = was["tags"]
			}
			keep(doc, was)
			_, err = tracked.Put(tx, id, old, doc, nil, c.Now)
			return err
		}
		old = nil
		if err := tracked.Location(doc, "", id.Name(), id.Group); err != nil {
			return err
		}
		sp := NewPrincipal(c.Tenant, id.Name(), id.String(), true, c.Now)
		doc.Set("properties.tenantId", string(c.Tenant))
		doc.Set("properties.principalId", string(sp.ID))
		doc.Set("properties.clientId", string(sp.AppID))
		res, err := tracked.Put(tx, id, nil, doc, nil, c.Now)
		if err != nil {
			return err
		}
		sp.AlternativeNames[1] = res.ID
		return state.ServicePrincipals.Create(tx, sp)
	})
	if err != nil {
		return nil, err
	}
	resp, err := p.get(c)
	if err == nil && created {
		resp.Status = http.StatusCreated
	}
	return resp, err
}

// keep sets the properties that are not the client's.
func keep(doc, was wire.Document) {
	for _, name := range []string{"tenantId", "principalId", "clientId"} {
		doc.Set("properties."+name, was.Text("properties."+name))
	}
}

func isNotFound(err error) bool {
	e, ok := err.(*wire.Error)
	return ok && e.Code == "ResourceNotFound"
}

func (p *Provider) patch(c *wire.Call) (*wire.Response, error) {
	body, err := c.Document()
	if err != nil {
		return nil, err
	}
	if _, err := body.Tags(); err != nil {
		return nil, err
	}
	id := tracked.ID(c, Type)
	err = c.Update(func(tx *store.Tx) error {
		old, err := tracked.Get(tx, id)
		if err != nil {
			return err
		}
		doc := tracked.Read(old)
		if tags, ok := body["tags"]; ok {
			doc["tags"] = tags
		}
		_, err = tracked.Put(tx, id, old, doc, nil, c.Now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p.get(c)
}

func (p *Provider) delete(c *wire.Call) (*wire.Response, error) {
	id := tracked.ID(c, Type)
	err := c.Update(func(tx *store.Tx) error {
		r, err := tracked.Get(tx, id)
		if err != nil {
			return err
		}
		if err := removePrincipal(tx, r, c.Now); err != nil {
			return err
		}
		return tracked.Remove(tx, c.Tenant, r.ID)
	})
	if e, ok := err.(*wire.Error); ok && e.Status == http.StatusNotFound {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	return &wire.Response{Status: http.StatusOK}, nil
}

// removePrincipal removes the service principal of an identity. Role
// assignments of it stay, as in Azure, and grant nothing to nobody.
func removePrincipal(tx *store.Tx, r *state.Resource, now time.Time) error {
	i := identity(r)
	err := state.Delete(tx, i.Tenant, i.Principal, now)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// principal returns the service principal of the identity that the path names.
func principal(c *wire.Call, r store.Reader) (*state.Resource, *directory.ServicePrincipal, error) {
	res, err := tracked.Get(r, tracked.ID(c, Type))
	if err != nil {
		return nil, nil, err
	}
	i := identity(res)
	sp, err := state.ServicePrincipals.Get(r, state.Key(i.Tenant, i.Principal))
	return res, sp, err
}

func showCredential(r *state.Resource, f *directory.FederatedCredential) wire.Document {
	properties := wire.Document{"issuer": f.Issuer, "audiences": f.Audiences}
	if f.Matching != nil {
		properties["claimsMatchingExpression"] = f.Matching
	} else {
		properties["subject"] = f.Subject
	}
	return wire.Document{
		"id": r.ID + "/federatedIdentityCredentials/" + f.Name, "name": f.Name, "type": CredentialType, "properties": properties,
	}
}

func (p *Provider) listCredentials(c *wire.Call) (*wire.Response, error) {
	r, sp, err := principal(c, c.View())
	if err != nil {
		return nil, err
	}
	docs := []wire.Document{}
	for i := range sp.Credentials.Federated {
		docs = append(docs, showCredential(r, &sp.Credentials.Federated[i]))
	}
	slices.SortFunc(docs, func(a, b wire.Document) int { return strings.Compare(a.Text("name"), b.Text("name")) })
	return wire.Page(c, docs, func(d wire.Document) string { return d.Text("name") })
}

func index(sp *directory.ServicePrincipal, name string) int {
	return slices.IndexFunc(sp.Credentials.Federated, func(f directory.FederatedCredential) bool { return strings.EqualFold(f.Name, name) })
}

func (p *Provider) getCredential(c *wire.Call) (*wire.Response, error) {
	r, sp, err := principal(c, c.View())
	if err != nil {
		return nil, err
	}
	i := index(sp, c.Param("credential"))
	if i < 0 {
		return nil, wire.ResourceNotFound(CredentialType, r.Name+"/"+c.Param("credential"), c.Param("group"))
	}
	return wire.OK(showCredential(r, &sp.Credentials.Federated[i])), nil
}

// Rules of federated credentials (Microsoft, considerations for workload
// identity federation).
const (
	defaultAudience = "api://AzureADTokenExchange"
	maxValue        = 600
)

var credentialName = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_]{2,119}$`)

// readCredential reads a federated credential from the body, and holds it to
// the rules.
func readCredential(c *wire.Call) (*directory.FederatedCredential, error) {
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	f := &directory.FederatedCredential{
		Name: c.Param("credential"), Issuer: doc.Text("properties.issuer"), Subject: doc.Text("properties.subject"),
	}
	if !credentialName.MatchString(f.Name) {
		return nil, wire.BadRequest("The federated identity credential name '%.130s' is not valid: it has 3 to 120 letters, digits, '-' and '_', the first a letter or digit.", f.Name)
	}
	if v, ok := doc.Get("properties.claimsMatchingExpression"); ok && v != nil {
		if f.Matching, err = readExpression(c, f, v); err != nil {
			return nil, err
		}
	} else if f.Subject == "" {
		return nil, wire.BadRequest("The required property 'subject' is missing or empty.")
	}
	if f.Issuer == "" {
		return nil, wire.BadRequest("The required property 'issuer' is missing or empty.")
	}
	f.Audiences = []string{defaultAudience}
	if v, ok := doc.Get("properties.audiences"); ok {
		l, isList := v.([]any)
		if !isList || len(l) != 1 {
			return nil, wire.BadRequest("The property 'audiences' must have exactly one audience.")
		}
		a, isText := l[0].(string)
		if !isText || a == "" {
			return nil, wire.BadRequest("The property 'audiences' must have exactly one audience.")
		}
		f.Audiences[0] = a
	}
	for _, v := range []struct{ name, value string }{{"issuer", f.Issuer}, {"subject", f.Subject}, {"audiences", f.Audiences[0]}} {
		if utf8.RuneCountInString(v.value) > maxValue {
			return nil, wire.BadRequest("The property '%s' has more than %d characters.", v.name, maxValue)
		}
		if strings.IndexFunc(v.value, unicode.IsControl) >= 0 {
			return nil, wire.BadRequest("The property '%s' has a character that is not allowed.", v.name)
		}
	}
	u, err := url.Parse(f.Issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.IndexFunc(f.Issuer, unicode.IsSpace) >= 0 {
		return nil, wire.BadRequest("The issuer '%.200s' is not valid: it must be an https URL without spaces, query or fragment.", f.Issuer)
	}
	if strings.Contains(f.Subject, "*") {
		return nil, wire.BadRequest("The subject cannot contain wildcards.")
	}
	return f, nil
}

// readExpression checks a claims matching expression, which stands in the
// subject's place since api-version 2025-01-31-preview.
func readExpression(c *wire.Call, f *directory.FederatedCredential, v any) (json.RawMessage, error) {
	if c.APIVersion < "2025-01-31-preview" {
		return nil, wire.BadRequest("The property 'claimsMatchingExpression' is not supported in api-version %s: use 2025-01-31-preview.", c.APIVersion)
	}
	if f.Subject != "" {
		return nil, wire.BadRequest("The properties 'subject' and 'claimsMatchingExpression' exclude one another.")
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if _, err := matching.Parse(f.Issuer, raw); err != nil {
		return nil, wire.BadRequest("The property 'claimsMatchingExpression' is not valid. %s", errs.Message(err))
	}
	return raw, nil
}

func (p *Provider) putCredential(c *wire.Call) (*wire.Response, error) {
	f, err := readCredential(c)
	if err != nil {
		return nil, err
	}
	created := false
	err = c.Update(func(tx *store.Tx) error {
		_, sp, err := principal(c, tx)
		if err != nil {
			return err
		}
		return state.ServicePrincipals.Modify(tx, state.Key(sp.Tenant, sp.ID), func(sp *directory.ServicePrincipal) error {
			list := &sp.Credentials.Federated
			i := index(sp, f.Name)
			for j := range *list {
				if o := &(*list)[j]; j != i && o.Issuer == f.Issuer && o.Subject == f.Subject && bytes.Equal(o.Matching, f.Matching) {
					return wire.Fail(http.StatusConflict, "Conflict", "Issuer and subject combination already exists for this Managed Identity.")
				}
			}
			if created = i < 0; !created {
				next := *f
				next.ID, next.Name = (*list)[i].ID, (*list)[i].Name
				(*list)[i] = next
				return nil
			}
			if len(*list) >= directory.MaxFederatedCredentials {
				return wire.BadRequest("Too many Federated Identity Credentials are being created: the maximum of %d for this Managed Identity has been reached.", directory.MaxFederatedCredentials)
			}
			next := *f
			next.ID = directory.NewGUID()
			*list = append(*list, next)
			return nil
		})
	})
	if errs.Is(err, errs.Conflict) {
		// Microsoft allows one write at a time.
		return nil, wire.Fail(http.StatusConflict, "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity", "Too many Federated Identity Credentials are written concurrently for the managed identity. Concurrent Federated Identity Credentials writes under the same managed identity are not supported.")
	}
	if err != nil {
		return nil, err
	}
	resp, err := p.getCredential(c)
	if err == nil && created {
		resp.Status = http.StatusCreated
	}
	return resp, err
}

func (p *Provider) deleteCredential(c *wire.Call) (*wire.Response, error) {
	found := false
	err := c.Update(func(tx *store.Tx) error {
		_, sp, err := principal(c, tx)
		if err != nil {
			return err
		}
		return state.ServicePrincipals.Modify(tx, state.Key(sp.Tenant, sp.ID), func(sp *directory.ServicePrincipal) error {
			return sp.Credentials.Change(c.Now, func() error {
				i := index(sp, c.Param("credential"))
				if found = i >= 0; found {
					sp.Credentials.Federated = slices.Delete(sp.Credentials.Federated, i, i+1)
				}
				return nil
			})
		})
	})
	if e, ok := err.(*wire.Error); ok && e.Status == http.StatusNotFound {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	if !found {
		return wire.NoContent(), nil
	}
	return &wire.Response{Status: http.StatusOK}, nil
}
