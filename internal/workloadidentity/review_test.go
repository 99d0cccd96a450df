package workloadidentity_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	wi "github.com/entrance-id/entrance/internal/workloadidentity"
)

const (
	tenant   = directory.TenantID("11111111-1111-1111-1111-111111111111")
	clientID = "22222222-2222-2222-2222-222222222222"
)

// accounts are service accounts by namespace/name.
type accounts map[string]map[string]string

func (a accounts) ServiceAccount(ctx context.Context, _ *state.Cluster, namespace, name string) (*wi.ServiceAccount, error) {
	if name == "slow" {
		<-ctx.Done()
		return nil, errs.Wrap(errs.Unavailable, ctx.Err(), "the service account could not be read")
	}
	annotations, ok := a[namespace+"/"+name]
	if !ok {
		return nil, errs.New(errs.NotFound, "serviceaccounts %q not found", name)
	}
	return &wi.ServiceAccount{Annotations: annotations}, nil
}

var known = accounts{
	"team/default":    nil,
	"team/app":        {wi.ClientIDAnnotation: clientID},
	"team/foreign":    {wi.ClientIDAnnotation: clientID, wi.TenantIDAnnotation: "99999999-9999-9999-9999-999999999999"},
	"team/long":       {wi.ClientIDAnnotation: clientID, wi.ExpirationAnnotation: "7200"},
	"team/bad":        {wi.ExpirationAnnotation: "60"},
	"team/label":      {wi.ClientIDAnnotation: clientID, wi.UseLabel: "true"},
	"kube-system/app": {wi.ClientIDAnnotation: clientID},
	"gatekeeper/app":  {wi.ClientIDAnnotation: clientID},
}

var cluster = &state.Cluster{Key: "one", Tenant: tenant, WorkloadIdentity: true}

func newWebhook(t testing.TB, change func(*wi.Config)) *wi.Webhook {
	t.Helper()
	cfg := wi.Config{Accounts: known, AuthorityHost: "https://entrance.example:8443", Namespaces: []string{"gatekeeper"}}
	if change != nil {
		change(&cfg)
	}
	w, err := wi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// podJSON returns a pod of a service account with the label; more is merged
// into it as a JSON merge patch.
func podJSON(t testing.TB, account, more string) []byte {
	t.Helper()
	pod := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"azure.workload.identity/use":"true"}},
		"spec":{"serviceAccountName":%q,"containers":[{"name":"main","image":"i"}],"unknown":{"kept":true}}}`, account)
	if more == "" {
		return []byte(pod)
	}
	b, err := jsonpatch.MergePatch([]byte(pod), []byte(more))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func reviewJSON(version, namespace, operation string, pod []byte) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/%s","kind":"AdmissionReview","request":{"uid":"u-1",
		"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},
		"requestKind":{"group":"","version":"v1","kind":"Pod"},"name":"p","namespace":%q,"operation":%q,"userInfo":{"username":"ann"},
		"object":%s,"oldObject":null,"dryRun":false}}`, version, namespace, operation, pod)
}

func review(t testing.TB, w *wi.Webhook, c *state.Cluster, namespace string, pod []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	answer, err := w.Review(context.Background(), c, reviewJSON("v1", namespace, "CREATE", pod))
	if err != nil {
		t.Fatal(err)
	}
	var out admissionv1.AdmissionReview
	if err := json.Unmarshal(answer, &out); err != nil {
		t.Fatal(err)
	}
	if out.APIVersion != "admission.k8s.io/v1" || out.Kind != "AdmissionReview" || out.Response == nil || out.Response.UID != "u-1" {
		t.Fatalf("answer is %s", answer)
	}
	return out.Response
}

// apply returns a pod as the API server makes it from an answer.
func apply(t testing.TB, pod []byte, r *admissionv1.AdmissionResponse) []byte {
	t.Helper()
	if r.Patch == nil {
		return pod
	}
	if r.PatchType == nil || *r.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Fatal("the patch is of no type")
	}
	p, err := jsonpatch.DecodePatch(r.Patch)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Apply(pod)
	if err != nil {
		t.Fatalf("%s does not apply to %s: %v", r.Patch, pod, err)
	}
	return b
}

