//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/segment.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <iterator>

#include "dtype.h"
#include "judemap/memory.h"
#include "judemap/share.h"
#include "judemap/wait.h"

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace judemap {
namespace {

// How often a read tries for itself before it asks the writer's lock for a pause. Busy attempts cost nanoseconds, so
// that short commits are waited out; each torn copying attempt costs a copy.
constexpr int kBusyAttempts = 256;
constexpr int kTornAttempts = 4;

// How often a parked thread looks up in a shared segment: a dead writer cannot wake anybody. Also while no writer is
// there: one may come, and die, between the look and the sleep (model/, FOREVER_IF_NONE).
constexpr std::int64_t kLookForDeath = 40'000'000;  // ns

// How often a parked thread looks whether its own handle was retired.
constexpr std::int64_t kLookForClose = 1'000'000'000;  // ns

// How long a commit may seem stuck, by a writer that takes no lock, before that writer counts as dead: this, and a
// nanosecond for each byte of capacity, since no machine that runs this writes slower.
constexpr std::int64_t kStuck = 50'000'000;  // ns

// For how long, and how many commits, waiters must have been absent to be taken for dead.
constexpr std::int64_t kAbsent = 1'000'000'000;  // ns
constexpr std::uint32_t kAbsentCommits = 100;

std::int64_t now() noexcept {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

jm_status system_error(int error) noexcept {
  errno = error;
  return JM_ERR_SYSTEM;
}

bool good_name(const char* name) noexcept {
  if (name == nullptr) return false;
  const std::size_t length = strnlen(name, 256);
  return length != 0 && length <= 255 && std::strchr(name, '/') == nullptr && std::strcmp(name, ".") != 0 &&
         std::strcmp(name, "..") != 0;
}

// Bytes to map for a capacity: header and data, whole pages; 0 if the capacity is 0 or more than can be addressed.
// No object is larger than PTRDIFF_MAX, so that pointers into it can be subtracted.
std::size_t size_for(std::uint64_t capacity) noexcept {
  const std::size_t page = memory::page_size();
  if (capacity == 0 || capacity > PTRDIFF_MAX - JM_DATA_OFFSET - page) return 0;
  return (JM_DATA_OFFSET + static_cast<std::size_t>(capacity) + page - 1) / page * page;
}

void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  asm volatile("isb");  // a few tens of cycles, as x86's pause; "yield" is a no-op on most cores
#endif
}

// Stores `pattern` over and over.
void fill_pattern_into(std::byte* data, std::uint64_t bytes, std::uint64_t pattern) noexcept {
  alignas(64) std::uint64_t block[8];
  std::fill(std::begin(block), std::end(block), pattern);
  // One cache line of the value; then what is there is copied behind itself, doubling, up to a block that stays in the
  // first-level cache. So copy_payload remains the one place that touches shared payload.
  constexpr std::uint64_t kBlock = 8192;
  std::uint64_t done = std::min<std::uint64_t>(bytes, sizeof block);
  copy_payload(data, block, done);
  while (done < bytes) {
    const std::uint64_t next = std::min({done, kBlock, bytes - done});
    copy_payload(data + done, data, next);
    done += next;
  }
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

}  // namespace

bool tensor_bytes(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, std::uint64_t* bytes) noexcept {
  bool fits = true;
  bool empty = false;
  std::uint64_t product = item_size(dtype);
  for (std::uint32_t i = 0; i < ndim; ++i) {
    empty = empty || shape[i] == 0;
    fits = multiply(product, shape[i], &product) && fits;
  }
  *bytes = empty ? 0 : product;
  return fits || empty;
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

void TicketLock::lock() noexcept {
  std::unique_lock<std::mutex> hold(mutex_);
  const std::uint64_t ticket = next_++;
  turn_.wait(hold, [&] { return serving_ == ticket; });
}

void TicketLock::unlock() noexcept {
  bool awaited;
  {
    std::lock_guard<std::mutex> hold(mutex_);
    awaited = ++serving_ != next_;
  }
  if (awaited) turn_.notify_all();
}

Segment::~Segment() {
  if (header_ == nullptr) return;
  if (shared_) retire();  // gives the writer's lock back in order
  memory::unmap(header_, mapped_);
}

jm_status Segment::create(std::uint64_t capacity, std::uint32_t flags) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  const std::size_t size = size_for(capacity);
  if (size == 0) return JM_ERR_CAPACITY;
  void* base;
  if (const int error = memory::map_private(size, (flags & JM_NO_HUGE_PAGES) == 0, &base)) return system_error(error);
  // The zeroed pages are a valid header already: std::atomic of a word is that word, and all of them start at 0.
  header_ = static_cast<jm_header*>(base);
  capacity_ = capacity;
  mapped_ = size;
  return JM_OK;
}

jm_status Segment::create(const char* name, std::uint64_t capacity, std::uint32_t mode, std::uint32_t flags) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  if (!good_name(name)) return JM_ERR_NAME;
  const std::size_t size = size_for(capacity);
  if (size == 0) return JM_ERR_CAPACITY;
  int descriptor;
  if (const int error = share::make(size, mode, &descriptor)) return system_error(error);
  return adopt_new(descriptor, name, size, capacity, flags);
}

jm_status Segment::create_sealed(std::uint64_t capacity, std::uint32_t flags) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  const std::size_t size = size_for(capacity);
  if (size == 0) return JM_ERR_CAPACITY;
  int descriptor;
  if (const int error = share::make_sealed(size, &descriptor)) return system_error(error);
  return adopt_new(descriptor, nullptr, size, capacity, flags);
}

