package judemap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

const (
	MaxSlots   = 256 // the most slots of a stream; the fewest are 2
	MaxReaders = 64  // the most readers of a stream, over all processes
)

// A Stream has several slots, and each slot holds one tensor, in the same layout as a [Segment]. The writer commits
// frames, each to a slot that nobody uses. A [Reader] holds the slot of the frame that it looks at, so the frame stays
// whole for as long as it is used, while the writer goes on. A slow reader skips frames, or with [WithEveryFrame] the
// writer waits for it.
//
// With at least two slots more than readers the writer always finds a free one. The methods of a Stream may be called
// from any goroutine. The zero Stream is closed. A Stream that is not closed is treated as [Segment] says.
type Stream struct {
	handle
	slots int
	every bool
	slot0 *header // where slot 0 begins
	step  uintptr // bytes from the start of a slot to the next

	// joining is held while a reader joins or leaves, and guards places.
	joining sync.Mutex
	places  map[*place]struct{}

	alarms *alarmKeeper // for writers that wait for a slot
}

// NewStream makes a stream with this number of slots, from 2 to [MaxSlots], each with room for capacity bytes of
// tensor. Its memory belongs to this process alone, or with [WithSealed] it can be handed to other processes. With at
// least two slots more than the frames that all readers hold at a time, the writer always finds a free slot.
//
// Errors:
//
//   - [ErrCapacity] if slots is not from 2 to [MaxSlots], if capacity is not positive, or if both together are too
//     large.
//   - The system's error, such as syscall.ENOMEM, if there is no memory or address space for it.
//   - [ErrUnsupported] in a build without cgo.
func NewStream(slots, capacity int, opts ...Option) (*Stream, error) {
	o, err := newOptions(callNewStream, opts)
	if err != nil {
		return nil, err
	}
	if err := checkSlots(slots); err != nil {
		return nil, err
	}
	c, err := newStreamCore(slots, capacity, o)
	if err != nil {
		return nil, makeStreamError(err, "mapping a stream", slots, capacity)
	}
	return newStreamOf(c, "", o.sealed, o), nil
}

// CreateStream makes a stream that other processes open by its name, as [Create] does for a segment. A segment and a
// stream can't have the same name.
//
// Errors: those of [NewStream] and [Create].
func CreateStream(name string, slots, capacity int, opts ...Option) (*Stream, error) {
	o, err := newOptions(callCreateStream, opts)
	if err != nil {
		return nil, err
	}
	return createStream(name, slots, capacity, o)
}

func createStream(name string, slots, capacity int, o *options) (*Stream, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if err := checkSlots(slots); err != nil {
		return nil, err
	}
	c, err := createStreamCore(name, slots, capacity, o)
	if err != nil {
		return nil, makeStreamError(nameError(err, name), fmt.Sprintf("creating stream %q", name), slots, capacity)
	}
	return newStreamOf(c, name, true, o), nil
}

// OpenStream opens a stream that [CreateStream] or a C++ program made, by its name. A stream that is opened
// [WithReadOnly] is read as copies, see [Stream.Reader].
//
// Errors: those of [Open]; [ErrCorrupt] also if the name is that of a segment.
func OpenStream(name string, opts ...Option) (*Stream, error) {
	o, err := newOptions(callOpenStream, opts)
	if err != nil {
		return nil, err
	}
	return openStream(name, o)
}

func openStream(name string, o *options) (*Stream, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	c, why, err := openStreamCore(name, o)
	if err != nil {
		return nil, openError(nameError(err, name), fmt.Sprintf("stream %q", name), why)
	}
	return newStreamOf(c, name, true, o), nil
}

// OpenStreamFile opens the stream in a file, as [OpenFile] does for a segment. Another process gets such a file from
// [Stream.File] and passes it on. Errors: those of [OpenFile].
func OpenStreamFile(f *os.File, opts ...Option) (*Stream, error) {
	o, err := newOptions(callOpenStreamFile, opts)
	if err != nil {
		return nil, err
	}
	c, err := openFileWith(f, "stream", o, openStreamFileCore)
	if err != nil {
		return nil, err
	}
	return newStreamOf(c, "", true, o), nil
}

