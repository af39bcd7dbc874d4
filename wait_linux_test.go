//go:build cgo

package judemap

import (
	"bytes"
	"context"
	"errors"
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

// Two processes hand a turn back and forth, each parked until the other's commit. A parked reader looks up every 40 ms
// by itself: were it not woken, the rounds would take 20 s.
func TestWakesAtOnce(t *testing.T) {
	const rounds = 500
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ping, pong := named(t, 8), named(t, 8)
	other := startRole(t, "echo", ping.Name(), pong.Name())
	for i := range uint64(rounds) {
		if err := ping.Fill(nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := pong.Next(ctx, 2*i); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	other.kill(t)
}

// One commit, in another process, wakes the parked readers of all; a context and Close end a wait with their own error.
func TestWaitAcrossProcesses(t *testing.T) { inBothWays(t, testWaitAcrossProcesses) }

func testWaitAcrossProcesses(t *testing.T) {
	for name, wait := range waits {
		for _, ending := range []struct {
			name string
			end  func(s, reader *Segment, cancel func())
			want error
		}{
			{"a commit", func(s, _ *Segment, _ func()) { _ = s.Fill(nil, Uint8, 1) }, nil},
			{"the context's end", func(_, _ *Segment, cancel func()) { cancel() }, context.Canceled},
			{"Close", func(_, reader *Segment, _ func()) { _ = reader.Close() }, ErrClosed},
		} {
			t.Run(name+", "+ending.name, func(t *testing.T) {
				s := named(t, 64)
				reader := reopen(t, s)
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				other := start(t, peer(t, "park", s.Name()))
				type result struct {
					version uint64
					err     error
				}
				results := make(chan result)
				for range 3 {
					go func() {
						got, err := wait(ctx, reader, 0)
						results <- result{got.Version(), err}
					}()
				}
				parked := func() uint32 { return load32(&s.mapping.header.waiters) }
				eventually(t, "two processes parked", func() bool { return parked() == 2 })
				start := time.Now()
				ending.end(s, reader, cancel)
				for range 3 {
					got := <-results
					if !errors.Is(got.err, ending.want) || ending.want == nil && got.version != 2 {
						t.Errorf("version %d, error %v; want %v", got.version, got.err, ending.want)
					}
				}
				t.Logf("%s ended 3 waits in %v", ending.name, time.Since(start))
				eventually(t, "only the other process parked", func() bool { return parked() == 1 })
				other.kill(t)
			})
		}
	}
}

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

// A thread is parked only while somebody waits, and the parker's a moment longer.
func TestParkerStops(t *testing.T) {
	s := named(t, 64)
	other := reopen(t, s)
	eventually(t, "no parker is left from other tests", func() bool { return parkerThreads() == 0 })
	before := count(t, "/proc/self/fd")
	parked := func() int { return parkerThreads() + int(threadsParked.Load())%mostThreadsParked }
	inBothWays(t, func(t *testing.T) {
		for range 3 {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { _, err := other.Next(ctx, 0); done <- err }()
			eventually(t, "a thread that waits", func() bool { return parked() == 1 })
			cancel()
			if err := <-done; err != context.Canceled {
				t.Error(err)
			}
			eventually(t, "no thread waits", func() bool { return parked() == 0 })
			eventually(t, "no descriptor is left", func() bool { return count(t, "/proc/self/fd") <= before })
		}
	})
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

// Readers that are killed while parked leave themselves counted; the writer finds out, and makes no system calls for
// them any more. A reader that lives is woken all the while.
func TestDeadReadersAreForgotten(t *testing.T) {
	s := named(t, 64)
	waiters := func() uint32 { return load32(&s.mapping.header.waiters) }
	for i := range uint32(3) {
		p := start(t, peer(t, "park", s.Name()))
		eventually(t, "it is parked", func() bool { return waiters() == i+1 })
		p.kill(t)
	}
	began := time.Now()
	eventually(t, "the dead are forgotten", func() bool {
		if err := s.Fill(nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		return waiters() == 0
	})
	t.Logf("forgotten after %v and %d commits", time.Since(began), s.Version()/2)
	reader := reopen(t, s)
	done := make(chan error)
	go func() { _, err := reader.Next(context.Background(), s.Version()); done <- err }()
	eventually(t, "a reader is parked", func() bool { return waiters() == 1 })
	if err := s.Fill(nil, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
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

// When the reader that leads a group leaves, a watch takes its place, and the others sleep on until there is something.
func TestLeaderLeaves(t *testing.T) {
	writer := named(t, 64)
	reader := reopen(t, writer)
	for range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		led, member := make(chan error), make(chan error)
		after := reader.Version()
		go func() { _, err := reader.Next(ctx, after); led <- err }()
		eventually(t, "the leader is parked", func() bool { return reader.waiters.parkedReaders() == 1 })
		go func() { _, err := reader.Next(context.Background(), after); member <- err }()
		eventually(t, "both are parked", func() bool { return reader.waiters.parkedReaders() == 2 })
		cancel()
		if err := <-led; err != context.Canceled {
			t.Fatal(err)
		}
		if n := reader.waiters.parkedReaders(); n != 1 {
			t.Errorf("%d readers are parked after the leader left, want 1", n)
		}
		if err := writer.Fill(nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		if err := <-member; err != nil {
			t.Fatal(err)
		}
	}
}