jm_status Segment::open(const char* name, std::uint32_t flags, const char** why) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  if (!good_name(name)) return JM_ERR_NAME;
  const bool writable = (flags & JM_READ_ONLY) == 0;
  int descriptor;
  if (const int error = share::open(name, writable, &descriptor)) return system_error(error);
  return adopt(descriptor, writable, why);
}

jm_status Segment::open(int descriptor, std::uint32_t flags, const char** why) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  const bool writable = (flags & JM_READ_ONLY) == 0;
  int own;
  if (const int error = share::reopen(descriptor, writable, &own)) return system_error(error);
  return adopt(own, writable, why);
}

jm_status Segment::remove(const char* name) noexcept {
  if (!good_name(name)) return JM_ERR_NAME;
  const int error = share::remove(name);
  return error == 0 ? JM_OK : system_error(error);
}

jm_status Segment::adopt_new(int descriptor, const char* name, std::size_t size, std::uint64_t capacity,
                             std::uint32_t flags) noexcept {
  void* base;
  if (const int error = share::map(descriptor, size, true, &base)) {
    share::close(descriptor);
    return system_error(error);
  }
  auto* header = static_cast<jm_header*>(base);  // zeroed pages are a valid header
  const bool writers_wake = (flags & JM_FOREIGN_WRITERS) == 0;
  header->capacity.store(capacity, std::memory_order_relaxed);
  header->flags.store(writers_wake ? JM_FLAG_WRITERS_WAKE : 0, std::memory_order_relaxed);
  header->magic.store(JM_MAGIC, std::memory_order_release);
  if (const int error = name == nullptr ? 0 : share::publish(descriptor, name)) {
    memory::unmap(base, size);
    share::close(descriptor);
    return system_error(error);
  }
  header_ = header;
  capacity_ = capacity;
  mapped_ = size;
  shared_ = true;
  descriptor_ = descriptor;
  writers_wake_ = writers_wake;
  return JM_OK;
}

