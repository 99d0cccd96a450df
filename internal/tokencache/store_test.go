package tokencache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
)

// memoryRing is a keyring that can be broken.
type memoryRing struct {
	mu      sync.Mutex
	key     []byte
	refuse  error
	forgets bool
}

func (r *memoryRing) get() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		return nil, r.refuse
	}
	if r.key == nil {
		return nil, errNoKey
	}
	return r.key, nil
}

func (r *memoryRing) set(key []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse == nil && !r.forgets {
		r.key = key
	}
	return r.refuse
}

func open(t *testing.T, dir string, ring *memoryRing, keyStore string) (*Store, *[]string) {
	t.Helper()
	var warnings []string
	s := Open(dir, Options{Clock: clock.NewManual(time.Unix(1_800_000_000, 0)), KeyStore: keyStore, ring: ring,
		Warn: func(m string) { warnings = append(warnings, m) }})
	t.Cleanup(func() { s.Close() })
	return s, &warnings
}

var someKey = Key{Authority: "a", Tenant: "t", Client: "c", Account: "u", Resource: "r", Mode: "m"}

func TestKeysDoNotMeet(t *testing.T) {
	// Each differs from someKey in one field, or moves a border between two.
	keys := []Key{someKey, {}}
	for i := range 6 {
		k := someKey
		f := []*string{&k.Authority, &k.Tenant, &k.Client, &k.Account, &k.Resource, &k.Mode}
		*f[i] += "x"
		keys = append(keys, k)
		if i > 0 {
			k := someKey
			f := []*string{&k.Authority, &k.Tenant, &k.Client, &k.Account, &k.Resource, &k.Mode}
			*f[i-1], *f[i] = *f[i-1]+*f[i], ""
			keys = append(keys, k)
		}
	}
	seen := map[string]Key{}
	for _, k := range keys {
		if other, ok := seen[k.ID()]; ok {
			t.Errorf("%+v and %+v share a name", k, other)
		}
		seen[k.ID()] = k
	}
}

func TestRoundTripAndList(t *testing.T) {
	dir := t.TempDir()
	ring := &memoryRing{}
	s, warnings := open(t, dir, ring, "")
	e := Entry{AccessToken: "secret-token", RefreshToken: "secret-refresh", ExpiresOn: time.Unix(1_800_003_600, 0).UTC(), Account: Account{Username: "ann"}}
	if err := s.Put(someKey, e); err != nil {
		t.Fatal(err)
	}
	again, _ := open(t, dir, ring, "")
	got, ok := again.Get(someKey)
	if !ok || got.AccessToken != e.AccessToken || got.RefreshToken != e.RefreshToken || !got.ExpiresOn.Equal(e.ExpiresOn) || got.Account != e.Account {
		t.Errorf("got %+v, %v", got, ok)
	}
	if got.Stored.Unix() != 1_800_000_000 {
		t.Errorf("stored at %v: the time did not come from the clock", got.Stored)
	}
	items, bad := again.List()
	if len(items) != 1 || bad != 0 || items[0].Key != someKey {
		t.Errorf("list: %+v, %d unreadable", items, bad)
	}
	if _, at, _ := again.Persistent(); at != "keyring" {
		t.Errorf("the key is in the %s", at)
	}
	if len(*warnings) > 0 {
		t.Errorf("warnings: %v", *warnings)
	}
	filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, _ := os.ReadFile(path)
		for _, secret := range []string{"secret", "ann", `"t"`} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds %q in clear", path, secret)
			}
		}
		return nil
	})
	if err := again.Delete(someKey); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Get(someKey); ok {
		t.Error("deleted, and still there")
	}
	if err := again.Delete(someKey); err != nil {
		t.Errorf("deleting what is not there: %v", err)
	}
}

// TestKeyPlaces: keyring, else key file with one warning, else memory.
func TestKeyPlaces(t *testing.T) {
	denied := errors.New("operation not permitted")
	for _, tc := range []struct {
		name     string
		ring     *memoryRing
		keyStore string
		want     string
		warns    int
	}{
		{"keyring", &memoryRing{}, "", "keyring", 0},
		{"refused", &memoryRing{refuse: denied}, "auto", "key file", 1},
		{"accepts and forgets", &memoryRing{forgets: true}, "", "key file", 1},
		{"file by choice", &memoryRing{}, "file", "key file", 0},
		{"keyring by choice, refused", &memoryRing{refuse: denied}, "keyring", "memory", 1},
		{"none by choice", &memoryRing{}, "none", "memory", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			s, w := open(t, dir, tc.ring, tc.keyStore)
			if _, at, _ := s.Persistent(); at != tc.want {
				t.Errorf("the key is in the %s, want %s", at, tc.want)
			}
			if len(*w) != tc.warns {
				t.Errorf("warnings: %q, want %d", *w, tc.warns)
			}
			if err := s.Put(someKey, Entry{AccessToken: "x"}); err != nil {
				t.Fatal(err)
			}
			if _, ok := s.Get(someKey); !ok {
				t.Error("not there within the process")
			}
			_, w = open(t, dir, tc.ring, tc.keyStore)
			if tc.want == "key file" && len(*w) != 0 {
				t.Errorf("warned again: %q", *w)
			}
			if tc.want == "memory" {
				if files, _ := filepath.Glob(filepath.Join(dir, "*", "*.token")); len(files) > 0 {
					t.Errorf("written although nothing may be: %v", files)
				}
			}
		})
	}
}

