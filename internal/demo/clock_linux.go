package demo

import (
	"time"

	"golang.org/x/sys/unix"
)

// now returns the time of a clock that all processes of this machine share and that never steps.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // every Linux has this clock
	}
	return time.Duration(t.Nano())
}

// sleepUntil sleeps until that time of the clock. time.Sleep would oversleep by up to a millisecond.
func sleepUntil(t time.Duration) {
	at := unix.NsecToTimespec(int64(t))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &at, nil) == unix.EINTR {
	}
}
