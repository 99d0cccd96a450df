package signin

import (
	"context"
	"sync"
	"testing"

	"github.com/entrance-id/entrance/internal/errs"
)

func TestGate(t *testing.T) {
	g := newGate(2)
	first, err1 := g.enter(t.Context(), "a")
	second, err2 := g.enter(t.Context(), "a")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := g.enter(gone, "a"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a third attempt: %v", err)
	}
	other, err := g.enter(gone, "b")
	if err != nil {
		t.Errorf("another account has to wait: %v", err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			leave, err := g.enter(context.Background(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			leave()
		})
	}
	first()
	second()
	other()
	wg.Wait()
	if len(g.slots) != 0 {
		t.Errorf("%d accounts are still remembered", len(g.slots))
	}
}
