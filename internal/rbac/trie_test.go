package rbac

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// TestTrie compares the trie with a map, and checks that no change reaches an
// older version.
func TestTrie(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	type version struct {
		trie trie[int]
		want map[string]int
	}
	now := version{want: map[string]int{}}
	var old []version
	e := new(edit)
	for i := range 20_000 {
		if rng.IntN(10) == 0 {
			old = append(old, version{now.trie, maps.Clone(now.want)})
			if len(old) > 20 {
				old = old[1:]
			}
			e = new(edit) // what old has seen is shared from here on
		}
		key := fmt.Sprint("key", rng.IntN(2000))
		if rng.IntN(3) == 0 {
			now.trie = now.trie.del(e, key)
			delete(now.want, key)
		} else {
			now.trie = now.trie.set(e, key, i)
			now.want[key] = i
		}
	}
	for i, v := range append(old, now) {
		if v.trie.len() != len(v.want) {
			t.Errorf("version %d: length %d, want %d", i, v.trie.len(), len(v.want))
		}
		got := map[string]int{}
		for k, n := range v.trie.all() {
			got[k] = n
		}
		if !maps.Equal(got, v.want) {
			t.Errorf("version %d has other entries", i)
		}
		for k, n := range v.want {
			if g, ok := v.trie.get(k); !ok || g != n {
				t.Errorf("version %d: %s is %d, want %d", i, k, g, n)
			}
		}
		if _, ok := v.trie.get("absent"); ok {
			t.Errorf("version %d has what was never there", i)
		}
	}
}

// TestTrieCollisions puts keys of one hash below the deepest level, where they
// share a list.
func TestTrieCollisions(t *testing.T) {
	var n *trieNode[int]
	added := false
	for i := range 5 {
		n = n.set(nil, 7, trieDepth*trieBits, fmt.Sprint(i), i, &added)
	}
	n = n.set(nil, 7, trieDepth*trieBits, "3", 33, &added)
	n = n.del(nil, 7, trieDepth*trieBits, "1")
	got := map[string]int{}
	n.each(func(k string, v int) bool { got[k] = v; return true })
	if want := map[string]int{"0": 0, "2": 2, "3": 33, "4": 4}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
