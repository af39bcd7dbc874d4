package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"sync/atomic"
	"time"

	"github.com/judemap/judemap"
)

// A rawFormat is what frames of raw bytes are, all of them.
type rawFormat struct {
	shape []int
	dtype judemap.DType
	bytes int // of a frame
}

func (f rawFormat) String() string {
	return fmt.Sprintf("%v %v, %d bytes each", f.shape, f.dtype, f.bytes)
}

// newRawFormat returns the format that the flags --raw and --shape ask for, if its frames have no more than maxBytes.
func newRawFormat(dtypeName string, shape []int, maxBytes int64) (f rawFormat, err error) {
	if f.dtype, err = judemap.ParseDType(dtypeName); err != nil {
		return f, usagef("--raw is %q, and must be an element type, such as uint8 or float32", dtypeName)
	}
	if len(shape) == 0 {
		return f, usagef("--raw needs the --shape of a frame, such as 720,1280,3")
	}
	if len(shape) > judemap.MaxDims {
		return f, usagef("--shape has %d dimensions, and a tensor %d at most", len(shape), judemap.MaxDims)
	}
	size := uint64(f.dtype.Size())
	for _, n := range shape {
		if n < 1 {
			return f, usagef("--shape has a dimension of %d, and each must be at least 1", n)
		}
		over, product := bits.Mul64(size, uint64(n))
		if over != 0 || product > uint64(min(maxBytes, math.MaxInt)) {
			return f, usagef("frames of shape %v and type %v have more bytes than the %d that --max-bytes allows", shape, f.dtype,
				maxBytes)
		}
		size = product
	}
	f.shape, f.bytes = shape, int(size)
	return f, nil
}

// defaultSlots are enough for two readers at a time.
const defaultSlots = 4

// openToPutFrames opens the stream of that name, or makes one. Without a number of slots it takes the stream as it is.
func openToPutFrames(name string, room room) (*judemap.Stream, error) {
	if room.slots == 0 {
		room.slots = defaultSlots
		if there, err := judemap.OpenStream(name, judemap.WithReadOnly()); err == nil {
			room.slots = min(there.Slots(), defaultSlots)
			room.everyFrame = room.everyFrame || there.EveryFrame()
			_ = there.Close()
		}
	}
	s, err := openToPut(name, room)
	if errors.Is(err, judemap.ErrCorrupt) {
		if segment, segmentErr := judemap.Open(name, judemap.WithReadOnly()); segmentErr == nil {
			err = fmt.Errorf("%q is a segment, with room for %d bytes, and frames go to a stream: use another name, or 'judemap rm'",
				name, segment.ByteCapacity())
			_ = segment.Close()
		}
	}
	if err != nil {
		return nil, err
	}
	return s.(*judemap.Stream), nil
}

// putRaw commits each whole frame of a file, or of the standard input if path is "-".
func putRaw(ctx context.Context, path, name string, format rawFormat, room room, readers int, verbose io.Writer) error {
	in := os.Stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	widen(in)
	s, err := openToPutFrames(name, room)
	if err != nil {
		return err
	}
	p := newRawPutter(s, format)
	if err = awaitReaders(ctx, s, readers); err == nil {
		err = runInterruptible(ctx, 0, func() error { return p.run(ctx, in) })
	}
	if dropped := p.dropped.Load(); dropped > 0 && err == nil {
		fmt.Fprintf(os.Stderr, "judemap: %d of %d frames were left out: readers held all other slots of the %d that stream %q has\n",
			dropped, p.frames.Load(), s.Slots(), name)
	}
	fmt.Fprintf(verbose, "judemap: %d frames read, of %v; %d of them left out\n", p.frames.Load(), format, p.dropped.Load())
	return errors.Join(err, s.CloseWait()) // waits, so that the right to write is free when the command has ended
}

// awaitReaders waits until a stream has so many readers.
func awaitReaders(ctx context.Context, s *judemap.Stream, readers int) error {
	if readers == 0 {
		return nil
	}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		living := 0
		for _, r := range s.Readers() {
			if !r.Dead {
				living++
			}
		}
		if living >= readers {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A rawPutter commits frames of raw bytes to a stream.
type rawPutter struct {
	stream *judemap.Stream
	format rawFormat
	frame  []byte          // the one that is being read; between two reads, the last one
	ended  context.Context // one that has ended: for writing only if there is a slot at once

	frames  atomic.Uint64 // whole ones that were read
	dropped atomic.Uint64 // those of them that there was no slot for
	pending bool          // the last one was dropped
}

func newRawPutter(s *judemap.Stream, format rawFormat) *rawPutter {
	ended, end := context.WithCancel(context.Background())
	end()
	return &rawPutter{stream: s, format: format, frame: make([]byte, format.bytes), ended: ended}
}

// run commits frame after frame, until the input ends between two frames.
func (p *rawPutter) run(ctx context.Context, in io.Reader) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch err := p.next(ctx, in); {
		case err == io.EOF:
			return p.finish(ctx)
		case err != nil:
			return err
		}
	}
}

// next reads a frame and commits it once it is whole: an Update around the read would keep a slot, and its writer in the
// middle of a commit, for as long as the pipe takes. io.EOF: there is none. It allocates nothing.
func (p *rawPutter) next(ctx context.Context, in io.Reader) error {
	n, err := io.ReadFull(in, p.frame)
	switch {
	case err == io.EOF:
		return err
	case err == io.ErrUnexpectedEOF:
		return fmt.Errorf("the last frame has %d of %d bytes; the %d frames before it are whole", n, len(p.frame), p.frames.Load())
	case err != nil:
		return fmt.Errorf("reading frame %d: %w", p.frames.Load()+1, err)
	}
	p.frames.Add(1)
	p.pending = false
	if p.stream.EveryFrame() {
		return p.commit(ctx)
	}
	// The newest wins, and the pipe waits for nobody: if readers hold all slots, they can do without this frame.
	if err := p.commit(p.ended); err == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	p.dropped.Add(1)
	p.pending = true
	return nil
}

func (p *rawPutter) commit(ctx context.Context) error {
	err := p.stream.Write(ctx, p.format.shape, p.format.dtype, p.frame)
	if errors.Is(err, judemap.ErrWriterActive) {
		return fmt.Errorf("stream %q has a writer, another process, which must end first", p.stream.Name())
	}
	return err
}

// finish commits the last frame if there was no slot for it, since it is the one that stays.
func (p *rawPutter) finish(ctx context.Context) error {
	if !p.pending {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	err := p.commit(limited)
	if err != nil {
		return fmt.Errorf("the last frame: %w", err)
	}
	p.dropped.Add(^uint64(0))
	return nil
}

// runInterruptible runs do, which may be in a read or write that nothing interrupts, and returns what it returns; but when
// ctx has ended, and so much time passed, ctx.Err(): do is then left alone.
func runInterruptible(ctx context.Context, grace time.Duration, do func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(grace):
		return ctx.Err()
	}
}
