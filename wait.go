package judemap

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
)

// waiters are the parked readers of one Segment. All that park between two commits share one channel, which the next
// commit closes; a commit that finds nobody parked takes no lock.
type waiters struct {
	parked atomic.Bool // somebody may be waiting for the channel
	mu     sync.Mutex
	woken  chan struct{} // nil unless parked
}

// park returns the channel that the next wake closes. The caller must look at the segment again before it waits:
// a commit that came before park did not see it. parked is stored before that look, and a commit stores sequence
// before it loads parked; all four are sequentially consistent, so one of the two sees the other.
func (w *waiters) park() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.woken == nil {
		w.woken = make(chan struct{})
		w.parked.Store(true)
	}
	return w.woken
}

// wake wakes all parked readers. Call it after the change they wait for.
func (w *waiters) wake() {
	if !w.parked.Load() {
		return
	}
	w.mu.Lock()
	woken := w.woken
	w.woken = nil
	w.parked.Store(false)
	w.mu.Unlock()
	if woken != nil {
		close(woken)
	}
}

// ReadWait is [Segment.Read], but parks until something is committed in place of returning [ErrEmpty]. The end of ctx
// gives ctx.Err(), and Close gives [ErrClosed].
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
		if t, err := s.ReadCopy(); err != ErrEmpty {
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
	var woken <-chan struct{}
	for {
		t, err := s.Read()
		if err == nil && t.version > after {
			return t, nil
		}
		if err != nil && err != ErrEmpty {
			return Tensor{}, err
		}
		if woken == nil {
			woken = s.waiters.park()
			continue // look again, now that a commit sees us
		}
		select {
		case <-woken:
			woken = nil
		case <-ctx.Done():
			return Tensor{}, ctx.Err()
		}
	}
}

// Frames returns the tensors committed from now on, as views. A consumer that is slower than the writer gets the
// newest each time and misses those in between; [Tensor.Valid] says whether a view outlived its use. The first error,
// such as the end of ctx or [ErrClosed], is the last pair.
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
