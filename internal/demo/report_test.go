package demo

import (
	"errors"
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
		name    string
		options Options
		phase   phase
		want    string // "": it does not fail
	}{
		{"good", Options{}, phase{counts: good}, ""},
		{"wrong", Options{}, phase{counts: counts{Frames: 20, Wrong: 3}}, "wrong: 3"},
		{"back", Options{}, phase{counts: counts{Frames: 20, Backwards: 1}}, "the one before: 1"},
		{"missed", Options{EveryFrame: true}, phase{counts: good}, "every one counts: 5"},
		{"lost", Options{}, phase{counts: counts{Frames: 15}}, "neither delivered nor missed: 5"},
		{"chaos", Options{Chaos: true}, phase{counts: counts{Frames: 15}, deaths: []*death{{noticed: all, resumed: all, settled: true}},
			losses: []*loss{{held: 1, back: 1, settled: true}}}, ""},
		{"unnoticed", Options{Chaos: true}, phase{deaths: []*death{{resumed: all, settled: true}}}, "death of a producer: 2"},
		{"no next", Options{Chaos: true}, phase{deaths: []*death{{noticed: all, settled: true}}}, "the next producer: 2"},
		{"unsettled", Options{Chaos: true}, phase{deaths: []*death{{}}, losses: []*loss{{held: 1}}}, ""},
		{"slots kept", Options{Chaos: true}, phase{losses: []*loss{{held: 1, settled: true}}}, "slots did not come back: 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.options.Consumers = 2
			test.phase.commits, test.phase.length, test.phase.latencies = 10, time.Second, latencies{}
			d := &demo{options: test.options, screen: nowhere{}, carrier: streamCarrier{s}, phases: []*phase{&test.phase}}
			result, err := d.report()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if result == nil || !strings.Contains(result.Table, "commits") {
				t.Errorf("the result is %v", result)
			}
		})
	}
}

// What was wrong is among the numbers too, each by itself.
func TestDemoNumbers(t *testing.T) {
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
	d := &demo{options: Options{Chaos: true, Consumers: 1}, screen: nowhere{}, carrier: streamCarrier{s}, phases: []*phase{&chaos}}
	result, _ := d.report()
	got := result.Numbers
	if len(got.Problems) != 4 || got.Problems[0] != "frames that were wrong: 3" {
		t.Errorf("%q", got.Problems)
	}
	want := &ChaosNumbers{Producers: 1, MidCommit: 1, Consumers: 1, WithASlot: 1, SlotsBack: 1, LongestBack: 1}
	if diff := cmp.Diff(want, got.Phases[0].Chaos); diff != "" {
		t.Error(diff)
	}
}

// nowhere is a screen that shows nothing.
type nowhere struct{}

func (nowhere) Printf(string, ...any) {}
func (nowhere) Draw([]string)         {}
func (nowhere) Terminal() bool        { return false }
func (nowhere) Err() error            { return nil }
