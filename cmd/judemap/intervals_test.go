package main

import (
	"math"
	"testing"
	"time"
)

func TestIntervals(t *testing.T) {
	v := intervals{}
	v.add(time.Second, 0)
	v.add(time.Second, 1) // when the one before was is not known
	if got := v.summary(); got != nil {
		t.Errorf("%+v", got)
	}
	v.add(1100*time.Millisecond, 1)
	v.add(1300*time.Millisecond, 1)
	v.add(1600*time.Millisecond, 3)
	got := v.summary()
	// 0.1, 0.2, and three of 0.1
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	if !near(got.Least, 0.1) || !near(got.Greatest, 0.2) || !near(got.Mean, 0.12) || !near(got.Deviation, 0.04) {
		t.Errorf("%+v", got)
	}
	v.forget(1200 * time.Millisecond)
	if got := v.summary(); len(v.entries) != 2 || !near(got.Mean, 0.125) {
		t.Errorf("%+v", got)
	}
	v.forget(time.Hour)
	if got := v.summary(); got != nil {
		t.Errorf("%+v", got)
	}
}
