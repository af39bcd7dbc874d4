//go:build cgo

package judemap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// reopenStream opens the stream once more, as another process would.
func reopenStream(t testing.TB, s *Stream, opts ...Option) *Stream {
	t.Helper()
	other, err := OpenStream(s.Name(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.CloseWait() })
	return other
}

// policies runs a test for named streams of both policies.
func policies(t *testing.T, test func(t *testing.T, every bool, opts ...Option)) {
	if t.Run("newest", func(t *testing.T) { test(t, false) }) { // else what hangs would do so again
		t.Run("every frame", func(t *testing.T) { test(t, true, WithEveryFrame()) })
	}
}

// A role of streams gets its stream as its first argument: a name, or "-" for the first file after the standard ones.
func streamRole(role func(s *Stream, args []string) error, opts ...Option) func(*Segment, []string) error {
	return func(_ *Segment, args []string) (err error) {
		var s *Stream
		if args[0] == "-" {
			s, err = OpenStreamFile(passedFile(), opts...)
		} else {
			s, err = OpenStream(args[0], opts...)
		}
		if err != nil {
			return err
		}
		return role(s, args[1:])
	}
}

// startStreamRole runs this binary in a role of streams.
func startStreamRole(t testing.TB, role string, args ...string) *process {
	t.Helper()
	return startRole(t, role, append([]string{"--"}, args...)...)
}

// streamWriter commits frames of at most n elements, as stressWriter does tensors, so many, or for ever.
func streamWriter(ctx context.Context, s *Stream, n, commits int) error {
	again := errors.New("what a dead writer left was a frame")
	values := make([]int64, n)
	for i := 0; commits == 0 || i < commits; {
		version := s.Version() + 2
		shape := stressShape(version, n)
		size := 1
		for _, d := range shape {
			size *= d
		}
		for k := range size {
			values[k] = element(version, k)
		}
		var err error
		if i%2 == 1 { // s is the writer, and nobody else commits
			err = StreamSlice(ctx, s, shape, values[:size])
		} else {
			err = s.Update(ctx, shape, Int64, func(data []byte) error {
				if s.Version()+2 != version {
					return again
				}
				copy(unsafe.Slice((*int64)(unsafe.Pointer(unsafe.SliceData(data))), size), values)
				return nil
			})
		}
		if err == again {
			continue
		}
		if err != nil {
			return err
		}
		i++
	}
	return nil
}

// checkFrame says how a frame that is held differs from that of its version.
func checkFrame(t *Tensor, n int) error {
	if want := stressShape(t.Version(), n); !slices.Equal(t.Shape(), want) {
		return fmt.Errorf("version %d has shape %v, want %v", t.Version(), t.Shape(), want)
	}
	values, err := Slice[int64](t)
	if err != nil {
		return err
	}
	for i, v := range values {
		if v != element(t.Version(), i) {
			return fmt.Errorf("version %d changed, valid %v: element %d of %d is %#x, want %#x", t.Version(), t.Valid(), i,
				len(values), v, element(t.Version(), i))
		}
	}
	if !t.Valid() {
		return fmt.Errorf("version %d is held, and not valid", t.Version())
	}
	return nil
}

// streamReader reads frames, keeps so many of them, and checks all, until it has seen a version (0: until ctx ends). A dead
// writer is no error. frames counts.
func streamReader(ctx context.Context, s *Stream, n, held int, until uint64, seen func(uint64)) error {
	r, err := s.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	kept := make([]Tensor, held)
	last, missed := uint64(0), uint64(0)
	for frames := 0; until == 0 || last < until; frames++ {
		t, err := r.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrWriterDied):
			time.Sleep(time.Millisecond)
			frames--
			continue
		case err != nil:
			return err
		}
		if err := checkFrame(&t, n); err != nil {
			return err
		}
		if last != 0 {
			missed += (t.Version()-last)/2 - 1
		} else {
			missed = r.Missed()
		}
		if t.Version() <= last || r.Missed() != missed || s.EveryFrame() && missed != 0 {
			return fmt.Errorf("version %d after %d, missed %d, and says %d", t.Version(), last, missed, r.Missed())
		}
		last = t.Version()
		if seen != nil {
			seen(last)
		}
		if held == 0 {
			continue
		}
		oldest := &kept[frames%held]
		if oldest.Version() != 0 {
			if err := checkFrame(oldest, n); err != nil {
				return err
			}
			oldest.Release()
		}
		*oldest = t
		oldest.Keep()
	}
	for i := range kept {
		if kept[i].Version() != 0 {
			if err := checkFrame(&kept[i], n); err != nil {
				return err
			}
		}
	}
	return nil
}

