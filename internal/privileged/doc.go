// Package privileged is the stateful half of Privileged Identity Management:
// eligibilities, assignments and requests of every tenant (package pim has the
// rules), and their effect on the directory and on Azure RBAC.
//
// # The effect is an ordinary record
//
// Whoever holds a privilege now has an ordinary record of it: a directory.Link,
// a directory.RoleAssignment or a state.AccessAssignment, whose Until is the end.
// It is written in the transaction that writes the schedule, and every reader
// compares Until with its clock, so that a privilege ends on time even if
// nothing runs then. Settle clears ended records away, begins what was
// scheduled for later, and ends what lost its ground; one replica does it (Run).
//
// # Beside permanent assignments
//
// An effect record remembers what this package has written. A record that
// somebody else made, or made permanent, is not ours: it stays when an
// activation ends. A record of ours that somebody else removed was meant to go:
// its schedules are revoked and it does not come back.
//
// # Clocks
//
// The latest time that anything was decided at is kept for each tenant, and time
// never runs before it (see package pim). Every decision clears away what has
// ended in its tenant, so that a clock that is set back later finds nothing to
// revive.
package privileged
