package privileged

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Retention is how long ended schedules and decided requests are kept. It is
// longer than the time in which an expired assignment can be renewed.
const Retention = 45 * 24 * time.Hour

// Bounds on Run: how long it sleeps at most, how long it lets changes gather,
// and what one transaction does at most.
const (
	idle      = time.Minute
	gather    = 200 * time.Millisecond
	batch     = 200
	maxRounds = 1000
)

// Run settles what is due, on the one replica that leads, until ctx ends.
// Privileges end on time without it; they begin, and their records go, with it.
func (s *Service) Run(ctx context.Context) { s.store.Lead(ctx, "privileged", s.lead) }

func (s *Service) lead(ctx context.Context) {
	wake := make(chan struct{}, 1)
	cancel := s.store.Subscribe(func(_ *store.View, changes []store.Change) {
		if slices.ContainsFunc(changes, concerns) {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	})
	defer cancel()
	for ctx.Err() == nil {
		next, err := s.Settle(ctx)
		if err != nil && ctx.Err() == nil {
			s.logger.Error("temporary privileges cannot be settled; those that ended stay ended", "error", err)
		}
		wait := idle
		if !next.IsZero() {
			wait = min(wait, max(0, next.Sub(s.clock.Now())))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-wake:
			// Many changes come together; nothing that waits here is urgent.
			select {
			case <-ctx.Done():
			case <-time.After(gather):
			}
		}
		timer.Stop()
	}
}

// concerns tells whether a change may have taken the ground from a privilege or
// given it a date.
func concerns(c store.Change) bool {
	switch c.Table {
	case Schedules.Name(), effects.Name(), state.Links.Name(), state.RoleAssignments.Name(), state.AccessAssignments.Name():
		return true
	case state.Users.Name(), state.Groups.Name(), state.ServicePrincipals.Name():
		return c.Deleted
	}
	return false
}

// Settle does what is due now: it begins what was scheduled, clears away what
// has ended or is older than Retention, and revokes what lost its ground. It
// returns when something is due next, zero for nothing.
func (s *Service) Settle(ctx context.Context) (next time.Time, err error) {
	v := s.store.View()
	tenants := map[directory.TenantID]bool{}
	for t := range state.Tenants.All(v) {
		tenants[t.ID] = true
	}
	for x := range Schedules.All(v) {
		tenants[x.Tenant] = true
	}
	for tenant := range tenants {
		for round := 0; ; round++ {
			p := s.plan(s.store.View(), tenant)
			if p.empty() {
				if !p.next.IsZero() && (next.IsZero() || p.next.Before(next)) {
					next = p.next
				}
				break
			}
			if round == maxRounds {
				err = errors.Join(err, errs.New(errs.Internal, "privileged: the tenant %s does not come to rest", tenant))
				break
			}
			// The plan is made again inside, from what the transaction compares.
			uerr := s.update(ctx, func(tx *store.Tx) error {
				return s.execute(tx, tenant, s.plan(tx, tenant))
			})
			if uerr != nil {
				err = errors.Join(err, uerr)
				break
			}
		}
	}
	return next, err
}

// plan is what is due in a tenant.
type plan struct {
	now     time.Time
	revoke  []*Schedule
	project []holder
	orphans []orphan
	expired []*Schedule // to be forgotten
	decided []*Request
	next    time.Time
}

// orphan is a time-bound record that no effect stands for.
type orphan struct {
	kind pim.Kind
	key  string
}

func (p *plan) empty() bool {
	return len(p.revoke)+len(p.project)+len(p.orphans)+len(p.expired)+len(p.decided) == 0
}

func (p *plan) add(h holder) {
	if !slices.Contains(p.project, h) {
		p.project = append(p.project, h)
	}
}

func (s *Service) plan(r store.Reader, tenant directory.TenantID) *plan {
	st := pim.State{Latest: latest(r, tenant)}
	p := &plan{now: st.Time(s.clock.Now())}
	all := slices.Collect(Schedules.Where(r, "tenant", string(tenant)))
	byID := make(map[string]*Schedule, len(all))
	for _, x := range all {
		byID[x.ID] = x
		st.Schedules = append(st.Schedules, x.Schedule)
	}
	p.now = st.Time(s.clock.Now())
	p.next, _ = st.NextChange(p.now)
	ends := map[holder]time.Time{}
	for _, m := range st.AllActive(p.now) {
		ends[holder{m.Target, m.Principal}] = m.End
	}
	for _, x := range all {
		over := x.Status != pim.Provisioned || !x.End.IsZero() && !p.now.Before(x.End)
		switch {
		case over && p.now.Sub(x.Updated) > Retention && (x.End.IsZero() || p.now.Sub(x.End) > Retention):
			p.expired = append(p.expired, x)
		case !over && s.groundless(r, tenant, x, byID, ends, p.now):
			p.revoke = append(p.revoke, x)
		}
	}
	for h, end := range ends {
		if s.differs(r, tenant, h, end) {
			p.add(h)
		}
	}
	for e := range effects.Where(r, "tenant", string(tenant)) {
		h := holder{e.Target, e.Principal}
		if _, ok := ends[h]; !ok {
			p.add(h)
		}
	}
	for q := range Requests.Where(r, "tenant", string(tenant)) {
		if !q.StatusAt(p.now).Pending() && p.now.Sub(q.Created) > Retention && (q.Completed.IsZero() || p.now.Sub(q.Completed) > Retention) && byID[q.Result] == nil {
			p.decided = append(p.decided, q)
		}
	}
	p.orphans = s.orphans(r, tenant, ends, p.now)
	return p
}

// groundless tells whether a schedule that has not ended has lost what it
// stands on.
func (s *Service) groundless(r store.Reader, tenant directory.TenantID, x *Schedule, byID map[string]*Schedule, ends map[holder]time.Time, now time.Time) bool {
	if _, err := state.TypeOf(r, tenant, x.Principal); errs.Is(err, errs.NotFound) {
		return true
	}
	if x.Target.Kind == pim.Group {
		if _, err := state.Groups.Get(r, state.Key(tenant, directory.ObjectID(x.Target.Scope))); errs.Is(err, errs.NotFound) {
			return true
		}
	}
	if x.Sort != pim.Active {
		return false
	}
	// An activation of what a group is eligible for lasts while its holder is in
	// the group.
	if e := byID[x.Activates]; e != nil && e.Kind == pim.GroupPrincipal && e.Principal != x.Principal &&
		!slices.Contains(state.Memberships(r, tenant, x.Principal, now), e.Principal) {
		return true
	}
	// A record of ours that somebody removed was meant to go.
	if _, ok := ends[holder{x.Target, x.Principal}]; ok && !now.Before(x.Start) {
		row, err := effects.Get(r, effectKey(tenant, x.Target, x.Principal))
		if err == nil {
			_, ok := tables[x.Target.Kind].exists(r, row.Record)
			return !ok
		}
	}
	return false
}

// differs tells whether the records say something else than that a holder holds
// a target until end.
func (s *Service) differs(r store.Reader, tenant directory.TenantID, h holder, end time.Time) bool {
	rec, err := tables[h.target.Kind].find(r, held{tenant: tenant, target: h.target, principal: h.principal})
	if err != nil {
		return false
	}
	row, err := effects.Get(r, effectKey(tenant, h.target, h.principal))
	if err != nil {
		row = nil
	}
	switch {
	case rec == nil:
		return true
	case row == nil:
		return !rec.until.IsZero() // else it is somebody else's
	}
	return row.Record != rec.key || !rec.until.Equal(row.Until) || !row.Until.Equal(end)
}

// orphans returns time-bound records without an effect that have ended, or that
// came back with a restored object after their schedules were revoked.
func (s *Service) orphans(r store.Reader, tenant directory.TenantID, ends map[holder]time.Time, now time.Time) (list []orphan) {
	stray := func(key string, t pim.Target, principal directory.ObjectID, until time.Time) bool {
		h := holder{t, principal}
		if _, held := ends[h]; until.IsZero() || held {
			return false
		}
		if _, ok := effects.First(r, "record", key); ok {
			return false // project has it
		}
		if !now.Before(until) {
			return true
		}
		for x := range Schedules.Where(r, "target", targetKey(tenant, t)) {
			if x.Principal == principal && x.Sort == pim.Active {
				return true
			}
		}
		return false
	}
	for l := range state.Links.AllPrefix(r, string(tenant)+"/") {
		if l.Until.IsZero() {
			continue
		}
		key := join(string(l.Tenant), string(l.Kind), string(l.From), string(l.To))
		if stray(key, pim.GroupTarget(l.From, string(l.Kind)), l.To, l.Until) {
			list = append(list, orphan{pim.Group, key})
		}
	}
	for a := range state.RoleAssignments.Where(r, "tenant", string(tenant)) {
		if stray(id(a.Tenant, a.ID), pim.DirectoryRoleTarget(a.Role, a.Scope), a.Principal, a.Until) {
			list = append(list, orphan{pim.DirectoryRole, id(a.Tenant, a.ID)})
		}
	}
	for a := range state.AccessAssignments.Where(r, "tenant", string(tenant)) {
		if a.Until.IsZero() {
			continue
		}
		if stray(id(a.Tenant, a.Name), pim.AzureRoleTarget(a.Role, a.Scope), a.Principal, a.Until) {
			list = append(list, orphan{pim.AzureRole, id(a.Tenant, a.Name)})
		}
	}
	return list
}

// execute does a part of a plan that one transaction can bear.
func (s *Service) execute(tx *store.Tx, tenant directory.TenantID, p *plan) error {
	if p.empty() {
		return nil
	}
	left := batch
	take := func(n int) int {
		n = min(n, left)
		left -= n
		return n
	}
	if err := decisions.Put(tx, &lastDecision{tenant, p.now.UTC()}); err != nil {
		return err
	}
	var touched []holder
	for _, x := range p.revoke[:take(len(p.revoke))] {
		err := Schedules.Modify(tx, id(tenant, x.ID), func(n *Schedule) error {
			n.Status, n.Updated = pim.Revoked, p.now
			if n.Start.After(p.now) {
				n.Start = p.now
			}
			n.End = p.now
			return nil
		})
		if err != nil {
			return err
		}
		if x.Sort == pim.Active {
			touched = append(touched, holder{x.Target, x.Principal})
			continue
		}
		for a := range Schedules.Where(tx, "activates", id(tenant, x.ID)) {
			touched = append(touched, holder{a.Target, a.Principal})
		}
	}
	touched = append(touched, p.project[:take(len(p.project))]...)
	for _, h := range touched {
		st := load(tx, tenant, h.target)
		st.Latest = p.now
		if err := s.project(tx, tenant, st, h.target, h.principal, p.now); err != nil {
			return err
		}
	}
	for _, o := range p.orphans[:take(len(p.orphans))] {
		if err := tables[o.kind].remove(tx, o.key); err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
	}
	for _, x := range p.expired[:take(len(p.expired))] {
		if err := Schedules.Delete(tx, id(tenant, x.ID)); err != nil {
			return err
		}
	}
	for _, q := range p.decided[:take(len(p.decided))] {
		if err := Requests.Delete(tx, id(tenant, q.ID)); err != nil {
			return err
		}
	}
	return nil
}
