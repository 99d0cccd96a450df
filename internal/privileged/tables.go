package privileged

import (
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/store"
)

// Schedule is an eligibility or assignment schedule as it is kept.
type Schedule struct {
	Tenant directory.TenantID `json:"tenantId"`
	pim.Schedule
	ScopeAsWritten   string             `json:"scope"` // Target.Scope is folded
	Condition        string             `json:"condition,omitempty"`
	ConditionVersion string             `json:"conditionVersion,omitempty"`
	CreatedBy        directory.ObjectID `json:"createdBy,omitempty"`
}

// Request is a request as it is kept.
type Request struct {
	Tenant directory.TenantID `json:"tenantId"`
	pim.Request
	ScopeAsWritten   string `json:"scope"`
	Condition        string `json:"condition,omitempty"`
	ConditionVersion string `json:"conditionVersion,omitempty"`
}

// Rules are the settings of a target that differ from the defaults.
type Rules struct {
	Tenant     directory.TenantID `json:"tenantId"`
	Target     pim.Target         `json:"target"`
	Settings   pim.Settings       `json:"settings"`
	Modified   time.Time          `json:"lastModifiedDateTime"`
	ModifiedBy directory.ObjectID `json:"lastModifiedBy,omitempty"`
}

// effect is what this package has written for somebody who holds a target.
type effect struct {
	Tenant    directory.TenantID `json:"tenantId"`
	Target    pim.Target         `json:"target"`
	Principal directory.ObjectID `json:"principalId"`
	Record    string             `json:"record"` // key in the table of its kind
	Until     time.Time          `json:"until,omitzero"`
}

// lastDecision is the latest time that a tenant's decisions were made at.
type lastDecision struct {
	Tenant directory.TenantID `json:"tenantId"`
	Latest time.Time          `json:"latest"`
}

func join(parts ...string) string { return strings.Join(parts, "/") }

func one(s string) []string { return []string{s} }

func targetKey(tenant directory.TenantID, t pim.Target) string {
	return join(string(tenant), string(t.Kind), t.Role, t.Scope)
}

func effectKey(tenant directory.TenantID, t pim.Target, principal directory.ObjectID) string {
	return join(string(tenant), string(t.Kind), t.Role, string(principal), t.Scope)
}

func id(tenant directory.TenantID, id string) string { return join(string(tenant), id) }

var (
	// SettingsTable holds settings: "tenant".
	SettingsTable = store.NewTable("pimsettings", store.Options[Rules]{
		Key: func(r *Rules) string { return targetKey(r.Tenant, r.Target) },
		Indexes: []store.Index[Rules]{
			{Name: "tenant"},
		},
	})

	// Schedules: "tenant"; "principal" (tenant/principal); "target"
	// (tenant/kind/role/folded scope); "activates" (tenant/eligibility).
	Schedules = store.NewTable("pimschedules", store.Options[Schedule]{
		Key: func(s *Schedule) string { return id(s.Tenant, s.ID) },
		Indexes: []store.Index[Schedule]{
			{Name: "tenant"},
			{Name: "principal", Values: func(s *Schedule) []string { return one(id(s.Tenant, string(s.Principal))) }},
			{Name: "target", Values: func(s *Schedule) []string { return one(targetKey(s.Tenant, s.Target)) }},
			{Name: "activates", Values: func(s *Schedule) []string {
				if s.Activates == "" {
					return nil
				}
				return one(id(s.Tenant, s.Activates))
			}},
		},
	})

	// Requests: "tenant"; "principal" (tenant/principal); "requestor"
	// (tenant/requestor); "target" (as of Schedules).
	Requests = store.NewTable("pimrequests", store.Options[Request]{
		Key: func(r *Request) string { return id(r.Tenant, r.ID) },
		Indexes: []store.Index[Request]{
			{Name: "tenant"},
			{Name: "principal", Values: func(r *Request) []string { return one(id(r.Tenant, string(r.Principal))) }},
			{Name: "requestor", Values: func(r *Request) []string { return one(id(r.Tenant, string(r.Requestor))) }},
			{Name: "target", Values: func(r *Request) []string { return one(targetKey(r.Tenant, r.Target)) }},
		},
	})

	effects = store.NewTable("pimeffects", store.Options[effect]{
		Key: func(e *effect) string { return effectKey(e.Tenant, e.Target, e.Principal) },
		Indexes: []store.Index[effect]{
			{Name: "tenant"},
			{Name: "record", Values: func(e *effect) []string { return one(e.Record) }},
		},
	})

	decisions = store.NewTable("pimdecisions", store.Options[lastDecision]{
		Key: func(l *lastDecision) string { return string(l.Tenant) },
	})
)

// Tables returns the tables of this package.
func Tables() []store.AnyTable {
	return []store.AnyTable{SettingsTable, Schedules, Requests, effects, decisions}
}

// Settings returns the settings of a target: the defaults, unless they were
// changed. Settings that do not make sense are an error, not the defaults.
func Settings(r store.Reader, tenant directory.TenantID, t pim.Target) (pim.Settings, error) {
	rules, err := SettingsTable.Get(r, targetKey(tenant, t))
	if errs.Is(err, errs.NotFound) {
		return pim.DefaultSettings(), nil
	}
	if err != nil {
		return pim.Settings{}, err
	}
	if err := rules.Settings.Check(); err != nil {
		return pim.Settings{}, errs.Wrap(errs.Internal, err, "The stored settings of %s cannot be used", targetKey(tenant, t))
	}
	return rules.Settings, nil
}

