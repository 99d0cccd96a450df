package conditionalaccess_test

import (
	"fmt"
	"time"

	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
)

func ExampleEvaluate() {
	policy, err := ca.ParsePolicy([]byte(`{
		"id": "0e2a5b0c-1b3c-4d5e-8f90-123456789abc", "displayName": "aks-policy", "state": "enabled",
		"conditions": {
			"users": {"includeGroups": ["33333333-0000-4000-8000-000000000001"]},
			"applications": {"includeApplications": ["6dae42f8-4368-4678-94ff-3960e28e3630"]},
			"clientAppTypes": ["all"]
		},
		"grantControls": {"operator": "OR", "builtInControls": ["compliantDevice"]}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	set, err := ca.Compile([]*ca.Policy{policy}, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	facts := ca.Facts{
		User:      &ca.User{ID: "77777777-0000-4000-8000-000000000001", Groups: []directory.ObjectID{"33333333-0000-4000-8000-000000000001"}},
		Resources: []directory.AppID{"6dae42f8-4368-4678-94ff-3960e28e3630"},
		Methods:   []ca.Authentication{{Method: ca.Password, At: now}},
		AuthTime:  now,
		Step:      ca.StepDeviceSignIn,
	}
	o := ca.Evaluate(set, &facts, now)
	fmt.Println(o.Decision, o.Refusal.Code)
	fmt.Println(o.Reasons[0])
	// Output:
	// blocked 530003
	// Policy "aks-policy" asks for a compliant device; a sign-in by device code cannot prove a device.
}
