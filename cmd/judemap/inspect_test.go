package main

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/judemap/judemap"
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
