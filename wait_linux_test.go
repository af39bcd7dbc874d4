//go:build cgo

package judemap

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A program that never wakes anybody, and knows nothing of the reserved block, is met by polling.
func TestWriterThatNeverWakes(t *testing.T) {
	s := named(t, 64, WithForeignWriters())
	plain := filepath.Join("/dev/shm", uniqueName())
	if err := os.WriteFile(plain, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(plain)
	byHand := func(file string) *os.File {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, test := range []struct {
		name string
		file *os.File
		open func() (*Segment, error)
	}{
		{"a segment of Create", byHand("/dev/shm/" + s.Name()), func() (*Segment, error) { return Open(s.Name()) }},
		{"a segment of the Node addon", byHand(plain), func() (*Segment, error) { return Open(filepath.Base(plain)) }},
		{"a slow poll", byHand(plain), func() (*Segment, error) {
			return Open(filepath.Base(plain), WithPollInterval(100*time.Millisecond))
		}},
		{"read-only", byHand(plain), func() (*Segment, error) { return Open(filepath.Base(plain), WithReadOnly()) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			reader, err := test.open()
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			before := reader.Version()
			go func() {
				time.Sleep(30 * time.Millisecond)
				// Writing to the file is as storing to the mapping, and wakes nobody.
				dump := dumpOf(before+2, Uint8, []byte{1, 2, 3, byte(before)})
				_, _ = test.file.WriteAt(dump[8:192], 8)
				_, _ = test.file.WriteAt(dump[256:], 256)
				_, _ = test.file.WriteAt(dump[:8], 0)
			}()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			got, err := reader.Next(ctx, before)
			if err != nil || string(got.Data()) != string([]byte{1, 2, 3, byte(before)}) {
				t.Errorf("%v, %v", got.Data(), err)
			}
		})
	}
}

// idleTime is how long TestManyParked looks at parked readers.
func idleTime(t *testing.T) time.Duration { return testTime(t, "JUDEMAP_IDLE", 500*time.Millisecond) }

// parkedThreads returns how many threads park for so many segments at most, a reader each: a thread each for the first,
// and then one for 32; or for each, where the kernel (qemu, a sandbox) has no futex_waitv.
func parkedThreads(segments int) int {
	const futexWaitv = 449 // on all architectures
	if _, _, err := unix.Syscall6(futexWaitv, 0, 0, 0, 0, 0, 0); err != unix.EINVAL {
		return segments
	}
	return mostThreadsParked + max(0, segments-mostThreadsParked+31)/32
}

// manySegments is how many segments TestManyParked has readers of. Where each may take a thread, a 32-bit process has no
// addresses for the stacks of a thousand.
func manySegments() int {
	if parkedThreads(1000) == 1000 && strconv.IntSize == 32 {
		return 200
	}
	return 1000
}

// Many parked readers, of one shared segment or of many, take few threads and next to no processor time, and another
// process's commits wake all of them. The test reports what they take.
func TestManyParked(t *testing.T) {
	for _, test := range []struct {
		segments, readers int  // readers of each segment
		written           bool // each has a writer, which the parker must look after
		threads           int  // at most, of the parker
	}{
		{1, 10000, true, 1},
		{manySegments(), 1, true, parkedThreads(manySegments())},
		{manySegments(), 1, false, parkedThreads(manySegments())},
	} {
		t.Run(fmt.Sprintf("%d readers of each of %d, written %v", test.readers, test.segments, test.written), func(t *testing.T) {
			eventually(t, "no parker is left from other tests", func() bool { return parkerThreads() == 0 })
			writers := make([]*Segment, test.segments)
			readers := make([]*Segment, test.segments)
			for i := range writers {
				writers[i] = named(t, 64)
				readers[i] = reopen(t, writers[i])
				if test.written {
					if err := writers[i].Fill(nil, Uint8, 1); err != nil {
						t.Fatal(err)
					}
				}
			}
			threads, memory := count(t, "/proc/self/task"), statusKiB(t, "VmRSS")
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			var woken sync.WaitGroup
			for _, reader := range readers {
				for range test.readers {
					woken.Add(1)
					go func() {
						defer woken.Done()
						if _, err := reader.Next(ctx, reader.Version()); err != nil {
							t.Error(err)
						}
					}()
				}
			}
			for i, s := range writers {
				eventually(t, "parked "+strconv.Itoa(i), func() bool { return load32(&s.mapping.header.waiters) == 1 })
			}
			eventually(t, "all of them", func() bool {
				n := 0
				for _, reader := range readers {
					n += reader.waiters.parkedReaders()
				}
				return n == test.segments*test.readers
			})
			ours := parkerThreads() + int(threadsParked.Load())
			if ours > test.threads {
				t.Errorf("%d threads are parked, want at most %d", ours, test.threads)
			}
			more, grown := count(t, "/proc/self/task")-threads, statusKiB(t, "VmRSS")-memory
			before := cpuTime(t)
			time.Sleep(idleTime(t))
			idle := cpuTime(t) - before
			start := time.Now()
			for _, s := range writers {
				if err := s.Fill(nil, Uint8, 1); err != nil {
					t.Fatal(err)
				}
			}
			committed := time.Since(start)
			woken.Wait()
			t.Logf("%d threads parked (%+d in the process), %+d KiB, %v of processor time in %v parked (%.3f%% of one "+
				"processor); commits took %v, all were awake after %v", ours, more, grown, idle, idleTime(t),
				100*float64(idle)/float64(idleTime(t)), committed, time.Since(start))
		})
	}
}

// A commit that finds no waiter makes no system call.
func TestCommitsWithoutSystemCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIP: strace is not installed")
	}
	expectNoSystemCalls(t, strace, func(commits int) (*exec.Cmd, *handle) {
		s := named(t, 64)
		return peer(t, "write", s.Name(), "3", strconv.Itoa(commits)), &s.handle
	})
}

