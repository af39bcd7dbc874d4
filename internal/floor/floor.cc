#include "floor.h"

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "judemap/segment.h"

#ifdef __linux__
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#endif

namespace {

// Keeps the compiler from merging the rounds of a loop.
void clobber() { asm volatile("" : : : "memory"); }

}  // namespace

void floor_call(void) {}

void floor_memcpy(void* destination, const void* source, size_t size, size_t times) {
  for (size_t i = 0; i < times; ++i) {
    std::memcpy(destination, source, size);
    clobber();
  }
}

void floor_memset(void* destination, size_t size, size_t times) {
  for (size_t i = 0; i < times; ++i) {
    std::memset(destination, 1, size);
    clobber();
  }
}

size_t floor_read(size_t times) {
  judemap::Segment segment;
  const std::uint64_t shape[] = {1, 8, 8, 3};
  if (segment.create(1024) != JM_OK || segment.fill(shape, 4, JM_FLOAT32, 1) != JM_OK) return 0;
  size_t valid = 0;
  for (size_t i = 0; i < times; ++i) {
    jm_tensor tensor;
    valid += segment.try_read(&tensor) == JM_OK && segment.valid(tensor);
    clobber();
  }
  return valid;
}

void floor_commit(size_t size, size_t times) {
  judemap::Segment segment;
  std::vector<unsigned char> data(size);
  const std::uint64_t shape[] = {size};
  if (segment.create(size) != JM_OK) return;
  for (size_t i = 0; i < times; ++i) segment.write(shape, 1, JM_UINT8, data.data(), size);
}

#ifdef __linux__
int floor_futex(size_t times) {
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return 0;
  auto* words = static_cast<std::atomic<unsigned>*>(page);  // two, on cache lines of their own
  std::atomic<unsigned>&ping = words[0], &pong = words[64];
  const auto wake = [](std::atomic<unsigned>& word) {
    word.fetch_add(1);
    syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  };
  const auto await = [](std::atomic<unsigned>& word, unsigned value) {
    while (word.load() != value) syscall(SYS_futex, &word, FUTEX_WAIT, value - 1, nullptr, nullptr, 0);
  };
  std::thread other([&] {
    for (size_t i = 1; i <= times; ++i) {
      await(ping, static_cast<unsigned>(i));
      wake(pong);
    }
  });
  for (size_t i = 1; i <= times; ++i) {
    wake(ping);
    await(pong, static_cast<unsigned>(i));
  }
  other.join();
  munmap(page, 4096);
  return 1;
}

size_t floor_next(size_t times) {
  judemap::Segment ping, pong, far_ping, far_pong;
  int a = -1, b = -1;
  if (ping.create_sealed(8) != JM_OK || pong.create_sealed(8) != JM_OK || ping.descriptor(&a) != JM_OK ||
      pong.descriptor(&b) != JM_OK || far_ping.open(a) != JM_OK || far_pong.open(b) != JM_OK) {
    return 0;
  }
  close(a);
  close(b);
  jm_tensor tensor;
  std::thread other([&] {
    jm_tensor seen;
    for (size_t i = 0; i < times; ++i) {
      far_ping.next(2 * i, -1, &seen);
      far_pong.fill(nullptr, 0, JM_UINT8, 1);
    }
  });
  size_t done = 0;
  for (size_t i = 0; i < times; ++i) {
    ping.fill(nullptr, 0, JM_UINT8, 1);
    done += pong.next(2 * i, -1, &tensor) == JM_OK;
  }
  other.join();
  return done;
}
#else
int floor_futex(size_t) { return 0; }

size_t floor_next(size_t) { return 0; }
#endif
