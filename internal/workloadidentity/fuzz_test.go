package workloadidentity_test

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// FuzzMutation has pods of any kind changed, in the form that an API server sends
// them in: the patch applies, a second review changes nothing, and what is not
// ours stays.
func FuzzMutation(f *testing.F) {
	w := newWebhook(f, nil)
	for _, account := range []string{"app", "foreign", "long", "bad", "default", ""} {
		f.Add(podJSON(f, account, ""))
	}
	for _, more := range []string{
		`{"metadata":{"annotations":{"azure.workload.identity/inject-proxy-sidecar":"false","azure.workload.identity/proxy-sidecar-port":"9000"}}}`,
		`{"metadata":{"annotations":{"azure.workload.identity/skip-containers":" main ; azwi-proxy"}}}`,
		`{"metadata":{"annotations":{"azure.workload.identity/service-account-token-expiration":"86400"}}}`,
		`{"spec":{"initContainers":[{"name":"azwi-proxy-init"},{"name":"azwi-proxy"}]}}`,
		`{"spec":{"volumes":[{"name":"azure-identity-token","emptyDir":{}},{"name":"azure-identity-token"}]}}`,
		`{"spec":{"containers":[{"name":"a","env":[{"name":"AZURE_CLIENT_ID"}],"volumeMounts":[{"name":"azure-identity-token","mountPath":"/x"},{"name":"v","mountPath":"/var/run/secrets/azure/tokens/"}]}]}}`,
	} {
		f.Add(podJSON(f, "app", more))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var pod corev1.Pod
		if json.Unmarshal(raw, &pod) != nil {
			t.Skip()
		}
		sent, err := json.Marshal(&pod)
		if err != nil {
			t.Skip()
		}
		r := review(t, w, cluster, "team", sent)
		if !r.Allowed || r.Patch == nil {
			return
		}
		changed := apply(t, sent, r)
		if again := review(t, w, cluster, "team", changed); !again.Allowed || again.Patch != nil {
			t.Errorf("a second review changes %s of %s", again.Patch, changed)
		}
		var after corev1.Pod
		if err := json.Unmarshal(changed, &after); err != nil {
			t.Fatal(err)
		}
		if len(after.Spec.Containers) != len(pod.Spec.Containers) || len(after.Spec.InitContainers) < len(pod.Spec.InitContainers) || after.Spec.ServiceAccountName != pod.Spec.ServiceAccountName {
			t.Errorf("%s became %s", sent, changed)
		}
		for i, c := range pod.Spec.Containers {
			for j, e := range c.Env {
				if got := after.Spec.Containers[i].Env[j]; got.Name != e.Name || got.Value != e.Value {
					t.Errorf("the variable %s of %s became %+v", e.Name, c.Name, got)
				}
			}
		}
	})
}
