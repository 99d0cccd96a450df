package pim_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pim"
)

// TestRandomHistories does random things in random order and checks what must
// hold whatever happens.
func TestRandomHistories(t *testing.T) {
	counts := map[string]int{}
	for seed := range uint64(600) {
		g := rand.New(rand.NewPCG(26, seed))
		settings := easy
		settings.MaxActivation = time.Hour
		settings.ApprovalRequired = g.IntN(2) == 0
		var s pim.State
		now := noon
		approved := map[string]bool{}
		for step := range 60 {
			now = now.Add(time.Duration(g.IntN(40)) * time.Minute)
			if g.IntN(16) == 0 {
				now = now.Add(-2 * time.Hour) // the clock is set back
			}
			who := []directory.ObjectID{ann, bob}[g.IntN(2)]
			r := pim.Request{ID: fmt.Sprint(seed, "/", step), Target: target, Principal: who, PrincipalKind: pim.UserPrincipal, Requestor: root, Sort: pim.Active, Justification: "x",
				Expiration: pim.Expiration{Duration: time.Duration(1+g.IntN(24)) * 10 * time.Minute}}
			if g.IntN(3) == 0 {
				r.Start = now.Add(time.Duration(g.IntN(90)-30) * time.Minute)
			}
			var c pim.Change
			var err error
			switch g.IntN(14) {
			case 0, 1:
				r.Action, r.Sort = pim.AdminAssign, pim.Eligible
				c, err = pim.Decide(settings, s, r, now)
			case 2:
				r.Action = []pim.Action{pim.AdminAssign, pim.AdminUpdate, pim.AdminExtend, pim.AdminRenew}[g.IntN(4)]
				r.Sort = []pim.Sort{pim.Eligible, pim.Active}[g.IntN(2)]
				c, err = pim.Decide(settings, s, r, now)
			case 3:
				r.Action, r.Sort = pim.AdminRemove, []pim.Sort{pim.Eligible, pim.Active}[g.IntN(2)]
				c, err = pim.Decide(settings, s, r, now)
			case 4, 5, 6, 10:
				r.Action, r.Requestor = pim.SelfActivate, who
				c, err = pim.Decide(settings, s, r, now)
			case 7, 11, 12, 13:
				for _, m := range s.AllActive(now) {
					if m.Activated { // else there is hardly ever anything to end
						who = m.Principal
					}
				}
				r.Action, r.Principal, r.Requestor = pim.SelfDeactivate, who, who
				c, err = pim.Decide(settings, s, r, now)
			default:
				if len(s.Requests) == 0 {
					continue
				}
				id := s.Requests[g.IntN(len(s.Requests))].ID
				for i := range s.Requests {
					if s.Requests[i].StatusAt(s.Time(now)).Pending() && g.IntN(2) == 0 {
						id = s.Requests[i].ID
					}
				}
				v := pim.Review{Request: id, Reviewer: who, Administrator: true, Approve: g.IntN(4) > 0, Justification: "y"}
				if c, err = pim.Approve(settings, s, v, now); err == nil && v.Approve {
					approved[v.Request] = true
				}
				r.Action = "review"
			}
			before := s
			if err == nil {
				counts[string(r.Action)]++
				s = s.Apply(c)
			}
			if now.After(s.Latest) {
				s.Latest = now
			}
			invariants(t, settings, s, now, approved)
			// Nothing but a request makes somebody active who was not.
			if err != nil && !reflect.DeepEqual(before.Schedules, s.Schedules) {
				t.Fatal("a refused request changed something")
			}
		}
	}
	for _, a := range []string{"adminAssign", "adminRemove", "selfActivate", "selfDeactivate", "review"} {
		if counts[a] < 100 {
			t.Errorf("only %d times %s: the histories prove nothing about it", counts[a], a)
		}
	}
}

func invariants(t *testing.T, settings pim.Settings, s pim.State, now time.Time, approved map[string]bool) {
	t.Helper()
	at := s.Time(now)
	byID := map[string]pim.Schedule{}
	for _, x := range s.Schedules {
		byID[x.ID] = x
	}
	for _, m := range s.AllActive(now) {
		if !m.End.IsZero() && !at.Before(m.End) {
			t.Fatalf("active past its end: %+v at %v", m, at)
		}
		x := byID[m.Schedule]
		if x.Status != pim.Provisioned || at.Before(x.Start) {
			t.Fatalf("active by %+v at %v", x, at)
		}
		if !m.Activated {
			continue
		}
		e, ok := byID[x.Activates]
		if !ok || e.Status != pim.Provisioned || e.Principal != m.Principal || !e.End.IsZero() && !at.Before(e.End) {
			t.Fatalf("active without eligibility: %+v, %+v at %v", x, e, at)
		}
		if x.End.Sub(x.Start) > settings.MaxActivation {
			t.Fatalf("active for %v", x.End.Sub(x.Start))
		}
		if settings.ApprovalRequired && !approved[x.ID] {
			t.Fatalf("active without approval: %+v", x)
		}
		for _, r := range s.Requests {
			if r.ID == x.ID && r.Reviewer == r.Requestor {
				t.Fatalf("approved by the requestor: %+v", r)
			}
		}
	}
	// Between now and the next change nothing changes; at a change something may.
	next, ok := s.NextChange(now)
	if !ok {
		next = at.Add(1000 * time.Hour)
	}
	if !next.After(at) {
		t.Fatalf("the next change %v does not lie after %v", next, at)
	}
	for _, x := range []time.Duration{next.Sub(at) / 3, next.Sub(at) - 1} {
		if a, b := s.AllActive(now), s.AllActive(at.Add(x)); !reflect.DeepEqual(a, b) {
			t.Fatalf("changed before the next change:\n%+v\n%+v", a, b)
		}
	}
	// The clock is set back: nobody gains.
	for _, d := range []time.Duration{time.Minute, time.Hour, 5 * time.Hour} {
		if a, b := s.AllActive(at), s.AllActive(at.Add(-d)); !reflect.DeepEqual(a, b) {
			t.Fatalf("a clock set back by %v changes the answer:\n%+v\n%+v", d, a, b)
		}
	}
}

func BenchmarkActive(b *testing.B) {
	var s pim.State
	for i := range 1000 {
		s.Schedules = append(s.Schedules, pim.Schedule{ID: fmt.Sprint(i), Sort: pim.Active, Target: target, Principal: directory.ObjectID(fmt.Sprint(i % 100)), Start: noon, End: noon.Add(time.Hour), Status: pim.Provisioned})
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Active("7", noon)
	}
}

func BenchmarkAllActive(b *testing.B) {
	var s pim.State
	for i := range 10000 { // half eligibilities, half their activations
		x := pim.Schedule{ID: fmt.Sprint(i), Sort: pim.Eligible, Target: target, Principal: directory.ObjectID(fmt.Sprint(i / 2)), Start: noon, Status: pim.Provisioned}
		if i%2 == 1 {
			x.Sort, x.Activates, x.End = pim.Active, fmt.Sprint(i-1), noon.Add(time.Hour)
		}
		s.Schedules = append(s.Schedules, x)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.AllActive(noon)
	}
}
