package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/judemap/judemap"
)

const intervalText = `interval mean \S+, least \S+, greatest \S+, deviation \S+`

// watch counts commits, and ends with status 0 at an interrupt.
func TestWatch(t *testing.T) {
	t.Parallel() // it waits for most of the time
	name := segmentName(t)
	s, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	watch := exec.CommandContext(ctx, command, "watch", name)
	var out bytes.Buffer
	watch.Stdout = &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 1300*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if err := s.Fill([]int{2, 3}, judemap.Int16, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := sendInterrupt(t, watch); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Error(err)
	}
	if !regexp.MustCompile(name + `: version \d+, int16 \[2 3\]; [1-9]\d* commits/s, \d\.\d kB/s; last commit 0\.\d\d s ago; writer other; ` + intervalText + `\n`).MatchString(out.String()) {
		t.Errorf("watch printed\n%s", &out)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("escape codes, and this is no terminal")
	}
}

// watch shows a stream, and is no reader of it: where every frame counts, the writer does not wait for it.
func TestWatchStream(t *testing.T) {
	t.Parallel() // it waits for most of the time
	name := segmentName(t)
	s, err := judemap.CreateStream(name, 4, 64, judemap.WithEveryFrame())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	watch := exec.CommandContext(ctx, command, "watch", name, "--time", "1300ms")
	var out bytes.Buffer
	watch.Stdout = &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 1200*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if err := s.Fill(ctx, []int{2, 3}, judemap.Int16, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(ctx); err != nil {
			t.Fatal(err)
		}
		if n := len(s.Readers()); n != 1 {
			t.Fatalf("%d readers", n)
		}
	}
	if err := watch.Wait(); err != nil {
		t.Error(err)
	}
	if !regexp.MustCompile(name + `: version \d+, int16 \[2 3\]; [1-9]\d* commits/s, \d\.\d kB/s; last commit 0\.\d\d s ago; ` +
		`writer other; ` + intervalText + `; stream, policy every frame; readers 1, dead 0; slots held 1 of 4\n`).MatchString(out.String()) {
		t.Errorf("watch printed\n%s", &out)
	}
}

// watch --json prints a line a second for each of several names.
func TestWatchJSON(t *testing.T) {
	t.Parallel() // it waits for most of the time
	name := segmentName(t)
	s, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	quiet, err := judemap.CreateStream(name+"-quiet", 3, 64, judemap.WithEveryFrame())
	if err != nil {
		t.Fatal(err)
	}
	defer judemap.Remove(name + "-quiet")
	defer quiet.Close()
	watch := exec.Command(command, "watch", name, name+"-quiet", "--json", "--time", "2500ms")
	var out bytes.Buffer
	watch.Stdout, watch.Stderr = &out, &out
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- watch.Wait() }()
	for done := false; !done; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
			done = true
		case <-time.After(10 * time.Millisecond):
			if err := s.Fill([]int{2, 3}, judemap.Int16, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	var busy, idle []sight
	for line := range strings.Lines(out.String()) {
		seen := sight{streamSight: &streamSight{}}
		if err := json.Unmarshal([]byte(line), &seen); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if seen.Name == name {
			busy = append(busy, seen)
		} else {
			idle = append(idle, seen)
		}
	}
	if len(busy) < 2 || len(idle) != len(busy) {
		t.Fatalf("%d lines of the one, %d of the other:\n%s", len(busy), len(idle), &out)
	}
	seen := busy[1]
	i := seen.Intervals
	if seen.Kind != "segment" || seen.Commits <= 0 || seen.Bytes != 12*seen.Commits || seen.Age == nil || seen.DType != "int16" ||
		seen.Writer != "other" || seen.Slots != 0 || i == nil || i.Least > i.Mean || i.Mean > i.Greatest || i.Least <= 0 || i.Deviation < 0 {
		t.Errorf("%+v, intervals %+v", seen, i)
	}
	seen = idle[1]
	if seen.Kind != "stream" || seen.Commits != 0 || seen.Age != nil || seen.Problem != "empty" || seen.Intervals != nil ||
		!seen.EveryFrame || seen.Slots != 3 {
		t.Errorf("%+v", seen)
	}
}

// What watch shows fits into 80 columns, whatever the name, the tensor and the numbers are.
func TestWatchFits(t *testing.T) {
	dims := make([]int, judemap.MaxDims)
	for i := range dims {
		dims[i] = math.MaxInt
	}
	age := 1e6
	for _, name := range []string{hostileName, strings.Repeat("n", 255), "camera"} {
		seen := sight{Name: name, Version: math.MaxUint64, Commits: 1e7, Bytes: 1e12, Age: &age, DType: "float8_e4m3fn", Shape: dims,
			Writer: "other", Intervals: &intervalSummary{1e-6, 86400, 1e-3, 1e-3},
			streamSight: &streamSight{true, judemap.MaxReaders, judemap.MaxReaders, judemap.MaxSlots, judemap.MaxSlots}}
		checkLines(t, strings.Join(seen.lines(79), "\n")+"\n", 79)
		seen.DType, seen.Shape, seen.Problem = "", nil, "half written"
		checkLines(t, strings.Join(seen.lines(79), "\n")+"\n", 79)
	}
}
