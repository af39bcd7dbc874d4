package live

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
)

func openSource(t *testing.T, name string) *Source {
	t.Helper()
	s, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// mustCopy returns the shape and the elements of a copy.
func mustCopy(t *testing.T, s *Source) ([]int, []int32) {
	t.Helper()
	tensor, err := s.Copy(t.Context(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return tensor.Shape, int32s(t, tensor)
}

// int32s returns the elements of a copy.
func int32s(t *testing.T, tensor Tensor) []int32 {
	t.Helper()
	if tensor.DType != judemap.Int32 {
		t.Fatalf("%v, want int32", tensor.DType)
	}
	values := make([]int32, len(tensor.Data)/4)
	for i := range values {
		values[i] = int32(binary.LittleEndian.Uint32(tensor.Data[4*i:]))
	}
	return values
}

func TestCopySegment(t *testing.T) {
	name := nameOf(t)
	segment, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	s := openSource(t, name)
	if _, err := s.Copy(t.Context(), 64); !errors.Is(err, judemap.ErrEmpty) {
		t.Errorf("a copy of nothing: %v", err)
	}
	for _, want := range [][]int32{{1}, {1, 2, 3, 4}, {}, {7, 8}} {
		if err := judemap.WriteSlice(segment, []int{len(want)}, want); err != nil {
			t.Fatal(err)
		}
		shape, got := mustCopy(t, s)
		if !cmp.Equal(shape, []int{len(want)}) || len(got) != len(want) || len(want) > 0 && !cmp.Equal(got, want) {
			t.Errorf("a copy of %v: %v %v", want, shape, got)
		}
	}
	if _, err := s.Copy(t.Context(), 7); !errors.Is(err, ErrTooLarge) {
		t.Errorf("8 bytes, where 7 may be copied: %v", err)
	}
	if v, err := s.Version(); v != segment.Version() || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	if head, slots, err := s.Headers(); len(head) != judemap.DataOffset || slots != nil || err != nil {
		t.Errorf("%d bytes of header, %d slots, %v", len(head), len(slots), err)
	}
	err = segment.Update([]int{1}, judemap.Uint8, func([]byte) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		if _, err := s.Copy(ctx, 64); !errors.Is(err, ErrTorn) {
			t.Errorf("a copy in the middle of a commit: %v", err)
		}
		return errors.ErrUnsupported
	})
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	if _, err := s.Copy(t.Context(), 64); !errors.Is(err, judemap.ErrEmpty) {
		t.Errorf("a copy of what was given up: %v", err)
	}
}

// What was made anew under its name is not copied, and is not the same.
func TestCopyRemade(t *testing.T) {
	name := nameOf(t)
	create := func() Header {
		t.Helper()
		segment, err := judemap.Create(name, 8)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { segment.Close() })
		if err := segment.Fill([]int{1}, judemap.Int32, 1); err != nil {
			t.Fatal(err)
		}
		header, err := Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return header
	}
	first := create()
	s := openSource(t, name)
	mustCopy(t, s)
	if err := judemap.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(t.Context(), 8); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a copy of what was removed: %v", err)
	}
	second := create()
	if !s.Same(&first) || s.Same(&second) {
		t.Errorf("%v is the same: %v; %v: %v", first.File, s.Same(&first), second.File, s.Same(&second))
	}
	if _, err := s.Copy(t.Context(), 8); !errors.Is(err, errRemade) {
		t.Errorf("a copy of what was made anew: %v", err)
	}
}

// A copy of a stream is its newest frame, also while a writer goes on, and is never torn.
func TestCopyStream(t *testing.T) {
	name := nameOf(t)
	stream, err := judemap.CreateStream(name, 3, 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	s := openSource(t, name)
	if _, err := s.Copy(t.Context(), 64); !errors.Is(err, judemap.ErrEmpty) {
		t.Errorf("a copy of nothing: %v", err)
	}
	frame := make([]int32, 1024)
	write := func(n int32) {
		for i := range frame {
			frame[i] = n
		}
		if err := judemap.StreamSlice(t.Context(), stream, []int{len(frame)}, frame); err != nil {
			t.Error(err)
		}
	}
	write(1)
	if _, got := mustCopy(t, s); !cmp.Equal(got, frame) {
		t.Errorf("a copy of 1s: %v", got)
	}
	if head, slots, err := s.Headers(); len(head) != layout.StreamHeaderSize || len(slots) != 3 || err != nil {
		t.Errorf("%d bytes of header, %d slots, %v", len(head), len(slots), err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := int32(2); ; n++ {
			select {
			case <-stop:
				return
			default:
				write(n)
			}
		}
	}()
	newest, copies := int32(0), 0
	for until := time.Now().Add(300 * time.Millisecond); time.Now().Before(until); {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		tensor, err := s.Copy(ctx, 1<<20)
		cancel()
		if err != nil {
			continue // a writer without pauses
		}
		values := int32s(t, tensor)
		for _, v := range values {
			if v != values[0] {
				t.Fatalf("%d and %d in one frame", values[0], v)
			}
		}
		if values[0] < newest {
			t.Fatalf("frame %d after %d", values[0], newest)
		}
		newest, copies = values[0], copies+1
	}
	close(stop)
	<-stopped
	t.Logf("%d copies of %d frames", copies, newest)
	if copies == 0 {
		t.Error("no copy of a stream that is written to")
	}
}

// A file that is cut short is an error, and no fault.
func TestCopyCutShort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIP: where the file lies, this test knows on Linux only")
	}
	for _, kind := range []string{"segment", "stream"} {
		t.Run(kind, func(t *testing.T) {
			name := nameOf(t)
			if kind == "stream" {
				s, err := judemap.CreateStream(name, 3, 1<<16)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Fill(t.Context(), []int{1 << 14}, judemap.Int32, 1); err != nil {
					t.Fatal(err)
				}
				s.CloseWait()
			} else {
				s, err := judemap.Create(name, 1<<16)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Fill([]int{1 << 14}, judemap.Int32, 1); err != nil {
					t.Fatal(err)
				}
				s.CloseWait()
			}
			s := openSource(t, name)
			mustCopy(t, s)
			for _, size := range []int64{20000, 8200, 4000, 100, 4, 0} {
				if err := os.Truncate(filepath.Join("/dev/shm", name), size); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Copy(t.Context(), 1<<20); !errors.Is(err, judemap.ErrCorrupt) {
					t.Errorf("a copy of what was cut to %d bytes: %v", size, err)
				}
				if _, _, err := s.Headers(); size < 256 && !errors.Is(err, judemap.ErrCorrupt) {
					t.Errorf("headers of what was cut to %d bytes: %v", size, err)
				}
				if r := rowOf(t, NewSampler(), name); r != nil && size < 8192 && r.Problem == "" {
					t.Errorf("what was cut to %d bytes is sampled as %+v", size, r)
				}
			}
			if _, err := s.Version(); !errors.Is(err, judemap.ErrCorrupt) {
				t.Errorf("the version of nothing: %v", err)
			}
		})
	}
}
