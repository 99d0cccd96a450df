package main

import (
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/entrance-id/entrance/internal/version"
)

// These are stamped by the release build; a plain build takes them from the
// revision that Go records.
var (
	gitTag    string
	buildTime string
)

// versionText has four lines whose labels tools parse.
func versionText() string {
	hash, when := "unknown", "unknown"
	var revision, dirty string
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.time":
				when = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					dirty = "-dirty"
				}
			}
		}
	}
	if buildTime != "" {
		when = buildTime
	}
	tag := gitTag
	if tag == "" {
		tag = version.String()
	}
	switch {
	case tag != "" && revision != "" && !strings.Contains(tag, revision):
		hash = tag + "/" + revision + dirty
	case tag != "":
		hash = tag
	}
	return "\ngit hash: " + hash + "\nGo version: " + runtime.Version() + "\nBuild time: " + when +
		"\nPlatform: " + runtime.GOOS + "/" + runtime.GOARCH
}

// shortVersion names this build to servers.
func shortVersion() string {
	if gitTag != "" {
		return gitTag
	}
	return version.String()
}
