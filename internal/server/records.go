package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/errs"
)

// LogQuery asks for a log's records.
type LogQuery struct {
	Log audit.Kind `json:"log"`
	// Follow asks for those that are written from now on, until the caller goes
	// away, after those that are there.
	Follow bool `json:"follow,omitempty"`
	// New leaves out those that are there already.
	New bool `json:"new,omitempty"`
}

// ReadLog calls fn for the records of a log of the instance that runs in a data
// directory, the oldest first, each in its Graph form. It ends with the log, or
// when fn fails or ctx ends if the log is followed. NotFound when nothing runs
// there.
func ReadLog(ctx context.Context, dir string, q LogQuery, fn func(json.RawMessage) error) error {
	body, err := controlStream(ctx, Paths{dir}, "/logs", q)
	if err != nil {
		return err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var doc json.RawMessage
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		} else if err != nil {
			return errs.Wrap(errs.Unavailable, err, "The log ended early")
		}
		if err := fn(doc); err != nil {
			return err
		}
	}
}

// controlStream is control for an answer that has no end of its own.
func controlStream(ctx context.Context, p Paths, path string, question any) (io.ReadCloser, error) {
	name := p.Control()
	if target, err := os.Readlink(name); err == nil {
		name = target
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", name)
		},
		DisableKeepAlives: true,
	}}
	r, w := io.Pipe()
	go func() { w.CloseWithError(json.NewEncoder(w).Encode(question)) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control"+path, r)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, errs.New(errs.NotFound, "Nothing is running in %s. Start it with: entrance up --data-dir %s", p.Dir, p.Dir)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	var refused struct {
		Kind    errs.Kind `json:"kind"`
		Message string    `json:"message"`
	}
	if res.StatusCode != controlRefused || json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&refused) != nil {
		return nil, errs.New(errs.Internal, "the instance in %s answered %s", p.Dir, res.Status)
	}
	return nil, errs.New(refused.Kind, "%s", refused.Message)
}

// recordRoutes adds the logs to the control socket.
func (s *Server) recordRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /logs", func(w http.ResponseWriter, r *http.Request) {
		var q LogQuery
		dec := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&q); err != nil {
			controlReply(w, nil, errs.New(errs.Invalid, "The question cannot be read: %v", err))
			return
		}
		if err := s.sendLog(r.Context(), w, q); err != nil {
			controlReply(w, nil, err)
		}
	})
}

// sendLog writes the records. An error comes before the first of them; one that
// comes later cuts the answer short, which the client sees.
func (s *Server) sendLog(ctx context.Context, w http.ResponseWriter, q LogQuery) error {
	if q.Log != audit.SignIns && q.Log != audit.DirectoryAudits && q.Log != audit.Decisions {
		return errs.New(errs.Invalid, "There is no log %q.", q.Log)
	}
	records := s.services.logs.Recorder
	fresh := make(chan audit.Record, 1024)
	following := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if q.Follow {
		// Watching begins before what is there is read, so that none is missed;
		// the few that are in both come twice rather than never.
		go func() {
			following <- records.Follow(ctx, q.Log, func(rec audit.Record) bool {
				select {
				case fresh <- rec:
					return true
				case <-ctx.Done():
					return false
				}
			})
		}()
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	if err := flush.Flush(); err != nil {
		return err
	}
	if !q.New {
		if err := records.Export(ctx, w, q.Log, nil); err != nil {
			panic(http.ErrAbortHandler)
		}
		_ = flush.Flush() // the client is gone: the next write says so
	}
	if !q.Follow {
		return nil
	}
	for {
		select {
		case rec := <-fresh:
			if _, err := w.Write(append(append([]byte(nil), rec.Doc...), '\n')); err != nil {
				return nil
			}
			_ = flush.Flush()
		case <-following:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
