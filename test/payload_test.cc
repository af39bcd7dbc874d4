// Copies, fills and the first touch of mappings: what they do to every byte, around every threshold, with and without
// helpers; and what the helpers must not do: be waited for, use processor time while idle, outlive a fork.

#include "../csrc/payload.h"

#include <gtest/gtest.h>
#ifdef __linux__
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace payload = judemap::payload;
using namespace std::chrono_literals;

constexpr std::size_t kKiB = 1 << 10;
constexpr std::size_t kMiB = 1 << 20;

// Bytes that differ from place to place, with no period that a wrong offset could hide in.
std::uint8_t byte_at(std::size_t i, std::uint64_t seed) {
  return static_cast<std::uint8_t>((i + seed) * 0x9E3779B97F4A7C15 >> 56);
}

struct Buffer {
  explicit Buffer(std::size_t bytes)
      : size(bytes), data(static_cast<std::uint8_t*>(::operator new(round(bytes), std::align_val_t{4096}))) {}
  ~Buffer() { ::operator delete(data, std::align_val_t{4096}); }
  static std::size_t round(std::size_t bytes) { return (bytes + 4095) / 4096 * 4096; }
  void number(std::uint64_t seed) {
    for (std::size_t i = 0; i < size; ++i) data[i] = byte_at(i, seed);
  }
  const std::size_t size;
  std::uint8_t* const data;
};

// The first byte of the range that is not `want(i)`, or its size.
template <class Want>
std::size_t first_wrong(const std::uint8_t* data, std::size_t size, Want&& want) {
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] != want(i)) return i;
  }
  return size;
}

// Around each size at which the engine does something else: words, lines, string instructions, streaming, parts.
std::vector<std::size_t> sizes() {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i <= 140; ++i) all.push_back(i);
  for (const std::size_t edge :
       {2 * kKiB, 4 * kKiB, 256 * kKiB, 512 * kKiB, kMiB, 2 * kMiB, 4 * kMiB, 4 * kMiB + 512 * kKiB, 16 * kMiB}) {
    for (const std::size_t around : {-65, -8, -1, 0, 1, 7, 8, 9, 64}) all.push_back(edge + around);
  }
  return all;
}

TEST(Copy, EveryByteAndNoOther) {
  constexpr std::size_t kRoom = 128;
  for (const unsigned threads : {1u, 3u}) {
    for (const std::size_t size : sizes()) {
      if (threads > 1 && size < 4 * kMiB - 65) continue;  // what is so small is never shared
      for (const auto& [to, from] : {std::pair{0, 0}, {0, 1}, {3, 0}, {8, 24}}) {
        Buffer source(size + kRoom), target(size + kRoom);
        source.number(size);
        std::memset(target.data, 0xA5, target.size);
        payload::copy(target.data + to, source.data + from, size, threads);
        const std::size_t begin = to, shift = from;
        ASSERT_EQ(first_wrong(target.data, target.size,
                              [&](std::size_t i) {
                                return i < begin || i >= begin + size ? 0xA5 : byte_at(i - begin + shift, size);
                              }),
                  target.size)
            << size << " bytes, " << threads << " threads, to " << to << ", from " << from;
      }
    }
  }
}

TEST(Copy, RangesThatOverlap) {
  constexpr std::size_t kOffset = 3 * kMiB;
  for (const std::size_t size : {std::size_t{1000}, 300 * kKiB, 4 * kMiB, 5 * kMiB + 3}) {
    for (const std::ptrdiff_t distance : {-2'500'000, -4096, -64, -8, -1, 0, 1, 8, 64, 4096, 2'500'000}) {
      Buffer buffer(size + 2 * kOffset);
      buffer.number(1);
      const std::size_t target = kOffset + distance;
      payload::copy(buffer.data + target, buffer.data + kOffset, size, 4);
      ASSERT_EQ(
          first_wrong(buffer.data, buffer.size,
                      [&](std::size_t i) { return byte_at(i < target || i >= target + size ? i : i - distance, 1); }),
          buffer.size)
          << size << " bytes, moved by " << distance;
    }
  }
}