// expectNoSystemCalls counts the system calls of a program that commits so many tensors, once 1 and once 100,000.
func expectNoSystemCalls(t *testing.T, strace string, program func(commits int) (*exec.Cmd, *handle)) {
	t.Helper()
	calls := func(commits int) (lines int, text string) {
		cmd, s := program(commits)
		cmd.Args = append([]string{strace, "-f", "-qq", "-o", "/dev/stdout"}, cmd.Args...)
		cmd.Path = strace
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Skipf("SKIP: strace can't trace here: %v\n%s", err, out)
		}
		if got := s.Version(); got != uint64(2*commits) {
			t.Fatalf("version %d after %d commits", got, commits)
		}
		// How many pieces are unmapped around one that must be aligned depends on the addresses, which are random.
		return bytes.Count(out, []byte("\n")) - bytes.Count(out, []byte("munmap(")), string(out)
	}
	one, _ := calls(1)
	many, text := calls(100000)
	// An emulator of another processor makes calls of its own. For a commit each, there would be 100,000 more.
	more := 0
	if strings.Contains(text, "/qemu-") {
		more = 100
	}
	if many > one+more || many < one-more {
		t.Errorf("%d system calls for 1 commit, %d for 100,000:\n%.2000s", one, many, text)
	}
	t.Logf("%d system calls for 1 commit, %d for 100,000", one, many)
}

// Where there is one processor no goroutine parks a thread: it would keep the processor. The core's own threads wait.
func TestOneProcessor(t *testing.T) {
	eventually(t, "no parker is left from other tests", func() bool { return parkerThreads() == 0 })
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	writer := named(t, 64)
	reader := reopen(t, writer)
	for i := range 20 {
		done := make(chan error)
		go func() { _, err := reader.Next(context.Background(), reader.Version()); done <- err }()
		eventually(t, "the reader is parked", func() bool { return reader.waiters.parkedReaders() == 1 })
		if n := threadsParked.Load(); n != 0 {
			t.Errorf("%d goroutines have parked their threads", n)
		}
		parkers.mu.Lock()
		if parkers.current == nil || parkers.current.event == nil {
			t.Errorf("round %d: the parker's threads are the program's", i)
		}
		parkers.mu.Unlock()
		if err := writer.Fill(nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the parker stops", func() bool { return parkerThreads() == 0 })
}
