// Copies and fills beside their floors, in turn in one process: memcpy and memset by as many threads. Prints medians,
// and in brackets the quartiles. Arguments: sizes in KiB; "busy" first: beside two threads that spin, and without the
// floors of two threads.
//
// The floor of two threads is a second thread that was started before and spins until it is let go, which nothing that
// sleeps between calls can reach; "barrier" is the same with a barrier on which the threads sleep. The spinning thread
// spins only while it is measured.

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../csrc/payload.h"

namespace {

using Clock = std::chrono::steady_clock;
namespace payload = judemap::payload;

struct Way {
  std::string name;
  std::function<void()> run;
  std::function<void()> before = [] {}, after = [] {};  // not timed
};

// Runs all ways in turn, and prints each beside the first.
void compare(const char* what, std::size_t size, const std::vector<Way>& ways) {
  const std::size_t times = std::max<std::size_t>(1, (std::size_t{64} << 20) / size);
  const int rounds = size >= (std::size_t{512} << 20) ? 9 : 15;
  std::vector<std::vector<double>> taken(ways.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < ways.size(); ++i) {
      ways[i].before();
      const auto start = Clock::now();
      for (std::size_t n = 0; n < times; ++n) ways[i].run();
      taken[i].push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() / times);
      ways[i].after();
    }
  }
  std::printf("%s of %zu KiB\n", what, size >> 10);
  double floor = 0;
  for (std::size_t i = 0; i < ways.size(); ++i) {
    auto& t = taken[i];
    std::sort(t.begin(), t.end());
    const double median = t[t.size() / 2];
    if (i == 0) floor = median;
    std::printf("  %-28s %12.2f us [%.2f %.2f]  %6.1f GB/s  %.2f x\n", ways[i].name.c_str(), median, t[t.size() / 4],
                t[t.size() * 3 / 4], size / median / 1e3, median / floor);
  }
  std::fflush(stdout);
}

// A second thread for a floor: does one half of the work beside its caller.
class Second {
 public:
  Second() {
    pthread_barrier_init(&barrier_, nullptr, 2);
    std::thread([this] {
      for (;;) {
        pthread_barrier_wait(&barrier_);
        if (!spin_) {
          half_(1);
          pthread_barrier_wait(&barrier_);
          continue;
        }
        for (unsigned seen = 0;;) {
          ended_.store(seen);
          unsigned turn;
          while ((turn = begun_.load()) == seen) __builtin_ia32_pause();
          if (turn == kStop) break;
          half_(1);
          seen = turn;
        }
      }
    }).detach();
  }
  void sleeping(const std::function<void(int)>& half) {
    half_ = half;
    pthread_barrier_wait(&barrier_);
    half(0);
    pthread_barrier_wait(&barrier_);
  }
  void start_spinning() {
    spin_ = true;
    turn_ = 0;
    begun_.store(0);
    ended_.store(kStop);
    pthread_barrier_wait(&barrier_);
    while (ended_.load() != 0) __builtin_ia32_pause();
  }
  void stop_spinning() {
    spin_ = false;
    begun_.store(kStop);
  }
  void spinning(const std::function<void(int)>& half) {
    half_ = half;
    begun_.store(++turn_);
    half(0);
    while (ended_.load() != turn_) __builtin_ia32_pause();
  }

 private:
  static constexpr unsigned kStop = ~0u;
  bool spin_ = false;
  unsigned turn_ = 0;
  std::atomic<unsigned> begun_{0}, ended_{0};
  pthread_barrier_t barrier_;
  std::function<void(int)> half_;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::size_t> sizes;
  const bool busy = argc > 1 && std::strcmp(argv[1], "busy") == 0;
  for (int i = busy ? 2 : 1; i < argc; ++i) sizes.push_back(std::strtoull(argv[i], nullptr, 10) << 10);
  if (sizes.empty()) {
    for (std::size_t kib : {4, 588, 1024, 2048, 4096, 8192, 16384, 65536, 1048576}) sizes.push_back(kib << 10);
  }
  const std::size_t most = *std::max_element(sizes.begin(), sizes.end());
  const auto map = [&] {
    void* base = mmap(nullptr, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(base, most, MADV_HUGEPAGE);
    std::memset(base, 1, most);
    return static_cast<char*>(base);
  };
  char* const from = map();
  char* const to = map();
  auto& second = *new Second;
  for (int i = 0; busy && i < 2; ++i) {
    std::thread([] {
      for (;;) __builtin_ia32_pause();
    }).detach();
  }

  for (const std::size_t size : sizes) {
    const auto part = [=](int half) { return half == 0 ? size / 2 : size - size / 2; };
    const auto set = [=](int half) { std::memset(to + half * (size / 2), 7, part(half)); };
    const auto move = [=](int half) { std::memcpy(to + half * (size / 2), from + half * (size / 2), part(half)); };
    const auto start = [&] { second.start_spinning(); };
    const auto stop = [&] { second.stop_spinning(); };
    const std::uint64_t pattern = 0x0102030405060708;
    compare("fill", size,
            {{"memset", [&] { std::memset(to, 7, size); }},
             {"fill, 1 thread", [&] { payload::fill(to, size, pattern, 1); }},
             {"fill of zeros, 1 thread", [&] { payload::fill(to, size, 0, 1); }}});
    compare("copy", size,
            {{"memcpy", [&] { std::memcpy(to, from, size); }},
             {"copy, 1 thread", [&] { payload::copy(to, from, size, 1); }},
             {"copy, 2 threads", [&] { payload::copy(to, from, size, 2); }}});
    if (busy || size < (std::size_t{1} << 20)) continue;
    compare("fill", size,
            {{"memset, 2 threads spinning", [&] { second.spinning(set); }, start, stop},
             {"memset, 2 threads barrier", [&] { second.sleeping(set); }},
             {"fill, 2 threads", [&] { payload::fill(to, size, pattern, 2); }}});
    compare("copy", size,
            {{"memcpy, 2 threads spinning", [&] { second.spinning(move); }, start, stop},
             {"memcpy, 2 threads barrier", [&] { second.sleeping(move); }},
             {"copy, 2 threads", [&] { payload::copy(to, from, size, 2); }}});
  }
  std::_Exit(0);
}
