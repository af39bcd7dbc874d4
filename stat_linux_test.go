//go:build cgo

package judemap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap/internal/layout"
	"golang.org/x/sys/unix"
)

// inShm makes a file where segments lie, with this content, until the test ends, and returns its name.
func inShm(t testing.TB, content []byte) string {
	t.Helper()
	name := uniqueName()
	if err := os.WriteFile("/dev/shm/"+name, content, 0o600); err != nil {
		t.Skipf("SKIP: %v", err)
	}
	t.Cleanup(func() { _ = os.Remove("/dev/shm/" + name) })
	return name
}

// A file that can't be true is an error with its field and numbers, and a tensor that can't be is one in the Info.
func TestStatCorrupt(t *testing.T) {
	dump := blockedDump(2, Uint8, 3000, []byte{5, 6})
	dump = append(dump, make([]byte, 4096-len(dump))...)
	with := func(at int, value uint64, bytes int) []byte {
		changed := append([]byte{}, dump...)
		copy(changed[at:], binary.LittleEndian.AppendUint64(nil, value)[:bytes])
		return changed
	}
	stream, err := NewStream(3, 100, WithSealed())
	if err != nil {
		t.Skipf("SKIP: %v", err)
	}
	defer stream.Close()
	if err := stream.Fill(t.Context(), []int{7}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	streamWith := func(at int, value uint64, bytes int) []byte {
		changed := append([]byte{}, streamMemory(stream)...)
		changed = append(changed, make([]byte, 4096-DataOffset-100)...) // the last page
		copy(changed[at:], binary.LittleEndian.AppendUint64(nil, value)[:bytes])
		return changed
	}
	for _, test := range []struct {
		name    string
		content []byte
		want    error
		says    string
		tensor  bool // it is in Info.Err
	}{
		{"nothing", nil, ErrCorrupt, "it has 0 bytes, and a segment more than 256", false},
		{"a header", dump[:DataOffset], ErrCorrupt, "it has 256 bytes", false},
		{"text", []byte(strings.Repeat("text ", 1000)), ErrCorrupt, "magic is 0x7420", false},
		{"capacity", with(layout.Capacity, 5000, 8), ErrCorrupt, "capacity is 5000, and the file has 4096 bytes", false},
		{"no capacity", with(layout.Capacity, 0, 8), ErrCorrupt, "capacity is 0", false},
		{"ndim", with(layout.NDim, 9, 4), ErrCorrupt, "ndim is 9", true},
		{"dtype", with(layout.DType, 99, 4), ErrCorrupt, "dtype is 99", true},
		{"shape", with(layout.Shape, 1<<63, 8), ErrCorrupt, "shape is [9223372036854775808]", true},
		{"byte_length", with(layout.ByteLength, 3, 8), ErrCorrupt, "byte_length is 3", true},
		{"half written", with(layout.Sequence, 3, 8), ErrWriterDied, "", true},
		{"slots", streamWith(layout.StreamSlots, 1, 4), ErrCorrupt, "slots is 1, readers 64, first 8192, stride 4096, capacity 100", false},
		{"stride", streamWith(layout.StreamStride, 1<<40, 8), ErrCorrupt, "stride 1099511627776", false},
		{"first", streamWith(layout.StreamFirst, math.MaxUint64-4095, 8), ErrCorrupt, "first 18446744073709547520", false},
		{"table", streamWith(layout.StreamTable+4, 3, 4), ErrCorrupt, "table has a slot above 2 for frame 1", true},
		{"frame", streamWith(layout.StreamHeaderSize, 20, 8), ErrCorrupt, "sequence is 2, and a slot has frame 10 already", true},
		{"a slot's ndim", streamWith(layout.StreamHeaderSize+layout.NDim, 10, 4), ErrCorrupt, "ndim is 10", true},
		{"a slot that is older", streamWith(layout.Sequence, 8, 8), ErrBusy, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := inShm(t, test.content)
			info, err := Stat(name)
			if info.Size != int64(len(test.content)) || info.Name != name {
				t.Errorf("%+v", info)
			}
			if test.tensor {
				if err != nil {
					t.Fatal(err)
				}
				err = info.Err
			} else if err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("%v names no %s", err, name)
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %v that says %q", err, test.want, test.says)
			}
			copied, copyErr := StatCopy(name, make([]byte, 4096)) // says the same
			if test.tensor && copyErr == nil {
				copyErr = copied.Err
			}
			if copyErr == nil || copyErr.Error() != err.Error() {
				t.Errorf("a copy: %v, want %v", copyErr, err)
			}
		})
	}
	if info, err := Stat(inShm(t, dumpOf(2, Uint8, []byte{5, 6}))); err != nil || info.Marked || info.Capacity != 2 ||
		info.Bytes != 2 || info.Writer != WriterNone || !info.ForeignWriters {
		t.Errorf("the Node addon's: %+v, %v", info, err)
	}
	if info, err := Stat(inShm(t, dumpOf(3, Uint8, []byte{5, 6}))); err != nil || info.Err != ErrBusy || info.Writer != WriterNone {
		t.Errorf("the Node addon's, in a commit: %+v, %v", info, err)
	}
	link := uniqueName()
	if err := os.Symlink("/dev/shm/"+inShm(t, dump), "/dev/shm/"+link); err != nil {
		t.Fatal(err)
	}
	defer os.Remove("/dev/shm/" + link)
	if _, err := Stat(link); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a link: %v", err)
	}
	fifo := uniqueName()
	if err := unix.Mkfifo("/dev/shm/"+fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove("/dev/shm/" + fifo)
	within(t, "Stat of a FIFO", func() {
		if _, err := Stat(fifo); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a FIFO: %v", err)
		}
	})
}

