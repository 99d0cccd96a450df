// Package daemon is what the commands that run a server do once it runs.
package daemon

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/entrance-id/entrance/internal/server"
)

// stopTime is how long a server may take to end: its clusters end with it.
const stopTime = 50 * time.Second

// Wait keeps a server that has started until ctx ends or somebody stops it
// through the control socket, calls stopping, and stops it.
func Wait(ctx context.Context, s *server.Server, stopping func()) error {
	settleMemory()
	select {
	case <-ctx.Done():
	case <-s.Stopped():
	}
	stopping()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return s.Close(stop)
}

// KubeBinary returns the control plane's binary: beside this one, else on the
// PATH.
func KubeBinary() string {
	const name = "entrance-kube"
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	return name
}
