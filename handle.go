package judemap

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// A handle is what a [Segment] and a [Stream] have in common: a mapping, the file behind it, the right to write, parked
// readers, and the end.
type handle struct {
	// What every call looks at, and few change.
	mapping  *mapping
	capacity int
	maxBytes int    // of a copy that is made here
	name     string // "" if there is none
	shared   bool   // other processes may have it too
	readOnly bool
	spin     time.Duration // before a goroutine that waits for another process parks
	open     atomic.Bool
	ended    atomic.Bool   // s is closed, and what end gives back first is given back
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

	// pinning orders Pin, RegisterCUDA, and what undoes them, with the memory's end.
	pinning sync.Mutex
	pinned  atomic.Bool // stored with pinning held
}

// cacheLine keeps its neighbours apart. 128 bytes: processors fetch lines in pairs.
type cacheLine [128]byte

// init makes the zero handle one of a core.
func (s *handle) init(c core, name string, shared bool, o *options) {
	if o.polls {
		c.setPoll(o.poll)
	}
	if o.threads != 0 {
		c.setThreads(o.threads)
	}
	s.mapping, s.capacity, s.maxBytes, s.name, s.shared = newMapping(c), c.capacity(), o.copyLimit(), name, shared
	s.readOnly, s.spin, s.turn, s.released = o.readOnly, o.spin, make(chan struct{}), make(chan struct{})
	s.attached.Store(!shared)
	s.open.Store(true)
}

// Version returns the sequence: 0 before the first commit, 2 more after each, and odd while a commit is in progress.
// It is 0 once s is closed.
func (s *handle) Version() uint64 {
	if !s.open.Load() {
		return 0
	}
	version := s.sequence()
	runtime.KeepAlive(s.mapping)
	return version
}

// ByteCapacity returns the bytes of tensor that s was made for. In a segment without the coordination block (the Node
// addon's) it is all that lies behind the header.
func (s *handle) ByteCapacity() int { return s.capacity }

// Name returns the name under which other processes find s: "" for a segment of [New] or [OpenFile].
func (s *handle) Name() string { return s.name }

// end closes s: giveBack does what there is to do before other processes see no more of it.
func (s *handle) end(giveBack func()) {
	if s.open.CompareAndSwap(true, false) {
		s.waiters.wake()
		if giveBack != nil {
			giveBack()
		}
		s.ended.Store(true)
		s.finish()
	}
}

// awaitRelease waits until the memory of a closed handle is given back, and returns what kept it from that.
func (s *handle) awaitRelease() error {
	if s.mapping == nil { // the zero handle
		return nil
	}
	<-s.released
	return s.closeErr
}

// finish gives back what other processes see of a closed Segment. Where a write is running it does nothing: the write
// calls it when it has ended.
func (s *handle) finish() {
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
func (s *handle) giveBack() {
	s.pinning.Lock()
	// retire would unregister too, and has no words for what is wrong with that.
	cudaErr := s.mapping.core.unregisterCUDA()
	s.closeErr = s.mapping.core.retire()
	if cudaErr != nil {
		s.closeErr = cudaErr
	}
	s.pinned.Store(false)
	s.pinning.Unlock()
	s.mapping.core.wake() // who parked after the last wake, before he could know
	s.mapping.closed()
	runtime.KeepAlive(s.mapping)
	close(s.released)
}

// lockWriting takes the right to write among goroutines. The core takes that among processes.
func (s *handle) lockWriting() error {
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
func (s *handle) attach() {
	if !s.attached.Load() {
		s.attached.Store(true)
	}
}

// unlockWriting ends a write, whatever became of it, and wakes the parked readers.
func (s *handle) unlockWriting() {
	s.letGo()
	s.waiters.wake()
}

// letGo ends the right to write among goroutines: a reader that was outrun for too long gets it, if there is one. It
// ends s if Close was called meanwhile.
func (s *handle) letGo() {
	if s.outrun.Load() != 0 {
		select {
		case s.turn <- struct{}{}:
			return
		default:
		}
	}
	s.writing.Unlock()
	// Loaded after the unlock: Close stores ended, then tries to lock, so one of the two sees the other.
	if s.ended.Load() {
		s.finish()
	}
}

// writeError says why the core refused a tensor of this shape and type, and of length bytes of data; -1: of none.
func (s *handle) writeError(err error, shape []int, dtype DType, length int) error {
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
		return fmt.Errorf("%w: %v of %v takes %d bytes, and there is room for %d", ErrCapacity, shape, dtype, bytes,
			s.capacity)
	case err == ErrWriterActive || err == errReadOnly:
		return err
	}
	return fmt.Errorf("judemap: starting to write: %w", err)
}

// Stats says what was done through one Segment or Stream. Others, also those of the same name, have their own.
type Stats struct {
	Commits uint64 // commits that ended, failed Updates of a Segment included
	Reads   uint64 // tensors that were read
	Retries uint64 // attempts at a read that a commit spoiled
	Parks   uint64 // times that a reader parked
	Wakes   uint64 // times that a commit woke parked readers: once for this Segment's, and once for all others'
}

// Stats returns the counts since s was made or opened. They are taken one by one, while others go on.
func (s *handle) Stats() Stats {
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
