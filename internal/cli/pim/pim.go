// Package pim has the command pim: privileges that are asked for when they are
// needed and end by themselves.
package pim

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/cli/role"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/rbac"
)

const requestTable output.Table = "[].{Id:id, Action:action, Name:name, Scope:scope, Status:status, Until:until}"

// New is `entrance pim`.
func New(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "pim",
		Short: "Activate privileges for a while, and approve what others ask for",
		Long: `Activate what the signed-in person is eligible for, see it, end it, and decide about what
others ask for (Privileged Identity Management). A privilege is a group's membership, a
directory role, or an Azure role at a scope such as a cluster or a namespace in it.

Sign in as the person first: entrance login`,
	}
	c.AddCommand(newActivate(a), newDeactivate(a), newList(a), newApprove(a))
	return c
}

// privilege is what the flags of a command name.
type privilege struct{ group, access, role, scope string }

func (p *privilege) flags(c *cobra.Command) {
	c.Flags().StringVar(&p.group, "group", "", "name or object id of a group")
	c.Flags().StringVar(&p.access, "access", pim.Member, "member or owner, of the group")
	c.Flags().StringVar(&p.role, "role", "", "name or id of a directory role, or with --scope of an Azure role")
	c.Flags().StringVar(&p.scope, "scope", "", "resource id at which the Azure role is eligible")
}

func (p *privilege) check() error {
	switch {
	case (p.group == "") == (p.role == ""):
		return azure.Usagef("name one of --group and --role")
	case p.group != "" && p.scope != "":
		return azure.Usagef("--scope goes with --role, and with the role of a resource")
	case p.access != pim.Member && p.access != pim.Owner:
		return azure.Usagef("--access is member or owner, not %q", p.access)
	}
	return nil
}

// ask are the flags that say why, and for how long.
type ask struct{ justification, duration, number, system string }

// iso returns a duration such as 2h or PT2H in the form that the services take.
func iso(text string) (string, error) {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return pim.FormatDuration(d), nil
	}
	if _, err := pim.ParseDuration(strings.ToUpper(text)); err != nil {
		return "", azure.Usagef("--duration is written 2h, 90m or PT2H, not %q", text)
	}
	return strings.ToUpper(text), nil
}

func newActivate(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "activate", Short: "Turn an eligibility into a privilege for a while",
		Long: `Turn an eligibility into a privilege for a while. It acts when the command has returned, on
clusters within two seconds and without a new sign-in, unless an approval is needed first.

"Multifactor authentication" as a refusal means that the sign-in had one factor: sign in
again with entrance login, which asks for the second on the page.`,
		Example: `  entrance pim activate --group cluster-admins --duration 2h --justification "INC-4711"
  entrance pim activate --role "Azure Kubernetes Service RBAC Writer" --scope $AKS_ID/namespaces/prod --justification "INC-4711"
  entrance pim activate --role "User Administrator" --justification "INC-4711"`,
	}
	var p privilege
	var q ask
	p.flags(c)
	c.Flags().StringVarP(&q.justification, "justification", "j", "", "why it is needed")
	c.Flags().StringVarP(&q.duration, "duration", "d", "1h", "how long it is needed: 2h, 90m or PT2H")
	c.Flags().StringVar(&q.number, "ticket-number", "", "number of a ticket")
	c.Flags().StringVar(&q.system, "ticket-system", "", "system that has the ticket")
	a.Run(c, requestTable, func(ctx context.Context, s *azure.Session) (any, error) {
		return request(ctx, s, p, q, pim.SelfActivate)
	})
	return c
}

func newDeactivate(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "deactivate", Short: "End an activated privilege before its time",
		Long: `End an activated privilege before its time; five minutes after the activation at the
earliest, as in the real service.`,
		Example: `  entrance pim deactivate --group cluster-admins`,
	}
	var p privilege
	p.flags(c)
	a.Run(c, requestTable, func(ctx context.Context, s *azure.Session) (any, error) {
		return request(ctx, s, p, ask{}, pim.SelfDeactivate)
	})
	return c
}

// Row is what the commands print: a request, or something that is or may be held.
type Row struct {
	Kind string `json:"kind"` // group, directoryRole or azureRole
	ID   string `json:"id"`
	// Name is the group's or the role's, Scope the resource of an Azure role.
	Name   string `json:"name"`
	Access string `json:"access,omitempty"` // member or owner
	Scope  string `json:"scope,omitempty"`
	// State is eligible, active, pending, or toApprove.
	State     string `json:"state,omitempty"`
	Action    string `json:"action,omitempty"`
	Status    string `json:"status,omitempty"`
	Until     string `json:"until,omitempty"` // RFC 3339; empty: without an end
	Requestor string `json:"requestor,omitempty"`
	Reason    string `json:"justification,omitempty"`
}

