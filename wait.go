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

// How readers wait. All readers of one Segment that park between two commits are a group, with one channel. A commit of
// this process closes the channel. For commits of other processes the first reader of the group is its leader. The
// leader parks in the core together with its thread, so that only the kernel is between the commit and the goroutine;
// when it wakes, it wakes the rest of the group. If many threads are parked already, the group has no leader, and the
// thread of a parker waits for it and for other groups.

// park returns when the sequence is no longer seen, or may no longer be. It also returns after limit, unless limit is
// negative. An odd seen means that a commit is in progress. Errors: those of ctx; ErrClosed; ErrWriterDied.
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

// spins spins until the sequence is no longer seen, for as long as WithSpin says. It returns whether the sequence
// changed.
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

// threadsParked counts the goroutines that are parked together with their threads.
var threadsParked atomic.Int32

// mostThreadsParked limits threadsParked. A parked thread takes about 20 KiB, and wakes in a few microseconds.
const mostThreadsParked = 256

// lead makes the caller the leader of a new group, if there is no group yet and takeThread allows it. It returns
// whether it did.
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

// takeThread says whether the caller may park together with its thread, and if so counts it. It may not where
// GOMAXPROCS is 1: a thread that blocks in C keeps its processor until the runtime takes it back, which is up to 10 ms
// later.
func takeThread() bool {
	if threadsParked.Add(1) <= mostThreadsParked && runtime.GOMAXPROCS(0) > 1 {
		return true
	}
	threadsParked.Add(-1)
	return false
}

// parkLeader parks the goroutine and its thread in the core, and then wakes the group. It also returns, if a little
// later, when over becomes true.
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
		// Only the leader stops waiting. A watch waits in its place for the rest of the group.
		if token, err := s.watch(seen); err == nil {
			w.token = token
			return ctx.Err()
		}
	}
	close(w.end())
	return err
}

// neverOver stays false. It is the over of waits that end only with the handle.
var neverOver atomic.Bool

