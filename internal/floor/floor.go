// Package floor measures what the machine itself does, in C++ loops that go through neither Go nor the segment API:
// the benchmarks of judemap stand beside these numbers, taken in the same run.
package floor

// #cgo CPPFLAGS: -I${SRCDIR}/../../include
// #cgo CXXFLAGS: -std=c++17 -O2
// #cgo LDFLAGS: -pthread
// #include "floor.h"
import "C"

import (
	"unsafe"

	_ "github.com/judemap/judemap/include/judemap" // compiled anew when a header changes, along with this package
)

// Call is one call through cgo that does nothing.
func Call() { C.floor_call() }

// Memcpy copies src to dst n times. The slices have the same length.
func Memcpy(dst, src []byte, n int) {
	C.floor_memcpy(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), C.size_t(len(dst)), C.size_t(n))
}

// Memset sets dst n times.
func Memset(dst []byte, n int) {
	C.floor_memset(unsafe.Pointer(&dst[0]), C.size_t(len(dst)), C.size_t(n))
}

// Read takes n zero-copy snapshots of a rank-4 tensor with the core, in a loop in C++, and returns how many of them
// were valid: all, since nobody writes.
func Read(n int) int { return int(C.floor_read(C.size_t(n))) }

// Commit commits `size` bytes n times with the core, in a loop in C++.
func Commit(size, n int) { C.floor_commit(C.size_t(size), C.size_t(n)) }

// Futex wakes a thread that is parked in a futex of shared memory, and is woken by it, n times. False where there is no
// futex.
func Futex(n int) bool { return C.floor_futex(C.size_t(n)) != 0 }

// Next is Futex with the core's calls: two threads, each with its own handles of two shared segments. It returns how
// often it was woken, n; 0 where segments can't be shared.
func Next(n int) int { return int(C.floor_next(C.size_t(n))) }
