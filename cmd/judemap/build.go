package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/judemap/judemap"
)

// buildText says which judemap this is, from what the go command has put into the program.
func buildText(info *debug.BuildInfo, ok bool) string {
	if !ok {
		return fmt.Sprintf("of an unknown version, %s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	var text []string
	version := info.Main.Version
	if version == "" || version == "(devel)" {
		version = judemap.Version() + " of a working tree"
	}
	text = append(text, version)
	if revision := settings["vcs.revision"]; revision != "" && !strings.Contains(version, revision[:min(12, len(revision))]) {
		commit := "commit " + revision[:min(12, len(revision))]
		if at := settings["vcs.time"]; at != "" {
			commit += " of " + at
		}
		if settings["vcs.modified"] == "true" {
			commit += " and changes"
		}
		text = append(text, commit)
	}
	text = append(text, fmt.Sprintf("%s %s/%s", info.GoVersion, runtime.GOOS, runtime.GOARCH))
	if settings["CGO_ENABLED"] == "0" {
		text = append(text, "without cgo")
	}
	return strings.Join(text, ", ")
}
