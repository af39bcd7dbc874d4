// Helpers of several tests: handles that free themselves, files for segments, and other processes.
#ifndef JUDEMAP_TEST_HELPER_H
#define JUDEMAP_TEST_HELPER_H

#include <gtest/gtest.h>

#ifdef __linux__
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "judemap/judemap.h"
#include "judemap/segment.h"
#include "judemap/stream.h"
#include "pattern.h"

#ifdef __linux__
extern char** environ;
#endif

#if defined(__SANITIZE_THREAD__)
#define JM_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define JM_THREAD_SANITIZER 1
#endif
#endif

namespace helper {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kSecond = 1'000'000'000;

struct Free {
  void operator()(jm_segment* segment) const { jm_free(segment); }
  void operator()(jm_parker* parker) const { jm_parker_free(parker); }
};
using Handle = std::unique_ptr<jm_segment, Free>;

// For steps before a test can begin. An exception makes the test fail.
inline void must(jm_status status, const char* what) {
  if (status == JM_OK) return;
  throw std::runtime_error(std::string(what) + ": " + jm_strerror(status) + ": " + std::strerror(errno));
}

#ifdef __linux__

inline std::string path_of(const std::string& name) { return "/dev/shm/" + name; }

// A name that no other test has. It is removed at the end of the test.
class Name {
 public:
  Name() : text_(text_of(++count_)) {}
  ~Name() { unlink(path().c_str()); }
  Name(const Name&) = delete;
  Name& operator=(const Name&) = delete;

  const char* text() const { return text_.c_str(); }
  std::string path() const { return path_of(text_); }

  // Ends the process without running destructors.
  static void remove_all() {
    for (int i = 1; i <= count_; ++i) unlink(path_of(text_of(i)).c_str());
  }

