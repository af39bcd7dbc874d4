// Package judemap shares tensors in memory between goroutines, languages and processes, without copying them.
//
// A [Segment] is a memory mapping with a 256-byte header and one tensor behind it. One writer at a time commits tensors
// to it under a seqlock. Any number of readers read them: as views, which need no copy, or as copies, which are never
// torn. A reader that has nothing to read parks: it sleeps, and the next commit wakes it:
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
// [View] is the safe way to look at a tensor in place: it calls a function, and calls it again until one call has seen
// a whole tensor.
//
// [Segment.Read], [Segment.TryRead], [Segment.ReadWait], [Segment.Next] and [Segment.Frames] return views that you
// check yourself. The data of a view is the segment's own memory, and the next commit overwrites it. Use the view
// first; then [Tensor.Valid] says whether what you saw was one whole tensor. Do not write to a view: nothing prevents
// it, and every other reader sees the damage.
//
// [Segment.ReadCopy], [Segment.ReadCopyWait], [Segment.ReadInto] and [Segment.NextInto] return copies. The seqlock
// checks each copy before it is returned, so a copy is always one whole tensor.
//
// A view of a closed segment reads as zeros and is not valid. Using it never faults as long as its [Tensor] or its
// Segment is reachable. The slice that [Tensor.Data] returns does not keep them reachable, because the garbage
// collector does not know that memory. Where a function uses the slice after its last use of the Tensor, end it with
// runtime.KeepAlive(&t), or with t.Valid(), which has the same effect.
//
// # Streams
//
// A [Stream] has several slots, and each slot holds one tensor, called a frame. The writer commits each frame to a slot
// that nobody uses. A [Reader] holds the slot of the frame that it reads, so that the frame stays whole and needs no
// check, while the writer goes on with other slots. Use a Stream where a reader works on a tensor for milliseconds, or
// where no frame may be lost ([WithEveryFrame]).
//
// # Between processes
//
// [Create] makes a segment with a name, and other processes [Open] it by that name. [OpenOrCreate] is for a producer
// that may be started again. A segment of [New] with [WithSealed] has no name: [Segment.File] returns its file, the
// program hands that to another process, and [OpenFile] opens it there.
//
// The process that writes first is the writer until it closes its Segment or ends. Meanwhile, writes of other processes
// fail with [ErrWriterActive]. If the writer is killed, or ends without Close, readers get [ErrWriterDied] and never
// half a tensor; the next process that writes takes over. Readers park in the kernel, and a commit of any process wakes
// them. A writer makes no system call where no reader is parked.
//
// # Layout
//
// The layout of a segment is that of the Node addon jude-map. The headers under include/judemap give C and C++ programs
// access to the same segments.
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

// The errors of this package, for errors.Is. The errors that calls return wrap these, and add numbers, names and
// reasons.
var (
	// ErrEmpty means that there is no tensor to read: nothing was ever written, or the last Update failed.
	// [Segment.ReadWait] waits for the next one.
	ErrEmpty = errors.New("judemap: the segment or stream holds no tensor")
	// ErrBusy means that a commit is in progress. Only [Segment.TryRead] returns it, and [Stat] says it in Info.Err. Try
	// again, or call [Segment.Read], which waits.
	ErrBusy = errors.New("judemap: a commit is in progress")
	// ErrClosed means that the Segment, Stream or Reader was closed by this program.
	ErrClosed = errors.New("judemap: the segment or stream is closed")
	// ErrCapacity means that a capacity is not possible, or that a tensor is larger than the capacity. The error has
	// both numbers. It also means that a tensor is larger than [WithMaxBytes] lets a copy be, or that a stream has no
	// place for one more reader.
	ErrCapacity = errors.New("judemap: capacity")
	// ErrShape means that a shape has more than MaxDims dimensions or a negative one, that its size overflows, or that
	// the data has another length than the shape. The error says which.
	ErrShape = errors.New("judemap: shape")
	// ErrDType means that an element type is unknown, or is not the tensor's. [Tensor.DType] returns the tensor's.
	ErrDType = errors.New("judemap: element type")
	// ErrRange means that the element type can't hold the value. Only Fill returns it.
	ErrRange = errors.New("judemap: value out of range")
	// ErrCorrupt means that a header contradicts itself: a program that does not follow the layout wrote to the
	// segment, or the file is no segment at all. The error says what is wrong. Do not use what was read. The next
	// commit of a correct writer puts a tensor's metadata right; a file that can't be opened has to be removed or
	// overwritten by whoever made it.
	ErrCorrupt = errors.New("judemap: corrupt segment")
	// ErrPinDenied means that the system refused to lock the segment's pages. The segment works without that. On Linux,
	// raise the limit that `ulimit -l` shows.
	ErrPinDenied = errors.New("judemap: pin denied")
	// ErrCUDA means that the CUDA driver refused a call. The error has the call and the driver's name for the reason.
	ErrCUDA = errors.New("judemap: CUDA")
	// ErrWriterDied means that the writing process died. A read returns it if the writer died in the middle of a
	// commit, so that there is no tensor to read. A wait returns it also where the last tensor is whole, because
	// nothing newer comes. Start the writer again; the first process that writes takes over.
	ErrWriterDied = errors.New("judemap: the writer died; another process may take over by writing")
	// ErrWriterActive means that another process, or another Segment of this process, is the writer. It stays the
	// writer until it closes its Segment or ends; try again after that.
	ErrWriterActive = errors.New("judemap: another process is the writer")
	// ErrUnsupported means that this platform, or this build of the program, can't do it. The error says why.
	ErrUnsupported = errors.New("judemap: unsupported")
)

