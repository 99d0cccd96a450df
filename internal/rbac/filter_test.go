package rbac

import (
	"fmt"
	"maps"
	"testing"
)

// TestFilter: whoever was added is found, in every version and however much the
// filter has grown since; of the others nearly all are not.
func TestFilter(t *testing.T) {
	id := func(kind, i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", kind, i) }
	var f filter
	if f.has(id(1, 0)) {
		t.Error("the empty filter knows somebody")
	}
	const n = 20_000
	known := map[string]bool{}
	all := func(yield func(string) bool) {
		for k := range maps.Keys(known) {
			if !yield(k) {
				return
			}
		}
	}
	e := new(edit)
	var older []filter
	var at []int
	for i := range n {
		if i%1000 == 0 {
			older, at = append(older, f), append(at, i)
			e = new(edit) // f is shared from here on
		}
		f = f.with(e, id(1, i), all)
		known[id(1, i)] = true
	}
	f = f.with(e, "Everyone", all)
	if !f.has("Everyone") {
		t.Error("an id that is no GUID is lost")
	}
	missing, wrong := 0, 0
	for i := range n {
		if !f.has(id(1, i)) {
			missing++
		}
		if f.has(id(2, i)) {
			wrong++
		}
	}
	if missing > 0 || wrong > n/8 {
		t.Errorf("%d of %d are missing; %d of as many others are taken for known", missing, n, wrong)
	}
	// An older filter has not been changed by what came later.
	for v, old := range older {
		wrong := 0
		for i := at[v]; i < n; i++ {
			if old.has(id(1, i)) {
				wrong++
			}
		}
		if wrong > n/8 {
			t.Errorf("the filter of %d knows %d that came after it", at[v], wrong)
		}
	}
}
