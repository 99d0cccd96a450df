package pop

import (
	"container/heap"
	"crypto/sha256"
	"time"
)

// Replay remembers shells until they expire by age. A client may show one shell
// for several requests (kubectl does, for as long as a command runs), so a
// memory either counts or, if Limit is set, refuses after so many times.
//
// It is bounded: when it is full of shells that have not expired, a strict
// memory refuses new ones, since forgetting one would allow its replay, and a
// counting memory lets them pass uncounted. It keeps no clock and takes no
// lock: its owner does both.
type Replay struct {
	limit    int
	capacity int
	seen     map[[sha256.Size]byte]*sighting
	byAge    ages
}

type sighting struct {
	hash    [sha256.Size]byte
	expires int64
	count   int
}

// NewReplay returns a memory for at most capacity shells. With a limit above
// zero it is strict and refuses a shell that was seen limit times before; with
// zero it only counts.
func NewReplay(capacity, limit int) *Replay {
	return &Replay{limit: limit, capacity: max(capacity, 1), seen: make(map[[sha256.Size]byte]*sighting)}
}

// Note remembers that the shell was seen at now and returns how often it has
// been seen, this time included, or an *Error of ClassReplay or ClassFull.
func (r *Replay) Note(s *Shell, now time.Time) (int, error) {
	at := now.Unix()
	for len(r.byAge) > 0 && r.byAge[0].expires < at {
		old := heap.Pop(&r.byAge).(*sighting)
		delete(r.seen, old.hash)
	}
	if known, ok := r.seen[s.Hash]; ok {
		if r.limit > 0 && known.count >= r.limit {
			return known.count, refuse(ClassReplay, "the token was used before")
		}
		known.count++
		return known.count, nil
	}
	if len(r.seen) >= r.capacity {
		if r.limit > 0 {
			return 0, refuse(ClassFull, "too many tokens at once")
		}
		return 1, nil
	}
	n := &sighting{hash: s.Hash, expires: s.Expires.Unix(), count: 1}
	r.seen[s.Hash] = n
	heap.Push(&r.byAge, n)
	return 1, nil
}

// Len returns how many shells are remembered.
func (r *Replay) Len() int { return len(r.seen) }

// ages is a heap of sightings, the first to expire on top.
type ages []*sighting

func (a ages) Len() int           { return len(a) }
func (a ages) Less(i, j int) bool { return a[i].expires < a[j].expires }
func (a ages) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push implements heap.Interface.
func (a *ages) Push(x any) { *a = append(*a, x.(*sighting)) }

// Pop implements heap.Interface.
func (a *ages) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return x
}
