// Package npy reads and writes arrays in NumPy's file format, .npy, as the documentation of numpy.lib.format has it:
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. It knows the elements that a tensor can have.
package npy

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/judemap/judemap"
)

// A file begins with the magic, a byte each for the major and minor version of the format, and the length of the header's
// text: 2 bytes in version 1.0, 4 in versions 2.0 and 3.0. The elements follow the text.
const (
	magic     = "\x93NUMPY"
	textStart = len(magic) + 2 + 2 // in version 1.0
	alignment = 64                 // in bytes, of the first element in the files that are written
)

// Write writes an array whose elements are data, row-major and little-endian, as a file of version 1.0.
func Write(w io.Writer, shape []int, dtype judemap.DType, data []byte) error {
	descr, err := descrOf(dtype)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, tuple(shape))
	padding := alignment - 1 - (textStart+len(text))%alignment
	text += strings.Repeat(" ", padding) + "\n"
	header := binary.LittleEndian.AppendUint16([]byte(magic+"\x01\x00"), uint16(len(text)))
	if _, err := w.Write(append(header, text...)); err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// tuple returns a shape as Python writes it: (), (3,) or (3, 4).
func tuple(shape []int) string {
	if len(shape) == 1 {
		return fmt.Sprintf("(%d,)", shape[0])
	}
	var dims []string
	for _, n := range shape {
		dims = append(dims, strconv.Itoa(n))
	}
	return "(" + strings.Join(dims, ", ") + ")"
}

// A Header says what a file's elements are.
type Header struct {
	Shape []int
	DType judemap.DType
	Bytes int   // that the elements take
	Start int64 // bytes before them

	bigEndian   bool
	columnMajor bool // what Python calls fortran_order
	lengthKnown bool // the file has just these elements
}

// ReadHeader reads the beginning of a file, up to its elements. length is the file's, in bytes, or -1 if it isn't known,
// as that of a pipe; a header whose elements would take more or fewer bytes than the file has is an error.
func ReadHeader(r io.Reader, length int64) (*Header, error) {
	text, start, err := readText(r)
	if err != nil {
		return nil, err
	}
	fields, err := parseFields(text)
	if err != nil {
		return nil, err
	}
	h := &Header{Shape: fields.shape, Start: start, columnMajor: fields.fortranOrder, lengthKnown: length >= 0}
	if h.DType, h.bigEndian, err = elementOf(fields.descr); err != nil {
		return nil, err
	}
	if h.Bytes, err = bytesOf(h.Shape, h.DType); err != nil {
		return nil, err
	}
	if left := length - start; h.lengthKnown && left != int64(h.Bytes) {
		return nil, fmt.Errorf("it has %d bytes of elements, and %s", left, h.need())
	}
	return h, nil
}

func (h *Header) need() string {
	return fmt.Sprintf("%v of %v takes %d", h.Shape, h.DType, h.Bytes)
}

// ReadElements reads what follows the header, to the end, and returns it row-major and little-endian. What is read takes
// twice the memory for a moment if the file has it column-major. Without a known length, there is no more memory for
// elements than twice what has come.
func (h *Header) ReadElements(r io.Reader) ([]byte, error) {
	data, err := h.readRaw(r)
	if err != nil {
		return nil, err
	}
	if h.bigEndian {
		swapBytes(data, h.DType)
	}
	if h.DType == judemap.Bool {
		for i, b := range data {
			data[i] = min(b, 1)
		}
	}
	if h.columnMajor {
		data = toRowMajor(data, h.Shape, h.DType.Size())
	}
	return data, nil
}

// firstBytes is how many bytes of elements there is memory for before any has come.
const firstBytes = 64 << 10

// readRaw returns the elements as the file has them.
func (h *Header) readRaw(r io.Reader) ([]byte, error) {
	room := h.Bytes
	if !h.lengthKnown {
		room = min(room, firstBytes)
	}
	data := make([]byte, 0, room)
	for len(data) < h.Bytes {
		if len(data) == cap(data) {
			data = slices.Grow(data, min(len(data), h.Bytes-len(data)))
		}
		n, err := io.ReadFull(r, data[len(data):min(cap(data), h.Bytes)])
		data = data[:len(data)+n]
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, fmt.Errorf("it ends after %d bytes of elements, and %s", len(data), h.need())
		}
		if err != nil {
			return nil, err
		}
	}
	switch _, err := io.ReadFull(r, make([]byte, 1)); err {
	case io.EOF:
		return data, nil
	case nil:
		return nil, fmt.Errorf("it has more bytes of elements than its shape: %s", h.need())
	default:
		return nil, err
	}
}

// swapBytes makes little-endian elements of big-endian ones, in place.
func swapBytes(data []byte, dtype judemap.DType) {
	word := dtype.Size()
	if dtype == judemap.Complex64 {
		word /= 2 // it is two numbers
	}
	for at := 0; at < len(data); at += word {
		slices.Reverse(data[at : at+word])
	}
}

// toRowMajor returns the elements of an array in column-major order in row-major order.
func toRowMajor(data []byte, shape []int, size int) []byte {
	strides := make([]int, len(shape)) // in bytes, in data
	stride := size
	for i, n := range shape {
		strides[i] = stride
		stride *= n
	}
	out := make([]byte, 0, len(data))
	index := make([]int, len(shape))
	from := 0
	for len(out) < len(data) {
		out = append(out, data[from:from+size]...)
		for i := len(shape) - 1; i >= 0; i-- { // the next element: the last dimension counts up first
			index[i]++
			from += strides[i]
			if index[i] < shape[i] {
				break
			}
			from -= index[i] * strides[i]
			index[i] = 0
		}
	}
	return out
}
