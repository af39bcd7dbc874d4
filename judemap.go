// Package judemap shares tensors in memory between goroutines, languages and processes, without copying them.
//
// A [Segment] is a memory mapping with a 256-byte header and one tensor behind it. One writer at a time commits
// tensors to it under a seqlock; any number of readers take them, as views without a copy or as copies that are never
// torn, and readers with nothing to read park at no cost until the next commit wakes them:
//
//	s, err := judemap.New(1 << 20)                         // room for 1 MiB of tensor
//	err = judemap.WriteSlice(s, []int{2, 3}, []float32{1, 2, 3, 4, 5, 6})
//	var sum float32
//	err = judemap.View(ctx, s, func(shape []int, values []float32) error { // no copy, no system call, no allocation
//		sum = add(values)
//		return nil
//	})
//
// # Views and copies
//
// [View] is the safe way to look at a tensor in place: it calls a function until one call has seen a whole tensor.
// [Segment.Read], [Segment.TryRead], [Segment.ReadWait], [Segment.Next] and [Segment.Frames] return views for you to
// check: the tensor's data is the segment's own memory, and the next commit overwrites it. Use the view, then ask
// [Tensor.Valid] whether what was seen is good. Writing to a view is an error that nothing catches. [Segment.ReadCopy],
// [Segment.ReadCopyWait], [Segment.ReadInto] and [Segment.NextInto] return copies, each taken inside the section that
// the seqlock validates.
//
// A view of a closed segment reads zeros and is not valid. It never faults as long as its [Tensor] or its Segment is
// reachable; the slice that [Tensor.Data] returns does not count, because the garbage collector does not follow it.
// Where the slice outlives the Tensor in a function, end with runtime.KeepAlive(&t), or ask t.Valid(), which does the
// same.
//
// # Between processes
//
// [Create] gives a segment a name under which others [Open] it; [OpenOrCreate] is for a producer that may be started
// again. One of [New] with [WithSealed] has no name and is handed over as a file, [Segment.File] and [OpenFile]. The
// process that writes first is the writer until it closes its Segment or ends: meanwhile others get [ErrWriterActive]. If
// it ends without Close, or is killed, readers get [ErrWriterDied] and not half a tensor, and the next process that
// writes takes over. Readers park in the kernel and are woken by every process's commits; a writer that finds nobody
// parked makes no system call.
//
// # Layout
//
// The bytes of a segment are those of the Node addon jude-map. The headers under include/judemap give the same segment
// to C and C++.
package judemap

import (
	"errors"
	"fmt"
	"log/slog"
	"unsafe"
)

const (
	DataOffset = 256 // bytes from the start of a segment to its data
	MaxDims    = 8   // the largest rank
)

// Errors, for errors.Is. The errors that calls return wrap them and add the numbers.
var (
	// ErrEmpty: the segment holds no tensor. Nothing was ever written, or the last Update gave up.
	ErrEmpty = errors.New("judemap: the segment holds no tensor")
	// ErrBusy: a commit is in progress. Only TryRead returns it.
	ErrBusy = errors.New("judemap: a commit is in progress")
	// ErrClosed: the Segment was closed.
	ErrClosed = errors.New("judemap: the segment is closed")
	// ErrCapacity: a capacity that can't be had, or a tensor larger than the capacity.
	ErrCapacity = errors.New("judemap: capacity")
	// ErrShape: a rank above MaxDims, a negative dimension, an overflow, or data of another length.
	ErrShape = errors.New("judemap: shape")
	// ErrDType: an unknown element type, or another one than the tensor's.
	ErrDType = errors.New("judemap: element type")
	// ErrRange: a value that the element type can't hold.
	ErrRange = errors.New("judemap: value out of range")
	// ErrCorrupt: the header can't be true. Something wrote to the segment that doesn't keep to the layout.
	ErrCorrupt = errors.New("judemap: corrupt segment")
	// ErrPinDenied: the system refused to lock the segment's pages. The segment works without that.
	ErrPinDenied = errors.New("judemap: pin denied")
	// ErrCUDA: the CUDA driver refused. The error has the driver's name for it, and the call.
	ErrCUDA = errors.New("judemap: CUDA")
	// ErrWriterDied: the writing process died. From a call that reads: in the middle of a commit, so that there is
	// nothing to read; from one that waits: and nothing newer is there.
	ErrWriterDied = errors.New("judemap: the segment's writer died; another process may take over by writing")
	// ErrWriterActive: another process, or another Segment of this one, writes to this segment, until it closes or dies.
	ErrWriterActive = errors.New("judemap: another process is the segment's writer")
	// ErrUnsupported: this platform, or this build of the program, can't do it.
	ErrUnsupported = errors.New("judemap: unsupported")
)

