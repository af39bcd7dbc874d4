// Command infer takes what is committed to a segment or stream through a TensorFlow model, and commits what comes out to
// another: see the README.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/examples/tensorflow"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	var o options
	flag.StringVar(&o.model, "model", "", "the model: a SavedModel's `folder`, or the file of a frozen graph")
	flag.StringVar(&o.input, "input", "", "the segment or stream that tensors come from, by its `name`; infer waits until "+
		"it is there")
	flag.StringVar(&o.output, "output", "", "the `name` of the segment or stream that results go to; it is made if it isn't there")
	flag.StringVar(&o.signature, "signature", "", "the SavedModel's signature (default serving_default)")
	flag.StringVar(&o.inOp, "in-op", "", "the model's input: a `name` in its signature, or an operation (default: the only one "+
		"of the signature)")
	flag.StringVar(&o.outOp, "out-op", "", "the model's output: a `name` in its signature, or an operation (default: the only one "+
		"of the signature)")
	flag.IntVar(&o.capacity, "capacity", 0, "the `bytes` that a result has at most; the output is then made at once "+
		"(default: as many as the first result has, at which it is made)")
	flag.Parse()
	if o.model == "" || o.input == "" || o.output == "" || flag.NArg() != 0 || o.capacity < 0 {
		fmt.Fprintln(os.Stderr, "usage: infer --model PATH --input NAME --output NAME [FLAG...]")
		flag.PrintDefaults()
		os.Exit(2)
	}
	if err := infer(ctx, o); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "infer:", err)
		os.Exit(1)
	}
}

type options struct {
	model, signature, inOp, outOp string
	input, output                 string
	capacity                      int
}

