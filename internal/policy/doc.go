// Package policy is the stateful half of Conditional Access: it keeps the
// documents of every tenant, a compiled set of them in step with the store, and
// the proofs by which a device becomes a fact.
//
// # Documents
//
// Policies, named locations and authentication strengths are kept as they were
// received (package conditionalaccess reads them), with the members that are
// ours beside them: id, createdDateTime, modifiedDateTime. Writing one checks
// what it refers to; what a policy refers to cannot be deleted. Every write of
// a tenant's documents takes the same guard, so that the check and the deletion
// notice each other on every replica.
//
// # One revision
//
// Keeper follows the store. A decision is made from the documents and the
// directory of one revision: group memberships and directory roles that the
// caller left open are read from the view that the compiled set belongs to.
//
// # Failing closed
//
// A stored document that cannot be read (written by another version, damaged)
// would be a policy that is silently not enforced. So every decision of that
// tenant is refused until it is put right, and the log names the document. So
// is every decision about a tenant that does not exist.
//
// # Devices
//
// A device is a fact only if a key that it holds took part: in the TLS handshake
// of the connection, or by signing a challenge that was issued here and works
// once. Devices.DeviceOf is the only function that reads a request, and it reads
// two things of it: the state of its connection, and a signed proof. Whatever
// else a request says about a device is a claim that nobody asks for.
package policy
