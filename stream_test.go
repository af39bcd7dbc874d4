package judemap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap/internal/layout"
)

// newTestStream makes a stream that is closed with the test: private, or with sealed a file's.
func newTestStream(t testing.TB, slots, capacity int, opts ...Option) *Stream {
	t.Helper()
	s, err := NewStream(slots, capacity, opts...)
	if errors.Is(err, ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// newTestReader makes a reader that is closed with the test.
func newTestReader(t testing.TB, s *Stream) *Reader {
	t.Helper()
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// bothPolicies runs a test for streams where the newest wins, and where every frame counts, private and shared.
func bothPolicies(t *testing.T, test func(t *testing.T, every bool, opts ...Option)) {
	for _, every := range []bool{false, true} {
		for _, sealed := range []bool{false, true} {
			ok := t.Run(fmt.Sprintf("every=%v/shared=%v", every, sealed), func(t *testing.T) {
				var opts []Option
				if every {
					opts = append(opts, WithEveryFrame())
				}
				if sealed {
					needSharing(t)
					opts = append(opts, WithSealed())
				}
				test(t, every, opts...)
			})
			if !ok {
				return // what hangs would do so four times
			}
		}
	}
}

func needSharing(t testing.TB) {
	t.Helper()
	s, err := New(1, WithSealed())
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

func TestStreamFrames(t *testing.T) {
	ctx := context.Background()
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 4, 64, opts...)
		r := newTestReader(t, s)
		write := func(v int32) {
			t.Helper()
			if err := StreamSlice(ctx, s, []int{2}, []int32{v, -v}); err != nil {
				t.Fatal(err)
			}
		}
		next := func(want int32) Tensor {
			t.Helper()
			frame, err := r.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Slice[int32](&frame)
			if err != nil || len(got) != 2 || got[0] != want || got[1] != -want || frame.Version() != 2*uint64(want) {
				t.Fatalf("frame %v with %v (%v), want %d", frame, got, err, want)
			}
			return frame
		}
		write(1)
		first := next(1)
		first.Keep()
		write(2)
		write(3)
		want := int32(2)
		if !every {
			want = 3
		}
		second := next(want)
		if got, _ := Slice[int32](&first); got[0] != 1 || !first.Valid() || !second.Valid() {
			t.Errorf("the kept frame has %v, valid %v", got, first.Valid())
		}
		if every {
			next(3)
		}
		first.Release()
		first.Release()
		write(4)
		write(5)
		if missed := r.Missed(); missed != map[bool]uint64{false: 1, true: 0}[every] {
			t.Errorf("missed %d", missed)
		}
	})
}

func TestStreamNoSlot(t *testing.T) {
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 3, 64, opts...)
		r := newTestReader(t, s)
		write := func(timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			return s.Fill(ctx, []int{8}, Uint8, 1)
		}
		for range 2 {
			if err := write(time.Minute); err != nil {
				t.Fatal(err)
			}
			frame, err := r.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			frame.Keep()
		}
		if err := write(time.Minute); err != nil {
			t.Fatal(err)
		}
		err := write(20 * time.Millisecond)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("with all slots held: %v", err)
		}
		t.Log(err)
		time.AfterFunc(20*time.Millisecond, func() { _ = r.Close() })
		if err := write(time.Minute); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStreamClose(t *testing.T) {
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		for _, what := range []string{"stream", "reader"} {
			s := newTestStream(t, 3, 64, opts...)
			var wg sync.WaitGroup
			var readers []*Reader
			for range 3 {
				r := newTestReader(t, s)
				readers = append(readers, r)
				wg.Go(func() {
					if _, err := r.Next(context.Background()); err != ErrClosed {
						t.Errorf("Next while the %s is closed: %v", what, err)
					}
				})
			}
			time.Sleep(10 * time.Millisecond)
			if what == "stream" {
				if err := s.CloseWait(); err != nil {
					t.Error(err)
				}
			} else {
				for _, r := range readers {
					_ = r.Close()
				}
			}
			wg.Wait()
		}
	})
}

// What a reader of a stream holds never changes: each element derives from the version.
func TestStreamStress(t *testing.T) {
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		const readers, frames, elements = 3, 2000, 512
		s := newTestStream(t, readers+2, 8*elements, opts...)
		var wg sync.WaitGroup
		for range readers {
			r := newTestReader(t, s)
			wg.Go(func() {
				last := uint64(0)
				for frame, err := range r.Frames(context.Background()) {
					if err != nil {
						t.Error(err)
						return
					}
					if v := frame.Version(); v <= last || every && v != last+2 {
						t.Errorf("version %d after %d", v, last)
						return
					}
					last = frame.Version()
					values, err := Slice[uint64](&frame)
					if err != nil {
						t.Error(err)
						return
					}
					for i, v := range values {
						if v != last*elements+uint64(i) {
							t.Errorf("frame %d has %d at %d", last, v, i)
							return
						}
					}
					if last == 2*frames {
						return
					}
				}
			})
		}
		version := uint64(0)
		for range frames {
			err := s.Update(context.Background(), []int{elements}, Uint64, func(data []byte) error {
				version += 2
				for i, values := 0, unsafe.Slice((*uint64)(unsafe.Pointer(&data[0])), elements); i < len(values); i++ {
					values[i] = version*elements + uint64(i)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
	})
}

func TestStreamAllocations(t *testing.T) {
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 4, 64, opts...)
		r := newTestReader(t, s)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		data, shape := make([]byte, 64), []int{64}
		allocations := testing.AllocsPerRun(1000, func() {
			if err := s.Write(ctx, shape, Uint8, data); err != nil {
				t.Fatal(err)
			}
			frame, err := r.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			frame.Keep()
			frame.Release()
		})
		if allocations != 0 {
			t.Errorf("a frame takes %v allocations", allocations)
		}
	})
}