TEST(Fill, EveryByteAndNoOther) {
  for (const unsigned threads : {1u, 3u}) {
    for (const std::size_t size : sizes()) {
      if (threads > 1 && size < 4 * kMiB - 65) continue;  // what is so small is never shared
      for (const std::uint64_t pattern : std::initializer_list<std::uint64_t>{0, 0x7F7F7F7F7F7F7F7F, 0x0102010201020102,
                                                                              0x0102030401020304, 0x0102030405060708}) {
        Buffer target(size + 64);
        std::memset(target.data, 0xA5, target.size);
        payload::fill(target.data, size, pattern, threads);
        std::uint8_t bytes[8];
        std::memcpy(bytes, &pattern, 8);
        ASSERT_EQ(first_wrong(target.data, target.size, [&](std::size_t i) { return i < size ? bytes[i % 8] : 0xA5; }),
                  target.size)
            << size << " bytes, " << threads << " threads, pattern " << std::hex << pattern;
      }
    }
  }
}

TEST(Copy, ManyCallersAtOnce) {
  constexpr int kCallers = 12;  // more than may have helpers at a time
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      const std::size_t size = 4 * kMiB + caller * 100'001;
      // Some fills are shared too.
      const std::size_t fills = size + (caller % 4 == 0 ? 12 * kMiB : 0);
      Buffer source(size), target(size), filled(fills);
      for (int round = 0; round < 10; ++round) {
        source.number(caller * 1000 + round);
        const unsigned threads = 1 + (caller + round) % 5;
        payload::copy(target.data, source.data, size, threads);
        payload::fill(filled.data, fills, caller * 1000 + round, threads);
        std::uint64_t last;
        std::memcpy(&last, filled.data + fills / 8 * 8 - 8, 8);
        wrong += std::memcmp(target.data, source.data, size) != 0;
        wrong += last != static_cast<std::uint64_t>(caller * 1000 + round);
        wrong += std::memcmp(filled.data, filled.data + 8, fills - 8) != 0;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

#ifdef __linux__

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

// The threads of this process that are named as the helpers are.
std::vector<std::string> helpers() {
  std::vector<std::string> found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name == "judemap copy") found.push_back(task.path());
  }
  return found;
}

// Runs `body` in a child process made by fork. What it returns is the child's status; -1 if a signal ended it, and -2
// if it did not end within 20 seconds.
template <class Body>
int in_child(Body&& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  for (int i = 0; i < 2000; ++i) {
    int status;
    if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    std::this_thread::sleep_for(10ms);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return -2;
}

// Whether a copy of 8 MiB copies.
bool copies(unsigned threads) {
  Buffer source(8 * kMiB), target(8 * kMiB);
  source.number(threads);
  payload::copy(target.data, source.data, source.size, threads);
  return std::memcmp(target.data, source.data, source.size) == 0;
}

// A new thread has no name until it runs.
bool helpers_become(std::size_t count) {
  for (int i = 0; i < 500 && helpers().size() != count; ++i) std::this_thread::sleep_for(10ms);
  return helpers().size() == count;
}

// Each in a process of its own, in which nothing has made helpers yet (CMake runs every test in one).
TEST(Helpers, OneThreadMakesNone) {
  const auto tasks = [] {
    const std::filesystem::directory_iterator all("/proc/self/task");
    return std::distance(begin(all), end(all));
  };
  if (!helpers().empty()) GTEST_SKIP() << "another test made helpers";
  const auto before = tasks();
  EXPECT_TRUE(copies(1));
  Buffer target(16 * kMiB);
  payload::fill(target.data, target.size, 1, 1);
  const int populated = payload::populate(target.data, target.size, true, 1);
  EXPECT_TRUE(populated == 0 || populated == ENOTSUP) << populated;  // an emulator's madvise does nothing
  payload::copy(target.data, target.data + kMiB, kMiB, 4);           // small
  EXPECT_EQ(tasks(), before);
}

TEST(Helpers, AsManyAsWanted) {
  if (!helpers().empty()) GTEST_SKIP() << "another test made helpers";
  EXPECT_TRUE(copies(3));
  EXPECT_TRUE(helpers_become(2));
  EXPECT_TRUE(copies(2));
  EXPECT_TRUE(copies(0));
  EXPECT_TRUE(copies(1000));
  EXPECT_TRUE(helpers_become(15));
}

TEST(Helpers, UseNoTimeWhenIdle) {
  EXPECT_TRUE(copies(4));
  std::this_thread::sleep_for(50ms);
  const auto switches = [] {
    long sum = 0;
    for (const std::string& helper : helpers()) {
      std::ifstream status(helper + "/status");
      for (std::string word; status >> word;) {
        if (word != "voluntary_ctxt_switches:" && word != "nonvoluntary_ctxt_switches:") continue;
        long count;
        status >> count;
        sum += count;
      }
    }
    return sum;
  };
  const long before = switches();
  std::this_thread::sleep_for(200ms);
  EXPECT_EQ(switches(), before);
}

TEST(Helpers, GetNoSignals) {
  EXPECT_TRUE(copies(2));
  EXPECT_TRUE(helpers_become(helpers().size()));
  for (const std::string& helper : helpers()) {
    std::ifstream status(helper + "/status");
    std::string word, blocked;
    while (status >> word && word != "SigBlk:") {
    }
    status >> blocked;
    const std::uint64_t mask = std::stoull(blocked, nullptr, 16);
    for (const int signal : {SIGINT, SIGTERM, SIGURG, SIGPROF, SIGCHLD})
      EXPECT_TRUE(mask >> (signal - 1) & 1) << signal;
  }
}

TEST(Helpers, AreNotTiedToTheirMakersProcessor) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(getpid(), sizeof all, &all), 0);
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "one processor";
  std::thread([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_TRUE(copies(2));
  }).join();
  ASSERT_FALSE(helpers().empty());
  for (const std::string& helper : helpers()) {
    cpu_set_t its;
    const pid_t thread = std::stoi(helper.substr(helper.rfind('/') + 1));
    ASSERT_EQ(sched_getaffinity(thread, sizeof its, &its), 0);
    EXPECT_TRUE(CPU_EQUAL(&its, &all));
  }
}

