// Package demo is a camera over a photograph: a producer that commits frames to a stream, or a segment, and consumers that
// compute on each and check that it is right. Producer and consumers are processes of the program that runs the demo, or
// goroutines.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
)

// Options are what the demo is to do.
type Options struct {
	Time       time.Duration // in all
	Paces      []float64     // frames a second, each for a part of the time; 0: as many as the producer can
	Consumers  int
	Work       time.Duration // of a consumer on each frame; 0: it goes over it once
	EveryFrame bool          // no consumer misses one, and the producer waits; only for streams
	Segment    bool          // frames go through a segment, and not through a stream
	Chaos      bool          // the producer and consumers are killed now and then; not with Goroutines
	Goroutines bool          // producer and consumers are no processes
}

// A Screen is where the demo shows how far it is. Once a write to it has failed, the context of [Run] must end.
type Screen interface {
	Printf(format string, args ...any) // lines that stay
	Draw(lines []string)               // in place of those that were drawn before; only on a terminal
	Terminal() bool
	Err() error // of the write that failed
}

// A Result is what came of the demo.
type Result struct {
	Table   string  // what was counted, with a column for each pace
	Numbers Numbers // the same for programs
	Frame   []byte  // the last one that a consumer saw, float32 of [FrameShape]; nil if none saw one
}

// A demo is one run of it.
type demo struct {
	options Options
	screen  Screen
	keeper  *keeper // nil if the carrier has no name
	carrier carrier
	film    *judemap.Segment
	workers workers
	phases  []*phase
	frame   []byte // the last one that a consumer saw
}

// A phase is a part of the demo at one pace, and what was counted in it.
type phase struct {
	fps       float64
	begin     time.Duration
	length    time.Duration
	over      bool
	version   uint64 // the carrier's before the phase
	commits   uint64
	counts    counts
	latencies latencies
	held      int // slots that consumers have in hand, when it was last looked
	mostHeld  int
	deaths    []*death
	losses    []*loss
}

// Run runs the demo until it is over, or ctx ends, and shows how far it is and what came of it. The result is nil if there is
// none. It comes with an error too if a number is not what it must be.
func Run(ctx context.Context, screen Screen, o Options) (*Result, error) {
	d := &demo{options: o, screen: screen}
	defer d.close()
	if err := d.makeCarrier(); err != nil {
		return nil, err
	}
	if err := d.chooseWorkers(); err != nil {
		return nil, err
	}
	for _, fps := range o.Paces {
		err := d.runPhase(ctx, fps, o.Time/time.Duration(len(o.Paces)))
		if err := screen.Err(); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			screen.Printf("Interrupted.\n")
			break // with a table of what there is
		}
		if err != nil {
			return nil, err
		}
	}
	return d.report()
}

// makeCarrier fills a segment with the film, and makes the carrier of the frames, by name if it is to be shared.
func (d *demo) makeCarrier() error {
	shared := !d.options.Goroutines
	if shared {
		err := sweepDemos()
		if shared = !errors.Is(err, judemap.ErrUnsupported); shared && err != nil {
			return err
		}
	}
	name := ""
	if shared {
		name = demoName(os.Getpid())
	}
	if err := d.makeFilm(name); err != nil {
		return err
	}
	if shared {
		var err error
		if d.keeper, err = startKeeper(name); err != nil {
			return err
		}
	}
	c, err := newCarrier(&d.options, name)
	if err != nil {
		return err
	}
	d.carrier = c
	return nil
}

// close gives back what makeCarrier made, also if it failed halfway.
func (d *demo) close() {
	if d.film != nil {
		_ = d.film.Close()
	}
	if d.carrier != nil {
		_ = d.carrier.CloseWait()
		if name := d.carrier.Name(); name != "" {
			_ = judemap.Remove(name)
		}
	}
	if d.keeper != nil {
		d.keeper.dismiss()
	}
}