func TestOpenOrCreateStream(t *testing.T) {
	name := uniqueName()
	s, err := OpenOrCreateStream(name, 4, 64)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer Remove(name)
	defer s.Close()
	for _, test := range []struct {
		what            string
		slots, capacity int
		opts            []Option
		want            error
	}{
		{"the same", 4, 64, nil, nil},
		{"less", 2, 1, nil, nil},
		{"more slots", 5, 64, nil, ErrCapacity},
		{"more room", 4, 65, nil, ErrCapacity},
		{"no room", 4, 0, nil, ErrCapacity},
		{"one slot", 1, 64, nil, ErrCapacity},
		{"another policy", 4, 64, []Option{WithEveryFrame()}, fs.ErrInvalid},
		{"an option of others", 4, 64, []Option{WithForeignWriters()}, fs.ErrInvalid},
	} {
		other, err := OpenOrCreateStream(name, test.slots, test.capacity, test.opts...)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.what, err)
		}
		if err == nil {
			_ = other.Close()
		}
	}
	if _, err := Open(name); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Open of a stream: %v", err)
	}
}

// ReadCopy gives the newest frame, as a copy that later frames leave alone, to who has no place, and where every frame counts
// it holds up nobody.
func TestStreamReadCopy(t *testing.T) {
	ctx := context.Background()
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 2, 64, append(opts, WithMaxBytes(8))...)
		if _, err := s.ReadCopy(ctx); err != ErrEmpty {
			t.Fatalf("nothing was committed: %v", err)
		}
		var first Tensor
		for i := range int32(5) {
			if err := StreamSlice(ctx, s, []int{2}, []int32{i, -i}); err != nil {
				t.Fatal(err)
			}
			frame, err := s.ReadCopy(ctx)
			if err != nil || frame.Version() != uint64(2*i+2) || !frame.Valid() {
				t.Fatalf("frame %d: %v, %v", i, frame, err)
			}
			if got, err := Slice[int32](&frame); err != nil || got[0] != i || got[1] != -i {
				t.Fatalf("frame %d: %v, %v", i, got, err)
			}
			if i == 0 {
				first = frame
			}
		}
		if got, err := Slice[int32](&first); err != nil || got[0] != 0 || got[1] != 0 {
			t.Errorf("the first copy is now %v, %v", got, err)
		}
		if got := s.Readers(); len(got) != 0 {
			t.Errorf("readers %v", got)
		}
		if err := s.Fill(ctx, []int{9}, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReadCopy(ctx); !errors.Is(err, ErrCapacity) {
			t.Errorf("a frame of 9 bytes where a copy has 8: %v", err)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.ReadCopy(ended); err != context.Canceled {
			t.Errorf("after the context's end: %v", err)
		}
		_ = s.Close()
		if _, err := s.ReadCopy(ctx); err != ErrClosed {
			t.Errorf("after Close: %v", err)
		}
		if _, err := new(Stream).ReadCopy(ctx); err != ErrClosed {
			t.Errorf("of the zero Stream: %v", err)
		}
	})
}

// streamMemory returns the whole stream, its header and all slots.
func streamMemory(s *Stream) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(s.mapping.header)), s.mapping.core.bytes())
}

// slotMemory returns a slot, its header and room.
func slotMemory(s *Stream, i int) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(s.mapping.core.slot(i))), DataOffset+s.capacity)
}

// slotOf returns the slot whose data a frame is.
func slotOf(s *Stream, frame *Tensor) int {
	for i := range s.Slots() {
		if s.Slot(i) == frame.DataPtr() {
			return i
		}
	}
	return -1
}

