// Streams as their callers see them: waiting, ends, threads, processes, and deaths. JUDEMAP_STRESS ("300ms", "1s", ...)
// sets how long each test that is limited by time runs. Linux.

#include "helper.h"

#ifdef __linux__

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace helper;
using judemap::Frame;
using judemap::Reader;
using judemap::Stream;

#ifdef JM_THREAD_SANITIZER
constexpr int kSlower = 10;
#else
constexpr int kSlower = 1;
#endif

milliseconds stress_time() {
  const char* text = std::getenv("JUDEMAP_STRESS");
  if (text == nullptr || *text == 0) return milliseconds(300);
  char* unit;
  const double number = std::strtod(text, &unit);
  const std::string name = unit;
  const double scale = name == "ms" ? 1 : name == "s" ? 1e3 : name == "m" ? 60e3 : 0;
  if (scale == 0) ADD_FAILURE() << "JUDEMAP_STRESS: " << text << " is no time such as 300ms, 1s or 2m";
  return milliseconds(static_cast<std::int64_t>(number * scale));
}

jm_status write(Stream* stream, std::uint64_t value, std::int64_t timeout = -1) {
  return stream->write(nullptr, 0, JM_UINT64, &value, sizeof value, timeout);
}

std::uint64_t value_of(const jm_tensor& frame) { return *static_cast<const std::uint64_t*>(frame.data); }

jm_stream_header& header_of(const Stream& stream) {
  return *reinterpret_cast<jm_stream_header*>(stream.protocol().header());
}

std::uint64_t all_pins(const Stream& stream) {
  std::uint64_t pins = 0;
  for (std::uint32_t i = 0; i < stream.protocol().slots(); ++i) {
    pins |= reinterpret_cast<std::atomic<std::uint64_t>*>(reinterpret_cast<std::byte*>(stream.protocol().slot(i)) +
                                                          JM_PINS_OFFSET)
                ->load();
  }
  return pins;
}

TEST(Stream, TimeoutsOfBothSides) {
  const Watchdog watchdog(seconds(30));
  Stream stream;
  ASSERT_EQ(stream.create(2, 8), JM_OK);
  Reader reader;
  jm_tensor frame, other;
  EXPECT_EQ(reader.next(0, &frame), JM_ERR_CLOSED) << "it reads no stream";
  ASSERT_EQ(reader.open(&stream), JM_OK);
  EXPECT_EQ(reader.open(&stream), JM_ERR_ARGUMENT);
  for (const std::int64_t timeout : {std::int64_t{0}, 20 * kMillisecond}) {
    const Clock::time_point start = Clock::now();
    EXPECT_EQ(reader.next(timeout, &frame), JM_ERR_TIMEOUT);
    EXPECT_GE(Clock::now() - start, std::chrono::nanoseconds(timeout));
  }
  ASSERT_EQ(write(&stream, 1), JM_OK);
  ASSERT_EQ(reader.next(-1, &frame), JM_OK);
  reader.keep(frame);
  ASSERT_EQ(write(&stream, 2), JM_OK);
  for (const std::int64_t timeout : {std::int64_t{0}, 20 * kMillisecond}) {
    const Clock::time_point start = Clock::now();
    EXPECT_EQ(write(&stream, 3, timeout), JM_ERR_NO_SLOT);
    void* data;
    std::uint64_t length;
    EXPECT_EQ(stream.begin(nullptr, 0, JM_UINT8, &data, &length, timeout), JM_ERR_NO_SLOT);
    EXPECT_EQ(stream.fill(nullptr, 0, JM_UINT8, 1, timeout), JM_ERR_NO_SLOT);
    EXPECT_GE(Clock::now() - start, std::chrono::nanoseconds(3 * timeout));
  }
  EXPECT_EQ(stream.commit(), JM_ERR_ARGUMENT);
  // An error of the caller's is one at once, and nobody's begin.
  void* data;
  std::uint64_t length;
  EXPECT_EQ(stream.begin(nullptr, 0, 99, &data, &length), JM_ERR_DTYPE);
  EXPECT_EQ(stream.write(nullptr, 0, 99, &frame, 8, -1), JM_ERR_DTYPE);
  ASSERT_EQ(reader.next(-1, &other), JM_OK);
  EXPECT_EQ(value_of(frame), 1u);
  EXPECT_EQ(value_of(other), 2u);
  reader.release(frame);
  EXPECT_EQ(write(&stream, 3, 0), JM_OK);
  EXPECT_EQ(reader.missed(), 0u);
}

