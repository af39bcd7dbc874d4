package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
)

func TestSummary(t *testing.T) {
	s, err := summarizeSlice([]float64{-1.7e308, 1.7e308, 0}, nil)
	if err != nil || s.histogram[0] != 1 || s.histogram[9] != 1 || s.histogram[5] != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	whole, err := summarizeSlice([]int64{9223372036854775807, 9223372036854775807}, nil)
	if err != nil || whole.max != "9223372036854775807" || whole.histogram[0] != 2 {
		t.Errorf("%+v, %v", whole, err)
	}
	var out bytes.Buffer
	odd, err := summarizeSlice([]float64{math.NaN(), math.Inf(1), 2}, nil)
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
		sum, err := summarize(&tensor)
		if err != nil || sum.elements != 3 || sum.min != "1" || sum.max != "1" || sum.mean != 1 {
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
	sum, err := summarize(&tensor)
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
			{196, "flags", "0x3", "every writer wakes parked readers; a writer has not closed the segment yet, or died"},
			{200, "waiters", "0", "parked readers, in all processes"},
			{208, "capacity", "64", "bytes of tensor that there is room for"},
		}
		if diff := cmp.Diff(want, explain(header), cmp.AllowUnexported(field{})); diff != "" {
			t.Errorf("%v: %s", dtype, diff)
		}
	}
	header[layout.Sequence]++
	header[layout.DType] = byte(len(dtypes))
	var text strings.Builder
	for _, f := range explain(header) {
		fmt.Fprintln(&text, f.name, f.meaning)
	}
	for _, want := range []string{"; a commit is in progress", "dtype no element type that is known\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
}
