package governance_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph"
	"github.com/entrance-id/entrance/internal/graph/governance"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// TestRoutesAreGuarded walks the routes of this package with callers who have
// no permission, or no right.
func TestRoutesAreGuarded(t *testing.T) {
	w := newWorld(t)
	w.user("nobody")
	w.callers["no scopes"] = graph.Caller{Tenant: tenantID, ID: w.ids["admin"], Issued: w.clock.Now()}
	// Ordinary members ask about themselves here, and about nobody else.
	self := []string{"identityGovernance/", "roleManagement/", "policies/roleManagement", "devices/registerWithProof"}
	rev := w.store.View().Revision()
	for _, r := range governance.Routes(governance.Config{}) {
		path := strings.Replace(r.Pattern, "users/{id}", "users/"+string(w.ids["admin"]), 1)
		path = strings.ReplaceAll(strings.Replace(path, "/{on}", "(on='principal')", 1), "{id}", directory.NewGUID())
		w.do("", r.Method, path, obj()).want(401)
		w.do("no scopes", r.Method, path, obj()).want(403)
		if slices.ContainsFunc(self, func(p string) bool { return strings.HasPrefix(r.Pattern, p) }) {
			if a := w.do("nobody", r.Method, path, obj()); r.Method == "GET" && a.status == 200 && len(a.values("id")) > 0 || r.Method != "GET" && a.status < 400 {
				t.Errorf("%s: %d %s", a.request, a.status, a.raw)
			}
			continue
		}
		w.do("nobody", r.Method, path, obj()).want(403)
	}
	if w.store.View().Revision() != rev {
		t.Error("refused requests wrote to the store")
	}
}

func policyBody(name string, users ...string) map[string]any {
	return obj("displayName", name, "state", "enabled",
		"conditions", obj("clientAppTypes", list("all"), "applications", obj("includeApplications", list(string(directory.AKSServer))), "users", obj("includeUsers", users)),
		"grantControls", obj("operator", "OR", "builtInControls", list("mfa")))
}

func TestConditionalAccessPolicies(t *testing.T) {
	w := newWorld(t)
	ann := w.user("ann")
	w.user("ca", directory.ConditionalAccessAdministrator)
	w.user("reader", directory.SecurityReader)
	const base = "identity/conditionalAccess/policies"
	p := w.do("ca", "POST", base, policyBody("Require MFA for AKS", ann)).want(201)
	id := p.str("id")
	if p.str("createdDateTime") == "" || p.body["modifiedDateTime"] != nil {
		t.Errorf("%s", p.raw)
	}
	w.do("reader", "POST", base, policyBody("x", ann)).want(403)
	if got := w.do("reader", "GET", base+"?$filter=displayName eq 'require mfa for aks'&$select=id,state", nil).want(200).values("id"); !cmp.Equal(got, []string{id}) {
		t.Errorf("list %v", got)
	}
	w.do("ca", "PATCH", base+"/"+id, obj("state", "enabledForReportingButNotEnforced")).want(204)
	after := w.do("reader", "GET", base+"/"+id, nil).want(200)
	if after.str("state") != "enabledForReportingButNotEnforced" || after.str("displayName") != "Require MFA for AKS" || after.body["modifiedDateTime"] == nil {
		t.Errorf("%s", after.raw)
	}
	w.do("ca", "POST", base, policyBody("x", directory.NewGUID())).refused(400, "BadRequest", "includeUsers")
	w.do("ca", "POST", base, obj("displayName", "x")).want(400)
	w.do("ca", "PATCH", base+"/"+id, obj("state", "sometimes")).want(400)
	w.do("ca", "GET", base+"/"+directory.NewGUID(), nil).refused(404, "NotFound", "does not exist")
	w.do("ca", "DELETE", base+"/"+id, nil).want(204)
	w.do("ca", "DELETE", base+"/"+id, nil).want(404)
	got := w.do("admin", "GET", "auditLogs/directoryAudits?$filter=category eq 'Policy' and result eq 'success'", nil).want(200).values("activityDisplayName")
	if d := cmp.Diff([]string{"Delete conditional access policy", "Update conditional access policy", "Add conditional access policy"}, got); d != "" {
		t.Errorf("audit (-want +got):\n%s", d)
	}
}

