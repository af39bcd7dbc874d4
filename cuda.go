package judemap

import (
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"unsafe"
)

// Pin locks the pages of s in physical memory, so that they are never swapped out. Pinning again does nothing. For
// transfers to a CUDA device use RegisterCUDA, which does more. If the error is [ErrPinDenied], s works as before; the
// error says how many bytes were asked for. On Linux `ulimit -l` shows the limit. The other error is [ErrClosed].
func (s *handle) Pin() error {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	if !s.open.Load() {
		return ErrClosed
	}
	if s.pinned.Load() {
		return nil
	}
	err := s.mapping.core.pin()
	runtime.KeepAlive(s.mapping)
	if err != nil {
		return fmt.Errorf("%w: locking %d bytes: %w; raise the limit that `ulimit -l` shows, in KiB", ErrPinDenied,
			s.mapping.core.bytes(), err)
	}
	s.pinned.Store(true)
	return nil
}

// Unpin undoes Pin. It does nothing if s is not pinned, or is closed.
func (s *handle) Unpin() {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	if s.pinned.Load() {
		s.mapping.core.unpin()
		runtime.KeepAlive(s.mapping)
		s.pinned.Store(false)
	}
}

// IsPinned says whether the pages of s are locked in physical memory by Pin. It is false once s is closed.
func (s *handle) IsPinned() bool { return s.open.Load() && s.pinned.Load() }

// RegisterCUDA registers the memory of s (of a stream all slots at once) with the CUDA driver, for the device of this
// number. A cudaMemcpyAsync from [Segment.DataPtr] to any device then needs no staging copy and runs while other work
// goes on, and kernels can use the memory at DevicePtr. It locks the pages, whether Pin did or not. The first call in a
// process loads the driver; a program can be built without one. Registering again with the same device does nothing.
// Close unregisters the memory before it gives it back; by then no device may use the memory any more.
//
// A segment that was opened [WithReadOnly] can be registered only with a device that supports memory that the process
// can't write to (CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED).
//
// Errors, after which s works as before:
//
//   - [ErrUnsupported] if there is no driver or no device, or if the device does not support memory opened
//     [WithReadOnly]; the error says which.
//   - [ErrCUDA] if the driver refuses; the error has the driver's name for the reason.
//   - fs.ErrInvalid if s is registered with another device, or if device is no device number.
//   - [ErrClosed].
func (s *handle) RegisterCUDA(device int) error {
	if device < 0 || device > math.MaxInt32 {
		return fmt.Errorf("judemap: CUDA devices have numbers from 0 on, not %d: %w", device, fs.ErrInvalid)
	}
	s.pinning.Lock()
	defer s.pinning.Unlock()
	if !s.open.Load() {
		return ErrClosed
	}
	err := s.mapping.core.registerCUDA(device)
	runtime.KeepAlive(s.mapping)
	if err != nil && err != ErrClosed {
		return fmt.Errorf("judemap: registering %d bytes with CUDA device %d: %w", s.mapping.core.bytes(), device, err)
	}
	return err
}

// UnregisterCUDA undoes RegisterCUDA. It does nothing if s is not registered, or is closed. By then no device may use
// the memory any more.
//
// The error is [ErrCUDA] if the driver refuses. If DevicePtr is not 0 after that, the driver still has the memory
// registered. Close then keeps the addresses of that memory reserved, because the driver would take anything mapped
// there later for registered memory.
func (s *handle) UnregisterCUDA() error {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	if s.mapping == nil { // the zero handle
		return nil
	}
	err := s.mapping.core.unregisterCUDA()
	runtime.KeepAlive(s.mapping)
	return err
}

// DataPtr returns the address of a tensor's data, for the same uses as [Segment.DataPtr]. For a view of a segment and
// for a frame of a stream it is 256-byte aligned. The address may be used as long as t is reachable; the data is whole
// as long as t is valid, see [Tensor.Valid].
func (t *Tensor) DataPtr() uintptr { return uintptr(t.data) }

// DevicePtr returns the address at which the CUDA device sees the tensor's data: the device of [Segment.RegisterCUDA]
// or [Stream.RegisterCUDA]. It is 0 for a copy, and if the Segment or Stream is not registered or is closed. The
// address may be used as long as that of [Tensor.DataPtr].
func (t *Tensor) DevicePtr() uintptr {
	if t.mapping == nil {
		return 0
	}
	pointer := t.mapping.core.deviceAddress(uintptr(t.data))
	runtime.KeepAlive(t.mapping)
	return pointer
}

// DataPtr returns the address of the tensor's data in s, 256-byte aligned, for libraries such as the TensorFlow C API,
// ONNX Runtime or CUDA. It is 0 once s is closed. The address does not keep s: it may be used as long as s is open and
// reachable.
func (s *Segment) DataPtr() uintptr {
	if !s.open.Load() {
		return 0
	}
	return uintptr(unsafe.Pointer(s.mapping.header)) + DataOffset
}

// DevicePtr returns the address at which the CUDA device of [Segment.RegisterCUDA] sees the data at DataPtr. It is 0 if
// s is not registered, or is closed. The address does not keep s.
func (s *Segment) DevicePtr() uintptr { return s.devicePtr(s.DataPtr()) }

// SlotDevicePtr returns the address at which the CUDA device of [Stream.RegisterCUDA] sees the data of slot i. It is 0
// if there is no slot i, or s is not registered, or is closed.
func (s *Stream) SlotDevicePtr(i int) uintptr { return s.devicePtr(s.Slot(i)) }

// devicePtr returns the device's address for the address at in s; it returns 0 for 0.
func (s *handle) devicePtr(at uintptr) uintptr {
	if at == 0 {
		return 0
	}
	pointer := s.mapping.core.deviceAddress(at)
	runtime.KeepAlive(s.mapping)
	return pointer
}
