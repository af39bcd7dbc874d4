package judemap

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// How readers wait. All of one Segment that park between two commits are a group with one channel. A commit of this
// process closes it. For the commits of others the first of a group leads it: it parks in the core, its thread with it, so
// that nobody but the kernel stands between the commit and the goroutine, and then wakes the rest. When many threads are
// parked already, the group has no leader, and a parker's thread waits for it along with others.

// park returns when the sequence is no longer seen, or may not be, or limit has passed unless that is negative. A seen
// that is odd is a commit in progress. Errors: those of ctx; ErrClosed; ErrWriterDied.
func (s *handle) park(ctx context.Context, seen uint64, limit time.Duration) error {
	if limit < 0 && s.spins(ctx, seen, &neverOver) {
		return nil
	}
	if !s.attached.Load() && limit < 0 && s.lead() {
		var a alarm
		defer a.cancel()
		return s.parkLeader(ctx, seen, &a, &neverOver)
	}
	return s.parkMember(ctx, seen, limit, &neverOver)
}

// spins spins until the sequence is no longer seen, for as long as WithSpin says. Whether it came to that.
func (s *handle) spins(ctx context.Context, seen uint64, over *atomic.Bool) bool {
	if s.spin <= 0 || s.attached.Load() || runtime.GOMAXPROCS(0) == 1 {
		return false
	}
	for begun := time.Now(); time.Since(begun) < s.spin; {
		for range 64 {
			if s.sequence() != seen {
				return true
			}
		}
		if !s.open.Load() || over.Load() || ctx.Err() != nil {
			break
		}
	}
	return false
}

// threadsParked counts the goroutines that are parked with their threads.
var threadsParked atomic.Int32

// A thread takes some 20 KiB, and wakes in a few microseconds.
const mostThreadsParked = 256

// lead makes the caller the leader, if there is no group, and a thread is free for it.
func (s *handle) lead() bool {
	w := &s.waiters
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.led || w.woken != nil || !takeThread() {
		return false
	}
	w.led = true
	w.parks++
	return true
}

// takeThread says whether the caller may park with its thread, and counts it. Where there is one processor it may not: a
// thread that blocks in C keeps the processor until the runtime takes it back, for up to 10 ms.
func takeThread() bool {
	if threadsParked.Add(1) <= mostThreadsParked && runtime.GOMAXPROCS(0) > 1 {
		return true
	}
	threadsParked.Add(-1)
	return false
}

// parkLeader parks the goroutine and its thread in the core, and then wakes the group. It also returns, sooner or later,
// when over is true.
func (s *handle) parkLeader(ctx context.Context, seen uint64, a *alarm, over *atomic.Bool) error {
	err := s.parkThread(ctx, seen, a, over)
	threadsParked.Add(-1)
	w := &s.waiters
	w.mu.Lock()
	defer w.mu.Unlock()
	w.led = false
	if w.woken == nil {
		return err
	}
	if err != nil && err == ctx.Err() {
		// Only the leader leaves: a watch takes its place.
		if token, err := s.watch(seen); err == nil {
			w.token = token
			return ctx.Err()
		}
	}
	close(w.end())
	return err
}

// neverOver is what those wait for who wait for no end but the handle's.
var neverOver atomic.Bool

// parkThread parks the goroutine and its thread.
func (s *handle) parkThread(ctx context.Context, seen uint64, a *alarm, over *atomic.Bool) error {
	a.set(ctx, s.mapping.core, core.wake)
	defer a.off()
	for {
		if err := ctx.Err(); err != nil { // after set: see alarm
			return err
		}
		err := s.mapping.core.park(seen)
		switch {
		case !s.open.Load():
			return ErrClosed
		case err != nil || s.sequence() != seen || over.Load():
			return err
		}
	}
}

// An alarm wakes a thread that is parked in the core when a context ends. Who parks again and again with the same context
// keeps his alarm, and allocates nothing. The zero alarm is off.
type alarm struct {
	done   <-chan struct{} // the context's: contexts themselves need not be comparable
	stop   func() bool
	parked *atomic.Bool
}

// set has wake called for c when ctx ends, until off. Look at ctx after it: either that look sees the end, or the alarm sees who
// is parked.
func (a *alarm) set(ctx context.Context, c core, wake func(core)) {
	done := ctx.Done()
	if done == nil {
		return
	}
	if a.done != done {
		a.cancel()
		parked := new(atomic.Bool)
		a.done, a.parked = done, parked
		a.stop = context.AfterFunc(ctx, func() {
			// Again and again, because it may be about to park.
			for parked.Load() {
				wake(c)
				time.Sleep(50 * time.Microsecond)
			}
		})
	}
	a.parked.Store(true)
}

func (a *alarm) off() {
	if a.parked != nil {
		a.parked.Store(false)
	}
}

// cancel forgets the context.
func (a *alarm) cancel() {
	if a.stop != nil {
		a.stop()
	}
	*a = alarm{}
}

// An alarmKeeper keeps the alarm of who parks again and again, until he is closed. Any goroutine may call its methods.
type alarmKeeper struct {
	kept  atomic.Pointer[alarm]
	ended atomic.Bool
}

