package pim

import (
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// Kind is what privilege is about.
type Kind string

// The kinds of privilege.
const (
	Group         Kind = "group"
	DirectoryRole Kind = "directoryRole"
	AzureRole     Kind = "azureRole"
)

// Target is one privilege: a role on a scope. Targets made by the functions
// below can be compared with ==.
type Target struct {
	Kind  Kind
	Role  string // member or owner of a group; else the id of a role definition
	Scope string // group id, directory scope or ARM scope
}

// Ways to belong to a group.
const (
	Member = "member"
	Owner  = "owner"
)

// GroupTarget is the membership in or ownership of a group.
func GroupTarget(group directory.ObjectID, access string) Target {
	return Target{Group, access, string(group)}
}

// DirectoryRoleTarget is a directory role on a directory scope, which is "/"
// for the whole tenant.
func DirectoryRoleTarget(roleDefinition, scope string) Target {
	return Target{DirectoryRole, strings.ToLower(roleDefinition), strings.ToLower(scope)}
}

// AzureRoleTarget is an Azure role on an ARM scope. The role definition may be
// its GUID or its whole resource id, which differ by scope and mean the same.
func AzureRoleTarget(roleDefinition, scope string) Target {
	role := roleDefinition[strings.LastIndexByte(roleDefinition, '/')+1:]
	if scope = strings.TrimSuffix(scope, "/"); scope == "" {
		scope = "/"
	}
	return Target{AzureRole, strings.ToLower(role), strings.ToLower(scope)}
}

// PrincipalKind is the kind of a principal.
type PrincipalKind string

// The kinds of principal. Service principals stand for managed identities too.
const (
	UserPrincipal    PrincipalKind = "User"
	GroupPrincipal   PrincipalKind = "Group"
	ServicePrincipal PrincipalKind = "ServicePrincipal"
)

// Settings are the rules of one role on one scope or of one group and access:
// the role management policy.
type Settings struct {
	MaxActivation             time.Duration
	ActivateWithMFA           bool
	ActivateWithJustification bool
	ActivateWithTicket        bool
	ApprovalRequired          bool
	// Approvers are users or groups. Without any, administrators approve.
	Approvers []directory.ObjectID

	PermanentEligible bool
	MaxEligible       time.Duration // where not permanent
	PermanentActive   bool
	MaxActive         time.Duration

	AssignWithMFA           bool // an administrator who makes an active assignment
	AssignWithJustification bool
}

// DefaultSettings are the settings of a role that nobody has configured: as in
// the real service, eight hours with multifactor authentication and a
// justification, a year of eligibility, half a year of active assignment.
func DefaultSettings() Settings {
	return Settings{
		MaxActivation: 8 * time.Hour, ActivateWithMFA: true, ActivateWithJustification: true,
		MaxEligible: 365 * day, MaxActive: 180 * day, AssignWithJustification: true,
	}
}

// Bounds on activations. A shorter one could not be ended again, as the service
// wants five minutes before a deactivation.
const (
	minActivation      = 5 * time.Minute
	minMaxActivation   = 30 * time.Minute
	maxMaxActivation   = 24 * time.Hour
	minActive          = 5 * time.Minute
	approvalTimeout    = 24 * time.Hour
	extensionWindow    = 14 * day
	renewalWindow      = 30 * day
	maxJustification   = 4096
	maxTicket          = 256
	maxAdminAssignment = 10 * 365 * day
)

// Check tells whether the settings make sense. The error is of kind
// errs.Invalid.
func (s *Settings) Check() error {
	switch {
	case s.MaxActivation < minMaxActivation || s.MaxActivation > maxMaxActivation:
		return errs.New(errs.Invalid, "The maximum duration of an activation must be from 30 minutes to 24 hours.")
	case !s.PermanentEligible && (s.MaxEligible < minActivation || s.MaxEligible > maxAdminAssignment):
		return errs.New(errs.Invalid, "The maximum duration of an eligible assignment must be from 5 minutes to 10 years.")
	case !s.PermanentActive && (s.MaxActive < minActivation || s.MaxActive > maxAdminAssignment):
		return errs.New(errs.Invalid, "The maximum duration of an active assignment must be from 5 minutes to 10 years.")
	}
	return nil
}

// Status is the state of a request or a schedule by its Graph and ARM name.
type Status string

// The states that occur here.
const (
	Granted              Status = "Granted"     // will be provisioned at its start
	Provisioned          Status = "Provisioned" // done
	PendingApproval      Status = "PendingApproval"
	PendingAdminDecision Status = "PendingAdminDecision"
	Denied               Status = "Denied"
	Canceled             Status = "Canceled"
	Revoked              Status = "Revoked"
	Failed               Status = "Failed"   // approved too late: the eligibility is gone
	TimedOut             Status = "TimedOut" // nobody decided in time
)

// Pending tells whether somebody must still decide.
func (s Status) Pending() bool { return s == PendingApproval || s == PendingAdminDecision }

// Action is what a request asks for, by its Graph name. ARM's names have a
// capital first letter; ParseAction takes both.
type Action string

// The actions.
const (
	AdminAssign    Action = "adminAssign"
	AdminRemove    Action = "adminRemove"
	AdminUpdate    Action = "adminUpdate"
	AdminExtend    Action = "adminExtend"
	AdminRenew     Action = "adminRenew"
	SelfActivate   Action = "selfActivate"
	SelfDeactivate Action = "selfDeactivate"
	SelfExtend     Action = "selfExtend"
	SelfRenew      Action = "selfRenew"
)

// ParseAction reads an action in Graph's or ARM's spelling.
func ParseAction(s string) (Action, bool) {
	for _, a := range []Action{AdminAssign, AdminRemove, AdminUpdate, AdminExtend, AdminRenew, SelfActivate, SelfDeactivate, SelfExtend, SelfRenew} {
		if strings.EqualFold(s, string(a)) {
			return a, true
		}
	}
	return "", false
}

// Self tells whether the action is one that principals do for themselves.
func (a Action) Self() bool { return strings.HasPrefix(string(a), "self") }

// Sort tells eligibility schedules and assignment schedules apart. Each has
// requests of its own.
type Sort string

// The sorts of schedule.
const (
	Eligible Sort = "eligibility"
	Active   Sort = "assignment"
)

// Expiration says when a schedule ends: at End, after Duration, or, with both
// zero, never. It is an error to give both.
type Expiration struct {
	End      time.Time
	Duration time.Duration
}

// Ticket refers to a ticket in another system.
type Ticket struct {
	Number string `json:"ticketNumber,omitempty"`
	System string `json:"ticketSystem,omitempty"`
}

// Request is a schedule request. The caller fills in the first part, and must
// have proven that Requestor is who asks and, for the admin actions, that they
// may; Decide fills in the second.
type Request struct {
	ID            string // unique, made by the caller; a schedule it makes gets it too
	Action        Action
	Sort          Sort
	Target        Target
	Principal     directory.ObjectID
	PrincipalKind PrincipalKind
	// PrincipalGroups are the principal's groups, transitively: an eligibility
	// of one of them can be activated too.
	PrincipalGroups []directory.ObjectID `json:",omitempty"`
	Requestor       directory.ObjectID
	RequestorMFA    bool // multifactor authentication was done in this session
	Justification   string
	Ticket          Ticket
	Start           time.Time // zero: now
	Expiration      Expiration
	ScheduleID      string // the schedule meant, where there is more than one

	Status    Status
	Created   time.Time
	Completed time.Time // zero while pending
	Reviewer  directory.ObjectID
	Review    string // the reviewer's justification
	// Result is the id of the schedule that was made or changed.
	Result string
}

// Schedule is an eligibility schedule or an assignment schedule.
type Schedule struct {
	ID        string
	Sort      Sort
	Target    Target
	Principal directory.ObjectID
	Kind      PrincipalKind
	Start     time.Time
	End       time.Time // exclusive; zero: permanent
	Status    Status    // Provisioned or Revoked
	// Activates is, for an activation, the id of the eligibility that it comes
	// from; empty for what an administrator assigned.
	Activates string
	Created   time.Time
	Updated   time.Time
}

// Activated tells whether the schedule is an activation (assignmentType
// Activated) rather than an assignment (Assigned).
func (s *Schedule) Activated() bool { return s.Activates != "" }

// covers tells whether the schedule holds at t by itself.
func (s *Schedule) covers(t time.Time) bool {
	return s.Status == Provisioned && !t.Before(s.Start) && (s.End.IsZero() || t.Before(s.End))
}

// over tells whether the schedule will never hold again.
func (s *Schedule) over(t time.Time) bool {
	return s.Status != Provisioned || !s.End.IsZero() && !t.Before(s.End)
}

// State is the records that a decision may depend on. Records of other
// principals and targets do no harm.
type State struct {
	Schedules []Schedule
	Requests  []Request
	// Latest is the latest time that was ever decided at, from the store.
	Latest time.Time
}

// Change is the records to be written, each replacing the one with its id.
type Change struct {
	Schedules []Schedule
	Requests  []Request
}

// Apply returns a new state with the records of a change in place.
func (s State) Apply(c Change) State {
	out := State{Schedules: merge(s.Schedules, c.Schedules, func(x *Schedule) string { return x.ID }),
		Requests: merge(s.Requests, c.Requests, func(x *Request) string { return x.ID }), Latest: s.Latest}
	return out
}

func merge[T any](old, new []T, id func(*T) string) []T {
	out := append([]T(nil), old...)
next:
	for i := range new {
		for j := range out {
			if id(&out[j]) == id(&new[i]) {
				out[j] = new[i]
				continue next
			}
		}
		out = append(out, new[i])
	}
	return out
}

// Time returns the time that decisions about the state are made at: now, unless
// the clock stands before something that has happened.
func (s State) Time(now time.Time) time.Time {
	if s.Latest.After(now) {
		now = s.Latest
	}
	for i := range s.Schedules {
		for _, t := range []time.Time{s.Schedules[i].Created, s.Schedules[i].Updated} {
			if t.After(now) {
				now = t
			}
		}
	}
	for i := range s.Requests {
		for _, t := range []time.Time{s.Requests[i].Created, s.Requests[i].Completed} {
			if t.After(now) {
				now = t
			}
		}
	}
	return now
}
