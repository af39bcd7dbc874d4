//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Waiting on Linux: futex, futex_waitv (since 5.16) for several words, eventfd.

#ifdef __linux__

#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "judemap/wait.h"

namespace judemap {
namespace wait {
namespace {

// The kernel's interface for futex_waitv, which older headers lack. Same number on every architecture.
constexpr long kFutexWaitv = 449;
constexpr std::size_t kMostWords = 128;
struct WaitvEntry {
  std::uint64_t value;
  std::uint64_t address;
  std::uint32_t flags;
  std::uint32_t reserved;
};
constexpr std::uint32_t kFutex32 = 2;         // FUTEX_32
constexpr std::uint32_t kFutexPrivate = 128;  // FUTEX_PRIVATE_FLAG

long futex(const void* address, int operation, std::uint32_t value, const timespec* timeout) noexcept {
  return syscall(SYS_futex, address, operation, value, timeout, nullptr, 0);
}

timespec to_timespec(std::int64_t nanoseconds) noexcept {
  timespec time;
  time.tv_sec = static_cast<time_t>(nanoseconds / 1'000'000'000);
  time.tv_nsec = static_cast<long>(nanoseconds % 1'000'000'000);
  return time;
}

}  // namespace

std::size_t most_words() noexcept {
  static const std::size_t most = [] {
    // A call that waits for nothing tells whether there is such a call.
    syscall(kFutexWaitv, nullptr, 0, 0, nullptr, CLOCK_MONOTONIC);
    return errno == ENOSYS ? std::size_t{1} : kMostWords;
  }();
  return most;
}

void park_any(const Word* words, std::size_t count, std::int64_t timeout) noexcept {
  if (count == 1) {
    const timespec time = to_timespec(timeout);
    futex(words->address, words->shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, words->expected,
          timeout == kForever ? nullptr : &time);
    return;
  }
  WaitvEntry entries[kMostWords];
  for (std::size_t i = 0; i < count; ++i) {
    entries[i] = {words[i].expected, reinterpret_cast<std::uintptr_t>(words[i].address),
                  kFutex32 | (words[i].shared ? 0 : kFutexPrivate), 0};
  }
  // Unlike futex, this call takes a point in time.
  timespec until = {};
  if (timeout != kForever) {
    clock_gettime(CLOCK_MONOTONIC, &until);
    until = to_timespec(until.tv_sec * std::int64_t{1'000'000'000} + until.tv_nsec + timeout);
  }
  syscall(kFutexWaitv, entries, count, 0, timeout == kForever ? nullptr : &until, CLOCK_MONOTONIC);
}

bool wake_all(const void* address, bool shared) noexcept {
  return futex(address, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, INT_MAX, nullptr) > 0;
}

int make_event(int* descriptor) noexcept {
  *descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return *descriptor < 0 ? errno : 0;
}

void signal_event(int descriptor) noexcept {
  const std::uint64_t one = 1;
  // Fails only where the counter is full, and then the descriptor is readable anyway.
  if (write(descriptor, &one, sizeof one) < 0) return;
}

}  // namespace wait
}  // namespace judemap

#endif  // __linux__
