package imds_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/entrance-id/entrance/internal/imds"
)

// options returns client options by which an SDK reaches srv at the endpoint's
// own address: srv is its proxy. No variable points it anywhere else.
func options(t *testing.T, srv *httptest.Server) azcore.ClientOptions {
	t.Helper()
	for _, v := range []string{
		"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE",
		"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT", "MSI_SECRET", "IMDS_ENDPOINT",
	} {
		t.Setenv(v, "")
		os.Unsetenv(v)
	}
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(u)}
	t.Cleanup(transport.CloseIdleConnections)
	return azcore.ClientOptions{Transport: &http.Client{Transport: transport}}
}

// TestSDK asks with the unmodified Azure SDK, as a program on the machine does.
func TestSDK(t *testing.T) {
	srv := httptest.NewServer(newHandler(t, &fixed{System: &system, Assigned: []imds.Identity{app}}, &issuer{}))
	defer srv.Close()
	opts := options(t, srv)
	for name, tc := range map[string]struct {
		id   azidentity.ManagedIDKind
		want *imds.Identity
	}{
		"system":      {nil, &system},
		"client id":   {azidentity.ClientID(string(app.ClientID)), &app},
		"object id":   {azidentity.ObjectID(string(app.ServicePrincipal)), &app},
		"resource id": {azidentity.ResourceID(app.ResourceID), &app},
		"foreign":     {azidentity.ClientID(string(job.ClientID)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			cred, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: opts, ID: tc.id})
			if err != nil {
				t.Fatal(err)
			}
			got, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{graph + "/.default"}})
			if tc.want == nil {
				if err == nil || !strings.Contains(err.Error(), "Identity not found") && !strings.Contains(err.Error(), "the requested identity isn't assigned") {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(got.Token, string(tenant)+"|"+string(tc.want.ServicePrincipal)+"|"+graph) {
				t.Errorf("token is %q", got.Token)
			}
		})
	}
}

// TestSDKProbe: a chain of credentials first asks without the header whether
// anything is there at all.
func TestSDKProbe(t *testing.T) {
	srv := httptest.NewServer(newHandler(t, &fixed{System: &system}, &issuer{}))
	defer srv.Close()
	opts := options(t, srv)
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "prod")
	cred, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: opts})
	if err != nil {
		t.Fatal(err)
	}
	got, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{graph + "/.default"}})
	if err != nil || !strings.Contains(got.Token, string(system.ServicePrincipal)) {
		t.Errorf("got %q, %v", got.Token, err)
	}
}