func TestNamedLocationsAndStrengths(t *testing.T) {
	w := newWorld(t)
	l := w.do("admin", "POST", "identity/conditionalAccess/namedLocations", obj("@odata.type", "#microsoft.graph.ipNamedLocation", "displayName", "Office", "isTrusted", false,
		"ipRanges", list(obj("@odata.type", "#microsoft.graph.iPv4CidrRange", "cidrAddress", "192.0.2.0/24")))).want(201)
	if l.str("@odata.type") != "#microsoft.graph.ipNamedLocation" {
		t.Errorf("%s", l.raw)
	}
	body := policyBody("Office only", "All")
	body["conditions"].(map[string]any)["locations"] = obj("includeLocations", list("All"), "excludeLocations", list(l.str("id")))
	p := w.do("admin", "POST", "identity/conditionalAccess/policies", body).want(201).str("id")
	w.do("admin", "DELETE", "identity/conditionalAccess/namedLocations/"+l.str("id"), nil).refused(400, "BadRequest", "is used by the policy")
	w.do("admin", "DELETE", "identity/conditionalAccess/policies/"+p, nil).want(204)
	w.do("admin", "DELETE", "identity/conditionalAccess/namedLocations/"+l.str("id"), nil).want(204)

	const strengths = "policies/authenticationStrengthPolicies"
	if got := w.do("admin", "GET", strengths+"?$filter=policyType eq 'builtIn'", nil).want(200).values("id"); len(got) != 3 {
		t.Errorf("built in: %v", got)
	}
	s := w.do("admin", "POST", strengths, obj("displayName", "Keys", "allowedCombinations", list("fido2"))).want(201).str("id")
	if got := w.do("admin", "POST", strengths+"/"+s+"/updateAllowedCombinations", obj("allowedCombinations", list("fido2", "password,softwareOath"))).want(200); len(got.body["currentCombinations"].([]any)) != 2 || len(got.body["previousCombinations"].([]any)) != 1 {
		t.Errorf("%s", got.raw)
	}
	w.do("admin", "GET", "identity/conditionalAccess/authenticationStrength/policies/"+s, nil).want(200)
	w.do("admin", "DELETE", strengths+"/00000000-0000-0000-0000-000000000002", nil).want(403)
}

func TestWhatIf(t *testing.T) {
	w := newWorld(t)
	ann := w.user("ann")
	w.do("admin", "POST", "identity/conditionalAccess/policies", policyBody("for ann", ann)).want(201)
	w.do("admin", "POST", "identity/conditionalAccess/policies", policyBody("for admin", string(w.ids["admin"]))).want(201)
	ask := obj("signInIdentity", obj("@odata.type", "#microsoft.graph.userSignIn", "userId", ann),
		"signInContext", obj("@odata.type", "#microsoft.graph.applicationContext", "includeApplications", list(string(directory.AKSServer))),
		"signInConditions", obj("devicePlatform", "linux", "clientAppType", "mobileAppsAndDesktopClients", "ipAddress", "192.0.2.7", "country", "DE"))
	got := w.do("admin", "POST", "identity/conditionalAccess/evaluate", ask).want(200)
	applies := map[string]any{}
	for _, v := range got.body["value"].([]any) {
		m := v.(map[string]any)
		applies[m["displayName"].(string)] = m["policyApplies"]
	}
	if d := cmp.Diff(map[string]any{"for ann": true, "for admin": false}, applies); d != "" {
		t.Errorf("(-want +got):\n%s\n%s", d, got.raw)
	}
	ask["appliedPoliciesOnly"] = true
	if got := w.do("admin", "POST", "identity/conditionalAccess/evaluate", ask).values("displayName"); !cmp.Equal(got, []string{"for ann"}) {
		t.Errorf("applied only: %v", got)
	}
	for _, bad := range []map[string]any{
		obj(), obj("signInIdentity", obj(), "signInContext", obj("includeApplications", list("x"))), obj("signInIdentity", obj("userId", ann), "signInContext", obj()),
		obj("signInIdentity", obj("userId", ann), "signInContext", obj("includeApplications", list(directory.NewGUID())), "signInConditions", obj("devicePlatform", "amiga")),
		obj("signInIdentity", obj("userId", ann), "signInContext", obj("includeApplications", list(directory.NewGUID())), "signInConditions", obj("ipAddress", "here")),
	} {
		w.do("admin", "POST", "identity/conditionalAccess/evaluate", bad).want(400)
	}
}

