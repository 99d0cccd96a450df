//go:build !linux

package main

// harden does nothing where there is no cheap way to do it; Go writes no core
// dumps unless told to.
func harden() {}

// conceal does nothing where it is not known that os.Args is the memory that
// the system shows.
func conceal(string) {}
