package control_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"

	"github.com/entrance-id/entrance/internal/directory"
)

// client is a client of the SDK made with the suite's credential and the
// built-in settings of the public cloud.
func client[T any](t *testing.T) func(T, error) T {
	return func(c T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// all reads every page and returns how many there were.
func all[Page, Item any](t *testing.T, pager *runtime.Pager[Page], items func(Page) []Item) (list []Item, pages int) {
	t.Helper()
	for pager.More() {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, items(page)...)
		pages++
	}
	return list, pages
}

// done waits for a long-running operation as the SDK does by default: at the
// pace that the service asks for.
func done[T any](t *testing.T, poller *runtime.Poller[T], err error) T {
	t.Helper()
	var out T
	if err == nil {
		out, err = poller.PollUntilDone(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// refused holds that an error is Azure's, with a status and a code.
func refused(t *testing.T, err error, status int, code string) {
	t.Helper()
	if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.StatusCode != status || e.ErrorCode != code {
		t.Errorf("%v, want %d %s", err, status, code)
	}
}

// TestGoSDK does the work of the documents with Microsoft's clients for Go: a
// group, identities, a cluster with Entra and Azure RBAC, its credentials,
// updates, role assignments and their end, each with its effect on the cluster.
func TestGoSDK(t *testing.T) {
	ctx := t.Context()
	// Read from AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.
	cred := client[*azidentity.DefaultAzureCredential](t)(azidentity.NewDefaultAzureCredential(nil))
	sub := cloud.status.SubscriptionID
	const group = "gosdk"

	subscriptions := client[*armsubscriptions.Client](t)(armsubscriptions.NewClient(cred, nil))
	list, _ := all(t, subscriptions.NewListPager(nil), func(p armsubscriptions.ClientListResponse) []*armsubscriptions.Subscription { return p.Value })
	if !slices.ContainsFunc(list, func(s *armsubscriptions.Subscription) bool {
		return *s.SubscriptionID == sub && *s.TenantID == string(cloud.status.TenantID)
	}) {
		t.Errorf("the subscription is not among %d", len(list))
	}
	if locations, _ := all(t, subscriptions.NewListLocationsPager(sub, nil), func(p armsubscriptions.ClientListLocationsResponse) []*armsubscriptions.Location { return p.Value }); len(locations) < 10 {
		t.Errorf("%d locations", len(locations))
	}
	tenants := client[*armsubscriptions.TenantsClient](t)(armsubscriptions.NewTenantsClient(cred, nil))
	if list, _ := all(t, tenants.NewListPager(nil), func(p armsubscriptions.TenantsClientListResponse) []*armsubscriptions.TenantIDDescription {
		return p.Value
	}); len(list) != 1 || *list[0].TenantID != string(cloud.status.TenantID) {
		t.Errorf("tenants %+v", list)
	}

	groups := client[*armresources.ResourceGroupsClient](t)(armresources.NewResourceGroupsClient(sub, cred, nil))
	if ok, err := groups.CheckExistence(ctx, group, nil); err != nil || ok.Success {
		t.Errorf("the group before it is made: %v %v", ok, err)
	}
	if made, err := groups.CreateOrUpdate(ctx, group, armresources.ResourceGroup{Location: to.Ptr("centralus"), Tags: map[string]*string{"suite": to.Ptr("go")}}, nil); err != nil || *made.Properties.ProvisioningState != "Succeeded" {
		t.Fatalf("%+v %v", made, err)
	}
	deleted := false
	t.Cleanup(func() {
		if !deleted {
			call(t, armScope, http.MethodDelete, "https://management.azure.com/subscriptions/"+sub+"/resourceGroups/"+group+"?api-version=2021-04-01", nil)
		}
	})
	providers := client[*armresources.ProvidersClient](t)(armresources.NewProvidersClient(sub, cred, nil))
	if p, err := providers.Register(ctx, "Microsoft.ContainerService", nil); err != nil || *p.RegistrationState != "Registered" {
		t.Errorf("%+v %v", p, err)
	}

	identities := client[*armmsi.UserAssignedIdentitiesClient](t)(armmsi.NewUserAssignedIdentitiesClient(sub, cred, nil))
	identity, err := identities.CreateOrUpdate(ctx, group, "app", armmsi.Identity{Location: to.Ptr("centralus")}, nil)
	if err != nil {
		t.Fatal(err)
	}

	// The cluster, with everything that the documents switch on.
	ada, dev := account(t, "ada"), account(t, "dev")
	admins := newGroup(t, "gosdk-admins", ada.ObjectID)
	clusters := client[*armcontainerservice.ManagedClustersClient](t)(armcontainerservice.NewManagedClustersClient(sub, cred, nil))
	poller, err := clusters.BeginCreateOrUpdate(ctx, group, "web", armcontainerservice.ManagedCluster{
		Location: to.Ptr("centralus"),
		Identity: &armcontainerservice.ManagedClusterIdentity{
			Type:                   to.Ptr(armcontainerservice.ResourceIdentityTypeUserAssigned),
			UserAssignedIdentities: map[string]*armcontainerservice.ManagedServiceIdentityUserAssignedIdentitiesValue{*identity.ID: {}},
		},
		Properties: &armcontainerservice.ManagedClusterProperties{
			DNSPrefix: to.Ptr("web"), EnableRBAC: to.Ptr(true),
			AgentPoolProfiles: []*armcontainerservice.ManagedClusterAgentPoolProfile{{Name: to.Ptr("nodepool1"), Count: to.Ptr(int32(1)), VMSize: to.Ptr("Standard_D2s_v3"), Mode: to.Ptr(armcontainerservice.AgentPoolModeSystem)}},
			AADProfile:        &armcontainerservice.ManagedClusterAADProfile{Managed: to.Ptr(true), EnableAzureRBAC: to.Ptr(true), AdminGroupObjectIDs: []*string{&admins}},
			OidcIssuerProfile: &armcontainerservice.ManagedClusterOIDCIssuerProfile{Enabled: to.Ptr(true)},
			SecurityProfile:   &armcontainerservice.ManagedClusterSecurityProfile{WorkloadIdentity: &armcontainerservice.ManagedClusterSecurityProfileWorkloadIdentity{Enabled: to.Ptr(true)}},
		},
	}, nil)
	made := done(t, poller, err)
	if *made.Properties.ProvisioningState != "Succeeded" || *made.Properties.AADProfile.TenantID != string(cloud.status.TenantID) || *made.Identity.UserAssignedIdentities[*identity.ID].PrincipalID != *identity.Properties.PrincipalID {
		t.Errorf("%+v", made.Properties)
	}
	tag, err := clusters.BeginUpdateTags(ctx, group, "web", armcontainerservice.TagsObject{Tags: map[string]*string{"a": to.Ptr("b")}}, nil)
	if tagged := done(t, tag, err); *tagged.Tags["a"] != "b" {
		t.Errorf("tags %v", tagged.Tags)
	}

	// Credentials, in both forms; the token of the same credential is good for
	// the cluster, where the service principal is not in any group.
	credentials := func(o *armcontainerservice.ManagedClustersClientListClusterUserCredentialsOptions) string {
		t.Helper()
		c, err := clusters.ListClusterUserCredentials(ctx, group, "web", o)
		if err != nil || len(c.Kubeconfigs) != 1 {
			t.Fatalf("%+v %v", c, err)
		}
		return string(c.Kubeconfigs[0].Value)
	}
	if azure := credentials(&armcontainerservice.ManagedClustersClientListClusterUserCredentialsOptions{Format: to.Ptr(armcontainerservice.FormatAzure)}); !strings.Contains(azure, "auth-provider:") {
		t.Errorf("%s", azure)
	}
	user := write(t, credentials(nil))
	token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{aksScope}})
	if err != nil {
		t.Fatal(err)
	}
	asApp := bearer(t, user, token.Token)
	c := &cluster{t: t}
	if who := c.whoami(asApp); who.Username != string(cloud.people.ServicePrincipal.ObjectID) {
		t.Errorf("the application is %+v", who)
	}
	asAda, asDev := bearer(t, user, person(t, "ada", aksScope)), bearer(t, user, person(t, "dev", aksScope))
	if out, err := kubectl(asAda, "get", "nodes"); err != nil || !strings.Contains(out, "aks-nodepool1-") {
		t.Errorf("a member of the admin group: %v\n%s", err, out)
	}
	if out, err := kubectl(asDev, "get", "pods"); err == nil || !strings.Contains(out, "User does not have access to the resource in Azure. Update role assignment to allow access.") {
		t.Errorf("who has no role: %v\n%s", err, out)
	}

	// Role assignments: for a person on a namespace, by a built-in and by a
	// custom role.
	roles := client[*armauthorization.RoleDefinitionsClient](t)(armauthorization.NewRoleDefinitionsClient(cred, nil))
	role := func(name string) *armauthorization.RoleDefinition {
		t.Helper()
		list, _ := all(t, roles.NewListPager(*made.ID, &armauthorization.RoleDefinitionsClientListOptions{Filter: to.Ptr("roleName eq '" + name + "'")}), func(p armauthorization.RoleDefinitionsClientListResponse) []*armauthorization.RoleDefinition {
			return p.Value
		})
		if len(list) != 1 {
			t.Fatalf("%d roles are called %s", len(list), name)
		}
		return list[0]
	}
	if list, _ := all(t, roles.NewListPager(*made.ID, nil), func(p armauthorization.RoleDefinitionsClientListResponse) []*armauthorization.RoleDefinition {
		return p.Value
	}); len(list) < 50 {
		t.Errorf("%d role definitions", len(list))
	}
	assignments := client[*armauthorization.RoleAssignmentsClient](t)(armauthorization.NewRoleAssignmentsClient(sub, cred, nil))
	namespace := *made.ID + "/namespaces/default"
	assign := func(scope, role, principal string, kind armauthorization.PrincipalType) armauthorization.RoleAssignmentsClientCreateResponse {
		t.Helper()
		a, err := assignments.Create(ctx, scope, directory.NewGUID(), armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
			RoleDefinitionID: &role, PrincipalID: &principal, PrincipalType: &kind,
		}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	reads := assign(namespace, *role("Azure Kubernetes Service RBAC Reader").ID, string(dev.ObjectID), armauthorization.PrincipalTypeUser)
	eventually(t, "a role on the namespace works", may(asDev, true, "list", "pods", "--namespace", "default"))
	if out, ok := may(asDev, false, "list", "pods", "--namespace", "kube-system")(); !ok {
		t.Errorf("beyond the namespace: %s", out)
	}
	_, err = assignments.Create(ctx, namespace, directory.NewGUID(), armauthorization.RoleAssignmentCreateParameters{Properties: reads.Properties}, nil)
	refused(t, err, http.StatusConflict, "RoleAssignmentExists")
	found, _ := all(t, assignments.NewListForScopePager(namespace, &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("principalId eq '" + string(dev.ObjectID) + "'")}), func(p armauthorization.RoleAssignmentsClientListForScopeResponse) []*armauthorization.RoleAssignment {
		return p.Value
	})
	if len(found) != 1 || *found[0].ID != *reads.ID {
		t.Errorf("assignments %+v", found)
	}
	if _, err := assignments.DeleteByID(ctx, *reads.ID, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a role that was taken away works no more", may(asDev, false, "list", "pods", "--namespace", "default"))
	own, err := roles.CreateOrUpdate(ctx, *made.ID, directory.NewGUID(), armauthorization.RoleDefinition{Properties: &armauthorization.RoleDefinitionProperties{
		RoleName: to.Ptr("Config map reader"), RoleType: to.Ptr("CustomRole"), AssignableScopes: []*string{to.Ptr("/subscriptions/" + sub + "/resourceGroups/" + group)},
		Permissions: []*armauthorization.Permission{{DataActions: []*string{to.Ptr("Microsoft.ContainerService/managedClusters/configmaps/read")}}},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	assign(*made.ID, *own.ID, string(dev.ObjectID), armauthorization.PrincipalTypeUser)
	eventually(t, "a role of one's own works", may(asDev, true, "list", "configmaps", "--all-namespaces"))
	if out, ok := may(asDev, false, "list", "secrets")(); !ok {
		t.Errorf("beyond the role of one's own: %s", out)
	}

	// An update: another admin group, local accounts off, new certificates.
	others := newGroup(t, "gosdk-others", dev.ObjectID)
	before, err := clusters.ListClusterAdminCredentials(ctx, group, "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	old := write(t, string(before.Kubeconfigs[0].Value))
	current, err := clusters.Get(ctx, group, "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	current.Properties.AADProfile.AdminGroupObjectIDs = []*string{&others}
	current.Properties.DisableLocalAccounts = to.Ptr(true)
	update, err := clusters.BeginCreateOrUpdate(ctx, group, "web", current.ManagedCluster, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = clusters.BeginCreateOrUpdate(ctx, group, "web", current.ManagedCluster, nil)
	refused(t, err, http.StatusConflict, "OperationNotAllowed")
	// The client is gone and comes back with what it has kept.
	resume, err := update.ResumeToken()
	if err != nil {
		t.Fatal(err)
	}
	update, err = clusters.BeginCreateOrUpdate(ctx, "", "", armcontainerservice.ManagedCluster{}, &armcontainerservice.ManagedClustersClientBeginCreateOrUpdateOptions{ResumeToken: resume})
	if updated := done(t, update, err); *updated.Properties.AADProfile.AdminGroupObjectIDs[0] != others || *updated.Tags["a"] != "b" {
		t.Errorf("%+v", updated.Properties.AADProfile)
	}
	eventually(t, "the new admin group works", may(asDev, true, "list", "secrets", "--all-namespaces"))
	eventually(t, "the old admin group works no more", may(asAda, false, "list", "secrets", "--all-namespaces"))
	_, err = clusters.ListClusterAdminCredentials(ctx, group, "web", nil)
	refused(t, err, http.StatusBadRequest, "BadRequest")
	if !strings.Contains(fmt.Sprint(err), localAccounts) {
		t.Errorf("%v", err)
	}
	rotate, err := clusters.BeginRotateClusterCertificates(ctx, group, "web", nil)
	done(t, rotate, err)
	c.unauthorized("the old administrator's kubeconfig", old)
	if out, err := kubectl(bearer(t, write(t, credentials(nil)), person(t, "dev", aksScope)), "get", "nodes"); err != nil {
		t.Errorf("a member of the admin group after the rotation: %v\n%s", err, out)
	}
	pools := client[*armcontainerservice.AgentPoolsClient](t)(armcontainerservice.NewAgentPoolsClient(sub, cred, nil))
	extra, err := pools.BeginCreateOrUpdate(ctx, group, "web", "extra", armcontainerservice.AgentPool{Properties: &armcontainerservice.ManagedClusterAgentPoolProfileProperties{Count: to.Ptr(int32(1)), VMSize: to.Ptr("Standard_D2s_v3"), Mode: to.Ptr(armcontainerservice.AgentPoolModeUser)}}, nil)
	done(t, extra, err)
	asDev = bearer(t, write(t, credentials(nil)), person(t, "dev", aksScope))
	eventually(t, "the new pool's node is there", func() (string, bool) {
		out, err := kubectl(asDev, "get", "nodes")
		return out, err == nil && strings.Contains(out, "aks-extra-")
	})

	// A pod's identity: the cluster's own issuer.
	federated := client[*armmsi.FederatedIdentityCredentialsClient](t)(armmsi.NewFederatedIdentityCredentialsClient(sub, cred, nil))
	issuer := made.Properties.OidcIssuerProfile.IssuerURL
	for i := range 3 {
		if _, err := federated.CreateOrUpdate(ctx, group, "app", fmt.Sprintf("pod%d", i), armmsi.FederatedIdentityCredential{Properties: &armmsi.FederatedIdentityCredentialProperties{
			Issuer: issuer, Subject: to.Ptr(fmt.Sprintf("system:serviceaccount:default:app%d", i)), Audiences: []*string{to.Ptr("api://AzureADTokenExchange")},
		}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	fed, pages := all(t, federated.NewListPager(group, "app", &armmsi.FederatedIdentityCredentialsClientListOptions{Top: to.Ptr(int32(2))}), func(p armmsi.FederatedIdentityCredentialsClientListResponse) []*armmsi.FederatedIdentityCredential {
		return p.Value
	})
	if len(fed) != 3 || pages != 2 {
		t.Errorf("%d federated credentials on %d pages", len(fed), pages)
	}
	exchange(t, asDev, *identity.Properties.ClientID, *issuer)

	// A provider that Entrance does not implement: the document is kept, and a
	// role can be assigned on it.
	resources := client[*armresources.Client](t)(armresources.NewClient(sub, cred, nil))
	vaultID := "/subscriptions/" + sub + "/resourceGroups/" + group + "/providers/Microsoft.KeyVault/vaults/kv"
	create, err := resources.BeginCreateOrUpdateByID(ctx, vaultID, "2023-07-01", armresources.GenericResource{Location: to.Ptr("centralus"), Properties: map[string]any{"sku": map[string]any{"family": "A", "name": "standard"}, "enableRbacAuthorization": true}}, nil)
	vault := done(t, create, err)
	if p, _ := vault.Properties.(map[string]any); p["enableRbacAuthorization"] != true {
		t.Errorf("%+v", vault)
	}
	assign(vaultID, *role("Reader").ID, *identity.Properties.PrincipalID, armauthorization.PrincipalTypeServicePrincipal)
	inGroup, _ := all(t, resources.NewListByResourceGroupPager(group, nil), func(p armresources.ClientListByResourceGroupResponse) []*armresources.GenericResourceExpanded {
		return p.Value
	})
	var types []string
	for _, r := range inGroup {
		types = append(types, *r.Type)
	}
	slices.Sort(types)
	if want := []string{"Microsoft.ContainerService/managedClusters", "Microsoft.KeyVault/vaults", "Microsoft.ManagedIdentity/userAssignedIdentities"}; !slices.Equal(types, want) {
		t.Errorf("the group holds %v", types)
	}

	// The end of it all: the cluster, then the group with everything else.
	remove, err := clusters.BeginDelete(ctx, group, "web", nil)
	done(t, remove, err)
	_, err = clusters.Get(ctx, group, "web", nil)
	refused(t, err, http.StatusNotFound, "ResourceNotFound")
	nothingLeft(t)
	removeGroup, err := groups.BeginDelete(ctx, group, nil)
	done(t, removeGroup, err)
	deleted = true
	_, err = identities.Get(ctx, group, "app", nil)
	refused(t, err, http.StatusNotFound, "ResourceGroupNotFound")
}

// exchange gets a token of a service account from the API server and holds that
// Entra takes it for the identity, at once or soon after the credential was
// made.
func exchange(t *testing.T, kubeconfig, clientID, issuer string) {
	t.Helper()
	if out, err := kubectl(kubeconfig, "create", "serviceaccount", "app1"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := kubectl(kubeconfig, "create", "token", "app1", "--audience", "api://AzureADTokenExchange")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := write(t, strings.TrimSpace(out))
	cred, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientID: clientID, TenantID: string(cloud.status.TenantID), TokenFilePath: file})
	if err != nil {
		t.Fatal(err)
	}
	token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{armScope}})
	if err != nil {
		t.Fatalf("the token of %s is not taken: %v", issuer, err)
	}
	if left := time.Until(token.ExpiresOn); left < time.Minute {
		t.Errorf("the identity's token ends in %v", left)
	}
	var claims struct{ AppID string }
	if raw := payload(t, token.Token); json.Unmarshal(raw, &claims) != nil || claims.AppID != clientID {
		t.Errorf("the token is for %s: %s", claims.AppID, raw)
	}
}
