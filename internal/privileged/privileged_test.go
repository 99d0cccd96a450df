package privileged_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

func TestActivationGivesThePrivilegeForItsTime(t *testing.T) {
	each(t, func(t *testing.T, w *world, target pim.Target) {
		w.eligible(ann, target)
		if w.holds(ann, target, start) {
			t.Fatal("eligibility alone gives the privilege")
		}
		q := w.must(self(ann), activation(target, time.Hour))
		if q.Status != pim.Provisioned {
			t.Fatalf("status %s", q.Status)
		}
		end := start.Add(time.Hour)
		for _, x := range []struct {
			at   time.Time
			want bool
		}{{start, true}, {end.Add(-1), true}, {end, false}, {end.Add(time.Second), false}} {
			if got := w.holds(ann, target, x.at); got != x.want {
				t.Errorf("held at %v: %v", x.at, got)
			}
		}
		if got := w.settle(); !got.Equal(end) {
			t.Errorf("next settlement at %v, want %v", got, end)
		}
		w.clock.Advance(time.Hour)
		w.settle()
		if n := w.records(ann, target); n != 0 {
			t.Errorf("%d records left after the end", n)
		}
		// It can be activated again.
		w.must(self(ann), activation(target, time.Hour))
		if !w.holds(ann, target, w.clock.Now()) {
			t.Error("the second activation gives nothing")
		}
	})
}

func TestReactivationBeforeTheEndedRecordIsCleared(t *testing.T) {
	each(t, func(t *testing.T, w *world, target pim.Target) {
		w.eligible(ann, target)
		w.must(self(ann), activation(target, time.Hour))
		w.clock.Advance(90 * time.Minute)
		w.must(self(ann), activation(target, time.Hour))
		if !w.holds(ann, target, w.clock.Now()) || w.records(ann, target) != 1 {
			t.Error("the second activation gives nothing")
		}
	})
}

func TestPermanentAndTemporaryCoexist(t *testing.T) {
	t.Run("permanent first", func(t *testing.T) {
		each(t, func(t *testing.T, w *world, target pim.Target) {
			w.permanent(ann, target)
			w.eligible(ann, target)
			w.must(self(ann), activation(target, time.Hour))
			w.clock.Advance(10 * time.Minute)
			w.must(self(ann), privileged.NewRequest{Action: pim.SelfDeactivate, Target: target})
			w.must(self(ann), activation(target, time.Hour))
			w.clock.Advance(2 * time.Hour)
			w.settle()
			if !w.holds(ann, target, w.clock.Now()) {
				t.Error("the permanent assignment went with the activation")
			}
		})
	})
	t.Run("made permanent meanwhile", func(t *testing.T) {
		each(t, func(t *testing.T, w *world, target pim.Target) {
			w.eligible(ann, target)
			w.must(self(ann), activation(target, time.Hour))
			w.takeAway(ann, target)
			w.permanent(ann, target)
			w.clock.Advance(2 * time.Hour)
			w.settle()
			if !w.holds(ann, target, w.clock.Now()) {
				t.Error("the permanent assignment went with the activation")
			}
		})
	})
	t.Run("permanent ends first", func(t *testing.T) {
		each(t, func(t *testing.T, w *world, target pim.Target) {
			w.permanent(ann, target)
			w.eligible(ann, target)
			w.must(self(ann), activation(target, time.Hour))
			w.takeAway(ann, target)
			w.settle()
			if !w.holds(ann, target, w.clock.Now()) || w.holds(ann, target, start.Add(time.Hour)) {
				t.Error("the activation does not stand alone for its time")
			}
		})
	})
	t.Run("assigned without end", func(t *testing.T) {
		each(t, func(t *testing.T, w *world, target pim.Target) {
			if _, err := w.svc.UpdateRules(t.Context(), tenant, target, admin, pim.Rule{ID: pim.RuleIDExpirationActive}); err != nil {
				t.Fatal(err)
			}
			assign := privileged.NewRequest{Action: pim.AdminAssign, Target: target, Principal: ann, Justification: "x"}
			w.must(administrator, assign)
			w.clock.Advance(10000 * time.Hour)
			w.settle()
			if !w.holds(ann, target, w.clock.Now()) {
				t.Error("an assignment without end ended")
			}
			w.must(administrator, privileged.NewRequest{Action: pim.AdminRemove, Target: target, Principal: ann})
			if w.holds(ann, target, w.clock.Now()) {
				t.Error("the removed assignment still holds")
			}
		})
	})
}

