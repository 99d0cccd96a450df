package privileged_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
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
