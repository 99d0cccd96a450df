package governance

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/store"
)

var (
	policyAdministrators = []string{directory.ConditionalAccessAdministrator, directory.SecurityAdministrator}
	policiesRead         = &wire.Access{
		Permissions: []string{"Policy.Read.All", "Policy.Read.ConditionalAccess", "Policy.ReadWrite.ConditionalAccess"},
		Roles:       append([]string{directory.SecurityReader}, policyAdministrators...), Read: true,
	}
	policiesWrite = &wire.Access{Permissions: []string{"Policy.ReadWrite.ConditionalAccess"}, Roles: policyAdministrators}
)

// documents is one of the three sorts of documents, at a path.
type documents struct {
	path, kind, label, noun string
	table                   *store.Table[policy.Document]
	schema                  *odata.Schema
	builtIn                 func() ([]*item, error)
	create                  func(*store.Tx, directory.TenantID, []byte, time.Time) (*policy.Document, error)
	update                  func(*store.Tx, directory.TenantID, string, []byte, time.Time) (*policy.Document, error)
	remove                  func(*store.Tx, directory.TenantID, string) error
}

func none() ([]*item, error) { return nil, nil }

var (
	policySchema = schema("conditionalAccessPolicy", "id", "templateId", "displayName", "createdDateTime:t", "modifiedDateTime:t", "state", "partialEnablementStrategy",
		"conditions:c", "grantControls:c", "sessionControls:c")
	locationSchema = schema("namedLocation", "id", "displayName", "createdDateTime:t", "modifiedDateTime:t", "isTrusted:b", "ipRanges:C", "countriesAndRegions:S",
		"includeUnknownCountriesAndRegions:b", "countryLookupMethod")
	strengthSchema = schema("authenticationStrengthPolicy", "id", "createdDateTime:t", "modifiedDateTime:t", "displayName", "description", "policyType",
		"requirementsSatisfied", "allowedCombinations:S", "combinationConfigurations:C")
)

func (s *service) policyRoutes() []wire.Route {
	strengths := documents{"policies/authenticationStrengthPolicies", "authenticationStrengthPolicy", "AuthenticationStrengthPolicy", "authentication strength policy", policy.Strengths, strengthSchema,
		builtInStrengths, policy.CreateStrength, policy.UpdateStrength, policy.DeleteStrength}
	alias := strengths
	alias.path = "identity/conditionalAccess/authenticationStrength/policies"
	var r []wire.Route
	for _, d := range []documents{
		{"identity/conditionalAccess/policies", "conditionalAccessPolicy", "Policy", "conditional access policy", policy.Policies, policySchema, none, policy.CreatePolicy, policy.UpdatePolicy, policy.DeletePolicy},
		{"identity/conditionalAccess/namedLocations", "namedLocation", "NamedLocation", "named location", policy.Locations, locationSchema, none, policy.CreateLocation, policy.UpdateLocation, policy.DeleteLocation},
		strengths, alias,
	} {
		r = append(r,
			wire.Get(d.path, policiesRead, d.list),
			wire.Get(d.path+"/{id}", policiesRead, d.get),
			wire.Write(http.MethodPost, d.path, policiesWrite, "Policy", "Add "+d.noun, d.post),
			wire.Write(http.MethodPatch, d.path+"/{id}", policiesWrite, "Policy", "Update "+d.noun, d.patch),
			wire.Write(http.MethodDelete, d.path+"/{id}", policiesWrite, "Policy", "Delete "+d.noun, d.delete),
		)
		if d.schema == strengthSchema {
			r = append(r, wire.Write(http.MethodPost, d.path+"/{id}/updateAllowedCombinations", policiesWrite, "Policy", "Update "+d.noun, d.combinations))
		}
	}
	return append(r, wire.Ask("identity/conditionalAccess/evaluate", policiesRead, s.whatIf))
}

func builtInStrengths() ([]*item, error) {
	var items []*item
	for _, b := range conditionalaccess.BuiltInStrengths() {
		raw, err := b.MarshalJSON()
		if err != nil {
			return nil, err
		}
		o, err := ordered(raw)
		if err != nil {
			return nil, err
		}
		items = append(items, &item{key: b.ID, kind: "authenticationStrengthPolicy", members: o})
	}
	return items, nil
}

func (d *documents) item(doc *policy.Document) (*item, error) {
	raw, err := doc.Shown()
	if err != nil {
		return nil, err
	}
	o, err := ordered(raw)
	if err != nil {
		return nil, err
	}
	return &item{key: doc.ID, kind: d.kind, members: o}, nil
}

