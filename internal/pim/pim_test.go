package pim_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
)

const (
	ann   directory.ObjectID = "77777777-0000-4000-8000-000000000001"
	bob   directory.ObjectID = "77777777-0000-4000-8000-000000000002"
	root  directory.ObjectID = "77777777-0000-4000-8000-000000000003"
	ops   directory.ObjectID = "33333333-0000-4000-8000-000000000001"
	robot directory.ObjectID = "88888888-0000-4000-8000-000000000001"
)

var (
	noon   = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	target = pim.GroupTarget("33333333-0000-4000-8000-0000000000aa", pim.Member)
	easy   = pim.Settings{MaxActivation: 8 * time.Hour, MaxEligible: 365 * 24 * time.Hour, MaxActive: 180 * 24 * time.Hour, PermanentEligible: true, PermanentActive: true}
)

// world is a state with the steps that a test does on it.
type world struct {
	t        *testing.T
	settings pim.Settings
	state    pim.State
	n        int
}

func (w *world) do(at time.Time, r pim.Request) (pim.Request, error) {
	w.t.Helper()
	w.n++
	if r.ID == "" {
		r.ID = fmt.Sprintf("r%d", w.n)
	}
	if r.Target == (pim.Target{}) {
		r.Target = target
	}
	if r.Principal == "" {
		r.Principal = ann
	}
	if r.PrincipalKind == "" {
		r.PrincipalKind = pim.UserPrincipal
	}
	if r.Requestor == "" {
		if r.Requestor = root; r.Action.Self() {
			r.Requestor = r.Principal
		}
	}
	if r.Sort == "" {
		r.Sort = pim.Active
	}
	c, err := pim.Decide(w.settings, w.state, r, at)
	if err != nil {
		if len(c.Requests)+len(c.Schedules) != 0 {
			w.t.Errorf("a refusal with records: %+v", c)
		}
		return r, err
	}
	w.state = w.state.Apply(c)
	return c.Requests[0], nil
}

func (w *world) must(at time.Time, r pim.Request) pim.Request {
	w.t.Helper()
	out, err := w.do(at, r)
	if err != nil {
		w.t.Fatalf("%s: %v", r.Action, err)
	}
	return out
}

func (w *world) eligible(end time.Time) {
	w.t.Helper()
	w.must(noon, pim.Request{Action: pim.AdminAssign, Sort: pim.Eligible, Expiration: pim.Expiration{End: end}})
}

func (w *world) active(at time.Time) bool { return len(w.state.Active(ann, at)) > 0 }

func (w *world) wantActive(at time.Time, want bool) {
	w.t.Helper()
	if got := w.active(at); got != want {
		w.t.Errorf("active at noon%+v: %v", at.Sub(noon), got)
	}
}

func wantCode(t *testing.T, err error, code string, rules ...string) {
	t.Helper()
	var e *pim.Error
	if !errors.As(err, &e) {
		t.Errorf("error %v, want %s", err, code)
		return
	}
	if e.Code != code || !slices.Equal(e.Rules, rules) {
		t.Errorf("error %s %v (%v), want %s %v", e.Code, e.Rules, err, code, rules)
	}
	for _, r := range rules {
		if !strings.Contains(errs.Message(err), `"`+r+`"`) {
			t.Errorf("message %q does not name %s", errs.Message(err), r)
		}
	}
}

func activate(d time.Duration) pim.Request {
	return pim.Request{Action: pim.SelfActivate, Justification: "incident", Expiration: pim.Expiration{Duration: d}}
}

