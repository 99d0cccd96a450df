package azure

import (
	"context"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"
	"github.com/spf13/cobra"
)

// completionTime is how long the shell waits for names.
const completionTime = 2 * time.Second

// OptionalGroupFlag adds --resource-group and completes it.
func (a *App) OptionalGroupFlag(c *cobra.Command) *string {
	g := c.Flags().StringP("resource-group", "g", "", "name of the resource group")
	a.Complete(c, "resource-group", GroupNames)
	return g
}

// GroupNames lists the names of the resource groups, for completion.
func GroupNames(ctx context.Context, s *Session) ([]string, error) {
	client, err := armresources.NewResourceGroupsClient(s.Subscription.ID, s.Credential, s.Options())
	if err != nil {
		return nil, err
	}
	page, err := client.NewListPager(nil).NextPage(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, g := range page.Value {
		names = append(names, str(g.Name))
	}
	return names, nil
}

// GroupLocation returns the region of a resource group, which resources in it
// have unless a person says otherwise.
func (s *Session) GroupLocation(ctx context.Context, name string) (string, error) {
	client, err := armresources.NewResourceGroupsClient(s.Subscription.ID, s.Credential, s.Options())
	if err != nil {
		return "", err
	}
	g, err := client.Get(ctx, name, nil)
	return str(g.Location), err
}

// LocationNames lists the regions, for completion.
func LocationNames(ctx context.Context, s *Session) ([]string, error) {
	client, err := armsubscriptions.NewClient(s.Credential, s.Options())
	if err != nil {
		return nil, err
	}
	page, err := client.NewListLocationsPager(s.Subscription.ID, nil).NextPage(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range page.Value {
		names = append(names, str(l.Name)+"\t"+str(l.DisplayName))
	}
	return names, nil
}

// SplitID takes the resource group and the name out of the id of a resource of a
// type such as Microsoft.ManagedIdentity/userAssignedIdentities.
func SplitID(id, kind string) (group, name string, ok bool) {
	parsed, err := arm.ParseResourceID(id)
	if err != nil || !strings.EqualFold(parsed.ResourceType.String(), kind) {
		return "", "", false
	}
	return parsed.ResourceGroupName, parsed.Name, true
}
