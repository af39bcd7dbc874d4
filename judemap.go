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
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
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

// A Segment is a memory mapping that holds one tensor at a time. Its methods may be called from any goroutine. The zero
// Segment is closed.
//
// Close it when it is no longer needed. The memory of one that is forgotten is given back when neither it nor a Tensor of
// it can be reached any more; but what it had the right to write to is not free before that, and a program that ends
// without Close counts as a writer that died.
type Segment struct {
	// What every call looks at, and few change.
	mapping  *mapping
	capacity int
	maxBytes int    // of a copy that is made here
	name     string // "" if there is none
	shared   bool   // other processes may have it too
	readOnly bool
	open     atomic.Bool
	attached atomic.Bool   // no other process can write: it is not shared, or this Segment is the writer
	turn     chan struct{} // see writing
	released chan struct{} // closed when the memory is given back
	closeErr error         // set before that

	_ cacheLine // what changes with every commit or wait is not on the lines of the above

	// writing is held by the one goroutine that writes, or by a reader whose turn it is: a writer hands writing over, by
	// turn, to a reader that it has outrun for too long. outrun counts those.
	writing  sync.Mutex
	outrun   atomic.Int32
	finished bool // other processes see nothing of s any more; guarded by writing

	_        cacheLine
	waiters  waiters
	counters counters

	// pinning orders Pin and Unpin with the memory's end.
	pinning sync.Mutex
	pinned  atomic.Bool // stored with pinning held
}

// cacheLine keeps its neighbours apart. 128 bytes: processors fetch lines in pairs.
type cacheLine [128]byte

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
	if o.polls {
		c.setPoll(o.poll)
	}
	if o.threads != 0 {
		c.setThreads(o.threads)
	}
	s := &Segment{mapping: newMapping(c), capacity: c.capacity(), maxBytes: o.copyLimit(), name: name, shared: shared,
		readOnly: o.readOnly, turn: make(chan struct{}), released: make(chan struct{})}
	s.attached.Store(!shared)
	s.open.Store(true)
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

// writeError says why the core refused a tensor of this shape and type, and of length bytes of data; -1: of none.
func (s *Segment) writeError(err error, shape []int, dtype DType, length int) error {
	// The errors print clones of the shape, so that the caller's does not escape to the heap.
	shape = slices.Clone(shape)
	bytes, sizeErr := tensorBytes(shape, dtype)
	switch {
	case err == ErrDType:
		return fmt.Errorf("%w: %v is unknown", ErrDType, dtype)
	case err == ErrShape && len(shape) > MaxDims:
		return fmt.Errorf("%w: %v has %d dimensions, and %d are the most", ErrShape, shape, len(shape), MaxDims)
	case err == ErrShape && slices.ContainsFunc(shape, func(n int) bool { return n < 0 }):
		return fmt.Errorf("%w: %v has a negative dimension", ErrShape, shape)
	case err == ErrShape && sizeErr != nil:
		return fmt.Errorf("%w: the size of %v of %v overflows", ErrShape, shape, dtype)
	case length >= 0 && uint64(length) != bytes && (err == ErrShape || err == ErrCapacity):
		return fmt.Errorf("%w: %v of %v takes %d bytes, and the data has %d", ErrShape, shape, dtype, bytes, length)
	case err == ErrCapacity:
		return fmt.Errorf("%w: %v of %v takes %d bytes, and the segment has room for %d", ErrCapacity, shape, dtype, bytes,
			s.capacity)
	case err == ErrWriterActive || err == errReadOnly:
		return err
	}
	return fmt.Errorf("judemap: starting to write: %w", err)
}

// lockWriting takes the right to write among goroutines. The core takes that among processes.
func (s *Segment) lockWriting() error {
	if !s.open.Load() { // the zero Segment has no lock that would end it
		return ErrClosed
	}
	s.writing.Lock()
	if !s.open.Load() {
		s.unlockWriting()
		return ErrClosed
	}
	return nil
}

// attach notes that a commit has begun, and so that s is the writer.
func (s *Segment) attach() {
	if !s.attached.Load() {
		s.attached.Store(true)
	}
}

// unlockWriting ends a write, whatever became of it, and wakes the parked readers.
func (s *Segment) unlockWriting() {
	s.letGo()
	s.waiters.wake()
}

