package nodes

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

const id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/prod"

var epoch = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func config(pools ...Pool) Config {
	return Config{ClusterID: id, Location: "westeurope", KubeletVersion: "v1.36.3", Pools: pools}
}

func TestNames(t *testing.T) {
	c := config()
	first := c.nodeName("nodepool1", 0)
	if !strings.HasPrefix(first, "aks-nodepool1-") || !strings.HasSuffix(first, "-vmss000000") || len(first) != len("aks-nodepool1-15306047-vmss000000") {
		t.Errorf("name %q", first)
	}
	if got := c.nodeName("nodepool1", 36); !strings.HasSuffix(got, "-vmss000010") {
		t.Errorf("number 36 is %q; scale sets count in base 36", got)
	}
	upper := c
	upper.ClusterID = strings.ToUpper(id)
	if upper.nodeName("nodepool1", 0) != first {
		t.Error("the case of an ARM id matters")
	}
	other := c
	other.ClusterID += "2"
	if other.nodeName("nodepool1", 0) == first {
		t.Error("two clusters have the same nodes")
	}
}

func TestParse(t *testing.T) {
	good := []string{"--kubeconfig=k", "--cluster-id=" + id, "--location=westeurope"}
	cfg, kubeconfig, err := parse(append(slices.Clone(good), "--pool=a=1", "--pool=b=2", "--kubelet-version=v1.36.3"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config(Pool{"a", 1}, Pool{"b", 2}), cfg); diff != "" || kubeconfig != "k" {
		t.Errorf("%s %s", kubeconfig, diff)
	}
	for name, args := range map[string][]string{
		"no kubeconfig": good[1:],
		"no id":         {good[0], good[2]},
		"no location":   good[:2],
		"rest":          append(slices.Clone(good), "x"),
		"pool":          append(slices.Clone(good), "--pool=a"),
		"pool name":     append(slices.Clone(good), "--pool=A=1"),
		"count":         append(slices.Clone(good), "--pool=a=-1"),
		"pool twice":    append(slices.Clone(good), "--pool=a=1", "--pool=a=1"),
		"too many":      append(slices.Clone(good), "--pool=a=200", "--pool=b=51"),
		"unknown":       append(slices.Clone(good), "--x"),
	} {
		if _, _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	var out bytes.Buffer
	if code := Main([]string{"--pool=a=1"}, &out); code != 2 || !strings.Contains(out.String(), "--kubeconfig is missing") {
		t.Errorf("Main = %d, %q", code, out.String())
	}
}

func TestSyncNodes(t *testing.T) {
	ctx := t.Context()
	foreign := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "real-node"}}
	client := fake.NewClientset(foreign)
	now := epoch
	clock := func() time.Time { return now }
	s := New(client, config(Pool{"system", 2}, Pool{"user", 1}), clock)
	if err := s.syncNodes(ctx); err != nil {
		t.Fatal(err)
	}
	get := func(name string) *corev1.Node {
		t.Helper()
		n, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := get(s.cfg.nodeName("system", 1))
	if n.Labels["kubernetes.io/role"] != "agent" || n.Labels["agentpool"] != "system" || n.Labels["kubernetes.azure.com/cluster"] != "MC_rg_prod_westeurope" {
		t.Errorf("labels %v", n.Labels)
	}
	if !strings.HasSuffix(n.Spec.ProviderID, "-vmss/virtualMachines/1") || !strings.HasPrefix(n.Spec.ProviderID, "azure:///subscriptions/00000000-") {
		t.Errorf("provider id %q", n.Spec.ProviderID)
	}
	if n.Status.NodeInfo.KubeletVersion != "v1.36.3" || ready(n) != corev1.ConditionTrue {
		t.Errorf("status %+v", n.Status)
	}
	cidrs := map[string]bool{}
	for _, name := range []string{s.cfg.nodeName("system", 0), n.Name, s.cfg.nodeName("user", 0)} {
		cidrs[get(name).Spec.PodCIDR] = true
		lease, err := client.CoordinationV1().Leases("kube-node-lease").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !lease.Spec.RenewTime.Time.Equal(epoch) || *lease.Spec.HolderIdentity != name {
			t.Errorf("lease %+v", lease.Spec)
		}
	}
	if len(cidrs) != 3 {
		t.Errorf("pod networks %v", cidrs)
	}

	// Later: leases are renewed, a node that was marked unhealthy reports
	// again, a deleted one comes back with a network that is free, and a
	// pool that shrinks loses its last node.
	now = epoch.Add(heartbeat)
	n.Status.Conditions[3].Status = corev1.ConditionUnknown
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Nodes().Delete(ctx, s.cfg.nodeName("system", 0), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s = New(client, config(Pool{"system", 2}), clock)
	if err := s.syncNodes(ctx); err != nil {
		t.Fatal(err)
	}
	if got := ready(get(n.Name)); got != corev1.ConditionTrue {
		t.Errorf("ready is %s", got)
	}
	if a, b := get(s.cfg.nodeName("system", 0)).Spec.PodCIDR, get(n.Name).Spec.PodCIDR; a == b {
		t.Errorf("two nodes have %s", a)
	}
	lease, _ := client.CoordinationV1().Leases("kube-node-lease").Get(ctx, n.Name, metav1.GetOptions{})
	if !lease.Spec.RenewTime.Time.Equal(now) {
		t.Errorf("lease renewed at %v", lease.Spec.RenewTime)
	}
	if _, err := client.CoreV1().Nodes().Get(ctx, s.cfg.nodeName("user", 0), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a node that is not wanted: %v", err)
	}
	get("real-node") // is not ours to remove
}

func ready(n *corev1.Node) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return ""
}

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u1"},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways,
			Containers:    []corev1.Container{{Name: "a", Image: "nginx"}, {Name: "b", Image: "redis"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func condition(st corev1.PodStatus, t corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range st.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return ""
}

func TestPodStatus(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	annotate := func(kv ...string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Annotations = map[string]string{}
			for i := 0; i < len(kv); i += 2 {
				p.Annotations[kv[i]] = kv[i+1]
			}
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*corev1.Pod)
		after  time.Duration // between the first and the second look
		phase  corev1.PodPhase
		ready  corev1.ConditionStatus
		again  time.Duration // at the first look
		check  func(*testing.T, corev1.PodStatus)
	}{
		{name: "plain", phase: corev1.PodRunning, ready: "True", check: func(t *testing.T, st corev1.PodStatus) {
			if st.PodIP != "10.244.0.2" || st.HostIP != "10.224.0.4" || len(st.ContainerStatuses) != 2 || !st.ContainerStatuses[1].Ready {
				t.Errorf("status %+v", st)
			}
			if condition(st, corev1.PodScheduled) != corev1.ConditionTrue {
				t.Error("a condition of the scheduler was lost")
			}
		}},
		{name: "init containers", change: func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "once"}, {Name: "sidecar", RestartPolicy: &always}}
		}, phase: corev1.PodRunning, ready: "True", check: func(t *testing.T, st corev1.PodStatus) {
			if st.InitContainerStatuses[0].State.Terminated == nil || !st.InitContainerStatuses[0].Ready {
				t.Errorf("init container %+v", st.InitContainerStatuses[0])
			}
			if st.InitContainerStatuses[1].State.Running == nil {
				t.Errorf("sidecar %+v", st.InitContainerStatuses[1])
			}
		}},
		{name: "gate closed", change: func(p *corev1.Pod) {
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x/y"}}
		}, phase: corev1.PodRunning, ready: "False"},
		{name: "gate open", change: func(p *corev1.Pod) {
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x/y"}}
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: "x/y", Status: corev1.ConditionTrue})
		}, phase: corev1.PodRunning, ready: "True"},
		{name: "a job runs on", change: annotate(), after: time.Hour, phase: corev1.PodRunning, ready: "True"},
		{name: "not yet complete", change: annotate(AnnotationCompleteAfter, "5s"), after: 4 * time.Second, again: 5 * time.Second, phase: corev1.PodRunning, ready: "True"},
		{name: "complete", change: annotate(AnnotationCompleteAfter, "5s"), after: 5 * time.Second, again: 5 * time.Second, phase: corev1.PodSucceeded, ready: "False"},
		{name: "failed", change: annotate(AnnotationCompleteAfter, "0s", AnnotationExitCode, "3"), phase: corev1.PodFailed, ready: "False", check: func(t *testing.T, st corev1.PodStatus) {
			if s := st.ContainerStatuses[0].State.Terminated; s == nil || s.ExitCode != 3 || s.Reason != "Error" || st.ContainerStatuses[0].Ready {
				t.Errorf("container %+v", st.ContainerStatuses[0])
			}
		}},
		{name: "bad annotation", change: annotate(AnnotationCompleteAfter, "soon"), after: time.Hour, phase: corev1.PodRunning, ready: "True"},
		{name: "always restarted", change: func(p *corev1.Pod) {
			p.Annotations = map[string]string{AnnotationCompleteAfter: "0s"}
		}, phase: corev1.PodRunning, ready: "True"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := pod(tc.change)
			first, again := podStatus(p, "10.224.0.4", "10.244.0.2", epoch.Add(300*time.Millisecond))
			if again > tc.again || again < tc.again-time.Second {
				t.Errorf("look again after %v, want %v", again, tc.again)
			}
			p.Status = first
			later := epoch.Add(300*time.Millisecond + tc.after)
			st, _ := podStatus(p, "10.224.0.4", "10.244.0.2", later)
			if st.Phase != tc.phase || condition(st, corev1.PodReady) != tc.ready {
				t.Errorf("phase %s, ready %s", st.Phase, condition(st, corev1.PodReady))
			}
			if tc.check != nil {
				tc.check(t, st)
			}
			// Nothing is written twice.
			p.Status = st
			if same, _ := podStatus(p, "10.224.0.4", "10.244.0.2", later.Add(time.Millisecond)); tc.phase == corev1.PodRunning {
				if diff := cmp.Diff(st, same); diff != "" {
					t.Errorf("a second look changes:\n%s", diff)
				}
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	a := newAddresses()
	name := func(i int) cache.ObjectName { return cache.ObjectName{Namespace: "d", Name: fmt.Sprint(i)} }
	a.reserve(name(1000), "10.244.7.2")
	seen := map[string]bool{"10.244.7.2": true}
	for i := range 252 {
		ip, err := a.assign(name(i), 7, "")
		if err != nil {
			t.Fatal(err)
		}
		if seen[ip] || !strings.HasPrefix(ip, "10.244.7.") {
			t.Fatalf("address %s", ip)
		}
		seen[ip] = true
	}
	if _, err := a.assign(name(999), 7, ""); err == nil {
		t.Error("a full node gave an address")
	}
	first, _ := a.assign(name(0), 7, "")
	if again, _ := a.assign(name(0), 7, ""); again != first {
		t.Error("a pod's address changed")
	}
	a.release(name(0))
	if ip, err := a.assign(name(999), 7, ""); err != nil || ip != first {
		t.Errorf("after a release: %s, %v", ip, err)
	}
	if moved, err := a.assign(name(1), 8, ""); err != nil || !strings.HasPrefix(moved, "10.244.8.") {
		t.Errorf("a pod of the same name on another node: %s, %v", moved, err)
	}
	if ip, err := a.assign(name(2000), 7, "10.244.7.200"); err != nil || ip != "10.244.7.200" {
		t.Errorf("an address that a pod has: %s, %v", ip, err)
	}
}

// TestRun sees pods run and go.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := fake.NewClientset()
	s := New(client, config(Pool{"nodepool1", 1}), time.Now)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	pods := client.CoreV1().Pods("default")
	eventually := func(what string, f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	eventually("a node", func() bool {
		_, err := client.CoreV1().Nodes().Get(ctx, s.cfg.nodeName("nodepool1", 0), metav1.GetOptions{})
		return err == nil
	})
	for _, p := range []*corev1.Pod{
		pod(func(p *corev1.Pod) { p.Spec.NodeName = s.cfg.nodeName("nodepool1", 0) }),
		pod(func(p *corev1.Pod) { p.Name, p.Spec.NodeName = "elsewhere", "real-node" }),
	} {
		if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	get := func(name string) *corev1.Pod {
		p, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil
		}
		return p
	}
	eventually("a running pod", func() bool { p := get("p"); return p != nil && p.Status.Phase == corev1.PodRunning })

	// The fake API deletes at once; a graceful deletion is a timestamp.
	p := get("p")
	now, grace := metav1.Now(), int64(30)
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &grace
	if _, err := pods.Update(ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually("a deleted pod", func() bool { return get("p") == nil })
	if got := get("elsewhere"); got == nil || got.Status.Phase != corev1.PodPending {
		t.Errorf("a pod of another node became %+v", got)
	}
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("Run = %v", err)
	}
}

// TestDeletionLeavesFinalizersAlone: once the grace is over, what holds a pod
// is somebody else's.
func TestDeletionLeavesFinalizersAlone(t *testing.T) {
	client := fake.NewClientset()
	s := New(client, config(Pool{"nodepool1", 1}), time.Now)
	if err := s.syncNodes(t.Context()); err != nil {
		t.Fatal(err)
	}
	client.ClearActions()
	now, zero := metav1.Now(), int64(0)
	err := s.syncPod(t.Context(), pod(func(p *corev1.Pod) {
		p.Spec.NodeName = s.cfg.nodeName("nodepool1", 0)
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds, p.Finalizers = &now, &zero, []string{"x/y"}
	}))
	if err != nil || len(client.Actions()) != 0 {
		t.Errorf("%v, %v", client.Actions(), err)
	}
}
