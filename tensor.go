package judemap

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"
)

// A Tensor is one consistent snapshot of a segment, or a frame of a stream: a view of its memory, or a copy. While a view
// is reachable, the addresses of its Segment or Stream stay reserved. The zero Tensor has no data and is not valid.
type Tensor struct {
	// What a jm_tensor of the core begins with, in its order: see judemap_cgo.go.
	version uint64
	ndim    uint32
	dtype   DType
	shape   [MaxDims]int
	length  int // bytes at data

	data    unsafe.Pointer
	mapping *mapping // nil if the data is a copy
}

// Shape returns the dimensions, in elements. It is t's own: don't change it.
func (t *Tensor) Shape() []int { return t.shape[:t.ndim:t.ndim] }

// DType returns the element type.
func (t *Tensor) DType() DType { return t.dtype }

// Data returns the elements, row-major and little-endian. In a view they are the segment's memory, which is read-only
// to the caller, changes with the next commit, and reads as zeros once the segment is closed; keep t (or its Segment)
// reachable for as long as the slice is used. [Slice] gives them as a Go type.
func (t *Tensor) Data() []byte { return unsafe.Slice((*byte)(t.data), t.length) }

// Version returns the segment's sequence at the time of the read: an even number, 2 more for each commit.
func (t *Tensor) Version() uint64 { return t.version }

// loadsReorder says whether the machine may run an ordinary load after a later atomic one. x86 never does.
const loadsReorder = runtime.GOARCH != "amd64" && runtime.GOARCH != "386"

// Valid says whether no commit has begun since a view was taken. Ask after using its data: only if it is true was
// everything seen there part of one tensor. A copy is always valid, and so is a frame of a stream for as long as it is
// held.
func (t *Tensor) Valid() bool {
	if t.mapping == nil {
		return t.version != 0
	}
	if t.mapping.slot != nil && t.mapping.slot.holds(t.version) {
		return true
	}
	if loadsReorder {
		// The loads of the data must come before the load of sequence below, and Go has no fence for it. An atomic store
		// is a release: earlier loads come before it; and an atomic load never comes before an earlier atomic store.
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

// LogValue is what String says, for [log/slog].
func (t Tensor) LogValue() slog.Value { return slog.GroupValue(t.attrs()...) }

func (t *Tensor) attrs() []slog.Attr {
	version := slog.Uint64("version", t.version)
	if t.data == nil {
		return []slog.Attr{version}
	}
	return []slog.Attr{slog.String("dtype", t.dtype.String()), slog.Any("shape", slices.Clone(t.Shape())), version}
}

// Slice returns t's data as []T without a copy; what holds for [Tensor.Data] holds for it. Elements of Bool that a
// foreign writer stored as neither 0 nor 1 are not checked for.
//
// Errors: [ErrDType] if T is another type than t's, or if t was read into a buffer that is not aligned for T.
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