// A child has none of the helpers, nor the callers of its parent's copies that were going on.
TEST(Helpers, ForkInTheMiddle) {
  EXPECT_TRUE(copies(4));
  std::atomic<bool> stop{false};
  std::atomic<unsigned> copying{0};
  std::vector<std::thread> busy;
  for (int i = 0; i < 9; ++i) {
    busy.emplace_back([&] {
      Buffer source(5 * kMiB), target(5 * kMiB);
      payload::copy(target.data, source.data, source.size, 4);
      ++copying;
      while (!stop) payload::copy(target.data, source.data, source.size, 4);
    });
  }
  // A thread that starts holds locks of AddressSanitizer, whose child would wait for them for ever.
  EXPECT_TRUE(helpers_become(3));
  while (copying != busy.size()) std::this_thread::yield();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(in_child([] {
                for (int n = 0; n < 5; ++n) {
                  if (!copies(4)) return 1;
                }
                return helpers_become(kThreadSanitizer ? 0 : 3) ? 0 : 2;
              }),
              0);
  }
  stop = true;
  for (std::thread& thread : busy) thread.join();
}

// A fork that runs no handlers leaves the child with helpers that are not there.
TEST(Helpers, ForkUnseen) {
  EXPECT_TRUE(copies(4));
  std::this_thread::sleep_for(50ms);
  // The child of a bare system call can't use the C++ library's locks, but it can copy.
  Buffer source(8 * kMiB), target(8 * kMiB);
  source.number(1);
  const pid_t child = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (child == 0) {
    payload::copy(target.data, source.data, source.size, 4);
    _exit(std::memcmp(target.data, source.data, source.size) != 0);
  }
  int status = -1;
  for (int i = 0; i < 2000 && waitpid(child, &status, WNOHANG) != child; ++i) std::this_thread::sleep_for(10ms);
  kill(child, SIGKILL);
  EXPECT_EQ(status, 0);
}

TEST(Helpers, CopiesWithoutThreads) {
  if (!helpers().empty()) GTEST_SKIP() << "another test made helpers";
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer ends a process that can't start a thread";
  EXPECT_EQ(in_child([] {
              if (getuid() == 0 && setresuid(65534, 65534, 65534) != 0)
                return 3;  // root has as many threads as it likes
              const rlimit none = {0, 0};
              if (setrlimit(RLIMIT_NPROC, &none) != 0) return 4;
              for (int i = 0; i < 300; ++i) {
                if (i % 50 == 0 && !copies(4)) return 1;
                Buffer target(16 * kMiB);
                payload::fill(target.data, target.size, 1, 4);
              }
              return helpers().empty() ? 0 : 2;
            }),
            0);
}

