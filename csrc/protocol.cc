//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/protocol.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "clock.h"
#include "dtype.h"
#include "fork.h"
#include "memory.h"
#include "payload.h"
#include "share.h"
#include "wait.h"

namespace judemap {
namespace {

// How often a parked thread looks whether the writer died: a dead one cannot wake anybody. Also while no writer is
// there: one may come, and die, between the look and the sleep (model/, FOREVER_IF_NONE).
constexpr std::int64_t kLookForDeath = 40'000'000;  // ns

// How often a thread parked on private memory looks whether its own handle was closed.
constexpr std::int64_t kLookForClose = 1'000'000'000;  // ns

// How long a commit may seem stuck, by a writer that takes no lock, before that writer counts as dead: this, and a
// nanosecond for each byte of capacity, since no machine that runs this writes slower.
constexpr std::int64_t kStuck = 50'000'000;  // ns

// For how long, and how many commits, waiters must have been absent to be taken for dead.
constexpr std::int64_t kAbsent = 1'000'000'000;  // ns
constexpr std::uint32_t kAbsentCommits = 100;

// The shortest poll is what a Linux timer is late by anyway; with less, polling is spinning. The longest is a day.
constexpr std::int64_t kShortestPoll = 50'000;  // ns
constexpr std::int64_t kLongestPoll = std::int64_t{24} * 3600 * 1'000'000'000;

// The status for an error of the functions of share.h and memory.h. errno has it too where it is the system's.
jm_status status_of(int error) noexcept {
  if (error == 0) return JM_OK;
  if (error == share::kNoProc) return JM_ERR_NO_PROC;
  errno = error;
  return JM_ERR_SYSTEM;
}

bool good_name(const char* name) noexcept {
  if (name == nullptr) return false;
  const std::size_t length = strnlen(name, share::kMostNameBytes + 1);
  return length != 0 && length <= share::kMostNameBytes && std::strchr(name, '/') == nullptr &&
         std::strcmp(name, ".") != 0 && std::strcmp(name, "..") != 0;
}

// Bytes to map for a capacity: header and data, whole pages; 0 if the capacity is 0 or more than can be addressed.
// No object is larger than PTRDIFF_MAX, so that pointers into it can be subtracted.
std::size_t size_for(std::uint64_t capacity) noexcept {
  const std::size_t page = memory::page_size();
  if (capacity == 0 || capacity > PTRDIFF_MAX - JM_DATA_OFFSET - page) return 0;
  return (JM_DATA_OFFSET + static_cast<std::size_t>(capacity) + page - 1) / page * page;
}

// Adds one to a counter that only the writer stores to.
void count(std::atomic<std::uint64_t>& counter) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// a * b into *product; false if that overflows.
bool multiply(std::uint64_t a, std::uint64_t b, std::uint64_t* product) noexcept {
#ifdef __GNUC__
  return !__builtin_mul_overflow(a, b, product);
#else
  *product = a * b;
  return a == 0 || *product / a == b;
#endif
}

// Reserves memory for all of a new file, and with `populate` makes its pages, which does so too, and by several
// threads.
int reserve_all(int descriptor, void* base, std::size_t size, bool populate) noexcept {
  int error = populate ? payload::populate(base, size, true, 0) : ENOTSUP;
  if (error == ENOTSUP) error = share::reserve(descriptor, size);
  return error == EFAULT ? ENOSPC : error;
}

}  // namespace

bool tensor_bytes(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, std::uint64_t* bytes) noexcept {
  bool fits = true;
  bool empty = false;
  std::uint64_t product = item_size(dtype);
  for (std::uint32_t i = 0; i < ndim; ++i) {
    if (shape[i] > INT64_MAX) return false;
    empty = empty || shape[i] == 0;
    fits = multiply(product, shape[i], &product) && fits;
  }
  *bytes = empty ? 0 : product;
  return empty || (fits && product <= INT64_MAX);
}

const char* corrupt_field(const Metadata& metadata, std::uint64_t capacity) noexcept {
  if (metadata.none()) return nullptr;
  if (metadata.ndim > JM_MAX_DIMS) return "ndim";
  if (item_size(metadata.dtype) == 0) return "dtype";
  std::uint64_t bytes;
  if (!tensor_bytes(metadata.shape, metadata.ndim, metadata.dtype, &bytes)) return "shape";
  if (bytes != metadata.byte_length || bytes > capacity) return "byte_length";
  return nullptr;
}

// ---- Making and opening ---------------------------------------------------------------------------------------------

Protocol::Protocol() noexcept = default;

Protocol::~Protocol() {
  if (header_ == nullptr) return;
  close();
  memory::unmap(header_, mapped_);
}

void Protocol::take(void* base, std::size_t size, std::uint64_t capacity) noexcept {
  header_ = static_cast<jm_header*>(base);
  mapped_ = size;
  capacity_ = capacity;
  generation_ = fork::generation.load(std::memory_order_relaxed);
}

jm_status Protocol::create(std::uint64_t capacity, std::uint32_t flags) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  const std::size_t size = size_for(capacity);
  if (size == 0) return JM_ERR_CAPACITY;
  if (const int error = fork::watch()) return status_of(error);
  void* base;
  if (const int error = memory::map_private(size, (flags & JM_NO_HUGE_PAGES) == 0, &base)) return status_of(error);
  if ((flags & JM_POPULATE) != 0) {
    // Where the system can't, the first access makes the pages, as without the flag.
    const int error = payload::populate(base, size, true, 0);
    if (error != 0 && error != ENOTSUP) {
      memory::unmap(base, size);
      return status_of(error == EFAULT ? ENOMEM : error);
    }
  }
  // The zeroed pages are a valid header already: std::atomic of a word is that word, and all of them start at 0.
  take(base, size, capacity);
  counts_waiters_ = (flags & JM_NO_PARKING) == 0;
  attached_.store(true, std::memory_order_relaxed);  // nobody else can write
  return JM_OK;
}

