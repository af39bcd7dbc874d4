package kserve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/examples/triton/kserve/inference"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// An Input is a tensor that the model takes.
type Input struct {
	Name   string          // as the model has it
	Tensor *judemap.Tensor // a frame of a stream, held until Infer returns; or what Segment.Read returned; or a copy
	In     Memory          // the stream or segment that the tensor is in; nil: its bytes are sent
}

// An Output is where a tensor of the model goes. The type and the shape that it must have are those that the model answers.
type Output struct {
	Name  string // as the model has it
	To    Memory // the *judemap.Stream or *judemap.Segment that gets the tensor
	Shape []int  // in elements
	DType judemap.DType

	// InPlace has the server write into a Segment itself. Else it writes beside it, and the Segment gets a copy at the end:
	// readers are not kept waiting while the model works, and after an error have the tensor that was there before. With
	// InPlace they wait, and after an error get judemap.ErrEmpty. A Stream's frames are always written in place, since its
	// readers never wait and the frames that were committed stay.
	InPlace bool
}

// Infer has a server run a model. The inputs must be held, and the outputs are committed together when the model is done: who
// waits for them is woken. After an error none is committed.
//
// A tensor that is in a named segment or stream goes through shared memory if the server maps it; an output of a plain
// Segment then takes one copy, see [Output]. All others are sent as bytes. The outcome is the same, to the bit.
//
// The end of ctx ends Infer, but not what the server does. Until that has answered, or is gone, nobody can write to a stream
// that was to get an output, nor to a segment InPlace: its bytes are the server's.
//
// Errors: [ErrUnreachable], [ErrServerGone], [ErrResponse], [ErrChanged], [ErrNotShared], [ErrClosed], ctx.Err(); those of the
// server, which wrap a gRPC status; those of Segment.Update and Stream.Update.
func (c *Client) Infer(ctx context.Context, model string, inputs []Input, outputs []Output) error {
	if err := check(inputs, outputs); err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	call := &call{model: model, inputs: slices.Clone(inputs), outputs: slices.Clone(outputs)}
	for i := range inputs { // the caller's are the caller's again when Infer returns
		tensor := *inputs[i].Tensor
		call.inputs[i].Tensor = &tensor
	}
	for i := range outputs {
		call.outputs[i].Shape = slices.Clone(outputs[i].Shape)
	}
	done := make(chan error, 1)
	go func() {
		err := c.infer(ctx, call)
		c.end() // first, so that Close, after Infer, finds no call under way
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		if call.state.CompareAndSwap(callInPlace, callAbandoned) {
			return fmt.Errorf("kserve: model %q: %w", model, ctx.Err())
		}
		return <-done // it ends too, or the outputs are being committed
	}
}

func check(inputs []Input, outputs []Output) error {
	for _, in := range inputs {
		if in.Tensor == nil {
			return fmt.Errorf("kserve: input %q has no tensor", in.Name)
		}
		if _, err := datatype(in.Tensor.DType()); err != nil {
			return fmt.Errorf("kserve: input %q: %w", in.Name, err)
		}
		if err := checkMemory(in.In); err != nil && in.In != nil {
			return fmt.Errorf("kserve: input %q is in %w", in.Name, err)
		}
	}
	for i, out := range outputs {
		if _, err := datatype(out.DType); err != nil {
			return fmt.Errorf("kserve: output %q: %w", out.Name, err)
		}
		if err := checkMemory(out.To); err != nil {
			return fmt.Errorf("kserve: output %q goes to %w", out.Name, err)
		}
		switch bytes := byteSize(out.Shape, out.DType); {
		case bytes < 0 || len(out.Shape) > judemap.MaxDims:
			return fmt.Errorf("kserve: output %q: %w: %v", out.Name, judemap.ErrShape, out.Shape)
		case bytes > out.To.ByteCapacity():
			return fmt.Errorf("kserve: output %q: %w: %v of %v takes %d bytes, and there is room for %d", out.Name, judemap.ErrCapacity,
				out.Shape, out.DType, bytes, out.To.ByteCapacity())
		}
		if _, segment := out.To.(*judemap.Segment); segment && out.InPlace {
			for _, in := range inputs {
				if in.In == out.To {
					return fmt.Errorf("kserve: output %q would overwrite input %q in place", out.Name, in.Name)
				}
			}
		}
		for _, other := range outputs[:i] {
			if other.To == out.To || other.Name == out.Name {
				return fmt.Errorf("kserve: outputs %q and %q: one output and one place each", other.Name, out.Name)
			}
		}
	}
	return nil
}