// Writers and readers of other processes that were killed are found dead.
func TestStatOfTheDead(t *testing.T) {
	s := named(t, 64)
	writer := startRole(t, "idle", s.Name())
	eventually(t, "a commit", func() bool { return s.Version() > 0 && s.Version()%2 == 0 })
	if info, err := Stat(s.Name()); err != nil || info.Writer != WriterOther {
		t.Errorf("while it lives: %+v, %v", info, err)
	}
	writer.kill(t)
	if info, err := Stat(s.Name()); err != nil || info.Writer != WriterDied || info.Err != nil {
		t.Errorf("killed between commits: %+v, %v", info, err)
	}

	stream := namedStream(t, 4, 64)
	half := startStreamRole(t, "stream-half", stream.Name())
	_ = half
	eventually(t, "a commit that does not end", func() bool {
		info, err := Stat(stream.Name())
		return err == nil && info.Writer == WriterOther
	})
	half.kill(t)
	if info, err := Stat(stream.Name()); err != nil || info.Writer != WriterDied || info.Err == nil && info.Bytes == 0 {
		t.Errorf("killed in a stream's commit: %+v, %v", info, err)
	}
}

// A process that cuts a file short and lets it grow all the time: Stat and StatCopy have an error or an Info, and no fault.
func TestStatTruncated(t *testing.T) {
	if !inChild(t, nil) {
		return
	}
	prefix := uniqueName()
	defer func() {
		for i := range 4 {
			_ = os.Remove(fmt.Sprintf("/dev/shm/%s-%d", prefix, i))
		}
	}()
	hostile := start(t, asOtherUser(t, roleCommand("truncate", "--", prefix)))
	good, bad := 0, 0
	buffer := make([]byte, 1<<20)
	for end := time.Now().Add(hostileTime(t)); time.Now().Before(end); {
		for i := range 8 {
			info, err := stat(fmt.Sprintf("%s-%d", prefix, i/2), [][]byte{nil, buffer}[i%2])
			switch {
			case err == nil && info.Err == nil:
				good++
			case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission):
				t.Fatal(err)
			default:
				bad++
			}
		}
	}
	hostile.kill(t)
	if good == 0 || bad == 0 {
		t.Errorf("%d tensors, %d others", good, bad)
	}
	t.Logf("%d tensors, %d others", good, bad)
}

// FuzzStat puts random bytes over a segment's file, or a stream's: Stat says what is wrong with it, or an Info that a
// program may believe. StatCopy says the same, and copies that tensor.
func FuzzStat(f *testing.F) {
	ctx := context.Background()
	stream, err := NewStream(3, 500, WithSealed())
	if err != nil {
		f.Skip(err)
	}
	defer stream.Close()
	for i := range 4 {
		if err := stream.Fill(ctx, []int{10}, Uint8, float64(i)); err != nil {
			f.Fatal(err)
		}
	}
	segment := blockedDump(2, Uint8, 1000, []byte{5, 6})
	segment = append(segment, make([]byte, 4096-len(segment))...)
	word := func(of uint32) []byte { return binary.LittleEndian.AppendUint32(nil, of) }
	long := func(of uint64) []byte { return binary.LittleEndian.AppendUint64(nil, of) }
	f.Add(false, 0, []byte(nil), 0, []byte(nil))
	f.Add(false, layout.Magic, word(0), layout.Sequence, long(3))
	f.Add(false, layout.Capacity, long(1<<63), layout.NDim, word(9))
	f.Add(false, layout.Shape, long(math.MaxUint64), layout.ByteLength, long(0))
	f.Add(true, layout.Sequence, long(7), layout.StreamTable, word(3))
	f.Add(true, layout.StreamSlots, word(4), layout.Capacity, long(1))
	f.Add(true, layout.StreamSlots, word(256), layout.StreamStride, long(0))
	f.Add(true, layout.StreamFirst, long(math.MaxUint64-4095), layout.StreamStride, long(1<<62))
	f.Add(true, layout.StreamReaders, long(math.MaxUint64), layout.StreamPlaces, long(1))
	f.Add(true, layout.StreamHeaderSize, long(9), layout.StreamHeaderSize+layout.Pins, long(1))
	f.Add(true, layout.Sequence, long(math.MaxUint64), layout.StreamHeaderSize, long(math.MaxUint64-1))
	f.Fuzz(func(t *testing.T, isStream bool, at int, word1 []byte, at2 int, word2 []byte) {
		content := append([]byte{}, segment...)
		if isStream {
			content = append([]byte{}, streamMemory(stream)...)
		}
		copy(content[uint(at)%uint(len(content)):], word1)
		copy(content[uint(at2)%uint(len(content)):], word2)
		name := inShm(t, content)
		info, err := Stat(name)
		data := make([]byte, len(content))
		copied, copyErr := StatCopy(name, data)
		if diff := cmp.Diff(info, copied, cmp.Comparer(sameText)); diff != "" || !sameText(err, copyErr) {
			t.Errorf("Stat: %v; StatCopy: %v; %s", err, copyErr, diff)
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("Stat: %v", err)
			}
			return
		}
		_, _ = info.String(), info.LogValue()
		if info.Capacity < 1 || info.Capacity > int64(len(content)-DataOffset) {
			t.Errorf("capacity %d of a file of %d bytes", info.Capacity, len(content))
		}
		if info.Kind == KindStream && (info.Slots < 2 || info.Slots > MaxSlots || len(info.Readers) > MaxReaders) {
			t.Errorf("%d slots, %d readers", info.Slots, len(info.Readers))
		}
		if info.Err != nil {
			return
		}
		bytesOfShape := int64(info.DType.Size())
		for _, n := range info.Shape {
			bytesOfShape *= int64(n)
		}
		if info.Bytes != bytesOfShape || info.Bytes > info.Capacity || len(info.Shape) > MaxDims || info.DType.Size() == 0 {
			t.Errorf("%+v", info)
		}
		if !bytes.Contains(content, data[:info.Bytes]) {
			t.Errorf("%v is nowhere in the file", data[:info.Bytes])
		}
	})
}

