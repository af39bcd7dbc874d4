//go:build cgo && linux && (amd64 || arm64)

package main

// #cgo LDFLAGS: -ldl
// #include "driver.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"
)

// errNoDevice: there is no driver, or no device.
var errNoDevice = errors.New("no CUDA device")

// check returns the error of a call of the driver.
func check(call string, result C.int) error {
	if result == 0 {
		return nil
	}
	var name *C.char
	if C.cuda_cuGetErrorName(result, &name) != 0 || name == nil {
		return fmt.Errorf("%s: CUDA error %d", call, result)
	}
	return fmt.Errorf("%s: %s (%d)", call, C.GoString(name), result)
}

// A device is a CUDA device whose primary context is that of this goroutine's thread.
type device struct {
	number  int
	handle  C.int
	name    string
	version string // of CUDA, that the driver is for
}

// openDevice makes the context current, and keeps the goroutine on its thread.
func openDevice(number int) (*device, error) {
	runtime.LockOSThread()
	if why := C.cuda_load(); why != nil {
		return nil, fmt.Errorf("%w: %s", errNoDevice, C.GoString(why))
	}
	if result := C.cuda_cuInit(0); result == 100 || result == 34 { // CUDA_ERROR_NO_DEVICE, CUDA_ERROR_STUB_LIBRARY
		return nil, fmt.Errorf("%w: %w", errNoDevice, check("cuInit", result))
	} else if result != 0 {
		return nil, check("cuInit", result)
	}
	d := &device{number: number}
	var version C.int
	if err := check("cuDriverGetVersion", C.cuda_cuDriverGetVersion(&version)); err != nil {
		return nil, err
	}
	d.version = fmt.Sprintf("%d.%d", version/1000, version%1000/10)
	if err := check("cuDeviceGet", C.cuda_cuDeviceGet(&d.handle, C.int(number))); err != nil {
		return nil, err
	}
	var name [256]C.char
	if err := check("cuDeviceGetName", C.cuda_cuDeviceGetName(&name[0], C.int(len(name)), d.handle)); err != nil {
		return nil, err
	}
	d.name = C.GoString(&name[0])
	var context unsafe.Pointer
	if err := check("cuDevicePrimaryCtxRetain", C.cuda_cuDevicePrimaryCtxRetain(&context, d.handle)); err != nil {
		return nil, err
	}
	return d, check("cuCtxSetCurrent", C.cuda_cuCtxSetCurrent(context))
}

func (d *device) close() error {
	return check("cuDevicePrimaryCtxRelease_v2", C.cuda_cuDevicePrimaryCtxRelease_v2(d.handle))
}

// buffer is memory on the device.
type buffer uintptr

func newBuffer(bytes int) (b buffer, err error) {
	var pointer C.uintptr_t
	err = check("cuMemAlloc_v2", C.cuda_cuMemAlloc_v2(&pointer, C.size_t(bytes)))
	return buffer(pointer), err
}

func (b buffer) free() error { return check("cuMemFree_v2", C.cuda_cuMemFree_v2(C.uintptr_t(b))) }

// read copies what is on the device into data.
func (b buffer) read(data []byte) error {
	return check("cuMemcpyDtoH_v2",
		C.cuda_cuMemcpyDtoH_v2(unsafe.Pointer(&data[0]), C.uintptr_t(b), C.size_t(len(data))))
}

// queue is a CUDA stream, which does one thing after another.
type queue struct{ stream unsafe.Pointer }

func newQueue() (q queue, err error) {
	const nonBlocking = 1
	err = check("cuStreamCreate", C.cuda_cuStreamCreate(&q.stream, nonBlocking))
	return q, err
}

func (q queue) free() error { return check("cuStreamDestroy_v2", C.cuda_cuStreamDestroy_v2(q.stream)) }
func (q queue) wait() error {
	return check("cuStreamSynchronize", C.cuda_cuStreamSynchronize(q.stream))
}

// copy begins a copy from an address of this process.
func (q queue) copy(to buffer, from uintptr, bytes int) error {
	return check("cuMemcpyHtoDAsync_v2",
		C.cuda_cuMemcpyHtoDAsync_v2(C.uintptr_t(to), C.uintptr_t(from), C.size_t(bytes), q.stream))
}

// copyMapped begins a copy from an address of the device's.
func (q queue) copyMapped(to buffer, from uintptr, bytes int) error {
	return check("cuMemcpyAsync", C.cuda_cuMemcpyAsync(C.uintptr_t(to), C.uintptr_t(from), C.size_t(bytes), q.stream))
}

// set begins to set bytes of a buffer: work for the device's processors, and none for the way to it.
func (q queue) set(b buffer, value byte, bytes int) error {
	return check("cuMemsetD8Async", C.cuda_cuMemsetD8Async(C.uintptr_t(b), C.uchar(value), C.size_t(bytes), q.stream))
}
