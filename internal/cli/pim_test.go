package cli_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/rbac"
)

// signIn signs a person in to the shell.
func (s *shell) signIn(u entrancetest.User) {
	s.Helper()
	s.ok("account", "clear")
	s.ok("login", "-u", u.UserPrincipalName, "-p", u.Password, "--allow-no-subscriptions")
}

// rules replaces a rule of a group's membership.
func (s *shell) rule(group, rule string, body map[string]any) {
	s.Helper()
	var found struct{ Value []struct{ PolicyID string } }
	s.cloud.Graph(s.T, http.MethodGet, "/policies/roleManagementPolicyAssignments?"+url.Values{
		"$filter": {"scopeId eq '" + group + "' and scopeType eq 'Group' and roleDefinitionId eq 'member'"},
	}.Encode(), nil, &found)
	if len(found.Value) != 1 {
		s.Fatalf("%d sets of rules", len(found.Value))
	}
	body["id"], body["target"] = rule, map[string]any{"caller": "EndUser", "operations": []string{"all"}, "level": "Assignment"}
	s.cloud.Graph(s.T, http.MethodPatch, "/policies/roleManagementPolicies/"+found.Value[0].PolicyID+"/rules/"+rule, body, nil)
}

func TestPIM(t *testing.T) {
	s := newShell(t)
	s.fails(1, "nobody is signed in", "pim", "list")
	ann, bob := s.cloud.AddUser(t, "ann"), s.cloud.AddUser(t, "bob")
	admins := s.cloud.AddGroup(t, "cluster-admins")
	s.cloud.Graph(t, http.MethodPost, "/identityGovernance/privilegedAccess/group/eligibilityScheduleRequests", map[string]any{
		"action": "adminAssign", "accessId": "member", "groupId": admins.ID, "principalId": ann.ID, "justification": "on call",
		"scheduleInfo": map[string]any{"expiration": map[string]any{"type": "afterDuration", "duration": "P30D"}},
	}, nil)

	s.signIn(ann)
	s.want("eligible", "[].state", "pim", "list")
	s.want("cluster-admins", "[0].name", "pim", "list", "--state", "eligible")
	s.fails(2, "one of --group and --role", "pim", "activate")
	s.fails(2, "--duration", "pim", "activate", "--group", "cluster-admins", "-j", "x", "-d", "long")
	s.fails(2, "--state is one of", "pim", "list", "--state", "lost")
	s.fails(3, "No group is called", "pim", "activate", "--group", "nobody", "-j", "x")
	s.fails(3, "needs --scope", "pim", "activate", "--role", "Azure Kubernetes Service RBAC Reader", "-j", "x")
	// The password was one factor.
	s.fails(1, "MfaRule", "pim", "activate", "--group", "cluster-admins", "-j", "INC-4711")

	s.rule(admins.ID, "Enablement_EndUser_Assignment", map[string]any{
		"@odata.type": "#microsoft.graph.unifiedRoleManagementPolicyEnablementRule", "enabledRules": []string{"Justification"},
	})
	s.fails(1, "JustificationRule", "pim", "activate", "--group", "cluster-admins")
	s.want("Provisioned", "status", "pim", "activate", "--group", "cluster-admins", "-j", "INC-4711", "-d", "30m")
	if until := s.word("[0].until", "pim", "list", "--state", "active"); !strings.HasSuffix(until, "Z") {
		t.Errorf("active until %q", until)
	}
	s.fails(1, "ActiveDurationTooShort", "pim", "deactivate", "--group", "cluster-admins")

	// With an approval: somebody else decides, and never oneself.
	s.cloud.Graph(t, http.MethodPost, "/identityGovernance/privilegedAccess/group/assignmentScheduleRequests", map[string]any{
		"action": "adminRemove", "accessId": "member", "groupId": admins.ID, "principalId": ann.ID, "justification": "done",
	}, nil)
	s.rule(admins.ID, "Approval_EndUser_Assignment", map[string]any{
		"@odata.type": "#microsoft.graph.unifiedRoleManagementPolicyApprovalRule",
		"setting": map[string]any{"isApprovalRequired": true, "approvalMode": "SingleStage", "approvalStages": []map[string]any{{
			"approvalStageTimeOutInDays": 1, "isApproverJustificationRequired": true, "isEscalationEnabled": false, "escalationTimeInMinutes": 0, "escalationApprovers": []any{},
			"primaryApprovers": []map[string]any{
				{"@odata.type": "#microsoft.graph.singleUser", "userId": bob.ID}, {"@odata.type": "#microsoft.graph.singleUser", "userId": ann.ID},
			},
		}}},
	})
	id := s.word("id", "pim", "activate", "--group", admins.ID, "-j", "INC-4712")
	s.want("pending", "[?state!='eligible'].state", "pim", "list")
	s.fails(3, "waits for your decision", "pim", "approve", "--id", id, "-j", "my own")
	s.signIn(bob)
	s.want(ann.UserPrincipalName, "[?state=='toApprove'].requestor", "pim", "list")
	s.want("Approve", "status", "pim", "approve", "--id", id, "-j", "go ahead")
	s.fails(3, "waits for your decision", "pim", "approve", "--id", id)
	s.fails(2, "--id", "pim", "approve")
	s.signIn(ann)
	s.want("active", "[?state!='eligible'].state", "pim", "list")
}

