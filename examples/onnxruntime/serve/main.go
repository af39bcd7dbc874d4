// Command serve runs an ONNX model over a stream of frames, and puts its answers into another stream:
//
//	serve -library libonnxruntime.so.1.32.0 -model model.onnx -from camera -to answers
//
// No byte of a frame or of an answer is copied. It ends on Ctrl-C, and lives on when the program that writes the frames is
// killed and started again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/examples/onnxruntime"
)

func main() {
	log.SetFlags(0)
	library := flag.String("library", "libonnxruntime.so", "the library of ONNX Runtime")
	model := flag.String("model", "model.onnx", "the model")
	from := flag.String("from", "camera", "the stream of frames")
	to := flag.String("to", "answers", "the stream of answers")
	slots := flag.Int("slots", 4, "slots of either stream, if it is not there yet")
	capacity := flag.Int("capacity", 8<<20, "bytes of tensor in a slot, if the stream is not there yet")
	threads := flag.Int("threads", 0, "threads that work on one frame; 0: one for each core")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *library, *model, *from, *to, *slots, *capacity, *threads); err != nil && ctx.Err() == nil {
		log.Fatalf("serve: %v", err)
	}
}

func serve(ctx context.Context, library, model, from, to string, slots, capacity, threads int) error {
	if err := onnxruntime.Init(library); err != nil {
		return err
	}
	m, err := onnxruntime.Load(model, threads)
	if err != nil {
		return err
	}
	defer m.Close()
	frames, err := judemap.OpenOrCreateStream(from, slots, capacity)
	if err != nil {
		return err
	}
	defer frames.Close()
	answers, err := judemap.OpenOrCreateStream(to, slots, capacity)
	if err != nil {
		return err
	}
	defer answers.Close()
	reader, err := frames.Reader()
	if err != nil {
		return err
	}
	defer reader.Close()
	log.Printf("serve: %s takes %v, answers with %v", model, m.Input, m.Output)

	server := newServer(m, reader, answers)
	defer func() { log.Printf("serve: %d frames, %d missed", server.frames, reader.Missed()) }()
	for {
		err := server.next(ctx)
		if errors.Is(err, judemap.ErrWriterDied) {
			select { // it was killed; perhaps another one starts
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
	}
}

// server answers frames, one by one.
type server struct {
	model   *onnxruntime.Model
	reader  *judemap.Reader
	answers *judemap.Stream
	frames  int // answered so far

	frame judemap.Tensor // the one that is held
	shape []int          // its answer's
	run   func(answer []byte) error
}

func newServer(model *onnxruntime.Model, reader *judemap.Reader, answers *judemap.Stream) *server {
	s := &server{model: model, reader: reader, answers: answers}
	s.run = func(answer []byte) error { return s.model.Run(&s.frame, s.shape, answer) } // made once: no garbage
	return s
}

// next waits for a frame and answers it. The frame stays whole until the next next.
func (s *server) next(ctx context.Context) (err error) {
	if s.frame, err = s.reader.Next(ctx); err != nil {
		return err
	}
	if s.shape, err = s.model.OutputShape(&s.frame); err == nil {
		err = s.answers.Update(ctx, s.shape, s.model.Output.DType, s.run)
	}
	if err != nil {
		return fmt.Errorf("frame %d, answered in %q: %w", s.frame.Version()/2, s.answers.Name(), err)
	}
	s.frames++
	return nil
}