TEST(Stream, WhatIsKeptStaysPastTheNext) {
  Stream stream;
  ASSERT_EQ(stream.create(5, 8, JM_EVERY_FRAME), JM_OK);
  Reader reader;
  ASSERT_EQ(reader.open(&stream), JM_OK);
  jm_tensor frames[3], last;
  for (std::uint64_t i = 0; i < 3; ++i) {
    ASSERT_EQ(write(&stream, i), JM_OK);
    ASSERT_EQ(reader.next(-1, &frames[i]), JM_OK);
    reader.keep(frames[i]);
  }
  for (std::uint64_t i = 3; i < 20; ++i) {
    ASSERT_EQ(write(&stream, i, 0), JM_OK);
    ASSERT_EQ(reader.next(-1, &last), JM_OK);
    EXPECT_EQ(value_of(last), i);
  }
  for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(value_of(frames[i]), i);
  jm_reader_info infos[JM_STREAM_READERS];
  ASSERT_EQ(stream.protocol().places(infos, true), 1u);
  EXPECT_EQ(infos[0].held, 4u);
  EXPECT_EQ(infos[0].cursor, 21u);
  // A current frame that was released early is not given back a second time: the slot may have another frame by then.
  reader.release(last);
  EXPECT_EQ(reader.next(0, &last), JM_ERR_TIMEOUT);
  for (const jm_tensor& frame : frames) reader.release(frame);
  EXPECT_EQ(all_pins(stream), 0u);
  ASSERT_EQ(write(&stream, 21), JM_OK);
  ASSERT_EQ(reader.next(-1, &last), JM_OK);
  for (const jm_tensor& frame : frames) reader.release(frame);
  EXPECT_EQ(all_pins(stream), 1u);
  reader.close();
  reader.close();
  EXPECT_EQ(all_pins(stream), 0u);
  EXPECT_EQ(reader.next(0, &last), JM_ERR_CLOSED);
  ASSERT_EQ(reader.open(&stream), JM_OK) << "a reader may begin anew";
}

TEST(Stream, AFrameIsGivenBackOnce) {
  Stream stream;
  ASSERT_EQ(stream.create(5, 8, JM_EVERY_FRAME), JM_OK);
  EXPECT_EQ(stream.slots(), 5u);
  EXPECT_EQ(stream.capacity(), 8u);
  EXPECT_TRUE(stream.every_frame());
  EXPECT_EQ(stream.writer(), JM_WRITER_NONE);
  Reader reader;
  Frame frame;
  EXPECT_FALSE(frame);
  EXPECT_EQ(frame->data, nullptr);
  EXPECT_EQ(reader.next(0, &frame), JM_ERR_CLOSED);
  ASSERT_EQ(reader.open(&stream), JM_OK);
  EXPECT_EQ(reader.next(0, &frame), JM_ERR_TIMEOUT);
  const auto held = [&] {
    int slots = 0;
    for (std::uint32_t i = 0; i < stream.slots(); ++i) slots += reader.place().held()[i] != 0;
    return slots;
  };
  const auto next = [&](Frame* out) {
    return write(&stream, stream.version() / 2 + 1, 0) == JM_OK && reader.next(0, out) == JM_OK;
  };
  {
    ASSERT_TRUE(next(&frame));
    Frame other = std::move(frame);
    EXPECT_FALSE(frame);
    EXPECT_EQ(frame->version, 0u);
    ASSERT_TRUE(other);
    EXPECT_EQ(other->version, 2u);
    EXPECT_EQ(value_of(*other), 1u);
    ASSERT_TRUE(next(&frame));
    EXPECT_EQ(held(), 2);
    EXPECT_EQ(value_of(*other), 1u) << "held past the next";
    ASSERT_TRUE(next(&frame));
    EXPECT_EQ(held(), 2) << "another takes its place";
    other = std::move(frame);
    EXPECT_EQ(held(), 1) << "so does one that is moved there";
    EXPECT_EQ(value_of(*other), 3u);
    Frame& same = other;
    other = std::move(same);
    EXPECT_EQ(value_of(*other), 3u);
    // A frame that the caller does not keep is given back by the next call.
    jm_tensor tensor;
    ASSERT_EQ(write(&stream, 4), JM_OK);
    ASSERT_EQ(reader.next(0, &tensor), JM_OK);
    ASSERT_TRUE(next(&frame));
    EXPECT_EQ(held(), 2);
  }
  EXPECT_EQ(held(), 1);
  EXPECT_EQ(reader.next(0, &frame), JM_ERR_TIMEOUT);
  EXPECT_FALSE(frame) << "it was given back first";
  EXPECT_EQ(all_pins(stream), 0u);

  // A frame that was given back with the reader's place can't be given back again.
  ASSERT_TRUE(next(&frame));
  reader.close();
  ASSERT_EQ(reader.open(&stream), JM_OK);
  Frame another;
  ASSERT_TRUE(next(&another));
  frame.release();
  EXPECT_EQ(held(), 1);
  ASSERT_EQ(stream.retire(), JM_OK);
  another.release();
  EXPECT_FALSE(another);
  EXPECT_EQ(reader.next(0, &frame), JM_ERR_CLOSED);
}

