package judemap

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"
)

// Pin locks the segment's pages in physical memory, as a transfer to a device wants them; pinning again does nothing.
// [ErrPinDenied] is not fatal: the segment works as before, and the error says how many bytes were asked for. On Linux
// the limit is the one that `ulimit -l` shows.
func (s *Segment) Pin() error {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	err := s.mapping.core.pin()
	runtime.KeepAlive(s.mapping)
	if err != nil && !errors.Is(err, ErrClosed) {
		return fmt.Errorf("%w: locking %d bytes: %w; raise the limit that `ulimit -l` shows, in KiB", ErrPinDenied,
			DataOffset+s.capacity, err)
	}
	return err
}

// Unpin undoes Pin. It is safe when s isn't pinned, or is closed.
func (s *Segment) Unpin() {
	s.pinning.Lock()
	defer s.pinning.Unlock()
	if !s.closed.Load() {
		s.mapping.core.unpin()
		runtime.KeepAlive(s.mapping)
	}
}

// IsPinned says whether the segment's pages are locked in physical memory. It is false once s is closed.
func (s *Segment) IsPinned() bool {
	pinned := !s.closed.Load() && s.mapping.core.isPinned()
	runtime.KeepAlive(s.mapping)
	return pinned
}

// DataPtr returns the address of the data, 256-byte aligned, for the TensorFlow C API, ONNX Runtime or CUDA; 0 once s
// is closed. It does not keep s: the address is good for as long as s is open and reachable.
func (s *Segment) DataPtr() uintptr {
	if s.closed.Load() {
		return 0
	}
	return uintptr(unsafe.Pointer(s.mapping.header)) + DataOffset
}
