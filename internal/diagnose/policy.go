package diagnose

import (
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/state"
)

const checkPolicy = "Conditional Access"

// trial is a way of signing in to the cluster.
type trial struct {
	name  string
	facts conditionalaccess.Facts
}

// trials are the ways that the subject has.
func (e *examination) trials() []trial {
	base := conditionalaccess.Facts{
		Tenant: e.Cluster.Tenant, ClientApp: directory.AKSClient, Resources: []directory.AppID{e.Cluster.ServerApp},
		ClientAppType: conditionalaccess.MobileAndDesktop, AuthTime: e.now,
	}
	if e.sp != nil {
		base.ClientApp, base.Step = e.sp.AppID, conditionalaccess.StepClientCredentials
		base.Workload = &conditionalaccess.Workload{ID: e.sp.ID, AppID: e.sp.AppID, ManagedIdentity: e.sp.Type == "ManagedIdentity", Foreign: e.sp.AppOwnerTenant != e.Cluster.Tenant}
		return []trial{{"with its credential", base}}
	}
	base.User = &conditionalaccess.User{ID: e.user.ID}
	base.Methods = []conditionalaccess.Authentication{{Method: conditionalaccess.Password, At: e.now}}
	code, browser := base, base
	code.Step, code.Flow = conditionalaccess.StepDeviceSignIn, conditionalaccess.DeviceCodeFlow
	browser.Step, browser.DeviceProofPossible = conditionalaccess.StepAuthorize, true
	list := []trial{{"with device code", code}, {"in a browser, from no known device", browser}}
	for _, l := range state.LinkedTo(e.view, directory.Owner, e.Cluster.Tenant, e.user.ID, e.now) {
		if d, err := state.Devices.Get(e.view, state.Key(e.Cluster.Tenant, l.From)); err == nil && d.Enabled && d.KeyThumbprint != "" {
			on := base
			on.Step, on.Device = conditionalaccess.StepAuthorize, policy.Fact(d)
			list = append(list, trial{"in a browser, from the device " + d.DisplayName, on})
		}
	}
	return list
}

// policies asks the function that decides at sign-in what it would say, and
// names the policy and the control.
func (e *examination) policies() error {
	for _, t := range e.trials() {
		o := e.WhatIf(e.ctx, &t.facts)
		for i := range o.Policies {
			p := &o.Policies[i]
			switch p.Result {
			case conditionalaccess.Failure:
				level, text := Problem, "stops the sign-in"
				if o.Decision == conditionalaccess.Required {
					level, text = Info, "asks for more at the sign-in"
					if o.Interaction.Register || o.Interaction.Device {
						level = Warning
					}
				}
				e.add(level, SignIn, checkPolicy, advice(p, &o), "%s: policy %q %s: %s", t.name, p.DisplayName, text, controls(p))
			case conditionalaccess.ReportOnlyFailure, conditionalaccess.ReportOnlyInterrupted:
				e.add(Info, SignIn, checkPolicy, "", "%s: policy %q would ask for %s if it were enabled; it is report-only", t.name, p.DisplayName, controls(p))
			}
		}
		switch {
		case o.Decision == conditionalaccess.Granted:
			e.add(OK, SignIn, checkPolicy, "", "%s: no policy stops the sign-in", t.name)
		case len(o.Missing) == 0 && !slices.ContainsFunc(o.Policies, func(p conditionalaccess.PolicyResult) bool { return p.Result == conditionalaccess.Failure }):
			e.add(Problem, SignIn, checkPolicy, "see the server's log", "%s: %s", t.name, strings.Join(o.Reasons, " "))
		}
	}
	return nil
}

func controls(p *conditionalaccess.PolicyResult) string {
	all := slices.Concat(p.GrantControls, p.SessionControls)
	if len(all) == 0 {
		return "no control"
	}
	return strings.Join(all, ", ")
}

// advice says how the controls of a policy are met.
func advice(p *conditionalaccess.PolicyResult, o *conditionalaccess.Outcome) string {
	var list []string
	for _, c := range p.Missing {
		for _, control := range c.Controls {
			text := ""
			switch control {
			case conditionalaccess.Block:
				text = "nothing meets it: sign in in another way, or have the policy exclude this one"
			case conditionalaccess.MFA, conditionalaccess.StrengthControl:
				text = "answer with a second factor"
				if o.Interaction.Register {
					text = "register a second factor first, on the page of security info"
				}
			case conditionalaccess.CompliantDevice:
				text = "sign in in a browser (kubelogin convert-kubeconfig -l interactive) from a device that is registered and compliant; device code cannot prove a device"
			case conditionalaccess.DomainJoinedDevice:
				text = "sign in in a browser from a hybrid joined device"
			}
			if text != "" && !slices.Contains(list, text) {
				list = append(list, text)
			}
		}
	}
	if p.SignIn {
		list = append(list, "sign in again: the policy bounds how old a sign-in may be")
	}
	return strings.Join(list, "; ")
}

// failedSignIns tells of the subject's last refused sign-ins.
func (e *examination) failedSignIns() error {
	page, err := e.Logs.ListSignIns(e.ctx, audit.Query[audit.SignIn]{Limit: maxRefusals, Since: e.now.Add(-recent), Match: func(r *audit.SignIn) bool {
		return r.Status.ErrorCode != 0 && r.ResourceTenantID == e.Cluster.Tenant && (r.UserID == e.id || r.ServicePrincipalID == e.id) && e.now.Sub(r.Created) < recent
	}})
	if err != nil {
		return err
	}
	for _, r := range slices.Backward(page.Records) {
		var by []string
		for _, p := range r.AppliedPolicies {
			if p.Result == conditionalaccess.Failure {
				by = append(by, "policy "+p.DisplayName+" ("+strings.Join(p.GrantControls, ", ")+")")
			}
		}
		text := ""
		if len(by) > 0 {
			text = ", by " + strings.Join(by, " and ")
		}
		e.add(Info, SignIn, "sign-in log", "entrance logs signins has it with correlation "+r.CorrelationID, "refused at %s: AADSTS%d %s%s", stamp(r.Created), r.Status.ErrorCode, r.Status.FailureReason, text)
	}
	return nil
}