// TestSeedWalkThrough is the documentation's own case: an administrator makes a
// time-bound active assignment.
func TestSeedWalkThrough(t *testing.T) {
	w := &world{t: t, settings: pim.DefaultSettings()}
	r := w.must(noon, pim.Request{Action: pim.AdminAssign, Justification: "on call", Expiration: pim.Expiration{Duration: 2 * time.Hour}})
	if r.Status != pim.Provisioned || r.Result != r.ID || !r.Completed.Equal(noon) {
		t.Errorf("request %+v", r)
	}
	w.wantActive(noon.Add(-time.Second), true) // the clock stands before the record
	w.wantActive(noon, true)
	w.wantActive(noon.Add(2*time.Hour-time.Nanosecond), true)
	w.wantActive(noon.Add(2*time.Hour), false)
	next, ok := w.state.NextChange(noon)
	if !ok || !next.Equal(noon.Add(2*time.Hour)) {
		t.Errorf("NextChange = %v, %v", next, ok)
	}
	if next, ok := w.state.NextChange(next); ok {
		t.Errorf("a change after the end: %v", next)
	}
	m := w.state.Active(ann, noon)
	if len(m) != 1 || m[0].Target != target || m[0].Activated || !m[0].End.Equal(noon.Add(2*time.Hour)) {
		t.Errorf("Active = %+v", m)
	}
	if len(w.state.Active(bob, noon)) != 0 || len(w.state.Holders(target, noon)) != 1 || len(w.state.AllActive(noon)) != 1 {
		t.Error("the assignment reaches the wrong people")
	}
}

func TestActivation(t *testing.T) {
	w := &world{t: t, settings: pim.DefaultSettings()}
	w.eligible(noon.Add(30 * 24 * time.Hour))
	w.wantActive(noon, false)
	r := activate(4 * time.Hour)
	_, err := w.do(noon, r)
	wantCode(t, err, pim.CodePolicyFailed, pim.RuleMFA)
	r.RequestorMFA = true
	got := w.must(noon.Add(time.Hour), r)
	if got.Status != pim.Provisioned {
		t.Errorf("status %s", got.Status)
	}
	w.wantActive(noon.Add(time.Hour), true)
	if m := w.state.Active(ann, noon.Add(time.Hour)); !m[0].Activated {
		t.Error("not shown as an activation")
	}
	_, err = w.do(noon.Add(2*time.Hour), r)
	wantCode(t, err, pim.CodeExists)

	_, err = w.do(noon.Add(time.Hour+5*time.Minute-time.Second), pim.Request{Action: pim.SelfDeactivate})
	wantCode(t, err, pim.CodeTooShort)
	got = w.must(noon.Add(time.Hour+5*time.Minute), pim.Request{Action: pim.SelfDeactivate})
	if got.Status != pim.Revoked {
		t.Errorf("status %s", got.Status)
	}
	w.wantActive(noon.Add(time.Hour+5*time.Minute), false)
	_, err = w.do(noon.Add(2*time.Hour), pim.Request{Action: pim.SelfDeactivate})
	wantCode(t, err, pim.CodeNotFound)
	w.must(noon.Add(3*time.Hour), r) // and once more
	w.wantActive(noon.Add(3*time.Hour), true)
}