jm_status Segment::adopt(int descriptor, bool writable, const char** why) noexcept {
  const char* reason = nullptr;
  std::size_t size = 0;
  void* base = nullptr;
  int error = share::size(descriptor, &size);
  if (error == 0) {
    if (size == 0) {
      reason = "it is empty: no segment, or one whose creator died before it was ready";
    } else if (size <= JM_DATA_OFFSET) {
      reason = "it is too short to be a segment";
    } else {
      const std::size_t page = memory::page_size();
      mapped_ = (size + page - 1) / page * page;
      error = share::map(descriptor, mapped_, writable, &base);
    }
  }
  std::uint64_t capacity = size - JM_DATA_OFFSET;
  std::uint32_t magic = 0, flags = 0;
  if (base != nullptr && error == 0) {
    // Another process wrote this: nothing of it is taken on trust.
    const auto* header = static_cast<const jm_header*>(base);
    magic = header->magic.load(std::memory_order_acquire);
    flags = header->flags.load(std::memory_order_relaxed);
    if (magic == JM_MAGIC) {
      const std::uint64_t asked = header->capacity.load(std::memory_order_relaxed);
      if (asked == 0 || asked > capacity) reason = "its capacity is larger than its file, or 0";
      capacity = asked;
    } else if (magic != 0) {
      reason = "its magic number is another one";
    }
  }
  if (error != 0 || reason != nullptr) {
    if (base != nullptr && error == 0) memory::unmap(base, mapped_);
    share::close(descriptor);
    mapped_ = 0;
    if (error != 0) return system_error(error);
    if (why != nullptr) *why = reason;
    return JM_ERR_CORRUPT;
  }
  header_ = static_cast<jm_header*>(base);
  capacity_ = capacity;
  shared_ = true;
  writable_ = writable;
  descriptor_ = descriptor;
  counts_waiters_ = magic == JM_MAGIC && writable;
  writers_wake_ = magic == JM_MAGIC && (flags & JM_FLAG_WRITERS_WAKE) != 0;
  return JM_OK;
}

jm_status Segment::descriptor(int* out) noexcept {
  std::lock_guard<std::mutex> hold(state_);
  if (!shared_) return JM_ERR_ARGUMENT;
  if (descriptor_ < 0) return JM_ERR_CLOSED;
  const int error = share::reopen(descriptor_, writable_, out);
  return error == 0 ? JM_OK : system_error(error);
}

jm_status Segment::retire() noexcept {
  writer_.lock();
  int error = 0;
  {
    std::lock_guard<std::mutex> hold(state_);
    // First, so that a reader that finds zeros also finds out why.
    if (!retired_.exchange(true)) {
      if (attached_.exchange(false) && counts_waiters_) header_->flags.fetch_and(~JM_FLAG_WRITER_ATTACHED);
      wake_waiters();  // those of this handle find it closed
      if (announced_ != 0) uncount(announced_);
      if (descriptor_ >= 0) share::close(descriptor_);  // and the lock with it, after the flag: see writer()
      descriptor_ = -1;
      error = memory::retire(header_, mapped_);
    }
    pinned_.store(false, std::memory_order_relaxed);
  }
  writer_.unlock();
  errno = error;
  return error == 0 ? JM_OK : JM_ERR_SYSTEM;
}

jm_writer Segment::writer() const noexcept {
  if (!shared_) return JM_WRITER_NONE;
  if (attached_.load(std::memory_order_acquire)) return JM_WRITER_HERE;
  std::lock_guard<std::mutex> hold(state_);
  if (descriptor_ < 0) return JM_WRITER_NONE;
  for (int look = 0; look < 2; ++look) {
    const std::uint64_t sequence = version();
    bool locked = false;
    if (share::writer_locked(descriptor_, &locked) != 0 || locked) return JM_WRITER_OTHER;
    if (!left_behind(sequence)) return JM_WRITER_NONE;
  }
  return JM_WRITER_DIED;
}

