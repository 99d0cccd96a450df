package role

import (
	"context"
	"encoding/json"
	"os"
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

const definitionTable output.Table = "[].{Name:roleName, Type:roleType, Description:description}"

func newDefinition(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "definition", Short: "List roles, and make custom ones"}
	c.AddCommand(newDefinitionList(a), newDefinitionShow(a), newDefinitionCreate(a), newDefinitionUpdate(a), newDefinitionDelete(a))
	return c
}

func newDefinitionList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List roles"}
	f := c.Flags()
	name, scope := f.StringP("name", "n", "", "only the role with this name or GUID"), f.String("scope", "", "resource id that the roles can be assigned at (default: the subscription)")
	group := a.OptionalGroupFlag(c)
	custom := f.Bool("custom-role-only", false, "only custom roles")
	completeRoles(a, c, "name")
	a.Run(c, definitionTable, func(ctx context.Context, s *azure.Session) (any, error) {
		at, err := scopeOf(s, *scope, *group)
		if err != nil {
			return nil, err
		}
		list, err := pick(ctx, s, at, *name)
		if err != nil {
			return nil, err
		}
		fit := list[:0]
		for _, d := range list {
			if !*custom || *d.Properties.RoleType == "CustomRole" {
				fit = append(fit, d)
			}
		}
		return shape.List(fit, role)
	})
	return c
}

// pick lists the roles with a name, which may be a GUID too, or all.
func pick(ctx context.Context, s *azure.Session, scope, name string) ([]*armauthorization.RoleDefinition, error) {
	if !graph.IsGUID(name) {
		return definitions(ctx, s, scope, name)
	}
	list, err := definitions(ctx, s, scope, "")
	fit := []*armauthorization.RoleDefinition{}
	for _, d := range list {
		if strings.EqualFold(*d.Name, name) {
			fit = append(fit, d)
		}
	}
	return fit, err
}

func newDefinitionShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show a role"}
	f := c.Flags()
	id, name, scope := f.String("id", "", "resource id of the role"), f.StringP("name", "n", "", "name or GUID of the role"), f.String("scope", "", "resource id that it can be assigned at")
	completeRoles(a, c, "name")
	a.Run(c, definitionTable, func(ctx context.Context, s *azure.Session) (any, error) {
		if (*id == "") == (*name == "") {
			return nil, azure.Usagef("give one of --id and --name")
		}
		if *id != "" {
			client, err := armauthorization.NewRoleDefinitionsClient(s.Credential, s.Options())
			if err != nil {
				return nil, err
			}
			d, err := client.GetByID(ctx, trim(*id), nil)
			if err != nil {
				return nil, err
			}
			return role(d.RoleDefinition)
		}
		list, err := pick(ctx, s, *scope, *name)
		if err != nil {
			return nil, err
		}
		if len(list) != 1 {
			return nil, errs.New(errs.NotFound, "%d roles are called '%s'. See the roles with 'entrance role definition list'.", len(list), *name)
		}
		return role(list[0])
	})
	return c
}

// document is a role as people write it: the names of az's example are large,
// those of what az prints are not, and both are read.
type document struct {
	ID, Name, RoleName, Description                  string
	Actions, NotActions, DataActions, NotDataActions []string
	AssignableScopes                                 []string
	Permissions                                      []struct{ Actions, NotActions, DataActions, NotDataActions []string }
}

// readDocument reads a role from the command line or from a file.
func readDocument(text string) (*document, error) {
	name := strings.TrimPrefix(text, "@")
	if raw, err := os.ReadFile(name); err == nil {
		text = string(raw)
	} else if name != text || !strings.HasPrefix(strings.TrimSpace(text), "{") {
		return nil, errs.Wrap(errs.Invalid, err, "--role-definition is neither JSON nor a file")
	}
	d := &document{}
	if err := json.Unmarshal([]byte(text), d); err != nil { // names are matched without case
		return nil, azure.Usagef("--role-definition is not a role: %v", err)
	}
	if d.RoleName == "" {
		d.RoleName = d.Name
	}
	if d.RoleName == "" || len(d.AssignableScopes) == 0 {
		return nil, azure.Usagef("--role-definition needs Name and AssignableScopes")
	}
	return d, nil
}