// take returns an alarm, for keep to take back. Where several goroutines park at a time each gets one.
func (k *alarmKeeper) take() *alarm {
	if a := k.kept.Swap(nil); a != nil {
		return a
	}
	return new(alarm)
}

func (k *alarmKeeper) keep(a *alarm) {
	a.off()
	if other := k.kept.Swap(a); other != nil {
		other.cancel()
	}
	// After the swap: end stores it and then takes what is kept, so that one of the two cancels a.
	if k.ended.Load() {
		k.end()
	}
}

// end has the context forget about all alarms.
func (k *alarmKeeper) end() {
	k.ended.Store(true)
	if a := k.kept.Swap(nil); a != nil {
		a.cancel()
	}
}

// waiters are the parked readers of one Segment. A commit that finds nobody parked takes no lock.
type waiters struct {
	parked atomic.Bool // there is a group, its leader aside
	mu     sync.Mutex
	led    bool          // the group has a leader, who may be all of it
	woken  chan struct{} // nil unless there is a group
	count  int           // its members
	token  uint64        // of the watch that waits for a group without a leader, or 0
	parks  uint64        // readers that parked, ever
	wakes  uint64        // groups that were woken, ever
}

// join makes the caller one of the group, and returns the channel that the next wake closes. The caller must look at
// the segment again before it waits: a commit that came before join did not see it. parked is stored before that look,
// and a commit stores sequence before it loads parked, with the release of a lock, a sequentially consistent
// read-modify-write, in between; so one of the two sees the other.
//
// A group's leader or watch waits for the sequence that its first member saw. One that joins later, having seen a newer
// one, loses nothing: the wait is then over, and about to wake the group.
func (s *handle) join(seen uint64) (<-chan struct{}, error) {
	w := &s.waiters
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.woken == nil {
		w.woken = make(chan struct{})
		w.parked.Store(true) // before the watch, which may be over at once
		if !w.led && !s.attached.Load() {
			var err error
			if w.token, err = s.watch(seen); err != nil {
				w.end()
				return nil, err
			}
		}
	}
	w.count++
	w.parks++
	return w.woken, nil
}

// leave takes the caller out of the group of this channel before it is woken, and ends the group with its last member.
func (w *waiters) leave(woken <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.woken == woken { // else it was woken, and is no more
		if w.count--; w.count == 0 {
			w.end()
		}
	}
}

// wake wakes all parked goroutines. Call it after the change they wait for.
func (w *waiters) wake() {
	if w.parked.Load() {
		w.wakeGroup()
	}
}

func (w *waiters) wakeGroup() {
	w.mu.Lock()
	woken := w.end()
	if woken != nil {
		w.wakes++
	}
	w.mu.Unlock()
	if woken != nil {
		close(woken)
	}
}

// end takes the group away, and returns its channel. The caller holds mu: the watch is the Segment's, and the next group
// waits for it too.
func (w *waiters) end() (woken chan struct{}) {
	woken = w.woken
	if w.token != 0 {
		unwatch(w.token)
	}
	w.woken, w.count, w.token = nil, 0, 0
	w.parked.Store(false)
	return woken
}

// parkMember parks the goroutine, and no thread.
func (s *handle) parkMember(ctx context.Context, seen uint64, limit time.Duration, over *atomic.Bool) error {
	woken, err := s.join(seen)
	if err == ErrBusy { // the sequence is another by now
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case s.sequence() != seen || !s.open.Load() || over.Load():
		s.waiters.leave(woken)
	case limit < 0 && ctx.Done() == nil:
		<-woken
	default:
		if err := s.sleep(ctx, woken, limit); err != nil {
			return err
		}
	}
	if !s.open.Load() {
		return ErrClosed
	}
	// Woken with nothing new to see. The sequence is loaded once more after the look at the lock: the writer may have
	// committed and closed between the two.
	if !s.attached.Load() && s.sequence() == seen && s.mapping.core.writer() == WriterDied && s.sequence() == seen {
		return ErrWriterDied
	}
	return nil
}

// sleep sleeps until the channel is closed, ctx ends, or limit has passed.
func (s *handle) sleep(ctx context.Context, woken <-chan struct{}, limit time.Duration) error {
	var late <-chan time.Time
	if limit >= 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-woken:
		return nil
	case <-late:
		s.waiters.leave(woken)
		return nil
	case <-ctx.Done():
		s.waiters.leave(woken)
		return ctx.Err()
	}
}

// A parker waits for the commits of other processes, on behalf of parked goroutines. Drainers, goroutines that block in
// the core, each sleep on the sequences of many segments and wake the goroutines.
//
// A drainer blocks a thread in a futex, rather than to wait in the runtime's poller for one that does: that would be a
// second thread to wake for each commit, and a third for the reader. Where there is one processor it is the other way
// round, see takeThread: threads of the core's own sleep in the futex.
type parker struct {
	core     parkerCore
	event    *os.File // readable when the core's own threads have something; nil if drainers block in the core
	watches  map[uint64]*watching
	waits    int // that are not over
	drainers sync.WaitGroup
	lanes    int         // drainers that block in the core, one each
	idle     *time.Timer // runs while nothing waits
}