// One thread takes frames, and others work on them and give them back.
TEST(Stream, FramesAreGivenBackByOtherThreads) {
  const Watchdog watchdog(seconds(60));
  constexpr std::uint64_t kElements = 64;
  constexpr int kWorkers = 3;
  for (const std::uint32_t flags : {0u, std::uint32_t{JM_EVERY_FRAME}}) {
    SCOPED_TRACE(flags);
    Stream stream;
    ASSERT_EQ(stream.create(2 * kWorkers + 3, 8 * kElements, flags), JM_OK);
    Reader reader;
    ASSERT_EQ(reader.open(&stream), JM_OK);
    std::atomic<bool> over{false}, done{false};
    std::atomic<int> torn{0};
    std::mutex mutex;
    std::vector<Frame> work;
    std::vector<std::thread> threads;
    for (int i = 0; i < kWorkers; ++i) {
      threads.emplace_back([&] {
        while (!done) {
          Frame frame;
          {
            std::lock_guard<std::mutex> hold(mutex);
            if (!work.empty()) {
              frame = std::move(work.back());
              work.pop_back();
            }
          }
          if (!frame) {
            std::this_thread::yield();
          } else if (!whole(*frame, kElements)) {
            ++torn;
          }
        }
      });
    }
    std::thread writer([&] {
      while (!over) commit_frame(&stream, kElements, 10 * kMillisecond);
    });
    std::uint64_t taken = 0;
    for (const Clock::time_point end = Clock::now() + stress_time(); Clock::now() < end;) {
      Frame frame;
      if (reader.next(10 * kMillisecond, &frame) != JM_OK) continue;
      ++taken;
      std::lock_guard<std::mutex> hold(mutex);
      if (work.size() < kWorkers) work.push_back(std::move(frame));
    }
    over = true;
    writer.join();
    done = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_GT(taken, 0u);
    EXPECT_EQ(torn, 0);
    work.clear();
    EXPECT_EQ(all_pins(stream), 0u);
  }
}

// The end of the stream while calls wait. One thread gets frames and keeps them, and another works on them and gives
// them back.
TEST(Stream, WhatIsKeptIsReleasedByAnotherThread) {
  constexpr std::uint64_t kFrames = 2000;
  const Watchdog watchdog(seconds(60));
  Stream stream;
  ASSERT_EQ(stream.create(5, 8, JM_EVERY_FRAME), JM_OK);
  Reader reader;
  ASSERT_EQ(reader.open(&stream), JM_OK);
  std::atomic<std::uint64_t> kept{0}, released{0};
  jm_tensor frames[2];  // frame i is at i % 2
  std::thread writing([&] {
    for (std::uint64_t i = 0; i < kFrames; ++i) EXPECT_EQ(write(&stream, i), JM_OK);
  });
  std::thread working([&] {
    for (std::uint64_t i = 0; i < kFrames; ++i) {
      while (kept.load() <= i) std::this_thread::yield();
      EXPECT_EQ(value_of(frames[i % 2]), i);
      reader.release(frames[i % 2]);
      released.store(i + 1);
    }
  });
  for (std::uint64_t i = 0; i < kFrames; ++i) {
    while (i >= released.load() + 2) std::this_thread::yield();
    EXPECT_EQ(reader.next(-1, &frames[i % 2]), JM_OK);
    reader.keep(frames[i % 2]);
    kept.store(i + 1);
  }
  writing.join();
  working.join();
  EXPECT_EQ(all_pins(stream), 0u);
}

