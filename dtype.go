package judemap

import (
	"fmt"
	"reflect"
)

// DType is the type of a tensor's elements. Its numbers are those of the segment header.
type DType uint32

// The element types. Bool takes one byte, 0 or 1.
const (
	Float32 DType = iota
	Float64
	Int32
	Int64
	Uint8
	Int8
	Uint16
	Int16
	Bool
)

var dtypes = [...]struct {
	name string
	size int
}{
	Float32: {"float32", 4},
	Float64: {"float64", 8},
	Int32:   {"int32", 4},
	Int64:   {"int64", 8},
	Uint8:   {"uint8", 1},
	Int8:    {"int8", 1},
	Uint16:  {"uint16", 2},
	Int16:   {"int16", 2},
	Bool:    {"bool", 1},
}

// Size returns the bytes of one element, or 0 if d is unknown.
func (d DType) Size() int {
	if int64(d) < int64(len(dtypes)) {
		return dtypes[d].size
	}
	return 0
}

// String returns the name, as in "float32", that [ParseDType] takes back.
func (d DType) String() string {
	if d.Size() == 0 {
		return fmt.Sprintf("DType(%d)", uint32(d))
	}
	return dtypes[d].name
}

// ParseDType returns the type of that name: float32, float64, int32, int64, uint8, int8, uint16, int16 or bool.
// Any other name gives an error that satisfies errors.Is(err, [ErrDType]).
func ParseDType(s string) (DType, error) {
	for d, t := range dtypes {
		if t.name == s {
			return DType(d), nil
		}
	}
	return 0, fmt.Errorf("%w: no type is named %q", ErrDType, s)
}

// Element is what a tensor can hold: the types of [DType], and types made from them.
type Element interface {
	~float32 | ~float64 | ~int32 | ~int64 | ~uint8 | ~int8 | ~uint16 | ~int16 | ~bool
}

// DTypeOf returns the element type for T.
func DTypeOf[T Element]() DType {
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Float32:
		return Float32
	case reflect.Float64:
		return Float64
	case reflect.Int32:
		return Int32
	case reflect.Int64:
		return Int64
	case reflect.Uint8:
		return Uint8
	case reflect.Int8:
		return Int8
	case reflect.Uint16:
		return Uint16
	case reflect.Int16:
		return Int16
	default:
		return Bool
	}
}
