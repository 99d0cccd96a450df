package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

type user struct {
	ID, Name string
	Groups   []string
}

var users = store.NewTable("users", store.Options[user]{
	Key:     func(u *user) string { return u.ID },
	Indexes: []store.Index[user]{{Name: "group", Values: func(u *user) []string { return u.Groups }}},
	Claims:  func(u *user) []string { return []string{"name/" + u.Name} },
})

type secret struct{ ID, Value string }

var secrets = store.NewTable("secrets", store.Options[secret]{
	Key:    func(s *secret) string { return s.ID },
	Sealed: true,
})

func TestRestartFindsEverythingAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	s := storetest.OpenDir(t, dir, users)
	if err := s.Update(ctx, func(tx *store.Tx) error {
		return users.Create(tx, &user{ID: "1", Name: "ann", Groups: []string{"a", "b"}})
	}); err != nil {
		t.Fatal(err)
	}
	rev, _ := users.Rev(s.View(), "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(ctx, func(tx *store.Tx) error { return users.Delete(tx, "1") }); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Update after Close: %v", err)
	}
	if s.Health().Ready {
		t.Error("a closed store is ready")
	}
	s = storetest.OpenDir(t, dir, users)
	u, ok := users.First(s.View(), "group", "b")
	if !ok || u.Name != "ann" {
		t.Fatalf("First = %v, %v", u, ok)
	}
	if again, _ := users.Rev(s.View(), "1"); again != rev {
		t.Errorf("revision %d, then %d", rev, again)
	}
	err := s.Update(ctx, func(tx *store.Tx) error { return users.Create(tx, &user{ID: "2", Name: "ann"}) })
	if !errs.Is(err, errs.Exists) {
		t.Fatalf("the claim was lost: %v", err)
	}
}

