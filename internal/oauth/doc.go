// Package oauth is the identity provider's protocol: OAuth 2.0 and OpenID
// Connect as Microsoft Entra speaks them, in its v1 (resource) and v2 (scope)
// forms, under the paths of login.microsoftonline.com.
//
// # One way out
//
// Every grant ends in [Provider.issue], which is the only place that signs an
// access token. It asks the policy, writes the sign-in log and only then signs;
// so there is no endpoint, version or grant that policy does not see.
//
// # What a request is believed
//
// Nothing that a request says about itself is believed without proof: the
// address is that of the connection, the host it was asked under never appears
// in an answer (metadata, redirects and verification addresses name the public
// base URL), a parameter that is given twice is refused, and a client proves
// itself in exactly one way.
//
// # Codes and tokens
//
// Authorization and device codes are records in etcd under the hash of the
// code, redeemed in a transaction: of many callers one wins, and a replay ends
// what the first one got. Refresh tokens are sealed and self-contained; using
// one does not end it, since several kubectl processes share one, but
// revocation, a disabled account and policy do, at once.
package oauth
