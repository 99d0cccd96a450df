package rbac

import (
	"hash/maphash"
	"iter"
	"math/bits"
)

// trie is an immutable map from strings: a hash array mapped trie. A change
// copies the path to what it changes and shares the rest, so that a snapshot of
// 100,000 assignments takes a new one in microseconds.
//
// The zero value is an empty map.
type trie[V any] struct {
	root *trieNode[V]
	n    int
}

// edit marks the nodes that one batch of changes has made. They are not shared
// yet, so the batch changes them in place.
type edit struct{ _ byte }

// The seed differs between processes, so that nobody can choose ids that
// collide.
var trieSeed = maphash.MakeSeed()

const (
	trieBits  = 5
	trieMask  = 1<<trieBits - 1
	trieDepth = 60 / trieBits // beyond it keys share a list
)

type trieNode[V any] struct {
	owner  *edit
	bitmap uint32
	slots  []trieSlot[V]
}

// trieSlot holds a subtree, or one entry, or below trieDepth one of a list.
type trieSlot[V any] struct {
	sub *trieNode[V]
	key string
	val V
}

func (t trie[V]) get(key string) (V, bool) {
	h := maphash.String(trieSeed, key)
	n := t.root
	for shift := 0; n != nil; shift += trieBits {
		if shift >= trieDepth*trieBits {
			for i := range n.slots {
				if n.slots[i].key == key {
					return n.slots[i].val, true
				}
			}
			break
		}
		bit := uint32(1) << (h >> shift & trieMask)
		if n.bitmap&bit == 0 {
			break
		}
		s := &n.slots[bits.OnesCount32(n.bitmap&(bit-1))]
		if s.sub == nil {
			if s.key == key {
				return s.val, true
			}
			break
		}
		n = s.sub
	}
	var zero V
	return zero, false
}

func (t trie[V]) len() int { return t.n }

// all yields the entries in no order.
func (t trie[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { t.root.each(yield) }
}

func (n *trieNode[V]) each(yield func(string, V) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.slots {
		s := &n.slots[i]
		if s.sub != nil {
			if !s.sub.each(yield) {
				return false
			}
		} else if !yield(s.key, s.val) {
			return false
		}
	}
	return true
}

// set returns a map in which key has the value.
func (t trie[V]) set(e *edit, key string, val V) trie[V] {
	added := false
	root := t.root.set(e, maphash.String(trieSeed, key), 0, key, val, &added)
	if added {
		t.n++
	}
	return trie[V]{root, t.n}
}

func (n *trieNode[V]) own(e *edit) *trieNode[V] {
	if n.owner == e && e != nil {
		return n
	}
	return &trieNode[V]{owner: e, bitmap: n.bitmap, slots: append(make([]trieSlot[V], 0, len(n.slots)+1), n.slots...)}
}

func (n *trieNode[V]) set(e *edit, h uint64, shift int, key string, val V, added *bool) *trieNode[V] {
	if n == nil {
		n = &trieNode[V]{owner: e}
	} else {
		n = n.own(e)
	}
	if shift >= trieDepth*trieBits {
		for i := range n.slots {
			if n.slots[i].key == key {
				n.slots[i].val = val
				return n
			}
		}
		*added = true
		n.slots = append(n.slots, trieSlot[V]{key: key, val: val})
		return n
	}
	bit := uint32(1) << (h >> shift & trieMask)
	i := bits.OnesCount32(n.bitmap & (bit - 1))
	switch {
	case n.bitmap&bit == 0:
		*added = true
		n.bitmap |= bit
		n.slots = append(n.slots, trieSlot[V]{})
		copy(n.slots[i+1:], n.slots[i:])
		n.slots[i] = trieSlot[V]{key: key, val: val}
	case n.slots[i].sub != nil:
		n.slots[i].sub = n.slots[i].sub.set(e, h, shift+trieBits, key, val, added)
	case n.slots[i].key == key:
		n.slots[i].val = val
	default:
		old := n.slots[i]
		var ignore bool
		var sub *trieNode[V]
		sub = sub.set(e, maphash.String(trieSeed, old.key), shift+trieBits, old.key, old.val, &ignore)
		n.slots[i] = trieSlot[V]{sub: sub.set(e, h, shift+trieBits, key, val, added)}
	}
	return n
}

// del returns a map without key.
func (t trie[V]) del(e *edit, key string) trie[V] {
	if _, ok := t.get(key); !ok {
		return t
	}
	return trie[V]{t.root.del(e, maphash.String(trieSeed, key), 0, key), t.n - 1}
}

// del removes a key that is there. A node left with nothing becomes nil.
func (n *trieNode[V]) del(e *edit, h uint64, shift int, key string) *trieNode[V] {
	n = n.own(e)
	remove := func(i int) {
		copy(n.slots[i:], n.slots[i+1:])
		n.slots[len(n.slots)-1] = trieSlot[V]{}
		n.slots = n.slots[:len(n.slots)-1]
	}
	if shift >= trieDepth*trieBits {
		for i := range n.slots {
			if n.slots[i].key == key {
				remove(i)
				break
			}
		}
	} else {
		bit := uint32(1) << (h >> shift & trieMask)
		i := bits.OnesCount32(n.bitmap & (bit - 1))
		if sub := n.slots[i].sub; sub != nil {
			n.slots[i].sub = sub.del(e, h, shift+trieBits, key)
		}
		if n.slots[i].sub == nil {
			n.bitmap &^= bit
			remove(i)
		}
	}
	if len(n.slots) == 0 {
		return nil
	}
	return n
}
