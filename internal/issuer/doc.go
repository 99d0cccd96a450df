// Package issuer deals with OpenID Connect issuers whose tokens stand in for a
// secret: it fetches the keys of foreign ones, and serves the documents of the
// clusters' own.
//
// # Fetching is dangerous
//
// An issuer's address is chosen by whoever may write a federated credential, and
// the request comes from inside Entrance's network. So every fetch is https to a
// public address, judged when the connection is made and not by name; there are
// no redirects, no proxies and no credentials; bytes and time are bounded; and
// what comes back is used for nothing but RSA public keys.
//
// # Who speaks for an issuer
//
// Only the issuer: its discovery document must bear exactly the registered name,
// and its keys must be on its own host, or on one that the configuration names.
// Keys are kept for as long as the issuer says, within bounds. Documents that
// are no longer acceptable end the old keys at once; an issuer that cannot be
// reached keeps them a little longer.
//
// # The clusters' own issuers
//
// A cluster with an OIDC issuer has {base}/oidc/{tenant id}/{cluster key}/ (see
// URL), final slash included, as AKS has it. Documents serves it to anybody, and
// answers for it inside the process without a request.
package issuer
