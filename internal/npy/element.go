package npy

import (
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/judemap/judemap"
)

// names are NumPy's names for the element types, without the byte order. NumPy itself has no bfloat16 and no float8; they
// are those of the package ml_dtypes, by the names under which numpy.dtype, and so numpy.load, knows them once that is
// imported. These have no byte order.
var names = map[judemap.DType]string{
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

// hasOrder says whether a byte order stands before NumPy's name.
func hasOrder(name string) bool { return len(name) == 2 }

// descrOf returns how a header describes elements that are little-endian.
func descrOf(dtype judemap.DType) (string, error) {
	name, ok := names[dtype]
	switch {
	case !ok:
		return "", fmt.Errorf("NumPy has no name for elements of %v", dtype)
	case !hasOrder(name):
		return name, nil
	case dtype.Size() == 1:
		return "|" + name, nil
	}
	return "<" + name, nil
}

// elementOf returns the element type that a header describes, and whether its bytes are in big-endian order.
func elementOf(descr string) (dtype judemap.DType, bigEndian bool, err error) {
	bigEndian = strings.HasPrefix(descr, ">")
	// numpy.save gives ml_dtypes' types other names, which numpy.load takes for something else, or for nothing. Only some
	// of them tell the type. NumPy's own elements without a type, "|V2", have no byte order.
	switch descr {
	case "<V2", ">V2":
		return judemap.BFloat16, bigEndian, nil
	case "<f1", ">f1":
		return judemap.Float8E5M2, bigEndian, nil
	case "<V1", ">V1": // float8_e4m3fn, other kinds of float8, int4, ...
		return 0, false, fmt.Errorf("its elements are %q, as numpy.save calls several of ml_dtypes' types of one byte, and "+
			"which one is not in the file; numpy.lib.format.write_array_header_1_0 with 'descr': 'float8_e4m3fn', and then "+
			"tofile, save it", descr)
	}
	name := descr
	if len(descr) == 3 && strings.ContainsRune("<>|=", rune(descr[0])) {
		name = descr[1:]
	}
	for dtype, known := range names {
		if name == known && hasOrder(name) == (name != descr) {
			return dtype, bigEndian, nil
		}
	}
	return 0, false, notHeld(descr)
}

// notHeld is the error for elements that a header describes so.
func notHeld(descr string) error {
	return fmt.Errorf("its elements are %.100q in NumPy's words, which no tensor can hold", descr)
}

// bytesOf returns the bytes that an array takes, if a tensor can have its shape.
func bytesOf(shape []int, dtype judemap.DType) (int, error) {
	if len(shape) > judemap.MaxDims {
		return 0, fmt.Errorf("it has %d dimensions, and a tensor %d at most", len(shape), judemap.MaxDims)
	}
	size, overflow := uint64(dtype.Size()), uint64(0)
	for _, n := range shape {
		hi, lo := bits.Mul64(size, uint64(n))
		size, overflow = lo, overflow|hi
	}
	if overflow != 0 || size > math.MaxInt {
		return 0, fmt.Errorf("the size of its shape, %v, overflows", shape)
	}
	return int(size), nil
}
