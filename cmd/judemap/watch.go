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
	cmd := &cobra.Command{
		Use:   "watch NAME",
		Short: "Show what is committed to a segment or stream, live",
		Long: `Show what is committed to a segment or stream, live: commits and bytes a second, how long ago the last one was, and the tensor
itself if it can be a picture (see 'judemap help export') of at most 256 MiB, and this is a terminal. Ctrl-C ends it.

It only reads: writers don't notice it, and it is no reader that a stream's writer would wait for.`,
		Example: `  judemap watch camera
  judemap watch camera --time 10s`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if length < 0 {
				return usagef("--time is %v, and must not be negative", length)
			}
			s, err := openToRead(args[0], judemap.WithMaxBytes(watchedBytes))
			if err != nil {
				return err
			}
			defer s.Close()
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			if length > 0 {
				defer time.AfterFunc(length, cancel).Stop()
			}
			w := watcher{source: s, display: newDisplay(cmd.OutOrStdout(), cancel), version: s.Version()}
			w.run(ctx)
			return w.display.err
		}),
	}
	cmd.Flags().DurationVar(&length, "time", 0, "how long it runs; 0: until Ctrl-C")
	return cmd
}

// watchedBytes is the most that a tensor may have to be shown as a picture: several times a second it is copied.
const watchedBytes = 256 << 20

// A watcher looks at the version often, and shows what it knows now and then.
type watcher struct {
	source  source
	display *display

	version uint64        // when it looked last
	changed time.Duration // when it found another one; 0: not since it began

	shown        time.Duration // when it showed something last
	shownVersion uint64        // the version then
	tensor       string        // its type and shape, when they could be seen last
	bytes        int           // of it
	picture      []string      // the newest one that could be had
}

func (w *watcher) run(ctx context.Context) {
	interval := 100 * time.Millisecond
	if !w.display.terminal {
		interval = time.Second
	}
	w.shown, w.shownVersion = now(), w.version
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			w.show(ctx)
			return
		}
		if version := w.source.Version(); version != w.version {
			w.version, w.changed = version, now()
		}
		if now()-w.shown >= interval {
			w.show(ctx)
		}
	}
}

func (w *watcher) show(ctx context.Context) {
	since := (now() - w.shown).Seconds()
	commits := float64(layout.Commits(w.version) - layout.Commits(w.shownVersion))
	w.shown, w.shownVersion = now(), w.version

	l := lookAt(w.source)
	what := l.shape
	switch {
	case l.err == nil:
		what = l.dtype + " " + l.shape
		w.tensor, w.bytes = what, l.bytes
	case errors.Is(l.err, judemap.ErrBusy) && w.source.Writer() == judemap.WriterDied:
		what = "the writer died in the middle of a commit; waiting for another"
	case errors.Is(l.err, judemap.ErrBusy) && w.tensor != "":
		what = w.tensor
	}
	age := "none yet"
	if w.changed != 0 {
		age = fmt.Sprintf("%.2f s ago", (now() - w.changed).Seconds())
	}
	text := []string{
		fmt.Sprintf("%s: version %d, %s", nameText(w.source.Name()), w.version, what),
		fmt.Sprintf("%.0f commits/s, %s; last commit %s; writer %v", commits/since,
			units.Bandwidth(commits/since*float64(w.bytes)), age, w.source.Writer()),
	}
	if stream, ok := w.source.(*judemap.Stream); ok {
		text = append(text, streamText(stream))
	}
	if !w.display.terminal {
		w.display.print("%s\n", strings.Join(text, "; "))
		return
	}
	w.takePicture(ctx)
	w.display.draw(text, w.picture)
}

// streamText says what only a stream has.
func streamText(s *judemap.Stream) string {
	readers := s.Readers()
	held, dead := 0, 0
	for _, r := range readers {
		held += r.Held
		if r.Dead {
			dead++
		}
	}
	return fmt.Sprintf("stream, policy %s; readers %d, dead %d; slots held %d of %d", policyOf(s), len(readers), dead, held,
		s.Slots())
}

// takePicture makes a picture of the tensor if it is one, and can be copied. The last picture stays if a writer leaves no
// time for a copy.
func (w *watcher) takePicture(ctx context.Context) {
	t, err := copyTensor(ctx, w.source, 50*time.Millisecond)
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
	w.picture = terminalPicture(picture, columns-1, rows-4)
}
