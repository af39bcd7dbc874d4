package judemap

import (
	"fmt"
	"runtime"
	"unsafe"
)

// Pin locks the segment's pages in physical memory, as a transfer to a device wants them; pinning again does nothing.
// [ErrPinDenied] is not fatal: the segment works as before, and the error says how many bytes were asked for. On Linux
// the limit is the one that `ulimit -l` shows.
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

// DataPtr returns the address of a tensor's data: of a frame of a stream, 256-byte aligned, for the same uses as
// [Segment.DataPtr]. It is good for as long as t is reachable, and the data for as long as the frame is held.
func (t *Tensor) DataPtr() uintptr { return uintptr(t.data) }

// DataPtr returns the address of the data, 256-byte aligned, for the TensorFlow C API, ONNX Runtime or CUDA; 0 once s
// is closed. It does not keep s: the address is good for as long as s is open and reachable.
func (s *Segment) DataPtr() uintptr {
	if !s.open.Load() {
		return 0
	}
	return uintptr(unsafe.Pointer(s.mapping.header)) + DataOffset
}
