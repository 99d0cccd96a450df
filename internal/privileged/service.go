package privileged

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Service decides about requests and writes their effect. It is safe for
// concurrent use.
type Service struct {
	store  *store.Store
	clock  clock.Clock
	logger *slog.Logger
}

// New returns a Service.
func New(s *store.Store, c clock.Clock, logger *slog.Logger) *Service {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Service{store: s, clock: c, logger: logger}
}

// Caller is who asks, as the surface has proven it.
type Caller struct {
	ID directory.ObjectID
	// Administrator is whether the caller may manage the target: MayManage for
	// groups and directory roles, the right to write role assignments at the
	// scope for Azure roles.
	Administrator bool
	// MFA is whether the caller's token says that multifactor authentication
	// was done (amr).
	MFA bool
}

// NewRequest is what a client asks for. For the self actions an empty Principal
// is the caller.
type NewRequest struct {
	ID            string // a GUID; empty: made here
	Action        pim.Action
	Sort          pim.Sort
	Target        pim.Target
	Scope         string // Target.Scope as the client wrote it; for showing
	Principal     directory.ObjectID
	Justification string
	Ticket        pim.Ticket
	Start         time.Time
	Expiration    pim.Expiration
	ScheduleID    string
	// Condition of an Azure role. An activation has its eligibility's.
	Condition, ConditionVersion string
	// ValidateOnly decides and writes nothing.
	ValidateOnly bool
}

// errValidated ends the transaction of a request that is only to be validated.
var errValidated = errors.New("validated")

// CreateRequest decides about a request and writes it with its effect in one
// transaction. A refusal is a *pim.Error, which has the service's code, or of
// kind Invalid, NotFound or Forbidden for what does not exist or cannot be.
func (s *Service) CreateRequest(ctx context.Context, tenant directory.TenantID, c Caller, in NewRequest) (*Request, error) {
	if in.ID == "" {
		in.ID = directory.NewGUID()
	} else if guid, ok := directory.ParseGUID(in.ID); ok {
		in.ID = guid
	} else {
		return nil, errs.New(errs.Invalid, "The id of a request must be a GUID.")
	}
	action, ok := pim.ParseAction(string(in.Action))
	if !ok {
		return nil, errs.New(errs.Invalid, "The action of the request is not known.")
	}
	in.Action = action
	if in.Action.Self() && in.Principal == "" {
		in.Principal = c.ID
	}
	if !in.Action.Self() && !c.Administrator {
		return nil, errs.New(errs.Forbidden, "Only an administrator of the target can make this request.")
	}
	var made *Request
	err := s.update(ctx, func(tx *store.Tx) error {
		now := s.clock.Now()
		// An id names one request in all of the tenant.
		if _, err := Requests.Get(tx, id(tenant, in.ID)); err == nil {
			return errs.New(errs.Exists, "A request with the id %s already exists.", in.ID)
		}
		kind, err := checkRequest(tx, tenant, &in)
		if err != nil {
			return err
		}
		settings, err := Settings(tx, tenant, in.Target)
		if err != nil {
			return err
		}
		st := load(tx, tenant, in.Target)
		r := pim.Request{
			ID: in.ID, Action: in.Action, Sort: in.Sort, Target: in.Target, Principal: in.Principal, PrincipalKind: kind,
			Requestor: c.ID, RequestorMFA: c.MFA, Justification: in.Justification, Ticket: in.Ticket,
			Start: in.Start, Expiration: in.Expiration, ScheduleID: in.ScheduleID,
		}
		if in.Action.Self() {
			r.PrincipalGroups = state.Memberships(tx, tenant, in.Principal, st.Time(now))
		}
		change, err := pim.Decide(settings, st, r, now)
		if err != nil {
			return err
		}
		about := details{in.Scope, in.Condition, in.ConditionVersion, c.ID}
		made, err = s.apply(tx, tenant, st, change, about, now)
		if err == nil && in.ValidateOnly {
			return errValidated
		}
		return err
	})
	if errors.Is(err, errValidated) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return made, nil
}

