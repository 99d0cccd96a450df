package diagnose_test

import (
	"context"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/pim"
)

// TestComplete: what is explained names the window of an activation, the command
// that opens one, and the policy that stands before the sign-in.
func TestComplete(t *testing.T) {
	w := newWorld(t)
	w.patient.Resource = pods
	explain := func() *access.Report {
		t.Helper()
		r, err := w.doctor.Access.Explain(w.patient.Cluster, nil, nil, access.Query{Who: w.patient.Who, Resource: pods})
		if err == nil {
			err = w.doctor.Complete(context.Background(), w.patient, r)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := explain(); r.Allowed || len(r.Windows) != 0 || len(r.Policies) != 0 {
		t.Fatalf("at first: %+v", r)
	}
	w.request(administrator, pim.AdminAssign, pim.Eligible, membership, 30*24*time.Hour)
	r := explain()
	if r.Allowed || len(r.Windows) != 1 || r.Windows[0].State != access.WindowEligible || r.Windows[0].Activate != "entrance pim activate --justification REASON --group "+string(admins) || !r.Windows[0].Until.Equal(start.Add(30*24*time.Hour)) {
		t.Errorf("eligible: %+v", r.Windows)
	}
	w.request(herself, pim.SelfActivate, pim.Active, membership, time.Hour)
	r = explain()
	if !r.Allowed || len(r.Windows) != 1 || r.Windows[0].State != access.WindowActive || r.Windows[0].Privilege != "membership of group admins" || !r.Windows[0].Until.Equal(start.Add(time.Hour)) {
		t.Errorf("active: %v %+v", r.Allowed, r.Windows)
	}
	w.clock.Advance(time.Hour)
	if r = explain(); r.Allowed || len(r.Windows) != 1 || r.Windows[0].State != access.WindowEligible {
		t.Errorf("when the hour is over: %v %+v", r.Allowed, r.Windows)
	}
	w.policy("enabled", "", "compliantDevice")
	r = explain()
	if len(r.Policies) != 2 || r.Policies[0].SignIn != "with device code" || r.Policies[0].Policy != "the policy" || r.Policies[0].Result != "failure" || len(r.Policies[0].Controls) != 1 || r.Policies[0].Advice == "" {
		t.Errorf("with a policy: %+v", r.Policies)
	}
}