// OpenOrCreateStream opens the stream of this name, or creates it if there is none. It is for a producer that may be
// started again. It takes the options of [CreateStream]. Those that only a new stream can have, such as [WithMode],
// have no effect if the stream exists.
//
// Errors: those of [OpenStream] and [CreateStream], except fs.ErrExist and fs.ErrNotExist; and if the stream exists:
//
//   - [ErrCapacity] if it has fewer slots, or slots with less room.
//   - fs.ErrInvalid if it was made [WithEveryFrame] and this call has not that option, or the reverse.
//
// In both cases [Remove] the stream, if nobody needs it any more, and call again.
func OpenOrCreateStream(name string, slots, capacity int, opts ...Option) (*Stream, error) {
	o, err := newOptions(callOpenOrCreateStream, opts)
	if err != nil {
		return nil, err
	}
	for {
		s, err := openStream(name, o)
		if errors.Is(err, fs.ErrNotExist) {
			if s, err = createStream(name, slots, capacity, o); errors.Is(err, fs.ErrExist) {
				continue // another process was quicker
			}
			return s, err
		}
		switch {
		case err != nil:
			return nil, err
		case s.slots < slots || slots < 2 || s.capacity < capacity || capacity <= 0:
			err = fmt.Errorf("%w: stream %q is there, with %d slots of %d bytes, and %d of %d are asked for", ErrCapacity, name,
				s.slots, s.capacity, slots, capacity)
		case s.every != o.everyFrame:
			err = fmt.Errorf("judemap: stream %q is there, and WithEveryFrame is %v for it: %w", name, s.every, fs.ErrInvalid)
		default:
			return s, nil
		}
		_ = s.Close()
		return nil, err
	}
}

func newStreamOf(c core, name string, shared bool, o *options) *Stream {
	s := &Stream{slots: c.slots(), every: c.everyFrame(), slot0: c.slot(0), places: make(map[*place]struct{}),
		alarms: new(alarmKeeper)}
	s.step = uintptr(unsafe.Pointer(c.slot(1))) - uintptr(unsafe.Pointer(s.slot0))
	s.init(c, name, shared, o)
	runtime.AddCleanup(s, (*alarmKeeper).end, s.alarms)
	return s
}

func checkSlots(slots int) error {
	if slots < 2 || slots > MaxSlots {
		return fmt.Errorf("%w: %d slots asked for; a stream has 2 to %d", ErrCapacity, slots, MaxSlots)
	}
	return nil
}

// makeStreamError says why making a stream failed. doing says what was tried, as in "mapping a stream".
func makeStreamError(err error, doing string, slots, capacity int) error {
	switch {
	case err == ErrCapacity && capacity <= 0:
		return fmt.Errorf("%w: slots of %d bytes asked for; a slot holds at least 1", ErrCapacity, capacity)
	case err == ErrCapacity:
		return fmt.Errorf("%w: %d slots of %d bytes are more than can be addressed", ErrCapacity, slots, capacity)
	}
	return fmt.Errorf("judemap: %s of %d slots of %d bytes: %w", doing, slots, capacity, err)
}

// errNoSlot and errNoPlace are the core's errors when no slot can be written to, and when no reader can join.
var (
	errNoSlot  = errors.New("judemap: no slot of the stream is free")
	errNoPlace = fmt.Errorf("%w: the stream has %d readers, and can't have more", ErrCapacity, MaxReaders)
)

// ---- Writing

// Write commits a copy of data as the next frame: a tensor of this shape (in elements, row-major) and type. It waits
// for other writers of the Stream. It also waits while no slot can be written to: that is while readers hold all of
// them, or in a stream [WithEveryFrame] have not yet read what is in them. It allocates nothing.
//
// Errors: those of [Segment.Write]; ctx.Err(), wrapped in an error that says which readers the writer waits for. After
// an error no frame was committed.
func (s *Stream) Write(ctx context.Context, shape []int, dtype DType, data []byte) error {
	return s.untilSlot(ctx, func() error { return s.tryWrite(shape, dtype, data) })
}

