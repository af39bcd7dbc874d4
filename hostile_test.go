//go:build cgo && linux

// These tests share segments with programs that mean harm.

package judemap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/judemap/judemap/internal/layout"
	"golang.org/x/sys/unix"
)

// TestHostilePeer has another process write random words over the header and the reserved block, while readers read,
// wait and copy: they get errors or tensors that lie in the segment, and nothing crashes or hangs.
func TestHostilePeer(t *testing.T) {
	if !isChild(t) {
		probe := named(t, 1) // skips where there is no sharing
		_ = probe
		if out, err := child(t, t.Name()).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		} else {
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "calls") {
					t.Log(strings.TrimSpace(line))
				}
			}
		}
		return
	}
	const size = 64 << 10
	s := named(t, size)
	ctx, cancel := context.WithTimeout(context.Background(), hostileTime(t))
	defer cancel()
	readers := []*Segment{s, reopen(t, s), reopen(t, s), reopen(t, s, WithReadOnly())}
	hostile := startRole(t, "scribble", s.Name())
	var wg sync.WaitGroup
	var calls, tensors atomic.Int64
	for _, reader := range readers {
		for name, read := range reads {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for ctx.Err() == nil {
					var got Tensor
					var err error
					short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
					if wait := waits[name]; wait != nil {
						got, err = wait(short, reader, 0)
					} else {
						got, err = read(reader)
					}
					cancel()
					calls.Add(1)
					if err != nil {
						continue
					}
					tensors.Add(1)
					sum := byte(0)
					for _, b := range got.Data() { // all of it can be touched
						sum += b
					}
					length := got.DType().Size()
					for _, d := range got.Shape() {
						length *= d
					}
					if len(got.Data()) > size || length != len(got.Data()) {
						t.Errorf("%s: %v of %v with %d bytes (%d)", name, got.Shape(), got.DType(), len(got.Data()), sum)
						return
					}
				}
			}()
		}
	}
	wg.Add(1)
	go func() { // a writer beside it
		defer wg.Done()
		for ctx.Err() == nil {
			if err := s.Fill([]int{size}, Uint8, 3); err != nil {
				t.Errorf("Fill: %v", err)
				return
			}
			time.Sleep(50 * time.Microsecond)
		}
	}()
	<-ctx.Done()
	time.Sleep(10 * time.Millisecond)
	hostile.kill(t)
	// Readers that an odd sequence keeps waiting wait for a writer that is alive: it ends that with its next commit.
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			t.Logf("%d calls, %d tensors", calls.Load(), tensors.Load())
			return
		case <-time.After(10 * time.Millisecond):
			if err := s.Fill(nil, Uint8, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestHostileStreamPeer is the same with a stream: its header, table and places, and the slots' headers and pins.
func TestHostileStreamPeer(t *testing.T) {
	if !inChild(t, nil) {
		return
	}
	for name, spin := range map[string]Option{"": {}, ", spinning": WithSpin(100 * time.Microsecond)} {
		t.Run("any"+name, func(t *testing.T) {
			policies(t, func(t *testing.T, every bool, opts ...Option) { testHostileStreamPeer(t, every, append(opts, spin)...) })
		})
	}
}

func testHostileStreamPeer(t *testing.T, every bool, opts ...Option) {
	const size, slots = 16 << 10, 6
	s := namedStream(t, slots, size, opts...)
	ctx, cancel := context.WithTimeout(context.Background(), hostileTime(t)/4)
	defer cancel()
	if err := s.Fill(ctx, nil, Uint8, 3); err != nil { // s is the writer
		t.Fatal(err)
	}
	hostile := startStreamRole(t, "stream-scribble", s.Name())
	spin := opts[len(opts)-1]
	next := reopenStream(t, s) // who opens it later finds no stream
	streams := []*Stream{s, reopenStream(t, s, spin), reopenStream(t, s, spin), reopenStream(t, s, spin, WithReadOnly())}
	var wg sync.WaitGroup
	var calls, frames atomic.Int64
	var longest atomic.Int64
	brief := func(call func(ctx context.Context)) {
		short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		defer cancel()
		began := time.Now()
		call(short)
		calls.Add(1)
		if took := int64(time.Since(began)); took > longest.Load() {
			longest.Store(took)
		}
	}
	whole := func(what string, got Tensor, err error) {
		if err != nil {
			return
		}
		frames.Add(1)
		sum := byte(0)
		for _, b := range got.Data() { // all of it can be touched
			sum += b
		}
		length := got.DType().Size()
		for _, d := range got.Shape() {
			length *= d
		}
		if len(got.Data()) > size || length != len(got.Data()) {
			t.Errorf("%s: %v of %v with %d bytes (%d)", what, got.Shape(), got.DType(), len(got.Data()), sum)
		}
	}
	for _, stream := range streams {
		wg.Go(func() {
			for ctx.Err() == nil {
				r, err := stream.Reader()
				if err != nil {
					if !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrCapacity) {
						t.Errorf("Reader: %v", err)
					}
					return
				}
				for i := range 20 {
					brief(func(ctx context.Context) {
						got, err := r.Next(ctx)
						whole("Next", got, err)
						if err == nil && i%3 == 0 {
							got.Keep()
						}
						if err == nil && i%6 == 0 {
							got.Release()
						}
						_ = got.Valid()
					})
				}
				_ = r.Missed()
				_ = r.Close()
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				brief(func(ctx context.Context) {
					got, err := stream.ReadCopy(ctx)
					whole("ReadCopy", got, err)
				})
				_, _, _ = stream.String(), stream.Readers(), stream.Writer()
			}
		})
	}
	wg.Go(func() { // a writer beside it
		for ctx.Err() == nil {
			brief(func(ctx context.Context) {
				if err := s.Fill(ctx, []int{size}, Uint8, 3); err != nil && ctx.Err() == nil {
					t.Errorf("Fill: %v", err)
				}
			})
			time.Sleep(50 * time.Microsecond)
		}
	})
	wg.Go(func() { // and others who would write
		for ctx.Err() == nil {
			brief(func(ctx context.Context) {
				if err := streams[1].Fill(ctx, []int{size}, Uint8, 3); err != ErrWriterActive && err != nil && ctx.Err() == nil {
					t.Errorf("Fill by another: %v", err)
				}
			})
		}
	})
	<-ctx.Done()
	within(t, "every call, past its context", wg.Wait)
	hostile.kill(t)
	t.Logf("%d calls, %d frames, the longest call of 5 ms took %v", calls.Load(), frames.Load(), time.Duration(longest.Load()))
	if frames.Load() == 0 {
		t.Error("no frame was read")
	}
	// Whoever comes next puts it right.
	for _, stream := range streams {
		_ = stream.Close()
	}
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range slots {
		if err := next.Fill(limited, []int{2}, Uint8, 3); err != nil {
			t.Fatalf("after it: %v", err)
		}
	}
	r := newTestReader(t, next)
	if err := next.Fill(limited, []int{2}, Uint8, 4); err != nil {
		t.Fatalf("after it: %v", err)
	}
	if f := mustNext(t, r); string(f.Data()) != "\x04\x04" {
		t.Errorf("after it: %v", f.Data())
	}
}

