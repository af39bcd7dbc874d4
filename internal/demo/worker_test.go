package demo

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// betweenPasses is asked whether it has ended after each pass over a frame: it calls during after the first, and has ended
// after the third.
type betweenPasses struct {
	context.Context
	during func()
	passes int
}

func (c *betweenPasses) Err() error {
	switch c.passes++; c.passes {
	case 1:
		c.during()
	case 3:
		return context.Canceled
	}
	return nil
}

// A consumer finds out what is wrong with a frame, also if that comes to be while it works on it.
func TestConsumerChecks(t *testing.T) {
	film := filmBytes(t)
	options := Options{Consumers: 1, EveryFrame: true}
	put := func(frame []byte, number uint64) {
		copy(frame, filmFrame(film, number))
		timecode{number, now()}.burn(frame)
	}
	for _, test := range []struct {
		name   string
		fill   func(number uint64, frame []byte)
		during func(s *judemap.Stream, frame *judemap.Tensor) // the work
		want   counts
	}{
		{"right", func(number uint64, frame []byte) { put(frame, number) }, nil, counts{Frames: 1, Checked: 1}},
		{"of another version", func(number uint64, frame []byte) { put(frame, number+frameCount) }, nil, counts{Frames: 1, Wrong: 1}},
		{"half another", func(number uint64, frame []byte) {
			put(frame, number)
			copy(frame[frameBytes/2:], filmFrame(film, number+1)[frameBytes/2:])
		}, nil, counts{Frames: 1, Wrong: 1}},
		{"changes", func(number uint64, frame []byte) { put(frame, number) }, func(_ *judemap.Stream, frame *judemap.Tensor) {
			frame.Data()[frameBytes-1] ^= 1
		}, counts{Frames: 1, Wrong: 1}},
		{"is given back", func(number uint64, frame []byte) { put(frame, number) }, func(s *judemap.Stream, frame *judemap.Tensor) {
			frame.Release()
			for range 2 * s.Slots() {
				if err := s.Fill(context.Background(), FrameShape, judemap.Float32, 1); err != nil {
					t.Error(err)
				}
			}
		}, counts{Frames: 1, Wrong: 1}},
		{"is given back, and others are the same", func(number uint64, frame []byte) { put(frame, number) }, func(s *judemap.Stream, frame *judemap.Tensor) {
			same := bytes.Clone(frame.Data())
			frame.Release()
			for range 2 * s.Slots() {
				if err := s.Write(context.Background(), FrameShape, judemap.Float32, same); err != nil {
					t.Error(err)
				}
			}
		}, counts{Frames: 1, Wrong: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := options
			options.EveryFrame = test.during == nil
			s, err := newStream(&options, "")
			if errors.Is(err, judemap.ErrUnsupported) {
				t.Skipf("SKIP: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			from := streamCarrier{s}
			reader, err := from.reader()
			if err != nil {
				t.Fatal(err)
			}
			c := consumer{carrier: from, reader: reader, film: film, send: func(report) error { return nil }}
			c.reset()
			if err := from.update(t.Context(), test.fill); err != nil {
				t.Fatal(err)
			}
			frame, err := reader.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ctx := &betweenPasses{Context: t.Context(), during: func() {}}
			if test.during != nil {
				c.work = time.Hour
				ctx.during = func() { test.during(s, &frame) }
			}
			if err := c.take(ctx, &frame, now()); err != nil {
				t.Fatal(err)
			}
			got := c.pending.Counts
			if got.Passes < 1 || test.during != nil && got.Passes < 2 || got.Work == 0 {
				t.Errorf("%d passes in %v", got.Passes, got.Work)
			}
			got.Passes, got.Work = 0, 0
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A reader that loses frames without counting them is found out.
func TestConsumerCountsMissed(t *testing.T) {
	film := filmBytes(t)
	s, err := newStream(&Options{Consumers: 1}, "")
	if errors.Is(err, judemap.ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	from := streamCarrier{s}
	honest, err := from.reader()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		reader frameReader
		want   counts
	}{
		{honest, counts{Frames: 2, Checked: 2, Missed: 2}},
		{forgetful{honest}, counts{Frames: 2, Checked: 2, Wrong: 1}},
	} {
		c := consumer{carrier: from, reader: test.reader, film: film, send: func(report) error { return nil }, missed: test.reader.Missed()}
		c.reset()
		for _, commits := range []int{1, 3} {
			for range commits {
				if err := from.update(t.Context(), func(number uint64, frame []byte) {
					copy(frame, filmFrame(film, number))
					timecode{number, now()}.burn(frame)
				}); err != nil {
					t.Fatal(err)
				}
			}
			frame, err := test.reader.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := c.take(t.Context(), &frame, now()); err != nil {
				t.Fatal(err)
			}
		}
		got := c.pending.Counts
		got.Passes, got.Work = 0, 0
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%T: %s", test.reader, diff)
		}
	}
}

// forgetful is a reader that does not count what it misses.
type forgetful struct{ frameReader }

func (forgetful) Missed() uint64 { return 0 }