// request makes a self-service request and returns it as a row.
func request(ctx context.Context, s *azure.Session, p privilege, q ask, action pim.Action) (any, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	g := graph.New(s)
	me, err := self(ctx, s, g)
	if err != nil {
		return nil, err
	}
	duration := ""
	if action == pim.SelfActivate {
		if duration, err = iso(q.duration); err != nil {
			return nil, err
		}
	}
	if p.scope != "" {
		return azureRequest(ctx, s, p, q, action, me, duration)
	}
	body := graph.Object{"action": string(action), "principalId": me, "justification": q.justification,
		"ticketInfo": graph.Object{"ticketNumber": q.number, "ticketSystem": q.system}}
	if duration != "" {
		body["scheduleInfo"] = graph.Object{"expiration": graph.Object{"type": "afterDuration", "duration": duration}}
	}
	row := Row{Kind: "group", Action: string(action)}
	path := "/identityGovernance/privilegedAccess/group/assignmentScheduleRequests"
	if p.group != "" {
		found, err := groupOf(ctx, g, p.group)
		if err != nil {
			return nil, err
		}
		body["accessId"], body["groupId"] = p.access, graph.Text(found, "id")
		row.Name, row.Access = graph.Text(found, "displayName"), p.access
	} else {
		found, err := directoryRole(ctx, g, p.role)
		if err != nil {
			return nil, err
		}
		path = "/roleManagement/directory/roleAssignmentScheduleRequests"
		body["roleDefinitionId"], body["directoryScopeId"] = graph.Text(found, "id"), "/"
		row.Kind, row.Name = "directoryRole", graph.Text(found, "displayName")
	}
	made, err := g.Post(ctx, path, body)
	if err != nil {
		return nil, err
	}
	row.ID, row.Status, row.Reason = graph.Text(made, "id"), graph.Text(made, "status"), q.justification
	row.until(duration)
	return row, nil
}

// until says when an activation ends, if it has begun.
func (r *Row) until(duration string) {
	if d, err := pim.ParseDuration(duration); err == nil && duration != "" && !pim.Status(r.Status).Pending() {
		r.Until = time.Now().Add(d).UTC().Format(time.RFC3339)
	}
}

// self is the object id of the person who is signed in.
func self(ctx context.Context, s *azure.Session, g *graph.Client) (string, error) {
	if s.Account.Kind != azure.Person {
		return "", errs.New(errs.Invalid, "Privileges are activated by people, and nobody is signed in: entrance login")
	}
	me, err := g.Get(ctx, "/me?$select=id")
	return graph.Text(me, "id"), err
}

func groupOf(ctx context.Context, g *graph.Client, name string) (graph.Object, error) {
	if graph.IsGUID(name) {
		return g.Get(ctx, "/groups/"+url.PathEscape(name)+"?$select=id,displayName")
	}
	return g.One(ctx, "/groups", graph.Filter("displayName eq %s", name), "group", name)
}

func directoryRole(ctx context.Context, g *graph.Client, name string) (graph.Object, error) {
	const roles = "/roleManagement/directory/roleDefinitions"
	if graph.IsGUID(name) {
		return g.Get(ctx, roles+"/"+url.PathEscape(name))
	}
	found, err := g.One(ctx, roles, graph.Filter("displayName eq %s", name), "directory role", name)
	if errs.Is(err, errs.NotFound) {
		err = errs.New(errs.NotFound, "No directory role is called '%s'. An Azure role needs --scope.", name)
	}
	return found, err
}

// azureRequest makes a request for an Azure role.
func azureRequest(ctx context.Context, s *azure.Session, p privilege, q ask, action pim.Action, me, duration string) (any, error) {
	id := p.scope + authorization + "roleDefinitions/"
	// Who is only eligible may not read the roles of the scope yet.
	if r, ok := rbac.BuiltInRole(p.role); ok {
		id += r.ID
	} else if graph.IsGUID(p.role) {
		id += p.role
	} else {
		var err error
		if id, err = role.Definition(ctx, s, p.role, p.scope); err != nil {
			return nil, err
		}
	}
	name := string(action)
	properties := graph.Object{
		"principalId": me, "roleDefinitionId": id, "requestType": strings.ToUpper(name[:1]) + name[1:], "justification": q.justification,
		"ticketInfo": graph.Object{"ticketNumber": q.number, "ticketSystem": q.system},
	}
	if duration != "" {
		properties["scheduleInfo"] = graph.Object{"expiration": graph.Object{"type": "AfterDuration", "duration": duration}}
	}
	r := newResourceManager(s)
	made, err := r.put(ctx, p.scope+authorization+"roleAssignmentScheduleRequests/"+directory.NewGUID(), graph.Object{"properties": properties})
	if err != nil {
		return nil, err
	}
	row := Row{Kind: "azureRole", ID: graph.Text(made, "name"), Name: roleName(id), Scope: p.scope, Action: name, Reason: q.justification}
	if properties, ok := made["properties"].(graph.Object); ok {
		row.Status = graph.Text(properties, "status")
	}
	row.until(duration)
	return row, nil
}
