// Package wire is what every Microsoft Graph route shares: the caller, the
// table of routes, the one authorization decision, errors, paging and $batch.
//
// # One way in
//
// [Server.ServeHTTP] authenticates a request once, finds its [Route], asks
// [Access.Decide] whether the caller may, and only then runs the route's
// handler over one view of the store. The members of a $batch go the same way
// with the same caller. No handler authenticates, and a route without an
// Access is refused by [NewServer], so that none can be forgotten.
//
// # Who may
//
// A delegated call needs both: the client a permission in its token, and the
// signed-in user the right to do it (a directory role, being an ordinary member
// where a tenant's defaults allow that, or standing in a relation to the
// object: self, owner). Directory roles are read from the directory at the time
// of the call, so one that has ended ends here too, whatever the token says.
package wire
