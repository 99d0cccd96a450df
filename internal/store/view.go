package store

import (
	"fmt"
	"iter"
	"strings"

	"github.com/hashicorp/go-memdb"
)

// View is an immutable snapshot of every viewed table at one etcd revision. It
// costs nothing to keep for the length of a request, and everything read
// through one View fits together.
type View struct {
	rev int64
	db  *memdb.MemDB
}

// Revision returns the etcd revision that the view shows.
func (v *View) Revision() int64 { return v.rev }

// entry is a decoded record with what etcd knows about it.
type entry struct {
	key   string
	rev   int64
	lease int64
	val   any
}

const byKey = "id" // the name that memdb demands of the primary index

// newDB returns an empty database for the viewed tables.
func newDB(tables map[string]*table) (*memdb.MemDB, error) {
	schema := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	for _, t := range tables {
		if t.direct {
			continue
		}
		ts := &memdb.TableSchema{Name: t.name, Indexes: map[string]*memdb.IndexSchema{
			byKey: {Name: byKey, Unique: true, Indexer: keyIndexer{}},
		}}
		for i := range t.indexes {
			if t.indexes[i].values == nil {
				continue // asked of the key
			}
			// The prefix keeps a table's own "id" apart from memdb's.
			n := "x." + t.indexes[i].name
			ts.Indexes[n] = &memdb.IndexSchema{Name: n, AllowMissing: true, Indexer: valueIndexer{t.indexes[i].values}}
		}
		schema.Tables[t.name] = ts
	}
	return memdb.NewMemDB(schema)
}

// rawArg hands an index key that is already encoded to memdb.
func rawArg(args []any) ([]byte, error) {
	if len(args) == 1 {
		switch a := args[0].(type) {
		case string:
			return []byte(a), nil
		case []byte:
			return a, nil
		}
	}
	return nil, fmt.Errorf("store: bad index argument %T", args)
}

type keyIndexer struct{}

func (keyIndexer) FromArgs(args ...any) ([]byte, error)       { return rawArg(args) }
func (keyIndexer) PrefixFromArgs(args ...any) ([]byte, error) { return rawArg(args) }
func (keyIndexer) FromObject(o any) (bool, []byte, error)     { return true, []byte(o.(*entry).key), nil }

type valueIndexer struct{ values func(any) []string }

func (valueIndexer) FromArgs(args ...any) ([]byte, error) { return rawArg(args) }
func (ix valueIndexer) FromObject(o any) (bool, [][]byte, error) {
	e := o.(*entry)
	vals := ix.values(e.val)
	if len(vals) == 0 {
		return false, nil, nil
	}
	out := make([][]byte, len(vals))
	for i, v := range vals {
		out[i] = indexKey(v, len(e.key))
	}
	return true, out, nil
}

// escape keeps the zero byte that ends a value from appearing inside one. It
// preserves order.
func escape(v string) string {
	if strings.IndexByte(v, 0) < 0 {
		return v
	}
	return strings.ReplaceAll(v, "\x00", "\x00\xff")
}

// indexKey returns the encoded value, complete, with room for the record key
// that memdb appends.
func indexKey(v string, room int) []byte {
	v = escape(v)
	b := make([]byte, 0, len(v)+2+room)
	b = append(b, v...)
	return append(b, 0, 1)
}

func (v *View) get(t *table, key string) (*entry, error) {
	o, err := v.db.Txn(false).First(t.name, byKey, key)
	if err != nil {
		panic(misuse(t, err))
	}
	if o == nil {
		return nil, nil
	}
	return o.(*entry), nil
}

func misuse(t *table, err error) string {
	if t.direct {
		return fmt.Sprintf("store: table %s is Direct and is not in the view", t.name)
	}
	return fmt.Sprintf("store: table %s was not given to Open (%v)", t.name, err)
}

func (v *View) scan(t *table, index, value string, prefix bool) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		name, seek := byKey+"_prefix", []byte(value)
		if index != "" {
			name = "x." + index
			if prefix {
				seek = []byte(escape(value))
			} else {
				seek = indexKey(value, 0)
			}
		}
		it, err := v.db.Txn(false).Get(t.name, name, seek)
		if err != nil {
			panic(misuse(t, err))
		}
		var once *onlyOnce
		if index != "" && prefix {
			once = &onlyOnce{values: t.index(index).values, prefix: value}
		}
		for o := it.Next(); o != nil; o = it.Next() {
			e := o.(*entry)
			if once != nil && once.again(e) {
				continue
			}
			if !yield(e) {
				return
			}
		}
	}
}

// onlyOnce drops the second and later sightings of a record with several values
// under one prefix.
type onlyOnce struct {
	values func(any) []string
	prefix string
	seen   map[*entry]bool
}

func (o *onlyOnce) again(e *entry) bool {
	n := 0
	for _, v := range o.values(e.val) {
		if strings.HasPrefix(v, o.prefix) {
			n++
		}
	}
	if n < 2 {
		return false
	}
	if o.seen[e] {
		return true
	}
	if o.seen == nil {
		o.seen = map[*entry]bool{}
	}
	o.seen[e] = true
	return false
}