// TestKeyFileWins: a container without a keyring and a desktop with one share
// a home directory and must not destroy each other's entries.
func TestKeyFileWins(t *testing.T) {
	dir := t.TempDir()
	container, _ := open(t, dir, &memoryRing{refuse: errors.New("denied")}, "")
	container.Put(someKey, Entry{AccessToken: "x"})
	desktop, _ := open(t, dir, &memoryRing{key: newKey()}, "")
	if e, ok := desktop.Get(someKey); !ok || e.AccessToken != "x" {
		t.Error("the desktop uses another key than the container")
	}
}

// TestOneKeyForAll makes the key in many stores at once.
func TestOneKeyForAll(t *testing.T) {
	for _, ring := range []*memoryRing{{}, {refuse: errors.New("denied")}} {
		dir := t.TempDir()
		var wg sync.WaitGroup
		stores := make([]*Store, 16)
		for i := range stores {
			wg.Go(func() {
				stores[i] = Open(dir, Options{Clock: clock.Func(time.Now), ring: ring})
			})
		}
		wg.Wait()
		for _, s := range stores {
			defer s.Close()
			if s.Digest([]byte("x")) != stores[0].Digest([]byte("x")) {
				t.Fatal("two keys were made")
			}
		}
	}
}

// TestFilesOfOthersAreIgnored is abuse case 39: links, foreign and damaged files
// in the cache.
func TestFilesOfOthersAreIgnored(t *testing.T) {
	dir := t.TempDir()
	ring := &memoryRing{}
	s, _ := open(t, dir, ring, "")
	s.Put(someKey, Entry{AccessToken: "x"})
	file := filepath.Join(dir, subdir, someKey.ID()+tokenExt)
	sealed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other := someKey
	other.Account = "mallory"
	for name, prepare := range map[string]func() error{
		"a link": func() error {
			os.Rename(file, file+".real")
			return os.Symlink(filepath.Base(file)+".real", file)
		},
		"a directory": func() error { return os.Mkdir(file, 0o700) },
		"too large":   func() error { return os.WriteFile(file, append(sealed, make([]byte, maxFile)...), 0o600) },
		"another store's": func() error {
			foreign, _ := newSealer(newKey())
			return os.WriteFile(file, foreign.seal([]byte(filepath.Base(file)), []byte(`{}`)), 0o600)
		},
		"another entry's": func() error {
			s.Put(other, Entry{AccessToken: "theirs"})
			b, err := os.ReadFile(filepath.Join(dir, subdir, other.ID()+tokenExt))
			if err != nil {
				return err
			}
			return os.WriteFile(file, b, 0o600)
		},
	} {
		os.RemoveAll(file)
		if err := prepare(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e, ok := s.Get(someKey); ok {
			t.Errorf("%s was used: %+v", name, e)
		}
	}
	os.RemoveAll(file)
	if err := s.Put(someKey, Entry{AccessToken: "y"}); err != nil {
		t.Errorf("cannot write again: %v", err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	ring := &memoryRing{}
	a, _ := open(t, dir, ring, "")
	b, _ := open(t, dir, ring, "")
	la, err := a.Lock(context.Background(), someKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	la.Say("asking somebody to sign in")
	if _, ok := b.TryLock(someKey); ok {
		t.Fatal("locked twice")
	}
	other := someKey
	other.Client = "other"
	if lo, ok := b.TryLock(other); !ok {
		t.Error("another key is locked too")
	} else {
		lo.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
	defer cancel()
	var told []Holder
	if _, err := b.Lock(ctx, someKey, func(h Holder) { told = append(told, h) }); err == nil || !strings.Contains(err.Error(), "asking somebody to sign in") {
		t.Errorf("error %v", err)
	}
	if len(told) != 1 || told[0].PID != os.Getpid() {
		t.Errorf("told %+v", told)
	}
	// Clearing the cache does not let a second process in.
	if _, err := b.Clear(); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.TryLock(someKey); ok {
		t.Fatal("clearing broke the lock")
	}
	la.Unlock()
	lb, ok := b.TryLock(someKey)
	if !ok {
		t.Fatal("still locked")
	}
	lb.Unlock()
	if left, _ := filepath.Glob(filepath.Join(dir, subdir, "*.lock")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestLockIsExclusive lets many take and remove the same lock file: at no time
// may two hold it.
func TestLockIsExclusive(t *testing.T) {
	dir := t.TempDir()
	ring := &memoryRing{}
	var mu sync.Mutex
	held, total := 0, 0
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s := Open(dir, Options{Clock: clock.Func(time.Now), ring: ring})
			defer s.Close()
			for range 15 {
				l, err := s.Lock(context.Background(), someKey, nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				held++
				total++
				if held > 1 {
					t.Error("two hold the lock")
				}
				mu.Unlock()
				time.Sleep(100 * time.Microsecond)
				mu.Lock()
				held--
				mu.Unlock()
				l.Unlock()
			}
		})
	}
	wg.Wait()
	if total != 90 {
		t.Errorf("%d turns, want 90", total)
	}
}

func FuzzOpenSealed(f *testing.F) {
	s, _ := newSealer(make([]byte, keySize))
	f.Add([]byte("name"), s.seal([]byte("name"), []byte("text")))
	f.Add([]byte("name"), []byte(magic))
	f.Add([]byte(""), []byte(""))
	f.Fuzz(func(t *testing.T, name, data []byte) {
		// Nobody without the key makes a file that opens; the one seed that
		// does opens under its own name alone.
		if plain, err := s.open(name, data); err == nil && (string(name) != "name" || string(plain) != "text") {
			t.Errorf("opened %q as %q", name, plain)
		}
	})
}
