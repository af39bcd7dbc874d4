package judemap

import (
	"runtime"
	"sync"
	"time"
)

// A mapping owns a range of addresses and the core's handle for it. Segments, Streams and views keep it reachable. It
// is unmapped when none of them can be reached any more.
type mapping struct {
	core   core
	header *header
	owned  *owned
	slot   *slot // for a frame of a stream: the slot that holds it; header is then that of the slot, and owned is nil
}

// owned is what must be freed after the mapping. It must not refer to the mapping, which would stay reachable.
type owned struct {
	core  core
	token uint64 // its watch at the parker, or 0; guarded by parkers.mu
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

// closed tells the ledger that the memory behind the addresses was given back.
func (m *mapping) closed() { ledger.close(m.owned) }

// ledger counts the mappings that the garbage collector has not freed yet. The collector sees only the few bytes of Go
// memory in a mapping, and neither its size nor its descriptors. It would let thousands of forgotten Segments
// accumulate. The ledger therefore runs a collection when there are twice as many mappings as the last one left, or
// they have twice as many bytes. The collector's own rule for its memory is the same.
var ledger = mappingLedger{weightLimit: leastWeight, bytesLimit: leastBytes}

type mappingLedger struct {
	mu                  sync.Mutex
	weight, weightLimit uint64
	bytes, bytesLimit   uint64
	collecting          sync.Mutex
}

const (
	openWeight   = 16               // weight of a mapping with memory and descriptors
	closedWeight = 1                // weight of a mapping of which only addresses are left
	leastWeight  = 256 * openWeight // no collection for less weight
	leastBytes   = 1 << 30          // no collection for fewer bytes
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

// collect frees the mappings that nobody can reach, and waits until that is done, so that a goroutine that makes
// mappings does not go faster than they are freed.
func (l *mappingLedger) collect() {
	l.collecting.Lock()
	defer l.collecting.Unlock()
	l.mu.Lock()
	full := l.full()
	l.mu.Unlock()
	if !full { // another goroutine collected meanwhile
		return
	}
	// A Stream with a forgotten Reader is freed only in the cycle after the Reader's.
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

// cycle collects once, and waits until the mappings that were found are freed.
func (l *mappingLedger) cycle() {
	// The runtime runs cleanups in goroutines. The cleanup of this marker runs among those of the mappings.
	done := make(chan struct{})
	marker := new([16]byte)
	runtime.AddCleanup(marker, func(done chan struct{}) { close(done) }, done)
	runtime.GC()
	select {
	case <-done:
	case <-time.After(time.Second): // cleanups of the program's own may block
	}
	// The marker's cleanup may have been one of the first, so wait until the weight no longer falls.
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