// The process ends while helpers sleep and while a copy goes on in another thread; destructors of statics run.
TEST(Helpers, ExitDuringACopy) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer ends a forked child that starts a thread";
  for (int i = 0; i < 5; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      std::thread([] {
        auto& source = *new Buffer(4 * kMiB);
        auto& target = *new Buffer(4 * kMiB);
        for (;;) payload::copy(target.data, source.data, source.size, 4);
      }).detach();
      std::this_thread::sleep_for(5ms * i);
      std::exit(0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

struct Mapping {
  Mapping(int file, std::size_t bytes, int protection = PROT_READ | PROT_WRITE)
      : size(bytes), data(mmap(nullptr, bytes, protection, MAP_SHARED, file, 0)) {}
  ~Mapping() { munmap(data, size); }
  // How many of its pages this process has mapped or the file holds.
  std::size_t resident() const {
    std::vector<unsigned char> pages((size + 4095) / 4096);
    if (mincore(data, size, pages.data()) != 0) return ~std::size_t{0};
    return std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return page & 1; });
  }
  const std::size_t size;
  void* const data;
};

long minor_faults() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

TEST(Populate, AllocatesAndMapsAllPages) {
  constexpr std::size_t kSize = 18 * kMiB + 4096;
  for (const unsigned threads : {1u, 2u, 4u}) {
    const int file = memfd_create("test", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(file, kSize), 0);
    {
      const Mapping mapping(file, kSize);
      const int error = payload::populate(mapping.data, kSize, true, threads);
      if (error == ENOTSUP) GTEST_SKIP() << "the kernel is older than Linux 5.14, or an emulator";
      ASSERT_EQ(error, 0);
      EXPECT_EQ(mapping.resident(), kSize / 4096);
      const long before = minor_faults();
      std::memset(mapping.data, 1, kSize);
      if (!kThreadSanitizer) {  // which faults in memory of its own, as much again; AddressSanitizer's is an eighth
        EXPECT_LT(minor_faults() - before, static_cast<long>(kSize / 4096 / 6));
      }
      EXPECT_EQ(payload::populate(mapping.data, kSize, true, threads), 0);  // again: what is there stays
      EXPECT_EQ(static_cast<std::uint8_t*>(mapping.data)[kSize - 1], 1);
      const Mapping reader(file, kSize, PROT_READ);
      EXPECT_EQ(payload::populate(reader.data, kSize, false, threads), 0);
      EXPECT_EQ(payload::populate(reader.data, kSize, true, threads), ENOTSUP);  // not writable
    }
    close(file);
  }
}

// What a page that can't be had raises on access is an error of populate.
TEST(Populate, EndOfFile) {
  const int file = memfd_create("test", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(file, 20 * kMiB), 0);
  const Mapping mapping(file, 40 * kMiB);
  for (const bool write : {true, false}) {
    for (const unsigned threads : {1u, 4u}) {
      const int error = payload::populate(mapping.data, mapping.size, write, threads);
      if (error == ENOTSUP) GTEST_SKIP() << "the kernel is older than Linux 5.14, or an emulator";
      EXPECT_EQ(error, EFAULT);
    }
  }
  close(file);
}

TEST(Populate, NoRoomInTheFileSystem) {
  char folder[] = "/tmp/judemap_payload_XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const int status = in_child([&] {
    // A file system of this child's own.
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", folder, "tmpfs", 0, "size=8m") != 0) {
      return 77;
    }
    const int file = open((std::string(folder) + "/sparse").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, 64 * kMiB) != 0) return 3;
    const Mapping mapping(file, 64 * kMiB);
    const int error = payload::populate(mapping.data, mapping.size, true, 2);
    return error == ENOTSUP ? 78 : error == EFAULT ? 0 : 4;
  });
  rmdir(folder);
  if (status == 77) GTEST_SKIP() << "no right to mount a tmpfs";
  if (status == 78) GTEST_SKIP() << "the kernel is older than Linux 5.14, or an emulator";
  EXPECT_EQ(status, 0);
}

TEST(Populate, NothingMapped) {
  void* const hole = mmap(nullptr, 16 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(static_cast<char*>(hole) + 8 * kMiB, 8 * kMiB);
  const int error = payload::populate(hole, 16 * kMiB, true, 2);
  EXPECT_TRUE(error == ENOMEM || error == ENOTSUP) << error;
  munmap(hole, 8 * kMiB);
  EXPECT_EQ(payload::populate(nullptr, 0, true, 2), 0);
}

#endif  // __linux__

}  // namespace