// A writer takes the lock, then sets the flag, then commits; it clears the flag, then drops the lock. So the flag, or
// an odd sequence, without a lock is a death, unless one writer ended and another began in between: hence writer()'s
// second look. The odd sequence must be the same before and after the look at the lock.
bool Segment::left_behind(std::uint64_t sequence) const noexcept {
  const bool odd = (sequence & 1) != 0 && version() == sequence;
  if (writers_wake_) return odd || (header_->flags.load(std::memory_order_acquire) & JM_FLAG_WRITER_ATTACHED) != 0;
  if (!odd) return false;
  // A writer that takes no lock may be in the middle of a commit, or dead in it: the time tells.
  if (odd_ != sequence) {
    odd_ = sequence;
    odd_since_ = now();
  }
  return now() - odd_since_ >= kStuck + static_cast<std::int64_t>(capacity_);
}

bool Segment::writer_died() const noexcept {
  const auto attached = [&] {
    return writers_wake_ && (header_->flags.load(std::memory_order_acquire) & JM_FLAG_WRITER_ATTACHED) != 0;
  };
  // Most segments are cleared of it without a system call.
  return shared_ && ((version() & 1) != 0 || attached()) && writer() == JM_WRITER_DIED;
}

jm_status Segment::attach_writer() noexcept {
  if (!writable_) return JM_ERR_READ_ONLY;
  {
    std::lock_guard<std::mutex> hold(state_);
    const int error = share::lock_writer(descriptor_);
    if (error == EAGAIN) return JM_ERR_WRITER_ACTIVE;
    if (error != 0) return system_error(error);
    if (counts_waiters_) header_->flags.fetch_or(JM_FLAG_WRITER_ATTACHED);
    attached_.store(true, std::memory_order_release);
  }
  if (version() & 1) {
    // The writer before died in the middle of a commit. Readers get "empty" until the first commit of this one.
    const std::uint64_t version = begin_commit(*header_);
    store_metadata(*header_, Metadata{});
    end_commit(*header_, version);
  }
  wake_waiters();  // the writer before may have died between its commit and the wake
  return JM_OK;
}

void Segment::wake_waiters() noexcept {
  if (!counts_waiters_) return;
  // Sequentially consistent, as is the end of the commit before it and announce(): either this load sees the reader
  // that is about to park, or the kernel, when it compares the sequence for that reader, sees the commit.
  std::uint32_t waiters = header_->waiters.load(std::memory_order_seq_cst);
  if (waiters == 0) return;
  if (wait::wake_all(&header_->sequence, shared_) || waiters != absent_) {
    absent_ = waiters;
    absent_commits_ = 0;
    return;
  }
  // Counted, and not there: on their way to park or back, or killed while they were parked. Who is on the way does not
  // stay so for long. Should one, for it was stopped, then it or one that parks meanwhile is missed by a wake, and
  // looks up after kLookForDeath.
  if (absent_commits_++ == 0) absent_since_ = now();
  if (absent_commits_ >= kAbsentCommits && now() - absent_since_ >= kAbsent) {
    header_->waiters.compare_exchange_strong(waiters, 0);
    absent_ = 0;
  }
}

void Segment::announce() noexcept {
  if (!counts_waiters_) return;
  std::lock_guard<std::mutex> hold(state_);
  if (retired_.load(std::memory_order_relaxed)) return;
  ++announced_;
  header_->waiters.fetch_add(1, std::memory_order_seq_cst);
}

void Segment::conceal() noexcept {
  if (!counts_waiters_) return;
  std::lock_guard<std::mutex> hold(state_);
  if (retired_.load(std::memory_order_relaxed)) return;  // retire() did it
  --announced_;
  uncount(1);
}

void Segment::uncount(std::uint32_t readers) noexcept {
  std::uint32_t waiters = header_->waiters.load(std::memory_order_relaxed);
  // Not below 0: a writer may have taken these readers for dead.
  while (!header_->waiters.compare_exchange_weak(waiters, waiters - std::min(waiters, readers),
                                                 std::memory_order_relaxed)) {
  }
}

std::int64_t Segment::nap() const noexcept {
  if (!counts_waiters_ || !writers_wake_) return poll_.load(std::memory_order_relaxed);
  return shared_ ? kLookForDeath : wait::kForever;
}

