package aks

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/shape"
	"github.com/entrance-id/entrance/internal/errs"
)

// action makes a command that starts an operation on a cluster and waits for it.
// ask is the question to a person before it; "" asks nothing.
func action[T any](a *azure.App, c *cobra.Command, what, ask string, begin func(context.Context, *armcontainerservice.ManagedClustersClient, named) (*runtime.Poller[T], error)) *cobra.Command {
	n := nameFlags(a, c)
	yes := false
	if ask != "" {
		c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	noWait := noWaitFlag(c)
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		if ask != "" {
			if err := a.Confirm(yes, "%s", ask); err != nil {
				return nil, err
			}
		}
		client, err := clusters(s)
		if err != nil {
			return nil, err
		}
		poller, err := begin(ctx, client, n)
		if *noWait {
			return nil, err
		}
		_, err = azure.Wait(ctx, s, what+" "+*n.name, poller, err)
		return nil, err
	})
	return c
}

func newRotate(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "rotate-certs", Short: "Renew a cluster's certificates: old kubeconfigs of its local administrator end"}
	return action(a, c, "Renewing the certificates of", "Kubernetes will be unavailable while certificates are rotated, and kubeconfigs with old certificates end. Go on?",
		func(ctx context.Context, k *armcontainerservice.ManagedClustersClient, n named) (*runtime.Poller[armcontainerservice.ManagedClustersClientRotateClusterCertificatesResponse], error) {
			return k.BeginRotateClusterCertificates(ctx, *n.group, *n.name, nil)
		})
}

func newIssuer(a *azure.App) *cobra.Command {
	group := &cobra.Command{Use: "oidc-issuer", Short: "Manage the issuer of service account tokens"}
	c := &cobra.Command{Use: "rotate-signing-keys", Short: "Renew the keys that sign service account tokens"}
	group.AddCommand(action(a, c, "Renewing the signing keys of", "Be careful: service account tokens that were signed before end after the second rotation. Go on?",
		func(ctx context.Context, k *armcontainerservice.ManagedClustersClient, n named) (*runtime.Poller[armcontainerservice.ManagedClustersClientRotateServiceAccountSigningKeysResponse], error) {
			return k.BeginRotateServiceAccountSigningKeys(ctx, *n.group, *n.name, nil)
		}))
	return group
}

func newPower(a *azure.App, use, verb string) *cobra.Command {
	c := &cobra.Command{Use: use, Short: verb + " a cluster"}
	if use == "start" {
		return action(a, c, "Starting", "", func(ctx context.Context, k *armcontainerservice.ManagedClustersClient, n named) (*runtime.Poller[armcontainerservice.ManagedClustersClientStartResponse], error) {
			return k.BeginStart(ctx, *n.group, *n.name, nil)
		})
	}
	return action(a, c, "Stopping", "", func(ctx context.Context, k *armcontainerservice.ManagedClustersClient, n named) (*runtime.Poller[armcontainerservice.ManagedClustersClientStopResponse], error) {
		return k.BeginStop(ctx, *n.group, *n.name, nil)
	})
}

func newScale(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "scale", Short: "Change the number of nodes"}
	n := nameFlags(a, c)
	count, pool := c.Flags().Int32P("node-count", "c", 0, "number of nodes"), c.Flags().String("nodepool-name", "", "node pool (default: the only one)")
	noWait := noWaitFlag(c)
	azure.Require(c, "node-count")
	a.Run(c, clusterTable, func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := clusters(s)
		if err != nil {
			return nil, err
		}
		there, err := client.Get(ctx, *n.group, *n.name, nil)
		if err != nil {
			return nil, err
		}
		pools := there.Properties.AgentPoolProfiles
		if len(pools) > 1 && *pool == "" {
			return nil, azure.Usagef("the cluster has several node pools: name one with --nodepool-name")
		}
		for _, p := range pools {
			if *pool == "" || *p.Name == *pool {
				p.Count = count
				return put(ctx, s, n, there.ManagedCluster, "Scaling", *noWait)
			}
		}
		return nil, errs.New(errs.NotFound, "The cluster has no node pool '%s'.", *pool)
	})
	return c
}

func newVersions(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "get-versions", Short: "List the versions of Kubernetes in a region"}
	location := c.Flags().StringP("location", "l", "", "region")
	azure.Require(c, "location")
	a.Complete(c, "location", azure.LocationNames)
	a.Run(c, "[].values[].{KubernetesVersion:version, Default:isDefault}", func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := clusters(s)
		if err != nil {
			return nil, err
		}
		v, err := client.ListKubernetesVersions(ctx, *location, nil)
		if err != nil {
			return nil, err
		}
		return shape.Nested(v.KubernetesVersionListResult)
	})
	return c
}

func newUpgrades(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "get-upgrades", Short: "List the versions of Kubernetes that a cluster can be upgraded to"}
	n := nameFlags(a, c)
	a.Run(c, "[].{Name:name, ResourceGroup:resourceGroup, MasterVersion:controlPlaneProfile.kubernetesVersion}", func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := clusters(s)
		if err != nil {
			return nil, err
		}
		v, err := client.GetUpgradeProfile(ctx, *n.group, *n.name, nil)
		if err != nil {
			return nil, err
		}
		return shape.Resource(v.ManagedClusterUpgradeProfile)
	})
	return c
}

func newWait(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "wait", Short: "Wait until a cluster is there, is changed, or is gone"}
	n := nameFlags(a, c)
	f := c.Flags()
	created, updated := f.Bool("created", false, "until it is made"), f.Bool("updated", false, "until its change has ended")
	deleted, exists := f.Bool("deleted", false, "until it is gone"), f.Bool("exists", false, "until it is there, whatever its state")
	interval, timeout := f.Int("interval", 30, "seconds between two looks"), f.Int("timeout", 3600, "seconds until it is given up")
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		if !*created && !*updated && !*deleted && !*exists {
			return nil, azure.Usagef("give one of --created, --updated, --deleted and --exists")
		}
		if *interval < 1 || *timeout < 1 {
			return nil, azure.Usagef("--interval and --timeout are at least 1")
		}
		client, err := clusters(s)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, time.Duration(*timeout)*time.Second)
		defer cancel()
		for {
			k, err := client.Get(ctx, *n.group, *n.name, nil)
			switch {
			case azure.IsNotFound(err):
				if *deleted {
					return nil, nil
				}
			case err != nil:
				return nil, err
			case *exists:
				return nil, nil
			case *created || *updated:
				switch state := *k.Properties.ProvisioningState; state {
				case "Succeeded":
					return nil, nil
				case "Failed", "Canceled":
					return nil, errs.New(errs.Conflict, "The operation on the cluster %s: %s. See 'entrance aks show'.", *n.name, state)
				}
			}
			select {
			case <-ctx.Done():
				return nil, errs.Wrap(errs.Unavailable, ctx.Err(), "Wait operation timed-out after %d seconds", *timeout)
			case <-time.After(time.Duration(*interval) * time.Second):
			}
		}
	})
	return c
}
