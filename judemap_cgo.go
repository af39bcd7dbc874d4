//go:build cgo

package judemap

/*
#cgo CPPFLAGS: -I${SRCDIR}/include -D_FILE_OFFSET_BITS=64
#cgo CXXFLAGS: -std=c++17
#cgo arm CXXFLAGS: -Wno-psabi
#cgo linux,riscv64 LDFLAGS: -latomic
#cgo linux LDFLAGS: -ldl
#cgo windows LDFLAGS: -static
#cgo noescape go_write
#cgo nocallback go_write
#cgo noescape go_fill
#cgo nocallback go_fill
#cgo noescape go_begin
#cgo nocallback go_begin
#cgo nocallback go_commit
#cgo nocallback go_abort
#cgo noescape go_try_read
#cgo nocallback go_try_read
#cgo noescape go_try_read_into
#cgo nocallback go_try_read_into
#cgo noescape go_corrupt_field
#cgo nocallback go_corrupt_field
#cgo nocallback go_park
#cgo nocallback go_wake
#cgo nocallback go_writer
#cgo noescape jm_mapping_register_cuda
#cgo nocallback jm_mapping_register_cuda
#cgo noescape jm_mapping_unregister_cuda
#cgo nocallback jm_mapping_unregister_cuda
#cgo nocallback go_device_address
#cgo nocallback jm_watch_arm
#cgo nocallback jm_watch_disarm
#cgo noescape jm_parker_wait
#cgo nocallback jm_parker_wait
#cgo noescape jm_tensor_bytes
#cgo nocallback jm_tensor_bytes
#cgo noescape go_stream_write
#cgo nocallback go_stream_write
#cgo noescape go_stream_fill
#cgo nocallback go_stream_fill
#cgo noescape go_stream_begin
#cgo nocallback go_stream_begin
#cgo nocallback go_stream_commit
#cgo nocallback go_stream_abort
#cgo noescape go_stream_announce
#cgo nocallback go_stream_announce
#cgo nocallback go_stream_park
#cgo nocallback go_stream_wake
#cgo noescape go_stream_try_read
#cgo nocallback go_stream_try_read
#cgo noescape go_stream_try_read_into
#cgo nocallback go_stream_try_read_into
#cgo noescape go_take
#cgo nocallback go_take
#cgo nocallback go_release
#include <stdlib.h>
#include <string.h>
#include "judemap/judemap.h"

// The functions that are called often take their handle as an integer, and return results through pointers to integers.
// cgo checks the memory behind every pointer that could lead to other pointers, which takes longer than a small commit.
static inline jm_segment* segment_of(uintptr_t handle) { return (jm_segment*)handle; }
static jm_status go_write(uintptr_t handle, const uint64_t* shape, uint32_t ndim, uint32_t dtype, const uint8_t* data,
                          uint64_t length) {
  return jm_protocol_write(segment_of(handle), shape, ndim, dtype, data, length);
}
static jm_status go_fill(uintptr_t handle, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value) {
  return jm_protocol_fill(segment_of(handle), shape, ndim, dtype, value);
}
static jm_status go_begin(uintptr_t handle, const uint64_t* shape, uint32_t ndim, uint32_t dtype, uintptr_t* data,
                          uint64_t* length) {
  return jm_protocol_begin(segment_of(handle), shape, ndim, dtype, (void**)data, length);
}
static jm_status go_commit(uintptr_t handle) { return jm_protocol_commit(segment_of(handle)); }
static jm_status go_abort(uintptr_t handle) { return jm_protocol_abort(segment_of(handle)); }
static jm_status go_try_read(uintptr_t handle, uint64_t* tensor) {
  return jm_protocol_try_read(segment_of(handle), (jm_tensor*)tensor);
}
static jm_status go_try_read_into(uintptr_t handle, uint8_t* buffer, uint64_t size, uint64_t* tensor) {
  return jm_protocol_try_read_into(segment_of(handle), buffer, size, (jm_tensor*)tensor);
}
static const char* go_corrupt_field(uintptr_t handle, const uint64_t* tensor) {
  return jm_corrupt_field(segment_of(handle), (const jm_tensor*)tensor);
}
static inline jm_mapping* mapping_of(uintptr_t handle) { return (jm_mapping*)handle; }
static jm_status go_park(uintptr_t mapping, uint64_t seen) { return jm_mapping_park(mapping_of(mapping), seen, -1); }
static void go_wake(uintptr_t mapping) { jm_mapping_wake(mapping_of(mapping)); }
static uint64_t go_device_address(uintptr_t mapping, uintptr_t at) {
  return jm_mapping_device_address(mapping_of(mapping), (const void*)at);
}
static jm_writer go_writer(uintptr_t mapping) { return jm_mapping_writer_state(mapping_of(mapping)); }

// Streams.
static inline jm_stream* stream_of(uintptr_t handle) { return (jm_stream*)handle; }
static inline jm_reader* reader_of(uintptr_t handle) { return (jm_reader*)handle; }
static jm_status go_stream_write(uintptr_t handle, const uint64_t* shape, uint32_t ndim, uint32_t dtype,
                                 const uint8_t* data, uint64_t length) {
  return jm_stream_protocol_write(stream_of(handle), shape, ndim, dtype, data, length);
}
static jm_status go_stream_fill(uintptr_t handle, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value) {
  return jm_stream_protocol_fill(stream_of(handle), shape, ndim, dtype, value);
}
static jm_status go_stream_begin(uintptr_t handle, const uint64_t* shape, uint32_t ndim, uint32_t dtype,
                                 uintptr_t* data, uint64_t* length) {
  return jm_stream_protocol_begin(stream_of(handle), shape, ndim, dtype, (void**)data, length);
}
static jm_status go_stream_commit(uintptr_t handle) { return jm_stream_protocol_commit(stream_of(handle)); }
static jm_status go_stream_abort(uintptr_t handle) { return jm_stream_protocol_abort(stream_of(handle)); }
static jm_status go_stream_announce(uintptr_t handle, uint32_t* seen) {
  return jm_stream_protocol_announce(stream_of(handle), seen);
}
static jm_status go_stream_park(uintptr_t handle, uint32_t seen) {
  return jm_stream_protocol_park(stream_of(handle), seen, -1);
}
static void go_stream_wake(uintptr_t handle) { jm_stream_protocol_wake(stream_of(handle)); }
static jm_status go_stream_try_read(uintptr_t handle, uint64_t after, uint64_t* tensor) {
  return jm_stream_try_read(stream_of(handle), after, (jm_tensor*)tensor);
}
static jm_status go_stream_try_read_into(uintptr_t handle, uint64_t after, uint8_t* buffer, uint64_t size,
                                         uint64_t* tensor) {
  return jm_stream_try_read_into(stream_of(handle), after, buffer, size, (jm_tensor*)tensor);
}
// The core identifies a frame by its version and the address of its data.
static jm_tensor frame_of(uint64_t version, uintptr_t data) {
  jm_tensor frame = {0};
  frame.version = version;
  frame.data = (const void*)data;
  return frame;
}
static jm_status go_take(uintptr_t reader, uint64_t version, uintptr_t data, uint64_t* tensor) {
  const jm_tensor before = frame_of(version, data);
  return jm_reader_protocol_take(reader_of(reader), version == 0 ? NULL : &before, (jm_tensor*)tensor);
}
static void go_release(uintptr_t reader, uint64_t version, uintptr_t data) {
  const jm_tensor frame = frame_of(version, data);
  jm_reader_protocol_release(reader_of(reader), &frame);
}
*/
import "C"