func TestRules(t *testing.T) {
	hour := pim.Expiration{Duration: time.Hour}
	week := 7 * 24 * time.Hour
	for _, tc := range []struct {
		name     string
		settings pim.Settings
		r        pim.Request
		code     string // empty: accepted
		rules    []string
	}{
		{"everything missing", pim.Settings{MaxActivation: time.Hour, ActivateWithMFA: true, ActivateWithJustification: true, ActivateWithTicket: true},
			pim.Request{Action: pim.SelfActivate, Principal: bob, Expiration: pim.Expiration{Duration: 2 * time.Hour}}, pim.CodePolicyFailed,
			[]string{pim.RuleJustification, pim.RuleTicketing, pim.RuleMFA, pim.RuleExpiration, pim.RuleEligibility}},
		{"blank justification", pim.Settings{MaxActivation: time.Hour, ActivateWithJustification: true}, pim.Request{Action: pim.SelfActivate, Justification: " \t", Expiration: hour}, pim.CodePolicyFailed, []string{pim.RuleJustification}},
		{"half a ticket", pim.Settings{MaxActivation: time.Hour, ActivateWithTicket: true}, pim.Request{Action: pim.SelfActivate, Ticket: pim.Ticket{Number: "7"}, Expiration: hour}, pim.CodePolicyFailed, []string{pim.RuleTicketing}},
		{"a ticket", pim.Settings{MaxActivation: time.Hour, ActivateWithTicket: true}, pim.Request{Action: pim.SelfActivate, Ticket: pim.Ticket{Number: "7", System: "desk"}, Expiration: hour}, "", nil},
		{"the maximum", easy, activate(8 * time.Hour), "", nil},
		{"a second more", easy, activate(8*time.Hour + time.Second), pim.CodePolicyFailed, []string{pim.RuleExpiration}},
		{"an end beyond the maximum", easy, pim.Request{Action: pim.SelfActivate, Expiration: pim.Expiration{End: noon.Add(9 * time.Hour)}}, pim.CodePolicyFailed, []string{pim.RuleExpiration}},
		{"a backdated start does not stretch it", easy, pim.Request{Action: pim.SelfActivate, Start: noon.Add(-4 * time.Hour), Expiration: pim.Expiration{End: noon.Add(9 * time.Hour)}}, pim.CodePolicyFailed, []string{pim.RuleExpiration}},
		{"without an end", easy, pim.Request{Action: pim.SelfActivate}, pim.CodePolicyFailed, []string{pim.RuleExpiration}},
		{"four minutes", easy, activate(4 * time.Minute), pim.CodePolicyFailed, []string{pim.RuleExpiration}},
		{"an end in the past", easy, pim.Request{Action: pim.SelfActivate, Expiration: pim.Expiration{End: noon}}, pim.CodeInvalidSchedule, nil},
		{"two ends", easy, pim.Request{Action: pim.SelfActivate, Expiration: pim.Expiration{End: noon.Add(time.Hour), Duration: time.Hour}}, pim.CodeInvalidSchedule, nil},
		{"a negative duration", easy, activate(-time.Hour), pim.CodeInvalidSchedule, nil},
		{"after the eligibility", easy, pim.Request{Action: pim.SelfActivate, Start: noon.Add(week), Expiration: hour}, pim.CodePolicyFailed, []string{pim.RuleEligibility}},
		{"for somebody else", easy, pim.Request{Action: pim.SelfActivate, Requestor: bob, Expiration: hour}, pim.CodeAccessDenied, nil},
		{"another target", easy, pim.Request{Action: pim.SelfActivate, Target: pim.GroupTarget("33333333-0000-4000-8000-0000000000aa", pim.Owner), Expiration: hour}, pim.CodePolicyFailed, []string{pim.RuleEligibility}},
		{"a service principal", easy, pim.Request{Action: pim.SelfActivate, Principal: robot, PrincipalKind: pim.ServicePrincipal, Expiration: hour}, pim.CodeInvalidPrincipal, nil},
		{"eligible service principal", easy, pim.Request{Action: pim.AdminAssign, Sort: pim.Eligible, Principal: robot, PrincipalKind: pim.ServicePrincipal}, pim.CodeInvalidPrincipal, nil},
		{"active service principal", easy, pim.Request{Action: pim.AdminAssign, Principal: robot, PrincipalKind: pim.ServicePrincipal}, "", nil},
		{"eligible twice", easy, pim.Request{Action: pim.AdminAssign, Sort: pim.Eligible}, pim.CodeExists, nil},
		{"eligible again afterwards", easy, pim.Request{Action: pim.AdminAssign, Sort: pim.Eligible, Start: noon.Add(week)}, "", nil},
		{"permanent eligibility not allowed", pim.DefaultSettings(), pim.Request{Action: pim.AdminAssign, Sort: pim.Eligible, Principal: bob}, pim.CodePolicyFailed, []string{pim.RuleExpiration}},
		{"eligibility too long", pim.DefaultSettings(), pim.Request{Action: pim.AdminAssign, Sort: pim.Eligible, Principal: bob, Expiration: pim.Expiration{Duration: 366 * 24 * time.Hour}}, pim.CodePolicyFailed, []string{pim.RuleExpiration}},
		{"permanent assignment not allowed", pim.DefaultSettings(), pim.Request{Action: pim.AdminAssign}, pim.CodePolicyFailed, []string{pim.RuleJustification, pim.RuleExpiration}},
		{"assignment too long", pim.DefaultSettings(), pim.Request{Action: pim.AdminAssign, Justification: "x", Expiration: pim.Expiration{Duration: 181 * 24 * time.Hour}}, pim.CodePolicyFailed, []string{pim.RuleExpiration}},
		{"assignment without MFA", pim.Settings{PermanentActive: true, AssignWithMFA: true}, pim.Request{Action: pim.AdminAssign}, pim.CodePolicyFailed, []string{pim.RuleMFA}},
		{"remove nothing", easy, pim.Request{Action: pim.AdminRemove}, pim.CodeNotFound, nil},
		{"update nothing", easy, pim.Request{Action: pim.AdminUpdate}, pim.CodeNotFound, nil},
		{"renew what has not ended", easy, pim.Request{Action: pim.AdminRenew, Sort: pim.Eligible}, pim.CodeNotFound, nil},
		{"extend to less", easy, pim.Request{Action: pim.AdminExtend, Sort: pim.Eligible, Expiration: hour}, pim.CodeInvalidSchedule, nil},
		{"activate an eligibility request", easy, pim.Request{Action: pim.SelfActivate, Sort: pim.Eligible, Expiration: hour}, pim.CodeInvalidAction, nil},
		{"unknown action", easy, pim.Request{Action: "adminDance"}, pim.CodeInvalidAction, nil},
		{"unknown access", easy, pim.Request{Action: pim.AdminAssign, Target: pim.GroupTarget("x", "guest")}, pim.CodeInvalidAction, nil},
		{"unknown principal kind", easy, pim.Request{Action: pim.AdminAssign, PrincipalKind: "Robot"}, pim.CodeInvalidPrincipal, nil},
		{"a used id", easy, pim.Request{ID: "r1", Action: pim.AdminAssign}, pim.CodeExists, nil},
		{"a long justification", easy, pim.Request{Action: pim.AdminAssign, Justification: strings.Repeat("x", 5000)}, pim.CodeInvalidAction, nil},
		{"ARM's spelling", easy, pim.Request{Action: "SelfActivate", Requestor: ann, Expiration: hour}, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &world{t: t, settings: easy}
			w.eligible(noon.Add(7 * 24 * time.Hour))
			w.settings = tc.settings
			_, err := w.do(noon, tc.r)
			if tc.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantCode(t, err, tc.code, tc.rules...)
			if errs.KindOf(err) == errs.Internal {
				t.Error("the refusal reads as an internal error")
			}
		})
	}
}