// letGo ends the right to write among goroutines: a reader that was outrun for too long gets it, if there is one. It
// ends s if Close was called meanwhile.
func (s *Segment) letGo() {
	if s.outrun.Load() != 0 {
		select {
		case s.turn <- struct{}{}:
			return
		default:
		}
	}
	s.writing.Unlock()
	// Loaded after the unlock: Close clears open, then tries to lock, so one of the two sees the other.
	if !s.open.Load() {
		s.finish()
	}
}

// Version returns the sequence: 0 before the first commit, 2 more after each, and odd while a commit is in progress.
// It is 0 once s is closed.
func (s *Segment) Version() uint64 {
	if !s.open.Load() {
		return 0
	}
	version := s.sequence()
	runtime.KeepAlive(s.mapping)
	return version
}

// ByteCapacity returns the bytes of tensor that s was made for. In a segment without the coordination block (the Node
// addon's) it is all that lies behind the header.
func (s *Segment) ByteCapacity() int { return s.capacity }

// Name returns the name under which other processes find s: "" for a segment of [New] or [OpenFile].
func (s *Segment) Name() string { return s.name }

// Close ends the use of s: every later call gets [ErrClosed], as do parked readers. When it returns, the right to write
// is given back and another process may take over, and the descriptors are closed; a write that is running does that when
// it ends. The memory is given back in the background, and views read zeros from then on. A shared segment lives on, for
// others and under its name, see [Remove]. Closing again does nothing. The error is always nil.
func (s *Segment) Close() error {
	if s.open.CompareAndSwap(true, false) {
		s.waiters.wake()
		s.finish()
	}
	return nil
}

// CloseWait is [Segment.Close], but returns when the memory is given back. The error is the system's, if it could not
// be; the memory then goes when s and its views are no longer reachable. It must not be called by a function that
// Update runs.
func (s *Segment) CloseWait() error {
	_ = s.Close()
	if s.mapping == nil { // the zero Segment
		return nil
	}
	<-s.released
	return s.closeErr
}

// finish gives back what other processes see of a closed Segment. Where a write is running it does nothing: the write
// calls it when it has ended.
func (s *Segment) finish() {
	if !s.writing.TryLock() {
		return
	}
	defer s.writing.Unlock()
	if s.finished {
		return
	}
	s.finished = true
	s.waiters.mu.Lock() // File must not find a descriptor that is another file's by then
	removeWatch(s.mapping.owned)
	s.mapping.core.close()
	s.waiters.mu.Unlock()
	go s.giveBack()
}

// giveBack gives the memory back.
func (s *Segment) giveBack() {
	s.pinning.Lock()
	s.closeErr = s.mapping.core.retire()
	s.pinned.Store(false)
	s.pinning.Unlock()
	s.mapping.core.wake() // who parked after the last wake, before he could know
	s.mapping.closed()
	runtime.KeepAlive(s.mapping)
	close(s.released)
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

// Stats says what was done through one Segment. Other Segments, also those of the same name, have their own.
type Stats struct {
	Commits uint64 // commits that ended, failed Updates included
	Reads   uint64 // tensors that were read
	Retries uint64 // attempts at a read that a commit spoiled
	Parks   uint64 // times that a reader parked
	Wakes   uint64 // times that a commit woke parked readers: once for this Segment's, and once for all others'
}

// Stats returns the counts since s was made or opened. They are taken one by one, while others go on.
func (s *Segment) Stats() Stats {
	if s.mapping == nil {
		return Stats{}
	}
	commits, wakes := s.mapping.core.stats()
	runtime.KeepAlive(s.mapping)
	s.waiters.mu.Lock()
	parks, groups := s.waiters.parks, s.waiters.wakes
	s.waiters.mu.Unlock()
	return Stats{commits, s.counters.reads.load(), s.counters.retries.Load(), parks, wakes + groups}
}

// counters are what neither the core nor waiters count.
type counters struct {
	reads   striped
	retries atomic.Uint64
}

// striped is a counter that readers on several processors seldom share a cache line of.
type striped [8]struct {
	n atomic.Uint64
	_ [56]byte
}

func (c *striped) add() {
	// Goroutines have stacks of their own, of 2 KiB at least.
	var here byte
	c[uintptr(unsafe.Pointer(&here))>>11%uintptr(len(c))].n.Add(1)
}

func (c *striped) load() (sum uint64) {
	for i := range c {
		sum += c[i].n.Load()
	}
	return sum
}