jm_status Segment::describe(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype,
                            Metadata* metadata) const noexcept {
  if (item_size(dtype) == 0) return JM_ERR_DTYPE;
  if (ndim > JM_MAX_DIMS) return JM_ERR_SHAPE;
  if (shape == nullptr && ndim != 0) return JM_ERR_ARGUMENT;
  metadata->ndim = ndim;
  metadata->dtype = dtype;
  std::copy_n(shape, ndim, metadata->shape);
  if (!tensor_bytes(shape, ndim, dtype, &metadata->byte_length)) return JM_ERR_SHAPE;
  return metadata->byte_length > capacity_ ? JM_ERR_CAPACITY : JM_OK;
}

jm_status Segment::open_commit(const Metadata& metadata) noexcept {
  writer_.lock();
  if (retired_.load(std::memory_order_relaxed)) {
    writer_.unlock();
    return JM_ERR_CLOSED;
  }
  if (shared_ && !attached_.load(std::memory_order_relaxed)) {
    if (const jm_status status = attach_writer()) {
      writer_.unlock();
      return status;
    }
  }
  committing_ = begin_commit(*header_);
  store_metadata(*header_, metadata);
  return JM_OK;
}

void Segment::commit() noexcept {
  end_commit(*header_, committing_);
  wake_waiters();
  writer_.unlock();
}

void Segment::abort() noexcept {
  store_metadata(*header_, Metadata{});
  commit();
}

jm_status Segment::begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data_out,
                         std::uint64_t* length) noexcept {
  Metadata metadata;
  if (const jm_status status = describe(shape, ndim, dtype, &metadata)) return status;
  if (const jm_status status = open_commit(metadata)) return status;
  *data_out = data();
  *length = metadata.byte_length;
  return JM_OK;
}

jm_status Segment::write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* source,
                         std::uint64_t length) noexcept {
  Metadata metadata;
  if (const jm_status status = describe(shape, ndim, dtype, &metadata)) return status;
  if (length != metadata.byte_length) return JM_ERR_SHAPE;
  if (source == nullptr && length != 0) return JM_ERR_ARGUMENT;
  if (const jm_status status = open_commit(metadata)) return status;
  if (length != 0) copy_payload(data(), source, length);
  commit();
  return JM_OK;
}

jm_status Segment::fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value) noexcept {
  Metadata metadata;
  if (const jm_status status = describe(shape, ndim, dtype, &metadata)) return status;
  std::uint64_t pattern;
  if (const jm_status status = fill_pattern(dtype, value, &pattern)) return status;
  if (const jm_status status = open_commit(metadata)) return status;
  fill_pattern_into(data(), metadata.byte_length, pattern);
  commit();
  return JM_OK;
}

template <class Copy>
jm_status Segment::snapshot(jm_tensor* out, Copy&& copy) const noexcept {
  if (retired_.load(std::memory_order_acquire)) return JM_ERR_CLOSED;
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
  // A retired range reads as an empty segment.
  if (status == JM_ERR_EMPTY && retired_.load(std::memory_order_acquire)) return JM_ERR_CLOSED;
  out->ndim = metadata.ndim;
  out->dtype = metadata.dtype;
  std::copy_n(metadata.shape, JM_MAX_DIMS, out->shape);
  out->byte_length = metadata.byte_length;
  return status;
}

