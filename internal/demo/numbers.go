package demo

import (
	"errors"
	"time"
)

// Numbers are what was counted, as JSON has it. Times are in seconds.
type Numbers struct {
	Kind       string         `json:"kind"` // "stream" or "segment"
	EveryFrame bool           `json:"every_frame"`
	Consumers  int            `json:"consumers"`
	Slots      int            `json:"slots,omitempty"` // of the stream
	FrameBytes int            `json:"frame_bytes"`
	Phases     []PhaseNumbers `json:"phases"`
	Problems   []string       `json:"problems"` // what was not as it must be; then the exit status is 1
}

// PhaseNumbers are a column of the table.
type PhaseNumbers struct {
	FPS              float64       `json:"fps"` // that the producer is to make; 0: as many as it can
	Seconds          float64       `json:"seconds"`
	Commits          uint64        `json:"commits"`
	CommitsPerSecond float64       `json:"commits_per_second"`
	BytesPerSecond   float64       `json:"bytes_per_second"`
	Delivered        int           `json:"delivered"` // to all consumers together, as what follows
	Checked          int           `json:"checked"`
	Missed           int           `json:"missed"`
	Overwritten      int           `json:"overwritten"` // of a segment
	MostHeld         int           `json:"most_held"`   // slots at a time
	Wrong            int           `json:"wrong"`
	WentBack         int           `json:"went_back"`
	CommitToView     Quantiles     `json:"commit_to_view"`
	Work             float64       `json:"work"`   // on all frames together
	Passes           int           `json:"passes"` // over all of their pixels
	Chaos            *ChaosNumbers `json:"chaos,omitempty"`
}

// Quantiles are of a time.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// ChaosNumbers are what was killed.
type ChaosNumbers struct {
	Producers   int     `json:"producers_killed"`
	MidCommit   int     `json:"in_a_commit"` // of them
	Noticed     int     `json:"noticed"`     // by all consumers
	Resumed     int     `json:"resumed"`     // after which all consumers had a frame of the next producer
	Consumers   int     `json:"consumers_killed"`
	WithASlot   int     `json:"with_a_slot"`  // of them
	SlotsBack   int     `json:"slots_back"`   // of them: others had the use of what they held
	LongestBack float64 `json:"longest_back"` // how long after the death
}

// numbers returns what was counted, and what was wrong.
func (d *demo) numbers(faults error) Numbers {
	r := Numbers{Kind: "segment", EveryFrame: d.options.EveryFrame, Consumers: d.options.Consumers, FrameBytes: frameBytes,
		Phases: []PhaseNumbers{}, Problems: []string{}}
	if d.carrier.holds() {
		r.Kind, r.Slots = "stream", d.options.slots()
	}
	for _, p := range d.phases {
		seconds := max(p.length.Seconds(), 1e-9)
		c := &p.counts
		phase := PhaseNumbers{FPS: p.fps, Seconds: p.length.Seconds(), Commits: p.commits,
			CommitsPerSecond: float64(p.commits) / seconds, BytesPerSecond: float64(p.commits) * frameBytes / seconds,
			Delivered: c.Frames, Checked: c.Checked, Missed: c.Missed, Overwritten: c.Overwritten, MostHeld: p.mostHeld,
			Wrong: c.Wrong, WentBack: c.Backwards, Work: c.Work.Seconds(), Passes: c.Passes,
			CommitToView: Quantiles{p.latencies.quantile(0.5).Seconds(), p.latencies.quantile(0.99).Seconds()}}
		if d.options.Chaos {
			phase.Chaos = p.chaos(d.options.Consumers)
		}
		r.Phases = append(r.Phases, phase)
	}
	var joined interface{ Unwrap() []error }
	switch {
	case faults == nil:
	case errors.As(faults, &joined):
		for _, fault := range joined.Unwrap() {
			r.Problems = append(r.Problems, fault.Error())
		}
	default:
		r.Problems = append(r.Problems, faults.Error())
	}
	return r
}

func (p *phase) chaos(consumers int) *ChaosNumbers {
	r := &ChaosNumbers{Producers: len(p.deaths), Consumers: len(p.losses)}
	for _, death := range p.deaths {
		if death.midCommit {
			r.MidCommit++
		}
		if len(death.noticed) == consumers {
			r.Noticed++
		}
		if len(death.resumed) == consumers {
			r.Resumed++
		}
	}
	longest := time.Duration(0)
	for _, lost := range p.losses {
		if lost.held > 0 {
			r.WithASlot++
		}
		if lost.back > 0 {
			r.SlotsBack++
			longest = max(longest, lost.back)
		}
	}
	r.LongestBack = longest.Seconds()
	return r
}
