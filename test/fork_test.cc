// What a forked child, with its copies of handles, descriptors and mappings, must not do to its parent, and what it can
// do. Linux.

#include "helper.h"

#ifdef __linux__

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace helper;

// Runs `body` in a forked child, and returns what it returns; -1 if the child crashes, and -2 if it does not end.
template <class Body>
int in_child(Body&& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  if (eventually([&] { return waitpid(child, &status, WNOHANG) == child; })) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return -2;
}

// Another process writes, and forks a child that goes on living. The child's mapping keeps the file open even without a
// descriptor. When the process dies, the child must not keep its lock.
TEST(Fork, AChildDoesNotKeepADeadWritersLock) {
  for (const char* role : {"fork", "fork-close", "fork-begin"}) {
    SCOPED_TRACE(role);
    const Name name;
    const Handle segment = create(name, 8);
    Child writer({role, name.text()});
    const pid_t child = std::atoi(writer.line().c_str());
    ASSERT_GT(child, 0);
    EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_OTHER);
    EXPECT_EQ(write_byte(segment), JM_ERR_WRITER_ACTIVE);
    writer.kill();
    EXPECT_EQ(kill(child, 0), 0) << "the child is gone";
    jm_tensor tensor;
    const Clock::time_point start = Clock::now();
    EXPECT_EQ(jm_next(segment.get(), 2, 10 * kSecond, &tensor), JM_ERR_WRITER_DIED);
    EXPECT_LT(Clock::now() - start, seconds(1));
    EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_DIED);
    // A child in the middle of its parent's commit reads until the parent is dead, and is told so.
    if (std::string(role) == "fork-begin") {
      EXPECT_EQ(writer.line(), std::to_string(JM_ERR_WRITER_DIED));
    }
    EXPECT_EQ(write_byte(segment), JM_OK);
    kill(child, SIGKILL);
  }
}

// When a child ends, whether it frees its handles or not, the parent's handles still work.
TEST(Fork, TheEndOfAChildIsNotItsParents) {
  const Watchdog watchdog(seconds(60));
  const Name name;
  Handle writer = create(name, 8);
  const Handle reader = open_name(name), other = open_name(name);
  ASSERT_EQ(write_byte(writer), JM_OK);
  jm_status status = JM_ERR_BUSY;
  std::thread waiting([&] {
    jm_tensor tensor;
    status = jm_next(reader.get(), 2, -1, &tensor);
  });
  EXPECT_TRUE(eventually([&] { return waiters(other) == 1; }));
  const struct {
    const char* name;
    int (*end)(jm_segment* writer, jm_segment* reader);
  } ends[] = {
      {"exit", [](jm_segment*, jm_segment*) { return 0; }},
      {"free",
       [](jm_segment* w, jm_segment* r) {
         jm_free(w);
         jm_free(r);
         return 0;
       }},
      {"retire",
       [](jm_segment* w, jm_segment* r) {
         return jm_retire(w) == JM_OK && jm_retire(r) == JM_OK && jm_version(w) == 0 ? 0 : 1;
       }},
      {"close",
       [](jm_segment* w, jm_segment* r) {
         jm_protocol_close(w);
         jm_protocol_close(r);
         jm_mapping_wake(jm_segment_mapping(w));
         return jm_mapping_retire(jm_segment_mapping(w)) == JM_OK && jm_mapping_retire(jm_segment_mapping(r)) == JM_OK
                    ? 0
                    : 1;
       }},
  };
  for (const auto& end : ends) {
    SCOPED_TRACE(end.name);
    EXPECT_EQ(in_child([&] { return end.end(writer.get(), reader.get()); }), 0);
    EXPECT_NE(jm_base(other.get())->flags & JM_FLAG_WRITER_ATTACHED, 0u);
    EXPECT_EQ(waiters(other), 1u);
    EXPECT_EQ(jm_writer_state(other.get()), JM_WRITER_OTHER);
    EXPECT_EQ(write_byte(other), JM_ERR_WRITER_ACTIVE);
  }
  EXPECT_EQ(write_byte(writer), JM_OK);
  waiting.join();
  EXPECT_EQ(status, JM_OK);
}

