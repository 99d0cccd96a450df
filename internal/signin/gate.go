package signin

import (
	"context"
	"sync"

	"github.com/entrance-id/entrance/internal/errs"
)

// gate lets a few attempts at a time through for each account and address. An
// attempt counts as a failure until it has been checked, so without this many
// right ones at once would lock the account.
type gate struct {
	width int

	mu    sync.Mutex
	slots map[string]*slot
}

// slot is what attempts of one key wait for.
type slot struct {
	free  chan struct{}
	users int // inside and waiting
}

// maxWaiting bounds how many attempts of one key wait.
const maxWaiting = 1000

func newGate(width int) *gate { return &gate{width: max(1, width), slots: map[string]*slot{}} }

// enter waits for a place and returns how to leave it. Unavailable when too many
// wait already.
func (g *gate) enter(ctx context.Context, key string) (leave func(), err error) {
	g.mu.Lock()
	s := g.slots[key]
	if s == nil {
		s = &slot{free: make(chan struct{}, g.width)}
		g.slots[key] = s
	}
	if s.users >= g.width+maxWaiting {
		g.mu.Unlock()
		return nil, errs.New(errs.Unavailable, "Too many attempts to sign in to one account are under way. Try again in a moment.")
	}
	s.users++
	g.mu.Unlock()
	gone := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(g.slots, key)
		}
	}
	select {
	case s.free <- struct{}{}:
		return func() { <-s.free; gone() }, nil
	case <-ctx.Done():
		gone()
		return nil, errs.Wrap(errs.Unavailable, ctx.Err(), "The attempt to sign in was given up")
	}
}
