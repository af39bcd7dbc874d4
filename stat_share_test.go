//go:build cgo

package judemap

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// checkMade checks what a header says of who has just made it, and in which file, and takes it out.
func checkMade(t *testing.T, what string, info *Info) {
	t.Helper()
	if age := time.Since(info.Created); age < 0 || age > time.Minute {
		t.Errorf("%s: made %v ago, at %v", what, age, info.Created)
	}
	if info.Creator != os.Getpid() || info.CreatorPresence != Present || info.LeftBehind() {
		t.Errorf("%s: made by %d, %v; left behind: %v", what, info.Creator, info.CreatorPresence, info.LeftBehind())
	}
	if info.File == (FileID{}) {
		t.Errorf("%s: its file is not known", what)
	}
	info.Creator, info.Created, info.CreatorPresence, info.File = 0, time.Time{}, PresenceUnknown, FileID{}
}

// Stat finds what the handles of a segment know of it.
func TestStat(t *testing.T) {
	s := named(t, 1000)
	page := int64(os.Getpagesize())
	want := Info{Name: s.Name(), Kind: KindSegment, Marked: true, Size: page, Capacity: 1000, Holders: Present, Err: ErrEmpty}
	check := func(what string) {
		t.Helper()
		got, err := Stat(s.Name())
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		checkMade(t, what, &got)
		if diff := cmp.Diff(want, got, cmpopts.EquateErrors()); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	check("empty")

	if err := s.Fill([]int{3, 2}, Float64, 1); err != nil {
		t.Fatal(err)
	}
	want.Writer, want.Version, want.DType, want.Shape, want.Bytes, want.Err = WriterOther, 2, Float64, []int{3, 2}, 48, nil
	check("written")
	if got := want.String(); got != fmt.Sprintf("segment %q: float64 [3 2], version 2", s.Name()) {
		t.Error(got)
	}

	err := s.Update([]int{5}, Uint8, func([]byte) error {
		want.Version, want.DType, want.Shape, want.Bytes, want.Err = 3, 0, nil, 0, ErrBusy
		check("in a commit")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Fill(nil, Bool, 1); err != nil {
		t.Fatal(err)
	}
	want.Version, want.DType, want.Shape, want.Bytes, want.Err = 6, Bool, []int{}, 1, nil
	check("of no dimensions")

	reader := reopen(t, s, WithReadOnly())
	if err := s.CloseWait(); err != nil {
		t.Fatal(err)
	}
	want.Writer = WriterNone
	check("closed, but for a reader")
	if err := reader.CloseWait(); err != nil {
		t.Fatal(err)
	}
	want.Holders = Gone
	check("closed")

	// A file that is handed over, and may be mapped without this package.
	reader = reopen(t, s)
	file, err := reader.ReadOnlyFile()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.CloseWait(); err != nil {
		t.Fatal(err)
	}
	want.Holders = Present
	check("with a descriptor")
	_ = file.Close()
	want.Holders = Gone
	check("without it")

	foreign := named(t, 64, WithForeignWriters())
	got, err := Stat(foreign.Name())
	if err != nil || !got.ForeignWriters || !got.Marked || got.Writer != WriterNone || got.Holders != Present {
		t.Errorf("with foreign writers: %+v, %v", got, err)
	}
	if err := foreign.CloseWait(); err != nil {
		t.Fatal(err)
	}
	if got, err := Stat(foreign.Name()); err != nil || got.Holders != PresenceUnknown || got.LeftBehind() {
		t.Errorf("with foreign writers, closed: %+v, %v", got, err)
	}
}

func TestStatStream(t *testing.T) {
	name := uniqueName()
	s, err := CreateStream(name, 3, 100, WithEveryFrame())
	if errors.Is(err, ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.CloseWait(), Remove(name)); err != nil {
			t.Error(err)
		}
	})
	want := Info{Name: name, Kind: KindStream, Marked: true, Capacity: 100, Holders: Present, Err: ErrEmpty, Slots: 3, EveryFrame: true,
		Readers: []ReaderInfo{}}
	check := func(what string) {
		t.Helper()
		got, err := Stat(name)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		checkMade(t, what, &got)
		if got.Size < 3*(DataOffset+100) {
			t.Errorf("%s: its file has %d bytes", what, got.Size)
		}
		want.Size = got.Size
		if diff := cmp.Diff(want, got, cmpopts.EquateErrors()); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	check("empty")

	ctx := t.Context()
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	want.Readers = []ReaderInfo{{Number: 0, Process: os.Getpid(), Next: 2}}
	check("with a reader")

	want.Writer, want.DType, want.Err = WriterOther, Int16, nil
	for i := range 7 {
		if err := s.Fill(ctx, []int{i + 1, 2}, Int16, float64(i)); err != nil {
			t.Fatal(err)
		}
		want.Version, want.Shape, want.Bytes = uint64(2*i+2), []int{i + 1, 2}, int64(4*i+4)
		check(fmt.Sprintf("frame %d", i+1))
		if _, err := r.Next(ctx); err != nil {
			t.Fatal(err)
		}
		want.Readers[0].Next, want.Readers[0].Held = uint64(2*i+4), 1
		check(fmt.Sprintf("frame %d, held", i+1))
	}
	if got := want.String(); got != fmt.Sprintf("stream %q, 3 slots: int16 [7 2], version 14", name) {
		t.Error(got)
	}
	err = s.Update(ctx, []int{1}, Uint8, func([]byte) error { // the newest is another slot's meanwhile
		check("in a commit")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Another file of the same name is told from the first one.
func TestStatTellsFilesApart(t *testing.T) {
	s := named(t, 8)
	id := func() FileID {
		t.Helper()
		info, err := Stat(s.Name())
		if err != nil {
			t.Fatal(err)
		}
		return info.File
	}
	first := id()
	if again := id(); again != first {
		t.Errorf("one file is %v and %v", first, again)
	}
	if err := Remove(s.Name()); err != nil {
		t.Fatal(err)
	}
	remade, err := Create(s.Name(), 8)
	if err != nil {
		t.Fatal(err)
	}
	defer remade.CloseWait()
	if again := id(); again == first {
		t.Errorf("two files are %v", first)
	}
}

// StatCopy says what Stat says, and copies the tensor where there is room for it.
func TestStatCopy(t *testing.T) {
	segment := named(t, 1000)
	name := uniqueName()
	stream, err := CreateStream(name, 3, 1000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(stream.CloseWait(), Remove(name)); err != nil {
			t.Error(err)
		}
	})
	for _, of := range []struct {
		name  string
		write func(shape []int, dtype DType, data []byte) error
	}{
		{segment.Name(), segment.Write},
		{name, func(shape []int, dtype DType, data []byte) error {
			return stream.Write(t.Context(), shape, dtype, data)
		}},
	} {
		if info, err := StatCopy(of.name, make([]byte, 8)); err != nil || !errors.Is(info.Err, ErrEmpty) {
			t.Errorf("empty: %v, %v", info.Err, err)
		}
		for _, test := range []struct {
			what  string
			shape []int
			dtype DType
			data  []byte
			room  int
			err   error
		}{
			{"as much room as bytes", []int{2, 2}, Uint8, []byte{1, 2, 3, 4}, 4, nil},
			{"more room", []int{3}, Int16, []byte{1, 2, 3, 4, 5, 6}, 100, nil},
			{"one byte", nil, Bool, []byte{1}, 1, nil},
			{"a byte too little", []int{3}, Int16, []byte{1, 2, 3, 4, 5, 6}, 5, io.ErrShortBuffer},
			{"no room", []int{1}, Uint8, []byte{1}, 0, io.ErrShortBuffer},
			{"no bytes, and no room", []int{0, 4}, Float32, nil, 0, nil},
			{"as much as there is room for in the segment", []int{1000}, Uint8, bytes.Repeat([]byte{7}, 1000), 1000, nil},
		} {
			if err := of.write(test.shape, test.dtype, test.data); err != nil {
				t.Fatalf("%s: %v", test.what, err)
			}
			const untouched = 0xEE
			buffer := bytes.Repeat([]byte{untouched}, test.room+4)
			got, err := StatCopy(of.name, buffer[:test.room:test.room])
			if err != nil {
				t.Fatalf("%s: %v", test.what, err)
			}
			want, err := Stat(of.name)
			if err != nil {
				t.Fatal(err)
			}
			want.Err = test.err
			if diff := cmp.Diff(want, got, cmpopts.EquateErrors()); diff != "" {
				t.Errorf("%s: %s", test.what, diff)
			}
			copied := 0
			if test.err == nil {
				copied = len(test.data)
			}
			if !bytes.Equal(buffer[:copied], test.data[:copied]) {
				t.Errorf("%s: %v, want %v", test.what, buffer[:copied], test.data)
			}
			if rest := buffer[copied:]; !bytes.Equal(rest, bytes.Repeat([]byte{untouched}, len(rest))) {
				t.Errorf("%s: behind the copy is %v", test.what, rest)
			}
			if says := fmt.Sprintf("the tensor has %d bytes, and there is room for %d", len(test.data), test.room); test.err != nil &&
				!strings.Contains(got.Err.Error(), says) {
				t.Errorf("%s: %v", test.what, got.Err)
			}
		}
	}
	if info, err := StatCopy(name, nil); err != nil || !errors.Is(info.Err, io.ErrShortBuffer) || info.Bytes != 1000 {
		t.Errorf("without a buffer: %v, %v", info.Err, err)
	}
	err = segment.Update([]int{5}, Uint8, func([]byte) error {
		if info, err := StatCopy(segment.Name(), make([]byte, 8)); err != nil || !errors.Is(info.Err, ErrBusy) || info.Bytes != 0 {
			t.Errorf("in a commit: %+v, %v", info, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// StatCopy allocates what Stat does for the same segment, and no more.
func TestStatCopyAllocates(t *testing.T) {
	s := named(t, 1<<16)
	if err := s.Fill([]int{1 << 13}, Float64, 1); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1<<16)
	allocations := func(stat func() (Info, error)) float64 {
		return testing.AllocsPerRun(100, func() {
			if info, err := stat(); err != nil || info.Err != nil {
				t.Fatal(err, info.Err)
			}
		})
	}
	plain := allocations(func() (Info, error) { return Stat(s.Name()) })
	if copying := allocations(func() (Info, error) { return StatCopy(s.Name(), buffer) }); copying > plain {
		t.Errorf("%v allocations, and %v without the copy", copying, plain)
	}
}

// While writers go on, what StatCopy copies is what was committed under the version that it says.
func TestStatCopyStress(t *testing.T) {
	const most = 2000
	element := func(version uint64, i int) uint64 { return version<<20 + uint64(i) }
	length := func(version uint64) int { return most - int(version/2%7) }
	fill := func(version uint64, data []byte) {
		for i := range len(data) / 8 {
			binary.LittleEndian.PutUint64(data[8*i:], element(version, i))
		}
	}
	segment := named(t, most*8)
	name := uniqueName()
	stream, err := CreateStream(name, 2, most*8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(stream.CloseWait(), Remove(name)); err != nil {
			t.Error(err)
		}
	})
	for _, of := range []struct {
		what, name string
		commit     func(version uint64) error
	}{
		{"segment", segment.Name(), func(v uint64) error {
			return segment.Update([]int{length(v)}, Uint64, func(data []byte) error { fill(v, data); return nil })
		}},
		{"stream", name, func(v uint64) error {
			return stream.Update(t.Context(), []int{length(v)}, Uint64, func(data []byte) error { fill(v, data); return nil })
		}},
	} {
		t.Run(of.what, func(t *testing.T) {
			enough, stopped := make(chan struct{}), make(chan error, 1)
			go func() {
				for version := uint64(2); ; version += 2 {
					select {
					case <-enough:
						stopped <- nil
						return
					default:
					}
					if err := of.commit(version); err != nil {
						stopped <- err
						return
					}
					if version%512 == 0 { // so that not every copy is torn
						time.Sleep(100 * time.Microsecond)
					}
				}
			}()
			buffer := make([]byte, most*8)
			copies, busy, newest := 0, 0, uint64(0)
			for end := time.Now().Add(stressTime(t)); time.Now().Before(end); {
				info, err := StatCopy(of.name, buffer)
				if err != nil {
					t.Fatal(err)
				}
				if errors.Is(info.Err, ErrBusy) || errors.Is(info.Err, ErrEmpty) {
					busy++
					continue
				}
				v := info.Version
				if info.Err != nil || v%2 != 0 || v < newest || info.DType != Uint64 || !slices.Equal(info.Shape, []int{length(v)}) ||
					info.Bytes != int64(8*length(v)) {
					t.Fatalf("after version %d: %+v", newest, info)
				}
				for i := range length(v) {
					if got := binary.LittleEndian.Uint64(buffer[8*i:]); got != element(v, i) {
						t.Fatalf("version %d: element %d is of version %d", v, i, got>>20)
					}
				}
				newest, copies = v, copies+1
			}
			close(enough)
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			if copies == 0 {
				t.Error("nothing was copied")
			}
			t.Logf("%d copies of %d commits, %d times busy", copies, newest/2, busy)
		})
	}
}

// BenchmarkStat compares a look at a header with one that copies the tensor too.
func BenchmarkStat(b *testing.B) {
	for _, size := range []int{0, 4 << 10, 1 << 20, 64 << 20} {
		s := named(b, max(size, 1))
		if err := s.Fill([]int{size}, Uint8, 1); err != nil {
			b.Fatal(err)
		}
		if size == 0 {
			b.Run("header", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Stat(s.Name()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("copy/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			buffer := make([]byte, size)
			for b.Loop() {
				if info, err := StatCopy(s.Name(), buffer); err != nil || info.Err != nil {
					b.Fatal(err, info.Err)
				}
			}
		})
	}
}

// What Stat refuses, and what it says of it.
func TestStatErrors(t *testing.T) {
	_ = named(t, 1) // skips where there is no sharing
	for name, want := range map[string]error{
		uniqueName(): fs.ErrNotExist, "": fs.ErrInvalid, "a/b": fs.ErrInvalid, "..": fs.ErrInvalid, "a\x00b": fs.ErrInvalid,
		strings.Repeat("x", 256): fs.ErrInvalid,
	} {
		if info, err := Stat(name); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v, want %v", name, info, err, want)
		}
		if info, err := StatCopy(name, nil); !errors.Is(err, want) {
			t.Errorf("a copy of %q: %v, %v, want %v", name, info, err, want)
		}
	}
}

// While a writer commits without a pause, what Stat says is what was committed.
func TestStatUnderAWriter(t *testing.T) {
	s := named(t, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			shape, dtype := []int{1 + i%3, 4}, Uint8
			if i%2 == 1 {
				shape, dtype = []int{2, 2, 1 + i%3}, Float64
			}
			if err := s.Fill(shape, dtype, 1); err != nil {
				stopped <- err
				return
			}
		}
		stopped <- nil
	}()
	tensors := 0
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		info, err := Stat(s.Name())
		if err != nil {
			t.Fatal(err)
		}
		if info.Err != nil {
			if !errors.Is(info.Err, ErrBusy) && !errors.Is(info.Err, ErrEmpty) {
				t.Fatal(info.Err)
			}
			continue
		}
		tensors++
		elements := int64(1)
		for _, n := range info.Shape {
			elements *= int64(n)
		}
		small := len(info.Shape) == 2 && info.DType == Uint8 && info.Shape[0] <= 3 && info.Shape[1] == 4
		large := len(info.Shape) == 3 && info.DType == Float64 && slices.Equal(info.Shape[:2], []int{2, 2}) && info.Shape[2] <= 3
		if !small && !large || info.Bytes != elements*int64(info.DType.Size()) || info.Version%2 != 0 {
			t.Fatalf("%v", info)
		}
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if tensors == 0 {
		t.Error("no tensor was seen")
	}
	t.Logf("%d tensors seen in %d commits", tensors, s.Version()/2)
}

func TestStatLogs(t *testing.T) {
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}}))
	log.Info("a", "x", Info{Name: "n", Kind: KindStream, Slots: 4, DType: Uint8, Shape: []int{2}, Version: 8})
	log.Info("b", "x", Info{Name: "n", Kind: KindSegment, Version: 3, Err: ErrBusy})
	want := "msg=a x.kind=stream x.name=n x.slots=4 x.dtype=uint8 x.shape=[2] x.version=8\n" +
		"msg=b x.kind=segment x.name=n x.version=3\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("Kind(7) unknown present gone Presence(3)", fmt.Sprint(Kind(7), PresenceUnknown, Present, Gone,
		Presence(3))); diff != "" {
		t.Error(diff)
	}
}
