package proc

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
)

// sh starts a child that runs a shell script.
func sh(t *testing.T, script string) (*Child, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	c, err := Start(Command{Name: "sh", Path: "/bin/sh", Args: []string{"-c", script}, Dir: t.TempDir(), Log: log},
		clock.Func(time.Now), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Stop(0) })
	return c, log
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestStopIsPolite(t *testing.T) {
	c, log := sh(t, `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done`)
	eventually(t, "up", func() bool { return Tail(log, 1) == "up" })
	pid := c.Status().PID
	c.Stop(5 * time.Second)
	if got := Tail(log, 2); got != "up\nbye" {
		t.Errorf("log %q", got)
	}
	if st := c.Status(); st.Running || st.PID != 0 || st.Failures != 0 {
		t.Errorf("status %+v", st)
	}
	if alive(pid) {
		t.Error("still alive")
	}
	c.Stop(time.Hour) // returns at once
}

func TestStopKills(t *testing.T) {
	c, log := sh(t, `trap '' TERM; echo up; while :; do sleep 0.01; done`)
	eventually(t, "up", func() bool { return Tail(log, 1) == "up" })
	pid := c.Status().PID
	begin := time.Now()
	c.Stop(100 * time.Millisecond)
	if took := time.Since(begin); took < 100*time.Millisecond || took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if alive(pid) {
		t.Error("still alive")
	}
}

func TestRestarts(t *testing.T) {
	c, log := sh(t, `echo run; exit 4`)
	eventually(t, "third failure", func() bool { return c.Status().Failures >= 3 })
	st := c.Status()
	if st.LastExit != "exit status 4" || st.ExitCode != 4 {
		t.Errorf("status %+v", st)
	}
	if n := strings.Count(Tail(log, 100), "run"); n < 3 {
		t.Errorf("%d runs", n)
	}
	begin := time.Now()
	c.Stop(time.Second) // while it waits to start again
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("Stop took %v", took)
	}
	n := strings.Count(Tail(log, 100), "run")
	time.Sleep(2 * firstPause)
	if again := strings.Count(Tail(log, 100), "run"); again != n {
		t.Error("started again after Stop")
	}
}

func TestPause(t *testing.T) {
	last := time.Duration(0)
	for n := 1; n < 100; n++ {
		p := pause(n)
		if p < last || p < firstPause || p > maxPause {
			t.Fatalf("pause(%d) = %v after %v", n, p, last)
		}
		last = p
	}
	if last != maxPause {
		t.Errorf("the pause stays at %v", last)
	}
}

func TestEnvironmentIsClean(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.example")
	_, log := sh(t, `/usr/bin/env; echo end; sleep 60`)
	eventually(t, "end", func() bool { return Tail(log, 1) == "end" })
	if got := Tail(log, 100); strings.Contains(got, "PROXY") {
		t.Errorf("environment:\n%s", got)
	}
}

func TestOwnProcessGroup(t *testing.T) {
	c, _ := sh(t, `sleep 60`)
	pid := c.Status().PID
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("process group %d of %d, %v", group, pid, err)
	}
}

func TestStartRefuses(t *testing.T) {
	_, err := Start(Command{Name: "x", Path: filepath.Join(t.TempDir(), "missing"), Log: filepath.Join(t.TempDir(), "log")},
		clock.Func(time.Now), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "starting x") {
		t.Errorf("err = %v", err)
	}
}

func TestRotate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	w, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := rotate(file+".none", 10); err != nil {
		t.Errorf("a missing file: %v", err)
	}
	fmt.Fprint(w, "0123456789")
	if err := rotate(file, 10); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(file); string(data) != "0123456789" {
		t.Errorf("a file at its bound became %q", data)
	}
	fmt.Fprint(w, "abc")
	if err := rotate(file, 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "new") // the writer goes on
	if data, _ := os.ReadFile(file); string(data) != "new" {
		t.Errorf("the file holds %q", data)
	}
	if data, _ := os.ReadFile(file + ".1"); string(data) != "3456789abc" {
		t.Errorf("the older file holds %q", data)
	}
}

func TestTail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if got := Tail(file, 3); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	if err := os.WriteFile(file, []byte(strings.Repeat("x\n", 20000)+"a\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Tail(file, 3); got != "x\na\nb" {
		t.Errorf("Tail = %q", got)
	}
}