template <class Try>
jm_status Segment::until_stable(jm_tensor* out, Try&& attempt) noexcept {
  int torn = 0;
  for (int i = 0; i < kBusyAttempts && torn < kTornAttempts; ++i) {
    const bool busy = version() & 1;
    const jm_status status = busy ? JM_ERR_BUSY : attempt();
    if (status != JM_ERR_BUSY) return status;
    if (!busy) ++torn;
    pause();
  }
  // A writer of this process that never pauses, or a long update: wait for one's turn among the writers.
  writer_.lock();
  jm_status status = attempt();
  writer_.unlock();
  // A commit of another process: park until it is over. In private memory nobody else can be in one.
  while (status == JM_ERR_BUSY) {
    const std::uint64_t seen = version();
    if (!shared_) {
      *out = jm_tensor{};
      out->version = seen;
      return JM_ERR_CORRUPT;
    }
    if (seen & 1) {
      if (const jm_status parked = park(seen, wait::kForever); parked != JM_OK) return parked;
    }
    status = attempt();
  }
  return status;
}

jm_status Segment::park(std::uint64_t seen, std::int64_t timeout) noexcept {
  announce();
  jm_status status = JM_OK;
  // A look before the system call; the one that counts is the kernel's, when it parks the thread.
  if (version() == seen && !retired_.load(std::memory_order_acquire)) {
    if (writer_died()) {
      // It may have ended this commit with its last breath: only the same sequence as before is a stuck one.
      if (version() == seen) status = JM_ERR_WRITER_DIED;
    } else {
      // A wake of this handle's end can come before the thread sleeps, and the word reads 0 afterwards, as before the
      // first commit: so that it doesn't sleep for ever, it looks now and then.
      std::int64_t time = nap();
      if (time == wait::kForever || time > kLookForClose) time = kLookForClose;
      if (timeout != wait::kForever && timeout < time) time = timeout;
      const wait::Word word = {&header_->sequence, static_cast<std::uint32_t>(seen), shared_};
      wait::park_any(&word, 1, time);
    }
  }
  conceal();
  return status;
}

jm_status Segment::next(std::uint64_t after, std::int64_t timeout, jm_tensor* out) noexcept {
  const std::int64_t until = timeout < 0 ? 0 : now() + timeout;
  for (;;) {
    const std::uint64_t seen = version();
    const jm_status status = (seen & 1) != 0 ? JM_ERR_BUSY : try_read(out);
    if (status == JM_OK && out->version > after) return JM_OK;
    if (status != JM_OK && status != JM_ERR_EMPTY && status != JM_ERR_BUSY) return status;
    std::int64_t left = wait::kForever;
    if (timeout >= 0 && (left = until - now()) <= 0) return JM_ERR_TIMEOUT;
    if (const jm_status parked = park(seen, left); parked != JM_OK) return parked;
  }
}

jm_status Segment::try_read(jm_tensor* out) const noexcept {
  out->data = data();
  return snapshot(out, [](const Metadata&) { return JM_OK; });
}

jm_status Segment::read(jm_tensor* out) noexcept {
  return until_stable(out, [&] { return try_read(out); });
}

jm_status Segment::try_read_into(void* buffer, std::uint64_t size, jm_tensor* out) const noexcept {
  out->data = buffer;
  return snapshot(out, [&](const Metadata& seen) {
    if (seen.byte_length > size) return JM_ERR_BUFFER;
    if (seen.byte_length != 0) copy_payload(buffer, data(), seen.byte_length);
    return JM_OK;
  });
}

jm_status Segment::read_into(void* buffer, std::uint64_t size, jm_tensor* out) noexcept {
  return until_stable(out, [&] { return try_read_into(buffer, size, out); });
}

jm_status Segment::pin() noexcept {
  std::lock_guard<std::mutex> hold(state_);
  if (retired_.load(std::memory_order_relaxed)) return JM_ERR_CLOSED;
  if (is_pinned()) return JM_OK;
  if (const int error = memory::pin(header_, mapped_)) {
    errno = error;
    return JM_ERR_PIN_DENIED;
  }
  pinned_.store(true, std::memory_order_relaxed);
  return JM_OK;
}

void Segment::unpin() noexcept {
  std::lock_guard<std::mutex> hold(state_);
  if (!is_pinned()) return;
  memory::unpin(header_, mapped_);
  pinned_.store(false, std::memory_order_relaxed);
}

}  // namespace judemap
