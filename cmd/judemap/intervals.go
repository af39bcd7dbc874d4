package main

import (
	"math"
	"time"
)

// intervals are the times between commits of the last while, as far as looks at the version tell: commits that came between
// two looks are taken to be evenly spread.
type intervals struct {
	begun   bool
	last    time.Duration // of the clock: when the last commit was seen
	entries []interval    // oldest first
}

type interval struct {
	at      time.Duration // when it ended
	each    time.Duration
	commits uint64
}

// add takes note that there are so many new commits.
func (v *intervals) add(at time.Duration, commits uint64) {
	if commits == 0 {
		return
	}
	if v.begun {
		v.entries = append(v.entries, interval{at, (at - v.last) / time.Duration(commits), commits})
	}
	v.begun, v.last = true, at
}

// forget takes out what ended before a time.
func (v *intervals) forget(before time.Duration) {
	i := 0
	for i < len(v.entries) && v.entries[i].at < before {
		i++
	}
	v.entries = append(v.entries[:0], v.entries[i:]...)
}

// An intervalSummary is in seconds.
type intervalSummary struct {
	Least     float64 `json:"least"`
	Greatest  float64 `json:"greatest"`
	Mean      float64 `json:"mean"`
	Deviation float64 `json:"standard_deviation"`
}

// summary returns nil if there is no interval.
func (v *intervals) summary() *intervalSummary {
	if len(v.entries) == 0 {
		return nil
	}
	s := &intervalSummary{Least: math.Inf(1)}
	n, sum := 0.0, 0.0
	for _, e := range v.entries {
		each := e.each.Seconds()
		s.Least, s.Greatest = min(s.Least, each), max(s.Greatest, each)
		n += float64(e.commits)
		sum += float64(e.commits) * each
	}
	s.Mean = sum / n
	for _, e := range v.entries {
		s.Deviation += float64(e.commits) * (e.each.Seconds() - s.Mean) * (e.each.Seconds() - s.Mean)
	}
	s.Deviation = math.Sqrt(s.Deviation / n)
	return s
}
