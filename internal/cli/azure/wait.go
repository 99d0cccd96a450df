package azure

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"golang.org/x/term"
)

// How often an operation is asked about, unless the service says, and how often
// a line says that it still goes on where there is no terminal.
const (
	pollEvery = 500 * time.Millisecond
	pollMost  = 30 * time.Second
	lineEvery = 15 * time.Second
)

// Wait waits for a long-running operation and shows that it goes on. what is
// what is done, for example "Creating the cluster web".
func Wait[T any](ctx context.Context, s *Session, what string, p *runtime.Poller[T], err error) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	show := newProgress(s.Err, s.Quiet, what)
	defer show.end()
	for !p.Done() {
		resp, err := p.Poll(ctx)
		if err != nil {
			return zero, err
		}
		if p.Done() {
			break
		}
		if err := show.wait(ctx, delay(resp)); err != nil {
			return zero, fmt.Errorf("%s goes on in the cloud: %w", what, err)
		}
	}
	return p.Result(ctx)
}

// delay is how long to wait before the operation is asked about again.
func delay(resp *http.Response) time.Duration {
	if resp != nil {
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
			return min(time.Duration(s)*time.Second, pollMost)
		}
	}
	return pollEvery
}

// progress says on standard error that something goes on: a line that is
// written over on a terminal, else a line now and then.
type progress struct {
	w        io.Writer
	what     string
	terminal bool
	start    time.Time
	next     time.Time
	drawn    bool
}

func newProgress(w io.Writer, quiet bool, what string) *progress {
	if quiet {
		w = io.Discard
	}
	f, ok := w.(*os.File)
	now := time.Now()
	return &progress{w: w, what: what, terminal: ok && term.IsTerminal(int(f.Fd())), start: now, next: now.Add(lineEvery)}
}

// wait waits and draws meanwhile.
func (p *progress) wait(ctx context.Context, d time.Duration) error {
	end := time.After(d)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		p.draw(time.Now())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-tick.C:
		}
	}
}

func (p *progress) draw(now time.Time) {
	took := now.Sub(p.start).Round(time.Second)
	switch {
	case p.terminal:
		fmt.Fprintf(p.w, "\r%s ... %s\x1b[K", p.what, took)
		p.drawn = true
	case !now.Before(p.next):
		fmt.Fprintf(p.w, "%s ... %s\n", p.what, took)
		p.next = now.Add(lineEvery)
	}
}

// end takes the line off the terminal.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
