package judemap

import (
	"fmt"
	"math"
	"strconv"
)

// F16 is an element of [Float16]: IEEE 754 binary16, 11 bits of precision, up to 65504.
type F16 uint16

// BF16 is an element of [BFloat16]: the upper half of a float32, 8 bits of precision in float32's range.
type BF16 uint16

// F8E4M3FN is an element of [Float8E4M3FN]: 4 bits of precision, up to 448. It has NaN, and no infinity.
type F8E4M3FN uint8

// F8E5M2 is an element of [Float8E5M2]: the upper half of an F16, 3 bits of precision, up to 57344.
type F8E5M2 uint8

// ToF16 returns the F16 nearest to f; of two equally near ones the one whose last bit is 0. What rounds to more than
// the largest number becomes infinity. NaN keeps its sign and the upper bits of its payload, and becomes quiet.
func ToF16(f float32) F16 { return F16(f16.encode(widen(f))) }

// ToBF16 returns the BF16 nearest to f, by the rules of [ToF16].
func ToBF16(f float32) BF16 { return BF16(bf16.encode(widen(f))) }

// ToF8E4M3FN returns the F8E4M3FN nearest to f, by the rules of [ToF16], except that infinity, and what rounds to more
// than 448, becomes NaN.
func ToF8E4M3FN(f float32) F8E4M3FN { return F8E4M3FN(f8e4m3fn.encode(widen(f))) }

// ToF8E5M2 returns the F8E5M2 nearest to f, by the rules of [ToF16].
func ToF8E5M2(f float32) F8E5M2 { return F8E5M2(f8e5m2.encode(widen(f))) }

// Float32 returns the same number: a float32 holds every F16.
func (f F16) Float32() float32 { return f16.decode(uint32(f)) }

// Float32 returns the same number: a float32 holds every BF16.
func (f BF16) Float32() float32 { return bf16.decode(uint32(f)) }

// Float32 returns the same number: a float32 holds every F8E4M3FN.
func (f F8E4M3FN) Float32() float32 { return f8e4m3fn.decode(uint32(f)) }

// Float32 returns the same number: a float32 holds every F8E5M2.
func (f F8E5M2) Float32() float32 { return f8e5m2.decode(uint32(f)) }

// String returns the number, with as many digits as tell it from other numbers of its type.
func (f F16) String() string { return f16.text(uint32(f)) }

// String returns the number, with as many digits as tell it from other numbers of its type.
func (f BF16) String() string { return bf16.text(uint32(f)) }

// String returns the number, with as many digits as tell it from other numbers of its type.
func (f F8E4M3FN) String() string { return f8e4m3fn.text(uint32(f)) }

// String returns the number, with as many digits as tell it from other numbers of its type.
func (f F8E5M2) String() string { return f8e5m2.text(uint32(f)) }

// A floatFormat is one of the small floats: a sign, an exponent, and so many bits of mantissa. include/judemap/float.h
// has the same for the core. The 8-bit formats are those of the Open Compute Project, "OCP 8-bit Floating Point
// Specification (OFP8)", 2023.
type floatFormat struct {
	mantissa int    // bits
	bias     int    // of the exponent
	sign     uint32 // its bit
	max      uint32 // the largest finite number
	overflow uint32 // what larger ones become: infinity, or NaN where there is none
	nan      uint32 // a quiet one
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

// widen returns f as a float64. A NaN keeps its sign and what it carries, which RISC-V's own conversion drops.
func widen(f float32) float64 {
	if f == f {
		return float64(f)
	}
	bits := uint64(math.Float32bits(f))
	return math.Float64frombits(bits>>31<<63 | float64Infinity | bits&(1<<23-1)<<(52-23))
}

// encode returns the bits of the number nearest to f, in one rounding.
func (t *floatFormat) encode(f float64) uint32 {
	word := math.Float64bits(f)
	sign := uint32(word>>63) * t.sign
	magnitude := word &^ (1 << 63)
	if magnitude > float64Infinity {
		return sign | t.nan | uint32(magnitude>>(52-t.mantissa))&(1<<t.mantissa-1)
	}
	// In units of the result's last place; those of subnormal numbers are the smallest normal number's. A subnormal
	// float64 is 0 in every format, and its wrong mantissa as well.
	exponent := int(magnitude>>52) - 1023 + t.bias - 1 // above the smallest normal number's
	dropped := uint(52 - t.mantissa - min(exponent, 0))
	if dropped > 53 {
		return sign // less than half of the smallest subnormal number
	}
	mantissa := magnitude&(float64One-1) | float64One
	odd := mantissa >> dropped & 1
	rounded := (mantissa + 1<<(dropped-1) - 1 + odd) >> dropped
	// A mantissa that was rounded up to a power of two carries into the exponent, as it should.
	result := rounded + uint64(max(exponent, 0))<<t.mantissa
	if result > uint64(t.max) {
		return sign | t.overflow
	}
	return sign | uint32(result)
}

// decode returns the number of these bits.
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
		// A subnormal number is a whole one times the smallest; as a float32 it is normal.
		word = math.Float32bits(float32(math.Ldexp(float64(magnitude), 1-t.bias-t.mantissa)))
	}
	if bits&t.sign != 0 {
		word |= 1 << 31
	}
	return math.Float32frombits(word)
}

// text returns the number of these bits with as few digits as give the same bits back.
func (t *floatFormat) text(bits uint32) string {
	number := float64(t.decode(bits))
	for digits := 0; digits < 9; digits++ { // 9 do for every float32
		short, err := strconv.ParseFloat(strconv.FormatFloat(number, 'e', digits, 64), 64)
		if err == nil && t.encode(short) == bits {
			return fmt.Sprint(short)
		}
	}
	return fmt.Sprint(number) // NaN with a payload
}
