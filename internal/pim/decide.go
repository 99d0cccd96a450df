package pim

import (
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// Decide answers a request: the records to write, among them the request with
// its status, or an *Error. A request that only asks for validation is decided
// and not stored.
func Decide(settings Settings, s State, r Request, now time.Time) (Change, error) {
	now = s.Time(now)
	if err := check(&r); err != nil {
		return Change{}, err
	}
	if slices.ContainsFunc(s.Requests, func(o Request) bool { return o.ID == r.ID }) {
		return Change{}, fail(errs.Exists, CodeExists, "A request with the id %s already exists.", r.ID)
	}
	r.Status, r.Created, r.Completed, r.Reviewer, r.Review, r.Result = "", now, time.Time{}, "", "", ""
	d := &decision{settings: &settings, state: s, r: &r, now: now}
	var err *Error
	switch r.Action {
	case AdminAssign:
		err = d.assign()
	case AdminRemove:
		err = d.remove()
	case AdminUpdate, AdminExtend, AdminRenew:
		err = d.change()
	case SelfActivate:
		err = d.activate()
	case SelfDeactivate:
		err = d.deactivate()
	case SelfExtend, SelfRenew:
		err = d.ask()
	}
	if err != nil {
		return Change{}, err // a typed nil must not become a non-nil error
	}
	d.records.Requests = append(d.records.Requests, r)
	return d.records, nil
}

// check holds the rules about the form of a request.
func check(r *Request) error {
	action, ok := ParseAction(string(r.Action))
	switch {
	case !ok:
		return fail(errs.Invalid, CodeInvalidAction, "The request type is not known.")
	case r.ID == "" || r.Principal == "" || r.Requestor == "" || r.Target.Role == "" || r.Target.Scope == "":
		return fail(errs.Invalid, CodeInvalidAction, "The request needs an id, a principal, a requestor, a role and a scope.")
	case r.Sort != Eligible && r.Sort != Active:
		return fail(errs.Invalid, CodeInvalidAction, "The request is neither about eligibility nor about assignment.")
	case r.Sort == Eligible && (action == SelfActivate || action == SelfDeactivate):
		return fail(errs.Invalid, CodeInvalidAction, "Only assignment requests activate and deactivate.")
	case r.Target.Kind == Group && r.Target.Role != Member && r.Target.Role != Owner:
		return fail(errs.Invalid, CodeInvalidAction, "The access to a group is member or owner.")
	case action.Self() && r.Requestor != r.Principal:
		return fail(errs.Forbidden, CodeAccessDenied, "Only the principal can make this request.")
	case action.Self() && r.PrincipalKind != UserPrincipal:
		return fail(errs.Invalid, CodeInvalidPrincipal, "Only users activate, deactivate, extend and renew for themselves.")
	case r.Sort == Eligible && r.PrincipalKind == ServicePrincipal && action != AdminRemove:
		return fail(errs.Invalid, CodeInvalidPrincipal, "Service principals and managed identities cannot be eligible, as they cannot activate.")
	case r.PrincipalKind != UserPrincipal && r.PrincipalKind != GroupPrincipal && r.PrincipalKind != ServicePrincipal:
		return fail(errs.Invalid, CodeInvalidPrincipal, "The kind of the principal is not known.")
	case len(r.Justification) > maxJustification || len(r.Ticket.Number) > maxTicket || len(r.Ticket.System) > maxTicket:
		return fail(errs.Invalid, CodeInvalidAction, "The justification or the ticket is too long.")
	case !r.Expiration.End.IsZero() && r.Expiration.Duration != 0, r.Expiration.Duration < 0, r.Expiration.Duration > maxDuration:
		return fail(errs.Invalid, CodeInvalidSchedule, "The expiration is not valid.")
	}
	r.Action = action
	return nil
}

type decision struct {
	settings *Settings
	state    State
	r        *Request
	now      time.Time
	records  Change
}

func (d *decision) put(x Schedule) {
	x.Updated = d.now
	if x.Created.IsZero() {
		x.Created = d.now
	}
	d.records.Schedules = append(d.records.Schedules, x)
	d.r.Result = x.ID
}

func (d *decision) done(status Status) { d.r.Status, d.r.Completed = status, d.now }

// span works out when a schedule begins and ends. A start in the past is now:
// nobody had the privilege then.
func (d *decision) span() (start, end time.Time, err *Error) {
	start, end = d.r.Start, d.r.Expiration.End
	if start.Before(d.now) {
		start = d.now
	}
	if start.After(d.now.Add(maxAdminAssignment)) {
		return start, end, fail(errs.Invalid, CodeInvalidSchedule, "The start lies too far in the future.")
	}
	if d.r.Expiration.Duration > 0 {
		end = start.Add(d.r.Expiration.Duration)
	}
	if !end.IsZero() && !end.After(start) {
		return start, end, fail(errs.Invalid, CodeInvalidSchedule, "The end does not lie after the start.")
	}
	return start, end, nil
}

// adminRules returns the rules that an administrator's request fails.
func (d *decision) adminRules(start, end time.Time) []string {
	var failed []string
	permanent, longest := d.settings.PermanentEligible, d.settings.MaxEligible
	if d.r.Sort == Active {
		permanent, longest = d.settings.PermanentActive, d.settings.MaxActive
		if d.settings.AssignWithJustification && strings.TrimSpace(d.r.Justification) == "" {
			failed = append(failed, RuleJustification)
		}
		if d.settings.AssignWithMFA && !d.r.RequestorMFA {
			failed = append(failed, RuleMFA)
		}
	}
	// Where permanent is allowed, any end is.
	if !permanent && (end.IsZero() || end.Sub(start) > longest) {
		failed = append(failed, RuleExpiration)
	}
	return failed
}

// about tells whether the request is about a schedule: the one that it names, or
// any of its sort, principal and target.
func (d *decision) about(x *Schedule) bool {
	return x.Sort == d.r.Sort && x.Target == d.r.Target && x.Principal == d.r.Principal &&
		(d.r.ScheduleID == "" || d.r.ScheduleID == x.ID)
}

// find returns the schedule that a request is about and that keep accepts; of
// several the one that holds now, else the one that ends last.
func (d *decision) find(keep func(*Schedule) bool) *Schedule {
	var best *Schedule
	for i := range d.state.Schedules {
		x := &d.state.Schedules[i]
		if !d.about(x) || !keep(x) {
			continue
		}
		if x.covers(d.now) {
			return x
		}
		if best == nil || later(x.End, best.End) {
			best = x
		}
	}
	return best
}

func (d *decision) notFound() *Error {
	return fail(errs.NotFound, CodeNotFound, "The role assignment does not exist.")
}

// overlaps tells whether an assigned schedule other than the one named shares a
// time with the span.
func (d *decision) overlaps(start, end time.Time, except string) bool {
	return slices.ContainsFunc(d.state.Schedules, func(x Schedule) bool {
		return x.Sort == d.r.Sort && x.Target == d.r.Target && x.Principal == d.r.Principal && x.ID != except && !x.Activated() && !x.over(d.now) &&
			(end.IsZero() || x.Start.Before(end)) && (x.End.IsZero() || start.Before(x.End))
	})
}

func (d *decision) assign() *Error {
	start, end, err := d.span()
	if err != nil {
		return err
	}
	if failed := d.adminRules(start, end); len(failed) > 0 {
		return policyFailed(failed)
	}
	if d.overlaps(start, end, "") {
		return fail(errs.Exists, CodeExists, "The Role assignment already exists.")
	}
	d.put(Schedule{ID: d.r.ID, Sort: d.r.Sort, Target: d.r.Target, Principal: d.r.Principal, Kind: d.r.PrincipalKind, Start: start, End: end, Status: Provisioned})
	d.granted(start)
	return nil
}

func (d *decision) granted(start time.Time) {
	d.r.Start = start
	if start.After(d.now) {
		d.done(Granted)
	} else {
		d.done(Provisioned)
	}
}

// remove ends every schedule that the request is about: whoever removes
// somebody and names no schedule wants them gone, activations included.
func (d *decision) remove() *Error {
	found := ""
	for _, x := range d.state.Schedules {
		if !d.about(&x) || x.over(d.now) {
			continue
		}
		d.revoke(x)
		found = x.ID
		if x.Sort != Eligible {
			continue
		}
		// Active ignores these activations anyway; the records should say so too.
		for _, a := range d.state.Schedules {
			if a.Activates == x.ID && !a.over(d.now) {
				d.revoke(a)
			}
		}
	}
	if found == "" {
		return d.notFound()
	}
	d.r.Result = found
	d.done(Revoked)
	return nil
}

func (d *decision) revoke(x Schedule) {
	x.Status = Revoked
	if x.Start.After(d.now) {
		x.Start = d.now
	}
	x.End = d.now
	d.put(x)
}

// change is adminUpdate, adminExtend and adminRenew.
func (d *decision) change() *Error {
	x := d.find(func(x *Schedule) bool {
		expired := x.Status == Provisioned && x.over(d.now)
		return !x.Activated() && x.Status == Provisioned && expired == (d.r.Action == AdminRenew)
	})
	if x == nil {
		return d.notFound()
	}
	start, end, err := d.changed(x)
	if err != nil {
		return err
	}
	if failed := d.adminRules(start, end); len(failed) > 0 {
		return policyFailed(failed)
	}
	return d.replace(*x, start, end)
}

// changed works out the new span of a schedule. A running one keeps its start.
func (d *decision) changed(x *Schedule) (start, end time.Time, err *Error) {
	start, end, err = d.span()
	if err != nil {
		return start, end, err
	}
	renew := d.r.Action == AdminRenew || d.r.Action == SelfRenew
	if !renew && !x.Start.After(d.now) {
		start = x.Start
		if d.r.Expiration.Duration > 0 {
			end = start.Add(d.r.Expiration.Duration)
		}
		if !end.IsZero() && !end.After(d.now) {
			return start, end, fail(errs.Invalid, CodeInvalidSchedule, "The end does not lie after now.")
		}
	}
	if (d.r.Action == AdminExtend || d.r.Action == SelfExtend) && !later(end, x.End) {
		return start, end, fail(errs.Invalid, CodeInvalidSchedule, "The new end does not lie after the present one.")
	}
	return start, end, nil
}

func (d *decision) replace(x Schedule, start, end time.Time) *Error {
	if d.overlaps(start, end, x.ID) {
		return fail(errs.Exists, CodeExists, "The Role assignment already exists.")
	}
	x.Start, x.End = start, end
	d.put(x)
	d.granted(start)
	return nil
}

// eligibility returns the eligibility, the principal's own or one of a group's,
// that holds at t and longest.
func (d *decision) eligibility(t time.Time) *Schedule {
	var best *Schedule
	for i := range d.state.Schedules {
		x := &d.state.Schedules[i]
		if x.Sort != Eligible || x.Target != d.r.Target || !x.covers(t) {
			continue
		}
		own := x.Principal == d.r.Principal && x.Kind == UserPrincipal
		if !own && !(x.Kind == GroupPrincipal && slices.Contains(d.r.PrincipalGroups, x.Principal)) {
			continue
		}
		if best == nil || later(x.End, best.End) {
			best = x
		}
	}
	return best
}

// held tells whether the principal has the privilege at some time of the span.
func (d *decision) held(start, end time.Time) bool {
	return slices.ContainsFunc(d.state.Schedules, func(x Schedule) bool {
		if x.Sort != Active || x.Target != d.r.Target || x.Principal != d.r.Principal || x.over(d.now) {
			return false
		}
		from, to, ok := window(&x, d.state.schedule)
		return ok && (end.IsZero() || from.Before(end)) && (to.IsZero() || start.Before(to))
	})
}

func (d *decision) activate() *Error {
	start, end, err := d.span()
	if err != nil {
		return err
	}
	var failed []string
	if d.settings.ActivateWithJustification && strings.TrimSpace(d.r.Justification) == "" {
		failed = append(failed, RuleJustification)
	}
	if d.settings.ActivateWithTicket && (strings.TrimSpace(d.r.Ticket.Number) == "" || strings.TrimSpace(d.r.Ticket.System) == "") {
		failed = append(failed, RuleTicketing)
	}
	if d.settings.ActivateWithMFA && !d.r.RequestorMFA {
		failed = append(failed, RuleMFA)
	}
	if end.IsZero() || end.Sub(start) > d.settings.MaxActivation || end.Sub(start) < minActivation {
		failed = append(failed, RuleExpiration)
	}
	if d.eligibility(start) == nil {
		failed = append(failed, RuleEligibility)
	}
	if len(failed) > 0 {
		return policyFailed(failed)
	}
	if d.pending() {
		return fail(errs.Exists, CodePending, "There is already a pending Role assignment request.")
	}
	if d.held(start, end) {
		return fail(errs.Exists, CodeExists, "The Role assignment already exists.")
	}
	if d.settings.ApprovalRequired {
		// The duration counts from the approval; a time that was asked for stays.
		d.r.Status = PendingApproval
		return nil
	}
	d.provision(start, end)
	return nil
}

func (d *decision) pending() bool {
	return slices.ContainsFunc(d.state.Requests, func(o Request) bool {
		return o.Sort == d.r.Sort && o.Target == d.r.Target && o.Principal == d.r.Principal && o.StatusAt(d.now).Pending()
	})
}

// provision makes the activation. It cannot outlive its eligibility.
func (d *decision) provision(start, end time.Time) {
	e := d.eligibility(start)
	if later(end, e.End) {
		end = e.End
	}
	d.put(Schedule{ID: d.r.ID, Sort: Active, Target: d.r.Target, Principal: d.r.Principal, Kind: d.r.PrincipalKind, Start: start, End: end, Status: Provisioned, Activates: e.ID})
	d.granted(start)
}

func (d *decision) deactivate() *Error {
	x := d.find(func(x *Schedule) bool { return x.Activated() && !x.over(d.now) })
	if x == nil {
		return d.notFound()
	}
	if since := d.now.Sub(x.Start); since >= 0 && since < minActive {
		return fail(errs.Invalid, CodeTooShort, "The active duration is too short: a role can be deactivated five minutes after its activation.")
	}
	d.revoke(*x)
	d.done(Revoked)
	return nil
}

// ask is selfExtend and selfRenew: an administrator decides.
func (d *decision) ask() *Error {
	x := d.find(func(x *Schedule) bool { return !x.Activated() && x.Status == Provisioned && !x.End.IsZero() })
	if x == nil {
		// An activation cannot be extended: that would be a way around its
		// maximum. It can be ended and made again, with all that this asks for.
		return d.notFound()
	}
	left := x.End.Sub(d.now)
	if d.r.Action == SelfExtend && (left <= 0 || left > extensionWindow) || d.r.Action == SelfRenew && (left > 0 || -left > renewalWindow) {
		return policyFailed([]string{RuleExpiration})
	}
	if strings.TrimSpace(d.r.Justification) == "" {
		return policyFailed([]string{RuleJustification})
	}
	if d.pending() {
		return fail(errs.Exists, CodePending, "There is already a pending Role assignment request.")
	}
	if _, _, err := d.changed(x); err != nil {
		return err
	}
	d.r.ScheduleID = x.ID
	d.r.Status = PendingAdminDecision
	return nil
}

// Review is somebody's decision about a pending request.
type Review struct {
	Request        string // id
	Reviewer       directory.ObjectID
	ReviewerGroups []directory.ObjectID // transitive
	// Administrator is whether the reviewer may manage the target, which counts
	// where no approvers are named and for extensions and renewals.
	Administrator bool
	Approve       bool
	Justification string
}

// Approve answers a review: the records to write, or an *Error. The request is
// judged again by what holds now: settings, eligibility and time may have
// changed since it was made. An approval that comes too late for the
// eligibility makes the request Failed.
func Approve(settings Settings, s State, v Review, now time.Time) (Change, error) {
	now = s.Time(now)
	i := slices.IndexFunc(s.Requests, func(o Request) bool { return o.ID == v.Request })
	if i < 0 {
		return Change{}, fail(errs.NotFound, CodeRequestNotFound, "The request does not exist.")
	}
	r := s.Requests[i]
	switch {
	case !r.StatusAt(now).Pending():
		return Change{}, fail(errs.Conflict, CodeNotPending, "The request is not pending; its status is %s.", r.StatusAt(now))
	case v.Reviewer == "" || v.Reviewer == r.Requestor || v.Reviewer == r.Principal:
		return Change{}, fail(errs.Forbidden, CodeAccessDenied, "Nobody decides about their own request.")
	case !mayReview(&settings, &r, &v):
		return Change{}, fail(errs.Forbidden, CodeAccessDenied, "The reviewer is not an approver of this role.")
	case strings.TrimSpace(v.Justification) == "":
		return Change{}, policyFailed([]string{RuleJustification})
	case len(v.Justification) > maxJustification:
		return Change{}, fail(errs.Invalid, CodeInvalidAction, "The justification is too long.")
	}
	r.Reviewer, r.Review = v.Reviewer, v.Justification
	d := &decision{settings: &settings, state: s, r: &r, now: now}
	var err *Error
	switch {
	case !v.Approve:
		d.done(Denied)
	case r.Status == PendingApproval:
		err = d.approved()
	default:
		err = d.extended()
	}
	if err != nil {
		return Change{}, err
	}
	d.records.Requests = append(d.records.Requests, r)
	return d.records, nil
}

func mayReview(settings *Settings, r *Request, v *Review) bool {
	if r.Status == PendingAdminDecision || len(settings.Approvers) == 0 {
		return v.Administrator
	}
	return slices.ContainsFunc(settings.Approvers, func(id directory.ObjectID) bool {
		return id == v.Reviewer || slices.Contains(v.ReviewerGroups, id)
	})
}

func (d *decision) approved() *Error {
	start, end, err := d.span()
	if err != nil || d.eligibility(start) == nil {
		d.done(Failed)
		return nil
	}
	if end.IsZero() || end.Sub(start) > d.settings.MaxActivation {
		return policyFailed([]string{RuleExpiration})
	}
	if d.held(start, end) {
		return fail(errs.Exists, CodeExists, "The Role assignment already exists.")
	}
	d.provision(start, end)
	return nil
}

func (d *decision) extended() *Error {
	x := d.find(func(x *Schedule) bool { return !x.Activated() && x.Status == Provisioned })
	if x == nil {
		d.done(Failed)
		return nil
	}
	start, end, err := d.changed(x)
	if err != nil {
		return err
	}
	for _, rule := range d.adminRules(start, end) {
		if rule == RuleExpiration { // the others are about whoever made the request
			return policyFailed([]string{rule})
		}
	}
	return d.replace(*x, start, end)
}

// Cancel withdraws a pending request, by whoever made it or an administrator.
func Cancel(s State, request string, actor directory.ObjectID, administrator bool, now time.Time) (Change, error) {
	now = s.Time(now)
	i := slices.IndexFunc(s.Requests, func(o Request) bool { return o.ID == request })
	if i < 0 {
		return Change{}, fail(errs.NotFound, CodeRequestNotFound, "The request does not exist.")
	}
	r := s.Requests[i]
	if actor == "" || actor != r.Requestor && !administrator {
		return Change{}, fail(errs.Forbidden, CodeAccessDenied, "Only the requestor or an administrator can cancel a request.")
	}
	waiting := r.Status == Granted && r.StatusAt(now) == Granted
	if !r.StatusAt(now).Pending() && !waiting {
		return Change{}, fail(errs.Conflict, CodeNotPending, "The request is not pending; its status is %s.", r.StatusAt(now))
	}
	d := &decision{state: s, r: &r, now: now}
	if x := s.schedule(r.Result); waiting && x != nil && x.ID == r.ID {
		d.revoke(*x)
	}
	d.done(Canceled)
	d.records.Requests = append(d.records.Requests, r)
	return d.records, nil
}