// untilSlot makes attempts until one of them finds a slot to write to.
func (s *Stream) untilSlot(ctx context.Context, attempt func() error) error {
	for begun := (time.Time{}); ; {
		if err := attempt(); err != errNoSlot {
			return err
		}
		if err := s.awaitSlot(ctx, &begun); err != nil {
			return err
		}
	}
}

// tryWrite, tryFill and tryUpdate make one attempt each. The error is errNoSlot if no slot can be written to.

func (s *Stream) tryWrite(shape []int, dtype DType, data []byte) error {
	if err := s.lockWriting(); err != nil {
		return err
	}
	defer s.unlockWriting()
	if err := s.mapping.core.streamWrite(shape, dtype, data); err != nil {
		return s.refused(err, shape, dtype, len(data))
	}
	s.attach()
	return nil
}

func (s *Stream) tryFill(shape []int, dtype DType, value float64) error {
	if err := s.lockWriting(); err != nil {
		return err
	}
	defer s.unlockWriting()
	if err := s.mapping.core.streamFill(shape, dtype, value); err != nil {
		if err == ErrRange {
			return fmt.Errorf("%w: %v can't hold %v", ErrRange, dtype, value)
		}
		return s.refused(err, shape, dtype, -1)
	}
	s.attach()
	return nil
}

// refused adds the details to the core's error for a frame. It returns errNoSlot as it is.
func (s *Stream) refused(err error, shape []int, dtype DType, length int) error {
	if err == errNoSlot {
		s.attach()
		return err
	}
	return s.writeError(err, shape, dtype, length)
}

// StreamSlice is [Stream.Write] for a slice of elements; T gives the element type.
func StreamSlice[T Element](ctx context.Context, s *Stream, shape []int, data []T) error {
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), len(data)*int(unsafe.Sizeof(*new(T))))
	return s.Write(ctx, shape, DTypeOf[T](), bytes)
}

// Update commits a frame that fill writes in place, without a copy. fill gets the bytes of a slot, which still hold an
// older frame. It must not keep the slice after it returns, and it must not write to s. Other writers wait while fill
// runs; readers do not.
//
// If fill fails or panics, the error or panic reaches the caller, and no frame is committed. Other errors are those of
// [Stream.Write].
func (s *Stream) Update(ctx context.Context, shape []int, dtype DType, fill func(data []byte) error) error {
	return s.untilSlot(ctx, func() error { return s.tryUpdate(shape, dtype, fill) })
}

func (s *Stream) tryUpdate(shape []int, dtype DType, fill func(data []byte) error) error {
	if err := s.lockWriting(); err != nil {
		return err
	}
	defer s.unlockWriting()
	data, err := s.mapping.core.streamBegin(shape, dtype)
	if err != nil {
		return s.refused(err, shape, dtype, -1)
	}
	s.attach()
	filled := false
	defer func() { // also when fill panics or ends the goroutine
		if filled {
			s.mapping.core.streamCommit()
		} else {
			s.mapping.core.streamAbort()
		}
	}()
	if err := fill(data); err != nil {
		return err
	}
	filled = true
	return nil
}

// Fill commits a frame in which every element is value, by the rules of [Segment.Fill]. Errors: those of [Segment.Fill]
// and [Stream.Write].
func (s *Stream) Fill(ctx context.Context, shape []int, dtype DType, value float64) error {
	return s.untilSlot(ctx, func() error { return s.tryFill(shape, dtype, value) })
}

