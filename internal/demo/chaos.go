package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/judemap/judemap/internal/units"
)

// What --chaos does: it kills producers and consumers, and starts others.

// catchFor is how long the demo tries to catch a worker at what is the worst moment to be killed.
const catchFor = 20 * time.Millisecond

// A death is the end of one producer at the demo's hands, on the demo's clock.
type death struct {
	at        time.Duration
	midCommit bool
	noticed   map[*worker]time.Duration // how long after it each consumer knew
	resumed   map[*worker]time.Duration // and had a frame of the next producer
	settled   bool                      // consumers had the time to
}

// A loss is the end of one consumer at the demo's hands.
type loss struct {
	held    int           // slots that it had in hand
	back    time.Duration // how long after it others had the use of them; 0: they did not
	settled bool          // they had the time to come back
}

// replaceProducer kills the producer, starts another, and waits until every consumer has a frame of that.
func (d *demo) replaceProducer(ctx context.Context, p *phase, crew *crew) error {
	if err := d.killProducer(ctx, p, crew); err != nil {
		return err
	}
	if err := d.startProducer(ctx, p, crew); err != nil {
		return err
	}
	last := p.deaths[len(p.deaths)-1]
	if err := d.until(ctx, 2*time.Second, func() bool { return len(last.resumed) == len(crew.consumers) }); err != nil {
		return err
	}
	last.settled = true
	return nil
}

// replaceConsumer kills a consumer, starts another, and waits until the slots that the first had in hand are of use again.
func (d *demo) replaceConsumer(ctx context.Context, p *phase, crew *crew) error {
	at := rand.N(len(crew.consumers))
	victim := crew.consumers[at]
	// While it has a frame in hand, if it can be caught: most of the time it has.
	for caught := now() + catchFor; d.heldBy(victim) == 0 && now() < caught; {
	}
	victim.killed = true
	killed := now()
	if err := victim.kill(); err != nil {
		return err
	}
	if err := d.until(ctx, 10*time.Second, func() bool { return victim.ended }); err != nil {
		return err
	}
	lost := &loss{held: d.heldBy(victim)}
	p.losses = append(p.losses, lost)
	gone := func() bool { return d.heldBy(victim) < 0 }
	if d.options.EveryFrame { // the producer waits for it, and has to find out by itself
		if err := d.poll(ctx, time.Second, gone); err != nil {
			return err
		}
	}
	next, err := d.startConsumer()
	if err != nil {
		return err
	}
	crew.consumers[at] = next
	if err := d.poll(ctx, 2*time.Second, gone); err != nil {
		return err
	}
	what := "was not free again"
	if gone() {
		lost.back = now() - killed
		what = fmt.Sprintf("was free again within %v", units.Rounded(lost.back))
	}
	lost.settled = true
	d.screen.Printf("Consumer %s killed with %d of %d slots in hand: its place %s\n", victim.name, lost.held, d.options.slots(), what)
	return d.until(ctx, 10*time.Second, func() bool { return next.ready })
}

// heldBy returns how many slots a worker has in hand, and -1 if it has no place among the readers.
func (d *demo) heldBy(w *worker) int {
	for _, r := range d.carrier.readers() {
		if r.Process == w.pid {
			return r.Held
		}
	}
	return -1
}

// killProducer kills the producer and waits until every consumer has noticed.
func (d *demo) killProducer(ctx context.Context, p *phase, crew *crew) error {
	producer := crew.producer
	// While a commit is in progress, if one can be caught: what it leaves behind is the hardest for the others.
	for caught := now() + catchFor; !d.carrier.inCommit() && now() < caught; {
	}
	death := &death{at: now(), noticed: map[*worker]time.Duration{}, resumed: map[*worker]time.Duration{}}
	producer.killed = true
	if err := producer.kill(); err != nil {
		return err
	}
	if err := d.until(ctx, 10*time.Second, func() bool { return producer.ended }); err != nil {
		return err
	}
	when := "between two commits"
	if death.midCommit = d.carrier.inCommit(); death.midCommit {
		when = "in the middle of a commit"
	}
	longest := time.Duration(0)
	err := d.until(ctx, 2*time.Second, func() bool {
		for _, w := range crew.consumers {
			if w.diedAt >= death.at {
				death.noticed[w] = w.diedAt - death.at
				longest = max(longest, death.noticed[w])
			}
		}
		return len(death.noticed) == len(crew.consumers)
	})
	if err != nil {
		return err
	}
	p.deaths = append(p.deaths, death)
	d.screen.Printf("Producer %s killed %s: %d of %d consumers noticed within %v\n",
		producer.name, when, len(death.noticed), len(crew.consumers), units.Rounded(longest))
	return nil
}

// poll is until for what no report tells of, and which is therefore looked at often.
func (d *demo) poll(ctx context.Context, limit time.Duration, done func() bool) error {
	for end := now() + limit; !done() && now() < end; {
		if err := d.until(ctx, time.Millisecond, never); err != nil {
			return err
		}
	}
	return nil
}
