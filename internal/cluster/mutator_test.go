package cluster_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const mutatorConfiguration = "azure-wi-webhook-mutating-webhook-configuration"

// mutatorTrouble is the cluster's half of abuse case 37: while the workload
// identity webhook is down, or takes 29 s, a pod that asks for it is refused
// within its timeout, and no other pod waits for it.
func mutatorTrouble(t *testing.T, admin kubernetes.Interface, w *webhooks) {
	config, err := admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), mutatorConfiguration, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Webhooks) != 1 {
		t.Fatalf("%d webhooks", len(config.Webhooks))
	}
	hook := config.Webhooks[0]
	if *hook.TimeoutSeconds > 2 || *hook.FailurePolicy != admissionv1.Fail || *hook.ReinvocationPolicy != admissionv1.IfNeededReinvocationPolicy ||
		*hook.SideEffects != admissionv1.SideEffectClassNone || hook.Name != "mutation.azure-workload-identity.io" {
		t.Errorf("registered as %+v", hook)
	}
	if s := hook.NamespaceSelector.MatchExpressions; len(s) != 1 || s[0].Key != "kubernetes.io/metadata.name" || s[0].Operator != metav1.LabelSelectorOpNotIn ||
		!slices.Equal(s[0].Values, []string{"kube-system", "entrance-system", "azure-workload-identity-system"}) {
		t.Errorf("namespaces %+v", s)
	}

	if _, err := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "entrance-system"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	create := func(namespace, use string) (time.Duration, error) {
		off := false
		start := time.Now()
		_, err := admin.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "p-", Labels: map[string]string{"azure.workload.identity/use": use}},
			Spec:       corev1.PodSpec{AutomountServiceAccountToken: &off, Containers: []corev1.Container{{Name: "a", Image: "a"}}},
		}, metav1.CreateOptions{})
		return time.Since(start), err
	}
	// The service account controller makes the account of a new namespace.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := admin.CoreV1().ServiceAccounts("entrance-system").Get(t.Context(), "default", metav1.GetOptions{})
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	for name, trouble := range map[string]func(){
		"down": func() { w.down = "/mutate" },
		"slow": func() { w.slow = 29 * time.Second },
	} {
		w.set(trouble)
		took, err := create("default", "true")
		if !apierrors.IsInternalError(err) && !apierrors.IsTimeout(err) || !strings.Contains(err.Error(), "mutation.azure-workload-identity.io") {
			t.Errorf("%s: a pod that wants to be changed: %v, want a refusal that names the webhook", name, err)
		}
		if took > 3500*time.Millisecond {
			t.Errorf("%s: it took %v to refuse a pod", name, took)
		}
		for _, other := range [][2]string{{"default", "false"}, {"kube-system", "true"}, {"entrance-system", "true"}} {
			if took, err := create(other[0], other[1]); err != nil || took > 1500*time.Millisecond {
				t.Errorf("%s: a pod in %s with label %q: %v after %v", name, other[0], other[1], err, took)
			}
		}
		w.set(func() { w.down, w.slow = "", 0 })
	}
	if _, err := create("default", "true"); err != nil {
		t.Errorf("after the trouble: %v", err)
	}
}

// noMutator tells that nothing of the webhook is left, and that a labelled pod
// is created as it is.
func noMutator(t *testing.T, admin kubernetes.Interface) {
	if _, err := admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), mutatorConfiguration, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the webhook's configuration: %v, want it gone", err)
	}
	pod, err := admin.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "wi-plain", Labels: map[string]string{"azure.workload.identity/use": "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}},
	}, metav1.CreateOptions{})
	if err != nil || pod.Labels["mutated"] != "" {
		t.Errorf("a labelled pod without the webhook: %v, labels %v", err, pod.Labels)
	}
}
