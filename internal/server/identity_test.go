package server

import (
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

// TestMachineByAssignment: an identity that somebody has given the machine's name
// does not become the machine's (abuse case 29: for another identity).
func TestMachineByAssignment(t *testing.T) {
	kept := storetest.Open(t, state.Tables()...)
	sample := &Sample{Tenant: "t", Subscription: "s", now: time.Now()}
	own := newMachineIdentity(sample)
	all := []*directory.ServicePrincipal{own}
	for _, names := range [][]string{
		nil, {"isExplicit=True", "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + machineName},
		{"isExplicit=False", "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/" + machineName},
		{"isExplicit=False", "/subscriptions/other/resourceGroups/sample/providers/Microsoft.Compute/virtualMachines/" + machineName},
	} {
		p := newMachineIdentity(sample)
		p.AlternativeNames = names
		all = append(all, p)
	}
	for _, p := range all {
		if err := kept.Update(t.Context(), func(tx *store.Tx) error { return state.ServicePrincipals.Create(tx, p) }); err != nil {
			t.Fatal(err)
		}
	}
	m := machine{kept, func() Status { return Status{TenantID: sample.Tenant, SubscriptionID: sample.Subscription} }}
	if got := m.find().System; got != own.ID {
		t.Errorf("the machine's identity is %s, want %s", got, own.ID)
	}
}

// TestNoIMDS: without the endpoint nothing answers for it behind the proxy either.
func TestNoIMDS(t *testing.T) {
	for _, off := range []bool{false, true} {
		s, err := Start(t.Context(), Config{DataDir: filepath.Join(t.TempDir(), "data"), Sample: true, Proxy: true, NoIMDS: off, UnsafeNoFsync: true})
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := url.Parse(s.Status().Endpoints.Proxy)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodGet, "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Metadata", "true")
		res, err := (&http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if (res.StatusCode == http.StatusOK) == off {
			t.Errorf("switched off: %v, HTTP %d", off, res.StatusCode)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
