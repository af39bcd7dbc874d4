//go:build cgo

package judemap

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func init() {
	// once NAME SLEEP is a whole program: it makes a segment, writes, and ends its main.
	roles["once"] = func(_ *Segment, args []string) error {
		s, err := Create(args[0], 64)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := s.Fill(nil, Uint8, 1); err != nil {
			return err
		}
		pause, err := time.ParseDuration(args[1])
		time.Sleep(pause)
		return err
	}
}

// A program that creates, writes, closes and ends did not die, for whoever was parked and for whoever comes later.
func TestEndOfMain(t *testing.T) {
	named(t, 1) // skips where there is no sharing
	var programs sync.WaitGroup
	for i := range 20 {
		name := uniqueName()
		t.Cleanup(func() { _ = Remove(name) })
		pause := "0"
		if i%2 == 0 {
			pause = "50ms"
		}
		program := startRole(t, "once", "--", name, pause)
		programs.Go(func() {
			var parked *Segment
			var err error
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				if parked, err = Open(name); err == nil {
					break
				}
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer parked.Close()
			// Longer than a death stays unknown.
			ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
			defer cancel()
			_, err = parked.Next(ctx, 2)
			if err != context.DeadlineExceeded {
				t.Errorf("the parked reader: %v, want the end of its context", err)
			}
			if err := program.Wait(); err != nil {
				t.Errorf("the program: %v\n%s", err, program.output.String())
			}
			later, err := Open(name)
			if err != nil {
				t.Error(err)
				return
			}
			defer later.Close()
			ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			if got, err := later.Next(ctx, 0); err != nil || got.Version() != 2 {
				t.Errorf("reading later: version %d, %v", got.Version(), err)
			}
			if _, err := later.Next(ctx, 2); err != context.DeadlineExceeded {
				t.Errorf("waiting later: %v, want the end of the context", err)
			}
			for _, s := range []*Segment{parked, later} {
				if got := s.Writer(); got != WriterNone {
					t.Errorf("the writer: %v, want %v", got, WriterNone)
				}
			}
		})
	}
	programs.Wait()
}

// A write that is running when its Segment is closed ends as it would have, and then gives the right to write back.
func TestCloseDuringUpdate(t *testing.T) {
	for name, close := range map[string]func(s *Segment){
		"Close beside it": func(s *Segment) { within(t, "Close", func() { _ = s.Close() }) },
		"Close within it": func(s *Segment) { _ = s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			first := named(t, 64)
			s, other := reopen(t, first), reopen(t, first)
			err := s.Update([]int{2}, Uint8, func(data []byte) error {
				close(s)
				if err := other.Fill(nil, Uint8, 9); err != ErrWriterActive {
					t.Errorf("another writer, meanwhile: %v, want ErrWriterActive", err)
				}
				if got := other.Writer(); got != WriterOther {
					t.Errorf("the writer, meanwhile: %v", got)
				}
				if err := s.Fill(nil, Uint8, 9); err != ErrClosed {
					t.Errorf("another write, meanwhile: %v, want ErrClosed", err)
				}
				copy(data, "ab")
				return nil
			})
			if err != nil {
				t.Errorf("the write: %v", err)
			}
			if got, err := other.ReadCopy(context.Background()); err != nil || string(got.Data()) != "ab" {
				t.Errorf("reading what it wrote: %q, %v", got.Data(), err)
			}
			if got := other.Writer(); got != WriterNone {
				t.Errorf("the writer after it: %v", got)
			}
			if err := other.Fill(nil, Uint8, 9); err != nil {
				t.Errorf("another writer after it: %v", err)
			}
			within(t, "CloseWait", func() { _ = s.CloseWait() })
		})
	}
}

// Writers that wait for their turn when their Segment is closed get ErrClosed.
func TestCloseBesideWriters(t *testing.T) {
	for _, shared := range []bool{false, true} {
		s := newSegment(t, 64)
		if shared {
			s = named(t, 64)
		}
		filling, finish := make(chan struct{}), make(chan struct{})
		var writers sync.WaitGroup
		writers.Go(func() {
			err := s.Update(nil, Uint8, func([]byte) error { close(filling); <-finish; return nil })
			if err != nil {
				t.Errorf("the one that writes: %v", err)
			}
		})
		<-filling
		for range 4 {
			for _, write := range []func() error{
				func() error { return s.Fill(nil, Uint8, 1) },
				func() error { return s.Write(nil, Uint8, []byte{1}) },
				func() error { return s.Update(nil, Uint8, func([]byte) error { return nil }) },
			} {
				writers.Go(func() {
					if err := write(); err != ErrClosed {
						t.Errorf("one that waits: %v, want ErrClosed", err)
					}
				})
			}
		}
		time.Sleep(10 * time.Millisecond)
		within(t, "Close", func() { _ = s.Close() })
		close(finish)
		within(t, "the writers", writers.Wait)
		within(t, "CloseWait", func() { _ = s.CloseWait() })
	}
}

