//go:build cgo && linux

package judemap

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// idleTime is how long TestManyParked looks at parked readers.
func idleTime(t *testing.T) time.Duration { return testTime(t, "JUDEMAP_IDLE", 500*time.Millisecond) }

func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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
		{1000, 1, true, mostThreadsParked + (1000-mostThreadsParked+31)/32},
		{1000, 1, false, mostThreadsParked + (1000-mostThreadsParked+31)/32},
	} {
		t.Run(fmt.Sprintf("%d readers of each of %d, written %v", test.readers, test.segments, test.written), func(t *testing.T) {
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
