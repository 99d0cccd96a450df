package etcd

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// TestKilledAtFirstStart makes what a process leaves that is killed at its first
// start, between etcd's making of its log and its first entry in it (abuse case
// 40): the next start begins anew. One that has lived keeps what it holds.
func TestKilledAtFirstStart(t *testing.T) {
	dir := t.TempDir()
	start := func() *Server {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		s, err := Start(ctx, Config{Dir: dir, Format: 1, NoFsync: true, Logger: slog.New(slog.DiscardHandler), Fail: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := checkDirFormat(dir, 1); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, etcdDir, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := wal.Create(zap.NewNop(), filepath.Join(dir, etcdDir, "member", "wal"), []byte{8, 1, 16, 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := start()
	if _, err := s.Client().Put(t.Context(), "kept", "yes"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start()
	defer s.Close()
	if got, err := s.Client().Get(t.Context(), "kept"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("after a restart: %v %v", got, err)
	}
}

func TestTrusted(t *testing.T) {
	for version, want := range map[string]bool{
		"3.6.8": true, "3.7.0-rc.1": true, "4.0.0": true, "3.5.13": true, "3.5.21": true, "3.4.31": true,
		"3.5.12": false, "3.4.30": false, "3.3.99": false, "2.3.8": false, "": false, "not decided": false,
	} {
		if got := trusted(version); got != want {
			t.Errorf("trusted(%q) = %v, want %v", version, got, want)
		}
	}
}

// TestLogger: what etcd warns of is heard, what it chats about is not, and a
// fatal message ends the goroutine and not the process.
func TestLogger(t *testing.T) {
	var b bytes.Buffer
	var failed error
	log := slog.New(slog.NewTextHandler(&b, nil))
	zl, quiet := zapLogger(log, func(err error) { failed = err })
	quiet.Store(true)
	zl.Warn("at the start")
	quiet.Store(false)
	zl.Info("chat", zap.String("a", "b"))
	zl.With(zap.Int("member", 7)).Warn("slow disk", zap.String("took", "1s"))
	zl.Error("failed to update storage version")
	done := make(chan bool)
	go func() {
		defer close(done)
		zl.Fatal("cannot write", zap.Error(errors.New("disk full")))
		done <- true
	}()
	if <-done {
		t.Error("the goroutine went on after a fatal message")
	}
	if failed == nil || !strings.Contains(failed.Error(), "cannot write: disk full") {
		t.Errorf("failed with %v", failed)
	}
	got := b.String()
	for _, want := range []string{"level=WARN msg=\"slow disk\" component=etcd member=7 took=1s", "level=ERROR msg=\"cannot write\""} {
		if !strings.Contains(got, want) {
			t.Errorf("the log misses %q:\n%s", want, got)
		}
	}
	for _, not := range []string{"chat", "at the start", "storage version"} {
		if strings.Contains(got, not) {
			t.Errorf("the log has %q:\n%s", not, got)
		}
	}
}