 private:
  static std::string text_of(int i) {
    return "judemap-core-test-" + std::to_string(getpid()) + "-" + std::to_string(i);
  }
  static inline std::atomic<int> count_{0};
  std::string text_;
};

// Ends the test program if a call that must return does not return in time.
class Watchdog {
 public:
  explicit Watchdog(seconds limit) {
    thread_ = std::thread([this, limit] {
      for (const Clock::time_point end = Clock::now() + limit; !done_;) {
        if (Clock::now() > end) {
          std::fprintf(stderr, "a call that must return does not\n");
          Name::remove_all();
          _exit(1);
        }
        std::this_thread::sleep_for(milliseconds(5));
      }
    });
  }
  ~Watchdog() {
    done_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

inline Handle create(const Name& name, std::uint64_t capacity, std::uint32_t mode = 0600, std::uint32_t flags = 0) {
  jm_segment* segment;
  must(jm_create(name.text(), capacity, mode, flags, &segment), "jm_create");
  return Handle(segment);
}

inline Handle create_private(std::uint64_t capacity) {
  jm_segment* segment;
  must(jm_new(capacity, 0, &segment), "jm_new");
  return Handle(segment);
}

// Without a name; and sealed, where the system can.
inline Handle create_sealed(std::uint64_t capacity) {
  jm_segment* segment;
  const jm_status status = jm_create_sealed(capacity, 0, &segment);
  if (status == JM_ERR_SYSTEM && errno == ENOSYS) {
    const Name name;
    Handle made = create(name, capacity);
    must(jm_remove(name.text()), "jm_remove");
    return made;
  }
  must(status, "jm_create_sealed");
  return Handle(segment);
}

// The same of a stream.
template <class Stream>
jm_status create_sealed(Stream* stream, std::uint32_t slots, std::uint64_t capacity, std::uint32_t flags = 0) {
  jm_status status = stream->create_sealed(slots, capacity, flags);
  if (status != JM_ERR_SYSTEM || errno != ENOSYS) return status;
  const Name name;
  status = stream->create(name.text(), slots, capacity, 0600, flags);
  return status == JM_OK ? jm_remove(name.text()) : status;
}

inline Handle open_name(const char* name, std::uint32_t flags = 0) {
  jm_segment* segment;
  must(jm_open(name, flags, &segment, nullptr), "jm_open");
  return Handle(segment);
}

inline Handle open_name(const Name& name, std::uint32_t flags = 0) { return open_name(name.text(), flags); }

// Another handle of the same segment.
inline Handle again(const Handle& of, std::uint32_t flags = 0) {
  int descriptor;
  must(jm_descriptor(of.get(), 1, &descriptor), "jm_descriptor");
  const File file(descriptor);
  jm_segment* segment;
  must(jm_open_descriptor(descriptor, flags, &segment, nullptr), "jm_open_descriptor");
  return Handle(segment);
}

inline jm_status write_byte(const Handle& segment, std::uint8_t value = 1) {
  return jm_write(segment.get(), nullptr, 0, JM_UINT8, &value, 1);
}

// The descriptors that this process has open.
inline int descriptors() {
  int count = 0;
  for (int i = 0; i < 1024; ++i) count += fcntl(i, F_GETFD) >= 0;
  return count;
}

inline std::uint32_t waiters(const Handle& segment) { return jm_base(segment.get())->waiters.load(); }

// Waits until `condition` is true. Returns false if it is still not true after a time that is long enough on any
// machine.
template <class Condition>
bool eventually(Condition&& condition) {
  for (const Clock::time_point end = Clock::now() + seconds(10); !condition();) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

// Tensors whose content follows from the version (pattern.h), of n elements or one less.

inline std::uint64_t size_of(std::uint64_t version, std::uint64_t n) { return n - version / 2 % 2; }

// The version that the next commit will have. If the previous writer died in a commit, the core first repairs the
// segment, which takes a version of its own.
inline std::uint64_t next_version(const Handle& segment) {
  const std::uint64_t now = jm_version(segment.get());
  return now % 2 == 0 ? now + 2 : now + 3;
}

// Commits a tensor that is stored in place, element by element. With `give_up` the commit is aborted instead.
inline jm_status commit(const Handle& segment, std::uint64_t n, bool give_up = false) {
  const std::uint64_t version = next_version(segment);
  const std::uint64_t shape = size_of(version, n);
  void* data;
  std::uint64_t length;
  if (const jm_status status = jm_begin(segment.get(), &shape, 1, JM_INT64, &data, &length)) return status;
  for (std::uint64_t i = 0; i < shape; ++i) {
    auto* word = static_cast<std::int64_t*>(data) + i;
#ifdef JM_THREAD_SANITIZER
    __atomic_store_n(word, pattern::element(version, i), __ATOMIC_RELAXED);
#else
    *word = pattern::element(version, i);
#endif
  }
  if (give_up) {
    jm_abort(segment.get());
  } else {
    jm_commit(segment.get());
  }
  return JM_OK;
}

// Whether a tensor in private memory is the one of its version.
inline bool whole(const jm_tensor& tensor, std::uint64_t n) {
  if (tensor.version % 2 != 0 || tensor.ndim != 1 || tensor.dtype != JM_INT64) return false;
  const std::uint64_t size = size_of(tensor.version, n);
  if (tensor.shape[0] != size || tensor.byte_length != size * 8) return false;
  const auto* values = static_cast<const std::int64_t*>(tensor.data);
  for (std::uint64_t i = 0; i < size; ++i) {
    if (values[i] != pattern::element(tensor.version, i)) return false;
  }
  return true;
}

// Commits a frame, as commit() does a tensor. `n` is at least 2. The errors are those of begin.
inline jm_status commit_frame(judemap::Stream* stream, std::uint64_t n, std::int64_t timeout = -1) {
  for (;;) {
    const std::uint64_t guess = stream->protocol().version() + 2;
    const std::uint64_t shape = size_of(guess, n);
    void* data;
    std::uint64_t length;
    if (const jm_status status = stream->begin(&shape, 1, JM_INT64, &data, &length, timeout)) return status;
    // Another process may have committed meanwhile, or a takeover may have ended what a dead writer had begun.
    const std::uint64_t version = stream->protocol().version() + 2;
    if (version != guess) {
      stream->abort();
      continue;
    }
    for (std::uint64_t i = 0; i < shape; ++i) {
      auto* word = static_cast<std::int64_t*>(data) + i;
#ifdef JM_THREAD_SANITIZER
      __atomic_store_n(word, pattern::element(version, i), __ATOMIC_RELAXED);
#else
      *word = pattern::element(version, i);
#endif
    }
    return stream->commit();
  }
}

// Reads until `over`, and sometimes holds a frame past the next one. Returns what was wrong with a frame, or an empty
// string. `timeout` is how long there may be no frame.
template <class Over>
std::string read_frames(judemap::Reader* reader, std::uint64_t n, Over&& over, std::int64_t timeout = 20 * kSecond) {
  const bool every_frame = reader->stream()->protocol().every_frame();
  jm_tensor frame = {}, kept = {};
  std::uint64_t last = 0, missed = 0;
  const auto wrong = [&](const char* what) {
    return std::string(what) + ": version " + std::to_string(frame.version) + " after " + std::to_string(last);
  };
  Clock::time_point got = Clock::now();
  while (!over()) {
    const jm_status status = reader->next(kSecond / 20, &frame);
    if (status == JM_ERR_TIMEOUT || status == JM_ERR_WRITER_DIED) {
      if (Clock::now() - got > std::chrono::nanoseconds(timeout)) return wrong("no frame for long");
      if (status == JM_ERR_WRITER_DIED) std::this_thread::sleep_for(std::chrono::microseconds(200));
      continue;
    }
    if (status == JM_ERR_CLOSED) break;
    if (status != JM_OK) return wrong(jm_strerror(status));
    got = Clock::now();
    if (!whole(frame, n)) return wrong("not whole when it came");
    if (frame.version <= last) return wrong("not newer");
    if (every_frame && last != 0 && frame.version != last + 2) return wrong("a gap");
    if (last != 0) missed += (frame.version - last) / 2 - 1;
    if (last != 0 && reader->missed() < missed) return wrong("missed frames that were not counted");
    last = frame.version;
    const unsigned chance = static_cast<unsigned>(frame.version / 2 * 0x9E3779B9u >> 16);
    if (chance % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(chance % 1000));
    if (kept.version != 0 && !whole(kept, n)) return wrong("changed while it was kept");
    if (!whole(frame, n)) return wrong("changed while it was held");
    reader->release(kept);
    kept = {};
    if (chance % 3 == 0) {
      reader->keep(frame);
      kept = frame;
    }
  }
  reader->release(kept);
  return "";
}

// A process with a role (main.cc). It ends with this process at the latest, because it reads from a pipe of it.
class Child {
 public:
  explicit Child(const std::vector<std::string>& role) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    std::vector<std::string> words = {"test", "--role"};
    words.insert(words.end(), role.begin(), role.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const int error = posix_spawn(&id_, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    in_ = in[1];
    out_ = out[0];
    if (error != 0) throw std::runtime_error("posix_spawn");
  }
  ~Child() {
    kill();
    close(in_);
    close(out_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Kills the process, and returns when it has ended.
  void kill() {
    if (id_ == 0) return;
    ::kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
    id_ = 0;
  }

  // The next line that the process prints; empty if it ends, or prints nothing for long.
  std::string line() {
    std::string text;
    for (char byte;;) {
      pollfd ready = {out_, POLLIN, 0};
      if (poll(&ready, 1, 20'000) <= 0 || read(out_, &byte, 1) != 1) return "";
      if (byte == '\n') return text;
      text += byte;
    }
  }

 private:
  pid_t id_ = 0;
  int in_ = -1;
  int out_ = -1;
};

// A file of `size` bytes that are zero, except the block's magic number and capacity.
inline void make_file(const Name& name, off_t size, std::uint32_t magic, std::uint64_t capacity) {
  const File file(open(name.path().c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
  if (file.get() < 0 || ftruncate(file.get(), size) != 0) throw std::runtime_error("can't make a file");
  if (size < JM_DATA_OFFSET) return;
  if (pwrite(file.get(), &magic, 4, offsetof(jm_header, magic)) != 4 ||
      pwrite(file.get(), &capacity, 8, offsetof(jm_header, capacity)) != 8) {
    throw std::runtime_error("can't write a file");
  }
}

#endif  // __linux__

}  // namespace helper

#endif  // JUDEMAP_TEST_HELPER_H
