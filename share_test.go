//go:build cgo && linux

package judemap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/judemap/judemap/internal/layout"
	"golang.org/x/sys/unix"
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

	// A name that was removed can be used again. A process that has the segment open can go on using it.
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
		return // such a size does not fit in an int there
	}
	if _, err := Create(uniqueName(), math.MaxInt/2); err == nil || !strings.Contains(err.Error(), strconv.Itoa(math.MaxInt/2)) {
		t.Errorf("a capacity that no machine has: %v", err)
	}
	// A segment larger than the shared memory is an error at once, not a fault later.
	var shm syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &shm); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(uniqueName(), int(shm.Blocks)*int(shm.Bsize)+1<<20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("more than /dev/shm has: %v, want ENOSPC", err)
	}
}

// Open refuses files that are no segments, and accepts those of the Node addon.
func TestOpenChecks(t *testing.T) {
	probe := named(t, 1) // skips where there is no sharing
	_ = probe
	block := func(magic uint32, capacity uint64) []byte {
		dump := dumpOf(2, Uint8, []byte{5, 6})
		binary.LittleEndian.PutUint32(dump[192:], magic)
		binary.LittleEndian.PutUint64(dump[208:], capacity)
		return append(dump, make([]byte, 4096-len(dump))...)
	}
	for _, test := range []struct {
		name string
		file []byte
		says string // "" opens
		size int
	}{
		{"empty, as one whose creator died", nil, "empty", 0},
		{"a header and no data", make([]byte, 256), "too short", 0},
		{"one byte", []byte{1}, "too short", 0},
		{"another magic", block(1234, 100), "magic", 0},
		{"a capacity past its end", block(0x314D554A, 4096-256+1), "capacity", 0},
		{"a capacity of 2^64-1", block(0x314D554A, 1<<64-1), "capacity", 0},
		{"a capacity of 0", block(0x314D554A, 0), "capacity", 0},
		{"a good one", block(0x314D554A, 4096-256), "", 4096 - 256},
		{"one of the Node addon", block(0, 0), "", 4096 - 256},
		{"not a whole page", dumpOf(2, Uint8, []byte{5, 6}), "", 2},
	} {
		name := uniqueName()
		path := filepath.Join("/dev/shm", name)
		if err := os.WriteFile(path, test.file, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(name)
		if test.says != "" {
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %v, want ErrCorrupt and %q", test.name, err, test.says)
			}
		} else if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else {
			got, err := s.ReadCopy(context.Background())
			if err != nil || string(got.Data()) != "\x05\x06" || s.ByteCapacity() != test.size {
				t.Errorf("%s: %v, %v, capacity %d", test.name, got.Data(), err, s.ByteCapacity())
			}
			if err := s.CloseWait(); err != nil {
				t.Error(err)
			}
		}
		_ = os.Remove(path)
	}
	for what, make := range map[string]func(path string) error{
		"a FIFO":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a folder":        func(path string) error { return os.Mkdir(path, 0o700) },
		"a symbolic link": func(path string) error { return os.Symlink("/dev/shm/"+probe.Name(), path) },
	} {
		name := uniqueName()
		path := filepath.Join("/dev/shm", name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(name); err == nil {
			t.Errorf("%s opens as a segment", what)
		} else {
			t.Logf("%s: %v", what, err)
		}
		_ = os.Remove(path)
	}
}

func TestMode(t *testing.T) {
	for _, mode := range []fs.FileMode{0, 0o640, 0o666} {
		var opts []Option
		want := fs.FileMode(0o600)
		if mode != 0 {
			opts, want = []Option{WithMode(mode)}, mode
		}
		s := named(t, 1, opts...)
		if info, err := os.Stat("/dev/shm/" + s.Name()); err != nil || info.Mode() != want {
			t.Errorf("mode %v, %v; want %v", info.Mode(), err, want)
		}
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

// Nobody with a descriptor of a sealed segment can shorten it. All who open it have the same segment.
func TestSealed(t *testing.T) {
	s := newSegment(t, 1<<20, WithSealed())
	if s.Name() != "" {
		t.Errorf("its name is %q", s.Name())
	}
	file, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{0, 4096, 1 << 30} {
		if err := file.Truncate(size); !errors.Is(err, syscall.EPERM) {
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

// OpenOrCreate returns a segment whether it exists or not, and an error if it exists and is too small.
func TestOpenOrCreate(t *testing.T) {
	named(t, 1) // skips where there is no sharing
	name := uniqueName()
	defer func() { _ = Remove(name) }()
	first, err := OpenOrCreate(name, 100, WithMode(0o640))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if info, err := os.Stat("/dev/shm/" + name); err != nil || info.Mode() != 0o640 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
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
	files := count(t, "/proc/self/fd")
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
	eventually(t, "no descriptor is left", func() bool { return count(t, "/proc/self/fd") <= files })

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
	// handed WRITES takes the segment that it was handed for reading, and says what it can do with it.
	roles["handed"] = func(*Segment, []string) error {
		file := os.NewFile(3, "segment")
		say := func(what string, err error) {
			verdict := "works"
			switch {
			case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EBADF), errors.Is(err, syscall.EINVAL):
				verdict = "denied" // by the mode or a seal, or because the descriptor is for reading
			case err != nil:
				verdict = err.Error()
			}
			fmt.Printf("%s: %s\n", what, verdict)
		}
		s, err := OpenFile(file, WithReadOnly())
		say("open for reading", err)
		if err == nil {
			got, err := s.ReadCopy(context.Background())
			if err == nil && string(got.Data()) != "abc" {
				err = fmt.Errorf("%q", got.Data())
			}
			say("read", err)
			_, err = s.File()
			say("file", err)
			say("write", s.Fill(nil, Uint8, 1))
		}
		_, err = OpenFile(file)
		say("open for writing", err)
		anew, err := os.OpenFile("/proc/self/fd/3", os.O_RDWR, 0)
		say("open anew for writing", err)
		if err == nil {
			_, err := OpenFile(anew)
			say("open anew, and then as a segment", err)
		}
		_, err = unix.Mmap(3, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		say("map for writing", err)
		_, err = file.WriteAt([]byte{1}, 0)
		say("write to the file", err)
		say("cut short", file.Truncate(0))
		return nil
	}
}

// What another process, of the same user or of another, can do with a segment that it was handed. It can read it, if
// the descriptor is for reading, and it can do nothing that the mode or the seals forbid.
func TestHandedOver(t *testing.T) {
	named(t, 1) // skips where there is no sharing
	sealed := func(opts ...Option) func(t *testing.T) *Segment {
		return func(t *testing.T) *Segment {
			s, err := New(64, opts...)
			if errors.Is(err, syscall.EINVAL) {
				t.Skipf("SKIP: this kernel has no such seal: %v", err)
			} else if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.CloseWait() })
			return s
		}
	}
	for _, test := range []struct {
		name     string
		segment  func(t *testing.T) *Segment
		writable bool // the descriptor that is handed over
		other    bool // to another user
		works    string
	}{
		{"named, read-only, to another user", func(t *testing.T) *Segment { return named(t, 64) }, false, true,
			"open for reading, read, file"},
		{"sealed, read-only, to another user", sealed(WithSealed()), false, true, "open for reading, read, file"},
		{"sealed writes, read-only, to another user", sealed(WithSealedWrites()), false, true,
			"open for reading, read, file"},
		{"sealed writes, read-only, to the same user", sealed(WithSealedWrites()), false, false,
			"open for reading, read, file, open anew for writing"},
		{"sealed writes, to the same user", sealed(WithSealedWrites()), true, false,
			"open for reading, read, file, open anew for writing"},
		{"sealed writes, to another user", sealed(WithSealedWrites()), true, true, "open for reading, read, file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.segment(t)
			if err := s.Write([]int{3}, Uint8, []byte("abc")); err != nil {
				t.Fatal(err)
			}
			open := s.ReadOnlyFile
			if test.writable {
				open = s.File
			}
			file, err := open()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			cmd := roleCommand("handed")
			if test.other {
				asOtherUser(t, cmd)
			}
			p := start(t, cmd, file)
			if err := p.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, p.output.String())
			}
			var works []string
			for line := range strings.Lines(p.output.String()) {
				what, verdict, _ := strings.Cut(strings.TrimSpace(line), ": ")
				if verdict == "works" {
					works = append(works, what)
				} else if verdict != "denied" {
					t.Errorf("%s: %s", what, verdict)
				}
			}
			if got := strings.Join(works, ", "); got != test.works {
				t.Errorf("what works: %s; want %s\n%s", got, test.works, p.output.String())
			}
			// The process that made it can go on.
			if err := s.Fill(nil, Uint8, 7); err != nil {
				t.Errorf("the creator: %v", err)
			}
			reader, err := OpenFile(file, WithReadOnly())
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			if got, err := reader.ReadCopy(context.Background()); err != nil || got.Data()[0] != 7 {
				t.Errorf("a reader: %v, %v", got.Data(), err)
			}
		})
	}
}

// If a segment can't be opened for writing, the error says what to do instead.
func TestOpenedForReading(t *testing.T) {
	sealed, err := New(64, WithSealedWrites())
	if err != nil {
		t.Skipf("SKIP: %v", err)
	}
	defer sealed.Close()
	sealedFile, err := sealed.File()
	if err != nil {
		t.Fatal(err)
	}
	defer sealedFile.Close()
	readOnly, err := named(t, 64).ReadOnlyFile()
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	for what, file := range map[string]*os.File{"a descriptor for reading": readOnly, "a sealed one": sealedFile} {
		if _, err := OpenFile(file); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "WithReadOnly") {
			t.Errorf("%s: %v, want fs.ErrPermission that says WithReadOnly", what, err)
		}
	}
}