import (
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	// These imports make `go mod vendor` copy the folders, and make go build compile the core again when they change.
	_ "github.com/judemap/judemap/csrc"
	_ "github.com/judemap/judemap/include/judemap"
	"github.com/judemap/judemap/internal/layout"
)

// header is the first 256 bytes of a segment, in the core's definition.
type header = C.struct_jm_header

// streamHeader is the header at the start of a stream.
type streamHeader = C.struct_jm_stream_header

// These values stand both in Go and in the core. If two differ, the index is a constant that is out of range, which
// does not compile.
var _ = [...]int{
	[1]int{}[unsafe.Offsetof(header{}.sequence)-layout.Sequence],
	[1]int{}[unsafe.Offsetof(header{}.ndim)-layout.NDim],
	[1]int{}[unsafe.Offsetof(header{}.dtype)-layout.DType],
	[1]int{}[unsafe.Offsetof(header{}.shape)-layout.Shape],
	[1]int{}[unsafe.Offsetof(header{}.byte_length)-layout.ByteLength],
	[1]int{}[unsafe.Offsetof(header{}.magic)-layout.Magic],
	[1]int{}[unsafe.Offsetof(header{}.flags)-layout.Flags],
	[1]int{}[unsafe.Offsetof(header{}.waiters)-layout.Waiters],
	[1]int{}[unsafe.Offsetof(header{}.capacity)-layout.Capacity],
	[1]int{}[C.JM_CREATOR_OFFSET-layout.Creator],
	[1]int{}[C.JM_STREAM_CREATOR_OFFSET-layout.StreamCreator],
	[1]int{}[unsafe.Offsetof(C.struct_jm_creator{}.start)-layout.CreatorStart],
	[1]int{}[unsafe.Offsetof(C.struct_jm_creator{}.time)-layout.CreatorTime],
	[1]int{}[unsafe.Offsetof(C.struct_jm_creator{}.process)-layout.CreatorProcess],
	[1]int{}[unsafe.Offsetof(C.struct_jm_creator{}.space)-layout.CreatorSpace],
	[1]int{}[C.JM_PRESENCE_UNKNOWN-PresenceUnknown],
	[1]int{}[C.JM_PRESENT-Present],
	[1]int{}[C.JM_GONE-Gone],
	[1]int{}[C.JM_KIND_SEGMENT-KindSegment],
	[1]int{}[C.JM_KIND_STREAM-KindStream],
	[1]int{}[C.JM_MAGIC-layout.MagicValue],
	[1]int{}[C.JM_FLAG_WRITERS_WAKE-layout.FlagWritersWake],
	[1]int{}[C.JM_FLAG_WRITER_ATTACHED-layout.FlagWriterAttached],
	[1]int{}[unsafe.Sizeof(header{})-DataOffset],
	[1]int{}[C.JM_DATA_OFFSET-DataOffset],
	[1]int{}[C.JM_MAX_DIMS-MaxDims],
	[1]int{}[C.JM_WRITER_NONE-WriterNone],
	[1]int{}[C.JM_WRITER_HERE-WriterHere],
	[1]int{}[C.JM_WRITER_OTHER-WriterOther],
	[1]int{}[C.JM_WRITER_DIED-WriterDied],
	[1]int{}[unsafe.Offsetof(streamHeader{}.sequence)-layout.Sequence],
	[1]int{}[unsafe.Offsetof(streamHeader{}.magic)-layout.Magic],
	[1]int{}[unsafe.Offsetof(streamHeader{}.flags)-layout.Flags],
	[1]int{}[unsafe.Offsetof(streamHeader{}.waiters)-layout.Waiters],
	[1]int{}[unsafe.Offsetof(streamHeader{}.capacity)-layout.Capacity],
	[1]int{}[unsafe.Offsetof(streamHeader{}.block)+unsafe.Offsetof(streamHeader{}.block.slots)-layout.StreamSlots],
	[1]int{}[unsafe.Offsetof(streamHeader{}.block)+unsafe.Offsetof(streamHeader{}.block.readers)-layout.StreamMostReaders],
	[1]int{}[unsafe.Offsetof(streamHeader{}.block)+unsafe.Offsetof(streamHeader{}.block.first)-layout.StreamFirst],
	[1]int{}[unsafe.Offsetof(streamHeader{}.block)+unsafe.Offsetof(streamHeader{}.block.stride)-layout.StreamStride],
	[1]int{}[unsafe.Offsetof(streamHeader{}.readers)-layout.StreamReaders],
	[1]int{}[unsafe.Offsetof(streamHeader{}.released)-layout.StreamReleased],
	[1]int{}[unsafe.Offsetof(streamHeader{}.writer_waits)-layout.StreamWriterWaits],
	[1]int{}[unsafe.Offsetof(streamHeader{}.table)-layout.StreamTable],
	[1]int{}[unsafe.Offsetof(streamHeader{}.places)-layout.StreamPlaces],
	[1]int{}[unsafe.Sizeof(streamHeader{})-layout.StreamHeaderSize],
	[1]int{}[unsafe.Sizeof(C.struct_jm_place{})-layout.StreamPlaceSize],
	[1]int{}[unsafe.Offsetof(C.struct_jm_place{}.cursor)-layout.StreamPlaceCursor],
	[1]int{}[unsafe.Offsetof(C.struct_jm_place{}.process)-layout.StreamPlaceProcess],
	[1]int{}[C.JM_PINS_OFFSET-layout.Pins],
	[1]int{}[C.JM_STREAM_MAGIC-layout.StreamMagicValue],
	[1]int{}[C.JM_FLAG_EVERY_FRAME-layout.FlagEveryFrame],
	[1]int{}[C.JM_STREAM_SLOTS-MaxSlots],
	[1]int{}[C.JM_STREAM_READERS-MaxReaders],
}

