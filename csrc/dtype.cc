//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "dtype.h"

#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <type_traits>

#include "judemap/float.h"

namespace judemap {
namespace {

#define JM_DTYPE_CHECK(suffix, number, name, bytes, type)                                       \
  static_assert(sizeof(type) == (bytes), name ": the table's bytes are those of the C++ type"); \
  static_assert(8 % (bytes) == 0, name ": whole elements make up a pattern of 8 bytes");        \
  static_assert(std::is_trivially_copyable_v<type>, name ": an element is its bytes, in every process");
JM_DTYPES(JM_DTYPE_CHECK)
#undef JM_DTYPE_CHECK

// Each of these converts a number to an element, or returns false if the type can't hold it. There is one for each kind
// of type. A type in JM_DTYPES that has none does not compile.

bool convert(double value, bool* element) noexcept {
  *element = value != 0;  // NaN is not 0
  return true;
}

template <class T>
std::enable_if_t<std::is_integral_v<T>, bool> convert(double value, T* element) noexcept {
  const double whole = std::trunc(value);
  const double above = std::ldexp(1.0, std::numeric_limits<T>::digits);  // max + 1: a power of two, so exact
  if (!(whole < above && whole >= (std::numeric_limits<T>::is_signed ? -above : 0.0))) return false;
  *element = static_cast<T>(whole);
  return true;
}

template <class T>
std::enable_if_t<std::is_floating_point_v<T>, bool> convert(double value, T* element) noexcept {
  if (std::isfinite(value) && std::fabs(value) > std::numeric_limits<T>::max()) return false;
  *element = static_cast<T>(value);
  return true;
}

template <class Word, int kExponentBits, int kMantissaBits, bool kInfinity>
bool convert(double value, SmallFloat<Word, kExponentBits, kMantissaBits, kInfinity>* element) noexcept {
  using Float = SmallFloat<Word, kExponentBits, kMantissaBits, kInfinity>;
  const double max = Float{static_cast<Word>(Float::kMax)}.to_float();
  if (std::isinf(value) ? !kInfinity : std::fabs(value) > max) return false;
  *element = Float::from(value);
  return true;
}

bool convert(double value, std::complex<float>* element) noexcept {
  float real;
  if (!convert(value, &real)) return false;
  *element = real;
  return true;
}

}  // namespace

jm_status fill_pattern(std::uint32_t dtype, double value, std::uint64_t* pattern) noexcept {
  switch (dtype) {
#define JM_DTYPE_FILL(suffix, number, name, bytes, type)             \
  case (number): {                                                   \
    type element;                                                    \
    if (!convert(value, &element)) return JM_ERR_RANGE;              \
    unsigned char block[8];                                          \
    for (std::size_t i = 0; i < sizeof block; i += sizeof element) { \
      std::memcpy(block + i, &element, sizeof element);              \
    }                                                                \
    std::memcpy(pattern, block, sizeof block);                       \
    return JM_OK;                                                    \
  }
    JM_DTYPES(JM_DTYPE_FILL)
#undef JM_DTYPE_FILL
  }
  return JM_ERR_DTYPE;
}

}  // namespace judemap
