package demo

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/judemap/judemap/internal/units"
)

// What the demo shows, while it runs and at its end.

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
	return units.Bandwidth(float64(p.commits) * frameBytes / p.length.Seconds())
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
	return text + fmt.Sprintf(", wrong %d; commit to view p50 %v p99 %v", c.Wrong, units.Rounded(p.latencies.quantile(0.5)),
		units.Rounded(p.latencies.quantile(0.99)))
}

// show shows how far the demo is: all of the table on a terminal, else the phase's line.
func (d *demo) show(p *phase) {
	if d.screen.Terminal() {
		d.screen.Draw(strings.Split(strings.TrimSuffix(d.table(), "\n"), "\n"))
	} else {
		d.screen.Printf("%s\n", d.line(p))
	}
}

// report prints the table and returns it with the last frame. It fails if a frame was not right.
func (d *demo) report() (*Result, error) {
	if len(d.phases) == 0 {
		return nil, nil // interrupted before it began
	}
	table := d.table()
	if !d.screen.Terminal() {
		d.screen.Printf("\n")
	}
	d.screen.Printf("%s\n%s\n", table, d.summary())
	var faults []error
	fault := func(n int, what string) {
		if n != 0 {
			faults = append(faults, fmt.Errorf("%s: %d", what, n))
		}
	}
	for _, p := range d.phases {
		fault(p.counts.Wrong, "frames that were wrong")
		fault(p.counts.Backwards, "frames that were not newer than the one before")
		if d.options.EveryFrame {
			fault(p.counts.Missed, "frames missed, of which every one counts")
		}
		if d.carrier.holds() && !d.options.Chaos { // a consumer that is killed takes along what it counted last
			fault(int(p.commits)*d.options.Consumers-p.counts.Frames-p.counts.Missed, "frames neither delivered nor missed")
		}
		for _, death := range p.deaths {
			if death.settled {
				fault(d.options.Consumers-len(death.noticed), "consumers that did not notice the death of a producer")
				fault(d.options.Consumers-len(death.resumed), "consumers that had no frame of the next producer")
			}
		}
		for _, lost := range p.losses {
			if lost.settled && lost.back == 0 {
				fault(1, "consumers that died and whose slots did not come back")
			}
		}
	}
	err := errors.Join(faults...)
	return &Result{Table: table, Numbers: d.numbers(err), Frame: d.frame}, err
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
	each := units.Rounded(c.Work / time.Duration(c.Frames))
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
		row("held", func(p *phase) string { return fmt.Sprintf("%d of %d slots", p.mostHeld, d.options.slots()) })
	}
	count("wrong", func(c *counts) int { return c.Wrong })
	count("went back", func(c *counts) int { return c.Backwards })
	row("commit to view", func(p *phase) string {
		return fmt.Sprintf("p50 %v, p99 %v", units.Rounded(p.latencies.quantile(0.5)), units.Rounded(p.latencies.quantile(0.99)))
	})
	row("work per frame", func(p *phase) string { return p.counts.workPerFrame() })
	if d.options.Chaos {
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
					if len(times(death)) == d.options.Consumers {
						complete++
					}
				}
				return fmt.Sprintf("%d, p50 %v, longest %v", complete, units.Rounded(all.quantile(0.5)), units.Rounded(longest))
			}
		}
		row("noticed by all", afterDeaths(func(d *death) map[*worker]time.Duration { return d.noticed }))
		row("next frame to all", afterDeaths(func(d *death) map[*worker]time.Duration { return d.resumed }))
	}
	if d.options.Chaos && d.carrier.holds() {
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
			return fmt.Sprintf("%d, longest %v", complete, units.Rounded(longest))
		})
	}
	w.Flush()
	return text.String()
}