func init() {
	// stream-scribble STREAM writes random words over all that is not data, until killed.
	roles["stream-scribble"] = streamRole(func(s *Stream, _ []string) error {
		words := func(memory []byte) []uint32 {
			return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/4)
		}
		header := words(streamMemory(s)[:layout.StreamHeaderSize])
		plausible := []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 64, 4096, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1}
		for {
			word := rand.IntN(len(header))
			if rand.IntN(3) != 0 {
				word = []int{layout.Sequence, layout.Sequence + 4, layout.Flags, layout.Waiters, layout.StreamReaders,
					layout.StreamReaders + 4, layout.StreamReleased, layout.StreamWriterWaits,
					layout.StreamTable + 4*rand.IntN(8), layout.StreamPlaces + layout.StreamPlaceSize*rand.IntN(4)}[rand.IntN(10)] / 4
			}
			target := header
			if rand.IntN(2) == 0 {
				target = words(slotMemory(s, rand.IntN(s.Slots()))[:DataOffset])
				word = []int{0, 0, 1, 16, 17, 18, 19, 20, 34, 35, layout.Pins / 4, layout.Pins/4 + 1}[rand.IntN(12)]
			}
			value := plausible[rand.IntN(len(plausible))]
			switch rand.IntN(3) {
			case 0:
				value = rand.Uint32()
			case 1:
				value = target[word] + 1 + uint32(rand.IntN(2))
			}
			target[word] = value
			if rand.IntN(8) == 0 { // and now and then a slot that can be what the header says
				version := rand.Uint32N(1000) * 2
				slot := rand.IntN(s.Slots())
				of := words(slotMemory(s, slot)[:DataOffset])
				of[0], of[1], of[16], of[17], of[18], of[19], of[34], of[35] = version, 0, 1, 4, 64, 0, 64, 0
				header[layout.StreamTable/4+int(version/2)%s.Slots()] = uint32(slot)
				header[0], header[1] = version, 0
			}
			if rand.IntN(64) == 0 {
				time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond)
			}
		}
	})
}

