package judemap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

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
	// All other reads wait until the commit has ended.
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

// Readers finish many times while writers never pause, because the writers must give them a turn.
func TestReadersFinish(t *testing.T) {
	const size = 4 << 20
	s := newSegment(t, size)
	data := make([]byte, size)
	if err := s.Write([]int{size}, Uint8, data); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	// Two that wait for each other: as one commit ends the next begins, and each takes a millisecond.
	commit := func(data []byte) error { data[0]++; time.Sleep(time.Millisecond); return nil }
	for range 2 {
		writer.Add(1)
		go func() {
			defer writer.Done()
			for {
				select {
				case <-stop:
					return
				default:
					if err := s.Update([]int{size}, Uint8, commit); err != nil {
						t.Error(err)
						return
					}
				}
			}
		}()
	}
	for name, read := range reads {
		if name == "TryRead" {
			continue
		}
		var longest time.Duration
		for range 10 {
			start := time.Now()
			if _, err := read(s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			longest = max(longest, time.Since(start))
		}
		t.Logf("%s: the longest of 10 took %v", name, longest)
	}
	close(stop)
	writer.Wait()
}

// TestHeaders puts the headers of testdata/headers.txt into a segment: Go's one attempt at a view, and what it leaves
// to the core, keep the rule that the core's own test keeps.
func TestHeaders(t *testing.T) {
	file, err := os.Open("testdata/headers.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		rows++
		words := strings.Fields(line)
		field := words[0]
		var numbers []uint64
		for _, word := range words[1:] {
			n, err := strconv.ParseUint(word, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			numbers = append(numbers, n)
		}
		s := newSegment(t, int(numbers[0]))
		copy(memory(s), headerOf(2, uint32(numbers[1]), uint32(numbers[2]), numbers[3], numbers[4:]...))
		buf := make([]byte, numbers[0])
		for name, read := range map[string]func() (Tensor, error){
			"Read":     s.Read,
			"TryRead":  s.TryRead,
			"ReadInto": func() (Tensor, error) { return s.ReadInto(buf) },
			"ReadCopy": func() (Tensor, error) { return s.ReadCopy(context.Background()) },
		} {
			got, err := read()
			switch field {
			case "ok":
				large := false // a dimension that an int of this machine can't hold
				var shape []int
				for _, n := range numbers[4:] {
					large = large || n > math.MaxInt
					shape = append(shape, int(n))
				}
				if large {
					if !errors.Is(err, ErrCapacity) {
						t.Errorf("%s: %s: %v, want ErrCapacity", line, name, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %s: %v", line, name, err)
					continue
				}
				want := seen{append([]int{}, shape...), DType(numbers[2]), make([]byte, numbers[3]), 2, true}
				if diff := cmp.Diff(want, see(&got)); diff != "" {
					t.Errorf("%s: %s (-want +got):\n%s", line, name, diff)
				}
			case "none":
				if err != ErrEmpty {
					t.Errorf("%s: %s: %v, want ErrEmpty", line, name, err)
				}
			default:
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), field+" is ") {
					t.Errorf("%s: %s: %v, want ErrCorrupt that names %s", line, name, err, field)
				}
			}
		}
	}
	if rows < 30 {
		t.Errorf("%d headers", rows)
	}
}

func TestView(t *testing.T) {
	ctx := context.Background()
	s := newSegment(t, 64)
	values := func(out *[]int16) func([]int, []int16) error {
		return func(shape []int, data []int16) error {
			if len(shape) != 1 || shape[0] != len(data) {
				return fmt.Errorf("shape %v of %d elements", shape, len(data))
			}
			*out = append([]int16{}, data...)
			return nil
		}
	}
	var got []int16
	if err := View(ctx, s, values(&got)); err != ErrEmpty {
		t.Errorf("of nothing: %v, want ErrEmpty", err)
	}
	if err := WriteSlice(s, []int{3}, []int16{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := View(ctx, s, values(&got)); err != nil || fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("%v, %v", got, err)
	}
	if err := View(ctx, s, func([]int, []float32) error { return nil }); !errors.Is(err, ErrDType) {
		t.Errorf("of another type: %v, want ErrDType", err)
	}
	broken := errors.New("broken")
	calls := 0
	if err := View(ctx, s, func([]int, []int16) error { calls++; return broken }); err != broken || calls != 1 {
		t.Errorf("the error of use: %v after %d calls", err, calls)
	}
	// The error of a call that was too late is ignored.
	calls = 0
	err := View(ctx, s, func(_ []int, data []int16) error {
		if calls++; calls == 1 {
			if err := WriteSlice(s, []int{2}, []int16{4, 5}); err != nil {
				t.Error(err)
			}
			return broken
		}
		return values(&got)([]int{len(data)}, data)
	})
	if err != nil || calls != 2 || fmt.Sprint(got) != "[4 5]" {
		t.Errorf("one call that is too late: %v, %v, %d calls", got, err, calls)
	}
	// If every call is too late, the last one gets a copy.
	calls = 0
	err = View(ctx, s, func(_ []int, data []int16) error {
		calls++
		inPlace := uintptr(unsafe.Pointer(&data[0])) == s.DataPtr()
		if inPlace != (calls <= viewsInPlace) {
			t.Errorf("call %d in place: %v", calls, inPlace)
		}
		before := data[0]
		if err := WriteSlice(s, []int{1}, []int16{int16(100 + calls)}); err != nil {
			t.Error(err)
		}
		got = append([]int16{}, data...)
		if !inPlace && data[0] != before {
			t.Error("the copy changed")
		}
		return nil
	})
	if err != nil || calls != viewsInPlace+1 || fmt.Sprint(got) != fmt.Sprint([]int16{int16(100 + viewsInPlace)}) {
		t.Errorf("all calls too late: %v, %v, %d calls", got, err, calls)
	}
	// The end of the context ends View between two calls, or before the first call while a commit is in progress.
	short, cancel := context.WithCancel(ctx)
	err = View(short, s, func([]int, []int16) error {
		cancel()
		return WriteSlice(s, []int{1}, []int16{0})
	})
	if err != context.Canceled {
		t.Errorf("the context's end: %v", err)
	}
	err = s.Update(nil, Uint8, func([]byte) error {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		if err := View(short, s, values(&got)); err != context.DeadlineExceeded {
			t.Errorf("during a commit: %v, want the context's end", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Under a writer flat out every View sees a whole tensor.
func TestViewUnderLoad(t *testing.T) {
	for _, size := range []int{24, 1 << 20} {
		n := size / 8
		s := newSegment(t, size)
		stop, wrote := make(chan struct{}), make(chan error)
		go func() { wrote <- stressWriter(s, n, stop) }()
		eventually(t, "the first commit", func() bool { return s.Version() > 1 })
		views := 0
		for end := time.Now().Add(stressTime(t)); time.Now().Before(end) || views == 0; views++ {
			var copied []int64
			var seen []int
			err := View(context.Background(), s, func(shape []int, data []int64) error {
				seen, copied = append(seen[:0], shape...), append(copied[:0], data...)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			// The version is told by the first element, whose multiplier has an inverse.
			version := uint64(copied[0]) * 0xF1DE83E19937733D
			if fmt.Sprint(seen) != fmt.Sprint(stressShape(version, n)) {
				t.Fatalf("version %d has shape %v, want %v", version, seen, stressShape(version, n))
			}
			for i, v := range copied {
				if v != element(version, i) {
					t.Fatalf("version %d is torn: element %d", version, i)
				}
			}
		}
		close(stop)
		if err := <-wrote; err != nil {
			t.Error(err)
		}
		t.Logf("%d bytes: %d views, %+v", size, views, s.Stats())
	}
}

func TestNextInto(t *testing.T) {
	ctx := context.Background()
	s := newSegment(t, 64)
	buf := make([]byte, 64)
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := s.NextInto(short, 0, buf); err != context.DeadlineExceeded {
		t.Errorf("of nothing: %v, want the context's end", err)
	}
	done := make(chan error)
	go func() {
		got, err := s.NextInto(ctx, 0, buf)
		if err == nil && string(got.Data()) != "ab" || unsafe.SliceData(got.Data()) != unsafe.SliceData(buf) {
			err = fmt.Errorf("%q", got.Data())
		}
		done <- err
	}()
	time.Sleep(5 * time.Millisecond)
	if err := s.Write([]int{2}, Uint8, []byte("ab")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the parked one: %v", err)
	}
	if _, err := s.NextInto(ctx, 1, buf[:1]); !errors.Is(err, io.ErrShortBuffer) || !strings.Contains(err.Error(), "2") {
		t.Errorf("a short buffer: %v", err)
	}
	if _, err := s.NextInto(short, 0, buf); err != context.DeadlineExceeded {
		t.Errorf("an ended context, with a tensor there: %v", err)
	}
	// A tensor newer than the one asked for is returned; an older one is not.
	for after, want := range map[uint64]error{0: nil, 1: nil, 2: context.DeadlineExceeded, 3: context.DeadlineExceeded} {
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		if _, err := s.NextInto(short, after, buf); err != want {
			t.Errorf("after %d: %v, want %v", after, err, want)
		}
		cancel()
	}
	// An Update that fails leaves no tensor, so the wait goes on.
	go func() {
		time.Sleep(5 * time.Millisecond)
		_ = s.Update(nil, Uint8, func([]byte) error { return errors.New("no") })
		time.Sleep(5 * time.Millisecond)
		_ = s.Fill(nil, Uint8, 9)
	}()
	if got, err := s.NextInto(ctx, 2, buf); err != nil || got.Version() != 6 || got.Data()[0] != 9 {
		t.Errorf("across an Update that gives up: %v, %v", got, err)
	}
}

// The copying reads of a writer's own process finish though it never pauses, and their context ends them.
func TestReadCopyContext(t *testing.T) {
	const size = 8 << 20
	s := newSegment(t, size)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		data := make([]byte, size)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := s.Write([]int{size}, Uint8, data); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer writer.Wait()
	defer close(stop)
	eventually(t, "the first commit", func() bool { return s.Version() > 1 })
	for range 10 {
		within(t, "ReadCopy", func() {
			if _, err := s.ReadCopy(context.Background()); err != nil {
				t.Error(err)
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		within(t, "ReadCopy with a context", func() {
			if _, err := s.ReadCopy(ctx); err != nil && err != context.DeadlineExceeded {
				t.Error(err)
			}
		})
		cancel()
	}
	// A commit that does not end.
	stuck := newSegment(t, 8)
	if err := stuck.Fill(nil, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	filling, finish := make(chan struct{}), make(chan struct{})
	writer.Go(func() {
		_ = stuck.Update(nil, Uint8, func([]byte) error { close(filling); <-finish; return nil })
	})
	<-filling
	for name, call := range map[string]func(context.Context) error{
		"ReadCopy":     func(ctx context.Context) error { _, err := stuck.ReadCopy(ctx); return err },
		"ReadCopyWait": func(ctx context.Context) error { _, err := stuck.ReadCopyWait(ctx); return err },
		"NextInto":     func(ctx context.Context) error { _, err := stuck.NextInto(ctx, 0, make([]byte, 8)); return err },
		"ReadWait":     func(ctx context.Context) error { _, err := stuck.ReadWait(ctx); return err },
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		within(t, name, func() {
			if err := call(ctx); err != context.DeadlineExceeded {
				t.Errorf("%s across a commit that does not end: %v, want the context's end", name, err)
			}
		})
		cancel()
	}
	close(finish)
}
