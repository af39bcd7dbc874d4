//go:build cgo

package judemap

/*
#cgo CPPFLAGS: -I${SRCDIR}/include
#cgo CXXFLAGS: -std=c++17
#cgo noescape jm_write
#cgo nocallback jm_write
#cgo noescape jm_fill
#cgo nocallback jm_fill
#cgo noescape jm_begin
#cgo nocallback jm_begin
#cgo nocallback jm_commit
#cgo nocallback jm_abort
#cgo noescape jm_try_read_into
#cgo nocallback jm_try_read_into
#cgo nocallback jm_watch
#cgo nocallback jm_unwatch
#cgo noescape jm_watch
#cgo noescape jm_parker_wait
#cgo nocallback jm_parker_wait
#cgo nocallback jm_writer_state
#include <stdlib.h>
#include "judemap/judemap.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	// Vendored, and compiled anew when changed, along with this package.
	_ "github.com/judemap/judemap/csrc"
	_ "github.com/judemap/judemap/include/judemap"
)

// header is the first 256 bytes of a segment, in the core's definition.
type header = C.struct_jm_header

// The layout, checked on the Go side: a row that moved makes a constant index that is out of range.
var _ = [...]int{
	[1]int{}[unsafe.Offsetof(header{}.sequence)-0],
	[1]int{}[unsafe.Offsetof(header{}.padding0)-8],
	[1]int{}[unsafe.Offsetof(header{}.ndim)-64],
	[1]int{}[unsafe.Offsetof(header{}.dtype)-68],
	[1]int{}[unsafe.Offsetof(header{}.shape)-72],
	[1]int{}[unsafe.Offsetof(header{}.byte_length)-136],
	[1]int{}[unsafe.Offsetof(header{}.padding1)-144],
	[1]int{}[unsafe.Offsetof(header{}.magic)-192],
	[1]int{}[unsafe.Offsetof(header{}.flags)-196],
	[1]int{}[unsafe.Offsetof(header{}.waiters)-200],
	[1]int{}[unsafe.Offsetof(header{}.padding2)-204],
	[1]int{}[unsafe.Offsetof(header{}.capacity)-208],
	[1]int{}[unsafe.Offsetof(header{}.later)-216],
	[1]int{}[unsafe.Sizeof(header{})-DataOffset],
	[1]int{}[C.JM_DATA_OFFSET-DataOffset],
	[1]int{}[C.JM_MAX_DIMS-MaxDims],
	[1]int{}[C.JM_FLOAT32-Float32],
	[1]int{}[C.JM_FLOAT64-Float64],
	[1]int{}[C.JM_INT32-Int32],
	[1]int{}[C.JM_INT64-Int64],
	[1]int{}[C.JM_UINT8-Uint8],
	[1]int{}[C.JM_INT8-Int8],
	[1]int{}[C.JM_UINT16-Uint16],
	[1]int{}[C.JM_INT16-Int16],
	[1]int{}[C.JM_BOOL-Bool],
	[1]int{}[C.JM_FLOAT16-Float16],
	[1]int{}[C.JM_BFLOAT16-BFloat16],
	[1]int{}[C.JM_UINT32-Uint32],
	[1]int{}[C.JM_UINT64-Uint64],
	[1]int{}[C.JM_FLOAT8_E4M3FN-Float8E4M3FN],
	[1]int{}[C.JM_FLOAT8_E5M2-Float8E5M2],
	[1]int{}[C.JM_COMPLEX64-Complex64],
	[1]int{}[C.JM_WRITER_NONE-WriterNone],
	[1]int{}[C.JM_WRITER_HERE-WriterHere],
	[1]int{}[C.JM_WRITER_OTHER-WriterOther],
	[1]int{}[C.JM_WRITER_DIED-WriterDied],
}

// core is a handle of the C++ core. Its methods are the core's calls, one each; errors of theirs that the Go side has
// no better words for come from status.
type core struct{ segment *C.jm_segment }

// magic marks a segment that has the coordination block.
const magic = C.JM_MAGIC

func newCore(capacity int, o *options) (c core, err error) {
	var st C.jm_status
	if o.sealed {
		st, err = C.jm_create_sealed(C.uint64_t(capacity), o.flags(), &c.segment)
	} else {
		st, err = C.jm_new(C.uint64_t(capacity), o.flags(), &c.segment)
	}
	return c, status(st, err)
}

func createCore(name string, capacity int, o *options) (c core, err error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	st, err := C.jm_create(cname, C.uint64_t(capacity), C.uint32_t(o.mode), o.flags(), &c.segment)
	return c, status(st, err)
}

// openCore also returns why what it found is no segment, with ErrCorrupt.
func openCore(name string, o *options) (c core, why string, err error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var cwhy *C.char
	st, err := C.jm_open(cname, o.flags(), &c.segment, &cwhy)
	return c, C.GoString(cwhy), status(st, err)
}

func openFileCore(fd uintptr, o *options) (c core, why string, err error) {
	var cwhy *C.char
	st, err := C.jm_open_descriptor(C.int(fd), o.flags(), &c.segment, &cwhy)
	return c, C.GoString(cwhy), status(st, err)
}

func removeSegment(name string) error {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	st, err := C.jm_remove(cname)
	return status(st, err)
}

func (o *options) flags() (flags C.uint32_t) {
	if !o.hugePages {
		flags |= C.JM_NO_HUGE_PAGES
	}
	if o.readOnly {
		flags |= C.JM_READ_ONLY
	}
	if o.foreign {
		flags |= C.JM_FOREIGN_WRITERS
	}
	return flags
}

func (c core) free()         { C.jm_free(c.segment) }
func (c core) base() *header { return C.jm_base(c.segment) }
func (c core) capacity() int { return int(C.jm_capacity(c.segment)) }

func (c core) setPoll(d time.Duration) { C.jm_set_poll(c.segment, C.int64_t(d)) }

func (c core) writer() WriterState { return WriterState(C.jm_writer_state(c.segment)) }

func (c core) descriptor() (uintptr, error) {
	var fd C.int
	st, err := C.jm_descriptor(c.segment, &fd)
	return uintptr(fd), status(st, err)
}

func (c core) retire() error {
	st, errno := C.jm_retire(c.segment)
	return status(st, errno)
}

func (c core) write(shape []int, dtype DType, data []byte) error {
	dims := dimensions(shape)
	st, err := C.jm_write(c.segment, &dims[0], C.uint32_t(len(shape)), C.uint32_t(dtype),
		unsafe.Pointer(unsafe.SliceData(data)), C.uint64_t(len(data)))
	return status(st, err)
}

func (c core) fill(shape []int, dtype DType, value float64) error {
	dims := dimensions(shape)
	st, err := C.jm_fill(c.segment, &dims[0], C.uint32_t(len(shape)), C.uint32_t(dtype), C.double(value))
	return status(st, err)
}

// begin returns the bytes to be filled, until commit or abort.
func (c core) begin(shape []int, dtype DType) ([]byte, error) {
	dims := dimensions(shape)
	var data unsafe.Pointer
	var length C.uint64_t
	st, err := C.jm_begin(c.segment, &dims[0], C.uint32_t(len(shape)), C.uint32_t(dtype), &data, &length)
	if err := status(st, err); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(data), length), nil
}

func (c core) commit() { C.jm_commit(c.segment) }
func (c core) abort()  { C.jm_abort(c.segment) }

// tryReadInto makes one attempt at a copy. The metadata is filled in along with errShortBuffer and ErrCorrupt too.
func (c core) tryReadInto(dst []byte, m *metadata) (version uint64, err error) {
	var t C.jm_tensor
	st := C.jm_try_read_into(c.segment, unsafe.Pointer(unsafe.SliceData(dst)), C.uint64_t(len(dst)), &t)
	m.ndim = uint32(t.ndim)
	m.dtype = DType(t.dtype)
	m.shape = *(*[MaxDims]uint64)(unsafe.Pointer(&t.shape))
	m.byteLength = uint64(t.byte_length)
	return uint64(t.version), status(st, nil)
}

func (c core) pin() error {
	st, errno := C.jm_pin(c.segment)
	return status(st, errno)
}

func (c core) unpin()         { C.jm_unpin(c.segment) }
func (c core) isPinned() bool { return C.jm_is_pinned(c.segment) != 0 }

// parkerCore is a parker of the C++ core.
type parkerCore struct{ parker *C.jm_parker }

func newParkerCore() (p parkerCore, err error) {
	if st, err := C.jm_parker_new(&p.parker, nil); st != C.JM_OK {
		return p, fmt.Errorf("judemap: starting to wait for other processes: %w", status(st, err))
	}
	return p, nil
}

func (p parkerCore) watch(c core, seen, token uint64) (lane int, err error) {
	var index C.size_t
	st, err := C.jm_watch(p.parker, c.segment, C.uint64_t(seen), C.uint64_t(token), &index)
	if st != C.JM_OK {
		return 0, fmt.Errorf("judemap: starting to wait for other processes: %w", status(st, err))
	}
	return int(index), nil
}

// wait blocks this thread until watches of the lane are over, and returns their tokens; none after stop.
func (p parkerCore) wait(lane int, tokens []uint64) []uint64 {
	n := C.jm_parker_wait(p.parker, C.size_t(lane), (*C.uint64_t)(&tokens[0]), C.size_t(len(tokens)))
	return tokens[:n]
}

func (p parkerCore) unwatch(token uint64) { C.jm_unwatch(p.parker, C.uint64_t(token)) }
func (p parkerCore) threads() int         { return int(C.jm_parker_threads(p.parker)) }
func (p parkerCore) stop()                { C.jm_parker_stop(p.parker) }
func (p parkerCore) free()                { C.jm_parker_free(p.parker) }

// dimensions returns a shape, already checked, as the core takes it.
func dimensions(shape []int) (dims [MaxDims]C.uint64_t) {
	for i, n := range shape {
		dims[i] = C.uint64_t(n)
	}
	return dims
}

// status returns the Go error for a status of the core; errno is the error that came with the call.
func status(st C.jm_status, errno error) error {
	switch st {
	case C.JM_OK:
		return nil
	case C.JM_ERR_EMPTY:
		return ErrEmpty
	case C.JM_ERR_BUSY:
		return ErrBusy
	case C.JM_ERR_CLOSED:
		return ErrClosed
	case C.JM_ERR_CAPACITY:
		return ErrCapacity
	case C.JM_ERR_SHAPE:
		return ErrShape
	case C.JM_ERR_DTYPE:
		return ErrDType
	case C.JM_ERR_RANGE:
		return ErrRange
	case C.JM_ERR_CORRUPT:
		return ErrCorrupt
	case C.JM_ERR_BUFFER:
		return errShortBuffer
	case C.JM_ERR_READ_ONLY:
		return errReadOnly
	case C.JM_ERR_WRITER_ACTIVE:
		return ErrWriterActive
	case C.JM_ERR_WRITER_DIED:
		return ErrWriterDied
	}
	switch errno {
	case nil:
		errno = syscall.EINVAL
	case syscall.ENOSYS:
		errno = fmt.Errorf("%w: segments can't be shared between processes on %s yet", ErrUnsupported, runtime.GOOS)
	}
	return errno
}
