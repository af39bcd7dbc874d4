//go:build !cgo

package judemap

import (
	"fmt"
	"time"
)

// Without cgo there is no core, and everything that makes or opens a segment says so. No Segment can exist then, so
// nothing else here is ever called.

var errNoCgo = fmt.Errorf("%w: this program was built with CGO_ENABLED=0, and judemap's core is C++; build it with "+
	"CGO_ENABLED=1 and a C++17 compiler", ErrUnsupported)

const magic = 0

type header struct {
	sequence           uint64
	ndim, dtype, magic uint32
	shape              [MaxDims]uint64
	byte_length        uint64
}

type core struct{}

func newCore(int, *options) (core, error)                  { return core{}, errNoCgo }
func createCore(string, int, *options) (core, error)       { return core{}, errNoCgo }
func openCore(string, *options) (core, string, error)      { return core{}, "", errNoCgo }
func openFileCore(uintptr, *options) (core, string, error) { return core{}, "", errNoCgo }
func removeSegment(string) error                           { return errNoCgo }
func (core) free()                                         {}
func (core) base() *header                                 { return nil }
func (core) capacity() int                                 { return 0 }
func (core) setPoll(time.Duration)                         {}
func (core) writer() WriterState                           { return WriterNone }
func (core) descriptor() (uintptr, error)                  { return 0, errNoCgo }
func (core) retire() error                                 { return errNoCgo }
func (core) write([]int, DType, []byte) error              { return errNoCgo }
func (core) fill([]int, DType, float64) error              { return errNoCgo }
func (core) begin([]int, DType) ([]byte, error)            { return nil, errNoCgo }
func (core) commit()                                       {}
func (core) abort()                                        {}
func (core) tryReadInto([]byte, *metadata) (uint64, error) { return 0, errNoCgo }
func (core) pin() error                                    { return errNoCgo }
func (core) unpin()                                        {}
func (core) isPinned() bool                                { return false }

type parkerCore struct{}

func newParkerCore() (parkerCore, error)                   { return parkerCore{}, errNoCgo }
func (parkerCore) watch(core, uint64, uint64) (int, error) { return 0, errNoCgo }
func (parkerCore) wait(int, []uint64) []uint64             { return nil }
func (parkerCore) unwatch(uint64)                          {}
func (parkerCore) threads() int                            { return 0 }
func (parkerCore) stop()                                   {}
func (parkerCore) free()                                   {}
