package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
)

func TestSummary(t *testing.T) {
	s, err := summarize(arrayOf([]float64{-1.7e308, 1.7e308, 0}))
	if err != nil || s.Histogram[0] != 1 || s.Histogram[9] != 1 || s.Histogram[5] != 1 || math.Abs(s.Mean) > 1e300 {
		t.Errorf("%+v, %v", s, err)
	}
	whole, err := summarize(arrayOf([]int64{9223372036854775807, 9223372036854775807}))
	if err != nil || whole.Max != "9223372036854775807" || whole.Histogram[0] != 2 {
		t.Errorf("%+v, %v", whole, err)
	}
	var out bytes.Buffer
	odd, err := summarize(arrayOf([]float64{math.NaN(), math.Inf(1), 2}))
	odd.print(&out)
	if err != nil || !strings.Contains(out.String(), "NaN      1\ninfinite 1\nmin      2\n") {
		t.Errorf("%s, %v", &out, err)
	}
}

// Every type is summarized by the numbers it stands for.
func TestSummaryOfTypes(t *testing.T) {
	s, err := judemap.New(64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, dtype := range dtypes {
		if err := s.Fill([]int{3}, dtype, 1); err != nil {
			t.Fatal(err)
		}
		tensor, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		sum, err := summarize(arrayOfTensor(&tensor))
		if err != nil || sum.Elements != 3 || sum.Min != "1" || sum.Max != "1" || sum.Mean != 1 {
			t.Errorf("%v: %+v, %v", dtype, sum, err)
		}
	}
	if err := judemap.WriteSlice(s, []int{3}, []complex64{3 + 4i, -1i, complex(float32(math.Inf(-1)), 0)}); err != nil {
		t.Fatal(err)
	}
	tensor, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	sum, err := summarize(arrayOfTensor(&tensor))
	sum.print(&out)
	if err != nil || !strings.Contains(out.String(), "infinite 1\nOf the magnitudes:\nmin      1\nmax      5\nmean     3\n") {
		t.Errorf("%s, %v", &out, err)
	}
}

// The header is explained for every type, and when there is no such type.
func TestExplain(t *testing.T) {
	s, err := judemap.New(64, judemap.WithSealed())
	if errors.Is(err, judemap.ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	file, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	header := make([]byte, judemap.DataOffset)
	for i, dtype := range dtypes {
		if err := s.Fill([]int{2, 3}, dtype, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := file.ReadAt(header, 0); err != nil {
			t.Fatal(err)
		}
		want := []field{
			{0, "sequence", fmt.Sprint(2 * (i + 1)), fmt.Sprintf("version; commits: %d; stable", i+1)},
			{64, "ndim", "2", "dimensions, of at most 8"},
			{68, "dtype", fmt.Sprint(uint32(dtype)), fmt.Sprintf("%v; bytes of an element: %d", dtype, dtype.Size())},
			{72, "shape", "[2 3]", "elements in each dimension"},
			{136, "byte_length", fmt.Sprint(6 * dtype.Size()), "bytes of tensor"},
			{192, "magic", "0x314D554A", `"JUM1": the fields below are in use`},
			{196, "flags", "0x3", "every writer wakes parked readers; a writer has not closed it yet, or died"},
			{200, "waiters", "0", "parked readers, in all processes"},
			{208, "capacity", "64", "bytes of tensor that there is room for"},
		}
		fields := explain(header)
		if made := fields[len(want):]; len(made) != 4 || made[2] != (field{232, "creator.process", fmt.Sprint(os.Getpid()),
			"the id of that process; 0: it does not say"}) || !strings.HasPrefix(made[1].Meaning, "when it was made: 20") {
			t.Errorf("who made it: %v", made)
		}
		if diff := cmp.Diff(want, fields[:len(want)]); diff != "" {
			t.Errorf("%v: %s", dtype, diff)
		}
	}
	header[layout.Sequence]++
	header[layout.DType] = byte(len(dtypes))
	var text strings.Builder
	for _, f := range explain(header) {
		fmt.Fprintln(&text, f.Name, f.Meaning)
	}
	for _, want := range []string{"; a commit is in progress", "dtype no element type that is known\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
}

// inspect shows a stream's header, its slots and its readers, among them one that died with a slot in hand.
func TestInspectStream(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.CreateStream(name, 3, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if out := mustRun(t, "inspect", name); !strings.Contains(out, "It has no readers.\n\nIt holds no tensor.\n") {
		t.Errorf("an empty one: %s", out)
	}
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	dead := exec.Command(os.Args[0])
	dead.Env = append(os.Environ(), "JUDEMAP_TEST_DIE_READING="+name)
	ready, err := dead.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil { // it has its place
		t.Fatal(err)
	}
	if err := s.Fill(t.Context(), []int{2, 3}, judemap.Int16, 7); err != nil {
		t.Fatal(err)
	}
	if err := dead.Wait(); err == nil {
		t.Fatal("the reader did not die")
	}
	if err := s.Fill(t.Context(), []int{4}, judemap.Uint8, 9); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	process := func(cmd *exec.Cmd) string { return fmt.Sprint(cmd.Process.Pid) }
	out := mustRun(t, "inspect", name)
	for _, want := range []string{
		"Stream " + name + `: \S+K of shared memory, mode 0600, writer: other\n`,
		`0 +sequence +4 +version; frames: 2\n`,
		`192 +magic +0x3153554A +"JUS1": a stream\n`,
		`196 +flags +0x3 +a slow reader skips frames; every writer wakes parked readers; a writer has not closed it yet`,
		`208 +capacity +64 `, `216 +slots +3 +of at most 256\n`, `224 +first +8192 `, `232 +stride +4096 `,
		`256 +readers +0x3 +a bit for each that has its place: 2\n`, `324 +writer_waits +0 +no writer waits for a slot\n`,
		`0 +8192 +2 +int16 \[2 3\] +reader 1\n`, `1 +12288 +4 +uint8 \[4\] +reader 0\n`, `2 +16384 +0 +none +nobody\n`,
		`0 +` + fmt.Sprint(os.Getpid()) + ` +6 +1 +alive\n`, `1 +` + process(dead) + ` +4 +1 +dead: `,
		`Tensor of version 4: uint8 \[4\]\nelements 4\nmin      9\n`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}

	var seen inspection
	if err := json.Unmarshal([]byte(mustRun(t, "inspect", name, "--json")), &seen); err != nil {
		t.Fatal(err)
	}
	wantSlots := []slotState{
		{0, 8192, 2, "int16", []uint64{2, 3}, []int{1}}, {1, 12288, 4, "uint8", []uint64{4}, []int{0}}, {2, 16384, 0, "", nil, []int{}},
	}
	if diff := cmp.Diff(wantSlots, seen.Slots); diff != "" {
		t.Error(diff)
	}
	wantReaders := []readerState{{0, os.Getpid(), 6, 1, false}, {1, dead.Process.Pid, 4, 1, true}}
	if diff := cmp.Diff(wantReaders, seen.Readers); diff != "" {
		t.Error(diff)
	}
	if seen.Kind != "stream" || seen.Writer != "other" || seen.Tensor == nil || seen.Tensor.Max != "9" || len(seen.Header) != 16 {
		t.Errorf("%+v", seen)
	}

	row := name + ` +stream 3 +uint8 \[4\] +4 +4 +64 +other +2, 1 dead\n`
	if out := mustRun(t, "ls"); !regexp.MustCompile(row).MatchString(out) {
		t.Errorf("ls has no row %q:\n%s", row, out)
	}
}

// What inspect shows fits into 80 columns, also what a hostile writer has put there.
func TestInspectFits(t *testing.T) {
	header := bytes.Repeat([]byte{0xff}, layout.StreamHeaderSize)
	for _, magic := range []uint32{layout.MagicValue, 0xffffffff, 0x0a1b5b9b} {
		binary.LittleEndian.PutUint32(header[layout.Magic:], magic)
		slots := streamHeaders{head: header, slots: [][]byte{header[:judemap.DataOffset], bytes.Repeat([]byte{0xfe}, judemap.DataOffset)}}
		seen := inspection{Name: hostileName, Kind: "segment", Size: math.MaxInt64, Mode: "0600", Writer: "other", Header: explain(header)}
		stream := inspection{Name: strings.Repeat("n", 255), Kind: "stream", Size: math.MaxInt64, Mode: "0600", Writer: "other",
			Header: slots.explain(), Slots: slots.slotStates(), Readers: []readerState{{63, math.MaxInt32, math.MaxUint64, 256, true}}}
		for _, i := range []*inspection{&seen, &stream} {
			for _, sizes := range []sizeFormat{roundSizes, exactSizes} {
				var out strings.Builder
				i.print(&out, 80, sizes)
				checkLines(t, out.String(), 80)
			}
		}
	}
}