func TestWhatAnAdministratorRemovesDoesNotComeBack(t *testing.T) {
	each(t, func(t *testing.T, w *world, target pim.Target) {
		w.eligible(ann, target)
		q := w.must(self(ann), activation(target, time.Hour))
		w.takeAway(ann, target)
		w.settle()
		w.settle()
		if w.holds(ann, target, w.clock.Now()) {
			t.Error("the removed membership came back")
		}
		x, err := privileged.Schedules.Get(w.store.View(), string(tenant)+"/"+q.Result)
		if err != nil || x.Status != pim.Revoked {
			t.Errorf("the activation still counts: %+v %v", x, err)
		}
		if got := privileged.ListInstances(w.store.View(), tenant, privileged.Filter{Sort: pim.Active}, w.clock.Now()); len(got) != 0 {
			t.Errorf("it is still listed: %v", got)
		}
	})
}

func TestEndOfTheEligibilityEndsTheActivation(t *testing.T) {
	each(t, func(t *testing.T, w *world, target pim.Target) {
		w.eligible(ann, target)
		w.must(self(ann), activation(target, time.Hour))
		w.must(administrator, privileged.NewRequest{Action: pim.AdminRemove, Sort: pim.Eligible, Target: target, Principal: ann})
		if w.holds(ann, target, w.clock.Now()) || w.records(ann, target) != 0 {
			t.Error("the activation outlives its eligibility")
		}
	})
}

func TestShortenedEligibilityShortensTheActivation(t *testing.T) {
	each(t, func(t *testing.T, w *world, target pim.Target) {
		w.eligible(ann, target)
		w.must(self(ann), activation(target, time.Hour))
		end := start.Add(20 * time.Minute)
		w.must(administrator, privileged.NewRequest{Action: pim.AdminUpdate, Sort: pim.Eligible, Target: target, Principal: ann, Expiration: pim.Expiration{End: end}})
		if !w.holds(ann, target, end.Add(-1)) || w.holds(ann, target, end) {
			t.Error("the activation does not end with its eligibility")
		}
	})
}

func TestScheduledAssignmentBeginsAtItsStart(t *testing.T) {
	each(t, func(t *testing.T, w *world, target pim.Target) {
		begin, end := start.Add(time.Hour), start.Add(2*time.Hour)
		w.must(administrator, privileged.NewRequest{Action: pim.AdminAssign, Target: target, Principal: ann, Justification: "x", Start: begin, Expiration: pim.Expiration{End: end}})
		if next := w.settle(); !next.Equal(begin) || w.records(ann, target) != 0 {
			t.Fatalf("next %v, %d records before the start", next, w.records(ann, target))
		}
		w.clock.Advance(time.Hour)
		w.settle()
		if !w.holds(ann, target, begin) || w.holds(ann, target, end) {
			t.Error("it does not hold from its start to its end")
		}
	})
}

// Abuse case 26: privilege past its end, in each way that the case names.
func TestNoPrivilegePastItsEnd(t *testing.T) {
	each(t, func(t *testing.T, w *world, target pim.Target) {
		w.eligible(ann, target)
		w.eligible(bob, target)
		w.must(self(ann), activation(target, time.Hour))

		// Extending by asking again, while it runs.
		_, err := w.request(self(ann), activation(target, 8*time.Hour))
		wantCode(t, err, pim.CodeExists)
		_, err = w.request(self(ann), privileged.NewRequest{Action: pim.SelfExtend, Target: target, Justification: "more", Expiration: pim.Expiration{Duration: 8 * time.Hour}})
		wantCode(t, err, pim.CodeNotFound)

		// One second after the end, before anything was cleared away.
		w.clock.Advance(time.Hour + time.Second)
		if w.holds(ann, target, w.clock.Now()) {
			t.Error("held a second after the end")
		}

		// Somebody else's decision in the tenant clears it away, so that a clock
		// that is set back revives nothing, even if no replica ever settles.
		w.must(self(bob), activation(target, time.Hour))
		w.clock.Advance(-90 * time.Minute)
		if w.holds(ann, target, w.clock.Now()) {
			t.Error("a clock set back revives the ended activation")
		}
		if got := privileged.ListInstances(w.store.View(), tenant, privileged.Filter{Sort: pim.Active, Principal: ann}, w.clock.Now()); len(got) != 0 {
			t.Errorf("it is listed as held: %v", got)
		}
		w.settle()
		if w.holds(ann, target, w.clock.Now()) {
			t.Error("settling with a clock set back revives it")
		}
		// What is activated now counts from the latest time seen.
		q := w.must(self(ann), activation(target, time.Hour))
		x, err := privileged.Schedules.Get(w.store.View(), string(tenant)+"/"+q.Result)
		if err != nil || !x.Start.Equal(start.Add(time.Hour+time.Second)) {
			t.Errorf("the new activation starts at %v", x.Start)
		}
	})
}

