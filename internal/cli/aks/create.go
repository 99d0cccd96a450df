package aks

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
)

// features are the flags that create and update have in common.
type features struct {
	aad, azureRBAC, noLocal, oidc, workload bool
	groups, tenant                          string
	assign                                  string
	tags                                    *azure.Words
}

func newFeatures(c *cobra.Command) *features {
	f, x := c.Flags(), &features{}
	f.BoolVar(&x.aad, "enable-aad", false, "let people sign in with Microsoft Entra ID")
	f.StringVar(&x.groups, "aad-admin-group-object-ids", "", "object ids of groups that may do everything, with commas between")
	f.StringVar(&x.tenant, "aad-tenant-id", "", "tenant that people sign in to (default: the subscription's)")
	f.BoolVar(&x.azureRBAC, "enable-azure-rbac", false, "let Azure RBAC decide on the cluster, beside Kubernetes RBAC")
	f.BoolVar(&x.noLocal, "disable-local-accounts", false, "have no local administrator")
	f.BoolVar(&x.oidc, "enable-oidc-issuer", false, "publish the issuer of the cluster's service account tokens")
	f.BoolVar(&x.workload, "enable-workload-identity", false, "let pods sign in as managed identities and applications")
	f.StringVar(&x.assign, "assign-identity", "", "resource id of the managed identity that the cluster works as")
	x.tags = azure.WordsFlag(c, "tags", "tags: key=value, several with spaces between")
	return x
}

func newCreate(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "create", Short: "Make a cluster",
		Example: `  entrance aks create -g web -n web --enable-aad --aad-admin-group-object-ids GROUP-ID
  entrance aks create -g web -n web --enable-aad --enable-azure-rbac --disable-local-accounts --enable-oidc-issuer`,
	}
	n, x := nameFlags(a, c), newFeatures(c)
	f := c.Flags()
	location := f.StringP("location", "l", "", "region (default: the resource group's)")
	version := f.StringP("kubernetes-version", "k", "", "version of Kubernetes (default: the newest that is ready)")
	dns := f.StringP("dns-name-prefix", "p", "", "prefix of the cluster's host name (default: of its names)")
	count := f.Int32P("node-count", "c", 3, "number of nodes")
	size := f.StringP("node-vm-size", "s", "Standard_DS2_v2", "size of nodes")
	pool := f.String("nodepool-name", "nodepool1", "name of the first node pool")
	nodeGroup := f.String("node-resource-group", "", "resource group for what the cluster is made of")
	noRBAC := f.Bool("disable-rbac", false, "have no Kubernetes RBAC")
	ssh := newSSHFlags(c)
	sp, secret := f.String("service-principal", "", "application that the cluster works as, in place of an identity"), f.String("client-secret", "", "its secret")
	old := newLegacyFlags(c)
	// az has these; here there is nothing to ask, and an identity is the default.
	f.BoolP("yes", "y", false, "for az's sake: nothing changes")
	f.Bool("enable-managed-identity", false, "for az's sake: nothing changes")
	f.Lookup("yes").Hidden, f.Lookup("enable-managed-identity").Hidden = true, true
	noWait := noWaitFlag(c)
	a.Complete(c, "location", azure.LocationNames)
	a.Run(c, clusterTable, func(ctx context.Context, s *azure.Session) (any, error) {
		if err := x.check(old); err != nil {
			return nil, err
		}
		if (*sp == "") != (*secret == "") {
			return nil, azure.Usagef("--service-principal and --client-secret go together")
		}
		if *location == "" {
			var err error
			if *location, err = s.GroupLocation(ctx, *n.group); err != nil {
				return nil, err
			}
		}
		if *dns == "" {
			*dns = prefix(*n.name, *n.group, s.Subscription.ID)
		}
		p := &armcontainerservice.ManagedClusterProperties{
			DNSPrefix: dns, EnableRBAC: to.Ptr(!*noRBAC), DisableLocalAccounts: &x.noLocal, KubernetesVersion: version,
			AgentPoolProfiles: []*armcontainerservice.ManagedClusterAgentPoolProfile{{
				Name: pool, Count: count, VMSize: size, Mode: to.Ptr(armcontainerservice.AgentPoolModeSystem),
				OSType: to.Ptr(armcontainerservice.OSTypeLinux), Type: to.Ptr(armcontainerservice.AgentPoolTypeVirtualMachineScaleSets),
			}},
		}
		if *nodeGroup != "" {
			p.NodeResourceGroup = nodeGroup
		}
		if err := ssh.add(p, s); err != nil {
			return nil, err
		}
		k := armcontainerservice.ManagedCluster{Location: location, Properties: p}
		if x.tags.Set {
			k.Tags = x.tags.Map()
		}
		switch {
		case *sp != "":
			p.ServicePrincipalProfile = &armcontainerservice.ManagedClusterServicePrincipalProfile{ClientID: sp, Secret: secret}
		default:
			k.Identity = identity(x.assign)
		}
		if x.aad {
			p.AADProfile = &armcontainerservice.ManagedClusterAADProfile{Managed: to.Ptr(true), EnableAzureRBAC: &x.azureRBAC, AdminGroupObjectIDs: ids(x.groups)}
			if x.tenant != "" {
				p.AADProfile.TenantID = &x.tenant
			}
		}
		old.add(p, x.tenant)
		if x.oidc {
			p.OidcIssuerProfile = &armcontainerservice.ManagedClusterOIDCIssuerProfile{Enabled: to.Ptr(true)}
		}
		if x.workload {
			setWorkload(p, true)
		}
		return put(ctx, s, n, k, "Making", *noWait)
	})
	return c
}

