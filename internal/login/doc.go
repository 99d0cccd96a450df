// Package login gets tokens for a Kubernetes API server from Microsoft Entra
// ID or a provider that speaks its protocol, in each way that kubelogin knows.
//
// # How it is put together
//
// Options are the flags, after the environment has had its say. A Session
// joins them with a token cache; its Token method looks in the cache, uses a
// refresh token, or signs in, and lets one process of several do the latter. Each login mode is a method:
// it knows its required options and its requests, and nothing about caching.
//
// # Why not a library
//
// The plugin starts anew for every kubectl command. The reference libraries
// cost more at start-up than the whole budget, ask the network before they
// look into their cache, and bind the person's patience to the network's time
// limit. The requests are the same.
package login
