package judemap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// stressTime is how long a stress test runs for each of its sizes.
func stressTime(t *testing.T) time.Duration {
	return testTime(t, "JUDEMAP_STRESS", 300*time.Millisecond)
}

// testTime is the time that an environment variable sets for tests that can run for as long as one likes.
func testTime(t *testing.T, variable string, otherwise time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return d
}

// element is element i of the tensor of a version: all that a reader sees can be told from the version.
func element(version uint64, i int) int64 {
	return int64(version*0x9E3779B97F4A7C15 + uint64(i)*0xD1B54A32D192ED03)
}

// stressShape is the shape of the tensor of a version, of at most n elements: shapes differ from commit to commit, so
// that a header put together from two commits shows.
func stressShape(version uint64, n int) []int {
	switch version / 2 % 3 {
	case 0:
		return []int{n}
	case 1:
		return []int{1, n - 1, 1}
	default:
		return []int{n / 3, 3}
	}
}

// checkStress says how t differs from the tensor of its version. The header must match even where the data was
// overwritten since.
func checkStress(t *Tensor, n int) error {
	want := stressShape(t.Version(), n)
	if fmt.Sprint(t.Shape()) != fmt.Sprint(want) {
		return fmt.Errorf("version %d has shape %v, want %v", t.Version(), t.Shape(), want)
	}
	values, err := Slice[int64](t)
	if err != nil {
		return err
	}
	version := t.Version()
	for i, v := range values {
		if v != element(version, i) {
			if !t.Valid() {
				return nil // overwritten while we looked, and it says so
			}
			return fmt.Errorf("version %d is torn: element %d of %d is %#x, want %#x", version, i, len(values), v,
				element(version, i))
		}
	}
	return nil
}

// stressWriter commits tensors of at most n elements until stop is closed (nil: for ever): copies and writes in place in turn.
func stressWriter(s *Segment, n int, stop <-chan struct{}) error {
	values := make([]int64, n)
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		version := s.Version() + 2
		if version%2 != 0 { // the writer before died in a commit: putting that right takes a version
			version++
		}
		shape := stressShape(version, n)
		size := 1
		for _, d := range shape {
			size *= d
		}
		for i := range size {
			values[i] = element(version, i)
		}
		var err error
		if version%8 == 0 {
			err = s.Update(shape, Int64, func(data []byte) error {
				copy(unsafe.Slice((*int64)(unsafe.Pointer(unsafe.SliceData(data))), size), values)
				return nil
			})
		} else {
			err = WriteSlice(s, shape, values[:size])
		}
		if err != nil {
			return err
		}
	}
}

func TestStress(t *testing.T) {
	for _, size := range []int{24, 4 << 10, 1 << 20, 8 << 20} {
		t.Run(fmt.Sprintf("%dB", size), func(t *testing.T) {
			t.Parallel()
			n := size / 8
			s := newSegment(t, size)
			// Each reader goes on for this long, and until it has read something.
			enough := time.Now().Add(stressTime(t))
			ctx, cancel := context.WithTimeout(context.Background(), stressTime(t)+time.Minute)
			defer cancel()
			buf := make([]byte, size)
			last := uint64(0)
			readers := map[string]func() (Tensor, error){
				"Read":     s.Read,
				"TryRead":  s.TryRead,
				"ReadCopy": func() (Tensor, error) { return s.ReadCopy(ctx) },
				"ReadInto": func() (Tensor, error) { return s.ReadInto(buf) },
				"ReadWait": func() (Tensor, error) { return s.ReadWait(ctx) },
				"Next":     func() (Tensor, error) { t, err := s.Next(ctx, last); last = t.Version(); return t, err },
				"NextInto": func() (Tensor, error) { return s.NextInto(ctx, s.Version(), make([]byte, size)) },
			}
			var wg sync.WaitGroup
			for name, read := range readers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					good, version := 0, uint64(0)
					for time.Now().Before(enough) || good == 0 && name != "TryRead" {
						got, err := read()
						if errors.Is(err, ErrEmpty) || err == ErrBusy {
							continue
						}
						if err == nil {
							err = checkStress(&got, n)
						}
						if err != nil {
							t.Errorf("%s: %v", name, err)
							return
						}
						if got.Version() < version {
							t.Errorf("%s: version %d after %d", name, got.Version(), version)
							return
						}
						version = got.Version()
						good++
					}
				}()
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				version := uint64(0)
				for got, err := range s.Frames(ctx) {
					if err != nil {
						t.Errorf("Frames: %v", err)
						return
					}
					if err := checkStress(&got, n); err != nil {
						t.Errorf("Frames: %v", err)
						return
					}
					if got.Version() <= version {
						t.Errorf("Frames: version %d after %d", got.Version(), version)
					}
					if version = got.Version(); time.Now().After(enough) {
						return
					}
				}
			}()
			stop := make(chan struct{})
			wrote := make(chan error)
			go func() { wrote <- stressWriter(s, n, stop) }()
			wg.Wait()
			close(stop)
			if err := <-wrote; err != nil {
				t.Errorf("writing: %v", err)
			}
			t.Logf("%d commits", s.Version()/2)
		})
	}
}

