package main

import (
	"fmt"
	"io"
	"os"
	_ "time/tzdata" // CronJob time zones, wherever this runs

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // exec and OIDC plugins for kubectl
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client-go's metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version metric
	componentversion "k8s.io/component-base/version"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	"github.com/entrance-id/entrance/kube/lifeline"
	"github.com/entrance-id/entrance/kube/multicall"
	"github.com/entrance-id/entrance/kube/nodes"
)

// protocol is the version of the agreement between entrance and this binary:
// sub-commands, environment, exit codes, flags of nodes. Raise it, here and in
// internal/cluster, when a change would make an old binary misbehave.
const protocol = "1"

// envProtocol carries the protocol that entrance wants. It is unset when a
// person runs a component by hand.
const envProtocol = "ENTRANCE_KUBE_PROTOCOL"

// exitProtocol is the exit code of a binary that is asked for a protocol that
// it does not speak. internal/cluster knows it.
const exitProtocol = 86

func components() []multicall.Component {
	return []multicall.Component{
		{Name: "etcd", Server: true, Run: func([]string) int { etcdmain.Main(os.Args); return 0 }},
		{Name: "kube-apiserver", Server: true, Run: func([]string) int { return cli.Run(apiserver.NewAPIServerCommand()) }},
		{Name: "kube-controller-manager", Server: true, Run: func([]string) int { return cli.Run(kcm.NewControllerManagerCommand()) }},
		{Name: "kube-scheduler", Server: true, Run: func([]string) int { return cli.Run(scheduler.NewSchedulerCommand()) }},
		{Name: "nodes", Server: true, Run: func(args []string) int { return nodes.Main(args, os.Stderr) }},
		{Name: "kubectl", Server: false, Run: func([]string) int { return kubectl() }},
		{Name: "version", Server: false, Run: func([]string) int { printVersion(os.Stdout); return 0 }},
	}
}

func kubectl() int {
	// The verbosity must be known before the command is built: plugins and
	// preferences are read while it is.
	_, _ = logs.GlogSetter(kubectlcmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectlcmd.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints and exits with kubectl's own code
	}
	return 0
}

func printVersion(w io.Writer) {
	fmt.Fprintf(w, "entrance-kube kubernetes %s etcd v%s protocol %s\n",
		componentversion.Get().GitVersion, version.Version, protocol)
}

func main() {
	c, args, err := multicall.Dispatch("entrance-kube", components(), os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "entrance-kube:", err)
		os.Exit(2)
	}
	if want := os.Getenv(envProtocol); want != "" && want != protocol {
		fmt.Fprintf(os.Stderr, "entrance-kube: this binary speaks protocol %s, entrance asks for %s: run `make build`\n", protocol, want)
		os.Exit(exitProtocol)
	}
	os.Args = args
	if c.Server {
		if err := lifeline.Follow(os.Getenv(lifeline.Env), lifeline.Grace); err != nil {
			fmt.Fprintln(os.Stderr, "entrance-kube:", err)
			os.Exit(2)
		}
	}
	os.Exit(c.Run(args[1:]))
}
