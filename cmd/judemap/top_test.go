package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/live"
)

func seconds(s float64) *float64 { return &s }

var topRows = []live.Row{
	{Name: "camera", Kind: "stream", DType: "float32", Shape: []int{1, 3, 224, 224}, Bytes: 602112, Writer: "other",
		CommitsPerSecond: 15538.4, BytesPerSecond: 9.3558e9, Age: seconds(0.01),
		StreamRow: &live.StreamRow{Slots: 4, Readers: 64, Dead: 2, Held: 2, Missed: 1234567}},
	{Name: "answer", Kind: "segment", DType: "uint8", Shape: []int{10}, Bytes: 10, Writer: "none", CommitsPerSecond: 2.04,
		BytesPerSecond: 20.4, Age: seconds(119), AgeAtLeast: true},
	{Name: "new", Kind: "segment", Problem: "empty", Writer: "none"},
	{Name: "broken\x1b[2J", Problem: "not opened: a system's error of \x1b[31m some length, so that it must be cut at some place"},
	{Name: strings.Repeat("名", 80), Kind: "segment", DType: "int8", Shape: []int{1}, Writer: "died", Age: seconds(1e6)},
	{Name: strings.Repeat("long-", 50), Kind: "segment", DType: "int8", Shape: []int{1, 2, 3, 4, 5, 6, 7, 8}, Writer: "here"},
}

// A table fits, whatever the names are, and nothing in it can do something to a terminal.
func TestTopTable(t *testing.T) {
	for columns := 40; columns <= 240; columns++ {
		lines := topTable(topRows, columns)
		if len(lines) != 1+len(topRows) {
			t.Fatalf("%d columns: %d lines", columns, len(lines))
		}
		for _, line := range lines {
			if n := len([]rune(line)); n >= max(columns, 60) || strings.ContainsAny(line, "\x1b\n") {
				t.Errorf("%d columns: %d cells in %q", columns, n, line)
			}
		}
	}
	want := `
NAME                      COMMITS/S   BYTES/S    AGE    READERS  MISSED  WRITER
camera                        15538   9.36 GB    now  62+2 dead   1.23M  other
answer                          2.0      20 B    >1m          -       -  none
new                               0       0 B      -          -       -  none
"broken\x1b[2J"           "not opened: a system's error of \x1b[31m some lengt…
"\u540d\u540d\u540d\u54…          0       0 B    11d          -       -  died
long-long-long-long-lon…          0       0 B      -          -       -  here
`
	if diff := cmp.Diff(want, "\n"+strings.Join(topTable(topRows, 80), "\n")+"\n"); diff != "" {
		t.Error(diff)
	}
	want = `
NAME                         TENSOR                      COMMITS/S   BYTES/S    AGE    READERS  MISSED  WRITER
camera                       float32 [1 3 224 224]           15538   9.36 GB    now  62+2 dead   1.23M  other
answer                       uint8 [10]                        2.0      20 B    >1m          -       -  none
new                          empty                               0       0 B      -          -       -  none
`
	if diff := cmp.Diff(want, "\n"+strings.Join(topTable(append(topRows[:3:3], live.Row{Name: strings.Repeat("n", 27), Kind: "segment",
		Problem: "26 characters of a problem"}), 120)[:4], "\n")+"\n"); diff != "" {
		t.Error(diff)
	}
	if got := topTable(nil, 80); len(got) != 1 || !strings.Contains(got[0], "no segments") {
		t.Errorf("a table of nothing: %q", got)
	}
}

func TestTopTexts(t *testing.T) {
	for rate, want := range map[float64]string{0: "0", 0.5: "0.5", 9.94: "9.9", 9.96: "10", 60.2: "60", 99999: "99999", 2.5e6: "2.5M"} {
		if got := rateText(rate); got != want {
			t.Errorf("%v commits/s are %q, want %q", rate, got, want)
		}
	}
	for bytes, want := range map[float64]string{0: "0 B", 999: "999 B", 999.6: "1.00 kB", 12345: "12.3 kB", 99960: "100 kB",
		999499: "999 kB", 999500: "1.00 MB", 9.36e9: "9.36 GB", 3e18: "3.00 EB", 5e21: "5000 EB"} {
		if got := bytesText(bytes); got != want {
			t.Errorf("%v bytes are %q, want %q", bytes, got, want)
		}
	}
	for want, r := range map[string]*live.Row{"-": {}, "now": {Age: seconds(0.4)}, "9s": {Age: seconds(9.9)}, "1m": {Age: seconds(119)},
		">0s": {Age: seconds(0), AgeAtLeast: true}, ">2h": {Age: seconds(7300), AgeAtLeast: true}} {
		if got := sinceText(r); got != want {
			t.Errorf("%v seconds are %q, want %q", r.Age, got, want)
		}
	}
}

// commitFor commits to a segment, every 10 ms, until the test ends.
func commitFor(t *testing.T, s *judemap.Segment) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if err := s.Fill([]int{2, 3}, judemap.Int16, 1); err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}

func TestTop(t *testing.T) {
	name := segmentName(t)
	s, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // after the end of commitFor
	commitFor(t, s)

	out := mustRun(t, "top", "--once", "--interval", "200ms", "--sort", "name")
	shown := name
	if len(shown) > 24 {
		shown = shown[:23] + "…"
	}
	if !regexp.MustCompile(`(?m)^` + shown + ` +[1-9]\d*(\.\d)? +[1-9]\d*(\.\d+)? k?B +now +- +- +other$`).MatchString(out) {
		t.Errorf("top printed\n%s", out)
	}
	for line := range strings.Lines(out) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n >= 80 {
			t.Errorf("a line has %d characters", n)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("escape codes, and this is no terminal")
	}

	lines := strings.Split(strings.TrimSpace(mustRun(t, "top", "--json", "--interval", "200ms", "--time", "700ms")), "\n")
	if len(lines) < 2 {
		t.Errorf("%d lines of JSON", len(lines))
	}
	for _, line := range lines {
		var sample struct {
			Interval float64   `json:"interval_seconds"`
			Time     time.Time `json:"time"`
			Rows     []live.Row
		}
		if err := json.Unmarshal([]byte(line), &sample); err != nil {
			t.Fatal(err)
		}
		if sample.Interval < 0.1 || sample.Time.IsZero() {
			t.Errorf("an interval of %v at %v", sample.Interval, sample.Time)
		}
		found := false
		for _, r := range sample.Rows {
			if r.Name == name {
				found = true
				if r.CommitsPerSecond < 5 || r.BytesPerSecond != 12*r.CommitsPerSecond || r.DType != "int16" || r.Writer != "other" {
					t.Errorf("a row is %+v", r)
				}
			}
		}
		if !found {
			t.Errorf("no %s in %s", name, line)
		}
	}
}

// A name is escaped also where it is printed as it is in JSON.
func TestTopHostileName(t *testing.T) {
	name := segmentName(t) + "-\x1b[2J\n<b>"
	s, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer judemap.Remove(name)
	s.Close()
	for _, args := range []string{"top --once --interval 100ms", "top --once --interval 100ms --json"} {
		if out := mustRun(t, strings.Fields(args)...); strings.Contains(out, "\x1b") {
			t.Errorf("judemap %s prints an escape:\n%q", args, out)
		}
	}
}

// top ends with status 0 at an interrupt.
func TestTopInterrupt(t *testing.T) {
	segmentName(t)
	cmd := exec.CommandContext(t.Context(), command, "top", "--interval", "100ms")
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	if err := sendInterrupt(t, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err, fmt.Sprint(&out))
	}
}
