package arm_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/arm"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func (w *world) record(id string) *state.Cluster {
	w.t.Helper()
	rec, ok := state.Clusters.First(w.store.View(), "id", state.Fold(id))
	if !ok {
		w.t.Fatalf("no record of %s", id)
	}
	return rec
}

func kubeconfig(t *testing.T, a *answer) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(a.want(200).text("kubeconfigs.0.value"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestClusterCreate(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	id := g + "/providers/Microsoft.ContainerService/managedClusters/web"
	w.call(w.olga, "GET", id, nil).refused(404, "ResourceNotFound")

	hold := make(chan struct{})
	w.fake.set(hold, nil)
	a := w.call(w.olga, "PUT", id, clusterBody(object{"managed": true, "adminGroupObjectIDs": []string{strings.ToUpper(string(w.group))}})).want(201)
	if got := a.text("properties.provisioningState"); got != "Creating" {
		t.Errorf("provisioningState %q while it is created", got)
	}
	// The cluster is locked until it is there.
	w.call(w.olga, "PUT", id, clusterBody(nil)).refused(409, "OperationNotAllowed")
	w.call(w.olga, "DELETE", id, nil).refused(409, "OperationNotAllowed")
	w.call(w.olga, "PATCH", id, object{"tags": object{}}).refused(409, "OperationNotAllowed")
	w.call(w.olga, "POST", id+"/listClusterUserCredential", nil).refused(409, "OperationNotAllowed")
	close(hold)
	if s := w.finish(w.olga, a); s.text("status") != "Succeeded" {
		t.Fatalf("creation: %s", s.raw)
	}

	a = w.call(w.olga, "GET", otherCase(id), nil).want(200)
	for path, want := range map[string]any{
		"id": id, "name": "web", "type": "Microsoft.ContainerService/managedClusters", "location": "eastus",
		"identity.type": "SystemAssigned", "identity.tenantId": string(w.tenant), "tags.env": "dev",
		"properties.provisioningState": "Succeeded", "properties.powerState.code": "Running",
		"properties.kubernetesVersion": "1.36.3", "properties.servicePrincipalProfile.clientId": "msi",
		"properties.aadProfile.tenantID": string(w.tenant), "properties.aadProfile.managed": true,
		"properties.aadProfile.enableAzureRBAC": false, "properties.aadProfile.adminGroupObjectIDs.0": string(w.group),
		"properties.nodeResourceGroup": "MC_rg_web_eastus", "properties.oidcIssuerProfile.enabled": true,
		"properties.agentPoolProfiles.0.count": 3.0, "properties.agentPoolProfiles.0.provisioningState": "Succeeded",
		"properties.futureProperty.deep.1": "two", "sku.tier": "Free",
	} {
		if got := a.get(path); got != want {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
	fqdn := a.text("properties.fqdn")
	if !strings.HasPrefix(fqdn, "web-rg-abcdef-") || !strings.HasSuffix(fqdn, ".hcp.eastus.azmk8s.io") {
		t.Errorf("fqdn %q", fqdn)
	}
	if a.header.Get("ETag") == "" || a.text("eTag") == "" {
		t.Error("no entity tag")
	}
	issuer := a.text("properties.oidcIssuerProfile.issuerURL")
	if !strings.HasPrefix(issuer, baseURL+"/") || !strings.Contains(issuer, string(w.tenant)) || !strings.HasSuffix(issuer, "/") {
		t.Errorf("issuerURL %q", issuer)
	}
	for _, path := range []string{"identity.principalId", "properties.identityProfile.kubeletidentity.objectId"} {
		sp, err := state.ServicePrincipals.Get(w.store.View(), state.Key(w.tenant, directory.ObjectID(a.text(path))))
		if err != nil || sp.Type != "ManagedIdentity" {
			t.Errorf("%s: %v %v", path, sp, err)
		}
	}

	rec := w.record(id)
	if !rec.Entra || rec.Tenant != w.tenant || rec.AzureRBAC || !slices.Equal(rec.AdminGroups, []directory.ObjectID{w.group}) ||
		rec.ServerApp != directory.AKSServer || rec.Issuer != issuer || rec.ProofOfPossession {
		t.Errorf("record %+v", rec)
	}
	spec := w.fake.last(t)
	if spec.Key != rec.Key || spec.ID != id || spec.Location != "eastus" || !slices.Equal(spec.ServerNames, []string{fqdn}) ||
		len(spec.NodePools) != 1 || spec.NodePools[0].Count != 3 || spec.Issuer != issuer || spec.JWKSURI != issuer+"openid/v1/jwks" ||
		spec.Entra == nil || spec.Entra.Tenant != w.tenant || !slices.Equal(spec.Entra.AdminGroups, rec.AdminGroups) {
		t.Errorf("spec %+v", spec)
	}

	if got := w.call(w.olga, "GET", "/subscriptions/SUB/providers/Microsoft.ContainerService/managedClusters", nil).want(200).names("name"); !slices.Equal(got, []string{"web"}) {
		t.Errorf("list %v", got)
	}
	if got := w.call(w.olga, "GET", g+"/providers/microsoft.containerservice/MANAGEDCLUSTERS", nil).want(200).names("name"); !slices.Equal(got, []string{"web"}) {
		t.Errorf("list of the group %v", got)
	}
	if got := kubeconfig(t, w.call(w.olga, "POST", id+"/listClusterUserCredential?format=azure", nil)); got != "user "+id+" azure" {
		t.Errorf("user credential %q", got)
	}
	if got := kubeconfig(t, w.call(w.olga, "POST", id+"/listClusterAdminCredential", nil)); got != "admin "+id+" 0" {
		t.Errorf("admin credential %q", got)
	}
	a = w.call(w.olga, "POST", id+"/listClusterAdminCredential", nil)
	if a.text("kubeconfigs.0.name") != "clusterAdmin" {
		t.Errorf("name %q", a.text("kubeconfigs.0.name"))
	}
	w.call(w.olga, "POST", id+"/listClusterUserCredential?format=xml", nil).refused(400, "BadRequest")
	if got := w.call(w.olga, "POST", id+"/accessProfiles/clusterAdmin/listCredential", nil).want(200).text("properties.kubeConfig"); got == "" {
		t.Error("no kubeConfig in the access profile")
	}
	if n := kubeconfig(t, w.call(w.olga, "POST", id+"/listClusterMonitoringUserCredential", nil)); n == "" {
		t.Error("no monitoring credential")
	}
	w.call(w.nina, "POST", id+"/listClusterUserCredential", nil).refused(403, "AuthorizationFailed")
}

// TestClusterUpdate changes one thing after the other on a running cluster.
func TestClusterUpdate(t *testing.T) {
	w := newWorld(t)
	id := w.newCluster(w.newResourceGroup("rg"), "web", clusterBody(nil))
	if rec := w.record(id); rec.Entra {
		t.Error("a cluster without aadProfile asks Entrance")
	}
	if w.fake.last(t).Entra != nil {
		t.Error("the spec has Entra")
	}
	// Without Entra the user's credential is static, and cannot be disabled.
	body := w.call(w.olga, "GET", id, nil).want(200).doc
	properties := body["properties"].(object)
	properties["disableLocalAccounts"] = true
	m := w.call(w.olga, "PUT", id, body).refused(400, "BadRequest")
	if m != "Since kubernetes version 1.25, disableLocalAccounts can only be set on Azure AD integration enabled cluster. Please integrate your cluster with AAD." {
		t.Errorf("message %q", m)
	}
	properties["disableLocalAccounts"] = false

	put := func(status string) *answer {
		t.Helper()
		a := w.call(w.olga, "PUT", id, body).want(200)
		if a.header.Get("Location") != "" {
			t.Error("a PUT has a Location")
		}
		if got := a.text("properties.provisioningState"); got != "Updating" {
			t.Errorf("provisioningState %q", got)
		}
		s := w.finish(w.olga, a)
		if s.text("status") != status {
			t.Fatalf("update: %s", s.raw)
		}
		return s
	}
	// As `az aks update --enable-aad` sends it: no tenant, no Azure RBAC.
	properties["aadProfile"] = object{"managed": true, "adminGroupObjectIDs": []string{string(w.group)}}
	put("Succeeded")
	if rec := w.record(id); !rec.Entra || rec.Tenant != w.tenant || len(rec.AdminGroups) != 1 {
		t.Errorf("record %+v", rec)
	}
	properties["aadProfile"] = object{"managed": true, "enableAzureRBAC": true}
	put("Succeeded")
	if rec := w.record(id); !rec.AzureRBAC || len(rec.AdminGroups) != 1 {
		t.Errorf("an absent list of admin groups must keep them: %+v", rec)
	}
	properties["aadProfile"] = object{"managed": true, "adminGroupObjectIDs": []string{}, "enableAzureRBAC": false}
	put("Succeeded")
	if rec := w.record(id); rec.AzureRBAC || len(rec.AdminGroups) != 0 {
		t.Errorf("an empty list of admin groups must clear them: %+v", rec)
	}

	// An absent profile stays, an unset one is refused.
	delete(properties, "aadProfile")
	put("Succeeded")
	if rec := w.record(id); !rec.Entra {
		t.Error("a PUT without aadProfile has removed it")
	}
	for path, change := range map[string]func(){
		"aadProfile":                       func() { properties["aadProfile"] = nil },
		"aadProfile.managed":               func() { properties["aadProfile"] = object{"managed": false} },
		"enableRBAC":                       func() { properties["enableRBAC"] = false },
		"dnsPrefix":                        func() { properties["dnsPrefix"] = "other" },
		"nodeResourceGroup":                func() { properties["nodeResourceGroup"] = "other" },
		"oidcIssuerProfile.enabled":        func() { properties["oidcIssuerProfile"] = object{"enabled": false} },
		"servicePrincipalProfile.clientId": func() { properties["servicePrincipalProfile"] = object{"clientId": directory.NewGUID()} },
		"networkProfile.serviceCidr":       func() { properties["networkProfile"] = object{"serviceCidr": "10.9.0.0/16"} },
	} {
		t.Run(path, func(t *testing.T) {
			body = w.call(w.olga, "GET", id, nil).want(200).doc
			properties = body["properties"].(object)
			change()
			a := w.call(w.olga, "PUT", id, body)
			if m := a.refused(400, "PropertyChangeNotAllowed"); m != "Changing property '"+path+"' is not allowed." {
				t.Errorf("message %q", m)
			}
			if a.text("error.target") != path {
				t.Errorf("target %q", a.text("error.target"))
			}
		})
	}
	body = w.call(w.olga, "GET", id, nil).want(200).doc
	properties = body["properties"].(object)
	body["location"] = "westus"
	w.call(w.olga, "PUT", id, body).refused(409, "InvalidResourceLocation")
	body["location"] = "East US"

	// Local accounts off: at once, and for the old form too.
	properties["disableLocalAccounts"] = true
	put("Succeeded")
	for _, p := range []string{"/listClusterAdminCredential", "/accessProfiles/clusterAdmin/listCredential"} {
		if m := w.call(w.olga, "POST", id+p, nil).refused(400, "BadRequest"); !strings.HasPrefix(m, "Getting static credential is not allowed because this cluster is set to disable local accounts.") {
			t.Errorf("%s: %q", p, m)
		}
	}
	w.call(w.olga, "POST", id+"/listClusterUserCredential", nil).want(200)

	// Workload identity needs the issuer, which this cluster has.
	properties["securityProfile"] = object{"workloadIdentity": object{"enabled": true}}
	put("Succeeded")
	if !w.record(id).WorkloadIdentity || !w.fake.last(t).WorkloadIdentity {
		t.Error("workload identity is off")
	}
	properties["agentPoolProfiles"] = []object{{"name": "nodepool1", "count": 5}}
	put("Succeeded")
	if n := w.fake.last(t).NodePools[0].Count; n != 5 {
		t.Errorf("%d nodes", n)
	}

	// Tags alone by PATCH, with the switches that Azure does not have.
	w.call(w.olga, "PATCH", id, object{"properties": object{}}).refused(400, "InvalidRequestContent")
	a := w.call(w.olga, "PATCH", id, object{"tags": object{"team": "a", "entrance:proof-of-possession": "true", "Entrance:Strict-Subresources": "True"}}).want(200)
	if a.get("tags.team") != "a" || a.get("tags.env") != nil {
		t.Errorf("tags %v", a.get("tags"))
	}
	if rec := w.record(id); !rec.ProofOfPossession || !rec.StrictSubresources || rec.CustomResourceConditions {
		t.Errorf("record %+v", rec)
	}
	w.call(w.olga, "PATCH", id, object{"tags": object{"entrance:proof-of-possession": "maybe"}}).refused(400, "InvalidTagValue")
	for _, validity := range []string{"soon", "1s", "2h", "-5m"} {
		w.call(w.olga, "PATCH", id, object{"tags": object{"entrance:proof-of-possession-validity": validity}}).refused(400, "InvalidTagValue")
	}
	w.call(w.olga, "PATCH", id, object{"tags": object{"entrance:proof-of-possession-once": "true", "Entrance:Proof-Of-Possession-Validity": "2m"}}).want(200)
	if rec := w.record(id); !rec.ProofOnce || rec.ProofValidity != 2*time.Minute {
		t.Errorf("%+v", rec)
	}
}

func TestClusterRules(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	set := func(path string, v any) object {
		b := clusterBody(object{"managed": true})
		at := b
		names := strings.Split(path, ".")
		for _, n := range names[:len(names)-1] {
			next, _ := at[n].(object)
			if next == nil {
				next = object{}
				at[n] = next
			}
			at = next
		}
		at[names[len(names)-1]] = v
		return b
	}
	for name, tc := range map[string]struct {
		body object
		code string
	}{
		"no location":             {set("location", ""), "LocationRequired"},
		"unknown location":        {set("location", "atlantis"), "LocationNotAvailableForResourceType"},
		"version":                 {set("properties.kubernetesVersion", "1.20.7"), "K8sVersionNotSupported"},
		"no pools":                {set("properties.agentPoolProfiles", []any{}), "InvalidParameter"},
		"pool name":               {set("properties.agentPoolProfiles", []object{{"name": "Pool_1", "count": 1}}), "InvalidParameter"},
		"pool twice":              {set("properties.agentPoolProfiles", []object{{"name": "a", "count": 1}, {"name": "a", "count": 1}}), "InvalidParameter"},
		"too many nodes":          {set("properties.agentPoolProfiles", []object{{"name": "a", "count": 900}}), "QuotaExceeded"},
		"count":                   {set("properties.agentPoolProfiles", []object{{"name": "a", "count": -1}}), "InvalidParameter"},
		"no system pool":          {set("properties.agentPoolProfiles", []object{{"name": "a", "count": 1, "mode": "User"}}), "InvalidParameter"},
		"dns prefix":              {set("properties.dnsPrefix", "-bad-"), "InvalidParameter"},
		"rbac off":                {set("properties.enableRBAC", false), "BadRequest"},
		"rbac text":               {set("properties.enableRBAC", "false"), "InvalidParameter"},
		"local accounts text":     {set("properties.disableLocalAccounts", "true"), "InvalidParameter"},
		"not managed":             {set("properties.aadProfile", object{"adminGroupObjectIDs": []string{}}), "BadRequest"},
		"admin group":             {set("properties.aadProfile.adminGroupObjectIDs", []string{"aks-admins"}), "InvalidParameter"},
		"tenant":                  {set("properties.aadProfile.tenantID", directory.NewGUID()), "BadRequest"},
		"tenant id":               {set("properties.aadProfile.tenantID", "contoso"), "InvalidParameter"},
		"azure rbac text":         {set("properties.aadProfile.enableAzureRBAC", "yes"), "InvalidParameter"},
		"legacy":                  {set("properties.aadProfile", object{"serverAppID": directory.NewGUID(), "clientAppID": directory.NewGUID(), "serverAppSecret": "s"}), "BadRequest"},
		"mixed":                   {set("properties.aadProfile.serverAppID", directory.NewGUID()), "BadRequest"},
		"identity":                {set("identity.type", "Magic"), "InvalidIdentityType"},
		"no identity":             {set("identity", nil), "BadRequest"},
		"two identities":          {set("identity", object{"type": "UserAssigned", "userAssignedIdentities": object{}}), "InvalidUserAssignedIdentities"},
		"identity of nobody":      {set("identity", object{"type": "UserAssigned", "userAssignedIdentities": object{g + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/ghost": object{}}}), "ResourceNotFound"},
		"workload without issuer": {set("properties", object{"agentPoolProfiles": []object{{"name": "a", "count": 1}}, "oidcIssuerProfile": object{"enabled": false}, "securityProfile": object{"workloadIdentity": object{"enabled": true}}}), "BadRequest"},
		"tags":                    {set("tags", object{"a<b": "c"}), "InvalidTagNameCharacters"},
		"properties":              {set("properties", "none"), "InvalidRequestContent"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.call(w.olga, "PUT", g+"/providers/Microsoft.ContainerService/managedClusters/web", tc.body)
			if a.status < 400 || a.status >= 500 || a.text("error.code") != tc.code {
				t.Errorf("%d %s, want %s", a.status, a.raw, tc.code)
			}
		})
	}
	for _, name := range []string{"-web", "web_", strings.Repeat("a", 64)} {
		w.call(w.olga, "PUT", g+"/providers/Microsoft.ContainerService/managedClusters/"+name, clusterBody(nil)).refused(400, "InvalidParameter")
	}
	w.call(w.olga, "PUT", "/subscriptions/SUB/resourceGroups/none/providers/Microsoft.ContainerService/managedClusters/web", clusterBody(nil)).refused(404, "ResourceGroupNotFound")
	if n := len(w.fake.running()); n != 0 {
		t.Errorf("%d clusters run", n)
	}
	for range state.Clusters.All(w.store.View()) {
		t.Error("a refused cluster has left a record")
	}
}

func TestClusterDelete(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	id := w.newCluster(g, "web", clusterBody(object{"managed": true}))
	principal := directory.ObjectID(w.call(w.olga, "GET", id, nil).text("identity.principalId"))
	w.assign(w.nina, clusterUser, id)
	w.assign(w.nina, aksReader, id+"/namespaces/dev")
	kept := w.assign(w.nina, reader, g+"/providers/Microsoft.ContainerService/managedClusters/web2")

	a := w.call(w.olga, "DELETE", id, nil).want(202)
	if s := w.finish(w.olga, a); s.text("status") != "Succeeded" {
		t.Fatalf("%s", s.raw)
	}
	w.follow(w.olga, a).want(200)
	w.call(w.olga, "GET", id, nil).refused(404, "ResourceNotFound")
	w.call(w.olga, "DELETE", id, nil).want(204)
	if len(w.fake.running()) != 0 {
		t.Error("the cluster still runs")
	}
	if _, ok := state.Clusters.First(w.store.View(), "id", state.Fold(id)); ok {
		t.Error("the record stays")
	}
	if _, err := state.ServicePrincipals.Get(w.store.View(), state.Key(w.tenant, principal)); !errs.Is(err, errs.NotFound) {
		t.Error("the identity stays")
	}
	var left []string
	for x := range state.AccessAssignments.Where(w.store.View(), "principal", string(w.tenant)+"/"+string(w.nina)) {
		left = append(left, x.Name)
	}
	if !slices.Equal(left, []string{kept}) {
		t.Errorf("a cluster made later under the name would inherit access: %v", left)
	}
	// The name is free.
	old := id
	if id = w.newCluster(g, "web", clusterBody(nil)); id != old {
		t.Error("another id")
	}
}

func TestClusterActions(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	id := w.newCluster(g, "web", clusterBody(object{"managed": true}))
	done := func(a *answer) {
		t.Helper()
		if s := w.finish(w.olga, a.want(202)); s.text("status") != "Succeeded" {
			t.Fatalf("%s", s.raw)
		}
		w.follow(w.olga, a).want(200)
	}
	done(w.call(w.olga, "POST", id+"/rotateClusterCertificates", nil))
	if n := w.fake.last(t).CertificateGeneration; n != 1 {
		t.Errorf("certificate generation %d", n)
	}
	done(w.call(w.olga, "POST", id+"/rotateServiceAccountSigningKeys", nil))
	if n := w.fake.last(t).SigningKeyGeneration; n != 1 {
		t.Errorf("key generation %d", n)
	}
	done(w.call(w.olga, "POST", id+"/resetAADProfile", object{"adminGroupObjectIDs": []string{string(w.group)}}))
	if rec := w.record(id); len(rec.AdminGroups) != 1 {
		t.Errorf("record %+v", rec)
	}
	w.call(w.olga, "POST", id+"/resetServicePrincipalProfile", object{"clientId": directory.NewGUID(), "secret": "s"}).refused(400, "BadRequest")

	done(w.call(w.olga, "POST", id+"/stop", nil))
	if got := w.call(w.olga, "GET", id, nil).text("properties.powerState.code"); got != "Stopped" || len(w.fake.stopped) != 1 {
		t.Errorf("power state %s", got)
	}
	if specs, err := w.service.Specs(w.store.View()); err != nil || len(specs) != 0 {
		t.Errorf("a stopped cluster would be started: %v %v", specs, err)
	}
	w.call(w.olga, "PUT", id, clusterBody(nil)).refused(409, "OperationNotAllowed")
	done(w.call(w.olga, "POST", id+"/start", nil))
	if got := w.call(w.olga, "GET", id, nil).text("properties.powerState.code"); got != "Running" {
		t.Errorf("power state %s", got)
	}
}

func TestAgentPools(t *testing.T) {
	w := newWorld(t)
	id := w.newCluster(w.newResourceGroup("rg"), "web", clusterBody(nil))
	if got := w.call(w.olga, "GET", id+"/agentPools", nil).want(200).names("name"); !slices.Equal(got, []string{"nodepool1"}) {
		t.Errorf("pools %v", got)
	}
	a := w.call(w.olga, "PUT", id+"/agentPools/nodepool1", object{"properties": object{"count": 7}}).want(200)
	w.finish(w.olga, a)
	if a.get("properties.count") != 7.0 || w.fake.last(t).NodePools[0].Count != 7 {
		t.Errorf("%s", a.raw)
	}
	w.finish(w.olga, w.call(w.olga, "PUT", id+"/agentPools/extra", object{"properties": object{"count": 2, "mode": "User"}}).want(201))
	if n := len(w.fake.last(t).NodePools); n != 2 {
		t.Errorf("%d pools", n)
	}
	w.call(w.olga, "PUT", id+"/agentPools/extra", object{"properties": object{"vmSize": "Standard_D64"}}).refused(400, "PropertyChangeNotAllowed")
	w.finish(w.olga, w.call(w.olga, "DELETE", id+"/agentPools/extra", nil).want(202))
	w.call(w.olga, "DELETE", id+"/agentPools/extra", nil).want(204)
	w.call(w.olga, "GET", id+"/agentPools/extra", nil).refused(404, "ResourceNotFound")
	w.call(w.olga, "DELETE", id+"/agentPools/nodepool1", nil).refused(400, "InvalidParameter")
	if got := w.call(w.olga, "GET", "/subscriptions/SUB/providers/Microsoft.ContainerService/locations/eastus/kubernetesVersions", nil).want(200).text("values.0.version"); got != "1.36" {
		t.Errorf("version %q", got)
	}
	w.call(w.olga, "GET", "/subscriptions/SUB/providers/Microsoft.ContainerService/locations/eastus/orchestrators", nil).want(200)
	w.call(w.olga, "GET", id+"/upgradeProfiles/default", nil).want(200)
	w.call(w.olga, "GET", id+"/availableAgentPoolVersions", nil).want(200)
	w.call(w.olga, "GET", id+"/agentPools/nodepool1/upgradeProfiles/default", nil).want(200)
}

// TestLegacy makes a cluster with the retired integration, and upgrades it.
func TestLegacy(t *testing.T) {
	w := newWorld(t, func(w *world) { w.legacy = true })
	server, client := directory.NewGUID(), directory.NewGUID()
	body := clusterBody(object{"serverAppID": server, "clientAppID": client, "serverAppSecret": "hush-hush", "tenantID": string(w.tenant)})
	id := w.newCluster(w.newResourceGroup("rg"), "web", body)
	a := w.call(w.olga, "GET", id, nil).want(200)
	if strings.Contains(string(a.raw), "hush") || a.text("properties.aadProfile.serverAppID") != server {
		t.Errorf("%s", a.raw)
	}
	rec := w.record(id)
	if rec.ServerApp != directory.AppID(server) {
		t.Errorf("record %+v", rec)
	}
	if s, ok := arm.LegacySecret(w.store.View(), rec.Key); !ok || s != "hush-hush" {
		t.Error("the secret is not kept")
	}
	for op := range storeOperations(w) {
		if strings.Contains(op, "hush") {
			t.Error("an operation holds the secret")
		}
	}
	if e := w.fake.last(t).Entra; string(e.ServerApp) != server || string(e.ClientApp) != client {
		t.Errorf("spec %+v", e)
	}
	delete(body["properties"].(object), "aadProfile")
	body["properties"].(object)["aadProfile"] = object{"managed": true}
	if s := w.finish(w.olga, w.call(w.olga, "PUT", id, body).want(200)); s.text("status") != "Succeeded" {
		t.Fatalf("%s", s.raw)
	}
	if rec := w.record(id); rec.ServerApp != directory.AKSServer {
		t.Errorf("record %+v", rec)
	}
	if _, ok := arm.LegacySecret(w.store.View(), rec.Key); ok {
		t.Error("the secret outlives its use")
	}
}

func TestUserAssignedIdentity(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	identity := g + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/control"
	a := w.call(w.olga, "PUT", identity, object{"location": "eastus"}).want(201)
	body := clusterBody(nil)
	body["identity"] = object{"type": "UserAssigned", "userAssignedIdentities": object{identity: object{}}}
	body["properties"].(object)["identityProfile"] = object{"kubeletidentity": object{"resourceId": identity}}

	// Who may make clusters may not take any identity for them.
	maker := w.user("maker")
	w.assign(maker, "ed7f3fbd-7b88-4dd4-9017-9adb7ce333f8", g) // AKS Contributor
	w.call(maker, "PUT", g+"/providers/Microsoft.ContainerService/managedClusters/web", body).refused(403, "LinkedAuthorizationFailed")

	id := w.newCluster(g, "web", body)
	k := w.call(w.olga, "GET", id, nil).want(200)
	ids, _ := k.get("identity.userAssignedIdentities").(object)
	shown, _ := ids[identity].(object)
	if shown["principalId"] != a.text("properties.principalId") || k.text("properties.identityProfile.kubeletidentity.clientId") != a.text("properties.clientId") {
		t.Errorf("%s", k.raw)
	}
	// The same body again needs no right on the identity anew.
	w.finish(maker, w.call(maker, "PUT", id, k.doc).want(200))
	w.finish(w.olga, w.call(w.olga, "DELETE", id, nil).want(202))
	w.call(w.olga, "GET", identity, nil).want(200)
}

func TestIssuer(t *testing.T) {
	w := newWorld(t)
	id := w.newCluster(w.newResourceGroup("rg"), "web", clusterBody(nil))
	shown := w.call(w.olga, "GET", id, nil).text("properties.oidcIssuerProfile.issuerURL")
	c, ok := state.Clusters.First(w.store.View(), "id", state.Fold(id))
	if !ok || shown != issuer.URL(baseURL, w.tenant, c.Key) || c.Issuer != shown || !strings.HasSuffix(shown, "/") {
		t.Errorf("shown as %q, recorded as %+v", shown, c)
	}
}

func TestConnectedCluster(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	id := g + "/providers/Microsoft.Kubernetes/connectedClusters/edge"
	body := object{"location": "eastus", "properties": object{
		"agentPublicKeyCertificate": "", "aadProfile": object{"enableAzureRBAC": true, "adminGroupObjectIDs": []string{string(w.group)}},
		"entrance": object{"server": "https://edge.example:6443", "certificateAuthorityData": "QUJD"},
	}}
	w.call(w.olga, "PUT", id, body).want(201)
	w.call(w.olga, "PUT", id, body).want(200)
	rec := w.record(id)
	if !rec.Connected || !rec.Entra || !rec.AzureRBAC || rec.Tenant != w.tenant || len(rec.AdminGroups) != 1 {
		t.Errorf("record %+v", rec)
	}
	k := kubeconfig(t, w.call(w.olga, "POST", id+"/listClusterUserCredential", object{"authenticationMethod": "AAD", "clientProxy": false}))
	for _, want := range []string{"https://edge.example:6443", "kubelogin", string(directory.AKSServer), "clusterUser_rg_edge", baseURL + "/"} {
		if !strings.Contains(k, want) {
			t.Errorf("the kubeconfig has no %q:\n%s", want, k)
		}
	}
	w.call(w.nina, "POST", id+"/listClusterUserCredential", nil).refused(403, "AuthorizationFailed")

	// A cluster cannot name another's issuer as its own.
	own := w.newCluster(g, "web", clusterBody(nil))
	body["properties"].(object)["oidcIssuerProfile"] = object{"enabled": true, "selfHostedIssuerUrl": w.record(own).Issuer}
	w.call(w.olga, "PUT", id, body).refused(400, "InvalidParameter")
	body["properties"].(object)["oidcIssuerProfile"] = object{"enabled": true, "selfHostedIssuerUrl": "https://issuer.example/edge"}
	w.call(w.olga, "PUT", id, body).want(200)
	if got := w.record(id).Issuer; got != "https://issuer.example/edge" {
		t.Errorf("issuer %q", got)
	}
	w.call(w.olga, "PUT", id+"2", body).refused(400, "InvalidParameter")

	// One that we serve, with the final slash that AKS's issuers have. It goes
	// and comes with the switch, whatever the client has read before.
	rec = w.record(id)
	ours := issuer.URL(baseURL, w.tenant, rec.Key)
	profile := func(p object) { body["properties"].(object)["oidcIssuerProfile"] = p }
	profile(object{"enabled": true, "issuerUrl": "https://ignored.example/"})
	if got := w.call(w.olga, "PUT", id, body).want(200).text("properties.oidcIssuerProfile.issuerUrl"); got != ours || w.record(id).Issuer != ours || !strings.HasSuffix(got, "/") {
		t.Errorf("issuer %q, want %q", got, ours)
	}
	profile(object{"enabled": false, "issuerUrl": ours})
	if a := w.call(w.olga, "PUT", id, body).want(200); a.get("properties.oidcIssuerProfile.issuerUrl") != nil || w.record(id).Issuer != "" {
		t.Errorf("switched off: %s", a.raw)
	}
	for why, p := range map[string]object{
		"http": {"enabled": true, "selfHostedIssuerUrl": "http://issuer.example/"}, "query": {"enabled": true, "selfHostedIssuerUrl": "https://issuer.example/?x"},
		"ours": {"enabled": true, "selfHostedIssuerUrl": ours}, "our base": {"enabled": true, "selfHostedIssuerUrl": baseURL},
	} {
		profile(p)
		if a := w.call(w.olga, "PUT", id, body); a.status != 400 {
			t.Errorf("%s: %d %s", why, a.status, a.raw)
		}
	}
	delete(body["properties"].(object), "entrance")
	profile(object{"enabled": true})
	if a := w.call(w.olga, "PUT", id, body); a.status != 400 || !strings.Contains(string(a.raw), "properties.entrance.server") {
		t.Errorf("an issuer whose keys cannot be read: %d %s", a.status, a.raw)
	}
	if sp, err := state.ServicePrincipals.Get(w.store.View(), state.Key(w.tenant, rec.Identity)); err != nil || sp.Type != "ManagedIdentity" {
		t.Errorf("the cluster's own identity: %v", err)
	}
	w.call(w.olga, "DELETE", id, nil).want(200)
	w.call(w.olga, "DELETE", id, nil).want(204)
	if _, ok := state.Clusters.First(w.store.View(), "id", state.Fold(id)); ok {
		t.Error("the record stays")
	}
}

func TestSeed(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	id := g + "/providers/Microsoft.ContainerService/managedClusters/first"
	w.update(func(tx *store.Tx) error {
		return w.service.SeedCluster(tx, w.tenant, id, []byte(`{"location":"eastus","identity":{"type":"SystemAssigned"},
			"properties":{"agentPoolProfiles":[{"name":"nodepool1","count":3}],"aadProfile":{"managed":true}}}`), w.clock.Now())
	})
	specs, err := w.service.Specs(w.store.View())
	if err != nil || len(specs) != 1 || specs[0].ID != id || specs[0].NodePools[0].Count != 3 {
		t.Fatalf("%+v %v", specs, err)
	}
	if got := w.call(w.olga, "GET", id, nil).want(200).text("properties.provisioningState"); got != "Succeeded" {
		t.Errorf("provisioningState %s", got)
	}
}

// storeOperations yields the operations of the store as text.
func storeOperations(w *world) map[string]bool {
	out := map[string]bool{}
	for _, text := range dumpOperations(w.store.View()) {
		out[text] = true
	}
	return out
}

// otherCase returns an id in a spelling that means the same.
func otherCase(id string) string {
	id = strings.ToUpper(id)
	return strings.NewReplacer("/SUBSCRIPTIONS/", "/Subscriptions/", "SUB", "sub").Replace(id)
}