// How often reads try before they park. The core has the values, for C++ and for Go.
const (
	busyAttempts = C.JM_BUSY_ATTEMPTS
	tornAttempts = C.JM_TORN_ATTEMPTS
	turnAfter    = time.Duration(C.JM_TURN_NANOSECONDS)
)

// core is a handle of the C++ core. Each method is one call of the core, and returns the core's error as a Go error.
// The callers add the details, because they have the numbers.
type core struct {
	segment *C.jm_segment
	stream  *C.jm_stream // one of the two is nil
	handle  C.uintptr_t  // the pointer above as an integer
	mapping C.uintptr_t  // its jm_mapping as an integer
	header  *header      // the start of the mapped memory
}

func coreOf(p *C.jm_segment) core {
	m := C.jm_segment_mapping(p)
	return core{p, nil, C.uintptr_t(uintptr(unsafe.Pointer(p))), C.uintptr_t(uintptr(unsafe.Pointer(m))),
		C.jm_mapping_base(m)}
}

// common returns what the core has for segments and streams alike.
func (c core) common() *C.jm_mapping { return C.mapping_of(c.mapping) }

func newCore(capacity int, o *options) (core, error) {
	var p *C.jm_segment
	var st C.jm_status
	var err error
	if o.sealed {
		st, err = C.jm_create_sealed(C.uint64_t(capacity), o.flags(), &p)
	} else {
		st, err = C.jm_new(C.uint64_t(capacity), o.flags()|C.JM_NO_PARKING, &p)
	}
	return coreOf(p), status(st, err)
}

func createCore(name string, capacity int, o *options) (core, error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var p *C.jm_segment
	st, err := C.jm_create(cname, C.uint64_t(capacity), C.uint32_t(o.mode), o.flags(), &p)
	return coreOf(p), status(st, err)
}

// openCore also returns, with ErrCorrupt, a text that says why the file is no segment.
func openCore(name string, o *options) (c core, why string, err error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var p *C.jm_segment
	var cwhy *C.char
	st, err := C.jm_open(cname, o.flags(), &p, &cwhy)
	return coreOf(p), C.GoString(cwhy), status(st, err)
}

func openFileCore(fd uintptr, o *options) (c core, why string, err error) {
	var p *C.jm_segment
	var cwhy *C.char
	st, err := C.jm_open_descriptor(C.int(fd), o.flags(), &p, &cwhy)
	return coreOf(p), C.GoString(cwhy), status(st, err)
}

func removeSegment(name string) error {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	st, err := C.jm_remove(cname)
	return status(st, err)
}

