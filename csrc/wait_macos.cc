//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Waiting on macOS: os_sync_wait_on_address since 14.4, and before that the system call behind it, which no header has.
// Both take one word, and find who waits for the same word by its place in the file. They are looked up when they are
// first needed, so that a program runs on older systems than it was linked on, and links on older ones than it runs on.

#ifdef __APPLE__

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "wait.h"

namespace judemap {
namespace wait {
namespace {

// <os/os_sync_wait_on_address.h>
constexpr std::uint32_t kShared = 1;             // OS_SYNC_WAIT_ON_ADDRESS_SHARED, OS_SYNC_WAKE_BY_ADDRESS_SHARED
constexpr std::uint32_t kMachAbsoluteTime = 32;  // OS_CLOCK_MACH_ABSOLUTE_TIME

// <sys/ulock.h> of the kernel
constexpr std::uint32_t kCompareAndWait = 1;        // UL_COMPARE_AND_WAIT
constexpr std::uint32_t kCompareAndWaitShared = 3;  // UL_COMPARE_AND_WAIT_SHARED
constexpr std::uint32_t kWakeAll = 0x100;           // ULF_WAKE_ALL
constexpr std::uint32_t kNoErrno = 0x1000000;       // ULF_NO_ERRNO: a negative result is the errno value

struct Functions {
  int (*wait)(void*, std::uint64_t, std::size_t, std::uint32_t, std::uint32_t, std::uint64_t);
  int (*wake)(void*, std::size_t, std::uint32_t);
  int (*ulock_wait)(std::uint32_t, void*, std::uint64_t, std::uint32_t);
  int (*ulock_wake)(std::uint32_t, void*, std::uint64_t);

  Functions() noexcept {
    find("os_sync_wait_on_address_with_timeout", &wait);
    find("os_sync_wake_by_address_all", &wake);
    find("__ulock_wait", &ulock_wait);
    find("__ulock_wake", &ulock_wake);
  }

  template <class Function>
  static void find(const char* name, Function** function) noexcept {
    *function = reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
  }

  bool has_sync() const noexcept { return wait != nullptr && wake != nullptr; }
  bool has_ulock() const noexcept { return ulock_wait != nullptr && ulock_wake != nullptr; }
};

const Functions& functions() noexcept {
  static const Functions found;
  return found;
}

std::uint32_t operation(bool shared) noexcept { return (shared ? kCompareAndWaitShared : kCompareAndWait) | kNoErrno; }

}  // namespace

std::size_t most_words() noexcept { return 1; }

void park_any(const Word* words, std::size_t, std::int64_t timeout) noexcept {
  constexpr std::int64_t kLook = 1'000'000;                              // ns
  constexpr std::int64_t kLongest = std::int64_t{3600} * 1'000'000'000;  // ns; in microseconds it has 32 bits
  timeout = timeout == kForever ? kLongest : std::min(timeout, kLongest);
  if (timeout <= 0) return;  // 0 is no time limit to the calls
  void* const address = const_cast<void*>(words->address);
  const Functions& call = functions();
  if (call.has_sync()) {
    call.wait(address, words->expected, sizeof words->expected, words->shared ? kShared : 0, kMachAbsoluteTime,
              static_cast<std::uint64_t>(timeout));
  } else if (call.has_ulock()) {
    call.ulock_wait(operation(words->shared), address, words->expected,
                    static_cast<std::uint32_t>((timeout + 999) / 1000));
  } else {
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(timeout, kLook)));
  }
}

bool wake_all(const void* address, bool shared) noexcept {
  void* const word = const_cast<void*>(address);
  const Functions& call = functions();
  if (call.has_sync()) return call.wake(word, sizeof(std::uint32_t), shared ? kShared : 0) == 0;
  if (call.has_ulock()) return call.ulock_wake(operation(shared) | kWakeAll, word, 0) >= 0;
  return true;
}

// A pipe, since what the system counts with can't be read from. Closing one end ends nobody's program: no SIGPIPE.
int make_event(int* descriptor, int* event) noexcept {
  int ends[2];
  if (pipe(ends) != 0) return errno;
  for (const int end : ends) {
    if (fcntl(end, F_SETFD, FD_CLOEXEC) != 0 || fcntl(end, F_SETFL, O_NONBLOCK) != 0 ||
        fcntl(end, F_SETNOSIGPIPE, 1) != 0) {
      const int error = errno;
      close(ends[0]);
      close(ends[1]);
      return error;
    }
  }
  *descriptor = ends[0];
  *event = ends[1];
  return 0;
}

void signal_event(int event) noexcept {
  const std::uint64_t one = 1;
  // Fails where the pipe is full, and then the descriptor is readable anyway.
  if (write(event, &one, sizeof one) < 0) return;
}

void close_event(int event) noexcept { close(event); }

}  // namespace wait
}  // namespace judemap

#endif  // __APPLE__
