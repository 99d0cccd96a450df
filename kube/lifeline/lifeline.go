// Package lifeline ends this process when the program that started it is gone,
// however that ended. The parent keeps the write end of a pipe, this process
// inherits the read end, and end of file is the order to stop. (The parent
// death signal of Linux belongs to a thread, not to a process: it would fire
// when the Go runtime retires the thread that started the child.)
package lifeline

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Env is the environment variable that carries the number of the inherited
// descriptor.
const Env = "ENTRANCE_LIFELINE"

// Grace is how long a server may take to stop once its parent is gone. Nobody
// is left to wait for it, and the next parent waits for the data directory.
const Grace = 2500 * time.Millisecond

// Follow makes this process end when the pipe whose descriptor is
// named in value reaches its end: first as on SIGTERM, then, after
// grace, hard. An empty
// value means that nobody holds a lifeline, as when a person runs a component
// by hand.
func Follow(value string, grace time.Duration) error {
	if value == "" {
		return nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		return fmt.Errorf("%s is %q, not the number of an inherited descriptor", Env, value)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s names descriptor %d, which is not open: %w", Env, fd, err)
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return fmt.Errorf("%s names descriptor %d, which is not a pipe", Env, fd)
	}
	syscall.CloseOnExec(fd)
	pipe := os.NewFile(uintptr(fd), "lifeline")
	go func() {
		waitForEnd(pipe)
		fmt.Fprintln(os.Stderr, "entrance-kube: the parent is gone, stopping")
		stopSelf(grace)
	}()
	return nil
}

// waitForEnd returns when r can give nothing more. What is written to a
// lifeline has no meaning.
func waitForEnd(r io.Reader) {
	_, _ = io.Copy(io.Discard, r)
}

// stopSelf asks this process to stop and, after grace, makes it.
func stopSelf(grace time.Duration) {
	// Before a component has set its handler, SIGTERM ends the process at
	// once, which is as good.
	_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
	time.Sleep(grace)
	os.Exit(1)
}