// Readers finish, many times over, under a writer that never pauses.
func TestReadersFinish(t *testing.T) {
	const size = 1 << 20
	s := newSegment(t, size)
	data := make([]byte, size)
	if err := s.Write([]int{size}, Uint8, data); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Add(1)
	go func() {
		defer writer.Done()
		for {
			select {
			case <-stop:
				return
			default:
				if err := s.Write([]int{size}, Uint8, data); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	for name, read := range reads {
		if name == "TryRead" {
			continue
		}
		var longest time.Duration
		for range 100 {
			start := time.Now()
			if _, err := read(s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			longest = max(longest, time.Since(start))
		}
		t.Logf("%s: the longest of 100 took %v", name, longest)
	}
	close(stop)
	writer.Wait()
}

// Two goroutines hand a turn back and forth, each parked until the other's commit: one lost wake, and both sleep.
func TestNoLostWake(t *testing.T) {
	a, b := newSegment(t, 8), newSegment(t, 8)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const rounds = 50000
	// Round i of a is version 2i+2 of it; b answers with the same version of its own.
	done := make(chan error)
	go func() {
		for i := range uint64(rounds) {
			if _, err := a.Next(ctx, 2*i); err != nil {
				done <- fmt.Errorf("b, round %d: %w", i, err)
				return
			}
			if err := b.Fill([]int{1}, Uint8, 1); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for i := range uint64(rounds) {
		if err := a.Fill([]int{1}, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Next(ctx, 2*i); err != nil {
			t.Errorf("a, round %d: %v", i, err)
			break
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOneCommitWakesAll(t *testing.T) {
	s := newSegment(t, 8)
	const readers = 10000
	var parked, woken sync.WaitGroup
	var failed atomic.Int32
	for range readers {
		parked.Add(1)
		woken.Add(1)
		go func() {
			defer woken.Done()
			parked.Done()
			if got, err := s.ReadWait(context.Background()); err != nil || got.Version() != 2 {
				failed.Add(1)
			}
		}()
	}
	parked.Wait()
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	if err := s.Fill([]int{1}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	woken.Wait()
	t.Logf("%d parked readers were awake %v after the commit", readers, time.Since(start))
	if n := failed.Load(); n != 0 {
		t.Errorf("%d of %d readers failed", n, readers)
	}
}

func TestWaitEnds(t *testing.T) {
	for name, wait := range map[string]func(*Segment, context.Context) error{
		"ReadWait":     func(s *Segment, ctx context.Context) error { _, err := s.ReadWait(ctx); return err },
		"ReadCopyWait": func(s *Segment, ctx context.Context) error { _, err := s.ReadCopyWait(ctx); return err },
		"Next":         func(s *Segment, ctx context.Context) error { _, err := s.Next(ctx, 2); return err },
		"Frames": func(s *Segment, ctx context.Context) (err error) {
			for _, err = range s.Frames(ctx) {
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, end := range []struct {
				name string
				end  func(*Segment, context.CancelFunc)
				want error
			}{
				{"cancel", func(_ *Segment, cancel context.CancelFunc) { cancel() }, context.Canceled},
				{"Close", func(s *Segment, _ context.CancelFunc) { _ = s.Close() }, ErrClosed},
			} {
				s := newSegment(t, 8)
				if strings.HasPrefix(name, "Next") || name == "Frames" { // these wait for the next even where there is one
					if err := s.Fill([]int{1}, Uint8, 1); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error)
				go func() { done <- wait(s, ctx) }()
				time.Sleep(10 * time.Millisecond)
				end.end(s, cancel)
				select {
				case err := <-done:
					if !errors.Is(err, end.want) {
						t.Errorf("%s: %v, want %v", end.name, err, end.want)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("%s did not end the wait", end.name)
				}
				cancel()
			}
			// An ended context ends the call even where there is something to read.
			s := newSegment(t, 8)
			if err := s.Fill([]int{1}, Uint8, 1); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 0)
			defer cancel()
			if err := wait(s, ctx); err != context.DeadlineExceeded {
				t.Errorf("an ended context: %v", err)
			}
		})
	}
}
