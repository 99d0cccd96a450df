package governance

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/state"
)

var (
	managementRead = &wire.Access{
		Permissions: []string{
			"RoleManagementPolicy.Read.AzureADGroup", "RoleManagementPolicy.ReadWrite.AzureADGroup", "RoleManagementPolicy.Read.Directory", "RoleManagementPolicy.ReadWrite.Directory",
			"RoleManagement.Read.Directory", "RoleManagement.ReadWrite.Directory", "PrivilegedAccess.ReadWrite.AzureADGroup",
		}, Roles: privilegeReader, Read: true, Members: true,
	}
	managementWrite = &wire.Access{
		Permissions: []string{"RoleManagementPolicy.ReadWrite.AzureADGroup", "RoleManagementPolicy.ReadWrite.Directory", "RoleManagement.ReadWrite.Directory", "PrivilegedAccess.ReadWrite.AzureADGroup"},
		Roles:       roleManagers, Members: true,
	}
	managementSchema = schema("unifiedRoleManagementPolicy", "id", "displayName", "description", "isOrganizationDefault:b", "scopeId", "scopeType", "lastModifiedDateTime:t", "lastModifiedBy:c")
	assignmentSchema = schema("unifiedRoleManagementPolicyAssignment", "id", "policyId", "roleDefinitionId", "scopeId", "scopeType")
	ruleSchema       = schema("unifiedRoleManagementPolicyRule", "id", "target:c", "isExpirationRequired:b", "maximumDuration", "enabledRules:S", "setting:c", "isEnabled:b", "claimValue")
)

func (s *service) ruleRoutes() []wire.Route {
	const base = "policies/roleManagementPolicies"
	return []wire.Route{
		wire.Get("policies/roleManagementPolicyAssignments", managementRead, s.listPolicyAssignments),
		wire.Get("policies/roleManagementPolicyAssignments/{id}", managementRead, s.getPolicyAssignment),
		wire.Get(base, managementRead, s.listManagement),
		wire.Get(base+"/{id}", managementRead, s.getManagement),
		wire.Get(base+"/{id}/rules", managementRead, s.listRules),
		wire.Get(base+"/{id}/rules/{id}", managementRead, s.getRule),
		wire.Write(http.MethodPatch, base+"/{id}/rules/{id}", managementWrite, "RoleManagement", "Update role setting in PIM", s.updateRule),
	}
}

// policyID names the settings of a target.
func policyID(tenant directory.TenantID, t pim.Target) string {
	if t.Kind == pim.Group {
		return "Group_" + t.Scope + "_" + t.Role
	}
	return "DirectoryRole_" + string(tenant) + "_" + t.Role
}

// policyTarget is the inverse of policyID; the target exists.
func policyTarget(c *wire.Call, id string) (pim.Target, bool) {
	parts := strings.Split(strings.ToLower(id), "_")
	if len(parts) != 3 {
		return pim.Target{}, false
	}
	switch parts[0] {
	case "group":
		if _, err := state.Groups.Get(c.View, c.StateKey(directory.ObjectID(parts[1]))); err != nil || parts[2] != pim.Member && parts[2] != pim.Owner {
			return pim.Target{}, false
		}
		return pim.GroupTarget(directory.ObjectID(parts[1]), parts[2]), true
	case "directoryrole":
		r, ok := model.FindRole(c.Tenant, parts[2])
		if !ok || r.Template != parts[2] || parts[1] != string(c.Tenant) {
			return pim.Target{}, false
		}
		return pim.DirectoryRoleTarget(parts[2], "/"), true
	}
	return pim.Target{}, false
}

