// Package kubeconfig reads and changes kubeconfig files for a credential
// plugin: it converts users, adds one, and finds the user of a context.
//
// A kubeconfig belongs to a person, who put comments and an order into it and
// into which other tools write fields that this package does not know. So a
// file is parsed once to find out what is where, and only the lines of the
// stanza that changes are replaced; everything else keeps every byte. The
// result is checked, written beside the file and renamed over it.
package kubeconfig
