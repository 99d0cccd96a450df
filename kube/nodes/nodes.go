// Package nodes simulates the nodes of a cluster: Node objects that look like
// those of an AKS node pool, their leases, and the life of the pods bound to
// them. No container runs. Everything that concerns identity in an Entrance
// cluster is done by real Kubernetes components; nodes are there so that
// workloads have a place to be scheduled to.
//
// A simulated pod becomes Running and Ready at once and ends when it is
// deleted. A pod whose restartPolicy is not Always may end by itself, if it
// says so with AnnotationCompleteAfter and AnnotationExitCode.
package nodes

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"
)

const (
	// AnnotationCompleteAfter on a pod is the Go duration after which its
	// containers end, counted from its start.
	AnnotationCompleteAfter = "simulator.entrance/complete-after"
	// AnnotationExitCode on a pod is the code with which they end; 0 if absent.
	AnnotationExitCode = "simulator.entrance/exit-code"
	// AnnotationSimulated marks the nodes that are ours.
	AnnotationSimulated = "simulator.entrance/simulated"
)

// MaxNodes is how many nodes one cluster can have: each takes a /24 of the pod
// network 10.244.0.0/16.
const MaxNodes = 250

// A Pool is a group of like nodes.
type Pool struct {
	Name  string
	Count int
}

// Config says which nodes to simulate.
type Config struct {
	ClusterID      string // ARM id of the cluster
	Location       string // Azure region
	KubeletVersion string // for example v1.36.3
	Pools          []Pool
}

var poolName = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`) // AKS's rule for Linux pools

func (c Config) validate() error {
	if !strings.HasPrefix(c.ClusterID, "/subscriptions/") {
		return fmt.Errorf("cluster id %q is not an ARM id", c.ClusterID)
	}
	if c.Location == "" {
		return errors.New("the location is empty")
	}
	total, seen := 0, map[string]bool{}
	for _, p := range c.Pools {
		switch {
		case !poolName.MatchString(p.Name):
			return fmt.Errorf("pool name %q: 1 to 12 lower-case letters and digits, a letter first", p.Name)
		case seen[p.Name]:
			return fmt.Errorf("pool %q is named twice", p.Name)
		case p.Count < 0:
			return fmt.Errorf("pool %q has a negative count", p.Name)
		}
		seen[p.Name] = true
		total += p.Count
	}
	if total > MaxNodes {
		return fmt.Errorf("%d nodes are asked for, at most %d can be simulated", total, MaxNodes)
	}
	return nil
}

// scaleSet returns the name of a pool's virtual machine scale set. Its eight
// digits depend on the cluster alone, as on AKS.
func (c Config) scaleSet(pool string) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, strings.ToLower(c.ClusterID))
	return fmt.Sprintf("aks-%s-%08d-vmss", pool, h.Sum64()%1e8)
}

// nodeName returns the name of a pool's node number i: scale sets count in
// base 36.
func (c Config) nodeName(pool string, i int) string {
	return c.scaleSet(pool) + fmt.Sprintf("%06s", strconv.FormatInt(int64(i), 36))
}

// Main is the command: it simulates nodes until it is told to stop.
func Main(args []string, stderr io.Writer) int {
	cfg, kubeconfig, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "nodes:", err)
		return 2
	}
	rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		fmt.Fprintln(stderr, "nodes:", err)
		return 1
	}
	rest.QPS, rest.Burst = 200, 400 // one client stands for many kubelets
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		fmt.Fprintln(stderr, "nodes:", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := New(client, cfg, time.Now).Run(ctx); err != nil && ctx.Err() == nil {
		klog.ErrorS(err, "The simulator ended")
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (Config, string, error) {
	cfg := Config{}
	var kubeconfig string
	fs := flag.NewFlagSet("nodes", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&kubeconfig, "kubeconfig", "", "file that says how to reach the API server")
	fs.StringVar(&cfg.ClusterID, "cluster-id", "", "ARM id of the cluster")
	fs.StringVar(&cfg.Location, "location", "", "Azure region")
	fs.StringVar(&cfg.KubeletVersion, "kubelet-version", version.Get().GitVersion, "version that the nodes report")
	fs.Func("pool", "a node pool as `name=count`; may be repeated", func(s string) error {
		name, count, ok := strings.Cut(s, "=")
		n, err := strconv.Atoi(count)
		if !ok || err != nil {
			return errors.New("want name=count")
		}
		cfg.Pools = append(cfg.Pools, Pool{name, n})
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return Config{}, "", err
	}
	if fs.NArg() > 0 {
		return Config{}, "", fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if kubeconfig == "" {
		return Config{}, "", errors.New("--kubeconfig is missing")
	}
	return cfg, kubeconfig, cfg.validate()
}
