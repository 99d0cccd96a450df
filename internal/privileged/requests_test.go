package privileged_test

import (
	"context"
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
