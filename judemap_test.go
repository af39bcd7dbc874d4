package judemap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestCloseUnderLoad closes segments while goroutines read, wait, write, pin and hold views. It does so in a child
// process, which a fault would kill.
func TestCloseUnderLoad(t *testing.T) {
	if !isChild(t) {
		out, err := child(t, t.Name()).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "segments") {
				t.Log(strings.TrimSpace(line))
			}
		}
		return
	}
	deadline := time.Now().Add(2 * stressTime(t))
	segments := 0
	var views atomic.Int64
	for ; time.Now().Before(deadline); segments++ {
		capacity := []int{24, 4 << 10, 1 << 20, 8 << 20}[segments%4]
		s, err := New(capacity)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, capacity)
		for i := range data {
			data[i] = 1
		}
		ctx := context.Background()
		// Each call must give a good result, or ErrClosed (and then always).
		calls := []func() error{
			func() error { return s.Write([]int{capacity}, Uint8, data) },
			func() error {
				return s.Update([]int{capacity}, Uint8, func(dst []byte) error { copy(dst, data); return nil })
			},
			func() error { return s.Fill([]int{capacity}, Uint8, 1) },
			func() error { _, err := s.ReadCopy(context.Background()); return err },
			func() error { _, err := s.ReadInto(make([]byte, capacity)); return err },
			func() error { _, err := s.ReadCopyWait(ctx); return err },
			func() error { _, err := s.Next(ctx, s.Version()); return err },
			func() error {
				for _, err := range s.Frames(ctx) {
					if err != nil {
						return err
					}
				}
				return nil
			},
			func() error { err := s.Pin(); s.Unpin(); s.IsPinned(); s.DataPtr(); return err },
			func() error { // a view in use across the close: ones, or zeros once it is closed
				view, err := s.Read()
				if err != nil {
					return err
				}
				for i, b := range view.Data() {
					if b > 1 || b == 0 && view.Valid() {
						return fmt.Errorf("byte %d of a view is %d", i, b)
					}
				}
				views.Add(1)
				return nil
			},
		}
		var wg sync.WaitGroup
		for _, call := range calls {
			wg.Add(1)
			go func() {
				defer wg.Done()
				closed := false
				for range 1000 {
					err := call()
					switch {
					case errors.Is(err, ErrClosed):
						if closed {
							return
						}
						closed = true // and once more
					case err == nil && closed:
						t.Error("a call succeeded after ErrClosed")
						return
					case err != nil && !errors.Is(err, ErrEmpty) && !errors.Is(err, ErrPinDenied):
						t.Errorf("%v", err)
						return
					}
				}
				if _, err := s.Next(ctx, 1<<62); !errors.Is(err, ErrClosed) {
					t.Errorf("Next: %v, want ErrClosed", err)
				}
			}()
		}
		time.Sleep(time.Duration(rand.Int64N(int64(3 * time.Millisecond))))
		if segments%2 == 0 {
			err = s.Close()
		} else {
			err = s.CloseWait()
		}
		if err != nil {
			t.Error(err)
		}
		wg.Wait()
		if segments%16 == 0 {
			runtime.GC() // frees views of earlier segments
		}
	}
	t.Logf("%d segments closed under load, %d views checked", segments, views.Load())
}

