package pim

import (
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
)

// Membership is a privilege that somebody holds now.
type Membership struct {
	Target    Target
	Principal directory.ObjectID
	End       time.Time // exclusive; zero: until somebody ends it
	Schedule  string    // the schedule with the latest end
	Activated bool      // by activation and not by assignment
}

// Active returns what a principal holds at now, in a fixed order, one entry for
// each target. A principal's groups are principals of their own.
func (s State) Active(principal directory.ObjectID, now time.Time) []Membership {
	return s.active(now, func(x *Schedule) bool { return x.Principal == principal })
}

// AllActive returns what everybody holds at now.
func (s State) AllActive(now time.Time) []Membership {
	return s.active(now, func(*Schedule) bool { return true })
}

// Holders returns who holds a target at now.
func (s State) Holders(target Target, now time.Time) []Membership {
	return s.active(now, func(x *Schedule) bool { return x.Target == target })
}

func (s State) active(now time.Time, want func(*Schedule) bool) []Membership {
	now = s.Time(now)
	type key struct {
		Target
		directory.ObjectID
	}
	best := map[key]Membership{}
	find := s.finder()
	for i := range s.Schedules {
		x := &s.Schedules[i]
		if x.Sort != Active || !want(x) {
			continue
		}
		start, end, ok := window(x, find)
		if !ok || now.Before(start) || !end.IsZero() && !now.Before(end) {
			continue
		}
		k := key{x.Target, x.Principal}
		if old, ok := best[k]; ok && !later(end, old.End) {
			continue
		}
		best[k] = Membership{x.Target, x.Principal, end, x.ID, x.Activated()}
	}
	out := make([]Membership, 0, len(best))
	for _, m := range best {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Membership) int {
		for _, c := range []int{strings.Compare(string(a.Principal), string(b.Principal)), strings.Compare(string(a.Target.Kind), string(b.Target.Kind)),
			strings.Compare(a.Target.Scope, b.Target.Scope)} {
			if c != 0 {
				return c
			}
		}
		return strings.Compare(a.Target.Role, b.Target.Role)
	})
	return out
}

// later tells whether the end a is after b, where zero is never.
func later(a, b time.Time) bool {
	return !b.IsZero() && (a.IsZero() || a.After(b))
}

// window returns when an assignment really holds: an activation only while its
// eligibility does.
func window(x *Schedule, find func(id string) *Schedule) (start, end time.Time, ok bool) {
	if x.Status != Provisioned {
		return start, end, false
	}
	start, end = x.Start, x.End
	if !x.Activated() {
		return start, end, true
	}
	e := find(x.Activates)
	if e == nil || e.Status != Provisioned || e.Target != x.Target {
		return start, end, false
	}
	if e.Start.After(start) {
		start = e.Start
	}
	if later(end, e.End) {
		end = e.End
	}
	return start, end, true
}

func (s State) schedule(id string) *Schedule {
	for i := range s.Schedules {
		if s.Schedules[i].ID == id {
			return &s.Schedules[i]
		}
	}
	return nil
}

// finder returns schedule for many calls: the first one makes an index.
func (s State) finder() func(string) *Schedule {
	var byID map[string]*Schedule
	return func(id string) *Schedule {
		if byID == nil {
			byID = make(map[string]*Schedule, len(s.Schedules))
			for i := range s.Schedules {
				byID[s.Schedules[i].ID] = &s.Schedules[i]
			}
		}
		return byID[id]
	}
}

// NextChange returns the first time after now at which Active may answer
// differently without any record changing, and whether there is one. It is
// never too late; it may be early where windows overlap.
func (s State) NextChange(now time.Time) (time.Time, bool) {
	now = s.Time(now)
	var next time.Time
	find := s.finder()
	for i := range s.Schedules {
		x := &s.Schedules[i]
		if x.Sort != Active {
			continue
		}
		start, end, ok := window(x, find)
		if !ok || !end.IsZero() && !end.After(start) {
			continue
		}
		for _, t := range []time.Time{start, end} {
			if t.After(now) && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next, !next.IsZero()
}

// StatusAt returns how a request stands at now: one that waits for its start is
// Provisioned from then on, and one that nobody decided about times out.
func (r *Request) StatusAt(now time.Time) Status {
	switch {
	case r.Status == Granted && !now.Before(r.Start):
		return Provisioned
	case r.Status == PendingApproval && !now.Before(r.Created.Add(approvalTimeout)):
		return TimedOut
	}
	return r.Status
}
