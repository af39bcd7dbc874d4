#include "floor.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "judemap/segment.h"
#include "judemap/stream.h"

#ifdef __linux__
#include <fcntl.h>
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

void floor_memcpy_threads(void* destination, const void* source, size_t size, size_t threads, size_t times) {
  // Each thread has its part, and they meet before and after each round, spinning: no time goes into waking them.
  std::atomic<size_t> begun{0}, ended{0};
  const auto part = [&](size_t i) {
    const size_t from = size / threads * i, to = i + 1 == threads ? size : size / threads * (i + 1);
    std::memcpy(static_cast<char*>(destination) + from, static_cast<const char*>(source) + from, to - from);
    clobber();
  };
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < threads; ++i) {
    helpers.emplace_back([&, i] {
      for (size_t round = 1; round <= times; ++round) {
        while (begun.load(std::memory_order_acquire) < round) {
        }
        part(i);
        ended.fetch_add(1, std::memory_order_release);
      }
    });
  }
  for (size_t round = 1; round <= times; ++round) {
    begun.store(round, std::memory_order_release);
    part(0);
    while (ended.load(std::memory_order_acquire) < round * (threads - 1)) {
    }
  }
  for (std::thread& helper : helpers) helper.join();
}

uint64_t floor_sum(const void* data, size_t size) {
  const auto* const words = static_cast<const std::uint64_t*>(data);
  // Eight sums at a time: one alone waits for its own addition.
  std::uint64_t sums[8] = {};
  const std::size_t count = size / 8;
  std::size_t i = 0;
#ifdef __GNUC__
  using Pair __attribute__((vector_size(16))) = std::uint64_t;
  const auto* const pairs = static_cast<const Pair*>(data);
  Pair pair_sums[4] = {};
  for (; i + 8 <= count; i += 8) {
    for (int k = 0; k < 4; ++k) pair_sums[k] += pairs[i / 2 + static_cast<std::size_t>(k)];
  }
  std::memcpy(sums, pair_sums, sizeof sums);
#endif
  for (; i < count; ++i) sums[i % 8] += words[i];
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

void floor_memset(void* destination, int value, size_t size, size_t times) {
  for (size_t i = 0; i < times; ++i) {
    std::memset(destination, value, size);
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

size_t floor_write_frames(const char* name, size_t size, size_t frames, int64_t spin) {
  judemap::Stream stream;
  const std::uint64_t shape = size;
  if (stream.open(name) != JM_OK) return 0;
  stream.protocol().set_spin(spin);
  for (size_t i = 0; i < frames; ++i) {
    void* data;
    std::uint64_t length;
    const std::uint64_t number = stream.protocol().version() / 2 + 1;
    if (stream.begin(&shape, 1, JM_UINT8, &data, &length) != JM_OK) return i;
    std::memset(data, static_cast<unsigned char>(number), size);
    stream.commit();
  }
  return frames;
}

size_t floor_sum_frames(const char* name, size_t frames, int64_t spin) {
  judemap::Stream stream;
  judemap::Reader reader;
  if (stream.open(name) != JM_OK || reader.open(&stream) != JM_OK) return 0;
  stream.protocol().set_spin(spin);
  std::uint64_t last = 0;
  for (size_t i = 0; i < frames; ++i) {
    jm_tensor frame;
    if (reader.next(-1, &frame) != JM_OK) return i;
    const std::uint64_t number = frame.version / 2, word = (number & 0xff) * 0x0101010101010101;
    if (i != 0 && number != last + 1) return i;
    if (floor_sum(frame.data, frame.byte_length) != word * (frame.byte_length / 8)) return i;
    last = number;
  }
  return frames;
}

int64_t floor_clock(void) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

#ifdef __linux__
namespace {

// Round trips start at one end: it sends, and receives what the other sent in answer.
template <class Send, class Receive>
size_t trips(bool first, size_t times, int64_t* each, Send&& send, Receive&& receive) {
  for (size_t i = 0; i < times; ++i) {
    const int64_t start = floor_clock();
    if (first && !send(i)) return i;
    if (!receive(i)) return i;
    if (!first && !send(i)) return i;
    each[i] = floor_clock() - start;
  }
  return times;
}

// The first word of a segment's data, mapped without the core.
std::atomic<std::uint32_t>* map_word(const char* name) {
  const int descriptor = shm_open(name, O_RDWR, 0);
  if (descriptor < 0) return nullptr;
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  close(descriptor);
  if (page == MAP_FAILED) return nullptr;
  return reinterpret_cast<std::atomic<std::uint32_t>*>(static_cast<unsigned char*>(page) + JM_DATA_OFFSET);
}

void unmap_word(std::atomic<std::uint32_t>* word) {
  if (word) munmap(reinterpret_cast<unsigned char*>(word) - JM_DATA_OFFSET, 4096);
}

}  // namespace

size_t floor_word_trips(const char* out, const char* in, int first, int polling, size_t times, int64_t* each) {
  std::atomic<std::uint32_t>*mine = map_word(out), *theirs = map_word(in);
  size_t done = 0;
  if (mine && theirs) {
    done = trips(
        first != 0, times, each,
        [&](size_t) {
          mine->fetch_add(1);
          if (!polling) syscall(SYS_futex, mine, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
          return true;
        },
        [&](size_t i) {
          const auto seen = static_cast<std::uint32_t>(i);
          while (theirs->load() == seen) {
            if (!polling) syscall(SYS_futex, theirs, FUTEX_WAIT, seen, nullptr, nullptr, 0);
          }
          return true;
        });
  }
  unmap_word(mine);
  unmap_word(theirs);
  return done;
}

size_t floor_segment_trips(const char* out, const char* in, size_t size, int first, int polling, size_t times,
                           int64_t* each) {
  judemap::Segment mine, theirs;
  if (mine.open(out) != JM_OK || theirs.open(in) != JM_OK) return 0;
  const std::uint64_t shape = size;
  return trips(
      first != 0, times, each,
      [&](size_t i) { return mine.fill(&shape, 1, JM_UINT8, static_cast<unsigned char>(i)) == JM_OK; },
      [&](size_t i) {
        jm_tensor tensor;
        jm_status status = JM_OK;
        if (polling) {
          do status = theirs.try_read(&tensor);
          while (status == JM_ERR_BUSY || status == JM_ERR_EMPTY || (status == JM_OK && tensor.version <= 2 * i));
        } else {
          status = theirs.next(2 * i, -1, &tensor);
        }
        return status == JM_OK && tensor.byte_length == size &&
               floor_sum(tensor.data, size) == (i & 0xff) * 0x0101010101010101 * (size / 8) && theirs.valid(tensor);
      });
}
#else
size_t floor_word_trips(const char*, const char*, int, int, size_t, int64_t*) { return 0; }

size_t floor_segment_trips(const char*, const char*, size_t, int, int, size_t, int64_t*) { return 0; }
#endif