// A Segment is a memory mapping that holds one tensor at a time. Its methods may be called from any goroutine. The zero
// Segment is closed.
//
// Close it when it is no longer needed. The memory of one that is forgotten is given back when neither it nor a Tensor of
// it can be reached any more; but what it had the right to write to is not free before that, and a program that ends
// without Close counts as a writer that died.
type Segment struct {
	handle
}

// New makes a segment with room for capacity bytes of tensor, in memory of this process alone, or with [WithSealed] in
// memory that can be handed to others.
//
// Errors: [ErrCapacity] if capacity is not positive, or too large to be a size; the system's error (as in
// syscall.ENOMEM) if it has no memory or address space for it; [ErrUnsupported] in a build without cgo.
func New(capacity int, opts ...Option) (*Segment, error) {
	o, err := newOptions(callNew, opts)
	if err != nil {
		return nil, err
	}
	c, err := newCore(capacity, o)
	if err != nil {
		return nil, makeError(err, "mapping a segment", capacity)
	}
	return newSegmentOf(c, "", o.sealed, o), nil
}

func newSegmentOf(c core, name string, shared bool, o *options) *Segment {
	s := new(Segment)
	s.init(c, name, shared, o)
	return s
}

// makeError says why making a segment failed. doing is what was being done.
func makeError(err error, doing string, capacity int) error {
	switch {
	case err == ErrCapacity && capacity <= 0:
		return fmt.Errorf("%w: %d bytes asked for; a segment holds at least 1", ErrCapacity, capacity)
	case err == ErrCapacity:
		return fmt.Errorf("%w: %d bytes and the header of %d are more than can be addressed", ErrCapacity, capacity, DataOffset)
	}
	return fmt.Errorf("judemap: %s of %d bytes: %w", doing, capacity, err)
}

// Write commits a copy of data as a tensor of this shape (in elements, row-major) and type. It waits for other writers
// of the Segment, and allocates nothing.
//
// Errors, after which the previous tensor is still there: [ErrDType] if dtype is unknown; [ErrShape] if the rank is
// above [MaxDims], a dimension is negative, the size overflows, or len(data) is another; [ErrCapacity] if the tensor is
// larger than the segment; [ErrClosed]; in a shared segment [ErrWriterActive] if another process writes to it, and
// fs.ErrPermission if it was opened read-only.
func (s *Segment) Write(shape []int, dtype DType, data []byte) error {
	if err := s.lockWriting(); err != nil {
		return err
	}
	defer s.unlockWriting()
	if err := s.mapping.core.write(shape, dtype, data); err != nil {
		return s.writeError(err, shape, dtype, len(data))
	}
	s.attach()
	return nil
}

// WriteSlice is [Segment.Write] for a slice of elements.
func WriteSlice[T Element](s *Segment, shape []int, data []T) error {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(*new(T))))
	return s.Write(shape, DTypeOf[T](), bytes)
}