// sameText says whether two errors are both none, or say the same.
func sameText(a, b error) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error())
}

// Who made a segment and is gone, and who has one open, is told of processes that were killed too.
func TestStatOfWhatIsLeftBehind(t *testing.T) {
	for kind, name := range map[string]string{"segment": uniqueName(), "stream": uniqueName()} {
		t.Run(kind, func(t *testing.T) {
			defer os.Remove("/dev/shm/" + name)
			creator := start(t, roleCommand("make", "--", kind, name))
			stat := func(what string, creatorThere, holders Presence) {
				t.Helper()
				info, err := Stat(name)
				if err != nil {
					t.Fatal(err)
				}
				left := creatorThere == Gone && holders == Gone
				if info.Creator != creator.Process.Pid || info.CreatorPresence != creatorThere || info.Holders != holders ||
					info.LeftBehind() != left {
					t.Errorf("%s: made by %d (%d), %v, want %v; holders %v, want %v; left behind %v, want %v", what, info.Creator,
						creator.Process.Pid, info.CreatorPresence, creatorThere, info.Holders, holders, info.LeftBehind(), left)
				}
			}
			eventually(t, "the name", func() bool { _, err := Stat(name); return err == nil })
			stat("it lives", Present, Present)
			holder := start(t, roleCommand("hold", "--", kind, name))
			creator.kill(t)
			eventually(t, "a holder", func() bool { info, err := Stat(name); return err == nil && info.Holders == Present })
			stat("the creator was killed", Gone, Present)
			holder.kill(t)
			stat("the holder was killed", Gone, Gone)
		})
	}
}

// A number that another process has by now is not the creator.
func TestStatOfAnotherProcessOfThatNumber(t *testing.T) {
	s := named(t, 8)
	change := func(at int, value byte) {
		t.Helper()
		file, err := os.OpenFile("/dev/shm/"+s.Name(), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteAt([]byte{value}, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	first := func() Info {
		t.Helper()
		info, err := Stat(s.Name())
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	if got := first(); got.CreatorPresence != Present {
		t.Fatalf("%+v", got)
	}
	change(layout.Creator+layout.CreatorStart+7, 1)
	if got := first(); got.CreatorPresence != Gone {
		t.Errorf("it began at another time: %v", got.CreatorPresence)
	}
	change(layout.Creator+layout.CreatorSpace+3, 1)
	if got := first(); got.CreatorPresence != PresenceUnknown {
		t.Errorf("in another PID namespace: %v", got.CreatorPresence)
	}
	for i := range 24 {
		change(layout.Creator+i, 0)
	}
	if got := first(); got.CreatorPresence != PresenceUnknown || got.Creator != 0 || !got.Created.IsZero() {
		t.Errorf("it does not say: %+v", got)
	}
}

func init() {
	// make KIND NAME makes a segment or stream; hold KIND NAME opens it. Both then wait to be killed.
	roles["make"] = func(_ *Segment, args []string) (err error) {
		if args[0] == "stream" {
			_, err = CreateStream(args[1], 2, 8)
		} else {
			_, err = Create(args[1], 8)
		}
		if err == nil {
			select {}
		}
		return err
	}
	roles["hold"] = func(_ *Segment, args []string) (err error) {
		if args[0] == "stream" {
			_, err = OpenStream(args[1], WithReadOnly())
		} else {
			_, err = Open(args[1])
		}
		if err == nil {
			select {}
		}
		return err
	}
}
