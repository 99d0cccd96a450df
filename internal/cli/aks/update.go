package aks

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
)

// ids are object ids with commas between.
func ids(text string) []*string {
	list := []*string{}
	for id := range strings.SplitSeq(text, ",") {
		if id = strings.TrimSpace(id); id != "" {
			list = append(list, &id)
		}
	}
	return list
}

// opposites are the flags of update that take back what those of features do.
type opposites struct{ azureRBAC, local, workload, identity bool }

func newOpposites(c *cobra.Command) *opposites {
	f, o := c.Flags(), &opposites{}
	f.BoolVar(&o.azureRBAC, "disable-azure-rbac", false, "let Kubernetes RBAC decide alone")
	f.BoolVar(&o.local, "enable-local-accounts", false, "have a local administrator again")
	f.BoolVar(&o.local, "enable-local", false, "")
	f.Lookup("enable-local").Hidden = true // az takes the beginning of a flag for it, and a document has this one
	f.BoolVar(&o.workload, "disable-workload-identity", false, "no longer let pods sign in")
	f.BoolVar(&o.identity, "enable-managed-identity", false, "work as a managed identity instead of a service principal")
	return o
}

// changes are the flags one of which an update needs.
var changes = []string{"enable-aad", "aad-admin-group-object-ids", "aad-tenant-id", "enable-azure-rbac", "disable-azure-rbac", "disable-local-accounts",
	"enable-local-accounts", "enable-local", "enable-oidc-issuer", "enable-workload-identity", "disable-workload-identity", "enable-managed-identity", "assign-identity", "tags"}

func newUpdate(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "update", Short: "Change a cluster",
		Example: `  entrance aks update -g web -n web --enable-aad --aad-admin-group-object-ids GROUP-ID,GROUP-ID
  entrance aks update -g web -n web --disable-local-accounts`,
	}
	n, x, off := nameFlags(a, c), newFeatures(c), newOpposites(c)
	c.Flags().BoolP("yes", "y", false, "for az's sake: there is nothing to ask")
	c.Flags().Lookup("yes").Hidden = true
	noWait := noWaitFlag(c)
	a.Run(c, clusterTable, func(ctx context.Context, s *azure.Session) (any, error) {
		if !azure.Changed(c.Flags(), changes...) {
			return nil, azure.Usagef("nothing to change: give at least one of --%s", strings.Join(changes[:len(changes)-1], ", --"))
		}
		for _, pair := range []struct {
			both bool
			a, b string
		}{
			{x.azureRBAC && off.azureRBAC, "--enable-azure-rbac", "--disable-azure-rbac"},
			{x.noLocal && off.local, "--disable-local-accounts", "--enable-local-accounts"},
			{x.workload && off.workload, "--enable-workload-identity", "--disable-workload-identity"},
		} {
			if pair.both {
				return nil, azure.Usagef("%s and %s exclude each other", pair.a, pair.b)
			}
		}
		client, err := clusters(s)
		if err != nil {
			return nil, err
		}
		there, err := client.Get(ctx, *n.group, *n.name, nil)
		if err != nil {
			return nil, err
		}
		k := there.ManagedCluster
		if err := x.apply(c, k.Properties, off); err != nil {
			return nil, err
		}
		if x.tags.Set {
			k.Tags = x.tags.Map()
		}
		if x.assign != "" || off.identity {
			k.Identity = identity(x.assign)
			if off.identity {
				k.Properties.ServicePrincipalProfile = &armcontainerservice.ManagedClusterServicePrincipalProfile{ClientID: to.Ptr("msi")}
			}
		}
		return put(ctx, s, n, k, "Changing", *noWait)
	})
	return c
}

// apply changes a cluster as the flags say. What az refuses itself is refused
// with az's texts.
func (x *features) apply(c *cobra.Command, p *armcontainerservice.ManagedClusterProperties, off *opposites) error {
	managed := p.AADProfile != nil && p.AADProfile.Managed != nil && *p.AADProfile.Managed
	given := c.Flags().Changed
	if x.aad {
		if managed {
			return azure.Usagef(`Cannot specify "--enable-aad" if managed AAD is already enabled. Change it with --aad-admin-group-object-ids and the like alone`)
		}
		// An upgrade of the legacy integration drops its applications.
		p.AADProfile = &armcontainerservice.ManagedClusterAADProfile{Managed: to.Ptr(true)}
		managed = true
	}
	for _, flag := range []string{"aad-admin-group-object-ids", "aad-tenant-id", "enable-azure-rbac", "disable-azure-rbac"} {
		if given(flag) && !managed {
			return azure.Usagef(`Cannot specify "--%s" if managed AAD is not enabled. Enable it with --enable-aad`, flag)
		}
	}
	if given("aad-admin-group-object-ids") {
		p.AADProfile.AdminGroupObjectIDs = ids(x.groups)
	}
	if x.tenant != "" {
		p.AADProfile.TenantID = &x.tenant
	}
	if x.azureRBAC || off.azureRBAC {
		p.AADProfile.EnableAzureRBAC = to.Ptr(x.azureRBAC)
	}
	if x.noLocal || off.local {
		p.DisableLocalAccounts = to.Ptr(x.noLocal)
	}
	if x.oidc {
		p.OidcIssuerProfile = &armcontainerservice.ManagedClusterOIDCIssuerProfile{Enabled: to.Ptr(true)}
	}
	if x.workload || off.workload {
		setWorkload(p, x.workload)
	}
	return nil
}

func newUpdateCredentials(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "update-credentials", Short: "Give a cluster another service principal, or other applications of the legacy integration"}
	n, old := nameFlags(a, c), newLegacyFlags(c)
	f := c.Flags()
	resetSP, resetAAD := f.Bool("reset-service-principal", false, "another service principal"), f.Bool("reset-aad", false, "other applications of the legacy integration")
	sp, secret, tenant := f.String("service-principal", "", "application that the cluster works as"), f.String("client-secret", "", "its secret"), f.String("aad-tenant-id", "", "tenant of the applications")
	noWait := noWaitFlag(c)
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := clusters(s)
		if err != nil {
			return nil, err
		}
		switch {
		case *resetSP == *resetAAD:
			return nil, azure.Usagef("give one of --reset-service-principal and --reset-aad")
		case *resetSP && (*sp == "" || *secret == ""):
			return nil, azure.Usagef("--reset-service-principal needs --service-principal and --client-secret")
		case *resetSP:
			poller, err := client.BeginResetServicePrincipalProfile(ctx, *n.group, *n.name, armcontainerservice.ManagedClusterServicePrincipalProfile{ClientID: sp, Secret: secret}, nil)
			if *noWait {
				return nil, err
			}
			_, err = azure.Wait(ctx, s, "Changing the credentials of "+*n.name, poller, err)
			return nil, err
		case old.server == "" || old.secret == "" || old.client == "":
			return nil, azure.Usagef("--reset-aad needs --aad-server-app-id, --aad-server-app-secret and --aad-client-app-id")
		}
		poller, err := client.BeginResetAADProfile(ctx, *n.group, *n.name, *old.profile(*tenant), nil)
		if *noWait {
			return nil, err
		}
		_, err = azure.Wait(ctx, s, "Changing the credentials of "+*n.name, poller, err)
		return nil, err
	})
	return c
}
