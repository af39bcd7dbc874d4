// Floating-point types that C++ does not have, as values of their bits, with conversions. They are the element types
// JM_FLOAT16, JM_BFLOAT16, JM_FLOAT8_E4M3FN and JM_FLOAT8_E5M2. The 8-bit formats are those of the Open Compute
// Project, "OCP 8-bit Floating Point Specification (OFP8)", 2023.
#ifndef JUDEMAP_FLOAT_H
#define JUDEMAP_FLOAT_H

#include <cstdint>
#include <cstring>

namespace judemap {

// A format with a sign bit, kExponentBits and kMantissaBits, stored in a Word. With kInfinity the largest exponent
// means infinity and NaN, as in IEEE 754. Without it the largest exponent is like the others, and only the largest
// mantissa with it is NaN.
template <class Word, int kExponentBits, int kMantissaBits, bool kInfinity>
struct SmallFloat {
  static_assert(1 + kExponentBits + kMantissaBits == 8 * sizeof(Word), "the format fills its word");

  Word bits;

  static constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  static constexpr std::uint32_t kSign = 1u << (kExponentBits + kMantissaBits);
  static constexpr std::uint32_t kTopExponent = kSign - (1u << kMantissaBits);     // the exponent's bits
  static constexpr std::uint32_t kMax = kInfinity ? kTopExponent - 1 : kSign - 2;  // the largest finite number
  static constexpr std::uint32_t kNaN = kInfinity ? kTopExponent | 1u << (kMantissaBits - 1) : kSign - 1;

  // Returns the nearest value; of two that are equally near, the one whose last bit is 0. It rounds once. A number that
  // rounds to more than the largest one becomes infinity, or NaN if the format has no infinity. NaN keeps its sign, and
  // the upper bits of its payload if the format has several NaNs.
  static SmallFloat from(double value) noexcept {
    std::uint64_t word;
    std::memcpy(&word, &value, sizeof word);
    const auto sign = static_cast<std::uint32_t>(word >> 63) * kSign;
    const std::uint64_t magnitude = word & ~(std::uint64_t{1} << 63);
    if (magnitude > kDoubleInfinity) {
      const auto payload = static_cast<std::uint32_t>(magnitude >> (52 - kMantissaBits)) & ((1u << kMantissaBits) - 1);
      return {static_cast<Word>(sign | kNaN | payload)};
    }
    // The mantissa is shifted until its unit is the result's last place, which is 2^(exponent - kMantissaBits) for
    // normal numbers. For subnormal results it is that of the smallest normal number. A subnormal double gets a wrong
    // mantissa here, which does not matter: it is 0 in every format.
    const int exponent = static_cast<int>(magnitude >> 52) - 1023 + kBias - 1;  // above the smallest normal one's
    const int dropped = 52 - kMantissaBits + (exponent < 0 ? -exponent : 0);
    if (dropped > 53) return {static_cast<Word>(sign)};  // less than half of the smallest subnormal number
    const std::uint64_t mantissa = (magnitude & (kDoubleOne - 1)) | kDoubleOne;
    const std::uint64_t odd = mantissa >> dropped & 1;
    const std::uint64_t rounded = (mantissa + (std::uint64_t{1} << (dropped - 1)) - 1 + odd) >> dropped;
    // A mantissa that is rounded up to a power of two carries into the exponent, which is right.
    const std::uint64_t result = rounded + (static_cast<std::uint64_t>(exponent < 0 ? 0 : exponent) << kMantissaBits);
    if (result > kMax) return {static_cast<Word>(sign | (kInfinity ? kTopExponent : kNaN))};
    return {static_cast<Word>(sign | static_cast<std::uint32_t>(result))};
  }

  // Returns the number as a float, which can hold every one exactly. NaN becomes a quiet NaN with the same sign and
  // payload.
  float to_float() const noexcept {
    const std::uint32_t magnitude = bits & (kSign - 1);
    std::uint32_t word = magnitude << (23 - kMantissaBits);
    if (magnitude > kMax) {
      word |= kInfinity && magnitude == kTopExponent ? 0x7F800000u : 0x7FC00000u;
    } else if (magnitude >> kMantissaBits != 0) {
      word += static_cast<std::uint32_t>(127 - kBias) << 23;
    } else if (kBias != 127) {
      // A subnormal number is a multiple of the smallest one. As a float it is a normal number.
      const float number = static_cast<float>(magnitude) / static_cast<float>(1u << (kBias - 1)) /
                           static_cast<float>(1u << kMantissaBits);
      std::memcpy(&word, &number, sizeof word);
    }
    if ((bits & kSign) != 0) word |= 1u << 31;
    float number;
    std::memcpy(&number, &word, sizeof number);
    return number;
  }

 private:
  static constexpr std::uint64_t kDoubleOne = std::uint64_t{1} << 52;  // the mantissa's implicit bit
  static constexpr std::uint64_t kDoubleInfinity = std::uint64_t{0x7FF} << 52;
};

using Float16 = SmallFloat<std::uint16_t, 5, 10, true>;      // IEEE 754 binary16
using BFloat16 = SmallFloat<std::uint16_t, 8, 7, true>;      // the upper half of a float
using Float8E4M3FN = SmallFloat<std::uint8_t, 4, 3, false>;  // OCP 8-bit floating point: no infinity, 448 at most
using Float8E5M2 = SmallFloat<std::uint8_t, 5, 2, true>;     // OCP 8-bit floating point: the upper half of a Float16

}  // namespace judemap

#endif  // JUDEMAP_FLOAT_H
