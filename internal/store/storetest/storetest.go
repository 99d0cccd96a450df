// Package storetest opens stores for tests, and holds the conformance suite that
// every kind of etcd behind a store must pass.
package storetest

import (
	"context"
	"log/slog"
	"testing"

	"github.com/entrance-id/entrance/internal/store"
)

// SealKey is the seal key of the stores that Open makes.
var SealKey = [32]byte{0: 's', 1: 't', 31: 'k'}

// Open returns a store of its own in a temporary directory, which is gone when
// the test ends. It does not sync to disk and starts in a fraction of a second.
func Open(t testing.TB, tables ...store.AnyTable) *store.Store {
	t.Helper()
	return OpenDir(t, t.TempDir(), tables...)
}

// OpenDir is Open with a directory of the caller's, for tests of a restart: close
// the store and open the directory again.
func OpenDir(t testing.TB, dir string, tables ...store.AnyTable) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), store.Config{
		Dir:           dir,
		SealKey:       SealKey,
		Logger:        Logger(t),
		UnsafeNoFsync: true,
	}, tables...)
	if err != nil {
		t.Fatalf("opening a store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// Logger returns a logger that writes warnings and errors to the test's log.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