jm_status Protocol::create(const char* name, std::uint64_t capacity, std::uint32_t mode, std::uint32_t flags) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  if (!good_name(name)) return JM_ERR_NAME;
  const std::size_t size = size_for(capacity);
  if (size == 0) return JM_ERR_CAPACITY;
  int descriptor;
  if (const int error = share::make(size, mode, &descriptor)) return status_of(error);
  return adopt_new(descriptor, name, size, capacity, flags);
}

jm_status Protocol::create_sealed(std::uint64_t capacity, std::uint32_t flags) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  const std::size_t size = size_for(capacity);
  if (size == 0) return JM_ERR_CAPACITY;
  int descriptor;
  if (const int error = share::make_nameless(size, &descriptor)) return status_of(error);
  return adopt_new(descriptor, nullptr, size, capacity, flags);
}

jm_status Protocol::open(const char* name, std::uint32_t flags, const char** why) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  if (!good_name(name)) return JM_ERR_NAME;
  const bool writable = (flags & JM_READ_ONLY) == 0;
  int descriptor;
  if (const int error = share::open(name, writable, &descriptor)) return status_of(error);
  return adopt(descriptor, writable, why);
}

jm_status Protocol::open(int descriptor, std::uint32_t flags, const char** why) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  const bool writable = (flags & JM_READ_ONLY) == 0;
  int own;
  if (const int error = share::duplicate(descriptor, writable, &own)) return status_of(error);
  return adopt(own, writable, why);
}

// Maps a new file, writes its block, and gives it its name (nullptr: none). Closes the descriptor if it fails.
jm_status Protocol::adopt_new(int descriptor, const char* name, std::size_t size, std::uint64_t capacity,
                              std::uint32_t flags) noexcept {
  void* base = nullptr;
  lock_.reset(new (std::nothrow) share::WriterLock);
  int error = lock_ == nullptr ? ENOMEM : fork::watch();
  if (error == 0) error = share::map(descriptor, size, true, &base);
  if (error == 0) {
    if ((flags & JM_NO_HUGE_PAGES) == 0) memory::advise_huge_pages(base, size);
    // Without memory behind it a store to a page is a SIGBUS where there is no room.
    error = reserve_all(descriptor, base, size, (flags & JM_POPULATE) != 0);
    if (error != 0) memory::unmap(base, size);
  }
  const bool writers_wake = (flags & JM_FOREIGN_WRITERS) == 0;
  if (error == 0) {
    auto* header = static_cast<jm_header*>(base);  // zeroed pages are a valid header
    header->capacity.store(capacity, std::memory_order_relaxed);
    header->flags.store(writers_wake ? JM_FLAG_WRITERS_WAKE : 0, std::memory_order_relaxed);
    header->magic.store(JM_MAGIC, std::memory_order_release);
    error = name != nullptr
                ? share::publish(descriptor, name)
                : share::seal(descriptor, (flags & JM_SEAL_WRITES) != 0);  // after the mapping that may write
    if (error != 0) memory::unmap(base, size);
  }
  if (error != 0) {
    lock_.reset();
    share::close(descriptor);
    return status_of(error);
  }
  take(base, size, capacity);
  shared_ = block_ = true;
  descriptor_.store(descriptor, std::memory_order_relaxed);
  writers_wake_ = writers_wake;
  return JM_OK;
}