// mustNext returns the next frame of a reader that has one.
func mustNext(t testing.TB, r *Reader) Tensor {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	frame, err := r.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// briefly returns a context that ends before a test does, and after what can be done at once.
func briefly(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// commit writes a frame into a stream, in one of the ways, for step i.
func (g goldenStep) commit(t *testing.T, s *Stream, way int) {
	t.Helper()
	ctx := context.Background()
	dtype, err := ParseDType(g.DType)
	if err != nil {
		t.Fatal(err)
	}
	data := g.data(t, dtype)
	switch {
	case g.Op == "fill" && way == 0:
		err = s.Fill(ctx, g.Shape, dtype, g.Value)
	case way == 0:
		err = s.Write(ctx, g.Shape, dtype, data)
	default:
		err = s.Update(ctx, g.Shape, dtype, func(to []byte) error { copy(to, data); return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A slot holds to the byte what a segment would: the steps of the Node addon's dumps leave the same metadata and data in
// the slot of the frame that they end with, and the slot reads as a segment in every way.
func TestStreamGolden(t *testing.T) {
	for _, file := range goldenFiles(t) {
		if len(file.Steps) == 0 {
			continue
		}
		dump, err := os.ReadFile(filepath.Join("testdata", "golden", file.File))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(file.File, func(t *testing.T) {
			bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
				for way := range 2 {
					s := newTestStream(t, 2, file.Capacity, opts...)
					for _, step := range file.Steps {
						step.commit(t, s, way)
					}
					s2, err := s.ReadCopy(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					slot := -1
					for i := range s.Slots() {
						if binary.LittleEndian.Uint64(slotMemory(s, i)) == s.Version() {
							slot = i
						}
					}
					if slot < 0 {
						t.Fatal("no slot has the newest frame")
					}
					got := append([]byte{}, slotMemory(s, slot)...)
					length := DataOffset + len(s2.Data())
					// A slot has data of older frames behind the frame's; a dump has that of other frames there.
					if diff := cmp.Diff(dump[:length], got[:length]); diff != "" {
						t.Errorf("way %d: bytes (-the addon's +ours):\n%s", way, diff)
					}
					segment := newSegment(t, file.Capacity)
					copy(memory(segment), got)
					want := seen{s2.Shape(), s2.DType(), append([]byte{}, s2.Data()...), s.Version(), true}
					for name, read := range reads {
						tensor, err := read(segment)
						if err != nil {
							t.Errorf("%s of a dumped slot: %v", name, err)
						} else if diff := cmp.Diff(want, see(&tensor)); diff != "" {
							t.Errorf("%s of a dumped slot (-the stream's +read):\n%s", name, diff)
						}
					}
				}
			})
		})
	}
}

// Where slots lie, and whose a frame's address is.
func TestStreamSlots(t *testing.T) {
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		for _, size := range []struct{ slots, capacity int }{{2, 1}, {3, 4096 - DataOffset}, {5, 4097 - DataOffset}, {256, 100}} {
			s := newTestStream(t, size.slots, size.capacity, opts...)
			header := streamMemory(s)
			word := func(at int) uint32 { return binary.LittleEndian.Uint32(header[at:]) }
			long := func(at int) int { return int(binary.LittleEndian.Uint64(header[at:])) }
			if s.Slots() != size.slots || s.ByteCapacity() != size.capacity || s.EveryFrame() != every {
				t.Errorf("%v: %d slots of %d bytes, every frame %v", size, s.Slots(), s.ByteCapacity(), s.EveryFrame())
			}
			if s.shared {
				if word(layout.Magic) != layout.StreamMagicValue || int(word(layout.StreamSlots)) != size.slots ||
					long(layout.Capacity) != size.capacity || word(layout.StreamMostReaders) != MaxReaders ||
					(word(layout.Flags)&layout.FlagEveryFrame != 0) != every {
					t.Errorf("%v: the header %x", size, header[192:256])
				}
				if uintptr(long(layout.StreamFirst)) != s.Slot(0)-DataOffset-uintptr(unsafe.Pointer(s.mapping.header)) ||
					uintptr(long(layout.StreamStride)) != s.Slot(1)-s.Slot(0) {
					t.Errorf("%v: the header's first and stride are not where slots lie", size)
				}
			}
			for i := range size.slots {
				if a := s.Slot(i); a%256 != 0 || (a-DataOffset)%4096 != 0 || i > 0 && a-s.Slot(i-1) < uintptr(DataOffset+size.capacity) {
					t.Errorf("%v: slot %d at %#x", size, i, a)
				}
			}
			if s.Slot(-1) != 0 || s.Slot(size.slots) != 0 {
				t.Error("slots that are none have addresses")
			}
			r := newTestReader(t, s)
			for range size.slots + 2 {
				if err := s.Fill(context.Background(), []int{1}, Uint8, 1); err != nil {
					t.Fatal(err)
				}
				frame := mustNext(t, r)
				if slotOf(s, &frame) < 0 || frame.DataPtr() != uintptr(unsafe.Pointer(&frame.Data()[0])) {
					t.Errorf("%v: frame %v at %#x is in no slot", size, frame, frame.DataPtr())
				}
			}
			if err := s.CloseWait(); err != nil || s.Slot(0) != 0 {
				t.Errorf("after Close: slot 0 at %#x, %v", s.Slot(0), err)
			}
		}
	})
}

// The table of bad input: every one gets its error, with the numbers, no frame is committed, and what a reader holds stays.
func TestStreamBadInput(t *testing.T) {
	ctx := context.Background()
	noop := func([]byte) error { return nil }
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 4, 64, opts...)
		r := newTestReader(t, s)
		if err := StreamSlice(ctx, s, []int{2, 2}, []int32{1, 2, 3, 4}); err != nil {
			t.Fatal(err)
		}
		held := mustNext(t, r)
		before := string(streamMemory(s))
		made := func(_ *Stream, err error) error { return err }
		for _, test := range []struct {
			name string
			call func() error
			want error
			says []string
		}{
			{"rank 9", func() error { return s.Write(ctx, make([]int, 9), Uint8, nil) }, ErrShape, []string{"9", "8"}},
			{"rank 9, Update", func() error { return s.Update(ctx, make([]int, 9), Uint8, noop) }, ErrShape, []string{"9", "8"}},
			{"rank 9, Fill", func() error { return s.Fill(ctx, make([]int, 9), Uint8, 0) }, ErrShape, []string{"9", "8"}},
			{"a negative dimension", func() error { return s.Write(ctx, []int{2, -1}, Uint8, nil) }, ErrShape, []string{"[2 -1]"}},
			{"a product that overflows", func() error { return s.Fill(ctx, []int{1 << 30, 1 << 30, 1 << 30}, Uint8, 0) }, ErrShape,
				[]string{"1073741824", "overflows"}},
			{"short data", func() error { return s.Write(ctx, []int{4}, Int32, make([]byte, 15)) }, ErrShape, []string{"16", "15"}},
			{"long data", func() error { return StreamSlice(ctx, s, []int{4}, make([]int32, 5)) }, ErrShape, []string{"16", "20"}},
			{"no data for a scalar", func() error { return s.Write(ctx, nil, Int32, nil) }, ErrShape, []string{"4", "0"}},
			{"too large for a slot", func() error { return s.Write(ctx, []int{65}, Uint8, make([]byte, 65)) }, ErrCapacity, []string{"65", "64"}},
			{"too large, Fill", func() error { return s.Fill(ctx, []int{9}, Float64, 1) }, ErrCapacity, []string{"72", "64"}},
			{"too large, Update", func() error { return s.Update(ctx, []int{9}, Float64, noop) }, ErrCapacity, []string{"72", "64"}},
			{"an unknown dtype", func() error { return s.Write(ctx, []int{1}, 16, []byte{1}) }, ErrDType, []string{"16"}},
			{"an unknown dtype, Fill", func() error { return s.Fill(ctx, []int{1}, math.MaxUint32, 1) }, ErrDType, []string{"4294967295"}},
			{"300 for uint8", func() error { return s.Fill(ctx, []int{1}, Uint8, 300) }, ErrRange, []string{"300", "uint8"}},
			{"NaN for an integer", func() error { return s.Fill(ctx, []int{1}, Int64, math.NaN()) }, ErrRange, []string{"NaN", "int64"}},
			{"capacity 0", func() error { return made(NewStream(2, 0)) }, ErrCapacity, []string{"0"}},
			{"a negative capacity", func() error { return made(NewStream(2, -1)) }, ErrCapacity, []string{"-1"}},
			{"a capacity that overflows", func() error { return made(NewStream(2, math.MaxInt)) }, ErrCapacity, nil},
			{"a capacity that overflows with the header", func() error { return made(NewStream(2, math.MaxInt-DataOffset)) }, ErrCapacity, nil},
			{"slots that overflow together", func() error { return made(NewStream(256, math.MaxInt/200)) }, ErrCapacity, []string{"256"}},
			{"1 slot", func() error { return made(NewStream(1, 64)) }, ErrCapacity, []string{"1", "2", "256"}},
			{"257 slots", func() error { return made(NewStream(257, 64)) }, ErrCapacity, []string{"257", "256"}},
			{"-3 slots", func() error { return made(NewStream(-3, 64)) }, ErrCapacity, []string{"-3"}},
			{"slots that wrap to 2", func() error { return made(NewStream(1<<31-1, 64)) }, ErrCapacity, []string{"2147483647"}},
			{"1 slot, by a name", func() error { return made(CreateStream(uniqueName(), 1, 64)) }, ErrCapacity, []string{"1"}},
			{"no name", func() error { return made(CreateStream("", 2, 64)) }, fs.ErrInvalid, []string{"empty"}},
			{"an option that has no effect", func() error { return made(NewStream(2, 64, WithReadOnly())) }, fs.ErrInvalid,
				[]string{"WithReadOnly", "NewStream"}},
		} {
			err := test.call()
			if errors.Is(err, ErrUnsupported) {
				continue
			}
			if !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
				continue
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s: %q does not say %q", test.name, err, part)
				}
			}
			if string(streamMemory(s)) != before {
				t.Errorf("%s changed the stream", test.name)
			}
		}
		if got, err := Slice[int32](&held); err != nil || !slices.Equal(got, []int32{1, 2, 3, 4}) || !held.Valid() {
			t.Errorf("the held frame has %v, %v", got, err)
		}
		if bits.UintSize < 64 {
			return // what no machine has can't be said there
		}
		// No memory for it: the system's reason, and the numbers.
		if err := made(NewStream(64, math.MaxInt/128)); err == nil || !strings.Contains(err.Error(), "64 slots") ||
			!strings.Contains(err.Error(), strconv.Itoa(math.MaxInt/128)) {
			t.Errorf("more than the system has: %v", err)
		}
	})
}