TEST(Stream, RetireEndsWhoWaits) {
  const Watchdog watchdog(seconds(60));
  for (const bool shared : {false, true}) {
    SCOPED_TRACE(shared);
    Stream stream;
    ASSERT_EQ(shared ? create_sealed(&stream, 2, 8) : stream.create(2, 8), JM_OK);
    Reader holding, parked;
    jm_tensor frame, other = {};
    ASSERT_EQ(holding.open(&stream), JM_OK);
    ASSERT_EQ(write(&stream, 1), JM_OK);
    ASSERT_EQ(holding.next(-1, &frame), JM_OK);
    holding.keep(frame);
    ASSERT_EQ(write(&stream, 2), JM_OK);
    ASSERT_EQ(parked.open(&stream), JM_OK);
    jm_status read = JM_OK, written = JM_OK;
    std::thread reader([&] { read = parked.next(-1, &other); });
    std::thread writer([&] { written = write(&stream, 3); });
    EXPECT_TRUE(eventually([&] { return header_of(stream).waiters == 1 && header_of(stream).writer_waits == 1; }));
    EXPECT_EQ(value_of(frame), 1u);
    EXPECT_EQ(stream.retire(), JM_OK);
    reader.join();
    writer.join();
    EXPECT_EQ(read, JM_ERR_CLOSED);
    EXPECT_EQ(written, JM_ERR_CLOSED);
    EXPECT_EQ(value_of(frame), 0u);
    holding.release(frame);
    EXPECT_EQ(holding.next(-1, &frame), JM_ERR_CLOSED);
    EXPECT_EQ(write(&stream, 3), JM_ERR_CLOSED);
    EXPECT_EQ(stream.retire(), JM_OK);
    Reader late;
    EXPECT_EQ(late.open(&stream), JM_ERR_CLOSED);
    holding.close();
  }
}

// A stream ends while readers and writers use it. Nobody crashes, and nobody waits for ever.
TEST(Stream, RetireBesideEverybody) {
#ifdef JM_THREAD_SANITIZER
  GTEST_SKIP() << "it takes the mapping that puts zeros there for a store that races with every look at the header";
#endif
  const Watchdog watchdog(seconds(120));
  for (int round = 0; round < 60; ++round) {
    Stream stream;
    const std::uint32_t policy = round % 2 == 0 ? 0 : JM_EVERY_FRAME;
    ASSERT_EQ(round % 4 < 2 ? stream.create(4, 512, policy) : create_sealed(&stream, 4, 512, policy), JM_OK);
    std::atomic<int> running{0};
    std::vector<std::thread> threads;
    Reader readers[2];
    for (Reader& reader : readers) {
      ASSERT_EQ(reader.open(&stream), JM_OK);
      threads.emplace_back([&] {
        jm_tensor frame, kept = {};
        for (jm_status status; (status = reader.next(-1, &frame)) != JM_ERR_CLOSED;) {
          ASSERT_EQ(status, JM_OK);
          reader.keep(frame);
          reader.release(kept);
          kept = frame;
          ++running;
        }
        reader.release(kept);
      });
    }
    threads.emplace_back([&] {
      while (commit_frame(&stream, 64) == JM_OK) continue;
    });
    threads.emplace_back([&] {
      for (;;) {
        Reader coming;
        if (coming.open(&stream) != JM_OK) break;
        jm_tensor frame;
        coming.next(kMillisecond, &frame);
      }
    });
    while (running < 20) std::this_thread::yield();
    EXPECT_EQ(stream.retire(), JM_OK);
    for (std::thread& thread : threads) thread.join();
  }
}

// A frame that one thread began and another ends. Other writers wait meanwhile.
TEST(Stream, BeginAndCommitOfTwoThreads) {
  Stream stream;
  ASSERT_EQ(stream.create(3, 8), JM_OK);
  void* data = nullptr;
  std::uint64_t length = 0;
  for (const bool give_up : {false, true}) {
    std::thread([&] {
      ASSERT_EQ(stream.begin(nullptr, 0, JM_UINT64, &data, &length), JM_OK);
      *static_cast<std::uint64_t*>(data) = 5;
    }).join();
    std::atomic<bool> done{false};
    std::thread writer([&] {
      EXPECT_EQ(write(&stream, 6), JM_OK);
      done = true;
    });
    std::this_thread::sleep_for(milliseconds(10));
    EXPECT_FALSE(done);
    const std::uint64_t version = stream.protocol().version();
    std::thread([&] { EXPECT_EQ(give_up ? stream.abort() : stream.commit(), JM_OK); }).join();
    writer.join();
    EXPECT_EQ(stream.protocol().version(), version + (give_up ? 2 : 4));
    EXPECT_EQ(stream.commit(), JM_ERR_ARGUMENT);
    EXPECT_EQ(stream.abort(), JM_ERR_ARGUMENT);
  }
}

