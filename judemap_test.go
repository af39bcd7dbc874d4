package judemap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

func newSegment(t testing.TB, capacity int, opts ...Option) *Segment {
	t.Helper()
	s, err := New(capacity, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.CloseWait(); err != nil {
			t.Errorf("CloseWait: %v", err)
		}
	})
	return s
}

// memory returns the whole segment, header and data.
func memory(s *Segment) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(s.mapping.header)), DataOffset+s.capacity)
}

// seen is what a test compares of a Tensor.
type seen struct {
	Shape   []int
	DType   DType
	Data    []byte
	Version uint64
	Valid   bool
}

func see(t *Tensor) seen {
	return seen{t.Shape(), t.DType(), append([]byte{}, t.Data()...), t.Version(), t.Valid()}
}

// reads are all the ways to read a tensor that is there.
var reads = map[string]func(*Segment) (Tensor, error){
	"Read":     (*Segment).Read,
	"TryRead":  (*Segment).TryRead,
	"ReadCopy": func(s *Segment) (Tensor, error) { return s.ReadCopy(context.Background()) },
	"ReadInto": func(s *Segment) (Tensor, error) { return s.ReadInto(make([]byte, s.ByteCapacity())) },
	"ReadWait": func(s *Segment) (Tensor, error) { return s.ReadWait(context.Background()) },
	"ReadCopyWait": func(s *Segment) (Tensor, error) {
		return s.ReadCopyWait(context.Background())
	},
	"Next": func(s *Segment) (Tensor, error) { return s.Next(context.Background(), 0) },
	"NextInto": func(s *Segment) (Tensor, error) {
		return s.NextInto(context.Background(), 0, make([]byte, s.ByteCapacity()))
	},
}

func TestReadsAgree(t *testing.T) {
	steps := []struct {
		name  string
		write func(*Segment) error
		want  seen
	}{
		{"Write", func(s *Segment) error { return s.Write([]int{2, 1}, Int16, []byte{1, 2, 3, 4}) },
			seen{[]int{2, 1}, Int16, []byte{1, 2, 3, 4}, 2, true}},
		{"WriteSlice", func(s *Segment) error { return WriteSlice(s, []int{3}, []uint16{0x0201, 0x0403, 0x0605}) },
			seen{[]int{3}, Uint16, []byte{1, 2, 3, 4, 5, 6}, 4, true}},
		{"Fill", func(s *Segment) error { return s.Fill([]int{2, 2}, Int8, -1.9) },
			seen{[]int{2, 2}, Int8, []byte{255, 255, 255, 255}, 6, true}},
		{"Update", func(s *Segment) error {
			return s.Update([]int{1, 1, 1, 1, 1, 1, 1, 2}, Bool, func(data []byte) error {
				if len(data) != 2 || cap(data) != 2 {
					return fmt.Errorf("fill got %d bytes of %d", len(data), cap(data))
				}
				copy(data, []byte{1, 0})
				return nil
			})
		}, seen{[]int{1, 1, 1, 1, 1, 1, 1, 2}, Bool, []byte{1, 0}, 8, true}},
		{"a scalar", func(s *Segment) error { return WriteSlice(s, nil, []int32{-2}) },
			seen{[]int{}, Int32, []byte{254, 255, 255, 255}, 10, true}},
		{"an empty tensor", func(s *Segment) error { return s.Write([]int{math.MaxInt, 0, math.MaxInt}, Float32, nil) },
			seen{[]int{math.MaxInt, 0, math.MaxInt}, Float32, []byte{}, 12, true}},
	}
	s := newSegment(t, 64)
	for name, read := range reads {
		if strings.Contains(name, "Wait") || strings.HasPrefix(name, "Next") {
			continue
		}
		if _, err := read(s); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s before the first commit: %v, want ErrEmpty", name, err)
		}
	}
	for _, step := range steps {
		if err := step.write(s); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for name, read := range reads {
			got, err := read(s)
			if err != nil {
				t.Fatalf("%s after %s: %v", name, step.name, err)
			}
			if diff := cmp.Diff(step.want, see(&got)); diff != "" {
				t.Errorf("%s after %s (-want +got):\n%s", name, step.name, diff)
			}
		}
		if got := s.Version(); got != step.want.Version {
			t.Errorf("Version after %s: %d, want %d", step.name, got, step.want.Version)
		}
	}
}