// listSegments returns the names of the segments and streams of this machine, in any order.
func listSegments() (names []string, err error) {
	var list *C.jm_list
	if st, err := C.jm_list_new(&list); st != C.JM_OK {
		return nil, status(st, err)
	}
	defer C.jm_list_free(list)
	for {
		name := C.jm_list_next(list)
		if name == nil {
			return names, nil
		}
		names = append(names, C.GoString(name))
	}
}

// statSegment returns what a header says, and with ErrCorrupt what is wrong with it. Unless data is nil, the tensor is copied
// to it.
func statSegment(name string, data []byte) (i Info, why string, err error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var info C.jm_info
	var words [256]C.char
	var st C.jm_status
	if data != nil {
		to := unsafe.Pointer(unsafe.SliceData(data))
		st, err = C.jm_stat_copy(cname, to, C.size_t(len(data)), &info, &words[0], C.size_t(len(words)))
	} else {
		st, err = C.jm_stat(cname, &info, &words[0], C.size_t(len(words)))
	}
	i.Size = int64(info.file_bytes)
	if err := status(st, err); err != nil {
		return i, C.GoString(&words[0]), err
	}
	i.Kind, i.Marked = Kind(info.kind), info.marked != 0
	i.File = FileID{Device: uint64(info.file.device), Index: uint64(info.file.index)}
	i.ForeignWriters = info.flags&C.JM_FLAG_WRITERS_WAKE == 0
	i.EveryFrame = info.flags&C.JM_FLAG_EVERY_FRAME != 0
	i.Waiters, i.Writer = int(info.waiters), WriterState(info.writer)
	i.Capacity, i.Version, i.Slots = int64(info.capacity), uint64(info.sequence), int(info.slots)
	i.Holders, i.CreatorPresence = Presence(info.holders), Presence(info.creator_presence)
	if i.Creator = int(info.creator.process); i.Creator != 0 {
		i.Created = time.Unix(0, int64(info.creator.time))
	}
	if i.Kind == KindStream {
		i.Readers = make([]ReaderInfo, info.readers)
		for r := range i.Readers {
			i.Readers[r] = readerInfoOf(&info.reader[r])
		}
	}
	i.Err = i.setTensor(&info, len(data))
	return i, "", nil
}

// setTensor puts down what a header says of its tensor, of which there was room for a copy of so many bytes. It returns why
// there is nothing to say, or no copy.
func (i *Info) setTensor(info *C.jm_info, room int) error {
	t := &info.tensor
	shape := make([]uint64, min(t.ndim, MaxDims))
	for d := range shape {
		shape[d] = uint64(t.shape[d])
	}
	st := C.jm_status(info.tensor_status)
	switch st {
	case C.JM_OK, C.JM_ERR_BUFFER:
	case C.JM_ERR_CORRUPT:
		switch field := C.GoString(info.corrupt); field {
		case "table":
			return fmt.Errorf("%w: table has a slot above %d for frame %d", ErrCorrupt, i.Slots-1, i.Version/2)
		case "sequence":
			return fmt.Errorf("%w: sequence is %d, and a slot has frame %d already", ErrCorrupt, i.Version, t.version/2)
		default:
			return headerError(field, uint32(t.ndim), DType(t.dtype), shape, uint64(t.byte_length), i.Capacity)
		}
	default:
		return status(st, nil)
	}
	dims := make([]int, len(shape))
	for d, n := range shape {
		if n > math.MaxInt {
			return dimensionError(shape)
		}
		dims[d] = int(n)
	}
	i.Version, i.DType, i.Shape, i.Bytes = uint64(t.version), DType(t.dtype), dims, int64(t.byte_length)
	if st == C.JM_ERR_BUFFER {
		return tooShort(int(i.Bytes), room)
	}
	return nil
}

// physicalMemory returns how many bytes of memory the machine has, or 0 if that is unknown.
func physicalMemory() uint64 { return uint64(C.jm_physical_memory()) }

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
	if o.populate {
		flags |= C.JM_POPULATE
	}
	if o.sealedWrites {
		flags |= C.JM_SEAL_WRITES
	}
	if o.everyFrame {
		flags |= C.JM_EVERY_FRAME
	}
	return flags
}

func (c core) free() {
	if c.stream != nil {
		C.jm_stream_free(c.stream)
	} else {
		C.jm_free(c.segment)
	}
}

func (c core) base() *header { return c.header }
func (c core) capacity() int { return int(C.jm_mapping_capacity(c.common())) }

// bytes returns how many bytes there are from the first header to the end of the room for the last tensor.
func (c core) bytes() int {
	if c.stream == nil {
		return DataOffset + c.capacity()
	}
	last := uintptr(unsafe.Pointer(c.slot(c.slots()-1))) - uintptr(unsafe.Pointer(c.header))
	return int(last) + DataOffset + c.capacity()
}

func (c core) setPoll(d time.Duration) { C.jm_mapping_set_poll(c.common(), C.int64_t(d)) }
func (c core) setThreads(n int)        { C.jm_mapping_set_threads(c.common(), C.unsigned(n)) }
func (c core) stats() (commits, wakes uint64) {
	var s C.jm_stats
	C.jm_mapping_get_stats(c.common(), &s)
	return uint64(s.commits), uint64(s.wakes)
}

func (c core) writer() WriterState { return WriterState(C.go_writer(c.mapping)) }

