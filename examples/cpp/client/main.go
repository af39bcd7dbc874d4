// Client sends pictures to the server of this example, and compares its answers, bit for bit, with those of the same model
// in Go. It may be started before the server; both may be stopped, killed and started again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/judemap/judemap"
)

const (
	columns  = 2 + classes            // of a row of results: the frame's number, the class, the scores
	patience = 200 * time.Millisecond // how long a picture waits for its answer before it is sent again
)

func main() {
	log.SetFlags(0)
	var c client
	frames := flag.String("frames", "frames", "the `name` of the stream of pictures")
	results := flag.String("results", "results", "the `name` of the stream of results")
	slots := flag.Int("slots", 12, "slots of the stream of pictures")
	flag.IntVar(&c.size, "size", 224, "height and width of a picture")
	flag.IntVar(&c.count, "n", 0, "how many pictures are sent; 0: until Ctrl-C")
	flag.IntVar(&c.flight, "in-flight", 1, "how many are sent before the first is answered")
	flag.BoolVar(&c.wrong, "wrong", false, "send what is no picture, which the server is to refuse")
	limit := flag.Duration("limit", time.Hour, "how long it may take")
	flag.Parse()
	if c.size < window || c.count < 0 || c.flight < 1 {
		log.Fatalf("-size is %d at least, -n 0, -in-flight 1", window)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	if err := c.run(ctx, *frames, *results, *slots); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
	c.report()
}

type client struct {
	size, count, flight int
	wrong               bool

	frames *judemap.Stream
	model  *model
	sent   map[int64]picture // without an answer yet, by the frame's number
	times  []time.Duration   // from commit to answer
	again  int               // pictures that were sent again
}

type picture struct {
	seed int
	at   time.Time // when it was committed
	want [1 + classes]int64
}

func (c *client) run(ctx context.Context, frames, results string, slots int) error {
	// Every frame counts in both: neither side loses one, and the one waits for the other.
	s, err := judemap.OpenOrCreateStream(frames, slots, c.size*c.size*colours, judemap.WithEveryFrame())
	if err != nil {
		return err
	}
	defer s.Close()
	answers, err := judemap.OpenOrCreateStream(results, 16, judemap.MaxSlots*columns*8, judemap.WithEveryFrame())
	if err != nil {
		return err
	}
	defer answers.Close()
	r, err := answers.Reader()
	if err != nil {
		return err
	}
	c.frames, c.model, c.sent = s, newModel(), make(map[int64]picture)

	for seed := 0; ; {
		for len(c.sent) < c.flight && (c.count == 0 || seed < c.count) {
			if err := c.send(ctx, picture{seed: seed}); err != nil {
				return err
			}
			seed++
		}
		if len(c.sent) == 0 {
			return nil
		}
		if err := c.receive(ctx, r); err != nil {
			return err
		}
	}
}

// send draws a picture into a slot.
func (c *client) send(ctx context.Context, p picture) error {
	shape := []int{c.size, c.size, colours}
	if c.wrong {
		shape[2], shape[0] = shape[0], shape[2]
	}
	err := c.frames.Update(ctx, shape, judemap.Uint8, func(pixels []byte) error {
		state := uint32(p.seed)*2654435761 + 1
		for i := range pixels {
			state ^= state << 13 // xorshift
			state ^= state >> 17
			state ^= state << 5
			pixels[i] = byte(state)
		}
		if p.at.IsZero() {
			p.want = [1 + classes]int64{-1}
			if !c.wrong {
				p.want = c.model.answer(pixels, c.size)
			}
		}
		p.at = time.Now()
		return nil
	})
	if err == nil {
		c.sent[int64(c.frames.Version()/2)] = p // nobody else writes to the stream
	}
	return err
}

// receive waits for a batch of answers. Pictures that have had none for long were lost with a server that died, or there
// was none yet: they are sent again.
func (c *client) receive(ctx context.Context, r *judemap.Reader) error {
	wait, cancel := context.WithTimeout(ctx, patience)
	result, err := r.Next(wait)
	cancel()
	switch {
	case err == nil:
		return c.check(&result)
	case ctx.Err() != nil:
		return fmt.Errorf("%d pictures without an answer: %w", len(c.sent), ctx.Err())
	case errors.Is(err, judemap.ErrWriterDied):
		time.Sleep(20 * time.Millisecond) // perhaps another server is started
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	}
	for number, p := range c.sent {
		if time.Since(p.at) < patience {
			continue
		}
		delete(c.sent, number)
		c.again++
		if err := c.send(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) check(result *judemap.Tensor) error {
	now := time.Now()
	rows, err := judemap.Slice[int64](result) // in place
	if err != nil {
		return err
	}
	if shape := result.Shape(); len(shape) != 2 || shape[1] != columns {
		return fmt.Errorf("results of shape %v, and it should be [rows %d]", shape, columns)
	}
	for row := range slices.Chunk(rows, columns) {
		p, ok := c.sent[row[0]]
		if !ok {
			continue // of a client before this one, or of a picture that was sent again
		}
		delete(c.sent, row[0])
		if [1 + classes]int64(row[1:]) != p.want {
			return fmt.Errorf("picture %d: class and scores %v, and they should be %v", p.seed, row[1:], p.want)
		}
		c.times = append(c.times, now.Sub(p.at))
	}
	return nil
}

func (c *client) report() {
	if len(c.times) == 0 {
		fmt.Println("0 answers")
		return
	}
	slices.Sort(c.times)
	fmt.Printf("%d answers, all right, %d pictures sent again; commit to answer p50 %.1f us, p99 %.1f us\n", len(c.times), c.again,
		float64(c.times[len(c.times)/2].Nanoseconds())/1e3, float64(c.times[len(c.times)*99/100].Nanoseconds())/1e3)
}