// makeFilm fills the film's segment. With the demo's name its file can be passed to the workers, and has no name itself.
func (d *demo) makeFilm(name string) error {
	frames, err := Film()
	if err != nil {
		return err
	}
	if name == "" {
		d.film, err = judemap.New(4 * len(frames))
	} else {
		d.film, err = newNameless(name+filmSuffix, 4*len(frames))
	}
	if err != nil {
		return err
	}
	return judemap.WriteSlice(d.film, []int{frameCount, frameSide, frameSide, 3}, frames)
}

// filmSuffix is behind the demo's name in the one that the film may have for a moment.
const filmSuffix = "-film"

// newNameless makes a shared segment without a name; where the system can't, it has this one for a moment.
func newNameless(name string, capacity int) (*judemap.Segment, error) {
	s, err := judemap.New(capacity, judemap.WithSealed())
	if !errors.Is(err, judemap.ErrUnsupported) {
		return s, err
	}
	if s, err = judemap.Create(name, capacity); err != nil {
		return nil, err
	}
	if err := judemap.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // another demo may sweep it away
		s.Close()
		return nil, err
	}
	return s, nil
}

// chooseWorkers decides whether producer and consumers are processes or goroutines, and says so.
func (d *demo) chooseWorkers() error {
	name := d.carrier.Name()
	d.screen.Printf("Frames of %v float32, %d bytes, from 1 producer to %d consumers.\n", FrameShape, frameBytes,
		d.options.Consumers)
	d.screen.Printf("They go through %s. Consumers %s.\n", d.options.through(), d.options.whatConsumersDo())
	if name != "" {
		d.screen.Printf("Each is a process. In another terminal: judemap watch %s\n\n", name)
		processes, err := newProcesses(d.carrier, d.film)
		d.workers = processes
		return err
	}
	if d.options.Chaos {
		return errors.New("--chaos kills processes, and on this system memory can't be shared between processes yet")
	}
	why := ""
	if !d.options.Goroutines {
		why = "On this system memory can't be shared between processes yet. "
	}
	d.screen.Printf("%sEach is a goroutine of this process.\n\n", why)
	d.workers = newGoroutines(d.carrier, d.film)
	return nil
}

// through says what frames go through.
func (o *Options) through() string {
	switch {
	case o.Segment:
		return "a segment"
	case o.EveryFrame:
		return fmt.Sprintf("a stream of %d slots, in which every frame counts", o.slots())
	}
	return fmt.Sprintf("a stream of %d slots, in which the newest wins", o.slots())
}

func (o *Options) whatConsumersDo() string {
	if o.Work == 0 {
		return "go over each once"
	}
	return fmt.Sprintf("work on each for %v", o.Work)
}

// slots returns how many slots the demo's stream has: one for each consumer, the newest frame's, and one to write to.
func (o *Options) slots() int { return o.Consumers + 2 }

// runPhase runs the demo at one pace for a while. Its workers have ended when it returns, after an error too.
func (d *demo) runPhase(ctx context.Context, fps float64, length time.Duration) error {
	p := &phase{fps: fps, version: d.carrier.Version(), latencies: latencies{}}
	crew := &crew{}
	err := d.perform(ctx, p, crew, length)
	// The producer first, so that the consumers see its last frame.
	stopped := d.stop(crew.producer)
	p.measure(d.carrier)
	p.over = true
	stopped = errors.Join(stopped, d.stop(crew.consumers...))
	if p.begin != 0 {
		d.show(p)
	}
	if err != nil {
		return err // it is the cause of what may have gone wrong in stopping
	}
	return stopped
}

// A crew is the workers of a phase.
type crew struct {
	producer  *worker
	consumers []*worker
}

func (d *demo) perform(ctx context.Context, p *phase, crew *crew, length time.Duration) error {
	for range d.options.Consumers {
		w, err := d.startConsumer()
		if err != nil {
			return err
		}
		crew.consumers = append(crew.consumers, w)
	}
	if err := d.until(ctx, 10*time.Second, func() bool { return allReady(crew.consumers) }); err != nil {
		return err
	}
	if err := d.startProducer(ctx, p, crew); err != nil {
		return err
	}
	p.begin = now()
	d.phases = append(d.phases, p)
	for kills := rand.N(2); d.options.Chaos; kills++ {
		// After a random time, as long as there is enough left to see what happens.
		wait := time.Duration(200+rand.N(300)) * time.Millisecond
		if now()+wait+500*time.Millisecond > p.begin+length {
			break
		}
		if err := d.until(ctx, wait, never); err != nil {
			return err
		}
		replace := d.replaceProducer
		if d.carrier.holds() && kills%2 != 0 {
			replace = d.replaceConsumer
		}
		if err := replace(ctx, p, crew); err != nil {
			return err
		}
	}
	return d.until(ctx, p.begin+length-now(), never)
}

