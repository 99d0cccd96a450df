package imds

import (
	"context"
	"encoding/json"
	"net/netip"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// userAssigned is the type of user-assigned identities, folded.
const userAssigned = "microsoft.managedidentity/userassignedidentities"

// Machine is the one resource "this machine": what connects over the loopback
// interface runs here, and nothing else does.
type Machine struct {
	Store *store.Store
	// Tenant and System name the service principal of the system-assigned
	// identity; an empty System means that there is none.
	Tenant directory.TenantID
	System directory.ObjectID
	// Subscription is the subscription whose user-assigned identities are all
	// assigned to the machine; empty: none is.
	Subscription string
}

// Source returns the machine for connections that begin and end on it.
func (m *Machine) Source(_ context.Context, remote, local netip.AddrPort) (*Resource, error) {
	if !here(remote.Addr(), local.Addr()) {
		return nil, errs.New(errs.NotFound, "%s is not this machine.", remote.Addr())
	}
	view := m.Store.View()
	src := &Resource{}
	if m.System != "" {
		// Without its service principal the machine has no identity of its own.
		if p, err := state.ServicePrincipals.Get(view, state.Key(m.Tenant, m.System)); err == nil {
			src.System = &Identity{Tenant: p.Tenant, ServicePrincipal: p.ID, ClientID: p.AppID}
		}
	}
	if m.Subscription == "" {
		return src, nil
	}
	for r := range state.Resources.Where(view, "subscription", state.Fold(m.Subscription)+"/"+userAssigned) {
		if id, ok := identity(view, r); ok {
			src.Assigned = append(src.Assigned, id)
		}
	}
	return src, nil
}

// here tells whether both ends of a connection are on this machine. The
// endpoint's own address counts where it is set on the loopback interface: a
// connection from it to itself cannot come from elsewhere. Another address of
// the machine is no proof: address translation can put it on foreign traffic.
func here(remote, local netip.Addr) bool {
	return remote.IsLoopback() && local.IsLoopback() || remote == address && local == address
}

// identity reads a user-assigned identity. One whose service principal is gone
// is left out: it could only be refused later.
func identity(view store.Reader, r *state.Resource) (Identity, bool) {
	var doc struct {
		Properties struct {
			Tenant    string `json:"tenantId"`
			Principal string `json:"principalId"`
			Client    string `json:"clientId"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(r.Body, &doc); err != nil {
		return Identity{}, false
	}
	tenant, ok1 := directory.ParseGUID(doc.Properties.Tenant)
	principal, ok2 := directory.ParseGUID(doc.Properties.Principal)
	client, ok3 := directory.ParseGUID(doc.Properties.Client)
	if !ok1 || !ok2 || !ok3 {
		return Identity{}, false
	}
	p, err := state.ServicePrincipals.Get(view, state.Key(directory.TenantID(tenant), directory.ObjectID(principal)))
	// The document is only a copy of what the directory says.
	if err != nil || string(p.AppID) != client || p.Type != "ManagedIdentity" {
		return Identity{}, false
	}
	return Identity{Tenant: p.Tenant, ServicePrincipal: p.ID, ClientID: p.AppID, ResourceID: r.ID}, true
}
