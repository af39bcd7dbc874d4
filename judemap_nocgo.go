//go:build !cgo

package judemap

import "fmt"

// Without cgo there is no core, and newCore says so. No Segment can exist then, so nothing below it is ever called.

type header struct {
	sequence    uint64
	ndim, dtype uint32
	shape       [MaxDims]uint64
	byte_length uint64
}

type core struct{}

func newCore(int, bool) (core, error) {
	return core{}, fmt.Errorf("%w: this program was built with CGO_ENABLED=0, and judemap's core is C++; build it with "+
		"CGO_ENABLED=1 and a C++17 compiler", ErrUnsupported)
}

func (core) free()                            {}
func (core) base() *header                    { return nil }
func (core) retire() error                    { return ErrUnsupported }
func (core) write([]int, DType, []byte) error { return ErrUnsupported }
func (core) fill([]int, DType, float64) error { return ErrUnsupported }
func (core) begin([]int, DType) ([]byte, error) {
	return nil, ErrUnsupported
}
func (core) commit() {}
func (core) abort()  {}
func (core) tryReadInto([]byte, *metadata) (uint64, error) {
	return 0, ErrUnsupported
}
func (core) pin() error     { return ErrUnsupported }
func (core) unpin()         {}
func (core) isPinned() bool { return false }