// A Segment is a memory mapping that holds one tensor at a time. Its methods may be called from any goroutine. The zero
// Segment is closed.
//
// Close a Segment when it is no longer needed. If it is not closed, its memory is given back when neither the Segment
// nor a Tensor of it can be reached any more. Until then it stays the writer if it was, and a program that ends without
// Close counts as a writer that died.
type Segment struct {
	handle
}

// New makes a segment with room for capacity bytes of tensor. Its memory belongs to this process alone, or with
// [WithSealed] it can be handed to other processes.
//
// Errors:
//
//   - [ErrCapacity] if capacity is not positive, or too large to be a size.
//   - The system's error, such as syscall.ENOMEM, if there is no memory or address space for it.
//   - [ErrUnsupported] in a build without cgo.
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

// makeError says why making a segment failed. doing says what was tried, as in "mapping a segment".
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
// of the same Segment. It allocates nothing.
//
// Errors, after which the previous tensor is still there:
//
//   - [ErrDType] if dtype is unknown.
//   - [ErrShape] if the rank is above [MaxDims], a dimension is negative, the size overflows, or len(data) is not the
//     tensor's size in bytes.
//   - [ErrCapacity] if the tensor is larger than the segment's capacity.
//   - [ErrWriterActive] if another process writes to this shared segment.
//   - fs.ErrPermission if the segment was opened read-only.
//   - [ErrClosed].
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

// WriteSlice is [Segment.Write] for a slice of elements; T gives the element type.
func WriteSlice[T Element](s *Segment, shape []int, data []T) error {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(*new(T))))
	return s.Write(shape, DTypeOf[T](), bytes)
}

// Update commits a tensor that fill writes in place, without a copy. fill gets the tensor's bytes in the segment, which
// still hold what was there before. It must not keep the slice after it returns. Readers and other writers wait while
// fill runs, so of the methods of s it may call only TryRead, Version, Close and those that describe s, such as Name
// and Stats.
//
// If fill fails or panics, the error or panic reaches the caller, and readers get [ErrEmpty] until the next commit: the
// previous tensor is gone, and half of a new one is never seen. Other errors are those of [Segment.Write].
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

// UpdateSlice is [Segment.Update] for a slice of elements; T gives the element type.
func UpdateSlice[T Element](s *Segment, shape []int, fill func(data []T) error) error {
	return s.Update(shape, DTypeOf[T](), func(data []byte) error {
		return fill(unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(data))), len(data)/int(unsafe.Sizeof(*new(T)))))
	})
}

// Fill commits a tensor in which every element is value. Integer types take value truncated toward zero, floating-point
// types the nearest number, and Complex64 a number with this real part. Bool is false for 0 and true for every other
// value, also NaN.
//
// Errors: [ErrRange] if the type can't hold the value (300 for uint8, NaN for an integer, 1e300 for float32, infinity
// for Float8E4M3FN); otherwise those of [Segment.Write].
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

// Close ends the use of s: every later call returns [ErrClosed], and so do calls that are parked. When Close returns, s
// has given back the right to write, so that another process can take over, and has closed its descriptors; only where
// a write is still running, the end of that write does both. The memory is given back in the background, and views then
// read as zeros. A shared segment stays there for other processes and under its name, see [Remove]. Closing again does
// nothing. The error is always nil.
func (s *Segment) Close() error {
	s.end(nil)
	return nil
}

// CloseWait is [Segment.Close], but returns only when the memory is given back. It must not be called by a function
// that Update runs.
//
// The error is the system's if the memory could not be given back; it is then freed when s and its views are no longer
// reachable. It is [ErrCUDA] if the memory could not be unregistered, see [Segment.UnregisterCUDA].
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

// LogValue returns what String says as attributes, for [log/slog].
func (s *Segment) LogValue() slog.Value {
	kind, t := s.describe()
	attrs := []slog.Attr{slog.String("kind", kind)}
	if s.name != "" {
		attrs = append(attrs, slog.String("name", s.name))
	}
	return slog.GroupValue(append(attrs, t.attrs()...)...)
}

// describe returns the kind of s, and its tensor if one can be read without waiting.
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
	_ = s.tryRead(&t) // t stays zero if there is no tensor to read now
	if t.mapping == nil {
		t.version = s.sequence()
	}
	return kind, t
}
