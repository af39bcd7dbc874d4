// The parker: watches of many segments, with threads of its own or the caller's.

#include "helper.h"

#ifdef __linux__

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace helper;

class Parker {
 public:
  Parker() {
    jm_parker* parker;
    int descriptor;
    must(jm_parker_new(&parker, &descriptor), "jm_parker_new");
    parker_.reset(parker);
    file_ = std::make_unique<File>(descriptor);
  }
  jm_parker* get() const { return parker_.get(); }
  int descriptor() const { return file_->get(); }

  // The token of a watch that is over, as a poller gets it; 0 if the descriptor tells of none for `time` milliseconds.
  std::uint64_t token(int time = 10'000) const {
    for (;;) {
      if (const std::uint64_t token = jm_parker_next(get())) return token;
      pollfd ready = {descriptor(), POLLIN, 0};
      std::uint64_t count;
      if (poll(&ready, 1, time) != 1 || read(descriptor(), &count, sizeof count) != sizeof count) return 0;
    }
  }

 private:
  const Watchdog watchdog_{seconds(30)};
  std::unique_ptr<File> file_;
  std::unique_ptr<jm_parker, Free> parker_;
};

bool futex_waitv_exists() {
  syscall(449, nullptr, 0, 0, nullptr, CLOCK_MONOTONIC);
  return errno == EINVAL;
}

// A parker's watch of a segment, gone when it goes.
class Watch {
 public:
  Watch(const Parker& parker, const Handle& segment, std::uint64_t token) {
    must(jm_watch_new(parker.get(), segment.get(), token, &watch_, &lane_), "jm_watch_new");
  }
  Watch(Watch&& other) noexcept : watch_(std::exchange(other.watch_, nullptr)), lane_(other.lane_) {}
  ~Watch() { jm_watch_free(watch_); }
  jm_status arm(std::uint64_t seen) const { return jm_watch_arm(watch_, seen); }
  void disarm() const { jm_watch_disarm(watch_); }
  std::size_t lane() const { return lane_; }

 private:
  jm_watch* watch_;
  std::size_t lane_ = 99;
};