func init() {
	// stream-write STREAM ELEMENTS COMMITS, and stream-read STREAM ELEMENTS VERSION HELD: as those of testdata/peer.
	roles["stream-write"] = streamRole(func(s *Stream, args []string) error {
		return streamWriter(context.Background(), s, number(args[0]), number(args[1]))
	})
	roles["stream-read"] = streamRole(func(s *Stream, args []string) error {
		return streamReader(context.Background(), s, number(args[0]), number(args[2]), uint64(number(args[1])), nil)
	})
	// stream-half STREAM commits a frame, begins another, and stays in it.
	roles["stream-half"] = streamRole(func(s *Stream, _ []string) error {
		if err := s.Fill(context.Background(), []int{4}, Uint8, 1); err != nil {
			return err
		}
		return s.Update(context.Background(), []int{4}, Uint8, func(data []byte) error { data[0] = 9; select {} })
	})
	// stream-idle STREAM commits a frame, and stays.
	roles["stream-idle"] = streamRole(func(s *Stream, _ []string) error {
		if err := s.Fill(context.Background(), []int{4}, Uint8, 1); err != nil {
			return err
		}
		select {}
	})
	// stream-hold STREAM FRAMES takes and keeps so many frames, and stays.
	roles["stream-hold"] = streamRole(func(s *Stream, args []string) error {
		r, err := s.Reader()
		if err != nil {
			return err
		}
		for range number(args[0]) {
			t, err := r.Next(context.Background())
			if err != nil {
				return err
			}
			t.Keep()
		}
		if _, err := r.Next(context.Background()); err != nil { // never comes
			return err
		}
		select {}
	})
	// stream-echo STREAM BACK commits to BACK for each frame of STREAM.
	echo := streamRole(func(s *Stream, args []string) error {
		back, err := OpenStream(args[0])
		if err != nil {
			return err
		}
		r, err := s.Reader()
		if err != nil {
			return err
		}
		if err := back.Fill(context.Background(), nil, Uint8, 0); err != nil { // it is there
			return err
		}
		for {
			t, err := r.Next(context.Background())
			if err != nil {
				return err
			}
			if err := back.Fill(context.Background(), nil, Uint8, float64(t.Data()[0])); err != nil {
				return err
			}
		}
	})
	roles["stream-echo"] = echo
}