// body is what Resource Manager takes.
func (d *document) body() armauthorization.RoleDefinition {
	ptrs := func(list []string) []*string {
		out := []*string{}
		for _, s := range list {
			out = append(out, &s)
		}
		return out
	}
	p := &armauthorization.RoleDefinitionProperties{RoleName: &d.RoleName, Description: &d.Description, RoleType: to.Ptr("CustomRole"), AssignableScopes: ptrs(d.AssignableScopes)}
	for _, e := range d.Permissions {
		p.Permissions = append(p.Permissions, &armauthorization.Permission{Actions: ptrs(e.Actions), NotActions: ptrs(e.NotActions), DataActions: ptrs(e.DataActions), NotDataActions: ptrs(e.NotDataActions)})
	}
	if len(d.Permissions) == 0 {
		p.Permissions = []*armauthorization.Permission{{Actions: ptrs(d.Actions), NotActions: ptrs(d.NotActions), DataActions: ptrs(d.DataActions), NotDataActions: ptrs(d.NotDataActions)}}
	}
	return armauthorization.RoleDefinition{Properties: p}
}

// put writes a custom role under a GUID.
func (d *document) put(ctx context.Context, s *azure.Session, id string) (any, error) {
	client, err := armauthorization.NewRoleDefinitionsClient(s.Credential, s.Options())
	if err != nil {
		return nil, err
	}
	made, err := client.CreateOrUpdate(ctx, trim(d.AssignableScopes[0]), id, d.body(), nil)
	if err != nil {
		return nil, err
	}
	return role(made.RoleDefinition)
}

func newDefinitionCreate(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "create", Short: "Make a custom role",
		Example: `  entrance role definition create --role-definition '{"Name": "Pod reader", "DataActions": ["Microsoft.ContainerService/managedClusters/pods/read"],
      "AssignableScopes": ["/subscriptions/SUBSCRIPTION"]}'
  entrance role definition create --role-definition @role.json`,
	}
	text := c.Flags().String("role-definition", "", "the role: JSON or @file")
	azure.Require(c, "role-definition")
	a.Run(c, definitionTable, func(ctx context.Context, s *azure.Session) (any, error) {
		d, err := readDocument(*text)
		if err != nil {
			return nil, err
		}
		return d.put(ctx, s, directory.NewGUID())
	})
	return c
}

func newDefinitionUpdate(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "update", Short: "Change a custom role"}
	text := c.Flags().String("role-definition", "", "the role as it is to be: JSON or @file, with its name or id")
	azure.Require(c, "role-definition")
	a.Run(c, definitionTable, func(ctx context.Context, s *azure.Session) (any, error) {
		d, err := readDocument(*text)
		if err != nil {
			return nil, err
		}
		id := guid(d.ID)
		if id == "" && graph.IsGUID(d.Name) { // as az prints it: name is the GUID
			id = d.Name
		}
		if id == "" {
			list, err := definitions(ctx, s, d.AssignableScopes[0], d.RoleName)
			if err != nil {
				return nil, err
			}
			if len(list) != 1 {
				return nil, errs.New(errs.NotFound, "%d roles are called '%s'. Name it by its id.", len(list), d.RoleName)
			}
			id = *list[0].Name
		}
		return d.put(ctx, s, id)
	})
	return c
}

func newDefinitionDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete a custom role"}
	f := c.Flags()
	name, scope := f.StringP("name", "n", "", "name or GUID of the role"), f.String("scope", "", "resource id that it can be assigned at (default: the subscription)")
	group := a.OptionalGroupFlag(c)
	azure.Require(c, "name")
	completeRoles(a, c, "name")
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		at, err := scopeOf(s, *scope, *group)
		if err != nil {
			return nil, err
		}
		if at == "" {
			at = s.Scope()
		}
		client, err := armauthorization.NewRoleDefinitionsClient(s.Credential, s.Options())
		if err != nil {
			return nil, err
		}
		list, err := pick(ctx, s, at, *name)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, errs.New(errs.NotFound, "No role is called '%s'. See the custom roles with 'entrance role definition list --custom-role-only'.", *name)
		}
		for _, d := range list {
			if _, err := client.Delete(ctx, trim(at), *d.Name, nil); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	return c
}
