package rbac

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
)

// filter tells quickly that a principal certainly holds nothing: one bit for
// each hash, about one in sixteen of them set. A user of two hundred groups asks
// for each of them at each decision, and hardly any holds an assignment; what
// is not in the filter need not be looked up.
//
// It is immutable like a trie and shares its pages with its successors. A bit
// is never cleared: a principal that has lost everything is looked up in vain
// until the filter is made anew, which it is when it has filled up.
//
// The zero value knows nobody.
type filter struct {
	pages []*filterPage // as many as a power of two
	owner *edit         // of pages
	set   int           // bits that are set
}

const (
	filterWords = 64
	filterBits  = 64 * filterWords // of a page
	filterLoad  = 16               // bits for each one that may be set
)

type filterPage struct {
	owner *edit
	words [filterWords]uint64
}

// The secrets differ between processes, so that nobody can choose ids that
// collide.
var filterSecret = [4]uint64{rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()}

// filterHash hashes an id. A GUID's 32 digits are read as four words and mixed
// in two multiplications.
func filterHash(id string) uint64 {
	if len(id) != 36 {
		return maphash.String(trieSeed, id)
	}
	h1, l1 := bits.Mul64(word8(id, 0)^filterSecret[0], word8(id, 9)^filterSecret[1])
	h2, l2 := bits.Mul64(word8(id, 19)^filterSecret[2], word8(id, 28)^filterSecret[3])
	h, l := bits.Mul64(h1^l1^filterSecret[1], h2^l2^filterSecret[2])
	return h ^ l
}

// word8 reads eight bytes of s from i on; the compiler makes one load of it.
func word8(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// has reports whether the principal may be one of those that were added.
func (f *filter) has(id string) bool {
	if len(f.pages) == 0 {
		return false
	}
	h := filterHash(id)
	p := f.pages[h>>12&uint64(len(f.pages)-1)]
	return p != nil && p.words[h>>6%filterWords]&(1<<(h%64)) != 0
}

// with returns a filter that knows one more principal. all yields every one
// that there is, for when it has to grow.
func (f filter) with(e *edit, id string, all func(yield func(string) bool)) filter {
	if f.has(id) {
		return f
	}
	if (f.set+1)*filterLoad > len(f.pages)*filterBits {
		n := 0
		for range all {
			n++
		}
		pages := 1
		for pages*filterBits < 2*(n+1)*filterLoad { // room to double
			pages *= 2
		}
		f = filter{pages: make([]*filterPage, pages), owner: e}
		for other := range all {
			f = f.add(e, other)
		}
	}
	return f.add(e, id)
}

func (f filter) add(e *edit, id string) filter {
	if f.owner != e || e == nil {
		f.pages, f.owner = append([]*filterPage(nil), f.pages...), e
	}
	h := filterHash(id)
	at := &f.pages[h>>12&uint64(len(f.pages)-1)]
	switch {
	case *at == nil:
		*at = &filterPage{owner: e}
	case (*at).owner != e || e == nil:
		*at = &filterPage{owner: e, words: (*at).words}
	}
	word, bit := &(*at).words[h>>6%filterWords], uint64(1)<<(h%64)
	if *word&bit == 0 {
		*word |= bit
		f.set++
	}
	return f
}
