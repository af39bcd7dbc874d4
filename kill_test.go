//go:build cgo

// These tests kill processes, at random moments and in chosen ones.

package judemap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/judemap/judemap/internal/layout"
)

// checkNothingLeft says what killed processes left: creators' segments beside the three names of prefix, parked threads, and
// descriptors of this process beyond files and that of the lock, which it has as the writer by now.
func checkNothingLeft(t *testing.T, prefix string, files int) {
	t.Helper()
	for i := range 3 {
		_ = Remove(fmt.Sprintf("%s-%d", prefix, i))
	}
	_, _ = List() // on Windows it deletes what nobody has open
	entries, err := os.ReadDir(sharedMemory())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) || strings.HasPrefix(entry.Name(), "#") || strings.HasPrefix(entry.Name(), "\uf02f") {
			t.Errorf("%s is left in %s", entry.Name(), sharedMemory())
		}
	}
	eventually(t, "the parker stops", func() bool { return parkerThreads() == 0 })
	eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= files+1 })
}

// killTime is how long the tests that kill processes run.
func killTime(t *testing.T) time.Duration { return testTime(t, "JUDEMAP_KILL", 3*time.Second) }

// goesOn says whether writers are to be killed still: until the end, or, on a slow machine, for up to a minute more until
// one of them was in a commit.
func goesOn(end time.Time, midCommit int) bool {
	return time.Now().Before(end) || midCommit == 0 && time.Since(end) < time.Minute
}

