package role

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/cli/shape"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

const assignmentTable output.Table = "[].{Principal:principalName, Role:roleDefinitionName, Scope:scope}"

func newAssignment(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "assignment", Short: "Give roles, list who has them, and take them away"}
	c.AddCommand(newAssignmentCreate(a), newAssignmentList(a), newAssignmentDelete(a))
	return c
}

func newAssignmentCreate(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "create", Short: "Give somebody a role at a scope",
		Example: `  entrance role assignment create --assignee dev@contoso.test --role "Azure Kubernetes Service RBAC Reader" --scope $AKS_ID/namespaces/prod
  entrance role assignment create --assignee-object-id ID --assignee-principal-type Group --role Reader -g web`,
	}
	f := c.Flags()
	assignee := f.String("assignee", "", "user principal name, service principal name or object id")
	objectID := f.String("assignee-object-id", "", "object id, in place of --assignee: Graph is not asked for it")
	kind := f.String("assignee-principal-type", "", "User, Group or ServicePrincipal, with --assignee-object-id")
	roleName, scope := f.String("role", "", "name or id of the role"), f.String("scope", "", "resource id at which it holds, and below")
	group := a.OptionalGroupFlag(c)
	name, about := f.StringP("name", "n", "", "GUID of the assignment (default: a new one)"), f.String("description", "", "what it is for")
	condition, version := f.String("condition", "", "condition under which it holds"), f.String("condition-version", "", "version of the condition: 2.0")
	azure.Require(c, "role")
	completeRoles(a, c, "role")
	a.Run(c, assignmentTable, func(ctx context.Context, s *azure.Session) (any, error) {
		at, err := scopeOf(s, *scope, *group)
		if err != nil {
			return nil, err
		}
		switch {
		case at == "":
			return nil, azure.Usagef("the following arguments are required: --scope (see '%s --help')", c.CommandPath())
		case (*assignee == "") == (*objectID == ""):
			return nil, azure.Usagef("give one of --assignee and --assignee-object-id")
		case *assignee != "" && *kind != "":
			return nil, azure.Usagef("--assignee-principal-type needs --assignee-object-id")
		case *version != "" && *condition == "":
			return nil, azure.Usagef("--condition-version needs --condition")
		}
		who, err := whom(ctx, s, *assignee, *objectID, *kind)
		if err != nil {
			return nil, err
		}
		p := armauthorization.RoleAssignmentProperties{PrincipalID: &who.ID}
		if who.Type != "" {
			p.PrincipalType = to.Ptr(armauthorization.PrincipalType(who.Type))
		}
		if *about != "" {
			p.Description = about
		}
		if *condition != "" {
			p.Condition, p.ConditionVersion = condition, to.Ptr("2.0")
			if *version != "" {
				p.ConditionVersion = version
			}
		}
		if *name == "" {
			*name = directory.NewGUID()
		}
		return Assign(ctx, s, p, *name, *roleName, at)
	})
	return c
}

// whom finds the principal that the flags name. An object id with its type needs
// no look into the directory.
func whom(ctx context.Context, s *azure.Session, assignee, objectID, kind string) (graph.Principal, error) {
	if assignee != "" {
		return graph.New(s).Assignee(ctx, assignee)
	}
	if kind != "" {
		return graph.Principal{ID: objectID, Type: kind}, nil
	}
	found, err := graph.New(s).Principals(ctx, []string{objectID})
	if err != nil {
		return graph.Principal{}, err
	}
	if p, ok := found[strings.ToLower(objectID)]; ok {
		return p, nil
	}
	return graph.Principal{ID: objectID}, nil // Resource Manager says what is wrong with it
}

// which are the flags that pick assignments.
type which struct {
	assignee, role, scope   string
	group                   *string
	all, inherited, through bool
}

func newWhich(a *azure.App, c *cobra.Command) *which {
	w := &which{}
	f := c.Flags()
	f.StringVar(&w.assignee, "assignee", "", "only those of this user principal name, service principal name or object id")
	f.StringVar(&w.role, "role", "", "only those of this role, by name or id")
	f.StringVar(&w.scope, "scope", "", "only those at this resource id (default: the subscription)")
	w.group = a.OptionalGroupFlag(c)
	f.BoolVar(&w.inherited, "include-inherited", false, "those that the scope inherits too")
	completeRoles(a, c, "role")
	return w
}

