//go:build cgo

package judemap

import (
	"context"
	"errors"
	"fmt"
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

// checkMade checks what a header says of who has just made it, and takes it out.
func checkMade(t *testing.T, what string, info *Info) {
	t.Helper()
	if age := time.Since(info.Created); age < 0 || age > time.Minute {
		t.Errorf("%s: made %v ago, at %v", what, age, info.Created)
	}
	if info.Creator != os.Getpid() || info.CreatorPresence != Present || info.LeftBehind() {
		t.Errorf("%s: made by %d, %v; left behind: %v", what, info.Creator, info.CreatorPresence, info.LeftBehind())
	}
	info.Creator, info.Created, info.CreatorPresence = 0, time.Time{}, PresenceUnknown
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