// watching is one Segment's place at the parker. It stays for as long as the parker does, so that a reader that comes
// back for the next commit finds it in place.
type watching struct {
	core    watchCore
	waiters weak.Pointer[waiters]
	waits   bool
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

// watch has the readers of s woken when its sequence is no longer seen, its writer died, or s is closed, unless unwatch
// comes first. ErrBusy: the sequence is another already.
func (s *handle) watch(seen uint64) (token uint64, err error) {
	parkers.mu.Lock()
	defer parkers.mu.Unlock()
	p := parkers.current
	if p == nil {
		if p, err = newParker(); err != nil {
			return 0, fmt.Errorf("judemap: starting to wait for other processes: %w", err)
		}
		parkers.current = p
	}
	owned := s.mapping.owned
	w := p.watches[owned.token]
	if w == nil {
		if w, err = p.add(owned, &s.waiters); err != nil {
			p.rest()
			return 0, fmt.Errorf("judemap: starting to wait for other processes: %w", err)
		}
	}
	if err := w.core.arm(seen); err != nil {
		p.rest()
		return 0, err
	}
	if !w.waits {
		w.waits = true
		p.waits++
	}
	return owned.token, nil
}

// unwatch ends a wait, if it is not over.
func unwatch(token uint64) {
	parkers.mu.Lock()
	defer parkers.mu.Unlock()
	if p := parkers.current; p != nil {
		if w := p.watches[token]; w != nil && p.over(w) {
			w.core.disarm()
		}
	}
}

// removeWatch takes a handle away from the parker, before it is closed or freed.
func removeWatch(o *owned) {
	parkers.mu.Lock()
	defer parkers.mu.Unlock()
	if p := parkers.current; p != nil {
		if w := p.watches[o.token]; w != nil {
			p.over(w)
			w.core.free()
			delete(p.watches, o.token)
		}
	}
}

func newParker() (*parker, error) {
	p := &parker{watches: make(map[uint64]*watching)}
	var event *uintptr
	if runtime.GOMAXPROCS(0) == 1 && runtime.GOOS != "windows" { // whose events the runtime's poller doesn't know
		event = new(uintptr)
	}
	var err error
	if p.core, err = newParkerCore(event); err != nil {
		return nil, err
	}
	if event != nil {
		p.event = os.NewFile(*event, "judemap parker")
		p.drainers.Add(1)
		go p.drainEvent()
	}
	p.idle = time.AfterFunc(parkerLinger, p.stopIfIdle)
	return p, nil
}

// add gives a handle a place at the parker. The caller holds parkers.mu.
func (p *parker) add(o *owned, ws *waiters) (*watching, error) {
	parkers.token++
	core, lane, err := p.core.watch(o.core, parkers.token)
	if err != nil {
		return nil, err
	}
	w := &watching{core: core, waiters: weak.Make(ws)}
	o.token = parkers.token
	p.watches[o.token] = w
	if p.event == nil && lane == p.lanes {
		p.lanes++
		p.drainers.Add(1)
		go p.drain(lane)
	}
	return w, nil
}

// over says that a watch waits no more, and whether it did. The caller holds parkers.mu.
func (p *parker) over(w *watching) bool {
	if !w.waits {
		return false
	}
	w.waits = false
	p.waits--
	p.rest()
	return true
}

// rest lets the parker stop soon if nothing waits. The caller holds parkers.mu.
func (p *parker) rest() {
	if p.waits == 0 {
		p.idle.Reset(parkerLinger)
	}
}

// wake wakes the readers whose wait is over.
func (p *parker) wake(token uint64) {
	parkers.mu.Lock()
	w := p.watches[token]
	if w != nil && !p.over(w) {
		w = nil
	}
	parkers.mu.Unlock()
	if w != nil {
		if waiters := w.waiters.Value(); waiters != nil {
			waiters.wake()
		}
	}
}

// drain wakes the readers whose waits in a lane are over, until the parker stops.
func (p *parker) drain(lane int) {
	defer p.drainers.Done()
	var buf [128]uint64
	for {
		tokens := p.core.wait(lane, buf[:])
		if len(tokens) == 0 {
			return
		}
		for _, token := range tokens {
			p.wake(token)
		}
		runtime.Gosched() // the readers first: wait keeps this processor until the runtime takes it away
	}
}

// drainEvent does the same where the core's own threads wait.
func (p *parker) drainEvent() {
	defer p.drainers.Done()
	var count [8]byte
	for {
		if _, err := p.event.Read(count[:]); err != nil {
			return
		}
		for token := p.core.next(); token != 0; token = p.core.next() {
			p.wake(token)
		}
	}
}

func (p *parker) stopIfIdle() {
	parkers.mu.Lock()
	defer parkers.mu.Unlock()
	if p.waits != 0 || parkers.current != p {
		return
	}
	parkers.current = nil
	for _, w := range p.watches {
		w.core.free()
	}
	p.watches = nil
	p.core.stop()
	go func() {
		if p.event != nil {
			_ = p.event.Close() // ends drainEvent
		}
		p.drainers.Wait()
		p.core.free()
	}()
}