// Close ends the waits of parked readers, whoever would have written.
func TestCloseWakesReaders(t *testing.T) {
	inBothWays(t, func(t *testing.T) {
		for name, make := range map[string]func() *Segment{
			"private":      func() *Segment { return newSegment(t, 64) },
			"never wrote":  func() *Segment { return named(t, 64) },
			"the writer's": func() *Segment { s := named(t, 64); _ = s.Fill(nil, Uint8, 1); return s },
			"read-only":    func() *Segment { return reopen(t, named(t, 64), WithReadOnly(), WithPollInterval(time.Hour)) },
			"polling":      func() *Segment { return named(t, 64, WithForeignWriters(), WithPollInterval(time.Hour)) },
		} {
			s := make()
			wrote := s.Version() != 0 // and calls that take any tensor return it
			var readers sync.WaitGroup
			for range 4 {
				for call, wait := range waits {
					readers.Go(func() {
						if _, err := wait(context.Background(), s, 1<<40); err != ErrClosed && (err != nil || !wrote) {
							t.Errorf("%s, %s: %v, want ErrClosed", name, call, err)
						}
					})
				}
			}
			eventually(t, "parked readers", func() bool { return s.waiters.parkedReaders() > 3 })
			time.Sleep(5 * time.Millisecond)
			within(t, name+": Close", func() { _ = s.Close() })
			within(t, name+": the readers", readers.Wait)
		}
	})
}

// While children are started, which have all descriptors between fork and exec, writing goes from one Segment to the
// next without a hitch.
func TestHandOverBesideChildren(t *testing.T) {
	first := named(t, 64)
	ctx, cancel := context.WithCancel(context.Background())
	var starting sync.WaitGroup
	defer starting.Wait()
	defer cancel()
	for range 2 {
		starting.Go(func() {
			for ctx.Err() == nil {
				_ = exec.Command("/bin/true").Run()
			}
		})
	}
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	for name, close := range map[string]func(*Segment) error{"Close": (*Segment).Close, "CloseWait": (*Segment).CloseWait} {
		refused := 0
		for range rounds {
			s, err := Open(first.Name())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Fill(nil, Uint8, 1); errors.Is(err, ErrWriterActive) {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
			if err := close(s); err != nil {
				t.Fatal(err)
			}
		}
		if refused != 0 {
			t.Errorf("%d of %d hand-overs after %s were refused", refused, rounds, name)
		}
	}
}

// A reader that parks is counted, and so is the commit that wakes it: in the reader's Segment and in the writer's.
func TestStatsOfWaiting(t *testing.T) {
	inBothWays(t, func(t *testing.T) {
		for name, segments := range map[string]func() (writer, reader *Segment){
			"one Segment":  func() (writer, reader *Segment) { s := named(t, 64); return s, s },
			"two Segments": func() (writer, reader *Segment) { s := named(t, 64); return s, reopen(t, s) },
		} {
			writer, reader := segments()
			const rounds = 5
			for i := range uint64(rounds) {
				var wait sync.WaitGroup
				wait.Go(func() {
					if _, err := reader.Next(context.Background(), 2*i); err != nil {
						t.Error(err)
					}
				})
				eventually(t, "a parked reader", func() bool { return reader.waiters.parkedReaders() == 1 })
				time.Sleep(5 * time.Millisecond)
				if err := writer.Fill(nil, Uint8, 1); err != nil {
					t.Fatal(err)
				}
				wait.Wait()
			}
			got := reader.Stats()
			got.Commits, got.Wakes = writer.Stats().Commits, writer.Stats().Wakes
			// A parked reader looks up now and then.
			if got.Commits != rounds || got.Parks < rounds || got.Parks > 20*rounds || got.Reads != rounds || got.Retries != 0 ||
				got.Wakes < 1 || got.Wakes > 2*rounds {
				t.Errorf("%s: after %d rounds: %+v", name, rounds, got)
			}
			t.Logf("%s: %+v", name, got)
		}
	})
}

// TestCloseUnderViews closes hundreds of handles of a named segment while goroutines look at their views, in a child
// process: a fault there would be the death of it. What they see is the tensor, or zeros after Close.
func TestCloseUnderViews(t *testing.T) {
	const handles, size = 600, 64 << 10
	if !isChild(t) {
		out, err := child(t, t.Name()).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "handles") {
				t.Log(strings.TrimSpace(line))
			}
		}
		return
	}
	s := named(t, size)
	if err := s.Fill([]int{size}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	var current atomic.Pointer[Tensor]
	var stop atomic.Bool
	var passes, across atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				view := current.Load()
				if view == nil {
					runtime.Gosched()
					continue
				}
				zeros := 0
				for i, b := range view.Data() {
					if b > 1 {
						t.Errorf("byte %d of a view is %d", i, b)
						return
					}
					zeros += 1 - int(b)
				}
				if zeros != 0 && zeros != size {
					across.Add(1)
				}
				passes.Add(1)
				runtime.Gosched()
			}
		})
	}
	for range handles {
		handle, err := Open(s.Name())
		if err != nil {
			t.Fatal(err)
		}
		view, err := handle.Read()
		if err != nil {
			t.Fatal(err)
		}
		current.Store(&view)
		time.Sleep(100 * time.Microsecond)
		if err := handle.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d handles closed under views, %d passes over a view, %d of them while it was closed", handles, passes.Load(),
		across.Load())
}