// What a child gets from every function of the C interface: reading, and JM_ERR_FORKED. Locks of the handle are held
// meanwhile by threads that the child does not have.
TEST(Fork, WhatAChildMayDo) {
  const Watchdog watchdog(seconds(60));
  for (const bool shared : {true, false}) {
    SCOPED_TRACE(shared);
    Handle segment = shared ? create_sealed(8) : create_private(8);
    ASSERT_EQ(write_byte(segment, 42), JM_OK);
    jm_parker* parker;
    jm_watch* watch;
    ASSERT_EQ(jm_parker_new(&parker, nullptr), JM_OK);
    ASSERT_EQ(jm_watch_new(parker, segment.get(), 1, &watch, nullptr), JM_OK);
    ASSERT_EQ(jm_watch_arm(watch, 2), JM_OK);
    const auto child = [&](bool committing) {
      jm_segment* s = segment.get();
      const std::uint64_t shape = 1;
      std::uint8_t byte = 1;
      jm_tensor tensor = {};
      jm_watch* none;
      void* data;
      std::uint64_t length;
      int descriptor;
      const struct {
        const char* call;
        jm_status status;
      } refused[] = {
          {"jm_write", jm_write(s, &shape, 1, JM_UINT8, &byte, 1)},
          {"jm_fill", jm_fill(s, &shape, 1, JM_UINT8, 1)},
          {"jm_begin", jm_begin(s, &shape, 1, JM_UINT8, &data, &length)},
          {"jm_commit", jm_commit(s)},
          {"jm_abort", jm_abort(s)},
          {"jm_next", jm_next(s, 0, -1, &tensor)},
          {"jm_descriptor", jm_descriptor(s, 0, &descriptor)},
          {"jm_pin", jm_pin(s)},
          {"jm_watch_new", jm_watch_new(parker, s, 2, &none, nullptr)},
          {"jm_watch_arm", jm_watch_arm(watch, 2)},
          {"jm_protocol_write", jm_protocol_write(s, &shape, 1, JM_UINT8, &byte, 1)},
          {"jm_protocol_fill", jm_protocol_fill(s, &shape, 1, JM_UINT8, 1)},
          {"jm_protocol_begin", jm_protocol_begin(s, &shape, 1, JM_UINT8, &data, &length)},
          {"jm_protocol_commit", jm_protocol_commit(s)},
          {"jm_protocol_abort", jm_protocol_abort(s)},
          {"jm_mapping_park", jm_mapping_park(jm_segment_mapping(s), jm_version(s), -1)},
          {"jm_mapping_descriptor", jm_mapping_descriptor(jm_segment_mapping(s), 0, &descriptor)},
          {"jm_mapping_watch_new", jm_mapping_watch_new(parker, jm_segment_mapping(s), 3, &none, nullptr)},
          {"jm_mapping_pin", jm_mapping_pin(jm_segment_mapping(s))},
          {"jm_register_cuda", jm_register_cuda(s, 0, nullptr, 0)},
          {"jm_unregister_cuda", jm_unregister_cuda(s, nullptr, 0)},
          {"jm_mapping_register_cuda", jm_mapping_register_cuda(jm_segment_mapping(s), 0, nullptr, 0)},
          {"jm_mapping_unregister_cuda", jm_mapping_unregister_cuda(jm_segment_mapping(s), nullptr, 0)},
      };
      int wrong = 0;
      for (const auto& call : refused) {
        if (call.status == JM_ERR_FORKED) continue;
        std::fprintf(stderr, "%s gives %d (%s) in a child\n", call.call, call.status, jm_strerror(call.status));
        ++wrong;
      }
      const jm_status expected = committing ? JM_ERR_BUSY : JM_OK;
      std::uint8_t copy = 0;
      wrong += jm_try_read(s, &tensor) != expected;
      wrong += jm_try_read_into(s, &copy, 1, &tensor) != expected;
      wrong += jm_protocol_try_read(s, &tensor) != expected;
      wrong += jm_protocol_try_read_into(s, &copy, 1, &tensor) != expected;
      if (!committing) {
        wrong += jm_read(s, &tensor) != JM_OK || *static_cast<const std::uint8_t*>(tensor.data) != 42;
        wrong += !jm_valid(s, &tensor) || tensor.version != 2;
        wrong += jm_read_into(s, &copy, 1, &tensor) != JM_OK || copy != 42;
        wrong += jm_corrupt_field(s, &tensor) != nullptr;
      } else if (!shared) {
        // A copy of private memory stays in the middle of a commit for ever, because nobody else writes to it.
        wrong += jm_read(s, &tensor) != JM_ERR_CORRUPT;
        wrong += jm_read_into(s, &copy, 1, &tensor) != JM_ERR_CORRUPT;
      }
      wrong += jm_version(s) != (committing ? 3u : 2u);
      wrong += jm_capacity(s) != 8 || jm_base(s) == nullptr || jm_is_pinned(s) != 0;
      wrong += jm_writer_state(s) == JM_WRITER_HERE;
      jm_stats stats = {};
      jm_get_stats(s, &stats);
      wrong += stats.commits != 1;
      jm_set_poll(s, 1);
      jm_set_threads(s, 1);
      jm_unpin(s);
      jm_mapping* const m = jm_segment_mapping(s);
      wrong += jm_device_address(s, jm_base(s)) != 0 || jm_mapping_device_address(m, jm_base(s)) != 0;
      wrong += jm_mapping_capacity(m) != 8 || jm_mapping_base(m) != jm_base(s);
      wrong += jm_mapping_writer_state(m) == JM_WRITER_HERE;
      jm_mapping_get_stats(m, &stats);
      jm_mapping_set_poll(m, 1);
      jm_mapping_set_threads(m, 1);
      jm_mapping_unpin(m);
      jm_mapping_wake(m);
      std::uint64_t token;
      wrong += jm_parker_next(parker) != 0;
      wrong += jm_parker_wait(parker, 0, &token, 1) != 0;
      wrong += jm_parker_threads(parker) != 0;
      jm_watch_disarm(watch);
      jm_parker_stop(parker);
      jm_watch_free(watch);
      jm_parker_free(parker);
      wrong += jm_retire(s) != JM_OK;
      jm_free(s);
      // A segment of its own is the child's.
      jm_segment* own;
      wrong += jm_new(8, 0, &own) != JM_OK;
      wrong += jm_fill(own, nullptr, 0, JM_UINT8, 1) != JM_OK;
      jm_free(own);
      return wrong;
    };
    EXPECT_EQ(in_child([&] { return child(false); }), 0);
    EXPECT_EQ(waiters(segment), 1u);
    EXPECT_EQ(jm_version(segment.get()), 2u);

    // With an update begun, and another thread in the queue of writers.
    void* data;
    std::uint64_t length;
    ASSERT_EQ(jm_begin(segment.get(), nullptr, 0, JM_UINT8, &data, &length), JM_OK);
    std::thread queued([&] { EXPECT_EQ(write_byte(segment, 44), JM_OK); });
    std::thread waiting([&] {
      std::uint64_t token = 0;
      EXPECT_EQ(jm_parker_wait(parker, 0, &token, 1), 1u);
      EXPECT_EQ(token, 1u);
    });
    std::this_thread::sleep_for(milliseconds(20));
    EXPECT_EQ(in_child([&] { return child(true); }), 0);
    EXPECT_EQ(jm_version(segment.get()), 3u) << "the child ended its parent's commit";
    if (shared) {
      // A call that waits ends with the commit.
      const pid_t reading = fork();
      if (reading == 0) {
        jm_tensor tensor;
        std::uint8_t copy = 0;
        _exit(jm_read(segment.get(), &tensor) != JM_OK || jm_read_into(segment.get(), &copy, 1, &tensor) != JM_OK ||
              copy < 43);
      }
      std::this_thread::sleep_for(milliseconds(20));
      int status = 1;
      EXPECT_EQ(waitpid(reading, &status, WNOHANG), 0) << "it did not wait";
      *static_cast<std::uint8_t*>(data) = 43;
      EXPECT_EQ(jm_commit(segment.get()), JM_OK);
      EXPECT_TRUE(eventually([&] { return waitpid(reading, &status, WNOHANG) == reading; }));
      EXPECT_EQ(status, 0);
    } else {
      EXPECT_EQ(jm_commit(segment.get()), JM_OK);
    }
    queued.join();
    waiting.join();
    jm_watch_free(watch);
    jm_parker_free(parker);
    EXPECT_EQ(jm_version(segment.get()), 6u);
  }
}

