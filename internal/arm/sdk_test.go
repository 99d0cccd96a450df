package arm_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"github.com/entrance-id/entrance/internal/directory"
)

// transport sends requests to the service without a network.
type transport struct{ w *world }

// Do implements policy.Transporter.
func (t transport) Do(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	t.w.service.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// token is a credential whose tokens this package's tests understand.
type token string

// GetToken implements azcore.TokenCredential.
func (c token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(c), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func ptr[T any](v T) *T { return &v }

// TestSDK does with Microsoft's own Go clients what the seeds do with az.
func TestSDK(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	cred := token(string(w.tenant) + "/" + string(w.olga))
	options := &azarm.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: transport{w}, Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: baseURL,
			Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: baseURL, Audience: baseURL}},
		},
	}}
	poll := &runtime.PollUntilDoneOptions{Frequency: time.Second}

	groups, err := armresources.NewResourceGroupsClient(w.sub, cred, options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := groups.CreateOrUpdate(ctx, "rg", armresources.ResourceGroup{Location: ptr("eastus")}, nil); err != nil {
		t.Fatal(err)
	}
	if ok, err := groups.CheckExistence(ctx, "rg", nil); err != nil || !ok.Success {
		t.Errorf("existence: %v %v", ok, err)
	}

	identities, err := armmsi.NewUserAssignedIdentitiesClient(w.sub, cred, options)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := identities.CreateOrUpdate(ctx, "rg", "app", armmsi.Identity{Location: ptr("eastus")}, nil)
	if err != nil {
		t.Fatal(err)
	}

	clusters, err := armcontainerservice.NewManagedClustersClient(w.sub, cred, options)
	if err != nil {
		t.Fatal(err)
	}
	create, err := clusters.BeginCreateOrUpdate(ctx, "rg", "web", armcontainerservice.ManagedCluster{
		Location: ptr("eastus"),
		Identity: &armcontainerservice.ManagedClusterIdentity{Type: ptr(armcontainerservice.ResourceIdentityTypeSystemAssigned)},
		Properties: &armcontainerservice.ManagedClusterProperties{
			DNSPrefix:         ptr("web"),
			AgentPoolProfiles: []*armcontainerservice.ManagedClusterAgentPoolProfile{{Name: ptr("nodepool1"), Count: ptr(int32(2)), Mode: ptr(armcontainerservice.AgentPoolModeSystem)}},
			AADProfile:        &armcontainerservice.ManagedClusterAADProfile{Managed: ptr(true), EnableAzureRBAC: ptr(true), AdminGroupObjectIDs: []*string{ptr(string(w.group))}},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	made, err := create.PollUntilDone(ctx, poll)
	if err != nil {
		t.Fatal(err)
	}
	if *made.Properties.ProvisioningState != "Succeeded" || *made.Properties.AADProfile.TenantID != string(w.tenant) {
		t.Errorf("%+v", made.Properties)
	}
	creds, err := clusters.ListClusterUserCredentials(ctx, "rg", "web", &armcontainerservice.ManagedClustersClientListClusterUserCredentialsOptions{Format: ptr(armcontainerservice.FormatExec)})
	if err != nil || string(creds.Kubeconfigs[0].Value) != "user "+*made.ID+" exec" {
		t.Errorf("%v %v", creds, err)
	}
	rotate, err := clusters.BeginRotateClusterCertificates(ctx, "rg", "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rotate.PollUntilDone(ctx, poll); err != nil {
		t.Fatal(err)
	}
	made.Properties.DisableLocalAccounts = ptr(true)
	update, err := clusters.BeginCreateOrUpdate(ctx, "rg", "web", made.ManagedCluster, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := update.PollUntilDone(ctx, poll); err != nil {
		t.Fatal(err)
	}
	_, err = clusters.ListClusterAdminCredentials(ctx, "rg", "web", nil)
	if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.StatusCode != 400 || e.ErrorCode != "BadRequest" {
		t.Errorf("admin credentials with local accounts disabled: %v", err)
	}
	tags, err := clusters.BeginUpdateTags(ctx, "rg", "web", armcontainerservice.TagsObject{Tags: map[string]*string{"a": ptr("b")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if tagged, err := tags.PollUntilDone(ctx, poll); err != nil || *tagged.Tags["a"] != "b" {
		t.Errorf("%v %v", tagged, err)
	}
	n := 0
	for pager := clusters.NewListPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Value)
	}
	if n != 1 {
		t.Errorf("%d clusters", n)
	}

	roles, err := armauthorization.NewRoleDefinitionsClient(cred, options)
	if err != nil {
		t.Fatal(err)
	}
	page, err := roles.NewListPager(*made.ID, &armauthorization.RoleDefinitionsClientListOptions{Filter: ptr("roleName eq 'Azure Kubernetes Service RBAC Reader'")}).NextPage(ctx)
	if err != nil || len(page.Value) != 1 || *page.Value[0].Properties.RoleType != "BuiltInRole" {
		t.Fatalf("%v %v", page, err)
	}
	assignments, err := armauthorization.NewRoleAssignmentsClient(w.sub, cred, options)
	if err != nil {
		t.Fatal(err)
	}
	name := directory.NewGUID()
	ns := *made.ID + "/namespaces/dev"
	got, err := assignments.Create(ctx, ns, name, armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		RoleDefinitionID: page.Value[0].ID, PrincipalID: identity.Properties.PrincipalID, PrincipalType: ptr(armauthorization.PrincipalTypeServicePrincipal),
	}}, nil)
	if err != nil || *got.Properties.Scope != ns {
		t.Fatalf("%v %v", got, err)
	}
	list, err := assignments.NewListForScopePager(ns, &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: ptr("atScope()")}).NextPage(ctx)
	if err != nil || len(list.Value) != 2 {
		t.Errorf("%v %v", list, err)
	}
	if _, err := assignments.Delete(ctx, ns, name, nil); err != nil {
		t.Error(err)
	}

	fed, err := armmsi.NewFederatedIdentityCredentialsClient(w.sub, cred, options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fed.CreateOrUpdate(ctx, "rg", "app", "pods", armmsi.FederatedIdentityCredential{Properties: &armmsi.FederatedIdentityCredentialProperties{
		Issuer: made.Properties.OidcIssuerProfile.IssuerURL, Subject: ptr("system:serviceaccount:dev:app"), Audiences: []*string{ptr("api://AzureADTokenExchange")},
	}}, nil); err != nil {
		t.Error(err)
	}

	remove, err := groups.BeginDelete(ctx, "rg", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remove.PollUntilDone(ctx, poll); err != nil {
		t.Fatal(err)
	}
	_, err = clusters.Get(ctx, "rg", "web", nil)
	if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.ErrorCode != "ResourceGroupNotFound" || !strings.Contains(e.Error(), "could not be found") {
		t.Errorf("after the deletion: %v", err)
	}
}
