//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "payload.h"

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>
#endif
#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <thread>

#include "wait.h"

#if defined(__SANITIZE_THREAD__)
#define JM_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define JM_THREAD_SANITIZER 1
#endif
#endif

namespace judemap {
namespace payload {
namespace {

constexpr std::size_t kStreaming = std::size_t{256} << 10;  // from this size on stores may be weakly ordered
// From these sizes on it is worth waking a thread. In a cache one thread fills twice as fast as it copies.
constexpr std::size_t kSharedCopy = std::size_t{4} << 20;
constexpr std::size_t kSharedFill = std::size_t{16} << 20;  // 16 parts at least
constexpr std::size_t kPart = std::size_t{512} << 10;  // half of a usual second-level cache; measured as the fastest
[[maybe_unused]] constexpr std::size_t kPopulatePart = std::size_t{4} << 20;

void store_fence() noexcept {
#if defined(__SSE2__) || defined(_M_X64)
  _mm_sfence();
#endif
}

// ---- One thread's work

#ifdef JM_THREAD_SANITIZER
[[maybe_unused]] constexpr bool kThreadSanitizer = true;

std::uint64_t load(const std::uint64_t* from) noexcept { return __atomic_load_n(from, __ATOMIC_RELAXED); }
unsigned char load(const unsigned char* from) noexcept { return __atomic_load_n(from, __ATOMIC_RELAXED); }
void store(std::uint64_t* to, std::uint64_t value) noexcept { __atomic_store_n(to, value, __ATOMIC_RELAXED); }
void store(unsigned char* to, unsigned char value) noexcept { __atomic_store_n(to, value, __ATOMIC_RELAXED); }

void move(unsigned char* to, const unsigned char* from, std::size_t size) noexcept {
  const auto aligned = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 8 == 0; };
  const std::size_t words = aligned(to) && aligned(from) ? size / 8 : 0;
  auto* const to_words = reinterpret_cast<std::uint64_t*>(to);
  auto* const from_words = reinterpret_cast<const std::uint64_t*>(from);
  // As memmove does: upwards if the destination comes first, downwards if the source does.
  if (reinterpret_cast<std::uintptr_t>(to) <= reinterpret_cast<std::uintptr_t>(from)) {
    for (std::size_t i = 0; i < words; ++i) store(to_words + i, load(from_words + i));
    for (std::size_t i = words * 8; i < size; ++i) store(to + i, load(from + i));
  } else {
    for (std::size_t i = size; i > words * 8; --i) store(to + i - 1, load(from + i - 1));
    for (std::size_t i = words; i > 0; --i) store(to_words + i - 1, load(from_words + i - 1));
  }
}

void repeat(unsigned char* to, std::size_t size, std::uint64_t pattern) noexcept {
  for (std::size_t i = 0; i < size / 8; ++i) store(reinterpret_cast<std::uint64_t*>(to) + i, pattern);
  unsigned char bytes[8];
  std::memcpy(bytes, &pattern, 8);
  for (std::size_t i = size / 8 * 8; i < size; ++i) store(to + i, bytes[i % 8]);
}
#else
[[maybe_unused]] constexpr bool kThreadSanitizer = false;

void move(unsigned char* to, const unsigned char* from, std::size_t size) noexcept { std::memmove(to, from, size); }

void repeat(unsigned char* to, std::size_t size, std::uint64_t pattern) noexcept {
  if (pattern == (pattern & 0xff) * 0x0101010101010101) {
    std::memset(to, static_cast<int>(pattern & 0xff), size);
    return;
  }
  std::size_t done = 0;
#if defined(__x86_64__) && defined(__GNUC__)
  // The processor's own instruction for fills. It writes cache lines without reading them first, and keeps them in the
  // cache where they fit. It takes some 10 ns to start.
  if (size >= 2048) {
    void* at = to;
    std::size_t words = size / 8;
    asm volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(pattern) : "memory");
    done = size / 8 * 8;
  }
#endif
  std::uint64_t line[8];  // a constant size lets the compiler copy it with its widest registers
  std::fill_n(line, 8, pattern);
  for (; done + sizeof line <= size; done += sizeof line) std::memcpy(to + done, line, sizeof line);
  std::memcpy(to + done, line, size - done);
}
#endif

// Work that can be done in parts, in any order. It is on the caller's stack. A helper may use it as long as it has one
// of its parts.
struct Task {
  void (*work)(Task& task, std::size_t offset, std::size_t size) noexcept;
  unsigned char* to;
  const unsigned char* from;  // copies only
  std::uint64_t pattern;      // fills only
  std::size_t size;
  std::size_t part;        // bytes of every part but the last
  int advice;              // populate only: the advice for madvise
  std::atomic<int> error;  // populate only: the first error
  std::size_t parts() const noexcept { return (size - 1) / part + 1; }
  void work_on(std::size_t index) noexcept {
    const std::size_t offset = index * part;
    work(*this, offset, std::min(part, size - offset));
  }
};

// ---- The helpers

#ifdef __linux__

constexpr unsigned kMostThreads = 16;
constexpr unsigned kDefaultThreads = 4;  // where memory is the limit, more seldom make a copy faster

// The state that the caller of a job and its helpers share, in one word, so that a part can be taken only from the task
// that it belongs to. It has the number of the task, how many more helpers may join, and the range of parts that nobody
// has taken: [begin, end). The caller takes parts from the front and helpers from the back. So in a range that is
// written again and again, each half is written by the same processor, which has it in its cache.
struct Claims {
  static constexpr unsigned kPartBits = 16;
  static constexpr unsigned kSeatBits = 4;
  static constexpr std::uint64_t kEnd = std::uint64_t{1} << kPartBits;
  static constexpr std::uint64_t kSeat = kEnd << kPartBits;
  static constexpr std::uint64_t kTask = kSeat << kSeatBits;
  static constexpr std::uint64_t kMostParts = kEnd - 1;

