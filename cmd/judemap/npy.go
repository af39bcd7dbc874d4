package main

import (
	"fmt"
	"io"

	"github.com/judemap/judemap/internal/npy"
)

// writeNPY writes an array as a NumPy file.
func writeNPY(w io.Writer, a array) error {
	return npy.Write(w, a.shape, a.dtype, a.data)
}

// readNPY returns the array of a NumPy file of that length, or -1 if it is not known, if the file has no more than
// maxBytes.
func readNPY(file io.Reader, length, maxBytes int64) (array, error) {
	h, err := npy.ReadHeader(file, length)
	if err != nil {
		return array{}, err
	}
	if int64(h.Bytes) > maxBytes-h.Start {
		return array{}, fmt.Errorf("its %v of %v takes %d bytes, with a header of %d, and --max-bytes allows %d", h.Shape, h.DType,
			h.Bytes, h.Start, maxBytes)
	}
	data, err := h.ReadElements(file)
	return array{h.Shape, h.DType, data}, err
}