func (c core) descriptor(writable bool) (uintptr, error) {
	var fd, write C.int
	if writable {
		write = 1
	}
	st, err := C.jm_mapping_descriptor(c.common(), write, &fd)
	return uintptr(fd), status(st, err)
}

func (c core) close() {
	if c.stream != nil {
		C.jm_stream_protocol_close(c.stream)
	} else {
		C.jm_protocol_close(c.segment)
	}
}

func (c core) retire() error {
	st, errno := C.jm_mapping_retire(c.common())
	return status(st, errno)
}

// dimensions returns a shape as the core takes it: in the caller's memory where an int has 64 bits, or copied to room.
func dimensions(shape []int, room *[MaxDims]C.uint64_t) *C.uint64_t {
	if unsafe.Sizeof(int(0)) == unsafe.Sizeof(room[0]) {
		return (*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(shape)))
	}
	for i := range min(len(shape), MaxDims) {
		room[i] = C.uint64_t(int64(shape[i]))
	}
	return &room[0]
}

func bytesPointer(data []byte) *C.uint8_t {
	return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(data)))
}

// Calls that write are made twice if the first returns JM_ERR_SYSTEM. Only the first write of a handle makes a system
// call, for the writer's lock, and cgo returns errno only from the slower form of a call. So the usual call is without
// errno, and the second one is for the reason.

func (c core) write(shape []int, dtype DType, data []byte) error {
	var room [MaxDims]C.uint64_t
	st := C.go_write(c.handle, dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype), bytesPointer(data),
		C.uint64_t(len(data)))
	if st == C.JM_ERR_SYSTEM {
		st, errno := C.go_write(c.handle, dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype),
			bytesPointer(data), C.uint64_t(len(data)))
		return status(st, errno)
	}
	return status(st, nil)
}

func (c core) fill(shape []int, dtype DType, value float64) error {
	var room [MaxDims]C.uint64_t
	st := C.go_fill(c.handle, dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype), C.double(value))
	if st == C.JM_ERR_SYSTEM {
		st, errno := C.go_fill(c.handle, dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype),
			C.double(value))
		return status(st, errno)
	}
	return status(st, nil)
}

// begin returns the bytes for the caller to fill until it calls commit or abort.
func (c core) begin(shape []int, dtype DType) ([]byte, error) {
	var room [MaxDims]C.uint64_t
	var data C.uintptr_t
	var length C.uint64_t
	st, errno := C.go_begin(c.handle, dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype), &data, &length)
	if err := status(st, errno); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(c.base()), DataOffset)), int(length)), nil
}

func (c core) commit() { C.go_commit(c.handle) }
func (c core) abort()  { C.go_abort(c.handle) }

// tensorBytes returns how many bytes a tensor takes.
func tensorBytes(shape []int, dtype DType) (uint64, error) {
	var room [MaxDims]C.uint64_t
	var bytes C.uint64_t
	st := C.jm_tensor_bytes(dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype), &bytes)
	return uint64(bytes), status(st, nil)
}

// tryRead makes one attempt at a view, and tryReadInto at a copy. They fill in all of t except data and mapping, also
// with the errors io.ErrShortBuffer and ErrCorrupt. With ErrCorrupt, field is the field of the header that can't be
// true.

func (c core) tryRead(t *Tensor) (field string, err error) {
	var room C.jm_tensor
	st := C.go_try_read(c.handle, t.inCore(&room))
	if st == C.JM_OK && t.fromCore(&room) {
		return "", nil
	}
	return c.readError(t, &room, st)
}

func (c core) tryReadInto(dst []byte, t *Tensor) (field string, err error) {
	var room C.jm_tensor
	st := C.go_try_read_into(c.handle, bytesPointer(dst), C.uint64_t(len(dst)), t.inCore(&room))
	if st == C.JM_OK && t.fromCore(&room) {
		return "", nil
	}
	return c.readError(t, &room, st)
}

// sameAsCore says whether a Tensor begins with the same fields as a jm_tensor, so that the core can fill it in. It does
// where an int has 64 bits.
const sameAsCore = unsafe.Sizeof(int(0)) == 8

// The check of that, for machines with 64-bit ints only: sameFactor makes it 0-0 on others.
var _ = [...]int{
	[1]int{}[unsafe.Offsetof(Tensor{}.version)*sameFactor-unsafe.Offsetof(C.jm_tensor{}.version)*sameFactor],
	[1]int{}[unsafe.Offsetof(Tensor{}.ndim)*sameFactor-unsafe.Offsetof(C.jm_tensor{}.ndim)*sameFactor],
	[1]int{}[unsafe.Offsetof(Tensor{}.dtype)*sameFactor-unsafe.Offsetof(C.jm_tensor{}.dtype)*sameFactor],
	[1]int{}[unsafe.Offsetof(Tensor{}.shape)*sameFactor-unsafe.Offsetof(C.jm_tensor{}.shape)*sameFactor],
	[1]int{}[unsafe.Offsetof(Tensor{}.length)*sameFactor-unsafe.Offsetof(C.jm_tensor{}.byte_length)*sameFactor],
	[1]int{}[unsafe.Offsetof(Tensor{}.data)*sameFactor-unsafe.Offsetof(C.jm_tensor{}.data)*sameFactor],
}

const sameFactor = unsafe.Sizeof(int(0)) / 8

