package entrancetest_test

import (
	"context"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/entrance-id/entrance/entrancetest"
)

// TestRealClient is how a test of your own software signs in: with the real
// client library, pointed at the cloud.
func TestRealClient(t *testing.T) {
	c := entrancetest.Start(t)
	app := c.AddApp(t, "my-service")
	credential, err := azidentity.NewClientSecretCredential(c.TenantID, app.ClientID, app.ClientSecret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: c.URL + "/"},
			Transport: c.Client,
		},
		DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := credential.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{c.ARMScope()}})
	if err != nil || token.Token == "" {
		t.Fatalf("the real client: %v", err)
	}
}