// parkThread parks the goroutine and its thread.
func (s *handle) parkThread(ctx context.Context, seen uint64, a *alarm, over *atomic.Bool) error {
	a.set(ctx, s.mapping.core, core.wake)
	defer a.off()
	for {
		if err := ctx.Err(); err != nil { // after set, see there
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

// An alarm wakes a thread that is parked in the core when a context ends. A caller that parks repeatedly with the same
// context keeps its alarm, and then allocates nothing. The zero alarm is off.
type alarm struct {
	done   <-chan struct{} // of the context; it is what is compared, because contexts need not be comparable
	stop   func() bool
	parked *atomic.Bool
}

// set makes the alarm call wake(c) when ctx ends, until off is called. The caller must check ctx after set and before
// it parks. Then either that check sees the end of ctx, or the alarm sees that the caller parks.
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
			// Repeatedly, because the caller may be only about to park.
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

// cancel detaches the alarm from its context.
func (a *alarm) cancel() {
	if a.stop != nil {
		a.stop()
	}
	*a = alarm{}
}

// An alarmKeeper keeps an alarm between the waits of a Reader or a Stream, until that is closed. Any goroutine may call
// its methods.
type alarmKeeper struct {
	kept  atomic.Pointer[alarm]
	ended atomic.Bool
}

// take returns an alarm, which the caller returns with keep. If several goroutines park at the same time, each gets
// one.
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
	// Checked after the swap. end stores ended and then takes the kept alarm, so one of the two cancels a.
	if k.ended.Load() {
		k.end()
	}
}

// end detaches the kept alarm from its context, and all that keep gets later.
func (k *alarmKeeper) end() {
	k.ended.Store(true)
	if a := k.kept.Swap(nil); a != nil {
		a.cancel()
	}
}

// waiters are the parked readers of one Segment. A commit takes no lock if nobody is parked.
type waiters struct {
	parked atomic.Bool // there is a group; its leader is not part of it
	mu     sync.Mutex
	led    bool          // there is a leader, possibly without a group
	woken  chan struct{} // nil unless there is a group
	count  int           // members of the group, without the leader
	token  uint64        // the watch that waits for a group without a leader, or 0
	parks  uint64        // how many readers have parked since the start
	wakes  uint64        // how many groups were woken since the start
}

// join makes the caller a member of the group, and returns the channel that the next wake closes. The caller must look
// at the segment again before it waits, because a commit that came before join did not see it.
//
// The caller stores parked before that look. A commit stores sequence before it loads parked, and between the two
// releases a lock, which is a sequentially consistent read-modify-write. So one of the two sees the other.
//
// The leader or the watch of a group waits until the sequence is no longer the one that the group's first member saw. A
// member that joins later and has seen a newer one misses nothing: that wait is then over, and the group is about to be
// woken.
func (s *handle) join(seen uint64) (<-chan struct{}, error) {
	w := &s.waiters
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.woken == nil {
		w.woken = make(chan struct{})
		w.parked.Store(true) // before watch, whose wait may be over at once
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

// leave removes the caller from the group of this channel, before the group is woken. The group ends with its last
// member.
func (w *waiters) leave(woken <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.woken == woken { // otherwise the group was woken, and has ended
		if w.count--; w.count == 0 {
			w.end()
		}
	}
}

// wake wakes all parked goroutines. It is called after the change that they wait for.
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

// end ends the group and returns its channel, for the caller to close. The caller holds mu, because the next group uses
// the same watch.
func (w *waiters) end() (woken chan struct{}) {
	woken = w.woken
	if w.token != 0 {
		unwatch(w.token)
	}
	w.woken, w.count, w.token = nil, 0, 0
	w.parked.Store(false)
	return woken
}

// parkMember parks the goroutine without a thread, as a member of the group.
func (s *handle) parkMember(ctx context.Context, seen uint64, limit time.Duration, over *atomic.Bool) error {
	woken, err := s.join(seen)
	if err == ErrBusy { // the sequence is no longer seen
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
	// The goroutine was woken and sees nothing new. Load the sequence once more after asking for the writer: it may
	// have committed and closed between the two.
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

// A parker waits for the commits of other processes on behalf of parked goroutines. Its drainers are goroutines that
// block in the core. Each waits on the sequences of many segments and wakes the goroutines.
//
// A drainer blocks its thread in a futex. The alternative is a thread of the core in the futex, and a drainer in the
// runtime's poller: a commit would then wake a second thread, and a third for the reader. Where GOMAXPROCS is 1 that
// alternative is used, see takeThread.
type parker struct {
	core     parkerCore
	event    *os.File // readable when a wait of the core's own threads is over; nil if drainers block in the core
	watches  map[uint64]*watching
	waits    int // watches whose waits are not over
	drainers sync.WaitGroup
	lanes    int         // the number of drainers that block in the core; each has one lane
	idle     *time.Timer // runs while nothing waits
}

// watching is the parker's entry for one Segment. It stays as long as the parker does, so that a reader that waits for
// commit after commit finds it there.
type watching struct {
	core    watchCore
	waiters weak.Pointer[waiters]
	waits   bool
}

// parkers has the process's only parker, if any goroutine is parked or was a moment ago.
var parkers struct {
	mu      sync.Mutex
	current *parker
	token   uint64 // the last token that was used
}

// parkerLinger is how long a parker stays after the last wait is over, so that a reader that waits for each commit does
// not start a thread each time.
const parkerLinger = 250 * time.Millisecond

// watch makes the parker wake the readers of s when its sequence is no longer seen, its writer died, or s is closed,
// unless unwatch is called first. ErrBusy means that the sequence is no longer seen already.
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

// unwatch ends a wait that is not over yet.
func unwatch(token uint64) {
	parkers.mu.Lock()
	defer parkers.mu.Unlock()
	if p := parkers.current; p != nil {
		if w := p.watches[token]; w != nil && p.over(w) {
			w.core.disarm()
		}
	}
}

// removeWatch removes a handle from the parker, before the handle is closed or freed.
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

// add adds a handle to the parker. The caller holds parkers.mu.
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

// over records that the wait of a watch is over, and returns whether there was one. The caller holds parkers.mu.
func (p *parker) over(w *watching) bool {
	if !w.waits {
		return false
	}
	w.waits = false
	p.waits--
	p.rest()
	return true
}

// rest starts the timer that stops the parker, if nothing waits. The caller holds parkers.mu.
func (p *parker) rest() {
	if p.waits == 0 {
		p.idle.Reset(parkerLinger)
	}
}

// wake wakes the readers of the watch with this token.
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
		runtime.Gosched() // let the readers run first: wait keeps this processor until the runtime takes it back
	}
}

// drainEvent does what drain does, where threads of the core wait.
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
