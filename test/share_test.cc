// Sharing: segments by name and by descriptor, one writer among many handles, waiting, the parker, and what becomes of
// all that when processes die. Linux; elsewhere the core answers ENOSYS.
//
// Processes are made by starting this binary anew with a role (see main), so that none inherits locks, threads or
// descriptors of the test.

#include <gtest/gtest.h>

#include "judemap/judemap.h"
#include "judemap/segment.h"

#ifdef __linux__

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../csrc/payload.h"

extern char** environ;

namespace {

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

// For what a test needs before it can begin: an exception ends it as a failure.
void must(jm_status status, const char* what) {
  if (status == JM_OK) return;
  throw std::runtime_error(std::string(what) + ": " + jm_strerror(status) + ": " + std::strerror(errno));
}

std::string path_of(const std::string& name) { return "/dev/shm/" + name; }

// A name that no other test has, free again when the test is over.
class Name {
 public:
  Name() : text_(text_of(++count_)) {}
  ~Name() { unlink(path().c_str()); }
  Name(const Name&) = delete;
  Name& operator=(const Name&) = delete;

  const char* text() const { return text_.c_str(); }
  std::string path() const { return path_of(text_); }

  // For an end without destructors.
  static void remove_all() {
    for (int i = 1; i <= count_; ++i) unlink(path_of(text_of(i)).c_str());
  }

