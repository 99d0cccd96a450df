// Package pim holds the rules of temporary privilege: who is eligible for a
// group, a directory role or an Azure role, who holds one now, and how one
// becomes the other.
//
// # Records and pure functions
//
// Three kinds of records make up a State: eligibility schedules, assignment
// schedules and requests, by the names and states of Microsoft Graph and ARM.
// Decide, Approve and Cancel take a state and return the records that change;
// they read no clock and store nothing. State.Active says who holds what at a
// time and State.NextChange when that answer changes next, so that nobody needs
// to poll.
//
// # Where privilege ends
//
// An activation ends at the first of: its own end, the end or removal of the
// eligibility that it came from, its deactivation. The end is exclusive: at that
// very instant the privilege is gone. Active works this out from the records at
// each call, so there is no job that must run in time.
//
// # A clock that moves
//
// Records remember when they were written, and State.Latest the latest time that
// was ever decided at. A clock that stands before either was moved back; the
// later time is used, so that an ended activation stays ended. The other side of
// that coin is deliberate: a clock that once ran far ahead, while something was
// written, keeps time-bound privilege ended until real time has caught up.
package pim
