package pim

import (
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// Ids of the rules of a role management policy that mean something here. They
// are the same in Graph and ARM.
const (
	RuleIDExpirationEligible = "Expiration_Admin_Eligibility"
	RuleIDEnablementEligible = "Enablement_Admin_Eligibility"
	RuleIDExpirationActive   = "Expiration_Admin_Assignment"
	RuleIDEnablementActive   = "Enablement_Admin_Assignment"
	RuleIDExpirationActivate = "Expiration_EndUser_Assignment"
	RuleIDEnablementActivate = "Enablement_EndUser_Assignment"
	RuleIDApproval           = "Approval_EndUser_Assignment"
	RuleIDContext            = "AuthenticationContext_EndUser_Assignment"
)

// Names in the enabledRules of an enablement rule.
const (
	EnabledMFA           = "MultiFactorAuthentication"
	EnabledJustification = "Justification"
	EnabledTicketing     = "Ticketing"
)

// Rule is one rule of a role management policy, apart from the spelling of the
// two services. Which fields count depends on the id.
type Rule struct {
	ID                 string
	EnabledRules       []string             // enablement
	ExpirationRequired bool                 // expiration
	MaximumDuration    time.Duration        // expiration
	ApprovalRequired   bool                 // approval
	Approvers          []directory.ObjectID // approval: users and groups
	ContextEnabled     bool                 // authentication context
}

// Rules returns the settings as rules, in a fixed order.
func (s *Settings) Rules() []Rule {
	enabled := func(mfa, justification, ticket bool) []string {
		out := []string{}
		for _, e := range []struct {
			on   bool
			name string
		}{{mfa, EnabledMFA}, {justification, EnabledJustification}, {ticket, EnabledTicketing}} {
			if e.on {
				out = append(out, e.name)
			}
		}
		return out
	}
	return []Rule{
		{ID: RuleIDExpirationEligible, ExpirationRequired: !s.PermanentEligible, MaximumDuration: s.MaxEligible},
		{ID: RuleIDEnablementEligible, EnabledRules: []string{}},
		{ID: RuleIDExpirationActive, ExpirationRequired: !s.PermanentActive, MaximumDuration: s.MaxActive},
		{ID: RuleIDEnablementActive, EnabledRules: enabled(s.AssignWithMFA, s.AssignWithJustification, false)},
		{ID: RuleIDExpirationActivate, ExpirationRequired: true, MaximumDuration: s.MaxActivation},
		{ID: RuleIDEnablementActivate, EnabledRules: enabled(s.ActivateWithMFA, s.ActivateWithJustification, s.ActivateWithTicket)},
		{ID: RuleIDApproval, ApprovalRequired: s.ApprovalRequired, Approvers: slices.Clone(s.Approvers)},
		{ID: RuleIDContext},
	}
}

// With returns the settings with one rule replaced. A rule that asks for
// something that cannot be enforced is refused; notification rules change
// nothing. The error is of kind errs.Invalid, or errs.NotFound for an unknown
// id.
func (s Settings) With(r Rule) (Settings, error) {
	enabled := func(allowed ...string) (map[string]bool, error) {
		m := map[string]bool{}
		for _, e := range r.EnabledRules {
			if !slices.Contains(allowed, e) {
				return nil, errs.New(errs.Invalid, "Rule %s cannot enable %q.", r.ID, e)
			}
			m[e] = true
		}
		return m, nil
	}
	switch r.ID {
	case RuleIDExpirationEligible:
		s.PermanentEligible, s.MaxEligible = !r.ExpirationRequired, r.MaximumDuration
	case RuleIDEnablementEligible:
		if _, err := enabled(); err != nil {
			return s, err
		}
	case RuleIDExpirationActive:
		s.PermanentActive, s.MaxActive = !r.ExpirationRequired, r.MaximumDuration
	case RuleIDEnablementActive:
		m, err := enabled(EnabledMFA, EnabledJustification)
		if err != nil {
			return s, err
		}
		s.AssignWithMFA, s.AssignWithJustification = m[EnabledMFA], m[EnabledJustification]
	case RuleIDExpirationActivate:
		if !r.ExpirationRequired {
			return s, errs.New(errs.Invalid, "An activation must expire.")
		}
		s.MaxActivation = r.MaximumDuration
	case RuleIDEnablementActivate:
		m, err := enabled(EnabledMFA, EnabledJustification, EnabledTicketing)
		if err != nil {
			return s, err
		}
		s.ActivateWithMFA, s.ActivateWithJustification, s.ActivateWithTicket = m[EnabledMFA], m[EnabledJustification], m[EnabledTicketing]
	case RuleIDApproval:
		s.ApprovalRequired, s.Approvers = r.ApprovalRequired, slices.Clone(r.Approvers)
	case RuleIDContext:
		if r.ContextEnabled {
			return s, errs.New(errs.Invalid, "An authentication context cannot be asked for here; %s in %s can.", EnabledMFA, RuleIDEnablementActivate)
		}
	default:
		if !strings.HasPrefix(r.ID, "Notification_") {
			return s, errs.New(errs.NotFound, "The rule %q does not exist.", r.ID)
		}
	}
	return s, s.Check()
}
