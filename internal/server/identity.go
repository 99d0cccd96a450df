package server

import (
	"context"
	"net/netip"
	"slices"

	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/imds"
	"github.com/entrance-id/entrance/internal/oauth"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// machineName is the resource that the managed identity listener stands for.
const machineName = "this-machine"

// newMachineIdentity returns the system-assigned identity of this machine.
func newMachineIdentity(sample *Sample) *directory.ServicePrincipal {
	p := state.NewServicePrincipal(sample.Tenant, &directory.Application{
		AppID: directory.AppID(directory.NewGUID()), DisplayName: machineName,
	}, sample.now)
	p.Type = "ManagedIdentity"
	p.AlternativeNames = machineNames(sample.Subscription)
	return p
}

// machineNames says what the machine's identity is assigned to, in the form that
// service principals have it in.
func machineNames(subscription string) []string {
	return []string{"isExplicit=False", "/subscriptions/" + subscription + "/resourceGroups/" + sampleGroup + "/providers/Microsoft.Compute/virtualMachines/" + machineName}
}

// machine finds what the managed identity listener stands for: the identity of
// this machine, and the subscription whose user-assigned identities it has. It
// looks at each request, since the sample may be deleted while the server runs.
type machine struct {
	store *store.Store
	tells func() Status
}

// Source implements imds.Sources.
func (m machine) Source(ctx context.Context, remote, local netip.AddrPort) (*imds.Resource, error) {
	return m.find().Source(ctx, remote, local)
}

func (m machine) find() *imds.Machine {
	st := m.tells()
	found := &imds.Machine{Store: m.store, Tenant: st.TenantID, Subscription: st.SubscriptionID}
	// By what it is assigned to: anybody may give an identity of theirs its name.
	names := machineNames(st.SubscriptionID)
	for p := range state.ServicePrincipals.Where(m.store.View(), "display", string(st.TenantID)+"/"+machineName) {
		if p.Type == "ManagedIdentity" && slices.Equal(p.AlternativeNames, names) {
			found.System = p.ID
		}
	}
	return found
}

// managedTokens issues tokens through the identity provider.
type managedTokens struct{ provider *oauth.Provider }

// Issue implements imds.Tokens.
func (t managedTokens) Issue(ctx context.Context, tenant directory.TenantID, id directory.ObjectID, resource string) (imds.Token, error) {
	m, err := t.provider.IssueManagedIdentity(ctx, tenant, id, resource)
	return imds.Token{Text: m.Text, NotBefore: m.NotBefore, Expires: m.Expires, Resource: m.Audience}, err
}

// clusterKeys knows the keys of the clusters' service account tokens.
type clusterKeys struct {
	manager *cluster.Manager
	reach   *reach
}

// ClusterKeys implements issuer.ClusterKeys.
func (k clusterKeys) ClusterKeys(ctx context.Context, c *state.Cluster) ([]byte, error) {
	if c.Connected {
		return k.reach.connectedKeys(ctx, c)
	}
	found, err := k.manager.Get(c.Key)
	if err != nil {
		return nil, err
	}
	return found.JWKS()
}
