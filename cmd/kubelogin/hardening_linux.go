package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// harden keeps tokens out of core dumps and other processes of the same user
// from reading this one's memory.
func harden() { unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// conceal overwrites a part of an argument of this process, which must be what
// os.Args holds: on Linux those strings are the memory that the kernel shows as
// the command line (the runtime does not copy them), and it can be written.
func conceal(arg string) {
	for i := range len(arg) {
		*(*byte)(unsafe.Add(unsafe.Pointer(unsafe.StringData(arg)), i)) = '*'
	}
}
