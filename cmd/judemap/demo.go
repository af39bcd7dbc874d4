package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

const (
	streamFPS   = 60   // a camera's pace, which consumers that work keep up with
	segmentFPS  = 1000 // at this one parked consumers show how fast they wake: most of the time they are
	defaultWork = 10 * time.Millisecond
)

type demoFlags struct {
	time       time.Duration
	consumers  int
	fps        float64
	work       time.Duration
	save       string
	everyFrame bool
	segment    bool
	chaos      bool
	together   bool
}

func newDemoCommand() *cobra.Command {
	var flags demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "A camera over a photograph: one producer, several consumers that compute on every frame",
		Long: fmt.Sprintf(`A camera over a photograph: one producer, several consumers that compute on every frame.

The producer commits frames of 224 x 224 pixels (float32, [1 224 224 3]) to a shared stream, which has a slot for each
consumer and two more. Each consumer takes the frames as they come, without a copy, and works on each for --work: again
and again it compares every byte with the film that it knows. Which frame of the film it must be, its version says.
Producer and consumers are processes of their own, or goroutines where memory can't be shared between processes.

Half of the time the producer makes %v frames a second, and half of the time as many as it can; --fps sets one pace for all
of the time. A consumer that is slower than the producer gets the newest frame, and misses others. With --every-frame it
misses none, and the producer waits for the slowest consumer. Afterwards a table shows:

  commits            frames that the producer committed
  delivered          frames that the consumers took, all of them together
  checked            frames that were the committed one to the last byte, for as long as they were worked on
  missed             commits that were followed by the next before the consumer looked; with --every-frame must be 0
  held               the most slots that consumers had in hand at a time, as far as was looked
  wrong              frames that were not the one that their version says, or changed: must be 0
  went back          frames that were not newer than the one before: must be 0
  commit to view     time from a frame's commit to a consumer's having it
  work per frame     how long a consumer worked on each, and how often it went over all of it meanwhile

With --segment there are no slots: a view is good until the next commit. --fps is then %v in the first half, and --work 0: a
frame is gone over once. The table has no row for held, and one more:

  overwritten        views that the next commit overtook meanwhile; Valid said so

--chaos kills now the producer, in the middle of a commit if it can, now a consumer with what it holds (not with
--segment), and starts another. The table then has also:

  noticed by all     producers' deaths that every consumer was told of, and how long after the kill
  next frame to all  producers' deaths after which every consumer had a frame of the next one, and how long after the kill
  slots back         consumers' deaths after which others had the use of their slots, and how long after the kill

The exit status is 1 if one of those that must be 0 is not, a consumer missed a death, slots did not come back, or a frame
was neither delivered nor counted as missed.`, streamFPS, segmentFPS),
		Example: `  judemap demo
  judemap demo --every-frame --work 20ms
  judemap demo --fps 30 --time 1m --save frame.png
  judemap demo --chaos`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			paces := []float64{streamFPS, 0}
			if flags.segment {
				paces[0] = segmentFPS
				if !cmd.Flags().Changed("work") {
					flags.work = 0
				}
			}
			if cmd.Flags().Changed("fps") {
				paces = []float64{flags.fps}
			}
			if err := flags.check(); err != nil {
				return err
			}
			return runDemo(cmd.Context(), cmd.OutOrStdout(), flags, paces)
		}),
	}
	cmd.Flags().DurationVar(&flags.time, "time", 4*time.Second, "how long it runs")
	cmd.Flags().IntVar(&flags.consumers, "consumers", 2, "how many consumers there are")
	cmd.Flags().Float64Var(&flags.fps, "fps", 0, "frames a second; 0: as many as the producer can")
	cmd.Flags().DurationVar(&flags.work, "work", defaultWork, "how long a consumer works on each frame; 0: goes over it once")
	cmd.Flags().BoolVar(&flags.everyFrame, "every-frame", false, "no consumer misses a frame: the producer waits for the slowest")
	cmd.Flags().BoolVar(&flags.segment, "segment", false, "through a segment, in which each commit overwrites the one before")
	cmd.Flags().StringVar(&flags.save, "save", "", "write the last frame that a consumer saw to this PNG file")
	cmd.Flags().BoolVar(&flags.chaos, "chaos", false, "kill the producer or a consumer now and then; another takes over")
	cmd.Flags().BoolVar(&flags.together, "goroutines", false, "producer and consumers are goroutines of one process")
	return cmd
}

