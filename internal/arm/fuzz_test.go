package arm_test

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
)

// FuzzResourceID: what is read as an id is written as the same scope, and is
// never read twice.
func FuzzResourceID(f *testing.F) {
	for _, s := range []string{
		"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv",
		"/subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/RG/providers/a.b/c/d/e/f",
		"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/a.b/c/d/providers/e.f/g/h",
		"/subscriptions/x", "//", "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/../providers/a.b/c/d", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := wire.ParseID(s)
		if err != nil {
			return
		}
		a, err := rbac.ParseScope(s)
		if err != nil {
			t.Fatalf("%q is an id, but no scope: %v", s, err)
		}
		b, err := rbac.ParseScope(id.String())
		if err != nil || !a.Equal(b) {
			t.Fatalf("%q is written as %q", s, id)
		}
		if len(id.Names) != strings.Count(id.Type, "/") || id.Name() == "" || id.Group == "" {
			t.Fatalf("%q is read as %+v", s, id)
		}
		if p := id.Parent(); p != "" {
			if _, err := wire.ParseID(p); err != nil {
				t.Fatalf("the parent of %q cannot be read: %v", s, err)
			}
		}
	})
}

// FuzzRequest: no path and no body makes the service panic, answer 5xx, or let a
// caller without access change something (abuse case 38).
func FuzzRequest(f *testing.F) {
	// The embedded etcd works beside the target in the same process, so inputs
	// look new that are not: the fuzzer would spend up to a minute on making each
	// of them smaller.
	if err := flag.Set("test.fuzzminimizetime", "20x"); err != nil {
		f.Fatal(err)
	}
	w := newWorld(f, func(w *world) { // the same ids each time, for the corpus
		w.tenant, w.sub = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-000000000001"
	})
	w.newResourceGroup("rg")
	sub := "/subscriptions/" + w.sub
	for _, s := range []struct{ path, body string }{
		{sub + "/resourceGroups/rg", `{"location":"eastus"}`},
		{sub + "/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/web", `{"location":"eastus","identity":{"type":"SystemAssigned"},"properties":{"aadProfile":{"managed":true},"agentPoolProfiles":[{"name":"a","count":1}]}}`},
		{sub + "/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/web", `{"location":"eastus","identity":null,"properties":{"aadProfile":[],"agentPoolProfiles":[null,1]}}`},
		{sub + "/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-0000000000aa", `{"properties":{"roleDefinitionId":"/x","principalId":"y"}}`},
		{sub + "/providers/Microsoft.Authorization/roleDefinitions/00000000-0000-0000-0000-0000000000bb", `{"properties":{"permissions":[1],"assignableScopes":{}}}`},
		{sub + "/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app", `{"location":1,"tags":[]}`},
		{sub + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv/secrets/x", `{"properties":"x"}`},
		{"//subscriptions/../" + w.sub, "{}"}, {"/providers/Microsoft.Management/managementGroups/x", `{"properties":{"details":{"parent":{"id":"/"}}}}`},
	} {
		f.Add("PUT", s.path, s.body)
		f.Add("PATCH", s.path, s.body)
		f.Add("POST", s.path, s.body)
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		for _, who := range []directory.ObjectID{w.nina, w.olga} {
			before := w.store.View().Revision()
			r, err := http.NewRequest(method, baseURL+path, strings.NewReader(body))
			if err != nil || r.URL.Host != "entrance.test" {
				return
			}
			q := r.URL.Query()
			q.Set("api-version", "2025-03-01")
			r.URL.RawQuery = q.Encode()
			r.Header.Set("Authorization", "Bearer "+string(w.tenant)+"/"+string(who))
			rec := httptest.NewRecorder()
			w.service.ServeHTTP(rec, r)
			if rec.Code >= 500 {
				t.Fatalf("%s %q %q: %d %s", method, path, body, rec.Code, rec.Body)
			}
			if who == w.nina && w.store.View().Revision() != before && rec.Code < 300 {
				t.Fatalf("%s %q %q: a caller without access has changed something: %d %s", method, path, body, rec.Code, rec.Body)
			}
		}
	})
}
