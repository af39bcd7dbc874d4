// Package onnxruntime runs ONNX models over the memory of judemap's segments and streams: ONNX Runtime reads a frame where
// it lies, and writes its answer where the answer's readers will look at it. Copy this file; it stands on its own.
package onnxruntime

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"unsafe"

	"github.com/judemap/judemap"
	ort "github.com/yalue/onnxruntime_go"
)

// Errors, for errors.Is. Those that Run and OutputShape return wrap them and add names and numbers.
var (
	// ErrInput: the tensor is not what the model takes.
	ErrInput = errors.New("onnxruntime: not the model's input")
	// ErrOutput: the memory is not what the model's answer takes.
	ErrOutput = errors.New("onnxruntime: not the model's output")
)

// types has ONNX Runtime's name for each of judemap's element types.
var types = map[judemap.DType]ort.TensorElementDataType{
	judemap.Float32:      ort.TensorElementDataTypeFloat,
	judemap.Float64:      ort.TensorElementDataTypeDouble,
	judemap.Int32:        ort.TensorElementDataTypeInt32,
	judemap.Int64:        ort.TensorElementDataTypeInt64,
	judemap.Uint8:        ort.TensorElementDataTypeUint8,
	judemap.Int8:         ort.TensorElementDataTypeInt8,
	judemap.Uint16:       ort.TensorElementDataTypeUint16,
	judemap.Int16:        ort.TensorElementDataTypeInt16,
	judemap.Bool:         ort.TensorElementDataTypeBool,
	judemap.Float16:      ort.TensorElementDataTypeFloat16,
	judemap.BFloat16:     ort.TensorElementDataTypeBFloat16,
	judemap.Uint32:       ort.TensorElementDataTypeUint32,
	judemap.Uint64:       ort.TensorElementDataTypeUint64,
	judemap.Float8E4M3FN: ort.TensorElementDataTypeFloat8E4M3FN,
	judemap.Float8E5M2:   ort.TensorElementDataTypeFloat8E5M2,
	judemap.Complex64:    ort.TensorElementDataTypeComplex64,
}

// maxBindings is how many pairs of an input's and an output's address a Model remembers. Two streams of 4 slots have 16.
const maxBindings = 1024

// Put describes one input or output of a model.
type Put struct {
	Name  string
	DType judemap.DType
	Shape []int // in elements; -1 where the model takes any size
}

func (p Put) String() string {
	return fmt.Sprintf("%q, %v %v", p.Name, p.DType, p.Shape)
}

// A Model is an ONNX model with one input and one output. One goroutine at a time may use it.
type Model struct {
	Input, Output Put

	name    string
	session *ort.DynamicAdvancedSession
	bound   map[place]*binding

	inShape, outShape []int // what OutputShape learned last
}

// place is where an input and an output lie.
type place struct{ in, out uintptr }

// binding has ONNX Runtime's tensors over the memory of one place, and what binds them to the model's input and output.
type binding struct {
	io                *ort.IoBinding
	in, out           *ort.CustomDataTensor
	inShape, outShape []int
}

// Init loads ONNX Runtime from a shared library, such as
// "/usr/lib/libonnxruntime.so.1.32.0". It is called once, before Load.
func Init(library string) error {
	ort.SetSharedLibraryPath(library)
	if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil { // errors are returned: no need to print them
		return fmt.Errorf("ONNX Runtime from %s: %w", library, err)
	}
	return nil
}