// targets returns the targets that a query is about: Microsoft Graph answers
// only with scopeId and scopeType.
func targets(c *wire.Call, schema *odata.Schema) ([]pim.Target, error) {
	q, err := odata.ParseQuery(c.Query, schema)
	if err != nil {
		return nil, err
	}
	want := map[string]string{}
	for _, k := range q.Filter.Constraints() {
		if !k.Prefix && len(k.Values) == 1 {
			want[k.Property] = k.Values[0]
		}
	}
	switch want["scopeType"] {
	case "group":
		id, ok := directory.ParseGUID(want["scopeId"])
		if !ok {
			break
		}
		if _, err := state.Groups.Get(c.View, c.StateKey(directory.ObjectID(id))); err != nil {
			return nil, wire.Missing(id)
		}
		return []pim.Target{pim.GroupTarget(directory.ObjectID(id), pim.Member), pim.GroupTarget(directory.ObjectID(id), pim.Owner)}, nil
	case "directory", "directoryrole":
		if want["scopeId"] != "/" {
			break
		}
		var ts []pim.Target
		for _, r := range directory.Roles {
			ts = append(ts, pim.DirectoryRoleTarget(r.Template, "/"))
		}
		return ts, nil
	}
	return nil, wire.Bad("The filter must name a scope: scopeId eq '{id}' and scopeType eq 'Group', or scopeId eq '/' and scopeType eq 'DirectoryRole'.")
}

// scope returns scopeId and scopeType of a target, in the words of the query.
func scope(c *wire.Call, t pim.Target) (id, kind string) {
	if t.Kind == pim.Group {
		return t.Scope, "Group"
	}
	if strings.Contains(strings.ToLower(c.Query), "directoryrole") {
		return "/", "DirectoryRole"
	}
	return "/", "Directory"
}

func assignmentItem(c *wire.Call, t pim.Target) *item {
	id, kind := scope(c, t)
	p := policyID(c.Tenant, t)
	return &item{key: p + "_" + t.Role, kind: "unifiedRoleManagementPolicyAssignment",
		members: wire.Obj("id", p+"_"+t.Role, "policyId", p, "scopeId", id, "scopeType", kind, "roleDefinitionId", t.Role),
		expand: map[string]func(odata.Expand) (any, error){"policy": func(e odata.Expand) (any, error) {
			i, err := managementItem(c, t)
			if err != nil {
				return nil, err
			}
			return i.Render(e.Select, e.Expand, false)
		}}}
}

func (s *service) listPolicyAssignments(c *wire.Call) (*wire.Response, error) {
	ts, err := targets(c, assignmentSchema)
	if err != nil {
		return nil, err
	}
	var items []*item
	for _, t := range ts {
		items = append(items, assignmentItem(c, t))
	}
	return list(c, assignmentSchema, "policies/roleManagementPolicyAssignments", items)
}

func (s *service) getPolicyAssignment(c *wire.Call) (*wire.Response, error) {
	id, err := c.Key(0)
	if err != nil {
		return nil, err
	}
	cut := strings.LastIndexByte(id, '_')
	if cut > 0 {
		if t, ok := policyTarget(c, id[:cut]); ok && strings.EqualFold(id[cut+1:], t.Role) {
			return one(c, assignmentSchema, "policies/roleManagementPolicyAssignments", assignmentItem(c, t))
		}
	}
	return nil, wire.Missing(id)
}

func managementItem(c *wire.Call, t pim.Target) (*item, error) {
	settings, err := privileged.Settings(c.View, c.Tenant, t)
	if err != nil {
		return nil, err
	}
	changed, who := privileged.LastChange(c.View, c.Tenant, t)
	by := any(nil)
	if who != "" {
		by = wire.Obj("id", string(who), "displayName", nil)
	}
	id, kind := scope(c, t)
	rules := []wire.Object{}
	for _, r := range settings.Rules() {
		rules = append(rules, ruleObject(c, r))
	}
	name := policyID(c.Tenant, t)
	return &item{key: name, kind: "unifiedRoleManagementPolicy",
		members: wire.Obj("id", name, "displayName", kind, "description", kind, "isOrganizationDefault", false, "scopeId", id, "scopeType", kind,
			"lastModifiedDateTime", model.Time(changed), "lastModifiedBy", by),
		expand: map[string]func(odata.Expand) (any, error){
			"rules":          func(odata.Expand) (any, error) { return rules, nil },
			"effectiverules": func(odata.Expand) (any, error) { return rules, nil },
		}}, nil
}

