package authorization

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
)

// settings answers for roleManagementPolicies: what may be asked of whoever
// activates or is assigned a role at a scope. There is one policy for each role
// at each scope, called like the role; roleManagementPolicyAssignments tell
// clients, which do not know that, which it is.
type settings struct{ service *privileged.Service }

const (
	policies    = "roleManagementPolicies"
	assignments = "roleManagementPolicyAssignments"
)

func settingsRoutes(service *privileged.Service) []wire.Route {
	const at, action = "{scope}/providers/Microsoft.Authorization/", "Microsoft.Authorization/"
	s := &settings{service}
	return []wire.Route{
		{Method: "GET", Pattern: at + policies, Action: action + policies + "/read", On: within, Handle: s.list},
		{Method: "GET", Pattern: at + policies + "/{name}", Action: action + policies + "/read", On: within, Handle: s.get},
		{Method: "PATCH", Pattern: at + policies + "/{name}", Action: action + policies + "/write", On: within, Handle: s.patch},
		{Method: "GET", Pattern: at + assignments, Action: action + assignments + "/read", On: within, Handle: s.listAssignments},
		{Method: "GET", Pattern: at + assignments + "/{name}", Action: action + assignments + "/read", On: within, Handle: s.getAssignment},
	}
}

// scope returns the scope of the path, which must be there.
func (s *settings) scope(c *wire.Call) (rbac.Scope, error) {
	at, err := scope(c)
	if err == nil {
		err = exists(c, c.View(), at)
	}
	return at, err
}

