package main

import (
	"bytes"
	"math"
	"strings"
	"testing"
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
