package policy_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func TestKeeperFollows(t *testing.T) {
	w := newWorld(t)
	if got := w.decide(facts(ann)); got != ca.Granted {
		t.Fatalf("without policies: %v", got)
	}
	d := w.create(policy.CreatePolicy, rule("x", everybody, "block"))
	if got := w.decide(facts(ann)); got != ca.Blocked {
		t.Errorf("after the policy was written: %v", got)
	}
	other := facts(ann)
	other.Tenant = tenant2
	if got := w.decide(other); got != ca.Granted {
		t.Errorf("another tenant's policy applies: %v", got)
	}
	set, rev, err := w.keeper.Set(tenant)
	if err != nil || set.Len() != 1 || rev != w.store.View().Revision() {
		t.Errorf("set of %d at %d, want the revision %d: %v", set.Len(), rev, w.store.View().Revision(), err)
	}
	w.update(func(tx *store.Tx) error {
		_, err := policy.UpdatePolicy(tx, tenant, d.ID, []byte(`{"state":"disabled"}`), start)
		return err
	})
	if got := w.decide(facts(ann)); got != ca.Granted {
		t.Errorf("after it was disabled: %v", got)
	}
	w.update(func(tx *store.Tx) error {
		_, err := policy.UpdatePolicy(tx, tenant, d.ID, []byte(`{"state":"enabled"}`), start)
		return err
	})
	w.update(func(tx *store.Tx) error { return policy.DeletePolicy(tx, tenant, d.ID) })
	if got := w.decide(facts(ann)); got != ca.Granted {
		t.Errorf("after it was deleted: %v", got)
	}
}

func TestKeeperReadsWhatIsThere(t *testing.T) {
	w := newWorld(t)
	w.create(policy.CreatePolicy, rule("x", everybody, "block"))
	k := policy.New(w.store, w.clock, nil)
	defer k.Close()
	if o := k.Evaluate(t.Context(), facts(ann)); o.Decision != ca.Blocked {
		t.Errorf("a new keeper decides %v", o.Decision)
	}
}

func TestKeeperUsesLocations(t *testing.T) {
	w := newWorld(t)
	place := w.create(policy.CreateLocation, office)
	w.create(policy.CreatePolicy, fromOutside(place.ID))
	f := facts(ann)
	f.Address = netip.MustParseAddr("192.0.2.7")
	if got := w.decide(f); got != ca.Granted {
		t.Errorf("inside: %v", got)
	}
	w.update(func(tx *store.Tx) error {
		_, err := policy.UpdateLocation(tx, tenant, place.ID, []byte(`{"ipRanges":[{"@odata.type":"#microsoft.graph.iPv4CidrRange","cidrAddress":"198.51.100.0/24"}]}`), start)
		return err
	})
	if got := w.decide(f); got != ca.Blocked {
		t.Errorf("the location has moved: %v", got)
	}
	if list, err := w.keeper.Unresolved(tenant); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
}

// A document that cannot be read must not be a policy that is not enforced.
func TestUnreadableDocumentRefuses(t *testing.T) {
	for _, table := range []*store.Table[policy.Document]{policy.Policies, policy.Locations, policy.Strengths} {
		t.Run(table.Name(), func(t *testing.T) {
			w := newWorld(t)
			bad := &policy.Document{Tenant: tenant, ID: directory.NewGUID(), Body: json.RawMessage(`{"displayName":"from the future","state":"enabledOnSundays"}`)}
			w.update(func(tx *store.Tx) error { return table.Create(tx, bad) })
			for _, step := range ca.Steps {
				f := facts(ann)
				f.Step = step
				o := w.keeper.Evaluate(t.Context(), f)
				if o.Decision != ca.Blocked || o.Refusal == nil || o.Refusal.Code != ca.CodeBlocked || o.Refusal.Error == "" || len(o.Reasons) == 0 {
					t.Errorf("%s: %+v", step, o)
				}
			}
			_, _, err := w.keeper.Set(tenant)
			wantKind(t, err, errs.Unavailable)
			other := facts(ann)
			other.Tenant = tenant2
			if got := w.decide(other); got != ca.Granted {
				t.Errorf("another tenant: %v", got)
			}
			w.update(func(tx *store.Tx) error { return table.Delete(tx, string(tenant)+"/"+bad.ID) })
			if got := w.decide(facts(ann)); got != ca.Granted {
				t.Errorf("after it was put right: %v", got)
			}
		})
	}
}

