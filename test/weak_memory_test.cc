// The seqlock's own lines (seqlock.h) on a simulated memory as weak as the language's model allows. A test on real
// hardware shows only what that machine reorders, and x86 reorders neither two stores nor two loads.
//
// The memory is the view machine of "A promising semantics for relaxed-memory concurrency" (Kang et al., POPL 2017)
// without promises, which is RC11. A location keeps every message that was stored to it. A thread has a view, one
// position for each location, below which it cannot read any more; above it, a relaxed load may return any message,
// however old. Views travel with messages: from a release store or a release fence to an acquire load or an acquire
// fence. Promises would add stores that run ahead of loads; the reader has no stores, and the writer loads only its own
// last one.
//
// Nothing that a reader does reaches the writer, and every message stays there to be read. So whatever a reader can see
// under any interleaving, it can also see when it runs after the writer is done: the writer runs first, and chance
// picks the messages that the reader gets.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "helper.h"
#include "judemap/seqlock.h"

namespace {

using judemap::Attempt;
using judemap::Metadata;

constexpr std::size_t kPayloadWords = 4;
constexpr std::size_t kLocations = 1 + 2 + JM_MAX_DIMS + 1 + kPayloadWords;
#ifdef JM_THREAD_SANITIZER
constexpr int kExecutions = 20000;  // of the one real thread it has nothing to tell
#else
constexpr int kExecutions = 200000;
#endif
constexpr std::uint64_t kSeed = 20120616;

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  // A number below `bound`.
  std::size_t below(std::size_t bound) {  // splitmix64
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return (z ^ (z >> 31)) % bound;
  }

 private:
  std::uint64_t state_;
};

// The first message of each location that may still be read: an index into its history.
struct View {
  std::array<std::uint16_t, kLocations> at{};

  void join(const View& other) {
    for (std::size_t i = 0; i < kLocations; ++i) at[i] = std::max(at[i], other.at[i]);
  }
};

// What a thread knows.
struct Thread {
  View now;              // what it has seen, or must have seen
  View acquired;         // what it will have seen after an acquire fence
  View released;         // what its relaxed stores pass on: its view at the last release fence
  int stores_left = -1;  // how many stores it lives for; negative: no end
};

class Machine {
 public:
  explicit Machine(std::uint64_t seed) : random_(seed) { reset(); }

  // All locations hold 0, and everybody knows.
  void reset() {
    stale_ = random_.below(16);
    for (auto& history : histories_) {
      history.clear();
      history.push_back({});
    }
  }

  // The thread whose loads, stores and fences these are from here on.
  void run(Thread* thread) { thread_ = thread; }

  std::uint64_t load(std::size_t location, std::memory_order order) {
    const auto& history = histories_[location];
    const std::size_t oldest = thread_->now.at[location];
    const bool stale = random_.below(16) < stale_;
    const std::size_t pick = stale ? oldest : oldest + random_.below(history.size() - oldest);
    const Message& message = history[pick];
    thread_->now.at[location] = static_cast<std::uint16_t>(pick);
    thread_->acquired.join(message.view);
    if (order != std::memory_order_relaxed) thread_->now.join(message.view);
    return message.value;
  }

  // Stores to a location come from one thread at a time, and each thread knows its predecessor's: the new message is
  // the last one.
  void store(std::size_t location, std::uint64_t value, std::memory_order order) {
    if (thread_->stores_left == 0) return;
    --thread_->stores_left;
    auto& history = histories_[location];
    const auto position = static_cast<std::uint16_t>(history.size());
    thread_->now.at[location] = thread_->acquired.at[location] = position;
    Message message = {value, order == std::memory_order_relaxed ? thread_->released : thread_->now};
    message.view.at[location] = position;
    history.push_back(message);
  }

  void fence(std::memory_order order) {
    if (order != std::memory_order_release) thread_->now.join(thread_->acquired);
    if (order != std::memory_order_acquire) thread_->released = thread_->now;
  }

  Random& random() { return random_; }

 private:
  struct Message {
    std::uint64_t value = 0;
    View view;
  };

  std::array<std::vector<Message>, kLocations> histories_;
  Thread* thread_ = nullptr;
  Random random_;
  // How many of 16 loads get the oldest message that they may. It differs between executions: where all loads choose
  // evenly, hardly any attempt sees the same sequence twice, and where most get the oldest, hardly any sees two
  // commits.
  std::size_t stale_ = 0;
};

template <class T>
class Word {
 public:
  Word(Machine* machine, std::size_t location) : machine_(machine), location_(location) {}
  T load(std::memory_order order) const noexcept { return static_cast<T>(machine_->load(location_, order)); }
  void store(T value, std::memory_order order) noexcept { machine_->store(location_, value, order); }

 private:
  Machine* machine_;
  std::size_t location_;
};

struct Header {
  explicit Header(Machine* m) : machine(m) {}

