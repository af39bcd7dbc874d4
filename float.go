package judemap

import (
	"fmt"
	"math"
	"strconv"
)

// F16 is an element of [Float16], an IEEE 754 binary16 number: 11 bits of precision, up to 65504. A conversion such as
// F16(3) sets the bits; use [ToF16] for the number.
type F16 uint16

// BF16 is an element of [BFloat16]: the upper 16 bits of a float32, with 8 bits of precision and the range of float32.
// [ToBF16] makes one from a number.
type BF16 uint16

// F8E4M3FN is an element of [Float8E4M3FN]: 4 bits of precision, up to 448. It has NaN, but no infinity. [ToF8E4M3FN]
// makes one from a number.
type F8E4M3FN uint8

// F8E5M2 is an element of [Float8E5M2]: the upper 8 bits of an F16, with 3 bits of precision, up to 57344. [ToF8E5M2]
// makes one from a number.
type F8E5M2 uint8

// ToF16 returns the F16 nearest to f. Of two that are equally near it returns the one whose last bit is 0. A number
// that rounds to more than the largest F16 becomes infinity. NaN keeps its sign and the upper bits of its payload, and
// becomes quiet.
func ToF16(f float32) F16 { return F16(f16.encode(widen(f))) }

// ToBF16 returns the BF16 nearest to f, by the rules of [ToF16].
func ToBF16(f float32) BF16 { return BF16(bf16.encode(widen(f))) }

// ToF8E4M3FN returns the F8E4M3FN nearest to f, by the rules of [ToF16] with one exception: infinity, and a number that
// rounds to more than 448, become NaN.
func ToF8E4M3FN(f float32) F8E4M3FN { return F8E4M3FN(f8e4m3fn.encode(widen(f))) }

// ToF8E5M2 returns the F8E5M2 nearest to f, by the rules of [ToF16].
func ToF8E5M2(f float32) F8E5M2 { return F8E5M2(f8e5m2.encode(widen(f))) }

// Float32 returns the number as a float32, which can hold every F16 exactly.
func (f F16) Float32() float32 { return f16.decode(uint32(f)) }

// Float32 returns the number as a float32, which can hold every BF16 exactly.
func (f BF16) Float32() float32 { return bf16.decode(uint32(f)) }

// Float32 returns the number as a float32, which can hold every F8E4M3FN exactly.
func (f F8E4M3FN) Float32() float32 { return f8e4m3fn.decode(uint32(f)) }

// Float32 returns the number as a float32, which can hold every F8E5M2 exactly.
func (f F8E5M2) Float32() float32 { return f8e5m2.decode(uint32(f)) }

// String returns the number in decimal, with no more digits than needed to tell it from others of its type.
func (f F16) String() string { return f16.text(uint32(f)) }

// String returns the number in decimal, with no more digits than needed to tell it from others of its type.
func (f BF16) String() string { return bf16.text(uint32(f)) }

// String returns the number in decimal, with no more digits than needed to tell it from others of its type.
func (f F8E4M3FN) String() string { return f8e4m3fn.text(uint32(f)) }

// String returns the number in decimal, with no more digits than needed to tell it from others of its type.
func (f F8E5M2) String() string { return f8e5m2.text(uint32(f)) }

// A floatFormat describes one of the small floats: a sign bit, an exponent and a mantissa. include/judemap/float.h has
// the same for the core. The 8-bit formats are those of the Open Compute Project, "OCP 8-bit Floating Point
// Specification (OFP8)", 2023.
type floatFormat struct {
	mantissa int    // its number of bits
	bias     int    // what is added to the exponent
	sign     uint32 // the sign bit
	max      uint32 // the largest finite number
	overflow uint32 // the bits for larger numbers: infinity, or NaN in a format without it
	nan      uint32 // a quiet NaN
}

var (
	f16      = floatFormat{10, 15, 0x8000, 0x7BFF, 0x7C00, 0x7E00}
	bf16     = floatFormat{7, 127, 0x8000, 0x7F7F, 0x7F80, 0x7FC0}
	f8e4m3fn = floatFormat{3, 7, 0x80, 0x7E, 0x7F, 0x7F}
	f8e5m2   = floatFormat{2, 15, 0x80, 0x7B, 0x7C, 0x7E}
)

const (
	float64One      = 1 << 52 // the mantissa's implicit bit
	float64Infinity = 0x7FF << 52
)

// widen returns f as a float64. It keeps the sign and the payload of a NaN, which RISC-V's conversion instruction
// drops.
func widen(f float32) float64 {
	if f == f {
		return float64(f)
	}
	bits := uint64(math.Float32bits(f))
	return math.Float64frombits(bits>>31<<63 | float64Infinity | bits&(1<<23-1)<<(52-23))
}

// encode returns the bits of the number nearest to f. It rounds once.
func (t *floatFormat) encode(f float64) uint32 {
	word := math.Float64bits(f)
	sign := uint32(word>>63) * t.sign
	magnitude := word &^ (1 << 63)
	if magnitude > float64Infinity {
		return sign | t.nan | uint32(magnitude>>(52-t.mantissa))&(1<<t.mantissa-1)
	}
	// The mantissa is shifted until its unit is the result's last place. For subnormal results that is the last place
	// of the smallest normal number. A subnormal float64 gets a wrong mantissa here, which does not matter: it is 0 in
	// every format.
	exponent := int(magnitude>>52) - 1023 + t.bias - 1 // relative to the smallest normal number's
	dropped := uint(52 - t.mantissa - min(exponent, 0))
	if dropped > 53 {
		return sign // less than half of the smallest subnormal number
	}
	mantissa := magnitude&(float64One-1) | float64One
	odd := mantissa >> dropped & 1
	rounded := (mantissa + 1<<(dropped-1) - 1 + odd) >> dropped
	// A mantissa that is rounded up to a power of two carries into the exponent, which is right.
	result := rounded + uint64(max(exponent, 0))<<t.mantissa
	if result > uint64(t.max) {
		return sign | t.overflow
	}
	return sign | uint32(result)
}

// decode returns the number that these bits stand for.
func (t *floatFormat) decode(bits uint32) float32 {
	magnitude := bits & (t.sign - 1)
	word := magnitude << (23 - t.mantissa)
	switch {
	case magnitude == t.overflow && t.overflow != t.nan:
		word = 0x7F800000
	case magnitude > t.max:
		word |= 0x7FC00000
	case magnitude>>t.mantissa != 0:
		word += uint32(127-t.bias) << 23
	case t.bias != 127:
		// A subnormal number is a multiple of the smallest one. As a float32 it is a normal number.
		word = math.Float32bits(float32(math.Ldexp(float64(magnitude), 1-t.bias-t.mantissa)))
	}
	if bits&t.sign != 0 {
		word |= 1 << 31
	}
	return math.Float32frombits(word)
}

// text returns the number in decimal, with the fewest digits that convert back to the same bits.
func (t *floatFormat) text(bits uint32) string {
	number := float64(t.decode(bits))
	for digits := 0; digits < 9; digits++ { // 9 are enough for every float32
		short, err := strconv.ParseFloat(strconv.FormatFloat(number, 'e', digits, 64), 64)
		if err == nil && t.encode(short) == bits {
			return fmt.Sprint(short)
		}
	}
	return fmt.Sprint(number) // NaN with a payload
}
