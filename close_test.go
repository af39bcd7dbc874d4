package judemap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// child runs a test of this binary again, in a process of its own, where it finds the variable JUDEMAP_CHILD set.
func child(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), "JUDEMAP_CHILD="+name)
	return cmd
}

func isChild(t *testing.T) bool { return os.Getenv("JUDEMAP_CHILD") == t.Name() }

// TestCloseUnderLoad closes segments while goroutines read, wait, write, pin and hold views, in a child process: a
// fault there would be the death of it.
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
			runtime.GC() // views of earlier segments go
		}
	}
	t.Logf("%d segments closed under load, %d views checked", segments, views.Load())
}

// CloseWait gives the memory back while a view keeps the addresses.
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

// statusKiB returns a row of the kernel's account of this process's memory.
func statusKiB(t *testing.T, row string) int { return procKiB(t, "/proc/self/status", row) }

func procKiB(t *testing.T, file, row string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("SKIP: memory is read from %s: %v", file, err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int
		if n, _ := fmt.Sscanf(line, row+": %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Skipf("SKIP: no %s in %s", row, file)
	return 0
}

// A segment past 4 GiB is written, filled and read at its far end.
func TestPast4GiB(t *testing.T) {
	const size = 5 << 30
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
	far(view, err, 4<<30/8, 1<<40)
	if err := s.Update([]int{5, 1 << 30}, Uint8, func(data []byte) error { data[size-1] = 9; return nil }); err != nil {
		t.Fatal(err)
	}
	view, err = s.Read()
	far(view, err, size-1, 9)
}
