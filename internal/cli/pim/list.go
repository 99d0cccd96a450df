package pim

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
)

const listTable output.Table = "[].{State:state, Kind:kind, Name:name, Access:access, Scope:scope, Until:until, Id:id}"

// states are the values of --state.
var states = []string{"eligible", "active", "pending", "toApprove"}

func newList(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List what can be activated, is active, waits, or waits for me",
		Long: `List what the signed-in person is eligible for, has now and until when, has asked for, and
may decide about (toApprove).`,
		Example: `  entrance pim list -o table
  entrance pim list --state toApprove`,
	}
	state := c.Flags().String("state", "", "only these: "+strings.Join(states, ", "))
	c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp))
	a.Run(c, listTable, func(ctx context.Context, s *azure.Session) (any, error) {
		if *state != "" && !slices.Contains(states, *state) {
			return nil, azure.Usagef("--state is one of %s, not %q", strings.Join(states, ", "), *state)
		}
		g := graph.New(s)
		if _, err := self(ctx, s, g); err != nil {
			return nil, err
		}
		rows := []Row{}
		for _, w := range states {
			if *state != "" && *state != w {
				continue
			}
			for _, f := range flavours {
				found, err := f.list(ctx, g, w)
				if err != nil {
					return nil, err
				}
				rows = append(rows, found...)
			}
			found, err := newResourceManager(s).rows(ctx, w)
			if err != nil {
				return nil, err
			}
			rows = append(rows, found...)
		}
		return rows, nil
	})
	return c
}

// flavour is one of the two shapes that Graph has the same records in.
type flavour struct {
	kind, base, active, eligible, approvals, stages, expand string
}

var flavours = []flavour{
	{"group", "/identityGovernance/privilegedAccess/group/", "assignment", "eligibility", "assignmentApprovals", "stages", "group"},
	{"directoryRole", "/roleManagement/directory/", "roleAssignment", "roleEligibility", "roleAssignmentApprovals", "steps", "roleDefinition"},
}

