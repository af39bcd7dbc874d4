package tensorflow

/*
#include <stdint.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

extern void judemapInputDone(uintptr_t handle);

static void input_done(void* data, size_t length, void* handle) {
  (void)data, (void)length;
  judemapInputDone((uintptr_t)handle);
}

// TensorFlow's tensor over memory that stays its owner's: nothing is freed, the owner is told.
static TF_Tensor* new_tensor(TF_DataType type, const int64_t* shape, int rank, uintptr_t data, size_t length,
                             uintptr_t handle) {
  return TF_NewTensor(type, shape, rank, (void*)data, length, input_done, (void*)handle);
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"runtime/cgo"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/judemap/judemap"
)

// An input is a tensor that TensorFlow reads in place. It is reachable, and so its memory mapped, until TensorFlow has let
// go of it: by then TensorFlow calls the deallocator, judemapInputDone. That is not always when the run is over, because a
// model can keep its input in a variable.
type input struct {
	tensor judemap.Tensor
	pinner runtime.Pinner // for a copy, which is Go's memory
	use    *use
	done   bool // TensorFlow has let go; guarded by usesMu
}

// A use says what TensorFlow has of a frame, which may be in several runs at once.
type use struct {
	inputs int  // that are not done; guarded by usesMu
	kept   bool // the frame is held until there are none; guarded by usesMu
}

// A frameKey tells frames apart.
type frameKey struct {
	address uintptr
	version uint64
}

func (in *input) key() frameKey { return frameKey{in.tensor.DataPtr(), in.tensor.Version()} }

var (
	usesMu sync.Mutex
	uses   = make(map[frameKey]*use) // guarded by usesMu
)

// begin is before TensorFlow knows of the input.
func (in *input) begin() {
	usesMu.Lock()
	defer usesMu.Unlock()
	in.use = uses[in.key()]
	if in.use == nil {
		in.use = new(use)
		uses[in.key()] = in.use
	}
	in.use.inputs++
	inputsInUse.Add(1)
}

// keep holds a stream's frame until TensorFlow has let go of it, if that is still to come.
func (in *input) keep() {
	usesMu.Lock()
	defer usesMu.Unlock()
	if !in.done {
		in.tensor.Keep()
		in.use.kept = true
	}
}

// end is when TensorFlow has let go of the input.
func (in *input) end() {
	in.pinner.Unpin()
	usesMu.Lock()
	defer usesMu.Unlock()
	in.done = true
	if in.use.inputs--; in.use.inputs == 0 {
		delete(uses, in.key())
		if in.use.kept {
			in.tensor.Release()
		}
	}
	inputsInUse.Add(-1)
}

// inputsInUse counts the inputs that TensorFlow has not let go of, for tests.
var inputsInUse atomic.Int64

// newInput makes TensorFlow's tensor over the data of t, in place. The tensor is to be deleted.
func newInput(name string, t *judemap.Tensor) (*input, *C.TF_Tensor, error) {
	in := &input{tensor: *t}
	data := in.tensor.Data()
	in.pinner.Pin(unsafe.SliceData(data))
	var dims [judemap.MaxDims]C.int64_t
	shape := in.tensor.Shape()
	for i, n := range shape {
		dims[i] = C.int64_t(n)
	}
	handle := cgo.NewHandle(in)
	in.begin()
	address := in.tensor.DataPtr()
	tensor := C.new_tensor(dtypes[in.tensor.DType()], &dims[0], C.int(len(shape)), C.uintptr_t(address), C.size_t(len(data)),
		C.uintptr_t(handle))
	if tensor == nil {
		judemapInputDone(C.uintptr_t(handle))
		return nil, nil, fmt.Errorf("tensorflow: TF_NewTensor takes no %v of %d bytes as input %q", in.tensor, len(data), name)
	}
	// It copies without a word what is not aligned as it likes, and has called the deallocator then.
	if uintptr(C.TF_TensorData(tensor)) != address && len(data) != 0 {
		C.TF_DeleteTensor(tensor)
		return nil, nil, fmt.Errorf("%w: %q is at %#x, and TensorFlow would copy what is at no multiple of %d bytes",
			ErrMisaligned, name, address, int(C.TF_TensorDefaultAlignment()))
	}
	return in, tensor, nil
}

// Aligned returns memory at an address from which TensorFlow reads in place: for [judemap.Segment.ReadInto], where a segment's
// tensor has to be copied because its writer won't wait for the model.
func Aligned(length int) []byte {
	alignment := int(C.TF_TensorDefaultAlignment())
	memory := make([]byte, length+alignment)
	start := alignment - int(uintptr(unsafe.Pointer(unsafe.SliceData(memory)))%uintptr(alignment))
	return memory[start : start+length : start+length]
}

// newCopy makes TensorFlow's tensor with a copy of the data of t: what newInput is measured against. It returns the tensor's
// deletion.
func newCopy(t *judemap.Tensor) func() {
	data := t.Data()
	var dims [judemap.MaxDims]C.int64_t
	for i, n := range t.Shape() {
		dims[i] = C.int64_t(n)
	}
	tensor := C.TF_AllocateTensor(dtypes[t.DType()], &dims[0], C.int(len(t.Shape())), C.size_t(len(data)))
	C.memcpy(C.TF_TensorData(tensor), unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data)))
	return func() { C.TF_DeleteTensor(tensor) }
}

func deleteTensor(t *C.TF_Tensor) { C.TF_DeleteTensor(t) }
