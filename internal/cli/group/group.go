// Package group has the command group: resource groups.
package group

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/cli/shape"
)

// table is what a table of resource groups shows, as in az.
const table output.Table = "[].{Name:name, Location:location, Status:properties.provisioningState}"

// New is `entrance group`.
func New(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "group", Short: "Make, list and delete resource groups"}
	c.AddCommand(newCreate(a), newShow(a), newList(a), newExists(a), newUpdate(a), newDelete(a))
	return c
}

// client returns the official client of resource groups.
func client(s *azure.Session) (*armresources.ResourceGroupsClient, error) {
	return armresources.NewResourceGroupsClient(s.Subscription.ID, s.Credential, s.Options())
}

// nameFlag adds the flag that names the group. az has two spellings of it.
func nameFlag(a *azure.App, c *cobra.Command) *string {
	name := c.Flags().StringP("name", "n", "", "name of the resource group; --resource-group and -g name it too")
	c.Flags().StringVarP(name, "resource-group", "g", "", "name of the resource group")
	c.Flags().Lookup("resource-group").Hidden = true
	a.Complete(c, "name", azure.GroupNames)
	return name
}

// given refuses a command line without a name.
func given(c *cobra.Command, name string) error {
	if name == "" {
		return azure.Usagef("the following arguments are required: --name/-n/--resource-group/-g (see '%s --help')", c.CommandPath())
	}
	return nil
}

func newCreate(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "create", Short: "Make a resource group", Example: "  entrance group create --name web --location westeurope"}
	name := nameFlag(a, c)
	location := c.Flags().StringP("location", "l", "", "region")
	managedBy := c.Flags().String("managed-by", "", "resource id of what manages the group")
	tags := azure.WordsFlag(c, "tags", "tags: key=value, several with spaces between")
	azure.Require(c, "location")
	a.Complete(c, "location", azure.LocationNames)
	a.Run(c, table, func(ctx context.Context, s *azure.Session) (any, error) {
		if err := given(c, *name); err != nil {
			return nil, err
		}
		groups, err := client(s)
		if err != nil {
			return nil, err
		}
		g := armresources.ResourceGroup{Location: location}
		if tags.Set {
			g.Tags = tags.Map()
		}
		if *managedBy != "" {
			g.ManagedBy = managedBy
		}
		made, err := groups.CreateOrUpdate(ctx, *name, g, nil)
		if err != nil {
			return nil, err
		}
		return shape.Nested(made.ResourceGroup)
	})
	return c
}

func newShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show a resource group"}
	name := nameFlag(a, c)
	a.Run(c, table, func(ctx context.Context, s *azure.Session) (any, error) {
		if err := given(c, *name); err != nil {
			return nil, err
		}
		groups, err := client(s)
		if err != nil {
			return nil, err
		}
		g, err := groups.Get(ctx, *name, nil)
		if err != nil {
			return nil, err
		}
		return shape.Nested(g.ResourceGroup)
	})
	return c
}

func newList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the resource groups of the subscription"}
	tag := c.Flags().String("tag", "", "only those with this tag: key[=value]")
	a.Run(c, table, func(ctx context.Context, s *azure.Session) (any, error) {
		groups, err := client(s)
		if err != nil {
			return nil, err
		}
		o := &armresources.ResourceGroupsClientListOptions{}
		if *tag != "" {
			key, value, both := strings.Cut(*tag, "=")
			filter := "tagname eq " + quote(key)
			if both {
				filter += " and tagvalue eq " + quote(value)
			}
			o.Filter = &filter
		}
		list, err := azure.Collect(ctx, groups.NewListPager(o), func(p armresources.ResourceGroupsClientListResponse) []*armresources.ResourceGroup { return p.Value })
		if err != nil {
			return nil, err
		}
		return shape.List(list, shape.Nested)
	})
	return c
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func newExists(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "exists", Short: "Say whether a resource group exists: true or false"}
	name := nameFlag(a, c)
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		if err := given(c, *name); err != nil {
			return nil, err
		}
		groups, err := client(s)
		if err != nil {
			return nil, err
		}
		r, err := groups.CheckExistence(ctx, *name, nil)
		return r.Success, err
	})
	return c
}

func newUpdate(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "update", Short: "Change the tags of a resource group"}
	name := nameFlag(a, c)
	tags := azure.WordsFlag(c, "tags", "tags that replace those that are there: key=value, several with spaces between")
	a.Run(c, table, func(ctx context.Context, s *azure.Session) (any, error) {
		if err := given(c, *name); err != nil {
			return nil, err
		}
		groups, err := client(s)
		if err != nil {
			return nil, err
		}
		patch := armresources.ResourceGroupPatchable{}
		if tags.Set {
			patch.Tags = tags.Map()
		}
		g, err := groups.Update(ctx, *name, patch, nil)
		if err != nil {
			return nil, err
		}
		return shape.Nested(g.ResourceGroup)
	})
	return c
}

func newDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete a resource group and everything in it"}
	name := nameFlag(a, c)
	yes := c.Flags().BoolP("yes", "y", false, "do not ask")
	noWait := c.Flags().Bool("no-wait", false, "return at once, while the group is being deleted")
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		if err := given(c, *name); err != nil {
			return nil, err
		}
		if err := a.Confirm(*yes, "Are you sure you want to delete the resource group %s and everything in it?", *name); err != nil {
			return nil, err
		}
		groups, err := client(s)
		if err != nil {
			return nil, err
		}
		poller, err := groups.BeginDelete(ctx, *name, nil)
		if *noWait {
			return nil, err
		}
		_, err = azure.Wait(ctx, s, "Deleting the resource group "+*name, poller, err)
		return nil, err
	})
	return c
}
