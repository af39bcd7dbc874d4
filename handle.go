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

// A handle is what a [Segment] and a [Stream] have in common: the mapping, the file behind it, the right to write, the
// parked readers, and closing.
type handle struct {
	// These fields are read by every call and seldom changed.
	mapping  *mapping
	capacity int
	maxBytes int    // the most bytes of a copy that ReadCopy and View make
	name     string // "" if there is none
	shared   bool   // other processes may have it too
	readOnly bool
	spin     time.Duration // how long a wait for another process spins before it parks
	open     atomic.Bool
	ended    atomic.Bool   // s is closed, and end has called its giveBack
	attached atomic.Bool   // no other process can write: s is not shared, or s is the writer
	turn     chan struct{} // see writing
	released chan struct{} // closed when the memory is given back
	closeErr error         // set before released is closed

	_ cacheLine // the fields below change with every commit or wait, and lie on other cache lines

	// writing is held by the one goroutine that writes, or by a reader that has its turn. A reader that commits have
	// kept from reading for too long counts itself in outrun. A writer that ends then hands writing, still locked, to
	// one such reader by sending on turn.
	writing  sync.Mutex
	outrun   atomic.Int32
	finished bool // other processes no longer see anything of s; guarded by writing

	_        cacheLine
	waiters  waiters
	counters counters

	// pinning is held by Pin, RegisterCUDA and their opposites, and while the memory is given back.
	pinning sync.Mutex
	pinned  atomic.Bool // stored with pinning held
}

// cacheLine separates the fields before it from those after it. It has 128 bytes, because processors fetch cache lines
// in pairs.
type cacheLine [128]byte

// init makes the zero handle a handle of the core's c.
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

// Version returns the segment's sequence number: 0 before the first commit, 2 more after each commit, and odd while a
// commit is in progress. It is 0 once s is closed.
func (s *handle) Version() uint64 {
	if !s.open.Load() {
		return 0
	}
	version := s.sequence()
	runtime.KeepAlive(s.mapping)
	return version
}

// ByteCapacity returns how many bytes of tensor s has room for; for a stream, how many each slot has. It is what the
// maker asked for. A segment of the Node addon does not record that, and ByteCapacity then is the size of all that lies
// behind the header.
func (s *handle) ByteCapacity() int { return s.capacity }

// Name returns the name under which other processes find s. It is "" for a segment of [New] or [OpenFile], which has
// none.
func (s *handle) Name() string { return s.name }

// end closes s. It calls giveBack, unless that is nil, before other processes see that s is closed.
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

// awaitRelease waits until the memory of a closed handle is given back, and returns the error if that failed.
func (s *handle) awaitRelease() error {
	if s.mapping == nil { // the zero handle
		return nil
	}
	<-s.released
	return s.closeErr
}

// finish gives back what other processes see of a closed Segment. It does nothing while a write is running: that write
// calls finish when it ends.
func (s *handle) finish() {
	if !s.writing.TryLock() {
		return
	}
	defer s.writing.Unlock()
	if s.finished {
		return
	}
	s.finished = true
	s.waiters.mu.Lock() // so that File does not use a descriptor that close has closed
	removeWatch(s.mapping.owned)
	s.mapping.core.close()
	s.waiters.mu.Unlock()
	go s.giveBack()
}

// giveBack gives the memory back.
func (s *handle) giveBack() {
	s.pinning.Lock()
	// Unregister first, because retire would do it too but returns no text for its error.
	cudaErr := s.mapping.core.unregisterCUDA()
	s.closeErr = s.mapping.core.retire()
	if cudaErr != nil {
		s.closeErr = cudaErr
	}
	s.pinned.Store(false)
	s.pinning.Unlock()
	s.mapping.core.wake() // for a thread that parked after the last wake and had not yet seen the end
	s.mapping.closed()
	runtime.KeepAlive(s.mapping)
	close(s.released)
}

// lockWriting takes the right to write among the goroutines of this process. The core takes the right among processes.
func (s *handle) lockWriting() error {
	if !s.open.Load() { // closed, or the zero Segment: nothing to wait for
		return ErrClosed
	}
	s.writing.Lock()
	if !s.open.Load() {
		s.unlockWriting()
		return ErrClosed
	}
	return nil
}

// attach notes that a commit has begun, which makes s the writer.
func (s *handle) attach() {
	if !s.attached.Load() {
		s.attached.Store(true)
	}
}

// unlockWriting ends a write, successful or not, and wakes the parked readers.
func (s *handle) unlockWriting() {
	s.letGo()
	s.waiters.wake()
}

// letGo gives up the right to write among goroutines. A reader that waits for its turn gets it, if there is one. letGo
// finishes s if Close was called meanwhile.
func (s *handle) letGo() {
	if s.outrun.Load() != 0 {
		select {
		case s.turn <- struct{}{}:
			return
		default:
		}
	}
	s.writing.Unlock()
	// ended is loaded after the unlock. Close stores ended and then tries to lock, so at least one of the two sees the
	// other.
	if s.ended.Load() {
		s.finish()
	}
}

// writeError says why the core refused a tensor of this shape and type. length is that of the data in bytes, or -1 if
// the call had no data.
func (s *handle) writeError(err error, shape []int, dtype DType, length int) error {
	// Print a clone of the shape, so that the caller's slice does not escape to the heap.
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

// Stats counts what was done through one Segment or Stream. Every Segment has its own counts, also where several have
// one name.
type Stats struct {
	Commits uint64 // commits that ended, also those of a failed Update of a Segment
	Reads   uint64 // tensors that were read
	Retries uint64 // attempts to read that failed because of a commit
	Parks   uint64 // times that a reader parked
	Wakes   uint64 // times that a commit woke parked readers; those of this Segment and all others count as one each
}

// Stats returns the counts since s was made or opened. Other goroutines may go on meanwhile, so the counts need not be
// of the same moment.
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

// counters has the counts that neither the core nor waiters keep.
type counters struct {
	reads   striped
	retries atomic.Uint64
}

// striped is a counter in several cache lines, so that readers on several processors seldom write to the same one.
type striped [8]struct {
	n atomic.Uint64
	_ [56]byte
}

func (c *striped) add() {
	// The address of a local variable tells goroutines apart: each has a stack of its own, of 2 KiB at least.
	var here byte
	c[uintptr(unsafe.Pointer(&here))>>11%uintptr(len(c))].n.Add(1)
}

func (c *striped) load() (sum uint64) {
	for i := range c {
		sum += c[i].n.Load()
	}
	return sum
}