// hostileTime is how long a test shares segments with programs that mean harm.
func hostileTime(t *testing.T) time.Duration {
	return testTime(t, "JUDEMAP_HOSTILE", 500*time.Millisecond)
}

// inChild runs a test in a process of its own, of this user, where a fault is the death of that one. It returns whether
// this is that process.
func inChild(t *testing.T, attributes *syscall.SysProcAttr) bool {
	t.Helper()
	if isChild(t) {
		return true
	}
	cmd := child(t, t.Name())
	cmd.Args = append(cmd.Args, "-test.timeout="+(hostileTime(t)+50*time.Second).String())
	cmd.SysProcAttr = attributes
	out, err := cmd.CombinedOutput()
	skipped := strings.Contains(string(out), "--- SKIP")
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if skipped {
		t.Skip("SKIP: see above")
	}
	return false
}

func init() {
	// lock FILE KIND takes and drops a lock on the writer's byte, over and over: "write" or "read".
	roles["lock"] = func(_ *Segment, args []string) error {
		kind, flags := int16(unix.F_WRLCK), os.O_RDWR
		if args[1] == "read" {
			kind, flags = unix.F_RDLCK, os.O_RDONLY
		}
		file, err := os.OpenFile(args[0], flags, 0)
		if err != nil {
			return err
		}
		for {
			for _, kind := range []int16{kind, unix.F_UNLCK} {
				lock := unix.Flock_t{Type: kind, Whence: io.SeekStart, Len: 1}
				_ = unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lock)
			}
			if rand.IntN(100) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}
	// truncate PREFIX makes files that could be segments, whose sizes it changes all the time.
	roles["truncate"] = func(_ *Segment, args []string) error {
		const size = 64 << 10
		dump := blockedDump(2, Uint8, size-DataOffset, make([]byte, size-DataOffset))
		var files []*os.File
		for i := range 4 {
			file, err := os.OpenFile(fmt.Sprintf("/dev/shm/%s-%d", args[0], i), os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				return err
			}
			if err := file.Chmod(0o644); err != nil {
				return err
			}
			files = append(files, file)
		}
		for {
			file := files[rand.IntN(len(files))]
			sizes := []int64{0, 1, DataOffset, DataOffset + 1, 4096, size, 1 << 30, 1 << 40}
			_ = file.Truncate(sizes[rand.IntN(len(sizes))])
			if rand.IntN(2) == 0 {
				_, _ = file.WriteAt(dump[:rand.IntN(len(dump))], 0)
			}
			if rand.IntN(4) == 0 { // no longer than the others take, and whole for a moment
				_ = file.Truncate(size)
				_, _ = file.WriteAt(dump, 0)
			}
		}
	}
}

