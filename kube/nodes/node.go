package nodes

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	leaseSeconds = 40               // as a kubelet's
	heartbeat    = 10 * time.Second // how often a kubelet renews its lease
	statusEvery  = 5 * time.Minute  // how often a kubelet reports an unchanged status
)

// syncNodes makes the Node objects be those of the configuration and renews
// their leases. It is safe to repeat.
func (s *Simulator) syncNodes(ctx context.Context) error {
	list, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	wanted := map[string]string{} // node name to pool
	var order []string
	for _, p := range s.cfg.Pools {
		for i := range p.Count {
			name := s.cfg.nodeName(p.Name, i)
			wanted[name] = p.Name
			order = append(order, name)
		}
	}
	have := map[string]*corev1.Node{}
	used := map[int]bool{}
	for i := range list.Items {
		n := &list.Items[i]
		if n.Annotations[AnnotationSimulated] != "true" {
			continue
		}
		if _, ok := wanted[n.Name]; !ok {
			// The pod garbage collector of the controller manager deletes
			// the pods that were there.
			if err := s.client.CoreV1().Nodes().Delete(ctx, n.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("removing node %s: %w", n.Name, err)
			}
			continue
		}
		have[n.Name] = n
		if slot, ok := slotOf(n); ok {
			used[slot] = true
		}
	}
	slot := 0
	ready := map[string]*corev1.Node{}
	for _, name := range order {
		n := have[name]
		if n == nil {
			for used[slot] {
				slot++
			}
			used[slot] = true
			n, err = s.client.CoreV1().Nodes().Create(ctx, s.newNode(wanted[name], name, slot), metav1.CreateOptions{})
			if err != nil {
				return fmt.Errorf("creating node %s: %w", name, err)
			}
		}
		if err := s.reportNode(ctx, n); err != nil {
			return err
		}
		if err := s.renewLease(ctx, n); err != nil {
			return err
		}
		ready[name] = n
	}
	s.setNodes(ready)
	return nil
}

// reportNode writes a node's status when it says anything but Ready, when the
// version has changed, or when the last report is old.
func (s *Simulator) reportNode(ctx context.Context, n *corev1.Node) error {
	now := s.now()
	i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
	if i >= 0 {
		c := n.Status.Conditions[i]
		fresh := now.Sub(c.LastHeartbeatTime.Time) < statusEvery
		if c.Status == corev1.ConditionTrue && fresh && n.Status.NodeInfo.KubeletVersion == s.cfg.KubeletVersion {
			return nil
		}
	}
	slot, _ := slotOf(n)
	n = n.DeepCopy()
	n.Status = s.nodeStatus(n.Name, slot, n.Status.Conditions)
	if _, err := s.client.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("reporting node %s: %w", n.Name, err)
	}
	return nil
}

func (s *Simulator) renewLease(ctx context.Context, n *corev1.Node) error {
	leases := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NewMicroTime(s.now())
	seconds := int32(leaseSeconds)
	lease, err := leases.Get(ctx, n.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{
				Name: n.Name,
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID,
				}},
			},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: &n.Name, LeaseDurationSeconds: &seconds, RenewTime: &now},
		}, metav1.CreateOptions{})
	} else if err == nil {
		lease = lease.DeepCopy()
		lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &n.Name, LeaseDurationSeconds: &seconds, RenewTime: &now}
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("renewing the lease of node %s: %w", n.Name, err)
	}
	return nil
}

// slotOf returns which /24 of the pod network a node has.
func slotOf(n *corev1.Node) (int, bool) {
	p, err := netip.ParsePrefix(n.Spec.PodCIDR)
	if err != nil || !p.Addr().Is4() {
		return 0, false
	}
	return int(p.Addr().As4()[2]), true
}

