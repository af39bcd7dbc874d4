package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strings"

	"codeberg.org/sbinet/npyio/npy"
	"github.com/judemap/judemap"
)

// npyTypes are NumPy's names for the element types, without the byte order. NumPy itself has no bfloat16 and no float8;
// they are those of the package ml_dtypes, by the names under which numpy.dtype, and so numpy.load, knows them once that
// is imported.
var npyTypes = map[judemap.DType]string{
	judemap.Float32:      "f4",
	judemap.Float64:      "f8",
	judemap.Int32:        "i4",
	judemap.Int64:        "i8",
	judemap.Uint8:        "u1",
	judemap.Int8:         "i1",
	judemap.Uint16:       "u2",
	judemap.Int16:        "i2",
	judemap.Bool:         "b1",
	judemap.Float16:      "f2",
	judemap.BFloat16:     "bfloat16",
	judemap.Uint32:       "u4",
	judemap.Uint64:       "u8",
	judemap.Float8E4M3FN: "float8_e4m3fn",
	judemap.Float8E5M2:   "float8_e5m2",
	judemap.Complex64:    "c8",
}

// writeNPY writes an array as a NumPy file, version 1.0 of the format (https://numpy.org/neps/nep-0001-npy-format.html).
func writeNPY(w io.Writer, a array) error {
	name, ok := npyTypes[a.dtype]
	switch {
	case !ok:
		return fmt.Errorf("NumPy has no name for elements of %v", a.dtype)
	case len(name) > 2: // no byte order
	case a.dtype.Size() == 1:
		name = "|" + name
	default:
		name = "<" + name
	}
	var shape strings.Builder
	for _, n := range a.shape {
		fmt.Fprintf(&shape, "%d, ", n)
	}
	text := strings.TrimSuffix(shape.String(), " ") // (3,) is the one with a comma at its end
	if len(a.shape) != 1 {
		text = strings.TrimSuffix(text, ",")
	}
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", name, text)
	const before, align = 10, 64 // bytes before the header's text; what elements are aligned to
	padding := align - 1 - (before+len(header))%align
	header += strings.Repeat(" ", padding) + "\n"
	start := binary.LittleEndian.AppendUint16([]byte("\x93NUMPY\x01\x00"), uint16(len(header)))
	for _, part := range [][]byte{start, []byte(header), a.data} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// readNPY returns the array of a NumPy file.
func readNPY(file []byte) (a array, err error) {
	defer func() { // the library panics on a header that is cut or has other words than it expects
		if wrong := recover(); wrong != nil {
			a, err = array{}, fmt.Errorf("its NumPy header is damaged (%v)", wrong)
		}
	}()
	// The library makes room for as long a header as version 2 of the format announces, in the bytes from 8 to 12.
	if len(file) >= 12 && file[6] == 2 && uint64(binary.LittleEndian.Uint32(file[8:])) > uint64(len(file)) {
		return array{}, errors.New("it ends in the middle of its NumPy header")
	}
	data := bytes.NewReader(file)
	r, err := npy.NewReader(data)
	switch {
	case errors.Is(err, npy.ErrInvalidNumPyFormat) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return array{}, fmt.Errorf("it is no NumPy file, or ends in the middle of its header (%w)", err)
	case err != nil:
		return array{}, err
	}
	var bigEndian bool
	if a.dtype, bigEndian, err = npyElement(r.Header.Descr.Type); err != nil {
		return array{}, err
	}
	a.shape = r.Header.Descr.Shape
	if len(a.shape) > judemap.MaxDims {
		return array{}, fmt.Errorf("it has %d dimensions, and a tensor %d at most", len(a.shape), judemap.MaxDims)
	}
	size, overflow := uint64(a.dtype.Size()), uint64(0)
	for _, n := range a.shape {
		if n < 0 {
			return array{}, fmt.Errorf("its shape is %v, with a negative dimension", a.shape)
		}
		hi, lo := bits.Mul64(size, uint64(n))
		size, overflow = lo, overflow|hi
	}
	if overflow != 0 || size > math.MaxInt {
		return array{}, fmt.Errorf("the size of its shape, %v, overflows", a.shape)
	}
	if uint64(data.Len()) != size {
		return array{}, fmt.Errorf("it has %d bytes of elements, and %v of %v takes %d", data.Len(), a.shape, a.dtype, size)
	}
	a.data = slices.Clone(file[len(file)-int(size):])
	if bigEndian {
		word := a.dtype.Size()
		if a.dtype == judemap.Complex64 {
			word /= 2 // it is two numbers
		}
		for i := 0; i < len(a.data); i += word {
			slices.Reverse(a.data[i : i+word])
		}
	}
	if a.dtype == judemap.Bool {
		for i, b := range a.data {
			a.data[i] = min(b, 1)
		}
	}
	if r.Header.Descr.Fortran {
		a.data = toRowMajor(a.data, a.shape, a.dtype.Size())
	}
	return a, nil
}

// npyElement returns the element type of NumPy's description of it, as in '<f4' with its quotes, and whether its bytes
// are in big-endian order.
func npyElement(descr string) (dtype judemap.DType, bigEndian bool, err error) {
	name := strings.Trim(descr, `'"`)
	bigEndian = strings.HasPrefix(name, ">")
	// numpy.save gives ml_dtypes' types other names, which numpy.load takes for something else, or for nothing. Only some
	// of them tell the type. NumPy's own elements without a type, "|V2", have no byte order.
	switch name {
	case "<V2", ">V2":
		return judemap.BFloat16, bigEndian, nil
	case "<f1", ">f1":
		return judemap.Float8E5M2, bigEndian, nil
	case "<V1", ">V1": // float8_e4m3fn, other kinds of float8, int4, ...
		return 0, false, fmt.Errorf("its elements are %s, as numpy.save calls several of ml_dtypes' types of one byte, and "+
			"which one is not in the file; numpy.lib.format.write_array_header_1_0 with 'descr': 'float8_e4m3fn', and then "+
			"tofile, save it", descr)
	}
	for dtype, known := range npyTypes {
		if name == known && len(known) > 2 {
			return dtype, false, nil
		}
		if len(name) == 3 && strings.ContainsRune("<>|=", rune(name[0])) && name[1:] == known {
			return dtype, bigEndian, nil
		}
	}
	return 0, false, fmt.Errorf("its elements are %.100s in NumPy's words, which no tensor can hold", descr)
}

// toRowMajor returns the elements of an array in column-major order (Fortran's) in row-major order.
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
