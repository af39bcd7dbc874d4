package tensorflow

// #include <stdint.h>
import "C"

import "runtime/cgo"

// judemapInputDone is told, by whatever thread, that TensorFlow has let go of an input.
//
//export judemapInputDone
func judemapInputDone(handle C.uintptr_t) {
	h := cgo.Handle(handle)
	in := h.Value().(*input)
	h.Delete()
	in.end()
}