  static std::uint64_t begin(std::uint64_t word) noexcept { return word % kEnd; }
  static std::uint64_t end(std::uint64_t word) noexcept { return word / kEnd % (std::uint64_t{1} << kPartBits); }
  static std::uint64_t seats(std::uint64_t word) noexcept { return word / kSeat % (1u << kSeatBits); }
  static std::uint64_t task(std::uint64_t word) noexcept { return word / kTask; }
};

// A place where a caller offers its task to helpers. It is static and never freed, because a helper may look at it at
// any time.
struct alignas(64) Job {
  std::atomic<bool> taken;
  std::atomic<std::uint64_t> claims;
  std::atomic<Task*> task;
  std::atomic<std::uint32_t> done;  // parts that helpers have done, and kParked
};
constexpr std::uint32_t kParked = 1u << 31;  // the caller sleeps until a part is done

struct alignas(64) Helper {
  std::atomic<std::uint32_t> state;
};
constexpr std::uint32_t kAwake = 0;
constexpr std::uint32_t kIdle = 1;

// All of these are constant-initialized and have no destructor, because the helpers go on after main returns, until the
// process ends.
constexpr unsigned kJobs = 8;  // how many calls can have helpers at a time
Job jobs[kJobs];
Helper helpers[kMostThreads - 1];
std::atomic<unsigned> helper_count;
std::atomic<bool> starting;  // a thread is making helpers
unsigned postpone;           // calls until the next try after a failure; for the thread that set `starting`
bool fork_handled;           // for the same thread

// Takes the next part of a job. The caller may take any part of its own task. A helper takes one of the task that it
// has joined, or joins a task that still admits helpers. Returns the task, and in *index the part; or null if there is
// none.
Task* take_part(Job& job, bool caller, std::uint64_t* member, std::size_t* index) noexcept {
  // Acquire: pairs with the release store in share(), so that the caller's stores and loads before that come first.
  std::uint64_t word = job.claims.load(std::memory_order_acquire);
  for (;;) {
    if (Claims::begin(word) >= Claims::end(word)) return nullptr;
    std::uint64_t next = caller ? word + 1 : word - Claims::kEnd;
    if (!caller && *member != Claims::task(word)) {
      if (Claims::seats(word) == 0) return nullptr;
      next -= Claims::kSeat;
    }
    // This may be a later task. The claims have then changed too, and the exchange fails.
    Task* const task = job.task.load(std::memory_order_relaxed);
    if (job.claims.compare_exchange_weak(word, next, std::memory_order_acquire)) {
      *member = Claims::task(word);
      *index = caller ? Claims::begin(word) : Claims::end(word) - 1;
      return task;
    }
  }
}

// Helps with every job that has a part to take and admits a helper. Returns false if there was none.
bool help() noexcept {
  bool helped = false;
  for (Job& job : jobs) {
    std::uint64_t member = 0;  // no task has this number
    std::size_t index;
    while (Task* const task = take_part(job, false, &member, &index)) {
      std::atomic_thread_fence(std::memory_order_release);  // pairs with R2: see payload.h
      task->work_on(index);
      std::atomic_thread_fence(std::memory_order_acquire);  // pairs with W1
      store_fence();
      // Release: pairs with the acquire loads in share(). After this the task may no longer exist.
      if (job.done.fetch_add(1, std::memory_order_release) & kParked) wait::wake_all(&job.done, false);
      helped = true;
    }
  }
  return helped;
}

void run(Helper& self) noexcept {
  // A new thread may run on the same processors as the thread that made it. If the program has bound that one to a few,
  // the helpers must not be bound to those too.
  cpu_set_t processors;
  if (sched_getaffinity(getpid(), sizeof processors, &processors) == 0) {
    sched_setaffinity(0, sizeof processors, &processors);
  }
  pthread_setname_np(pthread_self(), "judemap copy");
  for (;;) {
    // A helper stays awake for a moment. A program that copies in a loop needs it again within a microsecond, and
    // sleeping and waking would take ten times as long.
    constexpr int kLinger = 200;
    for (int i = 0; i < kLinger; ++i) {
      if (help()) i = 0;
      wait::pause();
    }
    // Sequentially consistent, as in call(). Either this thread sees the job, or the caller sees that it has to wake
    // this thread.
    self.state.store(kIdle, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (help()) {
      self.state.store(kAwake, std::memory_order_relaxed);
      continue;
    }
    while (self.state.load(std::memory_order_relaxed) == kIdle) {
      const wait::Word word = {&self.state, kIdle, false};
      wait::park_any(&word, 1, wait::kForever);
    }
  }
}

// For a forked child. It has only the thread that forked: no helpers, and no caller of the jobs.
void forget() noexcept {
  for (Job& job : jobs) {
    job.claims.store(0, std::memory_order_relaxed);
    job.taken.store(false, std::memory_order_relaxed);
  }
  helper_count.store(0, std::memory_order_relaxed);
  // ThreadSanitizer ends a forked child that starts a thread, so with it the child never makes helpers.
  starting.store(kThreadSanitizer, std::memory_order_relaxed);
}

// Makes the helpers that are missing, unless another thread is doing it. After a failure it tries again only after 255
// calls.
void make_helpers(unsigned wanted) noexcept {
  if (helper_count.load(std::memory_order_relaxed) >= wanted) return;
  if (starting.exchange(true, std::memory_order_acquire)) return;  // pairs with the release store below
  if (postpone > 0) {
    --postpone;
  } else {
    fork_handled = fork_handled || pthread_atfork(nullptr, nullptr, forget) == 0;
    try {
      const wait::WithoutSignals blocked;  // the threads inherit this, and get no signals of the program
      for (unsigned i = helper_count.load(std::memory_order_relaxed); fork_handled && i < wanted; ++i) {
        helpers[i].state.store(kAwake, std::memory_order_relaxed);
        std::thread(run, std::ref(helpers[i])).detach();
        helper_count.store(i + 1, std::memory_order_release);
      }
    } catch (const std::exception&) {  // no memory, or no more threads for this user
      postpone = 255;
    }
  }
  starting.store(false, std::memory_order_release);
}

// Wakes `wanted` sleeping helpers at most.
void call(unsigned wanted) noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // open the job before looking for sleeping helpers
  const unsigned count = helper_count.load(std::memory_order_acquire);
  for (unsigned i = 0; i < count && wanted > 0; ++i) {
    std::uint32_t idle = kIdle;
    if (!helpers[i].state.compare_exchange_strong(idle, kAwake, std::memory_order_seq_cst)) continue;
    wait::wake_all(&helpers[i].state, false);
    --wanted;
  }
}

Job* take_job() noexcept {
  for (Job& job : jobs) {
    // Acquire: pairs with the release store at the end of share(), with which the last user left the job.
    if (!job.taken.load(std::memory_order_relaxed) && !job.taken.exchange(true, std::memory_order_acquire)) return &job;
  }
  return nullptr;
}

// How many processors this process may run on, but kDefaultThreads at most.
unsigned default_threads() noexcept {
  // The system is asked once. This is no static with a guard, because a child that was forked while another thread
  // initializes it would wait for ever.
  static std::atomic<unsigned> known;
  unsigned threads = known.load(std::memory_order_relaxed);
  if (threads == 0) {
    cpu_set_t processors;
    const bool some = sched_getaffinity(getpid(), sizeof processors, &processors) == 0;  // 1024 of them at most
    threads = some ? std::min(static_cast<unsigned>(CPU_COUNT(&processors)), kDefaultThreads) : kDefaultThreads;
    known.store(threads, std::memory_order_relaxed);
  }
  return threads;
}

// Does the task, with helpers if there are any.
void share(Task& task, unsigned threads) noexcept {
  threads = std::min(threads == 0 ? default_threads() : threads, kMostThreads);
  while (task.parts() > Claims::kMostParts) task.part *= 2;
  const std::size_t parts = task.parts();
  Job* job = nullptr;
  if (threads > 1 && parts > 1) {
    make_helpers(threads - 1);
    if (helper_count.load(std::memory_order_relaxed) > 0) job = take_job();
  }
  if (job == nullptr) {
    task.part = task.size;
    task.work_on(0);
    return;
  }
  const unsigned helping = static_cast<unsigned>(std::min<std::size_t>(threads - 1, parts - 1));
  std::uint64_t number = Claims::task(job->claims.load(std::memory_order_relaxed) + Claims::kTask);
  if (number == 0) number = 1;  // no task has the number 0
  job->task.store(&task, std::memory_order_relaxed);
  job->done.store(0, std::memory_order_relaxed);
  job->claims.store(number * Claims::kTask | helping * Claims::kSeat | parts * Claims::kEnd,
                    std::memory_order_release);  // pairs with take_part
  call(helping);

  std::size_t others = parts;
  for (std::size_t index; take_part(*job, true, &number, &index) != nullptr; --others) task.work_on(index);

  // All of these loads are acquire: they pair with the release increment in help().
  constexpr int kSpins = 1000;  // about as long as a part takes; after that the helper may need this processor
  for (int i = 0; i < kSpins && job->done.load(std::memory_order_acquire) != others; ++i) wait::pause();
  if (job->done.load(std::memory_order_acquire) != others) {
    std::uint32_t done = job->done.fetch_or(kParked, std::memory_order_acquire) | kParked;
    while ((done & ~kParked) != others) {
      const wait::Word word = {&job->done, done, false};
      wait::park_any(&word, 1, wait::kForever);
      done = job->done.load(std::memory_order_acquire);
    }
  }
  job->taken.store(false, std::memory_order_release);
}

#else

// Where a thread can't sleep until it is woken (wait_other.cc) there are no helpers.
void share(Task& task, unsigned) noexcept {
  task.part = task.size;
  task.work_on(0);
}

#endif

bool overlap(const unsigned char* a, const unsigned char* b, std::size_t size) noexcept {
  const auto x = reinterpret_cast<std::uintptr_t>(a), y = reinterpret_cast<std::uintptr_t>(b);
  return (x > y ? x - y : y - x) < size;
}

}  // namespace

