package main

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// The demo fails if a number is not what it must be, and says which.
func TestDemoReport(t *testing.T) {
	s, err := judemap.NewStream(3, 1)
	if errors.Is(err, judemap.ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one, two := new(worker), new(worker)
	all := map[*worker]time.Duration{one: 1, two: 1}
	good := counts{Frames: 15, Checked: 15, Missed: 5} // of 10 commits, by two consumers
	for _, test := range []struct {
		name  string
		flags demoFlags
		phase phase
		want  string // "": it does not fail
	}{
		{"good", demoFlags{}, phase{counts: good}, ""},
		{"wrong", demoFlags{}, phase{counts: counts{Frames: 20, Wrong: 3}}, "wrong: 3"},
		{"back", demoFlags{}, phase{counts: counts{Frames: 20, Backwards: 1}}, "the one before: 1"},
		{"missed", demoFlags{everyFrame: true}, phase{counts: good}, "every one counts: 5"},
		{"lost", demoFlags{}, phase{counts: counts{Frames: 15}}, "neither delivered nor missed: 5"},
		{"chaos", demoFlags{chaos: true}, phase{counts: counts{Frames: 15}, deaths: []*death{{noticed: all, resumed: all, settled: true}},
			losses: []*loss{{held: 1, back: 1, settled: true}}}, ""},
		{"unnoticed", demoFlags{chaos: true}, phase{deaths: []*death{{resumed: all, settled: true}}}, "death of a producer: 2"},
		{"no next", demoFlags{chaos: true}, phase{deaths: []*death{{noticed: all, settled: true}}}, "the next producer: 2"},
		{"unsettled", demoFlags{chaos: true}, phase{deaths: []*death{{}}, losses: []*loss{{held: 1}}}, ""},
		{"slots kept", demoFlags{chaos: true}, phase{losses: []*loss{{held: 1, settled: true}}}, "slots did not come back: 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.flags.consumers = 2
			test.phase.commits, test.phase.length, test.phase.latencies = 10, time.Second, latencies{}
			d := &demo{flags: test.flags, display: newDisplay(io.Discard, func() {}), carrier: streamCarrier{s}, phases: []*phase{&test.phase}}
			err := d.report()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// demo --json prints the numbers of the table, and nothing else.
func TestDemoJSON(t *testing.T) {
	out := mustRun(t, "demo", "--json", "--time", "600ms", "--goroutines", "--work", "1ms", "--consumers", "1")
	var got demoResult
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if got.Kind != "stream" || got.Consumers != 1 || got.Slots != 3 || got.FrameBytes != frameBytes || len(got.Problems) != 0 || len(got.Phases) != 2 {
		t.Fatalf("%+v", got)
	}
	for _, p := range got.Phases {
		if p.Commits == 0 || p.Delivered+p.Missed != int(p.Commits) || p.Checked != p.Delivered || p.Seconds <= 0 || p.Wrong != 0 ||
			p.CommitToView.P99 < p.CommitToView.P50 || p.Chaos != nil {
			t.Errorf("%+v", p)
		}
	}
}

// What was wrong is in the JSON too, each by itself.
func TestDemoResult(t *testing.T) {
	s, err := judemap.NewStream(3, 1)
	if errors.Is(err, judemap.ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	chaos := phase{length: time.Second, latencies: latencies{}, counts: counts{Frames: 4, Wrong: 3, Backwards: 1},
		deaths: []*death{{midCommit: true, settled: true}}, losses: []*loss{{held: 1, back: time.Second, settled: true}}}
	d := &demo{flags: demoFlags{chaos: true, consumers: 1}, display: newDisplay(io.Discard, func() {}), carrier: streamCarrier{s}, phases: []*phase{&chaos}}
	got := d.result(d.report())
	if len(got.Problems) != 4 || got.Problems[0] != "frames that were wrong: 3" {
		t.Errorf("%q", got.Problems)
	}
	want := &chaosResult{Producers: 1, MidCommit: 1, Consumers: 1, WithASlot: 1, SlotsBack: 1, LongestBack: 1}
	if diff := cmp.Diff(want, got.Phases[0].Chaos); diff != "" {
		t.Error(diff)
	}
}
