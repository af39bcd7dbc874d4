package main

import (
	"context"
	"fmt"

	"github.com/judemap/judemap"
)

// What carries the demo's frames from its producer to its consumers: a stream, or with --segment a segment.

type carrier interface {
	source
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
func newCarrier(flags *demoFlags, name string) (carrier, error) {
	if flags.segment {
		s, err := newSegment(name)
		return segmentCarrier{s}, err
	}
	s, err := newStream(flags, name)
	return streamCarrier{s}, err
}

func newSegment(name string) (*judemap.Segment, error) {
	if name == "" {
		return judemap.New(frameBytes)
	}
	return judemap.Create(name, frameBytes)
}

func newStream(flags *demoFlags, name string) (*judemap.Stream, error) {
	var options []judemap.Option
	if flags.everyFrame {
		options = append(options, judemap.WithEveryFrame())
	}
	if name == "" {
		return judemap.NewStream(flags.slots(), frameBytes, options...)
	}
	return judemap.CreateStream(name, flags.slots(), frameBytes, options...)
}

// openCarrier opens the demo's carrier in a process that it started.
func openCarrier(name string) (carrier, error) {
	s, err := openSource(name)
	if err != nil {
		return nil, err
	}
	switch s := s.(type) {
	case *judemap.Stream:
		return streamCarrier{s}, nil
	case *judemap.Segment:
		return segmentCarrier{s}, nil
	}
	return nil, fmt.Errorf("%s carries no frames", nameText(name))
}

type streamCarrier struct{ *judemap.Stream }

func (c streamCarrier) update(ctx context.Context, fill func(number uint64, frame []byte)) error {
	return c.Update(ctx, frameShape, judemap.Float32, func(frame []byte) error {
		fill(commitsOf(c.Version())+1, frame)
		return nil
	})
}

func (c streamCarrier) reader() (frameReader, error)  { return c.Reader() }
func (c streamCarrier) holds() bool                   { return true }
func (c streamCarrier) readers() []judemap.ReaderInfo { return c.Readers() }

func (c streamCarrier) inCommit() bool {
	h, err := readStreamHeaders(c.Stream)
	return err == nil && h.inCommit()
}

type segmentCarrier struct{ *judemap.Segment }

func (c segmentCarrier) update(_ context.Context, fill func(number uint64, frame []byte)) error {
	return c.Update(frameShape, judemap.Float32, func(frame []byte) error {
		fill(commitsOf(c.Version())+1, frame) // the version is odd until the commit ends
		return nil
	})
}

func (c segmentCarrier) reader() (frameReader, error) {
	return &segmentReader{segment: c.Segment, version: lastCommitted(c.Version())}, nil
}

func (c segmentCarrier) holds() bool                   { return false }
func (c segmentCarrier) readers() []judemap.ReaderInfo { return nil }
func (c segmentCarrier) inCommit() bool                { return inCommit(c.Version()) }

// A segmentReader takes views of a segment's commits, the newest each time.
type segmentReader struct {
	segment *judemap.Segment
	version uint64
	missed  uint64
}

func (r *segmentReader) Next(ctx context.Context) (judemap.Tensor, error) {
	t, err := r.segment.Next(ctx, r.version)
	if err == nil {
		r.missed += commitsOf(t.Version()) - commitsOf(r.version) - 1
		r.version = t.Version()
	}
	return t, err
}

func (r *segmentReader) Missed() uint64 { return r.missed }
func (r *segmentReader) Close() error   { return nil }
