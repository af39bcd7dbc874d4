// What the core knows of element types besides their names: their sizes, and how a number becomes an element. It is all
// derived from JM_DTYPES in layout.h, so a new type is one more line there.
#ifndef JUDEMAP_CSRC_DTYPE_H
#define JUDEMAP_CSRC_DTYPE_H

#include <cstddef>
#include <cstdint>

#include "judemap/judemap.h"

namespace judemap {

// The size of one element in bytes; 0 for an unknown type.
constexpr std::size_t item_size(std::uint32_t dtype) noexcept {
  switch (dtype) {
#define JM_DTYPE_SIZE(suffix, number, name, bytes, type) \
  case (number):                                         \
    return (bytes);
    JM_DTYPES(JM_DTYPE_SIZE)
#undef JM_DTYPE_SIZE
  }
  return 0;
}

// Stores the element for `value` in the 8 bytes at `pattern`, repeated as often as it fits.
//
// Integer types take the value truncated toward zero, and floating-point types the nearest number. bool is false for 0
// and true for every other value, also NaN. The imaginary part of a complex number is 0.
//
// JM_ERR_DTYPE if the type is unknown. JM_ERR_RANGE if it can't hold the value: the truncated value is outside an
// integer type's range, or NaN; a finite value is beyond a floating-point type's largest number; or the value is
// infinite, and the type has no infinity (float8_e4m3fn).
jm_status fill_pattern(std::uint32_t dtype, double value, std::uint64_t* pattern) noexcept;

}  // namespace judemap

#endif  // JUDEMAP_CSRC_DTYPE_H