// Files of another user that change their sizes all the time: who lists the segments and opens them is not harmed. (Who
// reads a segment of somebody who may cut it short is at his mercy, WithMode says; but not who reads his own.)
func TestHostileTruncators(t *testing.T) {
	if !inChild(t, nil) {
		return
	}
	s := named(t, 4096)
	if err := s.Fill([]int{100}, Uint8, 7); err != nil {
		t.Fatal(err)
	}
	prefix := uniqueName()
	defer func() {
		for i := range 4 {
			_ = os.Remove(fmt.Sprintf("/dev/shm/%s-%d", prefix, i))
		}
	}()
	hostile := start(t, asOtherUser(t, roleCommand("truncate", "--", prefix)))
	lists, opened, listed := 0, 0, 0
	for end := time.Now().Add(hostileTime(t)); time.Now().Before(end); lists++ {
		names, err := List()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(names, s.Name()) {
			t.Fatalf("List misses %s", s.Name())
		}
		for i := range 4 {
			other, err := Open(fmt.Sprintf("%s-%d", prefix, i), WithReadOnly())
			if err == nil {
				opened++
				if err := other.CloseWait(); err != nil {
					t.Error(err)
				}
			}
		}
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				listed++
			}
		}
		own, err := Open(s.Name(), WithReadOnly())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := own.ReadCopy(context.Background()); err != nil || got.Data()[99] != 7 {
			t.Fatalf("reading one's own: %v", err)
		}
		_ = own.Close()
	}
	hostile.kill(t)
	t.Logf("%d lists, others' files listed %d times and opened %d times", lists, listed, opened)
}

// Programs that take and drop the writer's lock: a write succeeds or is refused, a read is whole, a wait ends, and a
// death is a death.
func TestHostileLocks(t *testing.T) {
	for _, kind := range []string{"write", "read"} {
		t.Run(kind, func(t *testing.T) {
			s := named(t, 4096, WithMode(0o644))
			cmd := roleCommand("lock", "--", "/dev/shm/"+s.Name(), kind)
			if kind == "read" { // as another user, who may do no more
				asOtherUser(t, cmd)
			}
			hostile := []*process{start(t, cmd)}
			reader := reopen(t, s)
			ctx, cancel := context.WithTimeout(context.Background(), hostileTime(t))
			defer cancel()
			var group sync.WaitGroup
			var good, refused, read, deaths atomic.Int64
			group.Go(func() {
				for value := 1; ctx.Err() == nil; value++ {
					writer, err := Open(s.Name())
					if err != nil {
						t.Error(err)
						return
					}
					switch err := writer.Fill([]int{100}, Uint8, float64(value%256)); err {
					case nil:
						good.Add(1)
					case ErrWriterActive:
						refused.Add(1)
					default:
						t.Errorf("Fill: %v", err)
					}
					if err := writer.CloseWait(); err != nil {
						t.Error(err)
					}
				}
			})
			for _, wait := range []func(context.Context) (Tensor, error){
				func(ctx context.Context) (Tensor, error) { return reader.Next(ctx, reader.Version()) },
				reader.ReadCopy,
			} {
				group.Go(func() {
					for ctx.Err() == nil {
						got, err := wait(ctx)
						switch {
						case err == nil:
							copied := append([]byte{}, got.Data()...)
							if got.Valid() && bytes.Count(copied, copied[:1]) != 100 {
								t.Errorf("torn: %v", copied)
							}
							read.Add(1)
						case err == ErrWriterDied:
							deaths.Add(1)
						case err != ErrEmpty && ctx.Err() == nil:
							t.Error(err)
							return
						}
					}
				})
			}
			<-ctx.Done()
			within(t, "the victims", group.Wait)
			for _, p := range hostile {
				p.kill(t)
			}
			if deaths.Load() != 0 {
				t.Errorf("%d deaths, and nobody died", deaths.Load())
			}
			t.Logf("%d commits, %d refused, %d reads", good.Load(), refused.Load(), read.Load())
		})
	}
}

