package pim_test

import (
	"fmt"
	"time"

	"github.com/entrance-id/entrance/internal/pim"
)

func ExampleDecide() {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	role := pim.AzureRoleTarget("3498e952-d568-435e-9b2c-8d77e338d7f7", "/subscriptions/s/resourceGroups/rg")
	state := pim.State{Schedules: []pim.Schedule{{
		ID: "e1", Sort: pim.Eligible, Target: role, Principal: "ann", Kind: pim.UserPrincipal, Start: now, Status: pim.Provisioned,
	}}}
	request := pim.Request{
		ID: "r1", Action: pim.SelfActivate, Sort: pim.Active, Target: role, Principal: "ann", PrincipalKind: pim.UserPrincipal,
		Requestor: "ann", RequestorMFA: true, Expiration: pim.Expiration{Duration: time.Hour},
	}
	_, err := pim.Decide(pim.DefaultSettings(), state, request, now)
	fmt.Println(err)
	request.Justification = "incident 7"
	change, err := pim.Decide(pim.DefaultSettings(), state, request, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	state = state.Apply(change)
	fmt.Println(change.Requests[0].Status, len(state.Active("ann", now)))
	next, _ := state.NextChange(now)
	fmt.Println(next.Sub(now), len(state.Active("ann", next)))
	// Output:
	// The following policy rules failed: ["JustificationRule"]
	// Provisioned 1
	// 1h0m0s 0
}