// Abuse case 26: approving one's own request, and activating while approval is
// pending.
func TestApproval(t *testing.T) {
	each(t, func(t *testing.T, w *world, target pim.Target) {
		_, err := w.svc.UpdateRules(t.Context(), tenant, target, admin, pim.Rule{ID: pim.RuleIDApproval, ApprovalRequired: true, Approvers: []directory.ObjectID{ann, team}})
		if err != nil {
			t.Fatal(err)
		}
		w.update(func(tx *store.Tx) error { return state.Link(tx, directory.Member, tenant, team, bob) })
		w.eligible(ann, target)
		q := w.must(self(ann), activation(target, time.Hour))
		if q.Status != pim.PendingApproval || w.records(ann, target) != 0 {
			t.Fatalf("status %s, %d records before the approval", q.Status, w.records(ann, target))
		}
		_, err = w.request(self(ann), activation(target, time.Hour))
		wantCode(t, err, pim.CodePending)

		review := func(c privileged.Caller) error {
			_, err := w.svc.Approve(t.Context(), tenant, q.ID, privileged.Review{Caller: c, Justification: "fine"})
			return err
		}
		wantCode(t, review(self(ann)), pim.CodeAccessDenied)
		wantCode(t, review(privileged.Caller{ID: ann, Administrator: true, MFA: true}), pim.CodeAccessDenied)
		wantCode(t, review(self(other)), pim.CodeAccessDenied)
		wantCode(t, review(administrator), pim.CodeAccessDenied) // not one of the approvers that are named
		if w.records(ann, target) != 0 {
			t.Fatal("a refused review gave the privilege")
		}
		v := w.store.View()
		administers := func(pim.Target) bool { return true }
		for who, want := range map[directory.ObjectID]int{ann: 0, bob: 1, other: 0, admin: 0} {
			list, err := privileged.Pending(v, tenant, who, state.Memberships(v, tenant, who, start), administers, start)
			if err != nil || len(list) != want {
				t.Errorf("%s sees %d pending requests, want %d (%v)", who, len(list), want, err)
			}
		}
		w.clock.Advance(30 * time.Minute)
		if err := review(self(bob)); err != nil {
			t.Fatal(err)
		}
		// The hour counts from the approval.
		end := start.Add(90 * time.Minute)
		if !w.holds(ann, target, end.Add(-1)) || w.holds(ann, target, end) {
			t.Error("the approved activation does not hold for an hour")
		}
		wantCode(t, review(self(bob)), pim.CodeNotPending)
	})
}

func TestDenyAndCancel(t *testing.T) {
	w := newWorld(t)
	target := targets["member"]
	if _, err := w.svc.UpdateRules(t.Context(), tenant, target, admin, pim.Rule{ID: pim.RuleIDApproval, ApprovalRequired: true}); err != nil {
		t.Fatal(err)
	}
	w.eligible(ann, target)
	q := w.must(self(ann), activation(target, time.Hour))
	_, err := w.svc.Cancel(t.Context(), tenant, q.ID, self(bob))
	wantCode(t, err, pim.CodeAccessDenied)
	if q, err = w.svc.Cancel(t.Context(), tenant, q.ID, self(ann)); err != nil || q.Status != pim.Canceled {
		t.Fatalf("%+v %v", q, err)
	}
	q = w.must(self(ann), activation(target, time.Hour))
	if q, err = w.svc.Deny(t.Context(), tenant, q.ID, privileged.Review{Caller: administrator, Justification: "no"}); err != nil || q.Status != pim.Denied {
		t.Fatalf("%+v %v", q, err)
	}
	if _, err = w.svc.Approve(t.Context(), tenant, q.ID, privileged.Review{Caller: administrator, Justification: "yes"}); err == nil {
		t.Error("a denied request was approved")
	}
	if w.records(ann, target) != 0 {
		t.Error("a canceled or denied request gave the privilege")
	}
	_, err = w.svc.Cancel(t.Context(), tenant, directory.NewGUID(), self(ann))
	wantKind(t, err, errs.NotFound)
}

