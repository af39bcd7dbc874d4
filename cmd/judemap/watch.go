package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
	"github.com/judemap/judemap/internal/units"
	"github.com/spf13/cobra"
)

func newWatchCommand() *cobra.Command {
	var length time.Duration
	var asJSON *bool
	cmd := &cobra.Command{
		Use:   "watch NAME...",
		Short: "Show what is committed to segments and streams, live",
		Long: `Show what is committed to segments and streams, live: commits and bytes a second, how long ago the last one was, and the least,
greatest and mean interval between commits of the last second with its standard deviation. The version is looked at every
millisecond: commits that come closer together are taken to be evenly spread between two looks.

On a terminal there is also the tensor itself if one name is watched, and it can be a picture (see 'judemap help export') of at
most 256 MiB. Ctrl-C ends it.

It only reads: writers don't notice it, and it is no reader that a stream's writer would wait for.`,
		Example: `  judemap watch camera
  judemap watch camera detections --time 10s
  judemap watch camera --json`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeNames,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if length < 0 {
				return usagef("--time is %v, and must not be negative", length)
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			w := watcher{display: newDisplay(cmd.OutOrStdout(), cancel), json: *asJSON}
			for _, name := range args {
				s, err := openToRead(name, judemap.WithMaxBytes(watchedBytes))
				if err != nil {
					return err
				}
				defer s.Close()
				w.watched = append(w.watched, &watched{source: s, version: s.Version()})
			}
			if length > 0 {
				defer time.AfterFunc(length, cancel).Stop()
			}
			w.run(ctx)
			return w.display.err
		}),
	}
	cmd.Flags().DurationVar(&length, "time", 0, "how long it runs; 0: until Ctrl-C")
	asJSON = cmd.Flags().Bool(jsonFlag, false, "print JSON, for programs: a line a second for each name")
	return cmd
}

// watchedBytes is the most that a tensor may have to be shown as a picture: several times a second it is copied.
const watchedBytes = 256 << 20

// How often versions are looked at, and of what time intervals are told.
const (
	lookEvery      = time.Millisecond
	intervalWindow = time.Second
)

// A watcher looks at versions often, and shows what it knows now and then.
type watcher struct {
	watched []*watched
	display *display
	json    bool
	shown   time.Duration // when it showed something last
	picture []string      // the newest one that could be had
}

// A watched is a segment or stream that is watched.
type watched struct {
	source    source
	version   uint64        // when it was looked at last
	changed   time.Duration // when another one was found; 0: not since it began
	intervals intervals

	shownVersion uint64 // the version when something was shown last
	last         look   // what there was of the tensor when it could be seen last
}

func (w *watcher) run(ctx context.Context) {
	live := w.display.terminal && !w.json
	interval := 100 * time.Millisecond
	if !live {
		interval = time.Second
	}
	w.shown = now()
	for _, s := range w.watched {
		s.shownVersion = s.version
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.show(ctx, live)
			return
		}
		for _, s := range w.watched {
			s.look()
		}
		if now()-w.shown >= interval {
			w.show(ctx, live)
		}
	}
}

// look finds out whether there were commits.
func (s *watched) look() {
	version := s.source.Version()
	if version == s.version {
		return
	}
	at := now()
	if commits := layout.Commits(version) - layout.Commits(s.version); version > s.version { // else somebody has begun anew
		s.intervals.add(at, commits)
	}
	s.version, s.changed = version, at
}

// A sight is what watch shows of a segment or stream at a time.
type sight struct {
	Time    time.Time `json:"time"`
	Name    string    `json:"name"`
	Kind    string    `json:"kind"`
	Version uint64    `json:"version"`
	Commits float64   `json:"commits_per_second"`
	Bytes   float64   `json:"bytes_per_second"` // of tensor
	Age     *float64  `json:"age,omitempty"`    // of the last commit, in seconds; nil: there was none since it began
	DType   string    `json:"dtype,omitempty"`
	Shape   []int     `json:"shape,omitzero"`
	Problem string    `json:"problem,omitempty"` // why there is no tensor
	Writer  string    `json:"writer"`

	Intervals *intervalSummary `json:"intervals,omitempty"` // between commits, in seconds; nil if none is known

	*streamSight
}

// A streamSight is what only a stream has.
type streamSight struct {
	EveryFrame bool `json:"every_frame"`
	Readers    int  `json:"readers"`
	Dead       int  `json:"dead_readers"` // of them
	Slots      int  `json:"slots"`
	Held       int  `json:"held"` // slots that readers hold
}