 private:
  static std::string text_of(int i) {
    return "judemap-share-test-" + std::to_string(getpid()) + "-" + std::to_string(i);
  }
  static inline std::atomic<int> count_{0};
  std::string text_;
};

// Ends the test program where a call that must return does not.
class Watchdog {
 public:
  explicit Watchdog(seconds limit) {
    thread_ = std::thread([this, limit] {
      for (const Clock::time_point end = Clock::now() + limit; !done_;) {
        if (Clock::now() > end) {
          std::fprintf(stderr, "share_test: something hangs\n");
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

Handle create(const Name& name, std::uint64_t capacity, std::uint32_t mode = 0600, std::uint32_t flags = 0) {
  jm_segment* segment;
  must(jm_create(name.text(), capacity, mode, flags, &segment), "jm_create");
  return Handle(segment);
}

Handle create_private(std::uint64_t capacity) {
  jm_segment* segment;
  must(jm_new(capacity, 0, &segment), "jm_new");
  return Handle(segment);
}

Handle create_sealed(std::uint64_t capacity) {
  jm_segment* segment;
  must(jm_create_sealed(capacity, 0, &segment), "jm_create_sealed");
  return Handle(segment);
}

Handle open_name(const char* name, std::uint32_t flags = 0) {
  jm_segment* segment;
  must(jm_open(name, flags, &segment, nullptr), "jm_open");
  return Handle(segment);
}

Handle open_name(const Name& name, std::uint32_t flags = 0) { return open_name(name.text(), flags); }

// Another handle of the same segment.
Handle again(const Handle& of, std::uint32_t flags = 0) {
  int descriptor;
  must(jm_descriptor(of.get(), 1, &descriptor), "jm_descriptor");
  const File file(descriptor);
  jm_segment* segment;
  must(jm_open_descriptor(descriptor, flags, &segment, nullptr), "jm_open_descriptor");
  return Handle(segment);
}

jm_status write_byte(const Handle& segment, std::uint8_t value = 1) {
  return jm_write(segment.get(), nullptr, 0, JM_UINT8, &value, 1);
}

// The descriptors that this process has open.
int descriptors() {
  int count = 0;
  for (int i = 0; i < 1024; ++i) count += fcntl(i, F_GETFD) >= 0;
  return count;
}

std::uint32_t waiters(const Handle& segment) { return jm_base(segment.get())->waiters.load(); }

// Waits until `condition` holds; false if it still does not after a time that is long enough for any machine.
template <class Condition>
bool eventually(Condition&& condition) {
  for (const Clock::time_point end = Clock::now() + seconds(10); !condition();) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

// Tensors of which all can be told from the version, as in stress_test.cc: of n elements, or one less.

std::int64_t element(std::uint64_t version, std::uint64_t i) {
  return static_cast<std::int64_t>(version * 0x9E3779B97F4A7C15 + i * 0xD1B54A32D192ED03);
}

std::uint64_t size_of(std::uint64_t version, std::uint64_t n) { return n - version / 2 % 2; }

// The version that the next commit will have. Where the writer before died in a commit, the core puts the segment right
// first, which is a version of its own.
std::uint64_t next_version(const Handle& segment) {
  const std::uint64_t now = jm_version(segment.get());
  return now % 2 == 0 ? now + 2 : now + 3;
}

// Commits a tensor, stored in place, element by element. If `give_up`, the commit is given up instead.
jm_status commit(const Handle& segment, std::uint64_t n, bool give_up = false) {
  const std::uint64_t version = next_version(segment);
  const std::uint64_t shape = size_of(version, n);
  void* data;
  std::uint64_t length;
  if (const jm_status status = jm_begin(segment.get(), &shape, 1, JM_INT64, &data, &length)) return status;
  for (std::uint64_t i = 0; i < shape; ++i) {
    auto* word = static_cast<std::int64_t*>(data) + i;
#ifdef JM_THREAD_SANITIZER
    __atomic_store_n(word, element(version, i), __ATOMIC_RELAXED);
#else
    *word = element(version, i);
#endif
  }
  if (give_up) {
    jm_abort(segment.get());
  } else {
    jm_commit(segment.get());
  }
  return JM_OK;
}

// Whether a tensor in memory of our own is that of its version.
bool whole(const jm_tensor& tensor, std::uint64_t n) {
  if (tensor.version % 2 != 0 || tensor.ndim != 1 || tensor.dtype != JM_INT64) return false;
  const std::uint64_t size = size_of(tensor.version, n);
  if (tensor.shape[0] != size || tensor.byte_length != size * 8) return false;
  const auto* values = static_cast<const std::int64_t*>(tensor.data);
  for (std::uint64_t i = 0; i < size; ++i) {
    if (values[i] != element(tensor.version, i)) return false;
  }
  return true;
}

// A process that plays a role. It ends, at the latest, with this one: it has a pipe from it.
class Child {
 public:
  explicit Child(const std::vector<std::string>& role) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    std::vector<std::string> words = {"share_test", "--role"};
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

  // Kills it, and returns when it is gone.
  void kill() {
    if (id_ == 0) return;
    ::kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
    id_ = 0;
  }

  // The next line that it prints; empty if it ends, or prints nothing for long.
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

// The roles.
//   idle NAME      commits one byte and stays
//   begin NAME     commits one byte, begins another commit and stays
//   write NAME N   commits tensors of N elements until killed
//   park NAME      waits for commits until killed, and prints each one's version
int play(int count, char** arguments) {
  std::thread([] {
    char byte;
    while (read(0, &byte, 1) > 0) continue;
    _exit(0);
  }).detach();
  const std::string role = count > 0 ? arguments[0] : "";
  if (count < 2) return 2;
  const Handle segment = open_name(arguments[1]);
  if (role == "idle" || role == "begin") {
    if (write_byte(segment) != JM_OK) return 1;
    void* data;
    std::uint64_t length;
    if (role == "begin" && jm_begin(segment.get(), nullptr, 0, JM_UINT8, &data, &length) != JM_OK) return 1;
    std::puts("ready");
    std::fflush(stdout);
    for (;;) pause();
  }
  if (role == "write" && count == 3) {
    const std::uint64_t n = std::strtoull(arguments[2], nullptr, 10);
    while (commit(segment, n) == JM_OK) continue;
    return 1;
  }
  if (role == "park") {
    jm_tensor tensor = {};
    while (jm_next(segment.get(), tensor.version, -1, &tensor) == JM_OK) {
      std::printf("%llu\n", static_cast<unsigned long long>(tensor.version));
      std::fflush(stdout);
    }
    return 1;
  }
  return 2;
}

TEST(Share, NamesComeAndGo) {
  const Name name;
  Handle a = create(name, 100);
  EXPECT_EQ(jm_capacity(a.get()), 100u);
  EXPECT_EQ(access(name.path().c_str(), F_OK), 0);

  jm_segment* none = a.get();
  EXPECT_EQ(jm_create(name.text(), 100, 0600, 0, &none), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(none, nullptr);
  judemap::Segment second;  // an object that failed to make a segment can make another
  EXPECT_EQ(second.create(name.text(), 8), JM_ERR_SYSTEM);
  EXPECT_EQ(second.create(8), JM_OK);

  Handle b = open_name(name);
  EXPECT_EQ(jm_capacity(b.get()), 100u);
  jm_tensor tensor;
  EXPECT_EQ(jm_read(b.get(), &tensor), JM_ERR_EMPTY);
  ASSERT_EQ(write_byte(a, 42), JM_OK);
  ASSERT_EQ(jm_read(b.get(), &tensor), JM_OK);
  EXPECT_EQ(tensor.version, 2u);
  EXPECT_EQ(*static_cast<const std::uint8_t*>(tensor.data), 42);
  EXPECT_TRUE(jm_valid(b.get(), &tensor));

  ASSERT_EQ(jm_remove(name.text()), JM_OK);
  EXPECT_NE(access(name.path().c_str(), F_OK), 0);
  EXPECT_EQ(jm_remove(name.text()), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(jm_open(name.text(), 0, &none, nullptr), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(none, nullptr);

  // Who has it open keeps it, also where the name is given anew.
  const Handle other = create(name, 50);
  ASSERT_EQ(write_byte(a, 43), JM_OK);
  EXPECT_FALSE(jm_valid(b.get(), &tensor));
  ASSERT_EQ(jm_read(b.get(), &tensor), JM_OK);
  EXPECT_EQ(*static_cast<const std::uint8_t*>(tensor.data), 43);
  EXPECT_EQ(jm_version(other.get()), 0u);
}

TEST(Share, BadNames) {
  const std::string longest(255, 'x'), too_long(256, 'x');
  for (const char* name : {static_cast<const char*>(nullptr), "", ".", "..", "a/b", "/a", "a/", too_long.c_str()}) {
    SCOPED_TRACE(name == nullptr ? "null" : name);
    jm_segment* segment;
    EXPECT_EQ(jm_create(name, 8, 0600, 0, &segment), JM_ERR_NAME);
    EXPECT_EQ(segment, nullptr);
    EXPECT_EQ(jm_open(name, 0, &segment, nullptr), JM_ERR_NAME);
    EXPECT_EQ(segment, nullptr);
    EXPECT_EQ(jm_remove(name), JM_ERR_NAME);
  }
  jm_segment* segment;
  EXPECT_EQ(jm_open(longest.c_str(), 0, &segment, nullptr), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(jm_remove("..."), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
}

TEST(Share, BadCapacities) {
  const Name name;
  for (const std::uint64_t capacity : {std::uint64_t{0}, UINT64_MAX, std::uint64_t{1} << 63}) {
    jm_segment* segment;
    EXPECT_EQ(jm_create(name.text(), capacity, 0600, 0, &segment), JM_ERR_CAPACITY);
    EXPECT_EQ(jm_create_sealed(capacity, 0, &segment), JM_ERR_CAPACITY);
  }
  // More than there is: refused when it is made, not by a SIGBUS later; and nothing stays behind.
  struct statvfs room;
  ASSERT_EQ(statvfs("/dev/shm", &room), 0);
  if (room.f_blocks == 0) GTEST_SKIP() << "/dev/shm has no limit";
  jm_segment* segment;
  EXPECT_EQ(jm_create(name.text(), room.f_blocks * room.f_frsize, 0600, 0, &segment), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_NE(access(name.path().c_str(), F_OK), 0);
}

TEST(Share, Mode) {
  const Name name;
  const mode_t mask = umask(0777);
  const Handle segment = create(name, 8, 0640);
  umask(mask);
  struct stat status;
  ASSERT_EQ(stat(name.path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
}

// A file of `size` bytes, zero but for the block's magic number and capacity.
void make_file(const Name& name, off_t size, std::uint32_t magic, std::uint64_t capacity) {
  const File file(open(name.path().c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
  if (file.get() < 0 || ftruncate(file.get(), size) != 0) throw std::runtime_error("can't make a file");
  if (size < JM_DATA_OFFSET) return;
  if (pwrite(file.get(), &magic, 4, offsetof(jm_header, magic)) != 4 ||
      pwrite(file.get(), &capacity, 8, offsetof(jm_header, capacity)) != 8) {
    throw std::runtime_error("can't write a file");
  }
}

TEST(Share, FilesThatAreNoSegments) {
  const Name name;
  const int before = descriptors();
  struct {
    off_t size;
    std::uint32_t magic;
    std::uint64_t capacity;
    const char* why;
  } const files[] = {
      {0, 0, 0, "empty"},
      {1, 0, 0, "too short"},
      {JM_DATA_OFFSET - 1, 0, 0, "too short"},
      {JM_DATA_OFFSET, JM_MAGIC, 1, "too short"},
      {4096, JM_MAGIC + 1, 100, "magic"},
      {4096, JM_MAGIC, 4096 - JM_DATA_OFFSET + 1, "capacity"},
      {4096, JM_MAGIC, UINT64_MAX, "capacity"},
      {4096, JM_MAGIC, 0, "capacity"},
  };
  for (const auto& file : files) {
    SCOPED_TRACE(file.why);
    make_file(name, file.size, file.magic, file.capacity);
    for (const std::uint32_t flags : {0u, JM_READ_ONLY}) {
      const char* why = nullptr;
      jm_segment* segment;
      EXPECT_EQ(jm_open(name.text(), flags, &segment, &why), JM_ERR_CORRUPT);
      EXPECT_EQ(segment, nullptr);
      ASSERT_NE(why, nullptr);
      EXPECT_NE(std::string(why).find(file.why), std::string::npos) << why;
      EXPECT_EQ(jm_open(name.text(), flags, &segment, nullptr), JM_ERR_CORRUPT);
    }
  }
  // All of the file, and not a byte more, is a capacity.
  make_file(name, 4096, JM_MAGIC, 4096 - JM_DATA_OFFSET);
  EXPECT_EQ(jm_capacity(open_name(name).get()), 4096u - JM_DATA_OFFSET);

  jm_segment* segment;
  const char* why = nullptr;
  unlink(name.path().c_str());
  ASSERT_EQ(mkfifo(name.path().c_str(), 0600), 0);
  EXPECT_EQ(jm_open(name.text(), JM_READ_ONLY, &segment, &why), JM_ERR_CORRUPT) << "a FIFO, and it must not wait";
  unlink(name.path().c_str());
  const Name target;
  const Handle real = create(target, 8);
  ASSERT_EQ(symlink(target.path().c_str(), name.path().c_str()), 0);
  EXPECT_EQ(jm_open(name.text(), 0, &segment, &why), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ELOOP);
  EXPECT_EQ(descriptors(), before + 1) << "a refused file stays open";
}

// A file as the Node addon makes it, and commits as it makes them: without lock, block and wake.
class Plain {
 public:
  explicit Plain(off_t size) : size_(static_cast<std::size_t>(size)) {
    make_file(name, size, 0, 0);
    const File file(open(name.path().c_str(), O_RDWR));
    void* base = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (base == MAP_FAILED) throw std::runtime_error("mmap");
    header = static_cast<jm_header*>(base);
  }
  ~Plain() { munmap(header, size_); }

  void write_byte(std::uint8_t value) {
    header->sequence.fetch_add(1);
    header->ndim = 1;
    header->dtype = JM_UINT8;
    header->shape[0] = 1;
    header->byte_length = 1;
    __atomic_store_n(reinterpret_cast<std::uint8_t*>(header) + JM_DATA_OFFSET, value, __ATOMIC_RELAXED);
    header->sequence.fetch_add(1);
  }

  const Name name;
  jm_header* header;

 private:
  std::size_t size_;
};

TEST(Share, PlainSegment) {
  for (const std::uint64_t capacity : {std::uint64_t{100}, std::uint64_t{4096 - JM_DATA_OFFSET}}) {
    Plain plain(static_cast<off_t>(JM_DATA_OFFSET + capacity));
    const Handle segment = open_name(plain.name);
    EXPECT_EQ(jm_capacity(segment.get()), capacity);
    jm_tensor tensor;
    EXPECT_EQ(jm_read(segment.get(), &tensor), JM_ERR_EMPTY);
    EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_NONE);

    // Nobody wakes the reader: it looks for itself.
    std::thread writer([&] {
      std::this_thread::sleep_for(milliseconds(20));
      plain.write_byte(7);
    });
    EXPECT_EQ(jm_next(segment.get(), 0, 10 * kSecond, &tensor), JM_OK);
    writer.join();
    EXPECT_EQ(tensor.version, 2u);
    std::uint8_t value = 0;
    ASSERT_EQ(jm_read_into(segment.get(), &value, 1, &tensor), JM_OK);
    EXPECT_EQ(value, 7);

    // The block is not ours to use, also not when we write.
    EXPECT_EQ(jm_next(segment.get(), 2, 5 * kMillisecond, &tensor), JM_ERR_TIMEOUT);
    ASSERT_EQ(write_byte(segment), JM_OK);
    const auto* block = reinterpret_cast<const char*>(&plain.header->magic);
    EXPECT_EQ(std::count(block, block + 64, 0), 64);
  }
}

TEST(Share, PlainWriterDiesInACommit) {
  const Watchdog watchdog(seconds(20));
  Plain plain(4096);
  plain.write_byte(7);
  plain.header->sequence.fetch_add(1);
  const Handle segment = open_name(plain.name);
  jm_tensor tensor;
  EXPECT_EQ(jm_try_read(segment.get(), &tensor), JM_ERR_BUSY);
  EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_NONE) << "it may still be at it";
  EXPECT_EQ(jm_next(segment.get(), 2, 10 * kSecond, &tensor), JM_ERR_WRITER_DIED);
  EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_DIED);
  EXPECT_EQ(jm_read(segment.get(), &tensor), JM_ERR_WRITER_DIED);
  ASSERT_EQ(write_byte(segment), JM_OK);
  ASSERT_EQ(jm_read(segment.get(), &tensor), JM_OK);
  EXPECT_EQ(tensor.version, 6u);
}

// A segment with a block whose writers may be the Node addon: readers look for themselves.
TEST(Share, ForeignWriters) {
  const Name name;
  const Handle segment = create(name, 8, 0600, JM_FOREIGN_WRITERS);
  const Handle reader = open_name(name);
  EXPECT_EQ(jm_base(reader.get())->flags.load() & JM_FLAG_WRITERS_WAKE, 0u);
  EXPECT_EQ(jm_base(create_sealed(8).get())->flags.load() & JM_FLAG_WRITERS_WAKE, JM_FLAG_WRITERS_WAKE);
  std::thread writer([&] {
    std::this_thread::sleep_for(milliseconds(20));
    jm_header* header = jm_base(segment.get());  // an addon's commit of an empty tensor
    header->sequence.fetch_add(1);
    header->ndim = 1;
    header->sequence.fetch_add(1);
  });
  jm_tensor tensor;
  EXPECT_EQ(jm_next(reader.get(), 0, 10 * kSecond, &tensor), JM_OK);
  EXPECT_EQ(tensor.version, 2u);
  writer.join();
  // jm_set_poll says how often: an hour is later than the time-out.
  jm_set_poll(reader.get(), 3600 * kSecond);
  std::thread late([&] {
    std::this_thread::sleep_for(milliseconds(5));
    jm_base(segment.get())->sequence.fetch_add(2);
  });
  const Clock::time_point start = Clock::now();
  EXPECT_EQ(jm_next(reader.get(), 2, 60 * kMillisecond, &tensor), JM_OK);
  EXPECT_GE(Clock::now() - start, milliseconds(50));
  late.join();
}

TEST(Share, ReadOnly) {
  const Name name;
  const Handle writer = create(name, 8);
  const Handle reader = open_name(name, JM_READ_ONLY);
  void* data;
  std::uint64_t length;
  EXPECT_EQ(write_byte(reader), JM_ERR_READ_ONLY);
  EXPECT_EQ(jm_fill(reader.get(), nullptr, 0, JM_UINT8, 1), JM_ERR_READ_ONLY);
  EXPECT_EQ(jm_begin(reader.get(), nullptr, 0, JM_UINT8, &data, &length), JM_ERR_READ_ONLY);
  EXPECT_EQ(jm_version(writer.get()), 0u);
  ASSERT_EQ(write_byte(writer, 9), JM_OK) << "the refused writes left something locked";

  std::uint8_t value = 0;
  jm_tensor tensor;
  ASSERT_EQ(jm_read_into(reader.get(), &value, 1, &tensor), JM_OK);
  EXPECT_EQ(value, 9);
  EXPECT_EQ(jm_writer_state(reader.get()), JM_WRITER_OTHER);

  // It can't ask to be woken, and waits all the same.
  std::thread waiting([&] {
    jm_tensor next;
    EXPECT_EQ(jm_next(reader.get(), 2, 10 * kSecond, &next), JM_OK);
    EXPECT_EQ(next.version, 4u);
  });
  std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(waiters(writer), 0u);
  EXPECT_EQ(write_byte(writer), JM_OK);
  waiting.join();

  // The right to write does not come back with a descriptor.
  int descriptor;
  EXPECT_EQ(jm_descriptor(reader.get(), 1, &descriptor), JM_ERR_READ_ONLY);
  ASSERT_EQ(jm_descriptor(reader.get(), 0, &descriptor), JM_OK);
  EXPECT_EQ(fcntl(descriptor, F_GETFL) & O_ACCMODE, O_RDONLY);
  close(descriptor);
  EXPECT_EQ(jm_retire(reader.get()), JM_OK);
}

TEST(Share, SealedDescriptors) {
  const Handle segment = create_sealed(100);
  EXPECT_EQ(jm_capacity(segment.get()), 100u);
  int descriptor;
  ASSERT_EQ(jm_descriptor(segment.get(), 1, &descriptor), JM_OK);
  const File file(descriptor);
  EXPECT_NE(fcntl(descriptor, F_GETFD) & FD_CLOEXEC, 0);
  struct stat status;
  ASSERT_EQ(fstat(descriptor, &status), 0);
  EXPECT_NE(ftruncate(descriptor, 0), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(ftruncate(descriptor, status.st_size * 2), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_EQ(errno, EPERM);

  jm_segment* opened;
  ASSERT_EQ(jm_open_descriptor(descriptor, 0, &opened, nullptr), JM_OK);
  const Handle other(opened);
  EXPECT_EQ(jm_capacity(other.get()), 100u);
  ASSERT_EQ(write_byte(segment, 5), JM_OK);
  jm_tensor tensor;
  ASSERT_EQ(jm_read(other.get(), &tensor), JM_OK);
  EXPECT_EQ(*static_cast<const std::uint8_t*>(tensor.data), 5);
  // The descriptor that was given stays the caller's, and the lock is not bound to it.
  EXPECT_EQ(fcntl(descriptor, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  EXPECT_EQ(write_byte(other), JM_ERR_WRITER_ACTIVE);
}

TEST(Share, DescriptorsThatCannotBe) {
  jm_segment* segment;
  const char* why = nullptr;
  EXPECT_EQ(jm_open_descriptor(-1, 0, &segment, &why), JM_ERR_SYSTEM);
  EXPECT_EQ(segment, nullptr);
  const File empty(memfd_create("empty", MFD_CLOEXEC));
  EXPECT_EQ(jm_open_descriptor(empty.get(), 0, &segment, &why), JM_ERR_CORRUPT);
  EXPECT_NE(why, nullptr);

  int descriptor;
  ASSERT_EQ(jm_new(8, 0, &segment), JM_OK);
  const Handle own(segment);
  EXPECT_EQ(jm_descriptor(own.get(), 1, &descriptor), JM_ERR_ARGUMENT);
  const Handle sealed = create_sealed(8);
  ASSERT_EQ(jm_retire(sealed.get()), JM_OK);
  EXPECT_EQ(jm_descriptor(sealed.get(), 1, &descriptor), JM_ERR_CLOSED);
}

TEST(Share, OneWriterAtATime) {
  const Name name;
  Handle a = create(name, 8);
  Handle b = open_name(name);
  const Handle watcher = again(a, JM_READ_ONLY);
  EXPECT_EQ(jm_writer_state(a.get()), JM_WRITER_NONE);
  EXPECT_EQ(jm_writer_state(b.get()), JM_WRITER_NONE);
  ASSERT_EQ(write_byte(a), JM_OK);
  EXPECT_EQ(jm_writer_state(a.get()), JM_WRITER_HERE);
  EXPECT_EQ(jm_writer_state(b.get()), JM_WRITER_OTHER);
  EXPECT_EQ(jm_writer_state(watcher.get()), JM_WRITER_OTHER);

  void* data;
  std::uint64_t length;
  EXPECT_EQ(write_byte(b), JM_ERR_WRITER_ACTIVE);
  EXPECT_EQ(jm_fill(b.get(), nullptr, 0, JM_UINT8, 1), JM_ERR_WRITER_ACTIVE);
  EXPECT_EQ(jm_begin(b.get(), nullptr, 0, JM_UINT8, &data, &length), JM_ERR_WRITER_ACTIVE);
  EXPECT_EQ(jm_version(b.get()), 2u);

  ASSERT_EQ(jm_retire(a.get()), JM_OK);
  EXPECT_EQ(jm_retire(a.get()), JM_OK);
  EXPECT_EQ(write_byte(a), JM_ERR_CLOSED);
  EXPECT_EQ(jm_writer_state(a.get()), JM_WRITER_NONE);
  EXPECT_EQ(jm_writer_state(b.get()), JM_WRITER_NONE);
  ASSERT_EQ(write_byte(b), JM_OK);
  EXPECT_EQ(jm_version(b.get()), 4u);
  EXPECT_EQ(jm_writer_state(b.get()), JM_WRITER_HERE);

  Handle c = open_name(name);
  EXPECT_EQ(write_byte(c), JM_ERR_WRITER_ACTIVE);
  b.reset();
  ASSERT_EQ(write_byte(c), JM_OK);
  EXPECT_EQ(jm_version(c.get()), 6u);
  EXPECT_EQ(jm_writer_state(watcher.get()), JM_WRITER_OTHER);
}

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

// A writer may take parked readers for dead and count none; those that are alive after all don't count below that.
TEST(Wait, ReadersThatWereTakenForDead) {
  const Watchdog watchdog(seconds(20));
  const Handle writer = create_sealed(8);
  const Handle reader = again(writer);
  jm_tensor tensor;
  jm_status status = JM_ERR_BUSY;
  std::thread waiting([&] { status = jm_next(reader.get(), 0, -1, &tensor); });
  EXPECT_TRUE(eventually([&] { return waiters(writer) == 1; }));
  jm_base(writer.get())->waiters = 0;
  EXPECT_EQ(write_byte(writer), JM_OK);
  waiting.join();
  EXPECT_EQ(status, JM_OK);
  EXPECT_EQ(waiters(writer), 0u);
}

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

  // Nobody waits any more: one more commit wakes the thread, and those behind it nobody.
  EXPECT_EQ(waiters(writer), 1u);
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

TEST(Processes, TheDeathOfAWriterEndsAWatch) {
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

// How long a parked reader takes to find out that the writer is gone. The middle one of a few, since any of them can be
// held up on a busy machine.
Clock::duration time_to_notice(const char* role, const std::function<jm_status(jm_segment*)>& wait) {
  constexpr std::size_t kTimes = 5;
  std::vector<Clock::duration> times;
  for (std::size_t i = 0; i < kTimes; ++i) {
    const Name name;
    const Handle segment = create(name, 8);
    const Handle reader = open_name(name);
    Child writer({role, name.text()});
    EXPECT_EQ(writer.line(), "ready");
    jm_status status = JM_OK;
    std::thread waiting([&] { status = wait(reader.get()); });
    EXPECT_TRUE(eventually([&] { return waiters(segment) == 1; }));
    writer.kill();
    const Clock::time_point start = Clock::now();
    waiting.join();
    times.push_back(Clock::now() - start);
    EXPECT_EQ(status, JM_ERR_WRITER_DIED) << jm_strerror(status);
  }
  std::sort(times.begin(), times.end());
  return times[kTimes / 2];
}

TEST(Processes, ADeathIsNoticedSoon) {
  const Watchdog watchdog(seconds(60));
  jm_tensor tensor;
  std::uint8_t byte;
  const auto next = [&](jm_segment* segment) { return jm_next(segment, 2, -1, &tensor); };
  const auto read = [&](jm_segment* segment) { return jm_read(segment, &tensor); };
  const auto read_into = [&](jm_segment* segment) { return jm_read_into(segment, &byte, 1, &tensor); };
  EXPECT_LT(time_to_notice("idle", next), milliseconds(100));
  EXPECT_LT(time_to_notice("begin", next), milliseconds(100));
  EXPECT_LT(time_to_notice("begin", read), milliseconds(100));
  EXPECT_LT(time_to_notice("begin", read_into), milliseconds(100));
}

// Three processes are parked on one segment. Where no commit woke them, they would look after 40 ms: 50 rounds would
// take 2 s.
TEST(Processes, OneCommitWakesAll) {
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

// A reader that is killed while it is parked stays counted, and costs each commit a system call, until the writer finds
// out. Readers that come later are woken as ever.
TEST(Processes, KilledReadersAreForgotten) {
  const Name name;
  const Handle segment = create(name, 8);
  Child reader({"park", name.text()});
  ASSERT_TRUE(eventually([&] { return waiters(segment) == 1; }));
  reader.kill();
  EXPECT_EQ(waiters(segment), 1u);
  EXPECT_TRUE(eventually([&] { return write_byte(segment) == JM_OK && waiters(segment) == 0; }));
  Child later({"park", name.text()});
  ASSERT_NE(later.line(), "");
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(eventually([&] { return waiters(segment) == 1; }));
    ASSERT_EQ(write_byte(segment), JM_OK);
    EXPECT_EQ(later.line(), std::to_string(jm_version(segment.get())));
  }
}

// Sets `stop`, makes parked threads look, and joins, also where a test ends early.
class Joining {
 public:
  Joining(std::atomic<bool>* stop, std::function<void()> wake) : stop_(stop), wake_(std::move(wake)) {}
  ~Joining() { join(); }
  template <class Body>
  void start(Body&& body) {
    threads_.emplace_back(std::forward<Body>(body));
  }
  void join() {
    if (threads_.empty()) return;
    *stop_ = true;
    wake_();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  std::atomic<bool>* stop_;
  std::function<void()> wake_;
  std::vector<std::thread> threads_;
};

// Writer after writer is killed at a moment of chance, mostly in the middle of a large commit. Readers, parked and
// copying, get whole tensors all the while, or the word that the writer died, or that there is nothing: so says a
// writer that takes over from one that died in a commit.
TEST(Processes, WritersDieInTheMiddleOfCommits) {
#ifdef JM_THREAD_SANITIZER
  constexpr int kRounds = 40;  // such a process takes long to start
#else
  constexpr int kRounds = 200;
#endif
  constexpr std::uint64_t kElements = (1 << 20) / 8;
  constexpr auto kPause = std::chrono::microseconds(200);  // the writers need the processor too
  const Watchdog watchdog(seconds(60));
  const Name name;
  const Handle segment = create(name, kElements * 8);
  std::atomic<bool> stop{false};
  std::atomic<long> copies{0}, views{0}, deaths[2] = {};
  Joining readers(&stop, [&] { EXPECT_EQ(commit(segment, kElements), JM_OK); });
  readers.start([&, reader = open_name(name)] {
    std::vector<std::int64_t> buffer(kElements);
    for (std::uint64_t last = 0; !stop; std::this_thread::sleep_for(kPause)) {
      jm_tensor tensor;
      const jm_status status = jm_read_into(reader.get(), buffer.data(), kElements * 8, &tensor);
      if (status == JM_OK) {
        ++copies;
        ASSERT_TRUE(whole(tensor, kElements)) << "version " << tensor.version << " is torn";
        ASSERT_GE(tensor.version, last) << "a version went back";
        last = tensor.version;
      } else if (status == JM_ERR_WRITER_DIED) {
        ++deaths[0];
      } else {
        ASSERT_EQ(status, JM_ERR_EMPTY) << jm_strerror(status);
      }
    }
  });
  readers.start([&, reader = open_name(name)] {
    std::vector<std::int64_t> buffer(kElements);
    for (std::uint64_t last = 0; !stop; std::this_thread::sleep_for(kPause)) {
      jm_tensor tensor;
      const jm_status status = jm_next(reader.get(), last, 30 * kSecond, &tensor);
      if (status == JM_OK) {
        judemap::payload::copy(buffer.data(), tensor.data, tensor.byte_length, 1);
        if (jm_valid(reader.get(), &tensor)) {
          ++views;
          tensor.data = buffer.data();
          ASSERT_TRUE(whole(tensor, kElements)) << "version " << tensor.version << " is torn and still valid";
        }
        ASSERT_GT(tensor.version, last);
        last = tensor.version;
      } else {
        ASSERT_EQ(status, JM_ERR_WRITER_DIED) << jm_strerror(status);
        ++deaths[1];
      }
    }
  });

  std::mt19937 random(1);
  int in_commit = 0;
  std::vector<std::int64_t> buffer(kElements);
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    const std::uint64_t before = jm_version(segment.get());
    Child writer({"write", name.text(), std::to_string(kElements)});
    ASSERT_TRUE(eventually([&] { return jm_version(segment.get()) > before + 4; })) << "the writer does not go on";
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    writer.kill();

    const std::uint64_t dead = jm_version(segment.get());
    jm_tensor tensor;
    EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_DIED);
    EXPECT_EQ(jm_next(segment.get(), dead, 10 * kSecond, &tensor), JM_ERR_WRITER_DIED);
    EXPECT_EQ(jm_read(segment.get(), &tensor), dead % 2 == 0 ? JM_OK : JM_ERR_WRITER_DIED);
    EXPECT_EQ(jm_try_read(segment.get(), &tensor), dead % 2 == 0 ? JM_OK : JM_ERR_BUSY);
    in_commit += dead % 2;
    // Once at least, each reader has the time to find out by itself, before another writer takes over.
    if (dead % 2 != 0) {
      ASSERT_TRUE(eventually([&] { return deaths[0] != 0 && deaths[1] != 0; })) << "a reader does not notice";
    }
    if (round % 3 == 0) continue;  // the next child takes over

    const Handle heir = open_name(name);
    const bool give_up = round % 3 == 1;
    ASSERT_EQ(commit(heir, kElements, give_up), JM_OK);
    EXPECT_EQ(jm_version(segment.get()), dead % 2 == 0 ? dead + 2 : dead + 3);
    EXPECT_EQ(jm_read_into(segment.get(), buffer.data(), kElements * 8, &tensor), give_up ? JM_ERR_EMPTY : JM_OK);
    EXPECT_TRUE(give_up || whole(tensor, kElements));
  }
  readers.join();
  EXPECT_GT(in_commit, kRounds / 4);
  EXPECT_GT(copies, 0);
  EXPECT_GT(views, 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--role") == 0) return play(argc - 2, argv + 2);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

#else  // __linux__

TEST(Share, NotHere) { GTEST_SKIP() << "segments are shared on Linux only"; }

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

#endif  // __linux__