// An Update that fails commits nothing, and uses up no frame number; what readers hold, and would get, is as it was.
func TestStreamUpdateGivesUp(t *testing.T) {
	broken := errors.New("broken")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for name, update := range map[string]func(*Stream) error{
		"fails": func(s *Stream) error {
			return s.Update(ctx, []int{4}, Uint8, func(data []byte) error { data[0] = 99; return broken })
		},
		"panics": func(s *Stream) (err error) {
			defer func() { err = recover().(error) }()
			return s.Update(ctx, []int{4}, Uint8, func([]byte) error { panic(broken) })
		},
		"ends the goroutine": func(s *Stream) error {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = s.Update(ctx, []int{4}, Uint8, func([]byte) error { runtime.Goexit(); return nil })
			}()
			<-done
			return broken
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
				s := newTestStream(t, 3, 16, opts...)
				r := newTestReader(t, s)
				if err := s.Fill(ctx, []int{4}, Uint8, 7); err != nil {
					t.Fatal(err)
				}
				held := mustNext(t, r)
				for range 5 { // more often than there are slots
					if err := update(s); err != broken {
						t.Errorf("Update returned %v, want the function's own error", err)
					}
				}
				if s.Version() != 2 || string(held.Data()) != "\a\a\a\a" || !held.Valid() {
					t.Errorf("version %d, the held frame %v, valid %v", s.Version(), held.Data(), held.Valid())
				}
				if got, err := s.ReadCopy(ctx); err != nil || string(got.Data()) != "\a\a\a\a" {
					t.Errorf("the newest: %v, %v", got.Data(), err)
				}
				if _, err := r.Next(briefly(t)); err != context.DeadlineExceeded {
					t.Errorf("Next after none was committed: %v", err)
				}
				if err := s.Fill(ctx, []int{2}, Uint8, 9); err != nil {
					t.Fatal(err)
				}
				if got := mustNext(t, r); got.Version() != 4 || string(got.Data()) != "\t\t" || r.Missed() != 0 {
					t.Errorf("the next frame: %v with %v, missed %d", got, got.Data(), r.Missed())
				}
			})
		})
	}
}