// TestKilledWriter kills a process in the middle of its writes, again and again in
// one directory. Whatever it had said was written must be there.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acked := map[string]bool{}
	for round := range 20 {
		cmd, lines := helper(t, "writer", dir)
		expect(t, lines, "ready")
		time.AfterFunc(time.Duration(20+rand.IntN(150))*time.Millisecond, func() { cmd.Process.Kill() })
		for lines.Scan() {
			if id, ok := strings.CutPrefix(lines.Text(), "ack "); ok && strings.Count(id, "-") == 2 {
				acked[id] = true
			} else if strings.HasPrefix(lines.Text(), "error") {
				t.Fatalf("round %d: %s", round, lines.Text())
			}
		}
		cmd.Wait()
	}
	s, err := store.Open(context.Background(), store.Config{Dir: dir, SealKey: [32]byte{1}, Logger: storetest.Logger(t)}, users, secrets)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(acked) < 20 {
		t.Fatalf("only %d writes in 20 rounds", len(acked))
	}
	v := s.View()
	for id := range acked {
		if _, err := users.Get(v, id); err != nil {
			t.Errorf("an acknowledged write is lost: %v", err)
		}
		if sec, err := secrets.Get(v, id); err != nil || sec.Value != id {
			t.Errorf("half of an acknowledged write is lost: %v, %v", sec, err)
		}
	}
	// What was not acknowledged is there in full or not at all.
	for u := range users.All(v) {
		if _, err := secrets.Get(v, u.ID); err != nil {
			t.Errorf("half of a write: %v", err)
		}
	}
	t.Logf("%d acknowledged writes survived 20 kills", len(acked))
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, lines := helper(t, "full", dir)
	n := 0
	for lines.Scan() && strings.HasPrefix(lines.Text(), "ack ") {
		n++
	}
	said := lines.Text()
	t.Log(said)
	if !strings.HasPrefix(said, "full ") || !strings.Contains(said, "ready=false") || !strings.Contains(said, fmt.Sprintf("view=%d", n)) || !strings.Contains(said, "file too large") {
		t.Errorf("after %d writes the helper said %q", n, said)
	}
	if got := expect(t, lines, "fresh true"); !strings.Contains(got, "must be started again") {
		t.Errorf("Fresh = %q", got)
	}
	expect(t, lines, "closed true")
	s, err := store.Open(context.Background(), store.Config{Dir: dir, SealKey: [32]byte{1}, Logger: storetest.Logger(t)}, users, secrets)
	for i := 0; err != nil && i < 20; i++ { // the helper may not have ended yet
		time.Sleep(100 * time.Millisecond)
		s, err = store.Open(context.Background(), store.Config{Dir: dir, SealKey: [32]byte{1}, Logger: storetest.Logger(t)}, users, secrets)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range n {
		if _, err := users.Get(s.View(), fmt.Sprint(i)); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	open := func(dir string, key byte, tables ...store.AnyTable) error {
		s, err := store.Open(ctx, store.Config{Dir: dir, SealKey: [32]byte{key}, UnsafeNoFsync: true}, tables...)
		if err == nil {
			s.Close()
		}
		return err
	}
	filled := func(t *testing.T) string {
		dir := t.TempDir()
		s, err := store.Open(ctx, store.Config{Dir: dir, SealKey: [32]byte{1}, UnsafeNoFsync: true}, secrets, users)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Update(ctx, func(tx *store.Tx) error { return secrets.Create(tx, &secret{ID: "1"}) }); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	write := func(t *testing.T, path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw := func(t *testing.T, dir, key, val string) {
		s, err := store.Open(ctx, store.Config{Dir: dir, UnsafeNoFsync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Client().Put(ctx, key, val); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		err  func(t *testing.T) error
		kind errs.Kind
		says []string
	}{
		{"a running instance", func(t *testing.T) error {
			dir := t.TempDir()
			storetest.OpenDir(t, dir)
			return open(dir, 1)
		}, errs.Unavailable, []string{"owned by a running instance", fmt.Sprint("process ", os.Getpid()), "stop that one"}},
		{"a running instance elsewhere", func(t *testing.T) error {
			dir := t.TempDir()
			cmd, lines := helper(t, "writer", dir)
			expect(t, lines, "ready")
			err := open(dir, 1)
			if !strings.Contains(err.Error(), fmt.Sprint("process ", cmd.Process.Pid)) {
				t.Errorf("%v does not name the process", err)
			}
			return err
		}, errs.Unavailable, []string{"owned by a running instance"}},
		{"a directory of another format", func(t *testing.T) error {
			dir := filled(t)
			write(t, filepath.Join(dir, "store.format"), "entrance store 99\n")
			return open(dir, 1, secrets)
		}, errs.Invalid, []string{"entrance store 99", "start the version that wrote it"}},
		{"someone else's etcd", func(t *testing.T) error {
			dir := filled(t)
			if err := os.Remove(filepath.Join(dir, "store.format")); err != nil {
				t.Fatal(err)
			}
			return open(dir, 1, secrets)
		}, errs.Invalid, []string{"did not make", "choose another directory"}},
		{"an etcd of another format", func(t *testing.T) error {
			dir := filled(t)
			raw(t, dir, "/entrance/format", `{"format":2}`)
			return open(dir, 1, secrets)
		}, errs.Invalid, []string{"format 2", "start the version that wrote it"}},
		{"another seal key", func(t *testing.T) error {
			return open(filled(t), 2, secrets)
		}, errs.Invalid, []string{"sealed with another key", "give the key file"}},
		{"no seal key", func(t *testing.T) error {
			return open(filled(t), 0, secrets)
		}, errs.Invalid, []string{"needs a seal key", "secrets"}},
		{"a record that cannot be decoded", func(t *testing.T) error {
			dir := filled(t)
			raw(t, dir, "/entrance/t/users/7", `{"ID":7}`)
			return open(dir, 1, secrets, users)
		}, errs.Internal, []string{"/entrance/t/users/7"}},
		{"a file for a directory", func(t *testing.T) error {
			f := filepath.Join(t.TempDir(), "f")
			write(t, f, "")
			return open(f, 1)
		}, errs.Unavailable, []string{"cannot be made"}},
		{"nothing", func(t *testing.T) error { return open("", 1) }, errs.Invalid, []string{"data directory or the endpoints"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.err(t)
			if !errs.Is(err, tc.kind) {
				t.Fatalf("Open = %v, want %v", err, tc.kind)
			}
			for _, s := range tc.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than one line", err)
			}
		})
	}
}

// TestNobodyElseCanReachTheData: no listener, and files for the owner alone.
func TestNobodyElseCanReachTheData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	storetest.OpenDir(t, dir, users)
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Type()&os.ModeSocket != 0 {
			t.Errorf("%s is a socket", path)
		}
		if d.IsDir() && info.Mode().Perm()&0o077 != 0 || path == filepath.Join(dir, "store.lock") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if listening(t) {
		t.Error("the process listens on a TCP port")
	}
}

// listening reports whether this process has a listening TCP socket that is not
// a relay of another test.
func listening(t *testing.T) bool {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	mine := map[string]bool{}
	for _, fd := range fds {
		link, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			mine[strings.TrimSuffix(inode, "]")] = true
		}
	}
	n := 0
	for _, f := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, _ := os.ReadFile(f)
		for line := range strings.Lines(string(b)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && fields[3] == "0A" && mine[fields[9]] {
				n++
			}
		}
	}
	relays.mu.Lock()
	defer relays.mu.Unlock()
	return n > relays.n
}

// TestBackup: both kinds of etcd give the database with a record in it, followed
// by its checksum.
func TestBackup(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, s := range map[string]*store.Store{
		"embedded": storetest.Open(t, users),
		"external": connect(t, startEtcd(t), "", users),
	} {
		if err := s.Update(ctx, func(tx *store.Tx) error {
			return users.Create(tx, &user{ID: "1", Name: "a name to look for"})
		}); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := s.Backup(ctx, &b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		db, sum := b.Bytes()[:max(0, b.Len()-sha256.Size)], b.Bytes()[max(0, b.Len()-sha256.Size):]
		if want := sha256.Sum256(db); !bytes.Equal(sum, want[:]) || !bytes.Contains(db, []byte("a name to look for")) {
			t.Errorf("%s: a backup of %d bytes without a right checksum or without the record", name, b.Len())
		}
	}
}

func TestMisusePanics(t *testing.T) {
	t.Parallel()
	s := storetest.Open(t, users)
	for name, fn := range map[string]func(){
		"bad table name": func() { store.NewTable("Users", store.Options[user]{Key: func(*user) string { return "" }}) },
		"no key":         func() { store.NewTable("x", store.Options[user]{}) },
		"unknown index":  func() { users.Count(s.View(), "nope", "") },
		"unknown table":  func() { secrets.Get(s.View(), "1") },
		"unknown table, tx": func() {
			s.Update(context.Background(), func(tx *store.Tx) error { _, err := secrets.Get(tx, "1"); return err })
		},
		"tx after its end": func() {
			var kept *store.Tx
			s.Update(context.Background(), func(tx *store.Tx) error { kept = tx; return nil })
			users.Get(kept, "1")
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fn()
		}()
	}
}