// inCore returns the memory into which the core puts its result: t itself, or room.
func (t *Tensor) inCore(room *C.jm_tensor) *C.uint64_t {
	if sameAsCore {
		return (*C.uint64_t)(unsafe.Pointer(t))
	}
	return (*C.uint64_t)(unsafe.Pointer(room))
}

// fromCore copies the result from there to t. It returns false if a dimension is too large for an int, which is
// possible in an empty tensor.
func (t *Tensor) fromCore(room *C.jm_tensor) bool {
	if sameAsCore {
		return true
	}
	fits := true
	t.version, t.ndim, t.dtype, t.length = uint64(room.version), uint32(room.ndim), DType(room.dtype), int(room.byte_length)
	for i := range t.shape {
		t.shape[i] = int(room.shape[i])
		fits = fits && (i >= int(t.ndim) || uint64(t.shape[i]) == uint64(room.shape[i]))
	}
	return fits
}

// readError returns the error of a read, and for ErrCorrupt the name of the field.
func (c core) readError(t *Tensor, room *C.jm_tensor, st C.jm_status) (field string, err error) {
	switch st {
	case C.JM_OK:
		return "", ErrCapacity
	case C.JM_ERR_CORRUPT:
		_ = t.fromCore(room)
		return C.GoString(C.go_corrupt_field(c.handle, t.inCore(room))), ErrCorrupt
	}
	_ = t.fromCore(room)
	return "", status(st, nil)
}

// park blocks this thread until the sequence is no longer seen, or until it is time for the caller to look again.
func (c core) park(seen uint64) error { return status(C.go_park(c.mapping, C.uint64_t(seen)), nil) }

// wake wakes the threads that are parked.
func (c core) wake() { C.go_wake(c.mapping) }

func (c core) pin() error {
	st, errno := C.jm_mapping_pin(c.common())
	return status(st, errno)
}

func (c core) unpin() { C.jm_mapping_unpin(c.common()) }

func (c core) registerCUDA(device int) error {
	var why [256]C.char
	st, errno := C.jm_mapping_register_cuda(c.common(), C.int(device), &why[0], C.size_t(len(why)))
	return cudaStatus(st, errno, &why)
}

// unregisterCUDA undoes registerCUDA. It does nothing if nothing is registered.
func (c core) unregisterCUDA() error {
	var why [256]C.char
	st, errno := C.jm_mapping_unregister_cuda(c.common(), &why[0], C.size_t(len(why)))
	return cudaStatus(st, errno, &why)
}

// cudaStatus is status for a call that also returns a text with the reason.
func cudaStatus(st C.jm_status, errno error, why *[256]C.char) error {
	switch st {
	case C.JM_ERR_UNSUPPORTED:
		return fmt.Errorf("%w: %s", ErrUnsupported, C.GoString(&why[0]))
	case C.JM_ERR_CUDA:
		return fmt.Errorf("%w: %s", ErrCUDA, C.GoString(&why[0]))
	case C.JM_ERR_ARGUMENT:
		return fmt.Errorf("%w: %s", fs.ErrInvalid, C.GoString(&why[0]))
	}
	return status(st, errno)
}

// deviceAddress returns the device's address for an address in the mapping, or 0.
func (c core) deviceAddress(at uintptr) uintptr {
	return uintptr(C.go_device_address(c.mapping, C.uintptr_t(at)))
}

// ---- Streams

func streamCoreOf(p *C.jm_stream) core {
	m := C.jm_stream_mapping(p)
	return core{nil, p, C.uintptr_t(uintptr(unsafe.Pointer(p))), C.uintptr_t(uintptr(unsafe.Pointer(m))),
		C.jm_mapping_base(m)}
}

func newStreamCore(slots, capacity int, o *options) (core, error) {
	var p *C.jm_stream
	var st C.jm_status
	var err error
	if o.sealed {
		st, err = C.jm_stream_create_sealed(C.uint32_t(slots), C.uint64_t(capacity), o.flags(), &p)
	} else {
		st, err = C.jm_stream_new(C.uint32_t(slots), C.uint64_t(capacity), o.flags()|C.JM_NO_PARKING, &p)
	}
	return streamCoreOf(p), status(st, err)
}

func createStreamCore(name string, slots, capacity int, o *options) (core, error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var p *C.jm_stream
	st, err := C.jm_stream_create(cname, C.uint32_t(slots), C.uint64_t(capacity), C.uint32_t(o.mode), o.flags(), &p)
	return streamCoreOf(p), status(st, err)
}

// openStreamCore also returns, with ErrCorrupt, a text that says why the file is no stream.
func openStreamCore(name string, o *options) (c core, why string, err error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var p *C.jm_stream
	var cwhy *C.char
	st, err := C.jm_stream_open(cname, o.flags(), &p, &cwhy)
	return streamCoreOf(p), C.GoString(cwhy), status(st, err)
}

func openStreamFileCore(fd uintptr, o *options) (c core, why string, err error) {
	var p *C.jm_stream
	var cwhy *C.char
	st, err := C.jm_stream_open_descriptor(C.int(fd), o.flags(), &p, &cwhy)
	return streamCoreOf(p), C.GoString(cwhy), status(st, err)
}

func (c core) slots() int       { return int(C.jm_stream_slots(c.stream)) }
func (c core) everyFrame() bool { return C.jm_stream_every_frame(c.stream) != 0 }

// slot returns the start of slot i.
func (c core) slot(i int) *header { return C.jm_stream_slot(c.stream, C.uint32_t(i)) }