// The zero Stream, Reader and Tensor, and closed ones, give errors and no panic.
func TestStreamClosedOrZero(t *testing.T) {
	ctx := context.Background()
	closed := newTestStream(t, 2, 8)
	if err := closed.Fill(ctx, nil, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	reader := newTestReader(t, closed)
	if err := closed.CloseWait(); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Stream{"zero": new(Stream), "closed": closed} {
		for call, got := range map[string]error{
			"Write":        s.Write(ctx, nil, Uint8, []byte{1}),
			"StreamSlice":  StreamSlice(ctx, s, []int{1}, []float32{1}),
			"Fill":         s.Fill(ctx, nil, Uint8, 1),
			"Update":       s.Update(ctx, nil, Uint8, func([]byte) error { return nil }),
			"Reader":       func() error { _, err := s.Reader(); return err }(),
			"ReadCopy":     func() error { _, err := s.ReadCopy(ctx); return err }(),
			"Pin":          s.Pin(),
			"File":         func() error { _, err := s.File(); return err }(),
			"ReadOnlyFile": func() error { _, err := s.ReadOnlyFile(); return err }(),
		} {
			if got != ErrClosed {
				t.Errorf("%s of a %s Stream: %v, want ErrClosed", call, name, got)
			}
		}
		if s.Slot(0) != 0 || s.Version() != 0 || s.IsPinned() || s.Readers() != nil || s.Writer() != WriterNone || s.Name() != "" {
			t.Errorf("the %s Stream has something", name)
		}
		s.Unpin()
		if !strings.HasPrefix(s.String(), "closed stream") || s.LogValue().Kind() != slog.KindGroup {
			t.Errorf("the %s Stream is %v, %v", name, s, s.LogValue())
		}
		if err := errors.Join(s.Close(), s.CloseWait()); err != nil {
			t.Errorf("closing the %s Stream: %v", name, err)
		}
	}
	if got := new(Stream).Stats(); got != (Stats{}) {
		t.Errorf("the zero Stream's %+v", got)
	}
	for name, r := range map[string]*Reader{"zero": new(Reader), "closed stream's": reader} {
		if _, err := r.Next(ctx); err != ErrClosed {
			t.Errorf("Next of the %s Reader: %v, want ErrClosed", name, err)
		}
		pairs := 0
		for _, err := range r.Frames(ctx) {
			if pairs++; err != ErrClosed {
				t.Errorf("Frames of the %s Reader: %v", name, err)
			}
		}
		if pairs != 1 || r.Missed() != 0 {
			t.Errorf("the %s Reader: %d pairs, missed %d", name, pairs, r.Missed())
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Errorf("closing the %s Reader: %v", name, err)
		}
	}
	var frame Tensor
	frame.Keep()
	frame.Release()
	segment := newSegment(t, 8)
	if err := segment.Fill(nil, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	frame, err := segment.Read()
	if err != nil {
		t.Fatal(err)
	}
	frame.Keep()
	frame.Release()
	if !frame.Valid() || frame.Data()[0] != 1 {
		t.Error("Keep and Release of a segment's tensor have an effect")
	}
}

// Which frames a reader holds: the last one, the ones that are kept, and none that was given back.
func TestStreamKeep(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		const slots = 6
		s := newTestStream(t, slots, 8, opts...)
		r := newTestReader(t, s)
		value := 0.0
		frame := func() Tensor {
			t.Helper()
			value++
			if err := s.Fill(ctx, []int{8}, Uint8, value); err != nil {
				t.Fatal(err)
			}
			f := mustNext(t, r)
			if f.Data()[7] != byte(value) {
				t.Fatalf("frame %v has %v, want %v", f, f.Data(), value)
			}
			return f
		}
		held := func() int {
			t.Helper()
			infos := s.Readers()
			if len(infos) != 1 {
				t.Fatalf("readers: %+v", infos)
			}
			return infos[0].Held
		}
		overwrite := func() { // all slots that nobody holds
			t.Helper()
			for range 2 * slots {
				frame()
			}
		}
		first := frame()
		if held() != 1 || !first.Valid() {
			t.Errorf("after Next %d are held, valid %v", held(), first.Valid())
		}
		kept := frame() // gives first back
		kept.Keep()
		kept.Keep()
		first.Keep() // too late
		second := frame()
		second.Keep()
		third := frame()
		if held() != 3 {
			t.Errorf("two kept and the last: %d are held", held())
		}
		third.Release()
		third.Keep() // too late
		if held() != 2 {
			t.Errorf("after the release of the last %d are held", held())
		}
		overwrite()
		for _, f := range []*Tensor{&kept, &second} {
			if want := byte(f.Version() / 2); !f.Valid() || slices.Index(f.Data(), want) != 0 || f.Data()[7] != want {
				t.Errorf("the kept frame %v has %v, valid %v", f, f.Data(), f.Valid())
			}
		}
		for _, f := range []*Tensor{&first, &third} {
			if f.Valid() {
				t.Errorf("%v was given back, is overwritten, and valid", f)
			}
		}
		// A writer makes the sequence odd before it looks whether a slot is held, and may die there.
		word := (*uint64)(unsafe.Pointer(unsafe.SliceData(slotMemory(s, slotOf(s, &kept)))))
		for _, sequence := range []uint64{kept.Version() | 1, 0} {
			atomic.StoreUint64(word, sequence)
			if !kept.Valid() {
				t.Errorf("a held frame is not valid with sequence %d", sequence)
			}
		}
		atomic.StoreUint64(word, kept.Version())
		copied := second // a copy of the Tensor is the same frame
		copied.Release()
		second.Release()
		first.Release() // its slot may have another frame by now, which this must leave alone
		last := frame()
		if held() != 2 || !last.Valid() || !kept.Valid() {
			t.Errorf("%d are held, the last valid %v, the kept valid %v", held(), last.Valid(), kept.Valid())
		}
		first.Release()
		third.Release()
		if held() != 2 || !last.Valid() {
			t.Errorf("after the release of what was given back: %d are held, the last valid %v", held(), last.Valid())
		}
		// A Next that gets nothing gives the last one back too.
		if _, err := r.Next(briefly(t)); err != context.DeadlineExceeded || held() != 1 {
			t.Errorf("after a Next in vain: %v, %d are held", err, held())
		}
		last = frame()
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := r.Next(ended); err != context.Canceled || held() != 1 {
			t.Errorf("after a Next whose context had ended: %v, %d are held", err, held())
		}
		if err := r.Close(); err != nil || len(s.Readers()) != 0 {
			t.Errorf("after Close: %v, readers %+v", err, s.Readers())
		}
		kept.Release()
		kept.Keep()
		r = newTestReader(t, s)
		overwrite()
		if kept.Valid() || last.Valid() {
			t.Error("frames of a closed Reader are valid though overwritten")
		}
	})
}

// What a slow reader misses, it is told; it then has the newest. One that is as slow where every frame counts has them all.
func TestStreamMissed(t *testing.T) {
	ctx := context.Background()
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		const slots = 4
		s := newTestStream(t, slots, 8, opts...)
		for range 3 {
			if err := s.Fill(ctx, nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
		}
		r := newTestReader(t, s) // what came before is not missed
		if _, err := r.Next(briefly(t)); err != context.DeadlineExceeded {
			t.Errorf("a new reader sees what came before it: %v", err)
		}
		var versions []uint64
		for round := range 3 {
			for range slots - 1 {
				if err := s.Fill(ctx, nil, Uint8, float64(round)); err != nil {
					t.Fatal(err)
				}
			}
			for f, err := range r.Frames(briefly(t)) {
				if err != nil {
					break
				}
				versions = append(versions, f.Version())
				if f.Version() == s.Version() {
					break // which leaves the frame held
				}
			}
			if got := s.Readers(); len(got) != 1 || got[0].Held != 1 || got[0].Next != s.Version()+2 {
				t.Errorf("after a break: %+v", got)
			}
		}
		want, missed := []uint64{12, 18, 24}, uint64(6)
		if every {
			want, missed = []uint64{8, 10, 12, 14, 16, 18, 20, 22, 24}, 0
		}
		if diff := cmp.Diff(want, versions); diff != "" || r.Missed() != missed {
			t.Errorf("missed %d, want %d; versions (-want +got):\n%s", r.Missed(), missed, diff)
		}
	})
}

// There are places for 64 readers, in all Streams together; the next one gets an error that says so, until one is free.
func TestStreamMostReaders(t *testing.T) {
	ctx := context.Background()
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 2, 8, opts...)
		var readers []*Reader
		for range MaxReaders {
			readers = append(readers, newTestReader(t, s))
		}
		full := func() {
			t.Helper()
			if _, err := s.Reader(); !errors.Is(err, ErrCapacity) || !strings.Contains(err.Error(), "64") {
				t.Errorf("one reader more: %v, want ErrCapacity that says 64", err)
			}
		}
		full()
		if err := s.Fill(ctx, nil, Uint8, 5); err != nil {
			t.Fatal(err)
		}
		numbers := map[int]bool{}
		for i, r := range readers {
			if f := mustNext(t, r); f.Data()[0] != 5 {
				t.Errorf("reader %d: %v", i, f.Data())
			}
		}
		for _, info := range s.Readers() {
			numbers[info.Number] = true
			if info.Process != os.Getpid() || info.Held != 1 || info.Next != 4 || info.Dead {
				t.Errorf("%+v", info)
			}
		}
		if len(numbers) != MaxReaders {
			t.Errorf("%d numbers", len(numbers))
		}
		for _, i := range []int{0, 17, 63} {
			_ = readers[i].Close()
			_ = readers[i].Close()
			readers[i] = newTestReader(t, s)
			full()
		}
	})
}

