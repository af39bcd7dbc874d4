//go:build cgo && linux

package judemap

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
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
	if _, err := Create(uniqueName(), 1<<62); err == nil || !strings.Contains(err.Error(), "4611686018427387904") {
		t.Errorf("a capacity that no machine has: %v", err)
	}
	// More than there is of shared memory: an error now, not a fault later.
	var shm syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &shm); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(uniqueName(), int(shm.Blocks)*int(shm.Bsize)+1<<20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("more than /dev/shm has: %v, want ENOSPC", err)
	}
}

// What is no segment is told from one, and from one of the Node addon.
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