func TestGroupsEligibility(t *testing.T) {
	w := newWorld(t)
	target := targets["directory role"]
	w.update(func(tx *store.Tx) error { return state.Link(tx, directory.Member, tenant, guarded, ann) })
	w.eligible(guarded, target)
	if _, err := w.request(self(bob), activation(target, time.Hour)); err == nil {
		t.Fatal("somebody outside of the group activates")
	}
	w.must(self(ann), activation(target, time.Hour))
	if !w.holds(ann, target, start) {
		t.Fatal("a member of the eligible group cannot activate")
	}
	w.update(func(tx *store.Tx) error { return state.Unlink(tx, directory.Member, tenant, guarded, ann) })
	w.settle()
	if w.holds(ann, target, start) {
		t.Error("the activation outlives the membership in the eligible group")
	}
}

func TestApprovalNeedsTheEligibilityOfNow(t *testing.T) {
	w := newWorld(t)
	target := targets["directory role"]
	if _, err := w.svc.UpdateRules(t.Context(), tenant, target, admin, pim.Rule{ID: pim.RuleIDApproval, ApprovalRequired: true}); err != nil {
		t.Fatal(err)
	}
	w.update(func(tx *store.Tx) error { return state.Link(tx, directory.Member, tenant, guarded, ann) })
	w.eligible(guarded, target)
	q := w.must(self(ann), activation(target, time.Hour))
	w.update(func(tx *store.Tx) error { return state.Unlink(tx, directory.Member, tenant, guarded, ann) })
	q, err := w.svc.Approve(t.Context(), tenant, q.ID, privileged.Review{Caller: administrator, Justification: "fine"})
	if err != nil || q.Status != pim.Failed || w.holds(ann, target, start) {
		t.Errorf("%+v %v", q, err)
	}
}

func TestDisabledUsersGetNothing(t *testing.T) {
	w := newWorld(t)
	target := targets["member"]
	w.eligible(ann, target)
	if _, err := w.svc.UpdateRules(t.Context(), tenant, target, admin, pim.Rule{ID: pim.RuleIDApproval, ApprovalRequired: true}); err != nil {
		t.Fatal(err)
	}
	q := w.must(self(ann), activation(target, time.Hour))
	w.update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(tenant, ann), func(u *directory.User) error { u.Enabled = false; return nil })
	})
	_, err := w.svc.Approve(t.Context(), tenant, q.ID, privileged.Review{Caller: administrator, Justification: "fine"})
	wantKind(t, err, errs.Forbidden)
	if _, err := w.svc.Cancel(t.Context(), tenant, q.ID, administrator); err != nil {
		t.Fatal(err)
	}
	_, err = w.request(self(ann), activation(target, time.Hour))
	wantKind(t, err, errs.Forbidden)
}

func TestADeletedUserComesBackWithoutPrivileges(t *testing.T) {
	for _, settled := range []bool{true, false} {
		t.Run(fmt.Sprint("settled between ", settled), func(t *testing.T) {
			w := newWorld(t)
			target := targets["member"]
			w.eligible(ann, target)
			w.must(self(ann), activation(target, time.Hour))
			w.update(func(tx *store.Tx) error { return state.Delete(tx, tenant, ann, w.clock.Now()) })
			if settled {
				w.settle()
			} else {
				// Revoked by an administrator while the user is deleted.
				w.must(administrator, privileged.NewRequest{Action: pim.AdminRemove, Sort: pim.Eligible, Target: target, Principal: ann})
			}
			w.update(func(tx *store.Tx) error { return state.Restore(tx, tenant, ann) })
			w.settle()
			if w.holds(ann, target, w.clock.Now()) {
				t.Error("the revoked membership came back with the user")
			}
		})
	}
}

