package privileged

import (
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// record is the record that stands for a held privilege, whoever made it.
type record struct {
	key   string
	until time.Time
}

// table is what project needs of the table that a kind of privilege is kept in.
type table struct {
	find   func(r store.Reader, h held) (*record, error)
	create func(tx *store.Tx, h held) (string, error)
	extend func(tx *store.Tx, key string, h held) error
	remove func(tx *store.Tx, key string) error
	exists func(r store.Reader, key string) (time.Time, bool)
}

// held is a privilege that somebody holds until a time.
type held struct {
	tenant    directory.TenantID
	target    pim.Target
	principal directory.ObjectID
	until     time.Time // zero: without an end
	schedule  *Schedule // nil when nothing is held
	now       time.Time
}

var tables = map[pim.Kind]table{
	pim.Group:         {findLink, createLink, extendLink, state.Links.Delete, untilOf(state.Links, func(l *directory.Link) time.Time { return l.Until })},
	pim.DirectoryRole: {findRole, createRole, extendRole, state.RoleAssignments.Delete, untilOf(state.RoleAssignments, func(a *directory.RoleAssignment) time.Time { return a.Until })},
	pim.AzureRole:     {findAccess, createAccess, extendAccess, state.AccessAssignments.Delete, untilOf(state.AccessAssignments, func(a *state.AccessAssignment) time.Time { return a.Until })},
}

func untilOf[T any](t *store.Table[T], until func(*T) time.Time) func(store.Reader, string) (time.Time, bool) {
	return func(r store.Reader, key string) (time.Time, bool) {
		v, err := t.Get(r, key)
		if err != nil {
			return time.Time{}, false
		}
		return until(v), true
	}
}

// linkKind returns the link of an access to a group. The target was checked.
func linkKind(t pim.Target) directory.LinkKind {
	if t.Role == pim.Owner {
		return directory.Owner
	}
	return directory.Member
}

func linkKey(h held) string {
	return join(string(h.tenant), string(linkKind(h.target)), h.target.Scope, string(h.principal))
}

func findLink(r store.Reader, h held) (*record, error) {
	l, err := state.Links.Get(r, linkKey(h))
	if errs.Is(err, errs.NotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return &record{linkKey(h), l.Until}, nil
}

func createLink(tx *store.Tx, h held) (string, error) {
	typ, err := state.TypeOf(tx, h.tenant, h.principal)
	if err != nil {
		return "", err
	}
	return linkKey(h), state.Links.Create(tx, &directory.Link{
		Tenant: h.tenant, Kind: linkKind(h.target), From: directory.ObjectID(h.target.Scope), To: h.principal, ToType: typ, Until: h.until,
	})
}

func extendLink(tx *store.Tx, key string, h held) error {
	return state.Links.Modify(tx, key, func(l *directory.Link) error { l.Until = h.until; return nil })
}

func findRole(r store.Reader, h held) (*record, error) {
	for a := range state.RoleAssignments.Where(r, "principal", state.Key(h.tenant, h.principal)) {
		if a.Role == h.target.Role && state.Fold(a.Scope) == h.target.Scope {
			return &record{id(a.Tenant, a.ID), a.Until}, nil
		}
	}
	return nil, nil
}

func createRole(tx *store.Tx, h held) (string, error) {
	a := &directory.RoleAssignment{Tenant: h.tenant, ID: directory.NewGUID(), Role: h.target.Role, Principal: h.principal, Scope: h.target.Scope, Until: h.until}
	return id(a.Tenant, a.ID), state.RoleAssignments.Create(tx, a)
}

func extendRole(tx *store.Tx, key string, h held) error {
	return state.RoleAssignments.Modify(tx, key, func(a *directory.RoleAssignment) error { a.Until = h.until; return nil })
}

func findAccess(r store.Reader, h held) (*record, error) {
	for a := range state.AccessAssignments.Where(r, "principal", state.Key(h.tenant, h.principal)) {
		if strings.EqualFold(a.Role, h.target.Role) && sameScope(a.Scope, h.target.Scope) {
			return &record{id(a.Tenant, a.Name), a.Until}, nil
		}
	}
	return nil, nil
}

func createAccess(tx *store.Tx, h held) (string, error) {
	scope := h.schedule.ScopeAsWritten
	if s := strings.TrimSuffix(scope, "/"); s != "" {
		scope = s
	}
	a := &state.AccessAssignment{
		Tenant: h.tenant, Name: directory.NewGUID(), Scope: scope, Role: h.target.Role, Principal: h.principal,
		PrincipalType: rbac.PrincipalType(h.schedule.Kind), Condition: h.schedule.Condition, ConditionVersion: h.schedule.ConditionVersion,
		Created: h.now.UTC(), Updated: h.now.UTC(), CreatedBy: h.schedule.CreatedBy, UpdatedBy: h.schedule.CreatedBy, Until: h.until,
	}
	return id(a.Tenant, a.Name), state.AccessAssignments.Create(tx, a)
}

func extendAccess(tx *store.Tx, key string, h held) error {
	return state.AccessAssignments.Modify(tx, key, func(a *state.AccessAssignment) error {
		a.Until, a.Updated = h.until, h.now.UTC()
		// Another schedule may come with another condition.
		a.Condition, a.ConditionVersion = h.schedule.Condition, h.schedule.ConditionVersion
		return nil
	})
}

// project makes the records say what a principal holds of a target at now.
func (s *Service) project(tx *store.Tx, tenant directory.TenantID, st pim.State, t pim.Target, principal directory.ObjectID, now time.Time) error {
	h := held{tenant: tenant, target: t, principal: principal, now: now}
	holds := false
	for _, m := range st.Active(principal, now) {
		if m.Target != t {
			continue
		}
		x, err := Schedules.Get(tx, id(tenant, m.Schedule))
		if err != nil {
			return err
		}
		h.until, h.schedule, holds = m.End.UTC(), x, true
		if m.End.IsZero() {
			h.until = time.Time{}
		}
	}
	kind := tables[t.Kind]
	rec, err := kind.find(tx, h)
	if err != nil {
		return err
	}
	if rec != nil {
		// What was found by an index is read by key, to be compared at commit.
		if until, ok := kind.exists(tx, rec.key); ok {
			rec.until = until
		} else {
			rec = nil
		}
	}
	row, err := effects.Get(tx, effectKey(tenant, t, principal))
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	ours := row != nil && rec != nil && row.Record == rec.key && row.Until.Equal(rec.until)
	if holds {
		holds, err = s.grounded(tx, h)
		if err != nil {
			return err
		}
	}
	switch {
	case !holds && ours:
		if err := kind.remove(tx, rec.key); err != nil {
			return err
		}
		return effects.Delete(tx, effectKey(tenant, t, principal))
	case !holds && row != nil:
		return effects.Delete(tx, effectKey(tenant, t, principal))
	case !holds:
		return nil
	case rec != nil && !ours && rec.until.IsZero():
		// Somebody else has assigned it for good: that is theirs to end.
		if row != nil {
			return effects.Delete(tx, effectKey(tenant, t, principal))
		}
		return nil
	case rec == nil:
		key, err := kind.create(tx, h)
		if err != nil {
			return err
		}
		rec = &record{key: key}
	case !rec.until.Equal(h.until):
		if err := kind.extend(tx, rec.key, h); err != nil {
			return err
		}
	}
	return effects.Put(tx, &effect{Tenant: tenant, Target: t, Principal: principal, Record: rec.key, Until: h.until})
}

// grounded tells whether the objects that a record would join are there, and
// makes their deletion notice it.
func (s *Service) grounded(tx *store.Tx, h held) (bool, error) {
	objects := []directory.ObjectID{h.principal}
	if h.target.Kind == pim.Group {
		objects = append(objects, directory.ObjectID(h.target.Scope))
	}
	for _, o := range objects {
		tx.Guard("object/" + state.Key(h.tenant, o))
		if _, err := state.TypeOf(tx, h.tenant, o); errs.Is(err, errs.NotFound) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// maxSweep bounds what one transaction clears away.
const maxSweep = 200

// sweep clears away what has ended in a tenant at now, so that nothing is left
// that a clock set back could revive.
func (s *Service) sweep(tx *store.Tx, tenant directory.TenantID, now time.Time) error {
	ended := slices.Collect(effects.Where(tx, "tenant", string(tenant)))
	ended = slices.DeleteFunc(ended, func(e *effect) bool { return e.Until.IsZero() || now.Before(e.Until) })
	for _, e := range ended[:min(len(ended), maxSweep)] {
		st := load(tx, tenant, e.Target)
		st.Latest = now
		if err := s.project(tx, tenant, st, e.Target, e.Principal, now); err != nil {
			return err
		}
	}
	return nil
}
