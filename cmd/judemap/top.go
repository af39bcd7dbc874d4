package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/judemap/judemap/internal/live"
	"github.com/spf13/cobra"
)

func newTopCommand() *cobra.Command {
	var t top
	var asJSON *bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show what goes on in all segments and streams on this machine, live",
		Long: `Show what goes on in all segments and streams on this machine, live. On a terminal it is a table that is drawn anew every
second; q or Ctrl-C ends it. Elsewhere a table is printed every second, and with --json a line.

The columns:
  COMMITS/S  commits a second since the table before
  BYTES/S    the same in bytes of tensor
  AGE        how long ago the last commit was noticed; ">8s": none was in the 8 seconds since top knows of it
  READERS    of a stream: how many there are; "2+1 dead": two, and one that died
  MISSED     of a stream: the frames that its slowest reader has not taken; the newest of them it can still have, and where
             every frame counts, all
  WRITER     who writes: none, other (a process), or died
A wide terminal shows the type and shape of the tensor too. In place of it, or of the rates, stands why a segment or stream
can't be opened.

It only reads headers: no writer or reader notices it.`,
		Example: `  judemap top
  judemap top --sort age
  judemap top --once --json`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			switch {
			case t.interval < minInterval:
				return usagef("--interval is %v, and must be at least %v", t.interval, minInterval)
			case t.length < 0:
				return usagef("--time is %v, and must not be negative", t.length)
			case !slices.Contains(live.Orders, t.order):
				return usagef("--sort is %q, and must be one of %s", t.order, strings.Join(live.Orders, ", "))
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			if t.length > 0 {
				defer time.AfterFunc(t.length, cancel).Stop()
			}
			t.json, t.sampler = *asJSON, live.NewSampler()
			t.display = newDisplay(cmd.OutOrStdout(), cancel)
			if t.json || t.once {
				t.display.terminal = false
			}
			if t.display.terminal {
				restore := t.display.readKeys(cmd.InOrStdin(), func(key byte) {
					if key == 'q' || key == 'Q' || key == 3 { // Ctrl-C
						cancel()
					}
				})
				defer restore()
			}
			if err := t.run(ctx); err != nil {
				return err
			}
			return t.display.err
		}),
	}
	asJSON = addJSONFlag(cmd)
	cmd.Flags().StringVar(&t.order, "sort", "bytes", "the column to sort by: "+strings.Join(live.Orders, ", "))
	cmd.Flags().DurationVar(&t.interval, "interval", time.Second, "the time from one table to the next")
	cmd.Flags().DurationVar(&t.length, "time", 0, "how long it runs; 0: until q or Ctrl-C")
	cmd.Flags().BoolVar(&t.once, "once", false, "print one table, after one interval, and end")
	return cmd
}

const minInterval = 100 * time.Millisecond

// A top shows samples.
type top struct {
	order            string
	interval, length time.Duration
	once, json       bool
	display          *display
	sampler          *live.Sampler
}

func (t *top) run(ctx context.Context) error {
	sample, err := t.sampler.Sample()
	if err != nil {
		return err
	}
	if t.display.terminal {
		t.show(&sample)
	}
	ticker := time.NewTicker(t.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		sample, err := t.sampler.Sample()
		if err != nil {
			return err
		}
		t.show(&sample)
		if t.once {
			return nil
		}
	}
}

func (t *top) show(sample *live.Sample) {
	_ = live.Sort(sample.Rows, t.order) // one of Orders, as was checked
	if t.json {
		line, err := json.Marshal(struct {
			live.Sample
			Interval float64 `json:"interval_seconds"`
		}{*sample, sample.Interval.Seconds()})
		if err != nil {
			t.display.err = err // can't be: there is nothing in it that has no JSON
			return
		}
		t.display.print("%s\n", line)
		return
	}
	columns, rows := t.display.size()
	if !t.display.terminal {
		lines := append([]string{topLine(sample, t.order)}, topTable(sample.Rows, 80)...)
		t.display.print("%s\n\n", strings.Join(lines, "\n"))
		return
	}
	table := topTable(sample.Rows, columns)
	if room := max(2, rows-4); len(table) > room {
		table = append(table[:room-1:room-1], fmt.Sprintf("and %d more", len(table)-room+1))
	}
	t.display.draw(slices.Concat([]string{topLine(sample, t.order), ""}, table), nil)
}

// topLine says what all rows together are.
func topLine(sample *live.Sample, order string) string {
	active, commits, bytes := sample.Totals()
	return fmt.Sprintf("%s  %d shown, %d written to; %s commits/s, %s/s; by %s", sample.Time.Format(time.TimeOnly),
		len(sample.Rows), active, rateText(commits), bytesText(bytes), order)
}

// Widths of the columns of numbers, and how many characters a name and a tensor get at least.
const (
	leastName   = 22
	leastTensor = 16
)

