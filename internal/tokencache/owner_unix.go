//go:build unix

package tokencache

import (
	"io/fs"
	"os"
	"syscall"
)

// modesMatter says whether permission bits protect a file on this system.
const modesMatter = true

func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
