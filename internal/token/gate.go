package token

import "time"

// Gate decides when the keys of one remote issuer may be fetched. Whoever sends
// tokens with invented kids causes at most one fetch in each window, and none
// while a fetch is under way; failed fetches double the window up to a bound.
// It keeps no clock and takes no lock: its owner does both.
type Gate struct {
	Window time.Duration // between two fetches; zero is a minute
	Max    time.Duration // bound of the window after failures; zero is 15 minutes

	last     time.Time // start of the latest fetch
	window   time.Duration
	underWay bool
}

// Try reports whether a fetch may start at now, and notes that it does. Each
// true answer is followed by one call of Done.
func (g *Gate) Try(now time.Time) bool {
	if g.underWay {
		return false
	}
	// A clock that was set back must not close the gate for as long.
	if since := now.Sub(g.last); !g.last.IsZero() && since >= 0 && since < g.current() {
		return false
	}
	g.last, g.underWay = now, true
	return true
}

// Done notes how the fetch that Try allowed has ended.
func (g *Gate) Done(ok bool) {
	g.underWay = false
	if ok {
		g.window = g.base()
		return
	}
	g.window = min(2*g.current(), g.max())
}

// Next returns when Try will next allow a fetch, for messages and metrics. The
// zero time means at once.
func (g *Gate) Next() time.Time {
	if g.last.IsZero() {
		return time.Time{}
	}
	return g.last.Add(g.current())
}

func (g *Gate) base() time.Duration {
	if g.Window <= 0 {
		return time.Minute
	}
	return g.Window
}

func (g *Gate) max() time.Duration {
	if g.Max <= 0 {
		return max(15*time.Minute, g.base())
	}
	return max(g.Max, g.base())
}

func (g *Gate) current() time.Duration { return max(g.window, g.base()) }