// check refuses what az refuses before it asks anybody.
func (x *features) check(old *legacy) error {
	switch {
	case !x.aad && x.groups != "":
		return azure.Usagef(`--aad-admin-group-object-ids needs --enable-aad`)
	case !x.aad && x.azureRBAC:
		return azure.Usagef(`--enable-azure-rbac needs --enable-aad`)
	case x.aad && old.given():
		return azure.Usagef(`"--enable-aad" cannot be used together with --aad-client-app-id, --aad-server-app-id and --aad-server-app-secret`)
	case !x.aad && !old.given() && x.tenant != "":
		return azure.Usagef(`--aad-tenant-id needs --enable-aad`)
	}
	return nil
}

// identity is the managed identity of a cluster: the one that is named, or one
// of its own.
func identity(id string) *armcontainerservice.ManagedClusterIdentity {
	if id == "" {
		return &armcontainerservice.ManagedClusterIdentity{Type: to.Ptr(armcontainerservice.ResourceIdentityTypeSystemAssigned)}
	}
	return &armcontainerservice.ManagedClusterIdentity{
		Type:                   to.Ptr(armcontainerservice.ResourceIdentityTypeUserAssigned),
		UserAssignedIdentities: map[string]*armcontainerservice.ManagedServiceIdentityUserAssignedIdentitiesValue{id: {}},
	}
}

func setWorkload(p *armcontainerservice.ManagedClusterProperties, on bool) {
	if p.SecurityProfile == nil {
		p.SecurityProfile = &armcontainerservice.ManagedClusterSecurityProfile{}
	}
	p.SecurityProfile.WorkloadIdentity = &armcontainerservice.ManagedClusterSecurityProfileWorkloadIdentity{Enabled: &on}
}

// legacy are the flags of the integration with a server and a client
// application of the cluster's own, which AKS has retired.
type legacy struct{ server, secret, client string }

func newLegacyFlags(c *cobra.Command) *legacy {
	l := &legacy{}
	f := c.Flags()
	f.StringVar(&l.server, "aad-server-app-id", "", "server application of the legacy integration")
	f.StringVar(&l.secret, "aad-server-app-secret", "", "its secret")
	f.StringVar(&l.client, "aad-client-app-id", "", "client application of the legacy integration")
	return l
}

func (l *legacy) given() bool { return l.server != "" || l.secret != "" || l.client != "" }

func (l *legacy) add(p *armcontainerservice.ManagedClusterProperties, tenant string) {
	if l.given() {
		p.AADProfile = l.profile(tenant)
	}
}

func (l *legacy) profile(tenant string) *armcontainerservice.ManagedClusterAADProfile {
	p := &armcontainerservice.ManagedClusterAADProfile{ServerAppID: &l.server, ServerAppSecret: &l.secret, ClientAppID: &l.client}
	if tenant != "" {
		p.TenantID = &tenant
	}
	return p
}