// Who opened a stream for reading gets copies where the newest wins, and the reason where every frame counts.
func TestStreamCopies(t *testing.T) {
	ctx := context.Background()
	s := namedStream(t, 3, 64)
	looks := reopenStream(t, s, WithReadOnly(), WithMaxBytes(8))
	for call, err := range map[string]error{
		"Write":  looks.Write(ctx, nil, Uint8, []byte{1}),
		"Fill":   looks.Fill(ctx, nil, Uint8, 1),
		"Update": looks.Update(ctx, nil, Uint8, func([]byte) error { return nil }),
	} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v, want fs.ErrPermission", call, err)
		}
	}
	if err := s.Fill(ctx, nil, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	r := newTestReader(t, looks) // what came before is not its
	if _, err := r.Next(briefly(t)); err != context.DeadlineExceeded {
		t.Errorf("Next of nothing new: %v", err)
	}
	var frames []Tensor
	for i := range 3 {
		for range i + 1 {
			if err := s.Fill(ctx, []int{8}, Uint8, float64(i)); err != nil {
				t.Fatal(err)
			}
		}
		f := mustNext(t, r)
		f.Keep()
		if i == 1 {
			f.Release()
		}
		frames = append(frames, f)
	}
	for i, f := range frames {
		if bytes.Count(f.Data(), []byte{byte(i)}) != 8 || !f.Valid() || slotOf(looks, &f) >= 0 {
			t.Errorf("frame %d: %v, valid %v", i, f.Data(), f.Valid())
		}
	}
	if r.Missed() != 3 || len(s.Readers()) != 0 {
		t.Errorf("missed %d; readers %+v", r.Missed(), s.Readers())
	}
	if !strings.HasPrefix(looks.String(), "read-only stream") {
		t.Errorf("%v", looks)
	}
	if got := looks.Stats(); got.Reads != 3 {
		t.Errorf("%+v", got)
	}
	if err := s.Fill(ctx, []int{9}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(ctx); !errors.Is(err, ErrCapacity) || !strings.Contains(err.Error(), "9 ") || !strings.Contains(err.Error(), "8 ") {
		t.Errorf("more than WithMaxBytes: %v, want ErrCapacity with both numbers", err)
	}
	_ = r.Close()
	if _, err := r.Next(ctx); err != ErrClosed {
		t.Errorf("Next of a closed Reader: %v", err)
	}

	every := namedStream(t, 3, 64, WithEveryFrame())
	if _, err := reopenStream(t, every, WithReadOnly()).Reader(); !errors.Is(err, ErrUnsupported) ||
		!strings.Contains(err.Error(), "read-only") || !strings.Contains(err.Error(), "every frame") {
		t.Errorf("a reader that can't be waited for: %v, want ErrUnsupported that says why", err)
	}
	if err := every.Fill(ctx, []int{2}, Uint8, 4); err != nil {
		t.Fatal(err)
	}
	if f, err := reopenStream(t, every, WithReadOnly()).ReadCopy(ctx); err != nil || string(f.Data()) != "\x04\x04" {
		t.Errorf("ReadCopy, which needs no place: %v, %v", f, err)
	}
}

// Close of a Reader, or of its Stream, ends its wait, in whatever way it waits and however seldom it would look.
func TestStreamReaderCloseAcrossProcesses(t *testing.T) {
	inBothWays(t, func(t *testing.T) {
		s := namedStream(t, 3, 64)
		for name, opts := range map[string][]Option{
			"with a place": nil,
			"read-only":    {WithReadOnly(), WithPollInterval(time.Hour)},
		} {
			for what, end := range map[string]func(*Stream, *Reader){
				"Reader.Close": func(_ *Stream, r *Reader) { _ = r.Close() },
				"Stream.Close": func(s *Stream, _ *Reader) { _ = s.Close() },
			} {
				for i := range 30 {
					other := reopenStream(t, s, opts...)
					r := newTestReader(t, other)
					done := make(chan error, 1)
					go func() { _, err := r.Next(context.Background()); done <- err }()
					eventually(t, "a parked reader", func() bool { return other.waiters.parkedReaders() == 1 })
					if i%3 == 0 {
						time.Sleep(time.Millisecond)
					}
					end(other, r)
					within(t, name+": "+what, func() {
						if err := <-done; err != ErrClosed {
							t.Errorf("%s, %s: %v, want ErrClosed", name, what, err)
						}
					})
					_ = other.CloseWait()
				}
			}
		}
	})
}

// Go and C++ processes share a stream, in both directions, by name and by descriptor, with frames in hand.
func TestStreamProcesses(t *testing.T) {
	const elements, versions, held = 4 << 10, 2000, 2
	for _, kind := range []string{"named", "sealed"} {
		for _, pair := range [][2]string{{"Go", "Go"}, {"Go", "C++"}, {"C++", "Go"}, {"C++", "C++"}} {
			t.Run(kind+", "+pair[0]+" to "+pair[1], func(t *testing.T) {
				policies(t, func(t *testing.T, every bool, opts ...Option) {
					const slots = 2*(held+1) + 2
					var s *Stream
					name, files := "-", []*os.File(nil)
					if kind == "named" {
						s = namedStream(t, slots, 8*elements, opts...)
						name = s.Name()
					} else {
						s = newTestStream(t, slots, 8*elements, append(opts, WithSealed())...)
						file, err := s.File()
						if err != nil {
							t.Fatal(err)
						}
						defer file.Close()
						files = []*os.File{file}
					}
					command := func(language, role string, args ...string) *process {
						args = append([]string{name, strconv.Itoa(elements)}, args...)
						if language == "C++" {
							return start(t, peer(t, append([]string{role}, args...)...), files...)
						}
						return start(t, roleCommand(role, append([]string{"--"}, args...)...), files...)
					}
					reader := command(pair[1], "stream-read", strconv.Itoa(versions), strconv.Itoa(held))
					eventually(t, "a reader", func() bool { return len(s.Readers()) == 1 })
					writer := command(pair[0], "stream-write", "0")
					if err := streamReader(context.Background(), s, elements, held, versions, nil); err != nil {
						t.Errorf("reading in the test's process: %v", err)
					}
					if err := reader.Wait(); err != nil {
						t.Errorf("reading: %v\n%s", err, reader.output.String())
					}
					writer.kill(t)
				})
			})
		}
	}
}

// Two processes hand a turn back and forth, each parked until the other's commit. A parked reader looks up every 40 ms by
// itself: were it not woken, the rounds would take 20 s. It is the same with readers that spin before they park.
func TestStreamWakesAtOnce(t *testing.T) {
	for name, opts := range map[string][]Option{"parks": nil, "spins": {WithSpin(20 * time.Microsecond)}} {
		t.Run(name, func(t *testing.T) {
			inBothWays(t, func(t *testing.T) {
				const rounds = 500
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				ping, pong := namedStream(t, 3, 8, opts...), namedStream(t, 3, 8, append(opts, WithEveryFrame())...)
				r := newTestReader(t, pong)
				other := startStreamRole(t, "stream-echo", ping.Name(), pong.Name())
				if _, err := r.Next(ctx); err != nil {
					t.Fatalf("%v\n%s", err, other.output.String())
				}
				for i := range rounds {
					if err := ping.Fill(ctx, nil, Uint8, float64(i%256)); err != nil {
						t.Fatal(err)
					}
					f, err := r.Next(ctx)
					if err != nil || f.Data()[0] != byte(i) {
						t.Fatalf("round %d: %v, %v", i, f, err)
					}
				}
				other.kill(t)
			})
		})
	}
}

// A writer and a reader that wait for each other all the time, in two processes: the writer for the one slot that is free,
// the reader for the one frame. Were a wake lost, a round would take 40 ms.
func TestStreamWaitsForSlotAcrossProcesses(t *testing.T) {
	const elements, versions = 16, 4000
	for _, language := range []string{"Go", "C++"} {
		t.Run(language, func(t *testing.T) {
			inBothWays(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				s := namedStream(t, 2, 8*elements, WithEveryFrame())
				args := []string{s.Name(), strconv.Itoa(elements), strconv.Itoa(versions), "0"}
				var reader *process
				if language == "C++" {
					reader = start(t, peer(t, append([]string{"stream-read"}, args...)...))
				} else {
					reader = startStreamRole(t, "stream-read", args...)
				}
				eventually(t, "a reader", func() bool { return len(s.Readers()) == 1 })
				began := time.Now()
				if err := streamWriter(ctx, s, elements, versions/2); err != nil {
					t.Fatalf("%v\n%s", err, reader.output.String())
				}
				if err := reader.Wait(); err != nil {
					t.Errorf("%v\n%s", err, reader.output.String())
				}
				t.Logf("%v a frame", time.Since(began)/(versions/2))
			})
		})
	}
}