func checkMemory(m Memory) error {
	switch m := m.(type) {
	case *judemap.Segment:
		if m != nil {
			return nil
		}
	case *judemap.Stream:
		if m != nil {
			return nil
		}
	}
	return fmt.Errorf("a %T; it takes a *judemap.Segment or a *judemap.Stream", m)
}

// A call is one Infer. It has a goroutine of its own, because the server may be at it when Infer has returned.
type call struct {
	model   string
	inputs  []Input
	outputs []Output
	state   atomic.Int32
}

const (
	callCancelled  int32 = iota // what it waits for ends with ctx
	callInPlace                 // it has memory that the server writes to, or waits for such, and can't be ended
	callCommitting              // the server has answered; the outputs will be committed
	callAbandoned               // Infer has returned; they won't
)

// infer asks the first server that can be reached, from the one whose turn it is.
func (c *Client) infer(ctx context.Context, call *call) error {
	first := int(c.next.Add(1) % uint64(len(c.servers)))
	servers := slices.Concat(c.servers[first:], c.servers[:first])
	// Those that there is a connection to come first: to wait for one may take seconds, and another answers meanwhile.
	slices.SortStableFunc(servers, func(a, b *server) int { return cmp.Compare(a.wait(), b.wait()) })
	var unreachable error
	for _, s := range servers {
		asked, err := s.infer(ctx, call)
		if asked || !transport(err) {
			return err
		}
		unreachable = errors.Join(unreachable, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", err, unreachable)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, unreachable)
}

// infer runs a call on this server; twice if it was started again and knows no region. asked says whether the server may
// have begun.
func (s *server) infer(ctx context.Context, call *call) (asked bool, err error) {
	for again := false; ; again = true {
		if err := s.connected(ctx); err != nil {
			return false, fmt.Errorf("server %s: %w", s.address, err)
		}
		if call.state.CompareAndSwap(callInPlace, callCancelled); call.state.Load() == callAbandoned {
			return true, ctx.Err()
		}
		t := try{server: s, call: call, request: &inference.ModelInferRequest{ModelName: call.model}}
		err := t.run(ctx)
		switch {
		case err == nil:
			return true, nil
		case !again && s.lost(ctx, err, t.regions):
			continue
		case status.Code(err) == codes.Unavailable && t.asked:
			return true, fmt.Errorf("%w: %s, model %q: %w", ErrServerGone, s.address, call.model, err)
		}
		return t.asked, fmt.Errorf("kserve: server %s, model %q: %w", s.address, call.model, err)
	}
}

// A try is one request of a call.
type try struct {
	*server
	*call
	request *inference.ModelInferRequest
	asked   bool
	regions []string // that the request names

	places []target // what the server writes to
	copies []target // what is copied when it has answered
	used   []*scratch
}

// A target is a memory that an output is written to.
type target struct {
	output *Output
	number int    // of the output
	to     Memory // the output's, or a scratch
	where  mapped // in place: the file of to
	data   []byte // in place: where it is; a copy: what it is a copy of
}

func (t *try) run(ctx context.Context) error {
	defer func() {
		for _, scratch := range t.used {
			t.giveScratch(scratch)
		}
	}()
	t.request.Outputs = make([]*inference.ModelInferRequest_InferRequestedOutputTensor, len(t.call.outputs))
	for i := range t.call.outputs {
		if err := t.addOutput(ctx, i); err != nil {
			return fmt.Errorf("output %q: %w", t.call.outputs[i].Name, err)
		}
	}
	for i := range t.call.inputs {
		if err := t.addInput(ctx, &t.call.inputs[i]); err != nil {
			return fmt.Errorf("input %q: %w", t.call.inputs[i].Name, err)
		}
	}
	if len(t.places) > 0 && !t.state.CompareAndSwap(callCancelled, callInPlace) {
		return ctx.Err()
	}
	inOrder(t.places)
	inOrder(t.copies)
	err := update(ctx, t.places, (*target).note, func() error { return t.ask(ctx) })
	runtime.KeepAlive(t.call)
	return err
}

func (t *try) addInput(ctx context.Context, in *Input) error {
	name, _ := datatype(in.Tensor.DType())
	tensor := &inference.ModelInferRequest_InferInputTensor{Name: in.Name, Datatype: name, Shape: shape64(in.Tensor.Shape())}
	t.request.Inputs = append(t.request.Inputs, tensor)
	data := in.Tensor.Data()
	err := t.shareInput(ctx, in, tensor)
	if !errors.Is(err, ErrNotShared) || t.options.sharedOnly {
		return err
	}
	if len(t.places) > 0 { // Infer may return, and the bytes be the caller's again, before they are sent
		data = slices.Clone(data)
	}
	t.request.RawInputContents = append(t.request.RawInputContents, data)
	return nil
}

func (t *try) shareInput(ctx context.Context, in *Input, tensor *inference.ModelInferRequest_InferInputTensor) error {
	data := in.Tensor.Data()
	if len(data) == 0 {
		return fmt.Errorf("%w: a tensor of 0 bytes has no place", ErrNotShared)
	}
	where, err := t.mapped(ctx, in.In)
	if err != nil {
		return err
	}
	t.regions = append(t.regions, where.region)
	tensor.Parameters, err = where.parameters(data)
	return err
}

func (t *try) addOutput(ctx context.Context, number int) error {
	out := &t.call.outputs[number]
	t.request.Outputs[number] = &inference.ModelInferRequest_InferRequestedOutputTensor{Name: out.Name}
	place := target{output: out, number: number, to: out.To}
	bytes := byteSize(out.Shape, out.DType)
	if bytes == 0 {
		t.copies = append(t.copies, place)
		return nil
	}
	var err error
	_, segment := out.To.(*judemap.Segment)
	if beside := segment && !out.InPlace; beside && !t.options.bytes {
		var s *scratch
		if s, err = t.takeScratch(ctx, bytes); err == nil {
			t.used = append(t.used, s)
			t.copies = append(t.copies, place)
			place.to, place.where = s.segment, s.mapped
		}
	} else {
		place.where, err = t.mapped(ctx, out.To)
	}
	switch {
	case err == nil:
		t.regions = append(t.regions, place.where.region)
		t.places = append(t.places, place)
	case errors.Is(err, ErrNotShared) && !t.options.sharedOnly:
		t.copies = append(t.copies, place)
	default:
		return err
	}
	return nil
}

// ask has the server run the model, once every output has its place, and commits what is to be copied.
func (t *try) ask(ctx context.Context) error {
	for i := range t.places {
		place := &t.places[i]
		parameters, err := place.where.parameters(place.data)
		if err != nil {
			return fmt.Errorf("output %q: %w", place.output.Name, err)
		}
		t.request.Outputs[place.number].Parameters = parameters
	}
	call := ctx
	if len(t.places) > 0 {
		if t.state.Load() == callAbandoned {
			return ctx.Err()
		}
		// A server whose client gives up goes on, and writes its outputs. Nobody may have their memory before it has.
		call = context.WithoutCancel(ctx)
	}
	var to peer.Peer
	response, err := t.rpc.ModelInfer(call, t.request, grpc.Peer(&to))
	t.asked = to.Addr != nil // else there was no connection after all
	if err != nil {
		return err
	}
	if err := t.look(response); err != nil {
		return err
	}
	for i := range t.call.inputs {
		if in := &t.call.inputs[i]; !in.Tensor.Valid() {
			return fmt.Errorf("%w: %q, which was version %d", ErrChanged, in.Name, in.Tensor.Version())
		}
	}
	if len(t.places) > 0 && !t.state.CompareAndSwap(callInPlace, callCommitting) {
		return ctx.Err()
	}
	return update(ctx, t.copies, (*target).copy, func() error { return nil })
}

// look finds the outputs in a response, and that they are what was asked for.
func (t *try) look(response *inference.ModelInferResponse) error {
	for _, targets := range [][]target{t.places, t.copies} {
		for i := range targets {
			if err := t.lookFor(response, &targets[i]); err != nil {
				return fmt.Errorf("%w: output %q: %w", ErrResponse, targets[i].output.Name, err)
			}
		}
	}
	return nil
}

func (t *try) lookFor(response *inference.ModelInferResponse, to *target) error {
	out := to.output
	i := slices.IndexFunc(response.GetOutputs(), func(o *inference.ModelInferResponse_InferOutputTensor) bool {
		return o.GetName() == out.Name
	})
	if i < 0 {
		return fmt.Errorf("it is not among the %d outputs of the answer", len(response.GetOutputs()))
	}
	got := response.GetOutputs()[i]
	want, _ := datatype(out.DType)
	if got.GetDatatype() != want || !slices.Equal(got.GetShape(), shape64(out.Shape)) {
		return fmt.Errorf("the answer is %s %v, and %s %v was asked for", got.GetDatatype(), got.GetShape(), want, out.Shape)
	}
	var raw []byte // Triton has an empty entry for an output in shared memory
	if i < len(response.GetRawOutputContents()) {
		raw = response.GetRawOutputContents()[i]
	}
	place := slices.IndexFunc(t.places, func(place target) bool { return place.output == out })
	if place >= 0 {
		if len(raw) != 0 {
			return fmt.Errorf("the answer has its %d bytes, which were to be in shared memory", len(raw))
		}
		if to != &t.places[place] {
			to.data = t.places[place].data
		}
		return nil
	}
	if bytes := byteSize(out.Shape, out.DType); len(raw) != bytes {
		return fmt.Errorf("the answer has %d bytes of it in raw_output_contents; %s %v takes %d", len(raw), want, out.Shape, bytes)
	}
	to.data = raw
	return nil
}

// update runs then inside the Updates of all targets, whose bytes fill gets. They are committed if then does not fail.
func update(ctx context.Context, targets []target, fill func(*target, []byte), then func() error) error {
	if len(targets) == 0 {
		return then()
	}
	t := &targets[0]
	inside := func(data []byte) error {
		fill(t, data)
		return update(ctx, targets[1:], fill, then)
	}
	if s, ok := t.to.(*judemap.Stream); ok {
		return s.Update(ctx, t.output.Shape, t.output.DType, inside)
	}
	return t.to.(*judemap.Segment).Update(t.output.Shape, t.output.DType, inside)
}

func (t *target) note(data []byte) { t.data = data }
func (t *target) copy(data []byte) { copy(data, t.data) }

// inOrder sorts targets as in all calls, so that no two calls wait for each other.
func inOrder(targets []target) {
	address := func(t target) uintptr {
		if s, ok := t.to.(*judemap.Stream); ok {
			return uintptr(unsafe.Pointer(s))
		}
		return uintptr(unsafe.Pointer(t.to.(*judemap.Segment)))
	}
	slices.SortFunc(targets, func(a, b target) int { return cmp.Compare(address(a), address(b)) })
}

// byteSize returns the bytes of a tensor; -1 if there can be no such tensor.
func byteSize(shape []int, dtype judemap.DType) int {
	bytes := dtype.Size()
	for _, n := range shape {
		if n < 0 || n > 0 && bytes > 1<<48/n { // more than can be addressed
			return -1
		}
		bytes *= n
	}
	return bytes
}

func shape64(shape []int) []int64 {
	result := make([]int64, len(shape))
	for i, n := range shape {
		result[i] = int64(n)
	}
	return result
}
