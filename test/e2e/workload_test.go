package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/entrance-id/entrance/entrancetest"
)

const (
	serviceAccount = `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"app","annotations":{"azure.workload.identity/client-id":"CLIENT"}}}`
	workloadPod    = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"app","labels":{"azure.workload.identity/use":"true"}},"spec":{"serviceAccountName":"app","initContainers":[{"name":"init","image":"x"}],"containers":[{"name":"app","image":"x","env":[{"name":"AZURE_TENANT_ID","value":"mine"}]},{"name":"aside","image":"x"}]}}`
)

// apply creates an object with the real kubectl.
func apply(t *testing.T, k *entrancetest.Cluster, manifest string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := k.Kubectl(t, "", "create", "-f", file); err != nil {
		t.Fatalf("kubectl create: %v\n%s", err, out)
	}
}

// TestWorkloadIdentity is the whole way of a pod without a secret: a real
// cluster's issuer, an identity that trusts a service account, a pod that the
// real API server has admitted and changed, a token of the real TokenRequest
// API, and unmodified clients that exchange it to sign in to the cluster.
func TestWorkloadIdentity(t *testing.T) {
	cloud := entrancetest.Start(t)
	k := cloud.StartCluster(t, entrancetest.ClusterOptions{Workload: true})
	var cluster struct {
		Properties struct {
			OIDCIssuerProfile struct{ IssuerURL string }
		}
	}
	cloud.ARM(t, http.MethodGet, k.ID+"?api-version=2025-03-01", nil, &cluster)
	issuer := cluster.Properties.OIDCIssuerProfile.IssuerURL
	if !strings.HasSuffix(issuer, "/") {
		t.Fatalf("issuer %q", issuer)
	}
	// The issuer's documents are there for anybody.
	for _, path := range []string{".well-known/openid-configuration", "openid/v1/jwks"} {
		res, err := cloud.Client.Get(issuer + path)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v %v", path, res, err)
		}
		res.Body.Close()
	}

	identity := "/subscriptions/" + cloud.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
	var made struct {
		Properties struct{ ClientID, PrincipalID string }
	}
	cloud.ARM(t, http.MethodPut, identity+"?api-version=2023-01-31", map[string]string{"location": "centralus"}, &made)
	client := made.Properties.ClientID
	cloud.ARM(t, http.MethodPut, identity+"/federatedIdentityCredentials/app?api-version=2023-01-31", map[string]any{
		"properties": map[string]any{"issuer": issuer, "subject": "system:serviceaccount:default:app", "audiences": []string{"api://AzureADTokenExchange"}},
	}, nil)

	apply(t, k, strings.Replace(serviceAccount, "CLIENT", client, 1))
	apply(t, k, workloadPod)
	out, err := k.Kubectl(t, "", "get", "pod", "app", "-o", "json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	type container struct {
		Name         string
		Env          []struct{ Name, Value string }
		VolumeMounts []struct{ Name, MountPath string }
	}
	var pod struct {
		Spec struct {
			InitContainers, Containers []container
			Volumes                    []struct {
				Name      string
				Projected *struct {
					Sources []struct {
						ServiceAccountToken *struct {
							Audience, Path    string
							ExpirationSeconds int
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &pod); err != nil {
		t.Fatal(err)
	}
	audience := ""
	for _, v := range pod.Spec.Volumes {
		if v.Name == "azure-identity-token" && v.Projected != nil {
			audience = v.Projected.Sources[0].ServiceAccountToken.Audience
		}
	}
	if audience != "api://AzureADTokenExchange" {
		t.Errorf("the stored pod has no projected token for the exchange:\n%s", out)
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		env := map[string]string{}
		for _, e := range c.Env {
			env[e.Name] = e.Value
		}
		tenant := cloud.TenantID
		if c.Name == "app" {
			tenant = "mine" // what a container sets itself stays
		}
		for name, want := range map[string]string{
			"AZURE_CLIENT_ID": client, "AZURE_TENANT_ID": tenant, "AZURE_AUTHORITY_HOST": cloud.URL + "/",
			"AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
		} {
			if env[name] != want {
				t.Errorf("container %s: %s = %q, want %q", c.Name, name, env[name], want)
			}
		}
	}

	token, err := k.Kubectl(t, "", "create", "token", "app", "--audience", audience)
	if err != nil {
		t.Fatalf("%v\n%s", err, token)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(strings.TrimSpace(token)), 0o600); err != nil {
		t.Fatal(err)
	}
	options := azcore.ClientOptions{Cloud: azcloud.Configuration{ActiveDirectoryAuthorityHost: cloud.URL + "/"}, Transport: cloud.Client}
	credential, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: options, ClientID: client, TenantID: cloud.TenantID, TokenFilePath: file, DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := credential.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{cloud.AKSScope()}})
	if err != nil {
		t.Fatalf("azidentity: %v", err)
	}
	if out, err = k.Kubectl(t, got.Token, "auth", "whoami"); err != nil || !strings.Contains(out, made.Properties.PrincipalID) {
		t.Errorf("whoami with azidentity's token: %v\n%s", err, out)
	}

	// The plugin, as kubectl runs it.
	plugin := func(env []string, args ...string) (string, error) {
		cmd := exec.Command(filepath.Join(bin(t), "kubelogin"), append([]string{"get-token", "--server-id", "6dae42f8-4368-4678-94ff-3960e28e3630", "--disable-instance-discovery"}, args...)...)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "KUBELOGIN_CACHE_KEY=none", "SSL_CERT_FILE=" + cloud.CAFile}, env...)
		out, err := cmd.CombinedOutput()
		var exec struct{ Status struct{ Token string } }
		if json.Unmarshal(out, &exec) == nil {
			return exec.Status.Token, err
		}
		return string(out), err
	}
	raw, err := plugin([]string{"AZURE_AUTHORITY_HOST=" + cloud.URL + "/"}, "-l", "workloadidentity", "--client-id", client, "--tenant-id", cloud.TenantID, "--federated-token-file", file)
	if err != nil {
		t.Fatalf("kubelogin -l workloadidentity: %v\n%s", err, raw)
	}
	if out, err = k.Kubectl(t, raw, "auth", "whoami"); err != nil || !strings.Contains(out, made.Properties.PrincipalID) {
		t.Errorf("whoami with kubelogin's token: %v\n%s", err, out)
	}

	// A token of another service account, or for another audience, is nobody's.
	for name, args := range map[string][]string{
		"another account":  {"create", "token", "default", "--audience", audience},
		"another audience": {"create", "token", "app", "--audience", "https://elsewhere"},
	} {
		wrong, err := k.Kubectl(t, "", args...)
		if err != nil {
			t.Fatalf("%v\n%s", err, wrong)
		}
		res, err := cloud.Client.PostForm(cloud.URL+"/"+cloud.TenantID+"/oauth2/v2.0/token", url.Values{
			"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {cloud.ARMScope()},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {strings.TrimSpace(wrong)},
		})
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Token string `json:"access_token"`
			Codes []int  `json:"error_codes"`
		}
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		want := map[string]int{"another account": 700213, "another audience": 700212}[name]
		if answer.Token != "" || len(answer.Codes) != 1 || answer.Codes[0] != want {
			t.Errorf("%s: codes %v, want %d", name, answer.Codes, want)
		}
	}

	try := func(args ...string) (string, error) {
		all := append([]string{"identity", "try", "--data-dir", filepath.Dir(cloud.CAFile), "--cluster", k.Name}, args...)
		out, err := exec.Command(filepath.Join(bin(t), "entrance"), all...).CombinedOutput()
		return string(out), err
	}
	if out, err := try("--service-account", "app"); err != nil || strings.Count(out, "ok ") != 6 {
		t.Errorf("identity try: %v\n%s", err, out)
	}
	if out, err := try("--service-account", "default", "--client-id", client); err == nil || !strings.Contains(out, "app differs in subject") {
		t.Errorf("identity try with another account: %v\n%s", err, out)
	}
	if out, err := try("--service-account", "app", "--audience", "https://elsewhere"); err == nil || !strings.Contains(out, "app differs in audience") {
		t.Errorf("identity try with another audience: %v\n%s", err, out)
	}

	// Managed identity: the machine's own, and the user-assigned one by its
	// client id, at the address that the clients have built in.
	proxy, err := url.Parse(cloud.Status().Endpoints.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	through := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	for name, id := range map[string]azidentity.ManagedIDKind{"system-assigned": nil, "user-assigned": azidentity.ClientID(client)} {
		msi, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: through}, ID: id})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := msi.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{cloud.ARMScope()}}); err != nil || got.Token == "" {
			t.Errorf("azidentity, %s: %v", name, err)
		}
	}
	for name, args := range map[string][]string{"system-assigned": nil, "user-assigned": {"--client-id", client}} {
		raw, err := plugin([]string{"HTTP_PROXY=" + proxy.String()}, append([]string{"-l", "msi"}, args...)...)
		if err != nil {
			t.Errorf("kubelogin -l msi, %s: %v\n%s", name, err, raw)
			continue
		}
		if out, err := k.Kubectl(t, raw, "auth", "whoami"); err != nil || name == "user-assigned" && !strings.Contains(out, made.Properties.PrincipalID) {
			t.Errorf("whoami with a managed identity, %s: %v\n%s", name, err, out)
		}
	}

	// Switched off, pods are left alone.
	cloud.ARM(t, http.MethodGet, k.ID+"?api-version=2025-03-01", nil, &cluster)
	var doc map[string]any
	cloud.ARM(t, http.MethodGet, k.ID+"?api-version=2025-03-01", nil, &doc)
	doc["properties"].(map[string]any)["securityProfile"] = map[string]any{"workloadIdentity": map[string]any{"enabled": false}}
	cloud.ARM(t, http.MethodPut, k.ID+"?api-version=2025-03-01", doc, nil)
	k.Wait(t)
	apply(t, k, strings.Replace(workloadPod, `"name":"app","labels"`, `"name":"plain","labels"`, 1))
	if out, err := k.Kubectl(t, "", "get", "pod", "plain", "-o", "json"); err != nil || strings.Contains(out, "AZURE_CLIENT_ID") {
		t.Errorf("after switching workload identity off: %v\n%s", err, out)
	}
}
