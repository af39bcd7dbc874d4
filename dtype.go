package judemap

import (
	"fmt"
	"reflect"
)

// DType is the type of a tensor's elements. Its values are the numbers that stand in the segment header.
type DType uint32

// The element types. Bool takes one byte, 0 or 1. Complex64 is a real and an imaginary float32. The Node addon knows
// only the types from Float32 to Bool.
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

// dtypes is the table JM_DTYPES of include/judemap/layout.h in Go; a test compares the two. kind is the kind of the Go
// types whose values are such elements. The small floats have Go types of their own, see DTypeOf.
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

// dtypeOfKind returns the DType for a kind. It is never asked for a kind that no [Element] has.
var dtypeOfKind = func() (of [reflect.Complex64 + 1]DType) {
	for d, t := range dtypes {
		of[t.kind] = DType(d)
	}
	return of
}()

// Size returns the size of one element in bytes, or 0 if d is unknown.
func (d DType) Size() int {
	if int64(d) < int64(len(dtypes)) {
		return dtypes[d].size
	}
	return 0
}

// String returns the name, such as "float32", which [ParseDType] accepts. For an unknown d it returns, for example,
// "DType(99)".
func (d DType) String() string {
	if d.Size() == 0 {
		return fmt.Sprintf("DType(%d)", uint32(d))
	}
	return dtypes[d].name
}

// ParseDType returns the type with this name. The names are those of the constants in lower case, such as "float32",
// "uint8" and "bfloat16", except "float8_e4m3fn" and "float8_e5m2", which have an underscore. For any other name the
// error satisfies errors.Is(err, [ErrDType]).
func ParseDType(s string) (DType, error) {
	for d, t := range dtypes {
		if t.name == s {
			return DType(d), nil
		}
	}
	return 0, fmt.Errorf("%w: no type is named %q", ErrDType, s)
}

// Element is the constraint for Go types that are elements of a tensor, and for types made from them. The small floats
// are [F16], [BF16], [F8E4M3FN] and [F8E5M2].
type Element interface {
	~float32 | ~float64 | ~int32 | ~int64 | ~uint8 | ~int8 | ~uint16 | ~int16 | ~bool | ~uint32 | ~uint64 | ~complex64
}

// DTypeOf returns the element type for T.
//
// Only F16, BF16, F8E4M3FN and F8E5M2 themselves are small floats. A type made from one of them, as in `type Weight
// F16`, is to Go a type made from uint16 or uint8, and DTypeOf returns Uint16 or Uint8 for it. An alias, `type Weight =
// F16`, is F16 itself.
func DTypeOf[T Element]() DType {
	kind := reflect.TypeFor[T]().Kind()
	switch kind {
	case reflect.Uint16:
		switch any((*T)(nil)).(type) { // a pointer, because a value in an interface is allocated
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
