// The protocol of a segment, and nothing else: the steps that readers and a writer make on a mapping with one tensor.
// Nothing here takes a lock, waits in a loop, or makes a system call that blocks. Who wants to be kept waiting uses
// segment.h, which is made of this; who has locks and waiting of their own, as the Go package has, uses this.
//
// What a caller must see to, beside what mapping.h says:
//
//   at any time, from any thread    try_read, try_read_into, valid
//   one at a time                   begin, write, fill, commit, abort: the caller's lock between its writers
#ifndef JUDEMAP_PROTOCOL_H
#define JUDEMAP_PROTOCOL_H

#include <cstddef>
#include <cstdint>

#include "judemap/judemap.h"
#include "judemap/mapping.h"
#include "judemap/seqlock.h"

namespace judemap {

// The product of the dimensions times the item size, in bytes. False if it, or a dimension, is 2^63 or more. A
// dimension of 0 makes it 0, whatever the product of the others is.
bool tensor_bytes(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, std::uint64_t* bytes) noexcept;

// The field of `metadata` that can't be true in a segment of this capacity, or nullptr. Another process may have
// written the header: nothing is derived from metadata before this has passed it. testdata/headers.txt has examples.
const char* corrupt_field(const Metadata& metadata, std::uint64_t capacity) noexcept;

class Protocol : public Mapping {
 public:
  // Each makes or opens the segment, as the functions of judemap.h do. Once per object: JM_ERR_ARGUMENT after that.
  jm_status create(std::uint64_t capacity, std::uint32_t flags) noexcept;
  jm_status create(const char* name, std::uint64_t capacity, std::uint32_t mode, std::uint32_t flags) noexcept;
  jm_status create_sealed(std::uint64_t capacity, std::uint32_t flags) noexcept;
  jm_status open(const char* name, std::uint32_t flags, const char** why) noexcept;
  jm_status open(int descriptor, std::uint32_t flags, const char** why) noexcept;
  // A Judge of files.
  static const char* judge(const jm_header& first, std::uint64_t bytes, Found* found) noexcept;

  // ---- Reading: one attempt each. JM_ERR_BUSY: a commit was in progress, or came in between. They leave out->data as
  // it is: it is at data(), or in the caller's buffer.

  jm_status try_read(jm_tensor* out) const noexcept;
  jm_status try_read_into(void* buffer, std::uint64_t size, jm_tensor* out) const noexcept;
  bool valid(const jm_tensor& tensor) const noexcept { return unchanged(*header_, tensor.version); }

  // ---- Writing

  // Starts a commit: *data is for the caller to fill. The first becomes the one writer among processes, and puts right
  // what one that died left behind. JM_ERR_ARGUMENT if a commit is in progress; JM_ERR_WRITER_ACTIVE, JM_ERR_READ_ONLY,
  // JM_ERR_FORKED, JM_ERR_CLOSED, JM_ERR_SYSTEM.
  jm_status begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data,
                  std::uint64_t* length) noexcept;
  // Ends it, and wakes whoever is parked. JM_ERR_ARGUMENT if none is in progress.
  jm_status commit() noexcept;
  // Ends it with no tensor: readers get JM_ERR_EMPTY.
  jm_status abort() noexcept;
  // A whole commit each.
  jm_status write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* data,
                  std::uint64_t length) noexcept;
  jm_status fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value) noexcept;

  std::byte* data() const noexcept { return reinterpret_cast<std::byte*>(header_) + JM_DATA_OFFSET; }

 private:
  jm_status attach() noexcept;
  jm_status open_commit(const Metadata& metadata) noexcept;
  jm_status finish() noexcept;
  template <class Copy>
  jm_status snapshot(jm_tensor* out, Copy&& copy) const noexcept;

  // The writer's, guarded by the caller's lock.
  bool committing_ = false;         // a commit is in progress, and
  std::uint64_t next_version_ = 0;  // will have this version
};

}  // namespace judemap

#endif  // JUDEMAP_PROTOCOL_H
