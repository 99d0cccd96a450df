package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// largeHeap is the size, in bytes, from which a heap is mostly directory.
	largeHeap = 256 << 20
	// largeGrowth is by how many percent a large heap may grow with garbage.
	largeGrowth = 40
)

// settleMemory is called when the directory has been loaded. A large one stays,
// and is read far more than it is changed: room for as much garbage again, Go's
// default, would double what the process takes for nothing. Whoever sets GOGC
// knows better.
func settleMemory() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc < largeHeap || os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(largeGrowth)
	debug.FreeOSMemory() // loading takes twice what it leaves
}
