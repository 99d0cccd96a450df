package pim_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
)

func TestRulesRoundTrip(t *testing.T) {
	for _, want := range []pim.Settings{
		pim.DefaultSettings(),
		{MaxActivation: time.Hour, ActivateWithTicket: true, ApprovalRequired: true, Approvers: []directory.ObjectID{ops}, PermanentEligible: true, PermanentActive: true, AssignWithMFA: true},
	} {
		got := easy
		for _, r := range want.Rules() {
			var err error
			if got, err = got.With(r); err != nil {
				t.Fatalf("%s: %v", r.ID, err)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("rules made %+v of %+v", got, want)
		}
	}
}

func TestRulesRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		rule pim.Rule
		kind errs.Kind
	}{
		{"unknown rule", pim.Rule{ID: "Dance_EndUser_Assignment"}, errs.NotFound},
		{"unknown enabled rule", pim.Rule{ID: pim.RuleIDEnablementActivate, EnabledRules: []string{"Dance"}}, errs.Invalid},
		{"ticket for administrators", pim.Rule{ID: pim.RuleIDEnablementActive, EnabledRules: []string{pim.EnabledTicketing}}, errs.Invalid},
		{"eligibility with MFA", pim.Rule{ID: pim.RuleIDEnablementEligible, EnabledRules: []string{pim.EnabledMFA}}, errs.Invalid},
		{"activation for ever", pim.Rule{ID: pim.RuleIDExpirationActivate, MaximumDuration: time.Hour}, errs.Invalid},
		{"activation for days", pim.Rule{ID: pim.RuleIDExpirationActivate, ExpirationRequired: true, MaximumDuration: 48 * time.Hour}, errs.Invalid},
		{"expiry after nothing", pim.Rule{ID: pim.RuleIDExpirationActive, ExpirationRequired: true}, errs.Invalid},
		{"authentication context", pim.Rule{ID: pim.RuleIDContext, ContextEnabled: true}, errs.Invalid},
	} {
		if _, err := pim.DefaultSettings().With(tc.rule); !errs.Is(err, tc.kind) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if s, err := pim.DefaultSettings().With(pim.Rule{ID: "Notification_Admin_Admin_Eligibility"}); err != nil || !reflect.DeepEqual(s, pim.DefaultSettings()) {
		t.Errorf("notification rule: %+v, %v", s, err)
	}
}
