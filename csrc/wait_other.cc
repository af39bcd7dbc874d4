//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// For systems without anything better yet: a parked thread looks every millisecond. Segments can't be shared between
// processes there, so only C and C++ threads of one process park here.

#if !defined(__linux__) && !defined(_WIN32) && !defined(__APPLE__)

#include <cerrno>
#include <chrono>
#include <thread>

#include "wait.h"

namespace judemap {
namespace wait {

std::size_t most_words() noexcept { return 1; }

void park_any(const Word*, std::size_t, std::int64_t timeout) noexcept {
  constexpr std::int64_t kLook = 1'000'000;  // ns
  std::this_thread::sleep_for(std::chrono::nanoseconds(timeout == kForever || timeout > kLook ? kLook : timeout));
}

bool wake_all(const void*, bool) noexcept { return true; }

int make_event(int*, int*) noexcept { return ENOSYS; }
void signal_event(int) noexcept {}
void close_event(int) noexcept {}

}  // namespace wait
}  // namespace judemap

#endif  // another system
