// The command triton has a model of a Triton server, or of several in turn, work on the frames of a stream, and commits what it
// answers to another. It ends on Ctrl-C, or after a number of frames.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/examples/triton/kserve"
)

func main() {
	servers := flag.String("servers", "127.0.0.1:8001", "`addresses` of servers, with commas between them; they take turns")
	from := flag.String("in", "camera", "`name` of the stream whose frames, pictures of uint8, the model works on")
	to := flag.String("out", "negatives", "`name` of the stream that gets the answers")
	capacity := flag.Int("capacity", 1<<20, "bytes of a frame, at most, where a stream is not there yet")
	frames := flag.Int("frames", 0, "end after the camera's frame of this `number`; 0: never")
	camera := flag.Bool("camera", false, "be the camera too: 30 pictures a second")
	bytes := flag.Bool("bytes", false, "send bytes also to a server on this machine")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *servers, *from, *to, *capacity, *frames, *camera, *bytes); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "triton:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, servers, from, to string, capacity, frames int, camera, bytes bool) error {
	in, err := judemap.OpenOrCreateStream(from, 4, capacity)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := judemap.OpenOrCreateStream(to, 4, capacity)
	if err != nil {
		return err
	}
	defer out.Close()
	var opts []kserve.Option
	if bytes {
		opts = append(opts, kserve.WithBytes())
	}
	client, err := kserve.New(strings.Split(servers, ","), opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	r, err := in.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	failed := make(chan error, 1)
	if camera {
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			failed <- film(ctx, in, frames)
		}()
		defer func() { cancel(); <-ended }()
	}
	return work(ctx, client, r, in, out, frames, failed)
}

// work has the model work on each frame that r gets, until the last one.
func work(ctx context.Context, client *kserve.Client, r *judemap.Reader, in, out *judemap.Stream, last int, failed <-chan error) error {
	begun, answers := time.Now(), 0
	for {
		frame, err := r.Next(ctx)
		if err == nil {
			// The frame is held, and stays as it is, until the next one is asked for.
			err = client.Infer(ctx, "invert",
				[]kserve.Input{{Name: "PICTURE", Tensor: &frame, In: in}},
				[]kserve.Output{{Name: "NEGATIVE", To: out, Shape: frame.Shape(), DType: frame.DType()}})
		}
		switch {
		case err == nil:
			answers++
		case errors.Is(err, judemap.ErrWriterDied), errors.Is(err, kserve.ErrServerGone), errors.Is(err, kserve.ErrUnreachable):
			fmt.Fprintln(os.Stderr, err) // perhaps it is started again
			select {
			case <-time.After(200 * time.Millisecond):
			case err := <-failed:
				if err != nil {
					return err
				}
			case <-ctx.Done():
			}
		case ctx.Err() == nil:
			return err
		}
		ended := ctx.Err() != nil || last > 0 && err == nil && frame.Version() >= 2*uint64(last)
		if took := time.Since(begun); ended || err == nil && took > time.Second {
			fmt.Printf("%d answers in %v; %d frames missed in all\n", answers, took.Round(time.Millisecond), r.Missed())
			begun, answers = time.Now(), 0
		}
		if ended {
			return ctx.Err()
		}
	}
}

// film commits a picture 30 times a second, up to the last one.
func film(ctx context.Context, s *judemap.Stream, last int) error {
	ticker := time.NewTicker(time.Second / 30)
	defer ticker.Stop()
	for n := 1; last == 0 || n <= last; n++ {
		if err := s.Update(ctx, []int{240, 320, 3}, judemap.Uint8, func(data []byte) error {
			for i := range data {
				data[i] = byte(i/3 + n)
			}
			return nil
		}); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
