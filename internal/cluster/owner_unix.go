//go:build unix

package cluster

import (
	"os"
	"syscall"
)

// keepOwner gives a file the owner that another had. Without the right to do so
// it stays the caller's, which is who had it then.
func keepOwner(name string, was os.FileInfo) error {
	st, ok := was.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(name, int(st.Uid), int(st.Gid))
}
