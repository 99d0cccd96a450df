package imds_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/imds"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

const subscription = "55555555-5555-5555-5555-55555555AAAA"

func resourceID(name string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
}

// put stores a managed identity's service principal and, for a user-assigned
// one, its resource.
func put(t testing.TB, s *store.Store, id imds.Identity, kind string, change func(properties map[string]any)) {
	t.Helper()
	err := s.Update(context.Background(), func(tx *store.Tx) error {
		if err := state.ServicePrincipals.Create(tx, &directory.ServicePrincipal{
			Tenant: id.Tenant, ID: id.ServicePrincipal, AppID: id.ClientID, Type: kind, Enabled: true,
		}); err != nil || id.ResourceID == "" {
			return err
		}
		properties := map[string]any{"tenantId": id.Tenant, "principalId": id.ServicePrincipal, "clientId": id.ClientID}
		if change != nil {
			change(properties)
		}
		body, err := json.Marshal(map[string]any{"properties": properties})
		if err != nil {
			return err
		}
		return state.Resources.Create(tx, &state.Resource{
			ID: id.ResourceID, Type: "Microsoft.ManagedIdentity/userAssignedIdentities", Subscription: strings.Split(id.ResourceID, "/")[2],
			Group: "rg", Name: id.ResourceID[strings.LastIndexByte(id.ResourceID, '/')+1:], Body: body,
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func fresh(resource string) imds.Identity {
	return imds.Identity{
		Tenant: tenant, ServicePrincipal: directory.ObjectID(directory.NewGUID()),
		ClientID: directory.AppID(directory.NewGUID()), ResourceID: resource,
	}
}

func TestMachine(t *testing.T) {
	s := storetest.Open(t, state.Tables()...)
	own, one, two := fresh(""), fresh(resourceID("one")), fresh(resourceID("two"))
	put(t, s, own, "ManagedIdentity", nil)
	put(t, s, one, "ManagedIdentity", nil)
	put(t, s, two, "ManagedIdentity", nil)
	// None of these is the machine's.
	put(t, s, fresh(strings.Replace(resourceID("three"), subscription, "66666666-6666-6666-6666-666666666666", 1)), "ManagedIdentity", nil)
	put(t, s, fresh(resourceID("application")), "Application", nil)
	put(t, s, fresh(resourceID("gone")), "ManagedIdentity", func(p map[string]any) { p["principalId"] = directory.NewGUID() })
	put(t, s, fresh(resourceID("forged")), "ManagedIdentity", func(p map[string]any) { p["principalId"] = own.ServicePrincipal })
	put(t, s, fresh(resourceID("broken")), "ManagedIdentity", func(p map[string]any) { p["clientId"] = 7 })
	put(t, s, fresh(resourceID("unfinished")), "ManagedIdentity", func(p map[string]any) { delete(p, "clientId") })

	here := netip.MustParseAddrPort("127.0.0.1:5000")
	sorted := cmpopts.SortSlices(func(a, b imds.Identity) bool { return a.ResourceID < b.ResourceID })
	m := &imds.Machine{Store: s, Tenant: tenant, System: own.ServicePrincipal, Subscription: strings.ToLower(subscription)}
	got, err := m.Source(context.Background(), here, here)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&imds.Resource{System: &own, Assigned: []imds.Identity{one, two}}, got, sorted); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	m.Subscription = ""
	if got, err = m.Source(context.Background(), here, here); err != nil || got.System == nil || len(got.Assigned) != 0 {
		t.Errorf("switched off: %+v, %v", got, err)
	}
	m.System, m.Subscription = "", subscription
	if got, err = m.Source(context.Background(), here, here); err != nil || got.System != nil || len(got.Assigned) != 2 {
		t.Errorf("without a system-assigned identity: %+v, %v", got, err)
	}
	// A deleted identity is gone with the next request.
	if err := s.Update(context.Background(), func(tx *store.Tx) error {
		return state.Delete(tx, tenant, one.ServicePrincipal, now)
	}); err != nil {
		t.Fatal(err)
	}
	if got, err = m.Source(context.Background(), here, here); err != nil || slices.Contains(got.Assigned, one) {
		t.Errorf("after its deletion: %+v, %v", got, err)
	}
}

func TestMachineKnowsItself(t *testing.T) {
	m := &imds.Machine{Store: storetest.Open(t, state.Tables()...)}
	for _, tc := range []struct {
		remote, local string
		ok            bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.9", "127.0.0.1", true},
		{"::1", "::1", true},
		{"169.254.169.254", "169.254.169.254", true},

		{"10.244.0.7", "169.254.169.254", false},
		{"10.244.0.7", "127.0.0.1", false},
		{"192.168.1.5", "192.168.1.5", false},
		{"169.254.169.254", "192.168.1.5", false},
		{"169.254.169.253", "169.254.169.253", false},
		{"fe80::1", "fe80::1", false},
	} {
		_, err := m.Source(context.Background(), netip.AddrPortFrom(netip.MustParseAddr(tc.remote), 1), netip.AddrPortFrom(netip.MustParseAddr(tc.local), 2))
		if (err == nil) != tc.ok || err != nil && !errs.Is(err, errs.NotFound) {
			t.Errorf("from %s to %s: %v", tc.remote, tc.local, err)
		}
	}
}
