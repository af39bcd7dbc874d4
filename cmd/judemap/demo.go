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

// defaultFPS is the pace at which the demo shows how fast parked consumers wake: most of the time they are.
const defaultFPS = 1000

type demoFlags struct {
	time      time.Duration
	consumers int
	fps       float64
	save      string
	chaos     bool
	together  bool
}

func newDemoCommand() *cobra.Command {
	var flags demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "A camera over a photograph: one producer, several consumers that check every frame",
		Long: fmt.Sprintf(`A camera over a photograph: one producer, several consumers that check every frame.

The producer commits frames of 224 x 224 pixels (float32, [1 224 224 3]) to a shared segment. Each consumer takes the
frames as they come, without a copy, and compares every byte with the film that it knows. Producer and consumers are
processes of their own, or goroutines where segments can't be shared between processes.

Half of the time the producer makes %d frames a second, so that consumers park between them, and half of the time as
many as it can; --fps sets one pace for all of the time. Afterwards a table shows:

  commits            frames that the producer committed
  views              frames that the consumers took, all of them together
  checked            views that were the committed frame to the last byte
  overwritten        views that the next commit overtook during the check; Valid said so
  missed             commits that were followed by the next before the consumer looked
  torn               views that were wrong although Valid said they were right: must be 0
  went back          views that were not newer than the one before: must be 0
  commit to view     time from a frame's commit to a consumer's having it, of the views that were checked

and with --chaos, which kills the producer, in the middle of a commit if it can, and starts another:

  noticed by all     deaths that every consumer was told of, and how long after the kill
  next frame to all  deaths after which every consumer had a frame of the next producer, and how long after the kill

The exit status is 1 if one of those that must be 0 is not, or a consumer missed a death.`, defaultFPS),
		Example: `  judemap demo
  judemap demo --fps 30 --time 1m --save frame.png
  judemap demo --chaos`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			paces := []float64{flags.fps}
			if !cmd.Flags().Changed("fps") {
				paces = []float64{defaultFPS, 0}
			}
			return runDemo(cmd.Context(), cmd.OutOrStdout(), flags, paces)
		}),
	}
	cmd.Flags().DurationVar(&flags.time, "time", 4*time.Second, "how long it runs")
	cmd.Flags().IntVar(&flags.consumers, "consumers", 2, "how many consumers there are")
	cmd.Flags().Float64Var(&flags.fps, "fps", 0, "frames a second; 0: as many as the producer can")
	cmd.Flags().StringVar(&flags.save, "save", "", "write the last frame that a consumer saw to this PNG file")
	cmd.Flags().BoolVar(&flags.chaos, "chaos", false, "kill the producer now and then; another takes over")
	cmd.Flags().BoolVar(&flags.together, "goroutines", false, "producer and consumers are goroutines of one process")
	return cmd
}

func (f *demoFlags) check() error {
	switch {
	case f.time <= 0:
		return usagef("--time is %v, and must be more than 0", f.time)
	case f.consumers < 1 || f.consumers > 100:
		return usagef("--consumers is %d, and must be 1 to 100", f.consumers)
	case f.chaos && f.together:
		return usagef("--chaos kills processes, and --goroutines has none")
	case !(f.fps >= 0 && f.fps <= 1e6):
		return usagef("--fps is %v, and must be 0 to 1000000", f.fps)
	}
	return nil
}

// A demo is one run of the command.
type demo struct {
	flags   demoFlags
	display *display
	keeper  *keeper // nil if the segment has no name
	segment *judemap.Segment
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
	version   uint64 // the segment's before the phase
	commits   uint64
	counts    counts
	latencies latencies
	deaths    []*death
}

