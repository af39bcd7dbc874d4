// Package judemap shares tensors in memory between goroutines, languages and processes, without copying them.
//
// A [Segment] is a memory mapping with a 256-byte header and one tensor behind it. One writer at a time commits
// tensors to it under a seqlock; any number of readers take them, as views without a copy or as copies that are never
// torn, and readers with nothing to read park at no cost until the next commit wakes them:
//
//	s, err := judemap.New(1 << 20)                         // room for 1 MiB of tensor
//	err = judemap.WriteSlice(s, []int{2, 3}, []float32{1, 2, 3, 4, 5, 6})
//	t, err := s.Read()                                     // a view: no copy, no system call, no allocation
//	values, err := judemap.Slice[float32](&t)
//	sum := add(values)
//	if !t.Valid() { … }                                    // a commit began meanwhile: sum is of no use, read again
//
// # Views and copies
//
// [Segment.Read], [Segment.TryRead], [Segment.ReadWait], [Segment.Next] and [Segment.Frames] return views: the tensor's
// data is the segment's own memory, and the next commit overwrites it. Use the view, then ask [Tensor.Valid] whether
// what was seen is good. Writing to a view is an error that nothing catches. [Segment.ReadCopy],
// [Segment.ReadCopyWait] and [Segment.ReadInto] return copies, each taken inside the section that the seqlock
// validates.
//
// A view of a closed segment reads zeros and is not valid. It never faults as long as its [Tensor] or its Segment is
// reachable; the slice that [Tensor.Data] returns does not count, because the garbage collector does not follow it.
// Where the slice outlives the Tensor in a function, end with runtime.KeepAlive(&t), or ask t.Valid(), which does the
// same.
//
// # Between processes
//
// [Create] gives a segment a name under which others [Open] it; one of [New] with [WithSealed] has none and is handed
// over as a file, [Segment.File] and [OpenFile]. The process that writes first is the writer until it closes its Segment
// or ends: meanwhile others get [ErrWriterActive]. If it is killed, readers get [ErrWriterDied] and not half a tensor,
// and the next process that writes takes over. Readers park in the kernel and are woken by every process's commits; a
// writer that finds nobody parked makes no system call.
//
// # Layout
//
// The bytes of a segment are those of the Node addon jude-map. The headers under include/judemap give the same segment
// to C and C++.
package judemap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
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
	// ErrWriterDied: the writing process died. From a call that reads: in the middle of a commit, so that there is
	// nothing to read; from one that waits: and nothing newer is there.
	ErrWriterDied = errors.New("judemap: the segment's writer died; another process may take over by writing")
	// ErrWriterActive: another process, or another Segment of this one, writes to this segment, until it closes or dies.
	ErrWriterActive = errors.New("judemap: another process is the segment's writer")
	// ErrUnsupported: this platform, or this build of the program, can't do it.
	ErrUnsupported = errors.New("judemap: unsupported")
)

// errShortBuffer is io.ErrShortBuffer, until ReadInto adds the numbers.
var errShortBuffer = io.ErrShortBuffer

// An Option changes how a segment is made.
type Option func(*options)

type options struct {
	hugePages bool
	sealed    bool
	foreign   bool
	readOnly  bool
	mode      fs.FileMode
	poll      time.Duration // 0: the core's
}

func newOptions(opts []Option) *options {
	o := &options{hugePages: true, mode: 0o600}
	for _, opt := range opts {
		opt(o)
	}
	return o
}

// WithHugePages says whether the system is advised to back a segment of 2 MiB or more with huge pages, where it has
// them (Linux). The default is true: it makes large segments faster to touch and to give back, for up to 2 MiB of
// memory that isn't used.
func WithHugePages(advise bool) Option {
	return func(o *options) { o.hugePages = advise }
}

