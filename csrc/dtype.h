// What the core knows of element types beside their names: their sizes, and how a number becomes an element. All of it
// comes from JM_DTYPES in layout.h, so that a new type is one line there.
#ifndef JUDEMAP_CSRC_DTYPE_H
#define JUDEMAP_CSRC_DTYPE_H

#include <cstddef>
#include <cstdint>

#include "judemap/judemap.h"

namespace judemap {

// Bytes of one element; 0 for an unknown type.
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

// The element for `value`, over and over in the 8 bytes at `pattern`.
//
// Integers take the value truncated toward zero, floating-point types the nearest, and bool false for 0 and true for
// all else, NaN too; a complex number's imaginary part is 0. JM_ERR_DTYPE: the type is unknown. JM_ERR_RANGE: it can't
// hold the value: the truncated one is past an integer's bounds, or NaN; a finite one is past a floating-point type's
// largest number; or it is infinite, and the type has no infinity (float8_e4m3fn).
jm_status fill_pattern(std::uint32_t dtype, double value, std::uint64_t* pattern) noexcept;

}  // namespace judemap

#endif  // JUDEMAP_CSRC_DTYPE_H
