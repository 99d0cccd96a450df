package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Bounds on a tenant's documents: each decision looks at every policy.
const (
	maxPolicies  = 1000
	maxLocations = 1000
	maxStrengths = 100
	maxBody      = 256 << 10
)

func errBody(d *Document) error {
	return errs.New(errs.Internal, "policy: the document %s is not a JSON object", d.ID)
}

// kind is what the three sorts of documents have in common.
type kind struct {
	table *store.Table[Document]
	noun  string // "policy"
	most  int
	check func(r store.Reader, d, old *Document) error // old is nil for a new one
	inUse func(r store.Reader, d *Document) error
}

var (
	policies   = kind{Policies, "policy", maxPolicies, checkPolicy, nil}
	locations  = kind{Locations, "named location", maxLocations, checkLocation, locationInUse}
	strengths  = kind{Strengths, "authentication strength", maxStrengths, checkStrength, strengthInUse}
	builtInIDs = func() (ids []string) {
		for _, s := range conditionalaccess.BuiltInStrengths() {
			ids = append(ids, s.ID)
		}
		return ids
	}()
)

// CreatePolicy adds a policy. Invalid, with the property at fault, when it
// cannot be evaluated or refers to something that does not exist.
func CreatePolicy(tx *store.Tx, tenant directory.TenantID, body []byte, now time.Time) (*Document, error) {
	return policies.create(tx, tenant, body, now)
}

// UpdatePolicy changes the members of a policy that patch names. Objects are
// merged, everything else replaces what was there. Invalid or NotFound.
func UpdatePolicy(tx *store.Tx, tenant directory.TenantID, id string, patch []byte, now time.Time) (*Document, error) {
	return policies.update(tx, tenant, id, patch, now)
}

// DeletePolicy removes a policy. NotFound.
func DeletePolicy(tx *store.Tx, tenant directory.TenantID, id string) error {
	return policies.delete(tx, tenant, id)
}

// CreateLocation adds a named location. Invalid.
func CreateLocation(tx *store.Tx, tenant directory.TenantID, body []byte, now time.Time) (*Document, error) {
	return locations.create(tx, tenant, body, now)
}

// UpdateLocation changes a named location as UpdatePolicy does a policy. Its
// type stays. Invalid or NotFound.
func UpdateLocation(tx *store.Tx, tenant directory.TenantID, id string, patch []byte, now time.Time) (*Document, error) {
	return locations.update(tx, tenant, id, patch, now)
}

// DeleteLocation removes a named location. NotFound; Conflict while a policy
// names it or it is trusted.
func DeleteLocation(tx *store.Tx, tenant directory.TenantID, id string) error {
	return locations.delete(tx, tenant, id)
}

// CreateStrength adds a custom authentication strength. Invalid.
func CreateStrength(tx *store.Tx, tenant directory.TenantID, body []byte, now time.Time) (*Document, error) {
	return strengths.create(tx, tenant, body, now)
}

// UpdateStrength changes a custom authentication strength as UpdatePolicy does
// a policy. Invalid or NotFound; Forbidden for a built-in one.
func UpdateStrength(tx *store.Tx, tenant directory.TenantID, id string, patch []byte, now time.Time) (*Document, error) {
	if slices.Contains(builtInIDs, id) {
		return nil, errs.New(errs.Forbidden, "Built-in authentication strengths cannot be changed.")
	}
	return strengths.update(tx, tenant, id, patch, now)
}

// DeleteStrength removes a custom authentication strength. NotFound; Conflict
// while a policy names it; Forbidden for a built-in one.
func DeleteStrength(tx *store.Tx, tenant directory.TenantID, id string) error {
	if slices.Contains(builtInIDs, id) {
		return errs.New(errs.Forbidden, "Built-in authentication strengths cannot be deleted.")
	}
	return strengths.delete(tx, tenant, id)
}

// guard makes writers of a tenant's documents notice each other: a policy that
// comes to name a location must not pass the location's deletion.
func guard(tx *store.Tx, tenant directory.TenantID) { tx.Guard("conditionalaccess/" + string(tenant)) }