// A Segment is a memory mapping that holds one tensor at a time. Its methods may be called from any goroutine.
//
// Close it when it is no longer needed: its memory is not the garbage collector's, which gives it back only when
// neither the Segment nor a Tensor of it can be reached any more.
type Segment struct {
	mapping  *mapping
	capacity int
	name     string // "" if there is none
	shared   bool   // other processes may have it too
	closed   atomic.Bool
	waiters  waiters

	// writing is held by the one goroutine that writes, and by readers that a writer who never pauses has outrun.
	writing sync.Mutex
	// pinning orders Pin and Unpin with the memory's end.
	pinning sync.Mutex

	closing  sync.Once
	closeErr error         // set before released is closed
	released chan struct{} // closed when the memory is given back
}

// mapping owns a range of addresses. Segments and views of it keep it reachable; it is unmapped when none is left.
type mapping struct {
	core   core
	header *header
}

// metadata is what a header says of its tensor.
type metadata struct {
	ndim       uint32
	dtype      DType
	shape      [MaxDims]uint64
	byteLength uint64
}

// New makes a segment with room for capacity bytes of tensor, in memory of this process alone, or with [WithSealed] in
// memory that can be handed to others.
//
// Errors: [ErrCapacity] if capacity is not positive, or too large to be a size; the system's error (as in
// syscall.ENOMEM) if it has no memory or address space for it; [ErrUnsupported] in a build without cgo.
func New(capacity int, opts ...Option) (*Segment, error) {
	o := newOptions(opts)
	if err := checkCapacity(capacity); err != nil {
		return nil, err
	}
	c, err := newCore(capacity, o)
	if err != nil {
		return nil, makeError(err, fmt.Sprintf("mapping a segment of %d bytes", capacity), capacity)
	}
	return newSegmentOf(c, "", o.sealed, o), nil
}

func newSegmentOf(c core, name string, shared bool, o *options) *Segment {
	if o.poll > 0 {
		c.setPoll(o.poll)
	}
	m := &mapping{core: c, header: c.base()}
	runtime.AddCleanup(m, core.free, c)
	return &Segment{mapping: m, capacity: c.capacity(), name: name, shared: shared, released: make(chan struct{})}
}

func checkCapacity(capacity int) error {
	if capacity <= 0 {
		return fmt.Errorf("%w: %d bytes asked for; a segment holds at least 1", ErrCapacity, capacity)
	}
	return nil
}

// makeError says why making a segment failed. doing is what was being done, with the numbers.
func makeError(err error, doing string, capacity int) error {
	if errors.Is(err, ErrCapacity) {
		return fmt.Errorf("%w: %d bytes and the header of %d are more than can be addressed", ErrCapacity, capacity, DataOffset)
	}
	return fmt.Errorf("judemap: %s: %w", doing, err)
}

// Write commits a copy of data as a tensor of this shape (in elements, row-major) and type. It waits for other writers
// of the Segment, and allocates nothing.
//
// Errors, after which the previous tensor is still there: [ErrDType] if dtype is unknown; [ErrShape] if the rank is
// above [MaxDims], a dimension is negative, the size overflows, or len(data) is another; [ErrCapacity] if the tensor is
// larger than the segment; [ErrClosed]; in a shared segment [ErrWriterActive] if another process writes to it, and
// fs.ErrPermission if it was opened read-only.
func (s *Segment) Write(shape []int, dtype DType, data []byte) error {
	if err := s.checkTensor(shape, dtype, len(data)); err != nil {
		return err
	}
	s.writing.Lock()
	err := s.mapping.core.write(shape, dtype, data)
	s.unlockWriting()
	return err
}

// WriteSlice is [Segment.Write] for a slice of elements.
func WriteSlice[T Element](s *Segment, shape []int, data []T) error {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(*new(T))))
	return s.Write(shape, DTypeOf[T](), bytes)
}