var topColumns = []struct {
	title string
	width int
	value func(r *live.Row) string
}{
	{"COMMITS/S", 9, func(r *live.Row) string { return rateText(r.CommitsPerSecond) }},
	{"BYTES/S", 8, func(r *live.Row) string { return bytesText(r.BytesPerSecond) }},
	{"AGE", 5, sinceText},
	{"READERS", 9, readersText},
	{"MISSED", 6, missedText},
	{"WRITER", 6, func(r *live.Row) string { return r.Writer }},
}

// topTable returns a table whose lines have less than so many columns.
func topTable(rows []live.Row, columns int) []string {
	if len(rows) == 0 {
		return []string{"There are no segments or streams on this machine that may be read."}
	}
	numbers := 0
	for _, c := range topColumns {
		numbers += 2 + c.width
	}
	names, tensors := len("NAME"), len("TENSOR")
	for i := range rows {
		names = max(names, len(nameText(rows[i].Name)))
		tensors = max(tensors, len(tensorText(&rows[i])))
	}
	// A tensor is shown if there is room for it behind the names, or else behind what is enough of them.
	room := max(4, columns-1-numbers)
	names = min(names, room)
	tensorRoom := room - names - 2
	if tensorRoom < leastTensor {
		tensorRoom = room - min(names, leastName) - 2
	}
	if tensorRoom >= leastTensor {
		tensors = min(tensors, tensorRoom)
		names = min(names, room-tensors-2)
	} else {
		tensors = 0
	}

	var lines []string
	line := func(name, tensor string, value func(i int) string) {
		var b strings.Builder
		b.WriteString(fit(name, names))
		if tensors > 0 {
			b.WriteString("  " + fit(tensor, tensors))
		}
		for i, c := range topColumns {
			text := value(i)
			if i == len(topColumns)-1 { // the last column is one of words
				b.WriteString("  " + text)
				continue
			}
			fmt.Fprintf(&b, "  %*s", c.width, text)
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	line("NAME", "TENSOR", func(i int) string { return topColumns[i].title })
	for i := range rows {
		r := &rows[i]
		if r.Kind == "" && tensors == 0 { // why it can't be opened, in place of numbers
			lines = append(lines, fit(nameText(r.Name), names)+"  "+shortened(problemText(r), numbers-2))
			continue
		}
		line(nameText(r.Name), tensorText(r), func(i int) string {
			if r.Kind == "" {
				return "-"
			}
			return topColumns[i].value(r)
		})
	}
	return lines
}

func tensorText(r *live.Row) string {
	if r.Problem != "" || r.DType == "" {
		return problemText(r)
	}
	return r.DType + " " + fmt.Sprint(r.Shape)
}

// problemText says why there is no tensor. It may have a system's error in it, and so the name of a file.
func problemText(r *live.Row) string {
	if strings.ContainsFunc(r.Problem, func(c rune) bool { return c < ' ' || c > '~' }) {
		return strconv.QuoteToASCII(r.Problem)
	}
	return r.Problem
}

// rateText returns commits a second as text.
func rateText(rate float64) string {
	switch {
	case rate == 0:
		return "0"
	case rate < 9.95:
		return fmt.Sprintf("%.1f", rate)
	case rate < 99999.5:
		return fmt.Sprintf("%.0f", rate)
	}
	return fmt.Sprintf("%.3gM", rate/1e6)
}

// bytesText returns bytes as text of at most 7 characters.
func bytesText(bytes float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	i := 0
	for bytes >= 999.5 && i < len(units)-1 {
		bytes /= 1000
		i++
	}
	switch {
	case i == 0 || bytes >= 99.95:
		return fmt.Sprintf("%.0f %s", bytes, units[i])
	case bytes >= 9.995:
		return fmt.Sprintf("%.1f %s", bytes, units[i])
	}
	return fmt.Sprintf("%.2f %s", bytes, units[i])
}

// sinceText says how long ago the last commit was, in at most 5 characters.
func sinceText(r *live.Row) string {
	if r.Age == nil {
		return "-"
	}
	if *r.Age < 0.5 && !r.AgeAtLeast {
		return "now"
	}
	text := ageText(time.Duration(*r.Age * float64(time.Second)))
	if r.AgeAtLeast {
		text = ">" + text
	}
	return text
}

func readersText(r *live.Row) string {
	switch {
	case r.StreamRow == nil:
		return "-"
	case r.Dead > 0:
		return fmt.Sprintf("%d+%d dead", r.Readers-r.Dead, r.Dead)
	}
	return fmt.Sprint(r.Readers)
}

func missedText(r *live.Row) string {
	switch {
	case r.StreamRow == nil:
		return "-"
	case r.Missed >= 999_950:
		return fmt.Sprintf("%.3gM", float64(r.Missed)/1e6)
	}
	return fmt.Sprint(r.Missed)
}

// fit returns ASCII text in exactly so many characters.
func fit(text string, length int) string {
	return fmt.Sprintf("%-*s", length, shortened(text, length))
}