void copy(void* destination, const void* source, std::size_t size, unsigned threads) noexcept {
  auto* const to = static_cast<unsigned char*>(destination);
  auto* const from = static_cast<const unsigned char*>(source);
  if (size < kStreaming) {
    if (size != 0) move(to, from, size);
    return;
  }
  store_fence();
  if (size < kSharedCopy || threads == 1 || overlap(to, from, size)) {
    move(to, from, size);
  } else {
    Task task = {};
    task.work = [](Task& t, std::size_t offset, std::size_t bytes) noexcept {
      move(t.to + offset, t.from + offset, bytes);
    };
    task.to = to;
    task.from = from;
    task.size = size;
    task.part = kPart;
    share(task, threads);
  }
  store_fence();
}

void fill(void* destination, std::size_t size, std::uint64_t pattern, unsigned threads) noexcept {
  auto* const to = static_cast<unsigned char*>(destination);
  if (size < kStreaming) {
    if (size != 0) repeat(to, size, pattern);
    return;
  }
  store_fence();
  if (size < kSharedFill || threads == 1) {
    repeat(to, size, pattern);
  } else {
    Task task = {};
    task.work = [](Task& t, std::size_t offset, std::size_t bytes) noexcept {
      repeat(t.to + offset, bytes, t.pattern);
    };
    task.to = to;
    task.pattern = pattern;
    task.size = size;
    // A fill that does not fit in the caches is limited by memory. It slows down when two threads on one processor fill
    // two places in turn: by a third with parts of 512 KiB, by 7 % with parts of 32 MiB.
    task.part = std::min(size / 16 / kPart, std::size_t{64}) * kPart;  // a multiple of the pattern
    share(task, threads);
  }
  store_fence();
}

