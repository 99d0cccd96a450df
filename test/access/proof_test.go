package access_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/pop"
	"github.com/entrance-id/entrance/test/tools"
)

// proof is abuse case 30, with the real kubectl and our kubelogin, on a real
// cluster that demands signed requests.
func proof(t *testing.T, cloud *entrancetest.Cloud, k *entrancetest.Cluster) {
	demand := func(tags map[string]string) {
		t.Helper()
		cloud.StartCluster(t, entrancetest.ClusterOptions{AzureRBAC: true, Tags: tags})
	}
	const tag = "entrance:proof-of-possession"
	app := cloud.AddApp(t, "signs its requests")
	assign(t, cloud, k.ID, "Azure Kubernetes Service RBAC Reader", app.ServicePrincipalID)
	bearer := cloud.AppToken(t, app, cloud.AKSScope())
	if out, err := k.Kubectl(t, bearer, "get", "pods", "-n", "default"); err != nil {
		t.Fatalf("before proof is demanded: %v\n%s", err, out)
	}
	demand(map[string]string{tag: "true"})

	bin := tools.Bin(t)
	plugin := func(claim string) (string, error) {
		t.Helper()
		raw, err := os.ReadFile(k.UserKubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		convert := exec.Command(filepath.Join(bin, "kubelogin"), "convert-kubeconfig", "--kubeconfig", file, "-l", "spn", "--pop-enabled", "--pop-claims", "u="+claim)
		if out, err := convert.CombinedOutput(); err != nil {
			t.Fatalf("convert-kubeconfig: %v\n%s", err, out)
		}
		cmd := exec.Command(filepath.Join(bin, "kubectl"), "--kubeconfig", file, "get", "pods", "-n", "default")
		cmd.Env = append(append(os.Environ(), cloud.Environ()...), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+t.TempDir(),
			"AAD_SERVICE_PRINCIPAL_CLIENT_ID="+app.ClientID, "AAD_SERVICE_PRINCIPAL_CLIENT_SECRET="+app.ClientSecret)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := plugin(k.ID); err != nil {
		t.Fatalf("kubectl with a plugin that signs: %v\n%s", err, out)
	}
	if out, err := plugin(k.ID + "x"); err == nil || !strings.Contains(out, "provide credentials") {
		t.Errorf("kubectl with a request signed for another cluster: %v\n%s", err, out)
	}

	// Another one: the API server still knows the first, for ten seconds.
	bearer = cloud.AppToken(t, app, cloud.AKSScope())
	mine, thief := key(t), key(t)
	inner := boundToken(t, cloud, app, mine)
	sign := func(key *pop.Key, inner, u string, at time.Time) string {
		t.Helper()
		s, err := key.Sign(inner, u, pop.NewNonce(), at)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	get := func(token string) (string, error) { return k.Kubectl(t, token, "get", "pods", "-n", "default") }
	good, first := sign(mine, inner, k.ID, time.Now()), time.Now()
	if out, err := get(good); err != nil {
		t.Fatalf("signed by hand: %v\n%s", err, out)
	}
	for name, token := range map[string]string{
		"a bearer token":            bearer,
		"the inner token alone":     inner,
		"a bearer token in a shell": sign(mine, bearer, k.ID, time.Now()),
		"signed by another key":     sign(thief, inner, k.ID, time.Now()),
		"signed for another":        sign(mine, inner, k.ID+"2", time.Now()),
		"too old":                   sign(mine, inner, k.ID, time.Now().Add(-16*time.Minute)),
		"from the future":           sign(mine, inner, k.ID, time.Now().Add(6*time.Minute)),
	} {
		if out, err := get(token); err == nil || !strings.Contains(out, "Unauthorized") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	// The API server has forgotten the first sight, and asks again: counted, not
	// refused.
	before := repeats(t, cloud)
	time.Sleep(time.Until(first.Add(11 * time.Second)))
	if out, err := get(good); err != nil || repeats(t, cloud) <= before {
		t.Errorf("a second sight: %v, counted %v\n%s", err, repeats(t, cloud)-before, out)
	}
	demand(map[string]string{tag: "true", tag + "-once": "true"})
	once := sign(mine, inner, k.ID, time.Now())
	first = time.Now()
	if out, err := get(once); err != nil {
		t.Errorf("the first sight, with the strict switch: %v\n%s", err, out)
	}
	time.Sleep(time.Until(first.Add(11 * time.Second)))
	if out, err := get(once); err == nil || !strings.Contains(out, "Unauthorized") {
		t.Errorf("a second sight, with the strict switch: %v\n%s", err, out)
	}
	if out, err := plugin(k.ID); err != nil {
		t.Errorf("kubectl with the strict switch: %v\n%s", err, out)
	}
	demand(nil)
	if out, err := get(bearer); err != nil {
		t.Errorf("after proof was demanded: %v\n%s", err, out)
	}
}

func key(t *testing.T) *pop.Key {
	t.Helper()
	k, err := pop.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// boundToken signs an application in, for a token that is bound to a key.
func boundToken(t *testing.T, cloud *entrancetest.Cloud, app entrancetest.App, key *pop.Key) string {
	t.Helper()
	res, err := cloud.Client.PostForm(cloud.URL+"/"+cloud.TenantID+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {app.ClientID}, "client_secret": {app.ClientSecret}, "scope": {cloud.AKSScope()},
		"token_type": {"pop"}, "req_cnf": {key.ReqCnf()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token == "" || answer.Type != "pop" {
		t.Fatalf("HTTP %d, a token of type %q (%v)", res.StatusCode, answer.Type, err)
	}
	return answer.Token
}

// repeats returns how many signed requests have been seen again.
func repeats(t *testing.T, cloud *entrancetest.Cloud) int {
	t.Helper()
	res, err := http.Get(cloud.Status().Endpoints.Health + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "entrance_webhook_pop_repeats_total "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("there is no such metric")
	return 0
}
