// Package k8s answers Kubernetes access reviews with Azure RBAC: it maps the
// attributes of a SubjectAccessReview to data actions at scopes, asks the rbac
// package about each, and gives the verdict the reason that AKS gives it.
//
// # From request to action
//
// An action is the prefix of the cluster's type, the API group (left out for
// the core group), the plural resource name and a suffix that comes from the
// verb. API version, object name, selectors and subresource do not count, so a
// selector can never widen access. The one subresource that counts by default
// is pods/exec, as in AKS. The consequence is that whoever may read pods may
// read logs, and may attach and forward ports with clients that use GET.
//
// A cluster with StrictSubresources gives the subresources log, exec, attach,
// portforward, proxy, ephemeralcontainers, scale and token actions of their
// own: pods/log/read, pods/portforward/action, apps/deployments/scale/write and
// so on. The built-in Reader has none of them; the built-in Writer has those
// of pods, services, service accounts and workloads through its wildcards.
//
// # Who is asked about
//
// There is no opinion on names that begin with system:, on users without one
// object id of the cluster's tenant, and on user names that are not the ones of
// that object id: an impersonator can send an object id but not make it fit.
package k8s