// awaitSlot waits until a slot may be free. It first spins, for as long as WithSpin says, counted from begun; then it
// parks.
func (s *Stream) awaitSlot(ctx context.Context, begun *time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("judemap: no slot of the stream is free: %s: %w", s.holders(), err)
	}
	if s.spin > 0 && runtime.GOMAXPROCS(0) > 1 {
		if begun.IsZero() {
			*begun = time.Now()
		}
		if time.Since(*begun) < s.spin {
			return nil
		}
	}
	seen, err := s.announce()
	if err != errNoSlot {
		return err
	}
	if !takeThread() {
		// Poll instead of parking, because a thread that blocks in C would keep the only processor.
		time.Sleep(100 * time.Microsecond)
		return nil
	}
	defer threadsParked.Add(-1)
	a := s.alarms.take()
	a.set(ctx, s.mapping.core, core.wakeWriter)
	defer s.alarms.keep(a)
	if ctx.Err() == nil && s.open.Load() {
		_ = s.mapping.core.parkWriter(seen)
	}
	return nil
}

// announce makes readers that give back a slot wake this process. If it returns errNoSlot, park with seen. If it
// returns nil, a slot has become free.
func (s *Stream) announce() (seen uint32, err error) {
	if err := s.lockWriting(); err != nil {
		return 0, err
	}
	defer s.letGo()
	return s.mapping.core.announceWriter()
}

// holders returns a text that says which readers a writer waits for.
func (s *Stream) holders() string {
	var text []string
	newest := s.Version()
	for _, r := range s.allReaders() {
		var what []string
		if r.joins() {
			what = append(what, "is still joining")
		}
		if r.Held != 0 {
			what = append(what, fmt.Sprintf("holds %d of the %d slots", r.Held, s.slots))
		}
		if s.every && !r.joins() && r.Next <= newest {
			what = append(what, fmt.Sprintf("has yet to take %d frames", (newest-r.Next)/2+1))
		}
		if len(what) != 0 {
			text = append(text, fmt.Sprintf("reader %d (process %d) %s", r.Number, r.Process, strings.Join(what, " and ")))
		}
	}
	if len(text) == 0 {
		return "readers held all of them a moment ago"
	}
	return strings.Join(text, "; ")
}

// ---- Reading

// A Reader reads the frames of a stream. Each goroutine that reads has a Reader of its own. A Reader holds the slot of
// the frame that it returned last, until the next call. Only one goroutine at a time may use it, but any goroutine may
// call [Reader.Close], [Reader.Missed], and [Tensor.Release] for its frames.
//
// Close a Reader when it is no longer needed: the writer of a stream [WithEveryFrame] waits for it. A Reader that
// nobody can reach any more is closed by the garbage collector. If the process of a Reader dies, a writer that needs
// its slots takes them back after 40 ms.
type Reader struct {
	stream  *Stream
	place   *place
	current Tensor // the frame that the next call of Next gives back; guarded by place.mu
	slots   []slot
	alarms  *alarmKeeper
	parks   atomic.Bool // a goroutine is parked or about to park
	closed  atomic.Bool
	seen    uint64 // the version last read; only for a reader without a place
	missed  atomic.Uint64
}

// A place is the core's part of a Reader. It is what must be given back if the Reader is forgotten.
type place struct {
	core readerCore
	held *[MaxSlots]uint64 // the core's memory: the version held in each slot, or 0
	mu   sync.Mutex        // held in take, release and leave; locked after the stream's joining
	left bool              // guarded by mu

	alarms alarmKeeper
}

// A slot is what a Reader has for each slot of its stream.
type slot struct {
	mapping mapping // the mapping of frames in this slot
	reader  *Reader
	index   int
}

// holds says whether the reader holds the frame of this version.
func (l *slot) holds(version uint64) bool {
	held := load64(&l.reader.place.held[l.index]) == version
	runtime.KeepAlive(l.reader) // held is memory of the core that is freed with the reader's place
	return held
}

