//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Waiting on Linux, with futex, with futex_waitv (since Linux 5.16) for several words, and with eventfd.

#ifdef __linux__

#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "wait.h"

namespace judemap {
namespace wait {
namespace {

// The kernel's interface for futex_waitv, which older headers do not have. Its number is the same on every
// architecture.
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

// A time as the kernel takes it on every architecture. The C library's timespec has 32-bit fields on some.
struct Time {
  std::int64_t seconds;
  std::int64_t nanoseconds;
};

constexpr std::int64_t kSecond = 1'000'000'000;

Time to_time(std::int64_t nanoseconds) noexcept { return {nanoseconds / kSecond, nanoseconds % kSecond}; }

long futex(const void* address, int operation, std::uint32_t value, const Time* timeout) noexcept {
#ifdef SYS_futex_time64  // 32-bit systems, since Linux 5.1
  const long result = syscall(SYS_futex_time64, address, operation, value, timeout, nullptr, 0);
  if (result == 0 || errno != ENOSYS) return result;
#endif
  // The words of the kernel's interface, which need not be those of the C library's timespec.
  long words[2] = {0, 0};
  if (timeout != nullptr) {
    words[0] = timeout->seconds > LONG_MAX ? LONG_MAX : static_cast<long>(timeout->seconds);
    words[1] = static_cast<long>(timeout->nanoseconds);
  }
  return syscall(SYS_futex, address, operation, value, timeout == nullptr ? nullptr : words, nullptr, 0);
}

}  // namespace

std::size_t most_words() noexcept {
  // Make the call with no words to wait for, to see whether the kernel has it. A kernel that has it reports that the
  // number of words is invalid. Kernels and sandboxes without it return various errors.
  static const std::size_t most = [] {
    const long result = syscall(kFutexWaitv, nullptr, 0, 0, nullptr, CLOCK_MONOTONIC);
    return result < 0 && errno == EINVAL ? kMostWords : std::size_t{1};
  }();
  return most;
}

void park_any(const Word* words, std::size_t count, std::int64_t timeout) noexcept {
  if (count == 1) {
    const Time time = to_time(timeout);
    futex(words->address, words->shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, words->expected,
          timeout == kForever ? nullptr : &time);
    return;
  }
  WaitvEntry entries[kMostWords];
  for (std::size_t i = 0; i < count; ++i) {
    entries[i] = {words[i].expected, reinterpret_cast<std::uintptr_t>(words[i].address),
                  kFutex32 | (words[i].shared ? 0 : kFutexPrivate), 0};
  }
  // This call takes a point in time, unlike futex, which takes a duration.
  Time until = {};
  if (timeout != kForever) {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    until = to_time(timeout % kSecond + now.tv_nsec);
    until.seconds += timeout / kSecond + now.tv_sec;
  }
  syscall(kFutexWaitv, entries, count, 0, timeout == kForever ? nullptr : &until, CLOCK_MONOTONIC);
}

bool wake_all(const void* address, bool shared) noexcept {
  return futex(address, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, INT_MAX, nullptr) > 0;
}

int make_event(int* descriptor, int* event) noexcept {
  *event = *descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return *descriptor < 0 ? errno : 0;
}

void signal_event(int event) noexcept {
  const std::uint64_t one = 1;
  // This fails only if the counter is full, and then the descriptor is readable anyway.
  if (write(event, &one, sizeof one) < 0) return;
}

void close_event(int) noexcept {}  // the caller does

}  // namespace wait
}  // namespace judemap

#endif  // __linux__