func (k kind) missing(id string) error {
	return errs.New(errs.NotFound, "The %s '%s' does not exist.", k.noun, id)
}

func (k kind) create(tx *store.Tx, tenant directory.TenantID, body []byte, now time.Time) (*Document, error) {
	guard(tx, tenant)
	if _, err := state.Tenants.Get(tx, string(tenant)); err != nil {
		return nil, err
	}
	if k.table.Count(tx, "tenant", string(tenant)) >= k.most {
		return nil, errs.New(errs.Invalid, "A tenant has at most %d objects of the kind %s.", k.most, k.noun)
	}
	// The bytes must be acceptable before any of them is looked at more closely.
	d := &Document{Tenant: tenant, ID: directory.NewGUID(), Body: body, Created: now.UTC()}
	if err := k.check(tx, d, nil); err != nil {
		return nil, err
	}
	clean, err := withoutOurs(body)
	if err != nil {
		return nil, err
	}
	d.Body = clean
	return d, k.table.Create(tx, d)
}

func (k kind) update(tx *store.Tx, tenant directory.TenantID, id string, patch []byte, now time.Time) (*Document, error) {
	guard(tx, tenant)
	id = strings.ToLower(id)
	old, err := k.table.Get(tx, key(tenant, id))
	if errs.Is(err, errs.NotFound) {
		return nil, k.missing(id)
	} else if err != nil {
		return nil, err
	}
	clean, err := withoutOurs(patch)
	if err != nil {
		return nil, err
	}
	if err := sameType(old.Body, clean); err != nil {
		return nil, err
	}
	body, err := merge(old.Body, clean, 0)
	if err != nil {
		return nil, err
	}
	d := &Document{Tenant: tenant, ID: id, Body: body, Created: old.Created, Modified: now.UTC()}
	if err := k.check(tx, d, old); err != nil {
		return nil, err
	}
	return d, k.table.Put(tx, d)
}

func (k kind) delete(tx *store.Tx, tenant directory.TenantID, id string) error {
	guard(tx, tenant)
	id = strings.ToLower(id)
	d, err := k.table.Get(tx, key(tenant, id))
	if errs.Is(err, errs.NotFound) {
		return k.missing(id)
	} else if err != nil {
		return err
	}
	if k.inUse != nil {
		if err := k.inUse(tx, d); err != nil {
			return err
		}
	}
	return k.table.Delete(tx, key(tenant, id))
}

func checkPolicy(r store.Reader, d, old *Document) error {
	p, err := conditionalaccess.ParsePolicy(d.Body)
	if err != nil {
		return err
	}
	places, err := parseAll(r, Locations, d.Tenant, conditionalaccess.ParseNamedLocation)
	if err != nil {
		return err
	}
	strong, err := parseAll(r, Strengths, d.Tenant, conditionalaccess.ParseAuthenticationStrength)
	if err != nil {
		return err
	}
	for i, doc := range slices.Collect(Locations.Where(r, "tenant", string(d.Tenant))) {
		places[i].ID = doc.ID
	}
	for i, doc := range slices.Collect(Strengths.Where(r, "tenant", string(d.Tenant))) {
		strong[i].ID = doc.ID
	}
	if err := conditionalaccess.CheckReferences(p, places, strong); err != nil {
		return err
	}
	return checkPrincipals(r, d.Tenant, p, old)
}