// Checks a file, by reading what it must before anything is mapped, and maps it. Closes the descriptor if it fails.
jm_status Protocol::adopt(int descriptor, bool writable, const char** why) noexcept {
  const char* reason = nullptr;
  void* base = nullptr;
  std::uint64_t bytes = 0, capacity = 0;
  std::size_t mapped = 0;
  std::uint32_t flags = 0;
  bool reserved = false, block = false, too_large = false;
  lock_.reset(new (std::nothrow) share::WriterLock);
  int error = lock_ == nullptr ? ENOMEM : fork::watch();
  if (error == 0) error = share::size(descriptor, &bytes, &reserved);
  if (error != 0) {
  } else if (bytes == 0) {
    reason = "it is empty: no segment, or one whose creator died before it was ready";
  } else if (bytes <= JM_DATA_OFFSET) {
    reason = "it is too short to be a segment";
  } else if (capacity = bytes - JM_DATA_OFFSET; (mapped = size_for(capacity)) == 0) {
    too_large = true;
  } else {
    // Another process wrote this: nothing of it is taken on trust.
    alignas(jm_header) unsigned char first[sizeof(jm_header)];
    if ((error = share::read(descriptor, first, sizeof first)) == 0) {
      const auto* header = reinterpret_cast<const jm_header*>(first);
      const std::uint32_t magic = header->magic.load(std::memory_order_relaxed);
      block = magic == JM_MAGIC;
      flags = header->flags.load(std::memory_order_relaxed);
      if (block) {
        const std::uint64_t asked = header->capacity.load(std::memory_order_relaxed);
        if (asked == 0 || asked > capacity) reason = "its capacity is larger than its file, or 0";
        capacity = asked;
      } else if (magic != 0) {
        reason = "its magic number is another one";
      }
    }
    if (error == 0 && reason == nullptr && !reserved) {
      if (writable) {
        error = share::reserve(descriptor, bytes);
      } else {
        reason =
            "there is no memory behind some of it, and to look at that takes what may not be there; who opens it "
            "for writing reserves it";
      }
    }
  }
  if (error == 0 && reason == nullptr && !too_large) error = share::map(descriptor, mapped, writable, &base);
  if (base == nullptr || error != 0) {
    lock_.reset();
    share::close(descriptor);
    if (too_large) return JM_ERR_CAPACITY;
    if (error != 0) return status_of(error);
    if (why != nullptr) *why = reason;
    return JM_ERR_CORRUPT;
  }
  take(base, mapped, capacity);
  shared_ = true;
  block_ = block;
  writable_ = writable;
  descriptor_.store(descriptor, std::memory_order_relaxed);
  counts_waiters_ = block && writable;
  writers_wake_ = block && (flags & JM_FLAG_WRITERS_WAKE) != 0;
  return JM_OK;
}

jm_status Protocol::open_again(bool writable, int* out) noexcept {
  if (closed()) return JM_ERR_CLOSED;
  if (inherited()) return JM_ERR_FORKED;
  if (!shared_) return JM_ERR_ARGUMENT;
  if (writable && !writable_) return JM_ERR_READ_ONLY;
  return status_of(share::reopen(descriptor_.load(std::memory_order_relaxed), writable, out));
}

jm_status Protocol::remove(const char* name) noexcept {
  if (!good_name(name)) return JM_ERR_NAME;
  return status_of(share::remove(name));
}

// ---- Reading --------------------------------------------------------------------------------------------------------

template <class Copy>
jm_status Protocol::snapshot(jm_tensor* out, Copy&& copy) const noexcept {
  if (closed()) return JM_ERR_CLOSED;
  Metadata metadata;
  jm_status status = JM_OK;
  const Attempt attempt = read_once(*header_, &out->version, &metadata, [&](const Metadata& seen) {
    if (out->version == 0 || seen.none()) {
      status = JM_ERR_EMPTY;
    } else if (corrupt_field(seen, capacity_) != nullptr) {
      status = JM_ERR_CORRUPT;
    } else {
      status = copy(seen);
    }
    return status == JM_OK;
  });
  if (attempt == Attempt::kBusy || attempt == Attempt::kTorn) return JM_ERR_BUSY;
  // Memory that was given back reads as an empty segment.
  if (status == JM_ERR_EMPTY && closed()) return JM_ERR_CLOSED;
  out->ndim = metadata.ndim;
  out->dtype = metadata.dtype;
  std::copy_n(metadata.shape, JM_MAX_DIMS, out->shape);
  out->byte_length = metadata.byte_length;
  return status;
}