func (s *service) listManagement(c *wire.Call) (*wire.Response, error) {
	ts, err := targets(c, managementSchema)
	if err != nil {
		return nil, err
	}
	var items []*item
	for _, t := range ts {
		i, err := managementItem(c, t)
		if err != nil {
			return nil, err
		}
		items = append(items, i)
	}
	return list(c, managementSchema, "policies/roleManagementPolicies", items)
}

// management returns the target that the first key names.
func management(c *wire.Call) (pim.Target, error) {
	id, err := c.Key(0)
	if err != nil {
		return pim.Target{}, err
	}
	t, ok := policyTarget(c, id)
	if !ok {
		return t, wire.Missing(id)
	}
	return t, nil
}

func (s *service) getManagement(c *wire.Call) (*wire.Response, error) {
	t, err := management(c)
	if err != nil {
		return nil, err
	}
	i, err := managementItem(c, t)
	if err != nil {
		return nil, err
	}
	return one(c, managementSchema, "policies/roleManagementPolicies", i)
}

func ruleItems(c *wire.Call, t pim.Target) ([]*item, error) {
	settings, err := privileged.Settings(c.View, c.Tenant, t)
	if err != nil {
		return nil, err
	}
	var items []*item
	for _, r := range settings.Rules() {
		items = append(items, &item{key: r.ID, kind: "unifiedRoleManagementPolicyRule", members: ruleObject(c, r)})
	}
	return items, nil
}

func (s *service) listRules(c *wire.Call) (*wire.Response, error) {
	t, err := management(c)
	if err != nil {
		return nil, err
	}
	items, err := ruleItems(c, t)
	if err != nil {
		return nil, err
	}
	return list(c, ruleSchema, c.Keyed("rules"), items)
}

func (s *service) getRule(c *wire.Call) (*wire.Response, error) {
	t, err := management(c)
	if err != nil {
		return nil, err
	}
	items, err := ruleItems(c, t)
	if err != nil {
		return nil, err
	}
	for _, i := range items {
		if i.key == c.Keys[1].Value {
			return one(c, ruleSchema, c.Keyed("rules"), i)
		}
	}
	return nil, wire.Missing(c.Keys[1].Value)
}

// ruleObject shows a rule. Its type is told by its id.
func ruleObject(c *wire.Call, r pim.Rule) wire.Object {
	parts := strings.Split(r.ID, "_") // Expiration_Admin_Eligibility
	target := wire.Obj("caller", parts[1], "operations", []string{"All"}, "level", parts[2], "inheritableSettings", []string{}, "enforcedSettings", []string{})
	o := wire.Obj("@odata.type", "#microsoft.graph.unifiedRoleManagementPolicy"+parts[0]+"Rule", "id", r.ID)
	switch parts[0] {
	case "Expiration":
		o = append(o, wire.Obj("isExpirationRequired", r.ExpirationRequired, "maximumDuration", pim.FormatDuration(r.MaximumDuration))...)
	case "Enablement":
		o = o.With("enabledRules", r.EnabledRules)
	case "Approval":
		approvers := []wire.Object{}
		for _, a := range r.Approvers {
			if _, err := state.Groups.Get(c.View, c.StateKey(a)); err == nil {
				approvers = append(approvers, wire.Obj("@odata.type", "#microsoft.graph.groupMembers", "groupId", string(a)))
				continue
			}
			approvers = append(approvers, wire.Obj("@odata.type", "#microsoft.graph.singleUser", "userId", string(a)))
		}
		o = o.With("setting", wire.Obj("isApprovalRequired", r.ApprovalRequired, "isApprovalRequiredForExtension", false, "isRequestorJustificationRequired", true, "approvalMode", "SingleStage",
			"approvalStages", []wire.Object{wire.Obj("approvalStageTimeOutInDays", 1, "isApproverJustificationRequired", true, "escalationTimeInMinutes", 0, "isEscalationEnabled", false,
				"primaryApprovers", approvers, "escalationApprovers", []string{})}))
	case "AuthenticationContext":
		o = append(o, wire.Obj("isEnabled", r.ContextEnabled, "claimValue", "")...)
	}
	return o.With("target", target)
}