func (d documents) list(c *wire.Call) (*wire.Response, error) {
	items, err := d.builtIn()
	if err != nil {
		return nil, err
	}
	for doc := range d.table.Where(c.View, "tenant", string(c.Tenant)) {
		i, err := d.item(doc)
		if err != nil {
			return nil, err
		}
		items = append(items, i)
	}
	return list(c, d.schema, d.path, items)
}

func (d documents) find(c *wire.Call) (*item, error) {
	id, err := c.ObjectID(0)
	if err != nil {
		return nil, err
	}
	items, err := d.builtIn()
	if err != nil {
		return nil, err
	}
	for _, i := range items {
		if i.key == string(id) {
			return i, nil
		}
	}
	doc, err := d.table.Get(c.View, c.StateKey(id))
	if errs.Is(err, errs.NotFound) {
		return nil, wire.Fail(http.StatusNotFound, "NotFound", "The %s '%s' does not exist.", d.noun, id)
	}
	if err != nil {
		return nil, err
	}
	return d.item(doc)
}

func (d documents) get(c *wire.Call) (*wire.Response, error) {
	i, err := d.find(c)
	if err != nil {
		return nil, err
	}
	return one(c, d.schema, d.path, i)
}

// audited records a document's change with the whole of it, old and new, as
// the portal shows it.
func (d documents) audited(c *wire.Call, doc *policy.Document, old *item) {
	t := wire.Target{Type: d.label, ID: doc.ID}
	var name struct {
		DisplayName string `json:"displayName"`
	}
	if json.Unmarshal(doc.Body, &name) == nil {
		t.DisplayName = name.DisplayName
	}
	change := wire.Change{Name: d.kind, New: string(doc.Body)}
	if old != nil {
		if raw, err := json.Marshal(old.members); err == nil {
			change.Old = string(raw)
		}
	}
	t.Changes = []wire.Change{change}
	c.Audited(t)
}

func (d documents) post(c *wire.Call) (*wire.Response, error) {
	if _, err := wire.ParseBody(c.Body); err != nil {
		return nil, err
	}
	var doc *policy.Document
	err := c.Update(func(tx *store.Tx) error {
		var err error
		doc, err = d.create(tx, c.Tenant, c.Body, c.Now)
		return err
	})
	if err != nil {
		return nil, policyError(err)
	}
	d.audited(c, doc, nil)
	i, err := d.item(doc)
	if err != nil {
		return nil, err
	}
	return created(c, d.path, i)
}

func (d documents) change(c *wire.Call, patch []byte) error {
	old, err := d.find(c)
	if err != nil {
		return err
	}
	var doc *policy.Document
	err = c.Update(func(tx *store.Tx) error {
		var err error
		doc, err = d.update(tx, c.Tenant, old.key, patch, c.Now)
		return err
	})
	if err != nil {
		return policyError(err)
	}
	d.audited(c, doc, old)
	return nil
}

func (d documents) patch(c *wire.Call) (*wire.Response, error) {
	if _, err := wire.ParseBody(c.Body); err != nil {
		return nil, err
	}
	if err := d.change(c, c.Body); err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}

func (d documents) combinations(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var combos []string
	if err := body.Fields(map[string]any{"allowedCombinations": &combos}, "allowedCombinations"); err != nil {
		return nil, err
	}
	old, err := d.find(c)
	if err != nil {
		return nil, err
	}
	patch, err := json.Marshal(map[string]any{"allowedCombinations": combos})
	if err != nil {
		return nil, err
	}
	if err := d.change(c, patch); err != nil {
		return nil, err
	}
	return wire.OK(wire.Obj("@odata.context", c.Root+"/$metadata#microsoft.graph.updateAllowedCombinationsResult",
		"previousCombinations", old.Property("allowedCombinations"), "currentCombinations", combos, "additionalInformation", "")), nil
}

func (d documents) delete(c *wire.Call) (*wire.Response, error) {
	old, err := d.find(c)
	if err != nil {
		return nil, err
	}
	if err := c.Update(func(tx *store.Tx) error { return d.remove(tx, c.Tenant, old.key) }); err != nil {
		return nil, policyError(err)
	}
	name, _ := old.Property("displayName").(string)
	c.Audited(wire.Target{Type: d.label, ID: old.key, DisplayName: name})
	return wire.NoContent(), nil
}