  Machine* machine;
  Word<std::uint64_t> sequence{machine, 0};
  Word<std::uint32_t> ndim{machine, 1};
  Word<std::uint32_t> dtype{machine, 2};
  Word<std::uint64_t> byte_length{machine, 3};
  static_assert(JM_MAX_DIMS == 8, "shape has a word for each dimension");
  Word<std::uint64_t> shape[JM_MAX_DIMS] = {{machine, 4}, {machine, 5}, {machine, 6},  {machine, 7},
                                            {machine, 8}, {machine, 9}, {machine, 10}, {machine, 11}};
  Word<std::uint64_t> payload[kPayloadWords] = {{machine, 12}, {machine, 13}, {machine, 14}, {machine, 15}};
};

void fence(const Header& header, std::memory_order order) noexcept { header.machine->fence(order); }

using Payload = std::array<std::uint64_t, kPayloadWords>;

// What a version's tensor says of itself, and its data. Every word differs from that of the versions around it.
Metadata metadata_of(std::uint64_t version) {
  Metadata metadata;
  metadata.ndim = 1 + version / 2 % JM_MAX_DIMS;
  metadata.dtype = 100 + static_cast<std::uint32_t>(version);
  for (std::uint32_t i = 0; i < metadata.ndim; ++i) metadata.shape[i] = 1000 * version + i;
  metadata.byte_length = 10000 * version;
  return metadata;
}

std::uint64_t payload_of(std::uint64_t version, std::size_t i) { return 100000 * version + i; }

void write(Header& header) {
  const std::uint64_t version = judemap::begin_commit(header);
  judemap::store_metadata(header, metadata_of(version));
  for (std::size_t i = 0; i < kPayloadWords; ++i) {
    header.payload[i].store(payload_of(version, i), std::memory_order_relaxed);
  }
  judemap::end_commit(header, version);
}

Payload load_payload(const Header& header) {
  Payload payload;
  for (std::size_t i = 0; i < kPayloadWords; ++i) payload[i] = header.payload[i].load(std::memory_order_relaxed);
  return payload;
}

// Whether all of a snapshot is of its version. `emptied`: a version that holds no tensor, besides 0.
bool whole(std::uint64_t version, const Metadata& metadata, const Payload& payload, std::uint64_t emptied) {
  if (version == 0 || version == emptied) return metadata.none();
  const Metadata want = metadata_of(version);
  if (metadata.ndim != want.ndim || metadata.dtype != want.dtype || metadata.byte_length != want.byte_length ||
      !std::equal(want.shape, want.shape + want.ndim, metadata.shape)) {
    return false;
  }
  for (std::size_t i = 0; i < kPayloadWords; ++i) {
    if (payload[i] != payload_of(version, i)) return false;
  }
  return true;
}

// What came of the attempts of all executions.
struct Tally {
  std::array<long, 16> done{};  // by commit
  long busy = 0;
  long torn = 0;
};

// Attempts to read, by one thread. False, with a failure, if it got a torn snapshot or an older one than before.
bool read(Header& header, bool copying, std::uint64_t emptied, int execution, Tally* tally) {
  std::uint64_t last = 0;
  for (int attempt = 0; attempt < 4; ++attempt) {
    std::uint64_t version;
    Metadata metadata;
    Payload payload{};
    Attempt ended = judemap::read_once(header, &version, &metadata, [&](const Metadata&) {
      if (copying) payload = load_payload(header);
      return true;
    });
    if (!copying && ended == Attempt::kDone) {  // a view, looked at afterwards
      payload = load_payload(header);
      if (!judemap::unchanged(header, version)) ended = Attempt::kTorn;
    }
    if (ended == Attempt::kBusy) ++tally->busy;
    if (ended == Attempt::kTorn) ++tally->torn;
    if (ended != Attempt::kDone) continue;
    if (!whole(version, metadata, payload, emptied)) {
      ADD_FAILURE() << "execution " << execution << ": a torn snapshot of version " << version;
      return false;
    }
    if (version < last) {
      ADD_FAILURE() << "execution " << execution << ": version " << version << " after " << last;
      return false;
    }
    last = version;
    ++tally->done[version / 2];
  }
  return true;
}

// The simulation must have had something to find: attempts of every kind, and snapshots of every version.
void expect_all_seen(const Tally& tally, std::uint64_t versions) {
  EXPECT_GT(tally.busy, kExecutions / 200);
  EXPECT_GT(tally.torn, kExecutions / 200);
  for (std::uint64_t i = 0; i <= versions; ++i) EXPECT_GT(tally.done[i], kExecutions / 4000) << "version " << 2 * i;
}

void run_commits(bool copying) {
  constexpr int kCommits = 3;
  Machine machine(kSeed);
  Header header(&machine);
  Tally tally;
  for (int i = 0; i < kExecutions; ++i) {
    machine.reset();
    Thread writer, reader;
    machine.run(&writer);
    for (int k = 0; k < kCommits; ++k) write(header);
    machine.run(&reader);
    if (!read(header, copying, 0, i, &tally)) return;
  }
  expect_all_seen(tally, kCommits);
}

TEST(WeakMemory, CopiesAreWhole) { run_commits(true); }

TEST(WeakMemory, ViewsAreWholeWhileValid) { run_commits(false); }