// roles returns the roles that can be assigned at a scope, by id, or the one that
// the list's filter names.
func roles(c *wire.Call, at rbac.Scope) ([]*rbac.Role, error) {
	text := strings.Join(strings.Fields(c.Query.Get("$filter")), " ")
	if text != "" {
		name, value, ok := strings.Cut(text, " eq ")
		if !ok || !strings.EqualFold(name, "roleDefinitionId") && !strings.EqualFold(name, "properties/roleDefinitionId") {
			return nil, wire.Bad("UnsupportedFilter", "The filter '%.200s' is not supported.", text)
		}
		id, err := roleOf(c, strings.Trim(value, "'"))
		if err != nil {
			return nil, err
		}
		r, ok := c.Facts.RBAC.Role(c.Tenant, id)
		if !ok || !near(c, &r.RoleDefinition, at) {
			return nil, nil
		}
		return []*rbac.Role{r}, nil
	}
	var all []*rbac.Role
	for _, list := range [][]*rbac.Role{rbac.BuiltInRoles(), c.Facts.RBAC.Roles(c.Tenant)} {
		for _, r := range list {
			if near(c, &r.RoleDefinition, at) {
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, func(a, b *rbac.Role) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// named returns the role that a policy is called like.
func (s *settings) named(c *wire.Call, name string) (*rbac.Role, rbac.Scope, error) {
	at, err := s.scope(c)
	if err != nil {
		return nil, at, err
	}
	id, ok := directory.ParseGUID(name)
	r, found := c.Facts.RBAC.Role(c.Tenant, id)
	if !ok || !found || !near(c, &r.RoleDefinition, at) {
		return nil, at, wire.Fail(http.StatusNotFound, "PolicyNotFound", "The role management policy '%.100s' was not found.", c.Param("name"))
	}
	return r, at, nil
}

// each makes a page of what show makes of every role at the path's scope.
func (s *settings) each(c *wire.Call, show func(*wire.Call, rbac.Scope, *rbac.Role) (wire.Document, error)) (*wire.Response, error) {
	at, err := s.scope(c)
	if err != nil {
		return nil, err
	}
	list, err := roles(c, at)
	if err != nil {
		return nil, err
	}
	docs := []wire.Document{}
	for _, r := range list {
		d, err := show(c, at, r)
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
	return wire.Page(c, docs, byName)
}

func (s *settings) list(c *wire.Call) (*wire.Response, error) { return s.each(c, showPolicy) }

func (s *settings) listAssignments(c *wire.Call) (*wire.Response, error) {
	return s.each(c, showPolicyAssignment)
}

func (s *settings) get(c *wire.Call) (*wire.Response, error) {
	r, at, err := s.named(c, c.Param("name"))
	if err != nil {
		return nil, err
	}
	d, err := showPolicy(c, at, r)
	if err != nil {
		return nil, err
	}
	return wire.OK(d), nil
}

func (s *settings) getAssignment(c *wire.Call) (*wire.Response, error) {
	policy, role, _ := strings.Cut(c.Param("name"), "_")
	r, at, err := s.named(c, policy)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(role, r.ID) {
		return nil, wire.Fail(http.StatusNotFound, "PolicyAssignmentNotFound", "The role management policy assignment '%.100s' was not found.", c.Param("name"))
	}
	d, err := showPolicyAssignment(c, at, r)
	if err != nil {
		return nil, err
	}
	return wire.OK(d), nil
}

// patch changes the rules that are sent; the others stay.
func (s *settings) patch(c *wire.Call) (*wire.Response, error) {
	r, at, err := s.named(c, c.Param("name"))
	if err != nil {
		return nil, err
	}
	t := pim.AzureRoleTarget(r.ID, at.String())
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	now, err := privileged.Settings(c.View(), c.Tenant, t)
	if err != nil {
		return nil, err
	}
	var changes []pim.Rule
	for _, item := range doc.List("properties.rules") {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, wire.Bad("InvalidRequestContent", "A rule must be an object.")
		}
		d := wire.Document(m)
		rule := pim.Rule{ID: d.Text("id")}
		if i := slices.IndexFunc(now.Rules(), func(x pim.Rule) bool { return x.ID == rule.ID }); i >= 0 {
			rule = now.Rules()[i]
		}
		if err := readRule(d, &rule); err != nil {
			return nil, err
		}
		changes = append(changes, rule)
	}
	if len(changes) == 0 {
		return nil, wire.Bad("InvalidRequestContent", "properties.rules holds no rule.")
	}
	if _, err := s.service.UpdateRules(c.Context, c.Tenant, t, c.ID, changes...); err != nil {
		if k := errs.KindOf(err); k == errs.Invalid || k == errs.NotFound {
			return nil, &wire.Error{Status: http.StatusBadRequest, Code: "InvalidPolicy", Message: errs.Message(err), Err: err}
		}
		return nil, err
	}
	if err := c.Refresh(); err != nil {
		return nil, err
	}
	d, err := showPolicy(c, at, r)
	if err != nil {
		return nil, err
	}
	return wire.OK(d), nil
}

// readRule puts what a rule of the body says into r. What it leaves out stays.
func readRule(d wire.Document, r *pim.Rule) error {
	kind, _, _ := strings.Cut(r.ID, "_")
	bad := func(format string, args ...any) error {
		return wire.Bad("InvalidRequestContent", format, args...)
	}
	if given := d.Text("ruleType"); given != "" && given != "RoleManagementPolicy"+kind+"Rule" {
		return bad("The rule '%.100s' is not of the type '%.100s'.", r.ID, given)
	}
	truth := func(path string, into *bool) error {
		v, ok := d.Get(path)
		if !ok || v == nil {
			return nil
		}
		b, ok := v.(bool)
		if !ok {
			return bad("%s of the rule '%s' must be true or false.", path, r.ID)
		}
		*into = b
		return nil
	}
	switch kind {
	case "Expiration":
		if text := d.Text("maximumDuration"); text != "" {
			duration, err := pim.ParseDuration(text)
			if err != nil {
				return bad("The maximumDuration '%.50s' is not valid.", text)
			}
			r.MaximumDuration = duration
		}
		return truth("isExpirationRequired", &r.ExpirationRequired)
	case "Enablement":
		if _, ok := d.Get("enabledRules"); !ok {
			return nil
		}
		r.EnabledRules = []string{}
		for _, v := range d.List("enabledRules") {
			name, ok := v.(string)
			if !ok {
				return bad("An enabled rule of '%s' must be text.", r.ID)
			}
			r.EnabledRules = append(r.EnabledRules, name)
		}
	case "AuthenticationContext":
		return truth("isEnabled", &r.ContextEnabled)
	case "Approval":
		stages := d.List("setting.approvalStages")
		if len(stages) > 1 {
			return bad("Approval has one stage.")
		}
		for _, stage := range stages {
			m, _ := stage.(map[string]any)
			r.Approvers = nil
			for _, a := range wire.Document(m).List("primaryApprovers") {
				m, _ := a.(map[string]any)
				id, ok := directory.ParseGUID(wire.Document(m).Text("id"))
				if !ok {
					return bad("An approver of the rule '%s' needs an id.", r.ID)
				}
				r.Approvers = append(r.Approvers, directory.ObjectID(id))
			}
		}
		return truth("setting.isApprovalRequired", &r.ApprovalRequired)
	}
	return nil
}

func showPolicy(c *wire.Call, at rbac.Scope, r *rbac.Role) (wire.Document, error) {
	rules, changed, by, err := rulesOf(c, at, r)
	if err != nil {
		return nil, err
	}
	return wire.Document{
		"id": policyIDAt(c, policies) + r.ID, "name": r.ID, "type": "Microsoft.Authorization/" + policies,
		"properties": wire.Document{
			"scope": c.Param("scope"), "displayName": nil, "description": nil, "isOrganizationDefault": changed.IsZero(),
			"lastModifiedBy": wire.Document{"id": orNil(by), "displayName": nil, "type": nil, "email": nil}, "lastModifiedDateTime": stamp(changed),
			"rules": rules, "effectiveRules": rules,
			"policyProperties": wire.Document{"scope": wire.Document{"id": c.Param("scope"), "displayName": nil, "type": nil}},
		},
	}, nil
}

func showPolicyAssignment(c *wire.Call, at rbac.Scope, r *rbac.Role) (wire.Document, error) {
	rules, _, _, err := rulesOf(c, at, r)
	if err != nil {
		return nil, err
	}
	role := definitionID(at, r.ID)
	return wire.Document{
		"id": policyIDAt(c, assignments) + r.ID + "_" + r.ID, "name": r.ID + "_" + r.ID, "type": "Microsoft.Authorization/" + assignments,
		"properties": wire.Document{
			"scope": c.Param("scope"), "roleDefinitionId": role, "policyId": policyIDAt(c, policies) + r.ID, "effectiveRules": rules,
			"policyAssignmentProperties": wire.Document{
				"scope":          wire.Document{"id": c.Param("scope"), "displayName": nil, "type": nil},
				"roleDefinition": wire.Document{"id": role, "displayName": r.Name, "type": typeOf(&r.RoleDefinition)},
				"policy":         wire.Document{"id": policyIDAt(c, policies) + r.ID, "lastModifiedBy": nil, "lastModifiedDateTime": nil},
			},
		},
	}, nil
}

func policyIDAt(c *wire.Call, collection string) string {
	return strings.TrimSuffix(c.Param("scope"), "/") + "/providers/Microsoft.Authorization/" + collection + "/"
}

// rulesOf returns the rules of a role at a scope, as ARM spells them, and who
// changed them last, and when.
func rulesOf(c *wire.Call, at rbac.Scope, r *rbac.Role) (rules []wire.Document, changed time.Time, by directory.ObjectID, err error) {
	t := pim.AzureRoleTarget(r.ID, at.String())
	s, err := privileged.Settings(c.View(), c.Tenant, t)
	if err != nil {
		return nil, changed, "", err
	}
	changed, by = privileged.LastChange(c.View(), c.Tenant, t)
	for _, rule := range s.Rules() {
		rules = append(rules, showRule(c, rule))
	}
	return rules, changed, by, nil
}

func showRule(c *wire.Call, r pim.Rule) wire.Document {
	parts := strings.Split(r.ID, "_") // Expiration_Admin_Eligibility
	d := wire.Document{
		"id": r.ID, "ruleType": "RoleManagementPolicy" + parts[0] + "Rule",
		"target": wire.Document{"caller": parts[1], "operations": []string{"All"}, "level": parts[2], "targetObjects": nil, "inheritableSettings": nil, "enforcedSettings": nil},
	}
	switch parts[0] {
	case "Expiration":
		d["isExpirationRequired"], d["maximumDuration"] = r.ExpirationRequired, pim.FormatDuration(r.MaximumDuration)
	case "Enablement":
		d["enabledRules"] = r.EnabledRules
	case "AuthenticationContext":
		d["isEnabled"], d["claimValue"] = r.ContextEnabled, ""
	case "Approval":
		approvers := []wire.Document{}
		for _, a := range r.Approvers {
			kind := "User"
			if typ, _ := state.TypeOf(c.View(), c.Tenant, a); typ == directory.TypeGroup {
				kind = "Group"
			}
			approvers = append(approvers, wire.Document{"id": string(a), "description": nil, "isBackup": false, "userType": kind})
		}
		d["setting"] = wire.Document{
			"isApprovalRequired": r.ApprovalRequired, "isApprovalRequiredForExtension": false, "isRequestorJustificationRequired": true, "approvalMode": "SingleStage",
			"approvalStages": []wire.Document{{
				"approvalStageTimeOutInDays": 1, "isApproverJustificationRequired": true, "escalationTimeInMinutes": 0, "isEscalationEnabled": false,
				"primaryApprovers": approvers, "escalationApprovers": nil,
			}},
		}
	}
	return d
}