func (w *world) group(assignable bool) string {
	return w.do("admin", "POST", "groups", obj("displayName", "ops", "mailNickname", "ops", "mailEnabled", false, "securityEnabled", true, "isAssignableToRole", assignable)).want(201).str("id")
}

// TestGroupActivation is just-in-time access to a group, over Graph alone.
func TestGroupActivation(t *testing.T) {
	w := newWorld(t)
	g, ann := w.group(false), w.user("ann")
	w.user("bob")
	const base = "identityGovernance/privilegedAccess/group/"
	eligible := obj("accessId", "member", "groupId", g, "principalId", ann, "action", "adminAssign", "justification", "on call",
		"scheduleInfo", obj("startDateTime", w.clock.Now().Format(time.RFC3339), "expiration", obj("type", "afterDuration", "duration", "P90D")))
	w.do("ann", "POST", base+"eligibilityScheduleRequests", eligible).want(403)
	e := w.do("admin", "POST", base+"eligibilityScheduleRequests", eligible).want(201)
	if e.str("status") != "Provisioned" || e.str("accessId") != "member" || e.str("groupId") != g {
		t.Errorf("%s", e.raw)
	}
	activate := obj("accessId", "member", "groupId", g, "principalId", ann, "action", "selfActivate", "scheduleInfo", obj("expiration", obj("type", "afterDuration", "duration", "PT2H")))
	w.do("ann", "POST", base+"assignmentScheduleRequests", activate).refused(400, "RoleAssignmentRequestPolicyValidationFailed", "JustificationRule")
	activate["justification"] = "incident 7"
	c := w.callers["ann"]
	c.Methods = []string{"pwd"}
	w.callers["ann, password only"] = c
	w.do("ann, password only", "POST", base+"assignmentScheduleRequests", activate).refused(400, "RoleAssignmentRequestPolicyValidationFailed", "MfaRule")
	w.do("bob", "POST", base+"assignmentScheduleRequests", activate).want(403)
	check := activate
	check["isValidationOnly"] = true
	w.do("ann", "POST", base+"assignmentScheduleRequests", check).want(201)
	if state.IsMember(w.store.View(), tenantID, directory.ObjectID(g), w.ids["ann"], w.clock.Now()) {
		t.Fatal("a validation made a member")
	}
	delete(activate, "isValidationOnly")
	r := w.do("ann", "POST", base+"assignmentScheduleRequests", activate).want(201)
	if got := w.do("admin", "GET", "groups/"+g+"/members", nil).values("id"); !cmp.Equal(got, []string{ann}) {
		t.Errorf("members while active: %v", got)
	}
	inst := w.do("ann", "GET", base+"assignmentScheduleInstances?$filter=groupId eq '"+g+"' and principalId eq '"+ann+"'", nil).want(200)
	if !cmp.Equal(inst.values("endDateTime"), []string{"2026-03-01T14:00:00Z"}) || !cmp.Equal(inst.values("assignmentType"), []string{"activated"}) {
		t.Errorf("%s", inst.raw)
	}
	for _, path := range []string{"eligibilitySchedules", "assignmentSchedules", "eligibilityScheduleInstances", "assignmentScheduleRequests", "eligibilityScheduleRequests", "assignmentScheduleInstances/filterByCurrentUser(on='principal')", "assignmentScheduleRequests/filterByCurrentUser(on='principal')"} {
		if got := w.do("ann", "GET", base+path, nil).want(200).values("id"); len(got) != 1 {
			t.Errorf("ann sees %d of %s", len(got), path)
		}
		if got := w.do("bob", "GET", base+path, nil).want(200).values("id"); len(got) != 0 {
			t.Errorf("bob sees %v of %s", got, path)
		}
	}
	w.do("bob", "GET", base+"assignmentScheduleRequests/"+r.str("id"), nil).want(404)
	exp := w.do("ann", "GET", base+"assignmentScheduleRequests/"+r.str("id")+"?$expand=principal,group", nil).want(200)
	if exp.body["principal"].(map[string]any)["id"] != ann || exp.body["group"].(map[string]any)["displayName"] != "ops" {
		t.Errorf("%s", exp.raw)
	}
	w.clock.Advance(2 * time.Hour)
	if got := w.do("admin", "GET", "groups/"+g+"/members", nil).values("id"); len(got) != 0 {
		t.Errorf("members after the end: %v", got)
	}
	w.do("ann", "POST", base+"assignmentScheduleRequests", obj("accessId", "member", "groupId", g, "principalId", ann, "action", "selfDeactivate")).refused(404, "RoleAssignmentDoesNotExist", "")
}

