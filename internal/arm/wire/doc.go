// Package wire is the envelope of Azure Resource Manager: what every request has
// in common, whichever resource provider answers it.
//
// # One way in
//
// A [Server] serves a table of routes. Each row says which action it is and
// where; the server alone decides, before any handler runs, with the same
// engine that decides for Kubernetes. A handler that acts on more than what its
// path names asks again through [Call.Allowed], which is the same function.
//
// # Paths
//
// Paths are compared without case. What could be read in two ways is refused
// rather than cleaned: empty and dot segments, encoded slashes, backslashes.
// The scope of a request is the longest part of its path that is an id.
//
// # Errors
//
// Handlers return an [Error] with ARM's status and code, or an error of
// package errs, which gets a code by its kind.
package wire
