// Package conditionalaccess decides whether a sign-in may go on: policies,
// named locations and facts about the sign-in go in, one decision with its
// reasons comes out.
//
// # One pure function
//
// Evaluate is called at every place where a token or a session is issued:
// authorize, device code, password, refresh, on-behalf-of, client credentials,
// federated credentials and managed identity, in their v1 and v2 forms. It
// reads no clock, no network and no store, so the answer in a sign-in, in the
// log, in what-if and in a test cannot differ.
//
// # Documents
//
// Policies, named locations and authentication strengths are kept as the
// document that the client sent, in the shape of Microsoft Graph v1.0, beside a
// typed form that is made once. What cannot be evaluated (risk levels, custom
// factors, terms of use, an unknown condition) is refused when it is written: a
// condition that is silently ignored would make a policy mean something else
// than its author read. Members with no meaning to a decision are kept.
//
// # What a fact is worth
//
// Facts come from the caller, and the caller must say only what it has proven.
// The device is one whose key took part in the connection; the address is that
// of the connection, not of a header. The platform is what a user agent claims:
// anybody can forge it, so it can put a policy in or out of scope, as in Entra,
// but no grant control is ever satisfied by it. A sign-in by device code has no
// device, whatever the browser on the other side proved.
//
// # Failing closed
//
// A policy that names a location or a strength that is gone applies all the
// same: the missing location counts as matched where it is included and as not
// matched where it is excluded, the missing strength is never satisfied. An
// authentication from the future is no authentication.
package conditionalaccess
