// Package rbac decides access by the rules of Azure RBAC, in memory.
//
// # Facts in, decision out
//
// A Snapshot holds role definitions, role assignments, deny assignments and the
// tree of management groups of every tenant, compiled. Snapshot.Apply makes the
// next one from changes, sharing what did not change; a server keeps the newest
// in an atomic pointer. Snapshot.Decide is a pure function of a snapshot and a
// request: no clock, no network, no disk. The webhook, ARM, explain and what-if
// all ask it, so their answers cannot differ.
//
// # The rules
//
// A deny assignment that covers the scope, names the principal or one of its
// groups (or everyone), does not exclude it, and matches the action, refuses.
// Otherwise a role assignment that covers the scope, belongs to the principal
// or one of its groups, whose role grants the action, and whose condition
// holds, allows. Otherwise it is refused. Within a role each permission block
// grants its actions less its notActions; blocks and roles add up.
//
// Matching has no regard to ASCII case. A star in a pattern stands for any run
// of characters, slashes too. A request itself never has a star: what one would
// cover has to be expanded first, since exclusions cannot be matched against a
// pattern.
//
// # Cost
//
// Role assignments are found by tenant and principal, and for principals that
// have many by scope. How many there are of other principals does not matter.
package rbac
