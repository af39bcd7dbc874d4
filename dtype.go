package judemap

import (
	"fmt"
	"reflect"
)

// DType is the type of a tensor's elements. Its numbers are those of the segment header.
type DType uint32

// The element types. Bool takes one byte, 0 or 1. Complex64 is a real and an imaginary float32. The Node addon knows
// those up to Bool.
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
	Float16      // IEEE 754 binary16: [F16]
	BFloat16     // the upper half of a float32: [BF16]
	Uint32       //
	Uint64       //
	Float8E4M3FN // 8 bits without infinity: [F8E4M3FN]
	Float8E5M2   // 8 bits: [F8E5M2]
	Complex64    //
)

// dtypes is JM_DTYPES of include/judemap/layout.h in Go; a test compares them. The kind is that of the Go types that
// are such elements. The small floats have types of their own: see DTypeOf.
var dtypes = [...]struct {
	name string
	size int
	kind reflect.Kind
}{
	Float32:      {"float32", 4, reflect.Float32},
	Float64:      {"float64", 8, reflect.Float64},
	Int32:        {"int32", 4, reflect.Int32},
	Int64:        {"int64", 8, reflect.Int64},
	Uint8:        {"uint8", 1, reflect.Uint8},
	Int8:         {"int8", 1, reflect.Int8},
	Uint16:       {"uint16", 2, reflect.Uint16},
	Int16:        {"int16", 2, reflect.Int16},
	Bool:         {"bool", 1, reflect.Bool},
	Float16:      {"float16", 2, reflect.Invalid},
	BFloat16:     {"bfloat16", 2, reflect.Invalid},
	Uint32:       {"uint32", 4, reflect.Uint32},
	Uint64:       {"uint64", 8, reflect.Uint64},
	Float8E4M3FN: {"float8_e4m3fn", 1, reflect.Invalid},
	Float8E5M2:   {"float8_e5m2", 1, reflect.Invalid},
	Complex64:    {"complex64", 8, reflect.Complex64},
}

// dtypeOfKind is the other way round. Kinds that no [Element] has are not looked up.
var dtypeOfKind = func() (of [reflect.Complex64 + 1]DType) {
	for d, t := range dtypes {
		of[t.kind] = DType(d)
	}
	return of
}()

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

// ParseDType returns the type of that name, which is the constant's in lower case: "float32", "uint8", "bfloat16", …;
// with an underscore in "float8_e4m3fn" and "float8_e5m2". Any other name gives an error that satisfies errors.Is(err,
// [ErrDType]).
func ParseDType(s string) (DType, error) {
	for d, t := range dtypes {
		if t.name == s {
			return DType(d), nil
		}
	}
	return 0, fmt.Errorf("%w: no type is named %q", ErrDType, s)
}

// Element is what a tensor can hold: Go's types for the elements of [DType], and types made from them. The small floats
// are elements as [F16], [BF16], [F8E4M3FN] and [F8E5M2].
type Element interface {
	~float32 | ~float64 | ~int32 | ~int64 | ~uint8 | ~int8 | ~uint16 | ~int16 | ~bool | ~uint32 | ~uint64 | ~complex64
}

// DTypeOf returns the element type for T.
//
// F16, BF16, F8E4M3FN and F8E5M2 are floats by their names: a type made from one of them, as in `type Weight F16`, is to
// Go a type made from uint16 or uint8, and DTypeOf says so. An alias, `type Weight = F16`, is F16 itself.
func DTypeOf[T Element]() DType {
	kind := reflect.TypeFor[T]().Kind()
	switch kind {
	case reflect.Uint16:
		switch any((*T)(nil)).(type) { // a pointer, since a value would have to be allocated
		case *F16:
			return Float16
		case *BF16:
			return BFloat16
		}
	case reflect.Uint8:
		switch any((*T)(nil)).(type) {
		case *F8E4M3FN:
			return Float8E4M3FN
		case *F8E5M2:
			return Float8E5M2
		}
	}
	return dtypeOfKind[kind]
}