// sight returns what there is, since something was shown so many seconds ago.
func (s *watched) sight(seconds float64) sight {
	writer := s.source.Writer()
	l := lookAt(s.source)
	died := errors.Is(l.err, judemap.ErrBusy) && writer == judemap.WriterDied
	if l.err == nil {
		s.last = l
	} else if errors.Is(l.err, judemap.ErrBusy) && !died && s.last.dtype != "" {
		l = s.last
	}
	commits := 0.0
	if s.version > s.shownVersion {
		commits = float64(layout.Commits(s.version)-layout.Commits(s.shownVersion)) / max(seconds, 1e-9)
	}
	s.intervals.forget(now() - intervalWindow)
	seen := sight{Time: time.Now(), Name: s.source.Name(), Kind: kindOf(s.source), Version: s.version, Commits: commits,
		Bytes: commits * float64(s.last.bytes), Writer: writer.String(), Intervals: s.intervals.summary()}
	switch {
	case died:
		seen.Problem = "half written"
	case l.err != nil:
		seen.Problem = l.shape
	default:
		seen.DType, seen.Shape = l.dtype, l.dims
	}
	if s.changed != 0 {
		age := (now() - s.changed).Seconds()
		seen.Age = &age
	}
	if stream, ok := s.source.(*judemap.Stream); ok {
		readers := stream.Readers()
		seen.streamSight = &streamSight{EveryFrame: stream.EveryFrame(), Readers: len(readers), Slots: stream.Slots()}
		for _, r := range readers {
			seen.Held += r.Held
			if r.Dead {
				seen.Dead++
			}
		}
	}
	s.shownVersion = s.version
	return seen
}

func (w *watcher) show(ctx context.Context, live bool) {
	seconds := (now() - w.shown).Seconds()
	w.shown = now()
	var lines []string
	for _, s := range w.watched {
		seen := s.sight(seconds)
		switch {
		case w.json:
			var line strings.Builder
			if err := printJSONLine(&line, seen); err != nil {
				line.Reset()
			}
			w.display.print("%s", line.String())
		case live:
			lines = append(lines, seen.lines(w.columns())...)
		default:
			w.display.print("%s\n", strings.Join(seen.lines(0), "; "))
		}
	}
	if live {
		if len(w.watched) == 1 {
			w.takePicture(ctx)
		}
		w.display.draw(lines, w.picture)
	}
}

func (w *watcher) columns() int {
	columns, _ := w.display.size()
	return columns - 1 // a line that wraps could not be drawn over
}

// lines says the same as text. The name and the tensor are shortened so that the first line has at most so many characters;
// 0: any number.
func (s *sight) lines(width int) []string {
	what := s.Problem
	switch what {
	case "":
		what = fmt.Sprintf("%s %v", s.DType, s.Shape)
	case "half written":
		what = "the writer died in the middle of a commit; waiting for another"
	}
	age := "none yet"
	if s.Age != nil {
		age = fmt.Sprintf("%.2f s ago", *s.Age)
	}
	name, version := nameText(s.Name), fmt.Sprintf(": version %d, ", s.Version)
	if width > 0 {
		what = shortened(what, max(width/2, width-len(version)-len(name)))
		name = shortened(name, max(1, width-len(version)-len([]rune(what))))
	}
	lines := []string{
		name + version + what,
		fmt.Sprintf("%.0f commits/s, %s; last commit %s; writer %s", s.Commits, units.Bandwidth(s.Bytes), age, s.Writer),
	}
	if i := s.Intervals; i != nil {
		lines = append(lines, fmt.Sprintf("interval mean %s, least %s, greatest %s, deviation %s", secondsText(i.Mean),
			secondsText(i.Least), secondsText(i.Greatest), secondsText(i.Deviation)))
	}
	if s.streamSight != nil {
		policy := "newest"
		if s.EveryFrame {
			policy = "every frame"
		}
		lines = append(lines, fmt.Sprintf("stream, policy %s; readers %d, dead %d; slots held %d of %d", policy, s.Readers, s.Dead,
			s.Held, s.Slots))
	}
	return lines
}

// secondsText returns a time with about three digits.
func secondsText(seconds float64) string {
	return units.Rounded(time.Duration(seconds * float64(time.Second))).String()
}

// takePicture makes a picture of the tensor if it is one, and can be copied. The last picture stays if a writer leaves no
// time for a copy.
func (w *watcher) takePicture(ctx context.Context) {
	t, err := copyTensor(ctx, w.watched[0].source, 50*time.Millisecond)
	if errors.Is(err, errNoTime) {
		return
	}
	if err != nil {
		w.picture = nil
		return
	}
	picture, err := pictureOf(arrayOfTensor(&t))
	if err != nil {
		w.picture = nil
		return
	}
	columns, rows := w.display.size()
	w.picture = terminalPicture(picture, columns-1, rows-5)
}
