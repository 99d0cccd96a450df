package policy_test

import (
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/diagnose"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/server"
)

// within is how soon a running cluster follows a change: the two seconds that are
// promised, and what kubectl itself takes on a busy machine.
const within = 4 * time.Second

// eventually waits until kubectl is let in, or refused.
func eventually(t *testing.T, k *entrancetest.Cluster, token string, allowed bool, args ...string) {
	t.Helper()
	var out string
	var err error
	start := time.Now()
	for time.Since(start) < within {
		if out, err = k.Kubectl(t, token, args...); (err == nil) == allowed {
			if !allowed && !strings.Contains(out, "Forbidden") {
				t.Errorf("kubectl %v: refused with %q, want Forbidden", args, out)
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("kubectl %v: allowed is not %v after %v: %v\n%s", args, allowed, within, err, out)
}

// window is the shortest that there is.
const window = 5 * time.Minute

// TestJustInTime walks through just-in-time access on a real cluster: eligible is
// Forbidden, activated is allowed without a new token, ended is Forbidden.
func TestJustInTime(t *testing.T) {
	var moved atomic.Int64
	cloud := entrancetest.Start(t, entrancetest.WithClock(func() time.Time { return time.Now().Add(time.Duration(moved.Load())) }))
	// Nobody waits for the end of a window in a test.
	ends := func() { moved.Add(int64(window)) }
	admins := cloud.AddGroup(t, "cluster-admins")
	k := cloud.StartCluster(t, entrancetest.ClusterOptions{AdminGroups: []string{admins.ID}, AzureRBAC: true})

	t.Run("an admin group of the cluster", func(t *testing.T) {
		ann := cloud.AddUser(t, "ann")
		token := cloud.UserToken(t, ann, cloud.AKSScope())
		base := "/identityGovernance/privilegedAccess/group/"
		request := func(action, duration string) map[string]any {
			return map[string]any{
				"action": action, "accessId": "member", "groupId": admins.ID, "principalId": ann.ID, "justification": "INC-4711",
				"scheduleInfo": map[string]any{"expiration": map[string]any{"type": "afterDuration", "duration": duration}},
			}
		}
		cloud.Graph(t, http.MethodPost, base+"eligibilityScheduleRequests", request("adminAssign", "P30D"), nil)
		eventually(t, k, token, false, "get", "nodes") // eligible is not active
		diagnosed(t, cloud, k, ann, "is eligible for membership of group cluster-admins, which would allow it, but has not activated it")
		// The password is one factor: the activation needs a second.
		own := cloud.UserToken(t, ann, cloud.GraphScope())
		if status, out := post(t, cloud, own, base+"assignmentScheduleRequests", request("selfActivate", "PT1H")); status != http.StatusBadRequest {
			t.Errorf("activation without multifactor authentication: HTTP %d %v", status, out)
		}
		eventually(t, k, token, false, "get", "nodes")
		// Without that rule, and within what is left of the rules, Ann does it.
		var rules struct{ Value []struct{ PolicyID string } }
		cloud.Graph(t, http.MethodGet, "/policies/roleManagementPolicyAssignments?"+url.Values{
			"$filter": {"scopeId eq '" + admins.ID + "' and scopeType eq 'Group' and roleDefinitionId eq 'member'"},
		}.Encode(), nil, &rules)
		if len(rules.Value) != 1 {
			t.Fatalf("%d rules for the group, want 1", len(rules.Value))
		}
		cloud.Graph(t, http.MethodPatch, "/policies/roleManagementPolicies/"+rules.Value[0].PolicyID+"/rules/Enablement_EndUser_Assignment", map[string]any{
			"@odata.type": "#microsoft.graph.unifiedRoleManagementPolicyEnablementRule", "id": "Enablement_EndUser_Assignment",
			"enabledRules": []string{"Justification"},
			"target":       map[string]any{"caller": "EndUser", "operations": []string{"all"}, "level": "Assignment"},
		}, nil)
		for _, long := range []string{"PT9H", "P2D"} {
			if status, out := post(t, cloud, own, base+"assignmentScheduleRequests", request("selfActivate", long)); status != http.StatusBadRequest {
				t.Errorf("activation for %s: HTTP %d %v, want a refusal", long, status, out)
			}
		}
		if status, out := post(t, cloud, own, base+"assignmentScheduleRequests", request("selfActivate", "PT5M")); status != http.StatusCreated {
			t.Fatalf("activation: HTTP %d %v", status, out)
		}
		eventually(t, k, token, true, "get", "nodes")
		ends()
		eventually(t, k, token, false, "get", "nodes")
		// Once more, and ended before its time by an administrator.
		if status, out := post(t, cloud, own, base+"assignmentScheduleRequests", request("selfActivate", "PT1H")); status != http.StatusCreated {
			t.Fatalf("activation: HTTP %d %v", status, out)
		}
		eventually(t, k, token, true, "get", "nodes")
		cloud.Graph(t, http.MethodPost, base+"assignmentScheduleRequests", request("adminRemove", "PT1H"), nil)
		eventually(t, k, token, false, "get", "nodes")
	})

	for _, c := range []struct{ name, scope string }{
		{"an Azure role at the cluster", k.ID},
		{"an Azure role at a namespace", k.ID + "/namespaces/default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bob := cloud.AddUser(t, "bob"+directory.NewGUID()[:8])
			token := cloud.UserToken(t, bob, cloud.AKSScope())
			role, ok := rbac.BuiltInRole("Azure Kubernetes Service RBAC Reader")
			if !ok {
				t.Fatal("there is no such role")
			}
			request := func(plane, kind, duration string) {
				cloud.ARM(t, http.MethodPut, c.scope+"/providers/Microsoft.Authorization/"+plane+"ScheduleRequests/"+directory.NewGUID()+"?api-version=2020-10-01", map[string]any{
					"properties": map[string]any{
						"principalId": bob.ID, "requestType": kind, "justification": "INC-4712",
						"roleDefinitionId": "/subscriptions/" + cloud.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/" + role.ID,
						"scheduleInfo":     map[string]any{"expiration": map[string]any{"type": "AfterDuration", "duration": duration}},
					},
				}, nil)
			}
			request("roleEligibility", "AdminAssign", "P30D")
			eventually(t, k, token, false, "get", "pods", "-n", "default")
			request("roleAssignment", "AdminAssign", "PT5M")
			eventually(t, k, token, true, "get", "pods", "-n", "default")
			ends()
			eventually(t, k, token, false, "get", "pods", "-n", "default")
			request("roleAssignment", "AdminAssign", "PT1H")
			eventually(t, k, token, true, "get", "pods", "-n", "default")
			if c.scope != k.ID {
				eventually(t, k, token, false, "get", "pods", "-n", "kube-public")
			}
			request("roleAssignment", "AdminRemove", "PT1H")
			eventually(t, k, token, false, "get", "pods", "-n", "default")
		})
	}
}

// diagnosed asks the doctor why somebody may not list nodes.
func diagnosed(t *testing.T, cloud *entrancetest.Cloud, k *entrancetest.Cluster, u entrancetest.User, want string) {
	t.Helper()
	d, err := server.Diagnose(t.Context(), filepath.Dir(cloud.CAFile), server.DoctorQuery{Cluster: k.Name, Who: u.UserPrincipalName})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range d.Findings {
		if f.Level == diagnose.Problem && f.Text == want {
			return
		}
	}
	t.Errorf("the doctor does not say %q but %+v", want, d.Findings)
}