// Reader makes a reader of s, which gets the frames that are committed from now on.
//
// In a stream that was opened [WithReadOnly] the Reader returns copies, because this process can't mark a slot as held.
// If the stream is also one [WithEveryFrame] the error is [ErrUnsupported], because the writer would not wait for this
// reader.
//
// Errors: [ErrCapacity] if the stream already has [MaxReaders] readers; [ErrUnsupported] as said above; [ErrClosed];
// the system's.
func (s *Stream) Reader() (*Reader, error) {
	if !s.open.Load() {
		return nil, ErrClosed
	}
	if s.readOnly {
		if s.every {
			return nil, fmt.Errorf("%w: a process that opened a stream read-only can't make its writer wait, and every frame "+
				"counts in this one", ErrUnsupported)
		}
		r := &Reader{stream: s, seen: s.sequence(), alarms: new(alarmKeeper)}
		runtime.AddCleanup(r, (*alarmKeeper).end, r.alarms)
		return r, nil
	}
	s.joining.Lock()
	defer s.joining.Unlock()
	if !s.open.Load() {
		return nil, ErrClosed
	}
	c, err := s.mapping.core.join()
	if err != nil {
		return nil, fmt.Errorf("judemap: joining the stream: %w", err)
	}
	p := &place{core: c, held: c.held()}
	s.places[p] = struct{}{}
	r := &Reader{stream: s, place: p, slots: make([]slot, s.slots), alarms: &p.alarms}
	for i := range r.slots {
		l := &r.slots[i]
		l.reader, l.index = r, i
		l.mapping = mapping{core: s.mapping.core, header: s.mapping.core.slot(i), slot: l}
	}
	// The place must not refer to r, or r would stay reachable. The cleanup keeps the stream until the place is given
	// back.
	runtime.AddCleanup(r, func(p *place) {
		s.leave(p)
		p.core.free()
	}, p)
	return r, nil
}

// leave gives a place back.
func (s *Stream) leave(p *place) {
	s.joining.Lock()
	defer s.joining.Unlock()
	delete(s.places, p)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.left {
		p.left = true
		p.core.leave()
		p.alarms.end()
	}
}

// Close gives back all frames that r holds: views of them are no longer valid. A call of [Reader.Next] that waits, and
// every later one, returns [ErrClosed]. Closing again does nothing. The error is always nil.
func (r *Reader) Close() error {
	if r.closed.Swap(true) || r.stream == nil {
		return nil
	}
	if r.place != nil {
		r.stream.leave(r.place)
	}
	r.alarms.end()
	for r.stream.waiters.wake(); r.parks.Load(); { // wake a goroutine in Next; repeatedly, as it may be only about to park
		r.stream.mapping.core.wake()
		r.stream.waiters.wake()
		time.Sleep(50 * time.Microsecond)
	}
	runtime.KeepAlive(r)
	return nil
}

// Missed returns how many of the frames committed since r was made r has skipped. In a stream [WithEveryFrame] it is 0,
// unless a program that does not follow the protocol wrote to the stream.
func (r *Reader) Missed() uint64 {
	if r.place == nil {
		return r.missed.Load()
	}
	n := r.place.core.missed()
	runtime.KeepAlive(r)
	return n
}

// Next returns the newest frame that r has not seen, or in a stream [WithEveryFrame] the frame after the last one. It
// parks until there is one. The frame stays whole until the next call of Next, which gives it back, or for longer with
// [Tensor.Keep]; there is no need to ask [Tensor.Valid]. Next allocates nothing as a rule: it allocates a channel,
// shared by all that wait, only where it parks without a thread of its own. That is so if GOMAXPROCS is 1, or 256
// goroutines are parked.
//
// Errors:
//
//   - ctx.Err() when ctx ends.
//   - [ErrClosed].
//   - [ErrWriterDied] if the writer died and there is no newer frame, as [Segment.ReadWait] says.
//   - [ErrCorrupt] if a program that does not follow the protocol wrote to the stream.
func (r *Reader) Next(ctx context.Context) (t Tensor, err error) {
	switch {
	case r.stream == nil: // the zero Reader
		return Tensor{}, ErrClosed
	case r.place == nil:
		return r.nextCopy(ctx)
	}
	err = r.next(ctx, &t)
	return t, err
}