// CloseWait gives the memory back, while a view keeps the addresses reserved.
func TestCloseGivesMemoryBack(t *testing.T) {
	const size = 256 << 20
	s, err := New(size)
	if err != nil {
		t.Fatal(err)
	}
	before := statusKiB(t, "VmRSS")
	if err := s.Fill([]int{size}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	view, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	full := statusKiB(t, "VmRSS")
	if err := s.CloseWait(); err != nil {
		t.Fatal(err)
	}
	after := statusKiB(t, "VmRSS")
	t.Logf("resident: %d KiB before, %d KiB filled, %d KiB closed", before, full, after)
	if full-before < size>>10/2 || after-before > size>>10/10 {
		t.Error("the memory was not given back")
	}
	if d := view.Data(); d[0] != 0 || d[size-1] != 0 || view.Valid() {
		t.Error("the view of a closed segment does not read as zeros, or is valid")
	}
	runtime.KeepAlive(s)
}

// A segment past 4 GiB is written, filled and read at its far end.
func TestPast4GiB(t *testing.T) {
	if math.MaxInt == math.MaxInt32 {
		t.Skip("SKIP: a 32-bit machine")
	}
	sizeOf := int64(5) << 30 // no constant: a 32-bit machine compiles this too
	size := int(sizeOf)
	if testing.Short() {
		t.Skip("SKIP: -short")
	}
	if free := procKiB(t, "/proc/meminfo", "MemAvailable") << 10; free < 2*size {
		t.Skipf("SKIP: 5 GiB segments need 10 GiB of memory to be tested, and %d bytes are free", free)
	}
	// The second segment is a source and a buffer of that size, in huge pages.
	s, other := newSegment(t, size), newSegment(t, size)
	if err := other.Update([]int{size}, Uint8, func(data []byte) error { data[size-1] = 5; return nil }); err != nil {
		t.Fatal(err)
	}
	source, err := other.Read()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write([]int{size}, Uint8, source.Data()); err != nil {
		t.Fatal(err)
	}
	far := func(view Tensor, err error, index int, want int64) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var got int64
		if view.DType() == Uint8 {
			got = int64(view.Data()[index])
		} else {
			values, err := Slice[int64](&view)
			if err != nil {
				t.Fatal(err)
			}
			got = values[index]
		}
		if got != want || !view.Valid() {
			t.Errorf("element %d is %d, want %d", index, got, want)
		}
	}
	view, err := s.Read()
	far(view, err, size-1, 5)
	err = other.Update([]int{size}, Uint8, func(data []byte) error {
		data[size-1] = 0
		copied, err := s.ReadInto(data)
		far(copied, err, size-1, 5)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Fill([]int{size / 8}, Int64, 1<<40); err != nil {
		t.Fatal(err)
	}
	view, err = s.Read()
	far(view, err, size/8-1, 1<<40)
	far(view, err, int(sizeOf/5*4)/8, 1<<40)
	if err := s.Update([]int{5, 1 << 30}, Uint8, func(data []byte) error { data[size-1] = 9; return nil }); err != nil {
		t.Fatal(err)
	}
	view, err = s.Read()
	far(view, err, size-1, 9)
}

// TestBadInput gives every call bad input. Each returns its error, with the numbers, and the tensor that was committed
// before is still there.
func TestBadInput(t *testing.T) {
	s := newSegment(t, 64)
	noop := func([]byte) error { return nil }
	for _, test := range []struct {
		name string
		call func() error
		want error
		says []string
	}{
		{"rank 9", func() error { return s.Write(make([]int, 9), Uint8, nil) }, ErrShape, []string{"9", "8"}},
		{"rank 9, Update", func() error { return s.Update(make([]int, 9), Uint8, noop) }, ErrShape, []string{"9", "8"}},
		{"rank 9, Fill", func() error { return s.Fill(make([]int, 9), Uint8, 0) }, ErrShape, []string{"9", "8"}},
		{"a negative dimension", func() error { return s.Write([]int{2, -1}, Uint8, nil) }, ErrShape, []string{"[2 -1]"}},
		{"two negative dimensions", func() error { return s.Write([]int{-1, -1}, Uint8, []byte{1}) }, ErrShape, []string{"[-1 -1]"}},
		{"a negative dimension and an empty one", func() error { return s.Fill([]int{0, -1}, Uint8, 0) }, ErrShape, []string{"[0 -1]"}},
		{"a product that overflows", func() error { return s.Fill([]int{1 << 30, 1 << 30, 1 << 30}, Uint8, 0) }, ErrShape, []string{"1073741824", "overflows"}},
		{"a product that wraps to a small one", func() error {
			return s.Write([]int{1 << 22, 1 << 21, 1 << 21}, Float64, nil)
		}, ErrShape, []string{"overflows"}},
		{"a size that overflows", func() error { return s.Fill([]int{1 << 21, 1 << 21, 1 << 20}, Int16, 0) }, ErrShape, []string{"overflows"}},
		{"short data", func() error { return s.Write([]int{4}, Int32, make([]byte, 15)) }, ErrShape, []string{"16", "15"}},
		{"long data", func() error { return WriteSlice(s, []int{4}, make([]int32, 5)) }, ErrShape, []string{"16", "20"}},
		{"data for an empty tensor", func() error { return s.Write([]int{0}, Int32, make([]byte, 4)) }, ErrShape, []string{"0", "4"}},
		{"no data for a scalar", func() error { return s.Write(nil, Int32, nil) }, ErrShape, []string{"4", "0"}},
		{"too large for the segment", func() error { return s.Write([]int{65}, Uint8, make([]byte, 65)) }, ErrCapacity, []string{"65", "64"}},
		{"too large, Fill", func() error { return s.Fill([]int{9}, Float64, 1) }, ErrCapacity, []string{"72", "64"}},
		{"too large, Update", func() error { return s.Update([]int{9}, Float64, noop) }, ErrCapacity, []string{"72", "64"}},
		{"an unknown dtype", func() error { return s.Write([]int{1}, 16, []byte{1}) }, ErrDType, []string{"16"}},
		{"an unknown dtype, Fill", func() error { return s.Fill([]int{1}, math.MaxUint32, 1) }, ErrDType, []string{"4294967295"}},
		{"300 for uint8", func() error { return s.Fill([]int{1}, Uint8, 300) }, ErrRange, []string{"300", "uint8"}},
		{"256 for uint8", func() error { return s.Fill([]int{1}, Uint8, 256) }, ErrRange, []string{"256"}},
		{"-1 for uint16", func() error { return s.Fill([]int{1}, Uint16, -1) }, ErrRange, []string{"-1"}},
		{"-129 for int8", func() error { return s.Fill([]int{1}, Int8, -129) }, ErrRange, []string{"-129"}},
		{"infinity for float8_e4m3fn", func() error { return s.Fill([]int{1}, Float8E4M3FN, math.Inf(1)) }, ErrRange, []string{"+Inf", "float8_e4m3fn"}},
		{"2^31 for int32", func() error { return s.Fill([]int{1}, Int32, 1<<31) }, ErrRange, nil},
		{"2^63 for int64", func() error { return s.Fill([]int{1}, Int64, 1<<63) }, ErrRange, nil},
		{"NaN for an integer", func() error { return s.Fill([]int{1}, Int64, math.NaN()) }, ErrRange, []string{"NaN", "int64"}},
		{"infinity for an integer", func() error { return s.Fill([]int{1}, Int16, math.Inf(-1)) }, ErrRange, []string{"-Inf"}},
		{"1e300 for float32", func() error { return s.Fill([]int{1}, Float32, 1e300) }, ErrRange, []string{"1e+300"}},
		{"a short buffer", func() error { _, err := s.ReadInto(make([]byte, 15)); return err }, io.ErrShortBuffer, []string{"16", "15"}},
		{"no buffer", func() error { _, err := s.ReadInto(nil); return err }, io.ErrShortBuffer, []string{"16", "0"}},
		{"capacity 0", func() error { _, err := New(0); return err }, ErrCapacity, []string{"0"}},
		{"a negative capacity", func() error { _, err := New(-1); return err }, ErrCapacity, []string{"-1"}},
		{"a capacity that overflows", func() error { _, err := New(math.MaxInt); return err }, ErrCapacity, nil},
		{"a capacity that overflows with the header", func() error { _, err := New(math.MaxInt - DataOffset); return err }, ErrCapacity, nil},
	} {
		if err := WriteSlice(s, []int{2, 2}, []int32{1, 2, 3, 4}); err != nil {
			t.Fatal(err)
		}
		before := string(memory(s))
		err := test.call()
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
			continue
		}
		for _, part := range test.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", test.name, err, part)
			}
		}
		if string(memory(s)) != before {
			t.Errorf("%s changed the segment", test.name)
		}
	}
}

