package cluster

import (
	"context"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Names of what is kept in each cluster.
const (
	// AdminBinding is the ClusterRoleBinding of the admin groups, as AKS
	// names it.
	AdminBinding = "aks-cluster-admin-binding-aad"

	issuerBinding = "entrance:service-account-issuer-discovery"
	simulatorRole = "entrance:node-simulator"
	mutatorConfig = "azure-wi-webhook-mutating-webhook-configuration"
	mutatorName   = "mutation.azure-workload-identity.io"
)

// ensureObjects makes the objects that a cluster must hold be there and as
// they should be.
func ensureObjects(ctx context.Context, client kubernetes.Interface, spec *Spec) error {
	roles := client.RbacV1().ClusterRoles()
	role := simulatorClusterRole()
	if have, err := roles.Get(ctx, role.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		if _, err := roles.Create(ctx, role, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating the role %s: %w", role.Name, err)
		}
	} else if err != nil {
		return err
	} else if !equality.Semantic.DeepEqual(have.Rules, role.Rules) {
		have.Rules = role.Rules
		if _, err := roles.Update(ctx, have, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("updating the role %s: %w", role.Name, err)
		}
	}
	group := func(names ...string) []rbacv1.Subject {
		var out []rbacv1.Subject
		for _, n := range names {
			out = append(out, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: n})
		}
		return out
	}
	if err := ensureBinding(ctx, client, simulatorRole, simulatorRole, group(nodesGroup)); err != nil {
		return err
	}
	if err := ensureBinding(ctx, client, issuerBinding, "system:service-account-issuer-discovery",
		group("system:authenticated", "system:unauthenticated")); err != nil {
		return err
	}
	if err := ensureMutator(ctx, client, spec.Pods); err != nil {
		return err
	}
	if spec.Entra == nil {
		return deleteBinding(ctx, client, AdminBinding)
	}
	var admins []string
	for _, g := range spec.Entra.AdminGroups {
		admins = append(admins, string(g))
	}
	return ensureBinding(ctx, client, AdminBinding, "cluster-admin", group(admins...))
}

func simulatorClusterRole() *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: simulatorRole},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "watch", "create", "delete"}},
			{APIGroups: []string{""}, Resources: []string{"nodes/status", "pods/status"}, Verbs: []string{"update", "patch"}},
			{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch", "delete"}},
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"}},
		},
	}
}

// ensureBinding makes a ClusterRoleBinding have exactly these subjects. The
// role of a binding cannot be changed: one that has another is made anew.
func ensureBinding(ctx context.Context, client kubernetes.Interface, name, role string, subjects []rbacv1.Subject) error {
	bindings := client.RbacV1().ClusterRoleBindings()
	want := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   subjects,
	}
	have, err := bindings.Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil && have.RoleRef != want.RoleRef:
		if err := deleteBinding(ctx, client, name); err != nil {
			return err
		}
		_, err = bindings.Create(ctx, want, metav1.CreateOptions{})
	case apierrors.IsNotFound(err):
		_, err = bindings.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && !equality.Semantic.DeepEqual(have.Subjects, want.Subjects):
		have.Subjects = want.Subjects
		_, err = bindings.Update(ctx, have, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("binding %s: %w", name, err)
	}
	return nil
}

func deleteBinding(ctx context.Context, client kubernetes.Interface, name string) error {
	err := client.RbacV1().ClusterRoleBindings().Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting the binding %s: %w", name, err)
	}
	return nil
}

// untouched are the namespaces whose pods the API server creates without asking
// us: what the control plane and Entrance need in order to run must not wait for
// a webhook that may need them.
var untouched = []string{"kube-system", "entrance-system", "azure-workload-identity-system"}

// mutatorTimeout is how long the API server waits for the webhook, in seconds: a
// slow webhook must not hold the creation of pods up for long.
const mutatorTimeout = 2

// mutator registers the workload identity webhook. Whoever labels a pod wants it
// changed, so a pod that could not be is refused (Fail); no other pod is asked
// about, so that none waits for a webhook that is down.
func mutator(p *PodWebhook) *admissionv1.MutatingWebhookConfiguration {
	fail, equivalent, ifNeeded, none := admissionv1.Fail, admissionv1.Equivalent, admissionv1.IfNeededReinvocationPolicy, admissionv1.SideEffectClassNone
	scope, timeout := admissionv1.AllScopes, int32(mutatorTimeout)
	return &admissionv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: mutatorConfig},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name:         mutatorName,
			ClientConfig: admissionv1.WebhookClientConfig{URL: &p.URL, CABundle: p.CA},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Scope: &scope},
			}},
			FailurePolicy: &fail,
			MatchPolicy:   &equivalent,
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: untouched},
			}},
			ObjectSelector:          &metav1.LabelSelector{MatchLabels: map[string]string{"azure.workload.identity/use": "true"}},
			SideEffects:             &none,
			TimeoutSeconds:          &timeout,
			AdmissionReviewVersions: []string{"v1"},
			ReinvocationPolicy:      &ifNeeded,
		}},
	}
}

// ensureMutator registers the workload identity webhook, or removes it.
func ensureMutator(ctx context.Context, client kubernetes.Interface, p *PodWebhook) error {
	configs := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if p == nil {
		if err := configs.Delete(ctx, mutatorConfig, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("removing the workload identity webhook: %w", err)
		}
		return nil
	}
	want := mutator(p)
	have, err := configs.Get(ctx, mutatorConfig, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = configs.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && !equality.Semantic.DeepEqual(have.Webhooks, want.Webhooks):
		have.Webhooks = want.Webhooks
		_, err = configs.Update(ctx, have, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("registering the workload identity webhook: %w", err)
	}
	return nil
}

// waitUsable waits until a person can work with the cluster: the nodes of the
// spec are there and ready, and the default service account is, without which
// no pod is admitted. It ends early when broken says that there is no use.
func waitUsable(ctx context.Context, client kubernetes.Interface, spec *Spec, broken func() error) error {
	wanted := 0
	for _, p := range spec.NodePools {
		wanted += p.Count
	}
	var last error
	for {
		if last = usable(ctx, client, wanted); last == nil {
			return nil
		}
		if err := broken(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", last, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func usable(ctx context.Context, client kubernetes.Interface, wanted int) error {
	if _, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{}); err != nil {
		return err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready := 0
	for _, n := range nodes.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	if ready < wanted {
		return fmt.Errorf("%d of %d nodes are ready", ready, wanted)
	}
	return nil
}
