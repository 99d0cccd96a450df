// Package workload_test has pods, machines and clusters sign in without a secret,
// on real clusters, with the real kubectl, kubelogin and az and unmodified SDKs.
package workload_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/test/tools"
)

const (
	serviceAccount = `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"app","annotations":{"azure.workload.identity/client-id":"CLIENT"}}}`
	workloadPod    = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"app","labels":{"azure.workload.identity/use":"true"}},"spec":{"serviceAccountName":"app","initContainers":[{"name":"init","image":"x"}],"containers":[{"name":"app","image":"x","env":[{"name":"AZURE_TENANT_ID","value":"mine"}]},{"name":"aside","image":"x"}]}}`
	audience       = "api://AzureADTokenExchange"
)

// must runs the real kubectl as the administrator of a cluster.
func must(t *testing.T, k *entrancetest.Cluster, args ...string) string {
	t.Helper()
	out, err := k.Kubectl(t, "", args...)
	if err != nil {
		t.Fatalf("kubectl %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(out)
}

// apply creates an object with the real kubectl.
func apply(t *testing.T, k *entrancetest.Cluster, manifest string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, k, "create", "-f", file)
}

// identity is a user-assigned identity.
type identity struct{ id, client, principal string }

func newIdentity(t *testing.T, cloud *entrancetest.Cloud, name string) identity {
	t.Helper()
	i := identity{id: "/subscriptions/" + cloud.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name}
	var made struct {
		Properties struct{ ClientID, PrincipalID string }
	}
	cloud.ARM(t, http.MethodPut, i.id+"?api-version=2023-01-31", map[string]string{"location": "centralus"}, &made)
	i.client, i.principal = made.Properties.ClientID, made.Properties.PrincipalID
	return i
}

func (i identity) trust(t *testing.T, cloud *entrancetest.Cloud, name, issuer, subject string) {
	t.Helper()
	cloud.ARM(t, http.MethodPut, i.id+"/federatedIdentityCredentials/"+name+"?api-version=2023-01-31", map[string]any{
		"properties": map[string]any{"issuer": issuer, "subject": subject, "audiences": []string{audience}},
	}, nil)
}

// exchange presents a service account's token, and returns the access token or
// the AADSTS code of the refusal.
func exchange(t *testing.T, cloud *entrancetest.Cloud, client, assertion string) (token string, code int) {
	t.Helper()
	res, err := cloud.Client.PostForm(cloud.URL+"/"+cloud.TenantID+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {cloud.AKSScope()},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Codes []int  `json:"error_codes"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Codes) > 0 {
		return "", answer.Codes[0]
	}
	return answer.Token, 0
}

// issuerOf returns the issuer of a cluster.
func issuerOf(t *testing.T, cloud *entrancetest.Cloud, k *entrancetest.Cluster) string {
	t.Helper()
	var doc struct {
		Properties struct {
			OIDCIssuerProfile struct{ IssuerURL string }
		}
	}
	cloud.ARM(t, http.MethodGet, k.ID+"?api-version=2025-03-01", nil, &doc)
	return doc.Properties.OIDCIssuerProfile.IssuerURL
}

// servedKeys returns the key ids that an issuer serves, to anybody.
func servedKeys(t *testing.T, cloud *entrancetest.Cloud, issuer string) (kids []string) {
	t.Helper()
	res, err := cloud.Client.Get(issuer + "openid/v1/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var set struct{ Keys []struct{ Kid string } }
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("HTTP %d: %v", res.StatusCode, err)
	}
	for _, k := range set.Keys {
		kids = append(kids, k.Kid)
	}
	return kids
}

