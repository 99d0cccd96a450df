// Command entrance-kube is a Kubernetes control plane in one binary: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and
// simulated nodes, built from their own modules at one pinned version.
//
// It is a module of its own so that Kubernetes stays out of Entrance's
// dependency graph: entrance never imports it, it starts it (internal/cluster
// does).
//
// # Traps, for whoever raises a version or adds a component
//
//   - One component per process. In one process a second kube-apiserver panics
//     (its signal handler can be set once), a kube-controller-manager beside
//     it refuses to configure logging again, and both call os.Exit.
//   - k8s.io/kubernetes asks for its staging modules at v0.0.0. Requiring each
//     at the version that belongs to it is enough to build; the two exclude
//     lines in go.mod let go list -m all work too. Do not run go get -u: the
//     staging modules have patch releases for which there is no kubernetes.
//   - The version must be stamped by the linker (build.sh does), or the server
//     calls itself v0.0.0-master and kubectl warns of skew.
//   - os.Args is rewritten before a component starts. kubectl looks for its
//     plugins by it, and etcd's own main takes args[0] for its name.
//   - Without --authorization-mode or --authorization-config a kube-apiserver
//     allows everything to everybody.
//   - A kube-apiserver that is told to stop waits up to a minute for watches.
//     Its clients (controller manager, scheduler, nodes) are to be stopped
//     first, and a bound put on the rest.
//   - A kube-apiserver reloads certificate files. While it stops it may
//     answer with those of its successor, so certificates of a new generation
//     must lie in new files, and readiness means this process and /readyz.
//   - A successful TokenReview is cached for 10 seconds, and no flag turns it
//     off: --authentication-token-webhook-cache-ttl=0 leaves those 10 seconds.
//   - --authentication-token-webhook-version and its authorization sibling
//     default to v1beta1.
//   - Leave the race detector and the linters away from this module: the
//     instrumented build of Kubernetes takes the better part of an hour.
//
// # The lifeline
//
// A server must not outlive the program that started it, however that ended.
// The parent death signal of Linux belongs to a thread, not a process, and
// would fire when the Go runtime retires that thread. So the parent keeps the
// write end of a pipe, the child inherits the read end (its number is in
// ENTRANCE_LIFELINE), and end of file, which the kernel sends even after
// kill -9, is the order to stop.
package main
