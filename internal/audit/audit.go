// Package audit keeps what must be on record but is not the truth: sign-ins,
// changes of the directory, decisions about access.
//
// # Apart from the truth
//
// Records go to append-only segment files, never to etcd: a burst of sign-ins
// must not fill the store or slow it down. A record is handed to the operating
// system before Append returns, so it survives the process; what the machine
// loses in a power cut is bounded by SyncEvery. Many appends that come at the
// same time share one write.
//
// # One process, one log
//
// Each process keeps the log of what it answered. To see all of several
// replicas, collect their files or their metrics; a Sink can forward records as
// they are written.
package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
)

// Options say how a log is kept. Zero values mean the defaults.
type Options struct {
	SegmentBytes int64         // size at which a new segment begins; 16 MiB
	MaxAge       time.Duration // segments that ended longer ago go; 30 days
	MaxSegments  int           // the oldest of more go; 64
	SyncEvery    time.Duration // how often written records are forced to disk; 1 s
	Clock        clock.Clock   // required
	Logger       *slog.Logger
	// Sink, if set, is told of every record after it was written.
	Sink func(Record)
}

// Record is an entry of a log.
type Record struct {
	Time time.Time       `json:"time"`
	Doc  json.RawMessage `json:"doc"`
}

// Position says where a record stands. Positions of a log are in the order of
// its records.
type Position struct {
	Segment int
	Offset  int64
}

// Log is an append-only log in a directory of its own. It is safe for
// concurrent use, by one process.
type Log struct {
	dir string
	o   Options

	mu      sync.Mutex
	file    *os.File
	segment int
	size    int64
	dirty   bool
	pending []*write
	writing bool
	closed  bool
	grown   chan struct{} // closed when something was written

	stop chan struct{}
	wg   sync.WaitGroup
}

type write struct {
	rec  Record
	line []byte
	done chan error
}

const suffix = ".jsonl"

// Open opens the log in dir, which is made if need be. A last record that a
// crash left unfinished is cut off.
func Open(dir string, o Options) (*Log, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 16 << 20
	}
	if o.MaxAge == 0 {
		o.MaxAge = 30 * 24 * time.Hour
	}
	if o.MaxSegments == 0 {
		o.MaxSegments = 64
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The log directory cannot be made")
	}
	l := &Log{dir: dir, o: o, grown: make(chan struct{}), stop: make(chan struct{})}
	segments, err := l.segments()
	if err != nil {
		return nil, err
	}
	l.segment = 1
	if len(segments) > 0 {
		l.segment = segments[len(segments)-1]
	}
	if err := l.open(); err != nil {
		return nil, err
	}
	l.wg.Go(l.housekeeping)
	return l, nil
}

func (l *Log) name(segment int) string {
	return filepath.Join(l.dir, fmt.Sprintf("%08d%s", segment, suffix))
}

// segments returns the numbers of the segments, in order.
func (l *Log) segments() ([]int, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	var list []int
	for _, e := range entries {
		var n int
		if base, ok := strings.CutSuffix(e.Name(), suffix); ok {
			if _, err := fmt.Sscanf(base, "%d", &n); err == nil {
				list = append(list, n)
			}
		}
	}
	slices.Sort(list)
	return list, nil
}

// open opens the current segment for appending after its last whole record.
func (l *Log) open() error {
	f, err := os.OpenFile(l.name(l.segment), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		f.Close()
		return err
	}
	whole := int64(bytes.LastIndexByte(b, '\n') + 1)
	if whole < int64(len(b)) {
		if err := f.Truncate(whole); err != nil {
			f.Close()
			return err
		}
	}
	if _, err := f.Seek(whole, 0); err != nil {
		f.Close()
		return err
	}
	l.file, l.size = f, whole
	return nil
}

