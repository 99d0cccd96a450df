package tokencache

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
)

// subdir is the folder inside the cache directory that is ours alone.
const subdir = "store"

// The kinds of file in the store, by their extension.
const (
	tokenExt = ".token"
	blobExt  = ".blob"
	lockExt  = ".lock"
	whoExt   = ".who" // beside a lock: who holds it and why
)

// maxFile bounds what is read from a file that somebody else may have made.
const maxFile = 4 << 20

// Options are the surroundings of a Store.
type Options struct {
	Clock clock.Clock
	// Warn shows one line to the person; it is called at most once for each
	// thing that weakens the cache. Logf is for the curious.
	Warn func(msg string)
	Logf func(format string, args ...any)
	// KeyStore chooses where the sealing key lives: "" or "auto", "keyring",
	// "file" or "none" (nothing is kept after the process ends).
	KeyStore string

	ring keyring // in tests; else the system's
}

// Store is a cache directory. Its methods may be used from several processes
// at once. A Store without a usable directory keeps entries in memory.
type Store struct {
	opts    Options
	dir     string   // the cache directory, for messages and locks
	root    *os.Root // dir/store; nil when only memory is used
	keyAt   string   // "keyring", "key file" or "memory"
	problem string   // why only memory is used
	sealer  *sealer
	memory  map[string][]byte
}

// Open prepares the cache in dir. It does not fail: a directory that cannot be
// used safely gives a Store that forgets everything at the end of the process,
// and a warning that says why.
func Open(dir string, opts Options) *Store {
	if opts.Warn == nil {
		opts.Warn = func(string) {}
	}
	if opts.Logf == nil {
		opts.Logf = func(string, ...any) {}
	}
	s := &Store{opts: opts, dir: dir, memory: map[string][]byte{}, keyAt: "memory"}
	if opts.KeyStore == "none" {
		s.problem = "switched off"
	} else if err := s.openDir(); err != nil {
		s.forget(err.Error())
	}
	if s.root != nil {
		key, at, err := s.loadKey()
		if err == nil {
			s.sealer, err = newSealer(key)
			s.keyAt = at
		}
		if err != nil {
			s.forget(err.Error())
		}
	}
	if s.sealer == nil {
		s.keyAt = "memory"
		s.sealer, _ = newSealer(newKey())
	}
	return s
}

// Close releases the directory.
func (s *Store) Close() error {
	if s.root != nil {
		return s.root.Close()
	}
	return nil
}

// forget switches to memory and says so once.
func (s *Store) forget(why string) {
	if s.root != nil {
		s.root.Close()
		s.root = nil
	}
	s.problem = why
	s.opts.Warn(fmt.Sprintf("sign-ins are not remembered: %s", why))
}

// openDir opens dir/store, made if need be, after checking that nobody else
// can have put it there or can read it.
func (s *Store) openDir() error {
	if s.dir == "" {
		return errors.New("no cache directory: neither HOME nor --cache-dir is set")
	}
	dir := filepath.Clean(s.dir)
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot make the cache directory: %w", err)
		}
		if info, err = os.Lstat(dir); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if err := s.checkDir(dir, info); err != nil {
		return err
	}
	path := filepath.Join(dir, subdir)
	info, err = os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cannot make the cache directory: %w", err)
		}
		info, err = os.Lstat(path)
	}
	if err != nil {
		return err
	}
	if err := s.checkDir(path, info); err != nil {
		return err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	// The folder that was checked must be the one that was opened.
	if opened, err := root.Stat("."); err != nil || !os.SameFile(info, opened) {
		root.Close()
		return fmt.Errorf("%s was replaced while it was opened", path)
	}
	s.root = root
	return nil
}

// checkDir refuses a folder that is a symbolic link or belongs to another
// user, and takes other people's rights away from one that is ours.
func (s *Store) checkDir(path string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s is a symbolic link; name the real directory with --cache-dir", path)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	if !ownedByUs(info) {
		return fmt.Errorf("%s belongs to another user; name a directory of your own with --cache-dir", path)
	}
	if !looseMode(info) || (filepath.Base(path) != subdir && !onlyOurs(path)) {
		return nil // a shared parent is left alone; our own folder inside it is private
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("%s is open to other users: %w", path, err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		s.opts.Warn(fmt.Sprintf("%s was writable by other users; its mode is now 0700", path))
	}
	return nil
}

// onlyOurs reports whether a folder holds nothing but what this plugin or the
// one that it replaces puts there.
func onlyOurs(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if !slices.Contains(Names(), e.Name()) {
			return false
		}
	}
	return true
}

// Names are what may lie in a cache directory: this package's folder and the
// files of the plugin that it replaces.
func Names() []string {
	return []string{subdir, "auth.json", "pop_tokens.cache", "pop_rsa_key.cache",
		"pop_tokens.cache.lockfile", "pop_rsa_key.cache.lockfile"}
}

// Persistent reports whether entries outlive the process, where the sealing
// key is, and if not persistent, why.
func (s *Store) Persistent() (ok bool, keyAt, why string) {
	return s.root != nil, s.keyAt, s.problem
}

// Dir is the cache directory that was asked for.
func (s *Store) Dir() string { return s.dir }

// Digest is a digest of parts for Entry.Binding. It differs from store to
// store and does not allow anyone else to test guesses.
func (s *Store) Digest(parts ...[]byte) string { return s.sealer.digest(parts...) }