// The same for streams. A child can use none of the parent's, and its end gives back nothing of the parent's.
TEST(Fork, WhatAChildMayDoWithAStream) {
  const Watchdog watchdog(seconds(60));
  for (const bool shared : {true, false}) {
    SCOPED_TRACE(shared);
    jm_stream* stream;
    jm_reader *reader, *place;
    const std::uint64_t shape = 1;
    std::uint8_t byte = 1;
    jm_tensor frame = {};
    ASSERT_EQ(
        shared ? jm_stream_create_sealed(4, 8, JM_EVERY_FRAME, &stream) : jm_stream_new(4, 8, JM_EVERY_FRAME, &stream),
        JM_OK);
    ASSERT_EQ(jm_reader_new(stream, &reader), JM_OK);
    ASSERT_EQ(jm_reader_protocol_join(stream, &place), JM_OK);
    ASSERT_EQ(jm_stream_write(stream, &shape, 1, JM_UINT8, &byte, 1, -1), JM_OK);
    ASSERT_EQ(jm_reader_next(reader, -1, &frame), JM_OK);
    const auto child = [&] {
      jm_reader* none;
      jm_tensor tensor = {};
      void* data;
      std::uint64_t length;
      std::uint32_t seen;
      const struct {
        const char* call;
        jm_status status;
      } refused[] = {
          {"jm_stream_write", jm_stream_write(stream, &shape, 1, JM_UINT8, &byte, 1, 0)},
          {"jm_stream_fill", jm_stream_fill(stream, &shape, 1, JM_UINT8, 1, 0)},
          {"jm_stream_begin", jm_stream_begin(stream, &shape, 1, JM_UINT8, &data, &length, 0)},
          {"jm_stream_commit", jm_stream_commit(stream)},
          {"jm_stream_abort", jm_stream_abort(stream)},
          {"jm_stream_register_cuda", jm_stream_register_cuda(stream, 0, nullptr, 0)},
          {"jm_stream_unregister_cuda", jm_stream_unregister_cuda(stream, nullptr, 0)},
          {"jm_reader_new", jm_reader_new(stream, &none)},
          {"jm_reader_next", jm_reader_next(reader, 0, &tensor)},
          {"jm_stream_protocol_write", jm_stream_protocol_write(stream, &shape, 1, JM_UINT8, &byte, 1)},
          {"jm_stream_protocol_fill", jm_stream_protocol_fill(stream, &shape, 1, JM_UINT8, 1)},
          {"jm_stream_protocol_begin", jm_stream_protocol_begin(stream, &shape, 1, JM_UINT8, &data, &length)},
          {"jm_stream_protocol_commit", jm_stream_protocol_commit(stream)},
          {"jm_stream_protocol_abort", jm_stream_protocol_abort(stream)},
          {"jm_stream_protocol_announce", jm_stream_protocol_announce(stream, &seen)},
          {"jm_stream_protocol_park", jm_stream_protocol_park(stream, 0, 0)},
          {"jm_reader_protocol_join", jm_reader_protocol_join(stream, &none)},
          {"jm_reader_protocol_take", jm_reader_protocol_take(place, nullptr, &tensor)},
      };
      int wrong = 0;
      for (const auto& call : refused) {
        if (call.status == JM_ERR_FORKED) continue;
        std::fprintf(stderr, "%s gives %d (%s) in a child\n", call.call, call.status, jm_strerror(call.status));
        ++wrong;
      }
      jm_reader_info infos[JM_STREAM_READERS];
      wrong += jm_stream_slots(stream) != 4 || !jm_stream_every_frame(stream) || jm_stream_slot(stream, 0) == nullptr;
      wrong += jm_stream_try_read(stream, 0, &tensor) != JM_OK || tensor.version != 2;
      wrong += jm_stream_try_read_into(stream, 0, &byte, 1, &tensor) != JM_OK || byte != 1;
      wrong += jm_stream_readers(stream, infos) != 2;
      wrong += jm_stream_device_address(stream, jm_stream_slot(stream, 0)) != 0;
      wrong += jm_mapping_writer_state(jm_stream_mapping(stream)) == JM_WRITER_HERE;
      jm_mapping_set_spin(jm_stream_mapping(stream), 1);
      jm_reader_keep(reader, &frame);
      jm_reader_release(reader, &frame);
      wrong += jm_reader_missed(reader) != 0;
      wrong += jm_reader_protocol_held(reader)[jm_reader_protocol_held(reader)[0] == 0 ? 3 : 0] != 2;
      jm_reader_protocol_release(place, &frame);
      jm_stream_protocol_wake(stream);
      jm_reader_protocol_leave(place);
      jm_reader_protocol_free(place);
      jm_reader_close(reader);
      jm_reader_free(reader);
      wrong += jm_stream_retire(stream) != JM_OK;
      jm_stream_protocol_close(stream);
      jm_stream_free(stream);
      return wrong;
    };
    EXPECT_EQ(in_child(child), 0);
    // The parent's readers have their places, and the frame is held.
    jm_reader_info infos[JM_STREAM_READERS];
    ASSERT_EQ(jm_stream_readers(stream, infos), 2u);
    EXPECT_EQ(infos[0].held, 1u);
    EXPECT_EQ(infos[0].dead + infos[1].dead, 0u);
    for (int i = 0; i < 2; ++i) ASSERT_EQ(jm_stream_fill(stream, &shape, 1, JM_UINT8, 2, 0), JM_OK);
    EXPECT_EQ(*static_cast<const std::uint8_t*>(frame.data), 1);
    jm_reader_protocol_leave(place);
    jm_reader_protocol_free(place);
    jm_reader_free(reader);
    jm_stream_free(stream);
  }
}