// Update commits a tensor that fill writes in place, without a copy. fill gets the tensor's bytes, in the segment, as
// the previous tensor left them; it must not keep them, and must not call methods of s other than TryRead, Version and
// the ones that only say something of s: readers and other writers wait for it.
//
// If fill fails or panics, the error or panic reaches the caller, and readers get [ErrEmpty] until the next commit:
// the previous tensor is gone, and half a tensor is never seen. Other errors are those of [Segment.Write].
func (s *Segment) Update(shape []int, dtype DType, fill func(data []byte) error) error {
	if err := s.checkTensor(shape, dtype, -1); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.unlockWriting()
	data, err := s.mapping.core.begin(shape, dtype)
	if err != nil {
		return err
	}
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

// Fill commits a tensor whose every element is value: truncated toward zero for integers, the nearest for floats, the
// real part for Complex64; for Bool 0 is false, and all else true, NaN too.
//
// Errors: [ErrRange] if the type can't hold the value (300 for uint8, NaN for an integer, 1e300 for float32, infinity
// for Float8E4M3FN); else those of [Segment.Write].
func (s *Segment) Fill(shape []int, dtype DType, value float64) error {
	if err := s.checkTensor(shape, dtype, -1); err != nil {
		return err
	}
	s.writing.Lock()
	err := s.mapping.core.fill(shape, dtype, value)
	s.unlockWriting()
	if errors.Is(err, ErrRange) {
		return fmt.Errorf("%w: %v can't hold %v", ErrRange, dtype, value)
	}
	return err
}

// checkTensor says whether a tensor of this shape and type can be written from length bytes of data, or from any
// number if length is negative.
func (s *Segment) checkTensor(shape []int, dtype DType, length int) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if dtype.Size() == 0 {
		return fmt.Errorf("%w: %v is unknown", ErrDType, dtype)
	}
	// The errors print clones of the shape, so that the caller's does not escape to the heap.
	if len(shape) > MaxDims {
		return fmt.Errorf("%w: %v has %d dimensions, and %d are the most", ErrShape, slices.Clone(shape), len(shape), MaxDims)
	}
	for _, n := range shape {
		if n < 0 {
			return fmt.Errorf("%w: %v has a negative dimension", ErrShape, slices.Clone(shape))
		}
	}
	bytes, ok := tensorBytes(shape, dtype)
	switch {
	case !ok:
		return fmt.Errorf("%w: the size of %v of %v overflows", ErrShape, slices.Clone(shape), dtype)
	case length >= 0 && uint64(length) != bytes:
		return fmt.Errorf("%w: %v of %v takes %d bytes, and the data has %d", ErrShape, slices.Clone(shape), dtype, bytes,
			length)
	case bytes > uint64(s.capacity):
		return fmt.Errorf("%w: %v of %v takes %d bytes, and the segment has room for %d", ErrCapacity, slices.Clone(shape),
			dtype, bytes, s.capacity)
	}
	return nil
}

// unlockWriting ends a write, whatever became of it, and wakes the parked readers.
func (s *Segment) unlockWriting() {
	s.writing.Unlock()
	s.waiters.wake()
}

// How often a read tries by itself before it waits for its turn among the writers. Attempts at a view cost
// nanoseconds, so short commits are waited out; a torn attempt at a copy costs a copy.
const (
	viewAttempts = 128
	copyAttempts = 4
)

// Read returns a view of the tensor, without a copy, a system call or an allocation. It waits out a commit in
// progress.
//
// Errors: [ErrEmpty] if there is none; [ErrCorrupt], naming the field, if the header can't be true; [ErrWriterDied],
// within 100 ms, if the writing process died in the middle of a commit; [ErrClosed].
func (s *Segment) Read() (t Tensor, err error) {
	err = s.read(context.Background(), &t)
	return t, err
}

func (s *Segment) read(ctx context.Context, t *Tensor) error {
	for range viewAttempts {
		if err := s.tryRead(t); err != ErrBusy {
			return err
		}
	}
	return s.outwait(ctx, func() error { return s.tryRead(t) })
}