jm_status Protocol::try_read(jm_tensor* out) const noexcept {
  return snapshot(out, [](const Metadata&) { return JM_OK; });
}

jm_status Protocol::try_read_into(void* buffer, std::uint64_t size, jm_tensor* out) const noexcept {
  return snapshot(out, [&](const Metadata& seen) {
    if (seen.byte_length > size) return JM_ERR_BUFFER;
    payload::copy(buffer, data(), static_cast<std::size_t>(seen.byte_length), threads_);
    return JM_OK;
  });
}

// ---- Writing --------------------------------------------------------------------------------------------------------

bool Protocol::inherited() const noexcept { return fork::generation.load(std::memory_order_relaxed) != generation_; }

jm_status Protocol::attach() noexcept {
  if (closed()) return JM_ERR_CLOSED;
  if (inherited()) return JM_ERR_FORKED;
  if (attached_.load(std::memory_order_relaxed)) return JM_OK;
  if (!writable_) return JM_ERR_READ_ONLY;
  const int error = lock_->take(descriptor_.load(std::memory_order_relaxed));
  if (error == EAGAIN) return JM_ERR_WRITER_ACTIVE;
  if (error != 0) return status_of(error);
  // After the lock, and taken back before it is let go: the flag without the lock is a death.
  if (counts_waiters_) header_->flags.fetch_or(JM_FLAG_WRITER_ATTACHED);
  attached_.store(true, std::memory_order_release);
  if (version() & 1) {
    // The writer before died in the middle of a commit. Readers get "empty" until the first commit of this one.
    const std::uint64_t version = begin_commit(*header_);
    store_metadata(*header_, Metadata{});
    end_commit(*header_, version);
  }
  wake_waiters();  // the writer before may have died between its commit and the wake
  return JM_OK;
}

jm_status Protocol::describe(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype,
                             Metadata* metadata) const noexcept {
  if (item_size(dtype) == 0) return JM_ERR_DTYPE;
  if (ndim > JM_MAX_DIMS) return JM_ERR_SHAPE;
  if (shape == nullptr && ndim != 0) return JM_ERR_ARGUMENT;
  metadata->ndim = ndim;
  metadata->dtype = dtype;
  for (std::uint32_t i = 0; i < ndim; ++i) metadata->shape[i] = shape[i];
  if (!tensor_bytes(metadata->shape, ndim, dtype, &metadata->byte_length)) return JM_ERR_SHAPE;
  return metadata->byte_length > capacity_ ? JM_ERR_CAPACITY : JM_OK;
}

jm_status Protocol::open_commit(const Metadata& metadata) noexcept {
  if (closed()) return JM_ERR_CLOSED;
  if (inherited()) return JM_ERR_FORKED;
  if (committing_) return JM_ERR_ARGUMENT;
  if (!attached_.load(std::memory_order_relaxed)) {
    if (const jm_status status = attach()) return status;
  }
  next_version_ = begin_commit(*header_);
  committing_ = true;
  store_metadata(*header_, metadata);
  return JM_OK;
}

jm_status Protocol::commit() noexcept {
  // A child has its parent's commit in its copy of the handle, and the memory itself.
  return inherited() ? JM_ERR_FORKED : finish();
}

jm_status Protocol::finish() noexcept {
  if (!committing_) return JM_ERR_ARGUMENT;
  if (counts_waiters_) {
    end_commit(*header_, next_version_);
  } else {
    end_commit_unawaited(*header_, next_version_);
  }
  committing_ = false;
  count(commits_);
  if (wake_waiters()) count(wakes_);
  return JM_OK;
}

jm_status Protocol::abort() noexcept {
  if (inherited()) return JM_ERR_FORKED;
  if (committing_) store_metadata(*header_, Metadata{});
  return finish();
}