// TestKill sends SIGKILL to writers, mostly in the middle of commits, to readers, parked and copying, and to creators,
// at random moments. No reader hangs or sees a torn tensor, the next writer goes on, versions never go back, and
// nothing is left behind.
func TestKill(t *testing.T) {
	const size = 1 << 20
	const n = size / 8
	s := named(t, size)
	peer(t) // built before the clock starts
	eventually(t, "no parker is left from other tests", func() bool { return parkerThreads() == 0 })
	threads, files := osThreads(t), descriptors(t)

	ctx, cancel := context.WithCancel(context.Background())
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
	for i, end := 0, time.Now().Add(killTime(t)); goesOn(end, midCommit); i++ {
		before := s.Version()
		var p *process
		if i%8 == 0 {
			p = startRole(t, "write", s.Name(), strconv.Itoa(n))
		} else {
			p = start(t, peer(t, "write", s.Name(), strconv.Itoa(n), "0"))
		}
		for began := time.Now(); s.Version() <= before|1; time.Sleep(50 * time.Microsecond) {
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
	cancel()
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
	checkNothingLeft(t, prefix, files)
	t.Logf("threads: %d before, %d after", threads, osThreads(t))
}

// The death of the writer ends every wait, and every read that finds it in the middle of a commit. The next writer
// takes over: readers see nothing of the torn tensor.
func TestWriterDies(t *testing.T) {
	for _, test := range []struct {
		name   string
		odd    uint64 // 1: the writer is in a commit
		writer func(name string) *exec.Cmd
		calls  []string // those that find nothing to return
	}{
		{"between commits", 0, func(name string) *exec.Cmd { return peer(t, "idle", name) }, []string{"Next", "Frames"}},
		{"in a commit", 1, func(name string) *exec.Cmd { return roleCommand("half", name) },
			[]string{"Next", "Frames", "ReadWait", "ReadCopyWait", "Read", "ReadCopy", "ReadInto"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := named(t, 64)
			writer := start(t, test.writer(s.Name()))
			eventually(t, "the commit", func() bool { v := s.Version(); return v != 0 && v&1 == test.odd })
			eventually(t, "the writer waits", func() bool { return s.Writer() == WriterOther })
			if err := s.Fill(nil, Uint8, 1); err != ErrWriterActive {
				t.Errorf("writing beside another writer: %v, want ErrWriterActive", err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			after := s.Version() &^ 1
			call := func(name string) error {
				var err error
				if wait := waits[name]; wait != nil {
					_, err = wait(ctx, s, after)
				} else {
					_, err = reads[name](s)
				}
				return err
			}
			type result struct {
				name string
				err  error
			}
			results := make(chan result, len(test.calls))
			for _, name := range test.calls {
				go func() { results <- result{name, call(name)} }()
			}
			eventually(t, "a parked reader", func() bool { return load32(&s.mapping.header.waiters) != 0 })
			time.Sleep(20 * time.Millisecond)
			writer.kill(t)
			start := time.Now()
			for range test.calls {
				if got := <-results; got.err != ErrWriterDied {
					t.Errorf("%s: %v, want ErrWriterDied", got.name, got.err)
				}
			}
			t.Logf("known to all after %v", time.Since(start))
			if s.Writer() != WriterDied {
				t.Errorf("Writer is %v", s.Writer())
			}
			for _, name := range test.calls { // and at once for those that come later
				if err := call(name); err != ErrWriterDied {
					t.Errorf("%s, later: %v, want ErrWriterDied", name, err)
				}
			}
			before := s.Version()
			if err := s.Fill([]int{2}, Uint8, 7); err != nil {
				t.Fatalf("taking over: %v", err)
			}
			got, err := s.Next(ctx, before)
			if err != nil || string(got.Data()) != "\a\a" || s.Writer() != WriterHere {
				t.Errorf("after taking over: %v, %v, writer %v", got.Data(), err, s.Writer())
			}
		})
	}
}

// TestStreamKill sends SIGKILL to writers of a stream, mostly in the middle of commits, to readers with frames in hand, and
// to creators, at random moments. No frame that is held changes, versions grow, and where every frame counts none is
// missing; nothing hangs, the next writer goes on, and nothing is left behind.
func TestStreamKill(t *testing.T) {
	policies(t, testStreamKill)
}

func testStreamKill(t *testing.T, every bool, opts ...Option) {
	const size, slots, held = 256 << 10, 16, 2
	const n = size / 8
	s := namedStream(t, slots, size, opts...)
	peer(t) // built before the clock starts
	eventually(t, "no parker is left from other tests", func() bool { return parkerThreads() == 0 })
	files := descriptors(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup

	// Readers in this process, with frames in hand and without.
	var frames [2]atomic.Int64
	var last [2]atomic.Uint64
	for i := range frames {
		wg.Go(func() {
			err := streamReader(ctx, s, n, held*i, 0, func(version uint64) { frames[i].Add(1); last[i].Store(version) })
			if err != nil {
				t.Errorf("reader %d: %v", i, err)
				cancel()
			}
		})
	}
	// Readers in processes of their own. What they find wrong they print.
	killed := map[string]*atomic.Int64{"writers": {}, "readers": {}, "creators": {}}
	for range 2 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				args := []string{s.Name(), strconv.Itoa(n), "0", strconv.Itoa(held)}
				var p *process
				if i%4 == 0 {
					p = startStreamRole(t, "stream-read", args...)
				} else {
					p = start(t, peer(t, append([]string{"stream-read"}, args...)...))
				}
				time.Sleep(time.Duration(rand.Int64N(int64(20 * time.Millisecond))))
				p.kill(t)
				killed["readers"].Add(1)
			}
		})
	}
	prefix := uniqueName()
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprintf("%s-%d", prefix, i%3)
			_ = Remove(name)
			p := start(t, peer(t, "stream-create", name, strconv.Itoa(1+rand.IntN(1<<20))))
			time.Sleep(time.Duration(rand.Int64N(int64(6 * time.Millisecond))))
			p.kill(t)
			killed["creators"].Add(1)
			made, err := OpenStream(name)
			if err == nil {
				if _, err = made.ReadCopy(ctx); err == ErrEmpty || ctx.Err() != nil {
					err = nil
				}
				_ = made.CloseWait()
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a creator was killed, and left %v", err)
			}
		}
	})

	// The writers, one after the other.
	midCommit, longest := 0, time.Duration(0)
	for i, end := 0, time.Now().Add(killTime(t)/2); goesOn(end, midCommit); i++ {
		before := s.Version()
		var p *process
		if i%8 == 0 {
			p = startStreamRole(t, "stream-write", s.Name(), strconv.Itoa(n), "0")
		} else {
			p = start(t, peer(t, "stream-write", s.Name(), strconv.Itoa(n), "0"))
		}
		began := time.Now()
		for ; s.Version() <= before; time.Sleep(50 * time.Microsecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("writer %d did not go on from version %d: %s; readers %+v", i, before, p.output.String(), s.Readers())
			}
		}
		longest = max(longest, time.Since(began))
		time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Millisecond))))
		p.kill(t)
		killed["writers"].Add(1)
		for slot := range slots {
			if load64(&s.mapping.core.slot(slot).sequence)&1 != 0 {
				midCommit++
			}
		}
	}
	cancel()
	within(t, "the readers", wg.Wait)
	t.Logf("killed %d writers (%d in the middle of a commit; the next went on after %v at most), %d readers, %d creators; "+
		"%d and %d frames checked, of %d", killed["writers"].Load(), midCommit, longest, killed["readers"].Load(),
		killed["creators"].Load(), frames[0].Load(), frames[1].Load(), s.Version()/2)
	if midCommit == 0 {
		t.Error("no writer was killed in the middle of a commit: the test tests little")
	}
	for i := range frames {
		if frames[i].Load() == 0 {
			t.Errorf("reader %d read nothing", i)
		}
	}

	// The next one takes over, whatever was left; and all places and slots can be had again.
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r := newTestReader(t, s)
	if err := s.Fill(limited, []int{3}, Uint8, 9); err != nil {
		t.Fatal(err)
	}
	if f := mustNext(t, r); string(f.Data()) != "\t\t\t" {
		t.Errorf("after it all: %v", f.Data())
	}
	readers := []*Reader{r}
	for len(readers) < MaxReaders {
		readers = append(readers, newTestReader(t, s))
	}
	for _, r := range readers {
		_ = r.Close()
	}
	for range 2 * slots {
		if err := s.Fill(limited, []int{3}, Uint8, 9); err != nil {
			t.Fatal(err)
		}
	}
	for slot := range slots {
		if pins := *(*uint64)(unsafe.Pointer(&slotMemory(s, slot)[layout.Pins])); pins != 0 {
			t.Errorf("slot %d has pins %x, and there are no readers", slot, pins)
		}
	}
	if infos := s.Readers(); len(infos) != 0 {
		t.Errorf("readers %+v", infos)
	}
	checkNothingLeft(t, prefix, files)
}