// TestWorkloadIdentity is the whole way of a pod without a secret: a real
// cluster's issuer, an identity that trusts a service account, a pod that the
// real API server has admitted and changed, a token of the real TokenRequest
// API, and unmodified clients that exchange it to sign in to another cluster.
func TestWorkloadIdentity(t *testing.T) {
	cloud := entrancetest.Start(t)
	app, cluster, nodes := newIdentity(t, cloud, "app"), newIdentity(t, cloud, "cluster"), newIdentity(t, cloud, "nodes")
	first := cloud.StartCluster(t, entrancetest.ClusterOptions{Name: "first", Workload: true})
	second := cloud.StartCluster(t, entrancetest.ClusterOptions{Name: "second", Identity: cluster.id, KubeletIdentity: nodes.id})
	issuer := issuerOf(t, cloud, first)
	if !strings.HasSuffix(issuer, "/") || len(servedKeys(t, cloud, issuer)) != 1 {
		t.Fatalf("issuer %q", issuer)
	}
	app.trust(t, cloud, "app", issuer, "system:serviceaccount:default:app")
	apply(t, first, strings.Replace(serviceAccount, "CLIENT", app.client, 1))
	apply(t, first, workloadPod)
	env := storedPod(t, cloud, first, app)

	// The token that the pod would have, where its variable says that it is.
	file := filepath.Join(t.TempDir(), "azure-identity-token")
	renew := func() string {
		t.Helper()
		token := must(t, first, "create", "token", "app", "--audience", audience)
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		return token
	}
	old := renew()
	env = append(env, "AZURE_FEDERATED_TOKEN_FILE="+file, "SSL_CERT_FILE="+cloud.CAFile)

	// Each of the identities may look at pods in the other cluster, and no more.
	for name, i := range map[string]identity{"app": app, "cluster": cluster, "nodes": nodes} {
		must(t, second, "create", "clusterrolebinding", name, "--clusterrole=view", "--user="+i.principal)
	}
	signedIn := func(t *testing.T, who identity, run func(args ...string) (string, error)) {
		t.Helper()
		if out, err := run("auth", "whoami"); err != nil || !strings.Contains(out, who.principal) {
			t.Errorf("whoami: %v\n%s", err, out)
		}
		if out, err := run("get", "pods"); err != nil || !strings.Contains(out, "No resources found") {
			t.Errorf("get pods: %v\n%s", err, out)
		}
		if out, err := run("get", "secrets"); err == nil || !strings.Contains(out, "Forbidden") {
			t.Errorf("get secrets: %v\n%s", err, out)
		}
	}
	bearer := func(token string) func(args ...string) (string, error) {
		return func(args ...string) (string, error) { return second.Kubectl(t, token, args...) }
	}
	// plugin runs kubectl with a user kubeconfig that kubelogin has converted.
	plugin := func(t *testing.T, env []string, convert ...string) func(args ...string) (string, error) {
		t.Helper()
		dir := t.TempDir()
		raw, err := os.ReadFile(second.UserKubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		config := filepath.Join(dir, "config")
		if err := os.WriteFile(config, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		env = append([]string{"PATH=" + tools.Bin(t) + ":" + os.Getenv("PATH"), "HOME=" + dir, "KUBELOGIN_CACHE_KEY=none", "KUBECONFIG=" + config}, env...)
		run := func(name string, args ...string) (string, error) {
			cmd := exec.Command(filepath.Join(tools.Bin(t), name), args...)
			cmd.Env = env
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
		if out, err := run("kubelogin", append([]string{"convert-kubeconfig"}, convert...)...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return func(args ...string) (string, error) { return run("kubectl", args...) }
	}

	t.Run("azidentity", func(t *testing.T) {
		for _, e := range env {
			name, value, _ := strings.Cut(e, "=")
			t.Setenv(name, value)
		}
		credential, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: azcore.ClientOptions{Transport: cloud.Client}, DisableInstanceDiscovery: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := credential.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{cloud.AKSScope()}})
		if err != nil {
			t.Fatal(err)
		}
		signedIn(t, app, bearer(got.Token))
	})
	t.Run("kubelogin -l workloadidentity", func(t *testing.T) {
		signedIn(t, app, plugin(t, env, "-l", "workloadidentity"))
	})
	t.Run("tokens of others", func(t *testing.T) {
		must(t, first, "create", "namespace", "other")
		must(t, first, "create", "serviceaccount", "app", "-n", "other")
		for name, want := range map[string]struct {
			args []string
			code int
		}{
			"another account":   {[]string{"default", "--audience", audience}, 700213},
			"another namespace": {[]string{"app", "-n", "other", "--audience", audience}, 700213},
			"another audience":  {[]string{"app", "--audience", "https://elsewhere"}, 700212},
		} {
			wrong := must(t, first, append([]string{"create", "token"}, want.args...)...)
			if token, code := exchange(t, cloud, app.client, wrong); token != "" || code != want.code {
				t.Errorf("%s: AADSTS%d, want %d", name, code, want.code)
			}
		}
		// The same account of the other cluster, which has another issuer.
		must(t, second, "create", "serviceaccount", "app")
		if token, code := exchange(t, cloud, app.client, must(t, second, "create", "token", "app", "--audience", audience)); token != "" || code != 700211 {
			t.Errorf("another cluster: AADSTS%d", code)
		}
	})

	// Abuse case 37: whoever may annotate a service account gets its pods the
	// names of any identity, and no access.
	t.Run("spoofed", func(t *testing.T) {
		must(t, first, "create", "serviceaccount", "thief")
		must(t, first, "annotate", "serviceaccount", "thief", "azure.workload.identity/client-id="+app.client)
		must(t, first, "run", "thief", "--image=x", "--labels=azure.workload.identity/use=true", `--overrides={"spec":{"serviceAccountName":"thief"}}`)
		if got := must(t, first, "get", "pod", "thief", "-o", `jsonpath={.spec.containers[0].env[?(@.name=="AZURE_CLIENT_ID")].value}`); got != app.client {
			t.Errorf("AZURE_CLIENT_ID=%q", got)
		}
		if token, code := exchange(t, cloud, app.client, must(t, first, "create", "token", "thief", "--audience", audience)); token != "" || code != 700213 {
			t.Errorf("AADSTS%d", code)
		}
	})
	t.Run("identity try", func(t *testing.T) { identityTry(t, cloud, first, second, app) })

	proxy := cloud.Status().Endpoints.Proxy
	t.Run("managed identity by azidentity", func(t *testing.T) {
		at, err := url.Parse(proxy)
		if err != nil {
			t.Fatal(err)
		}
		through := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(at)}}
		get := func(id azidentity.ManagedIDKind) (string, error) {
			msi, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: through}, ID: id})
			if err != nil {
				return "", err
			}
			got, err := msi.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{cloud.AKSScope()}})
			return got.Token, err
		}
		for name, id := range map[string]azidentity.ManagedIDKind{
			"by client id": azidentity.ClientID(app.client), "by object id": azidentity.ObjectID(app.principal), "by resource id": azidentity.ResourceID(app.id),
		} {
			token, err := get(id)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			signedIn(t, app, bearer(token))
		}
		// The identity that the nodes of the other cluster act as.
		if token, err := get(azidentity.ClientID(nodes.client)); err != nil {
			t.Error(err)
		} else {
			signedIn(t, nodes, bearer(token))
		}
		if token, err := get(nil); err != nil || token == "" {
			t.Errorf("the machine's own: %v", err)
		} else if out, err := second.Kubectl(t, token, "auth", "whoami"); err != nil || strings.Contains(out, app.principal) {
			t.Errorf("whoami as the machine: %v\n%s", err, out)
		}
		if _, err := get(azidentity.ClientID("00000000-0000-4000-8000-000000000000")); err == nil {
			t.Error("an identity that the machine does not have")
		}
	})
	t.Run("kubelogin -l msi", func(t *testing.T) {
		through := []string{"HTTP_PROXY=" + proxy, "SSL_CERT_FILE=" + cloud.CAFile}
		signedIn(t, app, plugin(t, through, "-l", "msi", "--client-id", app.client))
		if out, err := plugin(t, through, "-l", "msi")("auth", "whoami"); err != nil || strings.Contains(out, app.principal) || !strings.Contains(out, "Username") {
			t.Errorf("the machine's own: %v\n%s", err, out)
		}
	})
	t.Run("identities of clusters", func(t *testing.T) { identitiesOfClusters(t, cloud, first, second, cluster, nodes) })
	t.Run("example", func(t *testing.T) { readyExample(t, cloud, first) })

	t.Run("switched on by the SDK", func(t *testing.T) {
		switchWorkload(t, cloud, second, true)
		now := issuerOf(t, cloud, second)
		if !strings.HasSuffix(now, "/") || now == issuer {
			t.Fatalf("issuer %q", now)
		}
		app.trust(t, cloud, "second", now, "system:serviceaccount:default:app")
		must(t, second, "annotate", "serviceaccount", "app", "azure.workload.identity/client-id="+app.client)
		must(t, second, "run", "on", "--image=x", "--labels=azure.workload.identity/use=true", `--overrides={"spec":{"serviceAccountName":"app"}}`)
		if got := must(t, second, "get", "pod", "on", "-o", `jsonpath={.spec.containers[0].env[?(@.name=="AZURE_CLIENT_ID")].value}`); got != app.client {
			t.Errorf("AZURE_CLIENT_ID=%q", got)
		}
		if _, code := exchange(t, cloud, app.client, must(t, second, "create", "token", "app", "--audience", audience)); code != 0 {
			t.Errorf("AADSTS%d", code)
		}
		switchWorkload(t, cloud, second, false)
		must(t, second, "run", "off", "--image=x", "--labels=azure.workload.identity/use=true", `--overrides={"spec":{"serviceAccountName":"app"}}`)
		if got := must(t, second, "get", "pod", "off", "-o", "jsonpath={.spec.containers[0].env}"); got != "" {
			t.Errorf("switched off, a pod gets %s", got)
		}
	})

	// Rotation: the API server signs with a new key; for a day the old one stays
	// published, and what it has signed stays good here and there.
	t.Run("rotation", func(t *testing.T) {
		before := servedKeys(t, cloud, issuer)
		cloud.ARM(t, http.MethodPost, first.ID+"/rotateServiceAccountSigningKeys?api-version=2025-03-01", nil, nil)
		first.Wait(t)
		after := servedKeys(t, cloud, issuer)
		if len(before) != 1 || len(after) != 2 || !slices.Contains(after, before[0]) {
			t.Fatalf("keys before %q, after %q", before, after)
		}
		fresh := must(t, first, "create", "token", "app", "--audience", audience)
		if header, _, _ := strings.Cut(fresh, "."); strings.HasPrefix(old, header+".") {
			t.Error("the new token is signed with the old key")
		}
		for name, token := range map[string]string{"old": old, "new": fresh} {
			if _, code := exchange(t, cloud, app.client, token); code != 0 {
				t.Errorf("%s: AADSTS%d", name, code)
			}
		}
		if now := issuerOf(t, cloud, first); now != issuer {
			t.Errorf("the issuer is %q now", now)
		}
	})
}