func TestUnknownTenantRefuses(t *testing.T) {
	w := newWorld(t)
	for _, id := range []directory.TenantID{"", "11111111-0000-4000-8000-000000000009"} {
		f := facts(ann)
		f.Tenant = id
		if got := w.decide(f); got != ca.Blocked {
			t.Errorf("tenant %q: %v", id, got)
		}
	}
}

func TestDirectoryFillsWhatIsLeftOpen(t *testing.T) {
	w := newWorld(t)
	w.create(policy.CreatePolicy, rule("group", `{"includeGroups":["`+string(ops)+`"]}`, "block"))
	w.create(policy.CreatePolicy, rule("role", `{"includeRoles":["`+directory.UserAdministrator+`"]}`, "block"))
	w.create(policy.CreatePolicy, rule("guests", `{"includeGuestsOrExternalUsers":{"guestOrExternalUserTypes":"b2bCollaborationGuest","externalTenants":{"@odata.type":"#microsoft.graph.conditionalAccessAllExternalTenants","membershipKind":"all"}}}`, "block"))
	if got := w.decide(facts(ann)); got != ca.Granted {
		t.Fatalf("before: %v", got)
	}
	// Through a group in the group, until an activation ends.
	w.update(func(tx *store.Tx) error {
		if err := state.Link(tx, directory.Member, tenant, ops, inner); err != nil {
			return err
		}
		return state.Links.Create(tx, &directory.Link{Tenant: tenant, Kind: directory.Member, From: inner, To: ann, ToType: directory.TypeUser, Until: start.Add(time.Hour)})
	})
	f := facts(ann)
	if got := w.decide(f); got != ca.Blocked {
		t.Errorf("a member of the group: %v", got)
	}
	if f.User.Groups != nil || f.User.Roles != nil {
		t.Error("the caller's facts were changed")
	}
	f.User.Groups = []directory.ObjectID{} // the caller knows that there are none
	if got := w.decide(f); got != ca.Granted {
		t.Errorf("the caller's own groups do not count: %v", got)
	}
	w.clock.Advance(time.Hour)
	if got := w.decide(facts(ann)); got != ca.Granted {
		t.Errorf("after the membership's end: %v", got)
	}
	w.update(func(tx *store.Tx) error {
		return state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: tenant, ID: directory.NewGUID(), Role: directory.UserAdministrator, Principal: bob, Scope: "/"})
	})
	if got := w.decide(facts(bob)); got != ca.Blocked {
		t.Errorf("with the role: %v", got)
	}
	w.update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(tenant, ann), func(u *directory.User) error { u.Guest = true; return nil })
	})
	if got := w.decide(facts(ann)); got != ca.Blocked {
		t.Errorf("a guest: %v", got)
	}
}

func TestWhatIfTraces(t *testing.T) {
	w := newWorld(t)
	w.create(policy.CreatePolicy, rule("x", `{"includeGroups":["`+string(ops)+`"]}`, "mfa"))
	o := w.keeper.WhatIf(t.Context(), facts(ann))
	if o.Decision != ca.Granted || len(o.Policies) != 1 || o.Policies[0].Result != ca.NotApplied || len(o.Policies[0].Trace) == 0 {
		t.Errorf("%+v", o)
	}
	if o := w.keeper.Evaluate(t.Context(), facts(ann)); len(o.Policies[0].Trace) != 0 {
		t.Error("Evaluate pays for a trace")
	}
}

func BenchmarkEvaluate(b *testing.B) {
	for _, n := range []int{10, 500} {
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			w := newWorld(b)
			for i := range n {
				// Half are about ann's groups; none asks for what she has not done.
				users := everybody
				if i%2 == 0 {
					users = `{"includeGroups":["` + string(ops) + `"]}`
				}
				body := rule(fmt.Sprint("policy ", i), users, "mfa")
				if _, err := w.tryCreate(policy.CreatePolicy, body); err != nil {
					b.Fatal(err)
				}
			}
			w.update(func(tx *store.Tx) error { return state.Link(tx, directory.Member, tenant, ops, ann) })
			f := facts(ann)
			f.Methods = append(f.Methods, ca.Authentication{Method: ca.FIDO2, At: start})
			if o := w.keeper.Evaluate(b.Context(), f); o.Decision != ca.Granted {
				b.Fatalf("%+v", o.Reasons)
			}
			b.ReportAllocs()
			for b.Loop() {
				w.keeper.Evaluate(b.Context(), f)
			}
		})
	}
}
