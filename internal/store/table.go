package store

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/errs"
)

// Index finds records by a property that several of them may share.
type Index[T any] struct {
	// Name is how the index is asked for.
	Name string
	// Values returns the record's values in this index, none to leave the
	// record out. It must be a pure function of the record. Values are matched
	// exactly; who wants case folded folds it, here and in the question.
	//
	// Without Values, the record's values are the leading parts of its key: a
	// record has the value v if its key starts with v and a '/'. Such an index
	// costs no memory.
	Values func(*T) []string
}

// Options describes a table.
type Options[T any] struct {
	// Key returns the record's unique key, which may contain parts separated
	// by '/'. It must be a pure function of the record. Keys appear in logs
	// and in etcd as they are, so a secret (a code, a token) is hashed first.
	Key func(*T) string
	// Indexes are the ways in which the view finds records.
	Indexes []Index[T]
	// Claims returns names that no other record of this table may have at the
	// same time, such as "upn/ann@example.com". A second claim on a name fails
	// the transaction with errs.Exists and a *TakenError.
	Claims func(*T) []string
	// Sealed encrypts the values at rest.
	Sealed bool
	// Direct keeps the table out of the view: reads go to etcd. It is for
	// one-time objects and for many short-lived records.
	Direct bool
	// TTL, where it returns more than zero, has the record removed after that
	// time (whole seconds, rounded up; up to 5 % and a minute later, because
	// records share leases). Modify starts the time again only when TTL
	// returns something else than before; Put always does.
	TTL func(*T) time.Duration
}

// Table is a kind of record: a struct T, kept as JSON. It holds no state and may
// be a package variable used with any number of stores.
type Table[T any] struct {
	c *table
}

// AnyTable is a *Table[T] of any T.
type AnyTable interface{ core() *table }

func (t *Table[T]) core() *table { return t.c }

// Name returns the table's name.
func (t *Table[T]) Name() string { return t.c.name }

// table is a Table without its type.
type table struct {
	name           string
	direct, sealed bool
	indexes        []indexCore
	newValue       func() any
	key            func(any) string
	claims         func(any) []string      // nil if there are none
	ttl            func(any) time.Duration // nil if there is none
}

type indexCore struct {
	name   string
	values func(any) []string // nil for the leading parts of the key
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// NewTable declares a table. It panics if the declaration is wrong, as it is
// made once, when the program starts. Names are lower-case words joined by
// hyphens.
func NewTable[T any](name string, o Options[T]) *Table[T] {
	if !namePattern.MatchString(name) {
		panic(fmt.Sprintf("store: %q is not a table name", name))
	}
	if o.Key == nil {
		panic("store: table " + name + " has no Key")
	}
	if o.Direct && len(o.Indexes) > 0 {
		panic("store: table " + name + " is Direct and cannot have indexes")
	}
	c := newCore(name, o)
	return &Table[T]{c: c}
}

func newCore[T any](name string, o Options[T]) *table {
	c := &table{
		name:     name,
		direct:   o.Direct,
		sealed:   o.Sealed,
		newValue: func() any { return new(T) },
		key:      func(v any) string { return o.Key(v.(*T)) },
	}
	seen := map[string]bool{}
	for _, ix := range o.Indexes {
		if !namePattern.MatchString(ix.Name) || seen[ix.Name] {
			panic(fmt.Sprintf("store: table %s: bad index %q", name, ix.Name))
		}
		seen[ix.Name] = true
		core := indexCore{name: ix.Name}
		if ix.Values != nil {
			core.values = func(v any) []string { return ix.Values(v.(*T)) }
		}
		c.indexes = append(c.indexes, core)
	}
	if o.Claims != nil {
		c.claims = func(v any) []string { return o.Claims(v.(*T)) }
	}
	if o.TTL != nil {
		c.ttl = func(v any) time.Duration { return o.TTL(v.(*T)) }
	}
	return c
}

func (c *table) index(name string) *indexCore {
	for i := range c.indexes {
		if c.indexes[i].name == name {
			return &c.indexes[i]
		}
	}
	panic(fmt.Sprintf("store: table %s has no index %q", c.name, name))
}

// maxKey bounds record keys, claims and guard names. ARM ids are the longest
// keys that there are, and stay well below.
const maxKey = 2048

// maxRecord bounds one record, so that it fits an etcd with default limits.
const maxRecord = 1 << 20

func checkKey(what, table, key string) error {
	switch {
	case key == "":
		return errs.New(errs.Invalid, "%s: the %s is empty", table, what)
	case len(key) > maxKey:
		return errs.New(errs.Invalid, "%s: the %s is longer than %d bytes", table, what, maxKey)
	case !utf8.ValidString(key) || strings.IndexByte(key, 0) >= 0:
		return errs.New(errs.Invalid, "%s: the %s is not valid text", table, what)
	}
	return nil
}

// encode returns the JSON of v and its key.
func (c *table) encode(v any) (key string, raw []byte, err error) {
	key = c.key(v)
	if err := checkKey("key", c.name, key); err != nil {
		return "", nil, err
	}
	raw, err = json.Marshal(v)
	if err != nil {
		return "", nil, errs.Wrap(errs.Internal, err, "encoding %s/%s", c.name, key)
	}
	if len(raw) > maxRecord {
		return "", nil, errs.New(errs.Invalid, "%s: %q is larger than %d KiB", c.name, key, maxRecord>>10)
	}
	return key, raw, nil
}

// decode is the inverse of encode. It calls the table's functions once, so that
// a record which they cannot bear is found here, by name, and not by a panic
// somewhere else.
func (c *table) decode(key string, raw []byte) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = nil, errs.New(errs.Internal, "record %s/%s cannot be used: %v", c.name, key, p)
		}
	}()
	v = c.newValue()
	if err := json.Unmarshal(raw, v); err != nil {
		// The text of a JSON error may quote the value, which may be a secret.
		return nil, errs.New(errs.Internal, "record %s/%s is not valid JSON for this version (%T)", c.name, key, err)
	}
	if k := c.key(v); k != key {
		return nil, errs.New(errs.Internal, "record %s/%s says that its key is %q", c.name, key, k)
	}
	for _, ix := range c.indexes {
		if ix.values != nil {
			ix.values(v)
		}
	}
	return v, nil
}