// TryRead is [Segment.Read], but returns [ErrBusy] in place of waiting.
func (s *Segment) TryRead() (t Tensor, err error) {
	err = s.tryRead(&t)
	return t, err
}

// tryRead makes one attempt at a view. It stays in Go, since a call into C costs more than all of it. Go has no read
// fence, so that every word of the header is loaded with sync/atomic, whose loads never move behind a later one; the
// first load of sequence pairs with the end of a commit and the second with its beginning (include/judemap/seqlock.h).
func (s *Segment) tryRead(t *Tensor) error {
	if s.closed.Load() {
		return ErrClosed
	}
	h := s.mapping.header
	version := loadSequence(h)
	if version&1 != 0 {
		return ErrBusy
	}
	ndim, dtype := load32(&h.ndim), DType(load32(&h.dtype))
	size := uint64(dtype.Size())
	bytes, overflow := size, uint64(0)
	for i := range min(ndim, MaxDims) {
		n := load64(&h.shape[i])
		t.shape[i] = int(n)
		hi, lo := bits.Mul64(bytes, n)
		bytes, overflow = lo, overflow|hi|n>>63
	}
	length := load64(&h.byte_length)
	if loadSequence(h) != version {
		return ErrBusy
	}
	if version == 0 || ndim > MaxDims || size == 0 || overflow != 0 || bytes != length || length > uint64(s.capacity) {
		// No tensor, a corrupt one, or an empty one whose other dimensions overflow.
		return s.tryReadDoubtful(t, version)
	}
	t.version, t.ndim, t.dtype = version, int32(ndim), dtype
	s.view(t, length)
	return nil
}

// view makes t a view of length bytes.
func (s *Segment) view(t *Tensor, length uint64) {
	t.data = unsafe.Add(unsafe.Pointer(s.mapping.header), DataOffset)
	t.length = int(length)
	t.mapping = s.mapping // also keeps the range mapped up to here
}

// tryReadDoubtful reads metadata that tryRead did not take at once, with all checks. It loads them anew, and takes only
// what it has checked: another process may have changed them.
func (s *Segment) tryReadDoubtful(t *Tensor, version uint64) error {
	h := s.mapping.header
	*t = Tensor{version: version} // Next parks on it when there is no tensor
	var m metadata
	m.ndim, m.dtype = load32(&h.ndim), DType(load32(&h.dtype))
	for i := range min(m.ndim, MaxDims) {
		m.shape[i] = load64(&h.shape[i])
	}
	m.byteLength = load64(&h.byte_length)
	if loadSequence(h) != version {
		return ErrBusy
	}
	if version == 0 || m.ndim == 0 && m.dtype == 0 && m.byteLength == 0 {
		// Nothing was ever written, or the last Update gave up. A tensor of rank 0 has the length of its one element.
		if s.closed.Load() { // a closed range reads as zeros
			return ErrClosed
		}
		return ErrEmpty
	}
	if err := m.check(s.capacity); err != nil {
		return err
	}
	t.set(&m)
	s.view(t, m.byteLength)
	return nil
}

func load32[T ~uint32](p *T) uint32 { return atomic.LoadUint32((*uint32)(unsafe.Pointer(p))) }
func load64[T ~uint64](p *T) uint64 { return atomic.LoadUint64((*uint64)(unsafe.Pointer(p))) }
func loadSequence(h *header) uint64 { return load64(&h.sequence) }

// outwait makes attempts until one of them does not find a commit in progress: first where no writer of this process
// can be in one, then, in a shared segment, parking while another process is.
func (s *Segment) outwait(ctx context.Context, attempt func() error) error {
	s.writing.Lock()
	err := attempt()
	s.writing.Unlock()
	for err == ErrBusy {
		seen := loadSequence(s.mapping.header)
		switch {
		case !s.shared:
			return fmt.Errorf("%w: sequence is %d, odd, and no commit is in progress", ErrCorrupt, seen)
		case seen&1 != 0:
			if err := s.park(ctx, seen); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return ctx.Err()
		}
		err = attempt()
	}
	return err
}