// An activation races the deletion of its user, on two replicas: no record is
// left that names somebody who is gone.
func TestActivationAndDeletionOfItsUser(t *testing.T) {
	w := newWorld(t)
	sibling, err := w.store.Sibling(t.Context(), tables()...)
	if err != nil {
		t.Fatal(err)
	}
	defer sibling.Close()
	target := targets["member"]
	for i := range 15 {
		who := directory.ObjectID(directory.NewGUID())
		w.update(func(tx *store.Tx) error {
			return state.CreateUser(tx, &directory.User{Tenant: tenant, ID: who, UserPrincipalName: fmt.Sprintf("u%d@example.com", i), Enabled: true})
		})
		w.eligible(who, target)
		if err := sibling.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			w.svc.CreateRequest(context.Background(), tenant, self(who), func() privileged.NewRequest {
				in := activation(target, time.Hour)
				in.Sort = pim.Active
				return in
			}())
		})
		wg.Go(func() {
			if err := sibling.Update(context.Background(), func(tx *store.Tx) error { return state.Delete(tx, tenant, who, start) }); err != nil {
				t.Errorf("deleting: %v", err)
			}
		})
		wg.Wait()
		if err := w.store.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := w.records(who, target); n != 0 {
			t.Fatalf("round %d: %d records of a deleted user", i, n)
		}
	}
}

func TestDeletedGroupRevokes(t *testing.T) {
	w := newWorld(t)
	target := targets["member"]
	w.eligible(ann, target)
	w.must(self(ann), activation(target, time.Hour))
	w.update(func(tx *store.Tx) error { return state.Delete(tx, tenant, ops, w.clock.Now()) })
	w.settle()
	for _, x := range privileged.ListSchedules(w.store.View(), tenant, privileged.Filter{Target: target}) {
		if x.Status != pim.Revoked {
			t.Errorf("%s of a deleted group is %s", x.Sort, x.Status)
		}
	}
}

func TestAzureConditionIsInherited(t *testing.T) {
	w := newWorld(t)
	target := targets["azure role"]
	const cond = "((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR (@Request[Microsoft.Authorization/roleAssignments:PrincipalType] StringEqualsIgnoreCase 'User'))"
	in := privileged.NewRequest{Action: pim.AdminAssign, Sort: pim.Eligible, Target: target, Scope: scope, Principal: ann, Condition: cond, ConditionVersion: "2.0", Expiration: pim.Expiration{Duration: 24 * time.Hour}}
	w.must(administrator, in)
	w.must(self(ann), activation(target, time.Hour))
	a, ok := state.AccessAssignments.First(w.store.View(), "principal", state.Key(tenant, ann))
	if !ok || a.Condition != cond || a.ConditionVersion != "2.0" {
		t.Fatalf("the activation lost its condition: %+v", a)
	}
	if a.Scope != scope || a.Role != reader || string(a.PrincipalType) != "User" || a.Until.IsZero() {
		t.Errorf("assignment %+v", a)
	}
	in.Condition = "not a condition"
	_, err := w.request(administrator, in)
	wantKind(t, err, errs.Invalid)
	bad := activation(target, time.Hour)
	bad.Condition, bad.ConditionVersion = cond, "2.0"
	_, err = w.request(self(ann), bad)
	wantKind(t, err, errs.Invalid)
}

