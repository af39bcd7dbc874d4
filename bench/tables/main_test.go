package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const lines = `machine: two cores
date: 2026-01-02
commit: abc
goos: linux
SKIP: iceoryx2 is not measured: no cargo
BenchmarkRead/by=judemap-2   100   13.5 ns/op   0 B/op   0 allocs/op
BenchmarkCall/by=floor-2   100   20.0 ns/op
BenchmarkRead/by=judemap-2   100   12 ns/op   0 B/op   0 allocs/op
BenchmarkCall/by=floor-2   100   30 ns/op
BenchmarkRead/by=judemap-2   100   19 ns/op   0 B/op   0 allocs/op
BenchmarkFrames/size=64/wait=blocking/by=iceoryx2 270000 590.1 ns/op 1694628 frames/s
SKIP: iceoryx2 is not measured: no cargo
PASS
`

func TestTables(t *testing.T) {
	m, err := parse([]byte(lines))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(samples{13.5, 12, 19}, m.get("Read/by=judemap", "ns/op")); diff != "" {
		t.Error(diff)
	}
	want := "| call | size | judemap | of which the core, in C++ | beside | ratio | allocations |\n|---|---|---|---|---|---|---|\n" +
		"| `Read` and `Valid`, a view | any | 14 ns [12 19] | | an empty cgo call, 25 ns [20 30] | 0.5 | 0 |\n"
	if diff := cmp.Diff(want, calls(m)); diff != "" {
		t.Error(diff)
	}
	want = "two cores. Measured on 2026-01-02 at commit abc, 3 rounds in turn.\n\nLeft out: iceoryx2 is not measured: no cargo.\n"
	if diff := cmp.Diff(want, provenance(m)); diff != "" {
		t.Error(diff)
	}
	for _, table := range tables { // what is not there makes no row, and no failure
		if text := table.text(m); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Errorf("%s: %s", table.name, text)
		}
	}
}

func TestPage(t *testing.T) {
	m, err := parse([]byte(lines))
	if err != nil {
		t.Fatal(err)
	}
	var page, want strings.Builder
	for _, table := range tables {
		page.WriteString("text\n<!-- " + table.name + ", by make bench -->\nold\n<!-- end -->\n")
		want.WriteString("text\n<!-- " + table.name + ", by make bench -->\n" + table.text(m) + "<!-- end -->\n")
	}
	got, err := fill([]byte(page.String()), m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Error(diff)
	}
	if _, err := fill([]byte("nothing"), m); err == nil {
		t.Error("a page without places is taken")
	}
	if _, err := parse([]byte("PASS\n")); err == nil {
		t.Error("a file without benchmarks is taken")
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ want, got string }{
		{"1.5 µs [0.90 12]", samples{1500, 900, 12000}.time()},
		{"999 ns [999 999]", samples{999}.time()},
		{"1,001 [1,001 1,001]", samples{1001}.count()},
		{"1,695,000 [88,410 1,695,000]", samples{88_412, 1_694_628, 1_694_700}.count()},
		{"588 KiB [588 588]", samples{602112}.bytes()},
		{"0 [0 0]", samples{0}.count()},
		{"", samples(nil).time()},
		{"0.05", ratio(samples{1}, samples{20})},
		{"1.0", ratio(samples{10, 11, 12}, samples{11})},
		{"33", ratio(samples{33}, samples{1})},
		{"", ratio(samples{1}, nil)},
		{"", ratio(samples{1}, samples{0})},
	} {
		if c.got != c.want {
			t.Errorf("%q, not %q", c.got, c.want)
		}
	}
}