// Get returns the entry for k. A missing, damaged or foreign file reads as
// absent.
func (s *Store) Get(k Key) (Entry, bool) {
	item, err := s.load(k.ID() + tokenExt)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.opts.Logf("cache: entry %s ignored: %v", k.ID(), err)
		}
		return Entry{}, false
	}
	return item.Entry, item.Key == k
}

// Put stores the entry for k, replacing what was there in one step.
func (s *Store) Put(k Key, e Entry) error {
	e.Stored = s.opts.Clock.Now().UTC().Truncate(time.Second)
	plain, err := json.Marshal(record{Key: k, Entry: e})
	if err != nil {
		return err
	}
	return s.write(k.ID()+tokenExt, plain)
}

// Delete removes the entry for k. A missing entry is no error.
func (s *Store) Delete(k Key) error {
	delete(s.memory, k.ID()+tokenExt)
	if s.root == nil {
		return nil
	}
	if err := s.root.Remove(k.ID() + tokenExt); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// GetBlob returns a named secret that is not a token, such as a signing key.
func (s *Store) GetBlob(name string) ([]byte, bool) {
	b, err := s.read(name + blobExt)
	return b, err == nil
}

// PutBlob stores a named secret.
func (s *Store) PutBlob(name string, data []byte) error {
	return s.write(name+blobExt, data)
}

// Item is one entry of a listing.
type Item struct {
	Key   Key
	Entry Entry
}

// List returns all entries that this store can open, and how many files it
// could not.
func (s *Store) List() (items []Item, unreadable int) {
	names := slices.Collect(maps.Keys(s.memory))
	if s.root != nil {
		entries, _ := fs.ReadDir(s.root.FS(), ".")
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	for _, name := range names {
		if !strings.HasSuffix(name, tokenExt) {
			continue
		}
		item, err := s.load(name)
		if err != nil {
			unreadable++
			continue
		}
		items = append(items, item)
	}
	return items, unreadable
}

// load reads the entry in the named file. Its key must be the one that the
// name was made from.
func (s *Store) load(name string) (Item, error) {
	plain, err := s.read(name)
	if err != nil {
		return Item{}, err
	}
	var r record
	if err := json.Unmarshal(plain, &r); err != nil {
		return Item{}, errors.New("content is not an entry")
	}
	if r.Key.ID()+tokenExt != name {
		return Item{}, errors.New("content does not belong to its name")
	}
	return Item(r), nil
}

// Clear removes every file that this package stores, and reports how many
// tokens were among them.
func (s *Store) Clear() (int, error) {
	n := len(s.memory)
	clear(s.memory)
	if s.root == nil {
		return n, nil
	}
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return n, err
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		// A lock that somebody holds stays: removing it would let a second
		// process sign in at the same time.
		if strings.HasSuffix(name, lockExt) {
			if !s.lockIsFree(name) {
				continue
			}
		}
		if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		} else if strings.HasSuffix(name, tokenExt) {
			n++
		}
	}
	return n, errors.Join(errs...)
}

func (s *Store) read(name string) ([]byte, error) {
	raw, err := s.readRaw(name)
	if err != nil {
		return nil, err
	}
	return s.sealer.open([]byte(name), raw)
}

func (s *Store) readRaw(name string) ([]byte, error) {
	if raw, ok := s.memory[name]; ok {
		return raw, nil
	}
	if s.root == nil {
		return nil, fs.ErrNotExist
	}
	info, err := s.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if !ownedByUs(info) {
		return nil, errors.New("belongs to another user")
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		return nil, errors.New("replaced while it was opened")
	}
	if looseMode(info) {
		// Sealed, so nothing leaked; still nobody else's business.
		f.Chmod(0o600)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = errors.New("too large")
	}
	return raw, err
}

func (s *Store) write(name string, plain []byte) error {
	raw := s.sealer.seal([]byte(name), plain)
	if s.root == nil {
		s.memory[name] = raw
		return nil
	}
	return s.replace(name, raw)
}

// replace writes a file beside name and renames it, so that a reader or a
// crash sees the old content or the new one and nothing else.
func (s *Store) replace(name string, raw []byte) error {
	tmp := tempName(name)
	f, err := s.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.root.Rename(tmp, name)
	}
	if err != nil {
		s.root.Remove(tmp)
		return err
	}
	s.sweep()
	return nil
}

const tempMark = ".tmp-"

func tempName(name string) string {
	var b [9]byte
	rand.Read(b[:])
	return name + tempMark + base64.RawURLEncoding.EncodeToString(b[:])
}

// sweep removes what killed processes left behind: half-written files, and
// locks that nobody holds.
func (s *Store) sweep() {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return
	}
	old := time.Now().Add(-10 * time.Minute) // against file times, which are the system's
	for _, e := range entries {
		name := e.Name()
		temp, lock := strings.Contains(name, tempMark), strings.HasSuffix(name, lockExt) || strings.HasSuffix(name, whoExt)
		if !temp && !lock {
			continue
		}
		if info, err := e.Info(); err != nil || info.ModTime().After(old) {
			continue
		}
		if strings.HasSuffix(name, lockExt) && !s.lockIsFree(name) {
			continue
		}
		s.root.Remove(name)
	}
}
