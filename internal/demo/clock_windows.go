package demo

import (
	"math/bits"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	performanceCounter = windows.NewLazySystemDLL("kernel32.dll").NewProc("QueryPerformanceCounter")
	counterFrequency   = func() (hertz int64) {
		_, _, _ = windows.NewLazySystemDLL("kernel32.dll").NewProc("QueryPerformanceFrequency").
			Call(uintptr(unsafe.Pointer(&hertz))) // it never fails
		return hertz
	}()
)

// now returns the time of a clock that all processes of this machine share and that never steps. Go's own stands still
// for up to 15 ms at a time.
func now() time.Duration {
	var ticks int64
	_, _, _ = performanceCounter.Call(uintptr(unsafe.Pointer(&ticks))) // it never fails
	high, low := bits.Mul64(uint64(ticks), uint64(time.Second))
	nanoseconds, _ := bits.Div64(high, low, uint64(counterFrequency))
	return time.Duration(nanoseconds)
}

// sleepUntil sleeps until that time of the clock.
func sleepUntil(t time.Duration) { time.Sleep(t - now()) }