// ReadCopy returns a copy of the tensor, which is never torn. It waits out commits in progress; writers of this
// process that never pause are held off after a few attempts, and those of other processes are tried again until they
// leave the time for a copy. Errors are those of [Segment.Read].
func (s *Segment) ReadCopy() (Tensor, error) { return s.readCopy(context.Background()) }

func (s *Segment) readCopy(ctx context.Context) (Tensor, error) {
	var buf []byte
	for {
		var t Tensor
		if err := s.read(ctx, &t); err != nil {
			return Tensor{}, err
		}
		if buf == nil || t.length > len(buf) {
			buf = make([]byte, t.length)
		}
		// The tensor may have grown since: then once more, with its new size.
		if t, err := s.readInto(ctx, buf); err != errShortBuffer {
			return t, err
		}
	}
}

// ReadInto is [Segment.ReadCopy] into dst, without an allocation. The Tensor's data is the front of dst. If dst is too
// small, the error wraps io.ErrShortBuffer. After an error the bytes of dst are unspecified.
func (s *Segment) ReadInto(dst []byte) (Tensor, error) {
	t, err := s.readInto(context.Background(), dst)
	if err == errShortBuffer {
		return Tensor{}, s.shortBuffer(len(dst))
	}
	return t, err
}

func (s *Segment) readInto(ctx context.Context, dst []byte) (t Tensor, err error) {
	for i, torn := 0, 0; i < viewAttempts && torn < copyAttempts; i++ {
		if s.closed.Load() {
			return t, ErrClosed
		}
		if loadSequence(s.mapping.header)&1 != 0 {
			continue
		}
		if err = s.tryReadInto(dst, &t); err != ErrBusy {
			return t, err
		}
		torn++
	}
	err = s.outwait(ctx, func() error { return s.tryReadInto(dst, &t) })
	return t, err
}

// tryReadInto makes one attempt at a copy.
func (s *Segment) tryReadInto(dst []byte, t *Tensor) error {
	var m metadata
	version, err := s.mapping.core.tryReadInto(dst, &m)
	runtime.KeepAlive(s.mapping)
	if err == nil || err == ErrCorrupt {
		err = m.check(s.capacity) // with the field and the numbers
	}
	if err != nil {
		if err == ErrEmpty && s.closed.Load() {
			return ErrClosed
		}
		return err
	}
	t.version = version
	t.set(&m)
	t.data = unsafe.Pointer(unsafe.SliceData(dst))
	t.length = int(m.byteLength)
	return nil
}

func (s *Segment) shortBuffer(size int) error {
	t, err := s.Read()
	if err != nil {
		return err
	}
	return fmt.Errorf("judemap: the tensor has %d bytes, and dst %d: %w", t.length, size, io.ErrShortBuffer)
}

// check returns nil if a segment of this capacity can hold what m says.
func (m *metadata) check(capacity int) error {
	if m.ndim > MaxDims {
		return fmt.Errorf("%w: ndim is %d, and %d is the most", ErrCorrupt, m.ndim, MaxDims)
	}
	if m.dtype.Size() == 0 {
		return fmt.Errorf("%w: dtype is %d, which is unknown", ErrCorrupt, uint32(m.dtype))
	}
	shape := m.shape[:m.ndim]
	bytes, ok := tensorBytes(shape, m.dtype)
	switch {
	case !ok:
		return fmt.Errorf("%w: shape is %v, whose size in %v overflows", ErrCorrupt, slices.Clone(shape), m.dtype)
	case bytes != m.byteLength:
		return fmt.Errorf("%w: byte_length is %d, and shape %v of %v takes %d", ErrCorrupt, m.byteLength,
			slices.Clone(shape), m.dtype, bytes)
	case bytes > uint64(capacity):
		return fmt.Errorf("%w: byte_length is %d, and the segment has room for %d", ErrCorrupt, bytes, capacity)
	}
	return nil
}

