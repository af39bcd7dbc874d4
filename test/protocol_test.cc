// The protocol: the steps of a commit, the rule for headers, the count of parked readers, and the deaths of writers and
// readers, as the processes that are left see them.

#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "helper.h"

namespace {

using Shape = std::vector<std::uint64_t>;

constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();  // the largest dimension and size

TEST(Protocol, TensorBytes) {
  const struct {
    Shape shape;
    std::uint32_t dtype;
    bool fits;
    std::uint64_t bytes;
  } cases[] = {
      {{}, JM_FLOAT64, true, 8},
      {{2, 3, 4}, JM_INT16, true, 48},
      {{1, 1, 1, 1, 1, 1, 1, 7}, JM_UINT8, true, 7},
      {{kMost}, JM_UINT8, true, kMost},
      {{kMost + 1}, JM_UINT8, false, 0},  // no dimension, and no size, is 2^63 or more
      {{kMost / 2 + 1}, JM_UINT16, false, 0},
      {{kHuge}, JM_UINT16, false, 0},
      {{kHuge / 8 + 1}, JM_FLOAT64, false, 0},
      {{std::uint64_t{1} << 32, std::uint64_t{1} << 32}, JM_BOOL, false, 0},
      {{0}, JM_FLOAT32, true, 0},
      {{kMost, kMost, 0}, JM_FLOAT32, true, 0},  // empty, in whatever order
      {{0, kMost, kMost}, JM_FLOAT32, true, 0},
      {{0, kMost + 1}, JM_FLOAT32, false, 0},
      {{kMost + 1, 0}, JM_FLOAT32, false, 0},
  };
  for (const auto& c : cases) {
    std::uint64_t bytes = 1;
    const bool fits =
        judemap::tensor_bytes(c.shape.data(), static_cast<std::uint32_t>(c.shape.size()), c.dtype, &bytes);
    EXPECT_EQ(fits, c.fits) << testing::PrintToString(c.shape);
    if (fits) {
      EXPECT_EQ(bytes, c.bytes) << testing::PrintToString(c.shape);
    }
  }
}

// The rows that Go runs too (TestHeaders): one rule, in two languages.
TEST(Protocol, TheRowsThatGoRunsToo) {
  std::ifstream file(JUDEMAP_TESTDATA "/headers.txt");
  ASSERT_TRUE(file.is_open());
  int rows = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    SCOPED_TRACE(line);
    std::istringstream words(line);
    std::string field;
    std::uint64_t capacity;
    judemap::Metadata metadata;
    ASSERT_TRUE(words >> field >> capacity >> metadata.ndim >> metadata.dtype >> metadata.byte_length);
    for (int i = 0; i < JM_MAX_DIMS && words >> metadata.shape[i]; ++i) {
    }
    const char* corrupt = judemap::corrupt_field(metadata, capacity);
    EXPECT_EQ(corrupt == nullptr ? (metadata.none() ? "none" : "ok") : std::string(corrupt), field);
    ++rows;
  }
  EXPECT_GT(rows, 30);
}

// The steps of a commit, in every order that a caller could get wrong.
TEST(Protocol, StepsOutOfOrder) {
  const std::uint64_t shape = 4;
  const std::uint8_t data[4] = {1, 2, 3, 4};
  judemap::Protocol protocol;
  ASSERT_EQ(protocol.create(8, 0), JM_OK);
  void* place = nullptr;
  std::uint64_t length = 0;
  jm_tensor tensor;
  EXPECT_EQ(protocol.commit(), JM_ERR_ARGUMENT);
  EXPECT_EQ(protocol.abort(), JM_ERR_ARGUMENT);
  EXPECT_EQ(protocol.version(), 0u);
  EXPECT_EQ(protocol.begin(&shape, 1, JM_FLOAT64, &place, &length), JM_ERR_CAPACITY);
  EXPECT_EQ(protocol.version(), 0u) << "a commit that is refused does not begin";

  ASSERT_EQ(protocol.begin(&shape, 1, JM_UINT8, &place, &length), JM_OK);
  EXPECT_EQ(place, protocol.data());
  EXPECT_EQ(length, 4u);
  EXPECT_EQ(protocol.version(), 1u);
  std::memcpy(place, data, sizeof data);
  EXPECT_EQ(protocol.begin(&shape, 1, JM_UINT8, &place, &length), JM_ERR_ARGUMENT);
  EXPECT_EQ(protocol.write(&shape, 1, JM_UINT8, data, 4), JM_ERR_ARGUMENT);
  EXPECT_EQ(protocol.fill(&shape, 1, JM_UINT8, 9), JM_ERR_ARGUMENT);
  EXPECT_EQ(protocol.version(), 1u);
  ASSERT_EQ(protocol.commit(), JM_OK);
  ASSERT_EQ(protocol.try_read(&tensor), JM_OK);
  EXPECT_EQ(tensor.version, 2u);
  EXPECT_EQ(std::memcmp(protocol.data(), data, 4), 0) << "what was refused has changed what was begun";

  ASSERT_EQ(protocol.begin(&shape, 1, JM_UINT8, &place, &length), JM_OK);
  ASSERT_EQ(protocol.abort(), JM_OK);
  EXPECT_EQ(protocol.abort(), JM_ERR_ARGUMENT);
  EXPECT_EQ(protocol.commit(), JM_ERR_ARGUMENT);
  EXPECT_EQ(protocol.try_read(&tensor), JM_ERR_EMPTY);
  EXPECT_EQ(protocol.version(), 4u);
  EXPECT_EQ(protocol.stats().commits, 2u);

  protocol.close();
  protocol.close();
  EXPECT_EQ(protocol.begin(&shape, 1, JM_UINT8, &place, &length), JM_ERR_CLOSED);
  EXPECT_EQ(protocol.write(&shape, 1, JM_UINT8, data, 4), JM_ERR_CLOSED);
  EXPECT_EQ(protocol.try_read(&tensor), JM_ERR_CLOSED);
  EXPECT_EQ(protocol.park(4, -1), JM_ERR_CLOSED);
  EXPECT_EQ(protocol.retire(), 0);
}

}  // namespace

