package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
)

// leftovers is how long the children of a Manager that was killed may need to
// end: a little more than entrance-kube's own bound.
const leftovers = 8 * time.Second

// dirLocks are the two locks on a Manager's directory. The first is held by
// the Manager alone, so that a second Manager is refused at once. The second
// is also held by every child, as a lock belongs to the open file that they
// inherit: while it is taken, children of a former Manager are still there.
type dirLocks struct{ owner, children *os.File }

func lockDir(ctx context.Context, dir string) (*dirLocks, error) {
	owner, err := os.OpenFile(filepath.Join(dir, "owner.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(owner); err != nil {
		defer owner.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		var pid [32]byte
		n, _ := owner.Read(pid[:])
		return nil, errs.New(errs.Conflict, "The clusters in %s are run by another process (%s). Stop that one, or use another data directory.", dir, strings.TrimSpace(string(pid[:n])))
	}
	if err := owner.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(owner, "%d\n", os.Getpid()) // for the message above
	}
	children, err := os.OpenFile(filepath.Join(dir, "children.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		owner.Close()
		return nil, err
	}
	locks := &dirLocks{owner, children}
	ctx, cancel := context.WithTimeout(ctx, leftovers)
	defer cancel()
	for {
		err := flock(children)
		if err == nil {
			return locks, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			locks.release()
			return nil, err
		}
		select {
		case <-ctx.Done():
			locks.release()
			return nil, errs.Wrap(errs.Conflict, ctx.Err(), "Processes of an earlier run still use %s. End them (entrance-kube), or wait.", dir)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func (l *dirLocks) release() {
	l.owner.Close()
	l.children.Close()
}
