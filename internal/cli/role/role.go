// Package role has the command role: role definitions and role assignments of
// Azure RBAC.
package role

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
	"github.com/entrance-id/entrance/internal/cli/shape"
	"github.com/entrance-id/entrance/internal/errs"
)

// New is `entrance role`.
func New(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "role", Short: "Say who may do what: roles and their assignments"}
	c.AddCommand(newAssignment(a), newDefinition(a))
	return c
}

// provider is where Azure RBAC keeps its resources below a scope.
const provider = "/providers/Microsoft.Authorization/"

// scopeOf is the scope that the flags name; "" where they name none.
func scopeOf(s *azure.Session, scope, group string) (string, error) {
	switch {
	case scope != "" && group != "":
		return "", azure.Usagef("--scope and --resource-group exclude each other")
	case group != "":
		return s.Scope() + "/resourceGroups/" + group, nil
	case scope != "" && !strings.HasPrefix(scope, "/"):
		return "", azure.Usagef("--scope is a resource id, which begins with a slash, not %q", scope)
	}
	return strings.TrimRight(scope, "/"), nil
}

// trim is a scope as the clients take it, which put a slash in front.
func trim(scope string) string { return strings.TrimPrefix(scope, "/") }

// Definition finds a role by its name, GUID or id, and returns its id.
func Definition(ctx context.Context, s *azure.Session, name, scope string) (string, error) {
	switch {
	case strings.HasPrefix(name, "/"):
		return name, nil
	case graph.IsGUID(name):
		return s.Scope() + provider + "roleDefinitions/" + name, nil
	}
	list, err := definitions(ctx, s, scope, name)
	if err != nil {
		return "", err
	}
	switch len(list) {
	case 1:
		return *list[0].ID, nil
	case 0:
		return "", errs.New(errs.NotFound, "Role '%s' doesn't exist. See the roles with: entrance role definition list --query \"[].roleName\" -o tsv", name)
	}
	return "", azure.Usagef("more than one role is called %q: name it by its id", name)
}

// definitions lists the roles of a scope, or those with a name.
func definitions(ctx context.Context, s *azure.Session, scope, name string) ([]*armauthorization.RoleDefinition, error) {
	client, err := armauthorization.NewRoleDefinitionsClient(s.Credential, s.Options())
	if err != nil {
		return nil, err
	}
	if scope == "" {
		scope = s.Scope()
	}
	o := &armauthorization.RoleDefinitionsClientListOptions{}
	if name != "" {
		filter := "roleName eq " + graph.Quote(name)
		o.Filter = &filter
	}
	return azure.Collect(ctx, client.NewListPager(trim(scope), o), func(p armauthorization.RoleDefinitionsClientListResponse) []*armauthorization.RoleDefinition {
		return p.Value
	})
}

// role is a role definition as az prints it: its type is called roleType beside
// the type of the resource.
func role(v any) (map[string]any, error) {
	nested, err := shape.Nested(v)
	if err != nil {
		return nil, err
	}
	if p, ok := nested["properties"].(map[string]any); ok {
		p["roleType"] = p["type"]
		delete(p, "type")
	}
	return shape.Resource(nested)
}

// Assign gives a principal a role at a scope, and returns the assignment as az
// prints it. One that is there already is returned as it is.
func Assign(ctx context.Context, s *azure.Session, p armauthorization.RoleAssignmentProperties, name, roleName, scope string) (map[string]any, error) {
	client, err := armauthorization.NewRoleAssignmentsClient(s.Subscription.ID, s.Credential, s.Options())
	if err != nil {
		return nil, err
	}
	id, err := Definition(ctx, s, roleName, scope)
	if err != nil {
		return nil, err
	}
	p.RoleDefinitionID = &id
	made, err := client.Create(ctx, trim(scope), name, armauthorization.RoleAssignmentCreateParameters{Properties: &p}, nil)
	if err == nil {
		return shape.Resource(made.RoleAssignment)
	}
	if azure.ErrorCode(err) != "RoleAssignmentExists" {
		return nil, err
	}
	there, lerr := assignments(ctx, s, scope, "principalId eq '"+*p.PrincipalID+"'")
	for _, t := range there {
		if strings.EqualFold(*t.Properties.RoleDefinitionID, id) && strings.EqualFold(*t.Properties.Scope, scope) {
			return shape.Resource(t)
		}
	}
	if lerr != nil {
		return nil, lerr
	}
	return nil, err
}

// assignments lists the role assignments of a scope.
func assignments(ctx context.Context, s *azure.Session, scope, filter string) ([]*armauthorization.RoleAssignment, error) {
	client, err := armauthorization.NewRoleAssignmentsClient(s.Subscription.ID, s.Credential, s.Options())
	if err != nil {
		return nil, err
	}
	o := &armauthorization.RoleAssignmentsClientListForScopeOptions{}
	if filter != "" {
		o.Filter = &filter
	}
	return azure.Collect(ctx, client.NewListForScopePager(trim(scope), o), func(p armauthorization.RoleAssignmentsClientListForScopeResponse) []*armauthorization.RoleAssignment {
		return p.Value
	})
}

// completeRoles lets the shell complete the names of roles.
func completeRoles(a *azure.App, c *cobra.Command, flag string) {
	a.Complete(c, flag, func(ctx context.Context, s *azure.Session) ([]string, error) {
		list, err := definitions(ctx, s, "", "")
		var names []string
		for _, d := range list {
			names = append(names, *d.Properties.RoleName)
		}
		return names, err
	})
}