// storedPod checks what the admission webhook has made of the pod, as it is
// stored, and returns the variables of a container.
func storedPod(t *testing.T, cloud *entrancetest.Cloud, k *entrancetest.Cluster, app identity) []string {
	t.Helper()
	type container struct {
		Name         string
		Env          []struct{ Name, Value string }
		VolumeMounts []struct {
			Name, MountPath string
			ReadOnly        bool
		}
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
	out := must(t, k, "get", "pod", "app", "-o", "json")
	if err := json.Unmarshal([]byte(out), &pod); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, v := range pod.Spec.Volumes {
		if v.Name == "azure-identity-token" && v.Projected != nil {
			s := v.Projected.Sources[0].ServiceAccountToken
			found = s.Audience == audience && s.Path == "azure-identity-token" && s.ExpirationSeconds == 3600
		}
	}
	if !found {
		t.Errorf("the stored pod has no projected token for the exchange:\n%s", out)
	}
	var env []string
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		has := map[string]string{}
		for _, e := range c.Env {
			has[e.Name] = e.Value
		}
		tenant := cloud.TenantID
		if c.Name == "app" {
			tenant = "mine" // what a container sets itself stays
		}
		for name, want := range map[string]string{
			"AZURE_CLIENT_ID": app.client, "AZURE_TENANT_ID": tenant, "AZURE_AUTHORITY_HOST": cloud.URL + "/",
			"AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
		} {
			if has[name] != want {
				t.Errorf("container %s: %s = %q, want %q", c.Name, name, has[name], want)
			}
			if c.Name == "aside" && name != "AZURE_FEDERATED_TOKEN_FILE" {
				env = append(env, name+"="+has[name])
			}
		}
		if !slices.ContainsFunc(c.VolumeMounts, func(m struct {
			Name, MountPath string
			ReadOnly        bool
		}) bool {
			return m.Name == "azure-identity-token" && m.MountPath == "/var/run/secrets/azure/tokens" && m.ReadOnly
		}) {
			t.Errorf("container %s has no token: %+v", c.Name, c.VolumeMounts)
		}
	}
	return env
}