// Update commits a tensor that fill writes in place, without a copy. fill gets the tensor's bytes, in the segment, as
// the previous tensor left them; it must not keep them, and must not call methods of s other than TryRead, Version,
// Close and the ones that only say something of s: readers and other writers wait for it.
//
// If fill fails or panics, the error or panic reaches the caller, and readers get [ErrEmpty] until the next commit:
// the previous tensor is gone, and half a tensor is never seen. Other errors are those of [Segment.Write].
func (s *Segment) Update(shape []int, dtype DType, fill func(data []byte) error) error {
	if err := s.lockWriting(); err != nil {
		return err
	}
	defer s.unlockWriting()
	data, err := s.mapping.core.begin(shape, dtype)
	if err != nil {
		return s.writeError(err, shape, dtype, -1)
	}
	s.attach()
	filled := false
	defer func() { // also when fill panics or ends the goroutine
		if filled {
			s.mapping.core.commit()
		} else {
			s.mapping.core.abort()
		}
	}()
	if err := fill(data); err != nil {
		return err
	}
	filled = true
	return nil
}

// UpdateSlice is [Segment.Update] for elements.
func UpdateSlice[T Element](s *Segment, shape []int, fill func(data []T) error) error {
	return s.Update(shape, DTypeOf[T](), func(data []byte) error {
		return fill(unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/int(unsafe.Sizeof(*new(T)))))
	})
}

// Fill commits a tensor whose every element is value: truncated toward zero for integers, the nearest for floats, the
// real part for Complex64; for Bool 0 is false, and all else true, NaN too.
//
// Errors: [ErrRange] if the type can't hold the value (300 for uint8, NaN for an integer, 1e300 for float32, infinity
// for Float8E4M3FN); else those of [Segment.Write].
func (s *Segment) Fill(shape []int, dtype DType, value float64) error {
	if err := s.lockWriting(); err != nil {
		return err
	}
	defer s.unlockWriting()
	if err := s.mapping.core.fill(shape, dtype, value); err != nil {
		if err == ErrRange {
			return fmt.Errorf("%w: %v can't hold %v", ErrRange, dtype, value)
		}
		return s.writeError(err, shape, dtype, -1)
	}
	s.attach()
	return nil
}

// Close ends the use of s: every later call gets [ErrClosed], as do parked readers. When it returns, the right to write
// is given back and another process may take over, and the descriptors are closed; a write that is running does that when
// it ends. The memory is given back in the background, and views read zeros from then on. A shared segment lives on, for
// others and under its name, see [Remove]. Closing again does nothing. The error is always nil.
func (s *Segment) Close() error {
	s.end(nil)
	return nil
}

// CloseWait is [Segment.Close], but returns when the memory is given back. The error is the system's, if it could not
// be, and the memory then goes when s and its views are no longer reachable; or [ErrCUDA], see [Segment.UnregisterCUDA].
// It must not be called by a function that Update runs.
func (s *Segment) CloseWait() error {
	_ = s.Close()
	return s.awaitRelease()
}

// String describes s in a few words: its kind, name, tensor and version.
func (s *Segment) String() string {
	kind, t := s.describe()
	if s.name != "" {
		kind += fmt.Sprintf(" %q", s.name)
	}
	return kind + ": " + t.String()
}

// LogValue is what String says, for [log/slog].
func (s *Segment) LogValue() slog.Value {
	kind, t := s.describe()
	attrs := []slog.Attr{slog.String("kind", kind)}
	if s.name != "" {
		attrs = append(attrs, slog.String("name", s.name))
	}
	return slog.GroupValue(append(attrs, t.attrs()...)...)
}

// describe returns the kind of s, and its tensor if that can be had at once.
func (s *Segment) describe() (kind string, t Tensor) {
	kind = "segment"
	switch {
	case !s.open.Load():
		return "closed segment", Tensor{}
	case s.readOnly:
		kind = "read-only segment"
	case s.shared:
		kind = "shared segment"
	}
	_ = s.tryRead(&t) // t is zero where there is none to be had
	if t.mapping == nil {
		t.version = s.sequence()
	}
	return kind, t
}
