package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newGetCommand() *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get NAME --raw FILE|-",
		Short: "Write the frames of a stream or segment, from now on, as raw bytes",
		Long: `Write the frames of a stream, or the tensors of a segment, that are committed from now on: their elements, row-major and
little-endian, one frame after the other, to a file, or to the standard output (-). 'judemap export' writes the one that is
there already, for NumPy or as a picture.

A stream's frame is written from its slot, which the command holds meanwhile. If the output is slow, frames are skipped; of a
stream in which every frame counts none is, and its writer waits for the output. Each frame is whole.

Raw bytes don't say what they are: --verbose does, and so does 'judemap inspect'. A frame of another shape or type than the
first is an error.

It ends with Ctrl-C, after a frame, or with --frames or --until-end. It goes on when the writer has ended or died, with
what the next one commits. The file is emptied first, and has the frames as they come.`,
		Example: `  judemap get camera --raw - | ffplay -f rawvideo -pixel_format rgb24 -video_size 1280x720 -
  judemap get camera --raw frames.rgb --frames 100
  judemap get --wait --until-end camera --raw - | ffmpeg -f rawvideo -pixel_format rgb24 -video_size 1280x720 -i - camera.mkv`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(completeNames),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if o.path == "" {
				return usagef("get needs --raw and where the bytes go to: a file, or - for the standard output; " +
					"'judemap export' writes .npy and .png")
			}
			if cmd.Flags().Changed("frames") && o.frames < 1 {
				return usagef("--frames is %d, and must be at least 1", o.frames)
			}
			if o.path == "-" && term.IsTerminal(int(os.Stdout.Fd())) {
				return usagef("the standard output is a terminal, which raw bytes are not for")
			}
			return get(cmd.Context(), args[0], o)
		}),
	}
	cmd.Flags().StringVar(&o.path, "raw", "", "where the bytes go to: a file, or - for the standard output")
	cmd.Flags().IntVar(&o.frames, "frames", 0, "end after so many frames (default: go on until Ctrl-C)")
	cmd.Flags().BoolVar(&o.untilEnd, "until-end", false, "end when the writer of the frames has ended; it is an error if it died")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until there is a stream or segment of that name")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "say on the standard error what is waited for, what the frames are, and how many there were")
	return cmd
}

type getOptions struct {
	path     string // or "-"
	frames   int    // 0: any number
	untilEnd bool
	wait     bool
	verbose  bool
}

// finishFrame is how long a frame that is being written may still take after Ctrl-C.
const finishFrame = time.Second

func get(ctx context.Context, name string, o getOptions) (err error) {
	// Else a pipe that nobody reads any more would end the process before it has left the stream.
	signal.Ignore(syscall.SIGPIPE)
	note := io.Discard
	if o.verbose {
		note = os.Stderr
	}
	source, err := openToGet(ctx, name, o.wait, note)
	if err != nil {
		if ctx.Err() != nil && o.frames == 0 {
			return nil
		}
		return err
	}
	out := os.Stdout
	if o.path != "-" {
		if out, err = os.OpenFile(o.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, out.Close()) }()
	}
	widen(out)
	g, err := newRawGetter(source, out, note)
	if err != nil {
		return err
	}
	return runInterruptible(ctx, finishFrame, func() error {
		defer source.Close() // here: a write that nothing interrupts still needs it
		defer func() { fmt.Fprintf(note, "judemap: %d frames written, %d missed\n", g.frames.Load(), g.missed()) }()
		return g.run(ctx, o.frames, o.untilEnd)
	})
}