// On a small file system of their own, which is full: files with holes, which a look through a mapping would fill, are
// told from others, and nobody is harmed.
func TestFullSharedMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: only root can mount a file system")
	}
	if !inChild(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}) {
		return
	}
	if err := syscall.Mount("judemap-test", "/dev/shm", "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("SKIP: mounting a file system: %v", err)
	}
	const size = 256 << 10
	for name, header := range map[string][]byte{
		"block": blockedDump(2, Uint8, size-DataOffset, []byte{1, 2}),
		"addon": dumpOf(2, Uint8, []byte{1, 2}),
	} {
		file, err := os.Create("/dev/shm/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(header); err != nil {
			t.Fatal(err)
		}
		if err := file.Truncate(size); err != nil { // pages without memory, past the first
			t.Fatal(err)
		}
		file.Close()
	}
	whole, err := Create("whole", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := whole.Fill([]int{1000}, Uint8, 7); err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile("/dev/shm/ballast", make([]byte, 2<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the file system is not full: %v", err)
	}
	if names, err := List(); err != nil || !slices.Contains(names, "whole") || !slices.Contains(names, "block") {
		t.Errorf("List: %v, %v", names, err)
	}
	for _, name := range []string{"block", "addon"} {
		if _, err := Open(name, WithReadOnly()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) ||
			!strings.Contains(err.Error(), "memory") {
			t.Errorf("Open of %q for reading: %v, want ErrCorrupt that names it and the reason", name, err)
		}
		if _, err := Open(name); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), name) {
			t.Errorf("Open of %q: %v, want ENOSPC that names it", name, err)
		}
	}
	for what, make := range map[string]func() (*Segment, error){
		"Create":       func() (*Segment, error) { return Create("new", size) },
		"OpenOrCreate": func() (*Segment, error) { return OpenOrCreate("new", size) },
	} {
		if _, err := make(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v, want ENOSPC", what, err)
		}
	}
	if err := whole.Fill([]int{1000}, Uint8, 8); err != nil {
		t.Errorf("the one that has its memory: %v", err)
	}
	// With room again, whoever opens for writing reserves it, for readers too.
	if err := os.Remove("/dev/shm/ballast"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"block", "addon"} {
		s, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := Open(name, WithReadOnly())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := reader.ReadCopy(context.Background()); err != nil || string(got.Data()) != "\x01\x02" {
			t.Errorf("%s: %v, %v", name, got.Data(), err)
		}
		_, _ = s.Close(), reader.Close()
	}
}

// A file of 1 TiB without memory, whose header is true: it is refused before anything takes memory.
func TestHugeSparse(t *testing.T) {
	size := int64(1) << 40
	if int64(math.MaxInt) < size {
		t.Skip("SKIP: a 32-bit machine, where such a file gives ErrCapacity")
	}
	if !inChild(t, nil) {
		return
	}
	probe := named(t, 1) // skips where there is no sharing
	_ = probe
	for _, kind := range []string{"named", "memfd", "sealed memfd"} {
		t.Run(kind, func(t *testing.T) {
			var file *os.File
			open := func(opts ...Option) (*Segment, error) { return OpenFile(file, opts...) }
			header := make([]byte, DataOffset)
			copy(header, headerOf(2, 1, uint32(Uint8), uint64(size)-DataOffset, uint64(size)-DataOffset))
			copy(header[192:], blockedDump(2, Uint8, uint64(size)-DataOffset, nil)[192:])
			if kind == "named" {
				name := uniqueName()
				var err error
				if file, err = os.Create("/dev/shm/" + name); err != nil {
					t.Fatal(err)
				}
				defer os.Remove(file.Name())
				if err := file.Truncate(size); err != nil {
					t.Skipf("SKIP: %v", err)
				}
				open = func(opts ...Option) (*Segment, error) { return Open(name, opts...) }
			} else {
				file = memfd(t, size)
			}
			if _, err := file.WriteAt(header, 0); err != nil {
				t.Fatal(err)
			}
			if kind == "sealed memfd" {
				if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
					t.Fatal(err)
				}
			}
			var before, after unix.Statfs_t
			if err := unix.Statfs("/dev/shm", &before); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := open(WithReadOnly()); !errors.Is(err, ErrCorrupt) {
				t.Errorf("for reading: %v, want ErrCorrupt", err)
			}
			if _, err := open(); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("for writing: %v, want ENOSPC", err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v: memory was reserved", took)
			}
			if err := unix.Statfs("/dev/shm", &after); err != nil {
				t.Fatal(err)
			}
			if before.Bfree > after.Bfree+(16<<20)/uint64(after.Bsize) {
				t.Errorf("%d blocks of /dev/shm were free, and %d are", before.Bfree, after.Bfree)
			}
			var status unix.Stat_t
			if err := unix.Fstat(int(file.Fd()), &status); err != nil || status.Blocks > 16 {
				t.Errorf("the file has %d blocks, %v", status.Blocks, err)
			}
		})
	}
	if _, err := New(int(size), WithSealed()); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "1099511627776") {
		t.Errorf("New, sealed, of 1 TiB: %v, want ENOSPC", err)
	}
}