func TestSlice(t *testing.T) {
	type celsius float64 // Element takes named types too
	s := newSegment(t, 64)
	if err := WriteSlice(s, []int{3}, []celsius{-1.5, 0, 36.6}); err != nil {
		t.Fatal(err)
	}
	view, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Slice[celsius](&view)
	if diff := cmp.Diff([]celsius{-1.5, 0, 36.6}, got); err != nil || diff != "" {
		t.Errorf("Slice: %v (-want +got):\n%s", err, diff)
	}
	if uintptr(unsafe.Pointer(&got[0])) != s.DataPtr() {
		t.Error("Slice copied the data")
	}
	if _, err := Slice[float32](&view); !errors.Is(err, ErrDType) || !strings.Contains(err.Error(), "float64, not float32") {
		t.Errorf("Slice of another type: %v", err)
	}
	buf := make([]byte, 65)
	odd, err := s.ReadInto(buf[1:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Slice[celsius](&odd); !errors.Is(err, ErrDType) || !strings.Contains(err.Error(), "aligned to 8") {
		t.Errorf("Slice of unaligned data: %v", err)
	}
	var zero Tensor
	if zero.Valid() || len(zero.Data()) != 0 || len(zero.Shape()) != 0 {
		t.Error("the zero Tensor has something")
	}
}

// TestBadInput is the table of the API: every bad input gets its error, with the numbers, and what was committed before
// is still there.
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
		{"a product that overflows", func() error { return s.Fill([]int{1 << 32, 1 << 32}, Uint8, 0) }, ErrShape, []string{"4294967296", "overflows"}},
		{"a product that wraps to a small one", func() error { return s.Write([]int{1 << 33, 1 << 31, 1}, Float64, nil) }, ErrShape, []string{"overflows"}},
		{"a size that overflows", func() error { return s.Fill([]int{math.MaxInt}, Int16, 0) }, ErrShape, []string{"overflows"}},
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
			go func() { // the parked reader below sees the next commit, not the one that was given up
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

func TestBusy(t *testing.T) {
	s := newSegment(t, 16)
	filling, finish := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		_ = s.Update([]int{1}, Uint8, func([]byte) error { close(filling); <-finish; return nil })
	}()
	<-filling
	if _, err := s.TryRead(); err != ErrBusy {
		t.Errorf("TryRead during an Update: %v, want ErrBusy", err)
	}
	if v := s.Version(); v != 1 {
		t.Errorf("Version during the first Update: %d, want 1", v)
	}
	// All other reads wait it out.
	for name, read := range reads {
		if name == "TryRead" {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			if got, err := read(s); err != nil || got.Version() != 2 {
				t.Errorf("%s across an Update: version %d, %v", name, got.Version(), err)
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	close(finish)
	wg.Wait()
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

func TestPointers(t *testing.T) {
	s := newSegment(t, 100)
	if p := s.DataPtr(); p == 0 || p%256 != 0 {
		t.Errorf("DataPtr is %#x, which is not aligned to 256", p)
	}
	if err := s.Fill([]int{1}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	view, _ := s.Read()
	if got := uintptr(unsafe.Pointer(unsafe.SliceData(view.Data()))); got != s.DataPtr() {
		t.Errorf("a view's data is at %#x, and DataPtr is %#x", got, s.DataPtr())
	}
	// A view can be written back over itself.
	if err := s.Write(view.Shape(), view.DType(), view.Data()); err != nil {
		t.Error(err)
	}
}

// The memory of a Segment that was never closed goes with the Segment, and that of a view with the view.
func TestUnreachable(t *testing.T) {
	var last Tensor
	for i := range 200 {
		s, err := New(64 << 20)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Fill([]int{1 << 20}, Uint8, float64(i)); err != nil {
			t.Fatal(err)
		}
		if last, err = s.Read(); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			runtime.GC()
		}
	}
	runtime.GC()
	if d := last.Data(); d[0] != 199 || !last.Valid() {
		t.Errorf("the view of an unreachable Segment: %d, valid %v", d[0], last.Valid())
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
		"Read":       func() error { _, err := s.Read(); return err },
		"TryRead":    func() error { _, err := s.TryRead(); return err },
		"ReadInto":   func() error { _, err := s.ReadInto(buf); return err },
		"ReadWait":   func() error { _, err := s.ReadWait(ctx); return err },
		"Next":       func() error { _, err := s.Next(ctx, 0); return err },
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
	_, err := New(1 << 60)
	if err == nil {
		t.Fatal("a segment of 2^60 bytes")
	}
	if errors.Is(err, ErrCapacity) || !strings.Contains(err.Error(), "1152921504606846976") {
		t.Errorf("%v, want the system's reason and the size", err)
	}
	t.Log(err)
}