// A writer dies anywhere in its second commit, and another goes on from there. It knows all that the first one stored:
// the kernel, which hands it the lock, sees to that.
TEST(WeakMemory, CopiesAreWholeAcrossADeath) {
  Machine machine(kSeed);
  Header header(&machine);
  Tally tally;
  long deaths = 0;
  for (int i = 0; i < kExecutions / 2; ++i) {
    machine.reset();
    Thread first;
    machine.run(&first);
    write(header);
    constexpr int kStores = 1 + 3 + JM_MAX_DIMS + kPayloadWords;  // all of a commit but the last
    first.stores_left = static_cast<int>(machine.random().below(kStores + 1));
    write(header);
    Thread second, reader;
    second.now = second.acquired = first.now;
    machine.run(&second);
    std::uint64_t emptied = 0;
    if (header.sequence.load(std::memory_order_acquire) & 1) {  // as Segment does when it takes over
      ++deaths;
      emptied = judemap::begin_commit(header);
      judemap::store_metadata(header, Metadata{});
      judemap::end_commit(header, emptied);
    }
    write(header);
    machine.run(&reader);
    if (!read(header, true, emptied, i, &tally)) return;
  }
  EXPECT_GT(deaths, kExecutions / 4);
  expect_all_seen(tally, 3);
}

// The simulation's own tests: it shows what the model allows, and nothing that it forbids.

// One thread stores to `data`, then to `flag`; the other loads `flag`, then `data`. How often the second saw the flag
// without the data, of 1000 times.
template <class Store, class Load>
int stale(Store&& store, Load&& load) {
  Machine machine(kSeed);
  int count = 0;
  for (int i = 0; i < 1000; ++i) {
    machine.reset();
    Thread a, b;
    machine.run(&a);
    store(machine);
    machine.run(&b);
    if (load(machine)) ++count;
  }
  return count;
}

constexpr std::size_t kFlag = 0, kData = 1;

auto storing(std::memory_order order, bool fenced = false) {
  return [=](Machine& machine) {
    machine.store(kData, 1, std::memory_order_relaxed);
    if (fenced) machine.fence(std::memory_order_release);
    machine.store(kFlag, 1, order);
  };
}

auto loading(std::memory_order order, bool fenced = false) {
  return [=](Machine& machine) {
    const bool flag = machine.load(kFlag, order) == 1;
    if (fenced) machine.fence(std::memory_order_acquire);
    return flag && machine.load(kData, std::memory_order_relaxed) == 0;
  };
}

TEST(Simulation, MessagePassing) {
  constexpr auto relaxed = std::memory_order_relaxed;
  constexpr auto acquire = std::memory_order_acquire;
  constexpr auto release = std::memory_order_release;
  EXPECT_GT(stale(storing(relaxed), loading(relaxed)), 100);
  EXPECT_GT(stale(storing(release), loading(relaxed)), 100);
  EXPECT_GT(stale(storing(relaxed), loading(acquire)), 100);
  EXPECT_GT(stale(storing(relaxed, true), loading(relaxed)), 100);
  EXPECT_GT(stale(storing(relaxed), loading(relaxed, true)), 100);
  EXPECT_EQ(stale(storing(release), loading(acquire)), 0);
  EXPECT_EQ(stale(storing(std::memory_order_seq_cst), loading(acquire)), 0);
  EXPECT_EQ(stale(storing(release), loading(relaxed, true)), 0);
  EXPECT_EQ(stale(storing(relaxed, true), loading(acquire)), 0);
  EXPECT_EQ(stale(storing(relaxed, true), loading(relaxed, true)), 0);
}

// A release store orders what is before it, not what comes after: why an increment can't stand in for W1.
TEST(Simulation, ReleaseDoesNotHoldBackLaterStores) {
  const auto load = [](Machine& machine) {
    const bool data = machine.load(kData, std::memory_order_acquire) == 1;
    return data && machine.load(kFlag, std::memory_order_relaxed) == 0;
  };
  const auto released = [](Machine& machine) {
    machine.store(kFlag, 1, std::memory_order_release);
    machine.store(kData, 1, std::memory_order_relaxed);
  };
  const auto fenced = [](Machine& machine) {
    machine.store(kFlag, 1, std::memory_order_relaxed);
    machine.fence(std::memory_order_release);
    machine.store(kData, 1, std::memory_order_relaxed);
  };
  EXPECT_GT(stale(released, load), 100);
  EXPECT_EQ(stale(fenced, load), 0);
}

// A thread that has read a message reads no older one of the same location afterwards.
TEST(Simulation, Coherence) {
  const auto store = [](Machine& machine) {
    for (std::uint64_t i = 1; i <= 4; ++i) machine.store(kData, i, std::memory_order_relaxed);
  };
  const auto back = [](Machine& machine) {
    const std::uint64_t first = machine.load(kData, std::memory_order_relaxed);
    return machine.load(kData, std::memory_order_relaxed) < first;
  };
  EXPECT_EQ(stale(store, back), 0);
}

}  // namespace
