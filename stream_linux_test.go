//go:build cgo && linux

// These tests share streams between processes.

package judemap

import (
	"bytes"
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
			s, err = OpenStreamFile(os.NewFile(3, "stream"), opts...)
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
		files := count(t, "/proc/self/fd")
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
		eventually(t, "no descriptor is left", func() bool { return count(t, "/proc/self/fd") <= files })
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
