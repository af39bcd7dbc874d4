package main

import (
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/demo"
	"github.com/spf13/cobra"
)

const (
	streamFPS   = 60   // a camera's pace, which consumers that work keep up with
	segmentFPS  = 1000 // at this one parked consumers show how fast they wake: most of the time they are
	defaultWork = 10 * time.Millisecond
)

type demoFlags struct {
	demo.Options
	fps  float64
	save string
	json bool
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
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			flags.Paces = []float64{streamFPS, 0}
			if flags.Segment {
				flags.Paces[0] = segmentFPS
				if !cmd.Flags().Changed("work") {
					flags.Work = 0
				}
			}
			if cmd.Flags().Changed("fps") {
				flags.Paces = []float64{flags.fps}
			}
			if err := flags.check(); err != nil {
				return err
			}
			return runDemo(cmd.Context(), cmd.OutOrStdout(), &flags)
		}),
	}
	cmd.Flags().DurationVar(&flags.Time, "time", 4*time.Second, "how long it runs")
	cmd.Flags().IntVar(&flags.Consumers, "consumers", 2, "how many consumers there are")
	cmd.Flags().Float64Var(&flags.fps, "fps", 0, "frames a second; 0: as many as the producer can")
	cmd.Flags().DurationVar(&flags.Work, "work", defaultWork, "how long a consumer works on each frame; 0: goes over it once")
	cmd.Flags().BoolVar(&flags.EveryFrame, "every-frame", false, "no consumer misses a frame: the producer waits for the slowest")
	cmd.Flags().BoolVar(&flags.Segment, "segment", false, "through a segment, in which each commit overwrites the one before")
	cmd.Flags().StringVar(&flags.save, "save", "", "write the last frame that a consumer saw to this PNG file")
	cmd.Flags().BoolVar(&flags.Chaos, "chaos", false, "kill the producer or a consumer now and then; another takes over")
	cmd.Flags().BoolVar(&flags.Goroutines, "goroutines", false, "producer and consumers are goroutines of one process")
	cmd.Flags().BoolVar(&flags.json, jsonFlag, false, "print JSON at the end, for programs, and nothing else")
	return cmd
}

func (f *demoFlags) check() error {
	most := 100
	if !f.Segment {
		most = judemap.MaxReaders
	}
	switch {
	case f.Time <= 0:
		return usagef("--time is %v, and must be more than 0", f.Time)
	case f.Consumers < 1 || f.Consumers > most:
		return usagef("--consumers is %d, and must be 1 to %d", f.Consumers, most)
	case f.Chaos && f.Goroutines:
		return usagef("--chaos kills processes, and --goroutines has none")
	case f.Segment && f.EveryFrame:
		return usagef("--every-frame is for streams, and not for --segment")
	case !(f.fps >= 0 && f.fps <= 1e6):
		return usagef("--fps is %v, and must be 0 to 1000000", f.fps)
	case f.Work < 0 || f.Work > time.Second:
		return usagef("--work is %v, and must be 0 to 1s", f.Work)
	}
	return nil
}

// runDemo runs the demo, and shows the last frame that a consumer saw.
func runDemo(ctx context.Context, out io.Writer, flags *demoFlags) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// With this a pipe that nobody reads any more fails the write, and the demo ends in order. Else it kills the process.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)

	display := newDisplay(out, cancel)
	if flags.json {
		display = newDisplay(io.Discard, cancel)
	}
	result, err := demo.Run(ctx, demoScreen{display}, flags.Options)
	if result == nil {
		return err
	}
	if err := showFrame(display, result, flags.save); err != nil {
		return err
	}
	if flags.json {
		err = errors.Join(printJSON(out, result.Numbers), err)
	}
	return errors.Join(err, display.err)
}

// A demoScreen is a display as the demo sees it.
type demoScreen struct{ display *display }

func (s demoScreen) Printf(format string, args ...any) { s.display.print(format, args...) }
func (s demoScreen) Draw(lines []string)               { s.display.draw(lines, nil) }
func (s demoScreen) Terminal() bool                    { return s.display.terminal }
func (s demoScreen) Err() error                        { return s.display.err }

// showFrame shows the last frame that a consumer saw, and saves it to the file of that name, if there is one.
func showFrame(display *display, result *demo.Result, save string) error {
	if result.Frame == nil {
		if save != "" {
			return errors.New("no consumer saw a frame: there is nothing to save")
		}
		return nil
	}
	picture, err := pictureOf(array{demo.FrameShape, judemap.Float32, result.Frame})
	if err != nil {
		return err
	}
	if display.terminal {
		columns, rows := display.size()
		tableRows := strings.Count(result.Table, "\n")
		lines := terminalPicture(picture, columns-1, min(28, max(12, rows-tableRows-4))) // both on one screen, if it is large
		display.print("\nThe last frame that a consumer saw:\n%s\n", strings.Join(lines, "\n"))
	}
	if save == "" {
		return nil
	}
	if err := writeFile(context.Background(), save, func(w io.Writer) error { return png.Encode(w, picture) }); err != nil {
		return err
	}
	display.print("Saved the last frame that a consumer saw: %s\n", save)
	return nil
}

func newProducerCommand() *cobra.Command {
	var fps float64
	cmd := newDemoPart(demo.ProducerCommand, "The demo's producer", func(name string) error { return demo.Produce(name, fps) })
	cmd.Flags().Float64Var(&fps, "fps", 0, "frames a second; 0: as many as it can")
	return cmd
}

func newConsumerCommand() *cobra.Command {
	var work time.Duration
	cmd := newDemoPart(demo.ConsumerCommand, "A consumer of the demo", func(name string) error { return demo.Consume(name, work) })
	cmd.Flags().DurationVar(&work, "work", 0, "how long it works on each frame")
	return cmd
}

func newKeeperCommand() *cobra.Command {
	return newDemoPart(demo.KeeperCommand, "Takes the demo's name away when the demo is gone", func(name string) error {
		demo.Keep(name)
		return nil
	})
}

// newDemoPart returns a command with which the demo starts a process. No user does.
func newDemoPart(command, short string, do func(name string) error) *cobra.Command {
	return &cobra.Command{
		Use:    command + " NAME",
		Short:  short,
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   action(func(_ *cobra.Command, args []string) error { return do(args[0]) }),
	}
}
