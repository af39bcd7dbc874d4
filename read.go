package judemap

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Read returns a view of the tensor, without a copy, a system call or an allocation. It waits until a commit in
// progress has ended.
//
// Errors:
//
//   - [ErrEmpty] if there is no tensor.
//   - [ErrCorrupt] if the header contradicts itself; the error names the field.
//   - [ErrWriterDied], within 100 ms, if the writing process died in the middle of a commit.
//   - [ErrClosed].
func (s *Segment) Read() (t Tensor, err error) {
	err = s.read(context.Background(), &t)
	return t, err
}

func (s *Segment) read(ctx context.Context, t *Tensor) error {
	for range busyAttempts {
		if err := s.tryRead(t); err != ErrBusy {
			return err
		}
	}
	return s.outwait(ctx, func() error { return s.tryRead(t) })
}

// TryRead is [Segment.Read], but returns [ErrBusy] instead of waiting for a commit in progress.
func (s *Segment) TryRead() (t Tensor, err error) {
	err = s.tryRead(&t)
	return t, err
}

// tryRead makes one attempt at a view. It does in Go what the core's Protocol::try_read does, because a call into C
// takes longer than all of it. What is not an ordinary tensor it leaves to the core. Go has no read fence, so every
// word of the header is loaded with sync/atomic, whose loads never move behind a later one. The first load of sequence
// pairs with the end of a commit, and the second with its beginning (include/judemap/seqlock.h).
func (s *Segment) tryRead(t *Tensor) error {
	if !s.open.Load() {
		return ErrClosed
	}
	h := s.mapping.header
	version := load64(&h.sequence)
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
		bytes, overflow = lo, overflow|hi|n>>(bits.UintSize-1)
	}
	length := load64(&h.byte_length)
	if load64(&h.sequence) != version {
		return ErrBusy
	}
	if version == 0 || ndim > MaxDims || size == 0 || overflow != 0 || bytes != length || length > uint64(s.capacity) {
		// No tensor, a corrupt one, or one with a dimension of 0 beside others whose product overflows.
		return s.tryReadSlowly(t)
	}
	t.version, t.ndim, t.dtype = version, ndim, dtype
	s.view(t, length)
	return nil
}

// view makes t a view of length bytes.
func (s *Segment) view(t *Tensor, length uint64) {
	t.data = unsafe.Add(unsafe.Pointer(s.mapping.header), DataOffset)
	t.length = int(length)
	t.mapping = s.mapping // and keeps s.mapping reachable until here, so the loads above did not fault
}

// tryReadSlowly is tryRead done by the core, with all of the core's checks.
func (s *Segment) tryReadSlowly(t *Tensor) error {
	*t = Tensor{}
	field, err := s.mapping.core.tryRead(t)
	runtime.KeepAlive(s.mapping)
	if err != nil {
		return s.readError(err, field, t)
	}
	s.view(t, uint64(t.length))
	return nil
}

// readError adds the details to an error of the core. It clears t except for the version, on which Next parks.
func (s *Segment) readError(err error, field string, t *Tensor) error {
	defer func() { *t = Tensor{version: t.version} }()
	if err != ErrCorrupt && err != ErrCapacity {
		return err
	}
	shape := make([]uint64, min(t.ndim, MaxDims)) // the numbers in the header
	for i := range shape {
		shape[i] = uint64(t.shape[i])
	}
	if err == ErrCapacity {
		return dimensionError(shape)
	}
	return headerError(field, t.ndim, t.dtype, shape, uint64(t.length), int64(s.capacity))
}

// dimensionError says of a header's shape that it can be true, and is none of this machine's.
func dimensionError(shape []uint64) error {
	return fmt.Errorf("%w: a dimension of %v is more than an int of this machine can hold", ErrCapacity, shape)
}

