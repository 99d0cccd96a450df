// Package identity has the command identity: managed identities, and the tokens
// of other issuers that they trust.
package identity

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/cli/shape"
)

// table is what a table of identities shows.
const table output.Table = "[].{Name:name, Location:location, ResourceGroup:resourceGroup, ClientId:clientId, PrincipalId:principalId}"

// New is `entrance identity`, with further commands.
func New(a *azure.App, more ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: "identity", Short: "Make, list and delete managed identities"}
	c.AddCommand(newCreate(a), newShow(a), newList(a), newDelete(a), newFederated(a))
	c.AddCommand(more...)
	return c
}

func identities(s *azure.Session) (*armmsi.UserAssignedIdentitiesClient, error) {
	return armmsi.NewUserAssignedIdentitiesClient(s.Subscription.ID, s.Credential, s.Options())
}

// named are the flags that name an identity: by its names or by its id.
type named struct {
	group, name *string
	ids         *azure.Words
}

// nameFlags adds them. flag is how the name is called.
func nameFlags(a *azure.App, c *cobra.Command, flag, short string) *named {
	n := &named{group: a.OptionalGroupFlag(c), name: c.Flags().StringP(flag, short, "", "name of the identity")}
	n.ids = azure.WordsFlag(c, "ids", "resource id of the identity, in place of --resource-group and --"+flag)
	a.Complete(c, flag, func(ctx context.Context, s *azure.Session) ([]string, error) {
		list, err := all(ctx, s, *n.group)
		var names []string
		for _, i := range list {
			names = append(names, *i.Name)
		}
		return names, err
	})
	return n
}

// find completes the names from an id.
func (n *named) find(c *cobra.Command) error {
	switch {
	case len(n.ids.List) > 1:
		return azure.Usagef("--ids takes one id here")
	case len(n.ids.List) == 1:
		group, name, ok := azure.SplitID(n.ids.List[0], "Microsoft.ManagedIdentity/userAssignedIdentities")
		if !ok {
			return azure.Usagef("--ids is the resource id of a managed identity, not %q", n.ids.List[0])
		}
		*n.group, *n.name = group, name
	case *n.group == "" || *n.name == "":
		return azure.Usagef("the following arguments are required: --resource-group/-g and the name, or --ids (see '%s --help')", c.CommandPath())
	}
	return nil
}

// all lists the identities of a resource group, or of the subscription.
func all(ctx context.Context, s *azure.Session, group string) ([]*armmsi.Identity, error) {
	client, err := identities(s)
	if err != nil {
		return nil, err
	}
	if group != "" {
		return azure.Collect(ctx, client.NewListByResourceGroupPager(group, nil), func(p armmsi.UserAssignedIdentitiesClientListByResourceGroupResponse) []*armmsi.Identity {
			return p.Value
		})
	}
	return azure.Collect(ctx, client.NewListBySubscriptionPager(nil), func(p armmsi.UserAssignedIdentitiesClientListBySubscriptionResponse) []*armmsi.Identity {
		return p.Value
	})
}

func newCreate(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "create", Short: "Make a managed identity"}
	group, name := a.GroupFlag(c), c.Flags().StringP("name", "n", "", "name of the identity")
	location := c.Flags().StringP("location", "l", "", "region (default: the resource group's)")
	tags := azure.WordsFlag(c, "tags", "tags: key=value, several with spaces between")
	azure.Require(c, "name")
	a.Complete(c, "location", azure.LocationNames)
	a.Run(c, table, func(ctx context.Context, s *azure.Session) (any, error) {
		if *location == "" {
			var err error
			if *location, err = s.GroupLocation(ctx, *group); err != nil {
				return nil, err
			}
		}
		client, err := identities(s)
		if err != nil {
			return nil, err
		}
		i := armmsi.Identity{Location: location}
		if tags.Set {
			i.Tags = tags.Map()
		}
		made, err := client.CreateOrUpdate(ctx, *group, *name, i, nil)
		if err != nil {
			return nil, err
		}
		return shape.Resource(made.Identity)
	})
	return c
}

func newShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show a managed identity"}
	n := nameFlags(a, c, "name", "n")
	a.Run(c, table, func(ctx context.Context, s *azure.Session) (any, error) {
		if err := n.find(c); err != nil {
			return nil, err
		}
		client, err := identities(s)
		if err != nil {
			return nil, err
		}
		i, err := client.Get(ctx, *n.group, *n.name, nil)
		if err != nil {
			return nil, err
		}
		return shape.Resource(i.Identity)
	})
	return c
}

func newList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List managed identities"}
	group := a.OptionalGroupFlag(c)
	a.Run(c, table, func(ctx context.Context, s *azure.Session) (any, error) {
		list, err := all(ctx, s, *group)
		if err != nil {
			return nil, err
		}
		return shape.List(list, shape.Resource)
	})
	return c
}

func newDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete a managed identity"}
	n := nameFlags(a, c, "name", "n")
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		if err := n.find(c); err != nil {
			return nil, err
		}
		client, err := identities(s)
		if err != nil {
			return nil, err
		}
		_, err = client.Delete(ctx, *n.group, *n.name, nil)
		return nil, err
	})
	return c
}
