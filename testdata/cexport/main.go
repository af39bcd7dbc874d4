// Command cexport is a Go program for C to link, as an archive or as a shared library: test/platforms.sh builds it.
package main

import "C"

import "github.com/judemap/judemap"

// Roundtrip commits a tensor to a segment, and returns what a reader finds there; -1 if anything fails.
//
//export Roundtrip
func Roundtrip(value C.int) C.int {
	s, err := judemap.New(64)
	if err != nil {
		return -1
	}
	defer s.Close()
	if err := judemap.WriteSlice(s, []int{1}, []int32{int32(value)}); err != nil {
		return -1
	}
	t, err := s.Read()
	if err != nil {
		return -1
	}
	got, err := judemap.Slice[int32](&t)
	if err != nil {
		return -1
	}
	return C.int(got[0])
}

func main() {}
