// Package aks has the command aks: managed clusters, on the official client of
// Microsoft.ContainerService.
package aks

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/cli/shape"
)

// clusterTable is what a table of clusters shows, as in az.
const clusterTable output.Table = "[].{Name:name, Location:location, ResourceGroup:resourceGroup, KubernetesVersion:kubernetesVersion, " +
	"CurrentKubernetesVersion:currentKubernetesVersion, ProvisioningState:provisioningState, Fqdn:fqdn}"

// New is `entrance aks`.
func New(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "aks", Short: "Make, change, list and delete managed clusters"}
	c.AddCommand(newCreate(a), newUpdate(a), newShow(a), newList(a), newDelete(a), newCredentials(a), newRotate(a), newWait(a),
		newPower(a, "start", "Start"), newPower(a, "stop", "Stop"), newScale(a), newUpdateCredentials(a), newVersions(a), newUpgrades(a), newNodepool(a), newIssuer(a))
	return c
}

func clusters(s *azure.Session) (*armcontainerservice.ManagedClustersClient, error) {
	return armcontainerservice.NewManagedClustersClient(s.Subscription.ID, s.Credential, s.Options())
}

// named are the flags that name a cluster.
type named struct{ group, name *string }

// nameFlags adds them, and lets the shell complete them.
func nameFlags(a *azure.App, c *cobra.Command) named {
	n := named{a.GroupFlag(c), c.Flags().StringP("name", "n", "", "name of the cluster")}
	azure.Require(c, "name")
	a.Complete(c, "name", func(ctx context.Context, s *azure.Session) ([]string, error) {
		list, err := all(ctx, s, *n.group)
		var names []string
		for _, k := range list {
			names = append(names, *k.Name)
		}
		return names, err
	})
	return n
}

// all lists the clusters of a resource group, or of the subscription.
func all(ctx context.Context, s *azure.Session, group string) ([]*armcontainerservice.ManagedCluster, error) {
	client, err := clusters(s)
	if err != nil {
		return nil, err
	}
	if group != "" {
		return azure.Collect(ctx, client.NewListByResourceGroupPager(group, nil), func(p armcontainerservice.ManagedClustersClientListByResourceGroupResponse) []*armcontainerservice.ManagedCluster {
			return p.Value
		})
	}
	return azure.Collect(ctx, client.NewListPager(nil), func(p armcontainerservice.ManagedClustersClientListResponse) []*armcontainerservice.ManagedCluster {
		return p.Value
	})
}

// put writes a cluster, waits, and returns it as az prints it.
func put(ctx context.Context, s *azure.Session, n named, k armcontainerservice.ManagedCluster, what string, noWait bool) (any, error) {
	client, err := clusters(s)
	if err != nil {
		return nil, err
	}
	o := &armcontainerservice.ManagedClustersClientBeginCreateOrUpdateOptions{}
	if k.ETag != nil && *k.ETag != "" {
		o.IfMatch = k.ETag // nobody else's change between reading and writing is undone
	}
	poller, err := client.BeginCreateOrUpdate(ctx, *n.group, *n.name, k, o)
	if noWait {
		return nil, err
	}
	if _, err := azure.Wait(ctx, s, what+" the cluster "+*n.name, poller, err); err != nil {
		return nil, err
	}
	return show(ctx, s, n)
}

func show(ctx context.Context, s *azure.Session, n named) (any, error) {
	client, err := clusters(s)
	if err != nil {
		return nil, err
	}
	k, err := client.Get(ctx, *n.group, *n.name, nil)
	if err != nil {
		return nil, err
	}
	return shape.Resource(k.ManagedCluster)
}

func newShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show a cluster"}
	n := nameFlags(a, c)
	a.Run(c, clusterTable, func(ctx context.Context, s *azure.Session) (any, error) { return show(ctx, s, n) })
	return c
}

func newList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List clusters"}
	group := a.OptionalGroupFlag(c)
	a.Run(c, clusterTable, func(ctx context.Context, s *azure.Session) (any, error) {
		list, err := all(ctx, s, *group)
		if err != nil {
			return nil, err
		}
		return shape.List(list, shape.Resource)
	})
	return c
}

func newDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete a cluster"}
	n := nameFlags(a, c)
	yes, noWait := c.Flags().BoolP("yes", "y", false, "do not ask"), noWaitFlag(c)
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		if err := a.Confirm(*yes, "Are you sure you want to delete the cluster %s?", *n.name); err != nil {
			return nil, err
		}
		client, err := clusters(s)
		if err != nil {
			return nil, err
		}
		poller, err := client.BeginDelete(ctx, *n.group, *n.name, nil)
		if *noWait {
			return nil, err
		}
		_, err = azure.Wait(ctx, s, "Deleting the cluster "+*n.name, poller, err)
		return nil, err
	})
	return c
}

func noWaitFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("no-wait", false, "return at once, while the operation goes on")
}

// prefix is the DNS name that az gives a cluster: of its own name, its group's
// and its subscription's.
func prefix(name, group, subscription string) string {
	keep := func(s string, n int) string {
		s = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
				return r
			}
			return -1
		}, s)
		return s[:min(len(s), n)]
	}
	first := keep(name, 10)
	if first == "" || first[0] >= '0' && first[0] <= '9' || first[0] == '-' {
		first = keep("a"+first, 10)
	}
	return first + "-" + keep(group, 16) + "-" + keep(subscription, 6)
}
