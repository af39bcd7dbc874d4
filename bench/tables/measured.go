package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// samples are the values of one unit of one benchmark, of all rounds.
type samples []float64

// measured is a file of benchmark lines.
type measured struct {
	values  map[string]map[string]samples // by benchmark, without "Benchmark" and the number of processors, and unit
	config  map[string]string             // machine, date, commit
	skipped []string
}

var (
	procs  = regexp.MustCompile(`-\d+$`)
	config = regexp.MustCompile(`^(machine|date|commit): (.*)$`)
)

func parse(text []byte) (*measured, error) {
	m := &measured{values: map[string]map[string]samples{}, config: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if found := config.FindStringSubmatch(line); found != nil {
			m.config[found[1]] = found[2]
		}
		if why, ok := strings.CutPrefix(line, "SKIP: "); ok && !slices.Contains(m.skipped, why) {
			m.skipped = append(m.skipped, why)
		}
		name, ok := strings.CutPrefix(line, "Benchmark")
		fields := strings.Fields(name)
		if !ok || len(fields) < 4 { // the name and a count, then pairs
			continue
		}
		name = procs.ReplaceAllString(fields[0], "")
		if m.values[name] == nil {
			m.values[name] = map[string]samples{}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			m.values[name][fields[i+1]] = append(m.values[name][fields[i+1]], value)
		}
	}
	if len(m.values) == 0 {
		return nil, errors.New("has no line of a benchmark")
	}
	return m, nil
}

func (m *measured) get(benchmark, unit string) samples { return m.values[benchmark][unit] }

// rounds is how often most benchmarks were run.
func (m *measured) rounds() int {
	most := 0
	for _, units := range m.values {
		for _, s := range units {
			most = max(most, len(s))
		}
	}
	return most
}

func (s samples) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratio is that of the medians, or "" if one is not there.
func ratio(a, b samples) string {
	if a == nil || b == nil || b.median() == 0 {
		return ""
	}
	switch r := a.median() / b.median(); {
	case r >= 9.95:
		return grouped(r)
	case r < 0.095:
		return fmt.Sprintf("%.2f", r)
	default:
		return fmt.Sprintf("%.1f", r)
	}
}

// with is the cell of s behind a word, or nothing.
func (s samples) with(cell func(samples) string, before string) string {
	if s == nil {
		return ""
	}
	return before + cell(s)
}

func (s samples) times(before string) string { return s.with(samples.time, before) }

// cell is the median and, in brackets, the least and the greatest, in a unit that the median is at least 1 in.
func (s samples) cell(units []string, step float64, number func(float64) string) string {
	if s == nil {
		return ""
	}
	scale, unit := 1.0, units[0]
	for _, next := range units[1:] {
		if s.median() < scale*step {
			break
		}
		scale, unit = scale*step, next
	}
	if unit != "" {
		unit = " " + unit
	}
	return fmt.Sprintf("%s%s [%s %s]", number(s.median()/scale), unit, number(slices.Min(s)/scale), number(slices.Max(s)/scale))
}

func (s samples) time() string    { return s.cell([]string{"ns", "µs", "ms", "s"}, 1000, digits) }
func (s samples) count() string   { return s.cell([]string{""}, 1, grouped) }
func (s samples) bytes() string   { return s.cell([]string{"B", "KiB", "MiB"}, 1024, digits) }
func (s samples) percent() string { return s.cell([]string{"%"}, 1, digits) }

// digits writes a number with two or three digits that count.
func digits(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 1:
		return fmt.Sprintf("%.2f", v)
	case v < 9.95:
		return fmt.Sprintf("%.1f", v)
	default:
		return grouped(v)
	}
}

// grouped writes a number to four digits, in groups of three.
func grouped(v float64) string {
	unit := 1.0
	for v/unit >= 9995 { // four, since 1,001/s are not 1,000/s
		unit *= 10
	}
	if unit > 1 {
		v = float64(int64(v/unit+0.5)) * unit
	}
	whole := strconv.FormatInt(int64(v+0.5), 10)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return whole
}