// find lists the assignments that the flags pick, as az picks them.
func (w *which) find(ctx context.Context, s *azure.Session) ([]*armauthorization.RoleAssignment, error) {
	scope, err := scopeOf(s, w.scope, *w.group)
	if err != nil {
		return nil, err
	}
	if w.all && scope != "" {
		return nil, azure.Usagef("--all goes without --scope and --resource-group")
	}
	who := ""
	if w.assignee != "" {
		p, err := graph.New(s).Assignee(ctx, w.assignee)
		if err != nil {
			return nil, err
		}
		who = p.ID
	}
	at, filter := scope, "atScope()"
	switch {
	case w.all && who != "" && w.through:
		at, filter = s.Scope(), "assignedTo('"+who+"')"
	case w.all && who != "":
		at, filter = s.Scope(), "principalId eq '"+who+"'"
	case w.all:
		at, filter = s.Scope(), ""
	case scope == "":
		at, scope = s.Scope(), s.Scope()
	}
	if !w.all && who != "" && w.through {
		filter = "atScope() and assignedTo('" + who + "')"
	}
	roleID := ""
	if w.role != "" {
		if roleID, err = Definition(ctx, s, w.role, scope); err != nil {
			return nil, err
		}
	}
	list, err := assignments(ctx, s, at, filter)
	if err != nil {
		return nil, err
	}
	fit := []*armauthorization.RoleAssignment{}
	for _, e := range list {
		p := e.Properties
		switch {
		case !w.all && !w.inherited && !strings.EqualFold(*p.Scope, scope):
		case roleID != "" && !strings.EqualFold(guid(*p.RoleDefinitionID), guid(roleID)):
		case who != "" && !w.through && !strings.EqualFold(*p.PrincipalID, who):
		default:
			fit = append(fit, e)
		}
	}
	return fit, nil
}

// guid is the last part of an id: the same role has an id in each subscription.
func guid(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func newAssignmentList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List role assignments: those at a scope, or --all of the subscription"}
	w := newWhich(a, c)
	c.Flags().BoolVar(&w.all, "all", false, "all assignments of the subscription and below")
	c.Flags().BoolVar(&w.through, "include-groups", false, "those of groups that the assignee is in too")
	a.Run(c, assignmentTable, func(ctx context.Context, s *azure.Session) (any, error) {
		list, err := w.find(ctx, s)
		if err != nil {
			return nil, err
		}
		out, err := shape.List(list, shape.Resource)
		if err != nil || len(out) == 0 {
			return out, err
		}
		return out, names(ctx, s, out)
	})
	return c
}

// names adds the names of roles and principals, which Resource Manager does not
// tell. Who may not read the directory sees ids.
func names(ctx context.Context, s *azure.Session, list []map[string]any) error {
	roles, err := definitions(ctx, s, "", "")
	if err != nil {
		return err
	}
	roleNames := map[string]string{}
	for _, r := range roles {
		roleNames[strings.ToLower(*r.Name)] = *r.Properties.RoleName
	}
	seen := map[string]bool{}
	var ids []string
	for _, e := range list {
		id, _ := e["principalId"].(string)
		if id != "" && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	principals, err := graph.New(s).Principals(ctx, ids)
	if err != nil {
		s.Warnf("The names of principals cannot be read: %v", azure.Explain(err))
	}
	for _, e := range list {
		id, _ := e["principalId"].(string)
		e["principalName"] = principals[strings.ToLower(id)].Name
		roleID, _ := e["roleDefinitionId"].(string)
		e["roleDefinitionName"] = roleNames[strings.ToLower(guid(roleID))]
	}
	return nil
}

func newAssignmentDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Take roles away"}
	w := newWhich(a, c)
	ids := azure.WordsFlag(c, "ids", "ids of the assignments, in place of the other flags")
	yes := c.Flags().BoolP("yes", "y", false, "do not ask before all assignments at the subscription are deleted")
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := armauthorization.NewRoleAssignmentsClient(s.Subscription.ID, s.Credential, s.Options())
		if err != nil {
			return nil, err
		}
		doomed := ids.List
		picked := azure.Changed(c.Flags(), "assignee", "role", "scope", "resource-group")
		switch {
		case len(doomed) > 0 && picked:
			return nil, azure.Usagef("--ids goes without the flags that pick assignments")
		case len(doomed) == 0 && !picked:
			if err := a.Confirm(*yes, "This deletes all role assignments at the subscription. Are you sure?"); err != nil {
				return nil, err
			}
		}
		if len(doomed) == 0 {
			list, err := w.find(ctx, s)
			if err != nil {
				return nil, err
			}
			for _, e := range list {
				doomed = append(doomed, *e.ID)
			}
			if len(doomed) == 0 {
				return nil, errs.New(errs.NotFound, "No matched assignments were found to delete. See them with 'entrance role assignment list --all'.")
			}
		}
		for _, id := range doomed {
			if _, err := client.DeleteByID(ctx, trim(id), nil); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	return c
}