// identityTry is what a newcomer meets: each part that is missing or wrong is
// named, with what to do about it.
func identityTry(t *testing.T, cloud *entrancetest.Cloud, first, second *entrancetest.Cluster, app identity) {
	bare := newIdentity(t, cloud, "bare")
	slash := newIdentity(t, cloud, "slash")
	issuer := issuerOf(t, cloud, first)
	slash.trust(t, cloud, "no-slash", strings.TrimSuffix(issuer, "/"), "system:serviceaccount:default:app")
	slash.trust(t, cloud, "case", issuer, "system:serviceaccount:default:App")
	must(t, first, "create", "serviceaccount", "plain")
	try := func(k *entrancetest.Cluster, args ...string) (string, int) {
		t.Helper()
		cmd := exec.Command(filepath.Join(tools.Bin(t), "entrance"), append([]string{"identity", "try", "--data-dir", filepath.Dir(cloud.CAFile), "--cluster", k.Name}, args...)...)
		out, err := cmd.CombinedOutput()
		if _, exited := err.(*exec.ExitError); err != nil && !exited {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, code := try(first, "--service-account", "app")
	if code != 0 || strings.Count(out, "ok ") != 7 || strings.Contains(out, "FAILED") || !strings.Contains(out, "AZURE_FEDERATED_TOKEN_FILE") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	for name, tt := range map[string]struct {
		k     *entrancetest.Cluster
		args  []string
		steps int // that went well before
		text  []string
	}{
		"no issuer":        {second, []string{"--service-account", "default"}, 0, []string{"az aks update -g sample -n second --enable-oidc-issuer"}},
		"no account":       {first, []string{"--service-account", "nobody"}, 1, []string{"kubectl create serviceaccount nobody -n default"}},
		"no namespace":     {first, []string{"--service-account", "app", "-n", "nowhere"}, 1, []string{"kubectl create serviceaccount app -n nowhere"}},
		"no annotation":    {first, []string{"--service-account", "plain"}, 1, []string{"kubectl annotate serviceaccount plain -n default azure.workload.identity/client-id=CLIENT_ID"}},
		"not a client id":  {first, []string{"--service-account", "app", "--client-id", "app"}, 4, []string{`"app" is not a client id`}},
		"nobody's id":      {first, []string{"--service-account", "app", "--client-id", "00000000-0000-4000-8000-000000000000"}, 4, []string{"az identity list"}},
		"no credential":    {first, []string{"--service-account", "app", "--client-id", bare.client}, 5, []string{"The identity has none", "--issuer " + issuer + " --subject system:serviceaccount:default:app"}},
		"another subject":  {first, []string{"--service-account", "plain", "--client-id", app.client}, 5, []string{"app differs in subject"}},
		"another audience": {first, []string{"--service-account", "app", "--audience", "https://elsewhere"}, 5, []string{"app differs in audience"}},
		"eyes pass over":   {first, []string{"--service-account", "app", "--client-id", slash.client}, 5, []string{"(the final slash is missing)", "(letter case counts)"}},
	} {
		out, code := try(tt.k, tt.args...)
		if code != 1 || strings.Count(out, "ok ") != tt.steps || strings.Count(out, "FAILED") != 1 {
			t.Errorf("%s: exit code %d\n%s", name, code, out)
		}
		for _, text := range tt.text {
			if !strings.Contains(out, text) {
				t.Errorf("%s: it does not say %q:\n%s", name, text, out)
			}
		}
	}
	if out, code := try(&entrancetest.Cluster{Name: "none"}, "--service-account", "app"); code == 0 || !strings.Contains(out, `There is no cluster "none"`) {
		t.Errorf("no cluster: exit code %d\n%s", code, out)
	}
	// A token that somebody hands over, as for a cluster that runs elsewhere.
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(must(t, first, "create", "token", "app", "--audience", audience)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := try(first, "--service-account", "app", "--token", token); code != 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// identitiesOfClusters: a cluster and its nodes act as managed identities, which
// are given roles like any principal.
func identitiesOfClusters(t *testing.T, cloud *entrancetest.Cloud, first, second *entrancetest.Cluster, cluster, nodes identity) {
	type shown struct {
		Identity struct {
			Type, PrincipalID      string
			UserAssignedIdentities map[string]struct{ PrincipalID, ClientID string }
		}
		Properties struct {
			IdentityProfile struct {
				KubeletIdentity struct{ ResourceID, ClientID, ObjectID string }
			}
		}
	}
	var own, assigned shown
	cloud.ARM(t, http.MethodGet, first.ID+"?api-version=2025-03-01", nil, &own)
	cloud.ARM(t, http.MethodGet, second.ID+"?api-version=2025-03-01", nil, &assigned)
	if own.Identity.Type != "SystemAssigned" || own.Properties.IdentityProfile.KubeletIdentity.ObjectID == "" {
		t.Errorf("system-assigned: %+v", own)
	}
	if assigned.Identity.Type != "UserAssigned" || len(assigned.Identity.UserAssignedIdentities) != 1 || assigned.Properties.IdentityProfile.KubeletIdentity.ClientID != nodes.client {
		t.Errorf("user-assigned: %+v", assigned)
	}
	for _, i := range assigned.Identity.UserAssignedIdentities {
		if i.PrincipalID != cluster.principal || i.ClientID != cluster.client {
			t.Errorf("the cluster acts as %+v", i)
		}
	}
	const reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	group := "/subscriptions/" + cloud.SubscriptionID + "/resourceGroups/sample"
	for n, principal := range []string{own.Identity.PrincipalID, own.Properties.IdentityProfile.KubeletIdentity.ObjectID, cluster.principal, nodes.principal} {
		var found struct{ ServicePrincipalType string }
		cloud.Graph(t, http.MethodGet, "/servicePrincipals/"+principal, nil, &found)
		if found.ServicePrincipalType != "ManagedIdentity" {
			t.Errorf("%s is a %q", principal, found.ServicePrincipalType)
		}
		name := "00000000-0000-4000-8000-00000000000" + string(rune('1'+n))
		cloud.ARM(t, http.MethodPut, group+"/providers/Microsoft.Authorization/roleAssignments/"+name+"?api-version=2022-04-01", map[string]any{
			"properties": map[string]string{"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + reader, "principalId": principal, "principalType": "ServicePrincipal"},
		}, nil)
	}
}

// readyExample applies examples/workload-identity as its README says, with the
// identity's client id put in.
func readyExample(t *testing.T, cloud *entrancetest.Cloud, k *entrancetest.Cluster) {
	const dir = "../../examples/workload-identity/"
	i := newIdentity(t, cloud, "example")
	i.trust(t, cloud, "example", issuerOf(t, cloud, k), "system:serviceaccount:example:app")
	must(t, k, "create", "namespace", "example")
	work := t.TempDir()
	for _, name := range []string{"serviceaccount.yaml", "deployment.yaml"} {
		raw, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), "00000000-0000-0000-0000-000000000000", i.client)
		text = strings.ReplaceAll(text, "namespace: default", "namespace: example")
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		must(t, k, "apply", "-f", filepath.Join(work, name))
	}
	got := ""
	for end := time.Now().Add(60 * time.Second); got != i.client && time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		got = must(t, k, "get", "pod", "-n", "example", "-l", "app=app", "-o", `jsonpath={.items[0].spec.containers[0].env[?(@.name=="AZURE_CLIENT_ID")].value}`, "--ignore-not-found")
	}
	if got != i.client {
		t.Errorf("the example's pod has AZURE_CLIENT_ID=%q", got)
	}
	cmd := exec.Command(filepath.Join(tools.Bin(t), "entrance"), "identity", "try", "--data-dir", filepath.Dir(cloud.CAFile), "--cluster", k.Name, "-n", "example", "--service-account", "app")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("identity try: %v\n%s", err, out)
	}
}

// fixedToken is a credential that has a token.
type fixedToken string

// GetToken implements azcore.TokenCredential.
func (f fixedToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(f), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// switchWorkload switches the issuer and workload identity with the unmodified
// SDK, which has what az 2.45 has not: --enable-oidc-issuer and
// --enable-workload-identity. An issuer cannot be switched off again.
func switchWorkload(t *testing.T, cloud *entrancetest.Cloud, k *entrancetest.Cluster, on bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	clusters, err := armcontainerservice.NewManagedClustersClient(cloud.SubscriptionID, fixedToken(cloud.AdminToken(t, cloud.ARMScope())), &arm.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: cloud.Client, Cloud: azcloud.Configuration{ActiveDirectoryAuthorityHost: cloud.URL, Services: map[azcloud.ServiceName]azcloud.ServiceConfiguration{
			azcloud.ResourceManager: {Endpoint: cloud.URL, Audience: "https://management.azure.com"},
		}},
	}, DisableRPRegistration: true})
	if err != nil {
		t.Fatal(err)
	}
	got, err := clusters.Get(ctx, k.ResourceGroup, k.Name, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := got.ManagedCluster
	c.Properties.OidcIssuerProfile = &armcontainerservice.ManagedClusterOIDCIssuerProfile{Enabled: to.Ptr(true)}
	c.Properties.SecurityProfile = &armcontainerservice.ManagedClusterSecurityProfile{WorkloadIdentity: &armcontainerservice.ManagedClusterSecurityProfileWorkloadIdentity{Enabled: to.Ptr(on)}}
	poller, err := clusters.BeginCreateOrUpdate(ctx, k.ResourceGroup, k.Name, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second}); err != nil {
		t.Fatal(err)
	}
}