// mutated admits a pod, and admits the result again, which must change nothing.
func mutated(t testing.TB, w *wi.Webhook, pod []byte) (*corev1.Pod, []byte) {
	t.Helper()
	r := review(t, w, cluster, "team", pod)
	if !r.Allowed {
		t.Fatalf("refused: %+v", r.Result)
	}
	b := apply(t, pod, r)
	if again := review(t, w, cluster, "team", b); !again.Allowed || again.Patch != nil {
		t.Errorf("a second review changes %s", again.Patch)
	}
	var p corev1.Pod
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return &p, b
}

func env(c *corev1.Container) map[string]string {
	m := map[string]string{}
	for _, v := range c.Env {
		if _, twice := m[v.Name]; twice {
			m[v.Name] = "TWICE"
		} else {
			m[v.Name] = v.Value
		}
	}
	return m
}

func TestMutation(t *testing.T) {
	w := newWebhook(t, nil)
	p, raw := mutated(t, w, podJSON(t, "app", ""))
	if diff := cmp.Diff([]corev1.EnvVar{
		{Name: "AZURE_CLIENT_ID", Value: clientID},
		{Name: "AZURE_TENANT_ID", Value: string(tenant)},
		{Name: "AZURE_FEDERATED_TOKEN_FILE", Value: "/var/run/secrets/azure/tokens/azure-identity-token"},
		{Name: "AZURE_AUTHORITY_HOST", Value: "https://entrance.example:8443/"},
	}, p.Spec.Containers[0].Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.VolumeMount{{Name: "azure-identity-token", ReadOnly: true, MountPath: "/var/run/secrets/azure/tokens"}},
		p.Spec.Containers[0].VolumeMounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	seconds := int64(3600)
	if diff := cmp.Diff([]corev1.Volume{{Name: "azure-identity-token", VolumeSource: corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: "api://AzureADTokenExchange", ExpirationSeconds: &seconds, Path: "azure-identity-token",
		}}}},
	}}}, p.Spec.Volumes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(raw), `"unknown":{"kept":true}`) {
		t.Errorf("an unknown member was lost: %s", raw)
	}
}

