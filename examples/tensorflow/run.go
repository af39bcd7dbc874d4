package tensorflow

// #include <tensorflow/c/c_api.h>
import "C"

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"github.com/judemap/judemap"
)

// An Output takes what a model puts out: the method Update of a [judemap.Stream] does, and what [ToSegment] returns. fill
// copies the result into data.
type Output func(ctx context.Context, shape []int, dtype judemap.DType, fill func(data []byte) error) error

// ToSegment returns the Output that commits to a segment.
func ToSegment(s *judemap.Segment) Output {
	return func(_ context.Context, shape []int, dtype judemap.DType, fill func(data []byte) error) error {
		return s.Update(shape, dtype, fill)
	}
}

// Run runs the model, and commits what it puts out. Both maps go by the names that [Load] speaks of; outputs are committed
// in the order of their names.
//
// Inputs are read in place: a stream's frame, a view of a segment, or a copy at an address that is a multiple of 64. Run
// neither keeps nor releases frames, with two exceptions:
//
//   - ctx ends while the model runs. TensorFlow can't be interrupted: Run returns, and the model goes on in its own goroutine.
//     The frames are then held until it is done with them, and released by Run. Nothing is committed any more.
//   - The model keeps its input past the run, in a variable or a queue. The frame is held until the model lets go. A view of
//     a segment can't be held; such a model would find the next commit there, and should be given frames or copies.
//
// In both cases the caller must not release the frame. The reader of frames must stay open until the model is done, for
// which [Session.Close] waits.
//
// Errors, after which nothing was committed: ctx.Err(), wrapped; [ErrName]; [judemap.ErrDType] and [judemap.ErrShape] if the
// model takes another type or shape; [judemap.ErrEmpty] for an input without a tensor; [ErrMisaligned]; [ErrOverwritten];
// [ErrClosed]; [Error]. An error of an Output leaves those committed whose names come before.
func (s *Session) Run(ctx context.Context, inputs map[string]*judemap.Tensor, outputs map[string]Output) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(outputs) == 0 {
		return errors.New("tensorflow: a run without outputs")
	}
	if err := s.begin(); err != nil {
		return err
	}
	c, err := s.newCall(inputs, outputs)
	if err != nil {
		c.deleteInputs()
		s.running.Done()
		return err
	}
	ended, left := make(chan error), make(chan struct{})
	go func() {
		err := c.run()
		select {
		case ended <- err:
		case <-left:
			c.deleteOutputs()
			s.running.Done()
		}
	}()
	select {
	case err := <-ended:
		defer func() { // also if an Output panics
			c.deleteOutputs()
			c.keepInputs()
			s.running.Done()
		}()
		if err != nil {
			return err
		}
		return c.commit(ctx, outputs)
	case <-ctx.Done():
		c.keepInputs()
		close(left)
		return fmt.Errorf("tensorflow: the model goes on, and its outputs are dropped: %w", ctx.Err())
	}
}

// A call is one run of a model.
type call struct {
	session      *C.TF_Session
	inputs       []*input
	inputPorts   []C.TF_Output
	inputTensors []*C.TF_Tensor

	outputNames   []string
	outputPorts   []C.TF_Output
	outputTensors []*C.TF_Tensor // nil where there is none
}

// newCall gets everything ready. What was made is to be deleted also after an error.
func (s *Session) newCall(inputs map[string]*judemap.Tensor, outputs map[string]Output) (*call, error) {
	c := &call{session: s.session, outputNames: sortedKeys(outputs), outputTensors: make([]*C.TF_Tensor, len(outputs))}
	for _, name := range c.outputNames {
		port, err := s.port(name, false)
		if err != nil {
			return c, err
		}
		c.outputPorts = append(c.outputPorts, port.output)
	}
	for _, name := range sortedKeys(inputs) {
		port, err := s.port(name, true)
		if err != nil {
			return c, err
		}
		t := inputs[name]
		if t == nil || t.Version() == 0 {
			return c, fmt.Errorf("tensorflow: input %q: %w", name, judemap.ErrEmpty)
		}
		if err := port.takes(t.DType(), t.Shape()); err != nil {
			return c, err
		}
		in, tensor, err := newInput(name, t)
		if err != nil {
			return c, err
		}
		c.inputs = append(c.inputs, in)
		c.inputPorts = append(c.inputPorts, port.output)
		c.inputTensors = append(c.inputTensors, tensor)
	}
	return c, nil
}

// run runs the model, and deletes the tensors that went in.
func (c *call) run() error {
	status := C.TF_NewStatus()
	defer C.TF_DeleteStatus(status)
	C.TF_SessionRun(c.session, nil,
		unsafe.SliceData(c.inputPorts), unsafe.SliceData(c.inputTensors), C.int(len(c.inputs)),
		unsafe.SliceData(c.outputPorts), unsafe.SliceData(c.outputTensors), C.int(len(c.outputPorts)),
		nil, 0, nil, status)
	c.deleteInputs()
	return statusError(status)
}

// commit copies what came out to where it goes, unless what went in has changed meanwhile.
func (c *call) commit(ctx context.Context, outputs map[string]Output) error {
	for _, in := range c.inputs {
		if !in.tensor.Valid() {
			return fmt.Errorf("%w: %v", ErrOverwritten, in.tensor)
		}
	}
	for i, name := range c.outputNames {
		if err := commit(ctx, outputs[name], c.outputTensors[i]); err != nil {
			return fmt.Errorf("tensorflow: output %q: %w", name, err)
		}
	}
	return nil
}

func commit(ctx context.Context, out Output, t *C.TF_Tensor) error {
	dtype, name, ok := dtypeOf(C.TF_TensorType(t))
	if !ok {
		return fmt.Errorf("%w: %s", judemap.ErrDType, name)
	}
	rank := int(C.TF_NumDims(t))
	shape := make([]int, rank)
	for i := range shape {
		shape[i] = int(C.TF_Dim(t, C.int(i)))
	}
	result := unsafe.Slice((*byte)(C.TF_TensorData(t)), int(C.TF_TensorByteSize(t)))
	return out(ctx, shape, dtype, func(data []byte) error {
		copy(data, result)
		return nil
	})
}

func (c *call) deleteInputs() {
	for _, t := range c.inputTensors {
		deleteTensor(t)
	}
	c.inputTensors = nil
}

// deleteOutputs also lets go of inputs that a model passes on.
func (c *call) deleteOutputs() {
	for i, t := range c.outputTensors {
		if t != nil {
			deleteTensor(t)
			c.outputTensors[i] = nil
		}
	}
}

// keepInputs holds the frames that TensorFlow still looks at.
func (c *call) keepInputs() {
	for _, in := range c.inputs {
		in.keep()
	}
}