// Next allocates nothing, also where it parks and another process wakes it: with its thread, which testing.AllocsPerRun would
// have it not, for want of a second processor.
func TestStreamParkingAllocations(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("SKIP: one processor, where a wait takes a channel")
	}
	ping, pong := namedStream(t, 3, 8), namedStream(t, 3, 8)
	r := newTestReader(t, pong)
	other := startStreamRole(t, "stream-echo", ping.Name(), pong.Name())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := r.Next(ctx); err != nil {
		t.Fatal(err)
	}
	shape, data := []int{1}, []byte{1}
	turn := func() {
		if err := ping.Write(ctx, shape, Uint8, data); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	parks := func() uint64 { return pong.Stats().Parks }
	for parks() < 10 {
		turn()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const waits = 500
	rounds := 0
	for end := parks() + waits; parks() < end; rounds += waits { // to ask takes an allocation
		for range waits {
			turn()
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > waits/10 { // some are other goroutines'
		t.Errorf("%d rounds, in at least %d of which Next parked, took %d allocations", rounds, waits, n)
	}
	other.kill(t)
}

// The writer's death is known to those that wait, and to those that come later, and ends nothing that is held. The next
// writer goes on with the next frame; of a frame that was not committed nobody sees anything.
func TestStreamWriterDies(t *testing.T) {
	inBothWays(t, func(t *testing.T) {
		policies(t, func(t *testing.T, every bool, opts ...Option) {
			for _, role := range []string{"stream-idle", "stream-half"} {
				s := namedStream(t, 3, 64, opts...)
				r := newTestReader(t, s)
				looks := reopenStream(t, s, WithReadOnly())
				writer := startStreamRole(t, role, s.Name())
				held := mustNext(t, r)
				held.Keep()
				if err := s.Fill(context.Background(), nil, Uint8, 1); err != ErrWriterActive {
					t.Errorf("writing beside another writer: %v, want ErrWriterActive", err)
				}
				time.Sleep(20 * time.Millisecond) // into the other frame
				readers := []*Reader{r}
				if !every {
					readers = append(readers, newTestReader(t, looks))
				}
				died := make(chan error, len(readers))
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				for _, r := range readers {
					go func() { _, err := r.Next(ctx); died <- err }()
				}
				eventually(t, "a parked reader", func() bool { return s.waiters.parkedReaders() == 1 })
				time.Sleep(20 * time.Millisecond)
				writer.kill(t)
				killed := time.Now()
				for range readers {
					if err := <-died; err != ErrWriterDied {
						t.Errorf("%s: %v, want ErrWriterDied", role, err)
					}
				}
				if took := time.Since(killed); took > time.Second {
					t.Errorf("%s: known after %v", role, took)
				} else {
					t.Logf("%s: known after %v", role, took)
				}
				if _, err := r.Next(ctx); err != ErrWriterDied {
					t.Errorf("%s, later: %v, want ErrWriterDied", role, err)
				}
				if s.Writer() != WriterDied || looks.Writer() != WriterDied {
					t.Errorf("%s: the writers %v and %v", role, s.Writer(), looks.Writer())
				}
				for i := range 5 {
					if err := s.Fill(ctx, []int{2}, Uint8, float64(i)); err != nil {
						t.Fatal(err)
					}
					if f := mustNext(t, r); f.Version() != uint64(4+2*i) || string(f.Data()) != string([]byte{byte(i), byte(i)}) {
						t.Errorf("%s: after the takeover frame %d is %v with %v", role, i, f, f.Data())
					}
				}
				if string(held.Data()) != "\x01\x01\x01\x01" || !held.Valid() || r.Missed() != 0 {
					t.Errorf("%s: what was held is %v, valid %v; missed %d", role, held.Data(), held.Valid(), r.Missed())
				}
			}
		})
	})
}

// A reader that is killed with all slots in hand holds a writer up for 100 ms at most.
func TestStreamReaderDies(t *testing.T) {
	inBothWays(t, func(t *testing.T) {
		policies(t, func(t *testing.T, every bool, opts ...Option) {
			const slots = 4
			s := namedStream(t, slots, 64, opts...)
			var longest time.Duration
			for round := range 5 {
				reader := startStreamRole(t, "stream-hold", s.Name(), strconv.Itoa(slots-1))
				for i := range slots - 1 {
					eventually(t, "the reader has them", func() bool {
						infos := s.Readers()
						return len(infos) == 1 && infos[0].Held == i && infos[0].Process == reader.Process.Pid
					})
					if err := s.Fill(context.Background(), nil, Uint8, 1); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "the last one", func() bool { return s.Readers()[0].Held == slots-1 })
				if err := s.Fill(context.Background(), nil, Uint8, 1); err != nil {
					t.Fatal(err)
				}
				err := s.Fill(briefly(t), nil, Uint8, 1)
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", reader.Process.Pid)) {
					t.Errorf("with all slots held: %v, want the context's end, naming the process", err)
				}
				before := s.Version()
				reader.kill(t)
				killed := time.Now()
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if round == 0 {
					if infos := s.Readers(); len(infos) != 1 || !infos[0].Dead || infos[0].Held < slots-1 {
						t.Errorf("after its death: %+v", infos)
					}
				}
				if err := s.Fill(ctx, nil, Uint8, 1); err != nil {
					t.Fatal(err)
				}
				longest = max(longest, time.Since(killed))
				if s.Version() != before+2 || len(s.Readers()) != 0 {
					t.Errorf("version %d after %d, readers %+v", s.Version(), before, s.Readers())
				}
			}
			t.Logf("at most %v after the death", longest)
			if longest > 500*time.Millisecond { // 100 ms, and what a busy machine takes
				t.Errorf("a dead reader held the writer up for %v", longest)
			}
		})
	})
}

// Readers that come and go leave no descriptor, thread or place.
func TestStreamLeavesNothing(t *testing.T) {
	eventually(t, "no parker is left from other tests", func() bool { return parkerThreads() == 0 })
	policies(t, func(t *testing.T, every bool, opts ...Option) {
		s := namedStream(t, 4, 64, opts...)
		if err := s.Fill(context.Background(), nil, Uint8, 1); err != nil { // the writer's descriptor
			t.Fatal(err)
		}
		files := descriptors(t)
		for range 50 {
			other := reopenStream(t, s)
			var readers []*Reader
			for range 3 {
				readers = append(readers, newTestReader(t, other))
			}
			if err := s.Fill(context.Background(), nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
			for _, r := range readers {
				f := mustNext(t, r)
				f.Keep()
				if _, err := r.Next(func() context.Context { ctx, cancel := context.WithCancel(context.Background()); cancel(); return ctx }()); err == nil {
					t.Error("a frame that nobody committed")
				}
			}
			_ = readers[0].Close()
			_ = other.CloseWait()
			if infos := s.Readers(); len(infos) != 0 {
				t.Fatalf("readers %+v", infos)
			}
		}
		eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= files })
	})
}
