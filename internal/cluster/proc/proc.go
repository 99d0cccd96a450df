// Package proc keeps child processes running: it starts one, starts it again
// with growing pauses when it ends by itself, bounds its log file, and stops
// it.
//
// # Traps
//
//   - A child gets a process group of its own. Ctrl-C in a terminal goes to
//     the whole foreground group; without this the children would begin to
//     stop all at once, in no order, before their parent knows.
//   - A child writes to its log file itself. Through a pipe it would die of
//     SIGPIPE when the parent is killed, instead of ending in good order.
//   - A child gets the environment that it is given and no more: proxy
//     variables and the like of the person who started the parent must not
//     change what a control plane does.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
)

// Command is what a child runs.
type Command struct {
	Name string   // for logs and errors
	Path string   // the program
	Args []string // its arguments, without the program's name
	Env  []string // its whole environment
	Dir  string   // its working directory
	Log  string   // the file that its output is appended to
	// Files are inherited by the child, from descriptor 3 on.
	Files []*os.File
}

const (
	firstPause = 250 * time.Millisecond
	maxPause   = 15 * time.Second
	// steady is how long a child must have run for its next end to count as
	// the first.
	steady = time.Minute
	// maxLog bounds a log file; one older file of that size is kept.
	maxLog      = 8 << 20
	rotateEvery = 15 * time.Second
)

// Status tells how a child is doing.
type Status struct {
	Name    string
	Running bool
	PID     int       // 0 while not running
	Since   time.Time // when it was last started, or ended
	// Failures counts the ends in a row that nobody asked for.
	Failures int
	LastExit string // how it last ended by itself; empty if it never did
	ExitCode int    // the code of that end; -1 for a signal
}

// A Child is one supervised process. Its methods may be called from several
// goroutines.
type Child struct {
	cmd   Command
	log   *slog.Logger
	clock clock.Clock

	stop chan struct{} // closed to ask the supervisor to end
	done chan struct{} // closed when it has, and no process is left
	once sync.Once
	kill chan time.Duration

	mu     sync.Mutex
	status Status
}

// Start starts a child and supervises it until Stop. An error means that it
// could not be started at all.
func Start(cmd Command, c clock.Clock, log *slog.Logger) (*Child, error) {
	ch := &Child{
		cmd: cmd, log: log, clock: c,
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		kill:   make(chan time.Duration, 1),
		status: Status{Name: cmd.Name},
	}
	if err := rotate(cmd.Log, maxLog); err != nil {
		return nil, err
	}
	p, err := ch.launch()
	if err != nil {
		return nil, err
	}
	go ch.supervise(p)
	return ch, nil
}

func (c *Child) launch() (*exec.Cmd, error) {
	out, err := os.OpenFile(c.cmd.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := exec.Command(c.cmd.Path, c.cmd.Args...)
	p.Env, p.Dir = c.cmd.Env, c.cmd.Dir
	if p.Env == nil {
		p.Env = []string{} // nil would mean ours
	}
	p.Stdout, p.Stderr = out, out
	p.ExtraFiles = c.cmd.Files
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.cmd.Name, err)
	}
	c.mu.Lock()
	c.status.Running, c.status.PID, c.status.Since = true, p.Process.Pid, c.clock.Now()
	c.mu.Unlock()
	c.log.Debug("child started", "child", c.cmd.Name, "pid", p.Process.Pid)
	return p, nil
}

func (c *Child) supervise(p *exec.Cmd) {
	defer close(c.done)
	for {
		ended := make(chan error, 1)
		started := time.Now() // monotonic; only lengths are taken from it
		go func() { ended <- p.Wait() }()
		err, asked := c.watch(p, ended)
		c.mu.Lock()
		c.status.Running, c.status.PID, c.status.Since = false, 0, c.clock.Now()
		if asked {
			c.mu.Unlock()
			return
		}
		if time.Since(started) > steady {
			c.status.Failures = 0
		}
		c.status.Failures++
		c.status.LastExit, c.status.ExitCode = exitText(err), p.ProcessState.ExitCode()
		n := c.status.Failures
		c.mu.Unlock()
		c.log.Warn("child ended by itself", "child", c.cmd.Name, "how", exitText(err), "failures", n)

		for p = nil; p == nil; n++ {
			select {
			case <-c.stop:
				return
			case <-time.After(pause(n)):
			}
			if p, err = c.launch(); err != nil {
				c.mu.Lock()
				c.status.Failures, c.status.LastExit, c.status.ExitCode = n+1, err.Error(), -1
				c.mu.Unlock()
				c.log.Warn("child cannot be started", "child", c.cmd.Name, "err", err)
			}
		}
	}
}

// watch waits for the end of a process, asked for or not.
func (c *Child) watch(p *exec.Cmd, ended <-chan error) (err error, asked bool) {
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			select {
			case <-c.stop:
				return err, true
			default:
				return err, false
			}
		case <-tick.C:
			if err := rotate(c.cmd.Log, maxLog); err != nil {
				c.log.Warn("log file cannot be shortened", "child", c.cmd.Name, "err", err)
			}
		case <-c.stop:
			grace := <-c.kill
			_ = p.Process.Signal(syscall.SIGTERM)
			select {
			case err := <-ended:
				return err, true
			case <-time.After(grace):
			}
			c.log.Debug("child killed after its grace", "child", c.cmd.Name)
			_ = p.Process.Kill()
			return <-ended, true
		}
	}
}

// pause returns how long to wait after n failures in a row.
func pause(n int) time.Duration {
	if n > 7 {
		return maxPause
	}
	return min(firstPause<<max(n-1, 0), maxPause)
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ProcessState.String()
	}
	return err.Error()
}

// Stop asks the child to end, makes it after grace, and returns when it is
// gone. It may be called more than once.
func (c *Child) Stop(grace time.Duration) {
	c.once.Do(func() {
		c.kill <- grace
		close(c.stop)
	})
	<-c.done
}

// Status returns how the child is doing.
func (c *Child) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Tail returns up to n of the last lines of the child's log.
func (c *Child) Tail(n int) string { return Tail(c.cmd.Log, n) }

// Tail returns up to n of the last lines of a file, or nothing.
func Tail(file string, n int) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	const window = 16 << 10
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	buf := make([]byte, min(st.Size(), window))
	if _, err := f.ReadAt(buf, st.Size()-int64(len(buf))); err != nil && err != io.EOF {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(bytes.ToValidUTF8(buf, nil)), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// rotate keeps the last limit bytes of a file that has grown beyond limit in
// file.1 and empties the file. Its writer has it open for appending, so that
// it goes on at the new end; what is written between the two steps is lost.
func rotate(file string, limit int64) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() <= limit {
		return err
	}
	old, err := os.OpenFile(file+".1", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(old, io.NewSectionReader(f, st.Size()-limit, limit)); err != nil {
		old.Close()
		return err
	}
	if err := old.Close(); err != nil {
		return err
	}
	return f.Truncate(0)
}
