package judemap

import (
	"runtime"
	"sync"
	"time"
)

// A mapping owns a range of addresses, and the core's handle for it. Segments and views of it keep it reachable; it is
// unmapped when none is left.
type mapping struct {
	core   core
	header *header
	owned  *owned
	slot   *slot // what a frame of a stream is held by; its mapping has only the header, of the slot
}

// owned is what is freed with a mapping. It must not refer to it.
type owned struct {
	core  core
	token uint64 // of its watch at the parker, or 0; guarded by parkers.mu
	open  bool   // guarded by ledger.mu, as is bytes
	bytes uint64
}

func newMapping(c core) *mapping {
	m := &mapping{core: c, header: c.base(), owned: &owned{core: c, open: true, bytes: uint64(c.bytes())}}
	runtime.AddCleanup(m, (*owned).free, m.owned)
	ledger.add(m.owned)
	return m
}

func (o *owned) free() {
	removeWatch(o)
	o.core.free()
	ledger.remove(o)
}

// closed says that the memory behind the addresses was given back.
func (m *mapping) closed() { ledger.close(m.owned) }

// ledger counts the mappings that the garbage collector has yet to free. It knows nothing of their size, nor of the
// descriptors behind them, and would let thousands of forgotten Segments wait for a collection that the few bytes of Go
// memory in them don't bring about. As it does with its own memory, one is brought about when there are twice as many as
// the last one left, or they hold twice as much.
var ledger = mappingLedger{weightLimit: leastWeight, bytesLimit: leastBytes}

type mappingLedger struct {
	mu                  sync.Mutex
	weight, weightLimit uint64
	bytes, bytesLimit   uint64
	collecting          sync.Mutex
}

const (
	openWeight   = 16               // of a mapping with memory and descriptors
	closedWeight = 1                // of one that is only addresses
	leastWeight  = 256 * openWeight // never collected for less
	leastBytes   = 1 << 30          // nor for less than this
)

func (l *mappingLedger) add(o *owned) {
	l.mu.Lock()
	l.weight += openWeight
	l.bytes += o.bytes
	full := l.full()
	l.mu.Unlock()
	if full {
		l.collect()
	}
}

// full says whether a collection is due. The caller holds mu.
func (l *mappingLedger) full() bool { return l.weight > l.weightLimit || l.bytes > l.bytesLimit }

func (l *mappingLedger) close(o *owned) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.open {
		o.open = false
		l.weight -= openWeight - closedWeight
		l.bytes -= o.bytes
	}
}

func (l *mappingLedger) remove(o *owned) {
	l.close(o)
	l.mu.Lock()
	l.weight -= closedWeight
	l.mu.Unlock()
}

// collect has the mappings freed that nobody can reach, and waits for it, so that whoever makes them does not outrun it.
func (l *mappingLedger) collect() {
	l.collecting.Lock()
	defer l.collecting.Unlock()
	l.mu.Lock()
	full := l.full()
	l.mu.Unlock()
	if !full { // somebody else did
		return
	}
	// A Stream with a forgotten Reader goes with the cycle after the Reader's.
	for cycle := 0; cycle < 2 && full; cycle++ {
		l.cycle()
		l.mu.Lock()
		full = l.full()
		l.mu.Unlock()
	}
	l.mu.Lock()
	l.weightLimit = max(leastWeight, 2*l.weight)
	l.bytesLimit = max(leastBytes, 2*l.bytes)
	l.mu.Unlock()
}

// cycle collects once, and waits until what was found is freed.
func (l *mappingLedger) cycle() {
	// Cleanups run in goroutines of the runtime, and this one along with those of the mappings.
	done := make(chan struct{})
	marker := new([16]byte)
	runtime.AddCleanup(marker, func(done chan struct{}) { close(done) }, done)
	runtime.GC()
	select {
	case <-done:
	case <-time.After(time.Second): // cleanups of the program's own may block
	}
	// The marker may have been among the first.
	for before := ^uint64(0); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		now := l.weight
		l.mu.Unlock()
		if now >= before {
			break
		}
		before = now
	}
}