func (f *demoFlags) check() error {
	most := 100
	if !f.segment {
		most = judemap.MaxReaders
	}
	switch {
	case f.time <= 0:
		return usagef("--time is %v, and must be more than 0", f.time)
	case f.consumers < 1 || f.consumers > most:
		return usagef("--consumers is %d, and must be 1 to %d", f.consumers, most)
	case f.chaos && f.together:
		return usagef("--chaos kills processes, and --goroutines has none")
	case f.segment && f.everyFrame:
		return usagef("--every-frame is for streams, and not for --segment")
	case !(f.fps >= 0 && f.fps <= 1e6):
		return usagef("--fps is %v, and must be 0 to 1000000", f.fps)
	case f.work < 0 || f.work > time.Second:
		return usagef("--work is %v, and must be 0 to 1s", f.work)
	}
	return nil
}

// A demo is one run of the command.
type demo struct {
	flags   demoFlags
	display *display
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

func runDemo(ctx context.Context, out io.Writer, flags demoFlags, paces []float64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// With this a pipe that nobody reads any more fails the write, and the demo ends in order. Else it kills the process.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)

	d := &demo{flags: flags, display: newDisplay(out, cancel)}
	defer d.close()
	if err := d.makeCarrier(); err != nil {
		return err
	}
	if err := d.chooseWorkers(); err != nil {
		return err
	}
	for _, fps := range paces {
		err := d.runPhase(ctx, fps, flags.time/time.Duration(len(paces)))
		if d.display.err != nil {
			return d.display.err
		}
		if ctx.Err() != nil {
			d.display.print("Interrupted.\n")
			break // with a table of what there is
		}
		if err != nil {
			return err
		}
	}
	return d.report()
}

// makeCarrier fills a segment with the film, and makes the carrier of the frames, by name if it is to be shared.
func (d *demo) makeCarrier() error {
	shared := !d.flags.together
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
	c, err := newCarrier(&d.flags, name)
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
	frames, err := makeFilm()
	if err != nil {
		return err
	}
	if name == "" {
		d.film, err = judemap.New(4 * len(frames))
	} else {
		d.film, err = newNameless(name+"-film", 4*len(frames))
	}
	if err != nil {
		return err
	}
	return judemap.WriteSlice(d.film, []int{frameCount, frameSide, frameSide, 3}, frames)
}

// newNameless makes a shared segment without a name; where the system can't, it has this one for a moment.
func newNameless(name string, capacity int) (*judemap.Segment, error) {
	s, err := judemap.New(capacity, judemap.WithSealed())
	if !errors.Is(err, judemap.ErrUnsupported) {
		return s, err
	}
	if s, err = judemap.Create(name, capacity); err != nil {
		return nil, err
	}
	if err := judemap.Remove(name); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// chooseWorkers decides whether producer and consumers are processes or goroutines, and says so.
func (d *demo) chooseWorkers() error {
	name := d.carrier.Name()
	d.display.print("Frames of %v float32, %d bytes, from 1 producer to %d consumers.\n", frameShape, frameBytes,
		d.flags.consumers)
	d.display.print("They go through %s. Consumers %s.\n", d.flags.through(), d.flags.whatConsumersDo())
	if name != "" {
		d.display.print("Each is a process. In another terminal: judemap watch %s\n\n", name)
		processes, err := newProcesses(d.carrier, d.film)
		d.workers = processes
		return err
	}
	if d.flags.chaos {
		return errors.New("--chaos kills processes, and on this system memory can't be shared between processes yet")
	}
	why := ""
	if !d.flags.together {
		why = "On this system memory can't be shared between processes yet. "
	}
	d.display.print("%sEach is a goroutine of this process.\n\n", why)
	d.workers = newGoroutines(d.carrier, d.film)
	return nil
}

// through says what frames go through.
func (f *demoFlags) through() string {
	switch {
	case f.segment:
		return "a segment"
	case f.everyFrame:
		return fmt.Sprintf("a stream of %d slots, in which every frame counts", f.slots())
	}
	return fmt.Sprintf("a stream of %d slots, in which the newest wins", f.slots())
}

func (f *demoFlags) whatConsumersDo() string {
	if f.work == 0 {
		return "go over each once"
	}
	return fmt.Sprintf("work on each for %v", f.work)
}

// slots returns how many slots the demo's stream has: one for each consumer, the newest frame's, and one to write to.
func (f *demoFlags) slots() int { return f.consumers + 2 }

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
	for range d.flags.consumers {
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
	for kills := rand.N(2); d.flags.chaos; kills++ {
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
	return d.workers.start(task{role: roleConsumer, work: d.flags.work})
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
	if !d.display.terminal {
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
	p.commits = commitsOf(c.Version()) - commitsOf(p.version)
	p.lookAtReaders(c)
}

func (p *phase) lookAtReaders(c carrier) {
	p.held = 0
	for _, r := range c.readers() {
		p.held += r.Held
	}
	p.mostHeld = max(p.mostHeld, p.held)
}