// openToGet opens the stream or segment of that name so that its writer wakes this process and, if it is a stream, leaves
// alone what this process holds; or, where it may only be read, so that it gets copies.
func openToGet(ctx context.Context, name string, wait bool, note io.Writer) (source, error) {
	for said := false; ; said = true {
		s, err := openSource(name)
		if errors.Is(err, fs.ErrPermission) {
			s, err = openToRead(name)
		}
		if !wait || !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
		if !said {
			fmt.Fprintf(note, "judemap: waiting for %s\n", name)
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A rawGetter writes the frames of a stream or segment as raw bytes.
type rawGetter struct {
	source source
	next   func(ctx context.Context) (judemap.Tensor, error)
	out    io.Writer
	note   io.Writer // what is said about it

	format  rawFormat     // the first frame's
	frames  atomic.Uint64 // those written
	version atomic.Uint64 // of the one written last
	missed  func() uint64
}

func newRawGetter(s source, out, note io.Writer) (*rawGetter, error) {
	g := &rawGetter{source: s, out: out, note: note}
	if stream, ok := s.(*judemap.Stream); ok {
		r, err := stream.Reader()
		if err != nil {
			return nil, err
		}
		g.next, g.missed = r.Next, r.Missed
		return g, nil
	}
	segment := s.(*judemap.Segment)
	begun := segment.Version() &^ 1 // a commit in progress is one from now on
	after, buf := begun, []byte(nil)
	g.next = func(ctx context.Context) (judemap.Tensor, error) {
		t, err := segment.NextInto(ctx, after, buf)
		if errors.Is(err, io.ErrShortBuffer) { // only once
			buf = make([]byte, segment.ByteCapacity())
			t, err = segment.NextInto(ctx, after, buf)
		}
		if err == nil {
			after = t.Version()
		}
		return t, err
	}
	g.missed = func() uint64 { return (g.version.Load()-begun)/2 - g.frames.Load() }
	return g, nil
}

// run writes frame after frame: so many, if frames is not 0, until the writer ends, if untilEnd says so, or until ctx ends,
// which is an error only if there should have been more.
func (g *rawGetter) run(ctx context.Context, frames int, untilEnd bool) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	if untilEnd {
		go g.awaitEnd(running, stop)
	}
	for frames == 0 || g.frames.Load() < uint64(frames) {
		err := g.frame(running)
		if errors.Is(err, judemap.ErrWriterDied) && !untilEnd {
			fmt.Fprintf(g.note, "judemap: the writer died after frame %d; waiting for another\n", g.version.Load()/2)
			err = g.awaitWriter(running)
		}
		switch {
		case err == nil:
		case running.Err() == nil, !errors.Is(err, running.Err()):
			return err
		case ctx.Err() != nil && frames != 0:
			return ctx.Err()
		default:
			return nil
		}
	}
	return nil
}

// frame writes one frame. It allocates nothing, unless the source can only be read.
func (g *rawGetter) frame(ctx context.Context) error {
	t, err := g.next(ctx)
	if err != nil {
		return err
	}
	if g.frames.Load() == 0 {
		g.format = rawFormat{slices.Clone(t.Shape()), t.DType(), len(t.Data())}
		fmt.Fprintf(g.note, "judemap: frames of %v\n", g.format)
	} else if t.DType() != g.format.dtype || !slices.Equal(t.Shape(), g.format.shape) {
		shape := slices.Clone(t.Shape()) // else each t would be on the heap
		return fmt.Errorf("frame %d is %v %v, and those before it are %v %v: raw bytes can't say so", t.Version()/2, shape,
			t.DType(), g.format.shape, g.format.dtype)
	}
	if _, err := g.out.Write(t.Data()); err != nil {
		return err
	}
	g.frames.Add(1)
	g.version.Store(t.Version())
	t.Release()
	return nil
}

// awaitWriter returns when the source has a writer that lives, or none.
func (g *rawGetter) awaitWriter(ctx context.Context) error {
	for g.source.Writer() == judemap.WriterDied {
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// awaitEnd calls end when the writer of the frame that was written last has ended, and there is no other frame.
func (g *rawGetter) awaitEnd(ctx context.Context, end func()) {
	for sleep(ctx, 10*time.Millisecond) == nil {
		written := g.version.Load()
		// In this order: what a writer has committed before it ended is seen then.
		if written != 0 && g.source.Writer() == judemap.WriterNone && g.source.Version() == written {
			end()
			return
		}
	}
}
