// Client sends pictures to infer, and compares its answers, bit for bit, with those of the same convolution in Go.
package main

import (
	"context"
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
	colours  = 3
	channels = 8
	window   = 3
)

func main() {
	log.SetFlags(0)
	frames := flag.String("frames", "frames", "the `name` of the stream of pictures")
	results := flag.String("results", "results", "the `name` of the stream of results")
	count := flag.Int("n", 20, "how many pictures are sent")
	size := flag.Int("size", 64, "height and width of a picture")
	limit := flag.Duration("limit", time.Minute, "how long it may take")
	flag.Parse()
	if *size < 1 {
		log.Fatal("-size is 1 at least")
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	if err := run(ctx, *frames, *results, *count, *size); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, frames, results string, count, size int) error {
	s, err := judemap.OpenOrCreateStream(frames, 4, 4*colours*size*size, judemap.WithEveryFrame())
	if err != nil {
		return err
	}
	defer s.Close()
	answers, err := judemap.OpenOrCreateStream(results, 4, 4*channels*size*size, judemap.WithEveryFrame())
	if err != nil {
		return err
	}
	defer answers.Close()
	r, err := answers.Reader()
	if err != nil {
		return err
	}
	for !slices.ContainsFunc(s.Readers(), func(r judemap.ReaderInfo) bool { return !r.Dead }) {
		select { // infer sees what is committed once it is there
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("nobody reads %q: %w", frames, ctx.Err())
		}
	}

	// What is no picture has no answer.
	if err := s.Fill(ctx, []int{1, colours, size, size}, judemap.Uint16, 1); err != nil {
		return err
	}
	if err := s.Fill(ctx, []int{colours, size, size}, judemap.Float32, 1); err != nil {
		return err
	}

	times := make([]time.Duration, 0, count)
	pixels, want := make([]float32, colours*size*size), make([]float32, channels*size*size)
	for seed := range count {
		draw(pixels, seed)
		begun := time.Now()
		if err := judemap.StreamSlice(ctx, s, []int{1, colours, size, size}, pixels); err != nil {
			return err
		}
		result, err := r.Next(ctx)
		if err != nil {
			return err
		}
		times = append(times, time.Since(begun))
		if shape := result.Shape(); !slices.Equal(shape, []int{1, channels, size, size}) {
			return fmt.Errorf("result of shape %v, and it should be [1 %d %d %d]", shape, channels, size, size)
		}
		got, err := judemap.Slice[float32](&result) // in place
		if err != nil {
			return err
		}
		convolve(want, pixels, size)
		for i := range want {
			if got[i] != want[i] {
				return fmt.Errorf("picture %d, result %d is %v, and it should be %v", seed, i, got[i], want[i])
			}
		}
	}
	if count > 0 {
		slices.Sort(times)
		fmt.Printf("%d pictures, all right; there and back p50 %.0f us\n", count, float64(times[count/2].Nanoseconds())/1e3)
	}
	return nil
}

// draw makes a picture of whole numbers from 0 to 255.
func draw(pixels []float32, seed int) {
	state := uint32(seed)*2654435761 + 1
	for i := range pixels {
		state ^= state << 13 // xorshift
		state ^= state >> 17
		state ^= state << 5
		pixels[i] = float32(state & 255)
	}
}

// convolve is the network of infer.cc: whole numbers, so that float32 has each sum exactly.
func convolve(out, pixels []float32, size int) {
	for k := range channels {
		for y := range size {
			for x := range size {
				sum := float32(k) // the bias
				for c := range colours {
					for dy := range window {
						for dx := range window {
							row, column := y+dy-1, x+dx-1
							if row < 0 || row >= size || column < 0 || column >= size {
								continue
							}
							weight := ((k*colours+c)*window+dy)*window + dx
							sum += float32(weight*7%9-4) * pixels[(c*size+row)*size+column]
						}
					}
				}
				out[(k*size+y)*size+x] = max(sum, 0)
			}
		}
	}
}
