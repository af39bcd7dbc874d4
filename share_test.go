//go:build cgo

package judemap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/judemap/judemap/internal/layout"
)

func TestNames(t *testing.T) {
	s := named(t, 100)
	if s.Name() == "" || s.ByteCapacity() != 100 {
		t.Errorf("name %q, capacity %d", s.Name(), s.ByteCapacity())
	}
	if _, err := Create(s.Name(), 100); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), s.Name()) {
		t.Errorf("Create of an existing name: %v, want fs.ErrExist", err)
	}
	if names, err := List(); err != nil || !slices.Contains(names, s.Name()) {
		t.Errorf("List: %v, %v", names, err)
	}
	other, err := Open(s.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteSlice(s, []int{2}, []int16{1, 2}); err != nil {
		t.Fatal(err)
	}
	if got, err := other.Read(); err != nil || got.Version() != 2 || other.ByteCapacity() != 100 {
		t.Errorf("version %d, capacity %d, %v", got.Version(), other.ByteCapacity(), err)
	}
	if err := other.CloseWait(); err != nil {
		t.Error(err)
	}

	// A name that is removed can be given again; who has the segment open keeps it.
	gone, err := Create(uniqueName(), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	if err := Remove(gone.Name()); err != nil {
		t.Fatal(err)
	}
	if err := gone.Fill(nil, Uint8, 1); err != nil {
		t.Errorf("writing to a segment whose name is gone: %v", err)
	}
	if _, err := Open(gone.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of no name: %v, want fs.ErrNotExist", err)
	}
	if err := Remove(gone.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove of no name: %v, want fs.ErrNotExist", err)
	}
	again, err := Create(gone.Name(), 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.CloseWait(), Remove(again.Name())); err != nil {
		t.Error(err)
	}

	for _, test := range []struct{ name, says string }{
		{"", "empty"}, {".", "folder"}, {"..", "folder"}, {"a/b", "slash"}, {"/a", "slash"}, {"a\x00b", "NUL"},
		{strings.Repeat("x", 256), "256"},
	} {
		_, createErr := Create(test.name, 100)
		_, openErr := Open(test.name)
		for call, err := range map[string]error{"Create": createErr, "Open": openErr, "Remove": Remove(test.name)} {
			if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s(%.20q): %v, want fs.ErrInvalid and %q", call, test.name, err, test.says)
			}
		}
	}
	if _, err := Create(uniqueName(), 0); !errors.Is(err, ErrCapacity) {
		t.Errorf("capacity 0: %v", err)
	}
	if bits.UintSize < 64 {
		return // what no machine has can't be said there
	}
	if _, err := Create(uniqueName(), math.MaxInt/2); err == nil || !strings.Contains(err.Error(), strconv.Itoa(math.MaxInt/2)) {
		t.Errorf("a capacity that no machine has: %v", err)
	}
	capacity := uint64(1) << 60 // a variable: the constant is too large for the int of a 32-bit machine
	if _, err := Create(uniqueName(), int(capacity)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("more than any machine has: %v, want ENOSPC", err)
	}
}

func TestReadOnly(t *testing.T) {
	s := named(t, 64)
	reader := reopen(t, s, WithReadOnly())
	if err := reader.Fill(nil, Uint8, 1); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("writing: %v, want fs.ErrPermission", err)
	}
	if s.Version() != 0 {
		t.Error("a denied write changed the segment")
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		_ = WriteSlice(s, []int{1}, []float64{2.5})
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	got, err := reader.ReadWait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if values, err := Slice[float64](&got); err != nil || values[0] != 2.5 {
		t.Errorf("%v, %v", values, err)
	}
	if got := reader.Writer(); got != WriterOther {
		t.Errorf("Writer is %v", got)
	}
}

