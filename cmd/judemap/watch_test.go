package main

import (
	"bytes"
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/judemap/judemap"
)

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
	if !regexp.MustCompile(name + `: version \d+, int16 \[2 3\]; [1-9]\d* commits/s, \d\.\d kB/s; last commit 0\.\d\d s ago; writer other\n`).MatchString(out.String()) {
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
		`writer other; stream, policy every frame; readers 1, dead 0; slots held 1 of 4\n`).MatchString(out.String()) {
		t.Errorf("watch printed\n%s", &out)
	}
}