// Review is an answer to a pending request.
type Review struct {
	Caller
	Justification string
}

// Approve grants a pending request. A refusal is a *pim.Error.
func (s *Service) Approve(ctx context.Context, tenant directory.TenantID, request string, v Review) (*Request, error) {
	return s.review(ctx, tenant, request, v, true)
}

// Deny refuses a pending request. A refusal to do so is a *pim.Error.
func (s *Service) Deny(ctx context.Context, tenant directory.TenantID, request string, v Review) (*Request, error) {
	return s.review(ctx, tenant, request, v, false)
}

func (s *Service) review(ctx context.Context, tenant directory.TenantID, request string, v Review, approve bool) (*Request, error) {
	var made *Request
	err := s.update(ctx, func(tx *store.Tx) error {
		now := s.clock.Now()
		q, st, err := s.pending(tx, tenant, request)
		if err != nil {
			return err
		}
		settings, err := Settings(tx, tenant, q.Target)
		if err != nil {
			return err
		}
		// The principal's groups are those of now: who left the group that is
		// eligible cannot be approved any more.
		at := st.Time(now)
		for i := range st.Requests {
			if st.Requests[i].ID == q.ID {
				st.Requests[i].PrincipalGroups = state.Memberships(tx, tenant, q.Principal, at)
			}
		}
		if approve {
			if err := checkPrincipal(tx, tenant, q.Principal); err != nil {
				return err
			}
		}
		change, err := pim.Approve(settings, st, pim.Review{
			Request: q.ID, Reviewer: v.ID, ReviewerGroups: state.Memberships(tx, tenant, v.ID, at),
			Administrator: v.Administrator, Approve: approve, Justification: v.Justification,
		}, now)
		if err != nil {
			return err
		}
		made, err = s.apply(tx, tenant, st, change, details{q.ScopeAsWritten, q.Condition, q.ConditionVersion, q.Requestor}, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// Cancel withdraws a pending request, or one that waits for its start. A refusal
// is a *pim.Error.
func (s *Service) Cancel(ctx context.Context, tenant directory.TenantID, request string, c Caller) (*Request, error) {
	var made *Request
	err := s.update(ctx, func(tx *store.Tx) error {
		now := s.clock.Now()
		q, st, err := s.pending(tx, tenant, request)
		if err != nil {
			return err
		}
		change, err := pim.Cancel(st, q.ID, c.ID, c.Administrator, now)
		if err != nil {
			return err
		}
		made, err = s.apply(tx, tenant, st, change, details{q.ScopeAsWritten, q.Condition, q.ConditionVersion, q.Requestor}, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

func (s *Service) pending(tx *store.Tx, tenant directory.TenantID, request string) (*Request, pim.State, error) {
	q, err := Requests.Get(tx, id(tenant, strings.ToLower(request)))
	if err != nil {
		return nil, pim.State{}, errs.New(errs.NotFound, "The request %s does not exist.", request)
	}
	return q, load(tx, tenant, q.Target), nil
}

// UpdateRules changes rules of a target and returns all of its settings. The
// caller has made sure that by may. Invalid for a rule that cannot be enforced
// or names an approver who does not exist, NotFound for an unknown rule.
func (s *Service) UpdateRules(ctx context.Context, tenant directory.TenantID, t pim.Target, by directory.ObjectID, rules ...pim.Rule) (pim.Settings, error) {
	var settings pim.Settings
	err := s.update(ctx, func(tx *store.Tx) error {
		if err := checkTarget(tx, tenant, t); err != nil {
			return err
		}
		var err error
		if settings, err = Settings(tx, tenant, t); err != nil {
			return err
		}
		for _, r := range rules {
			if settings, err = settings.With(r); err != nil {
				return err
			}
		}
		if err := settings.Check(); err != nil {
			return err
		}
		for _, a := range settings.Approvers {
			if kind, err := state.TypeOf(tx, tenant, a); err != nil || kind != directory.TypeUser && kind != directory.TypeGroup {
				return errs.New(errs.Invalid, "The approver %s is not a user or group of the tenant.", a)
			}
		}
		return SettingsTable.Put(tx, &Rules{Tenant: tenant, Target: t, Settings: settings, Modified: s.clock.Now().UTC(), ModifiedBy: by})
	})
	return settings, err
}

// update is store.Update that tries again when somebody else has just written
// the record that the effect was to be: it is in the view then.
func (s *Service) update(ctx context.Context, fn func(*store.Tx) error) error {
	for try := 0; ; try++ {
		err := s.store.Update(ctx, fn)
		var taken *store.TakenError
		if try == 3 || !errors.As(err, &taken) {
			return err
		}
		if ferr := s.store.Fresh(ctx); ferr != nil {
			return err
		}
	}
}

// details are what is kept of a request beside what decisions are made from.
type details struct {
	scope, condition, version string
	by                        directory.ObjectID
}

// apply writes a change and its effect, and returns the request among it.
func (s *Service) apply(tx *store.Tx, tenant directory.TenantID, st pim.State, c pim.Change, about details, now time.Time) (*Request, error) {
	// One decision of a tenant at a time: what two requests may not both have
	// is a set.
	now = st.Time(now)
	if err := decisions.Put(tx, &lastDecision{tenant, now.UTC()}); err != nil {
		return nil, err
	}
	for i := range c.Schedules {
		if err := putSchedule(tx, tenant, &c.Schedules[i], about); err != nil {
			return nil, err
		}
	}
	var made *Request
	for i := range c.Requests {
		made = &Request{Tenant: tenant, Request: c.Requests[i], ScopeAsWritten: about.scope, Condition: about.condition, ConditionVersion: about.version}
		if made.ScopeAsWritten == "" {
			made.ScopeAsWritten = made.Target.Scope
		}
		if err := Requests.Put(tx, made); err != nil {
			return nil, err
		}
	}
	after := st.Apply(c)
	after.Latest = now
	for _, h := range holders(after, c) {
		if err := s.project(tx, tenant, after, h.target, h.principal, now); err != nil {
			return nil, err
		}
	}
	return made, s.sweep(tx, tenant, now)
}

func putSchedule(tx *store.Tx, tenant directory.TenantID, x *pim.Schedule, about details) error {
	next := &Schedule{Tenant: tenant, Schedule: *x, ScopeAsWritten: about.scope, Condition: about.condition, ConditionVersion: about.version, CreatedBy: about.by}
	if old, err := Schedules.Get(tx, id(tenant, x.ID)); err == nil {
		next.ScopeAsWritten, next.Condition, next.ConditionVersion, next.CreatedBy = old.ScopeAsWritten, old.Condition, old.ConditionVersion, old.CreatedBy
	} else if x.Activated() {
		e, err := Schedules.Get(tx, id(tenant, x.Activates))
		if err != nil {
			return err
		}
		// What somebody is eligible for under a condition is not had without it.
		next.Condition, next.ConditionVersion = e.Condition, e.ConditionVersion
		if next.ScopeAsWritten == "" {
			next.ScopeAsWritten = e.ScopeAsWritten
		}
	}
	if next.ScopeAsWritten == "" {
		next.ScopeAsWritten = x.Target.Scope
	}
	return Schedules.Put(tx, next)
}

type holder struct {
	target    pim.Target
	principal directory.ObjectID
}

// holders returns whose privileges a change may have changed: those of an
// eligibility are the ones who activated it.
func holders(after pim.State, c pim.Change) []holder {
	var list []holder
	add := func(x *pim.Schedule) {
		if h := (holder{x.Target, x.Principal}); x.Sort == pim.Active && !slices.Contains(list, h) {
			list = append(list, h)
		}
	}
	for i := range c.Schedules {
		x := &c.Schedules[i]
		add(x)
		if x.Sort != pim.Eligible {
			continue
		}
		for j := range after.Schedules {
			if after.Schedules[j].Activates == x.ID {
				add(&after.Schedules[j])
			}
		}
	}
	return list
}
