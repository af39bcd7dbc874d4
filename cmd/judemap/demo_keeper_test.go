//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/judemap/judemap"
)

// gone waits until there is nothing of that name, for as long as a keeper may take on a busy machine.
func gone(name string) bool {
	for deadline := time.Now().Add(10 * time.Second); exists(name); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// A demo that is killed at any moment, alone or with its whole process group, leaves nothing behind.
func TestDemoKilled(t *testing.T) {
	segmentName(t)
	var existed atomic.Int32
	t.Run("moments", func(t *testing.T) {
		for i := range 48 {
			wait := time.Duration(rand.N(500)) * time.Millisecond
			started := i%4 < 2 // counts from when there is a stream, which on a slow machine takes a while
			t.Run(fmt.Sprint(wait), func(t *testing.T) {
				t.Parallel()
				demo := exec.Command(command, "demo", "--time", "1m")
				demo.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				if err := demo.Start(); err != nil {
					t.Fatal(err)
				}
				name := demoName(demo.Process.Pid)
				if started {
					awaitStream(t, name).Close()
				}
				time.Sleep(wait)
				if exists(name) {
					existed.Add(1)
				}
				whom := demo.Process.Pid
				if i%2 != 0 {
					whom = -whom
				}
				if err := syscall.Kill(whom, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
				_ = demo.Wait()
				if !gone(name) {
					t.Errorf("killed after %v, it left its stream", wait)
					_ = judemap.Remove(name)
				}
			})
		}
	})
	t.Logf("%d of 48 demos had a stream when they were killed", existed.Load())
	if existed.Load() == 0 {
		t.Error("all were killed before they had a stream")
	}
}

// What demos left that were killed together with their keepers, the next demo takes away, and nothing else.
func TestDemoSweeps(t *testing.T) {
	ended := func() string { // a demo's name that no demo has
		t.Helper()
		process := exec.Command(command, "--help")
		if err := process.Run(); err != nil {
			t.Fatal(err)
		}
		return demoName(process.Process.Pid)
	}
	create := func(name string) *judemap.Segment { // what demos left that ran with --segment
		t.Helper()
		s, err := judemap.Create(name, 64)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.Close()
			_ = judemap.Remove(name)
		})
		return s
	}
	other := segmentName(t) + "-" + ended()
	left, died, written, lives, odd := ended(), ended(), ended(), demoName(os.Getpid()), strings.Replace(ended(), "demo-", "demo-0", 1)
	for _, name := range []string{left, other, lives, odd} {
		create(name)
	}
	create(died).Close()
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), "JUDEMAP_TEST_DIE_WRITING="+died)
	if err := writer.Run(); err == nil {
		t.Fatal("the writer did not die")
	}
	if err := create(written).Fill([]int{1}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}

	demo, killed, wait := startDemo(t)
	t.Cleanup(func() { _ = judemap.Remove(killed) })
	for keepers := 0; keepers == 0; time.Sleep(5 * time.Millisecond) { // it may have yet to start
		for _, path := range workersOf(t, killed) {
			pid, err := strconv.Atoi(strings.Split(path, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), "demo-keeper") {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				keepers++
			}
		}
	}
	if err := demo.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wait()
	for len(workersOf(t, killed)) > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	if !exists(killed) {
		t.Error("a keeper that was killed did its work")
	}

	mustRun(t, "demo", "--time", "50ms")
	for _, name := range []string{left, died, killed} {
		if exists(name) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range []string{other, written, lives, odd} {
		if !exists(name) {
			t.Errorf("%s was taken away", name)
		}
	}
}