func (d *demo) startConsumer() (*worker, error) {
	return d.workers.start(task{role: roleConsumer, work: d.options.Work})
}

func (d *demo) startProducer(ctx context.Context, p *phase, crew *crew) error {
	var err error
	if crew.producer, err = d.workers.start(task{role: roleProducer, fps: p.fps}); err != nil {
		return err
	}
	return d.until(ctx, 10*time.Second, func() bool { return crew.producer.ready })
}

func never() bool { return false }

func allReady(workers []*worker) bool {
	for _, w := range workers {
		if !w.ready {
			return false
		}
	}
	return true
}

// until takes the workers' reports and keeps the display up to date until done says so, or for a time. Errors: that of
// ctx, and that of a worker that failed.
func (d *demo) until(ctx context.Context, limit time.Duration, done func() bool) error {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	interval := 100 * time.Millisecond
	if !d.screen.Terminal() {
		interval = 500 * time.Millisecond
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !done() {
		select {
		case e := <-d.workers.events():
			if err := d.handle(e); err != nil {
				return err
			}
			if p := d.current(); p != nil && !p.over {
				p.lookAtReaders(d.carrier)
			}
		case <-tick.C:
			if p := d.current(); p != nil && !p.over {
				p.measure(d.carrier)
				d.show(p)
			}
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// current returns the phase that runs, or nil before the first.
func (d *demo) current() *phase {
	if len(d.phases) == 0 {
		return nil
	}
	return d.phases[len(d.phases)-1]
}

// handle takes note of what happened to a worker.
func (d *demo) handle(e event) error {
	w := e.worker
	if e.ended {
		w.ended = true
		switch {
		case w.killed || w.stopped && e.err == nil:
			return nil
		case e.err == nil:
			return fmt.Errorf("%s %s ended too early", w.role, w.name)
		}
		return fmt.Errorf("%s %s: %w", w.role, w.name, e.err)
	}
	r := e.report
	w.ready = w.ready || r.Ready
	w.diedAt = max(w.diedAt, r.DiedAt)
	if r.LastFrame != nil {
		d.frame = r.LastFrame
	}
	if p := d.current(); p != nil {
		p.counts.add(r.Counts)
		p.latencies.addAll(r.Latencies)
		if r.ResumedAt != 0 && len(p.deaths) > 0 {
			death := p.deaths[len(p.deaths)-1]
			death.resumed[w] = r.ResumedAt - death.at
		}
	}
	return nil
}

// stop ends workers, which may be nil, and waits for them.
func (d *demo) stop(workers ...*worker) error {
	var first error
	for _, w := range workers {
		if w != nil && !w.ended {
			w.stopped = true
			w.stop()
		}
	}
	for _, w := range workers {
		for w != nil && !w.ended {
			// The context is another: after Ctrl-C there is an orderly end as well.
			err := d.until(context.Background(), 5*time.Second, func() bool { return w.ended })
			if first == nil {
				first = err
			}
			if !w.ended {
				first = fmt.Errorf("%s %s did not stop when told to, and was killed", w.role, w.name)
				w.killed = true
				if w.kill() != nil {
					return first
				}
			}
		}
	}
	return first
}

// measure brings up to date what is known without the workers.
func (p *phase) measure(c carrier) {
	p.length = now() - p.begin
	p.commits = layout.Commits(c.Version()) - layout.Commits(p.version)
	p.lookAtReaders(c)
}

func (p *phase) lookAtReaders(c carrier) {
	p.held = 0
	for _, r := range c.readers() {
		p.held += r.Held
	}
	p.mostHeld = max(p.mostHeld, p.held)
}
