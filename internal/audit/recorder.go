package audit

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
)

// Kind names one of a recorder's logs.
type Kind string

// The logs, by the names of their directories.
const (
	SignIns         Kind = "signins"
	DirectoryAudits Kind = "directory"
	Decisions       Kind = "decisions"
)

// Kinds lists the logs.
var Kinds = []Kind{SignIns, DirectoryAudits, Decisions}

// RecorderOptions say how a recorder keeps its logs. Options are those of each
// log.
type RecorderOptions struct {
	Options
	// AllowsOneIn keeps one of so many allowed decisions; refused ones are all
	// kept. 100 by default; 1 keeps all.
	AllowsOneIn int
	// Domain tells whether a domain is one of ours. A user name that nobody has
	// and that is in no such domain is not recorded: it may be a password.
	// Nil accepts every domain.
	Domain func(name string) bool
	// Forward, if set, is told of every record after it was written.
	Forward func(Kind, Record)
}

// Recorder keeps the three logs of a process. It is safe for concurrent use.
type Recorder struct {
	logs   map[Kind]*Log
	o      RecorderOptions
	allows atomic.Uint64
}

// OpenRecorder opens the logs below dir.
func OpenRecorder(dir string, o RecorderOptions) (*Recorder, error) {
	if o.AllowsOneIn <= 0 {
		o.AllowsOneIn = 100
	}
	r := &Recorder{logs: map[Kind]*Log{}, o: o}
	for _, k := range Kinds {
		each := o.Options
		if o.Forward != nil {
			each.Sink = func(rec Record) { o.Forward(k, rec) }
		}
		l, err := Open(filepath.Join(dir, string(k)), each)
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.logs[k] = l
	}
	return r, nil
}

// Close forces everything to disk. What is recorded after it is lost, with an
// error.
func (r *Recorder) Close() error {
	var err error
	for _, l := range r.logs {
		err = errors.Join(err, l.Close())
	}
	return err
}

// SignIn records a sign-in. It returns when the operating system has it.
func (r *Recorder) SignIn(ctx context.Context, e *SignInEvent) error {
	return r.logs[SignIns].Append(ctx, signIn(e, r.o.Domain))
}

// Directory records a change of the directory.
func (r *Recorder) Directory(ctx context.Context, e *DirectoryEvent) error {
	return r.logs[DirectoryAudits].Append(ctx, directoryAudit(e))
}

// Decision records a decision about access: every refusal, and one of many that
// were allowed.
func (r *Recorder) Decision(ctx context.Context, e *DecisionEvent) error {
	oneIn := 1
	if e.Verdict == Allow {
		oneIn = r.o.AllowsOneIn
		if (r.allows.Add(1)-1)%uint64(oneIn) != 0 {
			return nil
		}
	}
	return r.logs[Decisions].Append(ctx, decision(e, oneIn))
}