func TestApproval(t *testing.T) {
	w := newWorld(t)
	g, ann := w.group(false), w.user("ann")
	bob := w.user("bob")
	w.user("eve")
	a := w.do("admin", "GET", "policies/roleManagementPolicyAssignments?$filter=scopeId eq '"+g+"' and scopeType eq 'Group' and roleDefinitionId eq 'member'&$expand=policy($expand=rules)", nil).want(200)
	first := a.body["value"].([]any)[0].(map[string]any)
	pid := first["policyId"].(string)
	if rules := first["policy"].(map[string]any)["rules"].([]any); len(rules) != 8 {
		t.Errorf("%s", a.raw)
	}
	rule := "policies/roleManagementPolicies/" + pid + "/rules/Approval_EndUser_Assignment"
	body := obj("@odata.type", "#microsoft.graph.unifiedRoleManagementPolicyApprovalRule", "id", "Approval_EndUser_Assignment",
		"setting", obj("isApprovalRequired", true, "approvalStages", list(obj("primaryApprovers", list(obj("@odata.type", "#microsoft.graph.singleUser", "userId", bob))))))
	w.do("ann", "PATCH", rule, body).want(403)
	w.do("admin", "PATCH", rule, body).want(204)
	if got := w.do("ann", "GET", rule, nil).want(200); !strings.Contains(string(got.raw), bob) || !strings.Contains(string(got.raw), `"isApprovalRequired":true`) {
		t.Errorf("%s", got.raw)
	}
	w.do("admin", "PATCH", "policies/roleManagementPolicies/"+pid+"/rules/Expiration_EndUser_Assignment", obj("maximumDuration", "PT30H")).want(400)
	w.do("admin", "PATCH", "policies/roleManagementPolicies/"+pid+"/rules/Expiration_EndUser_Assignment", obj("maximumDuration", "PT4H")).want(204)
	const base = "identityGovernance/privilegedAccess/group/"
	w.do("admin", "POST", base+"eligibilityScheduleRequests", obj("accessId", "member", "groupId", g, "principalId", ann, "action", "adminAssign",
		"scheduleInfo", obj("expiration", obj("type", "afterDuration", "duration", "P30D")))).want(201)
	activate := obj("accessId", "member", "groupId", g, "principalId", ann, "action", "selfActivate", "justification", "x", "scheduleInfo", obj("expiration", obj("type", "afterDuration", "duration", "PT4H")))
	r := w.do("ann", "POST", base+"assignmentScheduleRequests", activate).want(201)
	if r.str("status") != "PendingApproval" {
		t.Errorf("%s", r.raw)
	}
	id := r.str("approvalId")
	stage := base + "assignmentApprovals/" + id + "/stages/" + id
	if got := w.do("bob", "GET", base+"assignmentApprovals/filterByCurrentUser(on='approver')", nil).want(200).values("id"); !cmp.Equal(got, []string{id}) {
		t.Errorf("bob is asked about %v", got)
	}
	if got := w.do("eve", "GET", base+"assignmentApprovals/filterByCurrentUser(on='approver')", nil).want(200).values("id"); len(got) != 0 {
		t.Errorf("eve is asked about %v", got)
	}
	w.do("eve", "PATCH", stage, obj("reviewResult", "Approve", "justification", "x")).want(404)
	w.do("ann", "PATCH", stage, obj("reviewResult", "Approve", "justification", "mine")).want(403)
	w.do("bob", "PATCH", stage, obj("reviewResult", "Approve", "justification", "fine")).want(204)
	if !state.IsMember(w.store.View(), tenantID, directory.ObjectID(g), w.ids["ann"], w.clock.Now()) {
		t.Error("ann is no member after the approval")
	}
	done := w.do("bob", "GET", stage, nil).want(200)
	if done.str("reviewResult") != "Approve" || done.str("status") != "Completed" || done.body["reviewedBy"].(map[string]any)["id"] != bob {
		t.Errorf("%s", done.raw)
	}
	w.do("bob", "PATCH", stage, obj("reviewResult", "Deny", "justification", "late")).want(400)
}

