// The tensors of the stress tests. They are int64, and their content follows from the version. stress_test.go has the
// same in Go.
#ifndef JUDEMAP_TEST_PATTERN_H
#define JUDEMAP_TEST_PATTERN_H

#include <cstdint>

namespace pattern {

// Element i of the tensor of a version.
inline std::int64_t element(std::uint64_t version, std::uint64_t i) {
  return static_cast<std::int64_t>(version * 0x9E3779B97F4A7C15 + i * 0xD1B54A32D192ED03);
}

// The shape of a version's tensor, and how many elements it has, n at most. It differs from one commit to the next, so
// that a header that mixes two commits is noticed.
inline std::uint64_t shape_of(std::uint64_t version, std::uint64_t n, std::uint64_t* shape, std::uint32_t* ndim) {
  switch (version / 2 % 3) {
    case 0:
      shape[0] = n;
      *ndim = 1;
      return n;
    case 1:
      shape[0] = shape[2] = 1;
      shape[1] = n - 1;
      *ndim = 3;
      return n - 1;
    default:
      shape[0] = n / 3;
      shape[1] = 3;
      *ndim = 2;
      return n / 3 * 3;
  }
}

}  // namespace pattern

#endif  // JUDEMAP_TEST_PATTERN_H