func notFound(c *table, key string) error {
	return errs.New(errs.NotFound, "%s: %q does not exist", c.name, key)
}

// Reader is what records are read through: a *View or a *Tx.
type Reader interface {
	// get returns the entry of key in c, or nil.
	get(c *table, key string) (*entry, error)
	// scan yields entries in order. An empty index means by key.
	scan(c *table, index, value string, prefix bool) iter.Seq[*entry]
}

// Get returns the record of key, or errs.NotFound. The record is shared and
// must not be modified. Over a *Tx the read is compared at commit.
func (t *Table[T]) Get(r Reader, key string) (*T, error) {
	e, err := r.get(t.c, key)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, notFound(t.c, key)
	}
	return e.val.(*T), nil
}

// Rev returns the revision at which the record was last written, and whether it
// exists. It is 0 for what the transaction r itself has written. Over a *Tx the
// read is compared at commit.
func (t *Table[T]) Rev(r Reader, key string) (int64, bool) {
	e, err := r.get(t.c, key)
	if err != nil || e == nil {
		return 0, false
	}
	return e.rev, true
}

func values[T any](seq iter.Seq[*entry]) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for e := range seq {
			if !yield(e.val.(*T)) {
				return
			}
		}
	}
}

// Where yields the records that have value in the index, ordered by key. Over a
// *Tx it sees the view as it was when the transaction started with the
// transaction's own writes on top, and is not compared at commit; see Tx.Guard.
func (t *Table[T]) Where(r Reader, index, value string) iter.Seq[*T] {
	if t.c.index(index).values == nil {
		return t.AllPrefix(r, value+"/")
	}
	return values[T](r.scan(t.c, index, value, false))
}

// WherePrefix yields the records that have a value in the index which starts
// with prefix, each once, ordered by that value and then by key.
func (t *Table[T]) WherePrefix(r Reader, index, prefix string) iter.Seq[*T] {
	if t.c.index(index).values == nil {
		return t.AllPrefix(r, prefix)
	}
	return values[T](r.scan(t.c, index, prefix, true))
}

// First returns the first record that Where would yield.
func (t *Table[T]) First(r Reader, index, value string) (*T, bool) {
	for v := range t.Where(r, index, value) {
		return v, true
	}
	return nil, false
}

// All yields every record, ordered by key.
func (t *Table[T]) All(r Reader) iter.Seq[*T] { return t.AllPrefix(r, "") }

// AllPrefix yields the records whose key starts with keyPrefix, ordered by key.
func (t *Table[T]) AllPrefix(r Reader, keyPrefix string) iter.Seq[*T] {
	return values[T](r.scan(t.c, "", keyPrefix, true))
}

// Count returns the number of records that Where would yield.
func (t *Table[T]) Count(r Reader, index, value string) int {
	n := 0
	for range t.Where(r, index, value) {
		n++
	}
	return n
}

// GetFresh reads the record from etcd itself, linearizably, or returns
// errs.NotFound. It is for a miss in the view and for Direct tables. The result
// is the caller's own.
func (t *Table[T]) GetFresh(ctx context.Context, s *Store, key string) (*T, error) {
	if err := checkKey("key", t.c.name, key); err != nil {
		return nil, err
	}
	e, err := s.fetch(ctx, t.c, key)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, notFound(t.c, key)
	}
	return e.val.(*T), nil
}

// Create adds v, or returns errs.Exists.
func (t *Table[T]) Create(tx *Tx, v *T) error { return tx.create(t.c, v) }

// Put adds v or replaces the record that has its key.
func (t *Table[T]) Put(tx *Tx, v *T) error { return tx.put(t.c, v) }

// Modify calls fn with a private copy of the record and writes the result, or
// returns errs.NotFound. An error of fn is returned as it is. The key must stay
// the same. When fn changes nothing, nothing is written.
func (t *Table[T]) Modify(tx *Tx, key string, fn func(*T) error) error {
	return tx.modify(t.c, key, func(v any) error { return fn(v.(*T)) })
}

// Delete removes the record, or returns errs.NotFound.
func (t *Table[T]) Delete(tx *Tx, key string) error { return tx.delete(t.c, key) }

// Take gets and removes the record in one step: of many concurrent callers, on
// any replica, exactly one succeeds and the rest get errs.NotFound.
func (t *Table[T]) Take(ctx context.Context, s *Store, key string) (*T, error) {
	v, err := s.take(ctx, t.c, key)
	if err != nil {
		return nil, err
	}
	return v.(*T), nil
}