jm_status Protocol::begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data_out,
                          std::uint64_t* length) noexcept {
  Metadata metadata;
  if (const jm_status status = describe(shape, ndim, dtype, &metadata)) return status;
  if (const jm_status status = open_commit(metadata)) return status;
  *data_out = data();
  *length = metadata.byte_length;
  return JM_OK;
}

jm_status Protocol::write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* source,
                          std::uint64_t length) noexcept {
  Metadata metadata;
  if (const jm_status status = describe(shape, ndim, dtype, &metadata)) return status;
  if (length != metadata.byte_length) return JM_ERR_SHAPE;
  if (source == nullptr && length != 0) return JM_ERR_ARGUMENT;
  if (const jm_status status = open_commit(metadata)) return status;
  payload::copy(data(), source, static_cast<std::size_t>(length), threads_);
  return finish();
}

jm_status Protocol::fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value) noexcept {
  Metadata metadata;
  std::uint64_t pattern;
  if (const jm_status status = describe(shape, ndim, dtype, &metadata)) return status;
  if (const jm_status status = fill_pattern(dtype, value, &pattern)) return status;
  if (const jm_status status = open_commit(metadata)) return status;
  payload::fill(data(), static_cast<std::size_t>(metadata.byte_length), pattern, threads_);
  return finish();
}

// ---- Waiting --------------------------------------------------------------------------------------------------------

void Protocol::wake() noexcept { wait::wake_all(&header_->sequence, shared_); }

bool Protocol::wake_waiters() noexcept {
  if (!counts_waiters_) return false;
  // Sequentially consistent, as is the end of the commit before it and announce(): either this load sees the reader
  // that is about to park, or the kernel, when it compares the sequence for that reader, sees the commit.
  std::uint32_t waiters = header_->waiters.load(std::memory_order_seq_cst);
  if (waiters == 0) return false;
  const bool woken = wait::wake_all(&header_->sequence, shared_);
  if (woken || waiters != absent_) {
    absent_ = waiters;
    absent_commits_ = 0;
    return woken;
  }
  // Counted, and not there: on their way to park or back, or killed while they were parked. Who is on the way does not
  // stay so for long. Should one, for it was stopped, then it or one that parks meanwhile is missed by a wake, and
  // looks up after kLookForDeath.
  if (absent_commits_++ == 0) absent_since_ = now();
  if (absent_commits_ >= kAbsentCommits && now() - absent_since_ >= kAbsent) {
    header_->waiters.compare_exchange_strong(waiters, 0);
    absent_ = 0;
  }
  return false;
}

// announce() and conceal() may run beside close(), and after it. What close() found in announced_ it has taken out of
// the count; who comes later finds closed_ set, and takes itself out. retire() leaves the header where it is for as
// long as one of them is at it (model/count.pml).
void Protocol::announce() noexcept {
  if (!counts_waiters_ || inherited()) return;
  counting_.fetch_add(1, std::memory_order_seq_cst);
  header_->waiters.fetch_add(1, std::memory_order_seq_cst);
  announced_.fetch_add(1, std::memory_order_seq_cst);
  if (closed_.load(std::memory_order_seq_cst)) uncount_one();
  counting_.fetch_sub(1, std::memory_order_seq_cst);
}

void Protocol::conceal() noexcept {
  if (!counts_waiters_ || inherited()) return;
  counting_.fetch_add(1, std::memory_order_seq_cst);
  uncount_one();
  counting_.fetch_sub(1, std::memory_order_seq_cst);
}

void Protocol::uncount_one() noexcept {
  std::uint32_t announced = announced_.load(std::memory_order_relaxed);
  do {
    if (announced == 0) return;  // close() did it
  } while (!announced_.compare_exchange_weak(announced, announced - 1, std::memory_order_seq_cst));
  uncount(1);
}

void Protocol::uncount(std::uint32_t readers) noexcept {
  std::uint32_t waiters = header_->waiters.load(std::memory_order_relaxed);
  // Not below 0: a writer may have taken these readers for dead.
  while (!header_->waiters.compare_exchange_weak(waiters, waiters - std::min(waiters, readers),
                                                 std::memory_order_relaxed)) {
  }
}

std::int64_t Protocol::nap() const noexcept {
  if (polls()) return poll_.load(std::memory_order_relaxed);
  return shared_ ? kLookForDeath : kLookForClose;
}

void Protocol::set_poll(std::int64_t nanoseconds) noexcept {
  poll_.store(std::clamp(nanoseconds, kShortestPoll, kLongestPoll), std::memory_order_relaxed);
}