// A sealed segment can't be shortened by anybody who has its descriptor; and it is one segment for all of them.
func TestSealed(t *testing.T) {
	s := newSegment(t, 1<<20, WithSealed())
	if s.Name() != "" {
		t.Errorf("its name is %q", s.Name())
	}
	file, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	sizes := []int64{0, 4096}
	if runtime.GOOS == "linux" {
		sizes = append(sizes, 1<<30)
	}
	for _, size := range sizes {
		if err := file.Truncate(size); err == nil || runtime.GOOS == "linux" && !errors.Is(err, syscall.EPERM) {
			t.Errorf("cutting it to %d bytes: %v, want EPERM", size, err)
		}
	}
	other, err := OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := file.Close(); err != nil { // it was the caller's
		t.Fatal(err)
	}
	data := make([]byte, 1<<20)
	data[1<<20-1] = 77
	if err := other.Write([]int{1 << 20}, Uint8, data); err != nil {
		t.Fatal(err)
	}
	got, err := s.Read()
	if err != nil || got.Data()[1<<20-1] != 77 {
		t.Errorf("read through the other: %v", err)
	}
	if err := s.Fill(nil, Uint8, 1); err != ErrWriterActive {
		t.Errorf("a second writer: %v, want ErrWriterActive", err)
	}
	if err := other.CloseWait(); err != nil {
		t.Fatal(err)
	}
	if err := s.Fill(nil, Uint8, 1); err != nil {
		t.Errorf("writing after the writer closed: %v", err)
	}
	if _, err := newSegment(t, 1).File(); !errors.Is(err, ErrUnsupported) {
		t.Errorf("File of a private segment: %v, want ErrUnsupported", err)
	}
	if _, err := other.File(); err != ErrClosed {
		t.Errorf("File of a closed segment: %v", err)
	}
	if _, err := OpenFile(nil); err == nil {
		t.Error("OpenFile(nil) gives a segment")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := OpenFile(r); err == nil {
		t.Error("a pipe opens as a segment")
	}
}

// Zero-copy reads of a shared segment allocate nothing, nor do its writes.
func TestSharedNoAllocations(t *testing.T) {
	s := named(t, 1<<20)
	reader := reopen(t, s)
	values, buf, shape := make([]float32, 100), make([]byte, 400), []int{10, 10}
	for name, call := range map[string]func() error{
		"WriteSlice": func() error { return WriteSlice(s, shape, values) },
		"Read":       func() error { _, err := reader.Read(); return err },
		"ReadInto":   func() error { _, err := reader.ReadInto(buf); return err },
		"Next":       func() error { _, err := reader.Next(context.Background(), 0); return err },
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

// OpenOrCreate gives a producer its segment whether it is there or not, and says so where that one is too small.
func TestOpenOrCreate(t *testing.T) {
	named(t, 1) // skips where there is no sharing
	name := uniqueName()
	defer func() { _ = Remove(name) }()
	first, err := OpenOrCreate(name, 100, WithMode(0o640))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := first.Fill([]int{3}, Uint8, 5); err != nil {
		t.Fatal(err)
	}
	for _, capacity := range []int{1, 99, 100} {
		second, err := OpenOrCreate(name, capacity)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := second.Read(); err != nil || second.ByteCapacity() != 100 || second.Name() != name || len(got.Data()) != 3 {
			t.Errorf("the one that is there: capacity %d, name %q, %v", second.ByteCapacity(), second.Name(), err)
		}
		if err := second.CloseWait(); err != nil {
			t.Error(err)
		}
	}
	files := descriptors(t)
	for _, test := range []struct {
		name     string
		capacity int
		want     error
		says     []string
	}{
		{name, 101, ErrCapacity, []string{"100", "101", name}},
		{name, 0, ErrCapacity, []string{"0"}},
		{name, -5, ErrCapacity, []string{"-5"}},
		{uniqueName(), 0, ErrCapacity, []string{"0"}},
		{uniqueName(), -5, ErrCapacity, []string{"-5"}},
		{"a/b", 1, fs.ErrInvalid, []string{"slash"}},
		{"", 1, fs.ErrInvalid, []string{"empty"}},
	} {
		s, err := OpenOrCreate(test.name, test.capacity)
		if !errors.Is(err, test.want) || s != nil {
			t.Errorf("%q, %d: %v, want %v", test.name, test.capacity, err, test.want)
			continue
		}
		for _, part := range test.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
	eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= files })

	// A producer that runs twice, one after the other.
	if err := first.CloseWait(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if p := startRole(t, "produce", "--", name, "1"); p.Wait() != nil {
			t.Errorf("%s", p.output.String())
		}
	}
}

// Eight processes that start at once make one segment, and take turns to write to it.
func TestOpenOrCreateRaced(t *testing.T) {
	named(t, 1) // skips where there is no sharing
	const processes, rounds = 8, 100
	name := uniqueName()
	defer func() { _ = Remove(name) }()
	var all []*process
	for range processes {
		all = append(all, startRole(t, "produce", "--", name, strconv.Itoa(rounds)))
	}
	for _, p := range all {
		if err := p.Wait(); err != nil {
			t.Errorf("%v\n%s", err, p.output.String())
		}
	}
	s, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Version(); got != 2*processes*rounds {
		t.Errorf("version %d after %d commits", got, processes*rounds)
	}
}

func init() {
	// list NAME fails unless List has the name.
	roles["list"] = func(_ *Segment, args []string) error {
		names, err := List()
		if err == nil && !slices.Contains(names, args[0]) {
			err = fmt.Errorf("%s is not in %v", args[0], names)
		}
		return err
	}
}

// A Go writer of a segment that others may write to without a lock, killed between two commits: readers hear of it,
// until one of the others commits.
func TestForeignWriterDies(t *testing.T) {
	s := named(t, 64, WithForeignWriters())
	inBothWays(t, func(t *testing.T) {
		writer := startRole(t, "idle", s.Name())
		before := s.Version()
		eventually(t, "a commit", func() bool { return s.Version() > before && s.Version()%2 == 0 })
		reader := reopen(t, s)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		died := make(chan error, 1)
		go func() { _, err := reader.Next(ctx, reader.Version()); died <- err }()
		eventually(t, "a parked reader", func() bool { return reader.waiters.parkedReaders() == 1 })
		time.Sleep(60 * time.Millisecond) // past the first looks
		writer.kill(t)
		killed := time.Now()
		if err := <-died; err != ErrWriterDied {
			t.Errorf("the parked reader: %v, want ErrWriterDied", err)
		}
		t.Logf("known after %v", time.Since(killed))
		if got := reader.Writer(); got != WriterDied {
			t.Errorf("the writer: %v", got)
		}
		// One that takes no lock, and knows nothing of the block, commits.
		store := func(word int, value uint64) {
			atomic.StoreUint64((*uint64)(unsafe.Pointer(&memory(s)[word])), value)
		}
		version := s.Version()
		store(layout.Sequence, version+1)
		store(layout.Sequence, version+2)
		if got, err := reader.Next(ctx, version); err != nil || got.Version() != version+2 {
			t.Errorf("its commit: version %d, %v", got.Version(), err)
		}
		quiet, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		if _, err := reader.Next(quiet, version+2); err != context.DeadlineExceeded {
			t.Errorf("after its commit: %v, want the context's end", err)
		}
		if got := reader.Writer(); got != WriterNone {
			t.Errorf("after its commit, the writer: %v", got)
		}
	})
}

func init() {
	// idle commits once, and stays.
	roles["idle"] = func(s *Segment, _ []string) error {
		if err := s.Fill(nil, Uint8, 1); err != nil {
			return err
		}
		select {}
	}
}

// ReadCopy of a segment whose writer is another process that never pauses, and so can't be made to let it in, ends with
// its context.
func TestReadCopyContextAcrossProcesses(t *testing.T) {
	const size = 8 << 20
	s := named(t, size)
	writer := startRole(t, "write", s.Name(), strconv.Itoa(size/8))
	eventually(t, "a commit", func() bool { return s.Version() > 1 })
	copies := 0
	for range 50 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		within(t, "ReadCopy", func() {
			got, err := s.ReadCopy(ctx)
			switch err {
			case nil:
				copies++
				if err := checkStress(&got, size/8); err != nil {
					t.Error(err)
				}
			case context.DeadlineExceeded, ErrEmpty:
			default:
				t.Error(err)
			}
		})
		cancel()
	}
	t.Logf("%d copies of 50 within 5 ms", copies)
	writer.kill(t)
}

func init() {
	// produce NAME ROUNDS commits that often, each time to a Segment opened anew, when it is its turn.
	roles["produce"] = func(_ *Segment, args []string) error {
		for range number(args[1]) {
			for {
				s, err := OpenOrCreate(args[0], 100)
				if err != nil {
					return err
				}
				err = s.Fill(nil, Uint8, 1)
				if closeErr := s.Close(); closeErr != nil {
					return closeErr
				}
				if err == nil {
					break
				}
				if err != ErrWriterActive {
					return err
				}
				time.Sleep(100 * time.Microsecond)
			}
		}
		return nil
	}
}
