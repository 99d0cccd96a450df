package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
)

// The control socket lets the owner of the data directory, and nobody else, ask
// the running instance how it is and tell it to stop. Its file mode is its
// protection; it never hands out secrets.

// maxSocketPath is a little less than the length of a socket's path that every
// system allows (104 bytes on macOS, 108 on Linux).
const maxSocketPath = 100

// serveControl answers on the control socket. When the data directory's path is
// too long for a socket, the socket is in a short temporary directory and the
// data directory holds a link to it.
func serveControl(p Paths, status func() Status, stop func(), more ...func(*http.ServeMux)) (*http.Server, error) {
	name := p.Control()
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var ln net.Listener
	var err error
	if len(name) > maxSocketPath {
		dir, derr := os.MkdirTemp("", "entrance-")
		if derr != nil {
			return nil, derr
		}
		short := filepath.Join(dir, "c.sock")
		if ln, err = net.Listen("unix", short); err == nil {
			err = os.Symlink(short, name)
		}
	} else {
		ln, err = net.Listen("unix", name)
	}
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The control socket %s cannot be made", name)
	}
	if err := os.Chmod(ln.Addr().String(), 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(status())
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		stop()
	})
	for _, add := range more {
		add(mux)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	go srv.Serve(ln) // ends with Close
	return srv, nil
}

// controlRefused is the status of an answer that is an error with a kind.
const controlRefused = http.StatusUnprocessableEntity

func controlReply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(controlRefused)
		v = map[string]any{"kind": errs.KindOf(err), "message": err.Error()}
	}
	json.NewEncoder(w).Encode(v)
}

// control calls the instance that runs in a data directory. NotFound when none
// does.
func control(ctx context.Context, p Paths, method, path string, question io.Reader) ([]byte, error) {
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
	req, err := http.NewRequestWithContext(ctx, method, "http://control"+path, question)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, errs.New(errs.NotFound, "Nothing is running in %s. Start it with: entrance up --data-dir %s", p.Dir, p.Dir)
		}
		return nil, errs.Wrap(errs.Unavailable, err, "The instance in %s does not answer", p.Dir)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return nil, err
	}
	var refused struct {
		Kind    errs.Kind `json:"kind"`
		Message string    `json:"message"`
	}
	if res.StatusCode == controlRefused && json.Unmarshal(body, &refused) == nil {
		return nil, errs.New(refused.Kind, "%s", refused.Message)
	}
	if res.StatusCode >= 300 {
		return nil, errs.New(errs.Internal, "the instance in %s answered %s", p.Dir, res.Status)
	}
	return body, nil
}

// ReadStatus asks the instance that runs in a data directory how it is.
// NotFound when none does.
func ReadStatus(ctx context.Context, dir string) (*Status, error) {
	body, err := control(ctx, Paths{dir}, http.MethodGet, "/status", nil)
	if err != nil {
		return nil, err
	}
	var s Status
	return &s, json.Unmarshal(body, &s)
}

// Stop tells the instance that runs in a data directory to stop, and returns
// when its process has ended. NotFound when none runs.
func Stop(ctx context.Context, dir string) error {
	s, err := ReadStatus(ctx, dir)
	if err != nil {
		return err
	}
	if _, err := control(ctx, Paths{dir}, http.MethodPost, "/stop", nil); err != nil {
		return err
	}
	for {
		// The socket's file goes last of all; a process that was killed leaves
		// it behind.
		if _, err := os.Lstat((Paths{dir}).Control()); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err := syscall.Kill(s.PID, 0); errors.Is(err, syscall.ESRCH) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errs.New(errs.Unavailable, "The instance in %s (process %d) has not ended yet.", dir, s.PID)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
