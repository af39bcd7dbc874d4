package judemap

import (
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"unsafe"
)

// Pin locks the segment's pages in physical memory; pinning again does nothing. A transfer to a device wants more, see
// RegisterCUDA. [ErrPinDenied] is not fatal: the segment works as before, and the error says how many bytes were asked for.
// On Linux the limit is the one that `ulimit -l` shows.
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

// Unpin undoes Pin. It is safe when s isn't pinned, or is closed.
func (s *handle) Unpin() {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	if s.pinned.Load() {
		s.mapping.core.unpin()
		runtime.KeepAlive(s.mapping)
		s.pinned.Store(false)
	}
}

// IsPinned says whether the segment's pages are locked in physical memory. It is false once s is closed.
func (s *handle) IsPinned() bool { return s.open.Load() && s.pinned.Load() }

// RegisterCUDA registers the memory of s, all slots of a stream at once, with the CUDA driver, for a device by its number.
// cudaMemcpyAsync from [Segment.DataPtr], to any device, then needs no staging copy and runs beside other work, and kernels
// see the memory at DevicePtr. It locks the pages, pinned or not. The driver is loaded when this is first called; none is
// needed to build a program. Registering again with the same device does nothing. Close undoes it before the memory goes:
// the device must be done with the memory by then.
//
// What was opened [WithReadOnly] can be registered with devices that can read only
// (CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED).
//
// Errors, after which s works as before: [ErrUnsupported] if there is no driver or no device, with the reason, and for
// [WithReadOnly]; [ErrCUDA] for what the driver refuses, with its name for that; fs.ErrInvalid if s is registered with
// another device; [ErrClosed].
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

// UnregisterCUDA undoes RegisterCUDA. It is safe when s isn't registered, or is closed. The device must be done with the
// memory.
//
// The error is [ErrCUDA] if the driver refuses. If it still has the memory registered then, DevicePtr is not 0; Close does
// not unmap the addresses of such memory, since the driver would take whatever comes there next for registered.
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

// DataPtr returns the address of a tensor's data: of a frame of a stream, 256-byte aligned, for the same uses as
// [Segment.DataPtr]. It is good for as long as t is reachable, and the data for as long as the frame is held.
func (t *Tensor) DataPtr() uintptr { return uintptr(t.data) }

// DevicePtr returns the address at which the CUDA device of [Stream.RegisterCUDA] sees the data of a frame, or that of
// [Segment.RegisterCUDA] a view's; 0 if its Stream or Segment isn't registered, or is closed, and for a copy. What
// [Tensor.DataPtr] says holds.
func (t *Tensor) DevicePtr() uintptr {
	if t.mapping == nil {
		return 0
	}
	pointer := t.mapping.core.deviceAddress(uintptr(t.data))
	runtime.KeepAlive(t.mapping)
	return pointer
}

// DataPtr returns the address of the data, 256-byte aligned, for the TensorFlow C API, ONNX Runtime or CUDA; 0 once s
// is closed. It does not keep s: the address is good for as long as s is open and reachable.
func (s *Segment) DataPtr() uintptr {
	if !s.open.Load() {
		return 0
	}
	return uintptr(unsafe.Pointer(s.mapping.header)) + DataOffset
}

// DevicePtr returns the address at which the CUDA device of [Segment.RegisterCUDA] sees the data; 0 if s isn't registered,
// or is closed. It does not keep s.
func (s *Segment) DevicePtr() uintptr { return s.devicePtr(s.DataPtr()) }

// SlotDevicePtr is [Stream.Slot] for the CUDA device of [Stream.RegisterCUDA]; 0 also if s isn't registered.
func (s *Stream) SlotDevicePtr(i int) uintptr { return s.devicePtr(s.Slot(i)) }

// devicePtr returns where the device sees an address in s; 0 for 0.
func (s *handle) devicePtr(at uintptr) uintptr {
	if at == 0 {
		return 0
	}
	pointer := s.mapping.core.deviceAddress(at)
	runtime.KeepAlive(s.mapping)
	return pointer
}
