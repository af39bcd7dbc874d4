//go:build cgo

package judemap

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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

func init() {
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

// What another process can do with a segment that it is handed, as the same user and as another: read, where it was
// handed that, and nothing else where the mode or the seals forbid it.
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
			// Who made it goes on.
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

// What can't be opened for writing says what to do instead.
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

// A reader of another user that locks the byte of the writer's lock: a death is seen nevertheless. The owner can't write
// for as long; WithMode says so.
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

// More than there is of shared memory is an error now, not a fault later.
func TestMoreThanSharedMemory(t *testing.T) {
	var shm syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &shm); err != nil {
		t.Fatal(err)
	}
	if bits.UintSize < 64 {
		t.Skip("SKIP: a capacity here can't be more than a machine has")
	}
	if _, err := Create(uniqueName(), int(shm.Blocks)*int(shm.Bsize)+1<<20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("more than /dev/shm has: %v, want ENOSPC", err)
	}
}
