// Package version tells which build of Entrance is running.
package version

import "runtime/debug"

// version is set by the linker (see the Makefile).
var version string

// String returns the version: what the build was stamped with, else the
// module's version, else the revision it was built from.
func String() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return info.Main.Version
}
