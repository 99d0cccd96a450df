package server_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
)

// TestWrongClock starts on a store that has seen a later time: with such a clock
// tokens would live for longer than they say.
func TestWrongClock(t *testing.T) {
	now := time.Now()
	cfg := server.Config{DataDir: filepath.Join(t.TempDir(), "data"), Sample: true, UnsafeNoFsync: true}
	start := func(at time.Time) error {
		cfg.Clock = clock.Func(func() time.Time { return at })
		s, err := server.Start(context.Background(), cfg)
		if err != nil {
			return err
		}
		return s.Close(context.Background())
	}
	if err := start(now); err != nil {
		t.Fatal(err)
	}
	if err := start(now.Add(-time.Hour)); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "Set the clock and start again") {
		t.Errorf("an hour ago: %v", err)
	}
	if err := start(now.Add(-5 * time.Minute)); err != nil {
		t.Errorf("five minutes ago, which two machines may differ by: %v", err)
	}
}
