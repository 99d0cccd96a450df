package audit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// slack is how far a record's time may lie behind that of a later one: clocks
// are set back.
const slack = 24 * time.Hour

// Query asks for records, the newest first.
type Query[T any] struct {
	After string // Page.Next of the page before; empty: from the newest
	Limit int    // of records in the page; 0: 100
	// Since lets the search stop early: no record whose event is older is
	// asked for. Zero: all.
	Since time.Time
	// Match chooses records; nil: all. It must not keep what it is given if it
	// returns false.
	Match func(*T) bool
}

// Page is an answer to a Query.
type Page[T any] struct {
	Records []*T
	Next    string // for the next page; empty: there is none
}

// ListSignIns returns sign-ins. Invalid for an After that is not a page's Next.
func (r *Recorder) ListSignIns(ctx context.Context, q Query[SignIn]) (Page[SignIn], error) {
	return search(ctx, r.logs[SignIns], q)
}

// ListDirectory returns changes of the directory. Invalid as ListSignIns.
func (r *Recorder) ListDirectory(ctx context.Context, q Query[DirectoryAudit]) (Page[DirectoryAudit], error) {
	return search(ctx, r.logs[DirectoryAudits], q)
}

// ListDecisions returns decisions about access. Invalid as ListSignIns.
func (r *Recorder) ListDecisions(ctx context.Context, q Query[Decision]) (Page[Decision], error) {
	return search(ctx, r.logs[Decisions], q)
}

// FindSignIn returns a tenant's sign-in by id. NotFound.
func (r *Recorder) FindSignIn(ctx context.Context, tenant directory.TenantID, id string) (*SignIn, error) {
	return only(search(ctx, r.logs[SignIns], Query[SignIn]{Limit: 1, Match: func(s *SignIn) bool { return s.ID == id && s.ResourceTenantID == tenant }}))
}

// FindDirectory returns a tenant's change of the directory by id. NotFound.
func (r *Recorder) FindDirectory(ctx context.Context, tenant directory.TenantID, id string) (*DirectoryAudit, error) {
	return only(search(ctx, r.logs[DirectoryAudits], Query[DirectoryAudit]{Limit: 1, Match: func(d *DirectoryAudit) bool { return d.ID == id && d.TenantID == tenant }}))
}

func only[T any](p Page[T], err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	if len(p.Records) == 0 {
		return nil, errs.New(errs.NotFound, "The record does not exist, or is older than what is kept.")
	}
	return p.Records[0], nil
}

func search[T any](ctx context.Context, l *Log, q Query[T]) (Page[T], error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	before, err := decodePosition(q.After)
	if err != nil {
		return Page[T]{}, err
	}
	var p Page[T]
	var failed error
	err = l.Newest(before, func(at Position, rec Record) bool {
		if failed = ctx.Err(); failed != nil {
			return false
		}
		if !q.Since.IsZero() && rec.Time.Before(q.Since.Add(-slack)) {
			return false
		}
		v := new(T)
		if json.Unmarshal(rec.Doc, v) != nil {
			return true // of a version with another form; Export has it
		}
		if q.Match != nil && !q.Match(v) {
			return true
		}
		p.Records = append(p.Records, v)
		if len(p.Records) == q.Limit {
			p.Next = at.encode()
			return false
		}
		return true
	})
	if err = errors.Join(err, failed); err != nil {
		return Page[T]{}, err
	}
	return p, nil
}

// encode returns the position as text that says nothing to a client.
func (p Position) encode() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d", p.Segment, p.Offset))
}

func decodePosition(s string) (Position, error) {
	if s == "" {
		return Position{}, nil
	}
	var p Position
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		_, err = fmt.Sscanf(string(b), "%d.%d", &p.Segment, &p.Offset)
	}
	if err != nil || p.Segment < 1 || p.Offset < 0 || p.encode() != s {
		return Position{}, errs.New(errs.Invalid, "The page is not known.")
	}
	return p, nil
}

// Export writes the records of a log to w as JSON lines, the oldest first: one
// document each, in its Graph form. keep chooses records; nil: all.
func (r *Recorder) Export(ctx context.Context, w io.Writer, k Kind, keep func(Record) bool) error {
	l := r.logs[k]
	if l == nil {
		return errs.New(errs.Invalid, "There is no log %q.", k)
	}
	return l.Oldest(func(rec Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if keep != nil && !keep(rec) {
			return nil
		}
		_, err := w.Write(append(bytes.Clone(rec.Doc), '\n'))
		return err
	})
}

// Follow calls fn for every record of a log that is written from now on, until
// ctx ends or fn returns false.
func (r *Recorder) Follow(ctx context.Context, k Kind, fn func(Record) bool) error {
	l := r.logs[k]
	if l == nil {
		return errs.New(errs.Invalid, "There is no log %q.", k)
	}
	return l.Follow(ctx, fn)
}

// Oldest calls fn for the records of the log, the oldest first, until fn returns
// an error, which is returned.
func (l *Log) Oldest(fn func(Record) error) error {
	segments, err := l.segments()
	if err != nil {
		return err
	}
	for _, n := range segments {
		b, err := os.ReadFile(l.name(n))
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned meanwhile
		} else if err != nil {
			return err
		}
		for {
			line, rest, ok := bytes.Cut(b, []byte{'\n'})
			if !ok {
				break // the end, or a record that is being written
			}
			b = rest
			var rec Record
			if err := json.Unmarshal(line, &rec); err != nil {
				return errs.Wrap(errs.Internal, err, "log segment %d", n)
			}
			if err := fn(rec); err != nil {
				return err
			}
		}
	}
	return nil
}
