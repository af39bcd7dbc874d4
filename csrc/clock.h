// The core's clock.
#ifndef JUDEMAP_CLOCK_H
#define JUDEMAP_CLOCK_H

#include <chrono>
#include <cstdint>

namespace judemap {

// Nanoseconds of a clock that never goes back.
inline std::int64_t now() noexcept {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace judemap

#endif  // JUDEMAP_CLOCK_H