// Readers and Streams that are forgotten give back places, slots and memory with the garbage.
func TestStreamForgottenReaders(t *testing.T) {
	ctx := context.Background()
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 3, 8, opts...)
		func() {
			for range MaxReaders {
				if _, err := s.Reader(); err != nil {
					t.Fatal(err)
				}
			}
		}()
		for i := range 3 { // each forgotten with a frame in hand, which nobody could write to
			func() {
				var r *Reader
				eventually(t, "a place", func() (ok bool) {
					runtime.GC()
					var err error
					r, err = s.Reader()
					return err == nil
				})
				limited, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				if err := s.Fill(limited, nil, Uint8, float64(i)); err != nil {
					t.Fatal(err)
				}
				f := mustNext(t, r)
				f.Keep()
			}()
		}
		eventually(t, "no reader is left", func() bool { runtime.GC(); return len(s.Readers()) == 0 })
		for range 6 {
			if err := s.Fill(ctx, nil, Uint8, 9); err != nil {
				t.Fatal(err)
			}
		}
		// A frame keeps its Reader, and that its place.
		frame := func() Tensor {
			r, err := s.Reader()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Fill(ctx, []int{2}, Uint8, 11); err != nil {
				t.Fatal(err)
			}
			return mustNext(t, r)
		}()
		runtime.GC()
		runtime.GC()
		for range 2 {
			if every {
				break // the writer would wait for the Reader
			}
			if err := s.Fill(ctx, nil, Uint8, 9); err != nil {
				t.Fatal(err)
			}
		}
		if len(s.Readers()) != 1 || string(frame.Data()) != "\v\v" || !frame.Valid() {
			t.Errorf("the frame of a forgotten Reader: %v, valid %v, readers %+v", frame.Data(), frame.Valid(), s.Readers())
		}
		runtime.KeepAlive(frame)
	})
}

// The memory of Streams that nobody closes counts with all of their slots: collections that nothing else would bring about
// give it back.
func TestStreamForgotten(t *testing.T) {
	const slots, capacity = 64, 8 << 20 // 512 MiB of addresses each, and next to none of memory
	if bits.UintSize < 64 {
		t.Skip("SKIP: a 32-bit machine has no such addresses")
	}
	frames := 0
	runtime.GC()
	ledger.mu.Lock()
	ledger.bytesLimit = leastBytes // not what other tests have left it at
	ledger.mu.Unlock()
	for range 40 {
		s, err := NewStream(slots, capacity)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Reader()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Fill(context.Background(), []int{1}, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		frame := mustNext(t, r)
		frames += int(frame.Data()[0])
		ledger.mu.Lock()
		bytes := ledger.bytes
		ledger.mu.Unlock()
		if bytes < slots*capacity || bytes > 8<<30 { // of 20 GiB in all
			t.Fatalf("%d bytes are counted, and a stream has %d", bytes, slots*capacity)
		}
	}
	if frames != 40 {
		t.Errorf("%d frames", frames)
	}
}

// A context that ends while a writer waits gives its error, and who holds the slots.
func TestStreamWriterContext(t *testing.T) {
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 2, 8, opts...)
		idle, greedy := newTestReader(t, s), newTestReader(t, s)
		for range 2 {
			if err := s.Fill(context.Background(), nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
			if every {
				f := mustNext(t, idle)
				f.Release()
			}
			f := mustNext(t, greedy)
			f.Keep()
		}
		for name, write := range map[string]func(context.Context) error{
			"Write":       func(ctx context.Context) error { return s.Write(ctx, nil, Uint8, []byte{1}) },
			"StreamSlice": func(ctx context.Context) error { return StreamSlice(ctx, s, nil, []uint8{1}) },
			"Update":      func(ctx context.Context) error { return s.Update(ctx, nil, Uint8, func([]byte) error { return nil }) },
			"Fill":        func(ctx context.Context) error { return s.Fill(ctx, nil, Uint8, 1) },
		} {
			ended, cancel := context.WithCancel(context.Background())
			time.AfterFunc(20*time.Millisecond, cancel)
			for what, ctx := range map[error]context.Context{context.DeadlineExceeded: briefly(t), context.Canceled: ended} {
				began := time.Now()
				err := write(ctx)
				says := fmt.Sprintf("reader %d (process %d) holds 2 of the 2 slots", 1, os.Getpid())
				if !errors.Is(err, what) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "reader 0") {
					t.Errorf("%s: %v, want %v and %q", name, err, what, says)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("%s: ended after %v", name, took)
				}
			}
		}
		if s.Version() != 4 {
			t.Errorf("version %d", s.Version())
		}
	})
}

// Readers names those that get the next commit, and a writer that waits for one that is joining says so.
func TestStreamJoiningReader(t *testing.T) {
	s := newTestStream(t, 2, 8, WithEveryFrame())
	r := newTestReader(t, s)
	for range 2 {
		if err := s.Fill(context.Background(), nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Readers(); len(got) != 1 || got[0].Next != 2 {
		t.Errorf("one that has joined: %+v", got)
	}
	// As the reader's process has it between the place and the look at where it begins.
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&streamMemory(s)[layout.StreamPlaces+layout.StreamPlaceCursor])), 0)
	if got := s.Readers(); len(got) != 0 {
		t.Errorf("one that joins: %+v", got)
	}
	err := s.Fill(briefly(t), nil, Uint8, 1)
	if says := fmt.Sprintf(": reader 0 (process %d) is still joining: ", os.Getpid()); !strings.Contains(fmt.Sprint(err), says) {
		t.Errorf("%v, want %q", err, says)
	}
	if got := mustNext(t, r); got.Version() != 2 {
		t.Errorf("then it gets %v", got)
	}
}