// A new function of judemap.h must be added to one of the tests above, or here.
TEST(Fork, TheTestKnowsEveryFunction) {
  const std::set<std::string> elsewhere = {
      // They take no handle that a child could have from its parent,
      "jm_library_version", "jm_errno_reason",  "jm_strerror",        "jm_dtype_name",
      "jm_item_size",       "jm_tensor_bytes",  "jm_physical_memory", "jm_create",
      "jm_create_sealed",   "jm_open",          "jm_open_descriptor", "jm_remove",
      "jm_list_new",        "jm_list_next",     "jm_list_free",       "jm_stat",
      "jm_stat_copy",       "jm_stream_create", "jm_stream_open",     "jm_stream_open_descriptor"};
  const auto text = [](const std::string& file) {
    std::ifstream in(std::string(JUDEMAP_TESTDATA "/../") + file);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::string header = text("include/judemap/judemap.h"), test = text("test/fork_test.cc");
  std::istringstream lines(header);
  int functions = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] < 'a' || line[0] > 'z' || line.find('(') == std::string::npos) continue;
    line.resize(line.find('('));
    const std::string name = line.substr(line.find_last_of(" *") + 1);
    EXPECT_EQ(name.rfind("jm_", 0), 0u) << line;
    EXPECT_TRUE(elsewhere.count(name) != 0 || test.find(name + "(") != std::string::npos) << name;
    ++functions;
  }
  EXPECT_GT(functions, 50);
}