// TestUseAfterEnd and the tests after it are the attacks on temporary privilege.
func TestUseAfterEnd(t *testing.T) {
	w := &world{t: t, settings: easy}
	w.eligible(time.Time{})
	w.must(noon, activate(time.Hour))
	w.wantActive(noon.Add(time.Hour-time.Second), true)
	w.wantActive(noon.Add(time.Hour), false)
	w.wantActive(noon.Add(time.Hour+time.Second), false)
}

func TestExtendActivation(t *testing.T) {
	w := &world{t: t, settings: easy}
	w.eligible(time.Time{})
	w.must(noon, activate(time.Hour))
	half := noon.Add(30 * time.Minute)
	for _, a := range []pim.Action{pim.SelfExtend, pim.SelfRenew, pim.AdminExtend, pim.AdminUpdate, pim.AdminRenew} {
		r := pim.Request{Action: a, Justification: "more", Expiration: pim.Expiration{Duration: 8 * time.Hour}}
		_, err := w.do(half, r)
		wantCode(t, err, pim.CodeNotFound)
	}
	_, err := w.do(half, activate(8*time.Hour)) // "refresh"
	wantCode(t, err, pim.CodeExists)
	w.wantActive(noon.Add(time.Hour), false)
}

func TestApproval(t *testing.T) {
	settings := easy
	settings.ApprovalRequired = true
	settings.Approvers = []directory.ObjectID{ops, ann}
	w := &world{t: t, settings: settings}
	w.eligible(noon.Add(48 * time.Hour))
	r := w.must(noon, activate(time.Hour))
	if r.Status != pim.PendingApproval || r.Result != "" || !r.Completed.IsZero() {
		t.Fatalf("request %+v", r)
	}
	w.wantActive(noon.Add(time.Minute), false) // used while pending
	_, err := w.do(noon.Add(time.Minute), activate(time.Hour))
	wantCode(t, err, pim.CodePending)
	_, err = w.do(noon.Add(time.Minute), pim.Request{Action: pim.SelfDeactivate})
	wantCode(t, err, pim.CodeNotFound)

	at := noon.Add(2 * time.Hour)
	ok := pim.Review{Request: r.ID, Reviewer: bob, ReviewerGroups: []directory.ObjectID{ops}, Approve: true, Justification: "seen"}
	for _, tc := range []struct {
		name string
		edit func(*pim.Review)
		code string
	}{
		{"own request, even as an approver", func(v *pim.Review) { v.Reviewer = ann }, pim.CodeAccessDenied},
		{"not an approver", func(v *pim.Review) { v.ReviewerGroups = nil }, pim.CodeAccessDenied},
		{"an administrator who is none of the named approvers", func(v *pim.Review) { v.ReviewerGroups, v.Administrator = nil, true }, pim.CodeAccessDenied},
		{"nobody", func(v *pim.Review) { v.Reviewer = "" }, pim.CodeAccessDenied},
		{"unknown request", func(v *pim.Review) { v.Request = "r99" }, pim.CodeRequestNotFound},
		{"without a reason", func(v *pim.Review) { v.Justification = "" }, pim.CodePolicyFailed},
	} {
		v := ok
		tc.edit(&v)
		_, err := pim.Approve(settings, w.state, v, at)
		var e *pim.Error
		if !errors.As(err, &e) || e.Code != tc.code {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	_, err = pim.Approve(settings, w.state, ok, noon.Add(24*time.Hour))
	wantCode(t, err, pim.CodeNotPending) // timed out

	c, err := pim.Approve(settings, w.state, ok, at)
	if err != nil {
		t.Fatal(err)
	}
	w.state = w.state.Apply(c)
	if got := c.Requests[0]; got.Status != pim.Provisioned || got.Reviewer != bob || got.Review != "seen" {
		t.Errorf("request %+v", got)
	}
	w.wantActive(at, true)
	w.wantActive(at.Add(time.Hour), false) // the hour counts from the approval
	_, err = pim.Approve(settings, w.state, ok, at.Add(time.Minute))
	wantCode(t, err, pim.CodeNotPending)
}

func TestApprovalJudgedAgain(t *testing.T) {
	settings := easy
	settings.ApprovalRequired = true
	v := pim.Review{Request: "r2", Reviewer: bob, Administrator: true, Approve: true, Justification: "seen"}
	start := func(t *testing.T) *world {
		w := &world{t: t, settings: settings}
		w.eligible(noon.Add(90 * time.Minute))
		w.must(noon, activate(time.Hour))
		return w
	}
	t.Run("denied", func(t *testing.T) {
		w, v := start(t), v
		v.Approve = false
		c, err := pim.Approve(settings, w.state, v, noon)
		if err != nil || c.Requests[0].Status != pim.Denied || len(c.Schedules) != 0 {
			t.Errorf("%+v, %v", c, err)
		}
	})
	t.Run("eligibility ended", func(t *testing.T) {
		w := start(t)
		c, err := pim.Approve(settings, w.state, v, noon.Add(2*time.Hour))
		if err != nil || c.Requests[0].Status != pim.Failed || len(c.Schedules) != 0 {
			t.Errorf("%+v, %v", c, err)
		}
	})
	t.Run("eligibility removed", func(t *testing.T) {
		w := start(t)
		w.must(noon, pim.Request{Action: pim.AdminRemove, Sort: pim.Eligible})
		c, err := pim.Approve(settings, w.state, v, noon)
		if err != nil || c.Requests[0].Status != pim.Failed || len(c.Schedules) != 0 {
			t.Errorf("%+v, %v", c, err)
		}
	})
	t.Run("ends with the eligibility", func(t *testing.T) {
		w := start(t)
		c, err := pim.Approve(settings, w.state, v, noon.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		w.state = w.state.Apply(c)
		w.wantActive(noon.Add(90*time.Minute-time.Second), true)
		w.wantActive(noon.Add(90*time.Minute), false)
	})
	t.Run("shorter maximum by now", func(t *testing.T) {
		w, s := start(t), settings
		s.MaxActivation = 30 * time.Minute
		_, err := pim.Approve(s, w.state, v, noon)
		wantCode(t, err, pim.CodePolicyFailed, pim.RuleExpiration)
	})
	t.Run("not an administrator", func(t *testing.T) {
		w, v := start(t), v
		v.Administrator = false
		_, err := pim.Approve(settings, w.state, v, noon)
		wantCode(t, err, pim.CodeAccessDenied)
	})
	t.Run("canceled", func(t *testing.T) {
		w := start(t)
		_, err := pim.Cancel(w.state, "r2", bob, false, noon)
		wantCode(t, err, pim.CodeAccessDenied)
		c, err := pim.Cancel(w.state, "r2", ann, false, noon)
		if err != nil || c.Requests[0].Status != pim.Canceled {
			t.Fatalf("%+v, %v", c, err)
		}
		w.state = w.state.Apply(c)
		_, err = pim.Approve(settings, w.state, v, noon)
		wantCode(t, err, pim.CodeNotPending)
		w.must(noon, activate(time.Hour)) // no longer pending
	})
}

func TestClockMovedBack(t *testing.T) {
	w := &world{t: t, settings: easy}
	w.eligible(time.Time{})
	w.must(noon, activate(time.Hour))
	// Deactivated: whatever the clock says, that has happened.
	w.must(noon.Add(30*time.Minute), pim.Request{Action: pim.SelfDeactivate})
	for _, d := range []time.Duration{0, 10 * time.Minute, -time.Hour, 29 * time.Minute} {
		w.wantActive(noon.Add(d), false)
	}
	// The schedules remember as well as the requests do.
	for _, s := range []pim.State{{Schedules: w.state.Schedules}, {Requests: w.state.Requests}} {
		if at := s.Time(noon.Add(-time.Hour)); !at.Equal(noon.Add(30 * time.Minute)) {
			t.Errorf("Time = %v", at)
		}
	}
	// Ended by time, and that time was seen.
	w = &world{t: t, settings: easy}
	w.eligible(time.Time{})
	w.must(noon, activate(time.Hour))
	w.state.Latest = noon.Add(61 * time.Minute)
	w.wantActive(noon.Add(30*time.Minute), false)
	// A request in the past starts when the last record was written, and an
	// activation made then cannot reach further than its duration from there.
	w.must(noon.Add(-24*time.Hour), activate(time.Hour))
	w.wantActive(noon.Add(61*time.Minute), true)
	w.wantActive(noon.Add(121*time.Minute), false)
	if at := w.state.Time(noon); !at.Equal(noon.Add(61 * time.Minute)) {
		t.Errorf("Time = %v", at)
	}
}

func TestEligibilityEndsActivation(t *testing.T) {
	for _, tc := range []struct {
		name string
		r    pim.Request
		end  time.Duration
	}{
		{"removed", pim.Request{Action: pim.AdminRemove, Sort: pim.Eligible}, 10 * time.Minute},
		{"shortened", pim.Request{Action: pim.AdminUpdate, Sort: pim.Eligible, Expiration: pim.Expiration{End: noon.Add(20 * time.Minute)}}, 20 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &world{t: t, settings: easy}
			w.eligible(time.Time{})
			w.must(noon, activate(time.Hour))
			w.must(noon.Add(10*time.Minute), tc.r)
			w.wantActive(noon.Add(tc.end-time.Second).Add(time.Duration(0)), tc.end > 10*time.Minute)
			w.wantActive(noon.Add(tc.end), false)
			if next, ok := w.state.NextChange(noon.Add(10 * time.Minute)); ok != (tc.end > 10*time.Minute) || ok && !next.Equal(noon.Add(tc.end)) {
				t.Errorf("NextChange = %v, %v", next, ok)
			}
		})
	}
	// Records alone decide: an activation whose eligibility is missing, revoked
	// or for another target gives nothing, however that came about.
	for _, spoil := range []func(*pim.Schedule){
		func(x *pim.Schedule) { x.ID = "other" },
		func(x *pim.Schedule) { x.Status = pim.Revoked },
		func(x *pim.Schedule) { x.Target.Scope = "other" },
		func(x *pim.Schedule) { x.Start = noon.Add(time.Hour) },
	} {
		w := &world{t: t, settings: easy}
		w.eligible(time.Time{})
		w.must(noon, activate(time.Hour))
		w.wantActive(noon, true)
		for i := range w.state.Schedules {
			if w.state.Schedules[i].Sort == pim.Eligible {
				spoil(&w.state.Schedules[i])
			}
		}
		w.wantActive(noon, false)
	}
}

func TestGroupEligibility(t *testing.T) {
	w := &world{t: t, settings: easy}
	w.must(noon, pim.Request{Action: pim.AdminAssign, Sort: pim.Eligible, Principal: ops, PrincipalKind: pim.GroupPrincipal})
	r := activate(time.Hour)
	_, err := w.do(noon, r)
	wantCode(t, err, pim.CodePolicyFailed, pim.RuleEligibility)
	r.PrincipalGroups = []directory.ObjectID{ops}
	w.must(noon, r)
	w.wantActive(noon, true)
	if len(w.state.Active(ops, noon)) != 0 {
		t.Error("the whole group became active")
	}
}

func TestSchedules(t *testing.T) {
	w := &world{t: t, settings: easy}
	// In the future, then updated, extended, ended, renewed, removed.
	r := w.must(noon, pim.Request{Action: pim.AdminAssign, Start: noon.Add(time.Hour), Expiration: pim.Expiration{Duration: time.Hour}})
	if r.Status != pim.Granted || r.StatusAt(noon.Add(time.Hour)) != pim.Provisioned {
		t.Errorf("status %s", r.Status)
	}
	w.wantActive(noon.Add(59*time.Minute), false)
	w.wantActive(noon.Add(time.Hour), true)
	if next, _ := w.state.NextChange(noon); !next.Equal(noon.Add(time.Hour)) {
		t.Errorf("NextChange = %v", next)
	}
	w.must(noon.Add(90*time.Minute), pim.Request{Action: pim.AdminExtend, Expiration: pim.Expiration{Duration: 3 * time.Hour}})
	w.wantActive(noon.Add(4*time.Hour-time.Second), true) // three hours from its start
	w.wantActive(noon.Add(4*time.Hour), false)
	w.must(noon.Add(5*time.Hour), pim.Request{Action: pim.AdminRenew, Expiration: pim.Expiration{Duration: time.Hour}})
	w.wantActive(noon.Add(5*time.Hour), true)
	w.must(noon.Add(5*time.Hour), pim.Request{Action: pim.AdminUpdate}) // permanent
	w.wantActive(noon.Add(5000*time.Hour), true)
	if _, ok := w.state.NextChange(noon); ok {
		t.Error("a permanent assignment changes")
	}
	got := w.must(noon.Add(6*time.Hour), pim.Request{Action: pim.AdminRemove})
	if got.Status != pim.Revoked {
		t.Errorf("status %s", got.Status)
	}
	w.wantActive(noon.Add(6*time.Hour), false)

	// A scheduled activation can be called off.
	w = &world{t: t, settings: easy}
	w.eligible(time.Time{})
	later := activate(time.Hour)
	later.Start = noon.Add(time.Hour)
	r = w.must(noon, later)
	c, err := pim.Cancel(w.state, r.ID, ann, false, noon.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	w.state = w.state.Apply(c)
	w.wantActive(noon.Add(time.Hour), false)
}

func TestRemoveEndsActivationsToo(t *testing.T) {
	w := &world{t: t, settings: easy}
	w.eligible(time.Time{})
	w.must(noon, activate(time.Hour))
	w.must(noon, pim.Request{Action: pim.AdminAssign, Expiration: pim.Expiration{Duration: 2 * time.Hour}})
	if m := w.state.Active(ann, noon); len(m) != 1 || m[0].Activated || !m[0].End.Equal(noon.Add(2*time.Hour)) {
		t.Errorf("Active = %+v, want the longer one alone", m)
	}
	w.must(noon.Add(time.Minute), pim.Request{Action: pim.AdminRemove})
	w.wantActive(noon.Add(time.Minute), false)
}

func TestSelfExtendAndRenew(t *testing.T) {
	settings := easy
	settings.PermanentEligible = false
	w := &world{t: t, settings: settings}
	w.eligible(noon.Add(30 * 24 * time.Hour))
	r := pim.Request{Action: pim.SelfExtend, Sort: pim.Eligible, Justification: "still on the team", Expiration: pim.Expiration{Duration: 60 * 24 * time.Hour}}
	_, err := w.do(noon, r)
	wantCode(t, err, pim.CodePolicyFailed, pim.RuleExpiration) // too early
	late := noon.Add(20 * 24 * time.Hour)
	got := w.must(late, r)
	if got.Status != pim.PendingAdminDecision {
		t.Fatalf("status %s", got.Status)
	}
	_, err = w.do(late, r)
	wantCode(t, err, pim.CodePending)
	v := pim.Review{Request: got.ID, Reviewer: ann, Administrator: true, Approve: true, Justification: "yes"}
	_, err = pim.Approve(settings, w.state, v, late)
	wantCode(t, err, pim.CodeAccessDenied)
	v.Reviewer = root
	c, err := pim.Approve(settings, w.state, v, late)
	if err != nil {
		t.Fatal(err)
	}
	w.state = w.state.Apply(c)
	end := noon.Add(60 * 24 * time.Hour)
	if x := c.Schedules[0]; !x.End.Equal(end) || !x.Start.Equal(noon) {
		t.Errorf("schedule %+v", x)
	}
	r.Action = pim.SelfRenew
	_, err = w.do(end.Add(31*24*time.Hour), r)
	wantCode(t, err, pim.CodePolicyFailed, pim.RuleExpiration) // too late
	got = w.must(end.Add(24*time.Hour), r)
	v.Request = got.ID
	if c, err = pim.Approve(settings, w.state, v, end.Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if x := c.Schedules[0]; !x.Start.Equal(end.Add(24*time.Hour)) || !x.End.Equal(end.Add(61*24*time.Hour)) {
		t.Errorf("schedule %+v", x)
	}
}

func TestTargets(t *testing.T) {
	a := pim.AzureRoleTarget("/subscriptions/S/providers/Microsoft.Authorization/roleDefinitions/ABC", "/Subscriptions/S/resourceGroups/RG/")
	b := pim.AzureRoleTarget("abc", "/subscriptions/s/resourcegroups/rg")
	if a != b {
		t.Errorf("%v and %v differ", a, b)
	}
	if a == pim.AzureRoleTarget("abc", "/subscriptions/s") || a == pim.DirectoryRoleTarget("abc", "/subscriptions/s/resourcegroups/rg") {
		t.Error("different targets are equal")
	}
	if pim.AzureRoleTarget("abc", "/").Scope != "/" {
		t.Error("the root scope is lost")
	}
}

func TestSettingsCheck(t *testing.T) {
	s := pim.DefaultSettings()
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	for _, edit := range []func(*pim.Settings){
		func(s *pim.Settings) { s.MaxActivation = 25 * time.Hour },
		func(s *pim.Settings) { s.MaxActivation = 0 },
		func(s *pim.Settings) { s.MaxEligible = 0 },
		func(s *pim.Settings) { s.MaxActive = -1 },
	} {
		s := pim.DefaultSettings()
		edit(&s)
		if !errs.Is(s.Check(), errs.Invalid) {
			t.Errorf("accepted %+v", s)
		}
	}
}
