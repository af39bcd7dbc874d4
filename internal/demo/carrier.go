package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
)

// What carries the demo's frames from its producer to its consumers: a stream, or with --segment a segment.

type carrier interface {
	Name() string
	Version() uint64
	Writer() judemap.WriterState
	ReadCopy(context.Context) (judemap.Tensor, error)
	CloseWait() error
	// update commits a frame that fill writes in place; number is the commit's. It waits where every frame counts.
	update(ctx context.Context, fill func(number uint64, frame []byte)) error
	// reader makes one that sees what is committed from now on.
	reader() (frameReader, error)
	// holds says whether a frame stays whole for as long as a reader has it.
	holds() bool
	// inCommit says whether a commit is in progress, or its writer died in it.
	inCommit() bool
	// readers says which processes have a reader, and what it holds, where that can be told.
	readers() []judemap.ReaderInfo
}

// A frameReader takes one frame after the other. judemap.Reader is one.
type frameReader interface {
	Next(context.Context) (judemap.Tensor, error)
	Missed() uint64
	Close() error
}

// newCarrier makes one for the demo, under a name if there is one.
func newCarrier(o *Options, name string) (carrier, error) {
	if o.Segment {
		s, err := newSegment(name)
		return segmentCarrier{s}, err
	}
	s, err := newStream(o, name)
	return streamCarrier{s}, err
}

func newSegment(name string) (*judemap.Segment, error) {
	if name == "" {
		return judemap.New(frameBytes)
	}
	return judemap.Create(name, frameBytes)
}

func newStream(o *Options, name string) (*judemap.Stream, error) {
	var options []judemap.Option
	if o.EveryFrame {
		options = append(options, judemap.WithEveryFrame())
	}
	if name == "" {
		return judemap.NewStream(o.slots(), frameBytes, options...)
	}
	return judemap.CreateStream(name, o.slots(), frameBytes, options...)
}

// openCarrier opens a demo's carrier, which is a segment or a stream.
func openCarrier(name string, options ...judemap.Option) (carrier, error) {
	segment, err := judemap.Open(name, options...)
	if err == nil {
		return segmentCarrier{segment}, nil
	}
	if !errors.Is(err, judemap.ErrCorrupt) { // which is what it says of a stream
		return nil, err
	}
	stream, streamErr := judemap.OpenStream(name, options...)
	if streamErr != nil {
		return nil, fmt.Errorf("%w; %w", err, streamErr)
	}
	return streamCarrier{stream}, nil
}

type streamCarrier struct{ *judemap.Stream }

func (c streamCarrier) update(ctx context.Context, fill func(number uint64, frame []byte)) error {
	return c.Update(ctx, FrameShape, judemap.Float32, func(frame []byte) error {
		fill(layout.Commits(c.Version())+1, frame)
		return nil
	})
}

func (c streamCarrier) reader() (frameReader, error)  { return c.Reader() }
func (c streamCarrier) holds() bool                   { return true }
func (c streamCarrier) readers() []judemap.ReaderInfo { return c.Readers() }

// inCommit looks at the sequences of the slots.
func (c streamCarrier) inCommit() bool {
	file, err := c.File()
	if err != nil {
		return false
	}
	defer file.Close()
	word := func(offset uint64) uint64 {
		var bytes [8]byte
		_, _ = file.ReadAt(bytes[:], int64(offset)) // 0 if it fails, which is no commit
		return binary.LittleEndian.Uint64(bytes[:])
	}
	first, stride := word(layout.StreamFirst), word(layout.StreamStride)
	for i := range c.Slots() {
		if layout.InCommit(word(first + uint64(i)*stride + layout.Sequence)) {
			return true
		}
	}
	return false
}

type segmentCarrier struct{ *judemap.Segment }

func (c segmentCarrier) update(_ context.Context, fill func(number uint64, frame []byte)) error {
	return c.Update(FrameShape, judemap.Float32, func(frame []byte) error {
		fill(layout.Commits(c.Version())+1, frame) // the version is odd until the commit ends
		return nil
	})
}

func (c segmentCarrier) reader() (frameReader, error) {
	return &segmentReader{segment: c.Segment, version: layout.LastCommitted(c.Version())}, nil
}

func (c segmentCarrier) holds() bool                   { return false }
func (c segmentCarrier) readers() []judemap.ReaderInfo { return nil }
func (c segmentCarrier) inCommit() bool                { return layout.InCommit(c.Version()) }

// A segmentReader takes views of a segment's commits, the newest each time.
type segmentReader struct {
	segment *judemap.Segment
	version uint64
	missed  uint64
}

func (r *segmentReader) Next(ctx context.Context) (judemap.Tensor, error) {
	t, err := r.segment.Next(ctx, r.version)
	if err == nil {
		r.missed += layout.Commits(t.Version()) - layout.Commits(r.version) - 1
		r.version = t.Version()
	}
	return t, err
}

func (r *segmentReader) Missed() uint64 { return r.missed }
func (r *segmentReader) Close() error   { return nil }
