package main

import (
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

const (
	streamFPS   = 60   // a camera's pace, which consumers that work keep up with
	segmentFPS  = 1000 // at this one parked consumers show how fast they wake: most of the time they are
	defaultWork = 10 * time.Millisecond

	catchFor = 20 * time.Millisecond // how long the demo tries to catch a worker at what is the worst moment to be killed
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
	var filmOptions []judemap.Option
	if shared {
		name = demoName(os.Getpid())
		filmOptions = append(filmOptions, judemap.WithSealed()) // a file without a name, to be passed to the workers
	}
	if err := d.makeFilm(filmOptions...); err != nil {
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

func (d *demo) makeFilm(options ...judemap.Option) error {
	frames, err := makeFilm()
	if err != nil {
		return err
	}
	if d.film, err = judemap.New(4*len(frames), options...); err != nil {
		return err
	}
	return judemap.WriteSlice(d.film, []int{frameCount, frameSide, frameSide, 3}, frames)
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
	if d.flags.everyFrame { // the producer waits for it, and has to find out by itself
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
		what = fmt.Sprintf("was free again within %v", rounded(lost.back))
	}
	lost.settled = true
	d.display.print("Consumer %s killed with %d of %d slots in hand: its place %s\n", victim.name, lost.held, d.flags.slots(), what)
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
	d.display.print("Producer %s killed %s: %d of %d consumers noticed within %v\n",
		producer.name, when, len(death.noticed), len(crew.consumers), rounded(longest))
	return nil
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

// poll is until for what no report tells of, and which is therefore looked at often.
func (d *demo) poll(ctx context.Context, limit time.Duration, done func() bool) error {
	for end := now() + limit; !done() && now() < end; {
		if err := d.until(ctx, time.Millisecond, never); err != nil {
			return err
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

func (p *phase) pace() string {
	if p.fps == 0 {
		return "flat out"
	}
	return fmt.Sprintf("%v frames/s", p.fps)
}

func (p *phase) perSecond(n int) string {
	return fmt.Sprintf("%.0f/s", float64(n)/p.length.Seconds())
}

func (p *phase) bandwidth() string {
	return bandwidth(float64(p.commits) * frameBytes / p.length.Seconds())
}

// line returns what the phase has come to, in one line.
func (d *demo) line(p *phase) string {
	c := &p.counts
	text := fmt.Sprintf("%s %.1f s: %s commits, %s; %s delivered, checked %d", p.pace(), p.length.Seconds(),
		p.perSecond(int(p.commits)), p.bandwidth(), p.perSecond(c.Frames), c.Checked)
	if d.carrier.holds() {
		text += fmt.Sprintf(", missed %d, held %d", c.Missed, p.held)
	} else {
		text += fmt.Sprintf(", overwritten %d", c.Overwritten)
	}
	return text + fmt.Sprintf(", wrong %d; commit to view p50 %v p99 %v", c.Wrong, rounded(p.latencies.quantile(0.5)),
		rounded(p.latencies.quantile(0.99)))
}

// show shows how far the demo is: all of the table on a terminal, else the phase's line.
func (d *demo) show(p *phase) {
	if d.display.terminal {
		d.display.draw(strings.Split(strings.TrimSuffix(d.table(), "\n"), "\n"), nil)
	} else {
		d.display.print("%s\n", d.line(p))
	}
}

// report prints the table and the last frame, and saves it. It fails if a frame was not right.
func (d *demo) report() error {
	if len(d.phases) == 0 {
		return nil // interrupted before it began
	}
	if !d.display.terminal {
		d.display.print("\n")
	}
	d.display.print("%s\n%s\n", d.table(), d.summary())
	var faults []error
	fault := func(n int, what string) {
		if n != 0 {
			faults = append(faults, fmt.Errorf("%d %s", n, what))
		}
	}
	for _, p := range d.phases {
		fault(p.counts.Wrong, "frames were wrong")
		fault(p.counts.Backwards, "frames were not newer than the one before")
		if d.flags.everyFrame {
			fault(p.counts.Missed, "frames were missed, and every one counts")
		}
		if d.carrier.holds() && !d.flags.chaos { // a consumer that is killed takes along what it counted last
			fault(int(p.commits)*d.flags.consumers-p.counts.Frames-p.counts.Missed, "frames were neither delivered nor missed")
		}
		for _, death := range p.deaths {
			if death.settled {
				fault(d.flags.consumers-len(death.noticed), "consumers did not notice that the producer died")
				fault(d.flags.consumers-len(death.resumed), "consumers had no frame of the next producer")
			}
		}
		for _, lost := range p.losses {
			if lost.settled && lost.back == 0 {
				fault(1, "consumer died, and its place and slots did not come back")
			}
		}
	}
	if err := d.showFrame(); err != nil {
		return err
	}
	return errors.Join(append(faults, d.display.err)...)
}

// summary says what came of the frames, in one line.
func (d *demo) summary() string {
	var c counts
	for _, p := range d.phases {
		c.add(p.counts)
	}
	text := fmt.Sprintf("%d frames checked, %d wrong, %d missed", c.Checked, c.Wrong, c.Missed)
	if !d.carrier.holds() {
		text += fmt.Sprintf(", %d overwritten meanwhile", c.Overwritten)
	}
	if c.Frames == 0 {
		return text + "."
	}
	return text + fmt.Sprintf("; work per frame: %s.", c.workPerFrame())
}

// workPerFrame says how long a consumer had a frame, and what it did meanwhile.
func (c *counts) workPerFrame() string {
	if c.Frames == 0 {
		return "-"
	}
	each := rounded(c.Work / time.Duration(c.Frames))
	if c.Passes == c.Frames {
		return fmt.Sprintf("%v, gone over once", each)
	}
	return fmt.Sprintf("%v, gone over %.0f times", each, float64(c.Passes)/float64(c.Frames))
}

// table returns a column for each phase.
func (d *demo) table() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	row := func(label string, value func(p *phase) string) {
		fmt.Fprint(w, label)
		for _, p := range d.phases {
			fmt.Fprintf(w, "\t%s", value(p))
		}
		fmt.Fprintln(w)
	}
	count := func(label string, n func(c *counts) int) {
		row(label, func(p *phase) string { return fmt.Sprint(n(&p.counts)) })
	}
	row("producer", (*phase).pace)
	row("commits", func(p *phase) string {
		return fmt.Sprintf("%d, %s, %s", p.commits, p.perSecond(int(p.commits)), p.bandwidth())
	})
	row("delivered", func(p *phase) string {
		return fmt.Sprintf("%d, %s", p.counts.Frames, p.perSecond(p.counts.Frames))
	})
	count("checked", func(c *counts) int { return c.Checked })
	if !d.carrier.holds() {
		count("overwritten", func(c *counts) int { return c.Overwritten })
	}
	count("missed", func(c *counts) int { return c.Missed })
	if d.carrier.holds() {
		row("held", func(p *phase) string { return fmt.Sprintf("%d of %d slots", p.mostHeld, d.flags.slots()) })
	}
	count("wrong", func(c *counts) int { return c.Wrong })
	count("went back", func(c *counts) int { return c.Backwards })
	row("commit to view", func(p *phase) string {
		return fmt.Sprintf("p50 %v, p99 %v", rounded(p.latencies.quantile(0.5)), rounded(p.latencies.quantile(0.99)))
	})
	row("work per frame", func(p *phase) string { return p.counts.workPerFrame() })
	if d.flags.chaos {
		row("producers killed", func(p *phase) string {
			midCommit := 0
			for _, death := range p.deaths {
				if death.midCommit {
					midCommit++
				}
			}
			return fmt.Sprintf("%d, %d in the middle of a commit", len(p.deaths), midCommit)
		})
		afterDeaths := func(times func(*death) map[*worker]time.Duration) func(p *phase) string {
			return func(p *phase) string {
				all := latencies{}
				longest, complete := time.Duration(0), 0
				for _, death := range p.deaths {
					for _, t := range times(death) {
						all.add(t)
						longest = max(longest, t)
					}
					if len(times(death)) == d.flags.consumers {
						complete++
					}
				}
				return fmt.Sprintf("%d, p50 %v, longest %v", complete, rounded(all.quantile(0.5)), rounded(longest))
			}
		}
		row("noticed by all", afterDeaths(func(d *death) map[*worker]time.Duration { return d.noticed }))
		row("next frame to all", afterDeaths(func(d *death) map[*worker]time.Duration { return d.resumed }))
	}
	if d.flags.chaos && d.carrier.holds() {
		row("consumers killed", func(p *phase) string {
			holding := 0
			for _, lost := range p.losses {
				if lost.held > 0 {
					holding++
				}
			}
			return fmt.Sprintf("%d, %d with a slot in hand", len(p.losses), holding)
		})
		row("slots back", func(p *phase) string {
			longest, complete := time.Duration(0), 0
			for _, lost := range p.losses {
				if lost.back > 0 {
					longest = max(longest, lost.back)
					complete++
				}
			}
			return fmt.Sprintf("%d, longest %v", complete, rounded(longest))
		})
	}
	w.Flush()
	return text.String()
}

// showFrame shows the last frame that a consumer saw, and saves it.
func (d *demo) showFrame() error {
	if d.frame == nil {
		if d.flags.save != "" {
			return errors.New("no consumer saw a frame: there is nothing to save")
		}
		return nil
	}
	picture, err := pictureOf(array{frameShape, judemap.Float32, d.frame})
	if err != nil {
		return err
	}
	if d.display.terminal {
		columns, rows := d.display.size()
		tableRows := strings.Count(d.table(), "\n")
		lines := terminalPicture(picture, columns-1, min(28, max(12, rows-tableRows-4))) // both on one screen, if it is large
		d.display.print("\nThe last frame that a consumer saw:\n%s\n", strings.Join(lines, "\n"))
	}
	if d.flags.save == "" {
		return nil
	}
	if err := writeFile(context.Background(), d.flags.save, func(w io.Writer) error { return png.Encode(w, picture) }); err != nil {
		return err
	}
	d.display.print("Saved the last frame that a consumer saw: %s\n", d.flags.save)
	return nil
}

// rounded returns a duration with about three digits.
func rounded(d time.Duration) time.Duration {
	unit := time.Nanosecond
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit)
}