// At the moment of the fork threads of the parent hold some of the locks, by chance. No call of the child may hang.
TEST(Fork, WhileThreadsWrite) {
#ifdef JM_THREAD_SANITIZER
  constexpr int kForks = 50;  // each takes long there
#else
  constexpr int kForks = 200;
#endif
  const Watchdog watchdog(seconds(120));
  Handle shared = create_sealed(4096), own = create_private(4096);
  const Handle reader = again(shared);
  jm_parker* parker;
  jm_watch* watch;
  int descriptor;
  ASSERT_EQ(jm_parker_new(&parker, &descriptor), JM_OK);
  const File event(descriptor);
  ASSERT_EQ(jm_watch_new(parker, reader.get(), 1, &watch, nullptr), JM_OK);
  ASSERT_EQ(write_byte(shared), JM_OK);
  ASSERT_EQ(write_byte(own), JM_OK);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      std::vector<std::uint8_t> bytes(4096);
      const std::uint64_t shape = bytes.size();
      while (!stop) {
        EXPECT_EQ(jm_write(shared.get(), &shape, 1, JM_UINT8, bytes.data(), shape), JM_OK);
        EXPECT_EQ(jm_write(own.get(), &shape, 1, JM_UINT8, bytes.data(), shape), JM_OK);
        jm_watch_arm(watch, jm_version(reader.get()));
        jm_parker_next(parker);
        jm_watch_disarm(watch);
      }
    });
  }
  int wrong = 0;
  for (int i = 0; i < kForks && wrong == 0; ++i) {
    wrong = in_child([&] {
      int bad = 0;
      std::uint8_t buffer[4096];
      jm_tensor tensor;
      for (jm_segment* segment : {shared.get(), own.get(), reader.get()}) {
        const bool stuck = segment == own.get() && jm_version(segment) % 2 != 0;
        bad += jm_read(segment, &tensor) != (stuck ? JM_ERR_CORRUPT : JM_OK);
        jm_valid(segment, &tensor);
        const jm_status copied = jm_try_read_into(segment, buffer, sizeof buffer, &tensor);
        bad += copied != JM_OK && copied != JM_ERR_BUSY;
        bad += jm_write(segment, nullptr, 0, JM_UINT8, buffer, 1) != JM_ERR_FORKED;
      }
      bad += jm_watch_arm(watch, 0) != JM_ERR_FORKED;
      jm_parker_next(parker);
      jm_watch_free(watch);
      jm_parker_free(parker);
      bad += jm_retire(shared.get()) != JM_OK;
      for (jm_segment* segment : {shared.get(), own.get(), reader.get()}) jm_free(segment);
      return bad;
    });
  }
  EXPECT_EQ(wrong, 0);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  jm_watch_free(watch);
  jm_parker_free(parker);
}

// A process that is being started has all descriptors of its parent between fork and exec. It must not keep a lock that
// was given back.
TEST(Fork, HandOverWhileProcessesAreStarted) {
#ifdef JM_THREAD_SANITIZER
  constexpr int kHandOvers = 500;
#else
  constexpr int kHandOvers = 5000;
#endif
  const Name name;
  Handle writer = create(name, 8);
  std::atomic<bool> stop{false};
  std::atomic<int> started{0};
  std::thread starting([&] {
    char program[] = "/bin/true";
    char* arguments[] = {program, nullptr};
    while (!stop) {
      pid_t child;
      if (posix_spawn(&child, program, nullptr, nullptr, arguments, environ) == 0) {
        waitpid(child, nullptr, 0);
        ++started;
      }
    }
  });
  int refused = 0, round = 0;
  for (; round < kHandOvers || started < 100; ++round) {
    refused += write_byte(writer) == JM_ERR_WRITER_ACTIVE;
    if (jm_retire(writer.get()) != JM_OK) break;
    writer = open_name(name);
  }
  stop = true;
  starting.join();
  EXPECT_EQ(refused, 0) << "of " << round << " hand-overs, beside " << started << " processes";
}

}  // namespace

#endif  // __linux__