// checkPrincipals refuses a policy that names a user, a group, a role or an
// application that does not exist: a typing error in an exclusion locks people
// out, in an inclusion it lets them in. What the policy named before may have
// been deleted since, and must not keep anybody from changing the rest.
func checkPrincipals(r store.Reader, tenant directory.TenantID, p *conditionalaccess.Policy, old *Document) error {
	u := p.Conditions.Users
	known := func(member string, ids []string, exists func(id string) bool) error {
		for _, id := range ids {
			guid, ok := directory.ParseGUID(id)
			if !ok {
				continue // a word such as All, which ParsePolicy has checked
			}
			before := old != nil && bytes.Contains(bytes.ToLower(old.Body), []byte(guid))
			if !before && !exists(guid) {
				return errs.New(errs.Invalid, "Property conditions.%s names %s, which does not exist.", member, id)
			}
		}
		return nil
	}
	user := func(id string) bool {
		_, err := state.Users.Get(r, state.Key(tenant, directory.ObjectID(id)))
		return err == nil
	}
	group := func(id string) bool {
		_, err := state.Groups.Get(r, state.Key(tenant, directory.ObjectID(id)))
		return err == nil
	}
	role := func(id string) bool {
		return slices.ContainsFunc(directory.Roles, func(x directory.Role) bool { return x.Template == id })
	}
	principal := func(id string) bool {
		_, err := state.ServicePrincipals.Get(r, state.Key(tenant, directory.ObjectID(id)))
		return err == nil
	}
	app := func(id string) bool {
		if _, err := state.FindServicePrincipal(r, tenant, directory.AppID(id)); err == nil {
			return true
		}
		_, err := state.FindApplication(r, directory.AppID(id))
		return err == nil
	}
	checks := []struct {
		member string
		ids    []string
		exists func(string) bool
	}{
		{"users.includeUsers", u.IncludeUsers, user}, {"users.excludeUsers", u.ExcludeUsers, user},
		{"users.includeGroups", u.IncludeGroups, group}, {"users.excludeGroups", u.ExcludeGroups, group},
		{"users.includeRoles", u.IncludeRoles, role}, {"users.excludeRoles", u.ExcludeRoles, role},
		{"applications.includeApplications", p.Conditions.Applications.Include, app},
		{"applications.excludeApplications", p.Conditions.Applications.Exclude, app},
	}
	if w := p.Conditions.Workloads; w != nil {
		checks = append(checks, []struct {
			member string
			ids    []string
			exists func(string) bool
		}{
			{"clientApplications.includeServicePrincipals", w.Include, principal},
			{"clientApplications.excludeServicePrincipals", w.Exclude, principal},
		}...)
	}
	for _, c := range checks {
		if err := known(c.member, c.ids, c.exists); err != nil {
			return err
		}
	}
	return nil
}

func checkLocation(_ store.Reader, d, _ *Document) error {
	_, err := conditionalaccess.ParseNamedLocation(d.Body)
	return err
}

func checkStrength(r store.Reader, d, _ *Document) error {
	s, err := conditionalaccess.ParseAuthenticationStrength(d.Body)
	if err != nil {
		return err
	}
	others, err := parseAll(r, Strengths, d.Tenant, conditionalaccess.ParseAuthenticationStrength)
	if err != nil {
		return err
	}
	for i, doc := range slices.Collect(Strengths.Where(r, "tenant", string(d.Tenant))) {
		if doc.ID != d.ID && strings.EqualFold(others[i].DisplayName, s.DisplayName) {
			return errs.New(errs.Invalid, "An authentication strength with the name %q exists already.", s.DisplayName)
		}
	}
	return nil
}

func locationInUse(r store.Reader, d *Document) error {
	l, err := conditionalaccess.ParseNamedLocation(d.Body)
	if err == nil && l.Trusted {
		return errs.New(errs.Conflict, "The named location %s is trusted. Set isTrusted to false before it is deleted.", d.ID)
	}
	return namedByPolicy(r, d, "named location")
}

func strengthInUse(r store.Reader, d *Document) error {
	return namedByPolicy(r, d, "authentication strength")
}

func namedByPolicy(r store.Reader, d *Document, noun string) error {
	for doc := range Policies.Where(r, "tenant", string(d.Tenant)) {
		p, err := conditionalaccess.ParsePolicy(doc.Body)
		if err != nil {
			return errs.New(errs.Conflict, "The policy %s cannot be read, so it is not known whether it names the %s %s.", doc.ID, noun, d.ID)
		}
		if p.Names(d.ID) {
			return errs.New(errs.Conflict, "The %s %s is used by the policy %q (%s).", noun, d.ID, p.DisplayName, doc.ID)
		}
	}
	return nil
}

