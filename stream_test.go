package judemap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// newTestStream makes a stream that is closed with the test: private, or with sealed a file's.
func newTestStream(t testing.TB, slots, capacity int, opts ...Option) *Stream {
	t.Helper()
	s, err := NewStream(slots, capacity, opts...)
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
			t.Run(fmt.Sprintf("every=%v/shared=%v", every, sealed), func(t *testing.T) {
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