// list returns the rows of one state.
func (f flavour) list(ctx context.Context, g *graph.Client, state string) ([]Row, error) {
	set, on := "", "principal"
	switch state {
	case "eligible":
		set = f.eligible + "ScheduleInstances"
	case "active":
		set = f.active + "ScheduleInstances"
	case "pending":
		set = f.active + "ScheduleRequests"
	case "toApprove":
		set, on = f.active+"ScheduleRequests", "approver"
	}
	list, err := g.List(ctx, f.base+set+"/filterByCurrentUser(on='"+on+"')", url.Values{"$expand": {f.expand + ",principal"}})
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, o := range list {
		r := Row{Kind: f.kind, ID: graph.Text(o, "id"), State: state, Access: graph.Text(o, "accessId"), Action: graph.Text(o, "action"),
			Status: graph.Text(o, "status"), Until: graph.Text(o, "endDateTime"), Reason: graph.Text(o, "justification")}
		if state == "pending" && !pim.Status(r.Status).Pending() {
			continue
		}
		if named, ok := o[f.expand].(graph.Object); ok {
			r.Name = graph.Text(named, "displayName")
		}
		if state == "toApprove" {
			if who, ok := o["principal"].(graph.Object); ok {
				r.Requestor = graph.Text(who, "userPrincipalName")
			}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// rows returns the rows of Azure roles of one state, anywhere in the
// subscription. Privileges at management groups are seen with --scope of the
// commands that name them.
func (r *resourceManager) rows(ctx context.Context, state string) ([]Row, error) {
	if !strings.HasPrefix(r.s.Scope(), "/subscriptions/") || r.s.Subscription.ID == r.s.Account.TenantID {
		return nil, nil // a sign-in without a subscription
	}
	at := r.s.Scope() + authorization
	if state == "toApprove" {
		return r.toApprove(ctx)
	}
	set := map[string]string{"eligible": "roleEligibilityScheduleInstances", "active": "roleAssignmentScheduleInstances", "pending": "roleAssignmentScheduleRequests"}[state]
	list, err := r.list(ctx, at+set, schedulesVersion, "asTarget()")
	if errs.Is(azure.Explain(err), errs.Forbidden) || errs.Is(azure.Explain(err), errs.NotFound) {
		return nil, nil // no standing in the subscription
	}
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, o := range list {
		p, _ := o["properties"].(graph.Object)
		row := Row{Kind: "azureRole", ID: graph.Text(o, "name"), State: state, Name: roleName(graph.Text(p, "roleDefinitionId")), Scope: graph.Text(p, "scope"),
			Status: graph.Text(p, "status"), Until: graph.Text(p, "endDateTime"), Reason: graph.Text(p, "justification")}
		if state == "pending" && !pim.Status(row.Status).Pending() {
			continue
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// toApprove returns the requests for Azure roles that wait for the person.
func (r *resourceManager) toApprove(ctx context.Context) ([]Row, error) {
	list, err := r.list(ctx, r.s.Scope()+authorization+"roleAssignmentApprovals", approvalsVersion, "asApprover()")
	if errs.Is(azure.Explain(err), errs.Forbidden) || errs.Is(azure.Explain(err), errs.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, o := range list {
		rows = append(rows, Row{Kind: "azureRole", ID: graph.Text(o, "name"), State: "toApprove", Scope: strings.TrimSuffix(before(graph.Text(o, "id"), authorization), "/")})
	}
	return rows, nil
}

func before(s, sep string) string {
	head, _, _ := strings.Cut(s, sep)
	return head
}

func newApprove(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "approve", Short: "Grant or deny what somebody asks for",
		Long: `Grant what somebody asks for, or with --deny refuse it. The id is that of the request, as
'entrance pim list --state toApprove' shows it. Nobody decides about their own request.`,
		Example: `  entrance pim approve --id REQUEST --justification "on call this week"
  entrance pim approve --id REQUEST --deny --justification "not for this"`,
	}
	id := c.Flags().String("id", "", "id of the request")
	justification := c.Flags().StringP("justification", "j", "", "why")
	deny := c.Flags().Bool("deny", false, "deny it")
	azure.Require(c, "id")
	a.Run(c, requestTable, func(ctx context.Context, s *azure.Session) (any, error) {
		g := graph.New(s)
		if _, err := self(ctx, s, g); err != nil {
			return nil, err
		}
		row, stage, err := find(ctx, s, g, *id)
		if err != nil {
			return nil, err
		}
		row.Status = "Approve"
		if *deny {
			row.Status = "Deny"
		}
		decision := graph.Object{"reviewResult": row.Status, "justification": *justification}
		if row.Kind == "azureRole" {
			err = newResourceManager(s).do(ctx, "PATCH", stage, approvalsVersion, nil, graph.Object{"properties": decision}, nil)
		} else {
			err = g.Patch(ctx, stage, decision)
		}
		if err != nil {
			return nil, err
		}
		row.State, row.Action = "", "review"
		return row, nil
	})
	return c
}

// find returns the request that waits for the person's decision, and the address
// of the one stage of its approval.
func find(ctx context.Context, s *azure.Session, g *graph.Client, id string) (Row, string, error) {
	for _, f := range flavours {
		rows, err := f.list(ctx, g, "toApprove")
		if err != nil {
			return Row{}, "", err
		}
		for _, r := range rows {
			if strings.EqualFold(r.ID, id) {
				return r, f.base + f.approvals + "/" + r.ID + "/" + f.stages + "/" + r.ID, nil
			}
		}
	}
	rows, err := newResourceManager(s).toApprove(ctx)
	if err != nil {
		return Row{}, "", err
	}
	for _, r := range rows {
		if strings.EqualFold(r.ID, id) {
			return r, r.Scope + authorization + "roleAssignmentApprovals/" + r.ID + "/stages/" + r.ID, nil
		}
	}
	return Row{}, "", errs.New(errs.NotFound, "No request '%s' waits for your decision. See those that do with 'entrance pim list --state toApprove'.", id)
}
