// Command crash takes the write permission from a segment's header and writes: the fault comes in the C++ core, and
// the trace must name it.
package main

import (
	"syscall"
	"unsafe"

	_ "github.com/ianlancetaylor/cgosymbolizer"
	"github.com/judemap/judemap"
)

func main() {
	s, err := judemap.New(1000)
	if err != nil {
		panic(err)
	}
	page := unsafe.Slice((*byte)(unsafe.Pointer(s.DataPtr()-judemap.DataOffset)), syscall.Getpagesize())
	if err := syscall.Mprotect(page, syscall.PROT_READ); err != nil {
		panic(err)
	}
	_ = s.Fill([]int{1}, judemap.Uint8, 1)
}
