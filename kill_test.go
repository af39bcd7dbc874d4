//go:build cgo && linux

package judemap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// killTime is how long the tests that kill processes run.
func killTime(t *testing.T) time.Duration { return testTime(t, "JUDEMAP_KILL", 3*time.Second) }

// TestKill sends SIGKILL to writers, mostly in the middle of commits, to readers, parked and copying, and to creators,
// at random moments. No reader hangs or sees a torn tensor, the next writer goes on, versions never go back, and
// nothing is left behind.
func TestKill(t *testing.T) {
	const size = 1 << 20
	const n = size / 8
	s := named(t, size)
	peer(t) // built before the clock starts
	eventually(t, "no parker is left from other tests", func() bool { return parkerThreads() == 0 })
	threads, files := count(t, "/proc/self/task"), count(t, "/proc/self/fd")

	ctx, cancel := context.WithTimeout(context.Background(), killTime(t))
	defer cancel()
	var wg sync.WaitGroup

	// Readers in this process, watched: each call must end, with a whole tensor or an error that says why not.
	var torn, reads, deaths atomic.Int64
	var lastEnd [3]atomic.Int64
	buf := make([]byte, size)
	for i, read := range []func(after uint64) (Tensor, error){
		func(uint64) (Tensor, error) { return s.Read() },
		func(uint64) (Tensor, error) { return s.ReadInto(buf) },
		func(after uint64) (Tensor, error) { return s.Next(ctx, after) },
	} {
		lastEnd[i].Store(time.Now().UnixNano())
		wg.Add(1)
		go func() {
			defer wg.Done()
			version := uint64(0)
			for ctx.Err() == nil {
				got, err := read(version)
				lastEnd[i].Store(time.Now().UnixNano())
				switch {
				case ctx.Err() != nil:
					return
				case errors.Is(err, ErrWriterDied):
					deaths.Add(1)
					time.Sleep(100 * time.Microsecond)
				case errors.Is(err, ErrEmpty):
					time.Sleep(100 * time.Microsecond)
				case err != nil:
					t.Errorf("reader %d: %v", i, err)
					return
				default:
					if err := checkStress(&got, n); err != nil {
						torn.Add(1)
						t.Errorf("reader %d: %v", i, err)
						return
					}
					if got.Version() < version {
						t.Errorf("reader %d: version %d after %d", i, got.Version(), version)
						return
					}
					version = got.Version()
					reads.Add(1)
					time.Sleep(100 * time.Microsecond) // the others need the processor too
				}
			}
		}()
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond)
			for i := range lastEnd {
				if quiet := time.Since(time.Unix(0, lastEnd[i].Load())); quiet > 10*time.Second {
					t.Errorf("reader %d has been in one call for %v", i, quiet)
					cancel()
				}
			}
		}
	}()

	// Readers in processes of their own, in C++ and Go, killed after a while. What they find wrong they print.
	killed := map[string]*atomic.Int64{"writers": {}, "readers": {}, "creators": {}}
	wg.Add(2)
	go func() {
		defer wg.Done()
		for i := 0; ctx.Err() == nil; i++ {
			var p *process
			switch i % 4 {
			case 0:
				p = startRole(t, "read", s.Name(), strconv.Itoa(n), "0")
			default:
				p = start(t, peer(t, "park", s.Name()))
			}
			time.Sleep(time.Duration(rand.Int64N(int64(20 * time.Millisecond))))
			p.kill(t)
			killed["readers"].Add(1)
		}
	}()
	prefix := uniqueName()
	go func() {
		defer wg.Done()
		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprintf("%s-%d", prefix, i%3)
			_ = Remove(name)
			p := start(t, peer(t, "create", name, strconv.Itoa(1+rand.IntN(1<<20))))
			time.Sleep(time.Duration(rand.Int64N(int64(6 * time.Millisecond))))
			p.kill(t)
			killed["creators"].Add(1)
			// It is there and whole, or it is not there.
			made, err := Open(name)
			if err == nil {
				if _, err = made.Read(); err == ErrEmpty {
					err = nil
				}
				_ = made.CloseWait()
			}
			if err != nil && !os.IsNotExist(errors.Unwrap(err)) && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a creator was killed, and left %v", err)
			}
		}
	}()

	// The writers, one after the other.
	midCommit := 0
	for i := 0; ctx.Err() == nil; i++ {
		before := s.Version()
		var p *process
		if i%8 == 0 {
			p = startRole(t, "write", s.Name(), strconv.Itoa(n))
		} else {
			p = start(t, peer(t, "write", s.Name(), strconv.Itoa(n), "0"))
		}
		for began := time.Now(); s.Version() <= before|1 && ctx.Err() == nil; time.Sleep(50 * time.Microsecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("writer %d did not go on from version %d: %s", i, before, p.output.String())
			}
		}
		time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Millisecond))))
		p.kill(t)
		killed["writers"].Add(1)
		if s.Version()&1 != 0 {
			midCommit++
		}
		if s.Version() < before {
			t.Errorf("version %d after %d", s.Version(), before)
		}
	}
	wg.Wait()

	t.Logf("killed %d writers (%d in the middle of a commit), %d readers, %d creators; %d reads checked, %d torn, "+
		"%d times told of a death, version %d", killed["writers"].Load(), midCommit, killed["readers"].Load(),
		killed["creators"].Load(), reads.Load(), torn.Load(), deaths.Load(), s.Version())
	if midCommit == 0 {
		t.Error("no writer was killed in the middle of a commit: the test tests little")
	}
	if reads.Load() == 0 {
		t.Error("nothing was read")
	}

	// The next one takes over, whatever was left.
	if err := s.Fill([]int{3}, Uint8, 9); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ReadCopy(context.Background()); err != nil || string(got.Data()) != "\t\t\t" {
		t.Errorf("after it all: %v, %v", got.Data(), err)
	}
	for i := range 3 {
		_ = Remove(fmt.Sprintf("%s-%d", prefix, i))
	}
	entries, err := os.ReadDir("/dev/shm")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) || strings.HasPrefix(entry.Name(), "#") {
			t.Errorf("%s is left in /dev/shm", entry.Name())
		}
	}
	eventually(t, "the parker stops", func() bool { return parkerThreads() == 0 })
	files++ // s is the writer by now, and has the lock's
	eventually(t, "no descriptor is left", func() bool { return count(t, "/proc/self/fd") <= files })
	t.Logf("threads: %d before, %d after", threads, count(t, "/proc/self/task"))
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

