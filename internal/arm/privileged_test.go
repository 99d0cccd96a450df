package arm_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

// TestPrivileged: an administrator makes nina eligible for Contributor on a
// group; she activates it for two hours, uses it, and loses it by the clock.
func TestPrivileged(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	request := func(action string, who directory.ObjectID, expiration object) object {
		return object{"properties": object{
			"principalId": who, "roleDefinitionId": "/subscriptions/" + w.sub + authorization + "roleDefinitions/" + contributor,
			"requestType": action, "justification": "deploy", "scheduleInfo": object{"startDateTime": nil, "expiration": expiration},
		}}
	}
	eligible := g + authorization + "roleEligibilityScheduleRequests/"
	active := g + authorization + "roleAssignmentScheduleRequests/"
	year := object{"type": "AfterDuration", "duration": "P180D"}
	hours := object{"type": "AfterDuration", "duration": "PT2H"}
	mfa := string(w.tenant) + "/" + string(w.nina) + "/mfa"

	// Nobody makes themselves eligible, and nobody activates what they are not
	// eligible for.
	before := w.store.View().Revision()
	if a := w.call(w.nina, "PUT", eligible+directory.NewGUID(), request("AdminAssign", w.nina, year)); a.status != 403 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := w.call(w.nina, "PUT", active+directory.NewGUID(), request("AdminAssign", w.nina, hours)); a.status != 403 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := w.send(mfa, "PUT", active+directory.NewGUID(), request("SelfActivate", w.nina, hours), nil); a.status < 400 || a.status >= 500 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	// Rights elsewhere do not count here.
	local := w.user("local")
	w.assign(local, owner, w.newResourceGroup("other"))
	if a := w.call(local, "PUT", eligible+directory.NewGUID(), request("AdminAssign", local, year)); a.status != 403 {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if got := w.call(local, "GET", g+authorization+"roleEligibilitySchedules", nil).want(200).list(); len(got) != 0 {
		t.Errorf("%v", got)
	}

	name := directory.NewGUID()
	a := w.call(w.olga, "PUT", eligible+name, request("AdminAssign", w.nina, year)).want(201)
	if a.text("properties.status") != "Provisioned" || a.text("properties.requestType") != "AdminAssign" || a.text("id") != eligible+name {
		t.Errorf("%s", a.raw)
	}
	w.call(w.nina, "PUT", g, object{"location": "eastus"}).refused(403, "AuthorizationFailed") // eligible is not active

	a = w.call(w.nina, "GET", g+authorization+"roleEligibilitySchedules?$filter=asTarget()", nil).want(200)
	if len(a.list()) != 1 || a.get("value.0.properties.principalId") != string(w.nina) {
		t.Errorf("%s", a.raw)
	}
	if got := w.call(local, "GET", g+authorization+"roleEligibilitySchedules", nil).want(200).list(); len(got) != 0 {
		t.Errorf("others see %v", got)
	}
	w.call(local, "GET", eligible+name, nil).refused(404, "RoleAssignmentRequestNotFound")
	w.call(w.olga, "GET", eligible+name, nil).want(200)

	// The rules of activation hold: multifactor authentication, for one.
	w.send(string(w.tenant)+"/"+string(w.nina), "PUT", active+directory.NewGUID(), request("SelfActivate", w.nina, hours), nil).refused(400, "RoleAssignmentRequestPolicyValidationFailed")
	w.send(mfa, "POST", active+directory.NewGUID()+"/validate", request("SelfActivate", w.nina, hours), nil).want(200)
	w.call(w.nina, "PUT", g, object{"location": "eastus"}).refused(403, "AuthorizationFailed") // asking is not doing
	a = w.send(mfa, "PUT", active+directory.NewGUID(), request("SelfActivate", w.nina, hours), nil).want(201)
	if a.text("properties.status") != "Provisioned" {
		t.Errorf("%s", a.raw)
	}
	w.call(w.nina, "PUT", g, object{"location": "eastus"}).want(200)
	a = w.call(w.olga, "GET", g+authorization+"roleAssignmentScheduleInstances?$filter=principalId%20eq%20'"+string(w.nina)+"'", nil).want(200)
	if len(a.list()) != 1 || a.get("value.0.properties.assignmentType") != "Activated" {
		t.Errorf("%s", a.raw)
	}
	w.clock.Advance(3 * time.Hour)
	// The test's clock wakes nobody: settling is what a real one would bring.
	if _, err := privileged.New(w.store, w.clock, storetest.Logger(t)).Settle(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.call(w.nina, "PUT", g, object{"location": "eastus"}).refused(403, "AuthorizationFailed")
	if got := w.call(w.olga, "GET", g+authorization+"roleAssignmentScheduleInstances", nil).want(200).names("name"); slices.Contains(got, a.names("name")[0]) {
		t.Errorf("still held: %v", got)
	}
	w.call(w.olga, "GET", g+authorization+"roleEligibilitySchedules?$filter=nonsense", nil).refused(400, "UnsupportedFilter")
	if w.store.View().Revision() == before {
		t.Error("nothing was written")
	}
}