// tensorBytes returns the size of a tensor in bytes, and false if that or a dimension is more than an int can hold. A
// dimension of 0 makes it 0, however large the others are.
func tensorBytes[Dim int | uint64](shape []Dim, dtype DType) (bytes uint64, ok bool) {
	bytes, ok = uint64(dtype.Size()), true
	empty := false
	for _, n := range shape {
		if uint64(n) > math.MaxInt {
			return 0, false
		}
		hi, lo := bits.Mul64(bytes, uint64(n))
		bytes, ok, empty = lo, ok && hi == 0 && lo <= math.MaxInt, empty || n == 0
	}
	if empty {
		return 0, true
	}
	return bytes, ok
}

// Version returns the sequence: 0 before the first commit, 2 more after each, and odd while a commit is in progress.
// It is 0 once s is closed.
func (s *Segment) Version() uint64 {
	if s.closed.Load() {
		return 0
	}
	version := loadSequence(s.mapping.header)
	runtime.KeepAlive(s.mapping)
	return version
}

// ByteCapacity returns the bytes of tensor that s was made for. In a segment without the coordination block (the Node
// addon's) it is all that lies behind the header.
func (s *Segment) ByteCapacity() int { return s.capacity }

// Name returns the name under which other processes find s: "" for a segment of [New] or [OpenFile].
func (s *Segment) Name() string { return s.name }

// Close ends the use of s: it returns at once, parked readers wake with [ErrClosed], and every later call gets that
// error. A write in progress finishes first; then the memory is given back, in the background, and with it the right to
// write to a shared segment, which another process may take over. Views read zeros from then on. A shared segment lives
// on, for others and under its name, see [Remove]. Closing again does nothing. The error is always nil.
func (s *Segment) Close() error {
	s.closing.Do(func() {
		s.closed.Store(true)
		s.waiters.wake()
		go s.release()
	})
	return nil
}

// CloseWait is [Segment.Close], but returns when the memory is given back. The error is the system's, if it could not
// be; the memory then goes when s and its views are no longer reachable. It must not be called by a function that
// Update runs.
func (s *Segment) CloseWait() error {
	err := s.Close()
	<-s.released
	return errors.Join(err, s.closeErr)
}

func (s *Segment) release() {
	s.writing.Lock() // for the last write to finish; the core refuses those that still wait
	s.pinning.Lock()
	s.closeErr = s.mapping.core.retire()
	s.pinning.Unlock()
	s.writing.Unlock()
	runtime.KeepAlive(s.mapping)
	close(s.released)
}

// A Tensor is one consistent snapshot of a segment: a view of its memory, or a copy. While a view is reachable, the
// addresses of its Segment stay reserved. The zero Tensor has no data and is not valid.
type Tensor struct {
	version uint64
	data    unsafe.Pointer
	length  int      // bytes at data
	mapping *mapping // nil if the data is a copy
	ndim    int32
	dtype   DType
	shape   [MaxDims]int
}

// set takes over metadata that were checked.
func (t *Tensor) set(m *metadata) {
	t.ndim, t.dtype = int32(m.ndim), m.dtype
	for i := range m.ndim {
		t.shape[i] = int(m.shape[i])
	}
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
// everything seen there part of one tensor. A copy is always valid.
func (t *Tensor) Valid() bool {
	if t.mapping == nil {
		return t.version != 0
	}
	if loadsReorder {
		// The loads of the data must come before the load of sequence below, and Go has no fence for it. An atomic store
		// is a release: earlier loads come before it; and an atomic load never comes before an earlier atomic store.
		var word uint32
		atomic.StoreUint32(&word, 1)
	}
	valid := loadSequence(t.mapping.header) == t.version
	runtime.KeepAlive(t.mapping)
	return valid
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
