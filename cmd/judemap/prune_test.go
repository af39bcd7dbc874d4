package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// startMaker starts a process that makes a segment or stream, and returns when it has.
func startMaker(t *testing.T, kind, name string) *exec.Cmd {
	t.Helper()
	maker := exec.Command(os.Args[0])
	maker.Env = append(os.Environ(), "JUDEMAP_TEST_MAKE="+kind, "JUDEMAP_TEST_NAME="+name)
	said, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = maker.Process.Kill()
		_ = maker.Wait()
		_ = judemap.Remove(name)
	})
	if _, err := said.Read(make([]byte, 1)); err != nil {
		t.Fatalf("a maker of a %s: %v", kind, err)
	}
	return maker
}

// prune lists what was left behind, and removes it if it is told to; what somebody has, or may have, it leaves.
func TestPrune(t *testing.T) {
	base := segmentName(t)
	makers := map[string]*exec.Cmd{}
	for _, kind := range []string{"segment", "stream", "foreign", "alive", "held", "young"} {
		makers[kind] = startMaker(t, kind, base+"-"+kind)
	}
	holder, err := judemap.Open(base+"-held", judemap.WithReadOnly())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	for kind, maker := range makers {
		if kind != "alive" {
			_ = maker.Process.Kill()
			_ = maker.Wait()
		}
	}
	own, err := judemap.Create(base+"-own", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer judemap.Remove(base + "-own")
	if err := own.CloseWait(); err != nil { // its creator lives, and may want it again
		t.Fatal(err)
	}

	states := func(args ...string) map[string]string {
		t.Helper()
		var all []pruned
		if err := json.Unmarshal([]byte(mustRun(t, append([]string{"prune", "--json"}, args...)...)), &all); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, p := range all {
			kind, ok := strings.CutPrefix(p.Name, base+"-")
			if !ok {
				continue
			}
			got[kind] = p.State
			if p.Process != makers[kind].Process.Pid || p.Created == nil || time.Since(*p.Created) > time.Minute || p.Size < 256 {
				t.Errorf("%+v", p)
			}
		}
		return got
	}
	want := map[string]string{"segment": stateLeft, "stream": stateLeft, "young": stateLeft, "foreign": stateUnknown}
	if diff := cmp.Diff(want, states()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{}, states("--older-than", "1h")); diff != "" {
		t.Error(diff)
	}
	out := mustRun(t, "prune")
	for _, row := range []string{`segment +segment +`, `stream +stream +`} {
		if !regexp.MustCompile(base + "-" + row + `\S+ +\d+ +\d+s +left behind\n`).MatchString(out) {
			t.Errorf("no row of a %s in\n%s", row, out)
		}
	}
	var names []string
	for kind := range makers {
		names = append(names, base+"-"+kind)
	}
	found, err := findPruned(names, 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := judemap.OpenOrCreate(base+"-young", 1) // since it was looked
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := removePruned(found); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range found {
		got[strings.TrimPrefix(p.Name, base+"-")] = p.State
	}
	want["segment"], want["stream"] = stateRemoved, stateRemoved
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for kind, there := range map[string]bool{"segment": false, "stream": false, "young": true, "foreign": true, "alive": true, "held": true} {
		if got := exists(base + "-" + kind); got != there {
			t.Errorf("%s: there: %v, want %v", kind, got, there)
		}
	}
	if r := judemapCommand(t, "prune", "--older-than", "-1s"); r.status != 2 {
		t.Errorf("status %d, %s", r.status, r.err)
	}
}

// prune --yes of the command removes what it is given.
func TestPruneYes(t *testing.T) {
	name := segmentName(t)
	maker := startMaker(t, "segment", name)
	_ = maker.Process.Kill()
	_ = maker.Wait()
	time.Sleep(10 * time.Millisecond)
	out := mustRun(t, "prune", "--yes", "--older-than", "1ms", name)
	if !regexp.MustCompile(name+` +segment +\S+ +\d+ +\d+s +removed\n`).MatchString(out) || exists(name) {
		t.Errorf("%s\nis there: %v", out, exists(name))
	}
}

// makeAndWait makes a segment or stream, says so, and waits to be killed.
func makeAndWait(kind, name string) {
	var err error
	switch kind {
	case "stream":
		_, err = judemap.CreateStream(name, 2, 1)
	case "foreign":
		_, err = judemap.Create(name, 1, judemap.WithForeignWriters())
	default:
		_, err = judemap.Create(name, 1)
	}
	if err != nil {
		panic(errors.Join(err, errors.New(name)))
	}
	fmt.Println()
	select {}
}
