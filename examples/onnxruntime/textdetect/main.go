// Command textdetect finds lines of text in a picture, with the text detection model of the Python package rapidocr, which
// another process runs:
//
//	serve -library libonnxruntime.so.1.32.0 -model PP-OCRv6_det_small.onnx -from pictures -to maps &
//	textdetect -picture page.png -to pictures -from maps
//
// It writes the picture to a stream as the model wants it, and reads from another how likely each pixel is to be text. It
// prints a line for each box around text: its corners and its score. Without -picture it draws one, and says which of
// the lines that it drew lie in a box.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"io"
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
	path := flag.String("picture", "", "a PNG or JPEG file; none: a picture with text is drawn")
	to := flag.String("to", "pictures", "the stream that the model takes its frames from")
	from := flag.String("from", "maps", "the stream of its answers")
	slots := flag.Int("slots", 4, "slots of either stream, if it is not there yet")
	capacity := flag.Int("capacity", 8<<20, "bytes of tensor in a slot, if the stream is not there yet")
	frames := flag.Int("frames", 1, "how many times to send the picture")
	timeout := flag.Duration("timeout", time.Minute, "how long to wait for the model in all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	limited, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	if err := textdetect(limited, os.Stdout, *path, *to, *from, *slots, *capacity, *frames); err != nil && ctx.Err() == nil {
		log.Fatalf("textdetect: %v", err)
	}
}

func textdetect(ctx context.Context, w io.Writer, path, to, from string, slots, capacity, frames int) error {
	var drawn []line
	var picture image.Image
	var err error
	if path == "" {
		picture, drawn, err = drawPicture()
	} else {
		picture, err = readPicture(path)
	}
	if err != nil {
		return err
	}
	pictures, err := judemap.OpenOrCreateStream(to, slots, capacity)
	if err != nil {
		return err
	}
	defer pictures.Close()
	maps, err := judemap.OpenOrCreateStream(from, slots, capacity)
	if err != nil {
		return err
	}
	defer maps.Close()
	reader, err := maps.Reader()
	if err != nil {
		return err
	}
	defer reader.Close()

	scaled := scale(picture)
	var found []box
	times := make([]time.Duration, frames)
	for i := range times {
		start := time.Now()
		probabilities, err := ask(ctx, pictures, reader, scaled)
		if err != nil {
			return err
		}
		times[i] = time.Since(start)
		if i == frames-1 {
			found = boxes(probabilities, scaled.Bounds().Dx(), picture.Bounds())
		}
	}
	for _, b := range found {
		fmt.Fprintf(w, "%v %.3f\n", b.Rectangle, b.score)
	}
	for _, l := range drawn {
		verdict := "not found"
		if l.found(found) {
			verdict = "found"
		}
		fmt.Fprintf(w, "%q at %v: %s\n", l.text, l.Rectangle, verdict)
	}
	slices.Sort(times)
	fmt.Fprintf(w, "%d boxes; from picture to answer %v [%v %v]\n", len(found), round(times[len(times)/2]), round(times[0]),
		round(times[len(times)-1]))
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// ask has the model look at a picture, and returns its answer in place, good until the next call. Where the program that
// runs the model is killed with the picture in hand, it is sent again to the next one.
func ask(ctx context.Context, pictures *judemap.Stream, maps *judemap.Reader, picture *image.RGBA) ([]float32, error) {
	width, height := picture.Bounds().Dx(), picture.Bounds().Dy()
	shape, want := []int{1, 3, height, width}, []int{1, 1, height, width}
	for {
		runner, err := waitForReader(ctx, pictures)
		if err != nil {
			return nil, err
		}
		err = pictures.Update(ctx, shape, judemap.Float32, func(data []byte) error {
			normalise(floats(data), picture)
			return nil
		})
		if err != nil {
			return nil, err
		}
		for alive(pictures, runner) {
			second, cancel := context.WithTimeout(ctx, time.Second)
			answer, err := maps.Next(second)
			cancel()
			switch {
			case err == nil && !slices.Equal(answer.Shape(), want):
				return nil, fmt.Errorf("the answer to a picture of %v is %v, not float32 %v", shape, &answer, want)
			case err == nil:
				return judemap.Slice[float32](&answer)
			case ctx.Err() != nil:
				return nil, fmt.Errorf("process %d has not answered: %w", runner.Process, err)
			case errors.Is(err, judemap.ErrWriterDied): // and the next one has not written yet
				time.Sleep(20 * time.Millisecond)
			case !errors.Is(err, context.DeadlineExceeded):
				return nil, err
			}
		}
	}
}

// waitForReader waits until somebody reads s: a reader sees only what is written after it came.
func waitForReader(ctx context.Context, s *judemap.Stream) (judemap.ReaderInfo, error) {
	for {
		for _, r := range s.Readers() {
			if !r.Dead {
				return r, nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return judemap.ReaderInfo{}, fmt.Errorf("%v: nobody reads it: %w", s, ctx.Err())
		}
	}
}

// alive says whether a reader of s still is one.
func alive(s *judemap.Stream, reader judemap.ReaderInfo) bool {
	return slices.ContainsFunc(s.Readers(), func(r judemap.ReaderInfo) bool {
		return r.Number == reader.Number && r.Process == reader.Process && !r.Dead
	})
}
