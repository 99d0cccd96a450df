package worlds_test

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/conditionalaccess/worlds"
)

const dir = "../../../test/worlds/signin"

func TestWorlds(t *testing.T) {
	all, err := worlds.Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 60 {
		t.Errorf("only %d worlds", len(all))
	}
	steps := map[ca.Step]bool{}
	for _, w := range all {
		questions, err := w.Questions()
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range questions {
			t.Run(w.File+"/"+q.SignIn.Name+"/"+string(q.Facts.Step), func(t *testing.T) {
				steps[q.Facts.Step] = true
				o := ca.Evaluate(w.Set, &q.Facts, w.Now)
				for _, bad := range w.Check(q, o) {
					t.Error(bad)
				}
				if (o.Refusal == nil) != (o.Decision == ca.Granted) || (len(o.Reasons) == 0) != (o.Decision == ca.Granted) {
					t.Errorf("decision %v with refusal %v and reasons %q", o.Decision, o.Refusal, o.Reasons)
				}
				// What-if must be the same answer with more words.
				x := ca.WhatIf(w.Set, &q.Facts, w.Now)
				for i := range x.Policies {
					if p := &x.Policies[i]; p.Result != ca.NotEnabled && len(p.Trace) < 2 {
						t.Errorf("policy %s has no trace", p.DisplayName)
					}
					x.Policies[i].Trace = nil
				}
				if !reflect.DeepEqual(o, x) {
					t.Errorf("what-if differs:\n%+v\n%+v", o, x)
				}
			})
		}
	}
	for _, s := range ca.Steps {
		if !steps[s] {
			t.Errorf("no world has the step %s", s)
		}
	}
}

// TestLoadIsStrict makes sure that a misspelt expectation is an error and not a
// question that nobody asks.
func TestLoadIsStrict(t *testing.T) {
	tenant, err := os.ReadFile(dir + "/tenant.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const policy = `policies: [{displayName: p, state: enabled, conditions: {users: {includeUsers: ["@ann"]}, applications: {includeApplications: [All]}}, grantControls: {operator: OR, builtInControls: [mfa]}}]` + "\n"
	for _, tc := range []struct{ name, world, want string }{
		{"unknown key", "about: x\nsignIns: [{name: n, user: ann, expect: {decison: granted}}]", "decison"},
		{"unknown user", "about: x\nsignIns: [{name: n, user: nobody, expect: {decision: granted}}]", "nobody"},
		{"unknown name in a policy", "about: x\n" + strings.Replace(policy, "@ann", "@nobody", 1) + "signIns: [{name: n, user: ann, expect: {decision: granted}}]", "@nobody"},
		{"unknown step", "about: x\nsignIns: [{name: n, user: ann, steps: [autorize], expect: {decision: granted}}]", "autorize"},
		{"no sign-ins", "about: x\n" + policy, "required"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all, err := worlds.Load(fstest.MapFS{"tenant.yaml": {Data: tenant}, "w.yaml": {Data: []byte(tc.world)}})
			if err == nil {
				_, err = all[0].Questions()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v does not name %s", err, tc.want)
			}
		})
	}
}
