//go:build cgo

package judemap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap/internal/layout"
	"golang.org/x/sys/unix"
)

func TestStreamNames(t *testing.T) {
	s := namedStream(t, 3, 100)
	if s.Name() == "" || s.ByteCapacity() != 100 || s.Slots() != 3 {
		t.Errorf("name %q, %d slots of %d", s.Name(), s.Slots(), s.ByteCapacity())
	}
	for what, create := range map[string]func() error{
		"CreateStream": func() error { _, err := CreateStream(s.Name(), 3, 100); return err },
		"Create":       func() error { _, err := Create(s.Name(), 100); return err },
	} {
		if err := create(); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), s.Name()) {
			t.Errorf("%s of an existing name: %v, want fs.ErrExist", what, err)
		}
	}
	if names, err := List(); err != nil || !slices.Contains(names, s.Name()) {
		t.Errorf("List: %v, %v", names, err)
	}
	if info, err := os.Stat("/dev/shm/" + s.Name()); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat("/dev/shm/" + namedStream(t, 2, 1, WithMode(0o640)).Name()); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v, want 0640", info.Mode(), err)
	}
	if _, err := Open(s.Name()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "stream") {
		t.Errorf("Open of a stream: %v, want ErrCorrupt that says what it is", err)
	}
	segment := named(t, 100)
	if _, err := OpenStream(segment.Name()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "segment") {
		t.Errorf("OpenStream of a segment: %v, want ErrCorrupt that says what it is", err)
	}
	if got := s.String(); got != fmt.Sprintf("shared stream %q, 3 slots: no tensor, version 0", s.Name()) {
		t.Errorf("%q", got)
	}

	gone, err := CreateStream(uniqueName(), 2, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	if err := Remove(gone.Name()); err != nil {
		t.Fatal(err)
	}
	if err := gone.Fill(context.Background(), nil, Uint8, 1); err != nil {
		t.Errorf("writing to a stream whose name is gone: %v", err)
	}
	if _, err := OpenStream(gone.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenStream of no name: %v, want fs.ErrNotExist", err)
	}
	for _, test := range []struct{ name, says string }{
		{"", "empty"}, {".", "folder"}, {"a/b", "slash"}, {"a\x00b", "NUL"}, {strings.Repeat("x", 256), "256"},
	} {
		_, createErr := CreateStream(test.name, 2, 100)
		_, openErr := OpenStream(test.name)
		_, bothErr := OpenOrCreateStream(test.name, 2, 100)
		for call, err := range map[string]error{"CreateStream": createErr, "OpenStream": openErr, "OpenOrCreateStream": bothErr} {
			if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s(%.20q): %v, want fs.ErrInvalid and %q", call, test.name, err, test.says)
			}
		}
	}
	var shm syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &shm); err != nil {
		t.Fatal(err)
	}
	name := uniqueName()
	// Where more than there is can be asked for: an int of 32 bits may not hold it.
	if each := uint64(shm.Blocks)*uint64(shm.Bsize)/4 + 1<<20; each < math.MaxInt/8 {
		if _, err := CreateStream(name, 4, int(each)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("more than /dev/shm has: %v, want ENOSPC", err)
		}
	}
	if _, err := os.Stat("/dev/shm/" + name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it left %v", err)
	}
}

