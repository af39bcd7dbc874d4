//go:build !cgo

package judemap

import (
	"fmt"
	"time"
	"unsafe"
)

// Without cgo there is no core. Every function that makes or opens a segment returns errNoCgo. The only Segments are
// then zero ones, which are closed, so the other functions here are never called.

var errNoCgo = fmt.Errorf("%w: this program was built with CGO_ENABLED=0, and judemap's core is C++; build it with "+
	"CGO_ENABLED=1 and a C++17 compiler", ErrUnsupported)

const (
	busyAttempts = 1
	tornAttempts = 1
	turnAfter    = time.Millisecond
)

type header struct {
	sequence    uint64
	ndim, dtype uint32
	shape       [MaxDims]uint64
	byte_length uint64
}

type core struct{}

func newCore(int, *options) (core, error)                  { return core{}, errNoCgo }
func createCore(string, int, *options) (core, error)       { return core{}, errNoCgo }
func openCore(string, *options) (core, string, error)      { return core{}, "", errNoCgo }
func openFileCore(uintptr, *options) (core, string, error) { return core{}, "", errNoCgo }
func removeSegment(string) error                           { return errNoCgo }
func listSegments() ([]string, error)                      { return nil, errNoCgo }
func statSegment(string, []byte) (Info, string, error)     { return Info{}, "", errNoCgo }
func tensorBytes([]int, DType) (uint64, error)             { return 0, errNoCgo }
func physicalMemory() uint64                               { return 0 }
func (core) free()                                         {}
func (core) base() *header                                 { return nil }
func (core) capacity() int                                 { return 0 }
func (core) bytes() int                                    { return 0 }
func (core) setPoll(time.Duration)                         {}
func (core) setThreads(int)                                {}
func (core) stats() (uint64, uint64)                       { return 0, 0 }
func (core) writer() WriterState                           { return WriterNone }
func (core) descriptor(bool) (uintptr, error)              { return 0, errNoCgo }
func (core) close()                                        {}
func (core) retire() error                                 { return errNoCgo }
func (core) write([]int, DType, []byte) error              { return errNoCgo }
func (core) fill([]int, DType, float64) error              { return errNoCgo }
func (core) begin([]int, DType) ([]byte, error)            { return nil, errNoCgo }
func (core) commit()                                       {}
func (core) abort()                                        {}
func (core) tryRead(*Tensor) (string, error)               { return "", errNoCgo }
func (core) tryReadInto([]byte, *Tensor) (string, error)   { return "", errNoCgo }
func (core) park(uint64) error                             { return errNoCgo }
func (core) wake()                                         {}
func (core) pin() error                                    { return errNoCgo }
func (core) unpin()                                        {}
func (core) registerCUDA(int) error                        { return errNoCgo }
func (core) unregisterCUDA() error                         { return nil }
func (core) deviceAddress(uintptr) uintptr                 { return 0 }

func newStreamCore(int, int, *options) (core, error)             { return core{}, errNoCgo }
func createStreamCore(string, int, int, *options) (core, error)  { return core{}, errNoCgo }
func openStreamCore(string, *options) (core, string, error)      { return core{}, "", errNoCgo }
func openStreamFileCore(uintptr, *options) (core, string, error) { return core{}, "", errNoCgo }
func (core) slots() int                                          { return 0 }
func (core) everyFrame() bool                                    { return false }
func (core) slot(int) *header                                    { return nil }
func (core) streamWrite([]int, DType, []byte) error              { return errNoCgo }
func (core) streamFill([]int, DType, float64) error              { return errNoCgo }
func (core) streamBegin([]int, DType) ([]byte, error)            { return nil, errNoCgo }
func (core) streamCommit()                                       {}
func (core) streamAbort()                                        {}
func (core) announceWriter() (uint32, error)                     { return 0, errNoCgo }
func (core) parkWriter(uint32) error                             { return errNoCgo }
func (core) wakeWriter()                                         {}
func (core) tryReadFrame(uint64, *Tensor) error                  { return errNoCgo }
func (core) tryReadFrameInto(uint64, []byte, *Tensor) error      { return errNoCgo }
func (core) readers() []ReaderInfo                               { return nil }
func (core) join() (readerCore, error)                           { return readerCore{}, errNoCgo }

type readerCore struct{}

func (readerCore) take(uint64, unsafe.Pointer, *Tensor) error { return errNoCgo }
func (readerCore) release(uint64, unsafe.Pointer)             {}
func (readerCore) leave()                                     {}
func (readerCore) free()                                      {}
func (readerCore) missed() uint64                             { return 0 }
func (readerCore) held() *[MaxSlots]uint64                    { return nil }

type parkerCore struct{}

func newParkerCore(*uintptr) (parkerCore, error)              { return parkerCore{}, errNoCgo }
func (parkerCore) watch(core, uint64) (watchCore, int, error) { return watchCore{}, 0, errNoCgo }
func (parkerCore) wait(int, []uint64) []uint64                { return nil }
func (parkerCore) next() uint64                               { return 0 }
func (parkerCore) threads() int                               { return 0 }
func (parkerCore) stop()                                      {}
func (parkerCore) free()                                      {}

type watchCore struct{}

func (watchCore) arm(uint64) error { return errNoCgo }
func (watchCore) disarm()          {}
func (watchCore) free()            {}