// A reader of another user locks the byte of the writer's lock. A death is noticed all the same. The owner can't write
// while the lock is held, as WithMode says.
func TestLockedByReader(t *testing.T) {
	s := named(t, 64, WithMode(0o644))
	writer := start(t, peer(t, "idle", s.Name()))
	eventually(t, "a writer", func() bool { return s.Version() != 0 && s.Writer() == WriterOther })
	hostile := start(t, asOtherUser(t, roleCommand("rdlock", "--", "/dev/shm/"+s.Name())))
	reader := reopen(t, s)
	died := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go func() { _, err := reader.Next(ctx, s.Version()); died <- err }()
	eventually(t, "a parked reader", func() bool { return reader.waiters.parkedReaders() == 1 })
	time.Sleep(20 * time.Millisecond)
	_ = writer.Process.Kill()
	_ = writer.Wait()
	if err := <-died; err != ErrWriterDied {
		t.Errorf("the parked reader: %v, want ErrWriterDied", err)
	}
	file, err := os.Open("/dev/shm/" + s.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	eventually(t, "the lock of the other user", func() bool {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Len: 1}
		if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
			t.Fatal(err)
		}
		return lock.Type == unix.F_RDLCK
	})
	if err := s.Fill(nil, Uint8, 1); err != ErrWriterActive {
		t.Errorf("a write while the other user has the lock: %v, want ErrWriterActive", err)
	}
	if got := s.Writer(); got != WriterDied {
		t.Errorf("the writer: %v, want %v", got, WriterDied)
	}
	hostile.kill(t)
	eventually(t, "writing goes on", func() bool { return s.Fill(nil, Uint8, 1) == nil })
	if got := reader.Writer(); got != WriterOther {
		t.Errorf("the writer: %v, want %v", got, WriterOther)
	}
}

