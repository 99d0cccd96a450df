// Package token holds everything about tokens that can be decided without a
// network, a disk or a clock: signing keys and when each may be used, the
// claims of access and ID tokens, signing, and verification.
//
// # Keys
//
// A tenant's keys are a [Set]. Which key signs at a time, which are published
// and which still verify follow from the keys' times alone, so every replica
// that sees the same set gives the same answer, and there is never a moment
// with two active keys or with none.
//
// # Claims
//
// [AccessToken] and [IDToken] turn [Facts] into [Claims]; [Key.Sign] turns
// claims into a token.
//
// # Verification
//
// A [Verifier] accepts access tokens of trusted issuers and says why it refuses
// with a [Class] from a closed list. Identity is the pair tid and oid; names in
// a token are for display. [VerifyAssertion] is for the tokens with which a
// client proves who it is, and for those of foreign OpenID Connect issuers.
package token