// A stream without a name is handed over by its descriptor, for writing or for reading.
func TestStreamFile(t *testing.T) {
	ctx := context.Background()
	s := newTestStream(t, 3, 64, WithSealed())
	file, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	readOnly, err := s.ReadOnlyFile()
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	for _, size := range []int64{0, 4096, 1 << 30} {
		if err := file.Truncate(size); !errors.Is(err, syscall.EPERM) {
			t.Errorf("cutting it to %d bytes: %v, want EPERM", size, err)
		}
	}
	other, err := OpenStreamFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := OpenStreamFile(readOnly); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "WithReadOnly") {
		t.Errorf("a descriptor for reading: %v, want fs.ErrPermission that says WithReadOnly", err)
	}
	looks, err := OpenStreamFile(readOnly, WithReadOnly())
	if err != nil {
		t.Fatal(err)
	}
	defer looks.Close()
	reader, watcher := newTestReader(t, s), newTestReader(t, looks)
	if err := other.Fill(ctx, []int{3}, Uint8, 7); err != nil {
		t.Fatal(err)
	}
	if err := s.Fill(ctx, nil, Uint8, 1); err != ErrWriterActive {
		t.Errorf("a second writer: %v, want ErrWriterActive", err)
	}
	for what, r := range map[string]*Reader{"of the one": reader, "of one for reading": watcher} {
		if f := mustNext(t, r); string(f.Data()) != "\a\a\a" || f.Version() != 2 {
			t.Errorf("a reader %s: %v", what, f)
		}
	}
	if s.Writer() != WriterOther || other.Writer() != WriterHere {
		t.Errorf("the writers: %v and %v", s.Writer(), other.Writer())
	}
	// Both have readers: numbers are of the stream, not of the handle.
	second := newTestReader(t, other)
	if got := looks.Readers(); len(got) != 2 || got[0].Number == got[1].Number || got[0].Dead || got[1].Dead {
		t.Errorf("readers: %+v", got)
	}
	_ = second.Close()
	if err := other.CloseWait(); err != nil {
		t.Fatal(err)
	}
	if err := s.Fill(ctx, nil, Uint8, 1); err != nil {
		t.Errorf("writing after the writer closed: %v", err)
	}
	if _, err := newTestStream(t, 2, 1).File(); !errors.Is(err, ErrUnsupported) {
		t.Errorf("File of a private stream: %v, want ErrUnsupported", err)
	}
	if _, err := OpenStreamFile(nil); err == nil {
		t.Error("OpenStreamFile(nil) gives a stream")
	}
	segment := newSegment(t, 64, WithSealed())
	plain, err := segment.File()
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := OpenStreamFile(plain); !errors.Is(err, ErrCorrupt) {
		t.Errorf("OpenStreamFile of a segment: %v", err)
	}
	if _, err := OpenFile(file); !errors.Is(err, ErrCorrupt) {
		t.Errorf("OpenFile of a stream: %v", err)
	}
	// Sealed against writing: the maker writes, others read.
	sealed, err := NewStream(3, 64, WithSealedWrites())
	if err != nil {
		t.Skipf("SKIP: this kernel has no such seal: %v", err)
	}
	defer sealed.Close()
	sealedFile, err := sealed.File()
	if err != nil {
		t.Fatal(err)
	}
	defer sealedFile.Close()
	if _, err := OpenStreamFile(sealedFile); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("one sealed against writing: %v", err)
	}
	looks2, err := OpenStreamFile(sealedFile, WithReadOnly())
	if err != nil {
		t.Fatal(err)
	}
	defer looks2.Close()
	r := newTestReader(t, looks2)
	if err := sealed.Fill(ctx, []int{2}, Uint8, 5); err != nil {
		t.Fatal(err)
	}
	if f := mustNext(t, r); string(f.Data()) != "\x05\x05" {
		t.Errorf("%v", f)
	}
}