func (s *Simulator) newNode(pool, name string, slot int) *corev1.Node {
	subscription, group, cluster := splitClusterID(s.cfg.ClusterID)
	nodeGroup := fmt.Sprintf("MC_%s_%s_%s", group, cluster, s.cfg.Location)
	if len(nodeGroup) > 63 {
		nodeGroup = strings.TrimRight(nodeGroup[:63], "-_.") // a label value
	}
	instance, _ := strconv.ParseInt(strings.TrimPrefix(name, s.cfg.scaleSet(pool)), 36, 64)
	cidr := fmt.Sprintf("10.244.%d.0/24", slot)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				"agentpool":                              pool,
				"beta.kubernetes.io/arch":                "amd64",
				"beta.kubernetes.io/instance-type":       "Standard_D4s_v5",
				"beta.kubernetes.io/os":                  "linux",
				"failure-domain.beta.kubernetes.io/zone": "0",
				"kubernetes.azure.com/agentpool":         pool,
				"kubernetes.azure.com/cluster":           nodeGroup,
				"kubernetes.azure.com/mode":              "system",
				"kubernetes.azure.com/nodepool-type":     "VirtualMachineScaleSets",
				"kubernetes.azure.com/os-sku":            "Ubuntu",
				"kubernetes.azure.com/role":              "agent",
				"kubernetes.io/arch":                     "amd64",
				"kubernetes.io/hostname":                 name,
				"kubernetes.io/os":                       "linux",
				"kubernetes.io/role":                     "agent",
				"node.kubernetes.io/instance-type":       "Standard_D4s_v5",
				"topology.kubernetes.io/region":          s.cfg.Location,
				"topology.kubernetes.io/zone":            "0",
			},
			Annotations: map[string]string{AnnotationSimulated: "true"},
		},
		Spec: corev1.NodeSpec{
			PodCIDR:  cidr,
			PodCIDRs: []string{cidr},
			ProviderID: fmt.Sprintf("azure:///subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/virtualMachineScaleSets/%s/virtualMachines/%d",
				subscription, strings.ToLower(nodeGroup), s.cfg.scaleSet(pool), instance),
		},
		Status: s.nodeStatus(name, slot, nil),
	}
}

// nodeStatus reports a healthy node. old are its conditions so far, whose
// times of transition are kept where nothing changes.
func (s *Simulator) nodeStatus(name string, slot int, old []corev1.NodeCondition) corev1.NodeStatus {
	now := metav1.NewTime(s.now())
	cond := func(t corev1.NodeConditionType, st corev1.ConditionStatus, reason, msg string) corev1.NodeCondition {
		c := corev1.NodeCondition{Type: t, Status: st, Reason: reason, Message: msg, LastHeartbeatTime: now, LastTransitionTime: now}
		for _, o := range old {
			if o.Type == t && o.Status == st {
				c.LastTransitionTime = o.LastTransitionTime
			}
		}
		return c
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("4"),
		corev1.ResourceMemory:           resource.MustParse("16Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("124Gi"),
		corev1.ResourcePods:             resource.MustParse("250"),
	}
	allocatable := capacity.DeepCopy()
	allocatable[corev1.ResourceCPU] = resource.MustParse("3860m")
	allocatable[corev1.ResourceMemory] = resource.MustParse("14Gi")
	return corev1.NodeStatus{
		Capacity:    capacity,
		Allocatable: allocatable,
		Conditions: []corev1.NodeCondition{
			cond(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
			cond(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
			cond(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
			cond(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
		},
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: hostIP(slot)},
			{Type: corev1.NodeHostName, Address: name},
		},
		NodeInfo: corev1.NodeSystemInfo{
			KubeletVersion:          s.cfg.KubeletVersion,
			OperatingSystem:         "linux",
			Architecture:            "amd64",
			OSImage:                 "simulated by Entrance",
			KernelVersion:           "simulated",
			ContainerRuntimeVersion: "simulated://entrance",
		},
	}
}

// hostIP returns the address of a node in the network that AKS uses unless
// told otherwise; Azure keeps the first four of it.
func hostIP(slot int) string { return fmt.Sprintf("10.224.0.%d", 4+slot) }

func splitClusterID(id string) (subscription, group, name string) {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	for i := 0; i+1 < len(parts); i += 2 {
		switch strings.ToLower(parts[i]) {
		case "subscriptions":
			subscription = parts[i+1]
		case "resourcegroups":
			group = parts[i+1]
		case "managedclusters":
			name = parts[i+1]
		}
	}
	return subscription, group, name
}
