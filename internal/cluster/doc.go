// Package cluster runs local Kubernetes clusters: real control planes, as
// child processes of the entrance-kube binary, with simulated nodes.
//
// # Shape
//
// A Manager owns a directory, the clusters in it and one etcd that they share,
// a prefix each. A Spec says what a cluster is to be; Apply makes it so, from
// nothing, from a stopped cluster or from a running one, and restarts only the
// processes whose command line or files have changed. The Manager keeps no
// list of clusters: the caller's store does, and calls Apply for each after a
// restart; certificates, ports and data are found again by the cluster's key.
//
// # Rules that are easy to break
//
//   - Order. Controller manager, scheduler and nodes stop before the API
//     server, which otherwise waits a minute for their watches; etcd stops
//     last. Each gets a bounded time, then it is killed: what the API server
//     has acknowledged is in etcd.
//   - Readiness is a living process that answers /readyz under this
//     generation's certificates. Each generation lies in its own directory,
//     since an API server that is on its way out reloads certificate files
//     and would pass for its successor.
//   - Nothing outlives its parent. Children hold the read end of a pipe and
//     stop when it ends, however the parent did. They also hold a lock on the
//     directory, so that the next Manager waits for the last of them.
//   - Authorization is always set, through a file: an API server without it
//     allows everything.
//   - Whoever reaches etcd owns every cluster in it. It listens on loopback,
//     with certificates that are made anew at each start.
package cluster
