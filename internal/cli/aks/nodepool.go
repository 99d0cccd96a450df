package aks

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/cli/shape"
)

const poolTable output.Table = "[].{Name:name, OsType:osType, KubernetesVersion:orchestratorVersion, VmSize:vmSize, Count:count, ProvisioningState:provisioningState, Mode:mode}"

func newNodepool(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "nodepool", Short: "Manage the node pools of a cluster"}
	c.AddCommand(newPoolAdd(a), newPoolList(a), newPoolShow(a), newPoolScale(a), newPoolDelete(a))
	return c
}

func pools(s *azure.Session) (*armcontainerservice.AgentPoolsClient, error) {
	return armcontainerservice.NewAgentPoolsClient(s.Subscription.ID, s.Credential, s.Options())
}

// poolFlags name a pool of a cluster.
type poolFlags struct{ group, cluster, name *string }

func newPoolFlags(a *azure.App, c *cobra.Command, one bool) poolFlags {
	p := poolFlags{group: a.GroupFlag(c), cluster: c.Flags().String("cluster-name", "", "name of the cluster")}
	azure.Require(c, "cluster-name")
	if one {
		p.name = c.Flags().StringP("name", "n", "", "name of the node pool")
		c.Flags().StringVar(p.name, "nodepool-name", "", "name of the node pool")
		c.Flags().Lookup("nodepool-name").Hidden = true
		azure.Require(c, "name")
	}
	return p
}

func newPoolList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List node pools"}
	p := newPoolFlags(a, c, false)
	a.Run(c, poolTable, func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := pools(s)
		if err != nil {
			return nil, err
		}
		list, err := azure.Collect(ctx, client.NewListPager(*p.group, *p.cluster, nil), func(p armcontainerservice.AgentPoolsClientListResponse) []*armcontainerservice.AgentPool {
			return p.Value
		})
		if err != nil {
			return nil, err
		}
		return shape.List(list, shape.Resource)
	})
	return c
}

func newPoolShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show a node pool"}
	p := newPoolFlags(a, c, true)
	a.Run(c, poolTable, func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := pools(s)
		if err != nil {
			return nil, err
		}
		pool, err := client.Get(ctx, *p.group, *p.cluster, *p.name, nil)
		if err != nil {
			return nil, err
		}
		return shape.Resource(pool.AgentPool)
	})
	return c
}

// putPool writes a pool and waits.
func (p poolFlags) putPool(ctx context.Context, s *azure.Session, pool armcontainerservice.AgentPool, what string, noWait bool) (any, error) {
	client, err := pools(s)
	if err != nil {
		return nil, err
	}
	poller, err := client.BeginCreateOrUpdate(ctx, *p.group, *p.cluster, *p.name, pool, nil)
	if noWait {
		return nil, err
	}
	made, err := azure.Wait(ctx, s, what+" the node pool "+*p.name, poller, err)
	if err != nil {
		return nil, err
	}
	return shape.Resource(made.AgentPool)
}

func newPoolAdd(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "add", Short: "Add a node pool"}
	p := newPoolFlags(a, c, true)
	f := c.Flags()
	count, size, mode := f.Int32P("node-count", "c", 3, "number of nodes"), f.StringP("node-vm-size", "s", "Standard_DS2_v2", "size of nodes"), f.String("mode", "User", "User or System")
	labels, noWait := azure.WordsFlag(c, "labels", "labels of nodes: key=value"), noWaitFlag(c)
	a.Run(c, poolTable, func(ctx context.Context, s *azure.Session) (any, error) {
		props := &armcontainerservice.ManagedClusterAgentPoolProfileProperties{Count: count, VMSize: size, Mode: to.Ptr(armcontainerservice.AgentPoolMode(*mode)),
			OSType: to.Ptr(armcontainerservice.OSTypeLinux), Type: to.Ptr(armcontainerservice.AgentPoolTypeVirtualMachineScaleSets)}
		if labels.Set {
			props.NodeLabels = labels.Map()
		}
		return p.putPool(ctx, s, armcontainerservice.AgentPool{Properties: props}, "Adding", *noWait)
	})
	return c
}

func newPoolScale(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "scale", Short: "Change the number of nodes of a pool"}
	p := newPoolFlags(a, c, true)
	count, noWait := c.Flags().Int32P("node-count", "c", 3, "number of nodes"), noWaitFlag(c)
	a.Run(c, poolTable, func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := pools(s)
		if err != nil {
			return nil, err
		}
		there, err := client.Get(ctx, *p.group, *p.cluster, *p.name, nil)
		if err != nil {
			return nil, err
		}
		there.Properties.Count = count
		return p.putPool(ctx, s, there.AgentPool, "Scaling", *noWait)
	})
	return c
}

func newPoolDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete a node pool"}
	p, noWait := newPoolFlags(a, c, true), noWaitFlag(c)
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := pools(s)
		if err != nil {
			return nil, err
		}
		poller, err := client.BeginDelete(ctx, *p.group, *p.cluster, *p.name, nil)
		if *noWait {
			return nil, err
		}
		_, err = azure.Wait(ctx, s, "Deleting the node pool "+*p.name, poller, err)
		return nil, err
	})
	return c
}