func TestRefusedRequests(t *testing.T) {
	w := newWorld(t)
	member, role, azure := targets["member"], targets["directory role"], targets["azure role"]
	w.eligible(ann, member)
	assign := func(t pim.Target, who directory.ObjectID) privileged.NewRequest {
		return privileged.NewRequest{Action: pim.AdminAssign, Target: t, Principal: who, Justification: "x", Expiration: pim.Expiration{Duration: time.Hour}}
	}
	with := func(in privileged.NewRequest, fn func(*privileged.NewRequest)) privileged.NewRequest {
		fn(&in)
		return in
	}
	for _, x := range []struct {
		name string
		by   privileged.Caller
		in   privileged.NewRequest
		want errs.Kind
	}{
		{"administrator's action by anybody", self(bob), assign(member, bob), errs.Forbidden},
		{"activation for somebody else", self(bob), with(activation(member, time.Hour), func(n *privileged.NewRequest) { n.Principal = ann }), errs.Forbidden},
		{"not eligible", self(bob), activation(member, time.Hour), errs.Invalid},
		{"without multifactor authentication", privileged.Caller{ID: ann}, activation(member, time.Hour), errs.Invalid},
		{"longer than allowed", self(ann), activation(member, 9*time.Hour), errs.Invalid},
		{"no such group", administrator, assign(pim.GroupTarget(gone, pim.Member), ann), errs.NotFound},
		{"no such access", administrator, assign(pim.GroupTarget(ops, "guest"), ann), errs.Invalid},
		{"no such principal", administrator, assign(member, gone), errs.NotFound},
		{"no such directory role", administrator, assign(pim.DirectoryRoleTarget(directory.NewGUID(), "/"), ann), errs.NotFound},
		{"smaller directory scope", administrator, assign(pim.DirectoryRoleTarget(directory.UserAdministrator, "/administrativeUnits/x"), ann), errs.Invalid},
		{"group in a directory role", administrator, assign(role, ops), errs.Invalid},
		{"no such Azure role", administrator, assign(pim.AzureRoleTarget(directory.NewGUID(), scope), ann), errs.NotFound},
		{"other subscription", administrator, assign(pim.AzureRoleTarget(reader, "/subscriptions/"+directory.NewGUID()), ann), errs.NotFound},
		{"no scope", administrator, assign(pim.AzureRoleTarget(reader, "not/a/scope"), ann), errs.Invalid},
		{"other scope than the target's", administrator, with(assign(azure, ann), func(n *privileged.NewRequest) { n.Scope = "/subscriptions/" + sub }), errs.Invalid},
		{"group in itself", administrator, assign(member, ops), errs.Invalid},
		{"group as an owner", administrator, assign(targets["owner"], team), errs.Invalid},
		{"group in a role-assignable group", administrator, assign(pim.GroupTarget(guarded, pim.Member), team), errs.Invalid},
		{"condition on a group", administrator, with(assign(member, ann), func(n *privileged.NewRequest) { n.Condition = "x" }), errs.Invalid},
		{"bad id", administrator, with(assign(member, ann), func(n *privileged.NewRequest) { n.ID = "../x" }), errs.Invalid},
		{"unknown action", administrator, with(assign(member, ann), func(n *privileged.NewRequest) { n.Action = "adminForget" }), errs.Invalid},
		{"unknown kind", administrator, assign(pim.Target{Kind: "app", Role: "x", Scope: "/"}, ann), errs.Invalid},
		{"nothing to remove", administrator, privileged.NewRequest{Action: pim.AdminRemove, Target: member, Principal: bob}, errs.NotFound},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := w.request(x.by, x.in)
			wantKind(t, err, x.want)
		})
	}
	if n := len(privileged.ListRequests(w.store.View(), tenant, privileged.Filter{})); n != 1 {
		t.Errorf("%d requests are kept, want the eligibility's alone", n)
	}
}

func TestValidateOnlyWritesNothing(t *testing.T) {
	w := newWorld(t)
	target := targets["member"]
	w.eligible(ann, target)
	before := w.store.View().Revision()
	in := activation(target, time.Hour)
	in.ValidateOnly = true
	q := w.must(self(ann), in)
	if q.Status != pim.Provisioned || w.records(ann, target) != 0 || w.store.View().Revision() != before {
		t.Errorf("status %s, %d records, revision %d after %d", q.Status, w.records(ann, target), w.store.View().Revision(), before)
	}
	in.Expiration.Duration = 100 * time.Hour
	_, err := w.request(self(ann), in)
	wantCode(t, err, pim.CodePolicyFailed)
}

func TestOneIdOneRequest(t *testing.T) {
	w := newWorld(t)
	q := w.eligible(ann, targets["member"])
	_, err := w.request(administrator, privileged.NewRequest{ID: q.ID, Action: pim.AdminAssign, Sort: pim.Eligible, Target: targets["owner"], Principal: bob, Expiration: pim.Expiration{Duration: time.Hour}})
	wantKind(t, err, errs.Exists)
}

