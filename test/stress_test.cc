// One writer and readers of all kinds, as fast as they can: no torn copy, no torn view that is still valid, no version
// that goes back, and something to read for everybody. JUDEMAP_STRESS ("300ms", "1s", ...) sets how long each size
// runs.

#include <gtest/gtest.h>
#ifdef __linux__
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "helper.h"

namespace {

using pattern::element;
using pattern::shape_of;

using Clock = std::chrono::steady_clock;

// How long a reader may go without anything to read before the test fails: longer than any machine needs.
constexpr std::chrono::seconds kHang{60};

// The readers go on at least until this version, also where a commit takes long.
constexpr std::uint64_t kFewest = 8;

std::chrono::milliseconds stress_time() {
  const char* text = std::getenv("JUDEMAP_STRESS");
  if (text == nullptr || *text == 0) return std::chrono::milliseconds(300);
  char* unit;
  const double number = std::strtod(text, &unit);
  const std::string name = unit;
  const double scale = name == "ms" ? 1 : name == "s" ? 1e3 : name == "m" ? 60e3 : 0;
  if (scale == 0) ADD_FAILURE() << "JUDEMAP_STRESS: " << text << " is no time such as 300ms, 1s or 2m";
  return std::chrono::milliseconds(static_cast<std::int64_t>(number * scale));
}

// Versions that the writer begins in place, and of these, those that it gives up.
bool in_place(std::uint64_t version) { return version / 2 % 4 == 0; }
bool given_up(std::uint64_t version) { return version / 2 % 32 == 0; }

// A look at a word that is overwritten meanwhile, and a store to one that is looked at meanwhile: ThreadSanitizer gets
// the defined form, as in csrc/payload.h.
std::int64_t look(const std::int64_t* word) {
#ifdef JM_THREAD_SANITIZER
  return __atomic_load_n(word, __ATOMIC_RELAXED);
#else
  return *word;
#endif
}

void put(std::int64_t* word, std::int64_t value) {
#ifdef JM_THREAD_SANITIZER
  __atomic_store_n(word, value, __ATOMIC_RELAXED);
#else
  *word = value;
#endif
}

void write(judemap::Segment* segment, std::uint64_t n, const std::atomic<bool>* stop) {
  std::vector<std::int64_t> values(n);
  while (!*stop) {
    const Clock::time_point start = Clock::now();
    const std::uint64_t version = segment->version() + 2;
    std::uint64_t shape[JM_MAX_DIMS];
    std::uint32_t ndim;
    const std::uint64_t size = shape_of(version, n, shape, &ndim);
    if (in_place(version)) {
      void* data;
      std::uint64_t length;
      ASSERT_EQ(segment->begin(shape, ndim, JM_INT64, &data, &length), JM_OK);
      for (std::uint64_t i = 0; i < size; ++i) put(static_cast<std::int64_t*>(data) + i, element(version, i));
      if (given_up(version)) {
        segment->abort();
      } else {
        segment->commit();
      }
    } else {
      for (std::uint64_t i = 0; i < size; ++i) values[i] = element(version, i);
      ASSERT_EQ(segment->write(shape, ndim, JM_INT64, values.data(), size * 8), JM_OK);
    }
    ASSERT_EQ(segment->version(), version);
    // Now and then it leaves the readers that do not wait their turn the time of a few commits, also where there are
    // fewer processors than threads.
    if (version / 2 % 8 == 1) std::this_thread::sleep_for(4 * (Clock::now() - start));
  }
}

enum class Kind { kReadInto, kTryReadInto, kRead, kNext };

// Whether the tensor is, in all, that of its version: first the shape, which must be right even where the data was
// overwritten since, then the data. A view that is overwritten, and says so, is neither good nor a failure.
enum class Verdict { kGood, kOverwritten, kWrong };

Verdict check(const judemap::Segment& segment, const jm_tensor& tensor, bool view, std::uint64_t n) {
  std::uint64_t shape[JM_MAX_DIMS];
  std::uint32_t ndim;
  const std::uint64_t size = shape_of(tensor.version, n, shape, &ndim);
  if (given_up(tensor.version) || tensor.dtype != JM_INT64 || tensor.ndim != ndim ||
      !std::equal(shape, shape + ndim, tensor.shape) || tensor.byte_length != size * 8) {
    ADD_FAILURE() << "version " << tensor.version << " has a header that is not its own";
    return Verdict::kWrong;
  }
  const auto* values = static_cast<const std::int64_t*>(tensor.data);
  std::uint64_t i = 0;
  while (i < size && (view ? look(values + i) : values[i]) == element(tensor.version, i)) ++i;
  if (view && !segment.valid(tensor)) return Verdict::kOverwritten;
  if (i == size) return Verdict::kGood;
  ADD_FAILURE() << "version " << tensor.version << " is torn at element " << i << " of " << size;
  return Verdict::kWrong;
}

void read(judemap::Segment* segment, Kind kind, std::uint64_t n, Clock::time_point enough) {
  std::vector<std::int64_t> buffer(n);
  const Clock::time_point hang = enough + kHang;
  std::uint64_t last = 0;
  for (long good = 0; good == 0 || Clock::now() < enough || segment->version() < kFewest;) {
    if (Clock::now() > hang) {
      ADD_FAILURE() << "reader " << static_cast<int>(kind) << " got nothing";
      return;
    }
    jm_tensor tensor;
    jm_status status = JM_OK;
    switch (kind) {
      case Kind::kReadInto:
        status = segment->read_into(buffer.data(), n * 8, &tensor);
        break;
      case Kind::kTryReadInto:
        status = segment->try_read_into(buffer.data(), n * 8, &tensor);
        break;
      case Kind::kRead:
        status = segment->read(&tensor);
        break;
      case Kind::kNext:
        status = segment->next(last, std::chrono::nanoseconds(kHang).count(), &tensor);
        break;
    }
    if (status == JM_ERR_EMPTY && kind != Kind::kNext) continue;
    if (status == JM_ERR_BUSY && kind == Kind::kTryReadInto) continue;
    ASSERT_EQ(status, JM_OK) << jm_strerror(status);
    if (tensor.version < last || (tensor.version == last && kind == Kind::kNext)) {
      ADD_FAILURE() << "reader " << static_cast<int>(kind) << ": version " << tensor.version << " after " << last;
      return;
    }
    last = tensor.version;
    const bool view = kind == Kind::kRead || kind == Kind::kNext;
    switch (check(*segment, tensor, view, n)) {
      case Verdict::kGood:
        ++good;
        break;
      case Verdict::kOverwritten:
        break;
      case Verdict::kWrong:
        return;
    }
  }
}

constexpr Kind kKinds[] = {Kind::kReadInto, Kind::kTryReadInto, Kind::kRead, Kind::kNext};

// Runs a reader of each kind on `readers` (as many, or one for all) under a writer on `writer`.
void run(judemap::Segment* writer, const std::vector<judemap::Segment*>& readers, std::uint64_t bytes) {
  const std::uint64_t n = bytes / 8;
  const Clock::time_point enough = Clock::now() + stress_time();
  std::atomic<bool> stop{false};
  std::thread writing([&] { write(writer, n, &stop); });
  std::vector<std::thread> reading;
  for (std::size_t i = 0; i < std::size(kKinds); ++i) {
    judemap::Segment* segment = readers[i % readers.size()];
    reading.emplace_back([=] { read(segment, kKinds[i], n, enough); });
  }
  for (std::thread& thread : reading) thread.join();
  stop = true;
  writing.join();
  EXPECT_GE(writer->version(), kFewest);
}

class Stress : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Stress, Private) {
  judemap::Segment segment;
  ASSERT_EQ(segment.create(GetParam()), JM_OK);
  run(&segment, {&segment}, GetParam());
}

INSTANTIATE_TEST_SUITE_P(, Stress, testing::Values(24, 4 << 10, 1 << 20, 8 << 20));

#ifdef __linux__

class SharedStress : public testing::TestWithParam<std::uint64_t> {};

// The writer and each reader map the segment for themselves, as processes do.
TEST_P(SharedStress, HandlesOfTheirOwn) {
  judemap::Segment writer;
  ASSERT_EQ(writer.create_sealed(GetParam()), JM_OK);
  std::vector<std::unique_ptr<judemap::Segment>> handles;
  std::vector<judemap::Segment*> readers;
  int descriptor;
  ASSERT_EQ(writer.descriptor(true, &descriptor), JM_OK);
  for (std::size_t i = 0; i < std::size(kKinds); ++i) {
    handles.push_back(std::make_unique<judemap::Segment>());
    ASSERT_EQ(handles.back()->open(descriptor), JM_OK);
    readers.push_back(handles.back().get());
  }
  ASSERT_EQ(close(descriptor), 0);
  run(&writer, readers, GetParam());
}

INSTANTIATE_TEST_SUITE_P(, SharedStress, testing::Values(4 << 10, 1 << 20));

#endif  // __linux__

}  // namespace
