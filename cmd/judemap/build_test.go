package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/judemap/judemap"
)

func TestVersion(t *testing.T) {
	system := runtime.GOOS + "/" + runtime.GOARCH
	setting := func(pairs ...string) (all []debug.BuildSetting) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return all
	}
	for want, info := range map[string]*debug.BuildInfo{
		"v1.2.3, go1.25.0 " + system: {Main: debug.Module{Version: "v1.2.3"}, GoVersion: "go1.25.0"},
		judemap.Version() + " of a working tree, commit 0123456789ab of 2026-01-02T03:04:05Z and changes, go1.25.0 " + system + ", without cgo": {
			Main: debug.Module{Version: "(devel)"}, GoVersion: "go1.25.0", Settings: setting("vcs.revision", "0123456789abcdef",
				"vcs.time", "2026-01-02T03:04:05Z", "vcs.modified", "true", "CGO_ENABLED", "0")},
		"v0.0.0-20260102030405-0123456789ab+dirty, go1.25.0 " + system: {Main: debug.Module{
			Version: "v0.0.0-20260102030405-0123456789ab+dirty"}, GoVersion: "go1.25.0", Settings: setting("vcs.revision", "0123456789abcdef")},
	} {
		if got := buildText(info, true); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := buildText(nil, false); got != "of an unknown version, "+runtime.Version()+" "+system {
		t.Error(got)
	}
	out := mustRun(t, "--version")
	if !strings.HasPrefix(out, "judemap ") || !strings.HasSuffix(out, " "+system+"\n") || !strings.Contains(out, runtime.Version()) {
		t.Errorf("%q", out)
	}
}