func init() {
	// rdlock FILE locks the byte for reading as soon as it can, and keeps it.
	roles["rdlock"] = func(_ *Segment, args []string) error {
		file, err := os.Open(args[0])
		if err != nil {
			return err
		}
		lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Len: 1}
		for {
			if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lock); err == nil {
				select {}
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	// locked FILE prints whether another process has a POSIX lock on its first byte.
	roles["locked"] = func(_ *Segment, args []string) error {
		file, err := os.OpenFile(args[0], os.O_RDWR, 0)
		if err != nil {
			return err
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Len: 1}
		err = unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock)
		fmt.Println(lock.Type != unix.F_UNLCK)
		return err
	}
}

// List drops none of the POSIX locks that this process has on files in /dev/shm, segments or not.
func TestListKeepsLocks(t *testing.T) {
	s := named(t, 64)
	plain := "/dev/shm/" + uniqueName()
	if err := os.WriteFile(plain, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(plain)
	locked := func(path string) string {
		p := startRole(t, "locked", "--", path)
		if err := p.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, p.output.String())
		}
		return strings.TrimSpace(p.output.String())
	}
	for _, path := range []string{plain, "/dev/shm/" + s.Name()} {
		for mode, flags := range map[string]int{"reading and writing": os.O_RDWR, "writing": os.O_WRONLY} {
			file, err := os.OpenFile(path, flags, 0)
			if err != nil {
				t.Fatal(err)
			}
			lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: 0, Len: 1}
			if err := unix.FcntlFlock(file.Fd(), unix.F_SETLK, &lock); err != nil {
				t.Fatal(err)
			}
			if got := locked(path); got != "true" {
				t.Fatalf("the lock is not there: %s", got)
			}
			for range 3 {
				if _, err := List(); err != nil {
					t.Fatal(err)
				}
			}
			if got := locked(path); got != "true" {
				t.Errorf("List dropped the lock on %s, open for %s", path, mode)
			}
			file.Close()
		}
	}
}

// List maps nothing, and opens only what could be a segment.
func TestListMapsNothing(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("SKIP: strace is not installed")
	}
	s := named(t, 64)
	fifo := "/dev/shm/" + uniqueName()
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(fifo)
	cmd := roleCommand("list", "--", s.Name())
	cmd.Args = append([]string{strace, "-f", "-qq", "-e", "trace=mmap,openat", "-o", "/dev/stdout"}, cmd.Args...)
	cmd.Path = strace
	p := start(t, cmd)
	err = p.Wait()
	out := p.output.String()
	if err != nil {
		t.Skipf("SKIP: strace can't trace here: %v\n%s", err, out)
	}
	if strings.Contains(out, "MAP_SHARED") {
		t.Errorf("List maps:\n%s", out)
	}
	if !strings.Contains(out, s.Name()) || strings.Contains(out, fifo[len("/dev/shm/"):]) {
		t.Errorf("List opens other files than those that could be segments:\n%s", out)
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

// A Go writer is killed between two commits, in a segment to which others may write without a lock. Readers get
// ErrWriterDied, until one of the others commits.
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
		// A writer commits that takes no lock and does not know the block.
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
