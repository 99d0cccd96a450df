package nodes

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

const (
	podWorkers  = 8
	nodesRetry  = 250 * time.Millisecond // while the first registration fails
	loudFailure = 20                     // of those retries: about 5 s
)

// Simulator plays the kubelets of a cluster.
type Simulator struct {
	client kubernetes.Interface
	cfg    Config
	now    func() time.Time
	queue  workqueue.TypedRateLimitingInterface[cache.ObjectName]

	mu    sync.Mutex
	nodes map[string]*corev1.Node
	ips   *addresses
}

// New returns a simulator that acts through client.
func New(client kubernetes.Interface, cfg Config, now func() time.Time) *Simulator {
	return &Simulator{
		client: client,
		cfg:    cfg,
		now:    now,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](20*time.Millisecond, 10*time.Second)),
		nodes: map[string]*corev1.Node{},
		ips:   newAddresses(),
	}
}

// Run registers the nodes and keeps them and their pods going until ctx ends.
func (s *Simulator) Run(ctx context.Context) error {
	// The API server may be up before its namespaces and our permissions are
	// there: try again, and complain only if that lasts.
	for try := 1; ; try++ {
		err := s.syncNodes(ctx)
		if err == nil {
			break
		}
		if try%loudFailure == 0 {
			klog.ErrorS(err, "The nodes could not be registered yet")
		}
		if !sleep(ctx, nodesRetry) {
			return ctx.Err()
		}
	}

	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermNotEqualSelector("spec.nodeName", "").String()
		}))
	pods := factory.Core().V1().Pods()
	enqueue := func(obj any) {
		if name, err := cache.DeletionHandlingObjectToName(obj); err == nil {
			s.queue.Add(name)
		}
	}
	if _, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    enqueue,
		UpdateFunc: func(_, obj any) { enqueue(obj) },
		DeleteFunc: enqueue,
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), pods.Informer().HasSynced) {
		return ctx.Err()
	}
	// Addresses that pods have from an earlier run must be known before any
	// is given out.
	for _, obj := range pods.Informer().GetStore().List() {
		if p := obj.(*corev1.Pod); p.Status.PodIP != "" && !p.Spec.HostNetwork {
			s.ips.reserve(cache.MetaObjectToName(p), p.Status.PodIP)
		}
	}

	var wg sync.WaitGroup
	for range podWorkers {
		wg.Go(func() { s.work(ctx, pods.Lister()) })
	}
	defer wg.Wait()
	defer s.queue.ShutDown()
	for sleep(ctx, heartbeat) {
		if err := s.syncNodes(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "The nodes could not be kept up")
		}
	}
	return ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (s *Simulator) setNodes(nodes map[string]*corev1.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = nodes
}

func (s *Simulator) node(name string) *corev1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[name]
}

func (s *Simulator) work(ctx context.Context, pods corelisters.PodLister) {
	for {
		name, shutdown := s.queue.Get()
		if shutdown {
			return
		}
		pod, err := pods.Pods(name.Namespace).Get(name.Name)
		switch {
		case apierrors.IsNotFound(err):
			s.ips.release(name)
			err = nil
		case err == nil:
			err = s.syncPod(ctx, pod)
		}
		switch {
		case err == nil || apierrors.IsNotFound(err):
			s.queue.Forget(name)
		case apierrors.IsConflict(err): // the cache is behind; the update that made it so is on its way
			s.queue.AddRateLimited(name)
		case ctx.Err() == nil:
			klog.ErrorS(err, "A pod could not be simulated", "pod", name)
			s.queue.AddRateLimited(name)
		}
		s.queue.Done(name)
	}
}

// syncPod does what a kubelet would do for a pod in the state in which it is.
func (s *Simulator) syncPod(ctx context.Context, pod *corev1.Pod) error {
	node := s.node(pod.Spec.NodeName)
	if node == nil {
		return nil
	}
	name := cache.MetaObjectToName(pod)
	if pod.DeletionTimestamp != nil {
		// A grace period of zero means that the containers are gone; what
		// still holds the pod then are finalizers, which are not ours.
		if g := pod.DeletionGracePeriodSeconds; g != nil && *g == 0 {
			return nil
		}
		zero := int64(0)
		return s.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &zero,
			Preconditions:      &metav1.Preconditions{UID: &pod.UID},
		})
	}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		s.ips.release(name)
		return nil
	}
	slot, _ := slotOf(node)
	ip := hostIP(slot)
	if !pod.Spec.HostNetwork {
		var err error
		if ip, err = s.ips.assign(name, slot, pod.Status.PodIP); err != nil {
			return err
		}
	}
	status, again := podStatus(pod, hostIP(slot), ip, s.now())
	if again > 0 {
		s.queue.AddAfter(name, again)
	}
	if equality.Semantic.DeepEqual(pod.Status, status) {
		return nil
	}
	pod = pod.DeepCopy()
	pod.Status = status
	_, err := s.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

// addresses hands out pod addresses, one /24 for each node.
type addresses struct {
	mu     sync.Mutex
	byPod  map[cache.ObjectName]string
	byAddr map[string]cache.ObjectName
}

func newAddresses() *addresses {
	return &addresses{byPod: map[cache.ObjectName]string{}, byAddr: map[string]cache.ObjectName{}}
}

func (a *addresses) reserve(pod cache.ObjectName, ip string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byPod[pod], a.byAddr[ip] = ip, pod
}

// assign returns the address of a pod: the one that it has, the one that it
// was given before, or a free one of the node.
func (a *addresses) assign(pod cache.ObjectName, slot int, has string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if has != "" {
		a.byPod[pod], a.byAddr[has] = has, pod
		return has, nil
	}
	prefix := fmt.Sprintf("10.244.%d.", slot)
	if ip, ok := a.byPod[pod]; ok {
		if len(ip) > len(prefix) && ip[:len(prefix)] == prefix {
			return ip, nil
		}
		delete(a.byAddr, ip) // a pod of the same name, on another node
		delete(a.byPod, pod)
	}
	for host := 2; host < 255; host++ { // .1 is the node's bridge
		ip := fmt.Sprintf("%s%d", prefix, host)
		if _, taken := a.byAddr[ip]; !taken {
			a.byPod[pod], a.byAddr[ip] = ip, pod
			return ip, nil
		}
	}
	return "", fmt.Errorf("no address is free in %s0/24", prefix)
}

func (a *addresses) release(pod cache.ObjectName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ip, ok := a.byPod[pod]; ok {
		delete(a.byPod, pod)
		if a.byAddr[ip] == pod {
			delete(a.byAddr, ip)
		}
	}
}
