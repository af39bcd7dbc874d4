package demo

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
	"github.com/judemap/judemap/internal/layout"
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
	Frames      int           // that were delivered to the consumer
	Checked     int           // that were right to the last byte, from when it had them until it was done with them
	Overwritten int           // views of a segment that the next commit overtook meanwhile, as Valid said
	Missed      int           // commits that were followed by another before the consumer looked
	Wrong       int           // frames that were not the one that their version says, or did not stay it
	Backwards   int           // that were not newer than the one before
	Work        time.Duration // on all of them
	Passes      int           // over all of their pixels
}

func (c *counts) add(other counts) {
	c.Frames += other.Frames
	c.Checked += other.Checked
	c.Overwritten += other.Overwritten
	c.Missed += other.Missed
	c.Wrong += other.Wrong
	c.Backwards += other.Backwards
	c.Work += other.Work
	c.Passes += other.Passes
}

// produce commits frames of the film until ctx ends: fps a second, or as many as it can if fps is 0.
func produce(ctx context.Context, c carrier, film []byte, fps float64, send func(report) error) error {
	if err := send(report{Ready: true}); err != nil {
		return err
	}
	for due := now(); ctx.Err() == nil; {
		if fps > 0 {
			// A producer that fell behind, since the machine was busy, does not hurry to catch up.
			due = max(due+time.Duration(float64(time.Second)/fps), now()-time.Millisecond)
			sleepUntil(due)
		}
		err := c.update(ctx, func(number uint64, frame []byte) {
			copy(frame, filmFrame(film, number))
			timecode{number, now()}.burn(frame)
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// consume takes frames until ctx ends, works on each for a time, and checks that it is right for all of that time.
func consume(ctx context.Context, from carrier, film []byte, work time.Duration, send func(report) error) error {
	begun := layout.LastCommitted(from.Version())
	reader, err := from.reader()
	if err != nil {
		return err
	}
	defer reader.Close()
	if err := send(report{Ready: true}); err != nil {
		return err
	}
	c := consumer{carrier: from, reader: reader, film: film, work: work, send: send, version: begun}
	c.reset()
	for ctx.Err() == nil {
		frame, err := reader.Next(ctx)
		at := now()
		switch {
		case err == nil:
			err = c.take(ctx, &frame, at)
		case errors.Is(err, judemap.ErrWriterDied):
			err = c.mourn(ctx, at)
		case ctx.Err() != nil:
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return c.finish(ctx)
}

type consumer struct {
	carrier carrier
	reader  frameReader
	film    []byte
	work    time.Duration
	send    func(report) error
	version uint64   // of the last frame; at first, that when it began
	missed  uint64   // by the reader, until then
	last    timecode // of the last frame that was right; its number is 0 before the first
	dead    bool     // the producer is

	pending report        // not yet sent
	sent    time.Duration // when the last report was
}

// take works on a frame, which the consumer had at that time. Its work is to compare every pixel with the film that it
// knows, again and again.
func (c *consumer) take(ctx context.Context, frame *judemap.Tensor, at time.Duration) error {
	n := &c.pending.Counts
	n.Frames++
	code, right := isIntact(frame.Data(), c.film)
	right = right && code.number == layout.Commits(frame.Version())
	for n.Passes++; right && now()-at < c.work && ctx.Err() == nil; n.Passes++ {
		var again timecode
		again, right = isIntact(frame.Data(), c.film)
		right = right && again == code
	}
	valid := frame.Valid() // asked after the last look at the data
	n.Work += now() - at

	missed := c.reader.Missed() - c.missed
	c.missed += missed
	n.Missed += int(missed)
	if c.last.number != 0 && layout.Commits(frame.Version())-layout.Commits(c.version) != missed+1 {
		n.Wrong++ // frames went missing that the reader does not know of
	}
	switch {
	case !valid && !c.carrier.holds():
		n.Overwritten++
	case !valid || !right:
		n.Wrong++
	default:
		n.Checked++
		c.pending.Latencies.add(at - code.at)
		if code.number <= c.last.number || code.at < c.last.at {
			n.Backwards++
		}
		c.last = code
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
	if now()-c.sent > 100*time.Millisecond {
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

// finish takes what is left, now that the producer has ended, and sends the last frame. ended is a context that has ended:
// these frames are looked at once.
func (c *consumer) finish(ended context.Context) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for last := layout.LastCommitted(c.carrier.Version()); c.version < last; {
		frame, err := c.reader.Next(ctx)
		if err != nil {
			break // it joined after the last frame, or the producer died in a commit and no other came
		}
		if err := c.take(ended, &frame, now()); err != nil {
			return err
		}
	}
	frame, err := c.carrier.ReadCopy(ctx)
	if err != nil {
		return c.flush() // no frame was ever committed, or likewise
	}
	if _, intact := isIntact(frame.Data(), c.film); !intact {
		c.pending.Counts.Wrong++
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

// Produce is the producer's part of the demo whose frames are under that name, in a process that the demo started: so many
// frames a second, or as many as it can if fps is 0.
func Produce(name string, fps float64) error {
	return work(name, func(ctx context.Context, c carrier, film []byte, send func(report) error) error {
		return produce(ctx, c, film, fps, send)
	})
}

// Consume is a consumer's part, which is to work so long on each frame.
func Consume(name string, length time.Duration) error {
	return work(name, func(ctx context.Context, c carrier, film []byte, send func(report) error) error {
		return consume(ctx, c, film, length, send)
	})
}

// work does a worker's work in a process that the demo started: with the named carrier, with the film in the file that was
// passed along, until the demo says stop on the standard input. Reports go to the standard output.
func work(name string, do func(context.Context, carrier, []byte, func(report) error) error) error {
	// What keys of a terminal send reaches all of the demo's processes; it is the demo's to say when each of them stops.
	signal.Ignore(os.Interrupt, syscall.SIGQUIT, syscall.SIGHUP)

	film, err := judemap.OpenFile(passed(), judemap.WithReadOnly())
	if err != nil {
		return fmt.Errorf("opening the film, which the demo passes to its workers: %w", err)
	}
	defer film.Close()
	frames, err := film.Read()
	if err != nil {
		return err
	}
	c, err := openCarrier(name)
	if err != nil {
		return err
	}
	defer c.CloseWait()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		bufio.NewScanner(os.Stdin).Scan() // false: the demo is gone without having said stop
		cancel()
	}()
	out := json.NewEncoder(os.Stdout)
	return do(ctx, c, frames.Data(), func(r report) error { return out.Encode(r) })
}