// No wake is lost. A writer that is parked for a slot and readers that are parked for a frame go on at once, thousands
// of times. A lost wake would show as a pause of 40 ms, or of a second.
TEST(Stream, PingPong) {
  const Watchdog watchdog(seconds(240));
  constexpr int kFrames = 4000 / kSlower;
  const struct {
    bool shared;
    std::int64_t spin;
  } cases[] = {{false, 0}, {true, 0}, {false, 20'000}, {true, 20'000}};
  for (const auto& c : cases) {
    SCOPED_TRACE(testing::Message() << (c.shared ? "shared" : "private") << ", spin " << c.spin);
    Stream stream;
    ASSERT_EQ(c.shared ? create_sealed(&stream, 2, 8, JM_EVERY_FRAME) : stream.create(2, 8, JM_EVERY_FRAME), JM_OK);
    stream.protocol().set_spin(c.spin);
    std::atomic<int> stalls{0};
    std::atomic<bool> over{false};
    const auto stalled = [&](Clock::time_point since) {
      if (Clock::now() - since < milliseconds(35)) return false;
      if (++stalls > kFrames / 100) over = true;
      return over.load();
    };
    std::vector<std::thread> threads;
    Reader readers[2];
    for (Reader& reader : readers) {
      ASSERT_EQ(reader.open(&stream), JM_OK);
      threads.emplace_back([&] {
        for (std::uint64_t i = 1; i <= kFrames && !over; ++i) {
          const Clock::time_point start = Clock::now();
          jm_tensor frame;
          const jm_status status = reader.next(5 * kSecond, &frame);
          if (over) break;
          ASSERT_EQ(status, JM_OK);
          ASSERT_EQ(value_of(frame), i);
          if (stalled(start)) break;
        }
        reader.close();
      });
    }
    for (std::uint64_t i = 1; i <= kFrames && !over; ++i) {
      const Clock::time_point start = Clock::now();
      const jm_status status = write(&stream, i, 5 * kSecond);
      if (over) break;
      ASSERT_EQ(status, JM_OK);
      if (stalled(start)) break;
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_LE(stalls, kFrames / 100);
    EXPECT_FALSE(over);
  }
}

// Readers that come and go while a writer never pauses get everything that was committed after they came.
TEST(Stream, JoiningBesideAWriter) {
  const Watchdog watchdog(seconds(240));
  const Clock::time_point enough = Clock::now() + stress_time();
  Stream stream;
  ASSERT_EQ(stream.create(2, 8, JM_EVERY_FRAME), JM_OK);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::uint64_t i = 1; !stop; ++i) ASSERT_EQ(write(&stream, i, -1), JM_OK);
  });
  long joined = 0;
  while (Clock::now() < enough && !testing::Test::HasFailure()) {
    Reader reader;
    jm_tensor frame;
    EXPECT_EQ(reader.open(&stream), JM_OK);
    for (std::uint64_t i = 0, last = 0; i < 3; ++i, last = frame.version) {
      EXPECT_EQ(reader.next(10 * kSecond, &frame), JM_OK);
      EXPECT_EQ(value_of(frame), frame.version / 2);
      if (i != 0) {
        EXPECT_EQ(frame.version, last + 2);
      }
    }
    EXPECT_EQ(reader.missed(), 0u);
    ++joined;
  }
  stop = true;
  writer.join();
  EXPECT_GT(joined, 10);
  EXPECT_EQ(all_pins(stream), 0u);
  EXPECT_EQ(header_of(stream).readers, 0u);
}

class StreamStress : public testing::TestWithParam<std::tuple<std::uint32_t, bool>> {};

