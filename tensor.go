package judemap

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"
)

// A Tensor is one consistent state of a segment, or one frame of a stream. It is a view of their memory, or a copy.
// While a view is reachable, the addresses of its Segment or Stream stay reserved. The zero Tensor has no data and is
// not valid.
type Tensor struct {
	// The fields that a jm_tensor of the core begins with, in the same order: see judemap_cgo.go.
	version uint64
	ndim    uint32
	dtype   DType
	shape   [MaxDims]int
	length  int // bytes at data

	data    unsafe.Pointer
	mapping *mapping // nil if the data is a copy
}

// Shape returns the dimensions, in elements. The slice belongs to t: do not change it.
func (t *Tensor) Shape() []int { return t.shape[:t.ndim:t.ndim] }

// DType returns the element type.
func (t *Tensor) DType() DType { return t.dtype }

// Data returns the bytes of the elements, row-major and little-endian; [Slice] returns them as a Go type. In a view
// they are the segment's own memory. Do not write to it. It changes with the next commit, and reads as zeros once the
// segment is closed. Keep t (or its Segment) reachable for as long as the slice is used.
func (t *Tensor) Data() []byte { return unsafe.Slice((*byte)(t.data), t.length) }

// Version returns the segment's sequence number at the time of the read. It is even, and each commit adds 2.
func (t *Tensor) Version() uint64 { return t.version }

// loadsReorder says whether the machine may execute an ordinary load after a later atomic one. x86 never does.
const loadsReorder = runtime.GOARCH != "amd64" && runtime.GOARCH != "386"

// Valid says whether what was seen in a view is one whole tensor: it is true as long as no commit has begun since the
// view was taken. Call it after using the data. A copy is always valid. A frame of a stream is valid as long as it is
// held.
func (t *Tensor) Valid() bool {
	if t.mapping == nil {
		return t.version != 0
	}
	if t.mapping.slot != nil && t.mapping.slot.holds(t.version) {
		return true
	}
	if loadsReorder {
		// The loads of the data must come before the load of sequence below, and Go has no fence for that. An atomic
		// store is a release, so the earlier loads come before it. An atomic load never comes before an earlier atomic
		// store.
		var word uint32
		atomic.StoreUint32(&word, 1)
	}
	valid := load64(&t.mapping.header.sequence) == t.version
	runtime.KeepAlive(t.mapping)
	return valid
}

// String describes t in a few words: its type, shape and version.
func (t Tensor) String() string {
	if t.data == nil {
		return fmt.Sprintf("no tensor, version %d", t.version)
	}
	return fmt.Sprintf("%v %v, version %d", t.dtype, t.shape[:t.ndim], t.version)
}

// LogValue returns what String says as attributes, for [log/slog].
func (t Tensor) LogValue() slog.Value { return slog.GroupValue(t.attrs()...) }

func (t *Tensor) attrs() []slog.Attr {
	version := slog.Uint64("version", t.version)
	if t.data == nil {
		return []slog.Attr{version}
	}
	return []slog.Attr{slog.String("dtype", t.dtype.String()), slog.Any("shape", slices.Clone(t.Shape())), version}
}

// Slice returns t's data as []T without a copy. All that [Tensor.Data] says of its slice holds for this one too. Slice
// does not check that the elements of a Bool tensor are 0 or 1.
//
// Errors: [ErrDType] if T is not the type of t's elements, or if t was read into a buffer that is not aligned for T.
func Slice[T Element](t *Tensor) ([]T, error) {
	if want := DTypeOf[T](); t.dtype != want {
		return nil, fmt.Errorf("%w: the tensor holds %v, not %v", ErrDType, t.dtype, want)
	}
	size := unsafe.Sizeof(*new(T))
	if uintptr(t.data)%size != 0 {
		return nil, fmt.Errorf("%w: %v needs data aligned to %d bytes, and dst of ReadInto is not", ErrDType, t.dtype, size)
	}
	return unsafe.Slice((*T)(t.data), uintptr(t.length)/size), nil
}