// A writer that waits goes on as soon as a slot is given back, in whatever way, and ends when its Stream is closed.
func TestStreamWriterWaits(t *testing.T) {
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		var delays []time.Duration
		for what, give := range map[string]func(s *Stream, r *Reader, kept, last Tensor){
			"Release of what was kept": func(_ *Stream, _ *Reader, kept, _ Tensor) { kept.Release() },
			"Release of the last":      func(_ *Stream, _ *Reader, _, last Tensor) { last.Release() },
			"Next":                     func(_ *Stream, r *Reader, _, _ Tensor) { _ = mustNext(t, r) },
			"Reader.Close":             func(_ *Stream, r *Reader, _, _ Tensor) { _ = r.Close() },
			"Stream.Close":             func(s *Stream, _ *Reader, _, _ Tensor) { _ = s.Close() },
		} {
			s := newTestStream(t, 3, 8, opts...)
			r := newTestReader(t, s)
			var frames [2]Tensor
			for i := range 3 {
				if err := s.Fill(context.Background(), nil, Uint8, float64(i)); err != nil {
					t.Fatal(err)
				}
				if i < 2 {
					frames[i] = mustNext(t, r)
				}
				if i == 0 {
					frames[i].Keep()
				}
			}
			var want error
			if what == "Stream.Close" {
				want = ErrClosed
			}
			done := make(chan error, 1)
			go func() { done <- s.Fill(context.Background(), nil, Uint8, 3) }()
			time.Sleep(10 * time.Millisecond)
			select {
			case err := <-done:
				t.Errorf("%s: the writer did not wait: %v", what, err)
				continue
			default:
			}
			given := time.Now()
			give(s, r, frames[0], frames[1])
			within(t, what, func() {
				if err := <-done; err != want {
					t.Errorf("%s: %v, want %v", what, err, want)
				}
			})
			delays = append(delays, time.Since(given))
		}
		// One that is not woken looks up 40 ms after it parked.
		if slices.Sort(delays); delays[len(delays)/2] > 15*time.Millisecond {
			t.Errorf("the writers went on after %v", delays)
		}
	})
}

// A write that is running when its Stream is closed ends as it would have, and only once all readers have left does it give
// back the rest.
func TestStreamCloseDuringUpdate(t *testing.T) {
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 3, 8, opts...)
		r := newTestReader(t, s)
		filling, finish, written, closed := make(chan struct{}), make(chan struct{}), make(chan error, 1), make(chan struct{})
		go func() {
			written <- s.Update(context.Background(), nil, Uint8, func([]byte) error { close(filling); <-finish; return nil })
		}()
		<-filling
		s.joining.Lock() // a reader that comes holds Close up
		go func() { defer close(closed); _ = s.Close() }()
		eventually(t, "Close", func() bool { return !s.open.Load() })
		if err := s.Fill(context.Background(), nil, Uint8, 1); err != ErrClosed {
			t.Errorf("another write, meanwhile: %v, want ErrClosed", err)
		}
		close(finish)
		if err := <-written; err != nil {
			t.Errorf("the write: %v", err)
		}
		s.writing.Lock()
		if s.finished {
			t.Error("the stream's end came before its readers'")
		}
		s.writing.Unlock()
		s.joining.Unlock()
		within(t, "Close", func() { <-closed })
		within(t, "CloseWait", func() { _ = s.CloseWait() })
		if _, err := r.Next(context.Background()); err != ErrClosed {
			t.Errorf("Next: %v, want ErrClosed", err)
		}
	})
}

// Who waits for a frame hears of the end of his Reader, and of his Stream, and nobody else does.
func TestStreamCloseWakes(t *testing.T) {
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 3, 8, opts...)
		var readers [6]*Reader
		var ends [6]chan error
		for i := range readers {
			readers[i], ends[i] = newTestReader(t, s), make(chan error, 1)
			go func() { _, err := readers[i].Next(context.Background()); ends[i] <- err }()
		}
		parked := func(n int) {
			t.Helper()
			eventually(t, "parked readers", func() bool { return s.waiters.parkedReaders() == n })
		}
		for i := range 3 {
			parked(6 - i)
			_ = readers[i].Close()
			if err := <-ends[i]; err != ErrClosed {
				t.Errorf("reader %d, closed: %v, want ErrClosed", i, err)
			}
		}
		parked(3)
		_ = s.Close()
		for i := 3; i < 6; i++ {
			if err := <-ends[i]; err != ErrClosed {
				t.Errorf("reader %d, of a closed Stream: %v, want ErrClosed", i, err)
			}
		}
	})
}

// endless is a context that ends when it is told, counts who waits for that, and can't be compared.
type endless struct {
	context.Context
	uncomparable []int
	waiting      *atomic.Int32
}

func (endless) Value(any) any { return nil } // not the parent's, which would be asked instead

func (e endless) AfterFunc(f func()) (stop func() bool) {
	e.waiting.Add(1)
	ended := context.AfterFunc(e.Context, f)
	return func() bool { e.waiting.Add(-1); return ended() }
}

