package judemap

import (
	"context"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// waiters are the parked readers of one Segment. All that park between two commits are one group with one channel,
// which the next commit closes; a commit that finds nobody parked takes no lock. A group of a shared segment also has
// one watch at the parker, for the commits of other processes.
type waiters struct {
	parked atomic.Bool // there is a group
	mu     sync.Mutex
	woken  chan struct{} // nil unless there is a group
	count  int           // parked readers of the group
	watch  uint64        // the group's token at the parker, or 0
}

// join makes the caller one of the group, and returns the channel that the next wake closes. The caller must look at
// the segment again before it waits: a commit that came before join did not see it. parked is stored before that look,
// and a commit stores sequence before it loads parked; all four are sequentially consistent, so one of the two sees the
// other.
//
// A group's watch is for the sequence that its first member saw. One that joins later, having seen a newer one, loses
// nothing: the watch is then over, and about to wake the group.
func (s *Segment) join(seen uint64) (<-chan struct{}, error) {
	w := &s.waiters
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.woken == nil {
		w.woken = make(chan struct{})
		w.parked.Store(true) // before the watch, which may be over at once
		if s.shared {
			token, err := watch(s, seen)
			if err != nil {
				w.end()
				return nil, err
			}
			w.watch = token
		}
	}
	w.count++
	return w.woken, nil
}

// leave takes the caller out of the group of this channel, and ends the group with its last member.
func (w *waiters) leave(woken <-chan struct{}) {
	w.mu.Lock()
	token := uint64(0)
	if w.woken == woken { // else it was woken, and is no more
		if w.count--; w.count == 0 {
			_, token = w.end()
		}
	}
	w.mu.Unlock()
	unwatch(token)
	runtime.KeepAlive(w) // and the segment with it, until it is no longer watched
}

// wake wakes all parked readers. Call it after the change they wait for.
func (w *waiters) wake() {
	if !w.parked.Load() {
		return
	}
	w.mu.Lock()
	woken, token := w.end()
	w.mu.Unlock()
	if woken != nil {
		close(woken)
	}
	unwatch(token)
	runtime.KeepAlive(w)
}

// end takes the group away, and returns what belonged to it. The caller holds mu.
func (w *waiters) end() (woken chan struct{}, token uint64) {
	woken, token = w.woken, w.watch
	w.woken, w.count, w.watch = nil, 0, 0
	w.parked.Store(false)
	return woken, token
}

// park returns when the sequence is no longer seen, or may not be. A seen that is odd is a commit in progress.
// Errors: those of ctx; ErrClosed; ErrWriterDied.
func (s *Segment) park(ctx context.Context, seen uint64) error {
	woken, err := s.join(seen)
	if err != nil {
		return err
	}
	defer s.waiters.leave(woken)
	h := s.mapping.header
	if loadSequence(h) == seen && !s.closed.Load() {
		select {
		case <-woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.closed.Load() {
		return ErrClosed
	}
	// Woken with nothing new to see. The sequence is loaded once more after the look at the lock: the writer may have
	// committed and closed between the two.
	if s.shared && loadSequence(h) == seen && s.mapping.core.writer() == WriterDied && loadSequence(h) == seen {
		return ErrWriterDied
	}
	return nil
}

// ReadWait is [Segment.Read], but parks until something is committed in place of returning [ErrEmpty]. The end of ctx
// gives ctx.Err(), and Close gives [ErrClosed].
//
// The death of the writing process gives [ErrWriterDied], within 100 ms, once there is nothing newer to read; so does
// every call that would park from then on, until another process writes. A reader that wants to wait for that one tries
// again after a while. A writer that closes its Segment did not die: readers wait for the next.
func (s *Segment) ReadWait(ctx context.Context) (Tensor, error) {
	return s.Next(ctx, 0)
}

// ReadCopyWait is [Segment.ReadWait] for [Segment.ReadCopy].
func (s *Segment) ReadCopyWait(ctx context.Context) (Tensor, error) {
	for {
		if _, err := s.Next(ctx, 0); err != nil {
			return Tensor{}, err
		}
		// An Update may give up in between, and leave nothing to copy.
		if t, err := s.readCopy(ctx); err != ErrEmpty {
			return t, err
		}
	}
}

// Next returns a view of the newest tensor whose version is above after, and parks until there is one: with the
// version of the tensor last seen it gives the next one, and it skips what was overwritten meanwhile. Errors are those
// of [Segment.ReadWait].
func (s *Segment) Next(ctx context.Context, after uint64) (Tensor, error) {
	if err := ctx.Err(); err != nil {
		return Tensor{}, err
	}
	for {
		var t Tensor
		err := s.read(ctx, &t)
		if err == nil && t.version > after {
			return t, nil
		}
		if err != nil && err != ErrEmpty {
			return Tensor{}, err
		}
		if err := s.park(ctx, t.version); err != nil {
			return Tensor{}, err
		}
	}
}

// Frames returns the tensors committed from now on, as views. A consumer that is slower than the writer gets the
// newest each time and misses those in between; [Tensor.Valid] says whether a view outlived its use. The first error,
// such as the end of ctx, [ErrClosed] or [ErrWriterDied], is the last pair.
func (s *Segment) Frames(ctx context.Context) iter.Seq2[Tensor, error] {
	after := s.Version() &^ 1 // a commit in progress is one from now on
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

// A parker waits for the commits of other processes, on behalf of the parked readers of all shared segments. Drainers,
// goroutines that block in the core, each sleep on the sequences of a hundred segments or so and wake the readers. So
// parked readers take no threads, and their segments few.
//
// A drainer blocks a thread in a futex, rather than to wait in the runtime's poller for one that does: that would be a
// second thread to wake for each commit, and a third for the reader.
type parker struct {
	core     parkerCore
	watches  map[uint64]*waiters
	drainers sync.WaitGroup
	lanes    int         // drainers, one each
	idle     *time.Timer // runs while nothing is watched
}

// parkers has the one parker, if anybody is parked or was a moment ago.
var parkers struct {
	mu      sync.Mutex
	current *parker
	token   uint64 // the last one given out
}

// A parker lives on for this long after the last reader left, so that one who comes and goes with each commit does not
// start a thread each time.
const parkerLinger = 250 * time.Millisecond

// watch has the readers of s woken when its sequence is no longer seen, or its writer died, unless unwatch comes first.
func watch(s *Segment, seen uint64) (token uint64, err error) {
	parkers.mu.Lock()
	defer parkers.mu.Unlock()
	p := parkers.current
	if p == nil {
		c, err := newParkerCore()
		if err != nil {
			return 0, err
		}
		p = &parker{core: c, watches: make(map[uint64]*waiters)}
		p.idle = time.AfterFunc(parkerLinger, p.stopIfIdle)
		parkers.current = p
	}
	token = parkers.token + 1
	lane, err := p.core.watch(s.mapping.core, seen, token)
	if err != nil {
		p.rest()
		return 0, err
	}
	parkers.token = token
	p.watches[token] = &s.waiters
	if lane == p.lanes {
		p.lanes++
		p.drainers.Add(1)
		go p.drain(lane)
	}
	return token, nil
}

// unwatch ends a watch, if it is not over. From then on the core does not look at the segment. Token 0 is none.
func unwatch(token uint64) {
	if token == 0 {
		return
	}
	parkers.mu.Lock()
	defer parkers.mu.Unlock()
	if p := parkers.current; p != nil && p.watches[token] != nil {
		p.core.unwatch(token)
		p.forget(token)
	}
}

// drain wakes the readers whose watches in a lane are over, until the parker stops.
func (p *parker) drain(lane int) {
	defer p.drainers.Done()
	var buf [128]uint64
	for {
		tokens := p.core.wait(lane, buf[:])
		if len(tokens) == 0 {
			return
		}
		for _, token := range tokens {
			parkers.mu.Lock()
			w := p.watches[token]
			if w != nil {
				p.forget(token)
			}
			parkers.mu.Unlock()
			if w != nil {
				w.wake()
			}
		}
		runtime.Gosched() // the readers first: wait keeps this processor until the runtime takes it away
	}
}

// forget drops a watch that is over. The caller holds parkers.mu.
func (p *parker) forget(token uint64) {
	delete(p.watches, token)
	p.rest()
}

// rest lets the parker stop soon if nothing is watched. The caller holds parkers.mu.
func (p *parker) rest() {
	if len(p.watches) == 0 {
		p.idle.Reset(parkerLinger)
	}
}

func (p *parker) stopIfIdle() {
	parkers.mu.Lock()
	defer parkers.mu.Unlock()
	if len(p.watches) == 0 && parkers.current == p {
		parkers.current = nil
		p.core.stop()
		go func() {
			p.drainers.Wait()
			p.core.free()
		}()
	}
}