TEST(Parker, ACommitEndsAWait) {
  const Handle writer = create_sealed(8);
  const Handle reader = again(writer);
  const Parker parker;
  EXPECT_NE(fcntl(parker.descriptor(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(parker.descriptor(), F_GETFD) & FD_CLOEXEC, 0);
  jm_watch* none;
  EXPECT_EQ(jm_watch_new(parker.get(), reader.get(), 0, &none, nullptr), JM_ERR_ARGUMENT);
  EXPECT_EQ(jm_watch_new(parker.get(), nullptr, 1, &none, nullptr), JM_ERR_ARGUMENT);
  EXPECT_EQ(jm_parker_threads(parker.get()), 0u);
  const Watch watch(parker, reader, 7);
  EXPECT_EQ(watch.lane(), 0u);
  EXPECT_EQ(jm_parker_threads(parker.get()), 1u);
  EXPECT_EQ(waiters(writer), 0u);
  ASSERT_EQ(watch.arm(0), JM_OK);
  EXPECT_EQ(waiters(writer), 1u);
  EXPECT_EQ(parker.token(5), 0u);

  ASSERT_EQ(write_byte(writer), JM_OK);
  pollfd ready = {parker.descriptor(), POLLIN, 0};
  EXPECT_EQ(poll(&ready, 1, 10'000), 1);
  EXPECT_EQ(jm_parker_next(parker.get()), 7u);
  EXPECT_EQ(jm_parker_next(parker.get()), 0u);
  std::uint64_t count;
  EXPECT_EQ(read(parker.descriptor(), &count, sizeof count), 8);
  EXPECT_EQ(poll(&ready, 1, 0), 0);

  // Nobody waits any more: one more commit wakes the thread, and those behind it nobody. None does if the thread looked
  // in the middle of the commit, and then again.
  EXPECT_LE(waiters(writer), 1u);
  ASSERT_EQ(write_byte(writer), JM_OK);
  EXPECT_TRUE(eventually([&] { return waiters(writer) == 0; }));
  EXPECT_EQ(parker.token(50), 0u);
  // A change that came before leaves nothing to wait for.
  EXPECT_EQ(watch.arm(2), JM_ERR_BUSY);
  EXPECT_EQ(waiters(writer), 0u);
  EXPECT_EQ(parker.token(50), 0u);
  ASSERT_EQ(watch.arm(4), JM_OK);
  ASSERT_EQ(write_byte(writer), JM_OK);
  EXPECT_EQ(parker.token(), 7u);
}

// The thread sleeps for 40 ms, as every parked one, where nobody wakes it: 100 rounds would take 4 s. In private memory
// it sleeps longer.
TEST(Parker, IsWokenAtOnce) {
  for (const bool shared : {true, false}) {
    const Handle writer = shared ? create_sealed(8) : create_private(8);
    const Handle other = shared ? again(writer) : Handle();
    const Handle& reader = shared ? other : writer;
    const Parker parker;
    const Watch watch(parker, reader, 1);
    Clock::duration took{0};
    for (std::uint64_t i = 0; i < 100; ++i) {
      ASSERT_EQ(watch.arm(2 * i), JM_OK);
      std::this_thread::sleep_for(milliseconds(1));  // until it sleeps
      const Clock::time_point start = Clock::now();
      ASSERT_EQ(write_byte(writer), JM_OK);
      ASSERT_EQ(parker.token(), 1u);
      took += Clock::now() - start;
    }
    EXPECT_LT(took, seconds(2)) << "shared: " << shared;
  }
}

// Also of a segment that nobody ever wrote to, whose sequence is the same when its memory is gone.
TEST(Parker, RetiringASegmentEndsAWait) {
  for (const bool shared : {true, false}) {
    const Handle segment = shared ? create_sealed(8) : create_private(8);
    const Parker parker;
    const Watch watch(parker, segment, 1);
    ASSERT_EQ(watch.arm(0), JM_OK);
    std::this_thread::sleep_for(milliseconds(2));
    ASSERT_EQ(jm_retire(segment.get()), JM_OK);
    EXPECT_EQ(parker.token(500), 1u) << "shared: " << shared;
    EXPECT_EQ(watch.arm(0), JM_ERR_CLOSED);
  }
}

TEST(Parker, Disarm) {
  const Handle a = create_sealed(8), b = create_sealed(8);
  const Parker parker;
  const Watch of_b(parker, b, 2);
  {
    const Watch of_a(parker, a, 1);
    ASSERT_EQ(of_a.arm(0), JM_OK);
    ASSERT_EQ(of_b.arm(0), JM_OK);
    of_a.disarm();
    ASSERT_EQ(write_byte(a), JM_OK);
    EXPECT_EQ(parker.token(60), 0u);
    EXPECT_TRUE(eventually([&] { return waiters(a) == 0; }));
    ASSERT_EQ(of_a.arm(2), JM_OK);
    EXPECT_EQ(waiters(a), 1u);
  }
  EXPECT_EQ(waiters(a), 0u);
  EXPECT_EQ(waiters(b), 1u);
  ASSERT_EQ(write_byte(b), JM_OK);
  EXPECT_EQ(parker.token(), 2u);
}

TEST(Parker, ManySegmentsFewThreads) {
  constexpr std::uint64_t kSegments = 300;
  constexpr std::size_t kThreads = (kSegments + 31) / 32;
  std::vector<Handle> segments;
  const Parker parker;
  std::vector<Watch> watches;
  for (std::uint64_t i = 0; i < kSegments; ++i) {
    segments.push_back(create_sealed(8));
    watches.emplace_back(parker, segments.back(), i + 1);
    ASSERT_EQ(watches.back().arm(0), JM_OK);
  }
  if (futex_waitv_exists()) {
    EXPECT_EQ(jm_parker_threads(parker.get()), kThreads);
  }
  std::set<std::uint64_t> tokens;
  for (const Handle& segment : segments) ASSERT_EQ(write_byte(segment), JM_OK);
  while (const std::uint64_t token = tokens.size() < kSegments ? parker.token() : 0) {
    EXPECT_TRUE(tokens.insert(token).second) << token << " came twice";
  }
  EXPECT_EQ(tokens.size(), kSegments);
  // The threads are used again.
  watches.clear();
  for (std::uint64_t i = 0; i < kSegments; ++i) watches.emplace_back(parker, segments[i], i + 1);
  if (futex_waitv_exists()) {
    EXPECT_EQ(jm_parker_threads(parker.get()), kThreads);
  }
}

// Parked threads look up now and then, and sleep in between.
TEST(Parker, WaitingCostsNothing) {
  std::vector<Handle> segments;
  const Parker parker;
  std::vector<Watch> watches;
  for (std::uint64_t i = 0; i < 100; ++i) {
    segments.push_back(create_sealed(8));
    watches.emplace_back(parker, segments.back(), i + 1);
    ASSERT_EQ(watches.back().arm(0), JM_OK);
  }
  jm_tensor tensor;
  std::this_thread::sleep_for(milliseconds(10));
  const std::clock_t before = std::clock();
  EXPECT_EQ(jm_next(segments[0].get(), 0, 300 * kMillisecond, &tensor), JM_ERR_TIMEOUT);
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.06);
}

// A sandbox that refuses to park on several words, as old container runtimes do, and old kernels: a thread for each
// segment, which sleeps, and is woken at once. In a process of its own, which can't take the filter back.
TEST(Parker, WhereOneWordIsAllThatCanBeParkedOn) {
  const Watchdog watchdog(seconds(60));
  for (const int error : {EPERM, ENOSYS, EACCES}) {
    SCOPED_TRACE(std::strerror(error));
    const Name name;
    const Handle segment = create(name, 8);
    Child reader({"one-word", name.text(), std::to_string(error)});
    const std::string used = reader.line();
    if (used == "skip") GTEST_SKIP() << "this system takes no filters";
    ASSERT_NE(used, "");
    EXPECT_LT(std::stoi(used), 20) << "percent of the processor, parked";
    std::vector<Clock::duration> times;
    for (int i = 1; i <= 9; ++i) {
      std::this_thread::sleep_for(milliseconds(3));  // until it sleeps
      const Clock::time_point start = Clock::now();
      ASSERT_EQ(write_byte(segment), JM_OK);
      ASSERT_EQ(reader.line(), std::to_string(2 * i));
      times.push_back(Clock::now() - start);
    }
    std::sort(times.begin(), times.end());
    EXPECT_LT(times[4], milliseconds(15)) << "it looked by itself, after 40 ms";
  }
}

// Without a descriptor the threads are the caller's.
TEST(Parker, ThreadsOfTheCaller) {
  const Watchdog watchdog(seconds(20));
  const Handle writer = create_sealed(8);
  const Handle reader = again(writer);
  jm_parker* made;
  ASSERT_EQ(jm_parker_new(&made, nullptr), JM_OK);
  const std::unique_ptr<jm_parker, Free> parker(made);
  std::uint64_t tokens[4];
  EXPECT_EQ(jm_parker_wait(parker.get(), 0, tokens, 4), 0u) << "there is no such lane yet";
  std::size_t lane = 99;
  jm_watch* watch;
  ASSERT_EQ(jm_watch_new(parker.get(), reader.get(), 5, &watch, &lane), JM_OK);
  ASSERT_EQ(lane, 0u);
  ASSERT_EQ(jm_watch_arm(watch, 0), JM_OK);
  std::atomic<std::uint64_t> got{0};
  std::atomic<bool> stopped{false};
  std::thread thread([&] {
    std::uint64_t over[4];
    while (const std::size_t count = jm_parker_wait(parker.get(), 0, over, 4)) got += count == 1 ? over[0] : 1000;
    stopped = true;
  });
  std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(got, 0u);
  EXPECT_EQ(write_byte(writer), JM_OK);
  EXPECT_TRUE(eventually([&] { return got == 5; })) << got;
  EXPECT_FALSE(stopped);
  jm_parker_stop(parker.get());
  thread.join();
  jm_watch_free(watch);
}

TEST(Parker, TheDeathOfAWriterEndsAWatch) {
  const Name name;
  const Handle segment = create(name, 8);
  const Parker parker;
  Child writer({"idle", name.text()});
  ASSERT_EQ(writer.line(), "ready");
  ASSERT_EQ(jm_version(segment.get()), 2u);
  EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_OTHER);
  EXPECT_EQ(write_byte(segment), JM_ERR_WRITER_ACTIVE);
  const Watch watch(parker, segment, 1);
  ASSERT_EQ(watch.arm(2), JM_OK);
  EXPECT_EQ(parker.token(60), 0u);
  writer.kill();
  EXPECT_EQ(parker.token(), 1u);
  EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_DIED);
  // What it committed is still there; there is nothing to wait for.
  jm_tensor tensor;
  EXPECT_EQ(jm_read(segment.get(), &tensor), JM_OK);
  EXPECT_EQ(jm_next(segment.get(), 2, 10 * kSecond, &tensor), JM_ERR_WRITER_DIED);
  ASSERT_EQ(write_byte(segment), JM_OK);
  EXPECT_EQ(jm_version(segment.get()), 4u);
  EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_HERE);
}

}  // namespace

#endif  // __linux__
