package arm_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// benchWorld has n clusters and as many vaults in one group.
func benchWorld(b *testing.B, n int) (*world, string) {
	w := newWorld(b)
	g := w.newResourceGroup("rg")
	for i := 0; i < n; i += 50 {
		w.update(func(tx *store.Tx) error {
			for j := i; j < min(i+50, n); j++ {
				for _, typ := range []string{"Microsoft.ContainerService/managedClusters", "Microsoft.KeyVault/vaults"} {
					id := fmt.Sprintf("%s/providers/%s/r%05d", g, typ, j)
					err := state.Resources.Create(tx, &state.Resource{
						ID: id, Type: typ, Subscription: w.sub, Group: "rg", Name: fmt.Sprintf("r%05d", j),
						Body: fmt.Appendf(nil, `{"id":%q,"name":"r%05d","type":%q,"location":"eastus","properties":{"provisioningState":"Succeeded","fqdn":"x.hcp.eastus.azmk8s.io","agentPoolProfiles":[{"name":"nodepool1","count":3,"vmSize":"Standard_DS2_v2","mode":"System"}],"aadProfile":{"managed":true,"enableAzureRBAC":true,"adminGroupObjectIDs":["%s"]}}}`, id, j, typ, w.group),
					})
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return w, g
}

func (w *world) get(b *testing.B, path string) int {
	r := httptest.NewRequest("GET", baseURL+path, nil)
	r.Header.Set("Authorization", "Bearer "+string(w.tenant)+"/"+string(w.olga))
	rec := httptest.NewRecorder()
	w.service.ServeHTTP(rec, r)
	if rec.Code != http.StatusOK {
		b.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return rec.Body.Len()
}

func BenchmarkList(b *testing.B) {
	w, g := benchWorld(b, 1000)
	for name, path := range map[string]string{
		"clusters-1000":  "/subscriptions/" + w.sub + "/providers/Microsoft.ContainerService/managedClusters",
		"resources-2000": "/subscriptions/" + w.sub + "/resources",
		"groups-1":       "/subscriptions/" + w.sub + "/resourcegroups",
		"one-cluster":    g + "/providers/Microsoft.ContainerService/managedClusters/r00500",
		"roles":          "/subscriptions/" + w.sub + "/providers/Microsoft.Authorization/roleDefinitions",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.SetBytes(int64(w.get(b, path+"?api-version=2025-03-01")))
			}
		})
	}
}
