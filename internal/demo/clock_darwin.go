package demo

import (
	"time"

	"golang.org/x/sys/unix"
)

// now returns the time of a clock that all processes of this machine share and that never steps.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // every macOS has this clock
	}
	return time.Duration(t.Nano())
}

// sleepUntil sleeps until that time of the clock.
func sleepUntil(t time.Duration) { time.Sleep(t - now()) }