// Two replicas get the same activation at once, many times over.
func TestOneActivationOverTwoReplicas(t *testing.T) {
	w := newWorld(t)
	target := targets["member"]
	sibling, err := w.store.Sibling(t.Context(), tables()...)
	if err != nil {
		t.Fatal(err)
	}
	defer sibling.Close()
	services := []*privileged.Service{w.svc, privileged.New(sibling, w.clock, nil)}
	w.eligible(ann, target)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won int
	for i := range 8 {
		wg.Go(func() {
			in := activation(target, time.Hour)
			in.Sort = pim.Active
			_, err := services[i%2].CreateRequest(context.Background(), tenant, self(ann), in)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errs.Is(err, errs.Exists) && !errs.Is(err, errs.NotFound) && !errs.Is(err, errs.Conflict) {
				t.Errorf("unexpected: %v", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d activations, want one", won)
	}
}

// An eligibility has no record of its own on which two replicas would meet.
func TestOneEligibilityOverTwoReplicas(t *testing.T) {
	w := newWorld(t)
	target := targets["member"]
	sibling, err := w.store.Sibling(t.Context(), tables()...)
	if err != nil {
		t.Fatal(err)
	}
	defer sibling.Close()
	services := []*privileged.Service{w.svc, privileged.New(sibling, w.clock, nil)}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := services[i%2].CreateRequest(context.Background(), tenant, administrator, privileged.NewRequest{
				Action: pim.AdminAssign, Sort: pim.Eligible, Target: target, Principal: ann, Expiration: pim.Expiration{Duration: time.Hour},
			})
			if err != nil && !errs.Is(err, errs.Exists) && !errs.Is(err, errs.Conflict) {
				t.Errorf("unexpected: %v", err)
			}
		})
	}
	wg.Wait()
	if err := w.store.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(privileged.ListSchedules(w.store.View(), tenant, privileged.Filter{Target: target})); n != 1 {
		t.Errorf("%d eligibilities for one principal and target", n)
	}
}

func TestSettings(t *testing.T) {
	w := newWorld(t)
	target := targets["member"]
	got, err := privileged.Settings(w.store.View(), tenant, target)
	if err != nil || got.MaxActivation != pim.DefaultSettings().MaxActivation {
		t.Fatalf("%+v %v", got, err)
	}
	if _, err := w.svc.UpdateRules(t.Context(), tenant, target, admin, pim.Rule{ID: pim.RuleIDExpirationActivate, ExpirationRequired: true, MaximumDuration: 30 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	w.eligible(ann, target)
	_, err = w.request(self(ann), activation(target, time.Hour))
	wantCode(t, err, pim.CodePolicyFailed)
	w.must(self(ann), activation(target, 30*time.Minute))
	if got, _ := privileged.Settings(w.store.View(), tenant, targets["owner"]); got.MaxActivation != 8*time.Hour {
		t.Error("another access of the group has changed too")
	}
	for name, r := range map[string]pim.Rule{
		"approver who does not exist": {ID: pim.RuleIDApproval, ApprovalRequired: true, Approvers: []directory.ObjectID{gone}},
		"authentication context":      {ID: pim.RuleIDContext, ContextEnabled: true},
		"unknown rule":                {ID: "Rule_of_Thumb"},
	} {
		if _, err := w.svc.UpdateRules(t.Context(), tenant, target, admin, r); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	// Settings that make no sense refuse; they are not the defaults.
	w.update(func(tx *store.Tx) error {
		return privileged.SettingsTable.Put(tx, &privileged.Rules{Tenant: tenant, Target: target})
	})
	if _, err := w.request(self(ann), activation(target, 30*time.Minute)); err == nil {
		t.Error("broken settings are taken for the defaults")
	}
}

func TestMayManage(t *testing.T) {
	w := newWorld(t)
	w.update(func(tx *store.Tx) error {
		for who, role := range map[directory.ObjectID]string{admin: directory.PrivilegedRoleAdministrator, other: directory.GroupsAdministrator} {
			if err := state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: tenant, ID: directory.NewGUID(), Role: role, Principal: who, Scope: "/"}); err != nil {
				return err
			}
		}
		return state.Link(tx, directory.Owner, tenant, guarded, bob)
	})
	v := w.store.View()
	role, plain, strong := targets["directory role"], targets["member"], pim.GroupTarget(guarded, pim.Member)
	for _, x := range []struct {
		who    directory.ObjectID
		target pim.Target
		want   bool
	}{
		{admin, role, true}, {admin, plain, true}, {admin, strong, true}, {admin, targets["azure role"], false},
		{other, role, false}, {other, plain, true}, {other, strong, false},
		{bob, role, false}, {bob, plain, false}, {bob, strong, true},
		{ann, role, false}, {ann, plain, false}, {ann, strong, false},
		{admin, pim.GroupTarget(gone, pim.Member), false},
	} {
		if got := privileged.MayManage(v, tenant, x.target, x.who, start); got != x.want {
			t.Errorf("%s manages %v: %v", x.who, x.target, got)
		}
	}
}

func TestRetention(t *testing.T) {
	w := newWorld(t)
	target := targets["member"]
	w.eligible(ann, target)
	w.must(self(ann), activation(target, time.Hour))
	w.clock.Advance(31 * 24 * time.Hour)
	w.settle()
	if n := len(privileged.ListSchedules(w.store.View(), tenant, privileged.Filter{})); n != 2 {
		t.Fatalf("%d schedules a day after the end, want both", n)
	}
	w.clock.Advance(privileged.Retention)
	w.settle()
	v := w.store.View()
	if s, q := privileged.ListSchedules(v, tenant, privileged.Filter{}), privileged.ListRequests(v, tenant, privileged.Filter{}); len(s)+len(q) != 0 {
		t.Errorf("%d schedules and %d requests are left", len(s), len(q))
	}
}

func TestListing(t *testing.T) {
	w := newWorld(t)
	w.eligible(ann, targets["member"])
	w.eligible(bob, targets["directory role"])
	q := w.must(self(ann), activation(targets["member"], time.Hour))
	v := w.store.View()
	for name, x := range map[string]struct {
		f    privileged.Filter
		want int
	}{
		"all":       {privileged.Filter{}, 3},
		"principal": {privileged.Filter{Principal: ann}, 2},
		"sort":      {privileged.Filter{Sort: pim.Eligible}, 2},
		"kind":      {privileged.Filter{Kind: pim.DirectoryRole}, 1},
		"target":    {privileged.Filter{Target: targets["member"], Sort: pim.Active}, 1},
		"nobody":    {privileged.Filter{Principal: other}, 0},
	} {
		if got := len(privileged.ListSchedules(v, tenant, x.f)); got != x.want {
			t.Errorf("%s: %d schedules, want %d", name, got, x.want)
		}
		if got := len(privileged.ListRequests(v, tenant, x.f)); got != x.want {
			t.Errorf("%s: %d requests, want %d", name, got, x.want)
		}
		if got := len(privileged.ListInstances(v, tenant, x.f, start)); got != x.want {
			t.Errorf("%s: %d instances, want %d", name, got, x.want)
		}
	}
	mine := privileged.ListRequests(v, tenant, privileged.Filter{Requestor: ann})
	if len(mine) != 1 || mine[0].ID != q.ID {
		t.Errorf("ann's requests: %v", mine)
	}
	if got := privileged.ListSchedules(v, "other-tenant", privileged.Filter{}); len(got) != 0 {
		t.Errorf("another tenant sees %v", got)
	}
	got := privileged.ListInstances(v, tenant, privileged.Filter{Sort: pim.Active}, start)
	if len(got) != 1 || !got[0].End.Equal(start.Add(time.Hour)) {
		t.Errorf("instances %+v", got)
	}
}

// Run begins, ends and clears away by the real clock.
func TestRun(t *testing.T) {
	w := newWorld(t)
	svc := privileged.New(w.store, clock.Func(time.Now), storetest.Logger(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { svc.Run(ctx); close(done) }()
	target := targets["member"]
	begin := time.Now().Add(500 * time.Millisecond)
	_, err := svc.CreateRequest(t.Context(), tenant, administrator, privileged.NewRequest{
		Action: pim.AdminAssign, Sort: pim.Active, Target: target, Principal: ann, Justification: "x",
		Start: begin, Expiration: pim.Expiration{End: begin.Add(time.Second)},
	})
	if err != nil {
		t.Fatal(err)
	}
	var seen []int
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if n := w.records(ann, target); len(seen) == 0 || seen[len(seen)-1] != n {
			seen = append(seen, n)
		}
		if slices.Equal(seen, []int{0, 1, 0}) {
			break
		}
	}
	if !slices.Equal(seen, []int{0, 1, 0}) {
		t.Errorf("records over time: %v, want none, one, none", seen)
	}
	cancel()
	<-done
}