func TestRules(t *testing.T) {
	w := newWebhook(t, nil)
	const (
		file = "/var/run/secrets/azure/tokens/azure-identity-token"
		host = "https://entrance.example:8443/"
	)
	full := map[string]string{"AZURE_CLIENT_ID": clientID, "AZURE_TENANT_ID": string(tenant), "AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_AUTHORITY_HOST": host}
	without := func(m map[string]string, name string, more ...string) map[string]string {
		out := map[string]string{}
		for k, v := range m {
			if k != name {
				out[k] = v
			}
		}
		for i := 0; i+1 < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	for _, tc := range []struct {
		name, account, more string
		want                map[string]map[string]string // container to environment
		mounts              map[string]string            // container to "volume path,..."; nil: ours in each that has an environment
		seconds             int64                        // 0: 3600
		warn                string
	}{
		{name: "no service account means default, which has no client id", account: "",
			want: map[string]map[string]string{"main": without(full, "AZURE_CLIENT_ID")}},
		{name: "tenant of the account", account: "foreign",
			want: map[string]map[string]string{"main": without(full, "AZURE_TENANT_ID", "AZURE_TENANT_ID", "99999999-9999-9999-9999-999999999999")}},
		{name: "init containers too", account: "app", more: `{"spec":{"initContainers":[{"name":"first"},{"name":"second"}]}}`,
			want: map[string]map[string]string{"main": full, "first": full, "second": full}},
		{name: "ephemeral containers not", account: "app", more: `{"spec":{"ephemeralContainers":[{"name":"debug"}]}}`,
			want: map[string]map[string]string{"main": full}},
		{name: "skipped containers", account: "app",
			more: `{"metadata":{"annotations":{"azure.workload.identity/skip-containers":" first ;; main ; nobody"}},"spec":{"initContainers":[{"name":"first"},{"name":"second"}]}}`,
			want: map[string]map[string]string{"main": {}, "first": {}, "second": full}},
		{name: "existing values stay, whatever their source", account: "app",
			more: `{"spec":{"containers":[{"name":"main","env":[{"name":"AZURE_CLIENT_ID","value":"mine"},{"name":"AZURE_TENANT_ID","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}},{"name":"X","value":"y"}]}]}}`,
			want: map[string]map[string]string{"main": {"AZURE_CLIENT_ID": "mine", "AZURE_TENANT_ID": "", "X": "y", "AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_AUTHORITY_HOST": host}}},
		{name: "an existing empty value stays", account: "app", more: `{"spec":{"containers":[{"name":"main","env":[{"name":"AZURE_CLIENT_ID"}]}]}}`,
			want: map[string]map[string]string{"main": without(full, "AZURE_CLIENT_ID", "AZURE_CLIENT_ID", "")}},
		{name: "names count with their case", account: "app", more: `{"spec":{"containers":[{"name":"main","env":[{"name":"azure_client_id","value":"x"}]}]}}`,
			want: map[string]map[string]string{"main": without(full, "", "azure_client_id", "x")}},
		{name: "empty and null lists", account: "app", more: `{"spec":{"volumes":[],"containers":[{"name":"main","env":[],"volumeMounts":[]}]}}`,
			want: map[string]map[string]string{"main": full}},
		{name: "other mounts and volumes stay", account: "app",
			more:   `{"spec":{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"main","volumeMounts":[{"name":"v","mountPath":"/v"}]}]}}`,
			want:   map[string]map[string]string{"main": full},
			mounts: map[string]string{"main": "v /v,azure-identity-token /var/run/secrets/azure/tokens"}},
		{name: "a mount and a volume of our name are replaced", account: "app",
			more:   `{"spec":{"volumes":[{"name":"azure-identity-token","hostPath":{"path":"/"}},{"name":"v","emptyDir":{}}],"containers":[{"name":"main","volumeMounts":[{"name":"v","mountPath":"/v"},{"name":"azure-identity-token","mountPath":"/elsewhere","subPath":"x"}]}]}}`,
			want:   map[string]map[string]string{"main": full},
			mounts: map[string]string{"main": "v /v,azure-identity-token /var/run/secrets/azure/tokens"}},
		{name: "a volume with another audience is replaced", account: "app",
			more: `{"spec":{"volumes":[{"name":"azure-identity-token","projected":{"sources":[{"serviceAccountToken":{"path":"azure-identity-token","expirationSeconds":3600,"audience":"evil"}}]}}]}}`,
			want: map[string]map[string]string{"main": full}},
		{name: "a volume with a second source is replaced", account: "app",
			more: `{"spec":{"volumes":[{"name":"azure-identity-token","projected":{"sources":[{"serviceAccountToken":{"path":"azure-identity-token","expirationSeconds":3600,"audience":"api://AzureADTokenExchange"}},{"secret":{"name":"s"}}]}}]}}`,
			want: map[string]map[string]string{"main": full}},
		{name: "another volume at our place stays", account: "app",
			more:   `{"spec":{"volumes":[{"name":"own","emptyDir":{}}],"containers":[{"name":"main","volumeMounts":[{"name":"own","mountPath":"/var/run/secrets/azure/tokens/"}]}]}}`,
			want:   map[string]map[string]string{"main": full},
			mounts: map[string]string{"main": "own /var/run/secrets/azure/tokens/"}, warn: "container main mounts volume own"},
		{name: "expiration of the account", account: "long", seconds: 7200, want: map[string]map[string]string{"main": full}},
		{name: "expiration of the pod wins", account: "long", seconds: 86400, want: map[string]map[string]string{"main": full},
			more: `{"metadata":{"annotations":{"azure.workload.identity/service-account-token-expiration":"86400"}}}`},
		{name: "expiration of the pod wins over a bad one", account: "bad", seconds: 3600, want: map[string]map[string]string{"main": without(full, "AZURE_CLIENT_ID")},
			more: `{"metadata":{"annotations":{"azure.workload.identity/service-account-token-expiration":"3600"}}}`},
		{name: "identity binding is not silently ignored", account: "app", want: map[string]map[string]string{"main": full},
			more: `{"metadata":{"annotations":{"azure.workload.identity/use-identity-binding":"True"}}}`, warn: "no custom token endpoint"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod := podJSON(t, tc.account, tc.more)
			if warnings := review(t, w, cluster, "team", pod).Warnings; len(warnings) != 0 != (tc.warn != "") || tc.warn != "" && !strings.Contains(warnings[0], tc.warn) {
				t.Errorf("warnings %q, want %q", warnings, tc.warn)
			}
			p, _ := mutated(t, w, pod)
			for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
				if diff := cmp.Diff(tc.want[c.Name], env(&c)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", c.Name, diff)
				}
				want, ok := tc.mounts[c.Name]
				if !ok && len(tc.want[c.Name]) > 0 {
					want = "azure-identity-token /var/run/secrets/azure/tokens"
				}
				var got []string
				for _, m := range c.VolumeMounts {
					got = append(got, m.Name+" "+m.MountPath)
					if m.Name == "azure-identity-token" && (!m.ReadOnly || m.SubPath != "") {
						t.Errorf("%s has the mount %+v", c.Name, m)
					}
				}
				if strings.Join(got, ",") != want {
					t.Errorf("%s mounts %q, want %q", c.Name, got, want)
				}
			}
			if len(p.Spec.EphemeralContainers) > 0 && len(p.Spec.EphemeralContainers[0].Env) > 0 {
				t.Error("an ephemeral container was changed")
			}
			n := 0
			for _, v := range p.Spec.Volumes {
				if v.Name != "azure-identity-token" {
					continue
				}
				n++
				if v.Projected == nil || len(v.Projected.Sources) != 1 || v.HostPath != nil {
					t.Fatalf("volume %+v", v)
				}
				s := v.Projected.Sources[0].ServiceAccountToken
				if want := max(tc.seconds, 3600); *s.ExpirationSeconds != want || s.Audience != "api://AzureADTokenExchange" {
					t.Errorf("token %+v for %d s, want %d", s, *s.ExpirationSeconds, want)
				}
			}
			if n != 1 {
				t.Errorf("%d volumes of our name", n)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	w := newWebhook(t, func(c *wi.Config) { c.Timeout = 50 * time.Millisecond })
	annotation := func(name, value string) string {
		return fmt.Sprintf(`{"metadata":{"annotations":{"azure.workload.identity/%s":%q}}}`, name, value)
	}
	var many []string
	for i := range 1001 {
		many = append(many, fmt.Sprintf(`{"name":"c%d"}`, i))
	}
	for _, tc := range []struct{ name, account, more, text string }{
		{"missing account", "none", "", `serviceaccounts "none" not found`},
		{"account that cannot be read in time", "slow", "", "could not be read"},
		{"expiration too short", "app", annotation("service-account-token-expiration", "3599"), "token expiration 3599 not valid. Expected value to be between 3600 and 86400"},
		{"expiration too long", "app", annotation("service-account-token-expiration", "86401"), "token expiration 86401 not valid. Expected value to be between 3600 and 86400"},
		{"negative expiration", "app", annotation("service-account-token-expiration", "-1"), "token expiration -1 not valid"},
		{"expiration with a unit", "app", annotation("service-account-token-expiration", "1h"), `token expiration "1h" not valid`},
		{"expiration beyond all bounds", "app", annotation("service-account-token-expiration", "99999999999999999999"), "not valid. Expected value to be between 3600 and 86400"},
		{"expiration of the account", "bad", "", "token expiration 60 not valid"},
		{"proxy in a pod of the host's network", "app", `{"metadata":{"annotations":{"azure.workload.identity/inject-proxy-sidecar":"true"}},"spec":{"hostNetwork":true}}`, "hostNetwork is set to true, cannot inject proxy sidecar"},
		{"proxy at no port", "app", `{"metadata":{"annotations":{"azure.workload.identity/inject-proxy-sidecar":"","azure.workload.identity/proxy-sidecar-port":"0"}}}`, "proxy sidecar port"},
		{"proxy at a port that does not exist", "app", `{"metadata":{"annotations":{"azure.workload.identity/inject-proxy-sidecar":"","azure.workload.identity/proxy-sidecar-port":"65536"}}}`, "proxy sidecar port"},
		{"too many containers", "app", `{"spec":{"containers":[` + strings.Join(many, ",") + `]}}`, "more than 1000 containers"},
		{"not a pod", "app", `{"spec":{"containers":"x"}}`, "not a pod"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := time.Now()
			r := review(t, w, cluster, "team", podJSON(t, tc.account, tc.more))
			if r.Allowed || r.Patch != nil || r.Result == nil || r.Result.Code != 400 || r.Result.Reason != "BadRequest" || !strings.Contains(r.Result.Message, tc.text) {
				t.Errorf("got %+v %+v, want 400 with %q", r, r.Result, tc.text)
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
}

// TestLeftAlone: what is none of the webhook's business is admitted unchanged,
// without a look at the service account.
func TestLeftAlone(t *testing.T) {
	w := newWebhook(t, func(c *wi.Config) { c.Timeout = time.Minute })
	// Not even a broken or endless look-up matters here.
	pod := podJSON(t, "slow", "")
	for _, tc := range []struct {
		name      string
		cluster   *state.Cluster
		namespace string
		pod       []byte
	}{
		{"cluster without workload identity", &state.Cluster{Key: "two", Tenant: tenant}, "team", pod},
		{"control plane", cluster, "kube-system", pod},
		{"Entrance's own", cluster, "entrance-system", pod},
		{"Azure's webhook", cluster, "azure-workload-identity-system", pod},
		{"namespace of the configuration", cluster, "gatekeeper", pod},
		{"no label", cluster, "team", podJSON(t, "slow", `{"metadata":{"labels":null}}`)},
		{"label false", cluster, "team", podJSON(t, "slow", `{"metadata":{"labels":{"azure.workload.identity/use":"false"}}}`)},
		{"label True", cluster, "team", podJSON(t, "slow", `{"metadata":{"labels":{"azure.workload.identity/use":"True"}}}`)},
		{"annotation instead of label", cluster, "team", podJSON(t, "slow", `{"metadata":{"labels":null,"annotations":{"azure.workload.identity/use":"true"}}}`)},
		{"label on the account alone", cluster, "team", podJSON(t, "label", `{"metadata":{"labels":null}}`)},
	} {
		if r := review(t, w, tc.cluster, tc.namespace, tc.pod); !r.Allowed || r.Patch != nil {
			t.Errorf("%s: %+v", tc.name, r)
		}
	}
	for name, body := range map[string]string{
		"update":   string(reviewJSON("v1", "team", "UPDATE", pod)),
		"delete":   string(reviewJSON("v1", "team", "DELETE", []byte("null"))),
		"exec":     strings.Replace(string(reviewJSON("v1", "team", "CREATE", pod)), `"operation"`, `"subResource":"exec","operation"`, 1),
		"eviction": strings.Replace(string(reviewJSON("v1", "team", "CREATE", pod)), `"resource":"pods"`, `"resource":"evictions"`, 1),
		"group":    strings.Replace(string(reviewJSON("v1", "team", "CREATE", pod)), `"resource":{"group":""`, `"resource":{"group":"x"`, 1),
	} {
		answer, err := w.Review(context.Background(), cluster, []byte(body))
		if err != nil || !strings.Contains(string(answer), `"allowed":true`) || strings.Contains(string(answer), "patch") {
			t.Errorf("%s: %s, %v", name, answer, err)
		}
	}
}

func TestVersions(t *testing.T) {
	w := newWebhook(t, nil)
	for _, version := range []string{"v1", "v1beta1"} {
		answer, err := w.Review(context.Background(), cluster, reviewJSON(version, "team", "CREATE", podJSON(t, "app", "")))
		if err != nil || !strings.HasPrefix(string(answer), `{"apiVersion":"admission.k8s.io/`+version+`",`) || !strings.Contains(string(answer), `"patchType":"JSONPatch"`) {
			t.Errorf("%s: %s, %v", version, answer, err)
		}
	}
	good := string(reviewJSON("v1", "team", "CREATE", podJSON(t, "app", "")))
	for name, body := range map[string]string{
		"empty": "", "null": "null", "list": "[]", "cut short": good[:200],
		"version":    strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v2", 1),
		"group":      strings.Replace(good, "admission.k8s.io/v1", "v1", 1),
		"kind":       strings.Replace(good, "AdmissionReview", "TokenReview", 1),
		"no uid":     strings.Replace(good, "u-1", "", 1),
		"no request": `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`,
	} {
		if answer, err := w.Review(context.Background(), cluster, []byte(body)); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %s, %v", name, answer, err)
		}
		rw := httptest.NewRecorder()
		w.Serve(rw, httptest.NewRequest("POST", "/", nil), cluster, []byte(body))
		if rw.Code != 400 {
			t.Errorf("%s: status %d", name, rw.Code)
		}
	}
	rw := httptest.NewRecorder()
	w.Serve(rw, httptest.NewRequest("POST", "/", nil), cluster, []byte(good))
	if rw.Code != 200 || rw.Header().Get("Content-Type") != "application/json" || !strings.Contains(rw.Body.String(), `"patch":`) {
		t.Errorf("%d %v %s", rw.Code, rw.Header(), rw.Body)
	}
}

// TestSpoofing is abuse case 37: labels and annotations give names, never trust.
// What a pod gets in each case is a token of its own service account, whose
// subject the identity's federated credentials must name.
func TestSpoofing(t *testing.T) {
	w := newWebhook(t, nil)
	t.Run("account without annotation", func(t *testing.T) {
		// The pod names the client id itself, where the rules do not look.
		p, _ := mutated(t, w, podJSON(t, "default", `{"metadata":{"annotations":{"azure.workload.identity/client-id":"`+clientID+`","azure.workload.identity/tenant-id":"x"}}}`))
		if e := env(&p.Spec.Containers[0]); e["AZURE_CLIENT_ID"] != "" || e["AZURE_TENANT_ID"] != string(tenant) {
			t.Errorf("the pod's own annotations count: %v", e)
		}
	})
	t.Run("account of another namespace", func(t *testing.T) {
		r := review(t, w, cluster, "other", podJSON(t, "app", `{"metadata":{"namespace":"team"}}`))
		if r.Allowed || !strings.Contains(r.Result.Message, "not found") {
			t.Errorf("the pod's own word for its namespace counts: %+v", r)
		}
	})
	t.Run("account by path", func(t *testing.T) {
		if r := review(t, w, cluster, "other", podJSON(t, "../team/app", "")); r.Allowed {
			t.Errorf("%+v", r)
		}
	})
	t.Run("audience", func(t *testing.T) {
		// No annotation reaches the projected token but its life.
		_, raw := mutated(t, w, podJSON(t, "app", `{"metadata":{"annotations":{"azure.workload.identity/audience":"evil"}}}`))
		if strings.Contains(string(raw), `"audience":"evil"`) || !strings.Contains(string(raw), `"audience":"api://AzureADTokenExchange"`) {
			t.Errorf("%s", raw)
		}
	})
}

func TestProxy(t *testing.T) {
	w := newWebhook(t, func(c *wi.Config) {
		c.Proxy = wi.ProxyImages{Proxy: "registry.example/proxy:1", Init: "registry.example/init:1"}
	})
	const on = `"azure.workload.identity/inject-proxy-sidecar":"false"` // its value is not read
	for _, tc := range []struct{ name, more, order, port string }{
		{"alone", `{"metadata":{"annotations":{` + on + `}}}`, "azwi-proxy-init azwi-proxy main", "8000"},
		{"before init containers", `{"metadata":{"annotations":{` + on + `,"azure.workload.identity/proxy-sidecar-port":"9000"}},"spec":{"initContainers":[{"name":"first","env":[{"name":"X","value":"y"}]}]}}`, "azwi-proxy-init azwi-proxy first main", "9000"},
		{"init there already", `{"metadata":{"annotations":{` + on + `}},"spec":{"initContainers":[{"name":"azwi-proxy-init","env":[{"name":"PROXY_PORT","value":"8000"}]}]}}`, "azwi-proxy azwi-proxy-init main", "8000"},
		{"sidecar there already", `{"metadata":{"annotations":{` + on + `}},"spec":{"containers":[{"name":"azwi-proxy"}]}}`, "azwi-proxy-init azwi-proxy", "8000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, _ := mutated(t, w, podJSON(t, "app", tc.more))
			var names []string
			for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
				names = append(names, c.Name)
				e := env(&c)
				if e["AZURE_CLIENT_ID"] != clientID || len(c.VolumeMounts) != 1 {
					t.Errorf("%s has %v and %v", c.Name, e, c.VolumeMounts)
				}
				switch {
				case c.Name == "azwi-proxy-init" && (e["PROXY_PORT"] != tc.port || c.Image != "" && (c.Image != "registry.example/init:1" || !*c.SecurityContext.Privileged)):
					t.Errorf("init container %+v", c)
				case c.Name == "azwi-proxy" && c.Image != "" && (c.Args[0] != "--proxy-port="+tc.port || *c.RestartPolicy != "Always" || *c.SecurityContext.Privileged):
					t.Errorf("sidecar %+v", c)
				case c.Name == "first" && e["X"] != "y":
					t.Errorf("another container's variables are %v", e)
				}
			}
			if got := strings.Join(names, " "); got != tc.order {
				t.Errorf("containers %q, want %q", got, tc.order)
			}
		})
	}
	p, _ := mutated(t, w, podJSON(t, "app", `{"metadata":{"annotations":{`+on+`,"azure.workload.identity/skip-containers":"azwi-proxy"}}}`))
	if e := env(&p.Spec.InitContainers[1]); p.Spec.InitContainers[1].Name != "azwi-proxy" || len(e) != 0 {
		t.Errorf("the skipped sidecar has %v", e)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWebhook(t, func(c *wi.Config) { c.Metrics = registry })
	for i := range 600 {
		review(t, w, cluster, fmt.Sprint("n", i), podJSON(t, "app", ""))
	}
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "azwi_mutation_request" {
		t.Fatal(families, err)
	}
	// 500 namespaces by name, and one for the others.
	m := families[0].GetMetric()
	if len(m) != 501 || len(m[0].GetHistogram().GetBucket()) != 24 {
		t.Errorf("%d series of %d buckets", len(m), len(m[0].GetHistogram().GetBucket()))
	}
	if _, err := wi.New(wi.Config{Accounts: known, AuthorityHost: "https://x", Metrics: registry}); err == nil {
		t.Error("two webhooks count in one registry")
	}
}

// FuzzReview is the fuzzing of abuse case 37: whatever the API server sends, the webhook answers with something
// that it can apply, and that a second review leaves alone.
func FuzzReview(f *testing.F) {
	w := newWebhook(f, func(c *wi.Config) { c.Timeout = time.Millisecond })
	f.Add(reviewJSON("v1", "team", "CREATE", podJSON(f, "app", "")))
	f.Add(reviewJSON("v1beta1", "team", "CREATE", podJSON(f, "foreign", `{"metadata":{"annotations":{"azure.workload.identity/skip-containers":"a;b","azure.workload.identity/service-account-token-expiration":"7200"}}}`)))
	f.Add(reviewJSON("v1", "team", "CREATE", podJSON(f, "default", `{"metadata":{"annotations":{"azure.workload.identity/inject-proxy-sidecar":""}},"spec":{"initContainers":[{"name":"azwi-proxy"},{"env":[{}]}]}}`)))
	f.Add(reviewJSON("v1", "team", "CREATE", podJSON(f, "app", `{"spec":{"volumes":[{"name":"azure-identity-token"},null,{"name":"azure-identity-token"}],"containers":[null,{"volumeMounts":[{"name":"azure-identity-token"},{"name":"azure-identity-token","mountPath":"/x"},{"name":"o","mountPath":"/var/run/secrets/azure/tokens"}]}]}}`)))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"\u0000","object":null}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		answer, err := w.Review(context.Background(), cluster, body)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatal(err)
			}
			return
		}
		var in struct {
			Request struct {
				UID    string
				Object json.RawMessage
			}
		}
		var out admissionv1.AdmissionReview
		if err := json.Unmarshal(answer, &out); err != nil || out.Response == nil {
			t.Fatalf("%s: %v", answer, err)
		}
		if !out.Response.Allowed {
			if out.Response.Patch != nil || out.Response.Result.Code != 400 || out.Response.Result.Message == "" {
				t.Fatalf("%s", answer)
			}
			return
		}
		if out.Response.Patch == nil {
			return
		}
		if err := json.Unmarshal(body, &in); err != nil || string(out.Response.UID) != in.Request.UID {
			t.Fatalf("uid %q of %q, %v", out.Response.UID, in.Request.UID, err)
		}
		// Only what reads the same in both decoders can be compared: the real
		// API server sends no names in other case and none twice.
		var typed corev1.Pod
		if json.Unmarshal(in.Request.Object, &typed) != nil {
			return
		}
		clean, err := json.Marshal(&typed)
		if err != nil {
			return
		}
		first := review(t, w, cluster, "team", clean)
		if !first.Allowed || first.Patch == nil {
			return
		}
		second := review(t, w, cluster, "team", apply(t, clean, first))
		if !second.Allowed || second.Patch != nil {
			t.Fatalf("a second review: %v %s", second.Allowed, second.Patch)
		}
	})
}
