//go:build !linux && !windows && !darwin

package demo

import "time"

var start = time.Now()

// now returns the time of a clock that never steps. The demo runs in one process here.
func now() time.Duration { return time.Since(start) }

// sleepUntil sleeps until that time of the clock.
func sleepUntil(t time.Duration) { time.Sleep(t - now()) }
