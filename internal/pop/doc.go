// Package pop makes and verifies proof-of-possession tokens of Microsoft's
// Signed HTTP Request form: a shell around an access token, signed with a key
// of the client to which the access token is bound.
//
// A client makes a [Key], sends [Key.ReqCnf] with its token request, and wraps
// the access token that it gets with [Key.Sign]. The receiving side calls
// [Verify] on the shell, verifies the access token inside as any other, checks
// that its cnf names [Shell.Thumbprint], and may ask a [Replay] memory whether
// the shell has been seen before.
//
// The package uses only the standard library: the credential plugin links it.
package pop