jm_status Protocol::park(std::uint64_t seen, std::int64_t timeout) noexcept {
  if (inherited()) return JM_ERR_FORKED;
  announce();
  jm_status status = JM_OK;
  // A look before the system call; the one that counts is the kernel's, when it parks the thread.
  if (version() == seen && !closed()) {
    if (died()) {
      // It may have ended this commit with its last breath: only the same sequence as before is a stuck one.
      if (version() == seen) status = JM_ERR_WRITER_DIED;
    } else {
      const std::int64_t time = timeout < 0 ? nap() : std::min(timeout, nap());
      const wait::Word word = {&header_->sequence, static_cast<std::uint32_t>(seen), shared_};
      wait::park_any(&word, 1, time);
    }
  }
  conceal();
  return closed() ? JM_ERR_CLOSED : status;
}

bool Protocol::flagged() const noexcept {
  return block_ && (header_->flags.load(std::memory_order_acquire) & JM_FLAG_WRITER_ATTACHED) != 0;
}

jm_writer Protocol::writer() const noexcept {
  if (!shared_ || closed()) return JM_WRITER_NONE;
  if (attached()) return JM_WRITER_HERE;
  const std::uint64_t sequence = version();
  for (int look = 0; look < 2; ++look) {
    bool locked = false;
    if (share::writer_locked(descriptor_.load(std::memory_order_relaxed), &locked) != 0 || locked) {
      died_at_.store(kNever, std::memory_order_relaxed);
      return JM_WRITER_OTHER;
    }
    if (!left_behind(sequence) || version() != sequence) return JM_WRITER_NONE;
  }
  return JM_WRITER_DIED;
}

// A writer takes the lock, then sets the flag, then commits, if only by giving up; it clears the flag, then drops the
// lock. So the flag, or an odd sequence, without a lock is a death, unless one writer ended and another began in
// between: hence writer()'s second look, and the sequence that must be the same before and after both
// (model/segment.pml).
bool Protocol::left_behind(std::uint64_t sequence) const noexcept {
  const bool odd = (sequence & 1) != 0;
  if (writers_wake_) return odd || flagged();
  // Others may write here who take no lock.
  if (odd) {
    // In the middle of a commit, or dead in it: the time tells.
    if (odd_.load(std::memory_order_acquire) != sequence) {
      odd_since_.store(now(), std::memory_order_relaxed);
      odd_.store(sequence, std::memory_order_release);
    }
    return now() - odd_since_.load(std::memory_order_relaxed) >= kStuck + static_cast<std::int64_t>(capacity_);
  }
  if (!flagged()) return false;
  // One of this code died between two commits. When the sequence moves on and nobody has the lock, others are alive.
  std::uint64_t at = kNever;
  return died_at_.compare_exchange_strong(at, sequence, std::memory_order_relaxed) || at == sequence;
}

bool Protocol::died() const noexcept {
  if (!shared_ || ((version() & 1) == 0 && !flagged())) return false;
  // A system call only now and then: a reader parks thousands of times a second under a writer that is alive.
  const std::int64_t time = now();
  if (time - looked_.load(std::memory_order_relaxed) < kLookForDeath) return false;
  const bool dead = writer() == JM_WRITER_DIED;
  if (!dead) looked_.store(time, std::memory_order_relaxed);  // a death is found by every look from then on
  return dead;
}

// ---- The end --------------------------------------------------------------------------------------------------------

void Protocol::close() noexcept {
  if (header_ == nullptr || closed_.exchange(true, std::memory_order_seq_cst)) return;  // see announce()
  if (!inherited()) {
    if (shared_ && attached_.exchange(false) && counts_waiters_) header_->flags.fetch_and(~JM_FLAG_WRITER_ATTACHED);
    if (lock_ != nullptr) lock_->give();  // after the flag: see left_behind()
    if (const std::uint32_t announced = announced_.exchange(0, std::memory_order_seq_cst)) uncount(announced);
    if (shared_ || counts_waiters_) wake();  // those of this handle find it closed
  }
  if (const int descriptor = descriptor_.exchange(-1); descriptor >= 0) share::close(descriptor);
}

int Protocol::retire() noexcept {
  if (counting_.load(std::memory_order_seq_cst) != 0) return EAGAIN;
  return memory::retire(header_, mapped_);
}

int Protocol::pin() noexcept { return memory::pin(header_, mapped_); }

void Protocol::unpin() noexcept { memory::unpin(header_, mapped_); }

}  // namespace judemap
