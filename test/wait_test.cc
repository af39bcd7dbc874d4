// Parking and waking: within a process and between processes, in time, at once, and all that are parked.

#include "helper.h"

#ifdef __linux__

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace helper;

TEST(Wait, TimesOut) {
  const Handle segment = create_sealed(8);
  jm_tensor tensor;
  for (const std::int64_t time : {std::int64_t{0}, 20 * kMillisecond, 90 * kMillisecond}) {
    const Clock::time_point start = Clock::now();
    EXPECT_EQ(jm_next(segment.get(), 0, time, &tensor), JM_ERR_TIMEOUT);
    const auto took = Clock::now() - start;
    EXPECT_GE(took, std::chrono::nanoseconds(time));
    EXPECT_LT(took, std::chrono::nanoseconds(time) + seconds(2));
  }
  ASSERT_EQ(write_byte(segment), JM_OK);
  EXPECT_EQ(jm_next(segment.get(), 0, 0, &tensor), JM_OK);
  // Shorter than it may sleep: 40 ms for each would be 800 ms.
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(jm_next(segment.get(), 2, 5 * kMillisecond, &tensor), JM_ERR_TIMEOUT);
  EXPECT_LT(Clock::now() - start, milliseconds(600));
  EXPECT_EQ(waiters(segment), 0u);
}

TEST(Wait, AnotherHandlesCommitEndsIt) {
  const Watchdog watchdog(seconds(20));
  const Handle writer = create_sealed(8);
  const Handle reader = again(writer);
  jm_tensor tensor = {};
  jm_status status = JM_ERR_BUSY;
  std::thread waiting([&] { status = jm_next(reader.get(), 0, -1, &tensor); });
  EXPECT_TRUE(eventually([&] { return waiters(writer) == 1; }));
  EXPECT_EQ(write_byte(writer), JM_OK);
  waiting.join();
  EXPECT_EQ(status, JM_OK);
  EXPECT_EQ(tensor.version, 2u);
  EXPECT_EQ(waiters(writer), 0u);
}

// Parked threads of a handle that is retired end at once; those of others are left alone.
TEST(Wait, RetiringTheHandleEndsIt) {
  const Watchdog watchdog(seconds(20));
  const Handle a = create_sealed(8);
  const Handle b = again(a);
  jm_tensor ofA, ofB = {};
  jm_status statusA = JM_OK, statusB = JM_ERR_BUSY;
  std::thread waitingA([&] { statusA = jm_next(a.get(), 0, -1, &ofA); });
  std::thread waitingB([&] { statusB = jm_next(b.get(), 0, -1, &ofB); });
  EXPECT_TRUE(eventually([&] { return waiters(b) == 2; }));
  EXPECT_EQ(jm_retire(a.get()), JM_OK);
  waitingA.join();
  EXPECT_EQ(statusA, JM_ERR_CLOSED);
  EXPECT_TRUE(eventually([&] { return waiters(b) == 1; }));
  EXPECT_EQ(write_byte(b), JM_OK);
  waitingB.join();
  EXPECT_EQ(statusB, JM_OK);
  EXPECT_EQ(waiters(b), 0u);
}

// A lost wake is found after 40 ms at the latest, when the reader looks for itself: 500 rounds would then take 20 s.
TEST(Wait, PingPong) {
  constexpr std::uint64_t kRounds = 500;
  const Watchdog watchdog(seconds(30));
  const Handle ping = create_sealed(8), pong = create_sealed(8);
  const Clock::time_point start = Clock::now();
  const auto left = [&] {
    return std::chrono::nanoseconds(std::max<Clock::duration>(start + seconds(10) - Clock::now(), Clock::duration(0)))
        .count();
  };
  std::thread other([&] {
    const Handle in = again(ping), out = again(pong);
    jm_tensor tensor;
    for (std::uint64_t i = 0; i < kRounds; ++i) {
      ASSERT_EQ(jm_next(in.get(), 2 * i, left(), &tensor), JM_OK) << "round " << i;
      ASSERT_EQ(write_byte(out), JM_OK);
    }
  });
  const Handle in = again(pong), out = again(ping);
  jm_tensor tensor;
  std::uint64_t rounds = 0;
  for (jm_status status = JM_OK; rounds < kRounds && status == JM_OK; ++rounds) {
    EXPECT_EQ(write_byte(out), JM_OK);
    EXPECT_EQ(status = jm_next(in.get(), 2 * rounds, left(), &tensor), JM_OK) << "round " << rounds;
  }
  other.join();
  EXPECT_EQ(jm_version(pong.get()), 2 * kRounds);
}

// Three processes are parked on one segment. Where no commit woke them, they would look after 40 ms: 50 rounds would
// take 2 s.
TEST(Wait, OneCommitWakesAll) {
  constexpr std::uint32_t kReaders = 3;
  const Name name;
  const Handle segment = create(name, 8);
  std::vector<std::unique_ptr<Child>> children;
  for (std::uint32_t i = 0; i < kReaders; ++i) {
    children.push_back(std::make_unique<Child>(std::vector<std::string>{"park", name.text()}));
  }
  Clock::duration took{0};
  for (std::uint64_t version = 2; version <= 100; version += 2) {
    ASSERT_TRUE(eventually([&] { return waiters(segment) == kReaders; }));
    std::this_thread::sleep_for(milliseconds(1));  // from the announcement to the sleep
    const Clock::time_point start = Clock::now();
    ASSERT_EQ(write_byte(segment), JM_OK);
    for (const auto& child : children) ASSERT_EQ(child->line(), std::to_string(version));
    took += Clock::now() - start;
  }
  EXPECT_LT(took, seconds(1));
}

}  // namespace

#endif  // __linux__
