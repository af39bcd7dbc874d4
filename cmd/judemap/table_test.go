package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// hostileName is the longest name that there can be, of what a terminal would obey, quotes and columns' gaps.
var hostileName = strings.Repeat("\x1b]0;x\a\x1b[2J \u009b\t\n\r\xff\u202e\"'", 12)[:255]

// checkLines checks that text has no line of more than so many characters, and nothing that a terminal would obey.
func checkLines(t *testing.T, text string, width int) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := len([]rune(line)); n > width {
			t.Errorf("%d characters in %q", n, line)
		}
		if i := strings.IndexFunc(line, unprintable); i >= 0 {
			t.Errorf("%q at %d in %q", line[i], i, line)
		}
	}
	if !strings.HasSuffix(text, "\n") {
		t.Errorf("no newline at the end of %q", text)
	}
}

// Tables fit into 80 columns, also with the longest values that there can be, and hostile names.
func TestTablesFit(t *testing.T) {
	dims := make([]int, judemap.MaxDims)
	for i := range dims {
		dims[i] = math.MaxInt
	}
	longest := entry{Name: strings.Repeat("n", 255), Kind: "segment", DType: "float8_e4m3fn", Shape: dims, Version: math.MaxUint64,
		Bytes: math.MaxInt64, Capacity: math.MaxInt64, Writer: "other"}
	stream := longest
	stream.Name, stream.Kind = hostileName, "stream"
	stream.streamEntry = &streamEntry{Slots: judemap.MaxSlots, EveryFrame: true, Readers: judemap.MaxReaders, Dead: judemap.MaxReaders}
	usual := entry{Name: "camera", Kind: "stream", DType: "float32", Shape: []int{1, 224, 224, 3}, Version: 3146, Bytes: 602112,
		Capacity: 1 << 20, Writer: "other", streamEntry: &streamEntry{Slots: 4, Readers: 2}}
	entries := []entry{usual, longest, stream, {Name: hostileName, Problem: "not permitted"}}
	for _, sizes := range []sizeFormat{roundSizes, exactSizes} {
		var out strings.Builder
		if err := lsTable(entries, sizes).print(&out, 80); err != nil {
			t.Fatal(err)
		}
		checkLines(t, out.String(), 80)
		if got := strings.Count(out.String(), "\n"); got != len(entries)+1 {
			t.Errorf("%d lines:\n%s", got, &out)
		}
	}
	var out strings.Builder
	if err := lsTable(entries[:1], roundSizes).print(&out, 80); err != nil {
		t.Fatal(err)
	}
	want := "NAME    KIND      TENSOR                 VERSION  BYTES  ROOM  WRITER  READERS\n" +
		"camera  stream 4  float32 [1 224 224 3]  3146     588K   1.0M  other   2\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}

	old := time.Now().Add(-100000 * time.Hour)
	left := table{}
	left.row("NAME", "KIND", "SIZE", "PID", "AGE", "STATE")
	for _, p := range []pruned{{longest.Name, "segment", math.MaxInt64, math.MaxInt32, &old, stateLeft}, {hostileName, "stream", 1, 0, nil, stateUnknown}} {
		left.row(p.row(exactSizes)...)
	}
	out.Reset()
	if err := left.print(&out, 80); err != nil {
		t.Fatal(err)
	}
	checkLines(t, out.String(), 80)
}

func TestTable(t *testing.T) {
	for _, test := range []struct {
		width int
		wrap  bool
		want  string
	}{
		{0, false, "A           LONG           MEANING\n123456789   x              there is much to say about this field of the header\n"},
		{40, false, "A           LONG           MEANING\n123456789   x              there is muc…\n"},
		{50, true, "A           LONG           MEANING\n"},
	} {
		table := table{wrap: test.wrap}
		table.row("A", "LONG", "MEANING")
		table.row("123456789 ", "x            ", "there is much to say about this field of the header")
		var out strings.Builder
		if err := table.print(&out, test.width); err != nil {
			t.Fatal(err)
		}
		if !test.wrap {
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Error(diff)
			}
			continue
		}
		checkLines(t, out.String(), test.width)
		if got := strings.Join(strings.Fields(out.String()), " "); got != "A LONG MEANING 123456789 x there is much to say about this field of the header" {
			t.Errorf("wrapped:\n%s", &out)
		}
	}
	var narrow strings.Builder
	table := table{}
	table.row("AAAA", "BBBB")
	if err := table.print(&narrow, 1); err != nil || narrow.String() != "…  …\n" {
		t.Errorf("%q, %v", &narrow, err)
	}
}

func TestShortened(t *testing.T) {
	for width, want := range map[int][2]string{8: {"detect-1", "detect-1"}, 6: {"detec…", "det…-1"}, 3: {"de…", "d…1"}, 2: {"d…", "d…"}, 1: {"…", "…"}, 0: {"…", "…"}} {
		if got := [2]string{shortened("detect-1", width), shortenedInside("detect-1", width)}; got != want {
			t.Errorf("%d: %q, want %q", width, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0", 1023: "1023", 1024: "1.0K", 1536: "1.5K", 10188: "9.9K", 10189: "10K", 602112: "588K",
		1<<20 - 1: "1.0M", 1 << 20: "1.0M", 1 << 40: "1.0T", math.MaxInt64: "8.0E"} {
		if got := roundSizes.text(bytes); got != want {
			t.Errorf("%d: %s, want %s", bytes, got, want)
		}
	}
	if got := exactSizes.text(602112); got != "602112" {
		t.Error(got)
	}
}

// What goes to a terminal, or to JSON, has nothing in it that a terminal obeys.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{"plain é 中\n": "plain é 中\n", "a\x1b[2Jb": `a\x1b[2Jb`, "\u009b\x7f\xff\u202e": `\u009b\x7f` + "\ufffd" + `\u202e`} {
		if got := printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"camera": "camera", "two words": `"two words"`, "é": `"\u00e9"`, "\x1b": `"\x1b"`} {
		if got := nameText(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	var out strings.Builder
	if err := printJSONLine(&out, hostileName+"é𝄞\u009b\x7f<"); err != nil {
		t.Fatal(err)
	}
	checkLines(t, out.String(), 10000)
	if !strings.HasSuffix(out.String(), `\u00e9\ud834\udd1e\u009b\u007f<"`+"\n") || strings.ContainsFunc(out.String(), func(r rune) bool { return r > 126 }) {
		t.Errorf("%q", &out)
	}
}