func (r *Reader) next(ctx context.Context, t *Tensor) error {
	if err := ctx.Err(); err != nil {
		r.giveBack()
		return err
	}
	s := r.stream
	for attempts := 0; ; attempts++ {
		err := r.take(t)
		if err == nil {
			s.counters.reads.add()
			return nil
		}
		version := t.version
		*t = Tensor{}
		switch {
		case err == ErrBusy && attempts < busyAttempts:
			continue
		case err == ErrBusy:
			// A stream that is busy for so long has a writer that does not follow the protocol, or one that gets no
			// processor.
			s.counters.retries.Add(1)
			attempts = 0
			time.Sleep(50 * time.Microsecond)
			if err := ctx.Err(); err != nil {
				return err
			}
			if !s.attached.Load() && s.mapping.core.writer() == WriterDied && s.sequence() == version {
				return ErrWriterDied
			}
			continue
		case err != ErrEmpty:
			return s.frameError(err)
		}
		attempts = 0
		if err := r.park(ctx, version); err != nil {
			return err
		}
		// A stream's sequence is never odd, unless a program does not follow the protocol. The core does not park on an
		// odd one, so sleep here.
		if s.sequence()&1 != 0 {
			time.Sleep(50 * time.Microsecond)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
}

// take makes one attempt at a frame.
func (r *Reader) take(t *Tensor) error {
	p := r.place
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left || !r.stream.open.Load() { // checked with mu held, so that no call succeeds after one that failed
		return ErrClosed
	}
	before := &r.current
	err := p.core.take(before.version, before.data, t)
	runtime.KeepAlive(r)
	before.version = 0
	if err != nil {
		return err
	}
	t.mapping = &r.slots[(uintptr(t.data)-uintptr(unsafe.Pointer(r.stream.slot0)))/r.stream.step].mapping
	before.version, before.data = t.version, t.data
	return nil
}

// giveBack gives back the frame that r holds and that was not kept.
func (r *Reader) giveBack() {
	r.place.mu.Lock()
	defer r.place.mu.Unlock()
	if r.current.version != 0 && !r.place.left {
		r.place.core.release(r.current.version, r.current.data)
	}
	r.current.version = 0
}

// park returns when the stream's version is no longer seen, or may not be.
func (r *Reader) park(ctx context.Context, seen uint64) error {
	s := r.stream
	if s.spins(ctx, seen, &r.closed) {
		return nil
	}
	r.parks.Store(true) // before the looks at closed
	defer r.parks.Store(false)
	if !s.attached.Load() && s.lead() {
		a := r.alarms.take()
		defer r.alarms.keep(a)
		return s.parkLeader(ctx, seen, a, &r.closed)
	}
	return s.parkMember(ctx, seen, -1, &r.closed)
}

// nextCopy is Next for a reader of a stream that was opened WithReadOnly.
func (r *Reader) nextCopy(ctx context.Context) (Tensor, error) {
	s := r.stream
	var buf []byte
	for attempts := 1; ; attempts++ {
		if err := ctx.Err(); err != nil {
			return Tensor{}, err
		}
		if r.closed.Load() {
			return Tensor{}, ErrClosed
		}
		t, err := s.copyNewer(r.seen, &buf)
		switch err {
		case nil:
			r.missed.Add(t.version/2 - r.seen/2 - 1)
			r.seen = t.version
			return t, nil
		case ErrBusy:
			pause(attempts)
		case ErrEmpty:
			if err := r.park(ctx, t.version); err != nil {
				return Tensor{}, err
			}
		default:
			return Tensor{}, err
		}
	}
}

// ReadCopy returns a copy of the newest frame, also if it was read before. It is for a program that looks at a stream
// now and then: it needs no Reader, makes no writer wait, and does not wait for a new frame. A writer that never pauses
// may reuse the slot during the copy; ReadCopy then tries again, until it has a copy or ctx ends.
//
// Errors: [ErrEmpty] if nothing was ever committed; ctx.Err(); [ErrCapacity] if the frame is larger than [WithMaxBytes]
// allows; [ErrClosed]; [ErrCorrupt].
func (s *Stream) ReadCopy(ctx context.Context) (Tensor, error) {
	var buf []byte
	for attempts := 1; ; attempts++ {
		if err := ctx.Err(); err != nil {
			return Tensor{}, err
		}
		t, err := s.copyNewer(0, &buf)
		if err == nil {
			return t, nil
		}
		if err != ErrBusy {
			return Tensor{}, err
		}
		pause(attempts)
	}
}

// pause is called between two attempts at a copy. A stream may be busy for ever if a program does not follow the
// protocol, so every so many attempts pause sleeps, in order not to use up a processor.
func pause(attempts int) {
	if attempts%busyAttempts == 0 {
		time.Sleep(50 * time.Microsecond)
	} else {
		runtime.Gosched()
	}
}

// copyNewer makes one attempt to copy the newest frame with a version above after, into buf or into a larger buffer.
// ErrBusy means that a commit came in between. ErrEmpty means that there is no such frame; t then has the version to
// park on.
func (s *Stream) copyNewer(after uint64, buf *[]byte) (t Tensor, err error) {
	if !s.open.Load() {
		return t, ErrClosed
	}
	err = s.mapping.core.tryReadFrame(after, &t)
	if err == nil && t.length > s.maxBytes {
		return t, fmt.Errorf("%w: the frame has %d bytes, and a copy %d at most; see WithMaxBytes", ErrCapacity, t.length,
			s.maxBytes)
	}
	if err == nil {
		if *buf == nil || len(*buf) < t.length {
			*buf = make([]byte, t.length)
		}
		err = s.mapping.core.tryReadFrameInto(after, *buf, &t)
	}
	switch err {
	case nil:
		t.mapping = nil
		s.counters.reads.add()
	case ErrBusy, errShortBuffer:
		s.counters.retries.Add(1)
		err = ErrBusy
	case ErrEmpty:
	default:
		err = s.frameError(err)
	}
	runtime.KeepAlive(s.mapping)
	return t, err
}

// frameError adds the details to an error of the core about a frame.
func (s *Stream) frameError(err error) error {
	if err == ErrCorrupt {
		return fmt.Errorf("%w: a frame is not in the slot that the stream's header gives, or its header can't be true",
			ErrCorrupt)
	}
	return err
}

// Frames returns the frames that [Reader.Next] returns, one by one. Each is whole until the loop asks for the next one.
// An error, such as the end of ctx, [ErrClosed] or [ErrWriterDied], comes as the last pair.
func (r *Reader) Frames(ctx context.Context) iter.Seq2[Tensor, error] {
	return func(yield func(Tensor, error) bool) {
		for {
			t, err := r.Next(ctx)
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// Keep holds a frame of a stream past the next call of [Reader.Next], until [Tensor.Release] or [Reader.Close]. It has
// no effect on a frame that was given back already, nor on a Tensor of a Segment.
func (t *Tensor) Keep() {
	if t.mapping == nil || t.mapping.slot == nil {
		return
	}
	r := t.mapping.slot.reader
	r.place.mu.Lock()
	defer r.place.mu.Unlock()
	if r.current.version == t.version {
		r.current.version = 0
	}
}

// Release gives back a frame of a stream: one that [Tensor.Keep] holds, or the current one before [Reader.Next] would.
// Its data may then change at any time. Releasing again does nothing, and a Tensor of a Segment needs no Release.
func (t *Tensor) Release() {
	if t.mapping == nil || t.mapping.slot == nil {
		return
	}
	r := t.mapping.slot.reader
	r.place.mu.Lock()
	defer r.place.mu.Unlock()
	if r.current.version == t.version {
		r.current.version = 0
	}
	if !r.place.left {
		r.place.core.release(t.version, t.data)
	}
	runtime.KeepAlive(r)
}

// ---- What a stream is

// Slots returns how many slots s has.
func (s *Stream) Slots() int { return s.slots }

// EveryFrame says whether s was made [WithEveryFrame].
func (s *Stream) EveryFrame() bool { return s.every }

// Slot returns the address of the data of slot i, from 0 to Slots()-1, 256-byte aligned. It is 0 if there is no slot i,
// or s is closed. A program can register the addresses of all slots with another library once. The address does not
// keep s: it may be used as long as s is open and reachable.
func (s *Stream) Slot(i int) uintptr {
	if i < 0 || i >= s.slots || !s.open.Load() {
		return 0
	}
	return uintptr(unsafe.Pointer(s.slot0)) + uintptr(i)*s.step + DataOffset
}

// ReaderInfo describes a reader of a stream.
type ReaderInfo struct {
	Number  int    // its place in the stream, from 0 to MaxReaders-1
	Process int    // its process id, in the PID namespace of that process
	Next    uint64 // the version of the frame that it reads next; 0 in an Info, until it has joined
	Held    int    // how many slots it holds
	Dead    bool   // its process died, and no writer has taken its slots back yet
}

// joins says whether the reader has its place, but not yet where it begins.
func (r ReaderInfo) joins() bool { return r.Next == 0 && !r.Dead }

// Readers describes the readers of s in all processes. Each of them gets what is committed from now on, so a writer may
// wait here for readers before it begins. It makes a system call for each of them.
func (s *Stream) Readers() []ReaderInfo {
	return slices.DeleteFunc(s.allReaders(), ReaderInfo.joins) // which may begin after the next commit
}

// allReaders describes the readers that have a place, also those that still join.
func (s *Stream) allReaders() []ReaderInfo {
	if !s.open.Load() {
		return nil
	}
	s.waiters.mu.Lock() // as in file: the descriptor must not be closed meanwhile
	defer s.waiters.mu.Unlock()
	if !s.open.Load() {
		return nil
	}
	infos := s.mapping.core.readers()
	runtime.KeepAlive(s.mapping)
	return infos
}

// Close ends the use of s and of its Readers: every later call returns [ErrClosed], and so do calls that wait. When
// Close returns, the frames that readers of s held are given back, and so is the right to write; only where a write is
// still running, the end of that write gives the right back. The memory is given back in the background, and views then
// read as zeros. A shared stream stays there for other processes and under its name, see [Remove]. Closing again does
// nothing. The error is always nil.
func (s *Stream) Close() error {
	s.end(func() {
		s.joining.Lock()
		places := make([]*place, 0, len(s.places))
		for p := range s.places {
			places = append(places, p)
		}
		s.joining.Unlock()
		for _, p := range places {
			s.leave(p)
		}
		s.alarms.end()
		s.mapping.core.wakeWriter()
	})
	return nil
}

// CloseWait is [Stream.Close], but returns only when the memory is given back. It must not be called by a function that
// Update runs.
//
// The error is the system's if the memory could not be given back; it is then freed when s and its views are no longer
// reachable. It is [ErrCUDA] if the memory could not be unregistered, see [Stream.UnregisterCUDA].
func (s *Stream) CloseWait() error {
	_ = s.Close()
	return s.awaitRelease()
}

// String describes s in a few words: its kind, name, slots, and the newest frame.
func (s *Stream) String() string {
	kind, t := s.describe()
	if s.name != "" {
		kind += fmt.Sprintf(" %q", s.name)
	}
	return fmt.Sprintf("%s, %d slots: %v", kind, s.slots, t)
}

// LogValue returns what String says as attributes, for [log/slog].
func (s *Stream) LogValue() slog.Value {
	kind, t := s.describe()
	attrs := []slog.Attr{slog.String("kind", kind)}
	if s.name != "" {
		attrs = append(attrs, slog.String("name", s.name))
	}
	attrs = append(attrs, slog.Int("slots", s.slots))
	return slog.GroupValue(slices.Concat(attrs, t.attrs())...)
}

// describe returns the kind of s, and its newest frame if that can be read without waiting.
func (s *Stream) describe() (kind string, t Tensor) {
	kind = "stream"
	switch {
	case !s.open.Load():
		return "closed stream", Tensor{}
	case s.readOnly:
		kind = "read-only stream"
	case s.shared:
		kind = "shared stream"
	}
	if s.every {
		kind += " of every frame"
	}
	if err := s.mapping.core.tryReadFrame(0, &t); err != nil {
		t = Tensor{version: s.sequence()}
	}
	runtime.KeepAlive(s.mapping)
	return kind, t
}