// Append writes a record and returns when the operating system has it.
func (l *Log) Append(ctx context.Context, doc any) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return errs.Wrap(errs.Internal, err, "audit record")
	}
	w := &write{rec: Record{Time: l.o.Clock.Now().UTC(), Doc: b}, done: make(chan error, 1)}
	if w.line, err = json.Marshal(w.rec); err != nil {
		return errs.Wrap(errs.Internal, err, "audit record")
	}
	w.line = append(w.line, '\n')
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errs.New(errs.Unavailable, "The log is closed.")
	}
	l.pending = append(l.pending, w)
	lead := !l.writing
	l.writing = true
	l.mu.Unlock()
	if lead {
		l.drain()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain writes what is pending, in batches, until nothing is.
func (l *Log) drain() {
	for {
		l.mu.Lock()
		batch := l.pending
		l.pending = nil
		if len(batch) == 0 {
			l.writing = false
			l.mu.Unlock()
			return
		}
		var buf []byte
		for _, w := range batch {
			buf = append(buf, w.line...)
		}
		err := l.write(buf)
		close(l.grown)
		l.grown = make(chan struct{})
		l.mu.Unlock()
		for _, w := range batch {
			w.done <- err
			if err == nil && l.o.Sink != nil {
				l.o.Sink(w.rec)
			}
		}
	}
}

// write appends to the current segment, or to a new one when it is full. The
// caller holds the lock.
func (l *Log) write(b []byte) error {
	if l.size > 0 && l.size+int64(len(b)) > l.o.SegmentBytes {
		if err := errors.Join(l.file.Sync(), l.file.Close()); err != nil {
			return err
		}
		l.segment++
		if err := l.open(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(b)
	if err != nil {
		// Half a record would join the next one: take it back.
		if n > 0 {
			err = errors.Join(err, l.file.Truncate(l.size))
			_, serr := l.file.Seek(l.size, 0)
			err = errors.Join(err, serr)
		}
		return errs.Wrap(errs.Unavailable, err, "writing the log")
	}
	l.size += int64(n)
	l.dirty = true
	return nil
}

func (l *Log) housekeeping() {
	sync := time.NewTicker(l.o.SyncEvery)
	defer sync.Stop()
	prune := time.NewTicker(time.Minute)
	defer prune.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-sync.C:
			l.mu.Lock()
			if l.dirty {
				l.dirty = false
				if err := l.file.Sync(); err != nil {
					l.o.Logger.Error("log cannot be forced to disk", "error", err)
				}
			}
			l.mu.Unlock()
		case <-prune.C:
			if err := l.Prune(); err != nil {
				l.o.Logger.Error("log cannot be pruned", "error", err)
			}
		}
	}
}

// Prune removes segments that are too old or too many, never the current one.
func (l *Log) Prune() error {
	segments, err := l.segments()
	if err != nil {
		return err
	}
	l.mu.Lock()
	current := l.segment
	l.mu.Unlock()
	for i, n := range segments {
		if n == current {
			break
		}
		info, err := os.Stat(l.name(n))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if len(segments)-i > l.o.MaxSegments || l.o.Clock.Now().Sub(info.ModTime()) > l.o.MaxAge {
			if err := os.Remove(l.name(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Newest calls fn for the records before a position, the newest first, until fn
// returns false. The zero position stands for the end of the log.
func (l *Log) Newest(before Position, fn func(Position, Record) bool) error {
	segments, err := l.segments()
	if err != nil {
		return err
	}
	for _, n := range slices.Backward(segments) {
		if before.Segment != 0 && n > before.Segment {
			continue
		}
		b, err := os.ReadFile(l.name(n))
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned meanwhile
		} else if err != nil {
			return err
		}
		if before.Segment == n && before.Offset < int64(len(b)) {
			b = b[:before.Offset]
		}
		b = b[:bytes.LastIndexByte(b, '\n')+1]
		for len(b) > 0 {
			start := bytes.LastIndexByte(b[:len(b)-1], '\n') + 1
			var rec Record
			if err := json.Unmarshal(b[start:], &rec); err != nil {
				return errs.Wrap(errs.Internal, err, "log segment %d at byte %d", n, start)
			}
			if !fn(Position{n, int64(start)}, rec) {
				return nil
			}
			b = b[:start]
		}
	}
	return nil
}

// Follow calls fn for every record that is written from now on, until ctx ends
// or fn returns false.
func (l *Log) Follow(ctx context.Context, fn func(Record) bool) error {
	l.mu.Lock()
	at := Position{l.segment, l.size}
	l.mu.Unlock()
	for {
		l.mu.Lock()
		grown, end, last := l.grown, l.size, l.segment
		l.mu.Unlock()
		if at.Segment == last && at.Offset == end {
			select {
			case <-ctx.Done():
				return nil
			case <-l.stop:
				return nil
			case <-grown:
			}
			continue
		}
		next, more, err := l.read(at, last, fn)
		if err != nil || !more {
			return err
		}
		at = next
	}
}

// read hands the records of one segment from at to fn and returns where to go
// on.
func (l *Log) read(at Position, last int, fn func(Record) bool) (Position, bool, error) {
	f, err := os.Open(l.name(at.Segment))
	if err != nil {
		return at, false, err
	}
	defer f.Close()
	if _, err := f.Seek(at.Offset, 0); err != nil {
		return at, false, err
	}
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil { // the end, or a record that is being written
			if at.Segment < last {
				return Position{at.Segment + 1, 0}, true, nil
			}
			return at, true, nil
		}
		at.Offset += int64(len(line))
		var rec Record
		if err := json.Unmarshal(line, &rec); err != nil {
			return at, false, errs.Wrap(errs.Internal, err, "log segment %d", at.Segment)
		}
		if !fn(rec) {
			return at, false, nil
		}
	}
}

// Close forces everything to disk. Appends after it fail.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.file.Sync(), l.file.Close())
}