// Each slot of a stream's file is a segment, for whoever maps it alone or has its bytes in a file.
func TestStreamSlotIsSegment(t *testing.T) {
	s := namedStream(t, 3, 5000)
	r := newTestReader(t, s)
	for i := range 2 {
		if err := s.Fill(context.Background(), []int{10, 500}, Uint8, float64(40+i)); err != nil {
			t.Fatal(err)
		}
	}
	frame := mustNext(t, r) // its pin is in the slot
	slot := slotOf(s, &frame)
	offset := s.Slot(slot) - DataOffset - uintptr(unsafe.Pointer(s.mapping.header))
	p := startRole(t, "stream-mapped", "--", "/dev/shm/"+s.Name(), strconv.Itoa(int(offset)), strconv.Itoa(DataOffset+5000), "4")
	if err := p.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, p.output.String())
	}
	want := "uint8 [10 500], version 4 [41 41 41 41 41 41 41 41]\n"
	if got := p.output.String(); got != want {
		t.Errorf("mapped alone it is %q, want %q", got, want)
	}
	name := uniqueName()
	if err := os.WriteFile("/dev/shm/"+name, slotMemory(s, slot), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove("/dev/shm/" + name)
	file, err := os.OpenFile("/dev/shm/"+name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for call, open := range map[string]func() (*Segment, error){
		"Open":     func() (*Segment, error) { return Open(name) },
		"OpenFile": func() (*Segment, error) { return OpenFile(file, WithReadOnly()) },
	} {
		copied, err := open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := copied.ReadCopy(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(see(&frame), see(&got)); diff != "" {
			t.Errorf("%s (-the frame +its slot in a file):\n%s", call, diff)
		}
		_ = copied.CloseWait()
	}
}

// What a process of another user can do with a stream, by its mode.
func TestStreamOtherUser(t *testing.T) {
	for _, test := range []struct {
		mode fs.FileMode
		says string
	}{
		{0o600, "open: denied, look: denied\n"},
		{0o644, "open: denied, look: works, next: works\n"},
		{0o666, "open: works, next: works, write: works, look: works, next: works\n"},
	} {
		s := namedStream(t, 3, 64, WithMode(test.mode))
		p := start(t, asOtherUser(t, roleCommand("stream-other", "--", s.Name())))
		ended := make(chan error, 1)
		go func() { ended <- p.Wait() }()
		for err, end := error(nil), false; !end; {
			_ = s.Fill(context.Background(), []int{3}, Uint8, 3)
			_ = s.Close() // a writer that goes gives the right to write to others
			next, openErr := OpenStream(s.Name())
			if openErr != nil {
				t.Fatal(openErr)
			}
			s = next
			select {
			case err = <-ended:
				end = true
				if err != nil {
					t.Errorf("%v: %v\n%s", test.mode, err, p.output.String())
				}
			case <-time.After(2 * time.Millisecond):
			}
		}
		_ = s.Close()
		if got := p.output.String(); got != test.says {
			t.Errorf("mode %v: %q, want %q", test.mode, got, test.says)
		}
	}
}

func init() {
	// stream-other NAME says what it can do with a stream that others write to.
	roles["stream-other"] = func(_ *Segment, args []string) error {
		var said []string
		say := func(what string, err error) bool {
			verdict := "works"
			if errors.Is(err, fs.ErrPermission) {
				verdict = "denied"
			} else if err != nil {
				verdict = err.Error()
			}
			said = append(said, what+": "+verdict)
			return err == nil
		}
		next := func(s *Stream) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			r, err := s.Reader()
			for err == nil {
				var t Tensor
				if t, err = r.Next(ctx); err == nil {
					if string(t.Data()) != "\x03\x03\x03" {
						err = fmt.Errorf("%v", t.Data())
					}
					break
				}
				if err == ErrWriterDied {
					err = nil
				}
			}
			say("next", err)
			if r != nil {
				_ = r.Close()
			}
		}
		if s, err := OpenStream(args[0]); say("open", err) {
			next(s)
			for end := time.Now().Add(10 * time.Second); ; {
				if err = s.Fill(context.Background(), []int{3}, Uint8, 3); err != ErrWriterActive || time.Now().After(end) {
					break
				}
			}
			say("write", err)
			_ = s.Close()
		}
		if s, err := OpenStream(args[0], WithReadOnly()); say("look", err) {
			next(s)
		}
		fmt.Println(strings.Join(said, ", "))
		return nil
	}
}

// Every option with every call of streams: it takes effect, or the call refuses it and names both.
func TestStreamOptionsAndCalls(t *testing.T) {
	shared := namedStream(t, 2, 64)
	file, err := shared.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	name := uniqueName()
	defer func() { _ = Remove(name) }()
	calls := []struct {
		name string
		call func(...Option) (*Stream, error)
	}{
		{"NewStream", func(opts ...Option) (*Stream, error) { return NewStream(2, 64, opts...) }},
		{"NewStream, sealed", func(opts ...Option) (*Stream, error) { return NewStream(2, 64, append(opts, WithSealed())...) }},
		{"CreateStream", func(opts ...Option) (*Stream, error) { return CreateStream(name, 2, 64, opts...) }},
		{"OpenOrCreateStream", func(opts ...Option) (*Stream, error) { return OpenOrCreateStream(name, 2, 64, opts...) }},
		{"OpenStream", func(opts ...Option) (*Stream, error) { return OpenStream(shared.Name(), opts...) }},
		{"OpenStreamFile", func(opts ...Option) (*Stream, error) { return OpenStreamFile(file, opts...) }},
	}
	for _, test := range []struct {
		name   string
		option Option
		takes  string // which calls take it, in their order above
	}{
		{"WithHugePages", WithHugePages(false), "yyyynn"},
		{"WithPopulate", WithPopulate(), "yyyynn"},
		{"WithMode", WithMode(0o640), "nnyynn"},
		{"WithReadOnly", WithReadOnly(), "nnnnyy"},
		{"WithSealed", WithSealed(), "yynnnn"},
		{"WithSealedWrites", WithSealedWrites(), "yynnnn"},
		{"WithForeignWriters", WithForeignWriters(), "nnnnnn"},
		{"WithPollInterval", WithPollInterval(time.Second), "nyyyyy"},
		{"WithMaxBytes", WithMaxBytes(1), "yyyyyy"},
		{"WithThreads", WithThreads(1), "yyyyyy"},
		{"WithEveryFrame", WithEveryFrame(), "yyyynn"},
		{"WithSpin", WithSpin(time.Millisecond), "nyyyyy"},
		{"the zero Option", Option{}, "yyyyyy"},
	} {
		for i, call := range calls {
			s, err := call.call(test.option)
			checkOption(t, call.name, test.name, test.takes[i] == 'y', s, err)
			_ = Remove(name)
		}
	}
	if _, err := New(64, WithEveryFrame()); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "WithEveryFrame") {
		t.Errorf("New with WithEveryFrame: %v", err)
	}
}