int populate(void* base, std::size_t size, bool write, unsigned threads) noexcept {
#ifdef __linux__
  // Older C libraries have no names for these.
  constexpr int kPopulateRead = 22;
  constexpr int kPopulateWrite = 23;
  constexpr int kNoAdvice = 1000;
  if (size == 0) return 0;
  // qemu takes all advice, and does nothing about it.
  if (madvise(base, 0, kNoAdvice) == 0) return ENOTSUP;
  Task task = {};
  task.work = [](Task& t, std::size_t offset, std::size_t bytes) noexcept {
    if (t.error.load(std::memory_order_relaxed) != 0) return;
    int result;
    do {
      result = madvise(t.to + offset, bytes, t.advice);
    } while (result != 0 && errno == EINTR);
    if (result != 0) t.error.store(errno, std::memory_order_relaxed);
  };
  task.to = static_cast<unsigned char*>(base);
  task.size = size;
  task.part = kPopulatePart;
  task.advice = write ? kPopulateWrite : kPopulateRead;
  share(task, threads);
  const int error = task.error.load(std::memory_order_relaxed);
  return error == EINVAL ? ENOTSUP : error;
#else
  (void)base, (void)size, (void)write, (void)threads;
  return ENOTSUP;
#endif
}

}  // namespace payload
}  // namespace judemap
