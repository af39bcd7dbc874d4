// Package floor measures what the machine itself does, in C++ loops that go through neither Go nor the segment API:
// the benchmarks of judemap stand beside these numbers, taken in the same run.
package floor

// #cgo CPPFLAGS: -I${SRCDIR}/../../include
// #cgo CXXFLAGS: -std=c++17 -O3
// #cgo LDFLAGS: -pthread
// #include <stdlib.h>
// #include "floor.h"
import "C"

import (
	"time"
	"unsafe"

	_ "github.com/judemap/judemap/include/judemap" // compiled anew when a header changes, along with this package
)

// Call is one call through cgo that does nothing.
func Call() { C.floor_call() }

// Memcpy copies src to dst n times. The slices have the same length.
func Memcpy(dst, src []byte, n int) {
	C.floor_memcpy(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), C.size_t(len(dst)), C.size_t(n))
}

// MemcpyThreads is Memcpy by several threads, a part each, that spin between the rounds.
func MemcpyThreads(dst, src []byte, threads, n int) {
	C.floor_memcpy_threads(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), C.size_t(len(dst)), C.size_t(threads), C.size_t(n))
}

// Sum returns the sum of data, which is aligned, as 64-bit words; what overflows is dropped.
func Sum(data []byte) uint64 {
	return uint64(C.floor_sum(unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))))
}

// Memset sets all bytes of dst to a value, n times.
func Memset(dst []byte, value byte, n int) {
	C.floor_memset(unsafe.Pointer(&dst[0]), C.int(value), C.size_t(len(dst)), C.size_t(n))
}

// Read takes n zero-copy snapshots of a rank-4 tensor with the core, in a loop in C++, and returns how many of them
// were valid: all, since nobody writes.
func Read(n int) int { return int(C.floor_read(C.size_t(n))) }

// Commit commits `size` bytes n times with the core, in a loop in C++.
func Commit(size, n int) { C.floor_commit(C.size_t(size), C.size_t(n)) }

// WriteFrames commits so many frames of size bytes to a named stream with the core, in a loop in C++: all bytes of each are
// the low byte of its number. Who waits spins for that long first. It returns how many there were.
func WriteFrames(stream string, size, frames int, spin time.Duration) int {
	name := C.CString(stream)
	defer C.free(unsafe.Pointer(name))
	return int(C.floor_write_frames(name, C.size_t(size), C.size_t(frames), C.int64_t(spin)))
}

// SumFrames is the other end: it takes so many frames, sums each, and returns how many came one after the other and had
// the right sum.
func SumFrames(stream string, frames int, spin time.Duration) int {
	name := C.CString(stream)
	defer C.free(unsafe.Pointer(name))
	return int(C.floor_sum_frames(name, C.size_t(frames), C.int64_t(spin)))
}

// Clock is the time of the machine's monotonic clock in nanoseconds, which all processes share.
func Clock() int64 { return int64(C.floor_clock()) }

// WordTrips is one end of len(each) round trips between two processes: the first sends, and receives what the other
// sent in answer. Nothing is sent but that a word in the data of the segment named out has changed, and nothing is
// waited for but that one of in has; both in the kernel's futex, or with polling in a loop that loads the word. each
// gets the nanoseconds of each trip. It returns how many there were: all, unless a segment can't be mapped.
func WordTrips(out, in string, first, polling bool, each []int64) int {
	cOut, cIn := C.CString(out), C.CString(in)
	defer C.free(unsafe.Pointer(cOut))
	defer C.free(unsafe.Pointer(cIn))
	return int(C.floor_word_trips(cOut, cIn, flag(first), flag(polling), C.size_t(len(each)), (*C.int64_t)(unsafe.SliceData(each))))
}

// SegmentTrips is WordTrips with the core's calls: a payload of size bytes, all of them the low byte of the trip's
// number, is committed by fill, waited for with next, or with polling by try_read in a loop, and summed. It ends early
// with the first call that fails, and the first payload that is wrong.
func SegmentTrips(out, in string, size int, first, polling bool, each []int64) int {
	cOut, cIn := C.CString(out), C.CString(in)
	defer C.free(unsafe.Pointer(cOut))
	defer C.free(unsafe.Pointer(cIn))
	return int(C.floor_segment_trips(cOut, cIn, C.size_t(size), flag(first), flag(polling), C.size_t(len(each)),
		(*C.int64_t)(unsafe.SliceData(each))))
}

func flag(set bool) C.int {
	if set {
		return 1
	}
	return 0
}