// With one processor a reader gets each frame of another process, and a writer its slot, and neither keeps the processor.
func TestStreamOneProcessor(t *testing.T) {
	const elements, versions = 16, 200
	eventually(t, "no parker is left from other tests", func() bool { return parkerThreads() == 0 })
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	policies(t, func(t *testing.T, every bool, opts ...Option) {
		s := namedStream(t, 4, 8*elements, opts...)
		other := startStreamRole(t, "stream-read", s.Name(), strconv.Itoa(elements), strconv.Itoa(2*versions), "0")
		eventually(t, "a reader", func() bool { return len(s.Readers()) == 1 })
		var reads sync.WaitGroup
		reads.Go(func() {
			if err := streamReader(context.Background(), s, elements, 0, 2*versions, nil); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "two readers", func() bool { return len(s.Readers()) == 2 })
		if err := streamWriter(context.Background(), s, elements, versions); err != nil {
			t.Fatal(err)
		}
		within(t, "reading", reads.Wait)
		if err := other.Wait(); err != nil {
			t.Errorf("%v\n%s", err, other.output.String())
		}
		// And the other way round: parked for the commits of another process.
		_ = s.Close()
		if s = reopenStream(t, s); threadsParked.Load() != 0 {
			t.Errorf("%d goroutines have parked their threads", threadsParked.Load())
		}
		reads.Go(func() {
			if err := streamReader(context.Background(), s, elements, 1, 4*versions, nil); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "a parked reader", func() bool { return s.waiters.parkedReaders() == 1 })
		writer := start(t, peer(t, "stream-write", s.Name(), strconv.Itoa(elements), strconv.Itoa(versions)))
		within(t, "reading", reads.Wait)
		if err := writer.Wait(); err != nil {
			t.Errorf("%v\n%s", err, writer.output.String())
		}
	})
	eventually(t, "the parker stops", func() bool { return parkerThreads() == 0 })
}

// All readers of a stream that are parked in one process are woken by each commit of another, and take next to no
// processor time meanwhile.
func TestStreamManyParked(t *testing.T) {
	inBothWays(t, func(t *testing.T) {
		policies(t, func(t *testing.T, every bool, opts ...Option) {
			const readers, rounds = MaxReaders - 1, 20
			writer := namedStream(t, readers+3, 64, opts...)
			s := reopenStream(t, writer)
			if err := writer.Fill(context.Background(), nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
			var all [readers]*Reader
			for i := range all {
				all[i] = newTestReader(t, s)
			}
			for round := range rounds {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				var woken sync.WaitGroup
				for _, r := range all {
					woken.Go(func() {
						if f, err := r.Next(ctx); err != nil || f.Data()[0] != byte(round) {
							t.Errorf("round %d: %v, %v", round, f, err)
						}
					})
				}
				eventually(t, "all are parked", func() bool { return s.waiters.parkedReaders() == readers })
				if ours := parkerThreads() + int(threadsParked.Load())%mostThreadsParked; ours > 2 {
					t.Errorf("%d threads are parked", ours)
				}
				if round == 0 {
					const idle = 100 * time.Millisecond
					before := cpuTime(t)
					time.Sleep(idle)
					if used := cpuTime(t) - before; used > idle/2 {
						t.Errorf("%d parked readers took %v of processor time in %v", readers, used, idle)
					}
				}
				if err := writer.Fill(ctx, nil, Uint8, float64(round)); err != nil {
					t.Fatal(err)
				}
				woken.Wait()
				cancel()
			}
		})
	})
}

// Frames that nobody waits for are committed, taken and given back without a system call.
func TestStreamWithoutSystemCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIP: strace is not installed")
	}
	policies(t, func(t *testing.T, every bool, opts ...Option) {
		expectNoSystemCalls(t, strace, func(commits int) (*exec.Cmd, *handle) {
			s := namedStream(t, 3, 64, opts...)
			return peer(t, "stream-turns", s.Name(), strconv.Itoa(commits)), &s.handle
		})
	})
}

// Streams whose words can't be true, as vectors: to open them is an error that says what is wrong, or else every call ends
// with its context, and what it returns lies in a slot; and whoever writes puts the stream right.
func TestStreamVectors(t *testing.T) {
	const slots, capacity = 3, 1000
	page := os.Getpagesize()
	put32 := func(m []byte, at int, v uint32) { binary.LittleEndian.PutUint32(m[at:], v) }
	put64 := func(m []byte, at int, v uint64) { binary.LittleEndian.PutUint64(m[at:], v) }
	slot := func(m []byte, i int) []byte {
		first, stride := binary.LittleEndian.Uint64(m[layout.StreamFirst:]), binary.LittleEndian.Uint64(m[layout.StreamStride:])
		return m[int(first)+i*int(stride):]
	}
	for _, test := range []struct {
		name  string
		says  string // why it is no stream; "" opens
		spoil func(m []byte) []byte
	}{
		{"as it was made", "", func(m []byte) []byte { return m }},
		{"an empty file", "empty", func([]byte) []byte { return nil }},
		{"a header alone", "larger than its file", func(m []byte) []byte { return m[:layout.StreamHeaderSize] }},
		{"half a header", "lie", func(m []byte) []byte { return m[:layout.StreamHeaderSize/2] }},
		{"a page short", "larger than its file", func(m []byte) []byte { return m[:len(m)-page] }},
		{"magic 0", "segment", func(m []byte) []byte { put32(m, layout.Magic, 0); return m }},
		{"a segment's magic", "segment", func(m []byte) []byte { put32(m, layout.Magic, layout.MagicValue); return m }},
		{"another magic", "magic", func(m []byte) []byte { put32(m, layout.Magic, 1234); return m }},
		{"0 slots", "slots", func(m []byte) []byte { put32(m, layout.StreamSlots, 0); return m }},
		{"1 slot", "slots", func(m []byte) []byte { put32(m, layout.StreamSlots, 1); return m }},
		{"257 slots", "slots", func(m []byte) []byte { put32(m, layout.StreamSlots, 257); return m }},
		{"2^32-1 slots", "slots", func(m []byte) []byte { put32(m, layout.StreamSlots, math.MaxUint32); return m }},
		{"4 slots", "larger than its file", func(m []byte) []byte { put32(m, layout.StreamSlots, 4); return m }},
		{"2 slots", "", func(m []byte) []byte { put32(m, layout.StreamSlots, 2); return m }},
		{"63 readers", "readers", func(m []byte) []byte { put32(m, layout.StreamMostReaders, 63); return m }},
		{"first in the header", "lie", func(m []byte) []byte { put64(m, layout.StreamFirst, 4096); return m }},
		{"first between pages", "lie", func(m []byte) []byte { put64(m, layout.StreamFirst, layout.StreamHeaderSize+256); return m }},
		{"first past the end", "lie", func(m []byte) []byte { put64(m, layout.StreamFirst, 1<<40); return m }},
		{"first of 2^64-4096", "lie", func(m []byte) []byte { put64(m, layout.StreamFirst, math.MaxUint64-4095); return m }},
		{"no stride", "larger than its file", func(m []byte) []byte { put64(m, layout.StreamStride, 0); return m }},
		{"a stride between pages", "lie", func(m []byte) []byte { put64(m, layout.StreamStride, 4096+8); return m }},
		{"a stride of 2^64-4096", "larger than its file", func(m []byte) []byte { put64(m, layout.StreamStride, math.MaxUint64-4095); return m }},
		{"a stride of 2^63", "larger than its file", func(m []byte) []byte { put64(m, layout.StreamStride, 1<<63); return m }},
		{"no capacity", "empty", func(m []byte) []byte { put64(m, layout.Capacity, 0); return m }},
		{"a capacity past the stride", "larger", func(m []byte) []byte { put64(m, layout.Capacity, 4096-255); return m }},
		{"a capacity of 2^64-1", "larger than its file", func(m []byte) []byte { put64(m, layout.Capacity, math.MaxUint64); return m }},

		{"an odd sequence", "", func(m []byte) []byte { put64(m, layout.Sequence, 7); return m }},
		{"a sequence far ahead", "", func(m []byte) []byte { put64(m, layout.Sequence, 1<<40); return m }},
		{"a sequence behind", "", func(m []byte) []byte { put64(m, layout.Sequence, 2); return m }},
		{"a table entry past the slots", "", func(m []byte) []byte { put32(m, layout.StreamTable+4, 3); return m }},
		{"table entries of 2^32-1", "", func(m []byte) []byte {
			for i := range slots {
				put32(m, layout.StreamTable+4*i, math.MaxUint32)
			}
			return m
		}},
		{"a table of one slot", "", func(m []byte) []byte { clear(m[layout.StreamTable:][:4*slots]); return m }},
		{"all slots odd", "", func(m []byte) []byte {
			for i := range slots {
				put64(slot(m, i), 0, binary.LittleEndian.Uint64(slot(m, i))|1)
			}
			return m
		}},
		{"all slots in the future", "", func(m []byte) []byte {
			for i := range slots {
				put64(slot(m, i), 0, 1<<50)
			}
			return m
		}},
		{"all slots of one frame", "", func(m []byte) []byte {
			for i := range slots {
				put64(slot(m, i), 0, 8)
			}
			return m
		}},
		{"all pins set", "", func(m []byte) []byte {
			for i := range slots {
				put64(slot(m, i), layout.Pins, math.MaxUint64)
			}
			return m
		}},
		{"all places taken", "", func(m []byte) []byte { put64(m, layout.StreamReaders, math.MaxUint64); return m }},
		{"waiters of 2^32-1", "", func(m []byte) []byte { put32(m, layout.Waiters, math.MaxUint32); return m }},
		{"rank 9", "", func(m []byte) []byte {
			for i := range slots {
				put32(slot(m, i), layout.NDim, 9)
			}
			return m
		}},
		{"type 99", "", func(m []byte) []byte {
			for i := range slots {
				put32(slot(m, i), layout.DType, 99)
			}
			return m
		}},
		{"lengths past the slot", "", func(m []byte) []byte {
			for i := range slots {
				put64(slot(m, i), layout.ByteLength, 1001)
				put64(slot(m, i), layout.Shape, 1001)
			}
			return m
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			policies(t, func(t *testing.T, every bool, opts ...Option) {
				made := namedStream(t, slots, capacity, opts...)
				for i := range 4 {
					if err := made.Fill(context.Background(), []int{10}, Uint8, float64(i)); err != nil {
						t.Fatal(err)
					}
				}
				path := "/dev/shm/" + made.Name()
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				name := uniqueName()
				defer os.Remove("/dev/shm/" + name)
				broken := test.spoil(slices.Clone(content))
				if err := os.WriteFile("/dev/shm/"+name, broken, 0o600); err != nil {
					t.Fatal(err)
				}
				for _, opts := range [][]Option{{WithReadOnly()}, nil, {WithSpin(time.Minute)}} {
					s, err := OpenStream(name, opts...)
					if test.says != "" || err != nil {
						if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.says) {
							t.Fatalf("%v, want ErrCorrupt and %q", err, test.says)
						}
						continue
					}
					checkStrangeStream(t, s, len(broken), s.readOnly)
					_ = s.CloseWait()
					if err := os.WriteFile("/dev/shm/"+name, broken, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				// And while they are open, seen by who writes: the words change under everybody's hands.
				if test.says != "" || len(broken) != len(content) {
					return
				}
				r := newTestReader(t, made)
				copy(streamMemory(made), broken)
				within(t, "Next", func() { _, _ = r.Next(briefly(t)) })
				within(t, "ReadCopy", func() { _, _ = made.ReadCopy(briefly(t)) })
				within(t, "Close", func() { _ = made.Close() })
			})
		})
	}
}

// checkStrangeStream makes all calls to a stream that is not as anybody would leave it.
func checkStrangeStream(t *testing.T, s *Stream, size int, readOnly bool) {
	t.Helper()
	if s.Slots() < 2 || s.Slots() > MaxSlots || s.ByteCapacity() < 1 || s.Slots()*(DataOffset+s.ByteCapacity()) > size {
		t.Fatalf("%d slots of %d bytes in %d", s.Slots(), s.ByteCapacity(), size)
	}
	whole := func(what string, f Tensor, err error) {
		if err == nil && len(f.Data()) > s.ByteCapacity() {
			t.Errorf("%s: %d bytes, and there is room for %d", what, len(f.Data()), s.ByteCapacity())
		}
		for _, b := range f.Data() { // all of it can be touched
			_ = b
		}
	}
	_, _, _ = s.String(), s.LogValue(), s.Readers()
	shortly := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	within(t, "ReadCopy", func() {
		f, err := s.ReadCopy(shortly())
		whole("ReadCopy", f, err)
	})
	r, err := s.Reader()
	if err == nil {
		within(t, "Next", func() {
			f, err := r.Next(shortly())
			whole("Next", f, err)
		})
	}
	if readOnly {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for i := range 2 * s.Slots() {
		if err := s.Fill(limited, []int{1}, Uint8, float64(i)); err != nil {
			t.Fatalf("writing: %v", err)
		}
		if i == s.Slots() {
			r = newTestReader(t, s)
		} else if i > s.Slots() {
			if f := mustNext(t, r); f.Data()[0] != byte(i) || f.Version() != s.Version() {
				t.Errorf("after writing: frame %d is %v with %v", i, f, f.Data())
			}
		}
	}
}

func init() {
	// stream-mapped FILE OFFSET LENGTH VERSION maps a part of the file alone, and reads it as a segment.
	roles["stream-mapped"] = func(_ *Segment, args []string) error {
		file, err := os.Open(args[0])
		if err != nil {
			return err
		}
		offset, length := number(args[1]), number(args[2])
		mapped, err := unix.Mmap(int(file.Fd()), int64(offset), length, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		s, err := New(length - DataOffset)
		if err != nil {
			return err
		}
		copy(memory(s), mapped)
		t, err := s.Read()
		if err != nil {
			return err
		}
		fmt.Println(t.String(), t.Data()[:8])
		return nil
	}
}