func TestDirectoryRoleActivation(t *testing.T) {
	w := newWorld(t)
	ann := w.user("ann")
	const base = "roleManagement/directory/"
	w.do("admin", "POST", base+"roleEligibilityScheduleRequests", obj("principalId", ann, "roleDefinitionId", directory.UserAdministrator, "directoryScopeId", "/", "action", "adminAssign",
		"justification", "x", "scheduleInfo", obj("startDateTime", w.clock.Now().Format(time.RFC3339), "expiration", obj("type", "afterDateTime", "endDateTime", w.clock.Now().AddDate(0, 1, 0).Format(time.RFC3339))))).want(201)
	bob := w.user("bob")
	w.do("ann", "PATCH", "users/"+bob, obj("jobTitle", "x")).want(403)
	r := w.do("ann", "POST", base+"roleAssignmentScheduleRequests", obj("principalId", ann, "roleDefinitionId", directory.UserAdministrator, "directoryScopeId", "/", "action", "selfActivate",
		"justification", "x", "scheduleInfo", obj("expiration", obj("type", "afterDuration", "duration", "PT1H")), "ticketInfo", obj("ticketNumber", "7", "ticketSystem", "it"))).want(201)
	if r.str("directoryScopeId") != "/" || r.body["ticketInfo"].(map[string]any)["ticketNumber"] != "7" {
		t.Errorf("%s", r.raw)
	}
	w.do("ann", "PATCH", "users/"+bob, obj("jobTitle", "x")).want(204)
	exp := w.do("ann", "GET", base+"roleAssignmentScheduleInstances?$expand=roleDefinition", nil).want(200)
	if !strings.Contains(string(exp.raw), `"displayName":"User Administrator"`) || !cmp.Equal(exp.values("assignmentType"), []string{"Activated"}) {
		t.Errorf("%s", exp.raw)
	}
	w.clock.Advance(10 * time.Minute)
	w.do("ann", "POST", base+"roleAssignmentScheduleRequests", obj("principalId", ann, "roleDefinitionId", directory.UserAdministrator, "directoryScopeId", "/", "action", "selfDeactivate")).want(201)
	w.do("ann", "PATCH", "users/"+bob, obj("jobTitle", "y")).want(403)
	// Nobody without the right assigns, whatever the body says.
	for _, action := range []string{"adminAssign", "adminUpdate", "adminRemove"} {
		w.do("ann", "POST", base+"roleAssignmentScheduleRequests", obj("principalId", ann, "roleDefinitionId", directory.GlobalAdministrator, "directoryScopeId", "/", "action", action, "justification", "x")).want(403)
	}
	if got := w.do("admin", "GET", "policies/roleManagementPolicyAssignments?$filter=scopeId eq '/' and scopeType eq 'DirectoryRole' and roleDefinitionId eq '"+directory.GlobalAdministrator+"'", nil).want(200).values("scopeType"); !cmp.Equal(got, []string{"DirectoryRole"}) {
		t.Errorf("%v", got)
	}
	w.do("admin", "GET", "policies/roleManagementPolicyAssignments", nil).want(400)
	for _, bad := range []map[string]any{
		obj("action", "fly", "principalId", ann, "roleDefinitionId", directory.GlobalReader, "directoryScopeId", "/"), obj("action", "adminAssign", "roleDefinitionId", "x", "directoryScopeId", "/"),
		obj("action", "adminAssign", "principalId", ann, "roleDefinitionId", directory.GlobalReader, "directoryScopeId", "/", "scheduleInfo", obj("expiration", obj("type", "afterDuration", "duration", "2 hours"))),
		obj("action", "adminAssign", "principalId", ann, "roleDefinitionId", directory.GlobalReader, "directoryScopeId", "/", "scheduleInfo", obj("recurrence", obj("x", 1))), obj("action", "adminAssign", "color", 1, "roleDefinitionId", directory.GlobalReader, "directoryScopeId", "/"),
	} {
		w.do("admin", "POST", base+"roleAssignmentScheduleRequests", bad).want(400)
	}
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	ann := w.user("ann")
	w.user("reports", directory.ReportsReader)
	for i, code := range []int{0, 50126, 53000} {
		if err := w.log.SignIn(context.Background(), &audit.SignInEvent{
			Time: w.clock.Now().Add(time.Duration(i) * time.Minute), Tenant: tenantID, User: directory.ObjectID(ann), UserName: "ann@contoso.example", DisplayName: "ann", Client: directory.AKSClient,
			Resource: directory.AKSServer, Address: netip.MustParseAddr("192.0.2.1"), Interactive: true, Code: code, Status: "failure", Reason: "reason",
		}); err != nil {
			t.Fatal(err)
		}
	}
	other := directory.TenantID(directory.NewGUID())
	if err := w.log.SignIn(context.Background(), &audit.SignInEvent{Time: w.clock.Now(), Tenant: other, User: directory.ObjectID(directory.NewGUID()), UserName: "eve@fabrikam.example"}); err != nil {
		t.Fatal(err)
	}
	all := w.do("reports", "GET", "auditLogs/signIns", nil).want(200)
	if got := all.values("userPrincipalName"); !cmp.Equal(got, []string{"ann@contoso.example", "ann@contoso.example", "ann@contoso.example"}) {
		t.Fatalf("%v", got)
	}
	for filter, want := range map[string]int{
		"status/errorCode eq 50126": 1, "userPrincipalName eq 'ANN@contoso.example'": 3, "userId eq '" + ann + "' and status/errorCode ne 0": 2,
		"createdDateTime ge 2026-03-01T12:01:00Z": 2, "createdDateTime gt 2026-03-01T12:01:00Z and status/errorCode eq 0": 0, "conditionalAccessStatus eq 'failure'": 3,
		"startswith(userPrincipalName,'eve')": 0, "appId eq '" + string(directory.AKSClient) + "'": 3,
	} {
		if got := w.do("reports", "GET", "auditLogs/signIns?$filter="+filter, nil).want(200).values("id"); len(got) != want {
			t.Errorf("%s: %d, want %d", filter, len(got), want)
		}
	}
	page := w.do("reports", "GET", "auditLogs/signIns?$top=2&$orderby=createdDateTime desc", nil).want(200)
	next := page.str("@odata.nextLink")
	rest := w.do("reports", "GET", strings.TrimPrefix(next, "https://localhost:8443/v1.0/"), nil).want(200)
	if got := append(page.values("id"), rest.values("id")...); !cmp.Equal(got, all.values("id")) {
		t.Errorf("paged %v, all %v", got, all.values("id"))
	}
	w.do("reports", "GET", "auditLogs/signIns/"+all.values("id")[0], nil).want(200)
	w.do("reports", "GET", "auditLogs/signIns/"+directory.NewGUID(), nil).want(404)
	for _, bad := range []string{"$orderby=appId", "$top=0", "$top=5000", "$skiptoken=x", "$filter=secret eq 1", "$expand=user"} {
		w.do("reports", "GET", "auditLogs/signIns?"+bad, nil).want(400)
	}
	// Graph's own writes, and refusals, are in the other log.
	w.do("ann", "DELETE", "users/"+string(w.ids["admin"]), nil).want(403)
	a := w.do("reports", "GET", "auditLogs/directoryAudits?$filter=activityDisplayName eq 'Delete user'", nil).want(200)
	first := a.body["value"].([]any)[0].(map[string]any)
	if first["result"] != "failure" || first["initiatedBy"].(map[string]any)["user"].(map[string]any)["userPrincipalName"] != "ann@contoso.example" || first["tenantId"] != nil {
		t.Errorf("%s", a.raw)
	}
	w.do("reports", "GET", "auditLogs/directoryAudits/"+first["id"].(string), nil).want(200)
}