// infer goes on until ctx ends, and says what it does.
func infer(ctx context.Context, o options) error {
	var from *source
	to := &sink{name: o.output}
	model, err := tensorflow.Load(o.model, o.signature)
	if err != nil {
		return err
	}
	defer func() { // the model first: it may be at a frame still
		_ = model.Close()
		to.close()
		from.close()
	}()
	in, out, err := ports(model, o)
	if err != nil {
		return err
	}
	fmt.Printf("model %s: takes %v, gives %v\n", o.model, in, out)

	if from, err = openSource(ctx, o.input); err != nil {
		return err
	}
	to.source = from
	if o.capacity > 0 {
		if err := to.open(o.capacity); err != nil {
			return err
		}
	}
	fmt.Printf("ready: from %v to %q\n", from, o.output)
	inferences := 0
	defer func() { fmt.Printf("%d inferences, %d inputs missed\n", inferences, from.missed()) }()
	outputs := map[string]tensorflow.Output{out.Name: to.commit}
	for died := false; ; {
		t, err := from.next(ctx)
		switch {
		case errors.Is(err, judemap.ErrWriterDied):
			if !died {
				fmt.Printf("the writer of %q died; waiting for another\n", o.input)
			}
			died = true
			if err := sleep(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("%q: %w", o.input, err)
		}
		died = false
		if err := model.Run(ctx, map[string]*judemap.Tensor{in.Name: &t}, outputs); err != nil {
			return fmt.Errorf("%v from %q: %w", t, o.input, err)
		}
		inferences++
	}
}

// ports returns the model's input and output: those asked for, or the only ones.
func ports(model *tensorflow.Session, o options) (in, out tensorflow.Port, err error) {
	inputs, outputs := model.Names()
	if len(inputs) == 0 {
		inputs = model.Placeholders()
	}
	inputName, err := choose(o.inOp, inputs, "inputs", "--in-op")
	if err != nil {
		return in, out, err
	}
	outputName, err := choose(o.outOp, outputs, "outputs", "--out-op")
	if err != nil {
		return in, out, err
	}
	if in, err = model.Input(inputName); err != nil {
		return in, out, err
	}
	out, err = model.Output(outputName)
	return in, out, err
}

func choose(name string, names []string, what, flag string) (string, error) {
	switch {
	case name != "":
		return name, nil
	case len(names) == 1:
		return names[0], nil
	case len(names) == 0:
		return "", fmt.Errorf("the model doesn't say what its %s are: %s OPERATION does", what, flag)
	}
	return "", fmt.Errorf("the model has %d %s: choose with %s one of %s", len(names), what, flag, strings.Join(names, ", "))
}

// sleep waits a moment before something is tried again.
func sleep(ctx context.Context) error {
	select {
	case <-time.After(100 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ---- Where tensors come from

// A source gives the tensors that are committed to a segment or a stream.
type source struct {
	stream *judemap.Stream // nil: a segment
	reader *judemap.Reader

	segment *judemap.Segment
	last    uint64 // the version last seen in segment
	skipped uint64 // commits to segment that were not seen
}

// openSource opens what has the name, or waits until something has.
func openSource(ctx context.Context, name string) (*source, error) {
	for said := false; ; {
		segment, err := judemap.Open(name)
		if err == nil {
			return &source{segment: segment}, nil
		}
		if errors.Is(err, judemap.ErrCorrupt) { // as a stream is for Open
			stream, streamErr := judemap.OpenStream(name)
			if streamErr != nil {
				return nil, fmt.Errorf("%q: %w; %w", name, err, streamErr)
			}
			reader, err := stream.Reader()
			if err != nil {
				_ = stream.CloseWait()
				return nil, err
			}
			return &source{stream: stream, reader: reader}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if !said {
			fmt.Printf("waiting for a segment or stream %q\n", name)
			said = true
		}
		if err := sleep(ctx); err != nil {
			return nil, err
		}
	}
}

// next returns a stream's next frame, in place and held until the next call, or a copy of a segment's next tensor, which the
// next commit would overwrite.
func (s *source) next(ctx context.Context) (judemap.Tensor, error) {
	if s.stream != nil {
		return s.reader.Next(ctx)
	}
	for {
		view, err := s.segment.Next(ctx, s.last)
		if err != nil {
			return view, err
		}
		// A buffer for each: the model may keep its input.
		t, err := s.segment.ReadInto(tensorflow.Aligned(len(view.Data())))
		if errors.Is(err, io.ErrShortBuffer) || errors.Is(err, judemap.ErrEmpty) { // another commit came in between
			continue
		}
		if err == nil {
			if s.last != 0 {
				s.skipped += (t.Version()-s.last)/2 - 1
			}
			s.last = t.Version()
		}
		return t, err
	}
}

func (s *source) missed() uint64 {
	if s.stream != nil {
		return s.reader.Missed()
	}
	return s.skipped
}

func (s *source) String() string {
	if s.stream != nil {
		return s.stream.String()
	}
	return s.segment.String()
}

func (s *source) close() {
	switch {
	case s == nil: // the program ended before there was one
	case s.stream != nil:
		_ = s.reader.Close()
		_ = s.stream.CloseWait()
	default:
		_ = s.segment.CloseWait()
	}
}

// ---- Where results go

// A sink is the segment or stream that results go to, of the kind that they come from.
type sink struct {
	name    string
	source  *source
	update  tensorflow.Output // nil until it is open
	closing func() error
}

// open opens what has the name, or makes it with room for capacity bytes.
func (s *sink) open(capacity int) error {
	if from := s.source.stream; from != nil {
		var options []judemap.Option
		if from.EveryFrame() {
			options = append(options, judemap.WithEveryFrame())
		}
		stream, err := judemap.OpenOrCreateStream(s.name, from.Slots(), capacity, options...)
		if err != nil {
			return err
		}
		s.update, s.closing = stream.Update, stream.CloseWait
		return nil
	}
	segment, err := judemap.OpenOrCreate(s.name, capacity)
	if err != nil {
		return err
	}
	s.update, s.closing = tensorflow.ToSegment(segment), segment.CloseWait
	return nil
}

// commit is the model's Output.
func (s *sink) commit(ctx context.Context, shape []int, dtype judemap.DType, fill func(data []byte) error) error {
	if s.update == nil {
		bytes := dtype.Size()
		for _, n := range shape {
			bytes *= n
		}
		if err := s.open(max(bytes, 1)); err != nil {
			return err
		}
	}
	err := s.update(ctx, shape, dtype, fill)
	if errors.Is(err, judemap.ErrCapacity) {
		err = fmt.Errorf("%w; --capacity makes room for larger results, once %q is removed", err, s.name)
	}
	return err
}

func (s *sink) close() {
	if s.closing != nil {
		_ = s.closing()
	}
}