// headerError says which field of a header can't be true, and why.
func headerError(field string, ndim uint32, dtype DType, shape []uint64, length uint64, capacity int64) error {
	switch field {
	case "ndim":
		return fmt.Errorf("%w: ndim is %d, and %d is the most", ErrCorrupt, ndim, MaxDims)
	case "dtype":
		return fmt.Errorf("%w: dtype is %d, which is unknown", ErrCorrupt, uint32(dtype))
	case "shape":
		return fmt.Errorf("%w: shape is %v, whose size in %v overflows", ErrCorrupt, shape, dtype)
	}
	return fmt.Errorf("%w: byte_length is %d, which shape %v of %v does not take, or the segment's %d bytes can't hold",
		ErrCorrupt, length, shape, dtype, capacity)
}

func load32[T ~uint32](p *T) uint32 { return atomic.LoadUint32((*uint32)(unsafe.Pointer(p))) }
func load64[T ~uint64](p *T) uint64 { return atomic.LoadUint64((*uint64)(unsafe.Pointer(p))) }

func (s *handle) sequence() uint64 { return load64(&s.mapping.header.sequence) }

// outwait makes attempts until one of them finds no commit in progress, and parks while there is one. The writer has
// precedence over readers. If a writer of this process leaves no time for an attempt, the reader asks for a turn after
// a while; a writer of another process can't be asked.
func (s *Segment) outwait(ctx context.Context, attempt func() error) error {
	turn := time.Now().Add(turnAfter)
	for {
		seen := s.sequence()
		err := ErrBusy
		if seen&1 == 0 {
			err = attempt()
		}
		if err != ErrBusy {
			return err
		}
		s.counters.retries.Add(1)
		if err := ctx.Err(); err != nil {
			return err
		}
		wait := time.Duration(-1)
		if s.attached.Load() {
			if wait = time.Until(turn); wait <= 0 {
				return s.takeTurn(ctx, attempt)
			}
		}
		if seen&1 != 0 {
			if err := s.park(ctx, seen, wait); err != nil {
				return err
			}
		}
	}
}

