package tokencache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is how often a waiter looks whether the lock is free.
const lockPoll = 15 * time.Millisecond

// Holder says who holds a lock and what for.
type Holder struct {
	PID   int       `json:"pid"`
	Doing string    `json:"doing"`
	Since time.Time `json:"since"`
}

// String is a description for the waiting person.
func (h Holder) String() string {
	who := "another kubelogin"
	if h.PID != 0 {
		who += " (process " + strconv.Itoa(h.PID) + ")"
	}
	if h.Doing != "" {
		who += ", which is " + h.Doing
	}
	return who
}

// Lock makes the holder the only process that signs in for one key. The kernel
// releases it when the process ends, however that comes about.
type Lock struct {
	store *Store
	fl    *flock.Flock // nil where locking is not possible
	name  string
}

// Lock waits for the lock of k. waiting is called once if the lock is taken.
// Where there is no directory, or its file system has no locks, the returned
// lock protects nothing: a second prompt is better than no sign-in.
func (s *Store) Lock(ctx context.Context, k Key, waiting func(Holder)) (*Lock, error) {
	l := &Lock{store: s, name: k.ID()}
	if s.root == nil {
		return l, nil
	}
	told := false
	for {
		fl, ok, err := s.tryLock(l.name + lockExt)
		if err != nil {
			s.opts.Logf("cache: locks do not work here: %v", err)
			return l, nil
		}
		if ok {
			l.fl = fl
			return l, nil
		}
		if !told && waiting != nil {
			told = true
			waiting(s.holder(l.name))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("gave up waiting for %s: %w", s.holder(l.name), ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// TryLock takes the lock of k if it is free.
func (s *Store) TryLock(k Key) (*Lock, bool) {
	l := &Lock{store: s, name: k.ID()}
	if s.root == nil {
		return l, true
	}
	fl, ok, err := s.tryLock(l.name + lockExt)
	if err != nil {
		return l, true
	}
	l.fl = fl
	return l, ok
}

// tryLock locks the named file, which may be unlinked by its holder at any
// moment: a lock counts only if the file still has its name.
func (s *Store) tryLock(name string) (*flock.Flock, bool, error) {
	path := filepath.Join(s.dir, subdir, name)
	fl := flock.New(path, flock.SetPermissions(0o600))
	ok, err := fl.TryLock()
	if err != nil || !ok {
		fl.Close()
		return nil, false, err
	}
	named, err := os.Lstat(path)
	if err == nil {
		var held os.FileInfo
		if held, err = fl.Stat(); err == nil && os.SameFile(named, held) {
			return fl, true, nil
		}
	}
	fl.Close()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, false, err
	}
	return nil, false, nil
}

func (s *Store) lockIsFree(name string) bool {
	fl, ok, err := s.tryLock(name)
	if ok {
		fl.Close()
	}
	return ok || err != nil
}

// lockKey serialises the making of the sealing key.
func (s *Store) lockKey() (func(), error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		fl, ok, err := s.tryLock(keyFile + lockExt)
		if err != nil {
			s.opts.Logf("cache: locks do not work here: %v", err)
			return func() {}, nil
		}
		if ok {
			return func() {
				s.root.Remove(keyFile + lockExt)
				fl.Close()
			}, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.New("another process has been making the cache's key for 10 seconds")
		}
		time.Sleep(lockPoll)
	}
}

// Say tells waiting processes what the holder does.
func (l *Lock) Say(doing string) {
	if l.fl == nil {
		return
	}
	b, err := json.Marshal(Holder{PID: os.Getpid(), Doing: doing, Since: l.store.opts.Clock.Now().UTC()})
	if err == nil {
		l.store.replace(l.name+whoExt, b)
	}
}

// holder reads what the holder said. The file is a courtesy and may be stale
// or missing; nothing depends on it.
func (s *Store) holder(name string) Holder {
	var h Holder
	if raw, err := s.readRaw(name + whoExt); err == nil {
		json.Unmarshal(raw, &h)
	}
	if len(h.Doing) > 100 {
		h.Doing = ""
	}
	return h
}

// Unlock releases the lock and leaves no file behind.
func (l *Lock) Unlock() {
	if l.fl == nil {
		return
	}
	l.store.root.Remove(l.name + whoExt)
	l.store.root.Remove(l.name + lockExt)
	l.fl.Close()
	l.fl = nil
}
