package authorization

import (
	"net/http"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func showDeny(d *rbac.DenyAssignment) wire.Document {
	permissions := make([]wire.Document, len(d.Permissions))
	for i := range d.Permissions {
		permissions[i] = permissionDocument(&d.Permissions[i])
	}
	principals := func(ids []directory.ObjectID) []wire.Document {
		list := make([]wire.Document, len(ids))
		for i, id := range ids {
			list[i] = wire.Document{"id": string(id)}
			if id == rbac.Everyone {
				list[i]["type"] = "SystemDefined"
			}
		}
		return list
	}
	return wire.Document{
		"id": d.ID(), "name": d.Name, "type": "Microsoft.Authorization/denyAssignments",
		"properties": wire.Document{
			"denyAssignmentName": d.DisplayName, "permissions": permissions, "scope": d.Scope.String(),
			"doNotApplyToChildScopes": d.DoNotApplyToChildScopes, "principals": principals(d.Principals),
			"excludePrincipals": principals(d.ExcludePrincipals), "isSystemProtected": d.SystemProtected,
			"condition": orNil(d.Condition), "conditionVersion": orNil(d.ConditionVersion),
		},
	}
}

func (p *Provider) listDenies(c *wire.Call) (*wire.Response, error) {
	at, err := scope(c)
	if err != nil {
		return nil, err
	}
	only := strings.Contains(strings.ToLower(c.Query.Get("$filter")), "atscope()")
	docs := []wire.Document{}
	for _, d := range c.Facts.RBAC.Denies(c.Tenant) {
		if covers(c, d.Scope, at) || !only && covers(c, at, d.Scope) {
			docs = append(docs, showDeny(d))
		}
	}
	return wire.Page(c, docs, func(d wire.Document) string { return d.Text("name") })
}

func (p *Provider) getDeny(c *wire.Call) (*wire.Response, error) {
	for _, d := range c.Facts.RBAC.Denies(c.Tenant) {
		if strings.EqualFold(d.Name, c.Param("name")) && strings.EqualFold(d.Scope.String(), c.Param("scope")) {
			return wire.OK(showDeny(d)), nil
		}
	}
	return nil, wire.Fail(http.StatusNotFound, "DenyAssignmentNotFound", "The deny assignment '%s' is not found.", c.Param("name"))
}

// permissions tells what the caller may do at a scope.
func (p *Provider) permissions(c *wire.Call) (*wire.Response, error) {
	at, err := scope(c)
	if err != nil {
		return nil, err
	}
	docs := []wire.Document{}
	for _, perm := range c.Facts.RBAC.Permissions(c.Principal, at) {
		docs = append(docs, permissionDocument(&perm))
	}
	// The blocks have no names to page by, and there are few.
	return wire.OK(wire.Document{"value": docs}), nil
}

// maxActions bounds one checkAccess request (guard sends 200 at a time).
const maxActions = 500

// checkAccess decides for somebody else, as the webhooks of AKS and Arc ask
// (api-version 2018-09-01-preview).
func (p *Provider) checkAccess(c *wire.Call) (*wire.Response, error) {
	at, err := scope(c)
	if err != nil {
		return nil, err
	}
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	subject := folded(folded(doc, "Subject"), "Attributes")
	id, ok := directory.ParseGUID(textOf(subject, "ObjectId"))
	if !ok {
		return nil, wire.Bad("InvalidSubject", "The ObjectId of the subject must be a GUID.")
	}
	who := rbac.Principal{Tenant: c.Tenant, ID: directory.ObjectID(id)}
	if _, err := state.TypeOf(c.View(), c.Tenant, who.ID); err == nil {
		// The directory knows the groups; what the request says may be old.
		who.Groups = state.Memberships(c.View(), c.Tenant, who.ID, c.Now)
	} else {
		v, _ := value(subject, "Groups")
		l, _ := v.([]any)
		for _, e := range l {
			s, _ := e.(string)
			if g, ok := directory.ParseGUID(s); ok {
				who.Groups = append(who.Groups, directory.ObjectID(g))
			}
		}
	}
	if rid := textOf(folded(doc, "Resource"), "Id"); rid != "" {
		s, err := rbac.ParseScope(rid)
		if err != nil {
			return nil, wire.Bad("InvalidResource", "%s", errs.Message(err))
		}
		if !covers(c, at, s) {
			return nil, wire.Bad("InvalidResource", "The resource '%s' does not lie within the scope of the request.", rid)
		}
		at = s
	}
	v, _ := value(doc, "Actions")
	actions, _ := v.([]any)
	if len(actions) == 0 || len(actions) > maxActions {
		return nil, wire.Bad("InvalidActions", "A request asks about 1 to %d actions.", maxActions)
	}
	out := make([]wire.Document, len(actions))
	for i, e := range actions {
		m, _ := e.(map[string]any)
		one := wire.Document(m)
		name := textOf(one, "Id")
		action, err := rbac.ParseAction(name)
		if err != nil {
			return nil, wire.Bad("InvalidActions", "%s", errs.Message(err))
		}
		data, _ := value(one, "IsDataAction")
		isData, _ := data.(bool)
		q := &rbac.Request{Principal: who, Scope: at, Action: action, DataAction: isData, Now: c.Now, Resource: attributes(folded(one, "Attributes"))}
		out[i] = showDecision(c, at, name, isData, c.Facts.RBAC.Decide(q))
	}
	return wire.OK(out), nil
}

func attributes(d wire.Document) condition.Attributes {
	var list condition.Attributes
	for name, v := range d {
		if s, ok := v.(string); ok {
			list = append(list, condition.Attribute{Name: name, Values: []string{s}})
		}
	}
	slices.SortFunc(list, func(a, b condition.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func showDecision(c *wire.Call, at rbac.Scope, action string, data bool, d rbac.Decision) wire.Document {
	doc := wire.Document{"actionId": action, "isDataAction": data, "accessDecision": "NotAllowed", "roleAssignment": nil, "denyAssignment": nil, "timeToLiveInMs": 1000}
	switch {
	case d.Allowed():
		doc["accessDecision"] = "Allowed"
		doc["roleAssignment"] = wire.Document{
			"id": d.Assignment.ID(), "roleDefinitionId": definitionID(definitionScope(at, d.Assignment.Scope), d.Assignment.RoleID),
			"principalId": string(d.Assignment.PrincipalID), "principalType": string(d.Assignment.PrincipalType), "scope": d.Assignment.Scope.String(),
			"condition": d.Assignment.Condition, "conditionVersion": d.Assignment.ConditionVersion, "canDelegate": false,
		}
	case d.Reason == rbac.DeniedExplicitly:
		doc["accessDecision"], doc["denyAssignment"] = "Denied", showDeny(d.Deny)
	}
	return doc
}

// value returns a member by its name in any case: guard writes Subject, newer
// clients subject.
func value(d wire.Document, name string) (any, bool) {
	if v, ok := d[name]; ok {
		return v, true
	}
	for k, v := range d {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}

func folded(d wire.Document, name string) wire.Document {
	v, _ := value(d, name)
	m, _ := v.(map[string]any)
	return m
}

func textOf(d wire.Document, name string) string {
	v, _ := value(d, name)
	s, _ := v.(string)
	return s
}

// elevateAccess makes a Global Administrator User Access Administrator at the
// root scope: the way in for a tenant in which nobody has access.
func (p *Provider) elevateAccess(c *wire.Call) (*wire.Response, error) {
	refused := wire.Fail(http.StatusForbidden, rbac.AuthorizationFailed, "The client '%s' with object id '%s' does not have authorization to perform action 'Microsoft.Authorization/elevateAccess/action' over scope '/' or the scope is invalid. If access was recently granted, please refresh your credentials.", c.Name, c.ID)
	if !state.HasRole(c.View(), c.Tenant, c.ID, c.Now, directory.GlobalAdministrator) {
		return nil, refused
	}
	err := c.Update(func(tx *store.Tx) error {
		if !state.HasRole(tx, c.Tenant, c.ID, c.Now, directory.GlobalAdministrator) {
			return refused
		}
		kind := rbac.User
		if typ, err := state.TypeOf(tx, c.Tenant, c.ID); err == nil && typ == directory.TypeServicePrincipal {
			kind = rbac.ServicePrincipal
		}
		for a := range state.AccessAssignments.Where(tx, "principal", string(c.Tenant)+"/"+string(c.ID)) {
			if a.Scope == "/" && a.Role == accessAdministrator && a.Until.IsZero() {
				return nil
			}
		}
		return state.AccessAssignments.Create(tx, &state.AccessAssignment{
			Tenant: c.Tenant, Name: directory.NewGUID(), Scope: "/", Role: accessAdministrator, Principal: c.ID, PrincipalType: kind,
			Created: c.Now, Updated: c.Now, CreatedBy: c.ID, UpdatedBy: c.ID,
		})
	})
	if err != nil && !errs.Is(err, errs.Exists) {
		return nil, err
	}
	return &wire.Response{Status: http.StatusOK}, nil
}

// operations lists the published operations of managed clusters.
func (p *Provider) operations(c *wire.Call) (*wire.Response, error) {
	ns := c.Param("namespace")
	if !strings.EqualFold(ns, "Microsoft.ContainerService") {
		return nil, wire.Fail(http.StatusNotFound, "ProviderNotFound", "Provider not found.")
	}
	byType := map[string][]wire.Document{}
	add := func(names []string, data bool) {
		for _, name := range names {
			parts := strings.Split(name, "/")
			n := len(parts) - 1
			if parts[n] == "action" {
				n--
			}
			typ := strings.Join(parts[1:max(n, 2)], "/")
			byType[typ] = append(byType[typ], wire.Document{"name": name, "displayName": name, "description": name, "origin": "user,system", "isDataAction": data})
		}
	}
	add(rbac.ClusterActions(), false)
	add(rbac.ClusterDataActions(), true)
	types := []wire.Document{}
	for typ, ops := range byType {
		types = append(types, wire.Document{"name": typ, "displayName": typ, "operations": ops})
	}
	slices.SortFunc(types, func(a, b wire.Document) int { return strings.Compare(a.Text("name"), b.Text("name")) })
	return wire.OK(wire.Document{
		"id": "/providers/Microsoft.Authorization/providerOperations/Microsoft.ContainerService", "name": "Microsoft.ContainerService",
		"type": "Microsoft.Authorization/providerOperations", "displayName": "Microsoft Container Service", "resourceTypes": types, "operations": []any{},
	}), nil
}