// These are like the calls that write to a segment. They return errNoSlot if no slot can be written to.

func (c core) streamWrite(shape []int, dtype DType, data []byte) error {
	var room [MaxDims]C.uint64_t
	st := C.go_stream_write(c.handle, dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype),
		bytesPointer(data), C.uint64_t(len(data)))
	if st == C.JM_ERR_SYSTEM {
		st, errno := C.go_stream_write(c.handle, dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype),
			bytesPointer(data), C.uint64_t(len(data)))
		return status(st, errno)
	}
	return status(st, nil)
}

func (c core) streamFill(shape []int, dtype DType, value float64) error {
	var room [MaxDims]C.uint64_t
	st := C.go_stream_fill(c.handle, dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype),
		C.double(value))
	if st == C.JM_ERR_SYSTEM {
		st, errno := C.go_stream_fill(c.handle, dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype),
			C.double(value))
		return status(st, errno)
	}
	return status(st, nil)
}

// streamBegin returns the bytes for the caller to fill until it calls streamCommit or streamAbort.
func (c core) streamBegin(shape []int, dtype DType) ([]byte, error) {
	var room [MaxDims]C.uint64_t
	var data C.uintptr_t
	var length C.uint64_t
	st, errno := C.go_stream_begin(c.handle, dimensions(shape, &room), C.uint32_t(len(shape)), C.uint32_t(dtype), &data,
		&length)
	if err := status(st, errno); err != nil {
		return nil, err
	}
	offset := uintptr(data) - uintptr(unsafe.Pointer(c.header))
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(c.header), offset)), int(length)), nil
}

func (c core) streamCommit() { C.go_stream_commit(c.handle) }
func (c core) streamAbort()  { C.go_stream_abort(c.handle) }

// announceWriter makes readers that give back a slot wake this process. If it returns errNoSlot, park with seen. If it
// returns nil, a slot has become free.
func (c core) announceWriter() (seen uint32, err error) {
	var word C.uint32_t
	err = status(C.go_stream_announce(c.handle, &word), nil)
	return uint32(word), err
}

// parkWriter blocks this thread until a slot is given back, or until it is time for the caller to look again.
func (c core) parkWriter(seen uint32) error {
	return status(C.go_stream_park(c.handle, C.uint32_t(seen)), nil)
}

func (c core) wakeWriter() { C.go_stream_wake(c.handle) }

// tryReadFrame and tryReadFrameInto make one attempt at the newest frame with a version above after, without holding
// its slot.

func (c core) tryReadFrame(after uint64, t *Tensor) error {
	var room C.jm_tensor
	st := C.go_stream_try_read(c.handle, C.uint64_t(after), t.inCore(&room))
	return t.frameFromCore(st, &room)
}

func (c core) tryReadFrameInto(after uint64, dst []byte, t *Tensor) error {
	var room C.jm_tensor
	st := C.go_stream_try_read_into(c.handle, C.uint64_t(after), bytesPointer(dst), C.uint64_t(len(dst)),
		t.inCore(&room))
	err := t.frameFromCore(st, &room)
	t.data = unsafe.Pointer(unsafe.SliceData(dst))
	return err
}

func (t *Tensor) frameFromCore(st C.jm_status, room *C.jm_tensor) error {
	if !t.fromCore(room) && st == C.JM_OK {
		return ErrCapacity
	}
	if !sameAsCore {
		t.data = room.data
	}
	return status(st, nil)
}

// readers describes the readers of the stream.
func (c core) readers() []ReaderInfo {
	var infos [MaxReaders]C.jm_reader_info
	n := C.jm_stream_readers(c.stream, &infos[0])
	readers := make([]ReaderInfo, n)
	for i := range readers {
		readers[i] = readerInfoOf(&infos[i])
	}
	return readers
}

func readerInfoOf(info *C.jm_reader_info) ReaderInfo {
	return ReaderInfo{int(info.number), int(info.process), 2 * uint64(info.cursor), int(info.held), info.dead != 0}
}

// readerCore is a reader of the C++ core.
type readerCore struct {
	reader *C.jm_reader
	handle C.uintptr_t // the same pointer as an integer
}

func (c core) join() (readerCore, error) {
	var p *C.jm_reader
	st, err := C.jm_reader_protocol_join(c.stream, &p)
	return readerCore{p, C.uintptr_t(uintptr(unsafe.Pointer(p)))}, status(st, err)
}

// take gives back the frame with version before and this data, unless before is 0, and makes one attempt to take
// another. With ErrEmpty, t has the version to park on.
func (r readerCore) take(before uint64, data unsafe.Pointer, t *Tensor) error {
	var room C.jm_tensor
	st := C.go_take(r.handle, C.uint64_t(before), C.uintptr_t(uintptr(data)), t.inCore(&room))
	if st == C.JM_OK && sameAsCore {
		return nil
	}
	return t.frameFromCore(st, &room)
}

func (r readerCore) release(version uint64, data unsafe.Pointer) {
	C.go_release(r.handle, C.uint64_t(version), C.uintptr_t(uintptr(data)))
}

func (r readerCore) leave()         { C.jm_reader_protocol_leave(r.reader) }
func (r readerCore) free()          { C.jm_reader_protocol_free(r.reader) }
func (r readerCore) missed() uint64 { return uint64(C.jm_reader_missed(r.reader)) }