// LastChange returns when the settings of a target were changed, and by whom; the
// zero time if never.
func LastChange(r store.Reader, tenant directory.TenantID, t pim.Target) (time.Time, directory.ObjectID) {
	rules, err := SettingsTable.Get(r, targetKey(tenant, t))
	if err != nil {
		return time.Time{}, ""
	}
	return rules.Modified, rules.ModifiedBy
}

// Filter chooses schedules, requests or instances. Zero fields choose all.
type Filter struct {
	Kind      pim.Kind
	Sort      pim.Sort
	Target    pim.Target // zero: any
	Principal directory.ObjectID
	Requestor directory.ObjectID // of requests
}

func (f *Filter) take(sort pim.Sort, t pim.Target, principal directory.ObjectID) bool {
	return (f.Kind == "" || f.Kind == t.Kind) && (f.Sort == "" || f.Sort == sort) &&
		(f.Target == pim.Target{} || f.Target == t) && (f.Principal == "" || f.Principal == principal)
}

// index returns the narrowest index for the filter.
func (f *Filter) index(tenant directory.TenantID) (name, value string) {
	switch {
	case f.Target != pim.Target{}:
		return "target", targetKey(tenant, f.Target)
	case f.Principal != "":
		return "principal", id(tenant, string(f.Principal))
	}
	return "tenant", string(tenant)
}

// ListSchedules returns the schedules that a filter chooses, ordered by id:
// ended and revoked ones too, until they are cleared away after Retention.
func ListSchedules(r store.Reader, tenant directory.TenantID, f Filter) []*Schedule {
	var list []*Schedule
	name, value := f.index(tenant)
	for s := range Schedules.Where(r, name, value) {
		if f.take(s.Sort, s.Target, s.Principal) {
			list = append(list, s)
		}
	}
	return list
}

// ListRequests returns the requests that a filter chooses, ordered by id. Their
// state now is StatusAt.
func ListRequests(r store.Reader, tenant directory.TenantID, f Filter) []*Request {
	var list []*Request
	name, value := f.index(tenant)
	if name == "tenant" && f.Requestor != "" {
		name, value = "requestor", id(tenant, string(f.Requestor))
	}
	for q := range Requests.Where(r, name, value) {
		if f.take(q.Sort, q.Target, q.Principal) && (f.Requestor == "" || f.Requestor == q.Requestor) {
			list = append(list, q)
		}
	}
	return list
}

// Instance is a schedule that holds at a time, with the end that really counts:
// an activation ends with its eligibility at the latest.
type Instance struct {
	*Schedule
	End time.Time // zero: until somebody ends it
}

// ListInstances returns what holds at now: eligibilities, or assignments and
// activations (schedule instances in Microsoft Graph and ARM), ordered by id.
func ListInstances(r store.Reader, tenant directory.TenantID, f Filter, now time.Time) []Instance {
	now = pim.State{Latest: latest(r, tenant)}.Time(now)
	var list []Instance
	for _, s := range ListSchedules(r, tenant, f) {
		start, end := s.Start, s.Schedule.End
		if s.Status != pim.Provisioned {
			continue
		}
		if s.Activated() {
			e, err := Schedules.Get(r, id(tenant, s.Activates))
			if err != nil || e.Status != pim.Provisioned || e.Target != s.Target {
				continue
			}
			if e.Start.After(start) {
				start = e.Start
			}
			if !e.Schedule.End.IsZero() && (end.IsZero() || e.Schedule.End.Before(end)) {
				end = e.Schedule.End
			}
		}
		if !now.Before(start) && (end.IsZero() || now.Before(end)) {
			list = append(list, Instance{s, end})
		}
	}
	return list
}

// Pending returns the requests that a reviewer may decide about now, ordered by
// id. administers tells whether the reviewer may manage a target.
func Pending(r store.Reader, tenant directory.TenantID, reviewer directory.ObjectID, groups []directory.ObjectID, administers func(pim.Target) bool, now time.Time) ([]*Request, error) {
	var list []*Request
	for q := range Requests.Where(r, "tenant", string(tenant)) {
		if !q.StatusAt(now).Pending() || q.Requestor == reviewer || q.Principal == reviewer {
			continue
		}
		settings, err := Settings(r, tenant, q.Target)
		if err != nil {
			return nil, err
		}
		if mayReview(&settings, q, reviewer, groups, administers) {
			list = append(list, q)
		}
	}
	return list, nil
}

func mayReview(settings *pim.Settings, q *Request, reviewer directory.ObjectID, groups []directory.ObjectID, administers func(pim.Target) bool) bool {
	if q.Status == pim.PendingAdminDecision || len(settings.Approvers) == 0 {
		return administers(q.Target)
	}
	for _, a := range settings.Approvers {
		if a == reviewer {
			return true
		}
		for _, g := range groups {
			if a == g {
				return true
			}
		}
	}
	return false
}

func latest(r store.Reader, tenant directory.TenantID) time.Time {
	if l, err := decisions.Get(r, string(tenant)); err == nil {
		return l.Latest
	}
	return time.Time{}
}

// load returns the records that decisions about a target depend on.
func load(r store.Reader, tenant directory.TenantID, t pim.Target) pim.State {
	s := pim.State{Latest: latest(r, tenant)}
	for x := range Schedules.Where(r, "target", targetKey(tenant, t)) {
		s.Schedules = append(s.Schedules, x.Schedule)
	}
	for q := range Requests.Where(r, "target", targetKey(tenant, t)) {
		s.Requests = append(s.Requests, q.Request)
	}
	return s
}