func TestPIMAzureRole(t *testing.T) {
	s := newShell(t)
	ann := s.cloud.AddUser(t, "ann")
	scope := "/subscriptions/" + s.cloud.SubscriptionID + "/resourceGroups/sample"
	role, _ := rbac.BuiltInRole("Azure Kubernetes Service RBAC Reader")
	s.cloud.ARM(t, http.MethodPut, scope+"/providers/Microsoft.Authorization/roleEligibilityScheduleRequests/33333333-3333-4333-8333-333333333333?api-version=2020-10-01", map[string]any{
		"properties": map[string]any{
			"principalId": ann.ID, "requestType": "AdminAssign", "justification": "on call",
			"roleDefinitionId": "/subscriptions/" + s.cloud.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/" + role.ID,
			"scheduleInfo":     map[string]any{"expiration": map[string]any{"type": "AfterDuration", "duration": "P30D"}},
		},
	}, nil)
	s.signIn(ann)
	s.want(role.Name, "[?kind=='azureRole' && state=='eligible'].name", "pim", "list", "--subscription", s.cloud.SubscriptionID)
	s.fails(1, "MfaRule", "pim", "activate", "--role", role.Name, "--scope", scope, "-j", "INC-1")
}

func TestPolicyWhatIf(t *testing.T) {
	s := newShell(t)
	ann := s.cloud.AddUser(t, "ann")
	s.fails(2, "--user and --service-principal", "policy", "what-if")
	s.want("granted", "decision", "policy", "what-if", "--user", ann.UserPrincipalName)
	s.cloud.Graph(t, http.MethodPost, "/identity/conditionalAccess/policies", map[string]any{
		"displayName": "compliant", "state": "enabled",
		"conditions": map[string]any{
			"clientAppTypes": []string{"all"}, "applications": map[string]any{"includeApplications": []string{"6dae42f8-4368-4678-94ff-3960e28e3630"}}, "users": map[string]any{"includeUsers": []string{ann.ID}},
		},
		"grantControls": map[string]any{"operator": "OR", "builtInControls": []string{"compliantDevice"}},
	}, nil)
	s.want("compliant", "[].displayName", "policy", "list")
	what := []string{"policy", "what-if", "--user", ann.UserPrincipalName}
	s.want("blocked", "decision", append(what, "--device-code")...)
	s.want("granted", "decision", append(what, "--app", "00000003-0000-0000-c000-000000000000")...)
	s.want("application", "policies[0].analysisReasons", append(what, "--app", "00000003-0000-0000-c000-000000000000")...)
	s.want("granted", "decision", "policy", "what-if", "--user", s.cloud.Administrator.UserPrincipalName)
	s.want("users", "policies[0].analysisReasons", "policy", "what-if", "--user", s.cloud.Administrator.UserPrincipalName)
	s.cloud.Graph(t, http.MethodPost, "/devices", map[string]any{
		"displayName": "laptop", "operatingSystem": "Linux", "operatingSystemVersion": "6", "accountEnabled": true, "isCompliant": true, "isManaged": true,
	}, nil)
	s.want("granted", "decision", append(what, "--device", "laptop")...)
	s.fails(3, "No device is called", append(what, "--device", "nothing")...)
	if out := s.ok(append(what, "-o", "table")...); !strings.Contains(out, "compliantDevice") || !strings.Contains(out, "Policy") {
		t.Errorf("table:\n%s", out)
	}
}