// parseAll reads every document of a tenant.
func parseAll[T any](r store.Reader, table *store.Table[Document], tenant directory.TenantID, parse func([]byte) (*T, error)) ([]*T, error) {
	var list []*T
	for d := range table.Where(r, "tenant", string(tenant)) {
		v, err := parse(d.Body)
		if err != nil {
			return nil, errs.Wrap(errs.Internal, err, "The stored document %s cannot be read", d.ID)
		}
		list = append(list, v)
	}
	return list, nil
}

// withoutOurs returns a JSON object without the members that a client cannot
// set: they are ignored, as Microsoft Graph does for those of a document that
// was read and is sent back.
func withoutOurs(body []byte) (json.RawMessage, error) {
	if len(body) > maxBody {
		return nil, errs.New(errs.Invalid, "The document is larger than %d bytes.", maxBody)
	}
	m, err := members(body)
	if err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(m, func(x member) bool {
		return slices.Contains(ours, x.name) || strings.HasPrefix(x.name, "@odata.") && x.name != "@odata.type"
	})
	return encode(kept), nil
}

// sameType refuses a change of @odata.type: a document stays of its kind.
func sameType(old, patch []byte) error {
	type typed struct {
		Type string `json:"@odata.type"`
	}
	var a, b typed
	if json.Unmarshal(old, &a) != nil || json.Unmarshal(patch, &b) != nil {
		return errs.New(errs.Invalid, "The document is not valid JSON.")
	}
	if b.Type != "" && !strings.EqualFold(strings.TrimPrefix(a.Type, "#"), strings.TrimPrefix(b.Type, "#")) {
		return errs.New(errs.Invalid, "Property @odata.type cannot be changed.")
	}
	return nil
}

// member is a member of a JSON object. Documents are edited as lists of members,
// so that the order of their author survives.
type member struct {
	name  string
	value json.RawMessage
}

func members(body []byte) ([]member, error) {
	bad := errs.New(errs.Invalid, "The document is not a JSON object.")
	dec := json.NewDecoder(bytes.NewReader(body))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, bad
	}
	var list []member
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, bad
		}
		name, ok := tok.(string)
		if !ok {
			return nil, bad
		}
		if slices.ContainsFunc(list, func(m member) bool { return m.name == name }) {
			return nil, errs.New(errs.Invalid, "Property %.64q appears twice.", name)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, bad
		}
		list = append(list, member{name, value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, bad
	}
	if dec.More() {
		return nil, errs.New(errs.Invalid, "The document is followed by more data.")
	}
	return list, nil
}

func encode(list []member) json.RawMessage {
	b := []byte{'{'}
	for i, m := range list {
		if i > 0 {
			b = append(b, ',')
		}
		name, _ := json.Marshal(m.name) // a string always can be
		b = append(append(append(b, name...), ':'), m.value...)
	}
	return append(b, '}')
}

const maxDepth = 16

// merge returns old with the members of patch, objects being merged in turn.
func merge(old, patch json.RawMessage, depth int) (json.RawMessage, error) {
	if depth > maxDepth {
		return nil, errs.New(errs.Invalid, "The document is nested deeper than %d levels.", maxDepth)
	}
	a, err := members(old)
	if err != nil {
		return nil, err
	}
	b, err := members(patch)
	if err != nil {
		return nil, err
	}
	for _, m := range b {
		i := slices.IndexFunc(a, func(x member) bool { return x.name == m.name })
		switch {
		case i < 0:
			a = append(a, m)
		case isObject(a[i].value) && isObject(m.value):
			if a[i].value, err = merge(a[i].value, m.value, depth+1); err != nil {
				return nil, err
			}
		default:
			a[i].value = m.value
		}
	}
	return encode(a), nil
}

func isObject(v json.RawMessage) bool {
	v = bytes.TrimSpace(v)
	return len(v) > 0 && v[0] == '{'
}
