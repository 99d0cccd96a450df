package diagnose

import (
	"context"
	"slices"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/state"
)

// Complete adds to a report what the decision itself does not know: until when
// the subject holds by Privileged Identity Management what may have allowed it,
// what they could activate instead of being refused, and which Conditional
// Access policies stand before the sign-in.
func (d *Doctor) Complete(ctx context.Context, p Patient, r *access.Report) error {
	facts, err := d.Access.Facts()
	if err != nil {
		return err
	}
	e := &examination{Doctor: d, Patient: p, ctx: ctx, view: facts.View, now: d.Clock.Now()}
	if !e.subject() {
		return nil // deleted since
	}
	r.Windows = append(r.Windows, e.active()...)
	if !r.Allowed {
		eligible, err := e.activatable(map[pim.Target]bool{})
		if err != nil {
			return err
		}
		r.Windows = append(r.Windows, eligible...)
	}
	for _, t := range e.trials() {
		o := d.WhatIf(ctx, &t.facts)
		for i := range o.Policies {
			q := &o.Policies[i]
			if q.Result == conditionalaccess.NotApplied || q.Result == conditionalaccess.NotEnabled || q.Result == conditionalaccess.ReportOnlyNotApplied {
				continue
			}
			r.Policies = append(r.Policies, access.PolicyEffect{
				SignIn: t.name, Policy: q.DisplayName, Result: string(q.Result), Controls: slices.Concat(q.GrantControls, q.SessionControls), Advice: advice(q, &o),
			})
		}
	}
	return nil
}

// holders are the subject and their groups.
func (e *examination) holders() []directory.ObjectID {
	all := append([]directory.ObjectID{e.id}, state.Memberships(e.view, e.Cluster.Tenant, e.id, e.now)...)
	return all[:min(len(all), maxImaginations)]
}

// active returns the assignments of the subject and their groups that end by
// themselves, the first to end first.
func (e *examination) active() (list []access.Window) {
	for _, h := range e.holders() {
		for _, x := range privileged.ListInstances(e.view, e.Cluster.Tenant, privileged.Filter{Sort: pim.Active, Principal: h}, e.now) {
			if x.Target.Kind != pim.DirectoryRole && !x.End.IsZero() {
				list = append(list, access.Window{Privilege: e.name(x.Target), State: access.WindowActive, Until: x.End})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b access.Window) int { return a.Until.Compare(b.Until) })
	return list
}

// activatable returns what the subject is eligible for and would be allowed by,
// and notes in seen which of their privileges would.
func (e *examination) activatable(seen map[pim.Target]bool) (list []access.Window, err error) {
	for _, h := range e.holders() {
		for _, x := range privileged.ListInstances(e.view, e.Cluster.Tenant, privileged.Filter{Sort: pim.Eligible, Principal: h}, e.now) {
			if seen[x.Target] {
				continue
			}
			would, err := e.imagine(x.Target)
			if err != nil {
				return nil, err
			}
			if seen[x.Target] = would; would {
				list = append(list, access.Window{Privilege: e.name(x.Target), State: access.WindowEligible, Until: x.End, Activate: activateTemplate + e.flags(x.Target)})
			}
		}
	}
	return list, nil
}
