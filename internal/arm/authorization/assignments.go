package authorization

import (
	"net/http"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func showAssignment(a *state.AccessAssignment, at rbac.Scope) wire.Document {
	return wire.Document{
		"id": strings.TrimSuffix(a.Scope, "/") + assignmentsPath + a.Name, "name": a.Name, "type": "Microsoft.Authorization/roleAssignments",
		"properties": wire.Document{
			"roleDefinitionId": definitionID(at, a.Role), "principalId": string(a.Principal), "principalType": string(a.PrincipalType),
			"scope": a.Scope, "condition": orNil(a.Condition), "conditionVersion": orNil(a.ConditionVersion), "description": orNil(a.Description),
			"createdOn": stamp(a.Created), "updatedOn": stamp(a.Updated), "createdBy": orNil(a.CreatedBy), "updatedBy": orNil(a.UpdatedBy),
			"delegatedManagedIdentityResourceId": nil,
		},
	}
}

var assignmentSchema = odata.NewSchema("roleAssignment",
	[]odata.Property{{Name: "principalId"}, {Name: "roleDefinitionId"}, {Name: "principalType"}},
	odata.Function{Name: "atScope"}, odata.Function{Name: "assignedTo", Args: 1})

// assignment is a role assignment as filters see it.
type assignment struct {
	*state.AccessAssignment
	id      string
	atScope bool // not below the scope that is asked about
	to      func(principal string) map[directory.ObjectID]bool
}

// Property implements odata.Object.
func (a assignment) Property(name string) any {
	switch strings.ToLower(name) {
	case "principalid":
		return string(a.Principal)
	case "principaltype":
		return string(a.PrincipalType)
	case "roledefinitionid":
		return a.id
	}
	return nil
}

// Call implements odata.Caller.
func (a assignment) Call(function string, args []string) bool {
	if strings.EqualFold(function, "atScope") {
		return a.atScope
	}
	return a.to(args[0])[a.Principal]
}

// listAssignments lists what applies at a scope, and what lies below it unless
// the filter says atScope().
func (p *Provider) listAssignments(c *wire.Call) (*wire.Response, error) {
	at, err := scope(c)
	if err != nil {
		return nil, err
	}
	if err := exists(c, c.View(), at); err != nil {
		return nil, err
	}
	var f *odata.Filter
	if text := c.Query.Get("$filter"); text != "" {
		if f, err = odata.ParseFilter(text, assignmentSchema); err != nil {
			return nil, wire.Bad("UnsupportedFilter", "The filter '%.200s' is not supported. Supported filters are either 'atScope()' or 'principalId eq '{value}'' or 'assignedTo('{value}')': %s", text, errs.Message(err))
		}
	}
	closures := map[string]map[directory.ObjectID]bool{}
	to := func(principal string) map[directory.ObjectID]bool {
		if set, ok := closures[principal]; ok {
			return set
		}
		set := map[directory.ObjectID]bool{}
		if id, ok := directory.ParseGUID(principal); ok {
			set[directory.ObjectID(id)] = true
			for _, g := range state.Memberships(c.View(), c.Tenant, directory.ObjectID(id), c.Now) {
				set[g] = true
			}
		}
		closures[principal] = set
		return set
	}
	budget := &odata.Budget{Left: 20_000_000}
	var docs []wire.Document
	var fault error
	consider := func(a *state.AccessAssignment) {
		if !a.Until.IsZero() && !c.Now.Before(a.Until) || fault != nil {
			return
		}
		s, err := rbac.ParseScope(a.Scope)
		if err != nil {
			return
		}
		above := covers(c, s, at)
		if !above && !covers(c, at, s) {
			return
		}
		ok, err := f.Match(assignment{a, definitionID(at, a.Role), above, to}, budget)
		if err != nil {
			fault = err
		} else if ok {
			docs = append(docs, showAssignment(a, definitionScope(at, s)))
		}
	}
	principal, byPrincipal := principalOf(f)
	if byPrincipal {
		for a := range state.AccessAssignments.Where(c.View(), "principal", string(c.Tenant)+"/"+principal) {
			consider(a)
		}
	} else {
		for a := range state.AccessAssignments.Where(c.View(), "tenant", string(c.Tenant)) {
			consider(a)
		}
	}
	if fault != nil {
		return nil, fault
	}
	slices.SortFunc(docs, func(a, b wire.Document) int { return strings.Compare(a.Text("name"), b.Text("name")) })
	return wire.Page(c, docs, func(d wire.Document) string { return d.Text("name") })
}

// principalOf returns the one principal that a filter is about, if it is.
func principalOf(f *odata.Filter) (string, bool) {
	if f == nil {
		return "", false
	}
	for _, k := range f.Constraints() {
		if k.Property == "principalId" && !k.Prefix && len(k.Values) == 1 {
			return k.Values[0], true
		}
	}
	return "", false
}

// definitionScope is the scope whose subscription the id of a role definition
// names: that of the request, and that of the assignment where the request has
// none.
func definitionScope(request, assignment rbac.Scope) rbac.Scope {
	if request.SubscriptionID() != "" {
		return request
	}
	return assignment
}

// at returns the assignment with the path's name at the path's scope, and at no
// other. NotFound.
func at(c *wire.Call, r store.Reader) (*state.AccessAssignment, error) {
	id, err := guid(c, "InvalidRoleAssignmentId")
	if err != nil {
		return nil, err
	}
	a, err := state.AccessAssignments.Get(r, string(c.Tenant)+"/"+id)
	if err != nil {
		return nil, err
	}
	if state.Fold(a.Scope) != state.Fold(c.Param("scope")) || !a.Until.IsZero() && !c.Now.Before(a.Until) {
		return nil, errs.New(errs.NotFound, "The role assignment is at another scope.")
	}
	return a, nil
}

func (p *Provider) getAssignment(c *wire.Call) (*wire.Response, error) {
	s, err := scope(c)
	if err != nil {
		return nil, err
	}
	a, err := at(c, c.View())
	if errs.Is(err, errs.NotFound) {
		return nil, wire.Fail(http.StatusNotFound, "RoleAssignmentNotFound", "The role assignment '%s' is not found.", c.Param("name"))
	}
	if err != nil {
		return nil, err
	}
	return wire.OK(showAssignment(a, s)), nil
}

// read reads a role assignment from the body.
func (p *Provider) read(c *wire.Call, r store.Reader) (*state.AccessAssignment, error) {
	name, err := guid(c, "InvalidRoleAssignmentId")
	if err != nil {
		return nil, err
	}
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	properties := doc.Object("properties")
	if properties == nil {
		return nil, wire.Bad("InvalidCreateRoleAssignmentRequest", "The request to create role assignment '%s' is not valid. Role assignment permissions can be specified only through properties.", name)
	}
	role, err := roleOf(c, properties.Text("roleDefinitionId"))
	if err != nil {
		return nil, err
	}
	principal, ok := directory.ParseGUID(properties.Text("principalId"))
	if !ok {
		return nil, wire.Bad("InvalidPrincipalId", "A valid principal ID must be provided for role assignment.")
	}
	a := &state.AccessAssignment{
		Tenant: c.Tenant, Name: name, Scope: c.Param("scope"), Role: role, Principal: directory.ObjectID(principal),
		Condition: properties.Text("condition"), ConditionVersion: properties.Text("conditionVersion"),
		Description: properties.Text("description"),
		Created:     c.Now, Updated: c.Now, CreatedBy: c.ID, UpdatedBy: c.ID,
	}
	if len(a.Description) > 1024 {
		return nil, wire.Bad("InvalidRoleAssignmentDescription", "The description has more than 1024 characters.")
	}
	return a, p.setType(c, r, a, properties.Text("principalType"))
}

// roleOf reads the id of a role definition, in whatever scope it is written.
func roleOf(c *wire.Call, id string) (string, error) {
	s, err := rbac.ParseScope(id)
	if err != nil || s.ResourceType() != "microsoft.authorization/roledefinitions" {
		return "", wire.Bad("InvalidRoleDefinitionId", "The role definition ID '%.300s' is not valid. It should be a fully-qualified role definition ID.", id)
	}
	role, ok := directory.ParseGUID(s.Name())
	if !ok {
		return "", wire.Bad("InvalidRoleDefinitionId", "The role definition ID '%.100s' is not valid. The role definition ID must be a GUID.", s.Name())
	}
	if sub := s.SubscriptionID(); sub != "" {
		if _, err := c.Subscription(sub); err != nil {
			return "", wire.Bad("RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", role)
		}
	}
	return role, nil
}

// setType sets the principal's type: what the directory says, if it knows the
// principal, and else what the client says, who may have created it elsewhere
// just now.
func (p *Provider) setType(c *wire.Call, r store.Reader, a *state.AccessAssignment, said string) error {
	i := slices.IndexFunc(principalTypes, func(t rbac.PrincipalType) bool { return strings.EqualFold(string(t), said) })
	if said != "" && i < 0 {
		return wire.Bad("InvalidPrincipalType", "The principal type '%.50s' is not valid.", said)
	}
	typ, err := state.TypeOf(r, c.Tenant, a.Principal)
	switch {
	case errs.Is(err, errs.NotFound) && said == "":
		return wire.Bad("PrincipalNotFound", "Principal %s does not exist in the directory %s. Check that you have the correct principal ID. If you are creating this principal and then immediately assigning a role, this error might be related to a replication delay. In this case, set the role assignment principalType property to a value, such as ServicePrincipal, User, or Group.  See https://aka.ms/docs-principaltype",
			strings.ReplaceAll(string(a.Principal), "-", ""), c.Tenant)
	case errs.Is(err, errs.NotFound):
		a.PrincipalType = principalTypes[i]
		return nil
	case err != nil:
		return err
	}
	have, ok := map[directory.Type]rbac.PrincipalType{
		directory.TypeUser: rbac.User, directory.TypeGroup: rbac.Group,
		directory.TypeServicePrincipal: rbac.ServicePrincipal, directory.TypeDevice: rbac.Device,
	}[typ]
	if !ok {
		return wire.Bad("PrincipalTypeNotSupported", "Principals of type %s cannot validly be used in role assignments.", typ)
	}
	if said != "" && have != principalTypes[i] {
		return wire.Bad("UnmatchedPrincipalType", "The PrincipalId '%s' has type '%s' , which is different from specified PrinciaplType '%s'.", a.Principal, have, principalTypes[i])
	}
	a.PrincipalType = have
	return nil
}

var principalTypes = []rbac.PrincipalType{rbac.User, rbac.Group, rbac.ServicePrincipal, rbac.ForeignGroup, rbac.Device}

func (p *Provider) compiled(a *state.AccessAssignment) (rbac.RoleAssignment, error) {
	s, err := rbac.ParseScope(a.Scope)
	return rbac.RoleAssignment{
		Tenant: a.Tenant, Name: a.Name, Scope: s, RoleID: a.Role, PrincipalID: a.Principal, PrincipalType: a.PrincipalType,
		Condition: a.Condition, ConditionVersion: a.ConditionVersion,
	}, err
}

// writeAttributes are what conditions on delegation test of a write.
func (p *Provider) writeAttributes(c *wire.Call) (request, resource condition.Attributes, err error) {
	a, err := p.read(c, c.View())
	if err != nil {
		return nil, nil, err
	}
	return rbac.DelegationAttributes(&rbac.RoleAssignment{RoleID: a.Role, PrincipalID: a.Principal, PrincipalType: a.PrincipalType}), nil, nil
}

// deleteAttributes are what conditions on delegation test of a delete.
func (p *Provider) deleteAttributes(c *wire.Call) (request, resource condition.Attributes, err error) {
	a, err := at(c, c.View())
	if errs.Is(err, errs.NotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return nil, rbac.DelegationAttributes(&rbac.RoleAssignment{RoleID: a.Role, PrincipalID: a.Principal, PrincipalType: a.PrincipalType}), nil
}

func (p *Provider) putAssignment(c *wire.Call) (*wire.Response, error) {
	s, err := scope(c)
	if err != nil {
		return nil, err
	}
	var made *state.AccessAssignment
	created := false
	err = c.Update(func(tx *store.Tx) error {
		a, err := p.read(c, tx)
		if err != nil {
			return err
		}
		if err := exists(c, tx, s); err != nil {
			return err
		}
		tx.Guard("accessrole/" + string(c.Tenant) + "/" + a.Role)
		if _, builtIn := rbac.BuiltInRole(a.Role); !builtIn {
			if _, err := state.AccessRoles.Get(tx, string(c.Tenant)+"/"+a.Role); err != nil {
				if errs.Is(err, errs.NotFound) {
					return wire.Bad("RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", strings.ReplaceAll(a.Role, "-", ""))
				}
				return err
			}
		}
		check, err := p.compiled(a)
		if err != nil {
			return err
		}
		if err := coded(c.Facts.RBAC.CheckAssignment(check), "InvalidRoleAssignmentRequest"); err != nil {
			return err
		}
		old, err := state.AccessAssignments.Get(tx, string(c.Tenant)+"/"+a.Name)
		if created = errs.Is(err, errs.NotFound); err != nil && !created {
			return err
		}
		if !created {
			if old.Principal != a.Principal || old.Role != a.Role || state.Fold(old.Scope) != state.Fold(a.Scope) {
				return wire.Bad("RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
			}
			a.Created, a.CreatedBy, a.Until, a.Scope = old.Created, old.CreatedBy, old.Until, old.Scope
		}
		made = a
		return state.AccessAssignments.Put(tx, a)
	})
	if errs.Is(err, errs.Exists) {
		return nil, wire.Fail(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists.")
	}
	if err != nil {
		return nil, err
	}
	resp := wire.Created(showAssignment(made, s))
	if !created {
		resp.Status = http.StatusOK
	}
	return resp, nil
}

func (p *Provider) deleteAssignment(c *wire.Call) (*wire.Response, error) {
	s, err := scope(c)
	if err != nil {
		return nil, err
	}
	var gone *state.AccessAssignment
	err = c.Update(func(tx *store.Tx) error {
		gone = nil
		a, err := at(c, tx)
		if err != nil {
			return err
		}
		if a.Role == ownerRole && s.Kind() == rbac.SubscriptionScope {
			// Two deletions at once must not each believe that the other's
			// owner stays.
			tx.Guard("accessowners/" + state.Fold(a.Scope))
			left := 0
			for o := range state.AccessAssignments.Where(tx, "scope", state.Fold(a.Scope)) {
				if o.Tenant == c.Tenant && o.Role == ownerRole && o.Name != a.Name && o.Until.IsZero() {
					left++
				}
			}
			if left == 0 {
				return coded(errs.Wrap(errs.Conflict, rbac.ErrLastOwner, "Cannot delete the last RBAC admin assignment."), "")
			}
		}
		gone = a
		return state.AccessAssignments.Delete(tx, string(c.Tenant)+"/"+a.Name)
	})
	if errs.Is(err, errs.NotFound) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	return wire.OK(showAssignment(gone, s)), nil
}