// Load loads the model in a file. threads is how many threads work on one run; 0 leaves that to ONNX Runtime, which
// takes one for each core.
//
// Errors: ErrInput or ErrOutput if the model has not one input and one output that are tensors of a type that judemap
// has; ONNX Runtime's.
func Load(path string, threads int) (*Model, error) {
	inputs, outputs, err := ort.GetInputOutputInfo(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m := &Model{name: filepath.Base(path), bound: make(map[place]*binding)}
	if m.Input, err = only(inputs); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInput, path, err)
	}
	if m.Output, err = only(outputs); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrOutput, path, err)
	}

	options, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer options.Destroy()
	if err := options.SetIntraOpNumThreads(threads); err != nil {
		return nil, fmt.Errorf("%d threads: %w", threads, err)
	}
	m.session, err = ort.NewDynamicAdvancedSession(path, []string{m.Input.Name}, []string{m.Output.Name}, options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// only returns the one input or output of a list.
func only(infos []ort.InputOutputInfo) (Put, error) {
	if len(infos) != 1 {
		return Put{}, fmt.Errorf("the model has %d, not one: %v", len(infos), infos)
	}
	for dtype, t := range types {
		if t == infos[0].DataType {
			return Put{infos[0].Name, dtype, ints(infos[0].Dimensions)}, nil
		}
	}
	return Put{}, fmt.Errorf("%v", &infos[0])
}

// Run runs the model over in and has the answer, a tensor of this shape, written to out. There is no copy on either side:
// ONNX Runtime has the address of in's data and of out. Both must stay whole until Run returns, as a frame of a stream does
// while it is held, and what Update gives the function that it calls.
//
// The first run over a pair of addresses makes tensors there. Later ones use them again, and allocate nothing.
//
// Errors: ErrInput, ErrOutput; ONNX Runtime's.
func (m *Model) Run(in *judemap.Tensor, shape []int, out []byte) error {
	defer runtime.KeepAlive(in) // ONNX Runtime's tensor doesn't
	b, err := m.bind(in, shape, out)
	if err != nil {
		return err
	}
	if err := m.session.RunWithBinding(b.io); err != nil {
		return fmt.Errorf("%s: from %v: %w", m.name, in, err)
	}
	return nil
}

// OutputShape returns the shape of the answer to in, which the caller must not change. If it depends on the input's shape,
// the model is run once for each shape that is not the last one's, with an output that ONNX Runtime allocates.
//
// Errors: those of Run.
func (m *Model) OutputShape(in *judemap.Tensor) ([]int, error) {
	if !slices.Contains(m.Output.Shape, -1) {
		return m.Output.Shape, nil
	}
	if m.outShape != nil && slices.Equal(in.Shape(), m.inShape) {
		return m.outShape, nil
	}
	defer runtime.KeepAlive(in)
	if err := m.checkInput(in); err != nil {
		return nil, err
	}
	t, err := over(in.Data(), in.Shape(), in.DType())
	if err != nil {
		return nil, fmt.Errorf("%w: %v: %w", ErrInput, in, err)
	}
	defer t.Destroy()
	outputs := []ort.Value{nil}
	if err := m.session.Run([]ort.Value{t}, outputs); err != nil {
		return nil, fmt.Errorf("%s: from %v: %w", m.name, in, err)
	}
	defer outputs[0].Destroy()
	m.inShape, m.outShape = slices.Clone(in.Shape()), ints(outputs[0].GetShape())
	return m.outShape, nil
}

// Close gives back what ONNX Runtime has of the model.
func (m *Model) Close() error {
	m.unbind()
	return m.session.Destroy()
}

// bind returns the binding for these two places, and makes it if there is none for tensors of these shapes.
func (m *Model) bind(in *judemap.Tensor, shape []int, out []byte) (*binding, error) {
	at := place{in.DataPtr(), uintptr(unsafe.Pointer(unsafe.SliceData(out)))}
	b := m.bound[at]
	if b != nil && slices.Equal(b.inShape, in.Shape()) && slices.Equal(b.outShape, shape) && in.DType() == m.Input.DType &&
		len(out) == len(b.out.GetData()) {
		return b, nil
	}
	if err := m.checkInput(in); err != nil {
		return nil, err
	}
	if err := m.checkOutput(shape, out); err != nil {
		return nil, err
	}
	if b != nil {
		delete(m.bound, at)
		b.destroy()
	}
	if len(m.bound) == maxBindings { // many streams, or memory that is new each time
		m.unbind()
	}

	b, err := m.newBinding(in, shape, out)
	if err != nil {
		return nil, err
	}
	m.bound[at] = b
	return b, nil
}

func (m *Model) newBinding(in *judemap.Tensor, shape []int, out []byte) (_ *binding, err error) {
	b := &binding{inShape: slices.Clone(in.Shape()), outShape: slices.Clone(shape)}
	defer func() {
		if err != nil {
			b.destroy()
		}
	}()
	if b.in, err = over(in.Data(), in.Shape(), in.DType()); err != nil {
		return nil, fmt.Errorf("%w: %v: %w", ErrInput, in, err)
	}
	if b.out, err = over(out, shape, m.Output.DType); err != nil {
		return nil, fmt.Errorf("%w: %v %v: %w", ErrOutput, m.Output.DType, shape, err)
	}
	if b.io, err = m.session.CreateIoBinding(); err != nil {
		return nil, err
	}
	if err := b.io.BindInput(m.Input.Name, b.in); err != nil {
		return nil, err
	}
	return b, b.io.BindOutput(m.Output.Name, b.out)
}

func (m *Model) unbind() {
	for _, b := range m.bound {
		b.destroy()
	}
	clear(m.bound)
}

func (b *binding) destroy() {
	if b.io != nil {
		b.io.Destroy()
	}
	if b.in != nil {
		b.in.Destroy()
	}
	if b.out != nil {
		b.out.Destroy()
	}
}

// over makes ONNX Runtime's tensor over memory that stays the caller's.
func over(data []byte, shape []int, dtype judemap.DType) (*ort.CustomDataTensor, error) {
	dimensions := make(ort.Shape, len(shape))
	for i, n := range shape {
		dimensions[i] = int64(n)
	}
	return ort.NewCustomDataTensor(dimensions, data, types[dtype])
}

func (m *Model) checkInput(in *judemap.Tensor) error {
	if in.DType() != m.Input.DType || !fits(in.Shape(), m.Input.Shape) {
		return fmt.Errorf("%w: %s takes %v (-1: any size), and the tensor is %v", ErrInput, m.name, m.Input, in)
	}
	return nil
}

func (m *Model) checkOutput(shape []int, out []byte) error {
	if !fits(shape, m.Output.Shape) {
		return fmt.Errorf("%w: %s answers with %v (-1: any size), not with %v", ErrOutput, m.name, m.Output, shape)
	}
	size := m.Output.DType.Size()
	for _, n := range shape {
		size *= n
	}
	if size != len(out) {
		return fmt.Errorf("%w: %s answers with %v of %v, %d bytes, and there are %d", ErrOutput, m.name, shape,
			m.Output.DType, size, len(out))
	}
	return nil
}

// fits says whether a tensor of this shape is one that the model knows.
func fits(shape, model []int) bool {
	return slices.EqualFunc(shape, model, func(n, want int) bool { return want < 0 || n == want })
}

func ints(shape ort.Shape) []int {
	s := make([]int, len(shape))
	for i, n := range shape {
		s[i] = int(n)
	}
	return s
}
