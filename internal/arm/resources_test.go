package arm_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func TestTenantsAndSubscriptions(t *testing.T) {
	w := newWorld(t)
	a := w.call(w.olga, "GET", "/tenants?api-version=2019-11-01", nil).want(200)
	if a.get("value.0.tenantId") != string(w.tenant) || a.get("value.0.id") != "/tenants/"+string(w.tenant) || a.get("value.0.displayName") != "Contoso" {
		t.Errorf("%s", a.raw)
	}
	a = w.call(w.olga, "GET", "/subscriptions?api-version=2019-11-01", nil).want(200)
	for path, want := range map[string]any{
		"value.0.id": "/subscriptions/" + w.sub, "value.0.subscriptionId": w.sub, "value.0.tenantId": string(w.tenant),
		"value.0.displayName": "Test", "value.0.state": "Enabled",
	} {
		if got := a.get(path); got != want {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
	if a.get("value.0.managedByTenants") == nil {
		t.Error("no managedByTenants")
	}
	// Who has nothing sees nothing, and az says so.
	if got := w.call(w.nina, "GET", "/subscriptions", nil).want(200).list(); len(got) != 0 {
		t.Errorf("subscriptions %v", got)
	}
	w.call(w.nina, "GET", "/subscriptions/SUB", nil).refused(403, "AuthorizationFailed")
	// Access to one resource group shows the subscription.
	g := w.newResourceGroup("rg")
	w.assign(w.nina, reader, g)
	w.call(w.nina, "GET", "/subscriptions/SUB", nil).want(200)
	if got := w.call(w.nina, "GET", "/subscriptions", nil).want(200).list(); len(got) != 1 {
		t.Errorf("subscriptions %v", got)
	}
	if got := w.call(w.nina, "GET", "/subscriptions/SUB/locations", nil).want(200).names("name"); !slices.Contains(got, "westeurope") {
		t.Errorf("locations %v", got)
	}
	for _, path := range []string{"/providers", "/subscriptions/SUB/providers"} {
		if got := w.call(w.nina, "GET", path, nil).want(200).names("namespace"); !slices.Contains(got, "Microsoft.ContainerService") {
			t.Errorf("%s: %v", path, got)
		}
	}
	if got := w.call(w.olga, "POST", "/subscriptions/SUB/providers/microsoft.containerservice/register", nil).want(200).text("registrationState"); got != "Registered" {
		t.Errorf("registrationState %q", got)
	}
	w.call(w.olga, "GET", "/subscriptions/SUB/providers/Microsoft.Nonsense", nil).refused(404, "InvalidResourceNamespace")
	if got := w.call(w.olga, "POST", "/subscriptions/SUB/providers/Microsoft.Subscription/rename", object{"subscriptionName": "Other"}).want(200).text("subscriptionId"); got != w.sub {
		t.Errorf("%q", got)
	}
	if got := w.call(w.olga, "GET", "/subscriptions/SUB", nil).text("displayName"); got != "Other" {
		t.Errorf("name %q", got)
	}
}

func TestSubscriptionAlias(t *testing.T) {
	w := newWorld(t)
	path := "/providers/Microsoft.Subscription/aliases/second"
	body := object{"properties": object{"displayName": "Second", "workload": "Production"}}
	w.call(w.olga, "PUT", path, body).refused(403, "AuthorizationFailed")
	w.assign(w.nina, owner, "/providers/Microsoft.Management/managementGroups/"+string(w.tenant))
	a := w.call(w.nina, "PUT", path, body).want(201)
	second := a.text("properties.subscriptionId")
	if b := w.call(w.nina, "PUT", path, body).want(200); b.text("properties.subscriptionId") != second {
		t.Error("the same alias makes another subscription")
	}
	w.call(w.nina, "PUT", "/subscriptions/"+second+"/resourceGroups/rg", object{"location": "eastus"}).want(201)
	w.call(w.olga, "GET", "/subscriptions/"+second, nil).refused(403, "AuthorizationFailed")
	w.call(w.nina, "PUT", path+"x", object{"properties": object{}}).refused(400, "InvalidSubscriptionDisplayName")
}

func TestResourceGroups(t *testing.T) {
	w := newWorld(t)
	base := "/subscriptions/SUB/resourcegroups"
	a := w.call(w.olga, "PUT", base+"/rg", object{"location": "East US", "tags": object{"a": "b"}}).want(201)
	for path, want := range map[string]any{
		"id": "/subscriptions/" + w.sub + "/resourceGroups/rg", "name": "rg", "type": "Microsoft.Resources/resourceGroups",
		"location": "eastus", "properties.provisioningState": "Succeeded", "tags.a": "b",
	} {
		if got := a.get(path); got != want {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
	// The same group in other letters is the same group.
	if got := w.call(w.olga, "PUT", base+"/RG", object{"location": "eastus"}).want(200).text("name"); got != "rg" {
		t.Errorf("name %q", got)
	}
	w.call(w.olga, "PUT", base+"/rg", object{"location": "westus"}).refused(409, "InvalidResourceGroupLocation")
	w.call(w.olga, "PUT", base+"/rg2", object{}).refused(400, "LocationRequired")
	w.call(w.olga, "PUT", base+"/rg2", object{"location": "mars"}).refused(400, "LocationNotAvailableForResourceType")
	w.call(w.olga, "PUT", base+"/"+strings.Repeat("a", 91), object{"location": "eastus"}).refused(400, "InvalidResourceGroup")
	if got := w.call(w.olga, "PATCH", base+"/rg", object{"tags": object{"c": "d"}}).want(200).get("tags"); len(got.(object)) != 1 {
		t.Errorf("tags %v", got)
	}
	w.call(w.olga, "HEAD", base+"/rg", nil).want(204)
	if a := w.call(w.olga, "HEAD", base+"/none", nil).want(404); len(a.raw) != 0 {
		t.Errorf("a HEAD has a body: %s", a.raw)
	}
	w.call(w.olga, "GET", base+"/none", nil).refused(404, "ResourceGroupNotFound")
	w.newResourceGroup("rg2")
	if got := w.call(w.olga, "GET", base, nil).want(200).names("name"); !slices.Equal(got, []string{"rg", "rg2"}) {
		t.Errorf("groups %v", got)
	}
	if got := w.call(w.olga, "GET", base+"?$filter=tagName%20eq%20'c'%20and%20tagValue%20eq%20'd'", nil).want(200).names("name"); !slices.Equal(got, []string{"rg"}) {
		t.Errorf("groups with the tag %v", got)
	}
	// A list shows what the caller may read.
	w.assign(w.nina, reader, "/subscriptions/"+w.sub+"/resourceGroups/rg2")
	if got := w.call(w.nina, "GET", base, nil).want(200).names("name"); !slices.Equal(got, []string{"rg2"}) {
		t.Errorf("nina sees %v", got)
	}
}

// TestDeleteGroup deletes a group with everything in it, what runs included.
func TestDeleteGroup(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	near := w.newResourceGroup("rg1") // its id begins with that of rg
	w.newCluster(g, "web", clusterBody(nil))
	w.call(w.olga, "PUT", g+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app", object{"location": "eastus"}).want(201)
	w.call(w.olga, "PUT", g+"/providers/Microsoft.KeyVault/vaults/kv", object{"location": "eastus"}).want(201)
	w.call(w.olga, "PUT", near+"/providers/Microsoft.KeyVault/vaults/kv1", object{"location": "eastus"}).want(201)
	w.assign(w.nina, reader, g)
	w.assign(w.nina, reader, g+"/providers/Microsoft.KeyVault/vaults/kv")
	kept := w.assign(w.nina, reader, near)

	hold := make(chan struct{})
	w.fake.set(hold, nil) // the cluster takes its time
	a := w.call(w.olga, "DELETE", g, nil).want(202)
	if a.header.Get("Azure-Asyncoperation") != "" || a.header.Get("Retry-After") != "1" {
		t.Errorf("headers %v", a.header)
	}
	w.call(w.olga, "PUT", g+"/providers/Microsoft.KeyVault/vaults/late", object{"location": "eastus"}).refused(409, "ResourceGroupBeingDeleted")
	w.call(w.olga, "DELETE", g, nil).want(202)
	close(hold)
	w.follow(w.olga, a).want(200)
	w.call(w.olga, "GET", g, nil).refused(404, "ResourceGroupNotFound")
	if n := len(w.fake.running()); n != 0 {
		t.Errorf("%d clusters run", n)
	}
	for r := range state.Resources.All(w.store.View()) {
		if !strings.HasPrefix(r.ID, near) {
			t.Errorf("%s is left", r.ID)
		}
	}
	for sp := range state.ServicePrincipals.All(w.store.View()) {
		if sp.Type == "ManagedIdentity" {
			t.Errorf("%s is left", sp.DisplayName)
		}
	}
	var left []string
	for x := range state.AccessAssignments.Where(w.store.View(), "principal", string(w.tenant)+"/"+string(w.nina)) {
		left = append(left, x.Name)
	}
	if !slices.Equal(left, []string{kept}) {
		t.Errorf("access that is left: %v", left)
	}
	w.call(w.nina, "DELETE", near, nil).refused(403, "AuthorizationFailed")
}

func TestGenericResources(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	id := g + "/providers/Microsoft.KeyVault/vaults/kv"
	body := object{"location": "eastus", "tags": object{"a": "b"}, "sku": object{"name": "standard"}, "properties": object{"tenantId": string(w.tenant), "big": json.Number("12345678901234567890"), "list": []any{nil, 1.5}}}
	a := w.call(w.olga, "PUT", id, body).want(201)
	if a.text("id") != id || a.text("type") != "Microsoft.KeyVault/vaults" || a.text("properties.provisioningState") != "Succeeded" || !strings.Contains(string(a.raw), "12345678901234567890") {
		t.Errorf("%s", a.raw)
	}
	w.call(w.olga, "PUT", id, body).want(200)
	a = w.call(w.olga, "PATCH", id, object{"tags": object{"c": "d"}, "properties": object{"tenantId": nil, "more": true}}).want(200)
	if a.get("tags.a") != nil || a.get("tags.c") != "d" || a.get("properties.tenantId") != nil || a.get("properties.more") != true || a.get("sku.name") != "standard" {
		t.Errorf("%s", a.raw)
	}
	// ETags: of two that read the same, one may write.
	tag := w.call(w.olga, "GET", id, nil).want(200).header.Get("ETag")
	token := string(w.tenant) + "/" + string(w.olga)
	w.send(token, "PUT", id, body, http.Header{"If-Match": {tag}}).want(200)
	w.send(token, "PUT", id, body, http.Header{"If-Match": {tag}}).refused(412, "PreconditionFailed")
	w.send(token, "PUT", id, body, http.Header{"If-None-Match": {"*"}}).refused(412, "PreconditionFailed")
	w.send(token, "DELETE", id, nil, http.Header{"If-Match": {tag}}).refused(412, "PreconditionFailed")

	w.call(w.olga, "PUT", id+"/secrets/one", object{"properties": object{}}).want(201)
	w.call(w.olga, "PUT", g+"/providers/Microsoft.KeyVault/vaults/none/secrets/one", object{}).refused(404, "ParentResourceNotFound")
	if got := w.call(w.olga, "GET", id+"/secrets", nil).want(200).names("name"); !slices.Equal(got, []string{"one"}) {
		t.Errorf("children %v", got)
	}
	w.call(w.olga, "PUT", g+"/providers/Microsoft.Storage/storageAccounts/st", object{"location": "eastus"}).want(201)
	for filter, want := range map[string][]string{
		"": {"kv", "kv/secrets/one", "st"}, "resourceType eq 'microsoft.keyvault/vaults'": {"kv"}, "name eq 'st'": {"st"},
		"startswith(resourceType,'Microsoft.Storage')": {"st"},
	} {
		var got []string
		for _, v := range w.call(w.olga, "GET", "/subscriptions/SUB/resources?$filter="+strings.ReplaceAll(filter, " ", "%20"), nil).want(200).list() {
			s, _ := v.(object)["id"].(string)
			_, s, _ = strings.Cut(s[strings.Index(s, "/providers/")+len("/providers/"):], "/")
			_, s, _ = strings.Cut(s, "/")
			got = append(got, s)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
	w.call(w.olga, "GET", "/subscriptions/SUB/resources?$filter=price%20gt%201", nil).refused(400, "InvalidFilterInQueryString")
	if got := w.call(w.olga, "GET", "/subscriptions/SUB/providers/Microsoft.KeyVault/vaults", nil).want(200).names("name"); !slices.Equal(got, []string{"kv"}) {
		t.Errorf("vaults %v", got)
	}

	// Access to one of them shows one of them, and gives what its role says.
	w.assign(w.nina, reader, id)
	if got := w.call(w.nina, "GET", "/subscriptions/SUB/resources", nil).want(200).list(); len(got) != 2 {
		t.Errorf("nina sees %v", got)
	}
	w.call(w.nina, "GET", id, nil).want(200)
	w.call(w.nina, "PUT", id, body).refused(403, "AuthorizationFailed")

	// Documents that would promise something, or pass for something else.
	for _, path := range []string{
		g + "/providers/Microsoft.Authorization/locks/l", g + "/providers/Microsoft.Resources/deployments/d",
		id + "/providers/Microsoft.Insights/diagnosticSettings/x", g + "/providers/nodot/vaults/kv",
	} {
		if a := w.call(w.olga, "PUT", path, body); a.status != 404 && a.status != 400 {
			t.Errorf("%s: %d %s", path, a.status, a.raw)
		}
	}
	w.call(w.olga, "PUT", g+"/providers/Microsoft.KeyVault/vaults", body).refused(405, "MethodNotAllowed")
	w.call(w.olga, "DELETE", id, nil).want(200)
	w.call(w.olga, "DELETE", id, nil).want(204)
	w.call(w.olga, "GET", id+"/secrets/one", nil).refused(404, "ResourceNotFound")
}

func TestManagementGroups(t *testing.T) {
	w := newWorld(t)
	root := string(w.tenant)
	base := "/providers/Microsoft.Management/managementGroups"
	if got := w.call(w.olga, "GET", base, nil).want(200).list(); len(got) != 0 {
		t.Errorf("olga sees %v", got)
	}
	mia := w.user("mia")
	w.assign(mia, owner, base+"/"+root)
	a := w.call(mia, "PUT", base+"/platform", object{"properties": object{"displayName": "Platform"}}).want(200)
	if a.text("properties.details.parent.id") != base+"/"+root || a.text("id") != base+"/platform" || a.text("properties.tenantId") != root {
		t.Errorf("%s", a.raw)
	}
	w.call(mia, "PUT", base+"/online", object{"properties": object{"details": object{"parent": object{"id": base + "/platform"}}}}).want(200)
	w.call(w.olga, "PUT", base+"/mine", object{}).refused(403, "AuthorizationFailed")
	w.call(mia, "PATCH", base+"/platform", object{"parentGroupId": base + "/online"}).refused(400, "BadRequest") // a circle
	w.call(mia, "PUT", base+"/deep", object{"properties": object{"details": object{"parent": object{"id": base + "/none"}}}}).refused(403, "AuthorizationFailed")

	// Moving a subscription gives the group's people access to it.
	pat := w.user("pat")
	w.assign(pat, reader, base+"/online")
	w.call(pat, "GET", "/subscriptions/SUB", nil).refused(403, "AuthorizationFailed")
	w.call(w.olga, "PUT", base+"/online/subscriptions/SUB", nil).refused(403, "AuthorizationFailed") // olga owns the subscription, not the group
	w.call(mia, "PUT", base+"/online/subscriptions/SUB", nil).want(200)
	w.call(pat, "GET", "/subscriptions/SUB", nil).want(200)
	if got := w.call(mia, "GET", base+"/online/subscriptions", nil).want(200).names("name"); !slices.Equal(got, []string{w.sub}) {
		t.Errorf("subscriptions %v", got)
	}
	a = w.call(mia, "GET", base+"/"+root+"?$expand=children&$recurse=true", nil).want(200)
	if a.get("properties.children.0.name") != "platform" || a.get("properties.children.0.children.0.children.0.name") != w.sub {
		t.Errorf("%s", a.raw)
	}
	if got := w.call(mia, "GET", base+"/platform/descendants", nil).want(200).names("name"); len(got) != 2 {
		t.Errorf("descendants %v", got)
	}
	if got := w.call(pat, "POST", "/providers/Microsoft.Management/getEntities", nil).want(200).names("name"); !slices.Contains(got, "online") || !slices.Contains(got, w.sub) {
		t.Errorf("entities %v", got)
	}
	w.call(mia, "DELETE", base+"/online", nil).refused(400, "BadRequest") // it has a subscription
	w.call(mia, "DELETE", base+"/online/subscriptions/SUB", nil).want(204)
	w.call(pat, "GET", "/subscriptions/SUB", nil).refused(403, "AuthorizationFailed")
	w.call(mia, "DELETE", base+"/online", nil).want(200)
	w.call(mia, "DELETE", base+"/online", nil).refused(403, "AuthorizationFailed") // nothing says any more that it was mia's
	w.call(mia, "DELETE", base+"/"+root, nil).refused(400, "BadRequest")
}

// TestMoveNeedsTheSubscription: who owns a management group cannot pull a
// subscription of somebody else into it.
func TestMoveNeedsTheSubscription(t *testing.T) {
	w := newWorld(t)
	base := "/providers/Microsoft.Management/managementGroups"
	w.update(func(tx *store.Tx) error {
		return state.ManagementGroups.Create(tx, &state.ManagementGroup{Name: "mine", Tenant: w.tenant, Parent: string(w.tenant)})
	})
	w.assign(w.nina, owner, base+"/mine")
	w.call(w.nina, "PUT", base+"/mine/subscriptions/SUB", nil).refused(403, "LinkedAuthorizationFailed")
	w.call(w.nina, "PATCH", base+"/mine", object{"parentGroupId": base + "/" + string(w.tenant)}).refused(403, "LinkedAuthorizationFailed")
}

func TestIdentities(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	id := g + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
	a := w.call(w.olga, "PUT", id, object{"location": "eastus", "tags": object{"a": "b"}, "properties": object{"principalId": w.olga}}).want(201)
	principal := directory.ObjectID(a.text("properties.principalId"))
	sp, err := state.ServicePrincipals.Get(w.store.View(), state.Key(w.tenant, principal))
	if err != nil || sp.Type != "ManagedIdentity" || string(sp.AppID) != a.text("properties.clientId") || sp.AlternativeNames[len(sp.AlternativeNames)-1] != id || !sp.Enabled {
		t.Fatalf("%+v %v", sp, err)
	}
	if b := w.call(w.olga, "PUT", id, object{"location": "eastus"}).want(200); b.text("properties.principalId") != string(principal) || b.get("tags.a") != "b" {
		t.Errorf("%s", b.raw)
	}
	if got := w.call(w.olga, "PATCH", id, object{"tags": object{}}).want(200).get("tags.a"); got != nil {
		t.Errorf("tags %v", got)
	}
	for _, path := range []string{"/subscriptions/SUB/providers/Microsoft.ManagedIdentity/userAssignedIdentities", g + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"} {
		if got := w.call(w.olga, "GET", path, nil).want(200).names("name"); !slices.Equal(got, []string{"app"}) {
			t.Errorf("%s: %v", path, got)
		}
	}
	w.call(w.olga, "PUT", g+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a", object{"location": "eastus"}).refused(400, "InvalidResourceName")

	// Federated credentials.
	creds := id + "/federatedIdentityCredentials"
	fed := func(issuer, subject string, more ...string) object {
		p := object{"issuer": issuer, "subject": subject}
		if len(more) > 0 {
			p["audiences"] = more
		}
		return object{"properties": p}
	}
	b := w.call(w.olga, "PUT", creds+"/pods", fed("https://issuer.example/x/", "system:serviceaccount:dev:app")).want(201)
	if b.get("properties.audiences.0") != "api://AzureADTokenExchange" || b.text("id") != creds+"/pods" || b.text("name") != "pods" {
		t.Errorf("%s", b.raw)
	}
	if sp, _ = state.ServicePrincipals.Get(w.store.View(), state.Key(w.tenant, principal)); len(sp.Credentials.Federated) != 1 || sp.Credentials.Federated[0].Issuer != "https://issuer.example/x/" {
		t.Errorf("%+v", sp.Credentials)
	}
	w.call(w.olga, "PUT", creds+"/pods", fed("https://issuer.example/x/", "system:serviceaccount:dev:other", "api://other")).want(200)
	w.call(w.olga, "PUT", creds+"/again", fed("https://issuer.example/x/", "system:serviceaccount:dev:other")).refused(409, "Conflict")
	w.call(w.olga, "PUT", creds+"/case", fed("https://issuer.example/x/", "system:serviceaccount:dev:Other")).want(201) // another subject
	for why, tc := range map[string]struct {
		name string
		body object
	}{
		"no subject":     {"bad", fed("https://issuer.example/", "")},
		"no issuer":      {"bad", fed("", "s")},
		"http":           {"bad", fed("http://issuer.example/", "s")},
		"white space":    {"bad", fed("https://issuer.example/ x", "s")},
		"query":          {"bad", fed("https://issuer.example/?x=1", "s")},
		"two audiences":  {"bad", fed("https://issuer.example/", "s", "a", "b")},
		"empty audience": {"bad", fed("https://issuer.example/", "s", "")},
		"wildcard":       {"bad", fed("https://issuer.example/", "system:serviceaccount:*:app")},
		"long subject":   {"bad", fed("https://issuer.example/", strings.Repeat("s", 601))},
		"long issuer":    {"bad", fed("https://issuer.example/"+strings.Repeat("s", 600), "s")},
		"short name":     {"ab", fed("https://issuer.example/", "s")},
		"long name":      {strings.Repeat("a", 121), fed("https://issuer.example/", "s")},
		"name":           {"-abc", fed("https://issuer.example/", "s")},
		"expression":     {"bad", object{"properties": object{"issuer": "https://issuer.example/", "subject": "s", "claimsMatchingExpression": object{}}}},
	} {
		if a := w.call(w.olga, "PUT", creds+"/"+tc.name, tc.body); a.status != 400 || a.text("error.code") != "BadRequest" {
			t.Errorf("%s: %d %s", why, a.status, a.raw)
		}
	}
	// A claims matching expression in the subject's place, in the version that
	// has it.
	const preview = "?api-version=2025-01-31-preview"
	gitHub := func(value string, more ...string) object {
		p := object{"issuer": "https://token.actions.githubusercontent.com", "claimsMatchingExpression": object{"value": value, "languageVersion": 1}}
		if len(more) > 0 {
			p["subject"] = more[0]
		}
		return object{"properties": p}
	}
	const expression = "claims['sub'] matches 'repo:contoso/contoso-repo:ref:refs/heads/*' and claims['repository_id'] eq '456789'"
	w.call(w.olga, "PUT", creds+"/deploy?api-version=2023-01-31", gitHub(expression)).refused(400, "BadRequest")
	w.call(w.olga, "PUT", creds+"/deploy"+preview, gitHub(expression, "repo:x")).refused(400, "BadRequest")
	w.call(w.olga, "PUT", creds+"/deploy"+preview, gitHub("claims['sub'] matches '*'")).refused(400, "BadRequest")
	b = w.call(w.olga, "PUT", creds+"/deploy"+preview, gitHub(expression)).want(201)
	if b.get("properties.claimsMatchingExpression.value") != expression || b.get("properties.subject") != nil {
		t.Errorf("%s", b.raw)
	}
	w.call(w.olga, "PUT", creds+"/twice"+preview, gitHub(expression)).refused(409, "Conflict")
	w.call(w.olga, "DELETE", creds+"/deploy"+preview, nil).want(200)
	for i := range 18 {
		w.call(w.olga, "PUT", creds+"/more"+string(rune('a'+i)), fed("https://issuer.example/", "s"+string(rune('a'+i)))).want(201)
	}
	w.call(w.olga, "PUT", creds+"/toomany", fed("https://issuer.example/", "last")).refused(400, "BadRequest")
	w.call(w.olga, "GET", creds+"/none", nil).refused(404, "ResourceNotFound")
	if got := w.call(w.olga, "GET", creds, nil).want(200).list(); len(got) != 20 {
		t.Errorf("%d credentials", len(got))
	}
	w.call(w.olga, "DELETE", creds+"/pods", nil).want(200)
	w.call(w.olga, "DELETE", creds+"/pods", nil).want(204)

	w.call(w.nina, "PUT", creds+"/mine", fed("https://evil.example/", "s")).refused(403, "AuthorizationFailed")
	w.call(w.olga, "DELETE", id, nil).want(200)
	w.call(w.olga, "DELETE", id, nil).want(204)
	if _, err := state.ServicePrincipals.Get(w.store.View(), state.Key(w.tenant, principal)); !errs.Is(err, errs.NotFound) {
		t.Error("the principal outlives the identity")
	}
}

func TestMetadata(t *testing.T) {
	w := newWorld(t)
	a := w.send("", "GET", "//metadata/endpoints?api-version=2022-09-01", nil, nil).want(200)
	for path, want := range map[string]any{
		"name": "Entrance", "authentication.loginEndpoint": baseURL, "authentication.audiences.0": baseURL, "resourceManager": baseURL,
		"microsoftGraphResourceId": baseURL, "graphAudience": baseURL,
	} {
		if got := a.get(path); got != want {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
	if _, ok := a.get("suffixes").(object); !ok {
		t.Error("no suffixes")
	}
	a = w.send("", "GET", "/metadata/endpoints?api-version=2015-01-01", nil, nil).want(200)
	if a.text("graphEndpoint") != baseURL || a.text("galleryEndpoint") == "" || a.text("authentication.loginEndpoint") != baseURL {
		t.Errorf("%s", a.raw)
	}
	a = w.send("", "GET", "/metadata/endpoints?api-version=2019-05-01", nil, nil).want(200)
	if !strings.HasPrefix(string(a.raw), "[") {
		t.Errorf("%s", a.raw)
	}
}