func count(t *testing.T, folder string) int {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Skipf("SKIP: %v", err)
	}
	return len(entries)
}

// parkerThreads is how many threads the parker runs.
func parkerThreads() int {
	parkers.mu.Lock()
	defer parkers.mu.Unlock()
	if parkers.current == nil {
		return 0
	}
	return max(1, parkers.current.core.threads())
}

// parkedReaders is how many readers of one Segment are parked.
func (w *waiters) parkedReaders() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.led {
		return w.count + 1
	}
	return w.count
}

// inBothWays runs a test with readers that park their threads in the core, and with readers that the parker waits for.
func inBothWays(t *testing.T, test func(t *testing.T)) {
	t.Run("threads", test)
	t.Run("parker", func(t *testing.T) {
		threadsParked.Add(mostThreadsParked)
		defer threadsParked.Add(-mostThreadsParked)
		test(t)
	})
}

// TestHostilePeer has another process write random words over the header and the reserved block, while readers read,
// wait and copy: they get errors or tensors that lie in the segment, and nothing crashes or hangs.
func TestHostilePeer(t *testing.T) {
	if !isChild(t) {
		probe := named(t, 1) // skips where there is no sharing
		_ = probe
		if out, err := child(t, t.Name()).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		} else {
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "calls") {
					t.Log(strings.TrimSpace(line))
				}
			}
		}
		return
	}
	const size = 64 << 10
	s := named(t, size)
	ctx, cancel := context.WithTimeout(context.Background(), 2*stressTime(t))
	defer cancel()
	readers := []*Segment{s, reopen(t, s), reopen(t, s), reopen(t, s, WithReadOnly())}
	hostile := startRole(t, "scribble", s.Name())
	var wg sync.WaitGroup
	var calls, tensors atomic.Int64
	for _, reader := range readers {
		for name, read := range reads {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for ctx.Err() == nil {
					var got Tensor
					var err error
					short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
					if wait := waits[name]; wait != nil {
						got, err = wait(short, reader, 0)
					} else {
						got, err = read(reader)
					}
					cancel()
					calls.Add(1)
					if err != nil {
						continue
					}
					tensors.Add(1)
					sum := byte(0)
					for _, b := range got.Data() { // all of it can be touched
						sum += b
					}
					length := got.DType().Size()
					for _, d := range got.Shape() {
						length *= d
					}
					if len(got.Data()) > size || length != len(got.Data()) {
						t.Errorf("%s: %v of %v with %d bytes (%d)", name, got.Shape(), got.DType(), len(got.Data()), sum)
						return
					}
				}
			}()
		}
	}
	wg.Add(1)
	go func() { // a writer beside it
		defer wg.Done()
		for ctx.Err() == nil {
			if err := s.Fill([]int{size}, Uint8, 3); err != nil {
				t.Errorf("Fill: %v", err)
				return
			}
			time.Sleep(50 * time.Microsecond)
		}
	}()
	<-ctx.Done()
	time.Sleep(10 * time.Millisecond)
	hostile.kill(t)
	// Readers that an odd sequence keeps waiting wait for a writer that is alive: it ends that with its next commit.
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			t.Logf("%d calls, %d tensors", calls.Load(), tensors.Load())
			return
		case <-time.After(10 * time.Millisecond):
			if err := s.Fill(nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
}
