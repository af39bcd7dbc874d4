package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"reflect"
	"strings"
	"unsafe"

	"codeberg.org/sbinet/npyio/npy"
	"github.com/judemap/judemap"
)

// npyTypes are the element types: NumPy's names for them without the byte order, Go's types, and how to read them.
var npyTypes = map[judemap.DType]struct {
	name string
	kind reflect.Type
	read func(r *npy.Reader, n int) ([]byte, error)
}{
	judemap.Float32: {"f4", reflect.TypeFor[float32](), readElements[float32]},
	judemap.Float64: {"f8", reflect.TypeFor[float64](), readElements[float64]},
	judemap.Int32:   {"i4", reflect.TypeFor[int32](), readElements[int32]},
	judemap.Int64:   {"i8", reflect.TypeFor[int64](), readElements[int64]},
	judemap.Uint8:   {"u1", reflect.TypeFor[uint8](), readElements[uint8]},
	judemap.Int8:    {"i1", reflect.TypeFor[int8](), readElements[int8]},
	judemap.Uint16:  {"u2", reflect.TypeFor[uint16](), readElements[uint16]},
	judemap.Int16:   {"i2", reflect.TypeFor[int16](), readElements[int16]},
	judemap.Bool:    {"b1", reflect.TypeFor[bool](), readElements[bool]},
}

// writeNPY writes an array as a NumPy file.
func writeNPY(w io.Writer, a array) error {
	if len(a.data) == 0 {
		return fmt.Errorf("the tensor is empty, %v, and the NumPy library can't write the shape of an empty array", a.shape)
	}
	// The library takes the shape from the value's type: [2 3] of float32 is a [2][3]float32.
	kind := npyTypes[a.dtype].kind
	for i := len(a.shape) - 1; i >= 0; i-- {
		kind = reflect.ArrayOf(a.shape[i], kind)
	}
	return npy.Write(w, reflect.NewAt(kind, unsafe.Pointer(unsafe.SliceData(a.data))).Elem().Interface())
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
	if a.dtype, err = npyElement(r.Header.Descr.Type); err != nil {
		return array{}, err
	}
	a.shape = r.Header.Descr.Shape
	// The library reads what there is, and takes the rest for zeros.
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
	if a.data, err = npyTypes[a.dtype].read(r, int(size)/a.dtype.Size()); err != nil {
		return array{}, err
	}
	if r.Header.Descr.Fortran {
		a.data = toRowMajor(a.data, a.shape, a.dtype.Size())
	}
	return a, nil
}

// readElements reads n elements, of either byte order, and returns their bytes in this machine's.
func readElements[T judemap.Element](r *npy.Reader, n int) ([]byte, error) {
	values := make([]T, n)
	if n == 0 {
		return nil, nil
	}
	if err := r.Read(&values); err != nil {
		return nil, err
	}
	return bytesOf(values), nil
}

// npyElement returns the element type of NumPy's description of it, as in '<f4' with its quotes.
func npyElement(descr string) (judemap.DType, error) {
	name := strings.Trim(descr, `'"`)
	for dtype, t := range npyTypes {
		if len(name) == 3 && strings.ContainsRune("<>|=", rune(name[0])) && name[1:] == t.name {
			return dtype, nil
		}
	}
	return 0, fmt.Errorf("its elements are %.100s in NumPy's words, which no tensor can hold", descr)
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