// Readers that hold and keep frames, one that copies, and writers as fast as they can.
TEST_P(StreamStress, AllThatIsHeldStaysWhole) {
  const std::uint32_t policy = std::get<0>(GetParam());
  const bool shared = std::get<1>(GetParam());
  const Watchdog watchdog(seconds(240));
  constexpr std::uint64_t kElements = 512;
  constexpr int kReaders = 3;
  Stream stream;
  // Each reader holds two frames at most: with the newest and one to write to, there is always a slot.
  const std::uint32_t slots = 2 * kReaders + 2;
  const std::uint64_t bytes = 8 * kElements;
  ASSERT_EQ(shared ? create_sealed(&stream, slots, bytes, policy) : stream.create(slots, bytes, policy), JM_OK);
  std::unique_ptr<Stream> handles[kReaders];
  Reader readers[kReaders];
  std::vector<std::thread> threads;
  const Clock::time_point enough = Clock::now() + stress_time();
  std::atomic<bool> stop{false};
  for (int i = 0; i < kReaders; ++i) {
    Stream* handle = &stream;
    if (shared) {
      handles[i] = std::make_unique<Stream>();
      int descriptor;
      ASSERT_EQ(stream.protocol().open_again(true, &descriptor), JM_OK);
      ASSERT_EQ(handles[i]->open(descriptor), JM_OK);
      ASSERT_EQ(close(descriptor), 0);
      handle = handles[i].get();
    }
    ASSERT_EQ(readers[i].open(handle), JM_OK);
    threads.emplace_back([&, i] { EXPECT_EQ(read_frames(&readers[i], kElements, [&] { return stop.load(); }), ""); });
  }
  threads.emplace_back([&] {
    std::vector<std::int64_t> copy(kElements);
    std::uint64_t last = 0;
    long copies = 0;
    while (!stop || copies == 0) {
      jm_tensor frame;
      const jm_status status = stream.protocol().try_read_into(last, copy.data(), bytes, &frame);
      if (status == JM_ERR_EMPTY || status == JM_ERR_BUSY) {
        std::this_thread::yield();
        continue;
      }
      ASSERT_EQ(status, JM_OK);
      ASSERT_TRUE(whole(frame, kElements));
      ASSERT_GT(frame.version, last);
      last = frame.version;
      ++copies;
    }
  });
  std::uint64_t frames = 0;
  while ((Clock::now() < enough || frames < 1000) && !testing::Test::HasFailure()) {
    // Without JM_EVERY_FRAME the writer never waits.
    EXPECT_EQ(commit_frame(&stream, kElements, policy == 0 ? 0 : -1), JM_OK);
    ++frames;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  for (Reader& reader : readers) reader.close();
  EXPECT_EQ(all_pins(stream), 0u);
  EXPECT_EQ(header_of(stream).readers, 0u);
}

INSTANTIATE_TEST_SUITE_P(, StreamStress,
                         testing::Combine(testing::Values(0u, JM_EVERY_FRAME), testing::Values(false, true)));

class StreamRace : public testing::TestWithParam<std::uint32_t> {};

INSTANTIATE_TEST_SUITE_P(, StreamRace, testing::Values(0u, JM_EVERY_FRAME));

// Attempts follow each other as fast as possible, with two slots, so that the writer always wants the slot that a
// reader is about to take.
TEST_P(StreamRace, TheWriterOrTheReaderSeesTheOther) {
  constexpr std::uint64_t kWords = 16;
  const Clock::time_point enough = Clock::now() + stress_time();
  judemap::StreamProtocol stream;
  ASSERT_EQ(stream.create(2, 8 * kWords, GetParam()), JM_OK);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  judemap::StreamProtocol::Reader readers[2];
  for (auto& reader : readers) {
    ASSERT_EQ(stream.join(&reader), JM_OK);
    threads.emplace_back([&] {
      std::uint64_t last = 0;
      unsigned in_vain = 0;
      while (!stop) {
        jm_tensor frame;
        const jm_status status = stream.take(&reader, &frame);
        if (status == JM_ERR_EMPTY || status == JM_ERR_BUSY) {
          if (++in_vain % 4096 == 0) std::this_thread::yield();  // a processor for the writer
          continue;
        }
        ASSERT_EQ(status, JM_OK);
        ASSERT_GT(frame.version, last);
        if (GetParam() == JM_EVERY_FRAME && last != 0) {
          ASSERT_EQ(frame.version, last + 2);
        }
        last = frame.version;
        for (int look = 0; look < 4; ++look) {
          for (std::uint64_t word = 0; word < kWords; ++word) {
            ASSERT_EQ(static_cast<const volatile std::uint64_t*>(frame.data)[word], frame.version / 2);
          }
        }
        stream.release(&reader, frame);
      }
    });
  }
  std::uint64_t words[kWords], frame = 0;
  unsigned in_vain = 0;
  while ((Clock::now() < enough || frame < 100) && !testing::Test::HasFailure()) {
    for (int i = 0; i < 1000; ++i) {
      std::fill_n(words, kWords, frame + 1);
      const jm_status status = stream.write(&kWords, 1, JM_UINT64, words, sizeof words);
      if (status == JM_ERR_NO_SLOT) {
        if (++in_vain % 4096 == 0) std::this_thread::yield();
        continue;
      }
      ASSERT_EQ(status, JM_OK);
      ++frame;
    }
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  for (auto& reader : readers) stream.leave(&reader);
}

TEST(Stream, NamesDescriptorsAndOneWriter) {
  const Name name;
  Stream stream, second, reading;
  ASSERT_EQ(stream.create(name.text(), 3, 8), JM_OK);
  EXPECT_EQ(second.create(name.text(), 3, 8), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(second.open("no/name"), JM_ERR_NAME);
  ASSERT_EQ(second.open(name.text()), JM_OK);
  EXPECT_EQ(second.protocol().slots(), 3u);
  EXPECT_FALSE(second.protocol().every_frame());
  EXPECT_EQ(second.protocol().capacity(), 8u);
  ASSERT_EQ(write(&stream, 1), JM_OK);
  EXPECT_EQ(write(&second, 2), JM_ERR_WRITER_ACTIVE);
  EXPECT_EQ(second.protocol().writer(), JM_WRITER_OTHER);
  Reader reader;
  jm_tensor frame;
  ASSERT_EQ(reader.open(&second), JM_OK);
  ASSERT_EQ(write(&stream, 3), JM_OK);
  ASSERT_EQ(reader.next(kSecond, &frame), JM_OK);
  EXPECT_EQ(value_of(frame), 3u);
  // The next writer continues where the previous one ended. Slots that are held stay held.
  ASSERT_EQ(stream.retire(), JM_OK);
  EXPECT_EQ(second.protocol().writer(), JM_WRITER_NONE);
  reader.keep(frame);
  for (std::uint64_t i = 4; i < 10; ++i) ASSERT_EQ(write(&second, i, 0), JM_OK);
  EXPECT_EQ(value_of(frame), 3u);
  EXPECT_EQ(second.protocol().version(), 16u);
  ASSERT_EQ(Stream::remove(name.text()), JM_OK);
  EXPECT_EQ(reading.open(name.text()), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
}

TEST(Stream, SealedAgainstWriting) {
  Stream stream;
  ASSERT_EQ(stream.create_sealed(2, 8, JM_SEAL_WRITES), JM_OK);
  ASSERT_EQ(write(&stream, 7), JM_OK);
  int descriptor;
  ASSERT_EQ(stream.protocol().open_again(false, &descriptor), JM_OK);
  const File file(descriptor);
  Stream writing, reading;
  EXPECT_NE(writing.open(descriptor), JM_OK);
  ASSERT_EQ(reading.open(descriptor, JM_READ_ONLY), JM_OK);
  Reader reader;
  EXPECT_EQ(reader.open(&reading), JM_ERR_READ_ONLY);
  std::uint64_t copy = 0;
  jm_tensor frame;
  EXPECT_EQ(reading.protocol().try_read_into(0, &copy, 8, &frame), JM_OK);
  EXPECT_EQ(copy, 7u);
  EXPECT_EQ(write(&reading, 1), JM_ERR_READ_ONLY);
  EXPECT_EQ(reading.retire(), JM_OK);
  EXPECT_EQ(write(&stream, 8), JM_OK);
}

// Readers of other processes that died hold up a writer for 100 ms at most. The best of three, as a busy machine adds
// to each.
TEST(StreamDeaths, AReadersIsNoticedSoon) {
  const struct {
    const char* what;
    std::uint32_t policy;
    std::vector<std::string> role;
  } cases[] = {
      {"it has joined", JM_EVERY_FRAME, {"stream-join"}},
      {"it holds a frame", JM_EVERY_FRAME, {"stream-hold", "1"}},
      {"it holds all but one", 0, {"stream-hold", "2"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    Clock::duration best = seconds(100);
    for (int i = 0; i < 3; ++i) {
      const Name name;
      Stream stream;
      ASSERT_EQ(stream.create(name.text(), c.policy == 0 ? 3 : 2, 8, 0600, c.policy), JM_OK);
      std::vector<std::string> role = {c.role[0], name.text()};
      role.insert(role.end(), c.role.begin() + 1, c.role.end());
      Child child(role);
      ASSERT_EQ(child.line(), "ready");
      std::uint64_t written = 0;
      if (c.role.size() > 1) {
        ASSERT_EQ(write(&stream, ++written), JM_OK);
        ASSERT_TRUE(eventually([&] { return all_pins(stream) == 1; }));
        if (c.policy == 0) {
          ASSERT_EQ(write(&stream, ++written), JM_OK);
        }
        ASSERT_EQ(child.line(), "ready");
      }
      while (write(&stream, ++written, 0) == JM_OK) ASSERT_LT(written, 10u);
      EXPECT_EQ(write(&stream, 1, 60 * kMillisecond), JM_ERR_NO_SLOT) << "it lives";
      jm_status status = JM_ERR_BUSY;
      Clock::time_point woken;
      std::thread writer([&] {
        status = write(&stream, 1, 10 * kSecond);
        woken = Clock::now();
      });
      EXPECT_TRUE(eventually([&] { return header_of(stream).writer_waits == 1; }));
      const Clock::time_point start = Clock::now();
      child.kill();
      writer.join();
      EXPECT_EQ(status, JM_OK);
      best = std::min(best, woken - start);
      EXPECT_EQ(all_pins(stream), 0u);
      EXPECT_EQ(header_of(stream).readers, 0u);
    }
    EXPECT_LT(best, milliseconds(100));
  }
}

TEST(StreamDeaths, AWritersIsNoticedSoon) {
  Clock::duration best = seconds(100);
  for (int i = 0; i < 3; ++i) {
    const Name name;
    Stream stream;
    ASSERT_EQ(stream.create(name.text(), 3, 8 * 64, 0600, JM_EVERY_FRAME), JM_OK);
    Reader reader;
    ASSERT_EQ(reader.open(&stream), JM_OK);
    Child child({"stream-write", name.text(), "64"});
    jm_tensor frame;
    for (std::uint64_t n = 1; n <= 100; ++n) {
      ASSERT_EQ(reader.next(20 * kSecond, &frame), JM_OK);
      ASSERT_EQ(frame.version, 2 * n);
    }
    EXPECT_EQ(commit_frame(&stream, 64), JM_ERR_WRITER_ACTIVE);
    child.kill();
    const Clock::time_point start = Clock::now();
    jm_status status;
    std::uint64_t last = frame.version;
    // What the dead writer had committed is still there.
    for (; (status = reader.next(10 * kSecond, &frame)) == JM_OK; last = frame.version) {
      ASSERT_EQ(frame.version, last + 2);
      ASSERT_TRUE(whole(frame, 64));
    }
    EXPECT_EQ(status, JM_ERR_WRITER_DIED);
    best = std::min(best, Clock::now() - start);
    EXPECT_EQ(stream.protocol().writer(), JM_WRITER_DIED);
    ASSERT_EQ(commit_frame(&stream, 64), JM_OK);
    // First comes the frame that it may have committed in the slot only.
    ASSERT_EQ(reader.next(kSecond, &frame), JM_OK);
    EXPECT_EQ(frame.version, last + 2);
    EXPECT_TRUE(whole(frame, 64));
  }
  EXPECT_LT(best, milliseconds(100));
}

class StreamKills : public testing::TestWithParam<std::uint32_t> {};

INSTANTIATE_TEST_SUITE_P(, StreamKills, testing::Values(0u, JM_EVERY_FRAME));

// Writers and readers are killed at any time. Those that live see whole frames, in order, and as many as the policy
// says. In the end nothing is held by the dead.
TEST_P(StreamKills, AtAnyTime) {
  const Watchdog watchdog(seconds(240));
  constexpr std::uint64_t kElements = 256;
  constexpr std::uint32_t kSlots = 5;
  const std::string elements = std::to_string(kElements);
  const Name name;
  Stream stream;
  ASSERT_EQ(stream.create(name.text(), kSlots, 8 * kElements, 0600, GetParam()), JM_OK);
  Reader living;
  ASSERT_EQ(living.open(&stream), JM_OK);
  std::atomic<bool> stop{false};
  std::string wrong;
  std::thread reading([&] { wrong = read_frames(&living, kElements, [&] { return stop.load(); }); });
  {
    const std::vector<std::string> roles[] = {{"stream-write", name.text(), elements},
                                              {"stream-write", name.text(), elements},
                                              {"stream-read", name.text(), elements},
                                              {"stream-read", name.text(), elements}};
    std::unique_ptr<Child> children[std::size(roles)];
    for (std::size_t i = 0; i < std::size(roles); ++i) children[i] = std::make_unique<Child>(roles[i]);
    std::mt19937 random(static_cast<unsigned>(getpid()));
    const Clock::time_point enough = Clock::now() + stress_time();
    // Where a process takes long to start, most are killed before they have written.
    const auto few = [&] {
      return stream.protocol().version() <= 20 && Clock::now() < enough + std::chrono::seconds(20);
    };
    for (int kills = 0; Clock::now() < enough || kills < 10 || few(); ++kills) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
      const std::size_t i = random() % std::size(roles);
      children[i]->kill();
      ASSERT_EQ(children[i]->line(), "");
      children[i] = std::make_unique<Child>(roles[i]);
    }
    for (auto& child : children) {
      child->kill();
      EXPECT_EQ(child->line(), "");
    }
  }
  EXPECT_GT(stream.protocol().version(), 20u);
  stop = true;
  reading.join();
  EXPECT_EQ(wrong, "");
  living.close();
  // All slots are held by a living reader. The writer looks for dead ones.
  Reader holder;
  ASSERT_EQ(holder.open(&stream), JM_OK);
  jm_status status;
  std::uint32_t held = 0;
  while ((status = commit_frame(&stream, kElements, kSecond / 5)) == JM_OK && held <= kSlots) {
    jm_tensor frame;
    // A frame that a dead writer had committed in its slot comes before the one written here.
    while (holder.next(0, &frame) == JM_OK) {
      ASSERT_TRUE(whole(frame, kElements));
      holder.keep(frame);
      ++held;
    }
  }
  EXPECT_EQ(status, JM_ERR_NO_SLOT);
  EXPECT_EQ(held, kSlots);
  jm_reader_info infos[JM_STREAM_READERS];
  ASSERT_EQ(stream.protocol().places(infos, true), 1u) << "a place of a dead one is left";
  EXPECT_EQ(infos[0].dead, 0u);
  holder.close();
  EXPECT_EQ(all_pins(stream), 0u);
  EXPECT_EQ(header_of(stream).readers, 0u);
}

}  // namespace

#endif  // __linux__
