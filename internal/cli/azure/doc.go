// Package azure is what the commands of the entrance command line that work
// like az have in common: whom they run as, where, and how they print.
//
// # Who and where
//
// A Profile remembers the sign-ins of `entrance login` and the subscriptions
// that each of them sees. Its file holds no secret: refresh tokens, access
// tokens and the secrets of service principals are in a tokencache.Store, sealed
// with a key in the system's keyring. Without a sign-in, the commands work on
// the cloud that runs in the data directory, as the service principal of its
// credentials file, which its owner can read anyway.
//
// # What is sent
//
// Resource Manager is called with Microsoft's own Go clients, Microsoft Graph
// with the request pipeline below them (package graph). Tokens come from
// internal/login, which starts faster than the reference libraries and keeps
// them between processes.
package azure
