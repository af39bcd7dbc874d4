// What the core asks of the system to park a thread on a word of memory, and to wake the threads parked there, in this
// process and in all others that map the word. One source file per platform implements it: csrc/wait_*.cc.
#ifndef JUDEMAP_WAIT_H
#define JUDEMAP_WAIT_H

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "clock.h"

namespace judemap {
namespace wait {

// A word to park on as long as it holds `expected`. The kernel compares and parks in one step, so a change in between
// is not missed.
struct Word {
  const void* address;  // 4 bytes, aligned
  std::uint32_t expected;
  bool shared;  // other processes may wake it too
};

constexpr std::int64_t kForever = -1;

// How many words park_any takes at most; 1 if the platform can't park on several.
std::size_t most_words() noexcept;

// Tells the processor that this thread spins.
inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  asm volatile("isb");  // a few tens of cycles, as x86's pause; "yield" is a no-op on most cores
#endif
}

// Calls `over` repeatedly, for at most this many nanoseconds. Returns whether it was true in the end.
template <class Over>
bool spin(std::int64_t nanoseconds, Over&& over) noexcept {
  if (nanoseconds <= 0) return false;
  for (const std::int64_t end = now() + nanoseconds; now() < end;) {
    for (int i = 0; i < 16; ++i) {
      if (over()) return true;
      pause();
    }
  }
  return false;
}

// Parks until one of the words is woken, one of them does not hold its expected value, or `timeout` nanoseconds have
// passed (kForever: without limit). It may return early for no reason. `count` is at most most_words().
void park_any(const Word* words, std::size_t count, std::int64_t timeout) noexcept;

// Wakes all threads that are parked on the word; of all processes if it is shared. Returns false if there was none.
bool wake_all(const void* address, bool shared) noexcept;

// Makes a counter that turns a descriptor readable, by which the parker reaches a poller. The descriptor is the
// caller's to close; `event` is what signal_event takes, until close_event. Errors are errno values.
int make_event(int* descriptor, int* event) noexcept;
void signal_event(int event) noexcept;
void close_event(int event) noexcept;

// Blocks in this thread, for as long as the object exists, the signals that a program handles. Signals for faults are
// not blocked.
class WithoutSignals {
#ifndef _WIN32
 public:
  WithoutSignals() noexcept {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) sigdelset(&blocked, fault);
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  sigset_t before_;
#else
 public:
  WithoutSignals() noexcept {}
#endif
};

}  // namespace wait
}  // namespace judemap

#endif  // JUDEMAP_WAIT_H
