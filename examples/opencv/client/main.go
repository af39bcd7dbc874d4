// Client sends pictures to blur, in colour and in grey, uint8 and float32, and compares its answers, bit for bit, with what
// the same filters give in Go.
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

func main() {
	log.SetFlags(0)
	frames := flag.String("frames", "frames", "the `name` of the stream of pictures")
	results := flag.String("results", "results", "the `name` of the stream of results")
	count := flag.Int("n", 30, "how many pictures are sent")
	width := flag.Int("width", 640, "of a picture; the height is 3/4 of it")
	limit := flag.Duration("limit", time.Minute, "how long it may take")
	flag.Parse()
	if *width < 4 {
		log.Fatal("-width is 4 at least")
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	if err := run(ctx, *frames, *results, *count, *width); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, frames, results string, count, width int) error {
	height := width * 3 / 4
	s, err := judemap.OpenOrCreateStream(frames, 4, width*height*4, judemap.WithEveryFrame())
	if err != nil {
		return err
	}
	defer s.Close()
	answers, err := judemap.OpenOrCreateStream(results, 4, width*height*4, judemap.WithEveryFrame())
	if err != nil {
		return err
	}
	defer answers.Close()
	r, err := answers.Reader()
	if err != nil {
		return err
	}
	for !slices.ContainsFunc(s.Readers(), func(r judemap.ReaderInfo) bool { return !r.Dead }) {
		select { // blur sees what is committed once it is there
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("nobody reads %q: %w", frames, ctx.Err())
		}
	}

	times := make([]time.Duration, 0, count)
	colour, grey := make([]byte, width*height*3), make([]byte, width*height)
	floats, bytes := make([]float32, width*height), make([]byte, width*height)
	for seed := range count {
		draw(colour, seed)
		toGrey(grey, colour)
		begun := time.Now()
		switch seed % 3 {
		case 0:
			err = judemap.StreamSlice(ctx, s, []int{height, width, 3}, colour)
		case 1:
			err = judemap.StreamSlice(ctx, s, []int{height, width}, grey)
		case 2:
			for i, v := range grey {
				floats[i] = float32(v)
			}
			err = judemap.StreamSlice(ctx, s, []int{height, width}, floats)
		}
		if err != nil {
			return err
		}
		result, err := r.Next(ctx)
		if err != nil {
			return err
		}
		times = append(times, time.Since(begun))
		if shape := result.Shape(); !slices.Equal(shape, []int{height, width}) {
			return fmt.Errorf("result of shape %v, and it should be [%d %d]", shape, height, width)
		}
		if seed%3 == 2 {
			got, err := judemap.Slice[float32](&result)
			if err != nil {
				return err
			}
			blur(grey, height, width, func(i, sum int) { floats[i] = float32(sum) / 16 })
			if i := differ(got, floats); i >= 0 {
				return fmt.Errorf("picture %d, pixel %d is %v, and it should be %v", seed, i, got[i], floats[i])
			}
			continue
		}
		got, err := judemap.Slice[uint8](&result)
		if err != nil {
			return err
		}
		blur(grey, height, width, func(i, sum int) { bytes[i] = byte((sum + 8) / 16) })
		if i := differ(got, bytes); i >= 0 {
			return fmt.Errorf("picture %d, pixel %d is %v, and it should be %v", seed, i, got[i], bytes[i])
		}
	}
	if count > 0 {
		slices.Sort(times)
		fmt.Printf("%d pictures, all right; there and back p50 %.0f us\n", count, float64(times[count/2].Nanoseconds())/1e3)
	}
	return nil
}

func draw(pixels []byte, seed int) {
	state := uint32(seed)*2654435761 + 1
	for i := range pixels {
		state ^= state << 13 // xorshift
		state ^= state >> 17
		state ^= state << 5
		pixels[i] = byte(state)
	}
}

// toGrey is cv::COLOR_RGB2GRAY: 0.299 red, 0.587 green, 0.114 blue, in units of 1/32768.
func toGrey(grey, colour []byte) {
	for i := range grey {
		r, g, b := int(colour[3*i]), int(colour[3*i+1]), int(colour[3*i+2])
		grey[i] = byte((r*9798 + g*19235 + b*3735 + 1<<14) >> 15)
	}
}

// blur is cv::GaussianBlur of 3 x 3: weights 1 2 1 in both directions, and past an edge the pixel beside it once more
// (BORDER_REFLECT_101). It calls store with the sum of each pixel, in units of 1/16.
func blur(grey []byte, height, width int, store func(i, sum int)) {
	reflect := func(i, n int) int {
		if i < 0 {
			return -i
		}
		return min(i, 2*(n-1)-i)
	}
	for y := range height {
		for x := range width {
			sum := 0
			for dy := -1; dy <= 1; dy++ {
				row := reflect(y+dy, height) * width
				line := int(grey[row+reflect(x-1, width)]) + 2*int(grey[row+x]) + int(grey[row+reflect(x+1, width)])
				sum += line * (2 - dy*dy)
			}
			store(y*width+x, sum)
		}
	}
}

// differ returns where two pictures differ first, or -1.
func differ[T comparable](a, b []T) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