func TestAuthenticationMethods(t *testing.T) {
	w := newWorld(t)
	ann := w.user("ann")
	w.user("helper", directory.AuthenticationAdministrator)
	w.user("bob")
	totp, key := directory.NewGUID(), directory.NewGUID()
	w.update(func(tx *store.Tx) error {
		for _, user := range []directory.ObjectID{directory.ObjectID(ann), w.ids["admin"]} {
			if err := state.Authenticators.Create(tx, &state.Authenticator{Tenant: tenantID, User: user, ID: totp, Kind: state.TOTP, Name: "phone", Secret: "JBSWY3DPEHPK3PXP", Created: w.clock.Now()}); err != nil {
				return err
			}
		}
		return state.Authenticators.Create(tx, &state.Authenticator{Tenant: tenantID, User: directory.ObjectID(ann), ID: key, Kind: state.Passkey, Name: "key", CredentialID: "abc", Created: w.clock.Now()})
	})
	base := "users/" + ann + "/authentication/"
	all := w.do("helper", "GET", base+"methods", nil).want(200)
	types := all.values("@odata.type")
	slices.Sort(types)
	if d := cmp.Diff([]string{"#microsoft.graph.fido2AuthenticationMethod", "#microsoft.graph.passwordAuthenticationMethod", "#microsoft.graph.softwareOathAuthenticationMethod"}, types); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if strings.Contains(string(all.raw), "JBSWY3DPEHPK3PXP") {
		t.Error("the secret of a TOTP is shown")
	}
	w.do("bob", "GET", base+"methods", nil).want(403)
	w.do("ann", "GET", "me/authentication/methods", nil).want(200)
	w.do("ann", "GET", "me/authentication/fido2Methods/"+key, nil).want(200)
	w.do("ann", "GET", "me/authentication/fido2Methods/"+totp, nil).want(404)
	w.do("bob", "DELETE", base+"fido2Methods/"+key, nil).want(403)
	w.do("helper", "DELETE", base+"fido2Methods/"+totp, nil).want(404)
	w.do("helper", "DELETE", base+"softwareOathMethods/"+totp, nil).want(204)
	w.do("ann", "DELETE", "me/authentication/fido2Methods/"+key, nil).want(204)
	w.do("helper", "DELETE", "users/"+string(w.ids["admin"])+"/authentication/softwareOathMethods/"+totp, nil).want(403)
	if got := w.do("ann", "GET", "me/authentication/methods", nil).values("id"); !cmp.Equal(got, []string{"28c10230-6103-485e-b985-444c60001490"}) {
		t.Errorf("left: %v", got)
	}
}
