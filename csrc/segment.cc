//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/segment.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <iterator>
#include <limits>

#include "judemap/memory.h"

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace judemap {
namespace {

// How often a read tries for itself before it asks the writer's lock for a pause. Busy attempts cost nanoseconds, so
// that short commits are waited out; each torn copying attempt costs a copy.
constexpr int kBusyAttempts = 256;
constexpr int kTornAttempts = 4;

void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  asm volatile("isb");  // a few tens of cycles, as x86's pause; "yield" is a no-op on most cores
#endif
}

// Whether a T can hold value once that is truncated toward zero. The bounds are powers of two, exact as doubles.
template <class T>
bool holds(double value) noexcept {
  if constexpr (std::numeric_limits<T>::is_integer) {
    const double whole = std::trunc(value);
    const double above = std::ldexp(1.0, std::numeric_limits<T>::digits);  // max + 1
    return whole < above && whole >= (std::numeric_limits<T>::is_signed ? -above : 0.0);
  } else {
    return !std::isfinite(value) || std::fabs(value) <= std::numeric_limits<T>::max();
  }
}

template <class T>
void fill_elements(std::byte* data, std::uint64_t bytes, double value) noexcept {
  alignas(64) T block[64 / sizeof(T)];
  std::fill(std::begin(block), std::end(block),
            static_cast<T>(std::numeric_limits<T>::is_integer ? std::trunc(value) : value));
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

// Calls `use` with a value of the C++ type of `dtype`, which must be known.
template <class Use>
auto with_type(std::uint32_t dtype, Use&& use) noexcept {
  switch (dtype) {
    case JM_FLOAT32:
      return use(float{});
    case JM_FLOAT64:
      return use(double{});
    case JM_INT32:
      return use(std::int32_t{});
    case JM_INT64:
      return use(std::int64_t{});
    case JM_INT8:
      return use(std::int8_t{});
    case JM_UINT16:
      return use(std::uint16_t{});
    case JM_INT16:
      return use(std::int16_t{});
    case JM_BOOL:
      return use(bool{});
    default:
      return use(std::uint8_t{});
  }
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
  if (header_ != nullptr) memory::unmap(header_, mapped_);
}

jm_status Segment::create(std::uint64_t capacity, std::uint32_t flags) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  const std::size_t page = memory::page_size();
  // No object is larger than PTRDIFF_MAX, so that pointers into it can be subtracted.
  if (capacity == 0 || capacity > PTRDIFF_MAX - JM_DATA_OFFSET - page) {
    return JM_ERR_CAPACITY;
  }
  const std::size_t size = (JM_DATA_OFFSET + static_cast<std::size_t>(capacity) + page - 1) / page * page;
  void* base;
  if (const int error = memory::map_private(size, (flags & JM_NO_HUGE_PAGES) == 0, &base)) {
    errno = error;
    return JM_ERR_SYSTEM;
  }
  // The zeroed pages are a valid header already: std::atomic of a word is that word, and all of them start at 0.
  header_ = static_cast<jm_header*>(base);
  capacity_ = capacity;
  mapped_ = size;
  return JM_OK;
}

jm_status Segment::retire() noexcept {
  writer_.lock();
  int error = 0;
  {
    std::lock_guard<std::mutex> hold(pin_);
    // First, so that a reader that finds zeros also finds out why.
    if (!retired_.exchange(true)) error = memory::retire(header_, mapped_);
    pinned_.store(false, std::memory_order_relaxed);
  }
  writer_.unlock();
  errno = error;
  return error == 0 ? JM_OK : JM_ERR_SYSTEM;
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
  committing_ = begin_commit(*header_);
  store_metadata(*header_, metadata);
  return JM_OK;
}

void Segment::commit() noexcept {
  end_commit(*header_, committing_);
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
  if (!with_type(dtype, [&](auto zero) { return holds<decltype(zero)>(value); })) return JM_ERR_RANGE;
  if (const jm_status status = open_commit(metadata)) return status;
  with_type(dtype, [&](auto zero) { fill_elements<decltype(zero)>(data(), metadata.byte_length, value); });
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
jm_status Segment::until_stable(Try&& attempt) noexcept {
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
  const jm_status status = attempt();
  writer_.unlock();
  return status;
}

jm_status Segment::try_read(jm_tensor* out) const noexcept {
  out->data = data();
  return snapshot(out, [](const Metadata&) { return JM_OK; });
}

jm_status Segment::read(jm_tensor* out) noexcept {
  return until_stable([&] { return try_read(out); });
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
  return until_stable([&] { return try_read_into(buffer, size, out); });
}

jm_status Segment::pin() noexcept {
  std::lock_guard<std::mutex> hold(pin_);
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
  std::lock_guard<std::mutex> hold(pin_);
  if (!is_pinned()) return;
  memory::unpin(header_, mapped_);
  pinned_.store(false, std::memory_order_relaxed);
}

}  // namespace judemap