// takeTurn makes an attempt between two writes, when no writer of this process can be in a commit.
func (s *Segment) takeTurn(ctx context.Context, attempt func() error) error {
	s.outrun.Add(1)
	defer s.outrun.Add(-1)
	// A writer that ends a write hands writing over. The ticker is for the case that nobody writes any more.
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !s.writing.TryLock() {
		select {
		case <-s.turn:
		case <-again.C:
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		break
	}
	defer func() { // not letGo, which would hand over to another reader: the next write comes first
		s.writing.Unlock()
		if s.ended.Load() { // see letGo
			s.finish()
		}
	}()
	if !s.open.Load() {
		return ErrClosed
	}
	if err := attempt(); err != ErrBusy {
		return err
	}
	return fmt.Errorf("%w: sequence is %d, and no commit is in progress", ErrCorrupt, s.sequence())
}

// ReadCopy returns a copy of the tensor, which is never torn. It waits until a commit in progress has ended, and tries
// again if a commit began during the copy. A writer of this process that never pauses has to wait for the reader after
// about 10 ms. A writer of another process can't be made to wait: ReadCopy then tries until there is time for a copy,
// or ctx ends.
//
// Errors: those of [Segment.Read]; ctx.Err(); [ErrCapacity] if the tensor is larger than [WithMaxBytes] allows.
func (s *Segment) ReadCopy(ctx context.Context) (Tensor, error) {
	var buf []byte
	for {
		var t Tensor
		if err := s.read(ctx, &t); err != nil {
			return Tensor{}, err
		}
		t.mapping = nil // t is about to be a copy, not a view
		if t.length > s.maxBytes {
			return Tensor{}, fmt.Errorf("%w: the tensor has %d bytes, and a copy %d at most; see WithMaxBytes", ErrCapacity,
				t.length, s.maxBytes)
		}
		if buf == nil || t.length > len(buf) {
			buf = make([]byte, t.length)
		}
		// If the tensor has grown since, do it once more with the new size.
		if err := s.readInto(ctx, buf, &t); err == nil {
			return t, nil
		} else if err != errShortBuffer {
			return Tensor{}, err
		}
	}
}

// ReadInto copies the tensor into dst, without an allocation; the copy is never torn. The Tensor's data is the
// beginning of dst. If dst is too small, the error wraps io.ErrShortBuffer and says how many bytes are needed. After
// any error the bytes of dst are unspecified. Other errors are those of [Segment.Read].
func (s *Segment) ReadInto(dst []byte) (t Tensor, err error) {
	if err = s.readInto(context.Background(), dst, &t); err != nil {
		t = Tensor{}
		if err == errShortBuffer {
			err = s.shortBuffer(len(dst))
		}
	}
	return t, err
}

func (s *Segment) readInto(ctx context.Context, dst []byte, t *Tensor) error {
	for i, torn := 0, 0; i < busyAttempts && torn < tornAttempts; i++ {
		if !s.open.Load() {
			return ErrClosed
		}
		if s.sequence()&1 != 0 {
			continue
		}
		if err := s.tryReadInto(dst, t); err != ErrBusy {
			return err
		}
		torn++
	}
	return s.outwait(ctx, func() error { return s.tryReadInto(dst, t) })
}

// yieldBytes is the size from which a reader lets other goroutines run after a copy, if one of them may be the writer.
// Readers that copy in a loop would otherwise keep their processors for 10 ms each, and the writer would wait for a
// processor.
const yieldBytes = 256 << 10

// tryReadInto makes one attempt at a copy. t's version is set also when the error is ErrEmpty.
func (s *Segment) tryReadInto(dst []byte, t *Tensor) error {
	field, err := s.mapping.core.tryReadInto(dst, t)
	runtime.KeepAlive(s.mapping)
	if err != nil {
		return s.readError(err, field, t)
	}
	t.data = unsafe.Pointer(unsafe.SliceData(dst))
	s.counters.reads.add()
	if t.length >= yieldBytes && s.attached.Load() {
		runtime.Gosched()
	}
	return nil
}

// errShortBuffer is the core's error; shortBuffer and tooShort add the numbers.
var errShortBuffer = io.ErrShortBuffer

// tooShort returns io.ErrShortBuffer with the numbers.
func tooShort(bytes, room int) error {
	return fmt.Errorf("judemap: the tensor has %d bytes, and there is room for %d: %w", bytes, room, io.ErrShortBuffer)
}

func (s *Segment) shortBuffer(size int) error {
	t, err := s.Read()
	if err != nil {
		return err
	}
	return tooShort(t.length, size)
}

// viewsInPlace is how often View looks at the tensor in place before it makes a copy.
const viewsInPlace = 8

// scratch has Tensors for View to use: their shapes are passed to its callers.
var scratch = sync.Pool{New: func() any { return new(Tensor) }}

// View calls use with the tensor's shape and elements until one call has seen one whole tensor, and returns that call's
// error. use sees the elements in place, without a copy. If a commit begins meanwhile, View calls use again with the
// new tensor, so use must start afresh each time, and its result counts only once View returns. use must not write to
// the slices and must not keep them. If the writer is so quick that no call ends in time, View makes a copy, and calls
// use with that.
//
// Errors: those of [Segment.ReadCopy]; [ErrDType] if T is not the type of the tensor's elements; the error of use.
func View[T Element](ctx context.Context, s *Segment, use func(shape []int, data []T) error) error {
	t := scratch.Get().(*Tensor)
	defer func() {
		*t = Tensor{}
		scratch.Put(t)
	}()
	for range viewsInPlace {
		if err := s.read(ctx, t); err != nil {
			return err
		}
		err := viewOnce(t, use)
		if t.Valid() {
			s.counters.reads.add()
			return err
		}
		s.counters.retries.Add(1)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	var err error
	if *t, err = s.ReadCopy(ctx); err != nil {
		return err
	}
	return viewOnce(t, use)
}

func viewOnce[T Element](t *Tensor, use func(shape []int, data []T) error) error {
	data, err := Slice[T](t)
	if err != nil {
		return err
	}
	return use(t.Shape(), data)
}

// ReadWait is [Segment.Read], but where that returns [ErrEmpty] it parks until something is committed. When ctx ends it
// returns ctx.Err(), and when s is closed [ErrClosed].
//
// If the writing process dies, ReadWait returns [ErrWriterDied] within 100 ms, once there is nothing newer to read.
// Every later call that would park returns it too, until another process writes: to wait for that process, call again
// after a pause. A writer that closes its Segment has not died, and readers then wait for the next writer.
func (s *Segment) ReadWait(ctx context.Context) (Tensor, error) {
	return s.Next(ctx, 0)
}

// ReadCopyWait is [Segment.ReadCopy], but where that returns [ErrEmpty] it parks until something is committed, as
// [Segment.ReadWait] does. Its errors are those of both.
func (s *Segment) ReadCopyWait(ctx context.Context) (Tensor, error) {
	for {
		if _, err := s.Next(ctx, 0); err != nil {
			return Tensor{}, err
		}
		// An Update may fail in between, and leave no tensor to copy.
		if t, err := s.ReadCopy(ctx); err != ErrEmpty {
			return t, err
		}
	}
}

// Next returns a view of the newest tensor whose version is above after, and parks until there is one. Give it the
// version of the tensor that you read last to get the next one; tensors that were overwritten meanwhile are skipped.
// Errors are those of [Segment.ReadWait].
func (s *Segment) Next(ctx context.Context, after uint64) (t Tensor, err error) {
	if err = s.next(ctx, after, &t, nil, false); err != nil {
		return Tensor{}, err
	}
	s.counters.reads.add()
	return t, nil
}

// next parks until there is a tensor whose version is above after. It makes t a view of that tensor, or, with copied, a
// copy of it in dst.
func (s *Segment) next(ctx context.Context, after uint64, t *Tensor, dst []byte, copied bool) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		if !s.open.Load() {
			return ErrClosed
		}
		seen := s.sequence()
		if seen > after || seen&1 != 0 { // if odd, read and readInto wait for the end of the commit
			if copied {
				err = s.readInto(ctx, dst, t)
			} else {
				err = s.read(ctx, t)
			}
			if err == nil && t.version > after || err != nil && err != ErrEmpty {
				return err
			}
			seen = t.version
		}
		if err := s.park(ctx, seen, -1); err != nil {
			return err
		}
	}
}

// NextInto is [Segment.Next], but copies the tensor into dst, as [Segment.ReadInto] does. It allocates nothing unless
// it has to park. Its errors are those of both.
func (s *Segment) NextInto(ctx context.Context, after uint64, dst []byte) (t Tensor, err error) {
	err = s.next(ctx, after, &t, dst, true)
	if err == errShortBuffer {
		err = s.shortBuffer(len(dst))
	}
	if err != nil {
		return Tensor{}, err
	}
	return t, nil
}

// Frames returns the tensors that are committed from now on, as views. A consumer that is slower than the writer gets
// the newest tensor each time and misses those in between. [Tensor.Valid] says whether the view was whole until the
// consumer was done with it. An error, such as the end of ctx, [ErrClosed] or [ErrWriterDied], comes as the last pair.
func (s *Segment) Frames(ctx context.Context) iter.Seq2[Tensor, error] {
	after := s.Version() &^ 1 // a commit in progress now counts as new
	return func(yield func(Tensor, error) bool) {
		for after := after; ; {
			t, err := s.Next(ctx, after)
			if !yield(t, err) || err != nil {
				return
			}
			after = t.version
		}
	}
}