// A Reader that is closed is no longer known to the contexts that it waited with, nor is a Stream; and they may be of any
// type.
func TestStreamContexts(t *testing.T) {
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		parent, cancel := context.WithCancel(context.Background())
		defer cancel()
		ctx := endless{parent, nil, new(atomic.Int32)}
		writer := newTestStream(t, 2, 8, opts...)
		s := writer
		if writer.shared {
			file, err := writer.File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if s, err = OpenStreamFile(file); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
		}
		for range 20 {
			r := newTestReader(t, s)
			for i := range 3 {
				time.AfterFunc(time.Millisecond, func() { _ = writer.Fill(ctx, nil, Uint8, float64(i)) })
				f, err := r.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				f.Release()
			}
			_ = r.Close()
		}
		if n := ctx.waiting.Load(); n > 1 {
			t.Errorf("the context is waited for %d times by Readers that are closed", n)
		}
		r := newTestReader(t, s)
		for range 2 {
			if err := writer.Fill(ctx, nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
			f := mustNext(t, r)
			f.Keep()
		}
		for range 3 { // the writer waits
			time.AfterFunc(time.Millisecond, func() { _ = r.Close() })
			if err := writer.Fill(ctx, nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = writer.Close(), s.Close()
		if n := ctx.waiting.Load(); n != 0 {
			t.Errorf("the context is waited for %d times by what is closed", n)
		}
	})
}

// Counts, words for people, and who writes.
func TestStreamDescribed(t *testing.T) {
	ctx := context.Background()
	bothPolicies(t, func(t *testing.T, every bool, opts ...Option) {
		s := newTestStream(t, 3, 64, opts...)
		kind := "stream"
		if s.shared {
			kind = "shared stream"
		}
		if every {
			kind += " of every frame"
		}
		if got := s.String(); got != kind+", 3 slots: no tensor, version 0" {
			t.Errorf("a new one: %q", got)
		}
		r := newTestReader(t, s)
		for i := range 3 {
			if err := StreamSlice(ctx, s, []int{2, 3}, []float32{1, 2, 3, 4, 5, float32(i)}); err != nil {
				t.Fatal(err)
			}
			_ = mustNext(t, r)
		}
		_ = s.Update(ctx, nil, Uint8, func([]byte) error { return fs.ErrInvalid }) // no commit
		if got := s.String(); got != kind+", 3 slots: float32 [2 3], version 6" {
			t.Errorf("written to: %q", got)
		}
		if got, want := s.LogValue().String(), "[kind="+kind+" slots=3 dtype=float32 shape=[2 3] version=6]"; got != want {
			t.Errorf("in a log: %q, want %q", got, want)
		}
		if got := s.Stats(); got != (Stats{Commits: 3, Reads: 3}) {
			t.Errorf("%+v", got)
		}
		if got := s.Writer(); (got == WriterHere) != s.shared {
			t.Errorf("the writer: %v", got)
		}
		switch err := s.Pin(); {
		case err == nil:
			if !s.IsPinned() {
				t.Error("Pin pins nothing")
			}
			s.Unpin()
		case !errors.Is(err, ErrPinDenied) || !strings.Contains(err.Error(), strconv.Itoa(s.mapping.core.bytes())):
			t.Errorf("Pin: %v, want ErrPinDenied that says %d bytes", err, s.mapping.core.bytes())
		}
		if s.IsPinned() {
			t.Error("Unpin leaves it pinned")
		}
	})
}

// A stream that is opened read-only gives its frames as copies, and ends as others do.
func TestStreamReadOnly(t *testing.T) {
	needSharing(t)
	ctx := context.Background()
	s := newTestStream(t, 2, 64, WithSealed())
	file, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	other, err := OpenStreamFile(file, WithReadOnly())
	if err != nil {
		t.Fatal(err)
	}
	r := newTestReader(t, other)
	if err := s.Fill(ctx, []int{2}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(context.Context) (Tensor, error){"Next": r.Next, "ReadCopy": other.ReadCopy} {
		if frame, err := read(ctx); err != nil || frame.Version() != 2 || !frame.Valid() || frame.Data()[1] != 1 {
			t.Errorf("%s: %v, %v", name, frame, err)
		}
	}
	if err := other.Fill(ctx, []int{2}, Uint8, 1); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a write to it: %v", err)
	}
	if err := other.CloseWait(); err != nil {
		t.Error(err)
	}
	if _, err := r.Next(ctx); err != ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

// TestStreamCloseUnderLoad closes streams while goroutines write, wait, hold frames, give them back and describe, in a child
// process: a fault there would be the death of it.
func TestStreamCloseUnderLoad(t *testing.T) {
	if !isChild(t) {
		out, err := child(t, t.Name()).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "streams") {
				t.Log(strings.TrimSpace(line))
			}
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	deadline := time.Now().Add(2 * stressTime(t))
	streams := 0
	var frames atomic.Int64
	for ; time.Now().Before(deadline); streams++ {
		capacity := []int{24, 4 << 10, 1 << 20}[streams%3]
		var opts []Option
		if streams/3%2 == 1 {
			opts = append(opts, WithEveryFrame())
		}
		if streams/6%2 == 1 {
			opts = append(opts, WithSealed())
		}
		s, err := NewStream(5, capacity, opts...)
		if errors.Is(err, ErrUnsupported) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		data := bytes.Repeat([]byte{1}, capacity)
		readers := [2]*Reader{newTestReader(t, s), newTestReader(t, s)}
		kept := make([]Tensor, len(readers))
		next := func(i int) error {
			f, err := readers[i].Next(ctx)
			if err != nil {
				return err
			}
			for k, b := range f.Data() { // ones, or zeros once it is closed
				if b > 1 || b == 0 && f.Valid() {
					return fmt.Errorf("byte %d of a held frame is %d", k, b)
				}
			}
			kept[i].Release()
			kept[i] = f
			kept[i].Keep()
			frames.Add(1)
			return nil
		}
		// Each call must give a good result, or ErrClosed (and then always).
		calls := []func() error{
			func() error { return s.Write(ctx, []int{capacity}, Uint8, data) },
			func() error {
				return s.Update(ctx, []int{capacity}, Uint8, func(to []byte) error { copy(to, data); return nil })
			},
			func() error { return s.Fill(ctx, []int{capacity}, Uint8, 1) },
			func() error { return next(0) },
			func() error { return next(1) },
			func() error {
				_, err := s.ReadCopy(ctx)
				if err == ErrEmpty {
					return nil
				}
				return err
			},
			func() error {
				r, err := s.Reader()
				if err != nil {
					return err
				}
				time.Sleep(10 * time.Microsecond)
				return r.Close()
			},
			func() error {
				_, _, _, _, _ = s.String(), s.Stats(), s.Slot(0), s.Readers(), s.Writer()
				if s.Pin() == nil {
					s.Unpin()
				}
				if s.Slot(0) == 0 {
					return ErrClosed
				}
				return nil
			},
		}
		var wg sync.WaitGroup
		for i, call := range calls {
			wg.Go(func() {
				for closed := false; ; {
					switch err := call(); {
					case err == ErrClosed && closed:
						return
					case err == ErrClosed:
						closed = true // and once more
					case err == nil && closed:
						t.Errorf("call %d succeeded after ErrClosed", i)
						return
					case err != nil:
						t.Errorf("call %d: %v", i, err)
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(rand.Int64N(int64(3 * time.Millisecond))))
		closing := s.Close
		if streams%2 == 0 {
			closing = s.CloseWait
		}
		if err := closing(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		for i := range kept {
			if kept[i].Release(); len(kept[i].Data()) != 0 && kept[i].Data()[0] > 1 {
				t.Errorf("a frame of a closed stream has %d", kept[i].Data()[0])
			}
		}
	}
	t.Logf("%d streams closed under load, %d frames checked", streams, frames.Load())
}