#ifdef __linux__

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../csrc/payload.h"

namespace {

using namespace helper;

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

TEST(Protocol, PlainSegment) {
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

TEST(Protocol, PlainWriterDiesInACommit) {
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
TEST(Protocol, ForeignWriters) {
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

// A writer may take parked readers for dead and count none; those that are alive after all don't count below that.
TEST(Protocol, ReadersThatWereTakenForDead) {
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

// A handle that was never let commit is not the writer, and says nothing in the header.
TEST(Protocol, AttachesWithTheFirstCommit) {
  const Name name;
  judemap::Protocol protocol, other;
  ASSERT_EQ(protocol.create(name.text(), 8, 0600, 0), JM_OK);
  ASSERT_EQ(other.open(name.text(), 0, nullptr), JM_OK);
  const auto flagged = [&] { return (protocol.header()->flags & JM_FLAG_WRITER_ATTACHED) != 0; };
  void* data;
  std::uint64_t length;
  const std::uint64_t shape = 9;
  EXPECT_EQ(protocol.begin(&shape, 1, JM_UINT8, &data, &length), JM_ERR_CAPACITY);
  EXPECT_EQ(protocol.begin(nullptr, 0, JM_COMPLEX64 + 1, &data, &length), JM_ERR_DTYPE);
  EXPECT_EQ(protocol.fill(nullptr, 0, JM_UINT8, 256), JM_ERR_RANGE);
  EXPECT_FALSE(protocol.attached() || flagged());
  EXPECT_EQ(other.writer(), JM_WRITER_NONE);

  ASSERT_EQ(protocol.begin(nullptr, 0, JM_UINT8, &data, &length), JM_OK);
  EXPECT_TRUE(protocol.attached() && flagged());
  EXPECT_EQ(other.writer(), JM_WRITER_OTHER);
  EXPECT_EQ(other.fill(nullptr, 0, JM_UINT8, 1), JM_ERR_WRITER_ACTIVE);
  ASSERT_EQ(protocol.abort(), JM_OK);
  EXPECT_TRUE(protocol.attached() && flagged()) << "until it is closed";
  protocol.close();
  EXPECT_FALSE(protocol.attached() || flagged());
  ASSERT_EQ(other.fill(nullptr, 0, JM_UINT8, 1), JM_OK);
  EXPECT_EQ(other.version(), 4u);
}

// The header's count of parked readers is what the handles that are open have announced.
TEST(Protocol, CountsOfReaders) {
  const Name name;
  judemap::Protocol a, b;
  ASSERT_EQ(a.create(name.text(), 8, 0600, 0), JM_OK);
  ASSERT_EQ(b.open(name.text(), 0, nullptr), JM_OK);
  const auto counted = [&] { return a.header()->waiters.load(); };
  for (int i = 0; i < 3; ++i) b.announce();
  a.announce();
  EXPECT_EQ(counted(), 4u);
  b.conceal();
  EXPECT_EQ(counted(), 3u);
  b.close();
  EXPECT_EQ(counted(), 1u) << "close takes its own";
  b.conceal();
  EXPECT_EQ(counted(), 1u) << "and whoever leaves later does not do so again";
  b.announce();
  EXPECT_EQ(counted(), 1u) << "nobody parks on a handle that is closed";
  EXPECT_EQ(b.retire(), 0);
  b.announce();
  b.conceal();
  EXPECT_EQ(counted(), 1u);
  a.header()->waiters = 0;  // a writer took it for dead
  a.conceal();
  EXPECT_EQ(counted(), 0u);
  judemap::Protocol reader;
  ASSERT_EQ(reader.open(name.text(), JM_READ_ONLY, nullptr), JM_OK);
  reader.announce();
  reader.conceal();
  EXPECT_EQ(counted(), 0u);
}

// Threads come to park, and leave, while their handle is closed: in whatever order, nobody stays counted.
TEST(Protocol, CountsBesideClose) {
  constexpr int kRounds = 300;
  constexpr int kThreads = 3;
  const Watchdog watchdog(seconds(120));
  const Handle observer = create_sealed(8);
  std::mt19937 random(2);
  for (int round = 0; round < kRounds; ++round) {
    const Handle segment = again(observer);
    std::atomic<int> begun{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        jm_tensor tensor;
        ++begun;
        for (jm_status status = JM_ERR_TIMEOUT; status == JM_ERR_TIMEOUT;) {
          status = jm_next(segment.get(), 0, 20'000, &tensor);
          EXPECT_TRUE(status == JM_ERR_TIMEOUT || status == JM_ERR_CLOSED) << jm_strerror(status);
        }
      });
    }
    while (begun != kThreads) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
#ifdef JM_THREAD_SANITIZER
    // It takes the mapping's replacement, one step for all who look at it, for a store that races with them.
    jm_protocol_close(segment.get());
#else
    EXPECT_EQ(jm_retire(segment.get()), JM_OK);
#endif
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(waiters(observer), 0u) << "round " << round;
  }
}

// Locks the writer's byte for reading, as anybody may who may read the file.
class ReadLock {
 public:
  explicit ReadLock(const Name& name) : file_(open(name.path().c_str(), O_RDONLY | O_CLOEXEC)) {}
  bool take() {
    struct flock lock = {};
    lock.l_type = F_RDLCK;
    lock.l_whence = SEEK_SET;
    lock.l_len = 1;
    return fcntl(file_.get(), F_OFD_SETLK, &lock) == 0;
  }

 private:
  const File file_;
};

TEST(Protocol, AReadersLockIsNoWriters) {
  const Name name;
  const Handle segment = create(name, 8);
  ReadLock lock(name);
  {
    Child writer({"begin", name.text()});
    ASSERT_EQ(writer.line(), "ready");
    EXPECT_FALSE(lock.take()) << "the writer has it";
  }
  ASSERT_TRUE(lock.take());
  EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_DIED);
  jm_tensor tensor;
  EXPECT_EQ(jm_read(segment.get(), &tensor), JM_ERR_WRITER_DIED);
  EXPECT_EQ(jm_next(segment.get(), 2, 10 * kSecond, &tensor), JM_ERR_WRITER_DIED);
  // What it can do: keep others from writing (WithMode says so).
  EXPECT_EQ(write_byte(segment), JM_ERR_WRITER_ACTIVE);
}

// The intervals at both ends, and past them: nobody spins, and nobody sleeps past what else ends a wait.
TEST(Protocol, PollIntervals) {
  const Watchdog watchdog(seconds(60));
  for (const std::int64_t interval : {std::int64_t{0}, std::int64_t{-1}, INT64_MIN, INT64_MAX}) {
    SCOPED_TRACE(interval);
    const Name name;
    const Handle segment = create(name, 8, 0600, JM_FOREIGN_WRITERS);
    const Handle reader = open_name(name);
    jm_set_poll(reader.get(), interval);
    jm_tensor tensor;
    // With the shortest, 50 us, a look takes some: 6,000 in 300 ms.
    const double most = interval == INT64_MAX ? 0.03 : 0.15;
    std::clock_t before = std::clock();
    EXPECT_EQ(jm_next(reader.get(), 0, 300 * kMillisecond, &tensor), JM_ERR_TIMEOUT);
    EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, most);

    jm_status status = JM_OK;
    before = std::clock();
    std::thread waiting([&] { status = jm_next(reader.get(), 0, -1, &tensor); });
    std::this_thread::sleep_for(milliseconds(300));
    EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, most);
    EXPECT_EQ(jm_retire(reader.get()), JM_OK);
    waiting.join();
    EXPECT_EQ(status, JM_ERR_CLOSED);
  }
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

// Where others may write without a lock, a writer of this code that dies between two commits is noticed as well, until
// one of the others commits.
TEST(Processes, ADeathBesideForeignWriters) {
  const Watchdog watchdog(seconds(60));
  const Name name;
  const Handle segment = create(name, 8, 0600, JM_FOREIGN_WRITERS);
  Child writer({"idle", name.text()});
  ASSERT_EQ(writer.line(), "ready");
  jm_tensor tensor;
  EXPECT_EQ(jm_next(segment.get(), 2, 60 * kMillisecond, &tensor), JM_ERR_TIMEOUT);
  EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_OTHER);
  writer.kill();
  const Clock::time_point start = Clock::now();
  EXPECT_EQ(jm_next(segment.get(), 2, 10 * kSecond, &tensor), JM_ERR_WRITER_DIED);
  EXPECT_LT(Clock::now() - start, seconds(1));
  EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_DIED);
  jm_base(segment.get())->sequence.fetch_add(2);  // one that takes no lock
  EXPECT_EQ(jm_writer_state(segment.get()), JM_WRITER_NONE);
  EXPECT_EQ(jm_next(segment.get(), 4, 60 * kMillisecond, &tensor), JM_ERR_TIMEOUT);
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

#endif  // __linux__