func (s *service) updateRule(c *wire.Call) (*wire.Response, error) {
	t, err := management(c)
	if err != nil {
		return nil, err
	}
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	f := flavours[0]
	if t.Kind == pim.DirectoryRole {
		f = flavours[1]
	}
	if !f.manages(c, t) {
		return nil, wire.Denied()
	}
	r := pim.Rule{ID: c.Keys[1].Value}
	if err := parseRule(c, body, &r); err != nil {
		return nil, err
	}
	if _, err := s.Privileged.UpdateRules(c.Context, c.Tenant, t, c.ID, r); err != nil {
		return nil, policyError(err)
	}
	c.View = c.Store.View()
	c.Audited(wire.Target{Type: "Policy", ID: policyID(c.Tenant, t), Changes: []wire.Change{{Name: r.ID, New: string(c.Body)}}})
	return wire.NoContent(), nil
}

// parseRule reads a rule of the type that its id says. Members that are not
// sent stay as they are.
func parseRule(c *wire.Call, body wire.Members, r *pim.Rule) error {
	t, err := management(c)
	if err != nil {
		return err
	}
	settings, err := privileged.Settings(c.View, c.Tenant, t)
	if err != nil {
		return err
	}
	for _, now := range settings.Rules() {
		if now.ID == r.ID {
			*r = now
		}
	}
	var id, duration, claim string
	var target, setting json.RawMessage
	fields := map[string]any{"id": &id, "target": &target}
	switch head, _, _ := strings.Cut(r.ID, "_"); head {
	case "Expiration":
		fields["isExpirationRequired"], fields["maximumDuration"] = &r.ExpirationRequired, &duration
	case "Enablement":
		fields["enabledRules"] = &r.EnabledRules
	case "Approval":
		fields["setting"] = &setting
	case "AuthenticationContext":
		fields["isEnabled"], fields["claimValue"] = &r.ContextEnabled, &claim
	}
	if err := body.Fields(fields); err != nil {
		return err
	}
	if id != "" && id != r.ID {
		return wire.Bad("The id of the rule in the body is not the one in the path.")
	}
	if duration != "" {
		if r.MaximumDuration, err = pim.ParseDuration(duration); err != nil {
			return wire.Bad("Invalid value specified for property 'maximumDuration'.")
		}
	}
	if setting != nil {
		return parseApproval(setting, r)
	}
	return nil
}

func parseApproval(raw json.RawMessage, r *pim.Rule) error {
	var in struct {
		Required *bool `json:"isApprovalRequired"`
		Stages   []struct {
			Approvers []struct {
				Type    string `json:"@odata.type"`
				ID      string `json:"id"`
				UserID  string `json:"userId"`
				GroupID string `json:"groupId"`
			} `json:"primaryApprovers"`
		} `json:"approvalStages"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return wire.Bad("A value of an invalid type was specified for property 'setting'.")
	}
	if in.Required != nil {
		r.ApprovalRequired = *in.Required
	}
	if len(in.Stages) > 1 {
		return wire.Bad("Approval has one stage.")
	}
	for _, st := range in.Stages {
		r.Approvers = nil
		for _, a := range st.Approvers {
			id := a.UserID
			if id == "" {
				id = a.GroupID
			}
			if id == "" {
				id = a.ID
			}
			guid, ok := directory.ParseGUID(id)
			if !ok {
				return wire.Bad("An approver needs a userId or a groupId.")
			}
			r.Approvers = append(r.Approvers, directory.ObjectID(guid))
		}
	}
	return nil
}
