package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/judemap/judemap"
	"github.com/spf13/cobra"
)

// The demo's producer and consumers. Each is a process of its own, started by the demo with a hidden command, or a
// goroutine of the demo where segments can't be shared.

// A report is what a worker tells the demo, as a line of JSON: counts since the last report, and what happened.
type report struct {
	Ready     bool          `json:",omitempty"` // the first report: the worker is about to begin
	Counts    counts        `json:",omitzero"`
	Latencies latencies     `json:",omitempty"` // from a frame's commit to the consumer's having it
	DiedAt    time.Duration `json:",omitempty"` // when the consumer noticed that the producer was dead
	ResumedAt time.Duration `json:",omitempty"` // when it had the first frame of the next producer
	LastFrame []byte        `json:",omitempty"` // at the end
}

// counts are a consumer's.
type counts struct {
	Views       int // of frames, that the consumer took
	Checked     int // that were intact to the last byte
	Overwritten int // that the next commit overtook while they were being checked, as Valid said
	Missed      int // commits that were followed by another before the consumer looked
	Torn        int // that were not intact, although Valid said that they were
	Backwards   int // that were not newer than the one before
}

func (c *counts) add(other counts) {
	c.Views += other.Views
	c.Checked += other.Checked
	c.Overwritten += other.Overwritten
	c.Missed += other.Missed
	c.Torn += other.Torn
	c.Backwards += other.Backwards
}

// produce commits frames of the film until ctx ends: fps a second, or as many as it can if fps is 0.
func produce(ctx context.Context, s *judemap.Segment, film []byte, fps float64, send func(report) error) error {
	if err := send(report{Ready: true}); err != nil {
		return err
	}
	number := commitsOf(s.Version()) // the last commit's, also if a producer before this one died in the middle of the next
	for due := now(); ctx.Err() == nil; {
		if fps > 0 {
			// A producer that fell behind, since the machine was busy, does not hurry to catch up.
			due = max(due+time.Duration(float64(time.Second)/fps), now()-time.Millisecond)
			sleepUntil(due)
		}
		number++
		err := s.Update(frameShape, judemap.Float32, func(frame []byte) error {
			copy(frame, filmFrame(film, number))
			timecode{number, now()}.burn(frame)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// consume takes frames until ctx ends, and checks every one.
func consume(ctx context.Context, s *judemap.Segment, film []byte, send func(report) error) error {
	if err := send(report{Ready: true}); err != nil {
		return err
	}
	c := consumer{film: film, send: send, version: lastCommitted(s.Version())}
	c.reset()
	for ctx.Err() == nil {
		frame, err := s.Next(ctx, c.version)
		at := now()
		switch {
		case err == nil:
			err = c.take(&frame, at)
		case errors.Is(err, judemap.ErrWriterDied):
			err = c.mourn(ctx, at)
		case ctx.Err() != nil:
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return c.finish(s)
}

type consumer struct {
	film    []byte
	send    func(report) error
	version uint64   // of the last frame
	last    timecode // of the last frame that was intact
	dead    bool     // the producer is

	pending report        // not yet sent
	sent    time.Duration // when the last report was
}

// take checks a frame, which the consumer had at that time.
func (c *consumer) take(frame *judemap.Tensor, at time.Duration) error {
	timecode, intact := isIntact(frame.Data(), c.film)
	valid := frame.Valid() // asked after the last look at the data

	n := &c.pending.Counts
	n.Views++
	n.Missed += int(commitsOf(frame.Version())-commitsOf(c.version)) - 1
	switch {
	case !valid:
		n.Overwritten++
	case !intact:
		n.Torn++
	default:
		n.Checked++
		c.pending.Latencies.add(at - timecode.at)
		if timecode.number <= c.last.number || timecode.at < c.last.at {
			n.Backwards++
		}
		c.last = timecode
	}
	if frame.Version() <= c.version {
		n.Backwards++
	}
	c.version = frame.Version()

	if c.dead {
		c.dead = false
		c.pending.ResumedAt = at
		return c.flush()
	}
	if at-c.sent > 100*time.Millisecond {
		return c.flush()
	}
	return nil
}

// mourn says that the producer is dead, and waits a little for another one.
func (c *consumer) mourn(ctx context.Context, at time.Duration) error {
	if !c.dead {
		c.dead = true
		c.pending.DiedAt = at
		if err := c.flush(); err != nil {
			return err
		}
	}
	select {
	case <-time.After(10 * time.Millisecond):
	case <-ctx.Done():
	}
	return nil
}

// finish sends the last frame. The producer has ended.
func (c *consumer) finish(s *judemap.Segment) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	frame, err := s.ReadCopy(ctx)
	if err != nil {
		return c.flush() // no frame was ever committed, or the producer died in a commit and no other came
	}
	if _, intact := isIntact(frame.Data(), c.film); !intact {
		c.pending.Counts.Torn++
	}
	c.pending.LastFrame = frame.Data()
	return c.flush()
}

func (c *consumer) flush() error {
	err := c.send(c.pending)
	c.reset()
	return err
}

func (c *consumer) reset() {
	c.pending = report{Latencies: latencies{}}
	c.sent = now()
}

func newProducerCommand() *cobra.Command {
	var fps float64
	cmd := &cobra.Command{
		Use:    "demo-producer SEGMENT",
		Short:  "The demo's producer",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return work(args[0], func(ctx context.Context, s *judemap.Segment, film []byte, send func(report) error) error {
				return produce(ctx, s, film, fps, send)
			})
		}),
	}
	cmd.Flags().Float64Var(&fps, "fps", 0, "frames a second; 0: as many as it can")
	return cmd
}

func newConsumerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "demo-consumer SEGMENT",
		Short:  "A consumer of the demo",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return work(args[0], consume)
		}),
	}
}

// work does a worker's work in a process that the demo started: with the named segment, with the film in the file that
// was passed along, until the demo says stop on the standard input. Reports go to the standard output.
func work(name string, do func(context.Context, *judemap.Segment, []byte, func(report) error) error) error {
	// What keys of a terminal send reaches all of the demo's processes; it is the demo's to say when each of them stops.
	signal.Ignore(os.Interrupt, syscall.SIGQUIT, syscall.SIGHUP)

	film, err := judemap.OpenFile(os.NewFile(filmDescriptor, "film"), judemap.WithReadOnly())
	if err != nil {
		return fmt.Errorf("opening the film, which the demo passes to its workers: %w", err)
	}
	defer film.Close()
	frames, err := film.Read()
	if err != nil {
		return err
	}
	s, err := judemap.Open(name)
	if err != nil {
		return err
	}
	defer s.CloseWait()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		bufio.NewScanner(os.Stdin).Scan() // false: the demo is gone without having said stop
		cancel()
	}()
	out := json.NewEncoder(os.Stdout)
	return do(ctx, s, frames.Data(), func(r report) error { return out.Encode(r) })
}
