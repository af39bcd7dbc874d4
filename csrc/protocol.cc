//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/protocol.h"

#include <utility>

#include "dtype.h"
#include "memory.h"
#include "payload.h"
#include "tensor.h"

namespace judemap {
namespace {

// How many bytes to map for a capacity: header and data, in whole pages. 0 if the capacity is 0, or more than can be
// addressed.
std::size_t size_for(std::uint64_t capacity) noexcept {
  if (capacity == 0 || capacity > PTRDIFF_MAX - JM_DATA_OFFSET) return 0;
  return memory::whole_pages(JM_DATA_OFFSET + capacity);
}

}  // namespace

// ---- Making and opening ---------------------------------------------------------------------------------------------

jm_status Protocol::create(std::uint64_t capacity, std::uint32_t flags) noexcept {
  const std::size_t size = size_for(capacity);
  return size == 0 ? JM_ERR_CAPACITY : make(size, capacity, flags);
}

jm_status Protocol::create(const char* name, std::uint64_t capacity, std::uint32_t mode, std::uint32_t flags) noexcept {
  const std::size_t size = size_for(capacity);
  return size == 0 ? JM_ERR_CAPACITY : make_named(name, size, mode, flags, {JM_MAGIC, 0, capacity, nullptr});
}

jm_status Protocol::create_sealed(std::uint64_t capacity, std::uint32_t flags) noexcept {
  const std::size_t size = size_for(capacity);
  return size == 0 ? JM_ERR_CAPACITY : make_nameless(size, flags, {JM_MAGIC, 0, capacity, nullptr});
}

jm_status Protocol::open(const char* name, std::uint32_t flags, const char** why) noexcept {
  Found found;
  return open_named(name, flags, judge, &found, why);
}

jm_status Protocol::open(int descriptor, std::uint32_t flags, const char** why) noexcept {
  Found found;
  return open_descriptor(descriptor, flags, judge, &found, why);
}

const char* Protocol::judge(const jm_header& first, std::uint64_t bytes, Found* found) noexcept {
  const std::uint64_t room = bytes - JM_DATA_OFFSET;
  const std::uint32_t magic = first.magic.load(std::memory_order_relaxed);
  found->block = magic == JM_MAGIC;
  found->capacity = found->block ? first.capacity.load(std::memory_order_relaxed) : room;
  if (found->capacity == 0 || found->capacity > room) return "its capacity is larger than its file, or 0";
  if (magic == JM_STREAM_MAGIC) return "it is a stream, and opens as one";
  return found->block || magic == 0 ? nullptr : "its magic number is another one";
}

// ---- Reading --------------------------------------------------------------------------------------------------------

template <class Copy>
jm_status Protocol::snapshot(jm_tensor* out, Copy&& copy) const noexcept {
  if (closed()) return JM_ERR_CLOSED;
  const jm_status status = snapshot_of(*header_, capacity_, out, std::forward<Copy>(copy));
  // Memory that was given back reads as an empty segment.
  return status == JM_ERR_EMPTY && closed() ? JM_ERR_CLOSED : status;
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

jm_status Protocol::attach() noexcept {
  if (const jm_status status = become_writer()) return status;
  if (version() & 1) {
    // The previous writer died in the middle of a commit. Readers get JM_ERR_EMPTY until the first commit of this one.
    const std::uint64_t version = begin_commit(*header_);
    store_metadata(*header_, Metadata{});
    end_commit(*header_, version);
  }
  wake_waiters();  // the previous writer may have died between its commit and the wake
  return JM_OK;
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
  // A forked child has in its copy of the handle the commit that its parent began, and shares the memory itself.
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
  committed();
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
  if (const jm_status status = describe(shape, ndim, dtype, capacity_, &metadata)) return status;
  if (const jm_status status = open_commit(metadata)) return status;
  *data_out = data();
  *length = metadata.byte_length;
  return JM_OK;
}

jm_status Protocol::write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* source,
                          std::uint64_t length) noexcept {
  Metadata metadata;
  if (const jm_status status = describe(shape, ndim, dtype, capacity_, &metadata)) return status;
  if (length != metadata.byte_length) return JM_ERR_SHAPE;
  if (source == nullptr && length != 0) return JM_ERR_ARGUMENT;
  if (const jm_status status = open_commit(metadata)) return status;
  payload::copy(data(), source, static_cast<std::size_t>(length), threads_);
  return finish();
}

jm_status Protocol::fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value) noexcept {
  Metadata metadata;
  std::uint64_t pattern;
  if (const jm_status status = describe(shape, ndim, dtype, capacity_, &metadata)) return status;
  if (const jm_status status = fill_pattern(dtype, value, &pattern)) return status;
  if (const jm_status status = open_commit(metadata)) return status;
  payload::fill(data(), static_cast<std::size_t>(metadata.byte_length), pattern, threads_);
  return finish();
}

}  // namespace judemap
