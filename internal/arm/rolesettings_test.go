package arm_test

import (
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
)

// TestRoleSettings changes what activating a role at one resource group asks for,
// as an administrator does, and sees it asked there and nowhere else.
func TestRoleSettings(t *testing.T) {
	w := newWorld(t)
	g, other := w.newResourceGroup("rg"), w.newResourceGroup("other")
	role := func(at string) string { return at + authorization + "roleDefinitions/" + contributor }
	year := object{"type": "AfterDuration", "duration": "P180D"}
	for _, at := range []string{g, other} {
		w.call(w.olga, "PUT", at+authorization+"roleEligibilityScheduleRequests/"+directory.NewGUID(), object{"properties": object{
			"principalId": w.nina, "roleDefinitionId": role("/subscriptions/" + w.sub), "requestType": "AdminAssign", "justification": "x", "scheduleInfo": object{"expiration": year},
		}}).want(201)
	}
	// activate asks for some hours, with one factor.
	activate := func(at, duration, justification string) *answer {
		return w.call(w.nina, "POST", at+authorization+"roleAssignmentScheduleRequests/"+directory.NewGUID()+"/validate", object{"properties": object{
			"principalId": w.nina, "roleDefinitionId": role("/subscriptions/" + w.sub), "requestType": "SelfActivate", "justification": justification,
			"scheduleInfo": object{"expiration": object{"type": "AfterDuration", "duration": duration}},
		}})
	}
	activate(g, "PT1H", "deploy").refused(400, "RoleAssignmentRequestPolicyValidationFailed") // multifactor authentication, by default

	// Clients find the policy by way of its assignment.
	list := w.call(w.olga, "GET", g+authorization+"roleManagementPolicyAssignments?$filter="+strings.ReplaceAll("roleDefinitionId eq '"+role(g)+"'", " ", "%20"), nil).want(200)
	policy := list.text("value.0.properties.policyId")
	if len(list.list()) != 1 || !strings.HasPrefix(policy, g+authorization+"roleManagementPolicies/") || list.text("value.0.properties.roleDefinitionId") != role("/subscriptions/"+w.sub) {
		t.Fatalf("%s", list.raw)
	}
	w.call(w.olga, "GET", list.text("value.0.id"), nil).want(200)
	if n := len(w.call(w.olga, "GET", g+authorization+"roleManagementPolicyAssignments", nil).want(200).list()); n < 50 {
		t.Errorf("%d policies at the resource group, want one for each role", n)
	}
	before := w.call(w.olga, "GET", policy, nil).want(200)
	rules := map[string]object{}
	for _, r := range before.get("properties.rules").([]any) {
		m := r.(map[string]any)
		rules[m["id"].(string)] = m
	}
	for id, kind := range map[string]string{
		"Expiration_Admin_Eligibility": "Expiration", "Expiration_Admin_Assignment": "Expiration", "Expiration_EndUser_Assignment": "Expiration",
		"Enablement_Admin_Assignment": "Enablement", "Enablement_EndUser_Assignment": "Enablement", "Approval_EndUser_Assignment": "Approval",
	} {
		if rules[id] == nil || rules[id]["ruleType"] != "RoleManagementPolicy"+kind+"Rule" {
			t.Errorf("%s: %v", id, rules[id])
		}
	}

	patch := func(rules ...object) object {
		return object{"properties": object{"rules": rules}}
	}
	relaxed := patch(
		object{"id": "Enablement_EndUser_Assignment", "ruleType": "RoleManagementPolicyEnablementRule", "enabledRules": []string{"Justification"}},
		object{"id": "Expiration_EndUser_Assignment", "ruleType": "RoleManagementPolicyExpirationRule", "isExpirationRequired": true, "maximumDuration": "PT2H"},
	)
	// Neither the person nor somebody who is an owner elsewhere may.
	w.call(w.nina, "PATCH", policy, relaxed).refused(403, "AuthorizationFailed")
	local := w.user("local")
	w.assign(local, owner, other)
	w.call(local, "PATCH", policy, relaxed).refused(403, "AuthorizationFailed")
	w.call(local, "GET", policy, nil).refused(403, "AuthorizationFailed")
	// What cannot be understood or enforced changes nothing.
	for name, body := range map[string]object{
		"nothing":          patch(),
		"an unknown rule":  patch(object{"id": "Enablement_Nobody_Assignment", "enabledRules": []string{}}),
		"an unknown value": patch(object{"id": "Enablement_EndUser_Assignment", "enabledRules": []string{"Hope"}}),
		"a bad duration":   patch(object{"id": "Expiration_EndUser_Assignment", "maximumDuration": "2 hours"}),
		"too long":         patch(object{"id": "Expiration_EndUser_Assignment", "maximumDuration": "P2D"}),
		"another type":     patch(object{"id": "Expiration_EndUser_Assignment", "ruleType": "RoleManagementPolicyApprovalRule"}),
		"nobody approves":  patch(object{"id": "Approval_EndUser_Assignment", "setting": object{"approvalStages": []object{{"primaryApprovers": []object{{"id": directory.NewGUID()}}}}}}),
		"a good one after": patch(object{"id": "Expiration_EndUser_Assignment", "maximumDuration": "PT2H"}, object{"id": "Expiration_EndUser_Assignment", "isExpirationRequired": "yes"}),
	} {
		if a := w.call(w.olga, "PATCH", policy, body); a.status != 400 {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	if after := w.call(w.olga, "GET", policy, nil).want(200); string(after.raw) != string(before.raw) {
		t.Errorf("after refusals:\n%s\nwant\n%s", after.raw, before.raw)
	}

	a := w.call(w.olga, "PATCH", policy, relaxed).want(200)
	if a.text("properties.lastModifiedBy.id") != string(w.olga) {
		t.Errorf("%s", a.raw)
	}
	activate(g, "PT1H", "deploy").want(200)
	activate(g, "PT3H", "deploy").refused(400, "RoleAssignmentRequestPolicyValidationFailed")
	activate(g, "PT1H", "").refused(400, "RoleAssignmentRequestPolicyValidationFailed")
	activate(other, "PT1H", "deploy").refused(400, "RoleAssignmentRequestPolicyValidationFailed") // multifactor authentication still

	// With approval, activating waits for somebody else.
	approver := w.user("approver")
	a = w.call(w.olga, "PATCH", policy, patch(object{"id": "Approval_EndUser_Assignment", "setting": object{
		"isApprovalRequired": true, "approvalStages": []object{{"primaryApprovers": []object{{"id": approver, "userType": "User"}}}},
	}})).want(200)
	if !strings.Contains(string(a.raw), string(approver)) {
		t.Errorf("%s", a.raw)
	}
	if got := activate(g, "PT1H", "deploy").want(200).text("properties.status"); got != "PendingApproval" {
		t.Errorf("status %q, want PendingApproval", got)
	}
	w.call(w.olga, "GET", g+authorization+"roleManagementPolicies/"+directory.NewGUID(), nil).refused(404, "PolicyNotFound")
	w.call(w.olga, "GET", g+authorization+"roleManagementPolicyAssignments?$filter=nonsense", nil).refused(400, "UnsupportedFilter")
}