// held returns for each slot the version that the reader holds there, or 0. The words are the core's, and atomic.
func (r readerCore) held() *[MaxSlots]uint64 {
	return (*[MaxSlots]uint64)(unsafe.Pointer(C.jm_reader_protocol_held(r.reader)))
}

// ---- Waiting

// parkerCore is a parker of the C++ core.
type parkerCore struct{ parker *C.jm_parker }

// newParkerCore makes a parker. If event is nil, its threads are those that call wait. Otherwise it starts threads of
// its own and sets *event to a descriptor that is readable when next has a token.
func newParkerCore(event *uintptr) (p parkerCore, err error) {
	var fd C.int
	var pfd *C.int
	if event != nil {
		pfd = &fd
	}
	st, err := C.jm_parker_new(&p.parker, pfd)
	if event != nil {
		*event = uintptr(fd)
	}
	return p, status(st, err)
}

// watchCore is a watch of a parker.
type watchCore struct{ watch *C.jm_watch }

func (p parkerCore) watch(c core, token uint64) (w watchCore, lane int, err error) {
	var index C.size_t
	st, err := C.jm_mapping_watch_new(p.parker, c.common(), C.uint64_t(token), &w.watch, &index)
	return w, int(index), status(st, err)
}

// arm begins a wait. ErrBusy means that the sequence is no longer seen.
func (w watchCore) arm(seen uint64) error {
	return status(C.jm_watch_arm(w.watch, C.uint64_t(seen)), nil)
}
func (w watchCore) disarm() { C.jm_watch_disarm(w.watch) }
func (w watchCore) free()   { C.jm_watch_free(w.watch) }

// wait blocks this thread until waits of the lane are over, and returns their tokens. It returns none after stop.
func (p parkerCore) wait(lane int, tokens []uint64) []uint64 {
	n := C.jm_parker_wait(p.parker, C.size_t(lane), (*C.uint64_t)(&tokens[0]), C.size_t(len(tokens)))
	return tokens[:n]
}

func (p parkerCore) next() uint64 { return uint64(C.jm_parker_next(p.parker)) }
func (p parkerCore) threads() int { return int(C.jm_parker_threads(p.parker)) }
func (p parkerCore) stop()        { C.jm_parker_stop(p.parker) }
func (p parkerCore) free()        { C.jm_parker_free(p.parker) }

// statusText returns the core's sentence for a status, for those that have no Go error.
func statusText(st C.jm_status) string { return C.GoString(C.jm_strerror(C.int(st))) }

// status returns the Go error for a status of the core. errno is the error that the call returned along with the
// status.
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
	case C.JM_ERR_NAME:
		return errName
	case C.JM_ERR_READ_ONLY:
		return errReadOnly
	case C.JM_ERR_WRITER_ACTIVE:
		return ErrWriterActive
	case C.JM_ERR_WRITER_DIED:
		return ErrWriterDied
	case C.JM_ERR_NO_SLOT:
		return errNoSlot
	case C.JM_ERR_NO_PLACE:
		return errNoPlace
	case C.JM_ERR_NO_PROC:
		return fmt.Errorf("%w here: %s", ErrUnsupported, statusText(st))
	case C.JM_ERR_SYSTEM, C.JM_ERR_PIN_DENIED:
		if number, ok := errno.(syscall.Errno); ok {
			return systemError(int(number))
		}
	}
	return fmt.Errorf("judemap: %s", statusText(st))
}

// errnos are the errors of the syscall package for what the core tells of an errno value. On Windows they have other
// numbers than in C.
var errnos = map[C.jm_reason]syscall.Errno{
	C.JM_REASON_EXISTS:        syscall.EEXIST,
	C.JM_REASON_NOT_EXIST:     syscall.ENOENT,
	C.JM_REASON_ACCESS:        syscall.EACCES,
	C.JM_REASON_NOT_PERMITTED: syscall.EPERM,
	C.JM_REASON_NO_MEMORY:     syscall.ENOMEM,
	C.JM_REASON_NO_SPACE:      syscall.ENOSPC,
	C.JM_REASON_INVALID:       syscall.EINVAL,
	C.JM_REASON_AGAIN:         syscall.EAGAIN,
	C.JM_REASON_BUSY:          syscall.EBUSY,
	C.JM_REASON_LINK:          syscall.ELOOP,
	C.JM_REASON_DESCRIPTOR:    syscall.EBADF,
	C.JM_REASON_DESCRIPTORS:   syscall.EMFILE,
	C.JM_REASON_INPUT_OUTPUT:  syscall.EIO,
	C.JM_REASON_TOO_LARGE:     syscall.EFBIG,
	C.JM_REASON_NAME_TOO_LONG: syscall.ENAMETOOLONG,
	C.JM_REASON_NOT_SUPPORTED: syscall.ENOTSUP,
}

// systemError returns the Go error for a C errno value.
func systemError(number int) error {
	reason := C.jm_errno_reason(C.int(number))
	if reason == C.JM_REASON_UNSUPPORTED {
		return fmt.Errorf("%w on %s", ErrUnsupported, runtime.GOOS)
	}
	if errno, ok := errnos[reason]; ok {
		return errno
	}
	if runtime.GOOS == "windows" {
		return fmt.Errorf("judemap: %s (errno %d)", C.GoString(C.strerror(C.int(number))), number)
	}
	return syscall.Errno(number)
}