func TestUpdateGivesUp(t *testing.T) {
	broken := errors.New("broken")
	for name, update := range map[string]func(*Segment) error{
		"fails": func(s *Segment) error {
			return s.Update([]int{4}, Uint8, func(data []byte) error { data[0] = 99; return broken })
		},
		"panics": func(s *Segment) (err error) {
			defer func() { err = recover().(error) }()
			return s.Update([]int{4}, Uint8, func([]byte) error { panic(broken) })
		},
		"ends the goroutine": func(s *Segment) error {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = s.Update([]int{4}, Uint8, func([]byte) error { runtime.Goexit(); return nil })
			}()
			<-done
			return broken
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSegment(t, 16)
			if err := s.Fill([]int{4}, Uint8, 7); err != nil {
				t.Fatal(err)
			}
			view, _ := s.Read()
			if err := update(s); err != broken {
				t.Errorf("Update returned %v, want the function's own error", err)
			}
			for name, read := range reads {
				if strings.HasPrefix(name, "Next") || strings.Contains(name, "Wait") {
					continue
				}
				if _, err := read(s); !errors.Is(err, ErrEmpty) {
					t.Errorf("%s: %v, want ErrEmpty", name, err)
				}
			}
			if view.Valid() {
				t.Error("a view of the tensor that was given up is still valid")
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			go func() { // the parked reader below sees the next commit, not the failed one
				time.Sleep(20 * time.Millisecond)
				_ = s.Fill([]int{1}, Uint8, 5)
			}()
			got, err := s.ReadWait(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(seen{[]int{1}, Uint8, []byte{5}, 6, true}, see(&got)); diff != "" {
				t.Errorf("after the next commit (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAfterClose(t *testing.T) {
	s, err := New(64)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteSlice(s, []int{4}, []int32{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	if err := s.Pin(); err != nil {
		t.Logf("pinned is not tested: %v", err)
	}
	view, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.CloseWait(); err != nil {
			t.Fatal(err)
		}
	}
	calls := map[string]func() error{
		"Write":      func() error { return s.Write([]int{1}, Uint8, []byte{1}) },
		"a bad one":  func() error { return s.Write([]int{-1}, 77, nil) },
		"WriteSlice": func() error { return WriteSlice(s, []int{1}, []bool{true}) },
		"Update":     func() error { return s.Update([]int{1}, Uint8, func([]byte) error { t.Error("called"); return nil }) },
		"Fill":       func() error { return s.Fill([]int{1}, Uint8, 1) },
		"Pin":        s.Pin,
		"Frames": func() error {
			for _, err := range s.Frames(context.Background()) {
				return err
			}
			return nil
		},
	}
	for name, read := range reads {
		calls[name] = func() error { _, err := read(s); return err }
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
	s.Unpin()
	if s.IsPinned() || s.DataPtr() != 0 || s.Version() != 0 || s.ByteCapacity() != 64 || s.Name() != "" {
		t.Errorf("pinned %v, data %#x, version %d, capacity %d, name %q", s.IsPinned(), s.DataPtr(), s.Version(),
			s.ByteCapacity(), s.Name())
	}
	if diff := cmp.Diff(seen{[]int{4}, Int32, make([]byte, 16), 2, false}, see(&view)); diff != "" {
		t.Errorf("the view (-want +got):\n%s", diff)
	}
}

func TestNoAllocations(t *testing.T) {
	s := newSegment(t, 1<<20)
	shape, values, buf := []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}, make([]byte, 1<<20)
	ctx := context.Background()
	if err := WriteSlice(s, shape, values); err != nil {
		t.Fatal(err)
	}
	var sum float32
	for name, call := range map[string]func() error{
		"Read":     func() error { _, err := s.Read(); return err },
		"TryRead":  func() error { _, err := s.TryRead(); return err },
		"ReadInto": func() error { _, err := s.ReadInto(buf); return err },
		"ReadWait": func() error { _, err := s.ReadWait(ctx); return err },
		"Next":     func() error { _, err := s.Next(ctx, 0); return err },
		"NextInto": func() error { _, err := s.NextInto(ctx, 0, buf); return err },
		"View": func() error {
			return View(ctx, s, func(shape []int, values []float32) error { sum += values[shape[0]]; return nil })
		},
		"Update": func() error { return s.Update(shape, Float32, func(data []byte) error { data[0]++; return nil }) },
		"UpdateSlice": func() error {
			return UpdateSlice(s, shape, func(values []float32) error { values[0] = sum; return nil })
		},
		"Write":      func() error { return s.Write(shape, Uint8, buf[:6]) },
		"WriteSlice": func() error { return WriteSlice(s, shape, values) },
		"Fill":       func() error { return s.Fill(shape, Float32, 1) },
		"Version":    func() error { s.Version(); return nil },
		"a view in use": func() error {
			if err := WriteSlice(s, shape, values); err != nil {
				return err
			}
			t, err := s.Read()
			if err != nil {
				return err
			}
			values, err := Slice[float32](&t)
			for i := range t.Shape()[0] {
				sum += values[i]
			}
			if !t.Valid() || t.Version() == 0 || t.DType() != Float32 || len(t.Data()) != 24 {
				return errors.New("the view is not valid")
			}
			return err
		},
	} {
		if err := WriteSlice(s, shape, values); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if err := call(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times a call", name, n)
		}
	}
}

func TestNoMemory(t *testing.T) {
	size := math.MaxInt - 1<<20 // a 32-bit machine has the addresses for one of these
	if bits.UintSize == 64 {
		size = math.MaxInt >> 3
	}
	var err error
	for range 4 {
		var s *Segment
		if s, err = New(size); err != nil {
			break
		}
		defer s.CloseWait()
	}
	if err == nil {
		t.Fatalf("four segments of %d bytes", size)
	}
	if errors.Is(err, ErrCapacity) || !strings.Contains(err.Error(), strconv.Itoa(size)) {
		t.Errorf("%v, want the system's reason and the size", err)
	}
	t.Log(err)
}

// frame is what a program may have: arrays that lie beside Go pointers.
type frame struct {
	name   *string
	next   *frame
	shape  [1]int
	pixels [64]byte
	values [8]float32
}

var onHeap *frame

// Slices of an object that holds Go pointers are slices as any.
func TestSlicesBesidePointers(t *testing.T) {
	s := newSegment(t, 64)
	name := "frame"
	f := &frame{name: &name, shape: [1]int{64}}
	f.next = f
	onHeap = f // cgo looks into nothing that lies on a stack
	for i := range f.pixels {
		f.pixels[i] = byte(i)
	}
	ctx := context.Background()
	for _, test := range []struct {
		name string
		call func() error
	}{
		{"Write", func() error { return s.Write(f.shape[:], Uint8, f.pixels[:]) }},
		{"ReadInto", func() error { _, err := s.ReadInto(f.pixels[:]); return err }},
		{"NextInto", func() error { _, err := s.NextInto(ctx, 0, f.pixels[:]); return err }},
		{"Update", func() error {
			return s.Update(f.shape[:], Uint8, func(data []byte) error { copy(data, f.pixels[:]); return nil })
		}},
		{"UpdateSlice", func() error {
			return UpdateSlice(s, f.shape[:], func(data []int8) error { copy(data, []int8{1}); return nil })
		}},
		{"Fill", func() error { return s.Fill(f.shape[:], Uint8, 3) }},
		{"WriteSlice", func() error { f.shape[0] = 8; return WriteSlice(s, f.shape[:], f.values[:]) }},
	} {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%s panics: %v", test.name, p)
				}
			}()
			if err := test.call(); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		}()
	}
	within(t, "CloseWait", func() { _ = s.CloseWait() })
}

// Whatever a callback does, no lock stays held.
func TestNoLockStaysHeld(t *testing.T) {
	leave := map[string]func(){
		"panics":             func() { panic("a panic") },
		"ends the goroutine": runtime.Goexit,
	}
	calls := map[string]func(s *Segment, leave func()) error{
		"Update": func(s *Segment, leave func()) error {
			return s.Update(nil, Uint8, func([]byte) error { leave(); return nil })
		},
		"UpdateSlice": func(s *Segment, leave func()) error {
			return UpdateSlice(s, nil, func([]uint8) error { leave(); return nil })
		},
		"View": func(s *Segment, leave func()) error {
			return View(context.Background(), s, func([]int, []uint8) error { leave(); return nil })
		},
		"Frames": func(s *Segment, leave func()) error {
			frames := s.Frames(context.Background())
			go func() { time.Sleep(time.Millisecond); _ = s.Fill(nil, Uint8, 2) }()
			for range frames {
				leave()
			}
			return nil
		},
	}
	for how, leave := range leave {
		for name, call := range calls {
			s := newSegment(t, 8)
			if err := s.Fill(nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
			within(t, name, func() {
				defer func() { _ = recover() }()
				err := call(s, leave)
				t.Errorf("%s returned %v though its function %s", name, err, how)
			})
			within(t, "the next write after "+name+" "+how, func() {
				if err := s.Fill(nil, Uint8, 7); err != nil {
					t.Errorf("the next write after %s %s: %v", name, how, err)
				}
			})
			within(t, "Pin", func() { _ = s.Pin() })
			if got, err := s.ReadCopy(context.Background()); err != nil || got.Data()[0] != 7 {
				t.Errorf("after %s %s: %v, %v", name, how, got.Data(), err)
			}
			within(t, "CloseWait after "+name+" "+how, func() { _ = s.CloseWait() })
		}
	}
}

// The zero Segment and a closed one. No method of them panics, and those that can fail return ErrClosed.
func TestClosedMethods(t *testing.T) {
	closed, err := New(64)
	if err != nil {
		t.Skipf("SKIP: %v", err)
	}
	if err := closed.Fill(nil, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if err := closed.CloseWait(); err != nil {
		t.Fatal(err)
	}
	justClosed, err := New(64)
	if err != nil {
		t.Fatal(err)
	}
	_ = justClosed.Close()
	argument := map[reflect.Type]any{
		reflect.TypeFor[context.Context](): context.Background(),
		reflect.TypeFor[[]int]():           []int{1},
		reflect.TypeFor[[]byte]():          []byte{1},
		reflect.TypeFor[DType]():           Uint8,
		reflect.TypeFor[float64]():         1.0,
		reflect.TypeFor[int]():             0,
		reflect.TypeFor[uint64]():          uint64(0),
		reflect.TypeFor[func([]byte) error](): func([]byte) error {
			t.Error("a function was called with the data of a closed segment")
			return nil
		},
	}
	// What those without an error return. Others return ErrClosed; these three nothing.
	want := map[string]any{"Close": nil, "CloseWait": nil, "UnregisterCUDA": nil, "IsPinned": false, "DataPtr": uintptr(0),
		"DevicePtr": uintptr(0), "Version": uint64(0), "Name": "", "Writer": WriterNone}
	for what, s := range map[string]*Segment{"the zero Segment": {}, "a closed one": closed, "one just closed": justClosed} {
		v := reflect.ValueOf(s)
		for i := range v.NumMethod() {
			name, method := v.Type().Method(i).Name, v.Method(i)
			var in []reflect.Value
			for j := range method.Type().NumIn() {
				value, ok := argument[method.Type().In(j)]
				if !ok {
					t.Fatalf("%s takes a %v: say here which", name, method.Type().In(j))
				}
				in = append(in, reflect.ValueOf(value))
			}
			var out []reflect.Value
			within(t, what+": "+name, func() {
				defer func() {
					if p := recover(); p != nil {
						t.Errorf("%s: %s panics: %v", what, name, p)
					}
				}()
				out = method.Call(in)
			})
			switch name {
			case "Unpin", "ByteCapacity", "Stats", "String", "LogValue":
				continue // these say what was
			case "Frames":
				n := 0
				for _, err := range out[0].Interface().(iter.Seq2[Tensor, error]) {
					if n++; err != ErrClosed || n > 1 {
						t.Errorf("%s: Frames gives %v", what, err)
					}
				}
				continue
			}
			if len(out) == 0 {
				t.Errorf("%s: %s returned nothing", what, name)
				continue
			}
			got := out[len(out)-1].Interface()
			expect, ok := want[name]
			if !ok {
				expect = ErrClosed
			}
			if got != expect {
				t.Errorf("%s: %s gives %v, want %v", what, name, got, expect)
			}
		}
		// The functions.
		if err := WriteSlice(s, []int{1}, []uint8{1}); err != ErrClosed {
			t.Errorf("%s: WriteSlice: %v", what, err)
		}
		if err := UpdateSlice(s, []int{1}, func([]uint8) error { t.Error("called"); return nil }); err != ErrClosed {
			t.Errorf("%s: UpdateSlice: %v", what, err)
		}
		if err := View(context.Background(), s, func([]int, []uint8) error { t.Error("called"); return nil }); err != ErrClosed {
			t.Errorf("%s: View: %v", what, err)
		}
		for _, text := range []string{s.String(), fmt.Sprint(s), fmt.Sprintf("%v", s), fmt.Sprintf("%+v", s)} {
			if !strings.Contains(text, "closed") {
				t.Errorf("%s is described as %q", what, text)
			}
		}
	}
	if got := new(Segment).ByteCapacity(); got != 0 {
		t.Errorf("the zero Segment has a capacity of %d", got)
	}
}

// A Segment is described by its kind, name, tensor and version, and never by an address.
func TestString(t *testing.T) {
	s := newSegment(t, 64)
	empty := "segment: no tensor, version 0"
	if got := s.String(); got != empty {
		t.Errorf("an empty segment is %q, want %q", got, empty)
	}
	if err := WriteSlice(s, []int{2, 3}, make([]float32, 6)); err != nil {
		t.Fatal(err)
	}
	view, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	const tensor = "float32 [2 3], version 2"
	var logged strings.Builder
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	logger.Info("x", "segment", s, "tensor", view, "pointer", &view)
	for _, test := range []struct {
		name, got, want string
	}{
		{"String", s.String(), "segment: " + tensor},
		{"%v", fmt.Sprintf("%v", s), "segment: " + tensor},
		{"%+v", fmt.Sprintf("%+v", s), "segment: " + tensor},
		{"a Tensor's String", view.String(), tensor},
		{"a Tensor, %v", fmt.Sprintf("%v", view), tensor},
		{"a Tensor, %+v", fmt.Sprintf("%+v", view), tensor},
		{"a Tensor's pointer, %v", fmt.Sprintf("%v", &view), tensor},
		{"a Tensor's pointer, %+v", fmt.Sprintf("%+v", &view), tensor},
		{"the zero Tensor", fmt.Sprint(Tensor{}), "no tensor, version 0"},
		{"a log", logged.String()[strings.Index(logged.String(), "segment.kind"):],
			`segment.kind=segment segment.dtype=float32 segment.shape="[2 3]" segment.version=2 ` +
				`tensor.dtype=float32 tensor.shape="[2 3]" tensor.version=2 ` +
				`pointer.dtype=float32 pointer.shape="[2 3]" pointer.version=2` + "\n"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %q, want %q", test.name, test.got, test.want)
		}
		if strings.Contains(test.got, fmt.Sprintf("%x", s.DataPtr()-DataOffset)) || strings.Contains(test.got, "0x") {
			t.Errorf("%s: %q has an address", test.name, test.got)
		}
	}
	// During a commit no tensor can be described, and the description does not wait for one.
	err = s.Update(nil, Uint8, func([]byte) error {
		within(t, "String", func() {
			if got := s.String(); got != "segment: no tensor, version 3" {
				t.Errorf("during a commit: %q", got)
			}
		})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	copied, err := s.ReadCopy(context.Background())
	if err != nil || copied.String() != "uint8 [], version 4" {
		t.Errorf("a copy of a scalar is %q, %v", copied.String(), err)
	}
}

// Stats counts what was done through a Segment.
func TestStats(t *testing.T) {
	s := newSegment(t, 64)
	other := newSegment(t, 64)
	ctx := context.Background()
	check := func(what string, want Stats) {
		t.Helper()
		if diff := cmp.Diff(want, s.Stats()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("a new segment", Stats{})
	if _, err := s.Read(); err != ErrEmpty {
		t.Fatal(err)
	}
	check("nothing was read", Stats{})
	for range 3 {
		if err := s.Fill([]int{2}, Uint8, 1); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Update(nil, Uint8, func([]byte) error { return errors.New("no") })
	_ = s.Fill([]int{-1}, Uint8, 1)
	_ = s.Fill([]int{65}, Uint8, 1)
	check("three commits, an Update that failed, and two that were refused", Stats{Commits: 4})
	if err := s.Fill([]int{2}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	_, _ = s.ReadInto(make([]byte, 1)) // too short
	buf := make([]byte, 2)
	_, _ = s.ReadInto(buf)
	_, _ = s.ReadCopy(ctx)
	_, _ = s.NextInto(ctx, 0, buf)
	_, _ = s.Next(ctx, 0)
	_ = View(ctx, s, func([]int, []uint8) error { return nil })
	got := s.Stats()
	if got.Commits != 5 || got.Reads < 5 || got.Reads > 8 || got.Retries != 0 || got.Parks != 0 || got.Wakes != 0 {
		t.Errorf("after 5 commits and 5 reads: %+v", got)
	}
	before := s.Stats().Retries
	_ = View(ctx, s, func([]int, []uint8) error { // the first call is too late
		if s.Stats().Retries == before {
			return s.Fill([]int{2}, Uint8, 2)
		}
		return nil
	})
	if got := s.Stats().Retries - before; got > 1 {
		t.Errorf("%d retries, and one attempt was spoiled", got)
	}
	if got := other.Stats(); got != (Stats{}) {
		t.Errorf("another segment: %+v", got)
	}
}