// A death is the end of one producer at the demo's hands, on the demo's clock.
type death struct {
	at        time.Duration
	midCommit bool
	noticed   map[*worker]time.Duration // how long after it each consumer knew
	resumed   map[*worker]time.Duration // and had a frame of the next producer
	settled   bool                      // consumers had the time to
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
	if err := d.makeSegments(); err != nil {
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

// makeSegments fills a segment with the film, and makes the one for the frames, by name if it is to be shared.
func (d *demo) makeSegments() error {
	shared := !d.flags.together
	if shared {
		err := sweepDemos()
		if shared = !errors.Is(err, judemap.ErrUnsupported); shared && err != nil {
			return err
		}
	}
	if !shared {
		if err := d.makeFilm(); err != nil {
			return err
		}
		var err error
		d.segment, err = judemap.New(frameBytes)
		return err
	}
	// A file without a name, to be passed to the workers.
	if err := d.makeFilm(judemap.WithSealed()); err != nil {
		return err
	}
	name := demoSegment(os.Getpid())
	var err error
	if d.keeper, err = startKeeper(name); err != nil {
		return err
	}
	d.segment, err = judemap.Create(name, frameBytes)
	return err
}

// close gives back what makeSegments made, also if it failed halfway.
func (d *demo) close() {
	if d.film != nil {
		_ = d.film.Close()
	}
	if d.segment != nil {
		_ = d.segment.CloseWait()
		if name := d.segment.Name(); name != "" {
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
	name := d.segment.Name()
	d.display.print("Frames of %v float32, %d bytes, from 1 producer to %d consumers.\n", frameShape, frameBytes,
		d.flags.consumers)
	if name != "" {
		d.display.print("Each is a process. In another terminal: judemap watch %s\n\n", name)
		processes, err := newProcesses(d.segment, d.film)
		d.workers = processes
		return err
	}
	if d.flags.chaos {
		return errors.New("--chaos kills processes, and on this system segments can't be shared between processes yet")
	}
	why := ""
	if !d.flags.together {
		why = "On this system segments can't be shared between processes yet. "
	}
	d.display.print("%sEach is a goroutine of this process.\n\n", why)
	d.workers = newGoroutines(d.segment, d.film)
	return nil
}

// runPhase runs the demo at one pace for a while. Its workers have ended when it returns, after an error too.
func (d *demo) runPhase(ctx context.Context, fps float64, length time.Duration) error {
	p := &phase{fps: fps, version: d.segment.Version(), latencies: latencies{}}
	crew := &crew{}
	err := d.perform(ctx, p, crew, length)
	p.end(d.segment)
	// The producer first, so that the consumers see its last frame.
	stopped := errors.Join(d.stop(crew.producer), d.stop(crew.consumers...))
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
		w, err := d.workers.start(roleConsumer, 0)
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
	for d.flags.chaos {
		// After a random time, as long as there is enough left to see what happens.
		wait := time.Duration(200+rand.N(300)) * time.Millisecond
		if now()+wait+500*time.Millisecond > p.begin+length {
			break
		}
		if err := d.until(ctx, wait, never); err != nil {
			return err
		}
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
	}
	return d.until(ctx, p.begin+length-now(), never)
}

func (d *demo) startProducer(ctx context.Context, p *phase, crew *crew) error {
	var err error
	if crew.producer, err = d.workers.start(roleProducer, p.fps); err != nil {
		return err
	}
	return d.until(ctx, 10*time.Second, func() bool { return crew.producer.ready })
}

// killProducer kills the producer and waits until every consumer has noticed.
func (d *demo) killProducer(ctx context.Context, p *phase, crew *crew) error {
	producer := crew.producer
	// While a commit is in progress, if one can be caught: what it leaves behind is the hardest for the others.
	for caught := now() + 2*time.Millisecond; !inCommit(d.segment.Version()) && now() < caught; {
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
	if death.midCommit = inCommit(d.segment.Version()); death.midCommit {
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
		case <-tick.C:
			if p := d.current(); p != nil && !p.over {
				p.measure(d.segment)
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
func (p *phase) measure(s *judemap.Segment) {
	p.length = now() - p.begin
	p.commits = commitsOf(s.Version()) - commitsOf(p.version)
}

func (p *phase) end(s *judemap.Segment) {
	p.measure(s)
	p.over = true
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
func (p *phase) line() string {
	return fmt.Sprintf("%s %.1f s: %s commits, %s; %s views, checked %d, overwritten %d, torn %d; commit to view p50 %v p99 %v",
		p.pace(), p.length.Seconds(), p.perSecond(int(p.commits)), p.bandwidth(), p.perSecond(p.counts.Views),
		p.counts.Checked, p.counts.Overwritten, p.counts.Torn,
		rounded(p.latencies.quantile(0.5)), rounded(p.latencies.quantile(0.99)))
}

// show shows how far the demo is: all of the table on a terminal, else the phase's line.
func (d *demo) show(p *phase) {
	if d.display.terminal {
		d.display.draw(strings.Split(strings.TrimSuffix(d.table(), "\n"), "\n"), nil)
	} else {
		d.display.print("%s\n", p.line())
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
	d.display.print("%s", d.table())
	var wrong int
	for _, p := range d.phases {
		wrong += p.counts.Torn + p.counts.Backwards
		for _, death := range p.deaths {
			if death.settled {
				wrong += 2*d.flags.consumers - len(death.noticed) - len(death.resumed)
			}
		}
	}
	if err := d.showFrame(); err != nil {
		return err
	}
	if wrong > 0 {
		return errors.New("the table has a number that must be 0 and is not, or a killed producer that a consumer missed")
	}
	return d.display.err
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
	row("views", func(p *phase) string {
		return fmt.Sprintf("%d, %s", p.counts.Views, p.perSecond(p.counts.Views))
	})
	count("checked", func(c *counts) int { return c.Checked })
	count("overwritten", func(c *counts) int { return c.Overwritten })
	count("missed", func(c *counts) int { return c.Missed })
	count("torn", func(c *counts) int { return c.Torn })
	count("went back", func(c *counts) int { return c.Backwards })
	row("commit to view", func(p *phase) string {
		return fmt.Sprintf("p50 %v, p99 %v", rounded(p.latencies.quantile(0.5)), rounded(p.latencies.quantile(0.99)))
	})
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
